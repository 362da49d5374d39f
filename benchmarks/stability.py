"""Naive formulas at extreme arguments, value and gradient, held against mpmath: this project on its five ways beside PyTorch, JAX and PyTensor,
each with the very same formula. It measures precision, not speed.
"""

import warnings
from itertools import product
from typing import Any

import numpy as np

from benchmarks.formulas import FORMULAS, Formula
from benchmarks.precision import LIMIT, errors
from benchmarks.report import Section, Table
from benchmarks.stable_candidates import finite_points, module, trained
from benchmarks.stable_peers import PEERS, computed

PRECISIONS = ("float64", "float32")
OURS = "symbackprop, module"


class Count:
    """How many numbers of each formula were compared, were off by more than LIMIT, and were not finite where they should be, or the other way."""

    def __init__(self) -> None:
        self.of: dict[str, tuple[int, int, int]] = {}

    def add(self, formula: Formula, found: Any) -> None:
        self.of[formula.name] = (found.size, int((found > LIMIT).sum()), int(np.isinf(found).sum()))

    def total(self, which: int) -> int:
        return sum(numbers[which] for numbers in self.of.values())


def peers(formulas: list[Formula], dtype: str) -> dict[str, Count]:
    counts = {}
    for name, kind in PEERS.items():
        try:
            peer = kind(dtype)
        except ImportError:
            continue
        counts[name] = Count()
        for formula in formulas:
            points = formula.points(dtype)
            counts[name].add(formula, errors(formula, points, computed(peer, formula, points, dtype), dtype))
    return counts


def ours(formulas: list[Formula], dtype: str, ways: tuple[str, ...]) -> dict[str, Count]:
    counts = {OURS: Count()}
    for formula in formulas:
        points = formula.points(dtype)
        counts[OURS].add(formula, errors(formula, points, module(formula, points, dtype), dtype))
    points = [finite_points(f, dtype) for f in formulas]
    for way, precise in product(ways, (False, True)):
        name = f"symbackprop, {'precise ' * precise}training step, {'compiled' if way == 'numba' else 'NumPy'}"
        counts[name] = Count()
        for formula, own, found in zip(formulas, points, trained(formulas, points, dtype, way, precise), strict=True):
            counts[name].add(formula, errors(formula, own, found, dtype))
    return counts


def measure(short: bool) -> Table:
    formulas = list(FORMULAS[:6] if short else FORMULAS)
    rows, figures, all_counts = [], {}, {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for dtype in PRECISIONS[:1] if short else PRECISIONS:
            counts = {**ours(formulas, dtype, () if short else ("numpy", "numba")), **peers(formulas, dtype)}
            all_counts[dtype] = counts
            for name, count in counts.items():
                compared, missed, broken = (count.total(i) for i in range(3))
                rows.append([name, dtype, str(compared), str(compared - missed), str(missed), str(broken)])
                figures[f"{name}, {dtype}"] = {"compared": compared, "within": compared - missed, "not finite": broken}
    wide = all_counts["float64"]
    by_formula = [[f.name, str(wide[OURS].of[f.name][0]), *(str(c.of[f.name][1]) for c in wide.values())] for f in formulas]
    return Table(
        "stability",
        "Naive formulas at extreme arguments",
        f"{len(formulas)} formulas as people write them, value and every slope, at 0, ±1e-300 (±1e-30 in float32), ±1e-20 ... ±1e4, "
        f"±1e19 ... ±1e300 (±1e35) and, where there is a limit, ±inf. Right is what is within {LIMIT} units in the last place of mpmath's value; not finite "
        "is NaN, or infinite where the truth is not. "
        "A training step is made only where the loss is finite.",
        ["", "precision", "compared", "within 4 ulp", "not", "not finite"],
        rows,
        notes=[
            "Training reads the stored value in 1 - a² of a tanh and p (1 - p) of a logistic function, which saturated units lose: those are the slopes that "
            "its rows miss beside the module's. With precise=True it does not.",
            "benchmarks/known_misses.py lists every miss of ours, and why. PyTensor applies its rewrites with its Python linker.",
        ],
        figures=figures,
        sections=[Section("Numbers that are not within 4 ulp, by formula, in float64", ["formula", "compared", *wide], by_formula)],
        words=2,
    )  # fmt: skip
