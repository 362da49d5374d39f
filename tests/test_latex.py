r"""LaTeX: the equations of the textbooks as the textbooks set them; formulas that are read back and computed; pdflatex and KaTeX.

The reader below knows nothing of the package. It reads LaTeX as a person does and computes with what it reads, so a bracket that
is missing is a number that is wrong. Where a person would have to guess, as in `A B \odot C`, it refuses.
"""

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
from hypothesis import assume, given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.latex.printer import TensorLatex

# --- a reader of LaTeX ---------------------------------------------------------------------------------------------------

TOKEN = re.compile(r"\\left\||\\right\||\\begin\{cases\}|\\end\{cases\}|\\[a-zA-Z]+|\\[\\:;,]|\d+(?:\.\d+)?|\S")
SKIPPED = {r"\left", r"\right", r"\:", r"\;", r"\,", r"\displaystyle"}


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


FUNCTIONS = {
    r"\tanh": np.tanh,
    r"\sigma": sigmoid,
    r"\exp": np.exp,
    r"\log": np.log,
    r"\sin": np.sin,
    r"\cos": np.cos,
    "sinh": np.sinh,
    "softmax": softmax,
    "logsumexp": lambda z: np.log(np.exp(z).sum(-1)),
    "relu": lambda z: np.maximum(z, 0),
    "softplus": lambda z: np.log1p(np.exp(z)),
    "sign": np.sign,
}


class Row:
    """A vector lying down: the transpose of a vector, which itself stands."""

    def __init__(self, vector):
        self.vector = vector


class Ones:
    """The vector of ones, as long as it has to be."""

    def __init__(self, row=False):
        self.row = row


def times(a, b):
    """The product of two things side by side, as linear algebra reads it."""
    if isinstance(a, Ones) and isinstance(b, Ones):
        assert (a.row, b.row) == (False, True), "1^T 1 has no length here"
        return np.ones(())
    if isinstance(a, Ones):
        return b.sum(0) if a.row else b.vector  # a column of equal rows is what broadcasting makes of one row
    if isinstance(b, Ones):
        if b.row:
            return np.expand_dims(a, -1)
        return a.vector.sum() if isinstance(a, Row) else a.sum(-1)
    if isinstance(a, Row):
        return Row(a.vector @ b) if np.ndim(b) == 2 else a.vector @ b
    if isinstance(b, Row):
        return np.multiply.outer(a, b.vector)
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return a * b
    assert np.ndim(a) == 2, "a standing vector on the left of a product"
    return a @ b


def transposed(x):
    if isinstance(x, Ones):
        return Ones(row=True)
    return Row(x) if np.ndim(x) == 1 else np.transpose(x)


