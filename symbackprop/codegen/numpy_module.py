"""Target "numpy": a standalone module that reads as if written by hand. It imports NumPy and nothing else."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import sympy as sp

from symbackprop.calculus.batch import is_single_sample, lift
from symbackprop.calculus.differentiate import Adjoints, adjoints
from symbackprop.calculus.share import share
from symbackprop.calculus.stabilise import Computed, computed
from symbackprop.codegen import templates
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.formulas import derivative, formula, shape_text, shapes_text
from symbackprop.codegen.layout import fold
from symbackprop.codegen.recurrence import Pruned
from symbackprop.graph.draw import Draw
from symbackprop.graph.equations import System, collect, dims_in, tensors_in
from symbackprop.graph.inference import inference
from symbackprop.graph.initial import initial_sources
from symbackprop.graph.labels import index_data
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.layout import Reshape, Slice
from symbackprop.graph.rule import WEIGHT, Rule
from symbackprop.graph.shapes import Dim, numeric
from symbackprop.graph.tensor import Equation, Tensor


def numpy_module(system: System, rule: Rule | None, dtype: str, version: str) -> str:
    """The source of the module for a network and, with a rule, its updates."""
    return Module(system, rule, dtype, version).source()


class Module:
    """The parts of a generated module, written as they are asked for."""

    def __init__(self, written: System, rule: Rule | None, dtype: str, version: str) -> None:
        self.written = written  # as the user wrote it; the code computes a batch of it
        self.single = is_single_sample(written)
        self.rule = rule
        self.dtype = dtype
        self.version = version
        self.printer = ModulePrinter()
        self.lines: dict[Equation, _Line] = {}
        own = Namer(self.names())  # the network's names keep their spelling, and the module's own variables step aside
        self.sizes, self.single_name = own("sizes"), own("single")
        self.taken = self.names() | {self.sizes, self.single_name}

    @cached_property
    def stable(self) -> Computed:
        return self.batched(self.written)

    @property
    def adjoints(self) -> Adjoints:
        return self.stable.adjoints

    @cached_property
    def system(self) -> System:
        return self.stable.system

    @cached_property
    def trained(self) -> System:
        """What `predict` computes; mostly the same."""
        return inference(self.written)

    @cached_property
    def inferred(self) -> System:
        return self.batched(self.trained).system

    @cached_property
    def labels(self) -> dict[Tensor, Any]:
        return index_data(self.system)

    @cached_property
    def drawn(self) -> dict[Tensor, Draw]:
        return {t: t.init for t in self.system.data if isinstance(t.init, Draw)}

    @cached_property
    def pruned(self) -> Pruned:
        return Pruned(self.everything(), self.returned())

    def names(self) -> set[str]:
        """The names of the network, its derivatives included."""
        system = self.system
        return {t.name for t in system.tensors} | {e.symbol.name for e in self.adjoints.equations} | {d.name for d in system.dims}

    def returned(self) -> list[Tensor]:
        """What the functions of the module return."""
        outputs = [t for t in (self.system.output, self.inferred.output) if t is not None]
        return [self.system.loss, *outputs, *(g for w in self.system.weights if isinstance(g := self.adjoints.of[w], Tensor))]

    def everything(self) -> list[Equation]:
        """All equations that some function of the module computes: the outputs, the loss, the derivatives, the new states."""
        outputs = [Equation(t, t.definition) for t in collect([t for t in self.returned() if t.adjoint_of is None]) if t.definition is not None]
        return list(dict.fromkeys([*outputs, *self.adjoints.listing(self.system.updated), *(Equation(state, expr) for state, expr in self.system.updates)]))

    def batched(self, system: System) -> Computed:
        return computed(lift(system) if self.single else system)

    # --- the parts --------------------------------------------------------------------------------------------------

    def source(self) -> str:
        functions = [self.initialize(), self.predict(), self.loss(), *self.loss_and_gradients()]
        if self.rule is not None:
            functions += [self.initialize_state(), self.update()]
        functions += [self.draw(), self.check_gradients()] if self.drawn else [self.check_gradients()]
        if self.system.data:
            functions.append(self.arrays())
        parts = [self.header(), *functions, *self.printer.sources(), templates.MAIN]
        return fold("\n\n\n".join(part.strip("\n") for part in parts) + "\n")

    def header(self) -> str:
        system = self.system
        written = self.written
        lines = [f"    {e.symbol} = {formula(e.expr)}" for e in self.written.equations]
        lines += [f"    {state} <- {formula(expr, state)}, with every update" for state, expr in reversed(self.written.updates)]
        lines += [f"    {t} = {formula(t.inference)}, at inference" for t, _ in self.written.equations if t.inference is not None]
        if self.single:
            lines += ["", "The loss of a batch is the mean of its samples' losses."]
        gradients = [f"    {derivative(e.symbol)} = {formula(e.expr)}" for e in adjoints(written).equations]
        title = f"Update code of a network with loss {system.loss}, written by symbackprop {self.version}. It needs NumPy and nothing else."
        text = [f'"""{title}', "", "The network:", "", *lines]
        if gradients:
            text += ["", "Its derivatives, from the loss backwards:", "", *gradients]
        text += ['"""', "", "import numpy as np", "", f"DTYPE = np.{self.dtype}"]
        text += [f"WEIGHTS = {shapes_text({t.name: t.shape for t in system.weights})}"]
        if system.states:
            text += ["# What is kept among the weights without being learnt.", f"STATES = {shapes_text({t.name: t.shape for t in system.states})}"]
        text += [f"DATA = {shapes_text({t.name: t.shape for t in system.data})}"]
        if self.labels:
            text += ["# Data that are integers, from 0 to this number - 1.", f"LABELS = {shapes_text({t.name: size for t, size in self.labels.items()})}"]
        return "\n".join(text)

    def initialize(self) -> str:
        lines = ["def initialize(seed=0):", '    """Weights to start from, drawn with a seeded generator."""', "    rng = np.random.default_rng(seed)"]
        sources = [f'        "{t.name}": {source},' for t, source in initial_sources(self.system).items()]
        if not any("rng." in s for s in sources):
            lines.pop()
        return "\n".join([*lines, "    return {", *sources, "    }"])

    def predict(self) -> str:
        output = self.inferred.output
        if output is None:
            return templates.NO_OUTPUT
        required = collect([output])
        equations = [Equation(t, t.definition) for t in required if t.definition is not None]
        batched = self.single and self.trained.output is not None and output.shape != self.trained.output.shape
        doc = f"The output {output.name}, shape {shape_text(output.shape)}" + (f"; {shape_text(output.shape[1:])} for one sample." if batched else ".")
        before, result = [], output.name
        if batched:
            first = next(d for d in self.system.data if d in required)
            before = [f"{self.single_name} = np.ndim({first.name}) == {first.rank - 1}"]
            result = f"{output.name}[0] if {self.single_name} else {output.name}"
        return self.function("predict", doc, equations, result, required, before)

    def loss(self) -> str:
        loss = self.system.loss
        required = collect([loss])
        equations = [Equation(t, t.definition) for t in required if t.definition is not None]
        return self.function("loss", f"The loss {loss.name}.", equations, f"float({loss.name})", required)

    def loss_and_gradients(self) -> list[str]:
        """The function; where training changes states, what it shares with `update`, too."""
        loss, updates = self.system.loss, self.system.updates
        returned = []
        for w in self.system.weights:
            adjoint = self.adjoints.of[w]
            value = self.printer.plain(adjoint) if isinstance(adjoint, Tensor) else f"np.zeros({shape_text(w.shape)}, DTYPE)"
            if isinstance(adjoint, Tensor) and not w.shape and adjoint.definition is not None and not tensors_in(adjoint.definition):
                value = f"np.asarray({value}, DTYPE)"  # a number, or a size
            # An update changes the weights one after the other: a gradient that looks into another weight must not change with it.
            returned.append(f'        "{w.name}": {value}{".copy()" if is_view(adjoint) else ""},')
        gradients = "\n".join(["{", *returned, "    }"]) if returned else "{}"
        doc = "The loss, and its gradient with respect to every weight (name → array of the weight's shape)."
        if not updates:
            return [self.function("loss_and_gradients", doc, self.adjoints.listing(), f"float({loss.name}), {gradients}", self.adjoints.forward())]
        name = Namer(self.taken)
        new = [Equation(Tensor(name(f"{state.name}_new"), state.shape, "state", expr), expr) for state, expr in updates]
        states = ", ".join(f'"{state.name}": {e.symbol.name}{".copy()" * is_view(e.expr)}' for (state, _), e in zip(updates, new, strict=True))
        required = self.adjoints.forward(self.system.updated)
        all_doc = "The same, and the new value of every state that an update changes (name → array)."
        equations = [*self.adjoints.listing(self.system.updated), *new]
        together = self.function("loss_gradients_and_states", all_doc, equations, f"float({loss.name}), {gradients}, {{{states}}}", required)
        used = "".join(f", {d.name}={d.name}" for d in self.system.data if d in set(required))
        result = f"loss_gradients_and_states(weights{used})[:2]"
        signature = together[: together.index(":\n")].replace("loss_gradients_and_states", "loss_and_gradients")
        return [f'{signature}:\n    """{doc}"""\n    return {result}\n', together]

    # --- a function over the equations --------------------------------------------------------------------------------

    def function(
        self, name: str, doc: str, equations: list[Equation], result: str, required: list[Tensor], before: Sequence[str] = ()
    ) -> str:
        """A function that reads its weights and data, computes the equations in order and returns `result`."""
        found = set(required)
        used = [d for d in self.system.data if d in found]
        optional = [d.name for d in self.system.data if d not in found]
        body = [self.line(e) for e in share(self.pruned(equations), Namer(self.taken))]
        mentioned = set().union(*(line.mentioned for line in body))
        dims = [d for d in self.system.dims if d in mentioned]
        lines = [*before, *(f'{w.name} = weights["{w.name}"]' for w in self.system.kept if w in found)]
        if used:
            arrays = ", ".join([*(d.name for d in used), self.sizes if dims else "_"])
            lines.append(f"{arrays} = _arrays({', '.join(f'{d.name}={d.name}' for d in used)})")
        lines += [f'{d.name} = {self.sizes}["{d.name}"]' for d in dims]
        text = "".join(f"    {line}\n" for line in [*lines, *(line.text for line in body), f"return {result}"])
        return f'def {name}({self.signature([d.name for d in used], optional)}):\n    """{doc}"""\n{text}'

    def line(self, equation: Equation) -> "_Line":
        """An equation as code, written once: each function over the equations computes most of the same ones."""
        if equation not in self.lines:
            self.printer.mentioned = set()
            self.lines[equation] = _Line(f"{equation.symbol.name} = {self.printer.plain(equation.expr)}", self.printer.mentioned)
        return self.lines[equation]

    def signature(self, names: list[str], optional: list[str]) -> str:
        keywords = [*names, *(f"{name}=None" for name in optional)]
        return ", ".join(["weights", *(["*", *keywords] if keywords else [])])

    # --- updates ----------------------------------------------------------------------------------------------------

    def initialize_state(self) -> str:
        assert self.rule is not None
        entries = ['"t": 0']
        for state, value in self.rule.states.items():
            start = "np.zeros(np.shape(w), DTYPE)" if value == 0 else f"np.full(np.shape(w), {value!r}, DTYPE)"
            items = "weights.items() if name in WEIGHTS" if self.system.states else "weights.items()"
            entries.append(f'"{state.name}": {{name: {start} for name, w in {items}}}')
        body = f"{{{entries[0]}}}" if len(entries) == 1 else "{\n" + "".join(f"        {e},\n" for e in entries) + "    }"
        return templates.INITIALIZE_STATE.replace("<body>", body)

    def update(self) -> str:
        assert self.rule is not None
        required = collect([self.system.loss, *self.system.updated])
        names = [d.name for d in self.system.data if d in required]
        optional = [d.name for d in self.system.data if d not in required]
        own = Namer({"g", "t", *(s.name for s in self.rule.states)})
        value, name, new = own("value"), own("name"), own("new")
        updates = self.system.updates
        gradients = "gradients"  # reserved: no state has this name
        printer = PythonPrinter(names={WEIGHT: f"weights[{name}]"})
        equations = share_rule(self.rule, own)
        loop = [f'{s.name} = state["{s.name}"][{name}]' for s in self.rule.states]
        loop += [self.assignment(printer, equation, name) for equation in equations]
        self.printer.helpers |= printer.helpers
        lines = [
            f"{value}, {gradients}{f', {new}' * bool(updates)} = {_COMPUTE[bool(updates)]}(weights{''.join(f', {n}={n}' for n in names)})",
            f"if not np.isfinite({value}):",
            '    raise FloatingPointError("the loss is not finite; the weights were left as they were")',
            'state["t"] += 1',
            *(['t = state["t"]'] if self.rule.uses_step else []),
            *([f"for {name}, g in {gradients}.items():", *(f"    {line}" for line in loop)] if loop else []),
            *([f"for {name} in {new}:", f"    weights[{name}][...] = {new}[{name}]"] if updates else []),
            f"return {value}",
        ]
        doc = "One step of the optimizer, in place; returns the loss before it.\n\n"
        if self.rule.assignments:
            doc += "    For every weight w with gradient g:\n\n"
            doc += "".join(f"        {e.symbol} <- {formula(e.expr, e.symbol)}\n" for e in self.rule.assignments)
            doc += f"\n    States are changed too: {', '.join(t.name for t, _ in reversed(updates))}.\n" if updates else ""
        else:
            doc += "    All at once, from the values before:\n\n" + "".join(f"        {t} <- {formula(expr, t)}\n" for t, expr in updates)
        doc += "    "
        signature = self.signature(names, optional).replace("weights", "weights, state", 1)
        return f'def update({signature}):\n    """{doc}"""\n' + "".join(f"    {line}\n" for line in lines)

    def assignment(self, printer: PythonPrinter, equation: Equation, name: str) -> str:
        """One line of the rule, in place: `-=` where the target changes by a difference."""
        assert self.rule is not None
        target, expr = equation
        printer.lead = target
        place = f"weights[{name}]" if target is WEIGHT else target.name
        if target is not WEIGHT and target not in self.rule.states:
            return f"{place} = {printer.plain(expr)}"
        rest = self.rule.increment(equation)
        if rest is not None and rest != 0:
            return f"{place} -= {printer.plain(-rest)}" if rest.could_extract_minus_sign() else f"{place} += {printer.plain(rest)}"
        factor = expr / target
        if target not in factor.free_symbols:
            return f"{place} *= {printer.plain(factor)}"
        return f"{place}[...] = {printer.plain(expr)}"

    # --- checks -----------------------------------------------------------------------------------------------------

    def arrays(self) -> str:
        axis = "        if value.ndim == len(shape) - 1:\n            value = value[None]  # one sample is a batch of one\n" if self.single else ""
        convert = "np.asarray(value) if name in LABELS else np.asarray(value, DTYPE)" if self.labels else "np.asarray(value, DTYPE)"
        counts = ", ".join(f'"{t.name}": {_counted(size)}' for t, size in self.labels.items())
        checked = templates.RANGE.replace("<counts>", f"{{{counts}}}") if self.labels else ""
        return templates.ARRAYS.replace("<axis>", axis).replace("<convert>", convert).replace("<range>", checked)

    def draw(self) -> str:
        """The function that draws what training draws for every update."""
        dims = list(dict.fromkeys(size for t in self.drawn for size in t.shape if isinstance(size, Dim)))
        rng, arguments = Namer({d.name for d in dims})("rng"), "".join(f", {d.name}" for d in dims)
        rows = [f'        "{t.name}": np.asarray({draw.source(rng, shape_text(t.shape))}, DTYPE),' for t, draw in self.drawn.items()]
        names = ", ".join(t.name for t in self.drawn)
        return "\n".join([
            f"def draw({rng}{', *' * bool(dims)}{arguments}):",
            f'    """Random values of {names} for one update, from a generator such as np.random.default_rng(0): name → array."""',
            "    return {", *rows, "    }",
        ])

    def check_gradients(self) -> str:
        return templates.CHECK.replace("<data>", self.random_data())

    def random_data(self) -> str:
        """Random data for a check, drawn from `rng`."""
        draws = []
        sizes: dict[str, int] = {d.name: 4 + i for i, d in enumerate(self.system.dims)}
        known = {d: sizes[d.name] for d in self.system.dims}
        for d in self.system.data:
            shape = "(" + ", ".join(str(sizes.get(str(s), s)) for s in d.shape) + ("," if len(d.shape) == 1 else "") + ")"
            draw = f"rng.integers(0, {numeric((self.labels[d],), known)[0]}, {shape})" if d in self.labels else f"rng.uniform(0.1, 0.9, {shape})"
            draws.append(f'            "{d.name}": {draw},')
        return "{\n" + "\n".join(draws) + "\n        }" if draws else "{}"


def is_view(expr: sp.Expr) -> bool:
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


def _counted(size: Any) -> str:
    """How many positions there are, as code; without an end where the dimension is that of no data that are given."""
    if isinstance(size, int):
        return str(size)
    return str(size.xreplace({d: sp.Symbol(f'sizes.get("{d}", np.inf)') for d in dims_in(size)}))


class _Line(NamedTuple):
    text: str
    mentioned: set[sp.Symbol]


class ModulePrinter(PythonPrinter):
    """Notes which symbols the code mentions; the size of a batch is often no part of it, although it is part of the mathematics."""

    def __init__(self) -> None:
        super().__init__()
        self.mentioned: set[sp.Symbol] = set()

    def _symbol(self, expr: sp.Symbol) -> tuple[str, int]:
        self.mentioned.add(expr)
        return super()._symbol(expr)


_COMPUTE = {False: "loss_and_gradients", True: "loss_gradients_and_states"}

__all__ = ["Module", "ModulePrinter", "is_view", "numpy_module", "share_rule"]
