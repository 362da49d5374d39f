"""Audits of gradients and updates: mistakes that were planted by hand-written NumPy and PyTorch are named, and correct gradients are never
accused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

import from_scratch
import regression
import regression_and_classification
import tanh_and_autograd
import two_hidden_layers

# --- the notebooks -------------------------------------------------------------------------------------------------------


def diagnoses(report):
    return {name: f.diagnosis for name, f in report.findings.items()}


@pytest.fixture(scope="module")
def elsewhere():
    """Weights near the notebook's start, but no two equal, so that nothing is right by accident."""
    rng = np.random.default_rng(3)
    return {name: np.asarray(w) + rng.uniform(-0.05, 0.05, np.shape(w)) for name, w in regression_and_classification.START.items()}


@pytest.mark.parametrize("sigmoid", [False, True], ids=["regression", "classification"])
@pytest.mark.parametrize("start", ["notebook", "elsewhere"])
def test_notebook_1(sigmoid, start, elsewhere):
    """b2 is set from W2, the first layer reads the updated W2, W1 is indexed as its transpose."""
    example = regression_and_classification
    net, data = (example.classification(), example.PLACEMENTS) if sigmoid else (example.regression(), example.SALARIES)
    weights = example.START if start == "notebook" else elsewhere
    report = net.audit_update(lambda w, x, t: example.notebook_step(w, x, t, sigmoid), weights, x=data["x"][1], t=data["t"][1])
    assert diagnoses(report) == {"W_1": "stale weights and transposed", "b_1": "stale weights", "W_2": "right", "b_2": "another weight"}
    assert report.learning_rate == 0.001
    assert "already updated W_2" in report["W_1"].explanation
    assert "already updated W_2" in report["b_1"].explanation
    assert "set from the already updated W_2[" in report["b_2"].explanation


def test_notebook_1_where_equal_inputs_hide_the_transpose():
    example = regression_and_classification
    report = example.regression().audit_update(lambda w, x, t: example.notebook_step(w, x, t, False), example.START, x=[8, 8], t=4)
    assert diagnoses(report) == {"W_1": "stale weights", "b_1": "stale weights", "W_2": "right", "b_2": "another weight"}


def overwriting_step(weights, X, T):
    """The second notebook's step: `=+`, two rates, the new W_2, and W_1 indexed as its transpose."""
    W1, b1, W2, b2 = (np.array(weights[name]) for name in ("W_1", "b_1", "W_2", "b_2"))
    error = 2 * (T[0] - (X[0] @ W1 + b1) @ W2 - b2)
    W2[:, 0] = +0.001 * error * (X[0] @ W1 + b1)
    b2[:] = +0.001 * error
    for i in range(2):
        for j in range(2):
            W1[i, j] = +0.01 * error[0] * W2[i, 0] * X[0][j]
        b1[i] = +0.01 * error[0] * W2[i, 0]
    return {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2}


def test_notebook_2(elsewhere):
    start = {name: np.reshape(elsewhere[name], w.shape) + 0.02 for name, w in regression.START.items()}
    net = regression.network(regression.LOSSES["sum (code)"])
    np.testing.assert_allclose(
        overwriting_step(regression.START, regression.X, regression.T)["W_1"], regression.notebook_step(regression.X[0], regression.T[0])["W_1"]
    )
    report = net.audit_update(overwriting_step, start, X=regression.X[1:2], T=regression.T[1:2])
    for name in start:
        assert "overwritten" in report[name].diagnosis
        assert "=+" in report[name].explanation
    assert "learning rate" in report["W_1"].diagnosis + report["W_2"].diagnosis
    assert {"stale weights", "transposed"} <= set(report["W_1"].diagnosis.split(" and "))
    assert "stale weights" in report["b_1"].diagnosis
    rates = " ".join(f.explanation for f in report.findings.values())
    assert "0.01 here and 0.001 elsewhere" in rates or "0.001 here and 0.01 elsewhere" in rates


def test_notebook_3_forward_pass():
    net = tanh_and_autograd.two_neurons()
    report = net.audit(tanh_and_autograd.notebook_gradients, {"w_1": 0.5, "w_2": 2.0, "b": 0.1}, x=1.0, t=0.0)
    for name in ("w_1", "w_2", "b"):
        assert report[name].diagnosis == "another weight"
        assert "forward pass uses w_1 where w_2 belongs" in report[name].explanation
    assert net.audit(tanh_and_autograd.notebook_gradients, tanh_and_autograd.ONES, x=1.0, t=0.0).ok  # both are 1, and nobody notices


def residual_gradients(weights, x, t):
    """Of mean((t - x w + b)²), the notebook's residual."""
    r = t - x * weights["w"] + weights["b"]
    return {"w": np.mean(-2 * r * x), "b": np.mean(2 * r)}


def test_notebook_3_residual():
    net, data = tanh_and_autograd.linear_regression(), {"x": np.array([4.0, 6.0, 8.0]), "t": np.array([30.0, 20.0, 14.0])}
    report = net.audit(residual_gradients, {"w": 0.3, "b": 2.0}, **data)
    assert diagnoses(report) == {"w": "sign of a term", "b": "sign of a term"}
    assert all("sign of the term b" in f.explanation for f in report.findings.values())
    report = net.audit(residual_gradients, {"w": 0.3, "b": 0.0}, **data)  # where b is 0 the residual is right, and only its derivative wrong
    assert diagnoses(report) == {"w": "right", "b": "sign"}


@pytest.mark.parametrize("example", from_scratch.functions(), ids=lambda e: f"{e[0].equations[-1].expr}")
def test_notebook_4_difference_quotients(example):
    net, weight, point, data = example

    def quotients(weights, **data):
        def along(name):
            return from_scratch.forward_difference(lambda v: net.value_and_gradients({**weights, name: v}, **data)[0], weights[name])

        return {name: along(name) for name in weights}

    report = net.audit(quotients, point, **data)
    assert report[weight].diagnosis == "numeric differentiation"
    assert "step near 1e-12" in report[weight].explanation
    assert "too small" in report[weight].explanation


def test_notebook_4_neuron_by_neuron_is_right():
    start = dict.fromkeys(from_scratch.two_neurons().weights, 0.5)
    assert from_scratch.two_neurons().audit(from_scratch.neuron_by_neuron, start, **from_scratch.noisy_line()).ok


