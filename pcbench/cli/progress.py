"""What a user sees of work in progress: bars in a terminal; without one, lines that a log file keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pcbench.cli.output import say
from pcbench.common.text import one_line

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EVERY = 60.0
"""Seconds between two lines of one phase."""
LONG = 5.0
"""A phase that took less has no line for its end."""


@contextmanager
def progress(plain: bool = False) -> Iterator[Screen]:
    """Where the cells of one command show how far they are, on standard error.

    plain: by lines in a terminal too, which leave room for a debugger.
    """
    if plain or not sys.stderr.isatty():
        yield Log()
        return
    from pcbench.cli.output import progress_bars

    with progress_bars() as bars:
        yield Bars(bars)


class Screen:
    """Where cells show how far they are."""

    def __init__(self) -> None:
        self.total, self.done, self.computed = 0, 0, 0
        self.begun = time.monotonic()

    def overall(self, total: int) -> None:
        """There are so many cells in all."""
        self.total = total

    def one_done(self, computed: bool) -> str:
        """One more cell has ended. What the line of its end says of the remaining time of all, if anything.

        computed: whether it took any work; what was there already says nothing of how long the others take.
        """
        self.done += 1
        self.computed += computed
        left = self.total - self.done
        if not self.computed or not left:
            return ""
        seconds = (time.monotonic() - self.begun) / self.computed * left
        return f"; {left} left, about {_duration(seconds)}"

    def cell(self, title: str) -> Cell:
        """A cell begins."""
        raise NotImplementedError

    def line(self, text: str) -> None:
        """A line that stays."""
        raise NotImplementedError


class Cell:
    """How far one cell is: called with a phase, the steps done and the steps in all."""

    def __call__(self, phase: str, done: int, total: int) -> None:
        """Show it."""
        raise NotImplementedError

    def end(self) -> None:
        """The cell has ended."""


class Bars(Screen):
    """One bar a phase, and one for all cells, with the remaining time."""

    def __init__(self, bars: Progress) -> None:
        super().__init__()
        self.bars = bars
        self.all: TaskID | None = None

    def overall(self, total: int) -> None:
        """See `Screen`."""
        super().overall(total)
        if self.all is None and total > 1:
            self.all = self.bars.add_task("all cells", total=total)

    def one_done(self, computed: bool) -> str:
        """See `Screen`."""
        left = super().one_done(computed)
        if self.all is not None:
            self.bars.update(self.all, completed=self.done)
        return left

    def cell(self, title: str) -> Cell:
        """See `Screen`."""
        return _CellBars(self.bars, one_line(title))

    def line(self, text: str) -> None:
        """See `Screen`."""
        from rich.text import Text

        self.bars.console.print(Text("\n".join(map(one_line, text.split("\n")))), soft_wrap=True)


@dataclass
class _CellBars(Cell):
    bars: Progress
    title: str
    tasks: dict[str, TaskID] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self.tasks:
            self.tasks[phase] = self.bars.add_task(f"{self.title}: {phase}", total=total)
        self.bars.update(self.tasks[phase], completed=done, total=total)

    def end(self) -> None:
        for task in self.tasks.values():
            self.bars.remove_task(task)


class Log(Screen):
    """A line when a phase begins, one a minute with the remaining time, one when it ends."""

    def cell(self, title: str) -> Cell:
        """See `Screen`."""
        self.line(f"{title}: begins")
        return _CellLines(title)

    def line(self, text: str) -> None:
        """See `Screen`."""
        say(text, err=True)


@dataclass
class _Phase:
    """What is known of a phase."""

    first: int
    """Steps that were done when it began here."""
    begun: float
    """When it did, by a clock in seconds."""
    shown: float
    """When its last line was written."""
    done: int
    """Steps that were done at its last report."""
    over: bool = False
    """Whether it has had its last line."""


@dataclass
class _CellLines(Cell):
    title: str
    phases: dict[str, _Phase] = field(default_factory=dict)

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        known = self.phases.get(phase)
        if known is None:
            self.phases[phase] = _Phase(done, now, now, done)
            self._line(f"{phase} begins, {total} steps")
            return
        if phase == "distil" and known.done + 1 < done < total:  # iterations come one by one
            known.first, known.begun = done, now
            self._line(f"{phase} goes on from iteration {done}")
        elif not known.over and done == total:
            known.over = True
            if now - known.begun >= LONG:
                self._line(f"{phase} ended after {_duration(now - known.begun)}")
        elif now - known.shown >= EVERY:
            known.shown = now
            steps = done - known.first
            left = (
                f", about {_duration((now - known.begun) / steps * (total - done))} left" if steps > 0 else ""
            )
            self._line(f"{phase} {done} of {total}{left}")
        known.done = done

    def _line(self, text: str) -> None:
        say(f"{self.title}: {text}", err=True)


def _duration(seconds: float) -> str:
    from pcbench.report.text import duration

    return duration(seconds)
