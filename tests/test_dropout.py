"""Dropout, and data that are drawn: the statistics of what is drawn, that runs can be repeated and resumed, and that at inference nothing is
drawn."""

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.load import load_source
from symbackprop.errors import DataError, NetworkError, ShapeError
from symbackprop.training import native

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
ENGINES = ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not native.installed(), reason="needs the extra [fast]"))]


def numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@cache
def network(p=0.4):
    x, t = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    h = sbp.dropout(sbp.dense(x, 6, "tanh"), p)
    y = sbp.dense(h, 2)
    return sbp.Network(sbp.mse(y, t), output=y)


def samples(count=20):
    return {"X": numbers((count, 3)), "T": numbers((count, 2), 1)}


def equal(first, second):
    return all(np.array_equal(first.weights[name], second.weights[name]) for name in first.weights)


# --- what dropout is -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 0.1, 0.5, 0.9])
def test_a_given_mask_is_used(p):
    net, mask = network(p), np.random.default_rng(5).integers(0, 2, (20, 6)).astype(float)
    weights = net.initialize(3)
    loss, found = net.value_and_gradients(weights, **samples(), M_1=mask)
    ts = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    x, t = (torch.tensor(value) for value in samples().values())
    h = torch.tanh(x @ ts["W_1"] + ts["b_1"]) * torch.tensor(mask) / (1 - p)
    expected = torch.nn.functional.mse_loss(h @ ts["W_2"] + ts["b_2"], t)
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), **TIGHT)
    for name, value in ts.items():
        np.testing.assert_allclose(found[name], value.grad.numpy(), **TIGHT)
    trainer = net.trainer(sbp.SGD(lr=0.1), weights=weights)
    np.testing.assert_allclose(trainer.step(**samples(), M_1=mask), expected.item(), **TIGHT)
    np.testing.assert_allclose(trainer.weights["W_1"], weights["W_1"] - 0.1 * ts["W_1"].grad.numpy(), **TIGHT)


def test_at_inference_it_is_the_identity():
    trainer = network().trainer(sbp.SGD(lr=0.1), seed=2)
    x, w = samples()["X"], trainer.weights
    expected = np.tanh(x @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]
    np.testing.assert_allclose(trainer.predict(X=x), expected, **TIGHT)
    history = trainer.fit(samples(), epochs=1, validation=samples())
    np.testing.assert_allclose(history.validation_loss, [((trainer.predict(X=x) - samples()["T"]) ** 2).mean()], **TIGHT)
    assert np.array_equal(sbp.evaluate(sbp.dropout(sbp.data("x", (3,))), {"x": [1, 2, 3]}, inference=True), [1, 2, 3])


@pytest.mark.parametrize("p", [0.1, 0.5, 0.8])
def test_the_statistics_of_masks(p):
    """An update of w -= mean of M/(1 - p) tells the share that was kept. Of 40,000 entries it is within 5 standard deviations, and so is the
    correlation of two masks, of neighbours in one, and of a mask with the first weights."""
    count = 40_000
    w = sbp.weight("w", (count,), init="normal")
    trainer = sbp.Network(sbp.sum(sbp.dropout(w, p))).trainer(sbp.SGD(lr=1))
    masks = []
    for _ in range(2):
        before = trainer.weights["w"].copy()
        trainer.step()
        masks.append(before - trainer.weights["w"])
    first, second = (mask * (1 - p) for mask in masks)
    np.testing.assert_allclose(first, np.round(first), atol=1e-12)
    assert set(np.round(first)) == {0.0, 1.0}
    bound = 5 / np.sqrt(count)
    assert abs(first.mean() - (1 - p)) < bound * np.sqrt(p * (1 - p))
    start = np.sign(sbp.Network(sbp.sum(w)).initialize()["w"])
    for a, b in [(first, second), (first[1:], first[:-1]), (first, start), (second, start)]:
        assert abs(np.corrcoef(a, b)[0, 1]) < bound


