"""How far the work is: what callbacks are given, and one that shows it in notebooks and terminals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pcbench.common.text import one_line
from pcbench.engine.evaluate import Outcome, Report

EVERY = 0.2
"""Seconds between two states of the line that `show_progress` writes."""
WIDTH = 110
"""Characters of that line."""


@dataclass(frozen=True)
class Progress:
    """How far one cell of a call is."""

    number: int
    """Which cell it is, from 1."""
    total: int
    """How many cells there are."""
    title: str
    """`sadm lr=5 on modelnet10, PPC 3`."""
    phase: str = "begins"
    """What is being done, as `distil` or `train students`; `begins`, and `ended` with its outcome."""
    done: int = 0
    """Steps of the phase that are done."""
    steps: int = 0
    """Steps of the phase in all; 0 where it has none."""
    outcome: Outcome | None = None
    """What became of the cell, once it has ended."""

    def __str__(self) -> str:
        """`[1/2] sadm on shapes10, PPC 3: distil 30 of 60`."""
        state = f"{self.phase} {self.done} of {self.steps}" if self.steps else self.phase
        if self.outcome is not None:
            state = self.outcome.problem or ("done already" if self.outcome.reused else "done")
        return one_line(f"[{self.number}/{self.total}] {self.title}: {state}")


OnProgress = Callable[[Progress], object]
"""Called when a cell begins, at every step of it, and when it has ended.

What it raises ends the call. A cell that is at work is finished first, for the fault is not its own.
"""


def _silent(progress: Progress) -> None:
    """Show nothing."""


class Told:
    """Tells a callback how far the work is, as a `working.Watcher`."""

    def __init__(self, on_progress: OnProgress | None) -> None:
        self.tell: OnProgress = on_progress or _silent
        self.error: Exception | None = None
        """What the callback raised while a cell was at work."""

    def begins(self, number: int, total: int, title: str) -> Report:
        """See `working.Watcher`."""
        cell = Progress(number, total, title)
        self.tell(cell)

        def report(phase: str, done: int, steps: int) -> None:
            if self.error is None:
                try:
                    self.tell(replace(cell, phase=phase, done=done, steps=steps))
                except Exception as error:  # noqa: BLE001 - raised when the cell has ended
                    self.error = error

        return report

    def ended(self, number: int, total: int, title: str, outcome: Outcome) -> None:
        """See `working.Watcher`."""
        if self.error is not None:
            raise self.error
        self.tell(Progress(number, total, title, "ended", outcome=outcome))

    def waits(self, titles: Sequence[str]) -> None:
        """See `working.Watcher`; `begins` tells of each when its turn has come."""


_last_shown = 0.0


def show_progress(progress: Progress) -> None:
    """Show how far a call is in one line on standard error, and leave a line for every cell.

    For `on_progress`. The line is written over itself, which notebooks and terminals both do, and no widgets
    are needed.
    """
    global _last_shown
    ended, now = progress.outcome is not None, time.monotonic()
    if not ended and now - _last_shown < EVERY and progress.done < progress.steps:
        return
    _last_shown = now
    text = str(progress)
    line = text if ended else text[:WIDTH].ljust(WIDTH)
    print(f"\r{line.ljust(WIDTH)}", end="\n" if ended else "", file=sys.stderr, flush=True)
