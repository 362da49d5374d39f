"""How high each vertex of a layered graph stands: straight chains, each vertex in the middle of its neighbours, nothing overlapping.

Source: Brandes & Köpf, "Fast and simple horizontal coordinate assignment", 2001. Vertices are aligned with a median neighbour into
straight blocks, from the left and from the right, from the top and from the bottom; the result is the mean of the two middle ones
of these four layouts. The blocks are placed by longest paths instead of the paper's classes.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

Neighbours = Sequence[Sequence[int]]
Distance = Callable[[int, int], float]  # of an upper vertex and the one below it in the same level


class About(NamedTuple):
    """What is known of the vertices: whether an edge passes there, and the rank as a neighbour; only the highest counts."""

    passes: Sequence[bool]
    rank: Sequence[int]


def heights(levels: list[list[int]], before: Neighbours, after: Neighbours, about: About, distance: Distance) -> dict[int, float]:
    """Vertex → height. Any two neighbours in a level are at least their `distance` apart."""
    conflicts = _conflicts(levels, before, about.passes)
    layouts = []
    for down in (False, True):
        for right in (False, True):
            turned = [level[::-1] if down else level for level in (levels[::-1] if right else levels)]
            root = _blocks(turned, after if right else before, about.rank, conflicts)
            found = _placed(turned, root, (lambda u, v: distance(v, u)) if down else distance)
            layouts.append({v: -y for v, y in found.items()} if down else found)
    return _balanced(layouts)


def _conflicts(levels: list[list[int]], before: Neighbours, passes: Sequence[bool]) -> set[tuple[int, int]]:
    """Edges that cross one that passes through both levels: the latter shall be straight."""
    conflicts = set()
    for left, right in pairwise(levels):
        place = {v: i for i, v in enumerate(left)}
        inner = [(place[u], i) for i, v in enumerate(right) if passes[v] for u in before[v] if passes[u]]
        for i, v in enumerate(right):
            for u in before[v]:
                if not (passes[u] and passes[v]) and any((a < place[u]) != (b < i) and a != place[u] and b != i for a, b in inner):
                    conflicts.add((u, v))
    return conflicts


def _blocks(levels: list[list[int]], neighbours: Neighbours, rank: Sequence[int], conflicts: set[tuple[int, int]]) -> dict[int, int]:
    """Vertex → the first vertex of its block: each is aligned with a median neighbour where that crosses no other alignment."""
    root = {v: v for level in levels for v in level}
    for left, right in pairwise(levels):
        place = {v: i for i, v in enumerate(left)}
        last = -1
        for v in right:
            near = sorted((u for u in neighbours[v] if u in place), key=place.__getitem__)
            highest = max((rank[u] for u in near), default=0)
            near = [u for u in near if rank[u] == highest]
            for u in near[(len(near) - 1) // 2 : len(near) // 2 + 1]:
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
