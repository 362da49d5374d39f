"""The generated NumPy module, as whoever receives it meets it: in an environment that has NumPy and nothing else."""

import ast
import importlib.util
import json
import math
import os
import subprocess
import sys
import types
import venv
from pathlib import Path

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.helpers import HELPERS, helper_source
from symbackprop.codegen.layout import fold
from symbackprop.errors import NetworkError

# The fixed interface.
OFFERED = "WEIGHTS initialize predict loss loss_and_gradients initialize_state update check_gradients".split()

# --- networks of every kind ----------------------------------------------------------------------------------------------


def tanh_notebook():
    x, t = sbp.data("x t")
    w_1, w_2, b = sbp.weight("w_1 w_2 b", init=1)
    y = sbp.node("y", sp.tanh(w_2 * sp.tanh(w_1 * x) + b))
    return sbp.Network(sbp.node("C", (y - t) ** 2 / 2), output=y)


def without_data():
    x = sbp.weight("x", init=1)
    return sbp.Network(sbp.node("C", 750 / x + 10 * x))


def labels():
    X, T = sbp.data("X", ("n", 6)), sbp.data("T", ("n",))
    z = sbp.dense(sbp.dense(X, 5, "relu"), 4)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(z, T)), output=sbp.node("Y", sbp.softmax(z)))


def piecewise():
    x, t = sbp.data("x t", ("n",))
    a, b = sbp.weight("a b", init=0.7)
    z = sbp.node("z", a * x + b)
    y = sbp.node("y", sp.Piecewise((z, z > sp.Rational(1, 2)), (sp.erf(z), z > 0), (sp.Float(0.1) * z, True)))
    u = sbp.node("u", sp.Piecewise((1, y > 0.2), (sp.Rational(1, 2), True)) * y + sp.erfc(y))
    return sbp.Network(sbp.node("C", sbp.mse(u, t)), output=u)


def embedding():
    L, T = sbp.data("L", ("n", 2)), sbp.data("T", ("n",))
    E, V, S = sbp.weight("E", (5, 3)), sbp.weight("V", (6, 4)), sbp.weight("S", (3,))
    e = sbp.node("e", sbp.take(E, L))
    h = sbp.node("h", sbp.concatenate([e[:, 0], e[:, 1] * S], axis=1))
    z = sbp.node("z", sp.tanh(h) @ V)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(z, T)), output=sbp.node("P", sbp.softmax(z)))


def attention():
    A, B = sbp.data("A", ("n", "k", 3)), sbp.data("B", ("m", 3))
    W = sbp.weight("W", (3, 3))
    scores = sbp.node("S", sbp.einsum("nkd,de,me->nkm", A, W, B) / sp.sqrt(3))
    out = sbp.node("O", sbp.einsum("nkm,md->nkd", sbp.softmax(scores), B))
    return sbp.Network(sbp.node("C", sbp.mean((out - A) ** 2)), output=out)


def fixed_batch():
    X, T = sbp.data("X", (7, 2)), sbp.data("T", (7, 1))
    y = sbp.dense(X, 1, "sigmoid")
    return sbp.Network(sbp.node("C", sbp.binary_cross_entropy(y, T)), output=y)


def one_sample_of_vectors():
    x, t = sbp.data("x", (3,)), sbp.data("t", (2,))
    y = sbp.node("y", sbp.gelu(x @ sbp.weight("W", (3, 2)) + sbp.weight("b", (2,))))
    return sbp.Network(sbp.node("C", sbp.half_squared_error(y, t)), output=y)


def mlp():
    return sbp.mlp([4, 16, 16, 1])


def no_output():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 3))
    return sbp.Network(sbp.node("C", sbp.mse(sbp.softplus(X @ sbp.weight("W", (3, 3), init="he_normal")), T)))


def unused_weight_and_scalar_functions():
    x, t = sbp.data("x t")
    (a, b, d), c = sbp.weight("a b d", init=0.4), sbp.weight("c", init=0.6)
    y = sp.atan(a * x) + sp.log(1 + sp.exp(b * x)) + sp.Max(a, b * x, c) * sp.Abs(c) + sp.sinh(a) / sp.cosh(b) + sp.sqrt(x + a)
    y += sp.sec(b) + x**a + sp.asinh(c) + sbp.elu(a - x) + sp.Heaviside(a - x) * a + sp.log(2) * sp.exp(sp.Rational(1, 3)) * c
    y = sbp.node("y", y + 0 * d)
    return sbp.Network(sbp.node("C", (y - t) ** 4 + sbp.log1p(a**2) + sbp.expm1(b)), output=y)


