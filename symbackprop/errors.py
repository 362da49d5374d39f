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


class ParseError(SymbackpropError, ValueError):
    """A text form that does not follow the grammar."""


class DataError(SymbackpropError, ValueError):
    """Numbers fed at run time that do not fit the network: missing, extra, of the wrong shape or type, or not finite."""


class UnsupportedError(SymbackpropError, ValueError):
    """Mathematics outside what the package differentiates, prints or generates."""


class TrainingDivergedError(SymbackpropError, ArithmeticError):
    """The loss became infinite or NaN; the trainer holds the last weights whose loss was finite."""


class ZeroGradientWarning(UserWarning):
    """A weight that the loss does not depend on: its gradient is zero."""
