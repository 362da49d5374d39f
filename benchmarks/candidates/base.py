"""What the candidates share. Each does the same training: the samples in order, plain gradient descent, and the loss of every step
as a number, since `Trainer.fit` does all that."""

from importlib.util import find_spec
from time import perf_counter
from typing import Any, ClassVar

from benchmarks.networks import Case


class Candidate:
    """One way to train one case. A library is imported when the first object is made, so that it costs only the process it lives in."""

    needs: ClassVar[tuple[str, ...]] = ()
    """The packages without which it is left out."""

    compiles: ClassVar[bool] = False
    """Whether it takes seconds to compile each network; the short setting then gives it only the smallest."""

    loss_dtype: ClassVar[str] = "float64"
    """The precision in which it reports losses at most."""

    reference: ClassVar[bool] = False
    """Written by hand for the very network: something to compare with, not a library that somebody could use instead."""

    def __init__(self, case: Case) -> None:
        self.case = case

    @classmethod
    def absent(cls) -> str | None:
        """Why it cannot be measured here, or None."""
        missing = [package for package in cls.needs if find_spec(package) is None]
        return f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed" if missing else None

    @classmethod
    def covers(cls, case: Case) -> bool:
        """Whether it can train this network."""
        return True

    def run(self, epochs: int) -> float | None:
        """Train; return the mean loss of the last epoch, or None where no loss is computed."""
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the first weights."""
        raise NotImplementedError

    def weights(self) -> dict[str, Any]:
        """The present weights, as copies under the names and in the shapes of `networks.weights`."""
        raise NotImplementedError

    def first(self) -> tuple[float | None, dict[str, Any]]:
        """The first epoch's mean loss, and the weights after it."""
        self.reset()
        return self.run(1), self.weights()

    def time(self, at_least: float) -> float:
        """Seconds for one step, from the first weights, in one call of `run` that takes at least so many seconds.

        The call before it is not counted, and how many epochs are needed is found out once."""
        self.run(1)
        while True:
            epochs = getattr(self, "_epochs", 1)
            self.reset()
            start = perf_counter()
            self.run(epochs)
            seconds = perf_counter() - start
            if seconds >= at_least:
                return seconds / (epochs * self.case.batches)
            # The first calls of a tiny network are all start-up: never grow faster than tenfold.
            self._epochs = epochs * min(10, max(2, round(1.5 * at_least / seconds)))
