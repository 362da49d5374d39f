"""A training step's equations in the form in which arrays compute them fastest. Functions from programs to programs.

A softmax and the logarithm of the same sum become one maximum, one exponential and one sum; what is divided by a norm that cannot be 0 reads
that norm; the mask of a relu reads the relu's value, so that its argument need not be kept.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.codegen.apart import Exponentials, Logistic
from symbackprop.codegen.program import Program
from symbackprop.graph import functions as f
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.cross_entropy import OfLogits
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.norm import AlongAxes, Norm, Unit
from symbackprop.graph.operators.reduction import LogSoftmax, LogSumExp, Softmax
from symbackprop.graph.operators.scan import Body, Scan
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.stable import xdivy
from symbackprop.graph.stable_losses import logistic_loss, logistic_slope
from symbackprop.graph.tensor import Equation, Tensor


def lowered(program: Program, dtype: str) -> Program:
    """The program with softmaxes and losses of logits taken apart and masks read from values, in the steps of recurrences too."""
    return replace(program, equations=_lowered(program.equations, program.name, dtype, program.precise))


def _lowered(given: Sequence[Equation], name: Namer, dtype: str, precise: bool) -> list[Equation]:
    masks = any(expr.has(sp.S.NegativeInfinity) for _, expr in given)
    lowest = sp.Float(float(np.finfo(dtype).min)) if masks else None
    found = {part for _, expr in given for part in postorder(expr) if isinstance(part, (Softmax, LogSoftmax, LogSumExp, OfLogits))}
    apart = {part.args[:2] for part in found if not isinstance(part, LogSumExp)}  # by itself, log-sum-exp minds infinities
    norms = {part for _, expr in given for part in expr.atoms(AlongAxes, xdivy)}
    logits = not precise and any(expr.has(logistic_loss, logistic_slope) for _, expr in given)
    table: dict[sp.Basic, sp.Basic] = {}
    known: dict[Any, Exponentials | Logistic] = {}
    equations: list[Equation] = []
    for symbol, expr in given:
        for part in postorder(expr) if apart or norms or logits else ():
            if part in table:
                continue
            if logits and isinstance(part, (logistic_loss, logistic_slope)):
                key: Any = part.args[0]
                known[key] = known.get(key) or Logistic(key, table, name)
            elif part in found and part.args[:2] in apart:
                key = part.args[:2]
                known[key] = known.get(key) or Exponentials(key[0], key[1], [x for x in found if x.args[:2] == key], table, name, lowest, precise)
            else:
                key = None
            if key is not None:
                table[part] = known[key].form(part, table)
                equations += known[key].taken()
            elif part in norms and isinstance(part, AlongAxes):
                equations += _over_norm(part, norms, table, name, dtype)
        expr = expr.xreplace(table) if table else expr
        if isinstance(expr, f.relu):
            table[f.step(expr.args[0])] = f.step(symbol)
        if isinstance(expr, Scan):
            body = expr.body
            steps = _lowered(body.equations, Namer({t.name for t in body.tensors}), dtype, precise)
            expr = Scan(Body(body.name, body.states, body.items, body.captured, steps, body.news, body.results), *expr.args[1:])
        equations.append(Equation(symbol, expr))
    return equations


def _over_norm(part: AlongAxes, found: set[sp.Basic], table: dict[sp.Basic, sp.Basic], name: Namer, dtype: str) -> list[Equation]:
    """The equations behind a norm, what is divided by it and its reciprocal, where its least value is no tiny number: then they need no care."""
    limits, x = np.finfo(dtype), part.operands[0]
    least = sp.Max(sp.sqrt(part.eps), part.least)
    if not (least.is_number and least > limits.tiny**0.5 / limits.eps):
        return []
    made: list[Equation] = []

    def named(kind: str, value: sp.Expr) -> Tensor:
        made.append(Equation(Tensor(name(f"{kind}_{label}"), shape_of(value), "node", value), value))
        return made[-1].symbol

    label = x.name if isinstance(x, Tensor) else "s"
    x = x.xreplace(table)
    x = x if isinstance(x, Tensor) else named("z", x)
    table[Norm(*part.args)] = length = named("norm", Norm(*part.parameters, x))
    table[Unit(*part.args)] = x / expand_axes(length, part.axes, x.rank)
    reciprocal = xdivy(sp.S.One, Norm(*part.args))
    if reciprocal in found:
        table[reciprocal] = named("reciprocal", 1 / length)
    return made
