"""Cross-entropies of logits lose no digits where the answer is sure, however they are written and on whichever way they are computed. The truth is
mpmath's, or PyTorch's where nothing cancels."""

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.audit.precision import ulps
from symbackprop.calculus.rules import LOSSES
from symbackprop.calculus.stabilise import Rewriter, computed, trained
from symbackprop.graph.operators.cross_entropy import CrossEntropy, CrossEntropySlope, total
from symbackprop.graph.stable_losses import logistic_loss
from symbackprop.training.native import installed

torch = pytest.importorskip("torch")
F = torch.nn.functional

SURE = np.array([[40.0, -1.5, 3.0], [0.25, 90.0, 0.5], [1.0, 2.0, 3.0], [700.0, -700.0, 0.0], [5.0, 5.0, 5.0]])
LABELS = np.array([0, 1, 1, 0, 2])


def exact(logits, targets, total=None):
    """log(sum(exp(z))) a - sum(t z), and its slopes, by mpmath."""
    with mpmath.workdps(700):
        values, slopes = [], []
        for z, t in zip(logits.astype(float).tolist(), targets.astype(float).tolist(), strict=True):
            e = [mpmath.exp(x) for x in z]
            a = mpmath.fsum(t) if total is None else total
            values.append(a * mpmath.log(mpmath.fsum(e)) - mpmath.fsum(x * y for x, y in zip(t, z, strict=True)))
            slopes.append([a * x / mpmath.fsum(e) - y for x, y in zip(e, t, strict=True)])
        return values, slopes


def gradients(net, weights, data, way):
    """By the module, or by a training step whose optimizer leaves the gradients where the weights were."""
    if way == "module":
        return net.value_and_gradients(weights, **data)[1]
    backend, precise = way

    class Record(sbp.Optimizer):
        def rule(self, w, g, t, state):
            yield w, g

    trainer = net.trainer(Record(), weights=weights, backend=backend, precise=precise)
    trainer.step(**data)
    return trainer.weights


WAYS = ["module", ("numpy", False), ("numpy", True)]
needs_numba = pytest.mark.skipif(not installed(), reason="needs numba and SciPy")


def losses(kind):
    """A network whose weight's gradient is the slope of each row: logits W + X of data, with X zero."""
    W, X, k, T = sbp.weight("W", (5, 3)), sbp.data("X", ("n", 3)), sbp.data("k", ("n",)), sbp.data("T", ("n", 3))
    i = sbp.data("i", ("n",))
    z = sbp.node("z", sbp.take(W, i) + X)
    written = {
        "labels": sbp.cross_entropy(z, k),
        "one-hot": sbp.cross_entropy(z, T),
        "naive": -sbp.mean(sbp.sum(T * sp.log(sbp.softmax(z)), axis=-1)),
        "named": sbp.negative_log_likelihood(sbp.node("L", sbp.log_softmax(z)), k),
    }
    names = {"labels": ("X", "i", "k"), "one-hot": ("X", "i", "T"), "naive": ("X", "i", "T"), "named": ("X", "i", "k")}
    data = {"X": np.zeros((5, 3)), "i": np.arange(5), "k": LABELS, "T": np.eye(3)[LABELS]}
    return sbp.Network(sbp.node("C", 5 * written[kind])), {name: data[name] for name in names[kind]}


@pytest.mark.parametrize("kind", ["labels", "one-hot", "naive", "named"])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_slopes_of_sure_labels(kind, way):
    """exp(z_j)/sum(exp(z)) - 1 of the label j, where floats leave nothing of it."""
    hold_to_slopes(kind, way)


@needs_numba
def test_compiled_slopes_of_sure_labels():
    hold_to_slopes("labels", ("numba", False))


def hold_to_slopes(kind, way):
    net, data = losses(kind)
    found = gradients(net, {"W": SURE}, data, way)["W"]
    _, wanted = exact(SURE, np.eye(3)[LABELS])
    errors = [[ulps(f, t, "float64") for f, t in zip(a, b, strict=True)] for a, b in zip(found.tolist(), wanted, strict=True)]
    # A training step rounds z - max, which the exponential magnifies: of 90, 45 units. Precise ones do not.
    assert np.max(errors) <= (4 if way == "module" or way[1] else 400), errors


