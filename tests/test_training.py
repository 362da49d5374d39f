"""The trainer: steps, epochs, batches, weights, divergence, and runs that are saved and go on."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp
from symbackprop.codegen.load import load_source
from symbackprop.errors import DataError, NetworkError, TrainingDivergedError, UnsupportedError
from symbackprop.graph.serialize import read, write
from symbackprop.training.engines import ArrayEngine, ScalarEngine


def scalars():
    x, t = sbp.data("x t")
    w_1, w_2, b = sbp.weight("w_1 w_2 b", init=0.5)
    y = sbp.node("y", sp.tanh(w_2 * sp.tanh(w_1 * x) + b))
    return sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)


def tensors():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n",))
    z = sbp.dense(sbp.dense(X, 5, "tanh"), 4)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(z, T)), output=sbp.node("Y", sbp.softmax(z)))


def minimum():
    x = sbp.weight("x", init=1)
    return sbp.Network(sbp.node("C", 750 / x + 10 * x))


def line():
    """w x - t, squared: every number of a run can be followed by hand."""
    x, t = sbp.data("x t")
    w = sbp.weight("w", init=1.0)
    y = sbp.node("y", w * x)
    return sbp.Network(sbp.node("C", (y - t) ** 2), output=y)


rng = np.random.default_rng(0)
SCALAR_DATA = {"x": rng.uniform(-1, 1, 11), "t": rng.uniform(-1, 1, 11)}
TENSOR_DATA = {"X": rng.uniform(-1, 1, (11, 3)), "T": rng.integers(0, 4, 11)}
CASES = {"scalars": (scalars, SCALAR_DATA), "tensors": (tensors, TENSOR_DATA), "no data": (minimum, {})}


def same(a, b):
    """Equal to the last bit, and of one type."""
    assert list(a) == list(b)
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name])


# --- steps, epochs and batches -------------------------------------------------------------------------------------------


def trainer_of_one_weight():
    return sbp.Network(sbp.node("C", sbp.weight("w") ** 2)).trainer(sbp.SGD(lr=0.1))


def test_a_step_returns_the_loss_before_the_update(close):
    trainer = line().trainer(sbp.SGD(lr=0.1))
    assert trainer.step(x=2.0, t=1.0) == 1.0  # (1*2 - 1)^2
    close(trainer.weights["w"], 1 - 0.1 * 2 * (2 - 1) * 2, 1e-15)
    assert trainer.steps == 1
    before = trainer.loss(x=2.0, t=1.0)
    close(before, (0.6 * 2 - 1) ** 2, 1e-14)
    assert trainer.steps == 1, "loss() updates nothing"
    close(trainer.step(x=[2.0], t=[1.0]), before, 1e-15)


def test_a_batch_of_samples_takes_the_mean_of_their_gradients(close):
    trainer = line().trainer(sbp.SGD(lr=0.1))
    xs, ts = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, -1.0])
    close(trainer.step(x=xs, t=ts), np.mean((xs - ts) ** 2), 1e-15)
    close(trainer.weights["w"], 1 - 0.1 * np.mean(2 * (xs - ts) * xs), 1e-15)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("batch_size", [None, 1, 4, 11, 50])
def test_fit_is_a_step_for_each_batch_in_the_order_of_the_data(case, batch_size):
    make, data = CASES[case]
    fitted, stepped = make().trainer(sbp.Adam(lr=0.01), seed=1), make().trainer(sbp.Adam(lr=0.01), seed=1)
    history = fitted.fit(data, epochs=3, batch_size=batch_size)
    size = min(batch_size or 11, 11)
    expected = []
    for _ in range(3):
        starts = range(0, 11, size) if data else [0]
        losses = [(stepped.step(**{k: v[i : i + size] for k, v in data.items()}), min(size, 11 - i)) for i in starts]
        expected.append(sum(loss * n for loss, n in losses) / sum(n for _, n in losses))
    assert fitted.steps == stepped.steps == 3 * len(starts)
    same(fitted.weights, stepped.weights)
    np.testing.assert_allclose(history.loss, expected, rtol=1e-14)
    assert history.validation_loss == []


def test_shuffling_draws_a_new_order_for_every_epoch_from_the_seed():
    orders = []
    net = scalars()
    trainer = net.trainer(sbp.SGD(lr=0.01))
    engine = trainer._engine(4)
    run = engine.run
    engine.run = lambda w, s, feed, batches: orders.append(np.concatenate([np.asarray(b) for b in batches])) or run(w, s, feed, batches)
    trainer.fit(SCALAR_DATA, 3, batch_size=4, shuffle=True, seed=7)
    for order in orders:
        assert sorted(order) == list(range(11))
    assert not np.array_equal(orders[0], orders[1])
    generator = np.random.default_rng(7)
    for order in orders:
        np.testing.assert_array_equal(order, generator.permutation(11))
    again, other = net.trainer(sbp.SGD(lr=0.01)), net.trainer(sbp.SGD(lr=0.01))
    again.fit(SCALAR_DATA, 3, batch_size=4, shuffle=True, seed=7)
    other.fit(SCALAR_DATA, 3, batch_size=4, shuffle=True, seed=8)
    same(trainer.weights, again.weights)
    assert trainer.weights["b"] != other.weights["b"]


@pytest.mark.parametrize("case", ["scalars", "tensors"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_two_calls_of_fit_are_one_longer_call(case, batch_size):
    make, data = CASES[case]
    once, twice = make().trainer(sbp.RMSprop(momentum=0.9)), make().trainer(sbp.RMSprop(momentum=0.9))
    whole = once.fit(data, 5, batch_size=batch_size, shuffle=True)
    parts = [twice.fit(data, n, batch_size=batch_size, shuffle=True).loss for n in (2, 3)]
    assert whole.loss == [*parts[0], *parts[1]]
    same(once.weights, twice.weights)


def test_validation_is_measured_after_each_epoch(close):
    held_out = {name: value[:4] for name, value in TENSOR_DATA.items()}
    trainer, other = tensors().trainer(sbp.SGD(lr=0.1)), tensors().trainer(sbp.SGD(lr=0.1))
    history = trainer.fit(TENSOR_DATA, 3, validation=held_out)
    expected = []
    for _ in range(3):
        other.fit(TENSOR_DATA, 1)
        expected.append(other.loss(**held_out))
    close(history.validation_loss, expected, 1e-15)
    same(trainer.weights, other.weights)


def test_callbacks_see_every_epoch_and_may_stop(close):
    seen = []
    trainer = scalars().trainer(sbp.SGD(lr=0.01))
    callbacks = [lambda trainer, history: len(history.loss) == 3, lambda trainer, history: seen.append((trainer.steps, history.loss[-1]))]
    history = trainer.fit(SCALAR_DATA, 100, batch_size=4, callbacks=callbacks)
    assert [steps for steps, _ in seen] == [3, 6, 9]
    assert [loss for _, loss in seen] == history.loss
    assert trainer.fit(SCALAR_DATA, 5, callbacks=[lambda *_: np.bool_(True)]).loss[1:] == []
    assert len(trainer.fit(SCALAR_DATA, 5, callbacks=[lambda *_: "text", lambda *_: 1]).loss) == 5
    seen.clear()
    assert trainer.fit(SCALAR_DATA, 5, callbacks=lambda _, history: seen.append(history.loss[-1]) or len(seen) == 2).loss == seen


@pytest.mark.parametrize("wrong", [None, 3, "stop", [print, "stop"], [None]], ids=repr)
def test_callbacks_that_cannot_be_called_are_refused(wrong):
    trainer = scalars().trainer(sbp.SGD(0.1))
    with pytest.raises(DataError, match=r"callbacks is .*; expected a function of the trainer and the history, or a list of such functions"):
        trainer.fit(SCALAR_DATA, 1, callbacks=wrong)
    assert trainer.steps == 0


def test_progress_shows_a_bar(capsys):
    silent, shown = scalars().trainer(sbp.SGD(lr=0.01)), scalars().trainer(sbp.SGD(lr=0.01))
    silent.fit(SCALAR_DATA, 3)
    assert capsys.readouterr().err == ""
    shown.fit(SCALAR_DATA, 3, progress=True)
    assert "3/3" in capsys.readouterr().err
    same(silent.weights, shown.weights)


def test_no_epochs_change_nothing():
    trainer = scalars().trainer(sbp.SGD(lr=0.01))
    assert trainer.fit(SCALAR_DATA, 0).loss == []
    assert trainer.steps == 0


@pytest.mark.parametrize("arguments", [{"epochs": -1}, {"epochs": 1.5}, {"epochs": 1, "batch_size": 0}, {"epochs": 1, "batch_size": "4"}, {"epochs": True}])
def test_bad_arguments_of_fit(arguments):
    with pytest.raises(DataError, match=r"epochs|batch_size"):
        scalars().trainer(sbp.SGD(lr=0.01)).fit(SCALAR_DATA, **arguments)


# --- prediction ----------------------------------------------------------------------------------------------------------


def test_predict_one_sample_and_many():
    trainer = scalars().trainer(sbp.SGD(lr=0.01))
    many = trainer.predict(x=SCALAR_DATA["x"])
    np.testing.assert_allclose(many, np.tanh(0.5 * np.tanh(0.5 * SCALAR_DATA["x"]) + 0.5), rtol=1e-15)
    one = trainer.predict(x=SCALAR_DATA["x"][3])
    assert one.shape == ()
    assert one == many[3]
    assert trainer.predict(x=SCALAR_DATA["x"], t=SCALAR_DATA["t"]).shape == (11,), "what only the loss reads may be given too"


def test_predict_of_a_vector_network_written_for_one_sample():
    x, t = sbp.data("x", (3,)), sbp.data("t", (2,))
    W = sbp.weight("W", (3, 2), init=np.arange(6.0).reshape(3, 2))
    net = sbp.Network(sbp.node("C", sbp.half_squared_error(sbp.node("y", x @ W), t)), output=sbp.node("y", x @ W))
    trainer = net.trainer(sbp.SGD(lr=0.01))
    np.testing.assert_array_equal(trainer.predict(x=[1, 2, 3]), [16, 22])
    np.testing.assert_array_equal(trainer.predict(x=[[1, 2, 3], [0, 0, 1]]), [[16, 22], [4, 5]])


def test_predict_is_a_copy_and_needs_an_output():
    X = sbp.data("X", ("n",))
    w = sbp.weight("w", init=1.0)
    trainer = sbp.Network(sbp.node("C", sbp.mean(w * X)), output=X).trainer(sbp.SGD(lr=1.0))
    given = np.ones(3)
    trainer.predict(X=given)[0] = 5
    assert given[0] == 1
    with pytest.raises(NetworkError, match="names no output"):
        minimum().trainer(sbp.SGD(lr=1.0)).predict()


# --- weights -------------------------------------------------------------------------------------------------------------


def test_weights_are_assignable_as_a_whole_and_one_by_one():
    net = tensors()
    trainer = net.trainer(sbp.SGD(lr=0.1))
    place = trainer.weights["b_1"]
    trainer.weights["b_1"] = [1, 2, 3, 4, 5]
    assert trainer.weights["b_1"] is place
    np.testing.assert_array_equal(place, [1.0, 2, 3, 4, 5])
    trainer.weights = {"b_1": np.zeros(5), net.weights["b_2"]: np.ones(4)}
    np.testing.assert_array_equal(trainer.weights["b_2"], np.ones(4))
    assert set(trainer.weights) == {"W_1", "b_1", "W_2", "b_2"}
    start = {name: value + 0.25 for name, value in trainer.weights.items()}
    same(net.trainer(sbp.SGD(lr=0.1), weights=start).weights, start)


@pytest.mark.parametrize("compile_first", [False, True])
def test_the_next_step_uses_assigned_weights(compile_first, close):
    for make, data in (CASES["scalars"], CASES["tensors"]):
        trainer, fresh = make().trainer(sbp.SGD(lr=0.1)), make().trainer(sbp.SGD(lr=0.1))
        if compile_first:
            trainer.step(**data)
        values = {name: np.full(value.shape, 0.3) for name, value in trainer.weights.items()}
        trainer.weights = values
        fresh.weights = values
        assert trainer.step(**data) == fresh.step(**data)
        same(trainer.weights, fresh.weights)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros(4), "shape"), (0.5, "shape"), ("zeros", "real numbers"), ("1.5", "real numbers"), ([1j] * 5, "real numbers"), (None, "real numbers"),
        ([[1], [1, 2]], "real numbers"), ([1, 2, np.nan, 4, 5], "NaN"), ([1, 2, np.inf, 4, 5], "NaN"),
    ],
)  # fmt: skip
def test_what_is_no_value_of_a_weight_is_refused(value, message):
    trainer = tensors().trainer(sbp.SGD(lr=0.1))
    before = {name: v.copy() for name, v in trainer.weights.items()}
    with pytest.raises(DataError, match=message):
        trainer.weights["b_1"] = value
    with pytest.raises(DataError, match=message):
        trainer.weights = {"b_2": np.ones(4), "b_1": value}
    with pytest.raises(DataError, match=message):
        tensors().trainer(sbp.SGD(lr=0.1), weights={"b_1": value})
    same(trainer.weights, before)


def test_weights_are_neither_added_nor_removed():
    trainer = tensors().trainer(sbp.SGD(lr=0.1))
    with pytest.raises(DataError, match="'b_3' is not in the network"):
        trainer.weights["b_3"] = 1
    with pytest.raises(DataError, match="cannot be removed"):
        del trainer.weights["b_1"]


# --- engines and types ---------------------------------------------------------------------------------------------------


def test_scalars_one_at_a_time_run_on_floats_and_everything_else_on_arrays():
    assert isinstance(scalars().trainer(sbp.Adam())._engine(1), ScalarEngine)
    assert isinstance(scalars().trainer(sbp.Adam())._engine(2), ArrayEngine)
    assert isinstance(scalars().trainer(sbp.Adam(), dtype="float32")._engine(1), ArrayEngine)
    assert isinstance(tensors().trainer(sbp.Adam())._engine(1), ArrayEngine)
    assert "np." not in scalars().trainer(sbp.Adam())._engine(1).source


@pytest.mark.parametrize("optimizer", [sbp.SGD(lr=0.05, momentum=0.9), sbp.AdamW(lr=0.05, amsgrad=True)], ids=["sgd", "adamw"])
def test_a_network_of_scalars_equals_torch_one_by_one_and_in_batches(optimizer, close):
    make = {"SGD": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), "AdamW": lambda p: torch.optim.AdamW(p, lr=0.05, amsgrad=True)}
    xs, ts = (torch.tensor(SCALAR_DATA[name], dtype=torch.float64) for name in ("x", "t"))
    for batch_size in (1, 4):
        w = {name: torch.tensor(0.5, dtype=torch.float64, requires_grad=True) for name in ("w_1", "w_2", "b")}
        theirs, losses = make[type(optimizer).__name__](list(w.values())), []
        for _ in range(5):
            epoch = []
            for i in range(0, 11, batch_size):
                x, t = xs[i : i + batch_size], ts[i : i + batch_size]
                loss = ((torch.tanh(w["w_2"] * torch.tanh(w["w_1"] * x) + w["b"]) - t) ** 2 / 2).mean()
                theirs.zero_grad()
                loss.backward()
                theirs.step()
                epoch += [loss.item()] * len(x)
            losses.append(np.mean(epoch))
        trainer = scalars().trainer(optimizer)
        history = trainer.fit(SCALAR_DATA, 5, batch_size=batch_size)
        close(history.loss, losses, 1e-12, f"batches of {batch_size}")
        for name, value in w.items():
            close(trainer.weights[name], value.item(), 1e-12, f"batches of {batch_size}: {name}")


def test_the_engines_agree(close):
    """Floats, buffers and the standalone module: the same 55 updates, one sample at a time."""
    net, optimizer = scalars(), sbp.Adam(lr=0.02, weight_decay=0.1)
    floats, buffers = net.trainer(optimizer), net.trainer(optimizer)
    buffers._engines["scalar"] = ArrayEngine(buffers.system, buffers.rule, "float64")
    close(floats.fit(SCALAR_DATA, 5, batch_size=1).loss, buffers.fit(SCALAR_DATA, 5, batch_size=1).loss, 1e-13)
    module = load_source(net.generate("numpy", optimizer=optimizer), "engines")
    weights = module.initialize()
    state = module.initialize_state(weights)
    for _ in range(5):
        for x, t in zip(*SCALAR_DATA.values(), strict=True):
            module.update(weights, state, x=[x], t=[t])
    for name in weights:
        close(floats.weights[name], buffers.weights[name], 1e-13, name)
        close(floats.weights[name], weights[name], 1e-13, name)


@pytest.mark.parametrize("case", CASES)
def test_float32_stays_float32(case):
    make, data = CASES[case]
    narrow, wide = make().trainer(sbp.AdamW(lr=0.01), dtype="float32"), make().trainer(sbp.AdamW(lr=0.01))
    np.testing.assert_allclose(narrow.fit(data, 5, batch_size=3).loss, wide.fit(data, 5, batch_size=3).loss, rtol=1e-5)
    assert all(w.dtype == np.float32 for w in narrow.weights.values())
    assert all(s.dtype == np.float32 for name in ("m", "v") for s in narrow.state[name].values())
    if data:
        fed = {name: value for name, value in data.items() if name in ("x", "X")}
        assert narrow.predict(**fed).dtype == np.float32
    narrow.weights = {name: value.astype(float) for name, value in wide.weights.items()}
    assert all(w.dtype == np.float32 for w in narrow.weights.values())
    assert "np.float64" not in narrow._engine(3).source


@pytest.mark.parametrize("dtype", ["float16", "int64", "complex128"])
def test_other_types_are_refused(dtype):
    with pytest.raises(DataError, match=dtype):
        scalars().trainer(sbp.SGD(lr=0.1), dtype=dtype)


def test_bad_arguments_of_trainer():
    with pytest.raises(NetworkError, match="backend"):
        scalars().trainer(sbp.SGD(lr=0.1), backend="abacus")
    with pytest.raises(NetworkError, match="Optimizer"):
        scalars().trainer(0.1)
    with pytest.raises(NetworkError, match="no weights"):
        sbp.Network(sbp.node("C", sbp.data("x") ** 2)).trainer(sbp.SGD(lr=0.1))


def test_a_network_without_data_reaches_its_minimum(close):
    trainer = minimum().trainer(sbp.SGD(lr=0.01))
    x = 1.0
    expected = []
    for _ in range(100):
        expected.append(750 / x + 10 * x)
        x -= 0.01 * (10 - 750 / x**2)
    close(trainer.fit({}, 100).loss, expected, 1e-12)
    close(trainer.weights["x"], x, 1e-12)


# --- bad data ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros((11, 2))}, "'X' has shape"), ({"X": np.zeros((10, 3))}, "n = "), ({"X": np.zeros(3)}, "'X' has shape"),
        ({"T": np.zeros(11)}, "integers"), ({"T": np.full(11, 4)}, "0 to 3"), ({"T": np.full(11, -1)}, "0 to 3"),
        ({"X": np.full((11, 3), np.nan)}, "nan"), ({"X": np.full((11, 3), np.inf)}, "inf"), ({"X": np.zeros((11, 3), complex)}, "complex"),
        ({"X": [["a"] * 3] * 11}, "expected real numbers"), ({"X": [[1, 2], [1]]}, "same length"), ({"Z": 1}, "'Z' is not in the network"),
        ({"X": np.zeros((0, 3)), "T": np.zeros(0, int)}, "empty"), ({"X": None}, "expected real numbers"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused(change, message):
    trainer = tensors().trainer(sbp.SGD(lr=0.1))
    for use in (lambda **d: trainer.step(**d), lambda **d: trainer.fit(d, 1), lambda **d: trainer.loss(**d)):
        with pytest.raises(DataError, match=message):
            use(**{**TENSOR_DATA, **change})
    assert trainer.steps == 0


def test_missing_data_and_unequal_numbers_of_samples():
    trainer = scalars().trainer(sbp.SGD(lr=0.1))
    with pytest.raises(DataError, match="'t' is missing"):
        trainer.step(x=1.0)
    with pytest.raises(DataError, match="different numbers of samples"):
        trainer.fit({"x": [1.0, 2.0], "t": [1.0, 2.0, 3.0]}, 1)
    with pytest.raises(DataError, match="'t' has shape"):
        trainer.step(x=[1.0, 2.0], t=1.0)
    with pytest.raises(DataError, match="mapping"):
        trainer.fit([1.0, 2.0], 1)
    with pytest.raises(DataError, match="inf"):
        scalars().trainer(sbp.SGD(lr=0.1), dtype="float32").step(x=1e300, t=1.0)


# --- divergence ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("epochs", [1000])
def test_divergence_keeps_the_last_weights_whose_loss_was_finite(batch_size, epochs):
    """Followed by hand: w is multiplied by -9 or so until (w x)^2 overflows; the weights before that update remain."""
    xs, ts = np.array([1.0, 2.0, 3.0]), np.zeros(3)
    w, last, updates = 1.0, None, 0
    while True:
        i = (updates % (-(-3 // batch_size))) * batch_size
        x = xs[i : i + batch_size]
        with np.errstate(over="ignore"):
            loss = np.mean((w * x) ** 2)
            if not np.isfinite(loss):
                break
            last, kept = w, updates
            w -= 1.1 * np.mean(2 * w * x * x)
        updates += 1
    trainer = line().trainer(sbp.SGD(lr=1.1, momentum=0))
    with pytest.raises(TrainingDivergedError, match=rf"not finite at update {updates + 1}; .* after update {kept},"):
        trainer.fit({"x": xs, "t": ts}, epochs, batch_size=batch_size)
    assert trainer.steps == kept == updates - 1
    np.testing.assert_allclose(trainer.weights["w"], last, rtol=1e-11)
    assert np.isfinite(trainer.loss(x=xs[:1] if batch_size == 1 else x, t=ts[: len(x)]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_divergence_restores_the_optimizers_state_too(batch_size):
    data = {"x": np.array([1.0, 2.0, 3.0]), "t": np.zeros(3)}
    diverged = line().trainer(sbp.SGD(lr=1.1, momentum=0.5))
    with pytest.raises(TrainingDivergedError):
        diverged.fit(data, 1000, batch_size=batch_size, shuffle=True, seed=3)
    replay = line().trainer(sbp.SGD(lr=1.1, momentum=0.5))
    generator = np.random.default_rng(3)
    while replay.steps < diverged.steps:
        for batch in np.split(generator.permutation(3), 3 if batch_size == 1 else 1):
            if replay.steps < diverged.steps:
                replay.step(**{name: value[batch] for name, value in data.items()})
    assert replay.steps == diverged.steps > 10
    same(diverged.weights, replay.weights)
    same(diverged.state["m"], replay.state["m"])


def test_a_first_loss_that_is_not_finite_changes_nothing():
    w = sbp.weight("w", init=-1.0)
    net = sbp.Network(sbp.node("C", sp.log(w) * sbp.data("x")))
    for batch in (1, 2):
        trainer = net.trainer(sbp.Adam())
        with pytest.raises(TrainingDivergedError, match="update 1"):
            trainer.fit({"x": np.ones(2)}, 5, batch_size=batch)
        with pytest.raises(TrainingDivergedError, match="left as they were"):
            trainer.step(x=np.ones(batch))
        assert trainer.steps == 0
        assert trainer.weights["w"] == -1
        assert not trainer.state["m"]["w"]


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("epochs", [3, 5])
def test_a_gradient_that_is_not_finite_never_trains_in_silence(size, epochs):
    """C = sqrt(w) with steps that reach w = 0 exactly: there the loss is finite and its gradient is not."""
    x, w = sbp.data("x"), sbp.weight("w", init=1.0)
    net = sbp.Network(sbp.node("C", sp.sqrt(w) * x))

    class ToZero(sbp.Optimizer):
        def rule(self, w, g, t, state):
            yield w, sp.Piecewise((1 - t / 2, t <= 2), (w - g, True)) + 0 * g

    trainer = net.trainer(ToZero())
    with pytest.raises(TrainingDivergedError, match="not finite"):
        trainer.fit({"x": np.ones(size)}, epochs, batch_size=size)
    assert trainer.steps == 2
    assert trainer.weights["w"] == 0


def test_a_trainer_goes_on_after_divergence(close):
    trainer = line().trainer(sbp.SGD(lr=1.1))
    with pytest.raises(TrainingDivergedError):
        trainer.fit({"x": [1.0, 2.0], "t": [0.0, 0.0]}, 1000, batch_size=1)
    steps = trainer.steps
    trainer.weights["w"] = 1.0
    assert trainer.step(x=1.0, t=0.0) == 1.0
    assert trainer.steps == steps + 1
    close(trainer.weights["w"], 1 - 2.2, 1e-15)


# --- history -------------------------------------------------------------------------------------------------------------


def test_history_prints_and_plots():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    trainer = tensors().trainer(sbp.SGD(lr=0.1))
    assert repr(sbp.History()) == "History(no epochs)"
    plain = trainer.fit(TENSOR_DATA, 4)
    assert repr(plain) == f"History(4 epochs, loss {plain.loss[0]:.6g} to {plain.loss[-1]:.6g})"
    both = trainer.fit(TENSOR_DATA, 4, validation=TENSOR_DATA)
    ax = both.plot()
    assert [tuple(line.get_xdata()) for line in ax.lines] == [(1, 2, 3, 4)] * 2
    assert [list(line.get_ydata()) for line in ax.lines] == [both.loss, both.validation_loss]
    assert ax.get_xlabel() == "epoch"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training", "validation"]
    _, own = plt.subplots()
    assert plain.plot(own) is own
    assert len(own.lines) == 1
    assert sbp.History([1.0, 1e-4]).plot().get_yscale() == "log"
    plt.close("all")


# --- on disk -------------------------------------------------------------------------------------------------------------

OPTIMIZERS = [
    sbp.SGD(lr=0.01), sbp.SGD(lr=0.01, momentum=0.9, nesterov=True, weight_decay=0.1), sbp.SGD(lr=0.01, momentum=0.9, dampening=0.2),
    sbp.Adam(lr=0.01, amsgrad=True), sbp.AdamW(lr=0.1 / (1 + 0.1 * sp.Symbol("t"))), sbp.RMSprop(centered=True, momentum=0.9),
    sbp.Adagrad(lr_decay=0.1, initial_accumulator_value=0.1),
]  # fmt: skip


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: type(o).__name__)
def test_a_resumed_run_continues_bit_for_bit(optimizer, dtype, tmp_path):
    for name, batch_size in (("scalars", 1), ("scalars", 4), ("tensors", 4), ("no data", None)):
        make, data = CASES[name]
        trainer = make().trainer(optimizer, dtype=dtype, seed=2)
        trainer.fit(data, 3, batch_size=batch_size, shuffle=True, seed=5)
        path = tmp_path / f"{name}.npz"
        trainer.save(path)
        resumed = sbp.Trainer.load(path)
        assert resumed is not trainer
        assert (resumed.steps, resumed.dtype, resumed.backend) == (trainer.steps, dtype, "auto")
        same(resumed.weights, trainer.weights)
        assert repr(resumed.optimizer) == repr(optimizer)
        assert resumed.optimizer.latex() == optimizer.latex()
        first, second = (t.fit(data, 3, batch_size=batch_size, shuffle=True, seed=5).loss for t in (trainer, resumed))
        assert first == second
        same(resumed.weights, trainer.weights)
        for state in trainer.rule.states:
            same(resumed.state[state.name], trainer.state[state.name])


def test_a_run_resumes_in_another_process(tmp_path):
    """There the tensors are made anew, in the order of the file, and sets have another order."""
    trainer = tensors().trainer(sbp.Adam(lr=0.01), seed=4)
    trainer.fit(TENSOR_DATA, 2, batch_size=4, shuffle=True)
    trainer.save(tmp_path / "run.npz")
    np.savez(tmp_path / "data.npz", **TENSOR_DATA)
    script = (
        "import numpy as np, symbackprop as sbp\n"
        "trainer = sbp.Trainer.load('run.npz')\n"
        "print(trainer.fit(dict(np.load('data.npz')), 2, batch_size=4, shuffle=True).loss)\n"
        "trainer.save('resumed.npz')\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == trainer.fit(TENSOR_DATA, 2, batch_size=4, shuffle=True).loss
    same(sbp.Trainer.load(tmp_path / "resumed.npz").weights, trainer.weights)


def everything():
    """A network with a bit of all that a file can hold."""
    L, X, T = sbp.data("L", ("n",)), sbp.data("X", ("n", 4)), sbp.data("T", ("n", 2))
    E = sbp.weight("E", (5, 3), init=np.linspace(-1, 1, 15).reshape(5, 3))
    W, s, u = sbp.weight("W", (6, 2), init="he_normal"), sbp.weight("s", init=sp.Rational(1, 3)), sbp.weight("u", (2,), init=0.25)
    h = sbp.node("h", sbp.concatenate([sbp.take(E, L), X[:, 1:]], axis=1))
    a = sbp.node("a", sp.Piecewise((h, sp.And(h > -1, h < sp.Rational(1, 2))), (sp.erf(h) * s, sp.Or(h > 1, sp.Not(h > 0))), (sp.pi * h, True)))
    z = sbp.node("z", sbp.einsum("nd,dk->nk", sp.Max(a, s * h, sp.Float("0.1", 30)), W) + sbp.gelu(u) + sp.Abs(s) ** sp.Float(1.5))
    y = sbp.node("y", sbp.softmax(sbp.softplus(z)) + sbp.max(z, axis=1, keepdims=True) * sbp.sigmoid(z) + sbp.relu(z) + sp.floor(s))
    p = sbp.node("p", sbp.reshape(sbp.log_softmax(y), (-1,)) + sbp.logsumexp(u))
    return sbp.Network(sbp.node("C", sbp.mse(y, T) + sbp.mean(p) + sp.log(1 + s**2) + sbp.log1p(s**2) + sbp.expm1(s)), output=y)


def test_every_kind_of_equation_comes_back(tmp_path):
    net = everything()
    trainer = net.trainer(sbp.SGD(lr=0.01))
    trainer.save(tmp_path / "run.npz")
    back = sbp.Trainer.load(tmp_path / "run.npz").system
    assert [str(t) for t in back.tensors] == [str(t) for t in net.system.tensors]
    for a, b in zip(net.system.tensors, back.tensors, strict=True):
        assert (a.role, a.shape) == (b.role, b.shape)
        assert sp.srepr(a.definition) == sp.srepr(b.definition)
        np.testing.assert_array_equal(np.asarray(a.init, dtype=object), np.asarray(b.init, dtype=object))
    assert back.output is not None
    again = sbp.Network(back.loss, output=back.output)
    assert again.generate("numpy") == net.generate("numpy")


def test_second_derivatives_are_equations_too():
    net = scalars()
    twice = sbp.Network(sbp.node("H", net.gradients["w_1"].symbol ** 2))
    nodes, places, arrays = write([twice.loss])
    assert read(json.loads(json.dumps(nodes)), arrays)[places[0]] is twice.loss


def test_shared_parts_are_stored_once_and_depth_does_not_matter(tmp_path):
    x, h = sbp.data("x"), sbp.data("x")
    w = sbp.weight("w", init=0.1)
    for i in range(200):
        h = sbp.node(f"h_{i}", sp.tanh(w * h) + sp.tanh(w * h) ** 2)
    net = sbp.Network(sbp.node("C", (h - x) ** 2))
    nodes, _, _ = write([net.loss])
    assert len(nodes) < 6 * 200 + 20
    trainer = net.trainer(sbp.SGD(lr=0.01))
    trainer.save(tmp_path / "deep.npz")
    resumed = sbp.Trainer.load(tmp_path / "deep.npz")
    assert resumed.step(x=0.5) == trainer.step(x=0.5)


@pytest.mark.parametrize(
    "number",
    [sp.Integer(7), -sp.Rational(3, 7), sp.Rational(10**40, 3**50), sp.Float(0.1), sp.Float("0.1", 50), sp.Float(0), sp.Float(-1e-310), sp.Float(2.0), sp.pi,
     sp.E, sp.oo, -sp.oo, sp.true, sp.EulerGamma],
)  # fmt: skip
def test_numbers_come_back_with_every_digit(number):
    nodes, places, arrays = write([number])
    back = read(json.loads(json.dumps(nodes)), arrays)[places[0]]
    assert type(back) is type(number)
    assert sp.srepr(back) == sp.srepr(number)


class cubed(sp.Function):  # noqa: N801  (SymPy calls functions by their classes)
    """A function of a user's own."""

    is_real = True

    def fdiff(self, argindex=1):
        return 3 * self.args[0] ** 2

    def _eval_expand_func(self, **hints):
        return self.args[0] ** 3


