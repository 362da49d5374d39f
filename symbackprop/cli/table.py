"""Tables: CSV files with a header, read by column, with errors that name the row as an editor counts it."""

import csv
import math
import os
import re
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Any

import numpy as np

from symbackprop.cli.errors import TableError
from symbackprop.text.page import suggestion
from symbackprop.text.syntax import Columns
from symbackprop.training.feed import Array

_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
DECIMAL = "; a decimal number has a point, as in 1.5, and no comma"
_MISSING = ("", "na", "n/a", "nan", "null", "none", "?", "-", ".")


@dataclass(frozen=True)
class Table:
    """`header`: the names; `rows`: the cells as text; `lines`: row → the line of the file where it ends."""

    file: str
    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    def place(self, name: str, after: str) -> int:
        """The number of a column."""
        if name not in self.header:
            hint = suggestion(name, self.header) or f"; it has {', '.join(map(repr, self.header[:20]))}{', ...' * (len(self.header) > 20)}"
            raise TableError(self.file, 1, f"{after} reads the column {name!r}, which the table does not have{hint}")
        return self.header.index(name)

    def places(self, columns: Columns, after: str) -> list[int]:
        """The numbers of columns; a pair of names stands for all from the one to the other."""
        found: list[int] = []
        for column in columns:
            if isinstance(column, str):
                found.append(self.place(column, after))
                continue
            first, last = (self.place(name, after) for name in column)
            if first > last:
                raise TableError(self.file, 1, f"{after} reads from the column {column[0]!r} to {column[1]!r}, which stands before it")
            found.extend(range(first, last + 1))
        return found

    def numbers(self, places: list[int], integers: bool = False) -> Array:
        """Columns as an array of shape (rows, columns)."""
        values = [[self._number(row, place, integers) for place in places] for row in range(len(self.rows))]
        return np.array(values, dtype=int if integers else float).reshape(len(self.rows), len(places))

    def _number(self, row: int, place: int, integer: bool) -> float | int:
        cell = self.rows[row][place].strip()
        if not _NUMBER.fullmatch(cell):
            hint = DECIMAL if _NUMBER.fullmatch(cell.replace(",", ".", 1)) else ""
            what = "the value is missing" if cell.lower() in _MISSING else f"{cell!r} is not a number{hint}"
            raise TableError(self.file, self.lines[row], f"column {self.header[place]!r}: {what}")
        value = float(cell)
        if not math.isfinite(value):
            raise TableError(self.file, self.lines[row], f"column {self.header[place]!r}: {cell} is too large")
        if integer and not value.is_integer():
            raise TableError(self.file, self.lines[row], f"column {self.header[place]!r}: {cell} is not an integer, and the network takes it as a position")
        return int(value) if integer else value


def read_table(file: str) -> Table:
    """A CSV file with a header (UTF-8, commas); "-" is the standard input. Raises `TableError` with the row that is wrong."""
    try:
        if file == "-":
            return _read(file, TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline=""))
        if stat.S_ISCHR(os.stat(file).st_mode):
            raise TableError(file, 0, "a device, not a table")
        with open(file, encoding="utf-8-sig", newline="") as lines:
            return _read(file, lines)
    except UnicodeDecodeError:
        raise TableError(file, 0, "the table is not UTF-8; save it as UTF-8") from None


def _read(file: str, lines: Iterable[str]) -> Table:
    reader: Any = csv.reader(lines, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    header: list[str] = []
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue  # a blank line, as editors leave one at the end
            if not header:
                header = _header(file, reader.line_num, cells)
            elif len(cells) != len(header):
                hint = DECIMAL if len(cells) > len(header) else ""
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                raise TableError(file, reader.line_num, f"the row has {count}, but the header has {len(header)}; give every row as many{hint}")
            else:
                rows.append(cells)
                numbers.append(reader.line_num)
    except csv.Error as error:
        raise TableError(file, reader.line_num, f"the row is not CSV: {error}") from None
    if not rows:
        raise TableError(file, 0, "the table has a header but no rows" if header else "the table is empty; expected a header with the names of the columns")
    return Table(file, header, rows, numbers)


def _header(file: str, line: int, cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for other in (";", "\t"):
        if len(names) == 1 and other in names[0]:
            raise TableError(file, line, f"the columns are separated by {other!r}; expected commas")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise TableError(file, line, f"the column {twice!r} stands twice in the header" if twice else "two columns have no name")
    return names
