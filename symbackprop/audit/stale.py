"""Gradients that read weights which the same update has changed already: W_2 first, and then W_1 with the new W_2.

How far the weights were moved is not known, so the step is found from the numbers: the one that explains them.
"""

from collections.abc import Iterator

import numpy as np

from symbackprop.audit.backward import Change
from symbackprop.audit.case import Candidate, Case
from symbackprop.audit.match import Target
from symbackprop.training.feed import Array

STEPS, PROMISING = 12, 2
DIGITS = 1e-6  # how exactly a step must be a number that a person writes


def updated_sets(names: list[str], name: str) -> list[tuple[str, ...]]:
    """Which weights may have been updated before this one: one of them, all after it, all before it, all others, and each layer's pair."""
    at = names.index(name)
    others = [n for n in names if n != name]
    sets = [(n,) for n in others] + [tuple(names[at + 1 :]), tuple(names[:at]), tuple(others), tuple(names)]
    return [s for s in dict.fromkeys(sets) if s]


def stale(case: Case, target: Target) -> Iterator[Candidate]:
    """The gradient of one weight with others updated before it, for every step size that a person may have chosen."""
    for updated in updated_sets(list(case.truth), target.name):
        for whole in (False, True):
            for sign in (1.0, -1.0):
                given = sign * target.given
                step = _fitted(case, target, given, updated, whole)
                if step is not None:
                    yield told(target.name, updated, {target.name: moved(case, target.name, updated, step, whole)}, step, whole)


def told(name: str, updated: tuple[str, ...], values: dict[str, Array], step: float | None, whole: bool) -> Candidate:
    """The candidate with its sentence."""
    which = updated[0] if len(updated) == 1 else f"{', '.join(updated[:-1])} and {updated[-1]}"
    rate = "" if step is None else f" (with the step {step:g})"
    part = "Everything was computed again" if whole else "The backward pass was computed"
    text = f"{part} with the already updated {which}{rate}: compute all gradients first, from the old weights, and update afterwards."
    return Candidate("stale weights", 3.4 + 0.1 * len(updated) + 0.1 * whole, text, values)


def moved(case: Case, name: str, updated: tuple[str, ...], step: float, whole: bool) -> Array:
    """The gradient of `name` after a step of the weights `updated`."""
    return at_values(case, name, {n: case.weights[n] - step * case.truth[n] for n in updated}, whole)


def at_values(case: Case, name: str, values: dict[str, Array], whole: bool) -> Array:
    """The gradient of `name` where some weights have other values, in the backward pass or in all of the computation."""
    tensors = {case.backward.weights[n]: v for n, v in values.items()}
    return case.backward.gradients(Change(forward=tensors, backward=tensors) if whole else Change(backward=tensors))[name]


def _fitted(case: Case, target: Target, given: Array, updated: tuple[str, ...], whole: bool) -> float | None:
    """The step that gives the numbers, by Newton's method from a step of zero; None where there is none that a person would write."""
    known = case.learning_rate
    if known is not None:
        return known if _explains(target, given, moved(case, target.name, updated, known, whole)) else None
    step, unit = 0.0, 1e-4
    start = case.truth[target.name]
    for count in range(STEPS):
        here = moved(case, target.name, updated, step, whole)
        if count == PROMISING and np.abs(given - here).max() > 0.3 * np.abs(given - start).max():
            return None  # Newton's method would be nearer by now
        slope = (moved(case, target.name, updated, step + unit, whole) - here) / unit
        size = float((slope * slope).sum())
        if not np.isfinite(size) or size == 0:
            return None
        change = float((slope * (given - here)).sum()) / size
        step += change
        if not 0 <= abs(step) < 1e3:
            return None
        if abs(change) <= 1e-14 * abs(step):
            break
        unit = max(1e-7, 1e-3 * abs(step))
    nice = float(f"{step:.1e}")
    if step <= 0 or abs(step - nice) > DIGITS * step + float(target.rounding.max(initial=0.0)) / max(size, 1e-300) ** 0.5:
        return None
    return nice if _explains(target, given, moved(case, target.name, updated, nice, whole)) else None


def _explains(target: Target, given: Array, candidate: Array) -> bool:
    sign = 1.0 if given is target.given or np.array_equal(given, target.given) else -1.0
    return target.equals(sign * candidate)


__all__ = ["at_values", "moved", "stale", "told", "updated_sets"]
