"""Layers that normalise: of each sample (layer norm, RMS norm), or of each feature over the batch (batch norm)."""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.products import mean
from symbackprop.graph.shapes import Shape, rank_of, shape_of, show, size_of
from symbackprop.graph.tensor import Tensor, as_expression, node, state, weight
from symbackprop.layers.naming import next_number


def layer_norm(x: Any, axes: Any = -1, eps: float = 1e-5, name: str | None = None, gain: bool = True, bias: bool = True) -> Tensor:
    """Layer normalisation: Xhat = (x - mu)/sqrt(v + eps), Y = gamma Xhat + beta. Returns the node Y, of the shape of x.

    mu and v are the mean and the variance over `axes` (an integer or several) of each sample by itself; gamma and beta are learnt and have
    the sizes of these axes, beginning with ones and zeros. The nodes are called mu_k, v_k, Xhat_k and Y_k, with `name` for k, or the number
    of the layer among those that normalise. Without `gain` and `bias` there is no gamma and no beta.

    Source: Ba, Kiros & Hinton, Layer Normalization (2016), equations 3 and 4. Raises `ShapeError` for axes that x does not have or whose
    sizes are open, `NetworkError` for a negative eps.
    """
    x, axes, name = _prepared("layer_norm", x, axes, eps, name)
    shape = _sizes("layer_norm", x, axes)
    mu = node(f"mu_{name}", mean(x, axes, keepdims=True))
    return _standardised(x, mu, node(f"v_{name}", mean((x - mu) ** 2, axes, keepdims=True)), eps, name, shape, gain, bias)


def rms_norm(x: Any, axes: Any = -1, eps: float = 1e-5, name: str | None = None, gain: bool = True, bias: bool = False) -> Tensor:
    """Root mean square normalisation: Xhat = x/sqrt(v + eps) with v the mean of x² over `axes`, and Y = gamma Xhat. Returns the node Y.

    Arguments, names and errors as for `layer_norm`; a bias is added only if it is asked for.

    Source: Zhang & Sennrich, Root Mean Square Layer Normalization (NeurIPS 2019), equation 4, with eps under the root.
    """
    x, axes, name = _prepared("rms_norm", x, axes, eps, name)
    shape = _sizes("rms_norm", x, axes)
    return _standardised(x, sp.S.Zero, node(f"v_{name}", mean(x**2, axes, keepdims=True)), eps, name, shape, gain, bias)


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
    (features,) = _sizes("batch_norm", x, (axis,))[:1]
    shape = (features, *(1 for _ in range(-axis - 1)))
    count = size_of(tuple(shape_of(x)[a] for a in others))

    def spread(t: Any) -> sp.Expr:
        return reshape(t, shape) if axis != -1 else t

    mu = node(f"mu_{name}", mean(x, others))
    v = node(f"v_{name}", mean((x - spread(mu)) ** 2, others))
    unbiased = v * count / sp.Max(count - 1, 1)
    kept_mu = state(f"mubar_{name}", (features,), 0, lambda m: (1 - momentum) * m + momentum * mu)
    kept_v = state(f"vbar_{name}", (features,), 1, lambda s: (1 - momentum) * s + momentum * unbiased)
    inferred = (x - spread(kept_mu)) / sp.sqrt(spread(kept_v) + eps)
    xhat = node(f"Xhat_{name}", (x - spread(mu)) / sp.sqrt(spread(v) + eps), inferred)
    return _scaled(xhat, name, (features,), gain, bias, spread)


def _prepared(layer: str, x: Any, axes: Any, eps: float, name: str | None) -> tuple[sp.Expr, tuple[int, ...], str]:
    """The operand, its axes counted from the last one, and the name of the layer."""
    x = as_expression(x, layer)
    rank = rank_of(x)
    listed = tuple(axes) if isinstance(axes, Sequence) and not isinstance(axes, str) else (axes,)
    if not listed or any(isinstance(a, bool) or not isinstance(a, int) or not -rank <= a < rank for a in listed):
        raise ShapeError(f"{layer}({x}, {axes!r}): x has shape {show(shape_of(x))}; expected axes from {-rank} to {rank - 1}")
    if isinstance(eps, bool) or not isinstance(eps, (int, float)) or not eps >= 0:
        raise NetworkError(f"{layer}({x}): eps is {eps!r}; expected a number that is not negative, such as 1e-5")
    return x, tuple(sorted({a - rank if a >= 0 else a for a in listed})), next_number(x, "Xhat") if name is None else name


def _sizes(layer: str, x: sp.Expr, axes: tuple[int, ...]) -> Shape:
    """The shape of gain and bias: the sizes of the axes, and 1 for axes that stand between or after them."""
    shape = tuple(shape_of(x)[a] if a in axes else 1 for a in range(axes[0], 0))
    if not all(isinstance(size, int) for size in shape):
        raise ShapeError(f"{layer}({x}): x has shape {show(shape_of(x))}; the sizes that are learnt for, {show(shape)}, must be integers")
    return shape


def _standardised(x: sp.Expr, mu: Any, v: Tensor, eps: float, name: str, shape: Shape, gain: bool, bias: bool) -> Tensor:
    return _scaled(node(f"Xhat_{name}", (x - mu) / sp.sqrt(v + eps)), name, shape, gain, bias)


def _scaled(xhat: Tensor, name: str, shape: Shape, gain: bool, bias: bool, spread: Any = lambda t: t) -> Tensor:
    """Y = gamma Xhat + beta, or what is wanted of it."""
    if not gain and not bias:
        return xhat
    y = spread(weight(f"gamma_{name}", shape, "ones")) * xhat if gain else xhat
    return node(f"Y_{name}", y + spread(weight(f"beta_{name}", shape, "zeros")) if bias else y)
