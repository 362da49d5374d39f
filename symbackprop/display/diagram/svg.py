"""The picture as SVG: self-contained, readable on light and on dark pages and in grey, with a text for those who cannot see it."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from html import escape

from symbackprop.display.diagram.graph import KINDS, SMALL, Edge, Node
from symbackprop.display.diagram.layout import MARGIN, Key, Picture
from symbackprop.display.diagram.routes import ARROW, Curve, Point
from symbackprop.display.diagram.shapes import BESIDE, LARGE, Box
from symbackprop.display.diagram.text import Text, text, tspans, width

FONT = "'STIX Two Text','Times New Roman',Tinos,'Liberation Serif',serif"
# Kind → fill and frame. The hues are those of Okabe & Ito, which colour-blind readers tell apart, on grounds of different lightness.
LIGHT = {
    "data": ("#d3e8f7", "#0072b2"),
    "weight": ("#fbe3b0", "#9a6700"),
    "state": ("#e6e6e6", "#5c5c5c"),
    "node": ("#ffffff", "#4a4a4a"),
    "output": ("#d0eee3", "#00795a"),
    "loss": ("#f3d3e4", "#a3386f"),
}
DARK = {
    "data": ("#12384f", "#56b4e9"),
    "weight": ("#4a3508", "#e6a817"),
    "state": ("#3a3d44", "#b0b4ba"),
    "node": ("#24272d", "#b0b4ba"),
    "output": ("#0f3d30", "#2fc49a"),
    "loss": ("#4a1f38", "#e58fbf"),
}
_COLOURS = (
    (LIGHT, "#ffffff", "#1a1a1a", "#5c5c5c", "#333333", "#c04a00"),
    (DARK, "#16181d", "#eceef1", "#a4a9b1", "#d5d8dd", "#ff9a5c"),
)


def svg(nodes: Sequence[Node], edges: Sequence[Edge], picture: Picture, title: str, description: str, legend: bool) -> str:
    """The whole document. Its id is made from its content: the same picture has the same id, and two on one page do not mix."""
    trunks: dict[str, set[Key]] = {"forward": set(), "backward": set()}
    drawn = [_edge(e, picture, trunks) for e in edges] + [_node(picture.boxes[n.name]) for n in nodes]
    high, wide = picture.height, picture.width
    if legend:
        key, wide, high = _legend(nodes, edges, wide, high)
        drawn.append(key)
    body = "\n".join(drawn)
    name = "d" + sha256((title + description + body).encode()).hexdigest()[:10]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{name}" role="img" aria-labelledby="{name}-t {name}-d" width="{wide:.0f}" height="{high:.0f}" '
        f'viewBox="0 0 {wide:.0f} {high:.0f}" style="max-width:100%;min-width:{0.6 * wide:.0f}px;height:auto" font-family="{FONT}">\n'
        f'<title id="{name}-t">{escape(title)}</title>\n<desc id="{name}-d">{escape(description)}</desc>\n<style>\n{_style(name)}\n</style>\n'
        f'<rect class="page" width="{wide:.0f}" height="{high:.0f}" rx="6"/>\n{body}\n</svg>\n'
    )


def _style(name: str) -> str:
    light, dark = (_rules(f"#{name} ", *colours) for colours in _COLOURS)
    return f"{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def _rules(scope: str, kinds: dict[str, tuple[str, str]], page: str, ink: str, soft: str, forward: str, backward: str) -> str:
    rules = [
        f".page {{ fill: {page} }}",
        f"text {{ fill: {ink} }}",
        f".small {{ fill: {soft} }}",
        f".forward {{ fill: none; stroke: {forward}; stroke-width: 1.5 }}",
        f".backward {{ fill: none; stroke: {backward}; stroke-width: 1.1; stroke-dasharray: 5 3 }}",
        f".forward-head {{ fill: {forward} }}",
        f".backward-head {{ fill: {backward} }}",
    ]
    rules += [f".{kind} {{ fill: {fill}; stroke: {frame}; stroke-width: 1.4 }}" for kind, (fill, frame) in kinds.items()]
    return "\n".join(scope + rule for rule in rules)


# --- nodes ---------------------------------------------------------------------------------------------------------------


def _node(box: Box) -> str:
    node = box.node
    outline = f'<path class="{node.kind}" d="{box.path()}"/>'
    if node.is_output:
        outline += f'<path class="{node.kind}" d="{box.path(3)}"/>'
    x, y = box.x, box.y
    if node.formula:
        beside = width(node.size, SMALL) + BESIDE if node.size else 0
        words = _text(x - beside / 2, y - 3.5, node.label, LARGE)
        if node.size:
            words += _text(x + (width(node.label, LARGE) + BESIDE) / 2, y - 3.5, node.size, SMALL, "small")
        words += _text(x, y + 14.5, node.formula, SMALL)
    elif node.size:
        words = _text(x, y + 0.5, node.label, LARGE) + _text(x, y + 14.5, node.size, SMALL, "small")
    else:
        words = _text(x, y + 5.5, node.label, LARGE)
    return f'<g class="of-{node.kind}"><title>{escape(node.equation)}</title>{outline}{words}</g>'


def _text(x: float, y: float, content: Text, size: float, style: str = "", anchor: str = "middle") -> str:
    if not content:
        return ""
    style = f' class="{style}"' if style else ""
    return f'<text{style} x="{x:.5g}" y="{y:.5g}" font-size="{size:g}" text-anchor="{anchor}">{tspans(content, size)}</text>'


# --- edges ---------------------------------------------------------------------------------------------------------------


def _edge(edge: Edge, picture: Picture, drawn: dict[str, set[Key]]) -> str:
    """The value's arrow, and beside it the gradient's. The edges of one tensor share a trunk: it belongs to the first of them, and the others
    are drawn from where they leave it."""
    arrows = ""
    for i, (kind, title) in enumerate((("forward", edge.forward), ("backward", edge.gradient))):
        if title is None:
            continue
        way = picture.way(edge.source, edge.target, drawn[kind])
        drawn[kind].update(way)
        curve = [piece for key in way for piece in picture.segments[key][i]]
        arrows += _arrow(curve, kind, title, kind == "forward" or picture.previous[way[0]] is None)
    return arrows


def _arrow(curve: Curve, kind: str, title: str, has_head: bool = True) -> str:
    """A curve with its head: at its end, or at its beginning where a gradient comes back."""
    head = ""
    if has_head:
        tip, after = (curve[0][0], curve[0][-1]) if kind == "backward" else (curve[-1][-1], curve[-1][0])
        head = _head(tip, after, kind)
        curve = _shortened(curve, tip)
    return f'<g class="edge"><title>{escape(title)}</title><path class="{kind}" d="{_path(curve)}"/>{head}</g>'


def _head(tip: Point, after: Point, kind: str) -> str:
    """A head at `tip`, pointing away from `after`, which lies on the same vertical or horizontal line."""
    long, half = (ARROW, 3.2) if kind == "forward" else (ARROW - 1, 2.6)
    dx = (tip.x > after.x) - (tip.x < after.x)
    dy = (tip.y > after.y) - (tip.y < after.y) if not dx else 0
    a = Point(tip.x - long * dx - half * dy, tip.y - long * dy + half * dx)
    b = Point(tip.x - long * dx + half * dy, tip.y - long * dy - half * dx)
    return f'<path class="{kind}-head" d="{_m(tip)}L{_p(a)}L{_p(b)}z"/>'


def _shortened(curve: Curve, tip: Point) -> Curve:
    """The curve without the piece that the head at `tip` covers."""

    def moved(a: Point, b: Point) -> Point:
        share = min(1.0, (ARROW - 2) / (abs(a.x - b.x) + abs(a.y - b.y)))  # the line is vertical or horizontal
        return Point(a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share) if a == tip else a

    return [(moved(*piece), moved(*piece[::-1])) if len(piece) == 2 else piece for piece in curve]


def _path(curve: Curve) -> str:
    """The pieces as the path of an SVG; lines that go straight on are one."""
    found, here, pending = "", None, ""
    for piece in curve:
        straight = len(piece) == 2 and pending and piece[0] == here and piece[0].y == piece[1].y
        found += "" if straight else pending + (_m(piece[0]) if piece[0] != here else "")
        pending = f"L{_p(piece[1])}" if len(piece) == 2 and piece[0].y == piece[1].y else ""
        if not pending:
            found += f"L{_p(piece[1])}" if len(piece) == 2 else "C" + " ".join(map(_p, piece[1:]))
        here = piece[-1]
    return found + pending


def _m(point: Point) -> str:
    return f"M{_p(point)}"


def _p(point: Point) -> str:
    return f"{point.x:.6g} {point.y:.6g}"


# --- legend --------------------------------------------------------------------------------------------------------------


def _legend(nodes: Sequence[Node], edges: Sequence[Edge], wide: float, high: float) -> tuple[str, float, float]:
    """A line (or more, where the picture is narrow) that explains the shapes and the arrows; with the new size of the picture."""
    entries: list[tuple[float, str, Callable[[float, float], str]]] = []
    for kind in KINDS:
        if any(n.kind == kind for n in nodes):
            swatch = Node(kind, kind, kind == "output", (), (), (), kind)
            entries.append((26, kind, lambda x, y, swatch=swatch: _node(Box(swatch, 26, 15, x + 13, y))))  # type: ignore[misc]
    entries.append((34, "value", lambda x, y: _arrow([(Point(x, y), Point(x + 34, y))], "forward", "a value")))
    if any(e.gradient is not None for e in edges):
        entries.append((34, "gradient", lambda x, y: _arrow([(Point(x, y), Point(x + 34, y))], "backward", "a gradient")))
    wide = max(wide, 2 * MARGIN + 260)
    x, y = MARGIN, high + 16
    drawn = []
    for swatch_width, word, draw in entries:
        length = swatch_width + 6 + width(text(word), SMALL)
        if x + length > wide - MARGIN:
            x, y = MARGIN, y + 24
        drawn.append(draw(x, y) + _text(x + swatch_width + 6, y + 4, text(word), SMALL, "small", "start"))
        x += length + 20
    return f'<g class="legend">{"".join(drawn)}</g>', wide, y + 8 + MARGIN
