"""Contractions of many tensors in an order that is fast, and each product of two as one call of NumPy: a product entry by entry, or one
of matrices.

Source: the order of products by dynamic programming over subsets, as for matrix chains (Cormen et al., Introduction to Algorithms,
section 14.2); Laue, Mitterreiter & Giesen, AAAI 2020, section 3, on why the order matters for derivatives.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator, Printer
from symbackprop.graph.operators.contraction import Einsum, Eye, contract
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.pairs import Pair
from symbackprop.graph.shapes import shape_of, split_scalars
from symbackprop.graph.tensor import Equation, Tensor

OPEN = 256  # what a dimension without a number is taken for
EXACT = 9  # operands up to which every order is looked at
# About nanoseconds, as ratios: an entry written, a multiplication in a product of matrices, in one of many small matrices, in a plain loop.
WRITTEN, PRODUCT, BATCHED, LOOP = 1.0, 0.05, 0.2, 1.0


def planned(equations: Sequence[Equation], name: Namer) -> list[Equation]:
    """The same equations, with every contraction of more than two tensors as named products of two. A scalar in front of a product goes to
    its smallest tensor. Identities stay beside the product that stands on their diagonal."""
    planner = _Planner(name)
    for symbol, expr in equations:
        planner.equations.append(Equation(symbol, planner.rewritten(expr)))
    return planner.equations


@dataclass
class _Planner:
    name: Namer
    equations: list[Equation] = field(default_factory=list)
    named: dict[sp.Expr, Tensor] = field(default_factory=dict)

    def called(self, expr: sp.Expr) -> Tensor:
        if isinstance(expr, Tensor):
            return expr
        if expr not in self.named:
            self.named[expr] = made = Tensor(self.name(f"P_{len(self.named) + 1}"), shape_of(expr), "node", expr)
            self.equations.append(Equation(made, expr))
        return self.named[expr]

    def rewritten(self, expr: sp.Expr) -> sp.Expr:
        if not expr.has(Einsum):
            return expr
        scalar, rest = split_scalars(expr) if isinstance(expr, sp.Mul) else (sp.S.One, expr)
        if isinstance(rest, Einsum):
            return self.product(rest, self.rewritten(scalar))
        return expr.func(*(self.rewritten(a) if isinstance(a, sp.Expr) else a for a in expr.args))

    def product(self, e: Einsum, scalar: sp.Expr) -> sp.Expr:
        ins, out = e.spec
        sizes = _sizes(e)
        operands = [(letters, self.rewritten(x)) for letters, x in zip(ins, e.operands, strict=True)]
        eyes = [(letters, x) for letters, x in operands if isinstance(x, Eye) and set(letters) <= set(out)]
        rest = [o for o in operands if o not in eyes]
        kept = {c for letters, _ in rest for c in letters} & set(out) if eyes else set(out)
        kept |= {c for letters, _ in rest for c in letters for eye, _ in eyes if c in eye}
        # What stands on a diagonal has its axes in the order in which the diagonal has them.
        place = {c: out.index(c) for c in out} | {c: min(map(out.index, eye)) for eye, _ in eyes for c in eye}
        inner = "".join(sorted(kept, key=lambda c: place[c]))
        if len(rest) > 1:
            rest = [self._alone(letters, x, kept.union(*(s for s, _ in rest[:k] + rest[k + 1 :]))) for k, (letters, x) in enumerate(rest)]
            smallest = min(range(len(rest)), key=lambda k: math.prod(sizes[c] for c in rest[k][0]))
            if scalar not in (1, -1) and math.prod(sizes[c] for c in rest[smallest][0]) < math.prod(sizes[c] for c in inner):
                letters, x = rest[smallest]
                rest[smallest], scalar = (letters, self.called(scalar * x)), sp.S.One
            rest.sort(key=lambda o: [place[c] for c in o[0] if c in kept])  # of two equally wide, the axes of the first come first
            pair = _best(rest, kept, sizes)
            total = self._built(pair, inner)
            if not eyes:
                return scalar * total
            rest = [(inner, total)]
        if eyes and rest:
            letters, x = rest[0]
            own = "".join(c for c in letters if c in kept)
            rest = [(own, self.called(contract([letters], own, [x])))]
        if eyes or any(a is not b for (_, a), b in zip(operands, e.operands, strict=True)):
            both = [*eyes, *rest]
            return scalar * contract([s for s, _ in both], out, [x for _, x in both])
        return scalar * e

    def _alone(self, letters: str, x: sp.Expr, needed: set[str]) -> tuple[str, sp.Expr]:
        """An operand summed over the indices that nothing else has."""
        own = "".join(c for c in letters if c in needed)
        return (letters, x) if own == letters else (own, self.called(contract([letters], own, [x])))

    def _built(self, tree: Any, out: str) -> sp.Expr:
        """The expression of a tree of products; all but the last have names."""
        if isinstance(tree[1], sp.Expr):
            letters, x = tree
            return x if letters == out else contract([letters], out, [x])
        parts = []
        for branch in tree[1]:
            letters = branch[0]
            parts.append((letters, branch[1] if isinstance(branch[1], sp.Expr) else self.called(self._built(branch, letters))))
        return contract([s for s, _ in parts], out, [x for _, x in parts])


def _sizes(e: Einsum) -> dict[str, float]:
    def number(size: Any) -> float:
        return float(size if isinstance(size, int) else size.xreplace(dict.fromkeys(size.free_symbols, sp.Integer(OPEN))))

    return {c: number(size) for c, size in e.sizes().items()}


# --- the order of products -----------------------------------------------------------------------------------------------


def _best(operands: Sequence[tuple[str, sp.Expr]], out: set[str], sizes: dict[str, float]) -> Any:
    """The cheapest tree of products: (letters, expression) or (letters, (tree, tree))."""
    leaves: list[Any] = list(operands)
    while len(leaves) > EXACT:  # join the pair with the smallest result first
        pairs = [(a, b) for i, a in enumerate(leaves) for b in leaves[i + 1 :]]
        joined = [(_join(a, b, [x for x in leaves if x is not a and x is not b], out), a, b) for a, b in pairs]
        tree, a, b = min(joined, key=lambda t: math.prod(sizes[c] for c in t[0][0]))
        leaves = [x for x in leaves if x is not a and x is not b] + [tree]
    count = len(leaves)
    best: dict[int, tuple[float, Any]] = {1 << k: (0.0, leaf) for k, leaf in enumerate(leaves)}
    for subset in sorted(range(1, 1 << count), key=int.bit_count):
        if subset in best:
            continue
        others = [leaf for k, leaf in enumerate(leaves) if not subset >> k & 1]
        part = (subset - 1) & subset
        while part:
            rest = subset ^ part
            if part > rest:
                (cost_a, a), (cost_b, b) = best[part], best[rest]
                tree = _join(b, a, others, out)
                cost = cost_a + cost_b + _cost(a[0], b[0], tree[0], sizes)
                if subset not in best or cost < best[subset][0]:
                    best[subset] = cost, tree
            part = (part - 1) & subset
    return best[(1 << count) - 1][1]


def _join(a: Any, b: Any, others: Sequence[Any], out: set[str]) -> Any:
    """The product of two, its axes in the order of the larger one, so that no entry is moved; where nothing is summed a matrix product of
    many small matrices has its common axes first."""
    needed = out.union(*(x[0] for x in others))
    wide, narrow = (a, b) if len(a[0]) >= len(b[0]) else (b, a)
    shared = set(wide[0]) & set(narrow[0])
    common = [c for c in wide[0] if c in shared and c in needed] if shared - needed else []
    letters = [*common, *(c for c in wide[0] if c in needed and c not in common), *(c for c in narrow[0] if c in needed and c not in wide[0])]
    return "".join(letters), (wide, narrow)


def _cost(a: str, b: str, out: str, sizes: dict[str, float]) -> float:
    work = math.prod(sizes[c] for c in set(a) | set(b))
    written = math.prod(sizes[c] for c in out)
    shared = set(a) & set(b)
    if not shared - set(out):
        return WRITTEN * work
    free = set(a) - shared and set(b) - shared
    return WRITTEN * written + (LOOP if not free and shared & set(out) else BATCHED if shared & set(out) else PRODUCT) * work


# --- NumPy ---------------------------------------------------------------------------------------------------------------


def pair_code(e: Einsum, p: Printer) -> str | None:
    """A product of two tensors as NumPy computes it fastest, or None where it has another form already."""
    pair = e.pair
    if pair is None or (e.matmul is not None and not e.matmul.lead) or any(isinstance(x, Eye) for x in e.operands):
        return None
    if not (pair.inner and pair.is_ordered):  # the operands as they are given, which is mostly the larger first
        pair = pair if pair.operands == (0, 1) else pair.swapped
        pair = pair.swapped if pair.inner and pair.columns and pair.out.startswith(pair.columns) else pair
    x, y = (e.operands[i] for i in pair.operands)
    if not pair.inner:
        return f"{_spread(x, pair.left, pair.out, p)} * {_spread(y, pair.right, pair.out, p)}"
    if not pair.batch:
        return _tensordot(pair, x, y, p)
    if len(pair.rows) == len(pair.inner) == len(pair.columns) == 1:
        left = _turned(p.atom(x), pair.left, pair.batch + pair.rows + pair.inner)
        right = _turned(p.atom(y), pair.right, pair.batch + pair.inner + pair.columns)
        product = f"{left} @ {right}"
        return product if pair.is_ordered else _turned(f"({product})", pair.batch + pair.rows + pair.columns, pair.out)
    return None


def _turned(text: str, order: str, wanted: str) -> str:
    """An array with its axes in another order."""
    return text if order == wanted else f"{text}.transpose({', '.join(str(order.index(c)) for c in wanted)})"


def _spread(x: sp.Expr, letters: str, out: str, p: Printer) -> str:
    """An operand with its axes in the order of the result's, and new ones where it has none."""
    own = "".join(c for c in out if c in letters)
    text = _turned(p.atom(x), letters, own) if len(own) != 2 or own == letters else f"{p.atom(x)}.T"
    marks = [":" if c in letters else "None" for c in out]
    while marks and marks[0] == "None":
        marks.pop(0)
    if "None" not in marks:
        return text if text != p.atom(x) else p.factor(x)
    return f"{text}[{', '.join(marks)}]"


