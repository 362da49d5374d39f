"""Where everything stands: the boxes of all nodes, and the curves of all edges, row by row."""

from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from symbackprop.display.diagram.coordinates import graph, heights
from symbackprop.display.diagram.graph import Edge, Node
from symbackprop.display.diagram.layers import Levels, breaks, columns, crossing_edges, levels, satellites
from symbackprop.display.diagram.order import ordered
from symbackprop.display.diagram.routes import ARROW, PITCH, Gap, Point, Route, Turn, aside, offsets, route, segment
from symbackprop.display.diagram.shapes import Box, box

GAP = 46.0  # between columns
STEEP = 0.16  # how much wider a gap becomes for an edge that rises
AWAY, BESIDE = 26.0, 8.0  # from a weight to its node, and between two weights
BETWEEN = 18.0  # between things in one column
MARGIN = 14.0


@dataclass
class Block:
    """A node's box with the weights above and below it."""

    box: Box
    above: list[Box]
    below: list[Box]

    @property
    def width(self) -> float:
        return max(self.box.width, _row(self.above), _row(self.below))

    @property
    def up(self) -> float:
        return self.box.height / 2 + (AWAY + max(b.height for b in self.above) if self.above else 0)

    @property
    def down(self) -> float:
        return self.box.height / 2 + (AWAY + max(b.height for b in self.below) if self.below else 0)

    def place(self, x: float, y: float) -> None:
        self.box.x, self.box.y = x, y
        for boxes, side in ((self.above, -1), (self.below, 1)):
            left = x - _row(boxes) / 2
            for b in boxes:
                b.x, b.y = left + b.width / 2, y + side * (self.box.height / 2 + AWAY + b.height / 2)
                left += b.width + BESIDE


Key = tuple[int, int] | tuple[str, str]  # a segment: between two vertices, or from a weight to the node beside it


class Place(NamedTuple):
    """The level of a vertex, the row in which edges arrive there, and the one in which they go on."""

    level: int
    row: int
    onward: int


@dataclass
class Picture:
    """The boxes by name, the segments of which the routes of the edges are made, and the size of it all."""

    boxes: dict[str, Box]
    paired: set[str] = field(default_factory=set)  # the sources to which a gradient comes back
    segments: dict[Key, Route] = field(default_factory=dict)
    previous: dict[Key, Key | None] = field(default_factory=dict)  # None: the segment begins at a box
    last: dict[tuple[str, str], Key] = field(default_factory=dict)  # edge → the segment that ends at its target
    width: float = 0.0
    height: float = 0.0

    def way(self, source: str, target: str, drawn: Container[Key] = ()) -> list[Key]:
        """The segments of an edge from its source, or from where it leaves what is drawn already."""
        way: list[Key] = []
        key: Key | None = self.last[source, target]
        while key is not None and key not in drawn:
            way.append(key)
            key = self.previous[key]
        return way[::-1]


def picture(nodes: Sequence[Node], edges: Sequence[Edge], limit: float | None) -> Picture:
    """The layout, in rows no wider than about `limit` (None: one row)."""
    boxes = {node.name: box(node) for node in nodes}
    pairs = [(e.source, e.target) for e in edges]
    near = satellites([n.name for n in nodes if n.kind in ("weight", "state") and not n.is_output], pairs)
    blocks = {name: _block(boxes[name], [boxes[w] for w in near.get(name, ())]) for name in boxes}
    for w in (w for ws in near.values() for w in ws):
        del blocks[w]
    inner = [(a, b) for a, b in pairs if a in blocks]
    for name, count in Counter(b for _, b in inner).items():
        boxes[name].height = max(boxes[name].height, 20 + 9.0 * (count - 1))
    column = columns(list(blocks), inner)
    widths = [0.0] * (max(column.values(), default=0) + 1)
    for name, c in column.items():
        widths[c] = max(widths[c], blocks[name].width)
    cuts = breaks(widths, GAP, None if limit is None else limit - 2 * MARGIN, crossing_edges(column, inner), PITCH)
    made = levels(column, inner, cuts)
    made.levels = ordered(made.levels, made.before, made.after)
    result = Picture(boxes, {e.source for e in edges if e.gradient is not None})
    _Rows(made, blocks, result).place()
    for e in edges:
        if e.source in blocks:
            continue
        key = result.last[e.source, e.target] = (e.source, e.target)
        result.previous[key] = None
        result.segments[key] = aside(boxes[e.source], boxes[e.target], e.source in result.paired)
    return result


