"""A worked example: one sample through the network and back, every sum and product written out with its numbers, as a teacher does
at the blackboard.

Source of the manner: Mazur, A Step by Step Backpropagation Example (2015).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.batch import batch_dimension, is_single_sample
from symbackprop.calculus.deep import deep
from symbackprop.calculus.evaluate import without_partials
from symbackprop.calculus.forms import Forms
from symbackprop.calculus.index import at
from symbackprop.calculus.partial import Partial, evaluated
from symbackprop.calculus.unroll import unrolled
from symbackprop.derivation import rules
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.context import Context
from symbackprop.derivation.notation import Index
from symbackprop.derivation.numbers import EXACT, Check, Values, agree
from symbackprop.derivation.steps import Section, Step
from symbackprop.derivation.update import rule_letters
from symbackprop.errors import DataError, UnsupportedError
from symbackprop.graph.equations import System, collect
from symbackprop.graph.operators.reduction import BigMax
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.shapes import Shape, show
from symbackprop.graph.tensor import Tensor
from symbackprop.latex.equations import derivative, path_key
from symbackprop.latex.printer import ATOM, PRODUCT, SIGNED, TensorLatex
from symbackprop.training.evaluator import Evaluator
from symbackprop.training.feed import Array
from symbackprop.training.optimizers import Optimizer
from symbackprop.training.trainer import Trainer

LIMIT = 300  # values that are computed on the page
FEW = 3  # entries of each tensor, where all are more: the first, the middle one, the last
LONG = 80  # values in an expression that is written out term by term
AXIS = 5  # entries along an axis of what is given


@deep
def worked(forms: Forms, weights: Mapping[Any, Any], data: Mapping[str, Any], optimizer: Optimizer, digits: int) -> list[Section]:
    """The sections of a worked example. `digits`: significant digits that are shown; everything is computed in full.

    Raises `DataError` for more than one sample and for data that do not fit, `UnsupportedError` for a network of more values than
    anybody follows on paper.
    """
    if isinstance(digits, bool) or not isinstance(digits, int) or not 1 <= digits <= 15:
        raise DataError(f"digits is {digits!r}; expected an integer from 1 to 15")
    evaluator = Evaluator(forms.system)
    given = evaluator.weights(weights)
    feed = evaluator.feed(_one_sample(forms.system, data), [t.name for t in forms.system.data])
    sample, steps = feed.arrays, unrolled(forms.system, feed.sizes)
    forms = forms if steps is forms.system else Forms(steps)
    point = Values(forms.system, forms.adjoints, given={**given, **{name: _unbatched(forms.system, name, a) for name, a in sample.items()}})
    sizes = [int(point.values[e.symbol].size) for e in (*forms.system.equations, *forms.adjoints.equations)]
    each = next((k for k in (max(sizes), *range(FEW, 0, -1)) if sum(min(size, k) for size in sizes) <= LIMIT), 0)
    if not each:
        raise UnsupportedError(
            f"this network has {len(sizes)} equations for one sample and its gradients, more than anybody follows on paper ({LIMIT}); "
            "read net.derivation(), or explain a smaller network of the same kind"
        )
    return _Worked(forms, point, optimizer, digits, each).sections()


def _one_sample(system: System, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data with the batch axis that one sample may lack."""
    n = batch_dimension(system)
    by_name = {t.name: t for t in system.data}
    found = {}
    for key, value in data.items():
        name = getattr(key, "name", key)
        array = np.asarray(value)
        t = by_name.get(name)
        axes = [] if t is None else [i for i, size in enumerate(t.shape) if size == n and n is not None]
        if t is not None and axes and array.ndim == t.rank - len(axes):
            array = np.expand_dims(array, tuple(axes))
        samples = [array.shape[i] for i in axes if array.ndim == t.rank] if t is not None else []
        if t is not None and not axes and is_single_sample(system) and array.ndim == t.rank + 1:
            samples = [array.shape[0]]
        if any(s != 1 for s in samples):
            raise DataError(f"data {name!r} has shape {show(array.shape)}: {max(samples)} samples; explain follows one, so pass one of them, {name}={name}[0]")
        found[name] = array
    return found


def _unbatched(system: System, name: str, array: Array) -> Array:
    """A network of one sample has no batch axis."""
    t = next(t for t in system.data if t.name == name)
    return array[0] if array.ndim == t.rank + 1 else array


