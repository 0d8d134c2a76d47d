"""What a file may hold, how much of it, and how a reader says that it holds something else."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pcbench.errors import DataError

Points: TypeAlias = NDArray[np.float64]
"""One cloud: (N, 3) float64, finite."""

MAX_BYTES = 1 << 29
"""Longest file that is read into memory as a whole, also once it is unpacked: 512 MiB."""
MAX_POINTS = 1 << 22
"""Most points of one cloud."""
MAX_CLOUDS = 10_000_000
"""Most clouds of one file."""

_FEWEST_OF_A_CLOUD = 64
_MOST_COLUMNS = 16
MAX_VALUES = _MOST_COLUMNS * MAX_POINTS
"""Most values of one cloud that is an array, whatever its columns are."""


class Flaw(DataError):
    """What is wrong with the content of a file; the message goes on from the file's name."""


@dataclass(frozen=True)
class Mesh:
    """A surface. vertices: (V, 3) float64, finite. triangles: (F, 3) int64, at least one, of some area."""

    vertices: NDArray[np.float64]
    triangles: NDArray[np.int64]

    def content(self) -> bytes:
        return self.vertices.tobytes() + self.triangles.tobytes()

    def sample(self, count: int, generator: np.random.Generator) -> Points:
        """Points drawn uniformly by area, (count, 3)."""
        corner, u, v = self._edges()
        ends = np.cumsum(_areas(u, v))
        chosen = np.searchsorted(ends, generator.random(count) * ends[-1], side="right")
        chosen = np.minimum(chosen, len(ends) - 1)
        s, t = generator.random((2, count, 1))
        outside = s + t > 1
        s, t = np.where(outside, 1 - s, s), np.where(outside, 1 - t, t)
        points: Points = corner[chosen] + s * u[chosen] + t * v[chosen]
        return points

    def area(self) -> float:
        _, u, v = self._edges()
        return float(_areas(u, v).sum())

    def _edges(self) -> tuple[NDArray[np.float64], ...]:
        a, b, c = (self.vertices[self.triangles[:, k]] for k in range(3))
        return a, b - a, c - a


def _areas(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = np.linalg.norm(np.cross(u, v), axis=1) / 2
    return areas


def read_bytes(path: Path) -> bytes:
    """The content of a regular file of at most MAX_BYTES; DataError for anything else."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise DataError(f"{path} is no regular file: put the file itself there")
        if found.st_size > MAX_BYTES:
            raise DataError(f"{path} is longer than {MAX_BYTES} bytes: split or simplify it")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def points_of(table: NDArray[Any], most: int = MAX_POINTS) -> Points:
    """The first three columns of a table of numbers; of one that lies on its side, the first three rows.

    Raises Flaw for another shape, and with its place for a number that is not finite.
    """
    if table.dtype.kind not in "fiu" or table.ndim != 2:
        raise Flaw(f" holds {table.dtype} {table.shape} instead of numbers (N, 3)")
    if on_its_side(table.shape):
        table = table.T
    if table.shape[1] < 3:
        raise Flaw(f" holds {table.dtype} {table.shape} instead of numbers (N, 3)")
    if not 1 <= len(table) <= most:
        raise Flaw(f" holds {len(table)} points instead of 1 to {most}")
    points = np.ascontiguousarray(table[:, :3], dtype=np.float64)
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise Flaw(f": point {int(bad.argmax()) + 1} has a coordinate that is not finite")
    return points


def on_its_side(shape: Sequence[int]) -> bool:
    """Whether the last two axes of an array are (3, N), as no cloud has so few points."""
    return 3 <= shape[-2] <= _MOST_COLUMNS and shape[-1] >= _FEWEST_OF_A_CLOUD
