"""The pieces of compiled steps: those of random programs against Python's own run of the whole, and the steps of networks against NumPy's."""

import io
import os
import sys

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.layout import fold
from symbackprop.codegen.pieces import Memory, Variables, piece
from symbackprop.training import native, steps
from symbackprop.training.native import NativeEngine

machine = pytest.importorskip("symbackprop.codegen.machine")

NAMES = "abcde"


@st.composite
def statements(draw):
    """A few statements of the kinds that steps have: what is computed, what is added to, what is stored, loops over these."""
    found = []
    for _ in range(draw(st.integers(1, 8))):
        target, x, y = (draw(st.sampled_from(NAMES)) for _ in range(3))
        plain = [f"{target} = {x} + size * {y}", f"{target} += {x}", f"store[{draw(st.integers(0, 3))}] = {x} - {y}", f"{target}, {x} = {y}, store[1]"]
        line = draw(st.sampled_from(plain))
        found += [f"for i in range({draw(st.integers(1, 3))}):", f"    {line}", f"    {draw(st.sampled_from(plain))}"] if draw(st.booleans()) else [line]
    return found


def by_hand(lines):
    """The numbers and the array after the lines."""
    names = {name: k + 1.0 for k, name in enumerate(NAMES)} | {"store": np.arange(5.0, 9.0), "size": 4, "range": range}
    exec("\n".join(lines), names)
    return [*(names[name] for name in NAMES), *names["store"]]


def as_pieces(parts, alias="store"):
    """The same by pieces on a table of memory, one a part. `alias`: the place of the array."""
    numbers, store = np.arange(1.0, 6.0), np.arange(5.0, 9.0)
    memory = {name: Memory(name, ()) for name in NAMES} | {"store": Memory(alias, ("size",))}
    table = {name: numbers[k:].ctypes.data for k, name in enumerate(NAMES)} | {"store": store.ctypes.data, "size": 4}
    for lines in parts:
        made = piece(lines, memory, {"size"}, {})
        names = {"view": machine.view, "real": np.float64}
        exec(made.text, names)
        names["piece"](np.array([table[place] for place in made.places], np.int64), np.arange(len(made.places)))
    return [*numbers, *store]


@given(st.lists(statements(), min_size=1, max_size=4))
def test_pieces_of_a_program_do_what_the_whole_does(parts):
    np.testing.assert_array_equal(as_pieces(parts), by_hand([line for lines in parts for line in lines]))


def test_a_wrong_place_is_seen():
    """The planted error: a piece that writes the array writes elsewhere."""
    with pytest.raises(KeyError, match="elsewhere"):
        as_pieces([["store[0] = a"]], "elsewhere")
    assert as_pieces([["store[0] = a"]]) != by_hand(["store[0] = b"])


def test_what_is_read_is_what_comes_from_outside():
    found = Variables(["total = 0.0", "for i in range(n):", "    held = x[i] * s", "    total += held", "    y[i] = held", "s = s + total"])
    assert list(found.reads) == ["range", "n", "s", "x", "y"]
    assert list(found.sets) == ["total", "i", "held", "s"]


def test_pieces_that_differ_in_names_alone_are_one():
    memory = {name: Memory(name, ("n",)) for name in ("X", "Y", "Z_1", "b")} | {"total": Memory("total", ()), "sum_": Memory("sum_", ())}
    first = piece(["for i in range(n):", "    X[i] = Y[i] * total"], memory, {"n"}, {})
    second = piece(["for j in range(n):", "    Z_1[j] = b[j] * sum_"], memory, {"n"}, {})
    assert first.text == second.text
    assert (first.places, second.places) == (("n", "X", "total", "Y"), ("n", "Z_1", "sum_", "b"))
    assert piece(["for i in range(n):", "    X[i] = X[i] * total"], memory, {"n"}, {}).text != first.text
    assert piece(["for i in range(n):", "    X[i] = Y[i] / total"], memory, {"n"}, {}).text != first.text


def test_two_names_of_one_array_are_one_variable():
    """Else the compiler would have to ask whether the two overlap, at every call."""
    memory = {"X": Memory("X", ("n",)), "Y": Memory("X", ("n",))}
    assert piece(["for i in range(n):", "    Y[i] = X[i] + 1"], memory, {"n"}, {}).text.count("view(") == 1


# --- steps -------------------------------------------------------------------------------------------------------------------


def letters(layers=1, units=4):
    """A whole transformer: letters, places, and blocks of normalised causal heads and a normalised layer between residuals."""
    words, following = sbp.data("letters", ("n", "t")), sbp.data("following", ("n", "t"))
    x = sbp.node("P", sbp.embedding(words, 5, units) + sbp.positional_encoding("t", units))
    for k in range(layers):
        y = sbp.node(f"Residual_{k}", x + sbp.multi_head_attention(sbp.layer_norm(x), 2, causal=True))
        x = sbp.node(f"Block_{k}", y + sbp.dense(sbp.dense(sbp.layer_norm(y), 2 * units, "gelu"), units))
    logits = sbp.dense(x, 5, name="out")
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, following)), output=logits)


