"""Kinks and ties, and what is no finite number: there a derivation has nothing to be held against, and says so; elsewhere errors are still found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy.core.cache import clear_cache

import symbackprop as sbp
from symbackprop.calculus import elementwise
from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import at, index_symbol
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.numbers import UNDEFINED, Reading, Values, agree, compare
from symbackprop.graph.operators.reduction import AxisMax
from symbackprop.training.slopes import slope

FORMS = ("mixed", "matrix", "index")


@st.composite
def networks(draw):
    """Convolution, relu and max-pooling over few places, so that windows of nothing but zeros are common."""
    axes = draw(st.sampled_from([1, 2]))
    channels, maps, size = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(3, 5 if axes == 1 else 4))
    X, T = sbp.data("X", ("n", channels, *[size] * axes)), sbp.data("T", ("n", 2))
    conv, pool = (sbp.conv1d, sbp.max_pool1d) if axes == 1 else (sbp.conv2d, sbp.max_pool2d)
    h = conv(X, maps, draw(st.integers(1, 3)), padding=1, activation="relu")
    h = pool(h, 2, stride=draw(st.sampled_from([1, 2])), padding=draw(st.sampled_from([0, 1])))
    y = sbp.dense(sbp.reshape(h, ("n", -1)), 2)
    return sbp.Network(sbp.node("C", sbp.mse(y, T)), output=y)


def wrong(derivation):
    return [f"{step.title}: {step.verification}" for step in derivation.steps if step.verification is not None and not step.verification.ok]


@settings(max_examples=3, deadline=None)
@given(networks(), st.sampled_from(FORMS), st.integers(0, 100))
def test_ties_in_pooling_are_not_called_wrong(net, form, seed):
    derivation = net.derivation(form, seed=seed)
    assert wrong(derivation) == []
    assert sum(not step.verification.unchecked for step in derivation.steps if step.verification is not None) > 5


@pytest.mark.parametrize("form", ["mixed", "matrix"])
def test_a_planted_error_beside_ties_is_found(monkeypatch, form):
    """The last of a window is given what belongs to its largest."""
    X, T = sbp.data("X", ("n", 1, 6)), sbp.data("T", ("n", 2))
    h = sbp.max_pool1d(sbp.conv1d(X, 2, 3, padding="same", activation="relu"), 2)
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.dense(sbp.reshape(h, ("n", -1)), 2), T)))
    right = AxisMax.pullback
    monkeypatch.setattr(AxisMax, "pullback", lambda self, adjoint: [1.001 * part for part in right(self, adjoint)])
    clear_cache()
    elementwise.partial.cache_clear()
    found = wrong(net.derivation(form, weights=["K_1"], seed=2))
    monkeypatch.undo()
    clear_cache()
    assert any("A_{1}" in line or "A^{(1)}" in line for line in found)
    assert any("K_{1}" in line or "K^{(1)}" in line for line in found)


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (lambda x: np.maximum(x, 0).sum(), [1.0, 0.0]),
        (lambda x: np.abs(x[1]) + max(x[1], 0), [1.0, 0.0]),
        (lambda x: np.max(x), [0.3, 0.3]),
        (lambda x: np.min(x) * 1e-3 + x[0], [0.3, 0.3]),
        (lambda x: np.sort(x) @ np.array([1.0, 2.0]), [0.3, 0.3]),
        (lambda x: np.clip(x, -1, 1).sum() ** 2 * 1e6, [0.1, 1.0]),
        (lambda x: max(x[1], 0) + 1e-2 * np.exp(8 * x[1]), [0.0, 0.0]),
    ],
)
def test_a_kink_is_seen(function, at):
    assert slope(function, np.array(at), np.array([0.0, 1.0])).kink


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([np.tanh, np.exp, np.sin, np.log1p, np.sqrt, np.cbrt, lambda x: x**-3, lambda x: 1 / (1 + np.exp(-80 * (x - 1))), lambda x: 1 + 0 * x]),
    st.floats(0.05, 3),
    st.sampled_from([1.0, 1e-6, 1e6]),
    st.sampled_from([0.0, 1.0, 1e4]),
)
def test_a_smooth_function_has_no_kink(function, at, factor, beside):
    found = slope(lambda x: float(np.real(factor * function(x).sum() + beside)), np.array([at]), np.ones(1))  # no complex step
    assert not found.kink


def test_where_every_entry_lies_at_a_kink_nothing_is_claimed():
    x, w = sbp.data("x", (4,)), sbp.weight("w", (4,))
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.max(sbp.node("A", sbp.relu(-(w**2) * x**2)) * sbp.data("s", (2, 1)), axis=1))))
    derivation = net.derivation("matrix")
    steps = [step for step in derivation.steps if step.verification is not None and step.verification.unchecked]
    assert {step.title for step in steps} == {"The error of $A$"}
    assert derivation.ok
    assert "unchecked: slopes to the left and to the right differ" in derivation.text()


def test_wide_and_deep_networks_of_relus_are_checked_where_exponentials_stay_finite():
    for sizes in ([784, 128, 64, 10], [20] * 12):
        derivation = sbp.mlp(sizes, activation="relu", loss="cross_entropy").derivation("matrix", weights=["W_1", "b_2"])
        assert wrong(derivation) == []
        assert [step.title for step in derivation.steps if step.verification is not None and step.verification.unchecked == UNDEFINED] == []


def test_what_is_no_number_is_unchecked_and_beside_it_errors_are_found():
    left, nan = Reading(1.0, True, 0.0), float("nan")
    for found in (compare([(left, nan)]), agree([(1.0, nan), (nan, 1.0), (1.0, float("inf"))], "the generated code")):
        assert found.ok
        assert found.unchecked == UNDEFINED
    assert not compare([(left, nan), (left, 1.001)]).ok
    assert not agree([(1.0, 1.001), (1.0, nan)], "the generated code").ok


def test_an_entry_that_does_not_exist_is_an_error_and_no_overflow():
    x, y = sbp.weight("x", (3,)), sbp.data("y", (3,))
    forms = Forms(sbp.Network(sbp.node("C", sbp.sum(x * y))).system)
    point = Values(forms.system, forms.adjoints)
    i = index_symbol("i")
    outside = at(y, (i + 1,))
    assert not Checks(point).gradient(x, (i,), outside).ok
    assert Checks(point).gradient(x, (i,), at(y, (i,))).ok
    assert not Checks(point).gradient(x, (i,), 1.001 * at(y, (i,))).ok
