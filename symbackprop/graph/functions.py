"""Elementwise functions that SymPy lacks or writes unstably. Each states its derivative; everything else follows.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 3.10 (sigmoid, softplus) and 6.3 (rectifiers);
Hendrycks & Gimpel 2016 (gelu); Clevert et al. 2016 (elu); Klambauer et al. 2017 (selu); Misra 2019 (mish); Bergstra et al. 2009 (softsign);
Courbariaux et al. 2015 (hard_sigmoid, with PyTorch's slope of 1/6).
"""

from typing import Any

import sympy as sp

from symbackprop.graph.arguments import checked
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


@checked("z", "slope")
def leaky_relu(z: sp.Expr, slope: Any = 0.01) -> sp.Expr:
    """z where z > 0, else slope*z; the derivative at 0 is the slope."""
    return relu(z) + slope * (z - relu(z))


@checked("z", "alpha")
def elu(z: sp.Expr, alpha: Any = 1) -> sp.Expr:
    """z where z > 0, else alpha (e^z - 1); the derivative at 0 is alpha. The exponential never sees a positive number."""
    return relu(z) + alpha * expm1(z - relu(z))


@checked("z")
def gelu(z: sp.Expr) -> sp.Expr:
    """z Phi(z), with Phi the standard normal distribution function (Hendrycks & Gimpel 2016, exact form)."""
    return z * (1 + sp.erf(z / sp.sqrt(2))) / 2


@checked("z")
def gelu_tanh(z: sp.Expr) -> sp.Expr:
    """z (1 + tanh(sqrt(2/pi) (z + 0.044715 z^3)))/2, close to gelu (Hendrycks & Gimpel 2016, section 2)."""
    return z * (1 + sp.tanh(sp.sqrt(2 / sp.pi) * (z + 0.044715 * z**3))) / 2


@checked("z")
def silu(z: sp.Expr) -> sp.Expr:
    """z sigmoid(z), also called swish."""
    return z * sigmoid(z)


@checked("z")
def selu(z: sp.Expr) -> sp.Expr:
    """A scaled elu, of which mean 0 and variance 1 are a fixed point (Klambauer et al. 2017, equations 2 and 14, where its numbers stand)."""
    return 1.0507009873554804934193349852946 * elu(z, 1.6732632423543772848170429916717)


@checked("z")
def mish(z: sp.Expr) -> sp.Expr:
    """z tanh(softplus(z)) (Misra 2019)."""
    return z * sp.tanh(softplus(z))


@checked("z")
def softsign(z: sp.Expr) -> sp.Expr:
    """z/(1 + |z|)."""
    return z / (1 + sp.Abs(z))


@checked("z")
def hard_tanh(z: sp.Expr) -> sp.Expr:
    """z between -1 and 1, and these beyond; the derivative at -1 and 1 is 0."""
    return sp.Piecewise((-1, z <= -1), (1, z >= 1), (z, True))


@checked("z")
def hard_sigmoid(z: sp.Expr) -> sp.Expr:
    """z/6 + 1/2 between -3 and 3, 0 and 1 beyond; the derivative at -3 and 3 is 0."""
    return sp.Piecewise((0, z <= -3), (1, z >= 3), (z / 6 + sp.Rational(1, 2), True))
