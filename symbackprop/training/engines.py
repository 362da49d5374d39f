"""Engines run the generated training step: one on plain floats for networks of scalars, one on arrays in preallocated buffers."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple, Protocol

import numpy as np
import sympy as sp

from symbackprop.calculus.batch import batch_dimension, is_single_sample, lift
from symbackprop.codegen.array_step import array_source
from symbackprop.codegen.load import load_source
from symbackprop.codegen.program import training_program
from symbackprop.codegen.scalar_step import is_scalar, scalar_source
from symbackprop.graph.equations import System
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.rule import Rule
from symbackprop.graph.shapes import Dim
from symbackprop.training.feed import Array, Batches, Feed

Weights = Mapping[str, Array]
State = dict[str, Any]


class Outcome(NamedTuple):
    """What `Engine.run` did."""

    updates: int
    means: list[float]


class Engine(Protocol):
    """`run` updates weights and state in place, one update for each batch of sample numbers, as long as the loss is finite. It returns how
    many updates it made, fewer than there are batches if a loss was not finite, and the mean loss of each epoch that it completed."""

    takes_epochs: bool  # whether it is faster with many epochs at once

    @property
    def source(self) -> str: ...

    def run(self, weights: Weights, state: State, feed: Feed, batches: Batches) -> Outcome: ...


class ScalarEngine:
    """Straight-line Python on floats, one sample at a time. The losses are looked at after the last one: a check of each would cost more
    than it saves, since the updates after one that is not finite can be taken back by starting again."""

    takes_epochs = False

    def __init__(self, system: System, rule: Rule, precise: bool = False) -> None:
        self.program = training_program(system, rule, precise)
        self.usable = is_scalar(self.program)
        if self.usable:
            self.source = scalar_source(self.program)
            self._run = load_source(self.source, "scalar_step").run

    def run(self, weights: Weights, state: State, feed: Feed, batches: Batches) -> Outcome:
        places = [weights[w.name] for w in self.program.system.kept]
        places += [state[name][w.name] for name, w in self.program.states]
        start = [float(p) for p in places]
        columns = [self.column(feed, t.name, batches) for t in self.program.data]

        def samples(count: int) -> Iterable[Any]:
            return islice(zip(*columns, strict=True), count) if columns else range(count)

        values, losses = self._run(start, state["t"], samples(len(batches)))
        done = len(losses)
        if not math.isfinite(sum(losses)):
            done = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), done)
        if done < len(batches):  # the values mean nothing: once more, up to the last update that went well
            values, losses = self._run(start, state["t"], samples(done))
        for place, value in zip(places, values, strict=True):
            place[...] = value
        state["t"] += done
        return Outcome(done, batches.means(losses))

    def seconds(self, feed: Feed, batch: int) -> float:
        """About how long one update takes."""
        return 1e-7 * len(self.program.equations)

    def column(self, feed: Feed, name: str, batches: Batches) -> list[float]:
        """The values of one data tensor, sample by sample."""
        array = feed.arrays[name]
        if name not in feed.sliced:
            return [float(array)] * batches.samples
        values: list[float] = (array[: batches.samples] if batches.order is None else array[batches.order[: batches.samples]]).tolist()
        return values


class BatchEngine:
    """What engines on arrays share: the network of a batch, and how its data are cut into batches."""

    def __init__(self, system: System, rule: Rule, precise: bool = False) -> None:
        self.single = is_single_sample(system)
        self.system = lift(system) if self.single else system
        self.dimension = batch_dimension(self.system)
        self.program = training_program(self.system, rule, precise)

    def sizes(self, feed: Feed, batch: int) -> dict[str, int]:
        """The size of every open dimension in a batch of so many samples."""
        return feed.sizes | ({self.dimension.name: batch} if self.dimension is not None else {})

    def batched(self, feed: Feed, name: str, array: Array) -> Array:
        """Values of one data tensor as the network of a batch takes them; one sample is a batch of one."""
        return array[None] if self.single and name not in feed.sliced else array


class ArrayEngine(BatchEngine):
    """NumPy in preallocated buffers, a batch at a time."""

    takes_epochs = False

    def __init__(self, system: System, rule: Rule, dtype: str, precise: bool = False) -> None:
        super().__init__(system, rule, precise)
        self.source = array_source(self.program, dtype)
        self._build = load_source(self.source, "array_step").build
        self._steps: dict[Any, Any] = {}
        self._owner: Any = None

    def step_for(self, weights: Weights, state: State, sizes: dict[str, int]) -> Any:
        """The step for one combination of sizes; made once, since it owns its buffers."""
        if self._owner != (id(weights), id(state)):
            self._steps.clear()
            self._owner = (id(weights), id(state))
        key = tuple(sizes.items())
        if key not in self._steps:
            self._steps[key] = self._build(weights, state, sizes)
        return self._steps[key]

    def run(self, weights: Weights, state: State, feed: Feed, batches: Batches) -> Outcome:
        names = [t.name for t in self.program.data]
        steps: dict[int, Any] = {}  # by the number of samples in a batch
        losses: list[float] = []
        t = state["t"]
        try:
            with np.errstate(all="ignore"):
                for batch in batches:
                    size = len(batch)
                    if size not in steps:
                        steps[size] = self.step_for(weights, state, self.sizes(feed, size))
                    loss = steps[size](t + len(losses) + 1, *[self.batched(feed, name, feed.cut(name, batch)) for name in names])
                    if loss - loss != 0:
                        break
                    losses.append(loss)
        finally:  # after Ctrl-C too
            state["t"] = t + len(losses)
        return Outcome(len(losses), batches.means(losses))

    def seconds(self, feed: Feed, batch: int) -> float:
        """About how long one update takes: so much for each equation, each entry and each multiplication of a product, in every step of time."""
        table = {Dim(name): sp.Integer(size) for name, size in self.sizes(feed, batch).items()}

        def number(sizes: Iterable[Any]) -> int:
            return int(sp.sympify(sp.Mul(*sizes), strict=True).xreplace(table))

        equations = self.program.equations
        found = 0.0
        for turns, listed in [(1, equations), *((number([e.length]), e.body.equations) for _, e in equations if isinstance(e, Scan))]:
            entries = sum(number(symbol.shape) for symbol, _ in listed)
            products = sum(number(e.sizes().values()) for _, expr in listed for e in expr.atoms(Einsum) if len(e.operands) > 1)
            found += turns * (1.5e-6 * len(listed) + 1e-9 * entries + 5e-11 * products)
        return found