def test_a_slope_as_it_is_written_would_be_seen(monkeypatch):
    monkeypatch.setattr(Rewriter, "__call__", lambda self, name, expr: expr)
    net, data = losses("labels")
    found = gradients(net, {"W": SURE}, data, "module")["W"]
    _, wanted = exact(SURE, np.eye(3)[LABELS])
    assert ulps(found[0, 0], wanted[0][0], "float64") > 1e12


@pytest.mark.parametrize("way", [*WAYS, pytest.param(("numba", False), marks=needs_numba)], ids=str)
def test_values_and_slopes_of_sure_answers(way):
    """softplus(z) - t z: at t = 1, z = 40 it is 4.25e-18, where floats leave 0."""
    z, t, i = sbp.weight("z", (9,)), sbp.data("t", ("n",)), sbp.data("i", ("n",))
    v = sbp.weight("v", (9,))
    y = sbp.node("y", 9 * sbp.take(v, i) * _one_bce(sbp.take(z, i), t))
    at, targets = np.array([40.0, -40, 700, -700, 0.3, -2, 40, -40, 0.0]), np.array([1.0, 0, 1, 0, 1, 0.3, 0, 0.3, 0.25])
    found = gradients(sbp.Network(sbp.node("C", sbp.mean(y))), {"z": at, "v": np.ones(9)}, {"t": targets, "i": np.arange(9)}, way)
    with mpmath.workdps(700):
        for k, (x, p) in enumerate(zip(at.tolist(), targets.tolist(), strict=True)):
            value = (1 - mpmath.mpf(p)) * mpmath.log1p(mpmath.exp(x)) + p * mpmath.log1p(mpmath.exp(-x))
            slope = (1 - mpmath.mpf(p)) / (1 + mpmath.exp(-x)) - p / (1 + mpmath.exp(x))
            assert ulps(found["v"][k], value, "float64") <= 4
            assert ulps(found["z"][k], slope, "float64") <= 4


def _one_bce(z, t):
    return sbp.softplus(z) - t * z


def test_every_way_to_write_it_becomes_one_function():
    z, t = sbp.weight("z", (4,)), sbp.data("t", (4,))
    p = sbp.node("p", sbp.sigmoid(z))
    naive = -(t * sp.log(p) + (1 - t) * sp.log(1 - p))
    for y in (_one_bce(z, t), naive, (1 - t) * sbp.softplus(z) + t * sbp.softplus(-z), t * sbp.softplus(-z) - (t - 1) * sbp.softplus(z)):
        assert Rewriter(LOSSES)("y", y) in (logistic_loss(z, 1 - t, t), logistic_loss(-z, t, 1 - t))
    assert Rewriter(LOSSES)("y", 3 * sbp.softplus(z) - 3 * z) == 3 * sbp.softplus(-z)
    assert Rewriter(LOSSES)("y", sbp.softplus(z) - sbp.softplus(-z)) == z
    weighted = sbp.binary_cross_entropy_with_logits(z, t, pos_weight=sbp.data("w"))
    assert next(iter(Rewriter(LOSSES)("C", weighted).atoms(logistic_loss))) == logistic_loss(z, 1 - t, sbp.data("w") * t)


def test_what_is_no_cross_entropy_stays():
    """Numbers of opposite sign, a weight that depends on the logit itself, the sum along another axis or of something else."""
    z, t = sbp.weight("z", (4,)), sbp.data("t", (4,))
    p = sbp.node("p", sbp.sigmoid(z))
    for y in (sbp.softplus(z) + z, sbp.softplus(z) - 2 * z, sbp.softplus(z) - z * p, sbp.softplus(z) - t):
        assert not Rewriter(LOSSES)("y", y).has(logistic_loss)
    Z, T = sbp.weight("Z", (3, 3)), sbp.data("T", (3, 3))
    for y in (sbp.logsumexp(Z, axis=0) - sbp.sum(T * Z, axis=1), sbp.logsumexp(Z, axis=1) + sbp.sum(T, axis=1), sbp.sum(T * sbp.softmax(Z))):
        assert not Rewriter(LOSSES)("y", y).has(CrossEntropy)


