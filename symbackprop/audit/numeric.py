"""Gradients that are nearly right: difference quotients with a bad step, and rounded numbers.

A quotient [f(w + δ) - f(w)]/δ leaves a trace. With δ far too small, the difference of two losses is a small whole number of units in the
last place of the loss; with δ too large, the truncation error can be computed and compared.
"""

from collections.abc import Iterator

import numpy as np

from symbackprop.audit.case import Case
from symbackprop.audit.explain import Explanation
from symbackprop.audit.match import Target
from symbackprop.training.feed import Array

NEARLY = 0.05  # the relative error up to which numbers may be the truth, badly computed
UNITS = 1e9  # differences of more units in the last place are whole numbers by chance
ENTRIES = 500


def nearly(case: Case, target: Target) -> Explanation | None:
    """The explanation of numbers that are close to the truth, if there is one."""
    error = target.relative_error
    if not error < NEARLY:
        return None
    digits = _rounded(target)
    if digits:
        text = f"It is the true gradient, rounded to {digits}. That is no mistake of the derivation: pass tolerance={_power_above(error):g} to accept it."
        return Explanation(0.5, "rounded", text, "rounded")
    for kind, step in (*_too_small(case, target), *_too_large(case, target)):
        size = "small: rounding in the loss eats the difference" if error_of_rounding(case, step) else "large: the quotient is not yet the derivative"
        text = (
            f"It is a difference quotient ({kind}) with a step of {step:g}, right to {error:.0e} only. The step is too {size}. "
            "Use the formula; or a central difference with a step near 6e-6 times the weight's size."
        )
        return Explanation(0.5, "numeric differentiation", text, f"numeric{step}")
    return None


def last_resort(target: Target) -> Explanation:
    """What can be said where nothing explains the numbers."""
    error = target.relative_error
    if error < NEARLY:
        text = (
            f"It is close to the true gradient (relative error {error:.0e}) but not equal: probably a numeric differentiation, rounded numbers, or "
            "data or weights that differ a little. Pass tolerance= to accept such an error."
        )
        return Explanation(9.0, "inexact", text, "inexact")
    where = np.argwhere(_far(target))
    count = int(np.prod(target.truth.shape))
    part = f" in {len(where)} of {count} entries, first at index {tuple(map(int, where[0]))}," if 0 < len(where) < count else ""
    text = f"It is wrong{part} and by no pattern that is known here. Compare with the formula, factor by factor, from the loss backwards."
    return Explanation(9.0, "unknown", text, "unknown")


def _far(target: Target) -> Array:
    largest = np.abs(target.truth).max(initial=0.0)
    return np.abs(target.given - target.truth) > target.tolerance * np.maximum(np.abs(target.truth), 1e-3 * largest) + target.rounding


def _rounded(target: Target) -> str | None:
    """To how many digits the given numbers are the true ones, rounded; at least three must be left."""
    largest = float(np.abs(target.truth).max(initial=0.0))
    for digits in range(2, 10):
        if np.allclose(target.given, np.round(target.truth, digits), rtol=1e-12, atol=0) and largest >= 100 * 10.0**-digits:
            return f"{digits} decimals"
    for digits in range(3, 10):
        rounded = np.vectorize(lambda v, d=digits: float(f"{v:.{d - 1}e}"))(target.truth)
        if np.allclose(target.given, rounded, rtol=1e-12, atol=0):
            return f"{digits} significant digits"
    return None


def _power_above(error: float) -> float:
    return float(10.0 ** np.ceil(np.log10(error)))


def error_of_rounding(case: Case, step: float) -> bool:
    """Whether the step lies below the best one, so that rounding is what spoils the quotient."""
    return step < 1e-7


def _too_small(case: Case, target: Target) -> Iterator[tuple[str, float]]:
    """The step for which all differences are whole numbers of half a unit in the last place of the loss. Of several, the one for which
    the error is about one unit: that is what rounding does to a difference."""
    unit = float(np.spacing(abs(case.loss))) / 2
    found = []
    for kind, width in (("forward", 1.0), ("central", 2.0)):
        for power in range(7, 17):
            units = np.abs(target.given) * (width * 10.0**-power / unit)
            error = target.deviation * (width * 10.0**-power / unit)
            if 0.5 < units.max() < UNITS and np.abs(units - np.round(units)).max() < 1e-5:
                found.append((abs(np.log(error)), kind, 10.0**-power))
    yield from ((kind, step) for _, kind, step in sorted(found)[:1])


def _too_large(case: Case, target: Target) -> Iterator[tuple[str, float]]:
    """Steps whose quotients, computed here, are the given numbers."""
    if target.truth.size > ENTRIES:
        return
    for power in range(1, 8):
        for kind, behind in (("forward", 0.0), ("central", -1.0), ("backward", -1.0)):
            ahead = 0.0 if kind == "backward" else 1.0
            if target.equals(_quotients(case, target.name, 10.0**-power, ahead, behind)):
                yield kind, 10.0**-power
                return


def _quotients(case: Case, name: str, step: float, ahead: float, behind: float) -> Array:
    w = case.weights[name]
    result = np.empty(w.shape)
    for index in np.ndindex(w.shape):
        move = np.zeros(w.shape)
        move[index] = step
        high = case.evaluator.loss({**case.weights, name: w + ahead * move}, case.data)
        low = case.evaluator.loss({**case.weights, name: w + behind * move}, case.data)
        result[index] = (high - low) / ((ahead - behind) * step)
    return result


__all__ = ["last_resort", "nearly"]
