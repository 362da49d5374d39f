"""Equations as data: a list of JSON values, and back. What a file may hold is a closed table of heads; nothing in it is ever
evaluated as text, so a file from a stranger can build expressions and nothing else.

Every tensor and every subexpression is stored once, after what it is made of, and named by its place in the list; so depth and
sharing cost nothing, and tensors come back in the order in which they were declared.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple
from functools import cache
from typing import Any

import numpy as np
import sympy as sp
from sympy.core.symbol import Str
from sympy.functions.elementary.piecewise import ExprCondPair

from symbackprop.errors import DataError, UnsupportedError
from symbackprop.graph import functions
from symbackprop.graph.draw import DRAWS, Draw
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.initial import INITIALIZERS
from symbackprop.graph.names import check_name
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.scan import Body, Result
from symbackprop.graph.shapes import Dim, as_shape, postorder, shape_of, show
from symbackprop.graph.tensor import Equation, Tensor, data, weight

Nodes = list[list[Any]]
Arrays = dict[str, np.ndarray[Any, Any]]

_CONSTANTS: dict[str, sp.Basic] = {
    "pi": sp.pi,
    "E": sp.E,
    "oo": sp.oo,
    "-oo": -sp.oo,
    "EulerGamma": sp.EulerGamma,
    "Catalan": sp.Catalan,
    "GoldenRatio": sp.GoldenRatio,
    "true": sp.true,
    "false": sp.false,
}
_NAMES = {constant: name for name, constant in _CONSTANTS.items()}
_ROLES = ("data", "weight", "node", "adjoint", "state")
_SPEC = re.compile(r"[A-Za-z]*(,[A-Za-z]*)*->[A-Za-z]*")
# SymPy's own constructors would simplify; what was written is kept as it was written.
_ALGEBRA: tuple[Any, ...] = (sp.Add, sp.Mul, sp.Pow, sp.Mod, sp.Piecewise, sp.And, sp.Or, sp.Not, sp.Xor, sp.Eq, sp.Ne, sp.Lt, sp.Le, sp.Gt, sp.Ge)
_BARE: tuple[Any, ...] = (sp.Tuple, ExprCondPair)


@cache
def _heads() -> dict[str, Callable[..., sp.Basic]]:
    """Name → class of everything that a stored expression may be made of."""
    elementwise = [f for f in vars(functions).values() if isinstance(f, type) and issubclass(f, functions.Elementwise)]
    known = [f for f in vars(sp.functions).values() if isinstance(f, type) and issubclass(f, sp.core.function.Application)]
    return {head.__name__: head for head in (*_ALGEBRA, *_BARE, *known, *elementwise, *_operators(Operator))}


def _operators(base: type[Operator]) -> list[type[Operator]]:
    """The operators of this package; a user's own subclasses are unknown to whoever reads the file."""
    own = [base] if base.__module__.startswith("symbackprop.") else []
    return own + [operator for derived in base.__subclasses__() for operator in _operators(derived)]


# --- writing -------------------------------------------------------------------------------------------------------------


class Writer:
    """Collects expressions: `place(expr)` stores one and gives its place in `nodes`. Arrays (initial values) go to `arrays`."""

    def __init__(self) -> None:
        self.nodes: Nodes = []
        self.arrays: Arrays = {}
        self._places: dict[sp.Basic, int] = {}

    def place(self, expr: sp.Basic) -> int:
        """The place of an expression. Raises `UnsupportedError` for a function that this package does not know."""
        for t in _all_tensors(expr):
            if t not in self._places:
                self._tensor(t)
        return self._expression(expr)

    def _expression(self, expr: sp.Basic) -> int:
        for part in postorder(expr, descend=lambda e: e not in self._places and not _is_leaf(e)):
            if part not in self._places:
                self._places[part] = len(self.nodes)
                self.nodes.append(self._body(part) or _leaf(part) or [_head(part), *(self._places[a] for a in part.args)])
        return self._places[expr]

    def _body(self, body: sp.Basic) -> list[Any] | None:
        """The equations of one step of a recurrence, whose tensors are stored already; None for all else."""
        if not isinstance(body, Body):
            return None
        groups = [[self._places[t] for t in group] for group in (body.states, body.items, body.captured, [e.symbol for e in body.equations], body.news)]
        return ["Body", body.name, *groups, [[self._places[r.tensor], r.final] for r in body.results]]

    def _tensor(self, t: Tensor) -> None:
        pair = t.adjoint_of
        node: list[Any] = [
            "Tensor",
            t.name,
            t.role,
            [size if isinstance(size, int) else [self._expression(size)] for size in t.shape],
            None if t.definition is None else self._expression(t.definition),
            self._init(t.init),
            None if pair is None else [self._places[pair[0]], self._places[pair[1]]],
        ]
        if t.inference is not None:
            node.append(self._expression(t.inference))
        if t.update is not None:
            node.append([self._expression(t.update), self._places[t.before]])
        self._places[t] = len(self.nodes)
        self.nodes.append(node)

    def _init(self, init: Any) -> Any:
        """How a weight starts: None, the name of an initializer, a number, or the key of an array; or how data are drawn."""
        if init is None or isinstance(init, str):
            return init
        if isinstance(init, Draw):
            return {"draw": [type(init).__name__, *astuple(init)]}
        if isinstance(init, sp.Expr):
            return [self._expression(init)]
        array = np.asarray(init, dtype=float)
        if array.ndim == 0:
            return float(array)
        key = f"init.{len(self.arrays)}"
        self.arrays[key] = array
        return {"array": key}


