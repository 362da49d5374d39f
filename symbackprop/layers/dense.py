"""The fully connected layer."""

from typing import Any

from symbackprop.errors import ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.products import matmul
from symbackprop.graph.shapes import rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node, weight
from symbackprop.layers.activations import ACTIVATIONS, choose
from symbackprop.layers.naming import next_number


@checked()
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
    apply = choose(activation, ACTIVATIONS, "activation")
    if name is None:
        name = next_number("weight", "W K", x)
    W = weight(f"W_{name}", (shape_of(x)[-1], units))
    product = matmul(x, W)
    z = node(f"Z_{name}", product + weight(f"b_{name}", (units,)) if bias else product)
    return z if apply is None else node(f"A_{name}", apply(z))
