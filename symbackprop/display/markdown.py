"""Derivations as Markdown, as GitHub and Jupyter show it: formulas between dollar signs, reasons below them."""

import re
from collections.abc import Sequence

from symbackprop.derivation.steps import Section, Step
from symbackprop.display.lines import contents, definitions, groups, reasons, rows, spans, verdict
from symbackprop.display.prose import capital, written
from symbackprop.latex.equations import align

WIDTH = 48.0  # em: what a column of a notebook holds

_SPECIAL = {c: "\\" + c for c in "\\`*_[]<>#|~"}


def words(text: str) -> str:
    """Plain text as Markdown."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def prose(sentence: str) -> str:
    return written(sentence, words, _inline)


def _inline(formula: str) -> str:
    """GitHub reads a line as Markdown first: an underscore after a bracket begins an emphasis, unless a space follows it, and a
    backslash before a comma is lost."""
    safe = re.sub(r"(?<=[^a-zA-Z0-9])_(?=[^ ])", "_ ", formula.replace(r"\,", r"\thinspace "))
    return f"${safe}$"


def markdown(title: str, sections: Sequence[Section]) -> str:
    listed = "\n".join(f"- {prose(heading)} {numbers}" for heading, numbers in contents(sections))
    parts = [f"# {prose(title)}", *([listed] if listed else []), *(text for section in sections for text in _section(section))]
    if closing := verdict(sections):
        parts.append(f"*{prose(closing)}*")
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> list[str]:
    parts = [f"## {prose(section.title)}", *map(prose, section.text)]
    for group in groups(section):
        if group.title:
            parts.append(f"**{prose(group.title)}**")
        parts.append(_aligned(group.steps))
        for step in group.steps:
            if step.where:
                parts.append(f"where\n\n$$\n{align(definitions(step, WIDTH), 'aligned')}\n$$")
        why = [f"- {spans(numbers)} {prose(text)}" for numbers, text in reasons(group.steps)]
        if why:
            parts.append("\n".join(why))
    return [*parts, *(prose(capital(note)) for note in section.notes)]


def _aligned(steps: Sequence[Step]) -> str:
    text = [row.latex + (rf" && \text{{({row.step.number})}}" if row.ends else "") for row in rows(steps, WIDTH)]
    return "$$\n\\begin{aligned}\n" + " \\\\\n".join(text) + "\n\\end{aligned}\n$$"


__all__ = ["markdown"]
