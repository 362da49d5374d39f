"""What a training step on arrays holds in memory, of what type it is, and the order of its equations."""

import tracemalloc
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.codegen import array_step
from symbackprop.codegen.program import training_program
from symbackprop.codegen.schedule import scheduled
from symbackprop.graph.equations import tensors_in
from symbackprop.training.engines import ArrayEngine
from symbackprop.training.feed import Batches

t = sp.Symbol("t")
OPTIMIZERS = {
    "SGD": sbp.SGD(lr=0.01),
    "momentum": sbp.SGD(lr=0.01, momentum=0.9),
    "Nesterov": sbp.SGD(lr=0.01, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "dampening": sbp.SGD(lr=0.01, momentum=0.9, dampening=0.5),
    "decay": sbp.SGD(lr=0.01, weight_decay=1e-3),
    "Adam": sbp.Adam(),
    "amsgrad": sbp.Adam(amsgrad=True, weight_decay=1e-3),
    "AdamW": sbp.AdamW(),
    "RMSprop": sbp.RMSprop(lr=1e-4),
    "centered": sbp.RMSprop(lr=1e-4, centered=True, momentum=0.9),
    "Adagrad": sbp.Adagrad(lr_decay=1e-3),
    "schedule": sbp.SGD(lr=0.01 / (1 + t / 10)),
    "roots": sbp.AdamW(lr=0.01 * sp.sqrt(t) * sp.exp(-t / 100)),
    "steps": sbp.Adam(lr=sp.Piecewise((0.01, t < 3), (0.001, True))),
}


# --- memory --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "shuffle"), [*((name, False) for name in OPTIMIZERS), ("SGD", True)])
def test_fit_holds_the_weights_their_state_the_activations_and_one_gradient(name, shuffle):
    """Within a tenth, where the activations are the values that the equations of the network name."""
    sizes, n = (784, 1024, 1024, 10), 128
    net = sbp.mlp(sizes, "relu", loss="cross_entropy")
    trainer = net.trainer(OPTIMIZERS[name], dtype="float32")
    rng = np.random.default_rng(0)
    data = {"X": rng.random((2 * n, 784), dtype="f"), "T": np.eye(10, dtype="f")[rng.integers(0, 10, 2 * n)]}
    weights = sum(w.nbytes for w in trainer.weights.values())
    state = sum(s.nbytes for values in trainer.state.values() if isinstance(values, dict) for s in values.values())
    activations = 4 * n * (1024 * 4 + 10) + 4
    gradient = max(w.nbytes for w in trainer.weights.values())
    assert trainer.source  # derived and written before the counting starts
    tracemalloc.start()
    try:
        trainer.fit(data, 2, batch_size=n, shuffle=shuffle)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    batch = n * (784 + 10) * 4 if shuffle else 0  # data, gathered
    assert weights + state + peak - batch <= 1.1 * (weights + state + activations + gradient)


def test_a_trainer_holds_its_weights_and_state_once():
    tracemalloc.start()
    try:
        trainer = sbp.mlp((1024, 2048, 1), "tanh", loss="mse").trainer(sbp.Adam(), dtype="float32")
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    weights = sum(w.nbytes for w in trainer.weights.values())
    assert 3 * weights < held < 3.2 * weights


# --- types ---------------------------------------------------------------------------------------------------------------


class Watched:
    """NumPy for generated code, which notes the types of what every call on arrays takes and gives."""

    def __init__(self, thing, seen):
        self.thing, self.seen = thing, seen

    def __getattr__(self, name):
        found = getattr(self.thing, name)
        return Watched(found, self.seen) if callable(found) and not isinstance(found, type) else found

    def __call__(self, *args, **kwargs):
        result = self.thing(*args, **kwargs)
        values = [*args, *kwargs.values()]
        if any(isinstance(x, np.ndarray) for x in values):
            self.seen.update(x.dtype for x in [*values, result] if isinstance(x, (np.ndarray, np.generic)))
        return result


def networks():
    X, T, labels = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2)), sbp.data("k", ("n",))
    W, b, s = sbp.weight("W", (3, 2)), sbp.weight("b", 2), sbp.weight("s", init=0.5)
    Z = sbp.node("Z", s * X @ W + b)
    return {
        "softmax": sbp.Network(sbp.cross_entropy(Z, labels)),
        "one-hot": sbp.Network(sbp.cross_entropy(sp.tanh(Z), T)),
        "relu": sbp.Network(sbp.mse(sbp.relu(Z) ** 3 / 7, T)),
        "sigmoid": sbp.Network(sbp.binary_cross_entropy_with_logits(Z * sp.pi, T)),
        "pieces": sbp.Network(sbp.mse(sp.Piecewise((Z / 3, sp.Rational(1, 3) > Z), (2, True)) + sp.Abs(Z) + sp.erf(Z), T)),
    }


