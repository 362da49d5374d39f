"""Functions without the beginning of their Taylor series, f(x) - f(0) - f'(0) x: near 0, where it is small, the difference would cancel.

The remainder is the integral of its own derivative, which is accurate as a function of the same kind: Taylor's formula with the remainder in integral
form, Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 3.6.1 and 3.6.3.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.functions import expm1
from symbackprop.graph.stable import Stable


class expm1mx(Stable):
    """e^x - 1 - x, accurate near zero, where it is x²/2. Derivative: e^x - 1."""

    is_nonnegative = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.exp(x) - 1 - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return expm1(self.args[0])


class log1pmx(Stable):
    """log(1 + x) - x, accurate near zero, where it is -x²/2. Derivative: -x/(1 + x)."""

    is_nonpositive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(1 + x) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -self.args[0] / (1 + self.args[0])


class sinmx(Stable):
    """sin(x) - x, accurate near zero, where it is -x³/6. Derivative: cos(x) - 1."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.sin(x) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -2 * sp.sin(self.args[0] / 2) ** 2


class sinhmx(Stable):
    """sinh(x) - x, accurate near zero, where it is x³/6. Derivative: cosh(x) - 1."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.sinh(x) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 2 * sp.sinh(self.args[0] / 2) ** 2


class tanhmx(Stable):
    """tanh(x) - x, accurate near zero, where it is -x³/3. Derivative: -tanh(x)²."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.tanh(x) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -(sp.tanh(self.args[0]) ** 2)


__all__ = ["expm1mx", "log1pmx", "sinhmx", "sinmx", "tanhmx"]
