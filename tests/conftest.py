"""What the tests share: the profiles of the random tests, float64 in JAX, random values, comparisons of arrays, and
the programs that set formulas.

The random tests run a short, fixed set of examples; `pytest --hypothesis-profile=fuzz` searches for new ones.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

os.environ.setdefault("JAX_ENABLE_X64", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

import symbackprop as sbp

settings.register_profile("ci", max_examples=10, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("fuzz", max_examples=500, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def close():
    """`close(found, expected, tolerance=1e-10, what="")`: the same shape, and equal entry by entry, relative to the entry or, where it
    is small by cancellation, to the largest entry."""

    def compare(found, expected, tolerance=1e-10, what=""):
        found, expected = np.asarray(found), np.asarray(expected)
        assert found.shape == expected.shape, f"{what}: shape {found.shape}, expected {expected.shape}"
        largest = np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * max(largest, 1e-2), err_msg=what)

    return compare


@pytest.fixture(scope="session")
def draw():
    """`draw(shapes, low, high, seed)`: name → array, uniform and reproducible."""

    def values(shapes, low=-2.0, high=2.0, seed=0):
        rng = np.random.default_rng(seed)
        return {name: rng.uniform(low, high, shape) for name, shape in shapes.items()}

    return values


@pytest.fixture(scope="session")
def run_module():
    """`run_module(source)`: a generated module's names, as running it defines them."""

    def run(source):
        names = {"__name__": "generated"}
        exec(compile(source, "generated", "exec"), names)
        return names

    return run


@pytest.fixture(scope="session")
def in_python():
    """`in_python(engine, size, change=None)`: from now on Python itself runs the source that is made to be compiled, for batches of this size.
    `change` makes another source of it."""

    def interpret(engine, size, change=None):
        from symbackprop.codegen import machine
        from symbackprop.codegen.load import load_source
        from symbackprop.training.steps import Step

        code = engine.code(size)
        source = change(code.source) if change else code.source
        assert not change or source != code.source, "the change changes nothing"
        module = load_source(source, "interpreted")
        if hasattr(module, "run"):
            code.run = module.run.py_func
            return
        pieces = [getattr(module, f"piece_{k + 1}") for k in range(len(code.native.pieces))]
        numbers = range(len(machine.FUNCTIONS), len(machine.FUNCTIONS) + len(pieces))
        machine.FUNCTIONS.update(zip(numbers, pieces, strict=True))
        code.step, code.train = Step(code.native, numbers), machine.train

    return interpret


@pytest.fixture(scope="session")
def interpreted(in_python):
    """`interpreted(net, optimizer, weights, data)`: the losses of one step with the source that is made to be compiled, run by Python itself,
    since compiling a thousand networks takes half an hour (`COMPILE_ALL=1 pytest` does); and the trainer after it."""

    def run(net, optimizer, weights, data, size=None, change=None):
        from symbackprop.training.feed import Batches
        from symbackprop.training.native import NativeEngine

        trainer = net.trainer(optimizer, weights=weights)
        engine = NativeEngine(trainer.system, trainer.rule, trainer.dtype)
        feed = trainer._check(data)
        size = size or feed.samples
        if change is not None or not os.environ.get("COMPILE_ALL"):
            in_python(engine, size, change)
        with np.errstate(all="ignore"):
            return engine.run(trainer._arrays, trainer.state, feed, Batches(feed.samples, size)).means, trainer

    return run


