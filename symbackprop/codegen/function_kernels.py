"""Functions of numbers that compilers can vectorise, for generated compiled code.

Sources: Cody & Waite, Software Manual for the Elementary Functions (1980), chapter 6 (the exponential by argument reduction);
Goodfellow, Bengio & Courville, Deep Learning, section 3.10 (the logistic function and softplus).
"""

# mypy: disallow-untyped-decorators=False

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

# A sum may be regrouped, which is what lets it be vectorised; infinities and NaN keep their meaning.
COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}
EXACT = {**COMPILED, "fastmath": {"contract"}}  # the argument reductions below rely on the order of their operations

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has trailing zeros, so that k times it is exact
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the last bits


@njit(**EXACT)
def _power_of_two(k: Any) -> Any:
    """2**k for an integer k (as a float) from -1022 to 1023, written into the exponent bits."""
    bits = np.int64(np.float64(k + _ROUND).view(np.int64))
    return np.float64(np.int64((bits + 1023) << 52).view(np.float64))


@njit(**EXACT)
def _reduced_expm1(x: Any, k: Any) -> Any:
    """exp(x - k log 2) - 1 for |x - k log 2| <= log(2)/2, by Taylor's series."""
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    return p * r * r + r


@njit(**EXACT)
def exp(x: Any) -> Any:
    """The exponential, in double precision whatever x is."""
    x = -746.0 if x < -746.0 else np.float64(x)
    x = 710.0 if x > 710.0 else x
    k = (x * _LOG2_E + _ROUND) - _ROUND
    half = np.floor(k * 0.5)  # in two factors, so that neither leaves the range of exponents
    return (1 + _reduced_expm1(x, k)) * _power_of_two(half) * _power_of_two(k - half)


@njit(**EXACT)
def tanh(x: Any) -> Any:
    """The hyperbolic tangent, from exp(-2|x|) - 1: accurate near zero too."""
    y = np.float64(-2 * abs(x))
    y = np.float64(-80) if y < -80 else y
    k = (y * _LOG2_E + _ROUND) - _ROUND
    scale = _power_of_two(k)
    e = scale * _reduced_expm1(y, k) + (scale - 1)
    return math.copysign(e / (2 + e), x)


@njit(**EXACT)
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    e = exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1 + e)


@njit(**EXACT)
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return (x if x > 0 else np.float64(0)) + math.log1p(exp(-abs(x)))


def relu(x: Any) -> Any:
    """max(0, x), in the precision of x; NaN stays NaN."""
    return x if not x <= 0 else type(x)(0)


@overload(relu)
def _relu(x):  # type: ignore[no-untyped-def]  # compilers compare the signatures
    zero = np.float32(0) if x == types.float32 else np.float64(0)
    return lambda x: x if not x <= zero else zero


@njit(**EXACT)
def step(x: Any) -> Any:
    """1 where x > 0, else 0."""
    return 1.0 if x > 0 else 0.0


@njit(**EXACT)
def sign(x: Any) -> Any:
    """-1, 0 or 1; NaN stays NaN."""
    return 1.0 if x > 0 else -1.0 if x < 0 else np.float64(x)


@njit(**EXACT)
def sech(x: Any) -> Any:
    """The hyperbolic secant, although cosh may overflow."""
    e = exp(-abs(x))
    return 2 * e / (1 + e * e)
