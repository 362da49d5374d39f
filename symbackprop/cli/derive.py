"""`symbackprop derive`: the derivation of the gradients, as LaTeX or in a file."""

import argparse
from typing import Any

from symbackprop.cli import optimizers
from symbackprop.cli.terminal import write, wrote
from symbackprop.reading import load

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
    parser.add_argument("--form", metavar="F", help="how the gradients are written, such as local, closed, matrix or index (default: what suits the network)")
    parser.add_argument("--weight", action="append", metavar="W", help="derive the gradient of this weight only; may be repeated")
    parser.add_argument("-o", "--output", metavar="OUT", help="write a document; its suffix decides: .tex, .html or .md")
    optimizers.add_options(parser, default=None)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    chosen = {"form": arguments.form, "weights": arguments.weight, "optimizer": optimizers.optimizer(arguments)}
    derivation = load(arguments.file).derivation(**{name: value for name, value in chosen.items() if value is not None})
    if arguments.output is None:
        write(derivation.latex(), None)
    else:
        derivation.save(arguments.output)
        wrote(arguments.output)
    return 0
