"""Whether numbers are explained by a candidate: equal to it, or to it with another sign, a constant factor, or transposed."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from symbackprop.training.feed import Array

TOLERANCE = 1e-6
_SINGLE, _HALF = 1e-4, 2e-2  # for numbers that were computed in float32 and in float16
ROUNDING = 64  # roundings of the largest term of a sum that a correct computation may differ by
EXPLAINED = 1e-3  # what an explanation may leave of the deviation that it explains


def tolerance_for(arrays: list[Array]) -> tuple[float, float]:
    """The tolerance and the precision that fit the coarsest type among the given arrays."""
    dtypes = [a.dtype for a in arrays if a.dtype.kind == "f"]
    coarsest = max((d for d in dtypes), key=lambda d: np.finfo(d).eps, default=np.dtype(float))
    eps = float(max(np.finfo(coarsest).eps, np.finfo(float).eps))
    return {2: _HALF, 4: _SINGLE}.get(coarsest.itemsize, TOLERANCE), eps


@dataclass(frozen=True)
class Relation:
    """How the given numbers follow from a candidate. `codes` are short names; `text` is a clause for each; `certain` is false of a factor
    that only is a nice number, of one entry."""

    cost: float
    codes: tuple[str, ...]
    text: str
    ratio: float = 1.0
    certain: bool = True


@dataclass(frozen=True)
class Factors:
    """Factors that have a meaning: value → what it is."""

    known: dict[float, list[str]] = field(default_factory=dict)

    def add(self, value: float, meaning: str) -> None:
        if value > 0 and value != 1:
            self.known.setdefault(float(value), []).append(meaning)

    def meaning(self, ratio: float, tolerance: float) -> str | None:
        """What |ratio| is, all meanings joined; None where it has none."""
        found = [m for value, meanings in self.known.items() if abs(abs(ratio) - value) <= tolerance * value for m in meanings]
        return ", or ".join(found) if found else None


@dataclass(frozen=True)
class Target:
    """One weight: the numbers given, the truth, and what rounding may have done to each entry."""

    name: str
    given: Array
    truth: Array
    rounding: Array
    tolerance: float

    @property
    def relative_error(self) -> float:
        return relative_error(self.given, self.truth, self.rounding, self.tolerance)

    @property
    def deviation(self) -> float:
        return float(np.abs(self.given - self.truth).max(initial=0.0))

    def is_right(self) -> bool:
        return self.relative_error <= self.tolerance

    def equals(self, candidate: Array) -> bool:
        """Whether a candidate gives these numbers, and explains what sets them apart from the truth."""
        if candidate.shape != self.given.shape or not np.isfinite(candidate).all():
            return False
        left = np.abs(self.given - candidate)
        return bool(
            relative_error(self.given, candidate, self.rounding, self.tolerance) <= self.tolerance
            and (left <= EXPLAINED * self.deviation + self.rounding).all()
        )

    def relations(self, candidate: Array, factors: Factors) -> Iterator[Relation]:
        """How the given numbers follow from the candidate: as it is or transposed, times a constant."""
        with np.errstate(all="ignore"):
            for turned in (False, True):
                values = candidate.T if turned else candidate
                if values.shape != self.given.shape or (turned and (candidate.ndim < 2 or np.array_equal(values, candidate))):
                    continue
                scale = np.abs(values).max(initial=0.0)
                if not np.isfinite(scale) or scale == 0:
                    continue
                unit = values / scale
                ratio = float((self.given * unit).sum() / (unit * unit).sum() / scale)
                if ratio == 0 or not self.equals(ratio * values):
                    continue
                relation = self.scaled(ratio, values, factors)
                if relation is not None:
                    codes = (*(("transposed",) if turned else ()), *relation.codes)
                    text = _join("it is transposed" if turned else "", relation.text)
                    yield Relation(relation.cost + 1.5 * turned, codes, text, ratio, relation.certain)

    def scaled(self, ratio: float, values: Array, factors: Factors) -> Relation | None:
        """What the ratio is called, or None where any number would have had some ratio."""
        size = abs(ratio)
        if abs(size - 1) <= self.tolerance:
            return Relation(1.0, ("sign",), "the sign is flipped", -1.0) if ratio < 0 else Relation(0.0, (), "")
        shared = int((np.abs(values) > 1e-3 * np.abs(values).max()).sum()) > 1  # several entries agree on it
        shown, meaning = f"{show_number(ratio, self.tolerance)} times" if ratio < 0 else times(size, self.tolerance), factors.meaning(ratio, self.tolerance)
        nice = is_nice(size, self.tolerance)
        if not (meaning or nice or shared):
            return None
        cost = 1.5 if meaning else 2.5 if nice and shared else 4.5 if nice else 5.5
        text = f"it is {shown} that" + (f" ({meaning})" if meaning else "")
        return Relation(cost + 0.3 * (ratio < 0), ("sign", "factor") if ratio < 0 else ("factor",), text, ratio, shared or meaning is not None)


def relative_error(given: Array, truth: Array, rounding: Array, tolerance: float) -> float:
    """The largest error of an entry, relative to the entry, to a thousandth of the largest entry, or to what rounding may do."""
    if not given.size:
        return 0.0
    largest = np.abs(truth).max()
    size = np.maximum.reduce([np.abs(given), np.abs(truth), np.full(truth.shape, 1e-3 * largest), rounding / tolerance])
    difference = np.abs(given - truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        errors = np.where(difference == 0, 0.0, difference / size)
    return float(np.max(errors))


def is_nice(size: float, tolerance: float) -> bool:
    """Whether a person may have written it: a fraction with a small denominator, or a decimal of two digits."""
    fraction = Fraction(size).limit_denominator(12)
    decimal = float(f"{size:.1e}")
    return (fraction > 0 and abs(float(fraction) - size) <= tolerance * size) or abs(decimal - size) <= tolerance * size


def show_number(value: float, tolerance: float = 1e-9) -> str:
    """A number as a fraction where it is one, else with a few digits."""
    fraction = Fraction(value).limit_denominator(12)
    if fraction and abs(float(fraction) - value) <= tolerance * abs(value):
        return str(fraction)
    for digits in range(1, 6):
        if abs(float(f"{value:.{digits}g}") - value) <= tolerance * abs(value):
            return f"{value:.{digits}g}"
    return f"{value:.6g}"


def times(size: float, tolerance: float = 1e-9) -> str:
    """A factor before what it multiplies: "half", "3 times"."""
    shown = show_number(size, tolerance)
    return "half" if shown == "1/2" else f"{shown} times"


def too_large(size: float) -> str:
    """How far a size is off: "2 times too large", "half as large as it should be", "5 times too small"."""
    if size > 1:
        return f"{show_number(size)} times too large"
    inverse = show_number(1 / size)
    return f"{inverse} times too small" if inverse.isdigit() and inverse != "2" else f"{times(size)} as large as it should be"


def _join(*clauses: str) -> str:
    return " and ".join(c for c in clauses if c)


__all__ = ["Factors", "Relation", "Target", "is_nice", "relative_error", "show_number", "times", "tolerance_for", "too_large"]
