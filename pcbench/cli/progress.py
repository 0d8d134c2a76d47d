"""What a user sees of work in progress: bars in a terminal; without one, lines that a log file keeps."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
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
def progress(plain: bool = False, expected: Sequence[float | None] = ()) -> Iterator[Screen]:
    """Where the cells of one command show how far they are, on standard error.

    plain: by lines in a terminal too, which leave room for a debugger. expected: as of `Remaining`.
    """
    if plain or not sys.stderr.isatty():
        yield Log(expected)
        return
    from pcbench.cli.output import progress_bars

    with progress_bars() as bars:
        yield Bars(bars, expected)


class Remaining:
    """How long all cells that are left may take: as much longer than expected as those before took.

    expected: seconds of each cell, by its number from 1; None where nothing tells, for which the mean of the
    others stands.
    """

    def __init__(self, expected: Sequence[float | None] = ()) -> None:
        self.expected = expected
        self.usual = statistics.fmean([each for each in expected if each] or [1.0])
        """What stands for an unknown one: the mean, or 1 where nothing is known of any."""
        self.cells = 0
        """The number of cells that are left."""
        self.left = 0.0
        """What these are expected to take."""
        self.worked = 0.0
        """What those were expected to take that have ended and took any work; the others tell nothing."""
        self.begun = time.monotonic()

    def begin(self, total: int) -> None:
        """There are so many cells in all."""
        self.cells, self.left = total, sum(map(self._of, range(1, total + 1)))

    def end(self, number: int, computed: bool) -> None:
        """A cell has ended. computed: whether it took any work."""
        self.cells -= 1
        self.left -= self._of(number)
        self.worked += self._of(number) if computed else 0.0

    def seconds(self) -> float | None:
        """By the wall clock, however many are at work at once; None before any cell took work."""
        return (time.monotonic() - self.begun) / self.worked * max(0.0, self.left) if self.worked else None

    def _of(self, number: int) -> float:
        """What a cell is expected to take."""
        known = self.expected[number - 1] if number <= len(self.expected) else None
        return self.usual if known is None else known


class Screen:
    """Where cells show how far they are.

    expected: as of `Remaining`.
    """

    def __init__(self, expected: Sequence[float | None] = ()) -> None:
        self.total = 0
        self.remaining = Remaining(expected)

    def overall(self, total: int) -> None:
        """There are so many cells in all."""
        if total != self.total:
            self.total = total
            self.remaining.begin(total)

    def one_done(self, number: int, computed: bool) -> str:
        """A cell has ended. What the line of its end says of the remaining time of all, if anything.

        computed: whether it took any work.
        """
        self.remaining.end(number, computed)
        left, seconds = self.remaining.cells, self.remaining.seconds()
        return f"; {left} left, about {_duration(seconds)}" if seconds is not None and left else ""

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

    def __init__(self, bars: Progress, expected: Sequence[float | None] = ()) -> None:
        super().__init__(expected)
        self.bars = bars
        self.all: TaskID | None = None

    def overall(self, total: int) -> None:
        """See `Screen`."""
        super().overall(total)
        if self.all is None and total > 1:
            self.all = self.bars.add_task("all cells", total=total, ends=None)

    def one_done(self, number: int, computed: bool) -> str:
        """See `Screen`."""
        left, seconds = super().one_done(number, computed), self.remaining.seconds()
        if self.all is not None:
            ends = None if seconds is None else time.monotonic() + seconds
            self.bars.update(self.all, completed=self.total - self.remaining.cells, ends=ends)
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
