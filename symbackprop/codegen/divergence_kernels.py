"""The divergence of two softmaxes and its slopes, for generated compiled code: `graph.operators.divergence` says what each computes,
`codegen.divergence_helpers` how NumPy does. Of arrays cut into (before, along, after); in double precision, whatever the arrays are.
"""

# mypy: disallow-untyped-decorators=False

import math
from typing import Any

import numpy as np
from numba import njit

from symbackprop.codegen.function_kernels import EXACT, exp
from symbackprop.codegen.stable_kernels import expsub

_SERIES = tuple(1 / math.factorial(n) for n in range(19, 1, -1))  # of (exp(x) - 1 - x)/x²


@njit(**EXACT)
def _expm1mx(x: Any) -> Any:
    """exp(x) - 1 - x: near zero by its series (Abramowitz & Stegun, 4.2.1)."""
    if not -1 < x < 1:
        return math.expm1(x) - x
    total = 0.0
    for c in _SERIES:
        total = total * x + c
    return total * x * x


@njit(**EXACT)
def _difference(a: Any, b: Any) -> Any:
    """b - a and the rounding error of that (Knuth, TAOCP 2, section 4.2.2, theorem B)."""
    a, b = np.float64(a), np.float64(b)
    d = b - a
    c = d - b
    error = (b - (d - c)) - (a + c)
    return d, error if math.isfinite(error) else 0.0


@njit(**EXACT)
def _top_and_rest(x: Any, i: int, k: int) -> Any:
    """The place of the first largest entry, and the sum of exp(x - m) of all entries but that one, m."""
    top, rest = 0, 0.0
    for j in range(1, x.shape[1]):
        if x[i, top, k] == x[i, top, k] and not x[i, j, k] <= x[i, top, k]:
            top = j
    for j in range(x.shape[1]):
        if j != top:
            rest += expsub(x[i, j, k], x[i, top, k])
    return top, rest


@njit(**EXACT)
def _centre(a: Any, b: Any, i: int, k: int, top: int) -> Any:
    """The mean of the differences, and of their errors, where the share of a is above half of the largest."""
    count = 0
    for j in range(a.shape[1]):
        count += expsub(a[i, j, k], a[i, top, k]) > 0.5
    first, error = 0.0, 0.0
    for j in range(a.shape[1]):
        if expsub(a[i, j, k], a[i, top, k]) > 0.5:
            d, low = _difference(a[i, j, k], b[i, j, k])
            first, error = first + d / count, error + low / count
    return first, error


@njit(**EXACT)
def _from(a: Any, b: Any, first: Any, error: Any) -> Any:
    """How much more b - a is than what was found to be their centre."""
    d, low = _difference(a, b)
    return (d - first) + (low - error)


@njit(**EXACT)
def _apart(a: Any, b: Any, i: int, k: int) -> Any:
    """Of p = softmax(a): where it is largest, the sum of exponentials, the centre of b - a, and its mean from there."""
    top, rest = _top_and_rest(a, i, k)
    first, error = _centre(a, b, i, k, top)
    near, small = 0.0, 0.0
    for j in range(a.shape[1]):
        e = expsub(a[i, j, k], a[i, top, k])
        if e != 0:
            d = _from(a[i, j, k], b[i, j, k], first, error)
            near += d if e > 0.5 else 0.0
            small += d * (math.expm1(np.float64(a[i, j, k]) - np.float64(a[i, top, k])) if e > 0.5 else e)
    return top, rest, first, error, (near + small) / (1 + rest)


@njit(**EXACT)
def _spread(a: Any, b: Any, i: int, k: int, top: int, rest: Any, first: Any, error: Any, mean: Any) -> Any:
    """sum(p (exp(d') - 1 - d')) of d' = b - a less its mean."""
    at_top = exp(_from(a[i, top, k], b[i, top, k], first, error) - mean)
    total = 0.0
    for j in range(a.shape[1]):
        e = expsub(a[i, j, k], a[i, top, k])
        d = _from(a[i, j, k], b[i, j, k], first, error) - mean if e != 0 else 0.0
        if e != 0 and d < 2:
            total += e * _expm1mx(d)
        else:  # here d' would magnify errors
            total += expsub(b[i, j, k], b[i, top, k]) * at_top - e * (1 + d)
    return total / (1 + rest)


@njit(**EXACT)
def divergence(out: Any, a: Any, b: Any) -> None:
    """sum(p log(p/q)) of p = softmax(a) and q = softmax(b)."""
    for i in range(a.shape[0]):
        for k in range(a.shape[2]):
            top, rest, first, error, mean = _apart(a, b, i, k)
            s = _spread(a, b, i, k, top, rest, first, error, mean)
            if s < 1:
                out[i, k] = math.log1p(s)
                continue
            high, others = _top_and_rest(b, i, k)
            log_a, log_b, value = math.log1p(rest), math.log1p(others), 0.0
            for j in range(a.shape[1]):
                e = expsub(a[i, j, k], a[i, top, k])
                if e != 0:
                    logs = (np.float64(a[i, j, k]) - a[i, top, k] - log_a) - (np.float64(b[i, j, k]) - b[i, high, k] - log_b)
                    value += e / (1 + rest) * logs
            out[i, k] = value


@njit(**EXACT)
def divergence_slope(out: Any, a: Any, b: Any) -> None:
    """p (log(p/q) - sum(p log(p/q))) of p = softmax(a) and q = softmax(b)."""
    for i in range(a.shape[0]):
        for k in range(a.shape[2]):
            top, rest, first, error, mean = _apart(a, b, i, k)
            for j in range(a.shape[1]):
                e = expsub(a[i, j, k], a[i, top, k])
                out[i, j, k] = -e / (1 + rest) * (_from(a[i, j, k], b[i, j, k], first, error) - mean) if e != 0 else 0.0


@njit(**EXACT)
def share_difference(out: Any, a: Any, b: Any) -> None:
    """softmax(b) - softmax(a); of a share of a above 1/2, what the others' differ by."""
    for i in range(a.shape[0]):
        for k in range(a.shape[2]):
            top, rest, first, error, mean = _apart(a, b, i, k)
            s = _spread(a, b, i, k, top, rest, first, error, mean)
            high, others = _top_and_rest(b, i, k)
            total, sum_of_others = 1 + rest, 0.0
            for j in range(a.shape[1]):
                e = expsub(a[i, j, k], a[i, top, k])
                d = _from(a[i, j, k], b[i, j, k], first, error) - mean if e != 0 else 0.0
                if e != 0 and abs(d) < 2 and s < 1:
                    found = e / total * ((math.expm1(d) - s) / (1 + s))
                else:
                    found = expsub(b[i, j, k], b[i, high, k]) / (1 + others) - e / total
                out[i, j, k] = found
                sum_of_others += found if j != top else 0.0
            if total < 2:
                out[i, top, k] = -sum_of_others


__all__ = ["divergence", "divergence_slope", "share_difference"]
