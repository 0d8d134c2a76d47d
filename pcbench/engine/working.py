"""Works through planned work: the one way from a plan to what became of it, for one process among several.

Pieces are claimed, one distillation at a time, so that any number of commands, on any number of machines,
work through the same folder of runs. An executor says where a piece is done: here, or in another process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import torch

from pcbench.engine import distil, evaluate, machine
from pcbench.engine.cell import Cell, Evaluation
from pcbench.engine.evaluate import Outcome, Report
from pcbench.errors import DataError
from pcbench.protocols.variants import PLAIN
from pcbench.records import attempts, layout, plans
from pcbench.records.attempts import Attempt
from pcbench.records.claims import Claims
from pcbench.records.inputs import DistillationInputs
from pcbench.records.labels import title
from pcbench.records.models import Run
from pcbench.records.plans import Plan
from pcbench.records.state import NONE_FINISHED, Finished, Snapshots
from pcbench.records.store import checked_run

POLL = 1.0
"""Seconds between two looks at what other processes work at."""


@dataclass(frozen=True)
class Piece:
    """A piece of work."""

    title: str
    """`sadm lr=5 on modelnet10, PPC 3`, as people call it."""
    out: Path
    """The folder of runs that its records go to."""
    key: str
    """The key of its distillation, which is claimed."""
    known: Callable[[], Outcome | None]
    """What is there already where nothing is to be computed; else None."""
    work: Callable[[Report], Outcome]
    """Does it in this process."""
    cell: Cell | None = None
    """The cell that it is; None where new students are trained on a run of which no more is known."""
    finished: Finished = NONE_FINISHED
    """The runs that stood in the folder when the work was planned."""

    @property
    def evaluation(self) -> str:
        """The key of the cell's evaluation; empty where it is no cell."""
        return self.cell.evaluation_key if self.cell else ""


@dataclass(frozen=True)
class Ended:
    """A piece that an executor has done."""

    place: int
    """Which one it is, from 0."""
    outcome: Outcome
    """What became of it."""
    log: list[str] = field(default_factory=list)
    """The last lines that its process printed, where it had one of its own."""


