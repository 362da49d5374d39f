"""What a compiled step consists of: passes over all entries of an array, products of matrices, calls of kernels, loops over time, and the
check of the loss."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import sympy as sp

from symbackprop.calculus.index import split
from symbackprop.codegen.native_expressions import squeezed
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.base import Index
from symbackprop.graph.shapes import Dimension, Shape
from symbackprop.graph.tensor import Tensor


@dataclass
class Line:
    """`symbol[index] = value`, or `+= value` where it `adds`: a sum over the indices of the pass that are not in `index`."""

    symbol: Tensor
    index: Index
    value: sp.Expr
    adds: bool = False

    @cached_property
    def reads(self) -> list[tuple[Tensor, Index]]:
        """The entries that the value reads."""
        return list(_entries(self.value))


@dataclass
class Pass:
    """Loops over `axes` (index, size), the lines in each turn. Without axes: scalars."""

    axes: tuple[tuple[sp.Symbol, Dimension], ...]
    lines: list[Line]


@dataclass
class Product:
    """`symbol = alpha op(a) @ op(b) + beta symbol`; (a, b) as (tensor, transposed). `shapes`: those under which the symbol, a and b are matrices."""

    symbol: Tensor
    a: tuple[Tensor, bool]
    b: tuple[Tensor, bool]
    shapes: tuple[Shape, ...]
    alpha: sp.Expr = sp.S.One
    beta: sp.Expr = sp.S.Zero


@dataclass
class Call:
    """A kernel on arrays under other shapes: `shapes` are those under which it sees the symbol and each operand; `options` follow."""

    symbol: Tensor
    kernel: str
    operands: tuple[Tensor, ...]
    shapes: tuple[Shape, ...]
    options: tuple[Any, ...] = ()


@dataclass
class Check:
    """Stop where the loss is not finite."""

    loss: Tensor


@dataclass
class Loop:
    """`length` turns of `statements`, from the first time or, where it is `reverse`, from the last. Before a turn `rows`: (item, sequence), item =
    sequence[t]. After it `stacks`: (result, tensor), result[t] = tensor; then `news`: (state, its new value). At the end `finals`: (result, state).
    """

    length: Dimension
    reverse: bool
    t: str
    rows: list[tuple[Tensor, Tensor]]
    statements: list[Any]
    stacks: list[tuple[Tensor, Tensor]]
    news: list[tuple[Tensor, Tensor]]
    finals: list[tuple[Tensor, Tensor]]

    @property
    def results(self) -> list[Tensor]:
        return [result for result, _ in (*self.stacks, *self.finals)]


@dataclass
class End:
    """Where the turn of a loop ends: what it reads must stand in memory until the last turn."""

    loop: Loop


Statement = Pass | Product | Call | Check | Loop | End


@dataclass
class Lowered:
    """`statements` in order; `constants`: what depends on nothing but sizes and the step count, in double precision, before them; `letters` that
    loops are named by."""

    statements: list[Statement] = field(default_factory=list)
    constants: list[tuple[sp.Symbol, sp.Expr]] = field(default_factory=list)
    letters: list[sp.Symbol] = field(default_factory=list)


def written(statement: Statement) -> list[Tensor]:
    """The symbols that a statement computes."""
    if isinstance(statement, Pass):
        return [line.symbol for line in statement.lines]
    if isinstance(statement, Loop):
        return statement.results
    return [] if isinstance(statement, (Check, End)) else [statement.symbol]


def _entries(expr: sp.Expr) -> Iterator[tuple[Tensor, Index]]:
    """The entries that an expression reads."""
    for part in expr.atoms(sp.Indexed, Tensor):
        if isinstance(part, sp.Indexed):
            tensor, index = split(part)
            yield tensor, squeezed(index, tensor.shape)
        elif not any(size != 1 for size in part.shape):
            yield part, ()


def read_by(statement: Statement) -> set[Tensor]:
    """The tensors that a statement reads."""
    if isinstance(statement, Pass):
        return {t for line in statement.lines for t, _ in line.reads}
    if isinstance(statement, Product):
        return {statement.a[0], statement.b[0], *tensors_in(statement.alpha), *tensors_in(statement.beta)}
    if isinstance(statement, Loop):
        return {x for _, x in statement.rows} | {state for state, _ in statement.news}
    if isinstance(statement, End):
        return _read_in_every_turn(statement.loop)
    return {statement.loss} if isinstance(statement, Check) else set(statement.operands)


def _read_in_every_turn(loop: Loop) -> set[Tensor]:
    """What stands until the last turn of a loop: all that it reads and does not compute, and what it hands on."""
    inside = set().union(*map(read_by, loop.statements)) - {t for s in loop.statements for t in written(s)} - {item for item, _ in loop.rows}
    handed = {t for pair in (*loop.stacks, *loop.news, *loop.finals) for t in pair}
    return inside | handed | {x for _, x in loop.rows}


def flattened(statements: Iterable[Statement]) -> Iterator[Statement]:
    """All statements in order: after a loop those of its turn, and its end."""
    for statement in statements:
        yield statement
        if isinstance(statement, Loop):
            yield from (*statement.statements, End(statement))


__all__ = ["Call", "Check", "End", "Line", "Loop", "Lowered", "Pass", "Product", "Statement", "flattened", "read_by", "written"]
