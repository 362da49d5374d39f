"""What a derivation is made of: sections of steps. How they look on a page is display's."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import sympy as sp

from symbackprop.derivation.numbers import Check


@dataclass(frozen=True)
class Step:
    """One equation and why it holds.

    `title`: what it is about, `rule`: why it holds; both are sentences with formulas between dollar signs. `equation`: SymPy's
    equality of the left side and the right. `left`, `relation` and `right` are its LaTeX; `left` is empty where the equation goes on
    from the step before: a = b (1), = c (2). `where`: definitions of abbreviations in it, as (left, right) pairs of LaTeX. `uses`: the
    numbers of the steps that it rests on. `verification`: how it came out at random inputs, or None. `defines`: whether it says what
    something is, rather than what follows.
    """

    number: int
    title: str
    equation: sp.Basic
    rule: str
    left: str
    right: str
    relation: str = "="
    where: tuple[tuple[str, str], ...] = ()
    uses: tuple[int, ...] = ()
    verification: Check | None = None
    defines: bool = False

    @property
    def latex(self) -> str:
        """The equation as LaTeX, on one line."""
        return f"{self.left} {self.relation} {self.right}".strip()

    def __str__(self) -> str:
        return f"({self.number}) {self.title}: {self.latex}  [{self.rule}]"


@dataclass
class Section:
    """A heading, sentences, and blocks of steps; the steps of a block are one chain of equalities. `notes` say what was left out."""

    title: str
    text: list[str] = field(default_factory=list)
    blocks: list[list[Step]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Step]:
        return (step for block in self.blocks for step in block)


__all__ = ["Section", "Step"]
