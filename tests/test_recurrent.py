"""Recurrent networks beyond their gradients, over random shapes: several layers against PyTorch's, second derivatives without writing the steps
out against PyTorch and JAX, derivatives along a direction, worked examples, and audits of backpropagation through time by hand."""

import sys
from pathlib import Path

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
from symbackprop.calculus.index import IndexForm, index_symbol
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.latex.recurrence import unravelled

sys.path.insert(0, str(Path(__file__).parent))

from test_scan import KINDS, PARAMETERS, oscillator

SHAPES = {"n": st.integers(1, 4), "T": st.integers(1, 5), "f": st.integers(1, 3), "u": st.integers(1, 3)}


def stacked(kind, f, u, layers, reverse=False, starts=False):
    """So many layers on top of one another; the loss reads all states of the last one and its last state; `starts`: the first layer's first
    states are data."""
    X, Y = sbp.data("X", ("n", "T", f)), sbp.data("Y", ("n", u))
    H = X
    for k in range(layers):
        given = [sbp.data(f"{s}_start", ("n", u)) for s in ("h", "c")[: 1 + (kind == "lstm")]] if starts and not k else None
        given = given[0] if given and kind != "lstm" else given
        H, last = getattr(sbp, kind)(H, u, initial=given, reverse=reverse)
    P = sbp.node("P", last[0] if kind == "lstm" else last)
    return sbp.Network(sbp.node("L", sbp.mse(P, Y) + sbp.mean(H**3)), output=P)


def torch_states(kind, weights, X, layers=1, reverse=False, starts=()):
    """All states and the last one by PyTorch's layer, as a function of tensors under our names."""
    u = weights[f"U_{kind}"].shape[0]
    layer = getattr(torch.nn, kind.upper())(X.shape[2], u, layers, batch_first=True, dtype=torch.float64)
    parameters = {}
    for k in range(layers):
        ours = kind if not k else f"{kind}_{k + 1}"
        for letter, theirs in PARAMETERS.items():
            name = theirs.replace("l0", f"l{k}")
            value = weights.get(f"{letter}_{ours}")
            parameters[name] = torch.zeros_like(getattr(layer, name)) if value is None else value.T if value.ndim > 1 else value
    first = [torch.cat([s[None], torch.zeros(layers - 1, *s.shape, dtype=s.dtype)]) for s in starts]
    given = () if not first else (tuple(first),) if kind == "lstm" else (first[0],)
    H, last = torch.func.functional_call(layer, parameters, (X.flip(1) if reverse else X, *given))
    return H.flip(1) if reverse else H, (last[0] if kind == "lstm" else last)[-1]


