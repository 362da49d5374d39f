"""Rewrites of sums of squares under roots, logarithms and quotients, where the squares overflow or vanish although the result does not, and of what
cancels beside such a root. Structures like those of `structures`: each is a function from an expression to a better one, or None, and its docstring
names the identity and its source.
"""

from functools import reduce
from typing import Any

import sympy as sp

from symbackprop.calculus.match import definition, positive, same
from symbackprop.graph import stable as g
from symbackprop.graph import stable_squares as q
from symbackprop.graph import stable_sums as sums
from symbackprop.graph import stable_tails as tails
from symbackprop.graph.functions import sigmoid

# Functions that vanish exponentially at one end at least, and what is bounded.
VANISHING = (sp.exp, sp.sech, sigmoid, g.gaussian, g.normal_pdf, g.normal_cdf, g.erf_complement, tails.sigmoid_cubic, sums.share_of_exponentials)
_BOUNDED = (*VANISHING[1:], sp.tanh, sp.sin, sp.cos, sp.erf, sp.sign)


def may_overflow(x: sp.Basic) -> bool:
    """Whether it is a power above 1 of what has no bound, or a sum of such."""
    if isinstance(x, sp.Add):
        return any(may_overflow(f) for term in x.args for f in sp.Mul.make_args(term))
    if not isinstance(x, sp.Pow) or isinstance(x, sp.exp) or not (x.exp.is_number and x.exp > 1):
        return False
    return not isinstance(definition(x.base), _BOUNDED)


def _legs_of(total: sp.Basic) -> list[sp.Expr] | None:
    """u, v ... of a sum u² + v² + ...; of a positive number its root."""
    legs = []
    for term in sp.Add.make_args(total):
        number, rest = term.as_coeff_Mul()
        if not number.is_positive or not (rest == 1 or (isinstance(rest, sp.Pow) and rest.exp == 2)):
            return None
        legs.append(sp.sqrt(number) * (rest.base if rest != 1 else 1))
    return legs


def root_of_squares(expr: sp.Pow) -> sp.Expr | None:
    """sqrt(u² + v² + ...) → hypot(u, v, ...), although the squares overflow or vanish; odd powers of it and reciprocals too. ISO C99, 7.12.7.3;
    Higham (2002), section 1.7 and problem 27.5."""
    base, exponent = expr.args
    if not isinstance(base, sp.Add) or not (2 * exponent).is_Integer or (exponent.is_Integer and exponent > 0) or len(base.args) > 4:
        return None
    legs = _legs_of(base)
    return None if legs is None else reduce(g.hypot, legs) ** (2 * exponent)


def log_of_squares(expr: sp.log) -> sp.Expr | None:
    """log(a + u² + v² + ...) → a function that squares nothing that would overflow, for every a > 0. Higham (2002), section 1.14.1 and problem 27.5."""
    total = definition(expr.args[0])
    squares = [t for t in sp.Add.make_args(total) if not t.is_number and _legs_of(t)]
    rest = sp.Add(*(t for t in sp.Add.make_args(total) if t not in squares))
    legs = _legs_of(sp.Add(*squares))
    if not isinstance(total, sp.Add) or not squares or legs is None or not (rest == 0 or positive(rest)):
        return None
    root = reduce(g.hypot, legs)
    return 2 * sp.log(root) if rest == 0 else q.log_add_square(rest, root)


def cancelled_root(expr: sp.Add) -> sp.Expr | None:
    """c sqrt(S) - c b → c (S - b²)/(sqrt(S) + b) where b² is a term of S, and c - c b/sqrt(S) too, by which the difference does not cancel. Higham (2002),
    section 1.7 and 1.8."""
    roots = {f.base for t in expr.args for f in sp.Mul.make_args(t) if isinstance(f, sp.Pow) and isinstance(f.base, sp.Add) and _is_half(f.exp)}
    for total in sorted(roots, key=sp.default_sort_key):
        for square in total.args:
            (leg,) = _legs_of(square) or (None,)
            for b in (leg, -leg) if leg is not None else ():
                legs = _legs_of(total - square)
                if b.is_nonpositive or (legs is None and not b.is_nonnegative):
                    continue
                gap = (total - square) / (sp.sqrt(total) + b) if legs is None else q.hypot_minus(b, reduce(g.hypot, legs))
                for first in expr.args:
                    left = _without(first / sp.sqrt(total) * b, [t for t in expr.args if t is not first])
                    if left is not None:
                        return sp.Add(first / sp.sqrt(total) * gap, *left)
    return None


