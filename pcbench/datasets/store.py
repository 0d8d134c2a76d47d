"""Where data lives on this machine: a cache of what can be made again, and a store of what was imported.

    PCBENCH_DATA/
        modelnet40/manifest.json             what is stored, where it came from, which file holds its clouds
        modelnet40/clouds-5f0c19a3b2d4.h5    both splits, 1024 points a cloud
        .modelnet40.lock                     held by whoever writes

An import writes a new file of clouds and then replaces the manifest, in one step each; only then does the old
file go. A reader therefore sees the old data set or the new one, and whoever is killed, or finds the disk
full, leaves the old one, with a file of clouds that the next writer removes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

import filelock
import h5py
import numpy as np
from pydantic import Field, ValidationError

from pcbench.api import Dataset
from pcbench.clouds import PointClouds, read_clouds, write_clouds
from pcbench.common.files import canonical_json, digest, write_json
from pcbench.common.hdf5 import open_hdf5, own_array, write_hdf5, write_large_hdf5
from pcbench.common.places import cache_root as cache_root
from pcbench.common.places import data_root as data_root
from pcbench.common.schema import Model, Sha256
from pcbench.errors import DataError, UsageError
from pcbench.ops.sampling import Sampling

T = TypeVar("T")
Progress: TypeAlias = Callable[[int, int], None]
Split: TypeAlias = Literal["train", "test"]
Chunk: TypeAlias = tuple[Split, np.ndarray, np.ndarray]
"""Clouds of a split: points (c, N, 3) float32, finite, and labels (c,) int64 in range."""

Validation: TypeAlias = Literal["train", "test", "apart"]
"""Where a user's clouds for validation go: into a split, or nowhere."""

SPLITS: tuple[Split, ...] = ("train", "test")
POINTS = 1024
"""Points that are stored of every imported cloud, unless others are asked for."""

_MAX_BYTES = 1 << 33
_HASHED_AT_ONCE = 1024


class SourceFile(Model):
    """A file that was imported, by its place in the copy."""

    name: str
    sha256: Sha256


class Own(Model):
    """What a user says of a data set of their own. up_axis: of all its clouds. licence: in a few words."""

    up_axis: Literal["x", "y", "z", "none"] = "none"
    licence: str = Field(default="", max_length=200)


class Manifest(Model):
    """What stands in the store under a name, and which files it came from.

    train, test: numbers of clouds. points: points kept of each. content_hash: of both splits together. file:
    the file of the clouds. sampling: how the kept points were chosen; "kept": the copy had no more. seed: of
    random choices and of points on meshes. complete: whether counts are those of a release. duplicates:
    groups of identical clouds, as "train 17: chair/train/a.npy". Version 1 had neither `file` nor what
    follows it. notes: what a user should know of it, in sentences. repeated: how many clouds repeat points.
    own: of a data set under a user's own name. Version 2 lacked these three.
    """

    schema_version: Literal[1, 2, 3] = 3
    name: str
    variant: str
    class_names: tuple[str, ...]
    train: int
    test: int
    points: int
    sources: tuple[SourceFile, ...]
    content_hash: Sha256
    file: str = Field(default="clouds.h5", pattern=r"^clouds(-[0-9a-f]{12})?\.h5$")
    sampling: Sampling | Literal["kept"] = "kept"
    seed: int = 0
    complete: bool = True
    duplicates: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()
    repeated: int = 0
    own: Own | None = None

    def duplicated(self) -> tuple[int, int, int]:
        """Clouds that repeat an earlier one of training, of test, and test clouds that stand in training."""
        train = [sum(place.startswith("train ") for place in group) for group in self.duplicates]
        test = [len(group) - n for group, n in zip(self.duplicates, train, strict=True)]
        across = sum(there for here, there in zip(train, test, strict=True) if here)
        return sum(max(n - 1, 0) for n in train), sum(max(n - 1, 0) for n in test), across


