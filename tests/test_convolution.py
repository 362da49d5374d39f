"""Convolution and pooling: windows, their transpose, and the layers made of them, against PyTorch in float64 over random shapes, second
derivatives too; and what is printed, derived, evaluated, saved and drawn."""

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.nn import functional

import symbackprop as sbp
from symbackprop.calculus.arrays import Arrays
from symbackprop.calculus.index import at
from symbackprop.calculus.partial import Partial
from symbackprop.codegen.stacks import stacked
from symbackprop.graph.operators.window import fold

TORCH = {1: functional.conv1d, 2: functional.conv2d}
MAX = {1: (sbp.max_pool1d, functional.max_pool1d), 2: (sbp.max_pool2d, functional.max_pool2d)}
MEAN = {1: (sbp.avg_pool1d, functional.avg_pool1d), 2: (sbp.avg_pool2d, functional.avg_pool2d)}


def weighted(f):
    """C = sum(c f) with a random weight c, so that dC/dc is f itself."""
    return sbp.Network(sbp.node("C", sbp.sum(sbp.weight("c", f.shape) * f)))


@st.composite
def correlations(draw):
    """Shapes and numbers of a convolution that has at least one position."""
    n = draw(st.integers(1, 2))
    few = st.integers(1, 3)
    groups, own, per_group = draw(few), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    sizes, stride, dilation = (tuple(draw(few) for _ in range(n)) for _ in range(3))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(n))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, sizes, strict=True)]
    lengths = tuple(max(1, r - 2 * p) + draw(st.integers(0, 4)) for r, p in zip(reach, padding, strict=True))
    shapes = (draw(few), groups * own, *lengths), (groups * per_group, own, *sizes)
    return shapes, {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}


@given(correlations(), st.integers(0, 99))
@settings(max_examples=6)
def test_convolution(agrees, draw, case, seed):
    shapes, numbers = case
    x, k = sbp.weight("x", shapes[0]), sbp.weight("k", shapes[1])
    f = sbp.node("f", sbp.correlate(x, k, **numbers))
    reference = TORCH[len(shapes[0]) - 2]
    values = draw({"x": x.shape, "k": k.shape, "c": f.shape}, seed=seed)
    agrees(weighted(f), lambda x, k, c: (c * reference(x, k, **numbers)).sum(), values)


@given(st.data(), st.integers(1, 2), st.integers(0, 99))
@settings(max_examples=6)
def test_pooling(agrees, draw, choose, n, seed):
    few = st.integers(1, 3)
    size = tuple(choose.draw(few) for _ in range(n))
    stride = choose.draw(st.none() | st.tuples(*[few] * n))
    padding = tuple(choose.draw(st.integers(0, k // 2)) for k in size)
    dilation = tuple(choose.draw(st.integers(1, 2)) for _ in range(n))
    shape = (2, 2, *(d * (k - 1) + 1 + choose.draw(st.integers(0, 4)) for k, d in zip(size, dilation, strict=True)))
    x = sbp.weight("x", shape)
    (largest, torch_largest), (mean, torch_mean) = MAX[n], MEAN[n]
    f = sbp.node("f", largest(x, size, stride, padding, dilation))
    agrees(weighted(f), lambda x, c: (c * torch_largest(x, size, stride, padding, dilation)).sum(), draw({"x": shape, "c": f.shape}, seed=seed))
    f = sbp.node("f", mean(x, size, stride, padding))
    agrees(weighted(f), lambda x, c: (c * torch_mean(x, size, stride, padding)).sum(), draw({"x": shape, "c": f.shape}, seed=seed))


def test_three_axes(agrees, draw):
    x, k = sbp.weight("x", (2, 2, 4, 3, 5)), sbp.weight("k", (2, 1, 2, 2, 3))
    f = sbp.node("f", sbp.correlate(x, k, stride=(1, 1, 2), padding=1, groups=2))
    values = draw({"x": x.shape, "k": k.shape, "c": f.shape})
    agrees(weighted(f), lambda x, k, c: (c * functional.conv3d(x, k, stride=(1, 1, 2), padding=1, groups=2)).sum(), values)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_padding_by_a_word(padding, agrees, draw):
    """An even window is padded by one more behind than before."""
    x, k = sbp.weight("x", (2, 2, 5, 6)), sbp.weight("k", (3, 2, 2, 3))
    f = sbp.node("f", sbp.correlate(x, k, padding=padding, dilation=(1, 2)))
    values = draw({"x": x.shape, "k": k.shape, "c": f.shape})
    around = (2, 2, 0, 1) if padding == "same" else (0, 0)
    agrees(weighted(f), lambda x, k, c: (c * functional.conv2d(functional.pad(x, around), k, dilation=(1, 2))).sum(), values)


@pytest.mark.parametrize("value", [0, -3])
def test_pad(value, agrees, draw):
    x = sbp.weight("x", (2, 3))
    f = sbp.node("f", sbp.pad(sp.sin(x), [(1, 0), 2], value))
    assert f.shape == (3, 7)
    agrees(weighted(f), lambda x, c: (c * functional.pad(torch.sin(x), (2, 2, 1, 0), value=value)).sum(), draw({"x": (2, 3), "c": (3, 7)}))


def test_equal_entries_of_a_window(run_module):
    """The first of them takes the derivative, row by row, as in PyTorch, in every target; padding takes none."""
    values = np.random.default_rng(0).integers(0, 2, (3, 2, 6, 5)).astype(float)
    x = sbp.weight("x", values.shape)
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.max_pool2d(x, 3, 1, 1))))
    there = torch.tensor(values, requires_grad=True)
    functional.max_pool2d(there, 3, 1, 1).sum().backward()
    np.testing.assert_array_equal(run_module(net.generate())["loss_and_gradients"]({"x": values})[1]["x"], there.grad)
    trainer = net.trainer(sbp.SGD(lr=1), weights={"x": values})
    trainer.step()
    np.testing.assert_array_equal(trainer.weights["x"], values - there.grad.numpy())


