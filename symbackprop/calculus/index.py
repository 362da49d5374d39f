"""The index form: one entry of a tensor expression as a scalar SymPy expression in `Indexed` entries, with sums as `Sum`.

The base of an entry is the tensor itself, so `W_1[0, 1]` names the weight `W_1`. Output indices are i, j, k, l; a sum over a
named dimension n runs over an index that is printed like the dimension, n_ in code.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy as sp
from sympy.functions.elementary.piecewise import ExprCondPair

from symbackprop.calculus.elementwise import regions
from symbackprop.graph.operators.base import Index, IndexSum, Operator
from symbackprop.graph.operators.reduction import IsFirstMax, OverIndex
from symbackprop.graph.operators.solve import InverseEntry
from symbackprop.graph.shapes import Dim, Shape, rank_of, shape_of
from symbackprop.graph.tensor import Tensor

_SUMMED = "pqrsuvabcdefgh"


def index_symbol(name: str) -> sp.Symbol:
    return sp.Symbol(name, integer=True, nonnegative=True)


def free_indices(shape: Shape, taken: Iterable[str] = ()) -> tuple[sp.Symbol, ...]:
    """The indices of an entry: i, j, k, l for axes; a named dimension's own letter for its first axis. Names in `taken` are passed over."""
    letters = (c for c in itertools.chain("ijkl", (f"i{n}" for n in itertools.count(1))) if c not in set(taken))
    names: list[str] = []
    for size in shape:
        own = _own(size)
        names.append(own if own and own not in names else next(letters))
    return tuple(map(index_symbol, names))


def _own(size: Any) -> str:
    """What counts along a named dimension: its own letter, small as the size is capital on paper; none for a number."""
    if not isinstance(size, Dim):
        return ""
    return f"{size.name.lower() if len(size.name) == 1 else size.name}_"


def at(x: Tensor, index: Index) -> sp.Expr:
    """The entry of a tensor, or a scalar itself."""
    return sp.Indexed(sp.IndexedBase(x), *index) if index else x


def split(entry: Any) -> tuple[Tensor, Index]:
    """The tensor and the index of an entry; a scalar has none."""
    return (entry.base.label, entry.indices) if isinstance(entry, sp.Indexed) else (entry, ())


class IndexForm:
    """Writes entries of expressions. `define` says by which expression a node is replaced, or None to leave it as an entry;
    summation indices avoid the symbols and names in `taken`, and the names of the tensors in the expression."""

    def __init__(self, define: Callable[[Tensor], sp.Expr | None] = lambda tensor: None, taken: Iterable[sp.Symbol | str] = ()) -> None:
        self.define = define
        self.taken = {s if isinstance(s, str) else s.name for s in taken}
        self.sizes: dict[str, Any] = {}

    def fresh(self, size: Any) -> sp.Symbol:
        """A summation index that is not in use around; a letter runs over one size wherever it stands."""
        wish = [_own(size)] if isinstance(size, Dim) else []
        names = itertools.chain(wish, _SUMMED, (f"{c}{k}" for k in itertools.count(1) for c in _SUMMED))
        name = next(n for n in names if n not in self.taken and self.sizes.get(n, size) == size)
        self.taken.add(name)
        self.sizes[name] = size
        return index_symbol(name)

    def entry(self, expr: sp.Expr, index: Index) -> sp.Expr:
        """The entry of `expr` at `index`, which has one component for each axis. Sums beside each other use the same letters; a sum
        inside another does not."""
        outside = set(self.taken)
        self.taken.update(s.name for s in expr.free_symbols)
        try:
            return self._entry(expr, index)
        finally:
            self.taken = outside

    def _entry(self, expr: sp.Expr, index: Index) -> sp.Expr:
        if isinstance(expr, Tensor):
            definition = self.define(expr)
            if definition is not None:
                return self.entry(definition, index)
            return at(expr, index)
        if isinstance(expr, Operator):
            return expr.entry(index, self)
        body, operators = regions(expr)
        rank = rank_of(expr)
        table: dict[sp.Basic, sp.Expr] = {}
        places = {symbol: i for i, symbol in enumerate(operators)}
        for symbol in sorted(body.free_symbols, key=lambda s: (places.get(s, -1), s.name)):
            x = operators.get(symbol, symbol)
            if isinstance(x, (Tensor, Operator)):
                shape = shape_of(x)
                own = index[rank - len(shape) :] if len(shape) else ()
                full = shape_of(expr)[rank - len(shape) :] if len(shape) else ()
                table[symbol] = self.entry(x, tuple(sp.S.Zero if s == 1 and f != 1 else i for i, s, f in zip(own, shape, full, strict=True)))
        return body.xreplace(table)


