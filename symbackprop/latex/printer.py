r"""The LaTeX of expressions. SymPy's printer knows functions and Greek letters; this one adds tensors, operators and the order
in which people write products and sums. Only commands that both pdflatex (amsmath) and KaTeX know are used."""

from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.printing.latex import LatexPrinter

from symbackprop.calculus.order import common_factor, fraction, is_negative_term, terms
from symbackprop.graph.functions import Elementwise, maximum, relu, sigmoid, softplus, step
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Einsum, matrix_product
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.shapes import rank_of
from symbackprop.graph.tensor import Tensor

_SUM, _PRODUCT, _TIGHT = 10, 20, 30
_NAMES: dict[Any, str] = {sigmoid: r"\sigma", softplus: r"\operatorname{softplus}", relu: r"\operatorname{relu}"}


class TensorLatex(LatexPrinter):  # type: ignore[misc]
    """`symbols` overrides the LaTeX of single tensors (an adjoint as Δ₁, say)."""

    def __init__(self, symbols: Mapping[Tensor, str] | None = None) -> None:
        super().__init__({"mul_symbol": " ", "ln_notation": False})
        self.symbols = dict(symbols or {})

    # What operators ask for (see graph.operators.base.Printer).
    def plain(self, expr: sp.Basic) -> str:
        text: str = self._print(expr)
        return text

    def atom(self, expr: sp.Basic) -> str:
        return self._bind(expr, _TIGHT)

    def factor(self, expr: sp.Basic) -> str:
        return self._bind(expr, _PRODUCT)

    def helper(self, name: str) -> str:
        raise AssertionError("LaTeX has no helper functions")

    def _bind(self, expr: sp.Basic, wanted: int) -> str:
        text = self.plain(expr)
        return text if self.precedence(expr) >= wanted else rf"\left({text}\right)"

    def precedence(self, expr: sp.Basic) -> int:
        """How tightly the LaTeX of an expression binds."""
        if isinstance(expr, sp.Add):
            number, _ = common_factor(expr)  # printed in front of the sum, so that the whole is a product
            return _SUM if number == 1 else _SUM + 1 if number < 0 else _PRODUCT
        if isinstance(expr, (sp.Sum, sp.Piecewise)):
            return _SUM
        if isinstance(expr, sp.Mul):
            return _SUM + 1 if is_negative_term(expr) else _PRODUCT
        if isinstance(expr, sp.Number) and expr < 0:
            return _SUM + 1
        if isinstance(expr, Reshape) and expr.new_axes() is not None:
            return self.precedence(expr.operands[0])
        if isinstance(expr, (Einsum, Operator)):
            loose = isinstance(expr, Einsum) and (matrix_product(expr) is not None or len(expr.operands) > 1 or len(expr.spec[1]) < len(expr.spec[0][0]))
            return _PRODUCT if loose or type(expr).__name__ == "Broadcast" else _TIGHT
        if isinstance(expr, sp.Pow) and not isinstance(expr, sp.exp):
            return _PRODUCT + 5
        if isinstance(expr, Tensor) and expr not in self.symbols and expr.adjoint_of:
            return _PRODUCT + 5
        if isinstance(expr, sp.Rational) and not expr.is_Integer:
            return _PRODUCT + 5
        return _TIGHT

    # --- names ----------------------------------------------------------------------------------------------------------

    def _print_TensorSymbol(self, expr: Tensor) -> str:
        if expr in self.symbols:
            return self.symbols[expr]
        if expr.adjoint_of is not None:
            loss, z = expr.adjoint_of
            return rf"\frac{{\partial {self._print(loss)}}}{{\partial {self._print(z)}}}"
        text: str = self._print_Symbol(expr)
        return text

    def _print_Symbol(self, expr: sp.Symbol, style: str = "plain") -> str:
        name = expr.name
        if name.endswith("_") and len(name) > 1:
            return self._print_Symbol(sp.Symbol(name[:-1]))
        head, *rest = name.split("_")
        if len(head) > 1 and not rest and super()._print_Symbol(sp.Symbol(head)) == head:
            return rf"\mathit{{{head}}}" if head.isalpha() else str(super()._print_Symbol(expr))
        text: str = super()._print_Symbol(expr)
        return text

    _print_Dim = _print_Symbol

    def _print_IndexedBase(self, expr: sp.IndexedBase) -> str:
        text: str = self._print(expr.label)
        return text

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        indices = ",".join(self._print(i) for i in expr.indices) if any(len(str(i)) > 2 for i in expr.indices) else " ".join(self._print(i) for i in expr.indices)
        base = expr.base.label
        if base in self.symbols or getattr(base, "adjoint_of", None) is None:
            text = self._print(base)
            head, _, sub = text.partition("_{")
            return rf"{head}^{{({sub[:-1]})}}_{{{indices}}}" if sub.endswith("}") and sub.count("{") == 0 else rf"{text}_{{{indices}}}"
        loss, z = base.adjoint_of
        return rf"\frac{{\partial {self._print(loss)}}}{{\partial {self._print_Indexed(sp.Indexed(sp.IndexedBase(z), *expr.indices))}}}"

    # --- arithmetic -----------------------------------------------------------------------------------------------------

    def _print_Add(self, expr: sp.Add, order: Any = None) -> str:
        number, rest = common_factor(expr)
        if number != 1:
            return self._product(number, [rest], [])
        text = ""
        for term in terms(expr):
            if is_negative_term(term):
                text += f" - {self._bind(-term, _SUM + 1)}" if text else f"- {self._bind(-term, _SUM + 1)}"
            else:
                text += (" + " if text else "") + self._bind(term, _SUM + 1 if isinstance(term, sp.Piecewise) else _SUM)
        return text

    def _print_Mul(self, expr: sp.Mul) -> str:
        if not expr.is_commutative:
            return " ".join(self._bind(x, _PRODUCT) for x in expr.args)
        negative, above, below = fraction(expr)
        return self._product(sp.Integer(-1) if negative else sp.S.One, above, below)

    def _product(self, number: sp.Rational, above: list[sp.Expr], below: list[sp.Expr]) -> str:
        """Scalars juxtaposed, a fraction for divisors, ⊙ between arrays. All numbers become one, in front: 2/n (Y - T), not 1/n 2 (Y - T)."""
        number, above = _gather_numbers(number, above)
        divisor, below = _gather_numbers(sp.S.One, below)
        number /= divisor
        if abs(number.p) != 1:
            above = [sp.Integer(abs(number.p)), *above]
        if number.q != 1:
            below = [sp.Integer(number.q), *below]
        sign = "- " if number < 0 else ""
        scalars = [x for x in above if rank_of(x) == 0]
        arrays = [x for x in above if rank_of(x) > 0]
        if any(rank_of(x) for x in below):
            return sign + rf"\frac{{{self._factors(scalars, arrays) or '1'}}}{{{self._factors([x for x in below if not rank_of(x)], [x for x in below if rank_of(x)])}}}"
        if not below:
            return sign + (self._factors(scalars, arrays, bound=bool(sign)) or "1")
        # The numerator takes numbers and names; what is long or an array stands behind the fraction.
        short = [x for x in scalars if not isinstance(x, (sp.Add, sp.Sum, Operator))]
        if not arrays and len(short) < len(scalars) and len(scalars) == 1:
            short = scalars
        rest = [x for x in scalars if x not in short]
        head = rf"\frac{{{self._factors(short, [], alone=len(short) == 1) or '1'}}}{{{self._factors(below, [], alone=len(below) == 1)}}}"
        tail = self._factors(rest, arrays, bound=True)
        return sign + head + (f" {tail}" if tail else "")

    def _factors(self, scalars: list[sp.Expr], arrays: list[sp.Expr], alone: bool = False, bound: bool = False) -> str:
        """A product. `alone`: a single factor needs no brackets; `bound`: it needs them, since something stands in front of it."""
        if alone and len(scalars) == 1 and not arrays:
            return self.plain(scalars[0])
        several = bound or len(scalars) + len(arrays) > 1
        left = [self._bind(x, _PRODUCT) if several else self.plain(x) for x in scalars]
        for i in range(1, len(left)):
            if left[i][:1].isdigit():
                left[i] = r"\cdot " + left[i]
        if len(arrays) > 1:
            right = [rf"\left({self.plain(x)}\right)" if isinstance(x, (Einsum,)) and self.precedence(x) < _TIGHT else self._bind(x, _PRODUCT) for x in arrays]
        else:
            right = [self._bind(x, _PRODUCT) if several else self.plain(x) for x in arrays]
        return " ".join([*left, *([r" \odot ".join(right)] if right else [])])

    def _print_Pow(self, expr: sp.Pow) -> str:
        base, exponent = expr.args
        if exponent.is_Rational and exponent < 0:
            return rf"\frac{{1}}{{{self.plain(base**-exponent)}}}"
        if exponent == sp.Rational(1, 2):
            return rf"\sqrt{{{self.plain(base)}}}"
        if exponent == 2 and rank_of(base) > 0 and isinstance(base, Tensor):
            return rf"{self.plain(base)} \odot {self.plain(base)}"
        power = rf"\circ {self.plain(exponent)}" if rank_of(base) > 0 else self.plain(exponent)
        if isinstance(base, sp.Function) and not isinstance(base, (sp.exp, sp.Abs)) and exponent.is_Integer:
            return self._call(base, power)
        return rf"{self._bind(base, _TIGHT)}^{{{power}}}"

    # --- functions ------------------------------------------------------------------------------------------------------

    def _call(self, expr: sp.Function, power: str | None = None) -> str:
        """A function applied, with its power where textbooks put it: tanh²(z)."""
        if isinstance(expr, Elementwise) or expr.func in _NAMES:
            name = _NAMES.get(expr.func, rf"\operatorname{{{expr.func.__name__}}}")
            return rf"{name}{f'^{{{power}}}' if power else ''}\left({', '.join(map(self.plain, expr.args))}\right)"
        method = getattr(LatexPrinter, f"_print_{expr.func.__name__}", None)
        if method is not None:
            text: str = method(self, expr, exp=power) if power else method(self, expr)
        else:
            text = LatexPrinter._print_Function(self, expr, exp=power)
        return text

    def _print_Function(self, expr: sp.Function, exp: str | None = None) -> str:
        return self._call(expr, exp) if isinstance(expr, Elementwise) else LatexPrinter._print_Function(self, expr, exp)

    def _print_step(self, expr: step) -> str:
        (z,) = expr.args
        return rf"\mathbf{{1}}_{{\left[{self.plain(z)} > 0\right]}}"

    def _print_absolute(self, expr: sp.Expr) -> str:
        return rf"\left|{self.plain(expr.args[0])}\right|"

    def _print_maximum(self, expr: maximum) -> str:
        return rf"\max\left({self.plain(expr.args[0])}, {self.plain(expr.args[1])}\right)"

    def _print_Sum(self, expr: sp.Sum) -> str:
        indices = ", ".join(self.plain(limit[0]) for limit in expr.limits)
        return rf"\sum_{{{indices}}} {self._bind(expr.function, _SUM + 1)}"

    def _print_Operator(self, expr: Operator) -> str:
        return expr.latex_form(self)


def _gather_numbers(number: sp.Rational, factors: list[sp.Expr]) -> tuple[sp.Rational, list[sp.Expr]]:
    """`number` times the rational numbers among the factors and in front of the sums among them, and the factors without them."""
    rest = []
    for x in factors:
        taken, x = (x, sp.S.One) if isinstance(x, sp.Rational) else common_factor(x) if isinstance(x, sp.Add) else (sp.S.One, x)
        number *= taken
        if x != 1:
            rest.append(x)
    return number, rest
