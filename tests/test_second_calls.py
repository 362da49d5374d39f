"""Second derivatives as they are called: what is checked, what is drawn, what is returned, and what is said of bad input."""

import cProfile
import pstats
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.errors import UnknownWeightError
from symbackprop.training.feed import is_finite


def dropped(p=0.5):
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    y = sbp.dense(sbp.dropout(sbp.dense(X, 4, "tanh"), p), 2)
    return sbp.Network(sbp.node("C", sbp.mse(y, T)), output=y)


def numbers(net, n=5, seed=0):
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=w.shape) for name, w in net.weights.items()}
    return weights, {"X": rng.normal(size=(n, 3)), "T": rng.normal(size=(n, 2))}


# --- the way of a call ------------------------------------------------------------------------------------------------------------


def test_no_mathematics_in_a_second_call():
    net = sbp.mlp([3, 4, 2], "tanh")
    weights, data = numbers(net)
    hessian = net.hessian()
    hessian(weights, **data)
    profile = cProfile.Profile()
    profile.runcall(hessian, weights, **data)
    files = {file.replace("\\", "/") for file, _, _ in pstats.Stats(profile).stats}
    assert not [file for file in files if "/sympy/" in file or "/calculus/" in file]
    assert "sized" not in {name for _, _, name in pstats.Stats(profile).stats}  # shapes were looked at once


@pytest.mark.parametrize("kind", ["numpy", "numba"])
def test_a_call_like_the_one_before_is_checked_all_the_same(kind):
    """What is wrong is said in the same words whether it is given in the first call or after a good one."""
    if kind == "numba":
        pytest.importorskip("numba")
    net = sbp.Network(sbp.node("C", (sbp.weight("a") * sbp.data("x") - sbp.weight("b")) ** 2))

    def made():
        return net.hessian() if kind == "numpy" else net.hessian().compiled()

    good = {"a": np.array(2.0), "b": np.array(3.0)}, {"x": np.array([1.0, 2.0])}
    (weights, data), hessian = good, made()
    expected = hessian(weights, **data)
    assert expected["a", "a"] == 2 * np.mean(data["x"] ** 2)
    wrong = [
        ({"a": np.ones(2), "b": np.array(3.0)}, data),
        ({"a": np.array(np.nan), "b": np.array(3.0)}, data),
        ({"a": np.array(2.0)}, data),
        ({**weights, "c": np.array(1.0)}, data),
        (weights, {"x": np.array([1.0, np.inf])}),
        (weights, {"x": np.ones((2, 2))}),
        (weights, {"x": np.array(["1", "2"])}),
        (weights, {}),
        (weights, {**data, "z": np.ones(2)}),
    ]
    for w, d in wrong:
        with pytest.raises(sbp.DataError) as first:
            made()(w, **d)
        with pytest.raises(sbp.DataError) as again:
            hessian(w, **d)
        assert str(again.value) == str(first.value)
        assert "\n" not in str(again.value)
    others = [({"a": 2, "b": 3}, data), (weights, {"x": [1, 2]}), ({net.weights["a"]: 2.0, "b": 3.0}, data), (weights, {"x": np.float32([1, 2])})]
    for w, d in [*others, good]:
        assert hessian(w, **d) == expected
    huge = {"x": np.array([1e200, 0.0])}  # finite, although its square is not
    with np.errstate(over="ignore"):
        assert np.isinf(hessian(weights, **huge)["a", "a"])
    assert hessian(weights, x=np.array([5.0, 5.0, 5.0]))["a", "a"] == 50
    found = hessian(weights, **data)
    found["b", "b"][...] = 7.0
    assert (weights, data) == good
    assert hessian(weights, **data) == expected


@settings(max_examples=20)
@given(st.lists(st.floats(width=64), min_size=1, max_size=6), st.sampled_from(["float64", "float32"]))
def test_finite_numbers_are_told_from_others(values, dtype):
    with np.errstate(over="ignore"):
        array = np.array(values).astype(dtype)
    assert is_finite(array) == bool(np.isfinite(array).all())
    assert is_finite(array[:, None].T) == bool(np.isfinite(array).all())