@pytest.fixture(scope="session")
def agrees(close, run_module, interpreted):
    """`agrees(net, reference, weights, data={}, tolerance=1e-10)`: the loss, the gradients, the generated update and the training step
    all agree with PyTorch. `reference(**tensors)` is the loss, written once more in PyTorch."""

    def compare(net, reference, weights, data=None, tolerance=1e-10):
        import torch

        data = data or {}
        tensors = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
        wanted_loss = reference(**tensors, **{name: torch.tensor(value) for name, value in data.items()})
        found = torch.autograd.grad(wanted_loss, list(tensors.values()), allow_unused=True, materialize_grads=True)
        wanted = {name: g.numpy() for name, g in zip(tensors, found, strict=True)}

        lr = 0.5
        module = run_module(net.generate("numpy", sbp.SGD(lr=lr)))
        loss, gradients = module["loss_and_gradients"](weights, **data)
        close(loss, wanted_loss.item(), tolerance, "the loss")
        assert set(gradients) == set(wanted)
        for name, g in wanted.items():
            close(gradients[name], g, tolerance, f"the gradient of {name}")
        # The generated update, and the training step, which other code prints, in place and in buffers that it uses again.
        updated = {name: np.array(value) for name, value in weights.items()}
        close(module["update"](updated, module["initialize_state"](updated), **data), wanted_loss.item(), tolerance, "the loss of the update")
        trainer = net.trainer(sbp.SGD(lr=lr), weights=weights)
        close(trainer.step(**data), wanted_loss.item(), tolerance, "the loss of the training step")
        native_losses, native = interpreted(net, sbp.SGD(lr=lr), weights, data)
        close(native_losses[0], wanted_loss.item(), tolerance, "the loss of the compiled step")
        for name, g in wanted.items():
            close(updated[name], weights[name] - lr * g, tolerance, f"{name} after the update")
            close(native.weights[name], weights[name] - lr * g, tolerance, f"{name} after the compiled step")
            close(trainer.weights[name], weights[name] - lr * g, tolerance, f"{name} after the training step")

    return compare


# --- formulas, and the programs that set them ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def latex_tests():
    """tests/test_latex.py as a module: its networks, and its reader of LaTeX, which computes what a formula says."""
    spec = importlib.util.spec_from_file_location("latex_tests", Path(__file__).with_name("test_latex.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def printed(latex_tests):
    """What those networks print: "layers: closed" → its align*; update rules by their names."""
    networks = {name: build() for name, build in latex_tests.ALL.items()}
    rules = [sbp.SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01), sbp.Adam(amsgrad=True), sbp.AdamW(), sbp.RMSprop(centered=True), sbp.Adagrad()]
    forms = {f"{name}: {form}": net.latex(form) for name, net in networks.items() for form in latex_tests.FORMS}
    return forms | {type(rule).__name__: rule.latex() for rule in rules}


@pytest.fixture(scope="session")
def set_widths(tmp_path_factory):
    """`set_widths(formulas)`: how wide pdflatex sets each displayed formula, in em of its ten point font."""
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is not installed")

    def widths(formulas):
        folder = tmp_path_factory.mktemp("widths")
        boxes = [rf"\sbox0{{$\displaystyle {text}$}}\typeout{{[width \the\wd0]}}" for text in formulas]
        source = ["\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n\\begin{document}", *boxes, "\\end{document}\n"]
        (folder / "widths.tex").write_text("\n".join(source), encoding="utf-8")
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "widths.tex"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        assert run.returncode == 0, run.stdout[-2000:]
        found = [float(points) / 10 for points in re.findall(r"\[width ([\d.]+)pt\]", run.stdout)]
        assert len(found) == len(formulas)
        return found

    return widths


@pytest.fixture(scope="session")
def katex():
    """`katex(formulas, **options)`: what KaTeX makes of each formula, or the message of its error."""
    if not shutil.which("node") or subprocess.run(["node", "-e", 'require("katex")'], capture_output=True).returncode:
        pytest.skip("node or its package katex is not installed (NODE_PATH)")
    script = """
        const [formulas, options] = JSON.parse(require("fs").readFileSync(0, "utf8"));
        const set = text => { try { return require("katex").renderToString(text, options); } catch (error) { return "ERROR " + error.message; } };
        console.log(JSON.stringify(formulas.map(set)));
    """

    def render(formulas, **options):
        given = json.dumps([list(formulas), {"displayMode": True, "throwOnError": True, "strict": "error", **options}])
        run = subprocess.run(["node", "-e", script], input=given, capture_output=True, text=True, check=True)
        return json.loads(run.stdout)

    return render
