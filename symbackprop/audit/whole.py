"""An equation with sums, matrix products or other operators, measured whole: on small tensors, as a function of the tensors that it reads. Its code
is what generated modules run, its true values are mpmath's of its index form.

What a sum's rounding adds is not a defect of the formula: terms of either sign cancel, and no way of adding them is exact. So errors are counted
in units in the last place of the result, or, where that is more, in what a change by one such unit makes of the result: of inputs that only
sums read and that these are linear in, and of what is lost in a sum of the equation's own terms, their absolute values added up less the
absolute value of the sum.

Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), sections 1.5 (mixed forward-backward error) and 3.3 (running error).
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf, isfinite, ldexp
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy as sp

from symbackprop.audit.precision import UnsettledError, precise, settled, ulps
from symbackprop.calculus.evaluate import Entries
from symbackprop.calculus.index import IndexForm, index_symbol
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.load import load_source
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.functions import absolute
from symbackprop.graph.operators.base import IndexSum, Operator
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.gather import Scatter, Take
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, Slice
from symbackprop.graph.operators.window import Fold, Window
from symbackprop.graph.shapes import postorder, rank_of, shape_of
from symbackprop.graph.tensor import Tensor

LINEAR = (Einsum, Broadcast, Reshape, Slice, Pad, Concatenate, Take, Scatter, Window, Fold)
EXTREMES = (0.0, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1022), 2.0**1000, -(2.0**1000), 1.0, -1.0)
LIMIT = 1000  # of exponents: a few such numbers, each times a moderate one, have a finite sum
FEW, DIGITS = (80, 160), (400, 800)
STEP = mpmath.mpf(10) ** -40  # the relative change by which inputs and sums are disturbed

Point = dict[Tensor, Any]


class Leaf(NamedTuple):
    """An input: its tensor, whether it is a gradient that arrives from the loss, and of labels how many there are."""

    tensor: Tensor
    arrives: bool
    labels: int | None


class Found(NamedTuple):
    """The error at an argument, and the argument by the names of the inputs."""

    error: float
    at: dict[str, Any]


# --- arguments -----------------------------------------------------------------------------------------------------------------


def points(leaves: Sequence[Leaf], samples: int, seed: int) -> Iterator[Point]:
    """Arguments: each input in turn is of an extreme or any size, all its entries alike or each by itself, while the others are of moderate
    size; and as many in which every input is of any size that leaves their product in the range of floats. A gradient that arrives from the
    loss is always of moderate size."""
    rng = random.Random(seed)

    def filled(leaf: Leaf, size: float | None, low: int, high: int) -> Any:
        """Entries about as large as `size`; without it all of one size, or each of its own, with exponents between low and high."""
        if leaf.labels is not None:
            return np.array([rng.randrange(leaf.labels) for _ in range(int(sp.Mul(*leaf.tensor.shape)))], int).reshape(leaf.tensor.shape)
        alike, sign, exponent = rng.random() < 0.5, rng.choice((-1, 1)), rng.randint(low, high)

        def number() -> float:
            if size is not None:
                return size * rng.uniform(1, 2)
            return (sign if alike else rng.choice((-1, 1))) * ldexp(rng.uniform(1, 2), exponent if alike else rng.randint(low, high))

        return np.array([number() for _ in range(int(sp.Mul(*leaf.tensor.shape)))]).reshape(leaf.tensor.shape)

    def moderate(leaf: Leaf) -> Any:
        return filled(leaf, None, -10, 10)

    varied = [leaf for leaf in leaves if not leaf.arrives and leaf.labels is None]
    for one in varied:
        sizes: list[tuple[float | None, int]] = [*((x, 0) for x in EXTREMES), *([(None, LIMIT)] * samples), *([(None, 10)] * samples)]
        for size, high in sizes:
            yield {leaf.tensor: filled(leaf, size, -min(high, 1022), high) if leaf is one else moderate(leaf) for leaf in leaves}
    high = LIMIT // max(len(varied), 1)  # so that a product of all of them is in the range of floats
    for _ in range(samples):
        yield {leaf.tensor: moderate(leaf) if leaf not in varied else filled(leaf, None, -high, high) for leaf in leaves}


# --- true values ---------------------------------------------------------------------------------------------------------------


class Step:
    """The entries of an expression as a function of tensors: `noise` counts its sums in which something may cancel."""

    def __init__(self, expr: sp.Expr, reads: Sequence[Tensor], plain: Any) -> None:
        self.reads, self.shape = reads, shape_of(expr)
        indices = tuple(index_symbol(f"i{k}_") for k in range(rank_of(expr)))
        entry, noise = _with_noise(plain(IndexForm(taken=indices).entry(expr, indices)))
        names = {t: sp.Symbol(t.name) for t in reads}
        self.noise = len(noise)
        self.function = precise([*names.values(), *indices, *noise], entry.xreplace(names))

    def __call__(self, values: Point, index: Sequence[int], noise: Sequence[Any]) -> Any:
        """An entry, its sums disturbed by so much of what cancels in them."""
        numbers = (Entries(values[t]) if t.shape else mpmath.mpf(values[t].item()) for t in self.reads)
        return self.function(*numbers, *index, *noise)

    def all(self, values: Point, noise: Sequence[Any]) -> Any:
        result = np.empty(self.shape, dtype=object)
        for index in np.ndindex(self.shape):
            result[index] = self(values, index, noise)
        return result


class Truth:
    """A form's entries at numbers, to any number of digits. Each operator inside it is a step of its own, so that nothing is computed twice."""

    def __init__(self, expr: sp.Expr, leaves: Sequence[Leaf], plain: Any) -> None:
        self.linear = [leaf.tensor for leaf in leaves if only_summed(expr, leaf.tensor)]
        self.steps: list[tuple[Tensor, Step]] = []
        done: dict[sp.Basic, sp.Basic] = {}
        for part in postorder(expr):
            args = [done[a] for a in part.args]
            done[part] = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
            if isinstance(part, Operator) and part is not expr:
                made = Tensor(f"part_{len(self.steps)}", part.shape, "data")
                self.steps.append((made, Step(done[part], sorted(tensors_in(done[part]), key=str), plain)))
                done[part] = made
        self.last = Step(done[expr], sorted(tensors_in(done[expr]), key=str), plain)

    def value(self, point: Point, index: Sequence[int], disturbed: int = -1) -> Any:
        """The entry, the sum of that number disturbed by `STEP`."""
        values, first = dict(point), 0
        for made, step in [*self.steps, (None, self.last)]:
            noise = [STEP if first + k == disturbed else 0 for k in range(step.noise)]
            first += step.noise
            if made is None:
                return step(values, index, noise)
            values[made] = step.all(values, noise)
        raise AssertionError("the last step has no name")

    def at(self, point: Point, index: Sequence[int]) -> Any:
        """The entry. Raises `UnsettledError` where it has no value."""
        functions = [lambda: self.value(point, index)]
        try:  # with few digits, unless all of them cancel
            found = settled(functions, (), FEW)[0]
        except UnsettledError:
            found = 0
        return found if found != 0 else settled(functions, (), DIGITS)[0]

    def unit(self, point: Point, index: Sequence[int], enough: Any) -> Any:
        """By how much, relative to the disturbance, the entry changes if what sums are made of is disturbed; not counted beyond what is enough."""
        total = mpmath.mpf(0)
        with mpmath.workdps(FEW[0]):
            try:
                middle = self.value(point, index)
                for moved, number in self.disturbances(point):
                    total += abs(self.value(moved, index, number) - middle) / STEP
                    if total > enough:
                        break
            except (ZeroDivisionError, ValueError, TypeError, OverflowError):
                return mpmath.mpf(0)
        return total

    def disturbances(self, point: Point) -> Iterator[tuple[Point, int]]:
        """Each sum by itself disturbed, and each entry of the inputs that only sums read."""
        for k in range(sum(step.noise for _, step in self.steps) + self.last.noise):
            yield point, k
        for t in self.linear:
            for place in np.ndindex(point[t].shape):
                moved = point[t].astype(object)
                moved[place] = moved_by_a_unit(point[t][place])
                yield {**point, t: moved}, -1


