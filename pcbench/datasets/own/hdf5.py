"""Finds a user's own clouds in HDF5 files of many: one file with four arrays, or PointNet's layouts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pcbench.common.hdf5 import open_hdf5, own_array
from pcbench.datasets.copies import (
    Copy,
    check_names,
    hdf5_copy,
    id2name_files,
    label_names,
    listed_hdf5,
    look_at,
    read_lines,
)
from pcbench.datasets.own.splits import Said, assigned, said
from pcbench.datasets.store import POINTS, SPLITS, ImportOptions
from pcbench.errors import DataError

_WANTED = ("points", "label", "split", "class_names")
_OTHERWISE = {"points": "data", "label": "labels"}
_MOST_CLASSES = 10_000
_LONGEST_NAMES, _LONGEST_WORD = 1 << 20, 64
"""Bytes that all names of classes may have together, and a word that says which split a cloud is of."""
_BYTES_AT_ONCE, _WORDS_AT_ONCE = 1 << 24, 256
"""What is read at once of strings of one length, and of strings of any."""


def one_file(path: Path, options: ImportOptions) -> Copy:
    """The copy in one file: points (n, N, 3), label (n,), split (n,), class_names (K,)."""
    with open_hdf5(path) as file:
        there = sorted(file)
        keys = {key: key if key in file else _OTHERWISE.get(key, key) for key in _WANTED}
        absent = [key for key, name in keys.items() if name not in file]
        if options.tree.test_share is not None and "split" in absent:
            absent.remove("split")
        if absent:
            only_split = absent == ["split"]
            remedy = "add it, or let a share of every class be the test split" if only_split else "add them"
            raise DataError(
                f"{path} lacks {', '.join(absent)}: wanted are the arrays {', '.join(_WANTED)}, and there "
                f"are {', '.join(there)[:100] or 'none'}: {remedy}",
                *(("test share",) if only_split else ()),
            )
        names = _words(own_array(file, "class_names"), path, _MOST_CLASSES, _LONGEST_NAMES)
    if not names or len(set(names)) < len(names):
        raise DataError(f"{path}: 'class_names' is empty, or two classes share a name: mend the file")
    array = look_at(path, len(names), (keys["points"], keys["label"]))
    clouds = len(array.labels)
    splits: list[Said | None] = [None] * clouds
    if "split" in there:
        splits = _splits(path, clouds)
    division = assigned(f"{path}", splits, [names[label] for label in array.labels], options)
    pieces = [piece for split in SPLITS for piece in array.rows(split, only=division.members[split])]
    variant = f"your own: {path.resolve().name}"
    return Copy(
        variant,
        path.parent,
        names,
        tuple(pieces),
        slow=array.points != POINTS,
        own=True,
        notes=division.notes,
    )


def _splits(path: Path, clouds: int) -> list[Said | None]:
    with open_hdf5(path) as file:
        array = own_array(file, "split")
        if array.shape not in ((clouds,), (clouds, 1)):
            raise DataError(f"{path}: 'split' is {array.shape} instead of ({clouds},): mend the file")
        words = _words(array, path, clouds, clouds * _LONGEST_WORD)
    splits = [said(word) for word in words]
    if None in splits:
        first = splits.index(None)
        raise DataError(
            f"{path}: cloud {first} is of the split {words[first]!r} instead of 'train' or 'test': "
            "mend the file"
        )
    return splits


def several_files(folder: Path) -> Copy | None:
    """The copy in a folder with PointNet's lists, or with `*_id2name.json`; None where there are neither."""
    names = folder / "shape_names.txt"
    if all((folder / f"{split}_files.txt").is_file() for split in SPLITS) and names.is_file():
        class_names = tuple(read_lines(names))
        if len(set(class_names)) < len(class_names):
            raise DataError(f"{names}: two classes share a name: mend it")
        files = {split: listed_hdf5(folder / f"{split}_files.txt") for split in SPLITS}
    else:
        files = id2name_files(folder)
        if not any(files.values()):
            return None
        known = label_names([*files["train"], *files["test"]], classes=None)
        check_names(folder, [*map(str, sorted(known))], [*map(str, range(len(known)))])
        class_names = tuple(known[label] for label in sorted(known))
    copy = hdf5_copy(f"your own: {folder.resolve().name}", folder, class_names, files)
    unlisted = sorted({*folder.glob("*.h5")} - {path for paths in files.values() for path in paths})
    notes = [f"{len(unlisted)} HDF5 files are not taken: {', '.join(path.name for path in unlisted)[:100]}"]
    return Copy(
        copy.variant,
        folder,
        class_names,
        copy.pieces,
        copy.missing,
        copy.slow,
        own=True,
        notes=tuple(notes if unlisted else ()),
    )


def _words(array: Any, path: Path, most: int, most_bytes: int) -> tuple[str, ...]:
    """An array (n,) or (n, 1) of strings, of no more bytes together; DataError for anything else.

    A short file may say that it holds many long strings: they are read a few at a time, until they are too
    many.
    """
    plain = array.ndim in (1, 2) and array.size == len(array) <= most
    if array.dtype.kind not in "SO" or not plain:
        raise DataError(f"{path}: {array.name!r} is {array.dtype} {array.shape} instead of strings: mend it")
    width = array.dtype.itemsize if array.dtype.kind == "S" else _BYTES_AT_ONCE // _WORDS_AT_ONCE
    together = max(1, _BYTES_AT_ONCE // max(1, width))
    words: list[Any] = []
    size = 0 if width <= max(most_bytes, _BYTES_AT_ONCE) else width
    while len(words) < len(array) and size <= most_bytes:
        part = np.asarray(array[len(words) : len(words) + together]).reshape(-1).tolist()
        if not all(isinstance(word, bytes) for word in part):
            raise DataError(f"{path}: {array.name!r} holds something else than strings: mend the file")
        size += sum(map(len, part))
        words += part
    if size > most_bytes:
        raise DataError(f"{path}: {array.name!r} is longer than {most_bytes} bytes: mend the file")
    try:
        return tuple(word.decode() for word in words)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {array.name!r} holds text that is not UTF-8: mend the file") from error
