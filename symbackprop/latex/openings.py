r"""Boxes that may be opened so that a line can end within them: brackets, and what can be written with brackets instead."""

from symbackprop.latex.metrics import extent
from symbackprop.latex.names import brackets
from symbackprop.latex.nodes import Atom, Box, Call, Delimited, Fraction, Grid, Root, Row, Script
from symbackprop.latex.symbols import SIZES
from symbackprop.latex.tokens import tokens

_LINE = 0.5  # by how much the line of a fraction is longer than what stands below it, and a little more



def in_brackets(box: Box) -> tuple[str, Delimited, str] | None:
    """A box that is a bracket, with what touches it left and right: a function's name, a power."""
    if isinstance(box, Delimited):
        breakable = box.left and box.right and not box.source.startswith(r"\binom") and not grid_in(box)
        return ("", box, "") if breakable else None
    if isinstance(box, Row) and len(box.items) == 1:
        return in_brackets(box.items[0])
    if isinstance(box, Call) and (parts := in_brackets(box.arguments)):
        return box.head.source + parts[0], parts[1], parts[2]
    if isinstance(box, Script) and (parts := in_brackets(box.base)):
        return parts[0], parts[1], parts[2] + box.source[len(box.base.source) :]
    return None


def fences(box: Delimited) -> tuple[str, str]:
    """The LaTeX of the two brackets."""
    found = tokens(box.source)
    first = next(found)
    opening = box.source[: next(found).end] if first.text == r"\left" or first.text[:-1] in SIZES else first.text
    return opening, box.source[len(opening) :].lstrip()[len(box.inside.source) :].lstrip()


def fixed(fence: str, size: int, side: str) -> str:
    r"""\left( as \bigl(, or as ( where nothing inside is taller than a line."""
    sign = fence.removeprefix(r"\left").removeprefix(r"\right").lstrip()
    if sign == fence:
        return fence
    return ("", *SIZES)[max(size, sign == "|")] + (side if size or sign == "|" else "") + sign


def linear(box: Box, room: float) -> str:
    r"""A box that is wider than any line, written so that it can be broken: \frac{1}{b} (a), or a (b)^{-1}; (a)^{1/2}; \exp(a). Empty
    for what cannot be written otherwise."""
    if isinstance(box, Fraction):
        number = box.above.items[0] if isinstance(box.above, Row) and len(box.above.items) > 1 and _is_number(box.above.items[0]) else None
        above, below = _content(box.above), _content(box.below)
        factors = isinstance(box.above, Row) and not any(x.ends[0] in ("binary", "relation", "operator") for x in box.above.items)
        if extent(box.below).width + _LINE > room:
            inverse = brackets(below) + "^{-1}"
            return inverse if above == "1" else f"{above if factors else brackets(above)} {inverse}"
        if number is not None and factors:
            return rf"\frac{{{number.source}}}{{{below}}} {above[len(number.source) :]}"
        return rf"\frac{{1}}{{{below}}} " + (above if factors else brackets(above))
    if isinstance(box, Root) and box.degree is None:
        return brackets(_content(box.inside)) + "^{1/2}"
    if isinstance(box, Script) and box.base.source == "e" and box.above and not box.below:
        return r"\exp" + brackets(_content(box.above))
    return ""


def grid_in(box: Box) -> Grid | None:
    """A box that is a matrix or a distinction of cases, perhaps in brackets and with a power."""
    if isinstance(box, Delimited):
        return grid_in(box.inside)
    if isinstance(box, Script):
        return grid_in(box.base)
    if isinstance(box, Row) and len(box.items) == 1:
        return grid_in(box.items[0])
    return box if isinstance(box, Grid) else None


def _is_number(box: Box) -> bool:
    return isinstance(box, Atom) and box.is_number


def _content(box: Box) -> str:
    """The LaTeX of an argument without its braces."""
    return box.source[1:-1].strip() if isinstance(box, Row) and box.source.startswith("{") else box.source
