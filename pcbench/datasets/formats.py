"""Readers of one file, whose content is not trusted: point clouds as text, NumPy and HDF5, and meshes."""

from __future__ import annotations

import io
import itertools
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from pcbench.clouds import open_hdf5, own_array
from pcbench.errors import DataError

Points: TypeAlias = NDArray[np.float32]

MESHES = (".off", ".obj", ".ply")
"""Suffixes of meshes; the last two may also hold points alone."""
SUFFIXES = (*MESHES, ".npy", ".txt", ".h5")
"""Suffixes of all files that may hold one cloud."""
MAX_BYTES = 1 << 29
"""Longest file that is read into memory as a whole: 512 MiB."""
MAX_POINTS = 1 << 22
"""Most points of one cloud."""

_REMEDY = "fetch the file again, or mend it"


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
        points: Points = (corner[chosen] + s * u[chosen] + t * v[chosen]).astype(np.float32)
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
            raise DataError(f"{path} is no regular file: {_REMEDY}")
        if found.st_size > MAX_BYTES:
            raise DataError(f"{path} is longer than {MAX_BYTES} bytes: split or simplify it")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: this copy is incomplete, fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions") from error


def read_cloud(path: Path, content: bytes, columns: int | None = None) -> Points | Mesh:
    """The cloud or mesh of a file, of which `content` was read, by its suffix.

    columns: how many a text must have, with commas between them; without it three or more, between commas or
    white space, of which the first three count. Raises DataError, and nothing else, for what is no cloud.
    """
    suffix = path.suffix.lower()
    if suffix in MESHES:
        return read_mesh(path, content)
    if suffix == ".npy":
        return read_npy(path, content)
    if suffix == ".h5":
        return _read_h5(path)
    return read_text(path, content, columns)


def read_text(path: Path, content: bytes, columns: int | None = None) -> Points:
    """One point a line, (N, 3), as `read_cloud` says of texts."""
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: this is no text of numbers: {_REMEDY}") from error
    if not text.strip():
        raise DataError(f"{path} is empty: {_REMEDY}")
    delimiter = "," if columns is not None or "," in text.lstrip().partition("\n")[0] else None
    try:
        table = np.loadtxt(io.StringIO(text), np.float64, comments=None, delimiter=delimiter, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path}:{_flaw(text, delimiter, columns)}: {_REMEDY}") from error
    if (columns is not None and table.shape[1] != columns) or table.shape[1] < 3:
        wanted = f"{columns}" if columns is not None else "3 or more"
        raise DataError(f"{path}:1: {table.shape[1]} columns instead of {wanted}: {_REMEDY}")
    return _points(path, table[:, :3])


def _flaw(text: str, delimiter: str | None, columns: int | None) -> str:
    """The first line that is not like the others, and why."""
    for number, line in enumerate(io.StringIO(text), 1):
        words = line.strip().split(delimiter)
        if not line.strip():
            continue
        columns = columns or len(words)
        if len(words) != columns:
            return f"{number}: {len(words)} columns instead of {columns}"
        for word in words:
            try:
                float(word)
            except ValueError:
                return f"{number}: {word[:30]!r} is no number"
    return "1: this is no table of numbers"


def read_npy(path: Path, content: bytes) -> Points:
    """An array (N, 3 or more) of floats, of which the first three columns count, (N, 3)."""
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = header[version](stream)
    except Exception as error:  # a hostile header makes NumPy's parser raise almost anything
        raise DataError(f"{path} is no NumPy array (.npy): {_REMEDY}") from error
    if dtype.kind != "f" or len(shape) != 2 or shape[1] < 3:
        raise DataError(f"{path} holds {dtype} {shape} instead of float (N, 3): {_REMEDY}")
    data = content[stream.tell() :]
    if len(data) != shape[0] * shape[1] * dtype.itemsize:
        raise DataError(f"{path}: {len(data)} bytes do not fit its shape {shape}: {_REMEDY}")
    flat = np.frombuffer(data, dtype)
    return _points(path, (flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape))[:, :3])


def _read_h5(path: Path) -> Points:
    with open_hdf5(path) as file:
        array = own_array(file, "points" if "points" in file else "data")
        check_floats(array, path, dimensions=2)
        return _points(path, array[:, :3])


def check_floats(array: h5py.Dataset, path: Path, dimensions: int) -> None:
    """DataError unless an HDF5 array is (N, 3) or (n, N, 3) of floats of a size that can be."""
    shape: tuple[int, ...] = array.shape or ()
    wrong = array.dtype.kind != "f" or len(shape) != dimensions or shape[-1] != 3
    if wrong or not 1 <= shape[-2] <= MAX_POINTS:
        expected = "float (N, 3)" if dimensions == 2 else "float (n, N, 3)"
        name = (array.name or "").lstrip("/")
        raise DataError(
            f"{path}: {name!r} is {array.dtype} {shape} instead of {expected} with N up to {MAX_POINTS}: "
            f"{_REMEDY}"
        )


def _points(path: Path, table: NDArray[Any]) -> Points:
    """Rows of coordinates as float32; a number that is not finite raises DataError with its row."""
    if not 1 <= len(table) <= MAX_POINTS:
        raise DataError(f"{path} holds {len(table)} points instead of 1 to {MAX_POINTS}: {_REMEDY}")
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.ascontiguousarray(table, dtype="<f4")
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        raise DataError(
            f"{path}: point {int(bad.argmax()) + 1} has a coordinate that is not finite: {_REMEDY}"
        )
    return points


