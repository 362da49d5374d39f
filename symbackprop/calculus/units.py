"""Equations without axes of size one. What is written for a batch and then used for a batch of one, sample by sample, is full of them."""

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Einsum, contract
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.reduction import SameShape
from symbackprop.graph.shapes import rank_of, shape_of


def squeezed(expr: sp.Expr) -> sp.Expr:
    """The same entries under the same shape without its axes of size one, computed without them where a rule is known."""
    shape = shape_of(expr)
    if 1 not in shape and not isinstance(expr, Einsum):
        return _inside(expr) if not isinstance(expr, Operator) and expr.args else expr
    if isinstance(expr, Einsum):
        sizes = expr.sizes()
        kept = [c for c in expr.spec[1] if sizes[c] != 1]
        ins = ["".join(c for c in letters if sizes[c] != 1) for letters in expr.spec[0]]
        return contract(ins, "".join(kept), [squeezed(x) for x in expr.operands])
    if isinstance(expr, SameShape) and shape[expr.axis] != 1:
        behind = sum(size != 1 for size in shape[expr.axis + len(shape) :])
        return expr.func(sp.Integer(-behind), squeezed(expr.operands[0]))
    if isinstance(expr, Operator) or not expr.args:
        return reshape(expr, tuple(size for size in shape if size != 1))
    return _inside(expr)


def _inside(expr: sp.Expr) -> sp.Expr:
    """An elementwise expression: each part loses the axes that the whole loses."""
    shape = shape_of(expr)
    body, operators = regions(expr)
    table: dict[sp.Basic, sp.Basic] = {}
    for symbol in body.free_symbols:
        x = operators.get(symbol, symbol)
        own = shape_of(x)
        full = shape[len(shape) - rank_of(x) :]
        table[symbol] = reshape(squeezed(x), tuple(a for a, b in zip(own, full, strict=True) if b != 1)) if own else x
    return body.xreplace(table)


__all__ = ["squeezed"]
