"""Attention: scaled dot products, several heads of them, and the sinusoidal encoding of places.

Source: Vaswani et al., "Attention Is All You Need" (2017), sections 3.2.1 (equation 1), 3.2.2 (heads), 3.2.3 (masks) and 3.5 (places).
"""

from typing import Any

import sympy as sp

from symbackprop.errors import NetworkError, ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.operators.layout import reshape
from symbackprop.graph.operators.positions import positions
from symbackprop.graph.operators.products import einsum, matmul, transpose
from symbackprop.graph.operators.reduction import softmax
from symbackprop.graph.shapes import Shape, as_dimension, broadcast, rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node
from symbackprop.layers.dense import dense
from symbackprop.layers.masks import applied, as_mask, both, for_heads, is_array
from symbackprop.layers.naming import next_number


@checked()
def attention(q: Any, k: Any, v: Any, mask: Any = None, name: str | None = None, causal: bool = False) -> Tensor:
    """Scaled dot-product attention: R = Q Kᵀ/√d, S = softmax(R), H = S V. Returns the node H.

    Shapes: q (.., n, d), k (.., m, d), v (.., m, e), the result (.., n, e); leading axes are a batch. `mask`, which broadcasts to (.., n, m), is a
    condition, true where a query may see a key, such as `M > 0` of data M; or an expression, which is added to the scores R; or an array of
    truths (or zeros and ones), or of numbers to add, -inf where a query may not see a key. With `causal` each place sees itself and those before it,
    of what the mask allows. A query that may see no key gets zeros: its row of S is empty. The nodes are called R_k, S_k and H_k, with `name` for k,
    or the number of the attention; an array is kept as the constant state M_k (numbers to add as B_k).
    Raises `ShapeError` where the axes do not fit, `NetworkError` or `DataError` for what is no mask. Source: Vaswani et al. 2017, equation 1 and
    section 3.2.3.
    """
    q, k, v = (as_expression(x, f"{letter} of attention") for letter, x in zip("qkv", (q, k, v), strict=True))
    shapes = [shape_of(x) for x in (q, k, v)]
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-1] or shapes[1][-2] != shapes[2][-2]:
        found = ", ".join(f"{letter} {show(shape)}" for letter, shape in zip("qkv", shapes, strict=True))
        raise ShapeError(f"attention: found {found}; expected q (.., n, d), k (.., m, d) and v (.., m, e), with the same d and the same m")
    name = name or next_number("node", "S", q, k, v, beside="R M B" if is_array(mask) else "R")
    return _attention(q, k, v, _seen(mask, causal, name, _scores(shapes[0], shapes[1], "attention"), "attention"), name)


def _attention(q: sp.Expr, k: sp.Expr, v: sp.Expr, mask: Any, name: str) -> Tensor:
    scores = node(f"R_{name}", einsum("...id,...jd->...ij", q, k) / sp.sqrt(shape_of(q)[-1]))
    return node(f"H_{name}", matmul(node(f"S_{name}", softmax(applied(scores, mask))), v))


def _scores(q: Shape, k: Shape, layer: str) -> Shape:
    """(.., queries, keys)."""
    try:
        return (*broadcast(q[:-2], k[:-2]), q[-2], k[-2])
    except ShapeError:
        raise ShapeError(f"{layer}: the queries have shape {show(q)} and the keys {show(k)}; the axes before the last two, the batch, must fit") from None


def _seen(mask: Any, causal: bool, name: str, scores: Shape, layer: str) -> Any:
    """The mask, and that no place sees those behind it where that is wanted."""
    mask = as_mask(mask, name, scores, layer)
    return both(mask, positions(scores[-2])[:, None] >= positions(scores[-1])) if causal else mask


@checked()
def multi_head_attention(x: Any, heads: int, context: Any = None, mask: Any = None, causal: bool = False, name: str | None = None) -> Tensor:
    """Attention by several heads, each on its own projections of `x` and `context`, joined and projected once more.

    Shapes: x (.., n, units), context (.., m, inputs), the result (.., n, units); leading axes are a batch. Without `context` the places of x see
    one another: self-attention. Head h has the columns from h units/heads on of each projection. `mask` is as in `attention`, on (.., n, m),
    the same for all heads, and so is `causal`. The projections are `dense` layers with the weights
    W_Q_k, W_K_k, W_V_k and W_O_k and biases, the heads the nodes Q_k, K_k, V_k, R_k, S_k and H_k, with `name` for k, or the number of
    the attention; the result is the node Z_O_k. Raises `ShapeError` where `heads` does not divide `units`, and errors of masks as `attention` does.
    Source: Vaswani et al. 2017, section 3.2.2.
    """
    if isinstance(heads, sp.Basic):
        raise NetworkError(
            f"multi_head_attention: heads is the expression {heads}; expected an integer. Queries are made from x, keys and values from the context: "
            "write multi_head_attention(x, 2), or multi_head_attention(x, 2, context=y)"
        )
    x = as_expression(x, "x of multi_head_attention")
    context = x if context is None else as_expression(context, "context of multi_head_attention")
    for what, y in (("x", x), ("the context", context)):
        if rank_of(y) < 2 or not isinstance(shape_of(y)[-1], int):
            raise ShapeError(f"multi_head_attention: {what} has shape {show(shape_of(y))}; expected (.., places, units), where units is an integer")
    units = shape_of(x)[-1]
    if isinstance(heads, bool) or not isinstance(heads, int) or heads < 1 or units % heads:
        raise ShapeError(f"multi_head_attention: {heads!r} heads for {units} units; the number of heads must be a positive divisor of the units")
    name = name or next_number("node", "S", x, context, beside="Q K V R H M B" if is_array(mask) else "Q K V R H")
    seen = _seen(mask, causal, name, _scores(shape_of(x), shape_of(context), "multi_head_attention"), "multi_head_attention")
    q, k, v = (node(f"{letter}_{name}", _split(dense(y, units, name=f"{letter}_{name}"), heads)) for letter, y in (("Q", x), ("K", context), ("V", context)))
    return dense(_joined(_attention(q, k, v, for_heads(seen), name)), units, name=f"O_{name}")


@checked()
def positional_encoding(size: Any, units: int) -> sp.Expr:
    """The sinusoidal encoding of places, a constant of shape (size, units) to be added to what stands at them.

    Entry (i, j) is sin(i/10000^(j/units)) for even j and cos(i/10000^((j - 1)/units)) for odd j. `size` is an integer or a dimension,
    which may be open. Raises `ShapeError` where `units` is not a positive integer. Source: Vaswani et al. 2017, section 3.5.
    """
    if isinstance(units, bool) or not isinstance(units, int) or units < 1:
        raise ShapeError(f"positional_encoding({size}, {units!r}): the number of units must be a positive integer")
    i, j = positions(as_dimension(size))[:, None], positions(units)
    odd = sp.Mod(j, 2)
    angle = i * sp.Integer(10000) ** ((odd - j) / units)
    return sp.Piecewise((sp.sin(angle), sp.Eq(odd, 0)), (sp.cos(angle), True))


def _split(y: sp.Expr, heads: int) -> sp.Expr:
    """(.., n, heads d) as (.., heads, n, d)."""
    *batch, n, units = shape_of(y)
    parts = reshape(y, (*batch, n, heads, units // heads))
    return transpose(parts, [*range(len(batch)), -2, -3, -1])


def _joined(y: sp.Expr) -> sp.Expr:
    """(.., heads, n, d) as (.., n, heads d)."""
    *batch, heads, n, each = shape_of(y)
    return reshape(transpose(y, [*range(len(batch)), -2, -3, -1]), (*batch, n, heads * each))
