"""OmniObject3D: the division that 3DDP's code reads, and the owners' files, which have none."""

import layouts
import numpy as np
import pytest
import trimesh
from imported import load, quiet, refused

from pcbench.datasets import store
from pcbench.datasets.folder import Folder
from pcbench.datasets.omniobject3d import OmniObject3D


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))


def write(folder, *objects, points=1024):
    for seed, name in enumerate(objects):
        path = folder / name.split("_")[0] / name / f"pcd_{points}.ply"
        path.parent.mkdir(parents=True)
        path.write_bytes(trimesh.PointCloud(layouts.points(1, seed, points)[0]).export(file_type="ply"))


def test_of_3ddp_s_division(tmp_path):
    for density in (1024, 4096):
        write(tmp_path / "in" / "train" / str(density), "bun_1", "bun_2", "toy_9", points=density)
        write(tmp_path / "in" / "test" / str(density), "bun_3", "toy_1", points=density)
    train, test, manifest = load(OmniObject3D(), tmp_path)
    assert train.class_names == ("bun", "toy")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 0, 1], [0, 1])
    assert np.array_equal(train.points[2].numpy(), layouts.points(1, 2)[0])
    assert manifest.sampling == "kept"
    assert manifest.notes == ("2 classes, where 3DDP's code has 156",)
    assert not OmniObject3D().load(64).standard


def test_the_owners_files_are_told_apart_and_taken_as_own_data(tmp_path):
    write(tmp_path / "ply_files" / "1024", *(f"{name}_{i}" for name in ("bun", "toy") for i in range(5)))
    refused(OmniObject3D(), tmp_path / "ply_files", "not divided into training and test", "data of your own")
    tree = store.TreeOptions(name="omni", test_share=0.2)
    options = store.ImportOptions(own=store.Own(), tree=tree)
    Folder().import_from(tmp_path / "ply_files", quiet, options)
    train, test, _ = store.load_stored("omni")
    assert (train.labels.tolist(), test.labels.tolist()) == ([0] * 4 + [1] * 4, [0, 1])


def test_nothing_of_the_kind(tmp_path):
    refused(OmniObject3D(), tmp_path, "no copy of OmniObject3D")
