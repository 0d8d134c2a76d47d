"""Reads clouds from NumPy arrays, archives of them, and HDF5; nothing is ever unpickled."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from pcbench.common.hdf5 import open_hdf5, own_array
from pcbench.datasets.formats.content import (
    MAX_BYTES,
    MAX_CLOUDS,
    MAX_POINTS,
    MAX_VALUES,
    Flaw,
    Points,
    on_its_side,
    points_of,
)

KEYS = ("points", "data", "xyz", "pc")
"""What the array of a cloud may be called among others, the first there is."""


def read_npy(content: bytes) -> Points:
    """An array of numbers (N, 3 or more), or of records with the fields x, y and z."""
    return points_of(array_of(content, dimensions=2))


def array_of(content: bytes, dimensions: int | None = None) -> NDArray[Any]:
    """The numbers of an .npy file, with so many axes or, where none are named, with any; Flaw for another.

    Records with the fields x, y and z are (N, 3). No more memory is taken than the file has bytes.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        shape, fortran, dtype = header[version](stream)
    except Exception as error:  # a hostile header makes NumPy's parser raise almost anything
        raise Flaw(" is no NumPy array (.npy)") from error
    fields = dtype.names is not None and {"x", "y", "z"} <= {*dtype.names}
    while dimensions and len(shape) > dimensions and shape[0] == 1 and not fortran:
        shape = shape[1:]
    sizes = 1 if fields else dimensions
    if dtype.hasobject or (dtype.kind not in "fiu" and not fields) or sizes not in (None, len(shape)):
        raise Flaw(f" holds {dtype} {shape} instead of numbers{' (N, 3)' if dimensions else ''}")
    data = content[stream.tell() :]
    numbers = int(np.prod(shape, dtype=object))
    if len(data) != numbers * dtype.itemsize:
        raise Flaw(f": {len(data)} bytes do not fit its shape {shape}")
    if numbers == 0:
        raise Flaw(f" holds {dtype} {shape}: 0 points")
    flat = np.frombuffer(data, dtype)
    if fields:
        return np.stack([flat[axis].astype(np.float64) for axis in "xyz"], axis=-1)
    return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)


def read_npz(content: bytes) -> Points:
    """The array of an archive that is called as in KEYS, or the only one that it has."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            entry = archive.getinfo(f"{_chosen(names)}.npy")
            if entry.file_size > MAX_BYTES:
                raise Flaw(f": {entry.filename} unpacks to more than {MAX_BYTES} bytes")
            with archive.open(entry) as file:
                array = file.read(MAX_BYTES)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise Flaw(f" is no readable archive of arrays ({' '.join(str(error).split())[:100]})") from error
    return read_npy(array)


def _chosen(names: Collection[str]) -> str:
    """Which of the arrays of a file is its cloud."""
    known = [key for key in KEYS if key in names]
    if not known and len(names) != 1:
        there = ", ".join(sorted(names)[:10]) or "none"
        raise Flaw(f" holds the arrays {there}: the cloud has to be called {', '.join(KEYS[:-1])} or pc")
    return known[0] if known else next(iter(names))


def read_hdf5(path: Path) -> Points:
    """The array of an HDF5 file that is called as in KEYS, or the only one that it has."""
    with open_hdf5(path) as file:
        key = _chosen([name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)])
        array = own_array(file, key)
        check_numbers(array, dimensions=2)
        return points_of(array[()])


def check_numbers(array: h5py.Dataset, dimensions: int) -> int:
    """How many points an HDF5 array (N, 3 or more) or (n, N, 3 or more) of numbers has; Flaw for another."""
    shape: tuple[int, ...] = array.shape or ()
    numbers = array.dtype.kind in "fiu" and len(shape) == dimensions and min(shape[-2:]) >= 1
    points, columns = shape[-2:][:: -1 if numbers and on_its_side(shape) else 1] if numbers else (0, 0)
    fits = columns >= 3 and 1 <= points <= MAX_POINTS and points * columns <= MAX_VALUES
    if not fits or math.prod(shape[:-2]) > MAX_CLOUDS:
        expected = "numbers (N, 3)" if dimensions == 2 else "numbers (n, N, 3)"
        name = (array.name or "").lstrip("/")
        raise Flaw(f": {name!r} is {array.dtype} {shape} instead of {expected} with N up to {MAX_POINTS}")
    return points
