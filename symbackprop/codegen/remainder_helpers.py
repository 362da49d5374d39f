"""The helpers of generated code for functions without the beginning of their Taylor series (see `graph.stable_remainders`): near zero by the series of
the rest, elsewhere by the difference itself.

Source: Abramowitz & Stegun, Handbook of Mathematical Functions (1964), 4.2.1 (exp), 4.3.65 (sin), 4.5.62 (sinh) and 4.1.27, log(1 + x) as the inverse
hyperbolic tangent of r = x/(2 + x), which leaves -r x and a series of r³. x - tanh(x) is x cosh(x) - sinh(x), whose series has positive terms alone,
over cosh(x).
"""

from math import factorial

from symbackprop.codegen.helper import Helper, helper, table

_ODD = range(21, 2, -2)  # what is left out is below 1e-19 of the rest


def _remainder(
    name: str, title: str, limits: tuple[float, float], near: str, far: str, series: tuple[float, ...], needs: tuple[str, ...] = (), also: str = "pass"
) -> dict[str, Helper]:
    """By a series in y between the limits, else by a difference in z. `also`: what the series reads besides."""
    low, high = limits
    numbers = table(f"_{name.upper()}", series)
    array = f'''
def _{name}(x):
    """{title}: near zero by its series."""
    near = (x > {low}) & (x < {high})
    y, z = np.where(near, x, 0), np.where(near, 1, x)
    {also}
    return np.where(near, {near}, {far})
'''.replace("    pass\n", "")
    scalar = f'''
def _{name}(x):
    """{title}: near zero by its series."""
    if {low} < x < {high}:
        y = x
        {also}
        return {near}
    z = x
    return {far.replace("np.", "math.")}
'''.replace("        pass\n", "")
    return {f"_{name}": helper(f"{array.strip()}\n\n\n{numbers}", f"{scalar.strip()}\n\n\n{numbers}", ("_horner", *needs), compiled=True)}


REMAINDERS: dict[str, Helper] = {
    **_remainder(
        "expm1mx",
        "exp(x) - 1 - x",
        (-1, 1),
        "y * y * _horner(_EXPM1MX, y)",
        "np.expm1(z) - z",
        tuple(1 / factorial(k) for k in range(19, 1, -1)),
    ),
    **_remainder(
        "log1pmx",
        "log(1 + x) - x",
        (-0.6, 1.5),
        "r * (2 * r * r * _horner(_LOG1PMX, r * r) - y)",
        "np.log1p(z) - z",
        tuple(1 / k for k in range(53, 2, -2)),
        also="r = y / (2 + y)",
    ),
    **_remainder(
        "sinmx",
        "sin(x) - x",
        (-1.5, 1.5),
        "y * y * y * _horner(_SINMX, y * y)",
        "np.sin(z) - z",
        tuple((-1) ** (k // 2) / factorial(k) for k in _ODD),
    ),
    **_remainder(
        "sinhmx",
        "sinh(x) - x",
        (-2.5, 2.5),
        "y * y * y * _horner(_SINHMX, y * y)",
        "np.sinh(z) - z",
        tuple(1 / factorial(k) for k in range(29, 2, -2)),
    ),
    **_remainder(
        "tanhmx",
        "tanh(x) - x",
        (-2, 2),
        "-y * y * y * _horner(_TANHMX, y * y) * _sech(y)",
        "np.tanh(z) - z",
        tuple((k - 1) / factorial(k) for k in range(29, 2, -2)),
        needs=("_sech",),
    ),
}
