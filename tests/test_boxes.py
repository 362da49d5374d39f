r"""Formulas read into boxes: every formula that is printed here and by SymPy, what is refused, depth, and the widths, which pdflatex
is asked for too."""

# ruff: noqa: RUF001 - accents that look like other signs

import pytest
import sympy as sp
from hypothesis import given
from hypothesis import strategies as st

from symbackprop.errors import ParseError, UnsupportedError
from symbackprop.latex.boxes import read, width
from symbackprop.latex.nodes import Accent, Atom, Call, Delimited, Fraction, Grid, Root, Row, Script, Text
from symbackprop.latex.printer import TensorLatex


def shape(box):
    """A tree in short: the names of its boxes, and the text of its atoms."""
    match box:
        case Row(items=items):
            return [shape(item) for item in items]
        case Atom(text=text):
            return text
        case Call(head=head, arguments=arguments):
            return ("call", shape(head), shape(arguments))
        case Delimited(left=left, inside=inside, right=right):
            return (left + right, *shape(inside))
        case Fraction(above=above, below=below):
            return ("/", shape(above), shape(below))
        case Script(base=base, below=below, above=above):
            return ("script", shape(base), below and shape(below), above and shape(above))
        case Root(inside=inside, degree=degree):
            return ("root", shape(inside), degree and shape(degree))
        case Accent(mark=mark, base=base):
            return (mark, shape(base))
        case Grid(rows=rows):
            return ("grid", *([shape(cell) for cell in row] for row in rows))
        case Text(text=text):
            return ("text", text)
    return type(box).__name__


@pytest.mark.parametrize(
    ("latex", "expected"),
    [
        ("a + 10.5 b", ["a", "+", "10.5", "b"]),
        (r"w (y - t)", ["w", ("()", "y", "−", "t")]),
        (r"f(x)", [("call", "f", ("()", "x"))]),
        (r"f{\left(x \right)}", [("call", "f", [("()", "x")])]),
        (r"\sin^{2} \left(x\right)", [("call", ("script", "sin", None, ["2"]), ("()", "x"))]),
        (r"\frac12", [("/", "1", "2")]),
        (r"\frac{a}{b + c}", [("/", ["a"], ["b", "+", "c"])]),
        (r"x_1^2", [("script", "x", "1", "2")]),
        (r"x^2_1", [("script", "x", "1", "2")]),
        (r"x''", [("script", "x", None, "\N{PRIME}\N{PRIME}")]),
        (r"\sqrt[3]{x}", [("root", ["x"], ["3"])]),
        (r"\hat{x} \tilde{\infty}", [("ˆ", ["x"]), ("˜", ["∞"])]),
        (r"\operatorname{log\,softmax}(z)", [("call", "log softmax", ("()", "z"))]),
        (r"\mathrm{hid} \mathbf{1}", ["hid", "1"]),
        (r"\left[0, 1\right)", [("[)", "0", ",", "1")]),
        (r"\lVert x \rVert^{2}", [("script", ("‖‖", "x"), None, ["2"])]),
        (r"\left|x\right|", [("||", "x")]),
        (r"\begin{cases} 1 & \text{for}\: z > 0 \\0 & \text{otherwise} \end{cases}",
         [("grid", [["1"], [("text", "for"), "Space", "z", ">", "0"]], [["0"], [("text", "otherwise")]])]),
        (r"\bigl(a + b\bigr)", [("()", "a", "+", "b")]),
        (r"\Bigl(1", ["(", "1"]),
        (r"(a_{(b}", ["(", ("script", "a", ["(", "b"], None)]),
        (r"\sum_{i}^{n} i", [("script", "∑", ["i"], ["n"]), "i"]),
        (r"a \not= b", ["a", "≠", "b"]),
        (r"\sum_{\substack{i\\j}}", [("script", "∑", [("grid", [["i"]], [["j"]])], None)]),
        (r"{}^{2}", [("script", [], None, ["2"])]),
    ],
)  # fmt: skip
def test_reading(latex, expected):
    assert shape(read(latex)) == expected


def test_a_bracket_that_touches_a_number_is_a_factor():
    assert shape(read("2(x + 1)")) == ["2", ("()", "x", "+", "1")]


