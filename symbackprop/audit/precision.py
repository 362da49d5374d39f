"""The true value of a formula at a floating-point argument, by mpmath, and how far a number is from it in units in the last place.

A formula is evaluated with so many digits that more of them change nothing, hundreds at least: 1 - tanh(300)^2 differs from 0 in the 260th
digit. What is smaller than any float counts as 0.
"""

from collections.abc import Callable, Sequence
from math import inf, isfinite
from sys import float_info
from typing import Any

import mpmath
import numpy as np
import sympy as sp

DIGITS = (800, 1400, 5000, 9000)  # two that agree are believed
_SMALLEST = 400  # digits after the point, beyond which there is no float


class UnsettledError(ArithmeticError):
    """A formula that has no value at an argument, or none that mpmath finds."""


def precise(symbols: Sequence[sp.Symbol], expr: sp.Expr) -> Callable[..., Any]:
    """The formula for mpmath. SymPy's step at 0 is 0, as relu'(0) is."""
    jump = {"Heaviside": lambda x, middle=0.5: mpmath.mpf(int(x > 0)), "exp": _exp, "Max": max, "Min": min, "Abs": abs, "absolute": abs}
    function: Callable[..., Any] = sp.lambdify(symbols, expr, modules=[jump, "mpmath"])
    return function


def _exp(x: Any) -> Any:
    """Beyond any use an exponential is infinite or 0: its own exponent would not fit into memory. Of a large integer mpmath would multiply e
    with itself a thousand times, so that half is added to it."""
    size = mpmath.mag(x)
    if size < 2500:
        return mpmath.exp(x) if size < 12 or not mpmath.isint(x) else mpmath.exp(x + 0.5) / mpmath.exp(0.5)
    return mpmath.inf if x > 0 else mpmath.mpf(0)


def settled(functions: Sequence[Callable[..., Any]], point: Sequence[float], digits: Sequence[int] = DIGITS) -> tuple[Any, ...]:
    """The functions' values at the point. Raises `UnsettledError` where they have none."""
    before = _at(functions, point, digits[0])
    for count in digits[1:]:
        after = _at(functions, point, count)
        if _agree(before, after):
            return after
        before = after
    raise UnsettledError(f"at {tuple(point)} mpmath settles on no value; found {before}; choose another argument")


def _at(functions: Sequence[Callable[..., Any]], point: Sequence[float], digits: int) -> tuple[Any, ...]:
    with mpmath.workdps(digits):
        try:
            found = [f(*map(mpmath.mpf, point)) for f in functions]
            return tuple(mpmath.mpf(0) if abs(v) < mpmath.mpf(10) ** -_SMALLEST else +mpmath.mpf(v) for v in found)
        except (ZeroDivisionError, ValueError, TypeError, OverflowError):  # TypeError: a complex number
            return ()


def _agree(a: tuple[Any, ...], b: tuple[Any, ...]) -> bool:
    with mpmath.workdps(60):
        return len(a) == len(b) > 0 and all(mpmath.isfinite(y) and (x == y or abs(x - y) < abs(y) * mpmath.mpf(10) ** -40) for x, y in zip(a, b, strict=True))


def ulps(found: float, true: Any, dtype: str = "float64") -> float:
    """The error in units in the last place of the true value rounded to the precision; infinite for a NaN and where only one is infinite, never
    where both are finite."""
    kind = np.dtype(dtype).type
    with np.errstate(over="ignore", under="ignore"), mpmath.workdps(60):
        exact = mpmath.mpf(true)
        rounded = kind(float(exact))
        if not isfinite(rounded) or not isfinite(found):
            return 0.0 if float(found) == float(rounded) else inf
        error = abs(mpmath.mpf(float(found)) - exact) / mpmath.mpf(float(np.spacing(abs(rounded))))
        return float(min(error, mpmath.mpf(float_info.max)))


__all__ = ["UnsettledError", "precise", "settled", "ulps"]
