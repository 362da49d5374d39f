"""A weight decay that the loss does not have: λ w added to the gradient of w. How large λ is, is found from the numbers."""

from collections.abc import Iterator

import numpy as np

from symbackprop.audit.case import Candidate, Case
from symbackprop.audit.match import Target, is_nice
from symbackprop.training.feed import Array

NICE = 1e-6  # how exactly λ must be a number that a person writes


def decayed(case: Case, target: Target) -> Iterator[Candidate]:
    """The gradient with λ w on top, for the λ that explains the numbers."""
    w = case.weights[target.name]
    size = float((w * w).sum())
    if not size > 0:
        return
    rate = float((w * (target.given - target.truth)).sum()) / size
    for decay in (float(f"{rate:.2g}"), rate):
        # Of a single number some λ always makes a sum.
        if decay and target.equals(target.truth + decay * w) and (_several(w) or (0 < decay <= 1 and is_nice(decay, target.tolerance))):
            yield _told(case, target.name, decay, 2.4 if _several(w) else 4.2)
            return


def decayed_step(case: Case, name: str, step: Array, known: float | None) -> Iterator[Candidate]:
    """As `decayed`, for a step rate (g + λ w). Of at least three entries both numbers are found; of fewer, λ alone, where the rate is known."""
    w, g = case.weights[name], case.truth[name]
    columns = np.stack([g.ravel(), w.ravel()], axis=1)
    scale = np.abs(columns).max(axis=0, initial=0.0)
    if w.size < 3 and known and w.all():
        guess = float(np.mean((step / known - g) / w))
        if 0 < guess <= 1 and is_nice(guess, NICE):
            yield _told(case, name, float(f"{guess:.2g}"), 2.8)
    if w.size < 3 or not scale.all():
        return
    (rate, shrink), _, rank, _ = np.linalg.lstsq(columns / scale, step.ravel(), rcond=1e-8)
    decay = float(shrink / scale[1] / (rate / scale[0])) if rank == 2 and rate else 0.0
    short = float(f"{decay:.2g}")
    if decay:
        yield _told(case, name, short if abs(short - decay) <= NICE * abs(decay) else decay, 2.4)


def _told(case: Case, name: str, decay: float, cost: float) -> Candidate:
    loss = case.backward.equation(case.backward.system.loss)
    text = (
        f"A weight decay is in it: {abs(decay):.6g} times the weight itself is {'added' if decay > 0 else 'subtracted'}, but the loss, {loss}, "
        "has no such term: leave it to the optimizer, or add the penalty to the loss."
    )
    return Candidate("weight decay", cost, text, {name: case.truth[name] + decay * case.weights[name]})


def _several(w: Array) -> bool:
    return int((np.abs(w) > 1e-3 * np.abs(w).max()).sum()) > 1


__all__ = ["decayed", "decayed_step"]
