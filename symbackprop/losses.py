"""Losses, built from the public operators and nothing else. Each returns a scalar expression; give it a name with `node`.

Sources: Goodfellow, Bengio & Courville, Deep Learning, sections 6.2 (maximum likelihood and its costs), 3.13 (the Kullback-Leibler divergence),
7.1 (penalties on weights) and 7.5.1 (label smoothing); Huber 1964; Girshick 2015, section 2.3 (smooth l1); Weston & Watkins 1999, section 4
(the hinge of several classes). Options mean what they mean in PyTorch.
"""

import warnings
from typing import Any

import sympy as sp

from symbackprop.errors import LogitsWarning, NetworkError, ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.functions import relu, sigmoid, softplus
from symbackprop.graph.operators.gather import one_hot
from symbackprop.graph.operators.products import mean, reduce_sum
from symbackprop.graph.operators.reduction import Softmax, logsumexp
from symbackprop.graph.shapes import rank_of, shape_of, show, size_of
from symbackprop.graph.tensor import Tensor, as_expression


def _same_shape(name: str, y: Any, t: Any) -> None:
    if shape_of(y) != shape_of(t):
        raise ShapeError(
            f"{name}({y}, {t}): the prediction has shape {show(shape_of(y))} and the target {show(shape_of(t))}; "
            "they must be equal, or the difference would silently broadcast"
        )


def _warn_of(name: str, z: Any, t: Any, wanted: str, *kinds: type[sp.Basic]) -> None:
    """A warning where `z` is one of these functions already, by its definition or as it is written."""
    made = z
    while isinstance(made, Tensor) and made.definition is not None:  # a node may be another name of a node
        made = made.definition
    if isinstance(made, kinds):
        inner = made.args[-1]
        meant = f"{name}({inner}, {t})" if wanted == "logits" else f"{name}(log_softmax({inner}), {t})"
        if isinstance(made, Softmax) and made.axis != -1:
            axis = rank_of(made) + made.axis
            meant = f"negative_log_likelihood(log_softmax({inner}, axis={axis}), {t}), or take the softmax along the last axis, that of the classes"
        elif isinstance(made, sigmoid) and name != "binary_cross_entropy_with_logits":
            meant = f"{meant} for one class out of several, binary_cross_entropy_with_logits({inner}, {t}) for classes that are independent"
        raised = f"{name}({z}, {t}): {z} = {made}" if made is not z else f"{name}({z}, {t}): {z}"
        message = f"{raised} holds probabilities, but {name} takes {wanted}; write {meant}, and keep {z} for the network's output"
        warnings.warn(message, LogitsWarning, stacklevel=4)


@checked("y", "t")
def mse(y: Any, t: Any) -> sp.Expr:
    """Mean squared error, the mean of (y - t)² over every entry. Raises `ShapeError` where the shapes differ."""
    _same_shape("mse", y, t)
    return mean((y - t) ** 2)


@checked("y", "t")
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


@checked("y", "t")
def huber(y: Any, t: Any, delta: Any = 1) -> sp.Expr:
    """Mean of d²/2 where |d| ≤ delta and delta (|d| - delta/2) elsewhere, with d = y - t: as gentle to outliers as |d|.

    Raises `ShapeError` where the shapes differ, `NetworkError` where delta is not positive.
    """
    _same_shape("huber", y, t)
    d, delta = y - t, _positive("huber", "delta", delta)
    return mean(sp.Piecewise((d**2 / 2, sp.Abs(d) <= delta), (delta * (sp.Abs(d) - delta / 2), True)))


@checked("y", "t")
def smooth_l1(y: Any, t: Any, beta: Any = 1) -> sp.Expr:
    """Mean of d²/(2 beta) where |d| ≤ beta and |d| - beta/2 elsewhere, with d = y - t: `huber` divided by beta. Errors as there."""
    _same_shape("smooth_l1", y, t)
    d, beta = y - t, _positive("smooth_l1", "beta", beta)
    return mean(sp.Piecewise((d**2 / (2 * beta), sp.Abs(d) <= beta), (sp.Abs(d) - beta / 2, True)))


