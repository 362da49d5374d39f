"""Compiled code that is kept on disk, where its files may be broken: cut short by a full disk, or overwritten. It needs the extra [fast]."""

import inspect
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def mended(function: Callable[..., Any], call: Callable[..., T], *args: Any) -> T:
    """`call(*args)`, which loads `function` or compiles it. Where a kept file cannot be read, it is removed, and what it held is compiled anew."""
    while True:
        try:
            return call(*args)
        except Exception:  # what reading makes of broken bytes is any error
            broken = [path for path in _files(function) if not _is_readable(path)]
            if not broken:
                raise
            for path in broken:
                path.unlink(missing_ok=True)


def _files(function: Callable[..., Any]) -> Iterator[Path]:
    """What is kept of the function's module, and of the package, whose functions it calls."""
    from numba.core.caching import FunctionCache

    from symbackprop.codegen import machine

    yield from Path(FunctionCache(function).cache_path).glob(f"{Path(inspect.getfile(function)).stem}.*.nb[ci]")
    yield from Path(FunctionCache(machine.train).cache_path).glob("*.nb[ci]")


def _is_readable(path: Path) -> bool:
    """Whether the file is pickles and nothing else: the data are one, an index is two."""
    try:
        with path.open("rb") as file:
            pickle.load(file)
            while file.peek(1):
                pickle.load(file)
    except Exception:
        return False
    return True


__all__ = ["mended"]
