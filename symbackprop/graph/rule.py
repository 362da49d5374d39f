"""Update rules: an optimizer as a list of equations in a weight, its gradient, its state and the step count."""

from collections.abc import Mapping
from dataclasses import dataclass

import sympy as sp

from symbackprop.graph.tensor import Equation, Tensor

WEIGHT = Tensor("w", (), "state")
GRADIENT = Tensor("g", (), "state")
STEP = Tensor("t", (), "state")


@dataclass(frozen=True)
class Rule:
    """`assignments` are carried out in order, each seeing what the ones before it assigned; the rule acts on every entry of
    every weight alike. `states` maps each state's symbol to its initial value."""

    assignments: tuple[Equation, ...]
    states: Mapping[Tensor, float]

    @property
    def uses_step(self) -> bool:
        return any(STEP in expr.free_symbols for _, expr in self.assignments)

    def increment(self, equation: Equation) -> sp.Expr | None:
        """The rest of `target = target + rest`, or None where the equation is not of that form."""
        target, expr = equation
        terms = list(expr.args) if isinstance(expr, sp.Add) else [expr]
        if target not in terms:
            return None
        terms.remove(target)
        return sp.Add(*terms)
