"""Hostile input: each is refused within a second, in one line, and nothing that it names is run, imported, opened or written."""

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import symbackprop as sbp
from symbackprop.cli.main import main

ROOT = Path(__file__).parents[1]
CANARY = "canary"
W = "weight w\n"
TOUCH = f"open('{CANARY}', 'w')"

# --- what a text may try ------------------------------------------------------------------------------------------------

PYTHON = [
    f"__import__('os').system('touch {CANARY}')", "__import__('os')", "import os", "from os import *", "eval('1')", f"exec('{TOUCH}')",
    "compile('1', '', 'eval')",
    TOUCH, "globals()", "locals()", "vars(w)", "dir(w)", "getattr(w, '__class__')", "setattr(w, 'name', 'x')", "delattr(w, 'x')", "type(w)",
    "object()",
    "help()", "input()", "print(w)", "exit()", "quit()", "breakpoint()", "memoryview(w)", "bytes(10)", "super()", "id(w)", "hash(w)", "repr(w)",
    "w.__class__", "w.__class__.__mro__[1].__subclasses__()", "w.__init__.__globals__", "w.name", "w.subs(w, 1)", "w.T.__class__",
    "w._sympystr", "().__class__",
    "(1).__class__", "''.__class__", "'{0.__class__}'.format(w)", "tanh.__globals__", "sum.__code__", "tanh.func_globals['os']", "w.definition",
    "lambda: 0", "lambda x: x", "(lambda: w)()", "[w for w in w]", "{w: w}", "{w}", "(x for x in w)", "w if w else w", "w and w", "not w",
    "w or 1", "w is w", "w in w",
    "f'{w}'", "f\"{__import__('os')}\"", "b'w'", "r'w'", "'''w'''", "'w' * 10**9", "\"w\".join(w)", "*w", "**w", "sum(*w)", "sum(**w)",
    "tanh(w, *w)", "w := 3", "(w := 3)",
    "w == w", "w < w", "w > 1", "w != w", "w <= 1", "w += 1", "w -> w", "w ? w : w", "w ! w", "w & w", "w | w", "~w", "w << 2", "w >> 2",
    "w // 2", "w % 2", "w!", "@w", "`w`", "$w", "${w}",
    "w; import os", "w\\\n+ 1", "yield w", "await w", "async w", "return w", "raise w", "assert w", "del w", "global w", "pass", "None",
    "True", "Ellipsis", "...", "NotImplemented", "__debug__",
    "__name__", "__file__", "__builtins__", "__builtins__['eval']('1')", "_", "__", "np", "np.exp(w)", "math.exp(w)", "sympy", "sp.exp(w)",
    "os.system('x')", "sys.exit()", "self", "weights", "cls",
    "S('w')", "sympify('w')", "Symbol('w')", "Function('f')(w)", "Lambda(w, w)", "Integral(w, w)", "diff(w, w)", "lambdify(w, w)",
    "parse_expr('w')", "literal_eval('w')", "oo", "zoo", "nan", "I", "E",
    "node('a', w)", "data('a')", "weight('a')", "Network(w)", "load('x')", "parse('weight w')", "evaluate(w)", "generate()", "column('a')",
    "columns('a')",
]  # fmt: skip

NUMBERS = [
    "9^9^9^9", "9**9**9**9", "2^10^10", "2**10**10", "10^(10^10)", "(10^10)^(10^10)", "2^(2^(2^(2^(2^2))))", "0.1^(10^9)", "(1/3)^(10^8)",
    "(1/3)^-(10^8)", "1.0000001^(10^12)", "(1 + 1e-9)^(10^9)",
    "w^(10^9)", "w^-(10^9)", "(2*w)^(10^9)", "(w/3)^(10^9)", "((((2*w)^1000)^1000)^1000)^1000", "sqrt(2)^(10^9)", "(sqrt(2)*w)^(10^9)",
    "(1 + sqrt(2))^(10^9)", "(2^1000)^1000", "((2^500)^500)^500",
    "factorial(10^9)", "gamma(10^9)", "binomial(10^9, 10^8)", "fibonacci(10^9)", "prime(10^9)", "primepi(10^15)", "factorint(10^60 + 7)",
    "zeta(10^9)", "Sum(w, (w, 1, 10^9))", "range(10^9)",
    "exp(10^30)", "exp(exp(exp(exp(100))))", "exp(10^30*log(2*w))", "2^(10^30*log(2*w))", "exp(log(2)*10^9)", "cosh(10^30)",
    "sinh(exp(700)^2)", "tan(pi/2)", "log(0)", "1/0", "w/0", "0^-1", "0/0", "sqrt(-1)", "log(-1)",
    "(-8)^(1/3)", "asin(2)", "acos(-2)", "acosh(0)", "atanh(1)", "4^(1/10^9)", "w^(1/10^9)", "w^(10^9/(10^9 + 7))", "1e400", "1e-400",
    "-1e999", "1e308*1e308", "10^400", "1" * 61, "1." + "0" * 80, "1e" + "9" * 50,
    "0x10", "0b1", "0o7", "1_000", "1j", "2w", "3(w)", "1..2", "1.2.3", "1e", "1e+", "--", "٣", "Ⅷ", "½", "∞", "\N{FULLWIDTH DIGIT ONE}",
]  # fmt: skip

