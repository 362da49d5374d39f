"""What `import symbackprop` costs beside `import sympy`, which it cannot do without, and what the first gradient costs.

An import that only puts the work off would be no gain, so the way from nothing to a gradient is timed as a whole too, beside the same
in bare SymPy.
"""

import os
import subprocess
import sys

from benchmarks.report import Table, duration, ratio
from benchmarks.timing import interleave, medians

SYMPY_GRADIENT = """
import sympy as sp
x, t, w1, w2, b = sp.symbols("x t w_1 w_2 b")
y = sp.tanh(w2 * sp.tanh(w1 * x) + b)
gradient = sp.diff((y - t) ** 2 / 2, w1)
"""
GRADIENT = """
import sympy as sp, symbackprop as sbp
x, t = sbp.data("x t")
w1, w2, b = sbp.weight("w_1 w_2 b")
z1 = sbp.node("z_1", w1 * x)
a1 = sbp.node("a_1", sp.tanh(z1))
z2 = sbp.node("z_2", w2 * a1 + b)
y = sbp.node("y", sp.tanh(z2))
net = sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)
gradient = net.gradients["w_1"].local
"""
CANDIDATES = {
    "import sympy": "import sympy",
    "import sympy, numpy": "import sympy, numpy",
    "import symbackprop": "import symbackprop",
    "import sympy, symbackprop": "import sympy, symbackprop",
    "from symbackprop import *": "from symbackprop import *",
    "import sympy, and a gradient": SYMPY_GRADIENT,
    "import symbackprop, and the same gradient": GRADIENT,
}


def seconds(code: str) -> float:
    """The time that code takes in a new interpreter, without the start of the interpreter."""
    # Compiled modules may be kept, as they are for everybody who imports twice.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    timed = f"from time import perf_counter as now\nstart = now()\n{code}\nprint(now() - start)"
    run = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True, env=environment)
    return float(run.stdout)


def measure(short: bool) -> Table:
    candidates = {name: lambda code=code: seconds(code) for name, code in CANDIDATES.items()}
    interleave(candidates, 1)  # the first import reads from the disk and compiles
    repetitions = 1 if short else 31
    times = interleave(candidates, repetitions)
    typical, least = medians(times), {name: min(values) for name, values in times.items()}
    sympy = "import sympy"
    table = Table(
        "imports",
        "Import",
        f"Medians and minima of {repetitions} runs, each in a fresh interpreter. symbackprop imports a module when a name of it is asked for. "
        "The gradient is that of a weight of tanh(w_2 tanh(w_1 x) + b), by `sympy.diff` and by `net.gradients`; for neither is NumPy imported.",
        ["", "median", "ratio to sympy", "minimum", "ratio to sympy"],
        [[f"`{name}`", duration(t), ratio(t, typical[sympy]), duration(least[name]), ratio(least[name], least[sympy])] for name, t in typical.items()],
        figures=typical,
    )
    if short:
        table.notes.append("Short setting: one repetition.")
    return table
