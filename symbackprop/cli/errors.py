"""What is wrong with the input of a command, and how a message is printed: one line, whatever it is about."""

import sys

from symbackprop.errors import DataError, ParseError, SymbackpropError
from symbackprop.text.page import one_line

LONGEST = 1000


class UsageError(SymbackpropError):
    """Arguments that contradict each other or the network."""


class TableError(DataError):
    """A table that cannot be read, with its file and the row as an editor counts it."""

    def __init__(self, file: str, row: int, reason: str) -> None:
        super().__init__(f"{file}:{row}: {reason}" if row else f"{file}: {reason}")


def describe(error: Exception) -> str:
    """An error in one line, with its place in front, as compilers print it: `tanh.net:3:7: ...`."""
    if isinstance(error, ParseError):
        place = ":".join([error.file or "the text", *([str(error.line), str(error.column)] if error.line else [])])
        return one_line(f"{place}: {error.reason}" if error.file or error.line else error.reason, LONGEST)
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(f"{error.filename}: {error.strerror}", LONGEST)
    return one_line(str(error) or type(error).__name__, LONGEST)


def report(error: Exception, command: str) -> None:
    """Print an error; on a terminal the line of a text form and its caret follow."""
    message = describe(error)
    placed = isinstance(error, TableError) or (isinstance(error, ParseError) and error.place)
    print(message if placed else f"{command}: {message}", file=sys.stderr)
    if isinstance(error, ParseError) and error.source and sys.stderr.isatty():
        print(f"    {error.source}\n    {error.mark}", file=sys.stderr)
