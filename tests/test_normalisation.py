"""Layer norm, RMS norm and batch norm against PyTorch, and what batch norm needs: states that training changes without learning them, and
nodes that are something else at inference."""

from functools import cache

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.load import load_source
from symbackprop.derivation import context
from symbackprop.errors import DataError, NetworkError, ShapeError
from symbackprop.graph.serialize import read, write
from symbackprop.training import native

TIGHT = {"rtol": 1e-10, "atol": 1e-10}
ENGINES = ["numpy", pytest.param("numba", marks=pytest.mark.skipif(not native.installed(), reason="needs the extra [fast]"))]


def numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def tensor(array):
    return torch.tensor(np.array(array), dtype=torch.float64, requires_grad=True)


def compared(layer, theirs, shape, names, seed):
    """Value and gradients of sum(R * layer(x)) here and in PyTorch: x is a weight here, so that its gradient is there too."""
    x, r = sbp.weight("x", shape), sbp.data("R", shape)
    y = layer(sp.tanh(x) + x)  # more than a name, as in a network
    net = sbp.Network(sbp.node("C", sbp.sum(r * y)), output=y)
    values = {"x": numbers(shape, seed)}
    values |= {name: numbers(net.weights[name].shape, seed + i + 1) for i, name in enumerate(names)}
    weight = numbers(shape, seed + 9)
    loss, found = net.value_and_gradients(values, R=weight)
    tensors = {name: tensor(value) for name, value in values.items()}
    expected = (torch.tensor(weight) * theirs(torch.tanh(tensors["x"]) + tensors["x"], *(tensors[name] for name in names))).sum()
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), **TIGHT)
    for name, t in tensors.items():
        np.testing.assert_allclose(found[name], t.grad.numpy(), err_msg=name, **TIGHT)
    return net, values


shapes = st.lists(st.integers(2, 9), min_size=1, max_size=4).map(tuple)


@settings(max_examples=8)
@given(shapes, st.integers(1, 2), st.sampled_from([1e-5, 1e-2]), st.integers(0, 99))
def test_layer_norm(shape, count, eps, seed):
    axes = tuple(range(-min(count, len(shape)), 0))
    size = shape[axes[0] :]
    compared(
        lambda x: sbp.layer_norm(x, axes, eps),
        lambda x, g, b: torch.nn.functional.layer_norm(x, size, g, b, eps),
        shape,
        ["gamma_1", "beta_1"],
        seed,
    )


@settings(max_examples=5)
@given(shapes, st.integers(1, 2), st.sampled_from([1e-5, 1e-2]), st.integers(0, 99))
def test_rms_norm(shape, count, eps, seed):
    axes = tuple(range(-min(count, len(shape)), 0))
    size = shape[axes[0] :]
    compared(lambda x: sbp.rms_norm(x, axes, eps), lambda x, g: torch.nn.functional.rms_norm(x, size, g, eps), shape, ["gamma_1"], seed)


@settings(max_examples=8)
@given(st.lists(st.integers(2, 7), min_size=2, max_size=4).map(tuple), st.booleans(), st.sampled_from([1e-5, 1e-2]), st.integers(0, 99))
def test_batch_norm(shape, channels_first, eps, seed):
    axis = 1 if channels_first else -1

    def theirs(x, g, b):
        return torch.nn.functional.batch_norm(x.movedim(axis, 1), None, None, g, b, True, 0.1, eps).movedim(1, axis)

    compared(lambda x: sbp.batch_norm(x, axis, eps), theirs, shape, ["gamma_1", "beta_1"], seed)


