"""Checks that check: what was planted once stays found."""

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop import check
from symbackprop.training.slopes import slope


@pytest.fixture(scope="module")
def large():
    X, A = sbp.data("X", ("n", 40)), sbp.weight("A", (40, 40))
    net = sbp.Network(sbp.node("C", sbp.mean(sp.tanh(X @ A) ** 2)))
    rng = np.random.default_rng(0)
    weights, data = {"A": rng.normal(size=(40, 40)) * 0.3}, {"X": rng.normal(size=(6, 40))}
    return net, weights, data, net.value_and_gradients(weights, **data)[1]["A"]


def test_right_gradients_pass(large):
    net, weights, data, g = large
    assert sbp.check_gradients(net, weights, data).ok
    assert sbp.check_gradients(net, weights, data, gradients={"A": g}).ok


@pytest.mark.parametrize("seed", range(5))
def test_half_a_per_mille_in_any_entry_of_a_large_weight_is_found(large, seed):
    net, weights, data, g = large
    wrong = g.copy()
    wrong[tuple(np.random.default_rng(seed).integers(0, 40, 2))] *= 1.0005
    report = sbp.check_gradients(net, weights, data, gradients={"A": wrong})
    assert not report.ok
    assert 1e-6 < report.max_relative_error < 6e-4


def test_a_network_of_millions_of_numbers_is_compared_at_few_entries_and_in_directions(monkeypatch):
    x, w, v = sbp.data("x", (10**6,)), sbp.weight("w", (10**6,), init=0.5), sbp.weight("v", (300,), init=0.5)
    net = sbp.Network(sbp.sum((w * x) ** 2) * sbp.sum(sp.tanh(v)))
    calls = []
    monkeypatch.setattr(check, "WORK", 10**7)
    monkeypatch.setattr(check, "slope", lambda *arguments: calls.append(1) or slope(*arguments))
    assert sbp.check_gradients(net).ok
    assert 2 * (check.FEWEST + check.DIRECTIONS) <= len(calls) < 50

    def wrong(weights, **data):
        g = net.value_and_gradients(weights, **data)[1]
        g["w"][123_456] *= 2
        return g

    assert not sbp.check_gradients(net, gradients=wrong).ok


def test_columns_of_zeros_are_found(large):
    net, weights, data, g = large
    wrong = g.copy()
    wrong[:, 1:8] = 0
    assert not sbp.check_gradients(net, weights, data, gradients={"A": wrong}).ok


def test_the_generated_check_sees_every_entry(large, run_module):
    net, *_ = large
    source = net.generate()
    line = "    dC_dA = "
    assert source.count(line) == 1
    planted = source.replace('        "A": dC_dA,', '        "A": np.where(np.arange(40) % 40 == 17, 0, dC_dA),')
    assert planted != source
    assert run_module(source)["check_gradients"]() < 1e-6
    assert run_module(planted)["check_gradients"]() > 1e-2


def test_a_small_gradient_beside_a_large_one():
    w, v = sbp.weight("w v")
    net = sbp.Network(sbp.node("C", 1e10 * w**2 + v**2))
    at = {"w": 0.5, "v": 0.5}
    assert sbp.check_gradients(net, at, {}, gradients={"w": np.array(1e10), "v": np.array(1.0)}).ok
    assert not sbp.check_gradients(net, at, {}, gradients={"w": np.array(1e10), "v": np.array(1.0005)}).ok


def test_a_weight_near_a_singularity():
    net = sbp.Network(sbp.node("C", sp.log(sbp.weight("w"))))
    assert sbp.check_gradients(net, {"w": 1e-5}).ok


def test_no_gradients_are_no_success():
    net = sbp.Network(sbp.node("C", sbp.weight("w") ** 2))
    with pytest.raises(sbp.NetworkError, match="no gradients"):
        sbp.check_gradients(net, gradients={})


@pytest.mark.parametrize("loss", [lambda w, x: (x - 1) ** 2 + w, lambda w, x: w, lambda w, x: sp.pi * w], ids=["plus w", "w", "pi w"])
def test_a_gradient_that_is_a_number(loss, run_module):
    net = sbp.Network(sbp.node("C", loss(sbp.weight("w"), sbp.data("x"))))
    assert run_module(net.generate())["check_gradients"]() < 1e-6


def test_chains_through_a_maximum():
    A = sbp.weight("A", (2, 2))
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.max(sbp.node("Y", A @ A), axis=1))))
    values = {"A": np.array([[0.3, 2.0], [0.5, 0.7]])}
    # Y = [[1.09, 2.0], [0.5, 1.49]]: the maxima are Y_01 and Y_11, so C = A_00 A_01 + A_01 A_11 + A_10 A_01 + A_11^2.
    by_hand = np.array([[2.0, 0.3 + 0.7 + 0.5], [2.0, 2.0 + 1.4]])
    for index in np.ndindex(2, 2):
        assert float(sbp.evaluate(net.gradients["A"][index].chain, values)) == pytest.approx(by_hand[index], rel=1e-12)


