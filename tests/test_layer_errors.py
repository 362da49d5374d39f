"""Every layer and every loss with wrong shapes, wrong types and wrong keywords: one error in one line, which names the call, what was found and
what was expected."""

import numpy as np
import pytest

import symbackprop as sbp

x, y, t = sbp.data("x", ("n", 4)), sbp.data("y", ("n", 4)), sbp.data("t", ("n", 3))
s, i, o = sbp.data("s"), sbp.data("i", ("n",)), sbp.data("o", ("n", "k"))
sequence, image, signal = sbp.data("S", ("n", 5, 4)), sbp.data("I", ("n", 2, 6, 6)), sbp.data("J", ("n", 2, 6))
w, A = sbp.weight("w", (3,)), np.ones((3, 4))

ARRAY = ["ndarray of shape (3, 4)", "expected a SymPy expression", "data(...)"]
UNITS = "the number of units must be a positive integer"

# what is called: what the message says
LAYERS = {
    "dense('x', 3)": ["dense", "str 'x'", "expected a SymPy expression"],
    "dense(A, 3)": ["dense", *ARRAY],
    "dense(s, 3)": ["dense(s, 3)", "()", "must be an integer"],
    "dense(o, 3)": ["dense(o, 3)", "(n, k)", "must be an integer"],
    "dense(x, 3.0)": ["dense(x, 3.0)", UNITS],
    "dense(x, '3')": ["dense(x, '3')", UNITS],
    "dense(x)": ["dense", "'units'", "expected dense(x, units, activation=None"],
    "dense(x, 3, 'rleu')": ["activation 'rleu'", "relu", "or a function"],
    "dense(x, 3, 5)": ["activation is 5", "expected a name or a function"],
    "dense(x, 3, lambda z: None)": ["'A_1'", "NoneType", "expected a SymPy expression"],
    "dense(x, 3, name='a b')": ["dense", "name is 'a b'", "letters, digits and underscores"],
    "dense(x, 3, bias='no')": ["dense", "bias is 'no'", "True or False"],
    "dense(x, 3, activaton='tanh')": ["dense", "'activaton'", "activation=None"],
    "mlp(3)": ["mlp(3)", "int", "expected a sequence of integers"],
    "mlp(None)": ["mlp(None)", "NoneType", "expected a sequence of integers"],
    "mlp([3])": ["mlp([3])", "expected at least"],
    "mlp([3, '4'])": ["'4'", UNITS],
    "mlp([3, 2], loss='mae')": ["loss 'mae'", "mse", "or a function"],
    "mlp([3, 2], activation='t')": ["activation 't'", "tanh"],
    "mlp([3, 2], activations='tanh')": ["mlp", "'activations'", "activation='tanh'"],
    "bilinear(x, x, 2.5)": ["bilinear(x, x, 2.5)", UNITS],
    "bilinear(x, o, 2)": ["bilinear(x, o, 2)", "(n, k)", "must be an integer"],
    "bilinear(x, sequence, 2)": ["(n, 4)", "(n, 5, 4)", "do not fit"],
    "bilinear(x, A, 2)": ["bilinear", *ARRAY],
    "embedding(i, 0, 4)": ["embedding(i, 0, 4)", "the size must be a positive integer"],
    "embedding(i + 1, 10, 4)": ["i + 1", "expected a data tensor of integers"],
    "embedding([1, 2], 10, 4)": ["[1, 2]", "expected a data tensor of integers"],
    "embedding(i, 10)": ["embedding", "'units'", "expected embedding(indices, size, units"],
    "dropout(x, 1)": ["dropout(x)", "p is 1", "less than 1"],
    "dropout(x, 'a')": ["dropout(x)", "p is 'a'", "less than 1"],
    "dropout(A)": ["dropout", *ARRAY],
    "dropout(x, rate=0.5)": ["dropout", "'rate'", "p=0.5"],
    "layer_norm(x, axes=3)": ["layer_norm(x, 3)", "(n, 4)", "axes from -2 to 1"],
    "layer_norm(x, axes='a')": ["layer_norm(x, 'a')", "axes from -2 to 1"],
    "layer_norm(o)": ["layer_norm(o, -1)", "(n, k)", "must be integers"],
    "layer_norm(s)": ["layer_norm(s)", "scalar", "expected a tensor with an axis"],
    "layer_norm(x, gain=3)": ["layer_norm", "gain is 3", "True or False"],
    "rms_norm(x, eps='a')": ["rms_norm(x)", "eps is 'a'", "1e-5"],
    "batch_norm(i)": ["batch_norm(i, -1)", "(n,)", "must be integers"],
    "batch_norm(x, momentum=2)": ["batch_norm(x)", "momentum is 2", "from 0 to 1"],
    "conv1d(x, 3, 2)": ["conv1d(x, 3)", "(n, 4)", "(.., channels, length)"],
    "conv1d(signal, '3', 2)": ["conv1d(J, 3)", "'3'", "expected a positive integer"],
    "conv1d(signal, 3, 9)": ["size 9", "(n, 2, 6)", "pad it"],
    "conv1d(signal, 3, 2, padding='full')": ["'full'", '"same" or "valid"'],
    "conv1d(signal, 3, 2, groups=3)": ["conv1d(J, 3)", "3 groups", "divides the 2 channels"],
    "conv1d(signal, 3, 2, strides=2)": ["conv1d", "'strides'", "stride=1"],
    "conv2d(image, 3, (2, 2, 2))": ["conv2d(I, 3)", "(2, 2, 2)", "or 2 of them"],
    "conv2d(image, 4, 3, padding='same', stride=2)": ["(2, 2)", "give the padding in numbers"],
    "conv2d(signal[0], 4, 3)": ["(2, 6)", "(.., channels, height, width)"],
    "correlate(image, w)": ["correlate(I, w)", "(3,)", "(out, in/groups, sizes..)"],
    "correlate(image, A)": ["correlate", *ARRAY],
    "max_pool1d(signal, 0)": ["max_pool1d(J, 0)", "size is 0", "expected a positive integer"],
    "max_pool2d(image, 2, padding=2)": ["max_pool2d(I, 2)", "padding is 2", "more than half of a window"],
    "max_pool2d(w, 2)": ["max_pool2d(w, 2)", "(3,)", "at least 2 axes"],
    "avg_pool1d(signal, 2, dilation=2)": ["avg_pool1d", "'dilation'", "kernel_size"],
    "avg_pool2d(image, (2,))": ["avg_pool2d(I, (2,))", "or 2 of them"],
    "window(x, None)": ["window(x, (None,))", "expected a positive integer"],
    "attention(x, sequence[..., :3], sequence)": ["q (n, 4)", "k (n, 5, 3)", "with the same d and the same m"],
    "attention(sequence, sequence)": ["attention", "'v'", "expected attention(q, k, v"],
    "attention(A, A, A)": ["q of attention", *ARRAY],
    "attention(sequence, sequence, sequence, causal=1)": ["attention", "causal is 1", "True or False"],
    "attention(sequence, sequence, sequence, mask='causal')": ["attention", "the mask is str 'causal'", "a condition such as M > 0"],
    "multi_head_attention(x, 3)": ["3 heads for 4 units", "a positive divisor"],
    "multi_head_attention(sequence, sequence, sequence, 2)": ["heads is the expression S", "expected an integer", "context=y"],
    "multi_head_attention(sequence, 2, context=i)": ["context", "(n,)", "(.., places, units)"],
    "multi_head_attention(sequence, 2, mask=np.ones((4, 5)))": ["the mask has shape (4, 5)", "(n, 5, 5)", "(.., queries, keys)"],
    "positional_encoding(A, 2)": ["dimension", "expected a non-negative integer or a name"],
    "positional_encoding('n', 2.5)": ["positional_encoding(n, 2.5)", UNITS],
    "rnn(i, 3)": ["rnn(i, 3)", "(n,)", "(n, T, features)"],
    "rnn(sequence, 3, initial=x)": ["rnn", "(n, 4)", "expected (n, 3)"],
    "rnn(sequence, 3, reverse='yes')": ["rnn", "reverse is 'yes'", "True or False"],
    "lstm(sequence, 3, initial=x)": ["lstm", "initial state is x", "expected the pair (h, c)"],
    "lstm(A, 3)": ["lstm", *ARRAY],
    "gru(sequence, 2.5)": ["gru(S, 2.5)", UNITS],
    "gru(sequence, 2, activation='relu')": ["gru", "'activation'", "initial=None"],
    "gelu(A)": ["z of gelu", *ARRAY],
    "leaky_relu(x, 'a')": ["slope of leaky_relu", "str 'a'"],
}
LOSSES = {
    **{f"{name}(y, t)": [f"{name}(y, t)", "(n, 4)", "(n, 3)", "must be equal"] for name in ("mse", "half_squared_error", "huber", "smooth_l1", "hinge")},
    **{f"{name}(y, A)": [f"t of {name}", *ARRAY] for name in ("mse", "half_squared_error", "huber", "smooth_l1", "hinge", "cosine_loss", "kl_divergence")},
    **{f"{name}(A, i)": [name, *ARRAY] for name in ("cross_entropy", "negative_log_likelihood", "binary_cross_entropy", "binary_cross_entropy_with_logits")},
    **{f"{name}(o, i)": [name, "(n, k)", "k is an open dimension"] for name in ("cross_entropy", "negative_log_likelihood", "hinge")},
    **{f"{name}(y, i, weight=w)": [name, "'weight'", "class_weights=None"] for name in ("cross_entropy", "negative_log_likelihood")},
    **{f"{name}(y, t)": [f"{name}(y, t)", "(n, 4)", "(n, 3)", "must be equal"] for name in ("cross_entropy", "kl_divergence", "cosine_similarity")},
    "mse('y', y)": ["y of mse", "str 'y'", "expected a SymPy expression"],
    "mse(y)": ["mse", "'t'", "expected mse(y, t)"],
    "huber(y, y, delta=-1)": ["huber", "delta is -1", "positive"],
    "smooth_l1(y, y, beta='a')": ["beta of smooth_l1", "str 'a'"],
    "hinge(y, i, 3)": ["hinge", "too many positional arguments", "expected hinge(y, t)"],
    "binary_cross_entropy(y, y, pos_weight=A)": ["pos_weight of binary_cross_entropy", *ARRAY],
    "cross_entropy(y, i, class_weights=w)": ["cross_entropy", "w have shape (3,)", "(4,)"],
    "cross_entropy(y, i, label_smoothing=2)": ["cross_entropy", "label_smoothing is 2", "from 0 to 1"],
    "cross_entropy(y, [0, 1])": ["t of cross_entropy", "list '[0, 1]'", "data(...)"],
    "cross_entropy(y, i + 1)": ["i + 1", "expected a data tensor of integers"],
    "l1()": ["l1()", "at least one weight"],
    "l2(A)": ["l2", *ARRAY],
}


