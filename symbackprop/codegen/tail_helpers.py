"""The helpers of generated code for logarithms and derivatives of tails, and the logistic function of a cubic (see `graph.stable_tails`).

Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), for exp(x²) erfc(x); T. J. Dekker,
"A floating-point technique for extending the available precision", Numer. Math. 18 (1971), for a product and its rounding error; Knuth,
TAOCP 2, section 4.2.2, theorem B, for that of a sum.
"""

from symbackprop.codegen import gaps
from symbackprop.codegen.helper import Helper, helper, table

_GAP_TABLES = "\n".join(
    table(f"_GAP_{part}", c) for part, c in zip(("TOP", "BOTTOM", "FAR_TOP", "FAR_BOTTOM"), (*gaps.GAP, *gaps.GAP_FAR), strict=True)
)

_GAP = '''
def _erfc_gap(x):
    """exp(-x²) / (sqrt(pi) erfc(x)) - x: rational approximations from 0.46875 to 2 and beyond."""
    near = 0.5641895835477563 / _scaled_erfc(np.minimum(x, 0.46875)) - x
    y = np.clip(x, 0.46875, 2)
    middle = _horner(_GAP_TOP, y) / _horner(_GAP_BOTTOM, y)
    y = np.maximum(x, 2)
    z = (1 / y) ** 2
    return np.where(x <= 0.46875, near, np.where(x <= 2, middle, _horner(_GAP_FAR_TOP, z) / _horner(_GAP_FAR_BOTTOM, z) / y / 2))
'''.strip()

