r"""Reads a formula in LaTeX into a tree of boxes, and says how wide it is.

A reader without recursion: brackets of every kind are kept on a stack, and what stands in one is put together when it closes, from
the inside out. So a formula may nest as deeply as a network has layers.

It knows the LaTeX that this package and SymPy print. A command that it does not know is an error; where a formula is to be shown
all the same (`strict=False`), it is shown by its name: `\foo` as the word foo.
"""

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, NoReturn

from symbackprop.calculus.deep import deep
from symbackprop.errors import ParseError, UnsupportedError
from symbackprop.latex.metrics import extent
from symbackprop.latex.nodes import Accent, Atom, Box, Call, Delimited, Fraction, Grid, Phantom, Root, Row, Script, Space, Text
from symbackprop.latex.symbols import (
    ACCENTS,
    ALIGNED,
    CHARACTERS,
    FUNCTIONS,
    GRIDS,
    SIZES,
    SPACES,
    STYLES,
    SYMBOLS,
    WITH_LIMITS,
    Kind,
    symbol_of,
)

CLOSING = {")", "]", r"\}", r"\rbrace", r"\rbrack", r"\rparen", r"\rVert", r"\rvert", r"\rfloor", r"\rceil", r"\rangle"}
STYLE_SWITCHES = {r"\displaystyle", r"\textstyle", r"\scriptstyle"}
SLANTED = {symbol_of(command).character for command in (r"\partial", r"\ell", r"\hbar", r"\imath", r"\jmath")}
INTEGRALS = "∫∬∭⨌∮"


@deep
def width(latex: str) -> float:
    """How wide a displayed formula is in Computer Modern, in em. A few per cent off at most: see tests/test_boxes.py."""
    return extent(read(latex, strict=False)).width


def read(latex: str, strict: bool = True) -> Row:
    """The tree of boxes of a formula. Raises `ParseError` where brackets or arguments are missing, `UnsupportedError` for a command
    that is not known, unless `strict` is False."""
    return _Reader(latex, strict).formula()


# --- tokens --------------------------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """A character, or a command; one whose argument is text (`\\begin{cases}`, `\\text{for}`) holds it."""

    text: str
    start: int
    end: int
    argument: str = ""


_WITH_TEXT = {r"\begin", r"\end", r"\text", r"\textrm", r"\textit", r"\textbf", r"\mbox", r"\hspace", r"\tag"}


def tokens(latex: str) -> Iterator[Token]:
    """The tokens of a formula: spaces only end commands."""
    at = 0
    while at < len(latex):
        start = at
        at += 1
        if latex[start] == "\\":
            while at < len(latex) and latex[at].isalpha() and latex[at].isascii():
                at += 1
            at = max(at, start + 2)
            if latex[start:at] in _WITH_TEXT:
                opening = at + len(latex[at:]) - len(latex[at:].lstrip(" *"))
                closing = latex.find("}", opening)
                if latex[opening : opening + 1] != "{" or closing < 0:
                    raise ParseError(f"the formula {_short(latex)} has {latex[start:at]} without its text in braces")
                yield Token(latex[start:at], start, closing + 1, latex[opening + 1 : closing])
                at = closing + 1
                continue
        elif latex[start].isspace():
            continue
        yield Token(latex[start:at], start, at)


def _short(latex: str) -> str:
    return latex if len(latex) <= 80 else latex[:77] + "..."


# --- brackets ------------------------------------------------------------------------------------------------------------


class Piece(NamedTuple):
    """A token that waits for its arguments, or a finished box; where its LaTeX starts and ends."""

    start: int
    end: int
    what: Token | Box


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
        raise ParseError(f"the formula {_short(self.latex)} {what}")

    def formula(self) -> Row:
        while self.at < len(self.tokens):
            self._token(self._take())
        self._dissolve()
        frame = self.frames[-1]
        if frame.kind != "all":
            self.fail(f"never closes {self.latex[frame.start : frame.opening.end]}")
        return _Contents(self, frame.pieces).row(0, len(self.latex))

    def _take(self) -> Token:
        if self.at == len(self.tokens):
            self.fail("ends where something should follow")
        self.at += 1
        return self.tokens[self.at - 1]

    def _token(self, token: Token) -> None:
        text = token.text
        frame = self.frames[-1]
        if text == "{":
            self.frames.append(_Frame("brace", token, token.start))
        elif text == "}":
            self._close("brace", token.start, token)
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
        inside = _Contents(self, frame.pieces).row(frame.opening.end, start)
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
            raise UnsupportedError(f"the environment {name!r} in the formula {_short(self.latex)} is not known")
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
        frame.rows[-1].append(_Contents(self, frame.pieces).row(frame.cell, token.start))
        frame.pieces, frame.cell = [], token.end
        if token.text != "&":
            frame.rows.append([])

    def _end(self, token: Token) -> None:
        self._dissolve()
        frame = self.frames.pop()
        if frame.kind != "grid" or frame.opening.argument != token.argument:
            self.fail(f"ends {token.argument}, which it never began")
        last = _Contents(self, frame.pieces).row(frame.cell, token.start)
        rows = [*frame.rows[:-1], [*frame.rows[-1], last]]
        if len(rows) > 1 and not any(cell.items for cell in rows[-1]):
            rows.pop()
        left, right = GRIDS.get(token.argument, ("", ""))
        box = Grid(self.latex[frame.start : token.end], token.argument, tuple(map(tuple, rows)), left, right)
        self.frames[-1].pieces.append(Piece(frame.start, token.end, box))


