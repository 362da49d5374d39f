"""Forward mode over equations: how everything changes when a tensor changes along a direction, as equations of the same kind.

Source: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 3.1 (tangents are propagated with the values). An operator states
its pullback g -> J^T g only; that is linear in g, so the pullback of the pullback is the tangent map, v -> J v.
"""

from collections.abc import Sequence

import sympy as sp

from symbackprop.calculus.elementwise import leaves_of, regions, slopes
from symbackprop.calculus.pull import pull
from symbackprop.calculus.simplify import add, cancelled, product, spread_to, tidy
from symbackprop.graph.equations import collect, depends_on
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Tensor, node


def derivative(y: Tensor, x: Tensor, direction: sp.Expr) -> sp.Expr:
    """The derivative of y along `direction`, a change of x: a node, or 0 where y does not depend on x.

    Between x and y each node z has its own, named `z_x`. What is a node already, from an earlier derivative, is not made again.
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
        of[z] = value if value.is_number or isinstance(value, Tensor) else node(name(f"{z.name}_{x.name}"), value)
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
        for part in postorder(root):  # operands first
            if isinstance(part, Operator):
                self.found[part] = self.through(part)
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


__all__ = ["derivative"]
