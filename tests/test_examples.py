"""The examples: every one runs, and its numbers are those of torch, mpmath, NumPy's least squares or a formula on paper.

The systems (data, starts, rates, epochs, orders) are written out here a second time, so that a slip in an example is seen.
"""

import ast
import importlib
import re
import sys
import time
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
TENTHS = {"W_1": np.full((2, 2), 0.1), "b_1": np.zeros(2), "W_2": np.full(2, 0.1), "b_2": np.zeros(())}


# What is trained at length by tests of its own, or prints as much after less.
SHORT = {"transformer": {"epochs": 1}, "physics_informed": {"epochs": 1_000}}


@pytest.fixture(scope="module")
def example():
    """`example(name)`: the module of one script, found as `python examples/NAME.py` finds it and its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        yield importlib.import_module
        for name in SCRIPTS:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def digits(example):
    """The digits, trained once: (trainer, history, seconds)."""
    started = time.perf_counter()
    trainer, history = example("digits").train()
    return trainer, history, time.perf_counter() - started


# --- torch beside us ------------------------------------------------------------------------------------------------------


class TorchKerasAdam(torch.optim.Adam):
    """Keras's epsilon stands beside √v before the correction for the start; in torch's place it is epsilon/√(1 - beta_2ᵗ)."""

    steps = 0

    def step(self):
        self.steps += 1
        for group in self.param_groups:
            group["eps"] = 1e-7 / np.sqrt(1 - 0.999**self.steps)
        super().step()


def torch_train(start, loss, batches, epochs, optimizer, **settings):
    """Weights and mean losses after the same epochs over the same batches, by torch's autograd and optimizer."""
    weights = {name: torch.tensor(np.array(w), dtype=torch.float64, requires_grad=True) for name, w in start.items()}
    batches = [{name: torch.tensor(np.array(value, dtype=float)) for name, value in batch.items()} for batch in batches]
    optimizer = optimizer(list(weights.values()), **settings)
    means = []
    for _ in range(epochs):
        losses = []
        for batch in batches:
            optimizer.zero_grad()
            value = loss(weights, **batch)
            value.backward()
            optimizer.step()
            losses.append(value.item())
        means.append(float(np.mean(losses)))
    return {name: w.detach().numpy() for name, w in weights.items()}, means


def torch_gradients(start, loss, **batch):
    weights = {name: torch.tensor(np.array(w), dtype=torch.float64, requires_grad=True) for name, w in start.items()}
    loss(weights, **{name: torch.tensor(np.array(value, dtype=float)) for name, value in batch.items()}).backward()
    return {name: w.grad.numpy() for name, w in weights.items()}


def rows(data):
    """A table as single samples."""
    return [dict(zip(data, sample, strict=True)) for sample in zip(*data.values(), strict=True)]


def assert_same(close, found, expected, tolerance=1e-10):
    assert set(found) == set(expected)
    for name in expected:
        close(found[name], expected[name], tolerance, name)


