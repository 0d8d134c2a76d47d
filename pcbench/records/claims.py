"""Claims: who works at which distillation of a folder of runs, for processes and machines that share it."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import SoftFileLease, Timeout

from pcbench.records import layout

LOST = 90.0
"""Seconds without a heartbeat after which another machine takes a claim over."""
HEARTBEAT = 10.0
"""Seconds between two heartbeats."""


def _acquired(lease: SoftFileLease) -> bool:
    """Whether a claim can be had at once."""
    try:
        lease.acquire(blocking=False)
    except Timeout:
        return False
    return True


class Claims:
    """What this process has claimed, given back when the block ends.

    A claim is a lock file that a thread touches as long as the process lives. Another process of this
    machine takes it over as soon as the owner is gone, one of another machine when it has seen no heartbeat
    for `LOST` seconds of its own clock, so that clocks need not agree. On NFS and the like everybody waits
    so long, see `_abandoned`. In the worst case two processes work at one cell: they write the same results,
    each file at once.
    """

    def __init__(self) -> None:
        self._leases: dict[Path, SoftFileLease] = {}
        self._last_beats: dict[Path, tuple[tuple[int, int, int], float]] = {}
        """Of claims of others: the lock file's number and times (ns), and since when by our clock."""

    def take(self, out: Path, key: str) -> bool:
        """Claim a distillation, by its key; False where another process has it. OSError where none can be."""
        path = layout.claim(out, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self._leases:  # kept between tries: it remembers since when no heart has beaten
            self._leases[path] = SoftFileLease(
                path, lease_duration=LOST, heartbeat_interval=HEARTBEAT, thread_local=False
            )
        lease = self._leases[path]
        if not _acquired(lease):
            if not self._abandoned(path):
                return False
            lease.break_lock()
            if not _acquired(lease):
                return False
        self._last_beats.pop(path, None)
        return True

    def _abandoned(self, path: Path) -> bool:
        """Whether a claim has had no heartbeat for longer than its lease needs to take it over.

        A lease does so by exchanging the names of two files. NFS and SMB refuse that, and a dead owner's
        claim would stay for ever. Where it works it comes first, as it never interrupts a live claim.
        """
        try:
            with path.open("rb") as file:  # NFS looks at the server again when a file is opened
                seen = os.fstat(file.fileno())
        except OSError:
            return False
        beat = (seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)
        if path not in self._last_beats or self._last_beats[path][0] != beat:
            self._last_beats[path] = (beat, time.monotonic())
        return time.monotonic() - self._last_beats[path][1] > LOST + HEARTBEAT

    def release(self, out: Path, key: str) -> None:
        """Give a claim back."""
        self._leases.pop(layout.claim(out, key)).release()

    def bury(self, out: Path, key: str, *words: Path) -> None:
        """Remove what a process has left that was killed when its work was done: its claim and other files.

        Not where another process is about to do so itself, nor what this one has claimed.
        """
        claim = layout.claim(out, key)
        mine = claim in self._leases and self._leases[claim].is_locked
        if not mine and any(path.exists() for path in (claim, *words)) and self.take(out, key):
            for path in words:
                path.unlink(missing_ok=True)
            self.release(out, key)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()
