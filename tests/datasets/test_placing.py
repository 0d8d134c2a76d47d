"""Coordinates from the file to the store: no shape is lost on the way, wherever a cloud stands."""

from __future__ import annotations

import io

import h5py
import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from imported import load, quiet, refused
from pypcd4.pypcd4 import Encoding, PointCloud

from pcbench.datasets import store
from pcbench.datasets.folder import Folder
from pcbench.datasets.placing import placed

FIRST = store.ImportOptions(sampling="first", replace=True)
BASE = np.random.default_rng(5).normal(size=(1024, 3)) * [1.0, 0.6, 0.3]
TIGHT = 3e-6


def text(separator):
    def write(path, points):
        rows = (separator.join(map(repr, row)) for row in points.tolist())
        path.write_text("\n".join(rows) + "\n")

    return write


def hdf5(path, points):
    with h5py.File(path, "w") as file:
        file["points"] = points


def pcd(encoding):
    def write(path, points):
        cloud = PointCloud.from_points(points, ("x", "y", "z"), (np.float64,) * 3)
        cloud.save(path, encoding)

    return write


def ascii_pcd(path, points):
    """pypcd4 itself writes ten decimals."""
    head = "VERSION 0.7\nFIELDS x y z\nSIZE 8 8 8\nTYPE F F F\nCOUNT 1 1 1\nWIDTH 1024\nHEIGHT 1\n"
    text(" ")(path, points)
    path.write_text(f"{head}VIEWPOINT 0 0 0 1 0 0 0\nPOINTS 1024\nDATA ascii\n{path.read_text()}")


def ply(ascii_text):
    def write(path, points):
        kind = "ascii" if ascii_text else "binary_big_endian"
        axes = "".join(f"property double {axis}\n" for axis in "xyz")
        head = f"ply\nformat {kind} 1.0\nelement vertex {len(points)}\n{axes}end_header\n"
        rows = "\n".join(" ".join(map(repr, row)) for row in points.tolist()) + "\n"
        path.write_bytes(head.encode() + (rows.encode() if ascii_text else points.astype(">f8").tobytes()))

    return write


def off(path, points):
    text(" ")(path, points)
    path.write_text(f"OFF\n{len(points)} 0 0\n{path.read_text()}")


def obj(path, points):
    path.write_text("".join("v {!r} {!r} {!r}\n".format(*row) for row in points.tolist()))


DOUBLES = {
    "a.txt": text(" "),
    "a.csv": text(","),
    "a.xyz": text(";"),
    "a.npy": np.save,
    "a.npz": lambda path, points: np.savez(path, points=points),
    "a.h5": hdf5,
    "ascii.pcd": ascii_pcd,
    "binary.pcd": pcd(Encoding.BINARY),
    "compressed.pcd": pcd(Encoding.BINARY_COMPRESSED),
    "ascii.ply": ply(True),
    "binary.ply": ply(False),
    "a.off": off,
    "a.obj": obj,
}
"""Every way to write a cloud in doubles."""


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))


def rotation(generator):
    turn, upper = np.linalg.qr(generator.normal(size=(3, 3)))
    turn *= np.sign(np.diag(upper))
    return turn * np.sign(np.linalg.det(turn))


def stored(folder, *names, points):
    """What the import of a cloud gives out, (1024, 3), by each of the formats; and what BASE gives out."""
    for split, cloud, files in (("train", points, names), ("test", BASE, ["a.npy"])):
        (folder / "class" / split).mkdir(parents=True)
        for i, name in enumerate(files):
            DOUBLES[name](folder / "class" / split / f"{i:02}{name}", cloud)
    Folder().import_from(folder, quiet, FIRST)
    splits = Folder().load(1024)
    return splits.train.points.numpy().astype(np.float64), splits.test.points[0].numpy().astype(np.float64)


@given(st.integers(0, 2**32), st.floats(-2, 4), st.floats(-1e7, 1e7), st.floats(-1e7, 1e7))
@settings(max_examples=12)
def test_a_cloud_turned_scaled_and_moved_is_stored_as_the_same_in_every_format(
    tmp_path_factory, seed, scale, x, y
):
    turn = rotation(np.random.default_rng(seed))
    moved = 10**scale * BASE @ turn.T + [x, y, (x + y) / 3]
    clouds, expected = stored(tmp_path_factory.mktemp("in"), *DOUBLES, points=moved)
    assert len(clouds) == len(DOUBLES)
    for name, cloud in zip(DOUBLES, clouds, strict=True):
        assert np.abs(cloud @ turn - expected).max() < TIGHT, name


