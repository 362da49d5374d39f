"""Small rewrites that keep derivatives in the form a person would write. Each one is an identity of NumPy's broadcasting."""

from collections.abc import Sequence

import sympy as sp

from symbackprop.graph.functions import sigmoid
from symbackprop.graph.operators.contraction import LETTERS, Broadcast, Einsum, contract
from symbackprop.graph.operators.layout import Concatenate, Pad, Reshape, broadcast_to, expand_axes, reshape
from symbackprop.graph.operators.scan import Bundle
from symbackprop.graph.shapes import Shape, postorder, rank_of, shape_of, split_scalars


def product(*factors: sp.Expr) -> sp.Expr:
    """The elementwise product, without the repetitions that broadcasting does by itself: (s broadcast) * x = s * x."""
    result = sp.Mul(*(part for f in factors for part in (f.primitive() if isinstance(f, sp.Add) else (f,))))
    if not isinstance(result, sp.Mul) or not any(isinstance(f, Broadcast) for f in result.args):
        return result
    wanted = shape_of(result)
    args = list(result.args)
    for i, factor in enumerate(args):
        rest = [a for j, a in enumerate(args) if j != i]
        if isinstance(factor, Broadcast) and shape_of(sp.Mul(*rest)) == wanted:
            args[i] = _aligned(factor)
    return sp.Mul(*args)


def tidy(root: sp.Expr) -> sp.Expr:
    """An operator's pullback in normal form: every product written by `product`, every contraction by `contract`."""
    if not root.has(Broadcast, Einsum):
        return root
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(root):
        args = [done[a] for a in part.args]
        if isinstance(part, sp.Mul):
            done[part] = product(*args)
        elif isinstance(part, Einsum) and any(a is not b or split_scalars(a)[0] != 1 for a, b in zip(args[1:], part.operands, strict=True)):
            done[part] = contract(*part.spec, args[1:])
        elif isinstance(part, Reshape):
            done[part] = reshape(args[1], part.shape)
        else:
            done[part] = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
    return done[root]


def _aligned(b: Broadcast) -> sp.Expr:
    """The operand of a broadcast with unit axes where NumPy needs them to line up."""
    (x,) = b.operands
    if not b.axes:
        return x
    first = b.axes[0]
    axes = tuple(a - b.rank for a in range(first, b.rank) if a not in b.axes)
    return expand_axes(x, axes, b.rank - first) if axes else x


def reduce_to(x: sp.Expr, shape: Shape) -> sp.Expr:
    """Sum `x` over the axes along which a tensor of the given shape was broadcast to it: the pullback of broadcasting."""
    full = shape_of(x)
    if full == shape:
        return x
    lead = len(full) - len(shape)
    summed = [i for i in range(len(full)) if i < lead or (shape[i - lead] == 1 and full[i] != 1)]
    letters = LETTERS[: len(full)]
    coefficient, rest = split_scalars(x)
    kept = "".join(c for i, c in enumerate(letters) if i not in summed)
    total = contract([letters], kept, [rest])
    return coefficient * expand_axes(total, tuple(i - len(full) for i in summed if i >= lead), len(shape))


def spread_to(x: sp.Expr, shape: Shape) -> sp.Expr:
    """`x` with the repetitions that were left to broadcasting: contributions may cancel until a smaller shape remains."""
    return broadcast_to(x, shape)


def add(terms: Sequence[sp.Expr]) -> sp.Expr:
    """The sum of contributions of one shape. Repetitions are left to broadcasting where another term has the full shape, and a
    scalar factor that all terms share stands before the sum."""
    terms = [t for t in terms if t != 0]
    if terms and isinstance(terms[0], Bundle):  # part by part
        return Bundle(terms[0].args[0], *(add(parts) for parts in zip(*(t.args[1:] for t in terms), strict=True)))
    terms = _side_by_side(terms)
    wide = [t for t in terms if not isinstance(t, Broadcast)]
    if wide and len(wide) < len(terms) and any(rank_of(t) for t in wide):
        terms = wide + [_aligned(t) for t in terms if isinstance(t, Broadcast)]
    return _factored(_collapsed(sp.Add(*terms)))


