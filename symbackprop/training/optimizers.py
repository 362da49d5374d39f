"""Optimizers as symbolic rules. A rule is a generator of assignments, in order, in the notation of its paper; from it come
its LaTeX, the generated update and the training step.

To write one, subclass `Optimizer` and give it a `rule`:

    class Momentum(Optimizer):
        def __init__(self, lr=0.01, beta=0.9):
            self.lr, self.beta = lr, beta

        def rule(self, w, g, t, state):
            m = state("m")                      # starts at 0, one for each weight
            yield m, self.beta * m + g          # assignments happen in order,
            yield w, w - self.lr * m            # each sees what the ones before it assigned

`w` is the weight, `g` its gradient, `t` the number of this update (1 at the first).

The arguments, defaults and results are those of PyTorch's `torch.optim`.
Sources: Polyak 1964 and Sutskever et al. 2013 (momentum, Nesterov); Kingma & Ba 2015, algorithm 1 (Adam); Loshchilov & Hutter
2019, algorithm 2 (AdamW); Tieleman & Hinton 2012, lecture 6.5 (RMSprop); Duchi, Hazan & Singer 2011 (Adagrad).
"""

from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError
from symbackprop.graph.equations import System
from symbackprop.graph.names import check_name
from symbackprop.graph.rule import GRADIENT, STEP, WEIGHT, Rule
from symbackprop.graph.shapes import rank_of
from symbackprop.graph.tensor import Equation, Tensor
from symbackprop.latex.equations import block
from symbackprop.latex.printer import TensorLatex

State = Callable[..., Tensor]
Assignments = Iterable[tuple[Any, Any]]


class Optimizer:
    """Base class of the rules. `equations()` gives the checked rule; `latex()` its formulas."""

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        """The assignments of one update, for one weight."""
        raise NetworkError(f"{type(self).__name__} defines no rule; give it a method rule(self, w, g, t, state) that yields (target, expression) pairs")

    def prepared(self, system: System) -> tuple[System, Rule]:
        """What training computes: the network, with the equations that the optimizer adds to it, and the rule for each weight."""
        return system, self.equations()

    def equations(self) -> Rule:
        """The rule as equations. Raises `NetworkError` where it assigns or reads what is not its own."""
        name = type(self).__name__
        states: dict[Tensor, float] = {}

        def state(letter: str, init: float = 0.0) -> Tensor:
            symbol = Tensor(check_name(letter, "optimizer state"), (), "state")
            if symbol in (WEIGHT, GRADIENT, STEP):
                raise NetworkError(f"{name}: a state may not be called {letter!r}; w, g and t are the weight, its gradient and the step count")
            states[symbol] = float(hyperparameter(init, f"{name}: the initial value of {letter}", low=float("-inf")))
            return symbol

        assignments = []
        for target, expr in self._pairs(state):
            # A schedule is written with the user's own symbol t, of whatever assumptions.
            expr = expr.xreplace({s: STEP for s in expr.free_symbols if s.name == "t" and s is not STEP})
            assignments.append(Equation(target, expr))
        known = {WEIGHT, GRADIENT, STEP, *states}
        for target, expr in assignments:
            if target is STEP or target not in known:
                raise NetworkError(f"{name}: the rule assigns {target}; it may assign the weight w, the gradient g and its own states")
            unknown = expr.free_symbols - known
            if unknown:
                raise NetworkError(
                    f"{name}: the rule for {target} mentions {', '.join(sorted(map(str, unknown)))}; "
                    f"expected w, g, t and its states {', '.join(map(str, states)) or '(none)'}"
                )
        if WEIGHT not in (target for target, _ in assignments):
            raise NetworkError(f"{name}: the rule never assigns w, so nothing would be learnt; yield w, <expression>")
        return Rule(tuple(assignments), states)

    def _pairs(self, state: State) -> list[tuple[Any, sp.Expr]]:
        """What the rule yields, once it is known to be (target, expression) pairs."""
        name = type(self).__name__
        found = self.rule(WEIGHT, GRADIENT, STEP, state)
        if not isinstance(found, Iterable):
            raise NetworkError(f"{name}: the rule returned {found!r}; it must yield (target, expression) pairs")
        pairs = []
        for pair in found:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise NetworkError(f"{name}: the rule yielded {pair!r}; expected a pair (target, expression)")
            target, expr = pair
            try:
                expr = sp.sympify(expr, strict=True)
            except sp.SympifyError:
                expr = None
            if not isinstance(expr, sp.Expr):
                raise NetworkError(f"{name}: the rule assigns {pair[1]!r} to {target}; expected a number or a SymPy expression")
            if rank_of(expr) or expr.has(sp.I, sp.nan, sp.zoo):
                raise NetworkError(f"{name}: the rule assigns {expr} to {target}; expected a real expression that acts on every entry alike")
            pairs.append((target, expr))
        return pairs

    def latex(self) -> str:
        r"""The rule as one align*, an assignment a line, in the order in which they are made: m \leftarrow 0.9 m + g."""
        return block(self._lines())

    def _lines(self) -> list[str]:
        lines = []
        for target, expr in self.equations().assignments:
            printer = TensorLatex(lead=target)
            lines.append(rf"{printer.plain(target)} &\leftarrow {printer.plain(expr)}")
        return lines

    def _repr_latex_(self) -> str:
        return "$$" + block(self._lines(), "aligned") + "$$"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={_shown(v)}' for k, v in vars(self).items())})"


