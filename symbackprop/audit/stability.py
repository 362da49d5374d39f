"""How exact the equations of a network are as they are written, and as they are computed: each is evaluated in float64 at arguments from the
whole range of floating-point numbers, and held against mpmath.

Every equation is measured by itself, as a function of the values that it reads: what it makes of exact inputs is its own error. Where it was
rewritten in terms of another node's input, 1 - a² of a = tanh(z) in terms of z, both forms are measured as functions of that. What is elementwise
is measured in scalars, many at a time; what has sums or other operators in it by `whole`, on small tensors.
Source: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.5 (forward error).
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf, ldexp
from typing import Any, NamedTuple

import mpmath
import numpy as np
import sympy as sp

from symbackprop.audit import whole
from symbackprop.audit.precision import UnsettledError, precise, settled
from symbackprop.audit.small import SIZE, small
from symbackprop.audit.stability_report import EquationStability, Measured, Stability
from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.differentiate import adjoints
from symbackprop.calculus.stabilise import Computed, computed
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.load import load_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, dims_in, tensors_in
from symbackprop.graph.functions import expm1, log1p, relu, sigmoid, softplus, step
from symbackprop.graph.labels import index_data
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.stable import Stable, guarded
from symbackprop.graph.tensor import Tensor

LARGEST = (1023, 2 - 2**-52)
EXTREMES = (0.0, 5e-324, -5e-324, 2.0**-1022, -(2.0**-1022), ldexp(*LARGEST[::-1]), -ldexp(*LARGEST[::-1]), 1.0, -1.0)
DIGITS = (400, 800)


class Sampling(NamedTuple):
    """Of the inputs that are labels, by name, how many there are of them; how many arguments of each kind there are, and the seed of their generator."""

    labels: Mapping[str, int]
    samples: int
    seed: int


def measure(system: System, samples: int = 60, seed: int = 0, progress: bool = False) -> Stability:
    """The stability of every equation and adjoint of a network."""
    system = lift(system) if is_single_sample(system) else system
    stable = computed(system)
    written = {**dict(system.equations), **dict(adjoints(system).equations)}
    by_name = {t.name: expr for t, expr in written.items()}
    finals = _finals(stable)
    names = [*by_name, *(name for name in finals if name not in by_name)]
    labels = {t.name: min(size, SIZE) if isinstance(size, int) else SIZE for t, size in index_data(system).items()}
    sampling = Sampling(labels, samples, seed)
    found = []
    for name in _shown(names, progress):
        found.append(_equation(name, by_name, finals, stable, sampling))
        before, after = by_name.get(name), finals.get(name)
        if isinstance(before, Scan) and isinstance(after, Scan):
            inside = _steps(before, by_name), _steps(after, finals)
            found += [_equation(s.name, *inside, stable, sampling, f"{name}.") for s in before.body.symbols]
    return Stability({f.name: f for f in found}, samples)


def _steps(scan: Scan, forms: Mapping[str, sp.Expr]) -> dict[str, sp.Expr]:
    """The equations of one step; of a recurrence backwards those of the step forwards besides, whose values it reads."""
    forwards = [e.body for e in forms.values() if isinstance(e, Scan) and f"{e.body.name}_backwards" == scan.body.name]
    return {symbol.name: expr for body in (*forwards, scan.body) for symbol, expr in body.equations}


def _finals(stable: Computed) -> dict[str, sp.Expr]:
    return {t.name: expr for t, expr in [*stable.system.equations, *stable.adjoints.equations]}


def _shown(names: Sequence[str], progress: bool) -> Iterator[str]:
    if not progress:
        yield from names
        return
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError("progress=True needs tqdm; install it with: pip install symbackprop[progress]") from None
    yield from tqdm(names, desc="stability", unit="equation")


def _equation(
    name: str, written: dict[str, sp.Expr], finals: dict[str, sp.Expr], stable: Computed, sampling: Sampling, inside: str = ""
) -> EquationStability:
    """The stability of one equation, or of one of the steps of a recurrence, whose name stands before it."""
    rules = tuple(r for rewrite in stable.rewrites if rewrite.name == inside + name for r in rewrite.rules)
    return replace(_measured(name, written, finals, rules, sampling), name=inside + name)


def _measured(
    name: str, written: dict[str, sp.Expr], finals: dict[str, sp.Expr], rules: tuple[str, ...], sampling: Sampling
) -> EquationStability:
    before, after = written.get(name), finals.get(name)
    if after is None:
        return EquationStability(name, before, after, rules, note="not computed: other rewritten equations no longer read it")
    if before is None:
        return EquationStability(name, before, after, rules, note="only in the equations that are computed")
    inner, own = _between(name, before, after, written, finals)
    try:
        if any(expr.has(Operator) for expr in (before, after, *inner.values(), *own.values())):
            return _whole(EquationStability(name, before, after, rules), inner, own, sampling)
        forms = _Forms(name, before, after, inner, own)
    except UnsupportedError as error:
        return EquationStability(name, before, after, rules, note=str(error))
    if not forms.leaves:
        return EquationStability(name, before, after, rules, note="a constant")
    return forms.measured(rules, sampling.samples, sampling.seed)


def _between(
    name: str, before: sp.Expr, after: sp.Expr, written: Mapping[str, sp.Expr], finals: Mapping[str, sp.Expr]
) -> tuple[dict[str, sp.Expr], dict[str, sp.Expr]]:
    """The nodes that either form reads and that are made of what else the two read, with their equations as written and as computed. Where
    the two read different ones, those that are made of others are taken apart until they read the same."""

    def read(*exprs: sp.Expr) -> set[str]:
        return {t.name for expr in exprs for t in tensors_in(expr)}

    names = read(before, after)
    both = {t.name for t in tensors_in(before) if t.adjoint_of is not None} & read(after)  # no rule reads through these
    while True:
        inner = {n: written[n] for n in names - both if n in written and n != name and (found := read(written[n])) and found <= names - {n}}
        own = {n: finals.get(n, written[n]) for n in inner}
        apart = {n for n in _leaves(read(before), inner, read) ^ _leaves(read(after), own, read) if n in written and n != name}
        more = read(*(written[n] for n in apart), *own.values()) - names
        if not more:
            return inner, own
        names |= more


def _leaves(names: set[str], inner: Mapping[str, sp.Expr], read: Any) -> set[str]:
    """What the names are made of in the end."""
    while found := names & inner.keys():
        names = (names - found) | read(*(inner[n] for n in found))
    return names


def _whole(
    finding: EquationStability, inner: dict[str, sp.Expr], own: dict[str, sp.Expr], sampling: Sampling
) -> EquationStability:
    """The finding with the errors of an equation that has operators in it."""
    assert finding.before is not None
    assert finding.after is not None
    every = [finding.before, finding.after, *inner.values(), *own.values()]
    arrives = {t.name for expr in every for t in tensors_in(expr) if t.adjoint_of is not None}
    whole_forms = {("", 0): finding.before, ("", 1): finding.after, **{(n, 0): e for n, e in inner.items()}, **{(n, 1): e for n, e in own.items()}}
    for forms, tensors, shortened in small(whole_forms):
        leaves = [whole.Leaf(t, n in arrives, sampling.labels.get(n)) for n, t in sorted(tensors.items()) if n not in inner]
        if not leaves:
            return replace(finding, note="a constant")
        made = [{tensors[n]: forms[n, i] for n in inner if n in tensors} for i in (0, 1)]
        expanded = [forms["", i] for i in (0, 1)]
        for i in (0, 1):
            for _ in made[i]:
                expanded[i] = expanded[i].xreplace(made[i])
        truths = [whole.Truth(expr, leaves, plain) for expr in expanded]
        if not shortened or whole.agree(truths, leaves, sampling.seed):
            break
    sources = [whole.code(forms["", i], made[i], leaves) for i in (0, 1)]
    third = -(-sampling.samples // 3)  # each argument holds several numbers
    was, now = whole.errors(sources, truths, leaves, {t: n for n, t in tensors.items()}, third, sampling.seed)
    if not now:
        return replace(finding, note="not measured: mpmath settled on no value at any argument")
    return replace(finding, was=_worst(was), now=_worst(now), inputs=tuple(n for n in sorted(tensors) if n not in inner), arguments=len(now))


def _worst(found: Sequence[whole.Found]) -> Measured:
    worst = max(found, key=lambda f: f.error)
    return Measured(worst.error, sum(f.error > 4 for f in found), sum(f.error == inf for f in found), worst.at)


class _Forms:
    """One elementwise equation as written and as computed, as functions of the same leaves: what neither form computes from the other leaves."""

    def __init__(self, name: str, before: sp.Expr, after: sp.Expr, inner: Mapping[str, sp.Expr], own: Mapping[str, sp.Expr]) -> None:
        self.name, self.before, self.after = name, before, after
        self.slots: dict[str, sp.Symbol] = {}
        self.gradients = {t for t in tensors_in(before) | tensors_in(after) if t.adjoint_of is not None}
        self.forms = (self.body(before), self.body(after))
        self.inner, self.own = ({n: self.body(e) for n, e in made.items()} for made in (inner, own))
        self.leaves = sorted(self.slots.keys() - self.inner.keys())

    def body(self, expr: sp.Expr) -> sp.Expr:
        """The expression in scalars: tensors by their names."""
        table: dict[sp.Basic, sp.Basic] = {t: self.slot(t.name) for t in tensors_in(expr)} | {d: sp.Integer(SIZE) for d in dims_in(expr)}
        return expr.xreplace(table)

    def slot(self, name: str) -> sp.Symbol:
        return self.slots.setdefault(name, sp.Symbol(name, real=True))

    def measured(self, rules: tuple[str, ...], samples: int, seed: int) -> EquationStability:
        arrives = [name in {t.name for t in self.gradients} for name in self.leaves]
        points = list(_arguments(arrives, samples, seed))
        truths = [self.truth(0), self.truth(1)]
        kept, exact = [], []
        for point in points:
            value = _value(truths, point)
            if value is not None:
                kept.append(point)
                exact.append(value)
        if not kept:
            return EquationStability(self.name, self.before, self.after, rules, note="not measured: mpmath settled on no value at any argument")
        was, now = (_errors(self.source(i), kept, exact, self.leaves, self.unit(i)) for i in (0, 1))
        if not rules and self.forms[0] == self.forms[1]:
            was = now
        return EquationStability(self.name, self.before, self.after, rules, was, now, tuple(self.leaves), len(kept))

    def expanded(self, which: int) -> sp.Expr:
        expr, inner = self.forms[which], (self.inner, self.own)[which]
        for _ in range(len(inner) + 1):
            expr = expr.xreplace({self.slots[n]: e for n, e in inner.items()})
        return expr

    def truth(self, which: int) -> Any:
        return precise([self.slots[n] for n in self.leaves], plain(self.expanded(which)))

    def unit(self, which: int) -> Callable[[tuple[float, ...], Any], Any]:
        """By how much the form changes if the inputs that only sums read do (see `whole`)."""
        summed = [i for i, n in enumerate(self.leaves) if whole.only_summed(self.expanded(which), self.slots[n])]
        true = self.truth(which)

        def change(point: tuple[float, ...], enough: Any) -> Any:
            with mpmath.workdps(whole.FEW[0]):
                try:
                    numbers = [mpmath.mpf(x) for x in point]
                    moved = ([*numbers[:i], whole.moved_by_a_unit(point[i]), *numbers[i + 1 :]] for i in summed)
                    middle = true(*numbers)
                    return sum((abs(true(*m) - middle) / whole.STEP for m in moved), mpmath.mpf(0))
                except (ZeroDivisionError, ValueError, TypeError, OverflowError):
                    return mpmath.mpf(0)

        return change

    def source(self, which: int) -> str:
        """A function of arrays for the leaves, as generated code computes the form."""
        names = {s: f"v_{i}" for i, s in enumerate(self.slots.values())}
        printer = PythonPrinter(names={s: names[s] for s in names})
        inner = (self.inner, self.own)[which]
        lines, left = [], dict(inner)
        while left:  # what depends on nothing that is still to come
            n = next(n for n, e in left.items() if not any(s.name in left for s in e.free_symbols))
            lines.append(f"    {names[self.slots[n]]} = {_arrays(printer, left.pop(n))}")
        lines.append(f"    return {_arrays(printer, self.forms[which])}")
        arguments = ", ".join(names[self.slots[n]] for n in self.leaves)
        head = "import numpy as np\n\nDTYPE = np.float64"
        return "\n\n\n".join([head, *helper_source(printer.helpers), f"def value({arguments}):\n" + "\n".join(lines)]) + "\n"


def _value(truths: Sequence[Any], point: tuple[float, ...]) -> Any:
    """The true value: of the formula as written, or of the one that is computed where so many digits do not settle the first."""
    for true in truths:
        try:
            return settled([true], point, DIGITS)[0]
        except UnsettledError:
            continue
    return None


def _arrays(printer: PythonPrinter, expr: sp.Expr) -> str:
    """The code for an expression of plain symbols that stand for arrays."""
    tensors = {s: Tensor(printer.names[s], ("n",), "data") for s in expr.free_symbols}
    return printer.plain(expr.xreplace(tensors))


def _errors(
    source: str, points: Sequence[tuple[float, ...]], exact: Sequence[Any], leaves: Sequence[str], unit: Callable[[tuple[float, ...], Any], Any]
) -> Measured:
    with np.errstate(all="ignore"):
        columns = [np.array(c) for c in zip(*points, strict=True)]
        values = np.broadcast_to(np.asarray(load_source(source, "formula").value(*columns), float), (len(points),))
    found = [whole.judged(float(v), t, max(map(abs, at)), partial(unit, at)) for v, t, at in zip(values, exact, points, strict=True)]
    worst = max(range(len(found)), key=found.__getitem__)
    return Measured(found[worst], sum(e > 4 for e in found), sum(e == inf for e in found), dict(zip(leaves, points[worst], strict=True)))


def _arguments(arrives: Sequence[bool], samples: int, seed: int) -> Iterator[tuple[float, ...]]:
    """Arguments: each input in turn takes the extremes and numbers of any sign and exponent, while the others are of moderate size; and as many
    in which every input is of any size. A gradient that arrives from the loss, a factor of everything, is always of moderate size."""
    count = len(arrives)
    rng = random.Random(seed)

    def any_size() -> float:
        return rng.choice((-1, 1)) * ldexp(rng.uniform(1, 2), rng.randint(-1022, 1023))

    def moderate() -> float:
        return rng.choice((-1, 1)) * ldexp(rng.uniform(1, 2), rng.randint(-10, 10))

    for i in [i for i in range(count) if not arrives[i]]:
        for x in (*EXTREMES, *(any_size() for _ in range(samples)), *(moderate() for _ in range(samples))):
            yield tuple(x if i == j else moderate() for j in range(count))
    for _ in range(samples):
        yield tuple(moderate() if arrived else any_size() for arrived in arrives)


_PLAIN: dict[Any, Any] = {
    sigmoid: lambda z: 1 / (1 + sp.exp(-z)),
    softplus: lambda z: sp.log(1 + sp.exp(z)),
    relu: lambda z: sp.Max(0, z),
    step: lambda z: sp.Heaviside(z, 0),
    expm1: lambda z: sp.exp(z) - 1,
    log1p: lambda z: sp.log(1 + z),
    guarded: lambda mask, x, safe: sp.Piecewise((x, mask > 0), (safe, True)),
}  # fmt: skip


def plain(expr: sp.Expr) -> sp.Expr:
    """The expression in SymPy's own functions, whose definitions mpmath knows."""
    while True:
        table = {part: part.formula(*part.args) for part in expr.atoms(Stable)}
        table |= {part: _PLAIN[part.func](*part.args) for part in expr.atoms(sp.Function) if part.func in _PLAIN}
        others = (part for part in expr.atoms(sp.Function) if part not in table and not (type(part).__module__ or "").startswith("sympy."))
        table |= {part: other for part in others if (other := part.expand(func=True)) != part}  # functions of the user's own, by their formula
        if not table:
            return expr
        expr = expr.xreplace(table)


__all__ = ["measure", "plain"]
