"""Second derivatives and Jacobians in compiled code: against jax, and against the generated NumPy modules, which are held against torch
elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.training import native

jax.config.update("jax_enable_x64", True)

if not native.installed():
    pytest.skip("the extra [fast] is not installed", allow_module_level=True)


def perceptron():
    X, t = sbp.data("X", ("n", 3)), sbp.data("t", ("n", 1))
    y = sbp.node("y", sbp.dense(sbp.dense(X, 2, "tanh"), 1))
    return sbp.Network(sbp.node("C", sbp.mean((y - t) ** 2)), output=y)


def convolution():
    X, t = sbp.data("X", ("n", 2, 5)), sbp.data("t", "n")
    maps = sbp.avg_pool1d(sbp.conv1d(X, 2, 2, activation="tanh"), 2)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.dense(sbp.reshape(maps, ("n", -1)), 3), t)))


def scalars():
    x, t = sbp.data("x"), sbp.data("t")
    a = sbp.node("a", sp.tanh(sbp.weight("w") * x + sbp.weight("b")))
    return sbp.Network(sbp.node("C", (a - t) ** 2))


def point(net, n, seed=0):
    rng = np.random.default_rng(seed)
    weights = {w.name: rng.normal(size=w.shape) for w in net.system.weights}
    labels = {t for t in net.system.data if t.name == "t" and net.system.by_name.get("K_1")}
    shapes = {t.name: (n, *(s for s in t.shape if isinstance(s, int))) for t in net.system.data}
    return weights, {t.name: rng.integers(0, 3, n) if t in labels else rng.normal(size=shapes[t.name]) for t in net.system.data}


def check(derivatives, weights, data, *vectors):
    compiled = derivatives.compiled()
    for n in (len(data["t"]), 3):  # the same code for another number of samples, and once more with its memory
        cut = {name: array[:n] for name, array in data.items()}
        expected, found = derivatives(weights, *vectors, **cut), compiled(weights, *vectors, **cut)
        assert found.keys() == expected.keys()
        for key, block in expected.items():
            assert found[key].shape == block.shape
            assert found[key].dtype == block.dtype
            np.testing.assert_allclose(found[key], block, rtol=1e-12, atol=1e-12)


KINDS = ["hessian", "hessian_vector_product", "jacobian", "fisher", "per_sample_gradients", "gauss_newton"]
CASES = [(scalars, kind) for kind in KINDS] + [(perceptron, kind) for kind in ("hessian_vector_product", "jacobian", "per_sample_gradients")]


@pytest.mark.parametrize(("make", "kind"), CASES)
def test_every_kind(make, kind):
    net = make()
    weights, data = point(net, 5)
    vectors = [{name: 1 + w for name, w in weights.items()}] if kind == "hessian_vector_product" else []
    node = "a" if make is scalars else "y"
    check(net.jacobian(node) if kind == "jacobian" else getattr(net, kind)(), weights, data, *vectors)


def test_a_convolution_with_a_softmax():
    net = convolution()
    weights, data = point(net, 4)
    check(net.gauss_newton(wrt="b_1"), weights, data)


def test_the_hessian_of_a_perceptron_is_that_of_jax():
    net = perceptron()
    weights, data = point(net, 6)

    def loss(w):
        return jnp.mean((jnp.tanh(data["X"] @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"] - data["t"]) ** 2)

    expected = jax.hessian(loss)({name: jnp.asarray(w) for name, w in weights.items()})
    for (p, q), block in net.hessian().compiled()(weights, **data).items():
        np.testing.assert_allclose(block, expected[p][q], rtol=1e-10, atol=1e-12)


def test_a_block_of_all_samples_that_reads_none_of_them():
    """The derivative of y = X W + b by b is 1 for each sample."""
    X = sbp.data("X", ("n", 2))
    y = sbp.node("y", X @ sbp.weight("W", (2, 1)) + sbp.weight("b", (1,)))
    jacobian = sbp.Network(sbp.node("C", sbp.mean(y**2))).jacobian("y", wrt="b").compiled()
    np.testing.assert_array_equal(jacobian({"W": np.ones((2, 1)), "b": np.ones(1)}, X=np.ones((3, 2)))["b"], np.ones((3, 1, 1)))


def test_the_matrix_is_computed_in_compiled_code_too_and_results_are_not_overwritten():
    net = scalars()
    weights, data = point(net, 4)
    plain, compiled = net.hessian(), net.hessian().compiled()
    first = compiled(weights, **data)
    kept = {key: block.copy() for key, block in first.items()}
    np.testing.assert_allclose(compiled.matrix(weights, **data), plain.matrix(weights, **data), rtol=1e-12)
    compiled({name: w + 1 for name, w in weights.items()}, **data)
    assert all(np.array_equal(first[key], kept[key]) for key in kept)


def test_bad_data_are_refused_as_without_compiling():
    net = scalars()
    weights, data = point(net, 4)
    with pytest.raises(sbp.DataError, match="'x'"):
        net.hessian().compiled()(weights, t=data["t"])


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(native, "installed", lambda: False)
    with pytest.raises(ImportError, match=r"symbackprop\[fast\]"):
        scalars().hessian().compiled()


def test_a_planted_error_is_found(monkeypatch):
    from symbackprop.codegen import native_blocks

    planned = native_blocks.planned
    monkeypatch.setattr(native_blocks, "planned", lambda e, name: planned([type(q)(q.symbol, q.expr * sp.Rational(1001, 1000)) for q in e], name))
    net = scalars()
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        check(net.hessian(), *point(net, 4))
