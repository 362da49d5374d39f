"""The benchmarks compare like with like: every candidate computes the same numbers. No time is tested."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are not installed with the package

from benchmarks import depth, derivation, digits, hessians, memory, networks, plot, report, steps, summary, timing
from benchmarks.candidates import AUTO, BY_HAND, CANDIDATES, NUMBA, NUMPY, OURS, PRODUCTS, base, present
from benchmarks.networks import CASES, LARGE, LINEAR, RELU, TANH
from benchmarks.report import Section, Table, duration

ROOT = Path(__file__).resolve().parents[1]

# --- everything, in short ------------------------------------------------------------------------------------------------


def test_the_short_setting_measures_whatever_is_installed_and_writes_nothing():
    written = {path: path.stat().st_mtime_ns for path in report.RESULTS.iterdir()}
    measured = ["steps", "derivation", "depth", "hessians", "imports", "memory", "stability"]  # the digits take a process for each candidate
    run = subprocess.run([sys.executable, "-m", "benchmarks", "--short", *measured], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert run.returncode == 0, run.stderr
    names, notes = present()
    for name in set(names) - {AUTO}:  # which only the digits know
        assert re.search(rf"^\| {re.escape(name)} +\| +[\d.,]+ [mµn]?s", run.stdout, re.MULTILINE), f"{name} has no time"
    for note in notes:
        assert note in run.stdout
    titles = re.findall("^# (.*)", run.stdout, re.MULTILINE)
    expected = ["Training steps", "Derive and generate", "Derive and generate, by depth", "Hessians", "Import", "Memory"]
    assert titles == [*expected, "Naive formulas at extreme arguments"]
    assert {path: path.stat().st_mtime_ns for path in report.RESULTS.iterdir()} == written


def test_a_name_that_is_no_measurement_is_refused():
    run = subprocess.run([sys.executable, "-m", "benchmarks", "stepz"], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2
    assert "unknown: stepz; expected some of steps, digits" in run.stderr


# --- equal matrices ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", hessians.SIZES)
def test_hessians_of_this_project_are_those_by_hand(kind):
    problem = hessians.Problem(kind, 4)
    found = {name: hessians.CANDIDATES[name][0](problem)() for name in (hessians.OURS, hessians.CALLED, hessians.HAND)}
    hessians.check_equal(problem, found)
    with pytest.raises(AssertionError, match="against NumPy by hand"):
        hessians.check_equal(problem, found | {hessians.OURS: found[hessians.OURS] * (1 + 1e-6)})


# --- equal weights and losses --------------------------------------------------------------------------------------------

QUICK = [name for name in present()[0] if name in OURS or not CANDIDATES[name].compiles]


@pytest.fixture(scope="module")
def processes():
    """This project, and those that do not compile for seconds; the short setting, above, compares those that do."""
    with steps.residents(QUICK) as found:
        yield found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_all_candidates_make_the_same_steps(case, processes):
    taking = {name: processes[name] for name in steps.chosen(case, processes, short=False)}
    assert {NUMPY, BY_HAND} <= set(taking)
    steps.prepare(replace(case, batches=4, batch=min(case.batch, 32)), taking)


@pytest.mark.parametrize("name", [name for name in QUICK if name not in (BY_HAND, *PRODUCTS)])
def test_a_learning_rate_that_is_off_is_found(name, processes):
    case = replace(LINEAR, batches=4)
    results = {BY_HAND: processes[BY_HAND]("first", case), name: processes[name]("first", replace(case, lr=case.lr * 1.0005))}
    with pytest.raises(AssertionError, match=f"{name} against"):
        steps.check_equal(case, results)


@pytest.mark.parametrize("name", [name for name in CANDIDATES if name not in (BY_HAND, *PRODUCTS)])
@pytest.mark.parametrize("case", [LINEAR, TANH, RELU], ids=lambda case: case.title)
def test_a_gradient_that_is_off_is_found(name, case):
    case = replace(case, batches=4, dtype="float64")
    loss, right = CANDIDATES[BY_HAND](case).first()
    start = networks.weights(case)["b_1"]
    wrong = right | {"b_1": right["b_1"] + 0.0005 * (right["b_1"] - start)}
    steps.check_equal(case, {BY_HAND: (loss, right), name: (loss, right)})
    with pytest.raises(AssertionError, match=rf"{name} against.*b_1"):
        steps.check_equal(case, {BY_HAND: (loss, right), name: (loss, wrong)})
    with pytest.raises(AssertionError, match=f"{name} against"):
        steps.check_equal(case, {BY_HAND: (loss, right), name: (loss * 1.0005, right)})


@pytest.mark.parametrize("name", [name for name in PRODUCTS if name in QUICK])
def test_the_bare_products_are_those_of_a_step(name):
    """Three layers, and a random error at the end: each product against NumPy's own, in float64."""
    case = replace(LARGE, sizes=(5, 4, 3, 2), batch=6, batches=1)
    candidate = CANDIDATES[name](case)
    rng = np.random.default_rng(2)
    candidate.d[-1][...] = rng.normal(size=(6, 2))
    candidate.run(1)
    h, weights = networks.data(case)[0].astype(float), [w.astype(float) for w, _ in networks.layers(networks.weights(case))]
    inputs = [h]
    for w in weights:
        inputs.append(inputs[-1] @ w)
    error = candidate.d[-1].astype(float)
    for k in (2, 1, 0):
        np.testing.assert_allclose(candidate.z[k], inputs[k + 1], rtol=1e-5)
        np.testing.assert_allclose(candidate.g[k], inputs[k].T @ error, rtol=1e-4, atol=1e-6)
        error = error @ weights[k].T