SIZES = [
    "data X[1000000000000]\nweight w\nloss sum(X)*w", "weight W[100000, 100000]\nloss sum(W)",
    "weight W[99999999999999999999]\nloss sum(W)", "weight W[" + ", ".join("1" * 60) + "]\nloss sum(W)",
    "weight w[100000000]\nloss C = sum(w^2)", "weight w[9999999], v[9999999]\nloss C = sum(w^2) + sum(v^2)",
    "\n".join(f"data X_{i}[99999]" for i in range(101)) + "\nweight w\nloss w*sum(X_0)",
    "data X[100000, 1], Y[1, 100000]\nweight w\nloss sum(X*Y)*w",
    "data X[100000], Y[100000]\nweight w\nloss sum(einsum('i,j->ij', X, Y))*w", "data k[n]\nweight w\nloss sum(one_hot(k, 1000000000000))*w",
    "data X[n, 2]\nweight w\nloss sum(dense(X, 1000000000))*w", "data X[n, 1, 9, 9]\nweight w\nloss w*sum(max_pool2d(pad(X, 1000000), 1000000))",
    "data X[n, 1, 9, 9]\nloss sum(conv2d(X, 1, 1, stride=1000000, padding=1000000))", "data X[n, 9999, 9, 9]\nloss sum(conv2d(X, 9999, 9))",
    "data X[n, 1, 999, 999]\nloss sum(conv2d(X, 1, 20))", "data X[n, 2]\nweight w\nloss sum(reshape(X, (1000000000, -1)))*w",
    "weight W[-1]\nloss sum(W)", "weight W[1e9]\nloss sum(W)", "weight W[2, ]x\nloss sum(W)",
    "weight W[0]\nloss sum(W)", "weight W[[2]]\nloss sum(W)", "weight W[2*3]\nloss sum(W)", "weight W[10^10]\nloss sum(W)",
    "weight W[os]\nloss sum(W)", "data X[__class__]\nweight w\nloss sum(X)*w", "data X[n, n, np]\nweight w\nloss w",
    "weight W[2] = [1, 2, 3]\nloss sum(W)", "weight w = 9^9^9^9\nloss w", "weight w = __import__('os')\nloss w", "weight w = exec\nloss w",
    "weight w = [[[[]]]]\nloss w", "weight w = " + "[" * 60 + "]" * 60 + "\nloss w",
]  # fmt: skip

LONG = [
    "(" * 1000 + "w", "(" * 60 + "w" + ")" * 60, "[" * 60 + "w" + "]" * 60, "tanh(" * 60 + "w" + ")" * 60, "w" + "^w" * 60,
    "w" + "[0]" * 60, "w" + ".T" * 60, "-" * 2000 + "w", "(-" * 60 + "w" + ")" * 60,
    "+".join(["w"] * 2000), "*".join(["w"] * 2000), "/".join(["w"] * 2000), "@".join(["w"] * 2000), "w" * 1_000_000, "1" * 1_000_000,
    "(" * 1_000_000, "-" * 1_000_000, "w+" * 500_000, "w" * 101, " " * 1_000_000,
    "sum(" + ",".join("w" * 5000) + ")", "einsum('" + "i" * 5000 + "', w)", "'" + "a" * 1_000_000, "tanh(w" + ", axis=0" * 500 + ")",
]  # fmt: skip

