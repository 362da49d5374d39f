"""The benchmarks compare like with like: every candidate computes the same numbers. No time is tested."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are not installed with the package

from benchmarks import depth, derivation, steps, timing
from benchmarks.networks import CASES, weights
from benchmarks.report import Table, duration


@pytest.fixture(scope="module")
def derived():
    return {name: candidate((2, 3, 3, 1)) for name, candidate in derivation.CANDIDATES.items()}


def test_gradients_derived_from_tensors_from_scalars_and_by_sympy_are_equal(derived):
    derivation.check_equal(derived)
    assert derived["symbackprop, tensors"].gradients.shape == (2 * 3 + 3 + 3 * 3 + 3 + 3 + 1,)


def test_a_gradient_that_is_off_is_found(derived):
    right = derived["symbackprop, tensors"]
    wrong = right.gradients.copy()
    wrong[4] *= 1.0005
    with pytest.raises(AssertionError, match="tensors"):
        derivation.check_equal(derived | {"symbackprop, tensors": right._replace(gradients=wrong)})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_all_candidates_make_the_same_steps(case):
    for cut in steps.first_steps(case):
        results = {name: kind(cut).first() for name, kind in steps.CANDIDATES.items()}
        steps.check_equal(cut, results)


@pytest.mark.parametrize("case", CASES[:4], ids=lambda case: case.title)
def test_a_step_that_is_off_is_found(case):
    cut = steps.first_steps(case)[0]
    results = {name: kind(cut).first() for name, kind in steps.CANDIDATES.items() if name != "torch eager"}
    start = weights(cut)["b_1"]
    results["symbackprop"][1]["b_1"] += 0.0005 * (results["symbackprop"][1]["b_1"] - start)  # a gradient wrong by 0.05 %
    with pytest.raises(AssertionError, match=r"symbackprop.*b_1"):
        steps.check_equal(cut, results)


def test_depth_is_timed_on_as_many_layers_as_it_says(monkeypatch):
    import symbackprop as sbp

    made = []
    mlp = sbp.mlp
    monkeypatch.setattr(sbp, "mlp", lambda *args: made.append(mlp(*args)) or made[-1])
    assert depth.seconds(3) > 0
    assert list(made[0].weights) == ["W_1", "b_1", "W_2", "b_2", "W_3", "b_3"]


def test_candidates_take_turns_and_the_rarer_one_stands_in_the_middle():
    order = []
    timing.interleave({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, {"a": 5, "b": 1})
    assert "".join(order) == "aaabaa"


def test_a_resident_object_lives_in_another_process():
    with timing.Resident(np.arange, 6) as numbers:
        assert numbers("sum") == 15


def test_a_missing_peer_is_named(monkeypatch):
    monkeypatch.setattr(steps, "installed", lambda package: False)
    monkeypatch.setattr(steps, "CASES", ())
    table = steps.measure(short=True)
    assert "torch eager is left out: torch is not installed." in table.notes
    assert not any("torch" in column for column in table.columns)


def test_a_table_is_markdown():
    table = Table("t", "Title", "Text.", ["", "time"], [["one", duration(0.0123)], ["two", duration(2.5e-7)]], ["Note."])
    assert table.markdown().splitlines()[4:] == ["|     |    time |", "| --- | ------: |", "| one | 12.3 ms |", "| two |  250 ns |", "", "- Note."]
