"""Works through cells one after another, with a bar for each phase and a line for each result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pcbench.cli.output import progress_bars
from pcbench.errors import Interrupted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from pcbench.engine.evaluate import Outcome, Report


def work_through(cells: Sequence[tuple[str, Callable[[Report], Outcome]]]) -> list[Outcome]:
    """The outcome of every cell, given by its title and its work. Interrupted where the user stops it."""
    import signal

    from rich.text import Text

    from pcbench.engine import machine

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    machine.keep_pages()
    outcomes = []
    with progress_bars() as progress:
        for number, (name, work) in enumerate(cells, 1):
            title = f"[{number}/{len(cells)}] {name}"
            bars = Bars(progress, title)
            try:
                with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the result
                    outcome = work(bars)
            except KeyboardInterrupt as stop:
                kept = "interrupted; what is finished is kept, run the same command to go on"
                raise Interrupted(kept) from stop
            bars.remove()
            outcomes.append(outcome)
            progress.console.print(Text(f"{title}: {_summary(outcome)}"), soft_wrap=True)
    return outcomes


class Bars:
    """The progress bars of one cell, one a phase."""

    def __init__(self, progress: Progress, title: str) -> None:
        self.progress, self.title = progress, title
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        if phase not in self.tasks:
            self.tasks[phase] = self.progress.add_task(f"{self.title}: {phase}", total=total)
        self.progress.update(self.tasks[phase], completed=done, total=total)

    def remove(self) -> None:
        for task in self.tasks.values():
            self.progress.remove_task(task)


def _summary(outcome: Outcome) -> str:
    if outcome.problem:
        return f"{outcome.problem} (see {outcome.run.folder})"
    return f"{'done already' if outcome.reused else 'done'}, in {outcome.run.folder}"
