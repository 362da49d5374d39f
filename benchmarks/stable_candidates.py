"""The value and slopes of the formulas as this project computes them on its ways, and as others do."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import sympy as sp

from benchmarks.formulas import Formula, Point
from benchmarks.precision import Symbolic, truth

Computed = Any  # an array: a row for each point, a column for the value and each slope


# --- this project ----------------------------------------------------------------------------------------------------------


def network(formulas: Sequence[Formula], counts: Sequence[int]) -> Any:
    """One network of all the formulas, each at so many points: y_i = f_i(w_i), C = sum(v_i y_i). With v_i = 1 the gradient of v_i is the value of the
    formula and the gradient of w_i is its slope, entry by entry."""
    import symbackprop as sbp

    class Rows(Symbolic):
        @staticmethod
        def sum(x: Any) -> Any:
            return sbp.sum(x, axis=1)

        @staticmethod
        def keep(x: Any) -> Any:
            return sbp.sum(x, axis=1, keepdims=True)

        @staticmethod
        def first(x: Any) -> Any:
            return sbp.node(f"p_{i}", x)[:, 0]

        @staticmethod
        def softmax(x: Any) -> Any:
            return sbp.softmax(x, axis=1)

        @staticmethod
        def log_softmax(x: Any) -> Any:
            return sbp.log_softmax(x, axis=1)

    place, label = sbp.data("place label", ("n",))
    total = sp.S.Zero
    for i, (formula, n) in enumerate(zip(formulas, counts, strict=True)):
        v = sbp.weight(f"v_{i}", (n,))
        if formula.target == "label":  # labels are data, and data come in batches: the logits of a batch are rows of the weight
            y = formula.row(Rows, sbp.node(f"z_{i}", sbp.take(sbp.weight(f"w_{i}", (n, 3)), place)), sbp.one_hot(label, 3))
            v = sbp.take(v, place)
        elif formula.target:
            y = formula.row(Rows, sbp.weight(f"w_{i}", (n, 3)), sbp.weight(f"t_{i}", (n, 3)))
        elif formula.row is not None:
            y = formula.row(Rows, sbp.weight(f"w_{i}", (n, formula.variables)))
        else:
            y = formula.build(Symbolic, *(sbp.weight(f"w_{i}_{k}", (n,)) for k in range(formula.variables)))
        total += sbp.sum(v * sbp.node(f"y_{i}", y))
    return sbp.Network(sbp.node("C", total))


def weights_at(i: int, formula: Formula, points: Sequence[Point], dtype: str) -> dict[str, Any]:
    columns = np.array(points, dtype)
    rows = {f"w_{i}": columns} if formula.row is not None else {f"w_{i}_{k}": columns[:, k].copy() for k in range(formula.variables)}
    target = {f"t_{i}": np.eye(1, 3).repeat(len(points), 0).astype(dtype)} if formula.target == "one-hot" else {}
    return {**rows, **target, f"v_{i}": np.ones(len(points), dtype)}


def labels_of(formulas: Sequence[Formula], points: Sequence[Sequence[Point]]) -> dict[str, Any]:
    """The data of the network: for each point of the formulas with labels its place, and the first class. These formulas have the same points."""
    counts = {len(own) for f, own in zip(formulas, points, strict=True) if f.target == "label"}
    return {"place": np.arange(n), "label": np.zeros(n, int)} if (n := max(counts, default=0)) else {}


def collected(i: int, formula: Formula, gradients: Any) -> Computed:
    """The rows of `errors` from the gradients."""
    slopes = [gradients[f"w_{i}"][:, k] if formula.row is not None else gradients[f"w_{i}_{k}"] for k in range(formula.variables)]
    return np.stack([np.asarray(x, float) for x in (gradients[f"v_{i}"], *slopes)], axis=1)


def module(formula: Formula, points: Sequence[Point], dtype: str) -> Computed:
    """The generated NumPy module."""
    import types

    generated = types.ModuleType("generated")
    exec(compile(network([formula], [len(points)]).generate("numpy", dtype=dtype), "generated", "exec"), generated.__dict__)
    with np.errstate(all="ignore"):
        _, gradients = generated.loss_and_gradients(weights_at(0, formula, points, dtype), **labels_of([formula], [points]))
    return collected(0, formula, gradients)


def recorder() -> Any:
    """An optimizer that writes the gradient into the weight."""
    import symbackprop as sbp

    class Record(sbp.Optimizer):
        def rule(self, w: Any, g: Any, t: Any, state: Any) -> Iterator[Any]:
            yield w, g

    return Record()


def trained(formulas: Sequence[Formula], points: Sequence[Sequence[Point]], dtype: str, backend: str, precise: bool = False) -> list[Computed]:
    """One training step of a network of all the formulas, whose optimizer writes the gradients into the weights. The formulas must be finite at
    the points, since a loss that is not is not trained on."""
    weights: dict[str, Any] = {}
    for i, (formula, own) in enumerate(zip(formulas, points, strict=True)):
        weights |= weights_at(i, formula, own, dtype)
    trainer = network(formulas, [len(own) for own in points]).trainer(recorder(), weights=weights, dtype=dtype, backend=backend, precise=precise)
    with np.errstate(all="ignore"):
        trainer.step(**labels_of(formulas, points))
    return [collected(i, formula, trainer.weights) for i, formula in enumerate(formulas)]


def finite_points(formula: Formula, dtype: str) -> list[Point]:
    """The points at which a step can be made: the arguments and the value are floats, and so is the sum of all values, which is the loss."""
    largest = float(np.finfo(dtype).max) / 1000
    return [p for p in formula.points(dtype) if all(abs(x) <= largest for x in p) and abs(truth(formula, p)[0]) <= largest]
