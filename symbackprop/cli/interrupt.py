"""Ctrl-C that is not lost. Python makes an exception of it wherever the program happens to be, and C code that clears errors there, of
NumPy or of a compiler, can swallow it; the program would go on as if nothing had been asked."""

import _thread
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

PATIENCE = 1.0  # seconds; what was heard has ended the program by then


@contextmanager
def insistent() -> Iterator[None]:
    """An interrupt comes again until the block has ended. Where the program does not handle interrupts itself, nothing changes."""
    timers: list[threading.Timer] = []

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        again = threading.Timer(PATIENCE, _send)
        again.daemon = True
        timers.append(again)
        again.start()
        raise KeyboardInterrupt

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for again in timers:
            again.cancel()


def _send() -> None:
    """An interrupt for the main thread; where the system can, it also ends a call that waits."""
    ident = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and ident is not None:
        signal.pthread_kill(ident, signal.SIGINT)
    else:
        _thread.interrupt_main()
