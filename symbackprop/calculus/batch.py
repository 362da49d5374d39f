"""Lift a network that is written for one sample to a batch of samples: every data tensor gets a leading dimension, every
operator works on each sample alike, and the loss becomes the mean of the samples' losses."""

from functools import singledispatch
from typing import Any

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, dims_in, once
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator, ints
from symbackprop.graph.operators.contraction import LETTERS, Broadcast, Einsum, contract
from symbackprop.graph.operators.gather import OneHot, Scatter, Take
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, Slice, expand_axes, reshape
from symbackprop.graph.operators.norm import AlongAxes
from symbackprop.graph.operators.products import mean, transpose
from symbackprop.graph.operators.reduction import AlongAxis
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.operators.solve import Solve
from symbackprop.graph.operators.window import Sliding
from symbackprop.graph.shapes import Dim, Dimension, rank_of, shape_of
from symbackprop.graph.tensor import Equation, Tensor, declare


@once
def batch_dimension(system: System) -> Dim | None:
    """The dimension along which samples are counted: the first named dimension of the data that leads a shape (rows are samples),
    else the first that stands anywhere (columns are samples), or None if there is none. Along the steps of a recurrence there are no samples:
    each step needs those before it."""
    time = {size for _, expr in system.equations if isinstance(expr, Scan) for size in dims_in(expr.length)}
    leading = [t.shape[0] for t in system.data if t.shape]
    sizes = [*leading, *(size for t in system.data for size in t.shape)]
    return next((size for size in sizes if isinstance(size, Dim) and size not in time), None)


def is_single_sample(system: System) -> bool:
    """Whether the network has data but no dimension of samples, so that it describes one sample."""
    return bool(system.data) and batch_dimension(system) is None


@once
def lift(system: System) -> System:
    """The same network over a batch, named `n`. The names of data, nodes and loss stay; the loss of each sample is `<loss>_each`. What
    becomes of a state is the mean of what each sample would make of it."""
    taken = {t.name for t in (*system.tensors, *system.listed)}
    name = Namer(taken | {d.name for d in system.dims})
    n = Dim(name("n"))
    lifted: dict[Tensor, Tensor] = {t: declare(t.name, (n, *t.shape), "data", t.init) for t in system.data}
    lifter = Lifter(lifted, n)
    for symbol, expr in system.equations:
        over = lifter(expr)
        if over is expr:
            continue
        each = symbol.name if symbol is not system.loss else name(f"{symbol.name}_each")
        lifted[symbol] = Tensor(each, shape_of(over), "node", over)
    loss = lifted.get(system.loss)
    if loss is not None:
        total = mean(loss)
        loss = Tensor(system.loss.name, (), "node", total)
    output = system.output if system.output is None else loss if system.output is system.loss else lifted.get(system.output, system.output)
    moved = {state: (expr, lifter(expr)) for state, expr in system.updates}
    updates = tuple(Equation(state, mean(new, axis=0) if new is not expr else expr) for state, (expr, new) in moved.items())
    extra = tuple(lifted.get(t, t) for t in system.extra)
    listed = (*(lifted[t] for t in system.data), *system.kept)
    return System(loss if loss is not None else system.loss, output, extra, listed, updates)


class Lifter:
    """Writes expressions over a batch, given the tensors that have a leading dimension `n` there."""

    def __init__(self, lifted: dict[Tensor, Any], n: Dimension) -> None:
        self.lifted = lifted  # grows as the equations are lifted one after the other
        self.n = n

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """The expression over a batch, or the same object where it depends on no data."""
        if isinstance(expr, Tensor):
            return self.lifted.get(expr, expr)
        if isinstance(expr, Operator):
            new = [self(x) for x in expr.operands]
            if all(a is b for a, b in zip(new, expr.operands, strict=True)):
                return expr
            return lift_operator(expr, new, self.n)
        body, operators = regions(expr)
        rank = rank_of(expr)
        table: dict[sp.Basic, sp.Basic] = {}
        for symbol in body.free_symbols:
            x = operators.get(symbol, symbol)
            new = self(x) if isinstance(x, (Tensor, Operator)) else x
            if new is not x:
                axes = tuple(range(-rank, -rank_of(x)))
                table[symbol] = expand_axes(new, axes, rank + 1) if axes and rank_of(new) > 0 else new
        if not table:
            return expr
        return body.xreplace({**operators, **table})


