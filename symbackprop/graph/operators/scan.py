"""Recurrence: a scan carries states through time and applies the same equations, its body, at every step. It has several results,
so this file also says what an expression with several results is, and how one of them is read.

Source: the reverse of a loop is a loop backwards, Griewank & Walther, Evaluating Derivatives, 2nd ed., section 3.2 (an evaluation
procedure is a list of assignments, whichever loop wrote it); Goodfellow, Bengio & Courville, Deep Learning, section 10.2.2.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, cast

import sympy as sp

from symbackprop.errors import ShapeError, UnsupportedError
from symbackprop.graph.operators.base import CodePrinter, Index, IndexContext, LatexPrinter, Operator, TimePrinter
from symbackprop.graph.shapes import Dim, Shape, as_dimension, shape_of, show, size_of
from symbackprop.graph.tensor import Equation, Tensor

# The derivative of a scan is made by the calculus, which enters itself here.
CALCULUS: dict[str, Callable[..., Any]] = {}


class Result(NamedTuple):
    """What a scan gives: the values of a tensor of its body at all steps, stacked along a first axis, or the last value of a state."""

    tensor: Tensor
    final: bool = False


class Body(sp.Atom):
    """The equations of one step, closed: they mention nothing but each other and the placeholders `states`, `items`, `captured`.

    `states`: the states before the step; `items`: what the step takes of each sequence; `captured`: what stays the same at every step.
    `news`: the state after the step, for each of `states`. Names say when a value is from: `h_t` from step t, `h_prev` from the step
    that came before it in time, `h_next` from the one after it. Two bodies are the same if they are made of the same parts.
    """

    def __new__(
        cls,
        name: str,
        states: Sequence[Tensor],
        items: Sequence[Tensor],
        captured: Sequence[Tensor],
        equations: Sequence[Equation],
        news: Sequence[Tensor],
        results: Sequence[Result] | None = None,
    ) -> "Body":
        made = super().__new__(cls)
        made.name, made.states, made.items, made.captured = name, tuple(states), tuple(items), tuple(captured)
        made.equations, made.news = tuple(equations), tuple(news)
        everything = (*(Result(s, True) for s in states), *map(Result, states), *(Result(e.symbol) for e in equations))
        made.results = everything if results is None else tuple(results)
        return made

    name: str
    states: tuple[Tensor, ...]
    items: tuple[Tensor, ...]
    captured: tuple[Tensor, ...]
    equations: tuple[Equation, ...]
    news: tuple[Tensor, ...]
    results: tuple[Result, ...]

    @property
    def parts(self) -> tuple[Any, ...]:
        return self.name, self.states, self.items, self.captured, self.equations, self.news, self.results

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.parts

    def __reduce__(self) -> Any:
        return Body, self.parts

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()

    @cached_property
    def symbols(self) -> tuple[Tensor, ...]:
        """What the equations define."""
        return tuple(e.symbol for e in self.equations)

    @cached_property
    def tensors(self) -> tuple[Tensor, ...]:
        """All placeholders, then the symbols of the equations."""
        return (*self.states, *self.items, *self.captured, *self.symbols)

    @cached_property
    def free_symbols(self) -> set[sp.Basic]:
        """Sizes that are open; tensors are bound."""
        sizes = {d for t in self.tensors for size in t.shape for d in getattr(size, "free_symbols", ())}
        return sizes | {d for _, expr in self.equations for d in expr.free_symbols if isinstance(d, Dim)}

    def _xreplace(self, rule: Any) -> tuple[sp.Basic, bool]:
        """With other sizes in the place of open ones: of one sample in the place of many."""
        sizes = {d: rule[d] for d in self.free_symbols if d in rule}
        if self in rule or not sizes:
            found: sp.Basic = rule.get(self, self)
            return found, found is not self
        table: dict[Any, Any] = dict(sizes)
        for t in self.tensors:
            expr = None if t.definition is None else t.definition.xreplace(table)
            table[t] = Tensor(t.name, tuple(size if isinstance(size, int) else size.xreplace(sizes) for size in t.shape), t.role, expr)
        return self.renewed(table), True

    def renewed(self, table: Mapping[Any, Any]) -> "Body":
        """The same body in other tensors, those of `table`."""

        def now(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [table.get(t, t) for t in tensors]

        equations = [Equation(table[s], table[s].definition) if s in table else Equation(s, e) for s, e in self.equations]
        results = [Result(table.get(r.tensor, r.tensor), r.final) for r in self.results]
        return Body(self.name, now(self.states), now(self.items), now(self.captured), equations, now(self.news), results)

    def xreplace(self, rule: Any) -> sp.Basic:
        return self._xreplace(rule)[0]

    def after(self, state: Tensor) -> Tensor:
        """The state after the step."""
        return self.news[self.states.index(state)]

    def keeping(self, wanted: Sequence[int]) -> tuple["Body", list[int]]:
        """The body that gives only these results, without the equations and placeholders that none of them needs; and the places of the
        placeholders that are left, among the operands."""
        results = [self.results[k] for k in wanted]
        needed = {r.tensor for r in results}
        size = -1
        while size != len(needed):  # a state that is needed needs its new value, which may need another state
            size = len(needed)
            needed |= {new for state, new in zip(self.states, self.news, strict=True) if state in needed}
            for symbol, expr in reversed(self.equations):
                if symbol in needed:
                    needed |= {s for s in expr.free_symbols if isinstance(s, Tensor)}
        pairs = [(s, new) for s, new in zip(self.states, self.news, strict=True) if s in needed]
        kept = [t in needed for t in (*self.states, *self.items, *self.captured)]
        body = Body(
            self.name,
            [s for s, _ in pairs],
            [t for t in self.items if t in needed],
            [t for t in self.captured if t in needed],
            [e for e in self.equations if e.symbol in needed],
            [new for _, new in pairs],
            results,
        )
        return body, [i for i, is_kept in enumerate(kept) if is_kept]

    def _sympystr(self, printer: Any) -> str:
        return f"{self.name}: " + "; ".join(f"{symbol} = {printer._print(expr)}" for symbol, expr in self.equations)


class Scan(Operator):
    """`length` steps of a body, from the first to the last, or backwards. Operands: the states before the first step, the sequences
    (time along their first axis), and what the body captures, each in the order of the body's placeholders.

    It has the results that its body lists, and `Part` reads one. Formally it is their entries in one row, so that it has a shape; code holds
    them as a tuple.
    """

    title = "the recurrence"
    n_parameters = 3  # body, direction (1 or -1), length

    @property
    def body(self) -> Body:
        body: Body = self.args[0]
        return body

    @property
    def reverse(self) -> bool:
        return bool(self.args[1] == -1)

    @property
    def length(self) -> Any:
        return as_dimension(self.args[2])

    @property
    def initial(self) -> tuple[sp.Expr, ...]:
        return self.operands[: len(self.body.states)]

    @property
    def sequences(self) -> tuple[sp.Expr, ...]:
        start = len(self.body.states)
        return self.operands[start : start + len(self.body.items)]

    @property
    def rank(self) -> int:
        return 1

    def infer_shape(self) -> Shape:
        body = self.body
        wanted = [
            *((f"the state {t.name!r} begins as", t.shape) for t in body.states),
            *((f"{t.name!r} is taken from", (self.length, *t.shape)) for t in body.items),
            *((f"{t.name!r} stands for", t.shape) for t in body.captured),
        ]
        for (what, shape), x in zip(wanted, self.operands, strict=True):
            if shape_of(x) != shape:
                raise ShapeError(f"scan {body.name!r}: {what} {x} of shape {show(shape_of(x))}; expected {show(shape)}")
        return (as_dimension(sp.expand(sp.Add(*(size_of(self.shape_of_result(k)) for k in range(len(body.results)))))),)

    def shape_of_result(self, k: int) -> Shape:
        tensor, final = self.body.results[k]
        return tensor.shape if final else (self.length, *tensor.shape)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        """`adjoint` is a `Bundle`, or the scan backwards that the calculus made of one (see calculus/recurrence.py)."""
        found: Sequence[sp.Expr | None] = CALCULUS["pullback"](self, adjoint)
        return found

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        raise UnsupportedError(
            f"the recurrence {self.body.name!r} is computed step by step: no formula gives one entry of it, so it has no closed form; "
            "read latex('equations') and latex('matrix'), or make it with unroll=True"
        )

    def latex_form(self, p: LatexPrinter) -> str:
        return cast(TimePrinter, p).recurrence(self)

    def numpy_form(self, p: CodePrinter) -> str:
        return p.recurrence(self)

    def _sympystr(self, printer: Any) -> str:
        return f"scan_{self.body.name}({', '.join(map(printer._print, self.operands))})"


def scan_of(x: sp.Expr) -> Scan:
    """The scan that an expression with several results is, or is the name of."""
    found = x.definition if isinstance(x, Tensor) else x
    if not isinstance(found, Scan):
        raise UnsupportedError(f"{x} is not a recurrence, so it has no parts")
    return found


class Part(Operator):
    """One result of a scan, or of the tensor that is defined as one."""

    title = "one result of the recurrence"
    n_parameters = 1  # its number

    @property
    def number(self) -> int:
        return int(self.args[0])

    @property
    def scan(self) -> Scan:
        return scan_of(self.operands[0])

    @property
    def result(self) -> Result:
        return self.scan.body.results[self.number]

    def infer_shape(self) -> Shape:
        return self.scan.shape_of_result(self.number)

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        scan = self.scan
        parts = [adjoint if k == self.number else sp.S.Zero for k in range(len(scan.body.results))]
        return [Bundle(sp.sympify(scan.shape[0], strict=True), *parts)]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        scan = self.scan
        place: sp.Expr = sp.Add(*(size_of(scan.shape_of_result(k)) for k in range(self.number)))
        inside: sp.Expr = sp.S.Zero
        for i, size in zip(index, self.shape, strict=True):
            inside = inside * size + i
        return context.entry(self.operands[0], (place + inside,))

    def latex_form(self, p: LatexPrinter) -> str:
        scan = self.scan
        tensor, final = self.result
        last = p.plain(sp.sympify(scan.length, strict=True) - 1)
        step = "t" if not final else "0" if scan.reverse else last
        inside = cast(TimePrinter, p).inside(scan.body, scan.operands, step)
        if final:
            return inside.plain(scan.body.after(tensor))
        return rf"\left({inside.plain(tensor)}\right)_{{t = 0, \dots, {last}}}"

    def numpy_form(self, p: CodePrinter) -> str:
        return f"{p.atom(self.operands[0])}[{self.number}]"


class Bundle(Operator):
    """The adjoints of all results of a scan, 0 for one that is not read. They are added part by part (calculus/simplify.py)."""

    title = "the adjoints of all results"
    n_parameters = 1  # the number of all entries

    @property
    def rank(self) -> int:
        return 1

    def infer_shape(self) -> Shape:
        return (as_dimension(self.args[0]),)

    def latex_form(self, p: LatexPrinter) -> str:
        return p.call("", *self.operands)


def part(x: sp.Expr, tensor: Tensor, final: bool = False) -> sp.Expr:
    """The result of a scan that belongs to a tensor of its body."""
    return Part(sp.Integer(scan_of(x).body.results.index(Result(tensor, final))), x)


def opened(equations: Iterable[Equation]) -> Iterator[Equation]:
    """The equations, those of each recurrence's steps after it, in the tensors that it is applied to: what tells how a weight or a datum is used."""
    for equation in equations:
        yield equation
        if isinstance(scan := equation.expr, Scan):
            placeholders = (*scan.body.states, *scan.body.items, *scan.body.captured)
            table = {t: x for t, x in zip(placeholders, scan.operands, strict=True) if isinstance(x, Tensor)}
            yield from (Equation(symbol, expr.xreplace(table)) for symbol, expr in scan.body.equations)


# --- names ---------------------------------------------------------------------------------------------------------------

_WHEN = {"_t": 0, "_prev": -1, "_next": 1}


def moment(name: str) -> tuple[str, int | None]:
    """A name of a body without its ending, and how many steps after t its value is from; None if it does not say."""
    ending = next((e for e in _WHEN if name.endswith(e) and len(name) > len(e)), "")
    return name[: len(name) - len(ending)], _WHEN.get(ending)


def is_carry(symbol: Tensor) -> bool:
    """Whether a tensor is what one step of a recurrence backwards hands back to the state before it: `hbar_prev_t`."""
    return moment(moment(symbol.name)[0])[1] is not None