def test_layers_of_other_axes_and_without_gain():
    """Group-like norms, over axes that are not the last ones, have no layer in PyTorch: its mean and variance stand beside them."""
    x = sbp.data("X", ("n", 3, 4))
    y = sbp.layer_norm(x, 1, gain=False, bias=False)
    z = sbp.layer_norm(y, 1)
    assert z.inputs >= {sbp.weight("gamma_2", (3,), "ones"), sbp.weight("beta_2", (3,), "zeros")}
    trainer = sbp.Network(sbp.sum(z**3), output=z).trainer(sbp.SGD(lr=0.1))
    trainer.weights = {"gamma_2": numbers(3), "beta_2": numbers(3, 1)}
    xs = numbers((5, 3, 4), 2)

    def norm(a):
        return (a - a.mean(1, keepdims=True)) / np.sqrt(a.var(1, keepdims=True) + 1e-5)

    np.testing.assert_allclose(trainer.predict(X=xs), numbers(3)[:, None] * norm(norm(xs)) + numbers(3, 1)[:, None], **TIGHT)


def test_second_derivatives_of_layer_norm():
    w, r = sbp.weight("w", (3, 4)), sbp.data("R", (3, 4))
    net = sbp.Network(sbp.sum(r * sbp.layer_norm(w**2) ** 2))
    again = sbp.Network(sbp.sum(sp.sin(net.gradients["w"].symbol)))
    values = {"w": numbers((3, 4)), "gamma_1": numbers(4, 1), "beta_1": numbers(4, 2)}
    _, found = again.value_and_gradients(values, R=numbers((3, 4), 3))
    ts = {name: tensor(value) for name, value in values.items()}
    loss = (torch.tensor(numbers((3, 4), 3)) * torch.nn.functional.layer_norm(ts["w"] ** 2, (4,), ts["gamma_1"], ts["beta_1"]) ** 2).sum()
    (first,) = torch.autograd.grad(loss, ts["w"], create_graph=True)
    first.sin().sum().backward()
    for name, t in ts.items():
        np.testing.assert_allclose(found[name], t.grad.numpy(), err_msg=name, **TIGHT)


# --- training with batch norm -------------------------------------------------------------------------------------------------


@cache
def network():
    """Two layers with batch norm."""
    x, t = sbp.data("X", ("n", 5)), sbp.data("T", ("n", 2))
    h = sp.tanh(sbp.batch_norm(sbp.dense(x, 4)))
    y = sbp.dense(sbp.batch_norm(h, momentum=0.3, eps=1e-3), 2)
    return sbp.Network(sbp.mse(y, t), output=y)


def two_norms():
    """The network, and the same in PyTorch."""
    parts = [
        torch.nn.Linear(5, 4),
        torch.nn.BatchNorm1d(4),
        torch.nn.Tanh(),
        torch.nn.BatchNorm1d(4, momentum=0.3, eps=1e-3),
        torch.nn.Linear(4, 2),
    ]
    return network(), torch.nn.Sequential(*parts).double()


def own_names(model):
    """Our names of the parts of `two_norms`, and PyTorch's arrays."""
    found = {}
    for k, (dense, norm) in enumerate([(model[0], model[1]), (model[4], model[3])], 1):
        found |= {f"W_{k}": dense.weight.T, f"b_{k}": dense.bias, f"gamma_{k}": norm.weight, f"beta_{k}": norm.bias}
        found |= {f"mubar_{k}": norm.running_mean, f"vbar_{k}": norm.running_var}
    return {name: t.detach().numpy().copy() for name, t in found.items()}


def test_twenty_updates_with_batch_norm():
    net, model = two_norms()
    xs, ts = numbers((45, 5)), numbers((45, 2), 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    trainer = net.trainer(sbp.SGD(lr=0.2, momentum=0.9), weights=own_names(model), backend="numpy")
    trainer.fit({"X": xs, "T": ts}, epochs=4, batch_size=9)
    for step in range(20):
        batch = slice(9 * (step % 5), 9 * (step % 5) + 9)
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(torch.tensor(xs[batch])), torch.tensor(ts[batch])).backward()
        optimizer.step()
    expected = own_names(model)
    assert trainer.steps == 20
    assert set(trainer.weights) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(trainer.weights[name], value, err_msg=name, **TIGHT)
    model.eval()
    for rows in (xs, xs[:1]):  # at inference a batch of one is as good as any
        np.testing.assert_allclose(trainer.predict(X=rows), model(torch.tensor(rows)).detach().numpy(), **TIGHT)


