"""The pullbacks of the two softmaxes as operators of their own, since computed by their formulas they cancel where one share is nearly 1: the
slope of that entry then is a product of numbers, one of which is 1 - s. The rewrites of `calculus.structures` put them where arrays are
computed; nobody needs to write them.

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021),
section 4: what is nearly 1 is the complement of a sum of small numbers, and is to be computed as one.
"""

from collections.abc import Sequence

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.shapes import Shape, rank_of, shape_of


class ShareSlope(Operator):
    """An operator of shares s, which are not negative and whose sum along an axis is 1, and of an adjoint g."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    @staticmethod
    def formula(s: sp.Expr, g: sp.Expr, axis: int) -> sp.Expr:
        """What it computes, in other operators."""
        raise NotImplementedError

    def total(self, x: sp.Expr, y: sp.Expr, index: Index, context: IndexContext) -> sp.Expr:
        """The sum of x y along the axis, in index form."""
        at = self.axis + self.rank
        k = context.fresh(self.infer_shape()[at])
        there = (*index[:at], k, *index[at + 1 :])
        return IndexSum(context.entry(x, there) * context.entry(y, there), (k, 0, self.infer_shape()[at] - 1))

    def latex_form(self, p: LatexPrinter) -> str:
        s, g = self.operands
        return p.plain(self.formula(s, g, self.axis))


class SoftmaxSlope(ShareSlope):
    """s (g - sum(g s)), where 1 - s of a share s that is nearly 1 is the sum of the others.

    Pullback: to s, h (g - sum(g s)) - g sum(h s); to g, the same operator of h.
    """

    title = "the slope of the softmax"

    @staticmethod
    def formula(s: sp.Expr, g: sp.Expr, axis: int) -> sp.Expr:
        return s * (g - reduce_sum(g * s, axis, keepdims=True))

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        s, g = self.operands
        to_s = adjoint * (g - reduce_sum(g * s, self.axis, keepdims=True)) - g * reduce_sum(adjoint * s, self.axis, keepdims=True)
        return [to_s, SoftmaxSlope(self.args[0], s, adjoint)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        s, g = self.operands
        return context.entry(s, index) * (context.entry(g, index) - self.total(g, s, index, context))

    def numpy_form(self, p: CodePrinter) -> str:
        s, g = self.operands
        return f"{p.helper('_softmax_slope')}({p.plain(s)}, {p.plain(g)}, {self.axis})"


class LogSoftmaxSlope(ShareSlope):
    """g - s sum(g), where 1 - s of a share s that is nearly 1 is the sum of the others.

    Pullback: to s, -h sum(g); to g, h - sum(h s).
    """

    title = "the slope of the log-softmax"

    @staticmethod
    def formula(s: sp.Expr, g: sp.Expr, axis: int) -> sp.Expr:
        return g - s * reduce_sum(g, axis, keepdims=True)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        s, g = self.operands
        return [-adjoint * reduce_sum(g, self.axis, keepdims=True), adjoint - reduce_sum(adjoint * s, self.axis, keepdims=True)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        s, g = self.operands
        return context.entry(g, index) - context.entry(s, index) * self.total(g, sp.S.One, index, context)

    def numpy_form(self, p: CodePrinter) -> str:
        s, g = self.operands
        return f"{p.helper('_log_softmax_slope')}({p.plain(s)}, {p.plain(g)}, {self.axis})"
