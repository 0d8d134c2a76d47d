"""Exported clouds are read back by other programs' readers, bit for bit, and stay inside their folder."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from pcbench.clouds import PointClouds, load_clouds
from pcbench.errors import DataError, UsageError
from pcbench.look.export import LONGEST_NAME, export_clouds, file_names

HOSTILE = (
    "../../x",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "a_b",
    "A_B",
    "a_b-2",
    "new\nline\x00\x1b[31m",
    "",
    "..",
    ".hidden",
    "x" * 400,
    "x" * 401,
    "𒀀" * 300,
    "椅子",
    "\ud800",
    "‮gnp",
)


@pytest.fixture
def mixed(few_clouds: PointClouds) -> PointClouds:
    """Seven clouds, their classes out of order: two, three and two of each."""
    return few_clouds.select(torch.tensor([1, 0, 4, 3, 7, 2, 5]))


def test_ply_files_are_read_by_trimesh(tmp_path, mixed):
    files = export_clouds(mixed, tmp_path / "out", "ply")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(f.path.name for f in files)
    of_class = {name: mixed.points[mixed.labels == k] for k, name in enumerate(mixed.class_names)}
    assert [f.path.name for f in files if f.class_name == "tall"] == [
        "tall_00.ply",
        "tall_01.ply",
        "tall_02.ply",
    ]
    for file in files:
        read = trimesh.load(file.path)
        expected = of_class[file.class_name][file.number].numpy()
        assert np.array_equal(np.asarray(read.vertices, np.float32), expected)


def test_a_ply_file_is_its_header_and_the_floats(tmp_path, mixed):
    file = export_clouds(mixed, tmp_path, "ply")[0]
    header, body = file.path.read_bytes().split(b"end_header\n", 1)
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    assert [line for line in lines if line.startswith(("element", "property"))] == [
        "element vertex 32",
        "property float x",
        "property float y",
        "property float z",
    ]
    assert body == mixed.points[1].numpy().astype("<f4").tobytes()


def test_xyz_files_are_read_by_numpy_bit_for_bit(tmp_path, mixed):
    extreme = mixed.points.clone()
    extreme[:, 0] = torch.tensor([1e-38, -3.4e38, 1 / 3])
    clouds = PointClouds(extreme, mixed.labels, mixed.class_names)
    for file in export_clouds(clouds, tmp_path, "xyz"):
        label = clouds.class_names.index(file.class_name)
        expected = clouds.points[clouds.labels == label][file.number].numpy()
        assert np.array_equal(np.loadtxt(file.path, dtype=np.float32), expected)


def test_an_npz_file_is_read_without_pickle(tmp_path, mixed):
    (file,) = export_clouds(mixed, tmp_path, "npz")
    with np.load(file.path, allow_pickle=False) as read:
        assert sorted(read) == ["class_names", "labels", "points"]
        assert np.array_equal(read["points"], mixed.points.numpy())
        assert np.array_equal(read["labels"], mixed.labels.numpy())
        assert tuple(read["class_names"].tolist()) == mixed.class_names


def test_an_hdf5_file_is_read_by_h5py_and_by_pcbench(tmp_path, mixed):
    (file,) = export_clouds(mixed, tmp_path, "h5")
    with h5py.File(file.path) as read:
        assert np.array_equal(read["points"][()], mixed.points.numpy())
        assert np.array_equal(read["labels"][()], mixed.labels.numpy())
    assert load_clouds(file.path).content_hash() == mixed.content_hash()


@pytest.mark.parametrize("form", ["ply", "npz", "h5", "xyz"])
def test_nothing_is_replaced_unless_asked_and_then_nothing_was_written(tmp_path, mixed, form):
    last = export_clouds(mixed, tmp_path / "once", form)[-1].path.name
    once = {path.name: path.read_bytes() for path in (tmp_path / "once").iterdir()}
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / last).write_text("mine")
    with pytest.raises(UsageError, match=r"is there already: choose another folder, or let it be replaced"):
        export_clouds(mixed, folder, form)
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(last, "mine")]
    export_clouds(mixed, folder, form, force=True)
    if form != "h5":  # an HDF5 file holds times
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == once
    assert (folder / last).read_bytes() != b"mine"


def test_a_link_in_the_folder_is_replaced_and_not_followed(tmp_path, mixed):
    (tmp_path / "out").mkdir()
    target = tmp_path / "elsewhere"
    (tmp_path / "out" / "clouds.npz").symlink_to(target)
    export_clouds(mixed, tmp_path / "out", "npz", force=True)
    assert not target.exists()
    assert not (tmp_path / "out" / "clouds.npz").is_symlink()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, mixed):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/long_00\.ply cannot be written"):
        export_clouds(mixed, tmp_path / "file", "ply")


@pytest.mark.parametrize("form", ["ply", "npz", "xyz"])
def test_hostile_class_names_stay_inside_the_folder(tmp_path, form):
    clouds = PointClouds(torch.rand(len(HOSTILE), 2, 3), torch.arange(len(HOSTILE)), HOSTILE)
    folder = tmp_path / "deep" / "out"
    files = export_clouds(clouds, folder, form)
    found = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {file.path for file in files}
    assert all(path.parent == folder for path in found)
    assert len(found) == (1 if form == "npz" else len(HOSTILE))


@given(st.lists(st.one_of(st.text(max_size=60), st.sampled_from(HOSTILE)), min_size=1, unique=True))
def test_file_names_are_safe_and_distinct(class_names):
    names = file_names(class_names)
    assert len({name.casefold() for name in names}) == len(class_names)
    for name in names:
        assert name == Path(name).name
        assert not name.startswith((".", "-"))
        assert not {"/", "\\", "\0", ":"} & set(name)
        assert name.isprintable()
        assert len(os.fsencode(f"{name}_00.ply")) < 255
        assert len(name) <= LONGEST_NAME + len("-99")


def test_plain_names_stay_as_they_are():
    plain = ("night_stand", "tv_stand", "Stuhl-2", "椅子", "airplane,aeroplane,plane")
    assert file_names(plain) == [*plain[:4], "airplane_aeroplane_plane"]
