"""Imports a copy of a data set in chunks: read, check, choose 1024 points a cloud, store, account for it."""

from __future__ import annotations

import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeAlias

import numpy as np
import torch

from pcbench.api import Archive, Dataset, Splits
from pcbench.clouds import PointClouds, open_hdf5, own_array
from pcbench.common.files import digest, file_digest
from pcbench.datasets.formats import Mesh, Points, check_floats, read_bytes, read_cloud
from pcbench.datasets.store import (
    DEFAULTS,
    POINTS,
    SPLITS,
    Chunk,
    Importable,
    ImportOptions,
    Manifest,
    Progress,
    SourceFile,
    Split,
    load_stored,
    read_manifest,
    store,
    stored,
    write_chunks,
    writing,
)
from pcbench.errors import DataError
from pcbench.ops.neighbours import farthest_point_sample
from pcbench.ops.sampling import resample
from pcbench.seeds import seed_of

Releases: TypeAlias = tuple[tuple[int, int], ...]
"""Numbers of training and test clouds that a complete copy may have."""

MESH_POINTS = 10_000
"""Points drawn from the surface of a mesh, of which 1024 are then chosen."""

_ROWS_AT_ONCE = 128
_FILES_AT_ONCE = 16
_WORTH_PROCESSES = 256
_LIST_BYTES = 1 << 24


@dataclass(frozen=True)
class Rows:
    """Some clouds of an HDF5 file with many: those of the rows [first, last), or of `only`, among them."""

    path: Path
    first: int
    last: int
    keys: tuple[str, str] = ("data", "label")
    only: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return self.last - self.first if self.only is None else len(self.only)


@dataclass(frozen=True)
class Files:
    """Files of one cloud each. columns: of a text. upright: the z axis is up, and becomes the y axis."""

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
    """A copy of a data set, found but not read.

    pieces: its clouds, training first, in order. missing: files that it names and does not have. slow:
    whether reading it is worth several processes.
    """

    variant: str
    root: Path
    class_names: tuple[str, ...]
    pieces: tuple[Piece, ...]
    missing: tuple[str, ...] = ()
    slow: bool = False

    def counts(self) -> dict[Split, int]:
        """Clouds of both splits."""
        return {split: sum(len(p.source) for p in self.pieces if p.split == split) for split in SPLITS}


class Imported(Dataset, Importable):
    """What the data sets share that are imported under their own name. layouts: what `find` looks for."""

    releases: ClassVar[Releases]
    layouts: ClassVar[str]

    @abstractmethod
    def find(self, source: Path) -> Copy:
        """The copy at a path, by its looks; raises DataError where there is none."""

    def present(self) -> bool:
        return stored(self.name)

    def how_to_get(self) -> str:
        fetch = f"'pcbench data fetch {self.name}' or, where you have a copy, "
        command = f"'pcbench data import {self.name} PATH' with PATH {self.layouts} ('pcbench docs data')"
        return f"run {fetch if isinstance(self.archive, Archive) else ''}{command}"

    def manifest(self) -> Manifest | None:
        return read_manifest(self.name) if stored(self.name) else None

    def load(self, points: int) -> Splits:
        if not self.present():
            raise DataError(f"{self.name} is not on this machine: {self.how_to_get()}")
        train, test, manifest = load_stored(self.name)
        named(self, manifest.variant)
        standard = manifest.complete and (len(train), len(test)) in self.releases
        return splits_of(train, test, manifest, points, standard, standard and self.in_order(train))

    def in_order(self, train: PointClouds) -> bool:  # noqa: ARG002 - some data sets look at the clouds
        """Whether the training clouds of a complete copy stand in the order of the official lists."""
        return True

    def import_from(self, source: Path, progress: Progress, options: ImportOptions = DEFAULTS) -> Manifest:
        return import_copy(self.name, self.find(source), self.releases, progress, options)


def named(dataset: Dataset, variant: str) -> None:
    """Let this one instance name the variant that was loaded, which enters the records."""
    vars(dataset)["variant"] = variant


def splits_of(
    train: PointClouds,
    test: PointClouds,
    manifest: Manifest,
    points: int,
    standard: bool,
    official_order: bool,
) -> Splits:
    """The first `points` points of stored clouds: where these are farthest point samples, so are those."""
    how = {
        "stored": manifest.content_hash,
        "classes": list(train.class_names),
        "sampling": "first",
        "points": points,
    }
    sampling = "first" if manifest.sampling == "kept" else manifest.sampling
    few = [resample(split, points, "first").normalised() for split in (train, test)]
    return Splits(few[0], few[1], digest(how), sampling, standard, official_order)


