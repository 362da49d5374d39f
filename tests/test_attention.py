"""Attention, embeddings and the bilinear layer, in value and gradient against PyTorch's own layers, over random shapes; masks; what they print."""

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.calculus.differentiate import adjoints
from symbackprop.graph.equations import collect
from symbackprop.graph.operators.reduction import Softmax

few = settings(max_examples=2)


def total(y, shape):
    """A loss that reads every entry of y by a weight of its own."""
    return sbp.sum(sbp.weight("c", shape) * y)


def numbers(shapes, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape) for name, shape in shapes.items()}


def dimensions(*names):
    return {name: st.integers(1, 5) for name in names}


def masked(scores, allowed):
    """Softmax over the keys that are allowed, zeros where there are none: a sum of exponentials, written out."""
    e = torch.exp(scores - scores.detach().amax(-1, keepdim=True)) * allowed
    return e / e.sum(-1, keepdim=True).clamp(min=1e-300)


# --- attention -----------------------------------------------------------------------------------------------------------

MASKS = ["none", "data", "added", "causal", "empty rows"]


@pytest.mark.parametrize("mask", MASKS)
@few
@given(batch=st.lists(st.integers(1, 3), max_size=2), **dimensions("n", "m", "d", "e"))
def test_attention_is_torchs(mask, batch, n, m, d, e, agrees):
    m = n if mask == "causal" else m
    shapes = {"q": (*batch, n, d), "k": (*batch, m, d), "v": (*batch, m, e)}
    tensors = {name: sbp.weight(name, shape) for name, shape in shapes.items()}
    allowed = np.random.default_rng(1).uniform(size=(n, m)) < 0.5
    if mask == "empty rows":
        allowed[0] = False
    elif mask in ("data", "causal"):
        allowed = np.tri(n, dtype=bool) if mask == "causal" else allowed | (np.arange(m) == 0)
    data = {"none": {}, "causal": {}, "added": {"M": np.random.default_rng(2).normal(size=(n, m))}}.get(mask, {"M": allowed * 1.0})
    M = sbp.data("M", (n, m))
    given_mask = {"none": None, "causal": sbp.positions(n)[:, None] >= sbp.positions(m), "added": M}.get(mask, M > 0)
    y = sbp.attention(**tensors, mask=given_mask)
    assert y.shape == (*batch, n, e)

    def reference(q, k, v, c, M=None):
        if mask == "empty rows":
            return (c * (masked(q @ k.mT / d**0.5, M) @ v)).sum()
        torchs = {"none": None, "added": M}.get(mask, torch.tensor(allowed))
        return (c * torch.nn.functional.scaled_dot_product_attention(q, k, v, torchs)).sum()

    agrees(sbp.Network(sbp.node("C", total(y, y.shape))), reference, numbers(shapes | {"c": y.shape}), data)


def test_an_empty_row_has_neither_value_nor_gradient(draw):
    """A query that may see no key, with a score far from the others: zeros, no NaN, and no warning; in float32 too, and compiled."""
    q, k, v, M = sbp.weight("q", (3, 2)), sbp.weight("k", (4, 2)), sbp.weight("v", (4, 2)), sbp.data("M", (3, 4))
    y = sbp.attention(q, k, v, M > 0)
    net = sbp.Network(sbp.node("C", sbp.sum((y - 1) ** 2)), output=y)
    weights = draw({"q": (3, 2), "k": (4, 2), "v": (4, 2)})
    weights["q"][1] = 1e6
    M = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1.0]])
    value, gradients = net.value_and_gradients(weights, M=M)
    for name, g in gradients.items():
        assert np.isfinite(g).all(), name
    assert not gradients["q"][1].any()
    assert np.isfinite(value)
    for backend, dtype in (("numpy", "float64"), ("numpy", "float32"), ("numba", "float64")):
        trainer = net.trainer(sbp.SGD(lr=0.5), weights=weights, dtype=dtype, backend=backend)
        # An entry is made by fewer than 40 roundings, each by at most half of eps (Higham, Accuracy and Stability, section 3.1).
        eps = np.finfo(dtype).eps
        tolerance = max(1e-10, 40 * eps / 2)
        assert not trainer.predict(M=M)[1].any()
        np.testing.assert_allclose(trainer.predict(M=M)[2], weights["v"][3], rtol=eps)  # the one key that is seen has the weight 1
        trainer.fit({"M": M}, epochs=1)
        for name, g in gradients.items():
            np.testing.assert_allclose(trainer.weights[name], weights[name] - 0.5 * g, rtol=tolerance, atol=tolerance)