def windows():
    X, T = sbp.data("X", ("n", 6)), sbp.data("T", ("n", 2))
    w = sbp.weight("w", (3,))
    z = sbp.node("z", X[:, 1:-1] * X[:, ::2][:, :1] * w[1])
    y = sbp.node("y", sbp.max(sbp.reshape(z, (-1, 2, 2)), axis=2) + sbp.sum(w))
    return sbp.Network(sbp.node("C", sbp.mse(y, T) + sbp.logsumexp(w)), output=y)


NETWORKS = [
    tanh_notebook, without_data, labels, piecewise, embedding, attention, fixed_batch, one_sample_of_vectors, mlp, no_output,
    unused_weight_and_scalar_functions, windows,
]  # fmt: skip
OPTIMIZERS = [
    sbp.SGD(lr=0.01),
    sbp.SGD(lr=0.01, momentum=0.9, dampening=0.1, weight_decay=0.1),
    sbp.AdamW(amsgrad=True),
    sbp.RMSprop(lr=0.01 * (1 + sp.cos(sp.Symbol("t"))), centered=True, momentum=0.9),
    sbp.Adagrad(initial_accumulator_value=0.1, lr_decay=0.01),
    sbp.SGD(lr=sp.Piecewise((0.01, sp.Symbol("t") < 3), (0.001, True)), momentum=0.9, nesterov=True),
]
CASES = [(i, dtype) for i in range(len(NETWORKS)) for dtype in ("float64", "float32")]


def title(case):
    return f"{NETWORKS[case[0]].__name__}_{case[1]}"


def source_of(case):
    i, dtype = case
    with np.errstate(all="raise"):
        return NETWORKS[i]().generate("numpy", optimizer=OPTIMIZERS[i % len(OPTIMIZERS)], dtype=dtype)