# --- the two operators ---------------------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=10)
def test_window_and_fold_are_transposes(choose):
    """Entries by NumPy's own windows; and sum(window(x) w) = sum(x fold(w))."""
    n = choose.draw(st.integers(1, 3))
    size, stride, dilation = (tuple(choose.draw(st.integers(1, 3)) for _ in range(n)) for _ in range(3))
    lengths = tuple(d * (k - 1) + 1 + choose.draw(st.integers(0, 3)) for k, d in zip(size, dilation, strict=True))
    x = sbp.weight("x", (2, *lengths))
    windows = sbp.window(x, size, stride, dilation)
    w = sbp.weight("w", windows.shape)
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=x.shape), "w": rng.normal(size=w.shape)}
    reach = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
    own = np.lib.stride_tricks.sliding_window_view(values["x"], reach, axis=tuple(range(1, n + 1)))
    own = own[(slice(None), *(slice(None, None, s) for s in stride), *(slice(None, None, d) for d in dilation))]
    expected = np.moveaxis(own, range(n + 1, 2 * n + 1), range(1, n + 1))
    _, gradients = sbp.Network(sbp.sum(windows * w)).value_and_gradients(values)
    np.testing.assert_array_equal(gradients["w"], expected)
    loss, gradients = sbp.Network(sbp.sum(x * fold(w, lengths, stride, dilation))).value_and_gradients(values)
    np.testing.assert_allclose(loss, np.sum(expected * values["w"]), rtol=1e-12)
    np.testing.assert_array_equal(gradients["w"], expected)
    entries = np.asarray(sbp.evaluate(fold(w, lengths, stride, dilation), values), dtype=float)  # by the index form
    np.testing.assert_allclose(entries, gradients["x"], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("ocuv,ncuvyx->noyx", [(4, 3, 2, 2), (5, 3, 2, 2, 4, 3)]), ("ncuvyx,noyx->ocuv", [(5, 3, 2, 2, 4, 3), (5, 4, 4, 3)]),
        ("noyx,ocuv->ncuvyx", [(5, 4, 4, 3), (4, 3, 2, 2)]), ("gocu,ngcux->ngox", [(2, 3, 4, 2), (5, 2, 4, 2, 3)]),
        ("ngox,ngcux->gocu", [(5, 2, 3, 6), (5, 2, 4, 2, 6)]), ("nhqd,nhkd->nhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("nij,jk->nik", [(2, 3, 4), (4, 5)]), ("nij,nik->jk", [(4, 3, 2), (4, 3, 5)]), ("abi,abj->ij", [(2, 3, 4), (2, 3, 5)]),
    ],
)  # fmt: skip
def test_contractions_as_stacks_of_products(spec, shapes, agrees, draw):
    """Each is cut into matrices as it lies in memory; the values are those of PyTorch's einsum."""
    a, b = sbp.weight("a", shapes[0]), sbp.weight("b", shapes[1])
    f = sbp.node("f", sbp.einsum(spec, a, b))
    assert stacked(f.definition) is not None
    agrees(weighted(f), lambda a, b, c: (c * torch.einsum(spec, a, b)).sum(), draw({"a": a.shape, "b": b.shape, "c": f.shape}))


