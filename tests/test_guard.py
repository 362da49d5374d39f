"""The way back to the last weights whose loss was finite, from a snapshot that may lie many epochs behind."""

import numpy as np
import pytest

import symbackprop as sbp
from symbackprop import TrainingDivergedError
from symbackprop.training import guard

DATA = {"x": np.array([1.0, 2.0, 3.0]), "t": np.zeros(3)}


def line():
    x, t = sbp.data("x t")
    w = sbp.weight("w", init=1.0)
    return sbp.Network(sbp.node("C", (w * x - t) ** 2))


def wide(size):
    """Written for one sample; its weights are as large as one likes."""
    x = sbp.data("x")
    return sbp.Network(sbp.node("C", sbp.sum((sbp.weight("w", size, init=1.0) * x) ** 2)))


def replayed(trainer, steps, batches, data):
    """The trainer after so many updates, one after the other, by `step`."""
    while True:
        for batch in batches():
            if trainer.steps == steps:
                return trainer
            trainer.step(**{name: data[name][batch] for name in data})


@pytest.fixture
def snapshots(monkeypatch):
    """The update numbers of the snapshots that were taken, by a clock that ticks when it is read: a snapshot costs a tick, an epoch none."""
    ticks = iter(range(10**9))
    taken = []

    class Counted(guard.Snapshot):
        def __init__(self, trainer):
            taken.append(trainer.steps)
            super().__init__(trainer)

    monkeypatch.setattr(guard, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(guard, "Snapshot", Counted)
    return taken


@pytest.mark.parametrize("batch_size", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_way_back_is_exact_however_far_the_snapshot_lies_behind(batch_size, shuffle, snapshots):
    diverged = line().trainer(sbp.SGD(lr=0.3, momentum=0.01), backend="numpy")
    with pytest.raises(TrainingDivergedError, match="not finite at update"):
        diverged.fit(DATA, 100_000, batch_size=batch_size, shuffle=shuffle, seed=7)
    generator = np.random.default_rng(7)

    def batches():
        order = generator.permutation(3) if shuffle else np.arange(3)
        return [order[i : i + batch_size] for i in range(0, 3, batch_size)]

    replay = replayed(line().trainer(sbp.SGD(lr=0.3, momentum=0.01), backend="numpy"), diverged.steps, batches, DATA)
    assert diverged.steps > 100
    assert diverged.weights["w"] == replay.weights["w"]
    assert diverged.state["m"]["w"] == replay.state["m"]["w"]
    epochs = diverged.steps // -(-3 // batch_size)
    assert 1 < len(snapshots) <= 2 + epochs * guard.SHARE


@pytest.mark.parametrize("size", [3, 2**18])  # in memory, and in a file
def test_large_and_small_weights_come_back(size):
    data = {"x": np.array([1.0, 2.0])}
    diverged = wide(size).trainer(sbp.SGD(lr=3.0, momentum=0.5), backend="numpy")
    with pytest.raises(TrainingDivergedError, match="not finite"):
        diverged.fit(data, 1000, batch_size=1)
    replay = replayed(wide(size).trainer(sbp.SGD(lr=3.0, momentum=0.5), backend="numpy"), diverged.steps, lambda: [[0], [1]], data)
    assert diverged.steps > 50
    np.testing.assert_array_equal(diverged.weights["w"], replay.weights["w"])
    np.testing.assert_array_equal(diverged.state["m"]["w"], replay.state["m"]["w"])


def test_what_a_callback_does_to_the_weights_is_part_of_the_way(snapshots):
    def halve(trainer, history):
        trainer.weights["w"] = trainer.weights["w"] / 2

    diverged = line().trainer(sbp.SGD(lr=1.1), backend="numpy")
    with pytest.raises(TrainingDivergedError):
        diverged.fit(DATA, 1000, batch_size=1, callbacks=[halve])
    replay = line().trainer(sbp.SGD(lr=1.1), backend="numpy")
    while replay.steps < diverged.steps:
        replay.step(x=DATA["x"][replay.steps % 3], t=0.0)
        if replay.steps % 3 == 0 and replay.steps < diverged.steps:
            halve(replay, None)
    assert diverged.steps > 100
    np.testing.assert_allclose(diverged.weights["w"], replay.weights["w"], rtol=1e-12)
    assert len(snapshots) == diverged.steps // 3 + 1
