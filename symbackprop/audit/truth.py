"""The true value of an entry of an expression at given numbers, by mpmath from its index form; and what a change of the terms of its sums by one unit in
their last place makes of it (`disturbed`).

What a sum's rounding adds is not a defect of a formula: terms of either sign cancel, and no way of adding them is exact. Excused are inputs that only sums
read and that these are linear in, and what cancels in a sum over indices: the absolute values of its terms added up less the absolute value of the sum.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), sections 1.5 (mixed forward-backward error) and 3.3 (running error).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import CodeType
from typing import Any, NamedTuple

import mpmath
import sympy as sp

from symbackprop.audit.disturbed import BUILTINS, Disturbed, lifted, silent
from symbackprop.audit.passes import Values
from symbackprop.audit.precision import UnsettledError, precise, settled
from symbackprop.calculus.index import IndexForm, index_symbol
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.functions import expm1, log1p, relu, sigmoid, softplus, step
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.gather import Scatter, Take
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, Slice
from symbackprop.graph.operators.norm import AlongAxes
from symbackprop.graph.operators.reduction import AlongAxis
from symbackprop.graph.operators.window import Fold, Window
from symbackprop.graph.shapes import postorder, rank_of
from symbackprop.graph.stable import Stable, guarded
from symbackprop.graph.tensor import Tensor

LINEAR = (Einsum, Broadcast, Reshape, Slice, Pad, Concatenate, Take, Scatter, Window, Fold)
DIGITS = (30, 400, 800)  # two that agree are believed, of 0 the last two; few and many, so that what is lost in few shows
ENOUGH = 60  # digits for what a change makes
SMALLEST = mpmath.mpf(2) ** -1022  # units in the last place are no smaller below it


class Entries:
    """A tensor's entries as a lambdified function reads them: each is made when it is asked for, and kept."""

    def __init__(self, make: Callable[[tuple[int, ...]], Any]) -> None:
        self.make = make
        self.made: dict[tuple[int, ...], Any] = {}

    def __getitem__(self, index: Any) -> Any:
        at = tuple(map(int, index)) if isinstance(index, tuple) else (int(index),)
        if at not in self.made:
            self.made[at] = self.make(at)
        return self.made[at]


class Change(NamedTuple):
    """What a change by one unit in the last place, relative to that unit, makes of an entry: of what is excused, and of the largest term of any sum."""

    excused: Any
    largest: Any


class Part:
    """The entries of an expression as a function of tensors. What has a program of its own, a softmax or log(1 + e^z), is a function whose sums are its own
    affair: nothing in them is disturbed."""

    def __init__(self, expr: sp.Expr) -> None:
        self.reads = sorted(tensors_in(expr), key=str)
        indices = tuple(index_symbol(f"i{k}_") for k in range(rank_of(expr)))
        entry, own = _opaque(IndexForm(taken=indices).entry(expr, indices))
        names = {t: sp.Symbol(f"v_{i}") for i, t in enumerate(self.reads)}
        self.function = precise([*names.values(), *indices], plain(entry).xreplace(names))
        here = self.function.__globals__
        here.update(own, builtins=BUILTINS)
        here.update({name: lifted(here[name]) for name in _called(self.function.__code__) if _is_function(here.get(name))})
        self.program = isinstance(expr, (AlongAxis, AlongAxes))

    def __call__(self, *arguments: Any) -> Any:
        with silent(self.program):
            return self.function(*arguments)


def _opaque(entry: sp.Expr) -> tuple[sp.Expr, dict[str, Any]]:
    """The entry with a function of one name for each that code calls by a name, and these functions for mpmath."""
    functions: dict[str, Any] = {}
    kinds: dict[tuple[Any, ...], str] = {}

    def renamed(part: Any) -> sp.Expr:
        numbers = [None if x.free_symbols else x for x in part.args]
        key = (part.func, *numbers)
        if key not in kinds:
            kinds[key] = name = f"opaque_{len(kinds)}"
            arguments = [sp.Dummy(real=True) if x is None else x for x in numbers]
            functions[name] = precise([x for x in arguments if isinstance(x, sp.Dummy)], plain(part.func(*arguments)))
        made: sp.Expr = sp.Function(kinds[key])(*(x for x in part.args if x.free_symbols))
        return made

    kind = (Stable, *_PLAIN)
    found: sp.Expr = entry.replace(lambda x: isinstance(x, kind) and x.free_symbols != set(), renamed)
    return found, functions


def _called(code: CodeType) -> set[str]:
    """The names in a function's code, and in that of the sums inside it."""
    return set(code.co_names).union(*(_called(inner) for inner in code.co_consts if isinstance(inner, CodeType)))


def _is_function(x: Any) -> bool:
    return callable(x) and not isinstance(x, type) and not hasattr(x, "_mpf_") and x not in (max, min, abs)


