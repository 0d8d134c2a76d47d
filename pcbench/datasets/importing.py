"""Imports a copy of a data set in chunks: read, check, choose points, store, account for all of it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from abc import abstractmethod
from collections import defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from pcbench.api import Archive, Dataset, Splits
from pcbench.clouds import PointClouds
from pcbench.common.files import digest, file_digest
from pcbench.datasets.copies import WORDS, Copy, Files, Piece, Releases, Rows
from pcbench.datasets.reading import Reading, read
from pcbench.datasets.store import (
    DEFAULTS,
    Chunk,
    Importable,
    ImportOptions,
    Manifest,
    Progress,
    SourceFile,
    load_stored,
    narrow,
    read_manifest,
    store,
    stored,
    write_chunks,
    writing,
)
from pcbench.errors import DataError
from pcbench.ops.sampling import resample

_WORTH_PROCESSES = 256
_SHOWN = 3


class Imported(Dataset, Importable):
    """What the data sets share that are imported under their own name. layouts: what `find` looks for."""

    releases: ClassVar[Releases]
    layouts: ClassVar[str]
    at_most: ClassVar[bool] = False
    """Whether the card's numbers of clouds are the most that there may be; else they are exact."""

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
    sampling: str = "first" if manifest.sampling == "kept" else manifest.sampling
    if manifest.repeated:
        sampling += "+repeated"
    if points > train.points_per_cloud:
        raise DataError(
            f"{manifest.name} holds {train.points_per_cloud} points a cloud, and {points} are asked for: "
            "take a protocol of fewer points, or import it again with more, if need be repeated ones"
        )
    few = [resample(split, points, "first").normalised() for split in (train, test)]
    return Splits(few[0], few[1], digest(how), sampling, standard, official_order)


def import_copy(
    name: str, copy: Copy, releases: Releases, progress: Progress, options: ImportOptions
) -> Manifest:
    """Read, check and store a copy; raises DataError, and leaves the store as it was, where it is not valid.

    releases: numbers of clouds of a complete copy; where none are given, any will do.
    """
    counts = copy.counts()
    lacking = _lacking(copy, releases)
    if lacking and not options.allow_incomplete:
        raise DataError(f"{copy.root} {lacking}: {_ANYWAY[copy.own]}", "incomplete copy")
    for split, count in counts.items():
        if count == 0:
            raise DataError(f"{copy.root} has no {WORDS[split]} cloud: {_GET[copy.own]}")
    with writing(name) as folder:
        account = _Account(copy, progress, options)

        def manifest(content_hash: str, file: str) -> Manifest:
            return Manifest(
                name=name,
                variant=copy.variant,
                class_names=copy.class_names,
                train=counts["train"],
                test=counts["test"],
                points=account.points(),
                sources=account.sources(),
                content_hash=content_hash,
                file=file,
                sampling="kept" if account.all_kept else options.sampling,
                seed=options.seed,
                complete=not lacking,
                duplicates=account.duplicates(),
                notes=(*copy.notes, *account.notes()),
                repeated=account.repeated(),
                own=options.own,
            )

        def write(path: Path) -> str:
            content_hash = write_chunks(path, copy.class_names, counts, options.wanted, account.chunks())
            return content_hash if account.points() == options.wanted else narrow(path, account.points())

        return store(manifest, folder, write)


_GET = {False: "fetch it again", True: "both splits are needed"}
_ANYWAY = {
    False: "this copy is incomplete or modified, fetch it again, or allow it to be incomplete, which every "
    "record will say",
    True: "add what is missing, or allow it to be incomplete",
}
"""What to do about a copy that lacks something, by whether it is a user's own."""


def _lacking(copy: Copy, releases: Releases) -> str:
    """What a copy lacks, in words that follow its name; empty where it is whole."""
    if copy.missing:
        more = f" and {len(copy.missing) - 1} more are" if len(copy.missing) > 1 else " is"
        return f"lacks files that its lists name: {copy.missing[0]}{more} missing"
    counts = copy.counts()
    if releases and (counts["train"], counts["test"]) not in releases:
        expected = " or ".join(f"{train}/{test}" for train, test in releases)
        return f"holds {counts['train']}/{counts['test']} training/test clouds instead of {expected}"
    absent = copy.absent()
    return f"holds {' and '.join(absent)}" if absent else ""