def _block(middle: Box, weights: list[Box]) -> Block:
    """A few weights stand above their node, more on both sides. The box is made wide enough for all their arrows to be straight."""
    split = len(weights) if _row(weights) <= max(middle.width, 150.0) else (len(weights) + 1) // 2
    block = Block(middle, weights[:split], weights[split:])
    for row in (block.above, block.below):
        if row:
            middle.width = max(middle.width, _row(row) - (row[0].width + row[-1].width) / 2 + 2 * (middle.corner + 8))
    return block


def _row(boxes: Sequence[Box]) -> float:
    return sum(b.width for b in boxes) + BESIDE * max(0, len(boxes) - 1)


class _Rows:
    """Places row below row. An edge that goes on in the next row turns down at the right end, runs back between the rows and enters at the
    left; the turns lie inside one another, so that they do not cross."""

    def __init__(self, made: Levels, blocks: dict[str, Block], result: Picture) -> None:
        self.made, self.blocks, self.result = made, blocks, result
        self.y: dict[tuple[int, int], float] = {}  # (row, vertex) → height
        self.left: dict[tuple[int, int], float] = {}  # (row, level) → where its column begins and ends
        self.right: dict[tuple[int, int], float] = {}
        self.graph = graph(made.before, made.after, made.passes, [self._rank(v) for v in range(len(made.name))])
        self.place_of: dict[int, Place] = {}
        self.gutter: dict[int, float] = {}  # the end of a row → the height of the first track below it

    def place(self) -> None:
        rows = self.made.rows()
        tracks = max((len(self.made.levels[end]) for end in self.made.ends), default=0)
        start, top = MARGIN + (PITCH * tracks + 8 if tracks else 0), MARGIN
        for row, (first, last) in enumerate(rows):
            end, bottom = self._row(row, first, last, start, top)
            self.result.width = max(self.result.width, end + MARGIN)
            self.result.height = bottom + MARGIN
            if last in self.made.ends and row + 1 < len(rows):
                count = len(self.made.levels[last])
                self.gutter[last] = bottom + BETWEEN
                top = bottom + BETWEEN + PITCH * (count - 1) + BETWEEN
                self.result.width = max(self.result.width, end + 8 + PITCH * count + MARGIN)
        self._routes()

    def _row(self, row: int, first: int, last: int, start: float, top: float) -> tuple[float, float]:
        """Place one row; returns its right end and its bottom."""
        made = self.made
        order = made.levels[first : last + 1]
        local = heights(order, self.graph, self._distance)
        offset = top - min((y - self._up(v) for v, y in local.items()), default=top)
        bottom = top
        for v, y in local.items():
            self.y[row, v] = y + offset
            bottom = max(bottom, y + offset + self._down(v))
        x = start
        for k in range(first, last + 1):
            here = [self.blocks[made.name[v]] for v in made.levels[k] if not made.passes[v]]
            wide = max((b.width for b in here), default=0.0)
            if k > first:
                rise = max((abs(local[u] - local[v]) for v in made.levels[k] for u in made.before[v]), default=0.0)
                x += max(GAP, min(3 * GAP, STEEP * rise))
            self.left[row, k], self.right[row, k] = x, x + wide
            for v in made.levels[k]:
                if not made.passes[v]:
                    self.blocks[made.name[v]].place(x + wide / 2, self.y[row, v])
            x += wide
        return x, bottom

    def _rank(self, v: int) -> int:
        """What a neighbour is aligned with first: the loss, nodes, edges that pass, data last."""
        kind = self.result.boxes[self.made.name[v]].node.kind
        return 0 if kind in ("data", "weight", "state") else 1 if self.made.passes[v] else 3 if kind == "loss" else 2

    def _up(self, v: int) -> float:
        return 5.0 if self.made.passes[v] else self.blocks[self.made.name[v]].up

    def _down(self, v: int) -> float:
        return 5.0 if self.made.passes[v] else self.blocks[self.made.name[v]].down

    def _distance(self, upper: int, lower: int) -> float:
        both = self.made.passes[upper] and self.made.passes[lower]
        return self._down(upper) + (PITCH - 10.0 if both else BETWEEN) + self._up(lower)

    def _routes(self) -> None:
        made, result = self.made, self.result
        for row, (first, last) in enumerate(made.rows()):
            for k in range(first, last + 1):
                for v in made.levels[k]:
                    self.place_of[v] = Place(k, self.place_of[v].row if v in self.place_of else row, row)
        comers: dict[str, dict[str, float]] = {}
        for (source, target), u in made.last.items():
            comers.setdefault(target, {})[source] = self.y[self.place_of[u].onward, u]
            result.last[source, target] = (u, made.home[target])
        ports = {target: _ports(result.boxes[target], heights) for target, heights in comers.items()}
        for v, us in enumerate(made.before):
            for u in us:
                port = ports[made.name[v]][made.name[u]] if not made.passes[v] else None
                result.segments[u, v] = self._segment(u, v, port)
                result.previous[u, v] = (made.before[u][0], u) if made.passes[u] else (u, u)
            if not made.passes[v]:
                result.segments[v, v] = self._stub(v)
                result.previous[v, v] = None

    def _stub(self, v: int) -> Route:
        """The beginning that all edges of a node share."""
        place, box = self.place_of[v], self.result.boxes[self.made.name[v]]
        end = self.right[place.row, place.level] + ARROW
        heights = [self.y[place.row, v] + offset for offset in self._offsets(v)]
        return route([[(Point(box.right_at(y), y), Point(end, y))] for y in heights])

    def _segment(self, u: int, v: int, port: float | None) -> Route:
        """The piece of a route between two vertices, from behind the column of u to a `port` of v's box, or behind v's column."""
        here, there = self.place_of[u], self.place_of[v]
        row, box = here.onward, self.result.boxes[self.made.name[v]]
        start = Point(self.right[row, here.level], self.y[row, u])
        gap = Gap(start, Point(self.left[row, there.level], self.y[row, v] if port is None else port))
        turn = self._turn(row, there.level, v) if there.onward != there.row else None
        curves = []
        for offset in self._offsets(u):
            if port is not None:
                end = Point(box.left_at(port + offset), port + offset)
            else:
                end = Point(self.right[there.onward, there.level] + ARROW, self.y[there.onward, v] + offset)
            curves.append(segment(gap, turn, end, offset))
        return route(curves)

    def _offsets(self, v: int) -> list[float]:
        return offsets(self.made.name[v] in self.result.paired)

    def _turn(self, row: int, end: int, v: int) -> Turn:
        place, count = self.made.levels[end].index(v), len(self.made.levels[end])
        right = self.right[row, end] + PITCH * (count - place)
        left = self.left[row + 1, end] - PITCH * (place + 1)
        return Turn(right, self.gutter[end] + PITCH * (count - 1 - place), left, self.y[row + 1, v])


def _ports(target: Box, comers: dict[str, float]) -> dict[str, float]:
    """Where the edges arrive at the left side of a box: each as near as possible to the height that it comes from, in their order, side by
    side. The one that comes from straight ahead has the first choice."""
    reach = target.height / 2 - 10
    order = sorted(comers, key=comers.__getitem__)
    count = len(order)
    spacing = min(13.0, 2 * reach / max(1, count - 1))
    low = [target.y - reach + spacing * i for i in range(count)]
    high = [target.y + reach - spacing * (count - 1 - i) for i in range(count)]
    wished = [min(max(comers[s], low[i]), high[i]) for i, s in enumerate(order)]
    first = min(range(count), key=lambda i: abs(comers[order[i]] - target.y))
    ports = list(wished)
    for i in range(first + 1, count):
        ports[i] = max(wished[i], ports[i - 1] + spacing)
    for i in range(first - 1, -1, -1):
        ports[i] = min(wished[i], ports[i + 1] - spacing)
    return dict(zip(order, ports, strict=True))
