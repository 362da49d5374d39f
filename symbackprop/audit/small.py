"""The equations of a network on small tensors, with few entries along each axis. Open dimensions get a size, and fixed sizes are kept where the
tensors are small anyway: a number in an equation may be made of a size, as 1/4 of a mean of 4. Larger ones are shortened, which holds for an
equation if its forms still agree with each other (`whole.agree`)."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import sympy as sp

from symbackprop.errors import UnsupportedError
from symbackprop.graph.operators.base import Operator, ints
from symbackprop.graph.operators.contraction import Broadcast, Einsum, Eye
from symbackprop.graph.operators.gather import OneHot
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.norm import AlongAxes
from symbackprop.graph.operators.reduction import AlongAxis
from symbackprop.graph.operators.scan import Bundle, Part, Scan
from symbackprop.graph.operators.softmax_slopes import ShareSlope
from symbackprop.graph.operators.solve import Solve
from symbackprop.graph.shapes import Dim, Shape, numeric, postorder, shape_of
from symbackprop.graph.tensor import Tensor

K = TypeVar("K")

SIZE = 3  # of every axis that may be shortened
KEPT = 64  # the entries of the largest tensor whose axes are not shortened
ENTRIES = 400  # the same where they cannot be


class FixedSizesError(Exception):
    """An operator that means something else, or nothing, for other sizes."""


class Small:
    """Expressions in tensors with short axes. `tensors`: name → the short tensor, of `entries` at most. Without `shorten` only open dimensions
    get a size."""

    def __init__(self, shorten: bool, entries: int) -> None:
        self.shorten = shorten
        self.entries = entries
        self.tensors: dict[str, Tensor] = {}

    def size(self, size: Any) -> int:
        if isinstance(size, int) or size.is_Integer:
            return min(int(size), SIZE) if self.shorten else int(size)
        return numeric((size,), dict.fromkeys(size.free_symbols, SIZE))[0] if not self.shorten or not isinstance(size, Dim) else SIZE

    def shape(self, sizes: Any) -> Shape:
        return tuple(map(self.size, sizes))

    def tensor(self, t: Tensor) -> Tensor:
        if t.name not in self.tensors:
            small = Tensor(f"v_{len(self.tensors)}", self.shape(t.shape), "data")
            if sp.Mul(*small.shape) > self.entries:
                raise FixedSizesError(f"not measured: {t} has the shape {t.shape}, and for smaller ones its equation means something else")
            self.tensors[t.name] = small
        return self.tensors[t.name]

    def __call__(self, root: sp.Expr) -> sp.Expr:
        """The expression with short axes. Raises `FixedSizesError` where it has none, `UnsupportedError` where it cannot be measured."""
        done: dict[sp.Basic, sp.Basic] = {}
        for part in postorder(root):
            args = [done[a] for a in part.args]
            if isinstance(part, Tensor):
                done[part] = self.tensor(part)
            elif isinstance(part, Dim):
                done[part] = sp.Integer(SIZE)
            elif isinstance(part, Operator):
                done[part] = self.operator(part, args)
            else:
                done[part] = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
        if shape_of(done[root]) != self.shape(shape_of(root)):
            raise FixedSizesError
        return done[root]

    def operator(self, part: Operator, args: list[sp.Basic]) -> sp.Basic:
        if isinstance(part, (Scan, Part, Bundle)):
            raise UnsupportedError("not measured: it is a recurrence; its equations are those of one step")
        if isinstance(part, Solve):
            raise UnsupportedError("not measured: how exact the solution of linear equations is depends on the matrix")
        if isinstance(part, (Broadcast, Reshape)):
            args[0] = ints(self.shape(part.args[0]))
            if isinstance(part, Reshape) and sp.Mul(*args[0]) != sp.Mul(*shape_of(args[1])):
                raise FixedSizesError
        elif isinstance(part, (Eye, OneHot)):
            args[0] = sp.Integer(self.size(part.args[0]))
        elif not isinstance(part, (Einsum, AlongAxis, AlongAxes, ShareSlope)):
            plain = [numeric(shape_of(x), dict.fromkeys(sp.Tuple(*shape_of(x)).free_symbols, SIZE)) for x in part.operands]
            if plain != [shape_of(x) for x in args[part.n_parameters :]]:
                raise FixedSizesError
        return part.func(*args)


def small(forms: Mapping[K, sp.Expr]) -> Iterator[tuple[dict[K, sp.Expr], dict[str, Tensor], bool]]:
    """Expressions on small tensors, the tensors in them by their old names, and whether fixed sizes were shortened: the first ones that mean the same
    are to be taken. Raises `UnsupportedError` after the last ones."""
    why = ""
    for shorten, entries in ((False, KEPT), (True, ENTRIES), (False, ENTRIES)):
        shrink = Small(shorten, entries)
        try:
            shrunk = {key: shrink(expr) for key, expr in forms.items()}
        except FixedSizesError as error:
            why = str(error)
            continue
        yield shrunk, shrink.tensors, shorten
    raise UnsupportedError(why or "not measured: its sizes depend on one another")


__all__ = ["small"]
