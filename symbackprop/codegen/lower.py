"""A training step's equations in the form in which arrays compute them fastest. Functions from programs to programs.

A softmax and the logarithm of the same sum become one maximum, one exponential and one sum; what is divided by a norm that cannot be 0 reads
that norm; the mask of a relu reads the relu's value, so that its argument need not be kept.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import sympy as sp

from symbackprop.codegen.program import Program
from symbackprop.graph import functions as f
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.norm import AlongAxes, Norm, Unit
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import AlongAxis, AxisMax, LogSoftmax, LogSumExp, Softmax
from symbackprop.graph.operators.scan import Body, Scan
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.stable import xdivy
from symbackprop.graph.tensor import Equation, Tensor


def lowered(program: Program, dtype: str) -> Program:
    """The program with softmaxes taken apart and masks read from values, in the steps of recurrences too."""
    return replace(program, equations=_lowered(program.equations, program.name, dtype))


def _lowered(given: Sequence[Equation], name: Namer, dtype: str) -> list[Equation]:
    masks = any(expr.has(sp.S.NegativeInfinity) for _, expr in given)
    lowest = sp.Float(float(np.finfo(dtype).min)) if masks else None
    found = {part for _, expr in given for part in postorder(expr) if isinstance(part, (Softmax, LogSoftmax, LogSumExp))}
    apart = {part.args for part in found if not isinstance(part, LogSumExp)}  # by itself, log-sum-exp minds infinities
    norms = {part for _, expr in given for part in expr.atoms(AlongAxes, xdivy)}
    table: dict[sp.Basic, sp.Basic] = {}
    equations: list[Equation] = []
    for symbol, expr in given:
        for part in postorder(expr) if apart or norms else ():
            if part in found and part.args in apart and part not in table:
                equations += _taken_apart(part, found, table, name, lowest)
            elif part in norms and part not in table and isinstance(part, AlongAxes):
                equations += _over_norm(part, norms, table, name, dtype)
        expr = expr.xreplace(table) if table else expr
        if isinstance(expr, f.relu):
            table[f.step(expr.args[0])] = f.step(symbol)
        if isinstance(expr, Scan):
            body = expr.body
            steps = _lowered(body.equations, Namer({t.name for t in body.tensors}), dtype)
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


def _taken_apart(
    part: AlongAxis, found: set[AlongAxis], table: dict[sp.Basic, sp.Basic], name: Namer, lowest: sp.Expr | None
) -> list[Equation]:
    """The equations behind all softmaxes of one operand; `table` says from then on how each of them is computed.

    `lowest`, if there are masks: the least number, which stands for the maximum of nothing but -oo. The softmax of that is zero."""

    made: list[Equation] = []

    def named(kind: str, value: sp.Expr) -> Tensor:
        made.append(Equation(Tensor(name(f"{kind}_{label}"), shape_of(value), "node", value), value))
        return made[-1].symbol

    def spread(y: Tensor) -> sp.Expr:
        return expand_axes(y, (part.axis,), x.rank) if y.rank else y

    axis, x = part.args
    label = x.name if isinstance(x, Tensor) else "s"
    x = x.xreplace(table)
    if not isinstance(x, Tensor):
        x = named("z", x)
    largest = named("max", AxisMax(axis, x))
    if lowest is not None:
        largest = named("least", sp.Max(largest, lowest))
    below = x - spread(largest)
    logs = LogSoftmax(*part.args) in found
    if logs:  # by itself: x minus a logarithm minus the maximum would be rounded at the size of x
        below = named("below", below)
    e = named("exp", sp.exp(below))
    total = named("sum", reduce_sum(e, part.axis))
    table[Softmax(*part.args)] = e / spread(total if lowest is None else named("share", sp.Max(total, 1)))  # the largest e is 1, if there is one
    table[LogSumExp(*part.args)] = sp.log(total) + largest
    if logs:
        table[LogSoftmax(*part.args)] = below - spread(named("log", sp.log(total)))
    return made
