"""Losses of logits for generated compiled code: `graph.stable_losses` and `graph.operators.cross_entropy` say what each computes,
`codegen.loss_helpers` how NumPy does.

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021),
section 4.
"""

# mypy: disallow-untyped-decorators=False

import math
from typing import Any

import numpy as np
from numba import njit

from symbackprop.codegen.function_kernels import COMPILED, EXACT, exp
from symbackprop.codegen.stable_kernels import expsub


@njit(**EXACT)
def logistic_loss(z: Any, a: Any, b: Any) -> Any:
    """a log(1 + exp(z)) + b log(1 + exp(-z))."""
    z, a, b = np.float64(z), np.float64(a), np.float64(b)
    return (a if z > 0 else b) * abs(z) + (a + b) * math.log1p(exp(-abs(z)))


@njit(**EXACT)
def logistic_slope(z: Any, a: Any, b: Any) -> Any:
    """a / (1 + exp(-z)) - b / (1 + exp(z))."""
    z, a, b = np.float64(z), np.float64(a), np.float64(b)
    e = exp(-abs(z))
    return (a - b * e if z >= 0 else a * e - b) / (1 + e)


@njit(**EXACT)
def difference(x: Any, y: Any) -> Any:
    """x - y, not regrouped with what they are made of."""
    return np.float64(x) - np.float64(y)


@njit(**EXACT)
def share_less_target(e: Any, rest: Any, total: Any, t: Any, a: Any) -> Any:
    """a e / total - t, in the precision of e; where e is 1, of total = 1 + rest the rest is what its share lacks. Without branches, so that several
    entries go at a time."""
    top = e >= 1
    return ((a if top else a - a) - t) + a * ((-rest if top else e) / total)


@njit(**COMPILED)
def _sum_of_others(e: Any) -> Any:
    smaller, ones = 0.0, 0.0
    for j in range(e.size):  # by its index: several entries at a time
        x = np.float64(e[j])
        smaller += x if x < 1 else 0.0
        ones += 0.0 if x < 1 else 1.0
    return smaller + max(ones - 1, 0.0)


@njit(**COMPILED)
def sum_of_others(out: Any, e: Any) -> None:
    """The sum along an axis of exponentials, of which the largest is 1, without that one."""
    rows = e.reshape((e.shape[0] * e.shape[2], e.shape[1])) if e.shape[2] == 1 else e[0]  # rows that lie in one piece
    for i in range(e.shape[0]):
        for k in range(e.shape[2]):
            out[i, k] = _sum_of_others(rows[i]) if e.shape[2] == 1 else _sum_of_others(e[i, :, k])


# --- along an axis: of arrays cut into (before, along, after) -----------------------------------------------------------------


@njit(**COMPILED)
def _top(x: Any, i: int, k: int) -> int:
    """The place of the first largest entry; NaN wins."""
    place = 0
    for j in range(1, x.shape[1]):
        if x[i, place, k] == x[i, place, k] and not x[i, j, k] <= x[i, place, k]:
            place = j
    return place


@njit(**COMPILED)
def _rest(x: Any, i: int, k: int, top: int) -> Any:
    """The sum of exp(x - m) of all entries but the largest, m."""
    total = 0.0
    for j in range(x.shape[1]):
        if j != top:
            total += expsub(x[i, j, k], x[i, top, k])
    return total


@njit(**COMPILED)
def log_sum_exp(out: Any, x: Any) -> None:
    """log(sum(exp(x))), without overflow."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            top = _top(x, i, k)
            largest = np.float64(x[i, top, k])
            out[i, k] = largest + math.log1p(_rest(x, i, k, top)) if math.isfinite(largest) else largest


@njit(**COMPILED)
def softmax_slope(out: Any, s: Any, g: Any) -> None:
    """s (g - sum(g s)) of shares s; g counts from its value at the largest share."""
    for i in range(s.shape[0]):
        for k in range(s.shape[2]):
            first = np.float64(g[i, _top(s, i, k), k])
            mean = 0.0
            for j in range(s.shape[1]):
                mean += (g[i, j, k] - first) * s[i, j, k]
            for j in range(s.shape[1]):
                out[i, j, k] = s[i, j, k] * ((g[i, j, k] - first) - mean)


@njit(**COMPILED)
def log_softmax_slope(out: Any, s: Any, g: Any) -> None:
    """g - s sum(g) of shares s; of the largest share s, 1 - s is the sum of the others."""
    for i in range(s.shape[0]):
        for k in range(s.shape[2]):
            top = _top(s, i, k)
            others, rest = 0.0, 0.0
            for j in range(s.shape[1]):
                if j != top:
                    others += s[i, j, k]
                    rest += g[i, j, k]
            total = rest + g[i, top, k]
            for j in range(s.shape[1]):
                out[i, j, k] = g[i, j, k] * others - s[i, j, k] * rest if j == top else g[i, j, k] - s[i, j, k] * total
