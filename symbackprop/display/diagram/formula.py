"""Expressions as a line of text for a small box: tanh(z₁), X W₁ + b₁, ½(y − t)². What is too long is cut short from the inside."""

# ruff: noqa: RUF001  (mathematical signs are what this file writes)

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any

import sympy as sp

from symbackprop.calculus.order import common_factor, fraction, is_negative_term, terms
from symbackprop.display.diagram.text import Span, Text, name_text, plain, text
from symbackprop.graph.functions import absolute, maximum, sigmoid, step
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.gather import OneHot
from symbackprop.graph.operators.layout import Reshape, Slice
from symbackprop.graph.operators.reduction import AxisMax, LogSoftmax, LogSumExp
from symbackprop.graph.operators.scan import Part, Scan, moment
from symbackprop.graph.shapes import Dim, rank_of
from symbackprop.graph.tensor import Tensor

# How tightly a text binds, from loose to tight. Juxtaposed matrices are bracketed beside ⊙: A (B ⊙ C) is not (A B) ⊙ C.
_SUM, _SIGNED, _PRODUCT, _MATRIX, _POWER, _ATOM = range(6)
Printed = tuple[Text, int]

_FRACTIONS = {(1, 2): "½", (1, 3): "⅓", (2, 3): "⅔", (1, 4): "¼", (3, 4): "¾"}
_NAMES: dict[Any, str] = {sigmoid: "σ", sp.asin: "arcsin", sp.acos: "arccos", sp.atan: "arctan", sp.Max: "max", sp.Min: "min", maximum: "max"}
_NAMES |= {AxisMax: "max", LogSoftmax: "log softmax", OneHot: "one-hot", LogSumExp: "logsumexp"}
_RELATIONS = {"<": " < ", ">": " > ", "<=": " ≤ ", ">=": " ≥ ", "==": " = ", "!=": " ≠ "}
_CONSTANTS = {sp.pi: "π", sp.E: "e", sp.oo: "∞", sp.true: "true", sp.false: "false"}
_ELIDED: Printed = (text("…"), _ATOM)
_TRIED, _MOST = 60, 300  # parts of a long expression that may be hidden; of one of which only the operation is named


def formula(expr: sp.Basic, depth: int = 40, hidden: sp.Basic | None = None) -> Text:
    """The expression as text; `hidden`, and what lies deeper than `depth`, is written as an ellipsis."""
    return _Formula(hidden).of(expr, depth)[0]


def fitted(expr: sp.Basic, fits: Callable[[Text], bool]) -> Text:
    """The most complete text of the expression that `fits`; at the least, its outermost operation."""
    if isinstance(expr, Scan):  # its equations, or which states it carries
        whole = formula(expr)
        return whole if fits(whole) else (Span("recurrence of "), *_join((_timed(new.name) for new in expr.body.news), ", "))
    name = {sp.Add: "sum", sp.Mul: "product", sp.Pow: "power", sp.Piecewise: "cases"}.get(expr.func, _name(expr))
    parts = list(islice(sp.preorder_traversal(expr), _MOST))
    if len(parts) == _MOST:
        return text(name)
    whole = formula(expr)
    if fits(whole):
        return whole
    parts = [part for part in parts[1:_TRIED] if part.args and not part.is_number]
    shorter = [formula(expr, hidden=part) for part in dict.fromkeys(parts)] + [formula(expr, depth) for depth in range(1, 6)]
    shorter = [found for found in shorter if fits(found) and _tells(plain(found))]
    return max(shorter, key=lambda found: len(plain(found)), default=text(name))


def _tells(shortened: str) -> bool:
    return shortened.count("…") <= 2 and any(c.isalnum() for c in shortened)


def _name(expr: sp.Basic) -> str:
    return _NAMES.get(expr.func, expr.func.__name__.lower())


def _join(parts: Iterable[Text], separator: str) -> Text:
    joined: list[Span] = []
    for i, part in enumerate(parts):
        joined.extend((Span(separator), *part) if i else part)
    return tuple(joined)


