"""Linear maps between tensors as sums of products of factors with indices, in which identities stay Kronecker deltas.

What is linear in a direction v, as a Hessian-vector product is, becomes the matrix of the map when v is put to the identity. Written as
`Σ A_ni B_nj δ_jk`, that matrix is never larger than it has to be: a delta renames an index instead of being multiplied, products are
multiplied out only where an index is summed over, and only those factors that carry it.

Source: Laue, Mitterreiter & Giesen, "A Simple and Efficient Tensor Calculus", AAAI 2020, section 3 (compression of unit tensors,
order of the products); "Computing Higher Order Derivatives of Matrix and Tensor Expressions", NeurIPS 2018.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import sympy as sp

from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import LETTERS, Broadcast, Einsum, Eye, broadcast_in, contract
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.shapes import Dimension, Shape, rank_of, shape_of, split_scalars
from symbackprop.graph.tensor import Tensor

Axes = tuple[int | None, ...]  # an index for each axis; an axis of size one needs none
Factor = tuple[tuple[int, ...], sp.Expr]  # a tensor without axes of size one, and its indices


@dataclass(frozen=True)
class Term:
    """scalar · Π factors · Π deltas. A delta is a pair of indices that are equal."""

    scalar: sp.Expr = sp.S.One
    factors: tuple[Factor, ...] = ()
    deltas: tuple[tuple[int, int], ...] = ()

    @property
    def letters(self) -> set[int]:
        """The indices of the factors."""
        return {c for letters, _ in self.factors for c in letters}

    def renamed(self, table: Mapping[int, int]) -> "Term":
        """The same term with other indices."""
        factors = tuple((tuple(table.get(c, c) for c in letters), x) for letters, x in self.factors)
        return replace(self, factors=factors, deltas=tuple((table.get(a, a), table.get(b, b)) for a, b in self.deltas))


@dataclass(frozen=True)
class Linear:
    """A tensor that depends linearly on a direction: its axes, and the terms whose sum it is. No terms: zero."""

    axes: Axes
    terms: tuple[Term, ...]


@dataclass
class Space:
    """The indices in use and their sizes; the axes of the direction; the products that were given a name."""

    name: Namer
    sizes: dict[int, Dimension] = field(default_factory=dict)
    direction: Axes = ()
    named: dict[sp.Expr, Tensor] = field(default_factory=dict)
    open: bool = False  # whether sums are left to the contraction that an expression becomes

    def index(self, size: Dimension) -> int:
        self.sizes[len(self.sizes)] = size
        return len(self.sizes) - 1

    def axes(self, shape: Shape) -> Axes:
        """A fresh index for each axis of a tensor."""
        return tuple(None if size == 1 else self.index(size) for size in shape)

    def shape(self, axes: Axes) -> Shape:
        return tuple(1 if c is None else self.sizes[c] for c in axes)

    def identity(self, shape: Shape) -> Linear:
        """The direction itself. Its axes become those of the space."""
        axes, self.direction = self.axes(shape), self.axes(shape)
        return Linear(axes, (Term(deltas=tuple(pair for pair in zip(axes, self.direction, strict=True) if None not in pair)),))  # type: ignore[misc]

    def called(self, product: sp.Expr) -> sp.Expr:
        """The product under a name of its own, so that it is computed once and read as one matrix."""
        number, rest = split_scalars(product)
        if not isinstance(rest, (Tensor, Eye)):
            if rest not in self.named:
                count = len(self.named) + 1
                self.named[rest] = Tensor(self.name(f"M_{count}"), shape_of(rest), "node", rest)
            rest = self.named[rest]
        return number * rest

    # --- sums ---------------------------------------------------------------------------------------------------------

    def settled(self, term: Term, kept: set[int], end: bool = False) -> Term:
        """The term summed over every index that is not `kept`. Equal indices become one; what carries a summed index is multiplied out,
        except at the `end`, where the whole term becomes one contraction."""
        term = self.united(term, kept)
        summed = term.letters - kept
        if end or not summed:
            return term
        scalar, factors = term.scalar, [f for f in term.factors if not summed & set(f[0])]
        for group in _connected([f for f in term.factors if summed & set(f[0])], summed):
            letters = self._ordered({c for f in group for c in f[0]} - summed)
            product = self.product(sorted(group, key=lambda f: sp.default_sort_key(f[1])), letters)  # one product, one name
            if letters:
                number, product = split_scalars(self.called(product))
                scalar *= number
                factors.append((letters, product))
            else:
                scalar *= product
        return Term(scalar, tuple(factors), term.deltas)

    def united(self, term: Term, kept: set[int]) -> Term:
        """The term with one index in its factors for all that its deltas make equal. A delta stays only between indices that are kept."""
        groups: list[set[int]] = []
        for pair in term.deltas:
            touching = [g for g in groups if g & set(pair)]
            groups = [g for g in groups if g not in touching] + [set(pair).union(*touching)]
        table: dict[int, int] = {}
        deltas: list[tuple[int, int]] = []
        count: sp.Expr = sp.S.One
        for group in groups:
            first = min(group, key=lambda c: (c not in kept, c not in self.direction, c))
            table |= dict.fromkeys(group, first)
            deltas += [(c, first) for c in sorted(group & kept) if c != first]
            if not group & (kept | term.letters):
                count *= self.sizes[first]  # a sum of ones
        return replace(replace(term, scalar=term.scalar * count, deltas=()).renamed(table), deltas=tuple(deltas))

    def _ordered(self, letters: set[int]) -> tuple[int, ...]:
        """The order of a product's axes: the direction's stand before the last of its own, so that the next product is one of matrices."""
        own = sorted(letters - set(self.direction))
        first, last = (own[:-1], own[-1:]) if len(own) > 1 else (own, [])
        return (*first, *(c for c in self.direction if c in letters), *last)

    def product(self, factors: Iterable[Factor], letters: Sequence[int], deltas: Sequence[tuple[int, int]] = ()) -> sp.Expr:
        """The contraction of factors as an expression whose axes are `letters`; factors of the same indices are multiplied entry by entry."""
        groups: dict[tuple[int, ...], list[sp.Expr]] = defaultdict(list)
        for own, x in factors:
            groups[own].append(x)
        operands = [(own, sp.Mul(*xs)) for own, xs in groups.items()]
        operands += [(pair, Eye(sp.sympify(self.sizes[pair[0]], strict=True))) for pair in deltas]
        present = {c for own, _ in operands for c in own}
        kept = [c for c in letters if c in present]
        if not operands:
            result: sp.Expr = sp.S.One
        else:
            spell = dict(zip(dict.fromkeys([*(c for own, _ in operands for c in own)]), LETTERS, strict=False))
            result = contract(["".join(spell[c] for c in own) for own, _ in operands], "".join(spell[c] for c in kept), [x for _, x in operands])
        return broadcast_in(result, tuple(self.sizes[c] for c in letters), [list(letters).index(c) for c in kept])

    def merged(self, terms: Iterable[Term], kept: set[int]) -> tuple[Term, ...]:
        """Terms that differ in one place only as one term: A_ni (B_nj + C_nj) for A_ni B_nj + A_ni C_nj. Both must be summed over the same
        indices, if over any."""
        result: list[Term] = []
        for term in terms:
            for i, other in enumerate(result):
                together = self._together(other, term) if (other.letters ^ term.letters) <= kept else None
                if together is not None:
                    result[i] = together
                    break
            else:
                result.append(term)
        return tuple(t for t in result if t.scalar != 0)

    def _together(self, a: Term, b: Term) -> Term | None:
        if set(a.deltas) != set(b.deltas):
            return None
        common = Counter(a.factors) & Counter(b.factors)
        rest_a, rest_b = list((Counter(a.factors) - common).elements()), list((Counter(b.factors) - common).elements())
        letters_a, letters_b = ({c for own, _ in rest for c in own} for rest in (rest_a, rest_b))
        if not rest_a and not rest_b:
            return replace(a, scalar=a.scalar + b.scalar)
        both = letters_a | letters_b
        if not letters_a or not letters_b or not any(set(own) == both for own, _ in (*rest_a, *rest_b)):
            return None  # no factor is as large as their sum, so that two products are less work
        letters = self._ordered(both)
        number = _shared(a.scalar, b.scalar)
        total = (a.scalar / number) * self.product(rest_a, letters) + (b.scalar / number) * self.product(rest_b, letters)
        if total == 0:
            return replace(a, scalar=sp.S.Zero)
        if shape_of(total) != tuple(self.sizes[c] for c in letters):
            return None
        sole = len(rest_a) == len(rest_b) == 1 and letters_a == letters_b
        return Term(number, (*common.elements(), (letters, total if sole and not total.has(Einsum) else self.called(total))), a.deltas)

    def summed(self, axes: Axes, terms: Iterable[Term]) -> Linear:
        """A map with these axes: everything else but the direction is summed over."""
        kept = {c for c in (*axes, *self.direction) if c is not None}
        if self.open:
            return Linear(axes, tuple(terms))
        return Linear(axes, self.merged((self.settled(term, kept) for term in terms), kept))

    def inner(self, a: Linear, b: Linear) -> tuple[Term, ...]:
        """The terms of the inner product of two maps of one shape, each with directions of its own."""
        table = renaming(b.axes, a.axes)
        terms = []
        for left in a.terms:
            own = left.letters.union(*left.deltas)
            for right in (t.renamed(table) for t in b.terms):
                # What each is summed over is its own: a Gauss-Newton block on the diagonal has the same map on both sides.
                bound = (own & right.letters.union(*right.deltas)) - set(a.axes)
                right = right.renamed({c: self.index(self.sizes[c]) for c in sorted(bound)})
                both = Term(left.scalar * right.scalar, left.factors + right.factors, left.deltas + right.deltas)
                found = both.letters.union(*both.deltas)
                terms.append(replace(both, scalar=both.scalar * self.free(a.axes, found)))
        return tuple(terms)

    def free(self, axes: Iterable[int | None], found: set[int]) -> sp.Expr:
        """What a sum over indices that nothing carries multiplies by."""
        return sp.Mul(*(self.sizes[c] for c in axes if c is not None and c not in found))

    def expression(self, linear: Linear, axes: Axes | None = None) -> sp.Expr:
        """The map as an expression. Its axes: the tensor's own, then those of the direction, unless given."""
        axes = (*linear.axes, *self.direction) if axes is None else axes
        letters = [c for c in axes if c is not None]
        done = [self.settled(term, set(letters), end=True) for term in linear.terms]
        parts = [t.scalar * self.product(t.factors, letters, t.deltas) for t in self.merged(done, set(letters))]
        full = tuple(self.sizes[c] for c in letters)
        total = sp.Add(*parts)
        if total == 0 or shape_of(total) != full:
            total = broadcast_in(total, full, ()) if not rank_of(total) else total
        return reshape(total, self.shape(axes)) if rank_of(total) else total

    # --- coefficients --------------------------------------------------------------------------------------------------

    def factors(self, coefficient: sp.Expr, axes: Axes) -> tuple[sp.Expr, list[Factor]]:
        """An elementwise coefficient as (scalar, factors), broadcast against a tensor with these axes."""
        scalar, rest = split_scalars(coefficient)
        found = []
        for x in sp.Mul.make_args(rest):
            if x == 1:
                continue
            x, letters = _without_repetition(x, axes[len(axes) - rank_of(x) :])
            if letters:
                found.append((letters, x))
            else:
                scalar *= x
        return scalar, found

    def scaled(self, linear: Linear, coefficient: sp.Expr, axes: Axes) -> list[Term]:
        """The terms of coefficient ⊙ linear, broadcast to `axes`, which end with the axes of `linear` where those are not of size one."""
        table = renaming(linear.axes, axes)
        scalar, factors = self.factors(coefficient, axes)
        return [replace(t, scalar=scalar * t.scalar, factors=(*t.factors, *factors)) for term in linear.terms for t in [term.renamed(table)]]


