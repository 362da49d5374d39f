"""The tree of boxes that a formula is read into. Every box keeps the LaTeX it was read from, so whatever takes a formula apart
can put it together again and lose nothing."""

from dataclasses import dataclass

from symbackprop.latex.symbols import Kind


@dataclass(frozen=True)
class Box:
    """A part of a formula. `source` is its LaTeX; `ends` are the classes that its neighbours to the left and right see."""

    source: str

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return ("ordinary", "ordinary")


@dataclass(frozen=True)
class Atom(Box):
    """A letter, number, word or sign. `size`: the height in em of a bracket of fixed size; 0 for what has its natural one."""

    text: str
    kind: Kind = "ordinary"
    style: str = "italic"
    big: bool = False
    size: float = 0.0

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return (self.kind, self.kind)

    @property
    def is_number(self) -> bool:
        return self.text[:1].isdigit() or (self.text[:1] == "." and len(self.text) > 1)


@dataclass(frozen=True)
class Row(Box):
    """Boxes side by side: a whole formula, or what stands in braces."""

    items: tuple[Box, ...]


@dataclass(frozen=True)
class Call(Box):
    """A function's name and its arguments. They touch; a factor in brackets stands apart: `f(x)`, but `w (y - t)`."""

    head: Box
    arguments: Box

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return (self.head.ends[0], self.arguments.ends[1])


@dataclass(frozen=True)
class Delimited(Box):
    r"""Something in brackets. `size` is their height in em; 0 is the size of a line of text, None grows with the content (\left, \right)."""

    left: str
    inside: Row
    right: str
    size: float | None = 0.0

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return ("inner", "inner") if self.size is None else ("open", "close")


@dataclass(frozen=True)
class Fraction(Box):
    """`bar` is False in binomial coefficients."""

    above: Box
    below: Box
    bar: bool = True


@dataclass(frozen=True)
class Script(Box):
    """Sub- and superscript. `limits`: they stand below and above the base in a displayed formula."""

    base: Box
    below: Box | None
    above: Box | None
    limits: bool = False

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return self.base.ends


@dataclass(frozen=True)
class Root(Box):
    inside: Box
    degree: Box | None = None


@dataclass(frozen=True)
class Accent(Box):
    """A mark over its base, or under it."""

    mark: str
    base: Box
    under: bool = False


@dataclass(frozen=True)
class Grid(Box):
    """Rows and columns: a matrix, cases, aligned equations. `left` and `right` are the brackets that belong to it."""

    environment: str
    rows: tuple[tuple[Row, ...], ...]
    left: str = ""
    right: str = ""

    @property
    def is_aligned(self) -> bool:
        r"""Whether it holds whole equations, which are set as displayed formulas are."""
        return self.environment.rstrip("*") in ("align", "aligned", "split", "gather", "gathered", "equation", "alignat", "multline")

    @property
    def ends(self) -> tuple[Kind, Kind]:
        return ("inner", "inner") if self.left or self.right else ("ordinary", "ordinary")


@dataclass(frozen=True)
class Text(Box):
    """Words within a formula."""

    text: str


@dataclass(frozen=True)
class Space(Box):
    """Room, in em."""

    width: float


@dataclass(frozen=True)
class Phantom(Box):
    """Room as wide as what is not shown."""

    inside: Box


__all__ = ["Accent", "Atom", "Box", "Call", "Delimited", "Fraction", "Grid", "Phantom", "Root", "Row", "Script", "Space", "Text"]
