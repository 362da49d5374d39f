"""Layers that normalise: of each sample (layer norm, RMS norm), or of each feature over the batch (batch norm)."""

from collections.abc import Sequence
from fractions import Fraction
from itertools import dropwhile
from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.products import mean
from symbackprop.graph.shapes import rank_of, shape_of, show, size_of
from symbackprop.graph.tensor import Tensor, as_expression, node, state, weight
from symbackprop.layers.naming import next_number


@checked()
def layer_norm(x: Any, axes: Any = -1, eps: float = 1e-5, name: str | None = None, gain: bool = True, bias: bool = True) -> Tensor:
    """Layer normalisation: Xhat = (x - mu)/sqrt(v + eps), Y = gamma Xhat + beta. Returns the node Y, of the shape of x.

    mu and v are the mean and the variance over `axes` (an integer or several) of each sample by itself; gamma and beta are learnt and have
    the sizes of these axes, beginning with ones and zeros. The nodes are called mu_k, v_k, Xhat_k and Y_k, with `name` for k, or the number
    of the layer among those that normalise. Without `gain` and `bias` there is no gamma and no beta.

    Source: Ba, Kiros & Hinton, Layer Normalization (2016), equations 3 and 4. Raises `ShapeError` for axes that x does not have or whose
    sizes are open, `NetworkError` for a negative eps.
    """
    x, axes, name = _prepared("layer_norm", x, axes, eps, name)
    mu = node(f"mu_{name}", mean(x, axes))
    v = node(f"v_{name}", mean((x - _spread(mu, x, axes)) ** 2, axes))
    xhat = node(f"Xhat_{name}", _standardised(x, mu, v, eps, axes))
    return _scaled(xhat, name, axes, gain, bias)


@checked()
def rms_norm(x: Any, axes: Any = -1, eps: float = 1e-5, name: str | None = None, gain: bool = True, bias: bool = False) -> Tensor:
    """Root mean square normalisation: Xhat = x/sqrt(v + eps) with v the mean of x² over `axes`, and Y = gamma Xhat. Returns the node Y.

    Arguments, names and errors as for `layer_norm`; a bias is added only if it is asked for.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (NeurIPS 2019), equation 4, with eps under the root.
    """
    x, axes, name = _prepared("rms_norm", x, axes, eps, name)
    v = node(f"v_{name}", mean(x**2, axes))
    return _scaled(node(f"Xhat_{name}", _standardised(x, None, v, eps, axes)), name, axes, gain, bias)


@checked()
def batch_norm(
    x: Any, axis: int = -1, eps: float = 1e-5, momentum: float = 0.1, name: str | None = None, gain: bool = True, bias: bool = True
) -> Tensor:
    """Batch normalisation: Xhat = (x - mu)/sqrt(v + eps), Y = gamma Xhat + beta. Returns the node Y, of the shape of x.

    mu and v are the mean and the variance of each feature over all other axes, the batch among them; the features lie along `axis`, the
    last one, or 1 for images with their channels first. gamma and beta, one number a feature, are learnt. The states mubar_k and vbar_k
    are moving averages of mu and of the unbiased variance N/(N - 1) v (of one number it counts as 0): with every training step they go
    towards them by the fraction `momentum`. At inference they take the place of mu and v. Nodes are called as in `layer_norm`.

    Source: Ioffe & Szegedy, Batch Normalization (ICML 2015), algorithms 1 and 2. Raises `ShapeError` for an x of fewer than two axes or
    an open number of features, `NetworkError` for a negative eps, or a momentum that is not between 0 and 1.
    """
    x, (axis,), name = _prepared("batch_norm", x, axis, eps, name)
    if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
        raise NetworkError(f"batch_norm({x}): the momentum is {momentum!r}; expected a number from 0 to 1")
    others = tuple(a for a in range(-rank_of(x), 0) if a != axis)
    if not others:
        raise ShapeError(f"batch_norm({x}): x has shape {show(shape_of(x))}; expected at least two axes, samples and features")
    mu = node(f"mu_{name}", mean(x, others))
    v = node(f"v_{name}", mean((x - _spread(mu, x, others)) ** 2, others))
    count = size_of(tuple(shape_of(x)[a] for a in others))
    rest, part = (float(f) for f in (1 - Fraction(str(momentum)), Fraction(str(momentum))))
    mubar = state(f"mubar_{name}", mu.shape, 0, lambda old: rest * old + part * mu)
    vbar = state(f"vbar_{name}", mu.shape, 1, lambda old: rest * old + part * v * count / sp.Max(count - 1, 1))
    xhat = node(f"Xhat_{name}", _standardised(x, mu, v, eps, others), inference=_standardised(x, mubar, vbar, eps, others))
    return _scaled(xhat, name, (axis,), gain, bias)


def _prepared(layer: str, x: Any, axes: Any, eps: float, name: str | None) -> tuple[sp.Expr, tuple[int, ...], str]:
    """The operand, its axes counted from the last one, and the name of the layer."""
    x = as_expression(x, layer)
    rank = rank_of(x)
    listed = tuple(axes) if isinstance(axes, Sequence) and not isinstance(axes, str) else (axes,)
    if not rank:
        raise ShapeError(f"{layer}({x}): x is a scalar, of shape (); expected a tensor with an axis to normalise over")
    if not listed or any(isinstance(a, bool) or not isinstance(a, int) or not -rank <= a < rank for a in listed):
        raise ShapeError(f"{layer}({x}, {axes!r}): x has shape {show(shape_of(x))}; expected axes from {-rank} to {rank - 1}")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not eps >= 0:
        raise NetworkError(f"{layer}({x}): eps is {eps!r}; expected a number that is not negative, such as 1e-5")
    found = tuple(sorted({a - rank if a >= 0 else a for a in listed}))
    sizes = tuple(shape_of(x)[a] for a in found)
    if not all(isinstance(size, int) for size in sizes):
        raise ShapeError(f"{layer}({x}, {axes!r}): x has shape {show(shape_of(x))}; the sizes along these axes, {show(sizes)}, must be integers")
    return x, found, next_number("node", "Xhat", x) if name is None else name


def _standardised(x: sp.Expr, mu: Tensor | None, v: Tensor, eps: float, axes: tuple[int, ...]) -> sp.Expr:
    centred = x if mu is None else x - _spread(mu, x, axes)
    return centred / sp.sqrt(_spread(v, x, axes) + eps)


def _spread(t: sp.Expr, x: sp.Expr, axes: tuple[int, ...]) -> sp.Expr:
    """What was summed over `axes` of x, with axes of size one in their place where NumPy needs them to line up."""
    shape = tuple(1 if a in axes else shape_of(x)[a] for a in range(-rank_of(x), 0))
    return reshape(t, tuple(dropwhile(lambda size: size == 1, shape)))


def _scaled(xhat: Tensor, name: str, axes: tuple[int, ...], gain: bool, bias: bool) -> Tensor:
    """Y = gamma Xhat + beta, or what is wanted of it. Gain and bias have the sizes of the axes, and lie along them."""
    if not gain and not bias:
        return xhat
    sizes = tuple(shape_of(xhat)[a] for a in axes)
    shape = tuple(shape_of(xhat)[a] if a in axes else 1 for a in range(axes[0], 0))

    def learnt(head: str, init: str) -> sp.Expr:
        return reshape(weight(f"{head}_{name}", sizes, init), shape)

    y = learnt("gamma", "ones") * xhat if gain else xhat
    return node(f"Y_{name}", y + learnt("beta", "zeros") if bias else y)