@pytest.mark.parametrize("root", [sp.Rational(1, 4), sp.Rational(1, 3)])
def test_roots_of_negative_numbers_are_not_complex_training(root):
    v, x = sbp.weight("v"), sbp.data("x")
    trainer = sbp.Network(sbp.node("C", v**2 + abs(x**root) * v)).trainer(sbp.SGD(lr=0.1), weights={"v": 1.0})
    with pytest.raises(sbp.TrainingDivergedError):
        trainer.step(x=-4.0)
    assert trainer.weights["v"] == 1.0


HOSTILE = "__import__('os').system('touch hostile')"


@pytest.mark.parametrize(
    "call",
    [
        lambda: sbp.sigmoid(HOSTILE),
        lambda: sbp.relu(HOSTILE),
        lambda: sbp.silu(HOSTILE),
        lambda: sbp.softplus(HOSTILE),
        lambda: sbp.evaluate(HOSTILE, {}),
        lambda: sbp.evaluate(sp.Symbol(HOSTILE), {}),
        lambda: sbp.evaluate(sp.Function(HOSTILE + " or abs")(sbp.weight("w")), {"w": 1.0}),
        lambda: sbp.node("C", HOSTILE),
        lambda: sbp.data(HOSTILE),
        lambda: sbp.sum(HOSTILE),
        lambda: sbp.weight("w", init=HOSTILE) and sbp.Network(sbp.node("C", sbp.weight("w", init=HOSTILE))).generate(),
    ],
)
def test_text_is_never_run(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(sbp.SymbackpropError):
        call()
    assert list(tmp_path.iterdir()) == []


def test_labels_used_at_two_sizes_must_fit_the_smaller(run_module):
    ix = sbp.data("ix", "n")
    E, F = sbp.weight("E", (3, 2)), sbp.weight("F", (5, 2))
    net = sbp.Network(sbp.node("C", sbp.mean(sbp.take(E, ix) * sbp.take(F, ix))))
    assert run_module(net.generate())["check_gradients"]() < 1e-6
    with pytest.raises(sbp.DataError, match="0 to 2"):
        net.value_and_gradients({"E": np.ones((3, 2)), "F": np.ones((5, 2))}, ix=[0, 4])


def test_data_and_weights_keep_their_order_after_later_declarations():
    X, T = sbp.data("X", ("n", 2)), sbp.data("T", "n")
    W, b = sbp.weight("W", 2), sbp.weight("b")
    net = sbp.Network(sbp.node("C", sbp.mean(sp.log(1 + sp.exp(X @ W + b)) - T * (X @ W))))
    before = net.generate()
    sbp.weight("W", 2), sbp.data("X", ("n", 2))
    assert net.generate() == before
    assert before.index('"W"') < before.index('"b"')


def test_the_order_of_data_and_weights_is_that_of_the_equations():
    T, b = sbp.data("T", ("n", 2)), sbp.weight("b")  # declared before, in another order
    X, W = sbp.data("X", ("n", 3)), sbp.weight("W", (3, 2))
    Y = sbp.node("Y", X @ W)
    net = sbp.Network(sbp.node("C", sbp.mse(Y, T) + b**2))
    assert (list(net.data), list(net.weights)) == (["X", "T"], ["W", "b"])


def test_remainders():
    x, w = sbp.data("x", "n"), sbp.weight("w")
    net = sbp.Network(sbp.node("C", sbp.sum(sp.Mod(w * x, 2) * x + sp.Mod(w, 3))))
    xs = np.array([0.3, 1.7, -2.2])
    loss, gradients = net.value_and_gradients({"w": 1.9}, x=xs)
    assert loss == pytest.approx(float((np.mod(1.9 * xs, 2) * xs + 1.9).sum()), rel=1e-14)
    assert float(gradients["w"]) == pytest.approx(float((xs * xs + 1).sum()), rel=1e-14)  # the slope of a remainder is 1


@pytest.mark.parametrize(
    ("spec", "a", "b"),
    [("...i,...i->...", (3, 4, 3), (1, 3)), ("ij,ij->ij", (3, 1), (3, 4)), ("ij,jk->ik", (2, 1), (3, 4))],
)
def test_einsum_repeats_unit_axes_as_numpy_does(spec, a, b):
    A, B = sbp.weight("A", a), sbp.data("B", b)
    rng = np.random.default_rng(0)
    va, vb = rng.normal(size=a), rng.normal(size=b)
    found = np.array(sbp.evaluate(sbp.einsum(spec, A, B), {"A": va, "B": vb}), dtype=float)
    np.testing.assert_allclose(found, np.einsum(spec, va, vb), rtol=1e-12)


def test_roots_that_are_never_real_are_refused():
    with pytest.raises(sbp.UnsupportedError, match="complex"):
        sbp.node("C", sp.sqrt(-1 - sbp.weight("w") ** 2))


def test_a_part_that_complex_steps_cannot_see_is_not_held_against_a_right_gradient():
    """The code of erf takes |x|. Where it is a small part of the loss, a complex step is wrong by little, and looks like a slip."""
    W, a = sbp.weight("W", 3), sbp.data("a", 3)
    net = sbp.Network(sbp.node("C", sbp.sum(W + 1e-3 * a * sbp.gelu(W))))
    at = {"W": np.array([0.4, -0.5, -1.1])}
    report = sbp.check_gradients(net, at, {"a": np.array([0.1, -0.3, 0.2])})
    assert report.ok
    assert report.method["W"] == "central difference"
