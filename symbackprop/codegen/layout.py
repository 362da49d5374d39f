"""Break long lines of generated Python, as a formatter would: at the last bracket, then at commas, then before operators.

It reads what the printers write: one statement or one entry of a list a line, and spaces around binary operators.
"""

import re
import textwrap
from collections.abc import Iterator

WIDTH = 120
_OPEN, _CLOSE = "([{", ")]}"
# Loosest first: a line is broken before the operators that bind least.
_OPERATORS = (
    (" if ", " else "),
    (" or ",),
    (" and ",),
    (" < ", " > ", " <= ", " >= ", " == ", " != ", " not in ", " in "),
    (" | ",),
    (" ^ ",),
    (" & ",),
    (" + ", " - "),
    (" * ", " / ", " @ ", " % "),
    (" ** ",),
)
_LEVELS = {operator: level for level, operators in enumerate(_OPERATORS) for operator in operators}
_OPERATOR = re.compile("|".join(map(re.escape, _LEVELS)))
_MARK = re.compile(r"[\"'()\[\]{}, ]")
_STATEMENT = re.compile(r"return |raise |[\w.\[\]()\"', +*/%-]+ [-+*/]?= |\"\w+\": ")
_NUMBER = re.compile(r"-?[\d.]+(e[-+]?\d+)?")


def fold(source: str, width: int = WIDTH) -> str:
    """The source with every line that is longer than `width` broken where that is possible."""
    lines: list[str] = []
    in_text = False
    for line in source.split("\n"):
        edges = line.count('"""')
        if len(line) <= width:
            lines.append(line)
        elif in_text or edges:
            lines += _fold_text(line, width)
        else:
            text = line.lstrip(" ")
            lines += _fold_statement(text, len(line) - len(text), width)
        in_text ^= edges == 1
    return "\n".join(lines)


def _fold_text(line: str, width: int) -> list[str]:
    """A line of a docstring, broken at spaces."""
    indent = line[: len(line) - len(line.lstrip(" "))]
    deeper = indent + ("" if line.lstrip().startswith('"""') else "    ")
    return textwrap.wrap(line, width, subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False)


def _fold_statement(text: str, indent: int, width: int) -> list[str]:
    """A statement or an entry: its head stays, and what it computes is broken."""
    found = _STATEMENT.match(text)
    head = found.group() if found else ""
    rest = text[len(head) :]
    end = ""
    while rest[-1:] in (",", ":"):
        rest, end = rest[:-1], rest[-1] + end
    if head and _pieces(rest) and not rest.endswith(_OPEN):
        return [" " * indent + head + "(", *_fold(rest, indent + 4, width), " " * indent + ")" + end]
    return _fold(rest, indent, width, head, end)


def _fold(text: str, indent: int, width: int, head: str = "", end: str = "") -> list[str]:
    """An expression inside brackets, between `head` and `end`: on one line if it fits, else before its loosest operators, else in its last bracket."""
    margin = " " * indent
    if indent + len(head) + len(text) + len(end) <= width:
        return [margin + head + text + end]
    pieces = _pieces(text)
    if pieces:
        first, *others = pieces
        lines = _fold(first, indent, width, head)
        for i, piece in enumerate(others):
            operator, _, operand = piece.partition(" ")
            lines += _fold(operand, indent, width, f"{operator} ", end if i == len(others) - 1 else "")
        return lines
    bracket = _last_bracket(text)
    if bracket is None:
        return [margin + head + text + end]
    start, stop = bracket
    body = _fold_body(text[start + 1 : stop], indent + 4, width)
    return [margin + head + text[: start + 1], *body, margin + text[stop:] + end]


def _fold_body(text: str, indent: int, width: int) -> list[str]:
    """What stands in a bracket: on one line if it fits, else one entry a line; rows of numbers fill their lines."""
    if indent + len(text) <= width:
        return [" " * indent + text]
    entries = _entries(text)
    if len(entries) == 1:
        return _fold(entries[0], indent, width)
    if all(_NUMBER.fullmatch(e) for e in entries):
        margin = " " * indent
        return textwrap.wrap(", ".join(entries) + ",", width, initial_indent=margin, subsequent_indent=margin)
    return [line for entry in entries for line in _fold_statement(entry + ",", indent, width)]


# --- reading a line ------------------------------------------------------------------------------------------------------


def _depths(text: str) -> Iterator[tuple[int, str, int]]:
    """(position, character, depth of brackets) of each bracket, comma and space outside strings; a bracket has the depth that it stands in."""
    depth, quote = 0, ""
    for mark in _MARK.finditer(text):
        i, c = mark.start(), mark.group()
        if quote:
            quote = "" if c == quote else quote
        elif c in "\"'":
            quote = c
        else:
            depth -= c in _CLOSE
            yield i, c, depth
            depth += c in _OPEN


def _pieces(text: str) -> list[str]:
    """The text cut before its loosest operators outside brackets; empty where it has none."""
    found = [(i, _OPERATOR.match(text, i)) for i, c, depth in _depths(text) if i and c == " " and depth == 0]
    levels = {i: _LEVELS[operator.group()] for i, operator in found if operator}
    loosest = min(levels.values(), default=0)
    cuts = [i for i, level in levels.items() if level == loosest]
    return [text[a:b].strip() for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)] if cuts else []


def _entries(text: str) -> list[str]:
    """The text cut at its commas outside brackets."""
    cuts = [i for i, c, depth in _depths(text) if c == "," and depth == 0]
    return [part for a, b in zip([-1, *cuts], [*cuts, len(text)], strict=True) if (part := text[a + 1 : b].strip())]


def _last_bracket(text: str) -> tuple[int, int] | None:
    """Where the last bracket opens and closes that holds something."""
    start: int | None = None
    found = None
    for i, c, depth in _depths(text):
        if depth == 0 and c in _OPEN:
            start = i
        elif depth == 0 and c in _CLOSE and start is not None and i > start + 1:
            found = (start, i)
    return found


__all__ = ["fold"]
