"""Compiled steps as they run: the pieces of a step compiled one after the other, its operations as numbers, and its table of memory.

What was compiled is kept on disk by its text, so that no piece is compiled twice, in whatever network and process. It needs the extra [fast].
"""

import importlib.util
import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.codegen.kept import mended
from symbackprop.codegen.lifetimes import aligned, places
from symbackprop.codegen.load import load_cached
from symbackprop.codegen.native_step import Buffer, NativeSource
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array

QUIET = 2.0  # seconds of compiling of which nothing is said


@cache
def compiled(module: str) -> Any:
    """The function of a piece's module, compiled. It lives as long as the process."""
    from numba import cfunc

    from symbackprop.codegen.function_kernels import COMPILED
    from symbackprop.codegen.machine import SIGNATURE

    options = {name: value for name, value in COMPILED.items() if name != "nogil"}  # the machine holds no lock
    piece = load_cached(module, "piece").piece
    return mended(piece, cfunc(SIGNATURE, **options), piece)


def addresses(native: NativeSource) -> list[int]:
    """Where each piece lies, compiled."""
    return [compiled(module).address for module in shown(native.modules)]


def shown(modules: Sequence[str]) -> Iterable[str]:
    """The modules, with a bar on a terminal where they take long; it needs the extra [progress]."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        return modules
    from tqdm.auto import tqdm

    bar: Iterable[str] = tqdm(modules, "compiling", unit="piece", delay=QUIET, leave=False)
    return bar


class Step:
    """The operations of a step as numbers, and its tables of memory. `functions`: what stands for each piece, its address."""

    def __init__(self, native: NativeSource, functions: Sequence[int]) -> None:
        from symbackprop.codegen import machine

        kinds = {"piece": machine.PIECE, "row": machine.ROW, "start": machine.START, "end": machine.END}
        self.native = native
        self.places = {name: k for k, name in enumerate([native.step, *native.rows])}
        args: list[int] = []
        rows = []
        for operation in native.operations:
            what = functions[operation.what] if operation.kind == "piece" else operation.what
            rows.append((kinds[operation.kind], what, len(args)))
            args += [self.places.setdefault(name, len(self.places)) for name in operation.places]
        self.operations = np.array(rows, np.int64).reshape(-1, 3)
        self.args = np.array([*args, 0], np.int64)

    def table(self, sizes: Mapping[str, int], buffers: Mapping[str, Array], dtype: Any) -> Array:
        """Memory for these sizes of the dimensions. The addresses of what the caller gives are missing."""
        at = np.zeros(len(self.places), np.int64)
        numbers = dict(zip(self.native.sizes, extents(self.native.sizes.values(), sizes), strict=True))
        numbers |= {name: math.prod(extents(shape, sizes)) * (8 if whole else np.dtype(dtype).itemsize) for name, (shape, whole) in self.native.widths.items()}
        for name, number in (numbers | {name: address(array) for name, array in buffers.items()}).items():
            if name in self.places:
                at[self.places[name]] = number
        return at

    def fill(self, at: Array, arrays: Iterable[tuple[str, Array]]) -> None:
        """The addresses of what the caller gives."""
        for name, array in arrays:
            if name in self.places:
                at[self.places[name]] = address(array)


def address(array: Array) -> int:
    """Where the entries of an array begin."""
    found: int = array.__array_interface__["data"][0]
    return found


def allocated(
    buffers: Sequence[Buffer], sizes: Mapping[str, int], dtype: Any, labels: Collection[Tensor] = (), gathers: bool = False
) -> dict[str, Array]:
    """Arrays for the buffers, which share memory where one is done before the other begins."""
    shapes = [extents(b.shape, sizes) if gathers or b.gathers is None else (0,) * len(b.shape) for b in buffers]
    kinds = [np.dtype(np.int64 if b.gathers in labels else dtype) for b in buffers]
    lengths = [math.prod(shape) * kind.itemsize for shape, kind in zip(shapes, kinds, strict=True)]
    offsets, total = places([(aligned(length), b.first, b.last) for length, b in zip(lengths, buffers, strict=True)])
    block = np.empty(total + aligned(1), np.uint8)
    start = -block.ctypes.data % aligned(1)
    return {
        b.name: block[start + offset : start + offset + length].view(kind).reshape(shape)
        for b, offset, length, kind, shape in zip(buffers, offsets, lengths, kinds, shapes, strict=True)
    }


def extents(shape: Iterable[Any], sizes: Mapping[str, int]) -> tuple[int, ...]:
    """The shape in numbers."""
    table = {Dim(name): sp.Integer(size) for name, size in sizes.items()}
    return tuple(s if isinstance(s, int) else int(s.xreplace(table)) for s in shape)
