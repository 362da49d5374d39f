"""What brackets behind a tensor mean: NumPy's basic indexing, as slices and reshapes."""

from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import ints
from symbackprop.graph.operators.layout import Slice, reshape, slice_length
from symbackprop.graph.shapes import Dimension, shape_of, show


def getitem(x: sp.Expr, key: Any) -> sp.Expr:
    """NumPy's basic indexing: integers, slices with a positive step, `...` and None (a new axis).

    Raises `ShapeError` for too many indices, an index out of range, or an index that is a tensor (that is `take`).
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    shape = shape_of(x)
    used = sum(k is not None and k is not Ellipsis for k in keys)
    where = f"{x}[{', '.join(map(str, keys))}]"
    if used > len(shape) or sum(k is Ellipsis for k in keys) > 1:
        raise ShapeError(f"{where}: {used} indices for shape {show(shape)}; give at most {len(shape)}")
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - used)
    cuts, result, axis = [], [], 0
    for k in keys:
        if k is None:
            result.append(1)
            continue
        cut, keep = _cut(k, shape[axis], where)
        cuts.append(cut)
        if keep:
            result.append(slice_length(*cut))
        axis += 1
    whole = all(c == ints((0, s, 1)) for c, s in zip(cuts, shape, strict=True))
    return reshape(x if whole else Slice(ints(cuts), x), tuple(result))


def _cut(k: Any, size: Dimension, where: str) -> tuple[sp.Tuple, bool]:
    """(start, stop, step) of one index, and whether its axis stays."""
    if isinstance(k, slice):
        step = 1 if k.step is None else k.step
        if not isinstance(step, int) or step < 1:
            raise ShapeError(f"{where}: the step {step!r} of a slice must be a positive integer")
        start = _bound(k.start, size, 0, where)
        stop = _bound(k.stop, size, size, where)
        if isinstance(start, int) and isinstance(stop, int):
            stop = max(start, stop)
        return ints((start, stop, step)), True
    if not isinstance(k, (int, sp.Integer)) or isinstance(k, bool):
        raise ShapeError(f"{where}: the index {k!r} must be an integer or a slice; gather with take(x, indices, axis) instead")
    k = int(k)
    if isinstance(size, int) and not -size <= k < size:
        raise ShapeError(f"{where}: index {k} is out of range for a dimension of size {size}")
    start = size + k if k < 0 else k
    return ints((start, start + 1, 1)), False


def _bound(value: Any, size: Dimension, default: Dimension, where: str) -> Any:
    """One bound of a slice as a non-negative number or an expression of dimensions, clipped as Python clips it."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise ShapeError(f"{where}: the bound {value!r} of a slice must be an integer; gather with take(...) instead")
    if isinstance(size, int):
        return max(0, min(size, value + size if value < 0 else value))
    if value >= 0 and value != 0 and default == size:
        raise ShapeError(f"{where}: the end {value} may lie beyond the open dimension {size}; use a negative end, or an integer dimension")
    return size + value if value < 0 else value
