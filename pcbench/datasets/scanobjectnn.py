"""ScanObjectNN (Uy et al. 2019): scans of real objects, imported from the authors' HDF5 files."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pcbench.api import Dataset, Terms
from pcbench.datasets.importing import Copy, Imported, Releases, hdf5_copy, places
from pcbench.errors import DataError

# The order of the authors' integers, which is not alphabetical.
# fmt: off
CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow",
    "sink", "sofa", "toilet",
)
# fmt: on


class _Variant(Imported):
    """One of the variants: which folder and which files of the archive hold it."""

    classes = 15
    up_axis = "y"
    folder: ClassVar[str]
    suffix: ClassVar[str] = ""

    @property
    def layouts(self) -> str:  # type: ignore[override]
        """The words that name its files."""
        return f"the folder h5_files that holds {self.folder}/training_objectdataset{self.suffix}.h5"

    archive = Terms("https://hkust-vgd.github.io/scanobjectnn", "the folder h5_files")

    def how_to_get(self) -> str:
        return f"accept the terms at https://hkust-vgd.github.io/scanobjectnn, then {super().how_to_get()}"

    def find(self, source: Path) -> Copy:
        files = [f"{word}_objectdataset{self.suffix}.h5" for word in ("training", "test")]
        around = places(source, self.layouts)
        for place in (*(each / self.folder for each in around), *around):
            if place.name == self.folder and any((place / file).exists() for file in files):
                train, test = ([place / file] for file in files)
                return hdf5_copy(self.variant, place, CLASSES, {"train": train, "test": test})
        raise DataError(f"{source} does not hold {self.folder}/{files[0]}: give {self.layouts}")


class ScanObjectNN(_Variant, Dataset):
    """Scanned objects of 15 classes without background, OBJ_ONLY (Uy et al. 2019)."""

    name = "scanobjectnn"
    variant = "OBJ_ONLY"
    train_size = 2309
    test_size = 581
    releases: ClassVar[Releases] = ((2309, 581),)
    folder = "main_split_nobg"


class ScanObjectNNBackground(_Variant, Dataset):
    """Scanned objects of 15 classes with background, OBJ_BG (Uy et al. 2019)."""

    name = "scanobjectnn:obj_bg"
    variant = "OBJ_BG"
    train_size = 2309
    test_size = 581
    releases: ClassVar[Releases] = ((2309, 581),)
    folder = "main_split"


class ScanObjectNNHardest(_Variant, Dataset):
    """Scanned objects with background, shifted, turned and scaled, PB_T50_RS (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t50_rs"
    variant = "PB_T50_RS"
    train_size = 11416
    test_size = 2882
    releases: ClassVar[Releases] = ((11416, 2882),)
    folder = "main_split"
    suffix = "_augmentedrot_scale75"
