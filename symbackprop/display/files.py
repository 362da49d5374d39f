"""Writing a file in the way that its suffix asks for."""

from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

from symbackprop.errors import UnsupportedError


def save(path: str | PathLike[str], writers: Mapping[str, Callable[[], str]], what: str) -> None:
    """Write what the writer of the path's suffix returns. Raises `UnsupportedError` for another suffix, and names those that there are."""
    path = Path(path)
    if path.suffix.lower() not in writers:
        raise UnsupportedError(f"{what} cannot be saved as {path.name!r}; the suffix must be one of {', '.join(writers)}")
    path.write_text(writers[path.suffix.lower()](), encoding="utf-8")


__all__ = ["save"]
