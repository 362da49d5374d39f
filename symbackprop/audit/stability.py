"""How exact the equations of a network are as they are written, and as they are computed: each is evaluated in float64 at what it can meet when the
network is computed at inputs from the whole range of floating-point numbers (`passes`), and held against mpmath (`truth`).

Every equation is measured by itself, as a function of the values that it reads: what it makes of exact inputs is its own error. Where it was
rewritten in terms of another node's input, 1 - a² of a = tanh(z) in terms of z, both forms are measured as functions of that. So are they where a form
takes for granted what holds of exact values alone, the slope of a softmax that its shares add up to 1.
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.5 (forward error).
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import sympy as sp

from symbackprop.audit.forms import Forms, taken_apart
from symbackprop.audit.passes import Input, Passes, Values, inputs_of
from symbackprop.audit.sized import SIZE, sized
from symbackprop.audit.stability_report import EquationStability, Stability
from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.differentiate import adjoints
from symbackprop.calculus.stabilise import Computed, computed
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, tensors_in
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.shapes import numeric
from symbackprop.graph.tensor import Tensor

FEW = 12  # arguments, at least
MORE = 4  # times as many are computed than measured
MANY = 64  # numbers in an argument; of larger ones fewer are measured
ARRIVES = (-20, -1)  # the exponents of gradients that arrive: what is lost below the smallest normal number they make no larger


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
        forward = [t.name for t in system.forward if t.definition is not None] + [t.name for t, e in stable.adjoints.equations if _forwards(e)]
        inputs = inputs_of(system, at, list(written.values()))
        self.moved = moved_adjoints(system, stable)
        self.passes = Passes(inputs, {n: self.small_finals.get(n, self.small_written.get(n)) for n in forward}, samples, seed)

    def rows(self, name: str) -> Iterator[EquationStability]:
        """The stability of an equation; of a recurrence that of the equations of one step after it."""
        forms, small = (self.written, self.finals), (self.small_written, self.small_finals)
        yield self.row(name, forms, small, "", name)
        before, after = self.written.get(name), self.finals.get(name)
        if isinstance(before, Scan) and isinstance(after, Scan):
            inside = f"{after.body.name.removesuffix('_backwards')}."
            steps = [[_steps(form[name], form) for form in both] for both in (forms, small)]
            for symbol in before.body.symbols:
                yield self.row(symbol.name, steps[0], steps[1], inside, f"{name}.{symbol.name}")

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
            pair = Forms(name, small[0], small[1], self.moved)
        except UnsupportedError as error:
            return replace(finding, note=str(error))
        if not pair.leaves:
            return replace(finding, note="a constant")
        rng = np.random.default_rng([self.seed, zlib.crc32(title.encode())])
        largest = max(prod(numeric(t.shape, {})) for t in pair.leaves.values())
        count = FEW + int(self.samples * (1 + len(pair.leaves)) / 2 * (min(MANY / largest, 1) / 3 if largest > 1 else 1))
        return pair.measured(finding, points(self.passes, pair.leaves, inside, MORE * count, rng), count, rng)


def _forwards(expr: sp.Expr) -> bool:
    """Whether an equation of the backward pass names a result of the forward pass."""
    return isinstance(expr, Part) and all(t.role != "adjoint" for t in tensors_in(expr))


def _steps(scan: sp.Expr, forms: Mapping[str, sp.Expr]) -> dict[str, sp.Expr]:
    """The equations of one step; of a recurrence backwards those of the step forwards besides, whose values it reads."""
    assert isinstance(scan, Scan)
    forwards = [e.body for e in forms.values() if isinstance(e, Scan) and f"{e.body.name}_backwards" == scan.body.name]
    return {symbol.name: expr for body in (*forwards, scan.body) for symbol, expr in body.equations}


def moved_adjoints(system: System, stable: Computed) -> set[str]:
    """The adjoints that are others in the computed system: where an equation that read a = tanh(z) reads z, what it adds to the slope of a it adds to that
    of z. The sum of all paths to z stays."""
    written, finals = ({t.name: e for t, e in s.equations} for s in (system, stable.system))
    nodes = {n for name in written.keys() & finals.keys() for n in taken_apart(name, written, finals)[0]}
    return {t.name for t, _ in adjoints(system).equations if t.adjoint_of is not None and t.adjoint_of[1].name in nodes}


def points(passes: Passes, leaves: Mapping[str, Tensor], inside: str, count: int, rng: np.random.Generator) -> list[Values]:
    """Values of the leaves in so many passes that are as different as there are. A gradient that arrives from the loss, a factor of everything, is of
    moderate size."""
    known = [n for n in leaves if inside + n in passes.known]
    made: list[Values] = []
    for values in passes.different([inside + n for n in known], count, rng):
        step = int(rng.integers(SIZE))
        point = {n: np.asarray(values[inside + n])[(step % len(values[inside + n]),) if inside else ()] for n in known}
        point |= {n: Input(n, t.shape).numbers(rng, ARRIVES) for n, t in leaves.items() if n not in point}
        made.append(point)
    return made


__all__ = ["measure"]
