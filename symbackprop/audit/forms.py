"""An equation as it is written and as it is computed, as two functions of the same values; and how far what generated code makes of them is from what
mpmath does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from math import frexp, inf, isfinite
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy as sp

from symbackprop.audit.passes import Values
from symbackprop.audit.precision import ulps
from symbackprop.audit.stability_report import LIMIT, EquationStability, Measured, Place
from symbackprop.audit.truth import Change, Truth, true_value
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.load import load_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.scan import Bundle, Part, Scan
from symbackprop.graph.operators.softmax_slopes import ShareSlope
from symbackprop.graph.operators.solve import Solve
from symbackprop.graph.tensor import Tensor

BITS = 4000  # more than exponents of floats are apart
UNITS = mpmath.mpf(2) ** 52  # in the last place of 1
BEYOND = mpmath.mpf(2) ** 1024  # no float is as large
NEARLY = mpmath.mpf(2) ** 1000  # a sum of such numbers, or twice one of them, may be beyond it


class Forms:
    """An equation as written and as computed, as functions of the same leaves: what neither form computes from the other leaves."""

    def __init__(self, name: str, written: Mapping[str, sp.Expr], finals: Mapping[str, sp.Expr], moved: Collection[str] = ()) -> None:
        forms = written[name], finals[name]
        self.apart = name in moved  # two functions, each with a truth of its own
        inner: tuple[dict[str, sp.Expr], dict[str, sp.Expr]] = ({}, {}) if self.apart else taken_apart(name, written, finals, moved)
        tensors: dict[str, Tensor] = {}
        for expr in (*forms, *inner[0].values(), *inner[1].values()):
            if expr.has(Scan):
                raise UnsupportedError("not measured: it is a recurrence; its equations are those of one step")
            if expr.has(Part, Bundle):
                raise UnsupportedError("not measured: it takes its value from the recurrence")
            if expr.has(Solve):
                raise UnsupportedError("not measured: how exact the solution of linear equations is depends on the matrix")
            tensors |= {t.name: Tensor(t.name, t.shape, "data") for t in tensors_in(expr)}
        forms = _plain(forms[0], tensors), _plain(forms[1], tensors)
        made = [{tensors[n]: _plain(e, tensors) for n, e in own.items()} for own in inner]
        self.leaves = {n: t for n, t in sorted(tensors.items()) if n not in inner[0]}
        self.same = forms[0] == forms[1] and made[0] == made[1]
        self.truths = [Truth(_expanded(form, own)) for form, own in zip(forms, made, strict=True)][: 1 if self.same else 2]
        self.functions = self.code(forms, made)[: 1 if self.same else 2]

    def code(self, forms: Sequence[sp.Expr], made: Sequence[Mapping[Tensor, sp.Expr]]) -> list[Callable[..., Any]]:
        """Functions of the leaves that compute the forms, and what they read besides, as generated modules do."""
        printer = PythonPrinter()
        symbols = sorted({*self.leaves.values(), *made[0], *made[1]}, key=str)
        printer.names = {t: f"v_{i}" for i, t in enumerate(symbols)}
        functions = []
        for k, (form, own) in enumerate(zip(forms, made, strict=True)):
            lines, left = [], dict(own)
            while left:  # what depends on nothing that is still to come
                t = next(t for t, e in left.items() if left.keys().isdisjoint(e.free_symbols))
                lines.append(f"    {printer.names[t]} = {printer.plain(left.pop(t))}")
            head = f"def form_{k}({', '.join(printer.names[t] for t in self.leaves.values())}):"
            functions.append("\n".join([head, *lines, f"    return {printer.plain(form)}"]))
        module = load_source("\n\n\n".join(["import numpy as np\n\nDTYPE = np.float64", *printer.sources(), *functions]) + "\n", "formula")
        return [module.form_0, module.form_1]

    def measured(self, finding: EquationStability, arguments: Sequence[Values], count: int, rng: np.random.Generator) -> EquationStability:
        """The finding with the errors of both forms at so many arguments, where the formula has a value. Of each result one entry is looked at."""
        entries: list[list[Entry]] = [[] for _ in self.functions]
        for point, index, values in self.chosen([self.computed(point, rng) for point in arguments], count):
            exact = [true_value([truth], point, index) for truth in self.truths] if self.apart else [true_value(self.truths, point, index)] * len(values)
            for own, value, true in zip(entries, values, exact, strict=True):
                if true is not None:
                    own.append(Entry(point, index, value, true, ulps(value, true)))
        if not all(entries):
            return replace(finding, note="not measured: mpmath settled on no value at any argument")
        errors = [measured(own, truth) for own, truth in zip(entries, self.truths, strict=True)]
        return replace(finding, was=errors[0], now=errors[-1], inputs=tuple(self.leaves), arguments=len(entries[-1]))

    def computed(self, point: Values, rng: np.random.Generator) -> "Computation":
        """One entry of what the forms make of an argument: any, or one that is not finite or the smallest, which is where something cancels or is lost."""
        with np.errstate(all="ignore"):
            values = [np.asarray(f(*(point[n][()] for n in self.leaves)), dtype=float) for f in self.functions]
        sizes = np.min([np.nan_to_num(np.abs(value), nan=-1.0, posinf=-1.0) for value in values], axis=0)
        place = int(rng.integers(sizes.size)) if rng.random() < 0.5 else int(np.argmin(sizes))
        index = tuple(int(i) for i in np.unravel_index(place, sizes.shape))
        return Computation(point, index, [float(value[index]) for value in values])

    def chosen(self, found: Sequence["Computation"], count: int) -> list["Computation"]:
        """The first half of so many, and others whose results, beside their arguments, are of as different sizes as there are, the small ones first: where
        something cancels or is lost, the result is small or not finite."""
        groups: dict[int, list[Computation]] = {}
        for x in found[count // 2 :]:
            groups.setdefault(x.size, []).append(x)
        others = [x for row in zip_longest(*(groups[size] for size in sorted(groups))) for x in row if x is not None]
        return [*found[: count // 2], *others[: count - count // 2]]


class Computation(NamedTuple):
    """An argument, an entry, and what the forms make of it."""

    point: Values
    entry: tuple[int, ...]
    values: list[float]

    @property
    def size(self) -> int:
        """How many powers of two the smaller result is larger than the largest argument; what is not finite is the smallest of all, then 0."""
        if not all(map(isfinite, self.values)):
            return -BITS - 1
        result, largest = min(map(abs, self.values)), max(float(np.max(np.abs(x), initial=0)) for x in self.point.values())
        return frexp(result)[1] - frexp(largest)[1] if result else -BITS


def _plain(expr: sp.Expr, tensors: Mapping[str, Tensor]) -> sp.Expr:
    """The expression in tensors that are nothing but their names."""
    return expr.xreplace({t: tensors[t.name] for t in tensors_in(expr)})


def _expanded(form: sp.Expr, made: Mapping[Tensor, sp.Expr]) -> sp.Expr:
    for _ in made:
        form = form.xreplace(made)
    return form


def taken_apart(
    name: str, written: Mapping[str, sp.Expr], finals: Mapping[str, sp.Expr], moved: Collection[str] = ()
) -> tuple[dict[str, sp.Expr], dict[str, sp.Expr]]:
    """The nodes that are taken apart, with their equations as written and as computed, until the forms of an equation read the same: first those that are
    made of what only one form reads, as a = tanh(z) where the other reads z, then what only one reads; of several the youngest. Besides these shares, whose
    sum is 1 as exact numbers alone, and what has another meaning in the two systems (`moved`)."""

    def read(*exprs: sp.Expr) -> set[str]:
        return {t.name for expr in exprs for t in tensors_in(expr)}

    place = {n: i for i, n in enumerate(written) if n != name and read(written[n])}
    inner = {n for part in finals[name].atoms(ShareSlope) for n in read(part.operands[0]) if n in place}
    both = {t.name for t in tensors_in(written[name]) if t.role == "adjoint"} & read(finals[name])  # no rule reads through these
    while True:
        was = _leaves(read(written[name]), inner, lambda n: read(written[n]))
        now = _leaves(read(finals[name]), inner, lambda n: read(finals.get(n, written[n])))
        apart = was ^ now
        first = [n for n in (was | now) & place.keys() if n in moved or (n not in both and not apart.isdisjoint(read(written[n])))]
        first = first or [n for n in apart if n in place]
        if not first:
            return {n: written[n] for n in inner}, {n: finals.get(n, written[n]) for n in inner}
        inner.add(max(first, key=place.__getitem__))


def _leaves(names: set[str], inner: set[str], read: Callable[[str], set[str]]) -> set[str]:
    """What the names are made of in the end."""
    while found := names & inner:
        names = (names - found).union(*map(read, found))
    return names


class Entry(NamedTuple):
    """One entry of what a form makes of an argument: what was found, what is true, and how far apart they are in units in the last place."""

    point: Values
    place: tuple[int, ...]
    found: float
    true: Any
    ulps: float


def measured(entries: Sequence[Entry], truth: Truth) -> Measured:
    """The worst of them. Those that are far off come first, so that few need to be judged."""
    worst: list[tuple[float, Place]] = []  # by the error, and by its part of the result
    broken = 0
    for entry in sorted(entries, key=lambda e: -e.ulps):
        if worst and entry.ulps <= worst[0][0] < inf and worst[1][0] > 0:
            break
        relative, error, terms = judged(entry, lambda entry=entry: truth.change(entry.point, entry.place))  # type: ignore[misc]
        broken += error == inf
        place = Place(entry.point, entry.place, entry.found, entry.true, relative, terms)
        worst = [max(pair, key=lambda x: x[0]) for pair in zip(worst or [(-1.0, place)] * 2, [(error, place), (relative, place)], strict=True)]
    places = [replace(place, at={n: np.asarray(x).tolist() for n, x in place.at.items()}) for _, place in worst]
    return Measured(worst[0][0], broken, *places)


def judged(entry: Entry, change: Callable[[], Change]) -> tuple[float, float, float]:
    """The error in units in the last place of the true value; the same where a change by such units of what is excused makes more; and in units of the
    largest term of any sum. A number that is not finite is right where the true value is beyond the range of floats, or near its end, or where a
    term of a sum is beyond it."""
    if not isfinite(entry.found) and abs(entry.true) >= NEARLY:
        return 0.0, 0.0, 0.0
    if entry.ulps <= LIMIT:
        return entry.ulps, entry.ulps, entry.ulps
    with mpmath.workdps(60):
        excused, largest = change()
        if not isfinite(entry.found):
            beyond = max(excused, largest) >= BEYOND
            return (0.0, 0.0, 0.0) if beyond else (entry.ulps, entry.ulps, entry.ulps)
        units = abs(mpmath.mpf(entry.found) - entry.true) * UNITS
        in_excused, in_terms = (min(entry.ulps, float(units / size)) if size else entry.ulps for size in (excused, largest))
        return entry.ulps, in_excused, in_terms


__all__ = ["Entry", "Forms", "judged", "taken_apart"]
