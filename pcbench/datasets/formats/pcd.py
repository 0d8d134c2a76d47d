"""Reads clouds from the PCD files of the Point Cloud Library: ascii, binary and compressed."""

from __future__ import annotations

import io
import re
import struct
from typing import Any, cast

import numpy as np

from pcbench.datasets.formats.content import MAX_BYTES, MAX_POINTS, Flaw, Points, points_of

_HEADER_BYTES = 1 << 14


def read(content: bytes) -> Points:
    """The fields x, y and z, without the points that the file marks as absent (nan)."""
    from pypcd4.pypcd4 import PointCloud

    start = _check(content)
    if content[:start].rstrip().endswith(b"ascii"):  # pypcd4 takes single blanks alone
        content = content[:start] + re.sub(rb"[ \t]+", b" ", content[start:])
    try:
        cloud: Any = PointCloud.from_fileobj(cast(io.BufferedReader, io.BytesIO(content)))
        fields = {
            name: np.atleast_1d(cloud.pc_data[name]) for name in cloud.fields if name in ("x", "y", "z")
        }
        columns = [fields[axis].astype(np.float64) for axis in sorted(fields)]
    except Exception as error:  # a broken header makes pypcd4 raise almost anything
        raise Flaw(f" is no readable PCD file ({' '.join(str(error).split())[:100]})") from error
    if len(columns) != 3:
        raise Flaw(f" has the fields {', '.join(cloud.fields)[:100]}: x, y and z are wanted")
    table = np.stack(columns, axis=-1)
    if len(table) != cloud.points:
        raise Flaw(f": {cloud.points} points are announced, and {len(table)} follow")
    return points_of(table[~np.isnan(table).any(axis=1)])


def _check(content: bytes) -> int:
    """Where the data begin; Flaw for a header that announces more than a cloud may have."""
    found = re.search(rb"^DATA\s+(\w+)\s*?\n", content[:_HEADER_BYTES], re.MULTILINE)
    if not found:
        raise Flaw(" is no readable PCD file (its header has no line DATA)")
    points = re.search(rb"^POINTS\s+(\d{1,12})\s*$", content[: found.end()], re.MULTILINE)
    if points and int(points[1]) > MAX_POINTS:
        raise Flaw(f" holds {int(points[1])} points instead of 1 to {MAX_POINTS}")
    if found[1] == b"binary_compressed":
        sizes = content[found.end() : found.end() + 8]
        if len(sizes) < 8 or struct.unpack("<II", sizes)[1] > MAX_BYTES:
            raise Flaw(f": its compressed data are cut off, or longer than {MAX_BYTES} bytes")
    return found.end()
