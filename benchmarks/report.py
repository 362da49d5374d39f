"""Tables of results, as Markdown that reads well in a terminal too."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass
class Table:
    """`name` is that of its file; `text` says what was measured and how; `notes` what a reader should know of this run."""

    name: str
    title: str
    text: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        widths = [max(len(row[i]) for row in [self.columns, *self.rows]) for i in range(len(self.columns))]
        # The first column names the row; the others hold numbers, which stand at the right.
        rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
        lines = [_line(self.columns, widths), _line(rule, widths), *(_line(row, widths) for row in self.rows)]
        notes = [f"- {note}" for note in self.notes]
        return "\n".join([f"# {self.title}", "", self.text, "", *lines, *(["", *notes] if notes else [])]) + "\n"

    def write(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(f"{self.markdown()}\n{machine()}\n", encoding="utf-8")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return "| " + " | ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]) + " |"


def duration(seconds: float) -> str:
    """Three significant digits and the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds * 1e9)} ns"


def ratio(seconds: float, ours: float) -> str:
    return f"{_digits(seconds / ours)} ×"


def _digits(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def machine() -> str:
    """What it was measured with. A load above the number of cores means that other work took part of them."""
    parts = [f"Python {platform.python_version()}"]
    for package in ("sympy", "numpy", "torch"):
        try:
            parts.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return f"Measured with {', '.join(parts)}, on {platform.system()} with {os.cpu_count()} cores, load {os.getloadavg()[1]:.1f}."
