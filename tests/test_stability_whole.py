"""`net.stability()` measures equations with sums and other operators whole: naive formulas inside them are found, rewritten ones are right, and
what cancels in a sum is not counted as a defect."""

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from benchmarks.formulas import FORMULAS
from benchmarks.precision import Symbolic
from symbackprop.audit.forms import Entry, judged
from symbackprop.audit.precision import ulps
from symbackprop.audit.truth import Truth, only_summed
from symbackprop.calculus.stabilise import Rewriter
from symbackprop.graph.tensor import Tensor


def report_of(loss, samples=9):
    return sbp.Network(sbp.node("C", loss)).stability(samples=samples)


def naive():
    """Name and loss; the formula is that of p, where there is one, else that of C."""
    w = sbp.weight("w", (3,))
    yield "softplus", sbp.mean(sp.log(1 + sp.exp(w)))
    yield "expm1", sbp.sum(sp.exp(w) - 1)
    yield "softmax", sbp.sum(sbp.node("p", sp.exp(w) / sbp.sum(sp.exp(w))) ** 2)
    yield "logsumexp", sp.log(sbp.sum(sp.exp(w)))
    yield "norm", sp.sqrt(sbp.sum(w**2))
    yield "unit", sbp.sum(sbp.node("p", w / sp.sqrt(sbp.sum(w**2))) ** 4)


NAIVE = dict(naive())


@pytest.mark.parametrize("name", NAIVE)
def test_a_naive_formula_inside_a_sum_is_found_and_its_rewrite_is_right(name):
    found = report_of(NAIVE[name])["p" if name in ("softmax", "unit") else "C"]
    assert found.rewritten
    assert found.was.worst > 1e6
    assert found.now.worst <= 4


@pytest.mark.parametrize("name", NAIVE)
def test_a_rewrite_that_is_switched_off_shows(name, monkeypatch):
    monkeypatch.setattr(Rewriter, "__call__", lambda self, name, expr: expr)
    assert report_of(NAIVE[name])["p" if name in ("softmax", "unit") else "C"].now.worst > 1e6


# Their squares and quotients leave the range of floats beyond 1e154, which the table of formulas does not reach.
BEYOND = {"log(1 + x^2)", "sqrt(1 + x^2) - 1", "p log(p/q)"}


@pytest.mark.parametrize("formula", [f for f in FORMULAS[::6] if f.row is None and f.name not in BEYOND], ids=lambda f: f.name)
def test_the_formulas_of_the_table_are_right_in_a_mean(formula):
    loss = sbp.mean(formula.build(Symbolic, *(sbp.weight(f"w_{k}", (3,)) for k in range(formula.variables))))
    found = report_of(loss, samples=6)["C"]
    assert found.now is not None
    assert found.now.worst <= 4, found


def test_a_softmax_classifier_and_layer_norm_are_right():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 6))
    H = sbp.node("H", X @ sbp.weight("W", (3, 6)))
    report = sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.layer_norm(H), T))).stability(samples=6)
    assert report["Xhat_1"].rewritten
    assert report["Xhat_1"].was.worst > 1e6
    assert all(f.now is not None for f in report.findings.values() if not f.note)
    assert report.ok, report


def test_attention_is_measured():
    X = sbp.data("X", ("n", 4, 4))
    A = sbp.multi_head_attention(X, heads=2)
    report = sbp.Network(sbp.node("C", sbp.mean(A**2))).stability(samples=6)
    assert sum(f.now is not None for f in report.findings.values()) >= 10
    forward = [f for f in report.findings.values() if not f.name.startswith("dC_") and f.now is not None]
    assert all(f.ok for f in forward), report


def test_labels_are_integers():
    z, k = sbp.node("z", sbp.data("X", ("n", 4)) @ sbp.weight("W", (4, 9))), sbp.data("k", ("n",))
    found = sbp.Network(sbp.node("C", sbp.cross_entropy(z, k))).stability(samples=6)["dC_dz"]
    labels = np.asarray(found.now.at["k"])
    np.testing.assert_array_equal(labels, np.round(labels))
    assert labels.min() >= 0
    assert labels.max() < 9
    assert found.now.broken == 0


# --- sizes ---------------------------------------------------------------------------------------------------------------------


