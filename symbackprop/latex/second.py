r"""Second derivatives and Jacobians as LaTeX: each block in matrix form where matrices can say it, else in index form, after the errors and
the products that it needs."""

from collections.abc import Iterable, Mapping, Sequence

import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import IndexForm, at, free_indices, hoisted
from symbackprop.calculus.second import Blocks
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.chains import kronecker_latex
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.reduction import Softmax
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.shapes import split_scalars
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import Line, align, error_names, inlined
from symbackprop.latex.names import Name
from symbackprop.latex.printer import TensorLatex

FORMS = ("matrix", "index")
Key = tuple[Tensor, ...]


def block_lines(blocks: Blocks, kind: str, keys: Sequence[Key], form: str) -> list[Line]:
    """The blocks named by `keys`, after what they are computed from and the network does not name."""
    before, of = lines_by_block(blocks, kind, keys, form)
    return [*before, *of.values()]


def lines_by_block(blocks: Blocks, kind: str, keys: Sequence[Key], form: str) -> tuple[list[Line], dict[Key, Line]]:
    """What the blocks are computed from and the network does not name; and block → its equation, without those that are another's transpose."""
    forms = Forms(blocks.system)
    names = error_names(forms)
    own = set(blocks.blocks.values())
    chosen = [(key, blocks.blocks[key]) for key in keys]
    direct = [(key, t) for key, t in chosen if len(keys) == 1 or not tensors_in(_definition(t)) & own]  # a transpose repeats what is written
    needed = _needed([t for _, t in direct], set(forms.system.tensors), own, names)
    written = _Writer(blocks, names, _shares([inlined(t.definition, _named(t, names)) for t in (*needed, *(t for _, t in direct))], forms.system))
    lines = [written.line(t, None, kind, form) for t in needed]
    of = {key: written.line(t, key, kind, form) for key, t in direct}
    named = [(TensorLatex().plain(s), TensorLatex().plain(softmax)) for softmax, s in written.shares.items() if s in written.read]
    return list(dict.fromkeys([*named, *lines])), of


def _shares(exprs: Sequence[sp.Expr], system: System) -> dict[sp.Basic, sp.Basic]:
    """A name for each softmax that is read more than once and has none, for the index form, which would write out its exponentials."""
    found = [part for expr in exprs for part in sp.preorder_traversal(expr) if isinstance(part, Softmax)]
    name = Namer({t.name for t in system.tensors} | {d.name for d in system.dims})
    often = [x for x in dict.fromkeys(found) if found.count(x) > 1]
    return {x: Tensor(name("S" if x.rank > 1 else "s"), x.shape, "node", x) for x in often}


def _definition(t: Tensor) -> sp.Expr:
    assert t.definition is not None
    return t.definition


def _needed(roots: Sequence[Tensor], network: set[Tensor], own: set[Tensor], names: Mapping[Tensor, Name]) -> list[Tensor]:
    """What the blocks read and nobody has defined yet: errors with a name, and products, in the order of their definitions."""
    found: set[Tensor] = set()
    stack = [inlined(t.definition, _named(t, names)) for t in roots]
    while stack:
        for t in tensors_in(stack.pop()) - found - network:
            if t.definition is not None and t not in own:
                found.add(t)
                stack.append(inlined(t.definition, _named(t, names)))
    return sorted(found, key=lambda t: t.order)


def _named(t: Tensor, names: Mapping[Tensor, Name]) -> Iterable[Tensor]:
    return [x for x in names if x is not t]


