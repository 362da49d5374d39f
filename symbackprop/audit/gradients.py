"""The audit of gradients: read what was given, compare with the truth, and explain what differs."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from symbackprop.audit.case import Candidate, Case
from symbackprop.audit.decay import decayed
from symbackprop.audit.explain import Explanation, choose, explanations
from symbackprop.audit.match import Target, tolerance_for
from symbackprop.audit.numeric import last_resort, nearly
from symbackprop.audit.report import Audit, Finding, gradient_of, plural
from symbackprop.audit.stale import stale
from symbackprop.errors import DataError, NetworkError, UnknownWeightError
from symbackprop.graph.shapes import show
from symbackprop.training.feed import Array

SIMPLE = 4.3  # explanations that cost more are looked for a better one among updated weights


def audit_gradients(case: Case, gradients: Mapping[str, Any], given: Any, tolerance: float | None = None) -> Audit:
    """The findings about `given`: name (or weight) → array, or a function of weights and data that returns that."""
    arrays = read(case, given)
    usual, eps = tolerance_for(list(arrays.values()))
    tolerance = checked_tolerance(tolerance, usual)
    rounding = case.rounding(eps)
    told: dict[str, Explanation] = {}
    targets = {}
    for name, truth in case.truth.items():
        problem = unusable(name, arrays.get(name), truth)
        if problem is not None:
            empty = name in arrays and not arrays[name].any() and truth.any()  # a zero of any shape was never computed
            told[name] = zero(case, name, arrays[name].shape) if empty else problem
        else:
            target = Target(name, np.asarray(arrays[name], dtype=float), truth, rounding[name], tolerance)
            if not target.is_right():
                targets[name] = target
    told |= explain(case, targets)
    errors = {name: t.relative_error for name, t in targets.items()}
    findings = {}
    for name in case.truth:
        e = told.get(name)
        error = errors.get(name, float("inf") if e else 0.0)
        if e is None:
            error = Target(name, np.asarray(arrays[name], dtype=float), case.truth[name], rounding[name], tolerance).relative_error
        findings[name] = finding(case, gradients, name, error, e)
    return Audit(findings, tolerance)


def finding(case: Case, gradients: Mapping[str, Any], name: str, error: float, e: Explanation | None) -> Finding:
    gradient = gradient_of(gradients, name)
    if e is None:
        return Finding(name, True, error, "right", "", None, case.system.loss.name, gradient)
    return Finding(name, False, error, e.diagnosis, e.text, e.factor, case.system.loss.name, gradient)


def explain(case: Case, targets: Mapping[str, Target]) -> dict[str, Explanation]:
    """What is wrong with each of some wrong gradients."""
    certain: dict[str, Explanation] = {}
    found: dict[str, list[Explanation]] = {}
    for name, target in targets.items():
        if not target.given.any():
            certain[name] = zero(case, name)
        else:
            close = nearly(case, target)
            candidates = [*case.candidates, *decayed(case, target)]
            found[name] = [*([close] if close else []), *explanations(target, candidates, case.factors, case)]
    mistyped: list[Candidate] | None = None
    for name, options in found.items():
        if min((e.cost for e in options), default=9.0) > SIMPLE:
            options += explanations(targets[name], stale(case, targets[name]), case.factors, case)
        if min((e.cost for e in options), default=9.0) > SIMPLE:
            mistyped = list(case.mistyped()) if mistyped is None else mistyped
            options += explanations(targets[name], mistyped, case.factors, case)
    chosen = with_learning_rate(case, choose(found))
    return {name: certain.get(name) or chosen.get(name) or last_resort(target) for name, target in targets.items()}


def with_learning_rate(case: Case, chosen: dict[str, Explanation]) -> dict[str, Explanation]:
    """A factor below 1 that all gradients share, and that is no size of this network, is most often the learning rate."""
    everywhere = all(name in chosen for name, g in case.truth.items() if g.any())
    factors = [abs(e.factor) if e.factor and e.diagnosis in ("factor", "sign and factor") else 0.0 for e in chosen.values()]
    if not factors or not everywhere or not 0 < min(factors) <= max(factors) < 1 or max(factors) - min(factors) > 1e-6 * max(factors):
        return chosen
    if case.factors.meaning(factors[0], 1e-6):
        return chosen
    hint = f" All gradients share this factor: this looks like a learning rate of {factors[0]:.6g} taken into the gradient; it belongs in the update."
    return {name: replace(e, text=e.text + hint) for name, e in chosen.items()}


def zero(case: Case, name: str, shape: tuple[int, ...] | None = None) -> Explanation:
    text = f"It is zero, but the loss does depend on {name}. Was it computed and stored, or set to zero and never added to?"
    if shape is not None:
        text += f" Its shape is {show(shape)}; expected {show(case.truth[name].shape)}."
    return Explanation(0.0, "zero", text, "zero", 0.0)


# --- reading -------------------------------------------------------------------------------------------------------------


def read(case: Case, given: Any) -> dict[str, Array]:
    """The given gradients as arrays by weight name. Raises `UnknownWeightError` for a name that the network does not have, `DataError`
    for what is not made of real numbers, `NetworkError` for what is no mapping."""
    if callable(given) and not isinstance(given, Mapping):
        given = given({name: w.copy() for name, w in case.weights.items()}, **{name: d.copy() for name, d in case.feed.arrays.items()})
        if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], Mapping):  # (loss, gradients)
            given = given[1]
    if not isinstance(given, Mapping):
        raise NetworkError(f"the gradients are a {type(given).__name__}; expected a mapping from weights to arrays, or a function that returns one")
    return by_name(case, given, "gradient")


def by_name(case: Case, given: Mapping[Any, Any], what: str) -> dict[str, Array]:
    arrays = {}
    for key, value in given.items():
        name = getattr(key, "name", key)
        if name not in case.truth:
            raise UnknownWeightError(
                f"a {what} is given for {name!r}, which the network does not have; its weights are {', '.join(map(repr, case.truth))}"
            )
        if name in arrays:
            raise NetworkError(f"the {what} of {name!r} is given twice; give it once, by name or by weight")
        arrays[name] = as_array(name, value, what)
    return arrays


def as_array(name: str, value: Any, what: str) -> Array:
    if hasattr(value, "detach"):  # a tensor of PyTorch
        value = value.detach()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"the {what} of {name!r} is not an array: {error}; give every row the same length") from None
    if array.dtype == object and array.size and all(hasattr(v, "__float__") for v in array.flat):  # numbers of SymPy or mpmath
        array = array.astype(float)
    if array.dtype.kind not in "iufb":
        raise DataError(f"the {what} of {name!r} holds entries of type {array.dtype}; expected real numbers")
    return array


def checked_tolerance(tolerance: Any, usual: float) -> float:
    if tolerance is None:
        return usual
    if isinstance(tolerance, bool) or not isinstance(tolerance, (int, float, np.floating)) or not 0 < tolerance < 1:
        raise NetworkError(f"the tolerance is {tolerance!r}; expected a number between 0 and 1, such as 1e-6")
    return float(tolerance)


def unusable(name: str, given: Array | None, truth: Array) -> Explanation | None:
    """Why numbers cannot be compared entry by entry: missing, of another shape, not finite."""
    if given is None:
        return Explanation(0.0, "missing", f"No gradient of {name} was given; give one for every weight.", "missing")
    if given.shape != truth.shape:
        return _misshapen(name, np.asarray(given, dtype=float), truth)
    if not np.isfinite(given).all():
        bad = np.argwhere(~np.isfinite(given))
        where = f" at index {tuple(map(int, bad[0]))}" if given.ndim else ""
        count = f"{len(bad)} such {plural(len(bad), 'entry', 'entries')}"
        text = f"It holds {given[tuple(bad[0])]}{where} ({count}): look for a division by zero, the logarithm of zero, or an overflow."
        return Explanation(0.0, "not finite", text, "not finite")
    return None


def _misshapen(name: str, given: Array, truth: Array) -> Explanation:
    """What the shape of the given numbers says."""

    def agrees(x: Array) -> bool:
        return x.shape == truth.shape and np.allclose(x, truth, rtol=1e-5, atol=1e-8 * max(np.abs(truth).max(initial=0.0), 1e-300))

    said = f"It has shape {show(given.shape)}; expected {show(truth.shape)}."
    if given.ndim > 1 and given.shape == truth.shape[::-1]:
        agree = " The numbers are right otherwise." if agrees(given.T) else " Its numbers are wrong besides."
        return Explanation(0.0, "transposed", f"{said} It is transposed: exchange its indices.{agree}", "transposed")
    if given.size == truth.size and agrees(given.reshape(truth.shape)):
        return Explanation(0.0, "shape", f"{said} The numbers are right: reshape them, or leave out keepdims.", "shape")
    for axis in range(given.ndim):
        if given.shape[:axis] + given.shape[axis + 1 :] == truth.shape:
            right = next((what for what, x in (("sum", given.sum(axis)), ("mean", given.mean(axis))) if agrees(x)), None)
            end = f"take the {right} over axis {axis}, and it is right." if right else f"sum over axis {axis}; the numbers are wrong besides."
            return Explanation(0.0, "batch sum", f"{said} Axis {axis} is one too many, as of a batch that was not summed over: {end}", "batch sum")
    if given.any() and given.ndim < truth.ndim and given.shape in (truth.shape[1:], truth.shape[:-1]):
        return Explanation(0.0, "shape", f"{said} An axis was summed over that belongs to the weight.", "shape")
    return Explanation(0.0, "shape", f"{said} A gradient has the shape of its weight.", "shape")


__all__ = ["audit_gradients"]
