"""What a training run leaves behind: one mean loss an epoch, and a picture of it."""

import math
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Any

from symbackprop.training.chart import line_chart, spans_decades


@dataclass
class History:
    """`loss`: the mean of the losses before each update, one number an epoch; `validation_loss`: the loss on the validation data
    after each epoch, if there were any. `.svg()` draws them, `.plot()` does with matplotlib; in Jupyter it shows itself."""

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
        if spans_decades([*self.loss, *self.validation_loss]):
            ax.set_yscale("log")
        ax.grid(alpha=0.3)
        return ax

    def svg(self) -> str:
        """The losses over the epochs as a line chart, with their last values; logarithmic where they span decades."""
        lines = {"training": self.loss} | ({"validation": self.validation_loss} if self.validation_loss else {})
        return line_chart(lines, "epoch", "mean loss")

    def _repr_html_(self) -> str | None:
        """The chart as an image: notebooks on the web remove or break SVG that stands in the page itself."""
        if not any(map(math.isfinite, [*self.loss, *self.validation_loss])):
            return None
        return f'<img alt="{self!r}" src="data:image/svg+xml;base64,{b64encode(self.svg().encode()).decode()}">'

    def __repr__(self) -> str:
        if not self.loss:
            return "History(no epochs)"
        last = f", validation {self.validation_loss[-1]:.6g}" if self.validation_loss else ""
        return f"History({len(self.loss)} epochs, loss {self.loss[0]:.6g} to {self.loss[-1]:.6g}{last})"
