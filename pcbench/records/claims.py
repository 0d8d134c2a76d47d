"""Claims: who works at which distillation of a folder of runs, for processes and machines that share it."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import SoftFileLease, Timeout

from pcbench.records import layout

LOST = 90.0
"""Seconds without a heartbeat after which another machine takes a claim over."""
HEARTBEAT = 10.0
"""Seconds between two heartbeats."""


class Claims:
    """What this process has claimed, given back when the block ends.

    A claim is a lock file that a thread touches as long as the process lives. Another process of this
    machine takes it over as soon as the owner is gone, one of another machine when it has seen no heartbeat
    for `LOST` seconds of its own clock, so that clocks need not agree. In the worst case two processes work
    at one cell: they write the same results, each file at once.
    """

    def __init__(self) -> None:
        self._leases: dict[Path, SoftFileLease] = {}

    def take(self, out: Path, key: str) -> bool:
        """Claim a distillation, by its key; False where another process has it. OSError where none can be."""
        path = layout.claim(out, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self._leases:  # kept between tries: it remembers since when no heart has beaten
            self._leases[path] = SoftFileLease(
                path, lease_duration=LOST, heartbeat_interval=HEARTBEAT, thread_local=False
            )
        try:
            self._leases[path].acquire(blocking=False)
        except Timeout:
            return False
        return True

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
