"""`scan`: a recurrence from a Python function of one step. The function is called once, on placeholders; what it mentions besides them,
weights above all, becomes an operand of the scan, so that the equations of a step stand by themselves."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError, UnsupportedError
from symbackprop.graph.equations import collect, depends_on
from symbackprop.graph.inference import renewed
from symbackprop.graph.names import Namer, check_name
from symbackprop.graph.operators.base import operand
from symbackprop.graph.operators.indexing import getitem
from symbackprop.graph.operators.layout import broadcast_to, concatenate, reshape
from symbackprop.graph.operators.scan import Body, Result, Scan, moment, part
from symbackprop.graph.shapes import Dimension, Shape, as_dimension, broadcast, shape_of, show
from symbackprop.graph.tensor import Equation, Tensor, as_expression, declare, node


class Recurrence(Mapping[str, sp.Expr]):
    """What `scan` gives. `states`: each state after every step, stacked along a first axis; `last`: each after the last step. Both are tuples,
    or one expression where the initial state was one. `[name]`: a named equation of the step, stacked; `name in recurrence` says if there is one.
    """

    def __init__(self, stacks: dict[str, sp.Expr], states: tuple[sp.Expr, ...], last: tuple[sp.Expr, ...], single: bool) -> None:
        self._stacks = stacks
        self.states: Any = states[0] if single else states
        self.last: Any = last[0] if single else last

    def __getitem__(self, name: str) -> sp.Expr:
        if name not in self._stacks:
            raise NetworkError(f"the step has no equation {name!r}; it has {', '.join(map(repr, self._stacks))}")
        return self._stacks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stacks)

    def __len__(self) -> int:
        return len(self._stacks)


def scan(
    step: Callable[..., Any],
    sequences: Any = (),
    initial: Any = (),
    name: str = "scan",
    *,
    length: Any = None,
    reverse: bool = False,
    unroll: bool = False,
) -> Recurrence:
    """A recurrence: `step(*states, *items)` returns the states after one step of time, or one state where there is one.

    `sequences`: one expression or several, time along their first axis; `step` is given the values of one time, without that axis.
    `initial`: the state before the first step, or several; 0, or what has a smaller shape, is broadcast to the shape that `step` returns, and
    `broadcast_to(0, shape)` says it where `step` itself needs the shape, as a product of matrices does. What else `step` mentions is the same at
    every step, masks of dropout too (Gal & Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks", 2016,
    section 4). It may name its equations with `node`; an ending `_t` says that the value is that of time t. `name`: what the recurrence is called.
    `length`: the number of steps, needed only without sequences. `reverse`: from the last time to the first. `unroll`: every step as equations
    of its own, for an integer number of steps, which have closed forms.

    The gradient is a recurrence backwards, as in Goodfellow, Bengio & Courville, Deep Learning, section 10.2.2. Shapes: sequences (T, ..), states
    any, stacks (T, ..). Raises `ShapeError` where lengths differ, or a state changes its shape; `NetworkError` where `step` does not take or
    return one value for each state; `UnsupportedError` for a scan inside a scan, which must be unrolled, and for what changes with every step
    of training, such as the averages of batch norm.
    """
    check_name(name, "recurrence")
    single = isinstance(initial, sp.Basic) or not isinstance(initial, Sequence)
    starts = [operand(x, f"scan {name!r}") for x in ([initial] if single else initial)]
    xs = [operand(x, f"scan {name!r}") for x in ([sequences] if isinstance(sequences, sp.Basic) else sequences)]
    if not starts:
        raise NetworkError(f"scan {name!r}: no initial state was given; expected at least one (what has no state is no recurrence)")
    steps = _length(name, xs, length)
    traced = _traced(name, step, starts, xs)
    made, now = _scan(name, traced, {}, xs, steps, reverse), _at_inference(name, traced)
    if unroll and now:
        raise UnsupportedError(f"scan {name!r}: the step differs between training and inference, as dropout does, which unroll=True cannot say; leave it out")
    if unroll:
        return _unrolled(made, single)
    body, y = made.body, node(name, made, _scan(name, traced, now, xs, steps, reverse) if now else None)
    stacks = {e.symbol.name: part(y, e.symbol) for e in body.equations}
    return Recurrence(stacks, tuple(part(y, new) for new in body.news), tuple(part(y, state, final=True) for state in body.states), single)


def _length(name: str, xs: Sequence[sp.Expr], length: Any) -> Dimension:
    steps = None if length is None else as_dimension(length)
    for x in xs:
        shape = shape_of(x)
        if not shape:
            raise ShapeError(f"scan {name!r}: the sequence {x} is a scalar; expected time along its first axis")
        steps = shape[0] if steps is None else steps
        if shape[0] != steps:
            raise ShapeError(f"scan {name!r}: the sequence {x} has {shape[0]} steps of time, others have {steps}; they must be equal")
    if steps is None or steps == 0:
        raise ShapeError(f"scan {name!r}: there are no sequences to take the number of steps from; give at least one, or length=...")
    return steps


# --- tracing -------------------------------------------------------------------------------------------------------------


class _Mark:
    """Tells the placeholders of one call of `step` from all other tensors."""


class _Traced(NamedTuple):
    """What `step` made of placeholders: `given`, for the states and the items; `starts`, the states before the first step, in the shape that
    they keep; `symbols`, the states after it; `inner`, all that depends on the placeholders."""

    given: list[Tensor]
    starts: list[sp.Expr]
    symbols: list[Tensor]
    inner: list[Tensor]


def _traced(name: str, step: Callable[..., Any], starts: list[sp.Expr], xs: Sequence[sp.Expr]) -> _Traced:
    words = _words(name, step, len(starts) + len(xs))
    items = [shape_of(x)[1:] for x in xs]
    for _ in range(len(starts) + 1):  # what is broadcast to one state may be needed by the next
        shapes = [shape_of(x) for x in starts]
        mark = _Mark()
        given = [Tensor(word, shape, "data", init=(mark, word)) for word, shape in zip(words, [*shapes, *items], strict=True)]
        symbols = _called(name, step, given, len(starts))
        grown = [symbol.shape for symbol in symbols]
        if grown == shapes or any(_common(shape, new) != new for shape, new in zip(shapes, grown, strict=True)):
            break
        starts = [broadcast_to(x, shape) for x, shape in zip(starts, grown, strict=True)]
    for word, symbol, shape in zip(words, symbols, shapes, strict=False):
        if symbol.shape != shape:
            raise ShapeError(f"scan {name!r}: the state {word!r} begins with shape {show(shape)} and has {show(symbol.shape)} after a step; make them equal")
    found = collect(symbols)
    inside = depends_on(found, given)
    return _Traced(given, starts, symbols, [t for t in found if (t in inside or t in symbols) and t not in given])


def _called(name: str, step: Callable[..., Any], given: Sequence[Tensor], n_states: int) -> list[Tensor]:
    """The states after a step, each with a name."""
    try:
        returned = step(*given)
    except ShapeError as error:
        scalar = next((t for t in given[:n_states] if not t.shape), None)
        if scalar is None:
            raise
        raise ShapeError(
            f"scan {name!r}: the step does not take the state {scalar.name!r} as the scalar that it begins as ({error}); "
            'give it its whole shape, such as initial=broadcast_to(0, ("n", 4))'
        ) from None
    news = list(returned) if isinstance(returned, (tuple, list)) else [returned]
    if len(news) != n_states:
        raise NetworkError(f"scan {name!r}: the step returned {len(news)} values for {n_states} states; return the new value of each state")
    return [
        new if isinstance(new, Tensor) and new.definition is not None else node(f"{moment(t.name)[0]}_t", as_expression(new, f"scan {name!r}"))
        for t, new in zip(given, news, strict=False)
    ]


def _common(old: Shape, new: Shape) -> Shape | None:
    try:
        return broadcast(old, new)
    except ShapeError:
        return None


def _words(name: str, step: Callable[..., Any], count: int) -> list[str]:
    """What the step calls its arguments."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(step).parameters.values())
    words = [p.name for p in parameters if p.kind in kinds]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        words += [f"x_{k}" for k in range(1, 1 + count - len(words))]
    if len(words) != count:
        raise NetworkError(f"scan {name!r}: the step takes {len(words)} arguments; expected {count}, the states and then one item of each sequence")
    return words


