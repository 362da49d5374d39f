"""The audit of a function that updates weights. A step is taken apart into where it starts, in which direction it goes, and how far:
new = base - rate · direction. The base should be the weight itself, the direction its gradient, and the rate one for all weights.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from symbackprop.audit.case import Candidate, Case
from symbackprop.audit.decay import decayed_step
from symbackprop.audit.explain import Explanation, choose
from symbackprop.audit.gradients import by_name, checked_tolerance, finding, unusable
from symbackprop.audit.match import is_nice, relative_error, tolerance_for, too_large
from symbackprop.audit.numeric import unknown
from symbackprop.audit.report import Audit
from symbackprop.audit.rule import NumericRule
from symbackprop.audit.stale import at_values, told, updated_sets
from symbackprop.errors import NetworkError
from symbackprop.training.feed import Array
from symbackprop.training.optimizers import SGD

EXACT = 1e-9  # how exactly a step must be a multiple of a direction
SUBSETS = 5  # all sets of so many other weights are tried as updated before
ENTRIES = 64
UNKNOWN, ODD = 9.0, 6.0  # the costs of a step without explanation, and of a learning rate of many digits


@dataclass(frozen=True)
class Base:
    """Where a step starts."""

    code: str
    cost: float
    text: str
    value: Array


@dataclass(frozen=True)
class Way:
    """One way to explain a step: from `base`, `rate` times the candidate's direction, transposed or not. `certain`: whether several
    entries agree on the rate; of a single number any rate would do."""

    base: Base
    candidate: Candidate
    turned: bool
    rate: float
    certain: bool

    @property
    def cost(self) -> float:
        return self.base.cost + self.candidate.cost + 1.5 * self.turned


def audit_update(case: Case, gradients: Mapping[str, Any], update: Any, tolerance: float | None = None) -> Audit:
    """The findings about `update(weights, **data)`, which returns new weights or changes those that it is given."""
    new = run(case, update)
    usual, eps = tolerance_for(list(new.values()))
    tolerance = checked_tolerance(tolerance, usual)
    told_: dict[str, Explanation] = {}
    for name, w in case.weights.items():
        problem = unusable(name, new[name], w)
        if problem is not None:
            told_[name] = problem
    steps = Steps(case, {n: np.asarray(a, dtype=float) for n, a in new.items() if n not in told_}, tolerance, eps)
    rate, wrong = steps.explained()
    told_ |= wrong
    findings = {}
    for name in case.truth:
        error = steps.error(name, rate) if name in steps.new else float("inf")
        findings[name] = finding(case, gradients, name, error, told_.get(name))
    # Of an optimizer that was given the rate is known; of a rate that was found, 1 may be none at all.
    hint = "a learning rate of 1 often means that it was forgotten" if rate == 1 and case.learning_rate is None else ""
    return Audit(findings, tolerance, rate, "update", hint)


def run(case: Case, update: Any) -> dict[str, Array]:
    """The weights after the update: as returned, or as left in the copies that it was given."""
    if not callable(update):
        raise NetworkError(f"the update is a {type(update).__name__}; expected a function update(weights, **data)")
    copies: dict[Any, Any] = {name: w.copy() for name, w in case.weights.items()}
    result = update(copies, **{name: d.copy() for name, d in case.feed.arrays.items()})
    if isinstance(result, tuple):  # (loss, weights)
        result = next((part for part in result if isinstance(part, Mapping)), result)
    if result is not None and not isinstance(result, Mapping):
        if np.ndim(result) != 0:
            raise NetworkError(f"the update returned a {type(result).__name__}; expected a mapping from weights to arrays, or None for a change in place")
        result = None  # a loss
    return {**by_name(case, copies, "new value"), **by_name(case, result or {}, "new value")}


class Steps:
    def __init__(self, case: Case, new: Mapping[str, Array], tolerance: float, eps: float) -> None:
        self.case = case
        self.new = new
        self.tolerance = tolerance
        self.eps = eps
        self.exact = max(EXACT, 1e2 * eps)
        self.magnitude = case.rounding(eps)
        self.rule = NumericRule(case.optimizer) if case.optimizer is not None and not _is_plain(case.optimizer) else None

    # --- right or wrong -----------------------------------------------------------------------------------------------

    def expected(self, base: Array, direction: Array, rate: float | None) -> Array:
        """The new weight that a step makes."""
        return self.rule(base, direction) if self.rule is not None else base - (rate or 0.0) * direction

    def error(self, name: str, rate: float | None) -> float:
        """The relative error of the step that was made."""
        w = self.case.weights[name]
        truth = self.case.truth[name]
        if self.rule is None and rate is None and (np.abs(truth) > self.magnitude[name]).any():
            return float("inf")
        right = self.expected(w, truth, rate)
        return relative_error(w - self.new[name], w - right, self.rounding(name, w, rate), self.tolerance)

    def is_unchanged(self, name: str) -> bool:
        return np.array_equal(self.new[name], self.case.weights[name])

    def rounding(self, name: str, base: Array, rate: float | None) -> Array:
        """What rounding may have done to the step: the last places of the weights, and of the gradient."""
        return 4 * self.eps * (np.abs(base) + np.abs(self.new[name])) + abs(rate or 0.0) * self.magnitude[name]

    def explained(self) -> tuple[float | None, dict[str, Explanation]]:
        """The learning rate, and what is wrong with each weight that is wrong."""
        names = list(self.new)
        if self.rule is not None:
            wrong = [n for n in names if not self.error(n, None) <= self.tolerance]
            options = {n: list(self.by_rule(n)) for n in wrong}
            return self.case.learning_rate, self.chosen(wrong, options)
        ways = {n: [] if self.is_unchanged(n) else list(self.ways(n, self.simple(n))) for n in names}
        rate = self.case.learning_rate or self.common_rate(ways)
        for _ in range(2):  # what explains one weight may change the rate, and so what is wrong with the others
            for n in names:
                right = self.is_unchanged(n) or self.error(n, rate) <= self.tolerance
                if not right and min((self.price(way, rate) for way in ways[n]), default=UNKNOWN) > 4:
                    own = [*self.case.candidates, *decayed_step(self.case, n, self.case.weights[n] - self.new[n], rate)]
                    ways[n] += self.ways(n, ((b, c) for b in self.bases(n, own=True) for c in own if c.code))
            rate = self.case.learning_rate or self.common_rate(ways)
        wrong = [n for n in names if not self.error(n, rate) <= self.tolerance]
        return rate, self.chosen(wrong, {n: [self.tell(n, way, rate) for way in ways[n] if self.price(way, rate) < UNKNOWN] for n in wrong})

    def chosen(self, wrong: list[str], options: Mapping[str, list[Explanation]]) -> dict[str, Explanation]:
        found = choose({n: [e for e in options[n] if e.diagnosis] for n in wrong})
        for n in filter(self.is_unchanged, wrong):
            text = f"{n} is as it was before: the update computes no new value for it, or does not store it (a local variable, or no return)."
            found[n] = Explanation(0.0, "not updated", text, "not updated")
        return {n: found.get(n) or unknown("The step follows no pattern that is known here. Compare it with the formula, factor by factor.") for n in wrong}

    # --- taking a step apart --------------------------------------------------------------------------------------------

    def bases(self, name: str, own: bool = False) -> Iterator[Base]:
        """The weight itself, nothing (overwritten), another weight or a part of it that fits."""
        w = self.case.weights[name]
        yield Base("", 0.0, "", w)
        text = f"{name} is overwritten: it becomes the step itself. Python reads `=+` as `= +`; write `+=` or `-=`, so that the step is added to {name}."
        yield Base("overwritten", 2.0, text, np.zeros(w.shape))
        for other, old in self.case.weights.items():
            if other == name or own:
                continue
            for value, which in ((old, ""), (self.new.get(other, old), "the already updated ")):
                for place, part in _parts(value, w.shape):
                    text = f"{name} is set from {which}{other}{place} instead of from {name}: start from the weight's own old value."
                    yield Base("another weight", 2.5 + 0.1 * bool(which), text, part)

    def simple(self, name: str) -> Iterator[tuple[Base, Candidate]]:
        """The true gradient, from every base, also with other weights updated before it."""
        candidates = [Candidate("", 0.0, "", self.case.truth), *self.stale(name)]
        yield from itertools.product(self.bases(name), candidates)

    def stale(self, name: str) -> Iterator[Candidate]:
        others = [n for n in self.new if n != name]
        if len(others) <= SUBSETS:
            sets = [s for k in range(1, len(others) + 1) for s in itertools.combinations(others, k)]
        else:
            sets = updated_sets(list(self.new), name)
        for updated in sets:
            for whole in (False, True):
                value = at_values(self.case, name, {n: self.new[n] for n in updated}, whole)
                if not np.allclose(value, self.case.truth[name], rtol=1e-12, atol=0):
                    yield told(name, updated, {name: value}, None, whole)

    def ways(self, name: str, pairs: Iterator[tuple[Base, Candidate]]) -> Iterator[Way]:
        for base, candidate in pairs:
            direction = candidate.values.get(name)
            if direction is None:
                continue
            for turned in (False, True):
                values = direction.T if turned else direction
                if values.shape != base.value.shape or (turned and (values.ndim < 2 or np.array_equal(values, direction))):
                    continue
                rate = self.rate(name, base.value, values)
                if rate is not None:
                    certain = int((np.abs(values) > 1e-3 * np.abs(values).max()).sum()) > 1
                    yield Way(base, candidate, turned, rate, certain)

    def rate(self, name: str, base: Array, direction: Array) -> float | None:
        """The number that makes the step a multiple of the direction, if there is one."""
        step = base - self.new[name]
        scale = np.abs(direction).max(initial=0.0)
        if not np.isfinite(scale) or scale == 0:
            return None
        unit = direction / scale
        rate = float((step * unit).sum() / (unit * unit).sum() / scale)
        left = np.abs(step - rate * direction)
        if not rate or (left > self.exact * np.abs(step).max(initial=0.0) + self.rounding(name, base, rate)).any():
            return None
        short = float(f"{rate:.3g}")
        doubt = float(self.rounding(name, base, rate).max(initial=0.0)) / scale
        return short if abs(short - rate) <= self.exact * abs(rate) + doubt else rate

    # --- the learning rate ----------------------------------------------------------------------------------------------

    def common_rate(self, ways: Mapping[str, list[Way]]) -> float | None:
        """The rate that leaves least to explain. One of many digits is far-fetched itself."""
        rates = list(dict.fromkeys(abs(w.rate) for found in ways.values() for w in found if w.certain or is_nice(abs(w.rate), self.exact)))
        rates += [abs(w.rate) for found in ways.values() for w in found if not w.base.code and not w.candidate.code and not w.turned]
        if not rates:
            return None

        def total(rate: float) -> float:
            costs = [min((self.price(w, rate) for w in found), default=UNKNOWN) for found in ways.values()]
            return round(sum(min(c, UNKNOWN) for c in costs) + ODD * (not is_nice(rate, self.exact)), 6)

        return min(rates, key=total)

    def price(self, way: Way, rate: float | None) -> float:
        """The cost of a way, given the learning rate of the others."""
        if rate is None:
            return 10.0
        ratio = way.rate / rate
        extra = 0.8 * (ratio < 0)
        if abs(abs(ratio) - 1) > 10 * self.exact:
            nice = is_nice(abs(way.rate), self.exact)
            known = self.case.factors.meaning(ratio, 10 * self.exact) is not None
            extra += 1.5 if known else 1.8 if nice else 7.0 if way.certain else UNKNOWN
        return way.cost + extra

    # --- telling --------------------------------------------------------------------------------------------------------

    def tell(self, name: str, way: Way, rate: float | None) -> Explanation:
        assert rate is not None
        codes, says = [way.base.code, way.candidate.code], [way.base.text, way.candidate.text]
        ratio = way.rate / rate
        if way.turned:
            codes.append("transposed")
            says.append(f"The step of {name} is transposed: its entries are updated with the index order of the transpose; exchange the indices.")
        if ratio < 0:
            codes.append("sign")
            says.append(f"The step goes up the gradient: subtract the gradient of {name} times the learning rate.")
        if abs(abs(ratio) - 1) > 10 * self.exact:
            meaning = self.case.factors.meaning(ratio, 10 * self.exact)
            codes.append("factor" if meaning else "learning rate")
            says.append(
                f"The step is {too_large(abs(ratio))} ({meaning}), if the learning rate is {rate:g}."
                if meaning
                else f"The learning rate is {abs(way.rate):g} here, and the optimizer's is {rate:g}."
                if self.case.learning_rate is not None
                else f"The learning rate is {abs(way.rate):g} here and {rate:g} elsewhere: use one for all weights."
            )
        diagnosis = " and ".join(dict.fromkeys(c for c in codes if c))
        factor = ratio if abs(ratio - 1) > 10 * self.exact else None
        text = " ".join(s for s in says if s)
        return Explanation(self.price(way, rate), diagnosis, text, text.replace(name, "<w>"), factor)

    # --- rules with a state -----------------------------------------------------------------------------------------------

    def by_rule(self, name: str) -> Iterator[Explanation]:
        """Steps of an optimizer that is not plain gradient descent: every mistaken gradient, put through its rule."""
        pairs = itertools.chain(self.simple(name), ((b, c) for b in self.bases(name, own=True) for c in self.case.candidates if c.code))
        turns: list[tuple[bool, Callable[[Array], Array]]] = [(False, lambda g: g), (True, lambda g: g.T)]
        for (base, candidate), (turned, turn), sign in itertools.product(pairs, turns, (1.0, -1.0)):
            if name not in candidate.values or (turned and candidate.values[name].ndim < 2):
                continue
            direction = turn(candidate.values[name])
            if direction.shape != base.value.shape or not np.isfinite(direction).all():
                continue
            left = np.abs(self.expected(base.value, sign * direction, None) - self.new[name])
            step = np.abs(base.value - self.new[name]).max()
            if (left <= self.tolerance * step + self.rounding(name, base.value, None)).all():
                way = Way(base, candidate, turned, sign, True)
                yield self.tell(name, way, 1.0)


def _is_plain(optimizer: Any) -> bool:
    """Gradient descent without momentum, decay or schedule: its step is a multiple of the gradient."""
    return type(optimizer) is SGD and optimizer.momentum == 0 and optimizer.weight_decay == 0 and not getattr(optimizer.lr, "free_symbols", None)


def _parts(value: Array, shape: tuple[int, ...]) -> Iterator[tuple[str, Array]]:
    """An array, or its rows, columns or entries, where they have the shape."""
    if value.shape == shape:
        yield "", value
    elif shape and value.size == int(np.prod(shape)):
        yield "", value.reshape(shape)
    elif value.ndim > len(shape) and value.size <= ENTRIES:
        for axes in itertools.combinations(range(value.ndim), value.ndim - len(shape)):
            for index in itertools.product(*(range(value.shape[a]) for a in axes)):
                key: list[Any] = [slice(None)] * value.ndim
                for axis, i in zip(axes, index, strict=True):
                    key[axis] = i
                part = value[tuple(key)]
                if part.shape == shape:
                    yield f"[{', '.join(':' if isinstance(k, slice) else str(k) for k in key)}]", part


__all__ = ["audit_update"]