def test_the_sum_of_targets():
    k, T, w = sbp.data("k", ("n",)), sbp.data("T", ("n", 4)), sbp.data("w", (4,))
    hot = sbp.node("hot", sbp.one_hot(k, 4))
    assert total(hot, -1) == 1
    assert total(sp.Rational(9, 10) * hot + sp.Rational(1, 40), -1) == 1
    assert total(T, -1) == sbp.sum(T, axis=-1)
    assert total(w * hot, -1) == sbp.sum(w * hot, axis=-1)
    assert total(T + hot, -1) == 1 + sbp.sum(T, axis=-1)


@pytest.mark.parametrize("kind", [CrossEntropy, CrossEntropySlope])
@pytest.mark.parametrize("axis", [-1, -2])
def test_an_operator_of_logits_is_its_formula(kind, axis):
    """Its array form, its index form by mpmath, its LaTeX, and its gradients in all three operands, against the plain operators of the formula."""
    Z, T = sbp.weight("Z", (3, 4)), sbp.weight("T", (3, 4))
    a = sbp.weight("a", (3 if axis == -1 else 4,))
    made, formula = kind(sp.Integer(axis), Z, T, a), kind.formula(Z, T, a, axis)
    rng = np.random.default_rng(2)
    R = sbp.weight("R", made.shape)
    at = {"Z": rng.normal(size=(3, 4)), "T": rng.normal(size=(3, 4)), "a": rng.normal(size=a.shape), "R": rng.normal(size=R.shape)}
    np.testing.assert_allclose(*(np.array(sbp.evaluate(x, at, 30), dtype=float) for x in (made, formula)), rtol=1e-14)
    (x, first), (y, second) = (sbp.Network(sbp.node("C", sbp.sum(R * sbp.node("Y", e)))).value_and_gradients(at) for e in (made, formula))
    assert x == pytest.approx(y, rel=1e-12)
    for name in at:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-11, atol=1e-14)
    latex = [sbp.Network(sbp.node("C", sbp.sum(R * sbp.node("Y", e)))).latex("equations") for e in (made, formula)]
    assert latex[0] == latex[1]


def test_formulas_are_shown_as_on_paper():
    """Rewriting is for what is executed alone."""
    z, k = sbp.node("z", sbp.data("X", ("n", 4)) @ sbp.weight("W", (4, 3))), sbp.data("k", ("n",))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(z, k)))
    assert r"\operatorname{softmax}(z) - \operatorname{onehot}(k)" in net.gradients["W"].latex("matrix") + net.latex("equations") + net.derivation().latex()
    assert "_cross_entropy_slope(z, onehot_k, 1, -1)" in net.generate("numpy")


KINDS = ["labels", "dense", "smooth", "weights", "binary", "pos_weight"]


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(2, 30), st.sampled_from(KINDS), st.booleans())
def test_training_steps_are_those_of_pytorch(n, features, classes, kind, precise):
    rng = np.random.default_rng(n + 100 * classes)
    X, k, T, w = sbp.data("X", ("n", features)), sbp.data("k", ("n",)), sbp.data("T", ("n", classes)), sbp.data("w", (classes,))
    z = sbp.node("z", X @ sbp.weight("W", (features, classes)))
    data = {"X": rng.normal(size=(n, features)) * 3, "k": rng.integers(0, classes, n)}
    data |= {"T": rng.dirichlet(np.ones(classes), n), "w": rng.uniform(0.5, 2, classes)}
    W = rng.normal(size=(features, classes))
    tensors = {name: torch.tensor(x) for name, x in data.items()}
    theirs = {
        "labels": lambda y: F.cross_entropy(y, tensors["k"]),
        "dense": lambda y: F.cross_entropy(y, tensors["T"]),
        "smooth": lambda y: F.cross_entropy(y, tensors["k"], label_smoothing=0.2),
        "weights": lambda y: F.cross_entropy(y, tensors["k"], weight=tensors["w"]),
        "binary": lambda y: F.binary_cross_entropy_with_logits(y, tensors["T"]),
        "pos_weight": lambda y: F.binary_cross_entropy_with_logits(y, tensors["T"], pos_weight=tensors["w"]),
    }
    ours = {
        "labels": lambda: (sbp.cross_entropy(z, k), "Xk"),
        "dense": lambda: (sbp.cross_entropy(z, T), "XT"),
        "smooth": lambda: (sbp.cross_entropy(z, k, label_smoothing=0.2), "Xk"),
        "weights": lambda: (sbp.cross_entropy(z, k, class_weights=w), "Xkw"),
        "binary": lambda: (sbp.binary_cross_entropy_with_logits(z, T), "XT"),
        "pos_weight": lambda: (sbp.binary_cross_entropy_with_logits(z, T, pos_weight=w), "XTw"),
    }
    loss, names = ours[kind]()
    V = torch.tensor(W, requires_grad=True)
    wanted = theirs[kind](tensors["X"] @ V)
    wanted.backward()
    trainer = sbp.Network(sbp.node("C", loss)).trainer(sbp.SGD(lr=1), weights={"W": W}, backend="numpy", precise=precise)
    assert trainer.step(**{name: data[name] for name in names}) == pytest.approx(wanted.item(), rel=1e-10)
    np.testing.assert_allclose(W - trainer.weights["W"], V.grad.numpy(), rtol=1e-10, atol=1e-10)


