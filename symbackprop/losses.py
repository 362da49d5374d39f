"""Losses, built from the public operators and nothing else. Each returns a scalar expression; give it a name with `node`.

Source: Goodfellow, Bengio & Courville, Deep Learning, section 6.2 (maximum likelihood and its costs).
"""

from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.functions import softplus
from symbackprop.graph.operators.gather import one_hot
from symbackprop.graph.operators.products import mean, reduce_sum
from symbackprop.graph.operators.reduction import logsumexp
from symbackprop.graph.shapes import rank_of, shape_of, show, size_of


def _same_shape(name: str, y: Any, t: Any) -> None:
    if shape_of(sp.sympify(y, strict=True)) != shape_of(sp.sympify(t, strict=True)):
        raise ShapeError(
            f"{name}({y}, {t}): the prediction has shape {show(shape_of(y))} and the target {show(shape_of(t))}; "
            "they must be equal, or the difference would silently broadcast"
        )


def mse(y: Any, t: Any) -> sp.Expr:
    """Mean squared error, the mean of (y - t)² over every entry. Raises `ShapeError` where the shapes differ."""
    _same_shape("mse", y, t)
    return mean((y - t) ** 2)


def half_squared_error(y: Any, t: Any) -> sp.Expr:
    """½ Σ (y - t)², summed over the outputs and averaged over the batch.

    Named dimensions are the batch, wherever they stand; where there is none, the outputs lie on the last axis and the axes before it
    are the batch. Raises `ShapeError` where the shapes differ.
    """
    _same_shape("half_squared_error", y, t)
    squared = (y - t) ** 2 / 2
    shape = shape_of(squared)
    batch = [size for size in shape if not isinstance(size, int)] or shape[:-1]
    return reduce_sum(squared) / size_of(tuple(batch))


def binary_cross_entropy(p: Any, t: Any) -> sp.Expr:
    """-mean(t log p + (1 - t) log(1 - p)), for probabilities p strictly between 0 and 1."""
    _same_shape("binary_cross_entropy", p, t)
    return -mean(t * sp.log(p) + (1 - t) * sp.log(1 - p))


def binary_cross_entropy_with_logits(z: Any, t: Any) -> sp.Expr:
    """The binary cross-entropy of sigmoid(z), finite for every z: mean(softplus(z) - t z). Its gradient is (sigmoid(z) - t)/n."""
    _same_shape("binary_cross_entropy_with_logits", z, t)
    return mean(softplus(z) - t * z)


def cross_entropy(logits: Any, t: Any) -> sp.Expr:
    """Mean over the batch of logsumexp(z) - Σ t z, the cross-entropy of softmax(z); its gradient is (softmax(z) - t)/n.

    `logits` has the classes on its last axis. `t` has the same shape (one-hot, or probabilities that sum to one in each row),
    or lacks the last axis and holds integer labels.
    """
    if rank_of(logits) > 1 and not isinstance(shape_of(logits)[-1], int):
        raise ShapeError(
            f"cross_entropy({logits}, {t}): the logits have shape {show(shape_of(logits))}; the classes belong on the last axis, "
            f"but {shape_of(logits)[-1]} is an open dimension: transpose both"
        )
    if rank_of(t) == rank_of(logits) - 1:
        expected = shape_of(logits)[:-1]
        if shape_of(t) != expected:
            raise ShapeError(
                f"cross_entropy({logits}, {t}): the labels have shape {show(shape_of(t))}, "
                f"expected {show(expected)} or, one-hot, {show(shape_of(logits))}"
            )
        t = one_hot(t, shape_of(logits)[-1])
    else:
        _same_shape("cross_entropy", logits, t)
    return mean(logsumexp(logits, axis=-1) - reduce_sum(t * logits, axis=-1))