@pytest.mark.parametrize("name", ["digits", "lenet"])
def test_an_example_says_what_to_install(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
    for module in ("digits", "lenet"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)  # as where it is not installed
    with pytest.raises(SystemExit, match=r"pip install 'symbackprop\[examples\]'$"):
        importlib.import_module(name)


# --- all of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - {"keras_adam", "gallery"}))
def test_every_example_prints_formulas_and_numbers(name, example, capsys):
    example(name).main(**SHORT.get(name, {}))
    printed = capsys.readouterr()
    assert r"\frac{\partial " in printed.out
    assert len(re.findall(r"\d\.\d{3}", printed.out)) > 5
    assert re.search(r"\b(nan|inf)\b", printed.out) is None
    assert printed.err == ""


@pytest.mark.parametrize("name", SCRIPTS)
def test_examples_use_only_the_public_interface(name):
    for part in ast.walk(ast.parse((EXAMPLES / f"{name}.py").read_text())):
        if isinstance(part, ast.ImportFrom):
            assert not (part.module or "").startswith("symbackprop")
        elif isinstance(part, ast.Import):
            assert all(not alias.name.startswith("symbackprop.") for alias in part.names)
        elif isinstance(part, ast.Attribute):
            assert not part.attr.startswith("_")
            if isinstance(part.value, ast.Name) and part.value.id == "sbp":
                assert part.attr in sbp.__all__


def test_keras_adam_is_kerass_formula(example):
    """Three steps on f(x) = x² + 4x from 1, in 50 digits."""
    trainer = sbp.Network(sbp.node("f", (lambda x: x**2 + 4 * x)(sbp.weight("x", init=1)))).trainer(example("keras_adam").KerasAdam(lr=0.01))
    trainer.fit({}, epochs=3)
    with mpmath.workdps(50):
        x, m, v = mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(0)
        for t in (1, 2, 3):
            g = 2 * x + 4
            m, v = mpmath.mpf("0.9") * m + mpmath.mpf("0.1") * g, mpmath.mpf("0.999") * v + mpmath.mpf("0.001") * g**2
            rate = mpmath.mpf("0.01") * mpmath.sqrt(1 - mpmath.mpf("0.999") ** t) / (1 - mpmath.mpf("0.9") ** t)
            x -= rate * m / (mpmath.sqrt(v) + mpmath.mpf("1e-7"))
        assert float(trainer.weights["x"]) == pytest.approx(float(x), rel=1e-13)


# --- 1. regression and classification -------------------------------------------------------------------------------------

SALARIES = {"x": [[8, 8], [7, 9], [6, 10], [5, 12]], "t": [4, 5, 6, 7]}
PLACEMENTS = {"x": [[8, 8], [7, 9], [6, 10], [5, 5]], "t": [1, 1, 0, 0]}


def torch_regression(w, x, t):
    return (w["W_2"] @ (w["W_1"].T @ x + w["b_1"]) + w["b_2"] - t) ** 2


def torch_classification(w, x, t):
    hidden = torch.sigmoid(w["W_1"].T @ x + w["b_1"])
    return torch.nn.functional.binary_cross_entropy(torch.sigmoid(w["W_2"] @ hidden + w["b_2"]), t)


ONE = [("regression", torch_regression, SALARIES, 5), ("classification", torch_classification, PLACEMENTS, 50)]


@pytest.mark.parametrize(("name", "loss", "data", "epochs"), ONE)
def test_1_trains_as_torch_does(name, loss, data, epochs, example, close):
    one = example("regression_and_classification")
    assert (one.SALARIES, one.PLACEMENTS, one.LR) == (SALARIES, PLACEMENTS, 0.001)
    assert_same(close, one.START, TENTHS)
    net = getattr(one, name)()
    for ours, theirs, rate, passes in ((sbp.SGD, torch.optim.SGD, 0.001, epochs), (example("keras_adam").KerasAdam, TorchKerasAdam, 0.01, 75)):
        trainer, history = one.train(net, data, ours(lr=rate), passes)
        weights, losses = torch_train(TENTHS, loss, rows(data), passes, theirs, lr=rate)
        assert_same(close, trainer.weights, weights)
        close(history.loss, losses)
        assert history.loss[-1] < history.loss[0]


@pytest.mark.parametrize(("name", "loss", "data", "epochs"), ONE)
def test_1_true_step_is_torchs(name, loss, data, epochs, example, close):
    one = example("regression_and_classification")
    for sample in rows(data):
        gradients = torch_gradients(TENTHS, loss, **sample)
        expected = {weight: TENTHS[weight] - 0.001 * gradients[weight] for weight in TENTHS}
        assert_same(close, one.true_step(getattr(one, name)(), one.START, **sample), expected, 1e-12)


def test_1_the_numbers_on_paper(example):
    """x = (8, 8), t = 4: both hidden values are 1.6, y = 0.32, the error 2(t - y) = 7.36, and the step is 0.001 of it."""
    one = example("regression_and_classification")
    true, notebook = one.true_step(one.regression(), one.START, [8, 8], 4), one.notebook_step(one.START, [8, 8], 4, sigmoid=False)
    for step, b2, new_w2 in ((true, 0.00736, 0.1), (notebook, 0.111776 + 0.00736, 0.111776)):
        assert step["b_2"] == pytest.approx(b2, rel=1e-12)
        assert step["W_2"] == pytest.approx(0.1 + 0.00736 * 1.6, rel=1e-12)
        assert step["b_1"] == pytest.approx(0.00736 * new_w2, rel=1e-12)
        assert step["W_1"] == pytest.approx(0.1 + 0.00736 * new_w2 * 8, rel=1e-12)


@pytest.mark.parametrize(("name", "loss", "data", "epochs"), ONE)
def test_1_the_three_mistakes(name, loss, data, epochs, example, close):
    """On the second sample: b_2 is off by the new W_2; what enters the first layer is scaled by new W_2/old W_2, and W_1 is transposed."""
    one = example("regression_and_classification")
    sample = {"x": [7, 9], "t": data["t"][1]}
    gradients = torch_gradients(TENTHS, loss, **sample)
    wrong = one.notebook_step(one.START, **sample, sigmoid=name == "classification")
    w2 = 0.1 - 0.001 * gradients["W_2"]
    close(wrong["W_2"], w2, 1e-12)
    close(wrong["b_2"], w2[1] - 0.001 * gradients["b_2"], 1e-12)
    close(wrong["b_1"], -0.001 * gradients["b_1"] * w2 / 0.1, 1e-12)
    close(wrong["W_1"], 0.1 - 0.001 * (gradients["W_1"] * w2 / 0.1).T, 1e-12)
    true = one.true_step(getattr(one, name)(), one.START, **sample)
    assert [weight for weight in true if not np.allclose(true[weight], wrong[weight], rtol=1e-9)] == ["W_1", "b_1", "b_2"]


# --- 2. regression, once more ---------------------------------------------------------------------------------------------

ALL_TENTHS = {"W_1": np.full((2, 2), 0.1), "b_1": np.full(2, 0.1), "W_2": np.full((2, 1), 0.1), "b_2": np.full(1, 0.1)}
TABLE = {"X": [[8, 8], [7, 9], [6, 10], [5, 12]], "T": [[4], [5], [6], [7]]}


def torch_squares(w, X, T):
    return ((X @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"] - T) ** 2


def test_2_runs_as_keras_and_as_torch(example, close):
    two = example("regression")
    assert_same(close, two.START, ALL_TENTHS)
    trainer, history = two.train(two.network(two.LOSSES["mean (Keras)"]), example("keras_adam").KerasAdam(lr=0.01))
    weights, losses = torch_train(ALL_TENTHS, lambda w, X, T: torch_squares(w, X, T).mean(), [TABLE], 10, TorchKerasAdam, lr=0.01)
    assert_same(close, trainer.weights, weights)
    close(history.loss, losses)

    trainer, by_hand = two.train(two.network(two.LOSSES["sum (code)"]), sbp.SGD(lr=0.001), batch_size=1)
    one_row = [{"X": x[None], "T": t[None]} for x, t in zip(np.array(TABLE["X"]), np.array(TABLE["T"]), strict=True)]
    weights, losses = torch_train(ALL_TENTHS, lambda w, X, T: torch_squares(w, X, T).sum(), one_row, 10, torch.optim.SGD, lr=0.001)
    assert_same(close, trainer.weights, weights)
    close(by_hand.loss, losses)
    assert np.all(np.abs(np.array(by_hand.loss) - history.loss) > 0.1), "the notebook's claim that both runs are equal"


def test_2_three_losses(example, close):
    two = example("regression")
    gradients = torch_gradients(ALL_TENTHS, lambda w, X, T: torch_squares(w, X, T).sum(), **TABLE)
    for name, share in (("half the sum (text)", 1 / 2), ("sum (code)", 1), ("mean (Keras)", 1 / 4)):
        _, found = two.network(two.LOSSES[name]).value_and_gradients(two.START, **TABLE)
        assert_same(close, found, {weight: share * g for weight, g in gradients.items()}, 1e-12)


def test_2_overwritten_weights(example, close):
    """x = (8, 8), t = 4: the hidden values are 1.7, y = 0.44, the error 2(t - y) = 7.12."""
    two = example("regression")
    true, wrong = two.true_step(two.X[0], two.T[0]), two.notebook_step(two.X[0], two.T[0])
    assert_same(
        close,
        true,
        {
            "W_1": np.full((2, 2), 0.1 + 0.00712 * 0.1 * 8),
            "b_1": np.full(2, 0.1 + 0.00712 * 0.1),
            "W_2": np.full((2, 1), 0.1 + 0.00712 * 1.7),
            "b_2": np.full(1, 0.1 + 0.00712),
        },
        1e-12,
    )
    assert_same(
        close,
        wrong,
        {
            "W_1": np.full((2, 2), 0.0712 * 0.012104 * 8),
            "b_1": np.full(2, 0.0712 * 0.012104),
            "W_2": np.full((2, 1), 0.00712 * 1.7),
            "b_2": np.full(1, 0.00712),
        },
        1e-12,
    )
    assert two.loss_after(two.START) == pytest.approx(3.56**2, rel=1e-12)
    assert two.loss_after(true) < 3.56**2 < two.loss_after(wrong)


# --- 3. tanh and autograd -------------------------------------------------------------------------------------------------


def torch_neurons(w, x, t):
    return (torch.tanh(w["w_2"] * torch.tanh(w["w_1"] * x) + w["b"]) - t) ** 2 / 2


def test_3_the_derivation_is_the_notebooks(example):
    three = example("tanh_and_autograd")
    net = three.two_neurons()
    named = {**net.data, **net.weights, **{e.symbol.name: e.symbol for e in net.equations}}
    x, t, w2, z1, a1, z2, y = (named[name] for name in ("x", "t", "w_2", "z_1", "a_1", "z_2", "y"))
    delta = (sp.tanh(z2) - t) * (1 - sp.tanh(z2) ** 2)
    first, second = ["dC/dy", "dy/dz_2"], [y - t, 1 - y**2]
    expected = {
        "w_1": (["dz_2/da_1", "da_1/dz_1", "dz_1/dw_1"], [w2, 1 - a1**2, x], x * (1 - sp.tanh(z1) ** 2) * w2 * delta),
        "w_2": (["dz_2/dw_2"], [a1], sp.tanh(z1) * delta),
        "b": (["dz_2/db"], [1], delta),
    }
    for weight, (names, values, formula) in expected.items():
        partials, evaluated, last = three.derivation(net, weight)
        assert [str(p) for p in partials] == first + names
        assert evaluated == second + values
        assert last == formula


def test_3_the_neurons_train_as_torch_does(example, close):
    three = example("tanh_and_autograd")
    ones = {"w_1": 1.0, "w_2": 1.0, "b": 1.0}
    trainer, history = three.train_neurons(three.two_neurons())
    weights, losses = torch_train(ones, torch_neurons, rows(three.SAMPLES), 10, torch.optim.SGD, lr=0.01)
    assert_same(close, trainer.weights, weights)
    close(history.loss, losses)


def test_3_the_forward_pass_with_w_1(example, close):
    """Right at the start, where both weights are 1; wrong elsewhere, as mpmath's numeric derivatives in 50 digits say."""
    three = example("tanh_and_autograd")
    net = three.two_neurons()
    for point, x, t in (({"w_1": 1.0, "w_2": 1.0, "b": 1.0}, -0.5, 0.25), ({"w_1": 0.5, "w_2": 2.0, "b": 0.0}, 1.0, 0.0)):
        with mpmath.workdps(50):
            exact = [
                mpmath.diff(lambda *w, x=x, t=t: (mpmath.tanh(w[1] * mpmath.tanh(w[0] * x) + w[2]) - t) ** 2 / 2, tuple(point.values()), order)
                for order in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
            ]
        exact = dict(zip(point, map(float, exact), strict=True))
        assert_same(close, net.value_and_gradients(point, x=x, t=t)[1], exact, 1e-12)
        wrong = three.notebook_gradients(point, x, t)
        if point["w_1"] == point["w_2"]:
            assert_same(close, wrong, exact, 1e-12)
        else:
            assert all(abs(wrong[name] - exact[name]) > 0.3 * abs(exact[name]) for name in exact)
    trainer, _ = three.train_neurons(net)
    assert max(abs(three.train_as_notebook()[name] - float(trainer.weights[name])) for name in point) > 1e-4


def test_3_functions_without_data(example):
    """x² + 4x: each step multiplies the distance to -2 by 1 - 2η."""
    three = example("tanh_and_autograd")
    for start, slope in ((0, 4), (3, 10)):
        assert three.parabola().value_and_gradients({"x": start})[1]["x"] == pytest.approx(slope, rel=1e-15)
    for rate in (0.01, 0.1):
        assert three.minimise(three.parabola(), 0, rate) == pytest.approx(-2 + 2 * (1 - 2 * rate) ** 100, rel=1e-12)
    x = 1.0
    for _ in range(100):
        x -= 0.01 * (10 - 750 / x**2)
    assert three.minimise(three.cost(), 1, 0.01) == pytest.approx(x, rel=1e-12)


def test_3_linear_regression(example, close):
    """Gradient descent on squares is an affine map: after k steps the distance to the least squares is (I - ηH)^k of the first."""
    three = example("tanh_and_autograd")
    cars = three.columns("auto_mpg.csv", "cylinders", "mpg")
    assert len(cars["x"]) == len(cars["t"]) == 392
    design = np.stack([cars["x"], np.ones(392)], axis=1)
    best = np.linalg.lstsq(design, cars["t"], rcond=None)[0]
    shrink = np.linalg.matrix_power(np.eye(2) - 0.01 * 2 / 392 * design.T @ design, 5000)
    w, b, loss = three.descend(three.linear_regression(), cars, epochs=5000)
    expected = best - shrink @ best
    close([w, b], expected, 1e-10)
    close(loss, np.mean((design @ expected - cars["t"]) ** 2), 1e-12)

    wrong_w, wrong_b, wrong_loss = three.descend(three.notebook_linear_regression(), cars, epochs=5000)
    close([wrong_w, wrong_b, wrong_loss], [w, -b, loss], 1e-12)
    assert np.mean((wrong_w * cars["x"] + wrong_b - cars["t"]) ** 2) > 100 * loss


def test_3_logistic_regression(example, close):
    three = example("tanh_and_autograd")
    women = three.columns("pima.csv", "pregnancies", "diabetes")
    assert len(women["x"]) == 532
    assert set(women["t"]) == {0.0, 1.0}

    def log_loss(w, x, t):
        p = torch.sigmoid(w["w"] * x + w["b"])
        return -(t * torch.log(p + 1e-7) + (1 - t) * torch.log(1 - p + 1e-7)).mean()

    w, b, loss = three.descend(three.logistic_regression(), women, epochs=500)
    weights, losses = torch_train({"w": 0.0, "b": 0.0}, log_loss, [women], 501, torch.optim.SGD, lr=0.01)
    close(loss, losses[500])
    weights, _ = torch_train({"w": 0.0, "b": 0.0}, log_loss, [women], 500, torch.optim.SGD, lr=0.01)
    close([w, b], [weights["w"], weights["b"]])


# --- 4. from scratch --------------------------------------------------------------------------------------------------------


def test_4_difference_quotients(example):
    """The formula gives the last digit; the central difference about ten; the notebook's quotient three or four."""
    four = example("from_scratch")
    paper = [4, 300, 12, 5, 40, 2, 1, 192]
    assert len(four.functions()) == len(paper)
    for system, expected in zip(four.functions(), paper, strict=True):
        quotient, central, exact = four.three_derivatives(*system)
        assert exact == pytest.approx(expected, rel=1e-15)
        assert central == pytest.approx(expected, rel=1e-8)
        assert 1e-5 * expected < abs(quotient - expected) < 1e-2 * expected
    assert round(four.three_derivatives(*four.functions()[4])[0], 2) == 39.96


def torch_line(w, x, t):
    return ((w["m"] * x + w["c"] - t) ** 2).sum()


def torch_two_linear(w, x, t):
    return ((w["m_2"] * (w["m_1"] * x + w["c_1"]) + w["c_2"] - t) ** 2).sum()


@pytest.mark.parametrize("rate", [0.01, 0.001])
@pytest.mark.parametrize(("name", "loss", "weights"), [("line", torch_line, "m c"), ("two_neurons", torch_two_linear, "m_1 c_1 m_2 c_2")])
def test_4_fits_as_torch_does(name, loss, weights, rate, example, close):
    four = example("from_scratch")
    data, start = four.noisy_line(), dict.fromkeys(weights.split(), 0.5)
    found, losses = four.descend(getattr(four, name)(), data, lr=rate, epochs=300)
    expected, expected_losses = torch_train(start, loss, [data], 300, torch.optim.SGD, lr=rate)
    assert_same(close, found, expected)
    close(losses, expected_losses)
    numeric, _ = four.descend_numerically(getattr(four, name)(), data, lr=rate, epochs=300)
    for weight in start:
        assert 1e-8 < abs(numeric[weight] - found[weight]) < 1e-2


def test_4_neuron_by_neuron(example, close):
    four = example("from_scratch")
    data, start = four.noisy_line(), dict.fromkeys(("m_1", "c_1", "m_2", "c_2"), 0.5)
    expected = torch_gradients(start, torch_two_linear, **data)
    assert_same(close, four.neuron_by_neuron(start, **{"x": data["x"], "t": data["t"]}), expected, 1e-12)
    assert_same(close, four.two_neurons().value_and_gradients(start, **data)[1], expected, 1e-12)


def test_4_the_line_is_the_least_squares_line(example, close):
    four = example("from_scratch")
    data = four.noisy_line()
    best = np.polyfit(data["x"], data["t"], 1)
    line, _ = four.descend(four.line(), data, lr=0.01, epochs=2000)
    close([line["m"], line["c"]], best, 1e-9)
    two, _ = four.descend(four.two_neurons(), data, lr=0.01, epochs=2000)
    close([two["m_2"] * two["m_1"], two["m_2"] * two["c_1"] + two["c_2"]], best, 1e-9)


# --- 5. two hidden layers -----------------------------------------------------------------------------------------------------

MAZUR = {"W_1": [[0.01, 0.2], [0.15, 0.08]], "W_2": [[0.01, 0.5], [0.7, 0.1]], "W_3": [[0.24, 0.55], [0.35, 0.6]]}
TEN_POINTS = [
    [2.7810836, 2.550537003, 0],
    [1.465489372, 2.362125076, 0],
    [3.96561688, 4.400293529, 0],
    [1.38807019, 1.850220317, 0],
    [3.06407232, 3.005305973, 0],
    [7.627531214, 2.759262235, 1],
    [5.332441248, 2.088626775, 1],
    [6.922596716, 1.77106367, 1],
    [8.675418651, -0.242068655, 1],
    [7.673756466, 3.508563011, 1],
]


def torch_layers(w, x, t):
    return ((x @ w["W_1"].T @ w["W_2"].T @ w["W_3"].T - t) ** 2).sum(-1).mean() / 2


def test_5_one_step(example, close):
    five = example("two_hidden_layers")
    sample = {"x": [0.5, 0.1], "t": [0.1, 0.99]}
    expected = torch_gradients(MAZUR, torch_layers, **sample)
    gradients, weights, before, after = five.one_step()
    assert_same(close, gradients, expected, 1e-12)
    assert_same(close, five.gradients_by_hand(), expected, 1e-12)
    _, losses = torch_train(MAZUR, torch_layers, [sample], 2, torch.optim.SGD, lr=0.5)
    close([before, after], losses, 1e-12)
    one, _ = torch_train(MAZUR, torch_layers, [sample], 1, torch.optim.SGD, lr=0.5)
    assert_same(close, weights, one, 1e-12)


def test_5_ten_points(example, close):
    five = example("two_hidden_layers")
    points, classes = np.array(TEN_POINTS)[:, :2], np.array(TEN_POINTS)[:, 2].astype(int)
    np.testing.assert_array_equal(five.POINTS, points)
    np.testing.assert_array_equal(five.CLASSES, classes)
    trainer, history = five.train(epochs=500)
    weights, losses = torch_train(MAZUR, torch_layers, [{"x": points, "t": np.eye(2)[classes]}], 500, torch.optim.SGD, lr=0.1)
    assert_same(close, trainer.weights, weights)
    close(history.loss, losses)

    trainer, _ = five.train()
    np.testing.assert_array_equal(five.classify(trainer), classes)
    best = np.linalg.lstsq(points, np.eye(2)[classes], rcond=None)[0].T
    np.testing.assert_allclose(five.one_layer(trainer), best, rtol=1e-6)


def test_5_the_mistakes(example, close):
    five = example("two_hidden_layers")
    wrong = five.notebook_points()
    assert np.argwhere(wrong != five.POINTS).tolist() == [[2, 0], [8, 1]]
    with pytest.raises(sbp.TrainingDivergedError):
        five.train(wrong)
    for points, sign in ((five.POINTS, -1), (wrong, 1)):
        sample = {"x": [8.675418651, sign * 0.242068655], "t": [0, 1]}
        close(five.gradient_of_point(points, 8), torch_gradients(MAZUR, torch_layers, **sample)["W_1"], 1e-12)
    assert np.abs(five.gradient_of_point(points, 8) - five.gradient_of_point(five.POINTS, 8)).max() > 0.1
    assert len(five.notebook_classes(five.train(epochs=1)[0])) == 1


# --- digits -------------------------------------------------------------------------------------------------------------------


def test_digits_reach_96_percent_on_a_held_out_fifth(example, digits):
    """Counted with a forward pass of NumPy's own."""
    trainer, history, seconds = digits
    (images, _), (unseen, unseen_labels) = example("digits").split()
    assert (len(images), len(unseen)) == (1438, 359)
    assert {image.tobytes() for image in images}.isdisjoint(image.tobytes() for image in unseen)
    w = trainer.weights
    assert {name: value.shape for name, value in w.items()} == {"W_1": (64, 32), "b_1": (32,), "W_2": (32, 10), "b_2": (10,)}
    classes = (np.tanh(unseen @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]).argmax(axis=1)
    right = np.mean(classes == unseen_labels)
    assert right >= 0.96
    assert example("digits").accuracy(trainer, unseen, unseen_labels) == right
    assert len(history.loss) == 30
    assert seconds < 60


def test_digits_train_as_torch_does(example, close):
    """The first epoch, in the same order, and the held-out loss after it."""
    net = example("digits").network()
    (images, labels), (unseen, unseen_labels) = example("digits").split()
    trainer = net.trainer(sbp.SGD(lr=0.1, momentum=0.9), seed=0)
    start = {name: np.array(w) for name, w in trainer.weights.items()}
    trainer.fit({"X": images, "labels": labels}, epochs=1, batch_size=32)

    def loss(w, X, labels):
        logits = torch.tanh(X @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]
        return torch.nn.functional.cross_entropy(logits, labels.long())

    batches = [{"X": images[i : i + 32], "labels": labels[i : i + 32]} for i in range(0, len(images), 32)]
    weights, _ = torch_train(start, loss, batches, 1, torch.optim.SGD, lr=0.1, momentum=0.9)
    assert_same(close, trainer.weights, weights)
    held_out = loss({n: torch.tensor(w) for n, w in weights.items()}, torch.tensor(unseen), torch.tensor(unseen_labels)).item()
    close(trainer.loss(X=unseen, labels=unseen_labels), held_out)


# --- a physics-informed network -----------------------------------------------------------------------------------------------


def test_the_network_learns_the_sine_from_its_equation(example):
    physics = example("physics_informed")
    trainer, _ = physics.train(physics.network())
    assert physics.error(trainer) < 2e-3


def test_physics_informed_updates_are_those_of_torch(example, close):
    """The second derivative by torch's autograd, twice."""
    physics = example("physics_informed")
    net = physics.network()
    start = {name: np.array(w) for name, w in net.trainer(sbp.SGD(lr=1)).weights.items()}
    points = np.linspace(0, physics.END, 64)[:, None]

    def loss(w, x):
        x = x.clone().requires_grad_()
        a = torch.tanh(torch.tanh(x @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"])
        u = x + x**2 * (a @ w["W_3"] + w["b_3"])
        (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return ((bend + u) ** 2).mean()

    trainer = net.trainer(sbp.Adam(lr=1e-3), weights=start)
    trainer.fit({"x": points}, epochs=20)
    weights, _ = torch_train(start, loss, [{"x": points}], 20, torch.optim.Adam, lr=1e-3)
    assert_same(close, trainer.weights, weights, 1e-8)


# --- LeNet --------------------------------------------------------------------------------------------------------------------


def torch_lenet(w, X, labels=None):
    """The logits, or with labels the loss, in PyTorch's own words."""
    w = {name: torch.as_tensor(value) for name, value in w.items()}
    functional = torch.nn.functional
    h = torch.tanh(functional.conv2d(torch.as_tensor(X).reshape(-1, 1, 8, 8), w["K_1"], w["b_1"], padding="same"))
    h = torch.tanh(functional.conv2d(functional.max_pool2d(h, 2), w["K_2"], w["b_2"]))
    logits = torch.tanh(h.flatten(1) @ w["W_3"] + w["b_3"]) @ w["W_4"] + w["b_4"]
    return logits if labels is None else functional.cross_entropy(logits, labels.long())


def test_lenet_reaches_97_percent_on_a_held_out_fifth(example):
    """Counted with PyTorch's convolutions; the digits are those of `digits.py`."""
    trainer, _ = example("lenet").train(backend="numpy")
    _, (unseen, unseen_labels) = example("digits").split()
    right = float(np.mean(torch_lenet(trainer.weights, unseen).argmax(1).numpy() == unseen_labels))
    assert right >= 0.97
    assert example("digits").accuracy(trainer, unseen, unseen_labels) == right


def test_lenet_trains_as_torch_does(example, close):
    """The first epoch, and the text form beside the script."""
    (images, labels), _ = example("digits").split()
    images, labels = images[:256], labels[:256]
    trainers = [net.trainer(sbp.SGD(lr=0.05, momentum=0.9), seed=0, backend="numpy") for net in (example("lenet").network(), sbp.load(EXAMPLES / "lenet.net"))]
    start = {name: np.array(w) for name, w in trainers[0].weights.items()}
    batches = [{"X": images[i : i + 32], "labels": labels[i : i + 32]} for i in range(0, len(images), 32)]
    weights, _ = torch_train(start, torch_lenet, batches, 1, torch.optim.SGD, lr=0.05, momentum=0.9)
    for trainer in trainers:
        trainer.fit({"X": images, "labels": labels}, epochs=1, batch_size=32)
        assert_same(close, trainer.weights, weights)


# --- the transformer ---------------------------------------------------------------------------------------------------------


def test_the_entropy_of_the_toy_language_is_that_of_its_sentences(example):
    """108 sentences, equally likely: the surprises of the letters of one add up to log 108, but for the first letter, a or t, each one half."""
    language = example("transformer")
    assert len(set(language.sentences())) == 108
    for sentence in language.sentences()[::13]:
        found = language.surprises([language.NUMBER[letter] for letter in sentence])
        assert sum(found) == pytest.approx(np.log(108) - np.log(2), rel=1e-12)


def test_the_transformer_learns_the_toy_language(example):
    """After four epochs its loss on new texts is near the entropy, and not below by more than chance; letters alone, without order, are far off."""
    language = example("transformer")
    trainer, history, loss, bound = language.train(epochs=4)
    counts = np.bincount(language.texts(200, seed=2)[:, 1:].ravel())
    shares = counts[counts > 0] / counts.sum()
    assert -(shares * np.log(shares)).sum() > 2.4
    assert history.loss[0] < 2.4
    assert 0.98 * bound < loss < 1.3 * bound
    assert len(language.speak(trainer, 5)) == 5
