r"""Formulas broken across lines: they fit the page when pdflatex sets them, nothing is lost, what they say is computed from what is
printed, and the lines are balanced. pdflatex and KaTeX take them all."""

import re
from collections import Counter
from itertools import accumulate

import numpy as np
import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.latex.boxes import width
from symbackprop.latex.breaking import break_chain, break_lines
from symbackprop.latex.equations import align

TOKEN = re.compile(r"\\[a-zA-Z]+|\\.|\d+(?:\.\d+)?|\S")


def deep_network(layers):
    """One neuron a layer: its closed forms are long, and nest."""
    x, t = sbp.data("x t")
    a = x
    for i in range(1, layers + 1):
        w, b = sbp.weight(f"w_{i} b_{i}")
        a = sbp.node(f"a_{i}", sp.tanh(w * a + b))
    return sbp.Network(sbp.node("C", (a - t) ** 2 / 2), output=a)


@pytest.fixture(scope="module")
def equations(printed):
    """(left, right) of every formula that is printed, and of closed forms of deep networks."""
    blocks = printed | {f"{n} layers": deep_network(n).latex("closed") for n in (3, 4, 6)}
    lines = [line.strip().removesuffix(r" \\") for text in blocks.values() for line in text.split("\n")[1:-1]]
    return sorted({tuple(line.split(" &= ")) for line in lines if " &= " in line})


def without_breaks(lines):
    """The right sides as one line: without indentation, and with brackets of no size; bars are told apart as LaTeX has them."""
    text = " ".join(right for _, right in lines)
    text = re.sub(r"\\[bB]igg?l\|", r"\\left|", re.sub(r"\\[bB]igg?r\|", r"\\right|", text))
    while (start := text.find(r"\hphantom{")) >= 0:
        depth = [1 if c == "{" else -1 if c == "}" else 0 for c in text[start + len(r"\hphantom") :]]
        end = next(i for i, total in enumerate(accumulate(depth)) if total == 0)
        text = text[:start] + text[start + len(r"\hphantom") + end + 1 :]
    return re.sub(r"\\qquad|\\quad|\\[bB]igg?[lr](?![a-z])", "", text)


def words(text):
    return [token for token in TOKEN.findall(text) if token not in (r"\left", r"\right")]


def same(lines, right, exactly=True):
    """Whether the lines hold the tokens of `right`. A dot may be added where a product is broken. Where a fraction, a root or an
    exponential is written out with brackets, names and numbers are compared without their order."""
    found, expected = words(without_breaks(lines)), words(right)
    dotless = [[t for t in side if t != r"\cdot"] for side in (found, expected)]
    if exactly:
        return dotless[0] == dotless[1] and found.count(r"\cdot") >= expected.count(r"\cdot")
    names = [Counter(t for t in side if t[-1].isalpha() and t not in (r"\frac", r"\sqrt", r"\exp", "e", r"\begin", r"\end", *"aligned")) for side in dotless]
    return names[0] == names[1]


def written_out(lines, right):
    """Whether a fraction, a root, an exponential or a case was: what is written instead of it is found more often."""
    text = without_breaks(lines)
    instead = (r"\frac{1}", r"\frac{2}", r"\frac{4}", "^{-1}", "^{1/2}", r"\exp", r"\begin{aligned}")
    return any(text.count(sign) > right.count(sign) for sign in instead)


@pytest.mark.parametrize("page", [40.0, 34.5, 24.0])
def test_nothing_is_lost(equations, page):
    exact = 0
    for left, right in equations:
        lines = break_lines(left, right, page)
        assert lines[0][0] == left
        assert all(other == "" for other, _ in lines[1:])
        exactly = same(lines, right)
        assert exactly or (written_out(lines, right) and same(lines, right, exactly=False)), (right, lines)
        exact += len(lines) > 1 and exactly
    assert exact > 30


def test_a_loss_is_found():
    right = " + ".join(f"x_{{{i}}} (y_{{{i}}} - t)" for i in range(20))
    lines = break_lines("C", right, 30.0)
    assert len(lines) > 2
    assert same(lines, right)
    assert not same(lines[:-1], right)
    assert not same([(a, b.replace("-", "+", 1)) for a, b in lines], right)
    assert not same([lines[0], *reversed(lines[1:])], right)
    assert not same(lines[:-1], right, exactly=False)


