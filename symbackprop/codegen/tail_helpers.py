"""The helpers of generated code for logarithms and derivatives of tails, and the logistic function of a cubic (see `graph.stable_tails`).

Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), for exp(x²) erfc(x); T. J. Dekker,
"A floating-point technique for extending the available precision", Numer. Math. 18 (1971), for a product and its rounding error; Knuth,
TAOCP 2, section 4.2.2, theorem B, for that of a sum.
"""

from symbackprop.codegen.helper import Helper, helper

_CUBIC = '''
def _sigmoid_cubic(x, a, a_rest, b, b_rest):
    """1 / (1 + exp(-(a x + b x³))): the coefficients, and the cubic too, are sums of two floats."""
    y = {start}
    square, low = _two_product(y, y)
    high, rest = _two_product(b, square)
    rest = rest + (b * low + b_rest * square)
    total = a + high
    part = total - a
    rest = rest + ((a - (total - part)) + (high - part)) + a_rest
    u, error = _two_product(y, total)
    error = error + y * rest
    e = {exp}
    {end}
'''

_TWO_PRODUCT = '''
def _two_product(x, y):
    """x y and its rounding error (Dekker 1971)."""
    product = x * y
    high, other = 134217729.0 * x, 134217729.0 * y
    high, other = high - (high - x), other - (other - y)
    return product, ((high * other - product) + high * (y - other) + (x - high) * other) + (x - high) * (y - other)
'''

TAILS: dict[str, Helper] = {
    "_log_erfc": helper(
        '''
        def _log_erfc(x):
            """log(1 - erf(x)): in the tail log(exp(x²) erfc(x)) - x²."""
            near = x < 0.46875
            y = np.where(near, 1, x)
            return np.where(near, np.log1p(-_erf(np.where(near, x, 0))), np.log(_erfcx(y)) - y * y)
        ''',
        '''
        def _log_erfc(x):
            """log(1 - erf(x)): in the tail log(exp(x²) erfc(x)) - x²."""
            return math.log1p(-math.erf(x)) if x < 0.46875 else math.log(_erfcx(x)) - x * x
        ''',
        needs=("_erf", "_erfcx"),
    ),
    "_erfc_hazard": helper(
        '''
        def _erfc_hazard(x):
            """2 exp(-x²) / (sqrt(pi) (1 - erf(x))): in the tail by exp(x²) erfc(x), which hardly changes with x."""
            near = x < 0.46875
            y = np.where(near, x, 0)
            return np.where(near, 1.1283791670955126 * _gaussian(y, 1) / _erfc(y), 1.1283791670955126 / _erfcx(np.where(near, 1, x)))
        ''',
        '''
        def _erfc_hazard(x):
            """2 exp(-x²) / (sqrt(pi) (1 - erf(x))): in the tail by exp(x²) erfc(x), which hardly changes with x."""
            return 1.1283791670955126 * (_gaussian(x, 1) / math.erfc(x) if x < 0.46875 else 1 / _erfcx(x))
        ''',
        needs=("_gaussian", "_erfc", "_erfcx"),
    ),
    "_log_normal_cdf": helper(
        '''
        def _log_normal_cdf(z):
            """log(Phi(z)): in the lower tail log(exp(z²/2) Phi(z)) - z²/2, above 0 by the other tail."""
            tail = z < -1
            y = np.where(tail, z, -1)
            far = np.log(_erfcx(-0.7071067811865476 * y) / 2) - y / 2 * y
            y = np.where(tail, 0, z)
            return np.where(tail, far, np.where(z < 0, np.log(_normal_cdf(np.minimum(y, 0))), np.log1p(-_normal_cdf(-y))))
        ''',
        '''
        def _log_normal_cdf(z):
            """log(Phi(z)): in the lower tail log(exp(z²/2) Phi(z)) - z²/2, above 0 by the other tail."""
            if z < -1:
                return math.log(_erfcx(-0.7071067811865476 * z) / 2) - z / 2 * z
            return math.log(_normal_cdf(z)) if z < 0 else math.log1p(-_normal_cdf(-z))
        ''',
        needs=("_erfcx", "_normal_cdf"),
    ),
    "_normal_hazard": helper(
        '''
        def _normal_hazard(z):
            """phi(z) / Phi(z): in the lower tail by exp(z²/2) Phi(z), which hardly changes with z."""
            tail = z < -1
            y = np.where(tail, 0, z)
            near = 0.3989422804014327 * _gaussian(y, 0.5) / _normal_cdf(y)
            return np.where(tail, 0.7978845608028654 / _erfcx(-0.7071067811865476 * np.where(tail, z, -1)), near)
        ''',
        '''
        def _normal_hazard(z):
            """phi(z) / Phi(z): in the lower tail by exp(z²/2) Phi(z), which hardly changes with z."""
            if z < -1:
                return 0.7978845608028654 / _erfcx(-0.7071067811865476 * z)
            return 0.3989422804014327 * _gaussian(z, 0.5) / _normal_cdf(z)
        ''',
        needs=("_gaussian", "_erfcx", "_normal_cdf"),
    ),
    "_sigmoid_cubic": helper(
        _CUBIC.format(
            start="np.clip(np.asarray(x, float), -1e50, 1e50)",
            exp="np.exp(-np.abs(u)) * (1 - np.sign(u) * error)",
            end="return (np.where(u >= 0, 1, e) / (1 + e)).astype(DTYPE)",
        ),
        _CUBIC.format(
            start="min(max(x, -1e50), 1e50)",
            exp="math.exp(-abs(u)) * (1 - math.copysign(1.0, u) * error)",
            end="return (1 if u >= 0 else e) / (1 + e)",
        ),
        needs=("_two_product",),
    ),
    "_two_product": helper(_TWO_PRODUCT, _TWO_PRODUCT),
}