FED = {"X": np.arange(12.0).reshape(4, 3) / 10, "T": np.eye(2)[[0, 1, 1, 0]], "k": np.array([0, 1, 1, 0])}


def types_of(net, optimizer, dtype):
    trainer = net.trainer(optimizer, dtype=dtype)
    engine = ArrayEngine(trainer.system, trainer.rule, dtype)
    seen = set()
    numpy = engine._build.__globals__["np"]
    engine._build.__globals__["np"] = Watched(np, seen)
    try:
        feed = trainer._check({name: value for name, value in FED.items() if name in set(net.data)})
        done = engine.run(trainer._arrays, trainer.state, feed, Batches(4, 2)).updates
    finally:
        engine._build.__globals__["np"] = numpy
    assert done == 2
    seen |= {w.dtype for w in trainer.weights.values()}
    return {d for d in seen if d.kind == "f"}


@pytest.mark.parametrize("case", networks())
def test_nothing_in_a_step_is_wider_than_the_weights(case):
    for optimizer in OPTIMIZERS.values():
        assert types_of(networks()[case], optimizer, "float32") == {np.dtype("float32")}
    assert types_of(networks()[case], sbp.SGD(), "float64") == {np.dtype("float64")}


# --- order ---------------------------------------------------------------------------------------------------------------


def program_of(net, optimizer):
    return training_program(net.system, optimizer.equations())


def faults(program):
    """Equations that read what is not there yet, or what has been written over; updates before the loss is known."""
    defined = {symbol for symbol, _ in program.equations}
    there, current, found = set(), {}, []
    for symbol, expr in program.equations:
        for read in tensors_in(expr):
            place = program.places.get(read, read)
            if (read in defined and read not in there) or current.get(place, read) is not read:
                found.append((symbol, read))
        there.add(symbol)
        if symbol in program.places:
            current[program.places[symbol]] = symbol
            found += [(symbol, program.system.loss)] if program.system.loss not in there else []
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_order_lets_every_equation_read_what_it_means(name):
    for net in [*networks().values(), sbp.mlp((2, 3, 3, 1), "tanh", loss="mse")]:
        program = program_of(net, OPTIMIZERS[name])
        ordered = scheduled(program)
        assert Counter(ordered.equations) == Counter(program.equations)
        assert not faults(ordered)


def test_a_wrong_order_is_found():
    program = scheduled(program_of(sbp.mlp((2, 3, 1), "tanh", loss="mse"), sbp.SGD()))
    updates = [i for i, e in enumerate(program.equations) if e.symbol in program.places]
    for i in updates:  # each update moved to the front, and the equation before each moved behind it
        moved = [program.equations[i], *program.equations[:i], *program.equations[i + 1 :]]
        assert faults(replace(program, equations=moved))
    late = program.equations[::-1]
    assert faults(replace(program, equations=late))


def test_a_gradient_is_used_up_before_the_next_large_one_is_computed():
    program = scheduled(program_of(sbp.mlp((5, 6, 7, 8, 1), "tanh", loss="mse"), sbp.Adam()))
    place = {symbol: i for i, (symbol, _) in enumerate(program.equations)}
    last = {read: i for i, (_, expr) in enumerate(program.equations) for read in tensors_in(expr)}
    matrices = sorted((place[g], last[g]) for g, w in program.gradients.items() if w.rank == 2)
    assert len(matrices) == 4
    assert all(end < start for (_, end), (start, _) in pairwise(matrices))


# --- blocks of rows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_update_in_blocks_of_rows_is_the_same_update(name, monkeypatch):
    """13 rows in blocks of 5, 5 and 3, against all at once; bit for bit, since every entry is computed alike."""
    results = []
    for block in (20, 10**9):
        monkeypatch.setattr(array_step, "BLOCK", block)
        trainer = sbp.mlp((13, 4, 1), "tanh", loss="mse").trainer(OPTIMIZERS[name], seed=3)
        rng = np.random.default_rng(0)
        trainer.fit({"X": rng.random((6, 13)), "T": rng.random((6, 1))}, 3, batch_size=2)
        results.append((trainer._engine(2).source, {n: w.copy() for n, w in trainer.weights.items()}))
    (small, found), (whole, expected) = results
    assert "_parts" not in whole
    assert ("_parts" in small) == (len(OPTIMIZERS[name].equations().assignments) > 1)
    for weight, value in expected.items():
        np.testing.assert_array_equal(found[weight], value)
