"""The multilayer perceptron: a whole network in one call."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import sympy as sp

from symbackprop import losses
from symbackprop.errors import NetworkError
from symbackprop.graph.arguments import checked
from symbackprop.graph.tensor import data, node
from symbackprop.layers.activations import ACTIVATIONS, choose
from symbackprop.layers.dense import dense
from symbackprop.network import Network

LOSSES: dict[str, Callable[..., sp.Expr]] = {
    "mse": losses.mse,
    "half_squared_error": losses.half_squared_error,
    "binary_cross_entropy": losses.binary_cross_entropy,
    "binary_cross_entropy_with_logits": losses.binary_cross_entropy_with_logits,
    "cross_entropy": losses.cross_entropy,
    "huber": losses.huber,
    "smooth_l1": losses.smooth_l1,
    "hinge": losses.hinge,
    "cosine_loss": losses.cosine_loss,
    "kl_divergence": losses.kl_divergence,
    "negative_log_likelihood": losses.negative_log_likelihood,
}


@checked()
def mlp(sizes: Sequence[int], activation: Any = "tanh", output: Any = None, loss: Any = "mse") -> Network:
    """A multilayer perceptron with `sizes` [inputs, hidden ..., outputs], over a batch `n` of rows.

    Data `X` (n, inputs) and `T` (n, outputs); weights `W_k`, `b_k`; the output is the node `Y` (the last `Z_k` where it is linear), the loss the node `C`.
    `output` is the last layer's activation (None: linear). The losses "cross_entropy" and "binary_cross_entropy_with_logits"
    are computed from the last layer's value before its activation, the logits; `predict` gives the output all the same. For "cross_entropy" T is
    one-hot, `np.eye(outputs)[labels]`, or probabilities; a network that is fed labels is built with `dense` and `sbp.cross_entropy(Z, labels)`.
    """
    if not isinstance(sizes, Iterable) or isinstance(sizes, str):
        raise NetworkError(f"mlp({sizes!r}): the sizes are {type(sizes).__name__}; expected a sequence of integers such as [4, 16, 1]")
    sizes = list(sizes)
    choose(activation, ACTIVATIONS, "activation")  # unknown ones are refused where there is no hidden layer too
    if len(sizes) < 2:
        raise NetworkError(f"mlp({sizes}): expected at least the number of inputs and of outputs")
    last = choose(output, ACTIVATIONS, "output activation")
    cost = choose(loss, LOSSES, "loss")
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