class Cubed(sbp.Optimizer):
    def rule(self, w, g, t, state):
        m = state("m")
        yield m, m / 2 + g
        yield w, w - cubed(m) / 10


def with_own_function():
    x = sbp.data("x")
    w = sbp.weight("w", init=0.7)
    return sbp.Network(sbp.node("C", cubed(w * x) ** 2))


def test_functions_of_ones_own_are_passed_to_load(tmp_path):
    data = {"x": np.array([0.5, -0.3, 0.9])}
    net = with_own_function()
    trainer = net.trainer(Cubed())
    trainer.fit(data, 2, batch_size=1, shuffle=True)
    trainer.save(tmp_path / "own.npz")
    with pytest.raises(UnsupportedError, match=r"cubed.*network="):
        sbp.Trainer.load(tmp_path / "own.npz")
    with pytest.raises(UnsupportedError, match=r"cubed.*optimizer="):
        sbp.Trainer.load(tmp_path / "own.npz", network=net)
    resumed = sbp.Trainer.load(tmp_path / "own.npz", network=net, optimizer=Cubed())
    assert resumed.fit(data, 2, batch_size=1, shuffle=True).loss == trainer.fit(data, 2, batch_size=1, shuffle=True).loss
    same(resumed.weights, trainer.weights)


def test_a_network_or_optimizer_that_does_not_fit_is_refused(tmp_path):
    trainer = scalars().trainer(sbp.SGD(lr=0.01, momentum=0.9))
    trainer.save(tmp_path / "run.npz")
    with pytest.raises(DataError, match=r"weights w_1, w_2, b.*expected W_1"):
        sbp.Trainer.load(tmp_path / "run.npz", network=tensors())
    with pytest.raises(DataError, match=r"states m.*expected m, v"):
        sbp.Trainer.load(tmp_path / "run.npz", optimizer=sbp.Adam())
    x = sbp.data("x")
    w_1, w_2, b = (sbp.weight(name, (2,)) for name in ("w_1", "w_2", "b"))
    with pytest.raises(DataError, match=r"shape"):
        sbp.Trainer.load(tmp_path / "run.npz", network=sbp.Network(sbp.node("C", sbp.sum(w_1 * w_2 * b * x))))


