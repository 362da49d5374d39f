"""Dropout: noise that keeps units from relying on one another."""

from fractions import Fraction
from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.draw import Bernoulli
from symbackprop.graph.shapes import Dim, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, data, node
from symbackprop.layers.naming import next_number


@checked()
def dropout(x: Any, p: float = 0.5, name: str | None = None) -> Tensor:
    """Inverted dropout: D = M x/(1 - p) in training, D = x at inference. Returns the node D, of the shape of x.

    The mask M, of the shape of x, holds 1 with probability 1 - p and else 0. It is a data tensor: where it is not given, training draws
    it anew for every update, from a generator that the trainer's seed starts; in generated code, `draw` does. The parts are called M_k and
    D_k, with `name` for k, or the number of the layer.

    Source: Srivastava et al., Dropout, JMLR 15 (2014), section 4, scaled in training as in its section 10. Raises `NetworkError` for a p
    that is not at least 0 and less than 1, `ShapeError` where a size of x is computed from others.
    """
    x = as_expression(x, "dropout")
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not 0 <= p < 1:
        raise NetworkError(f"dropout({x}): p is {p!r}; expected the share of entries that are dropped, at least 0 and less than 1")
    if not all(isinstance(size, (int, Dim)) for size in shape_of(x)):
        raise ShapeError(f"dropout({x}): x has shape {show(shape_of(x))}; its sizes must be integers or names of dimensions, since the mask is data")
    kept = Fraction(1) - Fraction(str(p))  # as the number was written: 0.3 is 3/10
    name = next_number("data", "M", x) if name is None else name
    mask = data(f"M_{name}", shape_of(x), draw=Bernoulli(float(kept)))
    return node(f"D_{name}", mask * x / sp.Rational(kept.numerator, kept.denominator), inference=x)
