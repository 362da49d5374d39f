"""The last section of a derivation: what the optimizer does with the gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.forms import Forms
from symbackprop.derivation.numbers import Check, Values, agree
from symbackprop.derivation.steps import Section, Step
from symbackprop.graph.equations import System, collect
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import derivative
from symbackprop.latex.names import Name
from symbackprop.latex.printer import TensorLatex
from symbackprop.training.optimizers import Optimizer
from symbackprop.training.trainer import Trainer


def update_section(
    system: System, optimizer: Optimizer, weights: Sequence[Tensor], forms: Forms, add: Callable[..., Step], point: Values | None
) -> Section:
    """A rule without a state is written out for each weight; one with a state once, for every weight w with gradient g."""
    rule = optimizer.equations()
    section = Section("The update")
    rule_of = f"the rule of {type(optimizer).__name__}"
    checks = _checks(system, optimizer, rule, forms, point)
    plain = [e for e in rule.assignments if e.symbol is WEIGHT]
    if len(rule.assignments) == 1 and plain:
        for w in weights:
            gradient = Tensor(f"gradient_of_{w.name}", w.shape, "state")
            printer = TensorLatex({gradient: Name(derivative(system.loss, w))}, lead=w)
            expr = plain[0].expr.xreplace({WEIGHT: w, GRADIENT: gradient})
            title = f"The update of ${printer.plain(w)}$"
            text = printer.plain(expr)
            section.blocks.append(
                [add(title, printer.plain(w), text, sp.Eq(w, expr, evaluate=False), rule_of, relation=r"\leftarrow", verification=checks.get((WEIGHT, w)))]
            )
        return section
    names = ", ".join(f"${TensorLatex().plain(w)}$" for w in weights)
    section.text.append(f"For every weight $w$ ({names}) with gradient $g$, in this order; $t$ counts the updates from 1.")
    starts = [f"${TensorLatex().plain(s)}$ at {value:g}" for s, value in rule.states.items()]
    section.text += [f"Before the first update, {', '.join(starts)}."] if starts else []
    for target, expr in rule.assignments:
        printer = TensorLatex(lead=target)
        check = max((c for (t, _), c in checks.items() if t is target), key=lambda c: c.error, default=None)
        title, text = f"The update of ${printer.plain(target)}$", printer.plain(expr)
        section.blocks.append(
            [add(title, printer.plain(target), text, sp.Eq(target, expr, evaluate=False), rule_of, relation=r"\leftarrow", verification=check)]
        )
    return section


def _checks(system: System, optimizer: Optimizer, rule: Rule, forms: Forms, point: Values | None) -> dict[tuple[Tensor, Tensor], Check]:
    """One update by the rule as printed, against the training step's generated code: (what is assigned, weight) → how it came out."""
    if point is None or not system.weights:
        return {}
    weights = {w.name: point.values[w] for w in system.weights}
    trainer = Trainer(system, optimizer, weights)
    trainer.step(**{t.name: point.values[t] for t in collect([system.loss]) if t.role == "data"})
    found = {}
    for w in system.weights:
        adjoint = forms.adjoints.of[w]
        entry = point.entries(w.shape)[0]
        gradient = float(point.values[adjoint][entry]) if isinstance(adjoint, Tensor) else float(adjoint)
        values: dict[Any, sp.Expr] = {WEIGHT: sp.Float(float(point.values[w][entry]), 25), GRADIENT: sp.Float(gradient, 25), STEP: sp.S.One}
        values |= {s: sp.Float(value, 25) for s, value in rule.states.items()}
        for target, expr in rule.assignments:
            values[target] = expr.xreplace(values).evalf(25)
        for target in {WEIGHT, *rule.states}:
            after = trainer.weights[w.name] if target is WEIGHT else np.asarray(trainer.state[target.name][w.name])
            found[target, w] = agree([(float(after[entry]), float(values[target]))], "the training step")
    return found


__all__ = ["update_section"]
