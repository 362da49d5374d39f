"""The activations that layers know by name."""

from collections.abc import Callable
from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError
from symbackprop.graph import functions as f
from symbackprop.graph.operators.reduction import log_softmax, softmax

ACTIVATIONS: dict[str, Callable[..., sp.Expr]] = {
    "tanh": sp.tanh,
    "sigmoid": f.sigmoid,
    "relu": f.relu,
    "leaky_relu": f.leaky_relu,
    "elu": f.elu,
    "selu": f.selu,
    "gelu": f.gelu,
    "gelu_tanh": f.gelu_tanh,
    "silu": f.silu,
    "mish": f.mish,
    "softplus": f.softplus,
    "softsign": f.softsign,
    "hard_tanh": f.hard_tanh,
    "hard_sigmoid": f.hard_sigmoid,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "exp": sp.exp,
    "sin": sp.sin,
}


def choose(choice: Any, table: dict[str, Callable[..., sp.Expr]], what: str) -> Callable[..., sp.Expr] | None:
    """What a user chose by its name, as a function of expressions; None where nothing is to be applied."""
    if choice is None or choice in ("linear", "identity"):
        return None
    if isinstance(choice, str):
        if choice not in table:
            raise NetworkError(f"the {what} {choice!r} is unknown; expected one of {', '.join(table)}, or a function of expressions")
        return table[choice]
    if not callable(choice):
        raise NetworkError(f"the {what} is {choice!r}; expected a name or a function of expressions")
    chosen: Callable[..., sp.Expr] = choice
    return chosen
