"""What a helper of generated code is."""

from textwrap import dedent
from typing import NamedTuple


class Helper(NamedTuple):
    """Its source for arrays and for floats, and the helpers that it calls."""

    array: str
    scalar: str | None = None
    needs: tuple[str, ...] = ()


def helper(array: str, scalar: str | None = None, needs: tuple[str, ...] = ()) -> Helper:
    return Helper(dedent(array).strip(), dedent(scalar).strip() if scalar else None, needs)
