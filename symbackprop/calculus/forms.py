"""The forms in which a gradient is written: as a product of named partial derivatives (chain), evaluated with named values
(local), and in weights and data only (closed)."""

from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from typing import Any

import sympy as sp

from symbackprop.calculus.deep import deep
from symbackprop.calculus.differentiate import Adjoints, adjoints
from symbackprop.calculus.index import IndexForm, at, free_indices, hoisted, relettered
from symbackprop.calculus.partial import Partial
from symbackprop.calculus.simplify import simplified
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, collect, tensors_in
from symbackprop.graph.operators.base import IndexSum
from symbackprop.graph.shapes import Shape
from symbackprop.graph.tensor import Tensor

PATHS = 64  # a chain with more paths than this stays factored
ENTRY_PATHS = 512  # the chain of one entry, with its sums, is refused beyond
NESTED = 80  # equations inside one another in a closed index form
SHORT = 2_000  # parts of an expression that is simplified before its entries are written
PAGES = 10_000, 4_000  # parts of closed forms that fill pages: of scalars, and with sums over indices
WRITTEN, INDEXED = 500_000, 60_000  # the most parts of an expression that are written out, and written with indices


class Forms:
    """The forms of all gradients of one system; each is made when it is asked for, and once."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._chains: dict[Tensor, sp.Expr] = {}
        self._locals: dict[sp.Basic, sp.Expr] = {}
        self._closeds: dict[sp.Basic, sp.Expr] = {}
        self._sizes: dict[bool, dict[Tensor, int]] = {False: {}, True: {}}
        self._levels: dict[Tensor, int] = {}
        self._entries: dict[tuple[Tensor, bool], tuple[tuple[sp.Symbol, ...], sp.Expr]] = {}

    @cached_property
    def adjoints(self) -> Adjoints:
        return adjoints(self.system)

    # --- chain --------------------------------------------------------------------------------------------------------

    @cached_property
    def users(self) -> dict[Tensor, list[Tensor]]:
        """x → the nodes whose equations mention x and on which the loss depends."""
        users: dict[Tensor, list[Tensor]] = {}
        for y, x in self.adjoints.edges:
            users.setdefault(x, []).append(y)
        return users

    @deep
    def chain(self, x: Tensor) -> sp.Expr:
        """The sum over all paths from the loss to `x` of the products of named partial derivatives."""
        loss = self.system.loss
        order = [t for t in reversed(collect([loss])) if t is loss or t in self.users]
        paths: dict[Tensor, int] = {loss: 1}
        for t in order:
            if t in self._chains or t is loss:
                self._chains.setdefault(t, sp.S.One)
            else:
                parts = [sp.Mul(self._chains[y], Partial(y, t, *self.held(y, t))) for y in self.users[t]]
                total = sp.Add(*parts)
                self._chains[t] = total
            paths[t] = paths.get(t) or sum(paths[y] for y in self.users.get(t, ()))
            if paths[t] <= PATHS:
                self._chains[t] = sp.expand_mul(self._chains[t])
        return self._chains.get(x, sp.S.Zero)

    def paths(self, x: Tensor) -> int:
        """The number of ways from x to the loss."""
        paths: dict[Tensor, int] = {self.system.loss: 1}
        for t in reversed(collect([self.system.loss])):
            paths.setdefault(t, sum(paths.get(y, 0) for y in self.users.get(t, ())))
        return paths.get(x, 0)

    @deep
    def chain_entry(self, x: Tensor, index: tuple[sp.Expr, ...]) -> sp.Expr:
        """The chain rule for one entry: sums over paths and over the entries of each tensor on the way that depend on it."""
        if self.paths(x) > ENTRY_PATHS:
            raise UnsupportedError(
                f"the chain rule for an entry of {x.name!r} has {self.paths(x)} paths, more than anybody reads ({ENTRY_PATHS}); "
                f"read gradients[{x.name!r}].chain, or the matrix form, which names each layer's error"
            )
        return self._chain_entry(x, index, IndexForm(taken=self._taken(index)))

    def _chain_entry(self, x: Tensor, index: tuple[sp.Expr, ...], fresh: IndexForm) -> sp.Expr:
        if x is self.system.loss:
            return sp.S.One
        total: sp.Expr = sp.S.Zero
        for y in self.users.get(x, []):
            assert y.definition is not None
            place, free = _joined(y, x, index, fresh, self._names)
            term = sp.Mul(self._chain_entry(y, place, fresh), Partial(at(y, place), at(x, index), *self.held(y, x)))
            total += IndexSum(term, *((k, 0, size - 1) for k, size in free)) if free else term
        return total

    @deep
    def chain_step(self, x: Tensor, index: tuple[sp.Expr, ...]) -> list[sp.Expr]:
        """The chain rule one equation back, at one entry of `x`: for each node that reads x, its adjoint times its partial derivative."""
        fresh = IndexForm(taken=self._taken(index))
        sizes: dict[str, Any] = {}
        return [relettered(self._chain_term(y, x, index, fresh), self._taken(index), sizes) for y in self.users.get(x, [])]

    def _chain_term(self, y: Tensor, x: Tensor, index: tuple[sp.Expr, ...], fresh: IndexForm) -> sp.Expr:
        outside = set(fresh.taken)
        place, free = _joined(y, x, index, fresh, self._names)
        adjoint = self.adjoints.of[y]
        before = fresh.entry(adjoint, place) if y is not self.system.loss else sp.S.One
        term = sp.Mul(before, Partial(at(y, place), at(x, index), *self.held(y, x)))
        fresh.taken = outside  # sums beside each other use the same letters
        return IndexSum(term, *((k, 0, size - 1) for k, size in free)) if free else term

    def held(self, y: Tensor, x: Tensor) -> list[Tensor]:
        """What is held fixed in ∂y/∂x: said only for the loss, where x reaches it by other ways too and ∂C/∂x alone means all of them."""
        if y is not self.system.loss or len(self.users[x]) == 1:
            return []
        return sorted((t for t in y.inputs - {x} if t.definition is not None and x in collect([t])), key=lambda t: t.order)

    # --- local --------------------------------------------------------------------------------------------------------

    @deep
    def local(self, x: Tensor, limit: int = WRITTEN) -> sp.Expr:
        """The gradient with every adjoint replaced by its expression; the network's named values stay. Refused beyond `limit` parts."""
        if (total := self._size(x, False)) > limit:
            raise _too_long(x, total, limit)
        return simplified(self._without_adjoints(self.adjoints.of[x]))

    def _size(self, x: Tensor, closed: bool) -> int:
        """The parts of a form, counted before it is built: what is used twice is written twice, and so on at every layer."""
        sizes = self._sizes[closed]
        root = self.adjoints.of[x]
        for t in _missing(tensors_in(root), sizes, closed):
            sizes[t] = sum(sizes.get(part, 1) for part in sp.preorder_traversal(t.definition))
        return sizes.get(root, 1) if isinstance(root, Tensor) else 1

    def check_pages(self, weights: Sequence[Tensor]) -> None:
        """Refuse to print closed forms that would fill pages."""
        limit = PAGES[not self._scalar]
        total = sum(self._size(w, closed=True) for w in weights)
        if total > limit:
            forms = "'local'" if self._scalar else "'local', 'matrix' or 'index'"
            names = f"gradient of {weights[0].name!r}" if len(weights) == 1 else f"{len(weights)} gradients"
            raise UnsupportedError(
                f"the closed form of the {names} would fill pages: it has about {total:.0e} terms (the limit is {limit}); read the form {forms}, "
                "which names what repeats" + (", or print the closed form of one weight" if len(weights) > 1 else "")
            )

    def _without_adjoints(self, root: sp.Expr) -> sp.Expr:
        for t in _missing(tensors_in(root), self._locals, closed=False):  # oldest, that is nearest to the loss, first
            assert t.definition is not None
            self._locals[t] = t.definition.xreplace({a: self._locals[a] for a in t.inputs if a.adjoint_of})
        return root.xreplace({a: self._locals[a] for a in _adjoints_in(root)})

    def nesting(self, x: Tensor) -> int:
        """How many equations the closed form of the gradient of `x` puts inside one another."""
        roots = tensors_in(self.adjoints.of[x])
        for t in _missing(roots, self._levels, closed=True):
            self._levels[t] = 1 + max((self._levels.get(s, 0) for s in t.inputs), default=0)
        return max((self._levels.get(t, 0) for t in roots), default=0)

    def _check_nesting(self, x: Tensor) -> None:
        """Refuse a closed index form of a deep network: SymPy's time for sums inside sums grows faster than the square of their depth."""
        if (deepest := self.nesting(x)) > NESTED:
            raise UnsupportedError(
                f"the closed form of the gradient of {x.name!r} would nest {deepest} equations (the limit is {NESTED}); "
                "read .local, or the matrix or index form, which name each layer's error"
            )

    # --- closed -------------------------------------------------------------------------------------------------------

    @deep
    def closed(self, x: Tensor) -> sp.Expr:
        """The gradient in weights and data only; for a tensor a `Lambda` of the entry's indices, with sums as SymPy's `Sum`."""
        if self._scalar:
            if (total := self._size(x, closed=True)) > WRITTEN:
                raise _too_long(x, total, WRITTEN)
            expr = self.local(x)
            for t in _missing(tensors_in(expr), self._closeds, closed=True):  # oldest first, so that each definition is rewritten once
                assert t.definition is not None
                self._closeds[t] = t.definition.xreplace(self._closeds)
            return expr.xreplace(self._closeds)
        index = free_indices(x.shape, self._names)
        entry = self.entry(x, index, closed=True)
        return sp.Lambda(index, entry) if index else entry

    @deep
    def entry(self, x: Tensor, index: tuple[Any, ...], closed: bool) -> sp.Expr:
        """One entry of the gradient of `x` in index form. For numbers as index the entry at letters is found once, and they are put in,
        unless it has conditions: once decided, they leave another expression to write."""
        if not all(i.is_Integer for i in index):
            return self._entry(x, index, closed)
        if (x, closed) not in self._entries:
            letters = free_indices(x.shape, self._names)
            self._entries[x, closed] = letters, self._entry(x, letters, closed)
        letters, entry = self._entries[x, closed]
        if entry.has(sp.Piecewise, sp.KroneckerDelta):
            return self._entry(x, index, closed)
        return entry.xreplace(dict(zip(letters, index, strict=True)))

    def _entry(self, x: Tensor, index: tuple[sp.Expr, ...], closed: bool) -> sp.Expr:
        def define(t: Tensor) -> sp.Expr | None:
            return t.definition if closed or t.adjoint_of else None

        if (total := self._size(x, closed)) > INDEXED:
            raise _too_long(x, total, INDEXED)
        if closed:
            self._check_nesting(x)
        return hoisted(IndexForm(define, self._taken(index)).entry(self._simplest(x), index))

    def _simplest(self, x: Tensor) -> sp.Expr:
        """The gradient without adjoints, simplified, where that is not too long; else the adjoint itself."""
        try:
            return self.local(x, SHORT)
        except UnsupportedError:
            return self.adjoints.of[x]

    @cached_property
    def _scalar(self) -> bool:
        return all(t.shape == () for t in self.system.tensors)

    @cached_property
    def _names(self) -> set[str]:
        return {t.name for t in self.system.tensors}

    def _taken(self, index: tuple[Any, ...]) -> set[str]:
        """What a new index may not be called: the network's names and the indices in use."""
        return self._names | {i.name for i in index if isinstance(i, sp.Symbol)}


