"""A standalone module with one function: a Hessian, a Jacobian or another list of blocks, in NumPy. It reads as if written by hand."""

import sympy as sp

from symbackprop.calculus.second import Blocks
from symbackprop.calculus.share import share
from symbackprop.codegen.contractions import is_new_array, on_diagonals, pair_code, planned
from symbackprop.codegen.layout import fold
from symbackprop.codegen.numpy_module import Module, ModulePrinter, formula, shapes_text
from symbackprop.codegen.recurrence import Pruned
from symbackprop.graph.equations import collect
from symbackprop.graph.labels import index_data
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.base import Operator, shape_code
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.shapes import shape_of
from symbackprop.graph.tensor import Equation, Tensor


def derivative_module(blocks: Blocks, name: str, title: str, single: bool, dtype: str, version: str) -> str:
    """The source of a module whose function `name` computes the blocks. `single`: whether one sample may be given as a batch of one."""
    return _DerivativeModule(blocks, name, title, single, dtype, version).source()


class Printer(ModulePrinter):
    """Writes products of two tensors as NumPy computes them fastest."""

    def _operator(self, expr: Operator) -> tuple[str, int]:
        if isinstance(expr, Einsum) and (code := pair_code(expr, self)) is not None:
            return code, 100 if code.startswith("np.") else 20
        return super()._operator(expr)


class _DerivativeModule(Module):
    def __init__(self, blocks: Blocks, name: str, title: str, single: bool, dtype: str, version: str) -> None:
        super().__init__(blocks.system, None, dtype, version)
        self.blocks, self.function_name, self.title, self.single = blocks, name, title, single
        self.printer = Printer()
        self.required = collect(blocks.blocks.values())
        self.equations = [Equation(t, t.definition) for t in self.required if t.definition is not None]
        self.diagonal = Namer(self.taken | {t.name for t in self.required})("diagonal")
        self.taken |= {self.diagonal, *(t.name for t in self.required)}

    def source(self) -> str:
        parts = [self.header(), self.derivative(), *([self.arrays()] if self.system.data else [])]
        return fold("\n\n\n".join(part.strip("\n") for part in [*parts, *self.printer.sources()]) + "\n")

    def header(self) -> str:
        system = self.system
        text = [f'"""{self.title} of a network with loss {system.loss}, written by symbackprop {self.version}. It needs NumPy and nothing else.', ""]
        text += [f"    {e.symbol} = {formula(e.expr)}" for e in self.equations]
        text += ['"""', "", "import numpy as np", "", f"DTYPE = np.{self.dtype}"]
        text += [f"WEIGHTS = {shapes_text({t.name: t.shape for t in system.weights})}", f"DATA = {shapes_text(self.data_shapes())}"]
        self.labels = {t: size for t, size in index_data(system).items() if t in system.data}
        if self.labels:
            text += ["# Data that are integers, from 0 to this number - 1.", f"LABELS = {shapes_text({t.name: size for t, size in self.labels.items()})}"]
        return "\n".join(text)

    def data_shapes(self) -> dict[str, tuple[object, ...]]:
        return {t.name: t.shape for t in self.system.data if t not in self.blocks.vectors.values()}

    def derivative(self) -> str:
        found = set(self.required)
        name = Namer(self.taken)
        equations = Pruned(self.equations, self.blocks.blocks.values())(self.equations)
        steps = [self.text(e) for e in share(planned(equations, name), name)]
        mentioned = self.printer.mentioned
        vectors = {v: w for w, v in self.blocks.vectors.items()}
        data = [d for d in self.system.data if d not in vectors]
        used = [d for d in data if d in found]
        dims = [d for d in self.system.dims if d in mentioned]
        lines = [f'{w.name} = weights["{w.name}"]' for w in self.system.weights if w in found]
        lines += [f'{v.name} = np.asarray(vectors["{w.name}"], DTYPE)' for v, w in vectors.items() if v in found]
        if used or dims:
            used = used or [next(d for d in data if dims[0] in d.shape)]
            lines.append(f"{', '.join([*(d.name for d in used), self.sizes if dims else '_'])} = _arrays({', '.join(f'{d.name}={d.name}' for d in used)})")
        lines += [f'{d.name} = {self.sizes}["{d.name}"]' for d in dims]
        value = {block: block.name if block.shape else f"np.asarray({block.name}, DTYPE)" for block in self.blocks.blocks.values()}
        returned = [f"        {self.key(key)}: {value[block]}," for key, block in self.blocks.blocks.items()]
        arguments = self.signature([d.name for d in used], [d.name for d in data if d not in used])
        if vectors:
            arguments = arguments.replace("weights", "weights, vectors", 1)
        body = "".join(f"    {line}\n" for line in [*lines, *steps])
        doc = f"{self.title}: {self.explanation()}."
        return f'def {self.function_name}({arguments}):\n    """{doc}"""\n{body}    return {{\n' + "\n".join(returned) + "\n    }\n"

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
