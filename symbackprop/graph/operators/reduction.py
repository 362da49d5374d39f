"""Reductions that are not contractions: the maximum, log-sum-exp, and the two softmaxes. All work along one axis, counted
from the end; several axes are brought together by a transpose and a reshape first.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 4.1 (softmax's stability) and 6.2.2.3.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator, normal_axes, operand
from symbackprop.graph.operators.layout import expand_axes, reshape
from symbackprop.graph.operators.products import reduce_sum, transpose
from symbackprop.graph.shapes import Shape, rank_of, shape_of, size_of


class AlongAxis(Operator):
    """An operator with one operand and one axis."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    def options(self) -> Iterable[str]:
        return [f"axis={self.axis}"] if self.axis != -1 else []

    def _latex_call(self, name: str, p: LatexPrinter) -> str:
        axis = "" if self.axis == -1 else rf"_{{\text{{axis }} {self.axis + rank_of(self.operands[0])}}}"
        return p.call(f"{name}{axis}", *self.operands)

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


class OverIndex(sp.Expr):
    """An expression with indices of its own, as SymPy's `Sum` has them: `args[0]` is the body, then for each index (index, first, last)."""

    is_real = True
    is_commutative = True
    n_indices = 1

    @property
    def limits(self) -> tuple[sp.Tuple, ...]:
        return self.args[1 : 1 + self.n_indices]

    def __new__(cls, *args: Any) -> sp.Expr:
        made: sp.Expr = sp.Expr.__new__(cls, *(sp.sympify(a, strict=True) for a in args))
        return made

    @property
    def free_symbols(self) -> set[sp.Basic]:
        bound = {k for k, _, _ in self.limits}
        ends = set().union(*(end.free_symbols for _, *both in self.limits for end in both))
        return (self.args[0].free_symbols - bound) | ends | set().union(*(r.free_symbols for r in self.args[1 + self.n_indices :]))


class BigMax(OverIndex):
    """The largest value of the body: `BigMax(entry, (k, 0, n - 1))`."""

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        body, (k, low, high) = self.args
        m = sp.Dummy(k.name, integer=True, nonnegative=True)  # the index of the comparison is not that of the sum
        return IndexSum(IsFirstMax(body.xreplace({k: m}), (m, low, high), k) * body.diff(symbol), (k, low, high))

    def _latex(self, printer: Any) -> str:
        return rf"\max_{{{printer._print(self.args[1][0])}}} {printer._print(self.args[0])}"

    def _pythoncode(self, printer: Any) -> str:
        body, (k, low, high) = self.args
        k, low, high, body = (printer._print(x) for x in (k, low, high, body))
        return f"max({body} for {k} in range({low}, {high} + 1))"

    _numpycode = _mpmathcode = _lambdacode = _pythoncode


class IsFirstMax(OverIndex):
    """1 if the body at `args[2]` is the first of its largest values, else 0. A function of its own, because a `Piecewise` in the
    condition of a `Piecewise` loses its index to SymPy's folding."""

    is_nonnegative = True

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        return sp.S.Zero

    def _latex(self, printer: Any) -> str:
        body, (k, _, _), at = self.args
        k, body, at = (printer._print(x) for x in (k, body, at))
        return rf"\mathbf{{1}}_{{\left[{at} = \operatorname{{argmax}}_{{{k}}} {body}\right]}}"

    def _pythoncode(self, printer: Any) -> str:
        body, (k, low, high), at = self.args
        k, low, high, body, at, here = (printer._print(x) for x in (k, low, high, body, at, body.xreplace({k: at})))
        return f"(1 if all({here} > {body} or ({here} == {body} and {at} <= {k}) for {k} in range({low}, {high} + 1)) else 0)"

    _numpycode = _mpmathcode = _lambdacode = _pythoncode


