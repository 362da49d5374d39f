r"""Sliding windows over the last axes of a tensor, and the adding back of what overlaps. A convolution is a window and a contraction,
a pooling a window and a reduction. Each of the two operators is the other's transpose, so the pair is closed under differentiation.

Sources: Chellapilla, Puri & Simard, "High Performance Convolutional Neural Networks for Document Processing" (2006), section 3 (convolution
as windows and a matrix product); Dumoulin & Visin, "A guide to convolution arithmetic for deep learning" (2016), relationships 1 to 6 (sizes)
and section 4 (the transposed convolution); Goodfellow, Bengio & Courville, Deep Learning, section 9.5, equations 9.11 to 9.13.
"""

import itertools
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import (
    CodePrinter,
    Convolution,
    Index,
    IndexContext,
    IndexSum,
    LatexPrinter,
    Operator,
    Printer,
    ints,
    operand,
    plain_shape,
    shape_code,
)
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.shapes import Dimension, Shape, rank_of, shape_of, show, split_scalars

Sizes = tuple[int, ...]


def positions(length: Dimension, size: int, stride: int, dilation: int) -> Dimension:
    """How many windows fit into a length: (length - dilation (size - 1) - 1) // stride + 1."""
    room = length - dilation * (size - 1)
    count = room if stride == 1 else sp.floor(sp.sympify(room - 1, strict=True) / stride) + 1
    return int(count) if getattr(count, "is_Integer", True) else count


class Sliding(Operator):
    """What the two operators share: parameters (sizes or lengths, strides, dilations), one number for each of the last axes."""

    n_parameters = 3

    @cached_property
    def strides(self) -> Sizes:
        return tuple(map(int, self.args[1]))

    @cached_property
    def dilations(self) -> Sizes:
        return tuple(map(int, self.args[2]))

    @property
    def axes(self) -> int:
        """Over how many axes the window slides."""
        return len(self.args[1])

    def _numbers(self, p: Printer) -> str:
        """Strides and dilations as code: the ones that are 1 everywhere are left out, if nothing follows."""
        both = [shape_code(self.args[1], p), shape_code(self.args[2], p)]
        while both and set((self.strides, self.dilations)[len(both) - 1]) == {1}:
            both.pop()
        return "".join(f", {text}" for text in both)


