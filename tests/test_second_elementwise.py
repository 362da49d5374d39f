"""Second derivatives of every elementwise function, alone and in random compositions, against PyTorch."""

from operator import add, sub

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import symbackprop as sbp
from symbackprop.codegen.apart import difference
from symbackprop.codegen.expressions import FUNCTIONS
from symbackprop.graph import functions as f
from symbackprop.graph import stable as g
from symbackprop.graph import stable_quotients as over
from symbackprop.graph import stable_remainders as rest
from symbackprop.graph import stable_squares as squares
from symbackprop.graph import stable_sums as sums
from symbackprop.graph import stable_tails as tails
from symbackprop.graph.stable_losses import logistic_loss, logistic_slope
from symbackprop.graph.stable_tails import erfc_hazard, log_erfc, log_normal_cdf, normal_hazard, sigmoid_cubic

normal_ratio = lambda z: np.sqrt(2 / np.pi) * torch.exp(-(z**2) / 2) / torch.erfc(-z / np.sqrt(2))  # noqa: E731
PHI = lambda z: (1 + torch.erf(z / np.sqrt(2))) / 2  # noqa: E731
# name → (function here, in PyTorch). Where it is not defined everywhere, or grows, it is of a sine: `u` is any expression.
UNARY = {
    "exp": (lambda u: sp.exp(sp.sin(u)), lambda u: torch.exp(torch.sin(u))),
    "log": (lambda u: sp.log(1.2 + sp.sin(u)), lambda u: torch.log(1.2 + torch.sin(u))),
    "sqrt": (lambda u: sp.sqrt(1.2 + sp.sin(u)), lambda u: torch.sqrt(1.2 + torch.sin(u))),
    "power": (lambda u: (1.2 + sp.cos(u)) ** 2.7, lambda u: (1.2 + torch.cos(u)) ** 2.7),
    "cube": (lambda u: sp.sin(u) ** 3, lambda u: torch.sin(u) ** 3),
    "exponent": (lambda u: 2 ** sp.sin(u), lambda u: 2.0 ** torch.sin(u)),
    "sin": (sp.sin, torch.sin),
    "cos": (sp.cos, torch.cos),
    "tan": (lambda u: sp.tan(sp.sin(u)), lambda u: torch.tan(torch.sin(u))),
    "asin": (lambda u: sp.asin(sp.sin(u) / 2), lambda u: torch.arcsin(torch.sin(u) / 2)),
    "acos": (lambda u: sp.acos(sp.sin(u) / 2), lambda u: torch.arccos(torch.sin(u) / 2)),
    "atan": (sp.atan, torch.arctan),
    "sinh": (lambda u: sp.sinh(sp.sin(u)), lambda u: torch.sinh(torch.sin(u))),
    "cosh": (lambda u: sp.cosh(sp.sin(u)), lambda u: torch.cosh(torch.sin(u))),
    "tanh": (sp.tanh, torch.tanh),
    "asinh": (sp.asinh, torch.arcsinh),
    "acosh": (lambda u: sp.acosh(3 + sp.sin(u)), lambda u: torch.arccosh(3 + torch.sin(u))),
    "atanh": (lambda u: sp.atanh(sp.sin(u) / 2), lambda u: torch.arctanh(torch.sin(u) / 2)),
    "sec": (lambda u: sp.sec(sp.sin(u)), lambda u: 1 / torch.cos(torch.sin(u))),
    "csc": (lambda u: sp.csc(1.5 + sp.sin(u)), lambda u: 1 / torch.sin(1.5 + torch.sin(u))),
    "cot": (lambda u: sp.cot(1.5 + sp.sin(u)), lambda u: 1 / torch.tan(1.5 + torch.sin(u))),
    "sech": (sp.sech, lambda u: 1 / torch.cosh(u)),
    "csch": (lambda u: sp.csch(1.5 + sp.sin(u)), lambda u: 1 / torch.sinh(1.5 + torch.sin(u))),
    "coth": (lambda u: sp.coth(1.5 + sp.sin(u)), lambda u: 1 / torch.tanh(1.5 + torch.sin(u))),
    "erf": (sp.erf, torch.erf),
    "erfc": (sp.erfc, torch.erfc),
    "erf_complement": (g.erf_complement, torch.erfc),
    "Abs": (sp.Abs, torch.abs),
    "absolute": (f.absolute, torch.abs),
    "sign": (sp.sign, torch.sign),
    "floor": (sp.floor, torch.floor),
    "ceiling": (sp.ceiling, torch.ceil),
    "Heaviside": (sp.Heaviside, lambda u: (u > 0).double()),
    "step": (f.step, lambda u: (u > 0).double()),
    "Mod": (lambda u: sp.Mod(u, 2), lambda u: u - 2 * torch.floor(u / 2)),
    "relu": (f.relu, torch.relu),
    "sigmoid": (f.sigmoid, torch.sigmoid),
    "softplus": (f.softplus, (lambda u: torch.logaddexp(u, 0 * u))),
    "expm1": (lambda u: f.expm1(sp.sin(u)), lambda u: torch.expm1(torch.sin(u))),
    "log1p": (lambda u: f.log1p(sp.sin(u) / 2), lambda u: torch.log1p(torch.sin(u) / 2)),
    "log1mexp": (lambda u: g.log1mexp(1.2 + sp.sin(u)), lambda u: torch.log(1 - torch.exp(-1.2 - torch.sin(u)))),
    "logcosh": (g.logcosh, lambda u: torch.log(torch.cosh(u))),
    "expm1mx": (lambda u: rest.expm1mx(sp.sin(u)), lambda u: torch.exp(torch.sin(u)) - 1 - torch.sin(u)),
    "log1pmx": (lambda u: rest.log1pmx(1.2 + sp.sin(u)), lambda u: torch.log1p(1.2 + torch.sin(u)) - 1.2 - torch.sin(u)),
    "sinmx": (rest.sinmx, lambda u: torch.sin(u) - u),
    "sinhmx": (lambda u: rest.sinhmx(sp.sin(u)), lambda u: torch.sinh(torch.sin(u)) - torch.sin(u)),
    "tanhmx": (rest.tanhmx, lambda u: torch.tanh(u) - u),
    "gaussian": (lambda u: g.gaussian(u, sp.Rational(1, 2)), lambda u: torch.exp(-(u**2) / 2)),
    "normal_cdf": (g.normal_cdf, PHI),
    "normal_pdf": (g.normal_pdf, lambda u: torch.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)),
    "xgaussian": (lambda u: g.xgaussian(u, sp.Rational(1, 2)), lambda u: u * torch.exp(-(u**2) / 2)),
    "logit": (lambda u: g.logit(sp.sin(u) / 4 + sp.Rational(1, 2)), lambda u: torch.logit(torch.sin(u) / 4 + 0.5)),
    "over_power": (lambda u: g.over_power(sp.sin(u), 2 + sp.cos(u), 3), lambda u: torch.sin(u) / (2 + torch.cos(u)) ** 3),
    "over_expm1": (lambda u: over.over_expm1(1.5 + sp.sin(u), 0), lambda u: (1.5 + torch.sin(u)) / torch.expm1(1.5 + torch.sin(u))),
    "scaled_erfc": (lambda u: tails.scaled_erfc(sp.sin(u)), lambda u: torch.special.erfcx(torch.sin(u))),
    "normal_hazard_slope": (
        lambda u: tails.normal_hazard_slope(sp.sin(u)),
        lambda u: -normal_ratio(torch.sin(u)) * (normal_ratio(torch.sin(u)) + torch.sin(u)),
    ),
    "erfc_gap": (lambda u: tails.erfc_gap(2 + sp.sin(u)), lambda u: 1 / (np.sqrt(np.pi) * torch.special.erfcx(2 + torch.sin(u))) - 2 - torch.sin(u)),
    "log1p_tanh": (tails.log1p_tanh, lambda u: torch.log1p(torch.tanh(u))),
    "log_sinh": (lambda u: tails.log_sinh(1.5 + sp.sin(u)), lambda u: torch.log(torch.sinh(1.5 + torch.sin(u)))),
    "log_erf": (lambda u: tails.log_erf(1.5 + sp.sin(u)), lambda u: torch.log(torch.erf(1.5 + torch.sin(u)))),
    "log_below_one": (
        lambda u: tails.log_below_one(sp.cos(sp.sin(u)), 2 * sp.sin(sp.sin(u) / 2) ** 2),
        lambda u: torch.log(torch.cos(torch.sin(u))),
    ),
    "log_erfc": (lambda u: log_erfc(sp.sin(u)), lambda u: torch.log(torch.erfc(torch.sin(u)))),
    "erfc_hazard": (
        lambda u: erfc_hazard(sp.sin(u)),
        lambda u: 2 / np.sqrt(np.pi) * torch.exp(-(torch.sin(u) ** 2)) / torch.erfc(torch.sin(u)),
    ),
    "log_normal_cdf": (lambda u: log_normal_cdf(sp.sin(u)), lambda u: torch.log(PHI(torch.sin(u)))),
    "normal_hazard": (
        lambda u: normal_hazard(sp.sin(u)),
        lambda u: torch.exp(-(torch.sin(u) ** 2) / 2) / np.sqrt(2 * np.pi) / PHI(torch.sin(u)),
    ),
    "sigmoid_cubic": (lambda u: sigmoid_cubic(u, 2, sp.Rational(1, 4)), lambda u: torch.sigmoid(2 * u + u**3 / 4)),
    "expm1_over": (lambda u: over.expm1_over(1.5 + sp.sin(u), 0), lambda u: torch.expm1(1.5 + torch.sin(u)) / (1.5 + torch.sin(u))),
    "log1p_over": (lambda u: over.log1p_over(1.5 + sp.sin(u), 0), lambda u: torch.log1p(1.5 + torch.sin(u)) / (1.5 + torch.sin(u))),
    "sin_over": (lambda u: over.sin_over(1.5 + sp.sin(u), 0), lambda u: torch.sin(1.5 + torch.sin(u)) / (1.5 + torch.sin(u))),
    "tanh_over": (lambda u: over.tanh_over(1.5 + sp.sin(u), 0), lambda u: torch.tanh(1.5 + torch.sin(u)) / (1.5 + torch.sin(u))),
    "leaky_relu": (f.leaky_relu, functional.leaky_relu),
    "elu": (f.elu, functional.elu),
    "selu": (f.selu, functional.selu),
    "gelu": (f.gelu, lambda u: u * PHI(u)),
    "silu": (f.silu, functional.silu),
    "mish": (f.mish, functional.mish),
    "softsign": (f.softsign, functional.softsign),
    "hard_tanh": (f.hard_tanh, lambda u: torch.clamp(u, -1, 1)),
    "hard_sigmoid": (f.hard_sigmoid, lambda u: torch.clamp(u / 6 + 0.5, 0, 1)),
}
BINARY = {
    "add": (add, add),
    "sub": (sub, sub),
    "mul": (lambda u, v: u * sp.sin(v), lambda u, v: u * torch.sin(v)),
    "quotient": (lambda u, v: u / (1 + v**2), lambda u, v: u / (1 + v**2)),
    "power": (lambda u, v: (1.2 + sp.sin(u)) ** sp.sin(v), lambda u, v: (1.2 + torch.sin(u)) ** torch.sin(v)),
    "atan2": (lambda u, v: sp.atan2(2 + sp.sin(u), v), lambda u, v: torch.arctan2(2 + torch.sin(u), v)),
    "Max": (sp.Max, torch.maximum),
    "Min": (sp.Min, torch.minimum),
    "maximum": (f.maximum, torch.maximum),
    "Piecewise": (lambda u, v: sp.Piecewise((u**2, u < v), (sp.sin(v), True)), lambda u, v: torch.where(u < v, u**2, torch.sin(v))),
    "logaddexp": (g.logaddexp, torch.logaddexp),
    "logsubexp": (lambda u, v: g.logsubexp(3 + sp.sin(u), sp.sin(v)), lambda u, v: torch.log(torch.exp(3 + torch.sin(u)) - torch.exp(torch.sin(v)))),
    "expsub": (lambda u, v: g.expsub(sp.sin(u), sp.sin(v)), lambda u, v: torch.exp(torch.sin(u) - torch.sin(v))),
    "softmax2": (g.softmax2, lambda u, v: torch.sigmoid(u - v)),
    "xlogy": (lambda u, v: g.xlogy(u, 1.2 + sp.sin(v)), lambda u, v: u * torch.log(1.2 + torch.sin(v))),
    "xlog1py": (lambda u, v: g.xlog1py(u, sp.sin(v) / 2), lambda u, v: u * torch.log1p(torch.sin(v) / 2)),
    "damped": (g.damped, lambda u, v: u * v),
    "bernoulli_score": (
        lambda u, v: g.bernoulli_score(u, sp.sin(v) / 4 + sp.Rational(1, 2)),
        lambda u, v: u / (torch.sin(v) / 4 + 0.5) - (1 - u) / (0.5 - torch.sin(v) / 4),
    ),
    "xdivy": (lambda u, v: g.xdivy(u, 2 + sp.sin(v)), lambda u, v: u / (2 + torch.sin(v))),
    "hypot_minus": (lambda u, v: squares.hypot_minus(u, 1 + v**2), lambda u, v: torch.sqrt(u**2 + (1 + v**2) ** 2) - u),
    "log_add_square": (lambda u, v: squares.log_add_square(1.2 + sp.sin(u), v), lambda u, v: torch.log(1.2 + torch.sin(u) + v**2)),
    "log_of_exponentials": (
        lambda u, v: sums.log_of_exponentials(2, u, 1.2 + sp.sin(v), -u, 3, v),
        lambda u, v: torch.log(2 * torch.exp(u) + (1.2 + torch.sin(v)) * torch.exp(-u) + 3 * torch.exp(v)),
    ),
    "share_of_exponentials": (
        lambda u, v: sums.share_of_exponentials(u, 2, v, 2, -v, 3, u),
        lambda u, v: torch.exp(u) / (2 * torch.exp(v) + 2 * torch.exp(-v) + 3 * torch.exp(u)),
    ),
    "hypot": (lambda u, v: g.hypot(u, 1 + v**2), lambda u, v: torch.sqrt(u**2 + (1 + v**2) ** 2)),
}
LEAVES = {
    "a": lambda a, b, x: a,
    "ax": lambda a, b, x: a * x,
    "b-x": lambda a, b, x: b - x,
    "abx": lambda a, b, x: a * b * x,
}


