"""Derivations: their order, their words, the checks of their steps, and that these find what is wrong.

That every line as it is printed is true is in tests/test_derivation_lines.py.
"""

import itertools
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from sympy.core.cache import clear_cache

import symbackprop as sbp
from symbackprop.calculus import elementwise, forms
from symbackprop.derivation import rules, update
from symbackprop.derivation.context import Context
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.reduction import LogSumExp, Softmax
from symbackprop.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))

from test_derivation_lines import FORMS, NETWORKS, latex_name
from test_properties import networks, scalar_networks

STOPS = ("chain", "local", "closed")

CASES = [(name, "mixed") for name in NETWORKS] + [("operators", "matrix"), ("two paths", "matrix"), ("columns", "entry")]


@pytest.mark.parametrize(("name", "form"), [*CASES, *((name, stop) for name in ("two paths", "layers") for stop in STOPS)])
def test_every_step_is_checked_and_comes_out(name, form):
    derivation = NETWORKS[name]().derivation(form, optimizer=sbp.Adam(lr=0.1), seed=3)
    assert [step.number for step in derivation.steps if step.verification is None or not step.verification.ok] == []
    assert derivation.ok
    assert "WRONG" not in derivation.text()


@settings(max_examples=4)
@given(network=networks(("n",)))
def test_random_networks_of_tensors(network):
    net = network[0]
    for form in ("mixed", "matrix"):
        derivation = net.derivation(form)
        assert [str(step.verification) for step in derivation.steps if not step.verification.ok] == []


