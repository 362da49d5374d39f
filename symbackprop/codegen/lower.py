"""A training step's equations in the form in which arrays compute them fastest. Functions from programs to programs.

A softmax and the logarithm of the same sum become one maximum, one exponential and one sum; the mask of a relu reads the relu's value, so
that its argument need not be kept.
"""

from dataclasses import replace

import sympy as sp

from symbackprop.codegen.program import Program
from symbackprop.graph import functions as f
from symbackprop.graph.operators.layout import expand_axes
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import AlongAxis, AxisMax, LogSoftmax, LogSumExp, Softmax
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor


def lowered(program: Program) -> Program:
    """The program with softmaxes taken apart and masks read from values."""
    found = {part for _, expr in program.equations for part in postorder(expr) if isinstance(part, (Softmax, LogSoftmax, LogSumExp))}
    apart = {part.args for part in found if not isinstance(part, LogSumExp)}  # by itself, log-sum-exp minds infinities
    table: dict[sp.Basic, sp.Basic] = {}
    equations: list[Equation] = []
    for symbol, expr in program.equations:
        for part in postorder(expr) if apart else ():
            if part in found and part.args in apart and part not in table:
                equations += _taken_apart(part, found, table, program)
        expr = expr.xreplace(table) if table else expr
        if isinstance(expr, f.relu):
            table[f.step(expr.args[0])] = f.step(symbol)
        equations.append(Equation(symbol, expr))
    return replace(program, equations=equations)


def _taken_apart(part: AlongAxis, found: set[AlongAxis], table: dict[sp.Basic, sp.Basic], program: Program) -> list[Equation]:
    """The equations behind all softmaxes of one operand; `table` says from then on how each of them is computed."""

    made: list[Equation] = []

    def named(kind: str, value: sp.Expr) -> Tensor:
        made.append(Equation(Tensor(program.name(f"{kind}_{label}"), shape_of(value), "node", value), value))
        return made[-1].symbol

    def spread(y: Tensor) -> sp.Expr:
        return expand_axes(y, (part.axis,), x.rank) if y.rank else y

    axis, x = part.args
    label = x.name if isinstance(x, Tensor) else "s"
    x = x.xreplace(table)
    if not isinstance(x, Tensor):
        x = named("z", x)
    largest = named("max", AxisMax(axis, x))
    e = named("exp", sp.exp(x - spread(largest)))
    total = named("sum", reduce_sum(e, part.axis))
    table[Softmax(*part.args)] = e / spread(total)
    table[LogSumExp(*part.args)] = sp.log(total) + largest
    if LogSoftmax(*part.args) in found:
        table[LogSoftmax(*part.args)] = x - spread(largest) - spread(named("log", sp.log(total)))
    return made
