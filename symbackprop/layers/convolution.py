"""Convolution and pooling, in PyTorch's layout: images (.., channels, height, width), signals (.., channels, length), kernels
(out, in/groups, size..). What machine learning calls a convolution is the cross-correlation, in which the kernel is not turned round.

Sources: Goodfellow, Bengio & Courville, Deep Learning, sections 9.1 (equation 9.6), 9.3 and 9.5; Dumoulin & Visin, "A guide to convolution
arithmetic for deep learning" (2016), chapters 2 to 5; Krizhevsky, Sutskever & Hinton (2012), section 3.2, for groups.
"""

from collections.abc import Sequence
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.layout import pad, reshape
from symbackprop.graph.operators.products import einsum, mean
from symbackprop.graph.operators.reduction import reduce_max
from symbackprop.graph.operators.window import whole, window
from symbackprop.graph.shapes import rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node, weight
from symbackprop.layers.activations import ACTIVATIONS, choose
from symbackprop.layers.naming import next_number

# --- functions of expressions --------------------------------------------------------------------------------------------


@checked()
def correlate(x: Any, kernel: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1) -> sp.Expr:
    """The cross-correlation over the last axes: z[.., o, i..] = sum over c and p.. of x[.., c, stride i + dilation p..] kernel[o, c, p..].

    `x` has shape (.., in, lengths..), `kernel` (out, in/groups, sizes..), the result (.., out, positions..). `padding`: zeros on both sides
    of each axis, an integer, one for each axis (each an integer or a pair before, after), "valid" for none, or "same" for as many as
    keep the lengths at stride 1. With `groups` the channels are cut into so many parts, each with kernels of its own. The values are those of
    PyTorch's `conv1d`, `conv2d` and `conv3d`. Raises `ShapeError` where shapes do not fit.
    """
    x, kernel = as_expression(x, "correlate"), as_expression(kernel, "correlate")
    n, shape = rank_of(kernel) - 2, shape_of(kernel)
    where = f"correlate({x}, {kernel})"
    if n < 1 or not all(isinstance(size, int) for size in shape):
        raise ShapeError(f"{where}: the kernel has shape {show(shape)}; expected (out, in/groups, sizes..) in integers, with at least one size")
    _check_image(x, n, where)
    _check_groups(where, shape_of(x)[-n - 1], shape[0], groups, shape[1])
    steps, gaps = whole(stride, n, f"{where}: the stride"), whole(dilation, n, f"{where}: the dilation")
    x = _padded(x, shape[2:], steps, gaps, padding, 0, where)
    offsets, places = "uvw"[:n], "yxz"[:n]
    if groups == 1:
        return einsum(f"oc{offsets},...c{offsets}{places}->...o{places}", kernel, window(x, shape[2:], steps, gaps))
    lead, lengths = shape_of(x)[: -n - 1], shape_of(x)[-n:]
    windows = window(reshape(x, (*lead, groups, shape[1], *lengths)), shape[2:], steps, gaps)
    kernels = reshape(kernel, (groups, shape[0] // groups, *shape[1:]))
    z = einsum(f"goc{offsets},...gc{offsets}{places}->...go{places}", kernels, windows)
    return reshape(z, (*lead, shape[0], *shape_of(z)[-n:]))


@checked()
def max_pool1d(x: Any, kernel_size: int, stride: int | None = None, padding: Any = 0, dilation: int = 1) -> sp.Expr:
    """The largest entry of each window over the last axis, as PyTorch's `max_pool1d`: (.., length) → (.., positions). Windows lie side by side
    unless there is a `stride`. Padding is never the largest; of equal entries the first takes the derivative."""
    return _max_pool(x, kernel_size, stride, padding, dilation, 1)


@checked()
def max_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1) -> sp.Expr:
    """The largest entry of each window over the last two axes, as PyTorch's `max_pool2d`: (.., height, width) → (.., positions). Numbers are
    integers, or pairs for height and width. Windows lie side by side unless there is a `stride`. Padding is never the largest; of equal
    entries the first, row by row, takes the derivative."""
    return _max_pool(x, kernel_size, stride, padding, dilation, 2)


@checked()
def avg_pool1d(x: Any, kernel_size: int, stride: int | None = None, padding: Any = 0) -> sp.Expr:
    """The mean of each window over the last axis, as PyTorch's `avg_pool1d`; zeros of the padding count."""
    return _avg_pool(x, kernel_size, stride, padding, 1)


@checked()
def avg_pool2d(x: Any, kernel_size: Any, stride: Any = None, padding: Any = 0) -> sp.Expr:
    """The mean of each window over the last two axes, as PyTorch's `avg_pool2d`; zeros of the padding count."""
    return _avg_pool(x, kernel_size, stride, padding, 2)


# --- layers --------------------------------------------------------------------------------------------------------------


@checked()
def conv1d(
    x: Any, channels: int, kernel_size: int, stride: int = 1, padding: Any = 0, dilation: int = 1, groups: int = 1,
    activation: Any = None, name: str | None = None, bias: bool = True,
) -> Tensor:  # fmt: skip
    """A convolution over one axis: Z = x ⋆ K + b, A = activation(Z). Returns the node A, or Z where there is no activation.

    `x` has shape (.., in, length), K (channels, in/groups, kernel_size), the result (.., channels, positions); the other arguments are those
    of `correlate`, and `activation` and `name` those of `dense`. Raises `ShapeError` where shapes do not fit.
    """
    return _layer(1, x, channels, kernel_size, (stride, padding, dilation, groups), activation, name, bias)


@checked()
def conv2d(
    x: Any, channels: int, kernel_size: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1,
    activation: Any = None, name: str | None = None, bias: bool = True,
) -> Tensor:  # fmt: skip
    """A convolution over images: Z = x ⋆ K + b, A = activation(Z). Returns the node A, or Z where there is no activation.

    `x` has shape (.., in, height, width), K (channels, in/groups, kernel height, kernel width), the result (.., channels, rows, columns).
    Numbers are integers, or pairs for height and width; the other arguments are those of `correlate`, and `activation` and `name` those of
    `dense`. Raises `ShapeError` where shapes do not fit.
    """
    return _layer(2, x, channels, kernel_size, (stride, padding, dilation, groups), activation, name, bias)


def _layer(
    n: int, x: Any, channels: int, kernel_size: Any, numbers: tuple[Any, Any, Any, int], activation: Any, name: str | None, bias: bool
) -> Tensor:  # fmt: skip
    """The node Z or A of a convolution over the last n axes; `numbers` are stride, padding, dilation and groups."""
    where, x = f"conv{n}d({x}, {channels})", as_expression(x, f"conv{n}d")
    _check_image(x, n, where)
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise ShapeError(f"{where}: the number of channels is {channels!r}; expected a positive integer")
    sizes = whole(kernel_size, n, f"{where}: the size of the kernel")
    inputs, groups = shape_of(x)[-n - 1], numbers[3]
    _check_groups(where, inputs, channels, groups)
    apply = choose(activation, ACTIVATIONS, "activation")
    name = next_number("weight", "W K", x) if name is None else name
    K = weight(f"K_{name}", (channels, inputs // groups, *sizes))
    z = correlate(x, K, *numbers)
    if bias:
        z += reshape(weight(f"b_{name}", (channels,)), (channels, *[1] * n))  # one number for each channel
    z = node(f"Z_{name}", z)
    return z if apply is None else node(f"A_{name}", apply(z))


# --- parts ---------------------------------------------------------------------------------------------------------------


def _max_pool(x: Any, size: Any, stride: Any, padding: Any, dilation: Any, n: int) -> sp.Expr:
    where, x = f"max_pool{n}d({x}, {size})", as_expression(x, f"max_pool{n}d")
    largest = _pooled(x, size, stride, padding, dilation, n, -sp.oo, where)
    for _ in range(n):  # along each row, then among the rows: of equal entries the first in C order stays the first
        largest = reduce_max(largest, axis=-n - 1)
    return largest


def _avg_pool(x: Any, size: Any, stride: Any, padding: Any, n: int) -> sp.Expr:
    where, x = f"avg_pool{n}d({x}, {size})", as_expression(x, f"avg_pool{n}d")
    return mean(_pooled(x, size, stride, padding, 1, n, 0, where), axis=tuple(range(-2 * n, -n)))


def _pooled(x: sp.Expr, size: Any, stride: Any, padding: Any, dilation: Any, n: int, value: Any, where: str) -> sp.Expr:
    """The windows of a pooling; `value` is what the padding holds."""
    if rank_of(x) < n:
        raise ShapeError(f"{where}: x has shape {show(shape_of(x))}; expected at least {n} axes, over which the windows slide")
    sizes, gaps = whole(size, n, f"{where}: the size"), whole(dilation, n, f"{where}: the dilation")
    steps = sizes if stride is None else whole(stride, n, f"{where}: the stride")
    each = _widths(padding, sizes, steps, gaps, where)
    if any(max(width) > k // 2 for width, k in zip(each, sizes, strict=True)):
        raise ShapeError(f"{where}: the padding is {padding!r}, more than half of a window; a window may not lie in the padding alone")
    return window(_padded(x, sizes, steps, gaps, each, value, where), sizes, steps, gaps)


def _padded(x: sp.Expr, sizes: Sequence[int], steps: Sequence[int], gaps: Sequence[int], padding: Any, value: Any, where: str) -> sp.Expr:
    widths = _widths(padding, sizes, steps, gaps, where)
    return pad(x, [(0, 0)] * (rank_of(x) - len(sizes)) + widths, value)


def _widths(padding: Any, sizes: Sequence[int], steps: Sequence[int], gaps: Sequence[int], where: str) -> list[tuple[int, int]]:
    """(before, after) for each axis, from what a user may write."""
    n = len(sizes)
    if padding == "same":
        if any(s != 1 for s in steps):
            raise ShapeError(f'{where}: padding="same" keeps the lengths at stride 1 only, found stride {tuple(steps)}; give the padding in numbers')
        totals = [d * (k - 1) for k, d in zip(sizes, gaps, strict=True)]
        return [(t // 2, t - t // 2) for t in totals]
    each = [0 if padding == "valid" else padding] * n if isinstance(padding, (int, str)) else padding
    pairs: list[Any] = [(w, w) if isinstance(w, int) else w for w in each] if isinstance(each, Sequence) else []
    if len(pairs) != n or not all(isinstance(w, (tuple, list)) and len(w) == 2 and all(isinstance(k, int) and k >= 0 for k in w) for w in pairs):
        raise ShapeError(
            f'{where}: the padding is {padding!r}; expected an integer, a sequence of {n} integers or pairs (before, after), "same" or "valid"'
        )
    return [(before, after) for before, after in pairs]


def _check_image(x: sp.Expr, n: int, where: str) -> None:
    if rank_of(x) <= n or not isinstance(shape_of(x)[-n - 1], int):
        axes = ("length", "height, width", "depth, height, width")[min(n, 3) - 1]
        raise ShapeError(f"{where}: x has shape {show(shape_of(x))}; expected (.., channels, {axes}) with an integer number of channels")


def _check_groups(where: str, inputs: int, channels: int, groups: Any, own: int | None = None) -> None:
    """Whether the channels can be divided among the groups, and a kernel reads as many as it `own`s."""
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or inputs % groups or channels % groups:
        raise ShapeError(f"{where}: {groups!r} groups; expected a positive integer that divides the {inputs} channels of x and the {channels} that are made")
    if own is not None and own * groups != inputs:
        raise ShapeError(f"{where}: the kernel reads {own} channels in each of {groups} groups, but x has {inputs}; they must be equal in number")