def moved_by_a_unit(x: float) -> Any:
    """A number changed by so many units in its last place as `STEP` says: of numbers below the normal ones they are all of one size."""
    number = mpmath.mpf(float(x))
    return number + STEP * max(abs(number), mpmath.mpf(2) ** -1022)


def _with_noise(entry: sp.Expr) -> tuple[sp.Expr, list[sp.Symbol]]:
    """The entry with a symbol for each sum, by which what cancels in it is multiplied and added to it."""
    noise: list[sp.Symbol] = []
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(entry):
        args = [done[a] for a in part.args]
        rebuilt = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
        if isinstance(part, IndexSum) and not part.args[0].is_nonnegative:  # else nothing cancels
            noise.append(sp.Symbol(f"noise_{len(noise)}", real=True))
            rebuilt += noise[-1] * (IndexSum(absolute(part.args[0]), *part.args[1:]) - absolute(part))
        done[part] = rebuilt
    return done[entry], noise


def only_summed(expr: sp.Expr, leaf: Tensor) -> bool:
    """Whether a leaf stands in sums alone that are linear in it."""
    if leaf not in expr.free_symbols:
        return True
    if _is_linear(expr, leaf):
        return any(isinstance(part, sp.Add) or (isinstance(part, Einsum) and _adds(part)) for part in postorder(expr) if leaf in part.free_symbols)
    return bool(expr.args) and all(only_summed(x, leaf) for x in expr.args if isinstance(x, sp.Expr)) and not isinstance(expr, sp.Piecewise)


