"""The grammar, all of it. A recursive-descent reader with one word to look ahead:

    text        = { statement newline }
    statement   = "data" entry { "," entry } | "weight" entry { "," entry }
                | name "=" sum | "loss" [ [ name ] "=" ] sum | "output" [ [ name ] "=" ] sum
    entry       = name [ "[" size { "," size } "]" ] [ "=" ( sum | columns ) ]
    columns     = ( "column" | "columns" ) "(" text [ ":" text ] { "," text [ ":" text ] } ")"
    sum         = product { ( "+" | "-" ) product }
    product     = signed { ( "*" | "/" | "@" ) signed }
    signed      = { "-" | "+" } power                             so that -x^2 is -(x^2), as in Python
    power       = postfix [ ( "^" | "**" ) signed ]               so that a^b^c is a^(b^c)
    postfix     = atom { "[" key { "," key } "]" | ".T" }
    key         = "..." | sum | [ sum ] ":" [ sum ] [ ":" [ sum ] ]
    atom        = number | text | name [ "(" [ argument { "," argument } ] ")" ] | "(" sum { "," sum } ")" | "[" sum { "," sum } "]"
    argument    = [ name "=" ] sum

Depth and length are bounded, so that no text can exhaust the stack or the patience of what comes after.
"""

from collections.abc import Callable, Iterator
from keyword import iskeyword
from typing import NoReturn, TypeVar

from symbackprop.text import syntax
from symbackprop.text.page import Page, Token, suggestion
from symbackprop.text.tokens import tokens

DEPTH = 50  # brackets and powers inside each other
OPERATIONS = 1000  # operators and calls in one statement
STATEMENTS = 2000  # and declared names
DECIMAL = "; a decimal number has a point, as in 1.5"
KEYWORDS = ("data", "weight", "loss", "output")

T = TypeVar("T")


def statements(page: Page) -> Iterator[syntax.Statement]:
    """The statements of a text, in order. Raises `ParseError` at the first word that does not follow the grammar."""
    return _Reader(page).statements()


