"""The contractions that have a name of their own: matrix product, transpose, sum, mean, and `einsum` for all others."""

import itertools
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import normal_axes, operand
from symbackprop.graph.operators.contraction import LETTERS, contract
from symbackprop.graph.operators.layout import expand_axes, reshape
from symbackprop.graph.shapes import Shape, rank_of, shape_of, show, size_of


def einsum(spec: str, *operands: Any) -> sp.Expr:
    """General contraction, as `numpy.einsum` reads it: `einsum("ij,jk->ik", A, B)`; "..." and an implied output are allowed.

    Raises `ShapeError` where the indices do not match the operands' axes or their sizes differ.
    """
    xs = [operand(x, "einsum") for x in operands]
    text = spec.replace(" ", "")
    left, arrow, out = text.partition("->")
    ins = left.split(",")
    if len(ins) != len(xs):
        raise ShapeError(f"einsum({spec!r}): {len(ins)} index groups for {len(xs)} operands; give one group for each operand")
    ranks = [rank_of(x) for x in xs]
    dots = max((r - len(s.replace("...", "")) for s, r in zip(ins, ranks, strict=True) if "..." in s), default=0)
    spare = [c for c in reversed(LETTERS) if c not in text][: max(dots, 0)][::-1]
    if not arrow:
        named = left.replace(",", "").replace("...", "")
        out = ("..." if "..." in left else "") + "".join(sorted(c for c in set(named) if named.count(c) == 1))
    expanded = []
    for s, r, x in zip(ins, ranks, xs, strict=True):
        n = r - len(s.replace("...", ""))
        s = s.replace("...", "".join(spare[len(spare) - n :]) if n > 0 else "")
        if len(s) != r or not set(s) <= set(LETTERS):
            raise ShapeError(f"einsum({spec!r}): the index group {s!r} has {len(s)} letters but {x} has {r} axes; give one letter for each axis")
        expanded.append(s)
    out = out.replace("...", "".join(spare))
    unknown = [c for c in out if c not in "".join(expanded)]
    if unknown or len(set(out)) != len(out):
        raise ShapeError(f"einsum({spec!r}): the output {out!r} must name indices of the operands, each once")
    expanded, xs = _without_units(expanded, xs)
    # Summing each operand's own indices cannot be postponed past the products, so the sizes are checked by the operator itself.
    return contract(expanded, out, xs)


def _without_units(groups: list[str], xs: list[sp.Expr]) -> tuple[list[str], list[sp.Expr]]:
    """Drop the axes of size one that NumPy would repeat to the size that another operand has under the same letter."""
    try:
        shapes = [shape_of(x) for x in xs]
    except ShapeError:
        return groups, xs  # reported with the equation's name, when the equation is named
    wide = {c for s, shape in zip(groups, shapes, strict=True) for c, size in zip(s, shape, strict=True) if size != 1}
    for i, (s, shape) in enumerate(zip(groups, shapes, strict=True)):
        kept = [k for k, size in enumerate(shape) if size != 1 or s[k] not in wide]
        if len(kept) < len(shape):
            groups[i], xs[i] = "".join(s[k] for k in kept), reshape(xs[i], tuple(shape[k] for k in kept))
    return groups, xs


def matmul(a: Any, b: Any) -> sp.Expr:
    """The matrix product, as `numpy.matmul`: (..., n, k) @ (..., k, m) → (..., n, m); a vector on either side is contracted away.

    Raises `ShapeError` for a scalar operand; sizes that do not fit are reported when the equation is named.
    """
    a, b = operand(a, "matmul"), operand(b, "matmul")
    ra, rb = rank_of(a), rank_of(b)
    if not ra or not rb:
        raise ShapeError(
            f"{a} @ {b}: matmul needs at least one axis on each side, "
            f"found shapes {show(shape_of(a))} and {show(shape_of(b))}; use * for a scalar"
        )
    batch = LETTERS[3 : 3 + max(ra, rb, 2) - 2]
    lead_a, lead_b = shape_of(a)[:-2], shape_of(b)[:-2]
    a, ia = _batch_letters(a, lead_b, batch, "ij" if ra > 1 else "j")
    b, ib = _batch_letters(b, lead_a, batch, "jk" if rb > 1 else "j")
    out = "".join(c for c in batch if c in ia + ib) + ("i" if ra > 1 else "") + ("k" if rb > 1 else "")
    return contract([ia, ib], out, [a, b])


def _batch_letters(x: sp.Expr, other: Shape, batch: str, own: str) -> tuple[sp.Expr, str]:
    """Letters for the leading axes of one side of a matrix product; where the leading axes `other` of the other side have more, an
    axis of size one is dropped, not repeated."""
    lead = rank_of(x) - len(own)
    letters = batch[len(batch) - lead :] if lead > 0 else ""
    if lead > 0:
        shape = shape_of(x)
        kept = [i for i in range(lead) if shape[i] != 1 or lead - i > len(other) or other[i - lead] == 1]
        if len(kept) < lead:
            return reshape(x, tuple(shape[i] for i in kept) + shape[lead:]), "".join(letters[i] for i in kept) + own
    return x, letters + own


def transpose(x: Any, axes: Any = None) -> sp.Expr:
    """The axes in reverse order, or in the order of `axes`, as `numpy.transpose`."""
    x = operand(x, "transpose")
    rank = rank_of(x)
    order = list(range(rank))[::-1] if axes is None else [a % rank if isinstance(a, int) and -rank <= a < rank else a for a in axes]
    if sorted(order, key=str) != sorted(range(rank), key=str):
        raise ShapeError(f"transpose({x}, {axes}): expected each of the axes 0 to {rank - 1} once")
    letters = LETTERS[:rank]
    return contract([letters], "".join(letters[a] for a in order), [x])


def reduce_sum(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """The sum over all axes, or over `axis` (an integer or a tuple), as `numpy.sum`."""
    x = operand(x, "sum")
    axes = normal_axes(axis, x, "sum")
    rank = rank_of(x)
    letters = LETTERS[:rank]
    kept = "".join(c for i, c in enumerate(letters) if i - rank not in axes)
    total = contract([letters], kept, [x])
    return expand_axes(total, axes, rank) if keepdims else total


def mean(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """The mean over all axes, or over `axis`, as `numpy.mean`: the sum divided by the number of terms."""
    x = operand(x, "mean")
    axes = normal_axes(axis, x, "mean")
    total = reduce_sum(x, axis, keepdims)
    try:
        shape = shape_of(x)
    except ShapeError:
        return total  # it is reported with the equation's name, when the equation is named
    return total / size_of(tuple(itertools.compress(shape, (i - len(shape) in axes for i in range(len(shape))))))
