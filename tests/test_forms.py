"""Every form of a gradient, chain, local, closed, whole and by entry, has the value that independent autodiff finds."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.calculus.forms import Forms

jax.config.update("jax_enable_x64", True)


def tanh_notebook():
    x, t = sbp.data("x t")
    w1, w2, b = sbp.weight("w_1 w_2 b")
    z1 = sbp.node("z_1", w1 * x)
    a1 = sbp.node("a_1", sp.tanh(z1))
    z2 = sbp.node("z_2", w2 * a1 + b)
    y = sbp.node("y", sp.tanh(z2))
    net = sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)
    return net, lambda w, d: (jnp.tanh(w["w_2"] * jnp.tanh(w["w_1"] * d["x"]) + w["b"]) - d["t"]) ** 2 / 2


def columns():
    """One sample as a column vector, in the convention of most textbooks."""
    x, t = sbp.data("x", 3), sbp.data("t", 2)
    W1, b1 = sbp.weight("W_1", (4, 3)), sbp.weight("b_1", 4)
    W2, b2 = sbp.weight("W_2", (2, 4)), sbp.weight("b_2", 2)
    a1 = sbp.node("a_1", sbp.sigmoid(sbp.node("z_1", W1 @ x + b1)))
    a2 = sbp.node("a_2", sbp.sigmoid(sbp.node("z_2", W2 @ a1 + b2)))
    net = sbp.Network(sbp.node("C", sbp.half_squared_error(a2, t)), output=a2)

    def loss(w, d):
        a = jax.nn.sigmoid(w["W_1"] @ d["x"] + w["b_1"])
        return jnp.sum((jax.nn.sigmoid(w["W_2"] @ a + w["b_2"]) - d["t"]) ** 2) / 2

    return net, loss


def classifier():
    net = sbp.mlp([3, 4, 2], activation="tanh", output="softmax", loss="cross_entropy")

    def loss(w, d):
        z = jnp.tanh(d["X"] @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(d["T"] * z, axis=1))

    return net, loss


def tied():
    """A weight used forwards and transposed, and a bias used twice: several paths."""
    X = sbp.data("X", ("n", 3))
    W, b = sbp.weight("W", (3, 2)), sbp.weight("b", 3)
    H = sbp.node("H", sbp.softplus((X + b) @ W))
    Y = sbp.node("Y", H @ W.T + b)
    net = sbp.Network(sbp.node("C", sbp.mse(Y, X)), output=Y)

    def loss(w, d):
        h = jax.nn.softplus((d["X"] + w["b"]) @ w["W"])
        return jnp.mean((h @ w["W"].T + w["b"] - d["X"]) ** 2)

    return net, loss


def structural():
    """Maximum, concatenation, slices, an embedding and labels."""
    labels, words = sbp.data("labels", "n"), sbp.data("words", "n")
    E, W = sbp.weight("E", (5, 3)), sbp.weight("W", (4, 3))
    e = sbp.node("e", sbp.take(E, words))
    u = sbp.node("u", sbp.concatenate([e[:, 1:], sbp.max(e, axis=1, keepdims=True), e[:, :1] ** 2], axis=1))
    z = sbp.node("z", u @ W)
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(z, labels)), output=z)

    def loss(w, d):
        e = w["E"][d["words"]]
        u = jnp.concatenate([e[:, 1:], e.max(axis=1, keepdims=True), e[:, :1] ** 2], axis=1)
        z = u @ w["W"]
        return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(len(z)), d["labels"]])

    return net, loss


def point(net, seed):
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(0, 0.7, w.shape) for name, w in net.weights.items()}
    data = {}
    for name, t in net.data.items():
        shape = tuple(3 if size == "n" else size for size in t.shape)
        data[name] = rng.integers(0, 3, shape) if name in ("labels", "words") else rng.normal(size=shape)
    return weights, data


NETWORKS = [tanh_notebook, columns, classifier, tied, structural]


@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_every_form_equals_autodiff(make):
    net, loss = make()
    weights, data = point(net, seed=7)
    expected = jax.grad(loss)(weights, data)
    values = {**weights, **data}
    scale = max(float(jnp.abs(g).max()) for g in expected.values())
    for name, gradient in net.gradients.items():
        want = np.asarray(expected[name])
        local = np.asarray(sbp.evaluate(gradient.local, values), dtype=float)
        np.testing.assert_allclose(local, want, atol=1e-12 * scale)
        if gradient.weight.shape == ():
            for form in (gradient.chain, gradient.closed):
                assert float(sbp.evaluate(form, values)) == pytest.approx(float(want), abs=1e-12 * scale)
            continue
        corners = itertools.product(*(sorted({0, size - 1}) for size in gradient.weight.shape))
        for index in corners:
            entry = gradient[index]
            forms = {"chain": entry.chain, "local": entry.local, "closed": entry.closed, "whole": gradient.closed(*index)}
            for form, expr in forms.items():
                assert float(sbp.evaluate(expr, values)) == pytest.approx(float(want[index]), abs=1e-12 * scale), (name, index, form)


@pytest.mark.parametrize("make", NETWORKS, ids=lambda f: f.__name__)
def test_closed_form_holds_weights_and_data_only(make):
    net, _ = make()
    allowed = set(net.weights.values()) | set(net.data.values())
    for gradient in net.gradients.values():
        assert {s for s in gradient.closed.free_symbols if isinstance(s, sbp.Tensor)} <= allowed


def test_closed_form_sums_over_the_batch():
    net, _ = classifier()
    closed = net.gradients["W_1"][0, 1].closed
    assert any(limit[2] + 1 == sbp.Dim("n") for s in closed.atoms(sp.Sum) for limit in s.limits)


def test_chain_is_the_product_of_named_partial_derivatives():
    net, _ = tanh_notebook()
    chain = net.gradients["w_1"].chain
    assert str(chain) == "dC/dy*dy/dz_2*dz_2/da_1*da_1/dz_1*dz_1/dw_1"
    y, t, w2, x, a1 = (net.system.by_name[name] for name in ("y", "t", "w_2", "x", "a_1"))
    # The factors, evaluated by hand as in the tanh notebook.
    assert [p.doit() for p in chain.args] == [y - t, 1 - y**2, w2, 1 - a1**2, x]


def test_chain_sums_over_paths():
    x = sbp.data("x")
    w = sbp.weight("w")
    a, b = sbp.node("a", sp.sin(w * x)), sbp.node("b", sp.exp(w))
    net = sbp.Network(sbp.node("C", a * b + w))
    chain = net.gradients["w"].chain
    assert isinstance(chain, sp.Add)
    assert sorted(str(term) for term in chain.args) == ["dC/da*da/dw", "dC/db*db/dw", "dC/dw"]
    assert sp.simplify(chain.doit().subs({a: a.definition, b: b.definition}) - sp.diff(sp.sin(w * x) * sp.exp(w) + w, w)) == 0


def test_closed_form_equals_sympy_diff_of_the_substituted_loss():
    net, _ = tanh_notebook()
    x, t = net.data["x"], net.data["t"]
    w1, w2, b = net.weights.values()
    loss = (sp.tanh(w2 * sp.tanh(w1 * x) + b) - t) ** 2 / 2
    at = {x: sp.Rational(3, 7), t: sp.Rational(-1, 5), w1: sp.Rational(4, 3), w2: sp.Rational(-7, 9), b: sp.Rational(1, 11)}
    for w in (w1, w2, b):
        difference = (net.gradients[w].closed - sp.diff(loss, w)).subs(at)
        assert abs(sp.N(difference, 50)) < 1e-45


def test_index_form_is_ordinary_sympy():
    """An entry's closed form can be handed to SymPy's own lambdify."""
    net, loss = classifier()
    weights, data = point(net, seed=3)
    want = np.asarray(jax.grad(loss)(weights, data)["W_1"])
    symbols = [net.data["X"], net.data["T"], *net.weights.values(), sbp.Dim("n")]
    f = sp.lambdify(symbols, net.gradients["W_1"][2, 1].closed)
    assert f(data["X"], data["T"], *weights.values(), 3) == pytest.approx(want[2, 1], rel=1e-12)


def test_closed_forms_that_would_fill_pages_are_refused_before_they_are_built(monkeypatch):
    X, T = sbp.data("X", ("n", 5, 4)), sbp.data("T", ("n", 5, 4))
    h = sbp.layer_norm(X + sbp.multi_head_attention(X, 2))
    net = sbp.Network(sbp.node("C", sbp.mse(h + sbp.dense(h, 4, "gelu"), T)))
    monkeypatch.setattr(Forms, "closed", None)  # whoever builds one fails
    for form in (net, net.gradients, net.gradients["W_Q_1"], net.gradients["W_Q_1"][0, 0]):
        with pytest.raises(sbp.UnsupportedError, match=r"'W_Q_1'|12 gradients|14 gradients") as refused:
            form.latex("closed")
        assert "fill pages" in str(refused.value)
        assert "'matrix'" in str(refused.value)


def test_a_closed_form_of_one_weight_is_printed_where_all_would_fill_pages(monkeypatch):
    net = sbp.mlp([3, 4, 2])
    each = [net._forms._size(w, closed=True) for w in net.system.weights]
    monkeypatch.setattr("symbackprop.calculus.forms.PAGES", (10, max(each)))
    with pytest.raises(sbp.UnsupportedError, match=r"4 gradients would fill pages.*print the closed form of one weight"):
        net.latex("closed")
    assert r"\tanh" in net.gradients["W_1"].latex("closed")
    notes = [note for section in net.derivation(verify=False).sections for note in section.notes]
    assert not any("fill pages" in note for note in notes)
    monkeypatch.setattr("symbackprop.calculus.forms.PAGES", (10, max(each) - 1))
    notes = [note for section in net.derivation(verify=False).sections for note in section.notes]
    assert any("fill pages" in note for note in notes)
