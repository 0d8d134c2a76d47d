"""Clouds as files for other programs: PLY and XYZ, one a cloud, or NPZ and HDF5, one for all."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcbench.clouds import PointClouds, as_stored, save_clouds
from pcbench.common.files import atomic_path
from pcbench.errors import DataError, UsageError

Format: TypeAlias = Literal["ply", "npz", "h5", "xyz"]
Points: TypeAlias = NDArray[np.float32]
LONGEST_NAME = 48


@dataclass(frozen=True)
class Exported:
    """A file that was written. class_name, number: which cloud of its class it holds; None if all."""

    path: Path
    class_name: str | None = None
    number: int | None = None


def export_clouds(clouds: PointClouds, folder: Path, form: Format, force: bool = False) -> list[Exported]:
    """Write clouds into a folder, each file whole or not at all.

    `ply`, `xyz`: `<class>_<nn>` for every cloud, numbered from 00 within its class; the class names are made
    safe by `file_names`. `npz`, `h5`: one file `clouds` with points (B, N, 3) float32, labels (B,) int64 and
    class_names, K strings in an NPZ file and an attribute of JSON in an HDF5 one, as in a run's own files.

    Raises UsageError, before anything is written, where a file is there already and `force` is not given, and
    DataError for a folder that cannot be written to.
    """
    planned = list(_planned(clouds, folder, form))
    there = [] if force else [file.path for file, _ in planned if file.path.exists()]
    if there:
        more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
        problem = f"{there[0]}{more} is there already: choose another folder, or let it be replaced"
        raise UsageError(problem, "output", "replace")
    for file, write in planned:
        try:
            write(file.path)
        except OSError as error:
            raise DataError(f"{file.path} cannot be written ({error.strerror or error})") from error
    return [file for file, _ in planned]


def file_names(class_names: Sequence[str]) -> list[str]:
    """For every class a file name of its own, of letters, digits, `_`, `.` and `-`.

    No two are equal, also where case does not count, and none begins with a dot or holds a separator. They
    have at most LONGEST_NAME characters, and a number where that makes two alike.
    """
    names: list[str] = []
    taken: set[str] = set()
    for class_name in class_names:
        clean = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFKC", class_name))
        stem = clean[:LONGEST_NAME].strip("._-") or "class"
        name, copy = stem, 1
        while name.casefold() in taken:
            copy += 1
            name = f"{stem}-{copy}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _planned(
    clouds: PointClouds, folder: Path, form: Format
) -> Iterator[tuple[Exported, Callable[[Path], None]]]:
    """What is to be written, and how."""
    if form == "npz":
        yield Exported(folder / "clouds.npz"), lambda path: _write_npz(path, clouds)
    elif form == "h5":
        yield Exported(folder / "clouds.h5"), lambda path: save_clouds(path, clouds)
    else:
        encode = _ply if form == "ply" else _xyz
        points, labels = as_stored(clouds)
        for label, name in enumerate(file_names(clouds.class_names)):
            rows = np.flatnonzero(labels == label)
            digits = max(2, len(str(len(rows) - 1)))
            for number, row in enumerate(rows):
                file = Exported(
                    folder / f"{name}_{number:0{digits}}.{form}", clouds.class_names[label], number
                )
                yield file, partial(_write_bytes, encode, points[row])


def _write_bytes(encode: Callable[[Points], bytes], xyz: Points, path: Path) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode(xyz))


def _write_npz(path: Path, clouds: PointClouds) -> None:
    points, labels = as_stored(clouds)
    names = np.array(clouds.class_names, dtype=np.str_)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, points=points, labels=labels, class_names=names)


def _ply(xyz: Points) -> bytes:
    """A binary PLY file (Turk 1994): a header of text, then every point as three little-endian floats."""
    header = (
        "ply",
        "format binary_little_endian 1.0",
        "comment a point cloud from pcbench",
        f"element vertex {len(xyz)}",
        *(f"property float {axis}" for axis in "xyz"),
        "end_header\n",
    )
    return "\n".join(header).encode("ascii") + xyz.astype("<f4").tobytes()


def _xyz(xyz: Points) -> bytes:
    """One line a point, three numbers with nine digits, from which the same float32 is read."""
    return "".join("{:.9g} {:.9g} {:.9g}\n".format(*row) for row in xyz.tolist()).encode("ascii")
