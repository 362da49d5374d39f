"""The same training in this project, in NumPy written by hand, and in PyTorch. Each candidate has

`run(epochs) -> mean loss of the last epoch`, `reset()` to the first weights, and `weights()`, as `networks.weights` gives them.

All go through the samples in order, do plain gradient descent, and report every step's loss as a number, since `fit` does.
"""

from collections.abc import Callable
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.networks import Case


class Stepper:
    """What the candidates share: a timed turn."""

    def __init__(self, case: Case) -> None:
        self.case = case

    def time(self, epochs: int) -> float:
        """Seconds for one step, from the first weights, after an epoch that is not counted."""
        self.run(1)
        self.reset()
        start = perf_counter()
        self.run(epochs)
        return (perf_counter() - start) / (epochs * self.case.batches)

    def first(self) -> tuple[float, dict[str, Any]]:
        """The first epoch's mean loss, and the weights after it."""
        self.reset()
        return self.run(1), self.weights()

    def run(self, epochs: int) -> float:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError

    def weights(self) -> dict[str, Any]:
        raise NotImplementedError


class Ours(Stepper):
    """`Trainer.fit`, with its checks of the data and its guard against divergence."""

    def __init__(self, case: Case) -> None:
        import symbackprop as sbp

        super().__init__(case)
        x, t = networks.data(case)
        self.start = networks.weights(case)
        if case.written == "scalars":
            network, self.start, self.data = _in_scalars(case, self.start, x, t)
        else:
            network = sbp.mlp(case.sizes, case.activation, loss=case.loss)
            target = np.eye(case.sizes[-1], dtype=case.dtype)[t] if case.loss == "cross_entropy" else t
            self.data = {"X": x, "T": target}
        self.trainer = network.trainer(sbp.SGD(lr=case.lr), weights=self.start, dtype=case.dtype)

    def run(self, epochs: int) -> float:
        return self.trainer.fit(self.data, epochs=epochs, batch_size=self.case.batch).loss[-1]

    def reset(self) -> None:
        self.trainer.weights = self.start

    def weights(self) -> dict[str, Any]:
        current = {name: np.array(w) for name, w in self.trainer.weights.items()}
        if self.case.written == "tensors":
            return current
        shapes = {name: w.shape for name, w in networks.weights(self.case).items()}
        return {name: np.array([current[e] for e in _entries(name, shape)]).reshape(shape) for name, shape in shapes.items()}


def _entries(name: str, shape: tuple[int, ...]) -> list[str]:
    return ["_".join([name, *map(str, index)]) for index in np.ndindex(shape)]


def _in_scalars(case: Case, first: dict[str, Any], x: Any, t: Any) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """A linear network with one output for one sample, every number a symbol; its weights and its data."""
    import sympy as sp

    import symbackprop as sbp

    values = {e: v for name, w in first.items() for e, v in zip(_entries(name, w.shape), w.ravel(), strict=True)}
    symbols = {name: sbp.weight(name) for name in values}
    layer: list[Any] = [sbp.data(f"x_{i}") for i in range(case.sizes[0])]
    for k, outputs in enumerate(case.sizes[1:], 1):
        sums = [sp.Add(*(h * symbols[f"W_{k}_{i}_{j}"] for i, h in enumerate(layer)), symbols[f"b_{k}_{j}"]) for j in range(outputs)]
        layer = [sbp.node(f"z_{k}_{j}", z) for j, z in enumerate(sums)]
    (y,) = layer
    loss = sbp.node("C", (y - sbp.data("t")) ** 2)
    return sbp.Network(loss, output=y), values, {"t": t[:, 0]} | {f"x_{i}": x[:, i] for i in range(x.shape[1])}


