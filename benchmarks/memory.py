"""The memory that training the large network takes: the arrays of this project beside what cannot be done without, and the peak of
every candidate's process."""

import gc
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates import BY_HAND, CANDIDATES, NUMBA, NUMPY, present
from benchmarks.networks import LARGE, Case
from benchmarks.report import Section, Table, megabytes, ratio
from benchmarks.timing import in_fresh_process

STATUS = Path("/proc/self/status")  # its peak starts anew with each program; that of `getrusage` is inherited
OPTIMIZERS = {"SGD": 0, "Adam": 2}  # arrays of state for each weight


def bound(case: Case, states: int) -> int:
    """Bytes of the weights and their state, of the forward values (each layer's sum and, where there is one, its activation), and of
    one gradient buffer, that of the largest weight."""
    weights = [i * o for i, o in pairwise(case.sizes)]
    forward = sum(units * (2 if case.activation else 1) for units in case.sizes[1:-1]) + case.sizes[-1]
    entries = (sum(weights) + sum(case.sizes[1:])) * (1 + states) + case.batch * forward + max(weights)
    return entries * np.dtype(case.dtype).itemsize


def arrays(case: Case, backend: str, optimizer: str) -> int:
    """Bytes of arrays at the peak of a `fit`, data apart."""
    import symbackprop as sbp

    x, t = networks.data(case)
    data = {"X": x, "T": np.eye(case.sizes[-1], dtype=case.dtype)[t]}
    network = sbp.mlp(case.sizes, case.activation, loss=case.loss)

    def first() -> Any:
        trainer = network.trainer(getattr(sbp, optimizer)(lr=1e-3), dtype=case.dtype, backend=backend)
        trainer.fit(data, epochs=1, batch_size=case.batch)
        return trainer

    return peak_of_arrays(first, lambda trainer: trainer.fit(data, epochs=2, batch_size=case.batch))


def peak_of_arrays(first: Callable[[], Any], again: Callable[[Any], Any]) -> int:
    """Bytes of the arrays that `first` leaves, and of what `again` adds to them at its peak.

    NumPy tells `tracemalloc` of its arrays in a domain of their own, but the peak is known for all memory together. So `first` makes
    what is made once, expressions and buffers: what comes on top of them in `again` is all the training's.
    """
    tracemalloc.start()
    made = first()
    gc.collect()
    numpy_domain = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    held = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([numpy_domain]).traces)
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    again(made)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held + peak - before


def process_peak(name: str, case: Case) -> int:
    """Bytes of resident memory at the peak of a process that trains for two epochs, its interpreter and libraries included."""
    candidate = CANDIDATES[name](case)
    candidate.reset()
    candidate.run(2)
    return next(int(line.split()[1]) * 1024 for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))


def measure(short: bool) -> Table:
    names, notes = present()
    case = replace(LARGE, batches=4)
    if short:
        names = [name for name in names if name in (NUMPY, BY_HAND)]
    table = Table(
        "memory",
        "Memory",
        f"Training the {case.title.partition(' ')[0]} network in batches of {case.batch}, float32. The bound is weights × (1 + optimizer state) + "
        "forward values + one gradient buffer. Arrays are those that NumPy allocates, at the peak of a fit, without the data.",
        notes=notes,
    )
    ours = {name: CANDIDATES[name].backend for name in (NUMBA, NUMPY) if name in names}  # type: ignore[attr-defined]
    rows = []
    for name, backend in ours.items():
        for optimizer, states in OPTIMIZERS.items():
            peak, least = in_fresh_process(arrays, case, backend, optimizer), bound(case, states)
            table.figures.setdefault("arrays", {}).setdefault(name, {})[optimizer] = {"peak": peak, "bound": least}
            rows.append([f"{name}, {optimizer}", megabytes(peak), megabytes(least), ratio(peak, least)])
    table.sections.append(Section("Arrays", ["", "peak", "bound", "ratio"], rows))
    if STATUS.exists():
        names = [name for name in names if CANDIDATES[name].covers(case)]
        with ThreadPoolExecutor(2) as pool:  # what one process takes does not depend on another
            peaks = dict(zip(names, pool.map(lambda name: in_fresh_process(process_peak, name, case), names), strict=True))
        table.figures["process"] = peaks
        best = min(peaks[name] for name in ours)
        rows = [[name, megabytes(peaks[name]), ratio(peaks[name], best)] for name in sorted(peaks, key=peaks.__getitem__)]
        table.sections.append(Section("The whole process, SGD", ["", "peak", "ratio"], rows))
    if short:
        table.notes.append("Short setting: without the libraries, and without what compiles for seconds.")
    return table
