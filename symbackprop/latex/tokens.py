r"""The tokens of LaTeX: commands and single characters, and what a message says about them."""

from collections.abc import Iterator
from typing import NamedTuple

from symbackprop.errors import ParseError


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
                    raise ParseError(f"the formula {short(latex)} has {latex[start:at]} without its text in braces")
                yield Token(latex[start:at], start, closing + 1, latex[opening + 1 : closing])
                at = closing + 1
                continue
        elif latex[start].isspace():
            continue
        yield Token(latex[start:at], start, at)


def short(latex: str) -> str:
    return latex if len(latex) <= 80 else latex[:77] + "..."
