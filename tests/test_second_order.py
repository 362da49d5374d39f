"""Optimizers that use curvature, against the methods written out once more in NumPy with JAX's derivatives."""

import dataclasses
import importlib.util
import itertools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import sympy as sp

import symbackprop as sbp
from symbackprop.training import second_order

SIZES = (2, 4, 2)


def perceptron(loss="mse"):
    return sbp.mlp(SIZES, "tanh", loss=loss)


def point(net, seed=0):
    return {name: np.array(w) for name, w in net.trainer(sbp.SGD(lr=1), seed=seed).weights.items()}


def samples(n=12, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 2))
    return {"X": X, "T": np.column_stack([np.sin(X[:, 0]), X[:, 0] * X[:, 1]])}


def output(w, X):
    return jnp.tanh(X @ w["W_1"] + w["b_1"]) @ w["W_2"] + w["b_2"]


def squared(w, X, T):
    return jnp.mean((output(w, X) - T) ** 2)


class Flat:
    """JAX's derivatives of a function of weights, all weights in one vector."""

    def __init__(self, weights, function):
        self.start = {name: jnp.asarray(w) for name, w in weights.items()}
        self.vector, self.unravel = jax.flatten_util.ravel_pytree(self.start)
        self.value = lambda v: function(self.unravel(v))
        self.gradient, self.hessian, self.jacobian = (f(self.value) for f in (jax.grad, jax.hessian, jax.jacobian))


def trained(net, optimizer, start, data, steps):
    trainer = net.trainer(optimizer, weights=start)
    losses = [trainer.step(**data) for _ in range(steps)]
    return trainer, losses


def assert_same(trainer, flat, vector, rtol=1e-9):
    for name, expected in flat.unravel(vector).items():
        np.testing.assert_allclose(trainer.weights[name], expected, rtol=rtol, atol=1e-11)


# --- Newton and Gauss-Newton ----------------------------------------------------------------------------------------------


def test_newton_solves_a_quadratic_problem_in_one_step():
    x, t = sbp.data("x", ("n", 3)), sbp.data("t", ("n",))
    net = sbp.Network(sbp.node("C", sbp.mse(x @ sbp.weight("w", (3,)) + sbp.weight("b"), t)))
    rng = np.random.default_rng(0)
    data = {"x": rng.normal(size=(9, 3)), "t": rng.normal(size=9)}
    trainer, _ = trained(net, sbp.Newton(), {"w": rng.normal(size=3), "b": 2.0}, data, 1)
    best = np.linalg.lstsq(np.column_stack([data["x"], np.ones(9)]), data["t"], rcond=None)[0]
    np.testing.assert_allclose([*trainer.weights["w"], trainer.weights["b"]], best, rtol=1e-12)


def test_newton_steps_are_those_of_jax():
    net, data = perceptron(), samples()
    start = point(net)
    flat = Flat(start, lambda w: squared(w, **data))
    vector, expected = flat.vector, []
    for _ in range(4):
        expected.append(float(flat.value(vector)))
        vector = vector - 0.7 * jnp.linalg.solve(flat.hessian(vector) + 0.5 * jnp.eye(len(vector)), flat.gradient(vector))
    trainer, losses = trained(net, sbp.Newton(lr=0.7, damping=0.5), start, data, 4)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    assert_same(trainer, flat, vector)


def gauss_newton_matrix(flat, predictions, v):
    jacobian = jax.jacobian(lambda v: predictions(flat.unravel(v)).ravel())(v)
    return 2 / jacobian.shape[0] * jacobian.T @ jacobian


def test_gauss_newton_steps_are_those_of_jax_and_count_a_penalty():
    net, data = perceptron(), samples()
    penalised = sbp.Network(sbp.node("L", net.loss + 0.1 * sbp.sum(net.weights["W_1"] ** 2)), output=net.output)
    start = point(net)
    flat = Flat(start, lambda w: squared(w, **data) + 0.1 * jnp.sum(w["W_1"] ** 2))
    curvature = jnp.diag(flat.gradient(flat.unravel and jnp.ones_like(flat.vector)) * 0) + jnp.diag(
        jax.flatten_util.ravel_pytree({n: jnp.full_like(w, 0.2 if n == "W_1" else 0.0) for n, w in flat.start.items()})[0]
    )
    vector = flat.vector
    for _ in range(4):
        g_matrix = gauss_newton_matrix(flat, lambda w: output(w, data["X"]), vector) + curvature
        vector = vector - jnp.linalg.solve(g_matrix + 1e-3 * jnp.eye(len(vector)), flat.gradient(vector))
    trainer, _ = trained(penalised, sbp.GaussNewton(damping=1e-3), start, data, 4)
    assert_same(trainer, flat, vector, 1e-8)


