"""A line chart as SVG, for losses over epochs: axes with round numbers, a logarithmic one where the values span decades, and the last
value of each line beside its name. It needs nothing but this file."""

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 66, 544, 40, 252  # the edges of the plot
COLOURS = (("#0072b2", "#56b4e9"), ("#c04a00", "#ff9a5c"))  # on light and on dark pages; readers who see few colours tell them apart
MANY = 1000  # points in a line; what has more is drawn through its extremes

_SUPERSCRIPT = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")


def spans_decades(values: Sequence[float]) -> bool:
    """Whether a logarithmic axis shows them better."""
    return bool(values) and min(values) > 0 and max(values) > 50 * min(values)


def line_chart(lines: Mapping[str, Sequence[float]], x_label: str, y_label: str) -> str:
    """Each line's values over 1, 2, 3 ...; values that are not finite are gaps. Needs one finite value at least."""
    finite = [v for values in lines.values() for v in values if math.isfinite(v)]
    logarithmic = spans_decades(finite)
    last = max(map(len, lines.values()))
    low, high, ticks = _decades(min(finite), max(finite)) if logarithmic else _rounded(min(finite), max(finite))

    def x(epoch: float) -> float:
        return LEFT + (RIGHT - LEFT) * ((epoch - 1) / (last - 1) if last > 1 else 0.5)

    def y(value: float) -> float:
        low_, high_, value_ = (math.log10(v) for v in (low, high, value)) if logarithmic else (low, high, value)
        return BOTTOM - (BOTTOM - TOP) * (value_ - low_) / (high_ - low_)

    body = []
    for value in ticks:
        body.append(f'<path class="grid" d="M{LEFT} {y(value):.2f}H{RIGHT}"/>')
        body.append(f'<text class="y" x="{LEFT - 8}" y="{y(value) + 4:.2f}" text-anchor="end">{_label(value)}</text>')
    for epoch in _epochs(last):
        body.append(f'<path class="tick" d="M{x(epoch):.2f} {BOTTOM}v5"/>')
        body.append(f'<text class="x" x="{x(epoch):.2f}" y="{BOTTOM + 19}" text-anchor="middle">{epoch}</text>')
    body.append(f'<path class="axis" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>')
    middle = (TOP + BOTTOM) / 2
    body.append(f'<text x="{(LEFT + RIGHT) / 2:g}" y="{HEIGHT - 10}" text-anchor="middle">{escape(x_label)}</text>')
    body.append(f'<text transform="rotate(-90 16 {middle:g})" x="16" y="{middle:g}" text-anchor="middle">{escape(y_label)}</text>')
    for i, (name, values) in enumerate(lines.items()):
        for part in _parts(values):
            points = [(x(epoch), y(value)) for epoch, value in _thinned(part)]
            dots = f'<circle class="dot dot{i}" cx="{points[0][0]:.2f}" cy="{points[0][1]:.2f}" r="3"/>' if len(points) == 1 else ""
            body.append(f'<polyline class="line line{i}" points="{" ".join(f"{a:.2f},{b:.2f}" for a, b in points)}"/>{dots}')
        shown = f"{escape(name)} {values[-1]:.4g}" if values else escape(name)
        body.append(f'<path class="line line{i}" d="M{LEFT + 190 * i} 20h22"/><text x="{LEFT + 190 * i + 28}" y="24">{shown}</text>')
    return _document(f"{y_label} over {x_label}", body)


def _document(title: str, body: Sequence[str]) -> str:
    def rules(dark: int) -> str:
        page, ink, grid = (("#ffffff", "#1a1a1a", "#dddddd"), ("#16181d", "#eceef1", "#3a3e45"))[dark]
        lines = "".join(f" .line{i} {{ stroke: {colour[dark]} }} .dot{i} {{ fill: {colour[dark]} }}" for i, colour in enumerate(COLOURS))
        return f".page {{ fill: {page} }} text {{ fill: {ink} }} .axis, .tick {{ stroke: {ink} }} .grid {{ stroke: {grid} }}{lines}"

    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui,sans-serif" font-size="12">\n<title>{escape(title)}</title>\n<style>\n'
        f".axis, .tick, .grid, .line {{ fill: none }} .line {{ stroke-width: 1.8; stroke-linejoin: round }}\n{rules(0)}\n"
        f"@media (prefers-color-scheme: dark) {{ {rules(1)} }}\n</style>\n"
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _parts(values: Sequence[float]) -> list[list[tuple[int, float]]]:
    """The (epoch, value) points of a line, cut where a value is not finite."""
    parts: list[list[tuple[int, float]]] = [[]]
    for epoch, value in enumerate(values, 1):
        if math.isfinite(value):
            parts[-1].append((epoch, value))
        elif parts[-1]:
            parts.append([])
    return [part for part in parts if part]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """A line of many points through the lowest and the highest of each stretch, in their order, and its two ends."""
    if len(points) <= MANY:
        return points
    stretch = math.ceil(2 * len(points) / MANY)
    kept = {points[0], points[-1]}
    for i in range(0, len(points), stretch):
        part = points[i : i + stretch]
        kept |= {min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])}
    return sorted(kept)


def _step(span: float) -> float:
    """1, 2 or 5 times a power of ten, so that four to nine of them fill the span."""
    power = 10.0 ** math.floor(math.log10(span / 4))
    return next(power * m for m in (5, 2, 1) if power * m <= span / 4)


def _rounded(low: float, high: float) -> tuple[float, float, list[float]]:
    """The ends and the round numbers of a linear axis."""
    if high - low <= 1e-9 * max(abs(low), abs(high)) or high == low:  # a constant, or one up to rounding
        low, high = low - (abs(low) / 2 or 1.0), high + (abs(high) / 2 or 1.0)
    step = _step(high - low)
    first, last = math.floor(low / step), math.ceil(high / step)
    return first * step, last * step, [k * step for k in range(first, last + 1)]


def _decades(low: float, high: float) -> tuple[float, float, list[float]]:
    """The ends and the round numbers of a logarithmic axis: powers of ten, and twice and five times those where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    apart = math.ceil((last - first) / 7)
    between = (1, 2, 5) if last - first <= 3 else (1,)
    candidates = [float(f"{m}e{k}") for k in range(first, last + 1, apart) for m in between]
    below, above = max((c for c in candidates if c <= low), default=10.0**first), min((c for c in candidates if c >= high), default=10.0**last)
    return below, above, [c for c in candidates if below <= c <= above]


def _epochs(last: int) -> list[int]:
    """Whole numbers for the horizontal axis: the first, and round ones."""
    if last <= 8:
        return list(range(1, last + 1))
    step = int(_step(last))
    return [1, *range(step, last + 1, step)] if step > 1 else list(range(1, last + 1))


def _label(value: float) -> str:
    """A round number, very large and very small ones as powers of ten."""
    mantissa, _, exponent = f"{value:.9e}".partition("e")
    digits = f"{float(mantissa):g}"
    if value == 0 or -4 < int(exponent) < 5:
        return f"{value:.10g}".replace("-", "−")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPT)
    return {"1": power, "-1": f"−{power}"}.get(digits, f"{digits}·{power}").replace("-", "−")


__all__ = ["line_chart", "spans_decades"]
