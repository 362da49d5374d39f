"""Contraction: products of tensors summed over indices. Matrix product, transpose, outer product, trace, sum and mean are
cases of it, and its pullback is a contraction again.

Source: the Einstein summation of Laue, Mitterreiter & Giesen, "A Simple and Efficient Tensor Calculus", AAAI 2020, theorem 8:
the pullback of C = *(s1, s2, s3)(A, B) in A is *(s3, s2, s1)(adjoint, B).
"""

import string
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sympy as sp
from sympy.core.symbol import Str
from sympy.printing.precedence import PRECEDENCE

from symbackprop.errors import ShapeError
from symbackprop.graph.operators.base import (
    CodePrinter,
    Convolution,
    Index,
    IndexContext,
    IndexSum,
    LatexPrinter,
    Operator,
    Text,
    ints,
    plain_shape,
    shape_code,
)
from symbackprop.graph.operators.chains import chain_latex, is_chain
from symbackprop.graph.operators.pairs import MatMul, Pair, matmul, pair
from symbackprop.graph.operators.spelling import LATEX, NUMPY, algebra, is_norm, sum_of_stack
from symbackprop.graph.shapes import Shape, rank_of, shape_of, show, size_of, split_scalars

LETTERS = string.ascii_lowercase[8:] + string.ascii_lowercase[:8] + string.ascii_uppercase  # i, j, k first, as on paper


class Eye(Operator):
    """The identity matrix of a given size; the Kronecker delta."""

    title = "the identity"
    n_parameters = 1

    def infer_shape(self) -> Shape:
        size = self.args[0]
        size = int(size) if size.is_Integer else size
        return (size, size)

    @property
    def rank(self) -> int:
        return 2

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        return ()

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return sp.KroneckerDelta(*index)

    def latex_form(self, p: LatexPrinter) -> str:
        return rf"I_{{{p.plain(self.args[0])}}}"

    def numpy_form(self, p: CodePrinter) -> str:
        return f"np.eye({p.plain(self.args[0])}, dtype=DTYPE)"


