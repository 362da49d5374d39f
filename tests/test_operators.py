"""Every operator and function, in value and gradient, against PyTorch in float64. The reference is written out beside each case.

The loss of a case f(a, b, ...) is C = sum(c * f) with a random weight c, so that dC/dc is the value of f itself, entry by entry.
"""

import numpy as np
import pytest
import sympy as sp
import torch
import torch.nn.functional as F

import symbackprop as sbp


class logistic_map(sp.Function):  # noqa: N801
    """A function of a user's own: a formula, and a derivative."""

    def fdiff(self, argindex=1):
        return 1 - 2 * self.args[0]

    def _eval_expand_func(self, **hints):
        return self.args[0] * (1 - self.args[0])


class scaled_power(sp.Function):  # noqa: N801
    """x y² of two arguments."""

    nargs = 2

    def fdiff(self, argindex=1):
        x, y = self.args
        return y**2 if argindex == 1 else 2 * x * y

    def _eval_expand_func(self, **hints):
        return self.args[0] * self.args[1] ** 2


def huber(x):
    return sp.Piecewise((x**2 / 2, sp.Abs(x) < 1), (sp.Abs(x) - sp.Rational(1, 2), True))


def over(reduction, a, axis, keepdims):
    """A reduction of PyTorch over NumPy's `axis`: None is all axes, () is none."""
    axes = tuple(range(a.dim())) if axis is None else axis
    return a if axes == () else reduction(a, dim=axes, keepdim=keepdims)


def reversed_axes(a):
    return a.permute(*reversed(range(a.dim())))


