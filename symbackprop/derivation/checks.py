"""The steps of a derivation held against numbers: values against the generated code, derivatives against slopes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.index import split
from symbackprop.calculus.partial import Partial
from symbackprop.derivation.notation import Index
from symbackprop.derivation.numbers import ENTRIES, EXACT, Check, Reading, Values, agree, compare
from symbackprop.graph.shapes import Shape
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array

ROUNDED = 4 * np.finfo(float).eps / EXACT  # of a term, below which an exact sum of terms that cancel is drowned
ONE = Reading(1.0, True, 0.0)  # ∂C/∂C
CANDIDATES = 30  # entries that are tried until enough of them lie at no kink
PULLED = 200  # entries over which the chain rule of whole tensors is summed by numbers


class Checks:
    """All at one point; a slope is found once."""

    def __init__(self, point: Values) -> None:
        self.point = point
        self._slopes: dict[tuple[Tensor, tuple[int, ...]], Reading] = {}

    def value(self, t: Tensor) -> Check:
        """An equation of the network: its index form against generated code."""
        assert t.definition is not None
        return self._agree(self.point.values[t], t.shape, t.definition)

    def update(self, state: Tensor, expr: sp.Expr) -> Check:
        """What a training step makes of a state: its index form against generated code."""
        return self._agree(self.point.updated[state.name], state.shape, expr)

    def _agree(self, left: Array, shape: Shape, expr: sp.Expr) -> Check:
        """Values that generated code found, and what the index form is worth. What seems wrong may be what is left of terms that cancel."""
        right = self.point.right(expr, None)
        pairs = [(float(left[place]), float(right[place])) for place in self.point.entries(shape)]
        check = agree(pairs, "the generated code")
        if not check.ok:
            check = agree(pairs, "the generated code", self.floor(expr, None, EXACT))
        return self._inside(check, [value for _, value in pairs], expr, None)

    def partial(self, partial: Partial, value: sp.Expr) -> Check:
        """∂y/∂x of one equation alone, at entries that the free indices choose at random."""
        (y, place), (x, index) = map(split, partial.args[:2])
        sizes = self._sizes(y, place) | self._sizes(x, index)  # a letter that both share runs as far as x does: y may hold more beside it
        right = self.point.right(value, sizes)

        def pair(chosen: tuple[int, ...]) -> tuple[Reading, float]:
            where = dict(zip(sizes, chosen, strict=True))
            return self.point.partial_slope(y, _put(place, where), x, _put(index, where)), float(right[chosen])

        return self._compare(self._smooth(pair, tuple(sizes.values())), value, sizes)

    def gradient(self, x: Tensor, index: Index | None, expr: sp.Expr, value: Callable[..., Reading] | None = None) -> Check:
        """∂C/∂x at random entries: of an expression with free indices `index`, of a whole tensor (None), or as `value` computes it."""
        sizes = None if index is None else self._sizes(x, index)
        array = self.point.right(expr, sizes) if value is None else np.array(0.0)

        def pair(place: tuple[int, ...]) -> tuple[Reading, float]:
            where = dict(zip(index or (), place, strict=False))
            full = place if index is None or sizes is None else _put(index, where)
            slope = self.slope(x, full)
            if value is None:
                return slope, float(array[full if sizes is None else tuple(where[letter] for letter in sizes)])
            total = value(*full)
            floor, kink = max(slope.floor, total.floor), slope.kink or total.kink
            return Reading(slope.value, slope.exact and total.exact, floor, kink), total.value

        return self._compare(self._smooth(pair, x.shape if sizes != {} else ()), expr, sizes)

    def _smooth(self, pair: Callable[[tuple[int, ...]], tuple[Reading, float]], shape: Shape) -> list[tuple[Reading, float]]:
        """A slope and the right side beside it at some entries, others in the place of those at kinks."""
        pairs: list[tuple[Reading, float]] = []
        for place in self.point.entries(shape, CANDIDATES):
            pairs.append(pair(place))
            if sum(not slope.kink for slope, _ in pairs) == ENTRIES:
                break
        return pairs

    def _compare(self, pairs: list[tuple[Reading, float]], expr: sp.Expr, sizes: Mapping[sp.Symbol, int] | None) -> Check:
        """What seems wrong may be what is left of terms that cancel."""
        check = compare(pairs)
        if not check.ok:
            floor = self.floor(expr, sizes, check.tolerance)
            check = compare([(left._replace(floor=max(left.floor, floor)), right) for left, right in pairs])
        return self._inside(check, [right for _, right in pairs], expr, sizes)

    def _inside(self, check: Check, rights: Sequence[float], expr: sp.Expr, sizes: Mapping[sp.Symbol, int] | None) -> Check:
        """A right side that left the range of numbers says nothing; one that reads outside a tensor is wrong."""
        return replace(check, error=math.inf, unchecked="") if any(map(math.isnan, rights)) and self.point.reads_outside(expr, sizes) else check

    def floor(self, expr: sp.Expr, sizes: Mapping[sp.Symbol, int] | None, tolerance: float) -> float:
        """The size below which the rounding of a right side drowns it."""
        moved = float(self.point.rounding(expr, sizes).max(initial=0.0))
        return 2 * moved / tolerance if np.isfinite(moved) else 0.0

    def pulled(self, x: Tensor, users: Sequence[Tensor], loss: Tensor) -> Callable[..., Reading] | None:
        """The chain rule by numbers: Σ ∂C/∂y ∂y/∂x over all entries of every y, both slopes found without the derivation. None where there
        are too many."""
        values = self.point.values
        if sum(int(values[y].size) for y in users) > PULLED:
            return None

        def value(*index: int) -> Reading:
            total, exact, floor, kink = 0.0, True, 0.0, False
            for y in users:
                for place in np.ndindex(values[y].shape):
                    partial = self.point.partial_slope(y, place, x, index)
                    if not partial.value and not partial.kink:
                        continue
                    before = self.slope(y, place) if y is not loss else ONE
                    term = before.value * partial.value
                    total, exact, kink = total + term, exact and before.exact and partial.exact, kink or before.kink or partial.kink
                    floor += abs(before.value) * partial.floor + abs(partial.value) * before.floor + ROUNDED * abs(term)
            return Reading(total, exact, floor, kink)

        return value

    def slope(self, x: Tensor, index: tuple[int, ...]) -> Reading:
        if (x, index) not in self._slopes:
            self._slopes[x, index] = self.point.gradient_slope(x, index)
        return self._slopes[x, index]

    def _sizes(self, x: Tensor, index: Index) -> dict[sp.Symbol, int]:
        """How far the free indices of an entry run."""
        return {i: n for i, n in zip(index, self.point.shape(x.shape), strict=True) if isinstance(i, sp.Symbol)}


def _put(index: Index, where: Mapping[Any, int]) -> tuple[int, ...]:
    return tuple(where[i] if isinstance(i, sp.Symbol) else int(i) for i in index)


__all__ = ["Checks"]