def test_scores_of_any_size_are_masked():
    """-oo is below every number: scores of -1e308 are seen beside a place that is not."""
    z, M = sbp.weight("z", (2,)), sbp.data("M", (2,))
    S = sbp.node("S", sbp.softmax(sp.Piecewise((z, M > 0), (-sp.oo, True))))
    net = sbp.Network(sbp.node("C", S[0]), output=S)
    for dtype, low in (("float64", -1.7e308), ("float32", -3.4e38)):
        trainer = net.trainer(sbp.SGD(lr=0), weights={"z": [low, 5.0]}, dtype=dtype, backend="numpy")
        assert trainer.predict(M=[1, 0]).tolist() == [1, 0]
        assert trainer.step(M=[1, 0]) == 1


# --- several heads -------------------------------------------------------------------------------------------------------


def torch_heads(units, inputs, heads, weights):
    """torch.nn.MultiheadAttention with our weights: its rows are our columns, and its input projections are stacked."""
    module = torch.nn.MultiheadAttention(units, heads, kdim=inputs, vdim=inputs, batch_first=True, dtype=torch.float64)
    w = {name.removesuffix("_1"): value for name, value in weights.items()}
    state = {"in_proj_bias": torch.cat([w["b_Q"], w["b_K"], w["b_V"]]), "out_proj.weight": w["W_O"].T, "out_proj.bias": w["b_O"]}
    if inputs == units:
        state["in_proj_weight"] = torch.cat([w["W_Q"], w["W_K"], w["W_V"]], dim=1).T
    else:
        state |= {f"{letter.lower()}_proj_weight": w[f"W_{letter}"].T for letter in "QKV"}
    assert set(state) == set(module.state_dict())
    return lambda *args, **options: torch.func.functional_call(module, state, args, {**options, "need_weights": False})[0]


@pytest.mark.parametrize("mask", ["none", "causal", "keys", "causal keys", "added", "causal added"])
@settings(max_examples=2)
@given(heads=st.integers(1, 3), each=st.integers(1, 3), inputs=st.integers(1, 4), cross=st.booleans(), **dimensions("b", "n", "m"))
def test_heads_are_torchs(mask, heads, each, inputs, cross, b, n, m, agrees):
    units = heads * each
    cross = cross and "causal" not in mask
    m, inputs = (m, inputs) if cross else (n, units)
    keys = "m" if cross else "n"
    x, context = sbp.data("X", ("b", "n", units)), sbp.data("Y", ("b", keys, inputs))
    added, seen = sbp.data("M", ("n", keys)), sbp.data("seen", ("b", keys))
    given_mask = added if "added" in mask else (seen[:, None] > 0) if "keys" in mask else None
    y = sbp.multi_head_attention(x, heads, context if cross else None, given_mask, causal="causal" in mask)
    assert y.shape == ("b", "n", units)
    c = sbp.weight("c", (units,))
    net = sbp.Network(sbp.node("C", sbp.sum(c * y**2)), output=y)
    data = numbers({"X": (b, n, units)} | ({"Y": (b, m, inputs)} if cross else {}) | ({"M": (n, m)} if "added" in mask else {}), 3)
    if "keys" in mask:
        data["seen"] = np.random.default_rng(4).integers(0, 2, (b, m)) * 1.0
        data["seen"][:, 0] = 1

    def reference(X, c, Y=None, M=None, seen=None, **weights):
        future = torch.full((n, m), -torch.inf, dtype=torch.float64).triu(1) if "causal" in mask else None
        extra = future if M is None else M if future is None else M + future
        unseen = None if seen is None else torch.zeros_like(seen).masked_fill(seen == 0, -torch.inf)
        context = X if Y is None else Y
        made = torch_heads(units, inputs, heads, weights)(X, context, context, attn_mask=extra, key_padding_mask=unseen)
        return (c * made**2).sum()

    agrees(net, reference, numbers({name: w.shape for name, w in net.weights.items()}, 5), data)


