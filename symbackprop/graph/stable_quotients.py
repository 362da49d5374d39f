"""Quotients f(x)/x and x/f(x) that have a limit at 0, where they read 0/0 as they are written, and near which their derivatives cancel.

By Hadamard's lemma f(x)/x is the integral of f'(s x) over s from 0 to 1, so it is as smooth as f, and its derivatives are integrals too:
J. Milnor, Morse Theory (1963), lemma 2.1.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.stable import Stable


class OverArgument(Stable):
    """The n-th derivative of f(x)/x where f(0) = 0, also at 0, where it has its limit. Derivative: the next one."""

    nargs = 2

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        """f(x)/x."""
        raise NotImplementedError

    @classmethod
    def formula(cls, x: Any, n: Any = 0) -> sp.Expr:
        at = sp.Dummy(real=True)
        return sp.diff(cls.quotient(at), at, n).subs(at, x)

    def varying(self) -> tuple[sp.Expr, ...]:
        return self.args[:1]

    def constants(self) -> tuple[float, ...]:
        return (int(self.args[1]),)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        if argindex == 2:
            return sp.S.Zero
        x, n = self.args
        return self.func(x, n + 1)


class expm1_over(OverArgument):
    """(e^x - 1)/x, or its n-th derivative where n > 0; at 0 its limit."""

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        return (sp.exp(x) - 1) / x


class log1p_over(OverArgument):
    """log(1 + x)/x, or its n-th derivative where n > 0; at 0 its limit."""

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        return sp.log(1 + x) / x


class sin_over(OverArgument):
    """sin(x)/x, or its n-th derivative where n > 0; at 0 its limit."""

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        return sp.sin(x) / x


class tanh_over(OverArgument):
    """tanh(x)/x, or its n-th derivative where n > 0; at 0 its limit."""

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        return sp.tanh(x) / x


class over_expm1(OverArgument):
    """x/(e^x - 1), the function of Bernoulli's numbers, or its n-th derivative where n > 0; at 0 its limit."""

    @staticmethod
    def quotient(x: Any) -> sp.Expr:
        return x / (sp.exp(x) - 1)


__all__ = ["OverArgument", "expm1_over", "log1p_over", "over_expm1", "sin_over", "tanh_over"]
