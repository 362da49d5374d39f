"""Target "numba": whole epochs of training in compiled code, as loops over arrays that were allocated before.

The source depends on the equations and not on the widths of the layers, so that one compiled function serves them all.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy as sp

from symbackprop.codegen.frames import TRAINING, Frame
from symbackprop.codegen.layout import fold
from symbackprop.codegen.loops import lower
from symbackprop.codegen.native_expressions import NativePrinter, WholePrinter
from symbackprop.codegen.native_text import compiled, compiled_helpers, imported, indented, row, taken
from symbackprop.codegen.pieces import LONG, Variables, function, grouped
from symbackprop.codegen.program import Program
from symbackprop.codegen.scalar_step import stored
from symbackprop.codegen.statements import Call, Check, Line, Loop, Lowered, Pass, Product, Statement, flattened, read_by, written
from symbackprop.errors import UnsupportedError
from symbackprop.graph.shapes import Dim, Dimension, Shape
from symbackprop.graph.tensor import Tensor
from symbackprop.version import __version__

UNROLLED = 4  # loops of at most this many turns have their number written in, so that they are unrolled


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
class NativeSource:
    """`source` defines `run`; the other fields say what its tuples `sizes` and `buffers` hold."""

    source: str
    sizes: tuple[Dimension, ...]
    buffers: tuple[Buffer, ...]


def native_source(program: Program, dtype: str, batch: Dim | None, frame: Frame = TRAINING) -> NativeSource:
    """The module for a program whose samples lie along the dimension `batch`, cut into batches; whole epochs of training unless a frame is given."""
    return _Native(program, dtype, batch).source(frame)


class _Native:
    def __init__(self, program: Program, dtype: str, batch: Dim | None) -> None:
        self.program = program
        self.dtype = dtype
        self.batch = batch
        self.lowered: Lowered = lower(program)
        name = program.name
        words = (
            "kernels real run n sizes values data order buffers rest means first last count start done t turn samples size "
            "full each epoch position room finite total"
        )
        self.words = {word: (batch.name if word == "n" and batch is not None else name(word)) for word in words.split()}
        self.real, self.kernels = self.words["real"], self.words["kernels"]
        self.printer = NativePrinter(self, dtype)
        self.double = NativePrinter(self, "float64")
        self.whole = WholePrinter(self)
        self.named: dict[Tensor, str] = {}  # a symbol → the variable that holds it, where that is not its own name
        self.locals: dict[tuple[Tensor, tuple[Any, ...]], str] = {}  # an entry that the present pass holds in a variable
        self.sizes: dict[Dimension, str] = {}
        for symbol, place in program.places.items():
            self.named[symbol] = place.name
        self.samples = {t: name(f"{t.name}_samples") for t in program.data if batch is not None and batch in t.shape}
        self.rows = {t: name(f"{t.name}_rows") for t in self.samples}
        # What stands alone is kept in an array without axes.
        alone = [t for t in (*stored(program), *program.data) if t not in self.samples and not _whole(t.shape)]
        self.cells = {t: name(f"{t.name}_cell") for t in alone}
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

    # --- what is kept where -------------------------------------------------------------------------------------------

    def kept(self) -> set[Tensor]:
        """The symbols that need an array: those that a statement other than their own pass reads, or their pass at another place."""
        result = set()
        for symbol, at in self.defined.items():
            statement = self.statements[at]
            if symbol in self.program.places or (isinstance(statement, Pass) and not _whole(symbol.shape)):
                continue
            lone = isinstance(statement, Pass) and not any(line.adds for line in statement.lines if line.symbol is symbol)
            if not lone or any(user != at for user in self.users.get(symbol, [])):
                result.add(symbol)
        return result

    def merge(self) -> None:
        """An array that a pass reads for the last time, entry by entry, gives its memory to one that the pass makes."""
        for at, statement in enumerate(self.statements):
            if not isinstance(statement, Pass):
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
        return rows + tuple(
            Buffer(
                name,
                _whole(members[0].shape),
                min(self.defined[t] for t in members),
                max([self.defined[t] for t in members] + [self.users.get(t, [-1])[-1] for t in members]),
            )
            for name, members in groups.items()
        )

    # --- spelling -------------------------------------------------------------------------------------------------------

    def array(self, symbol: Tensor) -> str:
        """The variable that holds a symbol's array, or its value where it is a scalar."""
        return self.named.get(symbol, symbol.name)

    def spelled(self, symbol: sp.Symbol) -> str:
        return f"{self.array(symbol)}[()]" if symbol in self.arrays and not _whole(symbol.shape) else self.array(symbol)

    def memory(self, symbol: Tensor) -> Tensor:
        """The symbol whose memory this one lies in."""
        return self.program.places.get(symbol, self.shared.get(symbol, symbol))

    def entry(self, tensor: Tensor, index: tuple[Any, ...]) -> str:
        held = self.locals.get((tensor, index))
        if held is not None:
            return held
        return f"{self.array(tensor)}[{', '.join(map(self.whole.plain, index))}]" if index else self.spelled(tensor)

    def turns(self, size: Dimension) -> str:
        """How often a loop turns: a number if it is small, else a variable."""
        if isinstance(size, Dim) or not isinstance(size, int):
            return self.whole.plain(size)
        if size <= UNROLLED:
            return str(size)
        if size not in self.sizes:
            self.sizes[size] = self.program.name(f"m_{len(self.sizes) + 1}")
        return self.sizes[size]

    # --- statements ------------------------------------------------------------------------------------------------------

    def statement(self, statement: Statement) -> list[str]:
        if isinstance(statement, Pass):
            return self.passed(statement)
        if isinstance(statement, Loop):
            return self.loop(statement)
        if isinstance(statement, Product):
            (a, ta), (b, tb) = statement.a, statement.b
            alpha, beta = (self.number(x) for x in (statement.alpha, statement.beta))
            out, left, right = self.cut((statement.symbol, a, b), statement.shapes)
            return [f"{self.kernels}.product({out}, {left}, {ta}, {right}, {tb}, {alpha}, {beta})"]
        if isinstance(statement, Call):
            cuts = self.cut((statement.symbol, *statement.operands), statement.shapes)
            options = [self.number(x) if isinstance(x, sp.Expr) else str(x) for x in statement.options]
            return [f"{self.kernels}.{statement.kernel}({', '.join([*cuts, *options])})"]
        assert isinstance(statement, Check)
        loss = self.spelled(statement.loss)
        finite, total = self.words["finite"], self.words["total"]
        return [f"{finite} = np.isfinite({loss})", f"if not {finite}:", "    break", f"{total} += {loss}"]

    def loop(self, loop: Loop) -> list[str]:
        """A recurrence: its states are changed in place."""
        turns = self.turns(loop.length)
        body = [f"{self.array(item)} = {self.array(x)}[{loop.t}]" for item, x in loop.rows]
        for statement in loop.statements:
            body += self.statement(statement)
        body += [self.copied(result, x, f"[{loop.t}]") for result, x in loop.stacks]
        body += [self.copied(state, new) for state, new in loop.news]
        span = f"range({turns} - 1, -1, -1)" if loop.reverse else f"range({turns})"
        return [f"for {loop.t} in {span}:", *(f"    {line}" for line in body), *(self.copied(result, state) for result, state in loop.finals)]

    def copied(self, target: Tensor, source: Tensor, place: str = "") -> str:
        """All entries of one value as another, or as one entry of it."""
        if _whole(source.shape):
            return f"{self.kernels}.copy({self.array(target)}{place}, {self.spelled(source)})"
        return f"{self.array(target)}{place or '[()]' * (target in self.arrays)} = {self.spelled(source)}"

    def cut(self, tensors: Iterable[Tensor], shapes: Iterable[Shape]) -> list[str]:
        """Arrays under the shapes in which a kernel sees them."""
        pairs = zip(tensors, shapes, strict=True)
        return [self.array(t) + ("" if _whole(t.shape) == shape else f".reshape({row(map(self.extent, shape))})") for t, shape in pairs]

    def extent(self, size: Any) -> str:
        factors = [self.turns(int(x)) if x.is_Integer else self.whole.atom(x) for x in sp.Mul.make_args(sp.sympify(size, strict=True)) if x != 1]
        return " * ".join(factors) or "1"

    def number(self, expr: sp.Expr) -> str:
        """A factor in the precision of the arrays."""
        return f"{self.real}({self.double.plain(expr) if not expr.atoms(Tensor) else self.printer.plain(expr)})"

    def passed(self, statement: Pass) -> list[str]:
        if not statement.axes:
            return [self.scalar_line(line) for line in statement.lines]
        body, after = self.turn(statement)
        own = [i for i, _ in statement.axes]
        zero = self.printer.plain(sp.Float(0))
        lines = []
        sums: dict[int, list[tuple[str, Line]]] = {}
        for line in statement.lines:
            if line.adds:
                depth = len(line.index)
                if list(line.index) == own[:depth]:
                    sums.setdefault(depth, []).append((self.total(line), line))
                else:
                    lines.append(f"{self.array(line.symbol)}[:] = 0")
        for depth in range(len(own) + 1):
            margin = "    " * depth
            lines += [f"{margin}{name} = {zero}" for name, _ in sums.get(depth, [])]
            if depth < len(own):
                i, size = statement.axes[depth]
                lines.append(f"{margin}for {i.name} in range({self.turns(size)}):")
        lines += ["    " * len(own) + text for text in [*body, *after]]
        for depth in range(len(own), 0, -1):
            lines += ["    " * depth + f"{self.entry(line.symbol, line.index)} = {name}" for name, line in sums.get(depth, [])]
        self.locals.clear()
        return lines

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
                leading = line.index == own[: len(line.index)]
                target = self.total(line) if leading else self.entry(line.symbol, line.index)
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

    # --- the module --------------------------------------------------------------------------------------------------------

    def source(self, frame: Frame) -> NativeSource:
        w = self.words
        program = self.program
        head = [f"{symbol.name} = {self.real}({self.double.plain(expr)})" for symbol, expr in self.lowered.constants]
        if any(program.step in e.expr.free_symbols for e in program.equations):
            head.insert(0, f"{program.step.name} = {w['t']} + {w['done']} - {w['first']} + 1")
        head += self.fetch()
        statements = [self.statement(statement) for statement in self.lowered.statements]
        places = stored(program)
        buffers = self.buffers()
        unpack = taken(w["values"], [self.cells.get(t, t.name) for t in places])
        inputs = [self.samples.get(t, self.cells.get(t, t.name)) for t in program.data]
        unpack += taken(w["data"], inputs)
        names = [*(d.name for d in program.system.dims if d != self.batch), *self.sizes.values()]
        unpack += taken(w["sizes"], names)
        unpack += [f"{t.name} = {cell}[()]" for t, cell in self.cells.items()]
        views = [frame.room.format(**w)] if buffers and frame.room else []
        views += taken(w["room" if frame.room else "buffers"], [b.name for b in buffers])
        views += [f"{t.name} = {owner.name}  # takes over its memory" for t, owner in self.shared.items()]
        store = [f"{cell}[()] = {t.name}" for t, cell in self.cells.items() if t in places]
        functions, body = self.in_pieces(statements, [*unpack, *views, *head], store)
        parts = {
            "unpack": indented(unpack, 1),
            "views": indented(views, frame.views),
            "body": indented([*head, *body], frame.body),
            "imported": imported(self.kernels),
            "helpers": compiled_helpers({*self.printer.helpers, *self.double.helpers}, self.kernels) + compiled(functions, self.kernels),
            "store": indented(store, 1),
        }
        module = re.sub(r"\n+(?=\n    return)", "", frame.module.lstrip().format(dtype=self.dtype, version=__version__, **parts, **w))
        return NativeSource(fold(module), (*(d for d in program.system.dims if d != self.batch), *self.sizes), buffers)

    def in_pieces(self, statements: list[list[str]], before: list[str], after: list[str]) -> tuple[list[str], list[str]]:
        """The functions that a long step is cut up into, and the lines of its body, which call them; a short step is its lines. `before`, `after`:
        what stands around the body."""
        lines = [line for statement in statements for line in statement]
        if len(lines) < LONG:
            return [], lines
        # The check of the loss may leave the loop, and stays in it. Derivatives have none.
        check = next((at for at, statement in enumerate(self.lowered.statements) if isinstance(statement, Check)), len(statements))
        groups = {"forward": grouped(statements[:check]), "backward": grouped(statements[check + 1 :])}
        known = {*Variables([*before, *lines]).sets, *self.words.values()} - {self.real, self.kernels}
        needed = {v for part in (after, *statements[check : check + 1], *groups["forward"], *groups["backward"]) for v in Variables(part).reads}
        functions: list[str] = []
        body: list[str] = []
        for kind, parts in groups.items():
            for part in parts:
                text, call = function(self.program.name(f"{kind}_{len(functions) + 1}"), part, known, needed)
                functions.append(text)
                body += call
            body += statements[check] if kind == "forward" and check < len(statements) else []
        return functions, body

    def fetch(self) -> list[str]:
        """The samples of this batch: a view of all, or the rows that the order names."""
        lines = []
        w = self.words
        begin = f"{w['start']} + {w['turn']} * {w['n']}"
        for t in self.program.data:
            if t not in self.samples:
                continue
            if t.shape[0] != self.batch or self.batch in t.shape[1:]:
                raise UnsupportedError(f"data {t.name!r} has the samples along axis {t.shape.index(self.batch)}; compiled code needs them along the first")
            lines.append(f"{t.name} = {self.kernels}.rows({self.samples[t]}, {w['order']}, {begin}, {w['n']}, {self.rows[t]})")
        return lines


def _whole(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


__all__: Sequence[str] = ["Buffer", "NativeSource", "native_source"]