@pytest.mark.skipif(not native.installed(), reason="needs the extra [fast]")
def test_compiled_code_keeps_the_same_statistics():
    x = sbp.data("X", ("n", 3))
    y = sbp.batch_norm(x)
    net = sbp.Network(sbp.mean(y**3), output=y)
    trainers = [net.trainer(sbp.SGD(lr=0.1), backend=backend) for backend in ("numpy", "numba")]
    for trainer in trainers:
        trainer.fit({"X": numbers((10, 3))}, epochs=3, batch_size=4, shuffle=True)
    for name, value in trainers[0].weights.items():
        assert not np.array_equal(value, net.trainer(sbp.SGD(lr=0.1)).weights[name]), name
        np.testing.assert_allclose(trainers[1].weights[name], value, err_msg=name, **TIGHT)


def test_validation_is_at_inference_and_the_loss_is_not():
    net, model = two_norms()
    xs, ts = numbers((12, 5)), numbers((12, 2), 1)
    trainer = net.trainer(sbp.SGD(lr=0.1), weights=own_names(model))
    history = trainer.fit({"X": xs, "T": ts}, epochs=1, validation={"X": xs, "T": ts})
    np.testing.assert_allclose(history.validation_loss, [((trainer.predict(X=xs) - ts) ** 2).mean()], **TIGHT)
    np.testing.assert_allclose(history.loss, [torch.nn.functional.mse_loss(model(torch.tensor(xs)), torch.tensor(ts)).item()], **TIGHT)
    assert abs(trainer.loss(X=xs, T=ts) - history.validation_loss[0]) > 1e-3


def test_the_generated_module_keeps_running_statistics():
    net, model = two_norms()
    optimizer = sbp.SGD(lr=0.1, momentum=0.9)
    module = load_source(net.generate("numpy", optimizer=optimizer), "norms")
    assert module.STATES == {"mubar_1": (4,), "vbar_1": (4,), "mubar_2": (4,), "vbar_2": (4,)}
    assert module.STATES.keys().isdisjoint(module.WEIGHTS)
    assert module.initialize().keys() == module.STATES.keys() | module.WEIGHTS.keys()
    start = own_names(model)
    trainer = net.trainer(optimizer, weights=start)
    state = module.initialize_state(start)
    assert all(arrays.keys() == module.WEIGHTS.keys() for name, arrays in state.items() if name != "t")
    assert len(state) == 2
    for k in range(3):
        batch = {"X": numbers((7, 5), k), "T": numbers((7, 2), -k - 1 + 9)}
        np.testing.assert_allclose(module.update(start, state, **batch), trainer.step(**batch), **TIGHT)
    for name, value in trainer.weights.items():
        np.testing.assert_allclose(start[name], value, err_msg=name, **TIGHT)
    np.testing.assert_allclose(module.predict(start, X=numbers((3, 5))), trainer.predict(X=numbers((3, 5))), **TIGHT)
    assert module.loss_and_gradients(start, **batch)[1].keys() == module.WEIGHTS.keys()
    # Normalising takes b_1 away: its gradient is zero, to rounding, and the module's own check finds the rounding of the loss in differences with
    # step 1e-5, relative to 1e-5 of the loss: eps/1e-10 = 2.2e-6 for each unit in the last place. Exactly is compared above and with PyTorch.
    assert np.abs(module.loss_and_gradients(start, **batch)[1]["b_1"]).max() < 1e-14
    assert module.check_gradients() < 4 * np.finfo(float).eps / 1e-10


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    net, _ = two_norms()
    data = {"X": numbers((20, 5)), "T": numbers((20, 2), 1)}
    straight = net.trainer(sbp.Adam(lr=0.05))
    straight.fit(data, epochs=4, batch_size=6, shuffle=True)
    first = net.trainer(sbp.Adam(lr=0.05))
    first.fit(data, epochs=2, batch_size=6, shuffle=True)
    first.save(tmp_path / "run.npz")
    resumed = sbp.Trainer.load(tmp_path / "run.npz")
    resumed.fit(data, epochs=2, batch_size=6, shuffle=True)
    assert resumed.weights.keys() == straight.weights.keys() >= {"mubar_1", "vbar_2"}
    for name, value in straight.weights.items():
        assert np.array_equal(resumed.weights[name], value), name
    assert np.array_equal(resumed.predict(X=data["X"]), straight.predict(X=data["X"]))


