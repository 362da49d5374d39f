"""Expressions as Python text, for arrays (`np.tanh(x)`) and for plain floats (`math.tanh(x)`).

Which function a SymPy function becomes is a table; what needs more than one NumPy call is a helper function that is
written into the generated module only where it is used.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import sympy as sp
from sympy.logic.boolalg import BooleanFalse, BooleanTrue

from symbackprop.calculus.order import common_factor, fraction, is_negative_term, terms
from symbackprop.codegen.apart import difference
from symbackprop.codegen.helpers import HELPERS, helper_source
from symbackprop.codegen.recurrence import loop_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph import functions as f
from symbackprop.graph import stable as g
from symbackprop.graph import stable_losses, stable_quotients, stable_remainders, stable_squares, stable_sums, stable_tails  # noqa: F401  (they become known)
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.rule import STEP
from symbackprop.graph.shapes import Dim, shape_of, size_of
from symbackprop.graph.tensor import Tensor

# SymPy function → (NumPy name, math name). A name that starts with an underscore is a helper.
FUNCTIONS: dict[Any, tuple[str, str | None]] = {
    sp.exp: ("np.exp", "math.exp"),
    sp.log: ("np.log", "math.log"),
    sp.sin: ("np.sin", "math.sin"),
    sp.cos: ("np.cos", "math.cos"),
    sp.tan: ("np.tan", "math.tan"),
    sp.asin: ("np.arcsin", "math.asin"),
    sp.acos: ("np.arccos", "math.acos"),
    sp.atan: ("np.arctan", "math.atan"),
    sp.atan2: ("np.arctan2", "math.atan2"),
    sp.sinh: ("np.sinh", "math.sinh"),
    sp.cosh: ("np.cosh", "math.cosh"),
    sp.tanh: ("np.tanh", "math.tanh"),
    sp.asinh: ("np.arcsinh", "math.asinh"),
    sp.acosh: ("np.arccosh", "math.acosh"),
    sp.atanh: ("np.arctanh", "math.atanh"),
    sp.Abs: ("np.abs", "abs"),
    f.absolute: ("np.abs", "abs"),
    sp.sign: ("np.sign", "_sign"),
    sp.floor: ("np.floor", "math.floor"),
    sp.ceiling: ("np.ceil", "math.ceil"),
    sp.erf: ("_erf", "math.erf"),
    sp.erfc: ("_erfc", "math.erfc"),
    sp.sec: ("_sec", "_sec"),
    sp.csc: ("_csc", "_csc"),
    sp.cot: ("_cot", "_cot"),
    sp.sech: ("_sech", "_sech"),
    sp.csch: ("_csch", "_csch"),
    sp.coth: ("_coth", "_coth"),
    f.sigmoid: ("_sigmoid", "_sigmoid"),
    f.softplus: ("_softplus", "_softplus"),
    f.relu: ("_relu", "_relu"),
    f.step: ("_step", "_step"),
    f.expm1: ("np.expm1", "math.expm1"),
    f.log1p: ("np.log1p", "math.log1p"),
    g.logaddexp: ("np.logaddexp", "_logaddexp"),
    g.erf_complement: ("_erfc", "math.erfc"),
    g.hypot: ("np.hypot", "math.hypot"),
    difference: ("np.subtract", None),
}
for _kind in (g.guarded, *g.Stable.kinds()):  # a helper of the same name
    FUNCTIONS.setdefault(_kind, (f"_{_kind.__name__}", f"_{_kind.__name__}"))

_ADD, _MUL, _NEG, _POW, _ATOM = 10, 20, 25, 30, 100
POWER = _POW

Spelling = tuple[str, int]


class PythonPrinter:
    """Writes expressions. `scalar=True` writes plain floats with `math`; `names` maps symbols to what the code calls them."""

    def __init__(self, scalar: bool = False, names: Mapping[sp.Symbol, str] | None = None) -> None:
        self.scalar = scalar
        self.names = names or {}
        self.helpers: set[str] = set()
        self.loops: dict[Any, tuple[str, str, list[sp.Expr]]] = {}  # body and direction of a recurrence → its function's name, source and further arguments
        self.lead: Tensor | None = None  # the target of the update rule that is being written
        self.plain_numbers: set[sp.Symbol] = {STEP}  # tensors that the code holds as Python numbers

    # What operators ask for (see graph.operators.base.Printer).
    def plain(self, expr: sp.Basic) -> str:
        return self.spell(expr)[0]

    def atom(self, expr: sp.Basic) -> str:
        return self._bind(expr, _ATOM)

    def factor(self, expr: sp.Basic) -> str:
        return self._bind(expr, _MUL + 1)

    def helper(self, name: str) -> str:
        self.helpers.add(name)
        for other in HELPERS[name].needs:
            self.helper(other)
        return name

    def recurrence(self, scan: Scan) -> str:
        """A call of the function that runs a scan; the function is written once for all scans of the same equations."""
        key = scan.body, scan.reverse, scan.length if not scan.sequences else None
        if key not in self.loops:
            name, number = f"_{scan.body.name}_loop", 1 + sum(body.name == scan.body.name for body, *_ in self.loops)
            name = name if number == 1 else f"{name}_{number}"
            inner = PythonPrinter()
            source, more = loop_source(scan, name, inner.plain, FormulaPrinter().plain)
            self.helpers |= inner.helpers
            self.loops[key] = name, source, more
        name, _, more = self.loops[key]
        return f"{name}({', '.join(map(self.plain, (*scan.operands, *more)))})"

    def sources(self, training: bool = False) -> list[str]:
        """The functions that what was written calls: helpers, and recurrences."""
        return [*(source for _, source, _ in self.loops.values()), *helper_source(self.helpers, self.scalar, training)]

    def _bind(self, expr: sp.Basic, precedence: int) -> str:
        text, own = self.spell(expr)
        return text if own >= precedence else f"({text})"

    def spell(self, expr: sp.Basic) -> Spelling:
        """The text of an expression and how tightly it binds."""
        for kind, method in _SPELLERS:
            if isinstance(expr, kind):
                spelling: Spelling = getattr(self, method)(expr)
                return spelling
        raise UnsupportedError(f"{expr} ({type(expr).__name__}) has no form in NumPy code; write it with elementary functions")

    def _is_plain_number(self, expr: sp.Basic) -> bool:
        """Whether the code computes it from Python numbers alone. It must stay one: a NumPy scalar would widen float32."""
        if self.scalar or expr.has(Operator):  # a number repeated along an axis is an array too
            return False
        return not any(isinstance(s, Tensor) and s not in self.plain_numbers for s in expr.free_symbols)

    def _symbol(self, expr: sp.Symbol) -> Spelling:
        return self.names.get(expr, expr.name), _ATOM

    def _number(self, expr: sp.Expr) -> Spelling:
        if isinstance(expr, sp.Integer) and abs(expr.p) < 2**53:  # a larger one is no integer to NumPy
            return str(expr.p), _ATOM if expr.p >= 0 else _NEG
        if isinstance(expr, sp.Rational) and not expr.is_Integer:
            return f"{expr.p} / {expr.q}", _MUL
        if expr in (sp.oo, -sp.oo) or math.isinf(float(expr)):
            inf = "math.inf" if self.scalar else "np.inf"
            return (inf, _ATOM) if expr > 0 else (f"-{inf}", _NEG)
        if isinstance(expr, sp.NumberSymbol) and expr in (sp.pi, sp.E):
            return f"{'math' if self.scalar else 'np'}.{'pi' if expr == sp.pi else 'e'}", _ATOM
        return repr(float(expr)), _ATOM if float(expr) >= 0 else _NEG

    def _add(self, expr: sp.Add) -> Spelling:
        number, rest = common_factor(expr)
        if number != 1:
            return self.spell(sp.Mul(number, rest, evaluate=False))
        text = ""
        for term in terms(expr, self.lead):
            if text and is_negative_term(term):
                text += f" - {self._bind(-term, _ADD + 1)}"
            else:
                text += (" + " if text else "") + self._bind(term, _ADD)
        return text, _ADD

    def _mul(self, expr: sp.Mul) -> Spelling:
        mean = self._mean(expr)
        if mean is not None:
            return mean
        negative, above, below = fraction(_numbers_gathered(expr))
        sign = "-" if negative else ""
        text = " * ".join(self._bind(x, _MUL if not negative else _POW + 1) if i == 0 else self._bind(x, _MUL + 1) for i, x in enumerate(above)) or "1"
        if below:
            bottom = self._bind(below[0], _MUL + 1) if len(below) == 1 else "(" + " * ".join(self._bind(x, _MUL + 1) for x in below) + ")"
            text = f"{text} / {bottom}"
        return sign + text, _MUL

    def _mean(self, expr: sp.Mul) -> Spelling | None:
        """A sum divided by the number of its terms is a mean; NumPy has a word for it."""
        for x in expr.args:
            if isinstance(x, Einsum) and len(x.operands) == 1 and len(x.spec[1]) < len(x.spec[0][0]):
                (operand,), (letters,), out = x.operands, x.spec[0], x.spec[1]
                axes = [i for i, c in enumerate(letters) if c not in out]
                shape = shape_of(operand)
                rest = sp.Mul(*(a for a in expr.args if a is not x)) * size_of(tuple(shape[i] for i in axes))
                if out != "".join(c for c in letters if c in out) or not rest.is_number:
                    return None
                axis = "" if not out else f"axis={axes[0]}" if len(axes) == 1 else f"axis=({', '.join(map(str, axes))})"
                text = f"{self.atom(operand)}.mean({axis})"
                if rest == 1:
                    return text, _ATOM
                if rest.is_Rational and abs(rest.p) == 1:
                    return f"{'-' if rest < 0 else ''}{text} / {rest.q}", _MUL
                return f"{self._bind(rest, _MUL)} * {text}", _MUL
        return None

    def _pow(self, expr: sp.Pow) -> Spelling:
        base, exponent = expr.args
        if exponent == sp.S.Half and not self._is_plain_number(base):
            return f"{'math' if self.scalar else 'np'}.sqrt({self.plain(base)})", _ATOM
        if exponent.is_Rational and exponent.p < 0:
            return f"1 / {self._bind(base**-exponent, _MUL + 1)}", _MUL
        if self.scalar and exponent == 2 and self._bind(base, _ATOM).isidentifier():
            return f"{self._bind(base, _ATOM)} * {self._bind(base, _ATOM)}", _MUL
        if base == sp.E:
            return self.spell(sp.exp(exponent, evaluate=False))
        if self.scalar and not exponent.is_Integer:  # of a negative base, ** would make a complex number
            return f"math.pow({self.plain(base)}, {self.plain(exponent)})", _ATOM
        below = self._bind(base, _POW + 1)
        above = "0.5" if exponent == sp.S.Half else self._bind(exponent, _POW)
        sign = "**" if _SIMPLE.fullmatch(below) and _SIMPLE.fullmatch(above) else " ** "  # as formatters space it
        return f"{below}{sign}{above}", _POW

    def _function(self, expr: sp.Expr) -> Spelling:
        if isinstance(expr, sp.floor) and expr.free_symbols and all(isinstance(s, Dim) for s in expr.free_symbols):
            above, below = sp.fraction(sp.together(expr.args[0]))  # a size: it must stay an integer
            return f"{self._bind(above, _MUL)} // {self._bind(below, _MUL + 1)}", _MUL
        if isinstance(expr, sp.Mod):
            p, q = expr.args
            return (f"{self._bind(p, _MUL)} % {self._bind(q, _MUL + 1)}", _MUL) if self.scalar else (f"np.mod({self.plain(p)}, {self.plain(q)})", _ATOM)
        found = FUNCTIONS.get(expr.func)
        if found is not None:
            name = found[1] if self.scalar else found[0]
            if name is not None:
                if name.startswith("_"):
                    name = self.helper(name)
                call = f"{name}({self._arguments(expr)})"
                return f"float({call})" if self._is_plain_number(expr) else call, _ATOM
        if isinstance(expr, sp.Heaviside):
            return self._heaviside(expr)
        for rewritten in (expr.expand(func=True), expr.rewrite(sp.exp), expr.rewrite(sp.Piecewise), expr.doit()):
            if not rewritten.has(expr.func):
                return self.spell(rewritten)
        known = ", ".join(sorted(f.__name__ for f, names in FUNCTIONS.items() if f.__module__.startswith("sympy.") and names[0]))
        raise UnsupportedError(
            f"{expr.func.__name__} has no form in NumPy code; of SymPy's functions there are {known}: build it from these, "
            "or give the class an _eval_expand_func method that returns its formula"
        )

    def _arguments(self, expr: sp.Expr) -> str:
        if isinstance(expr, g.Stable):
            return ", ".join([*map(self.plain, expr.varying()), *map(repr, expr.constants())])
        return ", ".join(map(self.plain, expr.args))

    def _heaviside(self, expr: sp.Heaviside) -> Spelling:
        x, middle = expr.args
        return self.spell(sp.Piecewise((1, x > 0), (0, x < 0), (middle, True)))

    def _extremum(self, expr: sp.Expr) -> Spelling:
        name = "max" if isinstance(expr, (sp.Max, f.maximum)) else "min"
        if self.scalar or self._is_plain_number(expr):
            return f"{name}({', '.join(map(self.plain, expr.args))})", _ATOM
        text = self.plain(expr.args[0])
        for arg in expr.args[1:]:
            text = f"np.{name}imum({text}, {self.plain(arg)})"
        return text, _ATOM

    def _piecewise(self, expr: sp.Piecewise) -> Spelling:
        pieces = list(expr.args)
        last = pieces.pop() if pieces[-1][1] == True else None  # noqa: E712  (SymPy's own true)
        text = self.plain(last[0]) if last is not None else ("math.nan" if self.scalar else "np.nan")
        conditional = self.scalar or self._is_plain_number(expr)
        first = True
        typed = last is not None and _has_tensor(last[0])
        for value, condition in reversed(pieces):
            if conditional:
                text = f"{self._bind(value, 1)} if {self.plain(condition)} else {text if first else f'({text})'}"
                first = False
            else:
                text = f"np.where({self.plain(condition)}, {self.plain(value)}, {text})"
                if not (typed or _has_tensor(value)):
                    text += ".astype(DTYPE)"  # numbers alone would be float64 or integers, and widen what they meet
                typed = True
        return text, 0 if conditional else _ATOM

    def _relation(self, expr: sp.Expr) -> Spelling:
        return f"{self._bind(expr.lhs, _ADD)} {_RELATIONS[expr.rel_op]} {self._bind(expr.rhs, _ADD)}", 5

    def _boolean(self, expr: sp.Basic) -> Spelling:
        if isinstance(expr, sp.Not):
            return (f"not {self._bind(expr.args[0], 6)}", 4) if self.scalar else (f"~({self.plain(expr.args[0])})", _ATOM)
        word = {sp.And: ("and", "&"), sp.Or: ("or", "|"), sp.Xor: ("!=", "^")}[expr.func]
        return (f" {word[0 if self.scalar else 1]} ").join(f"({self.plain(a)})" for a in expr.args), 3

    def _choice(self, expr: sp.Basic) -> Spelling:
        """One of two conditions, by a third: what SymPy makes of a Piecewise inside a condition."""
        condition, yes, no = map(self.plain, expr.args)
        return (f"(({yes}) if {condition} else ({no}))" if self.scalar else f"np.where({condition}, {yes}, {no})"), _ATOM

    def _truth(self, expr: sp.Basic) -> Spelling:
        return str(bool(expr)), _ATOM

    def _operator(self, expr: Operator) -> Spelling:
        return expr.numpy_form(self), _MUL if isinstance(expr, Einsum) and expr.is_matmul else _ATOM


class FormulaPrinter(PythonPrinter):
    """Formulas for people: function names without a module."""

    def helper(self, name: str) -> str:
        return name.removeprefix("_")

    def _is_plain_number(self, expr: sp.Basic) -> bool:
        return False

    def plain(self, expr: sp.Basic) -> str:
        return super().plain(expr).replace("np.", "").replace(", dtype=DTYPE", "").replace(".astype(DTYPE)", "")


def _numbers_gathered(expr: sp.Mul) -> sp.Expr:
    """(2*y - 2*t)/2 as y - t: the numbers of a product and of the sums in it as one number."""
    if not any(isinstance(x, sp.Add) for x in expr.args) and not any(isinstance(x, sp.Rational) for x in expr.args[1:]):
        return expr
    number, rest = sp.S.One, []
    for x in expr.args:
        taken, x = (x, sp.S.One) if isinstance(x, sp.Rational) else common_factor(x) if isinstance(x, sp.Add) else (sp.S.One, x)
        number *= taken
        rest += [x] if x != 1 else []
    return sp.Mul(*([number] if number != 1 else []), *rest, evaluate=False)


def _has_tensor(expr: sp.Basic) -> bool:
    return any(isinstance(s, Tensor) for s in expr.free_symbols)


_SIMPLE = re.compile(r"-?[\w.]+")
_RELATIONS = {"<": "<", ">": ">", "<=": "<=", ">=": ">=", "==": "==", "!=": "!="}

_SPELLERS: list[tuple[Any, str]] = [
    (Operator, "_operator"),
    (sp.Symbol, "_symbol"),
    (sp.Add, "_add"),
    (sp.Mul, "_mul"),
    (sp.exp, "_function"),
    (sp.Pow, "_pow"),
    ((sp.Number, sp.NumberSymbol), "_number"),
    ((sp.Max, sp.Min, f.maximum), "_extremum"),
    (sp.Piecewise, "_piecewise"),
    (sp.core.relational.Relational, "_relation"),
    ((sp.And, sp.Or, sp.Not, sp.Xor), "_boolean"),
    (sp.ITE, "_choice"),
    ((BooleanTrue, BooleanFalse), "_truth"),
    (sp.Function, "_function"),
]