class Reader:
    """Reads one formula. `names` maps LaTeX names to values; `sizes` maps the letter of an index to how far it runs."""

    def __init__(self, text, names, sizes=None):
        self.tokens = [t for t in TOKEN.findall(text) if t not in SKIPPED]
        self.at = 0
        self.names, self.sizes, self.index = names, sizes or {}, {}

    def peek(self):
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def take(self, wanted=None):
        token = self.peek()
        assert token == (wanted or token or "more"), f"found {token!r}, expected {wanted!r} in {' '.join(self.tokens)}"
        self.at += 1
        return token

    def all(self):
        value = self.sum()
        assert self.peek() is None, f"{self.tokens[self.at :]} is left over"
        return value

    def sum(self):
        sign = -1 if self.peek() == "-" and self.take() else 1
        value = sign * self.product()
        while self.peek() in ("+", "-"):
            value = value + self.product() if self.take() == "+" else value - self.product()
        return value

    def product(self):
        """Factors side by side, or entry by entry with \\odot; scalars may stand in front of either."""
        if self.peek() == r"\sum":
            return self.big_sum()
        values, joints = [self.power()], []
        while self.peek() not in (None, "+", "-", ")", "]", "}", ",", r"\right|", ">", "=", "&", r"\\", r"\rVert", r"\end{cases}"):
            joint = self.take() if self.peek() in (r"\odot", r"\cdot") else ""
            joints.append(joint)
            if self.peek() == r"\sum":
                values.append(self.big_sum())
                break
            values.append(self.power())
        arrays = [isinstance(v, (Row, Ones)) or np.ndim(v) > 0 for v in values]
        kinds = {joint for joint, left, right in zip(joints, arrays, arrays[1:], strict=False) if left and right}
        assert len(kinds) <= 1, f"entrywise and matrix products mixed without brackets in {' '.join(self.tokens)}"
        scalar = np.prod([v for v, array in zip(values, arrays, strict=True) if not array])
        rest = [v for v, array in zip(values, arrays, strict=True) if array]
        if not rest:
            return scalar
        result = rest[0]
        for value in rest[1:]:
            result = result * value if r"\odot" in kinds else times(result, value)
        return result if isinstance(result, (Row, Ones)) and scalar == 1 else scalar * result

    def big_sum(self):
        r"""\sum takes in everything to its right, up to the next term."""
        self.take(r"\sum")
        self.take("_")
        self.take("{")
        letters = []
        while self.peek() != "}":
            token = self.take()
            letters += [token] if token != "," else []
        self.take("}")
        start, total = self.at, 0.0
        for place in np.ndindex(*(self.sizes[letter] for letter in letters)):
            self.at = start
            outer, self.index = self.index, {**self.index, **dict(zip(letters, place, strict=True))}
            total = total + self.product()
            self.index = outer
        return total

    def power(self):
        value = self.atom()
        if self.peek() == "^":
            self.take()
            value = self.raised(value)
            assert self.peek() != "^", "a double superscript"
        return value

    def raised(self, value):
        if self.peek() != "{":
            return value ** float(self.take())
        self.take("{")
        if self.peek() == r"\top":
            self.take()
            self.take("}")
            return transposed(value)
        if self.peek() == r"\circ":
            self.take()
        exponent = self.sum()
        self.take("}")
        return value**exponent

    def group(self, left, right):
        self.take(left)
        value = self.sum()
        self.take(right)
        return value

    def atom(self):
        token = self.peek()
        if token == "(":
            return self.group("(", ")")
        if token == r"\left|":
            return np.abs(self.group(r"\left|", r"\right|"))
        if token[0].isdigit():
            return float(self.take())
        self.take()
        if token == r"\frac":
            return self.group("{", "}") / self.group("{", "}")
        if token == r"\sqrt":
            return np.sqrt(self.group("{", "}"))
        if token == r"\lVert":
            return self.norm()
        if token == r"\max":
            return self.largest()
        if token == r"\mathbf":
            return self.bold()
        if token == "e" and self.peek() == "^":
            self.take()
            return np.exp(self.group("{", "}"))
        if token == r"\operatorname":
            return self.function("".join(self.braces()))
        return self.function(token) if token in FUNCTIONS else self.name(token)

    def function(self, name):
        exponent = 1.0
        if self.peek() == "^":
            self.take()
            exponent = self.group("{", "}")
        return FUNCTIONS[name](self.group("(", ")")) ** exponent

    def norm(self):
        value = self.sum()
        self.take(r"\rVert")
        if self.peek() == "_":
            self.take()
            self.braces()
        self.take("^")
        assert self.braces() == ["2"]
        return (np.asarray(value) ** 2).sum()

    def largest(self):
        self.take("(")
        values = [self.sum()]
        while self.peek() == ",":
            self.take()
            values.append(self.sum())
        self.take(")")
        return np.max(np.broadcast_arrays(*values), axis=0)

    def bold(self):
        assert self.braces() == ["1"]
        if self.peek() != "_":
            return Ones()
        self.take()
        self.take("{")
        self.take("[")
        left = self.sum()
        self.take(">")
        right = self.sum()
        self.take("]")
        self.take("}")
        return np.where(left > right, 1.0, 0.0)

    def braces(self):
        self.take("{")
        start = self.at
        while self.peek() != "}":
            self.take()
        self.take("}")
        return self.tokens[start : self.at - 1]

    def name(self, head):
        """A name with its subscript; or an entry, if what stands below are indices."""
        if self.peek() == "^" and self.tokens[self.at + 2] == "(":
            self.take()
            below = self.braces()
            head = head if below == ["(", ")"] else f"{head}_{{{''.join(below[1:-1])}}}"
        if self.peek() != "_":
            return self.names[head]
        self.take()
        below = self.braces()
        if head in self.names and all(b in self.index or b.isdigit() or b == "," for b in below):
            return self.names[head][tuple(int(b) if b.isdigit() else self.index[b] for b in below if b != ",")]
        return self.names[f"{head}_{{{''.join(below)}}}"]


def read(text, names, sizes=None):
    return Reader(text, names, sizes).all()


def lines_of(latex):
    """The (left, right) pairs of an align*."""
    body = latex.removeprefix("\\begin{align*}\n").removesuffix("\n\\end{align*}")
    return [tuple(line.strip().split(" &= ", 1)) for line in body.split(" \\\\\n")]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 3 x", 14.0),
        ("-x^{2}", -16.0),
        (r"\frac{x - 1}{2} x", 6.0),
        (r"\tanh^{2}(x) + \sqrt{x}", np.tanh(4.0) ** 2 + 2),
        (r"\mathbf{1}^{\top} A \mathbf{1}", 10.0),
        (r"v^{\top} A v", 1 + 2 * 2 + 3 * 2 + 4 * 4),
        (r"\sum_{p} A_{p 0} v_{p} + 1", 1 + 1 + 3 * 2),
        (r"\lVert v - 1 \rVert^{2}", 1.0),
    ],
)
def test_the_reader_reads(text, value):
    names = {"x": 4.0, "A": np.array([[1.0, 2.0], [3.0, 4.0]]), "v": np.array([1.0, 2.0])}
    assert read(text, names, {"p": 2}) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", [r"A A \odot A", r"A \odot A A", r"x^{2}^{2}", "(x", "x)", "+ x"])