class Reference:
    """The loss of `stacked` in PyTorch, as a function of one vector of all weights."""

    def __init__(self, net, weights, data, kind, **options):
        self.shapes = {name: w.shape for name, w in weights.items()}
        self.data = {name: torch.tensor(value) for name, value in data.items()}
        self.at = torch.cat([torch.tensor(w).reshape(-1) for w in weights.values()])
        self.kind, self.options = kind, options

    def unpacked(self, vector):
        parts = vector.split([int(np.prod(shape)) for shape in self.shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def states(self, vector, rows=slice(None)):
        starts = [self.data[s][rows] for s in ("h_start", "c_start") if s in self.data]
        return torch_states(self.kind, self.unpacked(vector), self.data["X"][rows], starts=starts, **self.options)

    def loss(self, vector, rows=slice(None)):
        H, last = self.states(vector, rows)
        return ((last - self.data["Y"][rows]) ** 2).mean() + (H**3).mean()

    def gradient(self, rows=slice(None)):
        return torch.autograd.functional.jacobian(lambda v: self.loss(v, rows), self.at).numpy()


def values(net, draw, sizes, seed):
    weights = draw({name: w.shape for name, w in net.weights.items()}, -1.0, 1.0, seed)
    return weights, draw({name: tuple(sizes.get(str(s), s) for s in t.shape) for name, t in net.data.items()}, -1.0, 1.0, seed + 1)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=5)
@given(**SHAPES, layers=st.integers(1, 3), starts=st.booleans(), seed=st.integers(0, 99))
def test_layers_on_top_of_one_another_are_those_of_pytorch(kind, close, draw, n, T, f, u, layers, starts, seed):
    net = stacked(kind, f, u, layers, starts=starts)
    weights, data = values(net, draw, {"n": n, "T": T}, seed)
    reference = Reference(net, weights, data, kind, layers=layers)
    loss, gradients = net.value_and_gradients(weights, **data)
    close(loss, reference.loss(reference.at).item())
    close(np.concatenate([gradients[name].ravel() for name in weights]), reference.gradient())


# --- second derivatives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=2)
@given(**SHAPES, layers=st.integers(1, 2), reverse=st.booleans(), starts=st.booleans(), seed=st.integers(0, 99))
def test_second_derivatives_are_those_of_pytorch(kind, close, draw, n, T, f, u, layers, reverse, starts, seed):
    layers = 1 if reverse else layers  # PyTorch has no reversed layer; of one, the sequence is
    net = stacked(kind, f, u, layers, reverse, starts)
    weights, data = values(net, draw, {"n": n, "T": T}, seed)
    reference = Reference(net, weights, data, kind, layers=layers, reverse=reverse)
    hessian = torch.autograd.functional.hessian(reference.loss, reference.at).numpy()
    direction = draw({name: w.shape for name, w in weights.items()}, seed=seed + 2)
    flat = np.concatenate([v.ravel() for v in direction.values()])
    close(net.hessian().matrix(weights, **data), hessian, what="hessian")
    close(net.hessian_vector_product().matrix(weights, direction, **data), hessian @ flat, what="product")
    jacobian = torch.autograd.functional.jacobian(lambda v: reference.states(v)[1].reshape(-1), reference.at).numpy()
    close(net.jacobian("P").matrix(weights, **data), jacobian, what="jacobian")
    each = np.stack([reference.gradient(slice(k, k + 1)) for k in range(n)])
    close(net.per_sample_gradients().matrix(weights, **data), each, what="samples")
    close(net.fisher().matrix(weights, **data), each.T @ each / n, what="fisher")


@pytest.mark.parametrize("kind", KINDS)
def test_gauss_newton_is_the_square_of_the_jacobian(kind, close, draw):
    """Of a mean square, 2 J^T J / entries; and a step of the method is what NumPy solves."""
    X, Y = sbp.data("X", ("n", "T", 2)), sbp.data("Y", ("n", 2))
    last = getattr(sbp, kind)(X, 2)[1]
    P = sbp.node("P", last[0] if kind == "lstm" else last)
    net = sbp.Network(sbp.node("L", sbp.mse(P, Y)), output=P)
    weights, data = values(net, draw, {"n": 3, "T": 4}, 5)
    found = net.gauss_newton().matrix(weights, **data)
    reference = Reference(net, weights, data, kind)
    jacobian = torch.autograd.functional.jacobian(lambda v: reference.states(v)[1].reshape(-1), reference.at).numpy()
    expected = jacobian.T @ jacobian * 2 / 6
    close(found, expected)
    residual = (reference.states(reference.at)[1] - reference.data["Y"]).detach().numpy().reshape(-1)
    step = np.linalg.solve(expected + 0.1 * np.eye(len(found)), jacobian.T @ residual * 2 / 6)
    trainer = net.trainer(sbp.GaussNewton(lr=0.5, damping=0.1), weights=weights)
    trainer.step(**data)
    moved = np.concatenate([(weights[name] - trainer.weights[name]).ravel() for name in weights])
    close(moved, 0.5 * step, 1e-9)


def masked(reverse):
    """A scan of one's own: two states of different shapes, sequences of different lengths by a mask, a captured node and a broadcast weight."""
    X, M = sbp.data("X", ("T", "n", 2)), sbp.data("M", ("T", "n", 1))
    A, w, s = sbp.weight("A", (2, 2)), sbp.weight("w"), sbp.weight("s", (2,))
    gain = sbp.node("gain", sp.exp(w / 2))

    def step(h, e, x, m):
        new = sbp.node("new_t", sp.tanh(h @ A + gain * x))
        return m * new + (1 - m) * h, e + sp.sin(sbp.sum(new**2, axis=-1))

    found = sbp.scan(step, [X, M], [sbp.data("Z", ("n", 2)) + s, sbp.data("E", ("n",))], "masked", reverse=reverse)
    h, e = found.last
    P = sbp.node("P", h * sp.cos(w))
    return sbp.Network(sbp.node("L", sbp.sum(P**2) + sbp.mean(e**2) + sbp.sum(found["new_t"] ** 3)), output=P)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_masked_scan_has_the_hessian_of_jax(reverse, close, draw):
    net = masked(reverse)
    weights, data = values(net, draw, {"n": 2, "T": 4}, 3)
    data["M"] = (np.arange(4)[:, None, None] < np.array([2, 4])[None, :, None]) * 1.0

    def loss(vector):
        A, w, s = vector[:4].reshape(2, 2), vector[4], vector[5:]

        def step(state, row):
            (h, e), (x, m) = state, row
            new = jnp.tanh(h @ A + jnp.exp(w / 2) * x)
            return (m * new + (1 - m) * h, e + jnp.sin((new**2).sum(-1))), new

        (h, e), news = jax.lax.scan(step, (data["Z"] + s, data["E"]), (data["X"], data["M"]), reverse=reverse)
        return ((h * jnp.cos(w)) ** 2).sum() + (e**2).mean() + (news**3).sum()

    order = ["A", "w", "s"]
    expected = jax.jit(jax.hessian(loss))(np.concatenate([weights[name].ravel() for name in order]))
    cuts = dict(zip(order, (slice(0, 4), slice(4, 5), slice(5, 7)), strict=True))
    for (p, q), block in net.hessian()(weights, **data).items():
        close(block, np.asarray(expected)[cuts[p], cuts[q]].reshape(block.shape), what=f"{p}, {q}")


def test_the_steps_are_not_written_out(draw):
    """A Hessian's code is as long for a thousand steps as for three."""
    sources = []
    for T in (3, 1000):
        last = sbp.rnn(sbp.data("X", ("n", T, 2)), 2)[1]
        sources.append(sbp.Network(sbp.node("L", sbp.sum(last**2))).hessian().generate().replace("1000", "3"))
    assert len(sources[0].splitlines()) == pytest.approx(len(sources[1].splitlines()), abs=3)  # where lines break


# --- compiled ------------------------------------------------------------------------------------------------------------


def compiled_step(net, weights, data, close, interpreted, size=None, tolerance=1e-12):
    """The loss and the new weights of the loops that are made to be compiled are those of the step in NumPy."""
    losses, trainer = interpreted(net, sbp.SGD(lr=0.5), weights, data, size)
    other = net.trainer(sbp.SGD(lr=0.5), weights=weights, backend="numpy")
    close(losses, other.fit(data, epochs=1, batch_size=size).loss, tolerance)
    for name, w in other.weights.items():
        close(trainer.weights[name], w, tolerance, name)
    return trainer


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=4)
@given(**SHAPES, layers=st.integers(1, 2), reverse=st.booleans(), starts=st.booleans(), seed=st.integers(0, 99))
def test_the_compiled_step_is_that_of_numpy(kind, close, draw, interpreted, n, T, f, u, layers, reverse, starts, seed):
    net = stacked(kind, f, u, layers, reverse, starts)
    weights, data = values(net, draw, {"n": n, "T": T}, seed)
    compiled_step(net, weights, data, close, interpreted)


