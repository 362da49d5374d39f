"""Recurrent layers: the simple (Elman) network, the LSTM and the GRU, over sequences of vectors.

Every weight is one parameter of PyTorch's layer of the same name, transposed: `W` is `weight_ih_l0.T`, `U` is `weight_hh_l0.T`, with the gates side by
side in PyTorch's order. The biases of the simple network and the LSTM are PyTorch's `bias_ih_l0 + bias_hh_l0`, which only ever act as that sum; of
the GRU `b` is `bias_ih_l0` and `c` is `bias_hh_l0`.
"""

from collections.abc import Sequence
from inspect import Parameter, Signature, signature
from typing import Any

import sympy as sp

from symbackprop.errors import ShapeError
from symbackprop.graph.arguments import checked
from symbackprop.graph.equations import collect
from symbackprop.graph.functions import sigmoid
from symbackprop.graph.operators.layout import broadcast_to, reshape
from symbackprop.graph.operators.positions import positions
from symbackprop.graph.operators.products import matmul, transpose
from symbackprop.graph.recurrence import scan
from symbackprop.graph.shapes import rank_of, shape_of, show
from symbackprop.graph.tensor import Tensor, as_expression, node, weight
from symbackprop.layers.activations import ACTIVATIONS, choose


@checked()
def rnn(
    x: Any,
    units: int,
    activation: Any = "tanh",
    initial: Any = None,
    name: str | None = None,
    *,
    lengths: Any = None,
    reverse: bool = False,
    unroll: bool = False,
) -> tuple[Tensor, sp.Expr]:
    """The simple recurrent layer: h_t = activation(x_t W + h_{t-1} U + b). Returns the sequence of states and the last one.

    `x` has shape (n, T, features), or (T, features) for one sample; the sequence (n, T, units), the last state (n, units). `initial`: the state before
    the first step, zeros unless given, of a shape that broadcasts to (n, units). `activation`: a name or a function of one expression.
    `lengths`: how many steps of each sample are its own, data of shape (n,) that hold integers from 0 to T: the padding behind them leaves the state
    as it is, so that the last state is that of the sample's own last step, and that of an empty sequence the initial one. `reverse`: from the last
    time to the first; a bidirectional layer is `concatenate([rnn(x, 4, name="f")[0], rnn(x, 4, name="b", reverse=True)[0]], axis=-1)`.
    `unroll`: as in `scan`.
    The weights are `W_<name>` (features, units), `U_<name>` (units, units), `b_<name>` (units,).
    Raises `ShapeError` where `x` is no sequence of vectors, or the initial state or the lengths have another shape.

    Source: Elman, "Finding structure in time" (1990); Goodfellow, Bengio & Courville, Deep Learning, equations 10.8 and 10.9;
    Schuster & Paliwal, "Bidirectional recurrent neural networks" (1997).
    """
    layer = _Layer("rnn", x, units, name, lengths)
    apply = choose(activation, ACTIVATIONS, "activation")
    W, U, b = layer.weights(1)

    def step(h: Any, x: Any) -> Any:
        z = node("z_t", matmul(x, W) + matmul(h, U) + b)
        return layer.state("h", z if apply is None else apply(z))

    H, (last,) = layer.run(step, [initial], reverse, unroll)
    return H, last


@checked()
def lstm(
    x: Any, units: int, initial: Any = None, name: str | None = None, *, lengths: Any = None, reverse: bool = False, unroll: bool = False
) -> tuple[Tensor, tuple[sp.Expr, sp.Expr]]:
    """Long short-term memory with a forget gate. Returns the sequence of states h and the last pair (h, c).

    z_t = x_t W + h_{t-1} U + b holds the gates side by side: i_t, f_t, o_t = sigmoid and g_t = tanh of their parts of z_t, in the order i, f, g, o;
    then c_t = f_t c_{t-1} + i_t g_t and h_t = o_t tanh(c_t). `x` has shape (n, T, features), or (T, features) for one sample; the sequence
    (n, T, units). `initial`: the pair (h, c) before the first step, zeros unless given. `lengths`, `reverse`, `unroll`: as in `rnn`. The weights
    are `W_<name>` (features, 4 units), `U_<name>` (units, 4 units), `b_<name>` (4 units,). Raises `ShapeError` where shapes do not fit.

    Source: Hochreiter & Schmidhuber, "Long short-term memory" (1997); the forget gate of Gers, Schmidhuber & Cummins (2000).
    """
    layer = _Layer("lstm", x, units, name, lengths)
    W, U, b = layer.weights(4)

    def step(h: Any, c: Any, x: Any) -> Any:
        z = node("z_t", matmul(x, W) + matmul(h, U) + b)
        i, f, g, o = layer.gates(z, 4)
        i, f = node("i_t", sigmoid(i)), node("f_t", sigmoid(f))
        g, o = node("g_t", sp.tanh(g)), node("o_t", sigmoid(o))
        c = layer.state("c", f * c + i * g)
        return layer.state("h", o * sp.tanh(c)), c

    starts = (None, None) if initial is None else initial
    if not isinstance(starts, Sequence) or len(starts) != 2:
        raise ShapeError(f"lstm: the initial state is {initial!r}; expected the pair (h, c)")
    H, (h, c) = layer.run(step, list(starts), reverse, unroll)
    return H, (h, c)


