"""What derivations are written to: LaTeX that fits the page, Markdown that GitHub and Jupyter show, HTML that needs no network."""

import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.display import markdown

sys.path.insert(0, str(Path(__file__).parent))

from test_derivation_lines import NETWORKS

MATHML = "{http://www.w3.org/1998/Math/MathML}"


def names_of_all_kinds():
    """Greek letters, words, underscores, capitals with digits, functions with underscores."""
    x_in, t = sbp.data("x_in target")
    alpha, beta, w = sbp.weight("alpha beta_hid w_1_2")
    zhat = sbp.node("zhat", sbp.leaky_relu(alpha * x_in + beta))
    return sbp.Network(sbp.node("loss_total", (zhat * w - t) ** 2 + sp.Abs(beta)), output=zhat)


def explained(name):
    net = NETWORKS[name]()
    rng = np.random.default_rng(1)
    weights = {w: rng.uniform(-1, 1, t.shape) for w, t in net.weights.items()}
    data = {d: rng.uniform(0.1, 0.9, tuple(1 if size == "n" else size for size in t.shape)) for d, t in net.data.items()}
    return net.explain(weights, **data)


def labelled():
    """Classes as integers, and a table of which rows are taken."""
    X, k = sbp.data("X", ("n", 2)), sbp.data("k", ("n",))
    E, W = sbp.weight("E", (3, 2)), sbp.weight("W", (2, 3))
    return sbp.Network(sbp.node("C", sbp.cross_entropy(sbp.node("Z", (X + sbp.take(E, k, axis=0)) @ W), k)))


MORE = {"names of all kinds": names_of_all_kinds, "labelled": labelled, "deep": lambda: sbp.mlp([3, 4, 4, 4, 2], loss="cross_entropy")}


@pytest.fixture(scope="module")
def documents():
    """Every network in every form, and worked examples."""
    found = {}
    for name, build in (NETWORKS | MORE).items():
        for form in ("mixed", *(["matrix", "index", "chain"] if name in ("layers", "two paths", "classifier", "operators") else [])):
            optimizer = sbp.Adam(amsgrad=True) if form == "mixed" else sbp.SGD(lr=0.1)
            found[f"{name}, {form}"] = build().derivation(form, optimizer=optimizer, verify=name in ("tanh", "layers"))
    for name in ("tanh", "columns"):
        found[f"{name}, entry"] = NETWORKS[name]().derivation("entry", verify=False)
    return found | {f"{name}, by numbers": explained(name) for name in ("tanh", "columns", "normalised", "minimum")}


@pytest.fixture(scope="module")
def markdown_pages(documents):
    return {name: derivation.markdown() for name, derivation in documents.items()}


@pytest.fixture(scope="module")
def html_pages(documents):
    return {name: derivation.html() for name, derivation in documents.items()}


# --- LaTeX ----------------------------------------------------------------------------------------------------------------