@pytest.mark.parametrize("spec", ["nij,nkj->kin", "ij,ij->i", "ij,ij->", "i,j->ij", "nijk,njil->kl"])
def test_contractions_that_are_no_stack_of_products(spec):
    """Where an array would have to be transposed, or nothing is left of a matrix, there is none."""
    ins = spec.partition("->")[0].split(",")
    operands = [sbp.weight(f"a_{i}", tuple("nijkl".index(x) + 2 for x in letters)) for i, letters in enumerate(ins)]
    assert stacked(sbp.einsum(spec, *operands)) is None


# --- networks ------------------------------------------------------------------------------------------------------------


def small(padding=1, stride=2, activation="tanh", pool=sbp.max_pool2d):
    """Two convolutions, a pooling and a dense layer, on n images of two channels."""
    h = sbp.conv2d(sbp.data("X", ("n", 2, 5, 5)), 3, 2, stride=stride, padding=padding, activation=activation)
    h = sbp.node("P", pool(sbp.conv2d(h, 2, 2, activation=activation), 2, 1))
    y = sbp.dense(sbp.reshape(h, ("n", -1)), 1)
    return sbp.Network(sbp.node("C", sbp.mse(y, sbp.data("T", ("n", 1)))), output=y)


def small_in_torch(K_1, b_1, K_2, b_2, W_3, b_3, X, T):
    h = torch.tanh(functional.conv2d(X, K_1, b_1, stride=2, padding=1))
    h = functional.max_pool2d(torch.tanh(functional.conv2d(h, K_2, b_2)), 2, 1)
    return ((h.reshape(len(X), -1) @ W_3 + b_3 - T) ** 2).mean()


@pytest.fixture(scope="module")
def point(draw):
    """Weights and data of that network."""
    shapes = {name: w.shape for name, w in small().weights.items()}
    return draw(shapes, low=-1, high=1, seed=1), draw({"X": (3, 2, 5, 5), "T": (3, 1)}, seed=2)


def test_network(agrees, point):
    net = small()
    assert {name: w.shape for name, w in net.weights.items()} == {
        "K_1": (3, 2, 2, 2), "b_1": (3,), "K_2": (2, 3, 2, 2), "b_2": (2,), "W_3": (2, 1), "b_3": (1,)
    }  # fmt: skip
    agrees(net, small_in_torch, *point)


def test_samples_one_by_one(agrees, draw):
    """A network that is written for one image and run on three."""
    h = sbp.conv2d(sbp.data("x", (2, 5, 4)), 3, 2, padding=1, activation="tanh")
    z = sbp.conv1d(sbp.reshape(sbp.avg_pool2d(h, 2), (3, -1)), 2, 3)
    net = sbp.Network(sbp.node("C", sbp.sum(z**2)))

    def loss(K_1, b_1, K_2, b_2, x):
        h = functional.avg_pool2d(torch.tanh(functional.conv2d(x, K_1, b_1, padding=1)), 2)
        return (functional.conv1d(h.reshape(3, 3, -1), K_2, b_2) ** 2).sum() / 3

    agrees(net, loss, draw({name: w.shape for name, w in net.weights.items()}), draw({"x": (3, 2, 5, 4)}, seed=1))


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, "same"), (2, 1)])
def test_images_of_any_size(stride, padding, agrees, draw):
    h = sbp.conv2d(sbp.data("X", ("n", 2, "h", "w")), 3, 3, stride=stride, padding=padding, activation="tanh")
    net = sbp.Network(sbp.node("C", sbp.mean(sbp.conv2d(h, 2, 2) ** 2)))

    def loss(K_1, b_1, K_2, b_2, X):
        return (functional.conv2d(torch.tanh(functional.conv2d(X, K_1, b_1, stride, padding)), K_2, b_2) ** 2).mean()

    weights = draw({name: w.shape for name, w in net.weights.items()}, low=-0.5, high=0.5)
    for size in [(7, 6), (5, 9)]:
        agrees(net, loss, weights, draw({"X": (2, 2, *size)}, seed=1))


