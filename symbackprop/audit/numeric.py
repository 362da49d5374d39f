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
    small, large = "small: rounding in the loss eats the difference", "large: the quotient is not yet the derivative"
    for step, size in (*((s, small) for s in _too_small(case, target)), *((s, large) for s in _too_large(case, target))):
        text = (
            f"It is a difference quotient with a step near {step:g}, and its relative error is {error:.0e}: the step is too {size}. "
            "Use the formula; or a central difference with a step near 6e-6 times the weight's size."
        )
        return Explanation(1.5, "numeric differentiation", text, f"numeric{step}")
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
    return unknown(text)


def unknown(text: str) -> Explanation:
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


def _too_small(case: Case, target: Target) -> Iterator[float]:
    """The smallest step for which all differences are whole numbers of units in the last place of the loss: of quarters of a unit, since
    units are half as large below a power of two, and central differences have twice the width."""
    unit = float(np.spacing(abs(case.loss))) / 4
    for power in range(16, 6, -1):
        units = np.abs(target.given) * (10.0**-power / unit)
        if 0.5 < units.max() < UNITS and np.abs(units - np.round(units)).max() < 1e-5:
            yield 10.0**-power
            return


def _too_large(case: Case, target: Target) -> Iterator[float]:
    """Steps whose quotients, computed here, are the given numbers."""
    if target.truth.size > ENTRIES:
        return
    for power in range(1, 8):
        for ahead, behind in ((1.0, 0.0), (1.0, -1.0), (0.0, -1.0)):  # forward, central, backward
            if target.equals(_quotients(case, target.name, 10.0**-power, ahead, behind)):
                yield 10.0**-power
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


__all__ = ["last_resort", "nearly", "unknown"]