LETTERS = np.random.default_rng(7).integers(0, 5, (2, 10, 6))
TEXTS = {"letters": LETTERS[0], "following": LETTERS[1]}


def lone():
    """Weights and data that are numbers, kept as variables from step to step; a state that is written and never read."""
    x, a = sbp.data("X", ("n", 3)), sbp.data("a")
    h = sbp.batch_norm(sp.tanh(sbp.weight("s") * sbp.dense(x, 2) + a * sbp.weight("b")), momentum=1)
    return sbp.Network(sbp.mean(h**2) + sbp.mean(sbp.dense(h, 1, "tanh")))


ROWS = np.random.default_rng(3).normal(size=(10, 3))
STEPS = {
    "transformer": (letters, sbp.SGD(0.1, momentum=0.9), TEXTS),
    "numbers": (lone, sbp.Adam(0.05), {"X": ROWS, "a": 0.5}),
    "layers": (lambda: sbp.mlp((3, 4, 5, 2), "tanh", loss="mse"), sbp.RMSprop(0.01, centered=True), {"X": ROWS, "T": ROWS[:, :2]}),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_of_pieces_is_the_step_of_numpy(name, interpreted, monkeypatch):
    """The source run by Python. A batch has fewer than 100 terms a sum: rounding."""
    monkeypatch.delenv("COMPILE_ALL", raising=False)
    build, optimizer, data = STEPS[name]
    net = build()
    losses, found = interpreted(net, optimizer, net.initialize(1), data, size=4)
    plain = net.trainer(optimizer, weights=net.initialize(1), backend="numpy")
    history = plain.fit(data, epochs=1, batch_size=4)
    np.testing.assert_allclose(losses, history.loss, rtol=1e-12)
    for weight, value in plain.weights.items():
        np.testing.assert_allclose(found.weights[weight], value, rtol=1e-12, atol=1e-12, err_msg=weight)


def test_blocks_of_a_transformer_share_their_pieces():
    """A second block, of the same layers, is made of the pieces of the first."""
    engines = [NativeEngine((trainer := letters(layers).trainer(sbp.SGD(0.1))).system, trainer.rule, "float64") for layers in (2, 3)]
    two, three = (engine.code(4).native for engine in engines)
    assert len(three.operations) > 1.3 * len(two.operations)
    assert set(two.pieces) == set(three.pieces)


@pytest.mark.skipif(not os.environ.get("COMPILE_ALL") or not native.installed(), reason="compiles for half a minute: COMPILE_ALL=1")
def test_a_compiled_transformer_equals_numpys():
    """Two epochs with a smaller last batch, at rounding: every sum has fewer than 100 terms, and there are 6 updates."""
    net = letters()
    pair = [net.trainer(sbp.SGD(0.1, momentum=0.9), seed=2, backend=backend) for backend in ("numba", "numpy")]
    compiled, plain = (one.fit(TEXTS, epochs=2, batch_size=4) for one in pair)
    np.testing.assert_allclose(compiled.loss, plain.loss, rtol=1e-12)
    for name, value in pair[1].weights.items():
        np.testing.assert_allclose(pair[0].weights[name], value, rtol=1e-12, atol=1e-12, err_msg=name)


# --- what is said ---------------------------------------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_is_shown_on_a_terminal_where_it_takes_long(monkeypatch):
    pytest.importorskip("tqdm")
    for terminal, quiet, spoken in ((Terminal(), 0, True), (Terminal(), 1000, False), (io.StringIO(), 0, False)):
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setattr(steps, "QUIET", quiet)
        assert list(steps.shown(["a", "b"])) == ["a", "b"]
        assert ("compiling" in terminal.getvalue()) == spoken


# --- sums ----------------------------------------------------------------------------------------------------------------------


def test_entries_that_no_window_reads_have_gradient_zero(interpreted, monkeypatch):
    """The one window of two entries leaves out the third; memory that was never written holds anything."""
    monkeypatch.setattr(np, "empty", lambda shape, dtype=float: np.full(shape, 85, dtype))  # bytes that make numbers far from 0
    x, c = sbp.weight("x", (5, 6, 3)), sbp.weight("c", (5, 6, 1))
    net = sbp.Network(sbp.node("C", sbp.sum(c * sbp.max_pool1d(x, 2))))
    weights = net.initialize(2) | {"x": np.tile([1.0, 2.0, 3.0], (5, 6, 1)), "c": np.arange(1.0, 31.0).reshape(5, 6, 1)}
    _, found = interpreted(net, sbp.SGD(1.0), weights, {}, size=1)
    expected = weights["x"].copy()
    expected[:, :, 1:2] -= weights["c"]  # the largest in its window
    np.testing.assert_allclose(found.weights["x"], expected, rtol=1e-12)


def test_long_lines_that_store_are_broken_behind_what_they_store():
    line = f"    a[i, 2 * (j + k)] += {' * '.join(f'factor_{n}[i, j]' for n in range(12))}"
    compile(f"def f():\n{fold(line)}", "folded", "exec")
    assert fold(line).splitlines()[0] == "    a[i, 2 * (j + k)] += ("