def test_notebook_5():
    """By hand the gradients are right. The ninth point lost its sign, the third its decimal point, and `return` stands in the loop."""
    example = two_hidden_layers
    assert example.network().audit(example.gradients_by_hand(), example.START, **example.SAMPLE).ok

    targets = np.eye(2)[example.CLASSES]

    def mean_gradients(points, count=10):
        totals = dict.fromkeys(example.START, 0.0)
        for x, t in list(zip(points, targets, strict=True))[:count]:
            W1, W2, W3 = example.START.values()
            delta3 = W3 @ W2 @ W1 @ x - t
            delta2 = W3.T @ delta3
            totals["W_3"] += np.outer(delta3, W2 @ W1 @ x) / 10
            totals["W_2"] += np.outer(delta2, W1 @ x) / 10
            totals["W_1"] += np.outer(W2.T @ delta2, x) / 10
        return totals

    net, data = example.network(), {"x": example.POINTS, "t": targets}
    assert net.audit(mean_gradients(example.POINTS), example.START, **data).ok
    for row, column, told in ((2, 0, "x[2, 0] = 3.96562e+08"), (8, 1, "x[8, 1] = 0.242069")):
        points = example.POINTS.copy()
        points[row, column] = example.notebook_points()[row, column]
        report = net.audit(mean_gradients(points), example.START, **data)
        assert set(diagnoses(report).values()) == {"data"}
        assert told in report["W_2"].explanation
    report = net.audit(mean_gradients(example.POINTS, count=1), example.START, **data)
    assert all(f.diagnosis.startswith("batch sum") and "`return`" in f.explanation for f in report.findings.values())


# --- planted mistakes, in a multilayer perceptron written out in NumPy ---------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


# name → f, and its derivative as a function of z and of a = f(z)
ACTIVATIONS = {
    "tanh": (np.tanh, lambda z, a: 1 - a**2),
    "sigmoid": (sigmoid, lambda z, a: a * (1 - a)),
    "softplus": (lambda z: np.log1p(np.exp(z)), lambda z, a: sigmoid(z)),
    "sin": (np.sin, lambda z, a: np.cos(z)),
}
LR = 0.1


class Perceptron:
    """sizes → gradients of the mean squared error, by hand. A mistake is a method that changes one piece of this."""

    def __init__(self, sizes, activation, samples, seed):
        self.rng = np.random.default_rng(seed)
        self.activation = activation
        self.f, self.slope = ACTIVATIONS[activation]
        self.layers = len(sizes) - 1
        self.net = sbp.mlp(list(sizes), activation=activation)
        self.weights = {}
        for k in range(1, self.layers + 1):
            self.weights[f"W_{k}"] = self.rng.uniform(-1.2, 1.2, (sizes[k - 1], sizes[k]))
            self.weights[f"b_{k}"] = self.rng.uniform(-0.8, 0.8, sizes[k])
        self.data = {"X": self.rng.uniform(-1.5, 1.5, (samples, sizes[0])), "T": self.rng.uniform(-1, 1, (samples, sizes[-1]))}

    def gradients(self, slopes=None, forward=None, backward=None, use=None, rows=slice(None), bias=True, linear=(), before=False):
        """`slopes(k, z, a)` and `linear` for activations, other weights in the `forward` and `backward` pass, `use(k)` for what W_k multiplies."""
        w, slopes = self.weights, slopes or (lambda k, z, a: self.slope(z, a))
        forward, backward = {**w, **(forward or {})}, {**w, **(backward or {})}
        X, T = self.data["X"][rows], self.data["T"][rows]
        a, z = {0: X}, {0: X}
        for k in range(1, self.layers + 1):
            z[k] = a[k - 1] @ forward[f"W_{k}"] + (forward[f"b_{k}"] if bias else 0)
            a[k] = z[k] if k == self.layers or k in linear else self.f(z[k])
        delta = 2 * (a[self.layers] - T) / T.size
        found = {}
        for k in range(self.layers, 0, -1):
            left = (z if before else a)[k - 1]
            found[f"W_{k}"], found[f"b_{k}"] = left.T @ delta, delta.sum(axis=0)
            if k > 1:
                delta = (delta @ backward[f"W_{k}"].T) * slopes(k - 1, z[k - 1], a[k - 1])
        return found

    def audit(self, gradients, **options):
        return self.net.audit(gradients, self.weights, **options, **self.data)


def changed(names, change):
    """A mistake in some gradients: the right ones otherwise."""

    def plant(p):
        found = p.gradients()
        return {name: change(g) if name in names else g for name, g in found.items()}

    return plant


def flipped_backward(p):
    return p.gradients(backward={"W_2": p.weights["W_2"].T})


def updated(p, names):
    truth = p.gradients()
    return {name: p.weights[name] - LR * truth[name] for name in names}


def exchanged(p):
    found = p.gradients()
    return {**found, "b_1": found["b_2"], "b_2": found["b_1"]}


HIDDEN = ("W_1", "b_1", "W_2", "b_2")
ALL = (*HIDDEN, "W_3", "b_3")
# (mistake, weights that become wrong, diagnosis, what the explanation says); the network is 3-3-3-2, with 5 samples
PLANTED = {
    "sign of one": (changed(["W_2"], lambda g: -g), ["W_2"], "sign", "sign is flipped"),
    "sign of all": (changed(ALL, lambda g: -g), ALL, "sign", "(-T + "),
    "factor 2": (changed(["b_3"], lambda g: 2 * g), ["b_3"], "factor", "2 times the true gradient"),
    "factor 1/2": (changed(ALL, lambda g: g / 2), ALL, "factor", "multiply by 2"),
    "sum over the batch": (changed(ALL, lambda g: 5 * g), ALL, "factor", "batch size n = 5: a sum where the loss takes a mean"),
    "mean twice": (changed(["W_1", "b_1"], lambda g: g / 5), ["W_1", "b_1"], "factor", "batch size n = 5: a mean"),
    "sum over all entries": (changed(ALL, lambda g: 10 * g), ALL, "factor", "n"),
    "a fraction": (changed(["W_1"], lambda g: 0.75 * g), ["W_1"], "factor", "3/4 times"),
    "any factor": (changed(["W_1"], lambda g: 0.7311 * g), ["W_1"], "factor", "0.7311 times"),
    "zero": (changed(["b_2"], lambda g: 0 * g), ["b_2"], "zero", "It is zero"),
    "transposed": (changed(["W_1", "W_2"], lambda g: g.T), ["W_1", "W_2"], "transposed", "exchange its indices"),
    "sign and factor": (changed(["W_3"], lambda g: -2 * g), ["W_3"], "sign and factor", "divide by 2"),
    "transposed and sign": (changed(["W_2"], lambda g: -g.T), ["W_2"], "transposed and sign", "transpose"),
    "transposed and factor": (changed(["W_2"], lambda g: 2 * g.T), ["W_2"], "transposed and factor", "divide by 2"),
    "another weight's gradient": (exchanged, ["b_1", "b_2"], "another weight", "gradient of b_"),
    "one derivative missing": (
        lambda p: p.gradients(slopes=lambda k, z, a: 1.0 if k == 1 else p.slope(z, a)),
        ["W_1", "b_1"],
        "activation derivative",
        "is missing: going back through",
    ),
    "all derivatives missing": (lambda p: p.gradients(slopes=lambda k, z, a: 1.0), HIDDEN, "activation derivative", "is missing"),
    "derivative twice": (
        lambda p: p.gradients(slopes=lambda k, z, a: p.slope(z, a) ** (2 if k == 2 else 1)),
        HIDDEN,
        "activation derivative",
        "multiplied in twice",
    ),
    "W for its transpose": (flipped_backward, ["W_1", "b_1"], "transposed", "W_2 has the index order of its transpose"),
    "W_2 updated already": (lambda p: p.gradients(backward=updated(p, ["W_2"])), ["W_1", "b_1"], "stale weights", "already updated W_2"),
    "W_3 updated already": (lambda p: p.gradients(backward=updated(p, ["W_3"])), HIDDEN, "stale weights", "step 0.1"),
    "only the first sample": (lambda p: p.gradients(rows=slice(0, 1)), ALL, "batch sum", "Only the first of the 5 samples"),
    "only the last sample": (lambda p: p.gradients(rows=slice(4, 5)), ALL, "batch sum", "Only the last of the 5 samples"),
    "another weight in the forward pass": (
        lambda p: p.gradients(forward={"W_2": p.weights["W_1"]}),
        ALL,
        "another weight",
        "forward pass uses W_1 where W_2 belongs",
    ),
    "another weight in the backward pass": (
        lambda p: p.gradients(backward={"W_2": p.weights["W_1"]}),
        ["W_1", "b_1"],
        "another weight",
        "reads W_1 where W_2 belongs",
    ),
    "bias forgotten": (
        lambda p: p.gradients(forward={"b_2": np.zeros(3)}),
        ALL,
        "forward pass",
        "leaves out the term b_2",
    ),
    "bias subtracted": (lambda p: p.gradients(forward={"b_1": -p.weights["b_1"]}), ALL, "sign of a term", "sign of the term b_1"),
    "z for a": (lambda p: p.gradients(before=True), ["W_2", "W_3"], "another value", "where A_"),
}


