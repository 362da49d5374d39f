"""The closed form of a gradient, in weights and data only, as far as anybody can read it: what repeats in it gets a name, and what
would fill pages is left out, with a sentence that says so."""

from typing import NamedTuple

import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.derivation.notation import Index, Notation
from symbackprop.errors import UnsupportedError
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.boxes import width
from symbackprop.latex.breaking import break_lines
from symbackprop.latex.equations import places
from symbackprop.latex.printer import TensorLatex

SHORT = 90.0  # em: what is written as it is, on two lines or three
PAGE = 175.0  # em: what is written at all where it cannot be abbreviated

LINE = 35.0  # em
NESTED = 9  # equations inside one another that index notation can show


class Written(NamedTuple):
    """A closed form: its LaTeX, the expression, and the definitions of the abbreviations in it."""

    right: str
    expr: sp.Expr
    where: tuple[tuple[str, str], ...] = ()


def closed_form(forms: Forms, notation: Notation, w: Tensor, index: Index) -> Written | str:
    """The closed form of one entry, or a sentence that says why there is none."""
    name = TensorLatex().plain(w)
    if any(isinstance(expr, Scan) for _, expr in forms.system.equations):
        return f"The closed form of the gradient of ${name}$ is left out: recurrences are computed step by step."
    nested = forms.nesting(w)
    if nested > NESTED and not notation.scalar:
        return f"The closed form of the gradient of ${name}$ nests {nested} equations and is left out; the equations above determine it."
    try:
        forms.check_pages([w])
        expr = forms.closed(w) if notation.scalar else forms.entry(w, index, closed=True)
    except UnsupportedError:
        return f"The closed form of the gradient of ${name}$ would fill pages and is left out; the equations above determine it."
    printer = TensorLatex(places=places(forms.system)) if notation.scalar else notation.entries(index)
    if expr.count_ops() > 5_000:
        return f"The closed form of the gradient of ${name}$ has {expr.count_ops()} operations and is left out; the equations above determine it."
    text = printer.plain(expr)
    if width(text) <= (SHORT if notation.scalar else PAGE):
        if notation.scalar or _breaks_well(text):
            return Written(text, expr)
        return f"The closed form of the gradient of ${name}$ has parts that no line holds and is left out; the equations above determine it."
    if not notation.scalar:
        lines = round(width(text) / LINE)
        return f"The closed form of the gradient of ${name}$ would take about {lines} lines and is left out; the equations above determine it."
    return _abbreviated(expr, forms, printer, {t.name for t in forms.system.tensors})


def _breaks_well(text: str) -> bool:
    """Whether lines hold a formula, with no break within a distinction of cases, where it would be lost among the cases."""
    lines = [part for _, part in break_lines("", text, LINE)]
    return max(map(width, lines)) <= LINE and sum(line.count(r"\\") for line in lines) == text.count(r"\\")


def _abbreviated(expr: sp.Expr, forms: Forms, printer: TensorLatex, taken: set[str]) -> Written:
    """What appears more than once is named u_1, u_2 ..."""
    names = (sp.Symbol(f"u_{k}", real=True) for k in range(1, 10_000) if f"u_{k}" not in taken)
    repeated, (short,) = sp.cse(expr, symbols=(sp.Dummy(f"u{k}", real=True) for k in range(10_000)), order="none")
    table: dict[sp.Basic, sp.Basic] = {}
    found: list[tuple[sp.Symbol, sp.Expr]] = []
    for symbol, value in repeated:
        value = value.xreplace(table)
        table[symbol] = value if _is_short(value) else next(names)
        if table[symbol] is not value:
            found.append((table[symbol], value))
    short = short.xreplace(table)
    plain = TensorLatex()
    where = tuple((plain.plain(symbol), plain.plain(value)) for symbol, value in found)
    return Written(printer.plain(short), expr, where)


def _is_short(value: sp.Basic) -> bool:
    """Whether a name would say less than the thing itself: 2 u, u², -u, u > 0."""
    return len(value.atoms(sp.Symbol)) < 2 and sum(1 for _ in sp.preorder_traversal(value)) <= 3 and not isinstance(value, sp.Function)


__all__ = ["Written", "closed_form"]