def arrays(n, kind):
    """A mask as an array, and what PyTorch adds to the scores for it."""
    rng = np.random.default_rng(n)
    seen = (rng.uniform(size=(n, n)) < 0.5) | np.eye(n, dtype=bool)
    seen[0] = False  # but for itself: of the integers below, no row is all ones
    seen[0, 0] = True
    hidden = np.where(seen, 0.0, -np.inf)
    bias = rng.normal(size=(n, n))
    return {
        "bool": (seen, hidden), "integers": (seen.astype(int), hidden), "floats": (seen.astype(float), hidden), "rows": (seen.tolist(), hidden),
        "-inf": (hidden, hidden), "numbers": (bias, bias), "numbers and -inf": (bias + hidden, bias + hidden),
    }[kind]  # fmt: skip


@pytest.mark.parametrize("kind", ["bool", "integers", "floats", "rows", "-inf", "numbers", "numbers and -inf"])
@pytest.mark.parametrize(("heads", "causal"), [(0, False), (0, True), (2, True)])
def test_masks_may_be_arrays(kind, heads, causal, close, interpreted):
    n = 4
    mask, added = arrays(n, kind)
    x = sbp.data("X", ("b", n, 4))
    y = sbp.multi_head_attention(x, heads, mask=mask, causal=causal) if heads else sbp.attention(sbp.dense(x, 4), x, x, mask, causal=causal)
    net = sbp.Network(sbp.node("C", sbp.sum(y**2)), output=y)
    weights = numbers({name: w.shape for name, w in net.weights.items()}, 5)
    X = numbers({"X": (3, n, 4)})["X"]
    total = torch.tensor(added) + (torch.full((n, n), -torch.inf, dtype=torch.float64).triu(1) if causal else 0)
    w = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    inputs = torch.tensor(X)
    if heads:
        made = torch_heads(4, 4, heads, w)(inputs, inputs, inputs, attn_mask=total)
    else:
        made = torch.nn.functional.scaled_dot_product_attention(inputs @ w["W_1"] + w["b_1"], inputs, inputs, total)
    wanted = (made**2).sum()
    wanted.backward()
    loss, gradients = net.value_and_gradients(weights, X=X)
    close(loss, wanted.item(), 1e-10)
    trainer = net.trainer(sbp.SGD(1.0), weights=weights, backend="numpy")
    close(trainer.step(X=X), wanted.item(), 1e-10)
    _, compiled = interpreted(net, sbp.SGD(1.0), {**weights, **{name: trainer.weights[name] for name in net.states}}, {"X": X})
    for name, value in w.items():
        close(gradients[name], value.grad.numpy(), 1e-10, name)
        close(trainer.weights[name], weights[name] - value.grad.numpy(), 1e-10, name)
        close(compiled.weights[name], weights[name] - value.grad.numpy(), 1e-10, name)


def test_a_mask_that_is_an_array_stays_as_it_is(tmp_path, close):
    x = sbp.data("X", ("b", 4, 4))
    mask = arrays(4, "bool")[0]
    net = sbp.Network(sbp.node("C", sbp.mean(sbp.multi_head_attention(x, 2, mask=mask) ** 2)))
    data = numbers({"X": (6, 4, 4)})
    assert list(net.states) == ["M_1"]
    trainer = net.trainer(sbp.SGD(0.1))
    trainer.fit(data, epochs=2)
    assert np.array_equal(trainer.weights["M_1"], mask)
    trainer.save(tmp_path / "run.npz")
    resumed = sbp.Trainer.load(tmp_path / "run.npz")
    assert resumed.step(**data) == trainer.step(**data)
    assert sbp.check_gradients(net).ok
    derivation = net.derivation("matrix")
    assert derivation.ok
    assert r"Constants: M_{1} \in \mathbb{R}^{4 \times 4}." in derivation.text()