def _joined(y: Tensor, x: Tensor, index: tuple[sp.Expr, ...], fresh: IndexForm, names: set[str]) -> tuple[tuple[sp.Expr, ...], list[tuple[sp.Expr, Any]]]:
    """The entries of y that depend on x at `index`: an index of y with components taken from `index` where y's equation uses the same
    index for both, and the other components as fresh indices to be summed over, with their sizes."""
    symbols = tuple(sp.S.Zero if size == 1 else fresh.fresh(size) for size in y.shape)
    assert y.definition is not None
    entry = IndexForm(taken=(*(s for s in (*symbols, *index) if isinstance(s, sp.Symbol)), *names)).entry(y.definition, symbols)
    places = [e.indices for e in entry.atoms(sp.Indexed) if e.base.label is x]
    place: list[sp.Expr] = []
    free = []
    for k, size in zip(symbols, y.shape, strict=True):
        same = [m for m in range(len(index)) if all(p[m] == k for p in places) and _fits(x.shape[m], size)]
        if size == 1:
            place.append(k)
        elif same and places:
            place.append(index[same[0]])
        else:
            place.append(k)
            free.append((k, size))
    return tuple(place), free


def _fits(size: Any, room: Any) -> bool:
    """Whether every index below `size` is one below `room`: of a slice of x, not all entries of x have a place in y."""
    return bool(size == room or (isinstance(size, int) and isinstance(room, int) and size <= room))


