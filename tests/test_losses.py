"""The losses: value and gradient against PyTorch's, over random shapes; how their gradients read; and what is refused."""

import re

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import xlogy
from torch.nn import functional

import symbackprop as sbp

few = settings(max_examples=2)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple)
BATCHES = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)
POSITIVE = st.floats(0.1, 3)


def numbers(shapes, seed=0, low=-2.0, high=2.0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(low, high, shape) for name, shape in shapes.items()}


def network(loss):
    return sbp.Network(sbp.node("C", loss))


def probabilities(shape, seed=1, zeros=False):
    p = np.random.default_rng(seed).uniform(0, 1, shape)
    if zeros and shape[-1] > 1:
        p[..., 0] = 0
    return p / p.sum(-1, keepdims=True)


# --- regression ----------------------------------------------------------------------------------------------------------


@few
@given(shape=SHAPES, width=POSITIVE)
def test_huber_and_smooth_l1_are_torchs(shape, width, agrees):
    y, t = sbp.weight("y", shape), sbp.data("t", shape)
    values, data = numbers({"y": shape}), numbers({"t": shape}, 1)
    data["t"].flat[0] = values["y"].flat[0] - width  # at the seam
    net = network(sbp.huber(y, sbp.weight("t", shape), width))
    agrees(net, lambda y, t: functional.huber_loss(y, t, delta=width), values | data)
    net = network(sbp.smooth_l1(y, sbp.weight("t", shape), width))
    agrees(net, lambda y, t: functional.smooth_l1_loss(y, t, beta=width), values | data)
    assert sbp.node("a", sbp.huber(y, t)) is sbp.node("a", sbp.huber(y, t, delta=1))


@few
@given(shape=SHAPES)
def test_the_hinge_of_two_classes(shape, agrees):
    y, t = sbp.weight("y", shape), sbp.data("t", ("n", *shape))
    signs = np.random.default_rng(1).choice([-1.0, 1.0], (3, *shape))
    net = network(sbp.hinge(y * t**2, t))
    agrees(net, lambda y, t: torch.clamp(1 - t * y * t**2, min=0).mean(), numbers({"y": shape}), {"t": signs})


@few
@given(n=st.integers(1, 5), classes=st.integers(1, 5))
def test_the_hinge_of_several_classes_is_torchs(n, classes, agrees):
    labels = np.random.default_rng(1).integers(0, classes, n)
    net = network(sbp.hinge(sbp.data("X", ("n", classes)) * sbp.weight("w", (classes,)), sbp.data("t", ("n",))))
    data = numbers({"X": (n, classes)}, 2) | {"t": labels}
    agrees(net, lambda w, X, t: functional.multi_margin_loss(X * w, t), numbers({"w": (classes,)}), data)


@few
@given(batch=BATCHES, n=st.integers(1, 5))
def test_cosines_are_torchs(batch, n, agrees):
    shape = (*batch, n)
    x, y = sbp.weight("x", shape), sbp.weight("y", shape)
    c = sbp.weight("c", batch)
    values = numbers({"x": shape, "y": shape, "c": batch})
    agrees(network(sbp.sum(c * sbp.cosine_similarity(x, y))), lambda x, y, c: (c * functional.cosine_similarity(x, y, -1)).sum(), values)
    del values["c"]
    agrees(network(sbp.cosine_loss(x, y)), lambda x, y: (1 - functional.cosine_similarity(x, y, -1)).mean(), values)


