"""The one value that flows through the benchmark: labelled point clouds, checked, hashed, kept in HDF5."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

from pcbench.common.files import atomic_path, canonical_json
from pcbench.errors import DataError

MAX_NAMES_BYTES = 1 << 20
_HDF5_OWN = 1 << 16
_HDF5_ENTRY = 1 << 12
"""Bytes that HDF5 may need for itself, in a file and for every array."""


@dataclass(frozen=True, eq=False)
class PointClouds:
    """B labelled clouds of N points each.

    points: (B, N, 3) float32, finite. labels: (B,) int64 in [0, K). class_names: the K names, in label order.
    Raises DataError for anything else.

    A synthetic set may say more of its clouds. answers: (B, K) float32, the probabilities that students learn
    in place of the labels. weights: (B,) float32, how much each cloud counts in their loss, 1 in the mean. No
    file of clouds holds these two, and no hash covers them: `pcbench.ops.stored` keeps what they come from.
    """

    points: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    answers: Tensor | None = None
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        points, labels = self.points, self.labels
        if points.dtype != torch.float32 or points.ndim != 3 or points.shape[-1] != 3 or points.shape[1] == 0:
            raise DataError(f"points must be float32 (B, N, 3), not {points.dtype} {tuple(points.shape)}")
        if labels.dtype != torch.int64 or labels.shape != points.shape[:1]:
            raise DataError(
                f"labels must be int64 ({len(points)},), not {labels.dtype} {tuple(labels.shape)}"
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise DataError("two classes share a name")
        if len(labels) and not (int(labels.min()) >= 0 and int(labels.max()) < len(self.class_names)):
            span = f"{int(labels.min())} to {int(labels.max())}"
            raise DataError(f"labels {span} do not fit {len(self.class_names)} classes")
        if not torch.isfinite(points.sum()) and not torch.isfinite(points).all():
            bad = int((~torch.isfinite(points)).flatten(1).any(1).nonzero()[0])
            raise DataError(f"cloud {bad} holds a coordinate that is not finite")
        if self.answers is not None and self.answers.shape != (len(points), self.classes):
            raise DataError(f"answers must be (B, K), not {tuple(self.answers.shape)}")
        if self.weights is not None and self.weights.shape != labels.shape:
            raise DataError(f"weights must be (B,), not {tuple(self.weights.shape)}")

    def __len__(self) -> int:
        return len(self.points)

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def points_per_cloud(self) -> int:
        """N."""
        return self.points.shape[1]

    def counts(self) -> Tensor:
        """Clouds per class, (K,) int64."""
        return torch.bincount(self.labels, minlength=self.classes)

    def select(self, index: Tensor) -> PointClouds:
        """The clouds at `index`, (M,) int64 or (B,) bool."""
        return self._with(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> PointClouds:
        """The same clouds on a device."""
        return self._with(lambda tensor: tensor.to(device))

    def _with(self, change: Callable[[Tensor], Tensor]) -> PointClouds:
        """The clouds with every tensor changed alike."""
        answers = None if self.answers is None else change(self.answers)
        weights = None if self.weights is None else change(self.weights)
        return PointClouds(change(self.points), change(self.labels), self.class_names, answers, weights)

    def normalised(self) -> PointClouds:
        """Every cloud with its mean at the origin and its farthest point at distance one."""
        return replace(self, points=unit_sphere(self.points))

    def content_hash(self) -> str:
        """SHA-256 over shapes, names, labels and coordinates, little-endian, as 64 hexadecimal digits."""
        points, labels = as_stored(self)
        header = canonical_json({"points": list(points.shape), "class_names": list(self.class_names)})
        state = hashlib.sha256(header.encode())
        state.update(labels.tobytes())
        state.update(points.data)
        return state.hexdigest()


def unit_sphere(points: Tensor) -> Tensor:
    """Centre clouds (..., N, 3) at their mean, scale the farthest point to one; a collapsed cloud stays 0."""
    centred = points - points.mean(-2, keepdim=True)
    radius: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True).amax(-2, keepdim=True)
    return centred / radius.clamp_min(torch.finfo(points.dtype).tiny)


def concatenate(parts: Sequence[PointClouds]) -> PointClouds:
    """All clouds of several sets of the same classes; other class names raise DataError."""
    names = parts[0].class_names
    if any(part.class_names != names for part in parts):
        raise DataError("clouds of different classes cannot be put together")
    answers = [part.answers for part in parts if part.answers is not None]
    weights = [part.weights for part in parts if part.weights is not None]
    if len(answers) not in (0, len(parts)) or len(weights) not in (0, len(parts)):
        raise DataError("clouds with answers or weights cannot be put together with clouds without")
    return PointClouds(
        torch.cat([part.points for part in parts]),
        torch.cat([part.labels for part in parts]),
        names,
        torch.cat(answers) if answers else None,
        torch.cat(weights) if weights else None,
    )


def of_classes(clouds: PointClouds, names: Sequence[str]) -> PointClouds:
    """The clouds of the named classes, in their order, labelled anew in the order of the names."""
    relabel = torch.full((clouds.classes,), -1)
    relabel[[clouds.class_names.index(name) for name in names]] = torch.arange(len(names))
    labels = relabel[clouds.labels]
    kept = labels >= 0
    return PointClouds(clouds.points[kept], labels[kept], tuple(names))


def as_stored(clouds: PointClouds) -> tuple[np.ndarray, np.ndarray]:
    """Points (B, N, 3) '<f4' and labels (B,) '<i8' as they stand in a file."""
    points = np.ascontiguousarray(clouds.points.detach().cpu().numpy(), dtype="<f4")
    labels = np.ascontiguousarray(clouds.labels.cpu().numpy(), dtype="<i8")
    return points, labels


def write_array(group: h5py.Group, name: str, array: np.ndarray) -> None:
    """Put an array into an open HDF5 group, with a checksum that is tested when it is read."""
    summed = array.ndim > 0 and array.size > 0
    group.create_dataset(name, data=array, chunks=array.shape if summed else None, fletcher32=summed)


def write_clouds(group: h5py.Group, clouds: PointClouds) -> None:
    """Put clouds into an open HDF5 group: `points`, `labels`, and the attribute `class_names`."""
    points, labels = as_stored(clouds)
    group.create_dataset("points", data=points)
    group.create_dataset("labels", data=labels)
    write_class_names(group, clouds.class_names)


def write_class_names(group: h5py.Group, names: Sequence[str]) -> None:
    """Put the names of classes, in label order, into an open HDF5 group."""
    # Of fixed length: a damaged string of variable length can take the HDF5 library down.
    group.attrs["class_names"] = np.bytes_(canonical_json(list(names)).encode())


def read_clouds(group: h5py.Group, max_bytes: int = 16 << 30) -> PointClouds:
    """The clouds of an HDF5 group; raises DataError that names the file and what is wrong in it.

    Shapes and types are looked at before anything is read, so that a hostile file cannot ask for more than
    `max_bytes` of memory.
    """
    where = f"{group.file.filename}:{group.name}"
    points, labels = own_array(group, "points"), own_array(group, "labels")
    if points.dtype != np.dtype("<f4") or points.ndim != 3 or points.shape[2] != 3:
        raise DataError(f"{where}: points must be float32 (B, N, 3), not {points.dtype} {points.shape}")
    if labels.dtype != np.dtype("<i8") or labels.shape != points.shape[:1]:
        raise DataError(
            f"{where}: labels must be int64 ({points.shape[0]},), not {labels.dtype} {labels.shape}"
        )
    claimed = 4 * math.prod(points.shape) + 8 * math.prod(labels.shape)
    if claimed > max_bytes:
        raise DataError(f"{where}: the clouds claim {claimed} bytes, more than the {max_bytes} allowed")
    names = read_class_names(group)
    try:
        return PointClouds(torch.from_numpy(points[()]), torch.from_numpy(labels[()]), names)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def read_class_names(group: h5py.Group) -> tuple[str, ...]:
    """The names that `write_class_names` wrote; DataError where there are none."""
    names = None
    stored = group.attrs.get_id("class_names") if "class_names" in group.attrs else None
    if stored is not None and stored.dtype.kind == "S" and stored.get_storage_size() <= MAX_NAMES_BYTES:
        try:
            names = json.loads(bytes(group.attrs["class_names"]))
            canonical_json(names).encode()  # refuses lone surrogates
        except (TypeError, ValueError, RecursionError):
            names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f"{group.file.filename}:{group.name} lacks the list of its class names")
    return tuple(names)


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


def save_clouds(path: Path, clouds: PointClouds) -> None:
    """Write clouds as an HDF5 file of their own, atomically."""
    with write_hdf5(path) as file:
        write_clouds(file, clouds)


def load_clouds(path: Path) -> PointClouds:
    """Read clouds that `save_clouds` wrote; raises DataError for a missing, corrupt or invalid file."""
    with open_hdf5(path) as file:
        return read_clouds(file)
