"""The optimizers against torch.optim: 50 steps of the same network from the same start, in everything that can carry out an update."""

import inspect
import re

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp
from symbackprop.codegen.load import load_source
from symbackprop.errors import NetworkError
from symbackprop.training.engines import ArrayEngine, ScalarEngine
from symbackprop.training.feed import Batches
from symbackprop.training.native import NativeEngine

STEPS = 50
t = sp.Symbol("t")

# What is written in symbackprop, and the same in PyTorch.
PAIRS = {
    "sgd": (sbp.SGD(lr=0.05), lambda p: torch.optim.SGD(p, lr=0.05)),
    "sgd-decay": (sbp.SGD(lr=0.05, weight_decay=0.03), lambda p: torch.optim.SGD(p, lr=0.05, weight_decay=0.03)),
    "momentum": (sbp.SGD(lr=0.05, momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    "dampening": (sbp.SGD(lr=0.05, momentum=0.9, dampening=0.3), lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, dampening=0.3)),
    "nesterov": (
        sbp.SGD(lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.03),
        lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.03),
    ),
    "adam": (sbp.Adam(lr=0.02), lambda p: torch.optim.Adam(p, lr=0.02)),
    "adam-decay": (
        sbp.Adam(lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.03),
        lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.03),
    ),
    "amsgrad": (sbp.Adam(lr=0.02, amsgrad=True), lambda p: torch.optim.Adam(p, lr=0.02, amsgrad=True)),
    "adamw": (sbp.AdamW(lr=0.02), lambda p: torch.optim.AdamW(p, lr=0.02)),
    "adamw-amsgrad": (
        sbp.AdamW(lr=0.02, weight_decay=0.1, amsgrad=True),
        lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1, amsgrad=True),
    ),
    "rmsprop": (sbp.RMSprop(lr=0.005), lambda p: torch.optim.RMSprop(p, lr=0.005)),
    "rmsprop-decay": (
        sbp.RMSprop(lr=0.005, alpha=0.9, weight_decay=0.03, momentum=0.8),
        lambda p: torch.optim.RMSprop(p, lr=0.005, alpha=0.9, weight_decay=0.03, momentum=0.8),
    ),
    "rmsprop-centered": (
        sbp.RMSprop(lr=0.005, centered=True, eps=1e-4),
        lambda p: torch.optim.RMSprop(p, lr=0.005, centered=True, eps=1e-4),
    ),
    "rmsprop-all": (
        sbp.RMSprop(lr=0.005, centered=True, momentum=0.9, eps=1e-4),
        lambda p: torch.optim.RMSprop(p, lr=0.005, centered=True, momentum=0.9, eps=1e-4),
    ),
    "adagrad": (sbp.Adagrad(lr=0.1), lambda p: torch.optim.Adagrad(p, lr=0.1)),
    "adagrad-all": (
        sbp.Adagrad(lr=0.1, lr_decay=0.01, weight_decay=0.03, initial_accumulator_value=0.2),
        lambda p: torch.optim.Adagrad(p, lr=0.1, lr_decay=0.01, weight_decay=0.03, initial_accumulator_value=0.2),
    ),
}
# A schedule and the lr that it gives at update k = 1, 2, ...
SCHEDULES = {
    "inverse": (0.1 / (1 + 0.05 * t), lambda k: 0.1 / (1 + 0.05 * k)),
    "cosine": (0.05 * (1 + sp.cos(sp.pi * t / 60)), lambda k: 0.05 * (1 + np.cos(np.pi * k / 60))),
    "warm-up": (sp.Piecewise((0.01 * t, t <= 10), (0.1, True)), lambda k: 0.01 * k if k <= 10 else 0.1),
}


class Tensors:
    """A small network of matrices, and the same in PyTorch."""

    def __init__(self):
        X, T = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 1))
        W_1, b_1, W_2 = sbp.weight("W_1", (2, 3)), sbp.weight("b_1", (3,)), sbp.weight("W_2", (3, 1))
        y = sbp.node("Y", sp.tanh(X @ W_1 + b_1) @ W_2)
        self.net = sbp.Network(sbp.node("C", sbp.mse(y, T)), output=y)
        rng = np.random.default_rng(3)
        self.weights = {"W_1": rng.uniform(-1, 1, (2, 3)), "b_1": rng.uniform(-1, 1, 3), "W_2": rng.uniform(-1, 1, (3, 1))}
        self.data = {"X": rng.uniform(-1, 1, (6, 2)), "T": rng.uniform(-1, 1, (6, 1))}

    @staticmethod
    def loss(w, d):
        return ((torch.tanh(d["X"] @ w["W_1"] + w["b_1"]) @ w["W_2"] - d["T"]) ** 2).mean()


