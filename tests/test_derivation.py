r"""Derivations: their order, their words, and that every line of them is true.

Truth is held against something that shares nothing with the package: each network is written a second time, as equations in
PyTorch, and what a line *prints* is read back by the reader of tests/test_latex.py and compared with PyTorch's own derivatives.
"""

import inspect
import itertools
import re
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given, settings
from sympy.core.cache import clear_cache

import symbackprop as sbp
from symbackprop.calculus import elementwise, forms
from symbackprop.derivation import rules, update
from symbackprop.derivation.context import Context
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.reduction import LogSumExp, Softmax
from symbackprop.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent))

from test_latex import ALL, Reader
from test_properties import networks, scalar_networks

FORMS = ("mixed", "matrix", "index", "entry")
STOPS = ("chain", "local", "closed")


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

    def __init__(self, net, equations, seed=5):
        rng = np.random.default_rng(seed)
        self.equations = equations
        self.values = {}
        for t in (*net.data.values(), *net.weights.values()):
            shape = tuple(ROWS if size == "n" else size for size in t.shape)
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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", EQUATIONS)
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


# --- the checks of the package itself -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS + STOPS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_step_is_checked_and_comes_out(name, form):
    if (name, form) == ("operators", "entry"):
        pytest.skip("the same as the index form, a hundred times")
    derivation = NETWORKS[name]().derivation(form, optimizer=sbp.Adam(lr=0.1), seed=3)
    assert [step.number for step in derivation.steps if step.verification is None or not step.verification.ok] == []
    assert derivation.ok
    assert "WRONG" not in derivation.text()


@settings(max_examples=15)
@given(network=networks(("n",)))
def test_random_networks_of_tensors(network):
    net = network[0]
    for form in ("mixed", "matrix"):
        derivation = net.derivation(form)
        assert [str(step.verification) for step in derivation.steps if not step.verification.ok] == []