def test_the_reader_refuses_what_a_person_would_have_to_guess(text):
    with pytest.raises((AssertionError, KeyError)):
        read(text, {"x": 4.0, "A": np.eye(2)})


# --- networks ------------------------------------------------------------------------------------------------------------


def tanh_network():
    x, t = sbp.data("x t")
    w1, w2, b = sbp.weight("w_1 w_2 b")
    z1 = sbp.node("z_1", w1 * x)
    a1 = sbp.node("a_1", sp.tanh(z1))
    z2 = sbp.node("z_2", w2 * a1 + b)
    y = sbp.node("y", sp.tanh(z2))
    return sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)


def layers(activation=sp.tanh, output=sp.tanh, loss=sbp.half_squared_error):
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    W1, W2 = sbp.weight("W_1", (3, 4)), sbp.weight("W_2", (4, 2))
    b1, b2 = sbp.weight("b_1", 4), sbp.weight("b_2", 2)
    Z1 = sbp.node("Z_1", X @ W1 + b1)
    A1 = sbp.node("A_1", activation(Z1))
    Z2 = sbp.node("Z_2", A1 @ W2 + b2)
    A2 = sbp.node("A_2", output(Z2))
    return sbp.Network(sbp.node("C", loss(A2, T)), output=A2)


def classifier():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    W1, W2 = sbp.weight("W_1", (3, 4)), sbp.weight("W_2", (4, 2))
    A1 = sbp.node("A_1", sbp.relu(X @ W1))
    Z2 = sbp.node("Z_2", A1 @ W2)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(Z2, T)))


def columns():
    """Standing vectors, one sample: Mazur's example."""
    x, t = sbp.data("x t", (2,))
    W1, W2 = sbp.weight("W_1 W_2", (2, 2))
    h = sbp.node("h", W1 @ x)
    o = sbp.node("o", W2 @ h)
    return sbp.Network(sbp.node("C", sbp.sum((o - t) ** 2) / 2), output=o)


def tied():
    x, t = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 3))
    W = sbp.weight("W", (3, 2))
    h = sbp.node("H", sp.tanh(x @ W))
    y = sbp.node("Y", h @ W.T)
    return sbp.Network(sbp.node("C", sbp.mse(y, t)), output=y)


def attention():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 3))
    WQ, WK, WV = sbp.weight("W_Q W_K W_V", (3, 3))
    q, k, v = sbp.node("Q", X @ WQ), sbp.node("K", X @ WK), sbp.node("V", X @ WV)
    a = sbp.node("A", sbp.softmax(q @ k.T / 2))
    y = sbp.node("Y", a @ v)
    return sbp.Network(sbp.node("C", sbp.mse(y, T)), output=y)


def regression():
    x, t = sbp.data("x t", ("n",))
    w, b = sbp.weight("w b")
    y = sbp.node("y", sbp.sigmoid(w * x + b))
    return sbp.Network(sbp.node("C", -sbp.mean(t * sp.log(y) + (1 - t) * sp.log(1 - y))), output=y)


def normalised():
    """Layer normalisation: broadcasting both ways."""
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    W, g = sbp.weight("W", (3, 2)), sbp.weight("g", 2)
    z = sbp.node("Z", X @ W)
    m = sbp.node("m", sbp.mean(z, axis=1, keepdims=True))
    s = sbp.node("s", sbp.mean((z - m) ** 2, axis=1, keepdims=True))
    y = sbp.node("Y", g * (z - m) / sp.sqrt(s + sp.Rational(1, 10)))
    return sbp.Network(sbp.node("C", sbp.mse(y, T)), output=y)


def functions():
    """One of everything that is written in a way of its own."""
    x, t = sbp.data("x t")
    alpha, beta, w = sbp.weight("alpha beta w_hid")
    z = sbp.node("z", alpha * x + beta)
    smooth = sp.erf(z) * sp.sqrt(z**2 + 1) + sp.sin(z) ** 2 / (1 + z**2) + sbp.sigmoid(z) ** 2 + sbp.softplus(z) + sp.exp(-z / 3)
    kinks = sp.Piecewise((z, z > 0), (sp.exp(z) - 1, True)) + sp.Max(z, beta) + sp.Abs(z) + sbp.relu(z)
    h = sbp.node("h", smooth + kinks)
    return sbp.Network(sbp.node("loss", (w * h - t) ** 2 * (x + beta) / (beta + 2) + sp.Float("1e-7") * beta), output=h)


