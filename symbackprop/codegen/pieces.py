"""The pieces that a compiled step consists of: each is a function that knows nothing but a table of memory and the places in it that it is about.
Two that differ in names alone are one, in one network as in all: it is compiled once and kept.

What a piece is about is read off its text.
"""

import ast
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from symbackprop.codegen.helpers import HELPERS
from symbackprop.codegen.native_text import compiled_helpers, indented, row


class Memory(NamedTuple):
    """What a name in the text of a piece stands for: the array at a place of the table under a shape, its extents as text; a number in memory where
    the shape is empty. `kind`: "real" or "whole" numbers."""

    place: str
    shape: tuple[str, ...]
    kind: str = "real"


class Piece(NamedTuple):
    """`text` of the function; `places` in the table that it is about, in the order in which it takes them."""

    text: str
    places: tuple[str, ...]


class Variables:
    """The names that some lines read before they set them, and those that they set, in the order of the text."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.reads: dict[str, None] = {}
        self.sets: dict[str, None] = {}
        for name, is_set in _names(ast.parse("\n".join(lines)).body):
            if is_set:
                self.sets[name] = None
            elif name not in self.sets:
                self.reads[name] = None


def _names(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """(name, whether it is set) as the code comes to them: of each statement first what it reads, then what it sets, then the block below it."""
    for statement in statements:
        block = [node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt)]
        parts = [node for node in ast.iter_child_nodes(statement) if not isinstance(node, ast.stmt)]
        names = [node for part in parts for node in ast.walk(part) if isinstance(node, ast.Name)]
        yield from ((node.id, False) for node in names if isinstance(node.ctx, ast.Load) or isinstance(statement, ast.AugAssign))
        yield from ((node.id, True) for node in names if isinstance(node.ctx, ast.Store))
        yield from _names(block)


_WORD = re.compile(r"(?<![\w.])[^\W\d]\w*")


def piece(lines: Sequence[str], memory: Mapping[str, Memory], sizes: Collection[str], words: Mapping[str, str]) -> Piece:
    """The piece that consists of these lines. `memory`: what names stand for; `sizes`: the names of sizes, which are whole numbers in the table;
    `words`: what the text calls the names of a module.

    Names are a_1, a_2 … for arrays, s_1 … for numbers in memory, n_1 … for sizes and v_1 … for what the piece computes by the way.
    """
    variables = Variables(lines)
    named = dict(words)
    counts = dict.fromkeys("asnv", 0)
    place: dict[str, str] = {}  # the place of a size or a value → how the piece gets its number in the table

    def called(name: str, letter: str) -> str:
        if name not in named:
            counts[letter] += 1
            named[name] = f"{letter}_{counts[letter]}"
        return named[name]

    def numbered(what: str) -> str:
        return place.setdefault(what, f"at[args[{len(place)}]]")

    def size(text: str) -> str:
        if text.isdigit():
            return text
        if text not in named:
            before.append(f"{called(text, 'n')} = {numbered(text)}")
        return named[text]

    before: list[str] = []
    after: list[str] = []
    values: dict[Memory, str] = {}
    for name in dict.fromkeys([*variables.reads, *variables.sets]):
        if name in memory:
            found = memory[name]
            shape = row(map(size, found.shape) if found.shape else ["1"])
            seen = f"view({numbered(found.place)}, {shape}, {found.kind})" + ("" if found.shape else "[0]")
            if found in values:  # two names of one array: the compiler need not ask whether they overlap
                named[name] = values[found]
                continue
            value = values[found] = called(name, "a" if found.shape else "s")
            before += [f"{value} = {seen}"] if name in variables.reads else []
            after += [f"{seen} = {value}"] if name in variables.sets else []
        elif name in sizes:
            size(name)
        elif name in variables.sets:
            called(name, "v")
    body = [_WORD.sub(lambda match: named.get(match[0], match[0]), line) for line in lines]
    return Piece("\n".join(["def piece(at, args):", indented([*before, *body, *after], 1)]), tuple(place))


_HEAD = '''
"""A piece of a compiled step. Written by symbackprop {version}."""

import math

import numpy as np
from numba import njit

from symbackprop.codegen import kernels
from symbackprop.codegen.machine import view

real, whole = np.{dtype}, np.int64
'''


def head(dtype: str, version: str) -> str:
    """What stands above pieces."""
    return _HEAD.lstrip().format(dtype=dtype, version=version)


def helpers_of(text: str) -> str:
    """The helper functions that a text calls, and those that they call, compiled."""
    found = set(_WORD.findall(text)) & HELPERS.keys()
    while more := {other for name in found for other in HELPERS[name].needs} - found:
        found |= more
    return compiled_helpers(found, "kernels")


__all__ = ["Memory", "Piece", "Variables", "head", "helpers_of", "piece"]