def hoisted(expr: sp.Expr) -> sp.Expr:
    """The same expression with the factors that do not run with a sum in front of it."""
    if not expr.has(sp.Sum):
        return expr
    args = [hoisted(a) if isinstance(a, sp.Expr) else a for a in expr.args]
    if not isinstance(expr, sp.Sum):
        return expr.func(*args) if any(a is not b for a, b in zip(args, expr.args, strict=True)) else expr
    return summed(args[0], expr.limits)


def summed(body: sp.Expr, limits: Sequence[Any]) -> sp.Expr:
    """The sum of `body`, with the factors that do not run with it in front of it."""
    bound = {k for k, _, _ in limits}
    factors = sp.Mul.make_args(body) if body.is_commutative else ()
    inside = sp.Mul(*(f for f in factors if f.free_symbols & bound))
    outside = [f for f in factors if not f.free_symbols & bound]
    return sp.Mul(*outside, IndexSum(inside, *limits)) if outside and inside != 1 else IndexSum(body, *limits)


def relettered(expr: sp.Expr, taken: Iterable[str] = (), sizes: dict[str, Any] | None = None) -> sp.Expr:
    """The same expression with its summation letters in order: p, q, r ... from the left and from the outside, as `IndexForm` gives them.

    `sizes` holds how far each letter runs; what is written side by side shares it, so that a letter runs over one size there.
    """
    if not expr.has(sp.Sum, OverIndex):
        return expr
    sizes = {} if sizes is None else sizes
    used = {s.name for s in expr.free_symbols} | set(taken)
    table: dict[sp.Basic, sp.Basic] = {}
    for part in sp.preorder_traversal(expr):
        for k, _, high in part.limits if isinstance(part, (sp.Sum, OverIndex)) else ():
            if k not in table and not k.name.endswith("_"):  # a named dimension has its own letter
                letters = itertools.chain(_SUMMED, (f"{c}{n}" for n in itertools.count(1) for c in _SUMMED))
                name = next(c for c in letters if c not in used and sizes.get(c, high) == high)
                used.add(name)
                sizes[name] = high
                table[k] = index_symbol(name)
    return expr.xreplace(table)


def distinct(expr: sp.Expr) -> sp.Expr:
    """The same expression with another letter for each size that a bound letter runs over."""
    if not expr.args:
        return expr
    if isinstance(expr, (sp.Sum, OverIndex)):
        limits = expr.limits
        table = {k: index_symbol(f"{k}_to_{high}") for k, _, high in limits}
        renamed = [sp.Tuple(table[k], low, high) for k, low, high in limits]
        return expr.func(distinct(expr.args[0].xreplace(table)), *renamed, *map(distinct, expr.args[1 + len(renamed) :]))
    if not expr.has(sp.Sum, OverIndex):
        return expr
    return expr.func(*(distinct(a) if isinstance(a, (sp.Expr, ExprCondPair)) else a for a in expr.args))


class Quotient(sp.Function):
    """a // b of whole numbers."""


def whole(expr: sp.Expr) -> sp.Expr:
    """The same index form with indices that are computed in whole numbers alone: in floating point 49 (1/49) is less than 1, and rounded down
    it is 0. An index that is divided has no rest where its entry counts."""
    return expr.replace(lambda part: isinstance(part, _INDEXED), _with_whole_indices) if expr.has(*_INDEXED) else expr


_INDEXED: tuple[Any, ...] = (sp.floor, sp.Indexed, IsFirstMax, InverseEntry, sp.KroneckerDelta, sp.core.relational.Relational)


def _with_whole_indices(part: sp.Basic) -> sp.Basic:
    if isinstance(part, sp.floor):
        return _divided(part.args[0]) if _is_arithmetic(part.args[0]) else part
    if isinstance(part, (sp.KroneckerDelta, sp.core.relational.Relational)):
        above, below = sp.fraction(sp.together(part.args[0] - part.args[1])) if all(map(_is_arithmetic, part.args)) else (part, 1)
        return part.func(above, 0) if below != 1 else part
    args = [_divided(a) if _is_arithmetic(a) else a for a in part.args]
    return part.func(*args) if args != list(part.args) else part


def _is_arithmetic(expr: sp.Basic) -> bool:
    return isinstance(expr, sp.Expr) and not isinstance(expr, sp.IndexedBase) and not expr.has(Tensor) and all(s.is_integer for s in expr.free_symbols)


def _divided(index: sp.Expr) -> sp.Expr:
    above, below = sp.fraction(sp.together(index))
    return index if below == 1 else Quotient(above, below)
