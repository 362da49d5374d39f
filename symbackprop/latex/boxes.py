r"""Reads a formula in LaTeX into a tree of boxes, and says how wide it is.

A reader without recursion: brackets of every kind are kept on a stack, and what stands in one is put together when it closes, from
the inside out. So a formula may nest as deeply as a network has layers.

It knows the LaTeX that this package and SymPy print. A command that it does not know is an error; where a formula is to be shown
all the same (`strict=False`), it is shown by its name: `\foo` as the word foo.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from symbackprop.calculus.deep import deep
from symbackprop.errors import UnsupportedError
from symbackprop.latex.contents import Contents, Piece, failure
from symbackprop.latex.metrics import extent
from symbackprop.latex.nodes import Atom, Box, Delimited, Grid, Row
from symbackprop.latex.symbols import ALIGNED, CHARACTERS, GRIDS, SIZES, SYMBOLS, Kind, symbol_of
from symbackprop.latex.tokens import Token, short, tokens

CLOSING = {")", "]", r"\}", r"\rbrace", r"\rbrack", r"\rparen", r"\rVert", r"\rvert", r"\rfloor", r"\rceil", r"\rangle"}


@deep
def width(latex: str) -> float:
    """How wide a displayed formula is in Computer Modern, in em. A few per cent off at most: see tests/test_boxes.py."""
    return extent(read(latex, strict=False)).width


def read(latex: str, strict: bool = True) -> Row:
    """The tree of boxes of a formula. Raises `ParseError` where brackets or arguments are missing, `UnsupportedError` for a command
    that is not known, unless `strict` is False."""
    return _Reader(latex, strict).formula()


# --- brackets ------------------------------------------------------------------------------------------------------------


@dataclass
class _Frame:
    """What has been opened and not yet closed. `rows` are the finished cells of a grid, `pieces` those of its last one."""

    kind: Literal["all", "brace", "bracket", "fence", "grid"]
    opening: Token
    start: int
    size: float | None = 0.0
    pieces: list[Piece] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=lambda: [[]])
    cell: int = 0


class _Reader:
    def __init__(self, latex: str, strict: bool) -> None:
        self.latex = latex
        self.strict = strict
        self.tokens = list(tokens(latex))
        self.at = 0
        self.frames = [_Frame("all", Token("", 0, 0), 0)]

    def fail(self, what: str) -> NoReturn:
        raise failure(self.latex, what)

    def formula(self) -> Row:
        while self.at < len(self.tokens):
            self._token(self._take())
        self._dissolve()
        frame = self.frames[-1]
        if frame.kind != "all":
            self.fail(f"never closes {self.latex[frame.start : frame.opening.end]}")
        return Contents(self.latex, self.strict, frame.pieces).row(0, len(self.latex))

    def _take(self) -> Token:
        if self.at == len(self.tokens):
            self.fail("ends where something should follow")
        self.at += 1
        return self.tokens[self.at - 1]

    def _token(self, token: Token) -> None:
        text = token.text
        frame = self.frames[-1]
        if text == "{":
            self._open_brace(token)
        elif text == "}":
            self._close_brace(token)
        elif text == r"\left":
            self.frames.append(_Frame("fence", self._take(), token.start, None))
        elif text == r"\right":
            self._close("fence", token.start, self._take())
        elif text == r"\begin":
            self._begin(token)
        elif text == r"\end":
            self._end(token)
        elif text in ("&", r"\\", r"\cr"):
            self._next_cell(token)
        elif text in SIZES or text[:-1] in SIZES:
            self._sized(token)
        elif text in CLOSING and frame.kind == "bracket":
            self._close("bracket", token.start, token)
        elif symbol_of(text).kind == "open":
            self.frames.append(_Frame("bracket", token, token.start))
        else:
            frame.pieces.append(Piece(token.start, token.end, token))

    def _open_brace(self, token: Token) -> None:
        frame = self.frames[-1]
        last = frame.pieces[-1] if frame.pieces else None
        if last and isinstance(last.what, Token) and last.what.text == r"\substack":  # limits on several lines
            frame.pieces.pop()
            self.frames.append(_Frame("grid", token._replace(argument="substack"), last.start, cell=token.end))
        else:
            self.frames.append(_Frame("brace", token, token.start))

    def _close_brace(self, token: Token) -> None:
        self._dissolve()
        if self.frames[-1].opening.argument == "substack":
            self._end(token._replace(argument="substack"))
        else:
            self._close("brace", token.start, token)

    def _sized(self, command: Token) -> None:
        r"""\bigl( ... \bigr), \big/."""
        size = SIZES.get(command.text) or SIZES[command.text[:-1]]
        sign, frame = self._take(), self.frames[-1]
        if command.text[-1] == "l":
            self.frames.append(_Frame("bracket", sign, command.start, size))
        elif command.text[-1] == "r" and frame.kind == "bracket" and frame.size == size:
            self._close("bracket", command.start, sign)
        else:
            kind: Kind = "close" if command.text[-1] == "r" else "relation" if command.text[-1] == "m" else "ordinary"
            frame.pieces.append(Piece(command.start, sign.end, self._sign(sign, kind, size, command.start)))

    def _sign(self, token: Token, kind: Kind, size: float, start: int) -> Atom:
        if token.text not in CHARACTERS and token.text not in SYMBOLS:
            self.fail(f"has {token.text!r} where a bracket should stand")
        return Atom(self.latex[start : token.end], symbol_of(token.text).character, kind, "upright", size=size)

    def _close(self, kind: str, start: int, token: Token) -> None:
        """Closes the last frame. What closes starts at `start`."""
        if kind != "bracket":
            self._dissolve()
        frame = self.frames.pop()
        if frame.kind != kind:
            self.fail(f"closes with {self.latex[start : token.end]} what {self.latex[frame.start : frame.opening.end] or 'nothing'} opened")
        inside = Contents(self.latex, self.strict, frame.pieces).row(frame.opening.end, start)
        source = self.latex[frame.start : token.end]
        box: Box = replace(inside, source=source)
        if kind != "brace":
            box = Delimited(source, self._fence(frame.opening), inside, self._fence(token), frame.size)
        self.frames[-1].pieces.append(Piece(frame.start, token.end, box))

    def _fence(self, token: Token) -> str:
        return "" if token.text == "." else self._sign(token, "ordinary", 0.0, token.start).text

    def _dissolve(self) -> None:
        """Brackets that never close, as in one line of a formula that was broken, are signs like others."""
        while self.frames[-1].kind == "bracket":
            frame = self.frames.pop()
            opening = self._sign(frame.opening, "open", frame.size or 0.0, frame.start)
            self.frames[-1].pieces += [Piece(frame.start, frame.opening.end, opening), *frame.pieces]

    # --- grids ----------------------------------------------------------------------------------------------------------

    def _begin(self, token: Token) -> None:
        name = token.argument
        if name not in GRIDS and name not in ALIGNED:
            raise UnsupportedError(f"the environment {name!r} in the formula {short(self.latex)} is not known")
        self.frames.append(_Frame("grid", token, token.start, cell=token.end))
        if name in ("array", "alignat", "alignat*"):  # their columns are stated in braces
            while self._take().text != "}":
                pass
            self.frames[-1].cell = self.tokens[self.at - 1].end

    def _next_cell(self, token: Token) -> None:
        self._dissolve()
        frame = self.frames[-1]
        if frame.kind != "grid":
            self.fail(f"has {token.text} outside of rows and columns")
        frame.rows[-1].append(Contents(self.latex, self.strict, frame.pieces).row(frame.cell, token.start))
        frame.pieces, frame.cell = [], token.end
        if token.text != "&":
            frame.rows.append([])

    def _end(self, token: Token) -> None:
        self._dissolve()
        frame = self.frames.pop()
        if frame.kind != "grid" or frame.opening.argument != token.argument:
            self.fail(f"ends {token.argument}, which it never began")
        last = Contents(self.latex, self.strict, frame.pieces).row(frame.cell, token.start)
        rows = [*frame.rows[:-1], [*frame.rows[-1], last]]
        if len(rows) > 1 and not any(cell.items for cell in rows[-1]):
            rows.pop()
        left, right = GRIDS.get(token.argument, ("", ""))
        box = Grid(self.latex[frame.start : token.end], token.argument, tuple(map(tuple, rows)), left, right)
        self.frames[-1].pieces.append(Piece(frame.start, token.end, box))
