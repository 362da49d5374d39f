"""Digits to 97 %: how long from the start of a fresh process until a network knows 97 % of the digits it never saw.

Imports, the description of the network, its derivation and compilation are part of the time. Data, first weights and batches are the
same for all, so all need the same epochs. After each epoch the accuracy is computed from the weights, in NumPy, for everybody alike.
Each candidate is measured with empty caches (a new home folder) and with those that the run before left there.
"""

import json
import os
import site
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.candidates import CANDIDATES, OURS, PRODUCTS, Candidate, present
from benchmarks.networks import Case
from benchmarks.report import Table, duration, ratio
from benchmarks.timing import interleave, medians

CASE = Case("digits, 64-32-10 tanh, batch 32", (64, 32, 10), "tanh", "cross_entropy", 32, "float64", 0.5, 44, start_up=True)
GOAL, MOST = 0.97, 100  # the accuracy to reach, and after how many epochs to give up


def accuracy(candidate: Candidate, x: Any, labels: Any) -> float:
    (w1, b1), (w2, b2) = networks.layers(candidate.weights())
    return float(np.mean((np.tanh(x @ w1 + b1) @ w2 + b2).argmax(axis=1) == labels))


def train(name: str, folder: str) -> dict[str, float]:
    """In a process of its own: train until the goal is reached."""
    with np.load(f"{folder}/held_out.npz") as file:
        x, labels = file["x"], file["t"]
    candidate = CANDIDATES[name](replace(CASE, source=f"{folder}/training.npz"))
    candidate.reset()
    for epoch in range(1, MOST + 1):
        candidate.run(1)
        reached = accuracy(candidate, x, labels)
        if reached >= GOAL:
            return {"clock": time.time(), "epochs": epoch, "accuracy": reached}
    raise AssertionError(f"{name} was at {reached:.1%} after {MOST} epochs")


def write_data(folder: str) -> None:
    """scikit-learn's digits, pixels from 0 to 1: a fifth held out, and whole batches of the rest."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    held_out, training = np.split(np.random.default_rng(0).permutation(len(images)), [len(images) // 5])
    for name, part in (("held_out", held_out), ("training", training[: CASE.batch * CASE.batches])):
        np.savez(f"{folder}/{name}.npz", x=images[part] / 16, t=labels[part])


def environment(home: str) -> dict[str, str]:
    """Every cache of compiled code below one folder."""
    caches = {
        "PYTHONUSERBASE": site.getuserbase(),  # packages stay where they are
        "HOME": home,
        "XDG_CACHE_HOME": f"{home}/cache",
        "SYMBACKPROP_CACHE_DIR": f"{home}/symbackprop",
        "NUMBA_CACHE_DIR": f"{home}/numba",
        "JAX_COMPILATION_CACHE_DIR": f"{home}/jax",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TORCHINDUCTOR_CACHE_DIR": f"{home}/inductor",
        "PYTENSOR_FLAGS": f"base_compiledir={home}/pytensor",
        "MPLCONFIGDIR": f"{home}/matplotlib",
    }
    return {**os.environ, **caches}


def in_process(name: str, folder: str, home: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.digits", name, folder]
    start = time.time()  # of the clock that both processes read
    run = subprocess.run(command, capture_output=True, text=True, env=environment(home), cwd=Path(__file__).parents[1])
    if run.returncode:
        raise RuntimeError(f"digits with {name} failed:\n{run.stderr}")
    found = json.loads(run.stdout.splitlines()[-1])
    return found | {"seconds": found["clock"] - start}


def in_a_new_home(name: str, folder: str, states: tuple[str, ...]) -> dict[str, dict[str, float]]:
    with tempfile.TemporaryDirectory(dir=folder, ignore_cleanup_errors=True) as home:
        return {state: in_process(name, folder, home) for state in states}


def measure(short: bool) -> Table:
    names, notes = present()
    names = [n for n in names if n not in PRODUCTS and CANDIDATES[n].covers(CASE) and not (short and CANDIDATES[n].compiles)]
    repetitions, states = (1, ("cold",)) if short else (5, ("cold", "warm"))
    table = Table(
        "digits",
        "Digits to 97 %",
        f"A 64-32-10 tanh network with softmax on {CASE.batch * CASE.batches:,} of scikit-learn's 8 × 8 digits, plain gradient descent, "
        "batches of 32: from the start of a fresh process, imports and compilation included, until 97 % of a held-out fifth are "
        "right. Cold: every cache of compiled code empty; warm: as the run before left it. Installed packages are compiled to bytecode. "
        f"Medians of {repetitions}, in rotation. The ratio is to this project's best.",
        ["", *states, *(f"{state}, ratio" for state in states)],
        notes=notes,
    )
    if reason := CANDIDATES["scikit-learn"].absent():
        table.notes = [f"Left out, for the digits are scikit-learn's: {reason}."]
        return table
    with tempfile.TemporaryDirectory() as folder:
        write_data(folder)
        runs = interleave({name: lambda n=name: in_a_new_home(n, folder, states) for name in names}, repetitions)
    times = {state: medians({n: [r[state]["seconds"] for r in results] for n, results in runs.items()}) for state in states}
    table.figures = times
    best = {state: min(t[name] for name in OURS if name in t) for state, t in times.items()}
    for name in sorted(names, key=times[states[-1]].__getitem__):
        both = [(times[state][name], best[state]) for state in times]
        table.rows.append([name, *(duration(t) for t, _ in both), *(ratio(t, b) for t, b in both)])
    table.notes.append(epochs_needed(runs))
    if short:
        table.notes.append("Short setting: once each, cold; what compiles for seconds is left out.")
    return table


def epochs_needed(runs: dict[str, list[dict[str, dict[str, float]]]]) -> str:
    """The same numbers from everybody: raises `AssertionError` where somebody needed other epochs or ended elsewhere."""
    found = {(run["epochs"], run["accuracy"]) for results in runs.values() for result in results for run in result.values()}
    assert len(found) == 1, f"not all trained alike: (epochs, accuracy) were {sorted(found)}"
    ((epochs, reached),) = found
    return f"All needed {epochs:.0f} epochs and were then at {reached:.1%}."


if __name__ == "__main__":
    print(json.dumps(train(*sys.argv[1:])))
