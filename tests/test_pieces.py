"""A long step in pieces does what it does in one: pieces of random programs against Python's own run of the whole, and the steps of networks."""

import os

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen import native_step, pieces
from symbackprop.codegen.pieces import Variables, function, grouped
from symbackprop.training import native

NAMES = "abcde"


@st.composite
def statements(draw):
    """A few statements of the kinds that steps have: what is computed, what is added to, what is stored, loops over these."""
    found = []
    for _ in range(draw(st.integers(1, 8))):
        target, x, y = (draw(st.sampled_from(NAMES)) for _ in range(3))
        plain = [f"{target} = {x} + 2 * {y}", f"{target} += {x}", f"store[{draw(st.integers(0, 3))}] = {x} - {y}", f"{target}, {x} = {y}, store[1]"]
        line = draw(st.sampled_from(plain))
        found.append([f"for i in range({draw(st.integers(1, 3))}):", f"    {line}", f"    {draw(st.sampled_from(plain))}"] if draw(st.booleans()) else [line])
    return found


def ran(lines, functions=()):
    """The variables after the lines, with all variables set before."""
    names = {name: k + 1 for k, name in enumerate(NAMES)} | {"store": [5, 6, 7, 8], "range": range}
    exec("\n".join([*functions, *lines]), names)
    return {name: names[name] for name in [*NAMES, "store"]}


@given(st.lists(statements(), min_size=1, max_size=4))
def test_pieces_of_a_program_do_what_the_whole_does(parts):
    parts = [[line for statement in part for line in statement] for part in parts]
    needed = {*NAMES, "store"}  # all of them are looked at in the end
    made = [function(f"piece_{k}", part, needed, needed) for k, part in enumerate(parts)]
    calls = [line for _, call in made for line in call]
    assert ran(calls, [text for text, _ in made]) == ran([line for part in parts for line in part])


def test_what_is_read_is_what_comes_from_outside():
    found = Variables(["total = 0.0", "for i in range(n):", "    held = x[i] * s", "    total += held", "    y[i] = held", "s = s + total"])
    assert list(found.reads) == ["range", "n", "s", "x", "y"]
    assert list(found.sets) == ["total", "i", "held", "s"]
    text, (call,) = function("f", ["s = s + x"], {"s", "x"}, {"y"})
    assert call == "f(s, x)"  # the planted error: nobody is said to need s
    assert "return" not in text


@given(st.lists(st.integers(1, 100), max_size=60))
def test_groups_are_of_about_one_length(lengths):
    parts = [[f"x_{k}"] * length for k, length in enumerate(lengths)]
    groups = grouped(parts)
    assert [line for group in groups for line in group] == [line for part in parts for line in part]
    assert all(len(group) <= pieces.LENGTH + max(lengths) for group in groups)
    assert len(groups) <= -(-sum(lengths) // pieces.LENGTH)


# --- steps -------------------------------------------------------------------------------------------------------------------


def letters(layers=1, units=4):
    """A whole transformer: letters, places, and blocks of normalised causal heads and a normalised layer between residuals."""
    words, following = sbp.data("letters", ("n", "t")), sbp.data("following", ("n", "t"))
    x = sbp.node("P", sbp.embedding(words, 5, units) + sbp.positional_encoding("t", units))
    for k in range(layers):
        y = sbp.node(f"Y_{k}", x + sbp.multi_head_attention(sbp.layer_norm(x), 2, causal=True))
        x = sbp.node(f"F_{k}", y + sbp.dense(sbp.dense(sbp.layer_norm(y), 2 * units, "gelu"), units))
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
def test_a_step_in_pieces_is_the_same_step(name, interpreted, monkeypatch):
    """Bit for bit, the source run by Python: in pieces of a few lines, and in one."""
    monkeypatch.delenv("COMPILE_ALL", raising=False)
    build, optimizer, data = STEPS[name]
    found = []
    for long, length in ((10**9, 1), (0, 4)):
        monkeypatch.setattr(native_step, "LONG", long)
        monkeypatch.setattr(pieces, "LENGTH", length)
        net = build()
        loss, trainer = interpreted(net, optimizer, net.initialize(1), data, size=4)
        found.append((loss, {k: v.copy() for k, v in trainer.weights.items()}))
    (whole_loss, whole), (loss, cut) = found
    assert loss == whole_loss
    for weight, value in whole.items():
        assert np.array_equal(cut[weight], value), weight


@pytest.mark.skipif(not os.environ.get("COMPILE_ALL") or not native.installed(), reason="compiles for half a minute: COMPILE_ALL=1")
def test_a_compiled_transformer_equals_numpys():
    """Two epochs with a smaller last batch, at rounding: every sum has fewer than 100 terms, and there are 6 updates."""
    net = letters()
    pair = [net.trainer(sbp.SGD(0.1, momentum=0.9), seed=2, backend=backend) for backend in ("numba", "numpy")]
    compiled, plain = (one.fit(TEXTS, epochs=2, batch_size=4) for one in pair)
    assert "def backward_4(" in pair[0].source
    np.testing.assert_allclose(compiled.loss, plain.loss, rtol=1e-12)
    for name, value in pair[1].weights.items():
        np.testing.assert_allclose(pair[0].weights[name], value, rtol=1e-12, atol=1e-12, err_msg=name)
