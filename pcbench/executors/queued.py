"""Has a cluster work through a plan: submits tasks, sees what becomes of the cells, submits some again.

A task is `pcbench run` on its part of the plan, and claims what it works at as every other process does. What
became of a cell stands in the folder of records, which the cluster shares; Slurm only says whether a task is
still to be waited for, and why it has ended. So any command may look after the tasks, and none has to.
"""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from pcbench.common.text import counted, one_line
from pcbench.engine import distil
from pcbench.engine.cell import Cell
from pcbench.engine.evaluate import Outcome
from pcbench.engine.working import Piece, Watcher, bury, failed_elsewhere
from pcbench.executors import slurm
from pcbench.executors.slurm import End, Profile, SlurmError
from pcbench.records import attempts, jobs, layout, plans, standing
from pcbench.records.claims import Claims
from pcbench.records.jobs import Jobs
from pcbench.records.models import Status
from pcbench.records.plans import Plan
from pcbench.records.standing import Standing

POLL = 5.0
"""Seconds between two looks at the queue and at the records."""
LAG = 60.0
"""Seconds by which Slurm's accounts may be behind its queue."""
EVERY = 60.0
"""Seconds between two lines that say how many tasks run."""
NOWHERE = torch.device("cpu")
"""What a record says of where a cell was computed that was not."""
LAST_LINES = 20
"""Lines of what a task printed that are kept where it ended without a word."""


@dataclass(frozen=True)
class Order:
    """How the tasks of a plan are submitted."""

    profile: Profile
    """What they ask the cluster for."""
    command: Sequence[str]
    """What a task does, word by word, but for which part of the plan: `3/8` comes last."""

    def script(self, parts: int) -> str:
        """The script of a task of a plan that has so many parts."""
        threads = [f"export OMP_NUM_THREADS={self.profile.cpus}"] if self.profile.cpus else []
        command = f'exec {shlex.join(self.command)} "$SLURM_ARRAY_TASK_ID/{parts}"'
        return "\n".join(["#!/bin/sh", *self.profile.setup, *threads, command, ""])


def work_through(
    pieces: Sequence[Piece],
    watcher: Watcher,
    plan: Plan,
    order: Order,
    tell: Callable[[str], None],
    detach: bool = False,
) -> list[Outcome]:
    """What became of every piece, in their order, once the tasks of the plan have ended.

    Where tasks of the plan are in the queue already, of this folder and from whatever shell, they are waited
    for, and nothing is submitted twice. A task that was ended from outside is submitted again, as often as
    the profile says; what failed by itself is an outcome.

    pieces: cells of the plan. tell: takes lines for the user. detach: what is there already, as soon as the
    tasks are submitted.
    """
    following = _Following(pieces, watcher, plan, order, tell)
    following.see_what_is_there()
    with Claims() as claims:
        while following.waiting:
            try:
                following.look(claims)
            except SlurmError as error:  # a controller that is started again, a queue that is full
                if not following.submitted:
                    raise
                following.say(str(error))
            if detach:
                break
            if following.waiting:
                time.sleep(POLL)
        if not following.waiting:
            following.bury(claims)
    return [outcome for _, outcome in sorted(following.outcomes.items())]


