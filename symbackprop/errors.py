"""The errors that this package raises. A message names the equation, what was found, what was expected, and what to do."""


class SymbackpropError(Exception):
    """Base class of every error of this package."""


class ShapeError(SymbackpropError, ValueError):
    """Shapes that do not fit together in an equation."""


class NetworkError(SymbackpropError, ValueError):
    """A network, a name or an optimizer rule that cannot be used as it is written."""


class UnknownWeightError(NetworkError, KeyError):
    """A weight that the network does not have; a `KeyError` too, as for any mapping."""

    __str__ = Exception.__str__  # KeyError would put the message in quotes


class ArgumentError(NetworkError, TypeError):
    """A call of a layer, a loss or an activation with an argument that it does not have, or without one that it needs, or of what is an
    expression or a network as if it were numbers or a function; a `TypeError` too."""


class ParseError(SymbackpropError, ValueError):
    """A text form that cannot be read. `reason` is the message in one line; `line` and `column` count from 1, and are 0 where the text
    as a whole is meant. As text it shows the line with a caret under the place: `source` and `mark` are these two lines."""

    def __init__(self, reason: str, line: int = 0, column: int = 0, source: str = "", mark: str = "", file: str = "") -> None:
        super().__init__(reason)
        self.reason, self.line, self.column, self.source, self.mark, self.file = reason, line, column, source, mark, file

    @property
    def place(self) -> str:
        """Where it is: "tanh.net, line 3, column 7"."""
        return ", ".join([self.file] * bool(self.file) + [f"line {self.line}, column {self.column}"] * bool(self.line))

    def __str__(self) -> str:
        message = f"{self.place}: {self.reason}" if self.place else self.reason
        return f"{message}\n    {self.source}\n    {self.mark}" if self.source else message


class DataError(SymbackpropError, ValueError):
    """Numbers fed at run time that do not fit the network: missing, extra, of the wrong shape or type, or not finite."""


class UnsupportedError(SymbackpropError, ValueError):
    """Mathematics outside what the package differentiates, prints or generates."""


class TrainingDivergedError(SymbackpropError, ArithmeticError):
    """The loss became infinite or NaN; the trainer holds the last weights whose loss was finite."""


class ZeroGradientWarning(UserWarning):
    """A weight that the loss does not depend on: its gradient is zero."""


class LogitsWarning(UserWarning):
    """Probabilities where a loss expects what they are made of: the softmax or the sigmoid would be taken twice."""
