"""Target "numpy": a standalone module that reads as if written by hand. It imports NumPy and nothing else."""

from typing import Any

import sympy as sp

from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.differentiate import differentiate
from symbackprop.calculus.share import share
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.helpers import helper_source
from symbackprop.graph.equations import System, collect
from symbackprop.graph.initial import initial_sources
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.gather import OneHot, Take
from symbackprop.graph.operators.layout import Reshape, Slice
from symbackprop.graph.rule import STEP, WEIGHT, Rule
from symbackprop.graph.shapes import postorder
from symbackprop.graph.tensor import Equation, Tensor

# What the functions below call their own variables; network names keep their spelling and these step aside.
_OWN = ("value", "name", "rng", "sizes", "DTYPE", "WEIGHTS", "DATA", "LABELS")


def index_data(system: System) -> dict[Tensor, Any]:
    """The data that are used as integer positions, and the number of positions: 0 to size - 1 are allowed."""
    found: dict[Tensor, Any] = {}
    for _, expr in system.equations:
        for part in postorder(expr):
            if isinstance(part, OneHot):
                found[part.operands[0]] = part.shape[-1]
            elif isinstance(part, Take):
                found[part.operands[1]] = part.operands[0].shape[part.axis]
    return found


def numpy_module(system: System, rule: Rule | None, dtype: str, version: str) -> str:
    """The source of the module for a network and, with a rule, its updates."""
    return _Module(system, rule, dtype, version).source()


