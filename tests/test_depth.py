"""Two hundred layers: derived, printed, generated and run, under Python's usual limit of recursion, with work linear in the depth."""

import re
import sys

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp

DEPTH = 200


@pytest.fixture(scope="module", autouse=True)
def _usual_limit():
    """Python starts with 1000; nobody may have raised it."""
    assert sys.getrecursionlimit() <= 1000


@pytest.fixture(scope="module")
def perceptron():
    return sbp.mlp([3] + [3] * (DEPTH - 1) + [1], activation="tanh")


def scalar_chain(depth):
    """a_k = tanh(w_k a_(k-1)), half a squared error behind."""
    x, t = sbp.data("x t")
    a = x
    for k in range(1, depth + 1):
        a = sbp.node(f"a_{k}", sp.tanh(sbp.weight(f"w_{k}") * a))
    return sbp.Network(sbp.node("C", (a - t) ** 2 / 2), output=a)


@pytest.fixture(scope="module")
def chain():
    return scalar_chain(DEPTH)


def test_perceptron_runs(perceptron, agrees):
    """Weights near the identity, so that something arrives at the other end."""
    rng = np.random.default_rng(0)
    weights = {name: np.eye(*w.shape) if len(w.shape) > 1 else np.zeros(w.shape) for name, w in perceptron.weights.items()}
    weights = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in weights.items()}

    def loss(X, T, **a):
        for k in range(1, DEPTH + 1):
            X = X @ a[f"W_{k}"] + a[f"b_{k}"]
            X = torch.tanh(X) if k < DEPTH else X
        return ((X - T) ** 2).mean()

    agrees(perceptron, loss, weights, {"X": rng.normal(size=(4, 3)), "T": rng.normal(size=(4, 1))})


def test_perceptron_is_printed(perceptron):
    last = perceptron.gradients[f"W_{DEPTH}"]
    assert f"A_{{{DEPTH - 1}}}^{{\\top}}" in last.latex("local")
    assert f"A_{{{DEPTH - 1}}}^{{\\top}}" in last.latex("matrix")
    matrix = perceptron.latex("matrix")
    errors = set(map(int, re.findall(r"\\Delta_\{?(\d+)\}? &=", matrix)))
    assert errors == set(range(1, DEPTH + 1)), "one line for the error of each layer"
    for k in range(1, DEPTH + 1):
        assert re.search(rf"\\frac\{{\\partial C\}}\{{\\partial W_\{{?{k}\}}?\}} &=", matrix)


def test_the_local_form_of_the_first_layer(perceptron):
    """An expression that nests as deep as the network; the limit of recursion is the usual one again afterwards."""
    text = perceptron.gradients["W_1"].latex("local")
    # Every layer's transposed weight and activation stands in it once.
    assert [text.count(rf"W_{{{k}}}^{{\top}}") for k in (2, DEPTH // 2, DEPTH)] == [1, 1, 1]
    assert text.count(r"\odot (1 - A_{") == DEPTH - 1
    assert sys.getrecursionlimit() <= 1000


def test_chain_runs(chain, agrees):
    weights = {name: np.array(1.2 + 0.1 * np.sin(k)) for k, name in enumerate(chain.weights)}

    def loss(x, t, **a):
        for k in range(1, DEPTH + 1):
            x = torch.tanh(a[f"w_{k}"] * x)
        return (x - t) ** 2 / 2

    agrees(chain, loss, weights, {"x": np.array(0.8), "t": np.array(0.1)})
    agrees(chain, lambda x, t, **a: loss(x, t, **a).mean(), weights, {"x": np.array([0.8, -0.4, 0.1]), "t": np.array([0.1, 0, 1])})


def test_chain_is_printed(chain):
    """The chain rule from the loss to the first weight: one factor a layer. Evaluated, it names every value on the way."""
    first = chain.gradients["w_1"]
    product = first.latex("chain").partition("=")[2]
    assert product.count(r"\frac{\partial") == DEPTH + 1
    named = set(map(int, re.findall(r"a_\{?(\d+)", first.latex("local").partition("=")[2])))
    assert named == set(range(1, DEPTH + 1))
    matrix = chain.gradients["w_1"].latex("matrix")
    assert set(map(int, re.findall(r"w_\{?(\d+)", matrix))) == set(range(1, DEPTH + 1))


def test_closed_forms_of_a_chain(chain, close):
    """In weights and data alone, evaluated with numbers, against the derivative by hand."""
    small = scalar_chain(30)
    values = {name: 1.2 + 0.1 * np.sin(k) for k, name in enumerate(small.weights)} | {"x": 0.8, "t": 0.1}
    a = [values["x"]]
    for k in range(1, 31):
        a.append(np.tanh(values[f"w_{k}"] * a[-1]))
    slope = (a[-1] - values["t"]) * (1 - a[-1] ** 2)
    for k in range(30, 0, -1):
        closed = small.gradients[f"w_{k}"].closed
        assert {s.name for s in closed.free_symbols} == set(values)
        if k in (30, 15, 1):
            number = closed.xreplace({s: sp.Float(values[s.name], 17) for s in closed.free_symbols})
            close(float(number), slope * a[k - 1], what=f"dC/dw_{k}")
        slope *= values[f"w_{k}"] * (1 - a[k - 1] ** 2)
    assert {s.name for s in chain.gradients["w_1"].closed.free_symbols} == {"x", "t", *chain.weights}


def test_work_is_linear_in_the_depth():
    """One adjoint equation for each value and each weight: the code of twice as many layers is twice as long."""
    short, long = (scalar_chain(depth).generate().count("\n") for depth in (50, 100))
    shorter = scalar_chain(25).generate().count("\n")
    assert long - short == pytest.approx(2 * (short - shorter), rel=0.02)


def residual(blocks):
    """h + tanh(W h + b): the number of paths doubles with every block."""
    h = sbp.data("X", ("n", 4))
    for k in range(blocks):
        h = sbp.node(f"h_{k}", h + sbp.dense(h, 4, "tanh", name=str(k)))
    return sbp.Network(sbp.node("C", sbp.mean(h**2)), output=h)


def test_forms_that_would_explode_are_refused_at_once():
    net = residual(40)
    gradient = net.gradients["W_0"]
    for form in (lambda: gradient.local, lambda: gradient.closed, lambda: gradient[0, 0].chain, lambda: gradient[0, 0].local):
        with pytest.raises(sbp.UnsupportedError, match="matrix"):
            form()
    assert r"\Delta_{0}" in net.latex("matrix")
    assert isinstance(gradient.chain, sp.Expr)


def test_a_closed_index_form_of_a_deep_network_is_refused(perceptron):
    with pytest.raises(sbp.UnsupportedError, match="nest"):
        perceptron.gradients[f"W_{DEPTH}"][0, 0].closed  # noqa: B018


def test_the_chain_of_an_entry_of_a_residual_network(close):
    net = residual(3)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=w.shape) / 2 for name, w in net.weights.items()}
    X = rng.normal(size=(2, 4))
    W = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    h = torch.tensor(X)
    for k in range(3):
        h = h + torch.tanh(h @ W[f"W_{k}"] + W[f"b_{k}"])
    (h**2).mean().backward()
    chain = sbp.evaluate(net.gradients["W_0"][1, 2].chain, {**weights, "X": X})
    assert float(chain) == pytest.approx(float(W["W_0"].grad[1, 2]), rel=1e-10)
