"""The order in which the terms of a sum and the factors of a product are written. SymPy keeps them in an order of its own;
people write positive terms before negative ones, products before bare biases, and coefficients before everything."""

from collections.abc import Callable, Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.operators.base import Operator
from symbackprop.graph.shapes import Dim, rank_of
from symbackprop.graph.tensor import Tensor

_ROLES = {"adjoint": 2, "weight": 3, "state": 3, "data": 4, "node": 5}


def age(expr: sp.Basic) -> tuple[bool, int]:
    """Where the oldest tensor in the expression stands: what was written first."""
    return min((s.order for s in expr.free_symbols if isinstance(s, Tensor)), default=(False, -1))


def is_negative_term(term: sp.Expr) -> bool:
    number = term.args[0] if isinstance(term, sp.Mul) else term
    if isinstance(number, sp.Rational):
        return bool(number.p < 0)
    return bool(isinstance(number, sp.Number) and number.is_extended_negative)


def terms(expr: sp.Add, lead: Tensor | None = None) -> list[sp.Expr]:
    """The terms of a sum as people order them. What mentions `lead`, the target of an update rule, comes first: v + g^2."""

    def kind(term: sp.Expr) -> Any:
        bare = 1 if isinstance(term, Tensor) else 0
        constant = 1 if not term.is_number else 0 if term == 1 else 2  # 1 + exp(-z), but 2 x + 4 and p + 1e-7
        follows = lead is not None and lead not in term.free_symbols
        return is_negative_term(term), follows, constant, -min(rank_of(term), rank_of(expr)), bare

    return _ordered(expr.args, kind, age, lambda term: term.sort_key())


def factors(args: Sequence[sp.Expr]) -> list[sp.Expr]:
    """The factors of a product as people order them: numbers, adjoints, weights, data, named values, functions, sums."""

    def kind(factor: sp.Expr) -> int:
        base = factor.base if isinstance(factor, sp.Pow) else factor
        if base.is_number or isinstance(base, Dim):
            return 0
        if isinstance(base, Tensor):
            return _ROLES.get(base.role, 5)
        return 6 if isinstance(base, Operator) else 8 if isinstance(base, sp.Add) else 7

    return _ordered(args, kind, age, lambda factor: factor.sort_key())


def _ordered(args: Sequence[sp.Expr], *keys: Callable[[sp.Expr], Any]) -> list[sp.Expr]:
    """Sorted by the first key, and what it does not tell apart by the next ones, which take longer to find."""
    if len(args) < 2 or not keys:
        return list(args)
    groups: dict[Any, list[sp.Expr]] = {}
    for x in args:
        groups.setdefault(keys[0](x), []).append(x)
    return [x for key in sorted(groups) for x in _ordered(groups[key], *keys[1:])]


def common_factor(expr: sp.Add) -> tuple[sp.Expr, sp.Expr]:
    """A sum as (rational number, sum): 2*Y - 2*T is 2 and Y - T. SymPy would multiply the number in again. The number is what all
    terms have; 750/x + 10*x stays as it was written."""
    number, rest = expr.primitive()
    if any(term.as_coeff_Mul()[0] not in (1, -1) for term in rest.args):
        return sp.S.One, expr
    return number, rest


def fraction(expr: sp.Expr) -> tuple[bool, list[sp.Expr], list[sp.Expr]]:
    """A product as (negative, numerator factors, denominator factors), each in the order of `factors`."""
    args = list(expr.args) if isinstance(expr, sp.Mul) else [expr]
    negative = False
    above: list[sp.Expr] = []
    below: list[sp.Expr] = []
    for factor in args:
        if isinstance(factor, sp.Rational):
            negative ^= factor.p < 0
            if abs(factor.p) != 1:
                above.append(sp.Integer(abs(factor.p)))
            if factor.q != 1:
                below.append(sp.Integer(factor.q))
        elif isinstance(factor, sp.Float) and factor < 0:
            negative = not negative
            above.append(-factor)
        elif isinstance(factor, sp.Pow) and factor.exp.is_Rational and factor.exp.p < 0:
            below.append(factor.base ** (-factor.exp))
        else:
            above.append(factor)
    return negative, factors(above), factors(below)
