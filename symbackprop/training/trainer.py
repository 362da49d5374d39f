"""The training loop: batches, epochs, checks, history. The numbers are computed by generated code."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import signature
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any, Never, ParamSpec, TypeVar

import numpy as np

from symbackprop.codegen.load import load_source
from symbackprop.codegen.numpy_module import numpy_module
from symbackprop.errors import DataError, NetworkError, TrainingDivergedError, UnsupportedError
from symbackprop.graph.arguments import bound
from symbackprop.graph.equations import System
from symbackprop.graph.inference import inference
from symbackprop.training import checkpoint, native
from symbackprop.training.engines import ArrayEngine, Engine, Outcome, ScalarEngine
from symbackprop.training.feed import Array, Batches, Checker, Feed, refuse_positional
from symbackprop.training.guard import Guard
from symbackprop.training.history import History
from symbackprop.training.optimizers import Optimizer
from symbackprop.training.room import no_room
from symbackprop.training.run import DRAWS
from symbackprop.training.weights import Weights, assign
from symbackprop.version import __version__

P = ParamSpec("P")
R = TypeVar("R")

BACKENDS = ("auto", "numpy", "numba")
LONG = 1.0  # seconds of NumPy from which on a fit is worth compiling, unless that takes longer
PACE = 0.1  # seconds of compiled epochs between two looks at progress


def _by_name(fit: Callable[P, R]) -> Callable[P, R]:
    """The same method, which says what is wrong with a call that does not fit: arrays without names above all."""
    called = signature(fit)

    @wraps(fit)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        trainer, *given = args
        if given and not isinstance(given[0], Mapping):
            assert isinstance(trainer, Trainer)
            names = ", ".join(f"{name!r}: ..." for name in trainer._check.needed_by_loss)
            raise DataError(f"fit: the data are of type {type(given[0]).__name__}, without names; expected a mapping: fit({{{names}}}, epochs=...)")
        bound("fit", called, args, kwargs)
        return fit(*args, **kwargs)

    return call


class Trainer:
    """Trains one network with one optimizer. Made by `Network.trainer`.

    `dtype` is "float64" or "float32". `backend` says what runs the updates: "numpy" (networks of scalars on plain floats, sample by sample;
    everything else in NumPy arrays); "numba" compiled code, which needs the extra [fast]; "auto" compiled code for a `fit` that would
    take NumPy longer than compiling it, about a second for a small network, where [fast] is installed. All give the same numbers up to rounding.

    `precise=True` computes each update as the generated module computes gradients: slopes of saturated units and of nearly sure shares to their
    last digits, for an exponential more each. Without it they are made of the values that are stored, as 1 - a² of a tanh, which is 0 where the
    slope is below 1e-16.
    """

    def __init__(
        self,
        system: System,
        optimizer: Optimizer,
        weights: Mapping[Any, Any] | None = None,
        seed: int = 0,
        dtype: Any = "float64",
        backend: str = "auto",
        precise: bool = False,
    ) -> None:
        try:
            self.dtype = np.dtype(dtype).name
        except TypeError:
            self.dtype = ""
        if self.dtype not in ("float64", "float32"):
            raise DataError(f"the dtype is {dtype!r}; expected 'float64' or 'float32'")
        if backend not in BACKENDS:
            raise NetworkError(f"the backend {backend!r} is unknown; expected one of {', '.join(BACKENDS)}")
        if not isinstance(precise, (bool, np.bool_)):
            raise NetworkError(f"precise is {precise!r}; expected True or False")
        if not isinstance(optimizer, Optimizer):
            raise NetworkError(f"the optimizer is {optimizer!r}; expected an Optimizer such as SGD(lr=0.01)")
        if not system.weights:
            raise NetworkError(f"the network with loss {system.loss.name!r} has no weights, so there is nothing to train; declare some with weight(...)")
        self.system = system  # `trained`: with what the optimizer adds to it
        self.optimizer = optimizer
        self.backend = backend
        self.precise = bool(precise)
        self.trained, self.rule = optimizer.prepared(system)
        self.module: ModuleType = load_source(numpy_module(self.trained, self.rule, self.dtype, __version__), "network")
        self._check = Checker(system, self.dtype)
        self._arrays: dict[str, Array] = {name: np.array(value) for name, value in self.module.initialize(seed).items()}
        self._weights = Weights({t.name: self._arrays[t.name] for t in system.kept})  # what the optimizer keeps is not among them
        if weights is not None:
            assign(self._weights, weights)
        self.state: dict[str, Any] = self.module.initialize_state(self._arrays)
        self._engines: dict[str, Any] = {}
        self.compiled = backend == "numba"  # whether updates run in compiled code; once they have, they all do
        self._unsupported = False  # whether compiled code cannot say this network
        self._random: dict[Any, np.random.Generator] = {}
        if self._check.drawn:  # a stream of its own, so that masks have nothing to do with the first weights
            self._random[DRAWS] = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])

    @property
    def weights(self) -> Weights:
        """Name → array, of the weights and of the states that are kept with them; assignable as a whole or one by one."""
        return self._weights

    @weights.setter
    def weights(self, values: Mapping[Any, Any]) -> None:
        assign(self._weights, values)

    @property
    def steps(self) -> int:
        """The number of updates made so far."""
        return int(self.state["t"])

    def __repr__(self) -> str:
        system = self.system
        numbers = sum(math.prod(map(int, w.shape)) for w in system.weights)
        held = f"{numbers} numbers in {len(system.weights)} weight{'s' if len(system.weights) > 1 else ''}"
        how = f"{self.dtype}, backend {self.backend!r}{', precise' * self.precise}"
        return f"Trainer(loss {system.loss}, {self.optimizer!r}, {held}, {how}, after {self.steps} updates)"

    # --- one step, and no step ------------------------------------------------------------------------------------------

    def step(self, *unnamed: Never, **data: Any) -> float:
        """One update with all of `data` as one batch; returns the loss before the update.

        Raises `DataError` for data that do not fit and `TrainingDivergedError` where the loss is not finite; the weights are then
        left as they were.
        """
        refuse_positional(unnamed, "step", self._check.needed_by_loss)
        feed = self._drawn(self._check(data, drawn=True))
        with np.errstate(all="ignore"):
            done, means = self._run(self._engine(feed.samples), feed, Batches(feed.samples, feed.samples))
        if not done:
            raise TrainingDivergedError(
                f"the loss {self.system.loss.name!r} is not finite at update {self.steps + 1}; the weights were left as they were: "
                "lower the learning rate, or check the data"
            )
        return means[0]

    def _run(self, engine: Engine, feed: Feed, batches: Batches) -> Outcome:
        """The updates of some batches. A matrix that cannot be solved with stops before the update, as a loss that is not finite does, and
        so does one that there is no room for."""
        try:
            return engine.run(self._arrays, self.state, feed, batches)
        except np.linalg.LinAlgError as error:
            raise TrainingDivergedError(
                f"{type(self.optimizer).__name__}: the linear equations of update {self.steps + 1} have no solution ({error}); the weights were "
                "left as they were: raise the damping, or check the data"
            ) from error
        except MemoryError as error:
            from symbackprop.training.second_order import LevenbergMarquardt, Newton

            if not isinstance(self.optimizer, (Newton, LevenbergMarquardt)):
                raise
            advice = "train with an optimizer of the first order, such as Adam, or make the network smaller"
            raise no_room(type(self.optimizer).__name__, self.system.weights, error, advice) from None

    def predict(self, *unnamed: Never, **data: Any) -> Array:
        """The network's output for `data`, as it is at inference; data that only the loss reads may be left out."""
        refuse_positional(unnamed, "predict", self._check.needed_by_output)
        if self.system.output is None:
            raise NetworkError(f"the network with loss {self.system.loss.name!r} names no output; build it with Network(loss, output=...)")
        feed = self._check(data, self._check.needed_by_output)
        needed = {name: feed.arrays[name] for name in self._check.needed_by_output}
        return np.array(self.module.predict(self._arrays, **needed))

    def loss(self, *unnamed: Never, **data: Any) -> float:
        """The loss at the present weights, as it is in training; nothing is updated. Data that training draws and that are not given are
        the same in every call, so that losses can be compared."""
        refuse_positional(unnamed, "loss", self._check.needed_by_loss)
        feed = self._check.evaluated(data, self._draw)
        return float(self.module.loss(self._arrays, **{name: feed.arrays[name] for name in self._check.needed_by_loss}))

    def _drawn(self, feed: Feed) -> Feed:
        """The data of one update, or of one epoch, with those that are drawn."""
        return self._check.filled(feed, self._draw, self._random[DRAWS]) if self._check.drawn else feed

    def _draw(self, rng: np.random.Generator, **sizes: int) -> dict[str, Array]:
        drawn: dict[str, Array] = self.module.draw(rng, **sizes)
        return drawn

    def _validation(self, data: Mapping[Any, Any]) -> Callable[[], float]:
        """The loss on these data as it is at inference, as a function of nothing: the weights are those of the moment."""
        needed = self._check.needed_by_validation
        feed = self._check.evaluated(data, self._draw, needed)
        inferred = inference(self.system)
        module = self.module if inferred is self.system else load_source(numpy_module(inferred, None, self.dtype, __version__), "inference")
        return lambda: float(module.loss(self._arrays, **{name: feed.arrays[name] for name in needed}))

    # --- many steps -------------------------------------------------------------------------------------------------------

    @_by_name
    def fit(
        self,
        data: Mapping[Any, Any],
        epochs: int,
        batch_size: int | None = None,
        shuffle: bool = False,
        seed: int = 0,
        validation: Mapping[Any, Any] | None = None,
        progress: bool = False,
        callbacks: Callable[["Trainer", History], Any] | Sequence[Callable[["Trainer", History], Any]] = (),
    ) -> History:
        """Train for a number of passes over the data.

        `data`: name → array of samples along the first axis. `batch_size`: samples per update; None takes all of them at once. A network
        that is written for one sample is averaged over each batch. `shuffle` draws a new order for every epoch from a generator that
        `seed` starts and that further calls with the same seed continue. `validation`: data whose loss is measured after each epoch, with
        every node as it is at inference. Data that are to be drawn and are not given are drawn for each epoch from a generator that the
        trainer's seed starts.
        `progress` shows a bar (needs the extra [progress]). `callbacks`: a function, or several, each of which is called after each epoch with
        the trainer and the history; where one returns True, training stops.

        Raises `DataError` for data that do not fit, and `TrainingDivergedError` where a loss is not finite: the trainer then holds the
        last weights whose loss was finite.
        """
        feed = self._check(data, drawn=True)
        size = min(_positive(batch_size, "batch_size"), feed.samples) if batch_size is not None else feed.samples
        held_out = self._validation(validation) if validation is not None else None
        epochs = _positive(epochs, "epochs", zero=True)
        callbacks = _functions(callbacks)
        engine = self._engine(size, epochs * -(-feed.samples // size), feed)
        history = History()
        generator = self._random.setdefault(seed, np.random.default_rng(seed)) if shuffle else None
        guard = Guard(self, engine, feed, alone=not callbacks)
        alone = held_out is None and not callbacks and engine.takes_epochs and not self._check.drawn
        with _bar(epochs, progress) as advance:
            for count in _paces(epochs, alone):
                orders = [generator.permutation(feed.samples) for _ in range(count)] if generator is not None else []
                history.loss += guard.run(Batches(feed.samples, size, np.concatenate(orders) if orders else None, count))
                if held_out is not None:
                    history.validation_loss.append(held_out())
                advance(count, history)
                answers = [callback(self, history) for callback in callbacks]
                if any(isinstance(answer, (bool, np.bool_)) and answer for answer in answers):
                    break
        guard.check_weights()
        return history

    def _engine(self, batch: int, updates: int = 0, feed: Feed | None = None) -> Engine:
        """What runs batches of this size: compiled code where it is wanted or worth it, else NumPy. The choice depends on nothing but the
        work, so that a run can be repeated exactly."""
        if self.backend == "numba":
            return self._native_engine(batch)
        if self.backend == "numpy" or self._unsupported or not native.installed():
            return self._numpy_engine(batch)
        seconds = updates * self._numpy_engine(batch).seconds(feed, batch) if feed is not None else 0.0
        if not self.compiled and seconds < LONG:
            return self._numpy_engine(batch)
        try:
            engine = self._native_engine(batch)
        except UnsupportedError:
            self._unsupported = True
            return self._numpy_engine(batch)
        if not self.compiled and seconds < engine.code(batch).seconds:
            return self._numpy_engine(batch)
        self.compiled = True
        return engine

    def _numpy_engine(self, batch: int) -> ScalarEngine | ArrayEngine:
        """Scalars one at a time run on floats; a batch of them, and any array, in NumPy."""
        if batch == 1 and self.dtype == "float64" and "scalar" not in self._engines and all(t.rank == 0 for t in self.system.tensors):
            engine = ScalarEngine(self.trained, self.rule, self.precise)
            if engine.usable:
                self._engines["scalar"] = engine
        found: ScalarEngine | ArrayEngine | None = self._engines.get("scalar") if batch == 1 else None
        if found is None:
            found = self._engines.get("array") or ArrayEngine(self.trained, self.rule, self.dtype, self.precise)
            self._engines["array"] = found
        return found

    def _native_engine(self, batch: int) -> native.NativeEngine:
        native.require("backend='numba'")
        engine: native.NativeEngine = self._engines.get("native") or native.NativeEngine(self.trained, self.rule, self.dtype, self.precise)
        engine.code(batch)
        self._engines["native"] = engine
        return engine

    @property
    def source(self) -> str:
        """The source of the training step that runs, or would run for one sample at a time."""
        source: str = self._engine(1).source
        return source

    # --- on disk ----------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the network, weights, optimizer state, step count and random state to one .npz file."""
        checkpoint.save(self, path)

    @staticmethod
    def load(path: str | Path, network: Any = None, optimizer: Optimizer | None = None) -> "Trainer":
        """A trainer as it was saved; a resumed run continues bit for bit.

        `network` and `optimizer` are needed only where the saved ones hold functions of the user's own, which a file cannot hold.
        """
        return checkpoint.load(Trainer, path, network, optimizer)


def _positive(value: Any, name: str, zero: bool = False) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < (0 if zero else 1):
        raise DataError(f"{name} is {value!r}; expected a {'non-negative' if zero else 'positive'} integer")
    return int(value)


def _functions(callbacks: Any) -> tuple[Callable[..., Any], ...]:
    found = (callbacks,) if callable(callbacks) else tuple(callbacks) if isinstance(callbacks, Iterable) else None
    if found is None or not all(map(callable, found)):
        raise DataError(f"callbacks is {callbacks!r}; expected a function of the trainer and the history, or a list of such functions")
    return found


def _paces(epochs: int, alone: bool) -> Iterator[int]:
    """How many epochs to run at once, one after the other: one, or, where nothing looks at them in between, as many as take PACE seconds."""
    count = 1
    while epochs:
        count = min(count, epochs)
        start = perf_counter()
        yield count
        epochs -= count
        if alone and perf_counter() - start < PACE / 2:
            count *= 2


@contextmanager
def _bar(epochs: int, progress: bool) -> Iterator[Callable[[int, History], None]]:
    """`advance(count, history)` for every few epochs, with a progress bar if one is wanted."""
    if not progress:
        yield lambda count, history: None
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm; install it with: pip install symbackprop[progress]") from None
    with tqdm(total=epochs, unit="epoch") as bar:

        def advance(count: int, history: History) -> None:
            bar.set_postfix(loss=f"{history.loss[-1]:.4g}", refresh=False)
            bar.update(count)

        yield advance
