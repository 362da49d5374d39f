"""`symbackprop derive`: the derivation of the gradients, as LaTeX or in a file."""

import argparse
import math
from pathlib import Path
from typing import Any

from symbackprop.cli import optimizers
from symbackprop.cli.errors import UsageError, report
from symbackprop.cli.outputs import check_output
from symbackprop.cli.progress import working
from symbackprop.cli.terminal import write, wrote
from symbackprop.derivation.build import FORMS
from symbackprop.display.document import Derivation
from symbackprop.errors import NetworkError
from symbackprop.reading import load

SUFFIXES = (".tex", ".html", ".htm", ".md", ".txt")

EPILOG = """\
examples:
  symbackprop derive tanh.net                          LaTeX, to be included in a document
  symbackprop derive tanh.net -o tanh.html             a page to read in a browser
  symbackprop derive tanh.net -o tanh.tex              a document for pdflatex
  symbackprop derive tanh.net --weight w_1 --form closed
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "derive",
        help="derive its gradients, step by step",
        description="Derive the gradients of a network, step by step. Prints LaTeX unless -o names a file.",
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help='the network in its text form; "-" reads the standard input')
    parser.add_argument("--form", choices=FORMS, default="mixed", metavar="F", help=f"one of {', '.join(FORMS)} (default: mixed, as a textbook would)")
    parser.add_argument("--weight", action="append", metavar="W", help="derive the gradient of this weight only; may be repeated")
    parser.add_argument("-o", "--output", metavar="OUT", help="write a document; its suffix decides: .tex, .html or .md")
    optimizers.add_options(parser, default=None)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, arguments.file)
    if arguments.output is not None and Path(arguments.output).suffix.lower() not in SUFFIXES:
        raise UsageError(f"-o {arguments.output}: the suffix decides what is written; expected one of {', '.join(SUFFIXES)}")
    with working(f"reading {arguments.file}"):
        net = load(arguments.file)
    with working("deriving the gradients and checking every equation"):
        derivation = net.derivation(arguments.form, arguments.weight, optimizers.optimizer(arguments))
    if arguments.output is None:
        write(derivation.latex(), None)
    else:
        derivation.save(arguments.output)
        wrote(arguments.output)
    why = complaint(derivation)
    if why:
        report(NetworkError(why), "symbackprop derive")
    return 1 if why else 0


def complaint(derivation: Derivation) -> str:
    """What the checks found; nothing where every step that was checked is right."""
    not_finite = "could not be checked: the loss or a derivative is not finite at the random inputs that were tried"
    if all(step.verification is None for step in derivation.steps):
        return f"the equations {not_finite}"
    wrong = [step for step in derivation.steps if step.verification is not None and not step.verification.ok]
    if not wrong:
        return ""
    undefined = all(step.verification is not None and math.isnan(step.verification.error) for step in wrong)
    return f"step ({wrong[0].number}) {not_finite if undefined else 'disagrees with numbers'}"
