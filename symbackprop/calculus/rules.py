"""The rewrites that make a formula safe to compute, as data: a pattern, what takes its place, when, and where the mathematics stands.

Each is an identity of real numbers; `tests/test_stability.py` holds every one of them against mpmath. u, v and k stand for anything.
Most are applied before the equations are differentiated, so that derivatives come out of stable functions; LOSSES before they are differentiated
once, while second derivatives are those of what a textbook writes. Some are applied only AFTER it,
since the derivative of the formula as written is the better one, and some LAST, since they hide from others what they look for.

Sources, by the names used below:
GBC: Goodfellow, Bengio & Courville, Deep Learning (2016), section 3.10 and 4.1.
Mächler: M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012).
BHH: Blanchard, Higham & Higham, "Accurately computing the log-sum-exp and softmax functions", IMA J. Numer. Anal. 41 (2021).
Higham: N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed. (2002), section 1.7 (cancellation) and 1.14.1 (expm1).
Kahan: W. Kahan, "Branch cuts for complex elementary functions" (1987), for the inverse hyperbolic functions and x² - y².
AS: Abramowitz & Stegun, Handbook of Mathematical Functions (1964), by section.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sympy as sp

from symbackprop.calculus.match import definition
from symbackprop.graph import stable as g
from symbackprop.graph import stable_quotients as quotients
from symbackprop.graph import stable_remainders as remainders
from symbackprop.graph import stable_tails as tails
from symbackprop.graph.functions import expm1, log1p, relu, sigmoid, softplus, step

BEFORE, LOSSES, AFTER, LAST = range(4)

U, V, K = sp.symbols("u v k", real=True)


@dataclass(frozen=True, eq=False)
class Rule:
    """`pattern` → `replacement`. `when` is asked with what u, v and k stand for. `stage`: from when on. `stored`: where it
    reads the value of a named node, the formula as written costs next to nothing, so training keeps it (see `stabilise`).
    `domain`: where the identity is checked, and holds."""

    pattern: sp.Expr
    replacement: sp.Expr
    source: str
    when: Callable[..., bool] | None = None
    stage: int = BEFORE
    stored: bool = False
    domain: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.pattern} → {self.replacement}"

    def allows(self, binding: dict[Any, Any]) -> bool:
        return self.when is None or self.when(**{s.name: x for s, x in binding.items()})


def _negative(u: Any, k: Any) -> bool:
    return bool(k.is_Rational and k < 0)


def _differ_by_a_number(u: Any, v: Any) -> bool:
    return bool((u - v).is_number)


def _below_minus_one(u: Any, k: Any) -> bool:
    return bool(k.is_Rational and k <= -2)


def _positive_number(u: Any, k: Any) -> bool:
    return bool(k.is_number and k.is_positive)


def _power_of_two(u: Any, k: Any) -> bool:
    """c = -k for which c times a number of few digits is exact."""
    return bool(k.is_Rational and k < 0 and k.p == -1 and k.q & (k.q - 1) == 0) or bool(k.is_Integer and k < 0 and -k & (-k - 1) == 0)


def _not_tanh(u: Any) -> bool:
    """1 - a² of a tanh is left to the rule for it, or on purpose as it is."""
    return not u.is_number and not isinstance(definition(u), sp.tanh)


def _varies(u: Any) -> bool:
    return not u.is_number


_EXP, _HALF = sp.exp, sp.Rational(1, 2)

RULES: tuple[Rule, ...] = (
    # --- exponentials ---------------------------------------------------------------------------------------------------
    Rule(_EXP(U) - 1 - U, remainders.expm1mx(U), "AS 4.2.1"),
    Rule(expm1(U) - U, remainders.expm1mx(U), "AS 4.2.1"),
    Rule(_EXP(U) - 1, expm1(U), "Higham 1.14.1"),
    Rule(_EXP(U) + _EXP(-U), 2 * sp.cosh(U), "AS 4.5.2"),
    Rule(_EXP(U) - _EXP(-U), 2 * sp.sinh(U), "AS 4.5.1"),
    Rule(_EXP(K * U**2), g.gaussian(U, -K), "Cody 1969, Math. Comp. 23, p. 634", when=_power_of_two, stage=AFTER, domain={"k": (-2, -0.5)}),
    Rule(_EXP(-(U**2)), g.gaussian(U, 1), "Cody 1969, Math. Comp. 23, p. 634", stage=AFTER),
    Rule(U * g.gaussian(U, K), g.xgaussian(U, K), "Cody 1969, Math. Comp. 23, p. 634", stage=AFTER, domain={"k": (0.5, 2)}),
    Rule(
        _EXP(U) * expm1(U) ** K,
        sp.csch(U / 2) ** 2 / 4 * expm1(U) ** (K + 2),
        "AS 4.5.1",
        when=_below_minus_one,
        stage=AFTER,
        domain={"k": (-5, -2)},
    ),
    # --- the logistic function and the hyperbolic ones ----------------------------------------------------------------------
    Rule(sigmoid(U) - _HALF, sp.tanh(U / 2) / 2, "GBC 6.3.2"),
    Rule(1 - sigmoid(U), sigmoid(-U), "GBC 3.10", stored=True),
    Rule(sigmoid(U) - sigmoid(U) ** 2, sigmoid(U) * sigmoid(-U), "GBC 3.10", stage=AFTER, stored=True),
    Rule(sigmoid(U) * sigmoid(-U), sp.sech(U / 2) ** 2 / 4, "GBC 3.10; AS 4.5.17"),
    Rule(expm1(U) * sigmoid(-U), sp.tanh(U / 2), "AS 4.5.3 and 4.5.30"),
    Rule(1 - sp.tanh(U) ** 2, sp.sech(U) ** 2, "AS 4.5.17", stored=True),
    Rule(1 - sp.tanh(U), 2 * sigmoid(-2 * U), "GBC 6.3.2"),
    Rule(1 + sp.tanh(U), 2 * sigmoid(2 * U), "GBC 6.3.2"),
    Rule(sp.cosh(U) ** K, sp.sech(U) ** (-K), "AS 4.5.5", when=_negative, domain={"k": (-3, -1)}),
    Rule(sp.sinh(U) * sp.sech(U), sp.tanh(U), "AS 4.5.3"),
    Rule(sp.sinh(U) ** K, sp.csch(U) ** (-K), "AS 4.5.4", when=_negative, domain={"u": (0.1, 3), "k": (-3, -1)}),
    Rule(sp.cosh(U) * sp.csch(U), sp.coth(U), "AS 4.5.6"),
    Rule(sp.coth(U) ** 2 - 1, sp.csch(U) ** 2, "AS 4.5.18"),
    Rule(sp.sin(U) - U, remainders.sinmx(U), "AS 4.3.65"),
    Rule(sp.sinh(U) - U, remainders.sinhmx(U), "AS 4.5.62"),
    Rule(sp.tanh(U) - U, remainders.tanhmx(U), "AS 4.5.64"),
    Rule(sp.cosh(U) - 1, 2 * sp.sinh(U / 2) ** 2, "AS 4.5.28", stage=AFTER),
    # --- logarithms -------------------------------------------------------------------------------------------------------
    Rule(sp.log(sigmoid(U)), -softplus(-U), "GBC 3.10"),
    Rule(log1p(_EXP(U)), softplus(U), "GBC 3.10"),
    Rule(softplus(U) - softplus(-U), U, "GBC 3.10, eq. 3.41"),
    Rule(log1p(U) - U, remainders.log1pmx(U), "AS 4.1.24", domain={"u": (-0.9, 3)}),
    Rule(sp.log(2 * sigmoid(U)), tails.log1p_tanh(U / 2), "GBC 6.3.2"),
    Rule(sp.log(sp.sech(U)), -g.logcosh(U), "AS 4.5.28"),
    Rule(sp.log(sp.sinh(U)), tails.log_sinh(U), "AS 4.5.1", domain={"u": (0.1, 3)}),
    Rule(sp.log(K * sp.sinh(U)), sp.log(K) + tails.log_sinh(U), "AS 4.5.1", when=_positive_number, domain={"u": (0.1, 3), "k": (0.1, 3)}),
    Rule(sp.log(sp.tanh(U)), tails.log_below_one(sp.tanh(U), 2 * sigmoid(-2 * U)), "Higham 1.14.1; GBC 6.3.2", domain={"u": (0.1, 3)}),
    Rule(sp.log(sp.erf(U)), tails.log_erf(U), "Higham 1.14.1; AS 7.1.2", domain={"u": (0.1, 3)}),
    Rule(sp.log(sp.cos(U)), tails.log_below_one(sp.cos(U), 2 * sp.sin(U / 2) ** 2), "Higham 1.14.1; AS 4.3.22", domain={"u": (-1.5, 1.5)}),
    Rule(sp.log(-expm1(U)), g.log1mexp(-U), "Mächler, eq. 7", domain={"u": (-3, -0.1)}),
    Rule(sp.log(expm1(U)), U + g.log1mexp(U), "Mächler, eq. 7", domain={"u": (0.1, 3)}),
    Rule(sp.log(_EXP(U) - _EXP(V)), g.logsubexp(U, V), "Mächler, eq. 7", domain={"u": (1, 3), "v": (-3, 0.5)}),
    Rule(sp.log(sp.cosh(U)), g.logcosh(U), "AS 4.5.28"),
    Rule(sp.log(2 * sp.cosh(U)), sp.log(2) + g.logcosh(U), "AS 4.5.28"),
    Rule(sp.log(U + sp.sqrt(1 + U**2)), sp.asinh(U), "AS 4.6.20; Kahan"),
    Rule(sp.log(U + sp.sqrt(U**2 - 1)), sp.acosh(U), "AS 4.6.21; Kahan", domain={"u": (1.1, 3)}),
    Rule(sp.log((1 + U) / (1 - U)), 2 * sp.atanh(U), "AS 4.6.22; Kahan", domain={"u": (-0.9, 0.9)}),
    Rule(sp.log(U / (1 - U)), g.logit(U), "AS 4.6.22; Kahan", domain={"u": (0.1, 0.9)}),
    Rule(sp.log(U) - log1p(-U), g.logit(U), "AS 4.6.22; Kahan", stage=AFTER, domain={"u": (0.1, 0.9)}),
    Rule(sp.log(1 + U), log1p(U), "Higham 1.14.1", when=_varies, domain={"u": (-0.9, 3)}),
    # --- the normal distribution --------------------------------------------------------------------------------------------
    Rule(1 + sp.erf(U * sp.sqrt(2) / 2), 2 * g.normal_cdf(U), "AS 7.1.22"),
    Rule(1 - sp.erf(U * sp.sqrt(2) / 2), 2 * g.normal_cdf(-U), "AS 7.1.22"),
    Rule(sp.erfc(U * sp.sqrt(2) / 2), 2 * g.normal_cdf(-U), "AS 7.1.22"),
    Rule(1 - sp.erf(U), g.erf_complement(U), "AS 7.1.2"),
    Rule(1 + sp.erf(U), g.erf_complement(-U), "AS 7.1.2 and 7.1.9"),
    Rule(1 - g.normal_cdf(U), g.normal_cdf(-U), "AS 26.2.6"),
    Rule(2 - sp.erfc(U), g.erf_complement(-U), "AS 7.1.2 and 7.1.9; SymPy writes erfc(-u) like that"),
    Rule(sp.log(g.erf_complement(U) / 2), tails.log_normal_cdf(-U * sp.sqrt(2)), "AS 7.1.22"),
    Rule(sp.log(sp.erfc(U) / 2), tails.log_normal_cdf(-U * sp.sqrt(2)), "AS 7.1.22"),
    Rule(sp.log(g.normal_cdf(U)), tails.log_normal_cdf(U), "AS 26.2.12"),
    Rule(sp.log(2 * g.normal_cdf(U)), tails.log_erfc(-U * sp.sqrt(2) / 2), "AS 7.1.22 and 7.1.23"),
    Rule(sp.log(g.erf_complement(U)), tails.log_erfc(U), "AS 7.1.23"),
    Rule(sp.log(sp.erfc(U)), tails.log_erfc(U), "AS 7.1.23"),
    Rule(_EXP(U**2) * sp.erfc(U), tails.scaled_erfc(U), "AS 7.1.23"),
    Rule(_EXP(U**2) * g.erf_complement(U), tails.scaled_erfc(U), "AS 7.1.23"),
    Rule(_EXP(-(U**2)) / sp.erfc(U), sp.sqrt(sp.pi) / 2 * tails.erfc_hazard(U), "AS 7.1.23"),
    Rule(_EXP(-(U**2)) / g.erf_complement(U), sp.sqrt(sp.pi) / 2 * tails.erfc_hazard(U), "AS 7.1.23"),
    Rule(_EXP(-(U**2)) / g.erf_complement(-U), sp.sqrt(sp.pi) / 2 * tails.erfc_hazard(-U), "AS 7.1.23"),
    Rule(_EXP(-(U**2) / 2) / g.normal_cdf(U), sp.sqrt(2 * sp.pi) * tails.normal_hazard(U), "AS 26.2.12"),
    Rule(_EXP(-(U**2) / 2) / g.normal_cdf(-U), sp.sqrt(2 * sp.pi) * tails.normal_hazard(-U), "AS 26.2.12"),
    # --- roots and squares ----------------------------------------------------------------------------------------------------
    Rule(
        sp.sqrt(U) - sp.sqrt(V),
        (U - V) / (sp.sqrt(U) + sp.sqrt(V)),
        "Higham 1.7",
        when=_differ_by_a_number,
        domain={"u": (0.1, 3), "v": (0.1, 3)},
    ),
    Rule(1 - g.xdivy(U, g.hypot(1, U)) ** 2, g.over_power(1, g.hypot(1, U), 2), "Higham 1.7", stage=AFTER),
    Rule(1 - g.over_power(1, g.hypot(1, U), 2), g.xdivy(U, g.hypot(1, U)) ** 2, "Higham 1.7", stage=AFTER),
    Rule(1 - U**2, (1 - U) * (1 + U), "Kahan", when=_not_tanh, stage=AFTER),
    Rule(1 - sp.cos(U), 2 * sp.sin(U / 2) ** 2, "Higham 1.7", stage=AFTER),
    Rule((1 - sp.cos(U)) / U**2, quotients.sin_over(U / 2, 0) ** 2 / 2, "Higham 1.7; AS 4.3.68"),
    # --- masks: the convention that 0 times what is not finite is 0 -------------------------------------------------------------
    Rule(
        g.xdivy(U, V) - g.xdivy(1 - U, 1 - V),
        g.bernoulli_score(U, V),
        "GBC 6.2.2.2; Higham 1.7",
        stage=AFTER,
        domain={"u": (0.1, 0.9), "v": (0.1, 0.9)},
    ),
    Rule(U * sp.sign(U), sp.Abs(U), "AS 4.2, the sign of a real number"),
    Rule(
        step(U) * relu(U) ** K,
        g.xdivy(step(U), relu(U) ** (-K)),
        "relu'(0) = 0 by convention",
        when=_negative,
        stage=LAST,
        domain={"k": (-2, -0.5)},
    ),
    Rule(
        sp.sign(U) * sp.Abs(U) ** K,
        g.xdivy(sp.sign(U), sp.Abs(U) ** (-K)),
        "|x|'(0) = 0 by convention",
        when=_negative,
        stage=LAST,
        domain={"k": (-2, -0.5)},
    ),
)
