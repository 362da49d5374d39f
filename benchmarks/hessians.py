"""Hessians of the three problems of Laue, Mitterreiter & Giesen, "Computing Higher Order Derivatives of Matrix and Tensor Expressions"
(NeurIPS 2018, section 4), each at three sizes: this project's generated NumPy beside the closed form by hand, JAX and torch.func.

What that paper leaves open (numbers of samples, classes) is fixed here and said in the titles. Every candidate lives in a process of its
own, as for the training steps, and all of them compute the same matrix.
"""

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from benchmarks.report import Section, Table, duration, ratio
from benchmarks.timing import Resident, interleave, medians

PAUSE, AT_LEAST = 0.05, 0.02  # seconds: between turns, until idle threads sleep; of one turn
TURNS, FEW = 9, 3  # how many turns each has, and what takes a hundred times as long
# One thread each: where other work takes part of the cores, threads that wait for each other cost more than the mathematics.
ALONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
RANK, LAYERS, SAMPLES = 5, 10, 50
TOLERANCE = 1e-9

Arrays = dict[str, Any]
OURS, CALLED, HAND, JAX, TORCH = "symbackprop, generated", "symbackprop, net.hessian()", "NumPy by hand", "JAX jit(hessian)", "torch.func.hessian"


class Problem(NamedTuple):
    """`kind` of problem, and its size. `wrt` is the weight whose Hessian is computed; the others are held fixed."""

    kind: str
    size: int

    @property
    def wrt(self) -> str:
        return {"logistic": "w", "network": "W_1"}.get(self.kind, "U")

    @property
    def title(self) -> str:
        n = self.size
        return {
            "logistic": f"logistic regression, d = {n}, {2 * n} samples",
            "factorisation": f"matrix factorisation, {n} × {n}, k = {RANK}, by U",
            "masked": f"matrix factorisation with a mask, {n} × {n}, k = {RANK}, by U",
            "network": f"ReLU network, {LAYERS} layers of {n} × {n}, {SAMPLES} samples, by the first layer's matrix",
        }[self.kind]

    def numbers(self) -> tuple[Arrays, Arrays]:
        """The same weights and data for every candidate."""
        rng, n = np.random.default_rng(0), self.size
        if self.kind == "logistic":
            return {"w": rng.normal(size=n) / n**0.5}, {"X": rng.normal(size=(2 * n, n)), "y": rng.choice([-1.0, 1.0], 2 * n)}
        if self.kind == "network":
            weights: Arrays = {}
            for k in range(1, LAYERS + 1):
                weights |= {f"W_{k}": rng.normal(size=(n, n)) * (2 / n) ** 0.5, f"b_{k}": rng.normal(size=n) / 10}
            return weights, {"X": rng.normal(size=(SAMPLES, n)), "T": np.eye(n)[rng.integers(0, n, SAMPLES)]}
        weights = {"U": rng.normal(size=(n, RANK)), "V": rng.normal(size=(n, RANK))}
        mask = {"O": (rng.uniform(size=(n, n)) < 0.5) * 1.0} if self.kind == "masked" else {}
        return weights, {"T": rng.normal(size=(n, n)), **mask}


SIZES = {"logistic": (50, 200, 800), "factorisation": (20, 50, 100), "masked": (20, 50, 100), "network": (5, 10, 20)}
PROBLEMS = [Problem(kind, size) for kind, sizes in SIZES.items() for size in sizes]


# --- the candidates: each makes a function without arguments that computes the Hessian -------------------------------------


def network(problem: Problem) -> Any:
    """The problem, described for this project."""
    import symbackprop as sbp

    n = problem.size
    if problem.kind == "logistic":
        X, y, w = sbp.data("X", ("n", n)), sbp.data("y", ("n",)), sbp.weight("w", (n,))
        return sbp.Network(sbp.node("C", sbp.sum(sbp.softplus(-y * sbp.matmul(X, w)))))
    if problem.kind == "network":
        return sbp.mlp([n] * (LAYERS + 1), "relu", loss="cross_entropy")
    U, V = sbp.weight("U", (n, RANK)), sbp.weight("V", (n, RANK))
    T = sbp.data("T", (n, n))
    rest = T - sbp.matmul(U, V.T)
    return sbp.Network(sbp.node("C", sbp.sum(sbp.data("O", (n, n)) * rest**2 if problem.kind == "masked" else rest**2)))


