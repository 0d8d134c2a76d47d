"""Reads a set of clouds that another program distilled: arrays, files of torch, HDF5, folders of texts."""

from __future__ import annotations

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from pcbench.common.hdf5 import open_hdf5, own_array
from pcbench.datasets.formats import SUFFIXES, kind_of, read_cloud
from pcbench.datasets.formats.arrays import array_of
from pcbench.datasets.formats.content import MAX_BYTES, Flaw, Mesh, on_its_side, read_bytes
from pcbench.errors import DataError

TORCH = (".pt", ".pth")
"""Suffixes of files that torch wrote."""
ARRAYS = (".npy", ".npz", ".h5", ".hdf5", *TORCH)
"""Suffixes of files that may hold a whole set."""


@dataclass(frozen=True)
class ForeignSet:
    """Clouds that were distilled elsewhere, as they stand in their files."""

    points: NDArray[np.float64]
    """(B, N, 3), finite."""
    labels: NDArray[np.int64]
    """(B,), from 0; of a folder the places of its sub-folders in alphabetical order."""
    class_names: tuple[str, ...] = ()
    """The names of a folder's sub-folders; empty where a file holds numbers alone."""


def read_set(path: Path, labels: Path | None = None) -> ForeignSet:
    """The clouds at `path`, with their labels from there or from a file of their own.

    A file holds an array (B, N, 3) or (B, 3, N) and one of labels (B,), or clouds (K, P, N, 3) without any.
    Of a file of torch tensors are taken wherever they stand, the first pair that fits: DC, DM and SADM keep
    them as `data`, a list of [clouds, labels]. It is read without running any code. A folder has a sub-folder
    a class, of texts or arrays of one cloud each. DataError with what was there for anything else.
    """
    if path.is_dir():
        if labels is not None:
            raise DataError(f"{path} has a folder a class: it needs no file of labels")
        return _folder(path)
    arrays = list(_arrays(path))
    beside = [each for _, each in _arrays(labels)] if labels else []
    try:
        return _paired(arrays, beside)
    except Flaw as error:
        raise DataError(f"{path}{error}") from error


def _paired(arrays: list[tuple[str, NDArray[Any]]], beside: list[NDArray[Any]]) -> ForeignSet:
    """The first array of clouds with the first one of labels that fits it."""
    everywhere = beside or [array for _, array in arrays]
    for _, clouds in arrays:
        if clouds.dtype.kind not in "fiu" or not clouds.size:
            continue
        if clouds.ndim == 4 and clouds.shape[3] == 3 and not beside:
            labels = np.repeat(np.arange(clouds.shape[0], dtype=np.int64), clouds.shape[1])
            return ForeignSet(_points(clouds.reshape(-1, *clouds.shape[2:])), labels)
        if clouds.ndim != 3 or not (clouds.shape[2] == 3 or on_its_side(clouds.shape)):
            continue
        for labels in everywhere:
            whole = labels.size and np.array_equal(labels, np.rint(labels)) and labels.min() >= 0
            if labels.shape in ((len(clouds),), (len(clouds), 1)) and whole:
                return ForeignSet(_points(clouds), labels.reshape(-1).astype(np.int64))
    there = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays[:10]) or "nothing"
    raise Flaw(
        f" holds {there}: clouds (B, N, 3) with labels (B,) are needed, or clouds (K, P, N, 3) class by "
        "class; labels may stand in a file of their own"
    )


def _points(clouds: NDArray[Any]) -> NDArray[np.float64]:
    """(B, N, 3) in float64; Flaw for a coordinate that is not finite."""
    upright = clouds if clouds.shape[2] == 3 else clouds.transpose(0, 2, 1)
    points = np.ascontiguousarray(upright, dtype=np.float64)[..., :3]
    bad = ~np.isfinite(points).all(axis=(1, 2))
    if bad.any():
        raise Flaw(f": cloud {int(bad.argmax())} has a coordinate that is not finite")
    return points


def _arrays(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    """All arrays of numbers in a file, with their places."""
    suffix = path.suffix.lower()
    if suffix not in ARRAYS:
        raise DataError(f"{path} is neither a folder nor a file of {', '.join(ARRAYS)}")
    if suffix in (".h5", ".hdf5"):
        yield from _hdf5(path)
        return
    content = read_bytes(path)
    try:
        if suffix == ".npy":
            yield "an array", array_of(content)
        elif suffix == ".npz":
            yield from _archive(content)
        else:
            kept = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            yield from _tensors(kept, "")
    except Flaw as flaw:
        raise DataError(f"{path} is damaged, or cannot be read: it{flaw}") from flaw
    except (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{path} holds more than numbers, or is damaged ({reason}): save tensors alone"
        ) from error
    except (ValueError, EOFError, RuntimeError, NotImplementedError, KeyError, OSError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({_short(error)})") from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _archive(content: bytes) -> Iterator[tuple[str, NDArray[Any]]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            if entry.file_size > MAX_BYTES:
                raise ValueError(f"{entry.filename} unpacks to more than {MAX_BYTES} bytes")
            with archive.open(entry) as file:
                yield (
                    entry.filename.removesuffix(".npy"),
                    array_of(file.read()),
                )


def _hdf5(path: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    with open_hdf5(path) as file:
        for name in file:
            hard = isinstance(file.get(name, getlink=True), h5py.HardLink)  # no other file is opened
            if hard and isinstance(file[name], h5py.Dataset):
                array = own_array(file, name)
                if array.dtype.kind in "fiu" and array.size * array.dtype.itemsize <= MAX_BYTES:
                    yield name, array[()]


def _tensors(kept: Any, place: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """The tensors of nested lists and mappings, in their order."""
    if isinstance(kept, torch.Tensor):
        yield place or "a tensor", kept.detach().numpy()
    elif isinstance(kept, Mapping):
        for key, value in kept.items():
            yield from _tensors(value, f"{place}[{key!r}]")
    elif isinstance(kept, list | tuple):
        for number, value in enumerate(kept):
            yield from _tensors(value, f"{place}[{number}]")


def _folder(folder: Path) -> ForeignSet:
    """A sub-folder a class, a file a cloud, both in alphabetical order."""
    points, labels, names = [], [], []
    for inner in sorted(each for each in folder.iterdir() if each.is_dir()):
        files = sorted(each for each in inner.iterdir() if kind_of(each))
        names.append(inner.name)
        for file in files:
            cloud = read_cloud(file, read_bytes(file))
            if isinstance(cloud, Mesh):
                raise DataError(f"{file} is a mesh, and a cloud of points is needed")
            points.append(cloud)
            labels.append(len(names) - 1)
    if not points:
        raise DataError(f"{folder} has no sub-folder a class with files of {', '.join(SUFFIXES)}")
    sizes = sorted({len(cloud) for cloud in points})
    if len(sizes) > 1:
        raise DataError(f"{folder} has clouds of {sizes[0]} to {sizes[-1]} points: all need as many")
    return ForeignSet(np.stack(points), np.array(labels, dtype=np.int64), tuple(names))
