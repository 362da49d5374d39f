"""What `net.stability()` says is true: its arguments are values that the network can meet, its worst places are what it claims, and what cancels is told
from what is a defect."""

from dataclasses import replace

import mpmath
import numpy as np
import pytest
import sympy as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import symbackprop as sbp
from symbackprop.audit.disturbed import BUILTINS, Disturbed, lifted
from symbackprop.audit.forms import Entry, judged, taken_apart
from symbackprop.audit.passes import Passes, inputs_of
from symbackprop.audit.precision import ulps
from symbackprop.audit.sized import SIZE, sized
from symbackprop.audit.stability import moved_adjoints
from symbackprop.audit.truth import Truth
from symbackprop.calculus.stabilise import computed
from symbackprop.codegen.load import load_source
from symbackprop.graph.equations import tensors_in
from symbackprop.graph.operators.scan import Scan


def attention():
    A = sbp.multi_head_attention(sbp.data("X", ("n", 2, 2)), heads=2, causal=True)
    return sbp.mean(A**2)


def lstm():
    return sbp.mse(sbp.lstm(sbp.data("X", ("n", 2, 2)), 1)[0][:, -1], sbp.data("T", ("n", 1)))


def gru():
    return sbp.mse(sbp.gru(sbp.data("X", ("n", 2, 2)), 1)[0][:, -1], sbp.data("T", ("n", 1)))


def dropout():
    return sbp.mse(sbp.dense(sbp.dropout(sbp.dense(sbp.data("X", ("n", 3)), 3, "relu"), 0.2), 2), sbp.data("T", ("n", 2)))


def batch_norm():
    return sbp.mse(sbp.batch_norm(sbp.data("X", ("n", 2))), sbp.data("T", ("n", 2)))


def classifier():
    return sbp.cross_entropy(sbp.dense(sbp.data("X", ("n", 3)), 3), sbp.data("k", ("n",)))


def logistic():
    return sbp.binary_cross_entropy(sbp.dense(sbp.data("X", ("n", 2)), 1, "sigmoid"), sbp.data("t", ("n", 1)))


def derivative_in_the_loss():
    x = sbp.data("x", ("n", 1))
    u = sbp.node("u", sbp.dense(sbp.dense(x, 2, "tanh"), 1))
    return sbp.mean((sbp.derivative(u, x) + u) ** 2)


LOSSES = (attention, lstm, gru, dropout, batch_norm, classifier, logistic, derivative_in_the_loss)


def network(build):
    return sbp.Network(sbp.node("C", build()))


@pytest.fixture(scope="module")
def reports():
    made = {}

    def report(build):
        if build not in made:
            net = network(build)
            made[build] = net, net.stability(samples=6)
        return made[build]

    return report


# --- the values that an equation is measured at --------------------------------------------------------------------------------


def passes_of(net, samples=2):
    stable = computed(net.system).system
    written, finals = ({t.name: e for t, e in system.equations} for system in (net.system, stable))
    forms = {n: finals.get(n, e) for n, e in written.items()}
    at, (small, _) = sized(forms, written, defined=[*net.system.tensors, *stable.tensors])
    return Passes(inputs_of(net.system, at, list(written.values())), small, samples, seed=0)


@pytest.mark.parametrize("build", LOSSES, ids=lambda build: build.__name__)
def test_the_values_of_a_pass_are_those_of_the_network(build):
    net = network(build)
    compared = 0
    for values in passes_of(net).values:
        with np.errstate(all="ignore"):
            if np.isfinite(values["C"]):
                wanted, _ = net.value_and_gradients({w.name: values[w.name] for w in net.system.weights}, **{d.name: values[d.name] for d in net.system.data})
                assert values["C"] == pytest.approx(wanted, rel=1e-14)
                compared += 1
    assert compared >= 10


def within(found, low, high):
    return [values for values in found if np.isfinite(values).all() and not ((values >= low) & (values <= high)).all()]


@pytest.mark.parametrize(
    ("build", "name", "low", "high"),
    [(attention, "S_1", 0, 1), (dropout, "M_1", 0, 1), (batch_norm, "v_1", 0, np.inf), (logistic, "A_1", 0, 1), (logistic, "t", 0, 1), (classifier, "k", 0, 2)],
)
def test_what_has_a_range_stays_in_it(build, name, low, high):
    passes = passes_of(network(build), samples=9)
    found = [values[name] for values in passes.values]
    assert not within(found, low, high)
    assert within([*found, np.array([-1e301])], low, high)
    if name == "S_1":
        sums = np.array([v["S_1"].sum(axis=-1) for v in passes.values if np.isfinite(v["R_1"]).all()])
        np.testing.assert_allclose(sums, 1, rtol=1e-15)
    if name in ("M_1", "k"):
        assert set(np.unique(found)) == set(range(high + 1))


