"""Target "numba": training in compiled code, as loops over arrays that were allocated before.

The source depends on the equations and not on the widths of the layers, so that the same compiled pieces serve them all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy as sp

from symbackprop.codegen.layout import fold
from symbackprop.codegen.loops import lower
from symbackprop.codegen.native_expressions import NativePrinter, WholePrinter
from symbackprop.codegen.pieces import Memory, Piece, head, helpers_of, piece
from symbackprop.codegen.program import Program
from symbackprop.codegen.scalar_step import stored
from symbackprop.codegen.statements import Call, Check, Line, Loop, Lowered, Pass, Product, Statement, flattened, read_by, written
from symbackprop.errors import UnsupportedError
from symbackprop.graph.labels import index_data
from symbackprop.graph.shapes import Dim, Dimension, Shape
from symbackprop.graph.tensor import Tensor
from symbackprop.version import __version__

SMALL = 4  # sizes up to this one are written in as numbers, so that loops are unrolled; a longer loop is better vectorised
UNROLLED = 16  # as long as they and the loops inside take together no more turns, which is what compiling takes its time by


@dataclass(frozen=True)
class Buffer:
    """Working memory: its shape, and the numbers of the first statement that writes it and of the last that reads it. `gathers`: the data
    whose rows are copied there, if they are taken in an order of their own."""

    name: str
    shape: Shape
    first: int
    last: int
    gathers: Tensor | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of a step (see `machine`): "piece", "row", "start" or "end"; of a piece its number, of a loop whether it goes backwards or how many
    operations back it starts; and the names of the places in the table of memory."""

    kind: str
    what: int
    places: tuple[str, ...]


@dataclass(frozen=True)
class NativeSource:
    """A step: the text of each of its `pieces`, and the `operations`, the first `check` of which give the loss.

    The places of the table have names: of arrays, whose addresses stand there; of `sizes`, and of `widths`, the bytes of a row of that shape, of whole numbers
    where it is said; of the `step` count. `rows`: data → the buffer that a batch of it is copied to, if it is taken in an order of its own.
    """

    dtype: str
    pieces: tuple[str, ...]
    operations: tuple[Operation, ...]
    check: int
    loss: str
    step: str
    sizes: dict[str, Dimension]
    widths: dict[str, tuple[Shape, bool]]
    rows: dict[str, str]
    buffers: tuple[Buffer, ...]

    @cached_property
    def modules(self) -> tuple[str, ...]:
        """A module for each piece."""
        return tuple(fold("\n".join([head(self.dtype, __version__), helpers_of(text), "\n" + text, ""])) for text in self.pieces)

    @cached_property
    def source(self) -> str:
        """All pieces, and the operations, for readers."""
        functions = [text.replace("def piece(", f"def piece_{k}(") for k, text in enumerate(self.pieces, 1)]
        lines: list[str] = []
        for number, o in enumerate(self.operations):
            lines += ["# the loss stands"] * (number == self.check > 0)
            what = f"piece_{o.what + 1}" if o.kind == "piece" else repr("backwards" if o.kind == "start" and o.what else o.kind)
            lines.append(f"({', '.join([what, *map(repr, o.places)])}),")
        table = "\n".join(["STEP = [", *(f"    {line}" for line in lines), "]"])
        return fold("\n\n\n".join([head(self.dtype, __version__) + helpers_of("\n".join(functions)), *functions, table]) + "\n")


def native_source(program: Program, dtype: str, batch: Dim | None) -> NativeSource:
    """The step of a program whose samples lie along the dimension `batch`."""
    return _Native(program, dtype, batch).source()


