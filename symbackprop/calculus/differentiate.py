"""Reverse mode over equations: from a list of named equations to the list of their adjoints.

Source: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 3 (the reverse mode over a list of assignments); in the
notation of Goodfellow, Bengio & Courville, Deep Learning, algorithm 6.2. The adjoint of z is ∂C/∂z. The adjoints are nodes of
the same kind as the network's own, so the result can be differentiated again.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import sympy as sp

from symbackprop.calculus.pull import pull
from symbackprop.calculus.recurrence import through_time
from symbackprop.calculus.simplify import add, cancelled, spread_to
from symbackprop.graph.equations import System, collect, depends_on, once, tensors_in
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.scan import Bundle
from symbackprop.graph.tensor import Equation, Tensor


@dataclass(frozen=True)
class Adjoints:
    """`equations`: the adjoints, from the loss backwards. `of`: tensor → its adjoint, a tensor too (or 1 for the loss itself).

    `edges`: (y, x) → what the equation of y contributes to the adjoint of x.
    """

    loss: Tensor
    equations: list[Equation]
    of: dict[Tensor, sp.Expr]
    edges: dict[tuple[Tensor, Tensor], sp.Expr]

    def forward(self, also: Iterable[Tensor] = ()) -> list[Tensor]:
        """The loss and everything that it, the adjoints and `also` are computed from, in order, the adjoints themselves left out."""
        own = {symbol for symbol, _ in self.equations}
        return [t for t in collect([self.loss, *own, *also]) if t not in own]

    def listing(self, also: Iterable[Tensor] = ()) -> list[Equation]:
        """The equations of the loss, its adjoints and `also` in an order in which they can be computed: `also` may be made of adjoints."""
        after = {symbol for symbol, _ in self.equations}
        first, last = [], []
        for t in self.forward(also):
            if t.definition is None:
                continue
            if after.isdisjoint(t.inputs):
                first.append(Equation(t, t.definition))
            else:
                after.add(t)
                last.append(Equation(t, t.definition))
        return [*first, *self.equations, *last]


@once
def adjoints(system: System) -> Adjoints:
    """The adjoints of all weights of a system."""
    return differentiate(system.loss, system.weights, system.forward)


def differentiate(loss: Tensor, wrt: Iterable[Tensor], named: Iterable[Tensor] = ()) -> Adjoints:
    """The adjoints of everything between `loss` and the tensors `wrt`. One visit to each equation, in reverse.

    Where an adjoint repeats the definition of one of the tensors `named`, a softmax say, it reads that tensor. A tensor of
    `wrt` that the loss does not depend on has the adjoint 0. Raises `UnsupportedError` for a function without a derivative,
    naming the equation.
    """
    wrt = list(wrt)
    places = {t: i for i, t in enumerate(wrt)}  # their adjoints come in the order asked for, last first
    tensors = sorted(collect([loss]), key=lambda t: (t.definition is not None, 0 if t.definition is not None else places.get(t, -1)))
    active = depends_on(tensors, wrt)
    name = Namer({t.name for t in tensors} | {t.name for t in wrt})
    known = {t.definition: t for t in named if isinstance(t.definition, (Operator, sp.Function))}
    contributions: dict[Tensor, list[sp.Expr]] = defaultdict(list)
    of: dict[Tensor, sp.Expr] = {loss: sp.S.One}
    equations: list[Equation] = []
    edges: dict[tuple[Tensor, Tensor], sp.Expr] = {}
    for y in reversed(tensors):
        if y not in active or (y is not loss and y not in contributions):
            continue
        if y is not loss:
            parts = contributions[y]
            total = add(parts) if len(parts) > 1 else parts[0]  # `pull` has added up what one equation contributes
            total = cancelled(total.xreplace(known))
            total = spread_to(total, y.shape)
            if isinstance(total, Bundle):
                of[y] = total  # named below, as the recurrence backwards
            elif y in places or tensors_in(total):
                of[y] = Tensor(name(f"d{loss.name}_d{y.name}"), y.shape, "adjoint", total, adjoint_of=(loss, y))
                equations.append(Equation(of[y], total))
            else:
                of[y] = total  # a constant needs no name
        if y.definition is None:
            continue
        handed = pull(y, of[y], active)
        if isinstance(of[y], Bundle):
            of[y], new, handed = through_time(y, handed, known, loss, name)
            equations += new
        for x, term in handed.items():
            contributions[x].append(term)
            edges[y, x] = term
    for x in wrt:
        of.setdefault(x, sp.S.Zero)
    return Adjoints(loss, equations, of, edges)


__all__ = ["Adjoints", "adjoints", "differentiate"]
