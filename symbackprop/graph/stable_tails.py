"""Logarithms and derivatives of what vanishes in a tail, and the logistic function of a polynomial, as functions that lose nothing there.

Sources: Abramowitz & Stegun, Handbook of Mathematical Functions (1964), section 26.2 (the normal distribution) and 7.1 (the error function);
J. P. Klein & M. L. Moeschberger, Survival Analysis, 2nd ed. (2003), section 2.3 (hazard functions); Hendrycks & Gimpel 2016, section 2, for the
cubic in the logistic function (gelu by tanh); T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971),
for how it is computed.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.stable import Stable


class log_erfc(Stable):
    """log(1 - erf(x)), although 1 - erf(x) vanishes. Derivative: minus its hazard."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(sp.erfc(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -erfc_hazard(self.args[0])


class erfc_hazard(Stable):
    """h(x) = 2 e^(-x²)/(sqrt(pi) (1 - erf(x))), although both vanish. Derivative: h (h - 2 x)."""

    is_positive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return 2 * sp.exp(-(x**2)) / (sp.sqrt(sp.pi) * sp.erfc(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self * (self - 2 * self.args[0])


class log_normal_cdf(Stable):
    """log(Phi(z)), although Phi(z) vanishes. Derivative: the hazard phi(z)/Phi(z)."""

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        return sp.log((1 + sp.erf(z / sp.sqrt(2))) / 2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return normal_hazard(self.args[0])


class normal_hazard(Stable):
    """h(z) = phi(z)/Phi(z), although both vanish (the inverse of Mills' ratio). Derivative: -h (h + z)."""

    is_positive = True

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        return sp.sqrt(2 / sp.pi) * sp.exp(-(z**2) / 2) / (1 + sp.erf(z / sp.sqrt(2)))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -self * (self + self.args[0])


class sigmoid_cubic(Stable):
    """The logistic function of a x + b x³, where a and b are numbers: the rounding error of a cubic of -87 would be 87 times as large in it.
    Derivative: its product with its complement, times the cubic's."""

    nargs = 3
    is_positive = True

    @staticmethod
    def formula(x: Any, a: Any, b: Any) -> sp.Expr:
        return 1 / (1 + sp.exp(-a * x - b * x**3))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, a, b = self.args
        return self * sigmoid_cubic(-x, a, b) * (a + 3 * b * x**2, x, x**3)[argindex - 1]

    def varying(self) -> tuple[sp.Expr, ...]:
        return self.args[:1]

    def constants(self) -> tuple[float, ...]:
        """Each number as the sum of two floats."""
        with_digits = [sp.N(c, 50) for c in self.args[1:]]
        return tuple(float(part) for c in with_digits for part in (float(c), c - sp.Float(float(c), 50)))


__all__ = ["erfc_hazard", "log_erfc", "log_normal_cdf", "normal_hazard", "sigmoid_cubic"]