@pytest.mark.parametrize("page", [40.0, 34.5, 28.0])
def test_lines_fit_the_page(equations, page, set_widths):
    """When typeset. Exempt are formulas with one thing that no line could hold and that cannot be written otherwise: a condition
    within a subscript."""
    broken = []
    for left, right in equations:
        lines = break_lines(left, right, page)
        if len(lines) > 1 and r"\begin{cases}" not in right:
            assert width(f"{left} = {right}") > page
            (first, start), *rest = lines
            broken += [(f"{first} = {start}", 0.0), *((f"{{}} {line}", left) for _, line in rest)]
    lefts = sorted({left for _, left in broken if left})
    taken = dict(zip(lefts, set_widths(lefts), strict=True))
    found = [(real + taken.get(left, 0.0), text) for (text, left), real in zip(broken, set_widths([text for text, _ in broken]), strict=True)]
    assert len(found) > 100
    assert [(round(total, 2), text) for total, text in found if total > page] == []


def test_whole_blocks_compile_and_fit_with_cases_too(equations, set_widths):
    blocks = [align(break_lines(left, right, 40.0), "aligned") for left, right in equations if r"\begin{cases}" in right and len(right) < 3000]
    assert sum(block.count(r"\\") > 1 for block in blocks) > 5
    own = 3 / 18  # the environment begins with a thin space
    assert sum(real - own > 40.0 for real in set_widths(blocks)) <= 1  # a condition within a subscript, in closed form


def test_katex_takes_them(equations, katex):
    blocks = [align(break_lines(left, right, 28.0)) for left, right in equations]
    assert [message for message in katex(blocks) if message.startswith("ERROR")] == []
    assert sum(block.count(r"\\") > 0 for block in blocks) > 50


def test_short_formulas_stay_as_they_are(equations):
    for left, right in equations:
        if width(f"{left} = {right}") <= 40.0:
            assert break_lines(left, right) == [(left, right)]
        for _, line in break_lines(left, right)[1:]:
            if width(line) <= 35.0:
                assert break_lines("", line) == [("", line)]


# --- what they say -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [34.5, 20.0])
@pytest.mark.parametrize("name", ["layers", "softplus, cross-entropy", "sigmoid layers, mean squares", "columns"])
def test_broken_formulas_compute_the_same(latex_tests, name, page):
    """Read by a reader that knows nothing of this package."""
    net = latex_tests.COMPUTED[name]()
    names = latex_tests.numbers_for(net)
    broken = 0
    for weight, (left, right) in zip(net.weights.values(), latex_tests.lines_of(net.latex("closed")), strict=True):
        lines = break_lines(left, right, page)
        broken += len(lines) > 1
        shape = names[latex_tests.LATEX_NAME[weight.name]].shape
        expected = latex_tests.entries(right, shape, names)
        np.testing.assert_allclose(latex_tests.entries(without_breaks(lines), shape, names), expected, rtol=1e-12)
    assert broken or name == "columns"


@given(st.data())
def test_random_formulas(latex_tests, data):
    """Nothing is lost on pages that are far too narrow, and the value is the same."""
    parts = data.draw(st.lists(latex_tests.EXPRESSIONS, min_size=1, max_size=4))
    printed = [sbp.Network(sbp.node("C", part)).latex("equations") for part in parts if part.free_symbols and not part.has(sp.zoo, sp.nan, sp.oo)]
    rights = [right for text in printed for _, right in latex_tests.lines_of(text)]
    right = " + ".join(f"({text})" for text in rights) or "x"
    lines = break_lines("C", right, data.draw(st.sampled_from([6.0, 10.0, 16.0, 25.0])))
    exactly = same(lines, right)
    assert exactly or (written_out(lines, right) and same(lines, right, exactly=False)), lines
    if exactly:
        values = {"x": 0.31, "y": 1.7, "w_{1}": -0.6, "v": 0.9}
        with np.errstate(all="ignore"):
            found, expected = latex_tests.read(without_breaks(lines), values), latex_tests.read(right, values)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- as a typesetter does it ---------------------------------------------------------------------------------------------


def test_before_plus_and_minus_first():
    factor = r"(a + b + c + d + e + f + g)"
    lines = break_lines("y", rf"{factor} {factor} - {factor} {factor}", 34.5)
    assert lines == [("y", rf"{factor} {factor}"), ("", rf"\quad - {factor} {factor}")]