class _Following:
    """How far one call of `work_through` is."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        watcher: Watcher,
        plan: Plan,
        order: Order,
        tell: Callable[[str], None],
    ) -> None:
        self.pieces, self.watcher, self.plan, self.order, self.tell = pieces, watcher, plan, order, tell
        self.out = pieces[0].out if pieces else Path()
        self.waiting = dict(enumerate(pieces))
        """The pieces without an outcome, by their place."""
        self.begun: set[int] = set()
        """Those of which the watcher knows."""
        self.looked_at: set[int] = set()
        """Those whose records were looked at since their task was submitted."""
        self.outcomes: dict[int, Outcome] = {}
        """What became of the others."""
        self.mine = False
        """Whether this command, of all that look after the plan, is the one that submits."""
        self.jobs: Jobs | None = None
        """What was submitted."""
        self.part_of: dict[str, int] = {}
        """The task of each distillation, by its key."""
        self.gone: dict[slurm.Task, float] = {}
        """When tasks were first seen to be in no queue, by the monotonic clock."""
        self.standings: dict[tuple[str, str], Standing] = {}
        """What there is of the plan's cells, by the keys of their distillation and evaluation."""
        self.said, self.said_at = "", float("-inf")
        """The last line on the queue, and when it was told."""

    @property
    def submitted(self) -> bool:
        """Whether tasks were submitted, by whichever command."""
        return self.jobs is not None and bool(self.jobs.arrays)

    def bury(self, claims: Claims) -> None:
        """Remove what tasks, and a command that looked after them, have left that were killed at the end."""
        for place, outcome in self.outcomes.items():
            if outcome.status == "ok":
                bury(self.pieces[place], claims)
        claims.bury(self.out, self.plan.hash)

    def see_what_is_there(self) -> None:
        """Take what is done already."""
        for place, piece in list(self.waiting.items()):
            outcome = piece.known()
            if outcome is not None:
                self._note(place, outcome)

    def look(self, claims: Claims) -> None:
        """Look once at the queue and at the records, and submit what is to be submitted."""
        queue = slurm.queued()
        self._read_jobs(queue, claims)
        if self.jobs is None:
            self.say("another command is about to submit the tasks")
            return
        cells = standing.standings(self.out, [self.plan])
        self.standings = {(each.cell.key, each.cell.evaluation): each for each in cells}
        self._see_cells()
        if self.mine:
            self._submit(self._ended(queue, claims))
        states = Counter(queue[task].lower() for task in self._tasks() if task in queue)
        if states:
            self.say(f"Slurm: {', '.join(_counted(count, word) for word, count in sorted(states.items()))}")

    def _read_jobs(self, queue: dict[slurm.Task, str], claims: Claims) -> None:
        """Find out what was submitted; nothing counts of an earlier call none of whose tasks are left."""
        first = self.jobs is None
        self.mine = self.mine or claims.take(self.out, self.plan.hash)
        self.jobs = jobs.read(self.out, self.plan.hash)
        alive = self.jobs is not None and any(task in queue for task in self._tasks())
        if self.mine and first and not alive:
            plans.keep(self.out, self.plan)
            count = min(len({cell.key for cell in self.plan.cells}), self.order.profile.tasks)
            self.jobs = Jobs(plan=self.plan.hash, parts=count)
        elif alive and first:
            self.tell("Slurm: tasks of this plan are in the queue already, and are waited for")
        if self.jobs is not None:
            self.part_of = self.plan.parts(self.jobs.parts)

    def _tasks(self) -> list[slurm.Task]:
        """All tasks that were submitted, each as often as it was."""
        if self.jobs is None:
            return []
        return sorted({(array.job, task) for array in self.jobs.arrays for task in array.tasks})

    def _see_cells(self) -> None:
        """Tell the watcher what has begun, and take what is done."""
        for place, piece in list(self.waiting.items()):
            word = self.standings[piece.key, piece.evaluation].word
            if word == "running":
                self._begins(place)
            elif word == "done" and place not in self.looked_at:
                self.looked_at.add(place)
                outcome = piece.known()
                if outcome is not None:
                    self._note(place, replace(outcome, reused=False))

    def _ended(self, queue: dict[slurm.Task, str], claims: Claims) -> list[int]:
        """Settle what is left of tasks that have ended; the numbers of those that are to be submitted."""
        assert self.jobs is not None
        numbers = sorted({self.part_of[piece.key] for piece in self.waiting.values()})
        new = [number for number in numbers if not self.jobs.times(number)]
        over = [(self.jobs.job(number), number) for number in numbers if number not in new]
        over = [task for task in over if task not in queue]
        ends = slurm.ends({job for job, _ in over}) if over else None
        again = []
        for task in over:
            end = ends.get(task) if ends is not None else None
            if ends is not None and (end is None or not end.final) and self._just_gone(task):
                continue
            left = {place: each for place, each in self.waiting.items() if self.part_of[each.key] == task[1]}
            words = {self.standings[piece.key, piece.evaluation].word for piece in left.values()}
            if self._once_more(task[1], words, end):
                again.append(task[1])
                self.looked_at -= left.keys()
            else:
                self._settle(left, task, end, claims)
        return sorted([*new, *again])

    def _just_gone(self, task: slurm.Task) -> bool:
        return time.monotonic() - self.gone.setdefault(task, time.monotonic()) < LAG

    def _once_more(self, number: int, words: set[standing.Word], end: End | None) -> bool:
        """Whether a task that has ended is to be submitted again."""
        assert self.jobs is not None
        if words == {"done"} or self.jobs.times(number) > self.order.profile.retries:
            return False
        return not words <= {"done", *standing.FAILED} if end is None else end.again

    def _settle(self, left: dict[int, Piece], task: slurm.Task, end: End | None, claims: Claims) -> None:
        """Give what a task has left its outcome, but for what another process still has, or seems to have."""
        for place, piece in left.items():
            if not claims.take(self.out, piece.key):
                continue
            outcome = piece.known()
            if outcome is not None:
                self._note(place, replace(outcome, reused=False))
            elif piece.cell is not None:
                self._note(place, self._unfinished(piece, piece.cell, task, end))
            claims.release(self.out, piece.key)

    def _unfinished(self, piece: Piece, cell: Cell, task: slurm.Task, end: End | None) -> Outcome:
        """The outcome of a cell that has no scores; where its task left no word of it, that is left now."""
        known = self.standings[piece.key, piece.evaluation]
        folder = layout.run_folder(self.out, cell.inputs)
        if known.word == "failed" or known.word == "timeout" or known.word == "oom":
            outcome = failed_elsewhere(self.out, cell, known.word, known.why)
            return outcome or distil.ended_from_outside(cell, folder, NOWHERE, known.word, known.why)
        status = _status(end)
        log = _last_lines(layout.job_log(self.out, self.plan.hash, *task))
        how = str(end) if end else "nobody knows how: the cluster keeps no accounts"
        reason = f"task {task[0]}_{task[1]} of Slurm has ended: {how}"
        reason += f"; it last said: {one_line(log[-1], 300)}" if log else ""
        attempt = attempts.read(layout.attempt(self.out, piece.key, piece.evaluation))
        attempt = attempt or attempts.begin(self.out, piece.key, piece.evaluation, piece.title)
        attempts.end(self.out, piece.key, piece.evaluation, attempt, status, reason, attempt.log or log)
        return distil.ended_from_outside(cell, folder, NOWHERE, status, reason)

    def _submit(self, numbers: list[int]) -> None:
        if not numbers or self.jobs is None:
            return
        file = layout.job_log(self.out, self.plan.hash, "%A", "%a")
        file.parent.mkdir(parents=True, exist_ok=True)
        log = str(file.parent.resolve()).replace("%", "%%")
        name, script = f"pcbench-{layout.short(self.plan.hash)}", self.order.script(self.jobs.parts)
        job = slurm.submit(name, script, numbers, Path(log) / file.name, self.order.profile)
        self.jobs = self.jobs.with_array(job, numbers)
        jobs.write(self.out, self.jobs)
        self.tell(f"Slurm: job {job} submitted, {_counted(len(numbers))}; 'scancel {job}' ends it")

    def say(self, line: str) -> None:
        """Tell a line on the queue, where it is news and the last one was not just now."""
        now = time.monotonic()
        if line != self.said and now - self.said_at >= EVERY:
            self.tell(line)
            self.said, self.said_at = line, now

    def _begins(self, place: int) -> None:
        if place not in self.begun:
            self.begun.add(place)
            self.watcher.begins(place + 1, len(self.pieces), self.pieces[place].title)

    def _note(self, place: int, outcome: Outcome) -> None:
        self._begins(place)
        del self.waiting[place]
        self.outcomes[place] = outcome
        self.watcher.ended(place + 1, len(self.pieces), self.pieces[place].title, outcome)


def _counted(count: int, word: str = "") -> str:
    """`1 task`, `3 tasks running`."""
    return f"{counted(count, 'task')} {word}".rstrip()


def _status(end: End | None) -> Status:
    """How a cell ended whose task did so."""
    if end is not None and end.word == "OUT_OF_MEMORY":
        return "oom"
    return "failed" if end is not None and end.by_itself else "interrupted"


def _last_lines(file: Path) -> list[str]:
    """The last lines that a task printed; none where it printed nothing."""
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 20_000))
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return [one_line(line, 2000) for line in lines[-LAST_LINES:] if line.strip()]
