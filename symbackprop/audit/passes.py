"""What the equations of a network read when it is computed: its forward pass in float64 at inputs from the whole range of floating-point numbers. So an
equation is measured at values that it can meet: a softmax's shares add up to 1, a variance is not negative, a mask holds 0 and 1.

In each pass one of the inputs, data or weights, is of an extreme or of any size, or has a single entry that is not 0, while the others are of usual or
moderate size; data may be 0 and 1 in one-hot form. Labels are places, a drawn mask is 0 and 1, and data t that the equations also read as 1 - t are
a share, between 0 and 1.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import frexp, inf, isfinite
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from symbackprop.audit.backward import Calculator
from symbackprop.audit.sized import SIZE, Sized
from symbackprop.calculus.recurrence import stepped
from symbackprop.graph.draw import Bernoulli
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.labels import index_data
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import postorder
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array

EXTREMES = (0.0, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1022), 2.0**1000, -(2.0**1000), 1.0, -1.0)
ANY, MODERATE, USUAL = (-1022, 1000), (-10, 10), (-3, 1)  # exponents; beyond 2^1000 sums of a few numbers are none any more
PASSES, NUMBERS = 600, 10**7  # so many passes at most, and numbers in all of them together

Values = dict[str, Any]


class Input(NamedTuple):
    """Data, a weight or a state: its shape, of labels how many there are, whether it is data, and whether it is a share or a mask."""

    name: str
    shape: tuple[int, ...]
    labels: int | None = None
    data: bool = False
    share: bool = False
    mask: bool = False

    @property
    def varied(self) -> bool:
        return self.labels is None and not self.mask

    def numbers(self, rng: np.random.Generator, exponents: tuple[int, int], close: bool = False) -> Array:
        """Numbers with exponents in these limits: of one size, of similar or of any; with `close` also nearly equal ones."""
        if self.labels is not None:
            return rng.integers(self.labels, size=self.shape)
        if self.mask:
            return rng.integers(2, size=self.shape).astype(float)
        low, high = exponents
        spread = int(rng.choice((0, 8, high - low)))
        powers = np.clip(rng.integers(low, high + 1) + rng.integers(-spread, spread + 1, self.shape), low, high)
        signs = rng.choice((-1.0, 1.0), self.shape if spread or rng.random() < 0.5 else ())
        apart = 2.0 ** -int(rng.choice((0, 0, 20, 40))) if close else 1.0
        found: Array = np.ldexp(1 + apart * rng.uniform(0, 1, self.shape), powers) * signs
        return self.inside(found)

    def beside(self, rng: np.random.Generator, exponents: tuple[int, int], column: int) -> Array:
        """Numbers of usual or moderate size, or of data also 0 and 1; labels may be all the same."""
        if self.labels is not None and rng.random() < 0.5:
            return np.full(self.shape, column % self.labels)
        hot = self.data and self.varied and rng.random() < 0.4
        return self.single(rng, 1.0, column) if hot else self.numbers(rng, exponents)

    def about(self, rng: np.random.Generator, size: float) -> Array:
        return self.inside(size * rng.uniform(1, 2, self.shape))

    def single(self, rng: np.random.Generator, size: float, column: int) -> Array:
        """One entry of each row is not 0, as of labels in one-hot form: that of the column, or of each row's own."""
        found = np.zeros(self.shape)
        if not self.shape:
            return found + self.inside(np.array(size))
        rows = found.reshape(-1, self.shape[-1])
        rows[np.arange(len(rows)), column % self.shape[-1] if rng.random() < 0.7 else rng.integers(self.shape[-1], size=len(rows))] = size
        return self.inside(found)

    def inside(self, found: Array) -> Array:
        """The numbers, or of a share what is left of them beyond its whole: 3 becomes 1/3."""
        if not self.share:
            return found
        sizes = np.abs(found)
        return np.where(sizes > 1, 1 / np.maximum(sizes, 1), sizes)


def inputs_of(system: System, sizes: Sized, reads: Sequence[sp.Expr]) -> list[Input]:
    """The data, weights and states that the equations `reads` read."""
    labels = {t.name: size if isinstance(size, int) else SIZE for t, size in index_data(system).items()}
    shares = {t.name for expr in reads for part in postorder(expr) if isinstance(part, sp.Add) for t in tensors_in(part) if part == 1 - t}
    found = []
    for t in system.forward:
        if t.definition is None and t.name in sizes.tensors:
            data = t.role == "data"
            shape, mask = sizes.tensors[t.name].shape, isinstance(t.init, Bernoulli)
            found.append(Input(t.name, shape, labels.get(t.name), data, data and t.name in shares, mask))
    return found