# id: (function of tensors, the same in PyTorch, shapes of the arguments)
CONTRACTIONS = {
    "product": (lambda a, b: sbp.einsum("ij,jk->ik", a, b), lambda a, b: torch.einsum("ij,jk->ik", a, b), [(2, 3), (3, 4)]),
    "transposed result": (lambda a, b: sbp.einsum("ij,jk->ki", a, b), lambda a, b: torch.einsum("ij,jk->ki", a, b), [(2, 3), (3, 4)]),
    "implied output": (lambda a, b: sbp.einsum("ik,kj", a, b), lambda a, b: torch.einsum("ik,kj", a, b), [(2, 3), (3, 4)]),
    "implied transpose": (lambda a: sbp.einsum("ba", a), lambda a: torch.einsum("ba", a), [(2, 3)]),
    "trace": (lambda a: sbp.einsum("ii->", a), lambda a: torch.einsum("ii->", a), [(3, 3)]),
    "implied trace": (lambda a: sbp.einsum("ii", a), lambda a: torch.einsum("ii", a), [(3, 3)]),
    "diagonal": (lambda a: sbp.einsum("ii->i", a), lambda a: torch.einsum("ii->i", a), [(3, 3)]),
    "triple diagonal": (lambda a: sbp.einsum("iii->i", a), lambda a: torch.einsum("iii->i", a), [(3, 3, 3)]),
    "batched trace": (lambda a: sbp.einsum("bii->b", a), lambda a: torch.einsum("bii->b", a), [(2, 3, 3)]),
    "diagonal times matrix": (lambda a, b: sbp.einsum("ii,ij->j", a, b), lambda a, b: torch.einsum("ii,ij->j", a, b), [(3, 3), (3, 2)]),
    "outer": (lambda a, b: sbp.einsum("i,j->ij", a, b), lambda a, b: torch.einsum("i,j->ij", a, b), [(3,), (4,)]),
    "outer, other order": (lambda a, b: sbp.einsum("i,j->ji", a, b), lambda a, b: torch.einsum("i,j->ji", a, b), [(3,), (4,)]),
    "inner": (lambda a, b: sbp.einsum("i,i->", a, b), lambda a, b: torch.einsum("i,i->", a, b), [(3,), (3,)]),
    "elementwise": (lambda a, b: sbp.einsum("ij,ij->ij", a, b), lambda a, b: a * b, [(2, 3), (2, 3)]),
    "sum inside": (lambda a, b: sbp.einsum("ij,k->i", a, b), lambda a, b: torch.einsum("ij,k->i", a, b), [(2, 3), (4,)]),
    "sum of both": (lambda a, b: sbp.einsum("i,j->", a, b), lambda a, b: torch.einsum("i,j->", a, b), [(2,), (4,)]),
    "one index alone": (lambda a, b: sbp.einsum("ijk,il->jl", a, b), lambda a, b: torch.einsum("ijk,il->jl", a, b), [(2, 3, 4), (2, 5)]),
    "bilinear form": (lambda a, b, c: sbp.einsum("i,ij,j->", a, b, c), lambda a, b, c: a @ b @ c, [(2,), (2, 3), (3,)]),
    "three factors": (
        lambda a, b, c: sbp.einsum("ij,jk,kl->il", a, b, c),
        lambda a, b, c: a @ b @ c,
        [(2, 3), (3, 4), (4, 2)],
    ),
    "shared by three": (
        lambda a, b, c: sbp.einsum("ir,jr,kr->ijk", a, b, c),
        lambda a, b, c: torch.einsum("ir,jr,kr->ijk", a, b, c),
        [(2, 3), (3, 3), (4, 3)],
    ),
    "ellipsis": (lambda a, b: sbp.einsum("...ij,...jk->...ik", a, b), lambda a, b: a @ b, [(2, 2, 3), (2, 3, 4)]),
    "ellipsis on one side": (lambda a, b: sbp.einsum("...ij,jk->...ik", a, b), lambda a, b: a @ b, [(5, 2, 2, 3), (3, 4)]),
    "ellipsis of different rank": (
        lambda a, b: sbp.einsum("...i,...i->...", a, b),
        lambda a, b: torch.einsum("...i,...i->...", a, b),
        [(5, 2, 3), (2, 3)],
    ),
    "implied ellipsis": (lambda a: sbp.einsum("...ij", a), lambda a: torch.einsum("...ij", a), [(2, 3, 4)]),
    "ellipsis summed by itself": (lambda a: sbp.einsum("i...->...", a), lambda a: a.sum(0), [(3, 2, 2)]),
    "the same twice": (lambda a: sbp.einsum("ij,ij->", a, a), lambda a: (a * a).sum(), [(2, 3)]),
    "gram": (lambda a: sbp.einsum("ki,kj->ij", a, a), lambda a: a.T @ a, [(4, 3)]),
    "scalar operand": (lambda a, b: sbp.einsum(",ij->ji", a, b), lambda a, b: a * b.T, [(), (2, 3)]),
    "product of a product": (lambda a, b: sbp.einsum("ij,ij->i", a @ b, sp.tanh(a @ b)), lambda a, b: ((a @ b) * torch.tanh(a @ b)).sum(1), [(2, 3), (3, 4)]),
}
for _left in [(3,), (2, 3), (5, 2, 3), (4, 5, 2, 3), (1, 2, 3), (4, 1, 2, 3)]:
    for _right in [(3,), (3, 2), (5, 3, 2), (4, 5, 3, 2), (1, 3, 2), (4, 1, 3, 2), (1, 5, 3, 2)]:
        CONTRACTIONS[f"matmul {_left} {_right}"] = (sbp.matmul, torch.matmul, [_left, _right])

AXES = [None, 0, 1, -1, (0, 2), (2, 0), (0, 1, 2), (-2,), ()]
REDUCTIONS = {}
for _axis in AXES:
    for _keep in (False, True):
        _which = f"axis={_axis} keepdims={_keep}"
        _options = {"axis": _axis, "keepdims": _keep}
        for _name, _ours, _reference in [
            ("sum", sbp.sum, torch.sum),
            ("mean", sbp.mean, torch.mean),
            ("max", sbp.max, torch.amax),
            ("min", sbp.min, torch.amin),
            ("logsumexp", sbp.logsumexp, torch.logsumexp),
        ]:
            REDUCTIONS[f"{_name} {_which}"] = (
                lambda a, f=_ours, o=_options: f(a, **o),
                lambda a, f=_reference, x=_axis, k=_keep: over(f, a, x, k),
                [(2, 3, 4)],
            )
