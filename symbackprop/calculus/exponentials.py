"""Rewrites of sums of exponentials, c_1 e^u_1 + c_2 e^u_2 + ..., wherever a logarithm or a quotient is made of one: whatever the weights and the
exponents are, and however many there are. Structures like those of `structures`: each is a function from an expression to a better one, or None, and
its docstring names the identity and its source.
"""

from typing import NamedTuple

import sympy as sp

from symbackprop.calculus.match import definition, positive, same
from symbackprop.graph.functions import sigmoid
from symbackprop.graph.stable import expsub, softmax2
from symbackprop.graph.stable_sums import Exponential, Sum, log_of, share, share_of_exponentials
from symbackprop.graph.stable_tails import log_below_one

MANY = 16  # terms of a sum that is multiplied out


def log_of_exponentials(expr: sp.log) -> sp.Expr | None:
    """log(c_1 exp(u_1) + c_2 exp(u_2) + ...) → the largest term's logarithm and that of the sum over it. Blanchard, Higham & Higham (2021), eq. 1.3 and
    section 2."""
    terms = _sum(expr.args[0])
    return log_of(terms) if terms and all(positive(t.c) for t in terms) else None


def log_of_a_share(expr: sp.log) -> sp.Expr | None:
    """log(exp(v)/(c_1 exp(u_1) + ...)) → -log(c_1 exp(u_1 - v) + ...). Blanchard, Higham & Higham (2021), eq. 1.3."""
    found = _share(definition(expr.args[0]))
    if found is None or not all(positive(t.c) for t in found.terms):
        return None
    return -log_of([Exponential(t.c, t.u - found.v) for t in found.terms])


def log_of_a_quotient(expr: sp.log) -> sp.Expr | None:
    """log((a_1 exp(v_1) + ...)/(c_1 exp(u_1) + ...)) → the difference of the two logarithms; where the sums are of the same exponentials, so that the quotient
    neither overflows nor vanishes, its logarithm by what it differs from 1. Blanchard, Higham & Higham (2021), section 2; Higham (2002), section 1.14.1."""
    total = definition(expr.args[0])
    above: dict[sp.Expr, sp.Expr] = {}
    below: Sum = ()
    for term in total.args if isinstance(total, sp.Add) else ():
        shares = [x for x in term.args if isinstance(x, share_of_exponentials)] if isinstance(term, sp.Mul) else [term]
        found = _share(shares[0]) if len(shares) == 1 else None
        if found is None or not positive(a := term / shares[0]) or (below and below != found.terms):
            return None
        above[found.v], below = a, found.terms
    if not above or not all(positive(t.c) for t in below):
        return None
    if above.keys() == {t.u for t in below}:
        return log_below_one(total, sp.Add(*((t.c - above[t.u]) * share(t.u, below) for t in below)))
    return log_of([Exponential(a, v) for v, a in above.items()]) - log_of(below)


def power_of_exponentials(expr: sp.Pow) -> sp.Expr | None:
    """(c_1 exp(u_1) + c_2 exp(u_2) + ...)^-n → a share of the sum, both divided by the largest exponential. Blanchard, Higham & Higham (2021), eq. 1.1 and
    section 2."""
    base, n = expr.args
    terms = _sum(base) if n.is_Rational and n.is_negative else None
    return share(sp.S.Zero, terms) ** -n if terms else None


def exponential_in_a_sum(expr: sp.Mul) -> sp.Expr | None:
    """exp(w) exp(v)/(c_1 exp(u_1) + ...) → the share of exp(v + w). Blanchard, Higham & Higham (2021), eq. 1.1 and section 2."""
    # The root of a share is left alone: what stands under it would be the share of exp(w)², which vanishes where exp(w) does not.
    pairs = [(f, n, found, e) for f in expr.args for base, n in [_power(f)] if (found := _share(base)) for e in expr.args if isinstance(definition(e), sp.exp)]
    for bounded in (True, False):  # one of the sum's own exponentials is no larger than the sum
        for factor, n, found, exponential in pairs:
            w = definition(exponential).args[0]
            whole, own = found.v + w, {t.u for t in found.terms}
            if not n.is_Rational or n < 1 or (whole in own) != bounded or (w.is_nonpositive and not bounded):
                continue
            if n.is_Integer and (n == 1 or bounded) and _short(whole, found.v, w):
                made = share(whole, found.terms) * _power(factor)[0] ** (n - 1)
            elif _short(found.v + w / n, found.v, w):
                made = share(found.v + w / n, found.terms) ** n
            else:
                continue
            return sp.Mul(made, *(x for x in expr.args if x is not factor and x is not exponential))
    return None


