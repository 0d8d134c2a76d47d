"""Reads OFF, OBJ, PLY and STL: the triangles of a surface, or its points where it has no faces."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcbench.datasets.formats import off
from pcbench.datasets.formats.content import Flaw, Mesh, Points, points_of

_SQUARED = (1e-50, 1e50)
"""Extents whose areas float64 holds; other surfaces are scaled."""


def read(kind: str, content: bytes) -> Points | Mesh:
    """A file of the kind `.off`, `.obj`, `.ply` or `.stl`; Flaw for what is none, or has no area."""
    vertices, triangles = off.read(content) if kind == ".off" else _by_trimesh(kind, content)
    if len(vertices) == 0 or len(triangles) == 0:
        return points_of(vertices)
    vertices = points_of(vertices, most=len(vertices))
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        raise Flaw(f": a face has a corner outside its {len(vertices)} vertices")
    with np.errstate(over="ignore"):
        extent = float(np.ptp(vertices, axis=0).max())
    if not (np.isfinite(extent) and extent > 0):
        raise Flaw(": its faces have no area, or one that is not finite")
    if not _SQUARED[0] < extent < _SQUARED[1]:
        vertices = vertices / extent
    mesh = Mesh(vertices, triangles)
    if not mesh.area() > 0:
        raise Flaw(": its faces have no area")
    return mesh


def _by_trimesh(kind: str, content: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import trimesh

    name = kind.lstrip(".")
    if kind == ".ply":
        _check_strips(content)
    try:
        with _quiet():
            loaded: Any = trimesh.load(
                io.BytesIO(content), file_type=name, process=False, skip_materials=True, fix_texture=False
            )
            if isinstance(loaded, trimesh.Scene):
                loaded = loaded.to_mesh()
        vertices = np.array(loaded.vertices, np.float64).reshape(-1, 3)
        triangles = np.array(getattr(loaded, "faces", ()), np.int64).reshape(-1, 3)
    except Exception as error:  # a broken mesh makes trimesh raise almost anything
        reason = " ".join(str(error).split())[:100]
        raise Flaw(f" is no readable {name.upper()} file ({reason})") from error
    if kind == ".ply":
        _check_ply(content, len(vertices), len(triangles))
    return vertices, triangles


@contextmanager
def _quiet() -> Iterator[None]:
    """trimesh prints tracebacks of what it mends by itself; here only its exceptions count."""
    logger = logging.getLogger("trimesh")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _counts(content: bytes) -> dict[bytes, int]:
    """How many of every element the header of a PLY file announces."""
    header = content.partition(b"end_header")[0]
    return {name: int(n) for name, n in re.findall(rb"^element\s+(\w+)\s+(\d{1,12})\s*$", header, re.M)}


def _check_strips(content: bytes) -> None:
    counts = _counts(content)
    if counts.get(b"tristrips") and not counts.get(b"face"):
        raise Flaw(" holds triangle strips (tristrips), which are not read: save it with triangles")


def _check_ply(content: bytes, vertices: int, triangles: int) -> None:
    """trimesh takes what it finds; Flaw where the header announces something else."""
    header, _, body = content.partition(b"end_header")
    counts = _counts(content)
    announced, faces = counts.get(b"vertex", 0), counts.get(b"face", 0)
    lines = sum(bool(line.strip()) for line in body.split(b"\n")) if b"format ascii" in header else None
    if announced != vertices or (faces > 0) != (triangles > 0) or lines not in (None, sum(counts.values())):
        raise Flaw(f": {announced} vertices and {faces} faces are announced, and its content does not fit")