def logistic(bias):
    X, t = sbp.data("X", ("n", 2)), sbp.data("t", "n")
    z = sbp.node("z", X @ sbp.weight("w", 2) + sbp.weight("b", bias))
    net = sbp.Network(sbp.node("C", sbp.binary_cross_entropy_with_logits(z, t)), output=z)
    return net, {"t": np.arange(12.0) % 2}, lambda z, t: jnp.mean(jax.nn.softplus(z) - t * z)


def of_classes(labels):
    X, t = sbp.data("X", ("n", 2)), sbp.data("t", "n") if labels else sbp.data("t", ("n", 3))
    z = sbp.node("z", X @ sbp.weight("w", (2, 3)) + sbp.weight("b", 3))
    net = sbp.Network(sbp.node("C", sbp.cross_entropy(z, t)), output=z)
    coded = np.eye(3)[np.arange(12) % 3]
    data = {"t": np.arange(12) % 3 if labels else coded}
    return net, data, lambda z, t: jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.sum(coded * z, axis=1))


CLASSIFIERS = {
    "logistic, scalar bias": lambda: logistic(()),
    "logistic, bias of one entry": lambda: logistic((1,)),
    "softmax, labels": lambda: of_classes(True),
    "softmax, one-hot rows": lambda: of_classes(False),
}


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("make", CLASSIFIERS.values(), ids=CLASSIFIERS)
@pytest.mark.parametrize("optimizer", [sbp.Newton(damping=0.5), sbp.GaussNewton(damping=0.5)], ids=lambda o: type(o).__name__)
def test_steps_on_cross_entropies_are_those_of_jax(optimizer, make, precise):
    """Their loss is rewritten where the gradient alone is wanted; the step's gradient is that of which the curvature is made. The network is linear,
    so the Gauss-Newton matrix is the Hessian."""
    net, target, loss = make()
    X, start = samples()["X"], point(net)
    flat = Flat(start, lambda w: loss(X @ w["w"] + w["b"], target["t"]))
    vector = flat.vector
    for _ in range(3):
        vector = vector - jnp.linalg.solve(flat.hessian(vector) + 0.5 * jnp.eye(len(vector)), flat.gradient(vector))
    trainer = net.trainer(optimizer, weights=start, precise=precise)
    for _ in range(3):
        trainer.step(X=X, **target)
    assert_same(trainer, flat, vector)


def test_two_equations_of_a_step_with_one_name_are_found():
    net = perceptron()
    from symbackprop.codegen.program import training_program

    program = training_program(net.system, sbp.SGD(lr=1).prepared(net.system)[1])
    with pytest.raises(AssertionError, match="two equations of a step are called"):
        dataclasses.replace(program, equations=[*program.equations, program.equations[0]._replace()])


# --- Levenberg-Marquardt --------------------------------------------------------------------------------------------------


def marquardt(flat, data, steps, mu, factor=10.0):
    """The method of the docstring. Returns the last weights, the losses before each update, how many steps were not taken."""
    vector, losses, rejected = flat.vector, [], 0
    for _ in range(steps):
        losses.append(float(flat.value(vector)))
        matrix = gauss_newton_matrix(flat, lambda w: output(w, data["X"]), vector)
        trial = vector - jnp.linalg.solve(matrix + mu * jnp.eye(len(vector)), flat.gradient(vector))
        if float(flat.value(trial)) <= losses[-1]:
            vector, mu = trial, mu / factor
        else:
            mu, rejected = mu * factor, rejected + 1
    return vector, losses, rejected


def test_levenberg_marquardt_takes_and_rejects_the_same_steps():
    net, data = perceptron(), samples()
    start = point(net, seed=3)
    flat = Flat(start, lambda w: squared(w, **data))
    vector, expected, rejected = marquardt(flat, data, 12, 1e-6)
    assert 0 < rejected < 10
    trainer, losses = trained(net, sbp.LevenbergMarquardt(damping=1e-6), start, data, 12)
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    assert_same(trainer, flat, vector, 1e-6)


