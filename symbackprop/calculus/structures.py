"""Rewrites that no pattern says, since they ask how many terms there are or along which axes is summed. Each is a function from an
expression to a better one, or None; its docstring names the identity and its source, and `tests/test_stability.py` checks each with
mpmath.
"""

from collections.abc import Callable
from typing import Any

import sympy as sp

from symbackprop.calculus.entropies import OF_CONTRACTIONS, OF_SUMS, divergence_of_cross_entropies, divergence_of_softmaxes
from symbackprop.calculus.exponentials import (
    exponential_in_a_sum,
    log_of_a_quotient,
    log_of_a_share,
    log_of_exponentials,
    power_of_exponentials,
    product_of_exponentials,
    product_of_shares,
    sum_over_a_sum,
)
from symbackprop.calculus.match import definition, positive
from symbackprop.calculus.norms import LAST_OF_PRODUCTS, OF_MAXIMA, OF_POWERS, OF_PRODUCTS
from symbackprop.calculus.rules import AFTER, BEFORE, LAST, LOSSES
from symbackprop.calculus.squares import VANISHING, cancelled_root, divided_again, log_of_squares, masked_quotient, may_overflow, root_of_squares
from symbackprop.graph import stable as g
from symbackprop.graph import stable_quotients as q
from symbackprop.graph import stable_sums as sums
from symbackprop.graph import stable_tails as tails
from symbackprop.graph.functions import expm1, log1p, sigmoid
from symbackprop.graph.operators.contraction import Broadcast, Einsum
from symbackprop.graph.operators.layout import Reshape, expand_axes
from symbackprop.graph.operators.reduction import Softmax, log_softmax, logsumexp, softmax
from symbackprop.graph.operators.softmax_slopes import LogSoftmaxSlope, SoftmaxSlope
from symbackprop.graph.shapes import rank_of, shape_of

Structure = Callable[[Any], sp.Expr | None]


def log_of_a_softmax(expr: sp.log) -> sp.Expr | None:
    """log(softmax(x)) → log_softmax(x). Blanchard, Higham & Higham (2021), eq. 1.3."""
    seen = definition(expr.args[0])
    return log_softmax(seen.operands[0], seen.axis) if isinstance(seen, Softmax) else None


def log_of_a_quotient_of_softmaxes(expr: sp.log) -> sp.Expr | None:
    """log(softmax(x)/softmax(y)) → log_softmax(x) - log_softmax(y), although both may vanish. Blanchard, Higham & Higham (2021), eq. 1.3."""
    parts = [(definition(base), exponent) for base, exponent in (f.as_base_exp() for f in sp.Mul.make_args(expr.args[0]))]
    if len(parts) < 2 or not all(isinstance(x, Softmax) and n.is_number for x, n in parts):
        return None
    return sp.Add(*(n * log_softmax(x.operands[0], x.axis) for x, n in parts))


def log_of_a_sum_of_exponentials(expr: sp.log) -> sp.Expr | None:
    """log(sum(exp(x))) → logsumexp(x). Blanchard, Higham & Higham (2021), eq. 1.2."""
    found = _sum_of_exponentials(expr.args[0])
    return None if found is None else logsumexp(*found)


def quotient_of_exponentials(expr: sp.Mul) -> sp.Expr | None:
    """exp(x)/sum(exp(x)) → softmax(x). Blanchard, Higham & Higham (2021), eq. 1.1."""
    for above in expr.args:
        inside = definition(above)
        if not isinstance(inside, sp.exp):
            continue
        for below in expr.args:
            if not (isinstance(below, sp.Pow) and below.exp == -1):
                continue
            total = definition(below.base)
            while isinstance(total, (Reshape, Broadcast)):
                total = definition(total.operands[0])
            found = _sum_of_exponentials(total)
            if found is None or found[0] != inside.args[0] or len(found[1]) != 1:
                continue
            spread = expand_axes(total, (found[1][0] - rank_of(inside),), rank_of(inside)) if rank_of(total) else total
            if rank_of(total) == 0 or shape_of(below.base) in (shape_of(spread), shape_of(inside)):
                return sp.Mul(softmax(inside.args[0], found[1][0]), *(f for f in expr.args if f is not above and f is not below))
    return None