@given(network=scalar_networks())
def test_random_networks_of_scalars(network):
    """The closed form, where there is one, against PyTorch; every step against numbers."""
    net, evaluate, weights = network
    derivation = net.derivation("closed", optimizer=sbp.SGD(lr=0.1))
    assert [str(step.verification) for step in derivation.steps if not step.verification.ok] == []
    values = weights | {name: np.float64(0.3 + 0.4 * i) for i, name in enumerate(net.data)}
    tensors = {name: torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    evaluate(tensors).backward()
    for step in derivation.steps:
        if step.rule.startswith("closed"):
            name = step.equation.lhs.adjoint_of[1].name
            expr = step.equation.rhs.expand(func=True)  # functions of this package in SymPy's own
            found = sp.lambdify(list(expr.free_symbols), expr, "mpmath")(*(float(values[s.name]) for s in expr.free_symbols))
            np.testing.assert_allclose(float(found), tensors[name].grad.item(), rtol=1e-8, atol=1e-10)


# --- and what they find ---------------------------------------------------------------------------------------------------


@pytest.fixture
def plant(monkeypatch):
    """`plant(object, name, function)`; what SymPy and the package remember is forgotten, before and after."""

    def forget():
        clear_cache()
        elementwise.partial.cache_clear()
        rules.function_rule.cache_clear()

    def put(thing, name, value):
        forget()
        monkeypatch.setattr(thing, name, value)

    yield put
    monkeypatch.undo()
    forget()


def wrong(derivation):
    assert "WRONG" in repr(derivation)
    assert "WRONG" in derivation.text()
    return {step.number: step for step in derivation.steps if not step.verification.ok}


def planted_in_products(plant, change, operand):
    """Change what a product of two hands back to one of them."""
    right = Einsum._pull_one

    def pull_one(self, k, letters, ins, *rest):
        result = right(self, k, letters, ins, *rest)
        return change(result) if (len(ins), k) == (2, operand) else result

    plant(Einsum, "_pull_one", pull_one)


@pytest.mark.parametrize("factor", [-1, 2, sp.Rational(10005, 10000)])
@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_factor_in_a_pullback_is_found(plant, form, factor):
    planted_in_products(plant, lambda result: factor * result, operand=1)
    found = wrong(NETWORKS["columns"]().derivation(form))
    titles = {step.title for step in found.values()}
    assert "The error of $h$" in titles
    assert {title for title in titles if not title.startswith("The gradient")} <= {"The error of $h$", "How $o$ changes with $h$"}
    assert all("W_{1}" in title or "W^{(1)}" in title for title in titles if title.startswith("The gradient"))


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_transpose_is_found(plant, form):
    planted_in_products(plant, sbp.transpose, operand=0)
    found = wrong(NETWORKS["columns"]().derivation(form))
    names = {name[-1] for step in found.values() for name in re.findall(r"W(?:_\{|\^\{\()[12]", step.title)}
    assert names == {"1", "2"}
    assert all("W" in step.title for step in found.values())


@pytest.mark.parametrize("slope", [lambda z: 1 - sp.tanh(z), lambda z: (1 - sp.tanh(z) ** 2) * sp.Rational(9995, 10000)])
@pytest.mark.parametrize(("name", "nodes"), [("tanh", {"z_{2}", "a_{1}", "z_{1}"}), ("layers", {"Z_{2}", "A_{1}", "Z_{1}"})])
def test_a_wrong_derivative_of_a_function_is_found(plant, name, nodes, slope):
    plant(sp.tanh, "fdiff", lambda self, argindex=1: slope(self.args[0]))
    found = wrong(NETWORKS[name]().derivation())
    assert sum(step.title.startswith("How") for step in found.values()) == 2  # tanh stands in two equations
    assert {step.title.split("$")[1] for step in found.values() if step.title.startswith("The error")} == nodes
    assert not any(step.title.startswith(("The node", "The output", "The loss")) for step in found.values())


@pytest.mark.parametrize("operator", [Softmax, LogSumExp])
def test_a_wrong_pullback_of_an_operator_is_found(plant, operator):
    right = operator.pullback
    plant(operator, "pullback", lambda self, adjoint: [2 * term for term in right(self, adjoint)])
    name = {Softmax: "attention", LogSumExp: "classifier"}[operator]
    assert len(wrong(NETWORKS[name]().derivation("matrix"))) >= 3


def test_a_simplification_that_loses_a_factor_is_found(plant):
    right = forms.simplified
    plant(forms, "simplified", lambda expr: sp.Mul(*right(expr).args[1:]))
    found = wrong(NETWORKS["tanh"]().derivation())
    assert {step.title for step in found.values()} == {"The gradient of $w_{1}$", "The gradient of $w_{2}$", "The gradient of $b$"}
    assert len(found) == 6  # the local and the closed form of each


def test_a_path_that_is_forgotten_is_found(plant):
    chain, users = forms.Forms.chain, Context.users
    plant(forms.Forms, "chain", lambda self, x: sp.Add(*sp.Add.make_args(chain(self, x))[1:]))
    found = wrong(NETWORKS["two paths"]().derivation("index"))
    assert {step.title for step in found.values()} == {"The gradient of $w$", "The gradient of $v$"}
    assert {step.rule.partition(":")[0] for step in found.values()} == {"chain rule", "every factor evaluated"}
    plant(forms.Forms, "chain", chain)
    plant(Context, "users", lambda self, x: users(self, x)[:1])
    found = wrong(NETWORKS["tied"]().derivation("matrix"))
    assert [(step.title, step.rule.partition(":")[0]) for step in found.values()] == [("The gradient of $W$", "chain rule")]


def test_an_update_that_is_not_the_rule_is_found(plant):
    plant(update, "Trainer", lambda system, optimizer, weights: Trainer(system, sbp.SGD(lr=0.10005), weights))
    found = wrong(NETWORKS["layers"]().derivation(optimizer=sbp.SGD(lr=0.1)))
    assert {step.title for step in found.values()} == {f"The update of ${w}$" for w in ("W_{1}", "b_{1}", "W_{2}", "b_{2}")}


# --- the order of things --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS + STOPS)
def test_sections_and_steps_are_in_order(form):
    for name in ("tanh", "two paths", "layers", "tied", "attention"):
        net = NETWORKS[name]()
        derivation = net.derivation(form, optimizer=sbp.SGD(lr=0.1), verify=False)
        titles = [section.title for section in derivation.sections]
        partials = ["The derivative of each equation"] * (form != "matrix")
        gradients = [f"The gradient of ${latex_name(w)}$" for w in net.weights]
        assert titles == ["Forward pass", "Loss", *partials, "The errors, from the loss backwards", *gradients, "The update"]
        assert [step.number for step in derivation.steps] == list(range(1, len(derivation.steps) + 1))
        for step in derivation.steps:
            assert step.title
            assert step.rule
            assert isinstance(step.equation, sp.Equality)
            assert step.latex.endswith(step.right)
            assert step.verification is None
            assert all(used < step.number for used in step.uses), str(step)
        assert derivation.ok


def lines(derivation, title):
    (section,) = (s for s in derivation.sections if s.title == title)
    return [(step.latex, step.rule.partition(":")[0]) for step in section]


def test_the_notebook():
    """Its own chain, and its own evaluation of it."""
    derivation = NETWORKS["tanh"]().derivation(optimizer=sbp.SGD(lr=0.01))
    found = lines(derivation, "The gradient of $w_{1}$")
    names = ["C", "y", "z_{2}", "a_{1}", "z_{1}", "w_{1}"]
    chain = " ".join(rf"\frac{{\partial {a}}}{{\partial {b}}}" for a, b in itertools.pairwise(names))
    assert found[0] == (rf"\frac{{\partial C}}{{\partial w_{{1}}}} = {chain}", "chain rule")
    assert found[1] == (r"= (y - t) \cdot (1 - y^{2}) \cdot w_{2} \cdot (1 - a_{1}^{2}) \cdot x", "every factor evaluated")
    assert found[3][0] == r"= x (1 - a_{1}^{2}) w_{2} (y - t) (1 - y^{2})"
    assert found[4][1] == "closed"
    assert r"\tanh(w_{2} \tanh(w_{1} x) + b) - t" in found[4][0]
    errors = [step.title for step in derivation.steps if step.title.startswith("The error")]
    assert list(dict.fromkeys(errors)) == [f"The error of ${x}$" for x in ("y", "z_{2}", "a_{1}", "z_{1}")]
    assert lines(derivation, "The update")[0][0] == r"w_{1} \leftarrow w_{1} - 0.01 \frac{\partial C}{\partial w_{1}}"
    rule = next(step.rule for step in derivation.steps if step.left == r"\frac{\partial y}{\partial z_{2}}")
    assert rule == r"derivative of tanh, $\tanh'(u) = 1 - \tanh^{2}(u)$"


def test_how_far_a_gradient_is_taken():
    rules_of = {stop: [rule for _, rule in lines(NETWORKS["tanh"]().derivation(stop), "The gradient of $w_{1}$")] for stop in STOPS}
    assert rules_of["chain"] == ["chain rule"]
    assert rules_of["local"][:2] == ["chain rule", "every factor evaluated"]
    assert "closed" not in rules_of["local"]
    assert rules_of["closed"] == [*rules_of["local"], "closed"]


@pytest.mark.parametrize("chosen", [["W_2"], "W_2", "tensor"])
def test_some_weights(chosen):
    net = NETWORKS["layers"]()
    derivation = net.derivation(weights=[net.weights["W_2"]] if chosen == "tensor" else chosen)
    assert [s.title for s in derivation.sections][-2:] == ["The errors, from the loss backwards", "The gradient of $W_{2}$"]
    assert not any("Z_{1}" in step.title for step in derivation.steps if step.title.startswith("The error"))  # behind W_2
    assert derivation.ok


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"form": "pretty"}, ["'pretty'", "mixed", "matrix", "index"]),
        ({"weights": ["V"]}, ["'V'", "'W_1'"]),
        ({"optimizer": 0.1}, ["0.1", "SGD(lr=0.01)"]),
    ],
)
def test_what_is_refused(arguments, words):
    with pytest.raises(sbp.SymbackpropError) as error:
        NETWORKS["layers"]().derivation(**arguments)
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words)


