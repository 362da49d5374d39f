r"""Sentences with formulas between dollar signs, as derivations hold them: cut into words and formulas."""

import re
from collections.abc import Callable, Sequence

_FORMULA = re.compile(r"\$([^$]+)\$")


def written(sentence: str, words: Callable[[str], str], formula: Callable[[str], str]) -> str:
    """The sentence with its words and its formulas each written by a function of their own."""
    parts = _FORMULA.split(sentence)
    return "".join(formula(part) if i % 2 else words(part) for i, part in enumerate(parts))


def numbers(uses: Sequence[int], one: Callable[[int], str]) -> str:
    """The equations that a step rests on: (3), (5) and (6)."""
    return ", ".join(map(one, uses))


def capital(sentence: str) -> str:
    """The sentence with its first word capitalised, unless it starts with a formula."""
    return sentence[:1].upper() + sentence[1:]


__all__ = ["capital", "numbers", "written"]