# --- what stands side by side --------------------------------------------------------------------------------------------


class _Contents:
    """Puts together what stands in one bracket: commands take their arguments, scripts their bases, names their brackets."""

    def __init__(self, reader: _Reader, pieces: list[Piece]) -> None:
        self.reader = reader
        self.pieces = pieces
        self.at = 0

    def row(self, start: int, end: int) -> Row:
        items = []
        while self.at < len(self.pieces):
            if (box := self._item()) is not None:
                items.append(box)
        return Row(self.reader.latex[start:end].strip(), tuple(items))

    def _peek(self, offset: int = 0) -> str:
        """The text of a token that waits; "" for a box, and at the end."""
        piece = self.pieces[self.at + offset] if self.at + offset < len(self.pieces) else None
        return piece.what.text if piece and isinstance(piece.what, Token) else ""

    def _since(self, start: int) -> str:
        return self.reader.latex[start : self.pieces[self.at - 1].end]

    def _item(self) -> Box | None:
        """The next box with its scripts, and with its arguments where it is a function. None for what only changes the style."""
        if self._peek() in STYLE_SWITCHES:
            self.at += 1
            return None
        start = self.pieces[self.at].start
        box: Box = Row("", ()) if self._peek() in ("^", "_", "'") else self._nucleus()
        box = self._scripts(box, start)
        while _may_be_applied(box) and (arguments := self._arguments(box)) is not None:
            box = self._scripts(Call(self._since(start), box, arguments), start)
        return box

    def _arguments(self, head: Box) -> Box | None:
        """The brackets that follow: they must touch the head, unless that is an operator such as log."""
        if self.at == len(self.pieces):
            return None
        start, _, box = self.pieces[self.at]
        inner = box.items[0] if isinstance(box, Row) and len(box.items) == 1 else box  # SymPy writes f{\left(x \right)}
        touches = start == self.pieces[self.at - 1].end
        if not isinstance(inner, Delimited) or not (touches or head.ends[1] == "operator"):
            return None
        self.at += 1
        return box if isinstance(box, Box) else None

    def _scripts(self, base: Box, start: int) -> Box:
        scripts: dict[str, Box] = {}
        limits = isinstance(base, Atom) and base.kind == "operator" and (base.text in WITH_LIMITS or (base.big and base.text not in INTEGRALS))
        primes = ""
        while (sign := self._peek()) in ("^", "_", "'", r"\limits", r"\nolimits"):
            self.at += 1
            if sign in (r"\limits", r"\nolimits"):
                limits = sign == r"\limits"
            elif sign == "'":
                primes += "\N{PRIME}"
            elif sign in scripts:
                self.reader.fail(f"has a double {'super' if sign == '^' else 'sub'}script")
            else:
                scripts[sign] = self._argument()
        if primes:
            prime = Atom("'" * len(primes), primes, "ordinary", "upright")
            power = scripts.get("^")
            scripts["^"] = Row(prime.source, (prime, power)) if power else prime
        if not scripts:
            return base
        return Script(self._since(start), base, scripts.get("_"), scripts.get("^"), limits)

    def _argument(self) -> Box:
        """What one pair of braces holds, or the next thing without scripts; of a number, its first digit."""
        if self.at == len(self.pieces):
            self.reader.fail("ends where an argument should follow")
        if self._peek().isdigit():
            start, end, _ = self.pieces[self.at]
            self.at += 1
            return Atom(self.reader.latex[start:end], self.reader.latex[start:end], "ordinary", "upright")
        return self._nucleus()

    def _nucleus(self) -> Box:
        start, _, piece = self.pieces[self.at]
        self.at += 1
        if isinstance(piece, Box):
            return piece
        text = piece.text
        if text.isdigit() or (text == "." and self._peek().isdigit()):
            return self._number(start, text)
        if text[0] == "\\":
            return self._command(piece, start)
        if text in CHARACTERS:
            return self._symbol(piece)
        return Atom(text, text, "ordinary", "italic")

    def _symbol(self, token: Token) -> Atom:
        symbol = symbol_of(token.text)
        name = unicodedata.name(symbol.character)
        italic = symbol.character in SLANTED or (name.startswith("GREEK") and "CAPITAL" not in name)
        return Atom(token.text, symbol.character, symbol.kind, "italic" if italic else "upright", symbol.big)

    def _number(self, start: int, digits: str) -> Atom:
        while self._peek().isdigit() or (self._peek() == "." and self._peek(1).isdigit() and "." not in digits):
            digits += self._peek()
            self.at += 1
        return Atom(self._since(start), digits, "ordinary", "upright")

    def _command(self, token: Token, start: int) -> Box:
        text = token.text
        if text in SYMBOLS:
            return self._symbol(token)
        if text in FUNCTIONS:
            return Atom(text, FUNCTIONS[text], "operator", "upright")
        if text in SPACES:
            return Space(text, SPACES[text])
        if text in (r"\text", r"\textrm", r"\textit", r"\textbf", r"\mbox"):
            return Text(self._since(start), token.argument)
        if text == r"\hspace":
            return Space(self._since(start), _em(token.argument))
        build = _COMMANDS.get(text)
        if build is not None:
            return build(self, start)
        if text in ACCENTS:
            base = self._argument()
            return Accent(self._since(start), ACCENTS[text], base, under=text == r"\underline")
        if text in STYLES:
            content = self._argument()
            return _styled(self._since(start), content, STYLES[text])
        if self.reader.strict:
            raise UnsupportedError(f"the command {text} in the formula {_short(self.reader.latex)} is not known")
        return Text(text, text[1:])

    def _fraction(self, start: int) -> Box:
        above, below = self._argument(), self._argument()
        return Fraction(self._since(start), above, below)

    def _binomial(self, start: int) -> Box:
        above, below = self._argument(), self._argument()
        source = self._since(start)
        return Delimited(source, "(", Row(source, (Fraction(source, above, below, bar=False),)), ")", None)

    def _root(self, start: int) -> Box:
        degree = None
        piece = self.pieces[self.at].what if self.at < len(self.pieces) else None
        if isinstance(piece, Delimited) and piece.source[0] == "[":
            degree = piece.inside
            self.at += 1
        inside = self._argument()
        return Root(self._since(start), inside, degree)

    def _operator_name(self, start: int) -> Box:
        star = self._peek() == "*"
        self.at += star
        content = self._argument()
        return Atom(self._since(start), letters_in(content), "operator", "upright", big=star)

    def _negated(self, start: int) -> Box:
        base = self._argument()
        atom = base if isinstance(base, Atom) else Atom(base.source, letters_in(base))
        return replace(atom, source=self._since(start), text=unicodedata.normalize("NFC", atom.text + "\u0338"))

    def _modulo(self, start: int) -> Box:
        return Atom(self._since(start), "mod", "binary", "upright")

    def _phantom(self, start: int) -> Box:
        inside = self._argument()
        return Phantom(self._since(start), inside)

    def _middle(self, start: int) -> Box:
        sign = self._argument()
        return Atom(self._since(start), sign.text if isinstance(sign, Atom) else "", "relation", "upright")

    def _nothing(self, start: int) -> Box:
        return Space(self._since(start), 0.0)