class Passes:
    """`values`: of each pass, by name, what the inputs and the nodes are; of the steps of a recurrence (by `body.tensor`) what they are at each."""

    def __init__(self, inputs: Sequence[Input], equations: Mapping[str, sp.Expr], samples: int, seed: int) -> None:
        self.calculate = Calculator()
        self.equations = equations
        bodies = [e for expr in equations.values() if isinstance(expr, Scan) for _, e in expr.body.equations]
        self.calculate.learn([e for e in equations.values() if not isinstance(e, Scan)] + bodies)
        self.values: list[Values] = []
        with np.errstate(all="ignore"):
            for given in at_inputs(inputs, samples, seed):
                self.values.append(self.run(given))
                if len(self.values) >= PASSES or len(self.values) * _numbers(self.values[0]) > NUMBERS:
                    break

        self.known = {name for values in self.values for name in values}
        self.sizes: dict[str, list[float]] = {}

    def different(self, names: Sequence[str], count: int, rng: np.random.Generator) -> list[Values]:
        """So many passes at most in which the named values are finite: for each name in turn one of a size that none has yet had, until there is no other."""
        everywhere = [i for i, values in enumerate(self.values) if all(n in values and isfinite(self.size(n, i)) for n in names)]
        kinds: list[list[list[int]]] = []
        for n in names:
            groups: dict[float, list[int]] = {}
            for i in rng.permutation(everywhere):
                size = self.size(n, int(i))
                groups.setdefault(size if abs(size) <= 12 else 100 + size // 50, []).append(int(i))
            kinds.append([groups[size] for size in rng.permutation(sorted(groups))])
        chosen: dict[int, None] = {} if names else dict.fromkeys(int(i) for i in rng.permutation(everywhere)[:count])
        turn = 0
        while len(chosen) < min(count, len(everywhere)):
            groups_of = kinds[turn % len(kinds)]
            group = groups_of[turn // len(kinds) % len(groups_of)]
            while group and group[-1] in chosen:
                group.pop()
            if group:
                chosen[group.pop()] = None
            turn += 1
        return [self.values[i] for i in chosen]

    def size(self, name: str, number: int) -> float:
        """The exponent of the largest of the named numbers in a pass; infinite or NaN where one of them is."""
        if name not in self.sizes:
            largest = [float(np.max(np.abs(values[name]), initial=0.0)) if name in values else inf for values in self.values]
            self.sizes[name] = [frexp(x)[1] if isfinite(x) else x for x in largest]
        return self.sizes[name][number]

    def run(self, given: Values) -> Values:
        found = dict(given)
        for name, expr in self.equations.items():
            needed = tensors_in(expr)
            if all(t.name in found for t in needed):
                known: dict[sp.Symbol, Any] = {t: found[t.name] for t in needed}
                try:
                    found[name] = self.scanned(expr, known, found) if isinstance(expr, Scan) else self.calculate(expr, known)
                except (ArithmeticError, ValueError, np.linalg.LinAlgError):  # no such value: what reads it has none either
                    continue
        return found

    def scanned(self, scan: Scan, known: dict[sp.Symbol, Any], found: Values) -> list[Any]:
        """The results of a recurrence, whose steps' values are put into `found`."""
        steps: list[dict[Tensor, Any]] = []

        def compute(expr: sp.Expr, values: Mapping[Tensor, Any]) -> Any:
            if not steps or steps[-1] is not values:
                steps.append(values)  # type: ignore[arg-type]
            return self.calculate(expr, values)

        self.calculate.learn(scan.operands)
        results = iter(stepped(scan, [self.calculate(x, known) for x in scan.operands], int(scan.length), compute))
        for t in scan.body.tensors:
            found[f"{scan.body.name}.{t.name}"] = np.array([np.broadcast_to(values[t], t.shape) for values in steps])
        return [next(results) if r.final else np.array([next(results) for _ in range(int(scan.length))]) for r in scan.body.results]


def _numbers(values: Values) -> int:
    return sum(sum(map(np.size, x)) if isinstance(x, list) else np.size(x) for x in values.values())


def at_inputs(inputs: Sequence[Input], samples: int, seed: int) -> Iterator[Values]:
    """The inputs of one pass after the other, in an order in which no way to fill them comes late."""
    rng = np.random.default_rng(seed)
    ways: list[Callable[[Input, int], Array]] = [
        *(lambda x, column, size=size: x.about(rng, size) for size in EXTREMES),
        *([lambda x, column: x.numbers(rng, ANY, close=True), lambda x, column: x.numbers(rng, MODERATE, close=True)] * samples),
        *([lambda x, column: x.single(rng, 2.0 ** int(rng.integers(11)), column)] * (2 + samples // 4)),
    ]
    for way in rng.permutation(len(ways)):
        for one in (x for x in inputs if x.varied):
            column, exponents = int(rng.integers(2**16)), (USUAL, MODERATE)[int(rng.integers(2))]  # labels and what they meet have one column in common
            yield {x.name: ways[way](x, column) if x is one else x.beside(rng, exponents, column) for x in inputs}
        yield {x.name: x.numbers(rng, USUAL) for x in inputs}


__all__ = ["Input", "Passes", "Values", "inputs_of"]
