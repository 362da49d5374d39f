"""Derivations for a terminal: a step a line, formulas as LaTeX."""

from collections.abc import Sequence

from symbackprop.derivation.steps import Section
from symbackprop.display.lines import reason, verdict


def plain(title: str, sections: Sequence[Section]) -> str:
    lines = [title.replace("$", ""), ""]
    for section in sections:
        lines += [section.title.replace("$", ""), *(f"  {text.replace('$', '')}" for text in section.text)]
        for step in section:
            lines += [f"  ({step.number})  {step.latex}", f"         {reason(step).replace('$', '')}"]
            lines += [f"         where {left} = {right}" for left, right in step.where]
        lines += [f"  {note.replace('$', '')}" for note in section.notes] + [""]
    return "\n".join([*lines, verdict(sections)]).rstrip() + "\n"


__all__ = ["plain"]