for _axis in [None, 0, 1, -1, (0, 2), (1, 2), (0, 1, 2)]:
    REDUCTIONS[f"softmax axis={_axis}"] = (lambda a, x=_axis: sbp.softmax(a, axis=x), lambda a, x=_axis: torch.exp(a - over(torch.logsumexp, a, x, True)), [(2, 3, 4)])
    REDUCTIONS[f"log_softmax axis={_axis}"] = (
        lambda a, x=_axis: sbp.log_softmax(a, axis=x),
        lambda a, x=_axis: a - over(torch.logsumexp, a, x, True),
        [(2, 3, 4)],
    )
REDUCTIONS |= {
    "scalar sum": (sbp.sum, torch.sum, [()]),
    "scalar mean": (sbp.mean, torch.mean, [()]),
    "sum of a square": (lambda a: sbp.sum(a**2, axis=1), lambda a: (a**2).sum(1), [(2, 3)]),
    "sum of a broadcast product": (lambda a, b: sbp.sum(a * b), lambda a, b: (a * b).sum(), [(2, 3), (3,)]),
    "sum of a broadcast sum": (lambda a, b: sbp.sum(a + b, axis=0), lambda a, b: (a + b).sum(0), [(2, 3), ()]),
    "mean of a mean": (lambda a: sbp.mean(sbp.mean(a, axis=0)), lambda a: a.mean(), [(2, 3)]),
    "centred and scaled": (
        lambda a: (a - sbp.mean(a, axis=0)) / sp.sqrt(sbp.mean((a - sbp.mean(a, axis=0)) ** 2, axis=0) + sp.Rational(1, 100)),
        lambda a: (a - a.mean(0)) / torch.sqrt(a.var(0, correction=0) + 0.01),
        [(5, 3)],
    ),
    "largest of a product": (lambda a, b: sbp.max(a @ b, axis=-1), lambda a, b: (a @ b).amax(-1), [(2, 3), (3, 4)]),
    "normalised rows": (lambda a: a / sbp.sum(a**2, axis=-1, keepdims=True), lambda a: a / (a**2).sum(-1, keepdim=True), [(2, 3)]),
    "log of softmax": (lambda a: sp.log(sbp.softmax(a)), lambda a: torch.log_softmax(a, -1), [(2, 3)]),
    "attention": (
        lambda q, k, v: sbp.softmax(q @ sbp.transpose(k) / sp.sqrt(3)) @ v,
        lambda q, k, v: torch.softmax(q @ k.T / 3**0.5, -1) @ v,
        [(2, 3), (4, 3), (4, 2)],
    ),
}

