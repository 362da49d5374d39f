r"""How gradients are written while they are derived: entry by entry (the index notation, of which scalars are the case without
indices), or whole (the matrix notation)."""

from collections.abc import Sequence

import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import IndexForm, at, free_indices, hoisted
from symbackprop.calculus.partial import Factor, Partial
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.layout import Pad
from symbackprop.graph.shapes import rank_of
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import derivative, error_names
from symbackprop.latex.printer import TensorLatex

Index = tuple[sp.Expr, ...]


class Notation:
    """The names of the errors of one system (δ for entries, Δ for matrices), and LaTeX in them."""

    def __init__(self, forms: Forms) -> None:
        self.forms = forms
        self.system = forms.system
        self.scalar = all(t.shape == () for t in self.system.tensors)
        self.large = error_names(forms)
        self.small = {t: name._replace(head=r"\delta") for t, name in self.large.items()}
        self.taken = {t.name for t in self.system.tensors}

    def index(self, x: Tensor) -> Index:
        """The entry that stands for all: a letter for each axis, 0 where there is nothing to choose."""
        letters = free_indices(x.shape, self.taken)
        return tuple(sp.S.Zero if size == 1 else letter for letter, size in zip(letters, x.shape, strict=True))

    def adjoint(self, x: Tensor) -> sp.Expr:
        return self.forms.adjoints.of[x]

    def named(self, x: Tensor) -> bool:
        return self.adjoint(x) in self.large

    # --- entries ----------------------------------------------------------------------------------------------------------

    def entries(self, index: Index = ()) -> TensorLatex:
        """A printer of entries whose free indices are those of `index`."""
        return TensorLatex(self.small, indices=None if self.scalar else [i for i in index if isinstance(i, sp.Symbol)])

    def entry_left(self, x: Tensor, index: Index) -> str:
        """δ, and what it stands for, or ∂C/∂x."""
        printer = self.entries(index)
        return printer.plain(at(self.adjoint(x), index)) if self.named(x) else derivative(self.system.loss, x, index, printer)

    def entry_of(self, expr: sp.Expr, index: Index) -> sp.Expr:
        return expr if self.scalar else hoisted(IndexForm(taken=(*self.taken, *(i for i in index if isinstance(i, sp.Symbol)))).entry(expr, index))

    def sum_of_terms(self, terms: Sequence[sp.Expr], printer: TensorLatex) -> str:
        text = ""
        for term in terms:
            part = printer.plain(term.doit() if isinstance(term, Factor) else term)  # one factor alone needs no brackets
            text += (" + " if text and not part.startswith("-") else " " if text else "") + part
        return text

    # --- whole tensors ----------------------------------------------------------------------------------------------------

    @property
    def matrices(self) -> TensorLatex:
        return TensorLatex(self.large)

    def matrix_left(self, x: Tensor) -> str:
        return self.matrices.plain(self.adjoint(x)) if self.named(x) else derivative(self.system.loss, x)

    def pullback(self, y: Tensor, x: Tensor) -> str:
        """What the equation of y hands back to x: the transposed derivative, applied to the error of y."""
        printer = self.matrices
        partial = printer.plain(Partial(y, x, *self.forms.held(y, x)))
        if y is self.system.loss:
            return partial
        if not y.shape and not x.shape:
            return f"{printer.plain(self.adjoint(y))} {partial}"
        return rf"\left({partial}\right)^{{\top}} \left[{printer.plain(self.adjoint(y))}\right]"

    def has_matrix_form(self, expr: sp.Expr) -> bool:
        """Whether matrix notation has signs for all of it: no operator has more than two axes, but for convolutions."""
        operators = expr.atoms(Operator)
        signs = {x for part in operators if part.convolved for x in (part, *part.operands)}
        small = all(part in signs or isinstance(part, Pad) or max(map(rank_of, (part, *part.operands))) <= 2 for part in operators)
        return small and (rank_of(expr) <= 2 or bool(signs))


def factors_in(term: sp.Expr) -> int:
    return sum(1 for f in sp.preorder_traversal(term) if isinstance(f, (Partial, Factor)))


__all__ = ["Index", "Notation", "factors_in"]
