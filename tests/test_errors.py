"""Bad input: each mistake is one error of the right class, in one line that names the equation or the tensor, what was found and what
was expected."""

import importlib
import math
import pkgutil
import re

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp

x, t = sbp.data("x t")
w, b = sbp.weight("w b")
X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
W, V = sbp.weight("W", (3, 2)), sbp.weight("V", (4, 2))
labels = sbp.data("labels", ("n",))


class no_formula(sp.Function):  # noqa: N801
    """A function whose derivative is known, and whose formula is not."""

    def fdiff(self, argindex=1):
        return 1 - self.args[0]


class Rule(sbp.Optimizer):
    """An optimizer made of some assignments, right or wrong."""

    def __init__(self, assignments):
        self.assignments = assignments

    def rule(self, w, g, t, state):
        yield from self.assignments(w, g, t, state)


def scalar_net():
    return sbp.Network(sbp.node("C", (w * x + b - t) ** 2))


def tensor_net():
    return sbp.Network(sbp.node("C", sbp.mse(sbp.node("Y", X @ W), T)), output=sbp.node("Y", X @ W))


def label_net():
    return sbp.Network(sbp.node("C", sbp.cross_entropy(X @ W, labels)))


def trainer(net=tensor_net, **options):
    return net().trainer(sbp.SGD(lr=0.1), **options)


def good(**changes):
    """Data of the right shape for `tensor_net`, but for the changes."""
    data = {"X": np.ones((5, 3)), "T": np.ones((5, 2))} | changes
    return {name: value for name, value in data.items() if value is not None}