class Window(Sliding):
    """Entry [.., p.., i..] is x[.., stride i + dilation p..]: of every position i the window of the given size, offsets before positions, so
    that a sum over offsets leaves an image."""

    title = "the windows"

    @cached_property
    def sizes(self) -> Sizes:
        return tuple(map(int, self.args[0]))

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) + self.axes

    def infer_shape(self) -> Shape:
        (x,) = self.operands
        shape, n = shape_of(x), self.axes
        counts = tuple(map(positions, shape[-n:], self.sizes, self.strides, self.dilations))
        for length, size, dilation, count in zip(shape[-n:], self.sizes, self.dilations, counts, strict=True):
            if isinstance(count, int) and count < 1:
                spread = f" spread over {dilation * (size - 1) + 1}" if dilation > 1 else ""
                raise ShapeError(
                    f"windows of size {size}{spread} do not fit into {x} of shape {show(shape)}: one of its last axes has only {length}; "
                    "pad it, or take a smaller window"
                )
        return (*shape[:-n], *self.sizes, *counts)

    def options(self) -> Iterable[str]:
        return [show(self.sizes), *_steps(self.strides, self.dilations)]

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [fold(adjoint, shape_of(self.operands[0])[-self.axes :], self.strides, self.dilations)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        n, lead = self.axes, self.rank - 2 * self.axes
        places = [s * i + d * p for p, i, s, d in zip(index[lead : lead + n], index[lead + n :], self.strides, self.dilations, strict=True)]
        return context.entry(self.operands[0], (*index[:lead], *places))

    def latex_form(self, p: LatexPrinter) -> str:
        return p.call(rf"\operatorname{{windows}}_{{{times(self.sizes)}}}", *self.operands)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_windows')}({p.plain(self.operands[0])}, {shape_code(self.args[0], p)}{self._numbers(p)})"

    def contracted(self, contraction: Einsum) -> Convolution | None:
        """A sum over the offsets of x's windows, weighted by a kernel, is the cross-correlation x ⋆ k; over the positions, weighted by an image,
        it is that of x with the image, whose entries then lie a stride apart."""
        if len(contraction.operands) != 2:
            return None
        at = contraction.operands.index(self)
        own, other = contraction.spec[0][at], contraction.spec[0][1 - at]
        n, out = self.axes, contraction.spec[1]
        offsets, places = set(own[-2 * n : -n]), set(own[-n:])
        operands = (self.operands[0], contraction.operands[1 - at])
        if offsets <= set(other) - set(out) and places <= set(out) - set(other):
            return _convolution("the cross-correlation", r"\star", operands, "correlate", self.strides, self.dilations)
        if places <= set(other) - set(out) and offsets <= set(out) - set(other):
            return _convolution("the cross-correlation", r"\star", operands, "correlate", self.dilations, self.strides)
        return None


class Fold(Sliding):
    """What stands in windows, added back to where it came from: entry [.., j..] is the sum of w[.., p.., i..] over all p and i with
    j = stride i + dilation p. The pullback of `Window`."""

    @property
    def lengths(self) -> Shape:
        return plain_shape(self.args[0])

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0]) - self.axes

    @property
    def title(self) -> str:  # type: ignore[override]
        return self.convolved.title if self.convolved else "the sum of overlapping windows"

    def infer_shape(self) -> Shape:
        shape = shape_of(self.operands[0])
        return (*shape[: len(shape) - 2 * self.axes], *self.lengths)

    def options(self) -> Iterable[str]:
        return [show(self.lengths), *_steps(self.strides, self.dilations)]

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        n = self.axes
        return [window(adjoint, shape_of(self.operands[0])[-2 * n : -n], self.strides, self.dilations)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        """The sum over the offsets p; the position follows, where there is one. Where windows do not overlap, both follow."""
        (w,) = self.operands
        n, shape = self.axes, shape_of(w)
        offsets, places, limits, conditions = [], [], [], []
        for axis in range(-n, 0):
            j, size, count, s, d = index[axis], shape[axis - n], shape[axis], self.strides[axis], self.dilations[axis]
            if size == 1 or (size <= s and d == 1):
                p, i = sp.Mod(j, s), sp.floor(j / s)
                conditions += [p < size] * (size < s) + [i < count] * (s * count != self.lengths[axis])
            else:
                p = context.fresh(size)
                i = (j - d * p) / s
                limits.append((p, 0, size - 1))
                conditions += [j - d * p >= 0, j - d * p < s * count] + [sp.Eq(sp.Mod(j - d * p, s), 0)] * (s != 1)
            offsets.append(p)
            places.append(i)
        entry = context.entry(w, (*index[: self.rank - n], *offsets, *places))
        body = sp.Piecewise((entry, sp.And(*conditions)), (0, True)) if conditions else entry
        return IndexSum(body, *limits) if limits else body

    @cached_property
    def convolved(self) -> Convolution | None:  # type: ignore[override]
        """Every entry of an image times every one of a kernel, folded, is the full convolution of the image with the kernel."""
        (w,) = self.operands
        if not isinstance(w, Einsum) or len(w.operands) != 2:
            return None
        n, (ins, out) = self.axes, w.spec
        offsets, places = set(out[-2 * n : -n]), set(out[-n:])
        for image, kernel in ((0, 1), (1, 0)):
            if places <= set(ins[image]) - set(ins[kernel]) and offsets <= set(ins[kernel]) - set(ins[image]):
                operands = (w.operands[image], w.operands[kernel])
                return _convolution("the full convolution", r"\ast", operands, "convolve", self.strides, self.dilations)
        return None

    @property
    def is_juxtaposed(self) -> bool:  # type: ignore[override]
        return self.convolved is not None

    def latex_form(self, p: LatexPrinter) -> str:
        if self.convolved:
            return f" {self.convolved.sign} ".join(map(p.factor, self.convolved.operands))
        return p.call(rf"\operatorname{{fold}}_{{{times(self.lengths)}}}", *self.operands)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_fold')}({p.plain(self.operands[0])}, {shape_code(self.lengths, p)}{self._numbers(p)})"


def times(sizes: Sequence[Any]) -> str:
    return r" \times ".join(map(str, sizes))


def _convolution(title: str, sign: str, operands: tuple[sp.Expr, sp.Expr], word: str, strides: Sizes, dilations: Sizes) -> Convolution:
    return Convolution(title, _sign(sign, strides, dilations), operands, word, _steps(strides, dilations))


def _steps(strides: Sizes, dilations: Sizes) -> tuple[str, ...]:
    """Strides and dilations as arguments, where they are not 1."""
    found = {"stride": strides, "dilation": dilations}
    return tuple(f"{name}={numbers[0] if len(set(numbers)) == 1 else show(numbers)}" for name, numbers in found.items() if set(numbers) != {1})


def _sign(sign: str, strides: Sizes, dilations: Sizes) -> str:
    """The sign, with what is not 1 below it: the stride first, then, after a bar, how far the kernel's entries lie apart."""
    below = times(strides[:1] if len(set(strides)) == 1 else strides) if set(strides) != {1} else ""
    apart = times(dilations[:1] if len(set(dilations)) == 1 else dilations) if set(dilations) != {1} else ""
    below = f"{below or 1} | {apart}" if apart else below
    return f"{sign}_{{{below}}}" if below else sign


# --- construction --------------------------------------------------------------------------------------------------------


def window(x: Any, sizes: Any, stride: Any = 1, dilation: Any = 1) -> sp.Expr:
    """Sliding windows over the last axes of `x`, as many as there are `sizes`: (.., lengths..) → (.., sizes.., positions..), where entry
    [.., p.., i..] is x[.., stride i + dilation p..]. An axis of `length` has (length - dilation (size - 1) - 1) // stride + 1 positions.

    `sizes`, `stride` and `dilation` are positive integers or tuples of them. Raises `ShapeError` where they are not, or where no window fits.
    """
    x = operand(x, "window")
    sizes = tuple(sizes) if isinstance(sizes, Sequence) and not isinstance(sizes, str) else (sizes,)
    where = f"window({x}, {show(sizes)})"
    if not 0 < len(sizes) <= rank_of(x):
        raise ShapeError(f"{where}: {len(sizes)} sizes for {x} of shape {show(shape_of(x))}; give one for each axis that the window slides over")
    n = len(sizes)
    coefficient, x = split_scalars(x)
    parameters = (whole(sizes, n, f"{where}: the size"), whole(stride, n, f"{where}: the stride"), whole(dilation, n, f"{where}: the dilation"))
    made = Window(*map(ints, parameters), x)
    assert made.shape  # raises where no window fits
    return coefficient * made


def fold(w: Any, lengths: Sequence[Dimension], stride: Any = 1, dilation: Any = 1) -> sp.Expr:
    """The transpose of `window`: (.., sizes.., positions..) → (.., lengths..), overlapping entries added."""
    w = operand(w, "fold")
    n = len(lengths)
    coefficient, w = split_scalars(w)
    return coefficient * Fold(ints(lengths), ints(whole(stride, n, "fold: the stride")), ints(whole(dilation, n, "fold: the dilation")), w)


def whole(value: Any, n: int, what: str) -> Sizes:
    """One positive integer for each of n axes, from one for all or a sequence."""
    numbers = tuple(itertools.repeat(value, n)) if isinstance(value, (int, sp.Integer)) else tuple(value) if isinstance(value, Sequence) else ()
    if len(numbers) != n or any(isinstance(k, bool) or not isinstance(k, (int, sp.Integer)) or k < 1 for k in numbers):
        raise ShapeError(f"{what} is {value!r}; expected a positive integer" + (f", or {n} of them" if n > 1 else ""))
    return tuple(map(int, numbers))
