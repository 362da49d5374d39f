"""The Euclidean norm along axes and the vectors divided by it, which stay right where the squares overflow or vanish. Both take a factor of
the sum, a number beside it under the root, and the least value of the root, so that the root mean square and what layers divide by are the
same operators.

Sources: J. L. Blue, "A portable Fortran program to find the Euclidean norm of a vector", ACM TOMS 4 (1978), for the scaling; Rockafellar,
Convex Analysis (1970), section 23, for the subgradient at the origin; Ba, Kiros & Hinton, Layer Normalization (2016), for the quotient.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.functions import step
from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator, ints, normal_axes, operand
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.shapes import Shape, rank_of, shape_of
from symbackprop.graph.stable import xdivy


class AlongAxes(Operator):
    """An operator with one operand x, several axes (counted from the end), and the numbers s, e and m of max(√(s Σx² + e), m). These may be made
    of sizes; s is positive, and e and m are not negative."""

    n_parameters = 4  # axes, s, e, m

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(int(a) for a in self.args[0])

    @property
    def scale(self) -> sp.Expr:
        return self.args[1]

    @property
    def eps(self) -> sp.Expr:
        return self.args[2]

    @property
    def least(self) -> sp.Expr:
        return self.args[3]

    def grows(self) -> sp.Expr:
        """1 where the norm is above its least value, which does not change with x, else 0."""
        return sp.S.One if self.least == 0 else step(Norm(*self.args) - self.least)

    def _root(self, index: Index, context: IndexContext) -> sp.Expr:
        """The norm at the index of an entry of x; what it has along the axes does not matter."""
        (x,) = self.operands
        shape, at = shape_of(x), list(index)
        limits = []
        for a in self.axes:
            k = context.fresh(shape[a])
            limits.append((k, 0, shape[a] - 1))
            at[a + len(shape)] = k
        root = sp.sqrt(self.scale * IndexSum(context.entry(x, tuple(at)) ** 2, *limits) + self.eps)
        return root if self.least == 0 else sp.Max(root, self.least)

    def _latex_root(self, p: LatexPrinter) -> str:
        (x,) = self.operands
        whole = len(self.axes) == rank_of(x)
        over = ("F" if rank_of(x) == 2 else "") if whole else rf"\text{{axis }} {', '.join(str(a + rank_of(x)) for a in self.axes)}"
        norm = rf"\lVert {p.plain(x)} \rVert" + (f"_{{{over}}}" if over else "")
        if self.scale != 1 or self.eps != 0:
            number = "" if self.scale == 1 else f"{p.factor(self.scale)} "
            norm = rf"\sqrt{{{number}{norm}^{{2}}" + (f" + {p.plain(self.eps)}" if self.eps != 0 else "") + "}"
        return norm if self.least == 0 else rf"\max\left({norm}, {p.plain(self.least)}\right)"

    def _numpy_call(self, name: str, p: CodePrinter) -> str:
        axis = str(self.axes[0]) if len(self.axes) == 1 else f"({', '.join(map(str, self.axes))})"
        numbers = [f"{k}={p.plain(v)}" for k, v, usual in zip(("scale", "eps", "least"), self.args[1:4], (1, 0, 0), strict=True) if v != usual]
        return f"{p.helper(name)}({', '.join([p.plain(self.operands[0]), axis, *numbers])})"

    def _sympystr(self, printer: Any) -> str:
        axis = f"axis={self.axes[0] if len(self.axes) == 1 else self.axes}"
        numbers = [f"{k}={printer._print(v)}" for k, v, usual in zip(("scale", "eps", "least"), self.args[1:4], (1, 0, 0), strict=True) if v != usual]
        return f"{type(self).__name__.lower()}({', '.join([printer._print(self.operands[0]), axis, *numbers])})"


class Norm(AlongAxes):
    """max(√(s Σx² + e), m) along axes, which are lost. Pullback: s G x/√(s Σx² + e), 0 where x is: the subgradient of smallest norm; and 0 where
    it is m."""

    title = "the norm"

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) - len(self.axes)

    def infer_shape(self) -> Shape:
        shape = shape_of(self.operands[0])
        return tuple(size for i, size in enumerate(shape) if i - len(shape) not in self.axes)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [self.scale * expand_axes(adjoint * self.grows(), self.axes, rank_of(self.operands[0])) * Unit(*self.args)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        left, rank = iter(index), rank_of(self.operands[0])
        return self._root(tuple(sp.S.Zero if i - rank in self.axes else next(left) for i in range(rank)), context)

    def latex_form(self, p: LatexPrinter) -> str:
        return self._latex_root(p)

    def numpy_form(self, p: CodePrinter) -> str:
        return self._numpy_call("_norm", p)


class Unit(AlongAxes):
    """x/max(√(s Σx² + e), m) along axes: with s = 1 and e = m = 0 the vector of norm 1, and 0 for x = 0. Pullback: (G - s U Σ(G U))/√(s Σx² + e)
    for the result U, 0 where the norm is 0, since there is no derivative; and G/m where the norm is m."""

    title = "the normalised vector"

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        return shape_of(self.operands[0])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        length = Norm(*self.args)
        # A function of its own: 1/norm would be multiplied with the scale's denominator, and that product may overflow.
        reciprocal = xdivy(step(length) if self.eps == self.least == 0 else sp.S.One, length)
        along = self.scale * expand_axes(reduce_sum(adjoint * self, self.axes) * self.grows(), self.axes, self.rank)
        return [(adjoint - self * along) * expand_axes(reciprocal, self.axes, self.rank)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return context.entry(self.operands[0], index) / self._root(index, context)

    def latex_form(self, p: LatexPrinter) -> str:
        return rf"\frac{{{p.plain(self.operands[0])}}}{{{self._latex_root(p)}}}"

    def numpy_form(self, p: CodePrinter) -> str:
        return self._numpy_call("_unit", p)


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> sp.Expr:
    """The Euclidean norm √(Σx²) over all axes or over `axis` (an integer or a tuple), as `numpy.linalg.norm` has it of vectors; of a matrix
    without `axis` it is the Frobenius norm.

    It neither overflows nor vanishes where the squares do. Its derivative at 0 is 0. Raises `ShapeError` for axes that x does not have.
    """
    x = operand(x, "norm")
    axes = normal_axes(axis, x, "norm")
    if not axes:
        return sp.Abs(x)
    result = Norm(ints(axes), sp.S.One, sp.S.Zero, sp.S.Zero, x)
    return expand_axes(result, axes, rank_of(x)) if keepdims else result


__all__ = ["AlongAxes", "Norm", "Unit", "norm"]
