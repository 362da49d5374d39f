"""The rewrites are identities, they are needed, and with them value and gradient of naive formulas at extreme arguments are right to the
last digits. The truth is SymPy's own `diff` of the formula as written, evaluated by mpmath with at least 800 digits (benchmarks/precision)."""

import random
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from benchmarks.formulas import FORMULAS, KNOWN_MISSES
from benchmarks.precision import LIMIT, errors, ulps
from benchmarks.stable_candidates import finite_points, module, trained
from symbackprop.audit.precision import precise
from symbackprop.audit.stability import plain
from symbackprop.calculus import stabilise
from symbackprop.calculus.rules import RULES, Rule, U
from symbackprop.calculus.stabilise import Rewriter
from symbackprop.graph.stable import Stable
from symbackprop.training.native import installed

# --- the rules ---------------------------------------------------------------------------------------------------------------


def mismatch(rule, seed=0, points=5, digits=50):
    """The largest relative difference of the two sides of a rule at random points of its domain."""
    rng = random.Random(seed)
    symbols = sorted(rule.pattern.free_symbols, key=str)
    sides = [precise(symbols, plain(side)) for side in (rule.pattern, rule.replacement)]
    worst = 0
    for _ in range(points):
        at = []
        for symbol in symbols:
            low, high = rule.domain.get(symbol.name, (-3, 3))
            at.append(mpmath.mpf(rng.uniform(low, high)))
        with mpmath.workdps(digits):
            a, b = (side(*at) for side in sides)
            worst = max(worst, abs(a - b) / max(abs(a), mpmath.mpf(10) ** -10))
    return worst


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_a_rule_is_an_identity_and_has_a_source(rule):
    assert mismatch(rule) < mpmath.mpf(10) ** -45
    assert rule.source


def test_a_bad_rule_is_caught():
    bad = Rule(1 - sp.tanh(U) ** 2, sp.sech(U) ** 2 * (1 + sp.Rational(1, 10**9)), "planted")
    assert mismatch(bad) > 1e-10
    assert mismatch(replace(bad, replacement=sp.sech(U))) > 1e-3


@pytest.mark.parametrize("kind", Stable.__subclasses__(), ids=lambda kind: kind.__name__)
def test_a_stable_function_has_the_derivative_of_its_formula(kind):
    count = kind.nargs if isinstance(kind.nargs, int) else next(iter(kind.nargs))
    symbols = sp.symbols("u v", real=True)[:count]
    for at in ((1.25, 0.5), (2.0, 1.75)):
        at = [sp.Rational(x) for x in at[:count]]
        for i, symbol in enumerate(symbols):
            found = plain(kind(*symbols).fdiff(i + 1)).subs(dict(zip(symbols, at, strict=True)))
            wanted = kind.formula(*symbols).diff(symbol).subs(dict(zip(symbols, at, strict=True)))
            assert abs(sp.N(found - wanted, 50)) < 1e-40


# --- the table ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("formula", FORMULAS, ids=lambda f: f.name)
def test_value_and_gradient_are_within_four_units_in_the_last_place(formula):
    """In the generated NumPy module, in both precisions. The few misses that are known are exactly those that `benchmarks/formulas.py` names."""
    for dtype in ("float64", "float32"):
        points = formula.points(dtype)
        found = errors(formula, points, module(formula, points, dtype), dtype) > LIMIT
        assert found.sum() == KNOWN_MISSES.get((formula.name, dtype), 0), (dtype, [p for p, row in zip(points, found, strict=True) if row.any()])


@pytest.mark.parametrize("name", ["1 - tanh(z)^2", "log(1 + exp(z))", "gelu, z (1 + erf(z/sqrt(2)))/2", "sqrt(x^2 + y^2)"])
def test_without_its_rules_a_formula_fails(name, monkeypatch):
    monkeypatch.setattr(stabilise.Rewriter, "__call__", lambda self, name, expr: expr)
    formula = next(f for f in FORMULAS if f.name == name)
    points = formula.points("float64")
    assert (errors(formula, points, module(formula, points, "float64"), "float64") > LIMIT).any()


def test_training_is_as_exact_as_the_module_but_for_stored_values():
    """One step of NumPy's trainer for formulas that read no stored activation; its optimizer writes the gradients into the weights."""
    names = ("log(1/(1 + exp(-z)))", "(exp(s) - 1 - s)/2", "log(cosh(z))", "sqrt(x^2 + y^2)", "x log(y)", "log(exp(a) + exp(b))", "1 - erf(x)", "1 - tanh(z)^2")
    formulas = [f for f in FORMULAS if f.name in names]
    points = [finite_points(f, "float64") for f in formulas]
    for formula, own, found in zip(formulas, points, trained(formulas, points, "float64", "numpy"), strict=True):
        assert errors(formula, own, found, "float64").max() <= LIMIT, formula.name


