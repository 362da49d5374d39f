"""How matrix algebra writes a contraction, on paper and in NumPy: products side by side, transposes, sums over axes."""

from typing import Any, Protocol

import sympy as sp

from symbackprop.graph.operators.base import CodePrinter, LatexPrinter
from symbackprop.graph.operators.pairs import MatMul
from symbackprop.graph.shapes import rank_of


class Style(Protocol):
    """The signs of one way of writing."""

    vectors_are_columns: bool  # so that a vector at the left of a product is transposed

    def transpose(self, x: str, rank: int = 2) -> str: ...

    def permute(self, p: Any, x: sp.Expr, axes: list[int]) -> str: ...

    def product(self, a: str, b: str) -> str: ...

    def outer(self, p: Any, a: sp.Expr, b: sp.Expr) -> str: ...

    def total(self, p: Any, x: sp.Expr, axes: list[int]) -> str: ...


class _Latex:
    """Products as juxtaposition, transposes as a superscript, sums as products with the vector of ones."""

    vectors_are_columns = True

    def transpose(self, x: str, rank: int = 2) -> str:
        return rf"{x}^{{\top}}"

    def permute(self, p: LatexPrinter, x: sp.Expr, axes: list[int]) -> str:
        rank = len(axes)
        if axes == [*range(rank - 2), rank - 1, rank - 2]:
            return self.transpose(p.atom(x))  # of each matrix in a stack
        return p.call(rf"\operatorname{{transpose}}_{{{', '.join(map(str, axes))}}}", x)

    def product(self, a: str, b: str) -> str:
        return f"{a} {b}"

    def outer(self, p: LatexPrinter, a: sp.Expr, b: sp.Expr) -> str:
        return rf"{p.factor(a)} {self.transpose(p.atom(b))}" if rank_of(a) == rank_of(b) == 1 else rf"{p.factor(a)} \otimes {p.factor(b)}"

    def total(self, p: LatexPrinter, x: sp.Expr, axes: list[int]) -> str:
        ones = r"\mathbf{1}"
        rank = rank_of(x)
        if len(axes) == rank < 3 and isinstance(x, sp.Pow) and x.exp == 2:
            return rf"\lVert {p.plain(x.base)} \rVert" + ("_{F}^{2}" if rank == 2 else "^{2}")
        if rank == 1:
            return rf"{ones}^{{\top}} {p.factor(x)}"
        if rank == 2:
            left, right = (0 in axes), (1 in axes)
            return (rf"{ones}^{{\top}} " if left else "") + p.factor(x) + (f" {ones}" if right else "")
        over = "" if len(axes) == rank else rf"_{{\text{{axis }} {', '.join(map(str, axes))}}}"
        return p.call(rf"\operatorname{{sum}}{over}", x)


class _Numpy:
    """Products as `@`, transposes as `.T`, sums as `.sum(axis=...)`."""

    vectors_are_columns = False

    def transpose(self, x: str, rank: int = 2) -> str:
        return f"{x}.T" if rank == 2 else f"{x}.swapaxes(-1, -2)"

    def permute(self, p: CodePrinter, x: sp.Expr, axes: list[int]) -> str:
        return f"{p.atom(x)}.transpose({', '.join(map(str, axes))})"

    def product(self, a: str, b: str) -> str:
        return f"{a} @ {b}"

    def outer(self, p: CodePrinter, a: sp.Expr, b: sp.Expr) -> str:
        return f"np.multiply.outer({p.plain(a)}, {p.plain(b)})"

    def total(self, p: CodePrinter, x: sp.Expr, axes: list[int]) -> str:
        if len(axes) == rank_of(x):
            return f"{p.atom(x)}.sum()"
        axis = str(axes[0]) if len(axes) == 1 else f"({', '.join(map(str, axes))})"
        return f"{p.atom(x)}.sum(axis={axis})"


LATEX: Style = _Latex()
NUMPY: Style = _Numpy()


def algebra(e: Any, p: Any, style: Style) -> str | None:
    """The contraction as matrix algebra writes it, or None where only indices can say it."""
    if len(e.operands) == 1:
        return _single(e, p, style)
    if e.is_matmul:
        return _product(e.matmul, p, style)
    return style.outer(p, *(e.operands[i] for i in e.pair.operands)) if e.is_outer else None


def sum_of_stack(e: Any, p: LatexPrinter) -> str | None:
    """A product of stacks that is summed over them, on paper; None for any other contraction. In code it would hold every product of the stack."""
    if e.matmul is None or not e.matmul.summed:
        return None
    axes = ", ".join(map(str, range(e.matmul.lead)))
    return rf"\operatorname{{sum}}_{{\text{{axis }} {axes}}}({_product(e.matmul, p, LATEX)})"


def _product(product: MatMul, p: Any, style: Style) -> str:
    (a, a_turned), (b, b_turned) = product.factors
    if style.vectors_are_columns and rank_of(a) == 1:
        if rank_of(b) == 2:  # not x W but W^T x
            a, a_turned, b, b_turned = b, not b_turned, a, False
        else:
            a_turned = True
    left, right = (style.transpose(p.atom(x), rank_of(x)) if turned else p.factor(x) for x, turned in ((a, a_turned), (b, b_turned)))
    return style.product(left, right)


def _single(e: Any, p: Any, style: Style) -> str | None:
    (letters,), out = e.spec
    (x,) = e.operands
    kept = "".join(c for c in letters if c in out)
    if len(out) < len(letters):
        return style.total(p, x, [i for i, c in enumerate(letters) if c not in out]) if out == kept else None
    if out == letters[::-1]:
        return style.transpose(p.atom(x))
    return style.permute(p, x, [letters.index(c) for c in out])


def is_norm(e: Any) -> bool:
    """Whether the contraction is the sum of all squares of its operand."""
    (x,) = e.operands
    return not e.spec[1] and isinstance(x, sp.Pow) and bool(x.exp == 2)


__all__ = ["LATEX", "NUMPY", "Style", "algebra", "is_norm", "sum_of_stack"]
