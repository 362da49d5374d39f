"""What is said of the stability of a network: one finding for each equation, and the report of all, as text and Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getdoc, signature
from math import inf
from typing import Any

import numpy as np
import sympy as sp
from mpmath import nstr

from symbackprop.errors import NetworkError
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.cross_entropy import OfLogits
from symbackprop.graph.operators.divergence import OfTwoLogits
from symbackprop.graph.operators.softmax_slopes import ShareSlope
from symbackprop.graph.stable import Stable
from symbackprop.latex.printer import TensorLatex

LIMIT = 4  # units in the last place
HALF = 2.0**26  # half of the digits are lost
CANCELS = "cancels"
TINY = 2.0**-1022  # numbers below it have fewer digits
NUMBERS = 12  # of an argument are printed


@dataclass(frozen=True)
class Place:
    """One entry of a result, at arguments `at` by name: what was `found`, what is `true`, and how far apart they are in units in the last place of the
    true value (`ulps`) and of the largest term of any sum in it (`terms`)."""

    at: dict[str, Any]
    entry: tuple[int, ...]
    found: float
    true: Any
    ulps: float
    terms: float

    @property
    def loss(self) -> str:
        """What makes the error: it is not finite; or terms of a sum cancel, of which none is off by more than LIMIT; or a number on the way is too small
        for a float; or none of these."""
        if self.ulps == inf:
            return "not finite"
        if self.terms <= LIMIT:
            return CANCELS
        return "underflows" if abs(self.true) < TINY or self.found == 0 else "inexact"

    @property
    def shares(self) -> str:
        return f": {_units(self.ulps)} ulp of the result, {_units(self.terms)} of its largest term"

    def __str__(self) -> str:
        entry = f"entry {list(self.entry)} is" if self.entry else "it is"
        return f"{', '.join(f'{k} = {_numbers(v)}' for k, v in self.at.items())}: {entry} {nstr(self.true, 17)}, and {self.found!r} is found"


@dataclass(frozen=True)
class Measured:
    """`worst`: the largest error, in units in the last place of the result, or of what sums of inputs are made of where they cancel; at how many arguments
    it was `broken`, not a number or infinite where the true value is neither. `place`: where it is worst; `relative`: where the error is the largest
    part of the result."""

    worst: float
    broken: int
    place: Place
    relative: Place

    @property
    def at(self) -> dict[str, Any]:
        """The arguments of the worst error."""
        return self.place.at

    @property
    def cancels(self) -> bool:
        """Whether half of the digits or more are lost where terms of a sum cancel, although no term is off by more than LIMIT."""
        return HALF < self.relative.ulps < inf and self.relative.terms <= LIMIT

    def __str__(self) -> str:
        return _units(self.worst)


@dataclass(frozen=True)
class EquationStability:
    """`before` and `after`: the right side as written and as computed (None where there is none); `rules`: the rewrites applied, as text; `was` and
    `now`: the measured errors of the two; `inputs`: of what they are functions; `arguments`: at how many of them; `note`: why nothing was measured."""

    name: str
    before: sp.Expr | None
    after: sp.Expr | None
    rules: tuple[str, ...] = ()
    was: Measured | None = None
    now: Measured | None = None
    inputs: tuple[str, ...] = ()
    arguments: int = 0
    note: str = ""

    @property
    def rewritten(self) -> bool:
        return bool(self.rules)

    @property
    def same(self) -> bool:
        """Whether it is computed as written."""
        return str(self.before) == str(self.after)

    @property
    def ok(self) -> bool:
        """Whether the form that is computed was within LIMIT everywhere it was measured. Nothing is claimed of what was not."""
        return self.now is None or self.now.worst <= LIMIT

    @property
    def cancels(self) -> bool:
        """Whether terms of a sum cancel and leave little of the result, although none of them is off by more than LIMIT: what is lost is a part of the
        result, not of the terms."""
        return self.now is not None and (self.now.cancels if self.ok else self.now.place.loss == CANCELS)

    @property
    def is_defect(self) -> bool:
        """Whether the form that is computed is off for another reason: it is not finite, underflows on the way, or is inexact."""
        return not self.ok and not self.cancels

    @property
    def verdict(self) -> str:
        """What is wrong with the form that is computed, in words; nothing where nothing is."""
        if self.ok or self.now is None:
            return ""
        wrong = self.now.place.loss
        return f"{wrong}: no rule is known for it" if self.same else f"still {wrong}: what was rewritten does not mend it"

    @property
    def remark(self) -> str:
        """The verdict, or that sums of inputs cancel; how much of the result that is, and how much of the terms."""
        if self.now is None or not (self.verdict or self.now.cancels):
            return ""
        return (self.verdict or "sums of inputs cancel") + self.worst.shares if self.cancels else self.verdict

    @property
    def worst(self) -> Place:
        """Where the form that is computed is worst; where sums of inputs cancel, there."""
        assert self.now is not None
        return self.now.relative if self.ok else self.now.place

    def __str__(self) -> str:
        lines = [f"{self.name} = {self.before}" if self.before is not None else f"{self.name}"]
        if self.rewritten and self.after is not None:
            lines += [f"    computed as {self.after}", *(f"    by {rule}" for rule in self.rules)]
        elif self.after is not None:
            changed = f"not rewritten itself; its inputs were, and what follows is {self.after}"
            lines.append("    not rewritten: computed as written" if self.same else f"    {changed}")
        if self.was is not None and self.now is not None:
            errors = str(self.now) if self.was == self.now else f"{self.was} as written, {self.now} as computed"
            lines.append(f"    error in ulp, worst of {self.arguments} arguments: {errors}")
            if self.remark:
                lines += [f"    {self.remark}", f"    worst at {self.worst}"]
        return "\n".join([*lines, *([f"    {self.note}"] if self.note else [])])


@dataclass(frozen=True)
class Stability:
    """The findings by equation. `ok`: whether every form that was measured is within 4 units in the last place; `cancelling` and `defects`: the
    names of those that are not, because terms of a sum cancel or for another reason; `report["a_1"]`: one finding."""

    findings: dict[str, EquationStability]
    samples: int

    @property
    def ok(self) -> bool:
        return all(f.ok for f in self.findings.values())

    @property
    def rewritten(self) -> list[str]:
        """The names of the equations that are computed otherwise than written."""
        return [f.name for f in self.findings.values() if f.rewritten]

    @property
    def cancelling(self) -> list[str]:
        return [f.name for f in self.findings.values() if f.cancels and not f.ok]

    @property
    def defects(self) -> list[str]:
        return [f.name for f in self.findings.values() if f.is_defect]

    def __getitem__(self, key: Any) -> EquationStability:
        name = getattr(key, "name", key)
        if name not in self.findings:
            raise NetworkError(f"the network has no equation {name!r}; it has {', '.join(self.findings)}; ask for one of them")
        return self.findings[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    def _head(self) -> str:
        measured = [f for f in self.findings.values() if f.now is not None]
        good = sum(f.ok for f in measured)
        found = [f"{good} of {len(measured)} that were measured are within {LIMIT} ulp"]
        found += [f"{what}: {', '.join(names)}" for what, names in (("terms of a sum cancel", self.cancelling), ("defects", self.defects)) if names]
        return f"{len(self.rewritten)} of {len(self)} equations rewritten; {'; '.join(found)}"

    def _how(self) -> str:
        return (
            "Errors in units in the last place (float64), against mpmath: the worst found, not a bound; each equation as a function of what it reads,\n"
            "where sums of inputs cancel in units of their terms.\n"
            "How they are measured: help(net.stability)."
        )

    def names(self) -> dict[str, str]:
        """The functions that are found in the computed forms alone, each with what it is."""
        made = {part.func for f in self.findings.values() if f.after is not None for part in f.after.atoms(Stable, ShareSlope, OfLogits, OfTwoLogits)}
        return dict(sorted(map(_explained, made)))

    def __repr__(self) -> str:
        return "\n".join([f"Stability: {self._head()}", *map(str, self.findings.values()), "", *(f"{k}: {v}" for k, v in self.names().items()), self._how()])

    def markdown(self) -> str:
        """A table with formulas as `$...$`, as GitHub and Jupyter render it."""
        lines = [f"**Stability:** {self._head()}", "", "| equation | as written | as computed | by | error as written | error as computed |"]
        lines.append("|---|---|---|---|---:|---:|")
        for f in self.findings.values():
            rules = "<br>".join(f"`{rule.replace('|', chr(92) + '|')}`" for rule in f.rules) or ("" if f.same or f.after is None else "what its inputs became")
            errors = [str(f.was), f"{f.now}; {f.remark}".rstrip("; ")] if f.was is not None else [f.note, ""]
            lines.append(f"| `{f.name}` | {_formula(f.before)} | {'the same' if f.same else _formula(f.after)} | {rules} | {errors[0]} | {errors[1]} |")
        return "\n".join([*lines, "", *(f"- `{k}`: {v}" for k, v in self.names().items()), "", self._how()])

    def _repr_markdown_(self) -> str:
        return self.markdown()


def _units(error: float) -> str:
    return "not finite" if error == inf else f"{error:.2g}" if error < 1e308 else "over 1e308"


def _numbers(values: Any) -> str:
    """Numbers as Python writes them; of many the first ones."""
    found = np.asarray(values)
    if found.size <= NUMBERS:
        return repr(values)
    return f"[{', '.join(map(repr, found.ravel()[:NUMBERS].tolist()))}, ...] of shape {found.shape}"


def _explained(kind: Any) -> tuple[str, str]:
    """A function with its arguments, and what it is, both as its class says."""
    name = (kind.word or kind.__name__.lower()) if issubclass(kind, Operator) else kind.__name__
    parameters = signature(kind.formula).parameters.values()
    arguments = [p.name if p.kind is not p.VAR_POSITIONAL else "..." for p in parameters if p.kind is not p.VAR_POSITIONAL or issubclass(kind, Stable)]
    what = " ".join((getdoc(kind) or "").split()).split(" Derivative")[0].split(" Pullback")[0]
    return f"{name}({', '.join(arguments)})", what


def _formula(expr: sp.Expr | None) -> str:
    return "" if expr is None else "$" + " ".join(TensorLatex().plain(expr).split()).replace("|", r"\vert ") + "$"


__all__ = ["EquationStability", "Measured", "Stability"]