@checked("y", "t")
def hinge(y: Any, t: Any) -> sp.Expr:
    """Mean of max(0, 1 - t y), for targets -1 and 1 of the shape of y.

    Where t lacks y's last axis, it holds integer labels of classes: the mean over the batch of Σ max(0, 1 - y_t + y_k)/classes, the sum over the
    classes k that are not t. Raises `ShapeError` where the shapes fit neither way.
    """
    if rank_of(t) != rank_of(y) - 1:
        _same_shape("hinge", y, t)
        return mean(relu(1 - t * y))
    true, classes = _classes("hinge", y, t), shape_of(y)[-1]
    margins = relu(1 - reduce_sum(true * y, axis=-1, keepdims=True) + y)
    return mean(reduce_sum((1 - true) * margins, axis=-1)) / classes


@checked("x", "y")
def cosine_similarity(x: Any, y: Any, axis: int = -1) -> sp.Expr:
    """x·y/(|x||y|) along an axis, which is lost. A norm below 1e-8 counts as 1e-8, so that zero vectors have value 0 and finite derivatives."""
    _same_shape("cosine_similarity", x, y)
    smallest = sp.Float(1e-16)
    norms = [sp.sqrt(sp.Max(reduce_sum(z**2, axis=axis), smallest)) for z in (x, y)]
    return reduce_sum(x * y, axis=axis) / sp.Mul(*norms)


@checked("y", "t")
def cosine_loss(y: Any, t: Any) -> sp.Expr:
    """Mean of 1 - cos(y, t), the angle that of vectors along the last axis. Raises `ShapeError` where the shapes differ."""
    return mean(1 - cosine_similarity(y, t))


@checked("p", "t", "pos_weight")
def binary_cross_entropy(p: Any, t: Any, pos_weight: Any = 1) -> sp.Expr:
    """-mean(w t log p + (1 - t) log(1 - p)), for probabilities p. The positive class counts `pos_weight` w times.

    0 log 0 is 0, so that p = t = 0 and p = t = 1 cost nothing; there the slopes are 1/n and -1/n, those of -log(1 - p) and -log p from within.
    A certain mistake, p = 0 where t > 0 or p = 1 where t < 1, costs infinitely much, and training stops. Targets t are meant to lie in [0, 1],
    where the loss is smallest at p = t; others are computed by the same formula, which then has no smallest value.
    """
    _same_shape("binary_cross_entropy", p, t)
    return -mean(pos_weight * t * sp.log(p) + (1 - t) * sp.log(1 - p))


@checked("z", "t", "pos_weight")
def binary_cross_entropy_with_logits(z: Any, t: Any, pos_weight: Any = 1) -> sp.Expr:
    """The binary cross-entropy of sigmoid(z), finite for every z: mean(softplus(z) - t z). Its gradient is (sigmoid(z) - t)/n.

    The positive class counts `pos_weight` w times, which may be a tensor along the last axis: mean((1 + (w - 1) t) softplus(z) - w t z).
    """
    _same_shape("binary_cross_entropy_with_logits", z, t)
    _warn_of("binary_cross_entropy_with_logits", z, t, "logits", sigmoid)
    return mean((1 + (pos_weight - 1) * t) * softplus(z) - pos_weight * t * z)


@checked("logits", "t")
def cross_entropy(logits: Any, t: Any, class_weights: Any = None, label_smoothing: Any = 0) -> sp.Expr:
    """Mean over the batch of logsumexp(z) - Σ t z, the cross-entropy of softmax(z); its gradient is (softmax(z) - t)/n.

    `logits` has the classes on its last axis: what the softmax is taken of, not its result, of which a `LogitsWarning` tells. `t` has the same
    shape (one-hot, or probabilities that sum to one in each row; other numbers are computed by the same formula), or lacks the last axis and
    holds integer labels. With `label_smoothing` e, t is (1 - e) t + e/classes. With `class_weights` w, a tensor with
    an entry for each class, the loss of a sample is Σ w t (logsumexp(z) - z); for labels, the mean is weighted: divided by the sum of the w_t.
    Raises `ShapeError` where the shapes do not fit.
    """
    _warn_of("cross_entropy", logits, t, "logits", Softmax, sigmoid)
    labels = rank_of(t) == rank_of(logits) - 1
    t = _classes("cross_entropy", logits, t)
    if label_smoothing == 0 and class_weights is None:
        return mean(logsumexp(logits, axis=-1) - reduce_sum(t * logits, axis=-1))
    smoothing = as_expression(label_smoothing, "label_smoothing of cross_entropy")
    if smoothing.is_number and not 0 <= smoothing <= 1:
        raise NetworkError(f"cross_entropy: label_smoothing is {label_smoothing}; expected a number from 0 to 1")
    smooth = (1 - smoothing) * t + smoothing / shape_of(logits)[-1]
    if class_weights is None:
        return mean(logsumexp(logits, axis=-1) - reduce_sum(smooth * logits, axis=-1))
    _check_weights("cross_entropy", logits, class_weights)
    share = class_weights * smooth
    each = reduce_sum(share, axis=-1) * logsumexp(logits, axis=-1) - reduce_sum(share * logits, axis=-1)
    return reduce_sum(each) / reduce_sum(class_weights * t) if labels else mean(each)