@settings(max_examples=10)
@given(network=scalar_networks())
def test_random_networks_of_scalars(network):
    """The closed form, where there is one, against PyTorch; every step against numbers."""
    net, evaluate, weights = network
    derivation = net.derivation("closed", optimizer=sbp.SGD(lr=0.1))
    assert [str(step.verification) for step in derivation.steps if not step.verification.ok] == []
    values = weights | {name: np.float64(0.3 + 0.4 * i) for i, name in enumerate(net.data)}
    tensors = {name: torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    evaluate(tensors).backward()
    for step in derivation.steps:
        if step.rule.startswith("closed"):
            name = step.equation.lhs.adjoint_of[1].name
            expr = step.equation.rhs.expand(func=True)  # functions of this package in SymPy's own
            function = sp.lambdify(list(expr.free_symbols), expr, [{"step": lambda z: float(z > 0)}, "mpmath"])
            found = function(*(float(values[s.name]) for s in expr.free_symbols))
            np.testing.assert_allclose(float(found), tensors[name].grad.item(), rtol=1e-8, atol=1e-10)


# --- and what they find ---------------------------------------------------------------------------------------------------


@pytest.fixture
def plant(monkeypatch):
    """`plant(object, name, function)`; what SymPy and the package remember is forgotten, before and after."""

    def forget():
        clear_cache()
        elementwise.partial.cache_clear()
        rules.function_rule.cache_clear()

    def put(thing, name, value):
        forget()
        monkeypatch.setattr(thing, name, value)

    yield put
    monkeypatch.undo()
    forget()


def wrong(derivation):
    assert "WRONG" in repr(derivation)
    assert "WRONG" in derivation.text()
    return {step.number: step for step in derivation.steps if not step.verification.ok}


def planted_in_products(plant, change, operand):
    """Change what a product of two hands back to one of them."""
    right = Einsum._pull_one

    def pull_one(self, k, letters, ins, *rest):
        result = right(self, k, letters, ins, *rest)
        return change(result) if (len(ins), k) == (2, operand) else result

    plant(Einsum, "_pull_one", pull_one)


@pytest.mark.parametrize("factor", [-1, 2, sp.Rational(10005, 10000)])
@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_factor_in_a_pullback_is_found(plant, form, factor):
    planted_in_products(plant, lambda result: factor * result, operand=1)
    found = wrong(NETWORKS["columns"]().derivation(form))
    titles = {step.title for step in found.values()}
    assert "The error of $h$" in titles
    assert {title for title in titles if not title.startswith("The gradient")} <= {"The error of $h$", "How $o$ changes with $h$"}
    assert all("W_{1}" in title or "W^{(1)}" in title for title in titles if title.startswith("The gradient"))


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_transpose_is_found(plant, form):
    planted_in_products(plant, sbp.transpose, operand=0)
    found = wrong(NETWORKS["columns"]().derivation(form))
    names = {name[-1] for step in found.values() for name in re.findall(r"W(?:_\{|\^\{\()[12]", step.title)}
    assert names == {"1", "2"}
    assert all("W" in step.title for step in found.values())


@pytest.mark.parametrize("slope", [lambda z: 1 - sp.tanh(z), lambda z: (1 - sp.tanh(z) ** 2) * sp.Rational(9995, 10000)])
@pytest.mark.parametrize(("name", "nodes"), [("tanh", {"z_{2}", "a_{1}", "z_{1}"}), ("layers", {"Z_{2}", "A_{1}", "Z_{1}"})])
def test_a_wrong_derivative_of_a_function_is_found(plant, name, nodes, slope):
    plant(sp.tanh, "fdiff", lambda self, argindex=1: slope(self.args[0]))
    found = wrong(NETWORKS[name]().derivation())
    assert sum(step.title.startswith("How") for step in found.values()) == 2  # tanh stands in two equations
    assert {step.title.split("$")[1] for step in found.values() if step.title.startswith("The error")} == nodes
    assert not any(step.title.startswith(("The node", "The output", "The loss")) for step in found.values())


@pytest.mark.parametrize("operator", [Softmax, LogSumExp])
def test_a_wrong_pullback_of_an_operator_is_found(plant, operator):
    right = operator.pullback
    plant(operator, "pullback", lambda self, adjoint: [2 * term for term in right(self, adjoint)])
    name = {Softmax: "attention", LogSumExp: "classifier"}[operator]
    assert len(wrong(NETWORKS[name]().derivation("matrix"))) >= 3


def test_a_simplification_that_loses_a_factor_is_found(plant):
    right = forms.simplified
    plant(forms, "simplified", lambda expr: sp.Mul(*right(expr).args[1:]))
    found = wrong(NETWORKS["tanh"]().derivation())
    assert {step.title for step in found.values()} == {"The gradient of $w_{1}$", "The gradient of $w_{2}$", "The gradient of $b$"}
    assert len(found) == 6  # the local and the closed form of each


def test_a_path_that_is_forgotten_is_found(plant):
    chain, users = forms.Forms.chain, Context.users
    plant(forms.Forms, "chain", lambda self, x: sp.Add(*sp.Add.make_args(chain(self, x))[1:]))
    found = wrong(NETWORKS["two paths"]().derivation("index"))
    assert {step.title for step in found.values()} == {"The gradient of $w$", "The gradient of $v$"}
    assert {step.rule.partition(":")[0] for step in found.values()} == {"chain rule", "every factor evaluated"}
    plant(forms.Forms, "chain", chain)
    plant(Context, "users", lambda self, x: users(self, x)[:1])
    found = wrong(NETWORKS["tied"]().derivation("matrix"))
    assert [(step.title, step.rule.partition(":")[0]) for step in found.values()] == [("The gradient of $W$", "chain rule")]


def test_an_update_that_is_not_the_rule_is_found(plant):
    plant(update, "Trainer", lambda system, optimizer, weights: Trainer(system, sbp.SGD(lr=0.10005), weights))
    found = wrong(NETWORKS["layers"]().derivation(optimizer=sbp.SGD(lr=0.1)))
    assert {step.title for step in found.values()} == {f"The update of ${w}$" for w in ("W_{1}", "b_{1}", "W_{2}", "b_{2}")}


def attended():
    """Of the gradient of b_K all terms cancel: softmax does not see what is added to all scores of a query."""
    h = sbp.node("h", sbp.dense(sbp.data("x", ("n", 3, 4)), 4))
    return sbp.Network(sbp.node("C", sbp.mse(h + sbp.multi_head_attention(h, 2), sbp.data("t", ("n", 3, 4)))))


@pytest.mark.parametrize(
    "optimizer",
    [sbp.SGD(momentum=0.9), sbp.SGD(momentum=0.9, nesterov=True), sbp.Adam(), sbp.RMSprop(momentum=0.5), sbp.Adagrad()],
    ids=lambda optimizer: type(optimizer).__name__,
)
def test_an_update_by_a_gradient_that_cancels_is_not_called_wrong(optimizer):
    assert attended().derivation("matrix", optimizer=optimizer).ok


@pytest.mark.parametrize("optimizer", [sbp.SGD(momentum=0.9), sbp.Adam()], ids=["SGD", "Adam"])
def test_a_wrong_update_beside_gradients_that_cancel_is_found(plant, optimizer):
    right = update._assigned
    plant(update, "_assigned", lambda rule, weight, gradient: {t: v * (1 + 1e-6) for t, v in right(rule, weight, gradient).items()})
    found = wrong(attended().derivation("matrix", optimizer=optimizer))
    assert len(found) == len(optimizer.equations().states) + 1


# --- the order of things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS + STOPS)
def test_sections_and_steps_are_in_order(form):
    for name in ("tanh", "two paths", "columns") if form == "entry" else ("tanh", "two paths", "layers", "tied"):
        net = NETWORKS[name]()
        derivation = net.derivation(form, optimizer=sbp.SGD(lr=0.1), verify=False)
        titles = [section.title for section in derivation.sections]
        partials = ["The derivative of each equation"] * (form != "matrix")
        gradients = [f"The gradient of ${latex_name(w)}$" for w in net.weights]
        assert titles == ["Forward pass", "Loss", *partials, "The errors, from the loss backwards", *gradients, "The update"]
        assert [step.number for step in derivation.steps] == list(range(1, len(derivation.steps) + 1))
        for step in derivation.steps:
            assert step.title
            assert step.rule
            assert isinstance(step.equation, sp.Equality)
            assert step.latex.endswith(step.right)
            assert step.verification is None
            assert all(used < step.number for used in step.uses), str(step)
        assert derivation.ok


def lines(derivation, title):
    (section,) = (s for s in derivation.sections if s.title == title)
    return [(step.latex, step.rule.partition(":")[0]) for step in section]


def test_the_notebook():
    """Its own chain, and its own evaluation of it."""
    derivation = NETWORKS["tanh"]().derivation(optimizer=sbp.SGD(lr=0.01))
    found = lines(derivation, "The gradient of $w_{1}$")
    names = ["C", "y", "z_{2}", "a_{1}", "z_{1}", "w_{1}"]
    chain = " ".join(rf"\frac{{\partial {a}}}{{\partial {b}}}" for a, b in itertools.pairwise(names))
    assert found[0] == (rf"\frac{{\partial C}}{{\partial w_{{1}}}} = {chain}", "chain rule")
    assert found[1] == (r"= (y - t) \cdot (1 - y^{2}) \cdot w_{2} \cdot (1 - a_{1}^{2}) \cdot x", "every factor evaluated")
    assert found[2][0] == r"= x (1 - a_{1}^{2}) w_{2} (y - t) (1 - y^{2})"
    assert r"= x \delta_{1}" in dict(found)
    assert found[-1][1] == "closed"
    assert r"\tanh(w_{2} \tanh(w_{1} x) + b) - t" in found[-1][0]
    errors = [step.title for step in derivation.steps if step.title.startswith("The error")]
    assert list(dict.fromkeys(errors)) == [f"The error of ${x}$" for x in ("y", "z_{2}", "a_{1}", "z_{1}")]
    assert lines(derivation, "The update")[0][0] == r"w_{1} \leftarrow w_{1} - 0.01 \frac{\partial C}{\partial w_{1}}"
    rule = next(step.rule for step in derivation.steps if step.left == r"\frac{\partial y}{\partial z_{2}}")
    assert rule == r"derivative of tanh, $\tanh'(u) = 1 - \tanh^{2}(u)$"


def test_how_far_a_gradient_is_taken():
    rules_of = {stop: [rule for _, rule in lines(NETWORKS["tanh"]().derivation(stop), "The gradient of $w_{1}$")] for stop in STOPS}
    assert rules_of["chain"] == ["chain rule"]
    assert rules_of["local"][:2] == ["chain rule", "every factor evaluated"]
    assert "closed" not in rules_of["local"]
    assert rules_of["closed"] == [*rules_of["local"], "closed"]


@pytest.mark.parametrize("chosen", [["W_2"], "W_2", "tensor"])
def test_some_weights(chosen):
    net = NETWORKS["layers"]()
    derivation = net.derivation(weights=[net.weights["W_2"]] if chosen == "tensor" else chosen)
    assert [s.title for s in derivation.sections][-2:] == ["The errors, from the loss backwards", "The gradient of $W_{2}$"]
    assert not any("Z_{1}" in step.title for step in derivation.steps if step.title.startswith("The error"))  # behind W_2
    assert derivation.ok


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"form": "pretty"}, ["'pretty'", "mixed", "matrix", "index"]),
        ({"weights": ["V"]}, ["'V'", "'W_1'"]),
        ({"optimizer": 0.1}, ["0.1", "SGD(lr=0.01)"]),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(sbp.SymbackpropError) as error:
        NETWORKS["layers"]().derivation(**arguments)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("name", "abdfghkl")
