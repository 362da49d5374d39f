r"""What single LaTeX commands stand for: the character, its class in TeX's sense, and its width in Computer Modern at ten points.

The classes and the spaces between them are those of chapters 17 and 18 of the TeXbook; the widths are those of the fonts cmmi10,
cmr10, cmsy10 and cmex10, in thousandths of an em.
"""

# ruff: noqa: RUF001 - a table of characters, many of which look alike

from collections.abc import Iterator
from typing import Literal, NamedTuple

Kind = Literal["ordinary", "operator", "binary", "relation", "open", "close", "punctuation", "inner"]


class Symbol(NamedTuple):
    """A character, its class, its width, and whether it is a big operator, which carries limits."""

    character: str
    kind: Kind
    width: int = 778
    big: bool = False


_GREEK = """
    alpha α 644  beta β 619  gamma γ 574  delta δ 482  epsilon ϵ 406  zeta ζ 512  eta η 533  theta θ 497  iota ι 354  kappa κ 576
    lambda λ 583  mu μ 603  nu ν 558  xi ξ 484  pi π 606  rho ρ 517  sigma σ 607  tau τ 550  upsilon υ 576  phi ϕ 596  chi χ 626
    psi ψ 687  omega ω 658  varepsilon ε 466  vartheta ϑ 591  varpi ϖ 856  varrho ϱ 517  varsigma ς 443  varphi φ 654  varkappa ϰ 667
    digamma ϝ 667  omicron ο 485  Gamma Γ 625  Delta Δ 833  Theta Θ 778  Lambda Λ 694  Xi Ξ 667  Pi Π 750  Sigma Σ 722  Upsilon Υ 778
    Phi Φ 722  Psi Ψ 778  Omega Ω 722
"""

_ORDINARY = r"""
    partial ∂ 587  infty ∞ 1000  nabla ∇ 833  top ⊤ 778  bot ⊥ 778  perp ⊥ 778  ell ℓ 417  hbar ℏ 540  Re ℜ 722  Im ℑ 722  aleph ℵ 611
    emptyset ∅ 500  forall ∀ 556  exists ∃ 556  neg ¬ 667  prime ′ 275  imath ı 322  jmath ȷ 384  wp ℘ 636  angle ∠ 722  dots … 1172
    ldots … 1172  cdots ⋯ 1172  vdots ⋮ 278  ddots ⋱ 1282  dag † 444  ddag ‡ 444  S § 444  % % 833  # # 833  $ $ 500  & & 778  _ _ 500
    | ‖ 500  Vert ‖ 500  vert | 278  backslash \ 500  circledast ⊛ 778  textbackslash \ 500  textasciitilde ~ 500  textasciicircum ^ 500
    blacksquare ■ 778  square □ 778  flat ♭ 389  sharp ♯ 389  natural ♮ 389  degree ° 500  complement ∁ 500  eth ð 556
"""

_BINARY = r"""
    cdot ⋅ 278  odot ⊙ 778  oplus ⊕ 778  ominus ⊖ 778  otimes ⊗ 778  oslash ⊘ 778  times × 778  div ÷ 778  circ ∘ 500  ast ∗ 500  star ⋆ 500
    bullet ∙ 500  pm ± 778  mp ∓ 778  cap ∩ 667  cup ∪ 667  wedge ∧ 667  vee ∨ 667  land ∧ 667  lor ∨ 667  setminus ∖ 500  dagger † 444
    ddagger ‡ 444  diamond ⋄ 500  veebar ⊻ 611  barwedge ⊼ 611  uplus ⊎ 667  sqcap ⊓ 667  sqcup ⊔ 667  amalg ⨿ 750  triangleleft ◁ 500
    triangleright ▷ 500  bigtriangleup △ 889
"""

_RELATIONS = r"""
    leq ≤ 778  le ≤ 778  geq ≥ 778  ge ≥ 778  lt < 778  gt > 778  neq ≠ 778  ne ≠ 778  equiv ≡ 778  approx ≈ 778  sim ∼ 778  simeq ≃ 778
    cong ≅ 778  propto ∝ 778  in ∈ 667  notin ∉ 667  ni ∋ 667  subset ⊂ 778  subseteq ⊆ 778  supset ⊃ 778  supseteq ⊇ 778  ll ≪ 1000
    gg ≫ 1000  mid ∣ 278  parallel ∥ 500  to → 1000  rightarrow → 1000  gets ← 1000  leftarrow ← 1000  leftrightarrow ↔ 1000  mapsto ↦ 1000
    Rightarrow ⇒ 1000  Leftarrow ⇐ 1000  Leftrightarrow ⇔ 1000  implies ⟹ 1638  iff ⟺ 1858  longrightarrow ⟶ 1638  longleftarrow ⟵ 1638
    longmapsto ⟼ 1638  vdash ⊢ 611  models ⊨ 867  uparrow ↑ 500  downarrow ↓ 500  triangleq ≜ 778  coloneqq ≔ 1056  doteq ≐ 778
    subsetneq ⊊ 778  supsetneq ⊋ 778  asymp ≍ 778  prec ≺ 778  succ ≻ 778  preceq ⪯ 778  succeq ⪰ 778  nleq ≰ 778  ngeq ≱ 778
"""

_FENCES = r"""
    lVert open ‖ 500  rVert close ‖ 500  lvert open | 278  rvert close | 278  lfloor open ⌊ 444  rfloor close ⌋ 444  lceil open ⌈ 444
    rceil close ⌉ 444  langle open ⟨ 389  rangle close ⟩ 389  { open { 500  } close } 500  lbrace open { 500  rbrace close } 500
    lbrack open [ 278  rbrack close ] 278  lparen open ( 389  rparen close ) 389
"""

