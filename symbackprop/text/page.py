"""A text and the places in it: what every message about a text form points at."""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from symbackprop.errors import NetworkError, ParseError, ShapeError, SymbackpropError, UnsupportedError

LONGEST = 400  # characters of a message; an expression in it may be of any length
SHOWN = 100  # characters of a line that are shown around the place


class LocatedShapeError(ParseError, ShapeError):
    """Shapes that do not fit, with their place in a text form."""


class LocatedNetworkError(ParseError, NetworkError):
    """A name or an equation that cannot be used, with its place in a text form."""


class LocatedUnsupportedError(ParseError, UnsupportedError):
    """Mathematics outside the package, with its place in a text form."""


_LOCATED: dict[type[SymbackpropError], type[ParseError]] = {
    ShapeError: LocatedShapeError,
    NetworkError: LocatedNetworkError,
    UnsupportedError: LocatedUnsupportedError,
}


class Token(NamedTuple):
    """A word of the text. `kind` is "name", "number", "string", "operator", "newline" or "end"; the place counts from 1."""

    kind: str
    text: str
    line: int
    column: int


class Page:
    """A text as lines, and the errors that point into it."""

    def __init__(self, text: str, file: str = "") -> None:
        self.lines = text.split("\n")
        self.file = file

    def error(self, reason: str, at: Token, kind: type[ParseError] = ParseError) -> ParseError:
        """An error that says what is wrong and shows where."""
        source, mark = underlined(self.lines[at.line - 1], at.column - 1, len(at.text) if at.kind != "newline" else 1)
        return kind(one_line(reason), at.line, at.column, source, mark, self.file)

    def located(self, error: SymbackpropError, at: Token) -> ParseError:
        """An error of the core, of its own class still, with its place."""
        if isinstance(error, ParseError):
            return error
        kind = next((located for core, located in _LOCATED.items() if isinstance(error, core)), ParseError)
        return self.error(str(error), at, kind)


def one_line(text: str, longest: int = LONGEST) -> str:
    """A text that is safe to print: one line, no control characters, and not longer than a person reads."""
    text = " ".join(text.split())
    if len(text) > longest:
        text = f"{text[: longest * 3 // 4]} ... {text[-longest // 4 :]}"
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


def underlined(line: str, start: int, length: int) -> tuple[str, str]:
    """The part of a line around a place, and carets below it that stand under the same characters in a terminal."""
    first = max(0, start - SHOWN * 2 // 3)
    shown = [c if c.isprintable() else " " if c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line[first : first + SHOWN]]
    before, under = shown[: start - first], shown[start - first : start - first + length]
    dots = "..." if first else ""
    more = "..." if first + SHOWN < len(line) else ""
    return dots + "".join(shown) + more, " " * (len(dots) + _width(before)) + "^" * max(1, _width(under))


def _width(text: Iterable[str]) -> int:
    """Columns in a terminal: East Asian characters take two, combining ones none."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


# Letters of other alphabets that look like Latin ones in most typefaces.
_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0445\u0443\u0456\u0458\u0455\u0501\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0427"
    "\u03bf\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7\u0131\u0578\u0585",
    "aeopcxyijsdABEKMHOPCTX4oABEZHIKMNOPTYXino",
)


def skeleton(name: str) -> str:
    """A name as it looks: two names of one skeleton cannot be told apart by eye."""
    return name.translate(_LOOKALIKES)


def suggestion(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'w_1'?` where a known name is close, else nothing."""
    known = list(known)
    twin = next((k for k in known if skeleton(k) == skeleton(name) and k != name), None)
    if twin is not None:
        foreign = next(c for c, d in zip(name, twin, strict=True) if c != d)
        return f"; it looks like {twin!r}, but has the letter {unicodedata.name(foreign, 'U+' + format(ord(foreign), '04X'))}"
    folded = {k.casefold().replace("_", ""): k for k in known}
    same = folded.get(name.casefold().replace("_", ""))
    swapped = next((k for k in known if sorted(k) == sorted(name)), None)  # difflib finds tan nearer to tahn than tanh
    close = [same or swapped] if same or swapped else difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
