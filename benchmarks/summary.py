"""The summary: what is to be reached beside what was measured, and the plot, from the figures that the measurements wrote."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks import hessians
from benchmarks.candidates import AUTO, BY_HAND, CANDIDATES, NUMBA, NUMPY, OURS, PRODUCTS
from benchmarks.networks import LARGE, LINEAR, RELU, TANH
from benchmarks.report import Section, Table, digits, duration, figures, ratio

Times = dict[str, float]
PEERS = [name for name, kind in CANDIDATES.items() if name not in OURS and not kind.reference]
BARE = "bare products"
DERIVED, BY_SYMPY = "symbackprop, tensors", "SymPy diff + lambdify"


class Row(NamedTuple):
    """`factor` is what was measured, in the words of the goal: at most `goal` where `most`, else at least."""

    work: str
    what: str
    factor: float
    goal: float
    most: bool = True
    shown: Callable[[float], str] = lambda factor: ratio(factor, 1)

    @property
    def reached(self) -> bool:
        return self.factor <= self.goal if self.most else self.factor >= self.goal

    def cells(self) -> list[str]:
        sign = "≤" if self.most else "≥"
        return [self.work, self.what, f"{sign} {self.shown(self.goal)}", self.shown(self.factor), "yes" if self.reached else "no"]


def with_bare_products(times: Times) -> Times:
    """The products with the faster of the two BLAS stand for both."""
    rest = {name: t for name, t in times.items() if name not in PRODUCTS}
    products = [times[name] for name in PRODUCTS if name in times]
    return rest | {BARE: min(products)} if products else rest


# (network, of this project, compared with, goal, whether it is a bound on ours over theirs (else theirs over ours is at least that))
STEPS = (
    (LINEAR, NUMBA, "C by hand", 1.1, True),
    (LINEAR, NUMBA, "torch eager", 1000, False),
    (LINEAR, NUMBA, "JAX scan", 1, True),
    (LINEAR, NUMPY, "torch eager", 300, False),
    (TANH, NUMBA, "torch eager", 30, False),
    (TANH, NUMBA, "PyTensor", 4, False),
    (TANH, NUMPY, BY_HAND, 1, True),
    (RELU, NUMBA, BARE, 1.25, True),
    (RELU, NUMBA, "torch eager", 1.5, False),
    (RELU, NUMBA, "JAX jit", 1.5, False),
    (RELU, NUMPY, BARE, 2, True),
    (LARGE, NUMBA, BARE, 1.03, True),
    (LARGE, NUMBA, "torch eager", 1, True),
)


def of_steps(found: dict[str, Times]) -> Iterator[Row]:
    for case, ours, theirs, goal, most in STEPS:
        times = with_bare_products(found.get(case.title, {}))
        if ours in times and theirs in times:
            factor = times[ours] / times[theirs] if most else times[theirs] / times[ours]
            what = f"{ours}: time over {theirs}" if most else f"{ours}: times as fast as {theirs}"
            yield Row(case.title, what, factor, goal, most)


def of_digits(found: dict[str, Times]) -> Iterator[Row]:
    for state, times in found.items():
        peers = {name: times[name] for name in PEERS if name in times}
        for ours in (AUTO, NUMPY, NUMBA):
            if ours in times and peers:
                first = min(peers, key=peers.__getitem__)
                yield Row(f"digits to 97 %, {state}", f"{ours}: time over the first of the libraries ({first})", times[ours] / peers[first], 1)


def of_derivation(times: Times) -> Iterator[Row]:
    work = "derive + generate, 4-16-16-1 tanh"
    yield Row(work, "seconds", times[DERIVED], 0.1, shown=duration)
    yield Row(work, f"times as fast as {BY_SYMPY}", times[BY_SYMPY] / times[DERIVED], 400, most=False)


def of_depth(times: Times) -> Iterator[Row]:
    yield Row("depth 50 → 200", "time at 200 over time at 50", times["200"] / times["50"], 4.5)
    yield Row("depth 50 → 200", "seconds at 200", times["200"], 2, shown=duration)


def of_hessians(found: dict[str, Times]) -> Iterator[Row]:
    for title, times in found.items():
        yield Row(f"Hessian, {title}", f"{hessians.OURS}: time over {hessians.HAND}", times[hessians.OURS] / times[hessians.HAND], 1.5)


def of_imports(times: Times) -> Iterator[Row]:
    # SymPy is imported when it is first needed, so the import alone is not all that a user waits for.
    for what in ("import symbackprop", "import sympy, symbackprop"):
        yield Row(what, "time over import sympy", times[what] / times["import sympy"], 1.1)


def of_memory(found: dict[str, Any]) -> Iterator[Row]:
    for ours, by_optimizer in found["arrays"].items():
        for optimizer, bytes_ in by_optimizer.items():
            yield Row("memory, 784-1024-1024-10", f"{ours}, {optimizer}: peak of arrays over the bound", bytes_["peak"] / bytes_["bound"], 1.1)


ROWS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "steps": of_steps,
    "digits": of_digits,
    "derivation": of_derivation,
    "depth": of_depth,
    "hessians": of_hessians,
    "imports": of_imports,
    "memory": of_memory,
}


def side_by_side(found: dict[str, Times]) -> Section:
    """The time of a step, every candidate in a line, the four networks in columns, with the ratio to this project's best."""
    columns = {case.title: with_bare_products(found[case.title]) for case in (LINEAR, TANH, RELU, LARGE) if case.title in found}
    names = dict.fromkeys(n for name in CANDIDATES for n in [BARE if name in PRODUCTS else name] if any(n in t for t in columns.values()))
    rows = [[name, *(cell(times, name) for times in columns.values())] for name in names]
    return Section("One training step", ["", *columns], rows)


def cell(times: Times, name: str) -> str:
    best = min(times[ours] for ours in OURS if ours in times)
    return f"{duration(times[name])} ({digits(times[name] / best)} ×)" if name in times else "–"


def measure() -> Table:
    found = {name: figures(name) for name in ROWS}
    table = Table(
        "summary",
        "Benchmarks, in short",
        "What is to be reached, and what was measured. Every ratio is of medians of one run; the tables beside this one have the times.",
        ["work", "what", "to reach", "measured", "reached"],
        words=2,
    )
    for name, rows in ROWS.items():
        if (numbers := found[name]) is not None:
            table.rows += [row.cells() for row in rows(numbers)]
        else:
            table.notes.append(f"{name} was not measured.")
    if (steps := found["steps"]) is not None:
        table.sections.append(side_by_side(steps))
        table.notes.append("In brackets the ratio to this project's best.")
    return table
