"""What is not within 4 units in the last place, point by point, and why. The generated NumPy module, and a training step with precise=True, miss
next to nothing; a training step without it trades some digits for speed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.formulas import Point

TRAINING = ("numpy", "numba")
PRECISE = ("numpy, precise", "numba, precise")
EVERY = ("module", *TRAINING, *PRECISE)
BOTH = ("float64", "float32")

Place = tuple[int, Point]  # 0 for the value, else the number of the slope; and the argument


@dataclass(frozen=True)
class Misses:
    """`values` and `slopes`: the arguments at which the value, or the slopes of the numbers in `which`, are off. `everywhere`: on every machine; else a
    processor's own exponential may come out within the limit."""

    why: str
    formulas: tuple[str, ...]
    slopes: tuple[Point, ...]
    values: tuple[Point, ...] = ()
    ways: tuple[str, ...] = TRAINING
    dtypes: tuple[str, ...] = BOTH
    everywhere: bool = True
    which: tuple[int, ...] = (1,)

    def places(self) -> Iterator[Place]:
        yield from ((0, p) for p in self.values)
        yield from ((i, p) for p in self.slopes for i in self.which)


STORED = "the slope is made of the stored activation a, as 1 - a² or a (1 - a), which cancels where the unit is saturated"
SHARE = "1 - s of a share s that is nearly 1: the sum of the others would be a pass more"
DOUBLE = "the argument is rounded before its exponential magnifies that; two floats for it would cost more than the exponential"
SINGLE = "NumPy's exponential of float32 is off by up to 2.5 units; in double precision it would take twice as long"
EQUAL = "each log(p/q) of p and q that are nearly equal is of first order in what they differ by, and the divergence of second; to sum it by terms that \
are not negative takes several times as long"
TINY = "a share below the least normal number has lost its digits before 1500 multiplies it"
ZERO = "a difference of terms three times as large and more, beside a zero of the slope"

_TANH = (
    "(exp(z) - exp(-z))/(exp(z) + exp(-z))", "(exp(2z) - 1)/(exp(2z) + 1)", "(1 - exp(-2z))/(1 + exp(-2z))", "2/(1 + exp(-2z)) - 1", "sinh(z)/cosh(z)",
    "tanh(z)",
)  # fmt: skip
_SURE = ((10.0, 0.0, -10.0), (40.0, 0.0, -40.0))
_NEAR = (
    *(p for x in (1e-20, 1e-8, 1e-3, 0.1, 0.5) for p in ((x, 0.0, -x), (-x, -x, x))), *((x, 0.0, -x) for x in (1.0, 2.5, 10.0, 40.0, 750.0)),
)  # fmt: skip
_WEIGHED = ("log(1 + exp(z)) - 3 z/10", "-(3 log(p) + 7 log(1 - p))/10, p = 1/(1 + exp(-z))")
_LOG_SOFTMAX = "log(exp(z)/sum(exp(z))), the first"

MISSES: tuple[Misses, ...] = (
    Misses(STORED, ("1/(1 + exp(-z))", "exp(z)/(1 + exp(z))"), ((10.0,), (40.0,))),
    Misses(STORED, ("1/(1 + exp(-z))", "exp(z)/(1 + exp(z))"), ((2.5,),), dtypes=("float64",), everywhere=False),
    Misses(STORED, ("1 - 1/(1 + exp(-z))",), ((-10.0,), (-40.0,))),
    Misses(STORED, ("1 - 1/(1 + exp(-z))",), ((-2.5,),), dtypes=("float64",), everywhere=False),
    Misses(STORED, _TANH, ((-10.0,), (-40.0,), (10.0,), (40.0,))),
    Misses(STORED, _TANH, ((-2.5,), (2.5,)), everywhere=False),
    Misses(SHARE, ("exp(z)/sum(exp(z)), the first",), _SURE),
    Misses(SHARE, (_LOG_SOFTMAX,), _SURE),
    Misses(SHARE, ("exp(z)/sum(exp(z)), the first",), ((2.5, 0.0, -2.5),), dtypes=("float64",), everywhere=False),
    Misses(SHARE, (_LOG_SOFTMAX,), ((2.5, 0.0, -2.5),), dtypes=("float64",), everywhere=False),
    Misses(DOUBLE, ("gelu by tanh",), ((-10.0,),), values=((-2.5,), (-10.0,)), everywhere=False),
    Misses(SINGLE, ("focal loss, -(1 - p)^2 log(p)",), ((10.0,),), values=((10.0,),), ways=("numpy",), dtypes=("float32",), everywhere=False),
    Misses(SINGLE, ("silu, z/(1 + exp(-z))",), ((-1.0,), (-2.5,)), ways=("numpy",), dtypes=("float32",), everywhere=False),
    Misses(ZERO, ("gelu by tanh", "mish, z tanh(log(1 + exp(z)))"), ((-1.0,),), ways=(*TRAINING, *PRECISE), everywhere=False),
    Misses(ZERO, _WEIGHED, ((-1.0,),), ways=EVERY, dtypes=("float32",), everywhere=False),
    Misses(ZERO, ("the same, smoothed: t = (27 onehot + 1)/30",), ((2.5, 0.0, -2.5),), ways=EVERY, everywhere=False),
    Misses(EQUAL, ("KL divergence of softmax(z) from softmax(-z)",), _NEAR, values=_NEAR, which=(1, 2, 3), everywhere=False),
    Misses(TINY, ("KL divergence of softmax(z) from softmax(-z)",), ((750.0, 0.0, -750.0),), which=(2,), ways=("module", *PRECISE), dtypes=("float64",)),
)


def known(formula: str, way: str, dtype: str) -> tuple[set[Place], set[Place]]:
    """The misses of a formula by "module", or by a training step, "numpy" or "numba", "numpy, precise" or "numba, precise": those that may be, and of
    them those that are, on every machine."""
    own = [m for m in MISSES if formula in m.formulas and way in m.ways and dtype in m.dtypes]

    def rounded(found: Iterator[Place]) -> set[Place]:
        return {(i, tuple(float(np.dtype(dtype).type(x)) for x in p)) for i, p in found}

    return rounded(p for m in own for p in m.places()), rounded(p for m in own if m.everywhere for p in m.places())