def _tensordot(pair: Pair, x: sp.Expr, y: sp.Expr, p: Printer) -> str:
    left, right = pair.inner_axes
    axes = f"({left[0]}, {right[0]})" if len(left) == 1 else f"({list(left)}, {list(right)})"
    return _turned(f"np.tensordot({p.plain(x)}, {p.plain(y)}, {axes})", pair.rows + pair.columns, pair.out)


def is_new_array(expr: sp.Expr) -> bool:
    """Whether computing the expression makes an array that nothing else holds."""
    if isinstance(expr, Einsum):
        return len(expr.operands) > 1 or len(expr.spec[1]) < len(expr.spec[0][0])
    return not isinstance(expr, (Operator, Tensor)) and bool(expr.free_symbols)


def on_diagonals(term: sp.Expr) -> tuple[str, str, sp.Expr] | None:
    """A term with identities as (the einsum that reads their diagonal from the whole, the same as indices, what stands there); None for a term without."""
    scalar, rest = split_scalars(term)
    if not isinstance(rest, Einsum) or not any(isinstance(x, Eye) for x in rest.operands):
        return None
    ins, out = rest.spec
    same: dict[str, str] = {}
    core: list[tuple[str, sp.Expr]] = []
    for letters, x in zip(ins, rest.operands, strict=True):
        if isinstance(x, Eye) and set(letters) <= set(out):
            a, b = (same.get(c, c) for c in letters)
            same = {c: b if same.get(c, c) == a else same.get(c, c) for c in out}
        else:
            core.append((letters, x))
    if len(core) > 1:
        return None
    whole = "".join(same.get(c, c) for c in out)
    kept = "".join(dict.fromkeys(whole))
    if not core:
        return whole, kept, scalar
    letters, x = core[0]
    own = "".join(same.get(c, c) for c in letters)
    if len(set(own)) != len(own) or not set(own) <= set(kept):
        return None
    inside = "".join(c for c in kept if c in own)
    value = contract([own], inside, [x])
    return whole, kept, scalar * value if inside == kept else scalar * _with_unit_axes(value, inside, kept)


def _with_unit_axes(value: sp.Expr, inside: str, kept: str) -> sp.Expr:
    sizes = dict(zip(inside, shape_of(value), strict=True))
    return reshape(value, tuple(sizes.get(c, 1) for c in kept[kept.index(inside[0]) :])) if inside else value


__all__ = ["is_new_array", "on_diagonals", "pair_code", "planned"]
