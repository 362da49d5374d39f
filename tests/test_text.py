"""The text form: networks in it are those that Python builds, its mistakes are shown where they stand, and no text does anything else."""

import importlib
import math
import sys
import unicodedata
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import sympy as sp
from hypothesis import given

import symbackprop as sbp
from symbackprop.reading import VOCABULARY, parse_source
from symbackprop.text.page import underlined

EXAMPLES = Path(__file__).parents[1] / "examples"
TANH = """\
# tanh.net
data   x, t
weight w_1 = 1, w_2 = 1, b = 1
z_1 = w_1*x
a_1 = tanh(z_1)
z_2 = w_2*a_1 + b
y   = tanh(z_2)
loss   C = (y - t)^2/2
output y
"""


def two_neurons():
    x, t = sbp.data("x t")
    w1, w2, b = sbp.weight("w_1 w_2 b", init=1)
    z1 = sbp.node("z_1", w1 * x)
    a1 = sbp.node("a_1", sp.tanh(z1))
    z2 = sbp.node("z_2", w2 * a1 + b)
    y = sbp.node("y", sp.tanh(z2))
    return sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)


def expression(text, declared=""):
    """The expression of `f = text`, where w and v are weights and X, Y, k data."""
    lines = f"data X[n, 3], Y[n, 3], k[n]\nweight w, v, W[3, 3], u[3]\n{declared}\nf = {text}\nloss C = sum(f) + w + v + sum(W) + sum(u)"
    return next(e.expr for e in sbp.parse(lines) if e.symbol.name == "f")


# --- the same networks --------------------------------------------------------------------------------------------------


def test_the_interface_s_example_is_the_network_that_python_builds():
    parsed, built = sbp.parse(TANH), two_neurons()
    assert parsed.equations == built.equations  # the same tensors, with the same shapes, initial values and definitions
    assert (parsed.loss, parsed.output) == (built.loss, built.output)
    x, a1, w2, t, y = sp.symbols("x a_1 w_2 t y")
    local = parsed.gradients["w_1"].local
    by_hand = x * (1 - a1**2) * w2 * (y - t) * (1 - y**2)
    assert sp.expand(local.xreplace({s: sp.Symbol(s.name) for s in local.free_symbols}) - by_hand) == 0


def test_shapes_stand_in_brackets():
    net = sbp.parse("data X[n, 2], T[n, 1]\nweight W_1[2, 2], b_1[2]\nweight W_2[2, 1]\nZ_1 = X @ W_1 + b_1\nY = Z_1 @ W_2\nloss C = mse(Y, T)")
    assert {t.name: t.shape for t in (*net.data.values(), *net.weights.values())} == {
        "X": ("n", 2), "T": ("n", 1), "W_1": (2, 2), "b_1": (2,), "W_2": (2, 1)
    }  # fmt: skip


@pytest.mark.parametrize("text", ["1", "w", "sum(X, axis=0)", "w^2 + 3"])
def test_an_expression_needs_no_name_to_be_the_output(text):
    net = sbp.parse(f"data X[n, 2]\nweight w\nloss mean(w*X)\noutput {text}")
    assert net.output is not None


@pytest.mark.parametrize("line", ["loss C = w^2", "loss = w^2", "loss w^2", "C = w^2\nloss C", "loss C\nC = w^2"])
def test_the_loss_is_an_equation_or_names_one(line):
    net = sbp.parse(f"weight w\n{line}")
    assert net.value_and_gradients({"w": 3}) == (9.0, {"w": 6.0})
    assert net.loss.name in ("C", "loss")


TWINS = {
    "tanh": lambda example: example("tanh_and_autograd").two_neurons(),
    "parabola": lambda example: example("tanh_and_autograd").parabola(),
    "cost": lambda example: example("tanh_and_autograd").cost(),
    "mpg": lambda example: example("tanh_and_autograd").linear_regression(),
    "diabetes": lambda example: example("tanh_and_autograd").logistic_regression(),
    "regression": lambda example: example("regression_and_classification").regression(),
    "classification": lambda example: example("regression_and_classification").classification(),
    "three_layers": lambda example: example("two_hidden_layers").network(),
    "digits": lambda example: example("digits").network(),
    "lenet": lambda example: example("lenet").network(),
}


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        yield importlib.import_module


def test_every_text_form_among_the_examples_has_a_twin():
    assert {path.stem for path in EXAMPLES.glob("*.net")} == set(TWINS)


@pytest.mark.parametrize("name", TWINS)
def test_examples_have_the_gradients_of_their_python_twins(name, example, close):
    parsed, twin = sbp.load(EXAMPLES / f"{name}.net"), TWINS[name](example)
    rng = np.random.default_rng(0)
    weights = {w: rng.uniform(0.2, 0.9, t.shape) for w, t in twin.weights.items()}
    data = {d: rng.uniform(0.2, 0.9, [7 if isinstance(size, sp.Symbol) else size for size in t.shape]) for d, t in twin.data.items()}
    if "labels" in data:
        data["labels"] = rng.integers(0, 10, 7)
    (loss, gradients), (wanted_loss, wanted) = (net.value_and_gradients(weights, **data) for net in (parsed, twin))
    close(loss, wanted_loss, 1e-12, "the loss")
    assert set(gradients) == set(wanted)
    for weight, g in wanted.items():
        close(gradients[weight], g, 1e-12, weight)