MALFORMED = ["{a", "a}", r"\left(a", r"\frac{a}", r"x^{2}^{2}", r"\begin{cases} a", r"a & b", r"\left(a}", r"\end{cases}", r"x_", r"\left x"]


@pytest.mark.parametrize("latex", MALFORMED)
def test_what_is_missing_is_said(latex):
    with pytest.raises(ParseError, match="the formula"):
        read(latex)


def test_unknown_commands_are_errors_unless_a_formula_is_only_shown():
    with pytest.raises(UnsupportedError, match=r"\\foo in the formula a \+ \\foo is not known"):
        read(r"a + \foo")
    assert shape(read(r"a + \foo", strict=False)) == ["a", "+", ("text", "foo")]
    with pytest.raises(UnsupportedError, match="environment 'tikzpicture'"):
        read(r"\begin{tikzpicture} a \end{tikzpicture}")


def test_every_printed_formula_is_read(printed):
    for latex in printed.values():
        assert isinstance(read(latex), Row)
    assert len(printed) > 80


x, y, n = sp.symbols("x y n")
FUNCTIONS = [
    sp.erf(x), sp.erfc(x), sp.gamma(x), sp.loggamma(x), sp.polygamma(2, x), sp.beta(x, y), sp.zeta(x), sp.Ei(x), sp.besselj(n, x), sp.airyai(x),
    sp.floor(x), sp.ceiling(x / 2), sp.frac(x), sp.factorial(n), sp.factorial2(n), sp.binomial(n, x), sp.Abs(x),
    sp.conjugate(x), sp.re(x), sp.im(x), sp.arg(x),
    sp.sign(x), sp.Heaviside(x), sp.DiracDelta(x), sp.LambertW(x), sp.asinh(x), sp.acosh(x), sp.atan2(y, x),
    sp.sec(x), sp.coth(x) ** 2, sp.exp(x**2), sp.log(x) ** 3,
    sp.sqrt(x), sp.cbrt(x), sp.root(x, 5), sp.oo, -sp.oo, sp.zoo, sp.nan, sp.pi, sp.E, sp.I, sp.GoldenRatio, sp.EulerGamma, sp.Function("f")(x, y),
    sp.Function("f")(x).diff(x), sp.Derivative(sp.Function("g")(x, y), x, x, y),
    sp.Integral(sp.sin(x), (x, 0, sp.oo)), sp.Sum(x**n, (n, 0, sp.oo)), sp.Product(x, (n, 1, y)),
    sp.Limit(sp.sin(x) / x, x, 0), sp.Piecewise((x, x > 0), (y, sp.Eq(x, 0)), (-x, True)), sp.Max(x, y), sp.Min(x, y),
    sp.Rational(3, 7) * x, sp.Mod(x, 3), sp.Matrix([[1, x], [y, 2]]),
    sp.MatrixSymbol("A", 2, 2).T, sp.Interval(0, 1), sp.Interval.open(0, 1), sp.And(x > 0, y <= 1),
    sp.Not(sp.Eq(x, y)), sp.Symbol("xhat"), sp.Symbol("vec_1dot"), sp.Symbol("alpha_i^2"),
    sp.Symbol("Abar"), sp.Symbol("phi_ddot"), sp.KroneckerDelta(x, y), sp.assoc_legendre(n, x, y),
    sp.hyper([x], [y], n), sp.Subs(sp.Function("f")(x), x, 0), sp.O(x**2), sp.Float("1e-30"),
]  # fmt: skip


@pytest.mark.parametrize("expr", FUNCTIONS, ids=str)
def test_what_sympy_prints_is_read(expr):
    printers = [sp.latex, TensorLatex().plain] if isinstance(expr, sp.Expr) and not expr.is_Matrix else [sp.latex]
    for printer in printers:
        latex = printer(expr)
        assert read(latex).source == latex.strip()
        assert width(latex) > 0


