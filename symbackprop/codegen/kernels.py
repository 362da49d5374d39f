"""What generated compiled code calls: matrix products by BLAS, functions that compilers can vectorise, and reductions along an axis.

Needs numba and scipy (the extra [fast]); imported by generated modules only. Every function here is compiled once for each precision
and kept on disk. Nothing allocates.

Sources: Cody & Waite, Software Manual for the Elementary Functions (1980), chapter 6 (the exponential by argument reduction);
W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969); M. Mächler, "Accurately computing
log(1 - exp(-|a|))" (2012);
Goodfellow, Bengio & Courville, Deep Learning, section 4.1 (softmax's stability); the BLAS technical forum standard (2001), gemm.
"""

import math
from typing import Any

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic, overload

from symbackprop.codegen import cody

# A sum may be regrouped, which is what lets it be vectorised; infinities and NaN keep their meaning.
COMPILED: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "fastmath": {"contract", "reassoc"}}
_EXACT = {**COMPILED, "fastmath": {"contract"}}  # the argument reductions below rely on the order of their operations

# --- functions -----------------------------------------------------------------------------------------------------------

_LOG2_E = 1.4426950408889634
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # the first has trailing zeros, so that k times it is exact
_ERFCX_TOP, _ERFCX_BOTTOM = cody.ERFCX
_ERFCX_FAR_TOP, _ERFCX_FAR_BOTTOM = cody.ERFCX_FAR
_ROUND = 6755399441055744.0  # 1.5 * 2**52: adding it leaves the nearest integer in the last bits


@njit(**_EXACT)
def _power_of_two(k: Any) -> Any:
    """2**k for an integer k (as a float) from -1022 to 1023, written into the exponent bits."""
    bits = np.int64(np.float64(k + _ROUND).view(np.int64))
    return np.float64(np.int64((bits + 1023) << 52).view(np.float64))


@njit(**_EXACT)
def _reduced_expm1(x: Any, k: Any) -> Any:
    """exp(x - k log 2) - 1 for |x - k log 2| <= log(2)/2, by Taylor's series."""
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    return p * r * r + r


@njit(**_EXACT)
def exp(x: Any) -> Any:
    """The exponential, in double precision whatever x is."""
    x = -746.0 if x < -746.0 else np.float64(x)
    x = 710.0 if x > 710.0 else x
    k = (x * _LOG2_E + _ROUND) - _ROUND
    half = np.floor(k * 0.5)  # in two factors, so that neither leaves the range of exponents
    return (1 + _reduced_expm1(x, k)) * _power_of_two(half) * _power_of_two(k - half)


@njit(**_EXACT)
def tanh(x: Any) -> Any:
    """The hyperbolic tangent, from exp(-2|x|) - 1: accurate near zero too."""
    y = np.float64(-2 * abs(x))
    y = np.float64(-80) if y < -80 else y
    k = (y * _LOG2_E + _ROUND) - _ROUND
    scale = _power_of_two(k)
    e = scale * _reduced_expm1(y, k) + (scale - 1)
    return math.copysign(e / (2 + e), x)