def pdflatex(source, folder):
    """The log of a run."""
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")
    (folder / "page.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Output written on page.pdf" in run.stdout
    return run.stdout


def overfull(log):
    """What sticks out by more than a point: (which document, how far)."""
    found = []
    here = ""
    for line in log.splitlines():
        here = line.removeprefix("==> ") if line.startswith("==> ") else here
        if match := re.match(r"Overfull \\hbox \(([\d.]+)pt too wide\)", line):
            found += [(here, float(match.group(1)))] if float(match.group(1)) > 1 else []
    return found


def test_every_article_fits_its_page(documents, tmp_path):
    articles = {name: derivation.latex(document=True) for name, derivation in documents.items()}
    preambles = {text.partition(r"\begin{document}")[0] for text in articles.values()}
    assert len(preambles) == 1
    bodies = [rf"\typeout{{==> {name}}}" + re.search(r"\\begin\{document\}(.*)\\end\{document\}", text, re.S).group(1) for name, text in articles.items()]
    log = pdflatex(preambles.pop() + "\\begin{document}\n" + "\n\\clearpage\n".join(bodies) + "\n\\end{document}\n", tmp_path)
    assert overfull(log) == []
    assert log.count("==> ") == len(documents)


def test_what_sticks_out_is_found(documents, tmp_path):
    text = documents["tanh, mixed"].latex(document=True)
    wide = text.replace(r"\end{document}", "\\typeout{==> wide}\n\\[" + "a + " * 80 + "b \\]\n\\end{document}")
    ((name, excess),) = overfull(pdflatex(wide, tmp_path))
    assert name == "wide"
    assert excess > 100


def test_a_fragment_needs_two_packages_only(documents, tmp_path):
    parts = [documents[name].latex() for name in ("tanh, mixed", "layers, mixed", "functions, mixed", "operators, matrix", "columns, by numbers")]
    assert not any("documentclass" in part or "usepackage" in part for part in parts)
    pdflatex("\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\begin{document}\n" + "\n".join(parts) + "\n\\end{document}\n", tmp_path)


def test_every_step_is_numbered_once(documents, markdown_pages):
    for name in [name for name in documents if "mixed" in name or "numbers" in name]:
        derivation = documents[name]
        assert [int(n) for n in re.findall(r"\\tag\{(\d+)\}", derivation.latex())] == [step.number for step in derivation.steps], name
        assert [int(n) for n in re.findall(r"\\text\{\((\d+)\)\}", markdown_pages[name])] == [step.number for step in derivation.steps], name


# --- Markdown -------------------------------------------------------------------------------------------------------------


def pieces(markdown):
    """(displayed formulas, formulas within lines, what is left)."""
    displayed = re.findall(r"^\$\$\n(.*?)\n\$\$$", markdown, re.S | re.M)
    rest = re.sub(r"^\$\$\n.*?\n\$\$$", "", markdown, flags=re.S | re.M)
    return displayed, re.findall(r"\$([^$]+)\$", rest), re.sub(r"\$[^$]+\$", "FORMULA", rest)


def test_every_formula_renders_in_katex(markdown_pages, katex):
    displayed, inline = [], []
    for page in markdown_pages.values():
        blocks, lines, _ = pieces(page)
        displayed += blocks
        inline += set(lines)
    assert len(displayed) > 200
    for formulas, mode in ((displayed, True), (inline, False)):
        for formula, rendered in zip(formulas, katex(formulas, displayMode=mode), strict=True):
            assert not rendered.startswith("ERROR"), f"{formula}: {rendered}"


def opens_emphasis(text, at):
    """CommonMark 6.2: whether the _ there may begin an emphasis: it stands before a character, and after a space or punctuation."""
    before, after = text[at - 1] if at else " ", text[at + 1] if at + 1 < len(text) else " "
    punctuation = set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
    left = not after.isspace() and (after not in punctuation or before.isspace() or before in punctuation)
    right = not before.isspace() and (before not in punctuation or after.isspace() or after in punctuation)
    return left and (not right or before in punctuation)


def test_githubs_markdown_leaves_formulas_alone(markdown_pages):
    r"""GitHub reads a line as Markdown before it looks for formulas: there an underscore after a bracket begins an emphasis, and a backslash
    before punctuation is lost. (github/markup, issue 1575)"""
    assert opens_emphasis(r"\mathbf{x}_{i}", 10)
    assert not opens_emphasis(r"\mathbf{x}_ {i}", 10)
    assert not opens_emphasis("w_{1}", 1)
    for name, page in markdown_pages.items():
        for formula in pieces(page)[1]:
            assert not [m.start() for m in re.finditer("_", formula) if opens_emphasis(f"${formula}$", m.start() + 1)], f"{name}: {formula}"
            assert not re.search(r"\\[^a-zA-Z\s]", formula), f"{name}: {formula}"
            assert "*" not in formula
            assert "`" not in formula
            assert not formula.startswith(" ")
            assert not formula.endswith(" ")


def test_words_are_not_read_as_markdown(markdown_pages):
    assert markdown.prose("a_b *c* [d](e) <f> `g` # | in $x_1$") == r"a\_b \*c\* \[d\](e) \<f\> \`g\` \# \| in $x_1$"
    for name, page in markdown_pages.items():
        _, _, rest = pieces(page)
        for line in rest.splitlines():
            bare = re.sub(r"^(#+ |- )|^\*\*(.*)\*\*$|^\*(.*)\*$", r"\2\3", line)
            bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", bare)
            assert not re.search(r"[_*`<>\[\]|~#]", bare), f"{name}: {line}"


def test_headings_and_display(documents):
    derivation = documents["tanh, mixed"]
    text = derivation.markdown()
    assert re.sub("^##", "", derivation._repr_markdown_(), flags=re.M) == text  # below the headings of a notebook
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        "# The gradients of the loss $C$", "## Forward pass", "## Loss", "## The derivative of each equation", "## The errors, from the loss backwards",
        "## The gradient of $w_{1}$", "## The gradient of $w_{2}$", "## The gradient of $b$", "## The update",
    ]  # fmt: skip