class Scalars:
    """The network of the tanh notebook on one sample, and the same in PyTorch."""

    def __init__(self):
        x, target = sbp.data("x target")
        w_1, w_2, b = sbp.weight("w_1 w_2 b")
        y = sbp.node("y", sp.tanh(w_2 * sp.tanh(w_1 * x) + b))
        self.net = sbp.Network(sbp.node("C", (y - target) ** 2 / 2), output=y)
        self.weights = {"w_1": 0.8, "w_2": -0.6, "b": 0.3}
        self.data = {"x": np.array([0.7]), "target": np.array([-0.2])}

    @staticmethod
    def loss(w, d):
        return ((torch.tanh(w["w_2"] * torch.tanh(w["w_1"] * d["x"]) + w["b"]) - d["target"]) ** 2 / 2).mean()


def torch_run(case, make, lr=None):
    """Weights and losses after 50 steps of torch.optim."""
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in case.weights.items()}
    d = {name: torch.tensor(value, dtype=torch.float64) for name, value in case.data.items()}
    optimizer, losses = make(list(w.values())), []
    for k in range(1, STEPS + 1):
        if lr is not None:
            optimizer.param_groups[0]["lr"] = float(lr(k))
        optimizer.zero_grad()
        loss = case.loss(w, d)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return {name: value.detach().numpy() for name, value in w.items()}, losses


def module_run(case, optimizer):
    """The same with the standalone module's update()."""
    module = load_source(case.net.generate("numpy", optimizer=optimizer), "optimizer_test")
    weights = {name: np.array(value, float) for name, value in case.weights.items()}
    places = dict(weights)
    state = module.initialize_state(weights)
    losses = [module.update(weights, state, **case.data) for _ in range(STEPS)]
    assert state["t"] == STEPS
    assert all(weights[name] is places[name] for name in places), "an update must change the arrays in place"
    return weights, losses


def array_run(case, optimizer):
    trainer = case.net.trainer(optimizer, weights=case.weights)
    trainer._engines["array"] = ArrayEngine(trainer.system, trainer.rule, "float64")
    feed = trainer._check(case.data)
    losses = trainer._engines["array"].run(trainer._arrays, trainer.state, feed, Batches(feed.samples, feed.samples, epochs=STEPS)).means
    return dict(trainer.weights), losses


def scalar_run(case, optimizer):
    trainer = case.net.trainer(optimizer, weights=case.weights)
    assert isinstance(trainer._engine(1), ScalarEngine)
    history = trainer.fit(case.data, epochs=STEPS, batch_size=1)
    assert trainer.steps == STEPS
    return dict(trainer.weights), history.loss


def native_run(case, optimizer, in_python):
    """The source that is made to be compiled, run by Python: loops over arrays, and straight scalars where there is one sample."""
    trainer = case.net.trainer(optimizer, weights=case.weights)
    engine = NativeEngine(trainer.system, trainer.rule, "float64")
    feed = trainer._check(case.data)
    in_python(engine, feed.samples)
    updates, losses = engine.run(trainer._arrays, trainer.state, feed, Batches(feed.samples, feed.samples, epochs=STEPS))
    assert updates == trainer.steps == STEPS
    return dict(trainer.weights), losses


RUNS = [(Tensors, module_run), (Tensors, array_run), (Scalars, module_run), (Scalars, array_run), (Scalars, scalar_run)]


@pytest.fixture
def runs(in_python):
    """Every way to train: (case, function of a case and an optimizer)."""

    def interpreted(case, optimizer):
        return native_run(case, optimizer, in_python)

    return [*RUNS, (Tensors, interpreted), (Scalars, interpreted)]


@pytest.mark.parametrize("name", PAIRS)
def test_equals_torch(name, close, runs):
    ours, theirs = PAIRS[name]
    expected = {case: torch_run(case(), theirs) for case in (Tensors, Scalars)}
    for case, run in runs:
        weights, losses = run(case(), ours)
        what = f"{name}: {case.__name__}, {run.__name__}"
        close(losses, expected[case][1], 1e-12, what)
        assert set(weights) == set(expected[case][0])
        for w, value in expected[case][0].items():
            close(weights[w], value, 1e-12, f"{what}, {w}")