def places(source: Path, what: str) -> list[Path]:
    """A folder and those in it, sorted, where an archive may have put a copy; DataError if it is none."""
    if not source.is_dir():
        raise DataError(f"{source} is no folder: give {what}")
    try:
        inner = sorted(path for path in source.iterdir() if path.is_dir())
    except OSError as error:
        raise DataError(f"{source} cannot be read ({error.strerror}): check its permissions") from error
    return [source, *(path for path in inner if not path.name.startswith((".", "__MACOSX")))]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without empty ones; DataError for one that is absent or is no text."""
    content = read_bytes(path)
    if len(content) > _LIST_BYTES:
        raise DataError(f"{path} is longer than {_LIST_BYTES} bytes: fetch it again")
    try:
        return [line.strip() for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path} cannot be read as text: fetch it again") from error


def check_names(path: Path, names: Sequence[str], expected: Sequence[str]) -> None:
    """DataError, with the first difference, for a list of classes that is not that of the card."""
    if list(names) == list(expected):
        return
    pairs = itertools.zip_longest(names, expected, fillvalue="nothing")
    line, (found, wanted) = next((i, pair) for i, pair in enumerate(pairs, 1) if pair[0] != pair[1])
    raise DataError(f"{path}: class {line} is {found!r} instead of {wanted!r}: fetch the file again")


def rows_of(
    split: Split, paths: Iterable[Path], keys: tuple[str, str] = ("data", "label")
) -> tuple[list[Piece], set[int]]:
    """The clouds of HDF5 files, looked at but not read, as pieces, and how many points they have."""
    pieces: list[Piece] = []
    sizes, number = set(), 0
    for path in paths:
        clouds, points = look_at(path, keys)
        sizes.add(points)
        for first in range(0, clouds, _ROWS_AT_ONCE):
            rows = Rows(path, first, min(first + _ROWS_AT_ONCE, clouds), keys)
            pieces.append(Piece(split, number + first, rows))
        number += clouds
    return pieces, sizes


def look_at(path: Path, keys: tuple[str, str]) -> tuple[int, int]:
    """How many clouds an HDF5 file has, and of how many points; DataError for other arrays than those."""
    if not path.is_file():
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again")
    with open_hdf5(path) as file:
        data, label = (own_array(file, key) for key in keys)
        check_floats(data, path, dimensions=3)
        clouds, points = data.shape[:2]
        if label.dtype.kind not in "iu" or label.shape not in ((clouds,), (clouds, 1)):
            raise DataError(
                f"{path}: {keys[1]!r} is {label.dtype} {label.shape} instead of integer ({clouds}, 1): "
                "fetch the file again"
            )
    if points < POINTS:
        raise _too_few(f"{path}: {keys[0]!r}", points)
    return clouds, points


def _too_few(what: str, points: int) -> DataError:
    return DataError(f"{what} has {points} points a cloud instead of {POINTS} or more: fetch another copy")


def hdf5_copy(
    variant: str, root: Path, class_names: tuple[str, ...], files: Mapping[Split, Sequence[Path]]
) -> Copy:
    """A copy made of HDF5 files with `data` and `label`, looked at but not read."""
    missing = [path.name for paths in files.values() for path in paths if not path.exists()]
    pieces: list[Piece] = []
    sizes: set[int] = set()
    for split in SPLITS:
        found, their_sizes = rows_of(split, [path for path in files[split] if path.exists()])
        pieces += found
        sizes |= their_sizes
    if len(sizes) > 1:
        raise DataError(f"{root} mixes clouds of {min(sizes)} and {max(sizes)} points: fetch it again")
    return Copy(variant, root, class_names, tuple(pieces), tuple(missing), slow=sizes != {POINTS})


def files_of(
    split: Split, labelled: Sequence[tuple[Path, int]], columns: int | None = None, upright: bool = False
) -> list[Piece]:
    """Files of one cloud each as pieces."""
    pieces = []
    for first in range(0, len(labelled), _FILES_AT_ONCE):
        paths, labels = zip(*labelled[first : first + _FILES_AT_ONCE], strict=True)
        pieces.append(Piece(split, first, Files(paths, labels, columns, upright)))
    return pieces


def import_copy(
    name: str, copy: Copy, releases: Releases, progress: Progress, options: ImportOptions
) -> Manifest:
    """Read, check and store a copy; raises DataError, and leaves the store as it was, where it is not valid.

    releases: numbers of clouds of a complete copy; where none are given, any will do.
    """
    counts = copy.counts()
    complete = not copy.missing and (not releases or (counts["train"], counts["test"]) in releases)
    if not complete and not options.allow_incomplete:
        raise _incomplete(copy, releases)
    for split, count in counts.items():
        if count == 0:
            raise DataError(f"{copy.root} has no {_WORD[split]} cloud: fetch it again")
    with writing(name) as folder:
        account = _Account(copy, progress, options)

        def manifest(content_hash: str, file: str) -> Manifest:
            return Manifest(
                name=name,
                variant=copy.variant,
                class_names=copy.class_names,
                train=counts["train"],
                test=counts["test"],
                points=POINTS,
                sources=account.sources(),
                content_hash=content_hash,
                file=file,
                sampling="kept" if account.all_kept else options.sampling,
                seed=options.seed,
                complete=complete and account.absent() is None,
                duplicates=account.duplicates(),
            )

        return store(
            manifest,
            folder,
            lambda path: write_chunks(path, copy.class_names, counts, POINTS, account.chunks()),
        )


_WORD: dict[Split, str] = {"train": "training", "test": "test"}
_ANYWAY = "fetch it again, or allow it to be incomplete, which every record will say"


def _incomplete(copy: Copy, releases: Releases) -> DataError:
    if copy.missing:
        more = f" and {len(copy.missing) - 1} more" if len(copy.missing) > 1 else ""
        return DataError(
            f"{copy.root / copy.missing[0]}{more} is missing: this copy is incomplete, {_ANYWAY}",
            "incomplete copy",
        )
    counts = copy.counts()
    expected = " or ".join(f"{train}/{test}" for train, test in releases)
    return DataError(
        f"{copy.root} holds {counts['train']}/{counts['test']} training/test clouds instead of {expected}: "
        f"this copy is incomplete or modified, {_ANYWAY}",
        "incomplete copy",
    )


class _Account:
    """Hands the clouds of a copy on, and keeps what the manifest says of them."""

    def __init__(self, copy: Copy, progress: Progress, options: ImportOptions) -> None:
        self.copy, self.progress, self.options = copy, progress, options
        self.all_kept = True
        self._seen: dict[bytes, list[str]] = defaultdict(list)
        self._digests: dict[Path, str] = {}
        self._classes: dict[Split, set[int]] = {split: set() for split in SPLITS}

    def chunks(self) -> Iterator[Chunk]:
        """All clouds in order; raises DataError for one that cannot be, or for a class without any."""
        total, done = sum(self.copy.counts().values()), 0
        self.progress(0, total)
        for piece, read in _results(self.copy, self.options):
            for i, mark in enumerate(read.marks):
                self._seen[mark].append(f"{piece.split} {piece.first + i}")
            if isinstance(piece.source, Files):
                self._digests.update(zip(piece.source.paths, read.digests, strict=True))
            self._classes[piece.split].update(read.labels.tolist())
            self.all_kept &= read.kept
            yield piece.split, read.points, read.labels
            done += len(read.labels)
            self.progress(done, total)
        if self.absent() is not None and not self.options.allow_incomplete:
            raise DataError(
                f"{self.copy.root} holds {self.absent()}: this copy is incomplete or modified, {_ANYWAY}",
                "incomplete copy",
            )

    def absent(self) -> str | None:
        """A class without clouds, if there is one."""
        for split in SPLITS:
            absent = set(range(len(self.copy.class_names))) - self._classes[split]
            if absent:
                return f"no {_WORD[split]} cloud of {self.copy.class_names[min(absent)]}"
        return None

    def sources(self) -> tuple[SourceFile, ...]:
        """Every file once, in the order of reading."""
        for piece in self.copy.pieces:
            if isinstance(piece.source, Rows) and piece.source.path not in self._digests:
                self._digests[piece.source.path] = file_digest(piece.source.path)
        root = self.copy.root
        return tuple(
            SourceFile(name=path.relative_to(root).as_posix(), sha256=sha256)
            for path, sha256 in self._digests.items()
        )

    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(group) for group in self._seen.values() if len(group) > 1)


@dataclass(frozen=True)
class _Read:
    """A piece once it was read. marks: equal for equal clouds as they stand in the copy. kept: all points."""

    points: Points
    labels: np.ndarray
    marks: tuple[bytes, ...]
    digests: tuple[str, ...]
    kept: bool


def _results(copy: Copy, options: ImportOptions) -> Iterator[tuple[Piece, _Read]]:
    """Every piece in order with what was read of it; a few at a time are in memory."""
    work = partial(_work, classes=len(copy.class_names), options=options)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or not copy.slow or sum(copy.counts().values()) < _WORTH_PROCESSES:
        yield from ((piece, work(piece)) for piece in copy.pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, initializer=_start_worker) as pool:
        waiting: deque[tuple[Piece, Future[_Read]]] = deque()

        def oldest() -> tuple[Piece, _Read]:
            piece, future = waiting.popleft()
            return piece, future.result()

        try:
            for piece in copy.pieces:
                waiting.append((piece, pool.submit(work, piece)))
                if len(waiting) > 3 * cores:
                    yield oldest()
            while waiting:
                yield oldest()
        except BrokenProcessPool as error:
            raise DataError(
                "a process that reads the clouds was killed, perhaps for want of memory: run the import again"
            ) from error
        finally:
            for _, future in waiting:
                future.cancel()


def _start_worker() -> None:
    """One thread a process; a keyboard interrupt is the parent's affair; no process outlives its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


