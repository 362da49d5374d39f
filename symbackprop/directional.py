"""Derivatives of nodes as nodes, for losses that contain them: the residual of a differential equation, a penalty on a slope."""

from typing import Any

import sympy as sp

from symbackprop.calculus.tangent import derivative as tangent
from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.names import check_name
from symbackprop.graph.shapes import broadcast, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node, state


def derivative(y: Any, x: Any, direction: Any = 1, name: str | None = None) -> Tensor:
    """The derivative of the node `y` when the tensor `x` moves along `direction`: a node of y's shape, named `y_x` or `name`.

    `direction`, a number, an array or an expression, broadcasts to the shape of x. Derivatives along several directions need names. With the
    default, every entry of x moves at the rate 1: for a scalar x that is dy/dx, and for a column of samples, shape (n, 1), it is each sample's
    derivative by its own x. The derivative of a derivative is a second derivative. It is found forwards, an equation z_x for each node z on the
    way, so that its cost does not depend on the size of y.

    Raises `NetworkError` where y or x is not a named tensor, or y does not depend on x, and `ShapeError` for a direction that does not fit.
    Source: Griewank & Walther, Evaluating Derivatives, 2nd ed., section 3.1; for differential equations Lagaris, Likas & Fotiadis (1998).
    """
    for what, given in (("what is differentiated", y), ("what it is differentiated by", x)):
        if not isinstance(given, Tensor):
            raise NetworkError(
                f"derivative({y}, {x}): {what} is {type(given).__name__} {str(given)[:60]!r}; expected a named tensor: give it a name with node(...)"
            )
    label = f"{y.name}_{x.name}" if name is None else check_name(name, "node")
    shape: Any = None if isinstance(direction, sp.Basic) else getattr(direction, "shape", None)
    if shape:  # an array is a constant
        direction = state(f"along_{label}", shape, direction)
    direction = as_expression(direction, "derivative: the direction")
    try:
        fits = broadcast(x.shape, shape_of(direction)) == x.shape
    except ShapeError:
        fits = False
    if not fits:
        raise ShapeError(
            f"derivative({y}, {x}): the direction has shape {show(shape_of(direction))}, which does not broadcast to {show(x.shape)}, the shape of {x}"
        )
    found: sp.Expr = tangent(y, x, direction, name)
    if found == 0:
        raise NetworkError(f"derivative({y}, {x}): {y} does not depend on {x}, so the derivative is 0 everywhere")
    return found if isinstance(found, Tensor) and name in (None, found.name) else node(label, found)