@pytest.mark.parametrize("reverse", [False, True])
def test_scans_of_ones_own_are_compiled(reverse, close, draw, interpreted):
    """With scalar states, a first state that is learnt, and batches of which the last is smaller."""
    for net in (oscillator(reverse), oscillator(reverse, T=3)):
        weights, data = values(net, draw, {"T": 4}, 2)
        compiled_step(net, weights, data, close, interpreted)
    X, w, s = sbp.data("X", ("n", 5)), sbp.weight("w"), sbp.weight("s")
    h = sbp.scan(lambda h, x: sp.tanh(w * h + x), X.T, sbp.data("z", ("n",)) + s, reverse=reverse)
    net = sbp.Network(sbp.node("L", sbp.mean(h.last**2) + sbp.mean(h.states**3)))
    weights, data = values(net, draw, {"n": 5}, 1)
    compiled_step(net, weights, data, close, interpreted, size=2)


def test_words_are_looked_up_in_compiled_steps(close, draw, interpreted):
    """Words come as integers along time; what is computed from them would not be whole numbers in working memory, and is refused."""
    E, U = sbp.weight("E", (7, 3)), sbp.weight("U", (3, 3))
    start = sbp.data("start", ("n", 3))

    def network(words):
        return sbp.Network(sbp.node("L", sbp.mean(sbp.scan(lambda h, i: sp.tanh(sbp.take(E, i) + h @ U), words, start).states ** 3)))

    numbers = draw({"E": (7, 3), "U": (3, 3), "start": (1, 3)})
    data = {"words": np.random.default_rng(0).integers(0, 7, (4, 1)), "start": numbers.pop("start")}
    net = network(sbp.data("words", (4, "n")))
    with pytest.raises(sbp.UnsupportedError, match="samples along axis 1"):
        compiled_step(net, numbers, data, close, interpreted)
    with pytest.raises(sbp.UnsupportedError, match="look them up before the recurrence"):
        compiled_step(network(sbp.data("words", ("n", 4)).T), numbers, {**data, "words": data["words"].T}, close, interpreted)
    X = sbp.take(E, sbp.data("words", ("n", 4)))
    h = sbp.scan(lambda h, x: sp.tanh(x + h @ U), sbp.transpose(X, (1, 0, 2)), start)
    compiled_step(sbp.Network(sbp.node("L", sbp.mean(h.states**3))), numbers, {**data, "words": data["words"].T}, close, interpreted)


