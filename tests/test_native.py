"""Compiled training: its functions against mpmath, its products against NumPy, its runs against the NumPy path, and what it promises
besides: no allocation in a step, a cache on disk, Ctrl-C, divergence, and which backend is taken when."""

import math
import os
import pickle
import re
import signal
import subprocess
import sys
import time

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.codegen.kept import mended
from symbackprop.codegen.lifetimes import aligned, places
from symbackprop.codegen.load import load_cached
from symbackprop.errors import NetworkError, TrainingDivergedError, UnsupportedError
from symbackprop.training import native, steps, trainer

kernels = pytest.importorskip("symbackprop.codegen.kernels")
t = sp.Symbol("t")


def numbers(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def classes(count, samples, seed=0):
    return np.eye(count)[np.random.default_rng(seed).integers(0, count, samples)]


# --- kernels -------------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    "exp": mpmath.exp,
    "tanh": mpmath.tanh,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
}
POINTS = np.concatenate([numbers(200, seed=i) * scale for i, scale in enumerate([1e-12, 1e-3, 0.3, 1, 10, 300])])
EDGES = np.array([0.0, -0.0, 1e-310, -1e-300, 36.8, -36.8, 709.7, -708.3, -744.0])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_in_units_of_the_last_place(name):
    function = getattr(kernels, name)
    with mpmath.workdps(50):
        for x in [*POINTS, *EDGES]:
            exact = FUNCTIONS[name](mpmath.mpf(float(x)))
            found = function(float(x))
            if exact > sys.float_info.max:
                assert found == math.inf
            else:
                assert abs(mpmath.mpf(found) - exact) <= 3 * mpmath.mpf(math.ulp(float(exact))), (x, found, exact)


@pytest.mark.parametrize(
    ("name", "low", "high"), [("exp", 0, math.inf), ("tanh", -1, 1), ("sigmoid", 0, 1), ("softplus", 0, math.inf), ("relu", 0, math.inf)]
)
def test_functions_at_the_ends(name, low, high):
    function = getattr(kernels, name)
    assert (function(-math.inf), function(math.inf)) == (low, high)
    assert math.isnan(function(math.nan))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (20, 30, 40)])
def test_products(dtype, shape):
    m, n, k = shape
    for ta in (False, True):
        for tb in (False, True):
            for alpha, beta in ((1, 0), (-0.5, 1), (2, 0.25)):
                a, b, old = (numbers(s, seed).astype(dtype) for seed, s in enumerate([(k, m) if ta else (m, k), (n, k) if tb else (k, n), (m, n)]))
                expected = alpha * (a.T if ta else a).astype(float) @ (b.T if tb else b).astype(float) + beta * old
                out = np.full_like(old, np.nan) if beta == 0 else old.copy()
                kernels.product(out, a, ta, b, tb, dtype(alpha), dtype(beta))
                np.testing.assert_allclose(out, expected, rtol=0, atol=4 * k * np.finfo(dtype).eps * 10)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6), st.integers(0, 6)), max_size=12))
def test_memory_is_shared_only_by_what_never_meets(drawn):
    blocks = [(size, min(a, b), max(a, b)) for size, a, b in drawn]
    offsets, total = places(blocks)
    for i, (size, first, last) in enumerate(blocks):
        assert 0 <= offsets[i] <= total - size
        for k, (other, start, stop) in enumerate(blocks[:i]):
            if start <= last and first <= stop:
                assert offsets[i] + size <= offsets[k] or offsets[k] + other <= offsets[i]
    most = max((sum(s for s, a, b in blocks if a <= now <= b) for now in range(7)), default=0)
    assert most <= total <= sum(s for s, _, _ in blocks)
    assert [aligned(n) for n in (0, 1, 64, 65)] == [0, 64, 64, 128]


# --- runs ----------------------------------------------------------------------------------------------------------------


