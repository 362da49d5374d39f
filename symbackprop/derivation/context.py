"""What the sections of one derivation share: the network, the form, the notation, the checks, and the numbers of the equations."""

from collections.abc import Hashable, Iterable
from typing import Any

import sympy as sp

from symbackprop.calculus.combine import Combined, combined
from symbackprop.calculus.forms import Forms
from symbackprop.derivation.checks import Checks
from symbackprop.derivation.notation import Notation
from symbackprop.derivation.steps import Step
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.scan import Scan
from symbackprop.graph.tensor import Tensor


class Context:
    """`form`: "mixed", "matrix", "index" or "entry". `stage`: how far a weight's gradient is taken, 1 chain, 2 local, 3 closed."""

    def __init__(self, forms: Forms, form: str, stage: int, weights: list[Tensor], checks: Checks | None) -> None:
        self.forms = forms
        self.system = forms.system
        self.form = form
        self.stage = stage
        self.weights = weights
        self.checks = checks
        self.notation = Notation(forms)
        self._numbers: dict[Hashable, int] = {}  # what → the number of its equation
        self._count = 0
        between = self._between(weights)
        found = [e.symbol.adjoint_of[1] for e in forms.adjoints.equations if e.symbol.adjoint_of]
        self.nodes = [x for x in found if x.role != "weight" and x in between]  # from the loss backwards

    def _between(self, weights: list[Tensor]) -> set[Tensor]:
        """The nodes between the weights and the loss."""
        found: set[Tensor] = set()
        stack = list(weights)
        while stack:
            new = [y for y in self.users(stack.pop()) if y not in found]
            found.update(new)
            stack += new
        return found

    def users(self, x: Tensor) -> list[Tensor]:
        """The nodes whose equations read x, on the way to the loss; the last first."""
        return sorted(self.forms.users.get(x, []), key=lambda y: y.serial, reverse=True)

    def is_recurrent(self, x: Tensor) -> bool:
        """Whether x is a recurrence, or is read by one: then no entry of its error has a formula of its own."""
        return any(isinstance(t.definition, Scan) for t in (x, *self.users(x)))

    def expression(self, x: Tensor) -> sp.Expr:
        """The right side of the adjoint of x."""
        adjoint = self.notation.adjoint(x)
        expr: sp.Expr = adjoint.definition if isinstance(adjoint, Tensor) and adjoint.definition is not None else adjoint
        return expr

    def errors(self, expr: sp.Expr) -> list[Tensor]:
        """The nodes whose errors stand in an expression; the last first."""
        return sorted((t.adjoint_of[1] for t in tensors_in(expr) if t.adjoint_of), key=lambda x: x.serial, reverse=True)

    def unnamed(self, expr: sp.Expr) -> list[Tensor]:
        """Those without a letter of their own, ∂C/∂a."""
        return [x for x in self.errors(expr) if not self.notation.named(x)]

    def combined(self, x: Tensor) -> Combined | None:
        """The adjoint of x with the ways that meet again combined, where that is shorter."""
        return combined(self.forms.adjoints, self.forms.users, x)

    # --- numbers of equations -----------------------------------------------------------------------------------------------

    def step(self, title: str, left: str, right: str, equation: tuple[Any, Any], rule: str, uses: Iterable[Hashable] = (), **more: Any) -> Step:
        """The next step."""
        self._count += 1
        numbers = tuple(sorted({self._numbers[what] for what in uses if what in self._numbers}))
        return Step(self._count, title, sp.Eq(*equation, evaluate=False), rule, left, right, uses=numbers, **more)

    def remember(self, what: Hashable, number: int) -> None:
        """Under which number later steps find an equation."""
        self._numbers.setdefault(what, number)


__all__ = ["Context"]