LAYOUTS = {
    "transpose": (sbp.transpose, reversed_axes, [(2, 3)]),
    "transpose of rank 1": (sbp.transpose, reversed_axes, [(3,)]),
    "transpose of rank 3": (sbp.transpose, reversed_axes, [(2, 3, 4)]),
    "transpose with axes": (lambda a: sbp.transpose(a, (1, 2, 0)), lambda a: a.permute(1, 2, 0), [(2, 3, 4)]),
    "transpose with negative axes": (lambda a: sbp.transpose(a, (-1, 0, 1)), lambda a: a.permute(-1, 0, 1), [(2, 3, 4)]),
    "transpose of a transpose": (lambda a: sbp.transpose(sbp.transpose(a, (1, 2, 0)), (1, 0, 2)), lambda a: a.permute(2, 1, 0), [(2, 3, 4)]),
    ".T": (lambda a: sp.exp(a.T), lambda a: torch.exp(a.T), [(2, 3)]),
    "reshape": (lambda a: sbp.reshape(a, (3, 4)), lambda a: a.reshape(3, 4), [(2, 6)]),
    "reshape -1": (lambda a: sbp.reshape(a, (-1, 3)), lambda a: a.reshape(-1, 3), [(2, 6)]),
    "reshape to a vector": (lambda a: sbp.reshape(a, -1), lambda a: a.reshape(-1), [(2, 3)]),
    "reshape of a reshape": (lambda a: sbp.reshape(sbp.reshape(a, (4, 3)), (6, 2)), lambda a: a.reshape(6, 2), [(2, 6)]),
    "reshape to one entry": (lambda a: sbp.reshape(a, (1, 1)), lambda a: a.reshape(1, 1), [()]),
    "reshape of a function": (lambda a: sbp.reshape(3 * sp.sin(a), (6,)), lambda a: 3 * torch.sin(a).reshape(6), [(2, 3)]),
    "concatenate": (lambda a, b: sbp.concatenate([a, b]), lambda a, b: torch.cat([a, b]), [(2, 3), (4, 3)]),
    "concatenate columns": (lambda a, b, c: sbp.concatenate([a, b, c], axis=1), lambda a, b, c: torch.cat([a, b, c], dim=1), [(2, 3), (2, 1), (2, 2)]),
    "concatenate negative axis": (lambda a, b: sbp.concatenate([a, b], axis=-2), lambda a, b: torch.cat([a, b], dim=-2), [(2, 1, 3), (2, 2, 3)]),
    "concatenate with itself": (lambda a: sbp.concatenate([a, sp.cos(a), a]), lambda a: torch.cat([a, torch.cos(a), a]), [(2, 3)]),
    "concatenate one": (lambda a: sbp.concatenate([a]), lambda a: a, [(2, 3)]),
    "row": (lambda a: a[1], lambda a: a[1], [(3, 4)]),
    "last row": (lambda a: a[-1], lambda a: a[-1], [(3, 4)]),
    "entry": (lambda a: a[1, -2], lambda a: a[1, -2], [(3, 4)]),
    "column": (lambda a: a[:, 2], lambda a: a[:, 2], [(3, 4)]),
    "slice": (lambda a: a[1:3], lambda a: a[1:3], [(5, 2)]),
    "slice with step": (lambda a: a[::2, 1:6:3], lambda a: a[::2, 1:6:3], [(5, 7)]),
    "slice from the end": (lambda a: a[-3:-1], lambda a: a[-3:-1], [(5, 2)]),
    "slice beyond the end": (lambda a: a[2:100], lambda a: a[2:100], [(5, 2)]),
    "slice before the start": (lambda a: a[-100:2], lambda a: a[-100:2], [(5, 2)]),
    "everything": (lambda a: a[:], lambda a: a[:], [(5, 2)]),
    "ellipsis index": (lambda a: a[..., 1], lambda a: a[..., 1], [(2, 3, 4)]),
    "ellipsis in the middle": (lambda a: a[0, ..., ::3], lambda a: a[0, ..., ::3], [(2, 3, 4)]),
    "ellipsis of nothing": (lambda a: a[0, ..., 1], lambda a: a[0, ..., 1], [(2, 3)]),
    "new axis": (lambda a: a[:, None], lambda a: a[:, None], [(3,)]),
    "new axes": (lambda a: a[None, :, None, 1], lambda a: a[None, :, None, 1], [(3, 2)]),
    "slice of a slice": (lambda a: a[1:][::2], lambda a: a[1:][::2], [(6, 2)]),
    "slice of a product": (lambda a, b: (a @ b)[0, 1:], lambda a, b: (a @ b)[0, 1:], [(2, 3), (3, 4)]),
    "differences": (lambda a: a[1:] - a[:-1], lambda a: a[1:] - a[:-1], [(5, 2)]),
    "overlapping slices": (lambda a: a[:3] * a[1:4] + a[2:5] ** 2, lambda a: a[:3] * a[1:4] + a[2:5] ** 2, [(5, 2)]),
    "sum of a slice": (lambda a: sbp.sum(a[:, ::2], axis=1), lambda a: a[:, ::2].sum(1), [(3, 5)]),
}

