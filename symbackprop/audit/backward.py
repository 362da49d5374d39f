"""The backward pass as a list of local derivatives that can be exchanged one by one. A mistake in a derivation is such an exchange:
`tanh'` left out, W where its transpose belongs, a weight of the next step. What it makes of the gradients is then computed, not guessed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import sympy as sp

from symbackprop.calculus.pull import pull
from symbackprop.codegen.expressions import PythonPrinter
from symbackprop.codegen.helpers import helper_source
from symbackprop.codegen.load import load_source
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, collect, depends_on, tensors_in
from symbackprop.graph.operators.base import Operator
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.gather import Take
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, Slice
from symbackprop.graph.shapes import Dim, numeric, postorder, shape_of
from symbackprop.graph.tensor import Tensor
from symbackprop.training.feed import Array

Edge = tuple[Tensor, Tensor]  # (y, x): what the equation of y contributes to the adjoint of x
_LINEAR = (Einsum, Broadcast, Reshape, Slice, Pad, Concatenate, Take)


@dataclass(frozen=True)
class Change:
    """What a mistaken derivation computes instead. `definitions`: other equations in the forward pass; `edges`: other local derivatives;
    `forward` and `backward`: other values of weights, read by the whole computation or by the backward pass alone."""

    definitions: Mapping[Tensor, sp.Expr] = field(default_factory=dict)
    edges: Mapping[Edge, sp.Expr] = field(default_factory=dict)
    forward: Mapping[Tensor, Array] = field(default_factory=dict)
    backward: Mapping[Tensor, Array] = field(default_factory=dict)


class Calculator:
    """Expressions as numbers, by NumPy code that is written for many of them at once."""

    def __init__(self) -> None:
        self._known: dict[sp.Expr, tuple[Callable[..., Any], list[sp.Symbol]]] = {}

    def learn(self, expressions: Iterable[sp.Expr]) -> None:
        new = [e for e in dict.fromkeys(expressions) if e not in self._known]
        if not new:
            return
        printer = PythonPrinter()
        functions: list[str] = []
        written = []
        for expr in new:
            symbols = sorted(expr.free_symbols, key=lambda s: (s.name, getattr(s, "serial", -1)))
            printer.names = {s: f"v{i}" for i, s in enumerate(symbols)}
            try:
                code = printer.plain(expr)
            except UnsupportedError:  # what a mistake makes of an equation need not have a form in code
                continue
            written.append((expr, f"f{len(functions)}", symbols))
            functions.append(f"def f{len(functions)}({', '.join(printer.names.values())}):\n    return {code}")
        source = "\n\n\n".join(["import numpy as np\n\nDTYPE = np.float64", *helper_source(printer.helpers), *functions])
        module = load_source(source + "\n", "audit")
        for expr, name, symbols in written:
            self._known[expr] = getattr(module, name), symbols

    def __call__(self, expr: sp.Expr, values: Mapping[sp.Symbol, Any]) -> Array:
        self.learn([expr])
        if expr not in self._known:
            raise UnsupportedError(f"{expr} has no form in NumPy code")
        function, symbols = self._known[expr]
        return np.asarray(function(*(values[s] for s in symbols)), dtype=float)


class Backward:
    """One network at given weights and data: `equations` in elementary steps, `edges`, and the gradients under any `Change`."""

    def __init__(self, system: System, weights: Mapping[str, Array], data: Mapping[str, Array]) -> None:
        self.system, self.owner = elementary(system)
        self.tensors = collect([self.system.loss])
        self.equations = [t for t in self.tensors if t.definition is not None]
        self.weights = {w.name: w for w in system.weights}
        self.active = depends_on(self.tensors, system.weights)
        self.given: dict[sp.Symbol, Any] = {t: weights[t.name] for t in self.system.kept if t.name in weights}
        for t in self.system.data:
            if t.name in data:
                self.given[t] = np.asarray(data[t.name])
                self.given |= {d: size for d, size in zip(t.shape, np.shape(data[t.name]), strict=True) if isinstance(d, Dim)}
        self.sizes = {d: size for d, size in self.given.items() if isinstance(d, Dim)}
        self.adjoint = {t: Tensor(f"d_{t.name}", t.shape, "adjoint", adjoint_of=(self.system.loss, t)) for t in self.equations}
        self.edges: dict[Edge, sp.Expr] = {(y, x): e for y in self.equations for x, e in self.pull(y).items()}
        self.calculate = Calculator()
        self.calculate.learn([*self.edges.values(), *(y.definition for y in self.equations)])
        with np.errstate(all="ignore"):
            self.values = self._forward(Change())

    def pull(self, y: Tensor, definition: sp.Expr | None = None) -> dict[Tensor, sp.Expr]:
        """What the equation of y, or another one in its place, hands back to each tensor in it."""
        if definition is None:
            return pull(y, self.adjoint[y], self.active) if y in self.active else {}
        other = Tensor(y.name, y.shape, "node", definition)
        return {x: e.xreplace({other: y}) for x, e in pull(other, self.adjoint[y], self.active).items()}

    def learn(self, changes: Iterable[Change]) -> None:
        """Write the code of many changes at once."""
        self.calculate.learn(e for c in changes for e in (*c.definitions.values(), *c.edges.values()))

    def gradients(self, change: Change) -> dict[str, Array]:
        """Weight name → the gradient that a derivation with this change arrives at."""
        with np.errstate(all="ignore"):
            values = self._forward(change) if change.definitions or change.forward else self.values
            return self._backward({**values, **change.backward}, {**self.edges, **change.edges})

    def magnitudes(self) -> dict[str, Array]:
        """How large the numbers are that add up to each gradient: the backward pass with every sum taken of absolute values. What
        rounding can do to a gradient is a multiple of this, although the sum itself may be zero."""
        with np.errstate(all="ignore"):
            return self._backward(self.values, {edge: _magnitude(e) for edge, e in self.edges.items()})

    def _forward(self, change: Change) -> dict[sp.Symbol, Any]:
        values = {**self.given, **change.forward}
        for y in self.equations:
            values[y] = np.broadcast_to(self.calculate(change.definitions.get(y, y.definition), values), numeric(y.shape, self.sizes))
        return values

    def _backward(self, values: Mapping[sp.Symbol, Any], edges: Mapping[Edge, sp.Expr]) -> dict[str, Array]:
        values = dict(values)
        self.calculate.learn(edges.values())
        total: dict[Tensor, Array] = {self.system.loss: np.ones(())}
        users: dict[Tensor, list[tuple[Tensor, sp.Expr]]] = {}
        for (y, x), expr in edges.items():
            users.setdefault(y, []).append((x, expr))
        for y in reversed(self.equations):
            if y not in total:
                continue
            values[self.adjoint[y]] = np.broadcast_to(total[y], numeric(y.shape, self.sizes))
            for x, expr in users.get(y, ()):
                total[x] = total.get(x, 0.0) + self.calculate(expr, values)
        return {name: np.array(np.broadcast_to(total.get(w, 0.0), w.shape)) for name, w in self.weights.items()}

    def written(self, expr: sp.Expr) -> sp.Expr:
        """An expression of these equations in the user's own names."""
        while parts := {t: t.definition for t in tensors_in(expr) if self.owner.get(t, t).name != t.name}:
            expr = expr.xreplace(parts)
        return expr

    def equation(self, y: Tensor) -> str:
        """The equation of y, or the one that y is a part of, as it was written."""
        whole = self.owner[y]
        text = f"{whole} = {whole.definition}"
        return text if len(text) <= 120 else f"{text[:110]} ..."


