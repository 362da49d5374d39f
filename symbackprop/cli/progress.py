"""A line on a terminal that says what takes so long; it is erased when that is done. A pipe or a file sees nothing of it."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from symbackprop.text.page import one_line

PERIOD = 0.5  # seconds; what takes less is not spoken of
LONGEST = 60  # characters, so that the line fits: only one line can be erased


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show what is being done, and for how long, while it is."""
    if not erasing():
        yield
        return
    done = threading.Event()

    def show() -> None:
        started = time.monotonic()
        erase = ""
        while not done.wait(PERIOD):
            erase = erasing()
            print(f"{erase}{one_line(what, LONGEST)} ({time.monotonic() - started:.0f} s)", end="", file=sys.stderr, flush=True)
        print(erase, end="", file=sys.stderr, flush=True)

    shown = threading.Thread(target=show, daemon=True)
    shown.start()
    try:
        yield
    finally:
        done.set()
        shown.join()


def erasing() -> str:
    """What erases the line on a terminal; nothing elsewhere."""
    return "\r\033[K" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else ""
