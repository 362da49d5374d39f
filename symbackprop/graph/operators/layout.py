"""Operators that move entries without computing: reshape, concatenate, slice, and pad (the slice's pullback)."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import (
    CodePrinter,
    Index,
    IndexContext,
    LatexPrinter,
    Operator,
    Printer,
    Text,
    ints,
    normal_axes,
    operand,
    plain_shape,
    shape_code,
)
from symbackprop.graph.operators.contraction import Broadcast, broadcast_in
from symbackprop.graph.shapes import Dimension, Shape, as_shape, rank_of, shape_of, show, size_of, split_scalars


class Reshape(Operator):
    """The same entries in C order under another shape."""

    title = "the reshaping"
    n_parameters = 1

    def infer_shape(self) -> Shape:
        shape, old = plain_shape(self.args[0]), shape_of(self.operands[0])
        if sp.simplify(size_of(shape) - size_of(old)) != 0:
            raise ShapeError(
                f"reshape: {self.operands[0]} has shape {show(old)} with {size_of(old)} entries, "
                f"but shape {show(shape)} has {size_of(shape)}; they must be equal"
            )
        return shape

    @property
    def rank(self) -> int:
        return len(self.args[0])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [reshape(adjoint, shape_of(self.operands[0]))]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        (x,) = self.operands
        places = iter(index)
        result: list[Any] = []
        for old, new in _runs(shape_of(x), self.shape):
            flat: Any = sp.S.Zero
            for s, i in zip(new, places, strict=False):
                flat = flat * s + i if s != 1 else flat
            result += _unravelled(flat, old)
        return context.entry(x, tuple(result))

    def moves_unit_axes(self) -> bool:
        """Whether only unit axes come or go."""
        return [s for s in shape_of(self.operands[0]) if s != 1] == [s for s in self.shape if s != 1]

    def new_axes(self) -> tuple[int, ...] | None:
        """The places of the unit axes that were put in, if nothing else was done; None otherwise."""
        old, new = list(shape_of(self.operands[0])), list(self.shape)
        added = []
        for position, size in enumerate(new):
            if old and old[0] == size:
                old.pop(0)
            elif size == 1:
                added.append(position - len(new))
            else:
                return None
        return None if old else tuple(added)

    def _indexed(self, x: "Slice", p: CodePrinter) -> str | None:
        """A slice of length one whose axis goes is an index: `x[:, 0]`; None where the reshape does more than that."""
        left, texts = list(self.shape), []
        for cut, size, length in zip(x.args[0], shape_of(x.operands[0]), x.shape, strict=True):
            if left and left[0] == length:
                left.pop(0)
                texts.append(cuts_code([cut], (size,), p))
            elif length == 1:
                texts.append(p.plain(cut[0]))
            else:
                return None
        while texts and texts[-1] == ":":
            texts.pop()
        return None if left or not texts else f"{p.atom(x.operands[0])}[{', '.join(texts)}]"

    def latex_form(self, p: LatexPrinter) -> str:
        (x,) = self.operands
        if self.moves_unit_axes():
            return p.plain(x)  # a unit axis is how code broadcasts; on paper the vector is the same
        sizes = r" \times ".join(p.plain(sp.sympify(s, strict=True)) for s in self.shape)
        return p.call(rf"\operatorname{{reshape}}_{{{sizes}}}", x)

    def numpy_form(self, p: CodePrinter) -> str:
        (x,) = self.operands
        added = self.new_axes()
        if added:
            return f"np.expand_dims({p.plain(x)}, {added[0] if len(added) == 1 else added})"
        if isinstance(x, Slice) and (entry := self._indexed(x, p)):
            return entry
        return f"np.reshape({p.plain(x)}, {shape_code(self.shape, p)})"


def _runs(old: Shape, new: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Two shapes of as many entries, cut into runs of axes that hold as many entries each: only within a run are entries counted through."""
    i = j = 0
    while i < len(old) or j < len(new):
        start = i, j
        i, j = min(i + 1, len(old)), min(j + 1, len(new))
        while (ratio := sp.sympify(size_of(old[start[0] : i]), strict=True) / size_of(new[start[1] : j])) != 1:
            if ratio.is_Rational and ratio > 1 and j < len(new):
                j += 1
            elif ratio.is_Rational and ratio < 1 and i < len(old):
                i += 1
            else:  # open sizes, which only the whole shapes are known to share
                i, j = len(old), len(new)
                break
        yield old[start[0] : i], new[start[1] : j]


