"""What numbers may grow to. SymPy computes with exact numbers of any size at once, so a power is refused before it is built.

A constant must be a number that float64 can hold, and an exact one must have few digits.
"""

import math
from collections.abc import Mapping

import sympy as sp

from symbackprop.errors import UnsupportedError
from symbackprop.graph.shapes import Shape, postorder, show

EXPONENT = 1000
BITS = 2048  # of a numerator or a denominator
ENTRIES = 10**7  # of one tensor, and of all that are declared; open dimensions counted as 1
AXES = 10
PYTHON = "; build a network of this size in Python"


def check_size(name: str, shape: Shape) -> None:
    """Refuse a tensor that takes longer to compute with than anybody waits for a command."""
    if len(shape) > AXES:
        raise UnsupportedError(f"{name} has {len(shape)} axes; expected at most {AXES}")
    if entries(shape) > ENTRIES:
        raise UnsupportedError(
            f"{name} of shape {show(shape)} has {entries(shape):.3g} entries; expected at most {ENTRIES:,}{PYTHON}"
        )


def check_total(total: int) -> None:
    """Refuse tensors that have too many entries in all."""
    if total > ENTRIES:
        raise UnsupportedError(f"the data and weights up to here have {total:.3g} entries in all; expected at most {ENTRIES:,}{PYTHON}")


def entries(shape: Shape) -> int:
    return math.prod(size for size in shape if isinstance(size, int))


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
            raise UnsupportedError("a number here is too large or too small; expected what float64 holds, 5e-324 to 1.8e308")
    for power in expr.atoms(sp.Pow):
        if power.exp.is_Rational and max(abs(power.exp.p), power.exp.q) > EXPONENT:
            raise UnsupportedError(f"the exponent {_shown(power.exp)} is too large; expected at most {EXPONENT}")
    if expr.is_number and not math.isfinite(_float(expr)):
        raise UnsupportedError(_unreal(expr))


def _unreal(expr: sp.Expr) -> str:
    """What is wrong with a constant that is no number of float64."""
    if expr.has(sp.zoo, sp.oo, sp.nan):
        return "the value is infinite or undefined, like a division by zero or log(0)"
    if math.isinf(_float(expr)):
        return f"the value of {_shown(expr)} is too large; expected what float64 holds, up to 1.8e308"
    return "the value is not a real number, like the root or the logarithm of a negative number"


def degree(expr: sp.Expr, known: Mapping[sp.Basic, tuple[int, bool]]) -> tuple[int, bool]:
    """The largest power that SymPy could make of what an equation stands for, once every name in it is replaced by its definition, and
    whether it is a logarithm, whose factors are powers to SymPy too. `known`: the same of the tensors in it."""
    found: dict[sp.Basic, tuple[int, bool]] = {}
    for part in postorder(expr, lambda p: isinstance(p, (sp.Mul, sp.Pow, sp.exp, sp.log, sp.Add))):
        below = [found[a] for a in part.args if a in found]
        logarithm = any(log for _, log in below)
        if isinstance(part, sp.Pow):
            found[part] = math.ceil(found[part.base][0] * abs(_float(part.exp))) if part.exp.is_number else 1, False
        elif isinstance(part, sp.Mul):
            factor = math.ceil(abs(_float(part.as_coeff_Mul()[0]))) if logarithm else 1
            found[part] = factor * sum(d for d, _ in below), logarithm
        elif isinstance(part, sp.Add):
            found[part] = max(d for d, log in below if log or not logarithm) if logarithm else 1, logarithm
        elif isinstance(part, (sp.exp, sp.log)):
            found[part] = below[0][0] if isinstance(part, sp.log) or logarithm else 1, isinstance(part, sp.log)
        else:
            found[part] = known.get(part, (0 if part.is_Number else 1, False))
    if found[expr][0] > EXPONENT:
        raise UnsupportedError(f"the powers multiply up to {found[expr][0]:.3g}, once the names stand for their equations; expected at most {EXPONENT}")
    return found[expr]


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
