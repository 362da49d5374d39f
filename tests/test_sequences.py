"""What sequences ask of a recurrence: lengths of their own, both directions, one mask of dropout for all times, states that begin as a number, and
time that is not taken for samples. Against PyTorch, over random shapes."""

import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp

sys.path.insert(0, str(Path(__file__).parent))

from test_recurrent import SHAPES, values
from test_scan import KINDS, PARAMETERS

# --- lengths -------------------------------------------------------------------------------------------------------------


def of_lengths(kind, f, u):
    """A layer in each direction over padded sequences; the loss reads the last states, and by a mask all states of a sample's own steps."""
    X, M, Y = sbp.data("X", ("n", "T", f)), sbp.data("M", ("n", "T", 1)), sbp.data("Y", ("n", 2 * u))
    lengths = sbp.data("lengths", ("n",))
    (F, f_last), (B, b_last) = (getattr(sbp, kind)(X, u, name=f"r{k}", lengths=lengths, reverse=bool(k)) for k in (0, 1))
    lasts = [last[0] if kind == "lstm" else last for last in (f_last, b_last)]
    P = sbp.node("P", sbp.concatenate(lasts, -1))
    return sbp.Network(sbp.node("L", sbp.mse(P, Y) + sbp.sum(M * sbp.concatenate([F, B], -1) ** 3)), output=P)


def torch_of_lengths(kind, X, lengths, M, Y, **weights):
    """The same by PyTorch's packed sequences."""
    layer = getattr(torch.nn, kind.upper())(X.shape[2], weights["U_r0"].shape[0], bidirectional=True, batch_first=True, dtype=torch.float64)
    parameters = {}
    for k, ending in ((0, ""), (1, "_reverse")):
        for letter, theirs in PARAMETERS.items():
            value = weights.get(f"{letter}_r{k}")
            parameters[theirs + ending] = torch.zeros_like(getattr(layer, theirs)) if value is None else value.T if value.ndim > 1 else value
    packed = torch.nn.utils.rnn.pack_padded_sequence(X, lengths, batch_first=True, enforce_sorted=False)
    H, last = torch.func.functional_call(layer, parameters, (packed,))
    H, _ = torch.nn.utils.rnn.pad_packed_sequence(H, batch_first=True, total_length=X.shape[1])
    last = torch.cat(list(last[0] if kind == "lstm" else last), -1)
    return ((last - Y) ** 2).mean() + (M * H**3).sum()


def padded(draw, net, lengths, T, f, u, seed=0):
    lengths = np.array(lengths)
    weights = draw({name: w.shape for name, w in net.weights.items()}, -1.0, 1.0, seed)
    data = draw({"X": (len(lengths), T, f), "Y": (len(lengths), 2 * u)}, -1.0, 1.0, seed + 1)
    return weights, data | {"lengths": lengths, "M": (np.arange(T)[None, :, None] < lengths[:, None, None]).astype(float)}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=3)
@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=4), longer=st.integers(0, 2), f=SHAPES["f"], u=SHAPES["u"], seed=st.integers(0, 99))
def test_padding_leaves_the_state_as_it_is(kind, agrees, draw, lengths, longer, f, u, seed):
    """As in PyTorch's packed sequences, in both directions; generated, trained in NumPy and in compiled loops."""
    net = of_lengths(kind, f, u)
    weights, data = padded(draw, net, lengths, max(lengths) + longer + (max(lengths) + longer == 1), f, u, seed)
    agrees(net, lambda **tensors: torch_of_lengths(kind, **tensors), weights, data)


def test_padding_in_second_derivatives_and_checks(close, draw, run_module):
    net = of_lengths("rnn", 2, 2)
    weights, data = padded(draw, net, [3, 1, 4], 4, 2, 2)
    shapes, tensors = {name: w.shape for name, w in weights.items()}, {name: torch.tensor(value) for name, value in data.items()}

    def loss(vector):
        parts = vector.split([int(np.prod(shape)) for shape in shapes.values()])
        return torch_of_lengths("rnn", **tensors, **{name: p.reshape(s) for (name, s), p in zip(shapes.items(), parts, strict=True)})

    at = torch.cat([torch.tensor(w).reshape(-1) for w in weights.values()])
    close(net.hessian().matrix(weights, **data), torch.autograd.functional.hessian(loss, at).numpy())
    assert sbp.check_gradients(net).ok
    module = run_module(net.generate())
    assert module["check_gradients"]() < 1e-6
    with pytest.raises(ValueError, match="lengths must hold integers from 0 to 4"):
        module["loss"](weights, **data | {"lengths": np.array([3, 1, 5])})
    at_40_digits = sbp.evaluate(net.loss, {**weights, **data}, 40)
    close(float(at_40_digits), net.value_and_gradients(weights, **data)[0])


