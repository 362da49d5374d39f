"""Target "numba" for small networks, one sample after the other: every entry of every tensor is a variable, and an update is a straight
list of scalar equations without a loop."""

import itertools
import math
from typing import Any

import sympy as sp

from symbackprop.calculus.index import IndexForm, split
from symbackprop.codegen.constants import Constants
from symbackprop.codegen.layout import fold
from symbackprop.codegen.native_expressions import NativePrinter, WholePrinter, squeezed
from symbackprop.codegen.native_text import compiled_helpers, imported, indented, taken
from symbackprop.codegen.program import Program
from symbackprop.codegen.scalar_step import stored
from symbackprop.graph.operators.divergence import OfTwoLogits
from symbackprop.graph.operators.gather import OneHot, Scatter, Take
from symbackprop.graph.operators.norm import AlongAxes
from symbackprop.graph.operators.reduction import AlongAxis
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import Dim, Shape, rank_of
from symbackprop.graph.tensor import Tensor
from symbackprop.version import __version__

# A program of at most so many entries. Written out, 134 of them took 122 ns an update instead of 284 in loops, and 427 took 350 instead of 633;
# but compiling took 1.8 s and 9 s, and loops 1.3 s whatever the widths.
ENTRIES = 150
_LOOPING = (AlongAxes, AlongAxis, Scatter, Take, OneHot, OfTwoLogits, Scan)


def is_small(program: Program, batch: Dim | None) -> bool:
    """Whether a program for one sample is written out in scalars."""
    if any(d != batch for d in program.system.dims) or any(e.expr.has(*_LOOPING) for e in program.equations):
        return False
    return sum(math.prod(_extents(e.symbol.shape, batch)) for e in program.equations) <= ENTRIES


def native_scalars(program: Program, dtype: str, batch: Dim | None) -> str:
    """The module for a small program; `batch` is of size one."""
    return _Scalars(program, dtype, batch).source()


