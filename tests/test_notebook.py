"""The notebook in the examples: executed anew in a fresh process, its outputs are those that it stores.

With Jupyter's own kernel where nbclient is installed, and once by running its cells in order without any of Jupyter.
"""

import base64
import copy
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import symbackprop as sbp

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "examples" / "derivation.ipynb"

# Runs the cells of the notebook argv[1] and writes to argv[2] what each shows: its prints, and the forms of its last expression.
WITHOUT_JUPYTER = """
import ast, contextlib, io, json, sys

FORMS = {"text/html": "html", "text/markdown": "markdown", "text/latex": "latex", "image/svg+xml": "svg"}
notebook = json.load(open(sys.argv[1], encoding="utf-8"))
names = {"__name__": "__main__"}
for cell in notebook["cells"]:
    if cell["cell_type"] != "code":
        continue
    body = ast.parse("".join(cell["source"])).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    printed, cell["outputs"] = io.StringIO(), []
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None
    if printed.getvalue():
        cell["outputs"].append({"output_type": "stream", "name": "stdout", "text": printed.getvalue()})
    if value is not None:
        data = {mime: getattr(value, f"_repr_{form}_", lambda: None)() for mime, form in FORMS.items()}
        data = {mime: text for mime, text in data.items() if text is not None} | {"text/plain": repr(value)}
        cell["outputs"].append({"output_type": "execute_result", "data": data})
json.dump(notebook, open(sys.argv[2], "w", encoding="utf-8"))
"""


def load(path):
    return json.loads(Path(path).read_text(encoding="utf-8"))


def shown(notebook):
    """Cell → its outputs by kind; the images inside HTML as their SVG."""
    found = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        forms = found.setdefault(cell["id"], {})
        for output in cell["outputs"]:
            data = output["data"] if "data" in output else {output["name"]: output["text"]}
            for kind, text in data.items():
                text = re.sub('base64,([^"]+)', lambda m: base64.b64decode(m[1]).decode(), "".join(text))
                forms[kind] = forms.get(kind, "") + text
    return found


FRACTION = re.compile(r"-?\d+\.\d+(?:e[-+]?\d+)?")


def assert_same(found, stored):
    """The same outputs: letter by letter, except that the last digits of a fraction may differ, and by how much numbers agree
    where they do."""
    assert found.keys() == stored.keys()
    for cell, forms in stored.items():
        assert found[cell].keys() == forms.keys(), cell
        for kind in forms:
            pair = [re.sub("the largest relative error is .*", "", text[cell][kind]).strip() for text in (found, stored)]
            assert FRACTION.sub("0.0", pair[0]) == FRACTION.sub("0.0", pair[1]), f"{cell}: {kind}"
            numbers = [list(map(float, FRACTION.findall(text))) for text in pair]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-9), f"{cell}: {kind}"


def with_jupyter(path):
    subprocess.run([sys.executable, ROOT / ".ci" / "notebook", path], check=True, timeout=200)


def without_jupyter(path):
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT_JUPYTER, NOTEBOOK, path], check=True, timeout=200, cwd=path.parent)


@pytest.fixture(scope="module", params=[with_jupyter, without_jupyter])
def executed(request, tmp_path_factory):
    """What each cell shows, executed now, and the folder in which it ran."""
    if request.param is with_jupyter and not all(map(importlib.util.find_spec, ("nbclient", "ipykernel"))):
        pytest.skip("Jupyter is not installed")
    path = tmp_path_factory.mktemp("notebook") / "executed.ipynb"
    request.param(path)
    return path


def test_the_stored_outputs_are_what_it_prints_today(executed):
    """Where what it prints has changed for the better, `.ci/notebook` stores it anew."""
    assert_same(shown(load(executed)), shown(load(NOTEBOOK)))


def test_executing_changes_nothing_in_the_file(executed):
    """No path, time or version is stored: what the repository holds is what the tool writes."""
    ours, new = load(NOTEBOOK), load(executed)
    for notebook in (ours, new):
        for cell in notebook["cells"]:
            cell.pop("outputs", None)
    assert new == ours
    assert not re.search(r"/home/|/tmp/|/usr/|site-packages|\.local\b", NOTEBOOK.read_text(encoding="utf-8"))


STALE = {
    "a formula": ("gradients", "text/latex", "1 - y^{2}", "1 - y"),
    "a sign": ("explain", "text/markdown", "&= y - t", "&= t - y"),
    "a number": ("explain", "text/markdown", "0.5383", "0.5483"),
    "a verdict": ("audit", "text/markdown", "wrong", "right"),
    "a picture": ("diagram", "image/svg+xml", "tanh", "sinh"),
    "an image in a page": ("matrices", "text/html", "tanh", "sinh"),
    "a word": ("derivation", "text/markdown", "chain rule", "sum rule"),
    "a print": ("weights", "stdout", "w_1", "w_9"),
}


@pytest.mark.parametrize("name", STALE)
def test_a_stale_output_is_found(name):
    cell, kind, now, then = STALE[name]
    stored = shown(load(NOTEBOOK))
    stale = copy.deepcopy(stored)
    assert now in stale[cell][kind]
    stale[cell][kind] = stale[cell][kind].replace(now, then, 1)
    with pytest.raises(AssertionError, match=cell):
        assert_same(stored, stale)


def test_a_missing_output_is_found():
    stored = shown(load(NOTEBOOK))
    for change in (lambda s: s["diagram"].pop("image/svg+xml"), lambda s: s.pop("train")):
        stale = copy.deepcopy(stored)
        change(stale)
        with pytest.raises(AssertionError):
            assert_same(stored, stale)


def test_every_kind_of_object_shows_itself():
    """Each in the forms that JupyterLab, VS Code and GitHub set: formulas as LaTeX or Markdown, pictures as images in HTML."""
    kinds = {cell: set(forms) - {"text/plain"} for cell, forms in shown(load(NOTEBOOK)).items()}
    assert kinds["describe"] == kinds["gradients"] == {"text/latex"}
    assert kinds["derivation"] == kinds["explain"] == kinds["audit"] == {"text/markdown"}
    assert kinds["diagram"] == {"text/html", "image/svg+xml"}
    assert kinds["train"] == {"text/html"}
    assert sbp.SGD(lr=0.1)._repr_latex_().startswith("$$")


def test_what_the_notebook_says_of_itself():
    """The sentences between the cells that state a result."""
    stored = shown(load(NOTEBOOK))
    assert stored["sympy"]["text/plain"] == "[0, 0, 0]"
    assert "all 3 gradients are right" in stored["audit-start"]["text/markdown"]
    assert "w\\_1 where w\\_2 belongs" in stored["audit"]["text/markdown"]
    weights = [float(w) for w in re.findall(r"= (-?[\d.]+)", stored["weights"]["stdout"])]
    assert weights == pytest.approx([0.8, 1.5, -0.3], abs=2e-3)
