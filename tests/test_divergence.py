"""The divergence of two softmaxes loses no digits where they are nearly equal, however it is written: by the module and by a precise step. The truth is
mpmath's, or PyTorch's where nothing cancels."""

from itertools import product

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.audit.precision import ulps
from symbackprop.calculus.rules import LOSSES
from symbackprop.calculus.stabilise import Rewriter
from symbackprop.graph.operators.divergence import DivergenceSlope, ShareDifference, ShareDivergence
from symbackprop.training.native import installed

torch = pytest.importorskip("torch")
F = torch.nn.functional
needs_numba = pytest.mark.skipif(not installed(), reason="needs numba and SciPy")


class Record(sbp.Optimizer):
    """Leaves the gradients where the weights were."""

    def rule(self, w, g, t, state):
        yield w, g


def exact(a, b):
    """The divergence of softmax(b) from softmax(a), and its slopes to both, by mpmath."""
    with mpmath.workdps(150):
        e, f = ([mpmath.exp(mpmath.mpf(float(x))) for x in z] for z in (a, b))
        p, q = ([x / mpmath.fsum(row) for x in row] for row in (e, f))
        logs = [mpmath.log(x) - mpmath.log(y) for x, y in zip(p, q, strict=True)]
        value = mpmath.fsum(x * y for x, y in zip(p, logs, strict=True))
        return value, [x * (y - value) for x, y in zip(p, logs, strict=True)], [y - x for x, y in zip(p, q, strict=True)]


def network(shape, form=None):
    a, b = sbp.weight("a", shape), sbp.weight("b", shape)
    p, q = sbp.node("p", sbp.softmax(a)), sbp.node("q", sbp.softmax(b))
    return sbp.Network(sbp.node("C", sbp.sum(p * sp.log(p / q)) if form is None else form(a, b)))


def found_by(net, way, dtype, **weights):
    if way == "module":
        return net.value_and_gradients(weights)
    trainer = net.trainer(Record(), weights=weights, backend=way, dtype=dtype, precise=True)
    return trainer.step(), trainer.weights


ROWS = list(product((1e-3, 1.0, 20.0), (1e-12, 1e-6, 1e-2, 1.0, 20.0), (0.0, 1000.0)))  # how large the logits are, how far apart, but for a shift


def rows_of(a, b):
    """The divergence of each row, weighed by v, so that the slope of v is its value."""
    return sbp.sum(sbp.weight("v", a.shape[:1]) * sbp.sum(sbp.softmax(a) * sp.log(sbp.softmax(a) / sbp.softmax(b)), axis=-1))


def logits(seed, n):
    rng = np.random.default_rng(seed)
    a = np.array([size * rng.normal(size=n) for size, _, _ in ROWS])
    return a, a + np.array([gap * rng.normal(size=n) + shift for _, gap, shift in ROWS])


def worst(net, way, dtype, a, b):
    """The errors of the values in units in the last place, and those of the slopes in units of the largest of the row."""
    a, b = a.astype(dtype), b.astype(dtype)
    slopes = found_by(net, way, dtype, a=a, b=b, v=np.ones(len(a)))[1]
    errors = []
    for i, row in enumerate(zip(a, b, strict=True)):
        value, *wanted = exact(*row)
        errors.append(ulps(slopes["v"][i], value, dtype) if value > np.finfo(dtype).tiny else 0)
        for name, exactly in zip("ab", wanted, strict=True):
            size = max(map(abs, exactly))
            off = max(abs(mpmath.mpf(float(x)) - y) for x, y in zip(slopes[name][i], exactly, strict=True))
            errors.append(float(off / max(size, mpmath.mpf(float(np.finfo(dtype).tiny))) / np.finfo(dtype).eps))
    return max(errors)


WAYS = [("module", "float64"), ("numpy", "float64"), ("numpy", "float32")]
NETWORKS = {n: network((len(ROWS), n), rows_of) for n in (2, 3, 7)}


@pytest.mark.parametrize(("way", "dtype"), WAYS)
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from((2, 3, 7)))
def test_nearly_equal_and_far_apart(way, dtype, seed, n):
    assert worst(NETWORKS[n], way, dtype, *logits(seed, n)) <= 8


