"""What a text form consists of, once read: statements of expressions, each with its place. Nothing here computes."""

from dataclasses import dataclass

from symbackprop.text.page import Token


@dataclass(frozen=True, slots=True)
class Part:
    """An expression; `token` is the word that stands for it in messages."""

    token: Token


class Number(Part):
    """2, 0.5, 1e-3."""

    __slots__ = ()


class Name(Part):
    """A tensor, a dimension, a constant."""

    __slots__ = ()


class Text(Part):
    """"ij,jk->ik"."""

    __slots__ = ()

    @property
    def text(self) -> str:
        return self.token.text[1:-1]


class Dots(Part):
    """`...` of an index."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Negative(Part):
    """-x."""

    operand: Part


@dataclass(frozen=True, slots=True)
class Sum(Part):
    """Terms, each with the sign before it."""

    terms: tuple[tuple[Token | None, Part], ...]


@dataclass(frozen=True, slots=True)
class Product(Part):
    """A factor, and further ones with `*`, `/` or `@` before each, from left to right."""

    first: Part
    rest: tuple[tuple[Token, Part], ...]


@dataclass(frozen=True, slots=True)
class Power(Part):
    """base^exponent."""

    base: Part
    exponent: Part


@dataclass(frozen=True, slots=True)
class Call(Part):
    """name(arguments, keyword=argument)."""

    arguments: tuple[Part, ...]
    keywords: tuple[tuple[Token, Part], ...]


@dataclass(frozen=True, slots=True)
class Group(Part):
    """(a, b) or [a, b]."""

    items: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cut(Part):
    """start:stop:step of an index; each may be left out."""

    bounds: tuple[Part | None, Part | None, Part | None]


@dataclass(frozen=True, slots=True)
class Index(Part):
    """x[keys]."""

    base: Part
    keys: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Transposed(Part):
    """x.T."""

    base: Part


Columns = tuple[str | tuple[str, str], ...]  # names in a table; a pair stands for all columns from the first to the second


@dataclass(frozen=True, slots=True)
class Declared:
    """One tensor of a line `data ...` or `weight ...`."""

    name: Token
    shape: tuple[Token, ...]
    init: Part | None = None
    columns: Columns = ()


@dataclass(frozen=True, slots=True)
class Declaration:
    """`data x, t` or `weight w = 1`."""

    role: str
    items: tuple[Declared, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """`name = expression`; the name is missing where the loss or the output is an expression. `role` is "node", "loss" or "output"."""

    role: str
    keyword: Token
    name: Token | None
    expression: Part


Statement = Declaration | Definition