class _Scalars:
    def __init__(self, program: Program, dtype: str, batch: Dim | None) -> None:
        self.program = program
        self.dtype = dtype
        self.batch = batch
        words = "kernels real run samples first last t values data order sums turn done sample following epoch total"
        self.words = {word: program.name(word) for word in words.split()}
        self.real, self.kernels = self.words["real"], self.words["kernels"]
        self.printer = NativePrinter(self, dtype)
        self.double = NativePrinter(self, "float64")
        self.whole = WholePrinter(self)
        self.arrays = {t: program.name(f"{t.name}_{'samples' if t in program.data else 'cells'}") for t in (*stored(program), *program.data)}
        self.entries: dict[tuple[Tensor, tuple[int, ...]], sp.Symbol] = {}
        self.constants = Constants({program.step}, program.name)

    def spelled(self, symbol: sp.Symbol) -> str:
        return symbol.name

    def entry(self, tensor: Tensor, index: tuple[Any, ...]) -> str:
        raise AssertionError(f"{tensor}{index} was not written out")

    def scalar(self, tensor: Tensor, index: tuple[int, ...]) -> sp.Symbol:
        """The variable of an entry; what is written over another value is called like it."""
        tensor = self.program.places.get(tensor, tensor)
        if (tensor, index) not in self.entries:
            wish = "_".join([tensor.name, *(str(i) for i, size in zip(index, tensor.shape, strict=True) if size not in (1, self.batch))])
            self.entries[tensor, index] = sp.Symbol(wish if wish == tensor.name else self.program.name(wish), real=True)
        return self.entries[tensor, index]

    def written_out(self, expr: sp.Basic) -> sp.Basic:
        """Sums as their terms, entries as variables, sizes as numbers."""
        if isinstance(expr, sp.Sum):
            body, *limits = expr.args
            ranges = [range(int(self.written_out(high)) + 1) for _, _, high in limits]
            terms = [body.xreplace({k: sp.Integer(v) for (k, _, _), v in zip(limits, at, strict=True)}) for at in itertools.product(*ranges)]
            return sp.Add(*map(self.written_out, terms))
        if isinstance(expr, sp.Indexed):
            tensor, index = split(expr)
            return self.scalar(tensor, tuple(map(int, index)))
        if isinstance(expr, Tensor):
            return expr if expr is self.program.step else self.scalar(expr, ())
        if expr == self.batch:
            return sp.S.One
        return expr.func(*map(self.written_out, expr.args)) if expr.args else expr

    def lines(self) -> list[str]:
        """The update of one sample."""
        program, w = self.program, self.words
        result: list[str] = []
        for tensor, expr in program.equations:
            if tensor is not program.system.loss and self.constants.takes(tensor, expr):
                continue
            for index in itertools.product(*map(range, _extents(tensor.shape, self.batch))):
                own = index[len(index) - rank_of(expr) :]
                value = IndexForm().entry(expr, tuple(map(sp.Integer, own)))
                result.append(f"{self.scalar(tensor, index).name} = {self.printer.plain(self.written_out(self.constants(value)))}")
            if tensor is program.system.loss:
                result += [f"if not np.isfinite({tensor.name}):", "    break", f"{w['total']} += {tensor.name}"]
        named = [f"{symbol.name} = {self.real}({self.double.plain(expr)})" for symbol, expr in self.constants.found]
        if any(program.step in e.expr.free_symbols for e in program.equations):
            named.insert(0, f"{program.step.name} = {w['t']} + {w['done']} + 1")
        return named + result

    def cells(self, tensor: Tensor) -> list[tuple[str, str]]:
        """(variable, place in its array) of every entry of a tensor that lives from step to step."""
        return [
            (self.scalar(tensor, index).name, f"{self.arrays[tensor]}[{', '.join(map(str, squeezed(index, tensor.shape))) or '()'}]")
            for index in itertools.product(*map(range, _extents(tensor.shape, self.batch)))
        ]

    def fetch(self, tensor: Tensor) -> list[str]:
        """One sample's entries of a data tensor, those that are read."""
        lines = []
        for index in itertools.product(*map(range, _extents(tensor.shape, self.batch))):
            if (tensor, index) in self.entries:
                rest = [str(i) for i, size in zip(index, tensor.shape, strict=True) if size != 1 and size != self.batch]
                where = [self.words["sample"]] * (self.batch in tensor.shape) + rest
                lines.append(f"{self.entries[tensor, index].name} = {self.arrays[tensor]}[{', '.join(where) or '()'}]")
        return lines

    def source(self) -> str:
        program, w = self.program, self.words
        places = stored(program)
        kept = [cell for t in places for cell in self.cells(t)]
        body = self.lines()
        fetch = [line for t in program.data for line in self.fetch(t)]
        parts = {
            "unpack": indented([*taken(w["values"], [self.arrays[t] for t in places]), *taken(w["data"], [self.arrays[t] for t in program.data])], 1),
            "load": indented([f"{variable} = {cell}" for variable, cell in kept], 1),
            "body": indented([*fetch, *body], 2),
            "store": indented([f"{cell} = {variable}" for variable, cell in kept], 1),
            "imported": imported(self.kernels),
            "helpers": compiled_helpers({*self.printer.helpers, *self.double.helpers}, self.kernels),
        }
        return fold(_MODULE.lstrip().format(dtype=self.dtype, version=__version__, **parts, **w))


def _extents(shape: Shape, batch: Dim | None) -> tuple[int, ...]:
    """The shape for one sample."""
    return tuple(size if isinstance(size, int) else int(size.xreplace({batch: sp.S.One})) for size in shape)


_MODULE = '''
"""Training of a small network in compiled code, a sample at a time. Written by symbackprop {version}."""

import math

import numpy as np
from numba import njit

from symbackprop.codegen import {imported}

{real} = np.{dtype}
{helpers}

@njit(**{kernels}.COMPILED)
def {run}({samples}, {first}, {last}, {t}, {values}, {data}, {order}, {sums}):
    """Updates number `{first}` to `{last}`, counted over all epochs. Returns how many were made.

    There are fewer if a loss is not finite, which is found before that sample's update. `{t}`: updates made before.
    `{order}`: the numbers of the samples in each epoch, or nothing. `{sums}`: for each epoch the sum of its
    losses, which goes on from what is there.
    """
{unpack}
{load}
    {done} = 0
    {epoch}, {following} = divmod({first}, {samples})
    {total} = {sums}[{epoch}]
    for {turn} in range({first}, {last}):
        {sample} = {order}[{turn}] if {order}.size else {following}
{body}
        {done} += 1
        {following} += 1
        if {following} == {samples}:
            {sums}[{epoch}] = {total}
            {total} = 0.0
            {epoch}, {following} = {epoch} + 1, 0
    if {following}:
        {sums}[{epoch}] = {total}
{store}
    return {done}
'''

__all__ = ["is_small", "native_scalars"]
