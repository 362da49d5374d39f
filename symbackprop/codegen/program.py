"""The training step as one straight list of equations: forward, backward, optimizer. What the step printers print.

Every assignment makes a new symbol (static single assignment), so that equations may be shared and reordered safely; a printer
writes the new value into the place of the old one.
"""

from dataclasses import dataclass

import sympy as sp

from symbackprop.calculus.differentiate import differentiate
from symbackprop.calculus.share import share
from symbackprop.calculus.stabilise import stabilise
from symbackprop.graph.equations import System
from symbackprop.graph.names import Namer
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.tensor import Equation, Tensor


@dataclass(frozen=True)
class Program:
    """`equations` in order; `places`: new symbol → the weight or state whose place it takes; `states`: (state name, weight) → symbol;
    `step`: the symbol of the step count; `data`: what the loss reads."""

    system: System
    equations: list[Equation]
    places: dict[Tensor, Tensor]
    states: dict[tuple[str, Tensor], Tensor]
    step: Tensor
    data: list[Tensor]
    name: Namer


def training_program(system: System, rule: Rule) -> Program:
    """Forward, backward and the rule for every weight, with repeated work shared."""
    system = stabilise(system)
    adjoints = differentiate(system.loss, system.weights, system.tensors)
    forward = adjoints.forward()
    name = Namer({t.name for t in system.tensors} | {e.symbol.name for e in adjoints.equations} | {d.name for d in system.dims})
    step = Tensor(name("step"), (), "state")
    equations = [Equation(t, t.definition) for t in forward if t.definition is not None] + adjoints.equations
    places: dict[Tensor, Tensor] = {}
    states: dict[tuple[str, Tensor], Tensor] = {}
    for w in system.weights:
        table: dict[sp.Basic, sp.Basic] = {WEIGHT: w, GRADIENT: adjoints.of[w], STEP: step}
        for s in rule.states:
            states[s.name, w] = Tensor(name(f"{s.name}_{w.name}"), w.shape, "state")
            table[s] = states[s.name, w]
        for target, expr in rule.assignments:
            old = table[target]
            value = expr.xreplace(table)
            new = Tensor(name(f"{target.name}_{w.name}_new" if target is not GRADIENT else f"g_{w.name}"), w.shape, "state", value)
            if isinstance(old, Tensor) and target is not GRADIENT:
                places[new] = places.get(old, old)
            equations.append(Equation(new, value))
            table[target] = new
    return Program(system, share(equations, name), places, states, step, [t for t in forward if t.role == "data"], name)
