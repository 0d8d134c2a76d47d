"""ModelNet40 and its ten-class part (Wu et al. 2015), as HDF5 files, resampled texts or meshes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pcbench.api import Archive, Dataset, Splits
from pcbench.clouds import PointClouds, of_classes
from pcbench.datasets.copies import (
    Copy,
    Piece,
    Releases,
    check_names,
    files_of,
    hdf5_copy,
    id2name_files,
    label_names,
    listed_hdf5,
    places,
    read_lines,
)
from pcbench.datasets.importing import Imported, named, splits_of
from pcbench.datasets.store import (
    DEFAULTS,
    SPLITS,
    ImportOptions,
    Manifest,
    Progress,
    Split,
    load_stored,
    stored,
)
from pcbench.errors import DataError

# fmt: off
CLASSES = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "cone", "cup",
    "curtain", "desk", "door", "dresser", "flower_pot", "glass_box", "guitar", "keyboard", "lamp", "laptop",
    "mantel", "monitor", "night_stand", "person", "piano", "plant", "radio", "range_hood", "sink", "sofa",
    "stairs", "stool", "table", "tent", "toilet", "tv_stand", "vase", "wardrobe", "xbox",
)
TEN_CLASSES = (
    "bathtub", "bed", "chair", "desk", "dresser", "monitor", "night_stand", "sofa", "table", "toilet",
)
# fmt: on

_LAYOUTS = (
    "a folder of its HDF5 files (ply_data_train*.h5, or train*.h5 with *_id2name.json), of resampled texts "
    "(modelnet40_normal_resampled) or of OFF meshes (<class>/train/*.off)"
)
_HDF5 = "HDF5, up to 2048 surface points"
_TEXT = "text, 10000 surface points (normal_resampled)"
_MESH = "OFF meshes, 10000 points drawn by area"


class _ModelNet(Imported, Dataset):
    """What both have in common: the official lists go through the classes one after another."""

    archive = Archive(
        name="modelnet40_ply_hdf5_2048.zip",
        urls=("https://shapenet.cs.stanford.edu/media/modelnet40_ply_hdf5_2048.zip",),
        checksum="md5:c9ab8e6dfb16f67afdab25e155c79e59",  # no SHA-256 of it is public
        folder="modelnet40_ply_hdf5_2048",
    )

    def in_order(self, train: PointClouds) -> bool:
        return len(train) == self.train_size and bool((train.labels.diff() >= 0).all())


class ModelNet40(_ModelNet):
    """Forty classes of CAD models, aligned, points on their surfaces (Wu et al. 2015)."""

    name = "modelnet40"
    variant = _HDF5
    up_axis = "y"
    classes = 40
    train_size = 9843
    test_size = 2468
    test_counts: ClassVar = {
        "airplane": 100, "bathtub": 50, "bed": 100, "bench": 20, "bookshelf": 100, "bottle": 100, "bowl": 20,
        "car": 100, "chair": 100, "cone": 20, "cup": 20, "curtain": 20, "desk": 86, "door": 20,
        "dresser": 86, "flower_pot": 20, "glass_box": 100, "guitar": 100, "keyboard": 20, "lamp": 20,
        "laptop": 20, "mantel": 100, "monitor": 100, "night_stand": 86, "person": 20, "piano": 100,
        "plant": 100, "radio": 20, "range_hood": 100, "sink": 20, "sofa": 100, "stairs": 20, "stool": 20,
        "table": 100, "tent": 20, "toilet": 100, "tv_stand": 100, "vase": 100, "wardrobe": 20, "xbox": 20,
    }  # fmt: skip
    releases: ClassVar[Releases] = ((9843, 2468), (9840, 2468))
    """The official lists, and the HDF5 release, in which three training shapes are missing."""
    layouts = _LAYOUTS

    def find(self, source: Path) -> Copy:
        return _find(source, 40)


class ModelNet10(_ModelNet):
    """The ten furniture classes of ModelNet40, with its splits (Wu et al. 2015)."""

    name = "modelnet10"
    variant = "ten classes of modelnet40"
    up_axis = "y"
    classes = 10
    train_size = 3991
    test_size = 908
    test_counts: ClassVar = {
        "bathtub": 50, "bed": 100, "chair": 100, "desk": 86, "dresser": 86, "monitor": 100,
        "night_stand": 86, "sofa": 100, "table": 100, "toilet": 100,
    }  # fmt: skip
    releases: ClassVar[Releases] = ((3991, 908),)
    layouts = _LAYOUTS

    def find(self, source: Path) -> Copy:
        return _find(source, 10)

    def present(self) -> bool:
        return stored(self.name) or stored(ModelNet40.name)

    def how_to_get(self) -> str:
        return ModelNet40().how_to_get()

    def manifest(self) -> Manifest | None:
        return super().manifest() or ModelNet40().manifest()

    def load(self, points: int) -> Splits:
        """The ten classes of modelnet40, unless an archive of their own was imported."""
        if stored(self.name) or not self.present():
            return super().load(points)
        *whole, manifest = load_stored(ModelNet40.name)
        if manifest.variant != ModelNet40.variant:
            named(self, f"{self.variant}: {manifest.variant}")
        train, test = (of_classes(split, TEN_CLASSES) for split in whole)
        standard = manifest.complete and (len(train), len(test)) in self.releases
        return splits_of(train, test, manifest, points, standard, standard and self.in_order(train))

    def import_from(self, source: Path, progress: Progress, options: ImportOptions = DEFAULTS) -> Manifest:
        """Import an archive of the ten classes alone, or modelnet40, which this data set is a part of."""
        if len(self.find(source).class_names) == 40:
            return ModelNet40().import_from(source, progress, options)
        return super().import_from(source, progress, options)


def _find(source: Path, classes: int) -> Copy:
    """The copy of modelnet40, or of the ten classes where nothing else is there and they are asked for."""
    for place in places(source, _LAYOUTS):
        if any(place.glob("ply_data_*.h5")) or (place / "shape_names.txt").exists():
            return _hdf5(place)
        named_files = id2name_files(place)
        if any(named_files.values()):
            return _with_names(place, named_files, classes)
        for number in (40, 10) if classes == 10 else (40,):
            if (place / f"modelnet{number}_train.txt").exists():
                return _texts(place, number)
        folders = sorted(
            path.parent for split in SPLITS for path in place.glob(f"*/{split}") if path.is_dir()
        )
        meshes = {folder.name for folder in folders if any(folder.glob("t*/*.off"))}
        if meshes:
            return _meshes(
                place, meshes, CLASSES if classes == 40 or meshes - {*TEN_CLASSES} else TEN_CLASSES
            )
    raise DataError(f"{source} holds no copy of ModelNet that pcbench knows: give {_LAYOUTS}")


def _hdf5(folder: Path) -> Copy:
    names = folder / "shape_names.txt"
    check_names(names, read_lines(names), CLASSES)
    return hdf5_copy(
        _HDF5, folder, CLASSES, {split: listed_hdf5(folder / f"{split}_files.txt") for split in SPLITS}
    )


def _with_names(folder: Path, files: dict[Split, list[Path]], classes: int) -> Copy:
    """`{train,test}*.h5` with `*_id2name.json`, where every label that occurs has its name of here."""
    names = label_names([*files["train"], *files["test"]], classes=len(CLASSES))
    ten = classes == len(TEN_CLASSES) and {*names.values()} <= {*TEN_CLASSES}
    class_names = TEN_CLASSES if ten and all(label < len(TEN_CLASSES) for label in names) else CLASSES
    for label, name in sorted(names.items()):
        if class_names[label] != name:
            raise DataError(
                f"{folder}: label {label} is called {name!r} in *_id2name.json instead of "
                f"{class_names[label]!r}: fetch the files again"
            )
    return hdf5_copy(_HDF5, folder, class_names, files)


def _texts(folder: Path, number: int) -> Copy:
    """modelnet40_normal_resampled, `<class>/<class>_NNNN.txt`: x,y,z,nx,ny,nz a line."""
    class_names = CLASSES if number == 40 else TEN_CLASSES
    names = folder / f"modelnet{number}_shape_names.txt"
    check_names(names, read_lines(names), class_names)
    pieces: list[Piece] = []
    missing = []
    seen = set()
    for split in SPLITS:
        path = folder / f"modelnet{number}_{split}.txt"
        labelled = []
        for line, entry in enumerate(read_lines(path), 1):
            shape = re.fullmatch(r"([a-z_]+)_\d+", entry)
            if shape is None or shape[1] not in class_names:
                raise DataError(
                    f"{path}:{line}: {entry[:60]!r} is no shape of ModelNet{number}: fetch it again"
                )
            if entry in seen:
                raise DataError(f"{path}:{line}: {entry} is named twice: fetch the list again")
            seen.add(entry)
            file = folder / shape[1] / f"{entry}.txt"
            if file.exists():
                labelled.append((file, class_names.index(shape[1])))
            else:
                missing.append(file.relative_to(folder).as_posix())
        pieces += files_of(split, labelled, columns=6)
    return Copy(_TEXT, folder, class_names, tuple(pieces), tuple(missing), slow=True)


def _meshes(folder: Path, found: set[str], class_names: tuple[str, ...]) -> Copy:
    """`<class>/{train,test}/*.off`, of which the z axis is up.

    The owners' own clouds are (x, z, y) of the meshes: a mirror image, and so is what is stored.
    """
    strange = sorted(found - {*class_names})
    if strange:
        raise DataError(f"{folder / strange[0]} is no class of ModelNet{len(class_names)}: take it away")
    pieces: list[Piece] = []
    for split in SPLITS:
        labelled = [
            (file, label)
            for label, name in enumerate(class_names)
            for file in sorted((folder / name / split).glob("[!.]*.off"))
        ]
        pieces += files_of(split, labelled, upright=True)
    return Copy(_MESH, folder, class_names, tuple(pieces), slow=True)