BROADCASTS = {
    f"{_a} {_b}": (lambda a, b: a * b + a / (3 + b), lambda a, b: a * b + a / (3 + b), [_a, _b])
    for _a, _b in [
        ((), (3,)), ((3,), ()), ((2, 3), ()), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), (2, 1)), ((2, 3), (1, 1)), ((2, 1), (1, 3)),
        ((2, 1), (3,)), ((1,), (3,)), ((1, 1), (1, 1)), ((4, 1, 3), (2, 1)), ((4, 2, 3), (4, 1, 1)), ((1, 2, 1), (4, 1, 3)),
    ]
}  # fmt: skip
BROADCASTS |= {
    "three ways": (lambda a, b, c: a * b * c + b, lambda a, b, c: a * b * c + b, [(2, 1), (3,), ()]),
    "in a function of two": (lambda a, b: (2 + a) ** b, lambda a, b: (2 + a) ** b, [(2, 1), (1, 3)]),
    "in a maximum": (lambda a, b: sp.Max(a, b), torch.maximum, [(2, 3), (3,)]),
    "in a condition": (lambda a, b: sp.Piecewise((a * b, a > b), (b**2, True)), lambda a, b: torch.where(a > b, a * b, b**2 + 0 * a), [(2, 3), (3,)]),
    "of a reduced tensor": (lambda a: a * sbp.sum(a) + sbp.mean(a, axis=0), lambda a: a * a.sum() + a.mean(0), [(2, 3)]),
    "of an operator": (lambda a, b: sp.tanh(a @ b) * a[:, :1] + b[0], lambda a, b: torch.tanh(a @ b) * a[:, :1] + b[0], [(2, 3), (3, 4)]),
    "a bias and a gain": (lambda x, g, b: g * x + b, lambda x, g, b: g * x + b, [(4, 3), (3,), (3,)]),
    "a constant to a tensor": (lambda a: a + 1, lambda a: a + 1, [(2, 3)]),
    "nothing but a sum": (lambda a, b: a + b, lambda a, b: a + b, [(2, 1, 3), (4, 1)]),
    "nothing but a difference": (lambda a, b: a - b, lambda a, b: a - b, [(), (2, 3)]),
}