# what: (what is done, the class of the error, what the message says)
DESCRIBING = {
    "a list added": (lambda: X.__add__([1, 2]), sbp.NetworkError, ["X + list '[1, 2]'", "state(name, shape, array)"]),
    "a list before": (lambda: (1, 2) - X, sbp.NetworkError, ["tuple '(1, 2)' - X", "state("]),
    "a tensor times a list": (lambda: X * [1, 2], sbp.NetworkError, ["X * list", "state("]),
    "a tensor over a list": (lambda: (X @ W) / [1, 2], sbp.NetworkError, ["X @ W / list", "state("]),
    "an array in an equation": (lambda: sbp.node("Z", X @ np.ones((3, 2))), sbp.NetworkError, ["ndarray of shape (3, 2)", "state(", "data(", "weight("]),
    "a function of Python's math": (lambda: math.tanh(w), TypeError, ["w is an expression", "sympy.tanh(w)"]),
    "Python's sum": (lambda: sum(X), TypeError, ["X is an expression of shape (n, 3)", "sbp.sum(X)"]),
    "a loop over rows": (lambda: list(X @ W), TypeError, ["X @ W is an expression of shape (n, 2)", "sbp.scan"]),
    "a loop over a scalar": (lambda: list(w), TypeError, ["w is an expression", "scalar"]),
    "a network as a function": (lambda: tensor_net()(X=np.ones((5, 3))), TypeError, ["net.trainer(", ".predict("]),
    "the length of a tensor": (lambda: len(X), TypeError, ["X has shape (n, 3)", "X.shape[0]"]),
    "the length of a scalar": (lambda: len(w), TypeError, ["w is a scalar"]),
    "a function that is not computed": (lambda: sbp.Network(sbp.node("C", sp.gamma(w))).generate(), sbp.UnsupportedError, ["gamma", "atan2", "tanh"]),
    "product of shapes that do not fit": (lambda: sbp.node("Z", X @ V), sbp.ShapeError, ["'Z'", "(n, 3)", "(4, 2)"]),
    "sum of shapes that do not fit": (lambda: sbp.node("Z", X + T), sbp.ShapeError, ["'Z'", "(n, 3)", "(n, 2)"]),
    "broadcast of an open with a closed size": (
        lambda: sbp.node("Z", X * sbp.weight("c", (5, 3))),
        sbp.ShapeError,
        ["'Z'", "(n, 3)", "(5, 3)", "n meets 5"],
    ),
    "shapes inside an operator": (lambda: sbp.node("Z", sbp.sum(X + T)), sbp.ShapeError, ["'Z'", "(n, 3)", "(n, 2)"]),
    "matmul of a scalar": (lambda: sbp.node("Z", X @ w), sbp.ShapeError, ["X @ w", "(n, 3)", "()", "*"]),
    "matmul of batches that do not fit": (
        lambda: sbp.node("Z", sbp.data("P", (4, 2, 3)) @ sbp.data("Q", (5, 3, 2))),
        sbp.ShapeError,
        ["'Z'", "(4, 2, 3)", "(5, 3, 2)"],
    ),
    "unknown symbol": (lambda: sbp.node("z", sp.Symbol("u") * w), sbp.NetworkError, ["'z'", "'u'", "data("]),
    "unknown symbol inside an operator": (lambda: sbp.node("z", sbp.sum(X * sp.Symbol("u"))), sbp.NetworkError, ["'z'", "'u'"]),
    "a dimension that no data has": (lambda: sbp.Network(w * sp.sympify(sbp.Dim("k"))), sbp.NetworkError, ["'k'", "dimension"]),
    "text": (lambda: sbp.node("z", "w*x"), sbp.NetworkError, ["'z'", "str", "'w*x'"]),
    "an array": (lambda: sbp.node("z", np.ones(3)), sbp.NetworkError, ["'z'", "ndarray", "data("]),
    "an array times a tensor": (lambda: sbp.node("z", np.ones(3) * w), sbp.NetworkError, ["multiply", "w", "data("]),
    "a tensor times an array": (lambda: sbp.node("z", w * np.ones(3)), sbp.NetworkError, ["multiply", "w", "data("]),
    "a tensor @ an array": (lambda: sbp.node("z", X @ np.ones((3, 2))), sbp.NetworkError, ["matmul", "ndarray", "data("]),
    "nothing": (lambda: sbp.node("z", None), sbp.NetworkError, ["'z'", "NoneType"]),
    "a condition": (lambda: sbp.node("z", w > 0), sbp.NetworkError, ["'z'", "w > 0"]),
    "a matrix of SymPy": (lambda: sbp.node("z", sp.MatrixSymbol("M", 2, 2)), sbp.NetworkError, ["'z'", "MatrixSymbol"]),
    "an integral": (lambda: sbp.node("z", sp.Integral(sp.sin(w * x), (x, 0, 1))), sbp.UnsupportedError, ["'z'", "Integral"]),
    "SymPy's sum": (lambda: sbp.node("z", sp.Sum(w, (x, 0, 1))), sbp.UnsupportedError, ["'z'", "Sum"]),
    "SymPy's derivative": (lambda: sbp.node("z", sp.Derivative(sp.sin(w), w)), sbp.UnsupportedError, ["'z'", "Derivative"]),
    "the imaginary unit": (lambda: sbp.node("z", w * sp.I), sbp.UnsupportedError, ["'z'", "I", "complex"]),
    "the root of -1": (lambda: sbp.node("z", w + sp.sqrt(-2)), sbp.UnsupportedError, ["'z'", "complex"]),
    "a complex number": (lambda: sbp.node("z", w + (1 + 2j)), sbp.UnsupportedError, ["'z'", "complex"]),
    "an argument": (lambda: sbp.node("z", sp.arg(sp.Function("f")(w))), sbp.UnsupportedError, ["'z'", "complex"]),
    "division by zero": (lambda: sbp.node("z", w + sp.Integer(1) / 0), sbp.UnsupportedError, ["'z'", "zoo"]),
    "not a number": (lambda: sbp.node("z", w + sp.nan), sbp.UnsupportedError, ["'z'", "nan"]),
    "not a number, of Python": (lambda: sbp.node("z", w * float("nan")), sbp.UnsupportedError, ["'z'", "nan"]),
}
NAMES = {
    "keyword as data": (lambda: sbp.data("lambda"), sbp.NetworkError, ["'lambda'", "keyword", "'lambda_'"]),
    "keyword as weight": (lambda: sbp.weight("a class b"), sbp.NetworkError, ["'class'", "keyword"]),
    "keyword as node": (lambda: sbp.node("for", w), sbp.NetworkError, ["'for'", "keyword"]),
    "keyword as dimension": (lambda: sbp.data("Z", ("in", 3)), sbp.NetworkError, ["'in'", "keyword", "dimension"]),
    "not an identifier": (lambda: sbp.data("2x"), sbp.NetworkError, ["'2x'", "identifier"]),
    "a minus in a name": (lambda: sbp.weight("a-b"), sbp.NetworkError, ["'a-b'", "identifier"]),
    "a blank in a name": (lambda: sbp.node("a b", w), sbp.NetworkError, ["'a b'", "identifier"]),
    "a name of generated code": (lambda: sbp.weight("np"), sbp.NetworkError, ["'np'", "generated code"]),
    "two underscores": (lambda: sbp.weight("__w"), sbp.NetworkError, ["'__w'", "underscore"]),
    "a letter that Python reads as another": (lambda: sbp.weight("ﬁ"), sbp.NetworkError, ["'ﬁ'", "'fi'"]),
    "no name": (lambda: sbp.data(" "), sbp.NetworkError, ["data"]),
    "an empty name": (lambda: sbp.node("", w), sbp.NetworkError, ["node", "''"]),
    "a number as name": (lambda: sbp.data(3), sbp.NetworkError, ["data", "3"]),
    "the same name for two weights": (
        lambda: sbp.Network(sbp.sum(sbp.weight("u", (2,))) + sbp.weight("u")),
        sbp.NetworkError,
        ["'u'", "twice", "(2,)"],
    ),
    "the same name for data and a weight": (lambda: sbp.Network(sbp.data("w") * w), sbp.NetworkError, ["'w'", "data", "weight"]),
    "the same name for two nodes": (
        lambda: sbp.Network(sbp.node("z", w * x) + sbp.node("z", w + x)),
        sbp.NetworkError,
        ["'z'", "twice", "z = w*x", "z = w + x"],
    ),
    "a node that is called as what it is made of": (lambda: sbp.Network(sbp.node("w", w**2)), sbp.NetworkError, ["'w'", "twice"]),
    "the same name for output and weight": (lambda: sbp.Network(w * x, output=sbp.node("x", w)), sbp.NetworkError, ["'x'", "twice"]),
    "a dimension called as a tensor": (
        lambda: sbp.Network(sbp.mean(sbp.data("D", ("w", 2)) * w)),
        sbp.NetworkError,
        ["'w'", "dimension", "weight"],
    ),
}
OPERATORS = {
    "einsum, number of groups": (lambda: sbp.einsum("ij,jk->ik", X), sbp.ShapeError, ["'ij,jk->ik'", "2", "1"]),
    "einsum, number of letters": (lambda: sbp.einsum("ijk->i", X), sbp.ShapeError, ["'ijk->i'", "X", "2 axes"]),
    "einsum, unknown output": (lambda: sbp.einsum("ij->k", X), sbp.ShapeError, ["'ij->k'", "'k'"]),
    "einsum, repeated output": (lambda: sbp.einsum("ij->ii", X), sbp.ShapeError, ["'ij->ii'"]),
    "einsum, sizes": (lambda: sbp.node("Z", sbp.einsum("ij,jk->ik", X, V)), sbp.ShapeError, ["'Z'", "(n, 3)", "(4, 2)"]),
    "einsum, sizes of a diagonal": (lambda: sbp.node("Z", sbp.einsum("ii->i", W)), sbp.ShapeError, ["'Z'", "(3, 2)"]),
    "einsum, not a letter": (lambda: sbp.einsum("i1->i", X), sbp.ShapeError, ["'i1->i'"]),
    "an axis that does not exist": (lambda: sbp.sum(X, axis=2), sbp.ShapeError, ["sum", "X", "axis 2", "2 axes"]),
    "a negative axis that does not exist": (lambda: sbp.max(X, axis=-3), sbp.ShapeError, ["max", "X", "axis -3"]),
    "an axis given twice": (lambda: sbp.mean(X, axis=(0, -2)), sbp.ShapeError, ["mean", "X", "twice"]),
    "an axis that is no number": (lambda: sbp.logsumexp(X, axis=1.5), sbp.ShapeError, ["logsumexp", "1.5"]),
    "softmax of a scalar": (lambda: sbp.softmax(w), sbp.ShapeError, ["softmax", "w", "axis -1"]),
    "transpose": (lambda: sbp.transpose(X, (0, 0)), sbp.ShapeError, ["X", "(0, 0)"]),
    "transpose, too few": (lambda: sbp.transpose(X, (0,)), sbp.ShapeError, ["X", "(0,)"]),
    "reshape, number of entries": (lambda: sbp.node("Z", sbp.reshape(W, (2, 2))), sbp.ShapeError, ["'Z'", "(3, 2)", "(2, 2)", "6", "4"]),
    "reshape, not divisible": (lambda: sbp.reshape(W, (4, -1)), sbp.ShapeError, ["W", "6", "(4,)"]),
    "reshape, two open sizes": (lambda: sbp.reshape(W, (-1, -1)), sbp.ShapeError, ["W", "-1"]),
    "reshape, open dimension": (lambda: sbp.node("Z", sbp.reshape(X, (5, 3))), sbp.ShapeError, ["'Z'", "(n, 3)", "(5, 3)"]),
    "concatenate, other axes": (lambda: sbp.node("Z", sbp.concatenate([X, T], axis=0)), sbp.ShapeError, ["'Z'", "(n, 3)", "(n, 2)"]),
    "concatenate, ranks": (lambda: sbp.node("Z", sbp.concatenate([W, sbp.weight("v", (2,))])), sbp.ShapeError, ["'Z'", "(3, 2)", "(2,)"]),
    "concatenate, nothing": (lambda: sbp.concatenate([]), sbp.ShapeError, ["concatenate"]),
    "take by a weight": (lambda: sbp.take(W, w), sbp.ShapeError, ["take", "w", "data"]),
    "take by numbers": (lambda: sbp.take(W, [0, 1]), sbp.ShapeError, ["take", "[0, 1]", "data"]),
    "one_hot of a weight": (lambda: sbp.one_hot(w, 3), sbp.ShapeError, ["one_hot", "w"]),
    "an index out of range": (lambda: W[3], sbp.ShapeError, ["W[3]", "out of range", "3"]),
    "too many indices": (lambda: W[0, 0, 0], sbp.ShapeError, ["W[0, 0, 0]", "(3, 2)"]),
    "two ellipses": (lambda: W[..., ...], sbp.ShapeError, ["W", "(3, 2)"]),
    "a backward slice": (lambda: W[::-1], sbp.ShapeError, ["step", "-1"]),
    "a step of zero": (lambda: W[::0], sbp.ShapeError, ["step", "0"]),
    "a bound that is no integer": (lambda: W[: 1.5], sbp.ShapeError, ["1.5", "integer"]),
    "a tensor as index": (lambda: W[labels], sbp.ShapeError, ["W", "labels", "take"]),
    "an end beyond an open dimension": (lambda: X[:10], sbp.ShapeError, ["X", "10", "n"]),
    "a weight with an open dimension": (lambda: sbp.weight("U", ("n", 3)), sbp.ShapeError, ["'U'", "(n, 3)", "integers"]),
    "a negative size": (lambda: sbp.data("U", (-1, 3)), sbp.ShapeError, ["-1"]),
    "half a size": (lambda: sbp.data("U", (2.5,)), sbp.ShapeError, ["2.5"]),
    "truth as size": (lambda: sbp.data("U", (True,)), sbp.ShapeError, ["True"]),
    "an initial array of another shape": (lambda: sbp.weight("U", (2, 3), init=np.ones((3, 2))), sbp.ShapeError, ["'U'", "(2, 3)", "(3, 2)"]),
    "mse of different shapes": (lambda: sbp.mse(X, T), sbp.ShapeError, ["mse", "(n, 3)", "(n, 2)"]),
    "mse of shapes that would broadcast": (lambda: sbp.mse(X, labels), sbp.ShapeError, ["mse", "(n, 3)", "(n,)"]),
    "cross-entropy of different shapes": (lambda: sbp.cross_entropy(X, T), sbp.ShapeError, ["cross_entropy", "(n, 3)", "(n, 2)"]),
    "labels of another shape": (lambda: sbp.cross_entropy(X, sbp.data("k", (5,))), sbp.ShapeError, ["cross_entropy", "(5,)", "(n,)"]),
}
NETWORKS = {
    "a loss that is not a scalar": (lambda: sbp.Network(sbp.node("E", (X @ W - T) ** 2)), sbp.ShapeError, ["'E'", "(n, 2)", "()", "mean"]),
    "a loss that is not a scalar is no network": (lambda: sbp.Network(X @ W), sbp.NetworkError, ["(n, 2)", "scalar"]),
    "a loss that is no expression": (lambda: sbp.Network("C"), sbp.NetworkError, ["'loss'", "str"]),
    "a weight that is not there": (lambda: scalar_net().gradients["u"], sbp.NetworkError, ["'u'", "'w'", "'b'"]),
    "a form that does not exist": (lambda: scalar_net().latex("short"), sbp.UnsupportedError, ["'short'", "local"]),
    "a form of one weight that does not exist": (lambda: scalar_net().gradients["w"].latex("short"), sbp.UnsupportedError, ["'short'", "chain"]),
    "a target that does not exist": (lambda: scalar_net().generate("fortran"), sbp.UnsupportedError, ["'fortran'", "numpy"]),
    "a dtype that does not exist": (lambda: scalar_net().generate("numpy", dtype="float16"), sbp.UnsupportedError, ["'float16'", "float32"]),
    "a function without a derivative": (
        lambda: sbp.Network(sbp.node("z", sp.Function("f")(w))).gradients["w"],
        sbp.UnsupportedError,
        ["'z'", "f(w)", "fdiff"],
    ),
    "a function without a derivative in one argument": (
        lambda: sbp.Network(sbp.node("z", sp.zeta(2 + w**2))).gradients["w"],
        sbp.UnsupportedError,
        ["'z'", "zeta"],
    ),
    "a function without a formula": (lambda: sbp.Network(sbp.node("z", no_formula(w))).generate(), sbp.UnsupportedError, ["no_formula", "_eval_expand_func"]),
    "a special function": (lambda: sbp.Network(sbp.node("z", sp.besselj(0, w))).generate(), sbp.UnsupportedError, ["besselj"]),
    "nothing to train": (lambda: sbp.Network(x**2).trainer(sbp.SGD()), sbp.NetworkError, ["'loss'", "no weights"]),
    "an optimizer that is none": (lambda: scalar_net().trainer(0.1), sbp.NetworkError, ["0.1", "SGD"]),
    "an optimizer's class": (lambda: scalar_net().trainer(sbp.SGD), sbp.NetworkError, ["SGD"]),
    "a backend that does not exist": (lambda: scalar_net().trainer(sbp.SGD(), backend="gpu"), sbp.NetworkError, ["'gpu'", "numpy"]),
    "an unknown initializer": (lambda: sbp.Network(sbp.weight("u", init="xavier") ** 2).trainer(sbp.SGD()), sbp.NetworkError, ["'xavier'", "glorot_uniform"]),
    "an initial value that is no number": (lambda: sbp.Network(sbp.weight("u", init=[]) ** 2).trainer(sbp.SGD()), sbp.SymbackpropError, ["'u'"]),
    "an initial value that is not finite": (lambda: sbp.Network(sbp.weight("u", init=np.nan) ** 2).trainer(sbp.SGD()), sbp.NetworkError, ["'u'", "NaN"]),
    "an unknown activation": (lambda: sbp.dense(X, 2, "tanhh"), sbp.NetworkError, ["'tanhh'", "tanh"]),
    "an activation that is none": (lambda: sbp.dense(X, 2, 3), sbp.NetworkError, ["3", "function"]),
    "no units": (lambda: sbp.dense(X, 0), sbp.ShapeError, ["0", "positive"]),
    "a layer on a scalar": (lambda: sbp.dense(w, 2), sbp.ShapeError, ["w", "()"]),
    "a layer on open features": (lambda: sbp.dense(labels, 2), sbp.ShapeError, ["labels", "(n,)"]),
    "a network of one size": (lambda: sbp.mlp([3]), sbp.NetworkError, ["[3]"]),
    "an unknown loss": (lambda: sbp.mlp([3, 2], loss="mae"), sbp.NetworkError, ["'mae'", "mse"]),
}
OPTIMIZERS = {
    "a negative learning rate": (lambda: sbp.SGD(lr=-1), sbp.NetworkError, ["lr", "-1"]),
    "a learning rate that is no number": (lambda: sbp.Adam(lr="fast"), sbp.NetworkError, ["lr", "'fast'"]),
    "a learning rate that is not a number": (lambda: sbp.SGD(lr=float("nan")), sbp.NetworkError, ["lr", "nan"]),
    "a schedule in another symbol": (lambda: sbp.SGD(lr=1 / sp.Symbol("k")), sbp.NetworkError, ["lr", "k", "t"]),
    "a beta of one": (lambda: sbp.Adam(betas=(0.9, 1)), sbp.NetworkError, ["betas[1]", "1"]),
    "Nesterov without momentum": (lambda: sbp.SGD(nesterov=True), sbp.NetworkError, ["momentum"]),
    "no rule": (lambda: sbp.Optimizer().equations(), sbp.NetworkError, ["rule"]),
    "a rule that learns nothing": (lambda: Rule(lambda w, g, t, state: [(state("m"), g)]).equations(), sbp.NetworkError, ["Rule", "never assigns w"]),
    "a rule that assigns the step": (lambda: Rule(lambda w, g, t, state: [(t, t + 1), (w, w - g)]).equations(), sbp.NetworkError, ["Rule", "t"]),
    "a rule that assigns what is not its own": (lambda: Rule(lambda w, g, t, state: [(b, g), (w, w - g)]).equations(), sbp.NetworkError, ["Rule", "b"]),
    "a rule that reads what it does not know": (
        lambda: Rule(lambda w, g, t, state: [(w, w - sp.Symbol("lr") * g)]).equations(),
        sbp.NetworkError,
        ["Rule", "lr"],
    ),
    "a state called like the weight": (lambda: Rule(lambda w, g, t, state: [(state("w"), g), (w, w - g)]).equations(), sbp.NetworkError, ["Rule", "'w'"]),
    "a state with the name of a keyword": (lambda: Rule(lambda w, g, t, state: [(state("in"), g)]).equations(), sbp.NetworkError, ["'in'"]),
}
WEIGHTS = {
    "a weight that is not there": (lambda: trainer(weights={"U": 1}), sbp.DataError, ["'U'", "'W'"]),
    "a weight of another shape": (lambda: trainer(weights={"W": np.ones((2, 3))}), sbp.DataError, ["'W'", "(2, 3)", "(3, 2)"]),
    "a weight that is a number": (lambda: trainer(weights={"W": 1.0}), sbp.DataError, ["'W'", "()", "(3, 2)"]),
    "a weight that is not finite": (lambda: trainer(weights={"W": np.full((3, 2), np.inf)}), sbp.DataError, ["'W'", "infinity"]),
    "a weight of text": (lambda: trainer(weights={"W": "one"}), sbp.DataError, ["'W'", "'one'"]),
    "a complex weight": (lambda: trainer(scalar_net, weights={"w": 1j}), sbp.DataError, ["'w'", "real"]),
    "a weight taken away": (lambda: trainer().weights.pop("W"), sbp.DataError, ["'W'"]),
    "float16": (lambda: trainer(dtype="float16"), sbp.DataError, ["float16", "float32"]),
    "a dtype that is none": (lambda: trainer(dtype="double precision"), sbp.DataError, ["double precision", "float64"]),
    "missing weights": (lambda: scalar_net().value_and_gradients({"w": 1}, x=1, t=1), sbp.DataError, ["weight 'b' is missing"]),
    "no weights": (lambda: scalar_net().value_and_gradients({}, x=1, t=1), sbp.DataError, ["weights 'b', 'w' are missing"]),
    "no data": (lambda: scalar_net().value_and_gradients({"w": 1, "b": 1}), sbp.DataError, ["data 'x', 't' are missing"]),
    "weights of another network": (lambda: scalar_net().value_and_gradients({"w": 1, "b": 0, "u": 1}, x=1, t=1), sbp.DataError, ["'u'"]),
    "gradients of another network": (lambda: sbp.check_gradients(scalar_net(), gradients={"u": 1}), sbp.NetworkError, ["'u'", "'w'"]),
    "gradients of another shape": (lambda: sbp.check_gradients(tensor_net(), gradients={"W": np.ones((2, 3))}), sbp.NetworkError, ["'W'", "(2, 3)", "(3, 2)"]),
}
DATA = {
    "missing": (good(T=None), ["'T'", "missing"]),
    "extra": (good(U=1.0), ["'U'", "'X'", "'T'"]),
    "another number of features": (good(X=np.ones((5, 4))), ["'X'", "(5, 4)", "(n, 3)"]),
    "another number of axes": (good(X=np.ones(3)), ["'X'", "(3,)", "(n, 3)"]),
    "one axis too many": (good(X=np.ones((5, 3, 1))), ["'X'", "(5, 3, 1)", "(n, 3)"]),
    "different numbers of samples": (good(T=np.ones((4, 2))), ["'T'", "(4, 2)", "n = 4", "n = 5"]),
    "no samples": (good(X=np.ones((0, 3)), T=np.ones((0, 2))), ["'X'", "empty", "(0, 3)"]),
    "NaN": (good(X=np.array([[1, 2, 3], [4, np.nan, 6]])), ["'X'", "nan", "(1, 1)"]),
    "infinity": (good(T=np.array([[1, -np.inf]] * 5)), ["'T'", "-inf", "(0, 1)"]),
    "text": (good(X=[["a", "b", "c"]] * 5), ["'X'", "real numbers"]),
    "complex numbers": (good(X=np.ones((5, 3)) * 1j), ["'X'", "complex", "real"]),
    "objects": (good(X=np.full((5, 3), None)), ["'X'", "object"]),
    "dates": (good(X=np.zeros((5, 3), "datetime64[s]")), ["'X'", "datetime64"]),
    "rows of different length": (good(X=[[1, 2, 3], [1, 2]]), ["'X'", "same length"]),
    "nothing": (good(X=np.nan), ["'X'"]),
    "None": (good() | {"X": None}, ["'X'"]),
}
LABELS = {
    "a label out of range": (np.array([0, 1, 2, 0, 1]), ["'labels'", "0 to 1", "2"]),
    "a negative label": (np.array([0, 1, -1, 0, 1]), ["'labels'", "0 to 1", "-1"]),
    "labels that are no integers": (np.array([0, 1.0, 0, 0, 1]), ["'labels'", "integers", "float64"]),
    "labels one-hot": (np.eye(2, dtype=int)[[0, 1, 0, 0, 1]], ["'labels'", "(5, 2)", "(n,)", "labels.argmax(-1)", "cross_entropy then takes rows"]),
    "labels one-hot in floats": (np.eye(2)[[0, 1, 0, 0, 1]], ["'labels'", "(5, 2)", "integers", "labels.argmax(-1)", "cross_entropy then takes rows"]),
    "labels of truth": (np.array([True, False, True, True, False]), ["'labels'", "integers", "bool"]),
}
SAMPLES = {
    "one of the data is a batch": ({"x": [1.0, 2], "t": 1.0}, ["'t'", "2 samples", "(2,)"]),
    "batches of different size": ({"x": [1.0, 2], "t": [1.0, 2, 3]}, ["'x' 2", "'t' 3"]),
    "two axes too many": ({"x": [[1.0, 2]], "t": [[1.0, 2]]}, ["'x'", "(1, 2)"]),
    "no samples": ({"x": [], "t": []}, ["'x'", "empty"]),
}
RUNNING = {
    "arrays without names": (lambda: trainer().fit(np.ones((5, 3)), np.ones((5, 2)), epochs=1), sbp.DataError, ["ndarray", "fit({'", "'X': ...", "'T': ..."]),
    "an array without a name": (lambda: trainer().fit(np.ones((5, 3)), 1), sbp.DataError, ["ndarray", "'X': ..."]),
    "a fit without epochs": (lambda: trainer().fit(good()), TypeError, ["'epochs'", "fit(data, epochs, batch_size=None"]),
    "a word that fit does not know": (lambda: trainer().fit(good(), epochs=1, batch=2), TypeError, ["'batch'", "batch_size=None"]),
    "no epochs": (lambda: trainer().fit(good(), epochs=-1), sbp.DataError, ["epochs", "-1"]),
    "half an epoch": (lambda: trainer().fit(good(), epochs=0.5), sbp.DataError, ["epochs", "0.5"]),
    "an empty batch": (lambda: trainer().fit(good(), epochs=1, batch_size=0), sbp.DataError, ["batch_size", "0"]),
    "validation data of another shape": (lambda: trainer().fit(good(), epochs=1, validation=good(X=np.ones((5, 2)))), sbp.DataError, ["'X'", "(5, 2)"]),
    "validation data that are missing": (lambda: trainer().fit(good(), epochs=1, validation={"X": np.ones((5, 3))}), sbp.DataError, ["'T'"]),
    "nothing to predict": (lambda: trainer(scalar_net).predict(x=1.0), sbp.NetworkError, ["'C'", "output"]),
    "a loss that is not finite, in scalars": (
        lambda: trainer(scalar_net, weights={"w": 1e200, "b": 0}).step(x=1.0, t=0.0),
        sbp.TrainingDivergedError,
        ["'C'", "update 1"],
    ),
    "a loss that is not finite, in arrays": (
        lambda: trainer(weights={"W": np.full((3, 2), 1e200)}).step(**good()),
        sbp.TrainingDivergedError,
        ["'C'", "update 1"],
    ),
    "the root of a negative number": (
        lambda: sbp.Network(sbp.node("C", sp.sqrt(w))).trainer(sbp.SGD(), weights={"w": -1}).step(),
        sbp.TrainingDivergedError,
        ["'C'"],
    ),
}


