"""The order of the vertices within their levels, for few crossings.

Source: Gansner, Koutsofios, North & Vo, "A technique for drawing directed graphs", 1993, section 3: sweeps that sort each level by where
its neighbours stand, exchanges of two vertices next to each other, and the best order met on the way is kept.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import pairwise

Order = list[list[int]]
Neighbours = Sequence[Sequence[int]]
PATIENCE = 5  # sweeps without improvement
EFFORT = 250_000  # vertices looked at, in all sweeps together


def crossings(order: Order, after: Neighbours) -> int:
    """How many pairs of edges cross between neighbouring levels."""
    return sum(_between(left, right, after) for left, right in pairwise(order))


def _between(left: Sequence[int], right: Sequence[int], after: Neighbours) -> int:
    place = {v: i for i, v in enumerate(right)}
    count = 0
    seen: list[int] = []
    for u in left:
        ends = sorted(place[v] for v in after[u])
        count += sum(len(seen) - bisect_right(seen, end) for end in ends)
        for end in ends:
            insort(seen, end)
    return count


def ordered(levels: Order, before: Neighbours, after: Neighbours) -> Order:
    """The levels in an order with few crossings."""
    order = _first(levels, after)
    best, fewest = [list(level) for level in order], crossings(order, after)
    size = sum(map(len, levels))
    tired = 0
    for sweep in range(max(4, min(40, EFFORT // max(size, 1)))):
        if fewest == 0 or tired == PATIENCE:
            break
        forward = sweep % 2 == 0
        for k in range(1, len(order)) if forward else range(len(order) - 2, -1, -1):
            order[k] = _sorted(order[k], order[k - 1] if forward else order[k + 1], before if forward else after)
        _exchange(order, before, after)
        found = crossings(order, after)
        tired += 1
        if found < fewest:
            best, fewest, tired = [list(level) for level in order], found, 0
    return best


def _first(levels: Order, after: Neighbours) -> Order:
    """Each level in the order in which a walk along the edges from the first vertices reaches it: trees come out without crossings."""
    level = {v: k for k, vs in enumerate(levels) for v in vs}
    order: Order = [[] for _ in levels]
    seen: set[int] = set()
    for start in (v for vs in levels for v in vs):
        stack = [start]
        while stack:
            v = stack.pop()
            if v not in seen:
                seen.add(v)
                order[level[v]].append(v)
                stack.extend(reversed(after[v]))
    return order


def _sorted(level: list[int], fixed: list[int], neighbours: Neighbours) -> list[int]:
    """A level by the mean place of each vertex's neighbours in the fixed level; a vertex without neighbours keeps its place."""
    place = {v: i for i, v in enumerate(fixed)}
    mean = {v: sum(place[u] for u in neighbours[v]) / len(neighbours[v]) for v in level if neighbours[v]}
    moved = iter(sorted(mean, key=mean.__getitem__))
    return [next(moved) if v in mean else v for v in level]


def _exchange(order: Order, before: Neighbours, after: Neighbours) -> None:
    """Exchange two vertices next to each other wherever that saves crossings, until it does not."""
    place = {v: i for level in order for i, v in enumerate(level)}
    for _ in range(max(1, min(4, EFFORT // (4 * len(place) + 1)))):
        improved = False
        for level in order:
            for i in range(len(level) - 1):
                u, v = level[i], level[i + 1]
                if _saved(before[u], before[v], place) + _saved(after[u], after[v], place) > 0:
                    level[i], level[i + 1] = v, u
                    place[u], place[v] = i + 1, i
                    improved = True
        if not improved:
            return


def _saved(upper: Sequence[int], lower: Sequence[int], place: dict[int, int]) -> int:
    """How many crossings the exchange of two vertices saves on one side, from the neighbours of each."""
    if len(upper) * len(lower) < 9:
        return sum((place[a] > place[b]) - (place[a] < place[b]) for a in upper for b in lower)
    ends = sorted(place[a] for a in upper)
    return sum(len(ends) - bisect_right(ends, place[b]) - bisect_left(ends, place[b]) for b in lower)
