"""Matrices over all weights that no machine has the memory for: one error that names them, instead of what NumPy says."""

import re

import numpy as np
import pytest

import symbackprop as sbp
from symbackprop.errors import UnsupportedError

WIDE = 3000  # 9 million numbers: a square matrix of them takes more than the 2^47 bytes that a process can address, so no machine lends them
COUNT = WIDE**2 + WIDE
X, W, b = sbp.data("X", ("n", WIDE)), sbp.weight("W", (WIDE, WIDE)), sbp.weight("b", (WIDE,))
NET = sbp.Network(sbp.node("C", sbp.mean((sbp.node("y", X @ W + b)) ** 2)))
DATA = {"X": np.ones((2, WIDE))}
SAID = f"memory is too small .*W \\({WIDE}, {WIDE}\\), b \\({WIDE},\\) have {COUNT} entries, .* shape \\({COUNT}, {COUNT}\\) takes {8e-9 * COUNT**2:.3g} GB"


@pytest.fixture(scope="module")
def weights():
    return {"W": np.zeros((WIDE, WIDE)), "b": np.ones(WIDE)}


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton", "fisher"])
def test_a_matrix_over_all_weights(kind, weights):
    found = getattr(NET, kind)()
    for call in (found, found.matrix):
        with pytest.raises(UnsupportedError, match=SAID.replace("+", r"\+") + " in float64; .*wrt=.*hessian_vector_product"):
            call(weights, **DATA)


def test_what_the_error_advises_is_possible(weights):
    """The mean of y² over 2 × WIDE entries, with y = 1 and X = 1: the second derivative in b is 2 / WIDE on the diagonal; H v for v = 1 in b."""
    np.testing.assert_allclose(NET.hessian("b").matrix(weights, **DATA), 2 / WIDE * np.eye(WIDE), rtol=1e-12)
    product = NET.hessian_vector_product()(weights, {"W": np.zeros((WIDE, WIDE)), "b": np.ones(WIDE)}, **DATA)
    np.testing.assert_allclose(product["b"], np.full(WIDE, 2 / WIDE), rtol=1e-12)
    np.testing.assert_allclose(product["W"], np.full((WIDE, WIDE), 2 / WIDE), rtol=1e-12)


@pytest.mark.parametrize("optimizer", [sbp.Newton(), sbp.GaussNewton(), sbp.LevenbergMarquardt()], ids=lambda o: type(o).__name__)
def test_training_with_such_a_matrix(optimizer, weights):
    trainer = NET.trainer(optimizer, weights=weights)
    with pytest.raises(UnsupportedError, match=f"{type(optimizer).__name__}: {SAID}".replace("+", r"\+") + " in float64; .*Adam"):
        trainer.fit(DATA, epochs=1)
    assert trainer.steps == 0


def test_other_ends_of_memory_are_not_taken_for_this_one(monkeypatch):
    net = sbp.mlp((2, 3, 1), "tanh", loss="mse")
    trainer = net.trainer(sbp.SGD(0.1), backend="numpy")
    data = {"X": np.ones((4, 2)), "T": np.ones((4, 1))}

    def full(*_):
        raise MemoryError("full")

    monkeypatch.setattr(type(trainer._engine(4)), "run", full)
    with pytest.raises(MemoryError, match=re.escape("full")):
        trainer.step(**data)
