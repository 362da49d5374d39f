"""Recurrences: a scan and its adjoint, against PyTorch, JAX and the same steps written out; the recurrent layers against PyTorch's."""

import shutil
import subprocess

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.numbers import Values
from symbackprop.errors import DataError, NetworkError, ShapeError, UnsupportedError
from symbackprop.graph.operators.scan import Body, Scan
from symbackprop.graph.serialize import read, write

KINDS = ("rnn", "lstm", "gru")
PARAMETERS = {"W": "weight_ih_l0", "U": "weight_hh_l0", "b": "bias_ih_l0", "c": "bias_hh_l0"}


def network(kind, features, units, time="T", samples="n", unroll=False):
    """A loss of all states and of the last one; every state begins as data plus a weight, so that its adjoint is needed."""
    X, G = sbp.data("X", (samples, time, features)), sbp.data("G", (samples, time, units))
    names = ("h", "c") if kind == "lstm" else ("h",)
    starts = [sbp.node(f"{s}_start", sbp.data(f"{s}_data", (samples, units)) + sbp.weight(f"{s}_weight", (units,))) for s in names]
    H, last = getattr(sbp, kind)(X, units, initial=starts if kind == "lstm" else starts[0], unroll=unroll)
    lasts = last if kind == "lstm" else (last,)
    loss = sbp.sum(G * H) + sum(sbp.sum(x**2) for x in lasts)
    return sbp.Network(sbp.node("L", loss), output=H)


def torch_layer(kind, weights, features, units):
    """PyTorch's layer with these weights, which map one to one; and the gradients of its parameters under our names."""
    layer = getattr(torch.nn, kind.upper())(features, units, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in PARAMETERS.items():
            value = weights.get(f"{ours}_{kind}")
            parameter = getattr(layer, theirs)
            parameter.copy_(torch.zeros_like(parameter) if value is None else torch.tensor(value.T))
    return layer, lambda ours: getattr(layer, PARAMETERS[ours]).grad.numpy().T




@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(n=st.integers(1, 4), T=st.integers(1, 6), f=st.integers(1, 4), u=st.integers(1, 5), seed=st.integers(0, 99))
def test_layers_are_those_of_pytorch(kind, close, draw, n, T, f, u, seed):
    net = network(kind, f, u)
    weights, data = values(net, draw, {"n": n, "T": T}, seed)
    loss, gradients = net.value_and_gradients(weights, **data)
    layer, gradient_of = torch_layer(kind, weights, f, u)
    starts = {s: torch.tensor(weights[f"{s}_weight"], requires_grad=True) for s in ("h", "c") if f"{s}_weight" in weights}
    initial = [(torch.tensor(data[f"{s}_data"]) + w)[None] for s, w in starts.items()]
    H, last = layer(torch.tensor(data["X"]), tuple(initial) if kind == "lstm" else initial[0])
    expected = (torch.tensor(data["G"]) * H).sum() + sum((x**2).sum() for x in (last if kind == "lstm" else [last]))
    expected.backward()
    close(loss, expected.item())
    close(net.trainer(sbp.SGD(lr=0.1), weights=weights).predict(**data), H.detach().numpy())
    for name, found in gradients.items():
        stem, _, rest = name.partition("_")
        close(found, starts[stem].grad.numpy() if rest == "weight" else gradient_of(stem), what=name)


def values(net, draw, sizes, seed=0, low=-1.0, high=1.0):
    """Random weights and data, with these sizes for open dimensions."""
    weights = draw({name: w.shape for name, w in net.weights.items()}, low, high, seed)
    data = draw({name: tuple(sizes.get(str(s), s) for s in t.shape) for name, t in net.data.items()}, low, high, seed + 1)
    return weights, data


# --- a scan of the user's own --------------------------------------------------------------------------------------------


def oscillator(reverse=False, unroll=False, T="T"):
    """Two states of different shapes, two sequences, captured weights, data and a node; one weight enters by a broadcast."""
    X, F = sbp.data("X", (T, 3)), sbp.data("F", (T,))
    A, w, m = sbp.weight("A", (3, 3)), sbp.weight("w", ()), sbp.data("m", (3,))
    start = sbp.weight("start", (3,))
    twice = sbp.node("twice", 2 * sp.tanh(w))

    def step(p, e, x, f):
        force = sbp.node("force_t", sp.tanh(p @ A + x * f) * m)
        moved = sbp.node("p_t", p * sbp.sigmoid(twice) + force)
        return moved, e * sp.cos(w) + sbp.sum(moved * force)

    found = sbp.scan(step, [X, F], [start, sbp.weight("e_start", ())], "oscillator", reverse=reverse, unroll=unroll)
    P, E = found.states
    loss = sbp.sum(P**2) / 2 + sbp.sum(sp.sin(E)) + found.last[1] * 3 + sbp.sum(found["force_t"] ** 3)
    return sbp.Network(sbp.node("L", loss), output=P)


def jax_oscillator(weights, data, reverse):
    def step(state, row):
        (p, e), (x, f) = state, row
        force = jnp.tanh(p @ weights["A"] + x * f) * data["m"]
        p = p * jax.nn.sigmoid(2 * jnp.tanh(weights["w"])) + force
        e = e * jnp.cos(weights["w"]) + jnp.sum(p * force)
        return (p, e), (p, e, force)

    (_, e), (P, E, force) = jax.lax.scan(step, (weights["start"], weights["e_start"]), (data["X"], data["F"]), reverse=reverse)
    return jnp.sum(P**2) / 2 + jnp.sum(jnp.sin(E)) + 3 * e + jnp.sum(force**3)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [False, True])
