"""The engine that runs compiled training code: whole epochs in one call. It needs the extra [fast]."""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, cached_property, partial
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from symbackprop.codegen.kept import mended
from symbackprop.codegen.load import load_cached
from symbackprop.codegen.lower import lowered
from symbackprop.codegen.native_scalars import is_small, native_scalars
from symbackprop.codegen.native_step import native_source
from symbackprop.codegen.program import Program
from symbackprop.codegen.scalar_step import stored
from symbackprop.codegen.schedule import scheduled
from symbackprop.graph.equations import System
from symbackprop.graph.labels import index_data
from symbackprop.graph.names import Namer
from symbackprop.graph.rule import Rule
from symbackprop.graph.tensor import Tensor
from symbackprop.training.engines import BatchEngine, Outcome, State, Weights
from symbackprop.training.feed import Array, Batches, Feed
from symbackprop.training.steps import Step, address, addresses, allocated

A_PIECE, A_LINE = 0.15, 0.015  # seconds that compiling took: 22 pieces 3.4 s, 54 pieces 7.7 s; 134 scalars 1.8 s
PATIENCE = 0.1  # seconds of compiled code after which Python looks for a Ctrl-C


@cache
def installed() -> bool:
    """Whether the extra [fast] is there."""
    return all(importlib.util.find_spec(name) is not None for name in ("numba", "scipy"))


def require(what: str) -> None:
    """Raises `ImportError` where the extra [fast], which `what` needs, is not there."""
    if not installed():
        raise ImportError(f"{what} needs numba and scipy; install them with: pip install symbackprop[fast]")


