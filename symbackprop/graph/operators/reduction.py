"""Reductions that are not contractions: the maximum, log-sum-exp, and the two softmaxes. All work along one axis, counted
from the end; several axes are brought together by a transpose and a reshape first.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 4.1 (softmax's stability) and 6.2.2.3.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.operators.base import Index, IndexContext, Operator, Printer, normal_axes, operand
from symbackprop.graph.operators.layout import expand_axes, reshape
from symbackprop.graph.operators.products import reduce_sum, transpose
from symbackprop.graph.shapes import Shape, rank_of, shape_of, size_of


class AlongAxis(Operator):
    """An operator with one operand and one axis."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    def _latex_call(self, name: str, p: Printer) -> str:
        axis = "" if self.axis == -1 else rf"_{{\text{{axis }} {self.axis + rank_of(self.operands[0])}}}"
        return rf"{name}{axis}\left({p.plain(self.operands[0])}\right)"

    def _over(self, index: Index, context: IndexContext) -> tuple[sp.Symbol, Any, sp.Expr]:
        """A fresh index along the axis, its size, and the operand's entry there; `index` is that of the reduced result."""
        x = self.operands[0]
        size = shape_of(x)[self.axis]
        k = context.fresh(size)
        at = self.axis + rank_of(x)
        return k, size, context.entry(x, (*index[:at], k, *index[at:]))


class Reduction(AlongAxis):
    """An `AlongAxis` whose result has lost the axis."""

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) - 1

    def infer_shape(self) -> Shape:
        shape = list(shape_of(self.operands[0]))
        del shape[self.axis]
        return tuple(shape)

    def spread(self, adjoint: sp.Expr) -> sp.Expr:
        """The result's adjoint with the lost axis back, of size one."""
        return expand_axes(adjoint, (self.axis,), rank_of(self.operands[0]))


class SameShape(AlongAxis):
    """An `AlongAxis` whose result has the shape of its operand."""

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    def _without_axis(self, index: Index) -> Index:
        at = self.axis + self.rank
        return (*index[:at], *index[at + 1 :])


class BigMax(sp.Expr):
    """max over an index range, as `Sum` is the sum: `BigMax(entry, (k, 0, n - 1))`. Only printed and evaluated, never differentiated."""

    is_real = True

    def doit(self, **hints: Any) -> sp.Expr:
        body, (k, low, high) = self.args
        if high.is_Integer:
            return sp.Max(*(body.subs(k, v) for v in range(int(low), int(high) + 1)))
        return self

    @property
    def free_symbols(self) -> set[sp.Basic]:
        return (self.args[0].free_symbols - {self.args[1][0]}) | self.args[1][2].free_symbols

    def _latex(self, printer: Any) -> str:
        return rf"\max_{{{printer._print(self.args[1][0])}}} {printer._print(self.args[0])}"


