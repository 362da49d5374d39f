"""Chains of equalities: from the chain rule to the simplified derivative, entry by entry or for a whole tensor at once."""

from collections.abc import Hashable, Sequence
from typing import Any

import sympy as sp

from symbackprop.calculus.combine import Combined
from symbackprop.calculus.evaluate import without_partials
from symbackprop.calculus.index import at, relettered
from symbackprop.calculus.partial import Partial, evaluated
from symbackprop.derivation import rules
from symbackprop.derivation.context import Context
from symbackprop.derivation.notation import Index
from symbackprop.derivation.steps import Step
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import derivative, inlined, is_by_indices_alone, path_key
from symbackprop.latex.printer import TensorLatex


class Lines:
    """The steps of one chain of equalities for ∂C/∂x: `index` is None for a whole tensor, `prefix` what the first right side begins
    with. A line that says the same as the one before is left out."""

    def __init__(self, context: Context, x: Tensor, index: Index | None, title: str, head: str, prefix: str = "") -> None:
        self.context, self.x, self.index, self.title, self.head, self.prefix = context, x, index, title, head, prefix
        self.steps: list[Step] = []
        self._last: list[str] = []

    def add(self, right: str, expr: sp.Expr, rule: str, uses: Sequence[Hashable] = (), value: Any = None, where: Any = ()) -> None:
        bare = sorted(right.replace(r"\cdot ", "").split()) if rule != rules.ORDERED else [right]
        if bare == self._last:
            return  # nothing but the order is new
        self._last = bare
        context = self.context
        adjoint = context.notation.adjoint(self.x)
        subject = at(adjoint, self.index) if isinstance(adjoint, Tensor) and self.index else adjoint
        check = context.checks.gradient(self.x, self.index, expr, value) if context.checks else None
        left, text = ("", right) if self.steps else (self.head, f"{self.prefix} = {right}" if self.prefix else right)
        self.steps.append(context.step(self.title, left, text, (subject, expr), rule, uses, where=where, verification=check))

    def finish(self) -> list[Step]:
        """The steps; later ones refer to the last of them."""
        if self.steps:
            self.context.remember(("error", self.x), self.steps[-1].number)
        return self.steps


def tensor_block(context: Context, x: Tensor, title: str) -> list[Step]:
    """The adjoint of a tensor: by indices, whole, or first by indices and then whole."""
    if context.is_recurrent(x):
        return time_block(context, x, title)
    if context.form == "matrix" and not is_by_indices_alone(context.notation.matrices.plain(context.expression(x))):
        return _matrix_block(context, x, title)
    block = entry_block(context, x, context.notation.index(x), title)
    if context.form == "mixed" and x.shape and context.notation.has_matrix_form(context.expression(x)):
        block += _matrix_block(context, x, title)
    return block


def entry_block(context: Context, x: Tensor, index: Index, title: str, stage: int = 3) -> list[Step]:
    """One entry: the chain rule one equation back (where stage 1 ends), its factors evaluated, the result simplified."""
    notation, printer = context.notation, context.notation.entries(index)
    loss = context.system.loss
    prefix = derivative(loss, x, index, printer) if notation.named(x) else ""
    lines = Lines(context, x, index, title, notation.entry_left(x, index), prefix)
    terms = sorted(context.forms.chain_step(x, index), key=path_key, reverse=True)
    users = [next(iter(t.atoms(Partial))).tensor for t in terms]
    direct = users == [loss] and isinstance(terms[0], Partial)
    if not direct:
        lines.add(notation.sum_of_terms(terms, printer), sp.Add(*terms), chain_rule(context, x, users), users)
        if stage == 1:
            return lines.finish()
    sizes: dict[str, Any] = {}
    values = [relettered(t.entry() if direct else evaluated(t), notation.taken, sizes) for t in terms]
    why = rules.join(applied(users, x)) if direct else "factors evaluated"
    lines.add(notation.sum_of_terms(values, printer), sp.Add(*values), why, [("partial", y, x) for y in users] if not direct else users)
    if direct:
        context.remember(("partial", loss, x), lines.steps[-1].number)
    expr = context.expression(x)
    simple = notation.entry_of(expr, index)
    if without_partials(sp.Add(*values)) != simple:  # more than another order of the factors
        lines.add(printer.plain(simple), simple, rules.simplification(sp.Add(*values), simple), rules.recognised(sp.Add(*values), simple))
    short = inlined(expr, notation.large)
    if notation.named(x) and short != expr:
        final = notation.entry_of(short, index)
        lines.add(printer.plain(final), final, *_inserted(context, expr))
    if together := context.combined(x):
        final = notation.entry_of(together.expr, index)
        lines.add(printer.plain(final), final, *_combined(context, x, together))
    return lines.finish()


