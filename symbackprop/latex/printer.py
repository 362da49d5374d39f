r"""The LaTeX of expressions. SymPy's printer knows functions and Greek letters; this one adds tensors, operators and the order
in which people write products and sums. Only commands that both pdflatex (amsmath) and KaTeX know are used.

Brackets follow one scale, from loose to tight. A product of matrices and a product entry by entry never share a level without
brackets: `A (B ⊙ C)` and `(A B) ⊙ C` are different things, and readers differ on what `A B ⊙ C` would be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from symbackprop.calculus.order import common_factor, fraction, is_negative_term, terms
from symbackprop.calculus.partial import Factor
from symbackprop.graph.functions import maximum, sigmoid, step
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.operators.reduction import BigMax
from symbackprop.graph.operators.scan import Body, Scan
from symbackprop.graph.shapes import Dim, Shape, broadcast, rank_of, shape_of
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.names import Name, brackets, letters, name_of
from symbackprop.latex.places import by_entry, is_of_places
from symbackprop.latex.recurrence import entry_of_result, names_inside, over_time, scan_latex

SUM = 0  # a + b, cases
SIGNED = 1  # -a: stands first in a sum, and nowhere else without brackets
OPEN = 2  # a sum sign: everything to its right belongs to it, so it stands last in a product
PRODUCT = 3  # a b of scalars, A ⊙ B
MATRIX = 4  # A B, A 1
POWER = 5  # a^2, fractions, transposes: factors, but not to be raised to a power as they stand
ATOM = 6

_NAMES: dict[Any, str] = {sigmoid: r"\sigma", sp.asin: r"\arcsin", sp.acos: r"\arccos", sp.atan: r"\arctan"}


class TensorLatex(LatexPrinter):
    """`symbols` overrides the names of single tensors (an adjoint as Δ₁, say).

    `places` says how far from the input a tensor stands: with it, the factors of the outermost product are written from the input
    to the loss, as the chain rule meets them. `indices` are the free indices of an index form: entries are written in their order,
    as a matrix product would be, and a dimension is a capital letter, since the small one counts along it. `lead` is the target of
    an update rule, which stands first in its sums: v + g².
    """

    def __init__(
        self,
        symbols: Mapping[Tensor, Name] | None = None,
        places: Mapping[Tensor, int] | None = None,
        indices: Sequence[sp.Symbol] | None = None,
        lead: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.dots = False  # between all factors, as between numbers
        self.symbols = dict(symbols or {})
        self.places = places
        self.indices = None if indices is None else list(indices)
        self.lead = lead
        self._texts: dict[sp.Basic, str] = {}

    # What operators ask for (see graph.operators.base.LatexPrinter).
    def plain(self, expr: sp.Basic) -> str:
        if self.places is not None:
            return str(self._print(expr))
        if expr not in self._texts:  # brackets ask for the same text again, at every depth
            self._texts[expr] = self._print(expr)
        return self._texts[expr]

    def _print(self, expr: Any, **kwargs: Any) -> str:
        text: str = super()._print(by_entry(expr) if isinstance(expr, sp.Basic) and is_of_places(expr) else expr, **kwargs)
        return text

    def atom(self, expr: sp.Basic) -> str:
        return self._bind(expr, ATOM)

    def factor(self, expr: sp.Basic) -> str:
        return self._bind(expr, MATRIX)

    def scalar_factor(self, expr: sp.Basic) -> str:
        """The expression as a factor between dots: in parentheses only if it is a sum or negative."""
        return self._bind(expr, PRODUCT)

    def call(self, name: str, *arguments: sp.Basic) -> str:
        return name + brackets(", ".join(map(self.plain, arguments)))

    def inside(self, body: Body, operands: Sequence[sp.Basic], step: str = "t") -> "TensorLatex":
        """A printer for the equations of one step of a recurrence, at time `step`."""
        return self.naming(names_inside(body, operands, step, self))

    def naming(self, names: Mapping[Tensor, Name]) -> "TensorLatex":
        """The same printer with names for some tensors."""
        return TensorLatex({**self.symbols, **names})

    def recurrence(self, scan: Scan) -> str:
        """The equations of all steps of a scan."""
        return scan_latex(scan, self)

    def _bind(self, expr: sp.Basic, wanted: int) -> str:
        text = self.plain(expr)
        return text if self.level(expr) >= wanted else brackets(text)

    def level(self, expr: sp.Basic) -> int:
        """How tightly the LaTeX of an expression binds."""
        if isinstance(expr, sp.Add):
            number, _ = common_factor(expr)  # printed in front of the sum, so that the whole is a product
            return SUM if number == 1 else SIGNED if number < 0 else PRODUCT
        if isinstance(expr, (sp.Piecewise, sp.Mod)):
            return SUM
        if isinstance(expr, (sp.Sum, BigMax)):
            return OPEN
        if isinstance(expr, sp.Mul):
            return SIGNED if is_negative_term(expr) else PRODUCT
        if isinstance(expr, sp.Number):
            return SIGNED if expr < 0 else PRODUCT if r"\cdot" in self.plain(expr) else ATOM if expr.is_Integer or expr.is_Float else POWER
        if isinstance(expr, Reshape) and expr.moves_unit_axes():
            return self.level(expr.operands[0])
        if isinstance(expr, Operator):
            text = self.plain(expr)
            return MATRIX if expr.is_juxtaposed else POWER if text.endswith("}") and "^" in text else ATOM
        if isinstance(expr, sp.Pow):
            return PRODUCT if self._is_square(expr) else POWER
        if isinstance(expr, (Tensor, sp.Symbol, sp.Indexed, sp.exp)):
            text = self.plain(expr)
            return POWER if "^" in text or "'" in text or text.startswith(r"\frac") else ATOM
        return ATOM

    # --- names ----------------------------------------------------------------------------------------------------------

    def _name(self, tensor: sp.Symbol) -> Name:
        return self.symbols.get(tensor) or name_of(tensor)

    def _print_TensorSymbol(self, expr: Tensor) -> str:
        if expr.adjoint_of is not None and expr not in self.symbols:
            loss, z = expr.adjoint_of
            return rf"\frac{{\partial {self.plain(loss)}}}{{\partial {self.plain(z)}}}"
        return self._name(expr).plain()

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        return self._name(expr).plain()

    def _print_Dim(self, expr: Dim) -> str:
        return letters(expr.name.upper()) if self.indices is not None and len(expr.name) == 1 else self._name(expr).plain()

    def _print_IndexedBase(self, expr: sp.IndexedBase) -> str:
        return self.plain(expr.label)

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        base = expr.base.label
        if getattr(base, "adjoint_of", None) is not None and base not in self.symbols:
            loss, z = base.adjoint_of
            return rf"\frac{{\partial {self.plain(loss)}}}{{\partial {self.plain(sp.Indexed(sp.IndexedBase(z), *expr.indices))}}}"
        if isinstance(getattr(base, "definition", None), Scan) and base not in self.symbols:
            found = entry_of_result(base.definition, expr.indices[0], self)
            if found is not None:
                return found
        several = any(not isinstance(i, sp.Symbol) and not (i.is_Integer and i < 10) for i in expr.indices)
        return self._name(base).entry(("," if several else " ").join(map(self.plain, expr.indices)))

    def _print_KroneckerDelta(self, expr: sp.Expr, exp: str | None = None) -> str:
        """Iverson's bracket: δ is an error here."""
        a, b = expr.args
        return rf"\left[{self.plain(a)} = {self.plain(b)}\right]" + (f"^{{{exp}}}" if exp else "")

    # --- arithmetic -----------------------------------------------------------------------------------------------------

    def _print_Float(self, expr: sp.Float) -> str:
        mantissa, _, exponent = f"{float(expr):.15g}".partition("e")  # 1 - 0.9 reads 0.1
        if not exponent:
            return mantissa
        power = f"10^{{{int(exponent)}}}"
        return power if mantissa == "1" else "-" + power if mantissa == "-1" else rf"{mantissa} \cdot {power}"

    def _print_Add(self, expr: sp.Add, order: Any = None) -> str:
        number, rest = common_factor(expr)
        if number != 1:
            return self._product(number, [rest], [])
        # Factors of the chain rule keep their places, and have no shape in which they could be spread.
        text, shape = "", shape_of(expr) if expr.is_commutative else ()
        for term in terms(expr, self.lead):
            negative, part = self._term(term, shape)
            text += ((" - " if negative else " + ") if text else "-" if negative else "") + part
        return text

    def _term(self, term: sp.Expr, full: Shape) -> tuple[bool, str]:
        """Whether a term of a sum is subtracted, and it without that sign."""
        negative = is_negative_term(term)
        return negative, self._spread(-term if negative else term, full, OPEN)

    def _spread(self, part: sp.Expr, full: Shape, wanted: int) -> str:
        """A term or factor. One column that meets a matrix is repeated, and says so: Z - m 1^T. A row added to each row, as a bias
        is, stands as it is, as textbooks have it."""
        shape = shape_of(part) if part.is_commutative else ()
        if len(shape) == len(full) == 2 and shape[1] == 1 != full[1] and not is_of_places(part):
            scaled = isinstance(part, sp.Mul) and sum(map(rank_of, part.args)) == 2  # c A 1^T is the same, however it is read
            text = (self.plain(part) if scaled else self.factor(part)) + r" \mathbf{1}^{\top}"
            return text if wanted <= MATRIX else brackets(text)
        return self._bind(part, wanted)

    def _print_Mul(self, expr: sp.Mul) -> str:
        if not expr.is_commutative:
            return (r" \cdot " if expr.has(Factor) else " ").join(self._bind(x, POWER) for x in expr.args)
        negative, above, below = fraction(expr)
        places, self.places = self.places, None
        text = self._product(sp.Integer(-1) if negative else sp.S.One, sorted(above, key=self._by_kind if places is None else _from_the_input(places)), below)
        self.places = places
        return text

    def _by_kind(self, factor: sp.Expr) -> tuple[int, int]:
        """Constants; matrix products; names, in an index form in the order of the free indices; errors; the rest; last log(..), and
        a sum sign, which then needs no brackets: (1 - t) log(1 - p), (1 - a²) Σ w δ."""
        if _is_constant(factor):
            return (0, 0)
        if isinstance(factor, Operator):
            return (1 if factor.is_juxtaposed else 4, 0)
        if isinstance(factor, sp.Indexed):
            return (2, min((self.indices.index(i) for i in factor.indices if i in self.indices), default=len(self.indices)) if self.indices else 0)
        if isinstance(factor, Tensor):
            return (3 if factor.adjoint_of else 2, 0)
        return (6 if isinstance(factor, sp.Sum) else 5 if isinstance(factor, sp.log) else 4, 0)

    def _product(self, number: sp.Rational, above: list[sp.Expr], below: list[sp.Expr]) -> str:
        """Scalars side by side, ⊙ between arrays, a fraction for divisors. All numbers become one, in front: 2/n (Y - T), not 1/n 2 (Y - T)."""
        number, above = _gather_numbers(number, above)
        divisor, below = _gather_numbers(sp.S.One, below)
        number, above, below = _gather_roots(number / divisor, above, below)
        if abs(number.p) != 1:
            above = [sp.Integer(abs(number.p)), *above]
        if number.q != 1:
            below = [sp.Integer(number.q), *below]
        sign = "-" if number < 0 else ""
        full = broadcast(*map(shape_of, (*above, *below)))
        if not below:
            return sign + (self._factors(above, full, lone=PRODUCT if sign else SUM) or "1")
        inside = self._numerator(above, below)
        behind = [x for x in above if x not in inside]
        head = rf"\frac{{{self._factors(inside, full) or '1'}}}{{{self._factors(below, full)}}}"
        return " ".join(filter(None, [sign + head, self._factors(behind, full, lone=OPEN)]))

    def _numerator(self, above: list[sp.Expr], below: list[sp.Expr]) -> list[sp.Expr]:
        """What stands on the fraction line; the rest stands behind it. On constants, only what is short; on anything else, everything
        of the denominator's kind."""
        if any(map(rank_of, below)):
            return above
        scalars = [x for x in above if not rank_of(x)]
        if not all(map(_is_constant, below)):
            return scalars
        plain = [x for x in scalars if not isinstance(x, (sp.Sum, Operator)) and not (isinstance(x, sp.Add) and r"\frac" in self.plain(x))]
        if len(plain) == len(above) and (len(plain) == 1 or not any(isinstance(x, sp.Add) for x in plain)):
            return plain
        return [x for x in plain if _is_constant(x)]

    def _factors(self, args: list[sp.Expr], full: Shape, lone: int = SUM) -> str:
        """A product without divisors, part of one of shape `full`. `lone`: how tightly a single factor must bind, loosely if it stands alone."""
        scalars = [x for x in args if not rank_of(x)]
        arrays = [x for x in args if rank_of(x)]
        if len(args) == 1:
            return self._spread(args[0], full, lone)
        parts = [self._bind(x, POWER) for x in scalars]
        if len(arrays) == 1:
            parts.append(self._spread(arrays[0], full, PRODUCT))
        elif arrays:
            parts.append(r" \odot ".join(self._spread(x, full, POWER) for x in arrays))
        elif scalars and (isinstance(scalars[-1], sp.Sum) or all(map(_is_constant, scalars[:-1]))):
            parts[-1] = self._bind(scalars[-1], OPEN)  # nothing follows, so what is open to the right may stay open
        return " ".join(rf"\cdot {p}" if i and (self.dots or p[0].isdigit()) else p for i, p in enumerate(parts))

    def _is_square(self, expr: sp.Pow) -> bool:
        """Whether a power is printed as A ⊙ A."""
        return expr.exp == 2 and isinstance(expr.base, Tensor) and rank_of(expr.base) > 0

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, exponent = expr.args
        if exponent.is_Rational and exponent < 0:
            return rf"\frac{{1}}{{{self.plain(base**-exponent)}}}"
        if exponent == sp.Rational(1, 2):
            return rf"\sqrt{{{self.plain(base)}}}"
        if self._is_square(expr):
            return rf"{self.plain(base)} \odot {self.plain(base)}"
        power = rf"\circ {self.plain(exponent)}" if rank_of(base) > 0 else self.plain(exponent)
        if isinstance(base, sp.Function) and self._is_called(base) and exponent.is_Integer:
            return self._call(base, power)
        return rf"{self._bind(base, ATOM)}^{{{power}}}"

    def _print_Piecewise(self, expr: sp.Piecewise) -> str:
        pieces = [rf"{self.plain(e)} & " + (r"\text{otherwise}" if c == sp.true else rf"\text{{for }} {self.plain(c)}") for e, c in expr.args]
        return r"\begin{cases} " + r" \\ ".join(pieces) + r" \end{cases}"

    # --- functions ------------------------------------------------------------------------------------------------------

    def _is_called(self, expr: sp.Function) -> bool:
        """Whether a function is written as its name and its arguments, so that a power of it may stand between the two."""
        return type(self)._print_Function is getattr(type(self), f"_print_{expr.func.__name__}", type(self)._print_Function)

    def _call(self, expr: sp.Function, power: str | None = None) -> str:
        name = _NAMES.get(expr.func) or self._hprint_Function(expr.func.__name__)
        return self.call(name + (f"^{{{power}}}" if power else ""), *expr.args)

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        return self._call(expr, exp)

    # SymPy writes these with spaces of its own; here every function is written alike.
    _print_log = _print_Function

    def _print_ExpBase(self, expr: sp.exp, exp: str | None = None) -> str:
        exponent = self.plain(expr.exp)
        return self.call(r"\exp", expr.exp) if r"\sum" in exponent or r"\frac" in exponent else f"e^{{{exponent}}}"

    def _print_step(self, expr: step) -> str:
        return rf"\mathbf{{1}}_{{[{self.plain(expr.args[0])} > 0]}}"

    def _print_Abs(self, expr: sp.Expr, exp: str | None = None) -> str:
        return rf"\left|{self.plain(expr.args[0])}\right|" + (f"^{{{exp}}}" if exp else "")

    _print_absolute = _print_Abs

    def _print_maximum(self, expr: maximum) -> str:
        return self.call(r"\max", *expr.args)

    def _print_Max(self, expr: sp.Max, exp: str | None = None) -> str:
        return self.call(r"\max" + (f"^{{{exp}}}" if exp else ""), *sorted(expr.args, key=sp.default_sort_key))

    def _print_Min(self, expr: sp.Min, exp: str | None = None) -> str:
        return self.call(r"\min" + (f"^{{{exp}}}" if exp else ""), *sorted(expr.args, key=sp.default_sort_key))

    def _print_Sum(self, expr: sp.Sum) -> str:
        indices = ", ".join(self.plain(limit[0]) for limit in expr.limits)
        return rf"\sum_{{{indices}}} {self._bind(expr.function, OPEN)}"

    def _print_Operator(self, expr: Operator) -> str:
        return (over_time(expr, self) if isinstance(expr, Einsum) else None) or expr.latex_form(self)


