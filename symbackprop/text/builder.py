"""From the lines of a text form to tensors and equations, in order, with every name checked where it is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from symbackprop.errors import SymbackpropError
from symbackprop.graph.equations import System
from symbackprop.graph.initial import INITIALIZERS
from symbackprop.graph.names import check_name
from symbackprop.graph.shapes import Dim
from symbackprop.graph.tensor import Tensor, data, node, weight
from symbackprop.text import limits, syntax
from symbackprop.text.expressions import Expressions
from symbackprop.text.grammar import KEYWORDS, statements
from symbackprop.text.page import Page, Token, skeleton, suggestion
from symbackprop.text.vocabulary import CONSTANTS, Function

LONGEST = 100_000  # characters; a text of this length is no blackboard


@dataclass(frozen=True)
class Source:
    """What a text form says: the loss, the output (or None), and for data the columns of a table that they are read from."""

    loss: Tensor
    output: Tensor | None
    columns: Mapping[str, syntax.Columns] = field(default_factory=dict)


def read(text: str, functions: Mapping[str, Function], file: str = "") -> Source:
    """Read a text form, in which `functions` may be called. Raises `ParseError` at the first mistake."""
    text = text.removeprefix("\N{BYTE ORDER MARK}").replace("\r\n", "\n").replace("\r", "\n")
    page = Page(text[:LONGEST], file)
    start = Token("end", "", 1, 1)
    if len(text) > LONGEST:
        raise page.error(f"the text has {len(text)} characters; expected at most {LONGEST}", start)
    return _Builder(page, functions).source(list(statements(page)))


class _Builder:
    def __init__(self, page: Page, functions: Mapping[str, Function]) -> None:
        self.page = page
        self.expressions = Expressions(page, functions)
        self.places: dict[str, Token] = {}  # name → where it was given
        self.looks: dict[str, str] = {}  # what a name looks like → the name
        self.degrees: dict[Any, tuple[int, bool]] = {}
        self.entries = 0  # of all data and weights so far
        self.columns: dict[str, syntax.Columns] = {}
        self.marked: dict[str, tuple[Token, Any]] = {}  # "loss", "output" → its line and its tensor, or the word that names it

    def source(self, lines: list[syntax.Statement]) -> Source:
        """Everything that the lines say. Raises `ParseError` for what is missing, too."""
        for line in lines:
            if isinstance(line, syntax.Definition) and line.name is not None:
                self.expressions.later.setdefault(line.name.text, line.name.line)
            elif isinstance(line, syntax.Declaration):
                for item in line.items:
                    self.expressions.later.setdefault(item.name.text, item.name.line)
        for line in lines:
            if isinstance(line, syntax.Declaration):
                for item in line.items:
                    self.declare(line.role, item)
            else:
                self.define(line)
        if "loss" not in self.marked:
            what = "no loss is given" if lines else "the text is empty: no loss is given"
            raise self.page.error(f"{what}; expected a line such as 'loss C = (y - t)^2/2'", Token("end", "", len(self.page.lines), 1))
        loss, output = self.resolved("loss"), self.resolved("output") if "output" in self.marked else None
        self.check(loss, output)
        return Source(loss, output, self.columns)

    # --- lines --------------------------------------------------------------------------------------------------------------

    def take_name(self, token: Token, what: str, keyword: bool = False) -> str:
        """A name that is new, and can be told from all others."""
        name = token.text
        try:
            check_name(name, what)
        except SymbackpropError as error:
            raise self.page.located(error, token) from None
        if name in self.places:
            raise self.page.error(f"the name {name!r} is given twice; line {self.places[name].line} has it already", token)
        if name in self.expressions.functions or name in CONSTANTS or (name in KEYWORDS and not keyword):
            raise self.page.error(f"the name {name!r} belongs to the text form; choose another, such as {name + '_1'!r}", token)
        twin = self.looks.setdefault(skeleton(name), name)
        if twin != name:
            raise self.page.error(f"the name {name!r} cannot be told from another{suggestion(name, [twin])}", token)
        self.places[name] = token
        return name

    def declare(self, role: str, item: syntax.Declared) -> None:
        name = self.take_name(item.name, role)
        shape = tuple(self.size(role, token) for token in item.shape)
        try:
            limits.check_size(f"{role} {name!r}", shape)
            self.entries += limits.entries(shape)
            limits.check_total(self.entries)
            made = data(name, shape) if role == "data" else weight(name, shape, self.initial(item, shape))
        except SymbackpropError as error:
            raise self.page.located(error, item.name) from None
        self.expressions.tensors[name] = made
        if item.columns:
            self.columns[name] = item.columns

    def size(self, role: str, token: Token) -> Any:
        if token.kind == "number":
            if not token.text.isdigit():
                raise self.page.error(f"the size {token.text} is not an integer", token)
            if int(token.text) == 0:
                raise self.page.error("a size is at least 1", token)
            return int(token.text)
        if role == "weight":
            raise self.page.error(f"a weight's sizes are integers, since it is learnt once for every batch; found {token.text!r}", token)
        if token.text in self.places and token.text not in self.expressions.dims:
            raise self.page.error(f"{token.text!r} is a tensor of line {self.places[token.text].line}; expected an integer or the name of a dimension", token)
        if token.text not in self.expressions.dims:
            name = self.take_name(token, "dimension")
            self.expressions.dims[name] = Dim(name)
        return self.expressions.dims[token.text]

    def initial(self, item: syntax.Declared, shape: tuple[int, ...]) -> Any:
        """The initial value of a weight: a number, a nested list of numbers, or the name of an initializer."""
        part = item.init
        if part is None:
            return None
        if isinstance(part, (syntax.Name, syntax.Text)):
            word = part.text if isinstance(part, syntax.Text) else part.token.text
            if word in INITIALIZERS:
                return word
            if word not in CONSTANTS:
                hint = suggestion(word, INITIALIZERS) or f"; expected one of {', '.join(INITIALIZERS)}"
                raise self.page.error(f"the initializer {word!r} is unknown{hint}", part.token)
        if not isinstance(part, syntax.Group):
            return self.constant(part)
        values, found = self.nested(part)
        if found != shape:
            raise self.page.error(f"weight {item.name.text!r} has shape {shape}, but its initial value has shape {found}", part.token)
        import numpy as np  # here, because most texts hold no arrays

        return np.array(values, dtype=float).reshape(shape)

    def nested(self, part: syntax.Part) -> tuple[Any, tuple[int, ...]]:
        """Nested lists of numbers, and their shape."""
        if not isinstance(part, syntax.Group):
            return self.constant(part), ()
        found = [self.nested(item) for item in part.items]
        shapes = [shape for _, shape in found]
        odd = next((item for item, shape in zip(part.items, shapes, strict=True) if shape != shapes[0]), None)
        if odd is not None:
            raise self.page.error("the rows of an initial value differ in length; give each as many numbers as the first", odd.token)
        return [value for value, _ in found], (len(found), *(shapes[0] if shapes else ()))

    def constant(self, part: syntax.Part) -> int | float:
        made = self.expressions(part)
        if not made.is_number:
            raise self.page.error("an initial value is a number, a list of numbers or the name of an initializer", part.token)
        try:
            limits.check_number(made)
        except SymbackpropError as error:
            raise self.page.located(error, part.token) from None
        return int(made) if made.is_Integer else float(made)

    def define(self, line: syntax.Definition) -> None:
        if line.role != "node" and line.role in self.marked:
            first = self.marked[line.role][0]
            raise self.page.error(f"the {line.role} is given twice; line {first.line} gives it already", line.keyword)
        if line.role != "node" and line.name is None and isinstance(line.expression, syntax.Name):
            self.marked[line.role] = line.keyword, line.expression.token
            return
        token = line.name or line.keyword
        expression = self.expressions(line.expression)
        name = self.take_name(token, "node", keyword=token is line.keyword)
        try:
            limits.check_number(expression)
            made = node(name, expression)
            self.degrees[made] = limits.degree(expression, self.degrees)
        except SymbackpropError as error:
            raise self.page.located(error, token) from None
        self.expressions.tensors[name] = made
        if line.role != "node":
            self.marked[line.role] = line.keyword, made

    # --- the whole ----------------------------------------------------------------------------------------------------------

    def resolved(self, role: str) -> Tensor:
        """The loss or the output; `output y` may stand above the line that defines y."""
        _, found = self.marked[role]
        if isinstance(found, Tensor):
            return found
        made = self.expressions.name(found)
        if not isinstance(made, Tensor):
            raise self.page.error(f"the {role} is {found.text!r}; expected the name of an equation", found)
        return made

    def check(self, loss: Tensor, output: Tensor | None) -> None:
        """What only the whole network shows: the shape of the loss, clashing names, weights that nothing depends on."""
        at = self.marked["loss"][0]
        if loss.definition is None:
            raise self.page.error(f"the loss is the {loss.role} {loss.name!r}; expected an equation, such as 'loss C = {loss.name}^2'", at)
        try:
            system = System.of(loss, output)
        except SymbackpropError as error:
            raise self.page.located(error, at) from None
        used = set(system.weights)
        for name, tensor in self.expressions.tensors.items():
            if tensor.role == "weight" and tensor not in used:
                raise self.page.error(f"the weight {name!r} is never used: the loss does not depend on it; remove it or use it", self.places[name])