def _work(piece: Piece, classes: int, options: ImportOptions) -> _Read:
    source = piece.source
    generators = [
        np.random.default_rng(
            seed_of(
                {"purpose": "import", "seed": options.seed, "split": piece.split, "cloud": piece.first + i}
            )
        )
        for i in range(len(source))
    ]
    if isinstance(source, Rows):
        xyz, labels = _read_rows(source, classes)
        marks = tuple(_mark(cloud.tobytes()) for cloud in xyz)
        return _Read(_chosen(xyz, options, generators), labels, marks, (), xyz.shape[1] == POINTS)
    clouds, found, digests = [], [], []
    for path, generator in zip(source.paths, generators, strict=True):
        content = read_bytes(path)
        digests.append(hashlib.sha256(content).hexdigest())
        cloud = read_cloud(path, content, source.columns)
        if isinstance(cloud, Mesh):
            found.append(_mark(cloud.content()))
            cloud = cloud.sample(MESH_POINTS, generator)
        else:
            found.append(_mark(cloud.tobytes()))
        if len(cloud) < POINTS:
            raise _too_few(f"{path}", len(cloud))
        if source.upright:
            cloud = cloud[:, [0, 2, 1]] * np.array([1, 1, -1], np.float32)
        flaw = _flaw(cloud[None])
        if flaw is not None:
            raise DataError(f"{path} {flaw[1]}: fetch the file again, or mend it")
        clouds.append(cloud)
    if len({len(cloud) for cloud in clouds}) == 1:
        chosen = _chosen(np.stack(clouds), options, generators)
    else:
        pairs = zip(clouds, generators, strict=True)
        chosen = np.concatenate([_chosen(cloud[None], options, [own]) for cloud, own in pairs])
    kept = all(len(cloud) == POINTS for cloud in clouds)
    return _Read(chosen, np.array(source.labels, np.int64), tuple(found), tuple(digests), kept)


