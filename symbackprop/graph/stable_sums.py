"""Sums of exponentials with weights, c_1 e^u_1 + c_2 e^u_2 + ..., under a logarithm and in the denominator of a quotient.

Each term may overflow or vanish by itself; what is computed is divided by the largest one first. The slopes of both are means over the terms' shares
of the sum, so that they are made of quotients again: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax
functions", IMA J. Numer. Anal. 41 (2021), section 2. Where two terms pull against each other with one weight, as e^x and e^-x do, the difference of
their shares is their sum times tanh of half the difference of the exponents (Abramowitz & Stegun (1964), 4.5.3), which does not cancel.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from collections.abc import Sequence
from typing import Any, NamedTuple

import sympy as sp

from symbackprop.graph.functions import sigmoid, softplus
from symbackprop.graph.stable import Stable, logaddexp, softmax2


class Exponential(NamedTuple):
    """c e^u."""

    c: sp.Expr
    u: sp.Expr


Sum = Sequence[Exponential]


def _flat(terms: Sum) -> tuple[sp.Expr, ...]:
    return tuple(x for term in terms for x in term)


def _paired(args: Sequence[sp.Expr]) -> list[Exponential]:
    return [Exponential(c, u) for c, u in zip(args[::2], args[1::2], strict=True)]


def _total(args: Sequence[Any]) -> sp.Expr:
    return sp.Add(*(c * sp.exp(u) for c, u in zip(args[::2], args[1::2], strict=True)))


class log_of_exponentials(Stable):
    """log(c_1 e^u_1 + c_2 e^u_2 + ...), although the terms may overflow or vanish. Derivative: the mean of the u_i' over the terms' shares of the sum."""

    nargs = None

    @staticmethod
    def formula(*terms: Any) -> sp.Expr:
        return sp.log(_total(terms))

    def _eval_derivative(self, s: sp.Symbol) -> sp.Expr:
        terms = _paired(self.args)
        return _mean(terms, [t.u.diff(s) for t in terms], s)


class share_of_exponentials(Stable):
    """e^v/(c_1 e^u_1 + c_2 e^u_2 + ...), although both may overflow or vanish. Derivative: its product with the mean of v' - u_i' over the terms' shares
    of the sum."""

    nargs = None

    @staticmethod
    def formula(v: Any, *terms: Any) -> sp.Expr:
        return sp.exp(v) / _total(terms)

    def _eval_is_positive(self) -> bool | None:
        return all(c.is_positive for c in self.args[1::2]) or None

    def _eval_derivative(self, s: sp.Symbol) -> sp.Expr:
        v, *rest = self.args
        terms = _paired(rest)
        return -self * _mean(terms, [(t.u - v).diff(s) for t in terms], s)


def _mean(terms: Sum, slopes: Sequence[sp.Expr], s: sp.Symbol) -> sp.Expr:
    """The sum of c_i share_i slope_i + share_i c_i', the c_i e^u_i being the terms and share_i of them e^u_i in their sum."""
    total: sp.Expr = sp.S.Zero
    left = list(range(len(terms)))
    while left:
        i = left.pop(0)
        term, slope = terms[i], slopes[i]
        total += share(term.u, terms) * term.c.diff(s)
        against = next((j for j in left if slope != 0 and slopes[j] == -slope and terms[j].c == term.c), None)
        if against is None:
            total += share(term.u, terms) * term.c * slope
            continue
        left.remove(against)
        other = terms[against]
        both = sp.S.One if len(terms) == 2 else term.c * (share(term.u, terms) + share(other.u, terms))
        total += slope * both * sp.tanh((term.u - other.u) / 2) + share(other.u, terms) * other.c.diff(s)
    return total


def log_of(terms: Sum) -> sp.Expr:
    """The logarithm of a sum of exponentials, by the simplest function for it."""
    if len(terms) == 2 and all(t.c == 1 for t in terms):
        a, b = sorted((t.u for t in terms), key=sp.default_sort_key)
        return softplus(a + b) if a == 0 or b == 0 else logaddexp(a, b)
    return log_of_exponentials(*_flat(terms))


def share(v: sp.Expr, terms: Sum) -> sp.Expr:
    """e^v in a sum of exponentials, by the simplest function for it."""
    exponents = [t.u for t in terms]
    if len(terms) == 2 and all(t.c == 1 for t in terms) and v in exponents:
        (other,) = (u for u in exponents if u != v)
        return sigmoid(v - other) if sp.S.Zero in exponents else softmax2(v, other)
    return share_of_exponentials(v, *_flat(terms))


__all__ = ["Exponential", "Sum", "log_of", "log_of_exponentials", "share", "share_of_exponentials"]
