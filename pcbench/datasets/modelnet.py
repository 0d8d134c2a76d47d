"""ModelNet40 and its ten-class part (Wu et al. 2015), imported from a folder of HDF5 files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, TypeAlias

import h5py
import numpy as np
import torch

from pcbench.api import Dataset, Splits
from pcbench.clouds import PointClouds, open_hdf5, own_array
from pcbench.datasets.store import Importable, Manifest, Progress, SourceFile, load_stored, store, stored
from pcbench.errors import DataError
from pcbench.files import digest, file_digest
from pcbench.ops.sampling import resample

# fmt: off
CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup",
    "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop",
    "mantel", "monitor", "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa",
    "stairs", "stool", "table", "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)
TEN_CLASSES = (
    "bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet",
)
# fmt: on

Releases: TypeAlias = tuple[tuple[int, int], ...]
"""Numbers of training and test clouds that a complete copy may have."""

_FEWEST_POINTS = 1024
_MOST_POINTS = 2048
_CLOUDS_AT_ONCE = 256
_LIST_BYTES = 1 << 16


class ModelNet40(Dataset, Importable):
    """Forty classes of CAD models, aligned, points on their surfaces (Wu et al. 2015)."""

    name = "modelnet40"
    variant = "HDF5, up to 2048 surface points"
    up_axis = "y"
    classes = 40
    train_size = 9843
    test_size = 2468
    releases: ClassVar[Releases] = ((9843, 2468), (9840, 2468))
    """The official lists, and the HDF5 release, in which three training shapes are missing."""

    def present(self) -> bool:
        return stored(self.name)

    def how_to_get(self) -> str:
        return _how_to_get()

    def load(self, points: int) -> Splits:
        return _load(self, points, CLASSES)

    def import_from(self, source: Path, progress: Progress) -> Manifest:
        """Check and store a folder of shape_names.txt, the two lists of files and the HDF5 files.

        Up to 2048 points of a cloud are kept as they stand. Raises DataError for a copy that is incomplete
        or differs from a release in its classes or numbers of clouds.
        """
        if not source.is_dir():
            raise DataError(f"{source} is no folder: give the one that holds ply_data_train*.h5")
        _check_names(source / "shape_names.txt")
        parts = {split: _survey(source, split) for split in ("train", "test")}
        counts = tuple(sum(file.clouds for file in files) for files in parts.values())
        if counts not in self.releases:
            expected = " or ".join(f"{train}/{test}" for train, test in self.releases)
            raise DataError(
                f"{source} holds {counts[0]}/{counts[1]} training/test clouds instead of {expected}: "
                "this copy is incomplete or modified, fetch it again"
            )
        files = parts["train"] + parts["test"]
        sizes = sorted({file.points for file in files})
        if len(sizes) > 1:
            raise DataError(f"{source} mixes clouds of {sizes[0]} and {sizes[-1]} points: fetch it again")
        done = _Done(progress, sum(counts))
        train, test = (_read(files, done) for files in parts.values())
        sources = tuple(SourceFile(name=file.path.name, sha256=file_digest(file.path)) for file in files)
        return store(self.name, self.variant, train, test, sources)


class ModelNet10(Dataset, Importable):
    """The ten furniture classes of ModelNet40, with its splits (Wu et al. 2015)."""

    name = "modelnet10"
    variant = "ten classes of modelnet40"
    up_axis = "y"
    classes = 10
    train_size = 3991
    test_size = 908
    releases: ClassVar[Releases] = ((3991, 908),)

    def present(self) -> bool:
        return stored(ModelNet40.name)

    def how_to_get(self) -> str:
        return _how_to_get()

    def load(self, points: int) -> Splits:
        return _load(self, points, TEN_CLASSES)

    def import_from(self, source: Path, progress: Progress) -> Manifest:
        """Import modelnet40, which this data set is a part of."""
        return ModelNet40().import_from(source, progress)


def _how_to_get() -> str:
    return (
        "run 'pcbench data import modelnet40 PATH' with PATH the folder that holds ply_data_train*.h5 "
        "(modelnet40_ply_hdf5_2048)"
    )


def _load(dataset: ModelNet40 | ModelNet10, points: int, names: Sequence[str]) -> Splits:
    """The first `points` points of the stored clouds of the named classes, labelled in the names' order."""
    if not dataset.present():
        raise DataError(f"{dataset.name} is not on this machine: {dataset.how_to_get()}")
    *whole, manifest = load_stored(ModelNet40.name)
    train, test = (resample(_part(split, names), points, "first") for split in whole)
    how = {"stored": manifest.content_hash, "classes": list(names), "sampling": "first", "points": points}
    standard = (len(train), len(test)) in dataset.releases
    return Splits(train.normalised(), test.normalised(), digest(how), "first", standard)


def _part(clouds: PointClouds, names: Sequence[str]) -> PointClouds:
    """The clouds of the named classes, in their stored order, labelled anew in the order of the names."""
    relabel = torch.full((clouds.classes,), -1)
    relabel[[clouds.class_names.index(name) for name in names]] = torch.arange(len(names))
    labels = relabel[clouds.labels]
    kept = labels >= 0
    return PointClouds(clouds.points[kept], labels[kept], tuple(names))


