"""The time of one training step: this project's `Trainer.fit` beside what is written by hand and the libraries.

Each candidate lives in a process of its own. NumPy's BLAS, SciPy's, PyTorch's and JAX's pools of threads spin for a while when they
have no work; in one process, with as many threads as cores in each pool, every candidate would be timed against the other's idle
threads. For the same reason there is a pause before each turn: the threads of the candidate before have gone to sleep by then.
The pools themselves are as they come, one thread a core.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.candidates import BY_HAND, CANDIDATES, OURS, Candidate, present
from benchmarks.networks import CASES, RELU, Case, weights
from benchmarks.report import Section, Table, duration, ratio
from benchmarks.timing import Resident, interleave, medians

PAUSE = 0.05  # seconds; idle threads of OpenBLAS and of OpenMP spin for about 30 ms
AT_LEAST = 0.05  # seconds of one turn: a whole `fit`, its start included, is long beside that start
TOLERANCE = 1e-10

Result = tuple[float | None, dict[str, Any]]


class Bench:
    """One candidate in a process of its own, with one case after another."""

    def __init__(self, name: str) -> None:
        self.kind = CANDIDATES[name]

    def first(self, case: Case) -> Result:
        return self.kind(case).first()

    def load(self, case: Case) -> Result:
        """Keep the case, to time it; returns the first epoch's loss and weights."""
        self.candidate: Candidate = self.kind(case)
        return self.candidate.first()

    def time(self, at_least: float) -> float:
        return self.candidate.time(at_least)


@contextmanager
def residents(names: Iterable[str]) -> Any:
    """Name → process, each with its candidate, until the end."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Resident(Bench, name)) for name in names}


def side_by_side(processes: Mapping[str, Resident], method: str, case: Case) -> dict[str, Result]:
    """What is not timed is done at once: compiling takes most of it."""
    with ThreadPoolExecutor(len(processes)) as pool:
        return dict(zip(processes, pool.map(lambda process: process(method, case), processes.values()), strict=True))


def check_equal(case: Case, results: Mapping[str, Result]) -> None:
    """All candidates have the same loss and weights after an epoch: in float64 up to 1e-10 of how far each weight moved; in float32 up to
    the rounding of every step, which is more than what some weights move. Raises `AssertionError` otherwise: then no time means anything."""
    exact = case.dtype == "float64"
    first = weights(case)
    expected_loss, expected = results[BY_HAND]
    assert expected_loss is not None
    for name, (loss, found) in results.items():
        if loss is None:  # only the products: they train nothing
            continue
        what = f"{case.title}, {case.dtype}: {name} against {BY_HAND}, after {case.batches} steps"
        exact_loss = exact and CANDIDATES[name].loss_dtype == "float64"
        np.testing.assert_allclose(loss, expected_loss, rtol=TOLERANCE if exact_loss else 1e-5, err_msg=what)
        for w, value in expected.items():
            moved = np.abs(value - first[w]).max()
            rounding = case.batches * np.finfo(case.dtype).eps * np.abs(value).max()
            np.testing.assert_allclose(found[w], value, rtol=0, atol=TOLERANCE * moved if exact else rounding, err_msg=f"{what}, {w}")


def prepare(case: Case, processes: Mapping[str, Resident]) -> None:
    """Give the case to every process and compare what they make of its first epoch. float64 shows every mistake, so it is compared
    even where float32 is timed."""
    if case.dtype != "float64":
        cut = replace(case, dtype="float64", batches=4)
        check_equal(cut, side_by_side(processes, "first", cut))
    check_equal(case, side_by_side(processes, "load", case))


def chosen(case: Case, names: Iterable[str], short: bool) -> list[str]:
    """Those that can train the network. In the short setting those that compile for seconds get only the first."""
    peers = [name for name in names if CANDIDATES[name].covers(case) and (case.peers or name in (*OURS, BY_HAND))]
    return [name for name in peers if not (short and case.title != CASES[0].title and CANDIDATES[name].compiles)]


def turn(process: Resident, at_least: float) -> float:
    time.sleep(PAUSE)
    return process("time", at_least)


def measure(short: bool) -> Table:
    names, notes = present()
    repetitions, at_least = (1, 0.001) if short else (15, AT_LEAST)
    cases = [replace(CASES[0], batches=50), CASES[1], replace(RELU, batches=4)] if short else CASES
    table = Table(
        "steps",
        "Training steps",
        "The time of one step of plain gradient descent within a whole fit, the loss of every step included, the start-up of neither "
        f"process nor compiler. Medians of {repetitions} turns taken in rotation, each candidate in its own process; a turn takes "
        f"{duration(at_least)} or more. From equal weights and the same batches, all had equal losses and weights after the first epoch; "
        "the bare matrix products train nothing. The ratio is to this project's best.",
        notes=notes,
    )
    with residents(names) as processes:
        for case in cases:
            taking = {name: processes[name] for name in chosen(case, names, short)}
            prepare(case, taking)
            candidates: dict[str, Callable[[], Any]] = {name: lambda p=p: turn(p, at_least) for name, p in taking.items()}
            seconds = interleave(candidates, repetitions)
            table.figures[case.title] = medians(seconds)
            table.sections.append(section(case.title, seconds))
    if short:
        table.notes.append(
            "Short setting: one turn of one short epoch; the largest network is left out, and what compiles for seconds has only the first."
        )
    return table


def section(title: str, seconds: Mapping[str, list[float]]) -> Section:
    times = medians(seconds)
    ours = min(times[name] for name in OURS if name in times)
    rows = [
        [name, duration(times[name]), ratio(times[name], ours), f"{duration(min(seconds[name]))} to {duration(max(seconds[name]))}"]
        for name in sorted(times, key=times.__getitem__)
    ]
    return Section(title, ["", "median", "ratio", "fastest to slowest turn"], rows)