def test_the_draws_of_a_check_reach_beyond_the_first_step():
    """Else the gradient of the recurrent weight would be held against 0."""
    from symbackprop.training.evaluator import random_values

    weights, data = random_values(of_lengths("rnn", 2, 2).system)
    assert data["lengths"].max() > 1
    assert all(abs(g).max() > 0 for g in of_lengths("rnn", 2, 2).value_and_gradients(weights, **data)[1].values())


def test_one_sample_has_a_length_of_its_own(close, draw):
    """Lifted to a batch; steps behind the length are as if they were not there."""
    X, Y = sbp.data("X", (5, 2)), sbp.data("Y", (3,))
    last = sbp.lstm(X, 3, lengths=sbp.data("k"))[1][0]
    net = sbp.Network(sbp.node("L", sbp.mse(last, Y)), output=last)
    weights, data = values(net, draw, {}, 1)
    short = sbp.data("X", (3, 2))
    shorter = sbp.lstm(short, 3)[1][0]
    other = sbp.Network(sbp.node("L", sbp.mse(shorter, Y)))
    data["k"] = 3
    wanted, gradients = other.value_and_gradients(weights, X=data["X"][:3], Y=data["Y"])
    found, ours = net.value_and_gradients(weights, **data)
    close(found, wanted)
    for name, g in gradients.items():
        close(ours[name], g, what=name)
    assert net.trainer(sbp.SGD(lr=0.1)).predict(X=np.ones((4, 5, 2)), k=[1, 2, 3, 5]).shape == (4, 3)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 5], "lengths of sequences from 0 to T = 4 but holds 3 to 5"),
        ([-1, 2], "holds -1 to 2"),
        ([1.5, 2.0], "lengths of sequences .* expected integers"),
        ([1, 2, 3], "n = 3"),
    ],
)
def test_lengths_are_numbers_of_steps(lengths, message, draw):
    X, k = sbp.data("X", ("n", "T", 2)), sbp.data("k", "n")
    net = sbp.Network(sbp.mean(sbp.gru(X, 2, lengths=k)[1] ** 2))
    with pytest.raises(sbp.DataError, match=message):
        net.value_and_gradients(net.initialize(), X=np.ones((2, 4, 2)), k=np.array(lengths))


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_sequence_ends_where_it_begins(kind):
    X, k, start = sbp.data("X", ("n", 4, 2)), sbp.data("k", "n"), sbp.data("s", ("n", 3))
    _, last = getattr(sbp, kind)(X, 3, initial=(start, start) if kind == "lstm" else start, lengths=k)
    last = last[0] if kind == "lstm" else last
    trainer = sbp.Network(sbp.mean(last**2), output=last).trainer(sbp.SGD(lr=0.1))
    begun = np.array([[0.5, -0.25, 0.125]] * 2)
    found = trainer.predict(X=np.ones((2, 4, 2)), k=np.array([0, 4]), s=begun)
    np.testing.assert_array_equal(found[0], begun[0])
    assert (found[1] != begun[1]).all()


def test_lengths_have_the_shape_of_the_samples():
    X = sbp.data("X", ("n", "T", 2))
    with pytest.raises(sbp.ShapeError, match=r"the lengths k have shape \(n, 1\); expected \(n,\)"):
        sbp.rnn(X, 2, lengths=sbp.data("k", ("n", 1)))


def test_a_step_of_padding_reads_like_one():
    X = sbp.data("X", ("n", "T", 2))
    net = sbp.Network(sbp.mean(sbp.rnn(X, 2, lengths=sbp.data("k", "n"))[1] ** 2))
    assert r"h_{t} = \begin{cases} \tilde{h}_{t} & \text{for } t < k \\ h_{t-1} & \text{otherwise} \end{cases}" in net.latex("equations")
    assert all(step.verification is None or step.verification.ok for step in net.derivation("matrix").steps)