@pytest.mark.parametrize("build", [lstm, gru])
def test_the_steps_of_a_recurrence_have_the_values_of_the_unrolled_one(build):
    cell = sbp.lstm if build is lstm else sbp.gru
    net = network(build)
    scan = next(e for _, e in net.system.equations if isinstance(e, Scan))
    other = sbp.Network(sbp.node("C", sbp.mse(cell(sbp.data("X", ("n", 2, 2)), 1, unroll=True)[0][:, -1], sbp.data("T", ("n", 1)))))
    for values in passes_of(net).values[:9]:
        given_values = {x.name: values[x.name] for x in (*net.system.data, *net.system.weights)}
        if all(np.abs(x).max() < 1e3 for x in given_values.values()):
            steps = values[f"{scan.body.name}.{scan.body.news[0].name}"]
            wanted, _ = other.value_and_gradients({w.name: values[w.name] for w in other.system.weights}, X=values["X"], T=values["T"])
            assert np.mean((steps[-1] - values["T"]) ** 2) == pytest.approx(wanted, rel=1e-9)


def test_arguments_are_as_different_as_there_are():
    net = sbp.Network(sbp.node("C", sp.tanh(sbp.weight("w"))))
    passes = passes_of(net, samples=30)
    sizes = [np.frexp(abs(values["w"]))[1] for values in passes.different(["w"], 40, np.random.default_rng(0))]
    assert len(set(sizes)) >= 30
    assert min(sizes) < -900
    assert max(sizes) > 900
    assert sum(abs(s) <= 12 for s in sizes) >= 10


# --- what the report claims ----------------------------------------------------------------------------------------------------


def rebuilt(expr, leaves):
    """The expression of a row, with weights, or data if they are labels, in the place of what it is a function of."""
    sizes = {d: sp.Integer(SIZE) for t in tensors_in(expr) | {expr} for d in t.free_symbols | set(getattr(t, "shape", ())) if isinstance(d, sbp.Dim)}
    table = dict(sizes)
    for t in sorted(tensors_in(expr), key=lambda t: t.order):
        if t.name in leaves:
            table[t] = (sbp.data if np.asarray(leaves[t.name]).dtype.kind == "i" else sbp.weight)(t.name, np.shape(leaves[t.name]))
        else:
            table[t] = sbp.node(t.name, rebuilt(t.definition, leaves))
    return expr.xreplace(table)


def hold(found, place):
    """The true value of a place by the public evaluator, the error from it, and what is found by the generated module of this equation alone."""
    at = {n: np.array(x) for n, x in place.at.items()}
    form = rebuilt(found.after, place.at)
    exact = np.array(sbp.evaluate(form, at, 900), dtype=object)[place.entry]
    with mpmath.workdps(60):
        assert abs(exact - place.true) <= abs(exact) * mpmath.mpf(10) ** -15 + mpmath.mpf(10) ** -400
    if np.isfinite(place.found) and abs(exact) < 1e300:
        assert place.ulps == pytest.approx(ulps(place.found, exact), rel=1e-6, abs=1e-9)
    y = sbp.node("y", form)
    module = load_source(sbp.Network(sbp.node("loss", sbp.sum(y)), output=y).generate("numpy"), "row")
    weights = {n: x for n, x in at.items() if x.dtype.kind == "f"}
    with np.errstate(all="ignore"):
        again = np.asarray(module.predict(weights, **{n: x for n, x in at.items() if n not in weights}))[place.entry]
    assert float(again) == pytest.approx(place.found, rel=1e-13, nan_ok=True)


def places(report):
    """The worst places of every row, but for those of the steps of a recurrence, whose placeholders have no definition."""
    return [(f, place) for f in report.findings.values() if f.now is not None and "." not in f.name for place in (f.now.place, f.now.relative)]


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_a_claimed_place_of_a_layer_is_what_it_is_said_to_be(reports, data):
    _, report = reports(data.draw(st.sampled_from(LOSSES)))
    hold(*data.draw(st.sampled_from(places(report))))