def test_shapes_are_checked_again_when_they_change():
    net = sbp.mlp([3, 4, 2], "tanh")
    weights, data = numbers(net)
    hessian = net.hessian()
    first = hessian(weights, **data)
    with pytest.raises(sbp.DataError, match="n = 4"):
        hessian(weights, X=data["X"], T=data["T"][:4])
    with pytest.raises(sbp.DataError, match="index \\(2, 1\\)"):
        hessian(weights, X=np.where(np.arange(15).reshape(5, 3) == 7, np.nan, data["X"]), T=data["T"])
    with pytest.raises(sbp.DataError, match="'b_1' holds NaN"):
        hessian({**weights, "b_1": np.full(4, np.inf)}, **data)
    smaller = hessian(weights, **{name: a[:2] for name, a in data.items()})
    assert not np.allclose(smaller["W_1", "W_1"], first["W_1", "W_1"])
    again = hessian({w: weights[name] for name, w in net.weights.items()}, **data)
    assert all(np.array_equal(again[key], block) for key, block in first.items())


def test_results_are_arrays_of_their_own(run_module):
    x, w = sbp.data("x", ("n",)), sbp.weight("w")
    y = sbp.node("y", w * x)
    net = sbp.Network(sbp.node("C", sbp.mean(y**2)), output=y)
    given = np.array([1.0, 2.0, 3.0])
    for jacobian in (net.jacobian(y), run_module(net.jacobian(y).generate())["jacobian"]):
        found = jacobian({"w": np.array(2.0)}, x=given)["w"]
        assert np.array_equal(found, given)
        found += 1
    assert np.array_equal(given, [1.0, 2.0, 3.0])


# --- what is drawn ----------------------------------------------------------------------------------------------------------------


def test_masks_are_drawn_once_for_everything(close, run_module):
    net = dropped()
    weights, data = numbers(net)
    mask = run_module(net.generate())["draw"](np.random.default_rng(0), n=5)
    assert 0 < mask["M_1"].mean() < 1
    loss, gradients = net.value_and_gradients(weights, **data)
    wanted, expected = net.value_and_gradients(weights, **data, **mask)
    assert loss == wanted == net.trainer(sbp.SGD(lr=1), weights=weights).loss(**data)
    other, _ = net.value_and_gradients(weights, **data, M_1=1 - mask["M_1"])
    assert other != loss
    for name, g in expected.items():
        assert np.array_equal(gradients[name], g)
    kinds = [net.hessian(), net.jacobian(net.output), net.gauss_newton(), net.fisher(), net.per_sample_gradients()]
    for found in kinds:
        assert np.array_equal(found.matrix(weights, **data), found.matrix(weights, **data, **mask)), found.kind
    product = net.hessian_vector_product()
    close(product.matrix(weights, weights, **data), net.hessian().matrix(weights, **data) @ np.concatenate([w.ravel() for w in weights.values()]))
    assert sbp.check_gradients(net, weights, data).ok
    assert net.audit(gradients, weights, **data).ok
    assert net.audit(lambda weights, X, T, M_1: net.value_and_gradients(weights, X=X, T=T, M_1=M_1)[1], weights, **data).ok
    assert not net.audit(net.value_and_gradients(weights, **data, M_1=1 - mask["M_1"])[1], weights, **data).ok
    assert net.explain(weights, X=data["X"][0], T=data["T"][0]).ok

    tensors = {name: torch.tensor(w) for name, w in weights.items()}
    X, T, M = (torch.tensor(a) for a in (data["X"], data["T"], mask["M_1"]))

    def value(w):
        hidden = 2 * M * torch.tanh(X @ w["W_1"] + w["b_1"])
        return ((hidden @ w["W_2"] + w["b_2"] - T) ** 2).mean()

    wanted = torch.func.jacrev(torch.func.grad(value))(tensors)
    for (p, q), block in net.hessian()(weights, **data).items():
        close(block, wanted[p][q], what=f"{p}, {q}")