# --- expressions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-2^2", -4), ("2^3^2", 512), ("2**3**2", 512), ("2^-1", 0.5), ("-2^-2", -0.25), ("(-2)^2", 4), ("1/2/4", 0.125), ("2 - 3 - 4", -5),
        ("6/2*3", 9), ("2*-3", -6), ("--3", 3), ("-+-3", 3), ("1 - -1", 2), ("2*3^2", 18), ("-3*2", -6), ("2^2*3", 12), (".5e1", 5), ("1e-3", 1e-3),
        ("2.", 2), ("1E2", 100), ("007", 7), ("0^0", 1), ("sqrt(2)^2", 2), ("cos(pi)", -1), ("exp(1)", math.e), ("ln(exp(2))", 2),
        ("maximum(2, 3) - minimum(2, 3)", 1), ("abs(-2)*sign(-3)", -2), ("arctan(1)*4", math.pi), ("atan(1)*4", math.pi), ("4^(1/2)", 2),
        ("(1 +\n 2)*(\n3)", 9), ("((((7))))", 7),
    ],
)  # fmt: skip
def test_arithmetic_is_that_of_paper(text, value, close):
    net = sbp.parse(f"weight w\nloss w*({text})")
    close(net.value_and_gradients({"w": 1.0})[1]["w"], value, 1e-15)


def test_a_constant_may_get_an_axis(close):
    """Numbers that are repeated along an axis are arrays in the code, functions of them too."""
    net = sbp.parse("data X[n, 2]\nweight w\nloss C = sum(w*X*tanh(0.5[..., None]) + maximum(0.25[None], 0.125))")
    loss, gradients = net.value_and_gradients({"w": 3.0}, X=[[1, 2], [3, 4]])
    close(loss, 30 * math.tanh(0.5) + 4 * 0.25, 1e-14)
    close(gradients["w"], 10 * math.tanh(0.5), 1e-14)


def test_large_integers_are_numbers_in_the_code(close):
    """NumPy takes no integer beyond 64 bits into its functions."""
    net = sbp.parse("data X[n, 2]\nweight w\nloss C = sum(w*X)*log(2^100) + w*3^60/(3^59 + X[0, 0])")
    loss, gradients = net.value_and_gradients({"w": 3.0}, X=[[1, 2], [3, 4]])
    close(gradients["w"], 10 * 100 * math.log(2) + 3, 1e-14)
    close(loss, 3 * gradients["w"], 1e-14)


def test_integers_and_fractions_are_exact_and_decimals_are_pythons():
    assert expression("w*2/3").as_coeff_Mul()[0] == sp.Rational(2, 3)
    assert expression("0.1*w").as_coeff_Mul()[0] == 0.1 * sp.S.One
    assert expression("0.1*w") == 0.1 * sbp.weight("w")