class _Native:
    def __init__(self, program: Program, dtype: str, batch: Dim | None) -> None:
        self.program = program
        self.dtype = dtype
        self.batch = batch
        self.lowered: Lowered = lower(program)
        name = program.name
        self.real, self.kernels = name("real"), name("kernels")
        self.operands = [name("out"), name("first"), name("second")]
        self.words = {self.real: "real", self.kernels: "kernels"}
        self.printer = NativePrinter(self, dtype)
        self.double = NativePrinter(self, "float64")
        self.whole = WholePrinter(self)
        self.locals: dict[tuple[Tensor, tuple[Any, ...]], str] = {}  # an entry that the present pass holds in a variable
        self.sizes: dict[Dimension, str] = {d: d.name for d in program.system.dims}
        self.widths: dict[str, tuple[Shape, bool]] = {}
        self.samples = [t for t in program.data if batch is not None and batch in t.shape]
        for t in self.samples:
            if t.shape[0] != batch or batch in t.shape[1:]:
                raise UnsupportedError(f"data {t.name!r} has the samples along axis {t.shape.index(batch)}; compiled code needs them along the first")
        self.rows = {t: name(f"{t.name}_rows") for t in self.samples}
        self.positions = set(index_data(program.system))  # what holds whole numbers
        self.totals: dict[Tensor, str] = {}  # a sum → the variable that gathers it
        self.statements = list(flattened(self.lowered.statements))
        self.defined: dict[Tensor, int] = {}
        for at, s in enumerate(self.statements):
            self.defined |= dict.fromkeys(written(s), at)
        self.order = {symbol: i for i, symbol in enumerate(self.defined)}
        self.users: dict[Tensor, list[int]] = {}
        for at, statement in enumerate(self.statements):
            for t in read_by(statement):
                self.users.setdefault(t, []).append(at)
        self.arrays = self.kept()
        self.shared: dict[Tensor, Tensor] = {}  # a symbol → the one whose memory it takes over
        self.merge()
        self.known: dict[str, Memory] = {}  # what names in the text of pieces stand for
        for t in (*self.arrays, *stored(program), *program.data):
            self.remember(t)
        self.known |= {symbol.name: Memory(symbol.name, ()) for symbol, _ in self.lowered.constants}
        self.pieces: dict[str, int] = {}
        self.operations: list[Operation] = []

    # --- what is kept where -------------------------------------------------------------------------------------------

    def kept(self) -> set[Tensor]:
        """The symbols that need an array: those that a statement other than their own pass reads, or their pass at another place."""
        result = set()
        for symbol, at in self.defined.items():
            statement = self.statements[at]
            if symbol in self.program.places:
                continue
            lone = isinstance(statement, Pass) and not any(line.adds for line in statement.lines if line.symbol is symbol)
            if not lone or any(user != at for user in self.users.get(symbol, [])):
                result.add(symbol)
        return result

    def merge(self) -> None:
        """An array that a pass reads for the last time, entry by entry, gives its memory to one that the pass makes."""
        for at, statement in enumerate(self.statements):
            if not isinstance(statement, Pass) or not statement.axes:
                continue
            own = tuple(i for i, _ in statement.axes)
            made = [line.symbol for line in statement.lines if line.symbol in self.arrays and not line.adds]
            entries = [entry for line in statement.lines for entry in line.reads]
            read = {t for t, _ in entries}
            for old in sorted(read & self.arrays, key=self.order.__getitem__):
                if not made or self.defined[old] == at or self.users[old][-1] != at:
                    continue
                if all(index == own for t, index in entries if t is old) and _whole(old.shape) == _whole(made[0].shape):
                    self.shared[made.pop(0)] = self.shared.get(old, old)

    def buffers(self) -> tuple[Buffer, ...]:
        groups: dict[str, list[Tensor]] = {}
        for t in [t for t in self.defined if t in self.arrays]:
            groups.setdefault(self.shared.get(t, t).name, []).append(t)
        last = len(self.statements)
        rows = tuple(Buffer(name, _whole(t.shape), 0, last, gathers=t) for t, name in self.rows.items())
        constants = tuple(Buffer(symbol.name, (), 0, last) for symbol, _ in self.lowered.constants)
        kept = []
        for name, members in groups.items():
            first = min(self.defined[t] for t in members)
            after = max(max(self.defined[t], self.users.get(t, [-1])[-1]) for t in members)
            kept.append(Buffer(name, _whole(members[0].shape), first, after))
        return (*rows, *constants, *kept)

    def remember(self, t: Tensor) -> None:
        name = self.array(t)
        owner = self.array(self.shared.get(t, t))
        self.known[name] = Memory(owner, tuple(map(self.extent, _whole(t.shape))), "whole" if t in self.positions else "real")

    # --- spelling -------------------------------------------------------------------------------------------------------

    def array(self, symbol: Tensor) -> str:
        """The variable that holds a symbol's array, or its value where it is a scalar."""
        return self.program.places.get(symbol, symbol).name

    def spelled(self, symbol: sp.Symbol) -> str:
        return self.array(symbol)

    def memory(self, symbol: Tensor) -> Tensor:
        """The symbol whose memory this one lies in."""
        return self.program.places.get(symbol, self.shared.get(symbol, symbol))

    def entry(self, tensor: Tensor, index: tuple[Any, ...]) -> str:
        held = self.locals.get((tensor, index))
        if held is not None:
            return held
        return f"{self.array(tensor)}[{', '.join(map(self.whole.plain, index))}]" if index else self.array(tensor)

    def turns(self, sizes: Sequence[Dimension]) -> list[str]:
        """How often nested loops turn: variables, but for inner loops that take few turns together, whose numbers are written in."""
        found: list[str] = []
        inner: Any = 1
        for size in reversed(sizes):
            inner = inner * size if isinstance(size, int) and size <= SMALL else sp.oo
            found.insert(0, str(size) if inner <= UNROLLED else self.size(size))
        return found

    def extent(self, size: Dimension) -> str:
        """A size of an array."""
        return str(size) if isinstance(size, int) and size <= SMALL else self.size(size)

    def size(self, size: Any) -> str:
        """The name of a size."""
        if size not in self.sizes:
            self.sizes[size] = self.program.name(f"m_{len(self.sizes) + 1}")
        return self.sizes[size]

    def number(self, expr: sp.Expr) -> str:
        """A factor in the precision of the arrays."""
        return f"{self.real}({self.double.plain(expr) if not expr.atoms(Tensor) else self.printer.plain(expr)})"

    # --- operations -----------------------------------------------------------------------------------------------------

    def piece(self, lines: Sequence[str], memory: Mapping[str, Memory] | None = None) -> None:
        """A piece that does what the lines say."""
        made: Piece = piece(lines, {**self.known, **(memory or {})}, self.whole_numbers, self.words)
        number = self.pieces.setdefault(made.text, len(self.pieces))
        self.operations.append(Operation("piece", number, made.places))

    @property
    def whole_numbers(self) -> set[str]:
        return {*self.sizes.values(), self.program.step.name}

    def statement(self, statement: Statement) -> None:
        if isinstance(statement, Pass):
            self.piece(self.passed(statement))
        elif isinstance(statement, Loop):
            self.loop(statement)
        elif isinstance(statement, Product):
            (a, ta), (b, tb) = statement.a, statement.b
            alpha, beta = (self.number(x) for x in (statement.alpha, statement.beta))
            out, left, right = self.operands
            line = f"{self.kernels}.product({out}, {left}, {ta}, {right}, {tb}, {alpha}, {beta})"
            self.kernel(line, (statement.symbol, a, b), statement.shapes)
        elif isinstance(statement, Call):
            options = [self.number(x) if isinstance(x, sp.Expr) else str(x) for x in statement.options]
            tensors = (statement.symbol, *statement.operands)
            line = f"{self.kernels}.{statement.kernel}({', '.join([*self.operands[: len(tensors)], *options])})"
            self.kernel(line, tensors, statement.shapes)

    def kernel(self, line: str, tensors: Iterable[Tensor], shapes: Iterable[Shape]) -> None:
        """A line that calls a kernel with the operands under the shapes in which it sees them: all sizes are variables, so that it is one piece for all."""
        seen = [self.known[self.array(t)]._replace(shape=tuple(map(self.size, shape))) for t, shape in zip(tensors, shapes, strict=True)]
        self.piece([line], dict(zip(self.operands, seen, strict=False)))

    def loop(self, loop: Loop) -> None:
        """A recurrence: its states are changed in place."""
        turns = self.size(loop.length)
        start = len(self.operations)
        self.operations.append(Operation("start", int(loop.reverse), (loop.t, turns)))
        for item, x in loop.rows:
            self.row(item, x, loop.t)
        for statement in loop.statements:
            self.statement(statement)
        for result, x in loop.stacks:
            row = Tensor(self.program.name(f"{result.name}_row"), result.shape[1:], "state")
            self.row(row, result, loop.t)
            self.copy(row, x)
        for state, new in loop.news:
            self.copy(state, new)
        self.operations.append(Operation("end", len(self.operations) - start, (loop.t, turns)))
        for result, state in loop.finals:
            self.copy(result, state)

    def row(self, item: Tensor, sequence: Tensor, time: str) -> None:
        """The item is that row of the sequence."""
        if sequence in self.positions:
            self.positions.add(item)
        self.remember(item)
        width = self.program.name(f"{item.name}_bytes")
        self.widths[width] = _whole(item.shape), item in self.positions
        self.operations.append(Operation("row", 0, (item.name, self.known[self.array(sequence)].place, time, width)))

    def copy(self, target: Tensor, source: Tensor) -> None:
        """All entries of one value as another."""
        self.kernel(f"{self.kernels}.copy({', '.join(self.operands[:2])})", (target, source), 2 * ((sp.Mul(*source.shape),),))

    def passed(self, statement: Pass) -> list[str]:
        if not statement.axes:
            return [self.scalar_line(line) for line in statement.lines]
        body, after = self.turn(statement)
        own = [i for i, _ in statement.axes]
        turns = self.turns([size for _, size in statement.axes])
        zero = self.printer.plain(sp.Float(0))
        lines = []
        sums: dict[int, list[tuple[str, Line]]] = {}
        for line in statement.lines:
            if line.adds:
                depth = len(line.index)
                if self.leads(line, statement):
                    sums.setdefault(depth, []).append((self.total(line), line))
                else:
                    lines += self.cleared(line.symbol, zero)
        for depth in range(len(own) + 1):
            margin = "    " * depth
            lines += [f"{margin}{name} = {zero}" for name, _ in sums.get(depth, [])]
            if depth < len(own):
                lines.append(f"{margin}for {own[depth].name} in range({turns[depth]}):")
        lines += ["    " * len(own) + text for text in [*body, *after]]
        for depth in range(len(own), 0, -1):
            lines += ["    " * depth + f"{self.entry(line.symbol, line.index)} = {name}" for name, line in sums.get(depth, [])]
        self.locals.clear()
        return lines

    def leads(self, line: Line, statement: Pass) -> bool:
        """Whether a sum is that of the inner loops for each turn of the outer ones, which go through all its entries."""
        return tuple(zip(line.index, _whole(line.symbol.shape), strict=True)) == statement.axes[: len(line.index)]

    def cleared(self, symbol: Tensor, zero: str) -> list[str]:
        """Zeros in every entry."""
        sizes = _whole(symbol.shape)
        letters = self.lowered.letters[: len(sizes)]
        loops = [f"{'    ' * k}for {i.name} in range({turns}):" for k, (i, turns) in enumerate(zip(letters, self.turns(sizes), strict=True))]
        return [*loops, f"{'    ' * len(sizes)}{self.entry(symbol, tuple(letters))} = {zero}"]

    def total(self, line: Line) -> str:
        if not line.index:
            return self.spelled(line.symbol)
        if line.symbol not in self.totals:
            self.totals[line.symbol] = self.program.name(f"total_{line.symbol.name}")
        return self.totals[line.symbol]

    def turn(self, statement: Pass) -> tuple[list[str], list[str]]:
        """The lines of one turn of the loops: what is computed, then what is stored, so that nothing is overwritten before it is read."""
        own = tuple(i for i, _ in statement.axes)
        computed, stores = [], []
        last_read: dict[Tensor, int] = {}  # a symbol, or the one whose memory it lies in → the last line that reads it
        last_written: dict[Tensor, int] = {}  # memory → the last line that writes there
        for number, line in enumerate(statement.lines):
            last_written[self.memory(line.symbol)] = number
            for t, _ in line.reads:
                last_read[t] = last_read[self.memory(t)] = number
        for number, line in enumerate(statement.lines):
            memory = self.memory(line.symbol)
            value = self.printer.plain(line.value)
            if line.adds:
                target = self.total(line) if self.leads(line, statement) else self.entry(line.symbol, line.index)
                computed.append(f"{target} += {value}")
                continue
            keeps = line.symbol in self.arrays or (line.symbol in self.program.places and last_written[memory] == number)
            target = f"{self.array(line.symbol)}[{', '.join(map(self.whole.plain, line.index))}]"
            if keeps and max(last_read.get(line.symbol, -1), last_read.get(memory, -1)) <= number:
                computed.append(f"{target} = {value}")
                continue
            held = self.program.name("_".join([line.symbol.name, *(i.name for i in own)]))
            self.locals[line.symbol, line.index] = held
            computed.append(f"{held} = {value}")
            if keeps:
                stores.append(f"{target} = {held}")
        return computed, stores

    def scalar_line(self, line: Line) -> str:
        return f"{self.spelled(line.symbol)} = {self.number(line.value) if self.dtype == 'float32' else self.printer.plain(line.value)}"

    # --- the step ----------------------------------------------------------------------------------------------------------

    def source(self) -> NativeSource:
        program = self.program
        constants = [f"{symbol.name} = {self.real}({self.double.plain(expr)})" for symbol, expr in self.lowered.constants]
        if constants:
            self.piece(constants)
        check = 0
        for statement in self.lowered.statements:
            if isinstance(statement, Check):
                check = len(self.operations)
            self.statement(statement)
        return NativeSource(
            self.dtype,
            tuple(self.pieces),
            tuple(self.operations),
            check,
            program.system.loss.name,
            program.step.name,
            {name: size for size, name in self.sizes.items()},
            self.widths,
            {t.name: row for t, row in self.rows.items()},
            self.buffers(),
        )


def _whole(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


__all__: Sequence[str] = ["Buffer", "NativeSource", "Operation", "native_source"]