class NativeEngine(BatchEngine):
    """Compiled loops over epochs, batches and arrays."""

    takes_epochs = True

    def __init__(self, system: System, rule: Rule, dtype: str, precise: bool = False) -> None:
        super().__init__(system, rule, precise)
        self.dtype = np.dtype(dtype)
        self.labels = index_data(self.system)
        self.program = scheduled(lowered(self.program, dtype))
        self.small = is_small(self.program, self.dimension)
        self._codes: dict[bool, Code] = {}
        self._fed: tuple[Feed, dict[str, Array]] | None = None
        self._rate = 0.0  # updates a second

    @property
    def source(self) -> str:
        """The source that was used last, or the one for single samples."""
        return self.code(1).source if not self._codes else list(self._codes.values())[-1].source

    def code(self, size: int) -> "Code":
        """What runs batches of this size: for single samples of a small network scalars, else loops over arrays."""
        scalars = self.small and size == 1
        if scalars not in self._codes:
            program = replace(self.program, name=Namer(self.program.name.taken))  # each source hands out names of its own
            self._codes[scalars] = (_Scalars if scalars else _Loops)(self, program)
        return self._codes[scalars]

    def run(self, weights: Weights, state: State, feed: Feed, batches: Batches) -> Outcome:
        values = self.values(weights, state)
        data = self.data(feed)
        order = np.empty(0, np.int64) if batches.order is None else batches.order
        sums = np.zeros(batches.epochs)
        updates = self.code(batches.size).updates(values, data, feed, batches, order, sums)
        total = len(batches)
        done = 0
        while done < total:
            last = min(total, done + max(1, int(self._rate * PATIENCE)))
            start = perf_counter()
            made = updates(done, last, state["t"])
            self._rate = max(made, 1) / max(perf_counter() - start, 1e-9)
            state["t"] += made
            done += made
            if done < last:
                break
        return Outcome(done, (sums[: done // batches.each] / batches.samples).tolist())

    def values(self, weights: Weights, state: State) -> dict[str, Array]:
        """The arrays that an update changes, as `stored` lists them."""
        names = {t: weights[t.name] for t in self.program.system.kept}
        names |= {symbol: state[name][w.name] for (name, w), symbol in self.program.states.items()}
        return {t.name: names[t] for t in stored(self.program)}

    def data(self, feed: Feed) -> dict[str, Array]:
        """All samples as compiled code reads them; converted once."""
        if self._fed is None or self._fed[0] is not feed:
            self._fed = feed, {t.name: self.converted(feed, t) for t in self.program.data}
        return self._fed[1]

    def converted(self, feed: Feed, t: Tensor) -> Array:
        """One data tensor in C order, of a known type."""
        array = self.batched(feed, t.name, feed.arrays[t.name])
        return np.require(array, np.int64 if t in self.labels else self.dtype, ["C", "W"])


class Code(Protocol):
    """`updates(values, data, feed, batches, order, sums)` gives a function that makes the updates number `first` to before `last` and says how many
    it made; `t` were made before. `seconds`: about how long compiling takes."""

    source: str
    seconds: float

    def updates(
        self, values: dict[str, Array], data: dict[str, Array], feed: Feed, batches: Batches, order: Array, sums: Array
    ) -> Callable[[int, int, int], int]: ...


class _Scalars:
    """One sample after the other, in one function."""

    def __init__(self, engine: NativeEngine, program: Program) -> None:
        self.source = native_scalars(program, engine.dtype.name, engine.dimension)
        self.seconds = A_LINE * self.source.count("\n")
        run = load_cached(self.source, "native").run
        self.run = partial(mended, run.py_func, run)
        self.tensors = stored(program), program.data

    def updates(
        self, values: dict[str, Array], data: dict[str, Array], feed: Feed, batches: Batches, order: Array, sums: Array
    ) -> Callable[[int, int, int], int]:
        kept, read = (tuple(squeezed(arrays[t.name], t) for t in found) for arrays, found in zip((values, data), self.tensors, strict=True))
        return lambda first, last, t: int(self.run(batches.samples, first, last, t, kept, read, order, sums))


class _Loops:
    """A batch at a time: the machine calls compiled pieces."""

    def __init__(self, engine: NativeEngine, program: Program) -> None:
        self.engine = engine
        self.native = native_source(program, engine.dtype.name, engine.dimension)
        self.source = self.native.source
        self.seconds = A_PIECE * len(self.native.pieces)
        self.loss = np.zeros(1, engine.dtype)
        self.samples = [t for t in program.data if t.name in self.native.rows]
        self._memory: dict[Any, tuple[dict[str, Array], Array]] = {}

    @cached_property
    def step(self) -> Step:
        return Step(self.native, addresses(self.native))

    @cached_property
    def train(self) -> Callable[..., int]:
        """The machine's loop over batches, compiled."""
        from symbackprop.codegen.machine import compiled_train, train

        return partial(mended, train, compiled_train)

    def memory(self, sizes: Mapping[str, int], gathers: bool) -> tuple[dict[str, Array], Array]:
        """The buffers and the table for these sizes; made once."""
        key = (*sizes.items(), gathers)
        if key not in self._memory:
            buffers = allocated(self.native.buffers, sizes, self.engine.dtype, self.engine.labels, gathers)
            self._memory[key] = buffers, self.step.table(sizes, buffers | {self.native.loss: self.loss}, self.engine.dtype)
        return self._memory[key]

    def updates(
        self, values: dict[str, Array], data: dict[str, Array], feed: Feed, batches: Batches, order: Array, sums: Array
    ) -> Callable[[int, int, int], int]:
        step, native = self.step, self.native
        sizes = [self.engine.sizes(feed, n) for n in (batches.size, batches.samples % batches.size or batches.size)]
        (buffers, full), (_, rest) = (self.memory(s, bool(order.size)) for s in sizes)
        for at in (full, rest):
            step.fill(at, (values | data).items())
        fetched = [
            (step.places[t.name], address(data[t.name]), address(buffers[native.rows[t.name]]), data[t.name][0].nbytes)
            for t in self.samples
        ]
        moving = np.array(fetched, np.int64).reshape(-1, 4)
        listed = step.operations, step.args, native.check

        def run(first: int, last: int, t: int) -> int:
            return int(self.train(batches.size, batches.samples, first, last, t, 0, self.loss, (full, rest), *listed, moving, order, sums))

        return run


def squeezed(array: Array, t: Tensor) -> Array:
    """Without the axes that are declared to be of size one; a view."""
    return array.reshape([size for size, declared in zip(array.shape, t.shape, strict=True) if declared != 1])
