"""Every row of the tables of own data in docs/data.md is imported, as the row says."""

from __future__ import annotations

import csv
import json
import re
from itertools import product
from pathlib import Path

import h5py
import layouts
import numpy as np
import pytest
import trimesh
from imported import load, quiet
from pypcd4.pypcd4 import PointCloud

from pcbench.datasets.folder import Folder
from pcbench.datasets.formats import SUFFIXES
from pcbench.datasets.store import ImportOptions, TreeOptions

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
CLASSES = ("oak", "pine")


def rows(head):
    """What stands in backticks in the first column of a table, by the head of that column."""
    table = PAGE.split(f"| {head} |")[1].split("\n\n")[0].splitlines()[2:]
    return [each for row in table for each in re.findall(r"`([^`]+)`", row.split(" | ")[0])]


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))


def files(folder, pattern, splits, save=np.save, suffix=".npy"):
    """Four clouds of each class and split, at places such as "{name}/{split}/{i}"."""
    for seed, (name, split, i) in enumerate(product(CLASSES, splits, range(4))):
        path = folder / f"{pattern.format(name=name, split=split, i=i)}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        save(path, layouts.points(1, seed)[0])
    return folder


def by_list(folder):
    files(folder, "{name}/{name}_{split}{i}", "12")
    for split, number in (("train", 1), ("test", 2)):
        entries = [f"{name}/{name}_{number}{i}" for name in CLASSES for i in range(4)]
        (folder / f"woods_{split}.txt").write_text("\n".join(entries))
    return folder


def table(folder):
    files(folder, "scans/{name}-{split}-{i}", ("train", "test"))
    paths = sorted((folder / "scans").iterdir())
    return [
        dict(zip(("class", "split"), p.stem.split("-"), strict=False), file=f"scans/{p.name}") for p in paths
    ]


def by_csv(folder):
    entries = table(folder)
    with (folder / "list.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["file", "class", "split"])
        writer.writeheader()
        writer.writerows(entries)
    return folder / "list.csv"


def by_json(folder):
    (folder / "list.json").write_text(json.dumps(table(folder)))
    return folder / "list.json"


def one_file(folder):
    folder.mkdir()
    with h5py.File(folder / "mine.h5", "w") as file:
        file["points"] = layouts.points(16, 0)
        file["label"] = np.arange(16) % 2
        file["class_names"] = list(CLASSES)
        file["split"] = np.array([b"train"] * 8 + [b"test"] * 8)
    return folder / "mine.h5"


def pointnet(folder, stem):
    for split in ("train", "test"):
        name = f"{stem}{split}0"
        layouts.write_h5(folder / f"{name}.h5", layouts.points(8, len(split)), np.arange(8)[:, None] % 2)
        if stem:
            (folder / f"{split}_files.txt").write_text(f"{name}.h5")
            (folder / "shape_names.txt").write_text("\n".join(CLASSES))
        else:
            (folder / f"{name}_id2name.json").write_text(json.dumps([*CLASSES] * 4))
    return folder


LAYOUTS = {
    "CLASS/{train,test}/FILE": lambda folder: files(folder, "{name}/{split}/{i}", ("train", "test")),
    "{train,test}/CLASS/FILE": lambda folder: files(folder, "in/{split}/{name}/{i}", ("train", "test")),
    "CLASS/{Train,val,TESTING}/FILE": lambda f: files(f, "{name}/{split}/{i}", ("Train", "val", "TESTING")),
    "CLASS/{train,test}/OBJECT/FILE": lambda f: files(f, "{name}/{split}/{i}/scan", ("train", "test")),
    "CLASS/FILE": lambda folder: files(folder, "{name}/{split}{i}", ("a", "b")),
    "NAME_{train,test}.txt": by_list,
    "LIST.csv": by_csv,
    "LIST.json": by_json,
    "FILE.h5": one_file,
    "ply_data_*.h5": lambda folder: pointnet(folder, "ply_data_"),
    "*_id2name.json": lambda folder: pointnet(folder, ""),
}
OPTIONS = {
    "CLASS/{Train,val,TESTING}/FILE": {"validation": "apart"},
    "CLASS/FILE": {"test_share": 0.5},
}


def test_every_layout_has_a_row():
    assert rows("layout | what it is") == list(LAYOUTS)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(tmp_path, layout):
    source = LAYOUTS[layout](tmp_path / "in")
    train, test, _ = load(Folder(), source, tree=TreeOptions(**OPTIONS.get(layout, {})))
    assert train.class_names == test.class_names == CLASSES
    assert sorted(train.labels.tolist()) == sorted(test.labels.tolist()) == [0] * 4 + [1] * 4


def text(path, points):
    np.savetxt(path, points, "%.9g")


def with_head(head):
    def save(path, points):
        text(path, points)
        path.write_text(head + path.read_text())

    return save


def hdf5(path, points):
    with h5py.File(path, "w") as file:
        file["data"] = points


def surface(kind):
    return lambda path, points: path.write_bytes(
        trimesh.convex.convex_hull(points[:20]).export(file_type=kind)
        if kind == "stl"
        else trimesh.PointCloud(points).export(file_type=kind)
    )


WRITERS = {
    ".off": with_head("OFF\n1024 0 0\n"),
    ".obj": lambda path, points: path.write_text(
        "".join("v {:.9g} {:.9g} {:.9g}\n".format(*p) for p in points)
    ),
    ".ply": surface("ply"),
    ".stl": surface("stl"),
    ".pcd": lambda path, points: PointCloud.from_xyz_points(points).save(path),
    ".npy": np.save,
    ".npz": lambda path, points: np.savez(path, points=points),
    ".h5": hdf5,
    ".hdf5": hdf5,
    ".txt": text,
    ".xyz": text,
    ".pts": with_head("1024\n"),
    ".asc": with_head("//X Y Z\n"),
    ".csv": lambda path, points: np.savetxt(path, points, "%.9g", delimiter=";", header="x;y;z", comments=""),
    ".gz": text,  # NumPy compresses it by its name
}


def test_every_format_has_a_row():
    assert rows("suffix of a FILE | what is read") == list(WRITERS)
    assert {*WRITERS} == {*SUFFIXES, ".gz"}


@pytest.mark.parametrize("suffix", WRITERS)
def test_format(tmp_path, suffix):
    ending = ".txt.gz" if suffix == ".gz" else suffix
    source = files(tmp_path / "in", "{name}/{split}/{i}", ("train", "test"), WRITERS[suffix], ending)
    manifest = Folder().import_from(source, quiet, ImportOptions(sampling="first"))
    assert (manifest.train, manifest.test, manifest.notes) == (8, 8, ())
    if suffix != ".stl":
        first = Folder().load(1024).train.points[0]
        expected = layouts.points(1, 0)[0]
        assert manifest.sampling == "kept"
        assert np.allclose(np.corrcoef(first.numpy().ravel(), (expected - expected.mean(0)).ravel())[0, 1], 1)
