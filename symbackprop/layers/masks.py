"""Masks of attention, in all the ways that they are written: a condition, an expression that is added to the scores, or an array."""

from typing import Any

import sympy as sp
from sympy.logic.boolalg import Boolean

from symbackprop.errors import DataError, NetworkError, ShapeError
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.shapes import Shape, broadcast, shape_of, show
from symbackprop.graph.tensor import state

EXPECTED = (
    "expected a condition such as M > 0, an expression that is added to the scores, "
    "or an array: true or 1 where a query may see a key, or numbers to add"
)


def is_array(mask: Any) -> bool:
    return isinstance(mask, (list, tuple)) or (hasattr(mask, "__array__") and not isinstance(mask, sp.Basic) and getattr(mask, "shape", ()) != ())


def is_condition(mask: Any) -> bool:
    """Whether a mask says what may be seen, and is not a number to be added. SymPy counts its symbols among the conditions too."""
    return isinstance(mask, Boolean) and not isinstance(mask, sp.Expr)


def as_mask(mask: Any, name: str, scores: Shape, layer: str) -> Any:
    """A mask as a condition or an expression, None where there is none; an array becomes the constant state M_k, with `name` for k. `scores` is
    the shape that it must broadcast to, (.., queries, keys)."""
    if mask is None:
        return None
    if is_array(mask):
        mask = _constant(mask, name, layer)
    elif not isinstance(mask, sp.Basic) or mask in (sp.true, sp.false) or not (is_condition(mask) or isinstance(mask, sp.Expr)):
        raise NetworkError(f"{layer}: the mask is {type(mask).__name__} {str(mask)[:60]!r}; {EXPECTED}")
    shape = shape_of(mask)
    try:
        fits = broadcast(shape, scores)[-2:] == scores[-2:]
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(f"{layer}: the mask has shape {show(shape)}; expected one that broadcasts to the scores of shape {show(scores)}, (.., queries, keys)")
    return mask


def both(mask: Any, seen: Any) -> Any:
    """A mask, or none, and a condition besides."""
    if mask is None:
        return seen
    return sp.And(mask, seen) if is_condition(mask) else sp.Piecewise((mask, seen), (-sp.oo, True))


def applied(scores: sp.Expr, mask: Any) -> sp.Expr:
    """The scores as the softmax reads them: what may not be seen has the weight exp(-oo), none."""
    if mask is None:
        return scores
    return sp.Piecewise((scores, mask), (-sp.oo, True)) if is_condition(mask) else scores + mask


def for_heads(mask: Any) -> Any:
    """A mask on (.., n, m) as one on (.., 1, n, m): what has a batch gets an axis for the heads."""
    if mask is None or (is_condition(mask) and not mask.args):
        return mask
    if is_condition(mask):
        return mask.func(*map(for_heads, mask.args))
    shape = shape_of(mask)
    return reshape(mask, (*shape[:-2], 1, *shape[-2:])) if len(shape) > 2 else mask


def _constant(mask: Any, name: str, layer: str) -> Any:
    """An array as a state that stays as it is. Truths, zeros and ones say what may be seen; other numbers are added, where -inf hides."""
    import numpy as np

    try:
        array = np.asarray(mask)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise NetworkError(f"{layer}: the mask holds {array.dtype} and not numbers in rows of one length; {EXPECTED}")
    if np.isnan(array).any() or np.isposinf(array).any():
        raise DataError(f"{layer}: the mask holds nan or inf; expected numbers to add to the scores, -inf where a query may not see a key")
    if array.dtype.kind != "b" and not array.any():
        raise DataError(f"{layer}: the mask holds nothing but zeros, which would hide all keys or none; leave it out, or pass an array of truths")
    if array.dtype.kind == "b" or np.isin(array, (0, 1)).all():
        return state(f"M_{name}", array.shape, array.astype(float)) > 0
    added = np.where(np.isneginf(array), 0.0, array).astype(float)
    if not np.isneginf(array).any():
        return state(f"B_{name}", array.shape, added)
    seen = state(f"M_{name}", array.shape, (~np.isneginf(array)).astype(float)) > 0
    return sp.Piecewise((state(f"B_{name}", array.shape, added), seen), (-sp.oo, True)) if added.any() else seen