def test_second_derivatives(close, point):
    """The gradient's slope along a direction, against PyTorch's reverse mode over its reverse mode."""
    net = small()
    weights, data = point
    v = {name: np.random.default_rng(3).normal(size=w.shape) for name, w in weights.items()}
    directions = {name: sbp.data(f"v_{name}", w.shape) for name, w in net.weights.items()}
    slope = sbp.Network(sbp.node("s", sum(sbp.sum(net.gradients[name].symbol * d) for name, d in directions.items())))
    _, found = slope.value_and_gradients(weights, **data, **{f"v_{name}": value for name, value in v.items()})
    tensors = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    loss = small_in_torch(**tensors, **{name: torch.tensor(x) for name, x in data.items()})
    gradients = torch.autograd.grad(loss, list(tensors.values()), create_graph=True)
    along = sum((g * torch.tensor(v[name])).sum() for name, g in zip(tensors, gradients, strict=True))
    for name, value in zip(tensors, torch.autograd.grad(along, list(tensors.values())), strict=True):
        close(found[name], value.numpy(), what=f"H v, the part of {name}")


def test_hessian(close, draw):
    """Every block of it, against PyTorch."""
    h = sbp.conv2d(sbp.data("X", ("n", 1, 5, 5)), 2, 2, padding=1, stride=2, activation="tanh")
    z = sbp.dense(sbp.reshape(sbp.max_pool2d(h, 2, 1), ("n", -1)), 1)
    net = sbp.Network(sbp.node("C", sbp.mean(z**3)))
    weights, X = draw({name: w.shape for name, w in net.weights.items()}, seed=1), draw({"X": (3, 1, 5, 5)}, seed=2)["X"]

    def loss(K_1, b_1, W_2, b_2):
        h = functional.max_pool2d(torch.tanh(functional.conv2d(torch.tensor(X), K_1, b_1, 2, 1)), 2, 1)
        return ((h.flatten(1) @ W_2 + b_2) ** 3).mean()

    blocks = torch.autograd.functional.hessian(loss, tuple(torch.tensor(w) for w in weights.values()))
    found = net.hessian()(weights, X=X)
    for row, line in zip(weights, blocks, strict=True):
        for column, block in zip(weights, line, strict=True):
            close(found[row, column], block.numpy(), what=f"d²C/d{row}d{column}")


def test_derivative_forwards(close, draw):
    """The change of a network's value along a change of its input, against PyTorch's."""
    X, V, K = sbp.data("X", ("n", 2, 6, 5)), sbp.data("V", ("n", 2, 6, 5)), sbp.weight("K", (3, 2, 3, 2))
    f = sbp.node("f", sbp.max_pool2d(sp.tanh(sbp.node("Z", sbp.correlate(X, K, padding=1, stride=2))), 2, 1, 1))
    net = sbp.Network(sbp.node("s", sbp.sum(sbp.derivative(f, X, V) ** 2)))
    values = draw({"X": (2, 2, 6, 5), "V": (2, 2, 6, 5), "K": K.shape})
    x, v, k = map(torch.tensor, values.values())
    k.requires_grad_()
    _, along = torch.autograd.functional.jvp(lambda x: functional.max_pool2d(torch.tanh(functional.conv2d(x, k, None, 2, 1)), 2, 1, 1), x, v, create_graph=True)
    s = (along**2).sum()
    s.backward()
    found, gradients = net.value_and_gradients({"K": values["K"]}, X=values["X"], V=values["V"])
    close(found, s.item())
    close(gradients["K"], k.grad)


