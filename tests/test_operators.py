"""Every operator and function, in value and gradient, against PyTorch in float64. The reference is written out beside each case.

The loss of a case f(a, b, ...) is C = sum(c * f) with a random weight c, so that dC/dc is the value of f itself, entry by entry.
"""

import numpy as np
import pytest
import sympy as sp
import torch
from torch.nn import functional

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
    REDUCTIONS[f"softmax axis={_axis}"] = (
        lambda a, x=_axis: sbp.softmax(a, axis=x),
        lambda a, x=_axis: torch.exp(a - over(torch.logsumexp, a, x, True)),
        [(2, 3, 4)],
    )
    REDUCTIONS[f"log_softmax axis={_axis}"] = (
        lambda a, x=_axis: sbp.log_softmax(a, axis=x),
        lambda a, x=_axis: a - over(torch.logsumexp, a, x, True),
        [(2, 3, 4)],
    )
REDUCTIONS |= {
    "sum over an axis of NumPy": (lambda a: sbp.sum(a, axis=np.int64(1)), lambda a: a.sum(1), [(2, 3)]),
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
    "Max with zero": (lambda a: sp.Max(0, a), functional.relu), "floor": (lambda a: a * sp.floor(a), lambda a: a * torch.floor(a)),
    "ceiling": (lambda a: a * sp.ceiling(a), lambda a: a * torch.ceil(a)), "Heaviside": (lambda a: a * sp.Heaviside(a), functional.relu),
    "Piecewise": (huber, lambda a: torch.where(torch.abs(a) < 1, a**2 / 2, torch.abs(a) - 0.5)),
    "Piecewise of three": (
        lambda a: sp.Piecewise((-1, a < -1), (a**3, a <= 1), (sp.log(a + 3), True)),
        lambda a: torch.where(a < -1, -1.0, torch.where(a <= 1, a**3, torch.log(a + 3))),
    ),
    "Piecewise with and, or": (
        lambda a: sp.Piecewise((a**2, (a > -1) & (a < 0)), (sp.sin(a), (a > 1) | (a < sp.Rational(-3, 2))), (2 * a, True)),
        lambda a: torch.where((a > -1) & (a < 0), a**2, torch.where((a > 1) | (a < -1.5), torch.sin(a), 2 * a)),
    ),
    "sigmoid": (sbp.sigmoid, torch.sigmoid), "softplus": (sbp.softplus, functional.softplus), "relu": (sbp.relu, functional.relu),
    "step": (lambda a: a**2 * sbp.step(a), lambda a: a**2 * (a > 0)), "expm1": (sbp.expm1, torch.expm1),
    "log1p": (lambda a: sbp.log1p(1 + a / 2), lambda a: torch.log1p(1 + a / 2)), "gelu": (sbp.gelu, lambda a: functional.gelu(a)),
    "silu": (sbp.silu, functional.silu), "elu": (sbp.elu, functional.elu), "elu, alpha": (lambda a: sbp.elu(a, alpha=0.3), lambda a: functional.elu(a, 0.3)),
    "leaky_relu": (sbp.leaky_relu, functional.leaky_relu),
    "leaky_relu, slope": (lambda a: sbp.leaky_relu(a, slope=0.3), lambda a: functional.leaky_relu(a, 0.3)),
    "naive sigmoid": (lambda a: 1 / (1 + sp.exp(-a)), torch.sigmoid), "naive softplus": (lambda a: sp.log(1 + sp.exp(a)), functional.softplus),
    "naive tanh": (lambda a: (sp.exp(a) - sp.exp(-a)) / (sp.exp(a) + sp.exp(-a)), torch.tanh),
    "tanh's derivative": (lambda a: 1 - sp.tanh(a) ** 2, lambda a: 1 - torch.tanh(a) ** 2),
    "mish": (lambda a: a * sp.tanh(sbp.softplus(a)), lambda a: a * torch.tanh(functional.softplus(a))),
    "own function": (logistic_map, lambda a: a * (1 - a)),
    "own function of a function": (lambda a: logistic_map(sp.sin(a)), lambda a: torch.sin(a) * (1 - torch.sin(a))),
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


@pytest.mark.parametrize(("ours", "reference", "shapes"), list(_all_cases()))
def test_value_and_gradient(ours, reference, shapes, agrees, draw):
    arguments = [sbp.weight(f"a_{i}", shape) for i, shape in enumerate(shapes)]
    f = sbp.node("f", ours(*arguments))
    values = draw({a.name: a.shape for a in arguments}, seed=1)
    assert f.shape == tuple(reference(*map(torch.tensor, values.values())).shape)
    c = sbp.weight("c", f.shape)

    def loss(c, **tensors):
        return (c * reference(*tensors.values())).sum()

    agrees(sbp.Network(sbp.node("C", sbp.sum(c * f))), loss, values | draw({"c": f.shape}, seed=2))


@pytest.mark.parametrize(
    ("ours", "reference", "shapes"), [p for p in _all_cases() if not p.id.startswith(("elementwise", "scalar"))]
)
def test_batch_of_samples(ours, reference, shapes, agrees, draw):
    """The same operators in a network that is written for one sample and run on three: the mean of the samples' losses."""
    x, gain, *others = sbp.data("x", shapes[0]), sbp.weight("gain"), *(sbp.weight(f"a_{i}", s) for i, s in enumerate(shapes[1:]))
    f = sbp.node("f", ours(sbp.node("h", sp.sin(gain * x)), *others))
    c = sbp.weight("c", f.shape)
    net = sbp.Network(sbp.node("C", sbp.sum(c * f)))
    weights = draw({w.name: w.shape for w in [gain, *others, c]}, seed=1)

    def loss(x, gain, c, **others):
        return torch.stack([(c * reference(torch.sin(gain * one), *others.values())).sum() for one in x]).mean()

    agrees(net, loss, weights, draw({"x": (3, *shapes[0])}, seed=2))


TAKES = {
    "rows": ((5, 3), (4,), 0), "columns": ((5, 3), (4,), 1), "last axis": ((5, 3), (4,), -1), "first of two": ((5, 3), (4,), -2),
    "from a vector": ((5,), (3,), 0), "a matrix of indices": ((5, 3), (2, 4), 0), "a matrix of indices, last axis": ((2, 5), (2, 4), 1),
    "in the middle": ((2, 5, 3), (4,), 1), "a scalar index": ((5, 3), (), 0), "a scalar index, last axis": ((2, 5), (), -1),
}  # fmt: skip


@pytest.mark.parametrize(("shape", "picked", "axis"), TAKES.values(), ids=TAKES.keys())
def test_take(shape, picked, axis, agrees, draw):
    """Indices repeat, so that their contributions must add up."""
    E, f_of = sbp.weight("E", shape), np.random.default_rng(3).integers(0, shape[axis], picked)
    indices = sbp.data("indices", picked)
    f = sbp.node("f", sbp.take(sp.sin(E), indices, axis))
    assert f.shape == np.take(np.zeros(shape), f_of, axis).shape
    c = sbp.weight("c", f.shape)

    def loss(E, c, indices):
        index = [slice(None)] * len(shape)
        index[axis] = indices
        return (c * torch.sin(E)[tuple(index)]).sum()

    agrees(sbp.Network(sbp.node("C", sbp.sum(c * f))), loss, draw({"E": shape, "c": f.shape}), {"indices": f_of})


def test_take_over_a_batch(agrees, draw):
    """An embedding: rows picked by a batch of sentences, and a mean over each."""
    E, W, words = sbp.weight("E", (7, 3)), sbp.weight("W", (3, 2)), sbp.data("words", ("n", 4))
    h = sbp.node("h", sbp.mean(sbp.take(E, words), axis=1))
    net = sbp.Network(sbp.node("C", sbp.mean(sp.tanh(h @ W) ** 2)))
    data = {"words": np.random.default_rng(0).integers(0, 7, (5, 4))}
    agrees(net, lambda E, W, words: (torch.tanh(E[words].mean(1) @ W) ** 2).mean(), draw({"E": (7, 3), "W": (3, 2)}), data)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3)])
