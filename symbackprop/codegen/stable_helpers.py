"""The helpers of generated code that compute what naive formulas lose: tails, differences of nearly equal numbers, 0 times infinity.

In each, an argument that a branch cannot take is made harmless before the function sees it.

Sources: W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969), for erf, erfc, the normal
distribution and the splitting of exp(-x²); M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012), for log1mexp.
"""

from textwrap import dedent

from symbackprop.codegen import cody
from symbackprop.codegen.helper import Helper, helper

_SPLIT = "exp(-c x²) in two factors, the first with a square that is exact"


def _table(name: str, coefficients: tuple[float, ...]) -> str:
    """A tuple as source."""
    lines = [", ".join(map(repr, coefficients[i : i + 5])) for i in range(0, len(coefficients), 5)]
    return f"{name} = (\n" + "".join(f"    {line},\n" for line in lines) + ")"


_HORNER = '''
def _horner(coefficients, x):
    """A polynomial, its highest power first."""
    value = coefficients[0]
    for c in coefficients[1:]:
        value = value * x + c
    return value
'''

_ERF_TABLES = "\n".join(_table(f"_ERF_{part}", c) for part, c in zip(("TOP", "BOTTOM"), cody.ERF, strict=True))
_ERFCX_TABLES = "\n".join(
    _table(f"_ERFCX_{part}", c)
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
    y = np.clip(x, 4, 100)
    z = 1 / (y * y)
    far = (0.5641895835477563 - z * (_horner(_ERFCX_FAR_TOP, z) / _horner(_ERFCX_FAR_BOTTOM, z))) / y
    return np.where(x <= 4, middle, far)
'''.strip()

_ERFCX_SCALAR = '''
def _erfcx(x):
    """exp(x²) erfc(x) for x >= 0.46875: rational approximations up to 4 and beyond (Cody 1969)."""
    if x <= 4:
        return _horner(_ERFCX_TOP, x) / _horner(_ERFCX_BOTTOM, x)
    z = 1 / (x * x)
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
            return np.exp(-c * high * high) * np.exp(-c * (x - high) * (x + high))
        ''',
        f'''
        def _gaussian(x, c):
            """{_SPLIT}."""
            x = min(abs(x), 28 / c**0.5)
            high = math.trunc(x * 16) / 16
            return math.exp(-c * high * high) * math.exp(-c * (x - high) * (x + high))
        ''',
    ),
    "_erf_near": helper(_ERF_NEAR + "\n\n\n" + _ERF_TABLES, needs=("_horner",)),
    "_erfcx": helper(_ERFCX + "\n\n\n" + _ERFCX_TABLES, _ERFCX_SCALAR + "\n\n\n" + _ERFCX_TABLES, needs=("_horner",)),
    "_horner": helper(_HORNER, _HORNER),
}

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
    "_expm1mx": helper(
        '''
        def _expm1mx(x):
            """exp(x) - 1 - x: near zero by its series."""
            near = np.abs(x) < 1
            y = np.where(near, x, 0)
            series = 1.0
            for k in range(19, 2, -1):
                series = 1 + y / k * series
            return np.where(near, y * y / 2 * series, np.expm1(np.where(near, 1, x)) - x)
        ''',
        '''
        def _expm1mx(x):
            """exp(x) - 1 - x: near zero by its series."""
            if abs(x) >= 1:
                return math.expm1(x) - x
            series = 1.0
            for k in range(19, 2, -1):
                series = 1 + x / k * series
            return x * x / 2 * series
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
