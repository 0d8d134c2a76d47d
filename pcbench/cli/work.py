"""Works through cells one after another, shows how far each is, and leaves a line for each result."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pcbench.cli.output import debugging, say
from pcbench.cli.progress import progress
from pcbench.cli.stopping import stop_at_signals
from pcbench.errors import Interrupted

if TYPE_CHECKING:
    from pcbench.engine.evaluate import Outcome, Report


def work_through(
    cells: Sequence[tuple[str, Callable[[Report], Outcome]]], pdb: bool = False
) -> list[Outcome]:
    """The outcome of every cell, given by its title and its work. Interrupted where the user stops it.

    pdb: where a plugin fails in this process, Python's debugger opens in the frame that failed.
    """
    from pcbench.engine import machine

    stop_at_signals()
    machine.keep_pages()
    outcomes = []
    if pdb:
        from pcbench.engine.evaluate import debugger

        debugger.set(_post_mortem)
    with progress(plain=pdb) as screen:
        for number, (name, work) in enumerate(cells, 1):
            title = f"[{number}/{len(cells)}] {name}"
            cell = screen.cell(title)
            try:
                with contextlib.redirect_stdout(sys.stderr):  # what a plugin prints is no part of the result
                    outcome = work(cell)
            except KeyboardInterrupt as stop:
                kept = "interrupted; what is finished is kept, run the same command to go on"
                raise Interrupted(kept) from stop
            cell.end()
            outcomes.append(outcome)
            screen.line(f"{title}: {_summary(outcome)}")
            copies = outcome.run.distillation.copies
            if copies:
                screen.line(
                    f"{title}: warning: {len(copies)} of its clouds are made of points of test clouds, which "
                    f"makes it open division: {copies[0]}"
                )
            if outcome.problem and debugging():
                screen.line(_traceback(outcome))
    return outcomes


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
