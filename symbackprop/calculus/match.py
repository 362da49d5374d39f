"""Where a pattern, an expression whose plain symbols stand for anything, occurs in an expression. Sums and products match in any order;
in a sum the pattern may stand with any factor beside other terms, in a product beside other factors. Names of nodes are read through:
`a` matches tanh(u) where a = tanh(z).
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

import sympy as sp

from symbackprop.graph.tensor import Tensor

Binding = dict[sp.Basic, sp.Basic]
Place = tuple[Binding, sp.Expr, sp.Expr]  # what the symbols stand for, the factor of the pattern, and what stands beside it


def definition(x: sp.Basic) -> sp.Basic:
    """What a node's name stands for."""
    while isinstance(x, Tensor) and x.definition is not None:
        x = x.definition
    return x


def positive(x: sp.Basic) -> bool:
    """Whether it is known to be above 0, by what the names in it stand for, too."""
    named = {t: definition(t) for t in x.free_symbols if isinstance(t, Tensor) and t.definition is not None}
    return bool(x.is_positive or (named and x.xreplace(named).is_positive))


def key(expr: sp.Basic, names: bool = True) -> Any:
    """By what rules are found fast: the head of an expression, and of a power its base's head too."""
    expr = definition(expr) if names else expr
    if isinstance(expr, sp.Pow) and not isinstance(expr, sp.exp):
        base = definition(expr.base) if names else expr.base
        return (sp.Pow, base.func)
    return expr.func


def unify(pattern: sp.Basic, expr: sp.Basic, binding: Binding, names: bool = True) -> Iterator[Binding]:
    """Every way in which the whole expression is the pattern."""
    unbound = pattern.free_symbols - binding.keys()
    if not unbound:
        wanted = pattern.xreplace(binding)
        if same(wanted, expr) or (names and isinstance(expr, Tensor) and wanted == definition(expr)):
            yield binding
        return
    if isinstance(pattern, sp.Symbol):
        yield {**binding, pattern: expr}
        return
    number, core = pattern.as_coeff_Mul() if isinstance(pattern, sp.Mul) else (sp.S.One, pattern)
    if number != 1:  # of -u, the u
        yield from unify(core, expr / number, binding, names)
        return
    if names and isinstance(expr, Tensor):
        expr = definition(expr)
    if pattern.func is not expr.func:
        return
    if isinstance(pattern, (sp.Add, sp.Mul)):
        yield from _in_any_order(pattern, expr, binding, names)
    elif len(pattern.args) == len(expr.args):
        ways = [binding]
        for p, e in zip(pattern.args, expr.args, strict=True):
            ways = [new for way in ways for new in unify(p, e, way, names)]
        yield from ways


def same(a: sp.Basic, b: sp.Basic) -> bool:
    """Equality, 1 and 1.0 being the same."""
    return bool(a == b or (a.is_Number and b.is_Number and float(a) == float(b)))


def _in_any_order(pattern: sp.Basic, expr: sp.Basic, binding: Binding, names: bool) -> Iterator[Binding]:
    """The arguments of a sum or product; the last one of the pattern takes all that is left."""
    parts = _telling(pattern)

    def match(i: int, left: tuple[sp.Basic, ...], found: Binding) -> Iterator[Binding]:
        if i == len(parts) - 1:
            if left:
                yield from unify(parts[i], pattern.func(*left), found, names)
            return
        for j, e in enumerate(left):
            for more in unify(parts[i], e, found, names):
                yield from match(i + 1, left[:j] + left[j + 1 :], more)

    if len(parts) <= len(expr.args):
        yield from match(0, expr.args, binding)


@cache
def _telling(pattern: sp.Basic) -> list[sp.Basic]:
    """The arguments of a pattern, those first that fit the fewest expressions."""
    return sorted(pattern.args, key=lambda p: (isinstance(p.as_coeff_Mul()[1], sp.Symbol), -len(p.args), p.is_Number))


@cache
def leading(pattern: sp.Expr) -> tuple[sp.Expr, ...]:
    """The arguments of a sum or product pattern, the one that says most first."""
    return tuple(sorted(pattern.args, key=lambda p: (p.is_number, isinstance(p.as_coeff_Mul()[1], sp.Symbol), -p.count_ops(), p.sort_key())))


def in_sum(pattern: sp.Expr, expr: sp.Add, term: sp.Expr, factor: sp.Expr, names: bool = True) -> Iterator[Place]:
    """Where the sum holds `c * pattern + rest`; the pattern's leading term is `factor`, a factor of `term`."""
    first, *others = leading(pattern)
    number, core = first.as_coeff_Mul()
    left = [t for t in expr.args if t is not term]
    for found in unify(core, factor, {}, names):
        c = sp.Mul(*(f for f in sp.Mul.make_args(term) if f is not factor)) / number  # SymPy does not divide exponentials of sums
        yield from _other_terms(others, left, found, c, names)


def _other_terms(others: list[sp.Expr], left: list[sp.Expr], found: Binding, c: sp.Expr, names: bool) -> Iterator[Place]:
    if not others:
        yield found, c, sp.Add(*left)
        return
    first, *others = others
    if first.free_symbols <= found.keys():
        wanted = c * first.xreplace(found)
        if isinstance(wanted, sp.Add):  # whose terms are among the others
            if set(wanted.args) <= set(left):
                yield from _other_terms(others, [t for t in left if t not in wanted.args], found, c, names)
            return
        places = [i for i, term in enumerate(left) if same(wanted, term)] if wanted.is_Number else [left.index(wanted)] if wanted in set(left) else []
        for i in places:
            yield from _other_terms(others, left[:i] + left[i + 1 :], found, c, names)
    elif c.is_number:
        number, core = first.as_coeff_Mul()
        for i, term in enumerate(left):
            for way in unify(core, term / (c * number), found, names):
                yield from _other_terms(others, left[:i] + left[i + 1 :], way, c, names)


def in_product(pattern: sp.Expr, expr: sp.Mul, names: bool = True) -> Iterator[Place]:
    """Where the product holds `pattern * rest`; of a power as many factors as needed are taken."""

    def match(parts: tuple[sp.Expr, ...], left: tuple[sp.Expr, ...], found: Binding) -> Iterator[Place]:
        if not parts:
            yield found, sp.S.One, sp.Mul(*left)
            return
        for i, e in enumerate(left):
            for more in unify(parts[0], e, found, names):
                yield from match(parts[1:], left[:i] + left[i + 1 :], more)
            if isinstance(e, sp.Pow) and e.exp.is_Integer and e.exp > 1:
                for more in unify(parts[0], e.base, found, names):
                    yield from match(parts[1:], (*left[:i], e / e.base, *left[i + 1 :]), more)

    yield from match(leading(pattern), expr.args, {})
