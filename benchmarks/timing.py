"""How everything here is timed: repetitions of all candidates in turn, medians, and ratios of medians.

A machine's speed drifts, so candidates are never timed one after another in blocks: every round gives each of them a turn.
"""

import statistics
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, Self


def interleave(candidates: Mapping[str, Callable[[], Any]], repetitions: int | Mapping[str, int]) -> dict[str, list[Any]]:
    """Call every candidate so many times, in rounds; the turns of one with fewer repetitions are spread over the rounds."""
    counts = dict.fromkeys(candidates, repetitions) if isinstance(repetitions, int) else repetitions
    rounds = max(counts.values())
    results: dict[str, list[Any]] = {name: [] for name in candidates}
    for r in range(rounds):
        for name, candidate in candidates.items():
            if round((r + 1) * counts[name] / rounds) > round(r * counts[name] / rounds):
                results[name].append(candidate())
    return results


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in seconds.items()}


class Resident:
    """An object that lives in a process of its own: `resident("method", ...)` calls it there and brings the result back."""

    def __init__(self, make: Callable[..., Any], *args: Any) -> None:
        self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
        self._pool.submit(_hold, make, args).result()

    def __call__(self, method: str, *args: Any) -> Any:
        return self._pool.submit(_call, method, args).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()


def in_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function in a new interpreter, so that no cache is warm from the repetition before."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


_held: dict[str, Any] = {}


def _hold(make: Callable[..., Any], args: tuple[Any, ...]) -> None:
    _held["object"] = make(*args)


def _call(method: str, args: tuple[Any, ...]) -> Any:
    return getattr(_held["object"], method)(*args)