def test_closed_form(point):
    """The closed form of an entry, by mpmath at 30 digits, against PyTorch."""
    net = small()
    weights, data = point
    tensors = {name: torch.tensor(w, requires_grad=True) for name, w in weights.items()}
    small_in_torch(**tensors, **{name: torch.tensor(x) for name, x in data.items()}).backward()
    for name, index in [("K_2", (1, 2, 0, 1)), ("b_1", (2,))]:
        found = sbp.evaluate(net.gradients[name][index].local, weights | data, digits=30)
        np.testing.assert_allclose(float(found), tensors[name].grad[index].item(), rtol=1e-12)


def test_float32(point):
    """Nothing widens it, the infinite padding of a maximum least."""
    x = sbp.data("X", ("n", 2, 5, 5))
    h = sbp.conv2d(x, 3, 3, padding="same", activation="relu")
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.max_pool2d(h, 3, 2, 1))))
    module = {"__name__": "generated"}
    exec(net.generate(dtype="float32"), module)
    _, gradients = module["loss_and_gradients"](module["initialize"](), X=point[1]["X"])
    assert {g.dtype for g in gradients.values()} == {np.dtype("float32")}


def test_saved_and_loaded(tmp_path, point):
    weights, data = point
    trainer = small().trainer(sbp.Adam(lr=0.01), weights=weights)
    trainer.step(**data)
    trainer.save(tmp_path / "run.npz")
    again = sbp.Trainer.load(tmp_path / "run.npz")
    assert [trainer.step(**data) for _ in range(3)] == [again.step(**data) for _ in range(3)]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("init", ["glorot_uniform", "glorot_normal", "he_normal", "he_uniform"])
def test_initial_weights(init, groups):
    """How widely a kernel is drawn, by PyTorch's count of inputs and outputs; a bias starts at zero."""
    shape = (40, 30 // groups, 5, 4)
    x, K = sbp.data("X", ("n", 30, 8, 8)), sbp.weight("K", shape, init)
    b = sbp.weight("b", (40,))
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.correlate(x, K, groups=groups) + sbp.reshape(b, (40, 1, 1)))))
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    deviation = {"glorot": 2 / (fan_in + fan_out), "he": 2 / fan_in}[init.partition("_")[0]] ** 0.5
    drawn = net.initialize(seed=1)
    np.testing.assert_allclose(drawn["K"].std(), deviation, rtol=0.02)  # of 12,000 or more
    limit = deviation * 3**0.5 if init.endswith("uniform") else np.inf
    assert np.abs(drawn["K"]).max() <= limit * (1 + 1e-5)
    assert not drawn["b"].any()


def test_initial_weights_before_a_relu():
    """He before a relu, Glorot elsewhere; a bias, which is added under another shape, is none that is multiplied."""
    x = sbp.data("X", ("n", 30, 8, 8))
    for activation, variance in [("relu", 2 / 600), ("tanh", 2 / (600 + 800))]:
        drawn = sbp.Network(sbp.sum(sbp.conv2d(x, 40, (5, 4), activation=activation))).initialize()
        np.testing.assert_allclose(drawn["K_1"].std(), variance**0.5, rtol=0.02)
        assert not drawn["b_1"].any()


# --- on paper ------------------------------------------------------------------------------------------------------------


def test_formulas():
    """The gradient in the kernel is the correlation of the padded input with the adjoint, that in the input the full convolution of the
    adjoint with the kernel (Goodfellow, Bengio & Courville, section 9.5)."""
    net = small(stride=1)
    text = net.latex("equations") + net.latex("matrix")
    assert r"Z_{1} &= \operatorname{pad}_{1 \times 1}(X) \star K_{1} + b_{1}" in text
    assert r"\frac{\partial C}{\partial K_{1}} &= \operatorname{pad}_{1 \times 1}(X) \star \Delta_{1}" in text
    assert r"\frac{\partial C}{\partial K_{2}} &= A_{1} \star \Delta_{2}" in text
    assert r"\Delta_{1} &= (\Delta_{2} \ast K_{2}) \odot (1 - A_{1} \odot A_{1})" in text
    assert r"\frac{\partial C}{\partial K^{(2)}_{i j k l}} &= \sum_{n, p, q} \delta^{(2)}_{n i p q} A^{(1)}_{n,j,k + p,l + q}" in net.latex("index")


