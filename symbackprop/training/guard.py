"""What `fit` does about a loss that is not finite: go back to the last weights whose loss was."""

from typing import Any

import numpy as np

from symbackprop.errors import TrainingDivergedError
from symbackprop.training.engines import Engine
from symbackprop.training.feed import Array, Feed
from symbackprop.training.run import Run


class Guard:
    """Keeps what is needed to go back to the last weights whose loss was finite: the values at the start of this epoch and of the one
    before, and the batches since. Going back repeats the updates up to there, which costs nothing until it happens."""

    def __init__(self, trainer: Run, engine: Engine, feed: Feed) -> None:
        self.trainer = trainer
        self.engine = engine
        self.feed = feed
        self.epochs: list[tuple[Any, list[Any]]] = []

    def run(self, batches: list[Any]) -> list[float]:
        t = self.trainer
        state = {name: value if name == "t" else _copy(value) for name, value in t.state.items()}
        self.epochs = [*self.epochs[-1:], ((_copy(t._arrays), state), batches)]
        with np.errstate(all="ignore"):
            losses = self.engine.run(t._arrays, t.state, self.feed, batches)
        if len(losses) < len(batches):
            update = t.steps + 1
            # On floats an update may fail although its loss is finite; then the weights are still the last good ones.
            if not self.is_finite(batches[len(losses)]):
                self.restore(len(losses))
            raise self.diverged(f"the loss {t.system.loss.name!r} is not finite at update {update}")
        return losses

    def check_weights(self) -> None:
        """After the last update there is no further loss to show that it went wrong."""
        t = self.trainer
        bad = [name for name, value in t._arrays.items() if not np.isfinite(value).all()]
        if bad and self.epochs:
            update = t.steps
            self.restore(len(self.epochs[-1][1]))
            raise self.diverged(f"the weight {bad[0]!r} is not finite after update {update}")

    def diverged(self, what: str) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"{what}; training stopped, and the weights are those after update {self.trainer.steps}, the last whose loss was finite: "
            "lower the learning rate, or check the data"
        )

    def is_finite(self, batch: Any) -> bool:
        """Whether the loss of one batch is finite at the present weights."""
        t = self.trainer
        cut = {name: self.feed.cut(name, batch) for name in t._check.needed_by_loss}
        with np.errstate(all="ignore"):
            return bool(np.isfinite(t.module.loss(t._arrays, **cut)))

    def restore(self, done: int) -> None:
        """Go back to the weights before the last of the updates that were made: the start of its epoch, and what followed up to it."""
        first = done == 0 and len(self.epochs) > 1
        (arrays, state), batches = self.epochs[0 if first else -1]
        self.trainer.state["t"] = state["t"]
        _write(self.trainer._arrays, arrays)
        for name in state.keys() - {"t"}:
            _write(self.trainer.state[name], state[name])
        repeat = len(batches) - 1 if first else done - 1
        if repeat > 0:
            with np.errstate(all="ignore"):
                self.engine.run(self.trainer._arrays, self.trainer.state, self.feed, batches[:repeat])


def _copy(arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: array.copy() for name, array in arrays.items()}


def _write(places: dict[str, Array], arrays: dict[str, Array]) -> None:
    for name, array in arrays.items():
        places[name][...] = array
