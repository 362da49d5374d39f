"""Derivations of layers as a page has them: every sign is explained, nothing is written in the names of a program, and lines fit."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.latex.boxes import width

sys.path.insert(0, str(Path(__file__).parent))

from test_pages import overfull, pdflatex


def pooled():
    X, T = sbp.data("X", ("n", 1, 6, 6)), sbp.data("T", ("n", 3))
    h = sbp.max_pool2d(sbp.conv2d(X, 2, 3, padding=1, activation="relu"), 2)
    return sbp.Network(sbp.node("C", sbp.mse(sbp.dense(sbp.reshape(h, ("n", -1)), 3), T)))


def masked():
    X, T = sbp.data("X", ("n", 5, 4)), sbp.data("T", ("n", 5, 4))
    return sbp.Network(sbp.node("C", sbp.half_squared_error(sbp.multi_head_attention(X, 2, mask=np.tri(5, dtype=bool)), T)))


def looked_up():
    words, T = sbp.data("words", ("n", 5)), sbp.data("T", ("n", 3))
    return sbp.Network(sbp.node("C", sbp.half_squared_error(sbp.dense(sbp.mean(sbp.embedding(words, 7, 4), axis=1), 3), T)))


def of_two():
    x, z, T = sbp.data("x", ("n", 3)), sbp.data("z", ("n", 2)), sbp.data("T", ("n", 4))
    return sbp.Network(sbp.node("C", sbp.half_squared_error(sbp.bilinear(x, z, 4, "tanh"), T)))


KNOWN = {"relu", "softmax", "logsumexp", r"log\,softmax", "diag"}  # to every reader


@pytest.mark.parametrize(("make", "form"), [(pooled, "mixed"), (masked, "matrix"), (looked_up, "mixed"), (of_two, "mixed"), (of_two, "matrix")])
def test_signs_are_explained_and_products_without_one_are_written_by_indices(make, form):
    derivation = make().derivation(form, verify=make in (looked_up, of_two))
    assert derivation.ok
    printed = " ".join(f"{step.left} {step.right}" for step in derivation.steps)
    assert "einsum" not in printed
    explained = " ".join(derivation.sections[0].text)
    signs = set(re.findall(r"\\operatorname\{([^{}]*)\}", printed)) - KNOWN
    assert [sign for sign in signs if rf"\operatorname{{{sign}}}" not in explained] == []
    for sign, words in ((r"\bmod", "remainder"), (r"\lfloor", "rounds down"), (r"\mathbf{1}_{\left[", "condition in brackets")):
        assert sign not in printed or words in explained
    assert "pad" in explained or make is not pooled
    assert make is not of_two or "operatorname" not in explained


def test_no_closed_form_breaks_within_cases():
    """A closed form that would is left out, with a sentence."""
    for make, weight in ((pooled, "b_2"), (masked, "b_O_1")):
        derivation = make().derivation(weights=[weight], verify=False)
        for step in derivation.steps:
            if step.rule.startswith("closed"):
                assert r"\begin{cases}" not in step.right or width(step.right) < 35
        assert any("no line holds and is left out" in note for section in derivation.sections for note in section.notes)


def test_lists_of_weights_break(tmp_path):
    """What is given, and the formulas, of a network with many weights lie within the page."""
    X, T = sbp.data("X", ("n", 3, 4)), sbp.data("T", ("n", 3, 4))
    y = X
    for k in range(3):
        y = sbp.layer_norm(y + sbp.multi_head_attention(y, 2, name=f"h{k}"), name=f"a{k}")
    derivation = sbp.Network(sbp.node("C", sbp.mse(y, T))).derivation("matrix", weights=["gamma_a2"], verify=False)
    assert overfull(pdflatex(derivation.latex(document=True), tmp_path)) == []


def test_the_slope_of_gelu_is_written_without_a_common_denominator():
    """As Hendrycks & Gimpel (2016) have it, Φ(z) + z φ(z): each term as it came, and not all of them over exp(z²/2)."""
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 2))
    net = sbp.Network(sbp.node("C", sbp.mse(sbp.dense(X, 2, "gelu"), T)))
    (slope,) = [str(step.right) for step in net.derivation().steps if str(step.left).startswith(r"\frac{\partial A^{(1)}_{n i}}{\partial Z")]
    assert slope.count(r"\exp\left(-") == slope.count(r"\exp") == 1


def test_what_acts_along_rows_is_told_from_what_acts_on_entries():
    X, labels = sbp.data("X", ("n", 3)), sbp.data("lab", "n")
    Z = sbp.node("Z", X @ sbp.weight("W", (3, 2)))
    written = sbp.Network(sbp.node("C", sbp.cross_entropy(Z, labels) + sbp.mean(sbp.softmax(Z) ** 2))).derivation().markdown()
    assert r"$\operatorname{softmax}$ and $\operatorname{logsumexp}$ act along the last axis, row by row;" in written
    assert r"$\mathit{lab} \in \lbrace 0, 1 \rbrace^{n}$" in written
    along = sbp.Network(sbp.node("C", sbp.mean(sbp.softmax(Z, axis=0) ** 2))).derivation().markdown()
    assert r"$\operatorname{softmax}$ acts along the last axis, row by row, or along the axis that stands below;" in along
    plain = sbp.Network(sbp.node("C", sbp.mean(sp.tanh(Z)))).derivation().markdown()
    assert "Functions of one number" in plain
    assert "row by row" not in plain