@dataclass(frozen=True)
class TreeOptions:
    """How the files of a user's own data set are found."""

    name: str = "folder"
    """What it is called."""
    test_share: float | None = None
    """Which share of every class becomes its test split, where the files have no splits."""
    validation: Validation | None = None
    """Where validation clouds go. None: to be said, where there are any."""
    ignore: tuple[str, ...] = ()
    """Patterns of files that are left out, as `*.md` or `val/*`."""


TREE = TreeOptions()


@dataclass(frozen=True)
class ImportOptions:
    """How a copy is imported."""

    sampling: Sampling = "farthest"
    """Of the stored points, where a cloud has more."""
    seed: int = 0
    """Of what is random."""
    allow_incomplete: bool = False
    """Whether a copy may lack something, or hold something that is not taken."""
    points: int | None = None
    """Points that are stored of a cloud. None: 1024, of a user's own as many as the smallest cloud has."""
    repeat: bool = False
    """Whether a user's own clouds of fewer points repeat them."""
    own: Own | None = None
    """What the user says of a data set under a name of their own."""
    tree: TreeOptions = TREE
    """How a user's own files are found."""
    replace: bool = False
    """Whether a data set of the user's own takes the place of one under the same name."""

    @property
    def wanted(self) -> int:
        """Points of a cloud that has enough."""
        return POINTS if self.points is None else self.points


DEFAULTS = ImportOptions()


class Importable(ABC):
    """A data set that a user brings: a copy of it is checked and put into the store."""

    @abstractmethod
    def import_from(self, source: Path, progress: Progress, options: ImportOptions = DEFAULTS) -> Manifest:
        """Check the copy at `source` and store it; raises DataError for one that is not complete.

        progress: called with the clouds read so far and their total.
        """

    @abstractmethod
    def manifest(self) -> Manifest | None:
        """What the store says of the data set that this one is, or is a part of; None where it has none."""


def importable(dataset: Dataset) -> Importable:
    """The same data set, if it is one that a user brings; raises UsageError if not."""
    if not isinstance(dataset, Importable):
        raise UsageError(f"{dataset.name} is not imported: {dataset.how_to_get()}")
    return dataset


def save_splits(path: Path, train: PointClouds, test: PointClouds) -> str:
    """Write both splits atomically as one HDF5 file that carries their content hash, which is returned."""
    content_hash = splits_hash(train, test)
    with write_hdf5(path) as file:
        write_clouds(file.create_group("train"), train)
        write_clouds(file.create_group("test"), test)
        file.attrs["content_hash"] = np.bytes_(content_hash)
    return content_hash


def load_splits(path: Path) -> tuple[PointClouds, PointClouds, str]:
    """Training clouds, test clouds and their content hash; DataError unless they are as they were saved."""
    with open_hdf5(path) as file:
        train, test = (_read_split(file, name) for name in SPLITS)
        expected = file.attrs.get("content_hash")
    content_hash = splits_hash(train, test)
    if expected != np.bytes_(content_hash):
        raise DataError(f"{path} is not as it was written: its content hash differs")
    return train, test, content_hash


def _read_split(file: h5py.File, name: str) -> PointClouds:
    group = file.get(name)
    if not isinstance(group, h5py.Group):
        raise DataError(f"{file.filename} lacks the group {name!r}")
    return read_clouds(group, _MAX_BYTES)


def splits_hash(train: PointClouds, test: PointClouds) -> str:
    """The content hash of both splits together."""
    return digest({"train": train.content_hash(), "test": test.content_hash()})


