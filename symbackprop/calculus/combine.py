"""The ways of a tensor to the loss, combined: what several equations hand back to x, as one expression in what comes after them.

Where x acts on a node y by itself and through nodes that were made of x only for y, as a layer norm's x does through its mean and its
variance, the chain rule has a term for each way. Here the errors of the nodes between are put in, x is written by y, y's equation solved
for x, and sums are taken apart: what a sum does not run over stands before it, and the sum of what is centred is zero. For layer norm
that leaves the three terms of the literature, for softmax s ⊙ (g - Σ g s).

It is algebra of entries: along the axes of x, every tensor is a symbol that remembers which of the axes it has.
"""

from typing import NamedTuple

import sympy as sp

from symbackprop.calculus.differentiate import Adjoints
from symbackprop.calculus.simplify import add, spread_to
from symbackprop.graph.equations import collect, depends_on, tensors_in
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.layout import Reshape, reshape
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.shapes import Shape, rank_of, shape_of, size_of
from symbackprop.graph.tensor import Tensor

Axes = tuple[int, ...]


class Combined(NamedTuple):
    """`expr`: the adjoint of x; `through`: the nodes whose errors were put in; `last`: the node by which x was written."""

    expr: sp.Expr
    through: list[Tensor]
    last: Tensor


def combined(adjoints: Adjoints, users: dict[Tensor, list[Tensor]], x: Tensor) -> Combined | None:
    """The adjoint of x with the ways that meet again combined, where that makes it shorter; else None. `users`: x → the nodes that read
    it on the way to the loss."""
    adjoint = adjoints.of[x]
    if not isinstance(adjoint, Tensor) or adjoint.definition is None or len(users.get(x, [])) < 2:
        return None
    for last in sorted(users[x], key=lambda y: -y.serial):
        between = _between(x, last, adjoints.loss, users)
        if last is adjoints.loss or between.isdisjoint(users[x]):
            continue
        met = between | {last}
        expr, through = add([adjoints.edges[y, x] for y in users[x] if y in met]), list[Tensor]()
        while inner := {t: t.definition for t in tensors_in(expr) if t.adjoint_of and t.adjoint_of[1] in between}:
            through += [t.adjoint_of[1] for t in inner if t.adjoint_of]
            expr = expr.xreplace(inner)
        try:
            short = _Entries(x, last, between).simplified(expr)
        except _NotAlignedError:
            continue
        if sp.count_ops(short) < sp.count_ops(expr):
            rest = [spread_to(adjoints.edges[y, x], x.shape) for y in users[x] if y not in met]
            return Combined(add([short, *rest]), sorted(set(through), key=lambda y: y.serial), last)
    return None


def _between(x: Tensor, last: Tensor, loss: Tensor, users: dict[Tensor, list[Tensor]]) -> set[Tensor]:
    """The nodes that were made of x and act on the loss through `last` alone."""
    tensors = collect([last])
    found = {last}
    for t in reversed(tensors):
        if t is not loss and t in users and found.issuperset(users[t]):
            found.add(t)
    return found & depends_on(tensors, [x]) - {x, last}


class _NotAlignedError(Exception):
    """An expression whose axes are not those of x."""


