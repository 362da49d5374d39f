"""Rewrites of roots of sums of squares along axes, which overflow or vanish although the root does not, into norms. Structures like those of
`structures`: each is a function from an expression to a better one, or None, and its docstring names the identity and its source.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sympy as sp

from symbackprop.calculus.match import definition
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.functions import step
from symbackprop.graph.operators.base import ints
from symbackprop.graph.operators.contraction import Broadcast, Einsum, contract
from symbackprop.graph.operators.layout import Reshape, expand_axes, reshape
from symbackprop.graph.operators.norm import Norm, Unit
from symbackprop.graph.shapes import rank_of, shape_of
from symbackprop.graph.stable import hypot, xdivy


class Squares(NamedTuple):
    """scale · Σ x² along axes, as the operand, the axes (counted from the end) and the factor."""

    x: sp.Expr
    axes: tuple[int, ...]
    scale: sp.Expr

    def norm(self, eps: sp.Expr = sp.S.Zero) -> sp.Expr:
        return Norm(ints(self.axes), self.scale, eps, sp.S.Zero, self.x)


def root_of_a_sum_of_squares(expr: sp.Pow) -> sp.Expr | None:
    """sqrt(s sum(x²) + e) → norm(x, s, e), odd powers of it too. Blue (1978)."""
    base, exponent = expr.args
    if not (2 * exponent).is_Integer or exponent.is_Integer:
        return None
    better = _root(base)
    return None if better is None else better ** (2 * exponent)


def _root(base: sp.Expr) -> sp.Expr | None:
    """The root of an expression that has sums of squares in it."""
    if isinstance(base, sp.Max):
        roots = {x: _root(x) for x in base.args if not _is_constant(x)}
        return None if None in roots.values() or not roots else sp.Max(*(sp.sqrt(x) if roots.get(x) is None else roots[x] for x in base.args))
    terms = sp.Add.make_args(base)
    sums = {term: squares for term in terms if not _is_constant(term) and (squares := _squares(term)) is not None}
    numbers = sp.Add(*(term for term in terms if _is_constant(term)))
    if len(sums) == 1 and not any(term not in sums and not _is_constant(term) for term in terms):
        ((term, squares),) = sums.items()
        return reshape(squares.norm(numbers), shape_of(term))
    others = [term for term in terms if term not in sums]
    if not sums or not all(_is_constant(x) or (_leg(x.as_coeff_Mul()[1]) is not None and x.as_coeff_Mul()[0] > 0) for x in others):
        return None
    return sp.sqrt(sp.Add(*(reshape(s.norm(), shape_of(term)) ** 2 for term, s in sums.items()), *others))


def _is_constant(x: sp.Basic) -> bool:
    """A number or sizes, not negative."""
    return bool(not tensors_in(x) and not rank_of(x) and x.is_nonnegative)


def _squares(term: sp.Basic) -> Squares | None:
    """A multiple of a sum of squares, read through names and axes of size one."""
    scale: sp.Expr = sp.S.One
    x = definition(term)
    while not isinstance(x, Einsum):
        if isinstance(x, sp.Mul):
            numbers = [f for f in x.args if _is_constant(f)]
            rest = [f for f in x.args if not _is_constant(f)]
            if len(rest) != 1 or not numbers:
                return None
            scale, x = scale * sp.Mul(*numbers), definition(rest[0])
        elif (inside := _without_unit_axes(x)) is not x:
            x = inside
        else:
            return None
    ins, out = x.spec
    if len(ins) > 2 or len(set(ins)) > 1 or len(set(x.operands)) > 1 or out == ins[0] or out != "".join(c for c in ins[0] if c in out):
        return None
    leg = x.operands[0] if len(ins) == 2 else _leg(x.operands[0])
    return None if leg is None else Squares(leg, tuple(i - len(ins[0]) for i, c in enumerate(ins[0]) if c not in out), scale)


def _leg(square: sp.Basic) -> sp.Expr | None:
    """Of x² the x, of products of squares too."""
    seen = definition(square)
    if isinstance(seen, sp.Pow) and seen.exp.is_Integer and seen.exp > 0 and seen.exp % 2 == 0:
        return seen.base ** (seen.exp / 2)
    if isinstance(seen, sp.Mul):
        legs = [_leg(f) for f in seen.args]
        return None if any(leg is None for leg in legs) else sp.Mul(*legs)
    return None


def vector_over_its_norm(expr: sp.Mul) -> sp.Expr | None:
    """x/norm(x) → unit(x), which is 0 where x is, and norm(x) unit(x) → x. Rockafellar, Convex Analysis (1970), section 23."""
    for factor in expr.args:
        base, power = factor.as_base_exp()
        length = _norm_along(base)
        if length is None or not power.is_Integer:
            continue
        unit = Unit(*length.args)
        taken = [unit] if power > 0 else _factors(length.operands[0], expr.args)
        if all(x in expr.args for x in taken) and _aligned(base, length):
            rest = [f for f in expr.args if f is not factor and f not in taken]
            return sp.Mul(length.operands[0] if power > 0 else unit, base ** (power - 1 if power > 0 else power + 1), *rest)
    return None


def _factors(x: sp.Expr, factors: Sequence[sp.Expr]) -> list[sp.Expr]:
    """What has to stand in a product for x to be a factor of it: x by its name or by what that stands for, or the factors of it."""
    named = [f for f in factors if f == x or definition(f) == definition(x)]
    return named[:1] or list(sp.Mul.make_args(x))


def _norm_along(x: sp.Basic) -> Norm | None:
    """The norm that an expression is, whatever axes of size one it has."""
    seen = _without_unit_axes(definition(x))
    return seen if isinstance(seen, Norm) else None


def _without_unit_axes(x: sp.Basic) -> sp.Basic:
    """What an expression is but for axes of size one, read through names."""
    while (isinstance(x, Reshape) and x.moves_unit_axes()) or (isinstance(x, Broadcast) and all(size == 1 for size in x.shape)):
        x = definition(x.operands[0])
    return x


def _aligned(base: sp.Expr, length: Norm) -> bool:
    """Whether the norm stands, beside its operand, along the axes that are left of it."""
    wanted = shape_of(expand_axes(length, length.axes, rank_of(length.operands[0])))
    own = shape_of(base)
    return len(own) <= len(wanted) and (1,) * (len(wanted) - len(own)) + own == wanted


def norm_or_a_number(expr: sp.Max) -> sp.Expr | None:
    """max(norm(x), m) → norm(x, least=m). Elementary; the derivative stays that of the maximum."""
    if len(expr.args) != 2 or not any(map(_is_constant, expr.args)):
        return None
    least, other = sorted(expr.args, key=lambda x: not _is_constant(x))
    length = _norm_along(other)
    if length is None:
        return None
    axes, scale, eps, old, x = length.args
    return reshape(Norm(axes, scale, eps, sp.Max(old, least), x), shape_of(other))


def product_over_norms(expr: sp.Mul) -> sp.Expr | None:
    """sum(x y)/norm(x) → sum(unit(x) y), although sum(x y) may overflow or vanish. Elementary; the scaling of Blue (1978)."""
    for below in expr.args:
        base, power = below.as_base_exp()
        length = _norm_along(base)
        if length is None or not power.is_Integer or power > 0:
            continue
        for total in expr.args:
            fits = isinstance(total, Einsum) and (shape_of(base) == shape_of(total) or not rank_of(length))
            better = _divided(total, length) if fits else None
            if better is not None:
                return sp.Mul(better, base ** (power + 1), *(f for f in expr.args if f is not total and f is not below))
    return None


def _divided(total: Einsum, length: Norm) -> sp.Expr | None:
    """The sum with the operand of the norm divided by it, where the norm is one number or just the axes of it are summed over."""
    (ins, out), operands = total.spec, list(total.operands)
    for i, (letters, operand) in enumerate(zip(ins, operands, strict=True)):
        kept, factors = "".join(c for c in letters if c in out), sp.Mul.make_args(operand)
        summed = tuple(k - len(letters) for k, c in enumerate(letters) if c not in out)
        taken = _factors(length.operands[0], factors)
        alike = kept == out and summed == length.axes and shape_of(length.operands[0]) == shape_of(operand)
        if (alike or not rank_of(length)) and all(x in factors for x in taken):
            operands[i] = sp.Mul(Unit(*length.args), *(f for f in factors if f not in taken))
            return contract(ins, out, operands)
    return None


def vector_over_hypot(expr: sp.Mul) -> sp.Expr | None:
    """x/hypot(norm(x), ...) → xdivy(x, hypot(norm(x), ...)), which is 0 where x is: the subgradient of smallest norm. Rockafellar (1970),
    section 23."""
    for below in expr.args:
        if not (isinstance(below, sp.Pow) and isinstance(below.base, hypot) and below.exp == -1):
            continue
        for length in below.base.atoms(Norm):
            taken = _factors(length.operands[0], expr.args)
            if all(x in expr.args for x in taken):
                return sp.Mul(xdivy(sp.Mul(*taken), below.base), *(f for f in expr.args if f is not below and f not in taken))
    return None


def divided_at_last(expr: sp.Mul) -> sp.Expr | None:
    """x xdivy(step(n), n) → xdivy(x step(n), n), since 1/n may overflow although x/n does not. Elementary."""
    for factor in expr.args:
        quotient = _without_unit_axes(factor)
        if isinstance(quotient, xdivy) and isinstance(quotient.args[1], Norm) and quotient.args[0] == step(quotient.args[1]):
            length = reshape(quotient.args[1], shape_of(factor))
            number, rest = sp.Mul(*(f for f in expr.args if f is not factor)).as_coeff_Mul()
            return number * xdivy(rest * step(length), length) if rest != 1 else None
    return None


Structure = Callable[[Any], sp.Expr | None]
OF_POWERS: tuple[Structure, ...] = (root_of_a_sum_of_squares,)
OF_PRODUCTS: tuple[Structure, ...] = (vector_over_its_norm, product_over_norms)

OF_MAXIMA: tuple[Structure, ...] = (norm_or_a_number,)
LAST_OF_PRODUCTS: tuple[Structure, ...] = (vector_over_hypot, divided_at_last)

__all__ = ["LAST_OF_PRODUCTS", "OF_MAXIMA", "OF_POWERS", "OF_PRODUCTS"]