@pytest.fixture(scope="module")
def perceptrons():
    return {name: Perceptron((3, 3, 3, 2), name, 5, seed) for seed, name in enumerate(ACTIVATIONS)}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("planted", PLANTED)
def test_planted_mistake_is_named(perceptrons, activation, planted):
    p = perceptrons[activation]
    plant, wrong, diagnosis, says = PLANTED[planted]
    report = p.audit(plant(p))
    assert set(report.wrong) == set(wrong)  # right weights beside wrong ones stay right
    for name in wrong:
        assert report[name].diagnosis == diagnosis, report[name]
    assert says in report[wrong[0]].explanation


POINTS = {
    "tanh of a": ("tanh", lambda z, a: 1 - np.tanh(a) ** 2, "taken at the wrong point"),
    "1 - z^2": ("tanh", lambda z, a: 1 - z**2, "with the argument where the value"),
    "z (1 - z)": ("sigmoid", lambda z, a: z * (1 - z), "with the argument where the value"),
    "sigmoid of a": ("sigmoid", lambda z, a: sigmoid(a) * (1 - sigmoid(a)), "taken at the wrong point"),
    "cos of a": ("sin", lambda z, a: np.cos(a), "taken at the wrong point"),
    "sigmoid of softplus": ("softplus", lambda z, a: sigmoid(a), "taken at the wrong point"),
    "tanh's for a sigmoid": ("sigmoid", lambda z, a: 1 - a**2, "another function's"),
    "sigmoid's for a tanh": ("tanh", lambda z, a: a * (1 - a), "another function's"),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("layers", [(1,), (1, 2)], ids=["one", "all"])
def test_derivative_at_the_wrong_point(perceptrons, point, layers):
    activation, slope, says = POINTS[point]
    p = perceptrons[activation]
    report = p.audit(p.gradients(slopes=lambda k, z, a: slope(z, a) if k in layers else p.slope(z, a)))
    assert set(report.wrong) == set(("W_1", "b_1") if layers == (1,) else HIDDEN)
    for name in report.wrong:
        assert report[name].diagnosis == "activation derivative", report[name]
        assert says in report[name].explanation


@pytest.mark.parametrize("seed", range(12))
def test_planted_mistakes_in_networks_of_many_shapes(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(s) for s in rng.integers(2, 5, rng.integers(3, 6))]
    p = Perceptron(sizes, ["tanh", "sigmoid"][seed % 2], int(rng.integers(2, 8)), seed)
    layer = int(rng.integers(1, p.layers))  # a hidden layer
    report = p.audit(p.gradients(slopes=lambda k, z, a: 1.0 if k == layer else p.slope(z, a)))
    below = {f"{letter}_{k}" for letter in "Wb" for k in range(1, layer + 1)}
    assert set(report.wrong) == below
    for name in below:
        assert report[name].diagnosis == "activation derivative", report[name]
        assert f"Z_{layer}" in report[name].explanation
    last = f"W_{p.layers}"
    report = p.audit(lambda weights, X, T: {n: -g if n == last else g for n, g in p.gradients().items()})
    assert diagnoses(report) == {n: "sign" if n == last else "right" for n in p.weights}


def test_learning_rate_as_a_factor(perceptrons):
    p = perceptrons["tanh"]
    report = p.audit({n: 0.03 * g for n, g in p.gradients().items()}, optimizer=sbp.SGD(lr=0.03))
    assert set(diagnoses(report).values()) == {"factor"}
    assert "the learning rate 0.03" in report["W_1"].explanation


@pytest.mark.parametrize(("at_zero", "right"), [(0.0, True), (1.0, False), (0.5, False)])
def test_convention_at_a_kink(at_zero, right):
    """The first unit's argument is exactly 0 for the first sample."""
    net = sbp.mlp([2, 2, 1], activation="relu")
    w = {"W_1": np.array([[1.0, 0.5], [-1.0, 0.25]]), "b_1": np.zeros(2), "W_2": np.array([[0.7], [-0.4]]), "b_2": np.array([0.1])}
    X, T = np.array([[0.5, 0.5], [1.0, -0.25], [0.3, -2.0]]), np.array([[0.2], [0.1], [-0.3]])
    Z = X @ w["W_1"]
    delta = 2 / 3 * (np.maximum(Z, 0) @ w["W_2"] + w["b_2"] - T)
    back = delta @ w["W_2"].T * np.heaviside(Z, at_zero)
    report = net.audit({"W_1": X.T @ back, "b_1": back.sum(0), "W_2": np.maximum(Z, 0).T @ delta, "b_2": delta.sum(0)}, w, X=X, T=T)
    assert report.ok == right
    assert report["W_1"].diagnosis == ("right" if right else "kink")


def test_path_of_the_chain_rule():
    """A residual connection, h = x w + tanh(x w) v: both paths from w, and each alone."""
    x, t = sbp.data("x t", ("n",))
    w, v = sbp.weight("w v")
    s = sbp.node("s", w * x)
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.node("h", s + v * sbp.node("a", sp.tanh(s))), t)))
    values, data = {"w": 0.7, "v": 1.3}, {"x": np.array([0.5, -1.0, 2.0]), "t": np.array([0.3, 0.1, -0.4])}
    a = np.tanh(0.7 * data["x"])
    delta = 2 * (0.7 * data["x"] + 1.3 * a - data["t"]) / 3
    right = {"w": np.sum(delta * (1 + 1.3 * (1 - a**2)) * data["x"]), "v": np.sum(delta * a)}
    assert net.audit(right, values, **data).ok
    for partly in (1, 1.3 * (1 - a**2)):
        report = net.audit({**right, "w": np.sum(delta * partly * data["x"])}, values, **data)
        assert diagnoses(report) == {"w": "path", "v": "right"}
        assert "sum over all paths" in report["w"].explanation


