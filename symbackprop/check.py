"""Check gradients against numbers that owe them nothing: central differences, and complex steps where the function is analytic.

Sources: Nocedal & Wright, Numerical Optimization, section 8.1 (central differences, step of the order of the cube root of the
machine's precision); Squire & Trapp, SIAM Review 40 (1998), 110-112 (complex steps).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbackprop.errors import NetworkError
from symbackprop.graph.equations import System
from symbackprop.graph.shapes import Dim
from symbackprop.training.evaluator import Evaluator
from symbackprop.training.feed import Array

TOLERANCE = 1e-6
ENTRIES = 2000  # of each weight, compared one by one
DIRECTIONS = 3  # in which all entries of a larger weight are compared at once


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


def random_values(system: System, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights near where they start and data between 0.1 and 0.9 (labels: any class), for checks; sizes of open dimensions are small and different."""
    rng = np.random.default_rng(seed)
    evaluator = Evaluator(system)
    weights = {name: np.array(w + rng.uniform(0.05, 0.15, np.shape(w))) for name, w in evaluator.module.initialize(seed).items()}
    sizes = {d.name: 4 + i for i, d in enumerate(system.dims)}
    data = {}
    for t in system.data:
        shape = tuple(sizes[size.name] if isinstance(size, Dim) else size for size in t.shape)
        size = evaluator.check.labels.get(t)
        data[t.name] = rng.uniform(0.1, 0.9, shape) if size is None else rng.integers(0, int(sizes.get(str(size), size)), shape)
    return weights, data


def check_gradients(
    net: Any,
    weights: Mapping[Any, Any] | None = None,
    data: Mapping[Any, Any] | None = None,
    gradients: Any = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> GradientReport:
    """Compare gradients with central differences, and with complex steps for a weight whose function is analytic there.

    `weights` and `data` are random where they are not given. `gradients` (name → array, or a function of weights and data that returns
    that) are checked in place of the network's own. Every entry of every weight is checked;
    of a weight with more than 2000 entries, 2000 at random and the slopes along random directions in which every entry takes part.
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
    errors, method = {}, {}
    for name, g in found.items():
        errors[name], method[name] = _compare(evaluator, name, g, point, fed, rng)
    return GradientReport(errors, method, tolerance)


def _compare(
    evaluator: Evaluator, name: str, g: Array, point: dict[str, Array], data: dict[str, Array], rng: np.random.Generator
) -> tuple[float, str]:
    """The largest relative error of one weight's gradient, and how the numbers beside it were found.

    Up to `ENTRIES` entries, chosen at random, are compared one by one; of a larger weight also the slopes along random directions of
    +1 and -1, in which every entry takes part.
    """
    chosen = np.arange(g.size) if g.size <= ENTRIES else rng.choice(g.size, ENTRIES, replace=False)
    directions = [np.eye(1, g.size, k)[0].reshape(g.shape) for k in chosen]
    if g.size > ENTRIES:
        directions += [rng.choice([-1.0, 1.0], g.shape) for _ in range(DIRECTIONS)]
    scale = float(np.abs(g).max(initial=0.0))
    worst, method = 0.0, "complex step"
    with np.errstate(all="ignore"):
        for direction in directions:
            slope = float((g * direction).sum())
            numeric, doubt = _central_difference(evaluator, name, direction, point, data)
            exact = _complex_step(evaluator, name, direction, point, data)
            # A complex step is right to the last digit, but only for analytic functions; |x| or x > 0 make it silently wrong.
            if exact is not None and abs(exact - numeric) <= 1e-4 * max(abs(numeric), abs(exact)) + doubt:
                numeric, doubt = exact, 0.0
            else:
                method = "central difference"
            size = max(abs(numeric), abs(slope), 1e-3 * scale, doubt / TOLERANCE, 1e-300)
            error = abs(numeric - slope) / size
            worst = error if error > worst or error != error else worst
    return worst, method


def _central_difference(
    evaluator: Evaluator, name: str, direction: Array, point: dict[str, Array], data: dict[str, Array]
) -> tuple[float, float]:
    """The slope along a direction and how far rounding may have moved it: two central differences with steps h and h/2, extrapolated
    (Richardson), with an error of order h⁴; near a kink, where that reaches across it, one with a small step."""
    size = float(np.abs(point[name][direction != 0]).max(initial=0.0))
    unit = size if size > 1e-8 else 1.0

    def difference(step: float) -> float:
        ahead = evaluator.loss({**point, name: point[name] + step * direction}, data)
        behind = evaluator.loss({**point, name: point[name] - step * direction}, data)
        return (ahead - behind) / (2 * step)

    here = abs(evaluator.loss(point, data))
    coarse, fine, plain = difference(1e-3 * unit), difference(5e-4 * unit), difference(1e-6 * unit)
    extrapolated = (4 * fine - coarse) / 3
    doubt = 8 * np.finfo(float).eps * here / unit
    if abs(extrapolated - plain) <= 1e-6 * abs(plain) + doubt * 1e6:
        return extrapolated, doubt * 2e3
    return plain, doubt * 1e6


def _complex_step(evaluator: Evaluator, name: str, direction: Array, point: dict[str, Array], data: dict[str, Array]) -> float | None:
    """Im f(w + ihd)/h, exact to rounding; None where the code does not take complex numbers."""
    moved = {**point, name: point[name] + 1e-30j * direction}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = evaluator.analytic.loss(moved, **data)
    except (TypeError, ValueError, AttributeError, ArithmeticError, Warning):
        return None
    return float(np.imag(value)) / 1e-30
