"""The last section of a derivation: what the optimizer does with the gradients."""


import numpy as np
import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.context import Context
from symbackprop.derivation.numbers import EXACT, Check, agree
from symbackprop.derivation.steps import Section, Step
from symbackprop.graph.equations import System, collect
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import derivative
from symbackprop.latex.names import Name, name_of
from symbackprop.latex.printer import TensorLatex
from symbackprop.training.optimizers import Optimizer
from symbackprop.training.trainer import Trainer

_INSTEAD = {"w": (r"\theta", r"\omega"), "g": (r"\gamma",), "t": ("k", r"\tau"), "m": (r"\mu",), "v": (r"\nu", "s")}
Checked = dict[tuple[Tensor, Tensor], Check]  # (what is assigned, weight) → how it came out


def update_section(context: Context, optimizer: Optimizer) -> Section:
    """A rule without a state is written out for each weight; one with a state once, for every weight w with gradient g."""
    rule = optimizer.equations()
    section = Section("The update")
    why = f"the rule of {type(optimizer).__name__}"
    checks = _checks(optimizer, rule, context.forms, context.checks) if context.checks else {}
    if [e.symbol for e in rule.assignments] == [WEIGHT]:
        section.blocks = [[_for_weight(context, w, rule.assignments[0].expr, why, checks.get((WEIGHT, w)))] for w in context.weights]
        return section
    letters = rule_letters(context.system, rule)
    printer = TensorLatex(letters)
    names = ", ".join(f"${printer.plain(w)}$" for w in context.weights)
    w, g, t = map(printer.plain, (WEIGHT, GRADIENT, STEP))
    counted = f"; ${t}$ counts the updates from 1" if rule.uses_step else ""
    section.text.append(f"For every weight ${w}$ ({names}) with gradient ${g}$, in this order{counted}.")
    starts = [f"${printer.plain(s)}$ at {value:g}" for s, value in rule.states.items()]
    section.text += [f"Before the first update, {', '.join(starts)}."] if starts else []
    for target, expr in rule.assignments:
        left, right = printer.plain(target), TensorLatex(letters, lead=target).plain(expr)
        check = max((c for (t, _), c in checks.items() if t is target), key=lambda c: c.error, default=None)
        section.blocks.append([context.step(f"The update of ${left}$", left, right, (target, expr), why, relation=r"\leftarrow", verification=check)])
    return section


def rule_letters(system: System, rule: Rule) -> dict[Tensor, Name]:
    """How the rule's letters are printed where the network has them already."""
    taken = {name_of(t).plain() for t in system.tensors}
    found: dict[Tensor, Name] = {}
    for symbol in (WEIGHT, GRADIENT, STEP, *rule.states):
        own = name_of(symbol)
        wishes = [own, *(Name(head, own.below, own.above) for head in _INSTEAD.get(own.head, ())), Name(rf"\hat{{{own.head}}}", own.below, own.above)]
        found[symbol] = next((name for name in wishes if name.plain() not in taken), wishes[-1])
        taken.add(found[symbol].plain())
    return found


def _for_weight(context: Context, w: Tensor, rule: sp.Expr, why: str, check: Check | None) -> Step:
    gradient = Tensor(f"gradient_of_{w.name}", w.shape, "state")
    printer = TensorLatex({gradient: Name(derivative(context.system.loss, w))}, lead=w)
    expr = rule.xreplace({WEIGHT: w, GRADIENT: gradient})
    left = printer.plain(w)
    uses = [("error", w)]
    return context.step(f"The update of ${left}$", left, printer.plain(expr), (w, expr), why, uses, relation=r"\leftarrow", verification=check)


def _checks(optimizer: Optimizer, rule: Rule, forms: Forms, checks: Checks) -> Checked:
    """One update by the rule as printed, against the training step's generated code."""
    system, point = forms.system, checks.point
    if not system.weights:
        return {}
    trainer = Trainer(system, optimizer, {t.name: point.values[t] for t in system.kept})
    trainer.step(**{t.name: point.values[t] for t in collect([system.loss]) if t.role == "data"})
    found: Checked = {}
    for w in system.weights:
        adjoint = forms.adjoints.of[w]
        entry = point.entries(w.shape)[0]
        gradient = float(point.values[adjoint][entry]) if isinstance(adjoint, Tensor) else float(adjoint)
        values = _assigned(rule, float(point.values[w][entry]), gradient)
        after = {t: trainer.weights[w.name] if t is WEIGHT else np.asarray(trainer.state[t.name][w.name]) for t in (WEIGHT, *rule.states)}
        held = {t: agree([(float(a[entry]), values[t])], "the training step") for t, a in after.items()}
        if not all(check.ok for check in held.values()) and isinstance(adjoint, Tensor) and adjoint.definition is not None:
            # What is left of terms that cancel in the gradient is another number in the training step.
            moved = checks.floor(adjoint.definition, None, EXACT) * EXACT
            others = [_assigned(rule, float(point.values[w][entry]), gradient + d) for d in (moved, -moved)]
            floors = {t: max(1e-12, *(abs(o[t] - values[t]) / EXACT for o in others)) for t in after}
            held = {t: agree([(float(a[entry]), values[t])], "the training step", floors[t]) for t, a in after.items()}
        found |= {(t, w): check for t, check in held.items()}
    return found


def _assigned(rule: Rule, weight: float, gradient: float) -> dict[Tensor, float]:
    """What the first update makes of one entry and of its states."""
    values: dict[Tensor, sp.Expr] = {WEIGHT: sp.Float(weight, 25), GRADIENT: sp.Float(gradient, 25), STEP: sp.S.One}
    values |= {s: sp.Float(value, 25) for s, value in rule.states.items()}
    for target, expr in rule.assignments:
        values[target] = expr.xreplace(values).evalf(25)
    return {t: float(value) for t, value in values.items()}


__all__ = ["rule_letters", "update_section"]
