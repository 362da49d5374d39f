"""Distributions of data that are drawn anew for every update where nobody gives them: masks of dropout layers, noise."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from symbackprop.errors import NetworkError


@dataclass(frozen=True)
class Draw(ABC):
    """A distribution of independent entries. `source(rng, size)` is the NumPy expression of an array of them, drawn from a generator."""

    @abstractmethod
    def source(self, rng: str, size: str) -> str: ...


@dataclass(frozen=True)
class Bernoulli(Draw):
    """1 with the probability `p`, else 0. Raises `NetworkError` for a `p` that is not between 0 and 1."""

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= _number(self, "p") <= 1:
            raise NetworkError(f"{self}: the probability p is {self.p!r}; expected a number from 0 to 1")

    def source(self, rng: str, size: str) -> str:
        return f"{rng}.random({size}) < {float(self.p)!r}"


@dataclass(frozen=True)
class Normal(Draw):
    """The normal distribution with the given mean and standard deviation. Raises `NetworkError` for a negative `std`."""

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _number(self, "mean")
        if _number(self, "std") < 0:
            raise NetworkError(f"{self}: the standard deviation is {self.std!r}; expected a number that is not negative")

    def source(self, rng: str, size: str) -> str:
        return f"{rng}.normal({float(self.mean)!r}, {float(self.std)!r}, {size})"


DRAWS: dict[str, type[Draw]] = {draw.__name__: draw for draw in (Bernoulli, Normal)}


def _number(draw: Draw, name: str) -> float:
    value: Any = getattr(draw, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise NetworkError(f"{draw}: {name} is {value!r}; expected a finite number")
    return float(value)
