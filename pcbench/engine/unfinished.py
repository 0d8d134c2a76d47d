"""What students have reached whose training is not at its end, kept in files, from which it can go on."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pcbench.common.files import digest
from pcbench.common.hdf5 import open_hdf5, write_large_hdf5
from pcbench.common.schema import Model
from pcbench.engine import machine
from pcbench.engine.state_files import read_header, read_state, write_state
from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.circumstances import NOTHING, Clock
from pcbench.records.values import Count

EVERY = 300.0
"""Seconds from one file to the next: what an interruption may cost. Ten students of PointNet are 280 MB."""

MOST = 1 << 30
"""Bytes above which a share is not kept: hundreds of students together, which a GPU trains in minutes."""

State = dict[str, Tensor]
"""All that one epoch of training hands to the next, as tensors on the CPU by name."""


@dataclass(frozen=True)
class Left:
    """Where an interrupted training stood."""

    epochs: int
    """Epochs done."""
    state: State
    """What the last of them has left."""


class Keeper(Protocol):
    """Keeps what a share of some students has reached."""

    def left(self, share: slice) -> Left | None:
        """Where the students of that share stood when they were interrupted; None where they begin."""

    def keep(self, share: slice, epochs: int, state: Callable[[], State]) -> None:
        """The students of that share have done so many epochs: keep their state, if it is time to.

        state: gives it, as it is until the next epoch begins.
        """


class _Header(Model):
    """What a file says of itself."""

    about: str
    """The hash of what it belongs to: it is of no use elsewhere."""
    epochs: Count
    """Epochs done."""
    clock: Clock
    """The time of training until then."""


class Unfinished:
    """The files of one training, one for each share of its students, as a `Keeper`.

    path: what they are called after. about: what the training depends on, as plain JSON values; with other
    code, another machine or another number of threads it begins again. pid: a process whose time counts too.
    """

    def __init__(
        self, path: Path, about: Mapping[str, Any], device: torch.device, pid: int | None = None
    ) -> None:
        self.path = path
        self.earlier = NOTHING
        """How long the training had taken before it was interrupted."""
        self._about = {**about, **machine.rounding(device)}
        self._watch = machine.Stopwatch(device, pid)
        self._written: dict[int, float] = {}

    @property
    def clock(self) -> Clock:
        """The time of the training so far, that before an interruption too."""
        return self.earlier + self._watch.read()

    def left(self, share: slice) -> Left | None:
        """As a `Keeper`; None also where the file is damaged, or of another training."""
        self._written[share.start] = time.monotonic()
        loaded = _load(self._file(share), self._hash(share))
        if loaded is None:
            return None
        header, state = loaded
        self.earlier = max(self.earlier, header.clock, key=lambda clock: clock.seconds)
        return Left(header.epochs, state)

    def keep(self, share: slice, epochs: int, state: Callable[[], State]) -> None:
        """As a `Keeper`: writes every `EVERY` seconds, at most `MOST` bytes.

        Where that fails a warning says so, and the work goes on.
        """
        if time.monotonic() - self._written[share.start] < EVERY:
            return
        header = _Header(about=self._hash(share), epochs=epochs, clock=self.clock)
        kept, file = state(), self._file(share)
        if sum(tensor.nbytes for tensor in kept.values()) > MOST:
            self._written[share.start] = math.inf
            return
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with write_large_hdf5(file, (tensor.nbytes for tensor in kept.values())) as opened:
                write_state(opened, header, kept)
        except OSError as error:
            warnings.warn(f"students were not kept, so an interruption costs more: {error}", stacklevel=2)
        self._written[share.start] = time.monotonic()

    def end(self) -> None:
        """The training is at its end: its files go."""
        for file in layout.shares(self.path):
            file.unlink(missing_ok=True)

    def _file(self, share: slice) -> Path:
        return layout.share_of(self.path, share.start)

    def _hash(self, share: slice) -> str:
        return digest({**self._about, "share": [share.start, share.stop]})


def _load(path: Path, about: str) -> tuple[_Header, State] | None:
    """What a file holds, if it can be read and is of the training with that hash."""
    try:
        with open_hdf5(path) as file:
            header = read_header(file, _Header)
            return (header, read_state(file)) if header.about == about else None
    except DataError:
        return None
