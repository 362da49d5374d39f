r"""Equations and gradients as LaTeX: one align* for a network, δ and Δ for the errors of its layers."""

import itertools
from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import IndexForm, at, free_indices, index_symbol
from symbackprop.calculus.partial import Partial
from symbackprop.calculus.simplify import simplified
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.latex.names import Name, name_of
from symbackprop.latex.printer import TensorLatex

FORMS = ("chain", "local", "closed", "matrix", "index")
Line = tuple[str, str]  # what stands left and right of the equals sign


def align(lines: Sequence[Line], environment: str = "align*") -> str:
    """An align* (or aligned, split) of (left, right) pairs. A line without a left side goes on with the one before it: see
    `latex.breaking`."""
    return block([rf"  {left} &= {right}" if left else rf"  &{right}" for left, right in lines], environment)


def block(lines: Sequence[str], environment: str = "align*") -> str:
    """Lines in an environment."""
    return f"\\begin{{{environment}}}\n" + " \\\\\n".join(lines) + f"\n\\end{{{environment}}}"


def derivative(loss: Tensor, x: Tensor, index: Sequence[sp.Expr] = (), printer: TensorLatex | None = None) -> str:
    """∂C/∂w, or ∂C/∂w_{ij}."""
    printer = printer or TensorLatex()
    below = printer.plain(at(x, tuple(index)))
    return rf"\frac{{\partial {printer.plain(loss)}}}{{\partial {below}}}"


def equation_lines(equations: Sequence[Equation]) -> list[Line]:
    """The network's own equations."""
    names = {t.name for symbol, expr in equations for t in (symbol, *tensors_in(expr))}
    return [equation_line(symbol, expr, names) for symbol, expr in equations]


def equation_line(symbol: Tensor, expr: sp.Expr, names: Iterable[str]) -> Line:
    """An equation, whole; or by its entries, where it has a product that only indices can say. `names` are no letters for indices."""
    right = TensorLatex().plain(expr)
    if not is_by_indices_alone(right):
        return TensorLatex().plain(symbol), right
    index = free_indices(symbol.shape, names)
    printer = TensorLatex(indices=index)
    return printer.plain(at(symbol, index)), printer.plain(IndexForm(taken=(*names, *index)).entry(expr, index))


def is_by_indices_alone(text: str) -> bool:
    """Whether the LaTeX of a whole tensor holds a product that has no sign."""
    return r"\operatorname{einsum}" in text


# --- one line a gradient -------------------------------------------------------------------------------------------------


def gradient_line(forms: Forms, w: Tensor, form: str) -> Line:
    """∂C/∂w and its chain, local or closed form."""
    loss = forms.system.loss
    if form == "chain":
        return derivative(loss, w), chain_latex(forms.chain(w), TensorLatex())
    expr = forms.local(w) if form == "local" else forms.closed(w)
    if all(t.shape == () for t in forms.system.tensors):
        return derivative(loss, w), TensorLatex(places=places(forms.system)).plain(expr)
    if form == "local":
        return derivative(loss, w), TensorLatex().plain(expr)
    index, entry = (expr.variables, expr.expr) if isinstance(expr, sp.Lambda) else ((), expr)
    printer = TensorLatex(indices=index)
    return derivative(loss, w, index, printer), printer.plain(entry)


def entry_line(loss: Tensor, w: Tensor, index: Sequence[sp.Expr], expr: sp.Expr, form: str) -> Line:
    """∂C/∂w_{ij} and its chain, local or closed form, which is `expr`."""
    printer = TensorLatex(indices=[i for i in index if isinstance(i, sp.Symbol)] if index else None)
    return derivative(loss, w, index, printer), chain_latex(expr, printer) if form == "chain" else printer.plain(expr)


def chain_latex(expr: sp.Expr, printer: TensorLatex) -> str:
    """A sum of products of partial derivatives: the paths, those through later nodes first."""
    parts = expr.args if isinstance(expr, sp.Add) else (expr,)
    return " + ".join(map(printer.plain, sorted(parts, key=path_key, reverse=True)))


def path_key(product: sp.Expr) -> tuple[int, ...]:
    """The nodes along one path, by age: of several paths, those through later nodes are written first. A chain that was left factored
    is placed by what stands before its sum."""
    while isinstance(product, sp.Sum):
        product = product.function
    factors = product.args if isinstance(product, sp.Mul) else (product,)
    return tuple(f.tensor.serial for f in factors if isinstance(f, Partial))


def places(system: System) -> dict[Tensor, int]:
    """How far from the input a tensor stands: a node by its age, a weight or a datum by the first node that mentions it."""
    found: dict[Tensor, int] = {}
    for symbol, expr in system.equations:
        found[symbol] = symbol.serial
        for t in tensors_in(expr):
            found.setdefault(t, symbol.serial)
    return found


# --- matrix and index form: the errors of the layers first ---------------------------------------------------------------


def error_names(forms: Forms) -> dict[Tensor, Name]:
    """δ or Δ for the adjoints that textbooks name: those of the nodes that a weight enters directly (pre-activations), and those that
    are used more than once. They carry the node's own subscript; Δ is the error of a matrix."""
    weights = set(forms.system.weights)
    uses: dict[Tensor, int] = {}
    for _, expr in forms.adjoints.equations:
        for t in tensors_in(expr):
            if t.adjoint_of:
                uses[t] = uses.get(t, 0) + 1
    chosen: dict[Tensor, tuple[str, Tensor]] = {}
    for symbol, _ in forms.adjoints.equations:
        z = symbol.adjoint_of[1] if symbol.adjoint_of else symbol
        if isinstance(z.definition, (Part, Scan)):
            continue
        if z not in weights and z.definition is not None and (tensors_in(z.definition) & weights or uses.get(symbol, 0) > 1):
            chosen[symbol] = (r"\Delta" if len(z.shape) > 1 else r"\delta", z)
    short = [(greek, name_of(z).below) for greek, z in chosen.values()]
    return {
        symbol: Name(greek, below if below and short.count((greek, below)) == 1 else name_of(z).plain())
        for (symbol, (greek, z)), (_, below) in zip(chosen.items(), short, strict=True)
    }


