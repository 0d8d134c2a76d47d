"""Where data lives on this machine: a cache of what can be made again, and a store of what was imported."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import h5py
import numpy as np
import platformdirs
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pcbench.api import Dataset
from pcbench.clouds import PointClouds, open_hdf5, read_clouds, write_clouds, write_hdf5
from pcbench.errors import DataError, UsageError
from pcbench.files import digest, write_json

Progress: TypeAlias = Callable[[int, int], None]
Sha256: TypeAlias = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

_MAX_BYTES = 1 << 30


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceFile(_Model):
    """A file that was imported, by its base name."""

    name: str
    sha256: Sha256


class Manifest(_Model):
    """What stands in the store under a name, and which files it came from.

    train, test: numbers of clouds. points: points kept of each. content_hash: of both splits together.
    """

    schema_version: Literal[1] = 1
    name: str
    variant: str
    class_names: tuple[str, ...]
    train: int
    test: int
    points: int
    sources: tuple[SourceFile, ...]
    content_hash: Sha256


class Importable(ABC):
    """A data set that a user brings: a copy of it is checked and put into the store."""

    @abstractmethod
    def import_from(self, source: Path, progress: Progress) -> Manifest:
        """Check the copy in the folder `source` and store it; raises DataError for one that is not complete.

        progress: called with the clouds read so far and their total.
        """


def importable(dataset: Dataset) -> Importable:
    """The same data set, if it is one that a user brings; raises UsageError if not."""
    if not isinstance(dataset, Importable):
        raise UsageError(f"{dataset.name} is not imported: {dataset.how_to_get()}")
    return dataset


def cache_root() -> Path:
    """The user's cache folder for pcbench."""
    return platformdirs.user_cache_path("pcbench")


def data_root() -> Path:
    """The folder of imported data sets: PCBENCH_DATA, or `data` in the user's cache."""
    chosen = os.environ.get("PCBENCH_DATA")
    return Path(chosen).expanduser() if chosen else cache_root() / "data"


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
        train, test = (_read_split(file, name) for name in ("train", "test"))
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


def store(
    name: str, variant: str, train: PointClouds, test: PointClouds, sources: tuple[SourceFile, ...]
) -> Manifest:
    """Put an imported data set into the store, in place of one of the same name."""
    content_hash = save_splits(_clouds_path(name), train, test)
    manifest = Manifest(
        name=name,
        variant=variant,
        class_names=train.class_names,
        train=len(train),
        test=len(test),
        points=train.points_per_cloud,
        sources=sources,
        content_hash=content_hash,
    )
    write_json(_manifest_path(name), manifest.model_dump(mode="json"))
    return manifest


def stored(name: str) -> bool:
    """Whether the store holds a data set of this name."""
    return _manifest_path(name).is_file() and _clouds_path(name).is_file()


def load_stored(name: str) -> tuple[PointClouds, PointClouds, Manifest]:
    """A stored data set as it was imported; raises DataError where it has been changed since."""
    remedy = f"import {name} again with 'pcbench data import {name} PATH'"
    path = _manifest_path(name)
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        train, test, content_hash = load_splits(_clouds_path(name))
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} is not a readable manifest: {remedy}") from error
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if content_hash != manifest.content_hash:
        raise DataError(f"{_clouds_path(name)} is not what {path.name} describes: {remedy}")
    return train, test, manifest


def _clouds_path(name: str) -> Path:
    return data_root() / name / "clouds.h5"


def _manifest_path(name: str) -> Path:
    return data_root() / name / "manifest.json"