@settings(max_examples=8)
@given(p=st.floats(0, 0.9), shape=st.lists(st.integers(1, 9), max_size=2).map(tuple), seed=st.integers(0, 2**32 - 1))
def test_over_shapes_shares_and_seeds(p, shape, seed):
    """The value and the gradient are those of the formula x M/(1 - p); at inference nothing is dropped; a seed fixes the masks; the mean of
    M/(1 - p) is 1: over 20,000 entries within 5 standard deviations of sqrt(p/(1 - p)/20,000)."""
    x, c = sbp.data("X", ("n", *shape)), sbp.weight("c", shape)
    y = sbp.node("y", c * sbp.dropout(x, p))
    net = sbp.Network(sbp.node("C", sbp.sum(y)), output=y)
    module = load_source(net.generate(), "dropout")
    n = 1 + 20_000 // int(np.prod(shape))
    mask, again, other = (module.draw(np.random.default_rng(s), n=n)["M_1"] for s in (seed, seed, seed + 1))
    assert mask.shape == (n, *shape)
    assert set(np.unique(mask)) <= {0.0, 1.0}
    assert np.array_equal(mask, again)
    assert p < 0.01 or not np.array_equal(mask, other)
    assert abs(mask.mean() / (1 - p) - 1) <= 5 * np.sqrt(p / (1 - p) / mask.size)
    X, weights = numbers((n, *shape)), {"c": numbers(shape, 1)}
    kept = X * mask / (1 - p)
    loss, found = net.value_and_gradients(weights, X=X, M_1=mask)
    np.testing.assert_allclose(loss, (weights["c"] * kept).sum(), rtol=1e-10, atol=1e-10 * np.abs(kept).sum())
    np.testing.assert_allclose(found["c"], kept.sum(axis=0), rtol=1e-10, atol=1e-10 * np.abs(kept).sum())
    pair = [net.trainer(sbp.SGD(lr=0.1), weights=weights, seed=seed, backend="numpy") for _ in range(2)]
    np.testing.assert_allclose(pair[0].predict(X=X), weights["c"] * X, **TIGHT)
    assert pair[0].step(X=X) == pair[1].step(X=X)
    assert equal(*pair)


def test_normal_noise():
    """Data may be drawn from a normal distribution too; each of the batches of an epoch has its own."""
    w, e = sbp.weight("w", (5,), init=0), sbp.data("E", ("n", 5), draw=sbp.Normal(2, 3))
    x = sbp.data("x", ("n",))
    trainer = sbp.Network(sbp.mean(sbp.sum(w * e, axis=1) + x)).trainer(sbp.SGD(lr=1))
    drawn = []

    def look(trainer, history):
        drawn.append(trainer.weights["w"].copy())

    trainer.fit({"x": np.zeros(4000)}, epochs=1, batch_size=4, callbacks=[look])
    # The mean of 4 × 5000 numbers of standard deviation 3, and 1000 means of 4 a weight.
    assert abs(-drawn[0].mean() / 1000 - 2) < 5 * 3 / np.sqrt(20_000)
    assert np.ptp(drawn[0]) > 0
    module = load_source(sbp.Network(sbp.sum(w * e)).generate(), "noise")
    found = module.draw(np.random.default_rng(0), n=8000)["E"]
    assert found.shape == (8000, 5)
    assert abs(found.mean() - 2) < 5 * 3 / np.sqrt(40_000)
    assert abs(found.std() - 3) < 5 * 3 / np.sqrt(2 * 40_000)


# --- the same again --------------------------------------------------------------------------------------------------------------


def test_the_seed_fixes_the_masks():
    first, second, other = (network().trainer(sbp.SGD(lr=0.1), seed=seed, weights=network().initialize(0)) for seed in (1, 1, 2))
    for trainer in (first, second, other):
        trainer.fit(samples(), epochs=3, batch_size=6)
        trainer.step(**samples())
    assert equal(first, second)
    assert not equal(first, other)


