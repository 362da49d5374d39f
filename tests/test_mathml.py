r"""Formulas as MathML: well-formed, the same signs in the same order as KaTeX finds in the same LaTeX, and the structure that
browsers and screen readers need. KaTeX's converter is an independent one."""

# ruff: noqa: RUF001 - signs that look like other signs

import re
import unicodedata
from xml.etree import ElementTree

import pytest

from symbackprop.display.mathml import NAMESPACE, mathml
from symbackprop.latex.breaking import break_lines
from symbackprop.latex.equations import align

MORE = [
    r"f{\left(x \right)} + \sin^{2}{\left(y\right)}",
    r"\sqrt[3]{x + \frac{1}{2}} + \sqrt{1 + x^{2}}",
    r"\int\limits_{0}^{\infty} e^{-x^{2}}\, dx = \frac{\sqrt{\pi}}{2}",
    r"\left\lfloor \frac{x}{2} \right\rfloor + \left|x\right| + \lVert a \rVert^{2}_{F}",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix} \mathbf{x} \in \mathbb{R}^{n}",
    r"\boldsymbol{w}^{\top} \mathbf{x} + \mathcal{L} + \mathfrak{g} + \mathsf{A} + \mathtt{b}",
    r"\max_{p} z_{p} \leq \prod_{i=1}^{n} a_{i} \neq 1",
    r"\alpha \beta \gamma \delta \epsilon \varepsilon \phi \varphi \Gamma \Omega \infty \partial \nabla \odot \otimes \cdot \times",
    r"a \bmod 6 \quad \text{for } x < 0",
    r"\binom{n}{k} + \Bigl(\frac{a}{b} + c\Bigr)",
]


def elements(latex, **options):
    """The presentation of a formula: what stands in front of its annotation."""
    root = ElementTree.fromstring(mathml(latex, **options))
    (semantics,) = root
    return semantics[0]


def short(element):
    """An element without its namespace and attributes: mfrac(1, n)."""
    tag = element.tag.removeprefix(f"{{{NAMESPACE}}}")
    inside = ", ".join(map(short, element)) if len(element) else element.text or ""
    return inside if tag in ("mi", "mn", "mo") else f"{tag}({inside})"


def signs(element):
    """All that is shown, in order: letters of any alphabet are letters, and a bar is a bar."""
    text = unicodedata.normalize("NFKC", "".join(element.itertext()))
    same = str.maketrans({"∥": "‖", "∣": "|", "⋅": "·", "∘": "°"})
    return re.sub(r"[\s\u2061-\u2064\u200b]", "", text.translate(same)).replace("°", "∘")


def katex_signs(markup):
    root = ElementTree.fromstring(markup)
    return signs(root.find(f".//{{{NAMESPACE}}}semantics")[0])


@pytest.fixture(scope="module")
def formulas(printed):
    lines = [line.strip().removesuffix(r" \\") for text in printed.values() for line in text.split("\n")[1:-1]]
    pairs = [line.split(" &= ") for line in lines if " &= " in line]
    broken = [align(break_lines(left, right, 26.0)) for left, right in pairs if len(right) > 250]
    assert len(broken) > 10
    return [*printed.values(), *MORE, *broken]


def test_well_formed_with_the_latex_in_it(formulas):
    for latex in formulas:
        root = ElementTree.fromstring(mathml(latex))
        assert root.tag == f"{{{NAMESPACE}}}math"
        assert root.get("display") == "block"
        note = root[0][1]
        assert (note.get("encoding"), note.text) == ("application/x-tex", latex)


def test_every_sign_is_where_katex_has_it(formulas, katex):
    """`\\hphantom` is the one thing that the two hide differently, so indentation is compared as room alone."""
    shown = [re.sub(r"\\hphantom(\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})", r"\\quad ", latex) for latex in formulas]
    markup = katex(shown, output="mathml")
    assert len(markup) > 100
    for latex, other in zip(shown, markup, strict=True):
        assert signs(elements(latex)) == katex_signs(other), latex