class ByHand(Stepper):
    """NumPy as a person writes it who knows the derivation: a function for each network, weights updated in place."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x, self.t = networks.data(case)
        self.w = networks.weights(case)
        self.step: Callable[..., Any] = {
            (None, 3): _linear,
            ("tanh", 3): _tanh,
            ("relu", 3): _relu_softmax,
            ("relu", 4): _relu_relu_softmax,
        }[case.activation, len(case.sizes)]

    def run(self, epochs: int) -> float:
        step, w, x, t, lr, size = self.step, list(self.w.values()), self.x, self.t, self.case.lr, self.case.batch
        mean = 0.0
        for _ in range(epochs):
            losses = [float(step(*w, x[i : i + size], t[i : i + size], lr)) for i in range(0, len(x), size)]
            mean = sum(losses) / len(losses)
        return mean

    def reset(self) -> None:
        for name, value in networks.weights(self.case).items():
            self.w[name][...] = value

    def weights(self) -> dict[str, Any]:
        return {name: w.copy() for name, w in self.w.items()}


def _linear(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = x @ w1 + b1
    error = a @ w2 + b2 - t
    d2 = error * (2 / len(x))
    d1 = d2 @ w2.T
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return (error * error).mean()


def _tanh(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = np.tanh(x @ w1 + b1)
    error = a @ w2 + b2 - t
    d2 = error * (2 / len(x))
    d1 = (d2 @ w2.T) * (1 - a * a)
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return (error * error).mean()


def _softmax_error(z: Any, t: Any) -> tuple[Any, Any]:
    """The mean cross-entropy of softmax(z), and its derivative with respect to z."""
    rows = np.arange(len(z))
    z -= z.max(axis=1, keepdims=True)
    e = np.exp(z)
    total = e.sum(axis=1, keepdims=True)
    loss = (np.log(total[:, 0]) - z[rows, t]).mean()
    e /= total
    e[rows, t] -= 1
    e /= len(z)
    return loss, e


def _relu_softmax(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = np.maximum(x @ w1 + b1, 0)
    loss, d2 = _softmax_error(a @ w2 + b2, t)
    d1 = (d2 @ w2.T) * (a > 0)
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return loss


def _relu_relu_softmax(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, t: Any, lr: float) -> Any:
    a1 = np.maximum(x @ w1 + b1, 0)
    a2 = np.maximum(a1 @ w2 + b2, 0)
    loss, d3 = _softmax_error(a2 @ w3 + b3, t)
    d2 = (d3 @ w3.T) * (a2 > 0)
    d1 = (d2 @ w2.T) * (a1 > 0)
    w3 -= lr * (a2.T @ d3)
    b3 -= lr * d3.sum(axis=0)
    w2 -= lr * (a1.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return loss


class Torch(Stepper):
    """PyTorch, eager: `Linear` layers, autograd and `torch.optim.SGD`."""

    def __init__(self, case: Case) -> None:
        import torch

        super().__init__(case)
        self.x, self.t = map(torch.from_numpy, networks.data(case))
        layers: list[Any] = []
        for i, o in pairwise(case.sizes):
            layers += [torch.nn.Linear(i, o, dtype=getattr(torch, case.dtype))]
            layers += [{"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[case.activation]()] if case.activation else []
        self.model = torch.nn.Sequential(*(layers[:-1] if case.activation else layers))
        self.linear = [layer for layer in layers if isinstance(layer, torch.nn.Linear)]
        self.cost = torch.nn.functional.cross_entropy if case.loss == "cross_entropy" else torch.nn.functional.mse_loss
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=case.lr)
        self.reset()

    def run(self, epochs: int) -> float:
        model, cost, optimizer, x, t, size = self.model, self.cost, self.optimizer, self.x, self.t, self.case.batch
        mean = 0.0
        for _ in range(epochs):
            losses = []
            for i in range(0, len(x), size):
                optimizer.zero_grad()
                loss = cost(model(x[i : i + size]), t[i : i + size])
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
            mean = sum(losses) / len(losses)
        return mean

    def reset(self) -> None:
        import torch

        first = networks.weights(self.case)
        with torch.no_grad():
            for k, layer in enumerate(self.linear, 1):
                layer.weight.copy_(torch.from_numpy(first[f"W_{k}"].T))
                layer.bias.copy_(torch.from_numpy(first[f"b_{k}"]))

    def weights(self) -> dict[str, Any]:
        result = {}
        for k, layer in enumerate(self.linear, 1):
            result[f"W_{k}"] = layer.weight.detach().numpy().T.copy()
            result[f"b_{k}"] = layer.bias.detach().numpy().copy()
        return result


class Bench:
    """One candidate in a process of its own, with the stepper of one case after another."""

    def __init__(self, kind: type[Stepper]) -> None:
        self.kind = kind

    def load(self, case: Case) -> None:
        self.stepper = self.kind(case)

    def first(self, case: Case) -> tuple[float, dict[str, Any]]:
        return self.kind(case).first()

    def time(self, epochs: int) -> float:
        return self.stepper.time(epochs)
