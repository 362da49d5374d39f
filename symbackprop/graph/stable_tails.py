"""Logarithms, quotients and derivatives of what vanishes in a tail, and the logistic function of a polynomial, as functions that lose nothing there.

Sources: Abramowitz & Stegun, Handbook of Mathematical Functions (1964), section 26.2 (the normal distribution), 7.1 (the error function) and 7.2 (its
repeated integrals);
J. P. Klein & M. L. Moeschberger, Survival Analysis, 2nd ed. (2003), section 2.3 (hazard functions); Hendrycks & Gimpel 2016, section 2, for the
cubic in the logistic function (gelu by tanh); T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971),
for how it is computed.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written)

from typing import Any

import sympy as sp

from symbackprop.graph.functions import sigmoid
from symbackprop.graph.stable import Stable


class log_erfc(Stable):
    """log(1 - erf(x)), although 1 - erf(x) vanishes. Derivative: minus its hazard."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(sp.erfc(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -erfc_hazard(self.args[0])


class erfc_hazard(Stable):
    """h(x) = 2 e^(-x²)/(sqrt(pi) (1 - erf(x))), although both vanish. Derivative: h (h - 2 x), twice h times its gap."""

    is_positive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return 2 * sp.exp(-(x**2)) / (sp.sqrt(sp.pi) * sp.erfc(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 2 * self * erfc_gap(self.args[0])


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
        return normal_hazard_slope(self.args[0])


class normal_hazard_slope(Stable):
    """-h(z) (h(z) + z), the slope of the hazard h(z) = phi(z)/Phi(z), although h(z) + z cancels. Derivative: -h - (2 h + z) times it."""

    is_negative = True

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        hazard = normal_hazard.formula(z)
        return -hazard * (hazard + z)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        (z,) = self.args
        return -normal_hazard(z) - (2 * normal_hazard(z) + z) * self


class scaled_erfc(Stable):
    """e^(x²) (1 - erf(x)), although one overflows where the other vanishes. Derivative: minus twice its product with its gap (AS 7.2.5)."""

    is_positive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.exp(x**2) * sp.erfc(x)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -2 * self * erfc_gap(self.args[0])


class erfc_gap(Stable):
    """q(x) = e^(-x²)/(sqrt(pi) (1 - erf(x))) - x, by which half the hazard exceeds its asymptote: it falls as 1/(2 x), where the difference would cancel. It
    is the quotient of the first repeated integral of 1 - erf(x) and 1 - erf(x) itself (AS 7.2.1). Derivative: 2 q (q + x) - 1."""

    is_positive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.exp(-(x**2)) / (sp.sqrt(sp.pi) * sp.erfc(x)) - x

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 2 * self * (self + self.args[0]) - 1


class log1p_tanh(Stable):
    """log(1 + tanh(x)), accurate near 0, where it vanishes, and where 1 + tanh(x) does. Derivative: 1 - tanh(x)."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(1 + sp.tanh(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 2 * sigmoid(-2 * self.args[0])


class log_sinh(Stable):
    """log(sinh(x)) of x > 0, although sinh(x) may overflow. Derivative: coth(x)."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(sp.sinh(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.coth(self.args[0])


class log_erf(Stable):
    """log(erf(x)) of x > 0, accurate where erf(x) is nearly 1. Derivative: 2 e^(-x²)/(sqrt(pi) erf(x))."""

    is_nonpositive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(sp.erf(x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        (x,) = self.args
        return 2 * sp.exp(-(x**2)) / (sp.sqrt(sp.pi) * sp.erf(x))


class log_below_one(Stable):
    """log(x), where x = 1 - y and y is known to more digits than x tells: by y where x is nearly 1. Derivatives: 1/x, and none, since y is told by x."""

    nargs = 2

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return sp.log(x)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / self.args[0] if argindex == 1 else sp.S.Zero


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


__all__ = [
    "erfc_gap",
    "erfc_hazard",
    "log1p_tanh",
    "log_below_one",
    "log_erf",
    "log_erfc",
    "log_normal_cdf",
    "log_sinh",
    "normal_hazard",
    "normal_hazard_slope",
    "scaled_erfc",
    "sigmoid_cubic",
]