def naive_cross_entropy(size):
    X, w = sbp.data("X", ("n", size)), sbp.weight("w", (size,))
    e = sp.exp(X * w)
    return sbp.Network(sbp.node("C", sbp.mean(-sp.log(e / sbp.sum(e, axis=-1, keepdims=True)))))


def test_numbers_made_of_sizes_and_the_tensors_have_the_same_sizes():
    """The mean of n times 4 numbers divides by 4 n: on tensors with 3 columns the slope at w = 0, which is 0, would be another one."""
    net = naive_cross_entropy(4)
    found = net.stability(samples=6)
    for name in ("C", "dC_dw"):
        assert np.shape(found[name].now.at["X"]) == (3, 4)
        assert np.shape(found[name].now.at["w"]) == (4,)
        assert found[name].now.broken == 0
    assert found["C"].ok
    _, gradients = net.value_and_gradients({"w": np.zeros(4)}, X=np.ones((2, 4)))
    np.testing.assert_array_equal(gradients["w"], 0)


def test_two_labels_are_two():
    z, k = sbp.node("z", sbp.data("X", ("n", 4)) @ sbp.weight("W", (4, 2))), sbp.data("k", ("n",))
    found = sbp.Network(sbp.node("C", sbp.cross_entropy(z, k))).stability(samples=9)["dC_dz"]
    assert found.now.broken == 0
    assert found.now.relative.terms <= 4
    assert set(np.ravel(found.now.at["k"])) <= {0, 1}


def test_a_finite_number_is_finitely_far_from_0():
    assert 1e300 < ulps(0.1, mpmath.mpf(0)) < np.inf
    assert ulps(np.inf, mpmath.mpf(0)) == ulps(np.nan, mpmath.mpf(1)) == np.inf


# --- what counts as a defect -------------------------------------------------------------------------------------------------


def test_cancellation_between_inputs_is_no_defect_but_that_of_a_formula_is():
    a, b = sbp.weight("a", (3,)), sbp.weight("b", (3,))
    assert report_of(sbp.sum(a * b))["C"].now.worst <= 4
    assert report_of(sbp.sum((a - sbp.mean(a)) * b))["C"].now.worst <= 4
    variance = sbp.mean(a**2) - sbp.mean(a) ** 2  # the textbook's one-pass formula cancels whatever is done about its sums
    assert report_of(variance)["C"].now.worst > 1e6


def test_what_stands_in_sums_alone():
    a, b = sbp.weight("a", (3,)), sbp.weight("b", (3,))
    assert only_summed(sp.tanh(a * b + 1), a)
    assert only_summed(sbp.softmax(b) - a, a)
    assert not only_summed(sbp.softmax(b) - a, b)
    assert not only_summed(a - sp.tanh(a), a)
    assert not only_summed(sp.exp(a * b), a)


def entry(found, true):
    return Entry({}, (), found, true, ulps(found, true))


def test_the_unit_of_a_sum_is_that_of_its_terms():
    v = Tensor("v_0", (2,), "data")
    truth = Truth(sbp.sum(v))
    point = {"v_0": np.array([1.0, -1.0 + 2.0**-40])}
    exact = truth.at(point, ())
    assert exact == mpmath.mpf(2) ** -40
    terms = 2 - 2.0**-40  # the absolute values of the terms; of these all but 2^-40 cancel
    excused, largest = truth.change(point, ())
    assert float(excused) == pytest.approx(terms + (terms - 2.0**-40), rel=1e-15)
    assert float(largest) == pytest.approx(terms - 2.0**-40, rel=1e-15)
    assert ulps(2.0**-40 + 2.0**-52, exact) > 1e6
    plainly, excused_error, in_terms = judged(entry(2.0**-40 + 2.0**-52, exact), lambda: truth.change(point, ()))
    assert plainly > 1e6
    assert excused_error == pytest.approx(1 / (2 * terms), rel=1e-9)
    assert in_terms == pytest.approx(1 / 2, rel=1e-9)
    assert judged(entry(float("nan"), exact), lambda: truth.change(point, ()))[1] == np.inf


def test_recurrences_and_solutions_say_why_they_are_not_measured():
    A = sbp.weight("A", (2, 2))
    found = report_of(sbp.sum(sbp.solve(A, sbp.weight("b", (2,)))))["C"]
    assert found.now is None
    assert "linear equations" in found.note