def read_mesh(path: Path, content: bytes) -> Points | Mesh:
    """The triangles of an OFF, OBJ or PLY file, or its points where it has no faces (never in OFF)."""
    import trimesh

    kind = path.suffix.lower().lstrip(".")
    if kind == "off":
        content = _tidy_off(path, content)
    try:
        loaded: Any = trimesh.load(io.BytesIO(content), file_type=kind, process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_mesh()
        vertices = np.array(loaded.vertices, np.float64).reshape(-1, 3)
        triangles = np.array(getattr(loaded, "faces", ()), np.int64).reshape(-1, 3)
    except Exception as error:  # a broken mesh makes trimesh raise almost anything
        reason = " ".join(str(error).split())[:100]
        raise DataError(f"{path} is no readable {kind.upper()} file ({reason}): {_REMEDY}") from error
    if kind == "ply":
        _check_ply(path, content, len(vertices), len(triangles))
    if len(vertices) == 0 or len(triangles) == 0:
        return _points(path, vertices)
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise DataError(f"{path}: a face has a corner outside its {len(vertices)} vertices: {_REMEDY}")
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(vertices.astype(np.float32)).all(axis=1)
        mesh = Mesh(vertices, triangles)
        area = mesh.area()
    if not finite.all():
        raise DataError(
            f"{path}: vertex {int(finite.argmin()) + 1} has a coordinate that is not finite: {_REMEDY}"
        )
    if not (np.isfinite(area) and area > 0):
        raise DataError(f"{path}: its faces have no area ({area}): {_REMEDY}")
    return mesh


def _tidy_off(path: Path, content: bytes) -> bytes:
    """The same OFF file in strict form: the header on a line of its own, counts that hold, fans of triangles.

    Some of ModelNet's begin with `OFF490 518 0`. Raises DataError with the line of what does not fit.
    """
    try:
        text = content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: this is no text: {_REMEDY}") from error
    stripped = ((number, line.partition("#")[0].split()) for number, line in enumerate(text.split("\n"), 1))
    lines = [(number, words) for number, words in stripped if words]
    if not lines or not lines[0][1][0].startswith("OFF"):
        raise DataError(f"{path}:1: an OFF file begins with the word OFF: {_REMEDY}")
    number, (word, *rest) = lines.pop(0)
    header = [word[3:], *rest] if len(word) > 3 else rest
    if not header and lines:
        number, header = lines.pop(0)
    if not 2 <= len(header) <= 3 or not all(re.fullmatch(r"\d{1,9}", each) for each in header):
        raise DataError(
            f"{path}:{number}: the numbers of vertices, faces and edges should stand here: {_REMEDY}"
        )
    vertices, faces = int(header[0]), int(header[1])
    if vertices < 3 or faces < 1 or vertices + faces != len(lines):
        raise DataError(
            f"{path}:{number}: {vertices} vertices and {faces} faces are announced, and {len(lines)} lines "
            f"follow: {_REMEDY}"
        )
    for number, words in lines[:vertices]:
        if len(words) < 3:
            raise DataError(f"{path}:{number}: a vertex has {len(words)} of 3 coordinates: {_REMEDY}")
    triangles = [each for number, words in lines[vertices:] for each in _fan(path, number, words, vertices)]
    if not triangles:
        raise DataError(f"{path}: none of its faces has three corners: {_REMEDY}")
    rows = [f"OFF\n{vertices} {len(triangles)} 0", *(" ".join(words[:3]) for _, words in lines[:vertices])]
    return "\n".join([*rows, *triangles, ""]).encode()


def _fan(path: Path, number: int, words: Sequence[str], vertices: int) -> list[str]:
    """The triangles of a polygon, as lines; none for a face of one or two corners."""
    try:
        corners = [int(word) for word in words[1 : int(words[0]) + 1]] if int(words[0]) > 0 else []
    except ValueError as error:
        raise DataError(f"{path}:{number}: a face is made of whole numbers: {_REMEDY}") from error
    if not corners or len(corners) != int(words[0]):
        raise DataError(f"{path}:{number}: a face has {len(words) - 1} corners of {words[0]}: {_REMEDY}")
    if min(corners) < 0 or max(corners) >= vertices:
        raise DataError(f"{path}:{number}: a face has a corner outside its {vertices} vertices: {_REMEDY}")
    return [f"3 {corners[0]} {b} {c}" for b, c in itertools.pairwise(corners[1:])]


def _check_ply(path: Path, content: bytes, vertices: int, triangles: int) -> None:
    """trimesh takes what it finds; DataError where the header announces something else."""
    header, _, body = content.partition(b"end_header")
    counts = {name: int(n) for name, n in re.findall(rb"^element\s+(\w+)\s+(\d{1,12})\s*$", header, re.M)}
    announced, faces = counts.get(b"vertex", 0), counts.get(b"face", 0)
    lines = sum(bool(line.strip()) for line in body.split(b"\n")) if b"format ascii" in header else None
    if announced != vertices or (faces > 0) != (triangles > 0) or lines not in (None, sum(counts.values())):
        raise DataError(
            f"{path}: {announced} vertices and {faces} faces are announced, and its content does not fit: "
            f"{_REMEDY}"
        )