def matrix_lines(forms: Forms, weights: Sequence[Tensor]) -> list[Line]:
    """The gradients of `weights` in matrix form, after the errors that they need."""
    names = error_names(forms)
    printer = TensorLatex(names)
    lines = []
    for x, adjoint, expr in _needed(forms, weights, names):
        lines.append((derivative(forms.system.loss, x) if x in weights else printer.plain(adjoint), printer.plain(expr)))
    return lines


def index_lines(forms: Forms, weights: Sequence[Tensor]) -> list[Line]:
    """The same in index form: ∂C/∂W_ij = Σ_n x_ni δ_nj."""
    names = error_names(forms)
    small = {t: name._replace(head=r"\delta") for t, name in names.items()}
    lines = []
    for x, adjoint, expr in _needed(forms, weights, names):
        if isinstance(expr, (Part, Scan)):  # time is its only index
            lines.append((TensorLatex(small).plain(adjoint), TensorLatex(small).plain(expr)))
            continue
        index = free_indices(x.shape, (t.name for t in forms.system.tensors))
        printer = TensorLatex(small, indices=index)
        entry, computed = with_places(IndexForm(taken=index).entry(expr, index), index, forms.system)
        left = derivative(forms.system.loss, x, index, printer) if x in weights else printer.plain(at(adjoint, index))
        lines.append((left, printer.plain(entry)))
        if computed:  # the places in a tensor of another shape
            row = [", ".join(map(printer.plain, part)) for part in (computed, computed.values())]
            lines.append((row[0], row[1]) if len(computed) == 1 else (f"({row[0]})", rf"\left({row[1]}\right)"))
    return lines


def with_places(entry: sp.Expr, index: Sequence[sp.Symbol], system: System) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """An entry in which the quotients and rests of its indices, by which a reshaped tensor is read, have letters of their own; and what
    these stand for."""
    found: list[sp.Expr] = []
    parts = sp.preorder_traversal(entry)
    for part in parts:
        if isinstance(part, (sp.floor, sp.Mod)) and part.free_symbols <= set(index):
            parts.skip()
            if part not in found:
                found.append(part)
    used = {s.name for s in (*entry.atoms(sp.Symbol), *index, *system.tensors)}
    letters = (c for c in itertools.chain("abcdefgh", (f"a{k}" for k in itertools.count(1))) if c not in used)
    names = {part: index_symbol(letter) for part, letter in zip(found, letters, strict=False)}
    return entry.xreplace(names), {name: part for part, name in names.items()}


def _needed(forms: Forms, weights: Sequence[Tensor], names: Mapping[Tensor, Name]) -> list[tuple[Tensor, sp.Expr, sp.Expr]]:
    """(x, its adjoint, the adjoint's expression in named adjoints): the errors that the gradients of `weights` need, from the loss
    backwards, then the gradients, the last layer's first. A gradient that is a constant has no equation of its own."""
    of = forms.adjoints.of
    steps = {symbol for symbol, expr in forms.adjoints.equations if isinstance(expr, (Part, Scan))}  # of recurrences
    names = {**names, **dict.fromkeys(steps, Name(""))}
    errors: set[Tensor] = set()
    stack = [inlined(of[w].definition, names) if isinstance(of[w], Tensor) else of[w] for w in weights]
    while stack:
        new = (tensors_in(stack.pop()) & names.keys()) - errors
        errors |= new
        stack.extend(inlined(x, names) for t in new for x in _written(t))
    found = [
        (symbol.adjoint_of[1] if symbol.adjoint_of else symbol, symbol, inlined(expr, names))
        for symbol, expr in forms.adjoints.equations
        if symbol in errors
    ]
    for w in _by_layer(forms.system, weights):
        found.append((w, of[w], inlined(of[w].definition if isinstance(of[w], Tensor) else of[w], names)))
    return found


def _written(t: Tensor) -> list[sp.Expr]:
    """What the right side of an equation mentions by name. A recurrence calls the values of another one by the names of a step."""
    if not isinstance(t.definition, Scan):
        return [t.definition] if t.definition is not None else []
    stacks = [x for x in t.definition.sequences if isinstance(x, Tensor) and isinstance(x.definition, Part)]
    return [x for x in t.definition.operands if x not in stacks]


def _by_layer(system: System, weights: Sequence[Tensor]) -> list[Tensor]:
    """The last layer first; in a layer what multiplies before what is added, the bias."""
    place = places(system)
    added = {term for _, expr in system.equations if isinstance(expr, sp.Add) for term in expr.args}
    return sorted(weights, key=lambda w: (-place.get(w, 0), w in added, w.name))


def inlined(expr: sp.Expr | None, named: Iterable[Tensor]) -> sp.Expr:
    """The expression with the adjoints that have no name of their own replaced by theirs. A recurrence keeps its name, of which parts are read."""
    assert expr is not None
    while inner := {t: t.definition for t in tensors_in(expr) if t.adjoint_of and t not in named and not isinstance(t.definition, Scan)}:
        expr = simplified(expr.xreplace(inner))
    return expr


__all__ = [
    "FORMS",
    "align",
    "block",
    "derivative",
    "entry_line",
    "equation_lines",
    "error_names",
    "gradient_line",
    "index_lines",
    "inlined",
    "matrix_lines",
    "path_key",
    "places",
]
