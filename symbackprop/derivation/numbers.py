"""A point, random or given, and what the equations are worth there: the numbers that the steps of a derivation are held against.

Left of each equals sign stands a slope found without any derivation (training.slopes), right of it the printed expression, computed
by its index form; the two have nothing in common but the network.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import sympy as sp

from symbackprop.calculus.arrays import Arrays
from symbackprop.calculus.deep import deep
from symbackprop.calculus.differentiate import Adjoints
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.load import load_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, collect, tensors_in
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import Dim, Shape, numeric
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.training.evaluator import Evaluator, random_values
from symbackprop.training.feed import Array
from symbackprop.training.slopes import slope

TRIES = 20  # random points, until one lies where every value is finite
ENTRIES = 3  # of a tensor, compared one by one
TOLERANCE = 1e-6  # of central differences; a complex step is held to 1e-9
EXACT = 1e-9
KINK = "slopes to the left and to the right differ"
UNDEFINED = "in floating point a side of it is no finite number"
MODERATE = 100.0  # values up to here may be exponentiated, and the results multiplied, without leaving the range of numbers
TRIALS, MOVED = 8, 4 * np.finfo(float).eps  # how often, and how far, values are moved to see what rounding does


@dataclass(frozen=True)
class Check:
    """How an equation came out at random inputs. `error`: the largest |left - right| / max(|left|, |right|, 0.001 × the largest entry);
    `method`: how the left side was found; `ok`: whether the error is within the tolerance. `unchecked`: why nothing could be compared."""

    error: float
    tolerance: float
    method: str
    unchecked: str = ""

    @property
    def ok(self) -> bool:
        return bool(self.error <= self.tolerance)

    def __str__(self) -> str:
        if self.unchecked:
            return f"unchecked: {self.unchecked}"
        return f"{'checked' if self.ok else 'WRONG'}: relative error {self.error:.0e} against {self.method}"


class Reading(NamedTuple):
    """A slope found by numbers; whether it is exact to rounding; the size below which rounding drowns it; and whether there is none, at a kink."""

    value: float
    exact: bool
    floor: float
    kink: bool = False


class Values:
    """Weights and data of one system, random unless `given` (name → array), and the values of all its equations and adjoints there."""

    @deep
    def __init__(self, system: System, adjoints: Adjoints, seed: int = 0, given: Mapping[str, Array] | None = None) -> None:
        self.system = system
        self.rng = np.random.default_rng(seed)
        needed = collect([*adjoints.forward(), *(e.symbol for e in system.equations)])  # the output too, where the loss does not read it
        self.forward = [Equation(t, t.definition) for t in needed if t.definition is not None]
        equations = [*self.forward, *adjoints.equations]
        self._functions = _functions(equations)
        self._after: dict[Tensor, list[Equation]] = {}
        self._moved: tuple[Any, dict[bytes, Array]] = (), {}
        self.values: dict[Tensor, Array] = {}
        self.sizes: dict[Any, int] = {}
        if given is None:
            self._search(seed, equations)
        else:
            self._place(given, equations)

    def _search(self, seed: int, equations: Sequence[Equation]) -> None:
        """A random point where every value is finite, if possible moderate: where values are large, weights are halved."""
        weights, data = random_values(self.system, seed)
        found: dict[Tensor, Array] = {}
        for attempt in range(1, TRIES + 1):
            self._place(weights | data, equations)
            finite = all(np.isfinite(a).all() for a in self.values.values())
            large = any((np.abs(a) > MODERATE).any() for a in self.values.values() if a.dtype.kind == "f")
            if finite and not large:
                return
            found = found or (self.values if finite else {})
            if large:
                weights = {name: w / 2 for name, w in weights.items()}
            else:
                weights, data = random_values(self.system, seed + attempt)
        if not found:
            raise UnsupportedError(f"at {TRIES} random points, values of the network with loss {self.system.loss.name!r} are not finite")
        self.values = found

    def _place(self, given: Mapping[str, Array], equations: Sequence[Equation]) -> None:
        tensors = {t.name: t for t in self.system.tensors}
        self.values = {tensors[name]: np.asarray(value) for name, value in given.items()}
        for t, array in self.values.items():
            self.sizes.update({d: s for d, s in zip(t.shape, array.shape, strict=True) if isinstance(d, Dim)})
        self._run(self.values, equations)

    def _run(self, values: dict[Tensor, Array], equations: Sequence[Equation]) -> None:
        with np.errstate(all="ignore"):
            for symbol, _ in equations:
                values[symbol] = np.asarray(self._functions[symbol](values, self.sizes))

    def run(self, values: Mapping[Tensor, Array]) -> dict[Tensor, Array]:
        """All equations of the network at other weights or data."""
        found = dict(values)
        self._run(found, self.forward)
        return found

    @cached_property
    def updated(self) -> dict[str, Array]:
        """What one training step makes of the states."""
        values = {t.name: self.values[t] for t in self.system.tensors if t.definition is None and t in self.values}
        data = {t.name: values[t.name] for t in self.system.data}
        kept = {t.name: values[t.name] for t in self.system.kept}
        return {name: np.asarray(new) for name, new in Evaluator(self.system).module.loss_gradients_and_states(kept, **data)[2].items()}

    def shape(self, shape: Shape) -> tuple[int, ...]:
        return numeric(shape, self.sizes)

    def entries(self, shape: Shape, most: int = ENTRIES) -> list[tuple[int, ...]]:
        """Some places in a tensor, at random."""
        sizes = self.shape(shape)
        count = int(np.prod(sizes))
        chosen = range(count) if count <= ENTRIES else self.rng.choice(count, min(count, most), replace=False)
        return [tuple(map(int, np.unravel_index(k, sizes))) for k in chosen]

    # --- the left sides ---------------------------------------------------------------------------------------------------

    def loss_of(self, x: Tensor) -> Callable[[Array], Any]:
        """The loss as a function of one tensor: its own equation is left out, and those that depend on it run again."""
        if x not in self._after:
            reached, after = {x}, []
            for equation in self.forward:
                if equation.symbol is not x and tensors_in(equation.expr) & reached:
                    reached.add(equation.symbol)
                    after.append(equation)
            self._after[x] = after

        def loss(value: Array) -> Any:
            values = {**self.values, x: value}
            self._run(values, self._after[x])
            return values[self.system.loss][()]

        return loss

    def gradient_slope(self, x: Tensor, index: tuple[int, ...]) -> Reading:
        return self._slope(self.loss_of(x), x, index)

    def partial_slope(self, y: Tensor, at: tuple[int, ...], x: Tensor, index: tuple[int, ...]) -> Reading:
        """∂y[at]/∂x[index] of the equation of y alone. The other entries of y, which are asked for next, move with the same entry of x."""
        if self._moved[0] != (y, x, index):
            self._moved = (y, x, index), {}
        known = self._moved[1]

        def entry(value: Array) -> Any:
            key = value[index].tobytes()
            if key not in known:
                known[key] = np.asarray(self._functions[y]({**self.values, x: value}, self.sizes))
            return known[key][at]

        return self._slope(entry, x, index)

    def _slope(self, function: Callable[[Array], Any], x: Tensor, index: tuple[int, ...]) -> Reading:
        direction = np.zeros(self.values[x].shape)
        direction[index] = 1.0
        with np.errstate(all="ignore"):
            found = slope(function, self.values[x], direction)
            return Reading(found.value, found.exact, found.doubt / (EXACT if found.exact else TOLERANCE), found.kink)

    # --- comparing --------------------------------------------------------------------------------------------------------

    @deep
    def right(self, expr: sp.Expr, indices: Mapping[sp.Symbol, int] | None, outside: float = math.nan) -> Array:
        """A right side, whole: an expression in index form with free indices (symbol → size), or (None) a tensor expression. `outside`: what
        an entry counts that no tensor has."""
        arrays = Arrays(self.values, self.sizes, outside)
        return arrays.tensor(expr) if indices is None else arrays.entries(expr, indices)

    def reads_outside(self, expr: sp.Expr, indices: Mapping[sp.Symbol, int] | None) -> bool:
        """Whether a right side is no number since an entry that counts in it does not exist."""
        missing = np.isnan(self.right(expr, indices))
        return bool(missing.any() and (missing & ~np.isnan(self.right(expr, indices, outside=0.0))).any())

    def rounding(self, expr: sp.Expr, indices: Mapping[sp.Symbol, int] | None) -> Array:
        """How far a right side moves when the values in it are rounded otherwise: little, unless terms in it cancel."""
        rng = np.random.default_rng(0)
        result = self.right(expr, indices)
        kept, worst = self.values, np.zeros(result.shape)
        try:
            for _ in range(TRIALS):
                self.values = {t: v * (1 + MOVED * rng.uniform(-1, 1, v.shape)) if v.dtype.kind == "f" else v for t, v in kept.items()}
                with np.errstate(invalid="ignore"):  # what leaves the range of numbers has no rounding
                    worst = np.maximum(worst, np.abs(self.right(expr, indices) - result))
        finally:
            self.values = kept
        return worst


def compare(pairs: Sequence[tuple[Reading, float]]) -> Check:
    """The largest relative error of slopes and the right sides beside them. An entry that is small beside the others is compared with them.
    At a kink there is nothing to compare: what stands there is a convention. Nor is there where a side is no number."""
    smooth = [pair for pair in pairs if not pair[0].kink]
    if not smooth:
        return Check(0.0, TOLERANCE, "a central difference", KINK)
    method, tolerance = ("a complex step", EXACT) if all(left.exact for left, _ in smooth) else ("a central difference", TOLERANCE)
    known = [(left, right) for left, right in smooth if math.isfinite(left.value) and math.isfinite(right)]
    scale = max((abs(v) for left, right in known for v in (left.value, right)), default=0.0)
    errors = [abs(a.value - b) / max(abs(a.value), abs(b), 1e-3 * scale, a.floor, 1e-300) for a, b in known]
    return Check(max(errors, default=0.0), tolerance, method, "" if known else UNDEFINED)


def agree(pairs: Sequence[tuple[float, float]], method: str, floor: float = 1e-12) -> Check:
    """The largest relative error of two values of the same thing. Below `floor` rounding drowns them."""
    known = [(a, b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)]
    errors = [abs(a - b) / max(abs(a), abs(b), floor) for a, b in known]
    return Check(max(errors, default=0.0), EXACT, method, "" if known or not pairs else UNDEFINED)


def _functions(equations: Sequence[Equation]) -> dict[Tensor, Callable[[Mapping[Tensor, Array], Mapping[Any, int]], Any]]:
    """Each equation as a function of the values of all tensors, from generated code."""
    names = {t: f"v[{i}]" for i, t in enumerate(dict.fromkeys(t for e in equations for t in (*tensors_in(e.expr), e.symbol)))}
    dims = {d: f"n[{d.name!r}]" for e in equations for d in e.expr.free_symbols if isinstance(d, Dim)}
    printer = PythonPrinter(names={**names, **dims})
    lines = [f"def f{i}(v, n):\n    return {printer.plain(expr)}" for i, (_, expr) in enumerate(equations)]
    parts = ['"""The equations of a network, one function each."""\n\nimport numpy as np\n\nDTYPE = np.float64', *lines, *printer.sources()]
    module = load_source("\n\n\n".join(part.strip("\n") for part in parts) + "\n", "equations")
    places = {t: i for i, t in enumerate(names)}

    def held(t: Tensor, value: Array, sizes: Mapping[Any, int]) -> Any:
        """What the code reads: of a recurrence, whose value is one row here, its results."""
        if not isinstance(t.definition, Scan):
            return value
        shapes = [numeric(t.definition.shape_of_result(k), sizes) for k in range(len(t.definition.body.results))]
        ends = np.cumsum([math.prod(shape) for shape in shapes])
        return tuple(value[end - math.prod(shape) : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True))

    def function(i: int, expr: sp.Expr) -> Callable[[Mapping[Tensor, Array], Mapping[Any, int]], Any]:
        needed = [(places[t], t) for t in tensors_in(expr)]
        run = getattr(module, f"f{i}")

        def call(values: Mapping[Tensor, Array], sizes: Mapping[Any, int]) -> Any:
            found = run({k: held(t, values[t], sizes) for k, t in needed}, {d.name: n for d, n in sizes.items()})
            return np.concatenate([np.ravel(part) for part in found]) if isinstance(expr, Scan) else found

        return call

    return {symbol: function(i, expr) for i, (symbol, expr) in enumerate(equations)}
