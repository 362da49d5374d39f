"""Losses and gradients as numbers, without training: what checks and single evaluations run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbackprop.codegen.load import load_source
from symbackprop.codegen.numpy_module import numpy_module
from symbackprop.errors import DataError
from symbackprop.graph.equations import System
from symbackprop.training.feed import Array, Checker
from symbackprop.training.weights import Weights
from symbackprop.version import __version__


class Evaluator:
    """The loss and gradients of a system as numbers, from its generated code, in float64."""

    def __init__(self, system: System) -> None:
        self.system = system
        source = numpy_module(system, None, "float64", __version__)
        self.module = load_source(source, "network")
        # The same code a second time, in which the last step of `loss` keeps a complex number as it is.
        self.analytic = load_source(source, "complex_step")
        vars(self.analytic)["float"] = complex
        self.check = Checker(system, "float64")

    def weights(self, given: Mapping[Any, Any]) -> dict[str, Array]:
        """Weights as arrays of their own. Raises `DataError` for missing, unknown or ill-shaped ones."""
        names = {w.name for w in self.system.weights}
        missing = names - {getattr(k, "name", k) for k in given}
        if missing:
            raise DataError(f"weight {', '.join(map(repr, sorted(missing)))} is missing; give a value for each of {', '.join(map(repr, sorted(names)))}")
        result = Weights({w.name: np.empty(w.shape) for w in self.system.weights})
        for name, value in given.items():
            result[name] = value
        return {name: result[name] for name in result}

    def data(self, given: Mapping[Any, Any]) -> dict[str, Array]:
        feed = self.check(given)
        return {name: feed.arrays[name] for name in self.check.needed_by_loss}

    def __call__(self, weights: Mapping[Any, Any], data: Mapping[Any, Any]) -> tuple[float, dict[str, Array]]:
        loss, gradients = self.module.loss_and_gradients(self.weights(weights), **self.data(data))
        return loss, {name: np.asarray(g, dtype=float) for name, g in gradients.items()}

    def loss(self, weights: Mapping[str, Array], data: Mapping[str, Array]) -> float:
        return float(self.module.loss(weights, **data))