def test_levenberg_marquardt_ends_where_scipy_ends():
    """An exponential decay, the textbook's problem."""
    x, t = sbp.data("x", ("n",)), sbp.data("t", ("n",))
    a, k = sbp.weight("a"), sbp.weight("k")
    y = sbp.node("y", a * sp.exp(-k * x))
    net = sbp.Network(sbp.node("C", sbp.mse(y, t)), output=y)
    xs = np.linspace(0, 3, 20)
    ts = 2.5 * np.exp(-1.3 * xs) + 0.05 * np.sin(20 * xs)
    trainer = net.trainer(sbp.LevenbergMarquardt(), weights={"a": 1.0, "k": 0.1})
    history = trainer.fit({"x": xs, "t": ts}, epochs=40)
    best = scipy.optimize.least_squares(lambda p: p[0] * np.exp(-p[1] * xs) - ts, [1.0, 0.1], method="lm", xtol=1e-15, ftol=1e-15).x
    np.testing.assert_allclose([trainer.weights["a"], trainer.weights["k"]], best, rtol=1e-7)
    assert min(history.loss) == pytest.approx(np.mean((best[0] * np.exp(-best[1] * xs) - ts) ** 2), rel=1e-9)


# --- K-FAC ------------------------------------------------------------------------------------------------------------------


def kfac(weights, data, steps, lr, damping, decay):
    """Sections 2 and 3 of the paper for two layers, with the samples' gradients one by one."""
    w = {name: jnp.asarray(value) for name, value in weights.items()}
    n = len(data["X"])
    factors = {}
    for count in range(1, steps + 1):
        beta = min(1 - 1 / count, decay)
        hidden = jnp.tanh(data["X"] @ w["W_1"] + w["b_1"])

        def from_logits(shifts, w=w):
            z = jnp.tanh(data["X"] @ w["W_1"] + w["b_1"] + shifts[0]) @ w["W_2"] + w["b_2"] + shifts[1]
            return jnp.mean((z - data["T"]) ** 2)

        deltas = jax.grad(from_logits)((jnp.zeros((n, SIZES[1])), jnp.zeros((n, SIZES[2]))))
        new = {}
        for layer, rows in ((1, data["X"]), (2, hidden)):
            rows = np.column_stack([rows, np.ones(n)])
            each = n * np.asarray(deltas[layer - 1])  # of one sample's own loss
            a = sum(np.outer(r, r) for r in rows) / n
            b = sum(np.outer(d, d) for d in each) / n
            old = factors.get(layer, (np.eye(len(a)), np.eye(len(b))))
            factors[layer] = a, b = beta * old[0] + (1 - beta) * a, beta * old[1] + (1 - beta) * b
            pi = np.sqrt((np.trace(a) / len(a) + damping) / (np.trace(b) / len(b) + damping))
            g = rows.T @ each / n
            step = np.linalg.inv(a + pi * np.sqrt(damping) * np.eye(len(a))) @ g @ np.linalg.inv(b + np.sqrt(damping) / pi * np.eye(len(b)))
            new[f"W_{layer}"], new[f"b_{layer}"] = w[f"W_{layer}"] - lr * step[:-1], w[f"b_{layer}"] - lr * step[-1]
        w = new
    return w


def test_kfac_steps_are_those_of_the_paper():
    net, data = perceptron(), samples()
    start = point(net)
    expected = kfac(start, data, 5, 0.05, 0.01, 0.6)
    trainer, _ = trained(net, sbp.KFAC(lr=0.05, damping=0.01, decay=0.6), start, data, 5)
    for name, w in expected.items():
        np.testing.assert_allclose(trainer.weights[name], w, rtol=1e-9, atol=1e-12)


def test_kfac_without_its_second_factor_is_found(monkeypatch):
    net, data = perceptron(), samples()
    start = point(net)
    solve = second_order.solve
    calls = iter(range(100))
    monkeypatch.setattr(second_order, "solve", lambda a, b: solve(a, b) if next(calls) % 2 == 0 else b)
    trainer, _ = trained(net, sbp.KFAC(lr=0.05, damping=0.01, decay=0.6), start, data, 2)
    assert not np.allclose(trainer.weights["W_1"], kfac(start, data, 2, 0.05, 0.01, 0.6)["W_1"], rtol=1e-3)


# --- all of them --------------------------------------------------------------------------------------------------------------

