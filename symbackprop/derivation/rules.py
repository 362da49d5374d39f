r"""The rules that justify a step, in words: which derivative of which function, which operator's pullback, which simplification."""

from functools import lru_cache
from typing import Any

import sympy as sp

from symbackprop.calculus.elementwise import partial, regions
from symbackprop.calculus.evaluate import without_partials
from symbackprop.calculus.simplify import tidy
from symbackprop.errors import UnsupportedError
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.layout import Reshape
from symbackprop.graph.shapes import postorder, rank_of, shape_of
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.printer import TensorLatex

ORDERED = "factors written from the input to the loss"
_VARIABLE = sp.Symbol("u", real=True)


def derivative_rules(expr: sp.Expr, x: Tensor, whole: bool = False) -> list[str]:
    """The rules by which `expr` is differentiated in `x`, from the outside in, each once. `whole`: tensors at once, so that the
    pullbacks of operators are stated."""
    needed = {part for part in postorder(expr) if x in part.free_symbols}
    unseen = _unseen(expr)
    found: list[str] = []
    stack: list[sp.Basic] = [expr]
    while stack:
        part = stack.pop()
        inner = [a for a in part.args if a in needed]
        rule = pullback_rule(part, inner[0]) if whole and isinstance(part, Operator) and len(inner) == 1 else _rule(part, x, inner)
        if rule and rule not in found and part not in unseen:
            found.append(rule)
        stack.extend(reversed(inner))
    if not found and expr == x:
        found.append("identity")
    return found


def _rule(part: sp.Basic, x: Tensor, inner: list[Any]) -> str:
    if isinstance(part, Operator):
        return f"pullback of {part.title}"
    if isinstance(part, sp.Add):
        return "sum rule"
    if isinstance(part, sp.Mul):
        return "product rule" if len(inner) > 1 else "constant factor"
    if isinstance(part, sp.exp) or (isinstance(part, sp.Pow) and part.base not in inner):
        return "derivative of the exponential function"
    if isinstance(part, sp.Pow):
        return "power rule" if part.exp not in inner else "derivative of a power with a variable exponent"
    if isinstance(part, sp.Piecewise):
        return "case by case"
    if isinstance(part, sp.Function) and len(part.args) == 1:
        return function_rule(part.func)
    return f"derivative of {type(part).__name__}" if isinstance(part, sp.Function) else ""


def _unseen(expr: sp.Expr) -> set[sp.Basic]:
    """The operators in an expression that its formula has no sign for: unit axes, and what is a convolution together with what it stands in."""
    inside: set[sp.Basic] = {part for part in expr.atoms(Reshape) if part.moves_unit_axes() and part is not expr}
    return inside.union(*(set(part.operands) - set(part.convolved.operands) for part in expr.atoms(Operator) if part.convolved))


def whole_rule(expr: sp.Expr) -> str:
    r"""How an expression is written for whole tensors: of a convolution the shapes, `$(n \times 1 \times 8 \times 8) \star ... \to ...$`."""
    found = [part for part in postorder(expr) if isinstance(part, Operator) and part.convolved]
    return f"for whole tensors: {join([f'{part.title}, ${_shapes(part)}$' for part in found])}" if found else "in matrix notation"


def _shapes(operator: Operator) -> str:
    assert operator.convolved is not None
    printer = TensorLatex()
    left, right, out = (
        r" \times ".join(printer.plain(sp.sympify(size, strict=True)) for size in shape_of(x)) for x in (*operator.convolved.operands, operator)
    )
    return rf"({left}) {operator.convolved.sign} ({right}) \to {out}"


def pullback_rule(operator: Operator, operand: sp.Expr) -> str:
    r"""`pullback of the matrix product: for $Y = U V$, $\bar{V} = U^{\top} \bar{Y}$`, from the operator's own pullback. A bar is the adjoint."""
    name = f"pullback of {operator.title}"
    if operator.convolved:
        return f"{name}: {_convolution_pullback(operator, operand)}"
    if max(map(rank_of, (operator, *operator.operands))) > 2 or len(operator.operands) > 3:
        return name
    letters = [Tensor(letter, shape_of(x), "data") for letter, x in zip("UVW", operator.operands, strict=False)]
    generic = operator.func(*operator.parameters, *letters)
    y, adjoint = Tensor("Y", generic.shape, "data"), Tensor("Ybar", generic.shape, "data")
    place = operator.operands.index(operand)
    back = generic.pullback(adjoint)[place]
    if back is None:
        return name
    printer = TensorLatex()
    bar = printer.plain(Tensor(f"{letters[place].name}bar", letters[place].shape, "data"))
    return f"{name}: for $Y = {printer.plain(generic)}$, ${bar} = {printer.plain(tidy(back.xreplace({generic: y})))}$"