CHARACTERS = [
    "w\x00", "\x00", "w\x07", "w\x1b[31m", "w\x7f", "w\x85", "w\x0b+1", "w\x0c+1", "w\u2028+1", "w\u2029", "w\u00a0+1", "w\u200b",
    "w\u200d", "w\u202e", "\u202dw", "w\u2066", "w\ufeff", "w\ufffe", "w\ud800", "w\U000e0041",
    "\N{CYRILLIC SMALL LETTER A}", "t\N{CYRILLIC SMALL LETTER A}nh(w)", "\N{FULLWIDTH LATIN SMALL LETTER W}",
    "\N{MATHEMATICAL ITALIC SMALL W}", "\N{MATHEMATICAL DOUBLE-STRUCK SMALL W}", "w\N{COMBINING CIRCUMFLEX ACCENT}", "\N{HANGUL FILLER}",
    "\N{GREEK SMALL LETTER OMICRON}", "w\N{SUPERSCRIPT TWO}", "w\N{MULTIPLICATION SIGN}w", "w\N{MIDDLE DOT}w", "w\N{MINUS SIGN}1",
    "\N{PILE OF POO}", "w\N{VARIATION SELECTOR-16}", "“w”", "w…", "\N{SQUARE ROOT}w", "w\N{PRIME}",
    r"\input{/etc/passwd}", r"\write18{touch canary}", r"\end{document}", "$$", "%", "{w}", "w_{2}", "<script>alert(1)</script>", "&lt;",
    "<!--", "]]>", "'; DROP TABLE w; --", "$(touch canary)", "`touch canary`", "w > canary", "| cat",
]  # fmt: skip

NAMES = [
    "weight np\nloss np", "weight self\nloss self", "weight weights\nloss weights", "weight state\nloss state",
    "weight gradients\nloss gradients", "weight print\nloss print", "weight __class__\nloss __class__", "weight _x\nloss _x",
    "weight class\nloss class", "weight import\nloss import", "weight None\nloss None", "weight True\nloss True",
    "weight lambda\nloss lambda", "weight exp\nloss exp", "weight pi\nloss pi", "weight data\nloss data", "weight sum\nloss sum",
    "weight math\nloss math", "weight DTYPE\nloss DTYPE", "weight range\nloss range", "weight " + "a" * 101 + "\nloss 1",
    "weight a.b\nloss a", "weight a-b\nloss a", "weight a b\nloss a", "weight 'a'\nloss a", "weight a\\n\nloss a", "weight 2a\nloss a",
    "weight w\n__class__ = w\nloss w", "weight w\nnp = w\nloss np", "weight w\nw.__class__ = w\nloss w", "weight w\nw[0] = w\nloss w",
    "weight w\nf(w) = w\nloss w", "weight w\nimport os\nloss w", "weight w\nimport os = w\nloss w",
    "weight w\nx = y = w\nloss w", "weight w\nloss w\nloss w", "weight w\nw = w\nloss w", "weight w\na = b\nb = a\nloss w*a",
    "weight w\nloss w\nimport os", "weight x, \N{CYRILLIC SMALL LETTER HA}\nloss x",
    "weight w\nz_1 = (2*w)^1000\nz_2 = z_1^1000\nz_3 = z_2^1000\nloss z_3", "weight w\nz = 10^9*log(2*w)\nloss exp(z)",
    "\n".join(f"weight w{i}" for i in range(3000)), "weight w\n" + "\n".join(f"z{i} = w" for i in range(3000)),
    "", " ", "\n" * 1000, "#", "loss", "weight", "data", "output", "loss =", "= w", "weight w\nloss", "weight w\nloss = ",
    "data x = exec('1')\nweight w\nloss x*w", 'data x = column(__import__("os"))\nweight w\nloss x*w',
    'data x = column("a\nb")\nweight w\nloss x*w', 'data x = column("a\x00")\nweight w\nloss x*w',
    'data x = column("\u202ea")\nweight w\nloss x*w', 'data x = column()\nweight w\nloss x*w', 'data x = columns(*"ab")\nweight w\nloss x*w',
]  # fmt: skip