class _Reader:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.words = tokens(page)
        self.next = next(self.words)
        self.before = self.next
        self.depth = 0
        self.operations = 0
        self.names = 0
        self.open: list[Token] = []
        self.comma = False  # whether the last list of items ended with a comma: (x,) is a group, (x) is x

    # --- words ------------------------------------------------------------------------------------------------------------

    def advance(self) -> Token:
        self.before = self.next
        if self.next.kind != "end":
            self.next = next(self.words)
        return self.before

    def sees(self, *texts: str) -> bool:
        return self.next.kind == "operator" and self.next.text in texts

    def accept(self, *texts: str) -> Token | None:
        return self.advance() if self.sees(*texts) else None

    def expect(self, text: str, more: str = "") -> Token:
        return self.accept(text) or self.fail(f"{text!r}{more}")

    def fail(self, expected: str) -> NoReturn:
        """Refuse the next word: what was found, what was expected, and which bracket is still open."""
        word = self.next
        found = {"newline": "the line ends", "end": "the text ends"}.get(word.kind) or f"found {word.text!r}"
        hint = ""
        if {self.before.kind, word.kind} == {"number", "operator"} and "," in (self.before.text, word.text):
            hint = DECIMAL
        elif self.open and word.kind != "newline":
            bracket = self.open[-1]
            hint = f"; {bracket.text!r} of line {bracket.line}, column {bracket.column} is still open"
        elif {self.before.kind, word.kind} <= {"name", "number"} and not iskeyword(self.before.text):
            hint = f"; write {self.before.text}*{word.text} for a product"
        raise self.page.error(f"{found}, expected {expected}{hint}", word)

    def name(self, what: str) -> Token:
        return self.advance() if self.next.kind == "name" else self.fail(what)

    def separated(self, item: Callable[[], T], close: str) -> tuple[T, ...]:
        """Items with commas between them, and perhaps one behind the last, up to the closing bracket."""
        self.open.append(self.before)
        items = []
        self.comma = False
        while not self.sees(close):
            items.append(item())
            self.comma = self.accept(",") is not None
            if not self.comma:
                break
        self.expect(close, " or ','" if items else "")
        self.open.pop()
        return tuple(items)

    # --- statements -------------------------------------------------------------------------------------------------------

    def statements(self) -> Iterator[syntax.Statement]:
        while self.next.kind != "end":
            if self.next.kind == "newline":
                self.advance()
                continue
            self.operations = 0
            yield self.statement()
            if self.next.kind not in ("newline", "end"):
                self.fail("an operator or the end of the line")

    def statement(self) -> syntax.Statement:
        self.named()
        word = self.name("a name: an equation such as 'y = w*x', or one of data, weight, loss, output")
        if word.text in ("data", "weight"):
            items = [self.entry(word)]
            while self.accept(","):
                items.append(self.entry(word))
            return syntax.Declaration(word.text, tuple(items))
        if word.text in ("loss", "output"):
            return self.marked(word)
        if self.accept("="):
            return syntax.Definition("node", word, word, self.sum())
        if self.next.kind == "name":
            hint = suggestion(word.text, KEYWORDS) or "; expected data, weight, loss, output or an equation such as 'y = w*x'"
            raise self.page.error(f"a line cannot begin with {word.text!r} {self.next.text!r}{hint}", word)
        if self.sees("[", "(", "."):
            raise self.page.error(f"only a name can be defined, not a part of it or its value; expected '=' after {word.text!r}", self.next)
        self.fail(f"'=' after {word.text!r}")

    def named(self) -> None:
        self.names += 1
        if self.names > STATEMENTS:
            raise self.page.error(f"more than {STATEMENTS} lines and names; build a network of this size in Python", self.next)

    def marked(self, word: Token) -> syntax.Definition:
        """`loss C = ...`, `loss = ...`, `loss C` or `loss mse(y, t)`; the same for the output."""
        if self.accept("="):
            return syntax.Definition(word.text, word, word, self.sum())
        if self.next.kind in ("newline", "end"):
            self.fail(f"a name or an expression after {word.text!r}, such as '{word.text} {'C = (y - t)^2' if word.text == 'loss' else 'y'}'")
        expression = self.sum()
        if isinstance(expression, syntax.Name) and self.accept("="):
            return syntax.Definition(word.text, word, expression.token, self.sum())
        return syntax.Definition(word.text, word, None, expression)

    def entry(self, role: Token) -> syntax.Declared:
        self.named()
        name = self.name(f"a name after {self.before.text!r}")
        shape = self.separated(self.size, "]") if self.accept("[") else ()
        if not self.accept("="):
            if self.next.kind == "name":
                self.fail(f"',' between the names of a line {role.text!r}")
            return syntax.Declared(name, shape)
        if role.text == "weight":
            return syntax.Declared(name, shape, init=self.sum())
        if self.next.kind != "name" or self.next.text not in ("column", "columns"):
            raise self.page.error(f"data are fed at run time; expected column(\"...\") or columns(\"...\", \"...\") after {name.text + ' ='!r}", self.next)
        return syntax.Declared(name, shape, columns=self.columns())

    def size(self) -> Token:
        if self.next.kind in ("number", "name"):
            return self.advance()
        self.fail("a size: an integer or the name of a dimension, such as n")

    def columns(self) -> syntax.Columns:
        word = self.advance()
        self.expect("(", f" after {word.text!r}")
        found = self.separated(self.column, ")")
        if not found or (word.text == "column" and (len(found) > 1 or isinstance(found[0], tuple))):
            expected = "one name" if word.text == "column" else "at least one name"
            raise self.page.error(f"{word.text} needs {expected}, in quotes; several go into columns(...)", word)
        return found

    def column(self) -> str | tuple[str, str]:
        first = self.quoted()
        return (first, self.quoted()) if self.accept(":") else first

    def quoted(self) -> str:
        if self.next.kind != "string":
            self.fail("the name of a column in quotes")
        return self.advance().text[1:-1]

    # --- expressions --------------------------------------------------------------------------------------------------------

    def count(self) -> None:
        self.operations += 1
        if self.operations > OPERATIONS:
            raise self.page.error(f"more than {OPERATIONS} operations in one statement; name a part of it on its own line", self.before)

    def bound(self, depth: int) -> None:
        if depth > DEPTH:
            raise self.page.error(f"more than {DEPTH} brackets or powers inside each other; name a part of it on its own line", self.next)

    def sum(self) -> syntax.Part:
        first = self.product()
        if not self.sees("+", "-"):
            return first
        terms: list[tuple[Token | None, syntax.Part]] = [(None, first)]
        while sign := self.accept("+", "-"):
            self.count()
            terms.append((sign, self.product()))
        return syntax.Sum(terms[1][0] or first.token, tuple(terms))

    def product(self) -> syntax.Part:
        first = self.signed()
        if not self.sees("*", "/", "@"):
            return first
        rest = []
        while sign := self.accept("*", "/", "@"):
            self.count()
            rest.append((sign, self.signed()))
        return syntax.Product(rest[0][0], first, tuple(rest))

    def signed(self) -> syntax.Part:
        negative: Token | None = None
        start = self.next
        while sign := self.accept("-", "+"):
            self.count()
            if sign.text == "-":
                negative = None if negative else start
        operand = self.power()
        return syntax.Negative(negative, operand) if negative else operand

    def power(self) -> syntax.Part:
        self.depth += 1
        self.bound(self.depth)
        base = self.postfix()
        if sign := self.accept("^", "**"):
            self.count()
            base = syntax.Power(sign, base, self.signed())
        self.depth -= 1
        return base

    def postfix(self) -> syntax.Part:
        part = self.atom()
        steps = 0
        while self.sees("[", "."):
            steps += 1
            self.bound(self.depth + steps)
            sign = self.advance()
            if sign.text == "[":
                part = syntax.Index(sign, part, self.separated(self.key, "]"))
                continue
            attribute = self.name("T, for the transpose")
            if attribute.text != "T":
                raise self.page.error(f"the only attribute is .T, the transpose; found .{attribute.text}", attribute)
            part = syntax.Transposed(attribute, part)
        return part

    def key(self) -> syntax.Part:
        if dots := self.accept("..."):
            return syntax.Dots(dots)
        start = self.next
        if not self.sees(":"):
            first = self.sum()
            if not self.sees(":"):
                return first
        else:
            first = None
        bounds = [first]
        while len(bounds) < 3 and self.accept(":"):
            bounds.append(None if self.sees(":", ",", "]") else self.sum())
        bounds += [None] * (3 - len(bounds))
        return syntax.Cut(start, (bounds[0], bounds[1], bounds[2]))

    def atom(self) -> syntax.Part:
        word = self.next
        if word.kind == "number":
            return syntax.Number(self.advance())
        if word.kind == "string":
            return syntax.Text(self.advance())
        if word.kind == "name":
            self.advance()
            return self.call(word) if self.accept("(") else syntax.Name(word)
        if bracket := self.accept("(", "["):
            items = self.separated(self.sum, ")" if bracket.text == "(" else "]")
            return items[0] if bracket.text == "(" and len(items) == 1 and not self.comma else syntax.Group(bracket, items)
        self.fail("a number, a name or '('")

    def call(self, word: Token) -> syntax.Call:
        self.count()
        arguments: list[syntax.Part] = []
        keywords: list[tuple[Token, syntax.Part]] = []

        def argument() -> None:
            value = self.sum()
            if isinstance(value, syntax.Name) and self.accept("="):
                keywords.append((value.token, self.sum()))
            elif keywords:
                raise self.page.error("an argument without a name stands behind one with a name; put it first", value.token)
            else:
                arguments.append(value)

        self.separated(argument, ")")
        return syntax.Call(word, tuple(arguments), tuple(keywords))