def test_a_softmax_inside_a_step_is_compiled(close, draw, interpreted):
    X, U = sbp.data("X", ("n", "T", 3)), sbp.weight("U", (3, 3))
    h = sbp.scan(lambda h, x: sbp.softmax(h @ U + x) + sbp.relu(x), sbp.transpose(X, (1, 0, 2)), sbp.data("z", ("n", 3)))
    net = sbp.Network(sbp.node("L", sbp.mean(h.states**3)))
    compiled_step(net, *values(net, draw, {"n": 3, "T": 4}, 1), close, interpreted)


def test_a_penalty_on_a_slope_is_compiled(close, draw, interpreted):
    X = sbp.data("X", ("n", "T", 2))
    y = sbp.node("y", sbp.sum(sbp.gru(X, 2)[1] ** 2, axis=1))
    net = sbp.Network(sbp.node("L", sbp.mean(sbp.derivative(y, X) ** 2)))
    compiled_step(net, *values(net, draw, {"n": 3, "T": 3}, 1), close, interpreted)


def test_a_wrong_compiled_loop_is_found(draw, interpreted, close, monkeypatch):
    """The planted errors: a state that is not the one before, and a loop that goes the wrong way."""
    from symbackprop.codegen import native_step

    net = stacked("rnn", 2, 2, 1)
    weights, data = values(net, draw, {"n": 3, "T": 4}, 1)

    def wrong(source):
        return source.replace("kernels.copy(a_1, a_2)", "kernels.copy(a_1, 1.001 * a_2)")

    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compiled_step(net, weights, data, close, lambda *given: interpreted(*given, change=wrong))
    right = native_step.Operation
    monkeypatch.setattr(native_step, "Operation", lambda kind, what, places: right(kind, 0 if kind == "start" else what, places))
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        compiled_step(net, weights, data, close, interpreted)


def test_a_compiled_run_is_that_of_numpy(close, draw):
    """By the compiler itself, with Adam, for several epochs of shuffled batches, the last one smaller."""
    net = stacked("rnn", 2, 3, 1)
    weights, data = values(net, draw, {"n": 7, "T": 6}, 3)
    trainers = [net.trainer(sbp.Adam(lr=0.01), weights=weights, backend=backend) for backend in ("numpy", "numba")]
    losses = [trainer.fit(data, epochs=3, batch_size=3, shuffle=True).loss for trainer in trainers]
    close(losses[1], losses[0])
    for name, w in trainers[0].weights.items():
        close(trainers[1].weights[name], w, what=name)


