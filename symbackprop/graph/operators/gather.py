"""Operators that read or write by integer data: take, its pullback scatter, and one-hot."""

from collections.abc import Iterable, Sequence
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator, normal_axes, operand
from symbackprop.graph.shapes import Shape, as_dimension, rank_of, shape_of
from symbackprop.graph.tensor import Tensor


class Take(Operator):
    """Entries of `x` along an axis at integer positions: result[.., i.., ..] = x[.., indices[i..], ..]. Operands: x, indices."""

    title = "the lookup"
    n_parameters = 1  # axis, negative

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        x, indices = self.operands
        return rank_of(x) - 1 + rank_of(indices)

    @property
    def _at(self) -> int:
        return self.axis + rank_of(self.operands[0])

    def options(self) -> Iterable[str]:
        return [f"axis={self._at}"] if self._at else []

    def infer_shape(self) -> Shape:
        shape, picked = map(shape_of, self.operands)
        return (*shape[: self._at], *picked, *shape[self._at + 1 :])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        x, indices = self.operands
        return [Scatter(self.args[0], sp.sympify(shape_of(x)[self.axis], strict=True), adjoint, indices), None]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        x, indices = self.operands
        picked = rank_of(indices)
        where = context.entry(indices, index[self._at : self._at + picked])
        return context.entry(x, (*index[: self._at], where, *index[self._at + picked :]))

    def latex_form(self, p: LatexPrinter) -> str:
        x, indices = self.operands
        return rf"\left[{p.plain(x)}\right]_{{{', '.join([':'] * self._at + [p.plain(indices)])}}}"

    def numpy_form(self, p: CodePrinter) -> str:
        x, indices = self.operands
        return f"np.take({p.plain(x)}, {p.plain(indices)}, axis={self.axis})"


class Scatter(Operator):
    """Zeros, with the entries of `g` added at integer positions along an axis: the pullback of `Take`. Operands: g, indices."""

    title = "the scattering"
    n_parameters = 2  # axis (negative, of the result), size of that axis

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        g, indices = self.operands
        return rank_of(g) - rank_of(indices) + 1

    @property
    def _at(self) -> int:
        return self.axis + self.rank

    def infer_shape(self) -> Shape:
        shape = shape_of(self.operands[0])
        return (*shape[: self._at], as_dimension(self.args[1]), *shape[self._at + rank_of(self.operands[1]) :])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [Take(self.args[0], adjoint, self.operands[1]), None]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        g, indices = self.operands
        sizes = shape_of(indices)
        ks = [context.fresh(size) for size in sizes]
        where = context.entry(indices, tuple(ks))
        body = sp.KroneckerDelta(where, index[self._at]) * context.entry(g, (*index[: self._at], *ks, *index[self._at + 1 :]))
        return IndexSum(body, *((k, 0, size - 1) for k, size in zip(ks, sizes, strict=True))) if ks else body

    def latex_form(self, p: LatexPrinter) -> str:
        g, indices = self.operands
        return p.call(rf"\operatorname{{scatter}}_{{{p.plain(indices)}}}", g)

    def numpy_form(self, p: CodePrinter) -> str:
        g, indices = self.operands
        return f"{p.helper('_scatter')}({p.plain(g)}, {p.plain(indices)}, {self.axis}, {p.plain(self.args[1])})"


class OneHot(Operator):
    """1 where the last index equals the integer label, 0 elsewhere: shape (*labels, size). It has no derivative in its labels."""

    title = "the one-hot coding"
    word = "one_hot"
    n_parameters = 1

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) + 1

    def infer_shape(self) -> Shape:
        return (*shape_of(self.operands[0]), as_dimension(self.args[0]))

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [None]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return sp.KroneckerDelta(context.entry(self.operands[0], index[:-1]), index[-1])

    def latex_form(self, p: LatexPrinter) -> str:
        return p.call(r"\operatorname{onehot}", *self.operands)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_one_hot')}({p.plain(self.operands[0])}, {p.plain(self.args[0])})"


def _labels(indices: Any, name: str) -> Tensor:
    if not isinstance(indices, Tensor) or indices.role != "data":
        raise ShapeError(f"{name}: the indices are {indices}; expected a data tensor of integers, declared with data(...)")
    return indices


def take(x: Any, indices: Any, axis: int = 0) -> sp.Expr:
    """Entries of `x` along `axis` at the integer positions in the data tensor `indices`, as `numpy.take`.

    The shape is x's with the axis replaced by the shape of `indices`. The indices have no derivative; they are checked
    at run time to be integers from 0 to the axis's size - 1.
    """
    x = operand(x, "take")
    (at,) = normal_axes(axis, x, "take")
    return Take(sp.Integer(at), x, _labels(indices, "take"))


def one_hot(labels: Any, size: Any) -> sp.Expr:
    """The integer labels in a data tensor of shape (..,) as rows of the identity matrix, shape (.., size)."""
    return OneHot(sp.sympify(as_dimension(size), strict=True), _labels(labels, "one_hot"))