def hyperparameter(value: Any, name: str, low: float = 0.0, high: float = float("inf")) -> Any:
    """A number in [low, high), or an expression of t."""
    if isinstance(value, sp.Expr) and value.free_symbols:
        if {s.name for s in value.free_symbols} - {"t"}:
            raise NetworkError(f"{name} = {value} mentions {value.free_symbols}; a schedule may only mention the step count t")
        return value
    try:
        number = float("nan") if isinstance(value, (bool, str, bytes)) else float(value)
    except (TypeError, ValueError):
        number = float("nan")
    if number != number:
        raise NetworkError(f"{name} is {value!r}; expected a number or a SymPy expression of t")
    if not low <= number < high:  # the upper end, infinity too, is outside
        raise NetworkError(f"{name} is {value}; expected a number from {low:g}" + (f" to below {high:g}" if high < float("inf") else " up"))
    return value if isinstance(value, (int, sp.Rational)) else sp.Float(number)


def _shown(value: Any) -> str:
    """A hyperparameter as it was typed: 0.1, not 0.100000000000000."""
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    return repr(float(value)) if isinstance(value, sp.Float) else str(value)


def _rest(share: Any) -> sp.Expr:
    """1 - share, in decimal arithmetic: 1 - 0.9 is 0.1, as it is printed and read."""
    return sp.Float(str(1 - Decimal(repr(float(share))))) if isinstance(share, sp.Float) else 1 - sp.sympify(share, strict=True)


class SGD(Optimizer):
    """Gradient descent: w ← w - lr g, with momentum m ← momentum m + (1 - dampening) g (the first time m ← g), Nesterov's look-ahead
    and weight decay g ← g + weight_decay w."""

    def __init__(self, lr: Any = 1e-3, momentum: Any = 0, nesterov: bool = False, weight_decay: Any = 0, dampening: Any = 0) -> None:
        self.lr = hyperparameter(lr, "lr")
        self.momentum = hyperparameter(momentum, "momentum")
        self.nesterov = bool(nesterov)
        self.weight_decay = hyperparameter(weight_decay, "weight_decay")
        self.dampening = hyperparameter(dampening, "dampening")
        if self.nesterov and (momentum == 0 or dampening != 0):
            raise NetworkError("Nesterov's momentum needs momentum > 0 and dampening = 0")

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        if self.weight_decay != 0:
            yield g, g + self.weight_decay * w
        step: sp.Expr = g
        if self.momentum != 0:
            m = state("m")
            fresh = g if self.dampening == 0 else sp.Piecewise((g, t <= 1), (_rest(self.dampening) * g, True))
            yield m, self.momentum * m + fresh
            step = g + self.momentum * m if self.nesterov else m
        yield w, w - self.lr * step


