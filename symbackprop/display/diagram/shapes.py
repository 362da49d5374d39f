"""The outlines of the boxes: each kind of tensor has its own, so that the picture can be read in grey and without seeing colours."""

import math
from dataclasses import dataclass

from symbackprop.display.diagram.graph import SMALL, Node
from symbackprop.display.diagram.text import width

LARGE = 18.0  # the font size of names
SLANT = 9.0  # of a parallelogram and of a hexagon
PADDING = 10.0
BESIDE = 8.0  # between a name and the shape beside it


@dataclass
class Box:
    """A node and where it stands: the middle of its box, and the size. Data are parallelograms, weights pills, the loss is a hexagon, other
    nodes are rectangles, and the output has a double frame."""

    node: Node
    width: float
    height: float
    x: float = 0.0
    y: float = 0.0

    @property
    def left(self) -> float:
        return self.x - self.width / 2

    @property
    def right(self) -> float:
        return self.x + self.width / 2

    @property
    def top(self) -> float:
        return self.y - self.height / 2

    @property
    def bottom(self) -> float:
        return self.y + self.height / 2

    def left_at(self, y: float) -> float:
        """Where the outline's left side is at height y."""
        slant = SLANT * (0.5 - (y - self.y) / self.height) if self.node.kind == "data" else self._inset(y - self.y)
        return self.left + slant

    def right_at(self, y: float) -> float:
        slant = SLANT * (0.5 + (y - self.y) / self.height) if self.node.kind == "data" else self._inset(y - self.y)
        return self.right - slant

    def _inset(self, dy: float) -> float:
        if self.node.kind == "weight":
            return _round(self.height / 2, dy)
        return SLANT * abs(dy) / (self.height / 2) if self.node.kind == "loss" else 0.0

    def top_at(self, x: float) -> float:
        return self.top + self._sag(x)

    def bottom_at(self, x: float) -> float:
        return self.bottom - self._sag(x)

    def _sag(self, x: float) -> float:
        radius = self.height / 2
        return _round(radius, max(0.0, abs(x - self.x) - (self.width / 2 - radius))) if self.node.kind == "weight" else 0.0

    @property
    def corner(self) -> float:
        """How much of each end of the upper and of the lower side is not straight."""
        return SLANT if self.node.kind in ("data", "loss") else 7.0

    def path(self, inset: float = 0.0) -> str:
        """The outline as the path of an SVG, drawn `inset` inside the box."""
        left, right, top, bottom = self.left + inset, self.right - inset, self.top + inset, self.bottom - inset
        if self.node.kind == "data":
            return _polygon((left + SLANT, top), (right, top), (right - SLANT, bottom), (left, bottom))
        if self.node.kind == "loss":
            return _polygon((left + SLANT, top), (right - SLANT, top), (right, self.y), (right - SLANT, bottom), (left + SLANT, bottom), (left, self.y))
        r = (bottom - top) / 2 if self.node.kind == "weight" else 6.0 - inset
        corners = [(right - r, top, right, top + r), (right, bottom - r, right - r, bottom)]
        corners += [(left + r, bottom, left, bottom - r), (left, top + r, left + r, top)]
        return "M" + "L".join(f"{a:.5g} {b:.5g}A{r:.4g} {r:.4g} 0 0 1 {c:.5g} {d:.5g}" for a, b, c, d in corners) + "z"


def box(node: Node) -> Box:
    """A box of the size that the node's text needs."""
    slant = SLANT if node.kind in ("data", "loss") else 0
    name, size = width(node.label, LARGE), width(node.size, SMALL)
    if node.formula:
        return Box(node, max(name + (BESIDE + size if size else 0), width(node.formula, SMALL)) + 2 * PADDING + slant, 48.0)
    high = 42.0 if size else 30.0
    if node.kind == "weight":
        return Box(node, max(name + 2 * PADDING, size + 1.4 * PADDING, high), high)
    return Box(node, max(name, size) + 2 * PADDING + slant, high)


def _round(radius: float, offset: float) -> float:
    return radius - math.sqrt(max(0.0, radius * radius - offset * offset))


def _polygon(*points: tuple[float, float]) -> str:
    return "M" + "L".join(f"{x:.5g} {y:.5g}" for x, y in points) + "z"
