"""Stopping a command: the first signal interrupts it, further ones leave it the time to end well."""

from __future__ import annotations

import atexit
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pcbench.errors import Interrupted

PATIENCE = 5.0
"""Seconds after the first signal in which others change nothing; after them one ends the process at once."""
STOPPING = signal.SIGINT, signal.SIGTERM
"""The signals that stop a command."""
EXIT_CODE = 130
"""What a command that was interrupted ends with."""


def stop_at_signals() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, once; only the main thread can say so.

    At its end Python takes handlers away, and a signal would end the process before it has said `EXIT_CODE`:
    by then signals are ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    first: list[float] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        first.append(time.monotonic())
        if len(first) == 1:
            raise KeyboardInterrupt
        if first[-1] - first[0] > PATIENCE:
            os._exit(EXIT_CODE)

    for number in STOPPING:
        signal.signal(number, stop)
    atexit.unregister(_ignore)
    atexit.register(_ignore)


def _ignore() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Whoever stops the work in the block is told in `kept` what remains."""
    stop_at_signals()
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(f"interrupted; {kept}") from stop