ALL = {
    "newton": sbp.Newton(lr=0.5, damping=0.3),
    "gauss newton": sbp.GaussNewton(damping=0.1),
    "levenberg marquardt": sbp.LevenbergMarquardt(damping=1e-3),
    "kfac": sbp.KFAC(lr=0.05),
}


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_the_generated_module_makes_the_same_updates(optimizer, tmp_path):
    net, data = perceptron(), samples()
    start = point(net)
    path = tmp_path / "generated.py"
    path.write_text(net.generate("numpy", optimizer))
    spec = importlib.util.spec_from_file_location("generated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = module.initialize() | {name: w.copy() for name, w in start.items()}
    state = module.initialize_state(weights)
    trainer, losses = trained(net, optimizer, start, data, 4)
    np.testing.assert_allclose([module.update(weights, state, **data) for _ in range(4)], losses, rtol=1e-10)
    for name, w in trainer.weights.items():
        np.testing.assert_allclose(weights[name], w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_a_run_is_resumed_bit_for_bit(optimizer, tmp_path):
    net, data = perceptron(), samples()
    trainer, _ = trained(net, optimizer, point(net), data, 3)
    trainer.save(tmp_path / "run.npz")
    resumed = sbp.Trainer.load(tmp_path / "run.npz")
    assert repr(resumed.optimizer) == repr(optimizer)
    assert [trainer.step(**data) for _ in range(3)] == [resumed.step(**data) for _ in range(3)]
    assert all(np.array_equal(trainer.weights[name], resumed.weights[name]) for name in net.weights)


@pytest.mark.parametrize("optimizer", ALL.values(), ids=ALL)
def test_what_the_optimizer_keeps_is_not_among_the_weights(optimizer):
    net = perceptron()
    trainer = net.trainer(optimizer)
    assert set(trainer.weights) == set(net.weights)
    assert r"\theta" in optimizer.latex() or "W &" in optimizer.latex()
    with pytest.raises(sbp.UnsupportedError, match="no rule for one weight"):
        optimizer.equations()


def test_curvature_trains_in_fewer_updates_than_gradients():
    net, data = perceptron(), samples(60)
    start = point(net)
    plain = trained(net, sbp.Adam(lr=0.01), start, data, 60)[1][-1]
    assert min(trained(net, sbp.LevenbergMarquardt(), start, data, 60)[1]) < plain / 10
    assert trained(net, sbp.KFAC(lr=0.3, damping=1e-3), start, data, 60)[1][-1] < plain / 2


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: sbp.Newton(lr=1 / sp.Symbol("t")), sbp.NetworkError, "schedules are for"),
        (lambda: sbp.Newton(damping=-1), sbp.NetworkError, "damping"),
        (lambda: sbp.LevenbergMarquardt(factor=0.5), sbp.NetworkError, "factor"),
        (lambda: perceptron().trainer(sbp.GaussNewton(output="Q")), sbp.NetworkError, "'Q' is not in the network; it has"),
        (lambda: perceptron().derivation(optimizer=sbp.Newton()), sbp.UnsupportedError, "no rule for one weight"),
    ],
)
def test_bad_settings_are_named(make, error, says):
    with pytest.raises(error, match=says):
        make()


def test_networks_that_do_not_fit_are_refused():
    x, w = sbp.data("x", (3,)), sbp.weight("w", (3,))
    single = sbp.Network(sbp.node("C", sbp.sum((w * x) ** 2)))
    with pytest.raises(sbp.NetworkError, match="describes one sample"):
        single.trainer(sbp.Newton())
    x = sbp.data("x", ("n", 3))
    recurrent = sbp.Network(sbp.node("C", sbp.mean(sbp.rnn(sbp.data("S", ("n", 3, 2)), 2)[0] ** 2)))
    with pytest.raises(sbp.UnsupportedError, match="use GaussNewton"):
        recurrent.trainer(sbp.KFAC())
    scaled = sbp.Network(sbp.node("C", sbp.mean((sbp.dense(x, 2) * sbp.weight("gain", (2,))) ** 2)))
    with pytest.raises(sbp.UnsupportedError, match="gain is not the weight or bias of exactly one fully connected layer"):
        scaled.trainer(sbp.KFAC())


# --- what goes wrong ----------------------------------------------------------------------------------------------------------


def decay(k=-3.0):
    """y = a e^(k x): the first full step from here makes k so large that e^(k x) overflows."""
    x, t = sbp.data("x", ("n",)), sbp.data("t", ("n",))
    y = sbp.node("y", sbp.weight("a") * sp.exp(sbp.weight("k") * x))
    net = sbp.Network(sbp.node("C", sbp.mse(y, t)), output=y)
    xs = np.linspace(0, 20, 15)
    return net, {"a": np.array(0.1), "k": np.array(k)}, {"x": xs, "t": 2 * np.exp(0.1 * xs)}


