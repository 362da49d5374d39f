"""Hessians, their products with vectors, Jacobians, Gauss-Newton and Fisher matrices, and the gradients of single samples: against PyTorch over
random networks, against SymPy's own derivatives, against mpmath, and as they are printed."""

import itertools

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.calculus import linear
from symbackprop.codegen import contractions

ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "softplus": lambda z: torch.logaddexp(z, 0 * z), "relu": torch.relu}
LOSSES = {
    "mse": lambda z, t: ((z - t) ** 2).mean(),
    "cross_entropy": lambda z, t: (torch.logsumexp(z, -1) - (t * z).sum(-1)).mean(),
    "binary_cross_entropy_with_logits": lambda z, t: (torch.logaddexp(z, 0 * z) - t * z).mean(),
}


def second(function):
    """torch.func.hessian without its forward mode, which warns of torch's own past."""
    return torch.func.jacrev(torch.func.grad(function))


def logits(weights, X, activation):
    last = len(weights) // 2
    for k in range(1, last + 1):
        X = X @ weights[f"W_{k}"] + weights[f"b_{k}"]
        X = ACTIVATIONS[activation](X) if k < last else X
    return X


@st.composite
def mlps(draw):
    sizes = tuple(draw(st.lists(st.integers(1, 4), min_size=2, max_size=4)))
    return sizes, draw(st.sampled_from(sorted(ACTIVATIONS))), draw(st.sampled_from(sorted(LOSSES))), draw(st.integers(1, 5)), draw(st.integers(0, 99))


@settings(max_examples=12)
@given(mlps())
def test_random_networks_against_torch(close, case):
    sizes, activation, loss, n, seed = case
    net = sbp.mlp(sizes, activation, loss=loss)
    rng = np.random.default_rng(seed)
    weights, v = ({name: rng.normal(size=w.shape) for name, w in net.weights.items()} for _ in range(2))
    X, T = rng.normal(size=(n, sizes[0])), rng.dirichlet(np.ones(sizes[-1]), n)
    node = f"Z_{len(sizes) - 1}"

    x, t = torch.tensor(X), torch.tensor(T)

    def value(weights, x=x, t=t):
        return LOSSES[loss](logits(weights, x, activation), t)

    w, direction = ({name: torch.tensor(a) for name, a in arrays.items()} for arrays in (weights, v))
    hessian = second(value)(w)
    jacobian = torch.func.jacrev(lambda w: logits(w, x, activation))(w)
    curvature = second(lambda z: LOSSES[loss](z, t))(logits(w, x, activation)).numpy()
    each = torch.func.vmap(lambda x, t: torch.func.grad(value)(w, x[None], t[None]))(x, t)
    jacobian, each = ({name: a.numpy() for name, a in arrays.items()} for arrays in (jacobian, each))
    _, product = torch.func.vjp(torch.func.grad(value), w)
    (product,) = product(direction)  # the Hessian is symmetric

    found = {
        "H": net.hessian()(weights, X=X, T=T),
        "one": net.hessian("W_1")(weights, X=X, T=T),  # of a relu network all curvature stands at the loss, and the way back is not taken
        "Hv": net.hessian_vector_product()(weights, v, X=X, T=T),
        "J": net.jacobian(node)(weights, X=X),
        "G": net.gauss_newton()(weights, X=X, T=T),
        "F": net.fisher()(weights, X=X, T=T),
        "each": net.per_sample_gradients()(weights, X=X, T=T),
    }
    for p, q in itertools.product(weights, weights):
        close(found["H"][p, q], hessian[p][q], what=f"H[{p}, {q}]")
        bent = np.tensordot(curvature, jacobian[q], ((2, 3), (0, 1)))
        close(found["G"][p, q], np.tensordot(jacobian[p], bent, ((0, 1), (0, 1))), what=f"G[{p}, {q}]")
        close(found["F"][p, q], np.tensordot(each[p], each[q], (0, 0)) / n, what=f"F[{p}, {q}]")
    close(found["one"]["W_1", "W_1"], hessian["W_1"]["W_1"], what="the Hessian of W_1 alone")
    for p in weights:
        close(found["Hv"][p], product[p], what=f"Hv[{p}]")
        close(found["J"][p], jacobian[p], what=f"J[{p}]")
        close(found["each"][p], each[p], what=f"the gradients of samples, {p}")