def attention():
    """Words looked up, attention over them, normalised, classified."""
    words, target = sbp.data("words", ("n", 4)), sbp.data("target", ("n",))
    E, W = sbp.weight("E", (7, 3)), sbp.weight("W", (3, 5))
    x = sbp.node("x", sbp.take(E, words))
    s = sbp.node("s", sbp.softmax(sbp.einsum("nid,njd->nij", x, x) / sp.sqrt(3)))
    y = sbp.node("y", sbp.einsum("nij,njd->nid", s, x))
    centred = sbp.node("centred", y - sbp.mean(y, axis=-1, keepdims=True))
    normal = sbp.node("normal", centred / sp.sqrt(sbp.mean(centred**2, axis=-1, keepdims=True) + sp.Float(1e-3)))
    logits = sbp.node("logits", sbp.max(normal, axis=1) @ W)
    return sbp.Network(sbp.node("C", sbp.cross_entropy(logits, target)))


def line():
    x, y, w, b = sbp.data("x"), sbp.data("y"), sbp.weight("w"), sbp.weight("b")
    return sbp.Network(sbp.node("C", (sbp.sigmoid(w * x + b) - y) ** 2))


INDICES = np.random.default_rng(5).integers(0, 7, (23, 4))
PLANE = {"X": numbers((23, 2)), "T": numbers((23, 1))}
PAIRS = {"x": numbers(23), "y": numbers(23, 1)}
RUNS = {
    "scalars, AdamW": (line(), sbp.AdamW(lr=0.05, amsgrad=True), PAIRS, 1),
    "a batch of scalars": (line(), sbp.SGD(lr=0.3 / (1 + t / 10)), PAIRS, 5),
    "small tensors": (sbp.mlp((2, 2, 1), "tanh", loss="mse"), sbp.SGD(0.02, momentum=0.9, nesterov=True), PLANE, 1),
    "tanh, RMSprop": (sbp.mlp((2, 16, 1), "tanh", loss="mse"), sbp.RMSprop(1e-2, centered=True, momentum=0.5), PLANE, 8),
    "relu, softmax": (sbp.mlp((30, 40, 10), "relu", loss="cross_entropy"), sbp.SGD(0.1, weight_decay=0.01), {"X": numbers((23, 30)), "T": classes(10, 23)}, 8),
    "attention": (attention(), sbp.Adam(0.01), {"words": INDICES, "target": INDICES[:, 0] % 5}, 8),
}


CASES = [pytest.param(*run, dtype, id=f"{name}-{dtype}") for name, run in RUNS.items() for dtype in ("float64", "float32")]
CASES = CASES[:-1]  # the last one takes long to compile


@pytest.mark.parametrize(("net", "optimizer", "data", "size", "dtype"), CASES)  # each is compiled, so they are few
def test_compiled_runs_equal_those_of_numpy(net, optimizer, data, size, dtype):
    """Four epochs with a smaller last batch, in order and shuffled, end up with the same weights, states and losses."""
    tolerance = 1e-9 if dtype == "float64" else 2e-3
    pair = [net.trainer(optimizer, dtype=dtype, backend=backend) for backend in ("numba", "numpy")]
    for shuffle in (False, True):
        compiled, plain = (one.fit(data, epochs=4, batch_size=size, shuffle=shuffle) for one in pair)
        np.testing.assert_allclose(compiled.loss, plain.loss, rtol=tolerance)
    compiled, plain = pair
    assert compiled.steps == plain.steps
    for name, value in plain.weights.items():
        assert compiled.weights[name].dtype == dtype
        np.testing.assert_allclose(compiled.weights[name], value, rtol=tolerance, atol=tolerance * np.abs(value).max(), err_msg=name)
    for state in set(plain.state) - {"t"}:
        for name, value in plain.state[state].items():
            np.testing.assert_allclose(compiled.state[state][name], value, rtol=tolerance, atol=tolerance * np.abs(value).max(), err_msg=f"{state} {name}")


