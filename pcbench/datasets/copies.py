"""A copy of a data set, found but not read: which files and rows its clouds stand in, and what it lacks."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import numpy as np

from pcbench.common.hdf5 import open_hdf5, own_array
from pcbench.datasets.formats.arrays import check_numbers
from pcbench.datasets.formats.content import Flaw, read_bytes
from pcbench.datasets.store import POINTS, SPLITS, Split
from pcbench.errors import DataError

Releases: TypeAlias = tuple[tuple[int, int], ...]
"""Numbers of training and test clouds that a complete copy may have."""

_ROWS_AT_ONCE = 128
_BYTES_AT_ONCE = 1 << 26
_FILES_AT_ONCE = 16
_LIST_BYTES = 1 << 24
_PACKED = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".rar", ".7z")


@dataclass(frozen=True)
class Rows:
    """Some clouds of an HDF5 file with many: those of the rows [first, last), or of `only`, among them."""

    path: Path
    first: int
    last: int
    labels: tuple[int, ...]
    """Of the clouds that are meant."""
    key: str = "data"
    """What the array is called."""
    only: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def places(self) -> list[int]:
        """The row of each cloud in the file."""
        return [self.first + i for i in self.only or range(self.last - self.first)]


@dataclass(frozen=True)
class Files:
    """Files of one cloud each. columns: of a text. upright: the z axis is up, and changes places with y."""

    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    columns: int | None = None
    upright: bool = False

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True)
class Piece:
    """Clouds of one split that are read at once, and the number of the first in its split."""

    split: Split
    first: int
    source: Rows | Files


@dataclass(frozen=True)
class Copy:
    """A copy of a data set, found but not read."""

    variant: str
    root: Path
    class_names: tuple[str, ...]
    pieces: tuple[Piece, ...]
    """Its clouds, training first, in order."""
    missing: tuple[str, ...] = ()
    """Files that it names and does not have."""
    slow: bool = False
    """Whether reading it is worth several processes."""
    own: bool = False
    """Whether it is a user's own, that nobody else can hand out again."""
    notes: tuple[str, ...] = ()
    """What a user should know of how it was found, in sentences."""

    @property
    def remedy(self) -> str:
        """What to do about a file that is wrong."""
        return "mend it, or leave it out" if self.own else "fetch the file again, or mend it"

    def counts(self) -> dict[Split, int]:
        """Clouds of both splits."""
        return {split: sum(len(p.source) for p in self.pieces if p.split == split) for split in SPLITS}

    def absent(self) -> list[str]:
        """The classes that have no cloud in a split, in words: "training: desk, sofa"."""
        lacking = []
        for split in SPLITS:
            there = {label for piece in self.pieces if piece.split == split for label in piece.source.labels}
            names = [name for label, name in enumerate(self.class_names) if label not in there]
            if names and there:
                lacking.append(f"no {WORDS[split]} cloud of {several(names)}")
        return lacking


WORDS: dict[Split, str] = {"train": "training", "test": "test"}
"""How messages call the splits."""


