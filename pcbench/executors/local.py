"""Cells in processes of this machine, each in one of its own, as many at once as there is room for."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from pcbench.common.text import one_line
from pcbench.datasets.store import cache_root, data_root
from pcbench.engine import apart, distil, frozen, machine, server
from pcbench.engine.cell import Cell
from pcbench.engine.evaluate import Outcome, Report
from pcbench.engine.messages import BrokenMessage, Message, receive, send
from pcbench.engine.working import Ended, Piece
from pcbench.errors import DataError, PcbenchError, UsageError
from pcbench.executors import worker
from pcbench.records.models import Run, Status
from pcbench.records.state import Snapshots
from pcbench.records.store import checked_run

BESIDE = 300 << 20
"""Bytes that the process of a cell takes beside that of its method, or before its students are trained."""
LAST_LINES = 50
"""Lines of what a cell prints that are kept for whoever asks why it failed."""


@dataclass(frozen=True)
class Place:
    """Where one cell at a time can be worked at."""

    device: torch.device
    """What it computes on."""
    threads: int
    """Threads on the CPU."""


def places(jobs: str, device: torch.device, cells: int, memory: int | None = None) -> list[Place]:
    """So many places, or with `auto` one a GPU or a core, no more than cells; the cores divided among them.

    Two threads that wait for one another are slower than two processes, so that cores go to cells first.
    memory: bytes that the largest of the cells may take; with `auto`, no more of them are at work than the
    free memory has room for, or one. UsageError for what is no number.
    """
    gpus = [device]
    if device.type == "cuda" and device.index is None:
        gpus = [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    cores = machine.cores()
    if jobs == "auto":
        count = len(gpus) if device.type == "cuda" else min(cores, _room_for(memory))
    elif jobs.isdecimal() and int(jobs) > 0:
        count = int(jobs)
    else:
        raise UsageError(f"{jobs!r} is no number of cells at once: a number from 1, or auto", "jobs")
    count = max(1, min(count, cells))
    threads = max(1, min(torch.get_num_threads(), cores // count))
    return [Place(gpus[number % len(gpus)], threads) for number in range(count)]


def _room_for(memory: int | None) -> int:
    """How many cells of so many bytes the free memory takes, one at least; any number where nobody knows."""
    free, _ = machine.free_memory()
    return sys.maxsize if memory is None or free is None else max(1, free // (memory + BESIDE))


@dataclass
class _Busy:
    """A process at work."""

    number: int
    """The place of its piece among all."""
    piece: Piece
    """The piece."""
    cell: Cell
    """The cell that it is."""
    report: Report
    """What is told how far it is."""
    where: Place
    """The place that it takes."""
    process: BaseProcess
    """The process."""
    connection: Connection
    """The pipe to it."""
    attempt: str
    """The id of the attempt that it is."""
    due: float
    """When, by the monotonic clock, it must have ended by itself."""
    log: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    """The last lines that it printed."""
    escalated: int = 0
    """How often it was told to end: by SIGTERM, then by SIGKILL."""


class Processes:
    """Works at cells in processes of their own, as an `Executor`."""

    def __init__(
        self,
        where: Sequence[Place],
        snapshots: Snapshots,
        again: bool = False,
        timeout: float | None = None,
        memory: int | None = None,
    ) -> None:
        self.free = list(where)
        """The places at which nobody works."""
        self.snapshots, self.again = snapshots, again
        self.timeout = timeout
        """Seconds that a cell may take."""
        self.memory = memory
        """Bytes of memory that the process of a cell, and that of its method, may take."""
        self.busy: list[_Busy] = []

    def room(self) -> bool:
        """See `working.Executor`, as for all below."""
        return bool(self.free)

    def begin(self, place: int, piece: Piece, report: Report, attempt: str) -> None:
        if piece.cell is None:
            raise TypeError(f"{piece.title} is no cell, and cannot be done in another process")
        context = server.context()
        ours, theirs = context.Pipe()
        process = context.Process(target=worker.main, args=(theirs,), name="pcbench cell")
        with apart.without_main():
            process.start()
        theirs.close()
        where = self.free.pop(0)
        due = time.monotonic() + self.timeout + worker.PATIENCE if self.timeout else float("inf")
        self.busy.append(_Busy(place, piece, piece.cell, report, where, process, ours, attempt, due))
        with contextlib.suppress(BrokenMessage):  # what became of it is told where it is waited for
            send(ours, Message("cell", self._order(piece, piece.cell, where, attempt)))

    def _order(self, piece: Piece, cell: Cell, where: Place, attempt: str) -> dict[str, Any]:
        """What the process of a cell is told."""
        _, folder, _ = distil.place(cell, piece.out, piece.finished, self.snapshots, self.again)
        return {
            "plan": frozen.freeze([cell], self.snapshots).model_dump(mode="json"),
            "plugins": [str(each.resolve()) for each in cell.catalogue.methods.folders],
            "environment": {"PCBENCH_DATA": str(data_root()), "PCBENCH_CACHE": str(cache_root())},
            "folder": str(Path.cwd()),
            "out": str(piece.out),
            "run": str(folder),
            "device": str(where.device),
            "threads": where.threads,
            "again": self.again,
            "timeout": self.timeout,
            "memory": self.memory,
            "command": machine.command(),
            "attempt": attempt,
        }

    def ended(self, wait_for: float) -> list[Ended]:
        until = time.monotonic() + wait_for
        done: list[Ended] = []
        while not done and (left := until - time.monotonic()) > 0:
            if not self.busy:
                time.sleep(left)
                return []
            ready = wait([each.connection for each in self.busy], min(left, 1.0))
            for each in [each for each in self.busy if each.connection in ready]:
                outcome = self._heard(each)
                if outcome is not None:
                    done.append(self._left(each, outcome))
            self._escalate()
        return done

    def _heard(self, busy: _Busy) -> Outcome | None:
        """What a message of a process says became of its cell; None as long as it works."""
        try:
            message = receive(busy.connection)
        except BrokenMessage:
            return self._died(busy)
        values = message.values
        match message.word:
            case "report":
                busy.report(str(values["phase"]), int(values["done"]), int(values["total"]))
                return None
            case "print":
                line = one_line(values.get("line", ""), 2000)
                busy.log.append(line)
                print(line, file=sys.stderr)
                return None
            case "ended":
                return _outcome(busy.cell, values)
            case "stopped":
                return self._ended_from_outside(busy, values["status"], str(values["reason"]))
            case "refused":
                raise OSError(values["errno"], values["reason"], values["file"])
            case _:
                raise _error(int(values["exit code"]), f"{busy.piece.title}: {values['reason']}")

    def _died(self, busy: _Busy) -> Outcome:
        busy.process.join(apart.GRACE)
        code = busy.process.exitcode
        if busy.escalated:
            return self._ended_from_outside(busy, "timeout", "took longer than it may, and had to be ended")
        if code is None:
            return self._ended_from_outside(busy, "failed", "the cell's process cannot be reached any more")
        reason, out_of_memory = apart.how_it_ended(code)
        return self._ended_from_outside(
            busy, "oom" if out_of_memory else "failed", f"the cell's process {reason}"
        )

    def _ended_from_outside(self, busy: _Busy, status: Status, reason: str) -> Outcome:
        cell, folder, _ = distil.place(
            busy.cell, busy.piece.out, busy.piece.finished, self.snapshots, self.again
        )
        if status == "timeout":
            reason += f": {self.timeout:g} s"
        with machine.attempted(busy.attempt):
            return distil.ended_from_outside(cell, folder, busy.where.device, status, reason)

    def _left(self, busy: _Busy, outcome: Outcome) -> Ended:
        """The end of a piece; its process is gone then, and its place free."""
        _end(busy.process, busy.connection)
        self.busy.remove(busy)
        self.free.append(busy.where)
        return Ended(busy.number, outcome, list(busy.log))

    def _escalate(self) -> None:
        """End what should have ended by itself: first with a chance to tidy up, then without."""
        for each in self.busy:
            if time.monotonic() > each.due:
                _signal(each.process, signal.SIGKILL if each.escalated else signal.SIGTERM)
                each.escalated += 1
                each.due = time.monotonic() + worker.PATIENCE

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for each in self.busy:
            _signal(each.process, signal.SIGTERM)
        patience = time.monotonic() + worker.PATIENCE
        for each in self.busy:
            while each.process.is_alive() and time.monotonic() < patience:
                with contextlib.suppress(BrokenMessage):  # what it still says fills the pipe
                    if each.connection.poll(0.1):
                        receive(each.connection)
            _end(each.process, each.connection)
        self.busy.clear()


def _signal(process: BaseProcess, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid or 0, number)


def _end(process: BaseProcess, connection: Connection) -> None:
    """A process that has said its last, or must not say more, is gone with all that it started."""
    connection.close()
    process.join(apart.GRACE)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.kill()
    process.join()
    process.close()


def _outcome(cell: Cell, values: Mapping[str, Any]) -> Outcome:
    """An outcome as another process tells it; its records are read from their folder."""
    run = checked_run(Path(values["run"])).run
    records = {record.key: record for record in run.evaluations}
    return Outcome(
        Run(run.folder, run.distillation, tuple(records[key] for key in values["evaluations"])),
        cell.evaluation.network.label,
        reused=values["reused"],
        problem=values["problem"],
        status=values["status"],
    )


def _error(exit_code: int, reason: str) -> PcbenchError:
    """The error that ended a cell before any work: code or data are not those that were planned."""
    if exit_code == UsageError.exit_code:
        return UsageError(reason)
    return DataError(reason) if exit_code == DataError.exit_code else PcbenchError(reason)