def test_evaluate_at_inference():
    x = sbp.data("X", ("n", 3))
    y = sbp.batch_norm(x)
    values = {"X": numbers((4, 3)), "gamma_1": [1, 2, 3], "beta_1": [0, 0, 1], "mubar_1": [0.5, 0, 0], "vbar_1": [1, 2, 4]}
    expected = [1, 2, 3] * (numbers((4, 3)) - [0.5, 0, 0]) / np.sqrt(np.array([1, 2, 4]) + 1e-5) + [0, 0, 1]
    np.testing.assert_allclose(sbp.evaluate(y, values, inference=True).astype(float), expected, **TIGHT)
    found = torch.nn.functional.batch_norm(
        torch.tensor(numbers((4, 3))), None, None, torch.tensor([1.0, 2, 3]).double(), torch.tensor([0.0, 0, 1]).double(), True
    )
    np.testing.assert_allclose(sbp.evaluate(y, values).astype(float), found.numpy(), **TIGHT)


# --- states --------------------------------------------------------------------------------------------------------------------


def counter():
    """Scalars: a counts, b adds up the old a, c is an average of what the samples say. The loss reads b, so its gradient holds it."""
    x, w = sbp.data("x"), sbp.weight("w", init=2)
    a = sbp.state("a", init=1, update=lambda a: a + 1)
    b = sbp.state("b", update=lambda b: b + a)
    c = sbp.state("c", init=0.5, update=lambda c: (c + sp.tanh(x * w)) / 2)
    y = sbp.node("y", w * x + b, inference=w * x + c)
    return sbp.Network(sbp.node("C", y**2 / 2), output=y)


@pytest.mark.parametrize("backend", ENGINES)
@pytest.mark.parametrize("size", [1, 3])
def test_states_change_at_once_from_the_values_before(backend, size):
    trainer = counter().trainer(sbp.SGD(lr=0.01), backend=backend)
    xs = np.linspace(-1, 1, 6)
    trainer.fit({"x": xs}, epochs=1, batch_size=size)
    w, a, b, c = 2.0, 1.0, 0.0, 0.5
    for batch in xs.reshape(-1, size):
        w, a, b, c = w - 0.01 * np.mean((w * batch + b) * batch), a + 1, b + a, np.mean((c + np.tanh(batch * w)) / 2)
    np.testing.assert_allclose([trainer.weights[name] for name in "wabc"], [w, a, b, c], **TIGHT)
    np.testing.assert_allclose(trainer.predict(x=0.25), w * 0.25 + c, **TIGHT)
    np.testing.assert_allclose(trainer.loss(x=0.25), (w * 0.25 + b) ** 2 / 2, **TIGHT)


def test_a_state_without_an_update_is_a_constant(tmp_path):
    p = sbp.state("P", (3,), init=np.array([1.0, -2.0, 0.5]))
    w = sbp.weight("w", (3,))
    trainer = sbp.Network(sbp.sum(p * w)).trainer(sbp.SGD(lr=1), weights={"w": [0, 0, 0]})
    trainer.step()
    assert trainer.weights["w"].tolist() == [-1.0, 2.0, -0.5]
    trainer.save(tmp_path / "run.npz")
    for same in (trainer, sbp.Trainer.load(tmp_path / "run.npz")):
        assert same.weights["P"].tolist() == [1.0, -2.0, 0.5]


