"""HDF5 files: written whole or not at all, and read with distrust; imports no torch."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from pcbench.common.files import atomic_path
from pcbench.errors import DataError

_HDF5_OWN = 1 << 16
_HDF5_ENTRY = 1 << 12
"""Bytes that HDF5 may need for itself, in a file and for every array."""


def write_array(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Put an array into an open HDF5 group, with a checksum that is tested when it is read."""
    summed = array.ndim > 0 and array.size > 0
    group.create_dataset(name, data=array, chunks=array.shape if summed else None, fletcher32=summed)


def own_array(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array that stands in the file itself, not behind a link to another; DataError if there is none."""
    array = group[name] if isinstance(group.get(name, getlink=True), h5py.HardLink) else None
    if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external:
        raise DataError(f"{group.file.filename}:{group.name} lacks the array {name!r}: fetch the file again")
    return array


def own_group(file: h5py.File, name: str) -> h5py.Group | None:
    """A group that stands in the file itself, not behind a link to another; None if there is none."""
    group = file[name] if isinstance(file.get(name, getlink=True), h5py.HardLink) else None
    return group if isinstance(group, h5py.Group) else None


def check_plain(group: h5py.Group, names: Sequence[str] = ("points", "labels")) -> None:
    """DataError unless the arrays of a group lie in the file as they are: no filter, nothing left out.

    A file that nobody vouches for can then not ask for more memory than it has bytes.
    """
    for name in names:
        array = own_array(group, name)
        plain = array.id.get_create_plist().get_layout() == h5py.h5d.CONTIGUOUS
        if not plain or array.id.get_storage_size() != math.prod(array.shape) * array.dtype.itemsize:
            raise DataError(f"{group.file.filename}:{group.name}/{name}: is not stored as pcbench stores it")


@contextmanager
def open_hdf5(path: Path) -> Iterator[h5py.File]:
    """An HDF5 file opened read-only; one that is absent, or that fails while it is read, raises DataError."""
    if not path.is_file():
        raise DataError(f"{path} is not there")
    try:
        with h5py.File(path, "r", locking=False) as file:  # it is whole, and NFS may have no locks
            yield file
    except PermissionError as error:
        raise DataError(f"{path} cannot be read (permission denied): check its permissions") from error
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(f"{path} is truncated or corrupt: fetch it again") from error


@contextmanager
def write_hdf5(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file that appears under its name when it is complete; its structure carries checksums.

    It is built in memory and written in one piece: what the disk refuses is then an OSError, while the HDF5
    library, which cannot recover from a write that fails, may take the process down. (HDF5's own images of
    files in memory have a wrong checksum before version 2.)
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver="latest") as file:
        yield file
    with atomic_path(path) as temporary:
        temporary.write_bytes(memory.getbuffer())


@contextmanager
def write_large_hdf5(path: Path, sizes: Iterable[int]) -> Iterator[h5py.File]:
    """The same for a file that memory should not hold: it is written as its arrays come.

    sizes: the bytes of every array that it will hold. Room for them is taken first, so that a full disk is an
    OSError before anything is written. What is left of the room is given back when the file is closed.
    """
    room = _HDF5_OWN + sum(size + _HDF5_ENTRY for size in sizes)
    with atomic_path(path) as temporary:
        with temporary.open("wb") as stream:
            stream.write(_empty_hdf5())
            stream.flush()
            _take_room(stream.fileno(), room)
        with h5py.File(temporary, "r+", libver="latest", locking=False) as file:
            yield file
        if temporary.stat().st_size > room:
            raise ValueError(f"{path} holds more than the {room} bytes that were announced")


@cache
def _empty_hdf5() -> bytes:
    """An HDF5 file without content."""
    memory = io.BytesIO()
    h5py.File(memory, "w", libver="latest").close()
    return memory.getvalue()


def _take_room(descriptor: int, size: int) -> None:
    """Let an open file be `size` bytes long, all of them on the disk; OSError where there is no room."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    start = os.lseek(descriptor, 0, os.SEEK_END)
    for first in range(start, size, 1 << 20):
        os.write(descriptor, bytes(min(1 << 20, size - first)))
