"""The helpers of generated code for losses of logits: `graph.stable_losses` and `graph.operators.cross_entropy` say what each computes, and why so.

Source: P. Blanchard, D. J. Higham & N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021),
section 4.
"""

from symbackprop.codegen.helper import Helper, helper

LOSSES: dict[str, Helper] = {
    "_logistic_loss": helper(
        '''
        def _logistic_loss(z, a, b):
            """a log(1 + exp(z)) + b log(1 + exp(-z)); nothing is subtracted."""
            y = np.abs(z)
            return np.where(z > 0, a * y, b * y) + (a + b) * np.log1p(np.exp(-y, dtype=float)).astype(DTYPE)
        ''',
        '''
        def _logistic_loss(z, a, b):
            """a log(1 + exp(z)) + b log(1 + exp(-z)); nothing is subtracted."""
            return (a if z > 0 else b) * abs(z) + (a + b) * math.log1p(math.exp(-abs(z)))
        ''',
    ),
    "_logistic_slope": helper(
        '''
        def _logistic_slope(z, a, b):
            """a / (1 + exp(-z)) - b / (1 + exp(z)), without overflow."""
            e, up = np.exp(-np.abs(z), dtype=float).astype(DTYPE), z >= 0
            return (a * np.where(up, 1, e) - b * np.where(up, e, 1)) / (1 + e)
        ''',
        '''
        def _logistic_slope(z, a, b):
            """a / (1 + exp(-z)) - b / (1 + exp(z)), without overflow."""
            e = math.exp(-abs(z))
            return (a - b * e if z >= 0 else a * e - b) / (1 + e)
        ''',
    ),
    "_shares": helper(
        '''
        def _shares(z, axis):
            """The largest entry, where it first stands, the exponentials of what z is less, and the sum of all but the largest of these, which is 1."""
            m, top = z.max(axis=axis, keepdims=True), np.expand_dims(z.argmax(axis=axis), axis)
            with np.errstate(invalid="ignore"):  # -inf, which has no share
                e = _expsub(z, np.maximum(m, np.finfo(DTYPE).min))
            np.put_along_axis(e, top, 0, axis)
            rest = e.sum(axis=axis, keepdims=True)
            np.put_along_axis(e, top, 1, axis)
            return m, top, e, rest
        ''',
        needs=("_expsub",),
    ),
    "_sum_of_others": helper(
        '''
        def _sum_of_others(e, axis):
            """The sum along an axis without the largest entry, at its first place."""
            e = e.copy()
            np.put_along_axis(e, np.expand_dims(e.argmax(axis=axis), axis), 0, axis)
            return e.sum(axis=axis)
        '''
    ),
    "_share_less_target": helper(
        '''
        def _share_less_target(e, rest, total, t, a, axis):
            """a e / total - t; where e is 1, of total = 1 + rest the rest is what its share lacks."""
            rest, total, a = (np.expand_dims(x, axis) if np.ndim(x) else x for x in (rest, total, a))
            return np.where(e >= 1, (a - t) - a * (rest / total), a * (e / total) - t)
        '''
    ),
    "_cross_entropy": helper(
        '''
        def _cross_entropy(z, t, a, axis, shifts=False):
            """a log(sum(exp(z))) - sum(t z) along an axis, where z may be -inf if t is 0. `shifts`: the t add up to a, so that z may count
            from its largest entry."""
            m, _, _, rest = _shares(z, axis)
            z, m = (z - m, 0) if shifts else (z, np.squeeze(m, axis))
            return a * np.log1p(np.squeeze(rest, axis)) + (a * m - (t * np.where(t == 0, 0, z)).sum(axis=axis))
        ''',
        needs=("_shares",),
    ),
    "_cross_entropy_slope": helper(
        '''
        def _cross_entropy_slope(z, t, a, axis):
            """a softmax(z) - t along an axis; of the largest share, 1 - softmax(z) is the sum of the others."""
            _, top, e, rest = _shares(z, axis)
            slope = a * (e / (1 + rest)) - t
            at_top = a - np.take_along_axis(np.broadcast_to(t, z.shape), top, axis) - a * (rest / (1 + rest))
            np.put_along_axis(slope, top, at_top, axis)
            return slope
        ''',
        needs=("_shares",),
    ),
}
