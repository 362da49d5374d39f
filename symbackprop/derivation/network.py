"""The first sections of a derivation: the network's own equations, and the derivative of each by itself."""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.calculus.index import relettered
from symbackprop.calculus.partial import Partial
from symbackprop.derivation import rules
from symbackprop.derivation.context import Context
from symbackprop.derivation.steps import Section, Step
from symbackprop.graph.draw import Draw
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.labels import index_data
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import equation_line
from symbackprop.latex.printer import TensorLatex


def forward_section(context: Context) -> Section:
    """Every equation but the loss."""
    system = context.system
    section = Section("Forward pass", list(filter(None, [given(system), _conventions(context)])))
    for t in (e.symbol for e in system.equations if e.symbol is not system.loss):
        section.blocks.append([_definition(context, t, "The output" if t is system.output else "The node")])
    return section


def loss_section(context: Context) -> Section:
    return Section("Loss", [], [[_definition(context, context.system.loss, "The loss")]])


def states_section(context: Context) -> Section:
    """What training changes besides the weights."""
    section = Section("The states")
    for state, expr in reversed(context.system.updates):
        name, right = TensorLatex().plain(state), TensorLatex(lead=state).plain(expr)
        check = context.checks.update(state, expr) if context.checks else None
        more: dict[str, Any] = {"relation": r"\leftarrow", "verification": check, "defines": True}
        rule = "definition: the new value of a state"
        section.blocks.append([context.step(f"The state ${name}$", name, right, (state, expr), rule, tensors_in(expr), **more)])
    if section.blocks:
        section.text.append("They are not learnt: with every training step, each becomes what its equation says, all at once.")
    return section


def inference_section(context: Context) -> Section:
    """The equations that are others once the network is trained."""
    section = Section("Inference")
    for t, _ in context.system.equations:
        if t.inference is not None:
            name, right = TensorLatex().plain(t), TensorLatex().plain(t.inference)
            rule = "definition: what takes its place at inference"
            section.blocks.append([context.step(f"The node ${name}$ at inference", name, right, (t, t.inference), rule, [t], defines=True)])
    if section.blocks:
        section.text.append("Once the network is trained, these equations take the place of those of the same name.")
    return section


def _definition(context: Context, t: Tensor, kind: str) -> Step:
    assert t.definition is not None
    name, (left, right) = TensorLatex().plain(t), equation_line(t, t.definition, context.notation.taken)
    rule = f"definition: {rules.forward_rule(t)}"
    check = context.checks.value(t) if context.checks else None
    step = context.step(f"{kind} ${name}$", left, right, (t, t.definition), rule, verification=check, defines=True)
    context.remember(t, step.number)
    return step


def given(system: System) -> str:
    """What is given: every datum and every weight, with its set."""
    printer = TensorLatex()
    labels = index_data(system)

    def members(tensors: Sequence[Tensor]) -> str:
        by_set: dict[str, list[str]] = {}
        for t in tensors:
            sizes = r" \times ".join(printer.plain(s) if isinstance(s, sp.Basic) else str(s) for s in t.shape)
            numbers = _positions(sp.sympify(labels[t], strict=True) - 1, printer) if t in labels else r"\mathbb{R}"
            by_set.setdefault(f"{numbers}{f'^{{{sizes}}}' if sizes else ''}", []).append(printer.plain(t))
        return rules.join([", ".join([*(f"${name}$" for name in names[:-1]), rf"${names[-1]} \in {where}$"]) for where, names in by_set.items()])

    drawn = [f"${printer.plain(t)}$" for t in system.data if isinstance(t.init, Draw)]
    dims = [f"${printer.plain(d)}$" for d in system.dims if isinstance(d, Dim)]
    parts = [f"Data: {members(system.data)}."] if system.data else []
    parts += [f"Weights: {members(system.weights)}."] if system.weights else []
    for kind, states in (("States", [t for t in system.states if t not in system.constants]), ("Constants", system.constants)):
        parts += [f"{kind}: {members(states)}."] if states else []
    parts += [f"In training, {rules.join(drawn)} {'are' if len(drawn) > 1 else 'is'} drawn at random for every update."] if drawn else []
    parts += [f"The size{'s' if len(dims) > 1 else ''} {rules.join(dims)} {'are' if len(dims) > 1 else 'is'} open."] if dims else []
    return " ".join(parts)


def _positions(last: sp.Expr, printer: TensorLatex) -> str:
    """The whole numbers from 0 to the last one, as a set."""
    few = [str(k) for k in range(int(last) + 1)] if last.is_Integer and last <= 2 else ["0", r"\dots", printer.plain(last)]
    return rf"\lbrace {', '.join(few)} \rbrace"


def _conventions(context: Context) -> str:
    """How tensors are written."""
    system = context.system
    if context.notation.scalar:
        return ""
    text = r"Functions of one number, powers, fractions and $\odot$ act entry by entry, $\mathbf{1}$ is a vector of ones, "
    text += "a vector beside a matrix acts on every row."
    if any(part.convolved for _, expr in system.equations for part in expr.atoms(Operator)):
        text += (
            r" $\star$ is the cross-correlation over the last axes, $\ast$ the full convolution, both summed over the channels that the two sides share; "
            "below the sign stands a stride, and behind a bar how far the entries of the right side lie apart, where they are not 1."
        )
    counted = [d for d in system.dims if isinstance(d, Dim) and len(d.name) == 1]
    letters = "; ".join(f"where ${d.name.lower()}$ counts along an axis, ${d.name.upper()}$ is its size" for d in counted)
    return f"{text} Indices count from 0{'; ' + letters if letters else ''}."


def partials_section(context: Context) -> Section:
    """∂y/∂x for every equation y and everything in it that the weights reach."""
    section = Section("The derivative of each equation")
    wanted = {*context.nodes, *context.weights}
    through = {*context.nodes, context.system.loss}
    for y, x in context.forms.adjoints.edges:
        # What the loss alone reads has its derivative among the errors.
        if isinstance(y.definition, Scan) or isinstance(x.definition, Scan):
            continue  # its equations are differentiated step by step, among the errors
        if x in wanted and y in through and not (y is context.system.loss and context.users(x) == [y]):
            section.blocks.append([_partial(context, y, x)])
    if section.blocks:
        section.text.append("In each, whatever else stands in the equation is held fixed.")
        section.text += [] if context.notation.scalar else ["Entries that are not listed are zero."]
    return section


def _partial(context: Context, y: Tensor, x: Tensor) -> Step:
    notation = context.notation
    assert y.definition is not None
    terms = context.forms.chain_step(x, notation.index(x))
    found = next(p for t in terms for p in t.atoms(Partial) if p.tensor is y)
    letters = [s for part in (found.y, found.x) if isinstance(part, sp.Indexed) for s in part.indices if isinstance(s, sp.Symbol)]
    value: sp.Expr = relettered(found.entry(), {*notation.taken, *(s.name for s in letters)})
    printer = notation.entries(tuple(dict.fromkeys(letters)))
    title = f"How ${printer.plain(y)}$ changes with ${printer.plain(x)}$"
    rule = rules.join(rules.derivative_rules(y.definition, x))
    check = context.checks.partial(found, value) if context.checks else None
    step = context.step(title, printer.plain(found), printer.plain(value), (found, value), rule, [y], verification=check)
    context.remember(("partial", y, x), step.number)
    return step


__all__ = ["forward_section", "given", "inference_section", "loss_section", "partials_section", "states_section"]
