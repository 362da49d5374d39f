"""The time of one training step: this project's `Trainer.fit` beside NumPy written by hand and PyTorch.

Each candidate lives in a process of its own. Both NumPy's BLAS and PyTorch keep a pool of threads that spin for a while when they
have no work; in one process, with as many threads as cores in each pool, every candidate would be timed against the other's idle
threads. For the same reason there is a pause before each turn: the threads of the candidate before have gone to sleep by then.
The pools themselves are as they come, one thread a core.
"""

import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.networks import CASES, Case, weights
from benchmarks.report import Table, duration, ratio
from benchmarks.steppers import Bench, ByHand, Ours, Stepper, Torch
from benchmarks.timing import Resident, installed, interleave, medians

CANDIDATES: dict[str, type[Stepper]] = {"symbackprop": Ours, "NumPy by hand": ByHand, "torch eager": Torch}
NEEDS = {"torch eager": "torch"}
PAUSE = 0.05  # seconds; idle threads of OpenBLAS and of OpenMP spin for about 30 ms
TOLERANCE = 1e-10


def first_steps(case: Case) -> list[Case]:
    """The case cut to a few small steps, to compare numbers: in float64, which shows every mistake, and in the case's own precision."""
    return [replace(case, dtype=dtype, batch=min(case.batch, 32), batches=4) for dtype in dict.fromkeys(("float64", case.dtype))]


def check_equal(case: Case, results: dict[str, tuple[float, dict[str, Any]]]) -> None:
    """All candidates have the same loss and weights after an epoch: in float64 up to 1e-10 of how far each weight moved; in float32 up to
    the rounding of every step, which is more than what some weights move. Raises `AssertionError` otherwise: then no time means anything."""
    exact = case.dtype == "float64"
    first = weights(case)
    expected_loss, expected = results["NumPy by hand"]
    for name, (loss, found) in results.items():
        what = f"{case.title}, {case.dtype}: {name} against NumPy by hand, after {case.batches} steps"
        np.testing.assert_allclose(loss, expected_loss, rtol=TOLERANCE if exact else 1e-5, err_msg=what)
        for w, value in expected.items():
            moved = np.abs(value - first[w]).max()
            rounding = case.batches * np.finfo(case.dtype).eps * np.abs(value).max()
            np.testing.assert_allclose(found[w], value, rtol=0, atol=TOLERANCE * moved if exact else rounding, err_msg=f"{what}, {w}")


def turn(process: Resident, epochs: int) -> float:
    time.sleep(PAUSE)
    return process("time", epochs)


def measure(short: bool) -> Table:
    present = {name: kind for name, kind in CANDIDATES.items() if name not in NEEDS or installed(NEEDS[name])}
    repetitions = 3 if short else 21
    others = [name for name in present if name != "symbackprop"]
    table = Table(
        "steps",
        "Training steps",
        "The time of one step of plain gradient descent within `Trainer.fit`, and of the same step in other tools; the ratio is to this "
        f"project's time. Medians of {repetitions} turns taken in rotation, each candidate in its own process. Before the timing, all had "
        "equal weights and losses after the first steps.",
        ["", "steps an epoch", *present, *(f"{name}, ratio" for name in others)],
    )
    with ExitStack() as stack:
        processes = {name: stack.enter_context(Resident(Bench, kind)) for name, kind in present.items()}
        for case in CASES[:-1] if short else CASES:
            for cut in first_steps(case):
                check_equal(cut, {name: process("first", cut) for name, process in processes.items()})
            if short:
                case = replace(case, batches=case.short_batches, epochs=1)
            for process in processes.values():
                process("load", case)
            candidates = {name: lambda p=p, e=case.epochs: turn(p, e) for name, p in processes.items()}
            times = medians(interleave(candidates, repetitions))
            ours = times["symbackprop"]
            table.rows.append([case.title, str(case.batches), *(duration(times[n]) for n in present), *(ratio(times[n], ours) for n in others)])
    table.notes += [f"{name} is left out: {NEEDS[name]} is not installed." for name in CANDIDATES if name not in present]
    if short:
        table.notes.append(f"Short setting: {repetitions} turns of one short epoch; the largest network is left out.")
    return table