def _all_tensors(expr: sp.Basic) -> list[Tensor]:
    """Every tensor that an expression depends on, by way of definitions and adjoints: data and weights in the order of their
    declaration, then what is made of them."""
    found: set[Tensor] = set()
    stack = [*tensors_in(expr), *_in_bodies(expr)]
    while stack:
        t = stack.pop()
        if t not in found:
            found.add(t)
            stack.extend(t.adjoint_of or ())
            stack.extend(t.sources)
            stack.extend(inner for known in (t.definition, t.inference) if known is not None for inner in _in_bodies(known))
            stack.extend([t.before] if t.update is not None else [])
    return sorted(found, key=lambda t: t.order)


def _in_bodies(expr: sp.Basic) -> list[Tensor]:
    return [t for body in expr.atoms(Body) for t in body.tensors]


def _is_leaf(expr: sp.Basic) -> bool:
    return isinstance(expr, (sp.Number, sp.Symbol, Str)) or expr in _NAMES


def _leaf(expr: sp.Basic) -> list[Any] | None:
    """An atom as data, with every digit of its number; None for what has arguments."""
    if expr in _NAMES:
        return ["constant", _NAMES[expr]]
    if isinstance(expr, sp.Rational):
        return ["Rational", hex(expr.p), hex(expr.q)]
    if isinstance(expr, sp.Float):
        sign, mantissa, exponent, _ = expr._mpf_
        return ["Float", int(sign), hex(int(mantissa)), int(exponent), int(expr._prec)]
    if isinstance(expr, Dim):
        return ["Dim", expr.name]
    if isinstance(expr, Str):
        return ["Str", expr.name]
    return None


def _head(expr: sp.Basic) -> str:
    name = expr.func.__name__
    if _heads().get(name) is not expr.func:
        raise UnsupportedError(f"{expr} holds {name}, which is not a function of SymPy or of this package, so a file cannot hold it")
    return name


# --- reading -------------------------------------------------------------------------------------------------------------


def read(nodes: Sequence[Any], arrays: Arrays) -> list[sp.Basic]:
    """The expressions of a list that `Writer` made, each at its place. Raises `DataError` where the list is damaged."""
    done: list[sp.Basic] = []
    for node in nodes:
        try:
            made = _read_one(node, done, arrays)
            hash(made)  # SymPy's hash recurses but is remembered: bottom-up, no depth is too deep
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DataError(f"entry {len(done)} of the stored equations is damaged: {error}") from error
        done.append(made)
    return done


def _read_one(node: Sequence[Any], done: list[sp.Basic], arrays: Arrays) -> sp.Basic:
    head, *rest = node
    if head in _READERS:
        return _READERS[head](*rest, done=done, arrays=arrays)
    if head not in _heads():
        raise ValueError(f"the head {head!r} is unknown")
    make, args = _heads()[head], [_at(done, i) for i in rest]
    if make is Einsum and not (isinstance(args[0], Str) and _SPEC.fullmatch(args[0].name)):
        raise ValueError(f"{args[0]} is not the index string of a contraction")
    plain = make in _BARE or (isinstance(make, type) and issubclass(make, Operator))
    return make(*args) if plain else make(*args, evaluate=False)