def built(tree, side, *tensors):
    """The expression of a tree of names, here (`side` 0) or in PyTorch (1)."""
    if isinstance(tree, str):
        return LEAVES[tree](*tensors)
    name, *parts = tree
    return (UNARY if len(parts) == 1 else BINARY)[name][side](*(built(part, side, *tensors) for part in parts))


def compare(close, tree, seed):
    a, b, x = sbp.weight("a"), sbp.weight("b"), sbp.data("x", ("n",))
    expression = built(tree, 0, a, b, x)
    if not expression.free_symbols & {a, b}:  # a composition may be a constant
        return
    net = sbp.Network(sbp.node("C", sbp.sum(expression + (a + b) ** 2 * x)))
    rng = np.random.default_rng(seed)
    point, xs = rng.uniform(-2, 2, 2), rng.uniform(0.1, 2, 3)
    found = net.hessian().matrix(dict(zip("ab", point, strict=True)), x=xs)
    order = [list(net.weights).index(name) for name in "ab"]
    w, x = torch.tensor(point, requires_grad=True), torch.tensor(xs)
    value = torch.sum(built(tree, 1, w[0], w[1], x) + (w[0] + w[1]) ** 2 * x)
    (gradient,) = torch.autograd.grad(value, w, create_graph=True)
    wanted = torch.stack([torch.autograd.grad(g, w, retain_graph=True)[0] for g in gradient])
    close(found[np.ix_(order, order)], wanted, what=str(tree))


