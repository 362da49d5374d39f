"""Recurrences written out: the network for sequences of a known length, with the equations of every step of time as equations of its own. It is
what a worked example and an audit look at, which speak of single values."""

from collections.abc import Mapping

import sympy as sp

from symbackprop.graph.equations import System
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.recurrence import written_out
from symbackprop.graph.shapes import numeric
from symbackprop.graph.tensor import Equation, Tensor


def unrolled(system: System, sizes: Mapping[str, int]) -> System:
    """The same network with every recurrence written out, where the dimensions have these sizes; others stay open. `h_t` of a scan becomes `h_0`,
    `h_1` ..., with the name of the scan between where there are several. The names of all other tensors stay."""
    scans = [expr for _, expr in system.equations if isinstance(expr, Scan)]
    if not scans:
        return system
    lengths = {d: sp.Integer(sizes[d.name]) for scan in scans for d in getattr(scan.length, "free_symbols", ())}
    free = Namer({t.name for t in system.tensors} | {d.name for d in system.dims})
    table: dict[sp.Basic, sp.Basic] = dict(lengths)

    def renewed(expr: sp.Expr) -> sp.Expr:
        for part in expr.atoms(Part) - table.keys():
            table[part] = results[part.operands[0]](part.result)
        return expr.xreplace(table)

    results = {}
    for t in system.tensors:
        if isinstance(t.definition, Scan):
            scan, middle = renewed(t.definition), f"_{t.name}" if len(scans) > 1 else ""
            (steps,) = numeric((t.definition.length,), {d: int(n) for d, n in lengths.items()})
            results[t] = written_out(scan, steps, lambda base, at, middle=middle: free(f"{base}{middle}_{at}"))  # type: ignore[misc]
            continue
        shape = tuple(size if isinstance(size, int) else size.xreplace(lengths) for size in t.shape)
        definition, inference = (None if expr is None else renewed(expr) for expr in (t.definition, t.inference))
        if shape != t.shape or definition is not t.definition or inference is not t.inference:
            table[t] = Tensor(t.name, shape, t.role, definition, t.init, None, inference, t.update)

    def now(t: Tensor) -> Tensor:
        found = table.get(t, t)
        assert isinstance(found, Tensor)
        return found

    output = None if system.output is None else now(system.output)
    listed = tuple(map(now, (*system.data, *system.kept)))
    updates = tuple(Equation(state, renewed(new)) for state, new in system.updates)
    return System(now(system.loss), output, tuple(map(now, system.extra)), listed, updates)


__all__ = ["unrolled"]