def operators():
    """Every operator that reads, moves or picks entries."""
    x, label, t = sbp.data("x", ("n", 4)), sbp.data("k", ("n",)), sbp.data("t", ("n", 3))
    E, W, u = sbp.weight("E", (5, 4)), sbp.weight("W", (8, 3)), sbp.weight("u", (2, 3))
    c = sbp.node("c", sbp.concatenate([x, sbp.take(E, label)], axis=1))
    z = sbp.node("z", c @ W)
    top = sbp.node("top", sbp.max(z[:, 1:], axis=1) + sbp.logsumexp(z, axis=1) + sbp.min(z, axis=1))
    flat = sbp.node("flat", sbp.reshape(sbp.transpose(u), (6,)))
    both = sbp.node("both", sbp.einsum("ni,nj,kj->nik", z, t, u))
    loss = sbp.mean(top**2) + sbp.mean(both) + sbp.sum(sbp.log_softmax(z) * t) + sbp.sum(flat) ** 2
    return sbp.Network(sbp.node("C", loss), output=z)


def minimum():
    x = sbp.weight("x", init=1)
    return sbp.Network(sbp.node("f", 750 / x + 10 * x))


COMPUTED = {
    "tanh": tanh_network,
    "layers": layers,
    "sigmoid layers, mean squares": lambda: layers(sbp.sigmoid, sbp.sigmoid, sbp.mse),
    "softplus, cross-entropy": lambda: layers(sbp.softplus, sbp.sigmoid, sbp.binary_cross_entropy),
    "classifier": classifier,
    "columns": columns,
    "tied": tied,
    "attention": attention,
    "regression": regression,
    "normalised": normalised,
    "minimum": minimum,
}
ALL = COMPUTED | {"functions": functions, "operators": operators}
FORMS = ("equations", "chain", "local", "closed", "matrix", "index")


# --- (a) the textbook's own equations ------------------------------------------------------------------------------------


def aligned(*lines):
    return "\\begin{align*}\n" + " \\\\\n".join(f"  {line}" for line in lines) + "\n\\end{align*}"


def test_the_notebook_as_a_chain():
    assert tanh_network().latex("chain") == aligned(
        r"\frac{\partial C}{\partial w_{1}} &= \frac{\partial C}{\partial y} \frac{\partial y}{\partial z_{2}} "
        r"\frac{\partial z_{2}}{\partial a_{1}} \frac{\partial a_{1}}{\partial z_{1}} \frac{\partial z_{1}}{\partial w_{1}}",
        r"\frac{\partial C}{\partial w_{2}} &= \frac{\partial C}{\partial y} \frac{\partial y}{\partial z_{2}} \frac{\partial z_{2}}{\partial w_{2}}",
        r"\frac{\partial C}{\partial b} &= \frac{\partial C}{\partial y} \frac{\partial y}{\partial z_{2}} \frac{\partial z_{2}}{\partial b}",
    )


def test_the_notebook_evaluated():
    """In the notebook's own order of factors, from the input to the loss."""
    assert tanh_network().latex("local") == aligned(
        r"\frac{\partial C}{\partial w_{1}} &= x (1 - a_{1}^{2}) w_{2} (y - t) (1 - y^{2})",
        r"\frac{\partial C}{\partial w_{2}} &= a_{1} (y - t) (1 - y^{2})",
        r"\frac{\partial C}{\partial b} &= (y - t) (1 - y^{2})",
    )


def test_the_notebook_in_closed_form():
    z2 = r"w_{2} \tanh(w_{1} x) + b"
    error = rf"(\tanh({z2}) - t) (1 - \tanh^{{2}}({z2}))"
    assert tanh_network().latex("closed") == aligned(
        rf"\frac{{\partial C}}{{\partial w_{{1}}}} &= x (1 - \tanh^{{2}}(w_{{1}} x)) w_{{2}} {error}",
        rf"\frac{{\partial C}}{{\partial w_{{2}}}} &= \tanh(w_{{1}} x) {error}",
        rf"\frac{{\partial C}}{{\partial b}} &= {error}",
    )


