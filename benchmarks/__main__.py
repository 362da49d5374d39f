"""`python -m benchmarks [--short] [NAME ...]`: measure, print the tables, and write them to benchmarks/results/.

A summary and a plot are then made of everything that was ever written there. `summary` as a name makes them and measures nothing.
"""

import argparse
import os
from collections.abc import Sequence

from benchmarks import depth, derivation, digits, hessians, imports, memory, plot, stability, steps, summary
from benchmarks.report import figures

MEASUREMENTS = {
    "steps": steps.measure,
    "digits": digits.measure,
    "derivation": derivation.measure,
    "depth": depth.measure,
    "hessians": hessians.measure,
    "imports": imports.measure,
    "memory": memory.measure,
    "stability": stability.measure,
}


def main(argv: Sequence[str] | None = None) -> None:
    names = [*MEASUREMENTS, "summary"]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(names)}; all if none is given")
    parser.add_argument("--short", action="store_true", help="within a minute: smaller networks, fewer repetitions, nothing written")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.names if name not in names]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(names)}")
    if arguments.short:  # on a busy machine threads wait for each other longer than they compute
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1"))
    for name, measure in MEASUREMENTS.items():
        if not arguments.names or name in arguments.names:
            table = measure(arguments.short)
            print(table.markdown(), flush=True)
            if not arguments.short:
                table.write()
    if not arguments.short:
        table = summary.measure()
        print(table.markdown(), flush=True)
        table.write()
        if reason := plot.write(figures("steps"), figures("digits")):
            print(f"No plot: {reason}.")


if __name__ == "__main__":
    main()
