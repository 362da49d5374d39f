r"""Derivations as LaTeX: a fragment for a paper, or a whole article. It needs amsmath and amssymb and no more."""

from collections.abc import Sequence

from symbackprop.derivation.steps import Section, Step
from symbackprop.display.lines import contents, definitions, groups, reasons, rows, spans, verdict
from symbackprop.display.prose import capital, written
from symbackprop.latex.equations import align

WIDTH = 37.0  # em: what an equation has on a page beside its number

PREAMBLE = r"""\documentclass[11pt,a4paper]{article}
\usepackage[margin=26mm]{geometry}
\usepackage[utf8]{inputenc}
\usepackage[T1]{fontenc}
\usepackage{lmodern}
\usepackage{amsmath,amssymb}
\usepackage{microtype}
\allowdisplaybreaks
\setlength{\parindent}{0pt}
\setlength{\parskip}{4pt plus 2pt}
\emergencystretch=2em
\AtBeginDocument{\abovedisplayskip=5pt plus 3pt \belowdisplayskip=7pt plus 3pt}

"""

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "←": r"$\leftarrow$", "–": "--", "<": r"$<$", ">": r"$>$"}
_SPECIAL |= {c: "\\" + c for c in "&%#_{}$"}


def words(text: str) -> str:
    """Plain text as LaTeX."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def prose(sentence: str) -> str:
    return written(sentence, words, lambda formula: f"${formula}$")


def article(title: str, sections: Sequence[Section]) -> str:
    """A document that pdflatex compiles."""
    head = f"\\begin{{document}}\n\\begin{{center}}\\LARGE {prose(title)}\\end{{center}}\n"
    if entries := contents(sections):
        listed = "\n\n".join(rf"{prose(heading)} \dotfill\ {words(numbers)}" for heading, numbers in entries)
        head += f"\\section*{{Contents}}\n{{\\parskip=0pt\n{listed}\\par}}\n"
    return f"{PREAMBLE}{head}\n{fragment(sections)}\n\\end{{document}}\n"


def fragment(sections: Sequence[Section]) -> str:
    """The sections, for \\input into a paper."""
    parts = [_section(section) for section in sections]
    if closing := verdict(sections):
        parts.append(f"\\medskip\\noindent\n{prose(closing)}\n")
    return "\n".join(parts)


def _section(section: Section) -> str:
    parts = [f"\\section*{{{prose(section.title)}}}", *map(prose, section.text)]
    if section.text:
        parts.append(r"\nopagebreak")
    for group in groups(section):
        if group.title:
            parts.append(f"\n\\paragraph{{{prose(group.title)}.}}\\leavevmode")
        parts.append(_aligned(group.steps))  # no blank line before it: that would be a paragraph of its own
        parts += [f"where\n{_where(step)}" for step in group.steps if step.where]
        why = "; ".join(f"{spans(numbers)}~{prose(text)}" for numbers, text in reasons(group.steps))
        if why:
            parts.append(f"{{\\small {why}.\\par}}")
    parts += [f"\n{prose(capital(note))}" for note in section.notes]
    return "\n".join(parts) + "\n"


def _aligned(steps: Sequence[Step]) -> str:
    lines = list(rows(steps, WIDTH))
    text = []
    for row, following in zip(lines, [*lines[1:], None], strict=True):
        tag = rf" \tag{{{row.step.number}}}" if row.ends else r" \notag"
        apart = "[4pt]" if following is not None and not row.left and following.left else ""  # after an equation of several lines
        ending = "" if following is None else rf" \\{apart}" if row.ends else r" \\*"  # the lines of one equation stay on one page
        text.append(f"  {row.latex}{tag}{ending}")
    return "\\begin{align}\n" + "\n".join(text) + "\n\\end{align}"


def _where(step: Step) -> str:
    return align(definitions(step, WIDTH))


__all__ = ["article", "fragment"]
