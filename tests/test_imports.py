"""What is imported when: nothing before it is asked for, and for mathematics nothing that computes, draws or trains.

Each case runs in an interpreter of its own and tells which modules it ended with.
"""

import ast
import importlib
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import symbackprop as sbp
from symbackprop.graph.serialize import Writer

ROOT = Path(__file__).parents[1]
# Optional packages, and parts of the standard library that take as long to import as many of our own modules.
HEAVY = {"numba", "scipy", "matplotlib", "tqdm", "torch", "jax", "sklearn", "IPython", "urllib.request", "http.client"}
DESCRIBED = """
import sympy as sp, symbackprop as sbp
x, t = sbp.data("x t")
w1, w2, b = sbp.weight("w_1 w_2 b")
z1 = sbp.node("z_1", w1 * x)
a1 = sbp.node("a_1", sp.tanh(z1))
z2 = sbp.node("z_2", w2 * a1 + b)
y = sbp.node("y", sp.tanh(z2))
net = sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)
"""
PRINTED = """
for form in ("chain", "local", "closed", "matrix", "index", "equations"):
    net.latex(form)
print(net, net.gradients)
"""
READ = """
import symbackprop as sbp
net = sbp.parse('''
data X[n, 2], T[n, 1]
weight W_1[2, 2] = "he_normal", b_1[2] = 0, W_2[2, 1]
H = tanh(X @ W_1 + b_1)
loss C = mse(H @ W_2, T)
''')
net.gradients["W_1"][0, 1].closed
"""
LAYERED = "import symbackprop as sbp; net = sbp.mlp([4, 3, 2], 'relu', 'softmax', 'cross_entropy'); net.latex('index')"
USED = "net.trainer(sbp.SGD(lr=0.01), backend='numpy').step(x=1.0, t=0.5); net.derivation().html(); net.diagram().svg()"


def fresh(code):
    """What a new interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout


def loaded(code):
    """The modules that a new interpreter holds after running the code."""
    return set(fresh(f"{code}\nimport sys; print('\\n', *sys.modules)").splitlines()[-1].split())


def parts(modules):
    """What directly below the package was imported: its folders and files."""
    return {name.split(".")[1] for name in modules if name.startswith("symbackprop.")}


# --- what is loaded ------------------------------------------------------------------------------------------------------


def test_the_package_itself_loads_nothing():
    modules = loaded("import symbackprop")
    assert "symbackprop" in modules
    assert not parts(modules)
    assert not {"sympy", "numpy"} & modules


@pytest.mark.parametrize(
    "code", [DESCRIBED + "net.gradients['w_1'].local", DESCRIBED + PRINTED, READ, LAYERED], ids=["described", "printed", "read", "layered"]
)
def test_mathematics_needs_no_numbers(code):
    modules = loaded(code)
    assert "sympy" in modules
    assert not ({"numpy"} | HEAVY) & modules
    assert {"graph", "calculus", "network", "gradients"} <= parts(modules)
    assert not {"audit", "check", "cli", "codegen", "derivation", "display", "training"} & parts(modules)


@pytest.mark.parametrize("code", ["from symbackprop import *", DESCRIBED + USED], ids=["every name", "trained and drawn"])
def test_all_of_it_needs_sympy_and_numpy_and_nothing_else_that_is_large(code):
    modules = loaded(code)
    assert {"sympy", "numpy"} <= modules
    assert {"derivation", "display", "training"} <= parts(modules)
    assert not HEAVY & modules


# --- what is found -------------------------------------------------------------------------------------------------------


def test_the_stub_exports_what_it_imports():
    (exported,) = (s.value for s in ast.parse((ROOT / "symbackprop/__init__.pyi").read_text()).body if isinstance(s, ast.Assign))
    assert sorted(name.value for name in exported.elts) == sorted(sbp.__all__)


def test_every_public_name_is_listed_before_it_is_used():
    assert set(sbp.__all__) <= set(fresh("import symbackprop; print(*dir(symbackprop))").split())


def test_a_star_brings_every_public_name():
    code = "from symbackprop import *; import symbackprop; print(all(name in globals() for name in symbackprop.__all__), sum.__name__)"
    assert fresh(code).split() == ["True", "reduce_sum"]


def test_names_that_python_has_too_are_this_packages():
    code = "import symbackprop as sbp; f = sbp.sum; from symbackprop import max, min; print(*(g.__module__ for g in (f, sbp.sum, max, min)))"
    products, reduction = "symbackprop.graph.operators.products", "symbackprop.graph.operators.reduction"
    assert fresh(code).split() == [products, products, reduction, reduction]


def test_an_unknown_name_is_refused_in_pythons_words():
    with pytest.raises(AttributeError, match=r"^module 'symbackprop' has no attribute 'nonsense'$") as caught:
        sbp.nonsense  # noqa: B018
    assert caught.value.name == "nonsense"
    assert caught.value.obj is sbp
    with pytest.raises(ImportError, match="cannot import name 'nonsense' from 'symbackprop'"):
        from symbackprop import nonsense  # noqa: F401


def test_no_module_takes_a_public_name():
    modules = [module.name for module in pkgutil.walk_packages(sbp.__path__, "symbackprop.") if module.name != "symbackprop.__main__"]
    below = {name.split(".")[1] for name in modules}
    assert {"check", "gradients", "graph"} <= below
    assert not below & set(sbp.__all__)
    for name in modules:
        importlib.import_module(name)
    assert sbp.step(1) == 1
    assert callable(sbp.check_gradients)
    assert "numpy" in sbp.targets


# --- what has to be there though nobody asked for it ----------------------------------------------------------------------


def test_python_syntax_works_on_tensors_at_once():
    code = "import symbackprop as sbp; X, W = sbp.data('X', ('n', 2)), sbp.weight('W', (2, 3)); print(X @ W, X[0], W.T, sep='; ')"
    X, W = sbp.data("X", ("n", 2)), sbp.weight("W", (2, 3))
    assert fresh(code).strip() == f"{X @ W}; {X[0]}; {W.T}"


def test_a_pickle_is_read_where_nothing_is_imported_yet():
    X, W = sbp.data("X", ("n", 2)), sbp.weight("W", (2, 3))
    product = sbp.node("Z", sbp.relu(X @ W))
    code = f"import pickle; Z, f = pickle.loads({pickle.dumps((product, sbp.sum))!r}); print(Z.definition, Z.shape, f.__name__, sep='; ')"
    assert fresh(code).strip() == f"{product.definition}; {product.shape}; reduce_sum"


def test_a_stored_network_may_hold_every_operator():
    X, k = sbp.data("X", ("n", 4)), sbp.data("k", (3,))
    expressions = [sbp.take(X, k, axis=1), sbp.one_hot(k, 4), sbp.concatenate([X, X]), sbp.max(X, axis=0), sbp.softmax(X), sbp.logsumexp(X), X @ X.T]
    writer = Writer()
    places = [writer.place(e) for e in expressions]
    code = f"from symbackprop.graph.serialize import read; made = read({writer.nodes}, {{}}); print(*(made[i] for i in {places}), sep='; ')"
    assert fresh(code).strip() == "; ".join(map(str, expressions))