def _convolution_pullback(operator: Operator, operand: sp.Expr) -> str:
    r"""`for $Y = U \star V$, $\bar{V} = U \star \bar{Y}$`, with the operators' own pullbacks, one after the other where the operand stands inside."""
    assert operator.convolved is not None
    table = {x: Tensor(letter, shape_of(x), "data") for letter, x in zip("UV", operator.convolved.operands, strict=True)}
    generic: Any = operator.xreplace(table)
    y, adjoint = Tensor("Y", generic.shape, "data"), Tensor("Ybar", generic.shape, "data")
    back: Any = adjoint
    wanted: Any = operand.xreplace(table)
    for part in (generic, wanted):
        if isinstance(part, Operator):
            place = part.operands.index(wanted) if part is generic else 0
            back = part.pullback(back)[place]
            wanted = part.operands[place]
    printer = TensorLatex()
    bar = printer.plain(Tensor(f"{wanted}bar", wanted.shape, "data"))
    return f"for $Y = {printer.plain(generic)}$, ${bar} = {printer.plain(tidy(back.xreplace({generic: y})))}$"


@lru_cache(maxsize=256)
def function_rule(function: Any) -> str:
    r"""`derivative of tanh, $\tanh'(u) = 1 - \tanh^{2}(u)$`."""
    printer = TensorLatex()
    value = function(_VARIABLE)
    try:
        derivative = partial(value, _VARIABLE, "")
    except UnsupportedError:
        return f"derivative of {function.__name__}"
    text = printer.plain(value)
    name, _, rest = text.partition("(")
    left = f"{name}'({rest}" if rest == "u)" else rf"\frac{{d}}{{du}} {printer.atom(value)}"
    return f"derivative of {function.__name__}, ${left} = {printer.plain(derivative)}$"


def forward_rule(t: Tensor) -> str:
    """What an equation of the network does, in words."""
    assert t.definition is not None
    unseen = _unseen(t.definition)
    parts = [part for part in postorder(t.definition) if part.args and part not in unseen]
    words: list[str] = []
    for part in parts:
        word = part.title.removeprefix("the ") if isinstance(part, Operator) else _function_word(part)
        if word and word not in words:
            words.append(word)
    if not words:
        linear = all(isinstance(p, (sp.Add, sp.Mul)) for p in parts)
        return "a weighted sum" if linear and any(isinstance(p, sp.Add) for p in parts) else "a product" if linear and parts else "elementary arithmetic"
    return join(words)


_WORDS = {"Piecewise": "case by case", "Max": "maximum", "Min": "minimum", "Abs": "absolute value"}


def _function_word(part: sp.Basic) -> str:
    name = type(part).__name__
    return _WORDS.get(name, name) if isinstance(part, sp.Function) else ""


def broadcast_rule(y: Tensor, x: Tensor) -> str:
    """Where x is repeated along axes of y, its derivative is summed over them."""
    assert y.definition is not None
    if 0 < x.rank < y.rank and x in regions(y.definition)[0].free_symbols:
        sizes = ", ".join(f"${s}$" for s in y.shape[: y.rank - x.rank])
        return f"${TensorLatex().plain(x)}$ is repeated along the axis of size {sizes}, so the derivative is summed over it"
    return ""


def simplification(before: sp.Expr, after: sp.Expr) -> str:
    """The name of what happened between a product of evaluated factors and its final form."""
    plain = without_partials(before)
    if found := recognised(before, after):
        return f"this is {join([f'${TensorLatex().plain(t)}$' for t in found])}, by definition"
    if plain == after:
        return ORDERED if not rank_of(after) else "the same, in order"
    if _reciprocals(after) < _reciprocals(plain):
        return "common factors cancel"
    if _numbers(after) != _numbers(plain):
        return "numbers collected"
    return "terms collected"


def recognised(before: sp.Expr, after: sp.Expr) -> list[Tensor]:
    """The nodes whose names stand in the final form and did not before."""
    known = {t.name for t in before.atoms(Tensor)}
    return sorted((t for t in after.atoms(Tensor) if t.role == "node" and t.name not in known), key=lambda t: t.order)


def _reciprocals(expr: sp.Expr) -> int:
    return sum(1 for p in sp.preorder_traversal(expr) if isinstance(p, sp.Pow) and p.exp.is_negative)


def _numbers(expr: sp.Expr) -> list[Any]:
    return sorted((p for p in sp.preorder_traversal(expr) if isinstance(p, sp.Rational)), key=float)


def join(words: list[str]) -> str:
    """a; a and b; a, b and c. Words that hold commas of their own are set apart by semicolons."""
    if len(words) < 3:
        return " and ".join(words)
    comma = "; " if any("," in word for word in words) else ", "
    return f"{comma.join(words[:-1])}{';' if comma == '; ' else ''} and {words[-1]}"


__all__ = ["ORDERED", "broadcast_rule", "derivative_rules", "forward_rule", "function_rule", "join", "recognised", "simplification", "whole_rule"]
