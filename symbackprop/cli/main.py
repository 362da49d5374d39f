"""Where the command line begins: reads the arguments, runs one command, and turns every error into one line and an exit status.

Exit status: 0 done, 1 the work failed, 2 the input is wrong, 130 interrupted.
"""

import argparse
import io
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from symbackprop.cli import check, derive, generate, train
from symbackprop.cli.errors import describe, report
from symbackprop.cli.progress import erasing
from symbackprop.errors import ParseError, SymbackpropError, TrainingDivergedError, UnsupportedError
from symbackprop.text.page import one_line
from symbackprop.version import __version__

DESCRIPTION = "The gradient of a neural network as mathematics: derive it, write it as code, train with it, check it."
EPILOG = """\
FILE describes a network in its text form, one equation a line:

    data   x, t                        fed at run time; shapes stand in brackets: X[n, 2]
    weight w_1 = 1, w_2 = 1, b = 1     learnt
    z_1 = w_1*x
    a_1 = tanh(z_1)
    z_2 = w_2*a_1 + b
    y   = tanh(z_2)
    loss   C = (y - t)^2/2
    output y

examples:
  symbackprop derive tanh.net -o tanh.html
  symbackprop generate tanh.net --optimizer adam -o step.py
  symbackprop train cars.net --data cars.csv --epochs 500
  symbackprop check tanh.net

'symbackprop COMMAND --help' explains a command. Exit status: 0 done, 1 the work failed, 2 the input is wrong.
"""


class _Parser(argparse.ArgumentParser):
    """Help as it is written here, and errors in one line."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        keywords |= {"formatter_class": argparse.RawDescriptionHelpFormatter, "allow_abbrev": False}
        super().__init__(*arguments, **keywords)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {one_line(message)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="symbackprop", description=DESCRIPTION, epilog=EPILOG)
    top.add_argument("--version", action="version", version=f"symbackprop {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", dest="command", required=True)
    for command in (derive, generate, train, check):
        command.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a console that cannot show a letter must not end the work
    command = "symbackprop"
    try:
        arguments = parser().parse_args(argv)
        command = f"symbackprop {arguments.command}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", UserWarning)
            warnings.showwarning = lambda message, *_: print(
                f"{erasing()}{command}: warning: {describe(Exception(str(message)))}", file=sys.stderr
            )
            status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (SymbackpropError, OSError, MemoryError, RecursionError) as error:
        report(error, command)
        return 2 if _is_input(error) else 1
    except Exception as error:  # nobody foresaw it: a mistake of the program, not of its input
        if os.environ.get("SYMBACKPROP_DEBUG"):
            traceback.print_exc()
        unforeseen = f"internal error: {type(error).__name__}: {one_line(str(error))}; please report it with the file"
        report(Exception(f"{unforeseen} (SYMBACKPROP_DEBUG=1 shows where it happened)"), command)
        return 1


def _is_input(error: Exception) -> bool:
    """Whether the input is wrong, rather than the work too hard."""
    if isinstance(error, SymbackpropError) and not isinstance(error, ParseError):
        return not isinstance(error, (TrainingDivergedError, UnsupportedError))
    return isinstance(error, (ParseError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError))