def test_errors_are_named_from_the_loss_backwards(name):
    """Never in the order of a set, which another run turns round."""
    x, t, w, v = *sbp.data("x t"), *sbp.weight("w v")
    z = sbp.node(name, w * x)
    y = sbp.node("y", v * sp.tanh(z) + w * z**2)
    net = sbp.Network(sbp.node("C", (y - t) ** 2 / 2 + w**2 / 10), output=y)
    written = [step.rule for step in net.derivation(verify=False).steps if step.rule.startswith("written with")]
    assert written[0] == rf"written with $\delta_{{y}}$ and $\delta_{{{name}}}$"


# --- networks of every size and kind --------------------------------------------------------------------------------------


def in_time(net, form="mixed", seconds=20.0, **options):
    """Generous: about four times what it takes on a small machine."""
    start = time.process_time()  # others may use the machine
    derivation = net.derivation(form, **options)
    assert time.process_time() - start < seconds
    assert derivation.ok
    return derivation


def test_deep_and_wide_networks():
    assert len(in_time(sbp.mlp([4] * 13, loss="mse")).steps) > 100
    digits = in_time(sbp.mlp([784, 128, 10], activation="relu", loss="cross_entropy"), "mixed")
    assert any(step.right.endswith(r"X^{\top} \Delta_{1}") for step in digits.steps)
    with pytest.raises(sbp.UnsupportedError, match=r"100352 entries.*form='index'"):
        sbp.mlp([784, 128, 10], loss="mse").derivation("entry")


