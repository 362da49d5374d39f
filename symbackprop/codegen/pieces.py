"""A long function as several of bounded length, which are called one after the other. A compiler takes a time that grows with the square of a function's
length; cut up, a long training step is compiled in a time that grows with its length alone.

What each piece takes and gives is read off its text: the variables that it reads before it sets them, and those that it sets for others.
"""

import ast
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from symbackprop.codegen.native_text import listed

LONG = 300  # lines from which on a body is cut up: 290 were compiled in 19 s whole and in 22 s cut up, 400 in 37 s and in 28 s
LENGTH = 60  # about the lines of a piece


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


def grouped(statements: Sequence[Sequence[str]]) -> list[list[str]]:
    """The lines of statements in groups of about one length; a statement stays whole."""
    ends = list(accumulate(map(len, statements)))
    lines = sum(map(len, statements))
    length = lines / math.ceil(lines / LENGTH) if lines else 1
    groups: dict[int, list[str]] = {}
    for end, statement in zip(ends, statements, strict=True):
        groups.setdefault(int((end - len(statement) / 2) // length), []).extend(statement)
    return list(groups.values())


def function(name: str, lines: Sequence[str], known: Iterable[str], needed: Iterable[str]) -> tuple[str, list[str]]:
    """A function of these lines, and its call. `known`: the variables of the function that they come from; `needed`: what is read elsewhere."""
    variables = Variables(lines)
    taken = [v for v in variables.reads if v in set(known)]
    given = ", ".join(v for v in variables.sets if v in set(needed))
    body = [*lines, f"return {given}"] if given else lines
    text = "\n".join([*listed(f"def {name}", taken, ":"), *(f"    {line}" for line in body)])
    return text, listed(f"{given} = {name}" if given else name, taken)


__all__ = ["LENGTH", "LONG", "Variables", "function", "grouped"]