ELEMENTWISE = {
    "sin": (sp.sin, torch.sin), "cos": (sp.cos, torch.cos), "tan": (lambda a: sp.tan(a / 2), lambda a: torch.tan(a / 2)),
    "asin": (lambda a: sp.asin(a / 3), lambda a: torch.arcsin(a / 3)), "acos": (lambda a: sp.acos(a / 3), lambda a: torch.arccos(a / 3)),
    "atan": (sp.atan, torch.arctan), "sinh": (sp.sinh, torch.sinh), "cosh": (sp.cosh, torch.cosh), "tanh": (sp.tanh, torch.tanh),
    "asinh": (sp.asinh, torch.arcsinh), "acosh": (lambda a: sp.acosh(4 + a), lambda a: torch.arccosh(4 + a)),
    "atanh": (lambda a: sp.atanh(a / 3), lambda a: torch.arctanh(a / 3)),
    "sec": (lambda a: sp.sec(a / 2), lambda a: 1 / torch.cos(a / 2)), "csc": (lambda a: sp.csc(3 + a), lambda a: 1 / torch.sin(3 + a)),
    "cot": (lambda a: sp.cot(3 + a / 2), lambda a: 1 / torch.tan(3 + a / 2)), "sech": (sp.sech, lambda a: 1 / torch.cosh(a)),
    "csch": (lambda a: sp.csch(3 + a), lambda a: 1 / torch.sinh(3 + a)), "coth": (lambda a: sp.coth(3 + a), lambda a: 1 / torch.tanh(3 + a)),
    "exp": (sp.exp, torch.exp), "log": (lambda a: sp.log(3 + a), lambda a: torch.log(3 + a)),
    "sqrt": (lambda a: sp.sqrt(3 + a), lambda a: torch.sqrt(3 + a)), "inverse sqrt": (lambda a: 1 / sp.sqrt(3 + a), lambda a: (3 + a) ** -0.5),
    "cube root": (lambda a: (3 + a) ** sp.Rational(1, 3), lambda a: (3 + a) ** (1 / 3)),
    "square": (lambda a: a**2, lambda a: a**2), "cube": (lambda a: a**3, lambda a: a**3), "inverse": (lambda a: 1 / (3 + a), lambda a: 1 / (3 + a)),
    "inverse cube": (lambda a: (3 + a) ** -3, lambda a: (3 + a) ** -3), "float power": (lambda a: (3 + a) ** 2.7, lambda a: (3 + a) ** 2.7),
    "constant to a power": (lambda a: 2**a, lambda a: 2.0**a), "rational to a power": (lambda a: sp.Rational(1, 3) ** a, lambda a: (1 / 3) ** a),
    "x to the x": (lambda a: (3 + a) ** a, lambda a: (3 + a) ** a),
    "pi and e": (lambda a: sp.pi * a + sp.E**a + sp.sqrt(2), lambda a: np.pi * a + torch.exp(a) + np.sqrt(2)),
    "erf": (sp.erf, torch.erf), "erfc": (sp.erfc, torch.erfc),
    "erf, far": (lambda a: sp.erf(3 * a), lambda a: torch.erf(3 * a)),
    "Abs": (sp.Abs, torch.abs), "sign": (lambda a: a * sp.sign(a), lambda a: a * torch.sign(a)),
    "Max": (lambda a: sp.Max(a, a**2), lambda a: torch.maximum(a, a**2)), "Min": (lambda a: sp.Min(a, a**2), lambda a: torch.minimum(a, a**2)),
    "Max of three": (lambda a: sp.Max(a, a**2, 1 - a), lambda a: torch.maximum(torch.maximum(a, a**2), 1 - a)),
    "Min and Max": (lambda a: sp.Min(sp.Max(a, -1), 1), lambda a: torch.clamp(a, -1, 1)),
    "Max with zero": (lambda a: sp.Max(0, a), F.relu), "floor": (lambda a: a * sp.floor(a), lambda a: a * torch.floor(a)),
    "ceiling": (lambda a: a * sp.ceiling(a), lambda a: a * torch.ceil(a)), "Heaviside": (lambda a: a * sp.Heaviside(a), F.relu),
    "Piecewise": (huber, lambda a: torch.where(torch.abs(a) < 1, a**2 / 2, torch.abs(a) - 0.5)),
    "Piecewise of three": (
        lambda a: sp.Piecewise((-1, a < -1), (a**3, a <= 1), (sp.log(a + 3), True)),
        lambda a: torch.where(a < -1, -1.0, torch.where(a <= 1, a**3, torch.log(a + 3))),
    ),
    "Piecewise with and, or": (
        lambda a: sp.Piecewise((a**2, (a > -1) & (a < 0)), (sp.sin(a), (a > 1) | (a < sp.Rational(-3, 2))), (2 * a, True)),
        lambda a: torch.where((a > -1) & (a < 0), a**2, torch.where((a > 1) | (a < -1.5), torch.sin(a), 2 * a)),
    ),
    "sigmoid": (sbp.sigmoid, torch.sigmoid), "softplus": (sbp.softplus, F.softplus), "relu": (sbp.relu, F.relu),
    "step": (lambda a: a**2 * sbp.step(a), lambda a: a**2 * (a > 0)), "expm1": (sbp.expm1, torch.expm1),
    "log1p": (lambda a: sbp.log1p(1 + a / 2), lambda a: torch.log1p(1 + a / 2)), "gelu": (sbp.gelu, lambda a: F.gelu(a)),
    "silu": (sbp.silu, F.silu), "elu": (sbp.elu, F.elu), "elu, alpha": (lambda a: sbp.elu(a, alpha=0.3), lambda a: F.elu(a, 0.3)),
    "leaky_relu": (sbp.leaky_relu, F.leaky_relu), "leaky_relu, slope": (lambda a: sbp.leaky_relu(a, slope=0.3), lambda a: F.leaky_relu(a, 0.3)),
    "naive sigmoid": (lambda a: 1 / (1 + sp.exp(-a)), torch.sigmoid), "naive softplus": (lambda a: sp.log(1 + sp.exp(a)), F.softplus),
    "naive tanh": (lambda a: (sp.exp(a) - sp.exp(-a)) / (sp.exp(a) + sp.exp(-a)), torch.tanh),
    "tanh's derivative": (lambda a: 1 - sp.tanh(a) ** 2, lambda a: 1 - torch.tanh(a) ** 2),
    "mish": (lambda a: a * sp.tanh(sbp.softplus(a)), lambda a: a * torch.tanh(F.softplus(a))),
    "own function": (logistic_map, lambda a: a * (1 - a)), "own function of a function": (lambda a: logistic_map(sp.sin(a)), lambda a: torch.sin(a) * (1 - torch.sin(a))),
    "own function of two": (lambda a: scaled_power(a, sp.exp(a)), lambda a: a * torch.exp(a) ** 2),
    "nested": (lambda a: sp.exp(-sp.sin(a) ** 2 / (1 + sp.tanh(a) ** 2)), lambda a: torch.exp(-torch.sin(a) ** 2 / (1 + torch.tanh(a) ** 2))),
    "linear": (lambda a: 3 * a - 1, lambda a: 3 * a - 1), "negative": (lambda a: -a, lambda a: -a), "itself": (lambda a: a, lambda a: a),
    "difference": (lambda a: 1 - a, lambda a: 1 - a), "quotient": (lambda a: (1 - a) / (3 + a) ** 2, lambda a: (1 - a) / (3 + a) ** 2),
}  # fmt: skip


