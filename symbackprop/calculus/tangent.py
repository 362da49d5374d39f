"""Forward mode over equations: how everything changes when a tensor changes along a direction, as equations of the same kind.

Source: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 3.1 (tangents are propagated with the values). An operator states
its pullback g -> J^T g only; that is linear in g, so the pullback of the pullback is the tangent map, v -> J v. The tangent of a recurrence
is a recurrence beside it, in the same direction: real-time recurrent learning without its matrix (Williams & Zipser, "A learning algorithm
for continually running fully recurrent neural networks", Neural Computation 1989). A dot is a tangent: zdot of z.
"""

from collections.abc import Sequence
from functools import lru_cache

import sympy as sp

from symbackprop.calculus.elementwise import leaves_of, regions, slopes
from symbackprop.calculus.pull import pull
from symbackprop.calculus.recurrence import marked
from symbackprop.calculus.simplify import add, cancelled, product, spread_to, tidy
from symbackprop.graph.equations import collect, depends_on, tensors_in
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.scan import Body, Part, Result, Scan, part
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor, node


def derivative(y: Tensor, x: Tensor, direction: sp.Expr, wish: str | None = None) -> sp.Expr:
    """The derivative of y along `direction`, a change of x: a node, or 0 where y does not depend on x.

    Between x and y each node z has its own, named `z_x`, or, if the derivative of y is to be called `wish`, `z_wish`. What is a node
    already, from an earlier derivative, is not made again.
    """
    tensors = collect([y])
    active = depends_on(tensors, [x])
    name = Namer({t.name for t in tensors})
    known = {t.definition: t for t in tensors if t.definition is not None}
    of: dict[Tensor, sp.Expr] = {x: direction}
    for z in tensors:
        if z not in active or z is x:
            continue
        assert z.definition is not None
        value = cancelled(spread_to(_Tangent(z, of)(z.definition), z.shape))
        value = known.get(value, value)
        of[z] = value if value.is_number or isinstance(value, Tensor) else node(name(wish if wish and z is y else f"{z.name}_{wish or x.name}"), value)
    return of.get(y, sp.S.Zero)


class _Tangent:
    """Tangents of the parts of one equation, given those of the tensors in it."""

    def __init__(self, z: Tensor, of: dict[Tensor, sp.Expr]) -> None:
        self.z = z
        self.of = of
        root = z.definition
        assert root is not None
        self.own = {root: z} if root.args and not root.is_number else {}  # the derivative of tanh says the value, which has a name
        self.found: dict[sp.Expr, sp.Expr] = {}

    def __call__(self, root: sp.Expr) -> sp.Expr:
        for inner in postorder(root):  # operands first
            if isinstance(inner, Operator):
                self.found[inner] = self.through(inner)
        return self.elementwise(root)

    def elementwise(self, expr: sp.Expr) -> sp.Expr:
        """The sum over the leaves of the slope there times the leaf's tangent."""
        if isinstance(expr, Operator):
            return self.found[expr]
        terms = []
        for term in expr.args if isinstance(expr, sp.Add) else (expr,):
            body, operators = regions(term)
            leaves = leaves_of(body, operators)
            changes = {leaf: self.found.get(operators.get(leaf, leaf), self.of.get(leaf, sp.S.Zero)) for leaf in leaves}
            wanted = [leaf for leaf in leaves if changes[leaf] != 0]
            for leaf, slope in zip(wanted, slopes(body, wanted, leaves, self.z.name), strict=True):
                slope = (slope.xreplace(operators) if operators else slope).xreplace(self.own)
                terms.append(spread_to(product(slope, changes[leaf]), shape_of(expr)))
        return add(terms) if terms else sp.S.Zero

    def through(self, operator: Operator) -> sp.Expr:
        """J v: the adjoint of g in <J^T g, v>."""
        changes = [self.elementwise(x) for x in operator.operands]
        if all(v == 0 for v in changes):
            return sp.S.Zero
        if isinstance(operator, Scan):
            return _beside(operator, _spread(changes, operator.operands)).xreplace(self.own)
        if isinstance(operator, Part):  # the tangent of the recurrence has the same results
            return Part(operator.args[0], *changes)
        g = Tensor(f"g_{self.z.name}", operator.shape, "state")
        pairs = [
            reduce_sum(product(back, v))
            for x, v, back in zip(operator.operands, _spread(changes, operator.operands), operator.pullback(g), strict=True)
            if back is not None and v != 0
        ]
        if not pairs:
            return sp.S.Zero
        paired = Tensor(f"paired_{self.z.name}", (), "node", sp.Add(*pairs))
        return tidy(spread_to(pull(paired, sp.S.One, {g}).get(g, sp.S.Zero), operator.shape).xreplace(self.own))