def _shared(a: sp.Expr, b: sp.Expr) -> sp.Expr:
    """What stands before the sum of a x and b y: the factors that they have in common."""
    mine, yours = Counter(sp.Mul.make_args(a)), Counter(sp.Mul.make_args(b))
    return sp.Mul(*(mine & yours).elements())


def _connected(factors: Sequence[Factor], summed: set[int]) -> list[list[Factor]]:
    """Factors in groups that share summed indices."""
    groups: list[tuple[set[int], list[Factor]]] = []
    for factor in factors:
        letters, members = set(factor[0]) & summed, [factor]
        for group in [g for g in groups if g[0] & letters]:
            groups.remove(group)
            letters, members = letters | group[0], group[1] + members
        groups.append((letters, members))
    return [members for _, members in groups]


def renaming(old: Axes, new: Axes) -> dict[int, int]:
    """Index of a smaller tensor → that of the tensor to which it is broadcast."""
    pairs = zip(old, new[len(new) - len(old) :], strict=True)
    return {a: b for a, b in pairs if a is not None and b is not None}


def _without_repetition(x: sp.Expr, axes: Axes) -> tuple[sp.Expr, tuple[int, ...]]:
    """A factor without its axes of size one and without those along which it repeats itself, and the indices that are left."""
    shape = shape_of(x)
    kept = [i for i, size in enumerate(shape) if size != 1]
    if len(kept) < len(shape):
        x = reshape(x, tuple(shape[i] for i in kept))
    letters = tuple(axes[i] for i in kept)
    if isinstance(x, Broadcast):
        letters, x = tuple(letters[a] for a in x.axes), x.operands[0]
    if isinstance(x, Einsum) and len(x.operands) == 1 and len(x.spec[0][0]) == len(x.spec[1]):
        where = dict(zip(x.spec[1], letters, strict=True))
        letters, x = tuple(where[c] for c in x.spec[0][0]), x.operands[0]
    return x, letters  # type: ignore[return-value]


__all__ = ["Axes", "Factor", "Linear", "Space", "Term", "renaming"]
