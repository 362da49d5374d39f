"""From a network's equations to its gradients, one rule at a time, as a textbook would write it.

The order is that of Nielsen, Neural Networks and Deep Learning, chapter 2, and Goodfellow, Bengio & Courville, Deep Learning, section
6.5: the forward equations, the loss, the derivative of each equation, the errors from the loss backwards, the gradients, the update.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from symbackprop.calculus.deep import deep
from symbackprop.calculus.forms import Forms
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.context import Context
from symbackprop.derivation.glossary import glossary
from symbackprop.derivation.gradients import errors_section, gradient_section
from symbackprop.derivation.network import forward_section, inference_section, loss_section, partials_section, states_section
from symbackprop.derivation.numbers import Values
from symbackprop.derivation.steps import Section
from symbackprop.derivation.update import update_section
from symbackprop.errors import DataError, UnknownWeightError, UnsupportedError
from symbackprop.graph.equations import System
from symbackprop.graph.tensor import Tensor
from symbackprop.training.optimizers import Optimizer

FORMS = ("mixed", "matrix", "index", "entry", "chain", "local", "closed")
STAGES = {"chain": 1, "local": 2, "closed": 3}  # of the mixed form: how far a weight's gradient is taken


@deep
def build(
    forms: Forms, form: str, weights: Sequence[Any] | None, optimizer: Optimizer | None, verify: bool, seed: int
) -> list[Section]:
    """The sections of a derivation. Raises `UnsupportedError` for an unknown form, `UnknownWeightError` for an unknown weight."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DataError(f"the seed is {seed!r}; expected a non-negative integer")
    if form not in FORMS:
        raise UnsupportedError(f"the form {form!r} of a derivation is unknown; expected one of {', '.join(FORMS)}")
    chosen = _chosen(forms.system, weights)
    checks, unchecked = _checks(forms, seed) if verify else (None, "")
    context = Context(forms, "mixed" if form in STAGES else form, STAGES.get(form, 3), chosen, checks)
    sections = [forward_section(context), loss_section(context), states_section(context), inference_section(context)]
    if chosen:
        sections += [partials_section(context)] if form != "matrix" else []
        sections += [errors_section(context), *(gradient_section(context, w) for w in chosen)]
    if optimizer is not None:
        sections.append(update_section(context, optimizer))
    sections[0].notes += [unchecked] if unchecked else []
    sections[0].text += [signs] if not context.notation.scalar and (signs := glossary(sections)) else []
    return [section for section in sections if section.blocks or section.notes or section.text]


def _checks(forms: Forms, seed: int) -> tuple[Checks | None, str]:
    """The checks, or a sentence that says why there are none: some functions are differentiated and printed, but not computed."""
    try:
        return Checks(Values(forms.system, forms.adjoints, seed)), ""
    except UnsupportedError as error:
        return None, f"The equations are not checked by numbers: {str(error).replace('$', '')}."


def _chosen(system: System, weights: Sequence[Any] | None) -> list[Tensor]:
    by_name = {w.name: w for w in system.weights}
    if weights is None:
        return list(by_name.values())
    if not isinstance(weights, (str, Tensor, Iterable)):
        raise UnknownWeightError(f"the weights are {weights!r}; expected names, or weights, of the network")
    names = [getattr(w, "name", w) for w in ([weights] if isinstance(weights, (str, Tensor)) else weights)]
    for name in names:
        if name not in by_name:
            raise UnknownWeightError(f"the weight {name!r} is not in the network; it has {', '.join(map(repr, by_name)) or 'no weights'}")
    return [by_name[name] for name in names]


__all__ = ["FORMS", "build"]
