"""Has pieces of work done in a terminal: shows how far each is, and leaves a line for each result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pcbench.cli.output import debugging, say
from pcbench.cli.progress import Cell, Screen, progress
from pcbench.cli.stopping import stop_at_signals
from pcbench.errors import Interrupted

if TYPE_CHECKING:
    from pcbench.engine.evaluate import Outcome, Report
    from pcbench.engine.working import Executor, Piece


def work_through(
    pieces: Sequence[Piece], pdb: bool = False, executor: Executor | None = None
) -> list[Outcome]:
    """The outcome of every piece. Interrupted where the user stops it.

    executor: where pieces are done, unless in this process. pdb: where a plugin fails in this process,
    Python's debugger opens in the frame that failed.
    """
    from pcbench.engine import working

    stop_at_signals()
    if pdb:
        from pcbench.engine.evaluate import debugger

        debugger.set(_post_mortem)
    with progress(plain=pdb) as screen:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the result
                return working.work_through(pieces, _Shown(screen), executor)
        except KeyboardInterrupt as stop:
            kept = "interrupted; what is finished is kept, run the same command to go on"
            raise Interrupted(kept) from stop


class _Shown:
    """The work on a screen, as a `working.Watcher`."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.cells: dict[int, Cell] = {}
        """Those at work, by their number."""

    def begins(self, number: int, total: int, title: str) -> Report:
        """See `working.Watcher`."""
        self.cells[number] = self.screen.cell(f"[{number}/{total}] {title}")
        self.screen.overall(total)
        return self.cells[number]

    def ended(self, number: int, total: int, title: str, outcome: Outcome) -> None:
        """See `working.Watcher`."""
        self.cells.pop(number).end()
        title = f"[{number}/{total}] {title}"
        left = self.screen.one_done(computed=not outcome.reused and outcome.status != "stale")
        self.screen.line(f"{title}: {_summary(outcome)}{left}")
        copies = outcome.run.distillation.copies
        if copies:
            self.screen.line(
                f"{title}: warning: {len(copies)} of its clouds are made of points of test clouds, which "
                f"makes it open division: {copies[0]}"
            )
        if outcome.problem and debugging():
            self.screen.line(_traceback(outcome))

    def waits(self, titles: Sequence[str]) -> None:
        """See `working.Watcher`."""
        more = f" and {len(titles) - 1} more" if len(titles) > 1 else ""
        self.screen.line(f"waiting for other processes that work at {titles[0]}{more}: see 'pcbench status'")


def _post_mortem(error: BaseException) -> None:
    """Let the user look around where an error was raised."""
    import pdb

    say(f"{type(error).__name__}: {error}; 'q' goes on", err=True)
    pdb.post_mortem(error.__traceback__)


def _summary(outcome: Outcome) -> str:
    if outcome.problem:
        return f"{outcome.problem} (see {outcome.run.folder})"
    return f"{'done already' if outcome.reused else 'done'}, in {outcome.run.folder}"


def _traceback(outcome: Outcome) -> str:
    """The tracebacks that lie beside the records of a run, newest last."""
    files = sorted(outcome.run.folder.glob("*traceback.txt"), key=lambda file: file.stat().st_mtime)
    return "\n".join(file.read_text(encoding="utf-8", errors="replace").rstrip() for file in files)