def test_deep_definitions_of_one_node_keep_apart():
    """Each is cut into shallow equations, whose names must differ."""
    x = sbp.data("x")
    deep = [x, x, x]
    for k in range(20):
        deep = [sp.sin(d * (k + i + 1)) for i, d in enumerate(deep)]
    m = sbp.state("m", update=lambda m: m + deep[2])
    y = sbp.node("y", deep[0] * sbp.weight("w"), inference=deep[1] + m)
    trainer = sbp.Network(sbp.node("C", y**2), output=y).trainer(sbp.SGD(lr=0.1), weights={"w": 1})
    trainer.step(x=0.3)
    expected = [0.3, 0.3, 0.3]
    for k in range(20):
        expected = [np.sin(e * (k + i + 1)) for i, e in enumerate(expected)]
    np.testing.assert_allclose(trainer.predict(x=0.3), expected[1] + expected[2], **TIGHT)
    np.testing.assert_allclose(trainer.weights["w"], 1 - 0.2 * expected[0] ** 2, **TIGHT)


def test_a_stored_state_is_checked():
    """A file whose state is made from another one's old value is damaged, not read."""
    nodes, places, arrays = write([sbp.Network(sbp.node("C", sbp.weight("w") ** 2 + sbp.state("m", init=0.0, update=lambda m: m + 1))).loss])
    assert read(nodes, arrays)[places[0]] is sbp.node("C", sbp.weight("w") ** 2 + sbp.state("m", init=0.0, update=lambda m: m + 1))
    at = next(i for i, node in enumerate(nodes) if node[1:3] == ["m", "state"] and len(node) == 8)
    nodes[at] = [nodes[at][0], "k", *nodes[at][2:]]
    with pytest.raises(DataError, match="'k' cannot be updated"):
        read(nodes, arrays)


def test_states_are_assignable_and_not_differentiated():
    net, _ = two_norms()
    assert list(net.states) == ["mubar_1", "vbar_1", "mubar_2", "vbar_2"]
    assert net.gradients.keys().isdisjoint(net.states)
    trainer = net.trainer(sbp.SGD(lr=0.1))
    trainer.weights["vbar_1"] = [4, 4, 4, 4]
    assert trainer.weights["vbar_1"].tolist() == [4.0] * 4
    with pytest.raises(DataError, match=r"'vbar_1' has shape \(3,\)"):
        trainer.weights["vbar_1"] = [1, 2, 3]


def test_divergence_takes_states_back():
    """The loss is not finite at the third update: what is left is what two updates made."""
    x = sbp.data("X", ("n", 2))
    y = sbp.batch_norm(sbp.dense(x, 3))
    net = sbp.Network(sbp.node("C", sbp.mean(y**2) + sbp.sum(sp.log(x))), output=y)
    xs = np.abs(numbers((9, 2)))
    xs[7] = -1
    first, second = net.trainer(sbp.SGD(lr=0.1)), net.trainer(sbp.SGD(lr=0.1))
    with pytest.raises(sbp.TrainingDivergedError):
        first.fit({"X": xs}, epochs=3, batch_size=3)
    second.fit({"X": xs[:3]}, epochs=1)
    for name, value in second.weights.items():
        assert np.array_equal(first.weights[name], value), name


# --- on paper ----------------------------------------------------------------------------------------------------------------------

SIGMA = r"\sqrt{v_{1} + 10^{-5}}"
G, XHAT = r"\Delta_{\hat{X}_{1}}", r"\hat{X}_{1}"
# Each as the papers have it: the gradient, less its mean, less what goes along with the result, over the standard deviation.
WRITTEN = {
    sbp.layer_norm: rf"\frac{{{G} - \frac{{1}}{{4}} {XHAT} \odot (({XHAT} \odot {G}) \mathbf{{1}} \mathbf{{1}}^{{\top}})"
    rf" - \frac{{1}}{{4}} {G} \mathbf{{1}} \mathbf{{1}}^{{\top}}}}{{{SIGMA} \mathbf{{1}}^{{\top}}}}",
    sbp.rms_norm: rf"\frac{{{G} - \frac{{1}}{{4}} {XHAT} \odot (({XHAT} \odot {G}) \mathbf{{1}} \mathbf{{1}}^{{\top}})}}{{{SIGMA} \mathbf{{1}}^{{\top}}}}",
    sbp.batch_norm: rf"\frac{{{G} - \frac{{1}}{{n}} (\mathbf{{1}}^{{\top}} ({XHAT} \odot {G})) \odot {XHAT}"
    rf" - \frac{{1}}{{n}} \mathbf{{1}}^{{\top}} {G}}}{{{SIGMA}}}",
}