@pytest.mark.parametrize("name", SCHEDULES)
def test_lr_may_be_an_expression_of_the_step_count(name, close, runs):
    lr, number = SCHEDULES[name]
    for case, run in runs:
        expected, losses = torch_run(case(), lambda p: torch.optim.SGD(p, lr=0.0, momentum=0.5), number)
        weights, found = run(case(), sbp.SGD(lr=lr, momentum=0.5))
        close(found, losses, 1e-12)
        for w, value in expected.items():
            close(weights[w], value, 1e-12, f"{name}: {case.__name__}, {run.__name__}, {w}")


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_arguments_and_defaults_are_those_of_torch(name):
    ours, theirs = (inspect.signature(getattr(package, name).__init__).parameters for package in (sbp, torch.optim))
    for argument, parameter in ours.items():
        if argument != "self":
            assert argument in theirs, f"{name}: torch has no argument {argument}"
            assert parameter.default == theirs[argument].default, f"{name}: {argument}"


# --- a user's own rule ---------------------------------------------------------------------------------------------------


class Lion(sbp.Optimizer):
    """The sign of an interpolated momentum (Chen et al. 2023, algorithm 2): a rule that no part of the package knows."""

    def __init__(self, lr=0.01, beta_1=0.9, beta_2=0.99, decay=0.1):
        self.lr, self.beta_1, self.beta_2, self.decay = lr, beta_1, beta_2, decay

    def rule(self, w, g, t, state):
        m, u = state("m"), state("u", init=0.5)
        yield u, self.beta_1 * m + (1 - self.beta_1) * g
        yield w, w - self.lr * (sp.sign(u) + self.decay * w)
        yield m, self.beta_2 * m + (1 - self.beta_2) * g


def lion_by_hand(case):
    w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in case.weights.items()}
    d = {name: torch.tensor(value, dtype=torch.float64) for name, value in case.data.items()}
    m = {name: torch.zeros_like(value) for name, value in w.items()}
    for _ in range(STEPS):
        gradients = torch.autograd.grad(case.loss(w, d), list(w.values()))
        with torch.no_grad():
            for (name, value), g in zip(w.items(), gradients, strict=True):
                value -= 0.01 * (torch.sign(0.9 * m[name] + 0.1 * g) + 0.1 * value)
                m[name] = 0.99 * m[name] + 0.01 * g
    return {name: value.detach().numpy() for name, value in w.items()}


def test_a_users_rule_works_the_same_way(close, runs):
    for case, run in runs:
        weights, _ = run(case(), Lion())
        for w, value in lion_by_hand(case()).items():
            close(weights[w], value, 1e-12, f"{case.__name__}, {run.__name__}, {w}")


def test_a_rule_may_write_the_weight_twice_and_read_it_between(close):
    class TwoSteps(sbp.Optimizer):
        def rule(self, w, g, t, state):
            before = state("before")
            yield before, w
            yield w, w / 2 - g / 10
            yield w, w + before / 2 + w * before / 100

    for case, run in [(Scalars, scalar_run), (Scalars, array_run), (Scalars, module_run)]:
        start = case()
        w = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in start.weights.items()}
        d = {name: torch.tensor(value, dtype=torch.float64) for name, value in start.data.items()}
        for _ in range(STEPS):
            gradients = torch.autograd.grad(start.loss(w, d), list(w.values()))
            with torch.no_grad():
                for value, g in zip(w.values(), gradients, strict=True):
                    half = value / 2 - g / 10
                    value.copy_(half + value / 2 + half * value / 100)
        weights, _ = run(case(), TwoSteps())
        for name, value in w.items():
            close(weights[name], value.detach().numpy(), 1e-12, f"{run.__name__}, {name}")


# --- formulas ------------------------------------------------------------------------------------------------------------

