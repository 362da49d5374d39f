"""The README: every block of code in it runs, and prints what stands beside it."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sympy as sp

import symbackprop as sbp

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(title):
    return README.split(f"\n## {title}\n")[1].split("\n## ")[0]


@pytest.fixture(scope="module")
def tour(tmp_path_factory):
    """The names after all Python blocks, run in order in an empty folder; the folder is theirs alone."""
    folder = tmp_path_factory.mktemp("readme")
    names = {"__name__": "readme"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for i, block in enumerate(blocks("python")):
            exec(compile(block, f"README, Python block {i + 1}", "exec"), names)
        yield names, folder


def test_every_python_block_runs(tour):
    names, folder = tour
    assert len(blocks("python")) >= 10
    assert {path.name for path in folder.iterdir()} == {"derivation.html", "by_numbers.tex", "network.svg", "run.npz"}
    assert names["audit"].wrong == ["w_1", "b"]


CLAIM = re.compile(r"^(gradient\.chain|sp\.simplify\(.*\)|steps\.ok|steps\.steps\[0\]\.latex)\s+# (.+)$", re.MULTILINE)


def test_what_stands_in_comments_is_so(tour):
    names, _ = tour
    claims = CLAIM.findall("\n".join(blocks("python")))
    assert len(claims) == 4
    for expression, claim in claims:
        assert str(eval(expression, names)) == claim


def test_what_stands_below_a_print_is_so(tour):
    """The audit, but for the last digits of its errors."""
    (shown,) = blocks("text")
    number = r"\d\.\de[-+]\d\d"
    assert re.sub(number, "0", shown.strip()) == re.sub(number, "0", repr(tour[0]["audit"]))


def test_the_formulas_are_those_of_the_network(tour):
    (shown,) = blocks("latex")
    assert shown.strip() == tour[0]["net"].latex("local")
    step = re.search(r"written out: \$z_2 = w_2 a_1 \+ b = (.*?)\$", README)[1]
    point = {"w_1": 0.5, "w_2": 2.0, "b": 0.0}
    assert any(step in s.latex for s in tour[0]["net"].explain(point, x=1.0, t=0.0, digits=4).steps)
    assert float(sp.N(2 * sp.tanh(0.5), 4)) == pytest.approx(float(step.split()[-1]), abs=5e-5)


def test_the_text_form_is_the_example():
    (shown,) = blocks("", section("Command line"))
    assert shown in (ROOT / "examples" / "tanh.net").read_text(encoding="utf-8")
    assert [str(e.symbol) for e in sbp.parse(shown)] == ["z_1", "a_1", "z_2", "y", "C"]


def test_the_commands_run(tmp_path):
    """As they stand, with the command's module in place of its script, in a copy of the examples; `.ci/run` runs them literally."""
    (block,) = blocks("bash", section("Command line"))
    activate, *commands = block.splitlines()
    assert activate == "source .venv/bin/activate"
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    outputs = {}
    for line in commands:
        for command in line.split(" && "):
            program, *arguments = shlex.split(command)
            start = {"symbackprop": [sys.executable, "-W", "error", "-m", "symbackprop"], "python": [sys.executable]}[program]
            done = subprocess.run([*start, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=100)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            outputs[command] = done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "tanh.html", "step.py", "mpg.npz"}
    assert r"w_{1} &\leftarrow w_{1} - 0.01 \frac{\partial C}{\partial w_{1}}" in "".join(outputs.values())
    assert sbp.Trainer.load(tmp_path / "mpg.npz").steps == 500


def test_paths_that_are_named_exist():
    for path in re.findall(r"\]\(([\w./-]+)\)|src=\"([\w./-]+)\"|python (examples/\S+?\.py)", README):
        assert (ROOT / next(filter(None, path))).exists(), path