# --- the whole matrix, labels, open dimensions, single samples -----------------------------------------------------------


def logistic(d=4):
    X, t, w = sbp.data("X", ("n", d)), sbp.data("t", ("n",)), sbp.weight("w", (d,))
    z = sbp.node("z", X @ w)
    return sbp.Network(sbp.node("C", sbp.binary_cross_entropy_with_logits(z, t)), output=z)


def factorisation(m=4, n=3, k=2):
    U, V, T = sbp.weight("U", (m, k)), sbp.weight("V", (n, k)), sbp.data("T", (m, n))
    return sbp.Network(sbp.node("C", sbp.sum((T - U @ V.T) ** 2)))


def test_matrix_is_over_all_weights_flattened_in_order(close, draw):
    net = sbp.mlp([3, 2, 2], "tanh")
    weights = draw({name: w.shape for name, w in net.weights.items()})
    data = draw({"X": (5, 3), "T": (5, 2)}, seed=1)
    ends = np.cumsum([0, *(w.size for w in weights.values())])

    def value(vector):
        parts = {name: vector[a:b].reshape(w.shape) for (name, w), a, b in zip(weights.items(), ends, ends[1:], strict=False)}
        return LOSSES["mse"](logits(parts, torch.tensor(data["X"]), "tanh"), torch.tensor(data["T"]))

    vector = torch.tensor(np.concatenate([w.ravel() for w in weights.values()]))
    wanted = second(value)(vector).numpy()
    close(net.hessian().matrix(weights, **data), wanted)
    v = draw({name: w.shape for name, w in weights.items()}, seed=2)
    product = net.hessian_vector_product().matrix(weights, v, **data)
    close(product, wanted @ np.concatenate([v[name].ravel() for name in weights]))
    J = net.jacobian("Z_2").matrix(weights, X=data["X"])
    assert J.shape == (10, len(vector))
    G = net.gauss_newton()
    close(G.matrix(weights, **data), J.T @ J * 2 / 10)  # d²/dy² of the mean of squares is 2/10 I
    assert G.node is net.output
    each = net.per_sample_gradients().matrix(weights, **data)
    close(net.fisher().matrix(weights, **data), each.T @ each / 5)
    close(each.mean(axis=0), torch.func.grad(value)(vector).numpy())


def test_only_the_weights_that_are_asked_for(close, draw):
    net = sbp.mlp([3, 2, 2], "tanh")
    weights, data = draw({name: w.shape for name, w in net.weights.items()}), draw({"X": (5, 3), "T": (5, 2)}, seed=1)
    everything = net.hessian()(weights, **data)
    some = net.hessian(["b_2", net.weights["W_1"]])
    assert list(some) == [("W_1", "W_1"), ("W_1", "b_2"), ("b_2", "W_1"), ("b_2", "b_2")]
    for key, block in some(weights, **data).items():
        close(block, everything[key])
    assert some["b_2", net.weights["W_1"]].shape == (2, 3, 2)


def test_labels_penalties_and_a_weight_without_effect(close, draw):
    X, words, W, c = sbp.data("X", ("n", 3)), sbp.data("words", ("n",)), sbp.weight("W", (3, 4)), sbp.weight("c", (2,))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(X @ W, words) + sbp.sum(W**4) / 3 + 0 * sbp.sum(c) + sbp.sum(c)))
    weights, labels = draw({"W": (3, 4), "c": (2,)}), np.array([0, 3, 3, 1, 2])
    x = draw({"X": (5, 3)}, seed=1)["X"]

    def value(W):
        z = torch.tensor(x) @ W
        return torch.nn.functional.cross_entropy(z, torch.tensor(labels)) + (W**4).sum() / 3

    found = net.hessian()(weights, X=x, words=labels)
    close(found["W", "W"], second(value)(torch.tensor(weights["W"])))
    assert not found["c", "c"].any()
    assert not found["c", "W"].any()
    assert found["c", "W"].shape == (2, 3, 4)
    each = net.per_sample_gradients()(weights, X=x, words=labels)
    close(each["c"], np.ones((5, 2)))
    close(each["W"].mean(axis=0), torch.func.grad(value)(torch.tensor(weights["W"])))


