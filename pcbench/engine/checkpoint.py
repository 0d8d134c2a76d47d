"""What an unfinished distillation has reached, kept in a file from time to time, from which it can go on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pcbench.api import Snapshot
from pcbench.common.hdf5 import open_hdf5, write_hdf5
from pcbench.common.schema import Model
from pcbench.engine import machine
from pcbench.engine.artifacts import load_snapshots, write_snapshots
from pcbench.engine.assignment import Earlier
from pcbench.engine.optimisers import State, packed, unpacked
from pcbench.engine.state_files import read_header, read_state, write_state
from pcbench.errors import DataError
from pcbench.records.circumstances import NOTHING, Clock
from pcbench.records.models import SnapshotEntry
from pcbench.records.values import Count

EVERY = 60.0
"""Seconds from one checkpoint to the next: what an interruption may cost."""


class Reached:
    """The snapshots of a distillation so far, and its clock, which runs only while the method works."""

    def __init__(self, device: torch.device) -> None:
        self.snapshots: list[Snapshot] = []
        """Checked and on the CPU, ascending by iteration."""
        self.entries: list[SnapshotEntry] = []
        """What the record says of each of them."""
        self.clock = NOTHING
        """At its last reading."""
        self.cache_debt: Callable[[], Clock] = lambda: NOTHING
        """Work that the cache has spared the method since the last call, and that counts as its own."""
        self._device = device
        self._watch = machine.Stopwatch(device)

    def start(self, pid: int | None = None) -> None:
        """The method begins to work, in the process of that number or in this one."""
        self._watch = machine.Stopwatch(self._device, pid)

    def read(self) -> Clock:
        """The clock, while the method works or just after."""
        self.clock += self._watch.lap() + self.cache_debt()
        return self.clock

    def add(self, snapshot: Snapshot) -> None:
        """One more snapshot, at the time of the clock's last reading."""
        self.snapshots.append(snapshot)
        self.entries.append(
            SnapshotEntry(
                iteration=snapshot.iteration,
                seconds=self.clock.seconds,
                clouds=snapshot.identity,
                **(snapshot.stored.described(snapshot.clouds) if snapshot.stored else {}),
            )
        )


class _Header(Model):
    """What a checkpoint says of itself."""

    about: dict[str, str]
    """What it belongs to: it is of no use elsewhere."""
    iteration: Count
    """The last iteration that was finished."""
    clock: Clock
    """The distillation's clock then."""
    snapshots: list[SnapshotEntry]
    """The snapshots until then."""


@dataclass(frozen=True)
class _Kept:
    """All that the file of a checkpoint holds."""

    header: _Header
    """What it says of itself."""
    snapshots: list[Snapshot]
    """The clouds of the snapshots that the header lists."""
    state: State
    """The optimiser after the header's iteration."""


class Checkpoint:
    """The file of one distillation, from which it goes on after an interruption."""

    def __init__(self, path: Path, about: Mapping[str, str], reached: Reached) -> None:
        self.path = path
        """The file."""
        self.about = dict(about)
        """What a file must belong to, to be gone on from: key, engine, torch, hardware."""
        self.reached = reached
        """What is kept beside the optimiser's state."""
        self.left = _load(path, self.about)
        """What an interrupted run left; None where that is absent, damaged or foreign."""

    @property
    def earlier(self) -> Earlier | None:
        """Where an interrupted run stood."""
        return None if self.left is None else Earlier(self.left.header.iteration, self.left.state)

    def went_on(self) -> None:
        """The method goes on from what was left: that clock and those snapshots count."""
        if self.left is None:
            raise ValueError("nothing was left to go on from")
        self.reached.read()  # what was done up to here had been done, and counted, before
        self.reached.clock = self.left.header.clock
        self.reached.snapshots = list(self.left.snapshots)
        self.reached.entries = list(self.left.header.snapshots)

    def keep(self, iteration: int, state: State) -> None:
        """Write the file; where that cannot be done, a warning says so and the work goes on."""
        header = _Header(
            about=self.about,
            iteration=iteration,
            clock=self.reached.read(),
            snapshots=self.reached.entries,
        )
        try:
            _save(self.path, _Kept(header, self.reached.snapshots, state))
        except OSError as error:
            warnings.warn(f"no checkpoint was left, so an interruption costs more: {error}", stacklevel=2)


def _save(path: Path, kept: _Kept) -> None:
    """Write the file: a header, a group of clouds for every snapshot, and a state with `0.value`, …"""
    tensors = packed(kept.state)
    with write_hdf5(path) as file:
        write_snapshots(file, kept.snapshots)
        write_state(file, kept.header, tensors)


def _load(path: Path, about: Mapping[str, str]) -> _Kept | None:
    """What a file holds, if it can be read and belongs to `about`."""
    try:
        with open_hdf5(path) as file:
            header = read_header(file, _Header)
            if header.about != about:
                return None
            tensors = read_state(file)
        return _Kept(header, load_snapshots(path, header.snapshots), unpacked(tensors))
    except (DataError, ValueError, KeyError):
        return None
