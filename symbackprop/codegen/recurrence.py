"""Recurrences in NumPy code: a function with a loop over time, one line an equation; and what of a scan's results need not be computed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import sympy as sp

from symbackprop.calculus.share import share
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.scan import Part, Result, Scan, moment
from symbackprop.graph.tensor import Equation, Tensor

Spell = Callable[[sp.Expr], str]


def loop_source(scan: Scan, name: str, spell: Spell, formula: Spell) -> tuple[str, list[sp.Expr]]:
    """A function that runs a scan and returns its results, and the further arguments that it needs: sizes that it cannot read off arrays.

    `spell` writes an expression as code, `formula` for people.
    """
    body = scan.body
    own = Namer({t.name for t in body.tensors} | {str(d) for d in body.free_symbols})
    t, starts = own("t"), [own(f"{_base(s.name)}_first") for s in body.states]
    rows = {x: own(_all(x, "")) for x in body.items}
    lists = {r.tensor: own(_all(r.tensor, "_list")) for r in body.results if not r.final}
    equations = [f"{symbol.name} = {spell(expr)}" for symbol, expr in share(body.equations, own)]
    dims = sorted((d for d in body.free_symbols if any(_mentions(line, str(d)) for line in equations)), key=str)
    steps = f"len({next(iter(rows.values()))})" if rows else own("steps")
    span = f"reversed(range({steps}))" if scan.reverse else f"range({steps})"
    begin = [f"{_row(s.name for s in body.states)} = {_row(starts)}"] if starts else []
    begin += [f"{_row(lists.values())} = {_row(['[]'] * len(lists))}"] if lists else []
    turn = [f"{x.name} = {row}[{t}]" for x, row in rows.items()]
    turn += [f"{kept}.append({x.name})" for x, kept in lists.items() if x in body.states]
    turn += equations
    turn += [f"{kept}.append({x.name})" for x, kept in lists.items() if x not in body.states]
    turn += [f"{_row(s.name for s in body.states)} = {_row(new.name for new in body.news)}"] if body.states else []
    lines = [*begin, f"for {t} in {span}:", *(f"    {line}" for line in turn), f"return ({_row(map(partial(_returned, scan, lists), body.results))},)"]
    arguments = [*starts, *rows.values(), *(c.name for c in body.captured), *map(str, dims), *([] if rows else [steps])]
    code = "\n".join(f"    {line}" for line in lines)
    more = [*dims, *([] if rows else [sp.sympify(scan.length, strict=True)])]
    return f'def {name}({_row(arguments)}):\n    """{_words(scan, formula)}\n    """\n{code}', more


def _words(scan: Scan, formula: Spell) -> str:
    """The docstring: the recurrence in formulas."""
    body = scan.body
    title = "The recurrence, from the last time to the first:" if scan.reverse else "The recurrence, from the first time to the last:"
    formulas = "\n".join(f"        {symbol.name} = {formula(expr)}" for symbol, expr in body.equations)
    kept = _row(f"the last {body.after(r.tensor).name}" if r.final else f"{r.tensor.name} of every t" for r in body.results)
    return f"{title}\n\n{formulas}\n\n    Returns {kept}."


def _returned(scan: Scan, lists: Mapping[Tensor, str], result: Result) -> str:
    tensor, final = result
    if final:
        return f"{tensor.name}.copy()" if tensor.shape else tensor.name
    return f"np.stack({lists[tensor]}{'[::-1]' if scan.reverse else ''})"


def _row(texts: Iterable[str]) -> str:
    return ", ".join(texts)


def _all(x: Tensor, ending: str) -> str:
    """What holds the values of all steps: `x` of `x_t`, `h_prev_all` of `h_prev`."""
    base, when = moment(x.name)
    return f"{base if when == 0 else x.name}{ending or ('' if when == 0 else '_all')}"


def _base(name: str) -> str:
    return moment(name)[0]


def _mentions(line: str, name: str) -> bool:
    """Whether a line of code has this name as a word of its own."""
    return name in "".join(c if c.isalnum() or c == "_" else " " for c in line).split()


# --- what is not read ----------------------------------------------------------------------------------------------------


class Pruned:
    """Rewrites equations so that of each scan only those results are computed that are read by some of `equations`, all that the code
    consists of, and nothing that only the others need. What is a scan or a result of one, and read by none, is left out unless it is `kept`."""

    def __init__(self, equations: Sequence[Equation], kept: Iterable[Tensor] = ()) -> None:
        self.shorter: dict[Tensor, tuple[Equation, list[int]]] = {}
        self.dropped: set[Tensor] = set()
        wanted, seen = set(kept), list[sp.Expr]()
        for symbol, expr in reversed(equations):
            if isinstance(expr, (Scan, Part)) and symbol not in wanted and not any(symbol in e.free_symbols for e in seen):
                self.dropped.add(symbol)
                continue
            if isinstance(expr, Scan):
                numbers = sorted({p.number for e in seen for p in e.atoms(Part) if p.operands[0] is symbol})
                body, places = expr.body.keeping(numbers)
                expr = Scan(body, *expr.args[1:3], *(expr.operands[i] for i in places))
                shorter = Tensor(symbol.name, expr.shape, symbol.role, expr, adjoint_of=symbol.adjoint_of)
                self.shorter[symbol] = Equation(shorter, expr), numbers
            seen.append(expr)

    def __call__(self, equations: Iterable[Equation]) -> list[Equation]:
        return [self._one(e) for e in equations if e.symbol not in self.dropped]

    def _one(self, equation: Equation) -> Equation:
        if not self.shorter:
            return equation
        symbol, expr = self.shorter[equation.symbol][0] if equation.symbol in self.shorter else equation
        table: dict[sp.Basic, sp.Basic] = {}
        for part in expr.atoms(Part):
            if part.operands[0] in self.shorter:
                (shorter, _), numbers = self.shorter[part.operands[0]]
                table[part] = Part(sp.Integer(numbers.index(part.number)), shorter)
        return Equation(symbol, expr.xreplace(table) if table else expr)


__all__ = ["Pruned", "loop_source"]