@checked()
def gru(
    x: Any, units: int, initial: Any = None, name: str | None = None, *, lengths: Any = None, reverse: bool = False, unroll: bool = False
) -> tuple[Tensor, sp.Expr]:
    """The gated recurrent unit. Returns the sequence of states and the last one.

    With v_t = x_t W + b and u_t = h_{t-1} U + c, in parts r, z, n side by side: r_t and z_t are sigmoids of the sums of their parts,
    n_t = tanh(v_n + r_t u_n), and h_t = (1 - z_t) n_t + z_t h_{t-1}. The reset gate acts after the product with U, as in PyTorch, and not before it,
    as in the paper. `x`, `initial`, `lengths`, `reverse`, `unroll` and the shapes are as in `rnn`. The weights are `W_<name>` (features, 3 units),
    `U_<name>` (units, 3 units), `b_<name>` and `c_<name>` (3 units,). Raises `ShapeError` where shapes do not fit.

    Source: Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation" (2014), section 2.3.
    """
    layer = _Layer("gru", x, units, name, lengths)
    W, U, b = layer.weights(3)
    d = weight(f"c_{layer.name}", (3 * units,), init="zeros")

    def step(h: Any, x: Any) -> Any:
        v, u = node("v_t", matmul(x, W) + b), node("u_t", matmul(h, U) + d)
        (v_r, v_z, v_n), (u_r, u_z, u_n) = layer.gates(v, 3), layer.gates(u, 3)
        r, z = node("r_t", sigmoid(v_r + u_r)), node("z_t", sigmoid(v_z + u_z))
        n = node("n_t", sp.tanh(v_n + r * u_n))
        return layer.state("h", (1 - z) * n + z * h)

    H, (last,) = layer.run(step, [initial], reverse, unroll)
    return H, last


class _Layer:
    """What the recurrent layers have in common: sequences by samples outside, by time inside."""

    def __init__(self, kind: str, x: Any, units: int, name: str | None, lengths: Any) -> None:
        self.x = as_expression(x, kind)
        if rank_of(self.x) not in (2, 3) or not isinstance(shape_of(self.x)[-1], int):
            raise ShapeError(
                f"{kind}({x}, {units}): x has shape {show(shape_of(self.x))}; expected (n, T, features), or (T, features) for one sample, "
                "with an integer number of features"
            )
        if isinstance(units, bool) or not isinstance(units, int) or units < 1:
            raise ShapeError(f"{kind}({x}, {units!r}): the number of units must be a positive integer")
        self.kind, self.units = kind, units
        self.shape = (*shape_of(self.x)[:-2], units)  # of a state
        before = collect([s for s in self.x.free_symbols if isinstance(s, Tensor)])
        count = sum(t.role == "weight" and (t.name == f"U_{kind}" or t.name.startswith(f"U_{kind}_")) for t in before)
        self.name = name or (kind if not count else f"{kind}_{count + 1}")
        self.lengths = None if lengths is None else as_expression(lengths, f"lengths of {kind} {self.name!r}")
        if self.lengths is not None and shape_of(self.lengths) != self.shape[:-1]:
            found = f"{kind} {self.name!r}: the lengths {self.lengths} have shape {show(shape_of(self.lengths))}"
            raise ShapeError(f"{found}; expected {show(self.shape[:-1])}, the number of steps of each sample")

    def weights(self, gates: int) -> tuple[Tensor, Tensor, Tensor]:
        width = gates * self.units
        W = weight(f"W_{self.name}", (shape_of(self.x)[-1], width), init="glorot_uniform")
        U = weight(f"U_{self.name}", (self.units, width), init="glorot_uniform")
        return W, U, weight(f"b_{self.name}", (width,), init="zeros")

    def gates(self, z: Tensor, count: int) -> list[sp.Expr]:
        """The parts of a vector that holds so many gates side by side."""
        return [z[..., k * self.units : (k + 1) * self.units] for k in range(count)]

    def state(self, letter: str, value: sp.Expr) -> Tensor:
        """What a step makes of a state: it, or where there is padding, the candidate for it, as h with a tilde."""
        return node(f"{letter}_t" if self.lengths is None else f"{letter}tilde_t", value)

    def run(self, step: Any, initial: Sequence[Any], reverse: bool, unroll: bool) -> tuple[Tensor, tuple[sp.Expr, ...]]:
        """The states of all times, and the last ones."""
        starts = [self._start(sp.S.Zero if h is None else as_expression(h, self.kind)) for h in initial]
        batched = len(self.shape) > 1
        sequences = [transpose(self.x, (1, 0, 2)) if batched else self.x]
        if self.lengths is not None:
            sequences.append(positions(shape_of(self.x)[-2]))
            step = self._masked(step)
        found = scan(step, sequences, starts, self.name, reverse=reverse, unroll=unroll)
        states = found.states[0]
        return node(f"H_{self.name}", transpose(states, (1, 0, 2)) if batched else states), found.last

    def _start(self, h: sp.Expr) -> sp.Expr:
        try:
            return broadcast_to(h, self.shape)
        except ShapeError:
            message = f"{self.kind} {self.name!r}: the initial state {h} has shape {show(shape_of(h))}; expected {show(self.shape)}"
            raise ShapeError(message) from None

    def _masked(self, step: Any) -> Any:
        """A step that leaves the states of a sample as they are where the sample has no step k of its own."""
        assert self.lengths is not None
        own = reshape(self.lengths, (*self.shape[:-1], 1)) if len(self.shape) > 1 else self.lengths

        def masked(*given: Any) -> Any:
            *states, x, k = given
            news = step(*states, x)
            pairs = zip(news if isinstance(news, tuple) else [news], states, strict=True)
            return [node(f"{new.name.removesuffix('tilde_t')}_t", sp.Piecewise((new, k < own), (old, True))) for new, old in pairs]

        named = [*signature(step).parameters.values(), Parameter("k", Parameter.POSITIONAL_OR_KEYWORD)]
        vars(masked)["__signature__"] = Signature(named)  # from which a scan takes the names
        return masked


__all__ = ["gru", "lstm", "rnn"]
