"""The names of layers that are given none: their number among those of the same kind, on the way from the input."""

import sympy as sp

from symbackprop.graph.equations import collect
from symbackprop.graph.tensor import Tensor


def next_number(x: sp.Expr, head: str) -> str:
    """One more than the layers before x whose tensor is called `head` and a number, as in W_1."""
    before = collect([s for s in x.free_symbols if isinstance(s, Tensor)])
    return str(1 + sum(t.name.startswith(f"{head}_") and t.name[len(head) + 1 :].isdigit() for t in before))
