r"""Every line of a derivation, as it is printed, against PyTorch.

This shares nothing with the package: each network is written a second time, as equations in PyTorch, and what a line *prints* is
read back by the reader of tests/test_latex.py and compared with PyTorch's own derivatives.
"""

import inspect
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch

import symbackprop as sbp

sys.path.insert(0, str(Path(__file__).parent))

from test_latex import ALL, Reader

FORMS = ("mixed", "matrix", "index", "entry")


def two_paths():
    """A weight that reaches the loss by three ways, one of them direct; scalars."""
    x, t = sbp.data("x t")
    w, v = sbp.weight("w v")
    h = sbp.node("h", sp.sin(w * x))
    g = sbp.node("g", h * w + v)
    return sbp.Network(sbp.node("C", (g - t) ** 2 / 2 + h * v + w**2 / 10), output=g)


NETWORKS = ALL | {"two paths": two_paths}

# The same equations in PyTorch; the names of the arguments say what each one reads.
MEAN = {"C": lambda Y, T: ((Y - T) ** 2).mean()}
LAYERS = {
    "Z_1": lambda X, W_1, b_1: X @ W_1 + b_1,
    "A_1": lambda Z_1: torch.tanh(Z_1),
    "Z_2": lambda A_1, W_2, b_2: A_1 @ W_2 + b_2,
    "A_2": lambda Z_2: torch.tanh(Z_2),
    "C": lambda A_2, T: ((A_2 - T) ** 2).sum() / 2 / len(T),
}
EQUATIONS = {
    "tanh": {
        "z_1": lambda w_1, x: w_1 * x,
        "a_1": lambda z_1: torch.tanh(z_1),
        "z_2": lambda w_2, a_1, b: w_2 * a_1 + b,
        "y": lambda z_2: torch.tanh(z_2),
        "C": lambda y, t: (y - t) ** 2 / 2,
    },
    "two paths": {
        "h": lambda w, x: torch.sin(w * x),
        "g": lambda h, w, v: h * w + v,
        "C": lambda g, t, h, v, w: (g - t) ** 2 / 2 + h * v + w**2 / 10,
    },
    "layers": LAYERS,
    "softplus, cross-entropy": LAYERS
    | {
        "A_1": lambda Z_1: torch.nn.functional.softplus(Z_1),
        "A_2": lambda Z_2: torch.sigmoid(Z_2),
        "C": lambda A_2, T: torch.nn.functional.binary_cross_entropy(A_2, T),
    },
    "classifier": {
        "A_1": lambda X, W_1: torch.relu(X @ W_1),
        "Z_2": lambda A_1, W_2: A_1 @ W_2,
        "C": lambda Z_2, T: -(T * (Z_2 - Z_2.logsumexp(1, keepdim=True) / T.sum(1, keepdim=True))).sum(1).mean(),
    },
    "columns": {"h": lambda W_1, x: W_1 @ x, "o": lambda W_2, h: W_2 @ h, "C": lambda o, t: ((o - t) ** 2).sum() / 2},
    "tied": {"H": lambda X, W: torch.tanh(X @ W), "Y": lambda H, W: H @ W.T} | MEAN,
    "attention": {
        "Q": lambda X, W_Q: X @ W_Q,
        "K": lambda X, W_K: X @ W_K,
        "V": lambda X, W_V: X @ W_V,
        "A": lambda Q, K: torch.softmax(Q @ K.T / 2, 1),
        "Y": lambda A, V: A @ V,
    }
    | MEAN,
    "regression": {"y": lambda w, x, b: torch.sigmoid(w * x + b), "C": lambda y, t: torch.nn.functional.binary_cross_entropy(y, t)},
    "normalised": {
        "Z": lambda X, W: X @ W,
        "m": lambda Z: Z.mean(1, keepdim=True),
        "s": lambda Z, m: ((Z - m) ** 2).mean(1, keepdim=True),
        "Y": lambda g, Z, m, s: g * (Z - m) / torch.sqrt(s + 0.1),
    }
    | MEAN,
    "minimum": {"f": lambda x: 750 / x + 10 * x},
}
ROWS = 3