def test_a_zero_vector_has_a_cosine_and_finite_derivatives():
    """PyTorch: value 0; the derivative in the zero vector x is y/(|y| 1e-8), and that in y is 0."""
    x, y = sbp.weight("x", (2,)), sbp.weight("y", (2,))
    value, g = network(sbp.cosine_similarity(x, y)).value_and_gradients({"x": np.zeros(2), "y": np.array([3.0, 4.0])})
    tensors = [torch.zeros(2, dtype=torch.float64, requires_grad=True), torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)]
    expected = functional.cosine_similarity(*tensors, dim=0)
    expected.backward()
    assert value == expected.item() == 0
    np.testing.assert_allclose(g["x"], tensors[0].grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(g["y"], tensors[1].grad.numpy(), atol=1e-15)


# --- classification --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hard", [False, True], ids=["probabilities", "labels"])
@few
@given(n=st.integers(1, 5), classes=st.integers(2, 5), smoothing=st.sampled_from([0, 0.1, 0.9]))
def test_cross_entropy_is_torchs(weighted, hard, n, classes, smoothing, agrees):
    X, W = sbp.data("X", ("n", 3)), sbp.weight("W", (3, classes))
    t = sbp.data("t", ("n",) if hard else ("n", classes))
    v = sbp.data("v", (classes,)) if weighted else None
    labels = np.random.default_rng(1).integers(0, classes, n)
    data = numbers({"X": (n, 3)}, 2) | {"t": labels if hard else probabilities((n, classes))}
    if weighted:
        data["v"] = np.random.default_rng(3).uniform(0.1, 2, classes)
    net = network(sbp.cross_entropy(X @ W, t, class_weights=v, label_smoothing=smoothing))

    def reference(W, X, t, v=None):
        return functional.cross_entropy(X @ W, t, weight=v, label_smoothing=smoothing)

    agrees(net, reference, numbers({"W": (3, classes)}), data)
    if smoothing == 0:  # negative log-likelihood of the log-softmax; of probabilities, PyTorch has none
        net = network(sbp.negative_log_likelihood(sbp.log_softmax(X @ W), t, class_weights=v))
        agrees(net, reference, numbers({"W": (3, classes)}), data)


@few
@given(batch=BATCHES, classes=st.integers(1, 5))
def test_negative_log_likelihood_over_several_axes(batch, classes, agrees):
    labels = np.random.default_rng(1).integers(0, classes, (2, *batch))
    net = network(sbp.negative_log_likelihood(sbp.data("X", ("n", *batch, classes)) * sbp.weight("w"), sbp.data("t", ("n", *batch))))
    data = numbers({"X": (2, *batch, classes)}) | {"t": labels}
    agrees(net, lambda w, X, t: functional.nll_loss((w * X).movedim(-1, 1), t), {"w": np.array(0.7)}, data)


@few
@given(n=st.integers(1, 5), classes=st.integers(1, 5), zeros=st.booleans())
def test_kl_divergence_is_torchs(n, classes, zeros, agrees):
    z = sbp.weight("z", (n, classes))
    net = network(sbp.kl_divergence(sbp.log_softmax(z), sp.sympify(1) * sbp.data("t", (n, classes))))
    t = probabilities((1, n, classes), zeros=zeros)

    def reference(z, t):
        return functional.kl_div(torch.log_softmax(z, -1), t[0], reduction="batchmean")

    agrees(net, reference, numbers({"z": (n, classes)}), {"t": t})


@few
@given(n=st.integers(1, 5), units=st.integers(1, 4), vector=st.booleans())
def test_positive_weights_are_torchs(n, units, vector, agrees):
    z, t = sbp.weight("w", (units,)) * sbp.data("X", ("n", units)), sbp.data("t", ("n", units))
    heavy = sbp.data("v", (units,)) if vector else 2.5
    data = numbers({"X": (n, units)}, 2) | numbers({"t": (n, units)}, 3, 0, 1) | (numbers({"v": (units,)}, 4, 0.1, 3) if vector else {})

    def reference(w, X, t, v=2.5):
        return functional.binary_cross_entropy_with_logits(w * X, t, pos_weight=torch.as_tensor(v).expand(units))

    weights = numbers({"w": (units,)})
    agrees(network(sbp.binary_cross_entropy_with_logits(z, t, heavy)), reference, weights, data)
    agrees(network(sbp.binary_cross_entropy(sbp.node("p", sbp.sigmoid(z)), t, heavy)), reference, weights, data)


@few
@given(first=SHAPES, second=SHAPES)
def test_penalties_are_added_to_a_loss(first, second, agrees):
    a, b = sbp.weight("a", first), sbp.weight("b", second)
    values = numbers({"a": first, "b": second})
    agrees(network(sbp.mean(a) + 0.1 * sbp.l2(a, b)), lambda a, b: a.mean() + 0.1 * ((a**2).sum() + (b**2).sum()), values)
    values["a"].flat[0] = 0  # |0|' = 0
    agrees(network(sbp.mean(a) + 0.1 * sbp.l1(a, b)), lambda a, b: a.mean() + 0.1 * (a.abs().sum() + b.abs().sum()), values)


# --- how gradients read ------------------------------------------------------------------------------------------------------


def declared():
    """The tensors, which stand where they were declared last: other tests may declare some of them too."""
    return sbp.data("X", ("n", 3)), sbp.weight("W", (3, 4)), sbp.data("t", ("n", 4)), sbp.data("l", ("n",)), sbp.data("v", (4,))


X, W, t, labels, v = declared()
TENTH = sp.Rational(1, 10)
# The loss of logits Z, and its derivative in Z as it is found on paper; v t 1 1^T holds the sum of a row of v t in each of its entries.
COLLAPSED = {
    "plain": (lambda z: sbp.cross_entropy(z, t), r"\frac{1}{n} (\operatorname{softmax}(Z) - t)"),
    "smoothed": (
        lambda z: sbp.cross_entropy(z, t, label_smoothing=TENTH),
        r"\frac{1}{n} \left(\operatorname{softmax}(Z) - \frac{9}{10} t - \frac{1}{40}\right)",
    ),
    "weighted": (
        lambda z: sbp.cross_entropy(z, t, v),
        r"\frac{1}{n} (((t \odot v) \mathbf{1} \mathbf{1}^{\top}) \odot \operatorname{softmax}(Z) - t \odot v)",
    ),
    "the same by log-likelihood": (
        lambda z: sbp.negative_log_likelihood(sbp.log_softmax(z), t, v),
        r"\frac{1}{n} (((t \odot v) \mathbf{1} \mathbf{1}^{\top}) \odot \operatorname{softmax}(Z) - t \odot v)",
    ),
    "weighted labels": (
        lambda z: sbp.cross_entropy(z, labels, v),
        r"\frac{1}{\mathbf{1}^{\top} (v \odot \operatorname{onehot}(l)) \mathbf{1}} (((v \odot \operatorname{onehot}(l)) \mathbf{1} \mathbf{1}^{\top})"
        r" \odot \operatorname{softmax}(Z) - v \odot \operatorname{onehot}(l))",
    ),
    "two classes": (lambda z: sbp.binary_cross_entropy_with_logits(z, t, v), r"\frac{1}{4 n} (\sigma(Z) \odot (1 + t \odot (v - 1)) - t \odot v)"),
    "divergence": (lambda z: sbp.kl_divergence(sbp.log_softmax(z), t), r"\frac{1}{n} ((t \mathbf{1} \mathbf{1}^{\top}) \odot \operatorname{softmax}(Z) - t)"),
    "huber": (
        lambda z: sbp.huber(z, t),
        r"\frac{1}{4 n} \left(\begin{cases} Z - t & \text{for } \left|Z - t\right| \leq 1 \\ \operatorname{sign}(Z - t) & \text{otherwise} \end{cases}\right)",
    ),
}


@pytest.mark.parametrize("loss", COLLAPSED)
def test_a_gradient_reads_as_on_paper(loss):
    declared()
    make, expected = COLLAPSED[loss]
    printed = network(make(sbp.node("Z", X @ W))).gradients["W"].latex("matrix")
    assert rf"\Delta_{{Z}} &= {expected} \\" in printed


# --- bad input -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda y, t, v: sbp.huber(y, t, delta=0), "delta is 0; expected a positive number"),
        (lambda y, t, v: sbp.smooth_l1(y, t, beta=-1), "beta is -1; expected a positive number"),
        (lambda y, t, v: sbp.huber(y, v), "the prediction has shape (n, 3) and the target (2,)"),
        (lambda y, t, v: sbp.hinge(y, sbp.data("t", ("m",))), "the labels have shape (m,), expected (n,)"),
        (lambda y, t, v: sbp.cross_entropy(y, t, class_weights=v), "have shape (2,); expected one for each class, (3,)"),
        (lambda y, t, v: sbp.negative_log_likelihood(y, t, v), "have shape (2,); expected one for each class, (3,)"),
        (lambda y, t, v: sbp.cosine_similarity(y, v), "the prediction has shape (n, 3) and the target (2,)"),
        (lambda y, t, v: sbp.cross_entropy(y, t, label_smoothing=2), "label_smoothing is 2; expected a number from 0 to 1"),
        (lambda y, t, v: sbp.l1(), "nothing to penalise"),
        (lambda y, t, v: sbp.l2("W_1"), "expected a SymPy expression of tensors"),
    ],
)
def test_bad_input_is_named(call, message):
    y, t, v = sbp.data("y", ("n", 3)), sbp.data("t", ("n", 3)), sbp.data("v", (2,))
    with pytest.raises(sbp.SymbackpropError) as error:
        call(y, t, v)
    assert message in str(error.value)


