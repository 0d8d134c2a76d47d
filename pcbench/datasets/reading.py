"""Reads a piece of a copy: clouds from files or rows, checked, in float32, of the points to store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcbench.common.hdf5 import open_hdf5, own_array
from pcbench.datasets.copies import Copy, Files, Piece, Rows
from pcbench.datasets.formats import read_cloud
from pcbench.datasets.formats.content import Flaw, Mesh, on_its_side, read_bytes
from pcbench.datasets.placing import Stored, collapse, flaw, placed
from pcbench.datasets.store import ImportOptions
from pcbench.errors import DataError, Thing
from pcbench.ops.neighbours import farthest_point_sample
from pcbench.seeds import seed_of

MESH_POINTS = 10_000
"""Points drawn from the surface of a mesh, of which some are then chosen."""
FEWEST = 64
"""A user's own clouds have at least so many points: what the smallest protocol needs."""


@dataclass(frozen=True)
class Reading:
    """A piece once it was read."""

    points: Stored
    """(c, N, 3); a cloud of fewer than N points repeats them."""
    labels: NDArray[np.int64]
    """(c,)"""
    marks: tuple[bytes, ...]
    """Equal for equal clouds as they stand in the copy."""
    digests: tuple[str, ...]
    """SHA-256 of each file, where a file is a cloud."""
    kept: bool
    """Whether all points of all clouds were kept."""
    sizes: tuple[int, ...]
    """How many points each cloud has in the copy."""
    coarse: tuple[bool, ...]
    """Whether a cloud had lost its shape to float32 before it was read."""


def read(piece: Piece, copy: Copy, options: ImportOptions) -> Reading:
    """The clouds of a piece; DataError, with file and place, for one that cannot be."""
    generators = [
        np.random.default_rng(
            seed_of(
                {"purpose": "import", "seed": options.seed, "split": piece.split, "cloud": piece.first + i}
            )
        )
        for i in range(len(piece.source))
    ]
    if isinstance(piece.source, Rows):
        return _of_rows(piece.source, copy, options, generators)
    return _of_files(piece.source, copy, options, generators)


def _of_rows(
    rows: Rows, copy: Copy, options: ImportOptions, generators: Sequence[np.random.Generator]
) -> Reading:
    with open_hdf5(rows.path) as file:
        data = own_array(file, rows.key)
        array = data[rows.first : rows.last]
    array = (array.swapaxes(1, 2) if on_its_side(array.shape) else array)[..., :3]
    if rows.only is not None:
        array = array[list(rows.only)]
    narrow = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    clouds = np.ascontiguousarray(array, "<f4" if narrow else "<f8")
    size = clouds.shape[1]
    _check_size(f"{rows.path}: {rows.key!r}", size, copy, options)
    wrong = flaw(clouds)
    if wrong is None:
        ready = placed(clouds)
        wrong = collapse(ready)
    if wrong is not None:
        raise DataError(f"{rows.path}: cloud {rows.places()[wrong[0]]} {wrong[1]}: {copy.remedy}")
    marks = tuple(_mark(cloud.tobytes()) for cloud in clouds)
    points = _chosen(ready.points, options, generators)
    labels = np.array(rows.labels, np.int64)
    coarse = tuple(ready.coarse.tolist())
    return Reading(points, labels, marks, (), size == options.wanted, (size,) * len(rows), coarse)


def _of_files(
    files: Files, copy: Copy, options: ImportOptions, generators: Sequence[np.random.Generator]
) -> Reading:
    clouds, marks, digests, coarse = [], [], [], []
    for path, generator in zip(files.paths, generators, strict=True):
        content = read_bytes(path)
        digests.append(hashlib.sha256(content).hexdigest())
        try:
            cloud, mark, blurred = _one(path, content, files, generator)
        except Flaw as error:
            things: tuple[Thing, ...] = ("ignored files",) if copy.own else ()
            raise DataError(f"{path}{error}: {copy.remedy}", *things) from error
        _check_size(f"{path}", len(cloud), copy, options)
        clouds.append(cloud)
        marks.append(mark)
        coarse.append(blurred)
    sizes = tuple(len(cloud) for cloud in clouds)
    if len(set(sizes)) == 1:
        chosen = _chosen(np.stack(clouds), options, generators)
    else:
        pairs = zip(clouds, generators, strict=True)
        chosen = np.concatenate([_chosen(cloud[None], options, [own]) for cloud, own in pairs])
    kept = set(sizes) == {options.wanted}
    labels = np.array(files.labels, np.int64)
    return Reading(chosen, labels, tuple(marks), tuple(digests), kept, sizes, tuple(coarse))


def _one(
    path: Path, content: bytes, files: Files, generator: np.random.Generator
) -> tuple[Stored, bytes, bool]:
    """The cloud of a file, (N, 3), what marks it, and whether it had lost its shape before."""
    cloud = read_cloud(path, content, files.columns)
    blurred = False
    if isinstance(cloud, Mesh):
        mark = _mark(cloud.content())
        blurred = len(cloud.vertices) >= FEWEST and bool(placed(cloud.vertices[None]).coarse[0])
        cloud = cloud.sample(MESH_POINTS, generator)
    else:
        mark = _mark(cloud.tobytes())
    if files.upright:
        cloud = cloud[:, [0, 2, 1]]
    wrong = flaw(cloud[None])
    if wrong is None:
        ready = placed(cloud[None])
        wrong = collapse(ready)
    if wrong is not None:
        raise Flaw(f" {wrong[1]}")
    return ready.points[0], mark, blurred or bool(ready.coarse[0])


def _mark(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _check_size(what: str, points: int, copy: Copy, options: ImportOptions) -> None:
    """DataError for a cloud that has fewer points than it may."""
    if not copy.own or (options.points is not None and not options.repeat):
        if points < options.wanted:
            raise DataError(
                f"{what} has {points} points a cloud instead of {options.wanted} or more: "
                + ("store fewer points, or repeat them" if copy.own else "fetch another copy"),
                *(("stored points", "repeated points") if copy.own else ()),
            )
    elif points < FEWEST:
        raise DataError(f"{what} has {points} points, and a cloud {FEWEST} or more: {copy.remedy}")


def _chosen(
    clouds: NDArray[Any], options: ImportOptions, generators: Sequence[np.random.Generator]
) -> Stored:
    """The wanted points of every cloud (c, N, 3); where there are fewer, all of them in turn, repeated."""
    size, wanted = clouds.shape[1], options.wanted
    chosen = min(size, wanted)
    if size == wanted or options.sampling == "first":
        index = np.broadcast_to(np.arange(chosen), (len(clouds), chosen))
    elif options.sampling == "random":
        index = np.stack([own.permutation(size)[:chosen] for own in generators])
    else:
        index = farthest_point_sample(torch.from_numpy(clouds), chosen).numpy()
    if chosen < wanted:
        index = np.take(index, np.arange(wanted) % chosen, axis=1)
    elif size == wanted:
        return clouds
    return np.take_along_axis(clouds, index[..., None], axis=1)