class _Formula:
    """One method for each kind of expression; each returns the text and how tightly it binds."""

    def __init__(self, hidden: sp.Basic | None = None) -> None:
        self.hidden = hidden
        self.names: dict[sp.Basic, Text] = {}

    def of(self, expr: sp.Basic, depth: int) -> Printed:
        if isinstance(expr, Tensor) and expr.adjoint_of is not None:
            loss, z = expr.adjoint_of
            return (Span("∂"), *name_text(loss), Span("/∂"), *name_text(z)), _PRODUCT
        if isinstance(expr, (sp.Symbol, Dim)):
            return self.names.get(expr) or name_text(expr), _ATOM
        if expr in _CONSTANTS:
            return text(_CONSTANTS[expr]), _ATOM
        if isinstance(expr, sp.Number):
            return _number(expr)
        if depth <= 0 or expr == self.hidden:
            return _ELIDED
        for kind, method in self._METHODS:
            if isinstance(expr, kind):
                return method(self, expr, depth - 1)
        return (self._call(_name(expr), expr.args, depth - 1), _ATOM) if expr.args else (text(str(expr)), _ATOM)

    def bind(self, expr: sp.Basic, depth: int, wanted: int) -> Text:
        """The text, in brackets unless it binds as tightly as wanted."""
        found, level = self.of(expr, depth)
        return found if level >= wanted else (Span("("), *found, Span(")"))

    def _call(self, name: str, args: Sequence[sp.Basic], depth: int) -> Text:
        return (Span(name + "("), *_join((self.of(x, depth)[0] for x in args), ", "), Span(")"))

    def _add(self, expr: sp.Add, depth: int) -> Printed:
        number, rest = common_factor(expr)
        if number != 1:
            return self._product(number < 0, [sp.Integer(abs(number.p)), rest], [sp.Integer(number.q)], depth)
        found: list[Span] = []
        for term in terms(expr):
            negative = is_negative_term(term)
            found += [Span(" − " if negative else " + ")] if found else [Span("−")] if negative else []
            found += self.bind(-term if negative else term, depth, _PRODUCT)
        return tuple(found), _SUM

    def _mul(self, expr: sp.Mul, depth: int) -> Printed:
        return self._product(*fraction(expr), depth)

    def _product(self, negative: bool, above: list[sp.Expr], below: list[sp.Expr], depth: int) -> Printed:
        p, above = _numbers(above)
        q, below = _numbers(below)
        sign = (Span("−"),) if negative else ()
        level = _SIGNED if negative else _PRODUCT
        if (p, q) in _FRACTIONS and not below and above:  # ½(y − t)²
            return (*sign, Span(_FRACTIONS[p, q]), *self._factors([], above, depth, _MATRIX)), level
        head = [sp.Integer(p)] if p != 1 or not above else []
        if not below and q == 1:
            return (*sign, *self._factors(head, above, depth, _PRODUCT)), level
        under = ([sp.Integer(q)] if q != 1 else []) + below
        divisor = self._factors(under, [], depth, _POWER)
        divisor = divisor if len(under) == 1 else (Span("("), *divisor, Span(")"))
        return (*sign, *self._factors(head, above, depth, _MATRIX), Span("/"), *divisor), level

    def _factors(self, head: list[sp.Expr], rest: list[sp.Expr], depth: int, lone: int) -> Text:
        """Scalars side by side, ⊙ between arrays."""
        args = [*head, *rest]
        if len(args) == 1:
            return self.bind(args[0], depth, lone)
        scalars = [x for x in args if not rank_of(x)]
        arrays = [x for x in args if rank_of(x)]
        parts = [self.bind(x, depth, _MATRIX) for x in scalars]
        if arrays:
            parts.append(_join((self.bind(x, depth, _POWER if len(arrays) > 1 else _MATRIX) for x in arrays), " ⊙ "))
        return _join(parts, "\u2009")

    def _pow(self, expr: sp.Pow, depth: int) -> Printed:
        base, exponent = expr.args
        if exponent.is_Rational and exponent < 0:
            return (Span("1/"), *self.bind(base**-exponent, depth, _POWER)), _PRODUCT
        if exponent == sp.Rational(1, 2):
            return (Span("√"), *self.bind(base, depth, _ATOM)), _POWER
        raised = self.of(exponent, depth)[0]
        if any(span.level for span in raised):
            return (*self.bind(base, depth, _ATOM), Span("^("), *raised, Span(")")), _POWER
        return (*self.bind(base, depth, _ATOM), *(span._replace(level=1) for span in raised)), _POWER

    def _exp(self, expr: sp.exp, depth: int) -> Printed:
        return self._call("exp", expr.args, depth), _ATOM

    def _bars(self, expr: sp.Expr, depth: int) -> Printed:
        return (Span("|"), *self.of(expr.args[0], depth)[0], Span("|")), _ATOM

    def _step(self, expr: step, depth: int) -> Printed:
        return (Span("["), *self.of(expr.args[0], depth)[0], Span(" > 0]")), _ATOM

    def _scan(self, expr: Scan, depth: int) -> Printed:
        """The equations of one step."""
        body = expr.body
        inside = _Formula(self.hidden)
        captured = dict(zip(body.captured, expr.operands[len(body.states) + len(body.items) :], strict=True))
        inside.names = {t: self.bind(captured[t], depth, _ATOM) if t in captured else _timed(t.name) for t in body.tensors}
        equations = [(*inside.of(symbol, depth)[0], Span(" = "), *inside.of(value, depth)[0]) for symbol, value in body.equations]
        return _join(equations, "; "), _SUM

    def _part(self, expr: Part, depth: int) -> Printed:
        """h_t of all t, or the state after the last step."""
        return _timed(expr.result.tensor.name) if not expr.result.final else name_text(sp.Symbol(f"{moment(expr.result.tensor.name)[0]}_last")), _ATOM

    def _piecewise(self, expr: sp.Piecewise, depth: int) -> Printed:
        found: list[Span] = []
        for value, condition in expr.args:
            found += [Span(" else ")] if found else []
            found += self.of(value, depth)[0]
            found += [Span(" if "), *self.of(condition, depth)[0]] if condition is not sp.true else []
        return tuple(found), _SUM

    def _relation(self, expr: Any, depth: int) -> Printed:
        sign = _RELATIONS.get(expr.rel_op, f" {expr.rel_op} ")
        return (*self.of(expr.lhs, depth)[0], Span(sign), *self.of(expr.rhs, depth)[0]), _SUM

    def _boolean(self, expr: Any, depth: int) -> Printed:
        return _join((self.bind(x, depth, _SUM) for x in expr.args), f" {_name(expr)} "), _SUM

    def _einsum(self, expr: Einsum, depth: int) -> Printed:
        ins, out = expr.spec
        if expr.convolved:
            return _join((self.bind(x, depth, _MATRIX) for x in expr.convolved.operands), " ⋆ "), _MATRIX
        if expr.matmul is not None and not expr.matmul.summed:
            return _join((self._turned(x, turned, depth) for x, turned in expr.matmul.factors), "\u2009"), _MATRIX
        if expr.pair is not None and expr.pair.is_outer:
            a, b = (expr.operands[i] for i in expr.pair.operands)
            return (*self.bind(a, depth, _POWER), Span(" ⊗ "), *self.bind(b, depth, _POWER)), _MATRIX
        if len(ins) == 1 and sorted(out) == sorted(ins[0]):
            if len(out) == 2:
                return self._turned(expr.operands[0], True, depth), _POWER
            return self._call("transpose", expr.operands, depth), _ATOM
        if len(ins) == 1 and out == "".join(c for c in ins[0] if c in out):
            axes = ",".join(str(i) for i, c in enumerate(ins[0]) if c not in out)
            space = (Span("\u2009"),) if isinstance(expr.operands[0], Tensor) else ()
            return (Span("Σ"), *(text(axes, -1) if out else ()), *space, *self.bind(expr.operands[0], depth, _POWER)), _MATRIX
        return self._call("einsum", expr.operands, depth), _ATOM

    def _turned(self, x: sp.Expr, turned: bool, depth: int) -> Text:
        return (*self.bind(x, depth, _ATOM), Span("⊤", 1)) if turned else self.bind(x, depth, _MATRIX)

    def _broadcast(self, expr: Broadcast, depth: int) -> Printed:
        return self.of(expr.operands[0], depth + 1)

    def _reshape(self, expr: Reshape, depth: int) -> Printed:
        if expr.moves_unit_axes():
            return self.of(expr.operands[0], depth + 1)
        return self._call("reshape", expr.operands, depth), _ATOM

    def _slice(self, expr: Slice, depth: int) -> Printed:
        return (*self.bind(expr.operands[0], depth, _ATOM), Span("[…]")), _ATOM

    def _operator(self, expr: Operator, depth: int) -> Printed:
        return self._call(_name(expr), expr.operands, depth), _ATOM

    _METHODS: tuple[tuple[Any, Callable[["_Formula", Any, int], Printed]], ...] = (
        (sp.Add, _add), (sp.Mul, _mul), (sp.Pow, _pow), (sp.exp, _exp), ((sp.Abs, absolute), _bars), (step, _step),
        (sp.Piecewise, _piecewise), (sp.core.relational.Relational, _relation), ((sp.And, sp.Or), _boolean), (Einsum, _einsum),
        (Broadcast, _broadcast), (Reshape, _reshape), (Slice, _slice), (Scan, _scan), (Part, _part), (Operator, _operator),
    )  # fmt: skip