def test_cross_entropy_multiplied_by_the_derivative_of_the_sigmoid_again():
    net = sbp.mlp([2, 3, 1], output="sigmoid", loss="binary_cross_entropy")
    rng = np.random.default_rng(5)
    w = {n: rng.uniform(-1, 1, t.shape) for n, t in net.weights.items()}
    X, T = rng.uniform(-1, 1, (4, 2)), np.array([[1.0], [0.0], [1.0], [0.0]])
    A = np.tanh(X @ w["W_1"] + w["b_1"])
    Y = sigmoid(A @ w["W_2"] + w["b_2"])

    def gradients(delta):
        back = (delta @ w["W_2"].T) * (1 - A**2)
        return {"W_1": X.T @ back, "b_1": back.sum(0), "W_2": A.T @ delta, "b_2": delta.sum(0)}

    assert net.audit(gradients((Y - T) / 4), w, X=X, T=T).ok
    report = net.audit(gradients((Y - T) * Y * (1 - Y) / 4), w, X=X, T=T)
    assert set(diagnoses(report).values()) == {"activation derivative"}
    assert all("twice" in f.explanation for f in report.findings.values())


def test_scalar_network_with_a_missing_factor():
    net = tanh_and_autograd.two_neurons()
    w1, w2, b, x, t = 0.4, 1.7, 0.2, 0.9, 0.3
    a = np.tanh(w1 * x)
    y = np.tanh(w2 * a + b)
    delta = (y - t) * (1 - y**2)
    right = {"w_1": delta * w2 * (1 - a**2) * x, "w_2": delta * a, "b": delta}

    def said(**wrong):
        report = net.audit({**right, **wrong}, {"w_1": w1, "w_2": w2, "b": b}, x=x, t=t)
        assert set(report.wrong) == set(wrong)
        return report[next(iter(wrong))]

    assert said(w_1=delta * (1 - a**2) * x).diagnosis == "missing factor"
    assert "factor w_2 is missing" in said(w_1=delta * (1 - a**2) * x).explanation
    assert said(w_1=delta * w2 * x).diagnosis == "activation derivative"
    assert said(w_2=(y - t) * a).diagnosis == "activation derivative"
    assert said(w_2=delta).diagnosis == "another weight"
    assert said(b=-2 * delta).diagnosis == "sign and factor"
    assert said(w_1=0.123456789).diagnosis == "unknown"


def test_two_explanations_that_fit_equally_are_both_told():
    """With two samples, a factor 2 may be the batch size or the square's."""
    p = Perceptron((3, 2, 1), "tanh", 2, 0)
    report = p.audit(lambda weights, X, T: {n: 2 * g for n, g in p.gradients().items()})
    assert diagnoses(report) == dict.fromkeys(p.weights, "factor")
    assert "square" in report["W_1"].explanation
    assert "batch size n = 2" in report["W_1"].explanation


@pytest.mark.parametrize("step", [1e-2, 1e-3, 1e-11])
def test_difference_quotient_with_a_bad_step(perceptrons, step):
    p = perceptrons["tanh"]

    def loss(weights):
        A = p.data["X"]
        for k in (1, 2):
            A = np.tanh(A @ weights[f"W_{k}"] + weights[f"b_{k}"])
        return np.mean((A @ weights["W_3"] + weights["b_3"] - p.data["T"]) ** 2)

    gradients = {}
    for name, w in p.weights.items():
        gradients[name] = np.zeros(w.shape)
        for index in np.ndindex(w.shape):
            ahead = w.copy()
            ahead[index] += step
            gradients[name][index] = (loss({**p.weights, name: ahead}) - loss(p.weights)) / step
    report = p.audit(gradients)
    assert report["W_1"].diagnosis == "numeric differentiation"
    assert ("too small" if step < 1e-8 else "too large") in report["W_1"].explanation


def test_rounded_numbers(perceptrons):
    p = perceptrons["tanh"]
    gradients = {n: np.round(g, 5) for n, g in p.gradients().items()}
    report = p.audit(gradients)
    assert set(diagnoses(report).values()) <= {"rounded", "right"}
    assert report["W_1"].diagnosis == "rounded"
    assert p.audit(gradients, tolerance=0.1).ok


# --- correct gradients are never accused -------------------------------------------------------------------------------

TORCH = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky_relu": torch.nn.functional.leaky_relu,
    "softplus": torch.nn.functional.softplus,
    "gelu": torch.nn.functional.gelu,
    "abs": torch.abs,
}


def torch_gradients(weights, data, sizes, activation, loss):
    tensors = {n: torch.tensor(w, requires_grad=True) for n, w in weights.items()}
    h, T = torch.tensor(data["X"]), torch.tensor(data["T"])
    for k in range(1, len(sizes)):
        h = h @ tensors[f"W_{k}"] + tensors[f"b_{k}"]
        h = TORCH[activation](h) if k < len(sizes) - 1 else h
    if loss == "mse":
        value = ((h - T) ** 2).mean()
    elif loss == "cross_entropy":
        value = -(T * torch.log_softmax(h, -1)).sum(-1).mean()
    else:
        value = torch.nn.functional.binary_cross_entropy_with_logits(h, T)
    return dict(zip(tensors, (g.numpy() for g in torch.autograd.grad(value, list(tensors.values()))), strict=True))


def points(sizes, rng):
    """Ordinary weights, tiny and huge ones, zeros (where relu has its kink), and inputs of very different size."""
    for scale, spread in ((1.0, 1.0), (1e-5, 1.0), (30.0, 1.0), (1.0, 1e4), (1e-150, 1.0), (0.0, 1.0)):
        weights = {}
        for k in range(1, len(sizes)):
            weights[f"W_{k}"] = scale * rng.normal(size=(sizes[k - 1], sizes[k]))
            weights[f"b_{k}"] = scale * rng.normal(size=sizes[k]) * rng.integers(0, 2)
        n = int(rng.integers(1, 9))
        X = rng.normal(size=(n, sizes[0])) * spread ** rng.uniform(-1, 1, sizes[0])
        X[rng.random(X.shape) < 0.2] = 0.0
        T = np.eye(sizes[-1])[rng.integers(0, sizes[-1], n)]
        yield weights, {"X": X, "T": T}


