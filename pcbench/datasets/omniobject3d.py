"""OmniObject3D (Wu et al. 2023): scans of everyday objects, in the split that 3DDP's public code reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pcbench.api import Dataset, Terms
from pcbench.datasets.copies import Copy, Piece, Releases, files_of, places
from pcbench.datasets.importing import Imported
from pcbench.datasets.store import SPLITS, Split
from pcbench.errors import DataError

_DENSITIES = ("1024", "4096", "16384")
"""The owners' numbers of points, each in a folder of its own; that of the paper first."""


class OmniObject3D(Imported, Dataset):
    """Scanned everyday objects of 156 classes, in 3DDP's split (Wu et al. 2023; Yim, Sim 2026).

    The owners publish 90 % of their objects, and no split of these for classification. 3DDP's code reads
    `{train,test}/1024/CLASS/OBJECT/*.ply`; how many objects it has where is not published in what we know.
    Any number is therefore taken, and records say `standard: false`. Nor do we know which axis points up.
    """

    name = "omniobject3d"
    variant = "3DDP's split"
    up_axis = "none"
    classes = 156
    train_size = 1
    test_size = 1
    releases: ClassVar[Releases] = ()
    layouts = "the folder that holds {train,test}/1024/CLASS/OBJECT/*.ply, as 3DDP's code has it"

    archive = Terms("https://omniobject3d.github.io", "raw/point_clouds/ply_files in train and test")

    def how_to_get(self) -> str:
        return f"sign up at https://omniobject3d.github.io, then {super().how_to_get()}"

    def find(self, source: Path) -> Copy:
        for place in places(source, self.layouts):
            for density in _DENSITIES:
                clouds = {split: sorted(_clouds(place / split / density)) for split in SPLITS}
                if any(clouds.values()):
                    return self._copy(place, clouds)
        for place in places(source, self.layouts):
            if any(any(_clouds(place / density)) for density in _DENSITIES):
                raise DataError(
                    f"{place} holds the owners' clouds, which are not divided into training and test: give "
                    f"{self.layouts}; or import it as data of your own, of which a share is the test"
                )
        raise DataError(f"{source} holds no copy of OmniObject3D that pcbench knows: give {self.layouts}")

    def _copy(self, root: Path, clouds: dict[Split, list[Path]]) -> Copy:
        names = sorted({path.parts[-3] for paths in clouds.values() for path in paths})
        other = f"{len(names)} classes, where 3DDP's code has {self.classes}"
        pieces: list[Piece] = []
        for split in SPLITS:
            pieces += files_of(split, [(path, names.index(path.parts[-3])) for path in clouds[split]])
        notes = () if len(names) == self.classes else (other,)
        return Copy(self.variant, root, tuple(names), tuple(pieces), slow=True, notes=notes)


def _clouds(folder: Path) -> Iterator[Path]:
    """CLASS/OBJECT/*.ply in a folder."""
    return (path for path in folder.glob("[!.]*/[!.]*/[!.]*.ply") if path.is_file())