def _matrix_block(context: Context, x: Tensor, title: str) -> list[Step]:
    """A whole tensor: what each equation hands back, or, after the entries, only the result."""
    notation = context.notation
    alone = context.form == "matrix"
    loss, users = context.system.loss, context.users(x)
    prefix = derivative(loss, x) if alone and notation.named(x) else ""
    lines = Lines(context, x, None, title, notation.matrix_left(x), prefix)
    rule = rules.whole_rule(context.expression(x))
    if alone and users != [loss]:
        value = context.checks.pulled(x, users, loss) if context.checks else None
        right = " + ".join(notation.pullback(y, x) for y in users)
        lines.add(right, notation.adjoint(x), chain_rule(context, x, users), users, value)
    if alone:
        rule = rules.join(applied(users, x, whole=True))
    expr = context.expression(x)
    short = inlined(expr, notation.large)
    insert = notation.named(x) and short != expr
    if alone or not insert:
        lines.add(notation.matrices.plain(expr), expr, rule)
    if insert:
        why, uses = _inserted(context, expr)
        lines.add(notation.matrices.plain(short), short, why if alone else rule, uses)
    together = context.combined(x)
    if together and notation.has_matrix_form(together.expr):
        lines.add(notation.matrices.plain(together.expr), together.expr, *_combined(context, x, together))
    return lines.finish()


def _combined(context: Context, x: Tensor, together: Combined) -> tuple[str, list[Hashable]]:
    """The rule by which the ways through several nodes become one."""
    printer = TensorLatex()
    through = rules.join([f"${printer.plain(y)}$" for y in together.through])
    last, own = f"${printer.plain(together.last)}$", f"${printer.plain(x)}$"
    rule = f"the error{'s' if len(together.through) > 1 else ''} of {through} inserted, {own} written by {last}, and sums carried out"
    return rule, [*(("error", y) for y in (*together.through, together.last)), *together.through, together.last]


def time_block(context: Context, x: Tensor, title: str) -> list[Step]:
    """A recurrence, or what it is made from: the adjoints of all steps backwards, or a sum over them."""
    notation, adjoint = context.notation, context.notation.adjoint(x)
    head = derivative(context.system.loss, x) if isinstance(x.definition, Scan) else notation.matrix_left(x)
    expr = context.expression(x)
    lines = Lines(context, x, None, title, head)
    if not isinstance(x.definition, Scan):
        lines.add(notation.matrices.plain(expr), expr, chain_rule(context, x, context.users(x)), [("error", y) for y in context.users(x)])
        return lines.finish()
    assert isinstance(adjoint, Tensor)
    stacks = [(t, e) for t, e in context.forms.adjoints.equations if isinstance(e, Part) and (e.operands[0] is adjoint or e.result.final)]
    rule = "backpropagation through time: each equation of a step hands its error back, and the states hand theirs to the step behind; a bar is an error"
    check = context.checks.value(adjoint) if context.checks else None
    step = context.step(title, head, notation.matrices.plain(expr), (adjoint, expr), rule, context.users(x), verification=check)
    context.remember(("error", x), step.number)
    block = [step]
    for t, e in stacks:
        check = context.checks.value(t) if context.checks else None
        name, value = notation.matrices.plain(t), notation.matrices.plain(e)
        block.append(context.step(title, name, value, (t, e), "one result of the recurrence", [("error", x)], verification=check, defines=True))
    return block


def _inserted(context: Context, expr: sp.Expr) -> tuple[str, list[Hashable]]:
    """The rule by which errors without a letter are replaced by their expressions."""
    others = context.unnamed(expr)
    return f"{rules.join([f'${derivative(context.system.loss, z)}$' for z in others])} inserted", [("error", z) for z in others]


def applied(users: Sequence[Tensor], x: Tensor, whole: bool = False) -> list[str]:
    """The rules by which the equations of `users` are differentiated in x."""
    return list(dict.fromkeys(r for y in users if y.definition is not None for r in rules.derivative_rules(y.definition, x, whole)))


def chain_rule(context: Context, x: Tensor, users: Sequence[Tensor]) -> str:
    """Over which nodes x acts on the loss."""
    printer = TensorLatex()
    loss = context.system.loss
    names = [f"${printer.plain(y)}$" for y in users if y is not loss]
    ways = f"through {rules.join(names)}" if names else "directly"
    if names and loss in users:
        ways += " and directly"
    added = "; ".join(filter(None, (rules.broadcast_rule(y, x) for y in users)))
    return f"chain rule: ${printer.plain(x)}$ acts on ${printer.plain(loss)}$ {ways}" + (f"; {added}" if added else "")


__all__ = ["Lines", "applied", "chain_rule", "entry_block", "tensor_block", "time_block"]
