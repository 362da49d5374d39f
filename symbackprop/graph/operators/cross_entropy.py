"""The cross-entropy of logits and its slope as operators of their own: log(sum(exp(z))) - z_t is a difference of nearly equal numbers where the
label is nearly sure, and softmax(z) - 1 one too. The rewrites of `calculus.entropies` put them where arrays are computed; nobody needs to write
them.

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021),
section 4: of the sum of exponentials the largest, which is 1, is left out and added by log1p; 1 - s of the largest share s is the sum of the
others.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator
from symbackprop.graph.operators.gather import OneHot
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import logsumexp, softmax
from symbackprop.graph.shapes import Shape, rank_of, shape_of
from symbackprop.graph.tensor import Tensor


def total(t: sp.Expr, axis: int) -> sp.Expr:
    """The sum of t along an axis; that of what is coded is 1."""
    seen = t
    while isinstance(seen, Tensor) and seen.definition is not None:
        seen = seen.definition
    if isinstance(seen, OneHot) and axis == -1:
        return sp.S.One
    if isinstance(seen, sp.Add):
        return sp.Add(*(total(part, axis) if rank_of(part) else part * shape_of(t)[axis] for part in seen.args))
    if isinstance(seen, sp.Mul) and (scalars := [x for x in seen.args if not rank_of(x)]):
        return sp.Mul(*scalars, total(sp.Mul(*(x for x in seen.args if rank_of(x))), axis))
    return reduce_sum(t, axis)


class OfLogits(Operator):
    """An operator of logits z, of targets t of the same shape, and of a weight a of each row, or a number."""

    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    def options(self) -> Iterable[str]:
        return [f"axis={self.axis}"] if self.axis != -1 else []

    @cached_property
    def adds_up(self) -> bool:
        """Whether the targets of each row are known to add up to its weight, up to how the numbers in them are rounded: then a shift of the
        logits changes nothing."""
        _, t, a = self.operands
        difference = total(t, self.axis) - a
        return bool(difference == 0 or (difference.is_Number and abs(difference) < 1e-14))

    @staticmethod
    def formula(z: sp.Expr, t: sp.Expr, a: sp.Expr, axis: int) -> sp.Expr:
        """What it computes, in other operators."""
        raise NotImplementedError

    def spread(self, x: sp.Expr) -> sp.Expr:
        """A number of each row with the lost axis back, of size one."""
        return expand_axes(x, (self.axis,), rank_of(self.operands[0])) if rank_of(x) else x

    def exponentials(self, rest: Index, context: IndexContext) -> sp.Expr:
        """The sum of the exponentials of a row in index form."""
        z = self.operands[0]
        at = self.axis + rank_of(z)
        k = context.fresh(shape_of(z)[at])
        return IndexSum(sp.exp(context.entry(z, (*rest[:at], k, *rest[at:]))), (k, 0, shape_of(z)[at] - 1))

    def latex_form(self, p: LatexPrinter) -> str:
        z, t, a = self.operands
        return p.plain(self.formula(z, t, a, self.axis))


class CrossEntropy(OfLogits):
    """a log(sum(exp(z))) - sum(t z) along an axis: the cross-entropy of softmax(z) with targets t, where a is what these add up to.

    Pullback: to z, h times the slope; to t, -h z; to a, h log(sum(exp(z)))."""

    title = "the cross-entropy"
    word = "cross_entropy"

    @staticmethod
    def formula(z: sp.Expr, t: sp.Expr, a: sp.Expr, axis: int) -> sp.Expr:
        return a * logsumexp(z, axis) - reduce_sum(t * z, axis)

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) - 1

    def infer_shape(self) -> Shape:
        shape = list(shape_of(self.operands[0]))
        del shape[self.axis]
        return tuple(shape)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        z, _, a = self.operands
        h = self.spread(adjoint)
        return [h * CrossEntropySlope(*self.args), -h * z, None if a.is_number else adjoint * logsumexp(z, self.axis)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        z, t, a = self.operands
        at = self.axis + rank_of(z)
        k = context.fresh(shape_of(z)[at])
        there = (*index[:at], k, *index[at:])
        gained = IndexSum(context.entry(t, there) * context.entry(z, there), (k, 0, shape_of(z)[at] - 1))
        return (a if a.is_number else context.entry(a, index)) * sp.log(self.exponentials(index, context)) - gained

    def numpy_form(self, p: CodePrinter) -> str:
        z, t, a = map(p.plain, self.operands)
        return f"{p.helper('_cross_entropy')}({z}, {t}, {a}, {self.axis}{', shifts=True' * self.adds_up})"


class CrossEntropySlope(OfLogits):
    """a softmax(z) - t along an axis, the slope of the cross-entropy of logits.

    Pullback: to z, a s (h - sum(h s)) with s = softmax(z); to t, -h; to a, sum(h s)."""

    title = "the slope of the cross-entropy"
    word = "cross_entropy_slope"

    @staticmethod
    def formula(z: sp.Expr, t: sp.Expr, a: sp.Expr, axis: int) -> sp.Expr:
        return (expand_axes(a, (axis,), rank_of(z)) if rank_of(a) else a) * softmax(z, axis) - t

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        z, _, a = self.operands
        s = softmax(z, self.axis)
        to_z = self.spread(a) * s * (adjoint - reduce_sum(adjoint * s, self.axis, keepdims=True))
        return [to_z, -adjoint, None if a.is_number else reduce_sum(adjoint * s, self.axis)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        z, t, a = self.operands
        at = self.axis + rank_of(z)
        rest = (*index[:at], *index[at + 1 :])
        share = sp.exp(context.entry(z, index)) / self.exponentials(rest, context)
        return (a if a.is_number else context.entry(a, rest)) * share - context.entry(t, index)

    def numpy_form(self, p: CodePrinter) -> str:
        z, t, a = self.operands
        return f"{p.helper('_cross_entropy_slope')}({p.plain(z)}, {p.plain(t)}, {p.plain(self.spread(a))}, {self.axis})"