def normed(layer):
    x, t = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 4))
    z = sbp.node("Z", x @ sbp.weight("W", (3, 4)))
    return sbp.Network(sbp.node("C", sbp.mse(layer(z), t)))


@pytest.mark.parametrize("layer", WRITTEN)
def test_the_gradient_has_the_terms_of_the_literature(layer):
    derivation = normed(layer).derivation(weights=["W"])
    steps = [step for step in derivation.steps if step.title == "The error of $Z$"]
    assert derivation.ok
    assert steps[-1].right == WRITTEN[layer]
    assert "$v_{1}$ inserted" in steps[-1].rule
    assert steps[-1].verification.method == "a complex step"
    assert any(step.title == "The error of $v_{1}$" for step in derivation.steps)  # the chain through the named nodes stays


@pytest.mark.parametrize("lost", range(3))
def test_a_term_that_is_lost_is_found(lost, monkeypatch):
    """The numbers of a derivation notice one of the three terms without its sign."""
    honest = context.combined

    def wrong(*args):
        found = honest(*args)
        if found is None:
            return None
        total = next(part for part in found.expr.args if isinstance(part, sp.Add))
        term = total.args[lost]
        return found._replace(expr=found.expr.xreplace({total: total - 2 * term}))

    monkeypatch.setattr(context, "combined", wrong)
    derivation = normed(sbp.layer_norm).derivation("matrix", weights=["W"])
    assert not derivation.ok
    assert {step.title for step in derivation.steps if step.verification and not step.verification.ok} == {"The error of $Z$"}


@settings(max_examples=4)
@given(
    st.lists(st.integers(2, 4), min_size=1, max_size=3).map(tuple),
    st.sampled_from([lambda z: sbp.layer_norm(z, 1), lambda z: sbp.layer_norm(z, -1), lambda z: sbp.rms_norm(z), lambda z: sbp.batch_norm(z, 1)]),
    st.booleans(),
)
def test_ways_are_combined_right_in_any_shape(rest, layer, residual):
    """Along any axes, and beside a way that goes around the layer."""
    x = sbp.data("X", ("n", *rest))
    z = sbp.node("Z", sp.sin(x * sbp.weight("w", rest)))
    y = sbp.node("R", z + layer(z)) if residual else layer(z)
    net = sbp.Network(sbp.node("C", sbp.mean(y**3)))
    derivation = net.derivation("index", weights=["w"])
    assert derivation.ok, [str(step) for step in derivation.steps if step.verification and not step.verification.ok]
    assert any("sums carried out" in step.rule for step in derivation.steps)


def test_a_softmax_by_hand_becomes_its_short_form():
    x, t = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 4))
    e = sbp.node("E", sp.exp(x @ sbp.weight("W", (3, 4))))
    s = sbp.node("s", sbp.sum(e, -1))
    p = sbp.node("P", e / sbp.reshape(s, ("n", 1)))
    derivation = sbp.Network(sbp.node("C", sbp.mse(p, t))).derivation("matrix")
    steps = [step for step in derivation.steps if step.title == "The error of $E$"]
    assert derivation.ok
    assert steps[-1].right == r"\frac{\Delta_{P} - (P \odot \Delta_{P}) \mathbf{1} \mathbf{1}^{\top}}{s \mathbf{1}^{\top}}"


