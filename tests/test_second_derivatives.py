"""A gradient is a list of equations like any other, so it can be differentiated again: Hessian-vector products, whole Hessians and third
derivatives, against JAX."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp


def mlp(activation, loss, sizes=(3, 4, 3, 2)):
    X = sbp.data("X", ("n", sizes[0]))
    for layer, (inputs, units) in enumerate(itertools.pairwise(sizes), 1):
        Z = sbp.node(f"Z_{layer}", X @ sbp.weight(f"W_{layer}", (inputs, units)) + sbp.weight(f"b_{layer}", (units,)))
        X = sbp.node(f"A_{layer}", activation(Z)) if layer < len(sizes) - 1 else Z
    return loss(X, sbp.data("T", ("n", sizes[-1])))


def jax_mlp(activation, loss):
    def value(weights, X, T):
        layers = len(weights) // 2
        for layer in range(1, layers + 1):
            X = X @ weights[f"W_{layer}"] + weights[f"b_{layer}"]
            X = activation(X) if layer < layers else X
        return loss(X, T)

    return value


def squared(Y, T):
    return jnp.mean((Y - T) ** 2)


def crossed(Y, T):
    return jnp.mean(jax.nn.logsumexp(Y, axis=-1) - jnp.sum(T * Y, axis=-1))


def attention():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    Q, K, V = sbp.weight("Q", (3, 2)), sbp.weight("K", (3, 2)), sbp.weight("V", (3, 2))
    scores = sbp.node("S", sbp.softmax((X @ Q) @ (X @ K).T))
    return sbp.mse(sbp.matmul(scores, X @ V), T)


def jax_attention(weights, X, T):
    S = jax.nn.softmax((X @ weights["Q"]) @ (X @ weights["K"]).T, axis=-1)
    return jnp.mean((S @ (X @ weights["V"]) - T) ** 2)


def tied():
    """An autoencoder whose decoder is the transposed encoder, and a weight used at two places more."""
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    W, b = sbp.weight("W", (3, 2)), sbp.weight("b", (2,))
    H = sbp.node("H", sbp.sigmoid(X @ W + b))
    Y = sbp.node("Y", sbp.matmul(sp.tanh(H @ W.T), W) * b)
    return sbp.mse(Y, T) + sbp.sum(W**4) / 10


def jax_tied(weights, X, T):
    W, b = weights["W"], weights["b"]
    Y = (jnp.tanh(jax.nn.sigmoid(X @ W + b) @ W.T) @ W) * b
    return jnp.mean((Y - T) ** 2) + jnp.sum(W**4) / 10


def shapes_and_slices():
    """Every structural operator once: reshape, slice, concatenate, transpose, mean, logsumexp, a maximum, powers, a Piecewise."""
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    W, c = sbp.weight("W", (3, 4)), sbp.weight("c", (6,))
    H = sbp.node("H", X @ W)
    M = sbp.node("M", sbp.reshape(sp.sin(H), ("n", 2, 2)))
    G = sbp.node("G", sbp.reshape(sbp.einsum("nij,nkj->nik", M, M), ("n", 4)))
    J = sbp.node("J", sbp.concatenate([G[:, ::2], H], axis=1))
    P = sbp.node("P", sp.Piecewise((J**3, J > 0), (sp.exp(J) - 1 - J, True)))
    return sbp.mean(sbp.logsumexp(P * c, axis=1) * sbp.max(H**2, axis=1) * (1 + T[:, 0] ** 2) ** sbp.mean(sp.tanh(c)))


def jax_shapes_and_slices(weights, X, T):
    H = X @ weights["W"]
    M = jnp.sin(H).reshape(-1, 2, 2)
    G = jnp.einsum("nij,nkj->nik", M, M).reshape(-1, 4)
    J = jnp.concatenate([G[:, ::2], H], axis=1)
    P = jnp.where(J > 0, J**3, jnp.exp(J) - 1 - J)
    c = weights["c"]
    return jnp.mean(jax.nn.logsumexp(P * c, axis=1) * jnp.max(H**2, axis=1) * (1 + T[:, 0] ** 2) ** jnp.mean(jnp.tanh(c)))


def embedding():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    words = sbp.data("words", ("n",))
    E, W = sbp.weight("E", (5, 3)), sbp.weight("W", (3, 2))
    return sbp.mse(sbp.matmul(sp.tanh(sbp.take(E, words) * X), W), T)


def jax_embedding(weights, X, T, words):
    return jnp.mean((jnp.tanh(weights["E"][words] * X) @ weights["W"] - T) ** 2)


NETWORKS = {
    "tanh, squared error": (lambda: mlp(sp.tanh, sbp.mse), jax_mlp(jnp.tanh, squared)),
    "softplus, squared error": (lambda: mlp(sbp.softplus, sbp.mse), jax_mlp(jax.nn.softplus, squared)),
    "gelu, cross-entropy": (lambda: mlp(sbp.gelu, sbp.cross_entropy), jax_mlp(lambda z: jax.nn.gelu(z, approximate=False), crossed)),
    "relu, cross-entropy": (lambda: mlp(sbp.relu, sbp.cross_entropy), jax_mlp(jax.nn.relu, crossed)),
    "attention": (attention, jax_attention),
    "tied weights": (tied, jax_tied),
    "shapes and slices": (shapes_and_slices, jax_shapes_and_slices),
    "embedding": (embedding, jax_embedding),
}


@pytest.mark.parametrize(("describe", "reference"), NETWORKS.values(), ids=NETWORKS.keys())
def test_hessian_vector_product(describe, reference, close, draw):
    net = sbp.Network(describe())
    directions = {name: sbp.data(f"v_{name}", w.shape) for name, w in net.weights.items()}
    slope = sum(sbp.sum(net.gradients[name].symbol * v) for name, v in directions.items())
    product = sbp.Network(sbp.node("s", slope))

    weights = draw({name: w.shape for name, w in net.weights.items()}, low=-1, high=1, seed=1)
    v = draw({name: w.shape for name, w in net.weights.items()}, low=-1, high=1, seed=2)
    data = draw({"X": (5, 3), "T": (5, 2)}, low=-1, high=1, seed=3)
    if "words" in net.data:
        data["words"] = np.array([0, 3, 3, 1, 0])

    def along(weights, v, data):
        return jax.jvp(jax.grad(lambda w: reference(w, **data)), (weights,), (v,))

    gradients, wanted = jax.jit(along)(weights, v, data)
    data_of_s = {name: value for name, value in (data | {f"v_{name}": value for name, value in v.items()}).items() if name in product.data}
    s, found = product.value_and_gradients(weights, **data_of_s)
    close(s, sum(float(jnp.sum(gradients[name] * v[name])) for name in v), what="the slope along v")
    assert set(found) == set(wanted)
    for name in wanted:
        close(found[name], wanted[name], what=f"H v, the part of {name}")
    # The same by name, and as the whole Hessian: a wrong entry anywhere in it would show in its product with a random vector.
    direct = net.hessian_vector_product()(weights, v, **data)
    hessian = net.hessian()(weights, **data)
    for p in wanted:
        close(direct[p], wanted[p], what=f"H v by name, the part of {p}")
        total = sum(np.tensordot(hessian[p, q], v[q], v[q].ndim) for q in v)
        close(total, wanted[p], what=f"the whole Hessian times v, the part of {p}")
        for q in v:
            assert hessian[p, q].shape == weights[p].shape + weights[q].shape
    # The same through the training step.
    trainer = product.trainer(sbp.SGD(lr=0.5), weights=weights)
    trainer.step(**data_of_s)
    for name in wanted:
        close(trainer.weights[name], weights[name] - 0.5 * np.asarray(wanted[name]), what=f"{name} after a step along H v")


def test_whole_hessian(close):
    """Entry by entry: each entry of the gradient is a loss of its own."""
    X, T = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 1))
    W, V = sbp.weight("W", (2, 2)), sbp.weight("V", (2, 1))
    net = sbp.Network(sbp.mse(sbp.matmul(sp.tanh(X @ W), V), T))
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(2, 2)), "V": rng.normal(size=(2, 1))}
    data = {"X": rng.normal(size=(6, 2)), "T": rng.normal(size=(6, 1))}
    hessian = jax.jit(jax.hessian(lambda w: jnp.mean((jnp.tanh(data["X"] @ w["W"]) @ w["V"] - data["T"]) ** 2)))(weights)
    for row in weights:
        for index in np.ndindex(weights[row].shape):
            entry = sbp.Network(sbp.node("g", net.gradients[row].symbol[index]))
            _, found = entry.value_and_gradients(weights, **data)
            for column in found:
                close(found[column], hessian[row][column][index], what=f"d²C/d{row}{list(index)}d{column}")


def test_third_derivative_of_scalars():
    """The tanh notebook's network, its derivatives in w_1 up to the third, against SymPy's own derivatives at 50 digits."""
    x, t = sbp.data("x t")
    w1, w2, b = sbp.weight("w_1 w_2 b")
    y = sbp.node("y", sp.tanh(w2 * sbp.node("a_1", sp.tanh(sbp.node("z_1", w1 * x))) + b))
    first = sbp.Network(sbp.node("C", (y - t) ** 2 / 2))
    second = sbp.Network(sbp.node("C_1", first.gradients["w_1"].symbol))
    third = sbp.Network(sbp.node("C_2", second.gradients["w_1"].symbol))
    u, v, c, p, q = sp.symbols("u v c p q")
    plain = (sp.tanh(v * sp.tanh(u * p) + c) - q) ** 2 / 2
    point = {u: sp.Rational(3, 4), v: sp.Rational(-5, 4), c: sp.Rational(1, 4), p: sp.Rational(1, 2), q: sp.Rational(1, 8)}
    numbers = {"w_1": 0.75, "w_2": -1.25, "b": 0.25}
    for order, net in enumerate([first, second, third], 1):
        _, found = net.value_and_gradients(numbers, x=0.5, t=0.125)
        for name, symbol in {"w_1": u, "w_2": v, "b": c}.items():
            wanted = plain.diff(u, order - 1).diff(symbol).evalf(50, subs=point)
            np.testing.assert_allclose(float(found[name]), float(wanted), rtol=1e-12, err_msg=f"order {order}, {name}")


def test_second_derivatives_commute(close):
    """uᵀ (H v) = vᵀ (H u)."""
    net = sbp.Network(mlp(sp.tanh, sbp.mse))
    shapes = {name: w.shape for name, w in net.weights.items()}
    rng = np.random.default_rng(5)
    weights, u, v = ({name: rng.normal(size=shape) for name, shape in shapes.items()} for _ in range(3))
    data = {"X": rng.normal(size=(4, 3)), "T": rng.normal(size=(4, 2))}
    directions = {name: sbp.data(f"v_{name}", shape) for name, shape in shapes.items()}
    product = sbp.Network(sbp.node("s", sum(sbp.sum(net.gradients[name].symbol * d) for name, d in directions.items())))

    def form(left, right):
        _, h = product.value_and_gradients(weights, **data, **{f"v_{name}": value for name, value in right.items()})
        return sum(np.sum(left[name] * h[name]) for name in left)

    assert abs(form(u, v)) > 1e-3
    close(form(u, v), form(v, u))
