"""Weights as users hold them: a mapping from names to arrays that checks what is assigned to it."""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

from symbackprop.errors import DataError
from symbackprop.graph.shapes import Shape, show
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array, is_finite

_FLOAT = np.dtype(float)


class Weights(MutableMapping[str, Array]):
    """Name → array. Assigning copies into the array in place, after a check of its shape, so compiled steps see it."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def __getitem__(self, name: Any) -> Array:
        return self._arrays[getattr(name, "name", name)]

    def __setitem__(self, name: Any, value: Any) -> None:
        name, array = self.checked(name, value)
        self._arrays[name][...] = array

    def checked(self, name: Any, value: Any) -> tuple[str, Array]:
        """The name and the array of an assignment. Raises `DataError` for an unknown name, and for what is not an array of finite real
        numbers of the weight's shape."""
        name = getattr(name, "name", name)
        if name not in self._arrays:
            raise _unknown(name, self._arrays)
        place = self._arrays[name]
        return name, _array(name, value, place.shape, place.dtype)

    def __delitem__(self, name: str) -> None:
        raise DataError(f"weight {name!r} belongs to the network and cannot be removed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __repr__(self) -> str:
        return repr(self._arrays)


def assign(weights: Weights, values: Mapping[Any, Any]) -> None:
    """Assign several weights: all of them, or none where one cannot be."""
    for name, array in [weights.checked(name, value) for name, value in values.items()]:
        weights[name] = array


def complete(tensors: Sequence[Tensor], given: Mapping[Any, Any], start: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """An array of its own for each of the weights (and states), from `start` where it is not given. Raises `DataError` for missing,
    unknown or ill-shaped ones."""
    if not isinstance(given, Mapping):
        raise DataError(f"the weights are of type {type(given).__name__}; expected a mapping from names to arrays, such as net.initialize() gives")
    start = start or {}
    names = {t.name for t in tensors}
    if not given.keys() <= names:
        given = {getattr(key, "name", key): value for key, value in given.items()}
    missing = names - given.keys() - start.keys()
    if missing:
        which = f"weight {min(missing)!r} is" if len(missing) == 1 else f"weights {', '.join(map(repr, sorted(missing)))} are"
        raise DataError(f"{which} missing; give a value for each of {', '.join(map(repr, sorted(names)))}")
    unknown = next((name for name in given if name not in names), None)
    if unknown is not None:
        raise _unknown(unknown, [t.name for t in tensors])
    values = {**start, **given}
    return {t.name: np.array(_array(t.name, values[t.name], t.shape, _FLOAT)) for t in tensors}


def _unknown(name: Any, names: Iterable[str]) -> DataError:
    return DataError(f"weight {name!r} is not in the network; it has {', '.join(map(repr, names))}")


def _array(name: str, value: Any, shape: Shape, dtype: np.dtype[Any]) -> Array:
    """The value of a weight as an array. Raises `DataError` for what is not an array of finite real numbers of this shape."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.asarray(None)
    if array.dtype.kind not in "iufb":
        raise DataError(f"weight {name!r}: {value!r} is not an array of real numbers")
    if array.dtype != dtype:
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
    if array.shape != shape:
        raise DataError(f"weight {name!r} has shape {show(array.shape)}; expected {show(shape)}")
    if not is_finite(array):
        raise DataError(f"weight {name!r} holds NaN or infinity; assign finite numbers")
    return array
