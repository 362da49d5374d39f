"""The first step of an optimizer in numbers: its rule, evaluated as it is written."""

from typing import Any

import numpy as np

from symbackprop.audit.backward import Calculator
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT
from symbackprop.training.feed import Array
from symbackprop.training.optimizers import Optimizer


class NumericRule:
    """`rule(w, g)`: the weight after the first step, from a fresh state."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.rule = optimizer.equations()
        self.calculate = Calculator()
        self.calculate.learn(expr for _, expr in self.rule.assignments)

    def __call__(self, w: Array, g: Array) -> Array:
        values: dict[Any, Any] = {WEIGHT: w, GRADIENT: g, STEP: 1.0}
        values |= {state: np.full(w.shape, start) for state, start in self.rule.states.items()}
        with np.errstate(all="ignore"):
            for target, expr in self.rule.assignments:
                values[target] = np.broadcast_to(self.calculate(expr, values), w.shape)
        return np.array(values[WEIGHT])


__all__ = ["NumericRule"]