def _mark(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _read_rows(rows: Rows, classes: int) -> tuple[Points, np.ndarray]:
    with open_hdf5(rows.path) as file:
        data, label = (own_array(file, key) for key in rows.keys)
        check_floats(data, rows.path, dimensions=3)
        span = slice(rows.first, rows.last)
        with np.errstate(over="ignore"):
            xyz = np.ascontiguousarray(data[span], "<f4")
        labels = label[span].reshape(-1).astype(np.int64)
    numbers = np.arange(rows.first, rows.last)
    if rows.only is not None:
        kept = np.array(rows.only)
        xyz, labels, numbers = xyz[kept], labels[kept], numbers[kept]
    wrong = (labels < 0) | (labels >= classes)
    flaw = _flaw(xyz)
    if wrong.any():
        flaw = int(wrong.argmax()), f"has a label outside 0 to {classes - 1}"
    if flaw is not None:
        raise DataError(f"{rows.path}: cloud {numbers[flaw[0]]} {flaw[1]}: fetch the file again")
    return xyz, labels


def _flaw(xyz: Points) -> tuple[int, str] | None:
    """The first of clouds (c, N, 3) that cannot be, and why."""
    flaws = {
        "has a coordinate that is not finite": ~np.isfinite(xyz).all(axis=(1, 2)),
        "is empty: all its points coincide": (xyz == xyz[:, :1]).all(axis=(1, 2)),
    }
    for flaw, found in flaws.items():
        if found.any():
            return int(found.argmax()), flaw
    return None


def _chosen(xyz: Points, options: ImportOptions, generators: Sequence[np.random.Generator]) -> Points:
    """1024 points of every cloud (c, N, 3); clouds that have no more stand as they are."""
    if xyz.shape[1] == POINTS or options.sampling == "first":
        return xyz[:, :POINTS]
    if options.sampling == "random":
        index = np.stack([own.permutation(xyz.shape[1])[:POINTS] for own in generators])
    else:
        index = farthest_point_sample(torch.from_numpy(xyz), POINTS).numpy()
    return np.take_along_axis(xyz, index[..., None], axis=1)
