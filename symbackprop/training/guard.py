"""What `fit` does about a loss that is not finite: go back to the last weights whose loss was."""

import tempfile
from collections.abc import Iterator
from io import BytesIO
from time import perf_counter
from typing import Any, BinaryIO

import numpy as np

from symbackprop.errors import TrainingDivergedError
from symbackprop.training.engines import Engine
from symbackprop.training.feed import Array, Batches, Feed
from symbackprop.training.run import DRAWS, Run

SHARE = 0.02  # of the time that may go into snapshots
LARGE = 2**20  # bytes; from here on a snapshot stands on disk


class Snapshot:
    """The weights, the optimizer's state and the generator of data that are drawn, after some update, and the batches since. Large ones
    stand in a file, so that memory does not hold them a second time."""

    def __init__(self, trainer: Run) -> None:
        self.steps = trainer.steps
        self.draws = trainer._random[DRAWS].bit_generator.state if DRAWS in trainer._random else None
        self.since: list[Batches] = []
        arrays = list(_arrays(trainer))
        large = sum(a.nbytes for a in arrays) >= LARGE
        self.file: BinaryIO = tempfile.TemporaryFile() if large else BytesIO()  # noqa: SIM115
        for array in arrays:
            self.file.write(array.data)

    def __del__(self) -> None:
        self.file.close()

    def restore(self, trainer: Run) -> None:
        trainer.state["t"] = self.steps
        if self.draws is not None:
            trainer._random[DRAWS].bit_generator.state = self.draws
        self.file.seek(0)
        for array in _arrays(trainer):
            self.file.readinto(array.data)  # type: ignore[attr-defined]


class Guard:
    """Can go back to the last weights whose loss was finite: it keeps a snapshot of earlier ones and the batches since, and going back
    repeats the updates, which costs nothing until it happens. A new snapshot is taken when the training since the last one makes
    its cost small; that one stays, since the first loss after the new one may lead back behind it. `alone` says that nothing else
    changes the weights between two epochs; otherwise there is a snapshot before each."""

    def __init__(self, trainer: Run, engine: Engine, feed: Feed, alone: bool) -> None:
        self.trainer = trainer
        self.engine = engine
        self.feed = feed
        self.alone = alone
        self.snapshots: list[Snapshot] = []
        self.due = 0.0  # the time from which on the next snapshot may be taken

    def run(self, batches: Batches) -> list[float]:
        """The mean loss of each epoch. Raises `TrainingDivergedError`."""
        t = self.trainer
        start = perf_counter()
        if start >= self.due:
            self.snapshots = [*self.snapshots[-1:], Snapshot(t)]
            end = perf_counter()
            self.due = end + (end - start) / SHARE if self.alone else end
        self.snapshots[-1].since.append(batches)
        feed = t._drawn(self.feed)
        done, means = t._run(self.engine, feed, batches)
        if done < len(batches):
            update = t.steps + 1
            # On floats an update may fail although its loss is finite; then the weights are still the last good ones.
            if not self.is_finite(feed, batches[done]):
                self.restore(t.steps - 1)
            raise self.diverged(f"the loss {t.system.loss.name!r} is not finite at update {update}")
        return means

    def check_weights(self) -> None:
        """After the last update there is no further loss to show that it went wrong."""
        t = self.trainer
        bad = [name for name, value in t._arrays.items() if not np.isfinite(value).all()]
        if bad and self.snapshots:
            update = t.steps
            self.restore(update - 1)
            raise self.diverged(f"the weight {bad[0]!r} is not finite after update {update}")

    def diverged(self, what: str) -> TrainingDivergedError:
        return TrainingDivergedError(
            f"{what}; training stopped, and the weights are those after update {self.trainer.steps}, the last whose loss was finite: "
            "lower the learning rate, or check the data"
        )

    def is_finite(self, feed: Feed, batch: Any) -> bool:
        """Whether the loss of one batch is finite at the present weights."""
        t = self.trainer
        cut = {name: feed.cut(name, batch) for name in t._check.needed_by_loss}
        with np.errstate(all="ignore"):
            return bool(np.isfinite(t.module.loss(t._arrays, **cut)))

    def restore(self, steps: int) -> None:
        """Go back to the weights after so many updates, or to the first ones if that is before them."""
        t = self.trainer
        snapshot = next((s for s in reversed(self.snapshots) if s.steps <= steps), self.snapshots[0])
        snapshot.restore(t)
        for batches in snapshot.since:
            if t.steps < steps:
                self.engine.run(t._arrays, t.state, t._drawn(self.feed), batches.first(steps - t.steps))


def _arrays(trainer: Run) -> Iterator[Array]:
    """The arrays that an update changes, in a fixed order."""
    yield from trainer._arrays.values()
    for name, values in trainer.state.items():
        if name != "t":
            yield from values.values()