# --- along a direction ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(**SHAPES, reverse=st.booleans(), seed=st.integers(0, 99))
def test_a_loss_may_hold_the_derivative_of_a_recurrence(kind, close, draw, n, T, f, u, reverse, seed):
    """The slope of y along D, its square as a penalty, and the slope of the slope."""
    X, D = sbp.data("X", ("n", "T", f)), sbp.data("D", ("n", "T", f))
    H, _ = getattr(sbp, kind)(X, u, reverse=reverse)
    y = sbp.node("y", sbp.sum(H**2, axis=(1, 2)))
    first = sbp.derivative(y, X, D)
    second = sbp.derivative(first, X, D)
    net = sbp.Network(sbp.node("L", sbp.sum(first**2) + sbp.mean(second)), output=second)
    weights, data = values(net, draw, {"n": n, "T": T}, seed)
    given = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    sequence, along = torch.tensor(data["X"], requires_grad=True), torch.tensor(data["D"])

    def slope(value):  # samples do not mix, so that the gradient of a sum holds each one's
        return (torch.autograd.grad(value.sum(), sequence, create_graph=True)[0] * along).sum((1, 2))

    once = slope((torch_states(kind, given, sequence, reverse=reverse)[0] ** 2).sum((1, 2)))
    twice = slope(once)
    expected = (once**2).sum() + twice.mean()
    expected.backward()
    close(net.trainer(sbp.SGD(lr=0.1), weights=weights).predict(**data), twice.detach().numpy(), what="second derivative")
    loss, gradients = net.value_and_gradients(weights, **data)
    close(loss, expected.item())
    for name, g in gradients.items():
        close(g, given[name].grad.numpy(), what=name)


def test_the_tangent_of_a_recurrence_reads_like_one():
    X = sbp.data("X", ("T", 2))
    U = sbp.weight("U", (2, 2))
    found = sbp.scan(lambda h, x: sp.tanh(sbp.node("z_t", h @ U + x)), X, sbp.data("s", (2,)), "r")
    y = sbp.node("y", sbp.sum(found.last))
    net = sbp.Network(sbp.node("L", sbp.derivative(y, X) ** 2))
    assert sum(isinstance(e, Scan) for _, e in net.equations) == 2
    written = net.latex("equations")
    assert r"\dot{h}_{-1} = 0" in written
    assert r"\dot{z}_{t} = U^{\top} \dot{h}_{t-1} + \dot{x}_{t}" in written
    assert r"\dot{h}_{t} = \dot{z}_{t} \odot (1 - h_{t} \odot h_{t})" in written


@settings(max_examples=15)
@given(n=st.sampled_from(["n", 1, 3]), T=st.sampled_from(["T", 1, 5]), u=st.sampled_from([1, 4]), reverse=st.booleans())
def test_an_entry_of_all_results_is_found_again(n, T, u, reverse):
    """On paper an entry of a recurrence is one of its results, (h_2)_{n i}; its place in the row that holds them all must not be printed."""
    H, (h, c) = sbp.lstm(sbp.data("X", (n, T, 2)), u, reverse=reverse)
    net = sbp.Network(sbp.node("L", sbp.sum(H) + sbp.sum(h * c)))
    whole = next(t for t in net.system.tensors if isinstance(t.definition, Scan))
    for k in range(len(whole.definition.body.results)):
        part = Part(sp.Integer(k), whole)
        index = [sp.S.Zero if size == 1 else index_symbol(letter) for letter, size in zip("pqr", part.shape, strict=False)]
        (flat,) = IndexForm().entry(part, tuple(index)).indices
        assert unravelled(whole.definition, flat) == (k, index)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_the_last_state_is_written_as_such(kind, reverse):
    _, last = getattr(sbp, kind)(sbp.data("X", ("n", 3, 2)), 4, reverse=reverse)
    Z = sbp.node("Z", (last[0] if kind == "lstm" else last) @ sbp.weight("W", (4, 4)))
    written = sbp.Network(sbp.node("C", sbp.mse(Z, sbp.data("T", ("n", 4))))).derivation().latex()
    last = rf"\left(h_{{{0 if reverse else 2}}}\right)_{{n i}}"
    assert rf"\frac{{\partial Z_{{n j}}}}{{\partial W_{{i j}}}} &= {last} " in written
    assert rf"\delta^{{(Z)}}_{{n j}} \cdot {last} " in written
    assert rf"\mathit{{{kind}}}_" not in written


