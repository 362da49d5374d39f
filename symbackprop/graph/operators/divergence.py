"""The Kullback-Leibler divergence of two softmaxes and its slopes as operators of their own, since sum(p log(p/q)) is of second order in what the two
differ by, and its terms of first. The rewrites of `calculus.entropies` put them where arrays are computed; nobody needs to write them.

Of p = softmax(a), d = b - a and d' = d - sum(p d), it is log(sum(p e^d')) = log1p(sum(p (e^d' - 1 - d'))), where no term is negative; the slopes are
-p d' to a and softmax(b) - p to b.

Sources: T. M. Cover & J. A. Thomas, Elements of Information Theory, 2nd ed. (2006), eq. 2.26 and theorem 2.6.3, whose inequality e^x - 1 - x >= 0
is; S. Amari, Information Geometry and Its Applications (2016), section 1.4, for the divergence as that of log(sum(exp(z))) and its gradients.
"""

from collections.abc import Callable, Iterable, Sequence

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import log_softmax, softmax
from symbackprop.graph.shapes import Shape, rank_of, shape_of


class OfTwoLogits(Operator):
    """An operator of logits a and b of the same shape, along an axis."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    def options(self) -> Iterable[str]:
        return [f"axis={self.axis}"] if self.axis != -1 else []

    @staticmethod
    def formula(a: sp.Expr, b: sp.Expr, axis: int) -> sp.Expr:
        """What it computes, in other operators."""
        raise NotImplementedError

    def latex_form(self, p: LatexPrinter) -> str:
        a, b = self.operands
        return p.plain(self.formula(a, b, self.axis))

    def numpy_form(self, p: CodePrinter) -> str:
        a, b = map(p.plain, self.operands)
        return f"{p.helper(f'_{self.word}')}({a}, {b}, {self.axis})"

    def share_slope(self, z: sp.Expr, g: sp.Expr) -> sp.Expr:
        """s (g - sum(g s)) of s = softmax(z), its pullback."""
        s = softmax(z, self.axis)
        return s * (g - reduce_sum(g * s, self.axis, keepdims=True))


class _InIndexForm:
    """The entries of logits in a row."""

    def __init__(self, at: int, size: sp.Expr, rest: Index, context: IndexContext) -> None:
        self.at, self.size, self.rest, self.context = at, size, rest, context

    def entry(self, x: sp.Expr, k: sp.Expr) -> sp.Expr:
        return self.context.entry(x, (*self.rest[: self.at], k, *self.rest[self.at :]))

    def sum(self, term: Callable[[sp.Expr], sp.Expr]) -> sp.Expr:
        k = self.context.fresh(self.size)
        return IndexSum(term(k), (k, 0, self.size - 1))

    def share(self, z: sp.Expr, k: sp.Expr) -> sp.Expr:
        return sp.exp(self.entry(z, k)) / self.sum(lambda j: sp.exp(self.entry(z, j)))


class ShareDivergence(OfTwoLogits):
    """sum(p (log(p) - log(q))) of p = softmax(a) and q = softmax(b) along an axis.

    Pullback: to a, h p (log(p) - log(q) - the divergence); to b, h (q - p)."""

    title = "the Kullback-Leibler divergence"
    word = "divergence"

    @staticmethod
    def formula(a: sp.Expr, b: sp.Expr, axis: int) -> sp.Expr:
        return reduce_sum(softmax(a, axis) * (log_softmax(a, axis) - log_softmax(b, axis)), axis)

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) - 1

    def infer_shape(self) -> Shape:
        shape = list(shape_of(self.operands[0]))
        del shape[self.axis]
        return tuple(shape)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        h = expand_axes(adjoint, (self.axis,), rank_of(self.operands[0]))
        return [h * DivergenceSlope(*self.args), h * ShareDifference(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        a, b = self.operands
        row = _row(self, index, context)
        logs = sp.log(row.sum(lambda j: sp.exp(row.entry(b, j)))) - sp.log(row.sum(lambda j: sp.exp(row.entry(a, j))))
        return row.sum(lambda k: row.share(a, k) * (row.entry(a, k) - row.entry(b, k))) + logs


class DivergenceSlope(OfTwoLogits):
    """p (a - b - sum(p (a - b))) of p = softmax(a) along an axis, the slope of the divergence to a.

    Pullback: that of the softmax's slope, to a - b and through p."""

    title = "the slope of the Kullback-Leibler divergence"
    word = "divergence_slope"

    @staticmethod
    def formula(a: sp.Expr, b: sp.Expr, axis: int) -> sp.Expr:
        p = softmax(a, axis)
        return p * (a - b - reduce_sum(p * (a - b), axis, keepdims=True))

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        a, b = self.operands
        p, g = softmax(a, self.axis), a - b
        to_g = self.share_slope(a, adjoint)
        to_p = adjoint * (g - reduce_sum(p * g, self.axis, keepdims=True)) - g * reduce_sum(adjoint * p, self.axis, keepdims=True)
        return [to_g + self.share_slope(a, to_p), -to_g]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        a, b = self.operands
        at = self.axis + self.rank
        row, k = _row(self, (*index[:at], *index[at + 1 :]), context), index[at]
        mean = row.sum(lambda j: row.share(a, j) * (row.entry(a, j) - row.entry(b, j)))
        return row.share(a, k) * (row.entry(a, k) - row.entry(b, k) - mean)


class ShareDifference(OfTwoLogits):
    """softmax(b) - softmax(a) along an axis, the slope of the divergence to b.

    Pullback: to a, minus that of the softmax; to b, that of the softmax."""

    title = "the difference of two softmaxes"
    word = "share_difference"

    @staticmethod
    def formula(a: sp.Expr, b: sp.Expr, axis: int) -> sp.Expr:
        return softmax(b, axis) - softmax(a, axis)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        a, b = self.operands
        return [-self.share_slope(a, adjoint), self.share_slope(b, adjoint)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        a, b = self.operands
        at = self.axis + self.rank
        row, k = _row(self, (*index[:at], *index[at + 1 :]), context), index[at]
        return row.share(b, k) - row.share(a, k)


def _row(operator: OfTwoLogits, rest: Index, context: IndexContext) -> _InIndexForm:
    a = operator.operands[0]
    at = operator.axis + rank_of(a)
    return _InIndexForm(at, shape_of(a)[at], rest, context)


__all__ = ["DivergenceSlope", "OfTwoLogits", "ShareDifference", "ShareDivergence"]