_BIG = """
    sum ∑ 1444  prod ∏ 1278  coprod ∐ 1278  int ∫ 1000  iint ∬ 1361  iiint ∭ 1722  iiiint ⨌ 2083  oint ∮ 1000  bigcup ⋃ 1111  bigcap ⋂ 1111
    bigoplus ⨁ 1511  bigotimes ⨂ 1511  bigodot ⨀ 1511  bigvee ⋁ 1111  bigwedge ⋀ 1111
"""

# Plain characters that are not letters or digits.
CHARACTERS: dict[str, Symbol] = {
    "+": Symbol("+", "binary"),
    "-": Symbol("−", "binary"),
    "*": Symbol("∗", "binary", 500),
    "=": Symbol("=", "relation"),
    "<": Symbol("<", "relation"),
    ">": Symbol(">", "relation"),
    ":": Symbol(":", "relation", 278),
    ",": Symbol(",", "punctuation", 278),
    ";": Symbol(";", "punctuation", 278),
    "(": Symbol("(", "open", 389),
    "[": Symbol("[", "open", 278),
    ")": Symbol(")", "close", 389),
    "]": Symbol("]", "close", 278),
    "!": Symbol("!", "close", 278),
    "?": Symbol("?", "close", 472),
    "|": Symbol("|", "ordinary", 278),
    "/": Symbol("/", "ordinary", 500),
    ".": Symbol(".", "ordinary", 278),
    "@": Symbol("@", "ordinary", 778),
    "~": Symbol("\u00a0", "ordinary", 333),
}


def _entries(table: str, columns: int) -> Iterator[list[str]]:
    words = table.split()
    return (words[i : i + columns] for i in range(0, len(words), columns))


SYMBOLS: dict[str, Symbol] = {}
for _kind, _table in (("ordinary", _GREEK), ("ordinary", _ORDINARY), ("binary", _BINARY), ("relation", _RELATIONS)):
    SYMBOLS |= {"\\" + name: Symbol(character, _kind, int(width)) for name, character, width in _entries(_table, 3)}  # type: ignore[arg-type]
SYMBOLS |= {"\\" + name: Symbol(character, kind, int(width)) for name, kind, character, width in _entries(_FENCES, 4)}  # type: ignore[arg-type]
SYMBOLS |= {"\\" + name: Symbol(character, "operator", int(width), big=True) for name, character, width in _entries(_BIG, 3)}



def symbol_of(token: str) -> Symbol:
    """What a character or a command stands for; a letter stands for itself."""
    return CHARACTERS.get(token) or SYMBOLS.get(token) or Symbol(token, "ordinary", 500)


# Names of functions, set upright; those that take limits as a sum sign does.
FUNCTIONS = {
    "\\" + name: name
    for name in """arccos arcsin arctan arg cos cosh cot coth csc deg det dim exp gcd hom inf ker lg lim ln log max min Pr sec sin sinh
    sup tan tanh""".split()
} | {r"\limsup": "lim sup", r"\liminf": "lim inf"}
WITH_LIMITS = {"max", "min", "lim", "sup", "inf", "det", "gcd", "Pr", "lim sup", "lim inf"}

# Spaces, in em.
SPACES = {
    r"\,": 3 / 18,
    r"\:": 4 / 18,
    r"\>": 4 / 18,
    r"\;": 5 / 18,
    r"\!": -3 / 18,
    r"\ ": 1 / 3,
    r"\thinspace": 3 / 18,
    r"\medspace": 4 / 18,
    r"\thickspace": 5 / 18,
    r"\enspace": 0.5,
    r"\quad": 1.0,
    r"\qquad": 2.0,
}

# Marks above (or below) what they stand on.
ACCENTS = {
    r"\hat": "ˆ",
    r"\widehat": "^",
    r"\check": "ˇ",
    r"\tilde": "˜",
    r"\widetilde": "~",
    r"\acute": "´",
    r"\grave": "`",
    r"\breve": "˘",
    r"\mathring": "˚",
    r"\bar": "ˉ",
    r"\overline": "‾",
    r"\vec": "→",
    r"\overrightarrow": "→",
    r"\dot": "˙",
    r"\ddot": "¨",
    r"\dddot": "⃛",
    r"\ddddot": "⃜",
    r"\underline": "_",
}

# Alphabets: the command and the style of the letters inside.
STYLES = {
    r"\mathrm": "upright",
    r"\mathit": "slanted",
    r"\mathbf": "bold",
    r"\boldsymbol": "bold italic",
    r"\bm": "bold italic",
    r"\mathbb": "double-struck",
    r"\mathcal": "script",
    r"\mathscr": "script",
    r"\mathfrak": "fraktur",
    r"\mathsf": "sans-serif",
    r"\mathtt": "monospace",
    r"\mathnormal": "italic",
}

# Brackets of a fixed size, in em.
SIZES = {
    r"\big": 1.2,
    r"\Big": 1.8,
    r"\bigg": 2.4,
    r"\Bigg": 3.0,
}

# Environments of rows and columns: the brackets around them.
GRIDS = {
    "matrix": ("", ""),
    "smallmatrix": ("", ""),
    "array": ("", ""),
    "pmatrix": ("(", ")"),
    "bmatrix": ("[", "]"),
    "Bmatrix": ("{", "}"),
    "vmatrix": ("|", "|"),
    "Vmatrix": ("‖", "‖"),
    "cases": ("{", ""),
}
ALIGNED = {"align", "align*", "aligned", "split", "gather", "gather*", "gathered", "equation", "equation*", "alignat", "alignat*", "multline", "multline*"}