def test_heads_of_one_sample(agrees):
    """Without a batch in the network: it is run on one all the same."""
    x = sbp.data("X", (4, 6))
    y = sbp.multi_head_attention(x, 2, causal=True, name="a")
    net = sbp.Network(sbp.node("C", sbp.sum(y**2)))

    def reference(X, **weights):
        w = {name.replace("_a", "_1"): value for name, value in weights.items()}
        future = torch.ones((4, 4), dtype=torch.bool).triu(1)
        return (torch_heads(6, 6, 2, w)(X, X, X, attn_mask=future) ** 2).sum((1, 2)).mean()

    agrees(net, reference, numbers({name: w.shape for name, w in net.weights.items()}, 5), {"X": numbers({"X": (3, 4, 6)})["X"]})


# --- lookups, forms, places ------------------------------------------------------------------------------------------------


@few
@given(size=st.integers(1, 6), units=st.integers(1, 4), places=st.lists(st.integers(1, 4), max_size=2))
def test_an_embedding_is_torchs(size, units, places, agrees):
    indices = sbp.data("words", ("b", *places))
    y = sbp.embedding(indices, size, units)
    net = sbp.Network(sbp.node("C", sbp.sum(y**3) / 3))
    words = np.random.default_rng(1).integers(0, size, (7, *places))

    def reference(E_1, words):
        return (torch.nn.functional.embedding(words, E_1) ** 3).sum() / 3

    agrees(net, reference, numbers({"E_1": (size, units)}), {"words": words})


def test_an_embedding_starts_at_random_and_not_at_ones():
    net = sbp.Network(sbp.node("C", sbp.sum(sbp.embedding(sbp.data("words", ("b",)), 50, 10) ** 2)))
    start = net.initialize(seed=1)["E_1"]
    assert len(np.unique(start)) == 500
    assert abs(start.mean()) < 0.05


@few
@given(batch=st.lists(st.integers(1, 3), max_size=2), bias=st.booleans(), **dimensions("n", "m", "units"))
def test_bilinear_is_torchs(batch, bias, n, m, units, agrees):
    x, y = sbp.weight("x", (*batch, n)), sbp.weight("y", (*batch, m))
    z = sbp.bilinear(x, y, units, "tanh", bias=bias)
    assert z.shape == (*batch, units)
    net = sbp.Network(sbp.node("C", sbp.sum(z**2)))

    def reference(x, y, B_1, b_B_1=None):
        return (torch.tanh(torch.nn.functional.bilinear(x, y, B_1, b_B_1)) ** 2).sum()

    agrees(net, reference, numbers({name: w.shape for name, w in net.weights.items()}))


@few
@given(size=st.integers(1, 50), units=st.integers(1, 9))
def test_positional_encoding_is_the_papers(size, units, close, agrees):
    """Section 3.5, as a loop: an open size, in NumPy and in PyTorch."""
    x = sbp.data("X", ("n", units))
    gain = sbp.weight("gain", (units,))
    y = sbp.node("y", gain * x + sbp.positional_encoding(sbp.Dim("n"), units))
    places, columns = np.arange(size)[:, None], np.arange(units)
    even = columns - columns % 2
    expected = np.where(columns % 2, np.cos(places / 10000 ** (even / units)), np.sin(places / 10000 ** (even / units)))
    data = numbers({"X": (size, units)})
    agrees(sbp.Network(sbp.node("C", sbp.sum(y**2))), lambda X, gain: ((gain * X + torch.tensor(expected)) ** 2).sum(), {"gain": np.ones(units)}, data)


@few
@given(**dimensions("n", "m"))
def test_positions_make_masks_of_open_sizes(n, m, agrees):
    x, w = sbp.data("X", ("n", "m")), sbp.weight("w")
    band = sp.And(sbp.positions("n")[:, None] >= sbp.positions("m"), sbp.positions("n")[:, None] - 2 < sbp.positions("m"))
    y = sbp.node("y", sp.Piecewise((w * x, band), (sbp.positions("m"), True)))

    def reference(X, w):
        mask = torch.ones_like(X, dtype=torch.bool)
        return torch.where(mask.tril() & mask.triu(-1), w * X, torch.arange(m, dtype=torch.float64)).sum()

    agrees(sbp.Network(sbp.node("C", sbp.sum(y))), reference, {"w": np.array(0.7)}, numbers({"X": (n, m)}))