def write_chunks(
    path: Path,
    class_names: tuple[str, ...],
    counts: Mapping[Split, int],
    points: int,
    chunks: Iterable[Chunk],
) -> str:
    """What `save_splits` writes, of clouds that come in chunks, each split in order; gives the content hash.

    The hash is of the clouds as they stand in the file. Raises OSError, before the first chunk is asked for,
    where there is no room for them.
    """
    names = np.bytes_(canonical_json(list(class_names)).encode())
    sizes = (counts[split] * size for split in SPLITS for size in (points * 12, 8))
    labels: dict[Split, np.ndarray] = {split: np.empty(counts[split], "<i8") for split in SPLITS}
    filled = dict.fromkeys(SPLITS, 0)
    with write_large_hdf5(path, [*sizes, len(names), len(names)]) as file:
        arrays = {
            split: file.create_group(split).create_dataset("points", (counts[split], points, 3), "<f4")
            for split in SPLITS
        }
        for split, xyz, their_labels in chunks:
            rows = slice(filled[split], filled[split] + len(xyz))
            arrays[split][rows] = xyz
            labels[split][rows] = their_labels
            filled[split] = rows.stop
        if filled != counts:
            raise DataError(f"{filled} clouds came where {dict(counts)} were announced")
        hashes = {}
        for split in SPLITS:
            group = file[split]
            group.create_dataset("labels", data=labels[split])
            group.attrs["class_names"] = names
            hashes[split] = _stored_hash(arrays[split], labels[split], class_names)
        content_hash = digest(hashes)
        file.attrs["content_hash"] = np.bytes_(content_hash)
    return content_hash


def _stored_hash(points: h5py.Dataset, labels: np.ndarray, class_names: tuple[str, ...]) -> str:
    """`PointClouds.content_hash` of an array in a file, of which a part is in memory at a time."""
    header = canonical_json({"points": list(points.shape), "class_names": list(class_names)})
    state = hashlib.sha256(header.encode())
    state.update(labels.tobytes())
    for first in range(0, len(points), _HASHED_AT_ONCE):
        state.update(np.ascontiguousarray(points[first : first + _HASHED_AT_ONCE]).data)
    return state.hexdigest()


@contextmanager
def writing(name: str) -> Iterator[Path]:
    """The folder of a data set, for one writer at a time: a second process waits, and says so.

    What killed writers left is removed first. Raises DataError where the folder cannot be written.
    """
    folder = _folder(name)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.parent / f".{folder.name}.lock")
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            logging.getLogger(__name__).warning("waiting for another process that writes %s", name)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        raise _unwritable(folder.parent, error) from error
    try:
        _tidy(name)
        yield folder
    except OSError as error:
        raise _unwritable(folder, error) from error
    finally:
        with suppress(OSError):
            _tidy(name)
        lock.release()


def _unwritable(folder: Path, error: Exception) -> DataError:
    number = getattr(error, "errno", None)  # HDF5's own words run over several lines
    reason = os.strerror(number) if number else " ".join(str(error).split())
    return DataError(
        f"{folder} cannot be written ({reason}): free some space, or let PCBENCH_DATA name a folder that you "
        "may write to"
    )


def _tidy(name: str) -> None:
    """Remove, as the one writer, all files of the folder that its manifest does not speak of."""
    folder = _folder(name)
    if not folder.is_dir():
        return
    kept: set[str] = set()
    if (folder / "manifest.json").exists():
        try:
            kept = {"manifest.json", read_manifest(name).file}
        except DataError:
            return
    for path in folder.iterdir():
        if path.name not in kept and re.match(r"\.?(clouds|manifest)\b", path.name):
            path.unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def store(manifest: Callable[[str, str], Manifest], folder: Path, chunks: Callable[[Path], str]) -> Manifest:
    """Put clouds into a folder that `writing` gave, in place of what it holds.

    chunks: writes them to a path and gives their content hash. manifest: of a content hash and a file's name.
    """
    path = folder / f"clouds-{secrets.token_hex(6)}.h5"
    made = manifest(chunks(path), path.name)
    write_json(folder / "manifest.json", made.model_dump(mode="json"))
    return made


