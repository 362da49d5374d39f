"""From a network's equations to its gradients, one rule at a time, as a textbook would write it.

The order is that of Nielsen, Neural Networks and Deep Learning, chapter 2, and Goodfellow, Bengio & Courville, Deep Learning, section
6.5: the forward equations, the loss, the derivative of each equation, the errors from the loss backwards, the gradients, the update.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.deep import deep
from symbackprop.calculus.evaluate import without_partials
from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import relettered
from symbackprop.calculus.partial import Partial, evaluated
from symbackprop.derivation import rules
from symbackprop.derivation.closed import Written, closed_form
from symbackprop.derivation.notation import Index, Notation, at, factors_in, path_key
from symbackprop.derivation.numbers import Check, Reading, Values, agree, compare
from symbackprop.derivation.steps import Section, Step
from symbackprop.derivation.update import update_section
from symbackprop.errors import UnknownWeightError, UnsupportedError
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.boxes import width
from symbackprop.latex.equations import derivative, inlined, places
from symbackprop.latex.printer import TensorLatex
from symbackprop.training.optimizers import Optimizer

FORMS = ("mixed", "matrix", "index", "entry", "chain", "local", "closed")
STAGES = {"chain": 1, "local": 2, "closed": 3}  # how far the derivation of a weight's gradient goes
LONG_CHAIN, PATHS = 14, 4  # a chain with more factors, or paths, is written with the errors of the layers
ENTRIES = 64  # gradients that are written entry by entry
WIDE = 110.0  # em; a local form that is wider adds nothing to the errors


@deep
def build(
    forms: Forms, form: str, weights: Sequence[Any] | None, optimizer: Optimizer | None, verify: bool, seed: int
) -> list[Section]:
    """The sections of a derivation. Raises `UnsupportedError` for an unknown form, `UnknownWeightError` for an unknown weight."""
    if form not in FORMS:
        raise UnsupportedError(f"the form {form!r} of a derivation is unknown; expected one of {', '.join(FORMS)}")
    return _Builder(forms, form, _chosen(forms.system, weights), optimizer, verify, seed).sections()


def _chosen(system: System, weights: Sequence[Any] | None) -> list[Tensor]:
    by_name = {w.name: w for w in system.weights}
    if weights is None:
        return list(by_name.values())
    names = [getattr(w, "name", w) for w in ([weights] if isinstance(weights, (str, Tensor)) else weights)]
    for name in names:
        if name not in by_name:
            raise UnknownWeightError(f"the weight {name!r} is not in the network; it has {', '.join(map(repr, by_name)) or 'no weights'}")
    return [by_name[name] for name in names]


class _Builder:
    def __init__(self, forms: Forms, form: str, weights: list[Tensor], optimizer: Optimizer | None, verify: bool, seed: int) -> None:
        self.forms = forms
        self.system = forms.system
        self.stage = STAGES.get(form, 3)
        self.form = "mixed" if form in STAGES else form
        self.weights = weights
        self.optimizer = optimizer
        self.notation = Notation(forms)
        self.point = Values(self.system, forms.adjoints, seed) if verify else None
        self.numbers: dict[Any, int] = {}  # what → the number of its equation
        self.count = 0
        self._slopes: dict[tuple[Tensor, tuple[int, ...]], Reading] = {}
        needed: set[Tensor] = set()
        for w in weights:
            needed |= self._behind(w)
        self.nodes = [e.symbol.adjoint_of[1] for e in forms.adjoints.equations if e.symbol.adjoint_of]
        self.nodes = [x for x in self.nodes if x.role != "weight" and x in needed]

    def _behind(self, w: Tensor) -> set[Tensor]:
        """The nodes between a weight and the loss."""
        edges = self.forms.adjoints.edges
        found: set[Tensor] = set()
        stack = [w]
        while stack:
            x = stack.pop()
            for y, z in edges:
                if z is x and y not in found:
                    found.add(y)
                    stack.append(y)
        return found

    def sections(self) -> list[Section]:
        found = [self.forward(), self.loss()]
        if self.weights:
            found += [self.partials()] if self.form != "matrix" else []
            found += [self.errors(), *(self.gradient(w) for w in self.weights)]
        if self.optimizer is not None:
            found.append(update_section(self.system, self.optimizer, self.weights, self.forms, self.add, self.point))
        return [section for section in found if section.blocks]

    def add(self, title: str, left: str, right: str, equation: sp.Basic, rule: str, what: Any = None, **more: Any) -> Step:
        self.count += 1
        if what is not None:
            self.numbers.setdefault(what, self.count)
        return Step(self.count, title, equation, rule, left, right, **more)

    # --- the network ------------------------------------------------------------------------------------------------------

    def forward(self) -> Section:
        printer = TensorLatex()
        section = Section("Forward pass", [self._symbols()])
        for t, expr in self.system.equations:
            if t is not self.system.loss:
                title = f"The {'output' if t is self.system.output else 'node'} ${printer.plain(t)}$"
                rule = f"definition: {rules.forward_rule(t)}"
                check = self._forward_check(t)
                section.blocks.append([self.add(title, printer.plain(t), printer.plain(expr), _equality(t, expr), rule, t, verification=check)])
        return section

    def _symbols(self) -> str:
        """What is given: every datum and every weight, with its set."""
        printer = TensorLatex()

        def members(tensors: Sequence[Tensor]) -> str:
            by_set: dict[str, list[str]] = {}
            for t in tensors:
                sizes = r" \times ".join(printer.plain(s) if isinstance(s, sp.Basic) else str(s) for s in t.shape)
                by_set.setdefault(rf"\mathbb{{R}}{f'^{{{sizes}}}' if sizes else ''}", []).append(printer.plain(t))
            return rules.join([rf"${', '.join(names)} \in {where}$" for where, names in by_set.items()])

        parts = []
        if self.system.data:
            parts.append(f"Data: {members(self.system.data)}.")
        if self.system.weights:
            parts.append(f"Weights: {members(self.system.weights)}.")
        if dims := [d for d in self.system.dims if isinstance(d, Dim)]:
            parts.append(f"The size {rules.join([f'${printer.plain(d)}$' for d in dims])} is open.")
        return " ".join(parts)

    def loss(self) -> Section:
        printer, t = TensorLatex(), self.system.loss
        assert t.definition is not None
        rule = f"definition: {rules.forward_rule(t)}"
        step = self.add(
            "The loss", printer.plain(t), printer.plain(t.definition), _equality(t, t.definition), rule, t, verification=self._forward_check(t)
        )
        return Section("Loss", [], [[step]])

    def _forward_check(self, t: Tensor) -> Check | None:
        """The value that generated code gives, against the definition in index form."""
        if self.point is None:
            return None
        assert t.definition is not None
        right = self.point.right(t.definition, None)
        pairs = [(float(self.point.values[t][index]), float(right[index])) for index in self.point.entries(t.shape)]
        return agree(pairs, "the generated code")

    # --- the derivative of each equation ------------------------------------------------------------------------------------

    def partials(self) -> Section:
        """∂y/∂x for every equation y and everything in it that the weights reach."""
        section = Section("The derivative of each equation", [])
        if not self.notation.scalar:
            section.text.append("Entries that are not listed are zero.")
        wanted = {*self.nodes, *self.weights}
        through = {*self.nodes, self.system.loss}
        for y, x in self.forms.adjoints.edges:
            if x not in wanted or y not in through:
                continue
            index = self.notation.index(x)
            partial = next(p for t in self.forms.chain_step(x, index) for p in t.atoms(Partial) if p.tensor is y)
            bare = Partial(*partial.args[:2])
            symbols = [s for s in dict.fromkeys((*bare.y.indices, *index) if isinstance(bare.y, sp.Indexed) else index) if isinstance(s, sp.Symbol)]
            value: sp.Expr = relettered(bare.entry(), {*self.notation.taken, *(s.name for s in symbols)})
            printer = self.notation.entries(tuple(symbols))
            assert y.definition is not None
            rule = rules.join(rules.derivative_rules(y.definition, x))
            title = f"How ${printer.plain(y)}$ changes with ${printer.plain(x)}$"
            step = self.add(
                title, printer.plain(bare), printer.plain(value), _equality(bare, value), rule, ("partial", y, x),
                uses=self._uses(y), verification=self._partial_check(bare, value, y, x, index),
            )  # fmt: skip
            section.blocks.append([step])
        return section

    def _partial_check(self, partial: Partial, value: sp.Expr, y: Tensor, x: Tensor, index: Index) -> Check | None:
        if self.point is None:
            return None
        place: Index = partial.y.indices if isinstance(partial.y, sp.Indexed) else ()
        symbols = [s for s in dict.fromkeys((*place, *index)) if isinstance(s, sp.Symbol)]
        sizes = self._sizes(x, index) | self._sizes(y, place)
        right = self.point.right(value, {s: sizes[s] for s in symbols})
        pairs = []
        for _ in range(3 if symbols else 1):
            where: dict[Any, int] = {}
            for s, size in (*zip(index, self.point.shape(x.shape), strict=True), *zip(place, self.point.shape(y.shape), strict=True)):
                where.setdefault(s, int(self.point.rng.integers(size)))
            numeric = self.point.partial_slope(y, _put(place, where), x, _put(index, where))
            pairs.append((numeric, float(right[tuple(where[s] for s in symbols)])))
        return compare(pairs)

    def _sizes(self, x: Tensor, index: Index) -> dict[sp.Symbol, int]:
        """How far the free indices of an entry run."""
        assert self.point is not None
        return {s: n for s, n in zip(index, self.point.shape(x.shape), strict=True) if isinstance(s, sp.Symbol)}

    # --- errors -------------------------------------------------------------------------------------------------------------

    def errors(self) -> Section:
        section = Section("The errors, from the loss backwards", [])
        printer = TensorLatex()
        loss = printer.plain(self.system.loss)
        if any(self.notation.named(x) for x in self.nodes):
            section.text.append(rf"The error of a node is the derivative of ${loss}$ in it, everything behind the node taken along.")
        for x in self.nodes:
            title = f"The error of ${printer.plain(x)}$"
            if self.form == "matrix" or not self.notation.scalar:
                section.blocks.append(self._tensor_block(x, title))
            else:
                section.blocks.append(self._entry_block(x, (), title))
        return section

    def _tensor_block(self, x: Tensor, title: str) -> list[Step]:
        """The adjoint of a tensor: by indices, whole, or first by indices and then whole."""
        expr = self._expression(x)
        whole = self.form == "matrix" or (self.form == "mixed" and self.notation.has_matrix_form(expr))
        block = [] if self.form == "matrix" else self._entry_block(x, self.notation.index(x), title)
        if whole and (x.shape or self.form == "matrix"):
            block += self._matrix_block(x, expr, title)
        return block

    def _expression(self, x: Tensor) -> sp.Expr:
        adjoint = self.notation.adjoint(x)
        expr: sp.Expr = adjoint.definition if isinstance(adjoint, Tensor) and adjoint.definition is not None else adjoint
        return expr

    def _entry_block(self, x: Tensor, index: Index, title: str) -> list[Step]:
        """One chain of equalities: the chain rule one equation back, its factors evaluated, and the result simplified."""
        notation, printer = self.notation, self.notation.entries(index)
        terms = sorted(self.forms.chain_step(x, index), key=path_key, reverse=True)
        users = [next(iter(p for p in t.atoms(Partial))).tensor for t in terms]
        lines = _Lines(self, x, index, title)
        head = notation.entry_left(x, index)
        if notation.named(x):
            lines.prefix = derivative(self.system.loss, x, index, printer)
        direct = len(terms) == 1 and users[0] is self.system.loss
        if not direct:
            lines.add(head, notation.sum_of_terms(terms, printer), sp.Add(*terms), self._chain_rule(x, users), tuple(users))
        values = [t.entry() if direct and isinstance(t, Partial) else evaluated(t) for t in terms]
        sizes: dict[str, Any] = {}
        values = [relettered(value, notation.taken, sizes) for value in values]
        factors = [("partial", y, x) for y in users]
        why = "factors evaluated" if not direct else self._direct_rule(x)
        lines.add(head, notation.sum_of_terms(values, printer), sp.Add(*values), why, factors)
        expr = self._expression(x)
        self._simplified(lines, head, sp.Add(*values), notation.entry_of(expr, index), printer)
        short = inlined(expr, notation.large)
        if notation.named(x) and short != expr:
            others = [t.adjoint_of[1] for t in tensors_in(expr) if t.adjoint_of and t not in notation.large]
            final = notation.entry_of(short, index)
            names = rules.join([f"${derivative(self.system.loss, z)}$" for z in others])
            lines.add(head, printer.plain(final), final, f"{names} inserted", [("error", z) for z in others])
        return lines.finish(x)

    def _simplified(self, lines: "_Lines", head: str, before: sp.Expr, after: sp.Expr, printer: TensorLatex) -> None:
        """The step from evaluated factors to the simplified form, if it is more than another order of the factors."""
        if without_partials(before) != after:
            lines.add(head, printer.plain(after), after, rules.simplification(before, after), ())

    def _chain_rule(self, x: Tensor, users: Sequence[Tensor]) -> str:
        printer = TensorLatex()
        loss = self.system.loss
        names = [f"${printer.plain(y)}$" for y in users if y is not loss]
        ways = f"through {rules.join(names)}" if names else "directly"
        if names and loss in users:
            ways += " and directly"
        added = "; ".join(filter(None, (rules.broadcast_rule(y, x) for y in users)))
        return f"chain rule: ${printer.plain(x)}$ acts on ${printer.plain(loss)}$ {ways}" + (f"; {added}" if added else "")

    def _direct_rule(self, x: Tensor) -> str:
        assert self.system.loss.definition is not None
        return rules.join(rules.derivative_rules(self.system.loss.definition, x))

    def _matrix_block(self, x: Tensor, expr: sp.Expr, title: str) -> list[Step]:
        notation = self.notation
        lines = _Lines(self, x, None, title)
        head = notation.matrix_left(x)
        users = sorted((y for y, z in self.forms.adjoints.edges if z is x), key=lambda y: -y.serial)
        if self.form == "matrix":
            if notation.named(x):
                lines.prefix = derivative(self.system.loss, x)
            if users != [self.system.loss]:
                right = " + ".join(notation.pullback(y, x) for y in users)
                lines.add(head, right, self.notation.adjoint(x), self._chain_rule(x, users), tuple(users), value=self._pulled(x, users))
            applied = [r for y in users if y.definition is not None for r in rules.derivative_rules(y.definition, x)]
            rule = rules.join(list(dict.fromkeys(applied)))
        else:
            rule = "in matrix notation"
        short = inlined(expr, notation.large)
        if self.form == "matrix" or short == expr or not notation.named(x):
            lines.add(head, notation.matrices.plain(expr), expr, rule, ())
        if notation.named(x) and short != expr:
            others = [t.adjoint_of[1] for t in tensors_in(expr) if t.adjoint_of and t not in notation.large]
            inserted = f"{rules.join([f'${derivative(self.system.loss, z)}$' for z in others])} inserted"
            lines.add(head, notation.matrices.plain(short), short, inserted if self.form == "matrix" else rule, [("error", z) for z in others])
        return lines.finish(x)

    def _pulled(self, x: Tensor, users: Sequence[Tensor]) -> Callable[..., float] | None:
        """The chain rule by numbers: Σ ∂C/∂y ∂y/∂x over all entries of every y, both slopes found without the derivation."""
        point = self.point
        if point is None or sum(int(point.values[y].size) for y in users) > 200:
            return None

        def value(*index: int) -> float:
            total = 0.0
            for y in users:
                for place in _places(point.values[y].shape):
                    before = 1.0 if y is self.system.loss else self.slope(y, place).value
                    total += before * point.partial_slope(y, place, x, index).value
            return total

        return value

    def slope(self, x: Tensor, index: tuple[int, ...]) -> Reading:
        assert self.point is not None
        if (x, index) not in self._slopes:
            self._slopes[x, index] = self.point.gradient_slope(x, index)
        return self._slopes[x, index]

    # --- gradients ----------------------------------------------------------------------------------------------------------

    def gradient(self, w: Tensor) -> Section:
        name = TensorLatex().plain(w)
        section = Section(f"The gradient of ${name}$")
        if self.notation.adjoint(w) == 0:
            section.text.append(f"The loss does not depend on ${name}$.")
            step = self.add(section.title, derivative(self.system.loss, w), "0", _equality(self.notation.adjoint(w), sp.S.Zero), "no path", w)
            section.blocks.append([step])
        elif self.notation.scalar and self.form != "matrix":
            self._scalar_gradient(w, section)
        elif self.form == "entry" and w.shape:
            for index in self._all_entries(w):
                section.blocks.append(self._entry_block(w, index, f"The gradient of ${self.notation.entries(index).plain(at(w, index))}$"))
                self._closed(w, index, section)
        else:
            section.blocks.append(self._tensor_block(w, section.title))
            self._local(w, section)
            self._closed(w, self.notation.index(w), section)
        return section

    def _all_entries(self, w: Tensor) -> list[Index]:
        places = _places(tuple(int(s) for s in w.shape))
        if len(places) > ENTRIES:
            raise UnsupportedError(
                f"the weight {w.name!r} has {len(places)} entries, more than anybody reads one by one ({ENTRIES}); take form='index', "
                "which writes them all in one line, or choose other weights with weights=[...]"
            )
        return [tuple(map(sp.Integer, place)) for place in places]

    def _scalar_gradient(self, w: Tensor, section: Section) -> None:
        """The whole product of partial derivatives, as the chain rule gives it; evaluated; with the errors; simplified; closed."""
        notation, printer = self.notation, self.notation.entries()
        lines = _Lines(self, w, (), section.title)
        head = derivative(self.system.loss, w)
        chain = self.forms.chain(w)
        terms = sorted(sp.Add.make_args(chain), key=path_key, reverse=True)
        users = [y for y, x in self.forms.adjoints.edges if x is w]
        if len(terms) > PATHS or any(factors_in(t) > LONG_CHAIN for t in terms):
            terms = sorted(self.forms.chain_step(w, ()), key=path_key, reverse=True)
        if users != [self.system.loss]:
            lines.add(head, notation.sum_of_terms(terms, printer), sp.Add(*terms), self._chain_rule(w, users), tuple(users))
        if self.stage > 1:
            values = [evaluated(t) for t in terms]
            factors = [("partial", p.tensor, p.x) for t in terms for p in t.atoms(Partial)]
            lines.add(head, notation.sum_of_terms(values, printer), sp.Add(*values), "every factor evaluated", factors)
            expr = self._expression(w)
            errors = [t for t in tensors_in(expr) if t.adjoint_of]
            if errors:
                lines.add(head, printer.plain(expr), expr, "the factors of the error taken together", [t.adjoint_of[1] for t in errors if t.adjoint_of])
            local = self.forms.local(w)
            text = TensorLatex(places=places(self.system)).plain(local)
            if width(text) <= WIDE:
                lines.add(head, text, local, rules.simplification(sp.Add(*values), local), ())
        section.blocks.append(lines.finish(w))
        self._closed(w, (), section)

    def _local(self, w: Tensor, section: Section) -> None:
        """The gradient with the errors written out, where that is short enough to be read."""
        if self.stage < 2 or self.form == "index":
            return
        try:
            local = self.forms.local(w)
        except UnsupportedError:
            return
        text = TensorLatex().plain(local)
        if self.notation.has_matrix_form(local) and width(text) <= WIDE and local != self._expression(w):
            lines = _Lines(self, w, None, section.title)
            lines.add(derivative(self.system.loss, w), text, local, "the errors written out", ())
            section.blocks.append(lines.finish(None))

    def _closed(self, w: Tensor, index: Index, section: Section) -> None:
        if self.stage < 3:
            return
        found = closed_form(self.forms, self.notation, w, index)
        if not isinstance(found, Written):
            section.notes.append(found)
            return
        lines = _Lines(self, w, index, section.title)
        head = derivative(self.system.loss, w, index, self.notation.entries(index))
        lines.add(head, found.right, found.expr, "closed: every named value replaced by its definition", (), where=found.where)
        section.blocks.append(lines.finish(None))

    def _uses(self, *things: Any) -> tuple[int, ...]:
        return tuple(sorted({self.numbers[t] for t in things if t in self.numbers}))

    def check(self, x: Tensor, index: Index | None, expr: sp.Expr, value: Callable[..., float] | None = None) -> Check | None:
        """A right side at random entries, against the slope of the loss there. `index` None: a whole tensor."""
        if self.point is None:
            return None
        letters = None if index is None else self._sizes(x, index)
        array = self.point.right(expr, letters) if value is None else None
        pairs = []
        for place in self.point.entries(x.shape) if letters != {} else [()]:
            where = dict(zip(index or (), place, strict=False))
            full = place if index is None else tuple(where[i] if i in (letters or {}) else int(i) for i in index)
            found = value(*full) if value is not None else np.asarray(array)[full if letters is None else tuple(where[i] for i in letters)]
            pairs.append((self.slope(x, full), float(found)))
        return compare(pairs)


class _Lines:
    """The steps of one chain of equalities: a line that says the same as the one before is left out."""

    def __init__(self, builder: _Builder, x: Tensor, index: Index | None, title: str) -> None:
        self.builder, self.x, self.index, self.title = builder, x, index, title
        self.steps: list[Step] = []
        self.prefix = ""

    def add(self, head: str, right: str, expr: sp.Expr, rule: str, uses: Sequence[Any], value: Any = None, where: Any = ()) -> None:
        if self.steps and self.steps[-1].right.removeprefix(self.prefix + " = ").replace(r"\cdot ", "") == right.replace(r"\cdot ", ""):
            return
        builder = self.builder
        left = head if not self.steps else ""
        text = f"{self.prefix} = {right}" if self.prefix and not self.steps else right
        known = builder.notation.adjoint(self.x)
        subject = at(known, self.index) if isinstance(known, Tensor) and self.index else known
        verification = builder.check(self.x, self.index, expr, value)
        step = builder.add(
            self.title, left, text, _equality(subject, expr), rule, None, uses=builder._uses(*uses), where=where, verification=verification
        )
        self.steps.append(step)

    def finish(self, what: Any) -> list[Step]:
        if what is not None and self.steps:
            self.builder.numbers.setdefault(("error", what), self.steps[-1].number)
        return self.steps


def _equality(left: Any, right: Any) -> sp.Basic:
    return sp.Eq(left, right, evaluate=False)


def _put(index: Index, where: dict[Any, int]) -> tuple[int, ...]:
    return tuple(where[s] if s in where else int(s) for s in index)


def _places(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    return [tuple(map(int, place)) for place in np.ndindex(shape)]


__all__ = ["FORMS", "build"]