ACTIVATIONS = (None, "tanh", "sigmoid", "relu", "gelu", "silu", "mish", "softplus", "softsign", "elu", "hard_sigmoid", sp.sin, lambda z: sp.exp(-(z**2)))
NORMS = (lambda x: x, sbp.layer_norm, sbp.rms_norm, lambda x: sbp.node("S", sbp.softmax(x)), lambda x: sbp.dropout(x, 0.3))
ENDS = (sbp.mse, sbp.huber, sbp.cross_entropy, sbp.cosine_loss, sbp.binary_cross_entropy_with_logits, lambda y, t: sbp.mean(sp.log(1 + sp.exp(-t * y))))


@settings(max_examples=6, deadline=None)
@given(st.integers(1, 3), st.integers(2, 3), st.sampled_from(ACTIVATIONS), st.sampled_from(NORMS), st.sampled_from(ENDS), st.data())
def test_a_claimed_place_of_a_random_network_is_what_it_is_said_to_be(inputs, units, activation, norm, end, data):
    y = norm(sbp.dense(sbp.data("X", ("n", inputs)), units, activation))
    report = sbp.Network(sbp.node("C", end(y, sbp.data("T", ("n", units))))).stability(samples=2, seed=data.draw(st.integers(0, 99)))
    hold(*data.draw(st.sampled_from(places(report))))


def test_a_wrong_claim_is_found(reports):
    """Planted: another number found, another true value, another error."""
    _, report = reports(classifier)
    found = report["Z_1"]
    place = next(p for f, p in places(report) if f is found and p.ulps > 0)
    hold(found, place)
    for wrong in ({"found": place.found * (1 + 1e-12)}, {"true": place.true * (1 + mpmath.mpf(10) ** -14)}, {"ulps": place.ulps + 0.01}):
        with pytest.raises(AssertionError):
            hold(found, replace(place, **wrong))


@pytest.mark.parametrize("build", LOSSES, ids=lambda build: build.__name__)
def test_no_layer_is_accused_of_values_that_it_never_meets(reports, build):
    _, report = reports(build)
    broken = [f.name for f in report.findings.values() if f.now is not None and f.now.broken]
    assert not broken, report


def test_a_planted_defect_behind_a_layer_is_found():
    """A power that is beyond the range of floats, divided by itself: the layer before it can be as large as it likes."""
    H = sbp.node("H", sbp.layer_norm(sbp.dense(sbp.data("X", ("n", 3)), 3)))
    Q = sbp.node("Q", sp.sqrt(1 + H**6) / (1 + sp.Abs(H) ** 3))
    report = sbp.Network(sbp.node("C", sbp.sum(Q))).stability(samples=15)
    assert report["Q"].now.broken
    assert "Q" in report.defects


@pytest.mark.parametrize("build", [lambda w: sbp.sum(w**3), lambda w: 2 * sbp.mean(w), lambda w: sbp.mean((w - 1) ** 2)])
def test_a_result_beyond_the_range_of_floats_is_no_defect(build):
    w = sbp.weight("w", (3,))
    report = sbp.Network(sbp.node("C", build(w))).stability(samples=30)
    assert report.ok, report
    assert not report.defects


def test_what_is_infinite_where_the_true_value_is_not_is_a_defect():
    w = sbp.weight("w")
    found = sbp.Network(sbp.node("C", sp.sqrt(1 + w**6) / (1 + sp.Abs(w) ** 3))).stability(samples=30)["C"]
    assert found.now.broken
    assert found.is_defect
    assert not found.cancels
    assert found.verdict.startswith("not finite")
    assert f"and {found.now.place.found!r} is found" in str(found)


def test_numbers_below_the_smallest_normal_one_are_measured_by_their_own_spacing():
    true = mpmath.mpf(2) ** -1070 * mpmath.mpf("1.03125")  # between two neighbours
    assert ulps(2.0**-1070, true) == 0.5
    assert ulps(0.0, mpmath.mpf(2) ** -1075) == 0.5
    assert judged(Entry({}, (), np.inf, mpmath.mpf(10) ** 310, 0.0), lambda: None) == (0, 0, 0)


def test_a_nearly_sure_label_cancels_and_the_report_says_so():
    """With logits (40, 0) the loss is log(1 + e^-40) = 4.25e-18, and what is computed from 40 and 40 is 0."""
    z, t = sbp.data("z", (2,)), sbp.data("t", (2,))
    form = -sbp.sum(t * z) + sp.log(sbp.sum(sp.exp(z)))
    point = {"z": np.array([40.0, 0.0]), "t": np.array([1.0, 0.0])}
    truth = Truth(form)
    exact = truth.at(point, ())
    with mpmath.workdps(30):
        assert abs(exact - mpmath.log1p(mpmath.exp(-40))) < 1e-40
    plainly, _, in_terms = judged(Entry(point, (), 0.0, exact, ulps(0.0, exact)), lambda: truth.change(point, ()))
    assert plainly > 1e15
    assert in_terms == pytest.approx(float(exact) * 2**52 / 40, rel=1e-6)
    w = sbp.weight("w")
    naive = sbp.Network(sbp.node("C", sp.atan(w + 1) - sp.atan(w))).stability(samples=30)
    assert naive["C"].cancels
    assert not naive["C"].is_defect
    assert naive.cancelling[0] == "C"
    assert "terms of a sum cancel: C" in repr(naive)
    assert "of its largest term" in str(naive["C"])
    assert not naive.ok


