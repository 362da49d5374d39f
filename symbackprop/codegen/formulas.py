"""Formulas and shapes as the docstrings of generated code have them."""

from typing import Any

import sympy as sp

from symbackprop.codegen.expressions import FormulaPrinter
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.tensor import Tensor


class _Formula(FormulaPrinter):
    """The same, with derivatives as quotients."""

    def recurrence(self, scan: Scan) -> str:
        """The function whose docstring has the equations of one step, and what it is applied to."""
        return f"{scan.body.name}_loop({', '.join(map(self.plain, scan.operands))})"

    def _operator(self, expr: Operator) -> tuple[str, int]:
        if isinstance(expr, Part):  # by its name: its number depends on what else is read
            tensor, final = expr.result
            return f"{self.plain(expr.operands[0])}[{f'last {expr.scan.body.after(tensor)}' if final else tensor}]", 100
        return super()._operator(expr)

    def _symbol(self, expr: sp.Symbol) -> tuple[str, int]:
        return (derivative(expr), 21) if isinstance(expr, Tensor) and expr.adjoint_of else (expr.name, 100)


def formula(expr: Any, lead: Tensor | None = None) -> str:
    printer = _Formula()
    printer.lead = lead
    return printer.plain(expr)


def shape_text(shape: Any) -> str:
    return "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"


def shapes_text(shapes: dict[str, Any]) -> str:
    def one(shape: Any) -> str:
        sizes = [s if isinstance(s, int) else str(s) for s in shape] if isinstance(shape, tuple) else shape
        return repr(tuple(sizes)).replace("'", '"') if isinstance(sizes, list) else (repr(sizes) if isinstance(sizes, int) else f'"{sizes}"')

    return "{" + ", ".join(f'"{name}": {one(shape)}' for name, shape in shapes.items()) + "}"


def derivative(symbol: Tensor) -> str:
    if symbol.adjoint_of is None:
        return symbol.name
    return f"d{symbol.adjoint_of[0]}/d{symbol.adjoint_of[1]}"


__all__ = ["derivative", "formula", "shape_text", "shapes_text"]
