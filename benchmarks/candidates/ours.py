"""This project: `Trainer.fit`, with its checks of the data and its guard against divergence."""

from typing import Any, ClassVar

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class Ours(Candidate):
    backend: ClassVar[str]

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
        self.trainer = network.trainer(sbp.SGD(lr=case.lr), weights=self.start, dtype=case.dtype, backend=self.backend)

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


class OursNumPy(Ours):
    backend = "numpy"


class OursAuto(Ours):
    """The backend that is chosen where none is named: a question only where compiling is part of the time."""

    backend = "auto"

    @classmethod
    def covers(cls, case: Case) -> bool:
        return case.start_up


class OursNumba(Ours):
    backend = "numba"
    needs = ("numba", "scipy")
    compiles = True

    @classmethod
    def absent(cls) -> str | None:
        import symbackprop as sbp

        if reason := super().absent():
            return reason
        try:
            sbp.mlp([1, 1]).trainer(sbp.SGD(lr=0.1), backend=cls.backend)
        except sbp.NetworkError as error:
            return str(error)
        return None


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