class Truth:
    """A form's entries at numbers, to any number of digits. Each operator inside it is a part of its own, so that nothing is computed twice."""

    def __init__(self, expr: sp.Expr) -> None:
        self.linear = {t.name for t in tensors_in(expr) if only_summed(expr, t)}
        self.parts: list[tuple[str, Part]] = []
        done: dict[sp.Basic, sp.Basic] = {}
        for part in postorder(expr):
            args = [done[a] for a in part.args]
            done[part] = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
            if isinstance(part, Operator) and part is not expr and part.operands:
                name = f" part {len(self.parts)}"  # no tensor's name
                self.parts.append((name, Part(done[part])))
                done[part] = Tensor(name, part.shape, "data")
        self.last = Part(done[expr])

    def value(self, leaves: Mapping[str, Entries], index: tuple[int, ...]) -> Any:
        """The entry, to mpmath's working precision."""
        known = dict(leaves)

        def call(part: Part, at: tuple[int, ...]) -> Any:
            return part(*(known[t.name] if t.shape else known[t.name][()] for t in part.reads), *at)

        for name, part in self.parts:
            known[name] = Entries(lambda at, part=part: call(part, at))  # type: ignore[misc]
        return call(self.last, index)

    def at(self, point: Values, index: tuple[int, ...]) -> Any:
        """The entry. Raises `UnsettledError` where it has no value."""
        leaves = {name: Entries(partial(_number, array)) for name, array in point.items()}
        functions = [lambda: self.value(leaves, index)]
        found = settled(functions, (), DIGITS)[0]
        return found if found != 0 else settled(functions, (), DIGITS[1:])[0]

    def change(self, point: Values, index: tuple[int, ...]) -> Change:
        """What disturbed sums and inputs make of the entry; nothing where it has no derivative."""

        def disturbed(name: str, at: tuple[int, ...]) -> Any:
            number = _number(point[name], at)
            return number if isinstance(number, int) else Disturbed(number, [], excused=max(abs(number), SMALLEST) if name in self.linear else 0)

        with mpmath.workdps(ENOUGH):
            try:
                leaves = {name: Entries(partial(disturbed, name)) for name in point}
                return Change(*Disturbed.of(self.value(leaves, index)).changes())
            except (ZeroDivisionError, ValueError, TypeError, OverflowError):
                return Change(mpmath.mpf(0), mpmath.mpf(0))


def _number(array: Any, at: tuple[int, ...]) -> Any:
    number = array[at]
    return int(number) if array.dtype.kind in "iub" else mpmath.mpf(float(number))


def true_value(truths: Sequence[Truth], point: Values, index: tuple[int, ...]) -> Any:
    """The true value: of the first form, or of another where so many digits do not settle the first; None where they settle none."""
    for truth in truths:
        try:
            return truth.at(point, index)
        except UnsettledError:
            continue
    return None


def only_summed(expr: sp.Expr, leaf: Tensor) -> bool:
    """Whether a leaf stands in sums alone that are linear in it."""
    if leaf not in expr.free_symbols:
        return True
    if _is_linear(expr, leaf):
        return any(isinstance(part, sp.Add) or (isinstance(part, Einsum) and _adds(part)) for part in postorder(expr) if leaf in part.free_symbols)
    return bool(expr.args) and all(only_summed(x, leaf) for x in expr.args if isinstance(x, sp.Expr)) and not isinstance(expr, sp.Piecewise)


def _is_linear(expr: sp.Expr, leaf: Tensor) -> bool:
    if expr is leaf or leaf not in expr.free_symbols:
        return True
    inside = [x for x in expr.args if leaf in x.free_symbols]
    if isinstance(expr, sp.Add):
        return all(_is_linear(x, leaf) for x in inside)
    if isinstance(expr, (sp.Mul, LINEAR)):
        return (len(inside) == 1 or isinstance(expr, Concatenate)) and all(_is_linear(x, leaf) for x in inside)
    return False


def _adds(operator: Einsum) -> bool:
    _ins, out = operator.spec
    return any(size != 1 and c not in out for c, size in operator.sizes().items())


_PLAIN: dict[Any, Any] = {
    sigmoid: lambda z: 1 / (1 + sp.exp(-z)),
    softplus: lambda z: sp.log(1 + sp.exp(z)),
    relu: lambda z: sp.Max(0, z),
    step: lambda z: sp.Heaviside(z, 0),
    expm1: lambda z: sp.exp(z) - 1,
    log1p: lambda z: sp.log(1 + z),
    guarded: lambda mask, x, safe: sp.Piecewise((x, mask > 0), (safe, True)),
}  # fmt: skip


def plain(expr: sp.Expr) -> sp.Expr:
    """The expression in SymPy's own functions, whose definitions mpmath knows."""
    while True:
        table = {part: part.formula(*part.args) for part in expr.atoms(Stable)}
        table |= {part: _PLAIN[part.func](*part.args) for part in expr.atoms(sp.Function) if part.func in _PLAIN}
        others = (part for part in expr.atoms(sp.Function) if part not in table and not (type(part).__module__ or "").startswith("sympy."))
        table |= {part: other for part in others if (other := part.expand(func=True)) != part}  # functions of the user's own, by their formula
        if not table:
            return expr
        expr = expr.xreplace(table)


__all__ = ["Change", "Truth", "only_summed", "plain", "true_value"]