def test_the_equations_of_backpropagation_with_matrices():
    """The error of the output, the error of a layer from the next one's, and the gradients of biases and of weights."""
    assert lines_of(layers().latex("matrix")) == [
        (r"\Delta_{2}", r"\frac{1}{n} (A_{2} - T) \odot (1 - A_{2} \odot A_{2})"),
        (r"\Delta_{1}", r"(\Delta_{2} W_{2}^{\top}) \odot (1 - A_{1} \odot A_{1})"),
        (r"\frac{\partial C}{\partial W_{2}}", r"A_{1}^{\top} \Delta_{2}"),
        (r"\frac{\partial C}{\partial b_{2}}", r"\mathbf{1}^{\top} \Delta_{2}"),
        (r"\frac{\partial C}{\partial W_{1}}", r"X^{\top} \Delta_{1}"),
        (r"\frac{\partial C}{\partial b_{1}}", r"\mathbf{1}^{\top} \Delta_{1}"),
    ]


def test_the_equations_of_backpropagation_with_indices():
    assert lines_of(layers().latex("index")) == [
        (r"\delta^{(2)}_{n i}", r"\frac{1}{N} (A^{(2)}_{n i} - T_{n i}) (1 - (A^{(2)}_{n i})^{2})"),
        (r"\delta^{(1)}_{n i}", r"(1 - (A^{(1)}_{n i})^{2}) \sum_{p} \delta^{(2)}_{n p} W^{(2)}_{i p}"),
        (r"\frac{\partial C}{\partial W^{(2)}_{i j}}", r"\sum_{n} A^{(1)}_{n i} \delta^{(2)}_{n j}"),
        (r"\frac{\partial C}{\partial b^{(2)}_{i}}", r"\sum_{n} \delta^{(2)}_{n i}"),
        (r"\frac{\partial C}{\partial W^{(1)}_{i j}}", r"\sum_{n} X_{n i} \delta^{(1)}_{n j}"),
        (r"\frac{\partial C}{\partial b^{(1)}_{i}}", r"\sum_{n} \delta^{(1)}_{n i}"),
    ]


def test_standing_vectors():
    assert lines_of(columns().latex("matrix")) == [
        (r"\delta_{o}", "o - t"),
        (r"\delta_{h}", r"W_{2}^{\top} \delta_{o}"),
        (r"\frac{\partial C}{\partial W_{2}}", r"\delta_{o} h^{\top}"),
        (r"\frac{\partial C}{\partial W_{1}}", r"\delta_{h} x^{\top}"),
    ]


def test_softmax_and_cross_entropy_meet():
    assert lines_of(classifier().latex("matrix"))[0] == (r"\Delta_{2}", r"\frac{1}{n} (\operatorname{softmax}(Z_{2}) - T)")


def test_one_gradient_defines_what_it_uses():
    assert layers().gradients["W_2"].latex("matrix").splitlines() == [
        r"\begin{aligned}",
        r"  \Delta_{2} &= \frac{1}{n} (A_{2} - T) \odot (1 - A_{2} \odot A_{2}) \\",
        r"  \frac{\partial C}{\partial W_{2}} &= A_{1}^{\top} \Delta_{2}",
        r"\end{aligned}",
    ]


def test_the_order_of_factors_does_not_depend_on_what_the_session_held_before():
    first = layers()
    latex = first.latex("matrix"), first.latex("index"), first.latex("local")
    second = layers()  # the same names again, while the first network lives
    assert (second.latex("matrix"), second.latex("index"), second.latex("local")) == latex


def test_one_entry():
    gradient = layers().gradients["W_2"][0, 1]
    assert gradient.latex("chain") == (
        r"\frac{\partial C}{\partial W^{(2)}_{0 1}} = \sum_{n} \frac{\partial C}{\partial A^{(2)}_{n 1}} "
        r"\frac{\partial A^{(2)}_{n 1}}{\partial Z^{(2)}_{n 1}} \frac{\partial Z^{(2)}_{n 1}}{\partial W^{(2)}_{0 1}}"
    )
    assert gradient.latex("local") == (
        r"\frac{\partial C}{\partial W^{(2)}_{0 1}} = \frac{1}{N} \sum_{n} A^{(1)}_{n 0} (A^{(2)}_{n 1} - T_{n 1}) (1 - (A^{(2)}_{n 1})^{2})"
    )


def test_sums_of_paths_stand_inside_products_where_there_are_many():
    """Their terms are factors of the chain rule, of tensors whose shapes have nothing to do with each other."""
    X, t = sbp.data("X", ("n", 3)), sbp.data("t", "n")
    state = sbp.node("S", X @ sbp.weight("V", (3, 4)))
    for _ in range(3):
        state = state + sbp.dense(sbp.dense(sbp.layer_norm(state), 8, "tanh"), 4)
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.dense(state, 5), t)))
    found = net.gradients["V"].latex("chain")
    assert found.count("(") == found.count(")") > 0
    assert found.endswith(r"\frac{\partial S}{\partial V}")


