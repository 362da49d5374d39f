"""The solution of linear equations, X = A⁻¹ B. Newton's method, Gaussian processes and least squares are written with it.

Source: Giles, "Collected Matrix Derivative Results for Forward and Reverse Mode Algorithmic Differentiation" (2008), section 2.3.1:
the pullback of X = A⁻¹ B is B̄ = A⁻ᵀ X̄ and Ā = -B̄ Xᵀ.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, IndexSum, LatexPrinter, Operator, operand
from symbackprop.graph.operators.contraction import LETTERS, contract
from symbackprop.graph.operators.products import transpose
from symbackprop.graph.operators.reduction import OverIndex
from symbackprop.graph.shapes import Shape, rank_of, shape_of, show


class InverseEntry(OverIndex):
    """An entry of an inverse: `InverseEntry(a, (p, 0, m - 1), (q, 0, m - 1), i, j)` is that at i, j of the inverse of the matrix with the
    entries a, in which p is the row and q the column."""

    n_indices = 2

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        body, rows, columns, i, j = self.args  # d(A⁻¹) = -A⁻¹ dA A⁻¹
        p, q = (sp.Dummy(k.name, integer=True, nonnegative=True) for k in (rows[0], columns[0]))
        left, right = InverseEntry(body, rows, columns, i, p), InverseEntry(body, rows, columns, q, j)
        change = body.diff(symbol).xreplace({rows[0]: p, columns[0]: q})
        return -IndexSum(left * change * right, (p, *rows[1:]), (q, *columns[1:]))

    def _latex(self, printer: Any) -> str:
        body, (p, _, _), (q, _, _), i, j = self.args
        body, p, q, i, j = (printer._print(x) for x in (body, p, q, i, j))
        return rf"\left[\left({body}\right)_{{{p}{q}}}^{{-1}}\right]_{{{i}{j}}}"

    def _pythoncode(self, printer: Any) -> str:
        body, (p, _, last), (q, _, _), i, j = self.args
        body, p, q, last, i, j = (printer._print(x) for x in (body, p, q, last, i, j))
        return f"inverse_entry(lambda {p}, {q}: {body}, {last} + 1, {i}, {j})"

    _numpycode = _mpmathcode = _lambdacode = _pythoncode


class Solve(Operator):
    """A⁻¹ B. Operands: A, with square matrices on its last two axes, and B, with as many rows; B is a vector, or has the axes of A."""

    title = "the solution"
    is_juxtaposed = True

    @property
    def rank(self) -> int:
        return rank_of(self.operands[1])

    def infer_shape(self) -> Shape:
        a, b = map(shape_of, self.operands)
        if len(a) < 2 or a[-1] != a[-2]:
            raise ShapeError(f"{self}: {self.operands[0]} has shape {show(a)}; expected square matrices on its last two axes")
        if len(b) not in ((1, 2) if len(a) == 2 else (len(a),)) or (b[0] != a[0] if len(b) == 1 else b[:-1] != a[:-1]):
            expected = f"{show(a[-1:])} or " * (len(a) == 2) + show((*a[:-1], "k"))
            raise ShapeError(f"{self}: the right side has shape {show(b)}; expected {expected}, since {self.operands[0]} has shape {show(a)}")
        return b

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        a, _ = self.operands
        rank = rank_of(a)
        back = Solve(transpose(a, (*range(rank - 2), rank - 1, rank - 2)), adjoint)
        batch, i, j, k = LETTERS[: rank - 2], LETTERS[rank - 2], LETTERS[rank - 1], LETTERS[rank]
        k = k if self.rank > 1 else ""
        return [-contract([batch + i + k, batch + j + k], batch + i + j, [back, self]), back]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        a, b = self.operands
        size = shape_of(a)[-1]
        batch, i = index[: rank_of(a) - 2], index[rank_of(a) - 2]
        p, q, j = (context.fresh(size) for _ in range(3))
        inverse = InverseEntry(context.entry(a, (*batch, p, q)), (p, 0, size - 1), (q, 0, size - 1), i, j)
        return IndexSum(inverse * context.entry(b, (*batch, j, *index[len(batch) + 1 :])), (j, 0, size - 1))

    def latex_form(self, p: LatexPrinter) -> str:
        a, b = self.operands
        return f"{p.atom(a)}^{{-1}} {p.factor(b)}"

    def numpy_form(self, p: CodePrinter) -> str:
        a, b = self.operands
        return f"{p.helper('_solve')}({p.plain(a)}, {p.plain(b)})"


def solve(a: Any, b: Any) -> sp.Expr:
    """The solution X of A X = B, as `numpy.linalg.solve`.

    `a` has shape (.., m, m); `b` has shape (.., m, k) with the same leading axes, or (m,) where `a` is one matrix. The result has the shape
    of `b`. Raises `ShapeError` where the shapes do not fit; a matrix that turns out singular or not finite raises
    `numpy.linalg.LinAlgError` when it is computed.
    """
    solution = Solve(operand(a, "solve"), operand(b, "solve"))
    solution.infer_shape()
    return solution


__all__ = ["InverseEntry", "Solve", "solve"]