def _all_cases():
    for title, table in {"contraction": CONTRACTIONS, "reduction": REDUCTIONS, "layout": LAYOUTS, "broadcast": BROADCASTS}.items():
        for name, case in table.items():
            yield pytest.param(*case, id=f"{title}: {name}")
    for name, (ours, reference) in ELEMENTWISE.items():
        yield pytest.param(ours, reference, [(3, 4)], id=f"elementwise: {name}")
        yield pytest.param(ours, reference, [()], id=f"scalar: {name}")


def run_module(source):
    """The names of a generated module."""
    names = {"__name__": "generated"}
    exec(source, names)
    return names


@pytest.mark.parametrize(("ours", "reference", "shapes"), list(_all_cases()))
def test_value_and_gradient(ours, reference, shapes, close, draw):
    arguments = [sbp.weight(f"a_{i}", shape) for i, shape in enumerate(shapes)]
    values = draw({a.name: a.shape for a in arguments}, seed=1)
    inputs = [torch.tensor(v, requires_grad=True) for v in values.values()]
    expected = reference(*inputs)
    f = sbp.node("f", ours(*arguments))
    assert f.shape == tuple(expected.shape)
    c = sbp.weight("c", f.shape)
    values |= draw({"c": f.shape}, seed=2)
    wanted_loss = (torch.tensor(values["c"]) * expected).sum()
    wanted_loss.backward()
    wanted = dict(zip(values, [*(x.grad.numpy() for x in inputs), expected.detach().numpy()], strict=True))

    net = sbp.Network(sbp.node("C", sbp.sum(c * f)))
    module = run_module(net.generate("numpy", sbp.SGD(lr=0.5)))
    loss, gradients = module["loss_and_gradients"](values)
    close(loss, wanted_loss.item(), what="C")
    for name in wanted:
        close(gradients[name], wanted[name], what=f"dC/d{name}")

    # The generated update, and the training step, which other code prints, in place and in buffers that it uses again.
    updated = {name: np.array(value) for name, value in values.items()}
    close(module["update"](updated, module["initialize_state"](updated)), wanted_loss.item(), what="C in the update")
    trainer = net.trainer(sbp.SGD(lr=0.5), weights=values)
    close(trainer.step(), wanted_loss.item(), what="C in the training step")
    for name in wanted:
        close(updated[name], values[name] - 0.5 * wanted[name], what=f"{name} after the update")
        close(trainer.weights[name], values[name] - 0.5 * wanted[name], what=f"{name} after the training step")
