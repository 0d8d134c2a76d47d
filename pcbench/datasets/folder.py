"""A user's own data set: files in folders of classes and splits, lists of them, or HDF5 files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pcbench.api import Dataset, Splits
from pcbench.datasets import own
from pcbench.datasets.copies import Copy, Releases
from pcbench.datasets.importing import Imported, import_copy
from pcbench.datasets.store import DEFAULTS, ImportOptions, Manifest, Progress, read_manifest, stored
from pcbench.errors import DataError, UsageError


class Folder(Imported, Dataset):
    """Your own clouds or meshes: folders of classes and splits, a list, or HDF5; named as you like."""

    name = "folder"
    variant = "your own"
    up_axis = "none"
    classes = 1
    train_size = 1
    test_size = 1
    releases: ClassVar[Releases] = ()
    """No card says how many clouds there are, so that it never counts as standard; sizes are the least."""
    layouts = own.LAYOUTS

    def load(self, points: int) -> Splits:
        splits = super().load(points)
        sizes = {"train_size": len(splits.train), "test_size": len(splits.test)}
        vars(self).update(classes=splits.train.classes, **sizes)
        return splits

    def find(self, source: Path) -> Copy:
        return own.find(source, DEFAULTS)

    def import_from(self, source: Path, progress: Progress, options: ImportOptions = DEFAULTS) -> Manifest:
        """Import a copy under the name of the options, where one that is there is replaced only by wish."""
        name = options.tree.name
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}", name):
            raise UsageError(
                f"{name[:100]!r} is no name of a data set: letters, digits and _ . + - make one", "own name"
            )
        if stored(name) and not options.replace:
            there = read_manifest(name)
            raise DataError(
                f"{name} is in the store already ({there.variant}, {there.train}/{there.test} clouds): give "
                "another name, or let it be replaced",
                "own name",
                "replaced data",
            )
        return import_copy(name, own.find(source, options), (), progress, options)


def named(name: str) -> type[Folder]:
    """The data set that a user imported under a name of their own; DataError if it is not there."""
    manifest = read_manifest(name)
    if manifest.own is None:
        raise DataError(f"{name} was not imported under a name of its own: import it again")
    values = {
        "name": name,
        "variant": manifest.variant,
        "up_axis": manifest.own.up_axis,
        "classes": len(manifest.class_names),
        "train_size": manifest.train,
        "test_size": manifest.test,
        "__doc__": f"{manifest.variant}, imported by you as {name}.",
    }
    return type("Own", (Folder,), values)
