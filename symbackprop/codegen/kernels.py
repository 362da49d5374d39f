"""What generated compiled code calls: matrix products by BLAS, reductions along an axis, and, from other files, functions of numbers.

Needs numba and scipy (the extra [fast]); imported by generated modules only. Every function here is compiled once for each precision
and kept on disk. Nothing allocates.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 4.1 (softmax's stability); the BLAS technical forum standard (2001), gemm.
"""

import math
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic

from symbackprop.codegen.divergence_kernels import *  # noqa: F403
from symbackprop.codegen.function_kernels import *  # noqa: F403  (generated code calls functions of numbers from here)
from symbackprop.codegen.function_kernels import COMPILED
from symbackprop.codegen.loss_kernels import *  # noqa: F403
from symbackprop.codegen.quotient_kernels import *  # noqa: F403
from symbackprop.codegen.stable_kernels import *  # noqa: F403

# --- matrix products -----------------------------------------------------------------------------------------------------

for _name in ("sgemm", "dgemm"):
    llvmlite.binding.add_symbol(f"symbackprop_{_name}", get_cython_function_address("scipy.linalg.cython_blas", _name))


@intrinsic
def _gemm(typing: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, alpha: Any, a: Any, lda: Any, b: Any, ldb: Any, beta: Any, c: Any, ldc: Any) -> Any:
    """SciPy's BLAS gemm, arguments in Fortran's order and by value; arrays as addresses."""
    name = "symbackprop_sgemm" if alpha == types.float32 else "symbackprop_dgemm"
    size, address = types.int32, types.uintp
    signature = types.void(types.int8, types.int8, size, size, size, alpha, address, size, address, size, alpha, address, size)

    def build(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        """Fortran takes everything by reference: numbers are put on the stack."""
        pointers = [
            builder.inttoptr(x, cgutils.voidptr_t) if i in (6, 8, 11) else builder.bitcast(cgutils.alloca_once_value(builder, x), cgutils.voidptr_t)
            for i, x in enumerate(arguments)
        ]
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t] * len(pointers))
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), pointers)
        return context.get_dummy_value()

    return signature, build


@njit(**COMPILED)
def product(out: Any, a: Any, a_transposed: bool, b: Any, b_transposed: bool, alpha: Any, beta: Any) -> None:
    """out = alpha op(a) @ op(b) + beta out, for matrices in C order; op transposes where it is said. With beta = 0, out may hold anything."""
    rows, columns = out.shape
    inner = a.shape[0] if a_transposed else a.shape[1]
    # What is stored by rows is, read by columns, the transpose: out' = op(b)' op(a)'. 84 is "T", 78 "N".
    ta, tb = (84 if a_transposed else 78), (84 if b_transposed else 78)
    _gemm(tb, ta, columns, rows, inner, alpha, b.ctypes.data, b.shape[1], a.ctypes.data, a.shape[1], beta, out.ctypes.data, columns)


@njit(**COMPILED)
def products(out: Any, a: Any, b: Any, a_transposed: bool, b_transposed: bool) -> None:
    """out = op(a) @ op(b) for each pair of matrices in stacks (outer, inner, rows, columns). An operand of size one along the stack stands
    for all; where `out` is of size one, the products are added."""
    for i in range(max(out.shape[0], a.shape[0], b.shape[0])):
        for j in range(max(out.shape[1], a.shape[1], b.shape[1])):
            first = i < out.shape[0] and j < out.shape[1]
            left, right = a[i % a.shape[0], j % a.shape[1]], b[i % b.shape[0], j % b.shape[1]]
            one = out.dtype.type(1)
            product(out[i % out.shape[0], j % out.shape[1]], left, a_transposed, right, b_transposed, one, out.dtype.type(0 if first else 1))


# --- reductions along an axis: of arrays cut into (before, along, after) ---------------------------------------------------


@njit(**COMPILED)
def _largest(x: Any, i: int, k: int) -> Any:
    largest = x[i, 0, k]
    for j in range(1, x.shape[1]):
        value = x[i, j, k]
        largest = value if not value <= largest else largest  # NaN wins
    return largest


@njit(**COMPILED)
def axis_max(out: Any, x: Any) -> None:
    """The largest entry."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            out[i, k] = _largest(x, i, k)


@njit(**COMPILED)
def first_max(out: Any, x: Any) -> None:
    """1 at the first largest entry, 0 elsewhere."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            place = 0
            for j in range(x.shape[1]):
                out[i, j, k] = 0
                place = j if x[i, j, k] > x[i, place, k] else place
            out[i, place, k] = 1


_SMALLEST = 2.0**-918  # squares above it have lost no digits that count: the smallest normal number over the square of the unit roundoff


@njit(**COMPILED)
def _length(x: Any, scale: Any, eps: Any, least: Any) -> Any:
    """(d, r) whose product is max(sqrt(scale * sum(x²) + eps), least): d is 1, or the largest entry where the squares leave the range of floats."""
    total = 0.0
    for j in range(x.size):  # by its index: several entries at a time
        total += np.float64(x[j]) * np.float64(x[j])
    square = scale * total + eps
    if max(square, least * least) > _SMALLEST and square < math.inf:
        return 1.0, max(math.sqrt(square), least)
    other = math.sqrt(eps)
    largest = max(least, other)
    for j in range(x.size):
        largest = max(largest, abs(np.float64(x[j])))
    if not 0 < largest < math.inf:
        return 1.0, math.sqrt(square)
    total = 0.0
    for j in range(x.size):
        total += (np.float64(x[j]) / largest) ** 2
    return largest, max(math.hypot(math.sqrt(scale * total), other / largest), least / largest)


@njit(**COMPILED)
def norm(out: Any, x: Any, scale: Any, eps: Any, least: Any) -> None:
    """max(sqrt(scale * sum(x²) + eps), least), although the squares may overflow or vanish."""
    rows = x.reshape((x.shape[0] * x.shape[2], x.shape[1])) if x.shape[2] == 1 else x[0]  # rows that lie in one piece
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            largest, root = _length(rows[i], scale, eps, least) if x.shape[2] == 1 else _length(x[i, :, k], scale, eps, least)
            out[i, k] = largest * root


@njit(**COMPILED)
def unit(out: Any, x: Any, scale: Any, eps: Any, least: Any) -> None:
    """x divided by its norm; 0 for 0 / 0."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            largest, root = _length(x[i, :, k], scale, eps, least)
            for j in range(x.shape[1]):
                out[i, j, k] = np.float64(x[i, j, k]) / largest / root if root != 0 else 0.0


@njit(**COMPILED)
def scatter(out: Any, g: Any, indices: Any) -> None:
    """Zeros, with g[:, m] added at out[:, indices[m]]."""
    out[:] = 0
    for i in range(g.shape[0]):
        for m in range(g.shape[1]):
            for k in range(g.shape[2]):
                out[i, indices[m], k] += g[i, m, k]


# --- samples -------------------------------------------------------------------------------------------------------------


@njit(**COMPILED)
def copy(out: Any, x: Any) -> None:
    """The entries of one array into another of its shape."""
    out[...] = x


@njit(**COMPILED)
def rows(samples: Any, order: Any, first: int, n: int, room: Any) -> Any:
    """n samples from number `first` of the order on, copied into `room`; a view of them where there is no order."""
    if not order.size:
        return samples[first : first + n]
    for i in range(n):
        room[i] = samples[order[first + i]]
    return room
