"""What an update computes from the step count and the sizes of dimensions alone: it gets a name, and is computed once a step and in
double precision, since a bias correction such as 1 - 0.999**t would lose most of its digits in float32."""

from collections.abc import Iterable

import sympy as sp

from symbackprop.graph.names import Namer
from symbackprop.graph.tensor import Tensor


class Constants:
    """Names what depends on nothing but `loose` symbols. `found` lists it: (name, expression)."""

    def __init__(self, loose: Iterable[sp.Symbol], name: Namer) -> None:
        self.loose = set(loose)
        self.name = name
        self.found: list[tuple[sp.Symbol, sp.Expr]] = []
        self.names: dict[sp.Expr, sp.Symbol] = {}
        self.written: dict[sp.Basic, sp.Expr] = {}  # scalars of the program that are constant, and what they are

    def takes(self, symbol: Tensor, expr: sp.Expr) -> bool:
        """Whether an equation is constant; it is then written into those that read it."""
        value = expr.xreplace(self.written)
        if symbol.rank or not value.free_symbols <= self.loose:
            return False
        self.written[symbol] = value
        return True

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        """The expression with its constant parts named."""
        return self.named(expr.xreplace(self.written))

    def named(self, expr: sp.Expr) -> sp.Expr:
        if expr.is_Atom or isinstance(expr, sp.Indexed) or not expr.free_symbols & self.loose:
            return expr
        if expr.free_symbols <= self.loose:
            return self.one(expr)
        if isinstance(expr, (sp.Add, sp.Mul)):
            fixed = [a for a in expr.args if a.free_symbols <= self.loose]
            if len(fixed) > 1 and any(a.free_symbols for a in fixed):
                return expr.func(self.one(expr.func(*fixed)), *(self.named(a) for a in expr.args if a not in fixed))
        return expr.func(*map(self.named, expr.args))

    def one(self, expr: sp.Expr) -> sp.Expr:
        if not isinstance(expr, sp.Expr) or expr.is_Atom:  # a condition stays where it is
            return expr
        if expr not in self.names:
            self.names[expr] = sp.Symbol(self.name(f"factor_{len(self.names) + 1}"), real=True)
            self.found.append((self.names[expr], expr))
        return self.names[expr]
