"""Helper functions that generated code may need: what takes more than one NumPy call, or a formula that is safe everywhere.

A module carries only those it uses. Each has an array form (NumPy only) and, where it is elementwise, a float form (math only).
Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), for erf and erfc;
M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012), for the branches of softplus.
"""

from textwrap import dedent
from typing import NamedTuple


class Helper(NamedTuple):
    array: str
    scalar: str | None = None
    needs: tuple[str, ...] = ()


def _helper(array: str, scalar: str | None = None, needs: tuple[str, ...] = ()) -> Helper:
    return Helper(dedent(array).strip(), dedent(scalar).strip() if scalar else None, needs)


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
    "_sigmoid": _helper(
        '''
        def _sigmoid(z):
            """1 / (1 + exp(-z)), without overflow."""
            e = np.exp(-np.abs(z))
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
            return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
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
    "_sech": _reciprocal("_sech", "cosh", "The hyperbolic secant"),
    "_csch": _reciprocal("_csch", "sinh", "The hyperbolic cosecant"),
    "_coth": _reciprocal("_coth", "tanh", "The hyperbolic cotangent"),
    "_erf": _helper(
        '''
        def _erf(x):
            """The error function: a rational approximation near zero, 1 - erfc(|x|) elsewhere (Cody 1969)."""
            y = np.minimum(np.abs(x), 0.46875) ** 2
            near = x * _horner(_ERF_TOP, y) / _horner(_ERF_BOTTOM, y)
            return np.where(np.abs(x) <= 0.46875, near, np.sign(x) * (1 - _erfc_tail(np.abs(x))))
        ''',
        needs=("_erfc_tail",),
    ),
    "_erfc": _helper(
        '''
        def _erfc(x):
            """The complementary error function, 1 - erf(x), accurate in its tail (Cody 1969)."""
            tail = _erfc_tail(np.abs(x))
            return np.where(np.abs(x) <= 0.46875, 1 - _erf(x), np.where(x > 0, tail, 2 - tail))
        ''',
        needs=("_erf", "_erfc_tail"),
    ),
    "_erfc_tail": _helper(
        '''
        def _erfc_tail(x):
            """erfc(x) for x >= 0.46875: rational approximations up to 4 and beyond (Cody 1969)."""
            y = np.clip(x, 0.46875, 4)
            middle = _horner(_ERFC_TOP, y) / _horner(_ERFC_BOTTOM, y)
            y = np.clip(x, 4, 100)
            z = 1 / y**2
            far = (0.56418958354775628695 - z * _horner(_ERFC_FAR_TOP, z) / _horner(_ERFC_FAR_BOTTOM, z)) / y
            y = np.clip(x, 0.46875, 100)
            high = np.trunc(y * 16) / 16  # exp(-y * y) in two factors, so that squaring loses nothing
            return np.exp(-high * high) * np.exp(-(y - high) * (y + high)) * np.where(x <= 4, middle, far)


        def _horner(coefficients, x):
            """A polynomial, its highest power first."""
            value = coefficients[0]
            for c in coefficients[1:]:
                value = value * x + c
            return value


        # fmt: off
        _ERF_TOP = (
            1.85777706184603153e-1, 3.16112374387056560e0, 1.13864154151050156e2, 3.77485237685302021e2,
            3.20937758913846947e3,
        )
        _ERF_BOTTOM = (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3)
        _ERFC_TOP = (
            2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594e0, 6.61191906371416295e1,
            2.98635138197400131e2, 8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3,
            1.23033935479799725e3,
        )
        _ERFC_BOTTOM = (
            1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
            3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3,
        )
        _ERFC_FAR_TOP = (
            1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
            1.60837851487422766e-2, 6.58749161529837803e-4,
        )
        _ERFC_FAR_BOTTOM = (
            1.0, 2.56852019228982242e0, 1.87295284992346725e0, 5.27905102951428412e-1, 6.05183413124413191e-2,
            2.33520497626869185e-3,
        )
        # fmt: on
        '''
    ),
    "_softmax": _helper(
        '''
        def _softmax(x, axis):
            """exp(x) / sum(exp(x)) along an axis, without overflow; zeros where every x is -inf."""
            e = np.exp(x - np.maximum(x.max(axis=axis, keepdims=True), np.finfo(DTYPE).min))
            return e / np.maximum(e.sum(axis=axis, keepdims=True), 1)  # the largest e is 1, unless there is none
        '''
    ),
    "_logsumexp": _helper(
        '''
        def _logsumexp(x, axis):
            """log(sum(exp(x))) along an axis, without overflow."""
            m = x.max(axis=axis, keepdims=True)
            m = np.where(np.isfinite(m), m, 0)
            return np.log(np.exp(x - m).sum(axis=axis)) + np.squeeze(m, axis)
        '''
    ),
    "_log_softmax": _helper(
        '''
        def _log_softmax(x, axis):
            """log(softmax(x)) along an axis, without overflow."""
            x = x - x.max(axis=axis, keepdims=True)
            return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))
        '''
    ),
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


def helper_source(names: set[str], scalar: bool = False) -> list[str]:
    """The source of the named helpers, in a fixed order."""
    chosen = [HELPERS[name] for name in HELPERS if name in names]
    return [text for h in chosen if (text := h.scalar if scalar else h.array)]
