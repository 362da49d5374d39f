"""From read expressions to SymPy ones. Every operation is made by the function that Python users call, and checked where it stands."""

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sympy as sp

from symbackprop.errors import SymbackpropError
from symbackprop.graph.operators.indexing import getitem
from symbackprop.graph.operators.products import matmul, transpose
from symbackprop.graph.shapes import Dim, Shaped, shape_of
from symbackprop.graph.tensor import Tensor
from symbackprop.text import limits, syntax
from symbackprop.text.grammar import DECIMAL
from symbackprop.text.page import Page, Token, suggestion
from symbackprop.text.vocabulary import CONSTANTS, Function, Parameter

_FLAGS = {"true": True, "True": True, "false": False, "False": False}


class Expressions:
    """Makes expressions of the names that are known so far: `tensors` and `dims` are filled by who reads the lines."""

    def __init__(self, page: Page, functions: Mapping[str, Function]) -> None:
        self.page = page
        self.functions = functions
        self.tensors: dict[str, Tensor] = {}
        self.dims: dict[str, Dim] = {}
        self.later: dict[str, int] = {}  # names that are defined somewhere, and in which line

    def __call__(self, part: syntax.Part) -> sp.Expr:
        """The expression of a part. Raises `ParseError` with the place of what is wrong."""
        match part:
            case syntax.Number():
                return self.number(part.token)
            case syntax.Name():
                return self.name(part.token)
            case syntax.Negative():
                return -self(part.operand)
            case syntax.Sum():
                terms = [-self(term) if sign is not None and sign.text == "-" else self(term) for sign, term in part.terms]
                return self.made(part.token, sp.Add, *terms)
            case syntax.Product():
                return self.product(part)
            case syntax.Power():
                return self.power(part.token, self(part.base), self(part.exponent))
            case syntax.Call():
                return self.call(part)
            case syntax.Index():
                return self.made(part.token, getitem, self(part.base), tuple(self.key(key) for key in part.keys))
            case syntax.Transposed():
                return self.made(part.token, transpose, self(part.base))
        what = "a text" if isinstance(part, syntax.Text) else "a list"
        comma = isinstance(part, syntax.Group) and len(part.items) > 1 and isinstance(part.items[-1], syntax.Number)
        raise self.page.error(f"{what} cannot stand here; expected a number, a tensor or a function of them{DECIMAL if comma else ''}", part.token)

    def made(self, at: Token, make: Callable[..., Any], *arguments: Any, **keywords: Any) -> sp.Expr:
        """The result of an operation, once its shape is known to fit."""
        try:
            made: sp.Expr = make(*arguments, **keywords)
            for inner in self.fresh(made):
                limits.check_size("a tensor" if inner is made else "a part of a layer", shape_of(inner))
        except SymbackpropError as error:
            raise self.page.located(error, at) from None
        return made

    def fresh(self, made: sp.Expr) -> Iterator[sp.Expr]:
        """What an operation made: its result, and the operators and tensors that are new inside."""
        known, stack = set(self.tensors.values()), [made]
        while stack:
            part = stack.pop()
            yield part
            if isinstance(part, Tensor):
                stack += [part.definition] if part.definition is not None and part not in known else []
            else:
                stack += [x for x in part.args if isinstance(x, Shaped) or (isinstance(x, sp.Expr) and x.args)]

    # --- numbers and names --------------------------------------------------------------------------------------------------

    def number(self, token: Token) -> sp.Expr:
        """An integer as it is, a decimal as Python's float: 0.1 is the number of float64 that is nearest."""
        made = sp.Integer(int(token.text)) if token.text.isdigit() else sp.Float(float(token.text))
        if made is sp.oo or (made == 0 and any(c in "123456789" for c in token.text.lower().partition("e")[0])):
            raise self.page.error(f"the number {token.text} is outside the range of float64, 5e-324 to 1.8e308", token)
        return made

    def name(self, token: Token) -> sp.Expr:
        name = token.text
        for known in (self.tensors, self.dims, CONSTANTS):
            if name in known:
                return known[name]
        if name in self.later:
            raise self.page.error(f"{name!r} is used before line {self.later[name]}, which defines it; move that line above this one", token)
        if name in self.functions:
            raise self.page.error(f"{name!r} is a function; expected its arguments, {name}({self.functions[name].usage})", token)
        if name == "e":
            raise self.page.error("the name 'e' is unknown; Euler's number is exp(1), its power exp(x)", token)
        hint = suggestion(name, [*self.tensors, *self.dims, *CONSTANTS]) or f"; declare it: data {name}, or weight {name}"
        raise self.page.error(f"the name {name!r} is unknown{hint}", token)

    # --- operations ---------------------------------------------------------------------------------------------------------

    def product(self, part: syntax.Product) -> sp.Expr:
        result = self(part.first)
        for sign, factor in part.rest:
            right = self(factor)
            if sign.text == "/" and right.is_zero:
                raise self.page.error(f"division by zero: {right}", sign)
            apply = {"*": operator.mul, "/": operator.truediv, "@": matmul}[sign.text]
            result = self.made(sign, apply, result, right)
        return result

    def power(self, at: Token, base: sp.Expr, exponent: sp.Expr) -> sp.Expr:
        if base.is_zero and exponent.is_negative:
            raise self.page.error("division by zero: a negative power of 0", at)
        return self.bounded(at, lambda: limits.check_power(base, exponent), operator.pow, base, exponent)

    def bounded(self, at: Token, check: Callable[[], None], make: Callable[..., Any], *arguments: Any, **keywords: Any) -> sp.Expr:
        """An operation that SymPy evaluates at once: what goes in is checked, and what comes out."""
        try:
            check()
            made = self.made(at, make, *arguments, **keywords)
            limits.check_number(made)
        except SymbackpropError as error:
            raise self.page.located(error, at) from None
        return made

    def key(self, part: syntax.Part) -> Any:
        """One index: an integer, a slice, `...`, or None for a new axis."""
        if isinstance(part, syntax.Dots):
            return Ellipsis
        if isinstance(part, syntax.Cut):
            return slice(*(None if bound is None else self.integer(bound) for bound in part.bounds))
        if isinstance(part, syntax.Name) and part.token.text == "None":
            return None
        return self.integer(part, "; positions that are data are read by take(x, positions)")

    def integer(self, part: syntax.Part, hint: str = ", written as one number") -> int:
        if isinstance(part, syntax.Number) and part.token.text.isdigit():
            return int(part.token.text)
        if isinstance(part, syntax.Negative):
            return -self.integer(part.operand, hint)
        raise self.page.error(f"expected an integer{hint}", part.token)

    # --- calls --------------------------------------------------------------------------------------------------------------

    def call(self, part: syntax.Call) -> sp.Expr:
        name = part.token.text
        if name not in self.functions:
            if name in self.tensors or name in self.dims:
                raise self.page.error(f"{name!r} is not a function; write {name}*(...) for a product", part.token)
            hint = suggestion(name, self.functions) or "; expected one such as tanh, exp, sum, softmax or mse"
            raise self.page.error(f"the function {name!r} is unknown{hint}", part.token)
        function = self.functions[name]
        positional: list[Any] = []
        keywords: dict[str, Any] = {}
        for parameter, argument, at in self.bind(function, part):
            value = self.argument(parameter, argument, at, name)
            if parameter.many or (parameter.required and not keywords):
                positional.append(value)
            else:
                keywords[parameter.name] = value
        check = (lambda: limits.check_power(sp.E, positional[0])) if function.apply is sp.exp else (lambda: None)
        return self.bounded(part.token, check, function.apply, *positional, **keywords)

    def bind(self, function: Function, part: syntax.Call) -> list[tuple[Parameter, syntax.Part, Token]]:
        """Each argument with its parameter, in the order of the parameters."""
        name, usage = part.token.text, f"{part.token.text}({function.usage})"
        parameters = list(function.parameters)
        bound: list[tuple[Parameter, syntax.Part, Token]] = []
        for argument in part.arguments:
            if not parameters:
                count = "1 argument" if len(function.parameters) == 1 else f"{len(function.parameters)} arguments"
                raise self.page.error(f"{name} takes {count}, {usage}; found {len(part.arguments)}", argument.token)
            bound.append((parameters[0], argument, argument.token))
            if not parameters[0].many:
                parameters.pop(0)
        for keyword, argument in part.keywords:
            parameter = next((p for p in parameters if p.name == keyword.text and not p.many), None)
            if parameter is None:
                given = any(p.name == keyword.text for p in function.parameters)
                hint = "is given twice" if given else "is unknown" + suggestion(keyword.text, [p.name for p in parameters])
                raise self.page.error(f"the argument {keyword.text!r} of {usage} {hint}", keyword)
            parameters.remove(parameter)
            bound.append((parameter, argument, argument.token))
        missing = [p.name for p in parameters if p.required]
        if missing:
            raise self.page.error(f"{usage} lacks the argument {missing[0]!r}", part.token)
        return bound

    def argument(self, parameter: Parameter, part: syntax.Part, at: Token, function: str) -> Any:
        """An argument as its parameter reads it."""
        where = f"the argument {parameter.name!r} of {function}"
        word = part.text if isinstance(part, syntax.Text) else at.text if isinstance(part, syntax.Name) else None
        items = part.items if isinstance(part, syntax.Group) else (part,)
        match parameter.kind:
            case "expression":
                return self(part)
            case "group":
                if not isinstance(part, syntax.Group):
                    raise self.page.error(f"{where} is a list of tensors, such as [a, b]", at)
                return [self(item) for item in items]
            case "axis" | "axes" if word == "None":
                return None
            case "axis" if not isinstance(part, syntax.Group):
                return self.axis(part, where, function)
            case "axis" | "axes":
                return tuple(self.axis(item, where, function) for item in items)
            case "shape":
                return tuple(self.size(item, where) for item in items)
            case "size":
                return self.size(part, where)
            case "integer":
                return self.integer(part)
            case "number":
                value = self(part)
                if not value.is_number:
                    raise self.page.error(f"{where} is a number", at)
                return float(value)
            case "padding" if word is not None:
                return word
            case "numbers" | "padding":
                return self.numbers(part)
        if word is None or (parameter.kind == "flag" and word not in _FLAGS) or (parameter.kind == "text" and not isinstance(part, syntax.Text)):
            expected = {"flag": "true or false", "text": 'a text in quotes, such as "ij,jk->ik"', "word": "a name"}[parameter.kind]
            raise self.page.error(f"{where} is {expected}", at)
        return _FLAGS[word] if parameter.kind == "flag" else word

    def numbers(self, part: syntax.Part) -> Any:
        """An integer, or a tuple of them, or of tuples."""
        return tuple(map(self.numbers, part.items)) if isinstance(part, syntax.Group) else self.integer(part)

    def axis(self, part: syntax.Part, where: str, function: str) -> int:
        if isinstance(part, (syntax.Number, syntax.Negative)):
            return self.integer(part)
        hint = f"; the larger of two tensors is {function}imum(a, b)" if function in ("max", "min") else ""
        raise self.page.error(f"{where} is an integer{hint}", part.token)

    def size(self, part: syntax.Part, where: str) -> Any:
        if isinstance(part, syntax.Name):
            if part.token.text not in self.dims:
                raise self.page.error(f"{where} is an integer or a dimension of the data{suggestion(part.token.text, self.dims)}", part.token)
            return self.dims[part.token.text]
        size = self.integer(part)
        if size < 0 and "shape" not in where:
            raise self.page.error(f"{where} is {size}; expected a positive integer", part.token)
        return size

