"""`symbackprop generate`: a standalone module with the loss, its gradients and the update."""

import argparse
from typing import Any

from symbackprop.cli import optimizers
from symbackprop.cli.outputs import check_output
from symbackprop.cli.progress import working
from symbackprop.cli.terminal import write
from symbackprop.codegen.targets import targets
from symbackprop.reading import load

EPILOG = """\
examples:
  symbackprop generate tanh.net                        to the standard output
  symbackprop generate tanh.net -o step.py && python step.py      the module checks its own gradients
  symbackprop generate tanh.net --optimizer adam --lr 0.001 -o step.py
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "generate",
        help="write its update as code",
        description="Write a standalone module: the loss of a network, its gradients, and the update of its weights.",
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help='the network in its text form; "-" reads the standard input')
    parser.add_argument("--target", choices=targets, default="numpy", metavar="T", help=f"one of {', '.join(targets)} (default: numpy)")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64", help="the type of its numbers (default: float64)")
    parser.add_argument("-o", "--output", metavar="OUT.py", help="the file to write (default: the standard output)")
    optimizers.add_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    check_output(arguments.output, arguments.file)
    with working(f"generating the code of {arguments.file}"):
        source = load(arguments.file).generate(arguments.target, optimizers.optimizer(arguments), arguments.dtype)
    write(source, arguments.output)
    return 0
