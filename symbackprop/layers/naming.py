"""The names of layers that are given none: their number among those of the same kind, on the way from the input."""

import sympy as sp

from symbackprop.graph.equations import collect
from symbackprop.graph.tensor import Tensor


def next_number(role: str, heads: str, *xs: sp.Expr, beside: str = "") -> str:
    """One more than the layers before the inputs that have a tensor of this role called by one of the `heads` and a number: a weight W_1 or K_1
    for "W K". Numbers are passed over under which something else has a name that the layer wants, one of the heads or of `beside`."""
    before = collect([s for x in xs for s in x.free_symbols if isinstance(s, Tensor)])
    taken = {t.name for t in before}
    own = {t.name for t in before if t.role == role}
    number = 1 + sum(name.startswith(f"{head}_") and name[len(head) + 1 :].isdigit() for name in own for head in heads.split())
    while not taken.isdisjoint(f"{head}_{number}" for head in f"{heads} {beside}".split()):
        number += 1
    return str(number)