@pytest.mark.skipif(not native.installed(), reason="needs the extra [fast]")
def test_compiled_code_draws_the_same():
    x = sbp.data("X", ("n", 3))
    net = sbp.Network(sbp.mean(sbp.dropout(x * sbp.weight("w", (3,)), 0.3) ** 2))
    trainers = [net.trainer(sbp.SGD(lr=0.1), backend=backend) for backend in ("numpy", "numba")]
    for trainer in trainers:
        trainer.fit({"X": numbers((20, 3))}, epochs=3, batch_size=6, shuffle=True)
    np.testing.assert_allclose(trainers[1].weights["w"], trainers[0].weights["w"], **TIGHT)
    assert (trainers[0].weights["w"] < 1 - 1e-3).all()


def test_each_epoch_has_masks_of_its_own():
    """Epoch by epoch the masks are those that `draw` of the generated module gives with the same generator."""
    net = network()
    trainer = net.trainer(sbp.SGD(lr=0.1), seed=7)
    by_hand = net.trainer(sbp.SGD(lr=0.1), seed=7)
    trainer.fit(samples(), epochs=3, batch_size=8)
    rng = np.random.default_rng(np.random.SeedSequence(7).spawn(1)[0])
    for _ in range(3):
        mask = by_hand.module.draw(rng, n=20)["M_1"]
        for start in (0, 8, 16):
            rows = slice(start, start + 8)
            by_hand.step(X=samples()["X"][rows], T=samples()["T"][rows], M_1=mask[rows])
    assert equal(trainer, by_hand)


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    straight = network().trainer(sbp.Adam(lr=0.05), seed=4)
    straight.fit(samples(), epochs=5, batch_size=6, shuffle=True)
    first = network().trainer(sbp.Adam(lr=0.05), seed=4)
    first.fit(samples(), epochs=2, batch_size=6, shuffle=True)
    first.save(tmp_path / "run.npz")
    resumed = sbp.Trainer.load(tmp_path / "run.npz")
    assert resumed.system.by_name["M_1"].init == sbp.Bernoulli(0.6)
    resumed.fit(samples(), epochs=3, batch_size=6, shuffle=True)
    assert equal(straight, resumed)
    assert np.array_equal(resumed.predict(X=samples()["X"]), straight.predict(X=samples()["X"]))


def test_divergence_goes_back_with_the_same_masks():
    """The guard repeats earlier updates to come back to the last good weights, so their masks are drawn once more."""
    x, t = sbp.data("X", ("n", 3)), sbp.data("T", ("n",))
    y = sbp.dropout(x * sbp.weight("w", (3,)), 0.5)
    net = sbp.Network(sbp.mean(y**2) + sbp.sum(sp.log(t)))
    bad = np.ones(12)
    bad[10] = -1
    first, second = net.trainer(sbp.SGD(lr=0.1)), net.trainer(sbp.SGD(lr=0.1))
    with pytest.raises(sbp.TrainingDivergedError):
        first.fit({"X": numbers((12, 3)), "T": bad}, epochs=1, batch_size=2)
    mask = second.module.draw(np.random.default_rng(np.random.SeedSequence(0).spawn(1)[0]), n=12)["M_1"]
    for start in (0, 2, 4, 6):
        rows = slice(start, start + 2)
        second.step(X=numbers((12, 3))[rows], T=np.ones(2), M_1=mask[rows])
    assert first.steps == 4
    assert equal(first, second)


