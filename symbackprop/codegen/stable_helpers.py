"""The helpers of generated code that compute what naive formulas lose: differences of nearly equal numbers, 0 times infinity.

In each, an argument that a branch cannot take is made harmless before the function sees it.

Source: M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012), for log1mexp.
"""

from textwrap import dedent

from symbackprop.codegen.helper import Helper, helper

STABLE: dict[str, Helper] = {
    "_normal_pdf": helper(
        '''
        def _normal_pdf(z):
            """The standard normal density."""
            return 0.3989422804014327 * _gaussian(z, 0.5)
        ''',
        '''
        def _normal_pdf(z):
            """The standard normal density."""
            return 0.3989422804014327 * _gaussian(z, 0.5)
        ''',
        needs=("_gaussian",),
    ),
    "_expsub": helper(
        '''
        def _expsub(a, b):
            """exp(a - b), with the rounding error of a - b, which is known (Knuth, TAOCP 2, section 4.2.2, theorem B), made good."""
            d = a - b
            c = d - a
            error = (a - (d - c)) - (b + c)
            e = np.exp(d)
            return e + e * np.where(np.abs(error) < 1, error, 0)
        ''',
        '''
        def _expsub(a, b):
            """exp(a - b), with the rounding error of a - b, which is known (Knuth, TAOCP 2, section 4.2.2, theorem B), made good."""
            d = a - b
            c = d - a
            error = (a - (d - c)) - (b + c)
            e = math.exp(d)
            return e + e * error if abs(error) < 1 else e
        ''',
    ),
    "_softmax2": helper(
        '''
        def _softmax2(a, b):
            """exp(a) / (exp(a) + exp(b)), without overflow."""
            e = _expsub(np.minimum(a, b), np.maximum(a, b))
            return np.where(a >= b, 1, e) / (1 + e)
        ''',
        '''
        def _softmax2(a, b):
            """exp(a) / (exp(a) + exp(b)), without overflow."""
            e = _expsub(min(a, b), max(a, b))
            return (1 if a >= b else e) / (1 + e)
        ''',
        needs=("_expsub",),
    ),
    "_logsubexp": helper(
        '''
        def _logsubexp(a, b):
            """log(exp(a) - exp(b)), a > b, without overflow."""
            return a + _log1mexp(a - b)
        ''',
        '''
        def _logsubexp(a, b):
            """log(exp(a) - exp(b)), a > b, without overflow."""
            return a + _log1mexp(a - b)
        ''',
        needs=("_log1mexp",),
    ),
    "_log1mexp": helper(
        '''
        def _log1mexp(x):
            """log(1 - exp(-x)), x > 0: near zero by expm1, beyond log(2) by log1p (Mächler 2012)."""
            near = x < 0.6931471805599453
            return np.where(near, np.log(-np.expm1(-np.where(near, x, 1))), np.log1p(-np.exp(-np.where(near, 1, x))))
        ''',
        '''
        def _log1mexp(x):
            """log(1 - exp(-x)), x > 0: near zero by expm1, beyond log(2) by log1p (Mächler 2012)."""
            return math.log(-math.expm1(-x)) if x < 0.6931471805599453 else math.log1p(-math.exp(-x))
        ''',
    ),
    "_logcosh": helper(
        '''
        def _logcosh(z):
            """log(cosh(z)): near zero log(1 + 2 sinh(z/2)²), elsewhere |z| - log(2) + log(1 + exp(-2|z|))."""
            y = np.abs(z)
            near = np.log1p(2 * np.sinh(np.minimum(y, 1) / 2) ** 2)
            return np.where(y < 1, near, (y - 0.6931471805599453) + np.log1p(np.exp(-2 * y)))
        ''',
        '''
        def _logcosh(z):
            """log(cosh(z)): near zero log(1 + 2 sinh(z/2)²), elsewhere |z| - log(2) + log(1 + exp(-2|z|))."""
            y = abs(z)
            if y < 1:
                return math.log1p(2 * math.sinh(y / 2) ** 2)
            return (y - 0.6931471805599453) + math.log1p(math.exp(-2 * y))
        ''',
    ),
    "_guarded": helper(
        '''
        def _guarded(mask, x, safe):
            """x where the mask is 1, and a harmless number where it is 0."""
            return np.where(np.greater(mask, 0), x, safe)
        ''',
        '''
        def _guarded(mask, x, safe):
            """x where the mask is 1, and a harmless number where it is 0."""
            return x if mask > 0 else safe
        ''',
    ),
    "_xlogy": helper(
        '''
        def _xlogy(x, y):
            """x log(y), and 0 where x is 0."""
            return x * np.log(np.where(np.equal(x, 0), 1, y))
        ''',
        '''
        def _xlogy(x, y):
            """x log(y), and 0 where x is 0."""
            return x * math.log(y) if x else 0.0
        ''',
    ),
    "_xlog1py": helper(
        '''
        def _xlog1py(x, y):
            """x log(1 + y), and 0 where x is 0."""
            return x * np.log1p(np.where(np.equal(x, 0), 0, y))
        ''',
        '''
        def _xlog1py(x, y):
            """x log(1 + y), and 0 where x is 0."""
            return x * math.log1p(y) if x else 0.0
        ''',
    ),
    "_logit": helper(
        '''
        def _logit(p):
            """log(p / (1 - p)): near 1/2, where it vanishes, by the inverse hyperbolic tangent of 2p - 1, which is exact there."""
            near = np.abs(p - 0.5) < 0.25
            far = np.where(near, 0.25, p)
            return np.where(near, 2 * np.arctanh(2 * np.where(near, p, 0.5) - 1), np.log(far) - np.log1p(-far))
        ''',
        '''
        def _logit(p):
            """log(p / (1 - p)): near 1/2, where it vanishes, by the inverse hyperbolic tangent of 2p - 1, which is exact there."""
            return 2 * math.atanh(2 * p - 1) if abs(p - 0.5) < 0.25 else math.log(p) - math.log1p(-p)
        ''',
    ),
    "_bernoulli_score": helper(
        '''
        def _bernoulli_score(t, p):
            """t / p - (1 - t) / (1 - p) as one quotient; where both terms have no value, the one that has none counts as 0."""
            same = np.equal(t, p)
            slope = (t - p) / np.where(same, 1, p * (1 - p))
            return np.where(same & (np.equal(t, 0) | np.equal(t, 1)), 2 * t - 1, slope)
        ''',
        '''
        def _bernoulli_score(t, p):
            """t / p - (1 - t) / (1 - p) as one quotient; where both terms have no value, the one that has none counts as 0."""
            if t == p:
                return float((t == 1) - (t == 0))
            return (t - p) / (p * (1 - p)) if 0 < p < 1 else (math.inf if t > p else -math.inf)
        ''',
    ),
    "_damped": helper(
        '''
        def _damped(x, y):
            """x y, and 0 where x is 0."""
            return x * np.where(np.equal(x, 0), 0, y)
        ''',
        '''
        def _damped(x, y):
            """x y, and 0 where x is 0."""
            return x * y if x else 0.0
        ''',
    ),
    "_over_power": helper(
        '''
        def _over_power(x, y, n):
            """x / y**n, divided n times, since the power may overflow."""
            for _ in range(n):
                x = x / y
            return x
        ''',
        '''
        def _over_power(x, y, n):
            """x / y**n, divided n times, since the power may overflow."""
            for _ in range(n):
                x = x / y
            return x
        ''',
    ),
    "_softmax_slope": helper(
        '''
        def _softmax_slope(s, g, axis):
            """s (g - sum(g s)) of shares s; g counts from its value at the largest share, of which then nothing is subtracted."""
            top = np.expand_dims(s.argmax(axis=axis), axis)
            g = g - np.take_along_axis(np.broadcast_to(g, s.shape), top, axis=axis)
            return s * (g - (g * s).sum(axis=axis, keepdims=True))
        '''
    ),
    "_log_softmax_slope": helper(
        '''
        def _log_softmax_slope(s, g, axis):
            """g - s sum(g) of shares s; of the largest share s, 1 - s is the sum of the others."""
            top = _first_max(s, axis)
            others, rest = s * (1 - top), g * (1 - top)
            at_top = g * others.sum(axis=axis, keepdims=True) - s * rest.sum(axis=axis, keepdims=True)
            return np.where(top > 0, at_top, g - s * np.sum(np.broadcast_to(g, s.shape), axis=axis, keepdims=True))
        ''',
        needs=("_first_max",),
    ),
    "_xdivy": helper(
        '''
        def _xdivy(x, y):
            """x / y, and 0 where x is 0."""
            return x / np.where(np.equal(x, 0), 1, y)
        ''',
        '''
        def _xdivy(x, y):
            """x / y, and 0 where x is 0."""
            return x / y if x else 0.0
        ''',
    ),
    "_logaddexp": Helper(
        "",  # NumPy has it
        dedent(
            '''
            def _logaddexp(a, b):
                """log(exp(a) + exp(b)), without overflow."""
                return max(a, b) + math.log1p(math.exp(-abs(a - b)))
            '''
        ).strip(),
    ),
}