@dataclass(frozen=True)
class _File:
    """One HDF5 file of a copy: how many clouds it claims, and of how many points."""

    path: Path
    clouds: int
    points: int


@dataclass
class _Done:
    """Clouds read so far, told to a progress callback."""

    progress: Progress
    total: int
    clouds: int = 0

    def add(self, clouds: int) -> None:
        self.clouds += clouds
        self.progress(self.clouds, self.total)


def _lines(path: Path) -> list[str]:
    """The lines of a small text file, without empty ones; DataError for one that is absent or is no text."""
    try:
        with path.open("rb") as stream:
            text = stream.read(_LIST_BYTES + 1)
        if len(text) > _LIST_BYTES:
            raise DataError(f"{path} is longer than {_LIST_BYTES} bytes: fetch it again")
        return [line.strip() for line in text.decode().splitlines() if line.strip()]
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text: fetch it again") from error


def _check_names(path: Path) -> None:
    names = _lines(path)
    if names == list(CLASSES):
        return
    pairs = itertools.zip_longest(names, CLASSES, fillvalue="nothing")
    line, (found, expected) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    raise DataError(f"{path}: class {line} is {found!r} instead of {expected!r}: fetch the file again")


def _survey(source: Path, split: str) -> list[_File]:
    """The files of a split, as its list names them, looked at but not read."""
    path = source / f"{split}_files.txt"
    files = []
    for entry in _lines(path):
        place = PurePosixPath(entry)
        if place.is_absolute() or ".." in place.parts or "\\" in entry or place.suffix != ".h5":
            raise DataError(
                f"{path} names {entry!r}, which is no .h5 file of this folder: fetch the list again"
            )
        files.append(_look_at(source / place.name))
    if not files:
        raise DataError(f"{path} names no file: fetch it again")
    if len({file.path for file in files}) < len(files):
        raise DataError(f"{path} names a file twice: fetch it again")
    return files


def _look_at(path: Path) -> _File:
    with _arrays(path) as (data, label):
        if data.dtype.kind != "f" or data.ndim != 3 or data.shape[1] < _FEWEST_POINTS or data.shape[2] != 3:
            raise DataError(
                f"{path}: 'data' is {data.dtype} {data.shape} instead of float "
                f"(n, {_FEWEST_POINTS} or more, 3): fetch the file again"
            )
        clouds, points = data.shape[:2]
        if label.dtype.kind not in "iu" or label.shape not in ((clouds,), (clouds, 1)):
            raise DataError(
                f"{path}: 'label' is {label.dtype} {label.shape} instead of integer ({clouds}, 1): "
                "fetch the file again"
            )
    return _File(path, clouds, points)


@contextmanager
def _arrays(path: Path) -> Iterator[tuple[h5py.Dataset, h5py.Dataset]]:
    """The arrays `data` and `label` of a file, which must stand in the file itself and not behind a link."""
    if not path.is_file():
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again")
    with open_hdf5(path) as file:
        yield own_array(file, "data"), own_array(file, "label")


def _read(files: Sequence[_File], done: _Done) -> PointClouds:
    """All clouds of a split, read in chunks; raises DataError for a cloud or a label that cannot be."""
    clouds, points = sum(file.clouds for file in files), min(files[0].points, _MOST_POINTS)
    xyz = np.empty((clouds, points, 3), np.float32)
    labels = np.empty(clouds, np.int64)
    row = 0
    for file in files:
        with _arrays(file.path) as (data, label):
            for first in range(0, file.clouds, _CLOUDS_AT_ONCE):
                last = min(first + _CLOUDS_AT_ONCE, file.clouds)
                rows = slice(row, row + last - first)
                with np.errstate(over="ignore"):
                    xyz[rows] = data[first:last, :points]
                labels[rows] = _checked(file.path, first, xyz[rows], label[first:last].reshape(-1))
                row = rows.stop
                done.add(last - first)
    absent = set(range(len(CLASSES))) - set(labels.tolist())
    if absent:
        raise DataError(f"{files[0].path} and its like hold no {CLASSES[min(absent)]}: fetch them again")
    return PointClouds(torch.from_numpy(xyz), torch.from_numpy(labels), tuple(CLASSES))


def _checked(path: Path, first: int, xyz: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The labels of a chunk of clouds, once both have been found valid."""
    flaws = {
        "has a coordinate that is not finite": ~np.isfinite(xyz).all(axis=(1, 2)),
        "is empty: all its points coincide": (xyz == xyz[:, :1]).all(axis=(1, 2)),
        f"has a label outside 0 to {len(CLASSES) - 1}": (labels < 0) | (labels >= len(CLASSES)),
    }
    for flaw, found in flaws.items():
        if found.any():
            raise DataError(f"{path}: cloud {first + int(found.argmax())} {flaw}: fetch the file again")
    return labels
