"""How exact the equations of a network are as they are written, and as they are computed: each is evaluated in float64 at what it can meet when the
network is computed at inputs from the whole range of floating-point numbers (`passes`), and held against mpmath (`truth`).

Every equation is measured by itself, as a function of the values that it reads: what it makes of exact inputs is its own error. Where it was
rewritten in terms of another node's input, 1 - a² of a = tanh(z) in terms of z, both forms are measured as functions of that. So are they where a form
takes for granted what holds of exact values alone, the slope of a softmax that its shares add up to 1.
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.5 (forward error).
"""

import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from math import inf, isfinite
from typing import Any

import mpmath
import numpy as np
import sympy as sp

from symbackprop.audit.passes import MODERATE, Input, Passes, Values, inputs_of
from symbackprop.audit.precision import ulps
from symbackprop.audit.sized import SIZE, sized
from symbackprop.audit.stability_report import LIMIT, EquationStability, Measured, Place, Stability
from symbackprop.audit.truth import Truth, plain, true_value
from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.differentiate import adjoints
from symbackprop.calculus.stabilise import Computed, computed
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.load import load_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.operators.scan import Bundle, Part, Scan
from symbackprop.graph.operators.softmax_slopes import ShareSlope
from symbackprop.graph.operators.solve import Solve
from symbackprop.graph.tensor import Tensor

FEW = 12  # arguments, at least
UNITS = mpmath.mpf(2) ** 52  # in the last place of 1
BEYOND = mpmath.mpf(2) ** 1024  # no float is as large
NEARLY = mpmath.mpf(2) ** 1000  # a sum of such numbers, or twice one of them, may be beyond it


def measure(system: System, samples: int = 60, seed: int = 0, progress: bool = False) -> Stability:
    """The stability of every equation and adjoint of a network."""
    system = lift(system) if is_single_sample(system) else system
    stable = computed(system)
    written = {t.name: expr for t, expr in [*system.equations, *adjoints(system).equations]}
    finals = {t.name: expr for t, expr in [*stable.system.equations, *stable.adjoints.equations]}
    report = _Report(system, stable, written, finals, samples, seed)
    names = [*written, *(name for name in finals if name not in written)]
    return Stability({f.name: f for name in _shown(names, progress) for f in report.rows(name)}, samples)


def _shown(names: Sequence[str], progress: bool) -> Iterator[str]:
    if not progress:
        yield from names
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm; install it with: pip install symbackprop[progress]") from None
    yield from tqdm(names, desc="stability", unit="equation")


class _Report:
    """The equations of a network as written and as computed, at fixed sizes, and what they read."""

    def __init__(
        self, system: System, stable: Computed, written: dict[str, sp.Expr], finals: dict[str, sp.Expr], samples: int, seed: int
    ) -> None:
        self.stable, self.written, self.finals, self.samples, self.seed = stable, written, finals, samples, seed
        backward = [t for a in (adjoints(system), stable.adjoints) for t, _ in a.equations]
        at, (self.small_written, self.small_finals) = sized(written, finals, defined=[*system.tensors, *stable.system.tensors, *backward])
        forward = {t.name for t in stable.system.forward} | {t.name for t, e in stable.adjoints.equations if _forwards(e)}
        inputs = inputs_of(stable.system, at, list(written.values()))
        self.moved = moved_adjoints(system, stable)
        self.passes = Passes(inputs, {n: e for n, e in self.small_finals.items() if n in forward}, samples, seed)

    def rows(self, name: str) -> Iterator[EquationStability]:
        """The stability of an equation; of a recurrence that of the equations of one step after it."""
        forms, small = (self.written, self.finals), (self.small_written, self.small_finals)
        yield self.row(name, forms, small, "", name)
        before, after = self.written.get(name), self.finals.get(name)
        if isinstance(before, Scan) and isinstance(after, Scan):
            inside = f"{after.body.name.removesuffix('_backwards')}."
            steps = [[_steps(form[name], form) for form in both] for both in (forms, small)]
            for symbol in before.body.symbols:
                yield self.row(symbol.name, *steps, inside, f"{name}.{symbol.name}")

    def row(
        self, name: str, forms: Sequence[Mapping[str, sp.Expr]], small: Sequence[Mapping[str, sp.Expr]], inside: str, title: str
    ) -> EquationStability:
        """The stability of one equation, or of one of the steps of a recurrence, whose values stand under names that begin with `inside`."""
        rules = tuple(r for rewrite in self.stable.rewrites if rewrite.name == title for r in rewrite.rules)
        before, after = (form.get(name) for form in forms)
        finding = EquationStability(title, before, after, rules)
        if after is None:
            return replace(finding, note="not computed: other rewritten equations no longer read it")
        if before is None:
            return replace(finding, note="only in the equations that are computed")
        try:
            pair = Forms(name, *small, self.moved)
        except UnsupportedError as error:
            return replace(finding, note=str(error))
        if not pair.leaves:
            return replace(finding, note="a constant")
        rng = np.random.default_rng([self.seed, zlib.crc32(title.encode())])
        return pair.measured(finding, points(self.passes, pair.leaves, inside, self.samples, rng), rng)


def _forwards(expr: sp.Expr) -> bool:
    """Whether an equation of the backward pass names a result of the forward pass."""
    return isinstance(expr, Part) and all(t.role != "adjoint" for t in tensors_in(expr))


