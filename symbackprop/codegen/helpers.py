"""Helper functions that generated code may need: what takes more than one NumPy call, or a formula that is safe everywhere.

A module carries only those it uses. Each has an array form (NumPy only) and, where it is elementwise, a float form (math only).
The functions that naive formulas are rewritten to have theirs in the files beside this one.
Source: M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012), for the branches of softplus.
"""

from symbackprop.codegen.divergence_helpers import DIVERGENCES
from symbackprop.codegen.error_helpers import ERROR_FUNCTIONS
from symbackprop.codegen.helper import Helper
from symbackprop.codegen.helper import helper as _helper
from symbackprop.codegen.loss_helpers import LOSSES
from symbackprop.codegen.norm_helpers import NORMS
from symbackprop.codegen.quotient_helpers import QUOTIENTS
from symbackprop.codegen.remainder_helpers import REMAINDERS
from symbackprop.codegen.square_helpers import SQUARES
from symbackprop.codegen.stable_helpers import STABLE
from symbackprop.codegen.sum_helpers import SUMS
from symbackprop.codegen.tail_helpers import TAILS


def _reciprocal(name: str, function: str, title: str) -> Helper:
    return _helper(
        f'''
        def {name}(x):
            """{title} of x."""
            return 1 / np.{function}(x)
        ''',
        f'''
        def {name}(x):
            """{title} of x."""
            return 1 / math.{function}(x)
        ''',
    )