# --- dropout -------------------------------------------------------------------------------------------------------------


def dropped(p=0.4):
    X, U = sbp.data("X", ("n", "T", 3)), sbp.weight("U", (3, 3))
    last = sbp.scan(lambda h, x: sp.tanh(x + sbp.dropout(h, p, "h") @ U), sbp.transpose(X, (1, 0, 2)), sbp.broadcast_to(0, ("n", 3))).last
    return sbp.Network(sbp.node("L", sbp.mean(last**2)), output=last)


@settings(max_examples=3)
@given(n=SHAPES["n"], T=st.integers(2, 5), seed=st.integers(0, 99))
def test_dropout_in_a_step_has_one_mask_for_all_times(agrees, draw, close, n, T, seed):
    """Of Gal & Ghahramani (2016); `predict` keeps everything."""
    net = dropped()
    weights, data = draw({"U": (3, 3)}, -1.0, 1.0, seed), draw({"X": (n, T, 3)}, -1.0, 1.0, seed + 1)
    mask = np.random.default_rng(seed).integers(0, 2, (n, 3)).astype(float)

    def last(X, U, M_h, share=0.6):
        h = torch.zeros(n, 3, dtype=torch.float64)
        for x in X.unbind(1):
            h = torch.tanh(x + h * M_h / share @ U)
        return h

    agrees(net, lambda **tensors: (last(**tensors) ** 2).mean(), weights, data | {"M_h": mask})
    everything = last(torch.tensor(data["X"]), torch.tensor(weights["U"]), 1.0, 1.0).numpy()
    close(net.trainer(sbp.SGD(lr=0.1), weights=weights).predict(**data), everything)


def test_masks_of_a_step_are_drawn_and_runs_are_resumed(draw, tmp_path):
    net, data = dropped(), draw({"X": (4, 5, 3)})
    trainer = net.trainer(sbp.SGD(lr=0.1), seed=1)
    losses = {trainer.step(**data) for _ in range(3)}
    assert len(losses) == 3
    trainer.save(tmp_path / "run.npz")
    again = sbp.Trainer.load(tmp_path / "run.npz")
    assert again.predict(**data).tolist() == trainer.predict(**data).tolist()
    assert again.step(**data) == trainer.step(**data)


@pytest.mark.parametrize(
    ("layer", "unroll", "message"),
    [(sbp.batch_norm, False, "changes with every step of training"), (sbp.dropout, True, "differs between training and inference")],
)
def test_what_a_step_cannot_change_is_refused(layer, unroll, message):
    X = sbp.data("X", (4, "n", 3))
    with pytest.raises(sbp.UnsupportedError, match=message):
        sbp.scan(lambda h, x: sp.tanh(x + layer(h)), X, sbp.data("start", ("n", 3)), unroll=unroll)


# --- how states begin ----------------------------------------------------------------------------------------------------


@settings(max_examples=4)
@given(n=SHAPES["n"], T=SHAPES["T"], u=SHAPES["u"], start=st.sampled_from(["number", "scalar", "row"]), seed=st.integers(0, 99))
def test_a_state_begins_in_the_shape_that_it_keeps(agrees, draw, n, T, u, start, seed):
    """A number, a learnt number or a learnt row, for two states of which one takes its shape from the other."""
    X = sbp.data("X", ("n", "T", u))
    first = {"number": 0.5, "scalar": sbp.weight("s"), "row": sbp.weight("s", (u,))}[start]
    found = sbp.scan(lambda e, h, x: (e * sp.cos(h), sp.tanh(h + x)), sbp.transpose(X, (1, 0, 2)), [1, first])
    bias = sbp.weight("b", (u,))
    net = sbp.Network(sbp.node("L", sbp.sum((found.states[0] + bias) ** 2)))

    def reference(X, b, s=0.5):
        e, h, total = torch.ones(n, u, dtype=torch.float64), s + torch.zeros(n, u, dtype=torch.float64), 0.0
        for x in X.unbind(1):
            e, h = e * torch.cos(h), torch.tanh(h + x)
            total = total + ((e + b) ** 2).sum()
        return total

    weights = draw({name: w.shape for name, w in net.weights.items()}, -1.0, 1.0, seed)
    agrees(net, reference, weights, draw({"X": (n, T + 1, u)}, -1.0, 1.0, seed + 1))