# --- single steps --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_worked_example_goes_through_every_step_of_time(kind, draw):
    X, Y = sbp.data("X", ("n", "T", 1)), sbp.data("Y", ("n", 1))
    H, _ = getattr(sbp, kind)(X, 1)
    net = sbp.Network(sbp.node("L", sbp.half_squared_error(H[:, -1], Y)))
    weights, data = values(net, draw, {"n": 1, "T": 3}, 1)
    page = net.explain(weights, **data, digits=8)
    assert all(step.verification is not None and step.verification.ok for step in page.steps if step.rule != "definition: given")
    states, _ = torch_states(kind, {name: torch.tensor(w) for name, w in weights.items()}, torch.tensor(data["X"]))
    text = page.latex()
    for h in states.numpy().ravel():
        assert f"{h:#.8g}" in text


def by_hand(weights, X, Y, habit=""):
    """The gradients of a mean square of the last state, and of what people get wrong in them."""
    W, U, b = (weights[name] for name in ("W_rnn", "U_rnn", "b_rnn"))
    h = [np.zeros((len(X), U.shape[0]))]
    for x in X.swapaxes(0, 1):
        h.append(np.tanh(x @ W + h[-1] @ U + b))
    found = {name: np.zeros_like(w) for name, w in weights.items()}
    back = 2 * (h[-1] - Y) / Y.size
    for t in reversed(range(X.shape[1])):
        z = back if habit == "no slope" else back * (1 - h[t + 1] ** 2)
        found["W_rnn"] += X[:, t].T @ z
        found["U_rnn"] += h[t].T @ z
        found["b_rnn"] += z.sum(axis=0)
        back = z @ U.T
        if habit == "last step":
            break
    return found


@pytest.mark.parametrize(("habit", "diagnosis", "says"), [("no slope", "activation derivative", "h_0"), ("last step", "path", "Only the path through z_3")])
def test_an_audit_knows_what_goes_wrong_in_time(habit, diagnosis, says, draw):
    X, Y = sbp.data("X", ("n", "T", 2)), sbp.data("Y", ("n", 3))
    net = sbp.Network(sbp.node("L", sbp.mse(sbp.rnn(X, 3)[1], Y)))
    weights, data = values(net, draw, {"n": 5, "T": 4}, 0)
    assert net.audit(by_hand(weights, **data), weights, **data).ok
    report = net.audit(by_hand(weights, **data, habit=habit), weights, **data)
    assert not report.ok
    assert {report[name].diagnosis for name in weights} == {diagnosis}
    assert says in str(report)


# --- extreme inputs ------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_recurrence_are_computed_stably(close, interpreted):
    """A logistic function written out overflows where it is computed as it is written; against mpmath."""
    X, w = sbp.data("X", ("n", "T")), sbp.weight("w")
    h = sbp.scan(lambda h, x: 1 / (1 + sp.exp(-(w * h + x))), X.T, sbp.data("z", ("n",)))
    net = sbp.Network(sbp.node("L", sbp.sum(h.states)))
    rows = [-800.0, 800.0, 3.0, -1e300, 0.5]
    data, weights = {"X": np.array([rows]), "z": np.zeros(1)}, {"w": np.array(1.5)}

    def value(w):
        total = state = mpmath.mpf(0)
        for x in rows:
            state = 1 / (1 + mpmath.exp(-(w * state + x)))
            total += state
        return total

    with mpmath.workdps(60):
        expected, slope = float(value(mpmath.mpf(1.5))), float(mpmath.diff(value, 1.5))
    loss, gradients = net.value_and_gradients(weights, **data)
    close(loss, expected, 1e-15)
    close(gradients["w"], slope, 1e-14)
    compiled_step(net, weights, data, close, interpreted)
    found = net.stability(samples=2)["scan.h_t"]
    assert found.rewritten
    assert found.after.has(sbp.sigmoid)