def test_one_hot(shape, agrees, draw):
    labels, c = sbp.data("labels", shape), sbp.weight("c", (*shape, 5))
    net = sbp.Network(sbp.node("C", sbp.sum(sp.exp(c) * sbp.one_hot(labels, 5))))
    data = {"labels": np.random.default_rng(0).integers(0, 5, shape)}
    agrees(net, lambda c, labels: (torch.exp(c) * functional.one_hot(labels, 5)).sum(), draw({"c": (*shape, 5)}), data)


NAMED = {  # with data X of shape (n, 3), Y of shape (n, 4) and a weight W of shape (3, 4)
    "mean over the batch": (lambda X, Y, W: sbp.mean((X @ W - Y) ** 2), lambda X, Y, W: ((X @ W - Y) ** 2).mean()),
    "mean over the batch alone": (
        lambda X, Y, W: sbp.sum(sp.exp(sbp.mean(X @ W * Y, axis=0))),
        lambda X, Y, W: torch.exp((X @ W * Y).mean(0)).sum(),
    ),
    "sum over the batch": (lambda X, Y, W: sbp.sum(X @ sp.sin(W) * Y), lambda X, Y, W: (X @ torch.sin(W) * Y).sum()),
    "reshape to a vector": (
        lambda X, Y, W: sbp.mean(sbp.reshape(X @ W, -1) ** 3),
        lambda X, Y, W: ((X @ W).reshape(-1) ** 3).mean(),
    ),
    "reshape with a name": (
        lambda X, Y, W: sbp.mean(sbp.sum(sbp.reshape(X @ W, ("n", 2, 2)), axis=1) ** 3),
        lambda X, Y, W: ((X @ W).reshape(-1, 2, 2).sum(1) ** 3).mean(),
    ),
    "reshape with a name and -1": (
        lambda X, Y, W: sbp.mean(sbp.max(sbp.reshape(X @ W, ("n", -1, 2)), axis=-1)),
        lambda X, Y, W: (X @ W).reshape(X.shape[0], -1, 2).amax(-1).mean(),
    ),
    "differences along the batch": (
        lambda X, Y, W: sbp.sum(((X @ W)[1:] - (X @ W)[:-1]) ** 2),
        lambda X, Y, W: ((X @ W)[1:] - (X @ W)[:-1]).pow(2).sum(),
    ),
    "the first and the last": (lambda X, Y, W: sbp.sum((X @ W)[0] * (X @ W)[-1]), lambda X, Y, W: ((X @ W)[0] * (X @ W)[-1]).sum()),
    "every second": (lambda X, Y, W: sbp.sum((X @ W)[::2] ** 2), lambda X, Y, W: ((X @ W)[::2] ** 2).sum()),
    "features side by side": (
        lambda X, Y, W: sbp.sum(sbp.concatenate([X @ W, Y, X], axis=1) ** 2),
        lambda X, Y, W: (torch.cat([X @ W, Y, X], dim=1) ** 2).sum(),
    ),
    "the batch twice": (
        lambda X, Y, W: sbp.mean(sp.tanh(sbp.concatenate([X @ W, Y * (X @ W)]))),
        lambda X, Y, W: torch.tanh(torch.cat([X @ W, Y * (X @ W)])).mean(),
    ),
    "products between samples": (lambda X, Y, W: sbp.sum(sp.sin((X @ W) @ Y.T)), lambda X, Y, W: torch.sin((X @ W) @ Y.T).sum()),
    "diagonal of products": (lambda X, Y, W: sbp.einsum("ii->", (X @ W) @ Y.T), lambda X, Y, W: ((X @ W) @ Y.T).trace()),
    "softmax over the batch": (
        lambda X, Y, W: sbp.sum(sbp.softmax(X @ W, axis=0) * Y),
        lambda X, Y, W: (torch.softmax(X @ W, 0) * Y).sum(),
    ),
    "batch statistics": (
        lambda X, Y, W: sbp.mean(sbp.sigmoid((X @ W - sbp.mean(X @ W, axis=0)) / sbp.max(sp.Abs(X @ W), axis=0)) * Y),
        lambda X, Y, W: (torch.sigmoid((X @ W - (X @ W).mean(0)) / (X @ W).abs().amax(0)) * Y).mean(),
    ),
    "a new axis": (
        lambda X, Y, W: sbp.mean((X[:, :, None] * W - Y[:, None]) ** 2),
        lambda X, Y, W: ((X[:, :, None] * W - Y[:, None]) ** 2).mean(),
    ),
}


