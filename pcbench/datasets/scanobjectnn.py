"""ScanObjectNN (Uy et al. 2019): scans of real objects, each variant imported from its own HDF5 files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from pcbench.api import Dataset, Splits, Terms
from pcbench.datasets.copies import Copy, Releases, hdf5_copy, places
from pcbench.datasets.importing import Imported
from pcbench.datasets.store import DEFAULTS, SPLITS, ImportOptions, Manifest, Progress, Split
from pcbench.errors import DataError

# The order of the authors' integers, which is not alphabetical.
# fmt: off
CLASSES = (
    "bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow",
    "sink", "sofa", "toilet",
)
# fmt: on

BACKGROUND = "main_split"
NO_BACKGROUND = "main_split_nobg"


class _Variant(Imported):
    """One of the variants: which folder and which files of the archive hold it."""

    classes = 15
    up_axis = "y"
    folder: ClassVar[str]
    """The folder of the archive; both folders have files of the same names."""
    endings: ClassVar[tuple[str, ...]] = ("",)
    """What may stand in the files' names behind `objectdataset`."""

    archive = Terms("https://hkust-vgd.github.io/scanobjectnn", "the folder h5_files")

    @classmethod
    def files(cls) -> list[dict[Split, str]]:
        """The file of each split, by name: once for every way to call them."""
        return [
            {"train": f"training_objectdataset{end}.h5", "test": f"test_objectdataset{end}.h5"}
            for end in cls.endings
        ]

    @property
    def layouts(self) -> str:  # type: ignore[override]
        """The words that name its files."""
        return f"the folder h5_files that holds {self.folder}/{self.files()[0]['train']}"

    def how_to_get(self) -> str:
        return f"accept the terms at https://hkust-vgd.github.io/scanobjectnn, then {super().how_to_get()}"

    def find(self, source: Path) -> Copy:
        for folder, files in self._there(places(source, self.layouts)):
            copy = hdf5_copy(
                self.variant, folder, CLASSES, {split: [folder / files[split]] for split in SPLITS}
            )
            self._check_counts(copy)
            return copy
        others = [variant.name for variant in VARIANTS if any(variant._there(places(source, self.layouts)))]
        holds = f"holds {', '.join(others)} and no" if others else "does not hold"
        wanted = f"{self.folder}/{self.files()[0]['train']}"
        raise DataError(f"{source} {holds} {self.name}, {wanted}: give {self.layouts}")

    @classmethod
    def _there(cls, around: list[Path]) -> Iterator[tuple[Path, dict[Split, str]]]:
        """Where some of its files are, and what they are called there."""
        for folder in (*(place / cls.folder for place in around), *around):
            for files in cls.files():
                if folder.absolute().name == cls.folder and any(
                    (folder / file).exists() for file in files.values()
                ):
                    yield folder, files

    def _check_counts(self, copy: Copy) -> None:
        """DataError for files that were renamed: whose numbers of clouds are those of other variants."""
        counts = copy.counts()
        pair = counts["train"], counts["test"]
        others = [variant.name for variant in VARIANTS if pair in variant.releases]
        if self.releases and pair not in self.releases and others:
            raise DataError(
                f"{copy.root} holds {pair[0]}/{pair[1]} training/test clouds under the file names of "
                f"{self.name}, but those are the counts of {' or '.join(others)}: fetch the files again"
            )


class _Objects(_Variant):
    """Every object once."""

    train_size = 2309
    test_size = 581
    releases: ClassVar[Releases] = ((2309, 581),)


class _Hardest(_Variant):
    """Every object several times: shifted by up to half its box, turned about the y axis, scaled."""

    train_size = 11416
    test_size = 2882
    releases: ClassVar[Releases] = ((11416, 2882),)
    endings = ("_augmentedrot_scale75",)


class _Perturbed(_Variant):
    """Every object up to five times. How often is not published: any number is taken, as not standard."""

    train_size = 5 * 2309
    test_size = 5 * 581
    at_most = True
    releases: ClassVar[Releases] = ()


class ScanObjectNNObjects(_Objects, Dataset):
    """Scanned objects of 15 classes without background, OBJ_ONLY (Uy et al. 2019)."""

    name = "scanobjectnn:obj_only"
    variant = "OBJ_ONLY"
    folder = NO_BACKGROUND


class ScanObjectNNBackground(_Objects, Dataset):
    """Scanned objects of 15 classes with background, OBJ_BG (Uy et al. 2019)."""

    name = "scanobjectnn:obj_bg"
    variant = "OBJ_BG"
    folder = BACKGROUND


