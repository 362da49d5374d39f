"""The chart of a history: its points are read back off the axes that it draws, as a reader with a ruler would."""

import base64
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

import symbackprop as sbp
from symbackprop.training import chart

SVG = "{http://www.w3.org/2000/svg}"


def number(label):
    """A label as a number: 0.5, −2, 10⁻⁴ or 2·10⁶."""
    plain = label.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻−", "0123456789--"))
    found = re.fullmatch(r"(-?)(?:([\d.]+)·)?10([⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+)", label.replace("−", "-"))
    if not found:
        return float(plain)
    sign, mantissa, exponent = found.groups()
    return float(f"{sign}{mantissa or 1}e{exponent.translate(str.maketrans('⁰¹²³⁴⁵⁶⁷⁸⁹⁻', '0123456789-'))}")


def read(svg):
    """What a reader sees: (the picture, its lines as points, epochs and values, whether the axis is logarithmic, its span)."""
    root = ElementTree.fromstring(svg)
    texts = list(root.iter(f"{SVG}text"))
    ticks = {kind: [(float(e.get(kind)), number(e.text)) for e in texts if e.get("class") == kind] for kind in "xy"}
    places = np.array([(p - 4, v) for p, v in ticks["y"]])  # a label's baseline is 4 below its line
    across = np.array(ticks["x"])
    logarithmic = len(places) > 2 and not np.allclose(np.diff(places[:, 1]), np.diff(places[:, 1])[0], rtol=1e-6)
    scaled = np.log10(places[:, 1]) if logarithmic else places[:, 1]
    slope, start = np.polyfit(places[:, 0], scaled, 1)
    np.testing.assert_allclose(slope * places[:, 0] + start, scaled, atol=1e-3 * np.ptp(scaled))  # the labels stand where they say
    lines = {}
    for line in root.iter(f"{SVG}polyline"):
        points = np.array([[float(c) for c in p.split(",")] for p in line.get("points").split()])
        values = slope * points[:, 1] + start
        epochs = np.interp(points[:, 0], across[:, 0], across[:, 1]) if len(across) > 1 else np.full(len(points), across[0, 1])
        lines.setdefault(line.get("class"), []).append((points, epochs, 10**values if logarithmic else values))
    return root, lines, logarithmic, np.ptp(scaled)


def assert_reads_as(svg, *expected):
    """Every line of the chart, read off its axes, has the expected values within half a pixel; it stays inside the picture."""
    root, lines, logarithmic, span = read(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    assert len(lines) == len(expected)
    for parts, losses in zip(lines.values(), expected, strict=True):
        ((points, epochs, values),) = parts
        assert np.all(np.diff(points[:, 0]) > 0)
        assert points.min() >= 0
        assert np.all(points.max(axis=0) <= (width, height))
        np.testing.assert_allclose(epochs, np.arange(1, len(losses) + 1), atol=len(losses) / 400)
        found, wanted = (np.log10(values), np.log10(losses)) if logarithmic else (values, np.array(losses))
        np.testing.assert_allclose(found, wanted, atol=span / 400)


LOSSES = {
    "few": [1.1, 0.6, 0.433, 0.35, 0.3, 0.2667],
    "nearly equal": [100 - k / 100 for k in range(7)],
    "large": [1.2e6, 2.5e6, 3.4e6],
    "negative": [-1.0, -2.5, -3.75, -4.0],
    "tiny": [3e-9, 2e-9, 2.5e-9],
    "constant": [0.3, 0.3, 0.3],
    "zero": [0.0, 0.0],
    "two decades": [60.0, 1.1, 1.0],
    "seven decades": [10 * math.exp(-k / 20) + 1e-6 for k in range(400)],
    "forty decades": [10.0 ** -(k / 5) for k in range(200)],
    "one epoch": [0.5],
}


@pytest.mark.parametrize("name", LOSSES)
def test_the_values_are_those_on_the_axes(name):
    losses = LOSSES[name]
    assert_reads_as(sbp.History(losses).svg(), losses)
    assert read(sbp.History(losses).svg())[2] == (name.endswith("decades"))


def test_two_lines_share_the_axes():
    training, validation = [1.0, 0.5, 0.25, 0.2], [1.5, 0.9, 0.7, 0.8]
    assert_reads_as(sbp.History(training, validation).svg(), training, validation)


def test_a_point_out_of_place_is_seen():
    losses = LOSSES["few"]
    svg = sbp.History(losses).svg()
    x, y = re.search(r'points="[^"]* ([\d.]+),([\d.]+) ', svg).groups()
    for wrong in (f"{x},{float(y) + 2:.2f}", f"{float(x) + 2:.2f},{y}"):
        with pytest.raises(AssertionError):
            assert_reads_as(svg.replace(f"{x},{y}", wrong), losses)
    with pytest.raises(AssertionError):
        assert_reads_as(svg, [*losses[:-1], losses[-1] + 0.01])
    label = re.search(r'class="y"[^>]*>([^<]+)<', svg)[1]
    with pytest.raises(AssertionError):
        assert_reads_as(svg.replace(f">{label}<", f">{float(label) + 0.1}<"), losses)


def test_labels_do_not_touch_and_are_few():
    for losses in LOSSES.values():
        root, *_ = read(sbp.History(losses).svg())
        rows = sorted(float(e.get("y")) for e in root.iter(f"{SVG}text") if e.get("class") == "y")
        assert 2 <= len(rows) <= 14
        assert np.diff(rows).min() >= 12


def test_a_long_run_keeps_its_extremes_and_its_ends():
    rng = np.random.default_rng(0)
    losses = list(5 + rng.random(20_000))
    losses[7_001], losses[13_003] = 4.0, 7.0
    (((points, _, values),),) = read(sbp.History(losses).svg())[1].values()
    assert len(points) <= chart.MANY + 2
    assert np.all(np.diff(points[:, 0]) >= 0)
    np.testing.assert_allclose([values.min(), values.max(), values[0], values[-1]], [4.0, 7.0, losses[0], losses[-1]], atol=0.01)


def test_a_loss_that_is_not_finite_is_a_gap():
    (parts,) = read(sbp.History([3.0, 2.0, math.nan, 2.5, math.inf]).svg())[1].values()
    assert [len(points) for points, _, _ in parts] == [2, 1]
    assert "circle" in sbp.History([3.0, math.nan, 2.0]).svg()


def test_a_notebook_shows_the_chart_and_the_last_values():
    history = sbp.History([1.0, 0.5], [1.25, 0.75])
    shown = re.fullmatch(r'<img alt="([^"]+)" src="data:image/svg\+xml;base64,([^"]+)">', history._repr_html_())
    assert shown[1] == repr(history)
    assert base64.b64decode(shown[2]).decode() == history.svg()
    words = [e.text for e in ElementTree.fromstring(history.svg()).iter(f"{SVG}text")]
    assert {"training 0.5", "validation 0.75", "epoch", "mean loss"} <= set(words)
    assert sbp.History()._repr_html_() is None
    assert sbp.History([math.nan])._repr_html_() is None
