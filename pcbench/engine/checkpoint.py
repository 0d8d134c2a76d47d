"""What an unfinished distillation has reached, kept in a file from time to time, from which it can go on."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.optim import Optimizer

from pcbench.api import Snapshot
from pcbench.clouds import (
    open_hdf5,
    own_array,
    own_group,
    stored_sizes,
    write_array,
    write_hdf5,
)
from pcbench.common.files import canonical_json
from pcbench.common.schema import Model
from pcbench.engine import guard, machine
from pcbench.engine.artifacts import load_snapshots, write_snapshots
from pcbench.errors import DataError
from pcbench.records.models import NOTHING, Clock, Count, SnapshotEntry

EVERY = 60.0
"""Seconds from one checkpoint to the next: what an interruption may cost."""

State = list[dict[str, Tensor]]
"""Of every parameter of an optimiser its `value`, and by name what the optimiser keeps for it."""


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
        self._watch = machine.Stopwatch(device)

    def start(self) -> None:
        """The method begins to work."""
        self._watch.restart()

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
                clouds=snapshot.clouds.content_hash(),
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
    """The file of one distillation, written every `EVERY` seconds between two iterations."""

    def __init__(self, path: Path, about: Mapping[str, str], reached: Reached) -> None:
        self.path = path
        """The file."""
        self.about = dict(about)
        """What a file must belong to, to be gone on from: key, engine, torch, hardware."""
        self.reached = reached
        """What is kept beside the optimiser's state."""
        self.earlier = _load(path, self.about)
        """What an interrupted run left; None where that is absent, damaged or foreign."""
        self.due = time.monotonic() + EVERY
        """When the file is to be written next."""

    def restore(self, optimiser: Optimizer) -> int:
        """Put back what was kept, and give the number of iterations done; 0 where nothing was.

        Raises DataError where that is not of these parameters.
        """
        if self.earlier is None:
            return 0
        try:
            put_back(optimiser, self.earlier.state)
        except ValueError as error:
            raise DataError(f"{self.path}: {error}: delete the file to begin again") from error
        self.reached.read()  # what was done up to here had been done, and counted, before
        self.reached.clock = self.earlier.header.clock
        self.reached.snapshots = list(self.earlier.snapshots)
        self.reached.entries = list(self.earlier.header.snapshots)
        return self.earlier.header.iteration

    def keep(self, iteration: int, optimiser: Optimizer) -> None:
        """Write the file if it is due; where that cannot be done, a warning says so and the work goes on."""
        if time.monotonic() < self.due:
            return
        header = _Header(
            about=self.about,
            iteration=iteration,
            clock=self.reached.read(),
            snapshots=self.reached.entries,
        )
        try:
            with guard.suspended():
                _save(self.path, _Kept(header, self.reached.snapshots, state_of(optimiser)))
        except OSError as error:
            warnings.warn(f"no checkpoint was left, so an interruption costs more: {error}", stacklevel=2)
        self.due = time.monotonic() + EVERY


def state_of(optimiser: Optimizer) -> State:
    """Copies, on the CPU, of its parameters and of the tensors that it keeps for each."""
    return [
        {
            name: value.detach().to("cpu", copy=True)
            for name, value in {"value": parameter, **optimiser.state.get(parameter, {})}.items()
            if isinstance(value, Tensor)
        }
        for parameter in _parameters(optimiser)
    ]


def put_back(optimiser: Optimizer, state: State) -> None:
    """The inverse of `state_of`, in place; ValueError where the state is of other parameters."""
    parameters = _parameters(optimiser)
    shapes = [tuple(kept["value"].shape) for kept in state]
    if shapes != [tuple(parameter.shape) for parameter in parameters]:
        raise ValueError(f"it holds parameters of the shapes {shapes}, which are not the method's")
    with torch.no_grad():
        for parameter, kept in zip(parameters, state, strict=True):
            parameter.copy_(kept["value"])
    others = [{name: value for name, value in kept.items() if name != "value"} for kept in state]
    optimiser.load_state_dict({**optimiser.state_dict(), "state": dict(enumerate(others))})


def _parameters(optimiser: Optimizer) -> Sequence[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]


def _save(path: Path, kept: _Kept) -> None:
    """Write the file: `header`, a group of clouds for every snapshot, and `state` with `0.value`, …"""
    header = canonical_json(kept.header.model_dump(mode="json")).encode()
    tensors = {
        f"{number}.{name}": tensor.numpy()
        for number, state in enumerate(kept.state)
        for name, tensor in state.items()
    }
    clouds = stored_sizes(*(snapshot.clouds for snapshot in kept.snapshots))
    with write_hdf5(path, [len(header), *clouds, *(array.nbytes for array in tensors.values())]) as file:
        file.create_dataset("header", data=np.bytes_(header))
        write_snapshots(file, kept.snapshots)
        group = file.create_group("state")
        for name, array in tensors.items():
            write_array(group, name, array)


def _load(path: Path, about: Mapping[str, str]) -> _Kept | None:
    """What a file holds, if it can be read and belongs to `about`."""
    parts: dict[int, dict[str, Tensor]] = {}
    try:
        with open_hdf5(path) as file:
            header = _Header.model_validate_json(own_array(file, "header")[()])
            group = own_group(file, "state")
            if header.about != about or group is None:
                return None
            for name in group:
                number, _, what = name.partition(".")
                array = np.asarray(own_array(group, name)[()])
                parts.setdefault(int(number), {})[what] = torch.from_numpy(array)
        return _Kept(header, load_snapshots(path, header.snapshots), [parts[n] for n in range(len(parts))])
    except (DataError, ValidationError, ValueError, TypeError, KeyError):
        return None