@pytest.mark.parametrize("seed", range(30))
def test_correct_gradients_are_never_accused(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(s) for s in rng.integers(1, 5, rng.integers(3, 5))]
    activation = list(TORCH)[seed % len(TORCH)]
    loss = ["mse", "cross_entropy", "binary_cross_entropy_with_logits"][seed % 3]
    net = sbp.mlp(sizes, activation=sp.Abs if activation == "abs" else activation, loss=loss)
    for weights, data in points(sizes, rng):
        gradients = torch_gradients(weights, data, sizes, activation, loss)
        for dtype in (np.float64, np.float32):
            with np.errstate(under="ignore"):
                given = {n: g.astype(dtype) for n, g in gradients.items()}
            if all(np.array_equal(given[n] == 0, g == 0) for n, g in gradients.items()):  # float32 has no numbers near 1e-150
                report = net.audit(given, weights, **data)
                assert report.ok, report


@pytest.mark.parametrize("seed", range(30))
def test_right_updates_are_never_accused(seed):
    rng = np.random.default_rng(seed)
    sizes = [int(s) for s in rng.integers(2, 5, 3)]
    net = sbp.mlp(sizes, activation="tanh")
    weights, data = next(points(sizes, rng))
    rate = [0.1, 0.001, 0.5, 0.01234567][seed % 4]
    gradients = torch_gradients(weights, data, sizes, "tanh", "mse")

    def update(w, **d):
        return {n: w[n] - rate * gradients[n] for n in w}

    report = net.audit_update(update, weights, **data)
    assert report.ok, report
    assert report.learning_rate == pytest.approx(rate, rel=1e-8)


def test_steps_too_small_to_be_seen():
    """A gradient that is zero, or is lost beside its weight, needs no new value; one that is not, does."""
    w, v, u = sbp.weight("w v u")
    net = sbp.Network(sbp.node("C", w**2 + v * sp.Rational(1, 10**20) + sp.tanh(u) ** 2))

    def update(weights, skip=()):
        g = {"w": 2 * weights["w"], "v": 1e-20, "u": 2 * np.tanh(weights["u"]) * (1 - np.tanh(weights["u"]) ** 2)}
        return {n: weights[n] - (0 if n in skip else 0.1) * g[n] for n in weights}

    assert net.audit_update(update, {"w": 1.5, "v": 1.0, "u": 0.0}).ok
    assert net.audit_update(update, {"w": 0.0, "v": 0.0, "u": 0.0}).ok
    assert diagnoses(net.audit_update(lambda x: update(x, "w"), {"w": 1.5, "v": 1.0, "u": 0.7})) == {"w": "not updated", "v": "right", "u": "right"}
    assert net.audit_update(lambda x: x, {"w": 1.5, "v": 0.0, "u": 0.7})["w"].diagnosis == "not updated"


@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (sbp.SGD(lr=0.1, momentum=0.9, weight_decay=0.01), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01)),
        (sbp.Adam(lr=0.01), lambda p: torch.optim.Adam(p, lr=0.01)),
        (sbp.RMSprop(lr=0.01), lambda p: torch.optim.RMSprop(p, lr=0.01)),
    ],
    ids=["SGD", "Adam", "RMSprop"],
)
def test_updates_by_other_optimizers(ours, reference):
    p = Perceptron((3, 3, 2), "tanh", 4, 1)

    def update(weights, change=lambda n, g: g, **data):
        parameters = {n: torch.nn.Parameter(torch.tensor(w)) for n, w in weights.items()}
        for n, g in p.gradients().items():
            parameters[n].grad = torch.tensor(np.ascontiguousarray(change(n, g)))
        reference(parameters.values()).step()
        return {n: w.detach().numpy() for n, w in parameters.items()}

    assert p.net.audit_update(update, p.weights, optimizer=ours, **p.data).ok
    report = p.net.audit_update(lambda w, **d: update(w, lambda n, g: -g if n == "W_1" else g), p.weights, optimizer=ours, **p.data)
    assert diagnoses(report) == {"W_1": "sign", "b_1": "right", "W_2": "right", "b_2": "right"}
    report = p.net.audit_update(lambda w, **d: update(w, lambda n, g: g.T if n == "W_1" else g), p.weights, optimizer=ours, **p.data)
    assert report["W_1"].diagnosis == "transposed"


# --- updates -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_layers():
    return Perceptron((3, 3, 2), "tanh", 4, 2)


def test_an_update_in_place_that_stores_too_little(two_layers):
    p = two_layers

    def update(weights, X, T):
        g = p.gradients()
        for name in ("W_1", "b_1", "W_2"):
            weights[name] -= 0.05 * g[name]
        b = weights["b_2"]
        b = b - 0.05 * g["b_2"]  # a new array, which nobody keeps

    before = {n: w.copy() for n, w in p.weights.items()}
    report = p.net.audit_update(update, p.weights, **p.data)
    assert diagnoses(report) == {"W_1": "right", "b_1": "right", "W_2": "right", "b_2": "not updated"}
    assert report.learning_rate == 0.05
    for name, w in before.items():
        np.testing.assert_array_equal(p.weights[name], w)  # the update worked on copies


@pytest.mark.parametrize(
    ("planted", "wrong", "diagnosis"),
    [
        (lambda w, g: {n: w[n] + 0.1 * g[n] for n in w}, ("W_1", "b_1", "W_2", "b_2"), "sign"),
        (lambda w, g: {n: w[n] - (0.01 if n == "b_2" else 0.1) * g[n] for n in w}, ("b_2",), "learning rate"),
        (lambda w, g: {n: w[n] - 0.1 * (g[n].T if n == "W_1" else g[n]) for n in w}, ("W_1",), "transposed"),
        (lambda w, g: {n: (0 if n == "W_2" else w[n]) - 0.1 * g[n] for n in w}, ("W_2",), "overwritten"),
        (lambda w, g: {n: (0 if n == "W_2" else w[n]) + (0.1 if n == "W_2" else -0.1) * g[n] for n in w}, ("W_2",), "overwritten and sign"),
        (lambda w, g: {n: w["b_1"][:2] * 0 + w["W_1"][0, :2] - 0.1 * g[n] if n == "b_2" else w[n] - 0.1 * g[n] for n in w}, ("b_2",), "unknown"),
        (lambda w, g: {n: w["W_2"][:, 1] - 0.1 * g[n] if n == "b_1" else w[n] - 0.1 * g[n] for n in w}, ("b_1",), "another weight"),
        (lambda w, g: {n: w[n] - 0.1 * (g["b_1"][[1, 0, 2]] if n == "b_1" else g[n]) for n in w}, ("b_1",), "unknown"),
    ],
    ids=["ascent", "two rates", "transposed", "overwritten", "overwritten upwards", "unknown start", "another weight", "unknown direction"],
)
def test_planted_mistakes_of_updates(two_layers, planted, wrong, diagnosis):
    p = two_layers
    report = p.net.audit_update(lambda w, X, T: planted(w, p.gradients()), p.weights, **p.data)
    assert set(report.wrong) == set(wrong)
    for name in wrong:
        assert report[name].diagnosis == diagnosis, report[name]
    assert report.learning_rate == 0.1