def test_a_scan_is_that_of_jax(close, draw, reverse, unroll):
    net = oscillator(reverse, unroll, T=5 if unroll else "T")
    weights, data = values(net, draw, {"T": 5})
    loss, gradients = net.value_and_gradients(weights, **data)
    expected = jax.value_and_grad(jax_oscillator)(weights, data, reverse)
    close(loss, expected[0])
    for name, g in gradients.items():
        close(g, expected[1][name], what=name)


@pytest.mark.parametrize("reverse", [False, True])
def test_second_derivatives_are_those_of_jax(close, draw, reverse):
    """The gradient of a function of all gradients: the scan backwards is differentiated."""
    net = oscillator(reverse)
    squares = sbp.Network(sbp.node("S", sum(sbp.sum(net.gradients[name].symbol ** 2) for name in net.gradients)))
    weights, data = values(net, draw, {"T": 4})

    def jax_squares(weights):
        return sum((g**2).sum() for g in jax.grad(jax_oscillator)(weights, data, reverse).values())

    value, gradients = squares.value_and_gradients(weights, **data)
    expected = jax.value_and_grad(jax_squares)(weights)
    close(value, expected[0])
    for name, g in gradients.items():
        close(g, expected[1][name], what=name)


def test_a_scan_needs_no_sequence(close):
    """The powers of a number, by a scan of so many steps: the derivative of w**5 and of the sum of w**1 to w**5, on paper."""
    w = sbp.weight("w")
    found = sbp.scan(lambda p: p * w, initial=sp.Integer(1), length=5, name="powers")
    net = sbp.Network(sbp.node("L", found.last + 2 * sbp.sum(found.states)))
    value, gradients = net.value_and_gradients({"w": 1.3})
    close(value, 1.3**5 + 2 * sum(1.3**k for k in range(1, 6)))
    close(gradients["w"], 5 * 1.3**4 + 2 * sum(k * 1.3 ** (k - 1) for k in range(1, 6)))


def test_words_are_looked_up_inside_a_step(close, draw):
    """A lookup inside the step is the same as one before it, and its indices are checked as labels."""
    E, U = sbp.weight("E", (7, 3)), sbp.weight("U", (3, 3))
    words, start = sbp.data("words", ("T", "n")), sbp.data("start", ("n", 3))
    inside = sbp.scan(lambda h, i: sp.tanh(sbp.take(E, i) + h @ U), words, start)
    outside = sbp.scan(lambda h, x: sp.tanh(x + h @ U), sbp.take(E, words), start)
    numbers = draw({"E": (7, 3), "U": (3, 3), "start": (2, 3)})
    data = {"words": np.random.default_rng(0).integers(0, 7, (4, 2)), "start": numbers.pop("start")}
    (a, found), (b, expected) = (sbp.Network(sbp.sum(x.states**3)).value_and_gradients(numbers, **data) for x in (inside, outside))
    close(a, b)
    for name, g in expected.items():
        close(found[name], g, what=name)
    with pytest.raises(DataError):
        sbp.Network(sbp.sum(inside.last)).value_and_gradients(numbers, **data | {"words": data["words"] + 7})