def test_a_residual_connection_needs_nothing(agrees):
    x = sbp.data("X", ("b", 3, 4))
    y = sbp.node("y", x + sbp.multi_head_attention(x, 2))
    net = sbp.Network(sbp.node("C", sbp.sum((y + sbp.dense(y, 4, "gelu", name="out")) ** 2)))

    def reference(X, W_out, b_out, **weights):
        y = X + torch_heads(4, 4, 2, weights)(X, X, X)
        return ((y + torch.nn.functional.gelu(y @ W_out + b_out)) ** 2).sum()

    agrees(net, reference, numbers({name: w.shape for name, w in net.weights.items()}), numbers({"X": (2, 3, 4)}, 1))


# --- what else a layer must do -------------------------------------------------------------------------------------------------


def block():
    """A small transformer: letters looked up, places, causal heads, a residual, logits."""
    letters, following = sbp.data("letters", ("n", "t")), sbp.data("following", ("n", "t"))
    x = sbp.node("P", sbp.embedding(letters, 5, 4) + sbp.positional_encoding("t", 4))
    y = sbp.node("Y", x + sbp.multi_head_attention(x, 2, causal=True))
    logits = sbp.dense(y, 5, name="out")
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, following)), output=logits)


LETTERS = np.random.default_rng(7).integers(0, 5, (2, 12, 3))
TEXTS = {"letters": LETTERS[0], "following": LETTERS[1]}


def test_a_transformer_equals_torch(agrees):
    def reference(letters, following, E_1, W_out, b_out, **weights):
        places = torch.arange(3.0, dtype=torch.float64)[:, None] / 10000 ** (torch.tensor([0.0, 0, 2, 2], dtype=torch.float64) / 4)
        x = E_1[letters] + torch.where(torch.tensor([True, False, True, False]), torch.sin(places), torch.cos(places))
        future = torch.ones((3, 3), dtype=torch.bool).triu(1)
        y = x + torch_heads(4, 4, 2, weights)(x, x, x, attn_mask=future)
        return torch.nn.functional.cross_entropy((y @ W_out + b_out).flatten(0, 1), following.flatten())

    net = block()
    agrees(net, reference, numbers({name: w.shape for name, w in net.weights.items()}, 2), TEXTS)


def test_it_is_saved_and_read(tmp_path, close):
    """Two epochs, saved and resumed, equal four."""
    net = block()
    first, whole = (net.trainer(sbp.SGD(0.1, momentum=0.9), seed=1, backend="numpy") for _ in range(2))
    first.fit(TEXTS, epochs=2, batch_size=5)
    first.save(tmp_path / "run.npz")
    second = sbp.Trainer.load(tmp_path / "run.npz")
    second.fit(TEXTS, epochs=2, batch_size=5)
    whole.fit(TEXTS, epochs=4, batch_size=5)
    for name in net.weights:
        assert np.array_equal(second.weights[name], whole.weights[name]), name
    assert np.array_equal(second.predict(letters=TEXTS["letters"]), whole.predict(letters=TEXTS["letters"]))


def test_a_long_program_is_compiled_only_where_that_pays():
    """"auto" compiles a small network for a second of NumPy, and a transformer for many."""
    layer = sbp.mlp([3, 2], loss="mse")
    rng = np.random.default_rng(0)
    runs = {layer: {"X": rng.normal(size=(12, 3)), "T": rng.normal(size=(12, 2))}, block(): TEXTS}
    for net, data in runs.items():
        trainer = net.trainer(sbp.SGD(0.1))
        feed = trainer._check(data)
        update = trainer._numpy_engine(4).seconds(feed, 4)
        chosen = [type(trainer._engine(4, int(seconds / update) + 1, feed)).__name__ for seconds in (0.5, 2, 200)]
        assert chosen == ["ArrayEngine", "NativeEngine" if net is layer else "ArrayEngine", "NativeEngine"]


def test_evaluate_knows_it(close):
    """The gradient to 20 digits by the index form, which shares nothing with the code."""
    q, k, v = sbp.weight("q", (3, 2)), sbp.weight("k", (3, 2)), sbp.weight("v", (3, 2))
    y = sbp.attention(q + sbp.positional_encoding(3, 2), k, v, sbp.positions(3)[:, None] >= sbp.positions(3))
    net = sbp.Network(sbp.node("C", sbp.sum(y**2)))
    weights = numbers({name: w.shape for name, w in net.weights.items()}, 2)
    _, gradients = net.value_and_gradients(weights)
    close(sbp.evaluate(net.gradients["q"].local, weights, digits=20).astype(float), gradients["q"], 1e-12)


