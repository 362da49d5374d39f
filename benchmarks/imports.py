"""What `import symbackprop` costs beside `import sympy`, which it cannot do without."""

import os
import subprocess
import sys

from benchmarks.report import Table, duration, ratio
from benchmarks.timing import interleave, medians

CANDIDATES = ("sympy", "sympy, numpy", "symbackprop")


def seconds(modules: str) -> float:
    """The time of one import in a new interpreter, without the start of the interpreter."""
    # Compiled modules may be kept, as they are for everybody who imports twice.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    code = f"from time import perf_counter as now; start = now(); import {modules}; print(now() - start)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


def measure(short: bool) -> Table:
    candidates = {modules: lambda modules=modules: seconds(modules) for modules in CANDIDATES}
    interleave(candidates, 1)  # the first import reads from the disk and compiles
    repetitions = 1 if short else 15
    times = medians(interleave(candidates, repetitions))
    table = Table(
        "imports",
        "Import",
        f"`import ...` in fresh interpreters, medians of {repetitions}. symbackprop imports SymPy and NumPy; SymPy alone does not import NumPy.",
        ["import", "median", "ratio to sympy"],
        [[name, duration(t), ratio(t, times["sympy"])] for name, t in times.items()],
    )
    if short:
        table.notes.append("Short setting: one repetition.")
    return table
