"""Random networks. Each is written twice while it is drawn, once in symbackprop and once in PyTorch, and both must agree in loss and
gradients; so must every way in which this package computes an update."""

import itertools
import warnings

import numpy as np
import pytest
import sympy as sp
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

import symbackprop as sbp

# Functions of moderate growth, so that deep compositions stay in range: (SymPy or symbackprop, PyTorch).
UNARY = [
    (sp.tanh, torch.tanh),
    (sp.sin, torch.sin),
    (sp.atan, torch.atan),
    (sp.erf, torch.erf),
    (sbp.sigmoid, torch.sigmoid),
    (sbp.softplus, functional.softplus),
    (sbp.relu, functional.relu),
    (sbp.gelu, functional.gelu),
    (sbp.silu, functional.silu),
    (sbp.elu, functional.elu),
    (sbp.leaky_relu, functional.leaky_relu),
    (sp.Abs, torch.abs),
    (lambda x: -x, lambda x: -x),
    (lambda x: 1 - x / 2, lambda x: 1 - x / 2),
    (lambda x: 1.5 * x + 0.25, lambda x: 1.5 * x + 0.25),
    (lambda x: sp.exp(-(x**2)), lambda x: torch.exp(-(x**2))),
    (lambda x: sp.sqrt(1 + x**2), lambda x: torch.sqrt(1 + x**2)),
    (lambda x: sp.log(1 + x**2), lambda x: torch.log(1 + x**2)),
    (lambda x: x / (1 + x**2), lambda x: x / (1 + x**2)),
    # Written naively, and compared with what is computed stably.
    (lambda x: 1 / (1 + sp.exp(-x)), torch.sigmoid),
    (lambda x: sp.log(1 + sp.exp(x)), functional.softplus),
    (lambda x: sp.log(sbp.sigmoid(x)), functional.logsigmoid),
    (lambda x: sp.log(1 - sbp.sigmoid(x)), lambda x: functional.logsigmoid(-x)),
    (lambda x: sbp.sigmoid(x) * (1 - sbp.sigmoid(x)), lambda x: torch.sigmoid(x) * torch.sigmoid(-x)),
    (lambda x: 1 - sp.tanh(x) ** 2, lambda x: torch.cosh(x) ** -2),
    (lambda x: 1 - sp.erf(x), torch.erfc),
    (lambda x: sp.exp(sp.sin(x)) - 1, lambda x: torch.expm1(torch.sin(x))),
    (lambda x: sp.Piecewise((x**2 / 2, sp.Abs(x) < 1), (sp.Abs(x), True)), lambda x: torch.where(x.abs() < 1, x**2 / 2, x.abs())),
]
BINARY = [
    (lambda x, y: x + y, lambda x, y: x + y),
    (lambda x, y: x - 2 * y, lambda x, y: x - 2 * y),
    (lambda x, y: x * sp.tanh(y), lambda x, y: x * torch.tanh(y)),
    (lambda x, y: sp.sin(x) * sp.cos(y) - x, lambda x, y: torch.sin(x) * torch.cos(y) - x),
    (lambda x, y: x / (1 + y**2), lambda x, y: x / (1 + y**2)),
    (lambda x, y: sp.Max(x, y), torch.maximum),
    (lambda x, y: sp.Min(x, 1 - y), lambda x, y: torch.minimum(x, 1 - y)),
    (lambda x, y: (1 + x**2) ** sp.tanh(y), lambda x, y: (1 + x**2) ** torch.tanh(y)),
    (lambda x, y: sp.atan2(x, 1 + y**2), lambda x, y: torch.atan2(x, 1 + y**2)),
    (lambda x, y: sp.Piecewise((x, x > y), (y**2 / (1 + y**2), True)), lambda x, y: torch.where(x > y, x, y**2 / (1 + y**2))),
]
REDUCTIONS = [
    (lambda v: sbp.sum(v, axis=-1, keepdims=True), lambda v: v.sum(-1, keepdim=True)),
    (lambda v: sbp.mean(v, axis=-1, keepdims=True), lambda v: v.mean(-1, keepdim=True)),
    (lambda v: sbp.max(v, axis=-1, keepdims=True), lambda v: v.amax(-1, keepdim=True)),
    (lambda v: sbp.min(v, axis=-1, keepdims=True), lambda v: v.amin(-1, keepdim=True)),
    (lambda v: sbp.logsumexp(v, axis=-1, keepdims=True), lambda v: torch.logsumexp(v, -1, keepdim=True)),
]
ALONG_AXIS = [
    (sbp.softmax, torch.softmax),
    (sbp.log_softmax, torch.log_softmax),
    (lambda v, axis: v - sbp.mean(v, axis=axis, keepdims=True), lambda v, axis: v - v.mean(axis, keepdim=True)),
]


