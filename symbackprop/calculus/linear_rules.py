"""The matrix of an expression that is linear in some tensors: one rule for what is elementwise, one for each operator.

An elementwise expression is the sum of its slopes times what it is linear in, by `sympy.diff`. A contraction joins its other operands to
the factors; a gather acts on each factor that carries its axis, and turns a delta into rows of the identity; its pullback is a
contraction with those rows. Any other operator is lifted over the directions, as it is lifted over a batch; a recurrence with all its operands.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import singledispatch
from itertools import pairwise
from typing import Any

import sympy as sp

from symbackprop.calculus.batch import lift_operator
from symbackprop.calculus.elementwise import leaves_of, regions, slopes
from symbackprop.calculus.linear import Axes, Factor, Linear, Space, Term, renaming
from symbackprop.calculus.simplify import spread_to
from symbackprop.errors import UnsupportedError
from symbackprop.graph.operators.base import Operator, ints
from symbackprop.graph.operators.contraction import LETTERS, Broadcast, Einsum, Eye, contract
from symbackprop.graph.operators.gather import OneHot, Scatter, Take
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, Slice, reshape
from symbackprop.graph.operators.products import transpose
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.shapes import Dimension, as_dimension, rank_of, shape_of, size_of
from symbackprop.graph.tensor import Tensor


def apply(expr: sp.Expr, table: Mapping[Tensor, Linear], space: Space, end: bool = False) -> Linear:
    """An expression that is linear in the tensors of `table`, given what those are. At the `end`, its last sums are left open: `expression`
    makes one contraction of them."""
    if expr.free_symbols.isdisjoint(table):
        return Linear(space.axes(shape_of(expr)), ())
    if isinstance(expr, Tensor):
        return table[expr]
    if isinstance(expr, Operator):
        operands = [apply(x, table, space) for x in expr.operands]
        if isinstance(expr, Scan):  # it reads all its operands: those that do not move with the direction are zero
            still = [not x.terms and not old.free_symbols.isdisjoint(table) for x, old in zip(operands, expr.operands, strict=True)]
            expr = Scan(*expr.parameters, *(spread_to(sp.S.Zero, shape_of(x)) if at else x for at, x in zip(still, expr.operands, strict=True)))
        space.open = end
        result: Linear = apply_operator(expr, operands, space)
        space.open = False
        return result
    body, operators = regions(expr)
    leaves = leaves_of(body, operators)
    linears = {leaf: apply(operators.get(leaf, leaf), table, space, end) for leaf in leaves}
    wanted = [leaf for leaf, linear in linears.items() if linear.terms]
    axes = space.axes(shape_of(expr))
    terms: list[Term] = []
    for leaf, slope in zip(wanted, slopes(body, wanted, leaves, expr), strict=True):
        terms += space.scaled(linears[leaf], slope.xreplace(operators) if operators else slope, axes)
    return Linear(axes, tuple(terms)) if end else space.summed(axes, terms)


@singledispatch
def apply_operator(operator: Any, operands: list[Linear], space: Space) -> Linear:
    """An operator that is linear in one operand, of which the matrix is given: applied to it for every direction at once, by the rule by
    which networks are lifted to batches."""
    places = [i for i, x in enumerate(operands) if x.terms]
    axes = space.axes(operator.shape)
    if not places:
        return Linear(axes, ())
    if len(places) > 1:
        raise UnsupportedError(f"{operator} has no rule for directions in several of its operands; write it as a sum of parts with one each")
    (place,) = places
    terms = [_lifted(operator, operands[place].axes, term, place, axes, space) for term in operands[place].terms]
    return space.summed(axes, terms)


def _lifted(operator: Operator, own: Axes, term: Term, place: int, axes: Axes, space: Space) -> Term:
    inner = {c for c in own if c is not None}
    outer = [f for f in term.factors if not inner & set(f[0])]
    factors = [f for f in term.factors if inner & set(f[0])]
    deltas = [d for d in term.deltas if inner & set(d)]
    present = {c for letters, _ in factors for c in letters} | {c for d in deltas for c in d}
    directions = [c for c in space.direction if c in present]
    letters = [*directions, *(c for c in own if c is not None)]
    x = space.product(factors, letters, deltas)
    x = space.called(reshape(x, space.shape((*directions, *own))))
    result: Any = operator
    for k, c in reversed(list(enumerate(directions))):
        size = space.sizes[c]
        inside = x if k == 0 else Tensor(f"lifted_{k}", shape_of(x)[k:], "data")
        result = lift_operator(result, [inside if i == place else y for i, y in enumerate(result.operands)], size)
    if not directions:
        result = operator.func(*operator.parameters, *(x if i == place else y for i, y in enumerate(operator.operands)))
    full: Axes = (*directions, *axes)
    scalar, rest = space.factors(result, full)
    return Term(term.scalar * scalar, (*outer, *rest), tuple(d for d in term.deltas if d not in deltas))


@apply_operator.register
def _(operator: Einsum, operands: list[Linear], space: Space) -> Linear:
    ins, out = operator.spec
    sizes = operator.sizes()
    letters = {c: None if size == 1 else space.index(size) for c, size in sizes.items()}
    axes = tuple(letters[c] for c in out)
    terms = []
    for k, linear in enumerate(operands):
        if not linear.terms:
            continue
        table = renaming(linear.axes, tuple(letters[c] for c in ins[k]))
        others: list[Factor] = []
        scalar: sp.Expr = sp.S.One
        for m, x in enumerate(operator.operands):
            if m != k:
                number, factors = space.factors(x, tuple(letters[c] for c in ins[m]))
                scalar, others = scalar * number, others + factors
        for term in linear.terms:
            term = term.renamed(table)
            found = {*term.letters, *(c for d in term.deltas for c in d), *(c for own, _ in others for c in own), *(c for c in axes if c is not None)}
            terms.append(replace(term, scalar=term.scalar * scalar * space.free(letters.values(), found), factors=(*term.factors, *others)))
    return space.summed(axes, terms)


@apply_operator.register
def _(operator: Concatenate, operands: list[Linear], space: Space) -> Linear:
    """The sum of its parts, each at its place among zeros."""
    at, shape = operator.axis + operator.rank, operator.shape
    axes = space.axes(shape)
    terms: list[Term] = []
    for x, linear, cut in zip(operator.operands, operands, pairwise(operator.offsets()), strict=True):
        cuts = ints(ints((*cut, 1)) if i == at else ints((0, size, 1)) for i, size in enumerate(shape))
        padded = apply_operator(Pad(cuts, ints(shape), sp.S.Zero, x), [linear], space)
        terms += [term.renamed(renaming(padded.axes, axes)) for term in padded.terms]
    return space.summed(axes, terms)


@apply_operator.register
def _(operator: Broadcast, operands: list[Linear], space: Space) -> Linear:
    (linear,) = operands
    axes = list(space.axes(operator.shape))
    table = {a: axes[at] for a, at in zip(linear.axes, operator.axes, strict=True) if a is not None}
    return Linear(tuple(axes), tuple(t.renamed(table) for t in linear.terms))  # type: ignore[arg-type]


@apply_operator.register
def _(operator: Reshape, operands: list[Linear], space: Space) -> Linear:
    (linear,) = operands
    if not operator.moves_unit_axes():
        return apply_operator.dispatch(object)(operator, operands, space)
    kept = iter([c for c in linear.axes if c is not None])
    return Linear(tuple(None if size == 1 else next(kept) for size in operator.shape), linear.terms)


def _along(linear: Linear, space: Space, at: int, axes: Axes, change: Callable[[sp.Expr, int], sp.Expr], new: Axes) -> Linear:
    """A gather along one axis: of a product it is the product of the gathered factors, of a delta a row of the identity for each entry."""
    own = linear.axes[at]
    terms = []
    for term in linear.terms:
        first = [(own, b if a == own else a) for a, b in term.deltas if own in (a, b)]
        factors: list[Factor] = [f for f in term.factors if own not in f[0]]
        number: sp.Expr = sp.S.One
        todo = [f for f in term.factors if own in f[0]] + [(d, Eye(sp.sympify(space.sizes[d[0]], strict=True))) for d in first if d[0] is not None]
        for letters, x in todo:
            k = letters.index(own)
            scalar, made = space.factors(change(x, k), (*letters[:k], *new, *letters[k + 1 :]))
            number, factors = number * scalar, factors + made
        terms.append(replace(term, scalar=term.scalar * number, factors=tuple(factors), deltas=tuple(d for d in term.deltas if own not in d)))
    before, after = linear.axes[:at], linear.axes[at + 1 :]
    table = renaming((*before, *after), (*axes[:at], *axes[at + len(new) :]))
    return space.summed(axes, [t.renamed(table) for t in terms])


@apply_operator.register
def _(operator: Take, operands: list[Linear], space: Space) -> Linear:
    linear, indices = operands[0], operator.operands[1]
    at = operator.axis + rank_of(operator.operands[0])
    axes = space.axes(operator.shape)
    new = axes[at : at + rank_of(indices)]

    def gathered(x: sp.Expr, k: int) -> sp.Expr:
        if isinstance(x, Eye):
            rows = OneHot(x.args[0], indices)
            return rows if k == 0 else contract([LETTERS[: rows.rank]], LETTERS[rows.rank - 1] + LETTERS[: rows.rank - 1], [rows])
        return Take(sp.Integer(k - rank_of(x)), x, indices)

    return _along(linear, space, at, axes, gathered, new) if linear.terms else Linear(axes, ())


@apply_operator.register
def _(operator: Scatter, operands: list[Linear], space: Space) -> Linear:
    linear, indices = operands[0], operator.operands[1]
    axes = space.axes(operator.shape)
    at, count = operator.axis + operator.rank, rank_of(indices)
    own = linear.axes
    rows = OneHot(operator.args[1], indices)
    selection = space.factors(rows, (*own[at : at + count], axes[at]))
    table = renaming((*own[:at], *own[at + count :]), (*axes[:at], *axes[at + 1 :]))
    return space.summed(axes, [_selected(term, selection).renamed(table) for term in linear.terms])


def _selected(term: Term, selection: tuple[sp.Expr, list[Factor]]) -> Term:
    """The term times a matrix of zeros and ones."""
    return replace(term, scalar=term.scalar * selection[0], factors=(*term.factors, *selection[1]))


def _whole(cut: Any, size: Dimension) -> bool:
    return bool(cut == ints((0, size, 1)))


@apply_operator.register
def _(operator: Slice, operands: list[Linear], space: Space) -> Linear:
    (linear,) = operands
    shape = shape_of(operator.operands[0])
    for at, (cut, size, length) in enumerate(zip(operator.args[0], shape, operator.shape, strict=True)):
        if _whole(cut, size) or not linear.terms:
            continue
        axis = None if length == 1 else space.index(length)
        axes = (*linear.axes[:at], axis, *linear.axes[at + 1 :])

        def cut_out(x: sp.Expr, k: int, cut: Any = cut) -> sp.Expr:
            return Slice(ints(cut if i == k else ints((0, s, 1)) for i, s in enumerate(shape_of(x))), x)

        linear = _along(linear, space, at, axes, cut_out, (axis,))
    return linear if linear.terms else Linear(space.axes(operator.shape), ())


@apply_operator.register
def _(operator: Pad, operands: list[Linear], space: Space) -> Linear:
    (linear,) = operands
    for at, (cut, size) in enumerate(zip(operator.args[0], operator.shape, strict=True)):
        if _whole(cut, size) or not linear.terms:
            continue
        axes = (*linear.axes[:at], space.index(size), *linear.axes[at + 1 :])
        rows = Slice(ints((cut, ints((0, size, 1)))), Eye(sp.sympify(size, strict=True)))
        selection = space.factors(rows, (linear.axes[at], axes[at]))
        linear = space.summed(axes, [_selected(term, selection) for term in linear.terms])
    return linear if linear.terms else Linear(space.axes(operator.shape), ())


@apply_operator.register
def _(operator: Scan, operands: list[Linear], space: Space) -> Linear:
    """One scan that carries the states of every direction side by side. It is a factor along the directions and its row of results,
    which nothing but `Part` reads."""
    axes = space.axes(operator.shape)
    if not any(x.terms for x in operands):
        return Linear(axes, ())
    directions, count = _directions(space)
    new = [
        reshape(space.expression(x, (*directions, *x.axes)), (count, *shape_of(old))) if x.terms else old
        for x, old in zip(operands, operator.operands, strict=True)
    ]
    lifted = lift_operator(operator, new, count)
    made = space.named.setdefault(lifted, Tensor(space.name(f"{operator.body.name}_each"), lifted.shape, "node", lifted))
    return Linear(axes, (Term(factors=(((*directions, *axes), made),)),))  # type: ignore[arg-type]


@apply_operator.register
def _(operator: Part, operands: list[Linear], space: Space) -> Linear:
    (linear,) = operands
    axes = space.axes(operator.shape)
    lifted = [Part(operator.args[0], scan) for term in linear.terms for _, scan in term.factors]
    if not lifted or lifted[0].rank == operator.rank:  # what is the same in every direction is zero
        return Linear(axes, ())
    directions, _ = _directions(space)
    x = space.called(lifted[0])
    if not operator.result.final:  # time stands before the directions
        x = transpose(x, (1, 0, *range(2, rank_of(x))))
    x = space.called(reshape(x, space.shape((*directions, *axes))))
    scalar, factors = space.factors(x, (*directions, *axes))
    return Linear(axes, (Term(scalar, tuple(factors)),))


def _directions(space: Space) -> tuple[list[int], Dimension]:
    """The indices of the direction, and how many directions there are."""
    directions = [c for c in space.direction if c is not None]
    return directions, as_dimension(size_of(space.shape(tuple(directions))))


__all__ = ["apply", "apply_operator"]