class Reference:
    """The values of one network's equations in PyTorch, at random inputs, and any derivative between them."""

    def __init__(self, net, equations, rows=ROWS):
        rng = np.random.default_rng(5)
        self.equations = equations
        self.values = {}
        for t in (*net.data.values(), *net.weights.values()):
            shape = tuple(rows if size == "n" else size for size in t.shape)
            self.values[t.name] = torch.tensor(rng.uniform(0.1, 0.9, shape) if t.name in "tT" else rng.uniform(-1, 1, shape) + 0.03)
        self.run(self.values, equations)
        self.loss = list(equations)[-1]
        self.known = {}

    def run(self, values, names):
        for name in names:
            values[name] = self.equations[name](*(values[k] for k in inspect.signature(self.equations[name]).parameters))

    def partial(self, y, x):
        """∂y/∂x of the equation of y alone: the axes of y, then those of x."""

        def own(value):
            values = {**self.values, x: value}
            self.run(values, [y])
            return values[y]

        return self._once((y, x), own, x)

    def total(self, x):
        """∂C/∂x, everything behind x taken along."""

        def behind(value):
            values = {**self.values, x: value}
            self.run(values, [name for name in self.equations if name != x])
            return values[self.loss]

        return self._once(x, behind, x)

    def _once(self, key, function, x):
        if key not in self.known:
            self.known[key] = torch.autograd.functional.jacobian(function, self.values[x]).numpy()
        return self.known[key]


# --- reading a line -------------------------------------------------------------------------------------------------------

PLAIN = r"((?:[^{}]|\{[^{}]*\})+)"
PARTIAL = rf"\\frac\{{\\partial {PLAIN}\}}\{{\\partial {PLAIN}\}}"
HELD = rf"\\left\.{PARTIAL}\\right\|_\{{(?:[^{{}}]|\{{[^{{}}]*\}})+\}}"
ERROR = r"\\[dD]elta(?:\^\{\((\w+)\)\}|_\{(\w+)\})"
APPLIED = rf"\\left\({PARTIAL}\\right\)\^\{{\\top\}} \\left\[((?:[^\[\]])+)\\right\]"


