"""The places along an axis as numbers: a constant from which masks and positional encodings are made."""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, LatexPrinter, Operator
from symbackprop.graph.shapes import Shape, as_dimension


class Positions(Operator):
    """0, 1, 2 ... along one axis of a given size, which may be open."""

    title = "the positions"
    n_parameters = 1
    is_number = False  # although it holds nothing but numbers: SymPy would try to tell its value

    def infer_shape(self) -> Shape:
        return (as_dimension(self.args[0]),)

    @property
    def rank(self) -> int:
        return 1

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return ()

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return index[0]

    def latex_form(self, p: LatexPrinter) -> str:
        return rf"(0, \dots, {p.plain(self.args[0] - 1)})"

    def numpy_form(self, p: CodePrinter) -> str:
        return f"np.arange({p.plain(self.args[0])}, dtype=DTYPE)"


def positions(size: Any) -> sp.Expr:
    """The numbers 0, 1 ... size - 1 as a tensor of shape (size,), as `numpy.arange`. `size` is an integer or a dimension, which may be open.

    Comparing two of them makes a mask: `positions(n)[:, None] >= positions(n)` lets each place see itself and those before it.
    Raises `ShapeError` where `size` is no dimension.
    """
    return Positions(sp.sympify(as_dimension(size), strict=True))