# --- what else a network is asked for ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_is_lifted_to_a_batch(kind, close, draw):
    x, y = sbp.data("x", (4, 2)), sbp.data("y", (3,))
    H, last = getattr(sbp, kind)(x, 3)
    last = last[0] if kind == "lstm" else last
    net = sbp.Network(sbp.node("L", sbp.sum((last - y) ** 2) + sbp.sum(H**3)), output=sbp.node("Y", last))
    weights, _ = values(net, draw, {})
    xs, ys = np.random.default_rng(1).normal(size=(5, 4, 2)), np.random.default_rng(2).normal(size=(5, 3))
    each = [net.value_and_gradients(weights, x=a, y=b) for a, b in zip(xs, ys, strict=True)]
    trainer = net.trainer(sbp.SGD(lr=0.5), weights=weights)
    close(trainer.step(x=xs, y=ys), np.mean([value for value, _ in each]))
    for name, w in weights.items():
        close(trainer.weights[name], w - 0.5 * np.mean([g[name] for _, g in each], axis=0), what=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_generated_module_checks_itself(kind, run_module):
    source = network(kind, 2, 3).generate("numpy")
    assert source.count("    for t in reversed(range(") == 1  # one loop forwards, one backwards
    assert source.count("    for t in range(") == 1
    assert run_module(source)["check_gradients"]() < 1e-7
    wrong = source.replace("hbar_prev_next = hbar_prev_t", "hbar_prev_next = 1.001 * hbar_prev_t")
    wrong = wrong.replace("hbar_prev_next, cbar_prev_next = hbar_prev_t", "hbar_prev_next, cbar_prev_next = 1.001 * hbar_prev_t")
    assert wrong != source
    assert run_module(wrong)["check_gradients"]() > 1e-5


def test_training_is_that_of_pytorch(close, draw):
    """Adam for several steps, in the step that the trainer runs."""
    net = network("lstm", 2, 4)
    weights, data = values(net, draw, {"n": 3, "T": 5})
    trainer = net.trainer(sbp.Adam(lr=0.01), weights=weights)
    layer, _ = torch_layer("lstm", weights, 2, 4)
    layer.bias_hh_l0.requires_grad_(False)  # the sum of both biases is one weight here
    starts = {s: torch.tensor(weights[f"{s}_weight"], requires_grad=True) for s in "hc"}
    optimizer = torch.optim.Adam([*(p for p in layer.parameters() if p.requires_grad), *starts.values()], lr=0.01)
    for _ in range(10):
        optimizer.zero_grad()
        H, last = layer(torch.tensor(data["X"]), tuple((torch.tensor(data[f"{s}_data"]) + w)[None] for s, w in starts.items()))
        expected = (torch.tensor(data["G"]) * H).sum() + sum((x**2).sum() for x in last)
        expected.backward()
        optimizer.step()
        close(trainer.step(**data), expected.item(), 1e-9)
    close(trainer.weights["U_lstm"], layer.weight_hh_l0.detach().numpy().T, 1e-9)


def test_float32_stays_float32(draw):
    net = network("gru", 2, 3)
    weights, data = values(net, draw, {"n": 2, "T": 3})
    trainer = net.trainer(sbp.SGD(lr=0.1), weights=weights, dtype="float32", backend="numpy")
    trainer.fit(data, epochs=2, batch_size=1)
    assert all(w.dtype == np.float32 for w in trainer.weights.values())



def test_a_run_is_saved_and_goes_on(draw, tmp_path):
    net = network("lstm", 2, 3)
    weights, data = values(net, draw, {"n": 2, "T": 3})
    trainer = net.trainer(sbp.Adam(), weights=weights)
    trainer.step(**data)
    trainer.save(tmp_path / "run.npz")
    other = sbp.Trainer.load(tmp_path / "run.npz")
    assert other.step(**data) == trainer.step(**data)
    assert all((other.weights[name] == w).all() for name, w in trainer.weights.items())


def test_gradients_are_stored_with_their_recurrences():
    net = network("gru", 2, 3)
    roots = [net.loss, *(net.gradients[name].symbol for name in net.gradients)]
    nodes, places, arrays = write(roots)
    found = read(nodes, arrays)
    assert [found[place] for place in places] == roots


@pytest.mark.parametrize(
    ("at", "value"),
    [(1, "import os"), (1, "np"), (2, []), (5, [0]), (6, [0]), (7, [[10**6, False]]), (3, [-1])],
)
def test_a_damaged_body_is_refused(at, value):
    nodes, _, arrays = write([network("rnn", 2, 3).loss])
    body = next(node for node in nodes if node[0] == "Body")
    body[at] = value
    with pytest.raises(DataError):
        read(nodes, arrays)


def test_evaluate_steps_through_a_recurrence():
    """To 40 digits, against the steps written out in mpmath."""
    x, w, b = sbp.data("x", ("T",)), sbp.weight("w"), sbp.weight("b")
    h = sbp.scan(lambda h, x: sp.tanh(w * h + b * x), x, sp.Rational(1, 3), "h")
    net = sbp.Network(sbp.node("L", h.last**2 / 2))
    xs = ["0.1", "-0.7", "1.3"]
    with mpmath.workdps(50):
        weights = {"w": mpmath.mpf("0.9"), "b": mpmath.mpf("-0.4")}

        def value(w, b):
            state = mpmath.mpf(1) / 3
            for row in xs:
                state = mpmath.tanh(w * state + b * mpmath.mpf(row))
            return state**2 / 2

        given = {**weights, "x": [mpmath.mpf(row) for row in xs]}
        assert abs(sbp.evaluate(net.loss, given, 40) - value(*weights.values())) < mpmath.mpf(10) ** -40
        slope = mpmath.diff(lambda w: value(w, weights["b"]), weights["w"])
        assert abs(sbp.evaluate(net.gradients["w"].symbol, given, 40) - slope) < mpmath.mpf(10) ** -20


# --- writing -------------------------------------------------------------------------------------------------------------


def simple():
    X, T = sbp.data("X", ("T", "n", 2)), sbp.data("Y", ("n", 3))
    W, U = sbp.weight("W", (2, 3)), sbp.weight("U", (3, 3))

    def step(h, x):
        return sbp.node("h_t", sp.tanh(sbp.node("z_t", x @ W + h @ U)))

    found = sbp.scan(step, X, T, "rnn")
    return sbp.Network(sbp.node("L", sbp.sum(found.states**2) / 2), output=found.last)


def test_the_equations_are_those_of_the_literature():
    """Goodfellow, Bengio & Courville, Deep Learning: equations 10.8 and 10.9 forwards; 10.21, 10.26 and 10.28 backwards, for rows."""
    forwards = simple().latex("equations")
    assert r"z_{t} = h_{t-1} U + x_{t} W" in forwards
    assert r"h_{t} = \tanh(z_{t})" in forwards
    assert r"h_{-1} = Y" in forwards
    backwards = simple().latex("matrix")
    assert r"\bar{h}_{t} = \bar{z}_{t+1} U^{\top} + " in backwards
    assert r"\bar{z}_{t} = \bar{h}_{t} \odot (1 - h_{t} \odot h_{t})" in backwards
    assert r"\text{for } t = T - 1, \dots, 0" in backwards
    assert r"\frac{\partial L}{\partial U} &= \sum_{t=0}^{T - 1} h_{t-1}^{\top} \bar{z}_{t}" in backwards
    assert r"\frac{\partial L}{\partial W} &= \sum_{t=0}^{T - 1} \left[X\right]_{t}^{\top} \bar{z}_{t}" in backwards


@pytest.mark.parametrize("form", ["mixed", "matrix", "index", "entry"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_a_derivation_holds(kind, form):
    steps = network(kind, 2, 2).derivation(form).steps
    assert len(steps) > 10
    assert all(step.verification is not None and step.verification.ok for step in steps)
    assert any("backpropagation through time" in step.rule for step in steps)


def test_a_wrong_gradient_through_time_is_found():
    net = simple()
    checks = Checks(Values(net.system, net._forms.adjoints, 0))
    for name, w in net.weights.items():
        gradient = net.gradients[name].symbol
        assert checks.gradient(w, None, gradient).ok
        assert not checks.gradient(w, None, gradient * sp.Rational(1001, 1000)).ok


def test_a_diagram_shows_the_recurrence():
    text = simple().diagram().mermaid()
    assert "recurrence of hₜ" in text
    text = sbp.Network(sbp.sum(sbp.scan(lambda h, x: h * x, sbp.data("x", ("T",)), sp.Integer(1), "p").last)).diagram().mermaid()
    assert "hₜ = hₜ₋₁ xₜ" in text.replace("\u2009", " ").replace("xₜ hₜ₋₁", "hₜ₋₁ xₜ")


def test_unrolled_steps_have_closed_forms(close):
    """d/dw of w (w (w 1 + x_0) + x_1) + x_2 is 3 w² + 2 w x_0 + x_1."""
    x, w = sbp.data("x", (3,)), sbp.weight("w")
    h = sbp.scan(lambda h, x: w * h + x, x, sp.Integer(1), "h", unroll=True)
    net = sbp.Network(sbp.node("L", h.last))
    close(float(sbp.evaluate(net.gradients["w"].closed, {"w": 0.7, "x": [0.3, -0.2, 0.5]})), 3 * 0.7**2 + 2 * 0.7 * 0.3 - 0.2)


def test_a_recurrence_has_no_closed_form():
    with pytest.raises(UnsupportedError, match="unroll=True"):
        _ = simple().gradients["W"].closed


def test_weights_begin_as_their_use_in_a_step_says():
    X = sbp.data("X", ("T", 3))
    b, A = sbp.weight("b", (3,)), sbp.weight("A", (3, 3))
    start = sbp.Network(sbp.sum(sbp.scan(lambda h, x: sp.tanh(h @ A + b), X, X[0]).last)).initialize()
    assert not start["b"].any()
    assert start["A"].any()


# --- what is refused -----------------------------------------------------------------------------------------------------

X = sbp.data("X", ("T", 2))
H = sbp.weight("H", (2,))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: sbp.scan(lambda h, x: (h, x), X, H), NetworkError, "returned 2 values for 1 states"),
        (lambda: sbp.scan(lambda h: h, X, H), NetworkError, "takes 1 arguments; expected 2"),
        (lambda: sbp.scan(lambda h, x: sbp.sum(h), X, H), ShapeError, "begins with shape"),
        (lambda: sbp.scan(lambda h, x, y: h, [X, sbp.data("Z", (3,))], H), ShapeError, "must be equal"),
        (lambda: sbp.scan(lambda h: h, (), H), ShapeError, "length="),
        (lambda: sbp.scan(lambda h, x: h, sbp.data("s"), H), ShapeError, "along its first axis"),
        (lambda: sbp.scan(lambda x: x, X), NetworkError, "no initial state"),
        (lambda: sbp.scan(lambda h, x: "h", X, H), NetworkError, "found str"),
        (lambda: sbp.scan(lambda h, x: h, X, H, "import"), NetworkError, "keyword"),
        (lambda: sbp.scan(lambda h, x: h + x, X, H, unroll=True), UnsupportedError, "integer number of steps"),
        (lambda: sbp.scan(lambda h, x: sbp.scan(lambda a, b: a + b, sbp.reshape(h, (2, 1)), x[:1]).last + h, X, H), UnsupportedError, "unroll=True"),
        (lambda: sbp.scan(lambda h, x: h, X, H)["z_t"], NetworkError, "no equation"),
        (lambda: sbp.lstm(sbp.data("Q", (2,)), 3), ShapeError, "expected \\(n, T, features\\)"),
        (lambda: sbp.lstm(X, 0), ShapeError, "positive integer"),
        (lambda: sbp.lstm(X, 3, initial=H), ShapeError, "the pair"),
        (lambda: sbp.rnn(X, 3, initial=H), ShapeError, "expected \\(3,\\)"),
        (lambda: sbp.rnn(X, 3, activation="tan"), NetworkError, "unknown"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bodies_are_equal_by_their_structure():
    def body(power):
        return next(b for _, e in sbp.Network(sbp.sum(sbp.scan(lambda h, x: h**power + x, X, H).last)).equations for b in e.atoms(Body))

    assert body(2) == body(2)
    assert hash(body(2)) == hash(body(2))
    assert body(2) != body(3)
    assert not any(isinstance(part, Scan) for part in body(2).args)


def test_the_text_form_knows_the_layers(close, draw):
    net = sbp.parse("""
        data X[n, T, 2], Y[n, 1]
        H = lstm(X, 3, name=first)
        G = gru(H, 4, reverse=true)
        Z = dense(G[:, 0], 1)
        loss C = mse(Z, Y)
        output Z
    """)
    weights, data = values(net, draw, {"n": 2, "T": 3})
    assert net.weights["U_first"].shape == (3, 12)
    assert sbp.check_gradients(net, weights, data).ok


@pytest.mark.parametrize(
    "ask",
    [
        lambda net: net.gradients["W_rnn"][0, 0].chain,
        lambda net: net.gradients["W_rnn"][0, 0].closed,
    ],
)
def test_what_asks_for_single_steps_is_refused(ask):
    net = network("rnn", 2, 2)
    with pytest.raises(UnsupportedError, match="unroll=True"):
        ask(net)


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
@pytest.mark.parametrize("kind", KINDS)
def test_an_article_compiles(kind, tmp_path):
    network(kind, 2, 2).derivation().save(tmp_path / "article.tex")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "article.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout[-500:]


def test_recurrences_stand_beside_what_differs_at_inference(close, draw):
    """Dropout behind an LSTM whose inner gates the loss reads too: `predict` and the loss read different results of one recurrence."""
    X, Y = sbp.data("X", ("n", "T", 2)), sbp.data("Y", ("n", 3))
    H, (h, c) = sbp.lstm(X, 3)
    Z = sbp.node("Z", sbp.dropout(h, 0.5) + c)
    net = sbp.Network(sbp.node("L", sbp.mse(Z, Y) + sbp.sum(H**2)), output=Z)
    weights, data = values(net, draw, {"n": 2, "T": 3})
    layer, _ = torch_layer("lstm", weights, 2, 3)
    _, (h_torch, c_torch) = layer(torch.tensor(data["X"]))
    trainer = net.trainer(sbp.SGD(lr=0.1), weights=weights)
    close(trainer.predict(X=data["X"]), (h_torch + c_torch)[0].detach().numpy())
    assert sbp.check_gradients(net, weights, data).ok


@pytest.mark.parametrize("layer", [sbp.rnn, sbp.gru, sbp.lstm])
def test_unrolled_from_zeros_it_has_the_same_gradients(layer, close, draw):
    """Nothing goes back through a state that starts at zero."""
    nets = []
    for unroll in (False, True):
        sequence, target = sbp.data("S", ("n", 3, 2)), sbp.data("y", ("n", 3, 4))
        states = layer(sequence, 4, name="r", unroll=unroll)[0]
        nets.append(sbp.Network(sbp.node("C", sbp.mse(states, target))))
    weights = draw({name: w.shape for name, w in nets[0].weights.items()}, low=-1, high=1)
    data = draw({"S": (5, 3, 2), "y": (5, 3, 4)}, low=-1, high=1, seed=1)
    (value, gradients), (wanted_value, wanted) = (net.value_and_gradients(weights, **data) for net in reversed(nets))
    close(value, wanted_value, what="the loss")
    for name, g in wanted.items():
        close(gradients[name], g, what=name)
