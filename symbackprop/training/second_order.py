"""Optimizers that use curvature: Newton's method, Gauss-Newton, Levenberg-Marquardt and K-FAC. Each adds equations to the network's own:
the matrix, the linear equations, and what becomes of every weight; so it is printed, generated and run like everything else.

Sources: Nocedal & Wright, Numerical Optimization, 2nd ed., sections 3.3 (Newton) and 10.3 (least squares); Marquardt 1963 (damping);
Madsen, Nielsen & Tingleff, Methods for Non-Linear Least Squares Problems (2004), section 3.2; Martens & Grosse, "Optimizing Neural
Networks with Kronecker-factored Approximate Curvature" (ICML 2015), sections 2, 3 and 6.3.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sympy as sp

from symbackprop.calculus.batch import is_single_sample
from symbackprop.calculus.differentiate import adjoints
from symbackprop.calculus.second import gauss_newton, hessian, loss_input
from symbackprop.calculus.stabilise import stabilise
from symbackprop.errors import NetworkError, UnsupportedError
from symbackprop.graph.equations import System, collect
from symbackprop.graph.names import Namer
from symbackprop.graph.operators.contraction import Einsum, Eye, broadcast_in
from symbackprop.graph.operators.layout import concatenate, reshape
from symbackprop.graph.operators.products import einsum, matmul, transpose
from symbackprop.graph.operators.solve import solve
from symbackprop.graph.rule import Rule
from symbackprop.graph.shapes import Dim, rank_of, shape_of, size_of
from symbackprop.graph.tensor import Equation, Tensor, node
from symbackprop.latex.equations import block
from symbackprop.training.optimizers import Optimizer
from symbackprop.training.optimizers import hyperparameter as _hyperparameter

LEAST = 1e-15  # damping of Levenberg-Marquardt


class SecondOrder(Optimizer):
    """Base class: an optimizer whose update of one weight depends on all of them. `updates` states it."""

    formula: Sequence[str] = ()  # its LaTeX, a line an assignment; theta is all weights in one vector

    def updates(self, system: System, name: Namer) -> Iterator[Equation]:
        """What every weight becomes, and every state. New values are made of the old ones, all at once; `name` gives names that are free."""
        raise NotImplementedError

    def prepared(self, system: System) -> tuple[System, Rule]:
        if is_single_sample(system):
            raise NetworkError(
                f"{type(self).__name__}: the network describes one sample, and curvature is that of the mean over many; "
                "give its data a leading dimension such as 'n'"
            )
        system = stabilise(system)
        found = adjoints(system)
        name = Namer({t.name for t in (*system.tensors, *found.of)} | {s.name for s, _ in found.equations} | {d.name for d in system.dims})
        return replace(system, updates=(*system.updates, *self.updates(system, name))), Rule((), {})

    def equations(self) -> Rule:
        raise UnsupportedError(
            f"{type(self).__name__} updates all weights at once, with curvature, so there is no rule for one weight to write out or to follow; "
            "derive the gradients without optimizer=, and read the update in its .latex() or in net.generate(optimizer=...)"
        )

    def _lines(self) -> list[str]:
        return list(self.formula)

    def latex(self) -> str:
        return block(self._lines())


def _number(value: Any, name: str, **bounds: float) -> float | int:
    if isinstance(value, sp.Expr) and value.free_symbols:
        raise NetworkError(f"{name} is {value}; expected a number, since schedules are for optimizers of the first order")
    number = float(_hyperparameter(value, name, **bounds))
    return int(number) if number.is_integer() else number  # a rate of 1 is not written


class Flat:
    """All weights of a system as one vector, in the system's order, each in C order."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.weights = weights
        self.sizes = [int(size_of(w.shape)) for w in weights]

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def vector(self, parts: Sequence[sp.Expr]) -> sp.Expr:
        full = [x if rank_of(x) or not w.shape else broadcast_in(x, w.shape, ()) for w, x in zip(self.weights, parts, strict=True)]
        flat = [reshape(x, (size,)) for x, size in zip(full, self.sizes, strict=True)]
        return concatenate(flat) if len(flat) > 1 else flat[0]

    def parts(self, vector: Any) -> list[sp.Expr]:
        """The vector taken apart again, each part in its weight's shape."""
        starts = [sum(self.sizes[:i]) for i in range(len(self.sizes))]
        return [reshape(vector[a : a + size], w.shape) for w, a, size in zip(self.weights, starts, self.sizes, strict=True)]

    def matrix(self, blocks: Any) -> sp.Expr:
        rows = []
        for p, height in zip(self.weights, self.sizes, strict=True):
            row = [reshape(blocks[p, q], (height, width)) for q, width in zip(self.weights, self.sizes, strict=True)]
            rows.append(concatenate(row, axis=1) if len(row) > 1 else row[0])
        return concatenate(rows, axis=0) if len(rows) > 1 else rows[0]


