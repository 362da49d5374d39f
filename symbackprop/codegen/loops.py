"""A training program as what compiled code does well: passes over all entries of an array, which fuse elementwise chains and sums,
matrix products, and calls of kernels along an axis. Axes of size one are left out everywhere.

Every equation is read as its index form (graph.operators state it), so this module knows no operator but those that have a kernel.
"""

from collections import defaultdict
from dataclasses import replace
from itertools import count
from typing import Any

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.calculus.index import IndexForm, index_symbol
from symbackprop.codegen.apart import SumOfOthers
from symbackprop.codegen.constants import Constants
from symbackprop.codegen.native_expressions import squeezed
from symbackprop.codegen.program import Program
from symbackprop.codegen.scans import Results, Turn
from symbackprop.codegen.stacks import stacked
from symbackprop.codegen.statements import Call, Check, Line, Lowered, Pass, Product, Statement, written
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.base import Index, Operator, ints
from symbackprop.graph.operators.contraction import Broadcast, Einsum, broadcast_in
from symbackprop.graph.operators.divergence import OfTwoLogits
from symbackprop.graph.operators.gather import Scatter
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.norm import AlongAxes, Norm
from symbackprop.graph.operators.products import transpose
from symbackprop.graph.operators.reduction import AlongAxis, AxisMax, FirstMax, LogSumExp
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.operators.softmax_slopes import LogSoftmaxSlope, ShareSlope, SoftmaxSlope
from symbackprop.graph.operators.solve import Solve
from symbackprop.graph.operators.window import Fold, Window
from symbackprop.graph.shapes import Dimension, Shape, rank_of, shape_of
from symbackprop.graph.tensor import Equation, Tensor

# Operators with a kernel, and what they are along an axis of size one: a number, or None for the operand itself.
# Softmaxes are taken apart before, by `lowered`.
KERNELS: dict[Any, tuple[str, int | None]] = {
    AxisMax: ("axis_max", None),
    FirstMax: ("first_max", 1),
    LogSumExp: ("log_sum_exp", None),
    SumOfOthers: ("sum_of_others", 0),
}

SLOPES: dict[Any, str] = {SoftmaxSlope: "softmax_slope", LogSoftmaxSlope: "log_softmax_slope"}

LOOK_BACK = 12  # how many statements back a line may join a pass: enough for a layer, and the work stays linear


def lower(program: Program) -> Lowered:
    """The statements of one step."""
    found = Results(program)
    return _Lowering(found.program, found.of).run()