def test_one_sample_of_a_network_of_one_sample_has_one_mask():
    x, w = sbp.data("x"), sbp.weight("w")
    net = sbp.Network(sbp.node("C", (w * x + sbp.dropout(w, 0.25)) ** 2))
    for mask in (0.0, 1.0):
        loss, gradients = net.value_and_gradients({"w": 2.0}, x=1.5, M_1=mask)
        rate = 1.5 + mask / 0.75
        assert loss == pytest.approx((2 * rate) ** 2, rel=1e-12)
        assert net.hessian()({"w": 2.0}, x=1.5, M_1=mask)["w", "w"] == pytest.approx(2 * rate**2, rel=1e-12)
    loss, gradients = net.value_and_gradients({"w": 2.0}, x=1.5)
    assert gradients["w"] == pytest.approx(loss, rel=1e-12)  # 2 w r² and w² r² with w = 2
    assert net.audit(gradients, {"w": 2.0}, x=1.5).ok
    assert not net.audit({"w": 1.0}, {"w": 2.0}, x=1.5).ok
    assert net.explain({"w": 2.0}, x=1.5).ok


def test_a_size_that_only_drawn_data_have_is_asked_for():
    net = sbp.Network(sbp.sum(sp.exp(sbp.weight("w") * sbp.data("E", ("k",), draw=sbp.Normal()))))
    for call in (net.value_and_gradients, net.hessian()):
        with pytest.raises(sbp.DataError, match="size k of 'E'"):
            call({"w": 1.0})


# --- modules that check themselves --------------------------------------------------------------------------------------------------


def several():
    """A batch, labels, a mask that is drawn, a scalar weight and a penalty."""
    X, words = sbp.data("X", ("n", 3)), sbp.data("words", ("n",))
    scale = sbp.weight("scale", init=1.5)
    Z = sbp.dense(sbp.dropout(sbp.dense(X, 4, "tanh"), 0.5), 3)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(scale * Z, words) + sbp.sum(sp.exp(scale))))


def single():
    x, t = sbp.data("x", (3,)), sbp.data("t")
    y = sbp.node("y", sp.tanh(x @ sbp.weight("w", (3,)) + sbp.weight("b")))
    return sbp.Network(sbp.node("C", (y - t) ** 2), output=y)


KINDS = {
    "hessian": lambda net: net.hessian(),
    "one block": lambda net: net.hessian(next(iter(net.weights))),
    "hessian_vector_product": lambda net: net.hessian_vector_product(),
    "jacobian": lambda net: net.jacobian(next(e.symbol for e in net.equations)),
    "per_sample_gradients": lambda net: net.per_sample_gradients(),
    "fisher": lambda net: net.fisher(),
}


# One sample alone has no axis to count samples along.
CASES = [(make, kind) for make in (several, single) for kind in KINDS if make is several or kind not in ("per_sample_gradients", "fisher")]


@pytest.mark.parametrize(("make", "kind"), CASES)
def test_generated_modules_check_themselves(make, kind, run_module):
    source = KINDS[kind](make()).generate()
    assert run_module(source)["check"]() < 1e-6
    # One block, halved where it is returned, is found; and so is one that is not there.
    lines = source.splitlines()
    start = next(i for i, line in enumerate(lines) if line == "    return {") + 1
    name, _, value = lines[start].rpartition(": ")
    wrong = [*lines[:start], f"{name}: {value.rstrip(',')} * 1.001,", *lines[start + 1 :]]
    assert run_module("\n".join(wrong))["check"]() > 1e-5


def test_a_module_is_run_as_a_script(tmp_path):
    path = tmp_path / "hessian.py"
    source = sbp.mlp([3, 4, 2], "tanh").hessian().generate(dtype="float32")
    for text, status in ((source, 0), (source.replace("1 - A_1**2", "1 - A_1**3"), 1)):
        path.write_text(text)
        run = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        assert run.returncode == status, run.stdout + run.stderr
        assert "largest relative error of the Hessian" in run.stdout


# --- bad input ----------------------------------------------------------------------------------------------------------------------


