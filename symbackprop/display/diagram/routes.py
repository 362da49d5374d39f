"""The curves of the edges: level at both ends of every gap between two columns, with the way back beside the way forth."""

import math
from typing import NamedTuple

from symbackprop.display.diagram.shapes import Box

PITCH = 14.0  # between two edges side by side
ARROW = 8.0  # the length of an arrow head; that much of each end is straight
CORNER = 6.0


class Point(NamedTuple):
    x: float
    y: float


class Gap(NamedTuple):
    """From the end of one column to the beginning of the next."""

    start: Point
    end: Point


class Turn(NamedTuple):
    """From the end of a row to the beginning of the next: down at x = `right`, back at height `y`, down at x = `left`, to the height `to`."""

    right: float
    y: float
    left: float
    to: float


Curve = list[tuple[Point, ...]]  # pieces of two points (a line) or four (a cubic), each beginning where the last one ended


class Route(NamedTuple):
    """The way of a value, and beside it the way that its gradient takes, if there is one; both are given from the source to the target."""

    forward: Curve
    backward: Curve


def route(curves: list[Curve]) -> Route:
    """A route from one curve or from two."""
    return Route(curves[0], curves[1] if len(curves) > 1 else [])


def offsets(paired: bool) -> list[float]:
    """How far to the right of the middle value and gradient go, as one travels with the value."""
    return [-3.0, 3.0] if paired else [0.0]


def segment(gap: Gap, turn: Turn | None, end: Point, offset: float) -> Curve:
    """Through a gap between two columns, through a turn if there is one, and straight to the end."""
    curve = _Curve(Point(gap.start.x + ARROW, gap.start.y + offset))
    curve.rise(Point(gap.end.x - ARROW, gap.end.y + offset), offset)
    if turn is not None:
        curve.turn(turn, offset)
    curve.line(end)
    return curve.pieces


class _Curve:
    """A curve that grows at its end."""

    def __init__(self, start: Point) -> None:
        self.here = start
        self.pieces: Curve = []

    def line(self, to: Point) -> None:
        if math.dist(self.here, to) > 1e-9:
            self.pieces.append((self.here, to))
        self.here = to

    def cubic(self, a: Point, b: Point, to: Point) -> None:
        self.pieces.append((self.here, a, b, to))
        self.here = to

    def rise(self, to: Point, offset: float) -> None:
        """An S, level at both ends. Its control points move with the offset as those of a parallel curve do (Tiller & Hanson 1984)."""
        if abs(to.y - self.here.y) < 1e-6:
            self.line(to)
            return
        middle = (self.here.x + to.x) / 2 - offset * math.copysign(1.0, to.y - self.here.y)
        self.cubic(Point(middle, self.here.y), Point(middle, to.y), to)

    def turn(self, turn: Turn, offset: float) -> None:
        right, y, left, to = turn.right - offset, turn.y - offset, turn.left - offset, turn.to + offset
        self.corner(Point(right, self.here.y), Point(right, y), CORNER - offset)
        self.corner(Point(right, y), Point(left, y), CORNER - offset)
        self.corner(Point(left, y), Point(left, to), CORNER + offset)
        self.corner(Point(left, to), Point(math.inf, to), CORNER + offset)

    def corner(self, at: Point, towards: Point, radius: float) -> None:
        """A line to a rounded corner, and round it."""
        start, end = _towards(at, self.here, radius), _towards(at, towards, radius)
        self.line(start)
        self.cubic(_towards(at, start, radius * 0.448), _towards(at, end, radius * 0.448), end)


def _towards(a: Point, b: Point, distance: float) -> Point:
    """From a towards b, along an axis."""
    if a.y == b.y:
        return Point(a.x + math.copysign(distance, b.x - a.x), a.y)
    return Point(a.x, a.y + math.copysign(distance, b.y - a.y))


def aside(weight: Box, target: Box, paired: bool) -> Route:
    """Straight down or up, from a weight above or below its node."""
    return route([_aside(weight, target, offset) for offset in offsets(paired)])


def _aside(weight: Box, target: Box, offset: float) -> Curve:
    if weight.y < target.y:
        x = weight.x - offset
        return [(Point(x, weight.bottom_at(x)), Point(x, target.top))]
    x = weight.x + offset
    return [(Point(x, weight.top_at(x)), Point(x, target.bottom))]
