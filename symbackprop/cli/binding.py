"""From the columns of a table to the data of a network, with the rows held out and the columns standardised on request."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from symbackprop.cli.errors import UsageError
from symbackprop.cli.table import Table
from symbackprop.graph.draw import Draw
from symbackprop.graph.equations import System, collect
from symbackprop.graph.labels import index_data
from symbackprop.graph.shapes import Dim, show
from symbackprop.graph.tensor import Tensor
from symbackprop.text.builder import Source
from symbackprop.training.feed import Array


@dataclass(frozen=True)
class Bound:
    """`data` to train on, `held_out` to validate on (or None), and column → (mean, scale) of the standardised ones."""

    data: dict[str, Array]
    held_out: dict[str, Array] | None = None
    scales: dict[str, tuple[float, float]] = field(default_factory=dict)


def bind(source: Source, system: System, table: Table, validation: float, standardize: bool, seed: int) -> Bound:
    """The data of a network from a table: by the columns that the text form names, else by equal names."""
    positions = index_data(system)
    inputs = _inputs(system) if standardize else set()
    training, held_out = _split(table, validation, seed)
    data: dict[str, Array] = {}
    scales: dict[str, tuple[float, float]] = {}
    for t in [t for t in system.data if not isinstance(t.init, Draw)]:  # training draws the others
        places = _places(source, system, table, t)
        values = table.numbers(places, integers=t in positions)
        if t in inputs and t not in positions:
            mean, scale = values[training].mean(axis=0), values[training].std(axis=0)
            scale[scale == 0] = 1  # a column of one value says nothing, and stays 0
            values = (values - mean) / scale
            scales |= {table.header[p]: (float(m), float(s)) for p, m, s in zip(places, mean, scale, strict=True)}
        data[t.name] = values
    shaped = {t: {name: _shaped(by_name, values[rows]) for name, values in data.items() for by_name in [system.by_name[name]]}
              for t, rows in (("training", training), ("held out", held_out)) if len(rows)}  # fmt: skip
    return Bound(shaped["training"], shaped.get("held out"), scales)


def _inputs(system: System) -> set[Tensor]:
    """The data that the output depends on: inputs, not targets."""
    if system.output is None:
        raise UsageError("--standardize scales the data that the output depends on; name it in the text form, with a line such as 'output y'")
    return {t for t in collect([system.output]) if t.role == "data"}


def _split(table: Table, fraction: float, seed: int) -> tuple[Array, Array]:
    """The rows to train on, in the order of the table, and those held out, drawn by the seed."""
    rows = len(table.rows)
    count = round(fraction * rows)
    if fraction and not 0 < count < rows:
        raise UsageError(f"--validation {fraction:g} holds out {count} of {rows} rows; expected at least one, and one left to train on")
    order: Any = np.random.default_rng(seed).permutation(rows)
    return np.sort(order[count:]), np.sort(order[:count])


def _places(source: Source, system: System, table: Table, t: Tensor) -> list[int]:
    """The columns of one data tensor, as many as one row of it has entries."""
    axes = [size for size in t.shape if isinstance(size, Dim)]
    open_axes = any(isinstance(size, Dim) for other in system.data for size in other.shape)
    if len(axes) > 1 or (open_axes and not axes):
        raise UsageError(
            f"data {t.name!r} has shape {show(t.shape)}; a table needs exactly one open dimension in it, which counts the rows, as in data {t.name}[n, 2]"
        )
    entries = math.prod(size for size in t.shape if isinstance(size, int))
    columns = source.columns.get(t.name)
    if columns is None:
        if entries > 1:
            raise UsageError(f"data {t.name!r} has {entries} entries in a row; say from which columns, as in data {t.name} = columns(\"a\", \"b\")")
        if t.name not in table.header:
            table.place(t.name, f"data {t.name!r} names no column, so it")
        return [table.header.index(t.name)]
    places = table.places(columns, f"data {t.name!r}")
    if len(places) != entries:
        raise UsageError(f"data {t.name!r} of shape {show(t.shape)} has {entries} entries in a row, but {len(places)} columns; make them equal")
    return places


def _shaped(t: Tensor, values: Array) -> Array:
    """Rows of entries in the shape of the tensor; samples stand where its open dimension is, else first."""
    values = values.reshape(len(values), *(size for size in t.shape if isinstance(size, int)))
    axis = next((i for i, size in enumerate(t.shape) if isinstance(size, Dim)), 0)
    return np.moveaxis(values, 0, axis)