NODES, UNNAMED = "expected a node, given as the tensor or by its name: 'Z_1', 'A_1', 'Z_2', 'C'", "without a name; pass data by name, X="
BAD = [
    (lambda net, weights, data: net.jacobian(None), sbp.NetworkError, f"got None, of type NoneType; {NODES}"),
    (lambda net, weights, data: net.jacobian(["Z_1"]), sbp.NetworkError, f"got ['Z_1'], of type list; {NODES}"),
    (lambda net, weights, data: net.jacobian("W_1"), sbp.NetworkError, f"'W_1' is a weight; {NODES}"),
    (lambda net, weights, data: net.jacobian("Q"), sbp.NetworkError, f"'Q' is not in the network; {NODES}"),
    (lambda net, weights, data: net.gauss_newton(output="X"), sbp.NetworkError, f"'X' is data; {NODES}"),
    (lambda net, weights, data: net.hessian(wrt="X"), UnknownWeightError, "wrt: 'X' is data; derivatives are by weights, 'W_1', 'b_1', 'W_2', 'b_2'"),
    (lambda net, weights, data: net.hessian(wrt="Z_1"), UnknownWeightError, "wrt: 'Z_1' is a node; derivatives are by weights"),
    (lambda net, weights, data: net.hessian(wrt=3), UnknownWeightError, "wrt: got 3, of type int; derivatives are by weights"),
    (lambda net, weights, data: net.hessian()(weights, data), sbp.DataError, f"hessian: got a value of type dict {UNNAMED}"),
    (lambda net, weights, data: net.hessian()(None, **data), sbp.DataError, "the weights are of type NoneType; expected a mapping"),
    (lambda net, weights, data: net.hessian_vector_product()(weights, **data), sbp.NetworkError, "needs a direction: pass an array for each of W_1"),
    (lambda net, weights, data: net.value_and_gradients(weights, data["X"]), sbp.DataError, f"value_and_gradients: got a value of type ndarray {UNNAMED}"),
    (lambda net, weights, data: net.audit({}, weights, data), sbp.DataError, f"audit: got a value of type dict {UNNAMED}"),
    (lambda net, weights, data: net.explain(weights, data), sbp.DataError, f"explain: got a value of type dict {UNNAMED}"),
    (lambda net, weights, data: trainer(net).predict(data["X"]), sbp.DataError, f"predict: got a value of type ndarray {UNNAMED}..."),
    (lambda net, weights, data: trainer(net).loss(data), sbp.DataError, f"loss: got a value of type dict {UNNAMED}"),
    (lambda net, weights, data: trainer(net).step(data), sbp.DataError, f"step: got a value of type dict {UNNAMED}"),
]



def trainer(net):
    return net.trainer(sbp.SGD(lr=0.1))


@pytest.mark.parametrize(("call", "error", "said"), BAD)
def test_bad_input_is_one_clear_error(call, error, said):
    net = sbp.mlp([3, 4, 2], "tanh")
    with pytest.raises(error) as caught:
        call(net, *numbers(net))
    assert said in str(caught.value)


def masked(mask):
    x = sbp.data("x", ("n", 3, 2))
    return sbp.Network(sbp.node("C", sbp.sum(sbp.attention(x @ sbp.weight("W", (2, 2)), x, x, mask=mask) ** 2)))


def test_a_mask_that_is_an_array_is_read_by_second_derivatives_audits_and_checks_of_updates(tmp_path):
    mask, condition = np.array([[0, 1, 1], [1, 1, 1], [1, 0, 1]]), sbp.data("M", (3, 3))
    net, fed = masked(mask), masked(condition > 0)
    rng = np.random.default_rng(0)
    X, W = rng.normal(size=(2, 3, 2)), {"W": rng.normal(size=(2, 2))}
    for kind in ("hessian", "gauss_newton"):
        expected = getattr(fed, kind)().matrix(W, x=X, M=mask)
        found = getattr(net, kind)()
        np.testing.assert_allclose(found.matrix(W, x=X), expected, rtol=1e-12)
        np.testing.assert_allclose(found.matrix({**net.initialize(), **W}, x=X), expected, rtol=1e-12)
    path = tmp_path / "hessian.py"
    path.write_text(net.hessian().generate())
    assert subprocess.run([sys.executable, path], capture_output=True, check=False).returncode == 0
    gradients = net.value_and_gradients(W, x=X)[1]
    assert net.audit(gradients, W, x=X).ok
    assert not net.audit({"W": -gradients["W"]}, W, x=X).ok
    assert net.derivation(optimizer=sbp.SGD(lr=0.1)).ok