def losses_of_cuts(name, monkeypatch):
    """The losses of two epochs in one call of compiled code, and in several: the clock stands still, so `PATIENCE` alone says where they are cut."""
    net, optimizer, data, size = RUNS[name]
    found = {}
    for patience in (math.inf, 0, 2e-9, 3e-9):
        ticks = []
        monkeypatch.setattr(native, "perf_counter", lambda ticks=ticks: ticks.append(0) or 0.0)
        monkeypatch.setattr(native, "PATIENCE", 1.0 if patience == math.inf else patience)
        one = net.trainer(optimizer, backend="numba", seed=2)
        feed, engine = one._check(data), one._engine(size)
        engine._rate = 1e12 if patience == math.inf else 0.0
        batches = trainer.Batches(feed.samples, size, np.random.default_rng(1).permutation(2 * feed.samples) % feed.samples, 2)
        losses = engine.run(one._arrays, one.state, feed, batches).means
        assert (len(ticks) == 2) == (patience == math.inf)
        found[patience] = *losses, *(tuple(value.ravel()) for value in one.weights.values())
    return list(found.values())


@pytest.mark.parametrize("name", ["small tensors", "tanh, RMSprop", "relu, softmax"])
def test_losses_do_not_depend_on_where_the_clock_cuts_a_run(name, monkeypatch):
    uncut, *cut = losses_of_cuts(name, monkeypatch)
    assert cut == [uncut] * 3


@pytest.mark.parametrize("name", ["small tensors", "tanh, RMSprop"])
def test_sums_that_start_anew_with_each_call_show(name, monkeypatch):
    net, optimizer, _, size = RUNS[name]
    code = type(net.trainer(optimizer, backend="numba")._engine(size).code(size))
    updates = code.updates

    def anew(self, values, data, feed, batches, order, sums):
        own = np.zeros_like(sums)
        run = updates(self, values, data, feed, batches, order, own)

        def one(*cut):
            own[:] = 0
            made = run(*cut)
            sums[:] += own
            return made

        return one

    monkeypatch.setattr(code, "updates", anew)
    uncut, *cut = losses_of_cuts(name, monkeypatch)
    assert cut != [uncut] * 3
    np.testing.assert_allclose([losses[:2] for losses in cut], [uncut[:2]] * 3, rtol=1e-14)


def test_a_planted_error_shows(interpreted):
    """The comparison of the compiled source with PyTorch is by the weights after a step: another sign in it moves them."""
    net, _, data, _ = RUNS["tanh, RMSprop"]
    weights = net.initialize(3)
    _, right = interpreted(net, sbp.SGD(0.1), weights, data)
    _, wrong = interpreted(net, sbp.SGD(0.1), weights, data, change=lambda source: re.sub(r"\(1 - (a_\d\[v_\d, v_\d\] \*\* 2)\)", r"(1 + \1)", source))
    assert np.abs(right.weights["W_1"] - wrong.weights["W_1"]).max() > 1e-3


def test_a_network_may_use_the_names_of_the_code(interpreted):
    """Weights, data and nodes that are called like what the source calls its own; a number among the data that belongs to no sample."""
    X, alpha, T, order = sbp.data("X", ("n", 3)), sbp.data("alpha"), sbp.data("T", ("samples", 2)), sbp.data("order", (2,))
    W, kernels_, real, total = sbp.weight("W", (3, 2)), sbp.weight("kernels"), sbp.weight("real", (2,)), sbp.weight("total_part_1", (2,))
    i = sbp.node("i", sp.tanh(X @ W + kernels_) * alpha + real * order)
    net = sbp.Network(sbp.node("m_1", sbp.mean((i * total) ** 2) + sbp.mean(T * total)))
    data = {"X": numbers((5, 3)), "alpha": 2.0, "T": numbers((4, 2)), "order": numbers(2)}
    weights = net.initialize(1)
    losses, found = interpreted(net, sbp.SGD(0.1), weights, data)
    plain = net.trainer(sbp.SGD(0.1), weights=weights, backend="numpy")
    np.testing.assert_allclose(losses[0], plain.step(**data), rtol=1e-12)
    for name, value in plain.weights.items():
        np.testing.assert_allclose(found.weights[name], value, rtol=1e-12, err_msg=name)