def _side_by_side(terms: list[sp.Expr]) -> list[sp.Expr]:
    """Paddings that fill one axis between them, without a gap, are a concatenation: what the slices of one tensor hand back."""
    padded = [t for t in terms if isinstance(t, Pad)]
    if len(padded) < 2 or any(t.args[1] != padded[0].args[1] for t in padded):
        return terms
    cuts = [t.args[0] for t in padded]
    axes = [axis for axis in range(len(cuts[0])) if any(cut[axis] != cuts[0][axis] for cut in cuts)]
    whole = all(step == 1 for cut in cuts for _, _, step in cut)
    if len(axes) != 1 or not whole or not all(start.is_Integer and stop.is_Integer for start, stop, _ in (cut[axes[0]] for cut in cuts)):
        return terms
    (axis,) = axes
    if not all(cut[k][0] == 0 and cut[k][1] == size for cut in cuts for k, size in enumerate(padded[0].args[1]) if k != axis):
        return terms
    padded.sort(key=lambda t: int(t.args[0][axis][0]))
    ends = [0, *(t.args[0][axis][1] for t in padded)]
    if ends[-1] != padded[0].args[1][axis] or any(t.args[0][axis][0] != end for t, end in zip(padded, ends, strict=False)):
        return terms
    joined = Concatenate(sp.Integer(axis - len(cuts[0])), *(t.operands[0] for t in padded))
    return [*(t for t in terms if not isinstance(t, Pad)), joined]


def _collapsed(total: sp.Expr) -> sp.Expr:
    """sigmoid(-z) as 1 - sigmoid(z) where that makes the sum shorter: (1 - t) sigmoid(z) - t sigmoid(-z) is sigmoid(z) - t."""
    if not total.has(sigmoid):
        return total
    found = total.atoms(sigmoid)
    mirrored: dict[sp.Basic, sp.Basic] = {s: 1 - sigmoid(-s.args[0]) for s in found if s.args[0].could_extract_minus_sign() and sigmoid(-s.args[0]) in found}
    if not mirrored:
        return total
    shorter = sp.expand_mul(total.xreplace(mirrored))
    return shorter if shorter.count_ops() < total.count_ops() else total


def simplified(expr: sp.Expr) -> sp.Expr:
    """An expression into which others were substituted, in the form in which a person would have written it."""
    return cancelled(tidy(expr))


def cancelled(root: sp.Expr) -> sp.Expr:
    """Products without reciprocals that a factor beside them undoes: y (1 - y) ((1 - t)/(1 - y) - t/y) is y - t."""
    if not any(p.exp.is_negative and not p.base.is_number for p in root.atoms(sp.Pow)):
        return root
    done: dict[sp.Basic, sp.Basic] = {}
    for part in postorder(root):
        args = [done[a] for a in part.args]
        rebuilt = part.func(*args) if any(a is not b for a, b in zip(args, part.args, strict=True)) else part
        done[part] = _cancel_product(rebuilt) if isinstance(rebuilt, sp.Mul) else rebuilt
    return done[root]


def _cancel_product(expr: sp.Mul) -> sp.Expr:
    for total in expr.args:
        if not isinstance(total, sp.Add):
            continue
        undone = {p.base for term in total.args for p in sp.Mul.make_args(term) if isinstance(p, sp.Pow) and p.exp.is_negative}
        beside = [f for f in expr.args if (f.base if isinstance(f, sp.Pow) else f) in undone]
        if beside:
            shorter = sp.cancel(sp.Mul(total, *beside))
            if shorter.count_ops() < sp.Mul(total, *beside).count_ops() and shape_of(shorter) == shape_of(sp.Mul(total, *beside)):
                return sp.Mul(shorter, *(f for f in expr.args if f is not total and f not in beside))
    return expr


def _factored(total: sp.Expr) -> sp.Expr:
    """X/n - Y/n as (X - Y)/n."""
    if not isinstance(total, sp.Add) or not all(map(rank_of, total.args)):
        return total
    pairs = [split_scalars(t) for t in total.args]
    common = pairs[0][0]
    if common.is_number or not all((c / common).is_Rational for c, _ in pairs):
        return total
    number = common.as_coeff_Mul()[0]
    common = common / number
    return common * sp.Add(*((c / common) * x for c, x in pairs))