def test_digits_reached_after_other_epochs_are_refused():
    run = {"cold": {"epochs": 23, "accuracy": 0.972}}
    assert digits.epochs_needed({"a": [run], "b": [run]}) == "All needed 23 epochs and were then at 97.2%."
    with pytest.raises(AssertionError, match="not all trained alike"):
        digits.epochs_needed({"a": [run], "b": [{"cold": {"epochs": 24, "accuracy": 0.972}}]})


def test_digits_start_with_every_cache_in_the_new_home(tmp_path):
    environment = digits.environment(str(tmp_path))
    for name in ("HOME", "SYMBACKPROP_CACHE_DIR", "NUMBA_CACHE_DIR", "JAX_COMPILATION_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "PYTENSOR_FLAGS"):
        assert str(tmp_path) in environment[name]


# --- derivation ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def derived():
    return {name: candidate((2, 3, 3, 1)) for name, candidate in derivation.CANDIDATES.items()}


def test_gradients_derived_from_tensors_from_scalars_and_by_sympy_are_equal(derived):
    derivation.check_equal(derived)
    assert derived["symbackprop, tensors"].gradients.shape == (2 * 3 + 3 + 3 * 3 + 3 + 3 + 1,)


def test_a_derived_gradient_that_is_off_is_found(derived):
    right = derived["symbackprop, tensors"]
    wrong = right.gradients.copy()
    wrong[4] *= 1.0005
    with pytest.raises(AssertionError, match="tensors"):
        derivation.check_equal(derived | {"symbackprop, tensors": right._replace(gradients=wrong)})


def test_no_import_of_this_project_is_left_for_what_is_timed():
    code = """
import sys
from benchmarks.derivation import imported
sbp = imported()
before = set(sys.modules)
sbp.mlp([2, 3, 1], "tanh").generate("numpy")
print(*(name for name in set(sys.modules) - before if name.startswith("symbackprop")))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


def test_depth_is_timed_on_as_many_layers_as_it_says(monkeypatch):
    import symbackprop as sbp

    made = []
    mlp = sbp.mlp
    monkeypatch.setattr(sbp, "mlp", lambda *args: made.append(mlp(*args)) or made[-1])
    assert depth.seconds(3) > 0
    assert list(made[0].weights) == ["W_1", "b_1", "W_2", "b_2", "W_3", "b_3"]


# --- memory --------------------------------------------------------------------------------------------------------------


def test_the_bound_of_memory_counts_weights_states_forward_values_and_one_gradient():
    case = replace(LARGE, sizes=(3, 5, 2), batch=4)
    weights, forward, gradient = 3 * 5 + 5 + 5 * 2 + 2, 4 * (5 + 5 + 2), 3 * 5  # by hand
    assert memory.bound(case, states=0) == 4 * (weights + forward + gradient)
    assert memory.bound(case, states=2) == 4 * (3 * weights + forward + gradient)


def test_the_peak_of_arrays_counts_what_stays_and_what_comes_and_goes():
    def first():
        np.ones(10**6)  # gone before the second call
        return np.ones(10**5), [object() for _ in range(10**5)]  # objects are not arrays

    def again(made):
        for _ in range(3):
            made[0] + 1

    assert memory.peak_of_arrays(first, again) == pytest.approx(2 * 8 * 10**5, rel=0.05)


# --- timing and tables ---------------------------------------------------------------------------------------------------


def test_candidates_take_turns_and_the_rarer_one_stands_in_the_middle():
    order = []
    timing.interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, {"a": 5, "b": 1})
    assert "".join(order) == "aaabaa"


def test_a_resident_object_lives_in_another_process():
    with timing.Resident(np.arange, 6) as numbers:
        assert numbers("sum") == 15


def test_a_turn_is_one_long_run_from_the_first_weights(monkeypatch):
    """With a clock that says a millisecond for each start of a run, and a microsecond for each step."""
    clock, calls = [0.0], []

    class Fake(base.Candidate):
        def run(self, epochs):
            calls.append(epochs)
            clock[0] += 1e-3 + 1e-6 * epochs * self.case.batches

        def reset(self):
            calls.append("reset")

    monkeypatch.setattr(base, "perf_counter", lambda: clock[0])
    candidate = Fake(replace(LINEAR, batches=10))
    seconds = candidate.time(1.0)
    epochs = calls[-1]
    assert calls[:2] == [1, "reset"]
    assert calls[-2] == "reset"
    assert epochs * 10 * 1e-6 >= 0.9
    assert seconds == pytest.approx((1e-3 + epochs * 10e-6) / (epochs * 10))
    calls.clear()
    candidate.time(1.0)
    assert calls == [1, "reset", epochs]  # how many are needed is known by now


def test_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda package: None if package == "torch" else object())
    names, notes = present()
    assert "torch eager is left out: torch is not installed." in notes
    assert BY_HAND in names
    assert not {"torch eager", "torch.compile"} & set(names)


def test_a_table_is_markdown():
    table = Table("t", "Title", "Text.", ["", "time"], [["one", duration(0.0123)], ["two", duration(2.5e-7)]], ["Note."])
    grid = ["|     |    time |", "| --- | ------: |", "| one | 12.3 ms |", "| two |  250 ns |", ""]
    assert table.markdown().splitlines()[4:] == [*grid, "- Note."]
    table.sections.append(Section("Part", table.columns, table.rows))
    assert table.markdown().splitlines()[4:] == [*grid, "## Part", "", *grid, "- Note."]


def test_numbers_have_three_digits():
    assert [report.digits(x) for x in (0.01234, 1.234, 12.34, 99.96, 123.4, 12345)] == ["0.0123", "1.23", "12.3", "100", "123", "12,300"]


# --- what is to be reached -----------------------------------------------------------------------------------------------

FIGURES = {
    "steps": {
        LINEAR.title: {NUMBA: 10e-9, NUMPY: 1e-6, "C by hand": 9e-9, "torch eager": 250e-6, "JAX scan": 15e-9},
        TANH.title: {NUMPY: 14e-6, BY_HAND: 15e-6},
        RELU.title: {NUMBA: 180e-6, NUMPY: 310e-6, PRODUCTS[0]: 160e-6, PRODUCTS[1]: 150e-6, "JAX jit": 360e-6},
    },
    "digits": {"cold": {AUTO: 0.5, NUMPY: 0.6, "torch eager": 2.4, "scikit-learn": 1.2, BY_HAND: 0.2}},
    "derivation": {"symbackprop, tensors": 0.05, "SymPy diff + lambdify": 15.0},
    "depth": {"50": 0.2, "100": 0.4, "200": 0.8},
    "hessians": {"logistic regression": {hessians.OURS: 3e-5, hessians.HAND: 2.5e-5, hessians.JAX: 1e-4}},
    "imports": {"import sympy": 0.3, "import symbackprop": 0.03, "import sympy, symbackprop": 0.36},
    "memory": {"arrays": {NUMPY: {"SGD": {"peak": 30e6, "bound": 20e6}}}},
}
# by hand from the figures above
ROWS = """
    2-2-1 linear, 1 sample             | symbackprop, Numba: time over C by hand             | ≤ 1.1 ×   | 1.11 ×   | no
    2-2-1 linear, 1 sample             | symbackprop, Numba: times as fast as torch eager    | ≥ 1,000 × | 25,000 × | yes
    2-2-1 linear, 1 sample             | symbackprop, Numba: time over JAX scan              | ≤ 1 ×     | 0.667 ×  | yes
    2-2-1 linear, 1 sample             | symbackprop, NumPy: times as fast as torch eager    | ≥ 300 ×   | 250 ×    | no
    2-16-1 tanh, batch 32              | symbackprop, NumPy: time over NumPy by hand         | ≤ 1 ×     | 0.933 ×  | yes
    784-128-10 relu, batch 64, float32 | symbackprop, Numba: time over bare products         | ≤ 1.25 ×  | 1.2 ×    | yes
    784-128-10 relu, batch 64, float32 | symbackprop, Numba: times as fast as JAX jit        | ≥ 1.5 ×   | 2 ×      | yes
    784-128-10 relu, batch 64, float32 | symbackprop, NumPy: time over bare products         | ≤ 2 ×     | 2.07 ×   | no
    digits to 97 %, cold | symbackprop, auto: time over the first of the libraries (scikit-learn) | ≤ 1 ×  | 0.417 ×  | yes
    digits to 97 %, cold | symbackprop, NumPy: time over the first of the libraries (scikit-learn) | ≤ 1 ×  | 0.5 ×  | yes
    derive + generate, 4-16-16-1 tanh  | seconds                                             | ≤ 100 ms  | 50 ms    | yes
    derive + generate, 4-16-16-1 tanh  | times as fast as SymPy diff + lambdify              | ≥ 400 ×   | 300 ×    | no
    depth 50 → 200                     | time at 200 over time at 50                         | ≤ 4.5 ×   | 4 ×      | yes
    depth 50 → 200                     | seconds at 200                                      | ≤ 2 s     | 800 ms   | yes
    Hessian, logistic regression       | symbackprop, generated: time over NumPy by hand     | ≤ 1.5 ×   | 1.2 ×    | yes
    import symbackprop                 | time over import sympy                              | ≤ 1.1 ×   | 0.1 ×    | yes
    import sympy, symbackprop          | time over import sympy                              | ≤ 1.1 ×   | 1.2 ×    | no
    memory, 784-1024-1024-10           | symbackprop, NumPy, SGD: peak of arrays over the bound | ≤ 1.1 × | 1.5 ×   | no
"""


def test_the_summary_holds_what_was_measured_against_what_is_to_be_reached(monkeypatch):
    monkeypatch.setattr(summary, "figures", FIGURES.get)
    table = summary.measure()
    assert table.rows == [[cell.strip() for cell in line.split("|")] for line in ROWS.strip().splitlines()]
    (section,) = table.sections
    assert section.columns == ["", LINEAR.title, TANH.title, RELU.title]
    assert ["bare products", "–", "–", "150 µs (0.833 ×)"] in section.rows


def test_a_summary_of_nothing_says_so(monkeypatch):
    monkeypatch.setattr(summary, "figures", lambda name: None)
    table = summary.measure()
    assert table.rows == []
    assert table.notes == [f"{name} was not measured." for name in FIGURES]


def test_the_plot_has_a_bar_of_each_ratio():
    pytest.importorskip("matplotlib")
    figure = plot.draw(FIGURES["steps"], FIGURES["digits"])
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert list(panels) == [LINEAR.title, TANH.title, RELU.title, "digits to 97 %, caches cold"]
    axis = panels[RELU.title]
    names = [label.get_text() for label in axis.get_yticklabels()]
    ends = [bar.get_x() + bar.get_width() for bar in axis.patches]
    assert dict(zip(names, ends, strict=True)) == pytest.approx({"JAX jit": 2, NUMPY: 310 / 180, NUMBA: 1, "bare products": 150 / 180})
    assert axis.get_xscale() == "log"
    assert axis.texts[0].get_text() == "2 ×   360 µs"
