"""NumPy as a person writes it who knows the derivation: a function for each network, weights updated in place."""

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class NumPyByHand(Candidate):
    reference = True

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        self.x, self.t = networks.data(case)
        self.w = networks.weights(case)
        self.step: Callable[..., Any] = {
            (None, 3): linear,
            ("tanh", 3): tanh if case.loss == "mse" else tanh_softmax,
            ("relu", 3): relu_softmax,
            ("relu", 4): relu_relu_softmax,
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


def linear(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = x @ w1 + b1
    error = a @ w2 + b2 - t
    d2 = error * (2 / len(x))
    d1 = d2 @ w2.T
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return (error * error).mean()


def tanh(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = np.tanh(x @ w1 + b1)
    error = a @ w2 + b2 - t
    d2 = error * (2 / len(x))
    d1 = (d2 @ w2.T) * (1 - a * a)
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return (error * error).mean()


def softmax_error(z: Any, t: Any) -> tuple[Any, Any]:
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


def tanh_softmax(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = np.tanh(x @ w1 + b1)
    loss, d2 = softmax_error(a @ w2 + b2, t)
    d1 = (d2 @ w2.T) * (1 - a * a)
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return loss


def relu_softmax(w1: Any, b1: Any, w2: Any, b2: Any, x: Any, t: Any, lr: float) -> Any:
    a = np.maximum(x @ w1 + b1, 0)
    loss, d2 = softmax_error(a @ w2 + b2, t)
    d1 = (d2 @ w2.T) * (a > 0)
    w2 -= lr * (a.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return loss


def relu_relu_softmax(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, t: Any, lr: float) -> Any:
    a1 = np.maximum(x @ w1 + b1, 0)
    a2 = np.maximum(a1 @ w2 + b2, 0)
    loss, d3 = softmax_error(a2 @ w3 + b3, t)
    d2 = (d3 @ w3.T) * (a2 > 0)
    d1 = (d2 @ w2.T) * (a1 > 0)
    w3 -= lr * (a2.T @ d3)
    b3 -= lr * d3.sum(axis=0)
    w2 -= lr * (a1.T @ d2)
    b2 -= lr * d2.sum(axis=0)
    w1 -= lr * (x.T @ d1)
    b1 -= lr * d1.sum(axis=0)
    return loss
