"""The base class of structural operators: what each one has to state, and nothing about any of them."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import sympy as sp

from symbackprop.errors import ShapeError, UnsupportedError
from symbackprop.graph.shapes import Shape, Shaped, rank_of
from symbackprop.graph.tensor import TensorMethods, as_expression

Index = tuple[sp.Expr, ...]


class IndexSum(sp.Sum):
    """SymPy's `Sum`, except that it leaves its body as it is. `Sum` folds a `Piecewise` out of the body, and out of sums inside the body
    too, where it tears the conditions away from the index that they speak of."""

    def __new__(cls, body: sp.Expr, *limits: Any) -> sp.Expr:
        body = sp.sympify(body, strict=True)  # SymPy itself takes a number out of a sum as IndexSum(1, ...)
        if body == 0:
            return sp.S.Zero
        made: sp.Expr = sp.Expr.__new__(cls, body, *(sp.Tuple(*limit) for limit in limits))
        made.is_commutative = body.is_commutative
        return made


class IndexContext(Protocol):
    """What an operator's index form may ask for: an operand's entry, and a fresh summation index."""

    def entry(self, expr: sp.Expr, index: Index) -> sp.Expr: ...

    def fresh(self, size: Any) -> sp.Symbol: ...


class Printer(Protocol):
    """What an operator's LaTeX and NumPy forms may ask a printer for."""

    def atom(self, expr: sp.Basic) -> str:
        """The expression, in parentheses unless it binds as tightly as a name."""
        ...

    def factor(self, expr: sp.Basic) -> str:
        """The expression, in parentheses where it would be read wrongly next to a product sign."""
        ...

    def plain(self, expr: sp.Basic) -> str:
        """The expression without outer parentheses."""
        ...


class LatexPrinter(Printer, Protocol):
    """What a LaTeX form may ask for besides."""

    def call(self, name: str, *arguments: sp.Basic) -> str:
        """A function applied to its arguments."""
        ...


class TimePrinter(LatexPrinter, Protocol):
    """What the LaTeX of a recurrence may ask for besides."""

    def recurrence(self, scan: Any) -> str:
        """The equations of all steps of a scan."""
        ...

    def naming(self, names: Any) -> "TimePrinter":
        """The same printer with names for some tensors."""
        ...

    def inside(self, body: Any, operands: Sequence[sp.Basic], step: str = "t") -> "TimePrinter":
        """A printer for the equations of one step of a recurrence: `step` is the time that they are written at."""
        ...


class CodePrinter(Printer, Protocol):
    """What a form in code may ask for besides."""

    def helper(self, name: str) -> str:
        """Note that the generated module needs this helper function; returns its name."""
        ...

    def recurrence(self, scan: Any) -> str:
        """A call of the function that runs a scan, which is noted too."""
        ...


class Convolution(NamedTuple):
    """A product with a sign of its own: its name, as a sentence has it, the sign, and what stands left and right of it; and the call that text has for it."""

    title: str
    sign: str
    operands: tuple[sp.Expr, sp.Expr]
    word: str
    options: tuple[str, ...]


