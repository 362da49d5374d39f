"""Partial derivatives by name: ∂y/∂x as the chain rule writes it, before and after it is evaluated."""

from collections.abc import Mapping
from typing import Any

import sympy as sp

from symbackprop.calculus.index import IndexForm, split, summed
from symbackprop.calculus.pull import pull
from symbackprop.errors import UnsupportedError
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.tensor import Tensor


class Partial(sp.Expr):
    """The partial derivative ∂y/∂x of the equation of y, by name and unevaluated. `doit` evaluates it, for scalars and for entries.

    It does not commute: a product of partial derivatives is kept in the order in which the chain rule writes it, which for
    tensors is the only right one. Further arguments are what is held fixed, where that must be said: the loss may depend on x by
    its own equation and by others besides.
    """

    is_commutative = False

    @property
    def y(self) -> Any:
        return self.args[0]

    @property
    def x(self) -> Any:
        return self.args[1]

    @property
    def held(self) -> tuple[Any, ...]:
        return self.args[2:]

    @property
    def tensor(self) -> Tensor:
        """The tensor whose derivative this is, or is an entry of."""
        return split(self.y)[0]

    def doit(self, **hints: Any) -> sp.Expr:
        y, x = self.args[:2]
        if isinstance(x, sp.Indexed) or isinstance(y, sp.Indexed):
            return _entry_derivative(*split(y), *split(x))
        if y.shape == () and x.shape == ():
            return pull(y, sp.S.One, {x}).get(x, sp.S.Zero)
        raise UnsupportedError(f"{self} is a derivative between tensors, with more axes than either; read .local, or an entry such as gradients[w][0, 0]")

    def entry(self) -> sp.Expr:
        """The value as a scalar in index form."""
        value = self.doit()
        return IndexForm(taken=self.free_symbols).entry(value, ()) if value.has(Operator) else value

    def _sympystr(self, printer: Any) -> str:
        return f"d{printer._print(self.y)}/d{printer._print(self.x)}"

    def _latex(self, printer: Any, **_: Any) -> str:
        text = rf"\frac{{\partial {printer._print(self.y)}}}{{\partial {printer._print(self.x)}}}"
        return rf"\left.{text}\right|_{{{', '.join(map(printer._print, self.held))}}}" if self.held else text


def _entry_derivative(y: Tensor, at: tuple[sp.Expr, ...], x: Tensor, index: tuple[sp.Expr, ...]) -> sp.Expr:
    """∂y[at]/∂x[index]: what the equation of y hands back to x when only the entry `at` of y has an adjoint, which is 1."""
    unit = Tensor(f"unit_{y.name}", y.shape, "state")
    pulled = pull(y, unit, {x}).get(x, sp.S.Zero)
    symbols = [s for s in (*at, *index) if isinstance(s, sp.Symbol)]
    entry = IndexForm(taken=[*symbols, unit.name]).entry(pulled, index)
    deltas = {e: sp.Mul(*map(sp.KroneckerDelta, e.indices, at)) for e in entry.atoms(sp.Indexed) if e.base.label is unit}
    sizes = dict(zip((*at, *index), (*y.shape, *x.shape), strict=True))
    sizes |= {k: high + 1 for total in entry.atoms(sp.Sum) for k, _, high in total.limits}
    return _factored(collapsed(entry.xreplace({unit: sp.S.One, **deltas}), sizes))


class Factor(sp.Expr):
    """A factor of the chain rule after its evaluation. As `Partial`, it keeps its place in the product; `doit` lets it go."""

    is_commutative = False

    def doit(self, **hints: Any) -> sp.Expr:
        return self.args[0]

    def _sympystr(self, printer: Any) -> str:
        return f"({printer._print(self.args[0])})"

    def _latex(self, printer: Any, **_: Any) -> str:
        return str(printer.scalar_factor(self.args[0]))


def evaluated(chain: sp.Expr) -> sp.Expr:
    """A product or sum of products of partial derivatives, each replaced by its value and left where it stands."""
    return chain.xreplace({p: Factor(p.entry()) for p in chain.atoms(Partial)})


def collapsed(expr: sp.Expr, sizes: Mapping[sp.Expr, Any]) -> sp.Expr:
    """Sums over Kronecker deltas carried out: Σ_p δ_ip f(p) is f(i), where p runs as far as i does. `sizes`: index → how far it runs."""
    if not expr.has(sp.KroneckerDelta):
        return expr
    args = [collapsed(a, sizes) if isinstance(a, sp.Expr) else a for a in expr.args]
    if isinstance(expr, sp.Piecewise):
        return sp.Piecewise(*((collapsed(value, sizes), condition) for value, condition in expr.args))
    if not isinstance(expr, sp.Sum):
        return expr.func(*args) if expr.args and not isinstance(expr, (sp.Indexed, sp.KroneckerDelta)) else expr
    terms = sp.Add.make_args(sp.expand_mul(args[0]))
    return sp.Add(*(_picked(term, list(expr.limits), sizes) for term in terms))