def test_states_and_inference_are_written():
    derivation = normed(sbp.batch_norm).derivation("matrix", weights=[])
    found = {step.title: step for step in derivation.steps}
    assert found[r"The state $\bar{\mu}_{1}$"].latex == r"\bar{\mu}_{1} \leftarrow 0.9 \bar{\mu}_{1} + 0.1 \mu_{1}"
    assert found[r"The state $\bar{v}_{1}$"].verification.ok
    assert found[r"The node $\hat{X}_{1}$ at inference"].right == r"\frac{Z - \bar{\mu}_{1}}{\sqrt{\bar{v}_{1} + 10^{-5}}}"
    assert {"The states", "Inference"} <= {section.title for section in derivation.sections}
    assert {"The states", "Inference"}.isdisjoint(section.title for section in normed(sbp.layer_norm).derivation(weights=[]).sections)


def test_the_text_form_knows_the_layers():
    text = """
    data   X[n, 3], T[n, 2]
    A = layer_norm(dense(X, 4), eps=1e-3, bias=false)
    B = batch_norm(A, momentum=1/4)
    D = dropout(rms_norm(B, axes=-1), 0.3)
    output Y = dense(D, 2)
    loss   C = mse(Y, T)
    """
    net = sbp.parse(text)
    x = sbp.data("X", ("n", 3))
    a = sbp.node("A", sbp.layer_norm(sbp.dense(x, 4), eps=1e-3, bias=False))
    b = sbp.node("B", sbp.batch_norm(a, momentum=0.25))
    y = sbp.node("Y", sbp.dense(sbp.node("D", sbp.dropout(sbp.rms_norm(b), 0.3)), 2))
    same = sbp.Network(sbp.node("C", sbp.mse(y, sbp.data("T", ("n", 2)))), output=y)
    assert net.loss is same.loss
    assert list(net.states) == ["mubar_2", "vbar_2"]
    with pytest.raises(sbp.ParseError, match="'p' of dropout is a number"):
        sbp.parse("data x, t\nloss C = (dropout(x, t) - t)^2")


# --- what is wrong ---------------------------------------------------------------------------------------------------------------

X = sbp.data("X", ("n", 3))


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: sbp.layer_norm(X, 2), ShapeError, ["(n, 3)", "from -2 to 1"]),
        (lambda: sbp.layer_norm(X, "last"), ShapeError, ["'last'"]),
        (lambda: sbp.layer_norm(X, 0), ShapeError, ["(n,)", "integers"]),
        (lambda: sbp.rms_norm(X, eps=-1), NetworkError, ["eps is -1"]),
        (lambda: sbp.batch_norm(X, 0), ShapeError, ["(n,)"]),
        (lambda: sbp.batch_norm(sbp.data("x", (3,))), ShapeError, ["(3,)", "two axes"]),
        (lambda: sbp.batch_norm(X, momentum=2), NetworkError, ["momentum is 2"]),
        (lambda: sbp.node("y", X, inference=sbp.sum(X)), ShapeError, ["'y'", "shape ()", "(n, 3)"]),
        (lambda: sbp.node("y", X, inference="x"), NetworkError, ["'y'", "str"]),
        (lambda: sbp.Network(sbp.sum(sbp.node("y", X, inference=2 * sbp.node("X", X + 1)))), NetworkError, ["'X' is given twice"]),
        (lambda: sbp.state("m", ("n",)), ShapeError, ["'m'", "integers"]),
        (lambda: sbp.state("m", (2,), update=lambda m: sbp.sum(m)), ShapeError, ["'m'", "shape ()", "(2,)"]),
        (lambda: sbp.state("m", update=1), NetworkError, ["'m'", "lambda m"]),
        (lambda: sbp.state("m n"), NetworkError, ["'m n'"]),
        (lambda: sbp.state("m", (2,), init=np.ones(3)), ShapeError, ["(2,)", "(3,)"]),
    ],
)
def test_bad_input_is_named(make, error, said):
    with pytest.raises(error) as caught:
        make()
    for part in said:
        assert part in str(caught.value)
