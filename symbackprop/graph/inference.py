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
    renewed = _renewed(system.tensors)
    if not renewed and not system.updates:
        return system
    output = system.output if system.output is None else renewed.get(system.output, system.output)
    return System(renewed.get(system.loss, system.loss), output, listed=(*system.data, *system.kept))


def at_inference(expr: sp.Expr) -> sp.Expr:
    """One expression at inference."""
    return expr.xreplace(_renewed(tensors_in(expr)))


def _renewed(roots: Iterable[Tensor]) -> dict[Tensor, Tensor]:
    """The nodes that are something else at inference, and what they are."""
    renewed: dict[Tensor, Tensor] = {}
    for t in collect(roots, everything=True):
        expr = t.definition if t.inference is None else t.inference
        if expr is None or (t.inference is None and renewed.keys().isdisjoint(t.inputs)):
            continue
        renewed[t] = Tensor(t.name, t.shape, t.role, expr.xreplace(renewed), adjoint_of=t.adjoint_of)
    return renewed


__all__ = ["at_inference", "inference"]
