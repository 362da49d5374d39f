"""The value and slopes of the formulas as this project computes them on its three ways, and as others do."""

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

    total = sp.S.Zero
    for i, (formula, n) in enumerate(zip(formulas, counts, strict=True)):
        if formula.row is not None:
            y = formula.row(Rows, sbp.weight(f"w_{i}", (n, formula.variables)))
        else:
            y = formula.build(Symbolic, *(sbp.weight(f"w_{i}_{k}", (n,)) for k in range(formula.variables)))
        total += sbp.sum(sbp.weight(f"v_{i}", (n,)) * sbp.node(f"y_{i}", y))
    return sbp.Network(sbp.node("C", total))


def weights_at(i: int, formula: Formula, points: Sequence[Point], dtype: str) -> dict[str, Any]:
    columns = np.array(points, dtype)
    rows = {f"w_{i}": columns} if formula.row is not None else {f"w_{i}_{k}": columns[:, k].copy() for k in range(formula.variables)}
    return {**rows, f"v_{i}": np.ones(len(points), dtype)}


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
        _, gradients = generated.loss_and_gradients(weights_at(0, formula, points, dtype))
    return collected(0, formula, gradients)


def recorder() -> Any:
    """An optimizer that writes the gradient into the weight."""
    import symbackprop as sbp

    class Record(sbp.Optimizer):
        def rule(self, w: Any, g: Any, t: Any, state: Any) -> Iterator[Any]:
            yield w, g

    return Record()


def trained(formulas: Sequence[Formula], points: Sequence[Sequence[Point]], dtype: str, backend: str) -> list[Computed]:
    """One training step of a network of all the formulas, whose optimizer writes the gradients into the weights. The formulas must be finite at
    the points, since a loss that is not is not trained on."""
    weights: dict[str, Any] = {}
    for i, (formula, own) in enumerate(zip(formulas, points, strict=True)):
        weights |= weights_at(i, formula, own, dtype)
    trainer = network(formulas, [len(own) for own in points]).trainer(recorder(), weights=weights, dtype=dtype, backend=backend)
    with np.errstate(all="ignore"):
        trainer.step()
    return [collected(i, formula, trainer.weights) for i, formula in enumerate(formulas)]


def finite_points(formula: Formula, dtype: str) -> list[Point]:
    """The points at which a step can be made: the arguments and the value are floats, and so is the sum of all values, which is the loss."""
    largest = float(np.finfo(dtype).max) / 1000
    return [p for p in formula.points(dtype) if all(abs(x) <= largest for x in p) and abs(truth(formula, p)[0]) <= largest]