def test_a_lost_sign_is_found(katex):
    (markup,) = katex([r"\frac{1}{n} (a - b)^{2}"], output="mathml")
    assert signs(elements(r"\frac{1}{n} (a - b)^{2}")) == katex_signs(markup)
    for wrong in (r"\frac{1}{n} (a - b)", r"\frac{1}{n} (a + b)^{2}", r"\frac{n}{1} (a - b)^{2}", r"\frac{1}{n} a - b^{2}"):
        assert signs(elements(wrong)) != katex_signs(markup)


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        (r"\frac{\partial C}{\partial w}", "mfrac(mrow(∂, C), mrow(∂, w))"),
        (r"x_{1}^{2}", "msubsup(x, 1, 2)"),
        (r"2 x y", "mrow(2, \u2062, x, \u2062, y)"),
        (r"\tanh(x)", "mrow(tanh, \u2061, mrow((, x, )))"),
        (r"\sum_{i}^{n} x", "mrow(munderover(∑, i, n), x)"),
        (r"W_{i j}", "msub(W, mrow(i, \u2063, j))"),
        (r"A^{\top} B", "mrow(msup(A, ⊤), \u2062, B)"),
        (r"-x", "mrow(−, x)"),
        (r"\mathbf{1} \mathit{hot}", "mrow(\U0001d7cf, \u2062, \u210e\U0001d45c\U0001d461)"),
        (r"\sqrt[3]{x}", "mroot(x, 3)"),
        (r"\hat{x}", "mover(x, \N{MODIFIER LETTER CIRCUMFLEX ACCENT})"),
        (r"\begin{matrix} 1 & 2 \\ 3 & 4 \end{matrix}", "mtable(mtr(mtd(1), mtd(2)), mtr(mtd(3), mtd(4)))"),
        (r"\foo + x", "mrow(mtext(foo), +, x)"),
    ],
)
def test_structure(latex, expected):
    assert short(elements(latex)) == expected


def test_brackets_grow_only_where_latex_lets_them():
    def stretchy(latex):
        return {mo.get("stretchy") for mo in elements(latex).iter(f"{{{NAMESPACE}}}mo") if mo.text in "()"}

    assert stretchy(r"(\frac{1}{2})") == {"false"}
    assert stretchy(r"\left(\frac{1}{2}\right)") == {"true"}
    assert stretchy(r"\left(x\right)") == {"false"}  # as high as a line, and set closer
    assert {mo.get("minsize") for mo in elements(r"\Bigl(x\Bigr)").iter(f"{{{NAMESPACE}}}mo")} == {"1.8em"}


def test_letters_are_slanted_and_words_are_not():
    x, word, upright, gamma = (elements(latex) for latex in ("x", r"\operatorname{softmax}", r"\mathrm{d}", r"\Gamma"))
    assert (x.text, x.get("mathvariant")) == ("x", None)
    assert (word.text, word.get("mathvariant")) == ("softmax", None)
    assert (upright.text, upright.get("mathvariant")) == ("d", "normal")
    assert (gamma.text, gamma.get("mathvariant")) == ("Γ", "normal")


def test_aligned_columns_meet_at_the_relation():
    table = elements("\\begin{align*}\n  y &= a \\\\\n  &\\quad + b\n\\end{align*}")
    assert table.get("columnalign") == "right left"
    cells = [[cell.get("style").split(";")[0] for cell in row] for row in table]
    assert cells == [["text-align: right", "text-align: left"]] * 2
    plus = next(mo for mo in table.iter(f"{{{NAMESPACE}}}mo") if mo.text == "+")
    assert plus.get("form") == "infix"  # it continues a sum, though nothing stands left of it


def test_signs_of_markup_are_escaped():
    text = mathml(r"a < b > c \text{A&B <script>}")
    assert "<script>" not in text
    assert "A&amp;B" in text
    assert "".join(elements(r"\text{<&>}").itertext()) == "<&>"


def test_within_a_line_of_text():
    assert "display=" not in mathml("x", block=False)


def test_depth():
    nested = "x"
    for i in range(500):
        nested = rf"\tanh(w_{{{i}}} {nested})"
    assert mathml(nested).count("tanh") == 1000  # once more in the annotation
