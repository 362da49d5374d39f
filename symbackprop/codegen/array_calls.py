"""NumPy calls that compute an expression into an array, one call a line, with buffers for what stands between."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.calculus.order import common_factor, fraction, is_negative_term
from symbackprop.codegen.apart import Places, ShareLessTarget, SumOfOthers, difference
from symbackprop.codegen.expressions import FUNCTIONS, PythonPrinter
from symbackprop.codegen.memory import Memory
from symbackprop.codegen.program import Program
from symbackprop.codegen.stacks import Stack, Stacked, stacked
from symbackprop.graph import functions as f
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.labels import index_data
from symbackprop.graph.operators.base import shape_code
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.layout import Pad, Reshape, cuts_code
from symbackprop.graph.operators.norm import Norm
from symbackprop.graph.operators.pairs import Pair
from symbackprop.graph.operators.positions import Positions
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import AxisMax
from symbackprop.graph.operators.window import Fold
from symbackprop.graph.shapes import Dimension, Shape, Shaped, rank_of, shape_of
from symbackprop.graph.tensor import Tensor


class Calls:
    """Writes `lines`; `constants` are what they read besides values: the text of an array that no step changes → its variable."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.place: dict[Tensor, str] = {}  # an equation's symbol → the variable that holds it, where that is another's place
        self.printer = PythonPrinter()
        self.printer.names = self.place
        self.printer.plain_numbers = {program.step}
        self.name = program.name
        self.memory = Memory(program.name)
        self.constants: dict[str, str] = {}
        self.labels = set(index_data(program.system))  # integers: the fastest calls for products take numbers of one type only
        self.dying: set[Tensor] = set()  # what the present equation is the last to read, and reads once
        self.lines: list[str] = []
        self.places = Places(self)
        self.fresh = {t.name for t in program.data}  # arrays that are others in every step, so that no view of them can be kept

    def text(self, expr: sp.Basic) -> str:
        return self.printer.plain(expr)

    def constant(self, text: str, wish: str) -> str:
        """A variable, made once, for an array that no step changes or for another view of one."""
        if text not in self.constants:
            self.constants[text] = self.name(wish)
        return self.constants[text]

    def number(self, expr: sp.Expr) -> str:
        """A scalar as NumPy takes it fastest: an array of rank 0, made once, unless it changes from step to step."""
        if tensors_in(expr):
            return self.printer.factor(expr)
        return self.constant(f"np.array({self.text(expr)}, DTYPE)", f"c_{1 + sum(text.startswith('np.array') for text in self.constants)}")

    def row(self, kind: str, size: Dimension) -> str:
        """So many ones or zeros."""
        return self.constant(f"np.{kind}({self.text(sp.sympify(size, strict=True))}, DTYPE)", f"{kind}_{size}" if f"{kind}_{size}".isidentifier() else kind)

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
            if rank_of(x) == 1:
                return sp.Symbol(f"np.vdot({self.row('ones', shape_of(x)[0])}, {hold(x)})")
            return sp.Symbol(f"np.add.reduce({hold(x)}, axis=None)")
        table = {x: Tensor(hold(x), shape_of(x), "node") for x in operator.operands if rank_of(x) and not isinstance(x, Tensor)}
        replaced: sp.Expr = operator.func(*(table.get(x, x) for x in operator.args))
        return replaced

    # --- buffers ------------------------------------------------------------------------------------------------------

    @contextmanager
    def argument(self, expr: sp.Expr) -> Iterator[str]:
        """What a call reads: a scalar as text, an array by the variable that holds it, or that it is computed into for as long as needed."""
        if rank_of(expr) == 0:
            yield self.number(expr)
        elif isinstance(expr, Tensor):
            yield self.text(expr)
        elif _is_of_places(expr):
            yield self.constant(self.text(expr), "places")
        elif isinstance(expr, Reshape) and isinstance(expr.operands[0], Tensor) and expr.operands[0].rank:
            yield self.reshaped(expr)
        elif (dying := self.dying_factor(expr)) is not None:
            self.emit_mul(expr, self.text(dying), shape_of(expr))
            yield self.text(dying)
        else:
            with self.buffer(shape_of(expr)) as name:
                self.emit(expr, name, shape_of(expr))
                yield name

    @contextmanager
    def buffer(self, shape: Shape) -> Iterator[str]:
        block = self.memory.take(shape)
        yield self.memory.view(block, shape)
        self.memory.give(block)

    def reshaped(self, expr: Reshape) -> str:
        """Another view of an array; made once, except of what changes from step to step, as data do."""
        x, call = self.text(expr.operands[0]), self.text(expr)
        if x in self.fresh:
            return call
        view = self.constant(call, f"{x}_{'column' if expr.shape[-1] == 1 else 'row' if expr.shape[0] == 1 else 'view'}")
        if x in self.memory.of:
            self.memory.of[view] = self.memory.of[x]
        return view

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
        elif _is_of_places(expr):
            self.lines.append(f"np.copyto({out}, {self.constant(self.text(expr), 'places')})")
        elif isinstance(expr, sp.Add):
            self.emit_add(expr, out, shape)
        elif isinstance(expr, sp.Mul):
            self.emit_mul(expr, out, shape)
        elif isinstance(expr, sp.Pow) and not isinstance(expr, sp.exp):
            self.emit_pow(expr, out, shape)
        elif isinstance(expr, Einsum):
            self.emit_einsum(expr, out)
        elif isinstance(expr, Pad):
            with self.argument(expr.operands[0]) as x:
                cuts = f"{out}[{cuts_code(expr.args[0], expr.shape, self.printer)}]"
                self.lines += [f"{out}.fill({self.text(expr.args[2])})", f"{cuts} = {x}"]
        elif isinstance(expr, Fold):
            with self.argument(expr.operands[0]) as w:
                call = self.text(Fold(*expr.parameters, Tensor(w, shape_of(expr.operands[0]), "node")))
                self.lines.append(f"{call.removesuffix(')')}, out={out})")
        elif isinstance(expr, AxisMax):
            with self.argument(expr.operands[0]) as x:
                if out in self.places.wanted:
                    self.places.maximum(x, shape_of(expr.operands[0]), out)
                else:
                    self.lines.append(f"{x}.max({expr.axis}, out={out})")
        elif isinstance(expr, difference):
            with self.argument(expr.args[0]) as x, self.argument(expr.args[1]) as y:
                self.lines.append(f"np.subtract({x}, {y}, out={out})")
        elif isinstance(expr, (SumOfOthers, ShareLessTarget)) and self.places.written(expr, out):
            pass
        elif isinstance(expr, Norm):
            self.emit_norm(expr, out, shape)
        elif isinstance(expr, sp.Function) and len(expr.args) == 1 and self.ufunc(expr) is not None:
            ufunc, extra = self.ufunc(expr) or ("", "")
            with self.start(expr.args[0], out, shape) as x:
                self.lines.append(f"{ufunc}({x}{extra}, out={out})")
        else:
            self.emit_other(expr, out)

    def ufunc(self, expr: sp.Function) -> tuple[str, str] | None:
        """The NumPy call that computes a function in place, and its further arguments."""
        if isinstance(expr, f.relu):  # a row of zeros: with one zero, NumPy takes twice as long
            return "np.maximum", f", {self.row('zeros', shape_of(expr)[-1])}"
        if isinstance(expr, f.step):
            return "np.greater", ", 0"
        name = FUNCTIONS.get(expr.func, ("_", None))[0]
        return (name, "") if name.startswith("np.") else None

    def reads(self, expr: sp.Expr, out: str) -> bool:
        """Whether the expression reads the memory that `out` looks into."""
        home = self.memory.of.get(out, out)
        return any(isinstance(s, Tensor) and self.memory.of.get(self.text(s), self.text(s)) == home for s in expr.free_symbols)

    def apart(self, expr: sp.Expr, out: str, shape: Shape) -> None:
        """Compute beside `out` and copy: for the rare expression that reads `out` in several places."""
        with self.buffer(shape) as name:
            self.emit(expr, name, shape)
            self.lines.append(f"np.copyto({out}, {name})")

    def emit_add(self, expr: sp.Add, out: str, shape: Shape) -> None:
        number, rest = common_factor(expr)
        if number != 1:
            self.emit(rest, out, shape)
            self.lines.append(f"np.multiply({out}, {self.number(number)}, out={out})")
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
        if sum(self.reads(x, out) for x in [*above, *below]) > 1:
            self.apart(expr, out, shape)
            return
        # What reads `out` goes first, then what is computed in it.
        above.sort(key=lambda x: (not self.reads(x, out), not self.fills(x, shape)))
        below.sort(key=lambda x: (not self.reads(x, out), not self.fills(x, shape)))
        with ExitStack() as stack:
            room = below and self.fills(below[0], shape) and not (above and (self.fills(above[0], shape) or self.reads(above[0], out)))
            if below and (room or not above or self.reads(below[0], out)):
                value = stack.enter_context(self.start(below.pop(0), out, shape))
                top = above.pop(0) if above else coefficient
                self.lines.append(f"np.divide({stack.enter_context(self.argument(top))}, {value}, out={out})")
                value, coefficient = out, sp.S.One if top is coefficient else coefficient
            else:
                value = stack.enter_context(self.start(above.pop(0), out, shape))
            operations = [("multiply", x) for x in above] + [("divide", x) for x in below]
            if coefficient not in (1, -1):
                operations.append(("multiply", coefficient))
            elif coefficient == -1:
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
                self.lines.append(f"np.divide({self.number(sp.S.One)}, {x}, out={out})")
            elif exponent in _POWERS:
                self.lines.append(f"{_POWERS[exponent]}({x}, out={out})")
            else:
                self.lines.append(f"np.power({x}, {self.printer.plain(exponent)}, out={out})")

    def emit_einsum(self, expr: Einsum, out: str) -> None:
        with ExitStack() as stack:
            names = [stack.enter_context(self.argument(x)) for x in expr.operands]
            if len(names) == 1:
                call: str | None = self.sum_call(expr, *names)
            elif expr.pair is None or (call := self.pair_call(expr, expr.pair, names, out)) is None:
                call = f'np.einsum("{expr.args[0].name}", {", ".join(names)}{", optimize=True" * (len(names) > 2)}'
            self.lines += [f"{call}, out={out})"] if call else []

    def sum_call(self, expr: Einsum, name: str) -> str:
        """The start of a call that sums or permutes the axes of one array."""
        (letters,), out = expr.spec
        if len(letters) == 2 and len(out) == 1 and self.labels.isdisjoint(expr.operands):
            ones = self.row("ones", shape_of(expr.operands[0])[letters.index(out) - 1])  # as many as the other axis is long
            return f"{ones}.dot({name}" if out == letters[1] else f"{name}.dot({ones}"
        if out == "".join(c for c in letters if c in out):
            axes = tuple(i for i, c in enumerate(letters) if c not in out)
            return f"np.add.reduce({name}, axis={axes[0] if len(axes) == 1 else axes}"
        return f'np.einsum("{expr.args[0].name}", {name}'

    def pair_call(self, expr: Einsum, pair: Pair, names: list[str], out: str) -> str | None:
        """The start of a call that multiplies two arrays; empty where the lines are written already, None where none but einsum does it."""
        left, right = (names[i] for i in pair.operands)
        one_type = self.labels.isdisjoint(expr.operands)
        if expr.matmul is not None and not expr.matmul.lead:
            a, b = (name + ".T" * turned for name, (_, turned) in zip((left, right), expr.matmul.factors, strict=True))
            return f"{a}.dot({b}" if one_type else f"np.matmul({a}, {b}"
        if pair.is_outer and pair.operands == (0, 1):  # else einsum is faster
            return f"np.multiply.outer({left}, {right}"
        if one_type and (stacks := stacked(expr)) is not None:
            self.emit_stacked(stacks, names, out)
        elif pair.is_tensordot:
            self.lines.append(f"{out}[...] = np.tensordot({left}, {right}, axes={pair.inner_axes})")
        else:
            return None
        return ""

    def emit_norm(self, expr: Norm, out: str, shape: Shape) -> None:
        """The root of the sum of squares, and once more with care where they left the range of floats."""
        with self.argument(expr.operands[0]) as name:
            x = Tensor(name, shape_of(expr.operands[0]), "node")
            root = sp.sqrt(expr.scale * reduce_sum(x**2, expr.axes) + expr.eps)
            self.emit(root if expr.least == 0 else sp.Max(root, expr.least), out, shape)
            far = self.text(Norm(*expr.parameters, x)).replace("_norm(", f"{self.printer.helper('_far_norm')}(", 1)
            self.lines += [f"if not {self.printer.helper('_in_range')}({out}):", f"    {out}[...] = {far}"]

    def emit_stacked(self, stacks: Stacked, names: list[str], out: str) -> None:
        """A product of stacks of matrices, each an array under another shape; a sum along the stack is taken after it."""
        left, right = (self.stack(names[i], s) for i, s in zip(stacks.operands, (stacks.left, stacks.right), strict=True))
        if not stacks.sums:
            self.lines.append(f"np.matmul({left}, {right}, out={self.stack(out, stacks.out)})")
            return
        whole = tuple(max(a, b, key=lambda n: n != 1) for a, b in zip(stacks.left.shape[:2], stacks.right.shape[:2], strict=True))
        kept = Stack(tuple(size for i, size in enumerate(stacks.out.shape) if i not in stacks.sums))
        with self.buffer((*whole, *stacks.out.shape[2:])) as products:
            self.lines.append(f"np.matmul({left}, {right}, out={products})")
            axes = stacks.sums[0] if len(stacks.sums) == 1 else stacks.sums
            self.lines.append(f"np.add.reduce({products}, axis={axes}, out={self.stack(out, kept)})")

    def stack(self, name: str, stack: Stack) -> str:
        """An array under the shape of a stack; made once, except of what changes from step to step, as data do."""
        view = f"np.reshape({name}, {shape_code(stack.shape, self.printer)})" + (".swapaxes(-1, -2)" if stack.transposed else "")
        if not name.isidentifier() or name in self.fresh:
            return view
        made = self.constant(view, f"{name}_stack")
        if name in self.memory.of:
            self.memory.of[made] = self.memory.of[name]
        return made

    def emit_other(self, expr: sp.Expr, out: str) -> None:
        """Anything without an in-place form: its arguments into buffers, then the expression itself."""
        if isinstance(expr, sp.Piecewise):  # numbers alone would be float64
            numbers = {v: Tensor(self.number(v), (), "node") for v, _ in expr.args if not v.free_symbols}
            expr = sp.Piecewise(*((numbers.get(v, v), self.condition(c)) for v, c in expr.args), evaluate=False)
        with ExitStack() as stack:
            table: dict[sp.Basic, sp.Basic] = {}
            for x in expr.args:
                if isinstance(x, (Shaped, sp.Add, sp.Mul, sp.Pow)) and rank_of(x) and not isinstance(x, Tensor):
                    table[x] = Tensor(stack.enter_context(self.argument(x)), shape_of(x), "node")
            self.lines.append(f"{out}[...] = {self.text(expr.func(*(table.get(x, x) for x in expr.args)) if table else expr)}")


    def condition(self, condition: sp.Basic) -> sp.Basic:
        """A mask that no step changes is computed once."""
        return sp.Symbol(self.constant(self.text(condition), "mask")) if _is_of_places(condition) else condition


def _is_of_places(expr: sp.Basic) -> bool:
    """Whether an array depends on nothing but the sizes of its axes."""
    return not tensors_in(expr) and expr.has(Positions)


_POWERS = {sp.Integer(2): "np.square", sp.Rational(1, 2): "np.sqrt"}
