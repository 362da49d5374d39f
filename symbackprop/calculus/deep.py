"""Room for expressions as deep as their network. Deriving walks iteratively, but SymPy's own methods recurse, some twenty Python frames
a layer; what substitutes or prints a whole derivative of a deep network raises the interpreter's limit while it does."""

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from symbackprop.errors import UnsupportedError

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
        except RecursionError:
            raise UnsupportedError(
                f"{function.__name__}: the expression nests deeper than SymPy can follow; read the matrix or index form, which name each layer's error"
            ) from None
        finally:
            sys.setrecursionlimit(limit)

    return run
