"""How high each vertex of a layered graph stands: straight chains, each vertex in the middle of its neighbours, nothing overlapping.

Source: Brandes & Köpf, "Fast and simple horizontal coordinate assignment", 2001. Vertices are aligned with a median neighbour into
straight blocks, from the left and from the right, from the top and from the bottom; the result is the mean of the two middle ones
of these four layouts. The blocks are placed by longest paths instead of the paper's classes.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

Neighbours = Sequence[Sequence[int]]
Distance = Callable[[int, int], float]  # of an upper vertex and the one below it in the same level


class Graph(NamedTuple):
    """The neighbours to the left of each vertex, whether an edge passes there, and the neighbours on either side that it may be aligned with."""

    before: Neighbours
    passes: Sequence[bool]
    left: Neighbours
    right: Neighbours


def graph(before: Neighbours, after: Neighbours, passes: Sequence[bool], rank: Sequence[int]) -> Graph:
    """A graph whose vertices are aligned with those neighbours that rank highest."""
    return Graph(before, passes, _best(before, after, passes, rank), _best(after, before, passes, rank))


def heights(levels: list[list[int]], graph: Graph, distance: Distance) -> dict[int, float]:
    """Vertex → height, for some levels of a graph. Any two neighbours in a level are at least their `distance` apart."""
    conflicts = _conflicts(levels, graph)
    layouts = []
    for down in (False, True):
        for right in (False, True):
            turned = [level[::-1] if down else level for level in (levels[::-1] if right else levels)]
            root = _blocks(turned, graph.right if right else graph.left, conflicts)
            found = _placed(turned, root, (lambda u, v: distance(v, u)) if down else distance)
            layouts.append({v: -y for v, y in found.items()} if down else found)
    return _balanced(layouts)


def _conflicts(levels: list[list[int]], graph: Graph) -> set[tuple[int, int]]:
    """Edges that cross one that passes through both levels: the latter shall be straight."""
    before, passes = graph.before, graph.passes
    conflicts = set()
    for left, right in pairwise(levels):
        place = {v: i for i, v in enumerate(left)}
        inner = [[place[u] for u in before[v] if passes[v] and passes[u]] for v in right]
        above = list(accumulate((max(ends, default=-1) for ends in inner), max, initial=-1))
        below = list(accumulate((min(ends, default=len(left)) for ends in reversed(inner)), min, initial=len(left)))[::-1]
        for i, v in enumerate(right):
            for u in before[v]:
                if not (passes[u] and passes[v]) and (above[i] > place[u] or below[i + 1] < place[u]):
                    conflicts.add((u, v))
    return conflicts


def _best(neighbours: Neighbours, back: Neighbours, passes: Sequence[bool], rank: Sequence[int]) -> list[list[int]]:
    """Vertex → the neighbours that it may be aligned with: those of the highest rank that have nothing of a higher rank to be aligned with
    in turn. Edges that pass both stay straight."""
    highest = [max((rank[v] for v in vs), default=0) for vs in back]
    found = []
    for v, us in enumerate(neighbours):
        best = max((rank[u] for u in us), default=0)
        found.append([u for u in us if rank[u] == best and (rank[v] == highest[u] or (passes[v] and passes[u]))])
    return found


def _blocks(levels: list[list[int]], near: Neighbours, conflicts: set[tuple[int, int]]) -> dict[int, int]:
    """Vertex → the first vertex of its block: each is aligned with a median neighbour where that crosses no other alignment."""
    root = {v: v for level in levels for v in level}
    for left, right in pairwise(levels):
        place = {v: i for i, v in enumerate(left)}
        last = -1
        for v in right:
            order = sorted((u for u in near[v] if u in place), key=place.__getitem__)
            for u in order[(len(order) - 1) // 2 : len(order) // 2 + 1]:
                if place[u] > last and (u, v) not in conflicts and (v, u) not in conflicts:
                    root[v] = root[u]
                    last = place[u]
                    break
    return root


def _placed(levels: list[list[int]], root: dict[int, int], distance: Distance) -> dict[int, float]:
    """Vertex → height: every block as high as the blocks above it allow, then as low as those below it allow."""
    below: dict[int, dict[int, float]] = defaultdict(dict)
    above: dict[int, dict[int, float]] = defaultdict(dict)
    for level in levels:
        for u, v in pairwise(level):
            a, b = root[u], root[v]
            below[a][b] = above[b][a] = max(below[a].get(b, 0.0), distance(u, v))
    order = _topological(set(root.values()), above, below)
    y: dict[int, float] = {}
    for b in order:
        y[b] = max((y[a] + d for a, d in above[b].items()), default=0.0)
    for a in reversed(order):
        y[a] = max(y[a], min((y[b] - d for b, d in below[a].items()), default=y[a]))
    return {v: y[r] for v, r in root.items()}


def _topological(blocks: set[int], above: dict[int, dict[int, float]], below: dict[int, dict[int, float]]) -> list[int]:
    waiting = {b: len(above[b]) for b in blocks}
    order = sorted(b for b in blocks if not waiting[b])
    for b in order:  # grows while it is read
        for c in below[b]:
            waiting[c] -= 1
            if not waiting[c]:
                order.append(c)
    return order


def _balanced(layouts: list[dict[int, float]]) -> dict[int, float]:
    """The mean of the two middle heights, after the layouts were moved onto the smallest one: those from the top by their upper edge,
    those from the bottom by their lower one."""
    low = [min(found.values(), default=0.0) for found in layouts]
    high = [max(found.values(), default=0.0) for found in layouts]
    smallest = min(range(len(layouts)), key=lambda i: high[i] - low[i])
    shift = [low[smallest] - low[i] if i < 2 else high[smallest] - high[i] for i in range(len(layouts))]
    result = {}
    for v in layouts[0]:
        middle = sorted(found[v] + s for found, s in zip(layouts, shift, strict=True))
        result[v] = (middle[1] + middle[2]) / 2
    return result
