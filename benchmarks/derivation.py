"""From a network to a function that computes its loss and all gradients: this project beside SymPy's own `diff` and `lambdify`.

The network is 4-16-16-1 with tanh, and 369 weights. This project derives it from tensors, as `mlp` describes it, and from the same
network written out in scalars; SymPy differentiates the scalar loss, with everything substituted into it, once for every weight.
"""

from collections.abc import Sequence
from itertools import pairwise
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from benchmarks.report import Table, duration, ratio
from benchmarks.timing import in_fresh_process, interleave, medians

TOLERANCE = 1e-10


class Derived(NamedTuple):
    """What one candidate needed, and what its function computes on the sample of `numbers`. `gradients`: one flat array, layer by
    layer, each layer's matrix before its bias."""

    seconds: float
    loss: float
    gradients: Any


def numbers(sizes: Sequence[int]) -> tuple[list[Any], Any, Any]:
    """Weights (W_1, b_1, W_2 ...), one input and one target, the same for every candidate."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(0, 0.5, s) for i, o in pairwise(sizes) for s in ((i, o), (o,))]
    return weights, rng.normal(size=sizes[0]), rng.normal(size=sizes[-1])


def imported() -> Any:
    """This project, all of it: it imports a module when a name of it is asked for, and imports are not to be timed here."""
    import symbackprop as sbp

    for name in sbp.__all__:
        getattr(sbp, name)
    return sbp


def tensors(sizes: Sequence[int]) -> Derived:
    """This project, the network in tensors."""
    sbp = imported()
    start = perf_counter()
    source = sbp.mlp(sizes, "tanh").generate("numpy")
    module = load(source)
    seconds = perf_counter() - start
    weights, x, t = numbers(sizes)
    loss, gradients = module["loss_and_gradients"](dict(zip(module["WEIGHTS"], weights, strict=True)), X=x[None], T=t[None])
    return Derived(seconds, loss, np.concatenate([gradients[name].ravel() for name in module["WEIGHTS"]]))


def scalars(sizes: Sequence[int]) -> Derived:
    """This project, every value of the network a named scalar."""
    import sympy as sp

    sbp = imported()
    start = perf_counter()
    names: list[str] = []

    def weight(name: str) -> Any:
        names.append(name)
        return sbp.weight(name)

    layer: Sequence[Any] = [sbp.data(f"x_{i}") for i in range(sizes[0])]
    last = len(sizes) - 2
    for k, outputs in enumerate(sizes[1:]):
        matrix = [[weight(f"w_{k}_{i}_{j}") for j in range(outputs)] for i in range(len(layer))]
        bias = [weight(f"b_{k}_{j}") for j in range(outputs)]
        sums = [sp.Add(*(h * row[j] for h, row in zip(layer, matrix, strict=True)), bias[j]) for j in range(outputs)]
        layer = [sbp.node(f"z_{k}_{j}", z) for j, z in enumerate(sums)]
        if k < last:
            layer = [sbp.node(f"a_{k}_{j}", sp.tanh(z)) for j, z in enumerate(layer)]
    squares = [(y - sbp.data(f"t_{j}")) ** 2 for j, y in enumerate(layer)]
    module = load(sbp.Network(sbp.node("C", sp.Add(*squares) / len(squares))).generate("numpy"))
    seconds = perf_counter() - start
    weights, x, t = numbers(sizes)
    flat = dict(zip(names, np.concatenate([w.ravel() for w in weights]), strict=True))
    data = {f"x_{i}": v for i, v in enumerate(x)} | {f"t_{j}": v for j, v in enumerate(t)}
    loss, gradients = module["loss_and_gradients"](flat, **data)
    return Derived(seconds, loss, np.array([gradients[name] for name in names]).ravel())


def sympy(sizes: Sequence[int]) -> Derived:
    """SymPy: one scalar expression, `diff` of it for every weight, `lambdify` of all with shared subexpressions."""
    import sympy as sp

    start = perf_counter()
    x, t = sp.symbols(f"x:{sizes[0]}", real=True), sp.symbols(f"t:{sizes[-1]}", real=True)
    weights: list[Any] = []
    layer: Sequence[Any] = x
    last = len(sizes) - 2
    for k, outputs in enumerate(sizes[1:]):
        matrix = [[sp.Symbol(f"w_{k}_{i}_{j}", real=True) for j in range(outputs)] for i in range(len(layer))]
        bias = [sp.Symbol(f"b_{k}_{j}", real=True) for j in range(outputs)]
        weights += [w for row in matrix for w in row] + bias
        sums = [sp.Add(*(h * row[j] for h, row in zip(layer, matrix, strict=True)), bias[j]) for j in range(outputs)]
        layer = [sp.tanh(z) for z in sums] if k < last else sums
    loss = sp.Add(*((y - target) ** 2 for y, target in zip(layer, t, strict=True))) / len(layer)
    gradients = [sp.diff(loss, w) for w in weights]
    function = sp.lambdify([weights, x, t], [loss, *gradients], "numpy", cse=True)
    seconds = perf_counter() - start
    values, inputs, targets = numbers(sizes)
    result = function(np.concatenate([w.ravel() for w in values]), inputs, targets)
    return Derived(seconds, float(result[0]), np.array(result[1:], float))


def load(source: str) -> dict[str, Any]:
    """The names that a generated module defines. Compiling it is part of the time, as it is part of `lambdify`."""
    names: dict[str, Any] = {"__name__": "generated"}
    exec(compile(source, "generated", "exec"), names)
    return names


CANDIDATES = {"symbackprop, tensors": tensors, "symbackprop, scalars": scalars, "SymPy diff + lambdify": sympy}


def check_equal(results: dict[str, Derived]) -> None:
    """Every candidate computed the same loss and gradients. Raises `AssertionError` otherwise: then no time means anything."""
    expected = results["SymPy diff + lambdify"]
    for name, found in results.items():
        np.testing.assert_allclose(found.loss, expected.loss, rtol=TOLERANCE, err_msg=name)
        scale = np.abs(expected.gradients).max()
        np.testing.assert_allclose(found.gradients, expected.gradients, rtol=TOLERANCE, atol=TOLERANCE * scale, err_msg=name)


def measure(short: bool) -> Table:
    sizes = (2, 4, 4, 1) if short else (4, 16, 16, 1)
    # SymPy's minute is measured once; what takes a tenth of a second is repeated before it and after it.
    repetitions = {"symbackprop, tensors": 5, "symbackprop, scalars": 5, "SymPy diff + lambdify": 1}
    if short:
        repetitions = dict.fromkeys(CANDIDATES, 1)
    runs = interleave({name: lambda f=f: in_fresh_process(f, sizes) for name, f in CANDIDATES.items()}, repetitions)
    check_equal({name: results[0] for name, results in runs.items()})
    times = medians({name: [r.seconds for r in results] for name, results in runs.items()})
    ours = times["symbackprop, tensors"]
    network = "-".join(map(str, sizes))
    count = sum((i + 1) * o for i, o in pairwise(sizes))
    table = Table(
        "derivation",
        "Derive and generate",
        f"From the description of a {network} tanh network ({count} weights, squared error) to a loaded function that computes the loss and "
        "the gradient of every weight. Each repetition in a fresh process, after the imports. All computed the same numbers.",
        ["", "repetitions", "median", "ratio"],
        [[name, str(repetitions[name]), duration(t), ratio(t, ours)] for name, t in times.items()],
        figures=times,
    )
    if short:
        table.notes.append(f"Short setting: {network} stands for 4-16-16-1, which takes SymPy about a minute.")
    return table
