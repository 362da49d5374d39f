"""The cross-entropies among the rewrites: what makes of a loss of logits, in whichever way it is written, one function whose value and slope lose
nothing where the answer is nearly sure. Applied before the gradient is found, so that the slopes come out of these functions.

As in `structures`, each is a function from an expression to a better one, or None.
"""

from collections.abc import Iterator

import sympy as sp

from symbackprop.calculus.match import definition
from symbackprop.graph.functions import softplus
from symbackprop.graph.operators.contraction import Einsum, contract
from symbackprop.graph.operators.cross_entropy import CrossEntropy, total
from symbackprop.graph.operators.divergence import ShareDivergence
from symbackprop.graph.operators.products import reduce_sum
from symbackprop.graph.operators.reduction import LogSoftmax, LogSumExp, Softmax
from symbackprop.graph.shapes import rank_of, shape_of, split_scalars
from symbackprop.graph.stable_losses import logistic_loss
from symbackprop.graph.tensor import Tensor


def logistic_loss_of_a_logit(expr: sp.Add) -> sp.Expr | None:
    """(a + b) softplus(z) - b z, a softplus(z) + b softplus(-z) → one function of z, a and b, in which nothing is subtracted. Goodfellow, Bengio &
    Courville (2016), section 6.2.2.2; Higham (2002), section 1.7."""
    for first in expr.args:
        for factor in sp.Mul.make_args(first):
            seen = definition(factor)
            if not isinstance(seen, softplus):
                continue
            z, c = seen.args[0], first / factor
            for second, left in _others(expr, first, z):
                weights = _weights(z, c, second)
                if weights is None or any(_reads(x, z) for x in weights):
                    continue
                sign = -1 if all(_negative(x) for x in weights) else 1
                better = c * z if sp.Add(*weights) == 0 else sign * logistic_loss(z, *(sign * x for x in weights))
                return sp.Add(better, *left)
    return None


def _others(expr: sp.Add, first: sp.Expr, z: sp.Expr) -> Iterator[tuple[sp.Expr, list[sp.Expr]]]:
    """The other terms, each with what is left without it and the first; where z is a sum, b z_1 + b z_2 ... as one term b z too."""
    terms = [x for x in expr.args if x is not first]
    yield from ((x, [y for y in terms if y is not x]) for x in terms)
    for x in terms if isinstance(z, sp.Add) else ():
        b = _quotient(x, z.args[0])
        parts = [] if b is None else [b * part for part in z.args]
        if parts and all(part in terms for part in parts):
            yield sp.Mul(b, z, evaluate=False), [y for y in terms if y not in parts]


def _weights(z: sp.Expr, c: sp.Expr, term: sp.Expr) -> tuple[sp.Expr, sp.Expr] | None:
    """(a, b) of c softplus(z) + term = a softplus(z) + b softplus(-z), if they are no numbers of opposite signs but for 1 and -1 times one number,
    as softplus(z) - softplus(-z) = z."""
    for factor in sp.Mul.make_args(term):
        seen = definition(factor)
        if isinstance(seen, softplus) and seen.args[0] == -z:
            a, b = c, term / factor
            break
    else:
        b = _quotient(-term, z)
        if b is None or b == 0:
            return None
        a = sp.Add(*(sp.expand_mul(x, deep=False) for part in (c, -b) for x in sp.Add.make_args(part)))
    return None if a.is_number and b.is_number and a * b < 0 and a + b != 0 else (a, b)


def _quotient(x: sp.Expr, z: sp.Expr) -> sp.Expr | None:
    """x / z, if z is a factor of x, or -z is: SymPy writes t (1 - z) as either."""
    factors = sp.Mul.make_args(x)
    for sign, core in ((1, z), (-1, -z)):
        if set(sp.Mul.make_args(core)) <= set(factors):
            return sp.Mul(sign, *(f for f in factors if f not in sp.Mul.make_args(core)))
    return None


def _negative(x: sp.Expr) -> bool:
    """Whether it is written with a minus sign: -b, or -(1 - b), of which SymPy makes b - 1."""
    if isinstance(x, sp.Add):
        return any(term.is_number and term.is_negative for term in x.args)
    return bool(x.as_coeff_Mul()[0].is_negative)


def _reads(x: sp.Expr, z: sp.Expr) -> bool:
    """Whether what one tensor is made of is among what the other is made of: then it is no weight, and has a slope of its own."""
    own = {s for s in z.free_symbols if isinstance(s, Tensor) and s.role not in ("data", "state")}
    seen: set[Tensor] = set()
    stack = [s for s in x.free_symbols if isinstance(s, Tensor)]
    while stack:
        t = stack.pop()
        if t in own:
            return True
        if t not in seen:
            seen.add(t)
            stack.extend(t.inputs)
    return False


def cross_entropy_of_logits(expr: sp.Add) -> sp.Expr | None:
    """a logsumexp(z) - sum(t z) → one operator of z, t and a, in which the largest term of the sum is left to log1p. Blanchard, Higham & Higham
    (2021), section 4."""
    for first in expr.args:
        for factor in sp.Mul.make_args(first):
            seen = definition(factor)
            if not isinstance(seen, LogSumExp):
                continue
            a, (z,) = first / factor, seen.operands
            for second in expr.args:
                found = None if second is first else _targets(second, z, seen.axis)
                if found is None:
                    continue
                b, t = found
                scale = -b if b.is_number or b == -a else sp.S.One
                a = sp.S.One if b == -a else a / scale
                if (scale == 1 and b != -1) or not (a.is_number or shape_of(a) == shape_of(seen)) or shape_of(t) != shape_of(z):
                    continue
                return sp.Add(scale * CrossEntropy(seen.args[0], z, t, a), *(x for x in expr.args if x is not first and x is not second))
    return None