def as_cases(table):
    return [pytest.param(*case, id=name) for name, case in table.items()]


def assert_one_line(error, parts):
    message = str(error)
    assert isinstance(error, sbp.SymbackpropError)
    assert message
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in: {message}"


@pytest.mark.parametrize(
    ("act", "kind", "parts"), [c for table in (DESCRIBING, NAMES, OPERATORS, NETWORKS, OPTIMIZERS, WEIGHTS, RUNNING) for c in as_cases(table)]
)
def test_mistake(act, kind, parts):
    with pytest.raises(kind) as caught:
        act()
    assert_one_line(caught.value, parts)


FEEDERS = {
    "step": lambda run, data: run.step(**data),
    "loss": lambda run, data: run.loss(**data),
    "fit": lambda run, data: run.fit(data, epochs=1, batch_size=2),
    "value_and_gradients": lambda run, data: tensor_net().value_and_gradients(run.weights, **data),
}


@pytest.mark.parametrize("feed", FEEDERS.values(), ids=FEEDERS.keys())
@pytest.mark.parametrize(("data", "parts"), as_cases(DATA))
def test_bad_data(feed, data, parts):
    """Refused the same way wherever data enter; the weights stay as they were."""
    run = trainer()
    before = {name: np.array(value) for name, value in run.weights.items()}
    with pytest.raises(sbp.DataError) as caught:
        feed(run, data)
    assert_one_line(caught.value, parts)
    for name, value in before.items():
        np.testing.assert_array_equal(run.weights[name], value)


