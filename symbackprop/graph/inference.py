"""The network as it is once it is trained: every node that has another definition at inference has that one, and no state changes.

`predict` and the loss on validation data are computed from it; the loss in training, its gradients and the updates from the system as
it was written.
"""

from collections.abc import Iterable

import sympy as sp

from symbackprop.graph.equations import System, collect, once, tensors_in
from symbackprop.graph.tensor import Tensor


@once
def inference(system: System) -> System:
    """The same system at inference; the very same object where there is no difference. It comes before every other function from
    systems to systems, since those keep the definitions for training only."""
    now = renewed(system.tensors)
    if not now and not system.updates:
        return system
    output = system.output if system.output is None else now.get(system.output, system.output)
    return System(now.get(system.loss, system.loss), output, listed=(*system.data, *system.kept))


def at_inference(expr: sp.Expr) -> sp.Expr:
    """One expression at inference."""
    return expr.xreplace(renewed(tensors_in(expr)))


def renewed(roots: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """The nodes, of all that the roots depend on, that are something else at inference, and what they are."""
    found: dict[Tensor, Tensor] = {}
    for t in collect(roots, everything=True):
        expr = t.definition if t.inference is None else t.inference
        if expr is None or (t.inference is None and found.keys().isdisjoint(t.inputs)):
            continue
        found[t] = Tensor(t.name, t.shape, t.role, expr.xreplace(found), adjoint_of=t.adjoint_of)
    return found


__all__ = ["at_inference", "inference", "renewed"]
