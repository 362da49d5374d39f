"""The true values of the formulas: SymPy's `diff` of each as it is written, evaluated by mpmath with hundreds of digits; where no number of digits
would do, functions of mpmath's that mean the same, as erfc(x) for 1 - erf(x); `tests/test_stability.py` holds them against the first."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from math import inf
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from benchmarks.formulas import Formula, Point
from symbackprop.audit.precision import precise, settled
from symbackprop.audit.precision import ulps as distance

LIMIT = 4  # units in the last place
SETTLED = (400, 800, 1400, 5000, 9000)  # digits; two that agree are believed
DIGITS = 1000  # of functions that do not cancel; 1e300 + 1e-300 has 600


class Symbolic:
    """The namespace of SymPy."""

    exp, log, sqrt, tanh, cosh, sinh = sp.exp, sp.log, sp.sqrt, sp.tanh, sp.cosh, sp.sinh
    sin, cos, erf, erfc, abs = sp.sin, sp.cos, sp.erf, sp.erfc, sp.Abs
    pi = sp.pi

    @staticmethod
    def max(x: Any) -> Any:
        return sp.Max(0, x)

    @staticmethod
    def where(condition: Any, yes: Any, no: Any) -> Any:
        return sp.Piecewise((yes, condition), (no, True))


@cache
def functions(formula: Formula) -> tuple[Callable[..., Any], ...]:
    """The formula and its slopes, for mpmath."""
    variables = sp.symbols(f"x:{formula.variables}", real=True)
    value = formula.build(Symbolic, *variables)
    return tuple(precise(variables, f) for f in (value, *(sp.diff(value, x) for x in variables)))


@cache
def truth(formula: Formula, point: Point) -> tuple[Any, ...]:
    """The value and the slopes, as mpmath numbers; None where nothing is asked for."""
    known = formula.known(*point)
    if known is None and abs(point[0]) == inf:
        known = formula.ends[point[0] > 0]
    if known is None and formula.exact is None:
        return settled(functions(formula), point, SETTLED)
    if known is None:
        with mpmath.workdps(DIGITS):
            return tuple(+x for x in formula.exact(*map(mpmath.mpf, point)))
    with mpmath.workdps(60):
        return tuple(mpmath.mpf(t.numerator) / t.denominator if isinstance(t, Fraction) else t for t in known)


def ulps(found: float, true: Any, dtype: str) -> float:
    return 0.0 if true is None else distance(found, true, dtype)


def errors(formula: Formula, points: Sequence[Point], found: Any, dtype: str) -> Any:
    """An array of errors: a row for each point, a column for the value and each slope."""
    return np.array([[ulps(f, t, dtype) for f, t in zip(row, truth(formula, p), strict=True)] for p, row in zip(points, found, strict=True)])