def test_paths_are_summed():
    x = sbp.weight("x")
    u, v = sbp.node("u", x**2), sbp.node("v", sp.sin(x))
    net = sbp.Network(sbp.node("C", u * v))
    assert net.gradients["x"].latex("chain") == (
        r"\frac{\partial C}{\partial x} = \frac{\partial C}{\partial v} \frac{\partial v}{\partial x}"
        r" + \frac{\partial C}{\partial u} \frac{\partial u}{\partial x}"
    )


@pytest.mark.parametrize(
    ("name", "latex"),
    [
        ("alpha", r"\alpha"),
        ("w_hid", r"w_{\mathrm{hid}}"),
        ("loss", r"\mathit{loss}"),
        ("W12", "W_{12}"),
        ("w_1_2", "w_{1,2}"),
        ("lambda_", r"\lambda"),
        ("xhat", r"\hat{x}"),
        ("η", r"\eta"),
    ],
)
def test_names(name, latex):
    x = sbp.weight(name)
    assert sbp.Network(sbp.node("C", x**2)).gradients[name].latex("local") == rf"\frac{{\partial C}}{{\partial {latex}}} = 2 {latex}"


# --- (b) read back, the numbers are the same -----------------------------------------------------------------------------

VARIABLES = [*sbp.data("x y"), *sbp.weight("w_1 v")]
SETTING = dict(zip(("x", "y", "w_{1}", "v"), VARIABLES, strict=True))


def combine(parts):
    pairs = st.tuples(parts, parts)
    return st.one_of(
        pairs.map(lambda p: p[0] + p[1]),
        pairs.map(lambda p: p[0] - p[1]),
        pairs.map(lambda p: p[0] * p[1]),
        pairs.map(lambda p: p[0] / (1 + p[1] ** 2)),
        parts.map(lambda p: -p),
        parts.map(sp.tanh),
        parts.map(sbp.sigmoid),
        parts.map(sp.sin),
        parts.map(lambda p: sp.exp(-(p**2))),
        parts.map(lambda p: sp.sqrt(1 + p**2)),
        parts.map(lambda p: sp.log(1 + p**2)),
        parts.map(sp.Abs),
        st.tuples(parts, st.sampled_from([2, 3, -1, -2])).map(lambda p: (p[0] + sp.Rational(7, 3)) ** p[1]),
        pairs.map(lambda p: sp.Max(p[0], p[1])),
    )


NUMBERS = st.sampled_from([1, 2, -3, sp.Rational(1, 2), sp.Rational(-5, 3), sp.Float(0.1), sp.Float("2.5e-9"), sp.Float("-1e12")])
EXPRESSIONS = st.recursive(st.one_of(st.sampled_from(VARIABLES), NUMBERS.map(sp.sympify)), combine, max_leaves=8)


@given(EXPRESSIONS, st.lists(st.integers(-20, 20), min_size=4, max_size=4))
def test_scalar_formulas_read_back(expr, tenths):
    assume(expr.free_symbols and not expr.has(sp.zoo, sp.nan, sp.oo))
    values = {name: 0.1 * k + 0.013 for name, k in zip(SETTING, tenths, strict=True)}
    expected = complex(sp.N(expr.subs({SETTING[name]: sp.Float(v, 60) for name, v in values.items()}), 30))
    assume(expected.imag == 0 and 1e-12 < abs(expected) < 1e12)
    ((_, latex),) = lines_of(sbp.Network(sbp.node("C", expr)).latex("equations"))
    scale = max([1.0, *(abs(float(number)) for number in expr.atoms(sp.Number))])  # large numbers cancel
    with np.errstate(all="ignore"):
        found = read(latex, values)
    assert found == pytest.approx(expected.real, rel=1e-7, abs=1e-12 * scale), latex


def numbers_for(net, rows=3):
    """Random values of data and weights, by their LaTeX names."""
    rng = np.random.default_rng(7)
    names = {}
    for tensor in (*net.data.values(), *net.weights.values()):
        shape = tuple(rows if size == "n" else size for size in tensor.shape)
        values = rng.uniform(0.1, 0.9, shape) if tensor.name in ("t", "T") else rng.uniform(-1, 1, shape)
        names[LATEX_NAME[tensor.name]] = np.asarray(values)
    return names


LATEX_NAME = {name: re.sub("_(.*)", r"_{\1}", name) for name in [*"xtXTwbWg", "w_1", "w_2", "W_1", "W_2", "b_1", "b_2", "W_Q", "W_K", "W_V"]}


def forward(net, names):
    """`names` with the values of the network's own equations, as their LaTeX computes them. The last one is the loss."""
    values = dict(names)
    for (left, right), (symbol, _) in zip(lines_of(net.latex("equations")), net.equations, strict=True):
        values[left] = shaped(read(right, {**values, "n": 3.0}), symbol)
    return values, float(values[left])


