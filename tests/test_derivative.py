"""Derivatives as nodes, found forwards, against JAX's forward mode and against their own pullbacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.calculus import tangent

UNITS = 3


def one_hidden(x, f):
    return sbp.dense(sbp.dense(x, UNITS, f), 2)


def jax_hidden(f):
    def value(w, x):
        return f(x @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]

    return value


def spread(x):
    """Operators of every family on the way: reduction, softmax, slices, concatenation, a reshape, an outer product."""
    z = sbp.dense(x, 4, "tanh")
    s = sbp.node("s", sbp.softmax(z))
    joined = sbp.node("j", sbp.concatenate([s[:, 1:], z * sbp.max(z, axis=1, keepdims=True)], axis=1))
    outer = sbp.node("o", sbp.einsum("ni,nj->nij", joined, s))
    return sbp.reshape(outer, ("n", 28)) * sbp.logsumexp(z, axis=1, keepdims=True)


def jax_spread(w, x):
    z = jnp.tanh(x @ w["W_1"] + w["b_1"])
    s = jax.nn.softmax(z)
    joined = jnp.concatenate([s[:, 1:], z * z.max(axis=1, keepdims=True)], axis=1)
    return jnp.einsum("ni,nj->nij", joined, s).reshape(len(x), 28) * jax.nn.logsumexp(z, axis=1, keepdims=True)


CASES = {
    "tanh": (lambda x: one_hidden(x, "tanh"), jax_hidden(jnp.tanh)),
    "softplus": (lambda x: one_hidden(x, "softplus"), jax_hidden(jax.nn.softplus)),
    "operators": (spread, jax_spread),
}


@pytest.fixture(params=CASES)
def case(request):
    """(how the function is built, a loss of its first two derivatives in JAX, data)."""
    build, reference = CASES[request.param]

    def loss(w, x, v):
        def along(f):
            return lambda x: jax.jvp(f, (x,), (v,))[1]

        once = along(lambda x: reference(w, x))
        return jnp.mean(once(x) ** 2) + jnp.mean((along(once)(x) + reference(w, x)) ** 2)

    rng = np.random.default_rng(0)
    return build, loss, {"x": rng.normal(size=(5, 2)), "v": rng.normal(size=(5, 2))}


def made(case):
    """The network of the same loss."""
    x, v = sbp.data("x", ("n", 2)), sbp.data("v", ("n", 2))
    y = sbp.node("y", case[0](x))
    first = sbp.derivative(y, x, v)
    return sbp.Network(sbp.node("C", sbp.mean(first**2) + sbp.mean((sbp.derivative(first, x, v) + y) ** 2)))


def point(net, rng):
    return {name: rng.normal(size=value.shape) for name, value in net.trainer(sbp.SGD(lr=1)).weights.items()}


def test_the_loss_and_its_gradient_are_those_of_jax(case):
    _, loss, data = case
    net = made(case)
    weights = point(net, np.random.default_rng(1))
    value, gradients = net.value_and_gradients(weights, **data)
    expected, expected_gradients = jax.value_and_grad(loss)(weights, **data)
    assert value == pytest.approx(float(expected), rel=1e-10)
    for name, g in expected_gradients.items():
        np.testing.assert_allclose(gradients[name], g, rtol=1e-9, atol=1e-10)


def test_a_lost_slope_is_found(case, monkeypatch):
    """The comparison above would see a tangent without its factor."""
    _, loss, data = case
    monkeypatch.setattr(tangent, "product", lambda slope, change: 2 * slope * change)
    net = made(case)
    weights = point(net, np.random.default_rng(1))
    assert net.value_and_gradients(weights, **data)[0] != pytest.approx(float(loss(weights, **data)), rel=1e-2)


def test_scalars_agree_with_sympy():
    x, w = sbp.data("x"), sbp.weight("w")
    a = sbp.node("a", sp.tanh(w * x))
    y = sbp.node("y", a**3 * sp.exp(-x) + a / (1 + x**2))
    second = sbp.derivative(sbp.derivative(y, x), x)
    closed = y.definition.xreplace({a: a.definition})
    expected = sp.diff(closed, x, 2)
    values = {x: 0.3, w: 1.7}
    expected = expected.xreplace({symbol: sp.Float(value, 30) for symbol, value in values.items()})
    assert float(sbp.evaluate(second, {"w": 1.7, "x": 0.3})) == pytest.approx(float(expected), rel=1e-12)


def test_a_direction_survives_random_weights():
    """A direction that is an array is a constant, no weight: who draws every weight anew leaves it as it is, and all find it nevertheless."""
    x, t, direction = sbp.data("x", ("n", 2)), sbp.data("t", ("n", 2)), np.array([1.0, -2.0])
    step = sbp.state("count", update=lambda count: count + 1)
    D = sbp.node("D", one_hidden(x, sp.tanh))
    C = sbp.node("C", sbp.mse(sbp.derivative(D, x, direction=direction), t) + step * sbp.mean(D))
    net = sbp.Network(C, output=D)
    assert list(net.initialize()) == ["W_1", "b_1", "W_2", "b_2", "count"]
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=array.shape) for name, array in net.initialize().items()}
    values = {"x": rng.normal(size=(4, 2)), "t": rng.normal(size=(4, 2))}

    def loss(w):
        y, slope = jax.jvp(lambda x: jax_hidden(jnp.tanh)(w, x), (values["x"],), (jnp.broadcast_to(direction, (4, 2)),))
        return jnp.mean((slope - values["t"]) ** 2) + w["count"] * jnp.mean(y)

    expected, slopes = jax.value_and_grad(loss)(weights)
    found, gradients = net.value_and_gradients(weights, **values)
    trainer = net.trainer(sbp.SGD(lr=0.1), weights=weights)
    for value in (found, trainer.loss(**values), float(sbp.evaluate(C, {**weights, **values})), trainer.step(**values)):
        assert value == pytest.approx(float(expected), rel=1e-10)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, slopes[name], rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(trainer.weights[name], weights[name] - 0.1 * slopes[name], rtol=1e-9, atol=1e-10)
    assert sbp.check_gradients(net, weights, values).ok


def test_derivatives_are_named_and_made_once():
    x = sbp.data("x", ("n", 1))
    u = sbp.node("u", sbp.dense(sbp.dense(x, 3, "tanh"), 1) * x)
    u_x = sbp.derivative(u, x)
    assert u_x.name == "u_x"
    assert u_x.shape == ("n", 1)
    assert sbp.derivative(u, x) is u_x
    net = sbp.Network(sbp.node("C", sbp.mean(sbp.derivative(u_x, x) ** 2)))
    assert "A_{1,x,x}" in net.latex("matrix")
    assert "Z_{1,x,x}" not in net.latex("matrix")  # Z_1 is linear in x


def test_the_derivation_of_a_physics_informed_loss_holds():
    x = sbp.data("x", ("n", 1))
    u = sbp.node("u", x + x**2 * sbp.dense(sbp.dense(x, 3, "tanh"), 1))
    u_xx = sbp.derivative(sbp.derivative(u, x), x)
    derivation = sbp.Network(sbp.node("C", sbp.mean((u_xx + u) ** 2)), output=u).derivation()
    assert derivation.ok
    assert "A_{1,x,x}" in derivation.latex()


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda x, y: sbp.derivative(y, 2 * x), sbp.NetworkError, "expected a named tensor"),
        (lambda x, y: sbp.derivative(y * 2, x), sbp.NetworkError, "expected a named tensor"),
        (lambda x, y: sbp.derivative(y, sbp.data("t")), sbp.NetworkError, "does not depend on t"),
        (lambda x, y: sbp.derivative(y, x, sbp.data("v", (3,))), sbp.ShapeError, r"direction has shape \(3,\)"),
        (lambda x, y: sbp.derivative(y, x, "x"), sbp.NetworkError, "found str"),
    ],
)
def test_bad_input_is_named(make, error, says):
    x = sbp.data("x", ("n", 2))
    with pytest.raises(error, match=says):
        make(x, sbp.node("y", sp.sin(x)))


def test_derivatives_along_several_directions_have_names():
    """A penalty on the gradient of a function of a vector: one derivative along each axis, against jax."""
    X = sbp.data("X", ("n", 2))
    o = sbp.node("o", sbp.dense(sbp.dense(X, 3, "tanh"), 1))
    axes = [sbp.derivative(o, X, row, name=f"o_{k}") for k, row in enumerate(np.eye(2))]
    assert [g.name for g in axes] == ["o_0", "o_1"]
    net = sbp.Network(sbp.node("C", sbp.mean((axes[0] ** 2 + axes[1] ** 2 - 1) ** 2)))
    rng = np.random.default_rng(0)
    weights, xs = {w.name: rng.normal(size=w.shape) for w in net.system.weights}, rng.normal(size=(5, 2))

    def penalty(w):
        slope = jax.vmap(jax.grad(lambda x: (jnp.tanh(x @ w["W_1"] + w["b_1"]) @ w["W_2"] + 0 * w["b_1"][:1])[0]))(xs)
        return jnp.mean(((slope**2).sum(1, keepdims=True) - 1) ** 2)

    value, gradients = net.value_and_gradients(weights, X=xs)
    expected, wanted = jax.value_and_grad(penalty)({name: jnp.asarray(w) for name, w in weights.items()})
    assert value == pytest.approx(float(expected), rel=1e-12)
    for name, g in gradients.items():
        np.testing.assert_allclose(g, wanted[name], rtol=1e-10, atol=1e-12)
    with pytest.raises(sbp.NetworkError, match="not a Python identifier"):
        sbp.derivative(o, X, name="o 1")