@njit(**_EXACT)
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), without overflow."""
    e = exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1 + e)


@njit(**_EXACT)
def softplus(x: Any) -> Any:
    """log(1 + exp(x)), without overflow."""
    return (x if x > 0 else np.float64(0)) + math.log1p(exp(-abs(x)))


def relu(x: Any) -> Any:
    """max(0, x), in the precision of x; NaN stays NaN."""
    return x if not x <= 0 else type(x)(0)


@overload(relu)
def _relu(x):  # type: ignore[no-untyped-def]  # compilers compare the signatures
    zero = np.float32(0) if x == types.float32 else np.float64(0)
    return lambda x: x if not x <= zero else zero


@njit(**_EXACT)
def step(x: Any) -> Any:
    """1 where x > 0, else 0."""
    return 1.0 if x > 0 else 0.0


@njit(**_EXACT)
def sign(x: Any) -> Any:
    """-1, 0 or 1; NaN stays NaN."""
    return 1.0 if x > 0 else -1.0 if x < 0 else np.float64(x)


@njit(**_EXACT)
def sech(x: Any) -> Any:
    """The hyperbolic secant, although cosh may overflow."""
    e = exp(-abs(x))
    return 2 * e / (1 + e * e)


# --- what naive formulas are rewritten to (graph.stable says what each is, codegen.stable_helpers how) ------------------------


@njit(**_EXACT)
def logaddexp(a: Any, b: Any) -> Any:
    """log(exp(a) + exp(b)), without overflow."""
    a, b = np.float64(a), np.float64(b)
    return a + math.log(2.0) if a == b else max(a, b) + math.log1p(exp(-abs(a - b)))


@njit(**_EXACT)
def guarded(mask: Any, x: Any, safe: Any) -> Any:
    """x where the mask is 1, and a harmless number where it is 0."""
    return np.float64(x) if mask > 0 else np.float64(safe)


@njit(**_EXACT)
def expsub(a: Any, b: Any) -> Any:
    """exp(a - b), with the rounding error of a - b, which is known (Knuth, TAOCP 2, section 4.2.2, theorem B), made good."""
    a, b = np.float64(a), np.float64(b)
    d = a - b
    c = d - a
    error = (a - (d - c)) - (b + c)
    e = exp(d)
    return e + e * error if abs(error) < 1 else e


@njit(**_EXACT)
def softmax2(a: Any, b: Any) -> Any:
    """exp(a) / (exp(a) + exp(b)), without overflow."""
    e = expsub(min(a, b), max(a, b))
    return (1.0 if a >= b else e) / (1 + e)


@njit(**_EXACT)
def log1mexp(x: Any) -> Any:
    """log(1 - exp(-x)), x > 0 (Mächler 2012)."""
    y = np.float64(x)
    return math.log(-math.expm1(-y)) if y < 0.6931471805599453 else math.log1p(-exp(-y))


@njit(**_EXACT)
def logsubexp(a: Any, b: Any) -> Any:
    """log(exp(a) - exp(b)), a > b, without overflow."""
    a, b = np.float64(a), np.float64(b)
    return a + log1mexp(a - b)


@njit(**_EXACT)
def logcosh(x: Any) -> Any:
    """log(cosh(x))."""
    y = abs(np.float64(x))
    if y < 1:
        return math.log1p(2 * math.sinh(y / 2) ** 2)
    return (y - 0.6931471805599453) + math.log1p(exp(-2 * y))


@njit(**_EXACT)
def expm1mx(x: Any) -> Any:
    """exp(x) - 1 - x."""
    y = np.float64(x)
    if abs(y) >= 1:
        return math.expm1(y) - y
    series = 1.0
    for k in range(19, 2, -1):
        series = 1 + y / k * series
    return y * y / 2 * series


@njit(**_EXACT)
def gaussian(x: Any, c: Any) -> Any:
    """exp(-c x²), the square in two parts of which the first is exact (Cody 1969)."""
    c = np.float64(c)
    y = min(abs(np.float64(x)), 28 / math.sqrt(c))
    high = np.floor(y * 16) / 16
    return exp(-c * high * high) * exp(-c * (y - high) * (y + high))


@njit(**_EXACT)
def _horner(coefficients: Any, x: Any) -> Any:
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value


@njit(**_EXACT)
def _erfcx(x: Any) -> Any:
    """exp(x²) erfc(x) for x >= 0.46875 (Cody 1969)."""
    if x <= 4:
        return _horner(_ERFCX_TOP, x) / _horner(_ERFCX_BOTTOM, x)
    z = 1 / (x * x)
    return (0.5641895835477563 - z * (_horner(_ERFCX_FAR_TOP, z) / _horner(_ERFCX_FAR_BOTTOM, z))) / x


@njit(**_EXACT)
def normal_cdf(x: Any) -> Any:
    """The standard normal distribution function."""
    z = np.float64(x)
    y = z * 0.7071067811865476
    return 0.5 * (1 + math.erf(y)) if y > -0.46875 else gaussian(z, 0.5) * _erfcx(-y) / 2


@njit(**_EXACT)
def normal_pdf(x: Any) -> Any:
    """The standard normal density."""
    return 0.3989422804014327 * gaussian(x, 0.5)


@njit(**_EXACT)
def erf_complement(x: Any) -> Any:
    """1 - erf(x)."""
    return math.erfc(np.float64(x))


@njit(**_EXACT)
def xlogy(x: Any, y: Any) -> Any:
    """x log(y), and 0 where x is 0."""
    return np.float64(x) * math.log(np.float64(y)) if x != 0 else np.float64(0)


@njit(**_EXACT)
def xdivy(x: Any, y: Any) -> Any:
    """x / y, and 0 where x is 0."""
    return np.float64(x) / np.float64(y) if x != 0 else np.float64(0)


@njit(**_EXACT)
def hypot(x: Any, y: Any) -> Any:
    """sqrt(x² + y²), although the squares may overflow or vanish."""
    return math.hypot(np.float64(x), np.float64(y))


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


@njit(**COMPILED)
def _log_sum(x: Any, i: int, k: int, shift: Any) -> Any:
    total = 0.0
    for j in range(x.shape[1]):
        total += exp(x[i, j, k] - shift)
    return math.log(total)


@njit(**COMPILED)
def log_sum_exp(out: Any, x: Any) -> None:
    """log(sum(exp(x))), without overflow."""
    for i in range(x.shape[0]):
        for k in range(x.shape[2]):
            largest = _largest(x, i, k)
            shift = np.float64(largest) if math.isfinite(largest) else 0.0
            out[i, k] = shift + _log_sum(x, i, k, shift)


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