class Page:
    """Reads the lines of a derivation, one after the other, and says what each one is worth."""

    def __init__(self, reference):
        self.reference = reference
        self.names = {latex_name(name): value.numpy() for name, value in reference.values.items()}
        self.names |= {"n": float(ROWS), "N": float(ROWS), r"\kron": np.eye(9)}
        self.slots = 0
        self.left = None  # (value of what stands left, letters of its entry)

    def slot(self, value, letters=""):
        """A name of its own for a value that is printed as a fraction of two names."""
        name = "\\slot" + "".join("abcdefghij"[int(d)] for d in str(self.slots))
        self.slots += 1
        self.names[name] = value
        return f"{name}_{{{letters}}}" if letters else name

    def split(self, printed):
        """`A^{(2)}_{n i}`, `g_{i}` or `W_{2}` → the tensor's own name and the letters of its entry."""
        head, above, below = re.fullmatch(r"(\\?\w|\\[a-z]+|\w)(?:\^\{\((\w+)\)\})?(?:_\{([\w ]+)\})?", printed).groups()
        head = head.removeprefix("\\")
        if above:
            return f"{head}_{above}", below or ""
        whole = f"{head}_{below}"
        return (whole, "") if whole in self.reference.values else (head, below or "")

    def derivative(self, y, x, held=False):
        (y, at), (x, index) = self.split(y), self.split(x)
        if y == self.reference.loss and not held:
            return self.reference.total(x), index
        return self.reference.partial(y, x), f"{at} {index}".strip()

    def readable(self, text):
        def applied(match):
            y, x, error = match.groups()
            partial, _ = self.derivative(y, x, held=True)
            behind = np.reshape(self.read(error), -1)
            return self.slot((behind @ partial.reshape(len(behind), -1)).reshape(self.reference.values[self.split(x)[0]].shape))

        text = re.sub(APPLIED, applied, text)
        text = re.sub(HELD, lambda m: self.slot(*self.derivative(*m.groups(), held=True)), text)
        text = re.sub(PARTIAL, lambda m: self.slot(*self.derivative(*m.groups())), text)
        return re.sub(r"\\left\[(\w) = (\w)\\right\]", r"\\kron_{\1 \2}", text)

    def read(self, text, place=None):
        """The value of a formula: of an entry, at its `place`, or (None) whole."""
        text = self.readable(text)
        names = self.names if place is not None else {name: standing(value) for name, value in self.names.items()}
        reader = Reader(text, names, self.sizes(text))
        reader.index = place or {}
        return reader.all()

    def sizes(self, text):
        """How far each index runs, read off the entries in which it stands."""
        found = {}
        for head, above, letters in re.findall(r"(\\slot[a-j]+|\\delta|(?<![a-z])[A-Za-z])(?:\^\{\((\w+)\)\})?_\{([a-z0-9](?: [a-z0-9])*)\}", text):
            array = self.names.get(f"{head}_{{{above}}}" if above else head)
            if array is not None:
                found |= dict(zip(letters.split(), np.shape(array), strict=True))
        return found

    def compare(self, step, places=5):
        """The printed right side against PyTorch. Returns how many numbers were compared."""
        right = step.right
        if prefix := re.match(rf"{PARTIAL} = ", right):
            right = right[prefix.end() :]
            self.left = self.derivative(*prefix.groups())
            above, below = re.match(ERROR, step.left).groups()
            for name in (r"\delta", r"\Delta"):
                self.names[f"{name}_{{{above or below}}}"] = self.left[0]
        elif match := re.fullmatch(PARTIAL, step.left) or re.fullmatch(HELD, step.left):
            self.left = self.derivative(*match.groups(), held=step.left.startswith(r"\left."))
        elif step.left:
            self.left = (self.names[step.left], "")
        expected, letters = self.left
        if step.relation == r"\leftarrow":
            expected = expected - 0.1 * self.reference.total(self.split(step.left)[0])
        letters = letters.split()
        free = {k: size for k, size in zip(letters, expected.shape, strict=False) if not k.isdigit()}
        spots = list(np.ndindex(*free.values())) if letters else [()]
        for spot in spots if len(spots) <= places else [spots[i] for i in np.random.default_rng(0).choice(len(spots), places, replace=False)]:
            place = dict(zip(free, spot, strict=True)) if letters or not np.ndim(expected) else None
            wanted = expected[tuple(int(k) if k.isdigit() else place[k] for k in letters)] if letters else standing(expected)
            found = self.read(right, place)
            np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12, err_msg=str(step))
        return len(spots)


def standing(array):
    """A matrix of one column is written as a vector."""
    return array[:, 0] if np.ndim(array) == 2 and array.shape[1] == 1 else array


def latex_name(name):
    return re.sub("_(.*)", r"_{\1}", name)


SLOW = {"attention", "normalised"}  # in closed form these take minutes to read


def page_of(name):
    net = NETWORKS[name]()
    return net, Page(Reference(net, EQUATIONS[name]))


WRITTEN = [(name, form) for name in EQUATIONS for form in FORMS if form != "entry" or name in ("tanh", "two paths", "layers", "columns", "normalised")]


@pytest.mark.parametrize(("name", "form"), WRITTEN)
def test_every_line_as_it_is_printed_is_what_pytorch_says(name, form):
    net, page = page_of(name)
    derivation = net.derivation(form, optimizer=sbp.SGD(lr=0.1), verify=False)
    read = [page.compare(step) for step in derivation.steps if not (name in SLOW and step.rule.startswith("closed"))]
    assert len(read) >= len(net.equations) + 2 * len(net.weights)
    assert min(read) > 0


def test_a_line_that_is_wrong_is_found():
    net, page = page_of("layers")
    steps = {step.number: step for step in net.derivation("matrix").steps}
    for step in steps.values():
        page.compare(step)
    right = next(s for s in steps.values() if s.right == r"\Delta_{2} W_{2}^{\top}")
    for wrong in (r"\Delta_{2} W_{2}", r"-\Delta_{2} W_{2}^{\top}", r"1.0005 \Delta_{2} W_{2}^{\top}", r"\Delta_{2} \odot A_{2}"):
        with pytest.raises((AssertionError, ValueError)):
            page.compare(type(right)(**{**vars(right), "left": r"\frac{\partial C}{\partial A_{1}}", "right": wrong}))
