"""Numbers of mpmath's that remember how they were made, so that a sweep backwards says what they would become if what they are sums of were disturbed.

Every sum has a disturbance as large as its largest term, which is where its rounding errors are of that size. A sum over indices has one more: what
cancels in it, the absolute values of its terms added up less the absolute value of the sum, and what so many roundings add to one, an eighth of a unit for
each. Those who make a number may give it a disturbance of its own.

Source: Griewank & Walther, Evaluating Derivatives, 2nd ed. (2008), section 3.2 (reverse mode); N. J. Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed. (2002), sections 3.3 (running error analysis) and 4.2 (n - 1 roundings of half a unit in a sum of n terms).
"""

import builtins
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any

import mpmath

NUDGE = mpmath.mpf(10) ** -30  # the relative change by which the derivative of a function is found
FREE = 9  # terms of a sum whose roundings together are no more than 4 units in the last place
_serial = count()
_silent = [False]


class Disturbed:
    """A number `value`; the numbers that it was made of, each with its derivative; and the sizes of its own disturbances: of what is `excused`, and of
    the largest `term` of the sum that it is."""

    __slots__ = ("excused", "parts", "serial", "term", "value")

    def __init__(self, value: Any, parts: "list[tuple[Disturbed, Any]]", excused: Any = 0, term: Any = 0) -> None:
        self.value, self.parts, self.excused, self.term = value, parts, excused, term
        self.serial = next(_serial)

    @classmethod
    def of(cls, number: Any) -> "Disturbed":
        return number if isinstance(number, Disturbed) else cls(number, [])

    def changes(self) -> tuple[Any, Any]:
        """By how much everything that is excused, disturbed together, changes the number at worst; and the largest change by any one disturbance."""
        found, stack = {self.serial: self}, [self]
        while stack:
            for x, _ in stack.pop().parts:
                if x.serial not in found:
                    found[x.serial] = x
                    stack.append(x)
        slopes: dict[int, Any] = dict.fromkeys(found, mpmath.mpf(0))
        slopes[self.serial] = mpmath.mpf(1)
        excused = largest = mpmath.mpf(0)
        for serial in sorted(found, reverse=True):  # what is made of others is younger than they
            x, slope = found[serial], slopes[serial]
            if slope:
                excused += abs(slope) * x.excused
                largest = max(largest, abs(slope) * max(x.term, x.excused))
                for part, factor in x.parts:
                    slopes[part.serial] += slope * factor
        return excused, largest

    def __add__(self, other: Any) -> "Disturbed":
        return _sum([self, Disturbed.of(other)])

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Disturbed":
        return _sum([self, -Disturbed.of(other)])

    def __rsub__(self, other: Any) -> "Disturbed":
        return _sum([Disturbed.of(other), -self])

    def __neg__(self) -> "Disturbed":
        return Disturbed(-self.value, [(self, -1)])

    def __mul__(self, other: Any) -> "Disturbed":
        if isinstance(other, Disturbed):
            return Disturbed(self.value * other.value, [(self, other.value), (other, self.value)])
        return Disturbed(self.value * other, [(self, other)])

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Disturbed":
        other = Disturbed.of(other)
        quotient = self.value / other.value
        return Disturbed(quotient, [(self, 1 / mpmath.mpf(other.value)), (other, -quotient / other.value)])

    def __rtruediv__(self, other: Any) -> "Disturbed":
        return Disturbed.of(other) / self

    def __pow__(self, other: Any) -> "Disturbed":
        if isinstance(other, int):
            return Disturbed(self.value**other, [(self, other * self.value ** (other - 1))])
        made: Disturbed = lifted(lambda a, b: a**b)(self, other)
        return made

    def __rpow__(self, other: Any) -> "Disturbed":
        made: Disturbed = lifted(lambda a, b: a**b)(other, self)
        return made

    def __abs__(self) -> "Disturbed":
        return -self if self.value < 0 else self

    def __lt__(self, other: Any) -> bool:
        return bool(self.value < Disturbed.of(other).value)

    def __le__(self, other: Any) -> bool:
        return bool(self.value <= Disturbed.of(other).value)

    def __gt__(self, other: Any) -> bool:
        return bool(self.value > Disturbed.of(other).value)

    def __ge__(self, other: Any) -> bool:
        return bool(self.value >= Disturbed.of(other).value)

    def __eq__(self, other: object) -> bool:
        return bool(self.value == Disturbed.of(other).value)

    def __hash__(self) -> int:
        return self.serial


@contextmanager
def silent(is_so: bool) -> Iterator[None]:
    """Whether sums have no disturbances: those inside a function that is computed by a program of its own, which need not add these terms."""
    _silent.append(is_so)
    try:
        yield
    finally:
        _silent.pop()


def _sum(terms: list[Disturbed]) -> Disturbed:
    terms = [x for x in terms if x.value or x.parts]
    largest = 0 if _silent[-1] else max((abs(x.value) for x in terms), default=0)
    return Disturbed(builtins.sum(x.value for x in terms), [(x, 1) for x in terms], term=largest)


def total(terms: Iterable[Any]) -> Any:
    """A sum over indices. Of plain numbers it is a plain number."""
    terms = list(terms)
    if not any(isinstance(x, Disturbed) for x in terms):
        return builtins.sum(terms)
    made = _sum([Disturbed.of(x) for x in terms])
    if _silent[-1]:
        return made
    sizes = builtins.sum(abs(x.value) for x, _ in made.parts)
    made.excused = sizes - abs(made.value) + sizes * max(len(made.parts) - FREE, 0) / 8
    return made


def lifted(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, of such numbers too: its derivatives are differences over a very small step."""

    def of(*args: Any) -> Any:
        if not any(isinstance(x, Disturbed) for x in args):
            return function(*args)
        numbers = [x.value if isinstance(x, Disturbed) else x for x in args]
        value = function(*numbers)
        parts = []
        for i, x in enumerate(args):
            if isinstance(x, Disturbed):
                step = NUDGE * (abs(x.value) or 1)
                parts.append((x, (function(*(n + step if i == j else n for j, n in enumerate(numbers))) - value) / step))
        return Disturbed(value, parts)

    return of


# What generated functions sum with, in the place of Python's module of that name.
BUILTINS = SimpleNamespace(**{**vars(builtins), "sum": total})

__all__ = ["BUILTINS", "Disturbed", "lifted", "silent", "total"]
