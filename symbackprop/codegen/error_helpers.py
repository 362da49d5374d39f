"""The helpers of generated code for the error function, its complement, the normal distribution and exp(-c x²), accurate in their tails.

In each, an argument that a branch cannot take is made harmless before the function sees it.

Source: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), for all of them and for the splitting of exp(-x²).
"""

from symbackprop.codegen import cody
from symbackprop.codegen.helper import Helper, helper, table

_SPLIT = "exp(-c x²) in two factors, the first with a square that is exact"


_HORNER = '''
def _horner(coefficients, x):
    """A polynomial, its highest power first."""
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value
'''

_ERF_TABLES = "\n".join(table(f"_ERF_{part}", c) for part, c in zip(("TOP", "BOTTOM"), cody.ERF, strict=True))
_ERFCX_TABLES = "\n".join(
    table(f"_ERFCX_{part}", c)
    for part, c in zip(("TOP", "BOTTOM", "FAR_TOP", "FAR_BOTTOM"), (*cody.ERFCX, *cody.ERFCX_FAR), strict=True)
)  # fmt: skip

_ERF_NEAR = '''
def _erf_near(x):
    """erf(x) for |x| <= 0.46875 (Cody 1969)."""
    y = x * x
    return x * (_horner(_ERF_TOP, y) / _horner(_ERF_BOTTOM, y))
'''.strip()

_ERFCX = '''
def _erfcx(x):
    """exp(x²) erfc(x) for x >= 0.46875: rational approximations up to 4 and beyond (Cody 1969)."""
    y = np.clip(x, 0.46875, 4)
    middle = _horner(_ERFCX_TOP, y) / _horner(_ERFCX_BOTTOM, y)
    y = np.maximum(x, 4)
    z = (1 / y) ** 2
    far = (0.5641895835477563 - z * (_horner(_ERFCX_FAR_TOP, z) / _horner(_ERFCX_FAR_BOTTOM, z))) / y
    return np.where(x <= 4, middle, far)
'''.strip()

_ERFCX_SCALAR = '''
def _erfcx(x):
    """exp(x²) erfc(x) for x >= 0.46875: rational approximations up to 4 and beyond (Cody 1969)."""
    if x <= 4:
        return _horner(_ERFCX_TOP, x) / _horner(_ERFCX_BOTTOM, x)
    z = (1 / x) ** 2
    return (0.5641895835477563 - z * (_horner(_ERFCX_FAR_TOP, z) / _horner(_ERFCX_FAR_BOTTOM, z))) / x
'''.strip()

ERROR_FUNCTIONS: dict[str, Helper] = {
    "_erf": helper(
        '''
        def _erf(x):
            """The error function: a rational approximation near zero, 1 - erfc(|x|) elsewhere (Cody 1969)."""
            near = _erf_near(np.clip(x, -0.46875, 0.46875))
            y = np.abs(x)
            return np.where(y <= 0.46875, near, np.sign(x) * (1 - _gaussian(y, 1) * _erfcx(y)))
        ''',
        needs=("_erf_near", "_gaussian", "_erfcx"),
    ),
    "_erfc": helper(
        '''
        def _erfc(x):
            """The complementary error function, 1 - erf(x), accurate in its tail (Cody 1969)."""
            y = np.abs(x)
            tail = _gaussian(y, 1) * _erfcx(y)
            return np.where(y <= 0.46875, 1 - _erf_near(np.clip(x, -0.46875, 0.46875)), np.where(x > 0, tail, 2 - tail))
        ''',
        needs=("_erf_near", "_gaussian", "_erfcx"),
    ),
    "_normal_cdf": helper(
        '''
        def _normal_cdf(z):
            """The standard normal distribution function: its tail is the density times a ratio that hardly changes with z."""
            x = z * 0.7071067811865476
            tail = _gaussian(z, 0.5) * _erfcx(np.abs(x)) / 2
            near = 0.5 + 0.5 * _erf_near(np.clip(x, -0.46875, 0.46875))
            return np.where(np.abs(x) <= 0.46875, near, np.where(z > 0, 1 - tail, tail))
        ''',
        '''
        def _normal_cdf(z):
            """The standard normal distribution function: its tail is the density times a ratio that hardly changes with z."""
            x = z * 0.7071067811865476
            if x > -0.46875:
                return 0.5 * (1 + math.erf(x))
            return _gaussian(z, 0.5) * _erfcx(-x) / 2
        ''',
        needs=("_erf_near", "_gaussian", "_erfcx"),
    ),
    "_gaussian": helper(
        f'''
        def _gaussian(x, c):
            """{_SPLIT}."""
            x = np.minimum(np.abs(x), 28 / c**0.5)
            high = np.trunc(x * 16) / 16
            return (np.exp(-c * high * high, dtype=float) * np.exp(-c * (x - high) * (x + high), dtype=float)).astype(DTYPE)
        ''',
        f'''
        def _gaussian(x, c):
            """{_SPLIT}."""
            x = min(abs(x), 28 / c**0.5)
            high = math.trunc(x * 16) / 16
            return math.exp(-c * high * high) * math.exp(-c * (x - high) * (x + high))
        ''',
    ),
    "_xgaussian": helper(
        '''
        def _xgaussian(x, c):
            """x exp(-c x²): the exponential in two halves, so that only the result is rounded to what is too small for a normal number."""
            x = np.clip(x, -40 / c**0.5, 40 / c**0.5)
            high = np.trunc(x * 16) / 16
            half = np.exp(-c / 2 * high * high, dtype=float).astype(DTYPE)
            return x * half * np.exp(-c * (x - high) * (x + high), dtype=float).astype(DTYPE) * half
        ''',
        '''
        def _xgaussian(x, c):
            """x exp(-c x²): the exponential in two halves, so that only the result is rounded to what is too small for a normal number."""
            x = min(max(x, -40 / c**0.5), 40 / c**0.5)
            high = math.trunc(x * 16) / 16
            half = math.exp(-c / 2 * high * high)
            return x * half * math.exp(-c * (x - high) * (x + high)) * half
        ''',
    ),
    "_erf_near": helper(_ERF_NEAR + "\n\n\n" + _ERF_TABLES, needs=("_horner",)),
    "_erfcx": helper(_ERFCX + "\n\n\n" + _ERFCX_TABLES, _ERFCX_SCALAR + "\n\n\n" + _ERFCX_TABLES, needs=("_horner",)),
    "_horner": helper(_HORNER, _HORNER),
}
