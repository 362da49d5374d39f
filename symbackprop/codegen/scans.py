"""Recurrences in compiled code: a loop over time, each turn of which is made of the same statements as the step around it."""

from dataclasses import dataclass, replace
from typing import Any

import sympy as sp

from symbackprop.calculus.share import share
from symbackprop.codegen.program import Program
from symbackprop.codegen.statements import Loop
from symbackprop.errors import UnsupportedError
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.gather import OneHot, Scatter, Take
from symbackprop.graph.operators.scan import Body, Part, Result, Scan
from symbackprop.graph.tensor import Equation, Tensor


class Results:
    """`program`: the same, where each result of a scan that is read is a tensor. `of`: scan → its results, in their order."""

    def __init__(self, program: Program) -> None:
        self.of: dict[Tensor, list[Tensor]] = {}
        table: dict[sp.Basic, sp.Basic] = {}
        known: set[sp.Basic] = set()
        kept = {*program.places, *program.gradients, program.system.loss}
        equations = []
        for symbol, expr in program.equations:
            expr = expr.xreplace(table) if table else expr
            if isinstance(expr, Scan):
                parts = [Part(sp.Integer(k), symbol) for k in range(len(expr.body.results))]
                self.of[symbol] = [Tensor(program.name(f"{symbol.name}_{p.result.tensor.name}"), p.shape, "node", p) for p in parts]
                table |= dict(zip(parts, self.of[symbol], strict=True))
                known.update(self.of[symbol])
            elif expr in known and symbol not in kept:  # its name in the network
                table[symbol] = expr
                continue
            equations.append(Equation(symbol, expr))
        self.program = replace(program, equations=equations)


@dataclass
class Turn:
    """A body in tensors of the program: `equations` of one turn, and `at`: tensor of the body → that of the program."""

    equations: list[Equation]
    at: dict[Tensor, Tensor]

    @classmethod
    def of(cls, scan: Scan, operands: list[Tensor], name: Namer) -> "Turn":
        body = scan.body
        if scan.length == 1:
            raise UnsupportedError(f"the recurrence {body.name!r} has a single step, which compiled code does not loop over; train with backend='numpy'")
        first = len(body.states)
        _check_positions(body, operands[first : first + len(body.items)])
        at = {t: Tensor(name(t.name), t.shape, "state") for t in (*body.states, *body.items)}
        at |= dict(zip(body.captured, operands[first + len(body.items) :], strict=True))
        equations = []
        own = Namer({t.name for t in body.tensors})
        for symbol, expr in share(body.equations, own):
            value = expr.xreplace(at)
            at[symbol] = Tensor(name(symbol.name), symbol.shape, "node", value)
            equations.append(Equation(at[symbol], value))
        return cls(equations, at)

    def loop(self, scan: Scan, t: str, sequences: list[Tensor], statements: list[Any], results: list[Tensor]) -> Loop:
        body = scan.body
        found: dict[bool, list[tuple[Tensor, Tensor]]] = {False: [], True: []}
        result: Result
        for tensor, result in zip(results, body.results, strict=True):
            found[result.final].append((tensor, self.at[result.tensor]))
        rows = [(self.at[item], x) for item, x in zip(body.items, sequences, strict=True)]
        news = [(self.at[state], self.at[new]) for state, new in zip(body.states, body.news, strict=True)]
        return Loop(scan.length, scan.reverse, t, rows, statements, found[False], news, found[True])


def _check_positions(body: Body, sequences: list[Tensor]) -> None:
    """What picks entries has to be whole numbers, which working memory does not hold."""
    for item, x in zip(body.items, sequences, strict=True):
        picks = [o for _, expr in body.equations for o in expr.atoms(Take, Scatter, OneHot) if item in o.operands[-1].free_symbols]
        if picks and x.role != "data":
            raise UnsupportedError(
                f"the recurrence {body.name!r} picks entries by {item.name!r}, which is computed from data; look them up before the recurrence, "
                "or train with backend='numpy'"
            )


__all__ = ["Results", "Turn"]