@pytest.mark.skipif(not installed(), reason="needs numba and SciPy")
def test_compiled_training_is_exact_too():
    names = ("log(cosh(z))", "(exp(s) - 1 - s)/2", "sqrt(x^2 + y^2)", "(1 + erf(z/sqrt(2)))/2", "log(exp(a) - exp(b))")
    formulas = [f for f in FORMULAS if f.name in names]
    points = [finite_points(f, "float32") for f in formulas]
    for formula, own, found in zip(formulas, points, trained(formulas, points, "float32", "numba"), strict=True):
        assert errors(formula, own, found, "float32").max() <= LIMIT, formula.name


def test_a_training_step_reads_the_stored_activation():
    """1 - a² costs two cheap passes and sech(z)² an exponential: training keeps the first, and single evaluations have the second."""
    net = sbp.mlp([2, 3, 1], "tanh", loss="mse")
    assert "_sech(Z_1)" in net.generate()
    assert not stabilise.trained(net.system).rewrites


def test_an_unread_error_is_seen():
    assert ulps(1.0, mpmath.mpf(1), "float64") == 0
    assert ulps(1 + 5 * 2.0**-52, mpmath.mpf(1), "float64") == 5
    assert ulps(float("nan"), mpmath.mpf(1), "float64") == np.inf
    assert ulps(0.0, mpmath.mpf(10) ** -310, "float64") > LIMIT
    assert ulps(0.0, mpmath.mpf(10) ** -400, "float64") < 1


# --- structures of tensors ---------------------------------------------------------------------------------------------------


def test_exponentials_over_their_sum_are_a_softmax():
    X = sbp.weight("X", (2, 3))
    written = sbp.node("P", sp.exp(X) / sbp.sum(sp.exp(X), axis=1, keepdims=True))
    assert Rewriter()("P", written.definition) == sbp.softmax(X)
    logs = sbp.node("L", sp.log(sbp.node("S", sbp.sum(sp.exp(X), axis=0))))
    assert Rewriter()("L", logs.definition) == sbp.logsumexp(X, axis=0)


def test_a_branch_that_is_not_taken_is_not_touched():
    """Both branches of an array are computed: no warning comes from the one that is not wanted, since its argument is harmless."""
    w = sbp.weight("w", (3,))
    y = sbp.node("y", sp.Piecewise((sp.sqrt(w) + sp.log(w) + 1 / w, w > 0), (sp.exp(w), True)))
    net = sbp.Network(sbp.node("C", sbp.sum(y)))
    w = np.array([-4.0, 0.0, 4.0])
    with np.errstate(all="raise", under="ignore"):
        loss, gradients = net.value_and_gradients({"w": w})
    assert loss == pytest.approx(np.exp(-4.0) + 1 + 2 + np.log(4) + 0.25, rel=1e-15)
    np.testing.assert_allclose(gradients["w"], [np.exp(-4.0), 1, 0.25 + 0.25 - 1 / 16], rtol=1e-15)


# --- the report --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def report():
    x, t = sbp.data("x t")
    z = sbp.node("z", sbp.weight("w") * x)
    a = sbp.node("a", sp.tanh(z))
    return sbp.Network(sbp.node("C", sp.log(1 + sp.exp(-t * a)))).stability(samples=10)


def test_the_report_says_what_was_rewritten_and_how_exact_it_is(report):
    slope = report["dC_dz"]
    assert slope.rewritten
    assert slope.rules == ("1 - tanh(u)**2 → sech(u)**2",)
    assert slope.was.worst > 1e10 > 4 >= slope.now.worst
    assert not report["a"].rewritten
    assert report["a"].was == report["a"].now
    assert "dC_dz" in report.rewritten
    assert "not rewritten" in str(report["a"])


def test_the_report_shows_itself(report):
    text, table = repr(report), report.markdown()
    assert "equations rewritten" in text
    assert "sech(u)**2" in text
    assert "not measured" in text
    assert table.count("\n|") == len(report) + 2
    assert report._repr_markdown_() == table
    with pytest.raises(sbp.NetworkError, match="no equation 'q'"):
        report["q"]


def test_the_report_finds_a_planted_error(monkeypatch):
    """A rule that is off by a billionth is an error of millions of units in the last place."""
    bad = Rule(1 - sp.tanh(U) ** 2, sp.sech(U) ** 2 * (1 + sp.Rational(1, 10**9)), "planted")
    monkeypatch.setattr(stabilise, "RULES", (bad,))
    monkeypatch.setattr(Rewriter.__init__, "__defaults__", (0, False, (bad,)))
    w = sbp.weight("w")
    report = sbp.Network(sbp.node("C", 1 - sp.tanh(w) ** 2)).stability(samples=5)
    assert report["C"].now.worst > 1e6
    assert not report.ok
