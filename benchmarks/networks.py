"""The networks that are trained, and the data and first weights that every candidate is given."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Case:
    """`batches` in an epoch; `written`: whether this project is given the network in scalars or in tensors; `peers`: whether every
    candidate is measured, or only this project beside NumPy by hand; `source`: a file of inputs and targets, else they are drawn;
    `start_up`: whether the start of the process is part of what is timed."""

    title: str
    sizes: tuple[int, ...]
    activation: str | None
    loss: str
    batch: int
    dtype: str
    lr: float
    batches: int
    written: str = "tensors"
    peers: bool = True
    source: str | None = None
    start_up: bool = False


LINEAR = Case("2-2-1 linear, 1 sample", (2, 2, 1), None, "mse", 1, "float64", 1e-3, 1000, "scalars")
TANH = Case("2-16-1 tanh, batch 32", (2, 16, 1), "tanh", "mse", 32, "float64", 1e-2, 32)
RELU = Case("784-128-10 relu, batch 64, float32", (784, 128, 10), "relu", "cross_entropy", 64, "float32", 0.1, 16)
LARGE = Case("784-1024-1024-10 relu, batch 256, float32", (784, 1024, 1024, 10), "relu", "cross_entropy", 256, "float32", 0.1, 16)

# An epoch of few batches shows what an epoch costs, one of many what a step costs.
SHORT_EPOCHS = Case("2-2-1 linear, 1 sample, epochs of 4", (2, 2, 1), None, "mse", 1, "float64", 1e-3, 4, "scalars", peers=False)
IN_TENSORS = Case("2-2-1 linear, 1 sample, in tensors", (2, 2, 1), None, "mse", 1, "float64", 1e-3, 1000, peers=False)

CASES = (LINEAR, TANH, RELU, LARGE, SHORT_EPOCHS, IN_TENSORS)


def weights(case: Case) -> dict[str, Any]:
    """W_1, b_1, W_2 ... to start from; each matrix has the inputs first."""
    rng = np.random.default_rng(0)
    drawn: dict[str, Any] = {}
    for k, (i, o) in enumerate(pairwise(case.sizes), 1):
        drawn[f"W_{k}"] = rng.normal(0, (1 / i) ** 0.5, (i, o)).astype(case.dtype)
        drawn[f"b_{k}"] = rng.normal(0, 0.1, o).astype(case.dtype)
    return drawn


def data(case: Case) -> tuple[Any, Any]:
    """One epoch of inputs and targets: integer labels for cross-entropy, else numbers."""
    if case.source is not None:
        with np.load(case.source) as file:
            return file["x"], file["t"]
    rng = np.random.default_rng(1)
    samples = case.batch * case.batches
    x = rng.random((samples, case.sizes[0])).astype(case.dtype)
    if case.loss == "cross_entropy":
        return x, rng.integers(0, case.sizes[-1], samples)
    return x, rng.normal(size=(samples, case.sizes[-1])).astype(case.dtype)


def layers(weights: dict[str, Any]) -> list[tuple[Any, Any]]:
    """(matrix, bias) of each layer."""
    return [(weights[f"W_{k}"], weights[f"b_{k}"]) for k in range(1, len(weights) // 2 + 1)]


def named(layers: Any) -> dict[str, Any]:
    """(matrix, bias) of each layer, under the names of `weights`, as new arrays."""
    return {f"{letter}_{k}": np.array(w) for k, pair in enumerate(layers, 1) for letter, w in zip("Wb", pair, strict=True)}