def _missing(roots: Iterable[Tensor], done: Container[Tensor], closed: bool) -> list[Tensor]:
    """The tensors that a form replaces by their definitions, adjoints or in a closed form all, and that are not `done`; oldest first."""
    found: set[Tensor] = set()
    stack = list(roots)
    while stack:
        t = stack.pop()
        if t.definition is not None and (closed or t.adjoint_of) and t not in found and t not in done:
            found.add(t)
            stack.extend(t.inputs)
    return sorted(found, key=lambda t: t.order)


def _too_long(x: Tensor, total: int, limit: int) -> UnsupportedError:
    return UnsupportedError(
        f"this form of the gradient of {x.name!r} would have about {total:.0e} terms (the limit is {limit}); "
        "read the matrix or index form, which name each layer's error"
    )


def _adjoints_in(expr: sp.Expr) -> set[Tensor]:
    return {t for t in tensors_in(expr) if t.adjoint_of}


def shape_index(shape: Shape, key: Any, name: str) -> tuple[sp.Expr, ...]:
    """An entry's index from what a user writes in brackets: as many integers as the weight has axes, negative ones counted from the end."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) != len(shape):
        raise IndexError(f"gradient of {name}: {len(keys)} indices for a weight of shape {shape}; give {len(shape)}")
    result = []
    for k, size in zip(keys, shape, strict=True):
        if isinstance(k, sp.Symbol):
            result.append(k)
            continue
        if isinstance(k, bool) or not isinstance(k, (int, sp.Integer)) or not -size <= k < size:
            raise IndexError(f"gradient of {name}: index {k!r} is out of range for a weight of shape {shape}")
        result.append(sp.Integer(int(k) % size))
    return tuple(result)
