"""The engine that runs compiled training code: whole epochs in one call. It needs the extra [fast]."""

import importlib.util
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache
from time import perf_counter
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.codegen.lifetimes import aligned, places
from symbackprop.codegen.load import load_cached
from symbackprop.codegen.lower import lowered
from symbackprop.codegen.native_scalars import is_small, native_scalars
from symbackprop.codegen.native_step import Buffer, NativeSource, native_source
from symbackprop.codegen.scalar_step import stored
from symbackprop.codegen.schedule import scheduled
from symbackprop.graph.equations import System
from symbackprop.graph.labels import index_data
from symbackprop.graph.names import Namer
from symbackprop.graph.rule import Rule
from symbackprop.graph.shapes import Dim, Shape
from symbackprop.graph.tensor import Tensor
from symbackprop.training.engines import BatchEngine, Outcome, State, Weights
from symbackprop.training.feed import Array, Batches, Feed

PATIENCE = 0.1  # seconds of compiled code after which Python looks for a Ctrl-C


@cache
def installed() -> bool:
    """Whether the extra [fast] is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "scipy"))


def require(what: str) -> None:
    """Raises `ImportError` where the extra [fast], which `what` needs, is not there."""
    if not installed():
        raise ImportError(f"{what} needs numba and scipy; install them with: pip install symbackprop[fast]")


class NativeEngine(BatchEngine):
    """Compiled loops over epochs, batches and arrays."""

    takes_epochs = True

    def __init__(self, system: System, rule: Rule, dtype: str) -> None:
        super().__init__(system, rule)
        self.dtype = np.dtype(dtype)
        self.labels = index_data(self.system)
        self.program = scheduled(lowered(self.program, dtype))
        self.small = is_small(self.program, self.dimension)
        self._codes: dict[bool, tuple[NativeSource, Any]] = {}
        self._memory: dict[Any, tuple[Array, ...]] = {}
        self._fed: tuple[Feed, tuple[Array, ...]] | None = None
        self._rate = 0.0  # updates a second

    @property
    def source(self) -> str:
        """The source that was used last, or the one for single samples."""
        return self.code(1)[0].source if not self._codes else list(self._codes.values())[-1][0].source

    def code(self, size: int) -> tuple[NativeSource, Any]:
        """What runs batches of this size: for single samples of a small network scalars, else loops over arrays."""
        scalars = self.small and size == 1
        if scalars not in self._codes:
            program = replace(self.program, name=Namer(self.program.name.taken))  # each source hands out names of its own
            native = (native_scalars if scalars else native_source)(program, self.dtype.name, self.dimension)
            self._codes[scalars] = native, load_cached(native.source, "native").run
        return self._codes[scalars]

    def run(self, weights: Weights, state: State, feed: Feed, batches: Batches) -> Outcome:
        native, run = self.code(batches.size)
        values = self.values(weights, state)
        data = self.data(feed)
        order = np.empty(0, np.int64) if batches.order is None else batches.order
        buffers = self.buffers(native, batches.size, feed, bool(order.size))
        rest = self.buffers(native, batches.samples % batches.size or batches.size, feed, bool(order.size))
        numbers = tuple(size if isinstance(size, int) else feed.sizes[str(size)] for size in native.sizes)
        total = len(batches)
        means = np.zeros(batches.epochs)
        done = 0
        while done < total:
            last = min(total, done + max(1, int(self._rate * PATIENCE)))
            start = perf_counter()
            made = run(batches.size, batches.samples, done, last, state["t"], numbers, values, data, order, buffers, rest, means)
            self._rate = max(made, 1) / max(perf_counter() - start, 1e-9)
            state["t"] += made
            done += made
            if done < last:
                break
        return Outcome(done, means[: done // batches.each].tolist())

    def values(self, weights: Weights, state: State) -> tuple[Array, ...]:
        """The arrays that an update changes, as `stored` lists them."""
        names = {t: weights[t.name] for t in self.program.system.kept}
        names |= {symbol: state[name][w.name] for (name, w), symbol in self.program.states.items()}
        return tuple(squeezed(names[t], t) for t in stored(self.program))

    def data(self, feed: Feed) -> tuple[Array, ...]:
        """All samples as compiled code reads them; converted once."""
        if self._fed is None or self._fed[0] is not feed:
            self._fed = feed, tuple(self.converted(feed, t) for t in self.program.data)
        return self._fed[1]

    def converted(self, feed: Feed, t: Tensor) -> Array:
        """One data tensor in C order, of a known type, without axes of size one."""
        array = self.batched(feed, t.name, feed.arrays[t.name])
        return squeezed(np.require(array, np.int64 if t in self.labels else self.dtype, ["C", "W"]), t)

    def buffers(self, native: NativeSource, n: int, feed: Feed, gathers: bool) -> tuple[Array, ...]:
        """Working memory for batches of n samples; allocated once."""
        sizes = self.sizes(feed, n)
        key = (native.source, tuple(sizes.items()), gathers)
        if key not in self._memory:
            self._memory[key] = allocated(native.buffers, sizes, self.dtype, self.labels, gathers)
        return self._memory[key]

def allocated(
    buffers: Sequence[Buffer], sizes: Mapping[str, int], dtype: Any, labels: Collection[Tensor] = (), gathers: bool = False
) -> tuple[Array, ...]:
    """Arrays for the buffers, which share memory where one is done before the other begins."""
    shapes = [extents(b.shape, sizes) if gathers or b.gathers is None else (0,) * len(b.shape) for b in buffers]
    kinds = [np.dtype(np.int64 if b.gathers in labels else dtype) for b in buffers]
    lengths = [math.prod(shape) * kind.itemsize for shape, kind in zip(shapes, kinds, strict=True)]
    offsets, total = places([(aligned(length), b.first, b.last) for length, b in zip(lengths, buffers, strict=True)])
    block = np.empty(total + aligned(1), np.uint8)
    start = -block.ctypes.data % aligned(1)
    return tuple(
        block[start + offset : start + offset + length].view(kind).reshape(shape)
        for offset, length, kind, shape in zip(offsets, lengths, kinds, shapes, strict=True)
    )


def extents(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape in numbers."""
    table = {Dim(name): sp.Integer(size) for name, size in sizes.items()}
    return tuple(s if isinstance(s, int) else int(s.xreplace(table)) for s in shape)


def squeezed(array: Array, t: Tensor) -> Array:
    """Without the axes that are declared to be of size one; a view."""
    return array.reshape([size for size, declared in zip(array.shape, t.shape, strict=True) if declared != 1])