class Executor(Protocol):
    """Where pieces are done. A block: when it ends, so does all that is at work."""

    def room(self) -> bool:
        """Whether a further piece can begin."""

    def begin(self, place: int, piece: Piece, report: Report, attempt: str) -> None:
        """Begin a piece; `report` is told how far it is. attempt: its id, which the records carry."""

    def ended(self, wait: float) -> list[Ended]:
        """The pieces that have ended, waiting so many seconds for one."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Here:
    """Does one piece after another in this process."""

    def __init__(self) -> None:
        self._done: list[Ended] = []

    def room(self) -> bool:
        """See `Executor`, as for all below."""
        return not self._done

    def begin(self, place: int, piece: Piece, report: Report, attempt: str) -> None:
        with machine.attempted(attempt):
            self._done.append(Ended(place, piece.work(report)))

    def ended(self, wait: float) -> list[Ended]:
        if not self._done:
            time.sleep(wait)
        done, self._done = self._done, []
        return done

    def __enter__(self) -> Self:
        machine.keep_pages()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Watcher(Protocol):
    """Whoever shows the work to a user."""

    def begins(self, number: int, total: int, title: str) -> Report:
        """A piece begins, of so many; what is given back is told how far it is."""
        ...

    def ended(self, number: int, total: int, title: str, outcome: Outcome) -> None:
        """It has ended."""
        ...

    def waits(self, titles: Sequence[str]) -> None:
        """Nothing is left but these pieces, at which other processes work."""
        ...


def work_through(
    pieces: Sequence[Piece], watcher: Watcher, executor: Executor | None = None, plan: Plan | None = None
) -> list[Outcome]:
    """What became of every piece, in their order; a failure is an outcome, an interruption is raised.

    A distillation that fails is not tried again for its other students, nor one that has failed in another
    process meanwhile. What other processes work at is waited for, and taken over where they are gone.

    plan: what the pieces are cells of. It is left in their folder as soon as there is anything to do; where
    there is not, nothing is written.
    """
    work = _Work(pieces, watcher, plan)
    with Claims() as claims, executor or Here() as place_of_work:
        try:
            work.through(claims, place_of_work)
        except BaseException as error:
            work.stopped(error)
            raise
    return [work.outcomes[place] for place in range(len(pieces))]


def bury(piece: Piece, claims: Claims) -> None:
    """Remove what a process has left that was killed when its cell was done."""
    claims.bury(piece.out, piece.key, layout.attempt(piece.out, piece.key, piece.evaluation))


class _Work:
    """How far one call of `work_through` is."""

    def __init__(self, pieces: Sequence[Piece], watcher: Watcher, plan: Plan | None) -> None:
        self.pieces, self.watcher = pieces, watcher
        self.plan = plan
        """What is still to be left in the folder; None where there is nothing to leave."""
        self.waiting = dict(enumerate(pieces))
        """The pieces that have not begun, by their place."""
        self.looked_at: set[int] = set()
        """Those of them of which it is known that there is work."""
        self.elsewhere: set[int] = set()
        """Those that another process had claimed, and may have done, at the last look."""
        self.running: dict[int, Attempt | None] = {}
        """Those that are at work, with the word that was left of it."""
        self.outcomes: dict[int, Outcome] = {}
        """Those that have ended."""
        self.failed: dict[str, Outcome] = {}
        """Distillations that have failed, by their key."""
        self.earlier = {
            path: attempt.id
            for out in {piece.out for piece in pieces}
            for path in layout.attempts(out).glob("*.json")
            if (attempt := attempts.read(path))
        }
        """The attempts that had been made before."""

    def through(self, claims: Claims, executor: Executor) -> None:
        """Do all that there is to do."""
        others: list[str] = []
        while self.waiting or self.running:
            taken = self._begin(claims, executor)
            if self.waiting and not self.running and not taken:
                titles = [piece.title for piece in self.waiting.values()]
                if titles != others:
                    self.watcher.waits(titles)
                others = titles
            for ended in executor.ended(0.0 if taken and not self.running else POLL):
                self._ended(ended, claims)

    def _begin(self, claims: Claims, executor: Executor) -> bool:
        """Begin what can be; whether anything was begun or ended."""
        busy = {self.pieces[place].key for place in self.running}
        any_of_them = False
        for place, piece in list(self.waiting.items()):
            if not executor.room():
                break
            if piece.key in busy:
                continue
            outcome = self._known(place, piece)
            if outcome is None and not self._claimed(place, piece, claims):
                continue
            if place in self.elsewhere:
                outcome = outcome or self._done_elsewhere(piece, claims)
            del self.waiting[place]
            any_of_them = True
            report = self.watcher.begins(place + 1, len(self.pieces), piece.title)
            if outcome is not None:
                if outcome.status == "ok":
                    bury(piece, claims)
                self._note(place, outcome)
                continue
            busy.add(piece.key)
            attempt = (
                attempts.begin(piece.out, piece.key, piece.evaluation, piece.title) if piece.cell else None
            )
            self.running[place] = attempt
            executor.begin(place, piece, report, attempt.id if attempt else "")
        return any_of_them

    def _known(self, place: int, piece: Piece) -> Outcome | None:
        """What became of a piece without any work here; None where there is work.

        To look at a piece reads its clouds, and is done once. What another process has done afterwards is
        found by whoever gets the claim from it.
        """
        if piece.key in self.failed and piece.cell is not None:
            return replace(self.failed[piece.key], network=piece.cell.evaluation.network.label)
        if place in self.looked_at:
            return None
        self.looked_at.add(place)
        return piece.known() or self._failed_elsewhere(piece)

    def _claimed(self, place: int, piece: Piece, claims: Claims) -> bool:
        """Claim a piece that is to be done; whether no other process has it."""
        if self.plan is not None:
            plans.keep(piece.out, self.plan)
            self.plan = None
        if claims.take(piece.out, piece.key):
            return True
        self.elsewhere.add(place)
        return False

    def _done_elsewhere(self, piece: Piece, claims: Claims) -> Outcome | None:
        """What became of a piece that another process had; None where there is work, and it stays claimed."""
        outcome = piece.known() or self._failed_elsewhere(piece)
        if outcome is not None:
            claims.release(piece.out, piece.key)
        return outcome

    def _failed_elsewhere(self, piece: Piece) -> Outcome | None:
        """The failure of a cell in another process since this call began."""
        if piece.cell is None:
            return None
        path = layout.attempt(piece.out, piece.key, piece.evaluation)
        attempt = attempts.read(path) if path.exists() else None
        if attempt is None or self.earlier.get(path) == attempt.id:
            return None
        if attempt.status == "running" or attempt.status == "interrupted":
            return None
        return failed_elsewhere(piece.out, piece.cell, attempt.status, attempt.reason)

    def _ended(self, ended: Ended, claims: Claims) -> None:
        piece, outcome = self.pieces[ended.place], ended.outcome
        attempt = self.running.pop(ended.place)
        if attempt is not None:
            self._leave_word(piece, attempt, outcome.status, outcome.problem, ended.log)
        claims.release(piece.out, piece.key)
        if outcome.run.distillation.status != "ok":
            self.failed[piece.key] = outcome
        self._note(ended.place, outcome)

    def _note(self, place: int, outcome: Outcome) -> None:
        self.outcomes[place] = outcome
        self.watcher.ended(place + 1, len(self.pieces), self.pieces[place].title, outcome)

    def _leave_word(
        self,
        piece: Piece,
        attempt: Attempt,
        status: attempts.Ending,
        reason: str,
        log: Sequence[str] = (),
    ) -> None:
        attempts.end(piece.out, piece.key, piece.evaluation, attempt, status, reason, list(log))

    def stopped(self, error: BaseException) -> None:
        """Leave word that what is at work was stopped; where that cannot be done, its claim's end tells."""
        reason = "interrupted by the user" if isinstance(error, KeyboardInterrupt) else str(error)
        for place, attempt in self.running.items():
            if attempt is not None:
                try:
                    self._leave_word(self.pieces[place], attempt, "interrupted", reason)
                except OSError:
                    continue  # a full disk, perhaps, which is what stopped the work


