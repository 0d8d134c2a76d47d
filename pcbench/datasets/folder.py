"""A user's own data set: one file a cloud in folders of classes and splits, or one HDF5 file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pcbench.api import Dataset, Splits
from pcbench.clouds import open_hdf5, own_array
from pcbench.datasets.formats import SUFFIXES
from pcbench.datasets.importing import Copy, Imported, Piece, Releases, Rows, files_of, look_at
from pcbench.datasets.store import SPLITS, Split
from pcbench.errors import DataError

_KEYS = ("points", "label")
_ROWS_AT_ONCE = 128
_MOST_CLASSES = 10_000


class Folder(Imported, Dataset):
    """Your own clouds or meshes: CLASS/{train,test}/FILE, or one HDF5 file; one such data set a store."""

    name = "folder"
    variant = "your own"
    up_axis = "none"
    classes = 1
    train_size = 1
    test_size = 1
    releases: ClassVar[Releases] = ()
    """No card says how many clouds there are, so that it never counts as standard; sizes are the least."""
    layouts = (
        "a folder with CLASS/{train,test}/*.{off,obj,ply,npy,txt,h5}, or an HDF5 file with points, label, "
        "split and class_names"
    )

    def load(self, points: int) -> Splits:
        splits = super().load(points)
        sizes = {"train_size": len(splits.train), "test_size": len(splits.test)}
        vars(self).update(classes=splits.train.classes, **sizes)
        return splits

    def find(self, source: Path) -> Copy:
        if source.is_file():
            return _one_file(source)
        if not source.is_dir():
            raise DataError(f"{source} is not there: give {self.layouts}")
        return _tree(source, self.layouts)


def _tree(folder: Path, layouts: str) -> Copy:
    try:
        found = {
            name.name: {split: _clouds(name / split) for split in SPLITS}
            for name in sorted(folder.iterdir())
            if name.is_dir() and not name.name.startswith((".", "__MACOSX"))
        }
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): check permissions") from error
    names = [name for name, splits in found.items() if any(splits.values())]
    if not names:
        raise DataError(f"{folder} holds no clouds that pcbench knows: give {layouts}")
    pieces: list[Piece] = []
    for split in SPLITS:
        labelled = [(file, label) for label, name in enumerate(names) for file in found[name][split]]
        pieces += files_of(split, labelled)
    return Copy(f"your own: {folder.resolve().name}", folder, tuple(names), tuple(pieces), slow=True)


def _clouds(folder: Path) -> list[Path]:
    """The files of a class and split, sorted; other files are left alone."""
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )


def _one_file(path: Path) -> Copy:
    clouds, points = look_at(path, _KEYS)
    with open_hdf5(path) as file:
        names = _words(own_array(file, "class_names"), path, _MOST_CLASSES)
        array = own_array(file, "split")
        if array.shape not in ((clouds,), (clouds, 1)):
            raise DataError(f"{path}: 'split' is {array.shape} instead of ({clouds},): mend the file")
        splits = _words(array, path, clouds)
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path}: 'class_names' is empty, or two classes share a name: mend the file")
    strange = [i for i, split in enumerate(splits) if split not in SPLITS]
    if strange:
        raise DataError(
            f"{path}: cloud {strange[0]} is of the split {splits[strange[0]]!r} instead of 'train' or "
            "'test': mend the file"
        )
    pieces = [piece for split in SPLITS for piece in _pieces(path, split, splits)]
    variant = f"your own: {path.resolve().name}"
    return Copy(variant, path.parent, names, tuple(pieces), slow=points != 1024)


def _pieces(path: Path, split: Split, splits: tuple[str, ...]) -> list[Piece]:
    """The clouds of one split among those of both."""
    pieces = []
    number = 0
    for first in range(0, len(splits), _ROWS_AT_ONCE):
        there = splits[first : first + _ROWS_AT_ONCE]
        only = tuple(i for i, each in enumerate(there) if each == split)
        if only:
            pieces.append(Piece(split, number, Rows(path, first, first + len(there), _KEYS, only)))
            number += len(only)
    return pieces


def _words(array: Any, path: Path, most: int) -> tuple[str, ...]:
    """An array of strings; DataError for anything else."""
    if array.dtype.kind not in "SO" or array.size > most:
        raise DataError(f"{path}: {array.name!r} is {array.dtype} {array.shape} instead of strings: mend it")
    words = np.asarray(array[()]).reshape(-1).tolist()
    if not all(isinstance(word, bytes) for word in words):
        raise DataError(f"{path}: {array.name!r} holds something else than strings: mend the file")
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {array.name!r} holds text that is not UTF-8: mend the file") from error
