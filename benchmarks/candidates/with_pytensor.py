"""PyTensor: one compiled function that computes the loss and updates shared weights, in the mode that it takes by itself."""

from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class PyTensor(Candidate):
    needs = ("pytensor",)
    compiles = True

    def __init__(self, case: Case) -> None:
        import pytensor
        from pytensor import tensor as pt

        super().__init__(case)
        self.x, self.t = networks.data(case)
        first = networks.weights(case)
        self.shared = {name: pytensor.shared(w, name) for name, w in first.items()}
        x, t = pt.matrix("x", dtype=case.dtype), pt.lvector("t") if case.loss == "cross_entropy" else pt.matrix("t", dtype=case.dtype)
        loss = self.loss(x, t)
        w = list(self.shared.values())
        lr = np.asarray(case.lr, case.dtype)  # a Python number would widen float32
        updates = [(p, p - lr * g) for p, g in zip(w, pytensor.grad(loss, w), strict=True)]
        self.step = pytensor.function([x, t], loss, updates=updates)
        self.step.trust_input = True

    def loss(self, x: Any, t: Any) -> Any:
        from pytensor import tensor as pt

        activation = {"tanh": pt.tanh, "relu": lambda z: pt.maximum(z, 0), None: lambda z: z}[self.case.activation]
        *hidden, (matrix, bias) = networks.layers(self.shared)
        for w, b in hidden:
            x = activation(x @ w + b)
        z = x @ matrix + bias
        if self.case.loss == "cross_entropy":
            return -pt.special.log_softmax(z, axis=-1)[pt.arange(z.shape[0]), t].mean()
        return ((z - t) ** 2).mean()

    def run(self, epochs: int) -> float:
        step, x, t, size = self.step, self.x, self.t, self.case.batch
        mean = 0.0
        for _ in range(epochs):
            losses = [float(step(x[i : i + size], t[i : i + size])) for i in range(0, len(x), size)]
            mean = sum(losses) / len(losses)
        return mean

    def reset(self) -> None:
        for name, value in networks.weights(self.case).items():
            self.shared[name].set_value(value)

    def weights(self) -> dict[str, Any]:
        return {name: np.array(w.get_value()) for name, w in self.shared.items()}