def _from_the_input(places: Mapping[Tensor, int]) -> Callable[[sp.Expr], tuple[int, int, int]]:
    """Orders factors by the last node that they mention or feed, names before what is longer: x (1 - a²) w (y - t) (1 - y²)."""

    def key(factor: sp.Expr) -> tuple[int, int, int]:
        if _is_constant(factor):
            return (-1, 0, 0)
        tensors = [s for s in factor.free_symbols if isinstance(s, Tensor)]
        inner = [s for s in tensors if s.role != "data"] or tensors
        return (max((places.get(s, s.serial) for s in inner), default=-1), 0 if isinstance(factor, Tensor) else 1, factor.count_ops())

    return key


def _is_constant(expr: sp.Expr) -> bool:
    """A number or a size: what is written in front of everything else."""
    return expr.is_number or isinstance(expr, Dim)


def _gather_numbers(number: sp.Rational, factors: list[sp.Expr]) -> tuple[sp.Rational, list[sp.Expr]]:
    """`number` times the rational numbers among the factors and in front of the sums among them, and the factors without them."""
    rest = []
    for x in factors:
        taken, x = (x, sp.S.One) if isinstance(x, sp.Rational) else common_factor(x) if isinstance(x, sp.Add) else (sp.S.One, x)
        number *= taken
        if x != 1:
            rest.append(x)
    return number, rest


def _gather_roots(number: sp.Rational, above: list[sp.Expr], below: list[sp.Expr]) -> tuple[sp.Rational, list[sp.Expr], list[sp.Expr]]:
    """Square roots of numbers where they are written: sqrt(2)/2 is 1/sqrt(2), sqrt(2)/(2 sqrt(pi)) is 1/sqrt(2 pi), and sqrt(2)/sqrt(pi) is
    sqrt(2/pi)."""
    for root in [x for x in above if _is_root(x) and x.base.is_Integer and number.q % x.base == 0]:
        number, above, below = number * root.base, [x for x in above if x is not root], [root, *below]
    over, under = ([x for x in part if _is_root(x)] for part in (above, below))
    if under and len(over) + len(under) > 1:
        one = sp.Pow(sp.Mul(*(x.base for x in over), *(1 / x.base for x in under)) ** (1 if over else -1), sp.S.Half, evaluate=False)
        above, below = [x for x in above if x not in over], [x for x in below if x not in under]
        above, below = ([one, *above], below) if over else (above, [one, *below])
    return number, above, below


def _is_root(expr: sp.Expr) -> bool:
    return isinstance(expr, sp.Pow) and expr.exp is sp.S.Half and bool(expr.base.is_number)
