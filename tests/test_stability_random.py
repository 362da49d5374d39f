"""Formulas that nobody listed: logarithms, products and quotients of sums of exponentials with random constants, at arguments where the terms overflow
or vanish. What the generated module computes is held against SymPy's `diff` of the formula as written, evaluated by mpmath."""

from fractions import Fraction
from math import inf

import mpmath
import sympy as sp
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.formulas import Formula
from benchmarks.precision import LIMIT, truth, ulps
from benchmarks.stable_candidates import module
from symbackprop.audit.precision import UnsettledError, precise

POINTS = [0.0] + [s * x for s in (1, -1) for x in (1e-8, 0.3, 1.0, 5.0, 40.0, 300.0, 750.0, 1e4, 1e100)]
LARGEST = 1e300
z = sp.Symbol("z", real=True)


class Constant(sp.Dummy):
    """A constant of a formula, with its value: the condition of a formula is that in its constants, too."""

    value: sp.Rational


def constant(value):
    made = Constant("c", real=True)
    made.value = sp.Rational(value.numerator, value.denominator)
    return made


weights = st.fractions(min_value="1/8", max_value=20, max_denominator=8).map(constant)
slopes = st.sampled_from([Fraction(n, 2) for n in (-4, -3, -2, -1, 1, 2, 3, 4)])


@st.composite
def sums(draw):
    """A sum of two to four exponentials of multiples of z, or of one to three and a number."""
    exponents = draw(st.lists(slopes, min_size=1, max_size=3, unique=True))
    total = sp.Add(*(draw(weights) * sp.exp(constant(a) * z) for a in exponents))
    return total + draw(weights) if len(exponents) == 1 or draw(st.booleans()) else total


def quotients():
    """An exponential over a power of a sum."""
    return st.builds(lambda c, a, s, n: c * sp.exp(a * z) / s**n, weights, slopes.map(constant), sums(), st.integers(1, 2))


@st.composite
def ratios(draw):
    """Two sums of the same exponentials, one over the other."""
    below = draw(sums())
    return sp.Add(*(draw(weights) * (term / term.as_independent(z)[0]) for term in below.args)) / below


def logarithms():
    """Of a sum, of a quotient, of a power."""
    return st.one_of(sums().map(sp.log), quotients().map(sp.log), ratios().map(sp.log), st.builds(lambda s, n: sp.log(s**-n), sums(), st.integers(1, 2)))


formulas = st.one_of(logarithms(), quotients(), st.builds(sp.Mul, quotients(), quotients()), st.builds(sp.Add, quotients(), quotients()))


def condition(expr, x):
    """By how many times its own size a formula changes with z and its constants, in relation to their sizes."""
    constants = sorted(expr.atoms(Constant), key=sp.default_sort_key)
    function, step = precise([z, *constants], expr), mpmath.mpf(10) ** -100
    with mpmath.workdps(9000 if abs(x) > 100 else 400):
        at = [mpmath.mpf(x), *(mpmath.mpf(c.value.p) / c.value.q for c in constants)]
        middle = function(*at)
        moved = (function(*at[:i], at[i] * (1 + step), *at[i + 1 :]) for i in range(len(at)))
        return sum(abs(m - middle) / step for m in moved) / abs(middle) if middle else mpmath.mpf(0)


def unsound(expr):
    """The arguments at which the module is further off than the condition of the formula there explains, or has no number where there is one."""
    written = expr.xreplace({c: c.value for c in expr.atoms(Constant)})
    formula = Formula(str(written), lambda m, x: written.xreplace({z: x}))
    found = module(formula, [(x,) for x in POINTS], "float64")
    for x, computed in zip(POINTS, found, strict=True):
        try:
            true = truth(formula, (x,))
        except UnsettledError:
            continue
        for value, wanted, exact in zip(computed, true, (expr, sp.diff(expr, z)), strict=True):
            error = ulps(float(value), wanted, "float64")
            if abs(wanted) < LARGEST and error > LIMIT and (error == inf or not error <= 8 * (1 + condition(exact, x))):
                yield written, x, float(value), wanted


@settings(max_examples=12, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # to shrink one takes minutes
@given(formulas)
def test_a_formula_of_random_sums_of_exponentials_is_computed_as_well_as_it_can_be(expr):
    assert not list(unsound(expr))


def test_an_unsound_formula_is_found(monkeypatch):
    """Without the rewrites: log(2 + exp(z)) overflows at 750."""
    from symbackprop.calculus import stabilise

    monkeypatch.setattr(stabilise.Rewriter, "__call__", lambda self, name, expr: expr)
    assert (750.0, inf) in [(x, value) for _, x, value, _ in unsound(sp.log(2 + sp.exp(z)))]