def elementary(system: System) -> tuple[System, dict[Tensor, Tensor]]:
    """The same network with a name for the argument and the value of each activation: y = tanh(w x) + b in three equations. So every
    activation's derivative is an edge of its own. Returns also, for each equation, the one that it was a part of."""
    renewed: dict[Tensor, Tensor] = {}
    owner: dict[Tensor, Tensor] = {}

    def named(part: sp.Expr, whole: Tensor) -> Tensor:
        made = Tensor(f"{whole.name}__part{len(owner)}", shape_of(part), "node", part)
        owner[made] = whole
        return made

    for symbol, expr in system.equations:
        done: dict[sp.Basic, sp.Basic] = {}
        for part in postorder(expr):
            args = [renewed.get(a, a) if isinstance(a, Tensor) else done[a] for a in part.args]
            if is_activation(part) and not part.is_number:
                args = [a if isinstance(a, Tensor) else named(a, symbol) for a in args]
            rebuilt = part.func(*args) if args != list(part.args) else renewed.get(part, part)
            if is_activation(part) and part is not expr and is_activation(rebuilt):
                rebuilt = named(rebuilt, symbol)
            done[part] = rebuilt
        if done[expr] is not expr:
            renewed[symbol] = Tensor(symbol.name, symbol.shape, "node", done[expr])
        owner[renewed.get(symbol, symbol)] = symbol
    return System(renewed.get(system.loss, system.loss), listed=(*system.data, *system.weights)), owner


def is_activation(expr: sp.Basic) -> bool:
    """A function of one argument that depends on a tensor."""
    return isinstance(expr, sp.Function) and not isinstance(expr, (Operator, sp.Piecewise)) and len(expr.args) == 1 and not expr.is_number


def _magnitude(root: sp.Expr) -> sp.Expr:
    """The expression with absolute values of all terms and factors; adjoints are absolute already."""
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(root, descend=lambda e: isinstance(e, (sp.Add, sp.Mul, *_LINEAR)) or _is_power(e)):
        if isinstance(part, (sp.Add, sp.Mul)) or _is_power(part):
            done[part] = part.func(*(done[a] for a in part.args))
        elif isinstance(part, _LINEAR):
            operands = [done[a] for a in part.operands]
            done[part] = part.func(*part.parameters, *operands)
        else:
            done[part] = part if not isinstance(part, sp.Expr) or (isinstance(part, Tensor) and part.adjoint_of) else sp.Abs(part)
    return done[root]


def _is_power(expr: sp.Basic) -> bool:
    return isinstance(expr, sp.Pow) and bool(expr.exp.is_Integer) and bool(expr.exp.is_positive)


__all__ = ["Backward", "Change", "Edge", "elementary", "is_activation"]
