"""The forms in which a gradient is written: as a product of named partial derivatives (chain), evaluated with named values
(local), and in weights and data only (closed)."""

from functools import cached_property
from typing import Any

import sympy as sp

from symbackprop.calculus.differentiate import Adjoints, differentiate, pull
from symbackprop.calculus.index import IndexForm, free_indices
from symbackprop.errors import UnsupportedError
from symbackprop.graph.equations import System, collect, tensors_in
from symbackprop.graph.shapes import Shape
from symbackprop.graph.tensor import Tensor

PATHS = 64  # a chain with more paths than this stays factored


class Partial(sp.Expr):
    """The partial derivative ∂y/∂x of the equation of y, by name and unevaluated. `doit` evaluates it where both are scalars.

    It does not commute: a product of partial derivatives is kept in the order in which the chain rule writes it, which for
    tensors is the only right one.
    """

    is_commutative = False

    @property
    def y(self) -> Any:
        return self.args[0]

    @property
    def x(self) -> Any:
        return self.args[1]

    def doit(self, **hints: Any) -> sp.Expr:
        y, x = self.args
        if isinstance(y, Tensor) and y.shape == () and x.shape == ():
            return pull(y, sp.S.One, {x}).get(x, sp.S.Zero)
        raise UnsupportedError(f"{self} is a derivative between tensors, with more axes than either; read .local, or an entry such as gradients[w][0, 0]")

    def _sympystr(self, printer: Any) -> str:
        return f"d{printer._print(self.y)}/d{printer._print(self.x)}"

    def _latex(self, printer: Any, **_: Any) -> str:
        return rf"\frac{{\partial {printer._print(self.y)}}}{{\partial {printer._print(self.x)}}}"


class Forms:
    """The forms of all gradients of one system; each is made when it is asked for, and once."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._chains: dict[Tensor, sp.Expr] = {}
        self._locals: dict[sp.Basic, sp.Expr] = {}

    @cached_property
    def adjoints(self) -> Adjoints:
        return differentiate(self.system.loss, self.system.weights)

    # --- chain --------------------------------------------------------------------------------------------------------

    @cached_property
    def _users(self) -> dict[Tensor, list[Tensor]]:
        """x → the nodes whose equations mention x and on which the loss depends."""
        users: dict[Tensor, list[Tensor]] = {}
        for y, x in self.adjoints.edges:
            users.setdefault(x, []).append(y)
        return users

    def chain(self, x: Tensor) -> sp.Expr:
        """The sum over all paths from the loss to `x` of the products of named partial derivatives."""
        loss = self.system.loss
        order = [t for t in reversed(collect([loss])) if t is loss or t in self._users]
        paths: dict[Tensor, int] = {loss: 1}
        for t in order:
            if t in self._chains or t is loss:
                self._chains.setdefault(t, sp.S.One)
            else:
                parts = [sp.Mul(self._chains[y], Partial(y, t)) for y in self._users[t]]
                total = sp.Add(*parts)
                self._chains[t] = total
            paths[t] = paths.get(t) or sum(paths[y] for y in self._users.get(t, ()))
            if paths[t] <= PATHS:
                self._chains[t] = sp.expand_mul(self._chains[t])
        return self._chains.get(x, sp.S.Zero)

    # --- local --------------------------------------------------------------------------------------------------------

    def local(self, x: Tensor) -> sp.Expr:
        """The gradient with every adjoint replaced by its expression; the network's named values stay."""
        return self._without_adjoints(self.adjoints.of[x])

    def _without_adjoints(self, root: sp.Expr) -> sp.Expr:
        needed = [t for t in collect(_adjoints_in(root)) if t.adjoint_of]
        for t in needed:  # oldest, that is nearest to the loss, first
            if t not in self._locals:
                assert t.definition is not None
                self._locals[t] = t.definition.xreplace({a: self._locals[a] for a in _adjoints_in(t.definition)})
        return root.xreplace({a: self._locals[a] for a in _adjoints_in(root)})

    # --- closed -------------------------------------------------------------------------------------------------------

    def closed(self, x: Tensor) -> sp.Expr:
        """The gradient in weights and data only; for a tensor a `Lambda` of the entry's indices, with sums as SymPy's `Sum`."""
        if all(t.shape == () for t in (self.system.tensors)):
            expr = self.local(x)
            for t in reversed(collect(tensors_in(expr))):
                if t.definition is not None:
                    expr = expr.xreplace({t: t.definition})
            return expr
        index = free_indices(x.shape)
        entry = self.entry(x, index, closed=True)
        return sp.Lambda(index, entry) if index else entry

    def entry(self, x: Tensor, index: tuple[Any, ...], closed: bool) -> sp.Expr:
        """One entry of the gradient of `x` in index form."""

        def define(t: Tensor) -> sp.Expr | None:
            return t.definition if closed or t.adjoint_of else None

        return IndexForm(define, tuple(i for i in index if isinstance(i, sp.Symbol))).entry(self.adjoints.of[x], index)


def _adjoints_in(expr: sp.Expr) -> set[Tensor]:
    return {t for t in tensors_in(expr) if t.adjoint_of}


def shape_index(shape: Shape, key: Any, name: str) -> tuple[sp.Expr, ...]:
    """An entry's index from what a user writes in brackets: as many integers as the weight has axes, negative ones counted from the end."""
    keys = key if isinstance(key, tuple) else (key,)
    if len(keys) != len(shape):
        raise IndexError(f"gradient of {name}: {len(keys)} indices for a weight of shape {shape}; give {len(shape)}")
    result = []
    for k, size in zip(keys, shape, strict=True):
        if isinstance(k, sp.Symbol):
            result.append(k)
            continue
        if isinstance(k, bool) or not isinstance(k, (int, sp.Integer)) or not -size <= k < size:
            raise IndexError(f"gradient of {name}: index {k!r} is out of range for a weight of shape {shape}")
        result.append(sp.Integer(int(k) % size))
    return tuple(result)
