"""What is said where a matrix over all weights does not fit into memory: which weights, how large it is, and what to do instead."""

import math
from collections.abc import Sequence

from symbackprop.errors import UnsupportedError
from symbackprop.graph.shapes import show
from symbackprop.graph.tensor import Tensor


def no_room(what: str, weights: Sequence[Tensor], error: MemoryError, advice: str) -> UnsupportedError:
    """The error for the square matrix over these weights."""
    count = entries(weights)
    listed = ", ".join(f"{w.name} {show(w.shape)}" for w in weights)
    return UnsupportedError(
        f"{what}: memory is too small ({error}); the weights {listed} have {count} entries, and a matrix of shape ({count}, {count}) takes "
        f"{8 * count**2 / 1e9:.3g} GB in float64; {advice}"
    )


def entries(weights: Sequence[Tensor]) -> int:
    """How many numbers they hold together."""
    return sum(math.prod(map(int, w.shape)) for w in weights)


__all__ = ["entries", "no_room"]
