"""Lists of named equations: everything that some tensors depend on, in the order in which it was written."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.shapes import Dim, show
from symbackprop.graph.tensor import Equation, Tensor, node

R = TypeVar("R")


class LossShapeError(ShapeError, NetworkError):
    """A loss that is not a scalar is both a wrong shape and an unusable network."""


def tensors_in(expr: sp.Basic) -> set[Tensor]:
    """The tensors that an expression mentions (not what they are defined by)."""
    return {s for s in expr.free_symbols if isinstance(s, Tensor)}


def collect(roots: Iterable[Tensor], everything: bool = False) -> list[Tensor]:
    """Every tensor that the roots depend on, roots included: data and weights in the order of their declaration, then the nodes,
    definitions before uses. `everything`: at inference and in updates of states, too. Iterative: depth does not matter."""
    found: set[Tensor] = set()
    stack = list(roots)
    while stack:
        tensor = stack.pop()
        if tensor not in found:
            found.add(tensor)
            stack.extend(tensor.sources if everything else tensor.inputs)
    return sorted(found, key=lambda tensor: tensor.order)


@dataclass(frozen=True, eq=False)
class System:
    """A network as a list of equations, with what it is a function of.

    `loss` is a scalar, `output` what `predict` returns (or None), `extra` further tensors to keep. `updates` say what a training step
    makes of the states, those that were declared last first: they may read the old values of the others. A system made from another
    one names in `listed` the data, weights and states in that one's order, since a later declaration may have moved them.
    """

    loss: Tensor
    output: Tensor | None = None
    extra: tuple[Tensor, ...] = ()
    listed: tuple[Tensor, ...] = ()
    updates: tuple[Equation, ...] = ()

    @classmethod
    def of(cls, loss: Any, output: Any = None) -> "System":
        """Name the loss and the output where the user did not, check both, and check the names of the whole."""
        loss = loss if isinstance(loss, Tensor) and loss.definition is not None else node("loss", loss)
        if loss.shape != ():
            raise LossShapeError(
                f"the loss {loss.name!r} ({loss} = {loss.definition}) has shape {show(loss.shape)}; "
                "expected a scalar, shape (): take its sum or its mean"
            )
        if output is not None and not isinstance(output, Tensor):
            output = node("output", output)
        roots = [loss] if output is None else [loss, output]
        everything, known = collect(roots, everything=True), set(collect(roots))
        leaves = [t for t in everything if t.definition is None]
        updates = tuple(Equation(s, s.update.xreplace({s.before: s})) for s in reversed(leaves) if s.update is not None)
        system = cls(loss, output, tuple(t for t in leaves if t not in known), updates=updates)
        system.check_names(everything)
        return system

    @cached_property
    def tensors(self) -> list[Tensor]:
        found = collect([self.loss, *([self.output] if self.output is not None else []), *self.extra, *self.updated])
        places = {t: i for i, t in enumerate(self.listed)}
        if not places:  # data and weights by the equation that first mentions them, then by their declaration
            for i, t in enumerate(found):
                for mentioned in t.inputs:
                    places.setdefault(mentioned, i)
        return sorted(found, key=lambda t: (t.definition is not None, places.get(t, len(found)) if t.definition is None else 0))

    @cached_property
    def updated(self) -> set[Tensor]:
        """The states that training steps change, and what their new values are made of."""
        return {t for symbol, expr in self.updates for t in (symbol, *tensors_in(expr))}

    @cached_property
    def equations(self) -> list[Equation]:
        return [Equation(t, t.definition) for t in self.tensors if t.definition is not None]

    @cached_property
    def forward(self) -> list[Tensor]:
        """What the loss and the output are computed from, they included; without what only updates are made of."""
        needed = set(collect([self.loss, *([self.output] if self.output is not None else []), *self.extra]))
        return [t for t in self.tensors if t in needed]

    @cached_property
    def data(self) -> list[Tensor]:
        return [t for t in self.tensors if t.role == "data"]

    @cached_property
    def weights(self) -> list[Tensor]:
        return [t for t in self.tensors if t.role == "weight"]

    @cached_property
    def states(self) -> list[Tensor]:
        """What is kept from update to update without being learnt."""
        return [t for t in self.tensors if t.role == "state"]

    @cached_property
    def constants(self) -> list[Tensor]:
        """The states that no training step changes."""
        changing = {state for state, _ in self.updates}
        return [t for t in self.states if t not in changing]

    @property
    def kept(self) -> list[Tensor]:
        """What training steps change in place, or read: the weights, then the states."""
        return [*self.weights, *self.states]

    @cached_property
    def dims(self) -> list[Dim]:
        """The named dimensions of the data, in the order of their first appearance."""
        return list(dict.fromkeys(d for t in self.data for size in t.shape for d in dims_in(size)))

    @cached_property
    def made(self) -> dict[str, Any]:
        """What functions made of the system, by their names (see `once`)."""
        return {}

    @cached_property
    def by_name(self) -> dict[str, Tensor]:
        return {t.name: t for t in self.tensors}

    def check_names(self, tensors: Sequence[Tensor]) -> None:
        """Each name of `tensors`, which are those at inference too, stands for one thing: no two share one, and no dimension is called
        like a tensor."""
        seen: dict[str, Tensor] = {}
        for t in tensors:
            other = seen.setdefault(t.name, t)
            if other is not t:
                raise NetworkError(
                    f"the name {t.name!r} is given twice: once to {describe(other)}, once to {describe(t)}; give each its own name"
                )
        shaped = {d for t in self.data for d in t.shape}
        for d in dict.fromkeys(d for t in tensors for d in (*(d for size in t.shape for d in dims_in(size)), *_dims(t.mentioned))):
            if d.name in seen:
                raise NetworkError(f"the name {d.name!r} is both a dimension and {describe(seen[d.name])}; the two clash once written as code, so rename one")
            if d not in shaped:
                raise NetworkError(f"the dimension {d.name!r} is not the size of any data tensor, so it has no value at run time; use it in the shape of one")


def once(function: Callable[[System], R]) -> Callable[[System], R]:
    """A function of a system that is computed once for each, since the system's forms, its module and its training step all ask for it."""

    @wraps(function)
    def kept(system: System) -> R:
        if function.__name__ not in system.made:
            system.made[function.__name__] = function(system)
        found: R = system.made[function.__name__]
        return found

    return kept


def dims_in(part: Any) -> list[Dim]:
    """The named dimensions in a size or an expression."""
    return _dims(getattr(part, "free_symbols", ()))


def _dims(symbols: Iterable[Any]) -> list[Dim]:
    return sorted((d for d in symbols if isinstance(d, Dim)), key=lambda d: d.name)


def describe(t: Tensor) -> str:
    """A tensor as an error message calls it."""
    definition = f" defined by {t} = {t.definition}" if t.definition is not None else ""
    return f"the {t.role} of shape {show(t.shape)}{definition}"


def depends_on(tensors: Sequence[Tensor], sources: Iterable[Tensor]) -> set[Tensor]:
    """Those of `tensors` (in order of definition) that depend on any of `sources`, the sources included."""
    active = set(sources)
    for t in tensors:
        if not active.isdisjoint(t.inputs):
            active.add(t)
    return active
