"""Formulas as people write them, and arguments at which floating point loses them.

Each is written once, in the words of a namespace `m` (exp, log, sqrt ...), so that SymPy, PyTorch, JAX and PyTensor all get the very same one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from math import inf
from typing import Any

import mpmath
import numpy as np

SMALL = (1e-20, 1e-8, 1e-3, 0.1, 0.5, 1.0, 2.5, 10.0, 40.0, 750.0, 1e4)
HUGE = {"float64": (1e19, 3e19, 1e100, 1e200, 1e300), "float32": (1e19, 3e19, 1e35)}
TINY = {"float64": 1e-300, "float32": 1e-30}
PAIRS = (0.0, 1e-8, 0.5, 1.0, -1.0, 10.0, -40.0, 750.0, 1e4)

Point = tuple[float, ...]


@dataclass(frozen=True)
class Formula:
    """`build(m, *variables)`. `where`: which points mean something. `ends`: (f, f') at -inf and at inf, where both have a limit. `known`: (value,
    slopes) at a point where the formula has a limit or a convention that it does not say itself, else None. `exact`: (value, slopes) by mpmath, where
    no number of digits would do for the formula as it is written, as for 1 - erf(1e19), or too many. `row`: the formula of an array, along whose last axis
    the variables stand. `target`: "label" or "one-hot", for a row of a loss whose target is the first class; it is then a second argument, as coded."""

    name: str
    build: Callable[..., Any]
    variables: int = 1
    where: Callable[..., bool] = lambda *_: True
    ends: tuple[tuple[float, float] | None, tuple[float, float] | None] = (None, None)
    known: Callable[..., tuple[float | None, ...] | None] = lambda *_: None
    exact: Callable[..., tuple[Any, ...]] | None = None
    row: Callable[..., Any] | None = None
    target: str = ""

    def points(self, dtype: str) -> list[Point]:
        """The finite arguments and, where there are limits, the infinite ones, as numbers of the precision."""
        return list(dict.fromkeys(tuple(float(np.dtype(dtype).type(x)) for x in p) for p in self._points(dtype)))

    def _points(self, dtype: str) -> list[Point]:
        if self.variables == 1:
            sizes = (TINY[dtype], *SMALL, *HUGE[dtype])
            line = [(s * x,) for s in (-1.0, 1.0) for x in sizes] + [(0.0,)]
            line += [((-inf, inf)[i],) for i in (0, 1) if self.ends[i] is not None]
            return [p for p in line if abs(p[0]) == inf or self.where(*p)]
        if self.row is not None:
            return [q for x in (0.0, *SMALL) for q in ((x, 0.0, -x), (-x, -x, x), (x, x, x)) if self.where(*q)]
        values = (*PAIRS, TINY[dtype], -TINY[dtype])
        return [p for p in product(values, repeat=self.variables) if self.where(*p)]


def sigmoid(m: Any, z: Any) -> Any:
    return 1 / (1 + m.exp(-z))


def gelu_tanh(m: Any, z: Any) -> Any:
    return z * (1 + m.tanh(m.sqrt(2 / m.pi) * (z + 0.044715 * z**3))) / 2


def focal(m: Any, z: Any) -> Any:
    p = sigmoid(m, z)
    return -((1 - p) ** 2) * m.log(p)


def soft_cross_entropy(m: Any, z: Any) -> Any:
    p = sigmoid(m, z)
    return -(m.log(p) / 10 + 9 * m.log(1 - p) / 10)


def at_zero(*limits: float) -> Callable[..., tuple[float, ...] | None]:
    """The limits of a formula that reads 0/0 at 0: its value and slope."""
    return lambda x: limits if x == 0 else None


def normal_tail(z: Any) -> tuple[Any, Any]:
    """log(1 + erf(z)) and its slope; far out by the asymptotic series of Abramowitz & Stegun (1964), 7.1.23, which mpmath's own does not reach."""
    if abs(z) < 1e4:
        rest = mpmath.erfc(-z)
        return mpmath.log(rest), 2 * mpmath.exp(-z * z) / (mpmath.sqrt(mpmath.pi) * rest)
    if z > 0:
        return mpmath.log(2), mpmath.mpf(0)
    q = 1 / (2 * z * z)
    scaled = -(1 - q + 3 * q**2 - 15 * q**3 + 105 * q**4) / (z * mpmath.sqrt(mpmath.pi))
    return mpmath.log(scaled) - z * z, 2 / (mpmath.sqrt(mpmath.pi) * scaled)


