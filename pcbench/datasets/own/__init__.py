"""Finds the clouds of a user's own data set: in folders of classes, by lists, or in HDF5 files of many."""

from __future__ import annotations

from pathlib import Path

from pcbench.datasets.copies import Copy, refuse_archive
from pcbench.datasets.own import hdf5, lists, tree
from pcbench.datasets.store import ImportOptions
from pcbench.errors import DataError

LAYOUTS = (
    "a folder with CLASS/{train,test}/FILE, {train,test}/CLASS/FILE or CLASS/FILE, a list of them (.csv or "
    ".json), or an HDF5 file with points, label, split and class_names"
)


def find(source: Path, options: ImportOptions) -> Copy:
    """The copy at a path, by its looks; DataError, with what was seen, where there is none."""
    refuse_archive(source)
    if source.is_file():
        if source.suffix.lower() in (".csv", ".json"):
            return lists.by_table(source, options)
        return hdf5.one_file(source, options)
    if not source.is_dir():
        raise DataError(f"{source} is not there: give {LAYOUTS}")
    return (
        hdf5.several_files(source) or lists.by_names(source, options) or tree.find(source, options, LAYOUTS)
    )
