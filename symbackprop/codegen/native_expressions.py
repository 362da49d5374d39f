"""Entries and sizes as compiled code spells them: numbers of the arrays' precision, and whole numbers that stay whole."""

from typing import Any, Protocol

import sympy as sp

from symbackprop.calculus.index import split
from symbackprop.codegen.apart import difference, share_less_target
from symbackprop.codegen.expressions import FUNCTIONS, PythonPrinter, Spelling
from symbackprop.codegen.helpers import HELPERS
from symbackprop.graph import functions as f
from symbackprop.graph.shapes import Dim, Shape
from symbackprop.graph.stable import Stable, guarded
from symbackprop.graph.tensor import Tensor

KERNEL_FUNCTIONS: dict[Any, str] = {
    sp.exp: "exp", sp.tanh: "tanh", f.sigmoid: "sigmoid", f.softplus: "softplus", f.relu: "relu", f.step: "step", sp.sign: "sign",
    sp.sech: "sech", guarded: "guarded", difference: "difference", share_less_target: "share_less_target",
    **{kind: kind.__name__ for kind in Stable.kinds() if f"_{kind.__name__}" not in HELPERS or not HELPERS[f"_{kind.__name__}"].compiled},
}  # fmt: skip


class Names(Protocol):
    """What the printers ask of the module that is being written."""

    real: str  # its word for a number of the arrays' precision
    kernels: str
    whole: "WholePrinter"

    def spelled(self, symbol: sp.Symbol) -> str:
        """The variable that holds a symbol."""
        ...

    def entry(self, tensor: Tensor, index: tuple[Any, ...]) -> str:
        """An entry of a tensor, its axes of size one left out."""
        ...


def squeezed(index: tuple[Any, ...], shape: Shape) -> tuple[Any, ...]:
    """Without the axes of size one."""
    return tuple(i for i, size in zip(index, shape, strict=True) if size != 1)


class NativePrinter(PythonPrinter):
    """Scalars in entries. Numbers carry the precision, since a plain one would widen float32."""

    def __init__(self, names: Names, dtype: str) -> None:
        super().__init__(scalar=True)
        self.own = names
        self.single = dtype == "float32"

    def _symbol(self, expr: sp.Symbol) -> Spelling:
        if isinstance(expr, Dim) or expr.is_integer:
            return (f"{self.own.real}({expr.name})" if self.single else expr.name), 100
        return self.own.spelled(expr), 100

    def _number(self, expr: sp.Expr) -> Spelling:
        text, binding = super()._number(expr)
        return (f"{self.own.real}({float(expr)!r})", 100) if self.single and "inf" not in text else (text, binding)

    def _pow(self, expr: sp.Pow) -> Spelling:
        if expr.exp.is_Integer and expr.exp > 1:
            below = self.atom(expr.base)
            return (f"{below} * {below}", 20) if expr.exp == 2 and below.isidentifier() else (f"{below} ** {expr.exp}", 30)
        return super()._pow(expr)

    def _function(self, expr: sp.Expr) -> Spelling:
        name = KERNEL_FUNCTIONS.get(expr.func)
        if name is not None:
            call = f"{self.own.kernels}.{name}({self._arguments(expr)})"
            return (f"{self.own.real}({call})" if self.single and name != "relu" else call), 100
        if isinstance(expr, Stable):  # in double precision, as kernels compute
            arguments = [*(f"np.float64({self.plain(x)})" for x in expr.varying()), *map(repr, expr.constants())]
            call = f"{self.helper(FUNCTIONS[expr.func][1] or '')}({', '.join(arguments)})"
            return (f"{self.own.real}({call})" if self.single else call), 100
        if FUNCTIONS.get(expr.func, ("", None))[1] in ("math.floor", "math.ceil"):
            return f"np.{'floor' if isinstance(expr, sp.floor) else 'ceil'}({self.plain(expr.args[0])})", 100
        return super()._function(expr)

    def entry(self, expr: sp.Indexed) -> Spelling:
        tensor, index = split(expr)
        return self.own.entry(tensor, squeezed(index, tensor.shape)), 100

    def _relation(self, expr: sp.Expr) -> Spelling:
        if _is_index(expr):
            return f"{self.own.whole.plain(expr.lhs)} {expr.rel_op} {self.own.whole.plain(expr.rhs)}", 5
        return super()._relation(expr)

    def delta(self, expr: sp.KroneckerDelta) -> Spelling:
        a, b = map(self.own.whole.plain, expr.args)
        one, zero = self.plain(sp.S.One), self.plain(sp.S.Zero)
        return f"({one} if {a} == {b} else {zero})", 100

    def spell(self, expr: sp.Basic) -> Spelling:
        if isinstance(expr, sp.Indexed):
            return self.entry(expr)
        if isinstance(expr, sp.KroneckerDelta):
            return self.delta(expr)
        return super().spell(expr)


class WholePrinter(PythonPrinter):
    """Indices and sizes: whole numbers stay whole."""

    def __init__(self, names: Names) -> None:
        super().__init__(scalar=True)
        self.own = names

    def spell(self, expr: sp.Basic) -> Spelling:
        if isinstance(expr, sp.Indexed):
            tensor, index = split(expr)
            return self.own.entry(tensor, squeezed(index, tensor.shape)), 100
        above, below = sp.fraction(sp.together(expr.args[0] if isinstance(expr, sp.floor) else expr))
        if below != 1:  # a slice's step divides what it is asked for
            return f"{self._bind(above, 21)} // {self._bind(below, 21)}", 20
        return super().spell(expr.args[0] if isinstance(expr, sp.floor) else expr)


def _is_index(expr: sp.Basic) -> bool:
    return all(s.is_integer or isinstance(s, Dim) for s in expr.free_symbols)