class Adam(Optimizer):
    """Running means m of g and v of g², corrected for their start at zero: w ← w - lr m̂ / (√v̂ + eps)."""

    def __init__(self, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: Any = 1e-8, weight_decay: Any = 0, amsgrad: bool = False) -> None:
        self.lr = hyperparameter(lr, "lr")
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise NetworkError(f"betas is {betas!r}; expected a pair of numbers, such as (0.9, 0.999)")
        self.betas = (hyperparameter(betas[0], "betas[0]", high=1), hyperparameter(betas[1], "betas[1]", high=1))
        self.eps = hyperparameter(eps, "eps")
        self.weight_decay = hyperparameter(weight_decay, "weight_decay")
        self.amsgrad = bool(amsgrad)

    def decay(self, w: Tensor, g: Tensor) -> Assignments:
        if self.weight_decay != 0:
            yield g, g + self.weight_decay * w

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        b1, b2 = self.betas
        yield from self.decay(w, g)
        m, v = state("m"), state("v")
        yield m, b1 * m + _rest(b1) * g
        yield v, b2 * v + _rest(b2) * g**2
        if self.amsgrad:
            largest = state("v_max")
            yield largest, sp.Max(largest, v)
            v = largest
        yield w, w - self.lr / (1 - b1**t) * m / (sp.sqrt(v) / sp.sqrt(1 - b2**t) + self.eps)


class AdamW(Adam):
    """Adam with the weight decay apart from the gradient: first w ← w - lr weight_decay w."""

    def __init__(self, lr: Any = 1e-3, betas: tuple[Any, Any] = (0.9, 0.999), eps: Any = 1e-8, weight_decay: Any = 1e-2, amsgrad: bool = False) -> None:
        super().__init__(lr, betas, eps, weight_decay, amsgrad)

    def decay(self, w: Tensor, g: Tensor) -> Assignments:
        if self.weight_decay != 0:
            yield w, w - self.lr * self.weight_decay * w


class RMSprop(Optimizer):
    """Running mean v of g²: w ← w - lr g / (√v + eps); centered subtracts the squared running mean of g, momentum smooths the step."""

    def __init__(self, lr: Any = 1e-2, alpha: Any = 0.99, eps: Any = 1e-8, weight_decay: Any = 0, momentum: Any = 0, centered: bool = False) -> None:
        self.lr = hyperparameter(lr, "lr")
        self.alpha = hyperparameter(alpha, "alpha")
        self.eps = hyperparameter(eps, "eps")
        self.weight_decay = hyperparameter(weight_decay, "weight_decay")
        self.momentum = hyperparameter(momentum, "momentum")
        self.centered = bool(centered)

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        if self.weight_decay != 0:
            yield g, g + self.weight_decay * w
        v = state("v")
        yield v, self.alpha * v + _rest(self.alpha) * g**2
        spread: sp.Expr = v
        if self.centered:
            mean = state("g_mean")
            yield mean, self.alpha * mean + _rest(self.alpha) * g
            spread = v - mean**2
        step = g / (sp.sqrt(spread) + self.eps)
        if self.momentum != 0:
            m = state("m")
            yield m, self.momentum * m + step
            step = m
        yield w, w - self.lr * step


class Adagrad(Optimizer):
    """Sum v of g²: w ← w - lr / (1 + (t - 1) lr_decay) g / (√v + eps)."""

    def __init__(self, lr: Any = 1e-2, lr_decay: Any = 0, weight_decay: Any = 0, initial_accumulator_value: Any = 0, eps: Any = 1e-10) -> None:
        self.lr = hyperparameter(lr, "lr")
        self.lr_decay = hyperparameter(lr_decay, "lr_decay")
        self.weight_decay = hyperparameter(weight_decay, "weight_decay")
        self.initial_accumulator_value = hyperparameter(initial_accumulator_value, "initial_accumulator_value")
        self.eps = hyperparameter(eps, "eps")

    def rule(self, w: Tensor, g: Tensor, t: Tensor, state: State) -> Assignments:
        if self.weight_decay != 0:
            yield g, g + self.weight_decay * w
        v = state("v", init=float(self.initial_accumulator_value))
        yield v, v + g**2
        yield w, w - self.lr / (1 + (t - 1) * self.lr_decay) * g / (sp.sqrt(v) + self.eps)