class AxisMax(Reduction):
    """The largest entry along an axis. Where several are equal, the first one takes the whole derivative."""

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self.spread(adjoint) * FirstMax(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(index, context)
        return BigMax(entry, sp.Tuple(k, 0, size - 1))

    def latex_form(self, p: Printer) -> str:
        return self._latex_call(r"\max", p)

    def numpy_form(self, p: Printer) -> str:
        return f"{p.atom(self.operands[0])}.max(axis={self.axis})"


class FirstMax(SameShape):
    """1 at the first largest entry along an axis, 0 elsewhere. Piecewise constant: its own derivative is zero."""

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [None]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        here = context.entry(self.operands[0], index)
        i = index[self.axis + self.rank]
        earlier = sp.Sum(sp.Piecewise((1, sp.And(entry >= here, k < i)), (0, True)), (k, 0, size - 1))
        m, _, other = self._over(self._without_axis(index), context)
        larger = sp.Sum(sp.Piecewise((1, other > here), (0, True)), (m, 0, size - 1))
        return sp.Piecewise((1, sp.Eq(earlier + larger, 0)), (0, True))

    def latex_form(self, p: Printer) -> str:
        return self._latex_call(r"\operatorname{onehot}\operatorname{argmax}", p)

    def numpy_form(self, p: Printer) -> str:
        return f"{p.helper('_first_max')}({p.plain(self.operands[0])}, {self.axis})"


class LogSumExp(Reduction):
    """log of the sum of exponentials along an axis, computed without overflow. Its gradient is the softmax."""

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self.spread(adjoint) * Softmax(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(index, context)
        return sp.log(sp.Sum(sp.exp(entry), (k, 0, size - 1)))

    def latex_form(self, p: Printer) -> str:
        return self._latex_call(r"\operatorname{logsumexp}", p)

    def numpy_form(self, p: Printer) -> str:
        return f"{p.helper('_logsumexp')}({p.plain(self.operands[0])}, {self.axis})"


class Softmax(SameShape):
    """exp(x)/sum(exp(x)) along an axis. Pullback: S (G - sum(G S))."""

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self * (adjoint - reduce_sum(adjoint * self, self.axis, keepdims=True))]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        return sp.exp(context.entry(self.operands[0], index)) / sp.Sum(sp.exp(entry), (k, 0, size - 1))

    def latex_form(self, p: Printer) -> str:
        return self._latex_call(r"\operatorname{softmax}", p)

    def numpy_form(self, p: Printer) -> str:
        return f"{p.helper('_softmax')}({p.plain(self.operands[0])}, {self.axis})"


class LogSoftmax(SameShape):
    """log of the softmax along an axis, computed without overflow. Pullback: G - softmax(x) sum(G)."""

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [adjoint - Softmax(*self.args) * reduce_sum(adjoint, self.axis, keepdims=True)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        return context.entry(self.operands[0], index) - sp.log(sp.Sum(sp.exp(entry), (k, 0, size - 1)))

    def latex_form(self, p: Printer) -> str:
        return self._latex_call(r"\operatorname{log\,softmax}", p)

    def numpy_form(self, p: Printer) -> str:
        return f"{p.helper('_log_softmax')}({p.plain(self.operands[0])}, {self.axis})"


def _gathered(x: Any, axis: Any, name: str) -> tuple[sp.Expr, int, tuple[int, ...]]:
    """(operand with the wanted axes brought into one, that axis, the wanted axes as negative integers)."""
    x = operand(x, name)
    axes = normal_axes(axis, x, name)
    if len(axes) == 1:
        return x, axes[0], axes
    rank = rank_of(x)
    kept = [i for i in range(rank) if i - rank not in axes]
    shape = shape_of(x)
    moved = transpose(x, kept + [a + rank for a in axes]) if kept else x
    return reshape(moved, (*(shape[i] for i in kept), size_of(tuple(shape[a] for a in axes)))), -1, axes


def _reduce(kind: type[Reduction], x: Any, axis: Any, keepdims: bool, name: str) -> sp.Expr:
    y, at, axes = _gathered(x, axis, name)
    if not axes:
        return y
    result = kind(sp.Integer(at), y)
    return expand_axes(result, axes, rank_of(operand(x, name))) if keepdims else result


def _same(kind: type[SameShape], x: Any, axis: Any, name: str) -> sp.Expr:
    y, at, axes = _gathered(x, axis, name)
    if len(axes) <= 1:
        return kind(sp.Integer(at), y)
    x = operand(x, name)
    rank, shape = rank_of(x), shape_of(x)
    order = [i for i in range(rank) if i - rank not in axes] + [a + rank for a in axes]
    split = reshape(kind(sp.Integer(at), y), tuple(shape[i] for i in order))
    return transpose(split, [order.index(i) for i in range(rank)])


def reduce_max(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """The maximum over all axes or over `axis`, as `numpy.max`. Of equal entries the first one (in C order) has the derivative."""
    return _reduce(AxisMax, x, axis, keepdims, "max")


def reduce_min(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """The minimum over all axes or over `axis`, as `numpy.min`. Of equal entries the first one has the derivative."""
    return -_reduce(AxisMax, -operand(x, "min"), axis, keepdims, "min")


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """log(sum(exp(x))) over all axes or over `axis`, without overflow."""
    return _reduce(LogSumExp, x, axis, keepdims, "logsumexp")


def softmax(x: Any, axis: Any = -1) -> sp.Expr:
    """exp(x)/sum(exp(x)) along `axis`, without overflow; the shape of `x`."""
    return _same(Softmax, x, axis, "softmax")


def log_softmax(x: Any, axis: Any = -1) -> sp.Expr:
    """log(softmax(x)) along `axis`, without overflow; the shape of `x`."""
    return _same(LogSoftmax, x, axis, "log_softmax")