class _Account:
    """Hands the clouds of a copy on, and keeps what the manifest says of them."""

    def __init__(self, copy: Copy, progress: Progress, options: ImportOptions) -> None:
        self.copy, self.progress, self.options = copy, progress, options
        self.all_kept = True
        self._seen: dict[bytes, list[str]] = defaultdict(list)
        self._digests: dict[Path, str] = {}
        self._coarse: list[str] = []
        self._few: list[tuple[int, str]] = []

    def chunks(self) -> Iterator[Chunk]:
        """All clouds in order; raises DataError for one that cannot be."""
        total, done = sum(self.copy.counts().values()), 0
        self.progress(0, total)
        for piece, reading in _results(self.copy, self.options):
            for i, mark in enumerate(reading.marks):
                self._seen[mark].append(f"{piece.split} {piece.first + i}{self._file(piece, i)}")
            if isinstance(piece.source, Files):
                self._digests.update(zip(piece.source.paths, reading.digests, strict=True))
            self._coarse += [self._place(piece, i) for i, coarse in enumerate(reading.coarse) if coarse]
            few = [(size, i) for i, size in enumerate(reading.sizes) if size < self.options.wanted]
            self._few += [(size, self._place(piece, i)) for size, i in few]
            self.all_kept &= reading.kept
            yield piece.split, reading.points, reading.labels
            done += len(reading.labels)
            self.progress(done, total)

    def _file(self, piece: Piece, i: int) -> str:
        return f": {self._place(piece, i)}" if isinstance(piece.source, Files) else ""

    def _place(self, piece: Piece, i: int) -> str:
        """Where the i-th cloud of a piece stands in the copy."""
        source = piece.source
        if isinstance(source, Rows):
            return f"{source.path.name}, cloud {source.places()[i]}"
        return self._name(source.paths[i])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.copy.root).as_posix()

    def points(self) -> int:
        """How many points are stored of every cloud, once all were read."""
        if self.options.repeat or not self._few:
            return self.options.wanted
        return min(size for size, _ in self._few)

    def repeated(self) -> int:
        """How many clouds repeat points."""
        return len(self._few) if self.options.repeat else 0

    def notes(self) -> list[str]:
        """What a user should know of the clouds, in sentences."""
        notes = []
        if self._few and self.options.repeat:
            notes.append(
                f"{len(self._few)} clouds have fewer than {self.options.wanted} points, and repeat them"
            )
        elif self._few:
            size, place = min(self._few)
            notes.append(
                f"{size} points a cloud are stored instead of {self.options.wanted}: {place} has no more, "
                f"and {len(self._few)} clouds have fewer than {self.options.wanted}"
            )
        if self._coarse:
            more = f" and {len(self._coarse) - _SHOWN} more" if len(self._coarse) > _SHOWN else ""
            notes.append(
                f"{len(self._coarse)} clouds have lost their shape: their numbers are float32, too coarse so "
                f"far from the origin; save them as doubles, or nearer the origin "
                f"({'; '.join(self._coarse[:_SHOWN])}{more})"
            )
        return notes

    def sources(self) -> tuple[SourceFile, ...]:
        """Every file once, in the order of reading."""
        for piece in self.copy.pieces:
            if isinstance(piece.source, Rows) and piece.source.path not in self._digests:
                self._digests[piece.source.path] = file_digest(piece.source.path)
        return tuple(
            SourceFile(name=self._name(path), sha256=sha256) for path, sha256 in self._digests.items()
        )

    def duplicates(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(group) for group in self._seen.values() if len(group) > 1)


def _results(copy: Copy, options: ImportOptions) -> Iterator[tuple[Piece, Reading]]:
    """Every piece in order with what was read of it; a few at a time are in memory."""
    whole = replace(copy, pieces=())  # what goes to another process
    work = partial(read, copy=whole, options=options)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores == 1 or not copy.slow or sum(copy.counts().values()) < _WORTH_PROCESSES:
        yield from ((piece, work(piece)) for piece in copy.pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, initializer=_start_worker) as pool:
        waiting: deque[tuple[Piece, Future[Reading]]] = deque()

        def oldest() -> tuple[Piece, Reading]:
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