@needs_numba
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_compiled_steps(dtype):
    assert worst(NETWORKS[7], "numba", dtype, *logits(0, 7)) <= 8


def test_a_divergence_as_it_is_written_would_be_seen(monkeypatch):
    monkeypatch.setattr(Rewriter, "__call__", lambda self, name, expr: expr)
    assert worst(network((len(ROWS), 3), rows_of), "module", "float64", *logits(0, 3)) > 1e6


def test_every_way_to_write_it_becomes_one_operator():
    a, b = sbp.weight("a", (4, 3)), sbp.weight("b", (4, 3))
    P, Q, L, M = sbp.softmax(a), sbp.softmax(b), sbp.log_softmax(a), sbp.log_softmax(b)
    p, q, logs = sbp.node("p", P), sbp.node("q", Q), sbp.node("L", L)
    rows = [P * sp.log(P / Q), p * sp.log(p / q), P * (L - M), p * (logs - M), p * sp.log(p) - p * sp.log(q), p * (sp.log(p) - sp.log(q))]
    for row in rows:
        assert Rewriter(LOSSES)("y", sbp.sum(row, axis=-1)) == ShareDivergence(sp.Integer(-1), a, b)
        assert Rewriter(LOSSES)("y", sbp.mean(sbp.sum(row, axis=-1))) == sbp.mean(ShareDivergence(sp.Integer(-1), a, b))
        assert Rewriter(LOSSES)("y", -3 * sbp.sum(row)) == -3 * sbp.sum(ShareDivergence(sp.Integer(-1), a, b))
    assert Rewriter(LOSSES)("y", sbp.sum(p * sp.log(p), axis=-1) - sbp.sum(p * sp.log(q), axis=-1)) == ShareDivergence(sp.Integer(-1), a, b)
    assert Rewriter(LOSSES)("y", -2 * sbp.sum(p * sp.log(q / p), axis=-1)) == 2 * ShareDivergence(sp.Integer(-1), a, b)
    assert Rewriter(LOSSES)("y", sbp.kl_divergence(M, p)) == sbp.mean(ShareDivergence(sp.Integer(-1), a, b))
    assert Rewriter(LOSSES)("y", sbp.kl_divergence(sp.log(q), P)) == sbp.mean(ShareDivergence(sp.Integer(-1), a, b))
    columns = sbp.softmax(a, 0) * sp.log(sbp.softmax(a, 0) / sbp.softmax(-a, 0))
    assert Rewriter(LOSSES)("y", sbp.sum(columns, axis=0)) == ShareDivergence(sp.Integer(-2), a, -a)


def test_what_is_no_divergence_stays():
    """Shares of something else, other axes, other weights, a sum of the logarithms, a sum over the rows alone."""
    a, b, c, w = (sbp.weight(name, (3, 3)) for name in "abcw")
    p, L, M = sbp.softmax(a), sbp.log_softmax(a), sbp.log_softmax(b)
    for row in (sbp.softmax(c) * (L - M), p * (L - sbp.log_softmax(b, 0)), sbp.softmax(a, 0) * (L - M), w * p * (L - M), p * (L + M), p * (L - 2 * M)):
        assert not Rewriter(LOSSES)("y", sbp.sum(row, axis=-1)).has(ShareDivergence)
    assert not Rewriter(LOSSES)("y", sbp.sum(p * (L - M), axis=0)).has(ShareDivergence)
    assert not Rewriter(LOSSES)("y", sbp.sum(p * L, axis=-1) - 2 * sbp.sum(p * M, axis=-1)).has(ShareDivergence)


