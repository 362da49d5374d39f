"""Derivatives of elementwise expressions are what `sympy.diff` makes of them, though it is asked for less; entries of a gradient are what
its closed form says of their indices."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp
from symbackprop.calculus.elementwise import partial, slopes

x, y, z = sbp.data("x y z")

EXPRESSIONS = [
    x * y,
    -3 * x * y * z,
    x / y,
    2 * x * (x + y) / 3,
    (x - y) ** 2,
    (x * y - z) ** 2,
    (x * (y + z) + 1) ** 3 * (y - x),
    (x + y) ** sp.Rational(-3, 2),
    sp.sqrt(1 + x**2),
    x**y,
    2**x,
    (1 + x**2) ** (x * y),
    sp.tanh(x),
    sp.tanh(x * y + z) ** 2,
    sp.exp(-(x**2) / 2) * sp.sin(x * y),
    sp.log(1 + sp.exp(x)) / (1 + y**2),
    x * (1 + sp.erf(x / sp.sqrt(2))) / 2,
    sp.atan2(x, y),
    0.25 * x**2 - 1.5 * y * x,
    -(1 - y) * sp.log(1 - x) - y * sp.log(x),
    sp.Piecewise((x**2, x > y), (x * y, True)),
    sbp.sigmoid(x) * (1 - sbp.sigmoid(x)),
]


@pytest.mark.parametrize("expr", EXPRESSIONS, ids=str)
def test_a_derivative_has_the_form_that_sympy_gives_it(expr):
    leaves = sorted(expr.free_symbols, key=lambda s: s.name)
    expected = [sp.diff(expr, leaf) for leaf in leaves]
    assert [partial(expr, leaf, "e") for leaf in leaves] == expected
    assert slopes(expr, leaves, leaves, "e") == expected
    assert slopes(expr, leaves[-1:], leaves, "e") == expected[-1:]


def test_a_derivative_in_what_does_not_occur_is_zero():
    assert partial(sp.tanh(x) ** 2 + 1, y, "e") == 0


def test_a_function_with_a_derivative_of_its_own_keeps_it():
    class Cube(sp.Function):
        is_real = True

        def _eval_derivative(self, s):
            return 3 * self.args[0] ** 2 * self.args[0].diff(s)

    assert partial(Cube(x * y), x, "e") == 3 * x**2 * y**3


def test_all_entries_of_closed_forms(close):
    """Every entry of every weight, in any order, beside torch; conditions on an index are decided entry by entry."""
    X = sbp.data("X", ("n", 3))
    W, b, V = sbp.weight("W", (3, 4)), sbp.weight("b", 4), sbp.weight("V", (4, 2))
    H = sbp.node("H", sp.tanh(X @ W + b))
    net = sbp.Network(sbp.node("C", sbp.mean((H[:, 1:3] @ V[:2] + H[:, :2] @ V[2:]) ** 2)))
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=w.shape) for name, w in net.weights.items()}
    data = rng.normal(size=(2, 3))
    t = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    h = torch.tanh(torch.tensor(data) @ t["W"] + t["b"])
    ((h[:, 1:3] @ t["V"][:2] + h[:, :2] @ t["V"][2:]) ** 2).mean().backward()
    for name, w in net.weights.items():
        for index in reversed(list(itertools.product(*map(range, w.shape)))):
            number = sbp.evaluate(net.gradients[name][index].closed, {**values, "X": data})
            close(float(number), float(t[name].grad[index]), what=f"{name}{index}")