class Einsum(Operator):
    """`Einsum("ij,jk->ik", A, B)`. Build it with `contract` or `einsum`, which bring it to its normal form: no operand is a
    scalar, none repeats an index, letters are in the order of their appearance."""

    n_parameters = 1

    @cached_property
    def spec(self) -> tuple[list[str], str]:
        left, out = self.args[0].name.split("->")
        return left.split(","), out

    @property
    def rank(self) -> int:
        return len(self.spec[1])

    @property
    def title(self) -> str:  # type: ignore[override]
        ins, out = self.spec
        if len(ins) == 1:
            return "the transpose" if len(out) == len(ins[0]) else "the sum" if all(c in ins[0] for c in out) else "the contraction"
        if self.matmul is not None:
            return "the inner product" if not out else "the matrix product"
        return self.convolved.title if self.convolved else "the outer product" if self.is_outer else "the contraction"

    @cached_property
    def pair(self) -> Pair | None:
        """Its indices by where they stand, if it is a product of two tensors."""
        return pair(self)

    @cached_property
    def matmul(self) -> MatMul | None:
        """The same as a product of matrices or of stacks of them, if it is one."""
        return matmul(self)

    @property
    def is_outer(self) -> bool:
        """Whether it is the outer product of two tensors."""
        return self.pair is not None and self.pair.is_outer

    @property
    def is_matmul(self) -> bool:
        """Whether code writes it with `@`."""
        return self.matmul is not None and not self.matmul.summed

    @cached_property
    def convolved(self) -> Convolution | None:  # type: ignore[override]
        """A sum over windows is a convolution: the windows know which."""
        return next((found for x in self.operands if hasattr(x, "contracted") and (found := x.contracted(self))), None)

    @property
    def precedence(self) -> int:
        """How tightly `str` binds it: a matrix product less than a product of numbers, so that both are told apart."""
        return PRECEDENCE["Mul"] - 1 if self.is_matmul else PRECEDENCE["Atom"]

    def sizes(self) -> dict[str, Any]:
        """Letter → size; raises `ShapeError` where two operands disagree."""
        sizes: dict[str, Any] = {}
        for letters, x in zip(self.spec[0], self.operands, strict=True):
            for letter, size in zip(letters, shape_of(x), strict=True):
                if sizes.setdefault(letter, size) != size:
                    shapes = " and ".join(f"{y} of shape {show(shape_of(y))}" for y in self.operands)
                    raise ShapeError(f"{self}: {shapes} do not fit: dimension {sizes[letter]} meets {size}, and they must be equal")
        return sizes

    def infer_shape(self) -> Shape:
        sizes = self.sizes()
        return tuple(sizes[letter] for letter in self.spec[1])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        ins, out = self.spec
        return [self._pull_one(k, letters, ins, out, adjoint) for k, letters in enumerate(ins)]

    def _pull_one(self, k: int, letters: str, ins: list[str], out: str, adjoint: sp.Expr) -> sp.Expr:
        others = [(ins[m], x) for m, x in enumerate(self.operands) if m != k]
        present = set(out).union(*(set(s) for s, _ in others))
        kept = "".join(c for c in letters if c in present)
        terms = [*others, (out, adjoint)] if k else [(out, adjoint), *others]
        result = contract([s for s, _ in terms], kept, [x for _, x in terms])
        if kept == letters:
            return result
        return broadcast_in(result, shape_of(self.operands[k]), [i for i, c in enumerate(letters) if c in present])

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        ins, out = self.spec
        sizes = self.sizes()
        where: dict[str, Any] = dict(zip(out, index, strict=True))
        limits = []
        for letter in dict.fromkeys("".join(ins)):
            if letter not in where and sizes[letter] == 1:
                where[letter] = sp.S.Zero
            elif letter not in where:
                where[letter] = context.fresh(sizes[letter])
                limits.append((where[letter], 0, sizes[letter] - 1))
        product = sp.Mul(*(context.entry(x, tuple(where[c] for c in s)) for s, x in zip(ins, self.operands, strict=True)))
        return IndexSum(product, *limits) if limits else product

    @property
    def is_juxtaposed(self) -> bool:  # type: ignore[override]
        ins, out = self.spec
        if len(ins) == 1:
            return len(out) < len(ins[0]) < 3 and not is_norm(self)
        chain = is_chain(list(zip(ins, self.operands, strict=True)), self.spec[1])
        return self.is_matmul or self.is_outer or self.convolved is not None or chain

    def latex_form(self, p: LatexPrinter) -> str:
        if self.convolved:
            return f" {self.convolved.sign} ".join(map(p.factor, self.convolved.operands))
        spec = self.args[0].name.replace("->", r" \to ")
        chain = algebra(self, p, LATEX) or sum_of_stack(self, p) or chain_latex(list(zip(self.spec[0], self.operands, strict=True)), self.spec[1], p)
        return chain or p.call(rf"\operatorname{{einsum}}_{{{spec}}}", *self.operands)

    def numpy_form(self, p: CodePrinter) -> str:
        matrix = algebra(self, p, NUMPY)
        if matrix is not None:
            return matrix
        if self.pair is not None and self.pair.is_tensordot:
            a, b = (p.plain(self.operands[i]) for i in self.pair.operands)
            return f"np.tensordot({a}, {b}, axes={self.pair.inner_axes})"
        by_products = len(self.operands) > 2 or (len(self.operands) == 2 and min(map(rank_of, self.operands)) > 2)
        arguments = [f'"{self.args[0].name}"', *map(p.plain, self.operands), *(["optimize=True"] if by_products else [])]
        return f"np.einsum({', '.join(arguments)})"

    def _sympystr(self, printer: Any) -> str:
        if self.convolved:
            return f"{self.convolved.word}({', '.join((*map(printer._print, self.convolved.operands), *self.convolved.options))})"
        return algebra(self, Text(printer), NUMPY) or f"einsum('{self.args[0].name}', {', '.join(map(printer._print, self.operands))})"


class Broadcast(Operator):
    """Repeat `x` over new axes: `axes[m]` is the place of x's axis m in the result, whose shape is given."""

    title = "the repetition"
    n_parameters = 2  # shape, axes

    def infer_shape(self) -> Shape:
        return plain_shape(self.args[0])

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(int(a) for a in self.args[1])

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        letters = LETTERS[: self.rank]
        return [contract([letters], "".join(letters[a] for a in self.axes), [adjoint])]

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        return context.entry(self.operands[0], tuple(index[a] for a in self.axes))

    @property
    def is_juxtaposed(self) -> bool:  # type: ignore[override]
        return (self.rank == 2 and (self.shape[1] != 1 or self.operands[0] != 1)) or (self.rank == 1 and self.operands[0] != 1)

    def latex_form(self, p: LatexPrinter) -> str:
        (x,) = self.operands
        if self.rank == 1 and not self.axes:
            return rf"{p.factor(x)} \mathbf{{1}}" if x != 1 else r"\mathbf{1}"
        if self.rank == 2 and not self.axes:
            rows, columns = self.shape  # one column of ones, one row of them, or both
            ones = r"\mathbf{1}" if columns == 1 else r"\mathbf{1}^{\top}" if rows == 1 else r"\mathbf{1} \mathbf{1}^{\top}"
            return (f"{p.factor(x)} " if x != 1 else "") + ones
        if self.rank == 2 and len(self.axes) == 1:
            return rf"\mathbf{{1}} {p.atom(x)}^{{\top}}" if self.axes == (1,) else rf"{p.factor(x)} \mathbf{{1}}^{{\top}}"
        return p.call(r"\operatorname{broadcast}", x)

    def numpy_form(self, p: CodePrinter) -> str:
        (x,) = self.operands
        shape = shape_code(self.shape, p)
        if not rank_of(x):
            return f"np.full({shape}, {p.plain(x)}, dtype=DTYPE)"
        missing = [a for a in range(self.rank) if a not in self.axes and a > min(self.axes)]
        inner = f"np.expand_dims({p.plain(x)}, {tuple(a - self.rank for a in missing)})" if missing else p.plain(x)
        return f"np.broadcast_to({inner}, {shape})"