class AxisMax(Reduction):
    """The largest entry along an axis. Where several are equal, the first one takes the whole derivative."""

    title = "the maximum"

    def _sympystr(self, printer: Any) -> str:
        x, axes = self._joint()
        return f"max({printer._print(x)}, axis={axes[0] if len(axes) == 1 else tuple(axes)})"

    def _joint(self) -> tuple[sp.Expr, list[int]]:
        """Maxima of maxima are one, along several axes."""
        (x,), axes = self.operands, [self.axis]
        while isinstance(x, AxisMax):
            axes = [x.axis, *(a if a > x.axis else a - 1 for a in axes)]
            (x,) = x.operands
        return x, sorted(axes)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self.spread(adjoint) * FirstMax(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(index, context)
        return BigMax(entry, sp.Tuple(k, 0, size - 1))

    def latex_form(self, p: LatexPrinter) -> str:
        x, axes = self._joint()
        if len(axes) == 1:
            return self._latex_call(r"\max", p)
        return p.call(rf"\max_{{\text{{axes }} {', '.join(str(a + rank_of(x)) for a in axes)}}}", x)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.atom(self.operands[0])}.max(axis={self.axis})"


class FirstMax(SameShape):
    """1 at the first largest entry along an axis, 0 elsewhere. Piecewise constant: its own derivative is zero."""

    title = "the place of the maximum"
    word = "first_max"

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [None]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        return IsFirstMax(entry, sp.Tuple(k, 0, size - 1), index[self.axis + self.rank])

    def latex_form(self, p: LatexPrinter) -> str:
        return self._latex_call(r"\operatorname{onehot}\operatorname{argmax}", p)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_first_max')}({p.plain(self.operands[0])}, {self.axis})"


class LogSumExp(Reduction):
    """log of the sum of exponentials along an axis, computed without overflow. Its gradient is the softmax."""

    title = "log-sum-exp"

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self.spread(adjoint) * Softmax(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(index, context)
        return sp.log(IndexSum(sp.exp(entry), (k, 0, size - 1)))

    def latex_form(self, p: LatexPrinter) -> str:
        return self._latex_call(r"\operatorname{logsumexp}", p)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_logsumexp')}({p.plain(self.operands[0])}, {self.axis})"


class Softmax(SameShape):
    """exp(x)/sum(exp(x)) along an axis; zeros where every x is -oo, which has no share in anything. Pullback: S (G - sum(G S))."""

    title = "the softmax"

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self * (adjoint - reduce_sum(adjoint * self, self.axis, keepdims=True))]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        return sp.exp(context.entry(self.operands[0], index)) / IndexSum(sp.exp(entry), (k, 0, size - 1))

    def latex_form(self, p: LatexPrinter) -> str:
        return self._latex_call(r"\operatorname{softmax}", p)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_softmax')}({p.plain(self.operands[0])}, {self.axis})"


class LogSoftmax(SameShape):
    """log of the softmax along an axis, computed without overflow. Pullback: G - softmax(x) sum(G)."""

    title = "the log-softmax"
    word = "log_softmax"

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [adjoint - Softmax(*self.args) * reduce_sum(adjoint, self.axis, keepdims=True)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        k, size, entry = self._over(self._without_axis(index), context)
        return context.entry(self.operands[0], index) - sp.log(IndexSum(sp.exp(entry), (k, 0, size - 1)))

    def latex_form(self, p: LatexPrinter) -> str:
        return self._latex_call(r"\operatorname{log\,softmax}", p)

    def numpy_form(self, p: CodePrinter) -> str:
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
        return operand(x, name)
    result = kind(sp.Integer(at), y)
    return expand_axes(result, axes, rank_of(operand(x, name))) if keepdims else result


def _same(kind: type[SameShape], x: Any, axis: Any, name: str) -> sp.Expr:
    y, at, axes = _gathered(x, axis, name)
    if len(axes) == 1:
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
    """exp(x)/sum(exp(x)) along `axis`, without overflow; the shape of `x`. An x of -oo has no share; where there is nothing else, all are 0."""
    return _same(Softmax, x, axis, "softmax")


def log_softmax(x: Any, axis: Any = -1) -> sp.Expr:
    """log(softmax(x)) along `axis`, without overflow; the shape of `x`."""
    return _same(LogSoftmax, x, axis, "log_softmax")
