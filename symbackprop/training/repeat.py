"""A call like the one before, with other numbers: what was found out about its names, shapes and types holds again, and only the numbers are
looked at. Whatever else is given goes the careful way, which words what is wrong with it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from symbackprop.training.feed import Array

_FLOAT = np.dtype(float)
Known = list[tuple[str, tuple[int, ...]]]


class Repeat:
    """`weights` and `data` as they went through the checks of a first call."""

    def __init__(self, weights: Mapping[str, Array], data: Mapping[str, Array]) -> None:
        self.weights: Known = [(name, array.shape) for name, array in weights.items()]
        self.data: Known = [(name, array.shape) for name, array in data.items()]

    def fits(self, weights: Mapping[Any, Any], data: Mapping[str, Any]) -> bool:
        """Whether these are like those of the first call in all but their numbers, which are finite."""
        return _same(self.weights, weights) and _same(self.data, data)


def _same(known: Known, given: Mapping[Any, Any]) -> bool:
    """Whether these are finite arrays of floats with those names and shapes."""
    if len(given) != len(known):
        return False
    for name, shape in known:
        array = given.get(name)
        if type(array) is not np.ndarray or array.dtype is not _FLOAT or array.shape != shape:
            return False
        flat = array.ravel()
        if not math.isfinite(flat.dot(flat)):  # one that overflows is for the careful way
            return False
    return True


__all__ = ["Repeat"]