def _targets(term: sp.Expr, z: sp.Expr, axis: int) -> tuple[sp.Expr, sp.Expr] | None:
    """(b, t) of a term b sum(t z) along the axis. What scales the logits, as a temperature does, stands in front of the sum."""
    scale, core = split_scalars(z)
    for factor in sp.Mul.make_args(term):
        seen = definition(factor)
        if isinstance(seen, Einsum):
            t = _quotient(sp.Mul(*seen.operands), core)
            if t is not None and reduce_sum(t * core, axis) == seen:
                return term / factor / scale, t
    return None


def cross_entropy_of_log_softmax(expr: Einsum) -> sp.Expr | None:
    """sum(t log_softmax(z)) → minus the operator of z, t and sum(t). Blanchard, Higham & Higham (2021), section 4."""
    groups, out = expr.spec
    product = sp.Mul(*expr.operands)
    for logs in sp.Mul.make_args(product) if len(set(groups)) == 1 else ():
        seen = definition(logs)
        t = product / logs
        if not isinstance(seen, LogSoftmax) or rank_of(logs) != len(groups[0]) or shape_of(t) != shape_of(logs):
            continue
        at = seen.axis + len(groups[0])
        if groups[0][at] not in out:
            entropy = CrossEntropy(seen.args[0], seen.operands[0], t, total(t, seen.axis))
            return -contract([groups[0][:at] + groups[0][at + 1 :]], out, [entropy])
    return None


def divergence_of_softmaxes(expr: Einsum) -> sp.Expr | None:
    """sum(p (log(p) - log(q))) of p = softmax(a) and q = softmax(b) → the operator of a and b, in which no term is negative. Cover & Thomas (2006),
    theorem 2.6.3."""
    groups, out = expr.spec
    if len(set(groups)) != 1:
        return None
    terms = sp.Add.make_args(sp.expand_mul(sp.Mul(*expr.operands), deep=False))
    found = [x for term in terms if (x := _weighed_logarithm(term)) is not None] if len(terms) == 2 else []
    for (c, p, a), (d, other, b) in (found, found[::-1]) if len(found) == 2 else ():
        at = int(a[0]) + len(groups[0])
        alike = c + d == 0 and p == other and a[0] == b[0] and shape_of(a[1]) == shape_of(b[1]) and rank_of(a[1]) == len(groups[0])
        if alike and definition(p).args == a and groups[0][at] not in out:
            return c * contract([groups[0][:at] + groups[0][at + 1 :]], out, [ShareDivergence(*a, b[1])])
    return None


def _weighed_logarithm(term: sp.Expr) -> tuple[sp.Expr, sp.Expr, tuple[sp.Expr, ...]] | None:
    """(c, p, arguments of the softmax q) of c p log(q), where p is a softmax."""
    for factor in sp.Mul.make_args(term):
        c, p = (term / factor).as_coeff_Mul()
        q = _share_in(definition(factor), p)
        if q is not None and isinstance(definition(p), Softmax):
            return c, p, q
    return None


def _share_in(logarithm: sp.Basic, p: sp.Expr) -> tuple[sp.Expr, ...] | None:
    """The arguments of the softmax that it is the logarithm of; beside a factor p, that may be log(p) where p > 0 only."""
    if isinstance(logarithm, LogSoftmax):
        return logarithm.args
    if isinstance(logarithm, sp.log) and logarithm.args[0] == sp.Piecewise((p, p > 0), (1, True)):
        return definition(p).args
    return None


def divergence_of_cross_entropies(expr: sp.Add) -> sp.Expr | None:
    """c times the cross-entropy of logits b with targets p = softmax(a), minus that of a → the divergence. Cover & Thomas (2006), theorem 2.6.3."""
    for second in expr.args:
        for own in second.atoms(CrossEntropy) if isinstance(second, (sp.Mul, CrossEntropy)) else ():
            (axis, a, p, total_), c = own.args, -second / own
            if definition(p) != Softmax(axis, a):
                continue
            for first in expr.args:
                if isinstance(other := first / c, CrossEntropy) and other.args[0] == axis and other.args[2:] == (p, total_) and first is not second:
                    return sp.Add(c * ShareDivergence(axis, a, other.args[1]), *(x for x in expr.args if x is not first and x is not second))
    return None


def number_in_front(expr: Einsum) -> sp.Expr | None:
    """sum(-x) → -sum(x), which other rewrites leave inside. Elementary."""
    if all(split_scalars(x)[0] == 1 for x in expr.operands):
        return None
    return contract(*expr.spec, expr.operands)


OF_SUMS = (logistic_loss_of_a_logit, cross_entropy_of_logits, divergence_of_cross_entropies)
OF_CONTRACTIONS = (divergence_of_softmaxes, cross_entropy_of_log_softmax, number_in_front)

__all__ = ["OF_CONTRACTIONS", "OF_SUMS", "divergence_of_cross_entropies", "divergence_of_softmaxes"]
