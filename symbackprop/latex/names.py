r"""How names are set: `W_1` as W_{1}, its entry as W^{(1)}_{ij}, `alpha` as a Greek letter, words upright or slanted as one word."""

import unicodedata
from typing import NamedTuple

import sympy as sp
from sympy.printing.conventions import split_super_sub
from sympy.printing.latex import translate


class Name(NamedTuple):
    """A name as it is set: a head, and what stands above and below it."""

    head: str
    below: str = ""
    above: str = ""

    def plain(self) -> str:
        return self.head + (f"^{{{self.above}}}" if self.above else "") + (f"_{{{self.below}}}" if self.below else "")

    def entry(self, indices: str) -> str:
        """One entry: the indices take the subscript's place, and the name's own subscript goes up, in brackets."""
        above = ",".join(filter(None, [self.above, self.below]))
        return self.head + (f"^{{({above})}}" if above else "") + f"_{{{indices}}}"


def name_of(symbol: sp.Symbol) -> Name:
    """A trailing underscore only keeps a name apart in code (`lambda_`): it is not printed."""
    head, supers, subs = split_super_sub(symbol.name.rstrip("_") or symbol.name)
    return Name(letters(head), ",".join(letters(s, upright=True) for s in subs), ",".join(letters(s, upright=True) for s in supers))


def letters(part: str, upright: bool = False) -> str:
    """A piece of a name: a Greek letter, a modified letter (`xhat`), a number, or a word set as a word."""
    text = "".join(map(_ascii, part)).strip() if not part.isascii() else str(translate(part))
    text = text.replace(r"\hbar", r"\bar{h}")  # the adjoint of h; SymPy has Planck's constant in mind
    if text == part and len(part) > 1 and not part.isdigit():
        return rf"\{'mathrm' if upright else 'mathit'}{{{part}}}".replace("_", r"\_")
    return text


def _ascii(letter: str) -> str:
    kind, _, name = unicodedata.name(letter, "").partition(" LETTER ")
    if kind in ("GREEK SMALL", "GREEK CAPITAL"):
        return str(translate(name.lower().replace("lamda", "lambda") if kind == "GREEK SMALL" else name.title().replace("Lamda", "Lambda"))) + " "
    return letter if letter.isascii() else rf"\text{{{letter}}}"


def brackets(text: str) -> str:
    r"""Round brackets, grown to their content only where it is taller than a line: `(y - t)` reads and sets better than `\left(y - t\right)`."""
    tall = any(command in text for command in (r"\frac", r"\sum", r"\begin", r"\left", r"\sqrt"))
    return rf"\left({text}\right)" if tall else f"({text})"