@pytest.mark.parametrize("kind", [ShareDivergence, DivergenceSlope, ShareDifference])
@pytest.mark.parametrize("axis", [-1, -2])
def test_an_operator_of_two_logits_is_its_formula(kind, axis):
    """Its array form, its index form by mpmath, its LaTeX, and its gradients in both operands, against the plain operators of the formula."""
    A, B = sbp.weight("A", (3, 4)), sbp.weight("B", (3, 4))
    made, formula = kind(sp.Integer(axis), A, B), kind.formula(A, B, axis)
    rng = np.random.default_rng(2)
    R = sbp.weight("R", made.shape)
    at = {"A": rng.normal(size=(3, 4)), "B": rng.normal(size=(3, 4)), "R": rng.normal(size=R.shape)}
    np.testing.assert_allclose(*(np.array(sbp.evaluate(x, at, 30), dtype=float) for x in (made, formula)), rtol=1e-14)
    (x, first), (y, second) = (sbp.Network(sbp.node("C", sbp.sum(R * sbp.node("Y", e)))).value_and_gradients(at) for e in (made, formula))
    assert x == pytest.approx(y, rel=1e-12)
    for name in at:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-11, atol=1e-14)
    latex = [sbp.Network(sbp.node("C", sbp.sum(R * sbp.node("Y", e)))).latex("equations") for e in (made, formula)]
    assert latex[0] == latex[1]


def test_formulas_are_shown_as_on_paper():
    net = network((3,))
    shown = net.latex("equations") + net.derivation().latex() + net.gradients["a"].latex("matrix")
    assert "divergence" not in shown
    assert "_divergence_slope(a, b, -1)" in net.generate("numpy")


def test_a_step_that_is_not_precise_is_as_it_is_written():
    """The operators take several times as long."""
    net = network((4, 3), rows_of)
    plain, precise = (net.trainer(Record(), backend="numpy", precise=p).source for p in (False, True))
    assert "_divergence" not in plain
    assert "_divergence" in precise


EVERY_RANK = [("numpy", (3,), -1), ("numpy", (4, 3), -2), ("numpy", (2, 4, 3), -1), pytest.param("numba", (2, 3, 4), -2, marks=needs_numba)]