def of_cells(
    cells: Sequence[Cell],
    out: Path,
    device: torch.device,
    runs: Sequence[Run],
    snapshots: Snapshots = "all",
    again: bool = False,
    in_process: bool = False,
) -> list[Piece]:
    """Cells as pieces, each done as `distil.execute` says; runs: those that stand in `out`."""
    finished = Finished(runs)

    def known(cell: Cell) -> Outcome | None:
        return distil.known(cell, out, finished, snapshots, again)

    def work(cell: Cell, report: Report) -> Outcome:
        return distil.execute(cell, out, device, report, finished, snapshots, again, in_process)

    return [
        Piece(
            cell_title(cell.inputs, cell.evaluation),
            out,
            cell.key,
            partial(known, cell),
            partial(work, cell),
            cell,
            finished,
        )
        for cell in cells
    ]


def of_evaluations(
    evaluations: Sequence[tuple[Run, Evaluation]],
    device: torch.device,
    snapshots: Snapshots = "all",
    again: bool = False,
) -> list[Piece]:
    """New students of finished runs as pieces, each done as `evaluate.evaluate` says."""

    def known(run: Run, students: Evaluation) -> Outcome | None:
        return evaluate.known(students, run, snapshots, again)

    def work(run: Run, students: Evaluation, report: Report) -> Outcome:
        return evaluate.evaluate(students, run, device, report, snapshots, again)

    return [
        Piece(
            cell_title(run.distillation.inputs, students),
            run.folder.parent,
            run.distillation.key,
            partial(known, run, students),
            partial(work, run, students),
        )
        for run, students in evaluations
    ]


def failed_elsewhere(out: Path, cell: Cell, status: attempts.Ending, reason: str) -> Outcome | None:
    """The outcome of a cell that did not end well in another process; None where that left no record."""
    try:
        run = checked_run(layout.run_folder(out, cell.inputs)).run
    except DataError:
        return None
    kept = Run(run.folder, run.distillation, ())
    return Outcome(kept, cell.evaluation.network.label, problem=reason, status=status)


def cell_title(inputs: DistillationInputs, evaluation: Evaluation) -> str:
    """`sadm lr=5 on modelnet10, PPC 3`, the students' network where it is another, tests other than plain."""
    tests = [variant.label for variant in evaluation.variants] if evaluation.variants != (PLAIN,) else []
    return title(inputs, evaluation.network.label, ", ".join(tests))
