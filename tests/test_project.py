"""The project as a whole: what a wheel holds, which way the folders look, and what stands in its files."""

import ast
import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import symbackprop as sbp

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "symbackprop"


def test_dependencies_are_sympy_and_numpy():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert [d.partition(">")[0] for d in project["dependencies"]] == ["sympy", "numpy"]


def test_every_public_name_exists_and_is_documented():
    for name in sbp.__all__:
        thing = getattr(sbp, name)
        assert name in ("__version__", "targets") or thing.__doc__, f"{name} has no docstring"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The name of a wheel built here, and the names of the files in it."""
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("wheel")), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return Path(path).name, archive.namelist()


def test_wheel_ships_types_licence_and_version(wheel):
    name, files = wheel
    assert name == f"symbackprop-{sbp.__version__}-py3-none-any.whl"
    assert {"symbackprop/py.typed", "symbackprop/__init__.pyi"} <= set(files)
    assert f"symbackprop-{sbp.__version__}.dist-info/licenses/LICENSE" in files


def test_wheel_holds_the_package_and_only_the_package(wheel):
    _, files = wheel
    modules = {str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*.py")}
    assert modules <= set(files)
    assert {file.partition("/")[0] for file in files} == {"symbackprop", f"symbackprop-{sbp.__version__}.dist-info"}


# --- which way the folders look ------------------------------------------------------------------------------------------

LEFT_OF = {
    "graph": set(),
    "calculus": {"graph"},
    "latex": {"graph", "calculus"},
    "codegen": {"graph", "calculus"},
    "training": {"graph", "calculus", "latex", "codegen"},
    "derivation": {"graph", "calculus", "latex", "codegen", "training"},
    "audit": {"graph", "calculus", "latex", "codegen", "training"},
    "text": {"graph"},
    "display": {"graph", "calculus", "latex", "codegen", "training", "derivation"},
    # What stands on top of the folders is what a user touches, and layers are written as a user would write them.
    "layers": {"graph", "losses", "network"},
    # The command line is on top of everything, the files that stand on top of the folders included.
    "cli": {"graph", "calculus", "latex", "codegen", "training", "text", "derivation", "audit", "display", "network", "reading", "check"},
}


def imports_of(source):
    """(line, module) of every import, those inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where a module looks"
            module = node.module or ""
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def wrong_way(folder, source):
    """The imports of a file in `folder` that look to its right, or at the files that stand on top of all folders."""
    shared = {"errors", "version"}
    for line, module in imports_of(source):
        parts = module.split(".")
        if parts[0] == "symbackprop" and parts[1] not in LEFT_OF[folder] | shared | {folder}:
            yield line, module


def test_every_folder_has_its_place():
    assert {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE} == set(LEFT_OF)


@pytest.mark.parametrize("folder", LEFT_OF)
def test_a_folder_imports_only_from_its_left(folder):
    found = {str(path.relative_to(ROOT)): list(wrong_way(folder, path.read_text())) for path in (PACKAGE / folder).rglob("*.py")}
    assert len(found) > 1
    assert not {path: wrong for path, wrong in found.items() if wrong}


@pytest.mark.parametrize(
    ("folder", "source"),
    [
        ("graph", "from symbackprop.calculus.order import terms"),
        ("calculus", "def f():\n    from symbackprop.latex import printer"),
        ("latex", "import symbackprop.codegen.targets"),
        ("codegen", "from symbackprop import network"),
        ("codegen", "from symbackprop.latex.printer import TensorLatex"),
        ("training", "from symbackprop.network import Network"),
    ],
)
def test_an_import_to_the_right_is_found(folder, source):
    assert len(list(wrong_way(folder, source))) == 1


# --- text is never run ---------------------------------------------------------------------------------------------------


def runs_text(source):
    """Lines that would run or parse text as Python: eval, exec, compile, and sympify where it accepts strings."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        name = function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
        strict = any(k.arg == "strict" and isinstance(k.value, ast.Constant) and k.value.value is True for k in node.keywords)
        builtin = isinstance(function, ast.Name) and name in ("eval", "exec", "compile", "__import__")
        if builtin or (name in ("sympify", "parse_expr", "S", "literal_eval") and not strict):
            yield node.lineno


def test_no_text_is_run():
    found = {str(path.relative_to(ROOT)): list(runs_text(path.read_text())) for path in PACKAGE.rglob("*.py")}
    assert not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize("source", ["eval(x)", "exec(x)", "sp.sympify(x)", "sympify(x, strict=False)", "sp.parse_expr(x)", "sp.S(x)"])
def test_text_that_is_run_is_found(source):
    assert list(runs_text(source)) == [1]
    assert not list(runs_text("sp.sympify(x, strict=True); x.eval(y); re.compile(z)"))


# --- what stands in the project's files ----------------------------------------------------------------------------------


def test_readme_commands_name_extras_that_exist():
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = {extra for extras in re.findall(r"\.\[([a-z,]+)\]", (ROOT / "README.md").read_text()) for extra in extras.split(",")}
    assert "test" in named
    assert named <= declared


def test_changelog_knows_the_version():
    assert f"## [{sbp.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_says_what_it_is_for(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not tree.body, f"{path.name} starts without a docstring"