TEXTS = [*(W + "loss " + text for text in [*PYTHON, *NUMBERS, *CHARACTERS]), *(W + "loss C = sum(" + text + ")*w" for text in LONG), *SIZES, *NAMES]
# Beside the expression, the same text as a line of its own.
TEXTS += [W + text + "\nloss w^2" for text in PYTHON if text not in ("_", "__")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_enough_of_them():
    assert len(set(TEXTS)) > 400


# What a text must never cause: Python's audit events (PEP 578) of running, importing, opening and starting.
FORBIDDEN = ("compile", "exec", "import", "open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pickle.", "marshal.", "urllib.", "code.__new__")
_seen: list[str] | None = None


def _hook(event, arguments):
    if _seen is not None and event.startswith(FORBIDDEN):
        _seen.append(f"{event} {arguments}")


@pytest.fixture(scope="module")
def watched():
    """`watched(f)`: the forbidden events while f runs. A hook cannot be taken out again, so it sleeps between the calls."""
    sys.addaudithook(_hook)

    def run(function):
        global _seen
        _seen = []
        try:
            function()
        finally:
            found, _seen = _seen, None
        return found

    return run


def test_the_watch_sees_what_it_should(watched, here):
    assert watched(lambda: eval("1")) != []
    assert watched(lambda: open("x", "w").close()) != []
    assert watched(lambda: subprocess.run(["true"], check=True)) != []
    assert watched(lambda: None) == []


def refused(text):
    with pytest.raises(sbp.ParseError) as caught:
        sbp.parse(text)
    return caught.value


def shortened(text):
    return ascii(text[9:60] if text.startswith(W) else text[:50])


@pytest.mark.parametrize("text", TEXTS, ids=shortened)
def test_a_hostile_text_is_refused_at_once_and_does_nothing(text, watched, here):
    refused(text)  # whatever is loaded on first use is loaded here
    started = time.process_time()  # others may use the machine
    errors = []
    assert watched(lambda: errors.append(refused(text))) == []
    assert time.process_time() - started < 1
    (error,) = errors
    assert error.reason
    assert error.reason.isprintable()
    assert len(error.reason) < 500
    assert str(error).count("\n") in (0, 2)
    assert list(here.iterdir()) == []


# --- the command line -----------------------------------------------------------------------------------------------------


def run(capsys, *arguments):
    """Exit status and the line on stderr; exactly one, printable, with nothing on stdout."""
    started = time.process_time()  # others may use the machine
    status = main(list(arguments))
    assert time.process_time() - started < 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.endswith("\n")
    assert printed.err[:-1].isprintable(), printed.err
    return status, printed.err


@pytest.mark.parametrize("text", [text for text in TEXTS if "\ud800" not in text], ids=shortened)
def test_the_command_line_refuses_a_hostile_file_in_one_line(text, here, capsys):
    Path("hostile.net").write_bytes(text.encode())
    for command in (["generate"], ["derive", "--form", "closed"]):
        status, line = run(capsys, *command, "hostile.net")
        assert status == 2
        assert line.startswith("hostile.net:")
    assert [path.name for path in here.iterdir()] == ["hostile.net"]


GOOD = 'data x = column("a"), t = column("b")\nweight w = 1\ny = w*x\nloss C = (y - t)^2\noutput y\n'
TABLES = {
    "empty": b"", "blank": b"\n\n\n", "a header alone": b"a,b\n", "a missing value": b"a,b\n1,\n",
    "not a number": b"a,b\n1,2\n3,__import__('os')\n", "an expression": b"a,b\n1,2+3\n", "a formula": b"a,b\n1,=cmd|' /C calc'!A0\n",
    "nan": b"a,b\n1,nan\n", "infinity": b"a,b\n1,inf\n", "too large": b"a,b\n1,1e999\n", "hexadecimal": b"a,b\n1,0x10\n",
    "underscores": b"a,b\n1,1_0\n", "other digits": "a,b\n1,٣\n".encode(), "a complex number": b"a,b\n1,1j\n",
    "a short row": b"a,b\n1,2\n3\n", "a long row": b"a,b\n1,2,3\n", "twice": b"a,a\n1,2\n", "no name": b",\n1,2\n",
    "another name": b"a,c\n1,2\n", "semicolons": b"a;b\n1;2\n", "tabs": b"a\tb\n1\t2\n", "an open quote": b'a,b\n1,"2\n',
    "a quote inside": b'a,b\n1,"2"3\n', "not UTF-8": b"a,b\n1,\xff\n", "UTF-16": "a,b\n1,2\n".encode("utf-16"), "NUL": b"a,b\n1,\x00\n",
    "an escape": b"a,b\n1,\x1b[31m\n", "a bidi override": "a,b\n1,\u202e2\n".encode(),
    "a huge cell": b"a,b\n1," + b"9" * 500_000 + b"\n", "a huge header": b"a," + b"x" * 500_000 + b"\n1,2\n",
    "a line of a megabyte": b"a,b\n1," + b"x" * 1_000_000, "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_the_command_line_refuses_a_hostile_table_in_one_line(name, here, capsys):
    Path("good.net").write_text(GOOD)
    Path("table.csv").write_bytes(TABLES[name])
    status, line = run(capsys, "train", "good.net", "--data", "table.csv", "-o", "run.npz")
    assert status == 2
    assert "table.csv" in line
    assert not Path("run.npz").exists()


ARGUMENTS = [
    [], ["foo"], ["derive"], ["train"], ["train", "good.net"], ["train", "none.net"], ["train", "."],
    ["train", "good.net", "--data", "none.csv"], ["train", "good.net", "--data", "."], ["train", "good.net", "--data", "/dev/zero"],
    ["generate", "/dev/zero"], ["generate", "/dev/null"], ["generate", "a\x1b[31mb.net"], ["generate", "a\nb.net"],
    ["generate", "\u202ea.net"], ["generate", "x" * 5000], ["generate", ""], ["generate", "good.net", "--target", "fortran"],
    ["generate", "good.net", "--optimizer", "os.system"], ["generate", "good.net", "--lr", "x"], ["generate", "good.net", "--lr", "nan"],
    ["generate", "good.net", "--lr", "-1"], ["generate", "good.net", "--lr", "inf"],
    ["generate", "good.net", "--set", "momentum"], ["generate", "good.net", "--set", "momentum=x"],
    ["generate", "good.net", "--set", "momentun=0.9"], ["generate", "good.net", "--set", "__class__=1"],
    ["generate", "good.net", "--set", "lr=1"],
    ["generate", "good.net", "--set", "nesterov=1"], ["generate", "good.net", "--optimizer", "adam", "--set", "betas=0.9"],
    ["generate", "good.net", "--optimizer", "adam", "--set", "betas=2,3"], ["generate", "good.net", "-o", "none/x.py"],
    ["generate", "good.net", "-o", "."], ["generate", "good.net", "--\x1b[31m"], ["generate", "good.net", "more.net"],
    ["derive", "good.net", "-o", "x.exe"], ["derive", "good.net", "-o", "none/x.tex"], ["derive", "good.net", "--form", "foo"],
    ["derive", "good.net", "--weight", "v"], ["derive", "good.net", "--weight", "__class__"], ["derive", "good.net", "--lr", "1"],
    ["check", "good.net", "--foo"], ["check", "--help=3"],
    *(["train", "good.net", "--data", "good.csv", *more] for more in (
        ["--epochs", "-1"], ["--epochs", "1e9"], ["--epochs", "9" * 5000], ["--batch-size", "0"], ["--batch-size", "-3"], ["--seed", "-1"],
        ["--seed", "x"], ["--validation", "1"], ["--validation", "-0.1"], ["--validation", "nan"],
        ["--validation", "0.01"], ["-o", "none/run.npz"], ["--optimizer", "eval"], ["--epoch", "3"],
    )),
]  # fmt: skip


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda a: ascii(" ".join(a))[:60])
def test_the_command_line_refuses_wrong_arguments_in_one_line(arguments, here, capsys):
    Path("good.net").write_text(GOOD)
    Path("good.csv").write_text("a,b\n1,2\n3,4\n")
    status, _ = run(capsys, *arguments)
    assert status == 2
    assert sorted(path.name for path in here.iterdir()) == ["good.csv", "good.net"]


@pytest.mark.parametrize("expression", [f"__import__('os').system('touch {CANARY}')", "9^9^9^9", "(" * 100_000], ids=["import", "power", "depth"])
def test_a_process_of_its_own_prints_one_line_and_no_traceback(expression, here):
    Path("hostile.net").write_text(f"{W}loss {expression}")
    command = [sys.executable, "-m", "symbackprop", "check", "hostile.net"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert not Path(CANARY).exists()


def test_a_name_cannot_leave_the_generated_code(here, watched, run_module):
    """Every name that the grammar lets through is one identifier in the code; column names and comments never reach it."""
    text = GOOD.replace('"a"', f"\"'''; {TOUCH} #\"").replace("\ny =", "\n# '''\n# " + TOUCH + "\ny =")
    source = sbp.parse(text).generate()
    assert CANARY not in source
    module = run_module(source)
    assert module["loss"]({"w": 2.0}, x=3.0, t=1.0) == 25.0
    assert not Path(CANARY).exists()


def test_standard_input_is_read_and_bounded(monkeypatch, capsys):
    for content, says in ((b"weight w\nloss q", "-:2:6"), (b"\x00" * 10_000_000, "-:1:1"), (b"\xff", "UTF-8")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        status, line = run(capsys, "generate", "-")
        assert status == 2
        assert says in line
