"""Backpropagation through time: the adjoint of a scan is a scan backwards, whose body is made of the adjoint equations of the body.

Only what a step needs from the step behind it is computed step by step. What the operands are handed back is a sum over all steps of products
of stacked values, computed once: the gradient of a recurrent weight is one matrix product, not one at each step.

Sources: P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proc. IEEE 78 (1990); Goodfellow, Bengio &
Courville, Deep Learning, section 10.2.2. A bar is the adjoint (Griewank & Walther): z̄ of z.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import sympy as sp

from symbackprop.calculus.batch import Lifter, lift_operator
from symbackprop.calculus.pull import pull
from symbackprop.calculus.simplify import add, spread_to
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import Einsum, broadcast_in, contract
from symbackprop.graph.operators.gather import Scatter
from symbackprop.graph.operators.products import reduce_sum, transpose
from symbackprop.graph.operators.scan import CALCULUS, Body, Bundle, Part, Result, Scan, moment, part
from symbackprop.graph.shapes import Dimension, Shape, rank_of, shape_of, split_scalars
from symbackprop.graph.tensor import Equation, Tensor


class _Reverse(NamedTuple):
    """The body of the scan backwards, and what each step hands back to the placeholders of the body, in tensors of both bodies.

    `values`: equation of the body → the placeholder that holds its value in the body backwards.
    """

    body: Body
    values: dict[Tensor, Tensor]
    handed: dict[Tensor, sp.Expr]


def marked(name: str, mark: str) -> str:
    """The name of an adjoint or a tangent: `zbar_t` of `z_t`, `zbar_1_t` of `z_1_t`, `hdot_prev` of `h_prev`."""
    head, *rest = name.split("_")
    return "_".join([f"{head}{mark}", *rest])


def barred(name: str) -> str:
    """The name of an adjoint, without the time that it is from."""
    return marked(name, "bar").removesuffix("_t")


@lru_cache(maxsize=256)
def _reverse(body: Body, given: tuple[int, ...], later: str) -> _Reverse:
    """The adjoint equations of a body, where the stacked results with the numbers `given` have an adjoint. `later`: the ending of what
    comes from the step behind this one, in time before it or after it."""
    name = Namer({t.name for t in body.tensors})
    values = {symbol: Tensor(symbol.name, symbol.shape, "state") for symbol, _ in body.equations}
    carried = [name(f"{barred(state.name)}_t").removesuffix("_t") for state in body.states]
    carries = [Tensor(name(wish + later), state.shape, "state") for wish, state in zip(carried, body.states, strict=True)]
    contributions: dict[Tensor, list[sp.Expr]] = defaultdict(list)
    items = []
    for k in given:
        tensor = body.results[k].tensor
        items.append(Tensor(name(f"{barred(tensor.name)}_out_t"), tensor.shape, "state"))
        contributions[tensor].append(items[-1])
    for carry, new in zip(carries, body.news, strict=True):
        contributions[new].append(carry)
    equations: list[Equation] = []

    def named(wish: str, expr: sp.Expr, shape: Shape) -> Tensor:
        value = spread_to(expr, shape)
        equations.append(Equation(Tensor(wish, shape, "node", value), value))
        return equations[-1].symbol

    active = set(body.tensors)
    for symbol, _ in reversed(body.equations):
        if contributions[symbol]:
            bar = named(name(f"{barred(symbol.name)}_t"), add(contributions[symbol]), symbol.shape)
            for x, term in pull(symbol, bar, active).items():
                contributions[x].append(term.xreplace(values))
    news = [named(f"{wish}_t", add(contributions[state]), state.shape) for wish, state in zip(carried, body.states, strict=True)]
    used = {t for _, expr in equations for t in tensors_in(expr)}
    read = [*(t for t in (*body.states, *body.items) if t in used), *(t for t in values.values() if t in used)]
    captured = [t for t in body.captured if t in used]
    handed = {x: add(contributions[x]) for x in (*body.items, *body.captured) if contributions[x]}
    return _Reverse(Body(f"{body.name}_backwards", carries, [*items, *read], captured, equations, news), values, handed)


def pullback(scan: Scan, bundle: sp.Expr) -> list[sp.Expr | None]:
    """The adjoints of the operands, given those of the results: what the scan backwards ends with, and sums over what it passed."""
    if not isinstance(bundle, Bundle):
        raise UnsupportedError(
            f"the recurrence {scan.body.name!r} is differentiated as a whole, from a loss backwards; its partial derivatives by "
            "name need unroll=True"
        )
    body, adjoints = scan.body, dict(zip(scan.body.results, bundle.operands, strict=True))
    given = tuple(k for k, r in enumerate(body.results) if not r.final and adjoints[r] != 0)
    reverse = _reverse(body, given, "_prev" if scan.reverse else "_next")
    stacks: dict[Tensor, sp.Expr] = dict(zip(body.items, scan.sequences, strict=True))
    stacks |= {state: part(scan, state) for state in body.states}
    stacks |= {value: part(scan, symbol) for symbol, value in reverse.values.items()}
    constants = dict(zip(body.captured, scan.operands[len(body.states) + len(body.items) :], strict=True))
    backwards = reverse.body
    back = Scan(
        backwards,
        sp.Integer(1 if scan.reverse else -1),
        scan.args[2],
        *(spread_to(adjoints[Result(state, True)], state.shape) for state in body.states),
        *(adjoints[body.results[k]] for k in given),
        *(stacks[t] for t in backwards.items[len(given) :]),
        *(constants[t] for t in backwards.captured),
    )
    stacks |= {symbol: part(back, symbol) for symbol, _ in backwards.equations}
    lifter = Lifter(stacks, scan.length)
    first = [part(back, carry, final=True) for carry in backwards.states]
    through = [_each(lifter, reverse.handed.get(t), constants, t.shape) for t in body.items]
    summed = [_summed(lifter, reverse.handed.get(t), constants) for t in body.captured]
    return [*first, *through, *summed]


def _each(lifter: Lifter, expr: sp.Expr | None, constants: Mapping[Tensor, sp.Expr], shape: Shape) -> sp.Expr | None:
    """An expression of one step at all steps, stacked."""
    if expr is None:
        return None
    lifted = lifter(expr).xreplace(constants)
    return spread_to(lifted, (lifter.n, *shape))


def _summed(lifter: Lifter, expr: sp.Expr | None, constants: Mapping[Tensor, sp.Expr]) -> sp.Expr | None:
    """The sum over all steps of an expression of one step."""
    if expr is None:
        return None
    return add([_sum_of(lifter, term) for term in sp.Add.make_args(expr)]).xreplace(constants)


def _sum_of(lifter: Lifter, term: sp.Expr) -> sp.Expr:
    if isinstance(term, Scatter) and (moved := lifter(term.operands[1])) is not term.operands[1]:
        g, at = lifter(term.operands[0]), term.axis + term.rank  # the positions of all steps at once
        return Scatter(*term.parameters, transpose(g, (*range(1, at + 1), 0, *range(at + 1, rank_of(g)))), moved)
    lifted = lifter(term)
    if lifted is term:
        return lifter.n * term
    scalars, rest = split_scalars(lifted)
    if isinstance(rest, Einsum):  # the sum over time is one more index of the contraction
        ins, out = rest.spec
        return scalars * contract(ins, out[1:], rest.operands)
    return reduce_sum(lifted, 0)


CALCULUS["pullback"] = pullback


# --- names for what a scan gives -----------------------------------------------------------------------------------------


def through_time(
    y: Tensor, handed: Mapping[Tensor, sp.Expr], known: Mapping[Any, sp.Expr], loss: Tensor, name: Namer
) -> tuple[Tensor, list[Equation], dict[Tensor, sp.Expr]]:
    """The scan backwards as an equation, the adjoint of the scan `y`, and equations for those of the results of both that are read.

    `handed`: what `y` hands back, with the scan backwards in it; `known`: definition → its name. Returns the adjoint of y, the equations, and
    what y hands back in their names.
    """
    (back,) = {s for term in handed.values() for s in term.atoms(Scan)}
    equations: list[Equation] = []
    table = dict(known)
    origin = y
    while origin.adjoint_of:  # the values of a recurrence backwards are called after the one that runs forwards
        origin = origin.adjoint_of[1]

    def named(exprs: Iterable[sp.Expr], scan: Tensor) -> None:
        parts = {p for expr in exprs for p in expr.atoms(Part) if p.operands[0] is scan and p not in table}
        for p in sorted(parts, key=lambda p: p.number):
            table[p] = symbol = Tensor(name(f"{_stack_name(p)}_{origin.name}"), p.shape, "adjoint", p)
            equations.append(Equation(symbol, p))

    named([back, *handed.values()], y)
    scan = back.xreplace(table)
    adjoint = Tensor(name(f"d{loss.name}_d{y.name}"), scan.shape, "adjoint", scan, adjoint_of=(loss, y))
    equations.append(Equation(adjoint, scan))
    terms = {x: term.xreplace({back: adjoint}) for x, term in handed.items()}
    named(terms.values(), adjoint)
    return adjoint, equations, {x: term.xreplace(table) for x, term in terms.items()}


def _stack_name(p: Part) -> str:
    """`zbar` of all steps; `h_last`, the state after the last; `hbar_start`, the adjoint of the state before the first."""
    base, when = moment(p.result.tensor.name)
    if p.result.final:
        return f"{base}_last" if moment(base)[1] is None else f"{moment(base)[0]}_start"
    return base if when == 0 else p.result.tensor.name


# --- by numbers ----------------------------------------------------------------------------------------------------------


def stepped(scan: Scan, operands: Sequence[Any], steps: int, compute: Callable[[sp.Expr, Mapping[Tensor, Any]], Any]) -> list[Any]:
    """The values of a scan's results, in their order: all steps of the first, in the order of time, then of the next.

    `operands`: the values of its operands; `compute` finds the value of an expression from those of the tensors in it.
    """
    body = scan.body
    states = list(operands[: len(body.states)])
    rows = operands[len(body.states) : len(body.states) + len(body.items)]
    constants = dict(zip(body.captured, operands[len(body.states) + len(body.items) :], strict=True))
    passed: list[dict[Tensor, Any]] = []
    for t in reversed(range(steps)) if scan.reverse else range(steps):
        values = {**constants, **dict(zip(body.states, states, strict=True)), **{x: row[t, ...] for x, row in zip(body.items, rows, strict=True)}}
        for symbol, expr in body.equations:
            values[symbol] = compute(expr, values)
        states = [values[new] for new in body.news]
        passed.append(values)
    last = dict(zip(body.states, states, strict=True))
    in_time = passed[::-1] if scan.reverse else passed
    return [value for r in body.results for value in ([last[r.tensor]] if r.final else [values[r.tensor] for values in in_time])]


# --- over a batch --------------------------------------------------------------------------------------------------------


@lift_operator.register
def _(operator: Scan, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    body, table = operator.body, {}
    operands = []
    for t, x, old in zip((*body.states, *body.items, *body.captured), new, operator.operands, strict=True):
        if t in body.states and x is old:  # a state depends on the sample as soon as anything does
            x = broadcast_in(x, (n, *t.shape), range(1, rank_of(x) + 1))
        if x is not old:
            table[t] = Tensor(t.name, (n, *t.shape), "state")
            x = transpose(x, (1, 0, *range(2, rank_of(x)))) if t in body.items else x
        operands.append(x)
    lifter = Lifter(dict(table), n)
    equations = []
    for symbol, expr in body.equations:
        moved = lifter(expr)
        if moved is expr and symbol in body.news:
            moved = broadcast_in(expr, (n, *symbol.shape), range(1, symbol.rank + 1))
        if moved is not expr:
            lifter.lifted[symbol] = table[symbol] = Tensor(symbol.name, shape_of(moved), "node", moved)
        equations.append(Equation(table.get(symbol, symbol), moved))

    def all_of(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [table.get(t, t) for t in tensors]

    results = [Result(table.get(r.tensor, r.tensor), r.final) for r in body.results]
    lifted = Body(body.name, all_of(body.states), all_of(body.items), all_of(body.captured), equations, all_of(body.news), results)
    return Scan(lifted, *operator.parameters[1:], *operands)


@lift_operator.register
def _(operator: Part, new: list[sp.Expr], n: Dimension) -> sp.Expr:
    lifted = Part(operator.args[0], *new)
    if lifted.rank == operator.rank:  # the same for all samples
        return broadcast_in(lifted, (n, *operator.shape), range(1, operator.rank + 1))
    return lifted if lifted.result.final else transpose(lifted, (1, 0, *range(2, lifted.rank)))


__all__ = ["barred", "marked", "pullback", "stepped", "through_time"]
