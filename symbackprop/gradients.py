"""Gradients as users meet them: a mapping from weights to gradients, each with its forms."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import sympy as sp

from symbackprop.calculus.deep import deep
from symbackprop.calculus.forms import Forms, shape_index
from symbackprop.errors import UnknownWeightError, UnsupportedError, ZeroGradientWarning
from symbackprop.graph.tensor import Tensor
from symbackprop.latex import equations as tex


class Gradient:
    """∂loss/∂weight.

    `.chain`: the sum over all paths of products of named partial derivatives, unevaluated. `.local`: evaluated, with the network's
    named values. `.closed`: in weights and data only; for a tensor, a `Lambda` of its indices. `[i, j]`: one entry, with the same forms.
    `.symbol`: the adjoint as a node, which further networks may use (second derivatives).
    """

    def __init__(self, forms: Forms, weight: Tensor) -> None:
        self._forms = forms
        self.weight = weight

    @property
    def symbol(self) -> sp.Expr:
        return self._forms.adjoints.of[self.weight]

    @property
    def chain(self) -> sp.Expr:
        return self._forms.chain(self.weight)

    @property
    def local(self) -> sp.Expr:
        return self._forms.local(self.weight)

    @property
    def closed(self) -> sp.Expr:
        return self._forms.closed(self.weight)

    def __getitem__(self, key: Any) -> "Entry":
        """The gradient of one entry of the weight. Raises `IndexError` for an index outside its shape."""
        return Entry(self._forms, self.weight, shape_index(self.weight.shape, key, self.weight.name))

    __iter__ = None

    @deep
    def latex(self, form: str = "local") -> str:
        r"""`\frac{\partial C}{\partial w} = ...`, in the form "chain", "local", "closed", "matrix" or "index". The last two define the
        errors (δ, Δ) that they use, so they are an aligned block of several lines."""
        _check_form(form)
        if form == "matrix" or form == "index":
            lines = (tex.matrix_lines if form == "matrix" else tex.index_lines)(self._forms, [self.weight])
            if len(lines) > 1:
                return tex.align(lines, "aligned")
            return " = ".join(lines[0])
        if form == "closed":
            self._forms.check_pages([self.weight])
        return " = ".join(tex.gradient_line(self._forms, self.weight, form))

    @deep
    def __repr__(self) -> str:
        return f"Gradient of {self._forms.system.loss} with respect to {self.weight}: {self.local}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex('matrix' if self.weight.shape else 'local')}$"


class Entry:
    """The gradient of one entry of a weight: scalars, with `.chain`, `.local` and `.closed` as for a scalar weight."""

    def __init__(self, forms: Forms, weight: Tensor, index: tuple[sp.Expr, ...]) -> None:
        self._forms = forms
        self.weight = weight
        self.index = index

    @property
    def chain(self) -> sp.Expr:
        return self._forms.chain_entry(self.weight, self.index)

    @property
    def local(self) -> sp.Expr:
        return self._forms.entry(self.weight, self.index, closed=False)

    @property
    def closed(self) -> sp.Expr:
        return self._forms.entry(self.weight, self.index, closed=True)

    @deep
    def latex(self, form: str = "local") -> str:
        """The entry in the form "chain", "local" or "closed"."""
        if form not in ("chain", "local", "closed"):
            raise UnsupportedError(f"the form {form!r} of one entry is unknown; expected 'chain', 'local' or 'closed'")
        if form == "closed":
            self._forms.check_pages([self.weight])
        return " = ".join(tex.entry_line(self._forms.system.loss, self.weight, self.index, getattr(self, form), form))

    @deep
    def __repr__(self) -> str:
        return f"Gradient of {self._forms.system.loss} with respect to {self.weight}{list(self.index)}: {self.local}"

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


class Gradients(Mapping[str, Gradient]):
    """Weight name → `Gradient`; a weight itself is a key too. A weight that the loss does not depend on has gradient 0, with a warning."""

    def __init__(self, forms: Forms) -> None:
        self._forms = forms
        self._made: dict[str, Gradient] = {}

    def __getitem__(self, key: Any) -> Gradient:
        name = key.name if isinstance(key, Tensor) else key
        weights = {w.name: w for w in self._forms.system.weights}
        if name not in weights:
            raise UnknownWeightError(f"the weight {name!r} is not in the network; it has {', '.join(map(repr, weights)) or 'no weights'}")
        if name not in self._made:
            if self._forms.adjoints.of[weights[name]] == 0:
                warnings.warn(
                    f"the loss {self._forms.system.loss.name!r} does not depend on the weight {name!r}, so its gradient is zero",
                    ZeroGradientWarning,
                    stacklevel=2,
                )
            self._made[name] = Gradient(self._forms, weights[name])
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(w.name for w in self._forms.system.weights)

    def __len__(self) -> int:
        return len(self._forms.system.weights)

    @deep
    def latex(self, form: str = "local") -> str:
        """One align* of all gradients."""
        return tex.align(self._lines(form))

    def _lines(self, form: str) -> list[tex.Line]:
        _check_form(form)
        weights = self._forms.system.weights
        if form == "matrix":
            return tex.matrix_lines(self._forms, weights)
        if form == "index":
            return tex.index_lines(self._forms, weights)
        if form == "closed":
            self._forms.check_pages(weights)
        return [tex.gradient_line(self._forms, w, form) for w in weights]

    @deep
    def __repr__(self) -> str:
        return "\n".join(f"d{self._forms.system.loss}/d{w} = {self[w].local}" for w in self)

    @deep
    def _repr_latex_(self) -> str:
        form = "matrix" if any(w.shape for w in self._forms.system.weights) else "local"
        return "$$" + tex.align(self._lines(form), "aligned") + "$$"


def _check_form(form: str) -> None:
    if form not in tex.FORMS:
        raise UnsupportedError(f"the form {form!r} is unknown; expected one of {', '.join(tex.FORMS)} (and of a network also 'equations')")
