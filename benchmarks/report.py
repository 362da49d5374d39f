"""Tables of results, as Markdown that reads well in a terminal too, and their figures as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("sympy", "numpy", "scipy", "numba", "torch", "jax", "pytensor", "scikit-learn", "keras")


class Section(NamedTuple):
    """One of several tables under one title."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]]

    def markdown(self) -> str:
        return f"## {self.title}\n\n" + grid(self.columns, self.rows)


@dataclass
class Table:
    """`name` is that of its files; `text` says what was measured and how; `notes` what a reader should know of this run; `figures`
    holds the same measurements as numbers, for the summary and the plot; the first `words` columns hold words, the others numbers."""

    name: str
    title: str
    text: str
    columns: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    sections: list[Section] = field(default_factory=list)
    words: int = 1

    def markdown(self) -> str:
        parts = [f"# {self.title}", self.text]
        parts += [grid(self.columns, self.rows, self.words)] if self.rows else []
        parts += [section.markdown() for section in self.sections]
        parts += ["\n".join(f"- {note}" for note in self.notes)] if self.notes else []
        return "\n\n".join(parts) + "\n"

    def write(self) -> None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{self.name}.md").write_text(f"{self.markdown()}\n{machine()}\n", encoding="utf-8")
        if self.figures:
            (RESULTS / f"{self.name}.json").write_text(json.dumps(self.figures, indent=1) + "\n", encoding="utf-8")


def figures(name: str) -> dict[str, Any] | None:
    """What a measurement wrote the last time."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A Markdown table: words stand at the left, numbers at the right."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    rule = [*("-" * w for w in widths[:words]), *("-" * (w - 1) + ":" for w in widths[words:])]
    return "\n".join(_line(row, widths, words) for row in [columns, rule, *rows])


def _line(cells: Sequence[str], widths: Sequence[int], words: int) -> str:
    padded = [cell.ljust(w) if i < words else cell.rjust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))]
    return f"| {' | '.join(padded)} |"


def duration(seconds: float) -> str:
    """Three significant digits and the unit that suits them."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{digits(seconds / size)} {unit}"
    return f"{digits(seconds * 1e9)} ns"


def megabytes(count: float) -> str:
    return f"{digits(count / 1e6)} MB"


def ratio(value: float, unit: float) -> str:
    return f"{digits(value / unit)} ×"


def digits(value: float) -> str:
    """Three significant digits, without an exponent: 0.0123, 1.23, 123, 12,300."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def machine() -> str:
    """What it was measured with and on, in general terms. A load above the number of cores means that other work took part of them."""
    packages = []
    for package in PACKAGES:
        try:
            packages.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    parts = [f"Python {platform.python_version()}", *packages]
    return f"Measured with {', '.join(parts)}, on {platform.system()}, {os.cpu_count()} cores of {processor()}, load {os.getloadavg()[1]:.1f}."


def processor() -> str:
    """The kind of processor: the maker and series that Linux tells, else the architecture."""
    path = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in path.read_text().splitlines() if line.startswith("model name")] if path.exists() else []
    return f"{models[0]} ({platform.machine()})" if models else platform.machine()
