"""What a training run leaves behind: one mean loss an epoch, and a picture of it."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class History:
    """`loss`: the mean of the losses before each update, one number an epoch; `validation_loss`: the loss on the validation data
    after each epoch, if there were any."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)

    def plot(self, ax: Any = None) -> Any:
        """Draw the losses over the epochs; returns matplotlib's Axes. Needs `pip install symbackprop[plot]`."""
        try:
            import matplotlib.pyplot as plt
        except ImportError:
            raise ImportError("History.plot needs matplotlib; install it with: pip install symbackprop[plot]") from None
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 4), layout="constrained")
        epochs = range(1, len(self.loss) + 1)
        ax.plot(epochs, self.loss, label="training")
        if self.validation_loss:
            ax.plot(epochs, self.validation_loss, label="validation")
            ax.legend(frameon=False)
        ax.set_xlabel("epoch")
        ax.set_ylabel("mean loss")
        if self.loss and min(self.loss) > 0 and max(self.loss) > 50 * min(self.loss):
            ax.set_yscale("log")
        ax.grid(alpha=0.3)
        return ax

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epochs)"
        last = f", validation {self.validation_loss[-1]:.6g}" if self.validation_loss else ""
        return f"History({len(self.loss)} epochs, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g}{last})"