class ScanObjectNNHardest(_Hardest, Dataset):
    """Scanned objects with background, shifted, turned and scaled, PB_T50_RS (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t50_rs"
    variant = "PB_T50_RS"
    folder = BACKGROUND


class ScanObjectNNHardestNoBackground(_Hardest, Dataset):
    """Scanned objects without background, shifted, turned and scaled, PB_T50_RS (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t50_rs_nobg"
    variant = "PB_T50_RS without background"
    folder = NO_BACKGROUND


class ScanObjectNNShifted(_Perturbed, Dataset):
    """Scanned objects with background, shifted by a quarter, PB_T25 (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t25"
    variant = "PB_T25"
    folder = BACKGROUND
    endings = ("_augmented25_norot",)


class ScanObjectNNShiftedNoBackground(_Perturbed, Dataset):
    """Scanned objects without background, shifted by a quarter, PB_T25 (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t25_nobg"
    variant = "PB_T25 without background"
    folder = NO_BACKGROUND
    endings = ("_augmented25_norot",)


class ScanObjectNNTurned(_Perturbed, Dataset):
    """Scanned objects with background, shifted by a quarter and turned, PB_T25_R (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t25_r"
    variant = "PB_T25_R"
    folder = BACKGROUND
    endings = ("_augmented25rot",)


class ScanObjectNNTurnedNoBackground(_Perturbed, Dataset):
    """Scanned objects without background, shifted by a quarter and turned, PB_T25_R (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t25_r_nobg"
    variant = "PB_T25_R without background"
    folder = NO_BACKGROUND
    endings = ("_augmented25rot",)


class ScanObjectNNFarTurned(_Perturbed, Dataset):
    """Scanned objects with background, shifted by a half and turned, PB_T50_R (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t50_r"
    variant = "PB_T50_R"
    folder = BACKGROUND
    endings = ("_augmentedrot", "_augmented50rot")


class ScanObjectNNFarTurnedNoBackground(_Perturbed, Dataset):
    """Scanned objects without background, shifted by a half and turned, PB_T50_R (Uy et al. 2019)."""

    name = "scanobjectnn:pb_t50_r_nobg"
    variant = "PB_T50_R without background"
    folder = NO_BACKGROUND
    endings = ("_augmentedrot", "_augmented50rot")


class ScanObjectNNSampled(_Variant, Dataset):
    """What SADM's public code reads, sampled_{train,test}.h5: not of the official files, never standard."""

    name = "scanobjectnn:sampled"
    variant = "sampled_{train,test}.h5, unofficial"
    train_size = 11416
    test_size = 2882
    releases: ClassVar[Releases] = ((11416, 2882),)
    folder = NO_BACKGROUND

    @classmethod
    def files(cls) -> list[dict[Split, str]]:
        return [{"train": "sampled_train.h5", "test": "sampled_test.h5"}]

    def load(self, points: int) -> Splits:
        return replace(super().load(points), standard=False)


class ScanObjectNN(ScanObjectNNHardest):
    """The variant of the paper's tables, PB_T50_RS: `scanobjectnn:pb_t50_rs` by a shorter name."""

    name = "scanobjectnn"
    variant = "PB_T50_RS, stored and recorded as scanobjectnn:pb_t50_rs"

    def present(self) -> bool:
        return ScanObjectNNHardest().present()

    def manifest(self) -> Manifest | None:
        return ScanObjectNNHardest().manifest()

    def load(self, points: int) -> Splits:
        """The variant, whose full name this instance then has, and with it the records."""
        variant = ScanObjectNNHardest()
        if not variant.present():
            raise DataError(f"{self.name} is not on this machine: {self.how_to_get()}")
        splits = variant.load(points)
        vars(self).update(name=variant.name, variant=variant.variant)
        return splits

    def import_from(self, source: Path, progress: Progress, options: ImportOptions = DEFAULTS) -> Manifest:
        """Import `scanobjectnn:pb_t50_rs`."""
        return ScanObjectNNHardest().import_from(source, progress, options)


VARIANTS: tuple[type[_Variant], ...] = (
    ScanObjectNNObjects,
    ScanObjectNNBackground,
    ScanObjectNNHardest,
    ScanObjectNNHardestNoBackground,
    ScanObjectNNShifted,
    ScanObjectNNShiftedNoBackground,
    ScanObjectNNTurned,
    ScanObjectNNTurnedNoBackground,
    ScanObjectNNFarTurned,
    ScanObjectNNFarTurnedNoBackground,
    ScanObjectNNSampled,
)
"""All of them, each once."""
