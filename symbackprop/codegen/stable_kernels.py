"""What naive formulas are rewritten to, as functions of numbers for generated compiled code: `graph.stable` and `graph.stable_tails` say what each is,
`codegen.stable_helpers` and `codegen.tail_helpers` how it is computed.

Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969); M. Mächler, "Accurately computing
log(1 - exp(-|a|))" (2012).
"""

# mypy: disallow-untyped-decorators=False

import math
from typing import Any

import numpy as np
from numba import njit

from symbackprop.codegen import cody
from symbackprop.codegen.function_kernels import EXACT, exp

_ERFCX_TOP, _ERFCX_BOTTOM = cody.ERFCX
_ERFCX_FAR_TOP, _ERFCX_FAR_BOTTOM = cody.ERFCX_FAR


@njit(**EXACT)
def logaddexp(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), without overflow."""
    a, b = np.float64(a), np.float64(b)
    return a + math.log(2.0) if a == b else max(a, b) + math.log1p(exp(-abs(a - b)))


@njit(**EXACT)
def guarded(mask: Any, x: Any, safe: Any) -> Any:
    """x where the mask is 1, and a harmless number where it is 0."""
    return np.float64(x) if mask > 0 else np.float64(safe)


@njit(**EXACT)
def expsub(a: Any, b: Any) -> Any:
    """exp(a - b), with the rounding error of a - b, which is known (Knuth, TAOCP 2, section 4.2.2, theorem B), made good."""
    a, b = np.float64(a), np.float64(b)
    d = a - b
    c = d - a
    error = (a - (d - c)) - (b + c)
    e = exp(d)
    return e + e * error if abs(error) < 1 else e


@njit(**EXACT)
def softmax2(a: Any, b: Any) -> Any:
    """exp(a) / (exp(a) + exp(b)), without overflow."""
    e = expsub(min(a, b), max(a, b))
    return (1.0 if a >= b else e) / (1 + e)


@njit(**EXACT)
def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)), x > 0 (Mächler 2012)."""
    y = np.float64(x)
    return math.log(-math.expm1(-y)) if y < 0.6931471805599453 else math.log1p(-exp(-y))


@njit(**EXACT)
def logsubexp(a: Any, b: Any) -> Any:
    """log(exp(a) - exp(b)), a > b, without overflow."""
    a, b = np.float64(a), np.float64(b)
    return a + log1mexp(a - b)


@njit(**EXACT)
def logcosh(x: Any) -> Any:
    """log(cosh(x))."""
    y = abs(np.float64(x))
    if y < 1:
        return math.log1p(2 * math.sinh(y / 2) ** 2)
    return (y - 0.6931471805599453) + math.log1p(exp(-2 * y))


@njit(**EXACT)
def gaussian(x: Any, c: Any) -> Any:
    """exp(-c x²), the square in two parts of which the first is exact (Cody 1969)."""
    c = np.float64(c)
    y = min(abs(np.float64(x)), 28 / math.sqrt(c))
    high = np.floor(y * 16) / 16
    return exp(-c * high * high) * exp(-c * (y - high) * (y + high))


@njit(**EXACT)
def _horner(coefficients: Any, x: Any) -> Any:
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value


@njit(**EXACT)
def _erfcx(x: Any) -> Any:
    """exp(x²) erfc(x) for x >= 0.46875 (Cody 1969)."""
    if x <= 4:
        return _horner(_ERFCX_TOP, x) / _horner(_ERFCX_BOTTOM, x)
    z = (1 / x) ** 2
    return (0.5641895835477563 - z * (_horner(_ERFCX_FAR_TOP, z) / _horner(_ERFCX_FAR_BOTTOM, z))) / x


@njit(**EXACT)
def normal_cdf(x: Any) -> Any:
    """The standard normal distribution function."""
    z = np.float64(x)
    y = z * 0.7071067811865476
    return 0.5 * (1 + math.erf(y)) if y > -0.46875 else gaussian(z, 0.5) * _erfcx(-y) / 2


