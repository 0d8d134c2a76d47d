"""Has pieces of work done in a terminal: shows how far each is, and leaves a line for each result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pcbench.cli.output import debugging, say
from pcbench.cli.progress import Cell, Screen, progress
from pcbench.cli.stopping import stop_at_signals
from pcbench.errors import Interrupted

if TYPE_CHECKING:
    from pcbench.engine.evaluate import Outcome, Report
    from pcbench.engine.working import Executor, Piece
    from pcbench.executors.queued import Order
    from pcbench.records.plans import Plan


def work_through(
    pieces: Sequence[Piece],
    pdb: bool = False,
    executor: Executor | None = None,
    plan: Plan | None = None,
    expected: Sequence[float | None] = (),
) -> list[Outcome]:
    """The outcome of every piece. Interrupted where the user stops it.

    executor: where pieces are done, unless in this process. plan: what they are cells of. pdb: where a plugin
    fails in this process, Python's debugger opens in the frame that failed. expected: seconds of each, as of
    `progress.Remaining`.
    """
    from pcbench.engine import working

    if pdb:
        from pcbench.engine.evaluate import debugger

        debugger.set(_post_mortem)
    with _screen("what is finished is kept, run the same command to go on", pdb, expected) as screen:
        return working.work_through(pieces, _Shown(screen), executor, plan)


def follow(
    pieces: Sequence[Piece], plan: Plan, order: Order, detach: bool, expected: Sequence[float | None] = ()
) -> list[Outcome]:
    """The outcome of every piece, once a cluster's tasks have worked through them. Interrupted as above.

    plan: what they are cells of. order: how its tasks are submitted. detach: only of those that are done
    already; the tasks are submitted, and nobody waits.
    """
    from pcbench.executors import queued

    kept = "the tasks go on; the same command looks after them again"
    with _screen(kept, expected=expected) as screen:
        return queued.work_through(pieces, _Shown(screen), plan, order, screen.line, detach)


@contextlib.contextmanager
def _screen(kept: str, pdb: bool = False, expected: Sequence[float | None] = ()) -> Iterator[Screen]:
    """Where work is shown until it ends, or until the user stops it, who is told what is kept."""
    stop_at_signals()
    with progress(pdb, expected) as screen:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the result
                yield screen
        except KeyboardInterrupt as stop:
            raise Interrupted(f"interrupted; {kept}") from stop


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
        left = self.screen.one_done(number, computed=not outcome.reused and outcome.status != "stale")
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