def normal_logs(z: Any) -> tuple[Any, Any]:
    """log((1 + erf(z/sqrt(2)))/2) and its slope."""
    value, slope = normal_tail(z / mpmath.sqrt(2))
    return value - mpmath.log(2), slope / mpmath.sqrt(2)


def softplus(z: Any) -> tuple[Any, Any]:
    """log(1 + exp(z)) and its slope."""
    return mpmath.log1p(mpmath.exp(z)), 1 / (1 + mpmath.exp(-z))


def soft_cross_entropies(z: Any) -> tuple[Any, ...]:
    return tuple(a / 10 + 9 * b / 10 for a, b in zip(negated(softplus(-z), 1, -1), softplus(z), strict=True))


def negated(pair: tuple[Any, Any], value: int = -1, slope: int = -1) -> tuple[Any, Any]:
    return value * pair[0], slope * pair[1]


def survival(m: Any, x: Any) -> Any:
    """1 - Phi(x), what the standard normal distribution has above x."""
    return 1 - (1 + m.erf(x / m.sqrt(2))) / 2


def survival_logs(x: Any) -> tuple[Any, Any]:
    """log(1 - Phi(x)) and its slope."""
    return negated(normal_logs(-x), 1)


def hazards(x: Any) -> tuple[Any, Any]:
    """The density over 1 - Phi(x), h, and its slope, h (h - x); far out by h - x = 1/x - 2/x³ + 10/x⁵ ..., from Abramowitz & Stegun (1964), 26.2.14."""
    h = normal_logs(-x)[1]
    return h, h * (h - x if x < 1e4 else 1 / x - 2 / x**3 + 10 / x**5)


def scaled_erfc(x: Any) -> tuple[Any, Any]:
    """exp(x²) erfc(x), y, and its slope, 2 x y - 2/sqrt(pi); far out by the asymptotic series of Abramowitz & Stegun (1964), 7.1.23."""
    root = mpmath.sqrt(mpmath.pi)
    if abs(x) < 1e4:
        y = mpmath.exp(x * x) * mpmath.erfc(x)
        return y, 2 * x * y - 2 / root
    q = 1 / (2 * x * x)
    rest = q - 3 * q**2 + 15 * q**3
    return (mpmath.inf, -mpmath.inf) if x < 0 else ((1 - rest) / (root * x), -2 * rest / root)


def log1p_tanh(x: Any) -> tuple[Any, Any]:
    """log(1 + tanh(x)) = x - log(cosh(x)) and its slope."""
    return mpmath.log(2) - softplus(-2 * x)[0], 2 / (1 + mpmath.exp(2 * x))


def entropy(m: Any, z: Any) -> Any:
    p = sigmoid(m, z)
    return -(p * m.log(p) + (1 - p) * m.log(1 - p))


def entropies(z: Any) -> tuple[Any, Any]:
    """The entropy of p = 1/(1 + exp(-z)), and its slope, -z p (1 - p)."""
    (a, p), (b, q) = softplus(z), softplus(-z)
    return p * b + q * a, -z * p * q


def bernoulli(m: Any, p: Any, t: Any) -> Any:
    return -t * m.log(p) - (1 - t) * m.log(1 - p)


def bernoulli_limits(p: float, t: float) -> tuple[float | None, ...] | None:
    """At p = t = 0 and 1, with t log(p) = 0 where t = 0: 1 - 0/0 and -1 + 0/0, where 0/0 counts as 0."""
    return {0.0: (0.0, 1.0, inf), 1.0: (0.0, -1.0, -inf)}.get(p) if p == t else None


def soft_cross_entropies_of_logits(z: Any) -> tuple[Any, ...]:
    return tuple((7 * a + 3 * b) / 10 for a, b in zip(softplus(z), negated(softplus(-z), 1, -1), strict=True))


def log_sum(m: Any, *z: Any) -> Any:
    return m.log(sum(m.exp(x) for x in z))


