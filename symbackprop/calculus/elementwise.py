"""Derivatives of elementwise expressions: `sympy.diff`, with the conventions that SymPy leaves open made definite.

|x|' is 0 at 0; of equal arguments of a maximum the first takes the derivative, so relu'(0) = 0; functions that are
constant by pieces (sign, floor, the step) have derivative 0.
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache, reduce
from typing import Any

import sympy as sp

from symbackprop.errors import UnsupportedError
from symbackprop.graph.functions import absolute, maximum, relu
from symbackprop.graph.shapes import Shaped, postorder


def regions(expr: sp.Expr) -> tuple[sp.Expr, dict[sp.Symbol, sp.Expr]]:
    """`expr` as an elementwise expression of leaves: each operator in it replaced by a symbol. Returns that and symbol → operator.

    Tensors stay as they are: they are symbols.
    """
    from symbackprop.graph.operators.base import Operator

    tops: dict[sp.Expr, sp.Symbol] = {}
    stack: list[sp.Basic] = [expr]
    while stack:
        part = stack.pop()
        if isinstance(part, Operator):
            tops.setdefault(part, sp.Dummy("u", real=True))
        else:
            stack.extend(part.args)
    return (expr.xreplace(tops) if tops else expr), {symbol: operator for operator, symbol in tops.items()}


@lru_cache(maxsize=2**14)
def partial(expr: sp.Expr, leaf: sp.Symbol, name: str | sp.Expr) -> sp.Expr:
    """∂expr/∂leaf of an elementwise expression; `name` is the equation's, or itself, for error messages.

    Raises `UnsupportedError` where a function has no derivative or the derivative is complex.
    """
    definite = _definite(expr)
    try:
        result = _derivative(definite, leaf)
    except (sp.SympifyError, NotImplementedError, ValueError, TypeError, AttributeError) as error:
        raise UnsupportedError(f"equation {name!r}: SymPy cannot differentiate {expr} ({error}); give the function an fdiff method") from error
    result = _plain(result)
    for part in postorder(result):
        if isinstance(part, (sp.Derivative, sp.Subs)):
            raise UnsupportedError(
                f"equation {name!r}: {part.args[0]} in {expr} has no known derivative; "
                "use a function that SymPy can differentiate, or give it an fdiff method"
            )
        if isinstance(part, (sp.re, sp.im, sp.arg, sp.conjugate)) or part is sp.I or part is sp.nan:
            raise UnsupportedError(f"equation {name!r}: the derivative of {expr} in {leaf} is not real ({result}); write the expression in real functions")
    return result


def _derivative(expr: sp.Expr, leaf: sp.Symbol) -> sp.Expr:
    """`sympy.diff`, with the same result, without two questions that take it longer than the derivative: whether the result is zero,
    and, of a power with a number as exponent, which sign the base has."""
    if expr is leaf or leaf not in expr.free_symbols:
        return sp.S.One if expr is leaf else sp.S.Zero
    if isinstance(expr, sp.Add):
        return sp.Add(*(_derivative(term, leaf) for term in expr.args))
    if isinstance(expr, sp.Pow) and expr.exp.is_number:
        return expr * (_derivative(expr.base, leaf) * expr.exp / expr.base)
    if isinstance(expr, sp.Mul):
        found = [i for i, x in enumerate(expr.args) if leaf in x.free_symbols]
        return sp.Add(*(sp.Mul(*expr.args[:i], _derivative(expr.args[i], leaf), *expr.args[i + 1 :]) for i in found))
    if isinstance(expr, sp.Function) and (derivative := expr._eval_derivative(leaf)) is not None:
        return derivative
    return sp.diff(expr, leaf)


def slopes(expr: sp.Expr, wanted: Sequence[sp.Symbol], leaves: Sequence[sp.Symbol], name: str | sp.Expr) -> list[sp.Expr]:
    """`partial` in each of the leaves that are wanted, found once for all expressions of one form: tanh(Z_1), tanh(Z_2) ... are
    differentiated as the tanh of a slot.

    The slots are in SymPy's order of the leaves, so that signs come out of |b - a| and tanh(b - a) as they would have. A maximum is
    left as it is: which of two equal arguments is the first depends on what they are.
    """
    if isinstance(expr, sp.Mul) and all(isinstance(x, (sp.Symbol, sp.Number)) for x in expr.args):
        return [sp.Mul(*(x for x in expr.args if x is not leaf)) for leaf in wanted]  # of such terms, w x, networks of scalars consist
    if expr.has(sp.Max, sp.Min):
        return [partial(expr, leaf, name) for leaf in wanted]
    slots = {symbol: _slot(i) for i, symbol in enumerate(sorted(leaves, key=sp.default_sort_key))}
    form = expr.xreplace(slots)
    back = {slot: symbol for symbol, slot in slots.items()}
    try:
        return [partial(form, slots[leaf], "").xreplace(back) for leaf in wanted]
    except UnsupportedError:
        return [partial(expr, leaf, name) for leaf in wanted]  # once more, for a message in the network's own names


@cache
def _slot(number: int) -> sp.Symbol:
    return sp.Dummy(f"u{number:06}", real=True)


def _definite(expr: sp.Expr) -> sp.Expr:
    """Abs, Max and Min, and what is constant by pieces, replaced by functions whose derivative is settled everywhere."""
    if not expr.has(sp.Abs, sp.Max, sp.Min, sp.Mod, *_PIECES):
        return expr
    table: dict[Any, Any] = {
        sp.Abs: absolute,
        sp.Max: lambda *args: relu(args[1]) if args[0] == 0 and len(args) == 2 else reduce(maximum, args),
        sp.Min: lambda *args: -reduce(maximum, [-a for a in args]),
        sp.Mod: lambda p, q: p - q * _Floor(p / q),
        **_PIECES,
    }
    return _rebuild(expr, table)


class _Floor(sp.Function):
    """Constant by pieces; SymPy itself differentiates such a function only where it can see that the argument is real."""

    is_real = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return sp.S.Zero


class _Ceiling(_Floor):
    pass


class _Sign(_Floor):
    pass


_PIECES: dict[Any, Any] = {sp.floor: _Floor, sp.ceiling: _Ceiling, sp.sign: _Sign}


def _plain(expr: sp.Expr) -> sp.Expr:
    """The way back to SymPy's own functions, and the derivative of a jump, which is 0 wherever it exists."""
    if expr.has(sp.DiracDelta):
        expr = expr.replace(sp.DiracDelta, lambda *args: sp.S.Zero)
    if expr.has(absolute, maximum, *_PIECES.values()):
        expr = _rebuild(expr, {absolute: sp.Abs, maximum: sp.Max, **{own: function for function, own in _PIECES.items()}})
    return expr


def _rebuild(root: sp.Expr, table: dict[Any, Any]) -> sp.Expr:
    """`root` with the functions in `table` exchanged, arguments first; iterative."""
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(root):
        args = [done[a] for a in part.args]
        make = table.get(part.func)
        done[part] = make(*args) if make else (part.func(*args) if args != list(part.args) else part)
    return done[root]


def leaves_of(expr: sp.Expr, operators: dict[sp.Symbol, sp.Expr]) -> list[sp.Symbol]:
    """The symbols of an elementwise expression that stand for tensors or operators, in a fixed order."""
    found: Iterable[Any] = (s for s in expr.free_symbols if isinstance(s, Shaped) or s in operators)
    return sorted(found, key=lambda s: ((False, -1), s.name, s.dummy_index) if s in operators else (s.order, s.name, 0))


__all__ = ["leaves_of", "partial", "regions", "slopes"]