def _scan(name: str, traced: _Traced, now: Mapping[Tensor, Tensor], xs: Sequence[sp.Expr], steps: Dimension, reverse: bool) -> Scan:
    """The recurrence of what was traced. `now`: what its equations are at inference, where that is something else; it has the same results."""
    results = [now.get(t, t) for t in traced.inner]
    found = collect(results)
    inside = depends_on(found, traced.given)
    inner = [t for t in found if (t in inside or t in results) and t not in traced.given]
    captured = sorted({s for t in inner for s in t.inputs} - set(inner) - set(traced.given), key=lambda t: t.order)
    symbols = [now.get(t, t) for t in traced.symbols]
    body = _closed(name, traced.given, inner, symbols, captured, results, reverse)
    return Scan(body, sp.Integer(-1 if reverse else 1), sp.sympify(steps, strict=True), *traced.starts, *xs, *captured)


def _closed(
    name: str,
    given: Sequence[Tensor],
    inner: Sequence[Tensor],
    symbols: Sequence[Tensor],
    captured: Sequence[Tensor],
    results: Sequence[Tensor],
    reverse: bool,
) -> Body:
    """The equations in placeholders of their own, named by the time that they are from."""
    namer = Namer()
    table: dict[sp.Basic, Tensor] = {}
    wishes = [f"{moment(t.name)[0]}_t" for t in inner]
    finals = dict(zip(inner, [namer(w) for w in wishes], strict=True))
    before = "_next" if reverse else "_prev"
    for k, t in enumerate(given):
        wish = f"{moment(finals[symbols[k]])[0]}{before}" if k < len(symbols) else f"{moment(t.name)[0]}_t"
        table[t] = declare(namer(wish), t.shape, "state")  # in this order, whatever other body has the same
    for t in captured:
        table[t] = declare(namer(t.name), t.shape, "state")
    equations = []
    for t in inner:
        assert t.definition is not None
        if t.definition.has(Scan):
            raise UnsupportedError(f"scan {name!r}: the step holds the recurrence {t.name!r}; make the inner one with unroll=True")
        expr = t.definition.xreplace(table)
        table[t] = Tensor(finals[t], t.shape, "node", expr)
        equations.append(Equation(table[t], expr))
    places = [table[t] for t in (*given, *captured)]
    states = places[: len(symbols)]
    found = [*(Result(s, True) for s in states), *map(Result, states), *(Result(table[t]) for t in results)]
    return Body(name, states, places[len(symbols) : len(given)], places[len(given) :], equations, [table[t] for t in symbols], found)