@pytest.mark.parametrize("order", [("W_2",), ("W_2", "b_2"), ("W_3",), ("W_3", "W_2"), ("b_1", "W_3")])
@pytest.mark.parametrize("whole", [False, True], ids=["backward", "all computed again"])
def test_updates_one_after_the_other(perceptrons, order, whole):
    """The first layer's gradient is found after others were updated."""
    p = perceptrons["tanh"]

    def update(weights, X, T):
        new = {n: weights[n] - LR * g for n, g in p.gradients().items()}
        changed = {n: new[n] for n in order}
        late = p.gradients(forward=changed if whole else None, backward=changed)["W_1"]
        return {**new, "W_1": weights["W_1"] - LR * late}

    report = p.net.audit_update(update, p.weights, **p.data)
    # The backward pass reads no bias, and W_1's reads none of the weights before it.
    matters = [n for n in order if whole or n[0] == "W"]
    assert diagnoses(report) == {n: "stale weights" if n == "W_1" else "right" for n in p.weights}
    for name in matters:
        assert name in report["W_1"].explanation
    assert report.learning_rate == LR


def test_a_mistaken_gradient_inside_an_update(perceptrons):
    p = perceptrons["sigmoid"]
    g = p.gradients(slopes=lambda k, z, a: 1.0 if k == 1 else p.slope(z, a))
    report = p.net.audit_update(lambda w, X, T: {n: w[n] - 0.1 * g[n] for n in w}, p.weights, **p.data)
    assert diagnoses(report) == {n: "activation derivative" if n in ("W_1", "b_1") else "right" for n in p.weights}


# --- what is given, and the report -----------------------------------------------------------------------------------------


def test_what_may_be_given(two_layers):
    p = two_layers
    right = p.gradients()
    tensors = p.net.weights
    for given in (
        right,
        {tensors[n]: g.tolist() for n, g in right.items()},
        {n: torch.tensor(g, requires_grad=True) for n, g in right.items()},
        lambda weights, X, T: right,
        lambda weights, X, T: (0.25, right),
    ):
        assert p.audit(given).ok


def test_shapes_and_missing_gradients(two_layers):
    p = two_layers
    right = p.gradients()
    delta = np.zeros((4, 2)) + right["b_2"] / 4
    cases = [
        ({"b_2": delta}, "batch sum", "take the sum over axis 0"),
        ({"b_2": 4 * delta}, "batch sum", "take the mean over axis 0"),
        ({"b_2": right["b_2"][None]}, "shape", "The numbers are right"),
        ({"W_2": right["W_2"].T}, "transposed", "right otherwise"),
        ({"W_2": 2 * right["W_2"].T}, "transposed", "wrong besides"),
        ({"W_2": right["W_2"][0]}, "shape", "axis was summed over"),
        ({"W_2": np.ones((7, 7))}, "shape", "expected (3, 2)"),
        ({"b_1": [np.nan, 0, 0]}, "not finite", "nan at index (0,)"),
    ]
    for wrong, diagnosis, says in cases:
        report = p.audit({**right, **wrong})
        (name,) = wrong
        assert report.wrong == [name]
        assert report[name].diagnosis == diagnosis
        assert says in report[name].explanation
    report = p.audit({n: g for n, g in right.items() if n != "W_1"})
    assert diagnoses(report) == {"W_1": "missing", "b_1": "right", "W_2": "right", "b_2": "right"}
    assert not report.ok


def test_bad_input_is_refused(two_layers):
    p = two_layers
    right = p.gradients()
    with pytest.raises(sbp.NetworkError, match="'W_7', which the network does not have; its weights are 'W_1'"):
        p.audit({**right, "W_7": 1})
    with pytest.raises(sbp.NetworkError, match="expected a mapping"):
        p.audit([1, 2])
    with pytest.raises(sbp.DataError, match="real numbers"):
        p.audit({**right, "b_1": ["a", "b", "c"]})
    with pytest.raises(sbp.DataError, match="same length"):
        p.audit({**right, "W_1": [[1, 2], [3]]})
    with pytest.raises(sbp.NetworkError, match="tolerance"):
        p.audit(right, tolerance=-1)
    with pytest.raises(sbp.NetworkError, match="optimizer"):
        p.audit(right, optimizer=0.1)
    with pytest.raises(sbp.DataError, match="'T' is missing"):
        p.net.audit(right, p.weights, X=p.data["X"])
    with pytest.raises(sbp.NetworkError, match="expected a function"):
        p.net.audit_update({"W_1": 1}, p.weights, **p.data)
    with pytest.raises(sbp.NetworkError, match="the update returned a list"):
        p.net.audit_update(lambda w, **d: [1, 2], p.weights, **p.data)
    with pytest.raises(KeyError, match="W_7"):
        p.audit(right)["W_7"]
    x = sbp.weight("x")
    with pytest.raises(sbp.DataError, match="nothing to compare with"):
        sbp.Network(sbp.node("f", sp.log(x))).audit({"x": 1.0}, {"x": 0.0})


def test_a_small_error_of_one_entry_is_found(two_layers):
    """The checker can fail: 0.05 % in one entry."""
    p = two_layers
    wrong = {n: g.copy() for n, g in p.gradients().items()}
    wrong["W_1"][1, 2] *= 1.0005
    report = p.audit(wrong)
    assert report.wrong == ["W_1"]
    assert report["W_1"].relative_error == pytest.approx(5e-4, rel=1e-2)


def test_weights_without_influence():
    x, w, v = sbp.data("x"), *sbp.weight("w v")
    net = sbp.Network(sbp.node("C", w * x), output=sbp.node("y", v * x))
    assert net.audit({"w": 2.0, "v": 0.0}, {"w": 1.0, "v": 1.0}, x=2.0).ok
    assert net.audit({"w": 2.0, "v": 1.0}, {"w": 1.0, "v": 1.0}, x=2.0).wrong == ["v"]


def test_the_report():
    net = tanh_and_autograd.two_neurons()
    report = net.audit(lambda weights, x, t: {"w_1": 1, "w_2": 0, "b": -1}, tanh_and_autograd.ONES, x=0.5, t=0.2)
    assert not report
    assert len(report) == 3
    assert list(report) == ["w_1", "w_2", "b"]
    assert r"\frac{\partial C}{\partial w_{2}} = a_{1} (y - t) (1 - y^{2})" in report["w_2"].formula
    assert report["w_2"].text == f"dC/dw_2 = {net.gradients['w_2'].local}"
    assert report[net.weights["w_2"]].verdict == "wrong"
    lines = repr(report).splitlines()
    assert lines[0] == "Audit: 3 of 3 gradients are wrong"
    assert lines[1].split() == ["weight", "verdict", "error", "diagnosis"]
    table = report.markdown().splitlines()
    assert all(line.count("|") == 6 for line in table[2:])
    assert f"${report['b'].formula}$" in report.markdown()
    assert report._repr_markdown_() == report.markdown()


