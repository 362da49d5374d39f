"""Functions that are what a naive formula means, and that are computed without overflow and without cancellation.

The rules of `calculus.rules` put them in the place of formulas that are executed; each states the formula that it stands for
(`_eval_expand_func`, which every evaluation with many digits goes by) and its derivative in functions of the same kind. How each is computed stands in
`codegen.helpers` for arrays and floats and in `codegen.kernels` for compiled code.

Sources: M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012), for log1mexp; P. Blanchard, D. J. Higham & N. J. Higham, "Accurately
computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021), for logaddexp; W. J. Cody, "Rational Chebyshev approximations
for the error function", Math. Comp. 23 (1969), for the normal distribution and exp(-x²); ISO C99, 7.12.7.3, for hypot. Those that tame
tails stand in `stable_tails`, quotients that have no value as they are written in `stable_quotients`.
"""

# ruff: noqa: N801  (a SymPy function is a class, and is called as it is written: hypot(x, y))

from typing import Any

import sympy as sp

from symbackprop.graph.functions import Elementwise, expm1, log1p


class Stable(Elementwise):
    """A function that stands for `formula(*args)`."""

    @staticmethod
    def formula(*args: Any) -> sp.Expr:
        """What it stands for, in SymPy's own functions."""
        raise NotImplementedError

    def _eval_expand_func(self, **hints: Any) -> sp.Expr:
        return self.formula(*self.args)

    def varying(self) -> tuple[sp.Expr, ...]:
        """The arguments that code passes in the precision of the arrays."""
        return self.args

    def constants(self) -> tuple[float, ...]:
        """The numbers that it passes after them as they are: whole ones, and floats in double precision."""
        return ()

    def _latex(self, printer: Any, exp: str | None = None) -> str:
        """The name with its underscores, which SymPy would take for subscripts."""
        name = type(self).__name__.replace("_", r"\_")
        return rf"\operatorname{{{name}}}{f'^{{{exp}}}' if exp else ''}({', '.join(map(printer._print, self.args))})"

    @classmethod
    def kinds(cls) -> list[Any]:
        """Every function of this kind."""
        derived = [kind for own in cls.__subclasses__() for kind in own.kinds()]
        return derived or [cls]


class expsub(Stable):
    """e^(a - b), although a - b is rounded. Derivatives: itself, and minus itself."""

    nargs = 2
    is_positive = True

    @staticmethod
    def formula(a: Any, b: Any) -> sp.Expr:
        return sp.exp(a - b)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self if argindex == 1 else -self


class softmax2(Stable):
    """e^a/(e^a + e^b), the softmax of two: the logistic function of a - b, although that is rounded. Derivatives: plus and minus the product
    with its complement."""

    nargs = 2
    is_positive = True

    @staticmethod
    def formula(a: Any, b: Any) -> sp.Expr:
        return sp.exp(a) / (sp.exp(a) + sp.exp(b))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return self * softmax2(b, a) * (1 if argindex == 1 else -1)


class guarded(Elementwise):
    """x where the mask is 1, and a harmless number where it is 0: the argument of a branch, which arrays compute where it is not taken too."""

    nargs = 3

    def _eval_expand_func(self, **hints: Any) -> sp.Expr:
        mask, x, safe = self.args
        expanded: sp.Expr = sp.Piecewise((x, mask > 0), (safe, True))
        return expanded

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self.args[0] if argindex == 2 else sp.S.Zero


class logaddexp(Stable):
    """log(e^a + e^b). Derivatives: the shares of the two."""

    nargs = 2

    @staticmethod
    def formula(a: Any, b: Any) -> sp.Expr:
        return sp.log(sp.exp(a) + sp.exp(b))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return softmax2(a, b) if argindex == 1 else softmax2(b, a)


class logsubexp(Stable):
    """log(e^a - e^b) of a > b. Derivatives: 1/(1 - e^(b - a)) and -e^(b - a)/(1 - e^(b - a))."""

    nargs = 2

    @staticmethod
    def formula(a: Any, b: Any) -> sp.Expr:
        return sp.log(sp.exp(a) - sp.exp(b))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        a, b = self.args
        return -1 / expm1(b - a) if argindex == 1 else expsub(b, a) / expm1(b - a)


class log1mexp(Stable):
    """log(1 - e^-x) of x > 0. Derivative: e^-x/(1 - e^-x)."""

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.log(1 - sp.exp(-x))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        (x,) = self.args
        return -sp.exp(-x) / expm1(-x)


class logcosh(Stable):
    """log(cosh(z)). Derivative: tanh(z)."""

    is_nonnegative = True

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        return sp.log(sp.cosh(z))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.tanh(self.args[0])