def test_dimensions_are_known_by_their_names(interpreted):
    """SymPy forgets symbols when its cache is full, and makes them anew."""
    from sympy.core.cache import clear_cache

    net, _, data, _ = RUNS["tanh, RMSprop"]
    clear_cache()
    losses, _ = interpreted(net, sbp.SGD(0.1), net.initialize(1), data)
    assert math.isfinite(losses[0])


def test_nothing_is_allocated_after_the_first_step():
    from numba.core.runtime import _nrt_python, rtsys

    net, optimizer, data, size = RUNS["relu, softmax"]
    one = net.trainer(optimizer, backend="numba")

    def allocations(epochs):
        one.fit(data, epochs=1, batch_size=size)  # compiles, and finds its pace
        feed = one._check(data)
        engine = one._engine(size)
        engine._rate = 1e12  # all of it in one call
        _nrt_python.memsys_enable_stats()
        before = rtsys.get_allocation_stats().mi_alloc
        engine.run(one._arrays, one.state, feed, trainer.Batches(feed.samples, size, None, epochs))
        return rtsys.get_allocation_stats().mi_alloc - before

    assert allocations(50) == allocations(1)


PROCESS = """
import numpy as np, symbackprop as sbp
from symbackprop.training.steps import compiled
one = sbp.mlp((2, 3, 1), "tanh", loss="mse").trainer(sbp.SGD(0.1), backend="numba")
one.fit({"X": np.ones((6, 2)), "T": np.ones((6, 1))}, epochs=2, batch_size=3)
found = [compiled(module) for module in one._engine(3).code(3).native.modules]
print(len(found), sum(piece.cache_hits for piece in found))
"""


