"""Norms along axes: roots of sums of squares neither overflow nor vanish where the squares do, in the generated module and in both training
engines; their gradients are right there too. The truth is mpmath's of formulas on paper, and PyTorch's in the ordinary range."""

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.calculus.evaluate import evaluate
from symbackprop.calculus.norms import OF_PRODUCTS
from symbackprop.calculus.stabilise import Rewriter, computed
from symbackprop.codegen.load import load_source
from symbackprop.graph.operators.norm import Norm, Unit, norm
from symbackprop.graph.serialize import read, write
from symbackprop.training.native import installed

N = 4
SIZES = {"float64": (0.0, 1e-300, 1e-160, 1.0, 1e160, 1e300), "float32": (0.0, 1e-40, 1e-20, 1.0, 1e20, 1e38)}
EPS, LEAST = 1e-5, 1e-8


def over_norm(v, t, scale=1, eps=0, least=0):
    """sum(t v)/max(sqrt(scale sum(v²) + eps), least), its gradient, and how large the terms of both are: by hand, with many digits."""
    root = mpmath.sqrt(scale * mpmath.fsum(a * a for a in v) + mpmath.mpf(eps))
    length = max(root, mpmath.mpf(least))
    if length == 0:
        return mpmath.mpf(0), [mpmath.mpf(0)] * len(v), mpmath.mpf(1), mpmath.mpf(1)
    u = [a / length for a in v]
    value = mpmath.fsum(a * b for a, b in zip(u, t, strict=True))
    slope = [(b - (scale * a * value if root > least else 0)) / length for a, b in zip(u, t, strict=True)]
    return value, slope, mpmath.fsum(abs(a * b) for a, b in zip(u, t, strict=True)), max(map(abs, t)) / length


def length(v, t, scale=1, eps=0):
    root = mpmath.sqrt(scale * mpmath.fsum(a * a for a in v) + mpmath.mpf(eps))
    slope = [scale * a / root if root else mpmath.mpf(0) for a in v]
    return root, slope, root, max(map(abs, slope)) or mpmath.mpf(1)


def formulas():
    x, t = sbp.weight("x", (N,)), sbp.data("t", ("n", N))
    quarter = mpmath.mpf(1) / N
    squares = sbp.sum(x**2)
    kept = sbp.sum(x**2, axis=-1, keepdims=True)
    centred = lambda v: [a - mpmath.fsum(v) / N for a in v]  # noqa: E731
    yield "sqrt(sum(v²))", sp.sqrt(squares), length
    yield "sqrt(sum(v²)), keepdims", sbp.sum(sp.sqrt(kept)), length
    yield "sqrt(mean(v²) + e)", sp.sqrt(sbp.mean(x**2) + EPS), lambda v, t: length(v, t, quarter, EPS)
    yield "v/|v|", sbp.sum(t * (x / sp.sqrt(squares))), over_norm
    yield "v/|v|, keepdims", sbp.sum(t * (x / sp.sqrt(kept))), over_norm
    yield "v/max(|v|, m)", sbp.sum(t * x / sp.Max(norm(x), sp.Float(LEAST))), lambda v, t: over_norm(v, t, least=LEAST)
    yield "rms_norm", sbp.sum(t * sbp.rms_norm(x, gain=False)), lambda v, t: over_norm(v, t, quarter, EPS)

    def layer(v, t):
        value, slope, terms, size = over_norm(centred(v), t, quarter, EPS)
        return value, centred(slope), terms, size

    yield "layer_norm", sbp.sum(t * sbp.layer_norm(x, gain=False, bias=False)), layer


FORMULAS = {name: (sbp.Network(sbp.node("C", expr)), truth) for name, expr, truth in formulas()}


def ulps_of(found, true, size, dtype):
    """The error in units in the last place of a number of this size; 0 where it is beyond the range of floats."""
    unit = np.spacing(np.abs(np.array(float(size), dtype)))
    if not np.isfinite(unit):
        return 0.0
    return float(abs(mpmath.mpf(float(found)) - true) / mpmath.mpf(float(unit))) if np.isfinite(found) else np.inf


