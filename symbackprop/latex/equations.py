r"""Equations and gradients as LaTeX: one align* for a network, δ and Δ for the errors of its layers."""

from collections.abc import Sequence

import sympy as sp

from symbackprop.calculus.forms import Forms, Partial
from symbackprop.calculus.index import IndexForm, free_indices
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.latex.printer import TensorLatex

FORMS = ("chain", "local", "closed", "matrix", "index")


def align(lines: Sequence[tuple[str, str]]) -> str:
    """An align* of (left, right) pairs."""
    body = " \\\\\n".join(rf"  {left} &= {right}" for left, right in lines)
    return "\\begin{align*}\n" + body + "\n\\end{align*}"


def derivative(loss: Tensor, x: Tensor, index: Sequence[sp.Expr] = (), printer: TensorLatex | None = None) -> str:
    """∂C/∂w, or ∂C/∂w_{ij}."""
    printer = printer or TensorLatex()
    below = printer.plain(sp.Indexed(sp.IndexedBase(x), *index)) if index else printer.plain(x)
    return rf"\frac{{\partial {printer.plain(loss)}}}{{\partial {below}}}"


def error_names(forms: Forms) -> dict[Tensor, str]:
    """δ or Δ for the adjoints that textbooks name: those of the nodes that a weight enters directly (pre-activations), and those that
    are used more than once. They carry the node's own subscript; Δ is the error of a matrix."""
    weights = set(forms.system.weights)
    uses: dict[Tensor, int] = {}
    for _, expr in forms.adjoints.equations:
        for t in tensors_in(expr):
            if t.adjoint_of:
                uses[t] = uses.get(t, 0) + 1
    chosen = []
    for symbol, _ in forms.adjoints.equations:
        assert symbol.adjoint_of is not None
        z = symbol.adjoint_of[1]
        if z not in weights and z.definition is not None and (tensors_in(z.definition) & weights or uses.get(symbol, 0) > 1):
            chosen.append((symbol, z))
    stems = [_stem(z) for _, z in chosen]
    names = {}
    for (symbol, z), (greek, sub) in zip(chosen, stems, strict=True):
        unique = stems.count((greek, sub)) == 1 and sub
        below = sub if unique else TensorLatex().plain(z)
        names[symbol] = rf"{greek}_{{{below}}}"
    return names


def _stem(z: Tensor) -> tuple[str, str]:
    head, _, sub = z.name.partition("_")
    greek = r"\Delta" if len(z.shape) > 1 else r"\delta"
    return greek, sub.strip("_").replace("_", r"\,") if head else ""


def matrix_lines(forms: Forms, weights: Sequence[Tensor], define: bool = True) -> list[tuple[str, str]]:
    """The gradients in matrix form, and before each the errors that it needs and that no line has defined yet."""
    names = error_names(forms)
    printer = TensorLatex(names)
    inlined = _Inliner(names)
    lines: list[tuple[str, str]] = []
    wanted = {forms.adjoints.of[w] for w in weights}
    if define:
        needed = _needed_errors(forms, weights, names, inlined)
        for symbol, expr in forms.adjoints.equations:
            if symbol in needed:
                lines.append((names[symbol], printer.plain(inlined(expr))))
            elif symbol in wanted:
                lines.append((derivative(forms.system.loss, symbol.adjoint_of[1]), printer.plain(inlined(expr))))  # type: ignore[index]
        done = {left for left, _ in lines}
        rest = [w for w in weights if derivative(forms.system.loss, w) not in done]
    else:
        rest = list(weights)
    for w in rest:
        adjoint = forms.adjoints.of[w]
        lines.append((derivative(forms.system.loss, w), printer.plain(inlined(adjoint.definition if isinstance(adjoint, Tensor) else adjoint))))
    return lines


def _needed_errors(forms: Forms, weights: Sequence[Tensor], names: dict[Tensor, str], inlined: "_Inliner") -> set[Tensor]:
    needed: set[Tensor] = set()
    stack = [a.definition for w in weights if isinstance(a := forms.adjoints.of[w], Tensor)]
    while stack:
        expr = stack.pop()
        assert expr is not None
        for t in tensors_in(inlined(expr)):
            if t in names and t not in needed:
                needed.add(t)
                stack.append(t.definition)
    return needed


class _Inliner:
    """Replaces adjoints without a name of their own by their expressions."""

    def __init__(self, named: dict[Tensor, str]) -> None:
        self.named = named
        self.done: dict[sp.Expr, sp.Expr] = {}

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        while True:
            inner = {t: t.definition for t in tensors_in(expr) if t.adjoint_of and t not in self.named}
            if not inner:
                return expr
            expr = expr.xreplace(inner)


def index_lines(forms: Forms, weights: Sequence[Tensor], define: bool = True) -> list[tuple[str, str]]:
    """The same in index form: ∂C/∂W_ij = Σ_n x_ni δ_nj."""
    names = error_names(forms)
    lower = {t: name.replace(r"\Delta", r"\delta") for t, name in names.items()}
    printer = TensorLatex(lower)
    inlined = _Inliner(names)
    lines = []
    needed = _needed_errors(forms, weights, names, inlined) if define else set()
    for symbol, expr in forms.adjoints.equations:
        x = symbol.adjoint_of[1] if symbol.adjoint_of else symbol
        if symbol in needed or x in weights:
            index = free_indices(symbol.shape)
            right = printer.plain(IndexForm(taken=index).entry(inlined(expr), index))
            left = printer.plain(sp.Indexed(sp.IndexedBase(symbol), *index)) if index and symbol in names else names.get(symbol) or derivative(forms.system.loss, x, index)
            lines.append((left, right))
    for w in weights:
        if not isinstance(forms.adjoints.of[w], Tensor):
            lines.append((derivative(forms.system.loss, w, free_indices(w.shape)), "0"))
    return lines


def gradient_line(forms: Forms, w: Tensor, form: str) -> tuple[str, str]:
    """∂C/∂w and its chain, local or closed form."""
    loss = forms.system.loss
    printer = TensorLatex()
    if form == "chain":
        return derivative(loss, w), chain_latex(forms.chain(w), loss)
    if form == "local":
        return derivative(loss, w), printer.plain(forms.local(w))
    closed = forms.closed(w)
    if isinstance(closed, sp.Lambda):
        return derivative(loss, w, closed.variables), printer.plain(closed.expr)
    return derivative(loss, w), printer.plain(closed)


def chain_latex(expr: sp.Expr, loss: Tensor) -> str:
    """A sum of products of partial derivatives, each product in the order of the chain rule."""
    printer = TensorLatex()
    parts = expr.args if isinstance(expr, sp.Add) else (expr,)
    ordered = sorted(parts, key=lambda p: -max((f.tensor.serial for f in p.atoms(Partial) if f.tensor is not loss), default=0))
    return " + ".join(printer.plain(p) if isinstance(p, (Partial, sp.Mul)) else printer.plain(p) for p in ordered)


def equation_lines(equations: Sequence[Equation]) -> list[tuple[str, str]]:
    printer = TensorLatex()
    return [(printer.plain(s), printer.plain(e)) for s, e in equations]


__all__ = ["FORMS", "align", "chain_latex", "derivative", "equation_lines", "gradient_line", "index_lines", "matrix_lines"]
