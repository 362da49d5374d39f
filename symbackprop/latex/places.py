r"""Expressions of the places along axes alone, a mask say, as paper writes them: by their entry. "Where column j is not after row i" reads j ≤ i."""

from functools import lru_cache

import sympy as sp
from sympy.logic.boolalg import Boolean

from symbackprop.calculus.index import IndexForm, index_symbol
from symbackprop.graph.operators.positions import Positions
from symbackprop.graph.shapes import rank_of
from symbackprop.graph.tensor import Tensor

_INDICES = tuple(map(index_symbol, "qphij"))  # of the last axes: row i, column j


@lru_cache(maxsize=2**14)
def _made_of(expr: sp.Basic) -> tuple[bool, bool]:
    """Whether there are places in an expression, and whether there are tensors."""
    if isinstance(expr, (Tensor, sp.Indexed)):
        return False, True
    parts = [_made_of(arg) for arg in expr.args]
    return isinstance(expr, Positions) or any(p for p, _ in parts), any(t for _, t in parts)


def is_of_places(expr: sp.Basic) -> bool:
    """Whether an expression or a condition reads nothing but places."""
    return _made_of(expr) == (True, False) and rank_of(expr) <= len(_INDICES)


def by_entry(expr: sp.Basic) -> sp.Basic:
    """Such an expression as the entry in row i and column j."""
    if isinstance(expr, Boolean):
        return expr.func(*(by_entry(arg) if is_of_places(arg) else arg for arg in expr.args))
    assert isinstance(expr, sp.Expr)
    return IndexForm().entry(expr, _INDICES[len(_INDICES) - rank_of(expr) :])
