"""Stopping a command: the first signal interrupts it, further ones leave it the time to end well."""

from __future__ import annotations

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
EXIT_CODE = 130
"""What a command that was interrupted ends with."""


def stop_at_signals() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, once; only the main thread can say so."""
    if threading.current_thread() is not threading.main_thread():
        return
    first: list[float] = []

    def stop(_number: int, _frame: FrameType | None) -> None:
        first.append(time.monotonic())
        if len(first) == 1:
            raise KeyboardInterrupt
        if first[-1] - first[0] > PATIENCE:
            os._exit(EXIT_CODE)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)


@contextmanager
def interruptible(kept: str) -> Iterator[None]:
    """Whoever stops the work in the block is told in `kept` what remains."""
    stop_at_signals()
    try:
        yield
    except KeyboardInterrupt as stop:
        raise Interrupted(f"interrupted; {kept}") from stop
