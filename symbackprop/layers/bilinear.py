"""The bilinear layer."""

from typing import Any

from symbackprop.errors import ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.products import einsum
from symbackprop.graph.shapes import rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node, weight
from symbackprop.layers.activations import ACTIVATIONS, choose
from symbackprop.layers.naming import next_number


@checked()
def bilinear(x: Any, y: Any, units: int, activation: Any = None, name: str | None = None, bias: bool = True) -> Tensor:
    """A form that is linear in each of two inputs: z_k = xᵀ B_k y + b_k, A = activation(Z). Returns the node A, or Z where there is none.

    Shapes: x (.., n), y (.., m), with the same leading axes; B (units, n, m), b (units,), the result (.., units). The parts are called B_k, b_B_k,
    Z_B_k and A_B_k, with `name` for k, or the number of the layer. Raises `ShapeError` for an open last axis, `NetworkError` for an unknown activation.
    """
    x, y = as_expression(x, "bilinear"), as_expression(y, "bilinear")
    for z in (x, y):
        if not rank_of(z) or not isinstance(shape_of(z)[-1], int):
            raise ShapeError(f"bilinear({x}, {y}, {units}): {z} has shape {show(shape_of(z))}; its last size must be an integer")
    if isinstance(units, bool) or not isinstance(units, int) or units < 1:
        raise ShapeError(f"bilinear({x}, {y}, {units!r}): the number of units must be a positive integer")
    apply = choose(activation, ACTIVATIONS, "activation")
    if name is None:
        name = next_number("weight", "B", x, y)
    form = weight(f"B_{name}", (units, shape_of(x)[-1], shape_of(y)[-1]))
    product = einsum("...i,kij,...j->...k", x, form, y)
    z = node(f"Z_B_{name}", product + weight(f"b_B_{name}", (units,)) if bias else product)
    return z if apply is None else node(f"A_B_{name}", apply(z))
