"""Target "numpy", training step: NumPy with preallocated buffers, one call a line, updates in place."""

from typing import Any

import sympy as sp

from symbackprop.calculus.elementwise import regions
from symbackprop.calculus.order import common_factor, fraction
from symbackprop.codegen.expressions import FUNCTIONS, PythonPrinter, shape_code
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.program import Program
from symbackprop.graph import functions as f
from symbackprop.graph.operators.contraction import Einsum, matrix_product
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.shapes import Dim, Shape, Shaped, rank_of, shape_of
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
        self.lines: list[str] = []
        self.place: dict[Tensor, str] = {}  # an equation's symbol → the variable that holds it, where that is another's place

    def source(self) -> str:
        program = self.program
        self.printer.names = self.place
        for i, equation in enumerate(program.equations):
            self.equation(equation, program.equations[i + 1 :])
        held = [f'    {w.name} = weights["{w.name}"]' for w in program.system.weights]
        held += [f'    {symbol.name} = state["{name}"]["{w.name}"]' for (name, w), symbol in program.states.items()]
        held += [f'    {d.name} = sizes["{d.name}"]' for d in program.system.dims]
        held += [f"    {name} = np.empty({shape_code(shape, self.printer)}, DTYPE)" for name, shape in self.buffers]
        arguments = ", ".join([program.step.name, *(t.name for t in program.data)])
        body = "\n".join(f"        {line}" for line in self.lines)
        build = f'''def build(weights, state, sizes):
    """Buffers for one combination of sizes; returns the step that works in them."""
{chr(10).join(held)}

    def step({arguments}):
        """Update the weights in place; returns the loss before the update."""
{body}
        return float({program.system.loss.name})

    return step'''
        header = f'"""Training step of a network, in preallocated buffers. Written by symbackprop."""\n\nimport numpy as np\n\nDTYPE = np.{self.dtype}'
        return "\n\n\n".join([header, *helper_source(self.printer.helpers), build]) + "\n"

    # --- equations ----------------------------------------------------------------------------------------------------

    def equation(self, equation: Equation, later: list[Equation]) -> None:
        symbol, expr = equation
        place = self.program.places.get(symbol)
        if place is not None:
            self.update(symbol, expr, place, later)
        elif symbol.rank == 0:
            # A stored scalar is an array of rank 0, which an update changes, and a reshaped one looks into a buffer: [()] reads the value.
            self.lines.append(f"{symbol.name} = {self.scalar(expr)}" + ("[()]" if self.stored(expr) or isinstance(expr, Reshape) else ""))
        elif isinstance(expr, Tensor) and not self.stored(expr):
            self.place[symbol] = self.text(expr)
        else:
            self.buffers.append((symbol.name, symbol.shape))
            self.emit(expr, symbol.name, symbol.shape)
        if symbol is self.program.system.loss:
            self.lines += [f"if {symbol.name} - {symbol.name} != 0:  # infinite or NaN: leave the weights alone", f"    return float({symbol.name})"]

    def stored(self, expr: sp.Expr) -> bool:
        """Whether the expression is nothing but a place that an update writes over, so that a second name for it will not do."""
        program = self.program
        return expr in program.places or expr in program.places.values() or expr in program.system.weights

    def update(self, symbol: Tensor, expr: sp.Expr, place: Tensor, later: list[Equation]) -> None:
        """Write a new value over the old one, unless the old one is read again."""
        old = [s for s, target in self.program.places.items() if target is place and s is not symbol and s.serial < symbol.serial]
        stale = {place, *old} & set().union(*(e.expr.free_symbols for e in later))
        if stale:
            raise AssertionError(f"{place} is read after it was updated")  # share() computes what is read twice before
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
        held = {x: "" for operator in operators.values() for x in operator.operands if rank_of(x) and not isinstance(x, Tensor)}
        held = {x: self.hold(x) for x in held}
        table = {x: Tensor(name, shape_of(x), "node") for x, name in held.items()}
        names = {symbol: operator.func(*(table.get(x, x) for x in operator.args)) for symbol, operator in operators.items()}
        for x, name in held.items():  # only now: one line reads them all
            self.release(name, shape_of(x))
        return self.text(body.xreplace(names))

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

    def hold(self, expr: sp.Expr) -> str:
        """The variable that holds an array expression: its own name, or a buffer that it is computed into."""
        if isinstance(expr, Tensor):
            return self.text(expr)
        name = self.acquire(shape_of(expr))
        self.emit(expr, name, shape_of(expr))
        return name

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
            (x,) = expr.args
            source = self.into(x, out, shape)
            self.lines.append(f"{ufunc}({source}{extra}, out={out})")
        else:
            self.emit_other(expr, out)

    def ufunc(self, expr: sp.Function) -> tuple[str, str] | None:
        """The NumPy call that computes a function in place, and its further arguments."""
        if isinstance(expr, f.relu):
            return "np.maximum", ", 0"
        if isinstance(expr, f.step):
            return "np.heaviside", ", 0"
        name = FUNCTIONS.get(expr.func, ("_", None))[0]
        return (name, "") if name.startswith("np.") else None

    def into(self, expr: sp.Expr, out: str, shape: Shape) -> str:
        """An argument: its own variable, or computed into `out`, or, where its shape is smaller, into a buffer."""
        if isinstance(expr, Tensor):
            return self.text(expr)
        if rank_of(expr) == 0:
            return self.printer.factor(expr)
        if shape_of(expr) == shape and not self.reads(expr, out):
            self.emit(expr, out, shape)
            return out
        name = self.hold(expr)
        self.release(name, shape_of(expr))  # read by the very next line
        return name

    def reads(self, expr: sp.Expr, out: str) -> bool:
        return any(isinstance(s, Tensor) and self.text(s) == out for s in expr.free_symbols)

    def emit_add(self, expr: sp.Add, out: str, shape: Shape) -> None:
        number, rest = common_factor(expr)
        if number != 1:
            self.emit(rest, out, shape)
            self.lines.append(f"np.multiply({out}, {self.printer.factor(number)}, out={out})")
            return
        # What reads `out` goes first, then what is computed in it, then what is only added.
        terms = sorted(expr.args, key=lambda x: (not self.reads(x, out), isinstance(x, Tensor) or rank_of(x) == 0, shape_of(x) != shape, self.signed(x)[0], x.sort_key()))
        if sum(self.reads(x, out) for x in terms) > 1:
            self.apart(expr, out, shape)
            return
        first = terms.pop(0)
        negative, magnitude = self.signed(first)
        if isinstance(magnitude, Tensor) and terms and not negative:
            other_negative, other = self.signed(terms.pop(0))
            left, right = self.text(magnitude), self.into_apart(other)
            self.lines.append(f"np.{'subtract' if other_negative else 'add'}({left}, {right}, out={out})")
            negative = False
        else:
            if shape_of(magnitude) != shape:
                self.lines.append(f"np.copyto({out}, {self.into_apart(magnitude)})")
            else:
                self.emit(magnitude, out, shape)
        while terms:
            term_negative, term = self.signed(terms.pop(0))
            other = self.into_apart(term)
            if negative:
                self.lines.append(f"np.{'add' if term_negative else 'subtract'}({other}, {out}, out={out})" if not term_negative else f"np.add({out}, {other}, out={out})")
                negative = term_negative
            else:
                self.lines.append(f"np.{'subtract' if term_negative else 'add'}({out}, {other}, out={out})")
        if negative:
            self.lines.append(f"np.negative({out}, out={out})")

    def signed(self, term: sp.Expr) -> tuple[bool, sp.Expr]:
        negative = bool(term.could_extract_minus_sign()) if isinstance(term, (sp.Mul, sp.Number)) else False
        return negative, -term if negative else term

    def into_apart(self, expr: sp.Expr) -> str:
        """An argument that may not be computed in `out`, which is in use."""
        if rank_of(expr) == 0:
            return self.printer.factor(expr)
        name = self.hold(expr)
        if not isinstance(expr, Tensor):
            self.release(name, shape_of(expr))
        return name

    def apart(self, expr: sp.Expr, out: str, shape: Shape) -> None:
        """Compute beside `out` and copy: for the rare expression that reads `out` in several places."""
        name = self.acquire(shape)
        self.emit(expr, name, shape)
        self.lines.append(f"np.copyto({out}, {name})")
        self.release(name, shape)

    def emit_mul(self, expr: sp.Mul, out: str, shape: Shape) -> None:
        scalars = [x for x in expr.args if rank_of(x) == 0]
        arrays = [x for x in expr.args if rank_of(x) > 0]
        _, above, below = fraction(sp.Mul(*arrays))
        if sum(self.reads(x, out) for x in [*above, *below]) > 1:
            self.apart(expr, out, shape)
            return
        coefficient = sp.Mul(*scalars)
        above.sort(key=lambda x: (not self.reads(x, out), isinstance(x, Tensor), shape_of(x) != shape))
        if below and any(self.reads(x, out) for x in below):
            self.apart(expr, out, shape)
            return
        value = out
        if not above:
            bottom = self.into(below.pop(0), out, shape)
            self.lines.append(f"np.divide({self.printer.plain(coefficient)}, {bottom}, out={out})")
            coefficient = sp.S.One
        elif isinstance(above[0], Tensor) or shape_of(above[0]) != shape:
            value = self.into_apart(above.pop(0))
        else:
            self.emit(above.pop(0), out, shape)
        operations = [("multiply", x) for x in above] + [("divide", x) for x in below]
        if coefficient == -1 and not operations:
            self.lines.append(f"np.negative({value}, out={out})")
            return
        if coefficient != 1:
            operations.append(("multiply", coefficient))
        for word, x in operations:
            if word == "multiply" and isinstance(x, sp.Expr) and rank_of(x) == 0 and x == -1:
                self.lines.append(f"np.negative({value}, out={out})")
            else:
                self.lines.append(f"np.{word}({value}, {self.into_apart(x)}, out={out})")
            value = out
        if value != out:
            self.lines.append(f"np.copyto({out}, {value})")

    def emit_pow(self, expr: sp.Pow, out: str, shape: Shape) -> None:
        base, exponent = expr.args
        if rank_of(exponent):
            self.emit_other(expr, out)
            return
        if exponent.is_Rational and exponent < 0:
            source = self.into(base**-exponent, out, shape)
            self.lines.append(f"np.divide(1, {source}, out={out})")
            return
        source = self.into(base, out, shape)
        call = {sp.Integer(2): "np.square", sp.Rational(1, 2): "np.sqrt"}.get(exponent)
        self.lines.append(f"{call}({source}, out={out})" if call else f"np.power({source}, {self.printer.plain(exponent)}, out={out})")

    def emit_einsum(self, expr: Einsum, out: str) -> None:
        held = [(self.hold(x), x) for x in expr.operands]
        names = [name for name, _ in held]
        plan = matrix_product(expr)
        ins, outs = expr.spec
        if plan is not None:
            by_operand = {x: name for name, x in held}
            (a, at), (b, bt) = plan
            self.lines.append(f"np.matmul({by_operand[a]}{'.T' if at else ''}, {by_operand[b]}{'.T' if bt else ''}, out={out})")
        elif len(ins) == 1 and outs == "".join(c for c in ins[0] if c in outs):
            axes = [i for i, c in enumerate(ins[0]) if c not in outs]
            self.lines.append(f"np.sum({names[0]}, axis={axes[0] if len(axes) == 1 else tuple(axes)}, out={out})")
        elif len(ins) == 2 and outs == ins[0] + ins[1]:
            self.lines.append(f"np.multiply.outer({names[0]}, {names[1]}, out={out})")
        else:
            self.lines.append(f'np.einsum("{expr.args[0].name}", {", ".join(names)}, out={out}{", optimize=True" if len(names) > 2 else ""})')
        for name, x in held:
            if not isinstance(x, Tensor):
                self.release(name, shape_of(x))

    def emit_other(self, expr: sp.Expr, out: str) -> None:
        """Anything without an in-place form: its arguments into buffers, then the expression itself."""
        table: dict[Any, Any] = {}
        for arg in expr.args:
            if isinstance(arg, sp.Expr) and isinstance(arg, (Shaped, sp.Add, sp.Mul, sp.Pow)) and rank_of(arg) and not isinstance(arg, (Tensor, Dim)):
                table[arg] = Tensor(self.hold(arg), shape_of(arg), "node")
        text = self.text(expr.func(*(table.get(a, a) for a in expr.args)) if table else expr)
        self.lines.append(f"{out}[...] = {text}")
        for arg, held in table.items():
            self.release(held.name, shape_of(arg))
