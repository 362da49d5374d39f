r"""What stands side by side in one bracket of a formula: commands take their arguments, scripts their bases, names the brackets that
they are applied to. The brackets themselves, and what is in them, are put together before (see `boxes`)."""

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from symbackprop.errors import ParseError, UnsupportedError
from symbackprop.latex.nodes import Accent, Atom, Box, Call, Delimited, Fraction, Phantom, Root, Row, Script, Space, Text
from symbackprop.latex.symbols import ACCENTS, CHARACTERS, FUNCTIONS, SPACES, STYLES, SYMBOLS, WITH_LIMITS, symbol_of
from symbackprop.latex.tokens import Token, short

STYLE_SWITCHES = {r"\displaystyle", r"\textstyle", r"\scriptstyle"}
SLANTED = {symbol_of(command).character for command in (r"\partial", r"\ell", r"\hbar", r"\imath", r"\jmath")}
INTEGRALS = "∫∬∭⨌∮"


def failure(latex: str, what: str) -> ParseError:
    return ParseError(f"the formula {short(latex)} {what}")


class Piece(NamedTuple):
    """A token that waits for its arguments, or a finished box; where its LaTeX starts and ends."""

    start: int
    end: int
    what: Token | Box


class Contents:
    """Puts together what stands in one bracket: commands take their arguments, scripts their bases, names their brackets."""

    def __init__(self, latex: str, strict: bool, pieces: list[Piece]) -> None:
        self.latex = latex
        self.strict = strict
        self.pieces = pieces
        self.at = 0

    def row(self, start: int, end: int) -> Row:
        items = []
        while self.at < len(self.pieces):
            if (box := self._item()) is not None:
                items.append(box)
        return Row(self.latex[start:end].strip(), tuple(items))

    def _peek(self, offset: int = 0) -> str:
        """The text of a token that waits; "" for a box, and at the end."""
        piece = self.pieces[self.at + offset] if self.at + offset < len(self.pieces) else None
        return piece.what.text if piece and isinstance(piece.what, Token) else ""

    def _since(self, start: int) -> str:
        return self.latex[start : self.pieces[self.at - 1].end]

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
                raise failure(self.latex, f"has a double {'super' if sign == '^' else 'sub'}script")
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
            raise failure(self.latex, "ends where an argument should follow")
        if self._peek().isdigit():
            start, end, _ = self.pieces[self.at]
            self.at += 1
            return Atom(self.latex[start:end], self.latex[start:end], "ordinary", "upright")
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
        if self.strict:
            raise UnsupportedError(f"the command {text} in the formula {short(self.latex)} is not known")
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


_COMMANDS: dict[str, Callable[[Contents, int], Box]] = {
    r"\frac": Contents._fraction,
    r"\dfrac": Contents._fraction,
    r"\tfrac": Contents._fraction,
    r"\binom": Contents._binomial,
    r"\sqrt": Contents._root,
    r"\operatorname": Contents._operator_name,
    r"\not": Contents._negated,
    r"\bmod": Contents._modulo,
    r"\phantom": Contents._phantom,
    r"\hphantom": Contents._phantom,
    r"\middle": Contents._middle,
    r"\nonumber": Contents._nothing,
    r"\notag": Contents._nothing,
    r"\allowbreak": Contents._nothing,
    r"\tag": Contents._nothing,
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
