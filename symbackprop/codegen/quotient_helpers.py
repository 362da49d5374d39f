"""The helpers of generated code for f(x)/x where f(0) = 0, and its derivatives, also at 0 (see `graph.stable_quotients`).

Near zero the n-th derivative is the integral of s^n f^(n+1)(s x) over s from 0 to 1 (Milnor, Morse Theory (1963), lemma 2.1), by Gauss's rule: the
integrand hardly changes its sign, so that nothing cancels. Elsewhere q = f/x has q^(n) = (f^(n) - n q^(n-1))/x, by Leibniz's rule.
"""

import sympy as sp

from symbackprop.codegen import gauss
from symbackprop.codegen.helper import Helper, helper, table

_GAUSS_TABLES = "\n".join(table(name, values) for name, values in (("_NODES", gauss.NODES), ("_WEIGHTS", gauss.WEIGHTS)))

_INTEGRAL = '''
def _integral(f, n):
    """The integral of s^n f(s) over s from 0 to 1, by Gauss's rule of 16 points."""
    return sum(w * s**n * f(s) for s, w in zip(_NODES, _WEIGHTS))
'''.strip()

_OVER = '''
def _over_argument(derivatives, x, n, low, high):
    """The n-th derivative of f(x)/x, where f(0) = 0 and f'(0) = 1, given those of f: by Leibniz's rule, but between `low` and `high` as the integral of
    s^n f^(n+1)(s x) over s from 0 to 1."""
    near = (low < x) & (x < high) if n else np.equal(x, 0)
    y = np.where(near, 1, x)
    d = derivatives(y, n)
    q = d[0] / y
    for k in range(1, n + 1):
        q = (d[k] - k * q) / y
    y = np.where(near, x, 0)
    return np.where(near, _integral(lambda s: derivatives(s * y, n + 1)[-1], n) if n else 1, q)
'''

_OVER_SCALAR = '''
def _over_argument(derivatives, x, n, low, high):
    """The n-th derivative of f(x)/x, where f(0) = 0 and f'(0) = 1, given those of f: by Leibniz's rule, but between `low` and `high` as the integral of
    s^n f^(n+1)(s x) over s from 0 to 1."""
    if n == 0 and x == 0:
        return 1.0
    if n and low < x < high:
        return _integral(lambda s: derivatives(s * x, n + 1)[-1], n)
    d = derivatives(x, n)
    q = d[0] / x
    for k in range(1, n + 1):
        q = (d[k] - k * q) / x
    return q
'''


_BERNOULLI = table("_BERNOULLI", tuple(float(sp.bernoulli(k) * (-1 if k == 1 else 1) / sp.factorial(k)) for k in range(30)))  # B_1 is -1/2 here

_OVER_EXPM1 = '''
def _over_expm1(x, n):
    """The n-th derivative of B(x) = x/(exp(x) - 1): near zero by Bernoulli's numbers, above 1 by Leibniz's rule for (1 - exp(-x)) B = x exp(-x) exp(x), and
    below -1 by B(x) = B(-x) - x."""
    series = _BERNOULLI
    for _ in range(n):
        series = [k * c for k, c in enumerate(series)][1:]
    near = np.abs(x) < 1
    y = np.where(near, 1, np.abs(x))
    e, rest = np.exp(-y), -np.expm1(-y)
    d = []
    for k in range(n + 1):
        total, binomial = e * (y, 1, 0)[min(k, 2)], 1
        for i in range(k):
            total = total - binomial * d[i]
            binomial = binomial * (k - i) // (i + 1)
        d.append(total / rest)
    mirrored = (-1) ** n * (d[n] + (y if n == 0 else n == 1))
    return np.where(near, _horner(series[::-1], np.where(near, x, 0)), np.where(x > 0, d[n], mirrored))
'''.strip()

_OVER_EXPM1_SCALAR = '''
def _over_expm1(x, n):
    """The n-th derivative of B(x) = x/(exp(x) - 1): near zero by Bernoulli's numbers, above 1 by Leibniz's rule for (1 - exp(-x)) B = x exp(-x) exp(x), and
    below -1 by B(x) = B(-x) - x."""
    if abs(x) < 1:
        value = 0.0
        for k in range(len(_BERNOULLI) - 1, n - 1, -1):
            c = _BERNOULLI[k]
            for i in range(n):
                c *= k - i
            value = value * x + c
        return value
    y = abs(x)
    e, rest = math.exp(-y), -math.expm1(-y)
    d = [e * y / rest]
    for k in range(1, n + 1):
        total, binomial = e if k == 1 else 0.0, 1
        for i in range(k):
            total -= binomial * d[i]
            binomial = binomial * (k - i) // (i + 1)
        d.append(total / rest)
    mirrored = (-1) ** (n % 2) * (d[n] + (y if n == 0 else 1.0 if n == 1 else 0.0))
    return d[n] if x > 0 else mirrored
'''.strip()