@pytest.mark.parametrize("kind", ["hessian", "hessian_vector_product"])
def test_a_module_does_not_call_itself_wrong_where_a_gradient_vanishes_by_cancelling(kind, tmp_path):
    """That of a bias before a batch norm, and of the keys' bias in attention: what is computed is rounding alone."""
    x, z = sbp.data("x", ("n", 3, 4)), sbp.data("z", ("n", 2))
    for loss in (sbp.mean(sbp.multi_head_attention(x, 2) ** 2), sbp.mean((sbp.batch_norm(sbp.dense(z, 3)) - 1) ** 3)):
        path = tmp_path / "module.py"
        path.write_text(getattr(sbp.Network(sbp.node("C", loss)), kind)().generate())
        run = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout


# --- printed and kept -------------------------------------------------------------------------------------------------------------


def test_a_hessian_prints_a_block_a_line():
    hessian = sbp.mlp([3, 4, 2], "tanh").hessian()
    text = repr(hessian)
    assert repr(hessian["W_2", "W_2"]) in text
    rows = text[: text.index("\nwhere:")].splitlines()
    assert rows[0] == "The Hessian, loss C:"
    assert len(rows) == 1 + 16
    assert "einsum" not in text
    assert any(row.split("  ")[1:3] == ["('W_2', 'W_2')", "(4, 2, 4, 2)"] and r"\otimes I_{2}" in row for row in rows)
    assert any("the transpose of ('b_1', 'W_1')" in row and "('W_1', 'b_1')" in row for row in rows)
    assert r"M_{2} = W_{2} W_{2}^{\top}" in text  # which a block reads


def test_a_hessian_of_a_softmax_is_that_of_the_shares():
    """diag(s) - s s^T, whether the softmax has a name in the network or not."""
    X, labels, W = sbp.data("X", ("n", 4)), sbp.data("labels", "n"), sbp.weight("W", (4, 3))
    Z = sbp.node("Z", X @ W)
    written = sbp.Network(sbp.node("C", sbp.cross_entropy(Z, labels))).hessian().latex("index")
    named = sbp.Network(sbp.node("C", sbp.cross_entropy(Z, labels)), output=sbp.node("S", sbp.softmax(Z))).hessian().latex("index")
    assert r"S &= \operatorname{softmax}(Z)" in written
    assert "e^{" not in written
    assert written.splitlines()[-2] == named.splitlines()[-2]


@pytest.mark.parametrize("kind", ["hessian", "hessian_vector_product", "fisher"])
def test_a_generated_module_is_saved(kind, tmp_path):
    made = getattr(sbp.mlp([2, 3, 1], "tanh"), kind)()
    made.save(tmp_path / "made.py")
    assert (tmp_path / "made.py").read_text(encoding="utf-8") == made.generate()
    run = subprocess.run([sys.executable, tmp_path / "made.py"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with pytest.raises(sbp.UnsupportedError, match=r"'made.txt'; the suffix must be one of \.py"):
        made.save(tmp_path / "made.txt")


def test_second_derivatives_through_time_carry_the_names_of_their_layer():
    X, y = sbp.data("X", ("n", "T", 2)), sbp.data("y", ("n", 2))
    text = sbp.Network(sbp.node("C", sbp.mse(sbp.gru(X, 2)[1], y))).hessian("U_gru").latex()
    assert r"\mathrm{dC}" not in text
    assert r"\bar{h}_{\mathrm{gru}} &=" in text
    lines = text.splitlines()
    assert len(set(lines)) == len(lines)
