"""What a helper of generated code is."""

from textwrap import dedent
from typing import NamedTuple

# How a helper takes an exponential in double precision and rounds it, since NumPy's own of float32 may be 2.5 units off.
IN_DOUBLE = ", dtype=float)"


class Helper(NamedTuple):
    """Its source for arrays and for floats, and the helpers that it calls. `compiled`: the source for floats is what compiled code runs too; else there is
    a kernel of the same name."""

    array: str
    scalar: str | None = None
    needs: tuple[str, ...] = ()
    compiled: bool = False

    @property
    def training(self) -> str:
        """Its source for arrays in a step of training, with exponentials in the precision of the arrays: in double precision they take float32 twice as
        long, four times for an array that no cache holds."""
        return self.array.replace(f"{IN_DOUBLE}.astype(DTYPE)", ")").replace(IN_DOUBLE, ")")


def helper(array: str, scalar: str | None = None, needs: tuple[str, ...] = (), compiled: bool = False) -> Helper:
    return Helper(dedent(array).strip(), dedent(scalar).strip() if scalar else None, needs, compiled)


def table(name: str, numbers: tuple[float, ...]) -> str:
    """A tuple of numbers as source."""
    lines = [", ".join(map(repr, numbers[i : i + 5])) for i in range(0, len(numbers), 5)]
    return f"{name} = (\n" + "".join(f"    {line},\n" for line in lines) + ")"
