"""Compiled code for second derivatives and Jacobians. It needs the extra [fast]."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from symbackprop.calculus.second import Blocks
from symbackprop.codegen.kept import mended
from symbackprop.codegen.native_blocks import native_blocks
from symbackprop.graph.labels import index_data
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array
from symbackprop.training.native import require
from symbackprop.training.steps import Step, addresses, allocated, extents

Room = tuple[list[tuple[int, ...]], dict[str, Array], Array]  # the shapes of the results, working memory, and its table


class NativeBlocks:
    """Called with weights, the direction if there is one, and data, it gives the blocks, as the function of the generated module does."""

    def __init__(self, blocks: Blocks, dtype: str) -> None:
        require("compiled()")
        code = native_blocks(blocks, dtype)
        self.source = code.native.source
        self.native, self.data, self.results = code.native, code.program.data, code.results
        self.dtype = np.dtype(dtype)
        self.labels = index_data(blocks.system)
        self.shapes = {t.name: t.shape for t in blocks.system.data}
        self.weights = code.program.system.kept
        self.vectors = {vector: weight.name for weight, vector in blocks.vectors.items()}
        self.keys = [names[0] if len(names := tuple(t.name for t in key)) == 1 else names for key in blocks.blocks]
        self._rooms: dict[tuple[tuple[str, int], ...], Room] = {}

    def __call__(self, weights: Mapping[str, Array], vectors: Mapping[str, Array] | None = None, **data: Array) -> dict[Any, Array]:
        given = [self.converted(t, (vectors or {})[self.vectors[t]] if t in self.vectors else data[t.name]) for t in self.data]
        sizes = {}  # of all data that are given: a block may have an axis of samples and read none of them
        for name, array in data.items():
            shape = self.shapes[name]
            extended = (1,) * (len(shape) - array.ndim) + array.shape
            sizes.update({d.name: size for d, size in zip(shape, extended, strict=True) if isinstance(d, Dim)})
        shapes, _, at = self.room(tuple(sizes.items()))
        results = [np.empty(shape, self.dtype) for shape in shapes]
        # A state that nothing reads is not given; compiled code has an array for it all the same.
        kept = [self.converted(w, weights[w.name]) if w.name in weights else np.zeros(w.shape, self.dtype) for w in self.weights]
        tensors = (*self.weights, *self.results, *self.data)
        self.step.fill(at, ((t.name, array) for t, array in zip(tensors, (*kept, *results, *given), strict=True)))
        self.play(at)
        return dict(zip(self.keys, results, strict=True))

    @cached_property
    def step(self) -> Step:
        return Step(self.native, addresses(self.native))

    def play(self, at: Array) -> None:
        from symbackprop.codegen import machine

        mended(machine.play, machine.compiled_play, self.step.operations, self.step.args, at, 0, len(self.step.operations))

    def room(self, sizes: tuple[tuple[str, int], ...]) -> Room:
        """What depends on the sizes of the open dimensions alone; made once for each combination."""
        if sizes not in self._rooms:
            table = dict(sizes)
            shapes = [extents(t.shape, table) for t in self.results]
            buffers = allocated(self.native.buffers, table, self.dtype)
            self._rooms[sizes] = shapes, buffers, self.step.table(table, buffers, self.dtype)
        return self._rooms[sizes]

    def converted(self, t: Tensor, value: Array) -> Array:
        """In C order, of a known type; one sample alone as a batch of one."""
        array = np.asarray(value)
        return np.require(array[None] if array.ndim < t.rank else array, np.int64 if t in self.labels else self.dtype, ["C", "W"])


__all__ = ["NativeBlocks"]