# --- HTML -----------------------------------------------------------------------------------------------------------------


class Reading(HTMLParser):
    """The elements of a page, with their attributes, and the text inside each that is asked for."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.stack, self.found, self.text = [], [], {}
        self.feed(page)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in {tag}"
        self.found.append((tag, dict(attrs)))
        if tag != "meta":
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        for tag in set(self.stack):
            self.text[tag] = self.text.get(tag, "") + data


def test_every_page_is_well_formed_and_whole(documents, html_pages):
    for name, derivation in documents.items():
        page = html_pages[name]
        reading = Reading(page)
        assert page.startswith('<!DOCTYPE html>\n<html lang="en">')
        assert ("meta", {"charset": "utf-8"}) in reading.found
        assert reading.text["title"].strip()
        assert "$" not in reading.text["title"]
        for part in re.findall(r"<math.*?</math>|<svg.*?</svg>", page, re.S):
            ElementTree.fromstring(part)
        ids = [attributes["id"] for _, attributes in reading.found if "id" in attributes]
        assert len(ids) == len(set(ids)), name
        assert {f"eq-{step.number}" for step in derivation.steps} <= set(ids)
        links = [attributes["href"] for _, attributes in reading.found if "href" in attributes]
        assert {link for link in links if not link.startswith("#") or link[1:] not in ids} == set(), name
        assert len(links) >= sum(len(step.uses) > 0 for step in derivation.steps)
        assert not re.search("\\$[^$<]+\\$", reading.text["main"].replace(reading.text.get("pre", ""), "")), name


def test_nothing_is_fetched(html_pages):
    fetching = {"src", "srcset", "data", "action", "poster", "background", "xlink:href"}
    for page in html_pages.values():
        for tag, attributes in Reading(page).found:
            assert not fetching & set(attributes), tag
            assert tag not in ("link", "img", "iframe", "object", "embed", "base", "use")
        assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|import ", re.sub(r"<pre.*?</pre>", "", page, flags=re.S))
        assert set(re.findall(r"https?://[^\s\"'<]*", page)) <= {"http://www.w3.org/1998/Math/MathML", "http://www.w3.org/2000/svg"}


def test_the_formulas_of_the_page_are_those_of_the_steps(documents):
    """Every formula keeps its LaTeX as an annotation, in the order of the steps."""
    for name in ("tanh, mixed", "columns, by numbers"):
        derivation = documents[name]
        grids = re.findall(r'<div class="equations">(.*?)\n?(?=</details>|<div class="equations">|$)', derivation.html(), re.S)
        annotations = [html.unescape(note) for note in re.findall(r"<annotation[^>]*>(.*?)</annotation>", "".join(grids), re.S)]
        lefts = [step.left for step in derivation.steps if step.left]
        remaining = iter(annotations)
        assert all(left in remaining for left in lefts), name


def test_the_code_on_the_page_is_the_generated_module(documents):
    for name, optimizer in (
        ("tanh, mixed", sbp.Adam(amsgrad=True)),
        ("layers, matrix", sbp.SGD(lr=0.1)),
        ("names of all kinds, mixed", sbp.Adam(amsgrad=True)),
    ):
        net = (NETWORKS | MORE)[name.split(",")[0]]()
        assert Reading(documents[name].html()).text["pre"].strip("\n") == net.generate("numpy", optimizer=optimizer).strip("\n")


def test_steps_fold(documents):
    reading = Reading(documents["layers, mixed"].html())
    folds = [attributes for tag, attributes in reading.found if tag == "details"]
    assert sum(tag == "summary" for tag, _ in reading.found) == len(folds) > 10
    assert "button" in [tag for tag, _ in reading.found]


def test_a_wrong_step_is_marked(documents):
    derivation = NETWORKS["tanh"]().derivation()
    step = derivation.steps[8]
    bad = type(step)(**{**vars(step), "verification": type(step.verification)(0.5, 1e-9, "a complex step")})
    for section in derivation.sections:
        section.blocks = [[bad if s is step else s for s in block] for block in section.blocks]
    assert not derivation.ok
    assert "✗" in derivation.html()
    for text in (derivation.latex(), derivation.markdown(), derivation.text(), derivation.html()):
        assert "WRONG" in text
    assert "✗" not in documents["tanh, mixed"].html()


@pytest.mark.skipif(not shutil.which("chromium"), reason="chromium is not installed")
def test_a_browser_opens_it(documents, tmp_path):
    path = tmp_path / "page.html"
    documents["layers, mixed"].save(path)
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dump = subprocess.run([*browser, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120)
    assert dump.stdout.count("<math") == documents["layers, mixed"].html().count("<math ") > 50
    subprocess.run([*browser, f"--print-to-pdf={tmp_path / 'page.pdf'}", path.as_uri()], capture_output=True, timeout=120, check=True)
    pdf = (tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= 2


# --- files ----------------------------------------------------------------------------------------------------------------


def test_save(documents, tmp_path):
    derivation = documents["tanh, mixed"]
    wanted = {
        "tex": derivation.latex(document=True),
        "html": derivation.html(),
        "htm": derivation.html(),
        "md": derivation.markdown(),
        "txt": derivation.text(),
    }
    for suffix, text in wanted.items():
        for path in (tmp_path / f"a.{suffix}", str(tmp_path / f"b.{suffix.upper()}")):
            derivation.save(path)
            assert Path(path).read_text(encoding="utf-8") == text
    for name in ("page.docx", "page", "page.tex.bak"):
        with pytest.raises(sbp.SymbackpropError, match=rf"{re.escape(name)}.*\.tex.*\.html.*\.md") as error:
            derivation.save(tmp_path / name)
        assert "\n" not in str(error.value)
        assert not (tmp_path / name).exists()


def test_the_same_text_every_time(documents):
    """Nothing on a page depends on what was derived before."""
    again = NETWORKS["layers"]().derivation("mixed", optimizer=sbp.Adam(amsgrad=True))
    assert again.html() == documents["layers, mixed"].html()
    assert again.markdown() == documents["layers, mixed"].markdown()


def test_a_long_derivation_begins_with_its_contents():
    """Every heading once, with the numbers of its equations, and on a page with a link that leads somewhere; a short one needs none."""
    X, hidden = sbp.data("X", ("n", 2)), sbp.data("X", ("n", 2))
    for _ in range(9):
        hidden = sbp.dense(hidden, 2, "tanh")
    long = sbp.Network(sbp.node("C", sbp.mean(hidden**2))).derivation("matrix", verify=False)
    short = sbp.Network(sbp.node("C", sbp.mean(sbp.dense(X, 2) ** 2))).derivation("matrix", verify=False)
    page, article, text = long.html(), long.latex(document=True), long.markdown()
    entries = [line for line in text.splitlines() if line.startswith("- ")][: len(long.sections)]
    for number, (section, entry) in enumerate(zip(long.sections, entries, strict=True), 1):
        steps = [step.number for step in section]
        assert f"({steps[0]})" in entry
        assert f"({steps[-1]})" in entry
        assert f'<a href="#section-{number}">' in page
        assert page.count(f'id="section-{number}"') == 1
    assert article.count(r"\dotfill") == page.count('href="#section-') == len(long.sections)
    assert r"\dotfill" not in short.latex(document=True)
    assert "#section-" not in short.html()
