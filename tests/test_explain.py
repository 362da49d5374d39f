"""Worked examples: every number on the page against PyTorch, and Mazur's own page."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp
from symbackprop.calculus import elementwise

sys.path.insert(0, str(Path(__file__).parent))

from test_derivation_lines import EQUATIONS, ERROR, NETWORKS, PARTIAL, Page, Reference
from test_latex import Reader

NUMBER = r"(-?\d+(?:\.\d+)?)(?: \\cdot 10\^\{(-?\d+)\})?"


def number(text):
    mantissa, exponent = re.fullmatch(NUMBER, text).groups()
    return float(f"{mantissa}e{exponent or 0}")


def result_of(step):
    """The number a line ends in: (the sign before it, its digits as they are shown, its value); None for a line of names."""
    match = re.search(rf"(?:(=|\\approx) |^){NUMBER}$", step.right)
    if not match:
        return None
    shown = match.group(0).split(" ", 1)[1] if match.group(1) else match.group(0)
    return match.group(1) or "=", shown, number(shown)


def explained(name, digits=9, optimizer=None, seed=5):
    """One sample through a network: the derivation, and the same in PyTorch."""
    net = NETWORKS[name]()
    reference = Reference(net, EQUATIONS[name], rows=1)
    values = {key: value.numpy() for key, value in reference.values.items()}
    data = {key: values[key] for key in net.data}
    return net.explain({w: values[w] for w in net.weights}, optimizer=optimizer or sbp.SGD(lr=0.5), digits=digits, **data), reference


def subject_of(step, page, before):
    """The value, in PyTorch, of what stands left of a step."""
    text = f"{step.left} = {step.right}" if step.left else ""
    if not text:
        return before
    if match := re.match(PARTIAL, text) or (re.match(ERROR, text) and re.search(PARTIAL, text)):
        value, letters = page.derivative(*match.groups())
    else:
        name, letters = page.split(step.left)
        value = page.reference.values[name].detach().numpy()
    return float(value[tuple(map(int, letters.split()))])


@pytest.mark.parametrize("name", EQUATIONS)
def test_every_number_is_what_pytorch_says(name):
    derivation, reference = explained(name, digits=9)
    page = Page(reference)
    before, compared = None, 0
    for step in derivation.steps:
        if step.relation == r"\leftarrow" or step.rule == "definition: given":
            continue
        before = subject_of(step, page, before)
        if result_of(step) is None:
            assert step.rule == "chain rule"
            continue
        sign, shown, value = result_of(step)
        assert value == pytest.approx(before, rel=0.51e-8, abs=1e-15), str(step)
        assert sign == r"\approx" or value == pytest.approx(before, rel=1e-12, abs=1e-18), str(step)
        digits = shown.split(r" \cdot")[0].lstrip("-0.").replace(".", "")
        assert len(digits) <= 9
        compared += 1
    assert compared >= len(EQUATIONS[name]) + len(reference.values) - len(EQUATIONS[name]) - 2
    assert derivation.ok


@pytest.mark.parametrize("name", EQUATIONS)
def test_the_arithmetic_on_the_page_can_be_done_again(name):
    """What is written in numbers gives what it says, as far as its digits reach."""
    derivation, _ = explained(name, digits=14)
    done = 0
    for step in derivation.steps:
        parts = re.split(r" (?:=|\\approx) ", step.right)
        for part in parts[:-1] if result_of(step) else []:
            bare = re.sub(r"\\[a-zA-Z]+|\\begin\{cases\}", "", part)
            if re.search("[A-Za-z]", bare) or r"\partial" in part or r"\delta" in part:
                continue  # names
            assert not re.search(r"[-+] -|\\cdot -|\d -\d", part), part  # a negative number stands in brackets
            with np.errstate(all="ignore"):
                found = Reader(part, {}).all()
            assert found == pytest.approx(result_of(step)[2], rel=1e-9, abs=1e-11), str(step)
            done += 1
    assert done >= 3 or name in ("minimum",)


@pytest.mark.parametrize(("optimizer", "reference"), [(sbp.SGD(lr=0.5), torch.optim.SGD), (sbp.Adam(lr=0.5), torch.optim.Adam)])
@pytest.mark.parametrize("name", ["tanh", "two paths", "columns", "tied", "regression"])
def test_the_update_is_pytorchs(name, optimizer, reference):
    derivation, expected = explained(name, digits=10, optimizer=optimizer)
    net = NETWORKS[name]()
    weights = {w: expected.values[w].clone().requires_grad_() for w in net.weights}
    step = reference(weights.values(), lr=0.5)
    losses = []
    for _ in range(2):
        values = {**expected.values, **weights}
        expected.run(values, list(expected.equations))
        step.zero_grad()
        values[expected.loss].backward()
        losses.append(values[expected.loss].item())
        if len(losses) == 1:
            step.step()
    wanted = [value for w in weights.values() for value in w.detach().numpy().ravel()]
    last = {s.title: s for s in derivation.steps if s.relation == r"\leftarrow"}  # Adam's m and v before it
    assert [result_of(s)[2] for s in last.values()] == pytest.approx(wanted, rel=1e-9)
    text = derivation.sections[-1].text[-1]
    shown = [number(n) for n in re.findall(r"(?:=|\\approx) ([^$]*)\$", text)]
    assert shown == pytest.approx(losses, rel=1e-9)


# --- Mazur's page ---------------------------------------------------------------------------------------------------------


def mazur():
    """2-2-2, sigmoid everywhere, one bias a layer. What he prints, to nine digits."""
    x, t = sbp.data("x t", 2)
    W1, W2, b1, b2 = sbp.weight("W_1", (2, 2)), sbp.weight("W_2", (2, 2)), sbp.weight("b_1"), sbp.weight("b_2")
    z1 = sbp.node("net_h", W1 @ x + b1)
    h = sbp.node("h", sbp.sigmoid(z1))
    z2 = sbp.node("net_o", W2 @ h + b2)
    o = sbp.node("o", sbp.sigmoid(z2))
    net = sbp.Network(sbp.node("E", sbp.sum((t - o) ** 2) / 2), output=o)
    weights = {"W_1": [[0.15, 0.20], [0.25, 0.30]], "b_1": 0.35, "W_2": [[0.40, 0.45], [0.50, 0.55]], "b_2": 0.60}
    return net, weights, {"x": [0.05, 0.10], "t": [0.01, 0.99]}


def test_mazurs_numbers():
    """Source: Mazur, A Step by Step Backpropagation Example (2015). The digits below are his."""
    net, weights, sample = mazur()
    derivation = net.explain(weights, optimizer=sbp.SGD(lr=0.5), digits=9, **sample)
    found = {step.left: result_of(step)[2] for step in derivation.steps if step.relation == "=" and step.left and result_of(step)}
    assert found["net^{(h)}_{0}" if "net^{(h)}_{0}" in found else next(k for k in found if "net" in k)] == pytest.approx(0.3775, abs=1e-9)
    assert found["h_{0}"] == pytest.approx(0.593269992, abs=6e-10)
    assert found["h_{1}"] == pytest.approx(0.596884378, abs=6e-10)
    assert found["o_{0}"] == pytest.approx(0.75136507, abs=6e-9)
    assert found["o_{1}"] == pytest.approx(0.772928465, abs=6e-10)
    assert found["E"] == pytest.approx(0.298371109, abs=6e-10)
    moved = {step.left: result_of(step)[2] for step in derivation.steps if step.relation == r"\leftarrow"}
    his = {"W^{(2)}": [0.35891648, 0.408666186, 0.511301270, 0.561370121], "W^{(1)}": [0.149780716, 0.19956143, 0.24975114, 0.29950229]}
    for name, values in his.items():
        for place, value in zip(np.ndindex(2, 2), values, strict=True):
            assert moved[f"{name}_{{{place[0]} {place[1]}}}"] == pytest.approx(value, abs=6e-9)
    # He leaves the biases as they are; the package moves them, as gradient descent does.
    held = {**weights, **{w: np.array(his[f"W^{{({w[-1]})}}"]).reshape(2, 2) for w in ("W_1", "W_2")}}
    assert net.value_and_gradients(held, **sample)[0] == pytest.approx(0.291027924, abs=2e-7)  # his last digits carry his rounding
    after = number(re.findall(r"([\d.]+)\$", derivation.sections[-1].text[-1])[-1])
    assert after < 0.291027924 < 0.298371109


# --- what is written, and what is refused ---------------------------------------------------------------------------------


def line():
    w, b = sbp.weight("w b")
    x, t = sbp.data("x t")
    return sbp.Network(sbp.node("C", (sbp.node("y", w * x + b) - t) ** 2 / 2))


def test_a_page_in_full():
    derivation = line().explain({"w": -2, "b": 0.5}, optimizer=sbp.SGD(lr=0.1), digits=4, x=0.3, t=-1)
    assert [section.title for section in derivation.sections] == [
        "Given", "Forward pass", "The errors, from the loss backwards", "The gradient of $w$", "The gradient of $b$", "The update",
    ]  # fmt: skip
    assert [step.latex for step in derivation.steps] == [
        "w = -2",
        "b = 0.5",
        "x = 0.3",
        "t = -1",
        r"y = w x + b = (-2) \cdot 0.3 + 0.5 = -0.1",
        r"C = \frac{(y - t)^{2}}{2} = \frac{(-0.1 + 1)^{2}}{2} = 0.405",
        r"\delta_{y} = \frac{\partial C}{\partial y} = y - t = -0.1 + 1 = 0.9",
        r"\frac{\partial C}{\partial w} = \delta_{y} \frac{\partial y}{\partial w}",
        r"= x \delta_{y} = 0.3 \cdot 0.9 = 0.27",
        r"\frac{\partial C}{\partial b} = \delta_{y} \frac{\partial y}{\partial b}",
        r"= \delta_{y} = 0.9",
        r"w \leftarrow -2 - 0.1 \cdot 0.27 = -2.027",
        r"b \leftarrow 0.5 - 0.1 \cdot 0.9 = 0.41",
    ]
    assert [step.number for step in derivation.steps] == list(range(1, 14))
    assert derivation.ok


@pytest.mark.parametrize("digits", [1, 3, 15])
def test_digits(digits):
    derivation = line().explain({"w": 1 / 3, "b": 2e-7}, digits=digits, x=2, t=1)
    y = next(step for step in derivation.steps if step.left == "y")
    assert f"{1 / 3:.{digits}g}" in y.right
    assert result_of(y)[0] == (r"\approx" if digits < 15 else "=")
    assert result_of(y)[2] == pytest.approx(2 / 3 + 2e-7, rel=0.51 * 10 ** (1 - digits) / 0.6)
    assert r"2 \cdot 10^{-7}" in y.right
    assert derivation.steps[0].latex.startswith(r"w \approx 0.3" if digits < 15 else "w = 0.3")


def test_one_sample_in_every_shape():
    net = NETWORKS["layers"]()
    rng = np.random.default_rng(2)
    weights = {name: rng.normal(size=w.shape) for name, w in net.weights.items()}
    X, T = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    with_axis = net.explain(weights, X=X[:1], T=T[:1]).text()
    assert net.explain(weights, X=X[0], T=T[0]).text() == with_axis
    assert net.explain({net.weights[k]: v for k, v in weights.items()}, X=X[0].tolist(), T=T[0]).text() == with_axis


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"X": np.ones((4, 3)), "T": np.ones((4, 2))}, sbp.DataError, ["'X'", "4 samples", "X[0]"]),
        ({"X": np.ones(3)}, sbp.DataError, ["'T'", "missing"]),
        ({"X": np.ones(5), "T": np.ones(2)}, sbp.DataError, ["'X'", "5", "3"]),
        ({"X": np.ones(3), "T": np.ones(2), "q": 1.0}, sbp.DataError, ["'q'"]),
        ({"X": ["a", "b", "c"], "T": np.ones(2)}, sbp.DataError, ["'X'"]),
        ({"X": np.ones(3), "T": np.ones(2), "digits": 0}, sbp.DataError, ["digits", "1 to 15"]),
        ({"X": np.ones(3), "T": np.ones(2), "digits": True}, sbp.DataError, ["digits"]),
        ({"X": np.ones(3), "T": np.ones(2), "optimizer": "SGD"}, sbp.SymbackpropError, ["'SGD'", "SGD(lr=0.01)"]),
        ({"X": np.ones(3), "T": np.ones(2), "weights": {"W_1": np.ones((3, 4))}}, sbp.DataError, ["'W_2'", "missing"]),
        ({"X": np.ones(3), "T": np.ones(2), "weights": "wrong shape"}, sbp.DataError, ["'W_1'", "(2, 2)", "(3, 4)"]),
    ],
)
def test_what_is_refused(arguments, error, words):
    net = NETWORKS["layers"]()
    full = {name: np.ones(w.shape) for name, w in net.weights.items()}
    weights = arguments.pop("weights", full)
    with pytest.raises(error) as caught:
        net.explain({**full, "W_1": np.ones((2, 2))} if weights == "wrong shape" else weights, **arguments)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_a_network_too_large_for_paper():
    h = sbp.data("x")
    for k in range(160):
        h = sbp.node(f"h_{k}", sp.tanh(sbp.weight(f"w_{k}") * h))
    net = sbp.Network(sbp.node("C", h**2))
    with pytest.raises(sbp.UnsupportedError, match=r"equations.*more than anybody follows on paper.*net\.derivation\(\)"):
        net.explain(net.initialize(), x=1.0)


def test_of_large_tensors_a_few_entries_are_followed():
    net = sbp.mlp([20, 100, 5])
    rng = np.random.default_rng(0)
    values = {name: rng.normal(size=w.shape) * 0.2 for name, w in net.weights.items()} | {"X": rng.normal(size=(1, 20)), "T": rng.normal(size=(1, 5))}
    derivation = net.explain({w: values[w] for w in net.weights}, digits=12, X=values["X"], T=values["T"])
    w = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}
    Z = w["X"] @ w["W_1"] + w["b_1"]
    loss = ((torch.tanh(Z) @ w["W_2"] + w["b_2"] - w["T"]) ** 2).mean()
    loss.backward()
    shown = {step.left: result_of(step)[2] for step in derivation.steps if step.left and result_of(step)}
    for k, place in ((0, "0 0"), (50, "0,50"), (99, "0,99")):
        assert shown[f"Z^{{(1)}}_{{{place}}}"] == pytest.approx(Z[0, k].item(), rel=1e-10)
    last = next(section for section in derivation.sections if section.title == "The gradient of $W_{1}$")
    assert len(last.blocks[0]) == 6
    found = [result_of(step)[2] for step in last.blocks[0][1::2]]
    gradient = w["W_1"].grad.numpy().ravel()
    assert found == pytest.approx([gradient[0], gradient[1000], gradient[1999]], rel=1e-10)
    assert derivation.ok
    assert "the first, the middle and the last entry are followed" in derivation.text()
    assert len(derivation.latex(document=True)) < 30_000


def test_attention_of_several_heads_fits_a_page():
    X, T = sbp.data("X", ("n", 3, 4)), sbp.data("T", ("n", 3, 4))
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.multi_head_attention(X, 2, causal=True), T)))
    rng = np.random.default_rng(0)
    derivation = net.explain(net.initialize(), X=rng.normal(size=(3, 4)), T=rng.normal(size=(3, 4)))
    assert [str(step) for step in derivation.steps if step.verification and not step.verification.ok] == []
    shown = {step.title for step in derivation.steps}
    assert {"The value of $S^{(1)}_{0 0 0 0}$", "The value of $S^{(1)}_{0 1 2 2}$"} <= shown


def test_an_output_that_the_loss_does_not_read():
    a, u = sbp.weight("a u")
    x, t, q = sbp.data("x t q")
    net = sbp.Network(sbp.node("C", (a * x - t) ** 2), output=sbp.node("o", u * x * q))
    derivation = net.explain({"a": 1.0, "u": 2.0}, x=0.5, t=0.25, q=3.0)
    assert "o = u x q = 2 \\cdot 0.5 \\cdot 3 = 3" in derivation.text()
    assert "does not depend on $u$" in derivation.markdown()
    with pytest.raises(sbp.DataError, match="'q' is missing"):
        net.explain({"a": 1.0, "u": 2.0}, x=0.5, t=0.25)


def test_a_wrong_gradient_is_found(monkeypatch):
    right = sp.tanh.fdiff
    elementwise.partial.cache_clear()
    sp.core.cache.clear_cache()
    monkeypatch.setattr(sp.tanh, "fdiff", lambda self, argindex=1: right(self, argindex) * 2)
    derivation, _ = explained("tanh")
    monkeypatch.undo()
    elementwise.partial.cache_clear()
    sp.core.cache.clear_cache()
    assert {step.title for step in derivation.steps if not (step.verification is None or step.verification.ok)} == {
        f"The {what} of ${name}$" for what, names in (("error", ["z_{2}", "a_{1}", "z_{1}"]), ("gradient", ["w_{1}", "w_{2}", "b"])) for name in names
    }


def test_at_a_kink_there_is_no_slope_to_compare_with():
    w = sbp.weight("w")
    x = sbp.data("x")
    net = sbp.Network(sbp.node("C", sbp.node("h", sbp.relu(w * x)) + 3 * w))
    assert net.explain({"w": 0.0}, x=2.0).ok  # relu'(0) = 0, as everywhere in the package
    assert net.explain({"w": 0.1}, x=2.0).ok
