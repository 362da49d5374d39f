"""A standalone module that computes a Hessian, a Jacobian or another list of blocks, in NumPy, and checks itself. It reads as if written
by hand."""

from collections.abc import Sequence
from functools import cached_property

import sympy as sp

from symbackprop.calculus.batch import batch_dimension
from symbackprop.calculus.second import Blocks
from symbackprop.calculus.share import share
from symbackprop.calculus.stabilise import Computed, computed
from symbackprop.codegen.contractions import is_new_array, on_diagonals, pair_code, planned
from symbackprop.codegen.derivative_checks import CHECKS, SAMPLES
from symbackprop.codegen.formulas import formula, shape_text, shapes_text
from symbackprop.codegen.layout import fold
from symbackprop.codegen.numpy_module import Module, ModulePrinter, is_view
from symbackprop.codegen.recurrence import Pruned
from symbackprop.graph.equations import System, collect
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator, shape_code
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.shapes import shape_of
from symbackprop.graph.tensor import Equation, Tensor


def derivative_module(blocks: Blocks, kind: str, title: str, single: bool, dtype: str, version: str, checked: bool = True) -> str:
    """The source of a module whose function, named by the kind, computes the blocks. `single`: whether one sample may be given as a batch of
    one; `checked`: whether the module has what checks it, which is more than what computes it."""
    return _DerivativeModule(blocks, kind, title, single, dtype, version, checked).source()


class Printer(ModulePrinter):
    """Writes products of two tensors as NumPy computes them fastest."""

    def _operator(self, expr: Operator) -> tuple[str, int]:
        if isinstance(expr, Einsum) and (code := pair_code(expr, self)) is not None:
            return code, 100 if code.startswith("np.") else 20
        return super()._operator(expr)