def _steps(scan: sp.Expr, forms: Mapping[str, sp.Expr]) -> dict[str, sp.Expr]:
    """The equations of one step; of a recurrence backwards those of the step forwards besides, whose values it reads."""
    assert isinstance(scan, Scan)
    forwards = [e.body for e in forms.values() if isinstance(e, Scan) and f"{e.body.name}_backwards" == scan.body.name]
    return {symbol.name: expr for body in (*forwards, scan.body) for symbol, expr in body.equations}


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

    def measured(self, finding: EquationStability, arguments: Sequence[Values], rng: np.random.Generator) -> EquationStability:
        """The finding with the errors of both forms at all arguments at which the formula has a value. Of each result one entry is looked at."""
        errors: list[_Errors] = [_Errors() for _ in self.functions]
        for point in arguments:
            with np.errstate(all="ignore"):
                values = [np.asarray(f(*(point[n][()] for n in self.leaves)), dtype=float) for f in self.functions]
            index = tuple(int(rng.integers(size)) for size in values[0].shape)
            for truths, own in [(self.truths[k : k + 1], [k]) for k in range(len(errors))] if self.apart else [(self.truths, range(len(errors)))]:
                if (settled_by := true_value(truths, point, index)) is not None:
                    truth, exact = settled_by
                    change = cache(lambda truth=truth, point=point, index=index: truth.change(point, index))  # type: ignore[misc]
                    for k in own:
                        errors[k].add(float(values[k][index]), exact, change, point, index)
        if not all(found.count for found in errors):
            return replace(finding, note="not measured: mpmath settled on no value at any argument")
        was, now = errors[0].measured(), errors[-1].measured()
        return replace(finding, was=was, now=now, inputs=tuple(self.leaves), arguments=errors[-1].count)


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
    while True:
        was = _leaves(read(written[name]), inner, lambda n: read(written[n]))
        now = _leaves(read(finals[name]), inner, lambda n: read(finals.get(n, written[n])))
        apart = was ^ now
        first = [n for n in (was | now) & place.keys() if n in moved or not apart.isdisjoint(read(written[n]))] or [n for n in apart if n in place]
        if not first:
            return {n: written[n] for n in inner}, {n: finals.get(n, written[n]) for n in inner}
        inner.add(max(first, key=place.__getitem__))


def _leaves(names: set[str], inner: set[str], read: Callable[[str], set[str]]) -> set[str]:
    """What the names are made of in the end."""
    while found := names & inner:
        names = (names - found).union(*map(read, found))
    return names


def moved_adjoints(system: System, stable: Computed) -> set[str]:
    """The adjoints that are others in the computed system: where an equation that read a = tanh(z) reads z, what it adds to the slope of a it adds to that
    of z. The sum of all paths to z stays."""
    written, finals = ({t.name: e for t, e in s.equations} for s in (system, stable.system))
    nodes = {n for name in written.keys() & finals.keys() for n in taken_apart(name, written, finals)[0]}
    return {t.name for t, _ in adjoints(system).equations if t.adjoint_of is not None and t.adjoint_of[1].name in nodes}


class _Errors:
    """The errors of one form so far."""

    def __init__(self) -> None:
        self.count = self.above = self.broken = 0
        self.worst: tuple[float, Place | None] = (-1.0, None)
        self.relative: tuple[float, Place | None] = (-1.0, None)

    def add(self, found: float, exact: Any, change: Callable[[], Any], point: Values, index: tuple[int, ...]) -> None:
        relative, error, terms = judged(found, exact, change)
        self.count += 1
        self.above += error > LIMIT
        self.broken += error == inf
        for name, size in (("worst", error), ("relative", relative)):
            if size > getattr(self, name)[0]:
                at = {n: np.asarray(point[n]).tolist() for n in point}
                setattr(self, name, (size, Place(at, index, found, exact, relative, terms)))

    def measured(self) -> Measured:
        worst, relative = self.worst[1], self.relative[1]
        assert worst is not None
        assert relative is not None
        return Measured(self.worst[0], self.above, self.broken, worst, relative)


def judged(found: float, exact: Any, change: Callable[[], Any]) -> tuple[float, float, float]:
    """The error in units in the last place of the true value; the same where a change by such units of what is excused makes more; and in units of the
    largest term of any sum. A number that is not finite is right where the true value is beyond the range of floats, or near its end, or where a
    term of a sum is beyond it."""
    if not isfinite(found) and abs(exact) >= NEARLY:
        return 0.0, 0.0, 0.0
    plainly = ulps(found, exact)
    if plainly <= LIMIT:
        return plainly, plainly, plainly
    with mpmath.workdps(60):
        excused, largest = change()
        if not isfinite(found):
            beyond = max(excused, largest) >= BEYOND
            return (0.0, 0.0, 0.0) if beyond else (plainly, plainly, plainly)
        units = abs(mpmath.mpf(found) - exact) * UNITS
        return plainly, *(min(plainly, float(units / size)) if size else plainly for size in (excused, largest))


def points(passes: Passes, leaves: Mapping[str, Tensor], inside: str, samples: int, rng: np.random.Generator) -> list[Values]:
    """Values of the leaves in passes that are as different as there are: a few, and `samples` for the first leaf and half as many for every other one, or
    a third of these where they hold several numbers. A gradient that arrives from the loss, a factor of everything, is of moderate size."""
    known = [n for n in leaves if inside + n in passes.known]
    chosen: list[Values] = []
    count = samples * (1 + max(len(known), 1)) // (6 if any(leaves[n].shape for n in known) else 2)
    for values in passes.different([inside + n for n in known], FEW + count, rng):
        step = int(rng.integers(SIZE))
        point = {n: np.asarray(values[inside + n])[(step % len(values[inside + n]),) if inside else ()] for n in known}
        point |= {n: Input(n, t.shape).numbers(rng, MODERATE) for n, t in leaves.items() if n not in point}
        chosen.append(point)
    return chosen


__all__ = ["Forms", "judged", "measure", "plain"]