def _kind(name: str, title: str, low: float, high: float) -> Helper:
    text = f'''
        def _{name}_over(x, n):
            """The n-th derivative of {title}/x."""
            return _over_argument(_{name}_derivatives, x, n, {low}, {high})
        '''
    return helper(text, text, needs=("_over_argument", f"_{name}_derivatives"))


def _both(array: str, needs: tuple[str, ...] = ()) -> Helper:
    """The same for arrays and floats, but for the module that the functions are taken from."""
    return helper(array, array.replace("np.", "math."), needs)


QUOTIENTS: dict[str, Helper] = {
    "_sin_over": _kind("sin", "sin(x)", -1.5, 1.5),
    "_tanh_over": _kind("tanh", "tanh(x)", -1, 1),
    "_log1p_over": _kind("log1p", "log(1 + x)", -0.5, 2),
    "_expm1_over": helper(
        '''
        def _expm1_over(x, n):
            """The n-th derivative of (exp(x) - 1)/x; beyond 1 the factor exp(x) is put in last, in two halves, since it may overflow sooner."""
            scaled = _over_argument(_expm1_derivatives, x, n, -1, 1)
            grown = np.exp(np.where(x > 1, x, 0) / 2)
            return scaled * grown * grown
        ''',
        '''
        def _expm1_over(x, n):
            """The n-th derivative of (exp(x) - 1)/x; beyond 1 the factor exp(x) is put in last, in two halves, since it may overflow sooner."""
            scaled = _over_argument(_expm1_derivatives, x, n, -1, 1)
            grown = math.exp(x / 2) if 1 < x < 1500 else math.inf if x > 1 else 1.0
            return scaled * grown * grown
        ''',
        needs=("_over_argument", "_expm1_derivatives"),
    ),
    "_over_expm1": helper(_OVER_EXPM1 + "\n\n\n" + _BERNOULLI, _OVER_EXPM1_SCALAR + "\n\n\n" + _BERNOULLI, needs=("_horner",), compiled=True),
    "_expm1_derivatives": helper(
        '''
        def _expm1_derivatives(x, n):
            """exp(x) - 1 and its n derivatives; beyond 1 without the factor exp(x)."""
            far = x > 1
            e = np.where(far, 1, np.exp(np.where(far, 0, x)))
            return [np.where(far, -np.expm1(-np.where(far, x, 1)), np.expm1(np.where(far, 0, x)))] + n * [e]
        ''',
        '''
        def _expm1_derivatives(x, n):
            """exp(x) - 1 and its n derivatives; beyond 1 without the factor exp(x)."""
            if x > 1:
                return [-math.expm1(-x)] + n * [1.0]
            return [math.expm1(x)] + n * [math.exp(x)]
        ''',
    ),
    "_sin_derivatives": _both('''
        def _sin_derivatives(x, n):
            """sin(x) and its n derivatives."""
            s, c = np.sin(x), np.cos(x)
            return [(s, c, -s, -c)[k % 4] for k in range(n + 1)]
        '''),
    "_log1p_derivatives": _both('''
        def _log1p_derivatives(x, n):
            """log(1 + x) and its n derivatives."""
            d = [np.log1p(x), 1 / (1 + x)]
            for k in range(1, n):
                d.append(-k * d[-1] / (1 + x))
            return d[: n + 1]
        '''),
    "_tanh_derivatives": _both(
        '''
        def _tanh_derivatives(x, n):
            """tanh(x) and its n derivatives: tanh' = 1 - tanh², and those of the square by Leibniz's rule."""
            d = [np.tanh(x), _sech(x) ** 2]
            for k in range(1, n):
                total, binomial = 0, 1
                for i in range(k + 1):
                    total = total + binomial * d[i] * d[k - i]
                    binomial = binomial * (k - i) // (i + 1)
                d.append(-total)
            return d[: n + 1]
        ''',
        needs=("_sech",),
    ),
    "_over_argument": helper(_OVER, _OVER_SCALAR, needs=("_integral",)),
    "_integral": helper(_INTEGRAL + "\n\n\n" + _GAUSS_TABLES, _INTEGRAL + "\n\n\n" + _GAUSS_TABLES),
}
