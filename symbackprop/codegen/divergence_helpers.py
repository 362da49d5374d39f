"""The helpers of generated code for the divergence of two softmaxes: `graph.operators.divergence` says what each computes, and why so. In double
precision, whatever the arrays are.

Where sum(p (exp(d') - 1 - d')) < 1, all is made of d', the difference of the logits less its mean; beyond, where the two are apart, of shares.
"""

from symbackprop.codegen.helper import Helper, helper

DIVERGENCES: dict[str, Helper] = {
    "_apart": helper(
        '''
        def _apart(a, b, axis):
            """Of p = softmax(a): where it is largest, p times the sum of exponentials, and that sum; d' = b - a less its mean; sum(p (exp(d') - 1 - d'))."""
            with np.errstate(invalid="ignore", over="ignore"):  # -inf, which has no share; what is far apart, where s is not read
                m, top, e, rest = _shares(a, axis)
                total, near = 1 + rest, e > 0.5
                d = b - a
                c = d - b
                error = (b - (d - c)) - (a + c)  # of d, which is known (Knuth, TAOCP 2, section 4.2.2, theorem B)
                error, share = np.where(np.isfinite(error), error, 0), near / near.sum(axis=axis, keepdims=True)
                d, error = (x - np.where(near, x * share, 0).sum(axis=axis, keepdims=True) for x in (d, error))
                d = np.where(e > 0, d + error, 0)
                small = np.where(near, np.expm1(a - m), e)  # exp(a - m) is 1 + this where near
                mean = (np.where(near, d, 0).sum(axis=axis, keepdims=True) + (small * d).sum(axis=axis, keepdims=True)) / total
                d = np.where(e > 0, d - mean, 0)
                large = _expsub(b, np.take_along_axis(b, top, axis)) * np.exp(np.take_along_axis(d, top, axis))  # e exp(d'), where d' magnifies errors
                terms = np.where((e > 0) & (d < 2), e * _expm1mx(np.minimum(d, 2)), large - e * (1 + d))
                return top, e, total, d, terms.sum(axis=axis, keepdims=True) / total
        ''',
        needs=("_shares", "_expsub", "_expm1mx"),
    ),
    "_divergence": helper(
        '''
        def _divergence(a, b, axis):
            """sum(p log(p/q)) of p = softmax(a) and q = softmax(b) along an axis."""
            a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
            _, e, total, _, s = _apart(a, b, axis)
            with np.errstate(invalid="ignore"):
                logs = _log_share(a, axis) - _log_share(b, axis)
                far = (e / total * np.where(e > 0, logs, 0)).sum(axis=axis)
                s = np.squeeze(s, axis)
                return np.where(s < 1, np.log1p(np.where(s < 1, s, 0)), far).astype(DTYPE)
        ''',
        needs=("_apart", "_log_share"),
    ),
    "_log_share": helper(
        '''
        def _log_share(z, axis):
            """log(softmax(z)) along an axis, the largest share's as that of 1 and the sum of the others."""
            m, _, _, rest = _shares(z, axis)
            return (z - m) - np.log1p(rest)
        ''',
        needs=("_shares",),
    ),
    "_divergence_slope": helper(
        '''
        def _divergence_slope(a, b, axis):
            """p (log(p/q) - sum(p log(p/q))) of p = softmax(a) and q = softmax(b) along an axis."""
            _, e, total, d, _ = _apart(np.asarray(a, dtype=float), np.asarray(b, dtype=float), axis)
            return (-e / total * d).astype(DTYPE)
        ''',
        needs=("_apart",),
    ),
    "_share_difference": helper(
        '''
        def _share_difference(a, b, axis):
            """softmax(b) - softmax(a) along an axis; of a share of a above 1/2, what the others' differ by."""
            a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
            top, e, total, d, s = _apart(a, b, axis)
            _, _, f, rest = _shares(b, axis)
            near = (e > 0) & (np.abs(d) < 2) & (s < 1)
            with np.errstate(invalid="ignore"):
                found = np.where(near, e / total * ((np.expm1(np.where(near, d, 0)) - s) / (1 + s)), f / (1 + rest) - e / total)
            at_top = np.take_along_axis(found, top, axis)
            np.put_along_axis(found, top, 0, axis)
            np.put_along_axis(found, top, np.where(total < 2, -found.sum(axis=axis, keepdims=True), at_top), axis)
            return found.astype(DTYPE)
        ''',
        needs=("_apart",),
    ),
}