@pytest.mark.parametrize("form", ["mixed", "matrix", "index"])
def test_derivation(form):
    """Every step holds in numbers."""
    x, t = sbp.data("X", ("n", 1, 4, 3)), sbp.data("T", ("n", 2))
    h = sbp.conv2d(x, 2, 2, padding=(1, 0), stride=(2, 1), activation="tanh")
    h = sbp.node("P", sbp.max_pool2d(h, (2, 1)))
    z = sbp.conv2d(h, 2, (1, 2))
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.reshape(z, ("n", 2)), t)))
    derivation = net.derivation(form=form)
    checked = [step for step in derivation.steps if step.verification is not None]
    assert len(checked) > 15
    assert [step.title for step in checked if not step.verification.ok] == []
    rules = " ".join(step.rule for step in derivation.steps)
    assert "cross-correlation" in rules
    assert "windows" not in next(step for step in derivation.steps if step.left == "Z_{1}").rule
    assert r"\star_{2 \times 1}" in derivation.latex()


def test_partial_derivatives():
    """∂Z/∂X of a convolution is an entry of the kernel, where there is one."""
    x, K = sbp.weight("X", (1, 1, 6)), sbp.weight("K", (2, 1, 3))
    Z = sbp.node("Z", sbp.correlate(x, K, stride=2))
    net = sbp.Network(sbp.node("C", sbp.sum(sp.sin(Z))))
    text = next(s.right for s in net.derivation().steps if s.left.startswith(r"\frac{\partial Z") and "partial X" in s.left)
    assert r"\sum" not in text, text
    assert r"\begin{cases} K_{" in text


@given(st.permutations([2, 3, 4]), st.sampled_from([(6, 4), (24,), (4, 6), (2, 12), (8, 3), (2, 2, 6), (3, 1, 8), (1, 24), (2, 3, 2, 2)]))
@settings(max_examples=12)
def test_index_form_of_a_reshape(old, new):
    """Entries are counted through within runs of axes only; the values are NumPy's."""
    x = sbp.weight("x", tuple(old))
    values = np.arange(24.0).reshape(old)
    found = np.asarray(sbp.evaluate(sbp.reshape(x, new), {"x": values}), dtype=float)
    np.testing.assert_array_equal(found, values.reshape(new))


# --- what is refused -----------------------------------------------------------------------------------------------------

IMAGES, KERNEL = sbp.data("X", ("n", 4, 6, 5)), sbp.weight("K", (6, 2, 3, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sbp.correlate(IMAGES, KERNEL), "the kernel reads 2 channels in each of 1 groups, but x has 4"),
        (lambda: sbp.correlate(IMAGES, KERNEL, groups=3), "a positive integer that divides the 4 channels of x and the 6 that are made"),
        (lambda: sbp.correlate(IMAGES, sbp.weight("K", (6, 4))), r"expected \(out, in/groups, sizes..\)"),
        (lambda: sbp.correlate(sbp.data("x", ("n", "m", 5)), sbp.weight("K", (6, 4, 2))), "with an integer number of channels"),
        (lambda: sbp.conv2d(sbp.data("x", (5, 5)), 2, 3), r"x has shape \(5, 5\); expected \(.., channels, height, width\)"),
        (lambda: sbp.conv2d(IMAGES, 0, 3), "the number of channels is 0; expected a positive integer"),
        (lambda: sbp.conv2d(IMAGES, 2, 0), "the size of the kernel is 0; expected a positive integer, or 2 of them"),
        (lambda: sbp.conv2d(IMAGES, 2, (3, 3, 3)), r"\(3, 3, 3\); expected a positive integer, or 2 of them"),
        (lambda: sbp.conv2d(IMAGES, 2, 3, stride=-1), "the stride is -1"),
        (lambda: sbp.conv2d(IMAGES, 2, 3, dilation=1.5), "the dilation is 1.5"),
        (lambda: sbp.conv2d(IMAGES, 2, 3, padding=-1), 'the padding is -1; expected an integer, a sequence of 2 .* "same" or "valid"'),
        (lambda: sbp.conv2d(IMAGES, 2, 3, padding="full"), "the padding is 'full'"),
        (lambda: sbp.conv2d(IMAGES, 2, 3, padding="same", stride=2), "keeps the lengths at stride 1 only"),
        (lambda: sbp.conv2d(IMAGES, 2, 7), "windows of size 7 do not fit into X of shape .*has only 6; pad it"),
        (lambda: sbp.conv2d(IMAGES, 2, 3, dilation=3), "windows of size 3 spread over 7 do not fit"),
        (lambda: sbp.max_pool2d(IMAGES, 2, padding=2), "more than half of a window"),
        (lambda: sbp.max_pool2d(sbp.data("x", (5,)), 2), "expected at least 2 axes"),
        (lambda: sbp.window(IMAGES, (2, 2, 2, 2, 2)), "5 sizes for X of shape"),
        (lambda: sbp.pad(IMAGES, [1, 1, 1]), "for each of the 4 axes"),
        (lambda: sbp.pad(IMAGES, 1, IMAGES), "the value must be a number"),
    ],
)
def test_errors(make, message):
    with pytest.raises(sbp.ShapeError, match=message):
        make()


