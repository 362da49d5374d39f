"""`python -m benchmarks [--short] [NAME ...]`: measure, print the tables, and write them to benchmarks/results/."""

import argparse

from benchmarks import depth, derivation, imports, steps

MEASUREMENTS = {"derivation": derivation.measure, "depth": depth.measure, "steps": steps.measure, "imports": imports.measure}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(MEASUREMENTS)}; all if none is given")
    parser.add_argument("--short", action="store_true", help="under 20 seconds: smaller networks, fewer repetitions, nothing written")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}; expected some of {', '.join(MEASUREMENTS)}")
    for name in arguments.names or MEASUREMENTS:
        table = MEASUREMENTS[name](arguments.short)
        print(table.markdown(), flush=True)
        if not arguments.short:
            table.write()


if __name__ == "__main__":
    main()
