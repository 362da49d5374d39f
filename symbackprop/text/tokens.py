"""From characters to words. Read one at a time, so that a text that is wrong early is refused early, however long it is."""

import re
import unicodedata
from collections.abc import Iterator

from symbackprop.text.page import Page, Token

LONGEST_NAME = 100
LONGEST_NUMBER = 60

_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_OPERATORS = ("...", "**", *"+-*/@^=()[],:.")
_LATEX = re.compile(r"\\([A-Za-z]+)")
_WITHOUT_LATEX = {"frac": "a/b", "cdot": "*", "times": "*", "left": "nothing before a bracket", "right": "nothing before a bracket"}
_BRACKETS = {"(": ")", "[": "]"}
_MINUS = str.maketrans("\u2212", "-")
# What people type or paste, and what to write.
_INSTEAD = {
    **dict.fromkeys("\u00b7\u00d7\u2219\u22c5\u2217\u2022", "*"),
    **dict.fromkeys("\u2212\u2013\u2014\u2010\u2011", "-"),
    **dict.fromkeys("\u00f7\u2044\u2215", "/"),
    **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2018\u2019\u00b4`", "'"),
    "\u221a": "sqrt(...)",
    "\u2211": "sum(...)",
    "\u00bd": "1/2",
    ";": "the next equation on a line of its own",
    "|": "abs(...)",
    "{": "( or [",
    "}": ") or ]",
    "\\": "a bracket: a line goes on while one is open",
}


def tokens(page: Page) -> Iterator[Token]:
    """The words of a text. A line break is one where no bracket is open; comments are left out. Ends with a token "end"."""
    open_brackets: list[Token] = []
    for number, line in enumerate(page.lines, 1):
        at = 0
        while at < len(line):
            c = line[at]
            if c in " \t":
                at += 1
                continue
            if c == "#":
                break
            token = _token(page, line, number, at)
            yield token
            at += len(token.text)
            if token.text in _BRACKETS:
                open_brackets.append(token)
            elif token.text in _BRACKETS.values() and open_brackets:
                open_brackets.pop()  # whether it fits is the grammar's question
        if not open_brackets:
            yield Token("newline", "", number, len(line) + 1)
    if open_brackets:
        last = open_brackets[-1]
        raise page.error(f"{last.text!r} is never closed; expected {_BRACKETS[last.text]!r} before the text ends", last)
    yield Token("end", "", len(page.lines), len(page.lines[-1]) + 1)


def _token(page: Page, line: str, number: int, at: int) -> Token:
    """The word that begins at a place."""
    c = line[at]
    found = _NUMBER.match(line, at)
    if found:
        return _number(page, line, Token("number", found[0], number, at + 1))
    if c.isidentifier():
        end = at + 1
        while end < len(line) and _continues_name(line[end]):
            end += 1
        token = Token("name", line[at:end], number, at + 1)
        if len(token.text) > LONGEST_NAME:
            raise page.error(f"a name of {len(token.text)} characters; expected at most {LONGEST_NAME}", token)
        return token
    if c in "\"'":
        return _string(page, line, number, at)
    for operator in _OPERATORS:
        if line.startswith(operator, at):
            return Token("operator", operator, number, at + 1)
    raise page.error(f"the character {_called(c)} has no meaning here{_hint(line, at)}", Token("operator", c, number, at + 1))


def _hint(line: str, at: int) -> str:
    """What to write in place of a character."""
    if command := _LATEX.match(line, at):
        return f"; names are plain letters: write {_WITHOUT_LATEX.get(command[1], command[1])}"
    for height, sign in (("<sub>", "_"), ("<super>", "^")):
        end = at
        while end < len(line) and unicodedata.decomposition(line[end]).startswith(height):
            end += 1
        if end > at:  # w\u2081 is w_1, and w\u00b2 is w^2
            start = at
            while start > 0 and sign == "_" and _continues_name(line[start - 1]):
                start -= 1
            return f"; write {line[start:at][:LONGEST_NAME]}{sign}{unicodedata.normalize('NFKC', line[at:end][:LONGEST_NUMBER]).translate(_MINUS)}"
    return f"; write {_INSTEAD[line[at]]}" if line[at] in _INSTEAD else ""


def _continues_name(c: str) -> bool:
    return ("a" + c).isidentifier() and c not in _INSTEAD  # Python takes the middle dot for a letter


def _number(page: Page, line: str, token: Token) -> Token:
    end = token.column - 1 + len(token.text)
    if len(token.text) > LONGEST_NUMBER:
        raise page.error(f"a number of {len(token.text)} characters; expected at most {LONGEST_NUMBER}", token)
    if end < len(line) and _continues_name(line[end]):
        beside = Token("name", line[end], token.line, end + 1)
        raise page.error(f"{token.text!r} and {line[end]!r} stand side by side; write {token.text}*{line[end]} for a product", beside)
    return token


def _string(page: Page, line: str, number: int, at: int) -> Token:
    end = line.find(line[at], at + 1)
    token = Token("string", line[at : end + 1] if end > 0 else line[at:], number, at + 1)
    if end < 0:
        raise page.error(f"the text that opens with {line[at]} is not closed on its line", token._replace(text=line[at]))
    bad = next((c for c in token.text if not c.isprintable()), None)
    if bad is not None:
        raise page.error(f"the character {_called(bad)} cannot stand in a text", token._replace(text=bad, column=at + 1 + token.text.index(bad)))
    return token


def _called(c: str) -> str:
    """A character as a message calls it; one that cannot be seen by its name."""
    code = f"U+{ord(c):04X}"
    name = unicodedata.name(c, "a control character" if unicodedata.category(c) == "Cc" else "without a name")
    return repr(c) if c.isascii() and c.isprintable() else f"{c!r} ({code}, {name})" if c.isprintable() else f"{code} ({name})"
