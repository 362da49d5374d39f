"""Second derivatives of every elementwise function, alone and in random compositions, against `jax.hessian`."""

from operator import add, sub

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.expressions import FUNCTIONS
from symbackprop.graph import functions as f
from symbackprop.graph import stable as g

PHI = lambda z: (1 + special.erf(z / np.sqrt(2))) / 2  # noqa: E731
# name → (function here, in JAX). Where it is not defined everywhere, or grows, it is of a sine: `u` is any expression.
UNARY = {
    "exp": (lambda u: sp.exp(sp.sin(u)), lambda u: jnp.exp(jnp.sin(u))),
    "log": (lambda u: sp.log(1.2 + sp.sin(u)), lambda u: jnp.log(1.2 + jnp.sin(u))),
    "sqrt": (lambda u: sp.sqrt(1.2 + sp.sin(u)), lambda u: jnp.sqrt(1.2 + jnp.sin(u))),
    "power": (lambda u: (1.2 + sp.cos(u)) ** 2.7, lambda u: (1.2 + jnp.cos(u)) ** 2.7),
    "cube": (lambda u: sp.sin(u) ** 3, lambda u: jnp.sin(u) ** 3),
    "exponent": (lambda u: 2 ** sp.sin(u), lambda u: 2.0 ** jnp.sin(u)),
    "sin": (sp.sin, jnp.sin),
    "cos": (sp.cos, jnp.cos),
    "tan": (lambda u: sp.tan(sp.sin(u)), lambda u: jnp.tan(jnp.sin(u))),
    "asin": (lambda u: sp.asin(sp.sin(u) / 2), lambda u: jnp.arcsin(jnp.sin(u) / 2)),
    "acos": (lambda u: sp.acos(sp.sin(u) / 2), lambda u: jnp.arccos(jnp.sin(u) / 2)),
    "atan": (sp.atan, jnp.arctan),
    "sinh": (lambda u: sp.sinh(sp.sin(u)), lambda u: jnp.sinh(jnp.sin(u))),
    "cosh": (lambda u: sp.cosh(sp.sin(u)), lambda u: jnp.cosh(jnp.sin(u))),
    "tanh": (sp.tanh, jnp.tanh),
    "asinh": (sp.asinh, jnp.arcsinh),
    "acosh": (lambda u: sp.acosh(3 + sp.sin(u)), lambda u: jnp.arccosh(3 + jnp.sin(u))),
    "atanh": (lambda u: sp.atanh(sp.sin(u) / 2), lambda u: jnp.arctanh(jnp.sin(u) / 2)),
    "sec": (lambda u: sp.sec(sp.sin(u)), lambda u: 1 / jnp.cos(jnp.sin(u))),
    "csc": (lambda u: sp.csc(1.5 + sp.sin(u)), lambda u: 1 / jnp.sin(1.5 + jnp.sin(u))),
    "cot": (lambda u: sp.cot(1.5 + sp.sin(u)), lambda u: 1 / jnp.tan(1.5 + jnp.sin(u))),
    "sech": (sp.sech, lambda u: 1 / jnp.cosh(u)),
    "csch": (lambda u: sp.csch(1.5 + sp.sin(u)), lambda u: 1 / jnp.sinh(1.5 + jnp.sin(u))),
    "coth": (lambda u: sp.coth(1.5 + sp.sin(u)), lambda u: 1 / jnp.tanh(1.5 + jnp.sin(u))),
    "erf": (sp.erf, special.erf),
    "erfc": (sp.erfc, special.erfc),
    "erf_complement": (g.erf_complement, special.erfc),
    "Abs": (sp.Abs, jnp.abs),
    "absolute": (f.absolute, jnp.abs),
    "sign": (sp.sign, jnp.sign),
    "floor": (sp.floor, jnp.floor),
    "ceiling": (sp.ceiling, jnp.ceil),
    "Heaviside": (sp.Heaviside, lambda u: jnp.heaviside(u, 0.5)),
    "step": (f.step, lambda u: jnp.where(u > 0, 1.0, 0.0)),
    "Mod": (lambda u: sp.Mod(u, 2), lambda u: u - 2 * jnp.floor(u / 2)),
    "relu": (f.relu, jax.nn.relu),
    "sigmoid": (f.sigmoid, jax.nn.sigmoid),
    "softplus": (f.softplus, jax.nn.softplus),
    "expm1": (lambda u: f.expm1(sp.sin(u)), lambda u: jnp.expm1(jnp.sin(u))),
    "log1p": (lambda u: f.log1p(sp.sin(u) / 2), lambda u: jnp.log1p(jnp.sin(u) / 2)),
    "log1mexp": (lambda u: g.log1mexp(1.2 + sp.sin(u)), lambda u: jnp.log(1 - jnp.exp(-1.2 - jnp.sin(u)))),
    "logcosh": (g.logcosh, lambda u: jnp.log(jnp.cosh(u))),
    "expm1mx": (lambda u: g.expm1mx(sp.sin(u)), lambda u: jnp.exp(jnp.sin(u)) - 1 - jnp.sin(u)),
    "gaussian": (lambda u: g.gaussian(u, sp.Rational(1, 2)), lambda u: jnp.exp(-(u**2) / 2)),
    "normal_cdf": (g.normal_cdf, PHI),
    "normal_pdf": (g.normal_pdf, lambda u: jnp.exp(-(u**2) / 2) / np.sqrt(2 * np.pi)),
    "leaky_relu": (f.leaky_relu, jax.nn.leaky_relu),
    "elu": (f.elu, jax.nn.elu),
    "selu": (f.selu, jax.nn.selu),
    "gelu": (f.gelu, lambda u: u * PHI(u)),
    "silu": (f.silu, jax.nn.silu),
    "mish": (f.mish, lambda u: u * jnp.tanh(jax.nn.softplus(u))),
    "softsign": (f.softsign, jax.nn.soft_sign),
    "hard_tanh": (f.hard_tanh, lambda u: jnp.clip(u, -1, 1)),
    "hard_sigmoid": (f.hard_sigmoid, lambda u: jnp.clip(u / 6 + 0.5, 0, 1)),
}
BINARY = {
    "add": (add, add),
    "sub": (sub, sub),
    "mul": (lambda u, v: u * sp.sin(v), lambda u, v: u * jnp.sin(v)),
    "quotient": (lambda u, v: u / (1 + v**2), lambda u, v: u / (1 + v**2)),
    "power": (lambda u, v: (1.2 + sp.sin(u)) ** sp.sin(v), lambda u, v: (1.2 + jnp.sin(u)) ** jnp.sin(v)),
    "atan2": (lambda u, v: sp.atan2(2 + sp.sin(u), v), lambda u, v: jnp.arctan2(2 + jnp.sin(u), v)),
    "Max": (sp.Max, jnp.maximum),
    "Min": (sp.Min, jnp.minimum),
    "maximum": (f.maximum, jnp.maximum),
    "Piecewise": (lambda u, v: sp.Piecewise((u**2, u < v), (sp.sin(v), True)), lambda u, v: jnp.where(u < v, u**2, jnp.sin(v))),
    "logaddexp": (g.logaddexp, jnp.logaddexp),
    "logsubexp": (lambda u, v: g.logsubexp(3 + sp.sin(u), sp.sin(v)), lambda u, v: jnp.log(jnp.exp(3 + jnp.sin(u)) - jnp.exp(jnp.sin(v)))),
    "expsub": (lambda u, v: g.expsub(sp.sin(u), sp.sin(v)), lambda u, v: jnp.exp(jnp.sin(u) - jnp.sin(v))),
    "softmax2": (g.softmax2, lambda u, v: jax.nn.sigmoid(u - v)),
    "xlogy": (lambda u, v: g.xlogy(u, 1.2 + sp.sin(v)), lambda u, v: u * jnp.log(1.2 + jnp.sin(v))),
    "xdivy": (lambda u, v: g.xdivy(u, 2 + sp.sin(v)), lambda u, v: u / (2 + jnp.sin(v))),
    "hypot": (lambda u, v: g.hypot(u, 1 + v**2), lambda u, v: jnp.sqrt(u**2 + (1 + v**2) ** 2)),
}
LEAVES = {
    "a": lambda a, b, x: a,
    "ax": lambda a, b, x: a * x,
    "b-x": lambda a, b, x: b - x,
    "abx": lambda a, b, x: a * b * x,
}


def built(tree, side, *tensors):
    """The expression of a tree of names, here (`side` 0) or in JAX (1)."""
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
    (p, q), xs = rng.uniform(-2, 2, 2), rng.uniform(0.1, 2, 3)

    def value(w):
        return jnp.sum(built(tree, 1, w[0], w[1], jnp.array(xs)) + (w[0] + w[1]) ** 2 * xs)

    found = net.hessian().matrix({"a": p, "b": q}, x=xs)
    order = [list(net.weights).index(name) for name in "ab"]
    close(found[np.ix_(order, order)], jax.hessian(value)(jnp.array([p, q])), what=str(tree))


def test_every_function_of_the_generated_code_is_here():
    u, v = sp.Dummy("u", real=True), sp.Dummy("v", real=True)
    made = [ours(u) for ours, _ in UNARY.values()] + [ours(u, v) for ours, _ in BINARY.values()]
    found = {part.func for expr in made for part in sp.preorder_traversal(expr)}
    assert set(FUNCTIONS) - found == {g.guarded}  # the argument of a branch, which rewriting makes and no user writes


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


@settings(max_examples=20)
@given(trees(), st.integers(0, 99))
def test_random_compositions(close, tree, seed):
    compare(close, tree, seed)