@pytest.mark.parametrize(("values", "parts"), as_cases(LABELS))
def test_bad_labels(values, parts):
    with pytest.raises(sbp.DataError) as caught:
        trainer(label_net).step(X=np.ones((5, 3)), labels=values)
    assert_one_line(caught.value, parts)


@pytest.mark.parametrize(("data", "parts"), as_cases(SAMPLES))
def test_bad_samples_of_a_network_for_one(data, parts):
    with pytest.raises(sbp.DataError) as caught:
        trainer(scalar_net).step(**data)
    assert_one_line(caught.value, parts)


def test_an_index_outside_a_weight():
    for key in [(3, 0), (0, 2), (-4, 0), (0,), 0, (0, 0, 0), (0.5, 0), "W"]:
        with pytest.raises(IndexError, match="W"):
            tensor_net().gradients["W"][key]


def test_a_weight_without_influence():
    """Its gradient is zero, with a warning that names it; training leaves it alone."""
    unused = sbp.weight("unused", (2,))
    net = sbp.Network(sbp.node("C", (w * x - t) ** 2), output=sbp.node("y", sbp.sum(unused) * w * x))
    with pytest.warns(sbp.ZeroGradientWarning, match=re.escape("'C' does not depend on the weight 'unused'")):
        gradient = net.gradients["unused"]
    assert gradient.local == 0
    assert gradient.closed in (0, sp.Lambda(sp.Symbol("i"), 0)) or gradient[0].closed == 0
    run = net.trainer(sbp.SGD(lr=0.1), weights={"w": 1, "unused": [3, 4]})
    run.step(x=1.0, t=0.0)
    np.testing.assert_array_equal(run.weights["unused"], [3, 4])
    assert run.weights["w"] == pytest.approx(1 - 0.1 * 2)