_COMMANDS: dict[str, Callable[[_Contents, int], Box]] = {
    r"\frac": _Contents._fraction,
    r"\dfrac": _Contents._fraction,
    r"\tfrac": _Contents._fraction,
    r"\binom": _Contents._binomial,
    r"\sqrt": _Contents._root,
    r"\operatorname": _Contents._operator_name,
    r"\not": _Contents._negated,
    r"\bmod": _Contents._modulo,
    r"\phantom": _Contents._phantom,
    r"\hphantom": _Contents._phantom,
    r"\middle": _Contents._middle,
    r"\nonumber": _Contents._nothing,
    r"\notag": _Contents._nothing,
    r"\allowbreak": _Contents._nothing,
    r"\tag": _Contents._nothing,
}


def _may_be_applied(box: Box) -> bool:
    """Whether brackets that touch a box are its arguments: a letter, a word, an operator, each with its scripts."""
    base = box.base if isinstance(box, Script) else box
    if isinstance(base, Row) and len(base.items) == 1:
        base = base.items[0]
    if isinstance(base, Atom):
        return not base.big and (base.kind == "operator" or (base.kind == "ordinary" and base.text[:1].isalpha()))
    return isinstance(base, Text)


def _styled(source: str, content: Box, style: str) -> Box:
    """Letters in one alphabet are one word; in anything longer, each letter is set in it."""
    items = content.items if isinstance(content, Row) else (content,)
    if items and all(isinstance(x, Atom) and x.kind in ("ordinary", "punctuation", "binary") for x in items) and style != "bold italic":
        return Atom(source, letters_in(content), "ordinary", style)
    if len(items) == 1 and isinstance(items[0], Atom):
        return replace(items[0], source=source, style=style)
    return Row(source, tuple(replace(x, style=style) if isinstance(x, Atom) and x.text.isalnum() else x for x in items))


def letters_in(box: Box) -> str:
    """The letters of a word, such as the name of an operator."""
    if isinstance(box, Row):
        return "".join(map(letters_in, box.items))
    if isinstance(box, Space):
        return " " if box.width > 0 else ""
    if isinstance(box, (Atom, Text)):
        return "-" if box.text == "−" else box.text
    return box.source


def _em(length: str) -> float:
    """The number of a length such as `2.5em`."""
    number = length.strip().removesuffix("em")
    try:
        return float(number)
    except ValueError:
        raise UnsupportedError(f"the length {length!r} is not known; expected a number of em") from None