def _without(x: sp.Expr, terms: list[sp.Expr]) -> list[sp.Expr] | None:
    """What is left of a sum to which x, which may be a sum itself, is added; None where that undoes none of its terms."""
    for parts in ([-x], list(sp.Add.make_args(sp.expand_mul(-x)))):
        undone = [next((t for t in terms if same(part, t)), None) for part in parts]
        if None not in undone:
            return [t for t in terms if t not in undone]
    return None


def _is_half(exponent: sp.Expr) -> bool:
    return bool(exponent.is_Rational and exponent.q == 2)


def masked_quotient(expr: sp.Mul) -> sp.Expr | None:
    """u/sqrt(u² + v²) → xdivy(u, hypot(u, v)), which is 0 at the origin: the subgradient of smallest norm. Rockafellar, Convex Analysis (1970),
    section 23."""
    for below in expr.args:
        if not (isinstance(below, sp.Pow) and isinstance(below.base, g.hypot) and below.exp.is_Integer and below.exp < 0) or _nonzero(below.base):
            continue
        for above in expr.args:
            u, n = above.as_base_exp()
            if n.is_Integer and n > 0 and u in _legs(below.base):
                n = min(n, -below.exp)
                quotient, left = g.xdivy(u, below.base), -below.exp - n
                rest = [above / u**n, *(f for f in expr.args if f is not above and f is not below)]
                if n > 1 and left:  # the square of a small quotient may vanish where it is divided by what is small too
                    return sp.Mul(quotient ** (n - 1), g.xdivy(quotient, below.base**left), *rest)
                return sp.Mul(quotient**n, below.base**-left, *rest)
    return None


def _legs(h: sp.Basic) -> list[sp.Basic]:
    return [leg for x in h.args for leg in (_legs(x) if isinstance(x, g.hypot) else [x])]


def _nonzero(h: sp.Basic) -> bool:
    return any(x.is_number and x != 0 for x in _legs(h))


def divided_again(expr: sp.Expr) -> sp.Expr | None:
    """x^m/(u + v)^n → (x/(u + v))^m/(u + v)^(n - m), divided once for every power, although each power by itself overflows. Higham (2002), section 27.8
    (avoiding overflow)."""
    for below in sp.Mul.make_args(expr):
        found = _denominator(below)
        if found is not None:
            top, base, n = found
            number, above = (expr / below * top).as_coeff_Mul()
            made = _divided(above, base, n, isinstance(below, sp.Pow))
            if made is not None:
                return number * made
    return None


def _denominator(below: sp.Expr) -> tuple[sp.Expr, sp.Expr, Any] | None:
    """x, y and n of x/y^n, where y^n may overflow."""
    over, times = below.as_base_exp()
    if isinstance(over, g.over_power) and times.is_Integer and times > 0:
        x, y, n = over.args
        return x**times, y, n * times
    if not (isinstance(below, sp.Pow) and times.is_Integer and times < 0):
        return None
    return (sp.S.One, over, -times) if isinstance(over, sp.Add) or (isinstance(over, g.hypot) and _nonzero(over)) else None


def _divided(above: sp.Expr, base: sp.Expr, n: Any, new: bool = True) -> sp.Expr | None:
    """The quotient by base^n, power by power; None where there is nothing to divide again, or, unless it is `new`, nothing but what already is."""
    sums_ = [f for f in sp.Mul.make_args(above) if isinstance(f, sp.Add) and may_overflow(f)]
    if sums_ and n > 1:  # term by term
        rest = above / sums_[0]
        return sp.Add(*(number * (_divided(t * rest, base, n) or t * rest * base**-n) for number, t in (x.as_coeff_Mul() for x in sums_[0].args)))
    for f in sp.Mul.make_args(above):
        if isinstance(f, sp.Pow) and may_overflow(f) and f.exp.is_Integer:
            k = min(f.exp, n)
            left = above / f * f.base ** (f.exp - k)
            rest = left if n == k else left / base if n == k + 1 else g.over_power(left, base, n - k)
            return g.xdivy(f.base, base) ** k * rest  # a function, since SymPy would make x²/y² of (x/y)²
    return g.over_power(above, base, n) if new and n > 1 else None


__all__ = ["VANISHING", "cancelled_root", "divided_again", "log_of_squares", "masked_quotient", "may_overflow", "root_of_squares"]