ATOMS = st.sampled_from(["a", "2", r"\alpha", r"w_{1}", r"\mathbf{1}", r"\sum_{i}", "+", r"\cdot", ",", r"\text{for}", r"\:"])
FORMULAS = st.recursive(
    st.lists(ATOMS, min_size=1, max_size=4).map(" ".join),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda p: rf"\frac{{{p[0]}}}{{{p[1]}}}"),
        inner.map(lambda p: rf"\left({p}\right)"),
        inner.map(lambda p: f"({p})"),
        inner.map(lambda p: rf"\tanh^{{2}}({p})"),
        inner.map(lambda p: rf"x^{{{p}}}"),
        inner.map(lambda p: rf"\begin{{bmatrix}} {p} & 1 \\ 2 \end{{bmatrix}}"),
        st.tuples(inner, inner).map(" ".join),
    ),
    max_leaves=6,
)


@given(FORMULAS)
def test_nothing_of_a_formula_is_lost(latex):
    """What stands between the sources of the boxes in a row is nothing."""

    def covered(row):
        rest = row.source.removeprefix("{") if row.source.startswith("{") and row.source.endswith("}") else row.source
        for item in row.items:
            assert rest.lstrip().startswith(item.source)
            rest = rest.lstrip()[len(item.source) :]
            for part in vars(item).values():
                if isinstance(part, Row):
                    covered(part)
        assert rest.strip(" }") == ""

    row = read(latex)
    assert row.source == latex.strip()
    covered(row)


def test_depth():
    """Deeper than Python's stack: a network of a thousand layers in closed form."""
    for opening, closing in (("(", ")"), (r"\left(", r"\right)"), ("{", "}"), (r"\tanh(", ")"), (r"\frac{1}{", "}")):
        assert width("x + ".join([opening] * 1000) + "x" + closing * 1000) > 0
    assert len(read(" + ".join("a" * 5000)).items) == 9999


# --- widths --------------------------------------------------------------------------------------------------------------

SIGNS = [
    r"\alpha \beta \gamma \delta \epsilon \lambda \mu \sigma \phi \omega", r"\Gamma \Delta \Theta \Sigma \Omega",
    "A B C D E F G H I J K L M N O P Q R S T U V W X Y Z",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    r"a \leq b \geq c \neq d \approx e \to f \leftarrow g \in h",
    r"a \cdot b \odot c \otimes d \times e \circ f \pm g",
    r"\mathrm{hidden} \mathit{loss} \mathbf{Xyz}", r"\bigl(\Bigl(\biggl(\Biggl(x\Biggr)\biggr)\Bigr)\bigr)",
    r"\left\lfloor \frac{x}{2} \right\rfloor + \left|\frac{1}{2}\right|",
    r"\begin{pmatrix} a & b \\ c & d \end{pmatrix}", r"\sqrt{x} + \sqrt{\frac{a}{b}}",
    r"\max_{p} z_{p} + \lim_{x \to 0} f(x)", r"\infty \partial \nabla \top", r"a \quad b \qquad c \, d \: e \; f",
    r"\int\limits_{0}^{\infty} e^{-x^{2}}\, dx", r"\binom{n}{k} + \frac{\frac{a}{b}}{c}", r"\text{for } x > 0",
    r"a \bmod 6", r"\prod_{i=1}^{n} a_{i}",
]  # fmt: skip


def test_widths_are_those_of_pdflatex(printed, set_widths):
    """The task is ten per cent; the estimate is better."""
    lines = [line.strip().replace("&", "", 1) for text in printed.values() for line in text.split("\n")[1:-1]]
    formulas = sorted({line.removesuffix(r" \\") for line in lines if "\\begin" not in line}) + SIGNS
    assert len(formulas) > 200
    found = [(width(text) / real, text) for text, real in zip(formulas, set_widths(formulas), strict=True)]
    assert [(round(ratio, 3), text) for ratio, text in found if not 0.94 < ratio < 1.06] == []
    assert sum(abs(ratio - 1) for ratio, _ in found) / len(found) < 0.01


def test_a_width_that_is_wrong_is_found(set_widths):
    """The comparison sees the width of one letter."""
    (real,) = set_widths(["w_{1} x + b"])
    assert width("w_{1} x + b") == pytest.approx(real, rel=0.01)
    assert width("w_{1} x + b b") != pytest.approx(real, rel=0.06)