@pytest.mark.parametrize("backend", ENGINES)
def test_a_network_of_one_sample(backend):
    """The mask of a sample has no batch axis in the network; each sample of a batch has its own all the same."""
    x, w = sbp.data("x"), sbp.weight("w", init=0)
    net = sbp.Network(sbp.node("C", w * x + sbp.dropout(w, 0.25)), output=w * x)
    trainer = net.trainer(sbp.SGD(lr=1), backend=backend)
    xs = np.zeros(400)
    trainer.fit({"x": xs}, epochs=1, batch_size=1)
    kept = -float(trainer.weights["w"]) * 0.75
    assert abs(kept - round(kept)) < 1e-9
    assert abs(kept - 300) < 5 * np.sqrt(400 * 0.25 * 0.75)
    before = float(trainer.weights["w"])
    trainer.step(x=0.0)
    assert round((before - float(trainer.weights["w"])) * 0.75, 9) in (0.0, 1.0)
    before = float(trainer.weights["w"])
    trainer.step(x=0.0, M_1=1.0)
    np.testing.assert_allclose(before - float(trainer.weights["w"]), 4 / 3, **TIGHT)


def test_losses_can_be_compared():
    trainer = network().trainer(sbp.SGD(lr=0.1))
    assert trainer.loss(**samples()) == trainer.loss(**samples())
    other = network().trainer(sbp.SGD(lr=0.1))
    trainer.loss(**samples())  # and looking changes nothing
    trainer.fit(samples(), epochs=2)
    other.fit(samples(), epochs=2)
    assert equal(trainer, other)


# --- the generated module ----------------------------------------------------------------------------------------------------------


def test_the_generated_module_takes_masks_as_data(tmp_path):
    net = network()
    path = tmp_path / "net.py"
    path.write_text(net.generate("numpy", optimizer=sbp.SGD(lr=0.1)))
    run = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    module = load_source(path.read_text(), "dropout")
    trainer, weights = net.trainer(sbp.SGD(lr=0.1)), module.initialize()
    state, mask = module.initialize_state(weights), module.draw(np.random.default_rng(3), n=20)
    assert mask["M_1"].shape == (20, 6)
    assert set(mask["M_1"].ravel()) == {0.0, 1.0}
    np.testing.assert_allclose(module.update(weights, state, **samples(), **mask), trainer.step(**samples(), **mask), **TIGHT)
    np.testing.assert_allclose(weights["W_1"], trainer.weights["W_1"], **TIGHT)
    np.testing.assert_allclose(module.predict(weights, X=samples()["X"]), trainer.predict(X=samples()["X"]), **TIGHT)
    assert "draw" not in vars(load_source(sbp.mlp([2, 3, 1]).generate(), "plain"))


# --- what is wrong -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: sbp.dropout(sbp.data("x"), 1), NetworkError, ["p is 1"]),
        (lambda: sbp.dropout(sbp.data("x"), "half"), NetworkError, ["'half'"]),
        (lambda: sbp.dropout(sbp.concatenate([sbp.data("X", ("n", 2))] * 2)), ShapeError, ["2*n"]),
        (lambda: sbp.data("x", draw=0.5), NetworkError, ["draw is 0.5", "Bernoulli"]),
        (lambda: sbp.Bernoulli(1.5), NetworkError, ["1.5"]),
        (lambda: sbp.Normal(0, -1), NetworkError, ["-1"]),
        (lambda: sbp.Normal("0"), NetworkError, ["'0'"]),
        (lambda: network().trainer(sbp.SGD(lr=0.1)).step(**samples(), M_1=np.ones((20, 5))), DataError, ["'M_1'", "(20, 5)"]),
        (lambda: network().trainer(sbp.SGD(lr=0.1)).step(X=samples()["X"]), DataError, ["'T' is missing"]),
        (
            lambda: sbp.Network(sbp.sum(sbp.weight("w") * sbp.data("E", ("k",), draw=sbp.Normal()))).trainer(sbp.SGD(lr=0.1)).step(),
            DataError,
            ["'E'", "size k"],
        ),
    ],
)
def test_bad_input_is_named(make, error, said):
    with pytest.raises(error) as caught:
        make()
    for part in said:
        assert part in str(caught.value)