def narrow(path: Path, points: int) -> str:
    """Keep the first points of every cloud of a file that `write_chunks` wrote; gives the new hash."""
    wide = path.with_name(f"{path.stem}-wide{path.suffix}")
    path.rename(wide)
    with open_hdf5(wide) as file:
        groups = {split: file[split] for split in SPLITS}
        names = tuple(json.loads(bytes(groups["train"].attrs["class_names"])))
        counts = {split: len(groups[split]["labels"]) for split in SPLITS}
        chunks = (
            (split, groups[split]["points"][first : first + _HASHED_AT_ONCE, :points], labels)
            for split in SPLITS
            for first in range(0, counts[split], _HASHED_AT_ONCE)
            for labels in [groups[split]["labels"][first : first + _HASHED_AT_ONCE]]
        )
        content_hash = write_chunks(path, names, counts, points, chunks)
    wide.unlink()
    return content_hash


def stored(name: str) -> bool:
    """Whether the store holds a data set of this name."""
    folder = _folder(name)
    return (folder / "manifest.json").is_file() and any(folder.glob("clouds*.h5"))


def stored_names() -> list[str]:
    """The names of all data sets in the store."""
    root = data_root()
    folders = (path.parent.name for path in root.glob("*/manifest.json"))
    return sorted(folder.replace("@", ":") for folder in folders)


def read_manifest(name: str) -> Manifest:
    """The manifest of a stored data set; DataError where there is none that can be read."""
    path = _folder(name) / "manifest.json"
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is not a readable manifest: {_remedy(name)}") from error


def load_stored(name: str) -> tuple[PointClouds, PointClouds, Manifest]:
    """A stored data set as it was imported; raises DataError where it has been changed since."""
    (train, test, content_hash), manifest = _read_whole(name, lambda path, _: load_splits(path))
    _check_hash(name, manifest, content_hash)
    return train, test, manifest


def verify(name: str) -> Manifest:
    """Hash a stored data set again, a part at a time; raises DataError where it is not as it was imported."""
    content_hash, manifest = _read_whole(name, _hash_again)
    _check_hash(name, manifest, content_hash)
    return manifest


def _read_whole(name: str, read: Callable[[Path, Manifest], T]) -> tuple[T, Manifest]:
    """What `read` makes of the clouds, and their manifest, also while another process replaces both."""
    while True:
        manifest = read_manifest(name)
        try:
            return read(_folder(name) / manifest.file, manifest), manifest
        except DataError as error:
            if read_manifest(name) == manifest:
                raise DataError(f"{error}; {_remedy(name)}") from error


def _hash_again(path: Path, manifest: Manifest) -> str:
    hashes = {}
    with open_hdf5(path) as file:
        for split, count in zip(SPLITS, (manifest.train, manifest.test), strict=True):
            group = file.get(split)
            if not isinstance(group, h5py.Group):
                raise DataError(f"{path} lacks the group {split!r}")
            points, labels = own_array(group, "points"), own_array(group, "labels")
            if points.shape != (count, manifest.points, 3) or points.dtype != np.dtype("<f4"):
                raise DataError(f"{path}: {split} points are {points.dtype} {points.shape}")
            if labels.shape != (count,) or labels.dtype != np.dtype("<i8"):
                raise DataError(f"{path}: {split} labels are {labels.dtype} {labels.shape}")
            hashes[split] = _stored_hash(points, labels[()], manifest.class_names)
    return digest(hashes)


def _check_hash(name: str, manifest: Manifest, content_hash: str) -> None:
    if content_hash != manifest.content_hash:
        raise DataError(
            f"{_folder(name) / manifest.file} is not what manifest.json describes: {_remedy(name)}"
        )


def remove(name: str) -> None:
    """Take a data set out of the store: its manifest first, so that no half of it ever counts."""
    with writing(name) as folder:
        (folder / "manifest.json").unlink(missing_ok=True)


def _remedy(name: str) -> str:
    return f"import {name} again with 'pcbench data import {name} PATH'"


def _folder(name: str) -> Path:
    """Of a data set's name; not every file system takes the colon before a variant."""
    return data_root() / name.replace(":", "@")