def _timed(name: str) -> Text:
    """A name of a recurrence's step: h_t, h_{t-1}."""
    base, when = moment(name)
    if when is None:
        return name_text(sp.Symbol(name))
    return (*name_text(sp.Symbol(base)), Span("t" if not when else f"t{when:+}".replace("-", "−"), -1))


def _number(number: sp.Number) -> Printed:
    if isinstance(number, sp.Rational):
        value = _FRACTIONS.get((abs(number.p), number.q)) or f"{abs(number.p)}" + (f"/{number.q}" if number.q != 1 else "")
        level = _SIGNED if number < 0 else _ATOM if number.q == 1 else _POWER
        return text(("−" if number < 0 else "") + value), level
    mantissa, _, exponent = f"{float(number):.4g}".replace("-", "−").partition("e")
    if not exponent:
        return text(mantissa), _SIGNED if number < 0 else _ATOM
    power = (Span("10"), Span(str(int(exponent.replace("−", "-"))).replace("-", "−"), 1))
    return power if mantissa == "1" else (Span(mantissa + "·"), *power), _POWER if mantissa == "1" else _SIGNED


def _numbers(factors: list[sp.Expr]) -> tuple[int, list[sp.Expr]]:
    """The product of the integers among the factors, and the other factors."""
    number = 1
    for x in factors:
        number *= int(x) if isinstance(x, sp.Integer) else 1
    return number, [x for x in factors if not isinstance(x, sp.Integer)]
