"""What a NumPy user types by habit either means what NumPy means or is refused; samples may lie along any axis; output is the same on
every run."""

import os
import subprocess
import sys

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp


def test_every_spelling_of_the_transpose_transposes():
    U, x = sbp.weight("U", (3, 3)), sbp.data("x", 3)
    B = sbp.data("B", ("n", 2, 3))
    want = U.T @ x
    assert want != U @ x
    assert all(spelling @ x == want for spelling in (U.transpose(), U.transpose(1, 0), sp.transpose(U), sbp.transpose(U)))
    assert sbp.node("t", B.transpose(2, 0, 1)).shape == (3, "n", 2)


@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (lambda U, x: np.dot(U, x), "@"),
        (lambda U, x: np.mean(x), "sbp.mean"),
        (lambda U, x: np.sum(U), "sbp.sum"),
        (lambda U, x: np.max(x), "sbp.max"),
        (lambda U, x: np.tanh(x), "sympy.tanh"),
        (lambda U, x: np.where(x > 0, x, 0), "sympy.Piecewise"),
        (lambda U, x: np.linalg.norm(U), "symbackprop"),
        (lambda U, x: np.ones_like(x), "symbackprop"),
        (lambda U, x: np.ones(3) * x, "data(...)"),
        (lambda U, x: x * np.ones(3), "data(...)"),
    ],
)
def test_numpy_functions_are_refused_with_what_to_write_instead(call, instead):
    with pytest.raises(sbp.NetworkError) as error:
        call(sbp.weight("U", (3, 3)), sbp.data("x", 3))
    assert instead in str(error.value)
    assert "\n" not in str(error.value)


def test_numpy_scalars_are_numbers():
    x = sbp.data("x", 3)
    assert np.float64(2.0) * x == 2.0 * x
    assert x / np.int64(4) == x / 4
    assert np.float32(0.5) + x == x + 0.5


def test_methods_of_arrays_say_what_to_write():
    x = sbp.data("x", 3)
    with pytest.raises(AttributeError, match=r"sbp\.sum"):
        x.sum()
    assert not hasattr(x, "no_such_method")


def test_reducing_what_cancelled_is_refused():
    X = sbp.data("X", ("n", 3))
    with pytest.raises(sbp.ShapeError, match="cancelled"):
        sbp.sum(X / X)


def test_text_of_an_expression_reads_as_it_computes():
    U, x, v = sbp.weight("U", (3, 3)), sbp.data("x", 3), sbp.data("v", 3)
    values = {"U": np.arange(9.0).reshape(3, 3) / 7, "x": np.array([1.0, -2.0, 0.5]), "v": np.array([0.3, 0.1, -0.7])}
    for expr in ((U @ x) ** 2, (U @ x) * v, 1 / (x @ v), (x @ v) ** 2, (x @ v) * U, x / (x @ x), (U @ U) @ x, -(U @ x) + v):
        # Our own text, of names checked above, read by Python: the arithmetic is NumPy's, not ours.
        read = eval(str(expr), {"__builtins__": {}}, values)
        np.testing.assert_allclose(read, np.array(sbp.evaluate(expr, values), dtype=float), rtol=1e-12)


@pytest.mark.parametrize("shuffle", [False, True])
def test_samples_in_columns_are_batched_as_in_rows(shuffle):
    X, T, W = sbp.data("X", (3, "n")), sbp.data("T", (2, "n")), sbp.weight("W", (2, 3))
    Y = sbp.node("Y", W @ X)
    columns = sbp.Network(sbp.node("C", sbp.half_squared_error(Y, T)), output=Y)
    X_, T_, V = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2)), sbp.weight("W", (2, 3))
    Y_ = sbp.node("Y", X_ @ V.T)
    rows = sbp.Network(sbp.node("C", sbp.half_squared_error(Y_, T_)), output=Y_)
    rng = np.random.default_rng(0)
    xs, ts, start = rng.normal(size=(10, 3)), rng.normal(size=(10, 2)), rng.normal(size=(2, 3))
    histories, weights = [], []
    for net, data in ((columns, {"X": xs.T, "T": ts.T}), (rows, {"X": xs, "T": ts})):
        trainer = net.trainer(sbp.SGD(lr=0.1), weights={"W": start})
        histories.append(trainer.fit(data, epochs=3, batch_size=4, shuffle=shuffle).loss)
        weights.append(trainer.weights["W"])
        assert trainer.steps == 9
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-12)
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-12)
    if not shuffle:  # the same run in PyTorch
        W_ = torch.tensor(start, requires_grad=True)
        for _ in range(3):
            for i in range(0, 10, 4):
                x, t = torch.tensor(xs[i : i + 4]), torch.tensor(ts[i : i + 4])
                loss = ((x @ W_.T - t) ** 2).sum() / 2 / len(x)
                (g,) = torch.autograd.grad(loss, W_)
                with torch.no_grad():
                    W_ -= 0.1 * g
        np.testing.assert_allclose(weights[0], W_.detach().numpy(), rtol=1e-12)


def test_classes_on_an_open_last_axis_are_refused():
    Z, T = sbp.data("Z", (3, "n")), sbp.data("T", (3, "n"))
    with pytest.raises(sbp.ShapeError, match="last axis"):
        sbp.cross_entropy(Z, T)


_SHOWN = """
import symbackprop as sbp
X = sbp.data("X", ("n", 3)); W, b = sbp.weight("W", (3, 2)), sbp.weight("b", 3)
H = sbp.node("H", sbp.sigmoid(X @ W)); Y = sbp.node("Y", H @ W.T + b)
net = sbp.Network(sbp.node("C", sbp.mse(Y, X)), output=Y)
for form in ("equations", "chain", "local", "closed", "matrix", "index"):
    print(net.latex(form))
print(net.generate(), net.trainer(sbp.Adam()).source)
"""


def test_what_is_shown_does_not_depend_on_the_seed_of_hashing():
    shown = set()
    for seed in ("0", "1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        shown.add(subprocess.run([sys.executable, "-c", _SHOWN], env=env, capture_output=True, text=True, check=True).stdout)
    assert len(shown) == 1
    assert r"\sum_{n}" in shown.pop()


@pytest.mark.parametrize(
    ("number", "written"),
    [
        (sp.sqrt(2) / 2, r"\frac{w}{\sqrt{2}}"),
        (sp.sqrt(2) / 4, r"\frac{w}{2 \sqrt{2}}"),
        (sp.sqrt(3) / 2, r"\frac{\sqrt{3} w}{2}"),
        (1 / sp.sqrt(2 * sp.pi), r"\frac{w}{\sqrt{2 \pi}}"),
        (sp.sqrt(2 / sp.pi), r"\sqrt{\frac{2}{\pi}} w"),
    ],
)
def test_roots_of_numbers_stand_where_one_writes_them(number, written):
    w = sbp.weight("w")
    assert sbp.Network(sbp.node("C", number * w)).latex("equations").splitlines()[1] == rf"  C &= {written}"