def _sum_of_exponentials(total: sp.Basic) -> tuple[sp.Expr, tuple[int, ...]] | None:
    """(x, axes) of sum(exp(x), axes)."""
    seen = definition(total)
    if not isinstance(seen, Einsum) or len(seen.operands) != 1:
        return None
    inside = definition(seen.operands[0])
    (letters,), out = seen.spec
    if not isinstance(inside, sp.exp) or out != "".join(c for c in letters if c in out):
        return None
    return inside.args[0], tuple(i for i, c in enumerate(letters) if c not in out)


def masked_logarithm(expr: sp.Mul) -> sp.Expr | None:
    """t log(p) → xlogy(t, p), t log(1 + u) → xlog1py(t, u), which are 0 where t is: the limit of t log(t), and what cross-entropy means by it. Cover &
    Thomas, Elements of Information Theory, 2nd ed. (2006), section 2.1."""
    logs = [x for x in expr.args if isinstance(x, (sp.log, log1p))]
    factors = [x for x in expr.args if x not in logs and not x.is_number]
    if len(logs) != 1 or not factors or any(isinstance(x, sp.Pow) and x.exp.is_negative for x in factors):
        return None
    y = logs[0].args[0]
    if y.is_positive or (isinstance(logs[0], log1p) and y.is_nonnegative):
        return None
    kind = g.xlog1py if isinstance(logs[0], log1p) else g.xlogy
    return sp.Mul(*(x for x in expr.args if x.is_number), kind(sp.Mul(*factors), y))


_OVER: dict[Any, Any] = {expm1: q.expm1_over, log1p: q.log1p_over, sp.sin: q.sin_over, sp.tanh: q.tanh_over}


def removable_singularity(expr: sp.Mul) -> sp.Expr | None:
    """f(c x)/x → c times f(u)/u at u = c x, for e^u - 1, log(1 + u), sin(u) and tanh(u): a function that has its limit at 0; x/f(c x) too. Milnor, Morse
    Theory (1963), lemma 2.1."""
    for factor in expr.args:
        function, n = factor.as_base_exp()
        kind = _OVER.get(function.func)
        if kind is None or n not in (1, -1) or (u := function.args[0]).is_number:
            continue
        for other in expr.args:
            base, m = other.as_base_exp()
            if m.is_Integer and m * n < 0 and (c := u / base).is_number:
                rest = (f for f in expr.args if f is not factor and f is not other)
                over = q.over_expm1(u, sp.S.Zero) if kind is q.expm1_over and n < 0 else kind(u, sp.S.Zero) ** n
                return sp.Mul(c**n, over, base ** (m + n), *rest)
    return None


# Positive functions whose logarithm has a form of its own, by the rules, since they vanish or overflow.
_LOGARITHMIC = (sp.exp, sigmoid, sp.sech, sp.cosh, g.normal_cdf, g.erf_complement, sums.share_of_exponentials)


def log_of_a_product(expr: sp.log) -> sp.Expr | None:
    """log(a u^n) → n log(u) + log(a) where u is what vanishes or overflows and a is positive. AS 4.1.6 and 4.1.11."""
    factors = [f.as_base_exp() if not isinstance(f, sp.exp) else (f, sp.S.One) for f in sp.Mul.make_args(definition(expr.args[0]))]
    found = [(u, n) for u, n in factors if isinstance(definition(u), _LOGARITHMIC) and n.is_number]
    rest = sp.Mul(*(u**n for u, n in factors if (u, n) not in found))
    if not found or not positive(rest) or (len(factors) == 1 and found[0][1] == 1) or rest == 2:
        return None
    logs = (n * (seen.args[0] if isinstance(seen := definition(u), sp.exp) else sp.log(u)) for u, n in found)
    return sp.Add(sp.log(rest), *logs)


def vanishing_product(expr: sp.Mul) -> sp.Expr | None:
    """sech(u)² (1 + 3 x²) → 0 where sech(u)² is 0, although x² may be infinite there: e^-x p(x) → 0 for every polynomial p. AS 4.2.18."""
    fading = [x for x in expr.args if isinstance(_unpowered(x), VANISHING) and not x.is_number]
    growing = [x for x in expr.args if may_overflow(x) and x not in fading]
    if not fading or not growing:
        return None
    rest = [x for x in expr.args if x not in fading and x not in growing]
    return sp.Mul(*rest, g.damped(sp.Mul(*fading), sp.Mul(*growing)))


