"""What the parts of a layer are called where nobody gave it a name: W_1, b_1, Z_1 and A_1 in the first, and so on."""

import re

import sympy as sp

from symbackprop.graph.equations import collect
from symbackprop.graph.tensor import Tensor

_FACTOR = re.compile(r"[WK]_\d+")  # the weight that a layer multiplies with


def layer_name(x: sp.Expr) -> str:
    """The number of a layer on the input `x`: one more than there are layers before it."""
    before = collect([s for s in x.free_symbols if isinstance(s, Tensor)])
    return str(1 + sum(t.role == "weight" and _FACTOR.fullmatch(t.name) is not None for t in before))


__all__ = ["layer_name"]