def product_of_shares(expr: sp.Mul) -> sp.Expr | None:
    """exp(v)/(c_1 exp(u_1) + ...) exp(w)/(a_1 exp(b_1) + ...) → the share of exp(v + w) in the product of the sums, where the first may overflow although
    the product does not. Blanchard, Higham & Higham (2021), section 2."""
    found = [(f, n, own) for f in expr.args for base, n in [_power(f)] if n.is_Integer and n.is_positive and (own := _share(base)) is not None]
    for first, n, a in found:
        if any(a.v == t.u for t in a.terms):
            continue
        for second, m, b in found:
            if second is first or len(a.terms) * len(b.terms) > MANY or not _short(a.v + b.v, a.v, b.v):
                continue
            weights: dict[sp.Expr, sp.Expr] = {}
            for c, u in a.terms:
                for d, w in b.terms:
                    weights[u + w] = weights.get(u + w, sp.S.Zero) + c * d
            rest = [f for f in expr.args if f is not first and f is not second]
            base_a, base_b = _power(first)[0], _power(second)[0]
            return sp.Mul(share(a.v + b.v, [Exponential(c, u) for u, c in weights.items()]), base_a ** (n - 1), base_b ** (m - 1), *rest)
    return None


def sum_over_a_sum(expr: sp.Mul) -> sp.Expr | None:
    """(a_1 exp(v_1) + ...)/(c_1 exp(u_1) + ...) → the sum of the shares, although both sums may overflow. Blanchard, Higham & Higham (2021), eq. 1.1."""
    for i, factor in enumerate(expr.args):
        found = _share(factor)
        for j, other in enumerate(expr.args) if found is not None else ():
            above = _sum(other)
            if found is None or above is None or not all(_short(found.v + t.u, found.v, t.u) for t in above):
                continue
            if not any(t.u != 0 and found.v + t.u == u for t in above for _, u in found.terms):
                continue
            made = sp.Add(*(t.c * share(found.v + t.u, found.terms) for t in above))
            return sp.Mul(made, *(x for k, x in enumerate(expr.args) if k not in (i, j)))
    return None


def product_of_exponentials(expr: sp.Mul) -> sp.Expr | None:
    """exp(u) exp(v) → exp(u + v), although one of them may overflow where the other vanishes. AS 4.2.18; the rounding error of the sum, which is known, is
    made good: Knuth, TAOCP 2, section 4.2.2, theorem B."""
    found = [x for x in expr.args if isinstance(definition(x), sp.exp)]
    if len(found) < 2:
        return None
    u, v = (definition(x).args[0] for x in found[:2])
    if u.is_nonpositive or v.is_nonpositive:
        return None
    whole = _short(u + v, u, v) and (u + v).free_symbols == u.free_symbols | v.free_symbols  # no input is lost
    made = sp.exp(u + v) if whole else expsub(u, -v)
    return sp.Mul(made, *(x for x in expr.args if x not in found[:2]))


class _Share(NamedTuple):
    v: sp.Expr
    terms: Sum


def _share(x: sp.Basic) -> _Share | None:
    """What is a share of a sum of exponentials, and of which."""
    if isinstance(x, share_of_exponentials):
        v, *rest = x.args
        return _Share(v, [Exponential(c, u) for c, u in zip(rest[::2], rest[1::2], strict=True)])
    if isinstance(x, sigmoid):  # 1/(1 + e^-z)
        return _Share(sp.S.Zero, [Exponential(sp.S.One, sp.S.Zero), Exponential(sp.S.One, -x.args[0])])
    if isinstance(x, softmax2):
        a, b = x.args
        return _Share(a, [Exponential(sp.S.One, a), Exponential(sp.S.One, b)])
    return None


def _sum(total: sp.Basic) -> list[Exponential] | None:
    """The terms of a sum of exponentials that may overflow or vanish; those with the same exponent are one. Read through names."""
    total = definition(total)
    if not isinstance(total, sp.Add):
        return None
    weights: dict[sp.Expr, sp.Expr] = {}
    for term in total.args:
        for c, u in _exponentials(term):
            weights[u] = weights.get(u, sp.S.Zero) + c
    bounded = sp.S.Zero in weights and all(u.is_nonpositive for u in weights)
    if bounded or len(weights) < 2 or not any(positive(c) for c in weights.values()):
        return None
    return [Exponential(sp.S.One if same(c, sp.S.One) else c, u) for u, c in weights.items()]


def _power(x: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Base and exponent; an exponential is a power of nothing but itself."""
    return (x, sp.S.One) if isinstance(x, sp.exp) else x.as_base_exp()


def _exponentials(term: sp.Expr) -> list[Exponential]:
    """A product with exponentials and hyperbolic cosines in it, as exponentials."""
    made = [Exponential(sp.S.One, sp.S.Zero)]
    for factor in sp.Mul.make_args(term):
        base, n = _power(factor)
        inside = definition(base)
        if isinstance(inside, sp.exp):
            made = [Exponential(c, u + n * inside.args[0]) for c, u in made]
        elif isinstance(inside, sp.cosh) and n == 1:
            half = sp.Rational(1, 2)
            made = [Exponential(c * half, u + v) for c, u in made for v in (inside.args[0], -inside.args[0])]
        else:
            made = [Exponential(c * factor, u) for c, u in made]
    return made


def _short(u: sp.Expr, *parts: sp.Expr) -> bool:
    """Whether a sum has no more terms than the longest of its parts, so that it is rounded no more often."""
    return len(sp.Add.make_args(u)) <= max(len(sp.Add.make_args(x)) for x in parts)


__all__ = [
    "exponential_in_a_sum",
    "log_of_a_quotient",
    "log_of_a_share",
    "log_of_exponentials",
    "power_of_exponentials",
    "product_of_exponentials",
    "product_of_shares",
    "sum_over_a_sum",
]