def test_a_long_chain_of_scalars():
    x, t = sbp.data("x t")
    h = x
    for k in range(1, 31):
        h = sbp.node(f"h_{k}", sp.tanh(sbp.weight(f"w_{k}") * h))
    derivation = in_time(sbp.Network(sbp.node("C", (h - t) ** 2 / 2)), weights=["w_1", "w_30"])
    assert sum(step.title.startswith("The error") for step in derivation.steps) >= 30


class swish(sp.Function):  # noqa: N801
    """A user's own activation."""

    is_real = True

    def fdiff(self, argindex=1):
        (z,) = self.args
        return sbp.sigmoid(z) + z * sbp.sigmoid(z) * (1 - sbp.sigmoid(z))

    def _eval_expand_func(self, **hints):
        (z,) = self.args
        return z * sbp.sigmoid(z)


def kinds():
    """Networks that are special in one way each."""
    w, v = sbp.weight("w", 4), sbp.weight("v", 2)
    x, t = sbp.data("x t")
    X = sbp.data("X", ("n", 3))
    a, b, unused = sbp.weight("alpha beta_hid unused")
    h = sbp.node("h", sbp.concatenate([v * v, w[0:2]]))
    yield "slices", sbp.Network(sbp.node("C", sbp.mean(h**2) + sbp.sum(sp.tanh(w[:3]))))
    M = sbp.weight("M", (3, 2))
    yield "the same twice", sbp.Network(sbp.node("C", sbp.mean(sbp.node("h", sbp.concatenate([a * (X @ M), a * (X @ M)], axis=1)) ** 2)))
    one = sbp.node("h", sbp.log_softmax(X @ sbp.weight("u", (3, 1))))
    yield "nothing is left", sbp.Network(sbp.node("C", sbp.sum(one * sbp.weight("s", 1))))
    labels, E = sbp.data("k", ("n",)), sbp.weight("E", (5, 3))
    Z = sbp.node("Z", (X + sbp.take(E, labels, axis=0)) @ sbp.weight("W", (3, 4)))
    yield "integer labels", sbp.Network(sbp.node("C", sbp.cross_entropy(Z, labels)))
    y = sbp.node("yhat", sp.Piecewise((a * x, a * x > b), (sp.Max(b, x), True)))
    yield "piecewise", sbp.Network(sbp.node("loss", sp.Abs(y - t)))
    yield "own function", sbp.Network(sbp.node("C", (sbp.node("y", swish(a * x + b)) - t) ** 2))
    yield "one unit", sbp.mlp([3, 2, 1], activation="sigmoid", loss="binary_cross_entropy")
    p = sbp.data("P", ("n", "m", 2))
    yield "two open sizes", sbp.Network(sbp.node("C", sbp.mean(sp.sin(p @ sbp.weight("r", 2)))))
    yield "data alone", sbp.Network(sbp.node("C", (sbp.node("y", a * sbp.node("u", x**2)) - t) ** 2))
    yield "no weights", sbp.Network(sbp.node("C", (x - t) ** 2))
    yield "no path", sbp.Network(sbp.node("C", (a * x - t) ** 2), output=sbp.node("o", unused * x))


@pytest.mark.parametrize("form", ["index", "matrix"])
@pytest.mark.parametrize(("name", "net"), list(kinds()))
def test_every_kind_of_network(name, net, form):
    derivation = net.derivation(form, optimizer=sbp.SGD(lr=0.1) if net.weights else None)
    assert [str(step) for step in derivation.steps if not (step.verification is None or step.verification.ok)] == []
    assert len(derivation.steps) >= len(net.equations)
    assert sum(section.title.startswith("The gradient of") for section in derivation.sections) == len(net.weights)
