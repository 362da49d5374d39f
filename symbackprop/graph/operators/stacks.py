"""Products of stacks of matrices: which contractions are one, as `numpy.matmul` has them."""

from typing import Any, NamedTuple

import sympy as sp


class StackedProduct(NamedTuple):
    """A product of matrices for each place of leading axes: two factors (x, whether it is transposed), and how many of the axes are summed."""

    factors: tuple[tuple[sp.Expr, bool], tuple[sp.Expr, bool]]
    summed: int = 0


def stacked_product(e: Any) -> StackedProduct | None:
    """The contraction as a product of stacks of matrices, as `numpy.matmul` has them: one factor may be a single matrix. None if it is none, or
    a product of two matrices."""
    ins, out = e.spec
    if len(ins) != 2 or min(map(len, ins)) < 2 or max(map(len, ins)) < 3:
        return None
    for first, second in ((0, 1), (1, 0)):
        a, b = ins[first], ins[second]
        lead = max(a[:-2], b[:-2], key=len)
        shared = set(a[-2:]) & set(b[-2:])
        if len(shared) != 1 or not {a[:-2], b[:-2]} <= {lead, ""} or len({*lead, *a[-2:], *b[-2:]}) != len(lead) + 3:
            continue
        (k,) = shared
        rest = a[-2:].replace(k, "") + b[-2:].replace(k, "")
        factors = (e.operands[first], a[-2] == k), (e.operands[second], b[-1] == k)
        if out == lead + rest:
            return StackedProduct(factors)
        if out == rest and a[:-2] == b[:-2]:
            return StackedProduct(factors, len(lead))
    return None