@singledispatch
def lift_operator(operator: Any, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    """An operator over a batch: `new` are its operands, those that changed with a leading axis of size n."""
    raise UnsupportedError(f"{operator} cannot be applied to a batch of samples; give the data a leading dimension such as 'n' in the network")


def _changed(operator: Operator, new: list[sp.Expr]) -> list[bool]:
    return [a is not b for a, b in zip(new, operator.operands, strict=True)]


@lift_operator.register
def _(operator: Einsum, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    ins, out = operator.spec
    letter = next(c for c in LETTERS if c not in operator.args[0].name)
    return contract([letter + s if moved else s for s, moved in zip(ins, _changed(operator, new), strict=True)], letter + out, new)


@lift_operator.register
def _(operator: Broadcast, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return Broadcast(ints((n, *operator.shape)), ints((0, *(a + 1 for a in operator.axes))), new[0])


@lift_operator.register
def _(operator: Reshape, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return reshape(new[0], (n, *operator.shape))


@lift_operator.register
def _(operator: Slice, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return Slice(ints((ints((0, n, 1)), *operator.args[0])), new[0])


@lift_operator.register
def _(operator: Pad, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return Pad(ints((ints((0, n, 1)), *operator.args[0])), ints((n, *operator.shape)), operator.args[2], new[0])


@lift_operator.register
def _(operator: Concatenate, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    wide = [
        x if moved else Broadcast(ints((n, *shape_of(x))), ints(range(1, rank_of(x) + 1)), x)
        for x, moved in zip(new, _changed(operator, new), strict=True)
    ]
    return Concatenate(operator.args[0], *wide)


@lift_operator.register(AlongAxis)
@lift_operator.register(AlongAxes)
@lift_operator.register(Sliding)
def _(operator: Operator, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return operator.func(*operator.parameters, *new)  # their axes are counted from the end


@lift_operator.register
def _(operator: Solve, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    a, b = [
        x if moved else Broadcast(ints((n, *shape_of(x))), ints(range(1, rank_of(x) + 1)), x)
        for x, moved in zip(new, _changed(operator, new), strict=True)
    ]
    if operator.rank > 1:
        return Solve(a, b)
    return reshape(Solve(a, expand_axes(b, (-1,), 3)), (n, *operator.shape))  # vectors of several samples are matrices of one column


@lift_operator.register
def _(operator: OneHot, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    return OneHot(*operator.parameters, *new)


@lift_operator.register
def _(operator: Take, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    table_moved, indices_moved = _changed(operator, new)
    if table_moved and indices_moved:
        raise UnsupportedError(
            f"{operator} picks from data by data of the same sample; "
            "write it as a contraction with one_hot(...), or give the data a leading dimension"
        )
    result = Take(operator.args[0], *new)
    if table_moved:
        return result
    at = operator.axis + rank_of(operator.operands[0])  # the batch axis of the indices stands here: bring it to the front
    order = [at, *(a for a in range(rank_of(result)) if a != at)]
    return transpose(result, order)


@lift_operator.register
def _(operator: Scatter, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    g_moved, indices_moved = _changed(operator, new)
    if not indices_moved:
        return Scatter(*operator.parameters, *new)
    g, indices = new  # each sample has positions of its own: a product with their one-hot rows
    rank, count = operator.rank, rank_of(operator.operands[1])
    at = operator.axis + rank
    letters = LETTERS[: rank + count + 1]
    own, picked, target, sample = letters[: rank - 1], letters[rank - 1 : rank - 1 + count], letters[-2], letters[-1]
    entries = (sample if g_moved else "") + own[:at] + picked + own[at:]
    return contract([entries, sample + picked + target], sample + own[:at] + target + own[at:], [g, OneHot(operator.args[1], indices)])


__all__ = ["Lifter", "batch_dimension", "is_single_sample", "lift", "lift_operator"]
