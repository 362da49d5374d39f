"""From a graph to levels: which nodes stand in which column, where a wide picture breaks into rows, and how long edges pass through the
levels in between.

Source: Sugiyama, Tagawa & Toda, "Methods for visual understanding of hierarchical system structures", 1981. A tensor is one value
however many equations read it, so all its edges share one trunk and leave it where they are needed.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Pairs = Sequence[tuple[str, str]]  # (source, target)
CLOSE = 12  # the most satellites of one node


def satellites(weights: Iterable[str], pairs: Pairs) -> dict[str, list[str]]:
    """Node → the weights that it alone mentions: they stand above or below it, and need no column of their own."""
    users = _grouped(pairs)
    found: dict[str, list[str]] = {}
    for w in weights:
        if len(users.get(w, ())) == 1:
            near = found.setdefault(users[w][0], [])
            if len(near) < CLOSE:
                near.append(w)
    return found


def columns(names: Sequence[str], pairs: Pairs) -> dict[str, int]:
    """Name → column, for names given with definitions before uses. Each stands to the right of everything that it mentions, as far left
    as that allows; what mentions nothing, and what hangs on that alone, stands next to its first user."""
    sources, users = _grouped((b, a) for a, b in pairs), _grouped(pairs)
    column: dict[str, int] = {}
    free: set[str] = set()  # what can be moved to the right without making any edge longer
    for name in names:
        column[name] = max((column[s] + 1 for s in sources[name]), default=0)
        if all(s in free and len(users[s]) == 1 for s in sources[name]):
            free.add(name)
    for name in reversed(names):
        if users[name]:
            latest = min(column[u] for u in users[name]) - 1
            reach = (max(column[u] for u in users[s]) >= latest and len(users[s]) > 1 for s in sources[name])
            if name in free or all(reach):
                column[name] = latest
    first = min(column.values(), default=0)
    return {name: c - first for name, c in column.items()}


def breaks(widths: Sequence[float], gap: float, limit: float | None, crossing: Sequence[int], pitch: float) -> list[int]:
    """The columns after which the picture breaks into rows no wider than `limit`: rows of about one width, and few edges from one to the
    next (`crossing[k]` of them leave column k to the right, and each needs `pitch` to turn).
    Where the turns would fill the rows, the rows are wider."""
    if limit is None or sum(widths) + gap * (len(widths) - 1) <= limit:
        return []
    limit = max(limit, 6 * pitch * median(crossing))
    best = [0.0] + [float("inf")] * len(widths)
    start_of = [0] * (len(widths) + 1)
    for end in range(1, len(widths) + 1):
        row = -gap + (pitch * crossing[end - 1] if end < len(widths) else 0)
        for start in range(end - 1, -1, -1):
            row += widths[start] + gap
            turns = crossing[start - 1] if start else 0
            full = row + pitch * turns
            if row > limit and start < end - 1:
                break
            cost = best[start] + (1 - full / limit) ** 2 * (4 if full > limit else 1) + 0.1 * turns
            if cost < best[end]:
                best[end], start_of[end] = cost, start
    found = []
    end = len(widths)
    while start_of[end]:
        end = start_of[end]
        found.append(end - 1)
    return found[::-1]


def crossing_edges(column: Mapping[str, int], pairs: Pairs) -> list[int]:
    """How many tensors are read across the line to the right of each column."""
    counts = [0] * (max(column.values(), default=0) + 1)
    for source, users in _grouped(pairs).items():
        for k in range(column[source], max(column[u] for u in users)):
            counts[k] += 1
    return counts


@dataclass
class Levels:
    """`levels[k]` lists the vertices of level k, each a number; `name[v]` is the tensor that stands there (`home`: the
    other way round) or passes through (`passes[v]`);
    `before` and `after` are the neighbours in the levels next to it. `ends` are the levels where a row ends and the next begins: everything there passes."""

    levels: list[list[int]]
    name: list[str]
    passes: list[bool]
    before: list[list[int]]
    after: list[list[int]]
    ends: list[int]
    home: dict[str, int]
    last: dict[tuple[str, str], int]  # edge → its last vertex before the target; where an edge passes, `before` has one vertex

    def rows(self) -> list[tuple[int, int]]:
        """The first and the last level of each row."""
        return list(zip([0, *self.ends], [*self.ends, len(self.levels) - 1], strict=True))


def levels(column: Mapping[str, int], pairs: Pairs, cuts: Sequence[int]) -> Levels:
    """The columns as levels, one more for each row that ends, with a vertex wherever an edge passes through a level."""
    level = {name: c + sum(cut < c for cut in cuts) for name, c in column.items()}
    made = Levels([[] for _ in range(max(level.values(), default=-1) + 1)], [], [], [], [], [cut + 1 + i for i, cut in enumerate(cuts)], {}, {})
    places: dict[tuple[str, int], int] = {}

    def vertex(name: str, at: int) -> int:
        if (name, at) not in places:
            places[name, at] = len(made.name)
            made.levels[at].append(len(made.name))
            made.name.append(name)
            made.passes.append(at != level[name])
            made.before.append([])
            made.after.append([])
        return places[name, at]

    def join(u: int, v: int) -> None:
        made.after[u].append(v)
        made.before[v].append(u)

    made.home |= {name: vertex(name, level[name]) for name in column}
    reach = level.copy()  # how far to the right each tensor's trunk goes
    for source, target in pairs:
        for k in range(reach[source] + 1, level[target]):
            join(vertex(source, k - 1), vertex(source, k))
            reach[source] = k
        made.last[source, target] = vertex(source, level[target] - 1)
        join(made.last[source, target], vertex(target, level[target]))
    return made


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for a, b in pairs:
        found[a].append(b)
    return found
