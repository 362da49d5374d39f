"""What numbers may grow to. SymPy computes with exact numbers of any size at once, so a power is refused before it is built.

A constant must be a number that float64 can hold, and an exact one must have few digits.
"""

import math

import sympy as sp

from symbackprop.errors import UnsupportedError
from symbackprop.graph.shapes import Shape, show

EXPONENT = 1000
BITS = 2048  # of a numerator or a denominator
ENTRIES = 10**8  # of one tensor, open dimensions counted as 1


def check_size(name: str, shape: Shape) -> None:
    """Refuse a tensor that no memory holds."""
    entries = math.prod(size for size in shape if isinstance(size, int))
    if entries > ENTRIES:
        raise UnsupportedError(f"{name} of shape {show(shape)} has {entries:.3g} entries; expected at most {ENTRIES:.0e}")


def check_power(base: sp.Expr, exponent: sp.Expr) -> None:
    """Refuse a power before SymPy evaluates it."""
    if exponent.is_number:
        scale = abs(_float(exponent))
    else:  # e^(n log x) is x^n to SymPy
        scale = max((abs(_float(t.as_coeff_Mul()[0])) for t in sp.Add.make_args(exponent) if t.has(sp.log)), default=0.0)
    if not scale <= EXPONENT:
        raise UnsupportedError(f"the exponent {_shown(exponent)} is too large; expected at most {EXPONENT}")
    if exponent.is_Rational and exponent.q > EXPONENT:
        raise UnsupportedError(f"the exponent {_shown(exponent)} is a fraction of large numbers; write a decimal number")
    bits = max((_bits(number) for number in base.atoms(sp.Rational)), default=0)
    if exponent.is_number and bits * scale > BITS:
        raise UnsupportedError(f"a number to the power {_shown(exponent)} has too many digits; write decimal or smaller numbers")


def check_number(expr: sp.Expr) -> None:
    """Refuse a constant that is not a real number within float64, and exact numbers of too many digits anywhere."""
    for number in expr.atoms(sp.Rational, sp.Float):
        if _bits(number) > BITS or not math.isfinite(_float(number)) or (number != 0 and _float(number) == 0):
            raise UnsupportedError(f"a number in {_shown(expr)} is too large or too small to compute with; expected at most 1.8e308")
    for power in expr.atoms(sp.Pow):
        if power.exp.is_Rational and max(abs(power.exp.p), power.exp.q) > EXPONENT:
            raise UnsupportedError(f"the exponent {_shown(power.exp)} is too large; expected at most {EXPONENT}")
    if expr.is_number and not math.isfinite(_float(expr)):
        raise UnsupportedError(f"{_shown(expr)} is not a real number that can be computed with")


def _bits(number: sp.Expr) -> int:
    return max(int(number.p).bit_length(), int(number.q).bit_length()) if number.is_Rational else 0


def _float(number: sp.Expr) -> float:
    """A constant in float64; not a number where it has no real value."""
    try:
        return float(number)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, ArithmeticError):
        return math.nan


def _shown(expr: sp.Expr) -> str:
    """An expression in a message, unless it holds numbers that have too many digits to be written."""
    return str(expr) if all(_bits(n) <= BITS for n in expr.atoms(sp.Rational)) else "it"
