"""Room for expressions as deep as their network. Deriving walks iteratively, but SymPy's own methods recurse, some twenty Python frames
a layer; what substitutes or prints a whole derivative of a deep network raises the interpreter's limit while it does."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
FRAMES = 40_000


def deep(function: Callable[P, R]) -> Callable[P, R]:
    """The function, run with a recursion limit that networks of some hundred layers do not reach."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(max(limit, FRAMES))
        try:
            return function(*args, **kwargs)
        finally:
            sys.setrecursionlimit(limit)

    return run