def test_a_network_of_one_sample_is_averaged_over_a_batch(close):
    x, t = sbp.data("x t")
    w, b = sbp.weight("w b")
    net = sbp.Network(sbp.node("C", (sp.tanh(w * x + b) - t) ** 2))
    xs, ts = np.array([0.5, -1.0, 2.0]), np.array([0.1, 0.2, 0.3])
    x, t, point = torch.tensor(xs), torch.tensor(ts), {"w": 0.3, "b": -0.2}
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in point.items()}
    hessian = second(lambda w: ((torch.tanh(w["w"] * x + w["b"]) - t) ** 2).mean())(tensors)
    found = net.hessian()(point, x=xs, t=ts)
    for p, q in found:
        close(found[p, q], hessian[p][q])


def test_constants_are_arrays_too():
    w, b = sbp.weight("w b")
    net = sbp.Network(sbp.node("C", 3 * w**2 + w * b))
    np.testing.assert_array_equal(net.hessian().matrix({"w": 0.5, "b": 2.0}), [[6.0, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(net.hessian_vector_product().matrix({"w": 0.5, "b": 2.0}, {"w": 1.0, "b": 10.0}), [16.0, 1.0])


def test_a_generated_module_stands_alone(close, draw, run_module):
    net = sbp.mlp([3, 4, 2], "sigmoid", loss="cross_entropy")
    weights, data = draw({name: w.shape for name, w in net.weights.items()}), draw({"X": (5, 3), "T": (5, 2)}, seed=1)
    for result, tolerance, dtype in ((net.hessian(), 1e-12, "float64"), (net.fisher(), 1e-4, "float32")):
        source = result.generate("numpy", dtype)
        assert [line for line in source.splitlines() if line.startswith(("import", "from"))] == ["import numpy as np"]
        names = run_module(source)
        found = names[result.kind]({name: w.astype(dtype) for name, w in weights.items()}, **data)
        for key, block in result(weights, **data).items():
            assert found[key].dtype == dtype
            close(found[key], block, tolerance)
        with pytest.raises(ValueError, match="expected"):
            names[result.kind](weights, X=data["X"][0], T=data["T"])


# --- sources that share nothing with the code ----------------------------------------------------------------------------


def test_closed_entries_are_sympys_second_derivatives():
    net = logistic(2)
    hessian = net.hessian()
    entry = hessian["w", "w"][0, 1]
    X, t, w = (net.data | net.weights)["X"], net.data["t"], net.weights["w"]
    point = {"X": [[0.5, -1.0], [2.0, 0.25], [1.0, 1.5]], "t": [0, 1, 1], "w": [0.3, -0.7]}
    u, v = sp.symbols("u v")
    plain = sum(sp.log(1 + sp.exp(a * u + b * v)) - y * (a * u + b * v) for (a, b), y in zip(point["X"], point["t"], strict=True)) / 3
    wanted = plain.diff(u, v).evalf(30, subs={u: sp.Rational(3, 10), v: -sp.Rational(7, 10)})
    assert abs(float(sbp.evaluate(entry, point)) - float(wanted)) < 1e-15
    assert {s.name for s in entry.free_symbols if isinstance(s, sbp.Tensor)} <= {X.name, t.name, w.name}
    i, j = hessian["w", "w"].closed.variables
    assert hessian["w", "w"].closed(0, 1) == entry
    assert (i.name, j.name) == ("i", "j")


def test_scalars_against_sympy():
    x, t = sbp.data("x t")
    w, b = sbp.weight("w b")
    y = sbp.node("y", sp.tanh(w * sbp.node("a", sp.sin(w * x)) + b))
    net = sbp.Network(sbp.node("C", (y - t) ** 2 / 2))
    p, q, u, c = sp.symbols("p q u c")
    plain = (sp.tanh(u * sp.sin(u * p) + c) - q) ** 2 / 2
    point = {p: sp.Rational(1, 2), q: sp.Rational(1, 8), u: sp.Rational(3, 4), c: sp.Rational(1, 4)}
    numbers = {"x": 0.5, "t": 0.125, "w": 0.75, "b": 0.25}
    for (left, right), block in net.hessian().items():
        wanted = plain.diff({"w": u, "b": c}[left]).diff({"w": u, "b": c}[right]).evalf(30, subs=point)
        assert abs(float(sbp.evaluate(block.closed, numbers)) - float(wanted)) < 1e-14
        assert {s.name for s in block.closed.free_symbols} <= {"x", "t", "w", "b"}


def test_a_network_made_of_gradients_has_hessians(close, draw):
    """The loss is a gradient's norm, so that its nodes are adjoints themselves."""
    net = sbp.mlp([2, 2, 1], "tanh")
    norm = sbp.Network(sbp.node("N", sum(sbp.sum(g.symbol**2) for g in net.gradients.values())))
    weights, data = draw({name: w.shape for name, w in net.weights.items()}), draw({"X": (3, 2), "T": (3, 1)}, seed=1)
    X, T = torch.tensor(data["X"]), torch.tensor(data["T"])

    def value(w):
        gradients = torch.func.grad(lambda w: LOSSES["mse"](logits(w, X, "tanh"), T))(w)
        return sum((g**2).sum() for g in gradients.values())

    wanted = second(value)({name: torch.tensor(w) for name, w in weights.items()})
    for (p, q), block in norm.hessian()(weights, **data).items():
        close(block, wanted[p][q], what=f"{p}, {q}")
    for p in weights:
        close(norm.hessian(p)(weights, **data)[p, p], wanted[p][p], what=p)


@pytest.mark.parametrize("net", [sbp.mlp([2, 2, 2], "tanh", loss="cross_entropy"), factorisation(2, 3, 1)], ids=["network", "factorisation"])
def test_equations_in_mpmath_are_what_the_code_computes(net, close, draw):
    weights = draw({name: w.shape for name, w in net.weights.items()})
    data = draw({name: tuple(2 if s == "n" else s for s in t.shape) for name, t in net.data.items()}, seed=1)
    for result in (net.hessian(), net.hessian_vector_product() if "X" in data else net.hessian("V")):
        vectors = ({name: np.cos(w) for name, w in weights.items()},) if result.kind != "hessian" else ()
        found = result(weights, *vectors, **data)
        for key in list(result)[-2:]:
            directions = {f"v_{name}": v for given in vectors for name, v in given.items()}
            wanted = sbp.evaluate(result[key].symbol, weights | data | directions)
            close(found[key], np.asarray(wanted, float), 1e-12)


# --- forms ---------------------------------------------------------------------------------------------------------------


def test_logistic_regression_prints_as_in_textbooks():
    hessian = logistic().hessian()
    left = r"\frac{\partial^{2} C}{\partial w \, \partial w^{\top}} &= "
    assert left + r"\frac{1}{n} X^{\top} \operatorname{diag}\left(\sigma(z) \odot (1 - \sigma(z))\right) X" in hessian.latex()
    assert r"\frac{1}{N} \sum_{n} X_{n i} X_{n j} \sigma(z_{n}) (1 - \sigma(z_{n}))" in hessian.latex("index")
    assert "einsum" not in hessian.generate().partition("import numpy")[2]


def test_softmax_collapses():
    z, t = sbp.weight("z", (4,)), sbp.data("t", (4,))
    text = sbp.Network(sbp.node("C", sbp.cross_entropy(z, t))).hessian().latex()
    assert r"\operatorname{diag}\left(\operatorname{softmax}(z)\right) - \operatorname{softmax}(z) \operatorname{softmax}(z)^{\top}" in text


def test_factorisation_is_a_kronecker_product(close, draw):
    net = factorisation()
    hessian = net.hessian("U")
    assert r"2 \left(I_{4} \otimes \left(V^{\top} V\right)\right)" in hessian.latex()
    weights = draw({"U": (4, 2), "V": (3, 2)})
    close(hessian.matrix(weights), np.kron(np.eye(4), 2 * weights["V"].T @ weights["V"]))
    assert "eye" not in hessian.generate().partition("import numpy")[2]  # nothing is multiplied by zeros


def test_a_chain_reads_as_the_contraction_that_it_is(close, draw):
    """`A^T diag(v) B W` and its like, computed as they are printed."""
    A, B, v, w = sbp.data("A", (3, 4)), sbp.data("B", (3, 2)), sbp.data("v", (3,)), sbp.data("w", (2,))
    numbers = draw({"A": (3, 4), "B": (3, 2), "v": (3,), "w": (2,)})
    a, b = numbers["A"], numbers["B"]
    D, E = np.diag(numbers["v"]), np.diag(numbers["w"])
    cases = {
        "ij,i,ik->jk": ((A, v, B), r"A^{\top} \operatorname{diag}\left(v\right) B", a.T @ D @ b),
        "ij,i,ik,k->kj": ((A, v, B, w), r"\operatorname{diag}\left(w\right) B^{\top} \operatorname{diag}\left(v\right) A", E @ b.T @ D @ a),
        "ij,i,ik,k->j": ((A, v, B, w), r"A^{\top} \operatorname{diag}\left(v\right) B w", a.T @ D @ b @ numbers["w"]),
    }
    for spec, (operands, text, wanted) in cases.items():
        node = sbp.node("y", sbp.einsum(spec, *operands))
        assert sbp.Network(sbp.node("C", sbp.sum(node))).latex("equations").count(text) == 1
        close(np.asarray(sbp.evaluate(node, numbers), float), wanted)


def test_products_are_planned_and_equal_to_einsum(close):
    """Random contractions through the planner and its printer, against NumPy's own."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        sizes = dict(zip("ijkl", rng.integers(2, 5, 4).tolist(), strict=True))
        ins = ["".join(rng.permutation(list("ijkl"))[: rng.integers(1, 4)]) for _ in range(rng.integers(2, 5))]
        present = sorted(set("".join(ins)))
        out = "".join(rng.permutation(present)[: rng.integers(0, 4)])
        operands = [sbp.data(f"x_{i}", tuple(sizes[c] for c in s)) for i, s in enumerate(ins)]
        numbers = {x.name: rng.normal(size=x.shape) for x in operands}
        y = sbp.node("y", 3 * sbp.einsum(",".join(ins) + "->" + out, *operands))
        printer = contractions_printer()
        names = {"np": np, "DTYPE": np.float64, **numbers}
        for symbol, expr in contractions.planned([sbp.Equation(y, y.definition)], namer()):
            names[symbol.name] = eval(printer.plain(expr), names)
        close(names["y"], 3 * np.einsum(",".join(ins) + "->" + out, *numbers.values()), 1e-12, f"{ins} -> {out}")


def namer():
    from symbackprop.graph.names import Namer

    return Namer({"y"})


def contractions_printer():
    from symbackprop.codegen.derivative_module import Printer

    return Printer()


# --- faults that are planted ---------------------------------------------------------------------------------------------


def without_deltas(self, term, kept, old=linear.Space.united):
    found = old(self, term, kept)
    return linear.replace(found, deltas=())


def without_scalars(self, a, b, old=linear.Space._together):
    found = old(self, a, b)
    return found and linear.replace(found, scalar=sp.S.One)


def without_last(self, terms, kept, old=linear.Space.merged):
    return old(self, terms, kept)[:1]


def merged_blindly(self, terms, kept, old=linear.Space.merged):
    return old(self, terms, set(self.sizes))


def unscaled(self, e, scalar, old=contractions._Planner.product):
    return old(self, e, sp.S.One)


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (linear.Space, "united", without_deltas),
        (linear.Space, "_together", without_scalars),
        (linear.Space, "merged", without_last),
        (linear.Space, "merged", merged_blindly),
        (contractions._Planner, "product", unscaled),
        (contractions, "_turned", lambda text, order, wanted: text),
    ],
    ids=["deltas lost", "scalars lost", "terms lost", "terms of different sums merged", "the planner drops a scalar", "axes stay in their order"],
)
def test_a_wrong_rule_is_found(owner, name, wrong, monkeypatch, close, draw):
    def compare():
        net = sbp.mlp([3, 3, 3], "tanh", loss=penalised)
        weights, data = draw({name: w.shape for name, w in net.weights.items()}), draw({"X": (3, 3), "T": (3, 3)}, seed=1)
        found = net.hessian()(weights, **data)
        for (p, q), block in found.items():
            close(block, reference(weights, data)[p][q])

    cache = []

    def penalised(z, t):
        return sbp.cross_entropy(z, t) * sbp.mean(sp.tanh(sbp.weight("b_2", (3,))))

    def reference(weights, data):
        if not cache:
            X, T = torch.tensor(data["X"]), torch.tensor(data["T"])
            tensors = {name: torch.tensor(w) for name, w in weights.items()}
            cache.append(second(lambda w: LOSSES["cross_entropy"](logits(w, X, "tanh"), T) * torch.tanh(w["b_2"]).mean())(tensors))
        return cache[0]

    compare()
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises((AssertionError, sbp.SymbackpropError, ValueError)):
        compare()


# --- what cannot be done -------------------------------------------------------------------------------------------------


def test_errors_say_what_to_do():
    net = sbp.mlp([2, 2, 1])
    weights, data = {name: np.zeros(w.shape) for name, w in net.weights.items()}, {"X": np.zeros((3, 2)), "T": np.zeros((3, 1))}
    with pytest.raises(sbp.NetworkError, match=r"'V' is not in the network; derivatives are by weights, 'W_1'"):
        net.hessian("V")
    with pytest.raises(sbp.NetworkError, match=r"'q' is not in the network; expected a node"):
        net.jacobian("q")
    with pytest.raises(KeyError, match=r"no block 'W_1'; it has"):
        net.hessian()["W_1"]
    with pytest.raises(sbp.UnsupportedError, match=r"form 'chain' of a hessian is unknown; expected one of matrix, index"):
        net.hessian().latex("chain")
    with pytest.raises(sbp.UnsupportedError, match=r"target 'c'"):
        net.fisher().generate("c")
    with pytest.raises(sbp.NetworkError, match=r"needs a direction: pass an array for each of W_1"):
        net.hessian_vector_product()(weights, **data)
    with pytest.raises(sbp.DataError, match=r"without a name; pass data by name, X="):
        net.hessian()(weights, weights, **data)
    with pytest.raises(sbp.DataError, match=r"'T' is missing"):
        net.hessian()(weights, X=data["X"])
    with pytest.raises(sbp.DataError, match=r"'b_2' is missing"):
        net.hessian()({name: w for name, w in weights.items() if name != "b_2"}, **data)
    with pytest.raises(sbp.NetworkError, match=r"no dimension that counts samples"):
        factorisation().fisher()["U", "U"]
    a, b = (sbp.node(name, sbp.weight(f"w_{name}") ** 2) for name in "ab")
    both = sbp.Network(sbp.node("C", a * b))
    with pytest.raises(sbp.NetworkError, match=r"the loss reads a, b: name one with output="):
        both.gauss_newton()["w_a", "w_a"]
    assert both.gauss_newton(wrt="w_a", output="a").node is a
    with pytest.raises(sbp.NetworkError, match=r"through a: the loss sees w_b on other ways too; name a node"):
        both.gauss_newton(output="a")["w_a", "w_a"]
    with pytest.raises(IndexError, match="out of range"):
        net.hessian()["b_1", "b_1"][0, 5]


# --- operators -----------------------------------------------------------------------------------------------------------


def batch_norm(X, W):
    Z = sbp.node("Z", X @ W)
    variance = sbp.node("s", sbp.mean((Z - sbp.mean(Z, axis=0)) ** 2, axis=0))
    return sbp.mean(sp.sin((Z - sbp.mean(Z, axis=0)) / sp.sqrt(variance + sp.Rational(1, 10))))


def attention(X, W):
    A = sbp.node("A", sbp.softmax(sbp.matmul(X @ W, sbp.matmul(X, sbp.weight("K", (3, 4))).T)))
    return sbp.mean(sp.tanh(sbp.matmul(A, X @ W)) ** 2)


def embedding(X, W):
    return sbp.mean(sp.tanh(sbp.take(sbp.weight("E", (5, 3)), sbp.data("words", ("n",))) * X @ W) ** 2)


def slices_and_maxima(X, W):
    Z = sbp.node("Z", sp.sin(X @ W))
    both = sbp.concatenate([Z[:, 1:3], Z[:, ::3] * sbp.weight("c", (2,))], axis=1)
    return sbp.mean(sbp.max(both, axis=1) * sbp.logsumexp(sbp.reshape(Z, ("n", 2, 2)), axis=1)[:, 0])


def columns(X, W):
    return sbp.sum(sbp.node("Z", sp.exp(W.T @ X.T))[1:]) / 3


@pytest.mark.parametrize("loss", [batch_norm, attention, embedding, slices_and_maxima, columns])
def test_gradients_of_samples_are_those_of_each_sample_alone(loss, close, draw):
    net = sbp.Network(sbp.node("C", loss(sbp.data("X", ("n", 3)), sbp.weight("W", (3, 4)))))
    weights = draw({name: w.shape for name, w in net.weights.items()}, -1, 1)
    data = draw({"X": (4, 3)}, seed=1)
    if "words" in net.data:
        data["words"] = np.array([4, 0, 0, 2])
    found = net.per_sample_gradients()(weights, **data)
    for i in range(4):
        _, alone = net.value_and_gradients(weights, **{name: a[i : i + 1] for name, a in data.items()})
        for name, g in alone.items():
            close(found[name][i], g, what=f"sample {i}, {name}")
    # Each block of the whole Hessian is what is found for its weight alone, and what the product with random vectors says.
    v = draw({name: w.shape for name, w in net.weights.items()}, seed=2)
    hessian, product = net.hessian()(weights, **data), net.hessian_vector_product()(weights, v, **data)
    for p in weights:
        close(sum(np.tensordot(hessian[p, q], v[q], v[q].ndim) for q in v), product[p], what=f"H v, {p}")
        close(net.hessian(p)(weights, **data)[p, p], hessian[p, p], what=f"the Hessian of {p} alone")


def _looked_up(x):
    return sbp.reshape(sbp.embedding(x, 5, 2), ("n", 6))


def _convolved(x):
    return sbp.reshape(sbp.conv1d(sbp.reshape(x, ("n", 1, 6)), 2, 3), ("n", -1))


@pytest.mark.parametrize(("build", "shape"), [(_looked_up, (3,)), (_convolved, (6,))], ids=["embedding", "convolution"])
def test_gauss_newton_sums_each_side_by_itself(build, shape):
    """J^T B J from the Jacobian's own numbers, where the Jacobian has sums inside."""
    x, target = sbp.data("X", ("n", *shape)), sbp.data("T", ("n", 2))
    y = sbp.node("Y", sbp.dense(build(x), 2, name="out"))
    net = sbp.Network(sbp.node("C", sbp.half_squared_error(y, target)), output=y)
    rng = np.random.default_rng(0)
    weights = {name: rng.normal(size=w.shape) for name, w in net.weights.items()}
    inputs = rng.integers(0, 5, (4, *shape)) if shape == (3,) else rng.normal(size=(4, *shape))
    jacobian = net.jacobian(y).matrix(weights, X=inputs)
    found = net.gauss_newton().matrix(weights, X=inputs, T=rng.normal(size=(4, 2)))
    np.testing.assert_allclose(found, jacobian.T @ jacobian / 4, rtol=1e-10, atol=1e-12)


def test_states_among_the_weights_are_passed_over():
    x, target = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.dense(sbp.batch_norm(x), 2), target)))
    weights = dict(net.trainer(sbp.SGD(lr=1)).weights)
    assert set(weights) > set(net.weights)
    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(4, 3)), "T": rng.normal(size=(4, 2))}
    found = net.hessian()(weights, **data)
    expected = net.hessian()({name: weights[name] for name in net.weights}, **data)
    assert all(np.array_equal(found[key], block) for key, block in expected.items())


