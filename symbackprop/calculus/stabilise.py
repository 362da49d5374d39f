"""Rewrite what overflows or cancels when it is computed as it is written. Each rule is an identity; the names of the network stay.

Applied to the equations that are computed, before they are differentiated and once more after it: log(sigmoid(z)) and its kind are read
through the names of nodes, so that `p = sigmoid(z)` and `-t*log(p)` need not know of each other. Forms and formulas show the equations as
written. What is rewritten into what stands in `rules` and, where no pattern says it, in `structures`.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import sympy as sp

from symbackprop.calculus.differentiate import Adjoints, adjoints
from symbackprop.calculus.match import Place, in_product, in_sum, key, leading, unify
from symbackprop.calculus.rules import BEFORE, LAST, LOSSES, RULES, Rule
from symbackprop.calculus.structures import COSTLY, STRUCTURES
from symbackprop.graph.equations import System, once
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor

ROUNDS = 8  # a rewrite may make room for another, exp(z) + exp(-z) → 2 cosh(z) → sech(z); no chain of rules is longer


@dataclass(frozen=True)
class Rewrite:
    """What was done to one equation: its name, the formula before and after, and the rules, each as a line of text."""

    name: str
    before: sp.Expr
    after: sp.Expr
    rules: tuple[str, ...]


@dataclass(frozen=True)
class Computed:
    """A network as it is computed: its equations and its adjoints, both rewritten, and what was rewritten."""

    system: System
    adjoints: Adjoints
    rewrites: tuple[Rewrite, ...]


@once
def stabilise(system: System) -> System:
    """The same system, computed stably, in the form to be differentiated more than once; the very same object where there is nothing to rewrite."""
    return _first(system)[0]


@once
def _first(system: System) -> tuple[System, tuple[Rewrite, ...]]:
    """The system in the form to be differentiated more than once, and what was rewritten; found once, so that its adjoints are found once too."""
    rewriter = Rewriter()
    return _renewed(system, rewriter), tuple(rewriter.done)


@once
def _for_training(system: System) -> tuple[System, tuple[Rewrite, ...]]:
    """The same once more, in the form of which a training step finds the gradient."""
    return _with_losses(*_first(system), stored=True)


@once
def _for_gradients(system: System) -> tuple[System, tuple[Rewrite, ...]]:
    """And with what `structures` calls costly; where nothing is, the very same object, so that its adjoints are found once."""
    return _with_losses(*_for_training(system), stored=False)


def _with_losses(stable: System, first: tuple[Rewrite, ...], stored: bool) -> tuple[System, tuple[Rewrite, ...]]:
    """A system whose updates read the gradient, as those of Newton's method do, has it already, of the form that is differentiated twice: another one
    would bear the same names."""
    if any(t.adjoint_of is not None and t.adjoint_of[0] == stable.loss for t in stable.tensors):
        return stable, first
    rewriter = Rewriter(LOSSES, stored)
    return _renewed(stable, rewriter), (*first, *rewriter.done)


@once
def computed(system: System) -> Computed:
    """The network and its adjoints as functions that are called once compute them: every rule is applied."""
    return _computed(system, stored=False)


@once
def trained(system: System) -> Computed:
    """The same for training, where 1 - a² of a tanh and 1 - p of a logistic function that are named read the stored value: one cheap
    operation instead of an exponential. A saturated unit's slope, which is below 1e-16, then comes out as 0. Without what `structures` calls
    costly, too."""
    return _computed(system, stored=True)


def _computed(system: System, stored: bool) -> Computed:
    last = Rewriter(LAST, stored)
    stable, first = (_for_training if stored else _for_gradients)(system)
    found = adjoints(stable)
    moved: dict[Tensor, Tensor] = {}
    nodes = {t for t in stable.tensors if t.definition is not None} | {symbol for symbol, _ in found.equations}  # updates may read adjoints
    for t in sorted(nodes, key=lambda t: t.order):
        _renew(t, moved, last)
    of = {moved.get(x, x): g.xreplace(moved) for x, g in found.of.items()}
    edges = {(moved.get(y, y), moved.get(x, x)): e.xreplace(moved) for (y, x), e in found.edges.items()} if moved else found.edges
    final = _with(stable, moved, last)
    return Computed(final, Adjoints(final.loss, [_equation(moved.get(s, s)) for s, _ in found.equations], of, edges), (*first, *last.done))


def _equation(t: Tensor) -> Equation:
    assert t.definition is not None
    return Equation(t, t.definition)


def _renew(t: Tensor, moved: dict[Tensor, Tensor], rewriter: "Rewriter | None") -> None:
    """Put the tensor into `moved` if its equation, in the tensors as they are by now, is another one; rewritten, if there is a rewriter."""
    expr = _equation(t).expr
    better = expr.xreplace(moved) if moved else expr
    better = better if rewriter is None else rewriter(t.name, better)
    if better is not expr:
        pair = None if t.adjoint_of is None else (moved.get(t.adjoint_of[0], t.adjoint_of[0]), moved.get(t.adjoint_of[1], t.adjoint_of[1]))
        moved[t] = Tensor(t.name, t.shape, t.role, better, adjoint_of=pair)


def _renewed(system: System, rewriter: "Rewriter") -> System:
    """The system with the equations of its loss and output rewritten."""
    moved: dict[Tensor, Tensor] = {}
    forward = set(system.forward)
    for t, _ in system.equations:
        _renew(t, moved, rewriter if t in forward else None)
    return _with(system, moved, rewriter)


def _with(system: System, moved: dict[Tensor, Tensor], rewriter: "Rewriter") -> System:
    """The system with other tensors; the very same object where there are none."""
    updates = tuple(Equation(state, rewriter(state.name, expr.xreplace(moved))) for state, expr in system.updates)
    if not moved and updates == system.updates:
        return system
    output = system.output if system.output is None else moved.get(system.output, system.output)
    return System(moved.get(system.loss, system.loss), output, system.extra, (*system.data, *system.kept), updates)


class Rewriter:
    """Applies every rule at every subexpression, arguments first, until none applies. `done` lists what was rewritten.

    `stage`: the last one whose rules are applied; those of each stage are exhausted before the next. `stored`: without those that would
    compute anew what a named value holds, and without the costly ones.
    """

    def __init__(self, stage: int = BEFORE, stored: bool = False, rules: tuple[Rule, ...] = RULES) -> None:
        self.last = stage
        self.stage = BEFORE
        self.stored = stored
        self.rules = rules
        self.done: list[Rewrite] = []
        self.applied: list[str] = []

    def __call__(self, name: str, expr: sp.Expr) -> sp.Expr:
        """The right side of one equation; of a recurrence, those of its steps too, which are called `scan.h_t`."""
        if isinstance(expr, Scan):
            expr = self._steps(name, expr)
        self.applied = []
        result = expr
        for stage in range(self.last + 1):
            self.stage = stage
            for _ in range(ROUNDS):
                better = self._once(result)
                if better is result:
                    break
                result = better
        if self.applied:
            self.done.append(Rewrite(name, expr, result, tuple(dict.fromkeys(self.applied))))
        return result

    def _steps(self, name: str, scan: Scan) -> sp.Expr:
        """The recurrence with its steps rewritten. They read the named values of a step as they are stored, since the steps backwards do."""
        stored, self.stored = self.stored, True
        table: dict[sp.Basic, Tensor] = {}
        for symbol, expr in scan.body.equations:
            better = self(f"{name}.{symbol.name}", expr.xreplace(table))
            if better is not expr:
                table[symbol] = Tensor(symbol.name, symbol.shape, symbol.role, better)
        self.stored = stored
        return Scan(scan.body.renewed(table), *scan.args[1:]) if table else scan

    def _once(self, root: sp.Expr) -> sp.Expr:
        done: dict[sp.Basic, sp.Basic] = {}
        for part in postorder(root):
            args = [done[a] for a in part.args]
            rebuilt = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
            done[part] = self._better(rebuilt) if rebuilt.args and isinstance(rebuilt, sp.Expr) else rebuilt
        return done[root]

    def _better(self, expr: sp.Expr) -> sp.Expr:
        for rule, better in self._candidates(expr):
            if shape_of(better) == shape_of(expr):
                self.applied.append(rule)
                return better
        return expr

    def _candidates(self, expr: sp.Expr) -> Iterator[tuple[str, sp.Expr]]:
        for stage in range(self.stage + 1):
            for structure in STRUCTURES[stage].get(expr.func, ()):
                found = None if self.stored and structure in COSTLY else structure(expr)
                if found is not None:
                    yield (structure.__doc__ or "").split(". ")[0], found
        for rule, (binding, c, rest) in self._places(expr):
            if rule.allows(binding):
                better = c * rule.replacement.xreplace(binding)
                yield str(rule), (rest + better if isinstance(rule.pattern, sp.Add) else rest * better)

    def _places(self, expr: sp.Expr) -> Iterator[tuple[Rule, Place]]:
        if isinstance(expr, sp.Add):
            found = [(i, rule, t, f) for t in expr.args for f in sp.Mul.make_args(t) for i, rule in self._of(sp.Add, f)]
            for _, rule, term, factor in sorted(found, key=lambda x: x[0]):
                for place in in_sum(rule.pattern, expr, term, factor, self._reads(rule)):
                    yield rule, place
        elif isinstance(expr, sp.Mul):
            rules = {i: rule for f in expr.args for i, rule in self._of(sp.Mul, f)}
            for i in sorted(rules):
                for place in in_product(rules[i].pattern, expr, self._reads(rules[i])):
                    yield rules[i], place
        else:
            for rule in _by_key(self.rules, self.stage).get(expr.func, ()):
                for binding in unify(rule.pattern, expr, {}):
                    yield rule, (binding, sp.S.One, sp.S.Zero if isinstance(rule.pattern, sp.Add) else sp.S.One)

    def _reads(self, rule: Rule) -> bool:
        """Whether the rule reads through names."""
        return not (self.stored and rule.stored)

    def _of(self, head: Any, factor: sp.Basic) -> list[tuple[int, Rule]]:
        if not factor.args and not isinstance(factor, Tensor):
            return []
        table = _by_key(self.rules, self.stage)
        found: list[tuple[int, Rule]] = table.get((head, key(factor)), [])
        if isinstance(factor, sp.Pow):
            found = found + table.get((head, (sp.Pow, None)), [])
            if factor.exp.is_Integer and factor.exp > 1:  # a factor of a power
                found = found + table.get((head, key(factor.base)), [])
        return found


@cache
def _by_key(rules: tuple[Rule, ...], stage: int) -> dict[Any, Any]:
    """The rules by the head of what they are tried on: of a sum or product its leading part's."""
    table: dict[Any, Any] = defaultdict(list)
    for i, rule in enumerate(rules):
        if rule.stage > stage:
            continue
        if isinstance(rule.pattern, (sp.Add, sp.Mul)):
            core = leading(rule.pattern)[0].as_coeff_Mul()[1]
            head = (sp.Pow, None) if isinstance(core, sp.Pow) and isinstance(core.base, sp.Symbol) else key(core)
            table[rule.pattern.func, head].append((i, rule))
        else:
            table[rule.pattern.func].append(rule)
    return dict(table)


__all__ = ["Computed", "Rewrite", "Rewriter", "computed", "stabilise", "trained"]