@pytest.mark.parametrize("kind", ["off", "obj"])
def test_the_surface_of_a_mesh_is_sampled_at_the_same_places(tmp_path, kind):
    shape = trimesh.creation.box((1.0, 0.7, 0.4))

    def write(path, points):
        mesh = trimesh.Trimesh(points, shape.faces, process=False)
        path.write_text(mesh.export(file_type=kind, digits=12))

    for i, (split, offset) in enumerate((("train", 0.0), ("train", 5e6), ("test", 0.0))):
        place = tmp_path / "box" / split
        place.mkdir(parents=True, exist_ok=True)
        write(place / f"{i}.{kind}", 0.5 * shape.vertices + [offset, -offset, offset / 2])
    Folder().import_from(tmp_path, quiet, FIRST)
    near, far = Folder().load(1024).train.points.numpy()
    box = np.array([1.0, 0.7, 0.4])
    for cloud in (near, far):
        size = np.ptp(cloud, axis=0)
        assert size / size.max() == pytest.approx(box, abs=0.01)
        faces = (np.abs(cloud - cloud.min(0)) < 1e-5) | (np.abs(cloud - cloud.max(0)) < 1e-5)
        assert faces.any(1).mean() > 0.95
        assert len(np.unique(cloud, axis=0)) == 1024


def test_clouds_in_one_file_at_map_coordinates_keep_their_shape(tmp_path):
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["points"] = np.stack([BASE, BASE + np.array([6e5, 5.5e6, 2e2])] * 2)
        file["label"], file["class_names"] = np.zeros(4, int), ["ball"]
        file["split"] = np.array([b"train"] * 2 + [b"test"] * 2)
    Folder().import_from(tmp_path / "all.h5", quiet, FIRST)
    near, far = Folder().load(1024).train.points.numpy()
    assert np.abs(near - far).max() < TIGHT
    assert len(np.unique(far, axis=0)) == 1024


@pytest.mark.parametrize("size", [1e-200, 1e-24, 1e-15, 1e15, 1e22, 1e200])
def test_neither_vast_nor_tiny_coordinates_overflow(tmp_path, size):
    clouds, expected = stored(tmp_path, *DOUBLES, points=size * BASE)
    assert np.abs(clouds - expected).max() < TIGHT


def test_vast_meshes_are_sampled(tmp_path):
    for i, size in enumerate((1e-90, 1.0, 1e120)):
        for split in ("train", "test"):
            place = tmp_path / "box" / split / f"{i}.obj"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(
                "".join(f"v {size * x} {size * y} 0.0\n" for x in (0, 1) for y in (0, 1))
                + "f 1 2 3\nf 2 4 3\n"
            )
    train, _, _ = load(Folder(), tmp_path, sampling="first")
    for cloud in train.normalised().points.numpy():
        assert np.ptp(cloud, axis=0)[:2] == pytest.approx(np.full(2, 1.414), abs=0.05)


def test_a_point_that_leaves_nothing_of_the_others_is_told(tmp_path):
    for split in ("train", "test"):
        place = tmp_path / "class" / split / "a.txt"
        place.parent.mkdir(parents=True)
        text(" ")(place, np.vstack([BASE, [[1e300, 0, 0]]]))
    refused(Folder(), tmp_path, "train/a.txt", "one point so far off")


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.txt"])
def test_shape_that_the_file_itself_has_lost_is_told(tmp_path, name):
    far = (BASE + np.array([0, 5e6, 0])).astype(np.float32)
    for split in ("train", "test"):
        place = tmp_path / "class" / split / name
        place.parent.mkdir(parents=True)
        DOUBLES[name](place, far)
    notes = load(Folder(), tmp_path)[2].notes
    assert len(notes) == 1
    assert notes[0].startswith("2 clouds have lost their shape")
    assert f"class/train/{name}" in notes[0]


def test_what_float32_holds_stays_bit_for_bit():
    """Content hashes of data sets that were imported before depend on it."""
    generator = np.random.default_rng(0)
    for offset, scale in ((0, 1), (0.5, 1), (300, 0.5), (0, 1e-9), (0, 1e9)):
        clouds = (generator.normal(size=(4, 256, 3)) * scale + offset).astype(np.float32)
        assert np.array_equal(placed(clouds).points, clouds)
        assert np.array_equal(placed(clouds.astype(np.float64)).points, clouds)
    decimals = np.round(generator.uniform(-0.57, 0.57, (4, 256, 3)), 6)  # as the owners' texts of ModelNet
    assert np.array_equal(placed(decimals).points, decimals.astype(np.float32))


def test_the_form_of_the_first_line_decides(tmp_path):
    stream = io.StringIO()
    np.savetxt(stream, BASE, fmt="%.9f", delimiter=";")
    for split in ("train", "test"):
        place = tmp_path / "class" / split / "a.csv"
        place.parent.mkdir(parents=True)
        place.write_text("x;y;z\n" + stream.getvalue().replace(".", ","))
    train, _, _ = load(Folder(), tmp_path)
    assert np.allclose(train.points[0].numpy(), BASE, atol=1e-6)
