"""Shapes: tuples of integers and named dimensions, NumPy's broadcasting, and the shape of any expression.

A dimension is a positive integer, a `Dim` (a named size left open until run time) or an integer expression of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.names import check_name

Dimension = Any  # int | Dim | integer sympy expression
Shape = tuple[Dimension, ...]


class Dim(sp.Symbol):
    """A named dimension such as the batch size `n`. It equals its own name, so `X.shape == ("n", 3)` reads as written."""

    __slots__ = ()

    def __new__(cls, name: str) -> "Dim":
        return sp.Symbol.__new__(cls, check_name(name, "dimension"), integer=True, positive=True)

    def __eq__(self, other: object) -> bool:
        # SymPy answers NotImplemented for what is not SymPy, an integer size above all, and NotImplemented counts as true.
        return self.name == other if isinstance(other, str) else super().__eq__(other) is True

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self.name)

    def __reduce__(self) -> Any:
        return Dim, (self.name,)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


class Shaped:
    """Mixin of the two kinds of expression that know their own shape: tensors and operators."""

    __slots__ = ()

    @property
    def shape(self) -> Shape:
        raise NotImplementedError

    @property
    def rank(self) -> int:
        """The number of axes; known even where the sizes do not fit."""
        return len(self.shape)


def as_dimension(size: Any) -> Dimension:
    """One dimension from what a user may write: an integer, a name, or an expression of dimensions."""
    if isinstance(size, str):
        return Dim(size)
    if isinstance(size, sp.Expr) and not size.is_Integer:
        if size.free_symbols and all(isinstance(s, Dim) for s in size.free_symbols):
            return size
    else:
        try:
            if not isinstance(size, bool) and int(size) == size and size >= 0:
                return int(size)
        except (TypeError, ValueError):
            pass
    raise ShapeError(f"the dimension {' '.join(repr(size).split())[:60]} is not usable; expected a non-negative integer or a name such as 'n'")


def as_shape(shape: Any) -> Shape:
    """A shape from what a user may write: an integer, a name, or a sequence of them."""
    if isinstance(shape, (str, sp.Expr)) or not isinstance(shape, Iterable):
        shape = (shape,)
    return tuple(as_dimension(size) for size in shape)


def show(shape: Shape) -> str:
    """A shape as a message shows it: `(n, 3)`."""
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def size_of(shape: Shape) -> Any:
    """The number of entries, as an integer or an expression of dimensions."""
    return sp.Mul(*shape)


def numeric(shape: Shape, sizes: Mapping[Any, Any]) -> tuple[int, ...]:
    """A shape in numbers, where the dimensions have these sizes."""
    table = {dim: sp.Integer(size) for dim, size in sizes.items()}
    return tuple(size if isinstance(size, int) else int(size.xreplace(table)) for size in shape)


def broadcast(*shapes: Shape) -> Shape:
    """The common shape of NumPy's broadcasting; raises `ShapeError` that names the two shapes that do not fit."""
    result: Shape = ()
    for shape in shapes:
        long, short = (result, shape) if len(result) >= len(shape) else (shape, result)
        offset = len(long) - len(short)
        merged = list(long)
        for i, size in enumerate(short):
            other = long[offset + i]
            if other == 1:
                merged[offset + i] = size
            elif size not in (1, other):
                raise ShapeError(f"shapes {show(result)} and {show(shape)} do not broadcast: dimension {other} meets {size}")
        result = tuple(merged)
    return result


@lru_cache(maxsize=2**16)
def shape_of(expr: sp.Basic) -> Shape:
    """The shape of an expression: its own if it is a tensor or an operator, else the broadcast of its arguments'.

    Raises `ShapeError` where two shapes do not fit.
    """
    if isinstance(expr, Shaped):
        return expr.shape
    if isinstance(expr, sp.Indexed):
        return ()
    parts = {shape for shape in map(shape_of, expr.args) if shape}
    if len(parts) == 1:
        return parts.pop()
    try:
        return broadcast(*(shape_of(arg) for arg in expr.args)) if parts else ()
    except ShapeError as error:
        raise ShapeError(f"in {expr}: {error}") from None


@lru_cache(maxsize=2**16)
def rank_of(expr: sp.Basic) -> int:
    """The number of axes; known even where the sizes do not fit."""
    if isinstance(expr, sp.Indexed):
        return 0
    return expr.rank if isinstance(expr, Shaped) else max(map(rank_of, expr.args), default=0)


def split_scalars(x: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """`x` as (scalar factor, the rest); the rest has the shape of `x`."""
    if not rank_of(x):
        return x, sp.S.One
    if not isinstance(x, sp.Mul):
        return sp.S.One, x
    scalars = [f for f in x.args if not rank_of(f)]
    return sp.Mul(*scalars), sp.Mul(*(f for f in x.args if rank_of(f))) if scalars else x


def postorder(root: sp.Basic, descend: Any = lambda expr: True) -> Iterator[sp.Basic]:
    """Every distinct subexpression, arguments first. Iterative, because expressions may be deeper than Python's stack."""
    seen: set[sp.Basic] = set()
    stack: list[tuple[sp.Basic, bool]] = [(root, False)]
    while stack:
        expr, expanded = stack.pop()
        if expanded:
            yield expr
        elif expr not in seen:
            seen.add(expr)
            args = expr.args
            if args and descend(expr):
                stack.append((expr, True))
                stack.extend([(arg, False) for arg in reversed(args)])
            else:
                yield expr
