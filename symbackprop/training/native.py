"""The engine that runs compiled training code: whole epochs in one call. It needs the extra [fast]."""

import importlib.util
import math
from time import perf_counter
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.batch import batch_dimension, is_single_sample, lift
from symbackprop.codegen.load import load_cached
from symbackprop.codegen.lifetimes import aligned, places
from symbackprop.codegen.native_scalars import is_small, native_scalars
from symbackprop.codegen.native_step import Buffer, NativeSource, native_source
from symbackprop.codegen.program import training_program
from symbackprop.codegen.scalar_step import stored
from symbackprop.graph.equations import System
from symbackprop.graph.rule import Rule
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array, Feed

PATIENCE = 0.2  # seconds of compiled code after which Python looks for a Ctrl-C


def installed() -> bool:
    """Whether the extra [fast] is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "scipy"))


class NativeEngine:
    """Compiled loops over epochs, batches and arrays."""

    def __init__(self, system: System, rule: Rule, dtype: str) -> None:
        self.single = is_single_sample(system)
        self.system = lift(system) if self.single else system
        self.dimension = batch_dimension(self.system)
        self.dtype = np.dtype(dtype)
        self.rule = rule
        self.program = training_program(self.system, rule)
        self.small = is_small(self.program, self.dimension)
        self._codes: dict[bool, tuple[NativeSource, Any]] = {}
        self._memory: dict[Any, tuple[Array, ...]] = {}
        self._rate = 0.0  # updates a second

    def code(self, size: int) -> tuple[NativeSource, Any]:
        """What runs batches of this size: for single samples of a small network scalars, else loops over arrays."""
        scalars = self.small and size == 1
        if scalars not in self._codes:
            program = training_program(self.system, self.rule)
            native = (native_scalars if scalars else native_source)(program, self.dtype.name, self.dimension)
            self._codes[scalars] = native, load_cached(native.source, "native").run
        return self._codes[scalars]

    def run(self, weights: Any, state: Any, feed: Feed, size: int, orders: list[Array], updates: int) -> Array:
        """`updates` updates from the start of an epoch on, through as many epochs as that takes; `orders`: the order of the samples in
        each epoch, or none. Returns the losses: fewer if one was not finite."""
        native, run = self.code(size)
        values = tuple(_whole(weights[t.name]) for t in self.program.system.weights)
        values += tuple(_whole(state[name][w.name]) for name, w in self.program.states)
        data = tuple(self.fed(feed, t) for t in self.program.data)
        order = np.concatenate(orders) if orders else np.empty(0, np.int64)
        samples = feed.samples
        sizes = dict(feed.sizes)
        buffers = self.buffers(native, size, sizes, bool(orders))
        rest = self.buffers(native, samples % size or size, sizes, bool(orders))
        extents = tuple(sizes[str(s)] if not isinstance(s, int) else s for s in native.sizes)
        losses = np.empty(updates, self.dtype)
        done = 0
        while done < updates:
            last = min(updates, done + max(1, int(self._rate * PATIENCE)))
            start = perf_counter()
            made = run(size, samples, done, last, state["t"], extents, values, data, order, buffers, rest, losses[done:last])
            self._rate = max(made, 1) / max(perf_counter() - start, 1e-9)
            state["t"] += made
            done += made
            if done < last:
                break
        return losses[:done]

    def fed(self, feed: Feed, t: Tensor) -> Array:
        """All samples of one data tensor as compiled code reads them: in C order, of a known type, without axes of size one."""
        array = feed.arrays[t.name]
        if self.single and t.name not in feed.sliced:
            array = array[None]
        array = np.require(array, np.int64 if array.dtype.kind in "iu" and array.dtype != self.dtype else self.dtype, ["C", "W"])
        return array.reshape([s for s, declared in zip(array.shape, t.shape, strict=True) if declared != 1])

    def buffers(self, native: NativeSource, n: int, sizes: dict[str, int], gathers: bool) -> tuple[Array, ...]:
        """Working memory for batches of n samples; allocated once."""
        sizes = {**sizes, self.dimension.name: n} if self.dimension is not None else sizes
        key = (native, tuple(sizes.items()), gathers)
        if key not in self._memory:
            self._memory[key] = self.allocate(native.buffers, sizes, gathers)
        return self._memory[key]

    def allocate(self, buffers: tuple[Buffer, ...], sizes: dict[str, int], gathers: bool) -> tuple[Array, ...]:
        shapes = [_numbers(b, sizes) if b.gathers is None or gathers else (0,) * len(b.shape) for b in buffers]
        types = [np.dtype(np.int64) if b.gathers is not None and b.gathers in self.labels else self.dtype for b in buffers]
        lengths = [aligned(math.prod(shape) * kind.itemsize) for shape, kind in zip(shapes, types, strict=True)]
        offsets, total = places([(length, b.first, b.last) for length, b in zip(lengths, buffers, strict=True)])
        block = np.empty(total + 64, np.uint8)
        start = -block.ctypes.data % 64
        return tuple(
            block[start + offset : start + offset + math.prod(shape) * kind.itemsize].view(kind).reshape(shape)
            for offset, shape, kind in zip(offsets, shapes, types, strict=True)
        )

    @property
    def labels(self) -> Any:
        from symbackprop.graph.labels import index_data

        return index_data(self.system)


def _whole(array: Array) -> Array:
    """Without axes of size one; a view."""
    return array.reshape([s for s in array.shape if s != 1])


def _numbers(buffer: Buffer, sizes: dict[str, int]) -> tuple[int, ...]:
    table = {Dim(name): sp.Integer(size) for name, size in sizes.items()}
    return tuple(s if isinstance(s, int) else int(s.xreplace(table)) for s in buffer.shape)