def _at_inference(name: str, traced: _Traced) -> dict[Tensor, Tensor]:
    """What becomes of the equations of a step once the network is trained. None of them may change a state of the network."""
    everything, inside = collect(traced.symbols, everything=True), set(traced.given)
    for t in everything:
        if not inside.isdisjoint(t.sources):
            inside.add(t)
            if t.update is not None:
                raise UnsupportedError(
                    f"scan {name!r}: {t.name!r} changes with every step of training, and the step of time would change it too; "
                    "apply what it belongs to before the recurrence, or after it"
                )
    return {t: new for t, new in renewed(traced.symbols).items() if t in inside}


# --- step by step --------------------------------------------------------------------------------------------------------


def _unrolled(scan: Scan, single: bool) -> Recurrence:
    """Every step as equations of its own: h_scan_0, h_scan_1 ..."""
    steps, body = scan.length, scan.body
    if not isinstance(steps, int):
        raise UnsupportedError(f"scan {body.name!r}: {steps} steps cannot be written out; unroll needs an integer number of steps in the shape")
    result = written_out(scan, steps, lambda base, t: f"{base}_{body.name}_{t}")
    rows = {symbol: result(Result(symbol)) for symbol, _ in body.equations}
    finals = tuple(result(Result(state, True)) for state in body.states)
    return Recurrence({s.name: row for s, row in rows.items()}, tuple(rows[new] for new in body.news), finals, single)


def written_out(scan: Scan, steps: int, name: Callable[[str, int], str]) -> Callable[[Result], sp.Expr]:
    """The equations of every step as nodes, called by `name` of the name in the body and the time. Returns what gives each result of the scan."""
    body = scan.body
    constants = dict(zip(body.captured, scan.operands[len(body.states) + len(body.items) :], strict=True))
    values: dict[Tensor, dict[int, sp.Expr]] = {t: {} for t in (*body.states, *(e.symbol for e in body.equations))}
    states: Sequence[sp.Expr] = scan.initial
    for t in reversed(range(steps)) if scan.reverse else range(steps):
        table: dict[sp.Basic, sp.Expr] = {**constants, **dict(zip(body.states, states, strict=True))}
        table |= {item: getitem(x, t) for item, x in zip(body.items, scan.sequences, strict=True)}
        for symbol, expr in body.equations:
            table[symbol] = node(name(moment(symbol.name)[0], t), expr.xreplace(table))
        for tensor, by_time in values.items():
            by_time[t] = table[tensor]
        states = [table[new] for new in body.news]
    last = dict(zip(body.states, states, strict=True))

    def result(r: Result) -> sp.Expr:
        return last[r.tensor] if r.final else concatenate([reshape(values[r.tensor][t], (1, *r.tensor.shape)) for t in range(steps)])

    return result


__all__ = ["Recurrence", "scan", "written_out"]
