"""The equations of a network at fixed sizes, so that they can be evaluated: every open dimension gets one, every other size is kept, since a number in an
equation may be made of it, as 1/4 of a mean of 4."""

from collections.abc import Iterable, Mapping

import sympy as sp

from symbackprop.graph.equations import dims_in, tensors_in
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import numeric
from symbackprop.graph.tensor import Tensor

SIZE = 3  # of every open dimension


class Sized:
    """Expressions in tensors of fixed sizes, which have the names of the old ones. `tensors`: name → tensor."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        found = sorted(tensors, key=lambda t: t.order)
        self.sizes = {d: sp.Integer(SIZE) for t in found for size in t.shape for d in dims_in(size)}
        self.table: dict[sp.Basic, sp.Basic] = dict(self.sizes)
        self.tensors: dict[str, Tensor] = {}
        for t in found:
            scan = t.definition.xreplace(self.table) if isinstance(t.definition, Scan) else None  # what reads a part of it asks for it
            role = "adjoint" if t.role == "adjoint" else "data" if scan is None else "node"
            self.tensors[t.name] = Tensor(t.name, numeric(t.shape, self.sizes), role, scan)
            self.table[t] = self.tensors[t.name]

    def __call__(self, expr: sp.Expr) -> sp.Expr:
        return expr.xreplace(self.table)


def sized(*forms: Mapping[str, sp.Expr], defined: Iterable[Tensor]) -> tuple[Sized, list[dict[str, sp.Expr]]]:
    """The forms at fixed sizes. `defined`: the tensors that they define."""
    tensors = {t for form in forms for expr in form.values() for t in tensors_in(expr)} | set(defined)
    at = Sized(tensors)
    return at, [{name: at(expr) for name, expr in form.items()} for form in forms]


__all__ = ["SIZE", "Sized", "sized"]