# --- probabilities ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "applied", "meant"),
    [
        (sbp.cross_entropy, sbp.softmax, "cross_entropy(Z, T)"),
        (sbp.negative_log_likelihood, sbp.softmax, "negative_log_likelihood(log_softmax(Z), T)"),
        (sbp.binary_cross_entropy_with_logits, sbp.sigmoid, "binary_cross_entropy_with_logits(Z, T)"),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_probabilities_where_logits_belong(loss, applied, meant, named):
    """Else the softmax is taken twice, and training is slow without a word. The right call says nothing, warnings being errors here."""
    Z, T = sbp.data("Z", ("n", 3)), sbp.data("T", ("n", 3))
    shares = sbp.node("S", applied(Z)) if named else applied(Z)
    with pytest.warns(sbp.LogitsWarning, match=re.escape(f"write {meant}")) as caught:
        loss(shares, T)
    assert caught[0].filename == __file__
    assert f"{loss.__name__}({shares}, T): {'S = ' if named else ''}{applied.__name__}(Z)" in str(caught[0].message)
    again = sbp.node("A", sbp.node("S", applied(Z)))
    with pytest.warns(sbp.LogitsWarning, match=re.escape(f"({again}, T): A = {applied.__name__}(Z)")):
        loss(again, T)
    loss(sbp.node("S", sbp.log_softmax(Z)), T)


@pytest.mark.parametrize("loss", [sbp.cross_entropy, sbp.negative_log_likelihood])
def test_probabilities_of_another_kind(loss):
    """A softmax along another axis, of which the right form is that of its logarithm; sigmoids, of which there are two."""
    Z, T = sbp.data("Z", ("n", 3)), sbp.data("T", ("n", 3))
    P = sbp.node("P", sbp.softmax(Z, axis=0))
    with pytest.warns(sbp.LogitsWarning, match=re.escape("write negative_log_likelihood(log_softmax(Z, axis=0), T), or take the softmax along the last axis")):
        loss(P, T)
    sbp.negative_log_likelihood(sbp.log_softmax(Z, axis=0), T)
    with pytest.warns(sbp.LogitsWarning, match=r"Z\)?, T\) for one class out of several, binary_cross_entropy_with_logits\(Z, T\)"):
        loss(sbp.sigmoid(Z), T)
    sbp.binary_cross_entropy_with_logits(Z, T)


@settings(max_examples=20)
@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 0.25, 0.75]), st.sampled_from([0.0, 0.3, 1.0])), min_size=1, max_size=5))
def test_certain_probabilities_cost_nothing_where_they_are_right(close, pairs):
    """0 log 0 = 0: the value is PyTorch's, and SciPy's xlogy, which has the slope of the term that is there."""
    p, t = np.array(pairs).T
    certain = ((p == 0) & (t > 0)) | ((p == 1) & (t < 1))
    p, t = np.where(certain, t, p), t  # a certain mistake has no finite cost
    P, T = sbp.weight("p", p.shape), sbp.data("t", p.shape)
    net = sbp.Network(sbp.node("C", sbp.binary_cross_entropy(P, T)))
    value, gradients = net.value_and_gradients({"p": p}, t=t)
    close(value, -(xlogy(t, p) + xlogy(1 - t, 1 - p)).mean())
    close(value, torch.nn.functional.binary_cross_entropy(torch.tensor(p), torch.tensor(t)).item())
    rows = list(zip(p.tolist(), t.tolist(), strict=True))
    close(gradients["p"], np.array([(-t / p if t else 0.0) + ((1 - t) / (1 - p) if t < 1 else 0.0) for p, t in rows]) / len(rows))