def shaped(value, tensor):
    """On paper a matrix of one column is a vector, and meets a matrix only where it is repeated by 1^T."""
    shape = tuple(3 if size == "n" else size for size in tensor.shape)
    return np.reshape(value, shape[:-1] if shape[-1:] == (1,) else shape)


def slopes(net, names, of, step=1e-6):
    """The gradient of the printed loss by central differences."""
    result = np.empty_like(names[of])
    for place in np.ndindex(result.shape):
        ends = []
        for sign in (1, -1):
            moved = {**names, of: names[of].copy()}
            moved[of][place] += sign * step
            ends.append(forward(net, moved)[1])
        result[place] = (ends[0] - ends[1]) / (2 * step)
    return result


def below(left):
    """The LaTeX name of w in \\frac{\\partial C}{\\partial w}; None for the line of an error."""
    match = re.fullmatch(r"\\frac\{\\partial \S+\}\{\\partial (.*)\}", left)
    return match and match.group(1)


@pytest.mark.parametrize("name", COMPUTED)
def test_gradients_in_matrix_form_compute_the_slope_of_the_printed_loss(name):
    net = COMPUTED[name]()
    names = numbers_for(net)
    values, _ = forward(net, names)
    seen = set()
    for left, right in lines_of(net.latex("matrix")):
        value = np.asarray(read(right, {**values, "n": 3.0}))
        if below(left):
            seen.add(below(left))
            np.testing.assert_allclose(value, slopes(net, names, below(left)), rtol=1e-6, atol=1e-8, err_msg=f"{left} = {right}")
        else:
            values[left] = value
    assert seen == {LATEX_NAME[w] for w in net.weights}


SUMS_OF_SUMS = {"attention", "normalised"}  # in closed form these take minutes to read


@pytest.mark.parametrize(("name", "form"), [*((name, "local") for name in COMPUTED), *((name, "closed") for name in COMPUTED if name not in SUMS_OF_SUMS)])
def test_other_forms_compute_the_slope_of_the_printed_loss(name, form):
    net = COMPUTED[name]()
    names = numbers_for(net)
    values, _ = forward(net, names)
    lines = lines_of(net.latex(form))
    for weight, (_, right) in zip(net.weights.values(), lines, strict=True):
        expected = slopes(net, names, LATEX_NAME[weight.name])
        found = read(right, {**values, "n": 3.0}) if form == "local" else entries(right, expected.shape, names)
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=right)
    assert len(lines) == len(net.weights)


def test_gradients_in_index_form_compute_the_slope_of_the_printed_loss():
    net = layers()
    names = numbers_for(net)
    values, _ = forward(net, names)
    for left, right in lines_of(net.latex("index")):
        target = below(left) or left
        head = re.sub(r"\^\{\((.*?)\)\}_\{.*", r"_{\1}", target)
        if below(left):
            expected = slopes(net, names, head)
            found = entries(right, expected.shape, values)
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8, err_msg=right)
        else:
            width = {"2": 2, "1": 4}[head[-2]]
            values[head] = entries(right, (3, width), values, letters="ni")


def entries(latex, shape, names, letters="ij"):
    """A formula for one entry, computed for every entry."""
    result = np.empty(shape)
    bounds = lengths(latex, names)
    for place in np.ndindex(*shape):
        reader = Reader(latex, {**names, "N": 3.0}, bounds)
        reader.index = dict(zip(letters, place, strict=False))
        result[place] = reader.all()
    return result


def lengths(latex, names):
    """How far each index runs, read off the entries in which it stands."""
    found = {}
    for head, above, indices in re.findall(r"([A-Za-z]|\\[a-z]+)(?:\^\{\((\S+?)\)\})?_\{([a-z](?: [a-z])*)\}", latex):
        tensor = names.get(f"{head}_{{{above}}}" if above else head)
        if tensor is not None:
            found |= dict(zip(indices.split(), tensor.shape, strict=True))
    return found


# --- (c) pdflatex and KaTeX ----------------------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[1] / "examples"
BUILDERS = {
    "digits": ["network"],
    "transformer": [],  # written out, it is wide too; tests/test_attention.py reads what a block prints
    "from_scratch": ["line", "two_neurons"],
    "keras_adam": [],
    "lenet": ["network"],
    "lstm_adding": [],  # a recurrence has no closed form; its others are set in test_scan.py
    "physics_informed": [],  # written out, its gradients are wider than TeX can measure
    "regression": [],
    "regression_and_classification": ["regression", "classification"],
    "tanh_and_autograd": ["two_neurons", "parabola", "cost", "linear_regression", "logistic_regression"],
    "two_hidden_layers": ["network"],
}


