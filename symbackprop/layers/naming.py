"""The names of layers that are given none: their number among those of the same kind, on the way from the input."""

import sympy as sp

from symbackprop.graph.equations import collect
from symbackprop.graph.tensor import Tensor


def next_number(role: str, heads: str, *xs: sp.Expr) -> str:
    """One more than the layers before the inputs that have a tensor of this role called by one of the `heads` and a number: a weight W_1 or K_1
    for "W K"."""
    before = [t for t in collect([s for x in xs for s in x.free_symbols if isinstance(s, Tensor)]) if t.role == role]
    return str(1 + sum(t.name.startswith(f"{head}_") and t.name[len(head) + 1 :].isdigit() for t in before for head in heads.split()))
