"""Products of two tensors: which of the forms that libraries compute and papers write a contraction has. Printers and code generators ask here.

Every index of C = A B stands in one of four places:

              rows   inner   columns   batch
    A (left)    x      x                 x
    B (right)          x        x        x
    C           x               x        x

and these decide the form. One index each for rows, inner and columns: a product of matrices; a vector lacks rows or columns. Several for some of
them: `numpy.tensordot`, or a product of matrices after reshaping where each group lies together. Leading ones besides: a stack of products,
`numpy.matmul`. No inner: a product entry by entry; no batch either: the outer product. An index of one operand alone that C does not have
is to be summed before, so that such a contraction is no pair.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import sympy as sp

Axes = tuple[int, ...]


@dataclass(frozen=True)
class Pair:
    """A contraction of two tensors: the numbers of its left operand and its right one, and the indices of both and of the result."""

    operands: tuple[int, int]
    left: str
    right: str
    out: str

    @cached_property
    def rows(self) -> str:
        return "".join(c for c in self.left if c not in self.right)

    @cached_property
    def inner(self) -> str:
        return "".join(c for c in self.left if c in self.right and c not in self.out)

    @cached_property
    def columns(self) -> str:
        return "".join(c for c in self.right if c not in self.left)

    @cached_property
    def batch(self) -> str:
        return "".join(c for c in self.out if c in self.left and c in self.right)

    @property
    def swapped(self) -> "Pair":
        """The same with the other operand at the left."""
        return Pair(self.operands[::-1], self.right, self.left, self.out)

    @property
    def is_ordered(self) -> bool:
        """Whether the result has the batch, then the rows and then the columns."""
        return self.out == self.batch + self.rows + self.columns

    @property
    def is_outer(self) -> bool:
        """Whether it is the outer product of left and right."""
        return not self.inner and not self.batch and self.is_ordered

    @property
    def is_tensordot(self) -> bool:
        """Whether it is a product of matrices whose inner axis is several, those of the operands in any order."""
        return len(self.inner) > 1 and not self.batch and self.is_ordered

    @property
    def inner_axes(self) -> tuple[Axes, Axes]:
        """The inner axes' places in the left and in the right operand."""
        return tuple(map(self.left.index, self.inner)), tuple(map(self.right.index, self.inner))


class MatMul(NamedTuple):
    """A product of two matrices or vectors, or of stacks of matrices: two factors (x, whether it is transposed), how many axes lead the
    matrices, and whether the products are added up over these."""

    factors: tuple[tuple[sp.Expr, bool], tuple[sp.Expr, bool]]
    lead: int = 0
    summed: bool = False


def pair(e: Any, units: bool = True) -> Pair | None:
    """A contraction as a pair, without axes of size one if these do not count; None where it has not two operands, or one must be summed first.

    If each operand has axes of its own, the last one of the result is of the right operand: rows stand before columns wherever they can.
    """
    ins, out = e.spec
    if len(ins) != 2:
        return None
    if not units:
        sizes = e.sizes()
        *ins, out = ("".join(c for c in letters if sizes[c] != 1) for letters in (*ins, out))
    found = Pair((0, 1), ins[0], ins[1], out)
    if set(found.rows + found.columns) - set(out):
        return None
    own = [c for c in out if c not in found.batch]
    return found.swapped if found.rows and found.columns and own[-1] in found.rows else found


def matmul(e: Any) -> MatMul | None:
    """The contraction as `numpy.matmul` has it, or as a sum of what that gives: matrices, vectors, stacks of matrices, of which one may be a
    single matrix. None for any other."""
    p = e.pair
    if p is None:
        return None
    (lead_a, a), (lead_b, b) = ((letters[:-2], letters[-2:]) for letters in (p.left, p.right))
    lead = lead_a or lead_b
    shared = set(a) & set(b)
    if len(shared) != 1 or not {lead_a, lead_b} <= {lead, ""} or set(lead) & {*a, *b} or (lead and min(len(a), len(b)) < 2):
        return None
    (k,) = shared
    rest = a.replace(k, "") + b.replace(k, "")
    x, y = (e.operands[i] for i in p.operands)
    factors = (x, a != k and a[0] == k), (y, b != k and b[-1] == k)
    if p.out == lead + rest:
        return MatMul(factors, len(lead))
    return MatMul(factors, len(lead), summed=True) if p.out == rest and lead_a == lead_b else None


__all__ = ["MatMul", "Pair", "matmul", "pair"]