class _Module:
    def __init__(self, written: System, rule: Rule | None, dtype: str, version: str) -> None:
        self.written = written  # as the user wrote it; the code computes a batch of it
        self.single = is_single_sample(written)
        self.system = system = lift(written) if self.single else written
        self.rule = rule
        self.dtype = dtype
        self.version = version
        self.printer = PythonPrinter()
        self.labels = index_data(system)
        self.adjoints = differentiate(system.loss, system.weights)
        self.taken = {t.name for t in system.tensors} | {e.symbol.name for e in self.adjoints.equations} | {d.name for d in system.dims} | set(_OWN)

    # --- the parts --------------------------------------------------------------------------------------------------

    def source(self) -> str:
        functions = [self.initialize(), self.predict(), self.loss(), self.loss_and_gradients()]
        if self.rule is not None:
            functions += [self.initialize_state(), self.update()]
        functions.append(self.check_gradients())
        helpers = helper_source(self.printer.helpers)
        parts = [self.header(), *functions, self.arrays(), *helpers, _MAIN]
        return "\n\n\n".join(part.strip("\n") for part in parts) + "\n"

    def header(self) -> str:
        system = self.system
        adjoints = differentiate(self.written.loss, self.written.weights) if self.single else self.adjoints
        lines = [f"    {e.symbol} = {_formula(e.expr)}" for e in self.written.equations]
        if self.single:
            lines.append("The loss of a batch is the mean of its samples' losses.")
        gradients = [f"    {_derivative(e.symbol)} = {_formula(e.expr)}" for e in adjoints.equations]
        text = [f'"""Update code of a network with loss {system.loss}, written by symbackprop {self.version}. It needs NumPy and nothing else.', "", "The network:", *lines]
        if gradients:
            text += ["", "Its derivatives, from the loss backwards:", *gradients]
        shapes = {t.name: t.shape for t in system.weights}
        text += ['"""', "", "import numpy as np", "", f"DTYPE = np.{self.dtype}", f"WEIGHTS = {_shapes(shapes)}", f"DATA = {_shapes({t.name: t.shape for t in system.data})}"]
        if self.labels:
            text.append(f"LABELS = {_shapes({t.name: size for t, size in self.labels.items()})}  # integer data: 0 to size - 1")
        return "\n".join(text)

    def initialize(self) -> str:
        lines = ["def initialize(seed=0):", '    """Weights to start from, drawn with a seeded generator."""', "    rng = np.random.default_rng(seed)"]
        sources = [f'        "{w.name}": {source},' for w, source in initial_sources(self.system).items()]
        if not any("rng." in s for s in sources):
            lines.pop()
        return "\n".join([*lines, "    return {", *sources, "    }"])

    def predict(self) -> str:
        output = self.system.output
        if output is None:
            return 'def predict(weights, **data):\n    """There is nothing to predict: the network names no output."""\n    raise ValueError("the network names no output; build it with Network(loss, output=...)")'
        equations = [Equation(t, t.definition) for t in collect([output]) if t.definition is not None]
        doc = f"The output {output.name}, shape {_shape(output.shape)}."
        return self.function("predict", doc, equations, output.name, required=collect([output]))

    def loss(self) -> str:
        loss = self.system.loss
        equations = [Equation(t, t.definition) for t in collect([loss]) if t.definition is not None]
        return self.function("loss", f"The loss {loss.name} = {_formula(loss.definition)}.", equations, f"float({loss.name})", required=collect([loss]))

    def loss_and_gradients(self) -> str:
        loss = self.system.loss
        forward = [Equation(t, t.definition) for t in collect([loss]) if t.definition is not None]
        returned = []
        for w in self.system.weights:
            adjoint = self.adjoints.of[w]
            value = self.printer.plain(adjoint) if isinstance(adjoint, Tensor) else f"np.zeros({_shape(w.shape)}, DTYPE)"
            # An update changes the weights one after the other: a gradient that looks into another weight must not change with it.
            returned.append(f'        "{w.name}": {value}{".copy()" if _is_view(adjoint) else ""},')
        result = "\n".join([f"float({loss.name}), {{", *returned, "    }"]) if returned else f"float({loss.name}), {{}}"
        doc = "The loss, and its gradient with respect to every weight (name → array of the weight's shape)."
        return self.function("loss_and_gradients", doc, [*forward, *self.adjoints.equations], result, required=collect([loss]))

    # --- a function over the equations --------------------------------------------------------------------------------

    def function(self, name: str, doc: str, equations: list[Equation], result: str, required: list[Tensor]) -> str:
        """A function that reads its weights and data, computes the equations in order and returns `result`."""
        equations = share(equations, Namer(self.taken))
        weights = [w for w in self.system.weights if w in required]
        used = [d for d in self.system.data if d in required]
        optional = [d.name for d in self.system.data if d not in required]
        lines = [f"def {name}({self.signature([d.name for d in used], optional)}):", f'    """{doc}"""']
        lines += [f'    {w.name} = weights["{w.name}"]' for w in weights]
        body = [f"{e.symbol.name} = {self.printer.plain(e.expr)}" for e in equations]
        if used:
            lines.append(f"    {self.unpack(used, body)} = _arrays({', '.join(f'{d.name}={d.name}' for d in used)})")
            lines += [f'    {d.name} = sizes["{d.name}"]' for d in self.system.dims if _mentions(d.name, body)]
        lines += [f"    {line}" for line in body]
        return "\n".join([*lines, f"    return {result}"])

    def unpack(self, used: list[Tensor], body: list[str]) -> str:
        sizes = "sizes" if any(_mentions(d.name, body) for d in self.system.dims) else "_"
        return ", ".join([*(d.name for d in used), sizes])

    def signature(self, names: list[str], optional: list[str]) -> str:
        keywords = [*names, *(f"{name}=None" for name in optional)]
        return ", ".join(["weights", *(["*", *keywords] if keywords else [])])

    # --- updates ----------------------------------------------------------------------------------------------------

    def initialize_state(self) -> str:
        assert self.rule is not None
        entries = ['"t": 0']
        for state, value in self.rule.states.items():
            zero = "np.zeros(np.shape(weights[name]), DTYPE)" if value == 0 else f"np.full(np.shape(weights[name]), {float(value)!r}, DTYPE)"
            entries.append(f'"{state.name}": {{name: {zero} for name in WEIGHTS}}')
        body = "{" + ", ".join(entries) + "}" if len(entries) == 1 else "{\n        " + ",\n        ".join(entries) + ",\n    }"
        return f'def initialize_state(weights):\n    """The optimizer\'s state before the first update: the number of updates so far, and one array for each weight."""\n    return {body}'

    def update(self) -> str:
        assert self.rule is not None
        loss = self.system.loss
        required = collect([loss])
        names = [d.name for d in self.system.data if d in required]
        optional = [d.name for d in self.system.data if d not in required]
        passed = "".join(f", {n}={n}" for n in names)
        own = Namer({"w", "g", "t", *(s.name for s in self.rule.states)} | {"name"})
        value, gradients = own("value"), own("gradients_") if "gradients" in own.taken - {"gradients"} else "gradients"
        formulas = "\n".join(f"        {target} <- {_formula(expr)}" for target, expr in self.rule.assignments)
        signature = self.signature(names, optional).replace("weights", "weights, state", 1)
        lines = [
            f"def update({signature}):",
            f'    """One step of the optimizer, in place; returns the loss before it.\n\n    For every weight w with gradient g:\n\n{formulas}\n    """',
            f"    {value}, {gradients} = loss_and_gradients(weights{passed})",
            f"    if not np.isfinite({value}):",
            '        raise FloatingPointError("the loss is not finite; the weights were left as they were")',
            '    state["t"] += 1',
        ]
        equations = share_rule(self.rule, own)
        uses_step = any(STEP in e.free_symbols for _, e in equations)
        if uses_step:
            lines.append('    t = state["t"]')
        lines.append(f"    for name, g in {gradients}.items():")
        uses_weight = any(WEIGHT in e.free_symbols for s, e in equations if not (s is WEIGHT and self.rule.increment(Equation(s, e)) is not None and WEIGHT not in self.rule.increment(Equation(s, e)).free_symbols))
        if uses_weight:
            lines.append("        w = weights[name]")
        lines += [f'        {s.name} = state["{s.name}"][name]' for s in self.rule.states]
        for i, equation in enumerate(equations):
            lines += self.assignment(equation, any(WEIGHT in e.free_symbols for _, e in equations[i + 1 :]))
        return "\n".join([*lines, f"    return {value}"])

    def assignment(self, equation: Equation, read_later: bool) -> list[str]:
        """One line of the rule, in place: `-=` where the target changes by a difference."""
        assert self.rule is not None
        target, expr = equation
        place = "weights[name]" if target is WEIGHT else f"{target.name}[...]"
        rest = self.rule.increment(equation)
        if target is not WEIGHT and target not in self.rule.states:
            return [f"        {target.name} = {self.printer.plain(expr)}"]
        if rest is not None and rest != 0:
            place = "weights[name]" if target is WEIGHT else target.name
            line = f"{place} -= {self.printer.plain(-rest)}" if rest.could_extract_minus_sign() else f"{place} += {self.printer.plain(rest)}"
        else:
            line = f"{place} = {self.printer.plain(expr)}"
        return [f"        {line}", *(["        w = weights[name]"] if target is WEIGHT and read_later else [])]

    # --- checks -----------------------------------------------------------------------------------------------------

    def arrays(self) -> str:
        axis = (
            "        if value.ndim == len(shape) - 1:\n            value = value[None]  # one sample is a batch of one\n" if self.single else ""
        )
        kind = "LABELS" if self.labels else "()"
        return _ARRAYS.replace("<axis>", axis).replace("<labels>", kind).replace("<range>", _RANGE if self.labels else "")

    def check_gradients(self) -> str:
        draws = []
        sizes: dict[str, int] = {d.name: 4 + i for i, d in enumerate(self.system.dims)}
        for d in self.system.data:
            shape = "(" + ", ".join(str(sizes.get(str(s), s)) for s in d.shape) + ("," if len(d.shape) == 1 else "") + ")"
            draw = f"rng.integers(0, {_size(self.labels[d], sizes)}, {shape})" if d in self.labels else f"rng.uniform(0.1, 0.9, {shape})"
            draws.append(f'            "{d.name}": {draw},')
        data = "{\n" + "\n".join(draws) + "\n        }" if draws else "{}"
        return _CHECK.replace("<data>", data)


