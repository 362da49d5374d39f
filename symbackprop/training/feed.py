"""Data fed at run time: checked once at the border, so that everything behind it may trust it."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy as sp

from symbackprop.calculus.batch import batch_dimension, is_single_sample, lift
from symbackprop.errors import DataError
from symbackprop.graph.draw import Draw
from symbackprop.graph.equations import System, collect, dims_in
from symbackprop.graph.inference import inference
from symbackprop.graph.labels import index_data, length_data
from symbackprop.graph.shapes import Dim, Shape, show
from symbackprop.graph.tensor import Tensor

Array = npt.NDArray[Any]

# What to do where rows of classes are given for labels, or labels for rows; cross_entropy takes both.
_ONE_HOT = "if these are one-hot rows, give {0}.argmax(-1), or declare {0} with the shape of the logits: cross_entropy then takes rows"
_LABELS = 'declare {0} with the shape ("{1}",): cross_entropy then takes labels'


@dataclass(frozen=True)
class Feed:
    """Checked arrays by name; `sizes` of the named dimensions; `samples`, how many there are; `sliced`, data → the axes along which its
    samples lie; `dimension`, the name of that dimension where the network has one."""

    arrays: dict[str, Array]
    sizes: dict[str, int]
    samples: int
    sliced: dict[str, tuple[int, ...]]
    dimension: str | None = None

    def cut(self, name: str, batch: Any) -> Array:
        """The samples with the numbers `batch` of one data tensor. A range is a view, without a copy."""
        array = self.arrays[name]
        for axis in self.sliced.get(name, ()):
            before = (slice(None),) * axis
            array = array[*before, slice(batch.start, batch.stop)] if isinstance(batch, range) else array.take(batch, axis)
        return array


@dataclass(frozen=True)
class Batches:
    """The batches of one or several epochs: `size` samples each, the last one of an epoch perhaps fewer, in the order of the data or in
    `order`, which goes through all epochs. `count`, if only so many of them."""

    samples: int
    size: int
    order: Array | None = None
    epochs: int = 1
    count: int | None = None

    @property
    def each(self) -> int:
        """The batches of one epoch."""
        return -(-self.samples // self.size)

    def __len__(self) -> int:
        return self.epochs * self.each if self.count is None else self.count

    def __getitem__(self, number: int) -> Any:
        """The sample numbers of one batch: a range, or an array where they are shuffled."""
        epoch, position = divmod(number, self.each)
        start = position * self.size
        stop = min(start + self.size, self.samples)
        return range(start, stop) if self.order is None else self.order[epoch * self.samples + start : epoch * self.samples + stop]

    def __iter__(self) -> Iterator[Any]:
        return map(self.__getitem__, range(len(self)))

    def first(self, count: int) -> "Batches":
        """Only so many of the batches."""
        return replace(self, count=min(count, len(self)))

    def means(self, losses: Sequence[float]) -> list[float]:
        """For each completed epoch the mean over the samples of the mean losses of their batches."""
        each = self.each
        last = self.samples - (each - 1) * self.size
        complete = [losses[k : k + each] for k in range(0, len(losses) - each + 1, each)]
        return [(sum(epoch[:-1]) * self.size + epoch[-1] * last) / self.samples for epoch in complete]


class Checker:
    """Checks what is fed to one system against what it declares."""

    def __init__(self, system: System, dtype: str) -> None:
        self.system = system
        self.dtype = np.dtype(dtype)
        self.by_name = {t.name: t for t in system.data}
        self._seen: tuple[Any, ...] = ()  # the shapes of the last call, and what was found out about them
        self.labels = index_data(system)
        self.uses = dict.fromkeys(self.labels, "as positions") | dict.fromkeys(length_data(system), "as lengths of sequences")
        self.open_labels = [t for t, size in self.labels.items() if not isinstance(size, int)]
        self.single = is_single_sample(system)
        batched = lift(system) if self.single else system
        self.batch = batch_dimension(batched)
        self.drawn = [t.name for t in system.data if isinstance(t.init, Draw)]
        shapes = {t.name: t.shape for t in batched.data if t.name in self.drawn}
        self.drawn_sizes = list(dict.fromkeys(size.name for shape in shapes.values() for size in shape if isinstance(size, Dim)))
        self.drawn_axes = {name: axes for name, shape in shapes.items() if (axes := _axes(shape, self.batch))}
        self.needed_by_loss = _data([system.loss, *system.updated])
        inferred = inference(system)
        self.needed_by_output = _data([inferred.output]) if inferred.output is not None else []
        self.needed_by_validation = _data([inferred.loss])

    def __call__(self, data: Mapping[str, Any], needed: list[str] | None = None, finite: bool = True, drawn: bool = False) -> Feed:
        """The data as arrays of the right type and shape. `drawn`: those that are drawn may be missing; `filled` adds them.

        Raises `DataError` for data that are missing, unknown, of the wrong shape or type, empty, or not finite.
        """
        needed = self.needed_by_loss if needed is None else needed
        if not isinstance(data, Mapping):
            raise DataError(f"the data are a {type(data).__name__}; expected a mapping from names to arrays, such as {{'x': xs}}")
        by_name = self.by_name
        if not data.keys() <= by_name.keys():
            data = {getattr(name, "name", name): value for name, value in data.items()}
        unknown = [name for name in data if name not in by_name]
        if unknown:
            raise DataError(
                f"data {', '.join(map(repr, unknown))} {'is' if len(unknown) == 1 else 'are'} not in the network; "
                f"it reads {', '.join(map(repr, by_name)) or 'no data'}; remove what is too much, or rename it"
            )
        missing = [name for name in needed if name not in data and not (drawn and name in self.drawn)]
        if missing:
            raise DataError(
                f"data {', '.join(map(repr, missing))} {'is' if len(missing) == 1 else 'are'} missing; "
                f"the network reads {', '.join(map(repr, needed))}; pass {missing[0]}=..."
            )
        arrays = {name: self.array(by_name[name], value, finite) for name, value in data.items()}
        shapes = {name: array.shape for name, array in arrays.items()}
        if not self._seen or self._seen[0] != shapes:
            self._seen = shapes, self.sized(arrays)
        for t in self.open_labels:
            if t.name in arrays:
                self.counted(t, arrays[t.name], self._seen[1][0])
        return Feed(arrays, *self._seen[1])

    def filled(self, feed: Feed, draw: Callable[..., dict[str, Array]], rng: np.random.Generator) -> Feed:
        """The same with a new value of every tensor that is drawn and was not given; `draw` is that of the generated module."""
        if feed.arrays.keys() >= set(self.drawn):
            return feed
        sizes = {n: feed.sizes.get(n, feed.samples if self.single else 0) for n in self.drawn_sizes}
        unknown = [n for n, size in sizes.items() if not size]
        if unknown:
            raise DataError(
                f"the size {unknown[0]} of {self.drawn[0]!r}, which is drawn, cannot be read off the other data; "
                f"pass {self.drawn[0]}=..., or use {unknown[0]} in the shape of other data"
            )
        drawn, axes = draw(rng, **sizes), self.drawn_axes
        if self.single and not feed.sliced:  # one sample, without an axis for others
            drawn, axes = {name: array[0, ...] for name, array in drawn.items()}, {}
        return replace(feed, arrays={**drawn, **feed.arrays}, sliced={**axes, **feed.sliced})

    def evaluated(self, data: Mapping[str, Any], draw: Callable[..., dict[str, Array]], needed: list[str] | None = None) -> Feed:
        """The data of one evaluation. Those that are drawn and not given are the same in every call, so that losses can be compared, and a
        gradient or a Hessian belongs to the loss that is found at the same place."""
        needed = self.needed_by_loss if needed is None else needed
        feed = self(data, needed, drawn=True)
        return feed if feed.arrays.keys() >= set(needed) else self.filled(feed, draw, np.random.default_rng(0))

    def array(self, t: Tensor, value: Any, finite: bool) -> Array:
        """One array of the declared kind: integers for labels, else real numbers of the dtype, all finite."""
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise DataError(f"data {t.name!r} is not an array: {error}; give every row the same length") from None
        if array.dtype.kind not in "iufb":
            kind = "complex numbers" if array.dtype.kind == "c" else f"entries of type {array.dtype}"
            raise DataError(f"data {t.name!r} holds {kind}; expected real numbers")
        if t in self.labels:
            if array.dtype.kind not in "iu":
                hint = _ONE_HOT.format(t) if array.ndim > t.rank else "convert with .astype(int)"
                raise DataError(f"data {t.name!r} is used {self.uses[t]} but has type {array.dtype} and shape {show(array.shape)}; expected integers ({hint})")
            self.counted(t, array, {})
            return array
        if array.dtype != self.dtype:
            with np.errstate(over="ignore"):  # what is too large for the dtype is infinite, and refused below
                array = array.astype(self.dtype)
        if finite and not is_finite(array):
            bad = np.argwhere(~np.isfinite(array))
            count = "1 such entry" if len(bad) == 1 else f"{len(bad)} such entries"
            raise DataError(
                f"data {t.name!r} holds {array[tuple(bad[0])]} at index {tuple(map(int, bad[0]))} ({count}); "
                "remove or replace what is not finite"
            )
        return array

    def counted(self, t: Tensor, array: Array, sizes: Mapping[str, int]) -> None:
        """Labels are positions that there are, as far as the sizes are known."""
        size = sp.sympify(self.labels[t], strict=True)
        found = size.xreplace({d: sp.Integer(sizes[d.name]) for d in dims_in(size) if d.name in sizes})
        if array.size and (array.min() < 0 or (found.is_Integer and array.max() >= found)):
            last = f"{size - 1} = {found - 1}" if found != size else f"{size - 1}"
            raise DataError(f"data {t.name!r} is used {self.uses[t]} from 0 to {last} but holds {array.min()} to {array.max()}")

    def sized(self, arrays: dict[str, Array]) -> tuple[Any, ...]:
        """Check the shapes, and count the samples: the sizes of the named dimensions, the number of samples, the axes along which they lie
        and the name of that dimension, as a `Feed` has them."""
        by_name = self.by_name
        shapes = {name: array.shape for name, array in arrays.items()}
        sizes: dict[str, int] = {}
        sliced = set()
        extra = self.single and any(len(shape) == by_name[name].rank + 1 for name, shape in shapes.items())
        count: dict[str, int] = {}
        for name, given in shapes.items():
            t, shape = by_name[name], given
            if 0 in shape:
                raise DataError(f"data {name!r} is empty: its shape is {show(shape)}; expected at least one sample")
            if extra and len(shape) == t.rank + 1:
                sliced.add(name)
                count[name] = shape[0]
                shape = shape[1:]
            expected = ("samples", *t.shape) if name in sliced else t.shape
            if len(shape) != t.rank or any(isinstance(e, int) and e != s for s, e in zip(shape, t.shape, strict=False)):
                hint = f" (or {show(('samples', *t.shape))} for several samples)" if self.single and not extra else ""
                if len(shape) == t.rank - 1 and isinstance(t.shape[-1], int) and _whole(arrays[name]):
                    hint += f"; if these are labels of classes, give them one-hot: np.eye({t.shape[-1]})[{name}], or {_LABELS.format(name, t.shape[0])}"
                elif t in self.labels and len(shape) == t.rank + 1:
                    hint += f" ({_ONE_HOT.format(t)})"
                raise DataError(f"data {name!r} has shape {show(given)}; expected {show(expected)}{hint}")
            for s, e in zip(shape, t.shape, strict=True):
                if isinstance(e, Dim) and sizes.setdefault(e.name, s) != s:
                    raise DataError(
                        f"data {name!r} has shape {show(given)}, so {e.name} = {s}, "
                        f"but other data say {e.name} = {sizes[e.name]}; give all data the same number"
                    )
        if len(set(count.values())) > 1:
            raise DataError(f"the data have different numbers of samples: {', '.join(f'{k!r} {v}' for k, v in count.items())}; make them equal")
        if extra and len(sliced) < len(shapes):
            alone = next(name for name in shapes if name not in sliced)
            raise DataError(
                f"data {alone!r} has shape {show(shapes[alone])} but {min(sliced)!r} holds {count[min(sliced)]} samples; "
                f"give {alone!r} shape {show((count[min(sliced)], *by_name[alone].shape))}"
            )
        if not self.single:
            n = self.batch
            axes = {name: _axes(by_name[name].shape, n) for name in shapes}
            samples = sizes.get(n.name, 1) if n is not None else 1
            return sizes, samples, {name: found for name, found in axes.items() if found}, n.name if n is not None else None
        return sizes, next(iter(count.values()), 1), dict.fromkeys(sliced, (0,)), None


def refuse_positional(given: Sequence[Any], call: str, names: Iterable[str]) -> None:
    """Raises `DataError` where data were passed without their names."""
    if given:
        listed = ", ".join(f"{name}=..." for name in names) or "of which this network reads none"
        raise DataError(f"{call}: got a value of type {type(given[0]).__name__} without a name; pass data by name, {listed}")


def is_finite(array: Array) -> bool:
    """Whether all entries are finite. A finite sum of squares says so in half the time; one that overflows says nothing."""
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())


def _whole(array: Array) -> bool:
    return bool((array == np.floor(array)).all())


def _data(roots: Iterable[Tensor]) -> list[str]:
    return [t.name for t in collect(roots) if t.role == "data"]


def _axes(shape: Shape, n: Dim | None) -> tuple[int, ...]:
    """The axes along which the samples of a data tensor lie."""
    return tuple(axis for axis, size in enumerate(shape) if size == n)