def test_gauss_newton_passes_over_nodes_of_which_the_loss_is_a_linear_function():
    """Single samples have a loss each, whose mean is linear in them; and the squares may have a name. Both used to give a matrix of zeros."""
    X, t = sbp.data("X", ("n", 3)), sbp.data("t", "n")
    y = sbp.node("y", X @ sbp.weight("w", 3))
    squares = sbp.node("e", (y - t) ** 2)
    batch = sbp.Network(sbp.node("C", sbp.mean(squares))).gauss_newton()
    x_1, t_1 = sbp.data("X", 3), sbp.data("t")
    single = sbp.Network(sbp.node("C", (sbp.node("y", x_1 @ sbp.weight("w", 3)) - t_1) ** 2)).gauss_newton()
    rng = np.random.default_rng(0)
    x, target, w = rng.normal(size=(5, 3)), rng.normal(size=5), {"w": rng.normal(size=3)}
    for found in (batch, single):
        assert found.node.name == "y"
        np.testing.assert_allclose(found.matrix(w, X=x, t=target), 2 * x.T @ x / 5, rtol=1e-12)
    beneath = sbp.node("e", (X @ sbp.weight("w", 3) - t) ** 2)
    with pytest.raises(sbp.NetworkError, match="e, of which the loss is a linear function, reads none"):
        sbp.Network(sbp.node("C", sbp.mean(beneath))).gauss_newton().latex()