@pytest.mark.parametrize("call", [*LAYERS, *LOSSES])
def test_a_wrong_call(call):
    function = call.split("(", 1)[0]
    here = {**globals(), function: getattr(sbp, function)}
    with pytest.raises(sbp.SymbackpropError) as caught:
        eval(call, here)
    message = str(caught.value)
    assert "\n" not in message
    for part in (LAYERS | LOSSES)[call]:
        assert part in message, f"{part!r} is not in: {message}"
    assert isinstance(caught.value, TypeError) == ("argument" in message)  # as Python has it, for what does not fit the signature


def test_all_layers_and_losses_are_called():
    called = {call.split("(")[0] for call in (*LAYERS, *LOSSES)}
    public = {name for name in dir(sbp) if getattr(getattr(sbp, name), "__module__", "").startswith(("symbackprop.layers", "symbackprop.losses"))}
    assert public - called == set()
    assert len(LAYERS) + len(LOSSES) >= 60


def test_labels_where_one_hot_rows_are_wanted():
    net = sbp.mlp([4, 3], loss="cross_entropy")
    message = r"'T' has shape \(5,\); expected \(n, 3\); if these are labels of classes, give them one-hot: np.eye\(3\)\[T\], or declare T with"
    with pytest.raises(sbp.DataError, match=message):
        net.trainer(sbp.SGD(0.1)).step(X=np.ones((5, 4)), T=np.array([0, 1, 2, 0, 1]))
    with pytest.raises(sbp.DataError) as caught:
        net.trainer(sbp.SGD(0.1)).step(X=np.ones((5, 4)), T=np.full(5, 0.5))
    assert "one-hot" not in str(caught.value)


def test_an_optimizer_with_curvature_is_not_derived():
    net = sbp.mlp([3, 2])
    sample = {"X": A[0, :3], "T": A[0, :2]}
    derive = lambda: net.derivation(optimizer=sbp.LevenbergMarquardt())  # noqa: E731
    explain = lambda: net.explain(net.initialize(), optimizer=sbp.Newton(), **sample)  # noqa: E731
    for act in (derive, explain):
        with pytest.raises(sbp.UnsupportedError, match=r"updates all weights at once.*without optimizer="):
            act()


def test_a_trainer_says_what_it_trains():
    trainer = sbp.mlp([3, 2]).trainer(sbp.SGD(lr=0.5))
    trainer.step(X=np.ones((2, 3)), T=np.ones((2, 2)))
    assert repr(trainer).startswith("Trainer(loss C, SGD(lr=0.5")
    assert repr(trainer).endswith("8 numbers in 2 weights, float64, backend 'auto', after 1 updates)")