class _Lowering:
    def __init__(self, program: Program, results: dict[Tensor, list[Tensor]], outer: "_Lowering | None" = None) -> None:
        self.program = program
        self.results = results  # of recurrences
        self.name = program.name
        self.letters: list[sp.Symbol] = outer.letters if outer else [index_symbol(self.name(c)) for c in "ijklpqrsuvwxyz"]
        self.result = Lowered(letters=self.letters)
        self.statements = self.result.statements
        self.lines: dict[Tensor, Line] = {}  # symbol → the line that computes it
        self.place: dict[Tensor, int] = {}  # symbol → the number of the statement that computes it
        self.barrier = 0  # updates stay behind the check of the loss
        self.constants: Constants = outer.constants if outer else Constants({program.step, *program.system.dims}, self.name)
        self.readers: dict[Tensor, list[Equation]] = defaultdict(list)
        for equation in program.equations:
            for t in tensors_in(equation.expr):
                self.readers[t].append(equation)
        self.versions: dict[Tensor, set[Tensor]] = defaultdict(set)  # a place → the symbols written over it
        for symbol, place in program.places.items():
            self.versions[place].add(symbol)
        self.overwritten = {*program.places, *program.places.values()}
        self.delayed: dict[Tensor, sp.Expr] = {}  # gradients that are products, computed inside the one update that reads them

    def run(self) -> Lowered:
        kept = {self.program.system.loss, *self.program.places}  # a number that is kept is written, constant or not
        for symbol, expr in self.program.equations:
            if self.may_wait(symbol, expr):
                self.delayed[symbol] = expr
            elif (symbol in kept or not self.constants.takes(symbol, expr)) and not self.into_place(symbol, expr):
                self.equation(symbol, expr)
            if symbol is self.program.system.loss:
                self.statements.append(Check(symbol))
                self.barrier = len(self.statements)
        self.result.constants = self.constants.found
        return self.result

    def add(self, statement: Statement) -> None:
        for symbol in written(statement):
            self.place[symbol] = len(self.statements)
        self.statements.append(statement)

    def temporary(self, expr: sp.Expr) -> Tensor:
        """A symbol for a part of an expression that needs an array of its own."""
        wish = next(n for k in count(1) if (n := f"part_{k}") not in self.name.taken)
        return Tensor(self.name(wish), shape_of(expr), "node", expr)

    # --- equations ------------------------------------------------------------------------------------------------------

    def equation(self, symbol: Tensor, expr: sp.Expr) -> None:
        """Compute `expr` as `symbol`."""
        if isinstance(expr, Scan):
            self.recurrence(symbol, expr)
            return
        if isinstance(expr, Operator) and self.is_heavy(expr):
            self.operator(symbol, expr)
            return
        coefficient, operator = expr.as_coeff_Mul() if isinstance(expr, sp.Mul) else (sp.S.One, expr)
        scalars = [x for x in sp.Mul.make_args(operator) if not rank_of(x)]
        rest = [x for x in sp.Mul.make_args(operator) if rank_of(x)]
        if len(rest) == 1 and self.is_product(rest[0]):
            self.product(symbol, rest[0], alpha=self.scalar(coefficient * sp.Mul(*scalars)))
            return
        self.pointwise(symbol, self.flat(expr))

    def pointwise(self, symbol: Tensor, expr: sp.Expr) -> None:
        shape = symbol.shape
        used = [size for size in shape if size != 1]
        letters = iter(self.letters)
        index = tuple(next(letters) if size != 1 else sp.S.Zero for size in shape)
        value = IndexForm().entry(expr, index[len(shape) - rank_of(expr) :]) if rank_of(expr) else self.scalar(expr)
        self.line(tuple(zip(self.letters, used, strict=False)), Line(symbol, squeezed(index, shape), value))

    def flat(self, expr: sp.Expr) -> sp.Expr:
        """The expression with every operator that has no entry of its own computed before, into an array."""
        if isinstance(expr, Tensor):
            return expr
        body, operators = regions(expr)
        return body.xreplace({symbol: self.inline(operator) for symbol, operator in operators.items()}) if operators else expr

    def inline(self, operator: Any) -> sp.Expr:
        if isinstance(operator, Solve):
            raise UnsupportedError(
                "each update solves linear equations, as Newton's method and its kind do, which compiled code does not; use backend='numpy' or 'auto'"
            )
        if self.is_heavy(operator):
            symbol = self.temporary(operator)
            self.operator(symbol, operator)
            return symbol
        if isinstance(operator, AlongAxis):  # along an axis of size one
            number = KERNELS[operator.func][1]
            if number is not None:
                return Broadcast(ints(operator.shape), ints(()), sp.Integer(number))
            return reshape(self.flat(operator.operands[0]), operator.shape)
        if isinstance(operator, Window):  # each entry of its operand is read many times, and so computed before
            return Window(*operator.parameters, self.array(operator.operands[0]))
        rebuilt: sp.Expr = operator.func(*operator.parameters, *map(self.flat, operator.operands))
        return rebuilt

    def scalar(self, expr: sp.Expr) -> sp.Expr:
        """A scalar expression in scalars and entries."""
        flat = self.flat(expr)
        return IndexForm().entry(flat, ()) if not isinstance(flat, Tensor) else flat

    def array(self, expr: sp.Expr) -> Tensor:
        """A tensor that holds the expression."""
        if isinstance(expr, Tensor):
            return expr
        symbol = self.temporary(expr)
        self.equation(symbol, expr)
        return symbol

    def line(self, axes: tuple[tuple[sp.Symbol, Dimension], ...], line: Line) -> None:
        """Into the latest pass over the same axes that comes after what the line reads, or into a new one."""
        line.value = self.constants(line.value)
        self.lines[line.symbol] = line
        at = self.room(axes, line)
        if at is None:
            self.add(Pass(axes, [line]))
        else:
            found = self.statements[at]
            assert isinstance(found, Pass)
            found.lines.append(line)
            self.place[line.symbol] = at

    def room(self, axes: tuple[tuple[sp.Symbol, Dimension], ...], line: Line) -> int | None:
        own = tuple(i for i, _ in axes)
        last = len(self.statements) - 1
        first = max([max(0, last - LOOK_BACK), *(self.place[t] for t, _ in line.reads if t in self.place)])
        if line.symbol in self.program.places:  # what is overwritten may be read by whatever stands between
            first = max(first, last, self.barrier)
        for at in range(last, first - 1, -1):
            found = self.statements[at]
            if isinstance(found, Pass) and found.axes == axes and self.fits(at, found, own, line):
                return at
        return None

    def fits(self, at: int, found: Pass, own: Index, line: Line) -> bool:
        """Whether all that the line reads is there when a turn of the pass comes to it, and nothing that it overwrites is read later."""
        inside = [(self.lines[t], index) for t, index in line.reads if self.place.get(t) == at]
        if any(other.adds or index != other.index for other, index in inside):
            return False
        old = self.old(line.symbol) if line.symbol in self.program.places else set()
        return not old or all(t not in old or index == own for other in found.lines for t, index in other.reads)

    def old(self, symbol: Tensor) -> set[Tensor]:
        """The values that lie where this one will be written."""
        place = self.program.places[symbol]
        return {place, *self.versions[place]} - {symbol}

    # --- operators ------------------------------------------------------------------------------------------------------

    def is_heavy(self, operator: Operator) -> bool:
        """Whether its entries are computed from many entries of its operands."""
        if isinstance(operator, Einsum):
            sizes, out = operator.sizes(), operator.spec[1]
            return any(size != 1 for letter, size in sizes.items() if letter not in out)
        if isinstance(operator, AlongAxis):
            return shape_of(operator.operands[0])[operator.axis] != 1
        return isinstance(operator, (AlongAxes, Scatter, Fold, ShareSlope, OfTwoLogits))

    def operator(self, symbol: Tensor, operator: Any) -> None:
        if isinstance(operator, Einsum):
            if self.is_product(operator):
                self.product(symbol, operator)
            elif (stacks := stacked(operator)) is not None:
                left, right = (self.array(operator.operands[i]) for i in stacks.operands)
                shapes = (stacks.out.shape, stacks.left.shape, stacks.right.shape)
                self.add(Call(symbol, "products", (left, right), shapes, (stacks.left.transposed, stacks.right.transposed)))
            else:
                self.contraction(symbol, operator)
        elif isinstance(operator, Fold):
            self.folded(symbol, operator)
        elif isinstance(operator, AlongAxes):
            self.norm(symbol, operator)
        elif isinstance(operator, ShareSlope):
            s, g = (self.array(_broadcast(x, operator.shape)) for x in operator.operands)
            at = operator.axis + operator.rank
            cut = (sp.Mul(*operator.shape[:at]), operator.shape[at], sp.Mul(*operator.shape[at + 1 :]))
            self.add(Call(symbol, SLOPES[operator.func], (s, g), (cut, cut, cut)))
        elif isinstance(operator, OfTwoLogits):
            a, b = map(self.array, operator.operands)
            at, shape = operator.axis + rank_of(a), shape_of(a)
            cut = (sp.Mul(*shape[:at]), shape[at], sp.Mul(*shape[at + 1 :]))
            out = cut if operator.rank == rank_of(a) else (cut[0], cut[2])
            self.add(Call(symbol, operator.word, (a, b), (out, cut, cut)))
        elif isinstance(operator, Scatter):
            g, indices = operator.operands
            at = operator.axis + operator.rank
            shape, taken = shape_of(g), rank_of(indices)
            before, after = sp.Mul(*shape[:at]), sp.Mul(*shape[at + taken :])
            shapes = ((before, operator.args[1], after), (before, sp.Mul(*shape[at : at + taken]), after), (sp.Mul(*shape_of(indices)),))
            self.add(Call(symbol, "scatter", (self.array(g), self.array(indices)), shapes))
        else:
            x = operator.operands[0]
            shape, at = shape_of(x), operator.axis + rank_of(x)
            cut = (sp.Mul(*shape[:at]), shape[at], sp.Mul(*shape[at + 1 :]))
            out = cut if rank_of(operator) == rank_of(x) else (cut[0], cut[2])
            self.add(Call(symbol, KERNELS[operator.func][0], (self.array(x),), (out, cut)))

    def norm(self, symbol: Tensor, operator: AlongAxes) -> None:
        """A kernel along one axis that the axes of the operator are, brought together if they are apart."""
        x, rank = operator.operands[0], rank_of(operator.operands[0])
        first, count = operator.axes[0] + rank, len(operator.axes)
        if [a + rank for a in operator.axes] != [*range(first, first + count)]:
            order = [*(i for i in range(rank) if i - rank not in operator.axes), *(a + rank for a in operator.axes)]
            together = operator.func(ints(range(-count, 0)), *operator.parameters[1:], transpose(x, order))
            back = [order.index(i) for i in range(rank)]
            self.equation(symbol, together if isinstance(operator, Norm) else transpose(self.array(together), back))
            return
        shape = shape_of(x)
        cut = (sp.Mul(*shape[:first]), sp.Mul(*shape[first : first + count]), sp.Mul(*shape[first + count :]))
        out = (cut[0], cut[2]) if isinstance(operator, Norm) else cut
        numbers = tuple(self.constants(x) for x in operator.parameters[1:])
        self.add(Call(symbol, "norm" if isinstance(operator, Norm) else "unit", (self.array(x),), (out, cut), numbers))

    def contraction(self, symbol: Tensor, operator: Einsum) -> None:
        """A sum over some indices of a product of entries. The loops follow the axes of the largest operand, as it lies in memory."""
        ins, out = operator.spec
        sizes = operator.sizes()
        used = ["".join(c for c in letters if sizes[c] != 1) for letters in ins]
        longest = max(used, key=len)
        order = [*dict.fromkeys(c for c in "".join(used) if c not in longest), *longest]
        index = dict(zip(order, self.letters, strict=False))
        entries = [
            IndexForm().entry(self.flat(x), tuple(index.get(c, sp.S.Zero) for c in letters)) for letters, x in zip(ins, operator.operands, strict=True)
        ]
        where = tuple(index[c] for c in out if sizes[c] != 1)
        self.line(tuple((index[c], sizes[c]) for c in order), Line(symbol, where, sp.Mul(*entries), adds=True))

    def folded(self, symbol: Tensor, operator: Fold) -> None:
        """Each entry of the windows added where it came from."""
        (w,) = operator.operands
        shape, n = shape_of(w), operator.axes
        letters = iter(self.letters)
        index = [sp.S.Zero if size == 1 else next(letters) for size in shape]
        places = [s * i + d * p for p, i, s, d in zip(index[-2 * n : -n], index[-n:], operator.strides, operator.dilations, strict=True)]
        used = [size for size in shape if size != 1]
        value = IndexForm().entry(self.flat(w), tuple(index))
        self.line(tuple(zip(self.letters, used, strict=False)), Line(symbol, squeezed((*index[: -2 * n], *places), symbol.shape), value, adds=True))

    def recurrence(self, symbol: Tensor, scan: Scan) -> None:
        """A loop over time. Each state has memory of its own, which begins as the first state and takes the new one at the end of a turn."""
        count = len(scan.body.states)
        operands = [x if i < count else self.array(x) for i, x in enumerate(scan.operands)]
        turn = Turn.of(scan, operands, self.name)
        for state, x in zip(scan.body.states, scan.initial, strict=True):
            self.equation(turn.at[state], x)
        inner = _Lowering(replace(self.program, equations=turn.equations, places={}), {}, self)
        for equation in turn.equations:
            inner.equation(*equation)
        sequences = operands[count : count + len(scan.body.items)]
        self.add(turn.loop(scan, self.name("time"), sequences, inner.statements, self.results[symbol]))

    # --- matrix products --------------------------------------------------------------------------------------------------

    def is_product(self, expr: sp.Expr) -> bool:
        """Whether it is one product of two matrices."""
        found = stacked(expr) if isinstance(expr, Einsum) else None
        return found is not None and found.is_single

    def product(self, symbol: Tensor, operator: Any, alpha: sp.Expr = sp.S.One, beta: sp.Expr = sp.S.Zero) -> None:
        plan = stacked(operator)
        assert plan is not None
        a, b = (self.array(operator.operands[i]) for i in plan.operands)
        shapes = tuple(stack.shape[2:] for stack in (plan.out, plan.left, plan.right))
        alpha, beta = self.constants(alpha), self.constants(beta)
        self.add(Product(symbol, (a, plan.left.transposed), (b, plan.right.transposed), shapes, alpha, beta))

    def may_wait(self, symbol: Tensor, expr: sp.Expr) -> bool:
        """Whether a product is best computed inside the one update that reads it: then nothing it is computed from may be overwritten before."""
        if not self.is_product(expr) or len(self.readers[symbol]) != 1 or tensors_in(expr) & self.overwritten:
            return False
        return self.parts(*self.readers[symbol][0], symbol) is not None

    def parts(self, symbol: Tensor, expr: sp.Expr, gradient: Tensor) -> tuple[sp.Expr, sp.Expr] | None:
        """(alpha, beta) of `alpha * gradient + beta * old value`, both scalar, or None."""
        if symbol not in self.program.places:
            return None
        old = next((t for t in tensors_in(expr) if t in self.old(symbol)), None)
        if old is None:
            return None
        alpha, beta = sp.diff(expr, gradient), sp.diff(expr, old)
        if any(rank_of(x) for x in (alpha, beta)) or sp.expand(expr - alpha * gradient - beta * old) != 0:
            return None
        return alpha, beta

    def into_place(self, symbol: Tensor, expr: sp.Expr) -> bool:
        """An update by a delayed gradient: one product that adds to what it updates."""
        found = [t for t in self.delayed if t in tensors_in(expr)]
        if not found:
            return False
        parts = self.parts(symbol, expr, found[0])
        assert parts is not None
        self.product(symbol, self.delayed[found[0]], *parts)
        return True


def _broadcast(x: sp.Expr, shape: Shape) -> sp.Expr:
    """x under NumPy's broadcasting, as an array of that shape."""
    own = shape_of(x)
    if own == shape:
        return x
    first = len(shape) - len(own)
    kept = [i for i, size in enumerate(own) if size == shape[first + i]]
    return broadcast_in(reshape(x, tuple(own[i] for i in kept)) if own else x, shape, [first + i for i in kept])


__all__ = ["lower"]
