"""Evaluate any form of an expression at numbers, to any number of digits. It goes by the index form and mpmath, so it shares
nothing with the generated code, and what it says can be held against that code."""

from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
import sympy as sp
from sympy.core.function import AppliedUndef

from symbackprop.calculus.deep import deep
from symbackprop.calculus.index import IndexForm, whole
from symbackprop.calculus.partial import Factor, Partial
from symbackprop.calculus.recurrence import stepped
from symbackprop.errors import DataError, UnsupportedError
from symbackprop.graph.equations import collect, tensors_in
from symbackprop.graph.inference import at_inference
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import Dim, numeric, rank_of, shape_of
from symbackprop.graph.tensor import Tensor, as_expression

# The functions of this package, by their definitions.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "relu": lambda z: max(z, mpmath.mpf(0)),
    "step": lambda z: mpmath.mpf(int(z > 0)),
    "expm1": lambda x: mpmath.exp(x) - 1,
    "log1p": lambda x: mpmath.log(1 + x),
    "absolute": abs,
    "maximum": max,
    "Heaviside": lambda x, at_zero=0.5: mpmath.mpf(int(x > 0)) if x else mpmath.mpf(at_zero),
    "Quotient": lambda a, b: a // b,
    "Max": max,
    "Min": min,
    "inverse_entry": lambda entry, size, i, j: mpmath.inverse(mpmath.matrix([[entry(p, q) for q in range(size)] for p in range(size)]))[i, j],
}


@deep
def evaluate(expr: Any, values: Mapping[Any, Any], digits: int = 15, inference: bool = False) -> Any:
    """The value of an expression of tensors, or of a gradient's form.

    `values`: name (or tensor) → number or array, for every data and weight tensor (and state, unless it is a constant array) that the expression
    depends on; nodes are computed from their definitions, with `inference` from those that they have at inference. Returns an mpmath number for
    a scalar and an object array of them for a tensor, computed with `digits` digits and a few more. Raises `DataError` where a value is missing.
    """
    if isinstance(expr, sp.Lambda):
        raise UnsupportedError("a Lambda does not say how far its indices run; evaluate one of its entries, such as closed(0, 1)")
    expr = as_expression(expr, "evaluate")
    expr = at_inference(without_partials(expr)) if inference else without_partials(expr)
    given = {getattr(k, "name", k): v for k, v in values.items()}
    with mpmath.workdps(digits + 10):
        return Point(expr, given).value(expr)


def without_partials(expr: sp.Expr) -> sp.Expr:
    """The expression with its named partial derivatives evaluated."""
    return expr.xreplace({p: p.entry() if isinstance(p, Partial) else p.doit() for p in expr.atoms(Partial, Factor)})


def _is_index(symbol: sp.Symbol) -> bool:
    return bool(symbol.is_integer and symbol.is_nonnegative and symbol.name.isidentifier())


class Entries:
    """An array of numbers whose indices may be any integers that arithmetic made."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __getitem__(self, index: Any) -> Any:
        return _exact(self.array[tuple(int(i) for i in (index if isinstance(index, tuple) else (index,)))])


def _exact(number: Any) -> Any:
    return int(number) if isinstance(number, (int, np.integer)) else mpmath.mpf(number)


class Numbers:
    """Numbers for tensors, and for the sizes of dimensions: what expressions of them are worth."""

    def __init__(self, numbers: Mapping[Tensor, Any], sizes: Mapping[Any, int]) -> None:
        self.numbers = dict(numbers)
        self.sizes: dict[sp.Basic, sp.Expr] = {size: sp.Integer(found) for size, found in sizes.items()}

    def value(self, expr: sp.Expr) -> Any:
        if isinstance(expr, Scan):
            (steps,) = numeric((expr.length,), self.sizes)
            operands = [np.asarray(self.value(x), dtype=object) for x in expr.operands]
            values = stepped(expr, operands, steps, lambda e, known: np.asarray(Numbers(known, self.sizes).value(e), dtype=object))
            return np.concatenate([np.ravel(value) for value in values])  # its results in one row
        if expr.has(sp.Indexed):  # in index form already
            return self.function(expr, ())()
        shape = numeric(shape_of(expr), self.sizes)
        entry = self.entries(expr)
        if not shape:
            return entry()
        result = np.empty(shape, dtype=object)
        for index in np.ndindex(shape):
            result[index] = entry(*index)
        return result

    def entries(self, expr: sp.Expr) -> Callable[..., Any]:
        """A tensor's entries as a function of their indices."""
        symbols = tuple(sp.Symbol(f"i{k}_", integer=True, nonnegative=True) for k in range(rank_of(expr)))
        entry = IndexForm(taken=(*symbols, *(t.name for t in self.numbers))).entry(expr, symbols)
        return self.function(entry, symbols)

    def function(self, expr: sp.Expr, symbols: tuple[sp.Symbol, ...]) -> Callable[..., Any]:
        """The scalar expression as a function of its free indices."""
        expr = expr.xreplace(self.sizes)
        if any(type(f).__name__ not in _FUNCTIONS and not (type(f).__module__ or "").startswith("sympy.") for f in expr.atoms(sp.Function)):
            expr = expr.expand(func=True)  # functions of the user's own, by their formula
        known = (Tensor, Dim, sp.Indexed, sp.IndexedBase)
        unknown = [*expr.atoms(AppliedUndef), *(s for s in expr.free_symbols if not isinstance(s, known) and not _is_index(s))]
        if unknown:
            raise UnsupportedError(f"{unknown[0]} has no value; evaluate expressions of tensors and of functions that have a formula")
        names = sorted(tensors_in(expr), key=lambda t: t.serial)
        # Names of our own: what a tensor is called must not hide a function.
        expr = whole(expr).xreplace({t: sp.Symbol(f"value_{i}") for i, t in enumerate(names)})
        compiled = sp.lambdify([*(f"value_{i}" for i in range(len(names))), *symbols], expr, modules=[_FUNCTIONS, "mpmath"])
        numbers = [Entries(self.numbers[t]) if t.shape else _exact(self.numbers[t].item()) for t in names]
        return lambda *index: compiled(*numbers, *index)


class Point(Numbers):
    """Numbers for everything that an expression depends on: data and weights as given, nodes computed from their definitions."""

    def __init__(self, expr: sp.Expr, given: Mapping[str, Any]) -> None:
        super().__init__({}, {})
        for t in collect(tensors_in(expr)):
            if t.definition is None:
                self.read(t, given)
            else:
                self.numbers[t] = np.asarray(self.value(t.definition), dtype=object)

    def read(self, t: Tensor, given: Mapping[str, Any]) -> None:
        if t.name not in given and t.role == "state" and t.update is None and not isinstance(t.init, str):
            given = {t.name: np.broadcast_to(np.asarray(t.init, dtype=object), t.shape)}  # a constant
        if t.name not in given:
            raise DataError(f"no value was given for the {t.role} {t.name!r}; found {', '.join(map(repr, given)) or 'none'}")
        array = np.asarray(given[t.name], dtype=object)
        for size, found in zip(t.shape, array.shape, strict=True):
            if isinstance(size, Dim):
                self.sizes[size] = sp.Integer(found)
        self.numbers[t] = array
