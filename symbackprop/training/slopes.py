"""Slopes of functions by numbers alone: what derivatives are held against. They owe nothing to any derivation.

Sources: Nocedal & Wright, Numerical Optimization, section 8.1 (central differences, step of the order of the cube root of the
machine's precision); Squire & Trapp, SIAM Review 40 (1998), 110-112 (complex steps).
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from symbackprop.training.feed import Array

STEP = 1e-30  # of a complex step; there is no difference in which it could cancel
ROUNDING = 1e-6  # how far a difference is trusted
NEAR = 1e-6, 1e-5  # how far to either side a kink is looked for


class Slope(NamedTuple):
    """`value`; `doubt`, how far rounding may have moved it; `exact`, whether it came from a complex step; `kink`: whether there is no slope at all,
    since that to the left is another than that to the right."""

    value: float
    doubt: float
    exact: bool
    kink: bool = False


def slope(function: Callable[[Array], Any], x: Array, direction: Array, analytic: Callable[[Array], Any] | None = None) -> Slope:
    """The derivative of `function` at `x` along `direction`.

    `analytic` is the function for complex arguments, `function` itself unless another is given. A complex step is right to the last
    digit, but only for analytic functions: |x| or x > 0 make it silently wrong, and not by much where they are a small part of the
    function. So it is taken only where a central difference agrees as far as that is trusted.
    """
    size = float(np.abs(x[direction != 0]).max(initial=0.0))
    unit = size if size > 1e-8 else 1.0
    here = float(function(x))
    rounding = np.finfo(float).eps * abs(here) / unit
    numeric, doubt = _central_difference(function, x, direction, unit, rounding)
    exact = _complex_step(analytic or function, x, direction)
    if exact is not None and abs(exact - numeric) <= ROUNDING / 2 * max(abs(numeric), abs(exact)) + doubt:
        return Slope(exact, 4 * rounding, True)  # terms that cancel leave the rounding errors of each
    return Slope(numeric, doubt, False, _is_kink(function, x, direction, unit, here))


def _is_kink(function: Callable[[Array], Any], x: Array, direction: Array, unit: float, here: float) -> bool:
    """Whether the one-sided slopes differ, as of relu at 0 and of a maximum at a tie.

    The difference of the two shrinks with the step where the function is smooth, grows with 1/step where it is rounding, and stays at a kink.
    """
    jumps, slopes = [], []
    for near in NEAR:
        step = near * unit
        before, after = here - float(function(x - step * direction)), float(function(x + step * direction)) - here
        jumps.append((after - before) / step)
        slopes += [abs(after / step), abs(before / step)]
    close, far = jumps
    return close * far > 0 and abs(far) / 2 < abs(close) < abs(far) * 2 and abs(close) > ROUNDING / 10 * max(slopes)


def _central_difference(function: Callable[[Array], Any], x: Array, direction: Array, unit: float, rounding: float) -> tuple[float, float]:
    """The slope along a direction and how far it may be off: two central differences with steps h and h/2, extrapolated (Richardson),
    with an error of order h⁴; where a small step does not confirm it, the best of several small ones."""

    def difference(step: float) -> float:
        return (float(function(x + step * direction)) - float(function(x - step * direction))) / (2 * step)

    coarse, fine, plain = difference(1e-3 * unit), difference(5e-4 * unit), difference(1e-6 * unit)
    extrapolated = (4 * fine - coarse) / 3
    doubt = 8 * rounding
    if abs(extrapolated - plain) <= ROUNDING * abs(plain) + doubt * 1e6:
        return extrapolated, doubt * 2e3
    # Near a kink, or on a steep slope: of smaller steps, the one whose half agrees with it best (Ridders).
    found = []
    for h in (1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9):
        whole, half = difference(h * unit), difference(h / 2 * unit)
        found.append((half, abs(whole - half) + doubt / h))
    return min(found, key=_doubt)


def _doubt(pair: tuple[float, float]) -> float:
    return pair[1] if pair[1] == pair[1] else float("inf")


def _complex_step(function: Callable[[Array], Any], x: Array, direction: Array) -> float | None:
    """Im f(x + ihd)/h, exact to rounding; None where the code does not take complex numbers."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = function(x + 1j * STEP * direction)
    except (TypeError, ValueError, AttributeError, ArithmeticError, Warning):
        return None
    return float(np.imag(value)) / STEP


__all__ = ["ROUNDING", "Slope", "slope"]
