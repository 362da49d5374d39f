"""Check gradients against numbers that owe them nothing: central differences, and complex steps where the function is analytic."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from symbackprop.errors import NetworkError
from symbackprop.graph.equations import System
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.training.evaluator import Evaluator, random_values
from symbackprop.training.feed import Array
from symbackprop.training.slopes import slope

TOLERANCE = 1e-6
ENTRIES = 2000  # of each weight, compared one by one
FEWEST = 10  # but fewer of a network of millions of numbers:
WORK = 2 * 10**8  # numbers that the losses of one weight's comparisons consist of, about
DIRECTIONS = 3  # in which all entries of a weight are compared at once, where not each was by itself


@dataclass(frozen=True)
class GradientReport:
    """`errors`: weight → largest relative error of its entries; `method`: weight → "central difference" or "complex step".

    An entry's error is |g - numeric| / max(|g|, |numeric|, 0.001 × the largest entry of the weight's gradient, and, for a central
    difference, what rounding may have done to it).
    """

    errors: dict[str, float]
    method: dict[str, str]
    tolerance: float = TOLERANCE

    @property
    def max_relative_error(self) -> float:
        values = list(self.errors.values())
        return float("nan") if any(v != v for v in values) else max(values, default=0.0)

    @property
    def ok(self) -> bool:
        """Whether every error is within the tolerance; never true for NaN."""
        return bool(self.max_relative_error <= self.tolerance)

    def __repr__(self) -> str:
        lines = [f"  {name:12} {error:.1e}  {self.method[name]}" for name, error in self.errors.items()]
        return "\n".join([f"GradientReport({'ok' if self.ok else 'WRONG'}, largest relative error {self.max_relative_error:.1e})", *lines])


def check_gradients(
    net: Any,
    weights: Mapping[Any, Any] | None = None,
    data: Mapping[Any, Any] | None = None,
    gradients: Any = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> GradientReport:
    """Compare gradients with central differences, and with complex steps for a weight whose function is analytic there.

    `weights` and `data` are random where they are not given; of given data, those that are drawn may be missing, as in
    `Network.value_and_gradients`. `gradients` (name → array, or a function of weights and data that returns
    that) are checked in place of the network's own. Every entry of every weight is checked;
    of a weight with more than 2000 entries, 2000 at random and the slopes along random directions in which every entry takes part. A
    network of more than 100,000 numbers has fewer entries of each weight compared, so that a check ends.
    """
    system: System = net.system
    evaluator = Evaluator(system)
    random_weights, random_data = random_values(system, seed)
    point = evaluator.weights(random_weights if weights is None else weights)
    fed = evaluator.data(random_data if data is None else data)
    if gradients is None:
        _, found = evaluator(point, fed)
    else:
        found = {getattr(k, "name", k): np.asarray(g, dtype=float) for k, g in (gradients(point, **fed) if callable(gradients) else gradients).items()}
    unknown = set(found) - set(point)
    if unknown:
        raise NetworkError(
            f"gradients are given for {', '.join(map(repr, sorted(unknown)))}, "
            f"which the network does not have; it has {', '.join(map(repr, point))}"
        )
    for name, g in found.items():
        if g.shape != point[name].shape:
            raise NetworkError(f"the gradient of {name!r} has shape {g.shape}; expected {point[name].shape}")
    if not found:
        raise NetworkError(f"no gradients were given to check; give at least one of {', '.join(map(repr, point)) or 'a network with weights'}")
    rng = np.random.default_rng(seed)
    most = min(ENTRIES, max(FEWEST, WORK // _numbers(system)))
    errors, method = {}, {}
    for name, g in found.items():
        errors[name], method[name] = _compare(evaluator, name, g, point, fed, rng, most)
    return GradientReport(errors, method, tolerance)


def _numbers(system: System) -> int:
    """How many numbers one loss takes, open dimensions counted as 1."""
    parts = {part for t in system.tensors for part in postorder(t if t.definition is None else t.definition)}
    return sum(math.prod(size for size in shape_of(part) if isinstance(size, int)) for part in parts)


def _compare(
    evaluator: Evaluator, name: str, g: Array, point: dict[str, Array], data: dict[str, Array], rng: np.random.Generator, most: int
) -> tuple[float, str]:
    """The largest relative error of one weight's gradient, and how the numbers beside it were found.

    Up to `most` entries, chosen at random, are compared one by one; of a larger weight also the slopes along random directions of
    +1 and -1, in which every entry takes part.
    """
    chosen = np.arange(g.size) if g.size <= most else rng.choice(g.size, most, replace=False)
    directions = chain(
        (np.eye(1, g.size, k)[0].reshape(g.shape) for k in chosen),
        (rng.choice([-1.0, 1.0], g.shape) for _ in range(DIRECTIONS if g.size > most else 0)),
    )
    scale = float(np.abs(g).max(initial=0.0))
    worst, method = 0.0, "complex step"
    with np.errstate(all="ignore"):
        for direction in directions:
            symbolic = float((g * direction).sum())
            numeric = slope(
                lambda moved: evaluator.loss({**point, name: moved}, data),
                point[name],
                direction,
                lambda moved: evaluator.analytic.loss({**point, name: moved}, **data),
            )
            if not numeric.exact:
                method = "central difference"
            size = max(abs(numeric.value), abs(symbolic), 1e-3 * scale, numeric.doubt / TOLERANCE, 1e-300)
            error = abs(numeric.value - symbolic) / size
            worst = error if error > worst or error != error else worst
    return worst, method
