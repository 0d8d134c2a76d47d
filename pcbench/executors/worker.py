"""The process of one cell: it is told which, works at it, and says how far it is and what became of it."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO, cast

import torch

from pcbench.catalogue import open_catalogue
from pcbench.engine import apart, distil, frozen, machine
from pcbench.engine.child import Lines
from pcbench.engine.evaluate import Outcome
from pcbench.engine.messages import BrokenMessage, Message, receive, send
from pcbench.errors import PcbenchError, Stopped
from pcbench.records import layout
from pcbench.records.plans import Plan
from pcbench.records.state import NONE_FINISHED, Finished
from pcbench.records.store import read_run

PATIENCE = 10.0
"""Seconds that a cell has to end well after it was stopped."""


def main(connection: Connection) -> None:
    """Work at the cell that comes through the pipe."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        order = receive(connection).values
    except BrokenMessage:
        return
    if order["memory"]:
        _bound(order["memory"])
    apart.prepare()
    signal.signal(signal.SIGTERM, _stopped)
    signal.signal(signal.SIGALRM, _overdue)
    threading.Thread(target=_end_with_command, daemon=True).start()
    sys.stdout = sys.stderr = cast(TextIO, Lines(connection))
    try:
        answer = _work(connection, order)
    except BrokenMessage:
        return
    except Stopped as stop:
        answer = Message("stopped", {"status": stop.status, "reason": stop.reason})
    except OSError as error:
        answer = Message("refused", {"errno": error.errno, "reason": error.strerror, "file": error.filename})
    except PcbenchError as error:
        answer = Message("unusable", {"reason": str(error), "exit code": error.exit_code})
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        send(connection, answer)
    except BrokenMessage:
        return


def _work(connection: Connection, order: Mapping[str, Any]) -> Message:
    """Do what `local.order` asks for."""
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    if order["timeout"]:
        signal.setitimer(signal.ITIMER_REAL, order["timeout"])
    torch.set_num_threads(order["threads"])
    machine.keep_pages()
    plan = Plan.model_validate(order["plan"])
    [cell] = frozen.thaw(open_catalogue([Path(folder) for folder in order["plugins"]]), plan)
    there = Path(order["run"])
    finished = Finished([read_run(there)[0]]) if layout.is_run_folder(there) else NONE_FINISHED

    def report(phase: str, done: int, total: int) -> None:
        send(connection, Message("report", {"phase": phase, "done": done, "total": total}))

    with machine.called_by(order["command"]), machine.attempted(order["attempt"]):
        outcome = distil.execute(
            cell,
            Path(order["out"]),
            torch.device(order["device"]),
            report,
            finished,
            plan.snapshots,
            order["again"],
        )
    return Message("ended", _told(outcome))


def _told(outcome: Outcome) -> dict[str, Any]:
    return {
        "run": str(outcome.run.folder),
        "evaluations": [record.key for record in outcome.run.evaluations],
        "reused": outcome.reused,
        "problem": outcome.problem,
        "status": outcome.status,
    }


def _bound(memory: int) -> None:
    """Let this process, and the method's that is forked from it, take no more memory than so many bytes each.

    What is bounded is memory of their own that they may write to, which Linux alone counts.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, hard))


def _stopped(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows is the tidying
    raise Stopped("interrupted", "interrupted by the user")


def _overdue(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped("timeout", "took longer than it may")


def _end_with_command() -> None:
    """Stop when the command is gone, as after SIGKILL: by itself if that can be, else by force."""
    command = multiprocessing.parent_process()
    if command is None:
        return
    wait([command.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)
