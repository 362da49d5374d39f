"""The embedding: a learnt row for each symbol of a vocabulary."""

from typing import Any

from symbackprop.errors import ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.gather import take
from symbackprop.graph.tensor import Tensor, node, weight


@checked()
def embedding(indices: Any, size: int, units: int, name: str | None = None) -> Tensor:
    """Row indices[..] of a learnt table E of shape (size, units). Returns the node X of shape (.., units).

    `indices` is a data tensor of integers from 0 to size - 1. The gradient of a row of E is the sum over the places where its index stands.
    The parts are called E_k and X_k, with `name` for k, or 1. Raises `ShapeError` where `indices` is no data tensor, or a size no
    positive integer. Source: Bengio et al., "A Neural Probabilistic Language Model" (2003), section 2: the matrix C.
    """
    for what, found in (("size", size), ("number of units", units)):
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise ShapeError(f"embedding({indices}, {size!r}, {units!r}): the {what} must be a positive integer")
    return node(f"X_{name or 1}", take(weight(f"E_{name or 1}", (size, units)), indices))