# One call of each function, as text and in Python; w, v, X, Y, k, W, u as in `expression`.
CALLS = {
    **{f"{name}(w)": lambda w, name=name, **_: getattr(sp, name)(w) for name in "exp log sqrt sin cos tan asin acos atan sinh cosh tanh".split()},
    **{f"{name}(w)": lambda w, name=name, **_: getattr(sp, name)(w) for name in "asinh acosh atanh erf erfc sign".split()},
    "ln(w)": lambda w, **_: sp.log(w),
    "abs(w)": lambda w, **_: sp.Abs(w),
    "arcsin(w)": lambda w, **_: sp.asin(w),
    "arccos(w)": lambda w, **_: sp.acos(w),
    "arctan(w)": lambda w, **_: sp.atan(w),
    **{f"{name}(X)": lambda X, name=name, **_: getattr(sbp, name)(X) for name in "sigmoid softplus relu step expm1 log1p gelu silu".split()},
    **{f"{name}(X)": lambda X, name=name, **_: getattr(sbp, name)(X) for name in "gelu_tanh selu mish softsign hard_tanh hard_sigmoid".split()},
    "maximum(w, 0)": lambda w, **_: sp.Max(w, 0),
    "minimum(w, v)": lambda w, v, **_: sp.Min(w, v),
    "leaky_relu(X, 0.2)": lambda X, **_: sbp.leaky_relu(X, 0.2),
    "leaky_relu(X, slope=w)": lambda X, w, **_: sbp.leaky_relu(X, w),
    "elu(X, alpha=2)": lambda X, **_: sbp.elu(X, 2),
    'einsum("ij,jk->ik", X, W)': lambda X, W, **_: sbp.einsum("ij,jk->ik", X, W),
    "matmul(X, W)": lambda X, W, **_: X @ W,
    "X @ W.T": lambda X, W, **_: X @ W.T,
    "mean(X, axis=1, keepdims=true)": lambda X, **_: sbp.mean(X, axis=1, keepdims=True),
    "mean(X, 0)": lambda X, **_: sbp.mean(X, 0),
    "transpose(W)": lambda W, **_: W.T,
    "transpose(X, (1, 0))": lambda X, **_: X.T,
    "reshape(W, (9,))": lambda W, **_: sbp.reshape(W, 9),
    "reshape(W, [1, -1])": lambda W, **_: sbp.reshape(W, (1, -1)),
    "reshape(X, (n, 3, 1))": lambda X, **_: sbp.reshape(X, ("n", 3, 1)),
    "concatenate([X, Y], axis=1)": lambda X, Y, **_: sbp.concatenate([X, Y], axis=1),
    "take(W, k)": lambda W, k, **_: sbp.take(W, k),
    "take(W, k, axis=-1)": lambda W, k, **_: sbp.take(W, k, axis=-1),
    "w*one_hot(k, 4)": lambda w, k, **_: w * sbp.one_hot(k, 4),
    "logsumexp(X, axis=-1)": lambda X, **_: sbp.logsumexp(X, axis=-1),
    "norm(X, axis=-1, keepdims=true)": lambda X, **_: sbp.norm(X, axis=-1, keepdims=True),
    "softmax(X)": lambda X, **_: sbp.softmax(X),
    "softmax(X, axis=1)": lambda X, **_: sbp.softmax(X, axis=1),
    "log_softmax(X)": lambda X, **_: sbp.log_softmax(X),
    "sum(X, axis=(0, 1))": lambda X, **_: sbp.sum(X, axis=(0, 1)),
    "sum(X)/n": lambda X, **_: sbp.sum(X) / sbp.Dim("n"),
    "max(X, axis=1, keepdims=True)": lambda X, **_: sbp.max(X, axis=1, keepdims=True),
    "min(X, axis=None)": lambda X, **_: sbp.min(X),
    "mse(X, Y)": lambda X, Y, **_: sbp.mse(X, Y),
    "half_squared_error(X, Y)": lambda X, Y, **_: sbp.half_squared_error(X, Y),
    "binary_cross_entropy(X, Y)": lambda X, Y, **_: sbp.binary_cross_entropy(X, Y),
    "binary_cross_entropy_with_logits(X, Y)": lambda X, Y, **_: sbp.binary_cross_entropy_with_logits(X, Y),
    "cross_entropy(X @ W, k)": lambda X, W, k, **_: sbp.cross_entropy(X @ W, k),
    "cross_entropy(X @ W, k, class_weights=u, label_smoothing=0.1)": lambda X, W, k, u, **_: sbp.cross_entropy(X @ W, k, u, 0.1),
    "negative_log_likelihood(X, k)": lambda X, k, **_: sbp.negative_log_likelihood(X, k),
    "kl_divergence(X, Y)": lambda X, Y, **_: sbp.kl_divergence(X, Y),
    "huber(X, Y, delta=2)": lambda X, Y, **_: sbp.huber(X, Y, 2),
    "smooth_l1(X, Y)": lambda X, Y, **_: sbp.smooth_l1(X, Y),
    "hinge(X, k)": lambda X, k, **_: sbp.hinge(X, k),
    "cosine_loss(X, Y)": lambda X, Y, **_: sbp.cosine_loss(X, Y),
    "cosine_similarity(X, Y, axis=0)": lambda X, Y, **_: sbp.cosine_similarity(X, Y, 0),
    "w + l1(W)/2": lambda w, W, **_: w + sbp.l1(W) / 2,
    "l2(W, u)": lambda W, u, **_: sbp.l2(W, u),
    "bilinear(X, Y, 2, tanh)": lambda X, Y, **_: sbp.bilinear(X, Y, 2, "tanh"),
    "embedding(k, 5, 3, name=words)": lambda k, **_: sbp.embedding(k, 5, 3, "words"),
    "attention(X, Y, X, mask=X @ Y.T)": lambda X, Y, **_: sbp.attention(X, Y, X, X @ Y.T),
    "multi_head_attention(X, 3, context=Y)": lambda X, Y, **_: sbp.multi_head_attention(X, 3, Y),
    "multi_head_attention(X, heads=1, causal=true)": lambda X, **_: sbp.multi_head_attention(X, 1, causal=True),
    "X + positional_encoding(n, 3)": lambda X, **_: X + sbp.positional_encoding("n", 3),
    "X*positions(3)": lambda X, **_: X * sbp.positions(3),
    "dense(X, 4, activation=tanh, bias=false)": lambda X, **_: sbp.dense(X, 4, "tanh", bias=False),
    'dense(X, 4, "relu", name="out")': lambda X, **_: sbp.dense(X, 4, "relu", name="out"),
    "layer_norm(X, axes=-1, eps=1e-3, bias=false)": lambda X, **_: sbp.layer_norm(X, -1, 1e-3, bias=False),
    "rms_norm(X, gain=false)": lambda X, **_: sbp.rms_norm(X, gain=False),
    "batch_norm(X, axis=1, momentum=1/4)": lambda X, **_: sbp.batch_norm(X, 1, momentum=0.25),
    'dropout(X, 0.3, name="d")': lambda X, **_: sbp.dropout(X, 0.3, "d"),
    "solve(W @ W.T, W)": lambda W, **_: sbp.solve(W @ W.T, W),
    "derivative(X, X)": lambda X, **_: sbp.derivative(X, X),
    "broadcast_to(v, (2, 3))": lambda v, **_: sbp.broadcast_to(v, (2, 3)),
    "pad(X, 1)": lambda X, **_: sbp.pad(X, 1),
    "pad(W, ((1, 0), 2), value=-1)": lambda W, **_: sbp.pad(W, ((1, 0), 2), value=-1),
    "window(X, 2)": lambda X, **_: sbp.window(X, 2),
    "window(W, (2, 1), stride=(1, 2))": lambda W, **_: sbp.window(W, (2, 1), stride=(1, 2)),
    "correlate(reshape(X, (n, 1, 3)), reshape(W, (3, 1, 3)), padding=1)": lambda X, W, **_: sbp.correlate(
        sbp.reshape(X, ("n", 1, 3)), sbp.reshape(W, (3, 1, 3)), padding=1
    ),
    "conv1d(reshape(X, (n, 1, 3)), 2, 3, padding=same, activation=relu)": lambda X, **_: sbp.conv1d(
        sbp.reshape(X, ("n", 1, 3)), 2, 3, padding="same", activation="relu"
    ),
    'conv2d(reshape(X, (n, 1, 3, 1)), 2, (3, 1), padding=(2, 0), dilation=2, name="first")': lambda X, **_: sbp.conv2d(
        sbp.reshape(X, ("n", 1, 3, 1)), 2, (3, 1), padding=(2, 0), dilation=2, name="first"
    ),
    "max_pool1d(X, 2)": lambda X, **_: sbp.max_pool1d(X, 2),
    "avg_pool1d(X, 2, stride=1, padding=1)": lambda X, **_: sbp.avg_pool1d(X, 2, stride=1, padding=1),
    "max_pool2d(W, (2, 3))": lambda W, **_: sbp.max_pool2d(W, (2, 3)),
    "avg_pool2d(W, 2)": lambda W, **_: sbp.avg_pool2d(W, 2),
    "rnn(reshape(X, (n, 3, 1)), 2)": lambda X, **_: sbp.rnn(sbp.reshape(X, ("n", 3, 1)), 2)[0],
    "lstm(reshape(X, (n, 3, 1)), 2)": lambda X, **_: sbp.lstm(sbp.reshape(X, ("n", 3, 1)), 2)[0],
    "gru(reshape(X, (n, 3, 1)), 2)": lambda X, **_: sbp.gru(sbp.reshape(X, ("n", 3, 1)), 2)[0],
    "gru(reshape(X, (n, 3, 1)), 2, lengths=k, reverse=true)": lambda X, k, **_: sbp.gru(sbp.reshape(X, ("n", 3, 1)), 2, lengths=k, reverse=True)[0],
    "X[:, 0]": lambda X, **_: X[:, 0],
    "X[..., 1:]": lambda X, **_: X[..., 1:],
    "X[1:-1, ::2]": lambda X, **_: X[1:-1, ::2],
    "u[-1]": lambda u, **_: u[-1],
    "u[None, :]": lambda u, **_: u[None, :],
    "W[:, 1].T": lambda W, **_: W[:, 1].T,
}