@pytest.fixture(scope="session")
def sources(tmp_path_factory):
    """Case → file of its module."""
    folder = tmp_path_factory.mktemp("generated")
    files = {}
    for case in CASES:
        files[case] = folder / f"{title(case)}.py"
        files[case].write_text(source_of(case), encoding="utf-8")
    return files


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory):
    """The Python of an environment that has NumPy and nothing else: NumPy's own folders are linked into it, so no network is needed."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    where = subprocess.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True)
    packages = Path(np.__file__).parent.parent
    for part in packages.glob("numpy*"):
        if part.is_dir():
            (Path(where.stdout.strip()) / part.name).symlink_to(part)
    seen = subprocess.run([python, "-I", "-c", "import numpy; print(numpy.__version__)"], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == np.__version__
    for absent in ("sympy", "symbackprop", "scipy", "torch", "pip"):
        assert subprocess.run([python, "-I", "-c", f"import {absent}"], capture_output=True, check=False).returncode, absent
    return python


def run(python, *arguments):
    return subprocess.run([python, "-I", "-W", "error", *map(str, arguments)], capture_output=True, text=True, check=False)


# --- it runs alone -------------------------------------------------------------------------------------------------------

# Runs in the bare environment: every batch size, shapes, types, and the first update against the gradient.
DRIVER = '''
import importlib.util, json, sys
import numpy as np

def load(path):
    spec = importlib.util.spec_from_file_location("generated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

widened = set()

def watch(frame, event, argument):
    """Note every local variable of the module, as each of its functions returns, that is wider than its DTYPE."""
    if event == "return" and frame.f_globals.get("__name__") == "generated" and frame.f_code.co_name not in IGNORED:
        values = [*frame.f_locals.values(), argument]
        values += [v for value in values if isinstance(value, dict) for v in value.values()]
        for v in values:
            if isinstance(v, (np.ndarray, np.generic)) and v.dtype.kind == "f" and v.dtype != frame.f_globals["DTYPE"]:
                widened.add(f"{frame.f_code.co_name}: {v.dtype}")

IGNORED = {"check_gradients", "initialize"}
result = {}
for path in sys.argv[1:]:
    m = load(path)
    found = result[path] = {"names": [n for n in dir(m) if n in OFFERED], "losses": {}, "worst": m.check_gradients()}
    assert m.DTYPE in (np.float32, np.float64)
    same = lambda a, b: abs(a - b) <= 16 * np.finfo(m.DTYPE).eps * abs(a)  # the last digits depend on what is shared
    widened.clear()
    sys.setprofile(watch)
    for n in (1, 2, 7):
        rng = np.random.default_rng(n)
        sizes = {"n": n, "k": 2 + n % 3, "m": 4}
        labels = getattr(m, "LABELS", {})
        data = {}
        for name, shape in m.DATA.items():
            shape = [sizes.get(s, s) for s in shape]
            data[name] = rng.integers(0, labels[name], shape) if name in labels else rng.uniform(0.1, 0.9, shape).astype(m.DTYPE)
        weights = m.initialize(seed=n)
        state = m.initialize_state(weights)
        assert list(weights) == list(m.WEIGHTS)
        for name, shape in m.WEIGHTS.items():
            assert np.shape(weights[name]) == shape and weights[name].dtype == m.DTYPE, name
        before = m.loss(weights, **data)
        value, gradients = m.loss_and_gradients(weights, **data)
        assert same(value, before) and isinstance(value, float)
        for name, g in gradients.items():
            assert np.shape(g) == m.WEIGHTS[name] and g.dtype == m.DTYPE, name
        places = dict(weights)
        losses = [m.update(weights, state, **data) for _ in range(5)]
        assert losses[0] == value and state["t"] == 5
        assert all(weights[k] is places[k] and weights[k].dtype == m.DTYPE for k in weights)
        assert all(s.dtype == m.DTYPE for k, v in state.items() if k != "t" for s in v.values())
        assert same(m.loss(weights, **data), m.update(weights, state, **data))
        try:
            y = m.predict(weights, **data)
            assert y.dtype == m.DTYPE
            found["predicts"] = np.shape(y)
        except ValueError as error:
            assert "names no output" in str(error)
        found["losses"][n] = losses
    sys.setprofile(None)
    found["widened"] = sorted(widened)
print(json.dumps(result))
'''


@pytest.fixture(scope="session")
def driven(bare_python, sources, tmp_path_factory):
    """What the driver found, by case."""
    driver = tmp_path_factory.mktemp("driver") / "driver.py"
    driver.write_text(DRIVER.replace("OFFERED", repr(OFFERED)), encoding="utf-8")
    done = run(bare_python, driver, *sources.values())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {case: found[str(path)] for case, path in sources.items()}


@pytest.mark.parametrize("case", CASES, ids=title)
def test_as_a_script_it_checks_itself(case, sources, bare_python):
    done = run(bare_python, sources[case])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest relative error of the gradients" in done.stdout


@pytest.mark.parametrize("case", CASES, ids=title)
def test_it_offers_its_interface_for_every_batch_size(case, driven):
    found = driven[case]
    assert set(found["names"]) == set(OFFERED)
    assert found["worst"] < 1e-6
    assert all(math.isfinite(x) for losses in found["losses"].values() for x in losses)


@pytest.mark.parametrize("case", CASES, ids=title)
def test_nothing_is_wider_than_its_dtype(case, driven):
    assert driven[case]["widened"] == []


@pytest.mark.parametrize("i", range(len(NETWORKS)), ids=[n.__name__ for n in NETWORKS])
def test_float32_computes_the_same_as_float64(i, driven):
    for n, losses in driven[i, "float64"]["losses"].items():
        np.testing.assert_allclose(driven[i, "float32"]["losses"][n], losses, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("i", [0, 1, 2, 4, 5, 9], ids=lambda i: NETWORKS[i].__name__)
def test_a_planted_error_of_a_two_thousandth_makes_it_fail(i, sources, bare_python, tmp_path):
    source = sources[i, "float64"].read_text(encoding="utf-8")
    tree = ast.parse(source)
    function = next(f for f in tree.body if isinstance(f, ast.FunctionDef) and f.name == "loss_and_gradients")
    derivatives = [s for s in function.body if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]).startswith("dC_d")]
    assert derivatives
    for wrong in {0, len(derivatives) - 1}:
        statement = derivatives[wrong]
        lines = source.split("\n")
        text = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
        name, value = text.split(" = ", 1)
        mutant = tmp_path / f"mutant_{wrong}.py"
        planted = [*lines[: statement.lineno - 1], f"{name} = 1.0005 * ({value})", *lines[statement.end_lineno :]]
        mutant.write_text("\n".join(planted), encoding="utf-8")
        done = run(bare_python, mutant)
        assert done.returncode == 1, f"the error planted in {name.strip()} was not noticed: {done.stdout}{done.stderr}"
        assert "largest relative error" in done.stdout


def test_a_gradient_that_is_not_a_number_makes_it_fail(sources, bare_python, tmp_path):
    source = sources[0, "float64"].read_text(encoding="utf-8")
    mutant = tmp_path / "nan.py"
    mutant.write_text(source.replace('"w_1": dC_dw_1', '"w_1": dC_dw_1 * np.nan'), encoding="utf-8")
    assert run(bare_python, mutant).returncode == 1


def test_it_says_what_is_wrong_with_the_data(sources):
    m = imported(sources[2, "float64"])  # labels
    weights = m.initialize()
    good = {"X": np.ones((3, 6)), "T": np.array([0, 1, 3])}
    m.loss(weights, **good)
    for bad in ({"X": np.ones((3, 5))}, {"X": np.ones(6)}, {"X": np.ones((4, 6))}, {"X": np.ones((0, 6)), "T": np.zeros(0, int)},
                {"T": np.array([0, 1, 4])}, {"T": np.array([0, 1, -1])}, {"T": np.array([0.0, 1.0, 2.0])}):  # fmt: skip
        with pytest.raises(ValueError, match=r"X|T"):
            m.loss(weights, **{**good, **bad})
    with pytest.raises(TypeError):
        m.loss(weights, X=good["X"])


def test_a_loss_that_is_not_finite_updates_nothing(sources):
    m = imported(sources[0, "float64"])
    weights = m.initialize()
    state = m.initialize_state(weights)
    with pytest.raises(FloatingPointError, match="not finite"):
        m.update(weights, state, x=[1.0], t=[float("nan")])
    assert state["t"] == 0
    assert all(w == 1 for w in weights.values())


def test_one_sample_is_predicted_as_one(sources):
    m = imported(sources[0, "float64"])
    w = m.initialize()
    one = m.predict(w, x=0.3)
    assert np.shape(one) == ()
    assert one == m.predict(w, x=[0.3, 0.4])[0] == np.tanh(np.tanh(0.3) + 1)
    m = imported(sources[7, "float64"])
    w = m.initialize()
    rows = m.predict(w, x=[[0.1, 0.2, 0.3]])
    assert rows.shape == (1, 2)
    np.testing.assert_array_equal(m.predict(w, x=[0.1, 0.2, 0.3]), rows[0])


def test_updates_take_plain_floats_for_scalars(sources):
    m = imported(sources[0, "float64"])
    weights = {"w_1": 1.0, "w_2": 1.0, "b": 1.0}
    state = m.initialize_state(weights)
    m.update(weights, state, x=[0.5], t=[0.2])
    arrays = m.initialize()
    m.update(arrays, m.initialize_state(arrays), x=[0.5], t=[0.2])
    assert weights == {name: float(value) for name, value in arrays.items()} != {"w_1": 1.0, "w_2": 1.0, "b": 1.0}


# --- it reads as if written by hand --------------------------------------------------------------------------------------


def imported(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("case", CASES, ids=title)
def test_it_imports_numpy_and_nothing_else(case, sources):
    tree = ast.parse(sources[case].read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imports] == ["import numpy as np"]
    assert not {"__import__", "eval", "exec", "globals"} & {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def test_its_lines_are_short_and_a_linter_finds_nothing(sources):
    for path in sources.values():
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            assert len(line) <= 120, f"{path.name}:{number}: {line}"
            assert line == line.rstrip(), f"{path.name}:{number}: space at the end"
            assert "\t" not in line
    folder = next(iter(sources.values())).parent
    ruff = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--output-format=concise"]
    done = subprocess.run([*ruff, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_its_docstring_holds_the_network_and_its_derivatives(sources):
    text = ast.get_docstring(ast.parse(sources[0, "float64"].read_text(encoding="utf-8")))
    for line in ("y = tanh(w_2 * tanh(w_1 * x) + b)", "C = (y - t) ** 2 / 2", "dC/dy = y - t", "dC/dw_1 = "):
        assert f"    {line}" in text


def test_its_text_does_not_depend_on_the_seed_of_hashing(sources, tmp_path):
    """Sets are ordered by hashes that change from process to process; the code, and so a resumed run's last bit, may not."""
    script = tmp_path / "generate.py"
    script.write_text(
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('tests_of_generated', {__file__!r})\n"
        "tests = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(tests)\n"
        "for case in tests.CASES:\n"
        "    print(tests.source_of(case))\n",
        encoding="utf-8",
    )
    expected = "".join(path.read_text(encoding="utf-8") + "\n" for path in sources.values())
    for seed in ("1", "2"):
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True)
        assert done.stdout == expected


