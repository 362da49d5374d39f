"""The names of layers that are given none: their number among those of the same kind, on the way from the input."""

import sympy as sp

from symbackprop.graph.equations import collect
from symbackprop.graph.tensor import Tensor


def next_number(x: sp.Expr, *heads: str) -> str:
    """One more than the layers before x that have a tensor called by one of the `heads` and a number, as W_1."""
    before = collect([s for s in x.free_symbols if isinstance(s, Tensor)])
    return str(1 + sum(t.name.startswith(f"{head}_") and t.name[len(head) + 1 :].isdigit() for t in before for head in heads))
