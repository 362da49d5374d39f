"""Target "numpy", training step: NumPy with preallocated buffers, one call a line, updates in place."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.calculus.order import common_factor, fraction, is_negative_term
from symbackprop.codegen.expressions import FUNCTIONS, PythonPrinter
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.program import Program
from symbackprop.graph import functions as f
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.base import shape_code
from symbackprop.graph.operators.contraction import Einsum, matrix_product
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.shapes import Shape, Shaped, rank_of, shape_of
from symbackprop.graph.tensor import Equation, Tensor


def array_source(program: Program, dtype: str) -> str:
    """A module with `build(weights, state, sizes) -> step`, and `step(t, data...) -> loss` that updates the weights in place.

    The buffers belong to one combination of sizes. The step returns a loss that is not finite without updating anything.
    """
    return _Step(program, dtype).source()


class _Step:
    def __init__(self, program: Program, dtype: str) -> None:
        self.program = program
        self.dtype = dtype
        self.printer = PythonPrinter()
        self.printer.plain_numbers = {program.step}
        self.name = program.name
        self.buffers: list[tuple[str, Shape]] = []
        self.free: dict[Shape, list[str]] = {}
        self.made = 1
        self.dying: set[Tensor] = set()  # buffers that the present equation is the last to read
        self.last: dict[Tensor, int] = {t: i for i, e in enumerate(program.equations) for t in tensors_in(e.expr)}
        self.now = 0  # the number of the present equation
        self.versions: dict[Tensor, list[Tensor]] = {}  # a place → itself and the symbols written over it so far
        self.homes = {*program.places.values(), *program.system.weights}
        self.owner: dict[Tensor, Tensor] = {}  # an equation's symbol → the one whose buffer it reads
        self.lines: list[str] = []
        self.place: dict[Tensor, str] = {}  # an equation's symbol → the variable that holds it, where that is another's place

    def source(self) -> str:
        program = self.program
        self.printer.names = self.place
        for i, equation in enumerate(program.equations):
            read = [t for t in tensors_in(equation.expr) if t in self.owner]
            self.dying = {t for t in read if self.last[self.owner[t]] == i and equation.expr.count(t) == 1}
            self.now = i
            self.equation(equation)
        held = [f'    {w.name} = weights["{w.name}"]' for w in program.system.weights]
        held += [f'    {symbol.name} = state["{name}"]["{w.name}"]' for (name, w), symbol in program.states.items()]
        sizes, update = self.name("sizes"), self.name("update")
        held += [f'    {d.name} = {sizes}["{d.name}"]' for d in program.system.dims]
        held += [f"    {name} = np.empty({shape_code(shape, self.printer)}, DTYPE)" for name, shape in self.buffers]
        arguments = ", ".join([program.step.name, *(t.name for t in program.data)])
        body = "\n".join(f"        {line}" for line in self.lines)
        build = f'''def build(weights, state, {sizes}):
    """Buffers for one combination of sizes; returns the step that works in them."""
{chr(10).join(held)}

    def {update}({arguments}):
        """Update the weights in place; returns the loss before the update."""
{body}
        return float({program.system.loss.name})

    return {update}'''
        header = f'"""Training step of a network, in preallocated buffers. Written by symbackprop."""\n\nimport numpy as np\n\nDTYPE = np.{self.dtype}'
        return "\n\n\n".join([header, *helper_source(self.printer.helpers), build]) + "\n"

    # --- equations ----------------------------------------------------------------------------------------------------

    def equation(self, equation: Equation) -> None:
        symbol, expr = equation
        place = self.program.places.get(symbol)
        if place is not None:
            self.update(symbol, expr, place)
        elif symbol.rank == 0:
            # A stored scalar is an array of rank 0, which an update changes, and a reshaped one looks into a buffer: [()] reads the value.
            self.lines.append(f"{symbol.name} = {self.scalar(expr)}" + ("[()]" if self.stored(expr) or isinstance(expr, Reshape) else ""))
        elif isinstance(expr, Tensor) and not self.stored(expr):
            self.place[symbol] = self.text(expr)
            if expr in self.owner:
                self.owner[symbol] = self.owner[expr]
                self.last[self.owner[expr]] = max(self.last[self.owner[expr]], self.last.get(symbol, -1))
        else:
            self.buffers.append((symbol.name, symbol.shape))
            self.owner[symbol] = symbol
            self.emit(expr, symbol.name, symbol.shape)
        if symbol is self.program.system.loss:
            self.lines += [f"if {symbol.name} - {symbol.name} != 0:  # infinite or NaN: leave the weights alone", f"    return float({symbol.name})"]

    def stored(self, expr: sp.Expr) -> bool:
        """Whether the expression is nothing but a place that an update writes over, so that a second name for it will not do."""
        return expr in self.program.places or expr in self.homes

    def update(self, symbol: Tensor, expr: sp.Expr, place: Tensor) -> None:
        """Write a new value over the old one, unless the old one is read again."""
        versions = self.versions.setdefault(place, [place])
        if any(self.last.get(version, -1) > self.now for version in versions):
            raise AssertionError(f"{place} is read after it was updated")  # share() computes what is read twice before
        versions.append(symbol)
        self.place[symbol] = place.name
        if symbol.rank == 0:
            self.lines.append(f"{place.name}[...] = {self.scalar(expr)}")
        elif expr is not place:
            self.emit(expr, place.name, symbol.shape)

    def text(self, expr: sp.Basic) -> str:
        return self.printer.plain(expr)

    def scalar(self, expr: sp.Expr) -> str:
        """A scalar expression; the arrays inside it are computed into buffers first."""
        body, operators = regions(expr)
        with ExitStack() as stack:  # the buffers stay taken until the one line that reads them all is written
            names = {symbol: self.scalar_operator(operator, stack) for symbol, operator in operators.items()}
            return self.text(body.xreplace(names))

    def scalar_operator(self, operator: sp.Expr, stack: ExitStack) -> sp.Expr:
        """An operator inside a scalar expression, with its operands in variables; a sum of everything as the fastest call for it."""

        def hold(x: sp.Expr) -> str:
            return stack.enter_context(self.argument(x))

        if isinstance(operator, Einsum) and not operator.rank and len(operator.operands) == 1:
            (x,) = operator.operands
            if isinstance(x, sp.Pow) and x.exp == 2:
                held = hold(x.base)
                return sp.Symbol(f"np.vdot({held}, {held})")
            return sp.Symbol(f"np.add.reduce({hold(x)}, axis=None)")
        table = {x: Tensor(hold(x), shape_of(x), "node") for x in operator.operands if rank_of(x) and not isinstance(x, Tensor)}
        replaced: sp.Expr = operator.func(*(table.get(x, x) for x in operator.args))
        return replaced

    # --- buffers ------------------------------------------------------------------------------------------------------

    def acquire(self, shape: Shape) -> str:
        spare = self.free.setdefault(shape, [])
        if spare:
            return spare.pop()
        name = self.name(f"buffer_{self.made}")
        self.made += 1
        self.buffers.append((name, shape))
        return name

    def release(self, name: str, shape: Shape) -> None:
        self.free[shape].append(name)

    @contextmanager
    def argument(self, expr: sp.Expr) -> Iterator[str]:
        """What a call reads: a scalar as text, an array by the variable that holds it, or that it is computed into for as long as needed."""
        if rank_of(expr) == 0:
            yield self.printer.factor(expr)
        elif isinstance(expr, Tensor):
            yield self.text(expr)
        elif (dying := self.dying_factor(expr)) is not None:
            self.emit_mul(expr, self.text(dying), shape_of(expr))
            yield self.text(dying)
        else:
            shape = shape_of(expr)
            name = self.acquire(shape)
            self.emit(expr, name, shape)
            yield name
            self.release(name, shape)

    def dying_factor(self, expr: sp.Expr) -> Tensor | None:
        """The array in `scalar * array` if nothing reads it after this equation, so that the product may take its place."""
        if not isinstance(expr, sp.Mul):
            return None
        arrays = [x for x in expr.args if rank_of(x)]
        return arrays[0] if len(arrays) == 1 and arrays[0] in self.dying and shape_of(arrays[0]) == shape_of(expr) else None

    @contextmanager
    def start(self, expr: sp.Expr, out: str, shape: Shape) -> Iterator[str]:
        """Like `argument`, but computed into `out` itself where it fills it."""
        if self.fills(expr, shape):
            self.emit(expr, out, shape)
            yield out
        else:
            with self.argument(expr) as name:
                yield name

    def fills(self, expr: sp.Expr, shape: Shape) -> bool:
        return rank_of(expr) > 0 and not isinstance(expr, Tensor) and shape_of(expr) == shape

    # --- expressions ----------------------------------------------------------------------------------------------------

    def emit(self, expr: sp.Expr, out: str, shape: Shape) -> None:
        """Compute `expr` into the array `out`."""
        if rank_of(expr) == 0:
            self.lines.append(f"{out}[...] = {self.scalar(expr)}")
        elif isinstance(expr, Tensor):
            if self.text(expr) != out:
                self.lines.append(f"np.copyto({out}, {self.text(expr)})")
        elif isinstance(expr, sp.Add):
            self.emit_add(expr, out, shape)
        elif isinstance(expr, sp.Mul):
            self.emit_mul(expr, out, shape)
        elif isinstance(expr, sp.Pow) and not isinstance(expr, sp.exp):
            self.emit_pow(expr, out, shape)
        elif isinstance(expr, Einsum):
            self.emit_einsum(expr, out)
        elif isinstance(expr, sp.Function) and len(expr.args) == 1 and self.ufunc(expr) is not None:
            ufunc, extra = self.ufunc(expr) or ("", "")
            with self.start(expr.args[0], out, shape) as x:
                self.lines.append(f"{ufunc}({x}{extra}, out={out})")
        else:
            self.emit_other(expr, out)

    def ufunc(self, expr: sp.Function) -> tuple[str, str] | None:
        """The NumPy call that computes a function in place, and its further arguments."""
        if isinstance(expr, f.relu):
            return "np.maximum", ", 0"
        if isinstance(expr, f.step):
            return "np.greater", ", 0"
        name = FUNCTIONS.get(expr.func, ("_", None))[0]
        return (name, "") if name.startswith("np.") else None

    def reads(self, expr: sp.Expr, out: str) -> bool:
        return any(isinstance(s, Tensor) and self.text(s) == out for s in expr.free_symbols)

    def apart(self, expr: sp.Expr, out: str, shape: Shape) -> None:
        """Compute beside `out` and copy: for the rare expression that reads `out` in several places."""
        name = self.acquire(shape)
        self.emit(expr, name, shape)
        self.lines.append(f"np.copyto({out}, {name})")
        self.release(name, shape)

    def emit_add(self, expr: sp.Add, out: str, shape: Shape) -> None:
        number, rest = common_factor(expr)
        if number != 1:
            self.emit(rest, out, shape)
            self.lines.append(f"np.multiply({out}, {self.printer.factor(number)}, out={out})")
            return
        if sum(self.reads(x, out) for x in expr.args) > 1:
            self.apart(expr, out, shape)
            return
        # What reads `out` goes first, then what is computed in it, then what is only added; of these the positive ones first.
        signed = [(is_negative_term(x), -x if is_negative_term(x) else x) for x in expr.args]
        signed.sort(key=lambda p: (not self.reads(p[1], out), not self.fills(p[1], shape), p[0], not rank_of(p[1]), p[1].sort_key()))
        (negative, head), *terms = signed
        with self.start(head, out, shape) as value:
            for minus, term in terms:
                with self.argument(term) as other:
                    if negative and not minus:
                        self.lines.append(f"np.subtract({other}, {value}, out={out})")
                        negative = False
                    else:  # -a - b is -(a + b)
                        self.lines.append(f"np.{'subtract' if minus and not negative else 'add'}({value}, {other}, out={out})")
                value = out
        if negative:
            self.lines.append(f"np.negative({out}, out={out})")

    def emit_mul(self, expr: sp.Mul, out: str, shape: Shape) -> None:
        coefficient = sp.Mul(*(x for x in expr.args if rank_of(x) == 0))
        _, above, below = fraction(sp.Mul(*(x for x in expr.args if rank_of(x) > 0)))
        if sum(self.reads(x, out) for x in [*above, *below]) > 1 or any(self.reads(x, out) for x in below):
            self.apart(expr, out, shape)
            return
        above.sort(key=lambda x: (not self.reads(x, out), not self.fills(x, shape)))
        operations = [("multiply", x) for x in above[1:]] + [("divide", x) for x in below]
        if not above:
            with self.start(below[0], out, shape) as value:
                self.lines.append(f"np.divide({self.printer.plain(coefficient)}, {value}, out={out})")
            self.apply(operations[1:], out, out)
            return
        if coefficient not in (1, -1):
            operations.append(("multiply", coefficient))
        with self.start(above[0], out, shape) as value:
            if coefficient == -1:
                self.lines.append(f"np.negative({value}, out={out})")
                value = out
            self.apply(operations, value, out)

    def apply(self, operations: list[tuple[str, sp.Expr]], value: str, out: str) -> None:
        """Apply calls one after the other, the first to `value`, all into `out`."""
        for word, x in operations:
            with self.argument(x) as other:
                self.lines.append(f"np.{word}({value}, {other}, out={out})")
            value = out

    def emit_pow(self, expr: sp.Pow, out: str, shape: Shape) -> None:
        base, exponent = expr.args
        if rank_of(exponent):
            self.emit_other(expr, out)
            return
        reciprocal = exponent.is_Rational and exponent < 0
        with self.start(base**-exponent if reciprocal else base, out, shape) as x:
            if reciprocal:
                self.lines.append(f"np.divide(1, {x}, out={out})")
            elif exponent in _POWERS:
                self.lines.append(f"{_POWERS[exponent]}({x}, out={out})")
            else:
                self.lines.append(f"np.power({x}, {self.printer.plain(exponent)}, out={out})")

    def emit_einsum(self, expr: Einsum, out: str) -> None:
        ins, outs = expr.spec
        with ExitStack() as stack:
            names = {x: stack.enter_context(self.argument(x)) for x in expr.operands}
            arguments = ", ".join(names[x] for x in expr.operands)
            plan = matrix_product(expr)
            if plan is not None:
                (a, a_transposed), (b, b_transposed) = plan
                call = f"np.matmul({names[a]}{'.T' if a_transposed else ''}, {names[b]}{'.T' if b_transposed else ''}"
            elif len(ins) == 1 and outs == "".join(c for c in ins[0] if c in outs):
                axes = tuple(i for i, c in enumerate(ins[0]) if c not in outs)
                call = f"np.add.reduce({arguments}, axis={axes[0] if len(axes) == 1 else axes}"
            elif len(ins) == 2 and outs == ins[0] + ins[1]:
                call = f"np.multiply.outer({arguments}"
            else:
                call = f'np.einsum("{expr.args[0].name}", {arguments}{", optimize=True" if len(ins) > 2 else ""}'
            self.lines.append(f"{call}, out={out})")

    def emit_other(self, expr: sp.Expr, out: str) -> None:
        """Anything without an in-place form: its arguments into buffers, then the expression itself."""
        with ExitStack() as stack:
            table: dict[sp.Basic, sp.Basic] = {}
            for x in expr.args:
                if isinstance(x, (Shaped, sp.Add, sp.Mul, sp.Pow)) and rank_of(x) and not isinstance(x, Tensor):
                    table[x] = Tensor(stack.enter_context(self.argument(x)), shape_of(x), "node")
            self.lines.append(f"{out}[...] = {self.text(expr.func(*(table.get(x, x) for x in expr.args)) if table else expr)}")


_POWERS = {sp.Integer(2): "np.square", sp.Rational(1, 2): "np.sqrt"}