# --- networks of every size and kind --------------------------------------------------------------------------------------


def in_time(net, form="mixed", seconds=20.0, **options):
    """Generous: about four times what it takes on a small machine."""
    start = time.perf_counter()
    derivation = net.derivation(form, **options)
    assert time.perf_counter() - start < seconds
    assert derivation.ok
    return derivation


def test_deep_and_wide_networks():
    assert len(in_time(sbp.mlp([4] * 13, loss="mse")).steps) > 100
    digits = in_time(sbp.mlp([784, 128, 10], activation="relu", loss="cross_entropy"), "mixed")
    assert any(step.right.endswith(r"X^{\top} \Delta_{1}") for step in digits.steps)
    with pytest.raises(sbp.UnsupportedError, match=r"100352 entries.*form='index'"):
        sbp.mlp([784, 128, 10], loss="mse").derivation("entry")


def test_a_long_chain_of_scalars():
    x, t = sbp.data("x t")
    h = x
    for k in range(1, 31):
        h = sbp.node(f"h_{k}", sp.tanh(sbp.weight(f"w_{k}") * h))
    derivation = in_time(sbp.Network(sbp.node("C", (h - t) ** 2 / 2)), weights=["w_1", "w_30"])
    assert sum(step.title.startswith("The error") for step in derivation.steps) >= 30