@pytest.mark.parametrize(("ours", "reference"), NAMED.values(), ids=NAMED.keys())
def test_named_dimension(ours, reference, agrees, draw):
    X, Y, W = sbp.data("X", ("n", 3)), sbp.data("Y", ("n", 4)), sbp.weight("W", (3, 4))
    net = sbp.Network(sbp.node("C", ours(X, Y, W)))
    data = draw({"X": (5, 3), "Y": (5, 4)}, seed=1)
    loss = (lambda W, X, Y: reference(X, Y, W)) if "Y" in net.data else (lambda W, X: reference(X, None, W))
    agrees(net, loss, draw({"W": (3, 4)}), {name: data[name] for name in net.data})


def test_several_named_dimensions(agrees, draw):
    """Batch, time and features: two open dimensions."""
    X, W, v = sbp.data("X", ("n", "t", 3)), sbp.weight("W", (3, 4)), sbp.weight("v", (4,))
    scores = sbp.node("scores", sbp.softmax(sp.tanh(X @ W) @ v))
    net = sbp.Network(sbp.node("C", sbp.mean(sbp.einsum("nt,ntf->nf", scores, X) ** 2)))

    def loss(W, v, X):
        s = torch.softmax(torch.tanh(X @ W) @ v, -1)
        return (torch.einsum("nt,ntf->nf", s, X) ** 2).mean()

    agrees(net, loss, draw({"W": (3, 4), "v": (4,)}), draw({"X": (5, 6, 3)}, seed=1))


