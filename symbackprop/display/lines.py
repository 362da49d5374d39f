"""How a section's steps stand on a page: which of them share one aligned block, where their formulas break, and what is said of them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from symbackprop.derivation.steps import Section, Step
from symbackprop.latex.boxes import width as extent
from symbackprop.latex.breaking import break_lines


class Group(NamedTuple):
    """An aligned block: its heading, or none where several blocks of one line were put together, and its steps."""

    title: str
    steps: list[Step]


class Row(NamedTuple):
    """A line of an aligned block. `left` and `relation` are empty on a line that goes on; `ends`: whether it is the last of its step,
    where the number stands."""

    step: Step
    left: str
    relation: str
    right: str
    ends: bool

    @property
    def latex(self) -> str:
        """The line in an align, without its number."""
        return f"{self.left + ' ' if self.left else ''}&{self.relation + ' ' if self.relation else ''}{self.right}"


def groups(section: Section) -> Iterator[Group]:
    """Blocks of one line that follow each other stand together."""
    single: list[Step] = []
    for block in section.blocks:
        if len(block) == 1 and block[0].left and not block[0].where:
            single += block
            continue
        if single:
            yield Group("", single)
        single = []
        repeated = section.title.lower().endswith(block[0].title.lower())  # "Backward: the gradient of w"
        yield Group("" if repeated else block[0].title, block)
    if single:
        yield Group("", single)


def rows(steps: Sequence[Step], width: float) -> Iterator[Row]:
    """The lines of a block, each formula broken where it is wider than `width` (em)."""
    room = width - max(extent(step.left) for step in steps)  # the left sides share a column
    for step in steps:
        left, relation = step.left, step.relation
        *parts, last = (part for _, part in break_lines("", step.right, room))
        for part in parts:
            yield Row(step, left, relation, part, ends=False)
            left = relation = ""
        yield Row(step, left, relation, last, ends=True)


def definitions(step: Step, width: float) -> list[tuple[str, str]]:
    """The abbreviations in a step, as lines of an align."""
    return [line for left, right in step.where for line in break_lines(left, right, width)]


def reason(step: Step) -> str:
    """Why a step holds, and by which equations."""
    by = ", ".join(f"({n})" for n in step.uses)
    return f"{step.rule}, by {by}" if by and not step.defines else step.rule


def reasons(steps: Sequence[Step]) -> list[tuple[list[int], str]]:
    """The reasons of a block, each once: ([6, 9], "sum rule, by (3), (5)"). Definitions need none."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        if not step.defines:
            found.setdefault(step.rule, []).append(step)
    result = []
    for rule, those in found.items():
        by = sorted({n for step in those for n in step.uses})
        result.append(([step.number for step in those], f"{rule}, by {spans(by)}" if by else rule))
    return result


def spans(numbers: Sequence[int]) -> str:
    """The numbers of equations: (1), (4)-(7)."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"({r[0]})" if len(r) == 1 else f"({r[0]}), ({r[1]})" if len(r) == 2 else f"({r[0]})–({r[-1]})" for r in runs)


LONG = 60  # steps: five or six pages


def contents(sections: Sequence[Section]) -> list[tuple[str, str]]:
    """The headings of a long derivation, each with the numbers of its equations; nothing where it can be looked through."""
    numbered = [(section.title, [step.number for step in section]) for section in sections]
    return [(title, spans(numbers)) for title, numbers in numbered] if sum(len(numbers) for _, numbers in numbered) > LONG else []


def verdict(sections: Sequence[Section]) -> str:
    """One sentence on how the checks came out."""
    held = [s for section in sections for s in section if s.verification is not None]
    steps = [s for s in held if s.verification is not None and not s.verification.unchecked]
    if not steps:
        return ""
    wrong = [s.number for s in steps if s.verification is not None and not s.verification.ok]
    if wrong:
        what = "equation" if len(wrong) == 1 else "equations"
        return f"The numbers disagree with {what} {spans(wrong)}: WRONG."
    worst = max(steps, key=lambda s: s.verification.error if s.verification is not None else 0.0)
    assert worst.verification is not None
    without = [s.number for s in held if s.verification is not None and s.verification.unchecked]
    reason = next((s.verification.unchecked for s in held if s.verification is not None and s.verification.unchecked), "")
    missing = f"; {spans(without)} {'is' if len(without) == 1 else 'are'} unchecked: {reason}" if without else ""
    return (
        f"{len(steps)} equations were checked by numbers, a large tensor at three entries; "
        f"the largest relative error is {_scientific(worst.verification.error)}, of ({worst.number}) against {worst.verification.method}{missing}."
    )


def _scientific(error: float) -> str:
    mantissa, _, exponent = f"{error:.0e}".partition("e")
    return rf"${mantissa} \cdot 10^{{{int(exponent)}}}$" if error else "$0$"


__all__ = ["Group", "Row", "contents", "definitions", "groups", "reason", "reasons", "rows", "spans", "verdict"]