def generated(problem: Problem) -> Callable[[], Any]:
    weights, data = problem.numbers()
    names: Arrays = {"__name__": "generated"}
    exec(compile(network(problem).hessian(problem.wrt).generate("numpy"), "generated", "exec"), names)
    hessian, key = names["hessian"], (problem.wrt, problem.wrt)
    return lambda: hessian(weights, **data)[key]


def called(problem: Problem) -> Callable[[], Any]:
    weights, data = problem.numbers()
    hessian, key = network(problem).hessian(problem.wrt), (problem.wrt, problem.wrt)
    return lambda: hessian(weights, **data)[key]


def by_hand(problem: Problem) -> Callable[[], Any]:
    weights, data = problem.numbers()
    return {"logistic": _logistic, "factorisation": _factorisation, "masked": _masked, "network": _network}[problem.kind](weights, data)


def _logistic(weights: Arrays, data: Arrays) -> Callable[[], Any]:
    X, y, w = data["X"], data["y"], weights["w"]

    def hessian() -> Any:
        s = 1 / (1 + np.exp(y * (X @ w)))
        return ((s * (1 - s))[:, None] * X).T @ X

    return hessian


def _factorisation(weights: Arrays, data: Arrays) -> Callable[[], Any]:
    V, m = weights["V"], len(weights["U"])

    def hessian() -> Any:
        H = np.zeros((m, RANK, m, RANK))
        rows = np.arange(m)
        H[rows, :, rows, :] = 2 * V.T @ V
        return H

    return hessian


def _masked(weights: Arrays, data: Arrays) -> Callable[[], Any]:
    V, O, m = weights["V"], data["O"], len(weights["U"])  # noqa: E741  (the paper's Omega)

    def hessian() -> Any:
        H = np.zeros((m, RANK, m, RANK))
        rows = np.arange(m)
        H[rows, :, rows, :] = np.tensordot(2 * O, V[:, :, None] * V[:, None, :], 1)
        return H

    return hessian


def _network(weights: Arrays, data: Arrays) -> Callable[[], Any]:
    X = data["X"]

    def hessian() -> Any:
        A, masks = X, []
        for k in range(1, LAYERS + 1):
            Z = A @ weights[f"W_{k}"] + weights[f"b_{k}"]
            A = np.maximum(Z, 0)
            masks.append((Z > 0) * 1.0)
        S = np.exp(Z - Z.max(axis=1, keepdims=True))
        S /= S.sum(axis=1, keepdims=True)
        P = masks[0][:, :, None] * weights["W_2"]  # the logits by the first layer's sums, forwards
        for k in range(3, LAYERS + 1):
            P = np.tensordot(P * masks[k - 2][:, None, :], weights[f"W_{k}"], 1)
        weighted = P * (S / len(X))[:, None, :]
        mean = weighted.sum(axis=2)
        Q = weighted @ P.transpose(0, 2, 1) - len(X) * mean[:, :, None] * mean[:, None, :]
        return np.tensordot(X[:, :, None] * X[:, None, :], Q, ((0,), (0,))).transpose(0, 2, 1, 3)

    return hessian


def with_jax(problem: Problem) -> Callable[[], Any]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    weights, data = problem.numbers()
    functions = (jax.nn.softplus, jax.nn.relu, lambda z: jax.nn.logsumexp(z, axis=1))
    arrays, constants = ({name: jnp.asarray(a) for name, a in part.items()} for part in (weights, data))
    hessian = jax.jit(jax.hessian(lambda w, arrays, constants: _value(problem, {**arrays, problem.wrt: w}, constants, *functions)))
    return lambda: np.asarray(hessian(arrays[problem.wrt], arrays, constants).block_until_ready())


def with_torch(problem: Problem) -> Callable[[], Any]:
    import torch

    weights, data = problem.numbers()
    functions = (torch.nn.functional.softplus, torch.relu, lambda z: torch.logsumexp(z, 1))
    arrays, constants = ({name: torch.tensor(a) for name, a in part.items()} for part in (weights, data))
    hessian = torch.func.hessian(lambda w: _value(problem, {**arrays, problem.wrt: w}, constants, *functions))
    return lambda: hessian(arrays[problem.wrt]).numpy()


