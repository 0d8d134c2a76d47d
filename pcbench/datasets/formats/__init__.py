"""Readers of one file, whose content is not trusted, by its suffix: a cloud of points, or a mesh.

Coordinates are float64 from the file on: whoever then moves a cloud to the origin still has its shape.
"""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

from pcbench.datasets.formats import arrays, meshes, pcd, tables
from pcbench.datasets.formats.content import MAX_BYTES, Flaw, Mesh, Points

MESHES = (".off", ".obj", ".ply", ".stl")
"""Suffixes of meshes; all but the last may also hold points alone."""
TEXTS = (".txt", ".xyz", ".pts", ".asc", ".csv")
"""Suffixes of tables in text: a point a line."""
HDF5 = (".h5", ".hdf5")
"""Suffixes of HDF5 files."""
SUFFIXES = (*MESHES, ".pcd", ".npy", ".npz", *HDF5, *TEXTS)
"""Suffixes of all files that may hold one cloud; all but HDF5 may be followed by `.gz`."""


def kind_of(path: Path) -> str:
    """Which of SUFFIXES a file name has, whatever its case and with or without `.gz`; empty for another."""
    name = path.name.lower()
    inner = name.removesuffix(".gz")
    suffix = Path(inner).suffix
    return suffix if suffix in SUFFIXES and (inner == name or suffix not in HDF5) else ""


def read_cloud(path: Path, content: bytes, columns: int | None = None) -> Points | Mesh:
    """The cloud or mesh of a file, of which `content` was read, by its suffix.

    columns: how many a text must have, with commas between them; without it three or more between any of the
    usual separators. Raises DataError, and nothing else, for what is no cloud.
    """
    kind = kind_of(path)
    if path.suffix.lower() == ".gz":
        content = _unpacked(content)
    if kind in MESHES:
        return meshes.read(kind, content)
    if kind == ".pcd":
        return pcd.read(content)
    if kind == ".npy":
        return arrays.read_npy(content)
    if kind == ".npz":
        return arrays.read_npz(content)
    if kind in HDF5:
        return arrays.read_hdf5(path)
    return tables.read(content, columns)


def _unpacked(content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Flaw(f": its gzip data are damaged ({error})") from error
    if len(unpacked) > MAX_BYTES:
        raise Flaw(f" unpacks to more than {MAX_BYTES} bytes")
    return unpacked
