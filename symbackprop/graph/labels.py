"""Data that are labels: integers that an equation uses as positions, or as numbers of steps."""

from collections.abc import Iterator
from typing import Any

from sympy.core.relational import Relational

from symbackprop.graph.equations import System
from symbackprop.graph.operators.gather import OneHot, Take
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.positions import Positions
from symbackprop.graph.operators.scan import Scan, opened
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Tensor


def index_data(system: System) -> dict[Tensor, Any]:
    """The data that are used as integer positions, and the number of positions: 0 to size - 1 are allowed. Lengths of sequences are numbers from 0
    to that of all steps."""
    found: dict[Tensor, Any] = {}
    for t, steps in length_data(system).items():
        found[t] = steps + 1
    for _, expr in opened(system.equations):
        for part in postorder(expr):
            if isinstance(part, OneHot):
                labels, size = part.operands[0], part.shape[-1]
            elif isinstance(part, Take):
                labels, size = part.operands[1], shape_of(part.operands[0])[part.axis]
            else:
                continue
            other = found.get(labels, size)
            found[labels] = min(size, other) if isinstance(size, int) and isinstance(other, int) else other
    return found


def length_data(system: System) -> dict[Tensor, Any]:
    """The data that are lengths of sequences, and the number of all steps."""
    return {t: expr.length for _, expr in opened(system.equations) if isinstance(expr, Scan) for t in _lengths(expr)}


def _lengths(scan: Scan) -> Iterator[Tensor]:
    """The data that the steps of a recurrence hold against the number of the step."""
    body = scan.body
    numbers = {item for item, x in zip(body.items, scan.sequences, strict=True) if isinstance(x, Positions)}
    outside = dict(zip(body.captured, scan.operands[len(scan.operands) - len(body.captured) :], strict=True))
    for relation in {r for _, expr in body.equations for r in expr.atoms(Relational)} if numbers else ():
        for x in relation.args:
            while isinstance(x, Reshape):
                (x,) = x.operands
            if numbers & set(relation.args) and isinstance(t := outside.get(x), Tensor) and t.role == "data":
                yield t
