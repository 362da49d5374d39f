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


@lru_cache(maxsize=2**10)
def stacked(operator: Einsum) -> Stacked | None:
    """The contraction as a stack of matrix products with as few matrices as may be, or None."""
    ins, out = operator.spec
    if len(ins) != 2:
        return None
    sizes = operator.sizes()
    a, b, c = ("".join(x for x in letters if sizes[x] != 1) for letters in (*ins, out))
    if not set(a) & set(b) - set(c) or set(c) - set(a + b) or (set(a) ^ set(b)) - set(c):
        return None
    for loops in _loops(a, b, c):
        made = _cut(loops, a, b, c, sizes)
        if made is not None:
            return made
    return None


def _loops(a: str, b: str, c: str) -> Iterator[str]:
    """The letters that may run over the stack, outermost first: with them each array begins. Fewest first."""
    summed = [x for x in a if x in b and x not in c]
    found = []
    for t in range(len(c) + 1):
        for u in range(len(summed)):
            chosen = {*c[:t], *summed[:u]}
            heads = ["".join(x for x in s if x in chosen) for s in (a, b, c)]
            order = max(heads, key=len)
            if len(order) == len(chosen) and all(s.startswith(h) and _follows(h, order) for s, h in zip((a, b, c), heads, strict=True)):
                found.append(order)
    return iter(sorted(found, key=len))


def _follows(part: str, order: str) -> bool:
    return part == "".join(x for x in order if x in part)


def _cut(loops: str, a: str, b: str, c: str, sizes: dict[str, Any]) -> Stacked | None:
    """The product of what is left of each array behind the loops, if that is one of two matrices."""
    ra, rb, rc = ("".join(x for x in s if x not in loops) for s in (a, b, c))
    shared = {x for x in ra if x in rb}
    runs = ["".join(run) for _, run in groupby(rc, key=lambda x: x in ra)]
    if shared & set(rc) or len(runs) != 2:
        return None
    first = 0 if runs[0][0] in ra else 1
    left, right = (ra, rb)[first], (ra, rb)[1 - first]
    inner = left.replace(runs[0], "", 1)
    if left not in (runs[0] + inner, inner + runs[0]) or right not in (inner + runs[1], runs[1] + inner):
        return None
    groups = ["".join(run) for _, run in groupby(loops, key=lambda x: (x in a, x in b, x in c))]
    if len(groups) > 2:
        return None
    groups += [""] * (2 - len(groups))

    def stack(letters: str, rows: str, columns: str, transposed: bool = False) -> Stack:
        along = [_size(g, sizes) if set(g) <= set(letters) else 1 for g in groups]
        return Stack((*along, _size(rows, sizes), _size(columns, sizes)), transposed)

    lefts, rights = (a, b)[first], (a, b)[1 - first]
    turned_left, turned_right = left != runs[0] + inner, right != inner + runs[1]
    return Stacked(
        (first, 1 - first),
        stack(c, runs[0], runs[1]),
        stack(lefts, inner, runs[0], True) if turned_left else stack(lefts, runs[0], inner),
        stack(rights, runs[1], inner, True) if turned_right else stack(rights, inner, runs[1]),
        tuple(i for i, g in enumerate(groups) if not set(g) <= set(c)),
    )


def _size(letters: str, sizes: dict[str, Any]) -> Any:
    size = sp.Mul(*(sizes[x] for x in letters))
    return int(size) if size.is_Integer else size


__all__ = ["Stack", "Stacked", "stacked"]
