"""One network at the given weights and data: the true gradients, what rounding may do to them, and what each mistake would make of them."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from symbackprop.audit.backward import Backward
from symbackprop.audit.match import ROUNDING, Factors
from symbackprop.audit.mistakes import mistakes
from symbackprop.calculus.batch import lift
from symbackprop.calculus.unroll import unrolled
from symbackprop.errors import DataError, NetworkError
from symbackprop.graph.equations import System, tensors_in
from symbackprop.training.evaluator import Evaluator
from symbackprop.training.feed import Array
from symbackprop.training.optimizers import Optimizer

ENTRIES = 100  # of data of so many entries each is tried as mistyped
SAMPLES = 64  # gradients of single samples are tried of the first and last ones only, where there are more


@dataclass(frozen=True)
class Candidate:
    """What the gradients become under one mistake: weight name → array. The truth has no code and costs nothing."""

    code: str
    cost: float
    text: str
    values: Mapping[str, Array]


class Case:
    def __init__(self, system: System, evaluator: Evaluator, weights: Mapping[Any, Any], data: Mapping[Any, Any], optimizer: Any = None) -> None:
        self.system = system
        self.evaluator = evaluator
        self.weights = evaluator.weights(weights)
        self.feed = evaluator.feed(data)
        self.data = {name: self.feed.arrays[name] for name in evaluator.check.needed_by_loss}
        self.optimizer = checked(optimizer)
        self.loss, self.truth = self._true_gradients(self.data)
        broken = [name for name, g in self.truth.items() if not np.isfinite(g).all()]
        if broken or not np.isfinite(self.loss):
            raise DataError(
                f"the loss is {self.loss:g}{' and the gradient of ' + ', '.join(map(repr, broken)) + ' is not finite' if broken else ''} "
                "at these weights and data, so there is nothing to compare with; audit at a point where both are finite"
            )
        batched = evaluator.check.single and bool(self.feed.sliced)
        self.backward = Backward(unrolled(lift(system) if batched else system, self.feed.sizes), self.weights, self.data)

    def _true_gradients(self, data: Mapping[str, Array]) -> tuple[float, dict[str, Array]]:
        with np.errstate(all="ignore"):
            loss, found = self.evaluator.module.loss_and_gradients(self.weights, **data)
        return float(loss), {name: np.array(g, dtype=float) for name, g in found.items()}

    def rounding(self, eps: float) -> dict[str, Array]:
        """How far each entry of a gradient may be off by rounding alone."""
        return {name: ROUNDING * eps * np.nan_to_num(m, posinf=0.0) for name, m in self.backward.magnitudes().items()}

    @property
    def learning_rate(self) -> float | None:
        lr = getattr(self.optimizer, "lr", None)
        return float(lr) if lr is not None and not getattr(lr, "free_symbols", None) else None

    @cached_property
    def factors(self) -> Factors:
        """Numbers that gradients are wrong by: the 2 of a square, sizes of batches and outputs, the learning rate."""
        found = Factors()
        found.add(2, "the 2 that a square brings down, or that a ½ before it cancels")
        found.add(0.5, "the 2 that a square brings down, or a ½ too many")
        sizes: dict[str, int] = {}
        if self.feed.samples > 1:
            sizes[f"the batch size {self.feed.dimension or 'n'}"] = self.feed.samples
        for name, size in self.feed.sizes.items():
            if name != self.feed.dimension:
                sizes[f"the size {name}"] = size
        loss = self.system.loss.definition
        last = {t.shape[-1] for t in (tensors_in(loss) if loss is not None else ()) if t.shape and isinstance(t.shape[-1], int)}
        for size in sorted(last - {1}):
            sizes["the number of outputs"] = size
        if len(sizes) > 1:
            sizes[f"the number of all entries, {' × '.join(f'{v:g}' for v in sizes.values())}"] = math.prod(sizes.values())
        for name, size in sizes.items():
            found.add(size, f"{name} = {size:g}: a sum where the loss takes a mean")
            found.add(1 / size, f"{name} = {size:g}: a mean where the loss takes a sum")
            if size != 2:
                found.add(2 * size, f"2 times {name} = {size:g}")
                found.add(2 / size, f"2 divided by {name} = {size:g}")
        if self.learning_rate:
            found.add(self.learning_rate, f"the learning rate {self.learning_rate:g}: this is the step, not the gradient")
        return found

    @cached_property
    def candidates(self) -> list[Candidate]:
        """The truth, and what it becomes under each mistake that changes it."""
        found = [Candidate("", 0.0, "", self.truth), *self._others(), *self._samples()]
        for m in mistakes(self.backward):
            try:
                values = {name: g for name, g in self.backward.gradients(m.change).items() if not _same(g, self.truth[name])}
            except (ArithmeticError, LookupError, TypeError, ValueError):  # a mistaken formula need not make sense
                continue
            if values:
                found.append(Candidate(m.code, m.cost, m.text, values))
        return found

    def _others(self) -> Iterator[Candidate]:
        """Another weight's gradient."""
        for name, g in self.truth.items():
            for other, h in self.truth.items():
                if other != name and h.shape in (g.shape, g.shape[::-1]) and not _same(g, h):
                    text = f"This is the gradient of {other}, not of {name}: the two stand in each other's place."
                    yield Candidate("another weight", 2.0, text, {name: h})

    def _samples(self) -> Iterator[Candidate]:
        """The gradient of one sample of the batch."""
        n = self.feed.samples
        for k in dict.fromkeys([0, n - 1, *range(min(n, SAMPLES))] if n > 1 else []):
            data = {name: self.feed.cut(name, range(k, k + 1)) for name in self.data}
            which = "first" if k == 0 else "last" if k == n - 1 else f"{k + 1}th"
            text = f"Only the {which} of the {n} samples is in it: the sum over the batch is missing (or a `return` stands inside the loop)."
            try:
                yield Candidate("batch sum", 2.6 + 0.2 * (0 < k < n - 1), text, self._true_gradients(data)[1])
            except (ValueError, IndexError):  # a network that fixes the number of its samples
                return

    def mistyped(self) -> Iterator[Candidate]:
        """The gradients for data of which one number lost its sign or its decimal point."""
        for name, array in self.data.items():
            for index in np.ndindex(array.shape) if array.dtype.kind == "f" and array.size <= ENTRIES else ():
                for factor in (-1.0, *(10.0**k for k in range(-9, 10) if k)):
                    wrong = array.copy()
                    wrong[index] *= factor
                    where = f"{name}[{', '.join(map(str, index))}]" if index else name
                    lost = "lost its sign" if factor < 0 else "has its decimal point in another place"
                    text = f"The data differ: these are the gradients for {where} = {wrong[index]:g}, but it is {array[index]:g}; the number {lost}."
                    yield Candidate("data", 3.6, text, self._true_gradients({**self.data, name: wrong})[1])


def checked(optimizer: Any) -> Optimizer | None:
    if optimizer is not None and not isinstance(optimizer, Optimizer):
        raise NetworkError(f"the optimizer is {optimizer!r}; expected an Optimizer such as SGD(lr=0.01)")
    return optimizer


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-15 * max(np.abs(b).max(initial=0.0), 1e-300), equal_nan=True)


__all__ = ["Candidate", "Case"]