@settings(max_examples=6, deadline=None)
@given(st.integers(2, 3), st.integers(0, 1), st.integers(1, 2), st.integers(2, 3), st.integers(1, 2), st.integers(0, 2))
@example(2, 0, 1, 2, 1, 2)
def test_a_printed_slope_at_every_entry(size, overlap, channels, kernel, step, more):
    """∂Z/∂A of a convolution after a pooling, as its index form says it, against PyTorch's Jacobian; it reads no entry that is not there."""
    stride, positions = size - overlap, kernel + more
    length = size + stride * (positions - 1) + 1
    A, K = sbp.weight("A", (1, channels, length)), sbp.weight("K", (2, channels, kernel))
    image = sbp.node("I", sp.sin(A))
    Z = sbp.node("Z", sbp.correlate(sbp.max_pool1d(image, size, stride), K, stride=step))
    rng = np.random.default_rng(size)
    values = {image: rng.permutation(channels * length).reshape(image.shape) / 7.0, K: rng.normal(size=K.shape)}
    at_z, at_image = sp.symbols("n p q", integer=True, nonnegative=True), sp.symbols("n_1 i j", integer=True, nonnegative=True)
    entry = Partial(at(Z, at_z), at(image, at_image)).entry()
    found = Arrays(values, {}).entries(entry, dict(zip((*at_z, *at_image), (*Z.shape, *image.shape), strict=True)))

    def forward(a):
        return functional.conv1d(functional.max_pool1d(a, size, stride), torch.tensor(values[K]), stride=step)

    np.testing.assert_allclose(found, torch.autograd.functional.jacobian(forward, torch.tensor(values[image])).numpy(), atol=1e-12)


@pytest.mark.parametrize("length", [49, 98, 103])
def test_indices_are_divided_as_whole_numbers(length, draw):
    """In floating point 49 (1/49) is less than 1: the first entry of the second row would be one of the first row. And a window's place, too."""
    x = sbp.data("x", (2, length))
    values = draw({"x": x.shape})["x"]
    flat = sbp.reshape(x, -1)
    np.testing.assert_array_equal(Arrays({x: values}, {}).tensor(flat), values.reshape(-1))
    np.testing.assert_array_equal(sbp.evaluate(flat, {"x": values}).astype(float), values.reshape(-1))
    apart = np.zeros(length * length + 1)
    apart[: length * length : length] += values[0]
    apart[length::length] += values[1]  # the second offset of a window is the first of the next
    np.testing.assert_array_equal(Arrays({x: values}, {}).tensor(fold(x, apart.shape, length, length)), apart)
    here = np.zeros(length * length)
    here[::length], here[1::length] = values
    np.testing.assert_array_equal(Arrays({x: values}, {}).tensor(fold(x, here.shape, length)), here)


def test_a_derivation_with_rows_of_49():
    z = sbp.dense(sbp.reshape(sp.tanh(sbp.data("x", ("n", 2, 49))), ("n", -1)), 3)
    assert sbp.Network(sbp.node("C", sbp.cross_entropy(z, sbp.data("t", ("n", 3))))).derivation(weights=["W_1"]).ok
