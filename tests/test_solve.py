"""Linear equations against PyTorch, in value and gradient, and against mpmath and SymPy's own inverse."""

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.graph.operators import solve as module

SHAPES = {"vector": ((3, 3), (3,)), "matrix": ((3, 3), (3, 2)), "batch": ((4, 3, 3), (4, 3, 2)), "one": ((1, 1), (1,))}


def network(a_shape, b_shape):
    """sum of c (A Aᵀ + I)⁻¹ B, and of its square: the gradient in c is the solution itself."""
    a, b, c = sbp.weight("A", a_shape), sbp.weight("B", b_shape), sbp.weight("c", b_shape)
    axes = (*range(len(a_shape) - 2), len(a_shape) - 1, len(a_shape) - 2)
    x = sbp.node("X", sbp.solve(sbp.matmul(a, sbp.transpose(a, axes)) + sbp.weight("I", a_shape[-2:], init=np.eye(a_shape[-1])), b))
    return sbp.Network(sbp.node("C", sbp.sum(c * x) + sbp.sum(x**2)), output=x)


def by_torch(w):
    w = {name: torch.tensor(value, requires_grad=True) for name, value in w.items()}
    x = torch.linalg.solve(w["A"] @ w["A"].mT + w["I"], w["B"])
    loss = (w["c"] * x).sum() + (x**2).sum()
    loss.backward()
    return loss.item(), {name: value.grad.numpy() for name, value in w.items()}


def point(a_shape, b_shape, seed=0):
    rng = np.random.default_rng(seed)
    return {"A": rng.normal(size=a_shape), "B": rng.normal(size=b_shape), "c": rng.normal(size=b_shape), "I": np.eye(a_shape[-1])}


@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_value_and_gradients_are_those_of_torch(shapes):
    w = point(*shapes)
    value, gradients = network(*shapes).value_and_gradients(w)
    expected, expected_gradients = by_torch(w)
    assert value == pytest.approx(expected, rel=1e-12)
    for name, g in expected_gradients.items():
        np.testing.assert_allclose(gradients[name], g, rtol=1e-10, atol=1e-12)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 100))
def test_any_size(m, k, seed):
    w = point((m, m), (m, k), seed)
    found, expected = network((m, m), (m, k)).value_and_gradients(w)[1], by_torch(w)[1]
    assert all(np.allclose(found[name], g, rtol=1e-9, atol=1e-11) for name, g in expected.items())


def test_a_pullback_without_its_sign_is_found(monkeypatch):
    right = module.Solve.pullback
    monkeypatch.setattr(module.Solve, "pullback", lambda self, adjoint: [-right(self, adjoint)[0], right(self, adjoint)[1]])
    shapes = SHAPES["matrix"]
    w = point(*shapes)
    assert not np.allclose(network(*shapes).value_and_gradients(w)[1]["A"], by_torch(w)[1]["A"], rtol=1e-3)


def test_trained_by_numpy_and_by_the_generated_module():
    shapes = SHAPES["vector"]
    net, w = network(*shapes), point(*shapes)
    trainer = net.trainer(sbp.SGD(lr=0.01), weights=w)
    namespace = {"__name__": "generated"}
    exec(compile(net.generate("numpy", optimizer=sbp.SGD(lr=0.01)), "generated", "exec"), namespace)
    copy = {name: value.copy() for name, value in w.items()}
    state = namespace["initialize_state"](copy)
    for _ in range(3):
        assert trainer.step() == pytest.approx(namespace["update"](copy, state), rel=1e-12)
    expected = {name: torch.tensor(value, requires_grad=True) for name, value in w.items()}
    optimizer = torch.optim.SGD(list(expected.values()), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        x = torch.linalg.solve(expected["A"] @ expected["A"].mT + expected["I"], expected["B"])
        ((expected["c"] * x).sum() + (x**2).sum()).backward()
        optimizer.step()
    for name, value in expected.items():
        np.testing.assert_allclose(trainer.weights[name], value.detach().numpy(), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(copy[name], value.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_index_form_by_mpmath_and_by_sympy():
    a, b = sbp.weight("a", (2, 2)), sbp.weight("b", (2,))
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.solve(a, b) ** 2)))
    w = {"a": np.array([[2.0, 1.0], [0.5, 3.0]]), "b": np.array([1.0, -2.0])}
    symbols = sp.Matrix(2, 2, sp.symbols("p q r s"))
    loss = sum(x**2 for x in symbols.inv() * sp.Matrix([1, -2]))
    at = dict(zip(symbols, w["a"].flat, strict=True))
    for i, j in np.ndindex(2, 2):
        expected = float(loss.diff(symbols[i, j]).xreplace({s: sp.Float(v, 30) for s, v in at.items()}))
        assert float(sbp.evaluate(net.gradients["a"][i, j].closed, w, digits=30)) == pytest.approx(expected, rel=1e-14)


def test_samples_are_lifted_to_a_batch():
    """A network for one sample whose matrix is data."""
    a, t = sbp.data("a", (2, 2)), sbp.data("t", (2,))
    w = sbp.weight("w", (2,))
    net = sbp.Network(sbp.node("C", sbp.sum((sbp.solve(a, w) - t) ** 2)))
    rng = np.random.default_rng(3)
    matrices, targets, start = rng.normal(size=(5, 2, 2)) + 3 * np.eye(2), rng.normal(size=(5, 2)), rng.normal(size=2)
    trainer = net.trainer(sbp.SGD(lr=0.1), weights={"w": start})
    loss = trainer.fit({"a": matrices, "t": targets}, epochs=1).loss[0]
    moved = torch.tensor(start, requires_grad=True)
    x = torch.linalg.solve(torch.tensor(matrices), moved.expand(5, 2)[..., None])[..., 0]
    expected = ((x - torch.tensor(targets)) ** 2).sum(dim=1).mean()
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(trainer.weights["w"], start - 0.1 * moved.grad.numpy(), rtol=1e-12)


def test_derivation_holds_and_prints_the_inverse():
    derivation = network(*SHAPES["vector"]).derivation(weights=["B"])
    assert derivation.ok
    assert "^{-1}" in derivation.latex()


@pytest.mark.parametrize(
    ("a", "b", "says"),
    [((3, 2), (3,), "expected square matrices"), ((3,), (3,), "expected square"), ((3, 3), (2,), r"expected \(3,\) or \(3, k\)"), ((4, 3, 3), (3,), "k")],
)
def test_shapes_that_do_not_fit(a, b, says):
    with pytest.raises(sbp.ShapeError, match=says):
        sbp.solve(sbp.weight("a", a), sbp.weight("b", b))
