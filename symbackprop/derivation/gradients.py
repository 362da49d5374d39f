"""The main sections of a derivation: the errors from the loss backwards, and the gradient of each weight."""

import numpy as np
import sympy as sp

from symbackprop.calculus.index import at
from symbackprop.calculus.partial import Partial, evaluated
from symbackprop.derivation import rules
from symbackprop.derivation.chains import Lines, applied, chain_rule, entry_block, tensor_block
from symbackprop.derivation.closed import Written, closed_form
from symbackprop.derivation.context import Context
from symbackprop.derivation.notation import Index, factors_in
from symbackprop.derivation.steps import Section
from symbackprop.errors import UnsupportedError
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.boxes import width
from symbackprop.latex.equations import derivative, path_key, places
from symbackprop.latex.printer import TensorLatex

LONG_CHAIN, PATHS = 14, 4  # a chain with more factors, or paths, is written with the errors of the layers
ENTRIES = 64  # gradients that are written entry by entry
SHORT = 5_000  # parts of an expression; what has more fills pages
WIDE = 75.0  # em; a local form that is wider adds nothing to the errors


def errors_section(context: Context) -> Section:
    """∂C/∂z of every node between the weights and the loss."""
    section = Section("The errors, from the loss backwards")
    printer = TensorLatex()
    if any(map(context.notation.named, context.nodes)):
        section.text.append(
            f"The error of a node is the derivative of ${printer.plain(context.system.loss)}$ in it, everything behind the node taken along."
        )
    for x in context.nodes:
        title = f"The error of ${printer.plain(x)}$"
        by_entry = context.notation.scalar and context.form != "matrix"
        section.blocks.append(entry_block(context, x, (), title) if by_entry else tensor_block(context, x, title))
    return section


def gradient_section(context: Context, w: Tensor) -> Section:
    """∂C/∂w, from the chain rule to the closed form."""
    name = TensorLatex().plain(w)
    section = Section(f"The gradient of ${name}$")
    adjoint = context.notation.adjoint(w)
    if adjoint == 0:
        section.text.append(f"The loss does not depend on ${name}$.")
        section.blocks.append([context.step(section.title, derivative(context.system.loss, w), "0", (adjoint, sp.S.Zero), "no path")])
    elif context.is_recurrent(w):
        section.blocks.append(tensor_block(context, w, section.title))
        section.notes.append(f"There is no closed form of the gradient of ${name}$: it runs through a recurrence of any number of steps.")
    elif context.notation.scalar and context.form != "matrix":
        _scalar(context, w, section)
    elif context.form == "entry" and w.shape:
        for index in _all_entries(w):
            title = f"The gradient of ${context.notation.entries(index).plain(at(w, index))}$"
            section.blocks.append(entry_block(context, w, index, title, context.stage))
            _closed(context, w, index, section)
    elif context.stage == 1:
        section.blocks.append(entry_block(context, w, context.notation.index(w), section.title, stage=1))
    else:
        section.blocks.append(tensor_block(context, w, section.title))
        _local(context, w, section)
        _closed(context, w, context.notation.index(w), section)
    section.notes = list(dict.fromkeys(section.notes))
    return section


def _all_entries(w: Tensor) -> list[Index]:
    indices = list(np.ndindex(tuple(int(s) for s in w.shape)))
    if len(indices) > ENTRIES:
        raise UnsupportedError(
            f"the weight {w.name!r} has {len(indices)} entries, more than anybody reads one by one ({ENTRIES}); take form='index', "
            "which writes them all in one line, or choose other weights with weights=[...]"
        )
    return [tuple(map(sp.Integer, index)) for index in indices]


def _scalar(context: Context, w: Tensor, section: Section) -> None:
    """The whole product of partial derivatives, as the chain rule gives it; evaluated; with the errors; simplified; closed."""
    notation, printer, loss = context.notation, context.notation.entries(), context.system.loss
    lines = Lines(context, w, (), section.title, derivative(loss, w))
    short = context.forms.paths(w) <= PATHS
    terms = sorted(sp.Add.make_args(context.forms.chain(w)) if short else context.forms.chain_step(w, ()), key=path_key, reverse=True)
    if any(factors_in(t) > LONG_CHAIN for t in terms):
        terms = sorted(context.forms.chain_step(w, ()), key=path_key, reverse=True)
    users = context.users(w)
    direct = users == [loss] and isinstance(terms[0], Partial)
    if not direct:
        lines.add(notation.sum_of_terms(terms, printer), sp.Add(*terms), chain_rule(context, w, users), users)
    if context.stage > 1 or direct:
        values = [t.entry() if direct else evaluated(t) for t in terms]
        why = rules.join(applied(users, w)) if direct else "every factor evaluated"
        factors = [("partial", p.tensor, p.x) for t in terms for p in t.atoms(Partial)]
        lines.add(notation.sum_of_terms(values, printer), sp.Add(*values), why, factors)
        try:
            local = context.forms.local(w, SHORT)
        except UnsupportedError:
            local = None  # it is written with the errors alone
        text = TensorLatex(places=places(context.system)).plain(local) if local is not None else ""
        if local is not None and width(text) <= WIDE:
            lines.add(text, local, rules.simplification(sp.Add(*values), local), rules.recognised(sp.Add(*values), local))
        expr = context.expression(w)
        errors = context.errors(expr)
        if errors:
            names = rules.join([f"${printer.plain(notation.adjoint(x))}$" for x in errors])
            lines.add(printer.plain(expr), expr, f"written with {names}", [("error", x) for x in errors])
    section.blocks.append(lines.finish())
    _closed(context, w, (), section)


def _local(context: Context, w: Tensor, section: Section) -> None:
    """The gradient with the errors written out, where that is short enough to be read."""
    if context.stage < 2 or context.form == "index":
        return
    try:
        local = context.forms.local(w, SHORT)
    except UnsupportedError:
        return
    text = TensorLatex().plain(local)
    if context.notation.has_matrix_form(local) and width(text) <= WIDE and local != context.expression(w):
        lines = Lines(context, w, None, section.title, derivative(context.system.loss, w))
        lines.add(text, local, "the errors written out")
        section.blocks.append(lines.steps)


def _closed(context: Context, w: Tensor, index: Index, section: Section) -> None:
    if context.stage < 3:
        return
    found = closed_form(context.forms, context.notation, w, index)
    if not isinstance(found, Written):
        section.notes.append(found)
        return
    if section.blocks and section.blocks[-1] and section.blocks[-1][-1].right == found.right:
        return  # it had no named values
    head = derivative(context.system.loss, w, index, context.notation.entries(index))
    lines = Lines(context, w, index, section.title, head)
    lines.add(found.right, found.expr, "closed: every named value replaced by its definition", where=found.where)
    section.blocks.append(lines.steps)


__all__ = ["errors_section", "gradient_section"]