class Newton(SecondOrder):
    r"""Newton's method with damping: theta <- theta - lr (H + damping I)^-1 g, with the gradient g and the Hessian H of the loss.

    With `lr` 1 and no damping one step solves a quadratic problem. Where H is not positive definite the step may lead uphill: raise
    `damping`, or use `GaussNewton`. All weights together are a vector of P numbers; a step solves P linear equations.
    """

    formula = (r"H &= \nabla^2 C(\theta), \quad g = \nabla C(\theta)", r"\theta &\leftarrow \theta - \eta\, (H + \lambda I)^{-1} g")

    def __init__(self, lr: Any = 1.0, damping: Any = 0.0) -> None:
        self.lr = _number(lr, "Newton: lr")
        self.damping = _number(damping, "Newton: damping")

    def curvature(self, system: System) -> Any:
        """The blocks of the matrix for every pair of weights."""
        return hessian(system, system.weights).blocks

    def updates(self, system: System, name: Namer) -> Iterator[Equation]:
        flat = Flat(system.weights)
        of = adjoints(system).of
        g = node(name("g"), flat.vector([of[w] for w in system.weights]))
        h = node(name("H"), flat.matrix(self.curvature(system)) + self.damping * Eye(sp.Integer(flat.size)))
        d = node(name("d"), solve(h, g))
        for w, part in zip(system.weights, flat.parts(d), strict=True):
            yield Equation(w, w - self.lr * part)


class GaussNewton(Newton):
    r"""The damped Gauss-Newton method: Newton's, with the positive semidefinite matrix J^T (d2C/dy2) J in place of the Hessian.

    J is the Jacobian of the node y through which the loss is seen: the network's output, or the logits of a cross-entropy; `output` names
    another. For a sum of squares this is the classical method; for a cross-entropy of logits it is natural gradient descent.
    """

    formula = (
        r"G &= J^{\top} \frac{\partial^2 C}{\partial y^2} J, \quad g = \nabla C(\theta)",
        r"\theta &\leftarrow \theta - \eta\, (G + \lambda I)^{-1} g",
    )

    def __init__(self, lr: Any = 1.0, damping: Any = 1e-6, output: str | None = None) -> None:
        self.lr = _number(lr, "GaussNewton: lr")
        self.damping = _number(damping, "GaussNewton: damping")
        self.output = output

    def curvature(self, system: System) -> Any:
        return _gauss_newton(system, self.output)


def _gauss_newton(system: System, output: str | None) -> Any:
    if output is not None and output not in system.by_name:
        raise NetworkError(f"the node {output!r} is not in the network; it has {', '.join(t.name for t, _ in system.equations)}")
    return gauss_newton(system, loss_input(system) if output is None else system.by_name[output], system.weights).blocks


class LevenbergMarquardt(SecondOrder):
    r"""Levenberg-Marquardt: Gauss-Newton whose damping mu follows the success of the steps.

    Each update tries a step and computes the loss there. Where that is not larger, the weights take the step and mu is divided by `factor`;
    where it is larger, or NaN, the weights stay and mu is multiplied by `factor`, so that the next step is shorter. So the loss never grows
    over updates with the same data, and the losses that a fit records are of weights that were accepted. mu stays above 1e-15, so that a
    matrix without full rank can be solved with.
    """

    formula = (
        r"d &= (J^{\top} \frac{\partial^2 C}{\partial y^2} J + \mu I)^{-1} \nabla C(\theta)",
        r"(\theta, \mu) &\leftarrow \begin{cases} (\theta - d, \mu / \nu) & C(\theta - d) \le C(\theta) \\"
        r" (\theta, \mu \nu) & \text{otherwise} \end{cases}",
    )

    def __init__(self, damping: Any = 1e-3, factor: Any = 10.0, output: str | None = None) -> None:
        self.damping = _number(damping, "LevenbergMarquardt: damping")
        self.factor = _number(factor, "LevenbergMarquardt: factor", low=1.0)
        self.output = output

    def updates(self, system: System, name: Namer) -> Iterator[Equation]:
        flat = Flat(system.weights)
        of = adjoints(system).of
        mu = _state(name, "mu", (), float(self.damping))
        g = node(name("g"), flat.vector([of[w] for w in system.weights]))
        matrix = node(name("G"), flat.matrix(_gauss_newton(system, self.output)) + mu * Eye(sp.Integer(flat.size)))
        d = node(name("d"), solve(matrix, g))
        tried = {w: node(name(f"{w.name}_trial"), w - part) for w, part in zip(system.weights, flat.parts(d), strict=True)}
        better = _elsewhere(system.loss, tried, name) <= system.loss  # never of NaN
        yield Equation(mu, sp.Piecewise((sp.Max(mu / self.factor, LEAST), better), (mu * self.factor, True)))
        for w, trial in tried.items():
            yield Equation(w, sp.Piecewise((trial, better), (w, True)))


def _elsewhere(loss: Tensor, weights: Mapping[Tensor, Tensor], name: Namer) -> Tensor:
    """The loss at other weights: its equations a second time, for those that the weights reach."""
    moved: dict[Tensor, Tensor] = dict(weights)
    for t in collect([loss]):
        if t.definition is not None and not moved.keys().isdisjoint(t.inputs):
            moved[t] = node(name(f"{t.name}_trial"), t.definition.xreplace(moved))
    return moved[loss]