def _unpowered(x: sp.Basic) -> sp.Basic:
    return x.base if isinstance(x, sp.Pow) and not isinstance(x, sp.exp) and x.exp.is_positive else x


def logistic_of_a_cubic(expr: sp.Expr) -> sp.Expr | None:
    """sigmoid(a x + b x³) with numbers a and b → a function that rounds the cubic last; sech of it too. Dekker (1971), Numer. Math. 18."""
    found = _cubic(expr.args[0].args[0] if isinstance(expr, sp.Pow) and isinstance(expr.base, sp.sech) else expr.args[0])
    if found is None:
        return None
    if isinstance(expr, sigmoid):
        return tails.sigmoid_cubic(*found)
    if not isinstance(expr, sp.Pow) or not isinstance(expr.base, sp.sech) or not (expr.exp / 2).is_Integer or expr.exp < 0:
        return None
    x, a, b = found
    return (4 * tails.sigmoid_cubic(x, 2 * a, 2 * b) * tails.sigmoid_cubic(-x, 2 * a, 2 * b)) ** (expr.exp / 2)


def _cubic(u: sp.Expr) -> tuple[sp.Expr, sp.Expr, sp.Expr] | None:
    """(x, a, b) of a x + b x³."""
    split = [term.as_coeff_mul() for term in sp.expand(u).args] if isinstance(u, (sp.Add, sp.Mul)) else []
    by_factor = {sp.Mul(*(f for f in factors if not f.is_number)): sp.Mul(c, *(f for f in factors if f.is_number)) for c, factors in split}
    if len(split) != 2 or len(by_factor) != 2:
        return None
    for x, a in by_factor.items():
        if x.is_Symbol and x**3 in by_factor:
            return x, a, by_factor[x**3]
    return None


def common_power(expr: sp.Add) -> sp.Expr | None:
    """a/b - c/b² → (a b - c)/b² where that becomes shorter, as the quotient rule's terms do: 1/(1 + |x|) - |x|/(1 + |x|)² is 1/(1 + |x|)².
    Elementary; on such cancellation, Higham (2002), section 1.7."""
    if len(expr.args) > 6:
        return None
    powers: dict[sp.Expr, list[sp.Expr]] = {}
    for term in expr.args:
        for f in sp.Mul.make_args(term):
            if isinstance(f, sp.Pow) and f.exp.is_Rational and f.exp < 0 and isinstance(f.base, sp.Add):
                powers.setdefault(f.base, []).append(f.exp)
    for base, exponents in powers.items():
        lowest = min(exponents)
        if len(exponents) < 2 or lowest == max(exponents) or not all((e - lowest).is_Integer for e in exponents):
            continue
        terms = [t for t in expr.args if any(isinstance(f, sp.Pow) and f.base == base and f.exp < 0 for f in sp.Mul.make_args(t))]
        inner = sp.expand(sp.Add(*(t * base**-lowest for t in terms)))
        if len(sp.Add.make_args(inner)) < len(terms):
            return sp.Add(inner * base**lowest, *(t for t in expr.args if t not in terms))
    return None


# Functions that fail or overflow for some arguments, and one for which they do not.
_HARMLESS: dict[Any, int] = {
    sp.log: 1, sp.exp: 0, expm1: 0, sp.sinh: 0, sp.cosh: 0, sp.acosh: 2, sp.atanh: 0, sp.asin: 0, sp.acos: 0, log1p: 0, g.log1mexp: 1,
}  # fmt: skip


def branches_not_taken(expr: sp.Piecewise) -> sp.Expr | None:
    """f(x) where c → f(x where c, else what f allows) where c: arrays compute every branch. The double where of JAX's FAQ, "Gradients contain
    NaN where using where"."""
    pieces: list[Any] = []
    taken_before: list[Any] = []
    for value, condition in expr.args:
        own = condition if condition != sp.true else sp.Not(sp.Or(*taken_before))
        pieces.append((_guarded(value, own), condition))
        taken_before.append(condition)
    if all(a == b for (a, _), (b, _) in zip(pieces, expr.args, strict=True)):
        return None
    better: sp.Expr = sp.Piecewise(*pieces)
    return better