def _unravelled(flat: Any, shape: Shape) -> list[Any]:
    """The index of the entry number `flat` in C order."""
    sizes = [s for s in shape if s != 1]
    places = []
    for k, s in enumerate(sizes):
        behind = size_of(tuple(sizes[k + 1 :]))
        whole = sp.floor(flat / behind) if behind != 1 else flat
        places.append(sp.Mod(whole, s) if k else whole)
    rest = iter(places)
    return [sp.S.Zero if s == 1 else next(rest) for s in shape]


def reshape(x: Any, shape: Any) -> sp.Expr:
    """`x` under another shape with as many entries, in C order; one size may be -1, as in `numpy.reshape`.

    Raises `ShapeError` where the numbers of entries differ (reported when the equation is named).
    """
    x = operand(x, "reshape")
    sizes = (shape,) if isinstance(shape, (int, str)) else tuple(shape)
    if sum(s == -1 for s in sizes) > 1:
        raise ShapeError(f"reshape({x}, {show(sizes)}): at most one size may be -1")
    if -1 in sizes:
        rest = as_shape([s for s in sizes if s != -1])
        missing = sp.cancel(size_of(shape_of(x)) / size_of(rest))
        if missing.is_integer is not True:
            raise ShapeError(f"reshape({x}, {show(sizes)}): {size_of(shape_of(x))} entries cannot be divided into {show(rest)}")
        sizes = tuple(missing if s == -1 else s for s in sizes)
    target = as_shape(sizes)
    while isinstance(x, Reshape):
        x = x.operands[0]
    if rank_of(x) == len(target) and shape_of(x) == target:
        return x
    if not rank_of(x) and all(s == 1 for s in target):
        return broadcast_in(x, target, [])  # which products leave to broadcasting
    coefficient, rest = split_scalars(x)
    if isinstance(rest, Broadcast) and not rank_of(rest.operands[0]):
        return coefficient * Broadcast(ints(target), ints(()), *rest.operands)
    return coefficient * Reshape(ints(target), rest)


def expand_axes(x: sp.Expr, axes: Sequence[int], rank: int) -> sp.Expr:
    """Put unit axes at the (negative) places `axes` of a result with `rank` axes."""
    sizes = iter(shape_of(x))
    return reshape(x, tuple(1 if i - rank in axes else next(sizes) for i in range(rank)))


def broadcast_to(x: Any, shape: Any) -> sp.Expr:
    """`x` repeated along new axes, and along those of size 1, until it has this shape, as `numpy.broadcast_to`: `broadcast_to(0, ("n", 4))` holds
    zeros. Raises `ShapeError` where the shapes do not fit."""
    x, shape = operand(x, "broadcast_to"), as_shape(shape)
    own, lead = shape_of(x), len(shape) - rank_of(x)
    if lead < 0 or any(size not in (1, wanted) for size, wanted in zip(own, shape[max(lead, 0) :], strict=False)):
        raise ShapeError(f"broadcast_to({x}, {show(shape)}): x has shape {show(own)}; its sizes must be 1 or those of the last axes of {show(shape)}")
    kept = [i for i, size in enumerate(own) if size == shape[lead + i]]
    return x if own == shape else broadcast_in(reshape(x, tuple(own[i] for i in kept)), shape, [lead + i for i in kept])


