"""What the less common signs of a derivation mean: a sentence for each that is printed, to stand before the first formula."""

import re
from collections.abc import Iterable

from symbackprop.derivation import rules
from symbackprop.derivation.steps import Section

# a sign in the LaTeX of a step: what it means
_SIGNS = {
    r"\\operatorname\{pad\}": r"$\operatorname{pad}$ puts zeros, or what stands above it, around the last axes, as many as stand below",
    r"\\operatorname\{windows\}": r"$\operatorname{windows}$ holds the windows of the size below it, their own axes before those of their position",
    r"\\operatorname\{fold\}": r"$\operatorname{fold}$ adds up overlapping windows in their places",
    r"\\operatorname\{reshape\}": r"$\operatorname{reshape}$ keeps the entries in their order and gives them the shape below it",
    r"\\operatorname\{transpose\}": r"$\operatorname{transpose}$ takes the axes in the order below it",
    r"\\operatorname\{sum\}": r"$\operatorname{sum}$ adds all entries, or those along the axes below it",
    r"\\operatorname\{broadcast\}": r"$\operatorname{broadcast}$ repeats its argument along the axes that it lacks",
    r"\\max_\{\\text\{ax": r"$\max$ takes the largest entry along the axes below it",
    r"\\operatorname\{onehot\}": r"$\operatorname{onehot}$ has a 1 in the place of the label, and else zeros",
    r"\\operatorname\{argmax\}": r"$\operatorname{argmax}$ is the place of the largest entry, the first of equal ones",
    r"\\operatorname\{scatter\}": r"$\operatorname{scatter}$ adds each row in the place that its index below says",
    r"\\right\]_\{[^{}]*:[^{}]*\}": r"${[U]}_{:,2:5}$ are the columns of $U$ from 2 to 4",
    r"\\right\]_\{(?![^{}]*[:=])[^{}]*[a-z]": r"${[U]}_{i}$ are the rows of $U$ with the numbers $i$",
    r"\\lfloor": r"$\lfloor \cdot \rfloor$ rounds down",
    r"\\bmod": r"$\bmod$ leaves the remainder",
    r"\\mathbf\{1\}_\{|\\left\[[^\\\[\]]*(\\left\\lfloor[^\[\]]*)? = [^\[\]]*\\right\]": r"a condition in brackets counts as 1 where it holds, else as 0",
}

_ALONG = ("softmax", r"log\,softmax", "logsumexp")  # functions of whole rows


def glossary(sections: Iterable[Section]) -> str:
    """The sentences on the signs that are printed, or nothing."""
    text = "\n".join(f"{step.left} {step.right}" for section in sections for step in section)
    along = [name for name in _ALONG if rf"\operatorname{{{name}}}" in text]
    found = [meaning for sign, meaning in _SIGNS.items() if re.search(sign, text)]
    if along:
        below = ", or along the axis that stands below" if any(rf"\operatorname{{{name}}}_" in text for name in along) else ""
        names = rules.join([rf"$\operatorname{{{name}}}$" for name in along])
        found.insert(0, f"{names} {'act' if len(along) > 1 else 'acts'} along the last axis, row by row{below}")
    found += [r"$\delta$ are the entries of $\Delta$"] if r"\delta^" in text and r"\Delta" in text else []
    return f"In these formulas, {'; '.join(found)}." if found else ""


__all__ = ["glossary"]
