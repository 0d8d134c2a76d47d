"""The snapshots of a distillation in one HDF5 file, a group an iteration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from pcbench.api import PointClouds, Snapshot, Stored
from pcbench.clouds import read_class_names, read_clouds, write_class_names, write_clouds
from pcbench.common.hdf5 import check_plain, open_hdf5, own_array, own_group, write_hdf5
from pcbench.errors import DataError
from pcbench.ops.stored import DTYPES, as_array
from pcbench.records.models import SnapshotEntry


def save_snapshots(path: Path, snapshots: Sequence[Snapshot]) -> None:
    """Write all snapshots of one distillation, atomically."""
    with write_hdf5(path) as file:
        write_snapshots(file, snapshots)


def write_snapshots(file: h5py.File, snapshots: Sequence[Snapshot]) -> None:
    """Put snapshots into an open HDF5 file, a group each."""
    for snapshot in snapshots:
        group = file.create_group(_group(snapshot.iteration))
        if snapshot.stored is None:
            write_clouds(group, snapshot.clouds)
        else:
            _write_stored(group, snapshot.stored, snapshot.clouds)


def _write_stored(group: h5py.Group, stored: Stored, clouds: PointClouds) -> None:
    """Put a parameterised set into a group: its tensors, its expansion, and the classes of its clouds."""
    for name, tensor in stored.arrays.items():
        group.create_dataset(name, data=as_array(name, tensor))
    write_class_names(group, clouds.class_names)


def _read_stored(group: h5py.Group, entry: SnapshotEntry, max_bytes: int) -> Snapshot:
    """The parameterised set of a group, expanded; DataError for what is none."""
    check_plain(group, [*group])
    arrays = {name: own_array(group, name) for name in group}
    if any(array.dtype.str not in DTYPES.values() for array in arrays.values()):
        raise DataError(f"{group.file.filename}:{group.name}: the tensors are of types that are not stored")
    if sum(array.size * array.dtype.itemsize for array in arrays.values()) > max_bytes:
        raise DataError(f"{group.file.filename}:{group.name} claims to be longer than its file")
    kept = {name: torch.from_numpy(np.asarray(array[()])) for name, array in arrays.items()}
    stored, names = Stored.of(entry.expansion, kept), read_class_names(group)
    try:
        return Snapshot(entry.iteration, stored.expand(names), stored)
    except DataError as error:
        raise DataError(f"{group.file.filename}:{group.name}: {error}") from error


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
            size = path.stat().st_size
            if entry.expansion:
                snapshot = _read_stored(group, entry, size)
            else:
                check_plain(group)
                snapshot = Snapshot(entry.iteration, read_clouds(group, max_bytes=size))
            if snapshot.identity != entry.clouds:
                raise DataError(
                    f"{path}: the clouds of iteration {entry.iteration} are not those of the record"
                )
            snapshots.append(snapshot)
    return snapshots
