"""What the sources of compiled modules share: helper functions, imports, indentation, tuples taken apart."""

import textwrap
from collections.abc import Iterable

from symbackprop.codegen.helpers import helper_source


def compiled_helpers(names: set[str], kernels: str) -> str:
    """Helper functions of float arithmetic, compiled; they rely on the order of their operations."""
    return compiled(helper_source(names, scalar=True), kernels, "EXACT")


def compiled(functions: Iterable[str], kernels: str, how: str = "COMPILED") -> str:
    """The functions, to be compiled."""
    return "".join(f"\n\n@njit(**{kernels}.{how})\n{text}\n" for text in functions)


def imported(kernels: str) -> str:
    """The kernels under the name that the network leaves them."""
    return "kernels" if kernels == "kernels" else f"kernels as {kernels}"


def indented(lines: list[str], depth: int) -> str:
    return "\n".join("    " * depth + line for line in lines)


def taken(source: str, names: list[str]) -> list[str]:
    """The parts of a tuple by their names."""
    return listed("", names if len(names) > 1 else [f"{name}," for name in names], f" = {source}") if names else []


def listed(before: str, names: Iterable[str], after: str = "") -> list[str]:
    """Names in brackets, with what stands before and after: a line, or as many as they fill."""
    text = ", ".join(names)
    if len(line := f"{before}({text}){after}") < 100:
        return [line]
    return [f"{before}(", *textwrap.wrap(text + ",", 96, initial_indent="    ", subsequent_indent="    "), f"){after}"]


def row(names: Iterable[str]) -> str:
    """A tuple."""
    parts = list(names)
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"


__all__ = ["compiled", "compiled_helpers", "imported", "indented", "listed", "row", "taken"]