# Names that the generated code also has a use for.
NAMES = (
    "value name sizes rng t w g m s n n_ loss predict update initialize DATA LABELS WEIGHTS gradients_ dC_dy dC_dx samples values losses run "
    "step build buffer_1 single s_1 arrays shape found expected kept index data check_gradients initialize_state seed sigmoid_y C_each"
).split()


@pytest.mark.parametrize("role", ["data", "weight", "node"])
def test_no_name_of_the_network_clashes(role, close):
    given = {"x": np.array([0.3, 0.4]), "target": np.array([0.1, 0.9])}
    reference = named_network("x", "k", "h")
    expected = reference.value_and_gradients({"k": 0.5}, **given)[1]["k"]
    optimizers = (sbp.Adam(amsgrad=True), sbp.RMSprop(momentum=0.9, centered=True))
    for i, name in enumerate(NAMES):
        x, k, h = name if role == "data" else "x", name if role == "weight" else "k", name if role == "node" else "h"
        net = named_network(x, k, h)
        fed = {x: given["x"], "target": given["target"]}
        optimizer = optimizers[i % 2]
        module = types.ModuleType("generated")
        exec(net.generate("numpy", optimizer=optimizer), vars(module))
        assert module.check_gradients() < 1e-6, name
        weights = module.initialize()
        close(module.loss_and_gradients(weights, **fed)[1][k], expected, 1e-12, name)
        state = module.initialize_state(weights)
        trainer = net.trainer(optimizer)
        losses = [module.update(weights, state, **fed) for _ in range(3)]
        close([trainer.step(**fed) for _ in range(3)], losses, 1e-12, name)
        one_by_one = net.trainer(optimizer)
        one_by_one.fit(fed, 2, batch_size=1)  # on plain floats
        assert one_by_one.steps == 4
        assert module.predict(weights, **{x: given["x"]}).shape == (2,)