def test_then_between_factors_with_a_dot_unless_matrices_are_multiplied():
    factor = r"(a + b + c + d + e + f + g)"
    assert break_lines("y", rf"{factor} {factor}", 24.0) == [("y", factor), ("", rf"\qquad \cdot {factor}")]
    assert break_lines("y", rf"{factor} \odot {factor}", 24.0) == [("y", factor), ("", rf"\qquad \odot {factor}")]
    assert break_lines("y", rf"{factor}^{{\top}} {factor}", 24.0) == [("y", rf"{factor}^{{\top}}"), ("", rf"\qquad {factor}")]


def test_within_brackets_only_where_a_term_does_not_fit_with_the_lines_behind_the_bracket():
    terms = [rf"\frac{{a_{{{i}}}}}{{b_{{{i}}} + c}}" for i in range(8)]
    right = rf"x \left({' + '.join(terms)}\right)"
    lines = break_lines("y", right, 22.0)
    assert lines[0] == ("y", r"x \biggl(" + " + ".join(terms[:4]))
    assert lines[1] == ("", r"\hphantom{{}= x \biggl(} + " + " + ".join(terms[4:]) + r"\biggr)")
    assert len(lines) == 2


def test_a_name_stays_with_its_brackets(equations):
    for left, right in equations:
        for _, line in break_lines(left, right, 24.0):
            assert not re.search(r"\\(tanh|sigma|exp|log|max|operatorname\{[a-z]*\})(\^\{2\})?$", line)
            assert line.count(r"\left") - line.count(r"\leftarrow") == line.count(r"\right")


def test_a_relation_is_broken_before_anything_else():
    long = " + ".join("abcdefgh")
    assert break_lines("y", f"{long} = {long} = {long}", 24.0) == [("y", long), ("", f"= {long}"), ("", f"= {long}")]


def test_a_chain_has_a_line_for_each_part():
    lines = break_chain("y", ["a + b", "c", " + ".join("abcdefghijklmnop")], 20.0)
    assert lines[:3] == [("y", "a + b"), ("", "= c"), ("", "= a + b + c + d + e + f + g + h")]
    assert lines[3] == ("", r"\quad + i + j + k + l + m + n + o + p")
    assert align(lines[:2]) == "\\begin{align*}\n  y &= a + b \\\\\n  &= c\n\\end{align*}"


def test_fractions_roots_and_exponentials_that_fit_nowhere_are_written_out():
    long = " + ".join(f"x_{{{i}}} y" for i in range(12))
    for right, expected in [
        (rf"\frac{{{long}}}{{3}}", (r"\frac{1}{3} (", ")")),
        (rf"\frac{{2 a ({long})}}{{n}}", (r"\frac{2}{n} a (", ")")),
        (rf"\frac{{a}}{{{long}}}", ("a (", ")^{-1}")),
        (rf"\sqrt{{{long}}}", ("(", ")^{1/2}")),
        (rf"e^{{{long}}}", (r"\exp(", ")")),
    ]:
        lines = break_lines("y", right, 24.0)
        assert len(lines) > 1
        assert lines[0][1].startswith(expected[0])
        assert lines[-1][1].endswith(expected[1])


@given(st.lists(st.integers(1, 9), min_size=6, max_size=40), st.sampled_from([15.0, 22.0, 34.5]))
def test_lines_are_balanced(lengths, page):
    """A sum of terms of any length is never filled less evenly than line by line, each as full as it can be."""
    terms = ["w" * n for n in lengths]
    right = " + ".join(terms)
    if width(f"y = {right}") <= page:
        return
    room = 0.98 * page - width("y")
    starts, ends = [4 / 3], []
    total = starts[0]
    for i, term in enumerate(terms):
        own = width(term) + (width("a + a") - 2 * width("a") if i else 0.0)
        if i and total + own > room:
            ends.append(total)
            total = 1.0
        total += own
    ends.append(total)
    empty = sum((room - end) ** 2 for end in ends)
    lines = break_lines("y", right, page)
    found = [width("{} " + line) + (4 / 3 if i == 0 else 0.0) for i, (_, line) in enumerate(lines)]
    slack = (len(ends) - len(lines)) * 0.02 * room**2 + 0.5  # the price of a break
    assert sum((room - end) ** 2 for end in found) <= empty + max(slack, 0.5)


def test_deep_networks_are_broken_in_reasonable_time():
    right = deep_network(12).latex("closed").split(" &= ")[1].split(" \\\\")[0]
    assert len(right) > 2000
    assert same(break_lines("y", right, 34.5), right)
    nested = "x"
    for i in range(80):
        nested = rf"\tanh(w_{{{i}}} {nested} + b_{{{i}}})"
    assert same(break_lines("y", nested, 34.5), nested)
