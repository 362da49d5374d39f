"""Functions of sums of two squares of which the squares may overflow or vanish, and of which a difference would cancel.

Sources: ISO C99, 7.12.7.3 (hypot); N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.7 and 1.8 (the smaller root of
a quadratic equation by the larger one) and 1.14.1 (log(1 + x)).
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.stable import Stable, hypot, xdivy


class hypot_minus(Stable):
    """sqrt(x² + y²) - x, which is y²/(sqrt(x² + y²) + x) where x > 0. Derivatives: minus its quotient by hypot(x, y), and y/hypot(x, y)."""

    nargs = 2
    is_nonnegative = True

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return sp.sqrt(x**2 + y**2) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y = self.args
        return -xdivy(self, hypot(x, y)) if argindex == 1 else xdivy(y, hypot(x, y))


class log_add_square(Stable):
    """log(a + x²) of a > 0, although x² may overflow. Derivatives: 1/(a + x²) and 2x/(a + x²)."""

    nargs = 2

    @staticmethod
    def formula(a: Any, x: Any) -> sp.Expr:
        return sp.log(a + x**2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, x = self.args
        return (1 if argindex == 1 else 2 * x) / (a + x**2)


__all__ = ["hypot_minus", "log_add_square"]
