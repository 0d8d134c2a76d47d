"""ShapeNetCore v2 in 55 classes (Chang et al. 2015), as HDF5 files or as the lists of ShapeNet-55."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

from pcbench.api import Dataset, Terms
from pcbench.datasets.copies import (
    Copy,
    Piece,
    Releases,
    files_of,
    hdf5_copy,
    id2name_files,
    label_names,
    places,
    read_lines,
)
from pcbench.datasets.importing import Imported
from pcbench.datasets.store import SPLITS
from pcbench.errors import DataError

# fmt: off
SYNSETS = {
    "02691156": "airplane", "02747177": "trash_bin", "02773838": "bag", "02801938": "basket",
    "02808440": "bathtub", "02818832": "bed", "02828884": "bench", "02843684": "birdhouse",
    "02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl", "02924116": "bus",
    "02933112": "cabinet", "02942699": "camera", "02946921": "can", "02954340": "cap", "02958343": "car",
    "02992529": "cellphone", "03001627": "chair", "03046257": "clock", "03085013": "keyboard",
    "03207941": "dishwasher", "03211117": "monitor", "03261776": "earphone", "03325088": "faucet",
    "03337140": "file_cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar",
    "03624134": "knife", "03636649": "lamp", "03642806": "laptop", "03691459": "speaker",
    "03710193": "mailbox", "03759954": "microphone", "03761084": "microwave", "03790512": "motorcycle",
    "03797390": "mug", "03928116": "piano", "03938244": "pillow", "03948459": "pistol", "03991062": "pot",
    "04004475": "printer", "04074963": "remote_control", "04090263": "rifle", "04099429": "rocket",
    "04225987": "skateboard", "04256520": "sofa", "04330267": "stove", "04379243": "table",
    "04401088": "telephone", "04460130": "tower", "04468005": "train", "04530566": "vessel",
    "04554684": "washer",
}
# fmt: on


SHARED_WITH_MODELNET40 = (
    "airplane", "bathtub", "bed", "bench", "bookshelf", "bottle", "bowl", "car", "chair", "guitar",
    "keyboard", "lamp", "laptop", "piano", "sofa", "table",
)  # fmt: skip
"""The classes that ShapeNet's own taxonomy (Chang et al. 2015) calls as ModelNet does.

Be it within a longer name ("computer keyboard"): the 16 that SADM's authors take (their code, Feb 2026).
`monitor` is not among them: of ShapeNet it is pcbench's name for "display, video display", a wider class.
"""


class ShapeNet55(Imported, Dataset):
    """Fifty-five classes of CAD models, aligned, points on their surfaces (ShapeNetCore v2)."""

    name = "shapenet55"
    variant = "HDF5, 2048 surface points"
    up_axis = "y"
    classes = 55
    train_size = 35708
    test_size = 10261
    releases: ClassVar[Releases] = ((35708, 10261), (41952, 10518))
    """The HDF5 files, whose validation split is left out, and the lists of ShapeNet-55."""
    layouts = (
        "the folder of its HDF5 files (shapenetcorev2_hdf5_2048) or the one that holds ShapeNet-55 and "
        "shapenet_pc"
    )

    archive = Terms("https://shapenet.org", "the folder shapenetcorev2_hdf5_2048, or ShapeNet-55")
    shares: ClassVar = {"modelnet40": SHARED_WITH_MODELNET40}

    def how_to_get(self) -> str:
        return f"register at https://shapenet.org and accept its terms, then {super().how_to_get()}"

    def find(self, source: Path) -> Copy:
        for place in places(source, self.layouts):
            files = id2name_files(place)
            if any(files.values()):
                names = _class_names([*files["train"], *files["test"]], self.classes)
                return hdf5_copy(self.variant, place, names, files)
            if (place / "ShapeNet-55" / "train.txt").exists():
                return _arrays(place)
        raise DataError(f"{source} holds no copy of ShapeNet that pcbench knows: give {self.layouts}")


def _class_names(files: list[Path], classes: int) -> tuple[str, ...]:
    """The name of every label; DataError where one is named nowhere."""
    names = label_names(files, classes)
    absent = sorted(set(range(classes)) - names.keys())
    if absent:
        raise DataError(f"{files[0].parent} does not name class {absent[0]} of {classes}: fetch it again")
    return tuple(names[label] for label in range(classes))


def _arrays(folder: Path) -> Copy:
    """ShapeNet-55/{train,test}.txt, which name shapenet_pc/<synset>-<model>.npy of 8192 points.

    Two lines of the owners' training list, of the 41952 that the card counts, have no model behind the
    synset: `04379243-.npy` and `02747177-.npy`. A synset names at most one such file.
    """
    synsets = list(SYNSETS)
    pieces: list[Piece] = []
    missing = []
    seen = set()
    for split in SPLITS:
        path = folder / "ShapeNet-55" / f"{split}.txt"
        labelled = []
        for line, entry in enumerate(read_lines(path), 1):
            shape = re.fullmatch(r"(\d{8})-[\w-]*\.npy", entry, re.ASCII)
            if shape is None or shape[1] not in SYNSETS:
                raise DataError(f"{path}:{line}: {entry[:60]!r} is no shape of ShapeNet-55: fetch it again")
            if entry in seen:
                raise DataError(f"{path}:{line}: {entry} is named twice: fetch the list again")
            seen.add(entry)
            file = folder / "shapenet_pc" / entry
            if file.exists():
                labelled.append((file, synsets.index(shape[1])))
            else:
                missing.append(file.relative_to(folder).as_posix())
        pieces += files_of(split, labelled)
    return Copy(
        "ShapeNet-55, 8192 surface points",
        folder,
        tuple(SYNSETS.values()),
        tuple(pieces),
        tuple(missing),
        slow=True,
    )
