"""Where the working memory of compiled code lies: arrays that are never needed at the same time share a place. Their sizes are numbers; `memory` does
the same for sizes with open dimensions."""

from collections.abc import Sequence

ALIGNED = 64  # bytes: a line of the cache


def places(lifetimes: Sequence[tuple[int, int, int]]) -> tuple[list[int], int]:
    """Offsets for blocks of (size, first use, last use), and the size of all: each block goes to the lowest place that is free for as long
    as it lives, the largest first."""
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for i in sorted(range(len(lifetimes)), key=lambda i: -lifetimes[i][0]):
        size, first, last = lifetimes[i]
        meets = sorted((offsets[k], lifetimes[k][0]) for k in placed if lifetimes[k][1] <= last and first <= lifetimes[k][2])
        at = 0
        for offset, length in meets:
            if at + size <= offset:
                break
            at = max(at, offset + length)
        offsets[i] = at
        placed.append(i)
    return offsets, max((o + t[0] for o, t in zip(offsets, lifetimes, strict=True)), default=0)


def aligned(size: int) -> int:
    """A number of bytes, rounded up to whole lines of the cache."""
    return -(-size // ALIGNED) * ALIGNED
