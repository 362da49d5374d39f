"""The activations: value and gradient against PyTorch from -1000 to 1000, at the kinks, and far out in float32; and by name in layers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import symbackprop as sbp
from symbackprop.layers.activations import ACTIVATIONS

# name → the same in PyTorch, and where it has kinks. PyTorch takes softplus(z) for z from 20 on, an error of 2e-9,
# and the slope 1/6 of its own hard sigmoid is rounded to float32: not so here.
REFERENCES = {
    "tanh": (torch.tanh, ()),
    "sigmoid": (torch.sigmoid, ()),
    "relu": (functional.relu, (0,)),
    "leaky_relu": (functional.leaky_relu, (0,)),
    "elu": (functional.elu, (0,)),
    "selu": (functional.selu, (0,)),
    "gelu": (functional.gelu, ()),
    "gelu_tanh": (lambda z: functional.gelu(z, approximate="tanh"), ()),
    "silu": (functional.silu, ()),
    "mish": (lambda z: z * torch.tanh(torch.logaddexp(z, torch.zeros_like(z))), ()),
    "softplus": (lambda z: torch.logaddexp(z, torch.zeros_like(z)), ()),
    "softsign": (functional.softsign, (0,)),
    "hard_tanh": (functional.hardtanh, (-1, 1)),
    "hard_sigmoid": (lambda z: functional.hardtanh(z, -3, 3) / 6 + 0.5, (-3, 3)),
}
GRID = np.concatenate([np.linspace(-8, 8, 65), [-1e3, -700.0, -40.0, -1e-3, -1e-9, -1e-300, 1e-300, 1e-9, 1e-3, 40.0, 700.0, 1e3]])


@pytest.mark.parametrize("name", REFERENCES)
def test_value_and_gradient_are_torchs(name, agrees):
    """Each point by itself: an error at a small value may not hide behind a large one."""
    reference, kinks = REFERENCES[name]
    points = np.concatenate([GRID, kinks, np.nextafter(kinks, -9), np.nextafter(kinks, 9)])
    z, c = sbp.weight("z", (len(points),)), sbp.weight("c", (len(points),))
    f = sbp.node("f", getattr(sbp, name, ACTIVATIONS[name])(z))
    net = sbp.Network(sbp.node("C", sbp.sum(c * f)))
    values = {"z": points, "c": np.ones(len(points))}
    agrees(net, lambda z, c: (c * reference(z)).sum(), values)
    tensor = torch.tensor(points, requires_grad=True)
    expected = reference(tensor)
    expected.sum().backward()
    _, found = net.value_and_gradients(values)
    np.testing.assert_allclose(found["c"], expected.detach().numpy(), rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(found["z"], tensor.grad.numpy(), rtol=1e-10, atol=1e-14)


@settings(max_examples=10)
@given(st.sampled_from(sorted(REFERENCES)), st.lists(st.integers(1, 4), max_size=3).map(tuple), st.integers(0, 99))
def test_any_shape(name, shape, seed):
    """Of any rank, scalars and sizes of one among them, for data of an open number of samples."""
    rng = np.random.default_rng(seed)
    x, w = sbp.data("x", ("n", *shape)), sbp.weight("w", shape)
    f = getattr(sbp, name, ACTIVATIONS[name])
    net = sbp.Network(sbp.node("C", sbp.mean(f(sbp.node("z", w * x)) ** 2)))
    xs, values = rng.normal(size=(3, *shape)), 3 * rng.normal(size=shape)
    tensor = torch.tensor(values, requires_grad=True)
    expected = (REFERENCES[name][0](tensor * torch.tensor(xs)) ** 2).mean()
    expected.backward()
    loss, gradients = net.value_and_gradients({"w": values}, x=xs)
    assert loss == pytest.approx(expected.item(), rel=1e-10)
    np.testing.assert_allclose(gradients["w"], tensor.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", REFERENCES)
def test_nothing_overflows_in_float32(name):
    z = sbp.weight("z", (4,))
    f = sbp.node("f", ACTIVATIONS[name](z))
    net = sbp.Network(sbp.node("C", sbp.sum(f)), output=f)
    points = [-1e3, -0.5, 0.5, 1e3]
    trainer = net.trainer(sbp.SGD(lr=1), weights={"z": points}, dtype="float32", backend="numpy")
    tensor = torch.tensor(points, requires_grad=True)
    expected = REFERENCES[name][0](tensor)
    expected.sum().backward()
    found = trainer.predict()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    trainer.step()
    np.testing.assert_allclose(trainer.weights["z"], np.float32(points) - tensor.grad.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_layers_and_text_forms_know_it(name, close):
    x = np.random.default_rng(0).normal(size=(5, 3))
    net = sbp.mlp([3, 2, 1], name)
    assert str(net.equations[1][1]) == str(ACTIVATIONS[name](net.equations[0][0]))
    text = sbp.parse(f"data X[n, 3]\nweight w = 1\nA = {name}(w*X)\nloss C = sum(A)\noutput A")
    expected = REFERENCES[name][0](torch.tensor(x)).numpy()
    close(text.trainer(sbp.SGD(lr=1)).predict(X=x), expected, 1e-10)


def test_every_activation_of_a_layer_is_tested():
    assert set(REFERENCES) | {"softmax", "log_softmax", "exp", "sin"} == set(ACTIVATIONS)
