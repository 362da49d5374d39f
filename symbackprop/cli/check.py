"""`symbackprop check`: the gradients of a network against numbers, and the generated module against itself."""

import argparse
import math
from typing import Any

from symbackprop.check import check_gradients
from symbackprop.cli.progress import working
from symbackprop.cli.terminal import GREEN, RED, coloured, table
from symbackprop.codegen.load import load_source
from symbackprop.reading import load

GENERATED = 1e-5  # what the module, run as a script, asks of itself: it knows plain central differences only
EPILOG = """\
Every derivative is held against a difference quotient at random inputs, and against a complex step where the function is analytic.

example:
  symbackprop check tanh.net && echo right
"""


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="hold its gradients against numbers",
        description="Hold the gradients of a network against numbers that owe them nothing. Exit status 1 where they differ.",
        epilog=EPILOG,
    )
    parser.add_argument("file", metavar="FILE", help='the network in its text form; "-" reads the standard input')
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    with working(f"reading {arguments.file}"):
        net = load(arguments.file)
    with working("comparing the gradients with numbers"):
        report = check_gradients(net)
    with working("running the generated module's own check"):
        generated = float(load_source(net.generate(), "network").check_gradients())
    rows = [[name, f"{error:.1e}", report.method[name]] for name, error in report.errors.items()]
    rows.append(["generated module", f"{generated:.1e}", "its own check"])
    print(table(["gradient of", "largest relative error", "held against"], rows, numbers=(1,)))
    if math.isnan(report.max_relative_error + generated):
        print(coloured("UNKNOWN: the loss is not finite at the random inputs that were tried", RED))
        return 1
    ok = report.ok and generated < GENERATED
    print(coloured("ok", GREEN) if ok else coloured("WRONG", RED))
    return 0 if ok else 1