def broadcast_in(x: sp.Expr, shape: Shape, axes: Sequence[int]) -> sp.Expr:
    """`Broadcast`, or `x` itself where its shape is the wanted one already."""
    if len(shape) == len(axes):
        return x
    axes = list(axes)
    coefficient, rest = split_scalars(x)
    if isinstance(rest, Broadcast):  # a broadcast of a broadcast is one broadcast
        axes, rest = [axes[a] for a in rest.axes], rest.operands[0]
    if rest == 1:
        coefficient, rest = sp.S.One, coefficient
    return coefficient * Broadcast(ints(shape), ints(axes), rest)


# --- construction --------------------------------------------------------------------------------------------------------


def contract(ins: Sequence[str], out: str, operands: Sequence[sp.Expr]) -> sp.Expr:
    """The contraction of `operands` with index strings `ins`, in normal form. Scalar factors are moved in front of it."""
    factors: list[sp.Expr] = []
    terms: list[tuple[str, sp.Expr]] = []
    fresh = (c for c in LETTERS if c not in set(out).union(*map(set, ins)))
    for letters, x in zip(ins, operands, strict=True):
        coefficient, x = split_scalars(x)
        factors.append(coefficient)
        for piece in _absorb(letters, x, fresh):
            terms.extend(_without_repeats(*piece, fresh))
    terms = [(s, x) for s, x in terms if s or factors.append(x)]  # type: ignore[func-returns-value]
    if not terms:
        return sp.Mul(*factors)
    if len(terms) == 1:
        letters, x = terms[0]
        if letters == out:
            return sp.Mul(*factors, x)
        constant = _sum_of_constant(letters, out, x)
        if constant is not None:
            return sp.Mul(*factors, constant)
    rename = dict(zip(dict.fromkeys("".join(s for s, _ in terms) + out), LETTERS, strict=False))
    spec = ",".join("".join(rename[c] for c in s) for s, _ in terms) + "->" + "".join(rename[c] for c in out)
    return sp.Mul(*factors, Einsum(Str(spec), *(x for _, x in terms)))


def _absorb(letters: str, x: sp.Expr, fresh: Any) -> list[tuple[str, sp.Expr]]:
    """Look through a transpose or a sum, and through a permuted product, so that none of them costs a pass of its own."""
    if isinstance(x, Einsum) and (len(x.operands) == 1):
        ins, out = x.spec
        rename = dict(zip(out, letters, strict=True))
        for c in ins[0]:
            if c not in rename:
                rename[c] = next(fresh)
        return [("".join(rename[c] for c in ins[0]), x.operands[0])]
    return [(letters, x)] if letters else [("", x)]


def _without_repeats(letters: str, x: sp.Expr, fresh: Any) -> list[tuple[str, sp.Expr]]:
    """An index that stands twice in one operand is the same as a product with the identity: A_ii = A_ij I_ij."""
    shape = None
    extra: list[tuple[str, sp.Expr]] = []
    result = ""
    for axis, c in enumerate(letters):
        if c in result:
            shape = shape_of(x) if shape is None else shape
            other = next(fresh)
            extra.append((c + other, Eye(sp.sympify(shape[axis], strict=True))))
            c = other
        result += c
    return [(result, x), *extra]


def _sum_of_constant(letters: str, out: str, x: sp.Expr) -> sp.Expr | None:
    """A sum over a broadcast scalar is the scalar times the number of terms."""
    if not isinstance(x, Broadcast) or rank_of(x.operands[0]):
        return None
    sizes = dict(zip(letters, x.shape, strict=True))
    count = size_of(tuple(s for c, s in sizes.items() if c not in out))
    return count * broadcast_in(x.operands[0], tuple(sizes[c] for c in out), [])
