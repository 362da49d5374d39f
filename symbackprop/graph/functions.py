"""Elementwise functions that SymPy lacks or writes unstably. Each states its derivative; everything else follows.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 3.10 (sigmoid, softplus) and 6.3 (rectifiers);
Hendrycks & Gimpel 2016 (gelu).
"""

from typing import Any

import sympy as sp

from symbackprop.graph.tensor import as_expression


class Elementwise(sp.Function):
    """A real function of real arguments, applied to every entry."""

    nargs: Any = 1
    is_real = True

    def __new__(cls, *args: Any, **options: Any) -> sp.Expr:
        # SymPy would parse a string, which is to run it.
        made: sp.Expr = super().__new__(cls, *(as_expression(a, f"function {cls.__name__}") for a in args), **options)
        return made

    def _eval_is_commutative(self) -> bool:
        return True


class sigmoid(Elementwise):
    """The logistic function 1/(1 + e^-z). Derivative: sigmoid(z)(1 - sigmoid(z))."""

    is_positive = True

    @classmethod
    def eval(cls, z: sp.Expr) -> sp.Expr | None:
        return sp.Rational(1, 2) if z.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self * (1 - self)

    def _eval_rewrite(self, rule: Any, args: Any, **hints: Any) -> sp.Expr | None:
        return 1 / (1 + sp.exp(-self.args[0])) if rule is sp.exp else None

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return (1 / (1 + sp.exp(-self.args[0])))._eval_evalf(prec)


class softplus(Elementwise):
    """log(1 + e^z). Derivative: sigmoid(z)."""

    is_positive = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sigmoid(self.args[0])

    def _eval_rewrite(self, rule: Any, args: Any, **hints: Any) -> sp.Expr | None:
        return sp.log(1 + sp.exp(self.args[0])) if rule is sp.exp else None

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.log(1 + sp.exp(self.args[0]))._eval_evalf(prec)


class step(Elementwise):
    """1 where z > 0, else 0 (so step(0) = 0). The derivative of relu; its own derivative is 0 wherever it exists."""

    is_nonnegative = True

    @classmethod
    def eval(cls, z: sp.Expr) -> sp.Expr | None:
        return sp.Integer(int(bool(z > 0))) if z.is_number and z.is_real else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.S.Zero


class relu(Elementwise):
    """max(0, z). Derivative: step(z), so relu'(0) = 0."""

    is_nonnegative = True

    @classmethod
    def eval(cls, z: sp.Expr) -> sp.Expr | None:
        return sp.Max(0, z) if z.is_number and z.is_real else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return step(self.args[0])


class expm1(Elementwise):
    """e^x - 1, accurate near zero. Derivative: e^x."""

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.exp(self.args[0])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return (sp.exp(self.args[0]) - 1)._eval_evalf(prec)


class log1p(Elementwise):
    """log(1 + x), accurate near zero. Derivative: 1/(1 + x)."""

    @classmethod
    def eval(cls, x: sp.Expr) -> sp.Expr | None:
        return sp.S.Zero if x.is_zero else None

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (1 + self.args[0])

    def _eval_evalf(self, prec: int) -> sp.Expr:
        return sp.log(1 + self.args[0])._eval_evalf(prec)


class absolute(Elementwise):
    """|x| of a real x. Derivative: sign(x), so it is 0 at 0. SymPy's Abs would ask whether x is complex."""

    is_nonnegative = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.sign(self.args[0])


class maximum(Elementwise):
    """max(a, b), elementwise. Where a = b the first argument takes the whole derivative."""

    nargs: Any = 2

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return 1 - step(b - a) if argindex == 1 else step(b - a)


def leaky_relu(z: sp.Expr, slope: Any = 0.01) -> sp.Expr:
    """z where z > 0, else slope*z; the derivative at 0 is the slope."""
    return relu(z) + slope * (z - relu(z))


def elu(z: sp.Expr, alpha: Any = 1) -> sp.Expr:
    """z where z > 0, else alpha (e^z - 1); the derivative at 0 is alpha. The exponential never sees a positive number."""
    return relu(z) + alpha * expm1(z - relu(z))


def gelu(z: sp.Expr) -> sp.Expr:
    """z Phi(z), with Phi the standard normal distribution function (Hendrycks & Gimpel 2016, exact form)."""
    return z * (1 + sp.erf(z / sp.sqrt(2))) / 2


def silu(z: sp.Expr) -> sp.Expr:
    """z sigmoid(z), also called swish."""
    return z * sigmoid(z)