def _at(done: list[sp.Basic], place: Any) -> Any:
    if not isinstance(place, int) or not 0 <= place < len(done):
        raise ValueError(f"{place!r} is not the place of an earlier entry")
    return done[place]


def _read_float(sign: int, mantissa: str, exponent: int, precision: int, **_: Any) -> sp.Basic:
    number = int(mantissa, 16)
    if not number:
        return sp.Float(0, precision=int(precision))
    return sp.Float((int(sign), number, int(exponent), number.bit_length()), precision=int(precision))


def _read_tensor(
    name: str, role: str, shape: Any, definition: Any, init: Any, pair: Any, other: Any = None, *, done: list[sp.Basic], arrays: Arrays
) -> sp.Basic:
    """`other`: of a node its expression at inference, of a state its update and its old value."""
    check_name(name, role)  # names become code
    if role not in _ROLES or (definition is None) != (role in ("data", "weight", "state")):
        raise ValueError(f"{name!r} cannot have the role {role!r}")
    sizes = as_shape([_at(done, size[0]) if isinstance(size, list) else size for size in shape])
    if role == "data":
        return data(name, sizes, _read_init(init, done, arrays))
    if role == "weight":
        return weight(name, sizes, _read_init(init, done, arrays))
    if role == "state" and other is not None:
        update, before = (_at(done, place) for place in other)
        if (before.name, before.shape, before.role, before.update, shape_of(update)) != (name, sizes, role, None, sizes):
            raise ValueError(f"{name!r} cannot be updated to {update} of {before}")
        return Tensor(name, sizes, role, init=before.init, update=update)
    if role == "state":
        return Tensor(name, sizes, role, init=_read_init(init, done, arrays))
    made = [None if place is None else _at(done, place) for place in (definition, other)]
    for expr in made:
        if expr is not None and shape_of(expr) != sizes:
            raise ValueError(f"{name!r} has shape {show(sizes)} but its equation has shape {show(shape_of(expr))}")
    return Tensor(name, sizes, role, made[0], None, None if pair is None else (_at(done, pair[0]), _at(done, pair[1])), made[1])


def _read_body(name: str, *groups: Any, done: list[sp.Basic], arrays: Arrays) -> sp.Basic:
    check_name(name, "recurrence")
    states, items, captured, symbols, news = ([_at(done, place) for place in group] for group in groups[:-1])
    known = {*states, *items, *captured}
    for symbol in symbols:
        if not tensors_in(symbol.definition) <= known:
            raise ValueError(f"the equation of {symbol} mentions what the step does not know")
        known.add(symbol)
    results = [Result(_at(done, place), bool(final)) for place, final in groups[-1]]
    if len({t.name for t in known}) < len([*states, *items, *captured, *symbols]) or not known.issuperset([*news, *(r.tensor for r in results)]):
        raise ValueError(f"the names in the step of {name!r} are not those of different tensors")
    if [t.shape for t in states] != [t.shape for t in news]:
        raise ValueError(f"a state of {name!r} changes its shape")
    return Body(name, states, items, captured, [Equation(s, s.definition) for s in symbols], news, results)


def _read_init(init: Any, done: list[sp.Basic], arrays: Arrays) -> Any:
    if isinstance(init, str) and init not in INITIALIZERS:
        raise ValueError(f"the initializer {init!r} is unknown")
    if isinstance(init, dict) and "draw" in init:
        return DRAWS[init["draw"][0]](*init["draw"][1:])
    if isinstance(init, dict):
        return arrays[init["array"]]
    return _at(done, init[0]) if isinstance(init, list) else init


_READERS: dict[str, Callable[..., sp.Basic]] = {
    "constant": lambda name, **_: _CONSTANTS[name],
    "Rational": lambda p, q, **_: sp.Rational(int(p, 16), int(q, 16)),
    "Float": _read_float,
    "Dim": lambda name, **_: Dim(name),
    "Str": lambda text, **_: Str(str(text)),
    "Tensor": _read_tensor,
    "Body": _read_body,
}


def write(roots: Iterable[sp.Basic]) -> tuple[Nodes, list[int], Arrays]:
    """The equations behind some expressions: (list, places of the roots in it, arrays that it refers to)."""
    writer = Writer()
    places = [writer.place(root) for root in roots]
    return writer.nodes, places, writer.arrays


__all__ = ["Writer", "read", "write"]