EVERY_RANK = [("numpy", (3,)), ("numpy", (4, 3)), ("numpy", (2, 4, 3)), pytest.param("numba", (4, 3), marks=needs_numba)]


@pytest.mark.parametrize(("backend", "shape"), EVERY_RANK, ids=str)
def test_logits_of_every_rank(backend, shape):
    """Where the largest entry stands is found by its place in the flat array."""
    rng = np.random.default_rng(len(shape))
    z, T = sbp.weight("z", shape), sbp.data("T", ("b", *shape))
    at, targets = rng.normal(size=shape), rng.dirichlet(np.ones(3), (5, *shape[:-1]))
    logits = sbp.node("y", z + sbp.data("X", ("b", *shape)))
    X = rng.normal(size=(5, *shape))
    trainer = sbp.Network(sbp.node("C", sbp.cross_entropy(logits, T))).trainer(sbp.SGD(lr=1), weights={"z": at}, backend=backend)
    V = torch.tensor(at, requires_grad=True)
    wanted = F.cross_entropy((V + torch.tensor(X)).reshape(-1, 3), torch.tensor(targets).reshape(-1, 3))
    wanted.backward()
    assert trainer.step(X=X, T=targets) == pytest.approx(wanted.item(), rel=1e-12)
    np.testing.assert_allclose(at - trainer.weights["z"], V.grad.numpy(), rtol=1e-10, atol=1e-12)


def test_two_losses_of_one_logit_share_its_exponentials():
    """In a training step; the accuracy beside the loss reads the same softmax."""
    z, k, T = sbp.node("z", sbp.data("X", ("n", 4)) @ sbp.weight("W", (4, 3))), sbp.data("k", ("n",)), sbp.data("T", ("n", 3))
    loss = sbp.cross_entropy(z, k) + sbp.cross_entropy(z, T) / 2 + sbp.mean(sbp.softmax(z) ** 2)
    net = sbp.Network(sbp.node("C", loss))
    trainer = net.trainer(sbp.SGD(lr=1), backend="numpy", seed=3)
    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(7, 4)), "k": rng.integers(0, 3, 7), "T": rng.dirichlet(np.ones(3), 7)}
    W = np.array(trainer.weights["W"])
    value, slopes = net.value_and_gradients({"W": W}, **data)
    assert trainer.step(**data) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(W - trainer.weights["W"], slopes["W"], rtol=1e-12, atol=1e-15)
    source = trainer._numpy_engine(2).source
    assert source.count("np.exp(") == 1
    assert source.count(".argmax(") == 1


# --- precise training --------------------------------------------------------------------------------------------------------


def test_a_precise_step_is_computed_as_the_module_is():
    net = sbp.mlp([2, 3, 1], "tanh", loss="mse")
    assert not trained(net.system).rewrites
    assert computed(net.system).rewrites
    plain, precise = (net.trainer(sbp.SGD(lr=0.1), backend="numpy", precise=p)._numpy_engine(4).source for p in (False, True))
    assert "_sech(" in precise
    assert "_sech(" not in plain


