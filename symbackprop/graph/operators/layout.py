"""Operators that move entries without computing: reshape, concatenate, slice, and pad (the slice's pullback)."""

import itertools
from collections.abc import Sequence
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
        old, new = shape_of(x), self.shape
        if self.moves_unit_axes():
            kept = iter([i for i, s in zip(index, new, strict=True) if s != 1])
            return context.entry(x, tuple(sp.S.Zero if s == 1 else next(kept) for s in old))
        lead = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False)))  # axes that stay
        flat: Any = sp.S.Zero
        for i, s in zip(index[lead:], new[lead:], strict=True):
            flat = flat * s + i
        result: list[sp.Expr] = []
        for s in reversed(old[lead + 1 :]):
            result.insert(0, sp.Mod(flat, s))
            flat = sp.floor(flat / s)
        return context.entry(x, (*index[:lead], *[flat] * (len(old) > lead), *result))

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
                texts.append(_cuts([cut], (size,), p))
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
        return tuple(_length(*cut) for cut in self.args[0])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return [Pad(self.args[0], ints(shape_of(self.operands[0])), adjoint)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return context.entry(self.operands[0], tuple(a + i * step for i, (a, _, step) in zip(index, self.args[0], strict=True)))

    def _text(self, p: Printer) -> str:
        return _cuts(self.args[0], shape_of(self.operands[0]), p)

    def latex_form(self, p: LatexPrinter) -> str:
        return rf"\left[{p.plain(self.operands[0])}\right]_{{{self._text(p)}}}"

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.atom(self.operands[0])}[{self._text(p)}]"


def _length(start: Any, stop: Any, step: Any) -> Dimension:
    length = sp.floor((stop - start + step - 1) / step)
    return int(length) if length.is_Integer else length


def _cuts(cuts: Any, shape: Shape, p: Printer) -> str:
    """Slices as code writes them: a bound that is the axis's own end is left out."""
    texts = []
    for (start, stop, step), size in zip(cuts, shape, strict=True):
        text = ("" if start == 0 else p.plain(start)) + ":" + ("" if stop == size else p.plain(stop))
        texts.append(text + ("" if step == 1 else f":{step}"))
    while len(texts) > 1 and texts[-1] == ":":
        texts.pop()
    return ", ".join(texts)


class Pad(Operator):
    """Zeros of the given shape with `x` put at the places that a slice names: the pullback of `Slice`."""

    title = "the padding"
    n_parameters = 2  # cuts, shape

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
        return sp.Piecewise((context.entry(self.operands[0], tuple(inside)), sp.And(*conditions)), (0, True))

    def latex_form(self, p: LatexPrinter) -> str:
        return p.call(rf"\operatorname{{pad}}_{{{_cuts(self.args[0], self.shape, p)}}}", *self.operands)

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.helper('_pad')}({p.plain(self.operands[0])}, {shape_code(self.shape, p)}, np.s_[{_cuts(self.args[0], self.shape, p)}])"


def _bound(value: Any, size: Dimension, default: Dimension, where: str) -> Any:
    """One bound of a slice as a non-negative number or an expression of dimensions, clipped as Python clips it."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool):
        raise ShapeError(f"{where}: the bound {value!r} of a slice must be an integer; gather with take(...) instead")
    if isinstance(size, int):
        return max(0, min(size, value + size if value < 0 else value))
    if value >= 0 and value != 0 and default == size:
        raise ShapeError(f"{where}: the end {value} may lie beyond the open dimension {size}; use a negative end, or an integer dimension")
    return size + value if value < 0 else value


def _slice_axis(x: sp.Expr, axis: int, start: Any, stop: Any, rank: int) -> sp.Expr:
    """x cut to start:stop along one (negative) axis."""
    cuts = [ints((0, size, 1)) for size in shape_of(x)]
    cuts[axis] = ints((start, stop, 1))
    return Slice(ints(cuts), x)


def getitem(x: sp.Expr, key: Any) -> sp.Expr:
    """NumPy's basic indexing: integers, slices with a positive step, `...` and None (a new axis).

    Raises `ShapeError` for too many indices, an index out of range, or an index that is a tensor (that is `take`).
    """
    keys = list(key) if isinstance(key, tuple) else [key]
    shape = shape_of(x)
    used = sum(k is not None and k is not Ellipsis for k in keys)
    where = f"{x}[{', '.join(map(str, keys))}]"
    if used > len(shape) or sum(k is Ellipsis for k in keys) > 1:
        raise ShapeError(f"{where}: {used} indices for shape {show(shape)}; give at most {len(shape)}")
    at = next((i for i, k in enumerate(keys) if k is Ellipsis), len(keys))
    keys[at : at + 1] = [slice(None)] * (len(shape) - used)
    cuts, result, axis = [], [], 0
    for k in keys:
        if k is None:
            result.append(1)
            continue
        cut, keep = _cut(k, shape[axis], where)
        cuts.append(cut)
        if keep:
            result.append(_length(*cut))
        axis += 1
    whole = all(c == ints((0, s, 1)) for c, s in zip(cuts, shape, strict=True))
    return reshape(x if whole else Slice(ints(cuts), x), tuple(result))


def _cut(k: Any, size: Dimension, where: str) -> tuple[sp.Tuple, bool]:
    """(start, stop, step) of one index, and whether its axis stays."""
    if isinstance(k, slice):
        step = 1 if k.step is None else k.step
        if not isinstance(step, int) or step < 1:
            raise ShapeError(f"{where}: the step {step!r} of a slice must be a positive integer")
        start = _bound(k.start, size, 0, where)
        stop = _bound(k.stop, size, size, where)
        if isinstance(start, int) and isinstance(stop, int):
            stop = max(start, stop)
        return ints((start, stop, step)), True
    if not isinstance(k, (int, sp.Integer)) or isinstance(k, bool):
        raise ShapeError(f"{where}: the index {k!r} must be an integer or a slice; gather with take(x, indices, axis) instead")
    k = int(k)
    if isinstance(size, int) and not -size <= k < size:
        raise ShapeError(f"{where}: index {k} is out of range for a dimension of size {size}")
    start = size + k if k < 0 else k
    return ints((start, start + 1, 1)), False
