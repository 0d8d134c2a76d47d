"""The snapshots of a distillation in one HDF5 file, a group an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py

from pcbench.api import Snapshot
from pcbench.clouds import (
    check_plain,
    open_hdf5,
    own_group,
    read_clouds,
    write_clouds,
    write_hdf5,
)
from pcbench.errors import DataError
from pcbench.records.models import SnapshotEntry


def save_snapshots(path: Path, snapshots: Sequence[Snapshot]) -> None:
    """Write all snapshots of one distillation, atomically."""
    with write_hdf5(path) as file:
        write_snapshots(file, snapshots)


def write_snapshots(file: h5py.File, snapshots: Sequence[Snapshot]) -> None:
    """Put snapshots into an open HDF5 file, a group each."""
    for snapshot in snapshots:
        write_clouds(file.create_group(_group(snapshot.iteration)), snapshot.clouds)


def _group(iteration: int) -> str:
    return f"{iteration:06d}"


def load_snapshots(path: Path, entries: Sequence[SnapshotEntry]) -> list[Snapshot]:
    """Read the snapshots that a record names; DataError where one is missing or not the record's.

    The file may be a stranger's: nothing outside it is opened, and no more is read than it has bytes.
    """
    snapshots = []
    with open_hdf5(path) as file:
        for entry in entries:
            group = own_group(file, _group(entry.iteration))
            if group is None:
                raise DataError(f"{path} lacks the snapshot of iteration {entry.iteration}")
            check_plain(group)
            clouds = read_clouds(group, max_bytes=path.stat().st_size)
            if clouds.content_hash() != entry.clouds:
                raise DataError(
                    f"{path}: the clouds of iteration {entry.iteration} are not those of the record"
                )
            snapshots.append(Snapshot(entry.iteration, clouds))
    return snapshots