@pytest.mark.parametrize("backend", ["numpy", pytest.param("numba", marks=needs_numba)])
def test_a_saturated_unit_still_learns(backend):
    """The slope of tanh at 20 is 1.7e-17; of floats, 1 - a² leaves 0. One scalar sample, on plain floats or compiled."""
    w, x = sbp.weight("w"), sbp.data("x")
    net = sbp.Network(sbp.node("C", sbp.node("a", sp.tanh(sbp.node("z", w + x)))))
    steps = []
    for precise in (False, True):
        trainer = net.trainer(sbp.SGD(lr=2.0**60), weights={"w": 0.0}, backend=backend, precise=precise)
        trainer.step(x=20.0)
        steps.append(-float(trainer.weights["w"]) / 2.0**60)
    assert steps[0] == 0
    assert steps[1] == pytest.approx(float(mpmath.sech(20) ** 2), rel=1e-15)


def test_precise_is_kept_with_a_run(tmp_path):
    net = sbp.mlp([2, 3, 1], "tanh", loss="mse")
    trainer = net.trainer(sbp.Adam(), precise=True, backend="numpy")
    assert "precise" in repr(trainer)
    trainer.save(tmp_path / "run.npz")
    again = sbp.Trainer.load(tmp_path / "run.npz")
    assert again.precise
    assert again._numpy_engine(4).source == trainer._numpy_engine(4).source
    with pytest.raises(sbp.NetworkError, match="precise is 'yes'; expected True or False"):
        net.trainer(sbp.Adam(), precise="yes")


SCALED = {
    "a number": (lambda z: z / 2, 2.0),
    "a temperature": (lambda z: z / sbp.weight("tau"), 2.0),
    "a sign": (lambda z: -z, -1.0),
    "a shift": (lambda z: 2 * z + 1, 0.5),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("labels", [True, False])
@pytest.mark.parametrize("name", SCALED)
def test_logits_may_be_scaled(name, labels, way):
    """SymPy takes a number out of the sum of t z, and turns t (1 - z) round."""
    scaled, factor = SCALED[name]
    W, X, t = sbp.weight("W", (5, 3)), sbp.data("X", ("n", 5)), sbp.data("t", ("n",) if labels else ("n", 3))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(scaled(sbp.node("z", X @ W)), t)))
    weights = {"W": SURE * factor, "tau": 2.0} if name == "a temperature" else {"W": SURE * factor}
    targets = np.eye(3)[LABELS]
    values, slopes = exact(SURE, targets)
    data = {"X": np.eye(5), "t": LABELS if labels else targets}
    rounded = 1 + np.abs(np.array(SURE)).max()  # of a shift: the logits are rounded at their own size
    limit = 4 if name != "a shift" else 4 * rounded
    assert ulps(net.value_and_gradients(weights, **data)[0], mpmath.fsum(values) / 5) <= limit
    found = 5 * factor * gradients(net, weights, data, way)["W"]
    assert max(ulps(x, y) for row, true in zip(found, slopes, strict=True) for x, y in zip(row, true, strict=True)) <= limit


@pytest.mark.parametrize("way", ["loss", ("numpy", False), ("numpy", True), pytest.param(("numba", False), marks=needs_numba)])
def test_a_class_that_a_mask_takes_out_has_no_part_in_the_loss(way):
    z = np.random.default_rng(0).normal(size=(3, 4))
    M, labels = np.array([[1, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 0]]), np.array([0, 1, 2])
    W, X, m, t = sbp.weight("W", (3, 4)), sbp.data("X", ("n", 3)), sbp.data("M", ("n", 4)), sbp.data("t", ("n",))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.node("z", sp.Piecewise((X @ W, m > 0), (-sp.oo, True))), t)))
    expected = F.cross_entropy(torch.tensor(np.where(M, z, -np.inf)), torch.tensor(labels)).item()
    data = {"X": np.eye(3), "M": M, "t": labels}
    if way == "loss":
        found = net.value_and_gradients({"W": z}, **data)[0]
    else:
        found = net.trainer(sbp.SGD(lr=0.1), weights={"W": z}, backend=way[0], precise=way[1]).fit(data, epochs=1).loss[0]
    assert found == pytest.approx(expected, rel=1e-15)