def test_layers_begin_as_broadcasts_too(close, draw):
    X, row = sbp.data("X", ("n", "T", 2)), sbp.weight("row", (3,))
    given_, data = draw({"row": (3,)}), draw({"X": (2, 4, 2)})
    nets = [sbp.Network(sbp.mean(sbp.gru(X, 3, initial=start)[1] ** 2)) for start in (row, sbp.broadcast_to(row, ("n", 3)), 0, None)]
    weights = nets[0].initialize() | given_
    found = [net.value_and_gradients({name: weights[name] for name in net.weights}, **data) for net in nets]
    close(found[0][1]["row"], found[1][1]["row"])
    assert found[2][0] == found[3][0] != found[0][0]


@settings(max_examples=10)
@given(data=st.data())
def test_broadcast_to_is_that_of_numpy(close, data):
    shape = tuple(data.draw(st.lists(st.integers(1, 3), max_size=3)))
    own = tuple(data.draw(st.sampled_from([1, size])) for size in shape)[data.draw(st.integers(0, len(shape))) :]
    x = sbp.weight("x", own)
    net = sbp.Network(sbp.node("L", sbp.sum(sbp.broadcast_to(x, shape) ** 2)), output=sbp.node("y", sbp.broadcast_to(x, shape)))
    value = np.random.default_rng(0).normal(size=own)
    close(net.trainer(sbp.SGD(lr=0.1), weights={"x": value}).predict(), np.broadcast_to(value, shape))
    close(net.value_and_gradients({"x": value})[1]["x"], 2 * value * np.prod(shape) / value.size)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sbp.broadcast_to(sbp.data("x", (2, 3)), (3,)), "its sizes must be 1 or those of the last axes"),
        (lambda: sbp.broadcast_to(sbp.data("x", (2,)), ("n", 3)), "its sizes must be 1 or those of the last axes"),
        (lambda: sbp.scan(lambda h, x: h @ sbp.weight("U", (3, 3)) + x, sbp.data("X", ("T", "n", 3)), 0), r'initial=broadcast_to\(0, \("n", 4\)\)'),
        (lambda: sbp.scan(lambda h, x: sbp.reshape(h, (1, *h.shape)) + x, sbp.data("X", ("T", 3)), 0), "make them equal"),
    ],
)
def test_shapes_that_no_state_keeps_are_refused(call, message):
    with pytest.raises(sbp.ShapeError, match=message):
        call()


# --- time is no batch ----------------------------------------------------------------------------------------------------


def test_the_steps_of_a_sequence_are_no_samples(close, draw):
    """A network of one sequence is trained on several as one that names its batch, and a batch never cuts a sequence."""
    weights, data = {}, draw({"X": (7, 5, 3), "Y": (7, 2)})
    runs = []
    for batch in ((), ("n",)):
        X, Y = sbp.data("X", (*batch, "T", 3)), sbp.data("Y", (*batch, 2))
        net = sbp.Network(sbp.node("L", sbp.mse(sbp.gru(X, 2)[1], Y)))
        weights = weights or net.initialize()
        trainer = net.trainer(sbp.SGD(lr=0.1), weights=weights, backend="numpy")
        runs.append((trainer.fit(data, epochs=2, batch_size=3).loss, trainer.weights))
    (loss, found), (wanted_loss, wanted) = runs
    close(loss, wanted_loss)
    for name, w in wanted.items():
        close(found[name], w, what=name)


def test_samples_are_counted_beside_time(draw):
    """Where time leads the shapes of the data, the batch is the other dimension."""
    X, Y = sbp.data("X", ("T", "n", 3)), sbp.data("Y", ("n", 3))
    last = sbp.scan(lambda h, x: sp.tanh(h + x), X, sbp.weight("s", (3,))).last
    net = sbp.Network(sbp.node("L", sbp.mse(last, Y)))
    data = draw({"X": (4, 6, 3), "Y": (6, 3)})
    assert net.fisher().matrix(net.initialize(), **data).shape == (3, 3)
    assert net.per_sample_gradients()(net.initialize(), **data)["s"].shape == (6, 3)
    assert len(net.trainer(sbp.SGD(lr=0.1), backend="numpy").fit(data, epochs=1, batch_size=4).loss) == 1