def _is_view(expr: sp.Expr) -> bool:
    """Whether the array of an expression is, or looks into, a weight or data, as a transpose or a slice does in NumPy."""
    while isinstance(expr, (Tensor, Reshape, Slice, Broadcast, Einsum)):
        if isinstance(expr, Einsum) and (len(expr.operands) > 1 or len(expr.spec[1]) < len(expr.spec[0][0])):
            return False
        inner = expr.definition if isinstance(expr, Tensor) else expr.operands[0]
        if inner is None:
            return True
        expr = inner
    return False


def share_rule(rule: Rule, name: Namer) -> list[Equation]:
    """The rule's assignments with what is repeated inside one of them computed once."""
    result: list[Equation] = []
    for equation in rule.assignments:
        result += share([equation], name)
    return result


def _mentions(name: str, lines: list[str]) -> bool:
    import re

    return any(re.search(rf"\b{re.escape(name)}\b", line) for line in lines)


def _size(size: Any, sizes: dict[str, int]) -> str:
    return str(sizes.get(str(size), size))


def _shape(shape: Any) -> str:
    return "(" + ", ".join(str(s) for s in shape) + ("," if len(shape) == 1 else "") + ")"


def _shapes(shapes: dict[str, Any]) -> str:
    def one(shape: Any) -> str:
        sizes = [s if isinstance(s, int) else str(s) for s in shape] if isinstance(shape, tuple) else shape
        return repr(tuple(sizes)).replace("'", '"') if isinstance(sizes, list) else (repr(sizes) if isinstance(sizes, int) else f'"{sizes}"')

    return "{" + ", ".join(f'"{name}": {one(shape)}' for name, shape in shapes.items()) + "}"


