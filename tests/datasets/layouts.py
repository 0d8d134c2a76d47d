"""Small copies of every public layout, in their owners' format; each function gives the points it wrote."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np

from pcbench.datasets import modelnet, scanobjectnn, shapenet

POINTS = 1024
Clouds = dict[str, np.ndarray]


def points(clouds: int, seed: int, each: int = POINTS) -> np.ndarray:
    """Multiples of 2⁻¹³, which six decimals do not hold, but sixteen do."""
    steps = np.random.default_rng(seed).integers(-(2**13), 2**13, (clouds, each, 3))
    return (steps / 2**13).astype(np.float32)


def write_h5(path: Path, xyz: np.ndarray, labels: np.ndarray, **more: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for key, array in {"data": xyz, "label": labels, **more}.items():
            file.create_dataset(key, data=array, compression="gzip", compression_opts=1)


def normal_resampled(folder: Path, classes: tuple[str, ...] = modelnet.CLASSES) -> Clouds:
    """modelnet40_normal_resampled, with the lists of both numbers of classes; one cloud a class and split."""
    written = {"train": points(len(classes), 0), "test": points(len(classes), 1)}
    for number, names in ((40, modelnet.CLASSES), (10, modelnet.TEN_CLASSES)):
        folder.mkdir(parents=True, exist_ok=True)
        if set(names) <= set(classes):
            (folder / f"modelnet{number}_shape_names.txt").write_text("\n".join(names) + "\n")
        for first, split in ((1, "train"), (2, "test")):
            if set(names) <= set(classes):
                shapes = "".join(f"{name}_{first:04}\n" for name in names)
                (folder / f"modelnet{number}_{split}.txt").write_text(shapes)
    for label, name in enumerate(classes):
        (folder / name).mkdir()
        for number, split in ((1, "train"), (2, "test")):
            cloud = written[split][label]
            rows = (f"{x:.16g},{y:.16g},{z:.16g},0.000000,1.000000,0.000000" for x, y, z in cloud)
            (folder / name / f"{name}_{number:04}.txt").write_text("\n".join(rows) + "\n")
    return written


def box(size: tuple[float, float, float], header: str = "OFF\n") -> str:
    """An OFF file of a box with a corner at the origin; its six sides have four corners each."""
    corners = [(x, y, z) for x in (0, size[0]) for y in (0, size[1]) for z in (0, size[2])]
    sides = ["0 1 3 2", "4 5 7 6", "0 1 5 4", "2 3 7 6", "0 2 6 4", "1 3 7 5"]
    rows = [" ".join(map(str, corner)) for corner in corners] + [f"4 {side}" for side in sides]
    return f"{header}8 6 0\n" + "\n".join(rows) + "\n"


def meshes(folder: Path, classes: tuple[str, ...] = modelnet.CLASSES) -> None:
    """`<class>/{train,test}/*.off`: boxes 1 wide, 2 deep and 3 high, z up; every second header malformed."""
    for label, name in enumerate(classes):
        for number, split in ((1, "train"), (2, "test")):
            (folder / name / split).mkdir(parents=True)
            header = "OFF" if label % 2 else "OFF\n"
            (folder / name / split / f"{name}_{number:04}.off").write_text(box((1, 2, 3), header))


def shapenet_hdf5(folder: Path) -> tuple[Clouds, tuple[str, ...]]:
    """shapenetcorev2_hdf5_2048: two training files, one of test, one of validation, each with its names."""
    names = tuple(sorted(shapenet.SYNSETS.values()))
    written = {}
    for split, seed, files in (("train", 0, 2), ("test", 1, 1), ("val", 2, 1)):
        written[split] = points(55, seed)
        labels = np.arange(55)
        for i, rows in enumerate(np.array_split(labels, files)):
            stem = f"{split}{i}"
            write_h5(folder / f"{stem}.h5", written[split][rows], labels[rows, None].astype(np.int64))
            (folder / f"{stem}_id2name.json").write_text(json.dumps([names[label] for label in rows]))
            (folder / f"{stem}_id2file.json").write_text(json.dumps([f"x/{label}.txt" for label in rows]))
    return written, names


def shapenet_arrays(folder: Path) -> Clouds:
    """ShapeNet-55/{train,test}.txt and shapenet_pc/<synset>-<model>.npy."""
    written = {"train": points(55, 0), "test": points(55, 1)}
    (folder / "ShapeNet-55").mkdir(parents=True)
    (folder / "shapenet_pc").mkdir()
    for split, clouds in written.items():
        shapes = [f"{synset}-{split}0a1b2c.npy" for synset in shapenet.SYNSETS]
        (folder / "ShapeNet-55" / f"{split}.txt").write_text("\n".join(shapes))
        for shape, cloud in zip(shapes, clouds, strict=True):
            np.save(folder / "shapenet_pc" / shape, cloud)
    return written


SCANS = {
    "scanobjectnn:obj_only": "main_split_nobg/{}_objectdataset.h5",
    "scanobjectnn:obj_bg": "main_split/{}_objectdataset.h5",
    "scanobjectnn:pb_t25": "main_split/{}_objectdataset_augmented25_norot.h5",
    "scanobjectnn:pb_t25_nobg": "main_split_nobg/{}_objectdataset_augmented25_norot.h5",
    "scanobjectnn:pb_t25_r": "main_split/{}_objectdataset_augmented25rot.h5",
    "scanobjectnn:pb_t25_r_nobg": "main_split_nobg/{}_objectdataset_augmented25rot.h5",
    "scanobjectnn:pb_t50_r": "main_split/{}_objectdataset_augmentedrot.h5",
    "scanobjectnn:pb_t50_r_nobg": "main_split_nobg/{}_objectdataset_augmented50rot.h5",
    "scanobjectnn:pb_t50_rs": "main_split/{}_objectdataset_augmentedrot_scale75.h5",
    "scanobjectnn:pb_t50_rs_nobg": "main_split_nobg/{}_objectdataset_augmentedrot_scale75.h5",
    "scanobjectnn:sampled": "main_split_nobg/sampled_{}.h5",
}
"""Where every variant of ScanObjectNN stands in h5_files."""


def scan_files(name: str) -> dict[str, str]:
    """The file of each split of a variant, by its place in h5_files."""
    train = "train" if name == "scanobjectnn:sampled" else "training"
    return {"train": SCANS[name].format(train), "test": SCANS[name].format("test")}


def scans(folder: Path, *names: str) -> dict[str, Clouds]:
    """h5_files of ScanObjectNN: the variants that are named, or all, of 15 clouds a split."""
    written: dict[str, Clouds] = {}
    labels = np.arange(len(scanobjectnn.CLASSES), dtype=np.int32)
    for seed, name in enumerate(SCANS):
        if names and name not in names:
            continue
        written[name] = {}
        for split, file in scan_files(name).items():
            xyz = points(15, 2 * seed + (split == "test"), 1100)
            write_h5(folder / file, xyz, labels, mask=np.full((15, 1100), -1, np.int32))
            written[name][split] = xyz
    return written