_GAP_SCALAR = '''
def _erfc_gap(x):
    """exp(-x²) / (sqrt(pi) erfc(x)) - x: rational approximations from 0.46875 to 2 and beyond."""
    if x <= 0.46875:
        return 0.5641895835477563 / _scaled_erfc(x) - x
    if x <= 2:
        return _horner(_GAP_TOP, x) / _horner(_GAP_BOTTOM, x)
    z = (1 / x) ** 2
    return _horner(_GAP_FAR_TOP, z) / _horner(_GAP_FAR_BOTTOM, z) / x / 2
'''.strip()

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
    "_normal_hazard_slope": helper(
        '''
        def _normal_hazard_slope(z):
            """-h (h + z), h = phi(z) / Phi(z): in the lower tail by exp(z²/2) Phi(z) and by what h exceeds -z."""
            tail = z < 0
            y = np.where(tail, 0, z)
            x = -0.7071067811865476 * np.where(tail, z, 0)
            h = _normal_hazard(y)
            return np.where(tail, -1.1283791670955126 * _erfc_gap(x) / _scaled_erfc(x), -h * (h + y))
        ''',
        '''
        def _normal_hazard_slope(z):
            """-h (h + z), h = phi(z) / Phi(z): in the lower tail by exp(z²/2) Phi(z) and by what h exceeds -z."""
            if z < 0:
                x = -0.7071067811865476 * z
                return -1.1283791670955126 * _erfc_gap(x) / _scaled_erfc(x)
            h = _normal_hazard(z)
            return -h * (h + z)
        ''',
        needs=("_normal_hazard", "_erfc_gap", "_scaled_erfc"),
        compiled=True,
    ),
    "_scaled_erfc": helper(
        '''
        def _scaled_erfc(x):
            """exp(x²) erfc(x), the square in two parts of which the first is exact (Cody 1969)."""
            y = np.minimum(np.abs(x), 40)
            high = np.trunc(y * 16) / 16
            grown = (np.exp(high * high, dtype=float) * np.exp((y - high) * (y + high), dtype=float)).astype(DTYPE)
            tail = _erfcx(np.maximum(np.abs(x), 0.46875))
            near = grown * (1 - _erf_near(np.clip(x, -0.46875, 0.46875)))
            return np.where(np.abs(x) <= 0.46875, near, np.where(x > 0, tail, 2 * grown - tail))
        ''',
        '''
        def _scaled_erfc(x):
            """exp(x²) erfc(x), the square in two parts of which the first is exact (Cody 1969)."""
            if x > 0.46875:
                return _erfcx(x)
            y = min(abs(x), 40.0)
            high = math.trunc(y * 16) / 16
            grown = math.exp(high * high) * math.exp((y - high) * (y + high)) if y < 26.7 else math.inf
            return grown * math.erfc(x)
        ''',
        needs=("_erfcx", "_erf_near"),
        compiled=True,
    ),
    "_erfc_gap": helper(
        _GAP + "\n\n\n" + _GAP_TABLES, _GAP_SCALAR + "\n\n\n" + _GAP_TABLES, needs=("_scaled_erfc", "_horner"), compiled=True
    ),
    "_log1p_tanh": helper(
        '''
        def _log1p_tanh(x):
            """log(1 + tanh(x)): in the lower tail 2x + log(2) - log(1 + exp(2x))."""
            low = np.minimum(x, -1)
            return np.where(x > -1, np.log1p(np.tanh(np.maximum(x, -1))), 2 * low + (0.6931471805599453 - np.log1p(np.exp(2 * low))))
        ''',
        '''
        def _log1p_tanh(x):
            """log(1 + tanh(x)): in the lower tail 2x + log(2) - log(1 + exp(2x))."""
            return math.log1p(math.tanh(x)) if x > -1 else 2 * x + (0.6931471805599453 - math.log1p(math.exp(2 * x)))
        ''',
        compiled=True,
    ),
    "_log_sinh": helper(
        '''
        def _log_sinh(x):
            """log(sinh(x)), x > 0: below 2 as log(x) + log(sinh(x)/x), beyond as x - log(2) + log(1 - exp(-2x))."""
            near = x < 2
            y = np.where(near, x, 1)
            far = (x - 0.6931471805599453) + np.log1p(-np.exp(-2 * np.where(near, 1, x)))
            return np.where(near, np.log(y) + np.log1p(_sinhmx(y) / y), far)
        ''',
        '''
        def _log_sinh(x):
            """log(sinh(x)), x > 0: below 2 as log(x) + log(sinh(x)/x), beyond as x - log(2) + log(1 - exp(-2x))."""
            if x < 2:
                return math.log(x) + math.log1p(_sinhmx(x) / x)
            return (x - 0.6931471805599453) + math.log1p(-math.exp(-2 * x))
        ''',
        needs=("_sinhmx",),
        compiled=True,
    ),
    "_log_erf": helper(
        '''
        def _log_erf(x):
            """log(erf(x)), x > 0: near zero as log(x) + log(erf(x)/x), elsewhere by erfc(x)."""
            near = x < 0.46875
            y = np.where(near, x, 0.25)
            z = np.maximum(y, 1e-8)  # below, erf(x)/x is what it is there
            return np.where(near, np.log(y) + np.log(_erf_near(z) / z), np.log1p(-_erfc(np.where(near, 1, x))))
        ''',
        '''
        def _log_erf(x):
            """log(erf(x)), x > 0: near zero as log(x) + log(erf(x)/x), elsewhere by erfc(x)."""
            z = max(x, 1e-8)  # below, erf(x)/x is what it is there
            return math.log(x) + math.log(math.erf(z) / z) if x < 0.46875 else math.log1p(-math.erfc(x))
        ''',
        needs=("_erf_near", "_erfc"),
        compiled=True,
    ),
    "_log_below_one": helper(
        '''
        def _log_below_one(x, y):
            """log(x), where x = 1 - y: by y where x is nearly 1."""
            near = y < 0.5
            return np.where(near, np.log1p(-np.where(near, y, 0)), np.log(np.where(near, 1, x)))
        ''',
        '''
        def _log_below_one(x, y):
            """log(x), where x = 1 - y: by y where x is nearly 1."""
            return math.log1p(-y) if y < 0.5 else math.log(x)
        ''',
        compiled=True,
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