def test_a_bar_shows_the_progress(capsys):
    sbp.Network(sbp.node("C", sp.tanh(sbp.weight("w")))).stability(samples=1, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_sums_of_inputs_that_cancel_are_shown_and_are_right():
    X, T = sbp.data("X", ("n", 3)), sbp.data("T", ("n", 3))
    report = sbp.Network(sbp.node("C", sbp.mean((X * sbp.weight("w", (3,)) - T) ** 2))).stability(samples=60)
    assert report.ok
    a = sbp.weight("a", (3,))
    found = sbp.Network(sbp.node("C", sbp.sum(a))).stability(samples=60)["C"]
    assert found.ok
    assert found.cancels == ("sums of inputs cancel" in str(found))


# --- numbers that remember how they were made ---------------------------------------------------------------------------------


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(-9, 9).filter(bool), min_size=3, max_size=3), st.sampled_from([sp.exp, sp.tanh, sp.sin, lambda x: x**3, lambda x: 1 / x]))
def test_disturbances_are_derivatives(numbers, function):
    """What they add up to, against SymPy's own derivatives."""
    x = sp.symbols("x:3", real=True)
    inner = x[0] * x[1] - x[2]
    form = function(inner / 7 + sp.Rational(1, 3)) * x[2]
    at = {s: sp.Integer(v) for s, v in zip(x, numbers, strict=True)}
    if (inner / 7 + sp.Rational(1, 3)).subs(at) == 0:
        return
    with mpmath.workdps(60):
        named = sp.lambdify(x, form, modules=[{"exp": lifted(mpmath.exp), "tanh": lifted(mpmath.tanh), "sin": lifted(mpmath.sin)}, "mpmath"])
        made = named(*(Disturbed(mpmath.mpf(v), [], excused=abs(mpmath.mpf(v))) for v in numbers))
        wanted = sum(abs(form.diff(s).subs(at) * s.subs(at)) for s in x)
        assert float(Disturbed.of(made).changes()[0]) == pytest.approx(float(sp.N(wanted, 30)), rel=1e-12)


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(-9, 9).filter(bool), min_size=2, max_size=30))
def test_the_disturbances_of_a_sum(numbers):
    total = BUILTINS.sum(Disturbed(mpmath.mpf(v), []) for v in numbers)
    excused, largest = total.changes()
    terms = sum(map(abs, numbers))
    assert excused == terms - abs(sum(numbers)) + terms * mpmath.mpf(max(len(numbers) - 9, 0)) / 8
    assert largest == max(max(map(abs, numbers)), excused)
    assert BUILTINS.sum(numbers) == sum(numbers)


# --- what is taken apart ------------------------------------------------------------------------------------------------------


def test_nodes_are_taken_apart_until_both_forms_read_the_same():
    z, y, a, g = (sbp.data(name) for name in "zyag")
    written = {"z": y * 2, "a": sp.tanh(z), "d": g * (1 - a**2)}
    assert taken_apart("d", written, {**written, "d": g * sp.sech(z) ** 2})[0] == {"a": sp.tanh(z)}
    assert taken_apart("d", written, written) == ({}, {})
    both = {**written, "d": g * a * (1 - a**2)}
    assert taken_apart("d", both, {**both, "d": g * a * sp.sech(z) ** 2})[0] == {"a": sp.tanh(z)}  # a is read by both, and made of z


def test_an_adjoint_that_is_another_one_in_the_computed_system_is_known():
    """Where a second derivative reads z in the place of a, the slope of a is without that path; gradients of weights are the same."""
    net = network(derivative_in_the_loss)
    stable = computed(net.system)
    moved = moved_adjoints(net.system, stable)
    assert moved == {"dC_dA_1"}
    assert not moved_adjoints(sbp.mlp([2, 3, 1], "tanh", loss="mse").system, computed(sbp.mlp([2, 3, 1], "tanh", loss="mse").system))