class swish(sp.Function):  # noqa: N801
    """A user's own activation."""

    is_real = True

    def fdiff(self, argindex=1):
        (z,) = self.args
        return sbp.sigmoid(z) + z * sbp.sigmoid(z) * (1 - sbp.sigmoid(z))

    def _eval_expand_func(self, **hints):
        (z,) = self.args
        return z * sbp.sigmoid(z)


def kinds():
    """Networks that are special in one way each."""
    w, v = sbp.weight("w", 4), sbp.weight("v", 2)
    x, t = sbp.data("x t")
    X = sbp.data("X", ("n", 3))
    a, b, unused = sbp.weight("alpha beta_hid unused")
    h = sbp.node("h", sbp.concatenate([v * v, w[0:2]]))
    yield "slices", sbp.Network(sbp.node("C", sbp.mean(h**2) + sbp.sum(sp.tanh(w[:3]))))
    M = sbp.weight("M", (3, 2))
    yield "the same twice", sbp.Network(sbp.node("C", sbp.mean(sbp.node("h", sbp.concatenate([a * (X @ M), a * (X @ M)], axis=1)) ** 2)))
    one = sbp.node("h", sbp.log_softmax(X @ sbp.weight("u", (3, 1))))
    yield "nothing is left", sbp.Network(sbp.node("C", sbp.sum(one * sbp.weight("s", 1))))
    labels, E = sbp.data("k", ("n",)), sbp.weight("E", (5, 3))
    Z = sbp.node("Z", (X + sbp.take(E, labels, axis=0)) @ sbp.weight("W", (3, 4)))
    yield "integer labels", sbp.Network(sbp.node("C", sbp.cross_entropy(Z, labels)))
    y = sbp.node("yhat", sp.Piecewise((a * x, a * x > b), (sp.Max(b, x), True)))
    yield "piecewise", sbp.Network(sbp.node("loss", sp.Abs(y - t)))
    yield "own function", sbp.Network(sbp.node("C", (sbp.node("y", swish(a * x + b)) - t) ** 2))
    yield "one unit", sbp.mlp([3, 2, 1], activation="sigmoid", loss="binary_cross_entropy")
    p = sbp.data("P", ("n", "m", 2))
    yield "two open sizes", sbp.Network(sbp.node("C", sbp.mean(sp.sin(p @ sbp.weight("r", 2)))))
    yield "data alone", sbp.Network(sbp.node("C", (sbp.node("y", a * sbp.node("u", x**2)) - t) ** 2))
    yield "no weights", sbp.Network(sbp.node("C", (x - t) ** 2))
    yield "no path", sbp.Network(sbp.node("C", (a * x - t) ** 2), output=sbp.node("o", unused * x))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("name", "net"), list(kinds()))
def test_every_kind_of_network(name, net, form):
    derivation = net.derivation(form, optimizer=sbp.SGD(lr=0.1) if net.weights else None)
    assert [str(step) for step in derivation.steps if not (step.verification is None or step.verification.ok)] == []
    assert len(derivation.steps) >= len(net.equations)
    assert sum(section.title.startswith("The gradient of") for section in derivation.sections) == len(net.weights)
