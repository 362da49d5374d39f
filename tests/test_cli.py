"""The command line: what each command prints and writes, held against the Python interface and NumPy, and how each ends."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import pytest
import sympy as sp

import symbackprop as sbp
from symbackprop.cli import progress
from symbackprop.cli.main import main
from symbackprop.cli.progress import working
from symbackprop.graph.functions import sigmoid

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
TANH = (EXAMPLES / "tanh.net").read_text()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(capsys):
    """`run(*arguments)`: exit status, standard output, standard error."""

    def command(*arguments):
        status = main([str(a) for a in arguments])
        return status, *capsys.readouterr()

    return command


def process(*arguments, **options):
    return subprocess.Popen([sys.executable, "-m", "symbackprop", *map(str, arguments)], env=ENVIRONMENT, **options)


def losses(printed):
    """Epoch → the numbers behind it, from the printed table."""
    lines = printed.split("\n\n")[0].splitlines()[1:]
    return {line.split()[0]: [float(x) for x in line.split()[1:]] for line in lines}


# --- derive and generate ------------------------------------------------------------------------------------------------


def test_derive_prints_the_latex_of_the_derivation(run):
    status, out, err = run("derive", EXAMPLES / "tanh.net")
    assert (status, err) == (0, "")
    assert out.strip() == sbp.load(EXAMPLES / "tanh.net").derivation().latex().strip()
    assert r"\frac{\partial C}{\partial w_{1}}" in out


def test_derive_takes_a_form_weights_and_an_optimizer(run):
    status, out, _ = run("derive", EXAMPLES / "tanh.net", "--form", "local", "--weight", "b", "--optimizer", "adam", "--lr", "0.5")
    assert status == 0
    assert out.strip() == sbp.parse(TANH).derivation("local", ["b"], sbp.Adam(lr=0.5)).latex().strip()
    assert r"\frac{\partial C}{\partial w_{1}}" not in out


@pytest.mark.parametrize(("suffix", "start"), [("tex", "\\documentclass"), ("html", "<!doctype html>"), ("htm", "<!doctype html>"), ("md", "#"), ("txt", "")])
def test_derive_writes_what_the_suffix_says(run, suffix, start):
    status, out, err = run("derive", EXAMPLES / "parabola.net", "-o", f"out.{suffix}")
    assert (status, out, err) == (0, "", f"wrote out.{suffix}\n")
    text = Path(f"out.{suffix}").read_text()
    assert text.lower().startswith(start)
    assert len(text) > 100


def test_a_derivation_that_numbers_contradict_fails(run, monkeypatch):
    Path("wrong.net").write_text("data x\nweight w = 0.7625\nloss C = sigmoid(w*x + 0.625)\n")  # met nowhere else: derivatives are cached
    monkeypatch.setattr(sigmoid, "fdiff", lambda self, argindex=1: self * (1 - self) * sp.Float(1.001))
    sp.core.cache.clear_cache()
    try:
        status, out, err = run("derive", "wrong.net")
    finally:
        sp.core.cache.clear_cache()
    assert status == 1
    assert out
    assert "disagrees with numbers" in err
    assert err.count("\n") == 1


def test_a_derivation_that_cannot_be_checked_says_so(run):
    Path("log.net").write_text("weight w = 1\nloss C = log(-w^2)*w\n")
    status, _, err = run("derive", "log.net")
    assert status == 1
    assert "could not be checked" in err


def test_generate_prints_the_module_of_the_python_interface(run):
    status, out, err = run("generate", EXAMPLES / "tanh.net")
    assert (status, out, err) == (0, sbp.load(EXAMPLES / "tanh.net").generate(), "")


def test_generate_writes_a_module_that_checks_itself(run):
    status, out, err = run("generate", EXAMPLES / "tanh.net", "--optimizer", "adam", "--lr", "0.125", "--set", "betas=0.5,0.75", "-o", "step.py")
    assert (status, out, err) == (0, "", "wrote step.py\n")
    assert Path("step.py").read_text() == sbp.parse(TANH).generate(optimizer=sbp.Adam(lr=0.125, betas=(0.5, 0.75)))
    assert subprocess.run([sys.executable, "step.py"], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "optimizer"),
    [
        ([], sbp.SGD(lr=0.01)),
        (["--optimizer", "sgd", "--set", "momentum=0.9", "--set", "nesterov=true"], sbp.SGD(lr=0.01, momentum=0.9, nesterov=True)),
        (["--optimizer", "adam"], sbp.Adam()),
        (["--optimizer", "adamw", "--set", "weight_decay=0.5"], sbp.AdamW(weight_decay=0.5)),
        (["--optimizer", "rmsprop", "--set", "centered=True"], sbp.RMSprop(centered=True)),
        (["--optimizer", "adagrad", "--lr", "0.5"], sbp.Adagrad(lr=0.5)),
    ],
)
def test_optimizers_have_names_and_settings(run, arguments, optimizer):
    assert run("generate", EXAMPLES / "tanh.net", *arguments)[1] == sbp.parse(TANH).generate(optimizer=optimizer)


# --- check ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({path.stem for path in EXAMPLES.glob("*.net")} - {"lenet"}))  # whose check takes as long as all others
def test_the_examples_check(run, name):
    status, out, err = run("check", EXAMPLES / f"{name}.net")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    weights = sbp.load(EXAMPLES / f"{name}.net").weights
    assert [line.split()[0] for line in lines[1:-1]] == [*weights, "generated"]
    assert all(float(line.split()[1]) < 1e-6 for line in lines[1:-2])
    assert float(lines[-2].split()[2]) < 1e-5  # the module's own bound: rounding in its differences of a loss near 2.3 alone makes some 1e-6
    assert lines[-1] == "ok"


def test_a_wrong_derivative_is_found(run, monkeypatch):
    Path("wrong.net").write_text("data x\nweight w = 0.7625\nloss C = sigmoid(w*x + 0.375)\n")  # met nowhere else: derivatives are cached
    monkeypatch.setattr(sigmoid, "fdiff", lambda self, argindex=1: self * (1 - self) * sp.Float(1.001))
    sp.core.cache.clear_cache()
    try:
        status, out, _ = run("check", "wrong.net")
    finally:
        sp.core.cache.clear_cache()
    assert status == 1
    assert out.splitlines()[-1] == "WRONG"
    assert 5e-4 < float(out.splitlines()[1].split()[1]) < 2e-3


def test_where_nothing_can_be_said_nothing_is_called_right(run):
    Path("log.net").write_text("weight w = 1\nloss C = log(-w^2)*w\n")
    status, out, _ = run("check", "log.net")
    assert status == 1
    assert out.splitlines()[-1].startswith("UNKNOWN")


# --- train ----------------------------------------------------------------------------------------------------------------


def test_train_is_the_gradient_descent_of_the_notebook(run):
    """Two epochs over four rows, one at a time, by hand in NumPy: W_1, b_1, W_2, b_2 and the mean losses."""
    data = EXAMPLES / "data/salaries.csv"
    status, out, err = run("train", EXAMPLES / "regression.net", "--data", data, "--lr", "0.001", "--epochs", "2", "--batch-size", "1")
    W1, b1, W2, b2, means = np.full((2, 2), 0.1), np.zeros(2), np.full(2, 0.1), 0.0, []
    for _ in range(2):
        errors = []
        for *x, t in ((8, 8, 4), (7, 9, 5), (6, 10, 6), (5, 12, 7)):
            a = W1.T @ x + b1
            error = W2 @ a + b2 - t
            errors.append(error**2)
            g = 2 * error * 0.001
            W1, b1, W2, b2 = W1 - g * np.outer(x, W2), b1 - g * W2, W2 - g * a, b2 - g
        means.append(np.mean(errors))
    assert (status, err) == (0, "")
    found = losses(out)
    np.testing.assert_allclose([found["1"][0], found["2"][0]], means, rtol=1e-5)
    weights = dict(line.split(None, 1) for line in out.split("\n\n")[1].splitlines()[1:])
    for name, value in {"W_1": W1, "b_1": b1, "W_2": W2, "b_2": b2}.items():
        np.testing.assert_allclose(json.loads(weights[name]), value, rtol=1e-5)


def test_train_finds_the_least_squares_of_the_table(run):
    path = EXAMPLES / "data/auto_mpg.csv"
    status, out, _ = run("train", EXAMPLES / "mpg.net", "--data", path, "--epochs", "10000")
    with path.open() as lines:
        rows = [(float(r["cylinders"]), float(r["mpg"])) for r in csv.DictReader(lines)]
    x, t = np.array(rows).T
    slope, intercept = np.polyfit(x, t, 1)
    assert status == 0
    weights = dict(line.split() for line in out.split("\n\n")[1].splitlines()[1:])
    assert abs(float(weights["w"]) - slope) < 1e-3
    assert abs(float(weights["b"]) - intercept) < 1e-2
    assert abs(losses(out)["end"][0] - np.mean((slope * x + intercept - t) ** 2)) < 1e-4


TRAINED = {
    "tanh": ["--data", "tanh.csv"],
    "regression": ["--data", "salaries.csv", "--lr", "0.001", "--batch-size", "1"],
    "classification": ["--data", "placements.csv", "--lr", "0.001", "--batch-size", "1"],
    "three_layers": ["--data", "points.csv"],
    "mpg": ["--data", "auto_mpg.csv", "--standardize", "--optimizer", "adam", "--lr", "0.1"],
    "diabetes": ["--data", "pima.csv", "--shuffle", "--batch-size", "32", "--validation", "0.2"],
    "parabola": [],
    "cost": [],
}


@pytest.mark.parametrize("name", TRAINED)
def test_the_examples_train(run, name):
    arguments = [str(EXAMPLES / "data" / a) if a.endswith(".csv") else a for a in TRAINED[name]]
    status, out, err = run("train", EXAMPLES / f"{name}.net", *arguments, "--epochs", "20", "-o", "run.npz")
    assert status == 0
    assert err.startswith("wrote run.npz")
    found = losses(out)
    assert list(found) == ["1", "2", "5", "10", "20", "end"]
    assert found["end"][0] < found["1"][0]
    trainer = sbp.Trainer.load("run.npz")
    assert set(trainer.weights) == set(sbp.load(EXAMPLES / f"{name}.net").weights)
    assert trainer.steps >= 20


def test_digits_train_from_a_table_of_65_columns(run):
    frame = pytest.importorskip("sklearn.datasets").load_digits()
    with open("digits.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*frame.feature_names, "target"])
        writer.writerows([*map(int, image), label] for image, label in zip(frame.data, frame.target, strict=True))
    options = "--lr 0.1 --epochs 10 --batch-size 32 --shuffle --standardize --validation 0.2 -o run.npz".split()
    status, out, _ = run("train", EXAMPLES / "digits.net", "--data", "digits.csv", *options)
    assert status == 0
    assert losses(out)["end"][1] < 0.2  # on images that it never saw
    scales = json.loads(Path("run.scales.json").read_text())
    mean, scale = np.array([(scales[n]["mean"], scales[n]["scale"]) for n in frame.feature_names]).T
    predicted = sbp.Trainer.load("run.npz").predict(X=(frame.data - mean) / scale).argmax(axis=1)
    assert np.mean(predicted == frame.target) > 0.97


def test_standardize_scales_inputs_by_the_rows_that_are_trained_on(run):
    Path("line.net").write_text('data x[n] = column("a"), t[n] = column("b")\nweight w = 1, c = 0\ny = w*x + c\nloss C = mse(y, t)\noutput y\n')
    Path("line.csv").write_text("a,b,constant\n" + "".join(f"{a},{3 * a + 1000},5\n" for a in (1, 2, 4, 9, 16)))
    status, out, err = run("train", "line.net", "--data", "line.csv", "--standardize", "--epochs", "3", "-o", "run.npz")
    assert (status, err) == (0, "wrote run.npz and run.scales.json\n")
    a = np.array([1, 2, 4, 9, 16])
    assert json.loads(Path("run.scales.json").read_text()) == {"a": {"mean": pytest.approx(a.mean()), "scale": pytest.approx(a.std())}}
    assert losses(out)["1"][0] == pytest.approx(np.mean(((a - a.mean()) / a.std() - (3 * a + 1000)) ** 2), rel=1e-5)  # targets as they are
    assert "standardized" in out

    order = np.random.default_rng(7).permutation(5)
    _, out, _ = run("train", "line.net", "--data", "line.csv", "--standardize", "--epochs", "3", "--validation", "0.4", "--seed", "7", "-o", "run.npz")
    kept = a[np.sort(order[2:])]
    assert json.loads(Path("run.scales.json").read_text())["a"]["mean"] == pytest.approx(kept.mean())
    held = (a[order[:2]] - kept.mean()) / kept.std()
    trainer = sbp.Trainer.load("run.npz")
    assert losses(out)["end"][1] == pytest.approx(trainer.loss(x=held, t=3.0 * a[order[:2]] + 1000), rel=1e-5)


def test_a_column_of_one_value_is_not_divided_by_zero(run):
    Path("line.net").write_text('data x[n] = column("a"), t[n] = column("b")\nweight w = 1, c = 0\ny = w*x + c\nloss C = mse(y, t)\noutput y\n')
    Path("line.csv").write_text("a,b\n5,1\n5,3\n")
    status, out, _ = run("train", "line.net", "--data", "line.csv", "--standardize", "--epochs", "1")
    assert status == 0
    assert losses(out)["1"] == [5]  # x = 0, so y = 0: (1 + 9)/2


@pytest.mark.parametrize(
    ("declared", "expression"),
    [
        ("data x, t", "w*x - t"),  # by equal names
        ('data X[n, 2] = columns("x", "t")', "w*X[:, 0] - X[:, 1]"),
        ('data X[2, n] = columns("x", "t")', "w*X[0, :] - X[1, :]"),
        ('data X[2] = columns("x", "t")', "w*X[0] - X[1]"),
        ('data X[n, 1, 2] = columns("x" : "t")', "w*X[:, 0, 0] - X[:, 0, 1]"),
        ('data x[n, 1], t[n] = column("t")', "w*x[:, 0] - t"),
        ('data a[n] = column("x"), t[n] = column(" odd, \'name\' ")', "w*a - t/2"),
    ],
)
def test_columns_go_where_the_text_form_says(run, declared, expression):
    text = f"{declared}\nweight w = 2\nr = {expression}\nloss C = {'mean(r^2)' if '[n' in declared or ', n]' in declared else 'r^2'}\n"
    Path("a.net").write_text(text.replace("column(\" odd, 'name' \")", "column(\"odd, 'name'\")"))
    Path("a.csv").write_text("x,t,\"odd, 'name' \"\r\n1,3,6\r\n\r\n -2 ,+1.5e0,3\r\n4,.5,1\r\n", newline="")
    status, out, err = run("train", "a.net", "--data", "a.csv", "--epochs", "1")
    assert (status, err) == (0, "")
    assert losses(out)["1"][0] == pytest.approx(np.mean((2 * np.array([1, -2, 4]) - [3, 1.5, 0.5]) ** 2), rel=1e-5)


LINE = 'data x[n] = column("a"), t[n] = column("b")\nweight w\nloss C = mean((w*x - t)^2)\n'
LABELS = 'data X[n, 1] = columns("a"), k[n] = column("b")\nweight W[1, 3]\nloss C = cross_entropy(X @ W, k)\n'


@pytest.mark.parametrize(
    ("network", "table", "message"),
    [
        (LINE, "a,b\n1,2\n3,x\n", "t.csv:3: column 'b': 'x' is not a number"),
        (LINE, 'a,b\n"1",2\n3,\n', "t.csv:3: column 'b': the value is missing"),
        (LINE, "a,b\n1,2\n\n3,NaN\n", "t.csv:4: column 'b': the value is missing"),
        (LINE, 'a,b,note\n1,2,"two\nlines"\n3,x,\n', "t.csv:4: column 'b': 'x' is not a number"),
        (LINE, "a,b\n1,2\n3\n", "t.csv:3: the row has 1 cell, but the header has 2; give every row as many"),
        (LINE, 'a,b\n"1,5",2\n', "t.csv:2: column 'a': '1,5' is not a number; a decimal number has a point, as in 1.5, and no comma"),
        (
            LINE,
            "a,b\n1,5,2\n",
            "t.csv:2: the row has 3 cells, but the header has 2; give every row as many; a decimal number has a point, as in 1.5, and no comma",
        ),
        (LINE, "a,b,a\n1,2,3\n", "t.csv:1: the column 'a' stands twice in the header"),
        (LINE, "A,b\n1,2\n", "t.csv:1: data 'x' reads the column 'a', which the table does not have; did you mean 'A'?"),
        (LINE, "u,v\n1,2\n", "t.csv:1: data 'x' reads the column 'a', which the table does not have; it has 'u', 'v'"),
        (LINE, "a;b\n1;2\n", "t.csv:1: the columns are separated by ';'; expected commas"),
        (LINE, "", "t.csv: the table is empty; expected a header with the names of the columns"),
        (LINE, "a,b\n", "t.csv: the table has a header but no rows"),
        (LABELS, "a,b\n1,0\n2,1.5\n", "t.csv:3: column 'b': 1.5 is not an integer, and the network takes it as a position"),
        (LABELS, "a,b\n1,0\n2,3\n", "symbackprop train: data 'k' is used as positions from 0 to 2 but holds 0 to 3"),
        (
            'data X[n, 2] = column("a")\nweight w\nloss sum(X)*w',
            "a,b\n1,2\n",
            "symbackprop train: data 'X' of shape (n, 2) has 2 entries in a row, but 1 columns; make them equal",
        ),
        (
            "data X[n, 2]\nweight w\nloss sum(X)*w",
            "a,b\n1,2\n",
            "symbackprop train: data 'X' has 2 entries in a row; say from which columns, as in data X = columns(\"a\", \"b\")",
        ),
        (
            'data X[n, 2] = columns("b" : "a")\nweight w\nloss sum(X)*w',
            "a,b\n1,2\n",
            "t.csv:1: data 'X' reads from the column 'b' to 'a', which stands before it",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_named_by_row_and_column(run, network, table, message):
    Path("a.net").write_text(network)
    Path("t.csv").write_text(table)
    assert run("train", "a.net", "--data", "t.csv") == (2, "", message + "\n")


def test_a_diverging_run_fails_in_one_line_and_saves_nothing(run):
    status, out, err = run("train", EXAMPLES / "mpg.net", "--data", EXAMPLES / "data/auto_mpg.csv", "--lr", "10", "--epochs", "1000", "-o", "run.npz")
    assert (status, out) == (1, "")
    assert err.startswith("symbackprop train: the loss")
    assert err.count("\n") == 1
    assert not Path("run.npz").exists()


def test_standardize_needs_to_know_the_inputs(run):
    Path("a.net").write_text(LINE)
    Path("t.csv").write_text("a,b\n1,2\n")
    status, _, err = run("train", "a.net", "--data", "t.csv", "--standardize")
    assert status == 2
    assert "output y" in err


# --- what it writes -----------------------------------------------------------------------------------------------------------


def links():
    """t.net and t.csv, and other ways to them."""
    Path("t.net").write_text(LINE + "output w*x\n")
    Path("t.csv").write_text("a,b\n1,2\n3,4\n")
    Path("folder").mkdir()
    Path("t.txt").symlink_to("t.net")
    os.link("t.net", "t.md")
    os.link("t.csv", "run.scales.json")


@pytest.mark.parametrize(
    "arguments",
    [
        "generate t.net -o t.net",
        "generate t.net -o ./folder/../t.net",
        "generate t.txt -o t.net",
        "derive t.net -o t.txt",
        "derive t.net -o t.md",
        "train t.net --data t.csv -o t.csv",
        "train t.net --data t.csv -o t.net",
        "train t.net --data t.csv --standardize -o run.npz",
    ],
)
def test_no_command_writes_over_what_it_reads(run, arguments):
    links()
    before = Path("t.net").read_bytes(), Path("t.csv").read_bytes()
    status, out, err = run(*arguments.split())
    assert (status, out) == (2, "")
    assert "is the file that the command reads" in err
    assert err.count("\n") == 1
    assert (Path("t.net").read_bytes(), Path("t.csv").read_bytes()) == before


def test_the_standard_input_is_not_written_over_either(monkeypatch, run):
    links()
    with open("t.net") as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert run("generate", "-", "-o", "t.net")[0] == 2
    assert Path("t.net").read_text().startswith("data")


def test_without_scales_the_file_beside_a_run_is_left_alone(run):
    links()
    assert run("train", "t.net", "--data", "t.csv", "--lr", "0.001", "-o", "run.npz")[0] == 0
    assert run("generate", "t.net", "-o", "step.py") == (0, "", "wrote step.py\n")
    assert run("generate", "t.net", "-o", "step.py") == (0, "", "wrote step.py\n")  # its own result, anew


@pytest.mark.parametrize("command", ["generate t.net", "derive t.net", "train t.net --data t.csv"])
def test_an_output_that_cannot_be_one_is_refused_before_the_work(run, command):
    links()
    name = command.split()[0]
    assert run(*command.split(), "-o", "") == (2, "", f"symbackprop {name}: -o: the path is empty; expected the name of a file\n")
    assert run(*command.split(), "-o", "folder") == (2, "", f"symbackprop {name}: -o folder: a folder; expected the name of a file\n")
    assert run(*command.split(), "-o", "none/x.md") == (2, "", f"symbackprop {name}: -o none/x.md: the folder does not exist\n")


# --- how it ends ------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there(run):
    assert run("check", "none.net") == (2, "", "symbackprop check: the file 'none.net' does not exist\n")


def test_what_nobody_foresaw_is_one_line_too(run, monkeypatch):
    def planted(*_):
        raise ValueError("zero-size array\nto reduction")

    monkeypatch.setattr("symbackprop.cli.check.check_gradients", planted)
    monkeypatch.delenv("SYMBACKPROP_DEBUG", raising=False)
    line = (
        "symbackprop check: internal error: ValueError: zero-size array to reduction; please report it with the file "
        "(SYMBACKPROP_DEBUG=1 shows where it happened)\n"
    )
    assert run("check", EXAMPLES / "parabola.net") == (1, "", line)
    monkeypatch.setenv("SYMBACKPROP_DEBUG", "1")
    status, out, err = run("check", EXAMPLES / "parabola.net")
    assert (status, out) == (1, "")
    assert err.startswith("Traceback")
    assert "in planted" in err
    assert err.endswith(line)


def test_help_and_version(run):
    status, out, _ = run("--version")
    assert (status, out) == (0, f"symbackprop {sbp.__version__}\n")
    status, out, _ = run("--help")
    assert status == 0
    for word in ("derive", "generate", "train", "check", "weight w_1 = 1", "Exit status"):
        assert word in out
    for command in ("derive", "generate", "train", "check"):
        status, out, _ = run(command, "--help")
        assert status == 0
        assert "example" in out


def test_the_help_s_network_is_one(run):
    text = run("--help")[1].split("one equation a line:\n\n")[1].split("\n\nexamples")[0]
    net = sbp.parse("\n".join(line.strip().split("    ")[0] for line in text.splitlines()))  # without what is said beside it
    assert net.equations == sbp.parse(TANH).equations


def test_a_mistake_is_one_line_in_a_pipe_and_has_a_caret_on_a_terminal():
    Path("bad.net").write_text("weight w\nloss q^2\n")
    piped = process("check", "bad.net", stderr=subprocess.PIPE, text=True)
    line = "bad.net:2:6: the name 'q' is unknown; declare it: data q, or weight q\n"
    assert piped.communicate(timeout=60)[1] == line
    assert on_terminal("check", "bad.net") == (2, line + "    loss q^2\n         ^\n")


def on_terminal(*arguments, **environment):
    """Exit status, and what a terminal shows."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 100))
    plain = {name: value for name, value in ENVIRONMENT.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    with subprocess.Popen([sys.executable, "-m", "symbackprop", *map(str, arguments)], env=plain | environment, stdout=follower, stderr=follower) as started:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        status = started.wait(timeout=60)
    os.close(leader)
    return status, shown.decode().replace("\r\n", "\n")


def test_colours_are_for_terminals():
    assert "\033[32mok\033[0m" in on_terminal("check", EXAMPLES / "parabola.net")[1]
    assert "\033" not in on_terminal("check", EXAMPLES / "parabola.net", NO_COLOR="1")[1]
    piped = process("check", EXAMPLES / "parabola.net", stdout=subprocess.PIPE, text=True)
    assert "\033" not in piped.communicate(timeout=60)[0]


def test_long_work_shows_its_progress_on_a_terminal():
    pytest.importorskip("tqdm")
    status, shown = on_terminal("train", EXAMPLES / "parabola.net", "--epochs", "50")
    assert status == 0
    assert "50/50" in shown
    piped = process("train", EXAMPLES / "parabola.net", "--epochs", "50", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert piped.communicate(timeout=60)[1] == b""


def layers(count):
    """A multilayer perceptron that takes a moment."""
    lines = ["data X[n, 4]", "weight W_0[4, 8] = glorot_uniform", "a_0 = tanh(X @ W_0)"]
    for i in range(1, count):
        lines += [f"weight W_{i}[8, 8] = glorot_uniform", f"a_{i} = tanh(a_{i - 1} @ W_{i})"]
    Path("layers.net").write_text("\n".join([*lines, f"loss C = mean(a_{count - 1}^2)", ""]))


@pytest.mark.parametrize(
    ("command", "says"), [("check", "comparing the gradients with numbers ("), ("derive", "deriving the gradients and checking every equation (")]
)
def test_what_takes_long_is_said_on_a_terminal_and_erased(command, says):
    layers(30 if command == "check" else 12)
    status, shown = on_terminal(command, "layers.net")
    assert status == 0
    assert f"\r\033[K{says}" in shown
    last = shown[shown.rindex("\r\033[K") :]
    assert says not in last  # the result begins on an empty line
    assert len(last.splitlines()) > 5


def test_a_line_of_progress_is_for_terminals_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    def shown(stream):
        monkeypatch.setattr(sys, "stderr", stream)
        with working("thinking about \033[31m" + "x" * 200):
            time.sleep(0.05)
        return stream.getvalue()

    monkeypatch.setattr(progress, "PERIOD", 0.01)
    monkeypatch.setenv("TERM", "xterm")
    lines = shown(Terminal()).split("\r\033[K")
    assert lines[0] == lines[-1] == ""
    assert len(lines) > 3
    assert all(line.isprintable() and len(line) < 79 and line.endswith(" (0 s)") for line in lines[1:-1])
    assert shown(io.StringIO()) == ""
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal()) == ""


def test_a_reader_that_has_seen_enough_is_no_error():
    with process("derive", EXAMPLES / "classification.net", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
        started.stdout.close()
        assert started.stderr.read() == b""
        assert started.wait(timeout=60) == 0


def test_an_interrupt_ends_quietly():
    os.mkfifo("parabola.net")
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # what a shell starts in the background ignores interrupts
    with process("train", "parabola.net", "--epochs", 10**9, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **heard) as started:
        with open("parabola.net", "w") as file:  # waits until the command opens it
            file.write((EXAMPLES / "parabola.net").read_text())
        time.sleep(0.5)
        started.send_signal(signal.SIGINT)
        assert started.communicate(timeout=60) == (b"", b"")
        # Python ends itself by the signal if the interrupt came while a text was being run, as compilers do; a shell shows both as 130.
        assert started.returncode in (130, -signal.SIGINT)


def test_standard_input_is_a_file_called_dash():
    with process("generate", "-", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        assert started.communicate(TANH, timeout=60)[0] == sbp.parse(TANH).generate()


def test_a_console_of_ascii_shows_what_it_can():
    Path("greek.net").write_text("weight \N{GREEK SMALL LETTER ALPHA} = 1\nloss \N{GREEK SMALL LETTER ALPHA}^2\n")
    with subprocess.Popen(
        [sys.executable, "-m", "symbackprop", "check", "greek.net"], env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"}, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.communicate(timeout=60)[0].splitlines()[1].startswith("\\u03b1")
        assert started.returncode == 0