def test_signs_in_an_explanation_are_not_markdown():
    gradient = tanh_and_autograd.two_neurons().gradients["w_1"]
    finding = sbp.Finding("w_1", False, 2.0, "sign", "see x**2 + y**2 and a_1 | b_1", gradient=gradient)
    assert sbp.Audit({"w_1": finding}, 1e-6).markdown().endswith(r"| **sign**: see x\*\*2 + y\*\*2 and a\_1 \| b\_1 |")


# --- wording ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "says"),
    [(0.5, "The step is half as large as it should be"), (0.25, "The step is 4 times too small"), (2, "The step is 2 times too large")],
)
def test_how_far_a_step_is_off(two_layers, size, says):
    """With 4 samples the batch size explains a quarter."""
    p = two_layers
    report = p.net.audit_update(lambda w, X, T: {n: w[n] - 0.01 * size * g for n, g in p.gradients().items()}, p.weights, optimizer=sbp.SGD(0.01), **p.data)
    assert set(diagnoses(report).values()) == {"factor"}
    assert all(says in f.explanation for f in report.findings.values())


def test_missing_gradients_are_counted_apart(two_layers):
    p = two_layers
    right = p.gradients()
    report = p.audit({"W_1": right["W_1"]})
    assert "Audit: 1 right, 3 missing" in repr(report)
    assert (report.wrong, report.missing, report.ok) == ([], ["b_1", "W_2", "b_2"], False)
    assert report["W_2"].verdict == "missing"
    assert "1 right, 1 wrong, 2 missing" in repr(p.audit({"W_1": right["W_1"], "b_1": -right["b_1"]}))


@pytest.mark.parametrize("zero", [0, 0.0, [0], np.zeros((7, 2)), np.zeros(3)])
def test_a_zero_of_any_shape(two_layers, zero):
    p = two_layers
    report = p.audit({**p.gradients(), "b_1": zero})
    assert diagnoses(report) == {"W_1": "right", "b_1": "zero", "W_2": "right", "b_2": "right"}


def test_one_and_many(two_layers):
    p = two_layers
    right = p.gradients()
    assert "(1 such entry)" in p.audit({**right, "b_1": [np.nan, 0, 0]})["b_1"].explanation
    assert "(2 such entries)" in p.audit({**right, "b_1": [np.nan, 0, np.inf]})["b_1"].explanation
    w = sbp.weight("w")
    net = sbp.Network(sbp.node("C", w**2))
    assert "Audit: the gradient is right" in repr(net.audit({"w": 3.0}, {"w": 1.5}))
    assert "Audit: 1 of 1 gradient is wrong" in repr(net.audit({"w": -3.0}, {"w": 1.5}))


def test_a_learning_rate_taken_into_the_gradient(two_layers):
    p = two_layers
    right = p.gradients()
    report = p.audit({n: 0.05 * g for n, g in right.items()})
    assert set(diagnoses(report).values()) == {"factor"}
    assert all("looks like a learning rate of 0.05 taken into the gradient" in f.explanation for f in report.findings.values())
    for given in (
        {**right, "W_1": 0.05 * right["W_1"]},  # one alone
        {n: g / 4 for n, g in right.items()},  # the batch size
        {n: g / 2 for n, g in right.items()},  # the 2 of the square
        {n: 1.7 * g for n, g in right.items()},
        {n: (0.05 if n == "W_1" else 0.03) * g for n, g in right.items()},
    ):
        report = p.audit(given)
        assert report.wrong
        assert not any("looks like a learning rate" in f.explanation for f in report.findings.values())


def test_a_learning_rate_of_one_may_be_none(two_layers):
    p = two_layers

    def report(rate, **options):
        return p.net.audit_update(lambda w, X, T: {n: w[n] - rate * g for n, g in p.gradients().items()}, p.weights, **options, **p.data)

    assert report(1.0).ok
    assert "learning rate 1 (a learning rate of 1 often means that it was forgotten)" in repr(report(1.0))
    assert "forgotten" not in repr(report(0.1))
    assert "forgotten" not in repr(report(1.0, optimizer=sbp.SGD(1.0)))


def test_one_and_many_in_messages_elsewhere():
    x, w = sbp.data("x", ("n",)), sbp.weight("w")
    net = sbp.Network(sbp.node("C", sbp.mse(w * x, x)))
    for values, count in (([np.nan, 1.0], "1 such entry"), ([np.nan, np.inf], "2 such entries")):
        with pytest.raises(sbp.DataError, match=rf"\({count}\)"):
            net.audit({"w": 1.0}, {"w": 1.0}, x=values)
    with pytest.raises(sbp.SymbackpropError, match="takes 1 argument,"):
        sbp.parse("weight w\nloss tanh(w, w)")


# --- the softmax, the loss, sums and decay ---------------------------------------------------------------------------------


class Classifier:
    """tanh, then the cross-entropy of a softmax: as one loss of the logits, or with the softmax and its logarithm written out."""

    def __init__(self, fused, seed=0):
        rng = np.random.default_rng(seed)
        X, T = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 3))
        W_1, b_1, W_2, b_2 = sbp.weight("W_1", (2, 4)), sbp.weight("b_1", 4), sbp.weight("W_2", (4, 3)), sbp.weight("b_2", 3)
        Z = sbp.node("Z", sbp.node("A", sp.tanh(X @ W_1 + b_1)) @ W_2 + b_2)
        loss = sbp.cross_entropy(Z, T) if fused else -sbp.mean(sbp.sum(T * sp.log(sbp.node("P", sbp.softmax(Z))), axis=-1))
        self.net = sbp.Network(sbp.node("C", loss))
        self.weights = {n: rng.uniform(-1, 1, t.shape) for n, t in self.net.weights.items()}
        self.data = {"X": rng.uniform(-1, 1, (5, 2)), "T": np.eye(3)[[0, 1, 2, 1, 0]]}

    def audit(self, delta, P=lambda Z: np.exp(Z) / np.exp(Z).sum(axis=1, keepdims=True)):
        w, X, T = self.weights, self.data["X"], self.data["T"]
        A = np.tanh(X @ w["W_1"] + w["b_1"])
        d = delta(P(A @ w["W_2"] + w["b_2"]), T) / len(X)
        back = (d @ w["W_2"].T) * (1 - A**2)
        return self.net.audit({"W_1": X.T @ back, "b_1": back.sum(0), "W_2": A.T @ d, "b_2": d.sum(0)}, w, **self.data)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "written out"])
def test_mistaken_softmax(fused):
    c = Classifier(fused)
    right = lambda P, T: P - T  # noqa: E731
    assert c.audit(right).ok
    report = c.audit(lambda P, T: -T / P * P * (1 - P))
    assert set(diagnoses(report).values()) == {"activation derivative"}
    assert "P" in report["W_1"].explanation
    for P, says in (
        (lambda Z: Z, "left out"),
        (lambda Z: np.exp(Z), "not divided by the sum"),
        (lambda Z: np.exp(Z) / np.exp(Z).sum(axis=0), "over axis 0 where the classes are on axis 1"),
    ):
        report = c.audit(right, P)
        assert set(diagnoses(report).values()) == {"softmax"}, report
        assert says in report["W_1"].explanation


