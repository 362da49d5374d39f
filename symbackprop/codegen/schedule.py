"""The order of a training step's equations, and which of them stand on their own. Functions from programs to programs.

A value takes memory from the equation that defines it to the last one that reads it, so an update is best made as soon as its
gradient is there and nothing reads the old value any more.
"""

from collections import Counter, defaultdict
from dataclasses import replace
from heapq import heapify, heappop, heappush

import sympy as sp

from symbackprop.codegen.program import Program
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.tensor import Equation, Tensor


def scheduled(program: Program) -> Program:
    """The same equations, updates as early as may be, then gradients of weights, and else in the order given.

    A new value is written over the old one, so an update waits for every equation that reads the old value; it also waits for the loss,
    which may forbid it.
    """
    equations = program.equations
    waits: list[set[int]] = [set() for _ in equations]
    defined = {symbol: i for i, (symbol, _) in enumerate(equations)}
    readers: dict[Tensor, list[int]] = defaultdict(list)
    for i, (_, expr) in enumerate(equations):
        for t in tensors_in(expr):
            readers[program.places.get(t, t)].append(i)  # every version of a value stands in one place
            if t in defined:
                waits[i].add(defined[t])
    loss = defined.get(program.system.loss)
    ranks, weights = _ranks(program)
    for i, (symbol, _) in enumerate(equations):
        place = program.places.get(symbol)
        if place is not None:
            waits[i].update(r for r in readers[place] if r < i)
        weight = weights[i]
        if weight is not None:  # so that the rule's equations for one weight follow one another
            waits[i].update(r for r in readers[weight] if ranks[r])
        if loss is not None and ranks[i] < 2 and i > loss:
            waits[i].add(loss)
    followers: dict[int, list[int]] = defaultdict(list)
    for i, earlier in enumerate(waits):
        for j in earlier:
            followers[j].append(i)
    ready = [(ranks[i], i) for i, earlier in enumerate(waits) if not earlier]
    heapify(ready)
    order = []
    while ready:
        _, i = heappop(ready)
        order.append(equations[i])
        for j in followers[i]:
            waits[j].discard(i)
            if not waits[j]:
                heappush(ready, (ranks[j], j))
    return replace(program, equations=order)


def _ranks(program: Program) -> tuple[list[int], list[Tensor | None]]:
    """For each equation 0 for the optimizer's rule, 1 for a gradient of a weight, 2 for the rest; and the weight that it is the rule for."""
    ruled: dict[Tensor, Tensor | None] = {program.step: None, **program.gradients, **{s: w for (_, w), s in program.states.items()}}
    ranks = []
    weights: list[Tensor | None] = []
    for symbol, expr in program.equations:
        place = program.places.get(symbol)
        sources = [ruled[t] for t in tensors_in(expr) if t in ruled]
        weight = place if place in program.gradients.values() else next((w for w in sources if w is not None), None)
        if symbol in program.gradients:
            ranks.append(1)
            weight = None
        elif place is not None or sources:
            ruled[symbol] = weight
            ranks.append(0)
        else:
            ranks.append(2)
        weights.append(weight if ranks[-1] == 0 else None)
    return ranks, weights


def inlined(program: Program) -> Program:
    """Without the gradients of weights that are read once, by an update: it reads what they are instead. A gradient that reads a weight
    stays, since that weight may be written over before."""
    uses = Counter(t for _, expr in program.equations for t in tensors_in(expr))
    stored = set(program.places.values())
    table: dict[sp.Basic, sp.Basic] = {}
    equations = []
    for symbol, expr in program.equations:
        expr = expr.xreplace(table) if table else expr
        short = isinstance(expr, Tensor) or (uses[symbol] == 1 and isinstance(expr, sp.Mul))
        if symbol in program.gradients and short and stored.isdisjoint(tensors_in(expr)):
            table[symbol] = expr
        else:
            equations.append(Equation(symbol, expr))
    return replace(program, equations=equations)