class Twin:
    """A value in both languages: a SymPy expression, and a function from the arrays to PyTorch's tensor."""

    def __init__(self, expr, evaluate):
        self.expr = expr
        self.evaluate = evaluate

    @property
    def shape(self):
        return sbp.node("h", self.expr).shape

    def then(self, pair, *others):
        ours, reference = pair
        values = [self, *others]
        return Twin(ours(*(v.expr for v in values)), lambda a: reference(*(v.evaluate(a) for v in values)))


def variable(tensor):
    return Twin(tensor, lambda a: a[tensor.name])


class Drawing:
    """Draws a network. `pool` holds the values so far, each with the batch's axes in front; `weights` those made so far."""

    def __init__(self, draw):
        self.draw = draw
        self.weights = []
        self.pool = []
        self.names = (f"h_{i}" for i in itertools.count(1))

    def one_of(self, choices):
        return self.draw(st.sampled_from(choices))

    def weight(self, shape):
        """A new weight, or one of the same shape used again, or one of the transposed shape, transposed."""
        kind = self.one_of(["new", "same", "transposed"])
        same = [w for w in self.weights if w.shape == shape]
        turned = [w for w in self.weights if len(shape) == 2 and w.shape == shape[::-1]]
        if kind == "same" and same:
            return variable(self.one_of(same))
        if kind == "transposed" and turned:
            return variable(self.one_of(turned)).then((sbp.transpose, torch.t))
        self.weights.append(sbp.weight(f"w_{len(self.weights) + 1}", shape))
        return variable(self.weights[-1])

    def named(self, value):
        return Twin(sbp.node(next(self.names), value.expr), value.evaluate)

    # --- steps: from a value to a value ---------------------------------------------------------------------------------

    def dense(self, x):
        z = x.then((sbp.matmul, torch.matmul), self.weight((x.shape[-1], self.draw(st.integers(1, 4)))))
        bias = self.one_of([None, (z.shape[-1],), (1,), ()])
        return z if bias is None else z.then(BINARY[0], self.weight(bias))

    def unary(self, x):
        return x.then(self.one_of(UNARY))

    def binary(self, x):
        fitting = [v for v in self.pool if not x.shape or v.shape[-1] in (1, x.shape[-1]) or x.shape[-1] == 1]
        return x.then(self.one_of(BINARY), self.one_of(fitting))

    def gain(self, x):
        return x.then(self.one_of(BINARY), self.weight(self.one_of([(x.shape[-1],), (1,), ()]) if x.shape else ()))

    def reduced(self, x):
        """A reduction over the features, which stay as an axis of size one; sometimes its distance from x."""
        r = x.then(self.one_of(REDUCTIONS))
        return x.then(BINARY[1], r) if self.draw(st.booleans()) else r

    def along_an_axis(self, x):
        """What keeps the shape, along any axis, the batch's too."""
        axis = self.draw(st.integers(-len(x.shape), -1))
        ours, reference = self.one_of(ALONG_AXIS)
        return x.then((lambda v: ours(v, axis), lambda v: reference(v, axis)))

    def sliced(self, x):
        start = self.draw(st.integers(0, x.shape[-1] - 1))
        cut = slice(start, self.draw(st.integers(start + 1, x.shape[-1])), self.draw(st.integers(1, 2)))
        return self.named(x).then((lambda v: v[..., cut], lambda v: v[..., cut]))

    def joined(self, x):
        """Side by side with an earlier value, as long as that stays small."""
        fitting = [v for v in self.pool if v.shape[:-1] == x.shape[:-1] and v.shape[-1] + x.shape[-1] <= 8]
        join = (lambda v, w: sbp.concatenate([v, w], axis=-1), lambda v, w: torch.cat([v, w], dim=-1))
        return x.then(join, self.one_of(fitting)) if fitting else x

    def gram(self, x):
        """The features as a matrix M, then M Mᵀ as features again: reshape, a batched product, reshape."""
        rows, columns = {4: (2, 2), 6: (2, 3)}.get(x.shape[-1], (1, x.shape[-1]))

        def ours(v):
            M = sbp.reshape(v, (*x.shape[:-1], rows, columns))
            return sbp.reshape(sbp.einsum("...ik,...jk->...ij", M, M), (*x.shape[:-1], rows * rows))

        def reference(v):
            M = v.reshape(*v.shape[:-1], rows, columns)
            return (M @ M.mT).flatten(-2)

        return x.then((ours, reference))

    # --- the whole ------------------------------------------------------------------------------------------------------

    def loss(self, steps, depth):
        """Some random steps, each named or left inside the next, and a loss that has a weight in it for certain."""
        for _ in range(depth):
            value = self.one_of(steps)(self.one_of(self.pool[-3:]))
            # SymPy itself recurses without end over some conditions that hold a Piecewise, so that one always gets a name.
            self.pool.append(self.named(value) if self.draw(st.booleans()) or value.expr.has(sp.Piecewise) else value)
        last = self.pool[-1]
        score = last.then(
            (lambda v, w: sbp.mean(sp.tanh(v * w) + v * w / 10), lambda v, w: (torch.tanh(v * w) + v * w / 10).mean()),
            self.weight(last.shape[-1:]),
        )
        decay = (lambda c, w: c + sbp.mean(w**2) / 3, lambda c, w: c + (w**2).mean() / 3)
        return score.then(decay, variable(self.one_of(self.weights))) if self.draw(st.booleans()) else score

    def network(self, batch):
        features = self.draw(st.integers(1, 4))
        self.pool = [variable(sbp.data("X", (*batch, features)))]
        steps = [self.dense, self.dense, self.unary, self.unary, self.binary, self.gain, self.reduced, self.along_an_axis]
        loss = self.loss([*steps, self.sliced, self.joined, self.gram], self.draw(st.integers(1, 8)))
        return sbp.Network(sbp.node("C", loss.expr)), loss.evaluate, (features,)

    def scalar_network(self):
        self.pool = [variable(x) for x in sbp.data("x t")]
        loss = self.loss([self.unary, self.binary, self.gain], self.draw(st.integers(1, 8)))
        return sbp.Network(sbp.node("C", loss.expr)), loss.evaluate