def rewritten(path, change):
    """The file with its header changed by `change`."""
    content = dict(np.load(path))
    header = json.loads(content["symbackprop"].tobytes())
    change(header, content)
    content["symbackprop"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    np.savez(path, **content)


DAMAGE = {
    "a weight is missing": lambda h, c: c.pop("weight.w_1"),
    "a weight of another shape": lambda h, c: c.update({"weight.w_1": np.zeros(3)}),
    "a weight of another type": lambda h, c: c.update({"weight.w_1": np.float32(1)}),
    "a state is missing": lambda h, c: c.pop("state.m.b"),
    "no network": lambda h, c: h.pop("network"),
    "another format": lambda h, c: h.update(format=99),
    "dtype": lambda h, c: h.update(dtype="object"),
    "backend": lambda h, c: h.update(backend=["numpy"]),
    "an unknown head": lambda h, c: h["network"]["nodes"].append(["__import__", 0]),
    "a head of Python": lambda h, c: h["network"]["nodes"].append(["eval", 0]),
    "a head of SymPy that is no function": lambda h, c: h["network"]["nodes"].append(["Lambda", 0, 1]),
    "a place that comes later": lambda h, c: h["network"]["nodes"].insert(0, ["Add", 3, 4]),
    "a negative place": lambda h, c: h["network"]["nodes"].append(["tanh", -1]),
    "a place that is no number": lambda h, c: h["network"]["nodes"].append(["tanh", "0"]),
    "too many arguments": lambda h, c: h["network"]["nodes"].append(["tanh", 0, 0, 0]),
    "a loss out of range": lambda h, c: h["network"].update(loss=10**6),
    "nodes no list": lambda h, c: h["network"].update(nodes={"a": 1}),
    "a name that is code": lambda h, c: rename(h, "x", "x=print(1)"),
    "a name for two things": lambda h, c: rename(h, "x", "w_1"),
    "a wrong shape of a node": lambda h, c: [n.__setitem__(3, [2]) for n in h["network"]["nodes"] if n[0] == "Tensor" and n[1] == "y"],
    "an unknown role": lambda h, c: [n.__setitem__(2, "thief") for n in h["network"]["nodes"] if n[0] == "Tensor" and n[1] == "x"],
    "an initializer that is code": lambda h, c: [n.__setitem__(5, "zeros), exit(") for n in h["network"]["nodes"] if n[0] == "Tensor" and n[1] == "w_1"],
    "steps": lambda h, c: h.update(steps="many"),
    "the state of a generator": lambda h, c: h["random"].append([0, {"bit_generator": "Dice"}]),
    "an optimizer that assigns nothing": lambda h, c: h["optimizer"].update(assignments=[]),
    "a state of the optimizer": lambda h, c: h["optimizer"].update(states=[]),
}


def rename(header, old, new):
    for node in header["network"]["nodes"]:
        if node[:2] == ["Tensor", old]:
            node[1] = new


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_is_a_data_error(name, tmp_path):
    path = tmp_path / "run.npz"
    trainer = scalars().trainer(sbp.SGD(lr=0.01, momentum=0.9))
    trainer.fit(SCALAR_DATA, 1, shuffle=True)
    trainer.save(path)
    sbp.Trainer.load(path)
    rewritten(path, DAMAGE[name])
    with pytest.raises(DataError, match=r"run\.npz"):
        sbp.Trainer.load(path)


def test_an_index_string_that_is_code_is_refused():
    nodes, _, arrays = write([sbp.einsum("ij,jk->ik", sbp.weight("A", (2, 2)), sbp.weight("B", (2, 2)))])
    assert any(node[0] == "Str" for node in nodes)
    bad = [["Str", 'ij,jk->ik", exit()) #'] if node[0] == "Str" else node for node in nodes]
    with pytest.raises(DataError, match="index string"):
        read(bad, arrays)


def test_a_file_of_another_origin_is_a_data_error(tmp_path):
    files = {"text": b"weights = 1", "empty": b"", "cut": None, "flipped": None}
    trainer = scalars().trainer(sbp.SGD(lr=0.01))
    trainer.save(tmp_path / "run.npz")
    whole = (tmp_path / "run.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "run.npz") as archive:
        at = archive.getinfo("weight.w_1.npy").header_offset + 150
    files["cut"], files["flipped"] = whole[: len(whole) // 2], whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :]
    for name, content in files.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
    np.savez(tmp_path / "foreign.npz", a=np.ones(3))
    np.save(tmp_path / "array.npz.npy", np.ones(3))
    (tmp_path / "array.npz.npy").rename(tmp_path / "array.npz")
    np.savez(tmp_path / "pickle.npz", symbackprop=np.array([{}], dtype=object))
    for name in (*files, "foreign", "array", "pickle"):
        with pytest.raises(DataError, match=rf"{name}\.npz is not a file that Trainer.save wrote, or it is damaged"):
            sbp.Trainer.load(tmp_path / f"{name}.npz")
    with pytest.raises(FileNotFoundError, match=r"absent.npz' does not exist; expected one that Trainer.save wrote") as missing:
        sbp.Trainer.load(tmp_path / "absent.npz")
    assert isinstance(missing.value, DataError)
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        sbp.Trainer.load(tmp_path)
    missing_folder = tmp_path / "nowhere" / "run.npz"
    with pytest.raises(DataError, match=r"run.npz' cannot be written: No such file or directory; nothing was saved"):
        trainer_of_one_weight().save(missing_folder)


def test_saving_replaces_the_file_at_once_and_keeps_its_name(tmp_path):
    trainer = scalars().trainer(sbp.SGD(lr=0.01))
    path = tmp_path / "run"  # no ending is added
    trainer.save(path)
    trainer.step(x=1.0, t=0.0)
    trainer.save(str(path))
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert sbp.Trainer.load(path).steps == 1
    with pytest.raises(OSError, match="absent"):
        trainer.save(tmp_path / "absent" / "run.npz")