@pytest.mark.parametrize("text", CALLS)
def test_a_call_is_the_call_of_python(text):
    names = dict(zip("X Y".split(), sbp.data("X Y", ("n", 3)), strict=True)) | {"k": sbp.data("k", "n")}
    w, v = sbp.weight("w v")
    names |= {"w": w, "v": v, "W": sbp.weight("W", (3, 3)), "u": sbp.weight("u", 3)}
    assert expression(text) == CALLS[text](**names)


def test_every_function_of_the_vocabulary_is_called_above():
    called = {name for name in VOCABULARY if any(f"{name}(" in f" {text}".replace(f"_{name}(", "") for text in CALLS)}
    assert called == set(VOCABULARY)


def test_the_public_functions_are_in_the_vocabulary():
    python_only = {"data", "weight", "state", "scan", "node", "parse", "load", "mlp", "check_gradients", "evaluate"}
    functions = {n for n in sbp.__all__ if n[0].islower() and callable(getattr(sbp, n)) and not isinstance(getattr(sbp, n), tuple)} - python_only
    assert functions <= set(VOCABULARY)


def test_sums_inside_a_function_of_a_sum_are_closed(close):
    """SymPy factors numbers out of sums in an exponent, and asks for the sum of 1."""
    text = "data X[n, 2], k[n]\nweight W[2, 2] = [[1, 2], [3, 4]]\nz = cross_entropy(X @ W, k)\nloss C = sum(gelu(minimum(sum(W, axis=0), z)))"
    net = sbp.parse(text)
    data = {"X": np.array([[0.1, 0.2], [0.3, 0.5]]), "k": np.array([0, 1])}
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    numbers = sbp.evaluate(net.gradients["W"][0, 1].closed, {"W": W, **data})
    close(float(numbers), net.value_and_gradients({"W": W}, **data)[1]["W"][0, 1], 1e-12)


# --- initial values and columns ---------------------------------------------------------------------------------------------


def test_initial_values_are_numbers_lists_and_initializers(close):
    net = sbp.parse(
        "weight a = 1/3, b = -2e-1, c[2] = 7, W[2, 3] = [[1, 2, -3],\n   [0.5, 1/4, 2^3]], o[2] = ones, g[4, 5] = glorot_uniform\n"
        'weight h[4, 5] = "glorot_uniform", p = pi/2\nloss C = a + b + sum(c) + sum(W) + sum(o) + sum(g) + sum(h) + p'
    )
    weights = net.initialize(seed=3)
    close(weights["a"], 1 / 3, 1e-15)
    close(weights["b"], -0.2, 1e-15)
    close(weights["c"], [7, 7], 1e-15)
    close(weights["W"], [[1, 2, -3], [0.5, 0.25, 8]], 1e-15)
    close(weights["o"], [1, 1], 1e-15)
    close(weights["p"], math.pi / 2, 1e-15)
    limit = math.sqrt(6 / 9)  # Glorot & Bengio 2010
    assert np.abs(weights["g"]).max() <= limit
    assert np.abs(weights["g"]).max() > 0.7 * limit
    assert not np.array_equal(weights["g"], weights["h"])


