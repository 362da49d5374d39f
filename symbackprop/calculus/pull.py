"""The reverse step through one equation: what it hands to the tensors that it reads.

Source: Griewank & Walther, Evaluating Derivatives, 2nd ed., chapter 3: the adjoint of an assignment.
"""

from collections import defaultdict

import sympy as sp

from symbackprop.calculus.elementwise import leaves_of, regions, slopes
from symbackprop.calculus.simplify import add, product, reduce_to, spread_to, tidy
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.shapes import Shaped, postorder, shape_of
from symbackprop.graph.tensor import Tensor


def pull(y: Tensor, adjoint: sp.Expr, active: set[Tensor]) -> dict[Tensor, sp.Expr]:
    """What the equation of `y` contributes to the adjoint of each active tensor in it, given the adjoint of `y`.

    Named values are reused: where the derivative repeats the definition of y (as tanh's does), it says y.
    """
    root = y.definition
    assert root is not None
    collected: dict[sp.Expr, list[sp.Expr]] = defaultdict(list)
    own = {root: y} if root.args and not root.is_number else {}
    needed = _needed(root, active)
    _pull_elementwise(root, adjoint, y, needed, own, collected)
    operators = [part for part in postorder(root) if isinstance(part, Operator) and part in needed]
    for operator in reversed(operators):  # an operator stands after its operands, so its adjoint is complete here
        if operator not in collected:
            continue
        total = add(collected.pop(operator))
        if total == 0:  # two ways that cancel
            continue
        total = spread_to(total, operator.shape)
        for operand, term in zip(operator.operands, operator.pullback(total), strict=True):
            if term is not None and operand in needed:
                _pull_elementwise(operand, tidy(term.xreplace(own)), y, needed, own, collected)
    return {x: add(terms) for x, terms in collected.items() if isinstance(x, Tensor)}


def _needed(root: sp.Expr, active: set[Tensor]) -> set[sp.Basic]:
    """The subexpressions that contain an active tensor."""
    needed: set[sp.Basic] = set()
    for part in postorder(root):
        if part in active if isinstance(part, Tensor) else any(arg in needed for arg in part.args):
            needed.add(part)
    return needed


def _pull_elementwise(
    expr: sp.Expr,
    adjoint: sp.Expr,
    y: Tensor,
    needed: set[sp.Basic],
    own: dict[sp.Expr, sp.Expr],
    collected: dict[sp.Expr, list[sp.Expr]],
) -> None:
    """Hand the adjoint of an elementwise expression to its leaves, tensors and operators. A sum hands it to each of its terms."""
    terms = expr.args if isinstance(expr, sp.Add) else (expr,)
    for term in terms:
        if term not in needed:
            continue
        share = reduce_to(adjoint, shape_of(term))
        if isinstance(term, Shaped):
            collected[term].append(share)
            continue
        body, operators = regions(term)
        leaves = leaves_of(body, operators)
        wanted = [leaf for leaf in leaves if operators.get(leaf, leaf) in needed]
        for leaf, factor in zip(wanted, slopes(body, wanted, leaves, y.name), strict=True):
            x = operators.get(leaf, leaf)
            factor = (factor.xreplace(operators) if operators else factor).xreplace(own)
            change = product(share, factor)
            if change != 0:  # a state that starts at zeros hands nothing back
                collected[x].append(reduce_to(change, shape_of(x)))


__all__ = ["pull"]
