"""Data that are labels: integers that an equation uses as positions."""

from typing import Any

from symbackprop.graph.equations import System
from symbackprop.graph.operators.gather import OneHot, Take
from symbackprop.graph.operators.scan import opened
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Tensor


def index_data(system: System) -> dict[Tensor, Any]:
    """The data that are used as integer positions, and the number of positions: 0 to size - 1 are allowed."""
    found: dict[Tensor, Any] = {}
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