def _guarded(root: sp.Expr, condition: Any) -> sp.Expr:
    if root.is_number or condition in (sp.true, sp.false):
        return root
    table: dict[sp.Basic, sp.Basic] = {}
    for part in sp.postorder_traversal(root):
        is_power = isinstance(part, sp.Pow) and not isinstance(part, sp.exp) and (part.exp.is_negative or not part.exp.is_Integer)
        safe = 1 if is_power else _HARMLESS.get(part.func)
        if safe is None or part.is_number or part in table:
            continue
        x = part.args[0].xreplace(table)
        if isinstance(x, g.guarded) or (safe == 1 and not isinstance(part, g.log1mexp) and x.is_positive):
            continue
        mask = sp.Piecewise((sp.S.One, condition), (sp.S.Zero, True))
        table[part] = part.func(g.guarded(mask, x, sp.Integer(safe)), *(a.xreplace(table) for a in part.args[1:]))
    return root.xreplace(table) if table else root


def softmax_slope(expr: sp.Mul) -> sp.Expr | None:
    """S (G - sum(G S)) of a softmax S → the operator for it, in which 1 - s of a share s that is nearly 1 is the sum of the others. Blanchard, Higham &
    Higham (2021), section 4."""
    for share in expr.args:
        s = definition(share)
        for bracket in expr.args if isinstance(s, Softmax) else ():
            for total in bracket.args if isinstance(bracket, sp.Add) else ():
                if share * bracket == SoftmaxSlope.formula(share, bracket - total, s.axis):
                    return sp.Mul(SoftmaxSlope(s.args[0], share, bracket - total), *(f for f in expr.args if f is not share and f is not bracket))
    return None


def log_softmax_slope(expr: sp.Add) -> sp.Expr | None:
    """G - S sum(G) of a softmax S → the operator for it, in which 1 - s of a share s that is nearly 1 is the sum of the others. Blanchard, Higham &
    Higham (2021), section 4."""
    for total in expr.args:
        for share in total.args if isinstance(total, sp.Mul) else ():
            s = definition(share)
            if isinstance(s, Softmax) and rank_of(expr - total) and expr == LogSoftmaxSlope.formula(share, expr - total, s.axis):
                return LogSoftmaxSlope(s.args[0], share, expr - total)
    return None


# By the stage from which on they are applied (see `rules`), and by the head of the expression.
STRUCTURES: dict[int, dict[Any, tuple[Structure, ...]]] = {
    BEFORE: {
        sp.log: (
            log_of_a_softmax,
            log_of_a_quotient_of_softmaxes,
            log_of_a_sum_of_exponentials,
            log_of_exponentials,
            log_of_a_share,
            log_of_a_quotient,
            log_of_squares,
            log_of_a_product,
        ),
        sp.Mul: (
            quotient_of_exponentials,
            exponential_in_a_sum,
            sum_over_a_sum,
            product_of_shares,
            product_of_exponentials,
            removable_singularity,
            masked_logarithm,
            *OF_PRODUCTS,
        ),
        sp.Pow: (power_of_exponentials, *OF_POWERS),
        sp.Max: OF_MAXIMA,
    },
    LOSSES: {sp.Add: OF_SUMS, Einsum: OF_CONTRACTIONS},
    AFTER: {sp.Add: (common_power, cancelled_root)},
    LAST: {
        sigmoid: (logistic_of_a_cubic,),
        sp.Add: (log_softmax_slope,),
        sp.Mul: (softmax_slope, masked_quotient, *LAST_OF_PRODUCTS, vanishing_product, divided_again),
        sp.Pow: (root_of_squares, logistic_of_a_cubic, divided_again),
        sp.Piecewise: (branches_not_taken,),
    },
}

# What costs more than a step of training is worth: it is applied where a network is evaluated once.
COSTLY: frozenset[Structure] = frozenset({softmax_slope, log_softmax_slope, logistic_of_a_cubic, divergence_of_softmaxes, divergence_of_cross_entropies})

__all__ = ["COSTLY", "STRUCTURES", "Structure"]