@pytest.mark.parametrize(("backend", "shape", "axis"), EVERY_RANK, ids=str)
@pytest.mark.parametrize("precise", [True, False])
@settings(max_examples=2, deadline=None)
@given(st.integers(0, 10**6))
def test_training_steps_are_those_of_pytorch(backend, shape, axis, precise, seed):
    rng = np.random.default_rng(seed)
    net = network(shape, lambda a, b: sbp.mean(sbp.sum(sbp.softmax(a, axis) * (sbp.log_softmax(a, axis) - sbp.log_softmax(b, axis)), axis=axis)))
    a, b = 3 * rng.normal(size=shape), 3 * rng.normal(size=shape)
    s, t = (torch.tensor(x, requires_grad=True) for x in (a, b))
    wanted = F.kl_div(F.log_softmax(t, axis), F.log_softmax(s, axis), reduction="sum", log_target=True) / (s.numel() / shape[axis])
    wanted.backward()
    trainer = net.trainer(Record(), weights={"a": a, "b": b}, backend=backend, precise=precise)
    value, slopes = trainer.step(), trainer.weights
    assert value == pytest.approx(wanted.item(), rel=1e-12)
    np.testing.assert_allclose(slopes["a"], s.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slopes["b"], t.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_distillation_from_a_teacher():
    """The loss of Hinton, Vinyals & Dean (2015), section 2, as `kl_divergence` says it, at a temperature, of batches."""
    X, W, V = sbp.data("X", ("n", 4)), sbp.weight("W", (4, 3)), sbp.weight("V", (4, 3))
    net = sbp.Network(sbp.node("C", 4 * sbp.kl_divergence(sbp.log_softmax(X @ W / 2), sbp.node("p", sbp.softmax(X @ V / 2)))))
    rng = np.random.default_rng(4)
    x, w, v = rng.normal(size=(6, 4)), rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    s, t = (torch.tensor(y, requires_grad=True) for y in (w, v))
    teacher = F.log_softmax(torch.tensor(x) @ t / 2, -1)
    wanted = 4 * F.kl_div(F.log_softmax(torch.tensor(x) @ s / 2, -1), teacher, reduction="batchmean", log_target=True)
    wanted.backward()
    value, slopes = net.value_and_gradients({"W": w, "V": v}, X=x)
    assert value == pytest.approx(wanted.item(), rel=1e-12)
    np.testing.assert_allclose(slopes["W"], s.grad.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(slopes["V"], t.grad.numpy(), rtol=1e-10, atol=1e-12)
    assert "_divergence(" in net.generate("numpy")


def test_second_derivatives():
    """Of the divergence to b it is diag(q) - q q' of q = softmax(b): Amari (2016), section 1.4."""
    a, b = np.array([0.3, -1.0, 2.0]), np.array([0.1, 0.4, -0.7])
    q = np.exp(b) / np.exp(b).sum()
    np.testing.assert_allclose(network((3,)).hessian("b")({"a": a, "b": b})["b", "b"], np.diag(q) - np.outer(q, q), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("way", ["module", "numpy", pytest.param("numba", marks=needs_numba)])
def test_extreme_logits(way):
    """1e300 apart: softmax(a) is sure of the first, of which softmax(b) has exp(-1e300): the divergence is 1e300, and its slopes are known."""
    value, slopes = found_by(network((3,)), way, "float64", a=np.array([1e300, 0, -1e300]), b=np.array([0, 1e300, 0.0]))
    assert value == 1e300
    np.testing.assert_array_equal(slopes["a"], [0, 0, 0])
    np.testing.assert_array_equal(slopes["b"], [-1, 1, 0])


@pytest.mark.parametrize("way", ["module", "numpy", pytest.param("numba", marks=needs_numba)])
def test_what_has_no_share(way):
    """Entries that a mask makes -oo in both change nothing: the divergence is that of the others."""
    M = sbp.data("M", (4,))
    net = network((4,), lambda a, b: sbp.sum(sbp.softmax(a + M) * sp.log(sbp.softmax(a + M) / sbp.softmax(b + M))))
    a, b, mask = np.array([0.3, 5.0, -0.2, 0.5]), np.array([0.1, -3.0, 0.2, 0.6]), np.array([0, -1e308, 0, 0])
    if way == "module":
        value, slopes = net.value_and_gradients({"a": a, "b": b}, M=mask)
    else:
        trainer = net.trainer(Record(), weights={"a": a, "b": b}, backend=way, precise=True)
        value, slopes = trainer.step(M=mask), trainer.weights
    truth, *wanted = exact(np.delete(a, 1), np.delete(b, 1))
    assert ulps(value, truth, "float64") <= 8
    for name, exactly in zip("ab", wanted, strict=True):
        assert slopes[name][1] == 0
        np.testing.assert_allclose(np.delete(slopes[name], 1), np.array(exactly, dtype=float), rtol=1e-13)


def test_what_is_impossible_and_what_is_no_number():
    """Where q has no share and p has one, the divergence is infinite; of NaN it is NaN."""
    names: dict = {}
    exec(network((3,)).generate("numpy"), names)
    for function, bad in (("_divergence", np.nan), ("_divergence_slope", np.nan), ("_share_difference", np.nan)):
        for a, b in (([bad, 0, 1], [0, 0, 1]), ([0, 0, 1], [0, bad, 1])):
            assert np.isnan(names[function](np.array(a, dtype=float), np.array(b, dtype=float), -1)).any()
    assert names["_divergence"](np.array([0.0, 0.0]), np.array([0.0, -np.inf]), -1) == np.inf
    both = names["_divergence"](np.array([0.3, 0.5, -np.inf]), np.array([0.1, 0.4, -np.inf]), -1)
    assert both == names["_divergence"](np.array([0.3, 0.5]), np.array([0.1, 0.4]), -1)
    assert names["_divergence"](np.zeros((2, 3)), np.zeros((2, 3)), -1).tolist() == [0, 0]


@needs_numba
@pytest.mark.parametrize("place", range(3))
def test_compiled_code_keeps_what_is_no_number(place):
    from symbackprop.codegen import divergence_kernels as kernels

    row, other = np.array([1.0, 2, 0.5]), np.array([0.0, 1, 3])
    row[place] = np.nan
    for a, b in ((row, other), (other, row)):
        out, value = np.zeros((1, 3, 1)), np.zeros((1, 1))
        kernels.divergence(value, a.reshape(1, 3, 1), b.reshape(1, 3, 1))
        assert np.isnan(value).all()
        for kernel in (kernels.divergence_slope, kernels.share_difference):
            kernel(out, a.reshape(1, 3, 1), b.reshape(1, 3, 1))
            assert np.isnan(out).any()