DIVERGING = {
    "scalars": (scalar_net, {"w": 1.0, "b": 0.0}, {"x": [1.0, 2, 3], "t": [0.0, 1, 0]}, 1),
    "scalars in batches": (scalar_net, {"w": 1.0, "b": 0.0}, {"x": [1.0, 2, 3, 4], "t": [0.0, 1, 0, 1]}, 2),
    "arrays": (tensor_net, {"W": np.ones((3, 2))}, good(), None),
    "arrays in batches": (tensor_net, {"W": np.ones((3, 2))}, good(), 2),
}


@pytest.mark.parametrize(("net", "weights", "data", "batch"), DIVERGING.values(), ids=DIVERGING.keys())
@pytest.mark.parametrize("optimizer", [sbp.SGD(lr=1e3), sbp.SGD(lr=1e3, momentum=0.9), sbp.SGD(lr=1e150)], ids=["slowly", "momentum", "at once"])
def test_divergence_keeps_the_last_good_weights(net, weights, data, batch, optimizer):
    run = net().trainer(optimizer, weights=weights)
    with pytest.raises(sbp.TrainingDivergedError) as caught:
        run.fit(data, epochs=1000, batch_size=batch)
    assert_one_line(caught.value, ["'C'", "not finite", f"update {run.steps}"])
    assert all(np.isfinite(value).all() for value in run.weights.values())
    size = batch or 5
    # The batch that would have come next had a finite loss at these weights: repeating the same updates arrives at them.
    count = len(next(iter(data.values())))
    batches = [{name: value[i : i + size] for name, value in data.items()} for i in range(0, count, size)]
    again = net().trainer(optimizer, weights=weights)
    for step in range(run.steps):
        assert np.isfinite(again.step(**batches[step % len(batches)]))
    for name, value in run.weights.items():
        np.testing.assert_array_equal(again.weights[name], value)
    assert np.isfinite(run.loss(**batches[run.steps % len(batches)]))
    # And one update more, for which that loss is finite, leads to the loss that is not.
    again.step(**batches[run.steps % len(batches)])
    with pytest.raises(sbp.TrainingDivergedError):
        again.step(**batches[(run.steps + 1) % len(batches)])