def test_second_derivatives_are_torchs(close):
    """The gradient of a product of the gradient of attention with a vector: Hessian times vector, with a mask that has an empty row."""
    shapes = {"q": (3, 2), "k": (4, 2), "v": (4, 2)}
    tensors = {name: sbp.weight(name, shape) for name, shape in shapes.items()}
    mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 1.0]])
    M = sbp.weight("M", (3, 4))
    y = sbp.attention(**tensors, mask=M > 0)
    inner = sbp.Network(sbp.node("L", sbp.sum(y**3)))
    along = numbers(shapes, 9)
    equations = adjoints(inner.system)
    product = sum(sbp.sum(sbp.weight(f"u_{name}", shape) * equations.of[tensors[name]]) for name, shape in shapes.items())
    values = numbers(shapes, 8)
    _, found = sbp.Network(sbp.node("C", product)).value_and_gradients(values | {"M": mask} | {f"u_{name}": u for name, u in along.items()})

    def loss(q, k, v):
        return (masked(q @ k.mT / 2**0.5, torch.tensor(mask)) @ v).pow(3).sum()

    _, expected = torch.autograd.functional.hvp(loss, tuple(map(torch.tensor, values.values())), tuple(map(torch.tensor, along.values())))
    for name, h in zip(shapes, expected, strict=True):
        close(found[name], h.numpy(), 1e-10, name)


# --- how it reads --------------------------------------------------------------------------------------------------------------


def test_attention_reads_as_in_the_paper():
    Q, K, V, T = sbp.weight("Q", (5, 4)), sbp.weight("K", (6, 4)), sbp.weight("V", (6, 3)), sbp.data("T", (5, 3))
    net = sbp.Network(sbp.node("C", sbp.half_squared_error(sbp.attention(Q, K, V), T)))
    equations = net.latex("equations")
    for line in (r"R_{1} &= \frac{1}{2} Q K^{\top}", r"S_{1} &= \operatorname{softmax}(R_{1})", r"H_{1} &= S_{1} V"):
        assert line in equations
    gradient = net.gradients["Q"].latex("matrix")
    pullback = r"S_{1} \odot (\Delta_{H_{1}} V^{\top} - ((\Delta_{H_{1}} V^{\top}) \odot S_{1}) \mathbf{1} \mathbf{1}^{\top})"
    assert rf"\Delta_{{R_{{1}}}} &= {pullback} \\" in gradient
    assert r"\frac{\partial C}{\partial Q} &= \frac{1}{2} \Delta_{R_{1}} K" in gradient


def test_heads_read_as_a_stack_of_matrices_and_masks_by_their_entries():
    equations = block().latex("equations")
    assert r"R_{1} &= \frac{1}{\sqrt{2}} Q_{1} K_{1}^{\top} \\" in equations
    assert r"\begin{cases} R_{1} & \text{for } j \leq i \\ -\infty & \text{otherwise} \end{cases}" in equations
    assert r"H_{1} &= S_{1} V_{1} \\" in equations
    assert "einsum" not in equations
    assert "einsum" not in block().generate("numpy")


def test_the_gradient_of_an_embedding_is_a_sum_over_places():
    index = block().gradients["E_1"].latex("index")
    assert r"\frac{\partial C}{\partial E^{(1)}_{i j}} &= \sum_{n, t} \delta^{(X_{1})}_{n t j} \left[i = \mathit{letters}_{n t}\right]" in index


def test_the_checks_of_a_derivation_hold_and_find_a_planted_error(monkeypatch):
    html = block().derivation().html()
    assert "equations were checked by numbers" in html
    assert "✗" not in html
    pullback = Softmax.pullback
    monkeypatch.setattr(Softmax, "pullback", lambda self, adjoint: [2 * pullback(self, adjoint)[0]])
    wrong = block()
    weights = numbers({name: w.shape for name, w in wrong.weights.items()}, 2)
    assert not sbp.check_gradients(wrong, weights, TEXTS).ok