class _Numeric(TensorLatex):
    """Prints the values of tensors in the place of their names."""

    def __init__(self, values: Mapping[Tensor, Array], digits: int) -> None:
        super().__init__(indices=[])
        self.values = values
        self.digits = digits
        self.dots = True
        self.rounded = False

    def number(self, value: Any) -> str:
        """A number with the significant digits asked for. One that was rounded keeps its zeros, and is remembered."""
        value = float(value)
        short = f"{value:.{self.digits}g}"
        if abs(float(short) - value) > 1e-13 * abs(value):
            self.rounded = True
            short = f"{value:#.{self.digits}g}".rstrip(".")
        mantissa, _, exponent = short.partition("e")
        return rf"{mantissa} \cdot 10^{{{int(exponent)}}}" if exponent else mantissa

    def equals(self, value: float) -> str:
        """`= 0.025`, or with a sign of approximation where digits were left out since `rounded` was last cleared."""
        text = self.number(value)
        return rf"{chr(92) + 'approx' if self.rounded else '='} {text}"

    def _term(self, term: sp.Expr, full: Shape) -> tuple[bool, str]:
        """A negative number in a sum is subtracted, not added in brackets."""
        negative, part = super()._term(term, full)
        value = -term if negative else term
        if isinstance(value, (Tensor, sp.Indexed)) and self.level(value) == SIGNED:
            return not negative, self.plain(value).removeprefix("-")
        return negative, part

    def level(self, expr: sp.Basic) -> int:
        if isinstance(expr, (Tensor, sp.Indexed)):
            text = self.plain(expr)
            return SIGNED if text.startswith("-") else PRODUCT if r"\cdot" in text else ATOM
        return super().level(expr)

    def _print_TensorSymbol(self, expr: Tensor) -> str:
        return self.number(self.values[expr])

    def _print_Indexed(self, expr: sp.Indexed) -> str:
        return self.number(self.values[expr.base.label][tuple(map(int, expr.indices))])


def _some(array: Array) -> Array:
    """The entries along the first axis that are shown of what is given."""
    return array if len(array) <= AXIS else array[[*range(AXIS - 2), -1]]


def _ends(parts: list[str], size: int, dots: str) -> list[str]:
    """With dots before the last where some were left out."""
    return parts if len(parts) == size else [*parts[:-1], dots, parts[-1]]


