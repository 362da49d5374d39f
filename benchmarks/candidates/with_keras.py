"""Keras: `fit` of a sequential model, with JAX behind it where that is installed, else with PyTorch."""

import os
from importlib.util import find_spec
from typing import Any

from benchmarks import networks
from benchmarks.candidates.base import Candidate
from benchmarks.networks import Case


class Keras(Candidate):
    needs = ("keras",)
    compiles = True
    loss_dtype = "float32"  # the losses that it reports; float64 weights agree

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        backend = os.environ.setdefault("KERAS_BACKEND", "jax" if find_spec("jax") else "torch")
        if backend == "jax":
            import jax
            from jax import numpy as library

            jax.config.update("jax_enable_x64", True)
        else:
            import torch as library
        import keras

        keras.config.set_floatx(case.dtype)
        self.x, self.t = networks.data(case)
        # Keras's own tanh is computed in float32, float64 weights or not.
        activation = library.tanh if case.activation == "tanh" else case.activation
        layers = [keras.layers.Dense(units, activation) for units in case.sizes[1:-1]]
        layers += [keras.layers.Dense(case.sizes[-1])]
        self.model = keras.Sequential([keras.layers.Input(case.sizes[:1]), *layers])
        cost = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if case.loss == "cross_entropy" else "mse"
        self.model.compile(keras.optimizers.SGD(case.lr), cost)
        self.reset()

    @classmethod
    def absent(cls) -> str | None:
        return super().absent() or (None if find_spec("jax") or find_spec("torch") else "neither JAX nor PyTorch is there for it")

    def run(self, epochs: int) -> float:
        history = self.model.fit(self.x, self.t, batch_size=self.case.batch, epochs=epochs, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    def reset(self) -> None:
        self.model.set_weights(list(networks.weights(self.case).values()))

    def weights(self) -> dict[str, Any]:
        return dict(zip(networks.weights(self.case), self.model.get_weights(), strict=True))
