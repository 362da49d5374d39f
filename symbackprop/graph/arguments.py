"""Calls of layers, losses and activations, checked before they are followed: what has no such name, is missing, or is of another kind."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from symbackprop.errors import ArgumentError, NetworkError
from symbackprop.graph.tensor import as_expression

P = ParamSpec("P")
R = TypeVar("R")


def checked(*expressions: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Arguments must fit the signature; those that it says are bool must be, a `name` must be one that a tensor can carry, and the arguments
    called `expressions` are turned into SymPy expressions. Raises `ArgumentError` (a `TypeError` too) or `NetworkError`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        flags = [p.name for p in signature.parameters.values() if p.annotation is bool]

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            found = bound(function.__name__, signature, args, kwargs)
            for name, value in found.arguments.items():
                if name in expressions:
                    found.arguments[name] = as_expression(value, f"{name} of {function.__name__}")
                elif name in flags and not isinstance(value, bool):
                    raise NetworkError(f"{function.__name__}: {name} is {value!r}; expected True or False")
                elif name == "name" and not (value is None or (isinstance(value, str) and f"Z_{value}".isidentifier())):
                    raise NetworkError(f"{function.__name__}: the name is {value!r}; expected letters, digits and underscores, such as 'hidden' or '1'")
            return function(*found.args, **found.kwargs)

        return call

    return decorate


def bound(name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
    """The arguments of a call of the function `name` by their names. Raises `ArgumentError` where they do not fit its signature."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        expected = ", ".join(p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in signature.parameters.values() if p.name != "self")
        raise ArgumentError(f"{name}: {error}; expected {name}({expected})") from None


__all__ = ["bound", "checked"]