def of_logits(m: Any, z: Any, t: Any) -> Any:
    """Cross-entropy as it is written down."""
    return m.log(m.sum(m.exp(z))) - m.sum(t * z)


def divergence(m: Any, a: Any, b: Any, c: Any) -> Any:
    """Of softmax(z) from softmax(-z)."""
    p, q = [m.exp(x - log_sum(m, a, b, c)) for x in (a, b, c)], [m.exp(-x - log_sum(m, -a, -b, -c)) for x in (a, b, c)]
    return sum(x * m.log(x / y) for x, y in zip(p, q, strict=True))


def divergence_of_rows(m: Any, z: Any) -> Any:
    p, q = m.softmax(z), m.softmax(-z)
    return m.sum(p * m.log(p / q))


def positive(x: float, *_: float) -> bool:
    return x > 0


def nonzero(x: float) -> bool:
    return x != 0


FORMULAS: tuple[Formula, ...] = (
    # the logistic function and its logarithm
    Formula("1/(1 + exp(-z))", sigmoid, ends=((0, 0), (1, 0))),
    Formula("exp(z)/(1 + exp(z))", lambda m, z: m.exp(z) / (1 + m.exp(z)), ends=((0, 0), (1, 0))),
    Formula("log(1/(1 + exp(-z)))", lambda m, z: m.log(sigmoid(m, z)), ends=((-inf, 1), (0, 0))),
    Formula("log(1 - 1/(1 + exp(-z)))", lambda m, z: m.log(1 - sigmoid(m, z)), ends=((0, 0), (-inf, -1)), exact=lambda z: negated(softplus(z))),
    Formula("log(1 + exp(z))", lambda m, z: m.log(1 + m.exp(z)), ends=((0, 0), (inf, 1))),
    Formula("log(1 + exp(-z))", lambda m, z: m.log(1 + m.exp(-z)), ends=((inf, -1), (0, 0))),
    Formula("s (1 - s), s = 1/(1 + exp(-z))", lambda m, z: sigmoid(m, z) * (1 - sigmoid(m, z)), ends=((0, 0), (0, 0))),
    Formula("exp(-z)/(1 + exp(-z))^2", lambda m, z: m.exp(-z) / (1 + m.exp(-z)) ** 2),
    Formula("1 - 1/(1 + exp(-z))", lambda m, z: 1 - sigmoid(m, z), ends=((1, 0), (0, 0))),
    Formula(
        "cross-entropy of p = 1/(1 + exp(-z)), t = 1/10",
        soft_cross_entropy,
        ends=((inf, -Fraction(1, 10)), (inf, Fraction(9, 10))),
        exact=soft_cross_entropies,
    ),
    Formula("focal loss, -(1 - p)^2 log(p)", focal),
    # hyperbolic functions
    Formula("(exp(z) - exp(-z))/(exp(z) + exp(-z))", lambda m, z: (m.exp(z) - m.exp(-z)) / (m.exp(z) + m.exp(-z)), ends=((-1, 0), (1, 0))),
    Formula("(exp(2z) - 1)/(exp(2z) + 1)", lambda m, z: (m.exp(2 * z) - 1) / (m.exp(2 * z) + 1), ends=((-1, 0), (1, 0))),
    Formula("(1 - exp(-2z))/(1 + exp(-2z))", lambda m, z: (1 - m.exp(-2 * z)) / (1 + m.exp(-2 * z)), ends=((-1, 0), (1, 0))),
    Formula("2/(1 + exp(-2z)) - 1", lambda m, z: 2 / (1 + m.exp(-2 * z)) - 1, ends=((-1, 0), (1, 0))),
    Formula("sinh(z)/cosh(z)", lambda m, z: m.sinh(z) / m.cosh(z), ends=((-1, 0), (1, 0))),
    Formula("tanh(z)", lambda m, z: m.tanh(z), ends=((-1, 0), (1, 0))),
    Formula("1 - tanh(z)^2", lambda m, z: 1 - m.tanh(z) ** 2, ends=((0, 0), (0, 0))),
    Formula("1 - tanh(z)", lambda m, z: 1 - m.tanh(z), ends=((2, 0), (0, 0))),
    Formula("1/cosh(z)", lambda m, z: 1 / m.cosh(z), ends=((0, 0), (0, 0))),
    Formula("log(cosh(z))", lambda m, z: m.log(m.cosh(z)), ends=((inf, -1), (inf, 1))),
    Formula("log((exp(z) + exp(-z))/2)", lambda m, z: m.log((m.exp(z) + m.exp(-z)) / 2), ends=((inf, -1), (inf, 1))),
    Formula("cosh(z) - 1", lambda m, z: m.cosh(z) - 1),
    # exponentials and logarithms
    Formula("exp(x) - 1", lambda m, x: m.exp(x) - 1, ends=((-1, 0), None)),
    Formula("(exp(s) - 1 - s)/2", lambda m, s: (m.exp(s) - 1 - s) / 2, ends=((inf, -0.5), None)),
    Formula("log(1 + x)", lambda m, x: m.log(1 + x), where=lambda x: x > -1, ends=(None, (inf, 0))),
    Formula("log(1 + x^2)", lambda m, x: m.log(1 + x**2), ends=(None, None)),
    Formula("log(1 - exp(-x))", lambda m, x: m.log(1 - m.exp(-x)), where=positive, ends=(None, (0, 0))),
    Formula("log(exp(x) - 1)", lambda m, x: m.log(m.exp(x) - 1), where=positive),
    Formula("log(exp(a) + exp(b))", lambda m, a, b: m.log(m.exp(a) + m.exp(b)), 2),
    Formula("log(exp(a) - exp(b))", lambda m, a, b: m.log(m.exp(a) - m.exp(b)), 2, where=lambda a, b: a > b),
    Formula("exp(a)/(exp(a) + exp(b))", lambda m, a, b: m.exp(a) / (m.exp(a) + m.exp(b)), 2),
    Formula("exp(-x^2)", lambda m, x: m.exp(-(x**2)), ends=((0, None), (0, None))),
    Formula("exp(-x^2/2)", lambda m, x: m.exp(-(x**2) / 2)),
    # the error function
    Formula("1 - erf(x)", lambda m, x: 1 - m.erf(x), ends=((2, 0), (0, 0))),
    Formula("1 + erf(x)", lambda m, x: 1 + m.erf(x), ends=((0, 0), (2, 0))),
    Formula("(1 + erf(z/sqrt(2)))/2", lambda m, z: (1 + m.erf(z / m.sqrt(2))) / 2, ends=((0, 0), (1, 0))),
    Formula("log(1 + erf(z))", lambda m, z: m.log(1 + m.erf(z)), exact=normal_tail),
    Formula("log(erfc(z))", lambda m, z: m.log(m.erfc(z)), exact=lambda z: negated(normal_tail(-z), 1, -1)),
    Formula("log((1 + erf(z/sqrt(2)))/2)", lambda m, z: m.log((1 + m.erf(z / m.sqrt(2))) / 2), exact=normal_logs),
    Formula("gelu, z (1 + erf(z/sqrt(2)))/2", lambda m, z: z * (1 + m.erf(z / m.sqrt(2))) / 2),
    Formula("gelu by tanh", gelu_tanh),
    # activations
    Formula("silu, z/(1 + exp(-z))", lambda m, z: z / (1 + m.exp(-z))),
    Formula("mish, z tanh(log(1 + exp(z)))", lambda m, z: z * m.tanh(m.log(1 + m.exp(z)))),
    Formula("elu, by cases", lambda m, z: m.where(z > 0, z, m.exp(z) - 1), ends=((-1, 0), (inf, 1))),
    Formula("softsign, x/(1 + |x|)", lambda m, x: x / (1 + m.abs(x))),
    Formula("x/sqrt(1 + x^2)", lambda m, x: x / m.sqrt(1 + x**2)),
    Formula("1/(1 + x^2)", lambda m, x: 1 / (1 + x**2), ends=((0, None), (0, None))),
    Formula("max(0, x)", lambda m, x: m.max(x), known=lambda x: (0, 0) if x == 0 else None, ends=((0, 0), (inf, 1))),
    Formula("max(0, 1 - x)^2", lambda m, x: m.max(1 - x) ** 2),
    # roots and trigonometric functions
    Formula("sqrt(1 + x) - 1", lambda m, x: m.sqrt(1 + x) - 1, where=lambda x: x > -1),
    Formula("sqrt(x + 1) - sqrt(x)", lambda m, x: m.sqrt(x + 1) - m.sqrt(x), where=positive),
    Formula("sqrt(1 + x^2) - 1", lambda m, x: m.sqrt(1 + x**2) - 1),
    Formula("sqrt(x^2 + y^2)", lambda m, x, y: m.sqrt(x**2 + y**2), 2, known=lambda x, y: (0, 0, 0) if x == y == 0 else None),
    Formula("x/sqrt(x^2 + y^2)", lambda m, x, y: x / m.sqrt(x**2 + y**2), 2, where=lambda x, y: x != 0 or y != 0),
    Formula("1 - cos(x)", lambda m, x: 1 - m.cos(x)),
    Formula("log(x + sqrt(x^2 + 1))", lambda m, x: m.log(x + m.sqrt(x**2 + 1))),
    Formula("log(x + sqrt(x^2 - 1))", lambda m, x: m.log(x + m.sqrt(x**2 - 1)), where=lambda x: x > 1),
    Formula("log((1 + x)/(1 - x))/2", lambda m, x: m.log((1 + x) / (1 - x)) / 2, where=lambda x: abs(x) < 1),
    # removable singularities
    Formula("log(1 + x)/x", lambda m, x: m.log(1 + x) / x, where=lambda x: x > -1, known=at_zero(1, -0.5)),
    Formula("(exp(x) - 1)/x", lambda m, x: (m.exp(x) - 1) / x, known=at_zero(1, 0.5), ends=((0, 0), None)),
    Formula("sin(x)/x", lambda m, x: m.sin(x) / x, known=at_zero(1, 0)),
    Formula("(1 - cos(x))/x^2", lambda m, x: (1 - m.cos(x)) / x**2, known=at_zero(0.5, 0)),
    Formula("tanh(x)/x", lambda m, x: m.tanh(x) / x, known=at_zero(1, 0), ends=((0, 0), (0, 0))),
    # 0 times what is not finite
    Formula(
        "-t log(p) - (1 - t) log(1 - p)",
        bernoulli,
        2,
        where=lambda p, t: 0 <= t <= 1 and (0 < p < 1 or p == t in (0, 1)),
        known=bernoulli_limits,
    ),
    Formula(
        "x log(x) + (1 - x) log(1 - x)",
        lambda m, x: x * m.log(x) + (1 - x) * m.log(1 - x),
        where=lambda x: 0 <= x <= 1,
        known=lambda x: {0.0: (0.0, -inf), 1.0: (0.0, inf)}.get(x),
    ),
    Formula("log(p/(1 - p))", lambda m, p: m.log(p / (1 - p)), where=lambda p: 0 < p < 1),
    Formula("x log(x)", lambda m, x: x * m.log(x), where=lambda x: x >= 0, known=lambda x: (0, -inf) if x == 0 else None),
    Formula(
        "x log(y)",
        lambda m, x, y: x * m.log(y),
        2,
        where=lambda x, y: x >= 0 and (y > 0 or x == y),
        known=lambda x, y: (0, -inf, 0) if x == y == 0 else None,
    ),
    Formula("p log(p/q)", lambda m, p, q: p * m.log(p / q), 2, where=lambda p, q: p > 0 and q > 0),
    Formula("sqrt(x) where x > 0, else 0", lambda m, x: m.where(x > 0, m.sqrt(x), 0 * x)),
    Formula("log(x) where x > 1, else x - 1", lambda m, x: m.where(x > 1, m.log(x), x - 1)),
    Formula("sqrt(max(0, x))", lambda m, x: m.sqrt(m.max(x)), known=lambda x: (0, 0) if x <= 0 else None),
    Formula("sqrt(|x|)", lambda m, x: m.sqrt(m.abs(x)), known=lambda x: (0, 0) if x == 0 else None),
    # relatives of these with other constants, other signs, other powers
    Formula("log(2 + exp(x))", lambda m, x: m.log(2 + m.exp(x)), ends=(None, (inf, 1))),
    Formula("log(2 + 3 exp(x))", lambda m, x: m.log(2 + 3 * m.exp(x))),
    Formula("log(1 + exp(x)/7)", lambda m, x: m.log(1 + m.exp(x) / 7), ends=((0, 0), (inf, 1))),
    Formula("log(1 + exp(x) + exp(-x))", lambda m, x: m.log(1 + m.exp(x) + m.exp(-x)), ends=((inf, -1), (inf, 1))),
    Formula("log(2 exp(a) + 7 exp(b))", lambda m, a, b: m.log(2 * m.exp(a) + 7 * m.exp(b)), 2),
    Formula("1/(2 + exp(-x))", lambda m, x: 1 / (2 + m.exp(-x)), ends=((0, 0), (0.5, 0))),
    Formula("exp(x)/(2 + exp(x))", lambda m, x: m.exp(x) / (2 + m.exp(x)), ends=((0, 0), (1, 0))),
    Formula("1/(exp(x) - 1)", lambda m, x: 1 / (m.exp(x) - 1), where=nonzero, ends=((-1, 0), (0, 0))),
    Formula("x/(exp(x) - 1)", lambda m, x: x / (m.exp(x) - 1), known=at_zero(1, -0.5)),
    Formula("exp(x) exp(1 - x)", lambda m, x: m.exp(x) * m.exp(1 - x), where=lambda x: abs(x) < 1e15),  # beyond, 1 - x is -x
    Formula("log(2 cosh(x))", lambda m, x: m.log(2 * m.cosh(x)), ends=((inf, -1), (inf, 1))),
    Formula("log(sinh(x))", lambda m, x: m.log(m.sinh(x)), where=positive, ends=(None, (inf, 1))),
    Formula("cosh(x)/sinh(x)", lambda m, x: m.cosh(x) / m.sinh(x), where=nonzero, ends=((-1, 0), (1, 0))),
    Formula(
        "(exp(x) + exp(-x))/(exp(x) - exp(-x))",
        lambda m, x: (m.exp(x) + m.exp(-x)) / (m.exp(x) - m.exp(-x)),
        where=nonzero,
        ends=((-1, 0), (1, 0)),
    ),
    Formula("log(1/(1 + exp(-z))^2)", lambda m, z: m.log(sigmoid(m, z) ** 2), ends=((-inf, 2), (0, 0))),
    Formula("log(1 + tanh(x))", lambda m, x: m.log(1 + m.tanh(x)), exact=log1p_tanh),
    Formula("log(1 - tanh(x)^2)", lambda m, x: m.log(1 - m.tanh(x) ** 2), exact=lambda x: (-2 * mpmath.log(mpmath.cosh(x)), -2 * mpmath.tanh(x))),
    Formula("log(tanh(x))", lambda m, x: m.log(m.tanh(x)), where=positive, ends=(None, (0, 0))),
    Formula("entropy of p = 1/(1 + exp(-z))", entropy, exact=entropies),
    Formula("log(1 + 3 x^2)", lambda m, x: m.log(1 + 3 * x**2)),
    Formula("log(2 + x^2)", lambda m, x: m.log(2 + x**2)),
    Formula("x^2/(1 + x^2)", lambda m, x: x**2 / (1 + x**2)),
    Formula("x^3/(1 + x^2)", lambda m, x: x**3 / (1 + x**2)),
    Formula("sqrt(1 + 4 x^2) - 1", lambda m, x: m.sqrt(1 + 4 * x**2) - 1),
    Formula("sqrt(4 + x^2) - 2", lambda m, x: m.sqrt(4 + x**2) - 2),
    Formula("sqrt(x^2 + 1) - x", lambda m, x: m.sqrt(x**2 + 1) - x),
    Formula("1 - 1/sqrt(1 + x^2)", lambda m, x: 1 - 1 / m.sqrt(1 + x**2)),
    Formula("log(1 + x) - x", lambda m, x: m.log(1 + x) - x, where=lambda x: x > -1),
    Formula("x - sin(x)", lambda m, x: x - m.sin(x)),
    Formula("sinh(x) - x", lambda m, x: m.sinh(x) - x),
    Formula("x - tanh(x)", lambda m, x: x - m.tanh(x)),
    Formula("exp(x^2) erfc(x)", lambda m, x: m.exp(x**2) * m.erfc(x), exact=scaled_erfc),
    Formula("exp(-x^2/2)/sqrt(2 pi)/(1 - Phi(x))", lambda m, x: m.exp(-(x**2) / 2) / m.sqrt(2 * m.pi) / survival(m, x), exact=hazards),
    Formula("log(1 - Phi(x))", lambda m, x: m.log(survival(m, x)), exact=survival_logs),
    Formula("log(erf(x))", lambda m, x: m.log(m.erf(x)), where=lambda x: 0 < x < 1e5),
    # along an axis
    Formula("log(sum(exp(z)))", lambda m, a, b, c: m.log(m.exp(a) + m.exp(b) + m.exp(c)), 3, row=lambda m, z: m.log(m.sum(m.exp(z)))),
    Formula(
        "exp(z)/sum(exp(z)), the first",
        lambda m, a, b, c: m.exp(a) / (m.exp(a) + m.exp(b) + m.exp(c)),
        3,
        row=lambda m, z: m.first(m.exp(z) / m.keep(m.exp(z))),
    ),
    Formula(
        "log(exp(z)/sum(exp(z))), the first",
        lambda m, a, b, c: m.log(m.exp(a) / (m.exp(a) + m.exp(b) + m.exp(c))),
        3,
        row=lambda m, z: m.first(m.log(m.exp(z) / m.keep(m.exp(z)))),
    ),
    # losses
    Formula("log(1 + exp(z)) - z", lambda m, z: m.log(1 + m.exp(z)) - z, exact=lambda z: negated(softplus(-z), 1, -1)),
    Formula("log(1 + exp(z)) - 3 z/10", lambda m, z: m.log(1 + m.exp(z)) - 3 * z / 10, exact=soft_cross_entropies_of_logits),
    Formula(
        "-(3 log(p) + 7 log(1 - p))/10, p = 1/(1 + exp(-z))",
        lambda m, z: -(3 * m.log(sigmoid(m, z)) + 7 * m.log(1 - sigmoid(m, z))) / 10,
        exact=soft_cross_entropies_of_logits,
    ),
    Formula("log(sum(exp(z))) - z_t, t a label", lambda m, a, b, c: log_sum(m, a, b, c) - a, 3, row=of_logits, target="label"),
    Formula("log(sum(exp(z))) - t z, t one-hot", lambda m, a, b, c: log_sum(m, a, b, c) - a, 3, row=of_logits, target="one-hot"),
    Formula(
        "the same, smoothed: t = (27 onehot + 1)/30",
        lambda m, a, b, c: log_sum(m, a, b, c) - (28 * a + b + c) / 30,
        3,
        row=lambda m, z, t: of_logits(m, z, (27 * t + 1) / 30),
        target="label",
    ),
    Formula(
        "-log(exp(z)/sum(exp(z)))_t",
        lambda m, a, b, c: log_sum(m, a, b, c) - a,
        3,
        row=lambda m, z, t: -m.sum(t * m.log(m.exp(z) / m.keep(m.exp(z)))),
        target="label",
    ),
    Formula("-log_softmax(z)_t", lambda m, a, b, c: log_sum(m, a, b, c) - a, 3, row=lambda m, z, t: -m.sum(t * m.log_softmax(z)), target="one-hot"),
    Formula("KL divergence of softmax(z) from softmax(-z)", divergence, 3, row=divergence_of_rows),
    Formula("huber, z^2/2 or |z| - 1/2", lambda m, z: m.where(m.abs(z) <= 1, z**2 / 2, m.abs(z) - 0.5), ends=((inf, -1), (inf, 1))),
    Formula("hinge, max(0, 1 - z)", lambda m, z: m.max(1 - z), known=lambda z: (0, 0) if z == 1 else None, ends=((inf, -1), (0, 0))),
    Formula(
        "cosine of z and the first axis",
        lambda m, a, b, c: a / m.sqrt(a**2 + b**2 + c**2),
        3,
        where=lambda a, *_: a != 0,
        row=lambda m, z, t: m.sum(t * z) / (m.sqrt(m.sum(z**2)) * m.sqrt(m.sum(t**2))),
        target="one-hot",
    ),
)  # fmt: skip