class Concatenate(Operator):
    """Operands one after the other along one (negative) axis."""

    title = "the concatenation"
    n_parameters = 1

    @property
    def axis(self) -> int:
        return int(self.args[0])

    @property
    def rank(self) -> int:
        return rank_of(self.operands[0])

    def infer_shape(self) -> Shape:
        shapes = [shape_of(x) for x in self.operands]
        at = self.axis + len(shapes[0])
        for x, s in zip(self.operands, shapes, strict=True):
            if len(s) != len(shapes[0]) or s[:at] + s[at + 1 :] != shapes[0][:at] + shapes[0][at + 1 :]:
                raise ShapeError(
                    f"concatenate: {self.operands[0]} has shape {show(shapes[0])} and {x} has shape {show(s)}; "
                    f"they must agree in every axis but {at}"
                )
        total: Any = sum(s[at] for s in shapes)
        return (*shapes[0][:at], total, *shapes[0][at + 1 :])

    def offsets(self) -> list[Dimension]:
        return list(itertools.accumulate((shape_of(x)[self.axis] for x in self.operands), initial=0))

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        offsets = self.offsets()
        return [_slice_axis(adjoint, self.axis, a, b, self.rank) for a, b in itertools.pairwise(offsets)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        at = self.axis + self.rank
        pieces = []
        for x, (a, b) in zip(self.operands, itertools.pairwise(self.offsets()), strict=True):
            pieces.append((context.entry(x, (*index[:at], index[at] - a, *index[at + 1 :])), index[at] < b))
        return sp.Piecewise(*pieces[:-1], (pieces[-1][0], True))

    def latex_form(self, p: LatexPrinter) -> str:
        joint = " & " if self.axis == -1 else r" \\ "
        return r"\begin{bmatrix} " + joint.join(map(p.plain, self.operands)) + r" \end{bmatrix}"

    def numpy_form(self, p: CodePrinter) -> str:
        return f"np.concatenate(({', '.join(map(p.plain, self.operands))}), axis={self.axis})"


def concatenate(tensors: Any, axis: int = 0) -> sp.Expr:
    """Tensors one after the other along an existing axis, as `numpy.concatenate`."""
    if isinstance(tensors, sp.Basic) or not isinstance(axis, int):
        raise ShapeError("concatenate: expected a sequence of tensors and an axis, such as concatenate([x, y], axis=0)")
    xs = [operand(x, "concatenate") for x in tensors]
    if not xs:
        raise ShapeError("concatenate: no tensors were given; expected at least one")
    (at,) = normal_axes(axis, xs[0], "concatenate")
    return xs[0] if len(xs) == 1 else Concatenate(sp.Integer(at), *xs)


class Slice(Operator):
    """Basic slicing; one (start, stop, step) for each axis, with non-negative bounds and a positive step."""

    title = "the slice"
    n_parameters = 1

    @property
    def rank(self) -> int:
        return len(self.args[0])

    def infer_shape(self) -> Shape:
        return tuple(slice_length(*cut) for cut in self.args[0])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [Pad(self.args[0], ints(shape_of(self.operands[0])), sp.S.Zero, adjoint)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return context.entry(self.operands[0], tuple(a + i * step for i, (a, _, step) in zip(index, self.args[0], strict=True)))

    def _text(self, p: Printer) -> str:
        return cuts_code(self.args[0], shape_of(self.operands[0]), p)

    def latex_form(self, p: LatexPrinter) -> str:
        return rf"\left[{p.plain(self.operands[0])}\right]_{{{self._text(p)}}}"

    def numpy_form(self, p: Printer) -> str:
        return f"{p.atom(self.operands[0])}[{self._text(p)}]"

    def _sympystr(self, printer: Any) -> str:
        return self.numpy_form(Text(printer))


def slice_length(start: Any, stop: Any, step: Any) -> Dimension:
    """How many entries of an axis a slice takes."""
    length = sp.floor((stop - start + step - 1) / step)
    return int(length) if length.is_Integer else length


def cuts_code(cuts: Any, shape: Shape, p: Printer) -> str:
    """Slices as code writes them: a bound that is the axis's own end is left out."""
    texts = []
    for (start, stop, step), size in zip(cuts, shape, strict=True):
        text = ("" if start == 0 else p.plain(start)) + ":" + ("" if stop == size else p.plain(stop))
        texts.append(text + ("" if step == 1 else f":{step}"))
    while len(texts) > 1 and texts[-1] == ":":
        texts.pop()
    return ", ".join(texts)


class Pad(Operator):
    """A constant of the given shape with `x` put at the places that a slice names. With zero it is the pullback of `Slice`."""

    title = "the padding"
    n_parameters = 3  # cuts, shape, constant

    def infer_shape(self) -> Shape:
        return plain_shape(self.args[1])

    @property
    def rank(self) -> int:
        return len(self.args[1])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [Slice(self.args[0], adjoint)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        inside, conditions = [], []
        for i, size, (start, stop, step) in zip(index, self.shape, self.args[0], strict=True):
            inside.append((i - start) / step)
            conditions += [i >= start] * (start != 0) + [i < stop] * (stop != size) + [sp.Eq(sp.Mod(i - start, step), 0)] * (step != 1)
        return sp.Piecewise((context.entry(self.operands[0], tuple(inside)), sp.And(*conditions)), (self.args[2], True))

    def latex_form(self, p: LatexPrinter) -> str:
        value = f"^{{{p.plain(self.args[2])}}}" if self.args[2] != 0 else ""
        return p.call(rf"\operatorname{{pad}}{value}_{{{self._widths() or cuts_code(self.args[0], self.shape, p)}}}", *self.operands)

    def options(self) -> Iterable[str]:
        each = [(start, size - stop) if step == 1 else (start, stop, step) for (start, stop, step), size in zip(self.args[0], self.shape, strict=True)]
        return [f"({', '.join(map(str, each))}{',' if len(each) == 1 else ''})", *([str(self.args[2])] if self.args[2] != 0 else [])]

    def _widths(self) -> str:
        """By how much the last axes are padded on both sides, `1 × 1`; empty where one number an axis does not say it."""
        each = [(start, size - stop, step) for (start, stop, step), size in zip(self.args[0], self.shape, strict=True)]
        padded = list(itertools.dropwhile(lambda width: width == (0, 0, 1), each))
        return r" \times ".join(str(a) for a, _, _ in padded) if all(a == b and step == 1 for a, b, step in padded) else ""

    def numpy_form(self, p: CodePrinter) -> str:
        value = f", {p.plain(self.args[2])}" if self.args[2] != 0 else ""
        return f"{p.helper('_pad')}({p.plain(self.operands[0])}, {shape_code(self.shape, p)}, np.s_[{cuts_code(self.args[0], self.shape, p)}]{value})"


def pad(x: Any, widths: Any, value: Any = 0) -> sp.Expr:
    """`x` with so many entries of the number `value` before and after it along each axis, as `numpy.pad` with a constant.

    `widths` is an integer, a pair (before, after) for every axis, or one of these for each axis. Raises `ShapeError` for other widths,
    or for a value that is no number.
    """
    x, value = operand(x, "pad"), operand(value, "pad")
    rank, shape = rank_of(x), shape_of(x)
    each = [widths] * rank if isinstance(widths, int) or _is_pair(widths) else widths
    each = [(w, w) if isinstance(w, int) else w for w in each] if isinstance(each, Sequence) else []
    if len(each) != rank or not all(map(_is_pair, each)) or min(map(min, each), default=0) < 0:
        raise ShapeError(f"pad({x}, {widths!r}): expected an integer, or for each of the {rank} axes of {x} an integer or a pair (before, after), not negative")
    if not value.is_number:
        raise ShapeError(f"pad({x}, ..., {value}): the value must be a number")
    if not any(map(any, each)):
        return x
    cuts = [ints((before, before + size, 1)) for (before, _), size in zip(each, shape, strict=True)]
    return Pad(ints(cuts), ints(before + size + after for (before, after), size in zip(each, shape, strict=True)), value, x)


def _is_pair(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(n, int) and not isinstance(n, bool) for n in value)


def _slice_axis(x: sp.Expr, axis: int, start: Any, stop: Any, rank: int) -> sp.Expr:
    """x cut to start:stop along one (negative) axis."""
    cuts = [ints((0, size, 1)) for size in shape_of(x)]
    cuts[axis] = ints((start, stop, 1))
    return Slice(ints(cuts), x)
