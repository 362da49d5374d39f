"""Target "numpy", training step: NumPy with preallocated buffers, one call a line, updates in place."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import sympy as sp

from symbackprop.codegen.array_calls import Calls
from symbackprop.codegen.lower import lowered
from symbackprop.codegen.memory import Block
from symbackprop.codegen.program import Program
from symbackprop.codegen.schedule import scheduled
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.scan import Part, Scan
from symbackprop.graph.shapes import Shape, rank_of, shape_of, size_of
from symbackprop.graph.tensor import Equation, Tensor

BLOCK = 2**16  # entries; so many of a few arrays stay in a processor's cache


def array_source(program: Program, dtype: str) -> str:
    """A module with `build(weights, state, sizes) -> step`, and `step(t, data...) -> loss` that updates the weights in place.

    The buffers belong to one combination of sizes. The step returns a loss that is not finite without updating anything.
    """
    return _Step(program, dtype).source()


class _Equations(Calls):
    """Writes equations one after the other, each into a place, a block of memory that is free, or over a value that has been read."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self.last: dict[Tensor, int] = {t: i for i, e in enumerate(program.equations) for t in tensors_in(e.expr)}
        self.homes = {*program.places.values(), *program.system.kept}
        self.owner: dict[Tensor, Tensor] = {}  # an equation's symbol → the one whose block it reads
        self.block: dict[Tensor, Block] = {}

    def step(self, number: int, equation: Equation) -> None:
        """One equation; the blocks that it is the last to read are free after it."""
        owners = self.owners([equation])
        ending = [owner for owner in owners if self.last[owner] == number]
        self.dying = {t for t in ending if owners[t] == 1 and equation.expr.count(t) == 1}
        self.equation(equation)
        for owner in [*ending, equation.symbol]:
            if owner in self.block and self.last.get(owner, number) == number:
                self.memory.give(self.block.pop(owner))

    def owners(self, equations: Sequence[Equation]) -> Counter[Tensor]:
        """Whose blocks the equations read, in an order that is the same in every process."""
        read = {t for _, expr in equations for t in tensors_in(expr)}
        return Counter(self.owner[t] for t in sorted(read, key=lambda t: t.order) if t in self.owner)

    def equation(self, equation: Equation) -> None:
        symbol, expr = equation
        place = self.program.places.get(symbol)
        if place is not None:
            self.place[symbol] = place.name
            if symbol.rank == 0:
                self.lines.append(f"{place.name}[...] = {self.scalar(expr)}")
            elif expr is not place:
                self.emit(expr, place.name, symbol.shape)
        elif symbol is self.program.system.loss:
            self.lines.append(f"{symbol.name} = float({self.scalar(expr)})")
            self.printer.plain_numbers.add(symbol)
            self.lines += [f"if {symbol.name} - {symbol.name} != 0:  # infinite or NaN: leave the weights alone", f"    return {symbol.name}"]
        elif symbol.rank == 0:
            if tensors_in(expr) <= self.printer.plain_numbers and not expr.has(Operator):
                self.printer.plain_numbers.add(symbol)
            # A stored scalar is an array of rank 0, which an update changes, and a reshaped one looks into a buffer: [()] reads the value.
            self.lines.append(f"{symbol.name} = {self.scalar(expr)}" + ("[()]" if self.stored(expr) or isinstance(expr, Reshape) else ""))
        elif isinstance(expr, (Scan, Part)):  # arrays of their own, made anew by each step
            with ExitStack() as stack:
                self.fresh.add(symbol.name)
                names = {x: Tensor(stack.enter_context(self.argument(x)), shape_of(x), "node") for x in expr.operands if self.computed(x)}
                self.lines.append(f"{symbol.name} = {self.text(expr.func(*(names.get(x, x) for x in expr.args)))}")
        elif isinstance(expr, Tensor) and not self.stored(expr):
            self.place[symbol] = self.text(expr)
            if expr in self.owner:
                owner = self.owner[symbol] = self.owner[expr]
                self.last[owner] = max(self.last[owner], self.last.get(symbol, -1))
        else:
            reused = self.reusable(expr, symbol.shape)
            block = self.block.pop(reused) if reused is not None else self.memory.take(symbol.shape)
            self.owner[symbol] = symbol
            self.block[symbol] = block
            self.emit(expr, self.memory.view(block, symbol.shape, symbol.name), symbol.shape)

    def computed(self, expr: sp.Expr) -> bool:
        """Whether an operand is an array that must be made before the call that reads it."""
        return rank_of(expr) > 0 and not isinstance(expr, Tensor)

    def stored(self, expr: sp.Expr) -> bool:
        """Whether the expression is nothing but a place that an update writes over, so that a second name for it will not do."""
        return expr in self.program.places or expr in self.homes

    def reusable(self, expr: sp.Expr, shape: Shape) -> Tensor | None:
        """The value that the result may be written over: read for the last time, and by operations on entries only. Of several the
        deepest in the expression, since it is read first."""
        found = None
        level: list[sp.Basic] = [expr]
        while level:
            found = next((x for x in level if x in self.dying and shape_of(x) == shape), found)
            level = [x for part in level if not isinstance(part, Operator) for x in part.args]
        return found