@njit(**EXACT)
def normal_pdf(x: Any) -> Any:
    """The standard normal density."""
    return 0.3989422804014327 * gaussian(x, 0.5)


@njit(**EXACT)
def erf_complement(x: Any) -> Any:
    """1 - erf(x)."""
    return math.erfc(np.float64(x))


@njit(**EXACT)
def xlogy(x: Any, y: Any) -> Any:
    """x log(y), and 0 where x is 0."""
    return np.float64(x) * math.log(np.float64(y)) if x != 0 else np.float64(0)


@njit(**EXACT)
def xdivy(x: Any, y: Any) -> Any:
    """x / y, and 0 where x is 0."""
    return np.float64(x) / np.float64(y) if x != 0 else np.float64(0)


@njit(**EXACT)
def hypot(x: Any, y: Any) -> Any:
    """sqrt(x² + y²), although the squares may overflow or vanish."""
    return math.hypot(np.float64(x), np.float64(y))


@njit(**EXACT)
def xlog1py(x: Any, y: Any) -> Any:
    """x log(1 + y), and 0 where x is 0."""
    return np.float64(x) * math.log1p(np.float64(y)) if x != 0 else np.float64(0)


@njit(**EXACT)
def logit(x: Any) -> Any:
    """log(p/(1 - p))."""
    p = np.float64(x)
    return 2 * math.atanh(2 * p - 1) if abs(p - 0.5) < 0.25 else math.log(p) - math.log1p(-p)


@njit(**EXACT)
def bernoulli_score(x: Any, y: Any) -> Any:
    """t/p - (1 - t)/(1 - p)."""
    t, p = np.float64(x), np.float64(y)
    if t == p:
        return 1.0 if t == 1 else -1.0 if t == 0 else 0.0
    return (t - p) / (p * (1 - p))


@njit(**EXACT)
def damped(x: Any, y: Any) -> Any:
    """x y, and 0 where x is 0."""
    return np.float64(x) * np.float64(y) if x != 0 else np.float64(0)


@njit(**EXACT)
def over_power(x: Any, y: Any, n: Any) -> Any:
    """x / y**n, divided n times."""
    z = np.float64(x)
    for _ in range(n):
        z = z / np.float64(y)
    return z


@njit(**EXACT)
def xgaussian(x: Any, c: Any) -> Any:
    """x exp(-c x²), the exponential in two halves."""
    c = np.float64(c)
    y = min(max(np.float64(x), -40 / math.sqrt(c)), 40 / math.sqrt(c))
    high = math.copysign(np.floor(abs(y) * 16) / 16, y)
    half = exp(-c / 2 * high * high)
    return y * half * exp(-c * (y - high) * (y + high)) * half


@njit(**EXACT)
def log_erfc(x: Any) -> Any:
    """log(1 - erf(x))."""
    y = np.float64(x)
    return math.log1p(-math.erf(y)) if y < 0.46875 else math.log(_erfcx(y)) - y * y


@njit(**EXACT)
def erfc_hazard(x: Any) -> Any:
    """2 exp(-x²) / (sqrt(pi) (1 - erf(x)))."""
    y = np.float64(x)
    return 1.1283791670955126 * (gaussian(y, 1.0) / math.erfc(y) if y < 0.46875 else 1 / _erfcx(y))


@njit(**EXACT)
def log_normal_cdf(x: Any) -> Any:
    """log(Phi(z))."""
    z = np.float64(x)
    if z < -1:
        return math.log(_erfcx(-0.7071067811865476 * z) / 2) - z / 2 * z
    return math.log(normal_cdf(z)) if z < 0 else math.log1p(-normal_cdf(-z))


@njit(**EXACT)
def normal_hazard(x: Any) -> Any:
    """phi(z) / Phi(z)."""
    z = np.float64(x)
    return 0.7978845608028654 / _erfcx(-0.7071067811865476 * z) if z < -1 else 0.3989422804014327 * gaussian(z, 0.5) / normal_cdf(z)