class gaussian(Stable):
    """e^(-c x²), where c is a number: accurate in its tail, where rounding x² would cost as many units in the last place as x² is large."""

    nargs = 2

    @staticmethod
    def formula(x: Any, c: Any) -> sp.Expr:
        return sp.exp(-c * x**2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, c = self.args
        return -2 * c * xgaussian(x, c) if argindex == 1 else -x * xgaussian(x, c)


class xgaussian(Stable):
    """x e^(-c x²), where c is a number: rounded once, also where e^(-c x²) has lost digits because it is too small for a normal number."""

    nargs = 2

    @staticmethod
    def formula(x: Any, c: Any) -> sp.Expr:
        return x * sp.exp(-c * x**2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, c = self.args
        return gaussian(x, c) - 2 * c * x * self if argindex == 1 else -(x**2) * self


class normal_cdf(Stable):
    """Phi(z), the standard normal distribution function, accurate in its lower tail. Derivative: the density."""

    is_positive = True

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        return (1 + sp.erf(z / sp.sqrt(2))) / 2

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return normal_pdf(self.args[0])


class normal_pdf(Stable):
    """phi(z) = e^(-z²/2)/sqrt(2 pi), the standard normal density. Derivative: -z phi(z)."""

    is_positive = True

    @staticmethod
    def formula(z: Any) -> sp.Expr:
        return sp.exp(-(z**2) / 2) / sp.sqrt(2 * sp.pi)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -self.args[0] * self


class erf_complement(Stable):
    """1 - erf(x), accurate in its tail. SymPy's own erfc makes 2 - erfc(x) of erfc(-x), which has no tail. Derivative: -2 e^(-x²)/sqrt(pi)."""

    is_positive = True

    @staticmethod
    def formula(x: Any) -> sp.Expr:
        return sp.erfc(x)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return -2 * sp.exp(-(self.args[0] ** 2)) / sp.sqrt(sp.pi)


class logit(Stable):
    """log(p/(1 - p)), accurate near 1/2 too, where it vanishes. Derivative: 1/(p (1 - p))."""

    @staticmethod
    def formula(p: Any) -> sp.Expr:
        return sp.log(p / (1 - p))

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        (p,) = self.args
        return 1 / (p * (1 - p))


class bernoulli_score(Stable):
    """t/p - (1 - t)/(1 - p), the slope of t log(p) + (1 - t) log(1 - p), where p = t too: it is 0, and 1 and -1 at p = t = 1 and 0, where 0/0 counts
    as 0. Derivatives: 1/(p (1 - p)) and -t/p² - (1 - t)/(1 - p)²."""

    nargs = 2

    @staticmethod
    def formula(t: Any, p: Any) -> sp.Expr:
        return t / p - (1 - t) / (1 - p)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        t, p = self.args
        return 1 / (p * (1 - p)) if argindex == 1 else -xdivy(xdivy(t, p), p) - xdivy(xdivy(1 - t, 1 - p), 1 - p)


class xlog1py(Stable):
    """x log(1 + y), and 0 where x is 0. Derivatives: log(1 + y) and x/(1 + y) (0 where x is 0)."""

    nargs = 2

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return x * sp.log(1 + y)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y = self.args
        return log1p(y) if argindex == 1 else xdivy(x, 1 + y)


class xlogy(Stable):
    """x log(y), and 0 where x is 0. Derivatives: log(y) and x/y (0 where x is 0)."""

    nargs = 2

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return x * sp.log(y)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y = self.args
        return sp.log(y) if argindex == 1 else xdivy(x, y)


class xdivy(Stable):
    """x/y, and 0 where x is 0: the product of a mask that is 0 and a quotient that is not finite."""

    nargs = 2

    @classmethod
    def eval(cls, x: sp.Expr, y: sp.Expr) -> sp.Expr | None:
        ratio = x / y
        return ratio if len(ratio.free_symbols) < len(x.free_symbols | y.free_symbols) else None  # t/t, p/(p/q)

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return x / y

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        y = self.args[1]
        return 1 / y if argindex == 1 else -xdivy(self, y)


class damped(Stable):
    """x y, and 0 where x is 0: the product of what vanishes fast and what grows, which may overflow sooner. Derivatives: y and x."""

    nargs = 2

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return x * y

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return self.args[2 - argindex]


class over_power(Stable):
    """x/y^n for a whole number n > 0, although y^n may overflow: divided n times. Derivatives: 1/y^n and -n x/y^(n + 1)."""

    nargs = 3

    @staticmethod
    def formula(x: Any, y: Any, n: Any) -> sp.Expr:
        return x / y**n

    def varying(self) -> tuple[sp.Expr, ...]:
        return self.args[:2]

    def constants(self) -> tuple[float, ...]:
        return (int(self.args[2]),)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y, n = self.args
        if argindex == 3:
            return -sp.log(y) * self
        return over_power(sp.S.One, y, n) if argindex == 1 else -n * over_power(x, y, n + 1)


class hypot(Stable):
    """sqrt(x² + y²), although the squares may overflow or vanish. Derivatives: x/hypot and y/hypot, 0 at the origin."""

    nargs = 2
    is_nonnegative = True

    @staticmethod
    def formula(x: Any, y: Any) -> sp.Expr:
        return sp.sqrt(x**2 + y**2)

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return xdivy(self.args[argindex - 1], self)


__all__ = [
    "Stable",
    "bernoulli_score",
    "damped",
    "erf_complement",
    "expsub",
    "gaussian",
    "guarded",
    "hypot",
    "log1mexp",
    "logaddexp",
    "logcosh",
    "logit",
    "logsubexp",
    "normal_cdf",
    "normal_pdf",
    "over_power",
    "softmax2",
    "xdivy",
    "xgaussian",
    "xlog1py",
    "xlogy",
]