class _Worked:
    def __init__(self, forms: Forms, point: Values, optimizer: Optimizer, digits: int, each: int) -> None:
        self.forms = forms
        self.system = forms.system
        self.point = point
        self.checks = Checks(point)
        self.context = Context(forms, "entry", 3, self.system.weights, self.checks)
        self.optimizer = optimizer
        self.each = each  # entries of a tensor that are shown
        self.notation = self.context.notation
        self.numeric = _Numeric(point.values, digits)
        self.sizes = {d: sp.Integer(n) for d, n in point.sizes.items()}

    def sections(self) -> list[Section]:
        found = [self.given(), self.forward(), self.errors(), *(self.gradient(w) for w in self.system.weights)]
        if self.system.weights:
            found += [self.update()]
        return [s for s in found if s.blocks or s.text]

    # --- one line -----------------------------------------------------------------------------------------------------------

    def line(
        self, title: str, left: str, subject: sp.Basic, expr: sp.Expr, value: float, rule: str, prefix: str = "", of: tuple[Tensor, Index] | None = None
    ) -> Step:
        """`left = expression = the same in numbers = value`: a definition, checked against the value that generated code gave, or the
        derivative in the entry `of`, checked against the slope there."""
        expr = self.written_out(expr)
        right = [*([prefix] if prefix else []), self.names(expr)]
        self.numeric.rounded = False
        numbers, result = self.in_numbers(expr), self.numeric.number(value)
        if numbers is not None and numbers not in (result, right[-1]):
            right.append(numbers)
        text = " = ".join(right) + (f" {self.numeric.equals(value)}" if right[-1] != result else "")
        check = self.check(expr, value) if of is None else self.slope(expr, value, *of)
        return self.context.step(title, left, text, (subject, expr), rule, verification=check, defines=of is None)

    def names(self, expr: sp.Expr) -> str:
        terms = sp.Add.make_args(expr) if expr.has(Partial) else (expr,)
        return self.notation.sum_of_terms(sorted(terms, key=path_key, reverse=True), self.notation.entries())

    def in_numbers(self, expr: sp.Expr) -> str | None:
        """The expression with every value put in; None where an index is still open."""
        try:
            return self.numeric.plain(self.decided(evaluated(expr)))
        except (TypeError, ValueError, KeyError):
            return None

    def decided(self, expr: sp.Expr) -> sp.Expr:
        """Cases and brackets of Iverson decided: the numbers are known."""
        known = {e: sp.Float(float(self.point.values[e.base.label][tuple(map(int, e.indices))])) for e in expr.atoms(sp.Indexed)}
        known |= {t: sp.Float(float(self.point.values[t])) for t in expr.atoms(Tensor) if not t.shape and t in self.point.values}
        for cases in expr.atoms(sp.Piecewise):
            chosen = next((value for value, condition in cases.args if condition.xreplace(known) == sp.true), None)
            expr = expr.xreplace({cases: chosen}) if chosen is not None else expr
        return expr.xreplace({d: sp.Integer(int(d.args[0].xreplace(known) == d.args[1].xreplace(known))) for d in expr.atoms(sp.KroneckerDelta)})

    def written_out(self, expr: sp.Expr) -> sp.Expr:
        """Sums term by term: the sizes are known here. One of very many terms stays as it is."""
        if self.values_in(expr) > LONG:
            return expr
        expr = expr.xreplace(self.sizes)
        if not expr.has(sp.Sum, BigMax):
            return expr
        args = [self.written_out(a) if isinstance(a, sp.Expr) else a for a in expr.args]
        if isinstance(expr, (sp.Sum, BigMax)):
            (k, low, high), *rest = expr.args[1:]
            body = expr.func(expr.args[0], *rest) if rest else expr.args[0]
            terms = [self.written_out(body.xreplace({k: sp.Integer(i)})) for i in range(int(low), int(high) + 1)]
            return sp.Max(*terms, evaluate=False) if isinstance(expr, BigMax) else sp.Add(*terms)
        return expr.func(*args)

    def values_in(self, expr: sp.Basic) -> int:
        """How many values stand in an expression that is written out."""
        if isinstance(expr, (Tensor, sp.Indexed)):
            return 1
        if isinstance(expr, (sp.Sum, BigMax)):
            (_, low, high), *rest = expr.args[1:]
            body = expr.func(expr.args[0], *rest) if rest else expr.args[0]
            return int((high - low + 1).xreplace(self.sizes)) * self.values_in(body)
        return sum(map(self.values_in, expr.args))

    def check(self, expr: sp.Expr, value: float) -> Check:
        return agree([(value, float(self.point.right(self.written_out(without_partials(expr)), {})))], "the generated code")

    def slope(self, expr: sp.Expr, value: float, x: Tensor, index: Index) -> Check:
        """A derivative against the slope of the loss; at a kink, where there is none, against the generated code."""
        found = self.checks.gradient(x, index, self.written_out(without_partials(expr)))
        return self.check(expr, value) if found.unchecked else found

    def value(self, x: Any, index: Index) -> float:
        return float(self.point.values[x][tuple(map(int, index))])

    def indices(self, x: Tensor) -> list[Index]:
        """The entries that are shown: all, or a few from the first to the last."""
        shape = self.point.values[x].shape
        size = int(np.prod(shape))
        chosen = range(size) if size <= self.each else [round(k * (size - 1) / max(self.each - 1, 1)) for k in range(self.each)]
        return [tuple(sp.Integer(int(i)) for i in np.unravel_index(k, shape)) for k in chosen]

    # --- sections -------------------------------------------------------------------------------------------------------------

    def given(self) -> Section:
        """The numbers to start from."""
        section = Section("Given")
        if any(self.point.values[e.symbol].size > self.each for e in (*self.system.equations, *self.forms.adjoints.equations)):
            which = {1: "only the first entry is", 2: "the first and the last entry are", 3: "the first, the middle and the last entry are"}[self.each]
            section.text.append(f"Of a large tensor, {which} followed; all are computed.")
        for t in self.system.tensors:
            if t.definition is None and t in self.point.values:
                self.numeric.rounded = False
                name, value = TensorLatex().plain(t), self._array(self.point.values[t])
                relation = r"\approx" if self.numeric.rounded else "="
                section.blocks.append([self.context.step(f"The {t.role} ${name}$", name, value, (t, t), "definition: given", relation=relation, defines=True)])
        return section

    def _array(self, array: Array) -> str:
        if array.ndim == 0:
            return self.numeric.number(array)
        if array.ndim != 2:
            return f"({', '.join(_ends([self._array(part) for part in _some(array)], len(array), chr(92) + 'dots'))})"
        rows = [_ends([self.numeric.number(entry) for entry in _some(row)], len(row), r"\cdots") for row in _some(array)]
        inside = r" \\ ".join(_ends([" & ".join(row) for row in rows], len(array), r"\vdots" + " & " * (len(rows[0]) - 1)))
        return rf"\begin{{pmatrix}} {inside} \end{{pmatrix}}"

    def forward(self) -> Section:
        section = Section("Forward pass")
        printer = self.notation.entries()
        for t, expr in self.system.equations:
            for index in self.indices(t):
                subject = at(t, index)
                name = printer.plain(subject)
                rule = f"definition: {rules.forward_rule(t)}"
                entry = self.notation.entry_of(expr, index)
                section.blocks.append([self.line(f"The value of ${name}$", name, subject, entry, self.value(t, index), rule)])
        return section

    def errors(self) -> Section:
        section = Section("The errors, from the loss backwards")
        for x in self.context.nodes:
            section.blocks.append([step for index in self.indices(x) for step in self.entry(x, index, "error")])
        return section

    def gradient(self, w: Tensor) -> Section:
        name = TensorLatex().plain(w)
        section = Section(f"The gradient of ${name}$")
        if isinstance(self.forms.adjoints.of[w], Tensor):
            section.blocks = [[step for index in self.indices(w) for step in self.entry(w, index, "gradient")]]
        else:
            section.text.append(f"The loss does not depend on ${name}$: its gradient is 0.")
        return section

    def entry(self, x: Tensor, index: Index, what: str) -> list[Step]:
        """The chain rule in names, and the same with its factors evaluated and their numbers."""
        notation, printer = self.notation, self.notation.entries()
        adjoint = self.forms.adjoints.of[x]
        subject, value = at(adjoint, index), self.value(adjoint, index)
        title = f"The {what} of ${printer.plain(x)}$"
        head = notation.entry_left(x, index)
        chain = sp.Add(*self.forms.chain_step(x, index))
        final = notation.entry_of(adjoint.definition, index)
        prefix = derivative(self.system.loss, x, index, printer) if notation.named(x) else ""
        if isinstance(chain, Partial) and chain.y is self.system.loss:
            return [self.line(title, head, subject, final, value, "derivative of the loss, numbers put in", prefix, (x, index))]
        written = self.written_out(chain)
        text = f"{prefix} = {self.names(written)}" if prefix else self.names(written)
        check = self.slope(written, value, x, index)
        first = self.context.step(title, head, text, (subject, written), "chain rule", verification=check)
        return [first, self.line(title, "", subject, final, value, "factors evaluated, numbers put in", of=(x, index))]

    def update(self) -> Section:
        """One step of the optimizer, and what it did to the loss."""
        rule = self.optimizer.equations()
        section = Section("The update")
        trainer = Trainer(self.system, self.optimizer, {w.name: self.point.values[w] for w in self.system.weights})
        trainer.step(**{t.name: self.point.values[t] for t in collect([self.system.loss]) if t.role == "data"})
        moved = {**self.point.values, **{w: np.asarray(trainer.weights[w.name], dtype=float) for w in self.system.weights}}
        for w in self.system.weights:
            after = {WEIGHT: moved[w], **{s: np.asarray(trainer.state[s.name][w.name]) for s in rule.states}}
            section.blocks += [[step] for index in self.indices(w) for step in self._assignments(rule, w, index, after)]
        loss, shown = TensorLatex().plain(self.system.loss), []
        for value in (self.value(self.system.loss, ()), float(self.point.run(moved)[self.system.loss])):
            self.numeric.rounded = False
            shown.append(f"${loss} {self.numeric.equals(value)}$")
        section.text.append(f"One step of {type(self.optimizer).__name__}. It takes the loss from {shown[0]} to {shown[1]}.")
        return section

    def _assignments(self, rule: Rule, w: Tensor, index: Index, after: Mapping[Tensor, Array]) -> Iterator[Step]:
        """The rule for one entry: each assignment with its numbers, against what the training step made of it."""
        place = tuple(map(int, index))
        entry = self.notation.entries().plain(at(w, index))
        adjoint = self.forms.adjoints.of[w]
        gradient = self.value(adjoint, index) if isinstance(adjoint, Tensor) else float(adjoint)
        values: dict[Tensor, float] = {WEIGHT: self.value(w, index), GRADIENT: gradient, STEP: 1.0, **rule.states}
        letters = rule_letters(self.system, rule)
        floor = max(1e-12, self.checks.floor(adjoint.definition, None, EXACT)) if isinstance(adjoint, Tensor) and adjoint.definition is not None else 1e-12
        for target, expr in rule.assignments:
            numeric = _Numeric({t: np.asarray(v) for t, v in values.items()}, self.numeric.digits)
            numeric.lead = target
            values[target] = float(expr.xreplace({t: sp.Float(v, 25) for t, v in values.items()}).evalf(25))
            left = entry if target is WEIGHT else TensorLatex(letters).plain(target)
            shown = numeric.plain(expr)
            text = f"{shown} {numeric.equals(values[target])}"
            check = agree([(float(after[target][place]), values[target])], "the training step", floor) if target in after else None
            why = f"the rule of {type(self.optimizer).__name__}"
            yield self.context.step(f"The update of ${entry}$", left, text, (target, expr), why, relation=r"\leftarrow", verification=check)


__all__ = ["worked"]
