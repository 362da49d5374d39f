"""The training step as one straight list of equations: forward, backward, optimizer. What the step printers print.

Every assignment makes a new symbol (static single assignment), so that equations may be shared and reordered safely; a printer
writes the new value into the place of the old one.
"""

from dataclasses import dataclass

import sympy as sp

from symbackprop.calculus.order import common_factor
from symbackprop.calculus.share import share
from symbackprop.calculus.stabilise import computed, trained
from symbackprop.codegen.recurrence import Pruned
from symbackprop.graph.equations import System
from symbackprop.graph.names import Namer
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor


@dataclass(frozen=True)
class Program:
    """`equations` in order; `places`: new symbol → the weight or state, of the network or of the rule, whose place it takes; `states`:
    (state name, weight) → symbol; `gradients`: adjoint → its weight; `step`: the symbol of the step count; `data`: what the step reads. `precise`:
    whether it is computed as a single evaluation is, every rewrite applied, every exponential in double precision."""

    system: System
    equations: list[Equation]
    places: dict[Tensor, Tensor]
    states: dict[tuple[str, Tensor], Tensor]
    gradients: dict[Tensor, Tensor]
    step: Tensor
    data: list[Tensor]
    name: Namer
    precise: bool = False

    def __post_init__(self) -> None:
        seen: dict[str, Equation] = {}
        for equation in self.equations:
            if seen.setdefault(equation.symbol.name, equation) is not equation:
                raise AssertionError(f"two equations of a step are called {equation.symbol.name}: {seen[equation.symbol.name].expr} and {equation.expr}")


def training_program(system: System, rule: Rule, precise: bool = False) -> Program:
    """Forward, backward, the new states and the rule for every weight, with repeated work shared."""
    stable = computed(system) if precise else trained(system)
    system, adjoints = stable.system, stable.adjoints
    forward = adjoints.forward(system.updated)
    name = Namer({t.name for t in system.tensors} | {e.symbol.name for e in adjoints.equations} | {d.name for d in system.dims})
    step = Tensor(name("step"), (), "state")
    equations = adjoints.listing(system.updated)
    gradients = {g: w for w in system.weights if isinstance(g := adjoints.of[w], Tensor)}
    places: dict[Tensor, Tensor] = {}
    for state, value in system.updates:
        new = Tensor(name(f"{state.name}_new"), state.shape, "state", value)
        places[new] = state
        equations.append(Equation(new, value))
    states: dict[tuple[str, Tensor], Tensor] = {}
    for w in system.weights if rule.assignments else ():
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
    equations = Pruned(equations, {*gradients, *places, system.loss})(equations)
    equations = share(_sums_named(equations, name), name)
    return Program(system, equations, places, states, gradients, step, [t for t in forward if t.role == "data"], name, precise)


def _sums_named(equations: list[Equation], name: Namer) -> list[Equation]:
    """The same, with y - t as an equation of its own where there is 2*y - 2*t too: SymPy multiplies numbers into sums, which hides it."""
    sums = dict.fromkeys(part for _, expr in equations for part in postorder(expr) if isinstance(part, sp.Add))
    wide: dict[sp.Expr, list[tuple[sp.Expr, sp.Expr]]] = {}  # a sum → its multiples
    for part in sums:
        number, rest = common_factor(part)
        if number != 1 and rest in sums:
            wide.setdefault(rest, []).append((part, number))
    plain = {part: rest for rest, multiples in wide.items() for part, _ in [*multiples, (rest, 1)]}
    table: dict[sp.Basic, sp.Basic] = {}
    result = []
    for symbol, expr in equations:
        for part in postorder(expr) if plain else ():
            rest = plain.get(part)
            if rest is not None and rest not in table:
                table[rest] = named = symbol if rest is expr else Tensor(name(f"s_{len(table) + 1}"), shape_of(rest), "node", rest)
                table |= {multiple: number * named for multiple, number in wide[rest]}
                result += [Equation(named, rest)] if named is not symbol else []
        result.append(Equation(symbol, expr if table.get(expr) is symbol else expr.xreplace(table)))
    return result
