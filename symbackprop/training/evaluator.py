"""Losses and gradients as numbers, without training: what checks and single evaluations run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from symbackprop.codegen.load import load_source
from symbackprop.codegen.numpy_module import numpy_module
from symbackprop.graph.equations import System
from symbackprop.graph.shapes import numeric
from symbackprop.training.feed import Array, Checker, Feed
from symbackprop.training.weights import complete
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
        """Weights as arrays of their own, and states, which start as they would in training where they are not given. Raises `DataError`
        for missing, unknown or ill-shaped ones."""
        initial = self.module.initialize() if self.system.states else {}
        return complete(self.system.kept, given, {s.name: initial[s.name] for s in self.system.states})

    def feed(self, given: Mapping[Any, Any], needed: list[str] | None = None) -> Feed:
        """The data, with those that are drawn and not given: the same in every call."""
        return self.check.evaluated(given, self._draw, needed)

    def _draw(self, rng: np.random.Generator, **sizes: int) -> dict[str, Array]:
        drawn: dict[str, Array] = self.module.draw(rng, **sizes)
        return drawn

    def data(self, given: Mapping[Any, Any]) -> dict[str, Array]:
        feed = self.feed(given)
        return {name: feed.arrays[name] for name in self.check.needed_by_loss}

    def __call__(self, weights: Mapping[Any, Any], data: Mapping[Any, Any]) -> tuple[float, dict[str, Array]]:
        loss, gradients = self.module.loss_and_gradients(self.weights(weights), **self.data(data))
        return loss, {name: np.asarray(g, dtype=float) for name, g in gradients.items()}

    def loss(self, weights: Mapping[str, Array], data: Mapping[str, Array]) -> float:
        return float(self.module.loss(weights, **data))


def random_values(system: System, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights near where they start and data between 0.1 and 0.9 (labels: any class), for checks; sizes of open dimensions are small and different."""
    rng = np.random.default_rng(seed)
    evaluator = Evaluator(system)
    weights = {name: np.array(w + rng.uniform(0.05, 0.15, np.shape(w))) for name, w in evaluator.module.initialize(seed).items()}
    sizes = {d.name: 4 + i for i, d in enumerate(system.dims)}
    known = {d: sizes[d.name] for d in system.dims}
    data = {}
    for t in system.data:
        shape, size = numeric(t.shape, known), evaluator.check.labels.get(t)
        data[t.name] = rng.uniform(0.1, 0.9, shape) if size is None else rng.integers(0, numeric((size,), known)[0], shape)
    return weights, data