class Operator(TensorMethods, Shaped, sp.Expr):
    """A structural operator: `parameters` (SymPy atoms and tuples) first, then `operands` (tensor expressions).

    A subclass sets `n_parameters` and `title`, what a sentence calls it, and states `infer_shape`, `rank`, `pullback`, `entry`,
    `latex_form` and `numpy_form`.
    """

    is_commutative = True
    is_real = True
    n_parameters: int = 0
    title: str = "an operator"
    word: str = ""  # its name in text, where that is not the class's in small letters
    convolved: "Convolution | None" = None  # what it is together with an operator inside it, where that has a sign of its own
    is_juxtaposed: bool = False  # whether its LaTeX is a product of symbols side by side, to be bracketed beside another operation

    @property
    def parameters(self) -> tuple[Any, ...]:
        return self.args[: self.n_parameters]

    @property
    def operands(self) -> tuple[sp.Expr, ...]:
        return self.args[self.n_parameters :]

    @cached_property
    def shape(self) -> Shape:
        return self.infer_shape()

    def infer_shape(self) -> Shape:
        """The shape; raises `ShapeError` where the operands do not fit."""
        raise NotImplementedError

    def pullback(self, adjoint: sp.Expr) -> Sequence[sp.Expr | None]:
        """The adjoints of the operands, given the adjoint of the result; None for an operand that has none."""
        raise NotImplementedError

    def entry(self, index: Index, context: IndexContext) -> sp.Expr:
        """The entry at `index` as a scalar expression of the operands' entries."""
        raise NotImplementedError

    def latex_form(self, p: LatexPrinter) -> str:
        raise NotImplementedError

    def numpy_form(self, p: CodePrinter) -> str:
        raise NotImplementedError

    def _eval_derivative(self, symbol: sp.Symbol) -> sp.Expr:
        if symbol not in self.free_symbols:
            return sp.S.Zero
        raise UnsupportedError(f"sympy.diff cannot see through {type(self).__name__}; put the expression into a Network and read its gradients")

    def options(self) -> Iterable[str]:
        """What stands behind the operands where the operator is written as a call: as a user would write it, defaults left out."""
        return map(str, self.parameters)

    def _sympystr(self, printer: Any) -> str:
        return f"{self.word or type(self).__name__.lower()}({', '.join((*map(printer._print, self.operands), *self.options()))})"


class Text:
    """Lets `str()` write an operator as code would: a `Printer` made of SymPy's."""

    def __init__(self, printer: Any) -> None:
        self._printer = printer

    def atom(self, expr: sp.Basic) -> str:
        text = self.plain(expr)
        return text if isinstance(expr, Shaped) and is_call(text) else f"({text})"

    factor = atom

    def plain(self, expr: sp.Basic) -> str:
        text: str = self._printer._print(expr)
        return text


def is_call(text: str) -> bool:
    """Whether a text is a name, or one call of one: `f(x + y)`, but not `f(x) @ g(y)`."""
    name, bracket, rest = text.partition("(")
    if not name.isidentifier() or not bracket:
        return name.isidentifier() and not bracket
    depth = 1
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if not depth:
            return place == len(rest) - 1
    return False


def operand(value: Any, operator: str) -> sp.Expr:
    """An operand from what a user may write: a tensor expression or a number."""
    return as_expression(value, f"operator {operator}")


def normal_axes(axis: Any, x: sp.Expr, operator: str) -> tuple[int, ...]:
    """Axes as sorted negative integers (counted from the end, so that a new leading axis changes none of them)."""
    rank = rank_of(x)
    if x.is_number:
        raise ShapeError(
            f"{operator}({x}): a number has no axes to reduce; where tensors cancelled (X - X, X/X), SymPy did not keep their shape: "
            "multiply by the number of terms instead"
        )
    axes = range(rank) if axis is None else tuple(axis) if isinstance(axis, Iterable) else (axis,)
    result = []
    for a in axes:
        if isinstance(a, bool) or not hasattr(a, "__index__") or not -rank <= a < rank:
            expected = f"an integer from {-rank} to {rank - 1}" if rank else "a tensor with at least one axis"
            raise ShapeError(f"{operator}({x}): axis {a!r} does not exist; {x} has {rank} axes, so expected {expected}")
        result.append(int(a) - rank if a >= 0 else int(a))
    if len(set(result)) != len(result):
        raise ShapeError(f"{operator}({x}): axis given twice in {axis!r}")
    return tuple(sorted(result))


def ints(values: Any) -> sp.Tuple:
    """A SymPy tuple of integers (or dimensions), to be kept as an operator's parameter."""
    return sp.Tuple(*values)


def plain_shape(sizes: Any) -> Shape:
    """A shape kept as an operator's parameter, with Python's integers again."""
    return tuple(int(s) if s.is_Integer else s for s in sizes)


def shape_code(sizes: Any, p: Printer) -> str:
    """A shape as a Python tuple."""
    texts = [p.plain(sp.sympify(s, strict=True)) for s in sizes]
    return "(" + ", ".join(texts) + ("," if len(texts) == 1 else "") + ")"