def _picked(term: sp.Expr, limits: list[Any], sizes: Mapping[sp.Expr, Any]) -> sp.Expr:
    if isinstance(term, sp.Piecewise) and len(term.args) == 2 and term.args[1] == (0, True):
        return _located(term, limits, sizes)
    for delta in [f for f in sp.Mul.make_args(term) if isinstance(f, sp.KroneckerDelta)]:
        for limit in limits:
            k = limit[0]
            if k in delta.args:
                other = next((a for a in delta.args if a != k), k)
                if not _within(other, limit[2] + 1, sizes):
                    continue
                rest = [x for x in limits if x is not limit]
                return _picked((term / delta).xreplace({k: other}), rest, sizes)
    return summed(term, limits) if limits else term


def _located(term: sp.Piecewise, limits: list[Any], sizes: Mapping[sp.Expr, Any]) -> sp.Expr:
    """The same where the delta holds a sum of indices and its terms count under a condition: Σ_p [q = i - p] f(p) is f(i - q), if 0 <= i - q < size."""
    (body, condition), _ = term.args
    for delta in [f for f in sp.Mul.make_args(body) if isinstance(f, sp.KroneckerDelta)]:
        difference = sp.expand(delta.args[0] - delta.args[1])
        for limit in limits:
            k, _, high = limit
            slope = difference.coeff(k)
            if not slope.is_Rational or slope == 0 or k in (difference - slope * k).free_symbols:
                continue
            place = sp.expand(k - difference / slope)
            above, below = sp.fraction(sp.together(place))
            wanted = [*sp.And.make_args(condition.xreplace({k: place})), place >= 0, place <= high, sp.Eq(sp.Mod(above, below), 0)]
            found = sp.And(*(c for c in wanted if not _always(c, sizes)))
            rest = [x for x in limits if x is not limit]
            return _picked(sp.Piecewise(((body / delta).xreplace({k: place}), found), (0, True)), rest, sizes)
    return summed(term, limits) if limits else term


def _always(condition: sp.Basic, sizes: Mapping[sp.Expr, Any]) -> bool:
    """Whether an inequality between sums of indices holds as far as they run."""
    if not isinstance(condition, (sp.Ge, sp.Gt, sp.Le, sp.Lt)):
        return condition == True  # noqa: E712  (SymPy's own true)
    least = _range(sp.expand(condition.gts - condition.lts), sizes)[0]
    return bool(least.is_positive if isinstance(condition, (sp.Gt, sp.Lt)) else least.is_nonnegative)


def _range(expr: sp.Expr, sizes: Mapping[sp.Expr, Any]) -> tuple[sp.Expr, sp.Expr]:
    """The least and the largest value of what arithmetic makes of indices, or bounds of them: each index by itself runs as far as it does."""
    if expr in sizes:
        return (expr, expr) if expr.is_number else (sp.S.Zero, sp.sympify(sizes[expr], strict=True) - 1)
    if expr.is_number or expr.is_Symbol:
        return expr, expr
    number, rest = expr.as_coeff_Mul()
    ranges = [_range(part, sizes) for part in (sp.Mul.make_args(rest) if number != 1 else expr.args)]
    if isinstance(expr, sp.Add):
        return sp.Add(*(low for low, _ in ranges)), sp.Add(*(high for _, high in ranges))
    if isinstance(expr, sp.Mul) and all(low.is_nonnegative for low, _ in ranges):
        ends = [number * sp.Mul(*(low for low, _ in ranges)), number * sp.Mul(*(high for _, high in ranges))]
        return (ends[0], ends[1]) if number > 0 else (ends[1], ends[0])
    if isinstance(expr, sp.floor):
        return sp.floor(ranges[0][0]), sp.floor(ranges[0][1])
    if isinstance(expr, sp.Mod) and expr.args[1].is_positive:
        return sp.S.Zero, expr.args[1] - 1
    return -sp.oo, sp.oo


def _within(index: sp.Expr, size: sp.Expr, sizes: Mapping[sp.Expr, Any]) -> bool:
    """Whether an index stays below a size. One that arithmetic made, or that runs along a longer axis, may lie outside."""
    end = index + 1 if index.is_Integer else sizes.get(index)
    return end is not None and bool(end == size or (sp.sympify(size - end, strict=True).is_nonnegative))


def _factored(total: sp.Expr) -> sp.Expr:
    """What all terms have in common in front of their sum, without a common denominator, which would carry exp(-z) into the other terms."""
    if not isinstance(total, sp.Add):
        return total
    held: dict[sp.Basic, sp.Basic] = {part: sp.Dummy(real=True) for part in total.atoms(sp.Sum, sp.Piecewise)}
    found: sp.Expr = sp.factor_terms(total.xreplace(held))
    return found.xreplace({dummy: part for part, dummy in held.items()})


__all__ = ["Factor", "Partial", "collapsed", "evaluated"]
