"""Attempts at cells: who works at one, and how the last attempt ended where it did not end well."""

from __future__ import annotations

import os
import secrets
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import Field

from pcbench.common.files import write_json
from pcbench.common.schema import Model
from pcbench.records import layout
from pcbench.records.claims import LOST
from pcbench.records.store import RecordError, read_record
from pcbench.records.values import Count, Name, Text

Ending = Literal["ok", "stale", "failed", "timeout", "oom", "interrupted"]
"""How a cell ended."""


class Attempt(Model):
    """One attempt at a cell."""

    schema_version: Literal[1] = 1
    kind: Literal["attempt"] = "attempt"
    id: Name
    """Tells it apart from other attempts at the same cell."""
    title: Text
    """`sadm lr=5 on modelnet10, PPC 3`."""
    host: Name
    """The machine's name."""
    pid: Count
    """The process that has claimed the cell there."""
    begun: Text
    """When, ISO 8601 in UTC."""
    status: Literal["running", "failed", "timeout", "oom", "interrupted"] = "running"
    """How it ended; `running` as long as nobody has said so, and for ever where everything was killed."""
    reason: Text = ""
    """Why it did not end well."""
    log: list[Text] = Field([], max_length=100)
    """The last lines that its process printed."""


def begin(out: Path, key: str, evaluation: str, title: str) -> Attempt:
    """Leave word that this process works at a cell, given by the keys of its distillation and evaluation."""
    attempt = Attempt(
        id=secrets.token_hex(8),
        title=title,
        host=socket.gethostname(),
        pid=os.getpid(),
        begun=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_json(layout.attempt(out, key, evaluation), attempt.model_dump(mode="json"))
    return attempt


def end(
    out: Path, key: str, evaluation: str, attempt: Attempt, status: Ending, reason: str, log: list[str]
) -> None:
    """Leave word of how an attempt ended; one that ended well leaves its records alone."""
    path = layout.attempt(out, key, evaluation)
    if status in ("ok", "stale"):
        path.unlink(missing_ok=True)
        return
    ended = attempt.model_copy(update={"status": status, "reason": reason, "log": log[-100:]})
    write_json(path, Attempt.model_validate(ended.model_dump()).model_dump(mode="json"))


def read(path: Path) -> Attempt | None:
    """The attempt in a file; None where it has just ended, or cannot be read."""
    try:
        return read_record(path, Attempt)
    except RecordError:
        return None


def alive(out: Path, key: str, attempt: Attempt) -> bool:
    """Whether somebody seems to work at the cell of an attempt that says `running`.

    Its claim has had a heartbeat within `LOST` seconds, by the clock of this machine, and on this machine
    there is such a process. One in the future is as old as one in the past: a clock was set back, and whoever
    left it would have left another since. This is only shown: who may take a claim over is told by no such
    clock.
    """
    try:
        beaten = layout.claim(out, key).stat().st_mtime
    except OSError:
        return False
    if abs(time.time() - beaten) > LOST:
        return False
    return attempt.host != socket.gethostname() or _is_process(attempt.pid)


def _is_process(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