def test_generated_module_refuses_bad_data():
    """The standalone module knows nothing of this package's classes: it raises Python's own."""
    names = {"__name__": "generated"}
    exec(tensor_net().generate(), names)
    weights = names["initialize"]()
    with pytest.raises(ValueError, match=r"X.*\(5, 4\)"):
        names["loss"](weights, **good(X=np.ones((5, 4))))
    with pytest.raises(ValueError, match=r"T.*\(4, 2\)"):
        names["loss"](weights, **good(T=np.ones((4, 2))))
    with pytest.raises(ValueError, match="X"):
        names["loss"](weights, **good(X=np.ones((0, 3)), T=np.ones((0, 2))))
    with pytest.raises(TypeError, match="T"):
        names["loss"](weights, X=np.ones((5, 3)))
    before = {name: value.copy() for name, value in weights.items()}
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="not finite"):
        names["update"](weights, names["initialize_state"](weights), **good(X=np.full((5, 3), 1e200)))
    for name, value in before.items():
        np.testing.assert_array_equal(weights[name], value)


ATTRIBUTES = {
    "what only a trainer does": (lambda: tensor_net().predict(X=np.ones((5, 3))), ["no attribute 'predict'", "net.trainer("]),
    "what a network has not": (lambda: tensor_net().predictions, ["no attribute 'predictions'"]),
    "a function of SymPy": (lambda: sbp.tanh(X), ["no attribute 'tanh'; write sympy.tanh"]),
    "a function of NumPy": (lambda: sbp.where(X > 0, X, 0), ["no attribute 'where'; write sympy.Piecewise"]),
    "a function of nobody": (lambda: sbp.tanhh(X), ["no attribute 'tanhh'"]),
}


@pytest.mark.parametrize(("act", "parts"), ATTRIBUTES.values(), ids=ATTRIBUTES)
def test_a_missing_attribute_says_what_to_write(act, parts):
    with pytest.raises(AttributeError) as error:
        act()
    message = str(error.value)
    assert all(part in message for part in parts)
    assert ("write" in message) == (len(parts) > 1 or "write" in parts[0])


def test_every_error_that_is_raised_is_public():
    """Whoever reads the name of an error in a traceback can catch it. The command line prints its own."""
    for module in pkgutil.walk_packages(sbp.__path__, "symbackprop."):
        if not module.name.startswith("symbackprop.cli") and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, stack = set(), [sbp.SymbackpropError]
    while stack:
        error = stack.pop()
        found.add(error)
        stack += error.__subclasses__()
    raised = {error.__name__ for error in found if error.__module__.startswith("symbackprop.") and not error.__module__.startswith("symbackprop.cli")}
    assert len(raised) > 10
    assert raised <= set(sbp.__all__)