def _value(problem: Problem, weights: Arrays, data: Arrays, softplus: Any, relu: Any, logsumexp: Any) -> Any:
    """The loss, in the functions of a library."""
    if problem.kind == "logistic":
        return softplus(-data["y"] * (data["X"] @ weights["w"])).sum()
    if problem.kind == "network":
        A = data["X"]
        for k in range(1, LAYERS + 1):
            Z = A @ weights[f"W_{k}"] + weights[f"b_{k}"]
            A = relu(Z)
        return (logsumexp(Z) - (data["T"] * Z).sum(1)).mean()
    rest = (data["T"] - weights["U"] @ weights["V"].T) ** 2
    return (data["O"] * rest if problem.kind == "masked" else rest).sum()


CANDIDATES: dict[str, tuple[Callable[[Problem], Callable[[], Any]], str | None]] = {
    OURS: (generated, None),
    CALLED: (called, None),
    HAND: (by_hand, None),
    JAX: (with_jax, "jax"),
    TORCH: (with_torch, "torch"),
}


# --- measured ------------------------------------------------------------------------------------------------------------


class Bench:
    """One candidate in a process of its own."""

    def __init__(self, name: str) -> None:
        self.make = CANDIDATES[name][0]

    def load(self, problem: Problem) -> Any:
        """Keep the problem, to time it; returns its Hessian."""
        self.function = self.make(problem)
        return np.array(self.function())

    def time(self, at_least: float) -> float:
        """The median of the seconds of single calls, of as many as take so long: a call in which the machine did other work is no outlier."""
        seconds: list[float] = []
        while sum(seconds) < at_least:
            start = time.perf_counter()
            self.function()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)


def check_equal(problem: Problem, found: dict[str, Any]) -> None:
    """All candidates have the same matrix. Raises `AssertionError` otherwise: then no time means anything."""
    expected = found[HAND]
    for name, hessian in found.items():
        what = f"{problem.title}: {name} against {HAND}"
        np.testing.assert_allclose(hessian, expected, rtol=TOLERANCE, atol=TOLERANCE * np.abs(expected).max(), err_msg=what)


def turn(process: Resident, at_least: float) -> float:
    time.sleep(PAUSE)
    return process("time", at_least)


def measure(short: bool) -> Table:
    names = [name for name, (_, package) in CANDIDATES.items() if package is None or (not short and find_spec(package) is not None)]
    turns, few, at_least = (1, 1, 0.001) if short else (TURNS, FEW, AT_LEAST)
    repetitions = {name: few if name == TORCH else turns for name in names}
    problems = [Problem(kind, sizes[0]) for kind, sizes in SIZES.items() if kind != "network"] if short else PROBLEMS
    table = Table(
        "hessians",
        "Hessians",
        "The time of one Hessian in float64, of the problems of Laue, Mitterreiter & Giesen (NeurIPS 2018), with what that paper leaves open "
        "as the titles say. The generated module checks shapes; called by way of the network, the numbers are checked and copied too. Medians of "
        f"{turns} turns taken in rotation ({few} of torch.func), each candidate in its own process with one thread; a turn takes "
        f"{duration(at_least)} or more, and counts the median of its calls. All computed the same matrix. The ratio is to the closed form by "
        "hand in NumPy.",
        notes=[f"{package} is not installed." for _, package in CANDIDATES.values() if package and find_spec(package) is None],
    )
    with ExitStack() as stack:
        stack.enter_context(patch.dict(os.environ, ALONE))
        processes = {name: stack.enter_context(Resident(Bench, name)) for name in names}
        for problem in problems:
            check_equal(problem, {name: process("load", problem) for name, process in processes.items()})
            times = interleave({name: lambda p=p: turn(p, at_least) for name, p in processes.items()}, repetitions)
            table.figures[problem.title] = found = medians(times)
            rows = [[name, duration(found[name]), ratio(found[name], found[HAND])] for name in sorted(found, key=found.__getitem__)]
            table.sections.append(Section(problem.title, ["", "median", "ratio"], rows))
    if short:
        table.notes.append("Short setting: the smallest sizes, without what compiles for seconds.")
    return table