def worst(net, truth, compute, dtype, seed=0):
    """The largest errors of value and gradient at entries of every size, some of them 0."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(1, N)).astype(dtype)
    found = [0.0, 0.0]
    with np.errstate(over="ignore"):
        for size in SIZES[dtype]:
            for zeros in (0, 1, N - 1):
                v = (rng.uniform(1, 1.7, N) * rng.choice([-1, 1], N)).astype(dtype) * np.dtype(dtype).type(size)
                v[:zeros] = 0
                if net.system.by_name.get("mu_1") is not None and 0 < size < np.finfo(dtype).tiny:
                    continue  # the mean of numbers below the normal ones is one of them, to few digits
                value, gradient = compute(v, {"t": t} if net.system.data else {})
                true, slope, terms, size_of_slope = truth([mpmath.mpf(float(a)) for a in v], [mpmath.mpf(float(a)) for a in t[0]])
                found[0] = max(found[0], ulps_of(value, true, terms, dtype))
                found[1] = max(found[1], *(ulps_of(g, s, size_of_slope, dtype) for g, s in zip(gradient, slope, strict=True)))
    return found


@pytest.fixture(scope="module", autouse=True)
def digits():
    with mpmath.workdps(1300):
        yield


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_in_the_module(name, dtype):
    net, truth = FORMULAS[name]
    module = load_source(net.generate("numpy", dtype=dtype), "norms")

    def compute(v, data):
        with np.errstate(divide="raise", invalid="raise"):  # the slope of v/|v| at 1e-40 is beyond float32
            value, gradients = module.loss_and_gradients({"x": v}, **data)
        return value, gradients["x"]

    assert max(worst(net, truth, compute, dtype)) <= 4


class _Recorder(sbp.Optimizer):
    """Writes the gradient into the weight."""

    def rule(self, w, g, t, state):
        yield w, g


def trained(net, backend, dtype):
    trainer = net.trainer(_Recorder(), dtype=dtype, backend=backend)

    def compute(v, data):
        trainer.weights["x"] = v
        return trainer.step(**data), trainer.weights["x"].copy()

    return compute


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradient_in_numpy_training(name, dtype):
    net, truth = FORMULAS[name]
    assert max(worst(net, truth, trained(net, "numpy", dtype), dtype)) <= 4


@pytest.mark.skipif(not installed(), reason="needs numba and SciPy")
@pytest.mark.parametrize(("name", "dtype"), [("layer_norm", "float64"), ("v/max(|v|, m)", "float32")])
def test_value_and_gradient_in_compiled_training(name, dtype):
    net, truth = FORMULAS[name]
    assert max(worst(net, truth, trained(net, "numba", dtype), dtype)) <= 4


def test_without_the_rewrite_they_fail(monkeypatch):
    monkeypatch.setattr(Rewriter, "__call__", lambda self, name, expr: expr)
    x = sbp.weight("x", (N,))
    net = sbp.Network(sbp.node("C", sp.sqrt(sbp.sum(x**2))))
    module = load_source(net.generate(), "plain")
    with np.errstate(all="ignore"):
        for size in (0.0, 1e-300, 1e200):
            value, gradients = module.loss_and_gradients({"x": np.full(N, size)})
            assert not (np.isclose(value, 2 * size, rtol=1e-10, atol=0) and np.isfinite(gradients["x"]).all())


@settings(max_examples=8, deadline=None)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(2, 3), st.sampled_from([0, 1, 2, (0, 2), (1, 2), (0, 1, 2)]), st.integers(0, 99))
def test_the_operators_agree_with_pytorch(a, b, c, axis, seed):
    """Norm and quotient over any axes, their first and second derivatives, over random shapes."""
    rng = np.random.default_rng(seed)
    shape, numbers = (a, b, c), (0.5, 0.01, 0.1)
    x, t = sbp.weight("x", shape), sbp.data("t", ("n", *shape))
    axes = axis if isinstance(axis, tuple) else (axis,)
    scale, eps, least = numbers
    under = scale * sbp.sum(x**2, axis=axis, keepdims=True) + eps
    y = sbp.node("y", x / sp.Max(sp.sqrt(under), least))
    net = sbp.Network(sbp.node("C", sbp.sum(t * y**2) + sbp.sum(norm(x, axis) ** 3)))
    assert any(e.expr.has(Unit) for e in computed(net.system).system.equations)
    w, target = rng.normal(size=shape), rng.normal(size=(2, *shape))
    value, gradients = net.value_and_gradients({"x": w}, t=target)
    q, s = torch.tensor(w, requires_grad=True), torch.tensor(target)

    def loss(q):
        root = torch.sqrt(scale * (q**2).sum(axes, keepdim=True) + eps)
        return (s * (q / torch.clamp(root, min=least)) ** 2).sum() + (torch.linalg.vector_norm(q, dim=axes) ** 3).sum()

    want = loss(q)
    (slope,) = torch.autograd.grad(want, q)
    assert value == pytest.approx(want.item(), rel=1e-12)
    np.testing.assert_allclose(gradients["x"], slope.numpy(), rtol=1e-12, atol=1e-12 * float(slope.abs().max()))
    if a * b * c <= 12:
        hessian = torch.autograd.functional.hessian(loss, torch.tensor(w)).numpy()
        np.testing.assert_allclose(net.hessian().matrix({"x": w}, t=target), hessian.reshape(w.size, w.size), rtol=1e-9, atol=1e-10)
    trainer = net.trainer(_Recorder(), backend="numpy")
    trainer.weights["x"] = w
    trainer.step(t=target)
    np.testing.assert_allclose(trainer.weights["x"], gradients["x"], rtol=1e-12, atol=1e-12 * float(slope.abs().max()))


@pytest.mark.skipif(not installed(), reason="needs numba and SciPy")
@pytest.mark.parametrize("axes", [(-1,), (-3, -1)])
def test_compiled_kernels_along_any_axes(axes):
    rng = np.random.default_rng(0)
    x, t = sbp.weight("x", (2, 3, 4)), sbp.data("t", ("n", 2, 3, 4))
    net = sbp.Network(sbp.node("C", sbp.sum(t * (x / norm(x, axes, keepdims=True)))))
    w, target = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 2, 3, 4))
    q = torch.tensor(w, requires_grad=True)
    (torch.tensor(target) * q / torch.linalg.vector_norm(q, dim=axes, keepdim=True)).sum().backward()
    trainer = net.trainer(_Recorder(), backend="numba")
    trainer.weights["x"] = w
    trainer.step(t=target)
    np.testing.assert_allclose(trainer.weights["x"], q.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("size", [1e-300, 1e-9, 1.0, 1e200])
def test_cosine_similarity_at_any_size(size):
    rng = np.random.default_rng(0)
    x, y = sbp.weight("x", (2, 3)), sbp.weight("y", (2, 3))
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.cosine_similarity(x, y))))
    u, v = rng.normal(size=(2, 2, 3))
    with np.errstate(all="raise", under="ignore"):
        value, gradients = net.value_and_gradients({"x": u * size, "y": v})
    true, slopes = mpmath.mpf(0), []
    for a, b in zip(u * size, v, strict=True):
        unit = [mpmath.mpf(k) / mpmath.sqrt(mpmath.fsum(mpmath.mpf(m) ** 2 for m in b)) for k in b]
        part, slope, *_ = over_norm([mpmath.mpf(k) for k in a], unit, least=mpmath.mpf(1e-8))
        true, slopes = true + part, [*slopes, [float(s) for s in slope]]
    assert value == pytest.approx(float(true), rel=1e-14)
    np.testing.assert_allclose(gradients["x"], slopes, rtol=1e-13, atol=1e-14 * np.abs(slopes).max())


def test_evaluate_and_files_know_the_operators():
    x = sbp.weight("x", (2, 3))
    expr = sbp.sum(norm(x, axis=1)) + sbp.sum(norm(x, axis=0, keepdims=True)) + norm(x)
    w = np.array([[3.0, 4.0, 0.0], [0.0, 5.0, 12.0]])
    true = 5 + 13 + 3 + np.sqrt(41.0) + 12 + np.sqrt(194.0)
    assert float(evaluate(expr, {"x": w})) == pytest.approx(true, rel=1e-15)
    net = sbp.Network(sbp.node("C", expr))
    nodes, (place,), arrays = write([net.system.loss])
    assert read(nodes, arrays)[place] == net.system.loss
    single = sbp.Network(sbp.node("C", norm(sbp.data("d", (3,)) * sbp.weight("v", (3,)))))  # lifted to a batch
    assert single.value_and_gradients({"v": np.ones(3)}, d=w)[0] == pytest.approx((5 + 13) / 2, rel=1e-15)


def test_formulas_stay_as_written_and_latex_shows_norms():
    x = sbp.weight("x", (3,))
    net = sbp.Network(sbp.node("C", sp.sqrt(sbp.sum(x**2))))
    assert not any(e.expr.has(Norm, Unit) for e in net.system.equations)
    assert not net.gradients["x"].closed.has(Norm, Unit)
    assert computed(net.system).system.loss.definition == norm(x)
    assert r"\lVert x \rVert" in sbp.Network(sbp.node("C", norm(x))).latex("local")


def test_a_norm_along_other_axes_is_no_quotient():
    """x of three rows and columns over the norms of its rows, which stand along its columns: alike in shape, but not x/norm(x)."""
    x = sbp.weight("x", (3, 3))
    quotient = x / norm(x, axis=1)
    assert all(rule(quotient) is None for rule in OF_PRODUCTS)
    w = np.random.default_rng(0).normal(size=(3, 3))
    value, _ = sbp.Network(sbp.node("C", sbp.sum(quotient))).value_and_gradients({"x": w})
    assert value == pytest.approx((w / np.linalg.norm(w, axis=1)).sum(), rel=1e-14)


def test_the_text_form_the_diagram_and_the_page_know_a_norm():
    net = sbp.parse("""
        weight W[3, 2]
        C = sum(norm(W, axis=0)) + norm(W)
        loss C
    """)
    assert net.system.loss.definition == sbp.sum(norm(net.system.weights[0], axis=0)) + norm(net.system.weights[0])
    assert r"\lVert W \rVert_{F}" in net.latex("local") + net.derivation().latex()
    assert "norm" in net.diagram().svg().lower() or "‖" in net.diagram().svg()
    assert net.explain({"W": np.ones((3, 2))}).markdown()


def test_bad_axes_are_refused():
    with pytest.raises(sbp.ShapeError, match="axis 2 does not exist"):
        norm(sbp.weight("x", (3, 3)), axis=2)