def named_network(x, k, h):
    data, target, weight = sbp.data(x), sbp.data("target"), sbp.weight(k, init=0.5)
    y = sbp.node("y", sp.tanh(weight * data) + weight**2)
    h = sbp.node(h, sbp.sigmoid(y) * y)
    return sbp.Network(sbp.node("C", (h - target) ** 2), output=h)


@pytest.mark.parametrize("name", ["np", "weights", "state", "gradients", "loss_and_gradients", "DTYPE", "float", "max", "abs", "_relu", "lambda"])
def test_names_that_would_clash_are_refused(name):
    for make in (sbp.data, sbp.weight, lambda name: sbp.node(name, sbp.data("x") * 2)):
        with pytest.raises(NetworkError, match=f"name '{name}'"):
            make(name)


# --- breaking lines ------------------------------------------------------------------------------------------------------

_NAMES = st.sampled_from(["x", "W_1", "sigmoid_of_Z_12", "np.pi", "1.5", "2"])
_EXPRESSIONS = st.recursive(
    _NAMES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "@", "**", "<", "&"]), inner).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        st.tuples(inner, st.sampled_from(["+", "-", "*"]), inner, st.sampled_from(["+", "*", "/"]), inner).map(" ".join).map("({})".format),
        st.lists(inner, min_size=1, max_size=4).map(lambda xs: f"np.where({', '.join(xs)})"),
        st.tuples(inner, inner).map(lambda p: f"f({p[0]}, axis={p[1]}).sum()"),
        inner.map(lambda x: f'g(x[{x}:, None], "a, b (")'),
    ),
    max_leaves=40,
)  # fmt: skip


