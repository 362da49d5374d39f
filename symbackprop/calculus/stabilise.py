"""Rewrite what overflows or cancels when it is computed as it is written. Each rule is an identity; the names of the network stay.

Applied to the equations that are computed, before they are differentiated: log(sigmoid(z)) and its kind read through the names of
nodes, so that `p = sigmoid(z)` and `-t*log(p)` need not know of each other. Forms and formulas show the equations as written.

Sources: Goodfellow, Bengio & Courville, Deep Learning, section 4.1 and 6.2.2; M. Mächler, "Accurately computing log(1 - exp(-|a|))" (2012).
"""


import sympy as sp

from symbackprop.graph.equations import System, once
from symbackprop.graph.functions import expm1, log1p, sigmoid, softplus
from symbackprop.graph.operators.contraction import Einsum
from symbackprop.graph.operators.reduction import Softmax, log_softmax, logsumexp
from symbackprop.graph.shapes import postorder, shape_of
from symbackprop.graph.tensor import Equation, Tensor


@once
def stabilise(system: System) -> System:
    """The same system, computed stably; the very same object where there is nothing to rewrite."""
    renewed: dict[Tensor, Tensor] = {}
    for symbol, expr in system.equations:
        better = _rewrite(expr.xreplace(renewed) if renewed else expr)
        if better is not expr:
            renewed[symbol] = Tensor(symbol.name, symbol.shape, symbol.role, better, adjoint_of=symbol.adjoint_of)
    if not renewed:
        return system
    output = system.output if system.output is None else renewed.get(system.output, system.output)
    updates = tuple(Equation(state, _rewrite(expr.xreplace(renewed))) for state, expr in system.updates)
    return System(renewed.get(system.loss, system.loss), output, system.extra, (*system.data, *system.kept), updates)


def _rewrite(root: sp.Expr) -> sp.Expr:
    """Every rule at every subexpression, arguments first."""
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(root):
        args = [done[a] for a in part.args]
        rebuilt = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
        better = _rule(rebuilt) if isinstance(rebuilt, (sp.log, sp.Pow, sp.Mul, sp.Add)) else None
        done[part] = better if better is not None and shape_of(better) == shape_of(rebuilt) else rebuilt
    return done[root]


def _rule(expr: sp.Expr) -> sp.Expr | None:
    if isinstance(expr, sp.log):
        return _log(expr.args[0])
    if isinstance(expr, sp.Pow) and expr.exp == -1:  # 1/(1 + exp(-z))
        inner = _one_plus_exp(expr.base)
        return sigmoid(-inner) if inner is not None else None
    if isinstance(expr, sp.Mul):  # exp(z)/(1 + exp(z)), of which the denominator has become sigmoid(-z) already
        for factor in expr.args:
            if isinstance(factor, sigmoid):
                z = -factor.args[0]
                if sp.exp(z) in expr.args:
                    return sp.Mul(sigmoid(z), *(f for f in expr.args if f not in (factor, sp.exp(z))))
    if isinstance(expr, sp.Add):  # exp(x) - 1
        exps = [t for t in expr.args if isinstance(t, sp.exp)]
        if exps and sp.S.NegativeOne in expr.args:
            return sp.Add(expm1(exps[0].args[0]), *(t for t in expr.args if t is not exps[0] and t != -1))
    return None


def _log(x: sp.Expr) -> sp.Expr | None:
    """log(x) for the x whose logarithm has a stable form of its own."""
    seen = _definition(x)
    if isinstance(seen, sigmoid):
        return -softplus(-seen.args[0])
    if isinstance(seen, Softmax):
        return log_softmax(seen.operands[0], seen.axis)
    if isinstance(seen, Einsum) and len(seen.operands) == 1 and isinstance(seen.operands[0], sp.exp):
        (letters,), out = seen.spec
        if out == "".join(c for c in letters if c in out):
            return logsumexp(seen.operands[0].args[0], tuple(i for i, c in enumerate(letters) if c not in out))
    inner = _one_plus_exp(x)
    if inner is not None:
        return softplus(inner)
    if isinstance(x, sp.Add) and sp.S.One in x.args:
        rest = x - 1
        negative = _definition(-rest)
        if isinstance(negative, sigmoid):  # 1 - sigmoid(z) is sigmoid(-z)
            return -softplus(negative.args[0])
        return log1p(rest)
    return None


def _one_plus_exp(x: sp.Expr) -> sp.Expr | None:
    """z, if x is 1 + exp(z)."""
    if isinstance(x, sp.Add) and len(x.args) == 2 and sp.S.One in x.args:
        rest = x - 1
        return rest.args[0] if isinstance(rest, sp.exp) else None
    return None


def _definition(x: sp.Expr) -> sp.Expr:
    """What a node's name stands for, if that is a function or operator that a rule may know."""
    return x.definition if isinstance(x, Tensor) and x.definition is not None else x