# Where a derivative does not exist, one is chosen: (function, point, its value there, the chosen derivative).
CONVENTIONS = {
    "relu": (sbp.relu, 0, 0, 0), "Abs": (sp.Abs, 0, 0, 0), "step": (sbp.step, 0, 0, 0), "Max(0, x)": (lambda x: sp.Max(0, x), 0, 0, 0),
    "Max(x, 2x)": (lambda x: sp.Max(x, 2 * x), 0, 0, 1), "leaky_relu": (sbp.leaky_relu, 0, 0, 0.01), "elu": (lambda x: sbp.elu(x, alpha=0.5), 0, 0, 0.5),
    "sign": (lambda x: x * sp.sign(x), 0, 0, 0), "floor": (lambda x: sp.floor(x), 1, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize(("function", "at", "value", "slope"), CONVENTIONS.values(), ids=CONVENTIONS.keys())
@pytest.mark.parametrize("shape", [(), (1,)], ids=["scalar", "array"])
def test_derivative_by_convention(function, at, value, slope, shape, run_module):
    w = sbp.weight("w", shape)
    net = sbp.Network(sbp.node("C", sbp.sum(function(w))))
    start = {"w": np.full(shape, float(at))}
    loss, gradients = run_module(net.generate())["loss_and_gradients"](start)
    assert loss == value
    np.testing.assert_allclose(gradients["w"], np.full(shape, slope), rtol=1e-15)
    trainer = net.trainer(sbp.SGD(lr=1), weights=start)
    trainer.step()
    np.testing.assert_allclose(trainer.weights["w"], at - np.full(shape, slope), rtol=1e-15)


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        (lambda w: sbp.max(w), [[1.0, 3, 3], [3, 2, 3]], [[0, 1, 0], [0, 0, 0]]),
        (lambda w: sbp.sum(sbp.max(w, axis=1)), [[1.0, 3, 3], [3, 2, 3]], [[0, 1, 0], [1, 0, 0]]),
        (lambda w: sbp.sum(sbp.max(w, axis=0)), [[1.0, 3, 3], [1, 2, 3]], [[1, 1, 1], [0, 0, 0]]),
        (lambda w: sbp.min(w), [[1.0, 0, 0], [3, 0, 3]], [[0, 1, 0], [0, 0, 0]]),
        (lambda w: sbp.sum(sbp.min(w, axis=(1, 0))), [[1.0, 2, 0], [0, 0, 3]], [[0, 0, 1], [0, 0, 0]]),
    ],
)
def test_first_maximum_wins(function, values, expected, run_module):
    w = sbp.weight("w", (2, 3))
    net = sbp.Network(sbp.node("C", function(w)))
    _, gradients = run_module(net.generate())["loss_and_gradients"]({"w": np.array(values)})
    np.testing.assert_array_equal(gradients["w"], expected)
    trainer = net.trainer(sbp.SGD(lr=1), weights={"w": values})
    trainer.step()
    np.testing.assert_array_equal(trainer.weights["w"], np.array(values) - expected)