HELPERS: dict[str, Helper] = {
    "_solve": _helper(
        '''
        def _solve(a, b):
            """The solution of a x = b. A matrix that is singular or not finite is an error, and never numbers."""
            x = np.linalg.solve(a, b)
            if not (np.isfinite(a).all() and np.isfinite(x).all()):
                raise np.linalg.LinAlgError("The matrix or the solution is not finite")
            return x
        ''',
    ),
    "_sigmoid": _helper(
        '''
        def _sigmoid(z):
            """1 / (1 + exp(-z)), without overflow."""
            e = np.exp(-np.abs(z), dtype=float).astype(DTYPE)
            return np.where(z >= 0, 1, e) / (1 + e)
        ''',
        '''
        def _sigmoid(z):
            """1 / (1 + exp(-z)), without overflow."""
            if z >= 0:
                return 1 / (1 + math.exp(-z))
            e = math.exp(z)
            return e / (1 + e)
        ''',
    ),
    "_softplus": _helper(
        '''
        def _softplus(z):
            """log(1 + exp(z)), without overflow."""
            return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z), dtype=float)).astype(DTYPE)
        ''',
        '''
        def _softplus(z):
            """log(1 + exp(z)), without overflow."""
            return max(z, 0.0) + math.log1p(math.exp(-abs(z)))
        ''',
    ),
    "_relu": _helper(
        '''
        def _relu(z):
            """max(0, z)."""
            return np.maximum(z, 0)
        ''',
        '''
        def _relu(z):
            """max(0, z)."""
            return z if z > 0 or z != z else 0.0
        ''',
    ),
    "_step": _helper(
        '''
        def _step(z):
            """1 where z > 0, else 0."""
            return np.greater(z, 0).astype(DTYPE)
        ''',
        '''
        def _step(z):
            """1 where z > 0, else 0."""
            return 1.0 if z > 0 else 0.0
        ''',
    ),
    "_sign": _helper(
        '''
        def _sign(z):
            """-1, 0 or 1."""
            return np.sign(z)
        ''',
        '''
        def _sign(z):
            """-1, 0 or 1."""
            return float((z > 0) - (z < 0))
        ''',
    ),
    "_sec": _reciprocal("_sec", "cos", "The secant"),
    "_csc": _reciprocal("_csc", "sin", "The cosecant"),
    "_cot": _reciprocal("_cot", "tan", "The cotangent"),
    "_sech": _helper(
        '''
        def _sech(x):
            """The hyperbolic secant, although cosh may overflow."""
            e = np.exp(-np.abs(x), dtype=float).astype(DTYPE)
            return 2 * e / (1 + e * e)
        ''',
        '''
        def _sech(x):
            """The hyperbolic secant, although cosh may overflow."""
            e = math.exp(-abs(x))
            return 2 * e / (1 + e * e)
        ''',
    ),
    "_csch": _helper(
        '''
        def _csch(x):
            """The hyperbolic cosecant, although sinh may overflow."""
            near = np.abs(x) < 20
            return np.where(near, 1 / np.sinh(np.where(near, x, 1)), np.sign(x) * 2 * np.exp(-np.abs(x), dtype=float).astype(DTYPE))
        ''',
        '''
        def _csch(x):
            """The hyperbolic cosecant, although sinh may overflow."""
            return 1 / math.sinh(x) if abs(x) < 20 else math.copysign(2 * math.exp(-abs(x)), x)
        ''',
    ),
    "_coth": _reciprocal("_coth", "tanh", "The hyperbolic cotangent"),
    **ERROR_FUNCTIONS,
    **STABLE,
    **SUMS,
    **SQUARES,
    **REMAINDERS,
    **TAILS,
    **QUOTIENTS,
    "_softmax": _helper(
        '''
        def _softmax(x, axis):
            """exp(x) / sum(exp(x)) along an axis, without overflow; zeros where every x is -inf."""
            with np.errstate(invalid="ignore"):  # -inf, which has no share
                e = _expsub(x, np.maximum(x.max(axis=axis, keepdims=True), np.finfo(DTYPE).min))
            return e / np.maximum(e.sum(axis=axis, keepdims=True), 1)  # the largest e is 1, unless there is none
        ''',
        needs=("_expsub",),
    ),
    "_logsumexp": _helper(
        '''
        def _logsumexp(x, axis):
            """log(sum(exp(x))) along an axis, without overflow; log1p of the sum without its largest term (Blanchard, Higham & Higham 2021)."""
            m = x.max(axis=axis, keepdims=True)
            top = x == m
            with np.errstate(invalid="ignore"):  # infinities
                e = np.where(top, 0, _expsub(x, np.where(np.isfinite(m), m, 0)))
            return np.log1p(e.sum(axis=axis) + (top.sum(axis=axis) - 1).astype(DTYPE)) + np.squeeze(m, axis)
        ''',
        needs=("_expsub",),
    ),
    "_log_softmax": _helper(
        '''
        def _log_softmax(x, axis):
            """log(softmax(x)) along an axis, without overflow; log1p of the sum without its largest term (Blanchard, Higham & Higham 2021)."""
            x = x - x.max(axis=axis, keepdims=True)
            top = x == 0
            e = np.where(top, 0, np.exp(x))
            return x - np.log1p(e.sum(axis=axis, keepdims=True) + (top.sum(axis=axis, keepdims=True) - 1).astype(DTYPE))
        '''
    ),
    **DIVERGENCES,
    **LOSSES,
    **NORMS,
    "_first_max": _helper(
        '''
        def _first_max(x, axis):
            """1 at the first largest entry along an axis, 0 elsewhere."""
            mask = np.zeros_like(x)
            np.put_along_axis(mask, np.expand_dims(x.argmax(axis=axis), axis), 1, axis=axis)
            return mask
        '''
    ),
    "_one_hot": _helper(
        '''
        def _one_hot(labels, size):
            """Integer labels as rows of the identity matrix."""
            return (np.expand_dims(labels, -1) == np.arange(size)).astype(DTYPE)
        '''
    ),
    "_pad": _helper(
        '''
        def _pad(x, shape, cuts, value=0):
            """A constant array of the given shape, with x at the places that the slices name."""
            result = np.full(shape, value, DTYPE)
            result[cuts] = x
            return result
        '''
    ),
    "_parts": _helper(
        '''
        def _parts(rows, arrays, buffers):
            """The arrays in blocks of so many rows, each block with the buffers, cut to its length."""
            starts = range(0, len(arrays[0]), rows)
            return [(*(a[i : i + rows] for a in arrays), *(b[: len(arrays[0]) - i] for b in buffers)) for i in starts]
        '''
    ),
    "_windows": _helper(
        '''
        def _windows(x, sizes, strides=None, dilations=None):
            """Windows over the last axes, as a view: entry [.., p.., i..] is x[.., stride * i + dilation * p..]."""
            lead = x.ndim - len(sizes)
            strides, dilations = strides or (1,) * len(sizes), dilations or (1,) * len(sizes)
            counts = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[lead:], sizes, strides, dilations)]
            steps = [*np.multiply(x.strides[lead:], dilations), *np.multiply(x.strides[lead:], strides)]
            shape, steps = (*x.shape[:lead], *sizes, *counts), (*x.strides[:lead], *map(int, steps))
            return np.lib.stride_tricks.as_strided(x, shape, steps, writeable=False)
        '''
    ),
    "_fold": _helper(
        '''
        def _fold(w, lengths, strides=None, dilations=None, out=None):
            """What stands in windows, added back to where it came from: the transpose of _windows."""
            n = len(lengths)
            lead, sizes, counts = w.shape[: -2 * n], w.shape[-2 * n : -n], w.shape[-n:]
            strides, dilations = strides or (1,) * n, dilations or (1,) * n
            result = np.empty((*lead, *lengths), w.dtype) if out is None else out
            result.fill(0)
            for offset in np.ndindex(sizes):
                places = [slice(d * p, d * p + s * (m - 1) + 1, s) for p, m, s, d in zip(offset, counts, strides, dilations)]
                result[(..., *places)] += w[(..., *offset, *[slice(None)] * n)]
            return result
        '''
    ),
    "_scatter": _helper(
        '''
        def _scatter(g, indices, axis, size):
            """Zeros, with the entries of g added at integer positions along an axis (counted from the end of the result)."""
            lead = g.ndim - indices.ndim + 1 + axis
            result = np.zeros(g.shape[:lead] + (size,) + g.shape[lead + indices.ndim :], DTYPE)
            np.add.at(result, (slice(None),) * lead + (indices,), g)
            return result
        '''
    ),
}


def helper_source(names: set[str], scalar: bool = False, training: bool = False) -> list[str]:
    """The source of the named helpers, in a fixed order: for floats, for the arrays of a training step, or for arrays."""
    chosen = [HELPERS[name] for name in HELPERS if name in names]
    return [text for h in chosen if (text := h.scalar if scalar else h.training if training else h.array)]