def _is_linear(expr: sp.Expr, leaf: Tensor) -> bool:
    if expr is leaf or leaf not in expr.free_symbols:
        return True
    inside = [x for x in expr.args if leaf in x.free_symbols]
    if isinstance(expr, sp.Add):
        return all(_is_linear(x, leaf) for x in inside)
    if isinstance(expr, (sp.Mul, LINEAR)):
        return (len(inside) == 1 or isinstance(expr, Concatenate)) and all(_is_linear(x, leaf) for x in inside)
    return False


def _adds(operator: Einsum) -> bool:
    _ins, out = operator.spec
    return any(size != 1 and c not in out for c, size in operator.sizes().items())


def agree(truths: Sequence[Truth], leaves: Sequence[Leaf], seed: int) -> bool:
    """Whether two forms are the same function, at a few arguments of moderate size."""
    rng = np.random.default_rng(seed)
    for _ in range(3):
        point = {t: rng.normal(size=t.shape) if labels is None else rng.integers(labels, size=t.shape) for t, _, labels in leaves}
        for index in [tuple(int(rng.integers(size)) for size in truths[0].last.shape) for _ in range(2)]:
            try:
                a, b = (truth.at(point, index) for truth in truths)
            except UnsettledError:
                continue
            if abs(a - b) > mpmath.mpf(10) ** -13 * max(abs(a), abs(b)):
                return False
    return True


# --- code ------------------------------------------------------------------------------------------------------------------------


def code(form: sp.Expr, inner: Mapping[Tensor, sp.Expr], leaves: Sequence[Leaf]) -> str:
    """A module with `value(...)`, as generated modules compute the form and what it reads besides the leaves."""
    printer = PythonPrinter()
    lines, left = [], dict(inner)
    while left:  # what depends on nothing that is still to come
        t = next(t for t, e in left.items() if left.keys().isdisjoint(e.free_symbols))
        lines.append(f"    {t.name} = {printer.plain(left.pop(t))}")
    lines.append(f"    return {printer.plain(form)}")
    head = f"def value({', '.join(leaf.tensor.name for leaf in leaves)}):\n"
    return "\n\n\n".join(["import numpy as np\n\nDTYPE = np.float64", *printer.sources(), head + "\n".join(lines)]) + "\n"


def errors(sources: Sequence[str], truths: Sequence[Truth], leaves: Sequence[Leaf], names: Mapping[Tensor, str], samples: int, seed: int) -> list[list[Found]]:
    """The errors of two forms at every argument at which the formula has a value. Of each result one entry is looked at."""
    rng = random.Random(seed)
    functions = {source: load_source(source, "formula").value for source in sources}
    found: list[list[Found]] = [[] for _ in sources]
    for point in points(leaves, samples, seed):
        with np.errstate(all="ignore"):
            values = {source: np.asarray(f(*(point[leaf.tensor][()] for leaf in leaves))) for source, f in functions.items()}
        index = tuple(rng.randrange(size) for size in values[sources[0]].shape)
        settled_by = _settled(truths, point, index)
        if settled_by is None:
            continue
        truth, exact = settled_by
        at = {names[t]: x.tolist() for t, x in point.items()}
        off = {source: _error(float(value[index]), exact, truth, point, index) for source, value in values.items()}
        for errors_of, source in zip(found, sources, strict=True):
            errors_of.append(Found(off[source], at))
    return found


def _settled(truths: Sequence[Truth], point: Point, index: Sequence[int]) -> tuple[Truth, Any] | None:
    """The true value: of the formula as written, or of the one that is computed where so many digits do not settle the first."""
    for truth in truths:
        try:
            return truth, truth.at(point, index)
        except UnsettledError:
            continue
    return None


def _error(found: float, exact: Any, truth: Truth, point: Point, index: Sequence[int]) -> float:
    largest = max(float(np.max(np.abs(x))) for x in point.values())
    return judged(found, exact, largest, lambda enough: truth.unit(point, index, enough))


def judged(found: float, exact: Any, largest: float, unit: Callable[[Any], Any]) -> float:
    """The error in units in the last place, or in what `unit(enough)` says that a change by one such unit makes of the result. `largest`: of the
    inputs; if it is far from the end of the range of floats, so are the terms of sums of them."""
    plain = ulps(found, exact)
    if plain <= 4 or (plain == inf and largest < 2.0**300):
        return plain
    with mpmath.workdps(60):
        off, beyond = abs(mpmath.mpf(found) - exact) if isfinite(found) else mpmath.inf, mpmath.mpf(2) ** 1024
        change = unit(min(off * 2**52, beyond))
        if change >= beyond:  # terms of a sum are beyond the range of floats
            return 0.0
        return min(plain, float(off / change * 2**52)) if change else plain


__all__ = ["FEW", "STEP", "Found", "Leaf", "Truth", "agree", "code", "errors", "judged", "moved_by_a_unit", "only_summed"]
