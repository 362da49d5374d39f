"""Text with subscripts, superscripts and slanted letters: how it is set in SVG, written in plain Unicode, and how wide it is.

A diagram has no TeX at hand, so names come as pieces of LaTeX from `latex.names` and leave as letters.
"""

# ruff: noqa: RUF001, RUF002  (mathematical signs are what this file writes)

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import NamedTuple

import sympy as sp

from symbackprop.latex.names import name_of


class Span(NamedTuple):
    """A piece of text on one level: 0 the line, -1 a subscript, 1 a superscript."""

    text: str
    level: int = 0
    slanted: bool = False


Text = tuple[Span, ...]
SCRIPT = 0.72  # how large a subscript is
_SHIFT = {-1: 0.22, 0: 0.0, 1: -0.38}  # how far below the line, in units of the line's size


def text(content: str, level: int = 0, slanted: bool = False) -> Text:
    return (Span(content, level, slanted),)


# --- names ---------------------------------------------------------------------------------------------------------------

_ACCENTS = {"hat": "\u0302", "bar": "\u0304", "tilde": "\u0303", "dot": "\u0307", "ddot": "\u0308", "dddot": "\u20db", "ddddot": "\u20dc"}
_ACCENTS |= {"vec": "\u20d7", "check": "\u030c", "breve": "\u0306", "acute": "\u0301", "grave": "\u0300", "mathring": "\u030a"}
_ALPHABETS = {"boldsymbol": "BOLD", "mathcal": "SCRIPT", "mathscr": "SCRIPT", "mathfrak": "FRAKTUR"}
_SIGNS = {"|": "‖", "langle": "⟨", "rangle": "⟩", "hbar": "ℏ", "hslash": "ℏ", "wp": "℘", "ell": "ℓ", "mho": "℧", "eth": "ð"}
_SIGNS |= {"aleph": "ℵ", "beth": "ℶ", "gimel": "ℷ", "daleth": "ℸ"}
_SIGNS |= {"varepsilon": "ε", "epsilon": "ϵ", "varkappa": "ϰ", "varphi": "φ", "phi": "ϕ", "varpi": "ϖ", "varrho": "ϱ", "varsigma": "ς", "vartheta": "ϑ"}


@lru_cache(maxsize=4096)
def name_text(symbol: sp.Symbol) -> Text:
    """A tensor's name: w_1 as w with the subscript 1, alpha as α, a word as one slanted word."""
    name = name_of(symbol)
    spans = [Span(_letters(name.head), 0, not _is_upright(name.head))]
    for level, part in ((1, name.above), (-1, name.below)):
        if part:
            spans.append(Span(_letters(part), level, len(_letters(part)) == 1 and not _is_upright(part)))
    return tuple(spans)


def _is_upright(latex: str) -> bool:
    """Words below or above, numbers and capital Greek letters stand upright."""
    letters = _letters(latex)
    is_greek = unicodedata.name(letters[0], "").startswith("GREEK CAPITAL")
    return latex.startswith(r"\mathrm") or letters.isdigit() or is_greek


def _letters(latex: str) -> str:
    """The letters that a name's LaTeX stands for."""
    return _read(re.findall(r"\\[A-Za-z]+|\\.|.", latex), None)


def _read(tokens: list[str], until: str | None) -> str:
    """The letters of the tokens up to the bracket `until`; what was read is taken from the list."""
    found = ""
    while tokens and (token := tokens.pop(0)) != until:
        if token == "{":
            found += _read(tokens, "}")
        elif token == "'":
            found += "′"
        elif not token.startswith("\\"):
            found += token
        else:
            found += _command(token[1:], tokens)
    return found


def _command(command: str, tokens: list[str]) -> str:
    if command in _ACCENTS or command in _ALPHABETS or command in ("mathrm", "mathit", "text"):
        tokens.pop(0)  # the opening bracket
        argument = _read(tokens, "}")
        if command in _ACCENTS:
            return unicodedata.normalize("NFC", argument[:1] + _ACCENTS[command]) + argument[1:]
        return "".join(_in_alphabet(_ALPHABETS[command], letter) for letter in argument) if command in _ALPHABETS else argument
    if command in ("left", "right"):
        return ""
    if command in _SIGNS:
        return _SIGNS[command]
    size = "CAPITAL" if command[0].isupper() else "SMALL"
    try:
        return unicodedata.lookup(f"GREEK {size} LETTER {command.upper().replace('LAMBDA', 'LAMDA')}")
    except KeyError:
        return command


def _in_alphabet(alphabet: str, letter: str) -> str:
    """A letter in bold, script or fraktur. A few of these are older in Unicode than the rest, and called otherwise."""
    end = f"{'CAPITAL' if letter.isupper() else 'SMALL'} {letter.upper()}"
    for name in (f"MATHEMATICAL {alphabet} {end}", f"{alphabet} {end}", f"BLACK-LETTER {end}"):
        try:
            return unicodedata.lookup(name)
        except KeyError:
            continue
    return letter


# --- plain Unicode -------------------------------------------------------------------------------------------------------

_LOWERED = dict(zip("0123456789+-−=()aehijklmnoprstuvxβγρϕχ,", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓᵦᵧᵨᵩᵪ,", strict=True))
_RAISED = dict(zip("0123456789+-−=()abcdefghijklmnoprstuvwxyzβγδϕχ⊤,", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵝᵞᵟᵠᵡᵀ,", strict=True))


def plain(spans: Sequence[Span]) -> str:
    """The text in one line of Unicode: w₁, z_out, (y − t)²."""
    return "".join(_plain_script(span) if span.level else span.text for span in spans)


def _plain_script(span: Span) -> str:
    table, mark = (_LOWERED, "_") if span.level < 0 else (_RAISED, "^")
    if all(c in table for c in span.text):
        return "".join(table[c] for c in span.text)
    return mark + (span.text if span.text.isalnum() else f"({span.text})")


# --- SVG -----------------------------------------------------------------------------------------------------------------


def tspans(spans: Sequence[Span], size: float) -> str:
    """The content of an SVG text element of this font size."""
    parts, shift = [], 0.0
    for span in spans:
        wanted = _SHIFT[span.level] * size
        attributes = f' dy="{wanted - shift:.4g}"' if wanted != shift else ""
        attributes += f' font-size="{size * SCRIPT:.4g}"' if span.level else ""
        attributes += ' font-style="italic"' if span.slanted else ""
        parts.append(f"<tspan{attributes}>{escape(span.text)}</tspan>" if attributes else escape(span.text))
        shift = wanted
    return "".join(parts)


# Advances in a book face, in units of the font size, rounded up: a browser may choose a wider face than Times.
_ADVANCES = {
    0.30: "ijl.,:;'′|! \u2009",
    0.38: "ftrs()[]{}-/",
    0.92: "mwMW…",
    0.74: "ABCDEFGHKNOPQRSTUVXYZΓΔΘΛΞΠΥΦΨΩΣ⊙∂√½⅓⅔¼¾→",
    0.62: "+−=<>≤≥≠×∞",
}
_ADVANCE = {c: advance for advance, characters in _ADVANCES.items() for c in characters}


def width(spans: Sequence[Span], size: float) -> float:
    """How wide the text is at this font size, a little too wide rather than too narrow."""
    return sum(_advance(c) * size * (SCRIPT if span.level else 1.0) for span in spans for c in span.text)


def _advance(character: str) -> float:
    if unicodedata.combining(character):
        return 0.0
    return 1.0 if unicodedata.east_asian_width(character) in "WF" else _ADVANCE.get(character, 0.56)
