"""How results look in a terminal: tables of aligned columns, and colours where somebody looks."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

GREEN, RED, BOLD = "32", "31;1", "1"


def coloured(text: str, code: str, stream: TextIO | None = None) -> str:
    """The text in a colour, if it goes to a terminal and NO_COLOR (https://no-color.org) is not set."""
    stream = stream or sys.stdout
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Lines of aligned columns; those with the places `numbers` end at the same edge."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [c.rjust(w) if i in numbers else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        return "  ".join(padded).rstrip()

    return "\n".join([coloured(line(header), BOLD), *map(line, rows)])


def write(text: str, path: str | None) -> None:
    """Print a result, or write it to a file and say so."""
    if path is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        Path(path).write_text(text, encoding="utf-8")
        wrote(path)


def wrote(*paths: str) -> None:
    print(f"wrote {' and '.join(paths)}", file=sys.stderr)