def test_columns_of_a_table_belong_to_data():
    source = parse_source('data x = column("cgpa"), X[n, 5] = columns("a", "b c" : "d", \'#e"\'), t\nweight w\nloss sum(X)*w*(x - t)')
    assert source.columns == {"x": ("cgpa",), "X": ("a", ("b c", "d"), '#e"')}


# --- mistakes ---------------------------------------------------------------------------------------------------------------

W = "weight w\n"
MISTAKES = [
    # text, line, column, what the message says
    ("", 1, 1, "the text is empty"),
    ("# nothing\n\n", 3, 1, "the text is empty"),
    ("weight w\ny = w", 2, 1, "no loss is given"),
    (W + "loss w^2\nloss w^3", 3, 1, "the loss is given twice; line 2"),
    (W + "loss w^2\noutput w\noutput w", 4, 1, "the output is given twice"),
    (W + "loss w1^2", 2, 6, "the name 'w1' is unknown; did you mean 'w'?"),
    ("weight w_1\nloss w1^2", 2, 6, "did you mean 'w_1'?"),
    ("data X[n, 2]\nweight W[2]\nloss sum(x @ W)", 3, 10, "did you mean 'X'?"),
    (W + "loss q^2", 2, 6, "declare it: data q, or weight q"),
    (W + "loss tahn(w)", 2, 6, "did you mean 'tanh'?"),
    (W + "loss foo(w)", 2, 6, "the function 'foo' is unknown"),
    (W + "loss w(3)", 2, 6, "'w' is not a function; write w*(...)"),
    (W + "loss tanh*w", 2, 6, "'tanh' is a function; expected its arguments, tanh(x)"),
    (W + "loss y^2\ny = w", 2, 6, "used before line 3"),
    (W + "y = y + w\nloss y", 2, 5, "used before line 2"),
    (W + "w = 3\nloss w", 2, 1, "given twice; line 1"),
    ("data x\nweight x\nloss x", 2, 8, "given twice; line 1"),
    ("weight w, v\nloss w^2", 1, 11, "the weight 'v' is never used"),
    (W + "loss w^2\noutput z", 3, 8, "the name 'z' is unknown"),
    ("weight np\nloss np", 1, 8, "clashes with a name that generated code uses"),
    ("weight self\nloss self", 1, 8, "clashes"),
    ("weight weights\nloss weights", 1, 8, "clashes"),
    ("weight _w\nloss _w", 1, 8, "starts with an underscore"),
    ("weight lambda\nloss lambda", 1, 8, "is a Python keyword"),
    ("weight tanh\nloss tanh", 1, 8, "belongs to the text form"),
    ("weight pi\nloss pi", 1, 8, "belongs to the text form"),
    ("weight loss\nloss loss", 1, 8, "belongs to the text form"),
    (W + "loss output = w", 2, 6, "belongs to the text form"),
    (W + "data = w\nloss w", 2, 6, "found '='"),
    ("wieght w\nloss w", 1, 1, "did you mean 'weight'?"),
    ("weights w\nloss w", 1, 1, "did you mean 'weight'?"),
    ("foo bar\nloss w", 1, 1, "a line cannot begin with 'foo' 'bar'"),
    ("data x = 3\nweight w\nloss w", 1, 10, 'expected column("...")'),
    ("data x = column(cgpa)\nweight w\nloss w", 1, 17, "the name of a column in quotes"),
    ('data x = column("a", "b")\nweight w\nloss w', 1, 10, "several go into columns"),
    ("data x t\nweight w\nloss w", 1, 8, "found 't', expected ',' between the names"),
    (W + "loss (w + 1", 2, 6, "'(' is never closed"),
    (W + "loss (w + 1\ny = 2", 3, 1, "found 'y', expected ')' or ','; '(' of line 2, column 6 is still open"),
    (W + "loss w + 1)", 2, 11, "found ')', expected an operator or the end of the line"),
    (W + "loss (w + 1]", 2, 12, "found ']', expected ')' or ','; '(' of line 2, column 6 is still open"),
    (W + "loss w +", 2, 9, "the line ends, expected a number, a name or '('"),
    (W + "loss w + * 2", 2, 10, "found '*', expected a number"),
    (W + "loss 2w", 2, 7, "write 2*w for a product"),
    (W + "loss w 2", 2, 8, "write w*2 for a product"),
    (W + "loss w w", 2, 8, "write w*w for a product"),
    (W + "loss", 2, 5, "expected a name or an expression after 'loss'"),
    (W + "loss w = 3 = 4", 2, 12, "found '='"),
    (W + "z[0] = w\nloss w", 2, 2, "only a name can be defined"),
    (W + "z", 2, 2, "the line ends, expected '=' after 'z'"),
    (W + "loss w; loss 2", 2, 7, "the next equation on a line of its own"),
    (W + "loss |w|", 2, 6, "write abs(...)"),
    (W + "loss w\N{MULTIPLICATION SIGN}2", 2, 7, "write *"),
    (W + "loss w\N{MINUS SIGN}2", 2, 7, "write -"),
    (W + "loss w\N{SUPERSCRIPT TWO}", 2, 7, "write ^2"),
    (W + "loss w\N{MIDDLE DOT}w", 2, 7, "write *"),
    (W + "loss w.foo", 2, 8, "the only attribute is .T"),
    (W + "loss w % 2", 2, 8, "'%' has no meaning"),
    (W + "loss w == 2", 2, 9, "found '='"),
    (W + "loss sum(w, axsi=0)", 2, 13, "the argument 'axsi' of sum(x, axis=..., keepdims=...) is unknown; did you mean 'axis'?"),
    ("weight W[3]\nloss sum(W, axis=0, axis=0)", 2, 21, "is given twice"),
    ("weight W[3]\nloss sum(W, 0, axis=0)", 2, 16, "is given twice"),
    ("weight W[3]\nloss sum(axis=0, W)", 2, 18, "put it first"),
    ("weight W[3]\nloss sum()", 2, 6, "lacks the argument 'x'"),
    ("weight W[3]\nloss sum(W, 0, true, 4)", 2, 22, "takes 3 arguments"),
    ("weight W[3]\nloss sum(W, axis=W)", 2, 18, "is an integer"),
    ("weight W[3]\nloss sum(W, axis=0.5)", 2, 18, "expected an integer"),
    ("weight W[3]\nloss sum(W, keepdims=1)", 2, 22, "true or false"),
    ("weight W[3]\nloss max(W, W)", 2, 13, "the larger of two tensors is maximum(a, b)"),
    ("weight W[3]\nloss concatenate(W, W)", 2, 18, "a list of tensors"),
    ("weight W[3]\nloss sum(reshape(W, (m, 1)))", 2, 22, "an integer or a dimension of the data"),
    ("weight W[3]\nloss einsum(W, W)", 2, 13, "a text in quotes"),
    ("weight W[3]\nloss sum(W[w])", 2, 12, "take(x, positions)"),
    ("weight W[n]\nloss sum(W)", 1, 10, "a weight's sizes are integers"),
    ("data X[2.5]\nweight w\nloss w", 1, 8, "the size 2.5 is not an integer"),
    ("data X[0]\nweight w\nloss w", 1, 8, "at least 1"),
    ("data x, X[x]\nweight w\nloss w", 1, 11, "'x' is a tensor of line 1"),
    ("data X[n, 2], n\nweight w\nloss w", 1, 15, "given twice"),
    ("weight w = foo\nloss w", 1, 12, "the initializer 'foo' is unknown"),
    ("weight w = glorot_unifrom\nloss w", 1, 12, "did you mean 'glorot_uniform'?"),
    ("weight W[2, 2] = [1, 2]\nloss sum(W)", 1, 18, "has shape (2, 2), but its initial value has shape (2,)"),
    ("weight W[2, 2] = [[1, 2], [3]]\nloss sum(W)", 1, 27, "differ in length"),
    ("weight w, v = w\nloss w*v", 1, 15, "the initializer 'w' is unknown"),
    ("weight w, v = 2*w\nloss w*v", 1, 16, "an initial value is a number"),
    (W + "loss w/0", 2, 7, "division by zero"),
    (W + "loss w*0^-1", 2, 9, "division by zero"),
    (W + "loss w*sqrt(-1)", 2, 8, "not a real number, like the root"),
    (W + "loss w*log(-1)", 2, 8, "not a real number, like the root or the logarithm of a negative number"),
    (W + "loss w*acos(2)", 2, 8, "not a real number"),
    (W + "loss w*log(0)", 2, 8, "infinite or undefined, like a division by zero"),
    (W + "loss w*tan(pi/2)", 2, 8, "infinite or undefined, like a division by zero"),
    (W + "loss w*exp(1000)", 2, 8, "the value of exp(1000) is too large"),
    ("weight w = log(0)\nloss w", 1, 12, "infinite or undefined"),
    ("weight \\theta\nloss 1", 1, 8, "names are plain letters: write theta"),
    (W + "loss \\frac{w}{2}", 2, 6, "write a/b"),
    (W + "loss w\\\n+ 1", 2, 7, "write a bracket: a line goes on while one is open"),
    ("weight w\u2081\nloss 1", 1, 9, "write w_1"),
    (W + "loss w + theta\u2081\u2082*2", 2, 15, "write theta_12"),
    (W + "loss w\u207b\u00b9\u2070", 2, 7, "write ^-10"),
    ("weight w = 1,5\nloss w", 1, 14, "expected a name after ','; a decimal number has a point, as in 1.5"),
    (W + "loss w*1,5", 2, 9, "a decimal number has a point"),
    (W + "loss (w*1,5)", 2, 6, "a decimal number has a point"),
    (W + "loss w*1e400", 2, 8, "outside the range of float64"),
    (W + "loss 'w'", 2, 6, "a text cannot stand here"),
    (W + "loss [w, w]", 2, 6, "a list cannot stand here"),
    (W + "loss w\x00", 2, 7, "U+0000"),
    (W + "loss w\u202e", 2, 7, "RIGHT-TO-LEFT OVERRIDE"),
    (W + "loss w\u200b", 2, 7, "ZERO WIDTH SPACE"),
    (W + 'loss einsum("i\u202ei", w)', 2, 15, "RIGHT-TO-LEFT OVERRIDE"),
    (W + 'loss einsum("i, w)', 2, 13, "not closed on its line"),
    ("weight x\nloss \N{CYRILLIC SMALL LETTER HA}^2", 2, 6, "looks like 'x', but has the letter CYRILLIC SMALL LETTER HA"),
    ("weight x, \N{CYRILLIC SMALL LETTER HA}\nloss x", 1, 11, "cannot be told from another; it looks like 'x'"),
    (W + "loss t\N{CYRILLIC SMALL LETTER A}nh(w)", 2, 6, "looks like 'tanh'"),
    (W + "loss e^w", 2, 6, "exp(x)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "column", "says"), MISTAKES)
def test_a_mistake_is_shown_where_it_stands(text, line, column, says):
    with pytest.raises(sbp.ParseError) as caught:
        sbp.parse(text)
    error = caught.value
    assert says in error.reason
    assert (error.line, error.column) == (line, column)
    assert "\n" not in error.reason
    assert str(error).startswith(f"line {line}, column {column}: ")
    shown = str(error).split("\n")[1:]
    if text.split("\n")[line - 1]:
        assert len(shown) == 2
        assert shown[1].index("^") - 4 == column - 1 if text.isascii() and "\x00" not in text else "^" in shown[1]


def test_the_caret_stands_under_the_word():
    with pytest.raises(sbp.ParseError) as caught:
        sbp.parse("weight w_1\nz = 2*w_1 + tahn(w_1)\nloss z")
    assert str(caught.value) == (
        "line 2, column 13: the function 'tahn' is unknown; did you mean 'tanh'?\n    z = 2*w_1 + tahn(w_1)\n                ^^^^"
    )


@pytest.mark.parametrize(
    ("line", "start", "length"),
    [("\tabc", 1, 3), ("漢字 = xyz", 5, 3), ("x\u0302 = xyz", 5, 3), ("a" * 500 + "xyz" + "b" * 500, 500, 3), ("\u202eab xyz", 4, 3)],
)
def test_carets_stand_under_their_characters_in_a_terminal(line, start, length):
    def columns(text):
        return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)

    source, mark = underlined(line, start, length)
    word = line[start : start + length]
    assert columns(source[: source.index(word)]) == mark.index("^")
    assert mark.count("^") == length
    assert len(source) < 120
    assert source.isprintable()


@pytest.mark.parametrize(
    ("text", "kind", "column"),
    [
        ("data X[n, 3]\nweight W[2, 2]\nloss C = sum(X @ W)", sbp.ShapeError, 16),
        ("data X[n, 3]\nweight W[2, 2]\nloss C = sum(1 + X + W)", sbp.ShapeError, 16),
        ("data X[n, 3]\nweight W[3, 2]\nloss C = X @ W", sbp.ShapeError, 1),
        ("data X[n, 3]\nweight W[3, 2]\nloss C = mse(X, W)", sbp.ShapeError, 10),
        ("data X[n, 3]\nweight W[3, 2]\nloss C = sum(X[:, 5]) + sum(W)", sbp.ShapeError, 15),
        ("data X[n, 3]\nweight W[3, 2]\nloss C = sum(dense(X, 3, activation=foo)) + sum(W)", sbp.NetworkError, 14),
        ("data X[n, 3]\nweight W[3, 2]\nloss C = 2^(10^9)*sum(W)", sbp.UnsupportedError, 11),
    ],
)
def test_errors_of_the_core_keep_their_class_and_get_a_place(text, kind, column):
    with pytest.raises(kind) as caught:
        sbp.parse(text)
    assert isinstance(caught.value, sbp.ParseError)
    assert (caught.value.line, caught.value.column) == (3, column)


# --- files ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [lambda b: b, lambda b: b.replace(b"\n", b"\r\n"), lambda b: b.replace(b"\n", b"\r"), lambda b: b"\xef\xbb\xbf" + b])
def test_files_of_every_editor_are_read(change, tmp_path):
    path = tmp_path / "tanh.net"
    path.write_bytes(change(TANH.replace("   ", "\t").encode()))
    assert sbp.load(path).equations == two_neurons().equations
    assert sbp.load(str(path)).loss.name == "C"


def test_a_mistake_in_a_file_names_the_file(tmp_path):
    path = tmp_path / "bad.net"
    path.write_text("weight w\nloss q")
    with pytest.raises(sbp.ParseError, match=r"bad\.net, line 2, column 6: the name 'q' is unknown"):
        sbp.load(path)


def test_files_that_cannot_be_read_are_one_error_each(tmp_path):
    with pytest.raises(sbp.ParseError, match="does not exist") as caught:
        sbp.load(tmp_path / "none.net")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(sbp.ParseError, match="cannot be read: Is a directory"):
        sbp.load(tmp_path)
    (tmp_path / "latin.net").write_bytes("weight w\n# größe\nloss w".encode("latin-1"))
    with pytest.raises(sbp.ParseError, match="byte 5 of the line, 0xf6, is not UTF-8") as caught:
        sbp.load(tmp_path / "latin.net")
    assert caught.value.line == 2
    (tmp_path / "wide.net").write_bytes(TANH.encode("utf-16"))
    with pytest.raises(sbp.ParseError, match="is not UTF-8"):
        sbp.load(tmp_path / "wide.net")
    with pytest.raises(sbp.ParseError, match="null"):
        sbp.load("a\0b")


def test_what_is_no_text_is_refused():
    for thing in (b"weight w", None, 3, ["weight w"]):
        with pytest.raises(sbp.ParseError, match="expected a text"):
            sbp.parse(thing)
    with pytest.raises(sbp.ParseError, match="load"):
        sbp.parse("tanh.net")


# --- random networks and random text ------------------------------------------------------------------------------------


@st.composite
def networks(draw):
    """A random network as text, and built in Python by the same choices."""
    X, lines = sbp.data("X", ("n", 3)), ["data X[n, 3]"]
    h, name, width = X, "X", 3
    for k in range(1, draw(st.integers(1, 4)) + 1):
        units = draw(st.integers(1, 3))
        W, b = sbp.weight(f"W_{k}", (width, units)), sbp.weight(f"b_{k}", (units,))
        lines.append(f"weight W_{k}[{width}, {units}], b_{k}[{units}]")
        z = sbp.node(f"z_{k}", h @ W + b)
        lines.append(f"z_{k} = {name} @ W_{k} + b_{k}")
        c, p = draw(st.integers(1, 9)), draw(st.integers(2, 4))
        text, expr = draw(st.sampled_from([
            (f"tanh(z_{k})", sp.tanh(z)),
            (f"sigmoid(z_{k})*{c}/7", sbp.sigmoid(z) * c / 7),
            (f"-softplus(-z_{k})^{p}", -(sbp.softplus(-z) ** p)),
            (f"softmax(z_{k}, axis=-1) - {c}e-1", sbp.softmax(z) - float(f"{c}e-1")),
            (f"sin(z_{k})/({c} + z_{k}**2)", sp.sin(z) / (c + z**2)),
            (f"exp(-(z_{k}\n  )^2/{c})", sp.exp(-(z**2) / c)),
            (f"z_{k} - mean(z_{k}, axis=0, keepdims=true)", z - sbp.mean(z, axis=0, keepdims=True)),
            (f"concatenate([z_{k}, z_{k}[:, 0:1]], axis=1)[:, 1:]", sbp.concatenate([z, z[:, 0:1]], axis=1)[:, 1:]),
            (f"silu(z_{k}) @ einsum('ij,kj->ik', W_{k}, W_{k}).T[:{units}, :{units}]", None),
        ]))  # fmt: skip
        if expr is None:
            gram = sbp.einsum("ij,kj->ik", W, W).T
            if units > width:
                text, expr = f"relu(z_{k})", sbp.relu(z)
            else:
                expr = sbp.silu(z) @ gram[:units, :units]
        h, name, width = sbp.node(f"h_{k}", expr), f"h_{k}", units
        lines.append(f"{name} = {text}")
    text, loss = draw(st.sampled_from([
        (f"mean({name}^2)", sbp.mean(h**2)),
        (f"sum(({name} - 1/3)^2)/n", sbp.sum((h - sp.Rational(1, 3)) ** 2) / sbp.Dim("n")),
        (f"half_squared_error({name}, 2*{name} - 0.5)", sbp.half_squared_error(h, 2 * h - 0.5)),
    ]))  # fmt: skip
    lines += [f"loss C = {text}", f"output {name}"]
    return "\n".join(lines), sbp.Network(sbp.node("C", loss), output=h)


@given(networks(), st.integers(0, 2**32 - 1))
def test_random_networks_are_the_same_as_text(close, both, seed):
    text, built = both
    parsed = sbp.parse(text)
    rng = np.random.default_rng(seed)
    weights = {name: rng.uniform(-1, 1, t.shape) for name, t in built.weights.items()}
    X = rng.uniform(-1, 1, (4, 3))
    (loss, gradients), (wanted_loss, wanted) = (net.value_and_gradients(weights, X=X) for net in (parsed, built))
    close(loss, wanted_loss, 1e-12, text)
    for name, g in wanted.items():
        close(gradients[name], g, 1e-12, f"{name} in {text}")


WORDS = [
    *"w x X W n ( ) [ ] , = + - * / @ ^ ** : . ... T .T 0 1 2 -1 3.5 1e9 \n # \t".split(" "), "\n", "\nloss ", "\nweight ", "\ndata ", "\noutput ", "y = ",
    "sum(", "exp(", "log(", "max(", "axis=", "keepdims=true", "einsum(", '"ij,j->i"', "reshape(", "softmax(", "take(", "one_hot(", "dense(", "'",
    "concatenate([", "cross_entropy(", "logsumexp(", "mean(", "transpose(", "None", "sqrt(", "maximum(", "abs(", "\u202e", "\x00", "é", "10^9",
]  # fmt: skip
START = "data x, X[n, 2]\nweight w, W[2, 2]\n"


def network_or_message(text):
    """None where the text is a network, else the message; any other outcome is raised."""
    try:
        assert isinstance(sbp.parse(text), sbp.Network)
    except sbp.ParseError as error:
        return error.reason
    return None


@given(st.lists(st.sampled_from(WORDS), max_size=25).map("".join))
def test_any_words_are_a_network_or_a_clear_error(text):
    for whole in (text, START + text, START + "loss C = " + text, START + f"loss C = sum({text})*w*sum(W)"):
        reason = network_or_message(whole)
        assert reason is None or (reason and reason.isprintable())


@given(st.text(max_size=60), st.integers(0, len(TANH)), st.integers(0, 12))
def test_any_change_of_a_text_is_a_network_or_a_clear_error(inserted, place, removed):
    reason = network_or_message(TANH[:place] + inserted + TANH[place + removed :])
    assert reason is None or (reason and reason.isprintable())