def test_every_function_of_the_generated_code_is_here():
    u, v = sp.Dummy("u", real=True), sp.Dummy("v", real=True)
    made = [ours(u) for ours, _ in UNARY.values()] + [ours(u, v) for ours, _ in BINARY.values()]
    found = {part.func for expr in made for part in sp.preorder_traversal(expr)}
    # What rewriting makes where only a value or a gradient is computed, and no user writes: the argument of a branch, and the losses of logits.
    assert set(FUNCTIONS) - found == {g.guarded, logistic_loss, logistic_slope, difference}


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_what_is_no_plain_tensor(name, close):
    compare(close, ("mul", (name, ("log", "ax")), (name, "abx")), 3)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two(name, close):
    compare(close, (name, ("log", "ax"), ("sin", "b-x")), 4)


@st.composite
def trees(draw, depth=3):
    if depth == 0:
        return draw(st.sampled_from(sorted(LEAVES)))
    if draw(st.integers(0, 2)):
        return draw(st.sampled_from(sorted(UNARY))), draw(trees(depth - 1))
    return draw(st.sampled_from(sorted(BINARY))), draw(trees(depth - 1)), draw(trees(depth - 1))


@settings(max_examples=12)
@given(trees(), st.integers(0, 99))
def test_random_compositions(close, tree, seed):
    compare(close, tree, seed)