def test_first_argument_of_max_wins(run_module):
    """Of equal arguments the one that is printed first takes the derivative, once, and never both or a half."""
    u, v = sbp.weight("u v")
    net = sbp.Network(sbp.node("C", sp.Max(u, v)))
    _, gradients = run_module(net.generate())["loss_and_gradients"]({"u": np.array(2.0), "v": np.array(2.0)})
    assert [float(gradients["u"]), float(gradients["v"])] == [1, 0]
    net = sbp.Network(sbp.node("C", sp.Min(u, v)))
    _, gradients = run_module(net.generate())["loss_and_gradients"]({"u": np.array(2.0), "v": np.array(2.0)})
    assert [float(gradients["u"]), float(gradients["v"])] == [1, 0]


@pytest.mark.parametrize("size", [1, 800])
@pytest.mark.parametrize(
    ("ours", "reference"),
    [
        (sbp.sigmoid, torch.sigmoid),
        (sbp.softplus, functional.softplus),
        (sbp.softmax, lambda a: torch.softmax(a, -1)),
        (sbp.log_softmax, lambda a: torch.log_softmax(a, -1)),
        (sbp.logsumexp, lambda a: torch.logsumexp(a, -1)),
        (sbp.silu, functional.silu),
        (sbp.elu, functional.elu),
        (sbp.gelu, functional.gelu),
        (sp.tanh, torch.tanh),
        (sp.erf, torch.erf),
    ],
)
def test_far_from_zero(ours, reference, size, agrees):
    """Nothing overflows: the values and slopes at ±800 are those of PyTorch's stable functions."""
    w = sbp.weight("w", (6,))
    values = {"w": size * np.array([-1.0, -0.9, -0.01, 0.02, 0.5, 1.0])}
    agrees(sbp.Network(sbp.node("C", sbp.sum(ours(w)))), lambda w: reference(w).sum(), values)


def test_contributions_of_several_ranks(agrees, draw):
    """One weight adds to a matrix and multiplies what comes of it: a scalar contribution beside vectors with a common factor 1/(m n)."""
    X, b, V = sbp.data("X", ("n", "m", 2)), sbp.weight("b", (1,)), sbp.weight("V", (2, 1))
    y = sbp.matmul(b + X, V)
    net = sbp.Network(sbp.node("C", sbp.mean(b * y / 10 + sp.tanh(b * y))))

    def loss(b, V, X):
        y = (b + X) @ V
        return (b * y / 10 + torch.tanh(b * y)).mean()

    agrees(net, loss, draw({"b": (1,), "V": (2, 1)}), draw({"X": (4, 3, 2)}, seed=1))


def test_contributions_that_cancel(agrees, draw):
    """A feature less the sum of all one features is nothing, and has no gradient."""
    X, W, w = sbp.data("X", ("n", "m", 1)), sbp.weight("W", (1, 1)), sbp.weight("w", (1,))
    h = sbp.matmul(X, W)
    u = w * (h - sbp.sum(h, axis=-1, keepdims=True))
    net = sbp.Network(sbp.node("C", sbp.mean(u / 10 + sp.tanh(u))))

    def loss(W, w, X):
        u = w * (X @ W - (X @ W).sum(-1, keepdim=True))
        return (u / 10 + torch.tanh(u)).mean()

    agrees(net, loss, draw({"W": (1, 1), "w": (1,)}), draw({"X": (4, 3, 1)}, seed=1))


def test_gradient_that_is_another_weight(agrees, draw):
    """The gradient of each weight is the other one, or its transpose: neither update may read what the other has written."""
    a, c = sbp.weight("a", (2, 3)), sbp.weight("c", (3, 2))
    agrees(sbp.Network(sbp.sum(c * a.T)), lambda a, c: (c * a.T).sum(), draw({"a": (2, 3), "c": (3, 2)}))
    a, c = sbp.weight("a c")
    agrees(sbp.Network(a * c), lambda a, c: a * c, draw({"a": (), "c": ()}))