def check_a_trial_that_overflows():
    net, start, data = decay()
    full, _ = trained(net, sbp.GaussNewton(damping=1e-9), start, data, 1)
    with np.errstate(over="ignore"):
        assert not np.isfinite(full.loss(**data))  # so the first trial cannot be taken
    trainer = net.trainer(sbp.LevenbergMarquardt(damping=1e-9), weights=start)
    first = trainer.loss(**data)
    assert trainer.step(**data) == first
    assert all(trainer.weights[name] == w for name, w in start.items())
    losses = trainer.fit(data, epochs=60).loss
    assert losses[0] == first
    assert all(later <= earlier for earlier, later in itertools.pairwise(losses))
    np.testing.assert_allclose([trainer.weights["a"], trainer.weights["k"]], [2, 0.1], rtol=1e-8)


def test_a_trial_that_overflows_counts_as_worse():
    check_a_trial_that_overflows()


def test_a_trial_that_is_taken_all_the_same_is_found(monkeypatch):
    monkeypatch.setattr(second_order, "_elsewhere", lambda loss, weights, name: loss - 1)
    with pytest.raises((AssertionError, sbp.TrainingDivergedError)):
        check_a_trial_that_overflows()


def test_the_generated_update_rejects_an_overflow_too(run_module):
    net, start, data = decay()
    module = run_module(net.generate("numpy", sbp.LevenbergMarquardt(damping=1e-9)))
    weights = module["initialize"]() | {name: w.copy() for name, w in start.items()}
    with np.errstate(over="ignore"):
        module["update"](weights, module["initialize_state"](weights), **data)
    assert all(weights[name] == w for name, w in start.items())
    assert weights["mu"] == pytest.approx(1e-8)


def test_a_matrix_without_full_rank_does_not_end_a_run():
    """The second weight has no effect, and the damping falls with every update."""
    x, t = sbp.data("x", ("n",)), sbp.data("t", ("n",))
    y = sbp.node("y", sbp.weight("a") * x + 0 * x * sbp.weight("c") ** 2 + sbp.relu(sbp.weight("c") - 5))
    net = sbp.Network(sbp.node("C", sbp.mse(y, t)), output=y)
    xs = np.linspace(0, 1, 7)
    trainer = net.trainer(sbp.LevenbergMarquardt(), weights={"a": 0.0, "c": 1.0})
    trainer.fit({"x": xs, "t": 3 * xs}, epochs=400)
    np.testing.assert_allclose([trainer.weights["a"], trainer.weights["c"]], [3, 1], rtol=1e-10)


@pytest.mark.parametrize("how", ["step", "fit"])
@pytest.mark.parametrize("case", ["singular", "not finite"])
@pytest.mark.parametrize("optimizer", [sbp.Newton(), sbp.GaussNewton(damping=0), sbp.LevenbergMarquardt()], ids=lambda o: type(o).__name__)
def test_a_matrix_that_cannot_be_solved_with_is_one_clear_error(optimizer, case, how):
    """Two weights of which only the sum matters; and a weight of which the loss is finite and its second derivative is not."""
    x = sbp.data("x", ("n",))
    if case == "singular":
        y, start = sbp.node("y", (sbp.weight("a") + sbp.weight("b")) * x), {"a": 1.0, "b": 2.0}
    else:
        y, start = sbp.node("y", sbp.weight("a") * x), {"a": 1e-190}
    net = sbp.Network(sbp.node("C", sbp.mean(y**2)), output=y)
    trainer = net.trainer(optimizer, weights=start)
    data = {"x": np.array([1.0, 2.0]) * (1 if case == "singular" else 1e200)}
    if case == "singular" and isinstance(optimizer, sbp.LevenbergMarquardt):
        trainer.step(**data)  # what damping is for
        return
    with pytest.raises(sbp.TrainingDivergedError, match=f"{type(optimizer).__name__}: the linear equations of update 1 .* raise the damping"):
        trainer.step(**data) if how == "step" else trainer.fit(data, epochs=3)
    assert dict(trainer.weights) == start
    assert trainer.steps == 0


def test_compiled_code_is_refused_in_the_users_words():
    pytest.importorskip("numba")
    X, T = sbp.data("X", ("n", 2)), sbp.data("T", ("n", 1))
    net = sbp.Network(sbp.node("C", sbp.mean((sbp.node("y", X @ sbp.weight("W", (2, 1))) - T) ** 2)))
    for optimizer in (sbp.Newton(), sbp.GaussNewton(), sbp.LevenbergMarquardt(), sbp.KFAC()):
        with pytest.raises(sbp.UnsupportedError, match=r"solves linear equations.*use backend='numpy'"):
            net.trainer(optimizer, backend="numba").fit({"X": np.eye(2), "T": np.ones((2, 1))}, epochs=1)