def test_a_second_process_compiles_nothing(tmp_path):
    environment = {**os.environ, "SYMBACKPROP_CACHE_DIR": str(tmp_path)}
    results = [subprocess.run([sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    (pieces, first), (again, second) = (map(int, result.split()) for result in results)
    assert (first, second) == (0, pieces)
    assert pieces == again == len(list(tmp_path.glob("piece_*.py"))) > 5


DAMAGE = {"empty": lambda data: b"", "cut short": lambda data: data[: len(data) // 2], "garbage": lambda data: bytes(np.random.default_rng(1).bytes(len(data)))}


@pytest.fixture
def loaded_anew(tmp_path, monkeypatch):
    """A piece of a step as a new process would load it from an empty folder, and how many files of it were read; and the folder."""
    net, optimizer, _, size = RUNS["tanh, RMSprop"]
    module = net.trainer(optimizer, backend="numba")._engine(size).code(size).native.modules[0]
    monkeypatch.setenv("SYMBACKPROP_CACHE_DIR", str(tmp_path))

    def load():
        load_cached.cache_clear()
        return steps.compiled.__wrapped__(module).cache_hits

    yield load, tmp_path
    load_cached.cache_clear()


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("suffix", ["nbi", "nbc", "py"])
def test_a_broken_file_of_compiled_code_is_compiled_anew(suffix, damage, loaded_anew):
    load, folder = loaded_anew
    assert (load(), load()) == (0, 1)
    (path,) = folder.rglob(f"*.{suffix}")
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    load()
    assert load() == 1


def test_what_is_kept_is_mended_for_no_other_error(loaded_anew, monkeypatch):
    load, folder = loaded_anew
    load()
    before = {path: path.read_bytes() for path in folder.rglob("*.nb[ci]")}

    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        mended(fails, fails)
    # Without the mending a broken file ends the run.
    (index,) = folder.rglob("*.nbi")
    index.write_bytes(before[index][:20])
    monkeypatch.setattr(steps, "mended", lambda function, call, *args: call(*args))
    with pytest.raises((EOFError, pickle.UnpicklingError)):
        load()
    assert all(path.exists() for path in before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that signals")
def test_an_interrupt_leaves_a_state_to_go_on_from():
    net, _, data, _ = RUNS["scalars, AdamW"]
    one = net.trainer(sbp.SGD(1e-6), backend="numba")
    one.fit(data, epochs=1, batch_size=1)

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        start = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            one.fit(data, epochs=10**9, batch_size=1)
        assert time.perf_counter() - start < 30  # a billion epochs would take minutes
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    steps = one.steps
    assert steps > 23
    one.step(x=1.0, y=0.5)
    assert one.steps == steps + 1


def test_divergence_goes_back_to_the_last_finite_loss():
    data = {"X": numbers((40, 2)), "T": numbers((40, 1))}
    pair = [sbp.mlp((2, 16, 1), None, loss="mse").trainer(sbp.SGD(0.8), backend=backend) for backend in ("numba", "numpy")]
    messages = []
    for one in pair:
        with pytest.raises(TrainingDivergedError) as raised:
            one.fit(data, epochs=200, batch_size=8)
        messages.append(str(raised.value))
        assert math.isfinite(one.loss(**data))
    assert messages[0] == messages[1]
    for name, value in pair[1].weights.items():
        np.testing.assert_allclose(pair[0].weights[name], value, rtol=1e-6)


# --- which backend ---------------------------------------------------------------------------------------------------------


def test_long_fits_are_compiled_and_short_ones_are_not():
    net, optimizer, data, _ = RUNS["a batch of scalars"]
    one = net.trainer(optimizer)
    one.fit(data, epochs=5)
    assert not one.compiled
    one.fit(data, epochs=200_000, batch_size=23)
    assert one.compiled
    assert isinstance(one._engine(23), native.NativeEngine)


def test_a_resumed_run_goes_on_in_compiled_code(tmp_path):
    net, optimizer, data, _ = RUNS["a batch of scalars"]
    one = net.trainer(optimizer)
    one.fit(data, epochs=200_000, batch_size=23)
    one.save(tmp_path / "run.npz")
    other = sbp.Trainer.load(tmp_path / "run.npz")
    for each in (one, other):
        each.fit(data, epochs=2, batch_size=5)
    assert other.compiled
    assert {name: value.tolist() for name, value in one.weights.items()} == {name: value.tolist() for name, value in other.weights.items()}


def test_what_cannot_be_compiled_runs_in_numpy():
    """Samples along the second axis."""
    X, W = sbp.data("X", (2, "n")), sbp.weight("W", (1, 2))
    net = sbp.Network(sbp.node("C", sbp.mean((W @ X) ** 2)))
    with pytest.raises(UnsupportedError, match="samples along axis 1"):
        net.trainer(sbp.SGD(0.1), backend="numba").step(X=numbers((2, 5)))
    one = net.trainer(sbp.SGD(0.1))
    one.fit({"X": numbers((2, 5))}, epochs=200_000)
    assert not one.compiled


def test_a_missing_extra_is_named(monkeypatch):
    net, optimizer, data, _ = RUNS["scalars, AdamW"]
    monkeypatch.setattr(native, "installed", lambda: False)
    with pytest.raises(ImportError, match=r"pip install symbackprop\[fast\]"):
        net.trainer(optimizer, backend="numba").fit(data, epochs=1)
    assert net.trainer(optimizer)._engine(1, 10**9) is not None


def test_an_unknown_backend_is_refused():
    with pytest.raises(NetworkError, match="expected one of auto, numpy, numba"):
        line().trainer(sbp.SGD(0.1), backend="fortran")
