"""Index forms evaluated for all their indices at once, in float64. Every index is an axis; what does not depend on it has one entry
along it, so sums inside sums cost no more than the arrays that a person would compute one after the other."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy as sp

from symbackprop.calculus.evaluate import without_partials
from symbackprop.calculus.index import IndexForm, distinct, whole
from symbackprop.calculus.recurrence import stepped
from symbackprop.graph.operators.reduction import BigMax, IsFirstMax, OverIndex
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.operators.solve import InverseEntry
from symbackprop.graph.shapes import numeric, rank_of, shape_of
from symbackprop.graph.tensor import Tensor

Array = npt.NDArray[Any]

_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.logaddexp(0, z),
    "relu": lambda z: np.maximum(z, 0),
    "step": lambda z: (np.asarray(z) > 0) * 1.0,
    "expm1": np.expm1,
    "log1p": np.log1p,
    "absolute": np.abs,
    "maximum": np.maximum,
    "Heaviside": lambda x, at_zero=0.5: np.heaviside(x, at_zero),
    "Quotient": np.floor_divide,
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
}

# Of any number of arguments, each an array with axes of its own; SymPy's code for them wants arrays of one shape.
_FOLDED: dict[Any, Callable[[Any, Any], Any]] = {
    sp.Add: operator.add,
    sp.Mul: operator.mul,
    sp.Max: np.maximum,
    sp.Min: np.minimum,
    sp.And: np.logical_and,
    sp.Or: np.logical_or,
}


class Arrays:
    """What tensors (and sizes of dimensions) are worth, and from that what expressions of them are worth."""

    def __init__(self, numbers: Mapping[Tensor, Array], sizes: Mapping[Any, int], outside: float = math.nan) -> None:
        """`outside`: an entry that its tensor does not have. It must not count, and if it does, that shows."""
        self.numbers, self.outside = numbers, outside
        self.sizes: dict[sp.Basic, sp.Expr] = {size: sp.Integer(n) for size, n in sizes.items()}

    def tensor(self, expr: sp.Expr) -> Array:
        """The value of a tensor expression; of a recurrence, its results in one row."""
        if isinstance(expr, Scan):
            (steps,) = numeric((expr.length,), self.sizes)
            values = stepped(expr, [self.tensor(x) for x in expr.operands], steps, lambda e, known: Arrays(known, self.sizes, self.outside).tensor(e))
            return np.concatenate([np.ravel(value) for value in values])
        symbols = tuple(sp.Symbol(f"i{k}_", integer=True, nonnegative=True) for k in range(rank_of(expr)))
        entry = IndexForm(taken=(*symbols, *(t.name for t in self.numbers))).entry(expr, symbols)
        return self.entries(entry, dict(zip(symbols, numeric(shape_of(expr), self.sizes), strict=True)))

    def entries(self, expr: sp.Expr, indices: Mapping[sp.Symbol, int]) -> Array:
        """The value of an index form: an array with an axis for each of the free `indices` (symbol → size), in their order."""
        expr = whole(distinct(without_partials(expr).xreplace(self.sizes)))
        bound = {k: int(high) + 1 for part in sp.preorder_traversal(expr) if isinstance(part, (sp.Sum, OverIndex)) for k, _, high in part.limits}
        evaluator = _Evaluator(self.numbers, {**{k: n for k, n in bound.items() if k not in indices}, **indices}, self.outside)
        value = np.asarray(evaluator.value(expr))
        kept = [evaluator.axes[k] for k in indices]
        others = tuple(a for a in evaluator.axes.values() if a not in kept)
        value = np.moveaxis(value.reshape((1,) * (len(evaluator.axes) - value.ndim) + value.shape), kept, range(len(kept)))
        value = value.reshape(value.shape[: len(kept)]) if others else value
        return np.broadcast_to(value, tuple(indices.values()))


class _Evaluator:
    def __init__(self, numbers: Mapping[Tensor, Array], sizes: Mapping[sp.Symbol, int], outside: float) -> None:
        self.numbers, self.outside = numbers, outside
        self.sizes = dict(sizes)
        self.axes = {k: i for i, k in enumerate(self.sizes)}
        self.done: dict[sp.Basic, Any] = {}

    def value(self, expr: sp.Basic) -> Any:
        if expr not in self.done:
            self.done[expr] = self._value(expr)
        return self.done[expr]

    def _value(self, expr: sp.Basic) -> Any:
        if isinstance(expr, sp.Symbol) and expr in self.axes:
            shape = [1] * len(self.axes)
            shape[self.axes[expr]] = -1
            return np.arange(self.sizes[expr]).reshape(shape)
        if isinstance(expr, Tensor):
            return self.numbers[expr][()]
        if isinstance(expr, sp.Indexed):
            return self._entry(self.numbers[expr.base.label], [self.value(i) for i in expr.indices])
        if isinstance(expr, sp.Sum):
            return self._sum(expr)
        if isinstance(expr, (BigMax, IsFirstMax)):
            return self._largest(expr)
        if isinstance(expr, InverseEntry):
            return self._inverse(expr)
        return self._elementwise(expr)

    def _entry(self, array: Array, index: Sequence[Any]) -> Any:
        places = [np.asarray(i).astype(int) for i in index]
        valid = np.all(np.broadcast_arrays(*((p >= 0) & (p < n) for p, n in zip(places, array.shape, strict=True))), axis=0)
        found = array[tuple(np.clip(p, 0, n - 1) for p, n in zip(places, array.shape, strict=True))]
        return found if valid.all() else np.where(valid, found, self.outside)

    def _sum(self, expr: sp.Sum) -> Any:
        body = np.asarray(self.value(expr.function))
        body = body.reshape((1,) * (len(self.axes) - body.ndim) + body.shape)
        for k, _, _ in expr.limits:
            axis = self.axes[k]
            body = body.sum(axis=axis, keepdims=True) * (self.sizes[k] if body.shape[axis] == 1 else 1)
        return body

    def _largest(self, expr: Any) -> Any:
        k = expr.args[1][0]
        axis = self.axes[k]
        body = np.asarray(self.value(expr.args[0]))
        body = body.reshape((1,) * (len(self.axes) - body.ndim) + body.shape)
        if isinstance(expr, BigMax):
            return body.max(axis=axis, keepdims=True)
        return (body.argmax(axis=axis, keepdims=True) == self.value(expr.args[2])) * 1.0

    def _inverse(self, expr: InverseEntry) -> Any:
        body = np.asarray(self.value(expr.args[0]), dtype=float)
        body = body.reshape((1,) * (len(self.axes) - body.ndim) + body.shape)
        at = [self.axes[k] for k, _, _ in expr.limits]
        size = self.sizes[expr.limits[0][0]]
        moved = np.moveaxis(body, at, (-2, -1))
        inverses = np.linalg.inv(np.broadcast_to(moved, (*moved.shape[:-2], size, size)))
        inverses = np.moveaxis(inverses, (-2, -1), at)
        places: list[Any] = [np.arange(n).reshape([-1 if a == b else 1 for b in range(body.ndim)]) for a, n in enumerate(inverses.shape)]
        for axis, index in zip(at, expr.args[3:], strict=True):
            places[axis] = np.asarray(self.value(index)).astype(int)
        return inverses[tuple(np.broadcast_arrays(*places))]

    def _elementwise(self, expr: sp.Basic) -> Any:
        """One operation on what its arguments are worth."""
        if not expr.args:
            return int(expr) if expr.is_Integer else bool(expr) if expr in (sp.true, sp.false) else float(expr)
        args = [self.value(a) for a in expr.args] if not isinstance(expr, sp.Piecewise) else []
        with np.errstate(all="ignore"):
            if expr.func in _FOLDED:
                return reduce(_FOLDED[expr.func], args)
            if isinstance(expr, sp.Pow):
                return np.asarray(args[0], dtype=float) ** args[1]
            if isinstance(expr, sp.Piecewise):
                return self._piecewise(expr)
            return _compiled(expr.func, len(args))(*args)

    def _piecewise(self, expr: sp.Piecewise) -> Any:
        found: Any = np.nan
        for value, condition in reversed(expr.args):
            found = np.where(self.value(condition), self.value(value), found)
        return found


@lru_cache(maxsize=512)
def _compiled(function: Any, count: int) -> Callable[..., Any]:
    """A function for arrays, found once. A user's own is known by its formula."""
    if function is sp.KroneckerDelta:
        return lambda a, b: (np.asarray(a) == np.asarray(b)) * 1.0  # SymPy's code for it compares whole arrays
    arguments = [sp.Dummy(f"v{i}", real=True) for i in range(count)]
    body = function(*arguments)
    known = {*_FUNCTIONS, "Abs", "Max", "Min"}
    if isinstance(body, sp.Function) and function.__name__ not in known and not function.__module__.startswith("sympy."):
        body = body.expand(func=True)
    compiled: Callable[..., Any] = sp.lambdify(arguments, body, modules=[_FUNCTIONS, "numpy"])
    return compiled


__all__ = ["Arrays"]