def test_softmax_derivative_beside_the_cross_entropy():
    report = Classifier(True).audit(lambda P, T: (P - T) * P * (1 - P))
    assert set(diagnoses(report).values()) == {"activation derivative"}
    assert "contains it already" in report["W_1"].explanation


@pytest.mark.parametrize("derivative", [lambda d, P: d * P * (1 - P), None], ids=["entry by entry", "over the wrong axis"])
def test_mistaken_softmax_before_a_squared_error(derivative):
    rng = np.random.default_rng(4)
    X, T, W = rng.normal(size=(5, 2)), rng.uniform(0, 1, (5, 3)), rng.normal(size=(2, 3))
    x, t, w = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 3)), sbp.weight("W", (2, 3))
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.node("P", sbp.softmax(sbp.node("Z", x @ w))), t)))
    axis = 1 if derivative else 0
    P = np.exp(X @ W) / np.exp(X @ W).sum(axis=axis, keepdims=True)
    d = 2 * (P - T) / T.size

    def exact(d, P):
        return P * (d - (d * P).sum(axis=axis, keepdims=True))

    report = net.audit({"W": X.T @ (derivative or exact)(d, P)}, {"W": W}, X=X, T=T)
    assert report["W"].diagnosis == ("activation derivative" if derivative else "softmax"), report


@pytest.mark.parametrize("names", [["b_1"], ["b_2"], ["b_1", "b_2"]])
def test_a_sum_over_everything(perceptrons, names):
    p = perceptrons["tanh"]
    report = p.audit(changed(names, lambda g: np.full(g.shape, g.sum()))(p))
    assert diagnoses(report) == {n: "sum" if n in names else "right" for n in p.weights}
    assert "not `d.sum()`" in report[names[0]].explanation


@pytest.mark.parametrize("layers", [(1,), (1, 2)], ids=["one", "all"])
@pytest.mark.parametrize(("activation", "slope"), [("tanh", lambda z, a: 1 + a**2), ("sigmoid", lambda z, a: a * (1 + a))])
def test_a_sign_inside_a_derivative(perceptrons, activation, slope, layers):
    p = perceptrons[activation]
    report = p.audit(p.gradients(slopes=lambda k, z, a: slope(z, a) if k in layers else p.slope(z, a)))
    assert set(report.wrong) == set(("W_1", "b_1") if layers == (1,) else HIDDEN)
    for name in report.wrong:
        assert report[name].diagnosis == "activation derivative", report[name]
        assert f"A sign inside the derivative of {activation} is wrong" in report[name].explanation


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_a_square_that_is_not_differentiated(factor):
    net = tanh_and_autograd.two_neurons()
    w1, w2, b, x, t = 0.4, 1.7, 0.2, 0.9, 0.3
    a = np.tanh(w1 * x)
    y = np.tanh(w2 * a + b)
    delta = factor * (y - t) ** 2 * (1 - y**2)
    report = net.audit({"w_1": delta * w2 * (1 - a**2) * x, "w_2": delta * a, "b": delta}, {"w_1": w1, "w_2": w2, "b": b}, x=x, t=t)
    assert set(diagnoses(report).values()) == {"square"}
    assert all("square is not differentiated" in f.explanation for f in report.findings.values())


def test_a_square_that_is_not_differentiated_in_a_batch():
    rng = np.random.default_rng(8)
    X, T, W = rng.normal(size=(5, 2)), rng.normal(size=(5, 3)), {"W_1": rng.normal(size=(2, 3)), "b_1": rng.normal(size=3)}
    d = (X @ W["W_1"] + W["b_1"] - T) ** 2 / T.size
    for factor in (1, 2):
        report = sbp.mlp([2, 3]).audit({"W_1": factor * X.T @ d, "b_1": factor * d.sum(0)}, W, X=X, T=T)
        assert diagnoses(report) == {"W_1": "square", "b_1": "square"}


@pytest.mark.parametrize("decay", [1e-4, 0.37123, -0.1])
def test_a_weight_decay_that_the_loss_does_not_have(two_layers, decay):
    p = two_layers
    right = p.gradients()
    given = {n: g + decay * p.weights[n] if n[0] == "W" else g for n, g in right.items()}
    report = p.audit(given)
    assert diagnoses(report) == {n: "weight decay" if n[0] == "W" else "right" for n in p.weights}
    assert f"{abs(decay):g} times the weight itself is {'added' if decay > 0 else 'subtracted'}" in report["W_1"].explanation
    report = p.net.audit_update(lambda w, X, T: {n: w[n] - 0.1 * g for n, g in given.items()}, p.weights, **p.data)
    assert diagnoses(report) == {n: "weight decay" if n[0] == "W" else "right" for n in p.weights}
    assert f"{abs(decay):g} times the weight itself" in report["W_1"].explanation
    assert report.learning_rate == 0.1


def test_a_weight_decay_of_a_single_number():
    w, v = sbp.weight("w v")
    net = sbp.Network(sbp.node("C", sp.tanh(w) * v))
    point = {"w": 0.7, "v": 1.3}
    right = {"w": 1.3 * (1 - np.tanh(0.7) ** 2), "v": np.tanh(0.7)}
    assert net.audit({**right, "w": right["w"] + 0.01 * 0.7}, point)["w"].diagnosis == "weight decay"
    assert net.audit({**right, "w": right["w"] + 0.0123456 * 0.7}, point)["w"].diagnosis != "weight decay"


def test_an_update_with_weight_decay_everywhere():
    """The rate is not that which the single number b_2 would have without a decay."""
    p = Perceptron((2, 3, 1), "tanh", 5, 6)
    report = p.net.audit_update(lambda w, X, T: {n: w[n] - 0.1 * (g + 0.01 * w[n]) for n, g in p.gradients().items()}, p.weights, **p.data)
    assert set(diagnoses(report).values()) == {"weight decay"}, report
    assert report.learning_rate == 0.1


@pytest.mark.parametrize(("delta", "says"), [(lambda P, T: -T * (1 - P), "entry by entry"), (lambda P, T: (P - T) * P * (1 - P), "already")])
def test_softmax_of_a_network_of_one_sample_on_a_batch(delta, says):
    rng = np.random.default_rng(2)
    x, t, W = sbp.data("x", 2), sbp.data("t", 3), sbp.weight("W", (3, 2))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.node("z", W @ x), t)))
    X, T, w = rng.normal(size=(4, 2)), np.eye(3)[[0, 1, 2, 0]], rng.normal(size=(3, 2))
    P = np.exp(X @ w.T) / np.exp(X @ w.T).sum(axis=1, keepdims=True)
    assert net.audit({"W": (P - T).T @ X / 4}, {"W": w}, x=X, t=T).ok
    report = net.audit({"W": delta(P, T).T @ X / 4}, {"W": w}, x=X, t=T)
    assert report["W"].diagnosis == "activation derivative", report
    assert says in report["W"].explanation
