"""What is written naively is computed stably: value and gradient against mpmath with hundreds of digits, at arguments where the
formula as written overflows or cancels in floating point."""

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp

DIGITS = 800  # enough for 1 - sigmoid(800), which differs from 1 in the 348th digit


def scalar(build):
    """A network with the loss `build(z)` in z = w x + b, and a node for z."""
    x = sbp.data("x")
    w, b = sbp.weight("w b")
    return sbp.Network(sbp.node("C", build(sbp.node("z", w * x + b))))


def cross_entropy_of_named_probability(z):
    p = sbp.node("p", sbp.sigmoid(z))
    return -(sp.Rational(1, 4) * sp.log(p) + sp.Rational(3, 4) * sp.log(1 - p))


FORMULAS = {
    "-log(sigmoid(z))": lambda z: -sp.log(sbp.sigmoid(z)),
    "-log(1 - sigmoid(z))": lambda z: -sp.log(1 - sbp.sigmoid(z)),
    "log(1/(1 + exp(-z)))": lambda z: sp.log(1 / (1 + sp.exp(-z))),
    "log(1 + exp(z))": lambda z: sp.log(1 + sp.exp(z)),
    "1/(1 + exp(-z))": lambda z: 1 / (1 + sp.exp(-z)),
    "exp(z)/(1 + exp(z))": lambda z: sp.exp(z) / (1 + sp.exp(z)),
    "cross-entropy of p = sigmoid(z)": cross_entropy_of_named_probability,
}


@pytest.mark.parametrize("z", [-700.0, -40.0, -1e-9, 0.3, 40.0, 700.0])
@pytest.mark.parametrize("name", FORMULAS)
def test_saturated_formulas(name, z):
    net = scalar(FORMULAS[name])
    weights, data = {"w": 1.0, "b": 0.0}, {"x": z}
    loss, gradients = net.value_and_gradients(weights, **data)
    exact = {**weights, **data}
    assert loss == pytest.approx(float(sbp.evaluate(net.loss, exact, DIGITS)), rel=1e-14)
    for weight in ("w", "b"):
        want = float(sbp.evaluate(net.gradients[weight].local, exact, DIGITS))
        assert float(gradients[weight]) == pytest.approx(want, rel=1e-13)


@pytest.mark.parametrize("x", [1e-12, -3e-10, 2e-5])
@pytest.mark.parametrize("build", [lambda z: sp.exp(z) - 1, lambda z: sp.log(1 + z)], ids=["exp(x) - 1", "log(1 + x)"])
def test_cancelling_formulas(build, x):
    net = scalar(build)
    loss, _ = net.value_and_gradients({"w": 1.0, "b": 0.0}, x=x)
    assert loss == pytest.approx(float(sbp.evaluate(net.loss, {"w": 1.0, "b": 0.0, "x": x}, 60)), rel=1e-15)


@pytest.mark.parametrize("scale", [1.0, 300.0, 1000.0])
def test_log_of_a_named_softmax_and_of_a_sum_of_exponentials(scale):
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 3))
    W = sbp.weight("W", (3, 3))
    Z = sbp.node("Z", X @ W)
    P = sbp.node("P", sbp.softmax(Z))
    written = sbp.Network(sbp.node("C", -sbp.mean(sbp.sum(T * sp.log(P), axis=1))), output=P)
    lse = sbp.node("L", sp.log(sbp.sum(sp.exp(Z), axis=1)))
    by_hand = sbp.Network(sbp.node("D", sbp.mean(lse - sbp.sum(T * Z, axis=1))))
    weights = {"W": scale * np.array([[1.0, -0.5, 0.2], [0.3, 0.7, -1.0], [-0.2, 0.1, 0.4]])}
    data = {"X": np.array([[1.0, 0.5, -0.3], [-0.8, 0.2, 0.9]]), "T": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])}
    for net in (written, by_hand):
        loss, gradients = net.value_and_gradients(weights, **data)
        want = sbp.evaluate(net.gradients["W"].local, {**weights, **data}, DIGITS)
        assert loss == pytest.approx(float(sbp.evaluate(net.loss, {**weights, **data}, DIGITS)), rel=1e-13)
        # softmax - target is 1 - 1 where the network is sure and right: accurate as a share of the largest entry.
        np.testing.assert_allclose(gradients["W"], np.array(want, dtype=float), atol=1e-14)


def test_cross_entropy_of_a_named_sigmoid_collapses():
    """The textbook result, sigmoid(z) - t (Goodfellow, Bengio & Courville, section 6.2.2.2); code computes it so that nothing cancels."""
    x, t = sbp.data("x t")
    w = sbp.weight("w")
    p = sbp.node("p", sbp.sigmoid(sbp.node("z", w * x)))
    net = sbp.Network(sbp.node("C", sbp.binary_cross_entropy(p, t)), output=p)
    assert net.gradients["w"].local == x * (p - t)
    assert "dC_dz = _logistic_slope(z, s_1, t) / n" in net.generate()


def test_cross_entropy_of_softmax_collapses():
    """The textbook result, (softmax(Z) - T)/n (the same section)."""
    net = sbp.mlp([3, 2], output="softmax", loss="cross_entropy")
    Y, T = net.output, net.data["T"]
    assert net.gradients["b_1"].local == sbp.sum(Y - T, axis=0) / sbp.Dim("n")


def test_the_written_formula_is_what_is_shown():
    z = sbp.node("z", sbp.weight("w") * sbp.data("x"))
    net = sbp.Network(sbp.node("C", sp.log(1 + sp.exp(z))))
    assert "log(exp(z) + 1)" in net.generate().replace("1 + exp(z)", "exp(z) + 1")
    assert r"\log" in net.latex("equations")