class _DerivativeModule(Module):
    def __init__(self, blocks: Blocks, kind: str, title: str, single: bool, dtype: str, version: str, checked: bool) -> None:
        self.blocks, self.kind, self.title, self.checked = blocks, kind, title, checked
        self.required = collect(blocks.blocks.values())
        super().__init__(blocks.system, None, dtype, version)
        self.single = single
        self.function_name = kind.replace(" ", "_")
        self.printer = Printer()
        self.equations = [Equation(t, t.definition) for t in self.required if t.definition is not None]
        self.diagonal = Namer(self.taken)("diagonal")
        self.taken |= {self.diagonal}

    @cached_property
    def system(self) -> System:
        """As it is: the blocks are rewritten already. Of the gradient, only a check knows."""
        return self.blocks.system

    def batched(self, system: System) -> Computed:
        return computed(system)

    def names(self) -> set[str]:
        return {t.name for t in (*self.system.tensors, *self.required)} | {d.name for d in self.system.dims}

    def source(self) -> str:
        checks, main = self.checks() if self.checked and self.kind in CHECKS else ([], [])
        parts = [self.header(), self.derivative(), *checks, *([self.draw()] if self.drawn else []), *([self.arrays()] if self.system.data else [])]
        return fold("\n\n\n".join(part.strip("\n") for part in [*parts, *self.printer.sources(), *main]) + "\n")

    def header(self) -> str:
        system = self.system
        text = [f'"""{self.title} of a network with loss {system.loss}, written by symbackprop {self.version}. It needs NumPy and nothing else.', ""]
        text += [f"    {e.symbol} = {formula(e.expr)}" for e in self.equations]
        text += ['"""', "", "import numpy as np", "", f"DTYPE = np.{self.dtype}"]
        text += [f"WEIGHTS = {shapes_text({t.name: t.shape for t in system.weights})}", f"DATA = {shapes_text(self.data_shapes())}"]
        if self.labels:
            text += ["# Data that are integers, from 0 to this number - 1.", f"LABELS = {shapes_text({t.name: size for t, size in self.labels.items()})}"]
        return "\n".join(text)

    def data_shapes(self) -> dict[str, tuple[object, ...]]:
        return {t.name: t.shape for t in self.system.data if t not in self.blocks.vectors.values()}

    def derivative(self) -> str:
        found = set(self.required)
        name = Namer(self.taken)
        self.printer.mentioned = set()
        equations = Pruned(self.equations, self.blocks.blocks.values())(self.equations)
        steps = [self.text(e) for e in share(planned(equations, name), name)]
        mentioned = self.printer.mentioned
        vectors = {v: w for w, v in self.blocks.vectors.items()}
        data = [d for d in self.system.data if d not in vectors]
        used = [d for d in data if d in found]
        dims = [d for d in self.system.dims if d in mentioned]
        lines = [f'{w.name} = weights["{w.name}"]' for w in self.system.kept if w in found]
        lines += [f'{v.name} = np.asarray(vectors["{w.name}"], DTYPE)' for v, w in vectors.items() if v in found]
        if used or dims:
            used = used or [next(d for d in data if dims[0] in d.shape)]
            lines.append(f"{', '.join([*(d.name for d in used), self.sizes if dims else '_'])} = _arrays({', '.join(f'{d.name}={d.name}' for d in used)})")
        lines += [f'{d.name} = {self.sizes}["{d.name}"]' for d in dims]
        returned = [f"        {self.key(key)}: {self.result(block)}," for key, block in self.blocks.blocks.items()]
        arguments = self.signature([d.name for d in used], [d.name for d in data if d not in used])
        if vectors:
            arguments = arguments.replace("weights", "weights, vectors", 1)
        body = "".join(f"    {line}\n" for line in [*lines, *steps])
        doc = f"{self.title}: {self.explanation()}."
        return f'def {self.function_name}({arguments}):\n    """{doc}"""\n{body}    return {{\n' + "\n".join(returned) + "\n    }\n"

    # --- the check ----------------------------------------------------------------------------------------------------

    def checks(self) -> tuple[list[str], list[str]]:
        """The functions of the check, and the end of the module, which runs it."""
        check = CHECKS[self.kind]
        wrt = list(dict.fromkeys(t for key in self.blocks.blocks for t in key))
        differentiated = self.gradients(wrt) if check.of == "gradients" else self.value() if check.of == "value" else self.loss()
        names = "[" + ", ".join(f'"{w.name}"' for w in wrt) + "]"
        source = check.source(self.function_name, self.title, names, self.random_data())
        source, _, main = source.partition("if __name__")
        samples = [SAMPLES.replace("<n>", str(batch_dimension(self.system)))] if check.of == "loss" else []
        return [self.initialize(), differentiated, source, *samples], [f"if __name__{main}"]

    def gradients(self, wrt: Sequence[Tensor]) -> str:
        adjoints = self.stable.adjoints
        found = {w: g for w in wrt if isinstance(g := adjoints.of[w], Tensor)}
        required = collect(found.values())
        equations = [e for e in adjoints.listing() if e.symbol in set(required)]
        values = [f'        "{w.name}": {found[w].name if w in found else f"np.zeros({shape_text(w.shape)}, DTYPE)"},' for w in wrt]
        result = "\n".join(["{", *values, "    }"])
        return self.function("gradients", "The gradient of the loss: name of a weight → array.", equations, result, required)

    def value(self) -> str:
        node = self.blocks.node
        assert node is not None
        required = collect([node])
        equations = [Equation(t, t.definition) for t in required if t.definition is not None]
        return self.function("value", f"The node {node.name}.", equations, node.name, required)

    def result(self, block: Tensor) -> str:
        """A block as it is returned: an array of its own, which looks into no weight and no data."""
        if not block.shape:
            return f"np.array({block.name}, DTYPE)"
        return f"{block.name}.copy()" if is_view(block) else block.name

    def explanation(self) -> str:
        one = len(next(iter(self.blocks.blocks))) == 1
        return "name of a weight → array" if one else "names of two weights → array, the axes of the first before those of the second"

    def key(self, key: tuple[Tensor, ...]) -> str:
        names = [f'"{t.name}"' for t in key]
        return names[0] if len(names) == 1 else f"({', '.join(names)})"

    def text(self, equation: Equation) -> str:
        """An equation as code. What stands on a diagonal alone is written there, and not multiplied by an identity."""
        symbol, expr = equation
        terms = expr.args if isinstance(expr, sp.Add) else (expr,)
        placed = {t: found for t in terms if (found := on_diagonals(t)) is not None}
        plain = self.printer.plain
        if not placed:
            return f"{symbol.name} = {plain(expr)}"
        dense = sp.Add(*(t for t in terms if t not in placed))
        shape = shape_code(symbol.shape, self.printer)
        if dense == 0:
            start = f"np.zeros({shape}, DTYPE)"
        elif shape_of(dense) != symbol.shape:
            start = f"np.array(np.broadcast_to({plain(dense)}, {shape}))"
        else:
            start = plain(dense) if is_new_array(dense) else f"np.array({plain(dense)})"
        lines = [f"{symbol.name} = {start}"]
        for i, (whole, kept, value) in enumerate(placed.values()):
            operation = "[...] =" if dense == 0 and i == 0 else " +="
            lines.append(f'{self.diagonal} = np.einsum("{whole}->{kept}", {symbol.name})  # a view')
            lines.append(f"{self.diagonal}{operation} {plain(value)}")
        return "\n    ".join(lines)


__all__ = ["Printer", "derivative_module"]