class _Entries:
    """Expressions along the axes of x as expressions of symbols: `atoms` says which tensor a symbol stands for, and which axes it has."""

    def __init__(self, x: Tensor, last: Tensor, between: set[Tensor]) -> None:
        self.shape: Shape = x.shape
        self.all: Axes = tuple(range(x.rank))
        self.atoms: dict[sp.Symbol, tuple[sp.Expr, Axes]] = {}
        self.symbols: dict[tuple[sp.Expr, Axes], sp.Symbol] = {}
        self.sums: dict[tuple[sp.Expr, Axes], sp.Expr] = {}  # (what is summed, along which axes) → its value, where a node says so
        self.equation: tuple[sp.Symbol, sp.Expr] | None = None
        if last.shape != x.shape or last.definition is None:
            raise _NotAlignedError
        self.z = z = self.atom(x, self.all)
        y, value = self.atom(last, self.all), self.of(last.definition, self.all)
        for node in sorted(between, key=lambda t: t.serial):
            self._learn(node)
        slope = sp.diff(value, z)
        if slope == 0 or z in slope.free_symbols:
            raise _NotAlignedError
        self.equation = (y, value)
        self.solved = {z: (y - value.xreplace({z: sp.S.Zero})) / slope}

    def _learn(self, node: Tensor) -> None:
        """A node that is a multiple of a sum says what the sum is."""
        assert node.definition is not None
        sums = [e for e in node.definition.atoms(Einsum) if len(e.operands) == 1 and rank_of(e.operands[0]) == len(self.shape)]
        if len(sums) != 1:
            return
        summed = sums[0]
        axes = tuple(i for i, c in enumerate(summed.spec[0][0]) if c not in summed.spec[1])
        own = tuple(i for i in self.all if i not in axes)
        total = self.of(summed, own)
        place = self.all if node.rank == len(self.all) else own  # with axes of size one in the place of those summed over, or without
        factor = self.of(node.definition, place) / total
        if total in self.atoms and not factor.free_symbols & self.atoms.keys():
            self.sums[self.of(summed.operands[0], self.all), axes] = self.of(node, place) / factor

    def simplified(self, expr: sp.Expr) -> sp.Expr:
        """The expression of x's shape with x written by the last node, and factored."""
        entry = self.of(expr, self.all)
        return self.built(sp.factor_terms(sp.expand(entry.xreplace(self.solved))))

    # --- tensors → entries ------------------------------------------------------------------------------------------------------

    def of(self, expr: sp.Expr, axes: Axes) -> sp.Expr:
        """An entry of an expression whose axes lie along these axes of x. Raises `_NotAlignedError`."""
        rank = rank_of(expr)
        if rank > len(axes):
            raise _NotAlignedError
        axes = axes[len(axes) - rank :]
        if rank == 0 and not isinstance(expr, (Tensor, Operator)) and not tensors_in(expr):
            return expr
        if isinstance(expr, Tensor):
            return self.atom(expr, axes)
        if isinstance(expr, Broadcast):
            return self.of(expr.operands[0], tuple(axes[a] for a in expr.axes))
        if isinstance(expr, Reshape):
            return self.of(expr.operands[0], _moved(expr, axes))
        if isinstance(expr, Einsum) and len(expr.operands) == 1:
            return self.reduced(expr, axes)
        if isinstance(expr, Operator):
            return self.atom(expr, axes)
        entry = expr.func(*(self.of(a, axes) if isinstance(a, sp.Expr) else a for a in expr.args))
        return self.whole(entry) if isinstance(entry, sp.Pow) else entry

    def whole(self, power: sp.Pow) -> sp.Expr:
        """A power of a sum as a power of one symbol, since products of them shall meet and not be multiplied out."""
        base = power.base
        if not isinstance(base, sp.Add) or self.z in base.free_symbols:
            return power
        axes = tuple(sorted({a for s in base.free_symbols & self.atoms.keys() for a in self.atoms[s][1]}))
        if (base, axes) not in self.symbols:
            self.symbols[base, axes] = symbol = sp.Symbol(f"{base}_{len(self.atoms)}", real=True)
            self.atoms[symbol] = self.built(base), axes
        return self.symbols[base, axes] ** power.exp

    def atom(self, expr: sp.Expr, axes: Axes) -> sp.Symbol:
        shape = shape_of(expr)
        kept = tuple(a for a, size in zip(axes, shape, strict=True) if size != 1)
        if list(kept) != sorted(set(kept)) or any(self.shape[a] != size for a, size in zip(axes, shape, strict=True) if size != 1):
            raise _NotAlignedError
        if (expr, kept) not in self.symbols:
            # Named after what it stands for, so that the terms of sums come in the same order in every run.
            symbol = sp.Symbol(f"{expr}_{len(self.atoms)}", real=True)
            self.symbols[expr, kept] = symbol
            self.atoms[symbol] = expr, kept
        return self.symbols[expr, kept]

    def reduced(self, expr: Einsum, axes: Axes) -> sp.Expr:
        """A sum over axes of what lies along all axes of x."""
        (letters,), out = expr.spec
        (inner,) = expr.operands
        places = {c: i for i, c in enumerate(letters)}
        if rank_of(inner) != len(self.all) or any(places[c] != a for c, a in zip(out, axes, strict=True)):
            raise _NotAlignedError
        entry = self.of(inner, self.all)
        if self.equation is not None:
            entry = entry.xreplace(self.solved)
        return self.sum(entry, tuple(i for c, i in places.items() if c not in out))

    def sum(self, entry: sp.Expr, axes: Axes) -> sp.Expr:
        """The sum along axes: of each term what varies along them, the rest before it."""
        total: sp.Expr = sp.S.Zero
        for term in sp.Add.make_args(sp.expand(entry)):
            varying = [f for f in sp.Mul.make_args(term) if any(set(self.atoms[s][1]) & set(axes) for s in f.free_symbols & self.atoms.keys())]
            rest = sp.Mul(*(f for f in sp.Mul.make_args(term) if f not in varying))
            total += rest * self.total(sp.Mul(*varying), axes)
        return total

    def total(self, product: sp.Expr, axes: Axes) -> sp.Expr:
        if product == 1:
            return sp.sympify(size_of(tuple(self.shape[a] for a in axes)), strict=True)
        if (product, axes) in self.sums:
            return self.sums[product, axes]
        if self.equation is not None and product == self.equation[0]:
            centred = self.sum(self.equation[1], axes)
            if sp.expand(centred) == 0:
                return sp.S.Zero
        present = {a for s in product.free_symbols & self.atoms.keys() for a in self.atoms[s][1]} - set(axes)
        kept = tuple(sorted(present))
        whole = reduce_sum(self.built(product), tuple(a - len(self.all) for a in axes))
        return self.atom(reshape(whole, tuple(self.shape[a] for a in kept)), kept)

    # --- entries → tensors ------------------------------------------------------------------------------------------------------

    def built(self, entry: sp.Expr) -> sp.Expr:
        """The tensor of which this is an entry."""
        table: dict[sp.Basic, sp.Basic] = {}
        for symbol in entry.free_symbols & self.atoms.keys():
            expr, axes = self.atoms[symbol]
            sizes = [self.shape[a] if a in axes else 1 for a in self.all]
            while sizes and sizes[0] == 1 and len(sizes) > len(axes):
                del sizes[0]
            table[symbol] = reshape(expr, tuple(sizes))
        return entry.xreplace(table)


def _moved(expr: Reshape, axes: Axes) -> Axes:
    """The places of the operand's axes, where the reshape only puts in or takes away axes of size one."""
    inner = shape_of(expr.operands[0])
    places = iter([a for a, size in zip(axes, expr.shape, strict=True) if size != 1])
    if [s for s in inner if s != 1] != [s for s in expr.shape if s != 1]:
        raise _NotAlignedError
    spare = iter(a for a, size in zip(axes, expr.shape, strict=True) if size == 1)
    return tuple(next(places) if size != 1 else next(spare, 0) for size in inner)


__all__ = ["Combined", "combined"]
