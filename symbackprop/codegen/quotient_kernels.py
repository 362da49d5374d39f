"""What compiled code calls for f(x)/x where f(0) = 0, and its derivatives (see `graph.stable_quotients` and `codegen.quotient_helpers`), and for the
logistic function of a cubic.

Sources: as there; T. J. Dekker, "A floating-point technique for extending the available precision", Numer. Math. 18 (1971), for the cubic.
"""

# mypy: disallow-untyped-decorators=False

import math
from typing import Any

import numpy as np
from numba import njit

from symbackprop.codegen.gauss import NODES, WEIGHTS

PLAIN: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}  # the rounding errors below are not to be optimised away


@njit(**PLAIN)
def _two_product(x: Any, y: Any) -> Any:
    product = x * y
    high, other = 134217729.0 * x, 134217729.0 * y
    high, other = high - (high - x), other - (other - y)
    return product, ((high * other - product) + high * (y - other) + (x - high) * other) + (x - high) * (y - other)


@njit(**PLAIN)
def sigmoid_cubic(x: Any, a: Any, a_rest: Any, b: Any, b_rest: Any) -> Any:
    """1 / (1 + exp(-(a x + b x³))): the coefficients, and the cubic too, are sums of two floats."""
    y = min(max(np.float64(x), -1e50), 1e50)
    square, low = _two_product(y, y)
    high, rest = _two_product(b, square)
    rest = rest + (b * low + b_rest * square)
    total = a + high
    part = total - a
    rest = rest + ((a - (total - part)) + (high - part)) + a_rest
    u, error = _two_product(y, total)
    error = error + y * rest
    e = math.exp(-abs(u)) * (1 - math.copysign(1.0, u) * error)
    return (1.0 if u >= 0 else e) / (1 + e)


@njit(**PLAIN)
def _derivative(kind: Any, x: Any, n: Any) -> Any:
    """The n-th derivative of f, the kinds being 0: exp(x) - 1, 1: log(1 + x), 2: sin(x), 3: tanh(x)."""
    if kind == 0:
        return math.exp(x) if n else math.expm1(x)
    if kind == 1:
        d = 1 / (1 + x)
        for k in range(1, n):
            d = -k * d / (1 + x)
        return d if n else math.log1p(x)
    if kind == 2:
        d = math.cos(x) if n % 2 else math.sin(x)
        return -d if n % 4 > 1 else d
    t, e = math.tanh(x), math.exp(-abs(x))
    if n < 2:
        return (2 * e / (1 + e * e)) ** 2 if n else t
    d = np.empty(n + 1)
    d[0], d[1] = t, (2 * e / (1 + e * e)) ** 2
    for k in range(1, n):
        binomial, d[k + 1] = 1, 0.0
        for i in range(k + 1):
            d[k + 1] -= binomial * d[i] * d[k - i]
            binomial = binomial * (k - i) // (i + 1)
    return d[n]


@njit(**PLAIN)
def _over(kind: Any, x: Any, n: Any, low: Any, high: Any) -> Any:
    """The n-th derivative of f(x)/x."""
    y = np.float64(x)
    if n == 0 and y == 0:
        return 1.0
    if n and low < y < high:
        total = 0.0
        for i in range(len(NODES)):
            total += WEIGHTS[i] * NODES[i] ** n * _derivative(kind, NODES[i] * y, n + 1)
        return total
    q = _derivative(kind, y, 0) / y
    for k in range(1, n + 1):
        q = (_derivative(kind, y, k) - k * q) / y
    return q


@njit(**PLAIN)
def expm1_over(x: Any, n: Any) -> Any:
    """The n-th derivative of (exp(x) - 1)/x; beyond 1 the factor exp(x) is put in last, in two halves."""
    y = np.float64(x)
    if not y > 1:
        return _over(0, y, n, -1.0, 1.0)
    q = -math.expm1(-y) / y
    for k in range(1, n + 1):
        q = (1 - k * q) / y
    grown = math.exp(y / 2)
    return q * grown * grown


@njit(**PLAIN)
def log1p_over(x: Any, n: Any) -> Any:
    """The n-th derivative of log(1 + x)/x."""
    return _over(1, x, n, -0.5, 2.0)


@njit(**PLAIN)
def sin_over(x: Any, n: Any) -> Any:
    """The n-th derivative of sin(x)/x."""
    return _over(2, x, n, -1.5, 1.5)


@njit(**PLAIN)
def tanh_over(x: Any, n: Any) -> Any:
    """The n-th derivative of tanh(x)/x."""
    return _over(3, x, n, -1.0, 1.0)
