"""Name what is computed more than once: repeated subexpressions of a list of equations become equations of their own."""

import itertools
from collections import Counter
from collections.abc import Sequence

import sympy as sp

from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor, declare


def share(equations: Sequence[Equation], name: Namer) -> list[Equation]:
    """The same equations, with each repeated subexpression of some cost computed once, just before its first use.

    A subexpression that is the whole right side of an earlier equation is read from that equation.
    """
    uses = _count_uses(equations)
    done: dict[sp.Basic, sp.Basic] = {}
    result: list[Equation] = []
    for symbol, expr in equations:
        for part in postorder(expr, descend=lambda e: e not in done):
            if not part.args or part in done:
                continue
            args = [done.get(a, a) for a in part.args]
            rebuilt = part if all(a is b for a, b in zip(args, part.args, strict=True)) else part.func(*args)
            if part is not expr and uses[part] > 1 and _worth(part):
                shared = declare(_name(rebuilt, name), shape_of(part), "node", definition=rebuilt)  # another network may share it too
                result.append(Equation(shared, rebuilt))
                rebuilt = shared
            done[part] = rebuilt
        result.append(Equation(symbol, done.get(expr, expr)))
        if expr.args and not expr.is_number:
            done[expr] = symbol
    return result


def _count_uses(equations: Sequence[Equation]) -> Counter[sp.Basic]:
    """How many distinct expressions (or equations) use each subexpression that is more than a symbol or a number."""
    uses: Counter[sp.Basic] = Counter()
    seen: set[sp.Basic] = set()
    for _, expr in equations:
        uses[expr] += 1
        for part in postorder(expr, descend=lambda e: e not in seen):
            if part.args and part not in seen:
                seen.add(part)
                uses.update({a for a in part.args if a.args})
    return uses


def _worth(part: sp.Basic) -> bool:
    """Whether computing it once is worth a line: every operator and function, and arithmetic on tensors; not -x or x**2."""
    if not isinstance(part, sp.Expr) or part.is_Atom or part.is_number or isinstance(part, sp.Integer):
        return False
    if not any(isinstance(s, Tensor) for s in part.free_symbols):
        return False
    if isinstance(part, (Operator, sp.Function)):
        return True
    if isinstance(part, sp.Pow):
        return not (part.base.is_Atom and part.exp.is_Integer)
    return not (isinstance(part, sp.Mul) and len(part.args) == 2 and part.args[0].is_number)


def _name(part: sp.Basic, name: Namer) -> str:
    """A readable name: `softmax_Z_2` for the softmax of Z_2, else `s_1`, `s_2` and so on."""
    kind = type(part).__name__.lower()
    tensors = [s for s in part.free_symbols if isinstance(s, Tensor)]
    if isinstance(part, (Operator, sp.Function)) and len(tensors) == 1 and kind.isidentifier():
        return name(f"{kind}_{tensors[0].name}")
    return name(next(wish for k in itertools.count(1) if (wish := f"s_{k}") not in name.taken))