@st.composite
def networks(draw, batch):
    """(network, the same in PyTorch, weights, the shape of a sample)"""
    drawing = Drawing(draw)
    net, evaluate, sample = drawing.network(batch)
    return net, evaluate, drawn_weights(draw, net), sample


@st.composite
def scalar_networks(draw):
    """(network, the same in PyTorch, weights)"""
    net, evaluate = Drawing(draw).scalar_network()
    return net, evaluate, drawn_weights(draw, net)


def drawn_weights(draw, net):
    rng = np.random.default_rng([draw(st.integers(0, 2**32 - 1)), 1])  # never the numbers of the data: ties have no one gradient
    return {name: rng.uniform(-1.5, 1.5, w.shape) for name, w in net.weights.items()}


def samples(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1.5, 1.5, shape)


def read_by(net, data):
    """The part of the data that the network reads: SymPy may have cancelled the rest."""
    return {name: value for name, value in data.items() if name in net.data}


@given(network=networks(("n",)))
def test_one_batch_dimension(network, agrees):
    net, evaluate, weights, sample = network
    agrees(net, lambda **a: evaluate(a), weights, read_by(net, {"X": samples((5, *sample))}))


@given(network=networks(("n", "m")))
def test_two_batch_dimensions(network, agrees):
    net, evaluate, weights, sample = network
    agrees(net, lambda **a: evaluate(a), weights, read_by(net, {"X": samples((4, 3, *sample))}))


def mean_over_samples(evaluate):
    """The mean of the losses of single samples, one at a time."""

    def loss(**a):
        data = {name: a.pop(name) for name in ("X", "x", "t") if name in a}
        count = len(next(iter(data.values())))
        return torch.stack([evaluate({**a, **{name: value[i] for name, value in data.items()}}) for i in range(count)]).mean()

    return loss


@given(network=networks(()))
def test_single_sample_lifted_to_a_batch(network, agrees):
    net, evaluate, weights, sample = network
    data = read_by(net, {"X": samples((4, *sample))})
    if data:
        agrees(net, mean_over_samples(evaluate), weights, data)
    one = {name: value[0] for name, value in data.items()}
    agrees(net, lambda **a: evaluate(a), weights, one)