@given(st.sampled_from(["y = {}", "y -= {}", "return {}", 'y["a b"] = f({}, {{"k": {}}})']), _EXPRESSIONS, st.integers(60, 120))
def test_breaking_lines_changes_no_meaning(form, expression, width):
    expression = expression[1:-1] if expression[0] == "(" and expression[-1] == ")" and expression.count("(") == 1 else expression
    source = f"def f(x):\n    if x:\n        {form.format(expression, expression)}\n"
    folded = fold(source, width)
    assert ast.dump(ast.parse(folded)) == ast.dump(ast.parse(source))
    for line in folded.split("\n"):
        assert len(line) <= width or not line.strip(" ()+-*/,:").count(" "), line


def test_breaking_lines_reads_well():
    long = " + ".join(f"product_{i} * factor_{i}" for i in range(6))
    assert fold(f"    dC_dx = {long}", 80) == (
        "    dC_dx = (\n        product_0 * factor_0\n        + product_1 * factor_1\n        + product_2 * factor_2\n"
        "        + product_3 * factor_3\n        + product_4 * factor_4\n        + product_5 * factor_5\n    )"
    )
    assert fold("    C = np.where(condition_of_the_first, value_of_the_first, value_of_the_rest)", 70) == (
        "    C = np.where(\n        condition_of_the_first, value_of_the_first, value_of_the_rest\n    )"
    )
    assert fold("        w = np.array([1.25, -2.5e-05, 3.0, 4.0, 5.0], DTYPE)", 40) == (
        "        w = np.array(\n            [\n                1.25, -2.5e-05, 3.0,\n                4.0, 5.0,\n            ],\n            DTYPE,\n        )"
    )


# --- helper functions ----------------------------------------------------------------------------------------------------


def helper(name, scalar=False, dtype=np.float64):
    needed, wanted = set(), [name]
    while wanted:
        needed.add(wanted[-1])
        wanted += HELPERS[wanted.pop()].needs
    scope = {"np": np, "math": math, "DTYPE": dtype}
    exec("\n\n".join(helper_source(needed, scalar=scalar)), scope)
    return scope[name]


_WIDE = np.concatenate([x := np.concatenate([np.geomspace(1e-300, 1e-3, 60), np.linspace(1e-3, 7, 400), np.linspace(7, 30, 60), [50, 300, 700]]), -x, [0.0]])
PRECISE = {
    "_erf": (mpmath.erf, 3),
    "_erfc": (mpmath.erfc, 6),
    "_sigmoid": (lambda x: 1 / (1 + mpmath.exp(-x)), 3),
    "_softplus": (lambda x: mpmath.log1p(mpmath.exp(x)), 3),
}


@pytest.mark.parametrize("name", PRECISE)
def test_helpers_are_right_to_a_few_last_digits(name):
    function, allowed = PRECISE[name]
    forms = [helper(name)]
    if HELPERS[name].scalar:
        scalar = helper(name, scalar=True)
        forms.append(lambda x: np.array([scalar(float(v)) for v in x]))
    with mpmath.workdps(50), np.errstate(under="ignore"):
        exact = [function(mpmath.mpf(float(v))) for v in _WIDE]
        for form in forms:
            found = form(_WIDE)
            ulps = [abs(mpmath.mpf(float(a)) - b) / float(np.spacing(abs(float(b)))) for a, b in zip(found, exact, strict=True)]
            worst = max(range(len(ulps)), key=ulps.__getitem__)
            assert ulps[worst] <= allowed, f"{name}({_WIDE[worst]!r}) = {found[worst]!r}, wrong by {float(ulps[worst]):.1f} ulp"


@pytest.mark.parametrize("name", PRECISE)
def test_helpers_at_the_ends_of_the_line(name):
    with np.errstate(all="ignore"):
        found = helper(name)(np.array([-np.inf, np.inf, np.nan]))
    expected = {"_erf": [-1, 1], "_erfc": [2, 0], "_sigmoid": [0, 1], "_softplus": [0, np.inf]}[name]
    assert found[:2].tolist() == expected
    assert np.isnan(found[2])
    assert helper(name, dtype=np.float32)(np.float32([0.3])).dtype == np.float32
