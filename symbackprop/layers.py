"""The usual layers and networks, built from the public calls and nothing else."""

from collections.abc import Callable, Sequence
from typing import Any

import sympy as sp

from symbackprop import losses
from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph import functions as f
from symbackprop.graph.equations import collect
from symbackprop.graph.operators.products import matmul
from symbackprop.graph.operators.reduction import log_softmax, softmax
from symbackprop.graph.shapes import rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, data, node, weight
from symbackprop.network import Network

ACTIVATIONS: dict[str, Callable[..., sp.Expr]] = {
    "tanh": sp.tanh,
    "sigmoid": f.sigmoid,
    "relu": f.relu,
    "leaky_relu": f.leaky_relu,
    "elu": f.elu,
    "gelu": f.gelu,
    "silu": f.silu,
    "softplus": f.softplus,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "exp": sp.exp,
    "sin": sp.sin,
}
LOSSES: dict[str, Callable[..., sp.Expr]] = {
    "mse": losses.mse,
    "half_squared_error": losses.half_squared_error,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "binary_cross_entropy_with_logits": losses.binary_cross_entropy_with_logits,
    "cross_entropy": losses.cross_entropy,
}


def _choose(choice: Any, table: dict[str, Callable[..., sp.Expr]], what: str) -> Callable[..., sp.Expr] | None:
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


def dense(x: Any, units: int, activation: Any = None, name: str | None = None, bias: bool = True) -> Tensor:
    """A fully connected layer: Z = x W + b, A = activation(Z). Returns the node A, or Z where there is no activation.

    `x` has shape (.., inputs), the result (.., units). `activation` is a name ("tanh", "relu" ...), a function of one expression
    or None. The parts are called W_k, b_k, Z_k and A_k, with `name` for k, or the number of the layer. Two layers without a name on the
    same input are the same layer, so parallel ones need `name`.
    """
    x = as_expression(x, "dense")
    if not rank_of(x) or not isinstance(shape_of(x)[-1], int):
        raise ShapeError(f"dense({x}, {units}): x has shape {show(shape_of(x))}; its last size, the number of inputs, must be an integer")
    if isinstance(units, bool) or not isinstance(units, int) or units < 1:
        raise ShapeError(f"dense({x}, {units!r}): the number of units must be a positive integer")
    apply = _choose(activation, ACTIVATIONS, "activation")
    if name is None:
        before = collect([s for s in x.free_symbols if isinstance(s, Tensor)])
        name = str(1 + sum(t.role == "weight" and t.name.startswith("W_") and t.name[2:].isdigit() for t in before))
    W = weight(f"W_{name}", (shape_of(x)[-1], units))
    product = matmul(x, W)
    z = node(f"Z_{name}", product + weight(f"b_{name}", (units,)) if bias else product)
    return z if apply is None else node(f"A_{name}", apply(z))


def mlp(sizes: Sequence[int], activation: Any = "tanh", output: Any = None, loss: Any = "mse") -> Network:
    """A multilayer perceptron with `sizes` [inputs, hidden ..., outputs], over a batch `n` of rows.

    Data `X` (n, inputs) and `T` (n, outputs); weights `W_k`, `b_k`; the output is the node `Y` (the last `Z_k` where it is linear), the loss the node `C`.
    `output` is the last layer's activation (None: linear). The losses "cross_entropy" and "binary_cross_entropy_with_logits"
    are computed from the last layer's value before its activation, the logits; `predict` gives the output all the same.
    """
    if isinstance(sizes, (str, int)):
        raise NetworkError(f"mlp({sizes!r}): the sizes are {type(sizes).__name__}; expected a sequence of integers such as [4, 16, 1]")
    sizes = list(sizes)
    if len(sizes) < 2:
        raise NetworkError(f"mlp({sizes}): expected at least the number of inputs and of outputs")
    last = _choose(output, ACTIVATIONS, "output activation")
    cost = _choose(loss, LOSSES, "loss")
    if cost is None:
        raise NetworkError(f"mlp needs a loss; expected one of {', '.join(LOSSES)}, or a function of output and target")
    h: Any = data("X", ("n", sizes[0]))
    for k, units in enumerate(sizes[1:-1], 1):
        h = dense(h, units, activation, name=str(k))
    z = dense(h, sizes[-1], name=str(len(sizes) - 1))
    y = z if last is None else node("Y", last(z))
    target = data("T", ("n", sizes[-1]))
    from_logits = cost in (losses.cross_entropy, losses.binary_cross_entropy_with_logits)
    return Network(node("C", cost(z if from_logits else y, target)), output=y)