# --- bad input -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, i: sbp.attention(x, x, x[0, 0]), "expected q (.., n, d), k (.., m, d) and v (.., m, e)"),
        (lambda x, i: sbp.attention(x, x[..., :2], x), "found q (b, 3, 4), k (b, 3, 2), v (b, 3, 4)"),
        (lambda x, i: sbp.attention(x, x, x, mask=np.ones((3, 2))), "attention: the mask has shape (3, 2); expected one that broadcasts to"),
        (lambda x, i: sbp.attention(x, x, x, mask=sbp.data("M", (3, 2)) > 0), "attention: the mask has shape (3, 2)"),
        (lambda x, i: sbp.attention(x, x, x, mask=sbp.data("M", (4, 1, 3))[..., :2]), "attention: the mask has shape (4, 1, 2)"),
        (lambda x, i: sbp.attention(x, x, x, mask=True), "attention: the mask is bool 'True'; expected a condition such as M > 0"),
        (lambda x, i: sbp.attention(x, x, x, mask="causal"), "attention: the mask is str 'causal'"),
        (lambda x, i: sbp.attention(x, x, x, mask=[[1, 2], [1]]), "attention: the mask holds object and not numbers in rows of one length"),
        (lambda x, i: sbp.attention(x, x, x, mask=np.zeros((3, 3))), "attention: the mask holds nothing but zeros"),
        (lambda x, i: sbp.attention(x, x, x, mask=np.full((3, 3), np.nan)), "attention: the mask holds nan or inf"),
        (lambda x, i: sbp.attention(x, x, x, causal=1), "attention: causal is 1; expected True or False"),
        (lambda x, i: sbp.attention(sbp.data("Q", (2, 3, 4)), sbp.data("K", (5, 3, 4)), x), "the queries have shape (2, 3, 4) and the keys (5, 3, 4)"),
        (lambda x, i: sbp.multi_head_attention(x, 2, mask=sbp.data("M", (2, 3)) > 0), "multi_head_attention: the mask has shape (2, 3)"),
        (lambda x, i: sbp.multi_head_attention(x, x, x, 2), "heads is the expression x; expected an integer. Queries are made from x"),
        (lambda x, i: sbp.multi_head_attention(x, 3), "3 heads for 4 units; the number of heads must be a positive divisor of the units"),
        (lambda x, i: sbp.multi_head_attention(x, 0), "0 heads for 4 units"),
        (lambda x, i: sbp.multi_head_attention(sbp.data("Z", ("b", "n", "d")), 1), "x has shape (b, n, d); expected (.., places, units)"),
        (lambda x, i: sbp.multi_head_attention(x, 2, sbp.data("Z", (4,))), "the context has shape (4,)"),
        (lambda x, i: sbp.embedding(x * 2, 3, 4), "expected a data tensor of integers"),
        (lambda x, i: sbp.embedding(i, 0, 4), "the size must be a positive integer"),
        (lambda x, i: sbp.embedding(i, 3, "n"), "the number of units must be a positive integer"),
        (lambda x, i: sbp.bilinear(x, sbp.data("Z", ("b", "d")), 2), "Z has shape (b, d); its last size must be an integer"),
        (lambda x, i: sbp.bilinear(x, x, 0), "the number of units must be a positive integer"),
        (lambda x, i: sbp.positional_encoding("n", 0), "the number of units must be a positive integer"),
        (lambda x, i: sbp.positions(1.5), "the dimension 1.5 is not usable"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(sbp.SymbackpropError) as error:
        call(sbp.data("x", ("b", 3, 4)), sbp.data("i", ("b",)))
    assert message in str(error.value)


def test_keys_and_kernels_do_not_take_each_others_names():
    """Both are called K by those who write about them."""
    image = sbp.data("X", ("n", 2, 6))
    first = sbp.multi_head_attention(sbp.conv1d(image, 2, 3), 2)
    second = sbp.conv1d(sbp.multi_head_attention(image, 2), 2, 3)
    for y in (first, second):
        names = [t.name for t in collect([sbp.node("Y", y)])]
        assert len(names) == len(set(names))
        assert sum(name.startswith("K_") for name in names) == 2