FORMULAS = {
    "sgd": (sbp.SGD(lr=0.01), [r"w &\leftarrow w - 0.01 g"]),
    "momentum": (sbp.SGD(lr=0.1, momentum=0.9), [r"m &\leftarrow 0.9 m + g", r"w &\leftarrow w - 0.1 m"]),
    "decay": (sbp.SGD(lr=0.1, weight_decay=0.5), [r"g &\leftarrow g + 0.5 w", r"w &\leftarrow w - 0.1 g"]),
    "adagrad": (sbp.Adagrad(lr=0.1), [r"v &\leftarrow v + g^{2}", None]),
    "adam": (sbp.Adam(), [r"m &\leftarrow 0.9 m + 0.1 g", r"v &\leftarrow 0.999 v + 0.001 g^{2}", None]),
    "adamw": (sbp.AdamW(lr=0.1, weight_decay=0.5), [r"w &\leftarrow 0.95 w", None, None, None]),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_latex_is_the_rule_of_the_paper(name):
    optimizer, expected = FORMULAS[name]
    text = optimizer.latex()
    assert text.startswith("\\begin{align*}\n")
    assert text.endswith("\n\\end{align*}")
    lines = text.split("\n")[1:-1]
    assert len(lines) == len(expected)
    for line, formula in zip(lines, expected, strict=True):
        if formula is not None:
            assert line.removesuffix(r" \\") == formula
    assert optimizer._repr_latex_() == "$$" + text.replace("align*", "aligned") + "$$"


@pytest.mark.parametrize("name", PAIRS)
def test_latex_is_well_formed_and_complete(name):
    optimizer, _ = PAIRS[name]
    text = optimizer.latex()
    assert text.count(r"\leftarrow") == len(optimizer.equations().assignments)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left(") + text.count(r"\left\{") == len(re.findall(r"\\right[).}]", text))


def test_repr_shows_the_hyperparameters_as_they_were_typed():
    assert repr(sbp.SGD(lr=0.1, momentum=0.9)) == "SGD(lr=0.1, momentum=0.9, nesterov=False, weight_decay=0, dampening=0)"
    assert "betas=(0.9, 0.999)" in repr(sbp.Adam())


# --- what cannot work ----------------------------------------------------------------------------------------------------


def rule_of(yields, **states):
    class Custom(sbp.Optimizer):
        def rule(self, w, g, t, state):
            return yields(w, g, t, state)

    return Custom()


BAD_RULES = {
    "no rule": (sbp.Optimizer(), "defines no rule"),
    "never assigns w": (rule_of(lambda w, g, t, state: [(state("m"), g)]), "never assigns w"),
    "assigns t": (rule_of(lambda w, g, t, state: [(t, t + 1), (w, w - g)]), "assigns t"),
    "assigns a stranger": (rule_of(lambda w, g, t, state: [(sp.Symbol("q"), g), (w, w - g)]), "assigns q"),
    "reads a stranger": (rule_of(lambda w, g, t, state: [(w, w - sp.Symbol("eta") * g)]), "mentions eta"),
    "not a generator": (rule_of(lambda w, g, t, state: None), "must yield"),
    "not pairs": (rule_of(lambda w, g, t, state: [w - g]), "expected a pair"),
    "text": (rule_of(lambda w, g, t, state: [(w, "w - g")]), "expected a number or a SymPy expression"),
    "complex": (rule_of(lambda w, g, t, state: [(w, sp.I * g)]), "real expression"),
    "state called w": (rule_of(lambda w, g, t, state: [(w, w - state("w"))]), "may not be called 'w'"),
    "state no identifier": (rule_of(lambda w, g, t, state: [(w, w - state("m 1"))]), "not a Python identifier"),
    "state without a number": (rule_of(lambda w, g, t, state: [(w, w - state("m", init="zero"))]), "initial value of m"),
}


@pytest.mark.parametrize("name", BAD_RULES)
def test_a_bad_rule_is_refused(name):
    optimizer, message = BAD_RULES[name]
    with pytest.raises(NetworkError, match=message):
        optimizer.equations()


BAD_HYPERPARAMETERS = {
    "lr negative": lambda: sbp.SGD(lr=-0.1),
    "lr text": lambda: sbp.SGD(lr="0.1"),
    "lr NaN": lambda: sbp.SGD(lr=float("nan")),
    "lr infinite": lambda: sbp.SGD(lr=float("inf")),
    "lr True": lambda: sbp.SGD(lr=True),
    "lr complex": lambda: sbp.SGD(lr=1j),
    "lr None": lambda: sbp.SGD(lr=None),
    "lr array": lambda: sbp.SGD(lr=np.array([0.1, 0.2])),
    "lr of another symbol": lambda: sbp.SGD(lr=0.1 / sp.Symbol("epoch")),
    "momentum negative": lambda: sbp.SGD(lr=0.1, momentum=-0.5),
    "nesterov without momentum": lambda: sbp.SGD(lr=0.1, nesterov=True),
    "nesterov with dampening": lambda: sbp.SGD(lr=0.1, momentum=0.9, nesterov=True, dampening=0.1),
    "beta 1": lambda: sbp.Adam(betas=(1, 0.999)),
    "beta negative": lambda: sbp.Adam(betas=(0.9, -0.1)),
    "betas one number": lambda: sbp.Adam(betas=0.9),
    "betas three": lambda: sbp.AdamW(betas=(0.9, 0.99, 0.999)),
    "eps negative": lambda: sbp.RMSprop(eps=-1e-8),
    "alpha negative": lambda: sbp.RMSprop(alpha=-0.1),
    "lr_decay negative": lambda: sbp.Adagrad(lr_decay=-1),
    "accumulator negative": lambda: sbp.Adagrad(initial_accumulator_value=-1),
}


@pytest.mark.parametrize("name", BAD_HYPERPARAMETERS)
def test_a_bad_hyperparameter_is_refused(name):
    with pytest.raises(NetworkError, match=r"expected|needs|mention"):
        BAD_HYPERPARAMETERS[name]()