def _derivative(symbol: Tensor) -> str:
    if symbol.adjoint_of is None:
        return symbol.name
    return f"d{symbol.adjoint_of[0]}/d{symbol.adjoint_of[1]}"


class _Formula(PythonPrinter):
    """Formulas for people: function names without a module, derivatives as quotients."""

    def __init__(self) -> None:
        super().__init__()

    def _symbol(self, expr: sp.Symbol) -> tuple[str, int]:
        return (_derivative(expr), 21) if isinstance(expr, Tensor) and expr.adjoint_of else (expr.name, 100)


def _formula(expr: Any) -> str:
    text = _Formula().plain(expr)
    return text.replace("np.", "").replace(", dtype=DTYPE", "")


_ARRAYS = '''
def _arrays(**data):
    """The data as arrays, checked against DATA, and the sizes of the open dimensions."""
    arrays, sizes = [], {}
    for name, value in data.items():
        shape = DATA[name]
        value = np.asarray(value) if name in <labels> else np.asarray(value, DTYPE)
<axis>        if value.ndim != len(shape):
            raise ValueError(f"{name} has shape {value.shape}, expected {shape}")
        for found, expected in zip(value.shape, shape):
            if found != (sizes.setdefault(expected, found) if isinstance(expected, str) else expected) or found == 0:
                raise ValueError(f"{name} has shape {value.shape}, expected {shape} with {sizes}")
        arrays.append(value)
<range>    return *arrays, sizes
'''

_RANGE = '''    for name, value in zip(data, arrays):
        size = sizes.get(LABELS.get(name), LABELS.get(name))
        if size is not None and (value.dtype.kind not in "iu" or value.min() < 0 or value.max() >= size):
            raise ValueError(f"{name} must hold integers from 0 to {size - 1}")
'''

_CHECK = '''
def check_gradients(seed=0):
    """Largest relative error of the gradients against central differences, at random weights and data, in float64."""
    global DTYPE
    kept, DTYPE = DTYPE, np.float64
    try:
        rng = np.random.default_rng(seed)
        weights = {name: np.array(w + rng.uniform(0.05, 0.15, np.shape(w)), DTYPE) for name, w in initialize(seed).items()}
        data = <data>
        _, gradients = loss_and_gradients(weights, **data)
        scale = max((np.abs(g).max(initial=0.0) for g in gradients.values()), default=0.0)
        worst = 0.0
        for name, w in weights.items():
            for index in list(np.ndindex(w.shape))[:: max(1, w.size // 50)]:
                middle = w[index]
                h = 1e-5 * max(1.0, abs(middle))
                w[index] = middle + h
                above = loss(weights, **data)
                w[index] = middle - h
                below = loss(weights, **data)
                w[index] = middle
                numeric, symbolic = (above - below) / (2 * h), float(gradients[name][index])
                size = max(abs(numeric), abs(symbolic), 1e-3 * scale, 1e-12)
                error = abs(numeric - symbolic) / size
                worst = error if error > worst or error != error else worst
        return float(worst)
    finally:
        DTYPE = kept
'''

_MAIN = '''
if __name__ == "__main__":
    error = check_gradients()
    print(f"largest relative error of the gradients: {error:.1e}")
    raise SystemExit(0 if error < 1e-5 else 1)
'''

__all__ = ["index_data", "numpy_module", "share_rule"]