@pytest.fixture(scope="module")
def formulas():
    """Everything that is printed as LaTeX: every form of every network here and in the examples, entries, and update rules."""
    networks = {name: build() for name, build in ALL.items()}
    rules = [sbp.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01), sbp.Adam(amsgrad=True), sbp.AdamW(), sbp.RMSprop(centered=True), sbp.Adagrad()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(EXAMPLES), *sys.path])
        for script, builders in BUILDERS.items():
            module = importlib.import_module(script)
            networks |= {f"{script}, {build}": getattr(module, build)() for build in builders}
            if script == "keras_adam":
                rules.append(module.KerasAdam())
            if script == "regression":
                networks["regression, mse"] = module.network(sbp.mse)
        for script in BUILDERS:
            sys.modules.pop(script)
    found = {f"{name}: {form}": net.latex(form) for name, net in networks.items() for form in FORMS}
    entry = networks["layers"].gradients["W_1"][2, 3]
    found |= {f"one entry: {form}": entry.latex(form) for form in ("chain", "local", "closed")}
    return found | {type(rule).__name__: rule.latex() for rule in rules}


def test_no_example_is_forgotten():
    assert set(BUILDERS) | {"gallery"} == {path.stem for path in EXAMPLES.glob("*.py")}  # the gallery draws the others


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_everything_compiles_with_pdflatex(formulas, tmp_path):
    parts = [text if text.startswith(r"\begin{align*}") else rf"\[{text}\]" for text in formulas.values()]
    preamble = "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\allowdisplaybreaks\n\\begin{document}\n"
    (tmp_path / "all.tex").write_text(preamble + "\n\n".join(parts) + "\n\\end{document}\n", encoding="utf-8")
    run = subprocess.run(["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"], cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Output written on all.pdf" in run.stdout


KATEX = """
const katex = require("katex");
const formulas = JSON.parse(require("fs").readFileSync(0, "utf8"));
let wrong = 0;
for (const [name, text] of Object.entries(formulas)) {
  try { katex.renderToString(text, {displayMode: true, throwOnError: true, strict: "error"}); }
  catch (error) { wrong += 1; console.error(name + ": " + error.message.slice(0, 300)); }
}
console.log(Object.keys(formulas).length - wrong);
"""


def has_katex():
    """Node looks for packages where NODE_PATH says."""
    return bool(shutil.which("node")) and subprocess.run(["node", "-e", 'require("katex")'], capture_output=True).returncode == 0


@pytest.mark.skipif(not has_katex(), reason="node or its package katex is not installed (NODE_PATH)")
def test_everything_renders_in_katex(formulas):
    run = subprocess.run(["node", "-e", KATEX], input=json.dumps(formulas), capture_output=True, text=True)
    assert run.stderr == ""
    assert int(run.stdout) == len(formulas) > 100


@pytest.mark.skipif(not has_katex(), reason="node or its package katex is not installed (NODE_PATH)")
def test_katex_finds_a_mistake():
    run = subprocess.run(["node", "-e", KATEX], input=json.dumps({"bad": "a^{2}^{2}", "good": "a^{2}"}), capture_output=True, text=True)
    assert run.stdout.strip() == "1"
    assert run.stderr.startswith("bad: ")


def test_the_places_in_a_reshaped_tensor_have_letters_of_their_own():
    """Entry i of two maps of 2 by 2 is row b, column c of map a; put back, the letters give what there was before."""
    images, targets = sbp.data("x", ("n", 1, 6, 6)), sbp.data("t", ("n", 3))
    maps = sbp.max_pool2d(sbp.conv2d(images, 2, 3, activation="relu"), 2)
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.dense(sbp.reshape(maps, ("n", -1)), 3), targets)))
    lines = net.latex("index").splitlines()
    at = next(k for k, line in enumerate(lines) if r"\partial W^{(2)}" in line)
    assert r"A^{(1)}_{n,a,2 b + p,2 c + q}" in lines[at]
    where = lines[at + 1].split("&=")
    assert where[0].strip() == "(a, b, c)"
    rests = [r"\left\lfloor{\frac{i}{4}}\right\rfloor", r"\left\lfloor{\frac{i}{2}}\right\rfloor \bmod 2", r"i \bmod 2"]
    assert all(rest in where[1] for rest in rests)
    for i, (a, b, c) in enumerate(np.ndindex(2, 2, 2)):
        assert (i // 4, i // 2 % 2, i % 2) == (a, b, c)


def test_a_rest_is_in_brackets_within_a_product():
    i = sp.Symbol("i", integer=True)
    assert TensorLatex().plain(2 * sp.Mod(i, 3)) == r"2 (i \bmod 3)"
    assert TensorLatex().plain(sp.Mod(i, 3) + 1) == r"1 + (i \bmod 3)"