def _state(name: Namer, wish: str, shape: Any = (), init: float = 0) -> Tensor:
    return Tensor(name(wish), shape, "state", init=init)


class KFAC(SecondOrder):
    r"""K-FAC: natural gradient descent with the Fisher matrix of each fully connected layer as the Kronecker product of two small ones.

    For a layer Z = X W + b: A is the mean of x x^T, x a row of X with a 1 for the bias; B that of d d^T, d the gradient of one sample's
    loss in its row of Z. Both are averaged over the updates with the weight min(1 - 1/k, `decay`). The damping lambda is shared between
    them as in section 6.3 of the paper, each mean trace plus lambda. The Fisher matrix is the empirical one, from the targets of the data.
    The loss has to be a mean over the samples. Every weight must belong to one fully connected layer, once.
    """

    formula = (
        r"A &\leftarrow \beta A + (1 - \beta) \frac{1}{n} \bar{X}^{\top} \bar{X}, \quad B \leftarrow \beta B + (1 - \beta) \, n \, \Delta^{\top} \Delta",
        r"W &\leftarrow W - \eta\, (A + \pi \sqrt{\lambda} I)^{-1} \frac{\partial C}{\partial W} \left(B + \tfrac{1}{\pi} \sqrt{\lambda} I\right)^{-1}",
    )

    def __init__(self, lr: Any = 0.1, damping: Any = 1e-2, decay: Any = 0.95) -> None:
        self.lr = _number(lr, "KFAC: lr")
        self.damping = _number(damping, "KFAC: damping")
        self.decay = _number(decay, "KFAC: decay", high=1.0)

    def updates(self, system: System, name: Namer) -> Iterator[Equation]:
        of = adjoints(system).of
        k = _state(name, "k", (), 1)
        beta = node(name("beta"), sp.Min(1 - 1 / k, self.decay))
        yield Equation(k, k + 1)
        for z, x, w, b in _layers(system):
            n, units = z.shape
            rows = node(name(f"rows_{w.name}"), concatenate([x, broadcast_in(sp.S.One, (n, 1), ())], axis=1)) if b is not None else x
            inputs = shape_of(rows)[1]
            delta = of[z]
            a_old, b_old = _state(name, f"A_{w.name}", (inputs, inputs)), _state(name, f"B_{w.name}", (units, units))
            a = node(name(f"A_{w.name}_new"), beta * a_old + (1 - beta) * matmul(transpose(rows), rows) / n)
            c = node(name(f"B_{w.name}_new"), beta * b_old + (1 - beta) * n * matmul(transpose(delta), delta))
            yield from (Equation(a_old, a), Equation(b_old, c))
            # pi^2: the mean eigenvalue of A over that of B
            ratio = (einsum("ii->", a) / inputs + self.damping) / (einsum("ii->", c) / units + self.damping)
            pi = node(name(f"pi_{w.name}"), sp.sqrt(ratio))
            root = sp.sqrt(self.damping)
            g = of[w] if b is None else concatenate([of[w], reshape(of[b], (1, units))], axis=0)
            left = solve(a + pi * root * Eye(sp.Integer(inputs)), g)
            d = node(name(f"d_{w.name}"), transpose(solve(c + root / pi * Eye(sp.Integer(units)), transpose(left))))
            if b is None:
                yield Equation(w, w - self.lr * d)
            else:
                yield Equation(w, w - self.lr * d[: inputs - 1])
                yield Equation(b, b - self.lr * d[inputs - 1])


def _layers(system: System) -> list[tuple[Tensor, sp.Expr, Tensor, Tensor | None]]:
    """(Z, X, W, b or None) for every fully connected layer. Raises `UnsupportedError` where a weight is not in exactly one."""
    found = []
    uses = {w: [symbol for symbol, expr in system.equations for _ in range(expr.count(w))] for w in system.weights}
    for symbol, expr in system.equations:
        products = [x for x in sp.Add.make_args(expr) if isinstance(x, Einsum) and x.args[0].name == "ij,jk->ik" and x.operands[1] in uses]
        biases = [x for x in sp.Add.make_args(expr) if x in uses]
        if len(products) != 1 or len(products) + len(biases) != len(sp.Add.make_args(expr)) or len(biases) > 1:
            continue
        x, w = products[0].operands
        if isinstance(symbol.shape[0], Dim) and all(b.shape == symbol.shape[1:] for b in biases) and all(len(uses[p]) == 1 for p in (w, *biases)):
            found.append((symbol, x, w, biases[0] if biases else None))
    missing = set(system.weights) - {w for _, _, w, b in found} - {b for *_, b in found}
    if missing:
        raise UnsupportedError(
            f"KFAC: {', '.join(sorted(w.name for w in missing))} is not the weight or bias of exactly one fully connected layer Z = X W + b "
            "over a batch; use GaussNewton, or an optimizer of the first order"
        )
    return found


__all__ = ["KFAC", "GaussNewton", "LevenbergMarquardt", "Newton", "SecondOrder"]