def _spread(changes: Sequence[sp.Expr], operands: Sequence[sp.Expr]) -> list[sp.Expr]:
    """Tangents in the shapes of their operands."""
    return [v if v == 0 else spread_to(v, shape_of(x)) for v, x in zip(changes, operands, strict=True)]


# --- recurrences ---------------------------------------------------------------------------------------------------------


def _beside(scan: Scan, changes: Sequence[sp.Expr]) -> sp.Expr:
    """The tangent of a scan, given those of its operands: a scan that reads the values that the first one passed, stacked."""
    body = scan.body
    starts, rest = changes[: len(body.states)], changes[len(body.states) :]
    moving = tuple(i for i, v in enumerate(rest) if v != 0)
    tangent, values = _tangent_body(body, moving)
    stacks: dict[Tensor, sp.Expr] = dict(zip((*body.items, *body.captured), scan.operands[len(body.states) :], strict=True))
    stacks |= {state: part(scan, state) for state in body.states}
    stacks |= {value: part(scan, symbol) for symbol, value in values.items()}
    own = [rest[i] for i in moving]
    count = sum(i < len(body.items) for i in moving)
    return Scan(
        tangent,
        *scan.parameters[1:],
        *(spread_to(v, state.shape) for v, state in zip(starts, body.states, strict=True)),
        *own[:count],
        *(stacks[t] for t in tangent.items[count:]),
        *own[count:],
        *(stacks[t] for t in tangent.captured[len(own) - count :]),
    )


@lru_cache(maxsize=256)
def _tangent_body(body: Body, moving: tuple[int, ...]) -> tuple[Body, dict[Tensor, Tensor]]:
    """The tangents of a body's equations, where the states change and of its items and what it captures those with the numbers `moving`; and
    equation of the body → the placeholder that holds its value. Each result of the body has its tangent at the same place."""
    name = Namer({t.name for t in body.tensors})
    placeholders = (*body.items, *body.captured)
    wanted = [*body.states, *(placeholders[i] for i in moving)]
    dots = {t: Tensor(name(marked(t.name, "dot")), t.shape, "state") for t in wanted}
    values = {symbol: Tensor(symbol.name, symbol.shape, "state") for symbol, _ in body.equations}
    of: dict[Tensor, sp.Expr] = {**dots}
    equations: list[Equation] = []
    for symbol, expr in body.equations:
        change = cancelled(_Tangent(symbol, of)(expr)).xreplace(values)
        whole = spread_to(change, symbol.shape)
        dots[symbol] = Tensor(name(marked(symbol.name, "dot")), symbol.shape, "node", whole)
        equations.append(Equation(dots[symbol], whole))
        of[symbol] = change if change.is_number else dots[symbol]
    used = {t for _, expr in equations for t in tensors_in(expr)}
    stacks = [t for t in (*body.states, *body.items, *values.values()) if t in used]
    made = Body(
        f"{body.name}_tangent",
        [dots[state] for state in body.states],
        [*(dots[t] for t in body.items if t in dots), *stacks],
        [*(dots[t] for t in body.captured if t in dots), *(t for t in body.captured if t in used)],
        equations,
        [dots[new] for new in body.news],
        [Result(dots[r.tensor], r.final) for r in body.results],
    )
    return made, values


__all__ = ["derivative"]
