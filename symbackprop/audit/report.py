"""What an audit says: a finding for each weight, and the report of all, as text and Markdown."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from symbackprop.errors import UnknownWeightError, UnsupportedError, ZeroGradientWarning


@dataclass(frozen=True)
class Finding:
    """What was found about one weight.

    `right`; `relative_error` of the worst entry; `diagnosis`, a short name of the mistake ("sign", "factor", "transposed", "activation
    derivative" ..., joined by " and "; "right" where there is none); `explanation`, a sentence or two for a learner; `factor`, by which the
    given numbers differ, where that is the mistake; `formula` and `text`, the true gradient as LaTeX and as plain text.
    """

    name: str
    right: bool
    relative_error: float
    diagnosis: str
    explanation: str
    factor: float | None = None
    loss: str = "C"
    gradient: Any = field(default=None, repr=False, compare=False)

    @property
    def missing(self) -> bool:
        """Whether nothing was given for this weight."""
        return self.diagnosis == "missing"

    @property
    def wrong(self) -> bool:
        return not self.right and not self.missing

    @property
    def verdict(self) -> str:
        return "right" if self.right else "missing" if self.missing else "wrong"

    @property
    def formula(self) -> str:
        """The true gradient as LaTeX: in matrix form, or for a scalar with the network's named values."""
        try:
            latex: str = self.gradient.latex("matrix" if self.gradient.weight.shape else "local")
        except UnsupportedError:  # too long to be written out
            latex = self.gradient.latex("matrix")
        return latex

    @property
    def text(self) -> str:
        """The true gradient as plain text."""
        try:
            return f"d{self.loss}/d{self.name} = {self.gradient.local}"
        except UnsupportedError as error:
            return f"(too long to be written out: {error})"

    def __str__(self) -> str:
        return f"{self.name}: {self.verdict}" + ("" if self.right else f" ({self.diagnosis}). {self.explanation}")


@dataclass(frozen=True)
class Audit:
    """The findings by weight. `ok`: whether all are right, and none is missing; `report["w_1"]`: one finding; `learning_rate`: what an
    audited update was found to use, or None; `what` was audited, "gradient" or "update"; `hint`: what is odd, but not wrong."""

    findings: dict[str, Finding]
    tolerance: float
    learning_rate: float | None = None
    what: str = "gradient"
    hint: str = ""

    @property
    def ok(self) -> bool:
        return all(f.right for f in self.findings.values())

    @property
    def wrong(self) -> list[str]:
        """The names of the weights that are wrong."""
        return [name for name, f in self.findings.items() if f.wrong]

    @property
    def missing(self) -> list[str]:
        """The names of the weights for which nothing was given."""
        return [name for name, f in self.findings.items() if f.missing]

    def __getitem__(self, key: Any) -> Finding:
        name = getattr(key, "name", key)
        if name not in self.findings:
            raise UnknownWeightError(f"the weight {name!r} is not in the network; it has {', '.join(map(repr, self.findings)) or 'no weights'}")
        return self.findings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def __bool__(self) -> bool:
        """Whether all are right: `assert net.audit(...)` says what it seems to say."""
        return self.ok

    def _head(self) -> str:
        count, missing, total = len(self.wrong), len(self.missing), len(self.findings)
        if missing:
            counts = {"right": total - count - missing, "wrong": count, "missing": missing}
            verdict = ", ".join(f"{number} {which}" for which, number in counts.items() if number)
        elif count:
            verdict = f"{count} of {total} {plural(total, self.what)} {'is' if count == 1 else 'are'} wrong"
        else:
            verdict = f"all {total} {self.what}s are right" if total > 1 else f"the {self.what} is right"
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:g}"
        return verdict + rate + (f" ({self.hint})" if self.hint else "")

    def __repr__(self) -> str:
        rows = [("weight", "verdict", "error", "diagnosis")]
        rows += [(f.name, f.verdict, _percent(f.relative_error), "" if f.right else f.diagnosis) for f in self.findings.values()]
        widths = [max(len(row[k]) for row in rows) for k in range(4)]
        table = ["  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        notes = [line for f in self.findings.values() if not f.right for line in ("", f"{f.name}: {f.explanation}", f"    {f.text}")]
        return "\n".join([f"Audit: {self._head()}", *table, *notes])

    def markdown(self) -> str:
        """A table with formulas as `$...$`, as GitHub and Jupyter render it."""
        lines = [f"**Audit:** {self._head()}", "", "| weight | verdict | relative error | true gradient | diagnosis |", "|---|---|---|---|---|"]
        for f in self.findings.values():
            said = "" if f.right else f"**{_words(f.diagnosis)}**: {_words(f.explanation)}"
            lines.append(f"| `{f.name}` | {f.verdict} | {_percent(f.relative_error)} | ${_cell(f.formula)}$ | {_cell(said)} |")
        return "\n".join(lines)

    def _repr_markdown_(self) -> str:
        """No HTML beside it: that would be preferred, and VS Code sets no formulas in HTML."""
        return self.markdown()


def gradient_of(gradients: Mapping[str, Any], name: str) -> Any:
    """One entry of `net.gradients`, without the warning that it is zero: here that is a finding like any other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroGradientWarning)
        return gradients[name]


def plural(count: int, noun: str, many: str = "") -> str:
    return noun if count == 1 else many or f"{noun}s"


def _percent(error: float) -> str:
    return "-" if error != error or error == float("inf") else f"{error:.1e}"


def _words(text: str) -> str:
    """Text in which Markdown finds no emphasis, link or tag of its own: a_1**2 and x*y."""
    return "".join("\\" + c if c in "\\`*_[]<>#~$" else c for c in text)


def _cell(text: str) -> str:
    r"""Text inside a table's cell: on one line, and | written so that it does not end the cell."""
    return " ".join(text.split()).replace("|", r"\vert " if text.startswith("\\") else r"\|")


__all__ = ["Audit", "Finding", "gradient_of", "plural"]
