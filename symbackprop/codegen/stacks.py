"""A contraction of two tensors as matrix products of their parts, as they lie in memory: NumPy's matmul over stacks of matrices. No array
is transposed for it; where none of the ways of cutting the arrays into matrices will do, there is none.

A convolution is one such product for each image: kernels (out, channels · window) times windows (channels · window, positions).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import sympy as sp

from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.pairs import Pair, pair
from symbackprop.graph.shapes import Shape


@dataclass(frozen=True)
class Stack:
    """An array as a stack of matrices: its shape (outer, inner, rows, columns), of size one where it is the same, or a sum, along the stack;
    and whether its matrices are to be read transposed."""

    shape: Shape
    transposed: bool = False


@dataclass(frozen=True)
class Stacked:
    """out = left @ right, matrix by matrix; `operands` are the numbers of left and right. `sums`: the axes of the stack that are summed over."""

    operands: tuple[int, int]
    out: Stack
    left: Stack
    right: Stack
    sums: tuple[int, ...]

    @property
    def is_single(self) -> bool:
        """Whether it is one product of two matrices."""
        return all(stack.shape[:2] == (1, 1) for stack in (self.left, self.right))


@lru_cache(maxsize=2**10)
def stacked(operator: Einsum) -> Stacked | None:
    """The contraction as a stack of matrix products with as few matrices as may be, or None."""
    found = pair(operator, units=False)
    if found is None or not found.inner:
        return None
    for loops in _loops(found):
        made = _cut(loops, found, operator.sizes())
        if made is not None:
            return made
    return None


def _loops(p: Pair) -> Iterator[str]:
    """The letters that may run over the stack, outermost first: with them each array begins. Fewest first."""
    arrays = p.left, p.right, p.out
    found = []
    for t in range(len(p.out) + 1):
        for u in range(len(p.inner)):
            chosen = {*p.out[:t], *p.inner[:u]}
            heads = ["".join(x for x in s if x in chosen) for s in arrays]
            order = max(heads, key=len)
            if len(order) == len(chosen) and all(s.startswith(h) and _follows(h, order) for s, h in zip(arrays, heads, strict=True)):
                found.append(order)
    return iter(sorted(found, key=len))


def _follows(part: str, order: str) -> bool:
    return part == "".join(x for x in order if x in part)


def _cut(loops: str, p: Pair, sizes: dict[str, Any]) -> Stacked | None:
    """The product of what is left of each array behind the loops, if that is one of two matrices: a group of axes is the rows, one is summed,
    one is the columns."""
    left, right, out = ("".join(x for x in s if x not in loops) for s in (p.left, p.right, p.out))
    rows, columns = ("".join(x for x in s if x not in loops) for s in (p.rows, p.columns))
    inner = left.replace(rows, "", 1)
    if not rows or not columns or out != rows + columns:
        return None
    if left not in (rows + inner, inner + rows) or right not in (inner + columns, columns + inner):
        return None
    groups = ["".join(run) for _, run in groupby(loops, key=lambda x: (x in p.left, x in p.right, x in p.out))]
    if len(groups) > 2:
        return None
    groups += [""] * (2 - len(groups))

    def stack(letters: str, rows: str, columns: str, transposed: bool = False) -> Stack:
        along = [_size(g, sizes) if set(g) <= set(letters) else 1 for g in groups]
        return Stack((*along, _size(rows, sizes), _size(columns, sizes)), transposed)

    return Stacked(
        p.operands,
        stack(p.out, rows, columns),
        stack(p.left, rows, inner) if left == rows + inner else stack(p.left, inner, rows, True),
        stack(p.right, inner, columns) if right == inner + columns else stack(p.right, columns, inner, True),
        tuple(i for i, g in enumerate(groups) if not set(g) <= set(p.out)),
    )


def _size(letters: str, sizes: dict[str, Any]) -> Any:
    size = sp.Mul(*(sizes[x] for x in letters))
    return int(size) if size.is_Integer else size


__all__ = ["Stack", "Stacked", "stacked"]