@given(network=scalar_networks())
def test_network_of_scalars(network, agrees):
    """A batch runs in arrays, one sample on plain floats."""
    net, evaluate, weights = network
    data = read_by(net, {"x": samples(4), "t": samples(4, seed=1)})
    if data:
        agrees(net, mean_over_samples(evaluate), weights, data)
    one = {name: value[0] for name, value in data.items()}
    agrees(net, lambda **a: evaluate(a), weights, one)


@given(network=networks(("n",)))
def test_second_derivatives(network, agrees):
    """The slope along a direction is a network of its own; its gradient is a product with the Hessian."""
    net, evaluate, weights, sample = network
    rng = np.random.default_rng(7)
    v = {name: rng.uniform(-1, 1, value.shape) for name, value in weights.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sbp.ZeroGradientWarning)
        directions = {name: sbp.weight(f"v_{name}", value.shape) for name, value in v.items()}
        slope = sum(sbp.sum(net.gradients[name].symbol * d) for name, d in directions.items())
    product = sbp.Network(sbp.node("s", slope))
    values = weights | {f"v_{name}": value for name, value in v.items()}
    fixed = {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}

    def reference(**a):
        a = fixed | a
        ws = [a[name] for name in weights]
        found = torch.autograd.grad(evaluate(a), ws, create_graph=True, allow_unused=True, materialize_grads=True)
        return sum((g * a[f"v_{name}"]).sum() for name, g in zip(weights, found, strict=True))

    agrees(product, reference, {name: values[name] for name in product.weights}, read_by(product, {"X": samples((5, *sample))}))


# Every optimizer, and every branch of its rule. The eps are not tiny, so that a gradient that is zero but for rounding stays harmless.
OPTIMIZERS = [
    sbp.SGD(lr=0.1),
    sbp.SGD(lr=0.1, momentum=0.9),
    sbp.SGD(lr=0.1, momentum=0.9, dampening=0.5, weight_decay=0.01),
    sbp.SGD(lr=0.1, momentum=0.9, nesterov=True),
    sbp.SGD(lr=0.1 / (1 + sp.Symbol("t")), weight_decay=0.1),
    sbp.Adam(lr=0.1, eps=1e-3),
    sbp.Adam(lr=0.1, eps=1e-3, weight_decay=0.1, amsgrad=True),
    sbp.AdamW(lr=0.1, eps=1e-3),
    sbp.RMSprop(lr=0.1, eps=1e-3),
    sbp.RMSprop(lr=0.1, eps=1e-1, centered=True, momentum=0.5, weight_decay=0.1),
    sbp.Adagrad(lr=0.1, eps=1e-3),
    sbp.Adagrad(lr=0.1, eps=1e-3, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1),
]


@pytest.fixture(scope="session")
def same_path(close, run_module):
    """Train on some batches with the generated module and with the trainer: the same losses and weights all along."""

    def compare(net, weights, optimizer, batches):
        module = run_module(net.generate("numpy", optimizer=optimizer))
        updated = {name: np.array(value) for name, value in weights.items()}
        state = module["initialize_state"](updated)
        trainer = net.trainer(optimizer, weights=weights)
        for data in batches:
            close(trainer.step(**data), module["update"](updated, state, **data), what="the loss")
            for name, value in updated.items():
                close(trainer.weights[name], value, what=name)

    return compare


@given(network=networks(("n",)), optimizer=st.sampled_from(OPTIMIZERS))
def test_training_step_is_the_generated_update(network, optimizer, same_path):
    """Batches of two sizes, each with buffers of its own, in turn."""
    net, _, weights, sample = network
    batches = [read_by(net, {"X": samples((size, *sample), seed)}) for seed, size in enumerate([5, 2, 5])]
    same_path(net, weights, optimizer, batches)


@given(network=scalar_networks(), optimizer=st.sampled_from(OPTIMIZERS))
def test_training_step_on_floats_is_the_generated_update(network, optimizer, same_path):
    net, _, weights = network
    batches = [read_by(net, {"x": samples((), seed), "t": samples((), 10 + seed)}) for seed in range(3)]
    same_path(net, weights, optimizer, batches)
    batches = [read_by(net, {"x": samples(size, seed), "t": samples(size, 10 + seed)}) for seed, size in enumerate([3, 1, 3])]
    same_path(net, weights, optimizer, batches)