class _Step(_Equations):
    """The whole module. Updates of large weights of more than one equation go through them in blocks of rows, so that what stands
    between takes no memory of a weight's size."""

    def __init__(self, program: Program, dtype: str) -> None:
        super().__init__(scheduled(lowered(program, dtype)))
        self.dtype = dtype
        self.parts: list[str] = []

    def source(self) -> str:
        program = self.program
        number = 0
        while number < len(program.equations):
            run = self.run(number)
            if run:
                self.in_rows(number, run)
            else:
                self.step(number, program.equations[number])
            number += len(run) or 1
        held = [f'    {w.name} = weights["{w.name}"]' for w in program.system.kept]
        held += [f'    {symbol.name} = state["{name}"]["{w.name}"]' for (name, w), symbol in program.states.items()]
        sizes, update = self.name("sizes"), self.name("update")
        held += [f'    {d.name} = {sizes}["{d.name}"]' for d in program.system.dims]
        held += [f"    {line}" for line in self.memory.source(self.printer)]
        held += [f"    {name} = {text}" for text, name in self.constants.items()]
        held += [f"    {line}" for line in self.parts]
        arguments = ", ".join([program.step.name, *(t.name for t in program.data)])
        body = "\n".join(f"        {line}" for line in self.lines)
        build = f'''def build(weights, state, {sizes}):
    """Buffers for one combination of sizes; returns the step that works in them."""
{chr(10).join(held)}

    def {update}({arguments}):
        """Update the weights in place; returns the loss before the update."""
{body}
        return {program.system.loss.name}

    return {update}'''
        header = f'"""Training step of a network, in preallocated buffers. Written by symbackprop."""\n\nimport numpy as np\n\nDTYPE = np.{self.dtype}'
        return "\n\n\n".join([header, *self.printer.sources(training=not program.precise), build]) + "\n"

    # --- blocks of rows -----------------------------------------------------------------------------------------------

    def run(self, start: int) -> list[Equation]:
        """The equations from here on that work on the entries of one large weight alike, if there are several and nothing but its places
        is read after them."""
        equations = self.program.equations
        shape = equations[start].symbol.shape
        if not shape or not all(isinstance(size, int) for size in shape) or size_of(shape) <= BLOCK:
            return []
        end = start
        while end < len(equations) and _acts_on_entries(equations[end], shape):
            end += 1
        run = equations[start:end]
        known = all(symbol in self.program.places or self.last.get(symbol, -1) < end for symbol, _ in run)
        return run if len(run) > 1 and known else []

    def in_rows(self, start: int, run: list[Equation]) -> None:
        shape = run[0].symbol.shape
        blocks = -(-int(size_of(shape)) // BLOCK)
        small = (-(-shape[0] // blocks), *shape[1:])
        outer: dict[str, str] = {}  # a variable → the variable for some of its rows
        table: dict[sp.Basic, sp.Basic] = {}

        def rows(t: Tensor) -> Tensor:
            name = self.text(t)
            outer.setdefault(name, self.name(f"{name}_rows"))
            return Tensor(outer[name], small, "state")

        places = {}
        equations = []
        for symbol, expr in run:
            table |= {t: rows(t) for t in sorted(tensors_in(expr), key=lambda t: t.order) if t.shape and t not in table}
            table[symbol] = moved = Tensor(symbol.name, small, "state", expr.xreplace(table))
            if symbol in self.program.places:
                places[moved] = rows(self.program.places[symbol])
                self.place[symbol] = self.program.places[symbol].name
            equations.append(Equation(moved, moved.definition))
        inner = _Equations(replace(self.program, equations=equations, places=places))
        inner.constants = self.constants
        inner.printer.plain_numbers = self.printer.plain_numbers
        for i, equation in enumerate(equations):
            inner.step(i, equation)
        self.printer.helpers |= inner.printer.helpers
        buffers = inner.memory.source(self.printer)
        names = list(inner.memory.of)
        parts = self.name(f"{next(reversed(outer))}_parts")
        self.parts += [*buffers, f"{parts} = {self.printer.helper('_parts')}({small[0]}, [{', '.join(outer)}], [{', '.join(names)}])"]
        self.lines.append(f"for {', '.join([*outer.values(), *names])} in {parts}:")
        self.lines += [f"    {line}" for line in inner.lines]
        for owner in self.owners(run):
            if owner in self.block and self.last[owner] < start + len(run):
                self.memory.give(self.block.pop(owner))


def _acts_on_entries(equation: Equation, shape: Shape) -> bool:
    symbol, expr = equation
    return symbol.shape == shape and not expr.has(Operator) and all(t.shape in ((), shape) for t in tensors_in(expr))