def test_gauss_newton_does_not_look_through_an_output_that_the_loss_passes_by():
    """A physics-informed loss reads the output's derivative, whose way to the weights goes around the output."""
    s = sbp.data("s", ("n", 1))
    u = sbp.node("u", s + s**2 * sbp.dense(sbp.dense(s, 3, "tanh"), 1))
    r = sbp.node("r", sbp.derivative(sbp.derivative(u, s), s) + u)
    net = sbp.Network(sbp.node("C", sbp.mean(r**2)), output=u)
    found = net.gauss_newton()
    assert found.node.name == "r"
    rng = np.random.default_rng(0)
    weights, data = {w.name: rng.normal(size=w.shape) for w in net.system.weights}, {"s": np.linspace(0.1, 1, 7)[:, None]}
    jacobian = net.jacobian("r").matrix(weights, **data)
    np.testing.assert_allclose(found.matrix(weights, **data), 2 * jacobian.T @ jacobian / 7, rtol=1e-10, atol=1e-12)
    unnamed = sbp.Network(sbp.node("C", sbp.mean((sbp.derivative(sbp.derivative(u, s), s) + u) ** 2)), output=u)
    with pytest.raises(sbp.NetworkError, match="the loss reads u, u_s_s: name one"):
        unnamed.gauss_newton().latex()
    with pytest.raises(sbp.NetworkError, match="on other ways too"):
        unnamed.gauss_newton(output="u").latex()