class _Writer:
    def __init__(self, blocks: Blocks, names: Mapping[Tensor, Name], shares: Mapping[sp.Basic, sp.Basic]) -> None:
        self.blocks = blocks
        self.names = names
        self.shares = shares
        self.read: set[sp.Basic] = set()  # the shares that lines mention

    def line(self, t: Tensor, key: Key | None, kind: str, form: str) -> Line:
        """The equation of a block, or of something on the way to it (`key` is None)."""
        expr = inlined(t.definition, _named(t, self.names))
        if form == "matrix" and (text := self.matrix(expr, t, key)) is not None:
            printer = TensorLatex(self.names)
            return self.left(kind, key, (), printer, flat=t.rank > 2) if key else printer.plain(t), text
        if expr.has(Part, Scan):  # time is its only index
            printer = TensorLatex(self.names)
            return self.left(kind, key, (), printer, flat=t.rank > 2) if key else printer.plain(t), printer.plain(expr)
        expr = expr.xreplace(dict(self.shares))
        self.read |= expr.free_symbols
        index = free_indices(t.shape, (x.name for x in self.blocks.system.tensors))
        small = {x: name._replace(head=r"\delta") for x, name in self.names.items()}
        printer = TensorLatex(small, indices=index)
        right = printer.plain(hoisted(IndexForm(taken=index).entry(expr, index)))
        return self.left(kind, key, index, printer) if key else printer.plain(at(t, index)), right

    def matrix(self, expr: sp.Expr, t: Tensor, key: Key | None) -> str | None:
        """The right side in matrix form, or None where indices are clearer: for more than two axes that are no Kronecker product."""
        printer = TensorLatex(self.names)
        if t.rank <= 2:
            text = printer.plain(expr)
            return None if "einsum" in text or "broadcast" in text else text
        if key is None or len(key) != 2:
            return None
        text = ""
        for term in sp.Add.make_args(expr):
            scalar, rest = split_scalars(term)
            product = kronecker_latex(*rest.spec, rest.operands, key[0].rank, printer) if isinstance(rest, Einsum) else None
            if product is None:
                return None
            front = "" if scalar == 1 else "-" if scalar == -1 else printer.factor(scalar) + " "
            product = rf"\left({product}\right)" if front else product
            text += (" + " if text and not front.startswith("-") else " ") + front + product
        return text.strip()

    def left(self, kind: str, key: Key, index: Sequence[sp.Expr], printer: TensorLatex, flat: bool = False) -> str:
        """The name of a block: ∂²C/∂W∂b, ∂y/∂W, or a letter with the weights as indices."""
        cuts = self.cuts(kind, key)
        if not index and flat:
            below = [rf"\operatorname{{vec}} {printer.atom(w)}" for w in key]
            below[-1] += r"^{\top}"
        else:
            below = [printer.plain(at(w, tuple(index[a:b]))) for w, (a, b) in zip(key, cuts, strict=True)]
            if not index and len(key) == 2 and key[1].rank:
                below[1] = printer.atom(key[1]) + r"^{\top}"
        if kind == "hessian":
            under = r" \, ".join(rf"\partial {x}" for x in below)
            return rf"\frac{{\partial^{{2}} {printer.plain(self.blocks.system.loss)}}}{{{under}}}"
        if kind == "jacobian" and self.blocks.node is not None:
            above = printer.plain(at(self.blocks.node, tuple(index[: cuts[0][0]])))
            return rf"\frac{{\partial {above}}}{{\partial {below[0]}}}"
        if kind == "per sample gradients":
            return printer.plain(at(self.blocks.blocks[key], tuple(index)))
        head = {"gauss newton": "G", "fisher": "F", "hessian vector product": r"\left(H v\right)"}[kind]
        weights = ", ".join(printer.plain(w) for w in key)
        entries = " ".join(map(printer.plain, index))
        return rf"{head}_{{{weights}}}" + (rf"\left[{entries}\right]" if entries else "")

    def cuts(self, kind: str, key: Key) -> list[tuple[int, int]]:
        """Where the axes of each weight stand among those of its block."""
        total = self.blocks.blocks[key].rank
        ends = [total - sum(w.rank for w in key[k + 1 :]) for k in range(len(key))]
        return [(end - w.rank, end) for w, end in zip(key, ends, strict=True)]


__all__ = ["FORMS", "align", "block_lines", "lines_by_block"]