def several(names: Sequence[str], shown: int = 10) -> str:
    """The first of some names, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def places(source: Path, what: str) -> list[Path]:
    """A folder and those in it, sorted, where an archive may have put a copy; DataError if it is none."""
    refuse_archive(source)
    if not source.is_dir():
        raise DataError(f"{source} is no folder: give {what}")
    try:
        inner = sorted(path for path in source.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{source} cannot be read ({error.strerror}): check its permissions") from error
    return [source, *(path for path in inner if not path.name.startswith((".", "__MACOSX")))]


def refuse_archive(source: Path) -> None:
    """DataError for an archive, which has to be unpacked first."""
    if source.is_file() and source.name.lower().endswith(_PACKED):
        raise DataError(f"{source} is an archive: unpack it, and give the folder that it holds")


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones; DataError for one that is absent or is no text."""
    content = read_bytes(path)
    if len(content) > _LIST_BYTES:
        raise DataError(f"{path} is longer than {_LIST_BYTES} bytes: fetch it again")
    try:
        return [line.strip() for line in content.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: fetch it again") from error


def check_names(path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    """DataError, with the first difference, for a list of classes that is not that of the card."""
    if list(names) == list(expected):
        return
    pairs = itertools.zip_longest(names, expected, fillvalue="nothing")
    line, (found, wanted) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    raise DataError(f"{path}: class {line} is {found!r} instead of {wanted!r}: fetch the file again")


def listed_hdf5(path: Path) -> list[Path]:
    """The HDF5 files that a list names: by base name, beside it, whatever folder it puts before."""
    files = []
    for entry in read_lines(path):
        place = PurePosixPath(entry)
        if place.is_absolute() or ".." in place.parts or "\\" in entry or place.suffix != ".h5":
            raise DataError(
                f"{path} names {entry[:100]!r}, which is no .h5 file of this folder: fetch the list again"
            )
        files.append(path.parent / place.name)
    if not files:
        raise DataError(f"{path} names no file: fetch it again")
    if len(set(files)) < len(files):
        raise DataError(f"{path} names a file twice: fetch it again")
    return files


@dataclass(frozen=True)
class Array:
    """The clouds of an HDF5 file, looked at but not read."""

    path: Path
    key: str
    points: int
    """Of every cloud."""
    labels: tuple[int, ...]
    """Of every cloud, in range."""
    cloud_bytes: int
    """What a cloud is in the file, all its columns, unpacked."""

    def rows(self, split: Split, first: int = 0, only: Sequence[int] | None = None) -> list[Piece]:
        """Its clouds, or some of them, as pieces of a split, in which they are numbered from `first`."""
        pieces: list[Piece] = []
        wanted = np.zeros(len(self.labels), bool)
        wanted[list(range(len(self.labels)) if only is None else only)] = True
        together = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // self.cloud_bytes))
        for start in range(0, len(self.labels), together):
            last = min(start + together, len(self.labels))
            chosen = tuple(np.flatnonzero(wanted[start:last]).tolist())
            if chosen:
                labels = tuple(self.labels[start + i] for i in chosen)
                whole = len(chosen) == last - start
                rows = Rows(self.path, start, last, labels, self.key, None if whole else chosen)
                pieces.append(Piece(split, first, rows))
                first += len(chosen)
        return pieces


def look_at(path: Path, classes: int | None, keys: tuple[str, str] = ("data", "label")) -> Array:
    """The clouds and labels of an HDF5 file; DataError for other arrays than those, and for a wrong label.

    classes: labels are below it; None for any number of them. Whole numbers stored as floats are labels too.
    """
    if not path.is_file():
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again")
    with open_hdf5(path) as file:
        data, label = (own_array(file, key) for key in keys)
        try:
            points = check_numbers(data, dimensions=3)
        except Flaw as error:
            raise DataError(f"{path}{error}: fetch the file again, or mend it") from error
        clouds = data.shape[0]
        if label.dtype.kind not in "iuf" or label.shape not in ((clouds,), (clouds, 1)):
            raise DataError(
                f"{path}: {keys[1]!r} is {label.dtype} {label.shape} instead of integer ({clouds}, 1): "
                "fetch the file again"
            )
        values = np.asarray(label[()]).reshape(-1)
        cloud_bytes = data.dtype.itemsize * math.prod(data.shape[1:])
    most = classes if classes is not None else clouds
    with np.errstate(invalid="ignore"):
        wrong = ~((values >= 0) & (values < most) & (values == np.floor(values)))
    if wrong.any():
        first = int(wrong.argmax())
        raise DataError(
            f"{path}: cloud {first} has the label {values[first]}, a label outside 0 to {most - 1}: "
            "fetch the file again, or mend it"
        )
    return Array(path, keys[0], points, tuple(values.astype(np.int64).tolist()), cloud_bytes)


def label_names(files: Sequence[Path], classes: int | None) -> dict[int, str]:
    """The name of every label, by what *_id2name.json says of the clouds of each file."""
    names: dict[int, str] = {}
    for file in files:
        path = file.with_name(f"{file.stem}_id2name.json")
        labels = look_at(file, classes).labels
        try:
            said = json.loads(read_bytes(path))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is no JSON: fetch it again") from error
        listed = isinstance(said, list) and len(said) == len(labels)
        if not listed or not all(isinstance(name, str) for name in said):
            raise DataError(f"{path} is no list of the names of {len(labels)} clouds: fetch it again")
        for i, (label, name) in enumerate(zip(labels, said, strict=True)):
            if names.setdefault(label, name) != name:
                raise DataError(
                    f"{path}: cloud {i} is called {name!r}, and other clouds of its label, {label}, "
                    f"{names[label]!r}: fetch it again"
                )
    if len(set(names.values())) < len(names):
        raise DataError(f"{files[0].parent}: two labels share a name in *_id2name.json: fetch them again")
    return names


def id2name_files(folder: Path) -> dict[Split, list[Path]]:
    """`{train,test}*.h5` in the order of their numbers, where `*_id2name.json` stand beside them."""
    if not any(folder.glob("*_id2name.json")):
        return {split: [] for split in SPLITS}
    return {split: sorted(folder.glob(f"{split}*.h5"), key=_by_number) for split in SPLITS}


def _by_number(path: Path) -> tuple[int, str]:
    number = re.search(r"\d+", path.stem)
    return int(number[0]) if number else 0, path.name


def hdf5_copy(
    variant: str, root: Path, class_names: tuple[str, ...], files: Mapping[Split, Sequence[Path]]
) -> Copy:
    """A copy made of HDF5 files with `data` and `label`, looked at but not read."""
    missing = [path.name for paths in files.values() for path in paths if not path.exists()]
    pieces: list[Piece] = []
    sizes: set[int] = set()
    for split in SPLITS:
        number = 0
        for path in files[split]:
            if path.exists():
                array = look_at(path, len(class_names))
                pieces += array.rows(split, number)
                number += len(array.labels)
                sizes.add(array.points)
    if len(sizes) > 1:
        raise DataError(f"{root} mixes clouds of {min(sizes)} and {max(sizes)} points: fetch it again")
    return Copy(variant, root, class_names, tuple(pieces), tuple(missing), slow=sizes != {POINTS})


def files_of(
    split: Split, labelled: Iterable[tuple[Path, int]], columns: int | None = None, upright: bool = False
) -> list[Piece]:
    """Files of one cloud each as pieces."""
    labelled = list(labelled)
    pieces = []
    for first in range(0, len(labelled), _FILES_AT_ONCE):
        paths, labels = zip(*labelled[first : first + _FILES_AT_ONCE], strict=True)
        pieces.append(Piece(split, first, Files(paths, labels, columns, upright)))
    return pieces