@checked("log_p", "t")
def negative_log_likelihood(log_p: Any, t: Any, class_weights: Any = None) -> sp.Expr:
    """-mean of log p at the true class: of `log_p`, log-probabilities with the classes on the last axis. `t` and `class_weights` are as in
    `cross_entropy`, which is the same of log_softmax(z). Raises `ShapeError` where the shapes do not fit."""
    _warn_of("negative_log_likelihood", log_p, t, "log-probabilities", Softmax, sigmoid)
    labels = rank_of(t) == rank_of(log_p) - 1
    t = _classes("negative_log_likelihood", log_p, t)
    if class_weights is None:
        return -mean(reduce_sum(t * log_p, axis=-1))
    _check_weights("negative_log_likelihood", log_p, class_weights)
    total = -reduce_sum(class_weights * t * log_p)
    return total / (reduce_sum(class_weights * t) if labels else size_of(shape_of(log_p)[:-1]))


@checked("log_q", "t")
def kl_divergence(log_q: Any, t: Any) -> sp.Expr:
    """Mean over the batch of Σ t (log t - log q), for probabilities t, which may be 0, and log-probabilities `log_q` of the same shape, with the
    classes on the last axis. Raises `ShapeError` where the shapes differ."""
    _same_shape("kl_divergence", log_q, t)
    positive = sp.Piecewise((t, t > 0), (1, True))  # 0 log 0 is 0
    return mean(reduce_sum(t * (sp.log(positive) - log_q), axis=-1))


def l1(*weights: Any) -> sp.Expr:
    """The sum of |w| over all entries of the weights: a penalty that makes weights zero, to be added to a loss."""
    return sp.Add(*(reduce_sum(sp.Abs(w)) for w in _penalised("l1", weights)))


def l2(*weights: Any) -> sp.Expr:
    """The sum of w² over all entries of the weights: a penalty that makes weights small, to be added to a loss."""
    return sp.Add(*(reduce_sum(w**2) for w in _penalised("l2", weights)))


def _penalised(name: str, weights: tuple[Any, ...]) -> tuple[Any, ...]:
    if not weights:
        raise NetworkError(f"{name}(): there is nothing to penalise; give it at least one weight, such as {name}(W_1, W_2)")
    return tuple(as_expression(w, name) for w in weights)


def _positive(name: str, option: str, value: Any) -> sp.Expr:
    number = as_expression(value, f"{option} of {name}")
    if number.is_positive is False:
        raise NetworkError(f"{name}: {option} is {value}; expected a positive number")
    return number


def _classes(name: str, y: sp.Expr, t: sp.Expr) -> sp.Expr:
    """The target as one row of weights for each sample: one-hot where it holds labels."""
    if rank_of(y) > 1 and not isinstance(shape_of(y)[-1], int):
        raise ShapeError(
            f"{name}({y}, {t}): the prediction has shape {show(shape_of(y))}; the classes belong on the last axis, "
            f"but {shape_of(y)[-1]} is an open dimension: transpose both"
        )
    if rank_of(t) != rank_of(y) - 1:
        _same_shape(name, y, t)
        return t
    expected = shape_of(y)[:-1]
    if shape_of(t) != expected:
        raise ShapeError(
            f"{name}({y}, {t}): the labels have shape {show(shape_of(t))}, expected {show(expected)} or, one-hot, {show(shape_of(y))}"
        )
    return one_hot(t, shape_of(y)[-1])


def _check_weights(name: str, y: Any, weights: Any) -> None:
    expected = shape_of(y)[-1:]
    if shape_of(as_expression(weights, f"class_weights of {name}")) != expected:
        raise ShapeError(f"{name}: the class_weights {weights} have shape {show(shape_of(weights))}; expected one for each class, {show(expected)}")
