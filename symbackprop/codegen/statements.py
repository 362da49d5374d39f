"""What a compiled step consists of: passes over all entries of an array, products of matrices, calls of kernels, and the check of the loss."""

from collections.abc import Iterator
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


Statement = Pass | Product | Call | Check


@dataclass
class Lowered:
    """`statements` in order; `constants`: what depends on nothing but sizes and the step count, in double precision, before them."""

    statements: list[Statement] = field(default_factory=list)
    constants: list[tuple[sp.Symbol, sp.Expr]] = field(default_factory=list)


def written(statement: Statement) -> list[Tensor]:
    """The symbols that a statement computes."""
    if isinstance(statement, Pass):
        return [line.symbol for line in statement.lines]
    return [] if isinstance(statement, Check) else [statement.symbol]


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
    return {statement.loss} if isinstance(statement, Check) else set(statement.operands)


__all__ = ["Call", "Check", "Line", "Lowered", "Pass", "Product", "Statement", "read_by", "written"]
