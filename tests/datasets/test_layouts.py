"""Every public layout: found by its looks, read back bit for bit, refused where something is wrong."""

import itertools
import json
import math

import h5py
import layouts
import numpy as np
import pytest
import torch
import trimesh
from imported import load, quiet, refused, same
from scipy.spatial import cKDTree

from pcbench.datasets import copies, importing, reading, shapenet, store
from pcbench.datasets.folder import Folder
from pcbench.datasets.modelnet import CLASSES, TEN_CLASSES, ModelNet10, ModelNet40
from pcbench.datasets.shapenet import ShapeNet55
from pcbench.errors import DataError

KINDS = (ModelNet40, ModelNet10, ShapeNet55)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """One cloud a class and split is complete; no copy is large enough for processes of its own."""
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    for kind in KINDS:
        monkeypatch.setattr(kind, "releases", ((kind.classes, kind.classes),))
    monkeypatch.setattr(reading, "MESH_POINTS", 1100)


class TestNormalResampled:
    @pytest.fixture
    def copy(self, tmp_path):
        self.written = layouts.normal_resampled(tmp_path / "in" / "modelnet40_normal_resampled")
        return tmp_path / "in" / "modelnet40_normal_resampled"

    @pytest.mark.parametrize("where", [".", ".."])
    def test_bit_for_bit(self, copy, where):
        train, test, manifest = load(ModelNet40(), copy / where)
        assert same(train, self.written["train"])
        assert same(test, self.written["test"])
        assert train.class_names == CLASSES
        assert (manifest.sampling, manifest.complete) == ("kept", True)
        names = [source.name for source in manifest.sources]
        assert len(names) == 80
        assert names[:2] == ["airplane/airplane_0001.txt", "bathtub/bathtub_0001.txt"]
        dataset = ModelNet40()
        assert dataset.load(16).standard
        assert dataset.variant == "text, 10000 surface points (normal_resampled)"

    def test_ten_classes_are_a_part_of_it(self, copy):
        ModelNet10().import_from(copy, quiet)
        assert store.stored_names() == ["modelnet40"]
        dataset = ModelNet10()
        splits = dataset.load(16)
        assert splits.train.class_names == TEN_CLASSES
        assert splits.train.labels.tolist() == [*range(10)]
        assert splits.standard
        assert dataset.variant == "ten classes of modelnet40: text, 10000 surface points (normal_resampled)"

    def test_ten_classes_alone(self, tmp_path):
        written = layouts.normal_resampled(tmp_path / "in", TEN_CLASSES)
        train, test, _ = load(ModelNet10(), tmp_path / "in")
        assert same(train, written["train"])
        assert same(test, written["test"])
        assert store.stored_names() == ["modelnet10"]
        assert ModelNet10().load(16).standard
        assert not ModelNet40().present()

    def test_a_missing_file(self, copy):
        (copy / "bed" / "bed_0001.txt").unlink()
        refused(ModelNet40(), copy, "bed/bed_0001.txt", "missing", "allow it to be incomplete")
        refused(ModelNet40(), copy.parent / "nothing", "no folder")

    def test_an_incomplete_copy_is_taken_if_asked_for_and_marked(self, copy):
        (copy / "bed" / "bed_0001.txt").unlink()
        train, _, manifest = load(ModelNet40(), copy, allow_incomplete=True)
        assert len(train) == 39
        assert not manifest.complete
        assert not ModelNet40().load(16).standard
        assert not ModelNet10().load(16).standard

    def test_a_missing_column(self, copy):
        path = copy / "bed" / "bed_0001.txt"
        lines = path.read_text().splitlines()
        lines[99] = lines[99].rpartition(",")[0]
        path.write_text("\n".join(lines))
        refused(ModelNet40(), copy, "bed_0001.txt:100:", "5 columns instead of 6", "fetch")

    def test_a_line_less(self, copy):
        path = copy / "bed" / "bed_0001.txt"
        path.write_text("\n".join(path.read_text().splitlines()[:-1]))
        refused(ModelNet40(), copy, "bed_0001.txt", "1023 points")

    @pytest.mark.parametrize(
        "entry", ["../bed_0001", "throne_0001", "bed", "bed_0001.txt", "/etc/bed_1", "bed_x"]
    )
    def test_a_list_with_something_else(self, copy, entry):
        path = copy / "modelnet40_train.txt"
        path.write_text(path.read_text().replace("bed_0001", entry))
        refused(ModelNet40(), copy, "modelnet40_train.txt:3:", repr(entry), allow_incomplete=True)

    def test_a_shape_in_both_splits(self, copy):
        path = copy / "modelnet40_test.txt"
        path.write_text(path.read_text().replace("bed_0002", "bed_0001"))
        refused(ModelNet40(), copy, "modelnet40_test.txt:3:", "bed_0001 is named twice")

    def test_other_classes(self, copy):
        path = copy / "modelnet40_shape_names.txt"
        path.write_text(path.read_text().replace("bathtub", "tub"))
        refused(ModelNet40(), copy, "modelnet40_shape_names.txt", "class 2", "'tub'")


class TestMeshes:
    @pytest.fixture
    def copy(self, tmp_path):
        layouts.meshes(tmp_path / "in" / "ModelNet40")
        return tmp_path / "in" / "ModelNet40"

    def test_points_lie_on_the_surface_with_y_up(self, copy):
        train, test, manifest = load(ModelNet40(), copy)
        assert train.labels.tolist() == test.labels.tolist() == [*range(40)]
        size = torch.tensor([1.0, 3.0, 2.0])
        inside = train.points / size
        assert inside.min() >= 0
        assert inside.max() <= 1
        assert ((inside == 0) | (inside == 1)).any(2).all()
        assert not torch.equal(train.points[0], train.points[1])
        assert (manifest.sampling, manifest.seed) == ("farthest", 0)
        assert ModelNet40().load(16).standard
        whole = ModelNet40()
        whole.load(16)
        assert whole.variant == "OFF meshes, 10000 points drawn by area"

    def test_has_the_handedness_of_the_owners_clouds(self, tmp_path, monkeypatch):
        """A lopsided corner as a mesh, and as the owners' texts have it: the nearest of 48 turns is none."""
        monkeypatch.setattr(ModelNet10, "releases", ((10, 10),))
        faces = [(0, 1, 2), (0, 2, 3), (0, 3, 4), (4, 1, 5)]
        corners = np.array(
            [[0, 0, 0], [4, 0, 0], [0, 2, 0.5], [0, -0.3, 1], [-1, 0.4, 0.2], [1, 1, 3]], float
        )
        mesh = trimesh.Trimesh(corners, faces, process=False)
        layouts.normal_resampled(tmp_path / "texts", TEN_CLASSES)
        layouts.meshes(tmp_path / "meshes", TEN_CLASSES)
        for path in (tmp_path / "meshes").rglob("*.off"):
            path.write_text(mesh.export(file_type="off"))
        for seed, path in enumerate((tmp_path / "texts").glob("*/*.txt")):
            owners = trimesh.sample.sample_surface(mesh, 3000, seed=seed)[0][:, [0, 2, 1]]
            np.savetxt(path, np.hstack([owners, owners]), "%.6f", delimiter=",")
        one, other = (
            load(ModelNet10(), tmp_path / kind)[0].normalised().points[0].numpy().astype(float)
            for kind in ("texts", "meshes")
        )
        distances = {}
        for axes in itertools.permutations(range(3)):
            for signs in itertools.product((1, -1), repeat=3):
                turned = other[:, axes] * signs
                distances[axes, signs] = cKDTree(one).query(turned)[0].mean()
        nearest = sorted(distances, key=distances.__getitem__)
        assert nearest[0] == ((0, 1, 2), (1, 1, 1))
        assert distances[nearest[1]] > 2 * distances[nearest[0]]

    def test_the_seed_decides(self, copy):
        one, other, third = (
            ModelNet40().import_from(copy, quiet, store.ImportOptions("first", seed)).content_hash
            for seed in (0, 0, 1)
        )
        assert one == other != third

    def test_reports_equal_meshes(self, copy):
        manifest = ModelNet40().import_from(copy, quiet)
        assert len(manifest.duplicates) == 1
        assert manifest.duplicated() == (39, 39, 40)

    def test_the_archive_of_ten_classes(self, tmp_path):
        layouts.meshes(tmp_path / "in" / "ModelNet10", TEN_CLASSES)
        layouts.meshes(tmp_path / "in" / "__MACOSX", ("bed",))
        (tmp_path / "in" / "ModelNet10" / "bed" / "train" / "._bed_0001.off").write_bytes(b"\x00")
        train, _, manifest = load(ModelNet10(), tmp_path / "in")
        assert manifest.name == "modelnet10"
        assert train.labels.tolist() == [*range(10)]
        refused_as_forty = pytest.raises(DataError, match="10/10 training/test clouds instead of 40/40")
        with refused_as_forty:
            ModelNet40().import_from(tmp_path / "in", quiet)

    def test_a_wrong_count(self, copy):
        path = copy / "bed" / "train" / "bed_0001.off"
        path.write_text(path.read_text().replace("8 6 0", "9 6 0"))
        refused(ModelNet40(), copy, "bed_0001.off:2:", "9 vertices and 6 faces", "fetch")

    def test_another_class(self, copy):
        (copy / "chair").rename(copy / "throne")
        refused(ModelNet40(), copy, "throne", "no class of ModelNet40", allow_incomplete=True)

    def test_nothing_of_the_kind(self, tmp_path):
        refused(
            ModelNet40(), tmp_path, "no copy of ModelNet", "ply_data_train*.h5", "normal_resampled", ".off"
        )


class TestShapeNetHdf5:
    @pytest.fixture
    def copy(self, tmp_path):
        self.written, self.names = layouts.shapenet_hdf5(tmp_path / "in")
        return tmp_path / "in"

    def test_bit_for_bit_with_the_names_of_the_copy(self, copy):
        train, test, manifest = load(ShapeNet55(), copy)
        assert same(train, self.written["train"])
        assert same(test, self.written["test"])
        assert train.class_names == self.names
        assert [source.name for source in manifest.sources] == ["train0.h5", "train1.h5", "test0.h5"]
        assert ShapeNet55().load(16).standard

    @pytest.mark.parametrize(
        ("names", "words"),
        [
            ("{}", ("train0_id2name.json", "no list")),
            ("[", ("train0_id2name.json", "no JSON")),
            ("[" * 100_000, ("train0_id2name.json", "no JSON")),
            ('["a"]', ("train0_id2name.json", "28 clouds")),
            (json.dumps([1] * 28), ("train0_id2name.json", "no list")),
        ],
    )
    def test_wrong_names(self, copy, names, words):
        (copy / "train0_id2name.json").write_text(names)
        refused(ShapeNet55(), copy, "fetch", *words)

    def test_two_names_of_one_label(self, copy):
        path = copy / "test0_id2name.json"
        path.write_text(path.read_text().replace(self.names[7], "throne"))
        refused(ShapeNet55(), copy, "test0_id2name.json", "cloud 7", "'throne'", repr(self.names[7]))

    def test_one_name_of_two_labels(self, copy):
        for path in copy.glob("*_id2name.json"):
            path.write_text(path.read_text().replace(self.names[7], self.names[8]))
        refused(ShapeNet55(), copy, "two labels share a name")

    def test_a_class_that_no_file_names(self, copy):
        for stem in ("train0", "train1", "test0"):
            with h5py.File(copy / f"{stem}.h5", "r+") as file:
                file["label"][:] = np.minimum(file["label"][:], 53)
            path = copy / f"{stem}_id2name.json"
            path.write_text(path.read_text().replace(self.names[54], self.names[53]))
        refused(ShapeNet55(), copy, "does not name class 54 of 55")

    def test_a_missing_file_of_names(self, copy):
        (copy / "train1_id2name.json").unlink()
        refused(ShapeNet55(), copy, "train1_id2name.json", "missing")

    def test_a_missing_file(self, copy):
        (copy / "train1.h5").unlink()
        refused(
            ShapeNet55(), copy, "28/55 training/test clouds instead of 55/55", "allow it to be incomplete"
        )

    @pytest.mark.parametrize("label", [-1, 55])
    def test_a_label_out_of_range(self, copy, label):
        with h5py.File(copy / "test0.h5", "r+") as file:
            file["label"][5] = label
        refused(ShapeNet55(), copy, "test0.h5", "cloud 5", "outside 0 to 54")

    def test_a_truncated_file(self, copy):
        content = (copy / "test0.h5").read_bytes()
        (copy / "test0.h5").write_bytes(content[: len(content) // 2])
        refused(ShapeNet55(), copy, "test0.h5", "truncated or corrupt", "fetch it again")


class TestModelNetWithNames:
    """The copies in HDF5 whose names stand in *_id2name.json."""

    @pytest.mark.parametrize(("dataset", "names"), [(ModelNet40, CLASSES), (ModelNet10, TEN_CLASSES)])
    def test_bit_for_bit(self, tmp_path, dataset, names):
        labels = np.arange(len(names))
        for seed, split in enumerate(("train", "test")):
            layouts.write_h5(
                tmp_path / "in" / f"{split}0.h5", layouts.points(len(names), seed), labels[:, None]
            )
            (tmp_path / "in" / f"{split}0_id2name.json").write_text(json.dumps(names))
        train, test, manifest = load(dataset(), tmp_path / "in")
        assert manifest.name == dataset.name
        assert same(train, layouts.points(len(names), 0))
        assert same(test, layouts.points(len(names), 1))
        assert dataset().load(16).standard
        swapped = [names[1], names[0], *names[2:]]
        (tmp_path / "in" / "test0_id2name.json").write_text(json.dumps(swapped))
        (tmp_path / "in" / "train0_id2name.json").write_text(json.dumps(swapped))
        with pytest.raises(DataError, match=f"label 0 is called '{names[1]}'.*instead of '{names[0]}'"):
            dataset().import_from(tmp_path / "in", quiet)


class TestShapeNetArrays:
    @pytest.fixture
    def copy(self, tmp_path):
        self.written = layouts.shapenet_arrays(tmp_path / "in")
        return tmp_path / "in"

    def test_bit_for_bit(self, copy):
        train, test, _ = load(ShapeNet55(), copy)
        assert same(train, self.written["train"])
        assert same(test, self.written["test"])
        assert train.class_names == tuple(shapenet.SYNSETS.values())
        dataset = ShapeNet55()
        dataset.load(16)
        assert dataset.variant == "ShapeNet-55, 8192 surface points"

    def test_two_official_shapes_have_no_model(self, copy, monkeypatch):
        monkeypatch.setattr(ShapeNet55, "releases", ((57, 55),))
        names = ("04379243-.npy", "02747177-.npy")
        for seed, name in enumerate(names):
            np.save(copy / "shapenet_pc" / name, layouts.points(1, 90 + seed)[0])
        path = copy / "ShapeNet-55" / "train.txt"
        path.write_text("\n".join([*path.read_text().splitlines(), *names]))
        train, _, manifest = load(ShapeNet55(), copy)
        assert manifest.complete
        assert [train.class_names[label] for label in train.labels[-2:]] == ["table", "trash_bin"]
        assert np.array_equal(train.points[-1].numpy(), layouts.points(1, 91)[0])

    def test_refusals(self, copy):
        file = copy / "shapenet_pc" / "02691156-train0a1b2c.npy"
        good = file.read_bytes()
        np.save(file, np.zeros((1024, 3), bool))
        refused(ShapeNet55(), copy, file.name, "bool")
        np.save(file, np.full((1024, 3), np.nan, "f4"))
        refused(ShapeNet55(), copy, file.name, "point 1", "not finite")
        np.save(file, np.zeros((1024, 3), "f4"))
        refused(ShapeNet55(), copy, file.name, "all its points coincide")
        file.write_bytes(good[:-5])
        refused(ShapeNet55(), copy, file.name, "do not fit its shape")
        file.unlink()
        refused(ShapeNet55(), copy, f"shapenet_pc/{file.name}", "missing")
        for entry in ("../x.npy", "99999999-a.npy", "02691156-a/../../b.npy", "02691156-a.npz"):
            (copy / "ShapeNet-55" / "train.txt").write_text(entry)
            refused(ShapeNet55(), copy, "train.txt:1:", repr(entry))
        refused(ShapeNet55(), copy / "shapenet_pc", "no copy of ShapeNet")


class TestFolder:
    @pytest.fixture
    def tree(self, tmp_path):
        """Two classes; one file of every kind."""
        folder = tmp_path / "my shapes"
        self.clouds = clouds = layouts.points(4, 0)
        for name in ("round", "long"):
            for split in ("train", "test"):
                (folder / name / split).mkdir(parents=True)
        (folder / "long" / "train" / "a.off").write_text(layouts.box((1, 2, 3)))
        rows = ("v {:.16g} {:.16g} {:.16g}".format(*p) for p in clouds[0])
        (folder / "long" / "train" / "b.obj").write_text("\n".join(rows) + "\n")
        head = "ply\nformat binary_little_endian 1.0\nelement vertex 1024\n"
        head += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
        (folder / "long" / "test" / "a.ply").write_bytes(head.encode() + clouds[1].tobytes())
        np.save(folder / "round" / "train" / "a.npy", clouds[2])
        np.savetxt(folder / "round" / "train" / "b.TXT", clouds[3], "%.16g")
        layouts.write_h5(folder / "round" / "test" / "a.h5", clouds[0], np.zeros(1))
        (folder / "round" / "test" / "notes.md").write_text("not a cloud")
        (folder / "readme.txt").write_text("not a cloud")
        return folder

    def test_of_every_kind_of_file(self, tree):
        train, test, manifest = load(Folder(), tree)
        assert train.class_names == ("long", "round")
        assert train.labels.tolist() == [0, 0, 1, 1]
        assert np.array_equal(train.points[1:].numpy(), self.clouds[[0, 2, 3]])
        assert np.array_equal(test.points.numpy(), self.clouds[[1, 0]])
        inside = train.points[0] / torch.tensor([1.0, 2.0, 3.0])
        assert ((inside == 0) | (inside == 1)).any(1).all()
        assert manifest.variant == "your own: my shapes"
        assert manifest.complete
        dataset = Folder()
        splits = dataset.load(16)
        assert not splits.standard
        assert (dataset.classes, dataset.train_size, dataset.test_size) == (2, 4, 2)

    def test_refusals(self, tree, tmp_path):
        refused(Folder(), tmp_path / "no", "is not there")
        refused(Folder(), tmp_path / "data", "is not there")
        (tree / "round" / "train" / "a.npy").write_bytes(b"")
        refused(Folder(), tree, "round/train/a.npy", "no NumPy array")
        for file in (tree / "round" / "train").iterdir():
            file.unlink()
        refused(Folder(), tree, "no training cloud of round")
        assert not load(Folder(), tree, allow_incomplete=True)[2].complete

    def test_an_empty_folder(self, tmp_path):
        refused(Folder(), tmp_path, "no clouds that pcbench knows", "CLASS/{train,test}")

    @pytest.fixture
    def file(self, tmp_path):
        """Six clouds of both splits in turn."""
        path = tmp_path / "mine.h5"
        with h5py.File(path, "w") as file:
            file["points"] = layouts.points(6, 0)
            file["label"] = np.array([1, 0, 0, 1, 0, 1])
            file["split"] = np.array([b"train", b"test"] * 3)
            file["class_names"] = ["long", "round"]
        return path

    def test_of_one_hdf5_file(self, file, monkeypatch):
        monkeypatch.setattr("pcbench.datasets.copies._ROWS_AT_ONCE", 4)
        train, test, manifest = load(Folder(), file)
        points = layouts.points(6, 0)
        assert np.array_equal(train.points.numpy(), points[::2])
        assert np.array_equal(test.points.numpy(), points[1::2])
        assert (train.labels.tolist(), test.labels.tolist()) == ([1, 0, 0], [0, 1, 1])
        assert train.class_names == ("long", "round")
        assert manifest.sources[0].name == "mine.h5"

    @pytest.mark.parametrize(
        ("key", "value", "words"),
        [
            (
                "split",
                None,
                ("lacks split", "points, label, split, class_names", "class_names, label, points"),
            ),
            ("class_names", None, ("lacks class_names", "label, points, split")),
            ("split", np.array([b"dev"] * 6), ("cloud 0", "'dev'")),
            ("split", np.array([b"val"] * 2 + [b"train", b"test"] * 2), ("2 clouds for validation",)),
            ("split", np.array([b"train"] * 5), ("(5,)",)),
            ("split", np.zeros(6, int), ("int64", "strings")),
            ("split", np.array([b"train"] * 6), ("no test cloud",)),
            ("class_names", np.array([b"a", b"a"]), ("share a name",)),
            ("class_names", np.array([b"\xff", b"a"]), ("UTF-8",)),
            ("class_names", np.array([b"a", b"b", b"c"]), ("no training cloud of c",)),
            ("label", np.array([0, 1, 0, 1, 2, 0]), ("cloud 4", "outside 0 to 1")),
            ("points", np.zeros((6, 1024, 3)), ("cloud 0", "coincide")),
        ],
    )
    def test_refusals_of_one_file(self, file, key, value, words):
        with h5py.File(file, "r+") as content:
            del content[key]
            if value is not None:
                content[key] = value
        refused(Folder(), file, *words)


class TestProcesses:
    """What many files need: several processes, which give what one gives."""

    @pytest.mark.slow
    def test_give_what_one_gives(self, tmp_path, monkeypatch):
        monkeypatch.setattr(copies, "_FILES_AT_ONCE", 3)
        layouts.meshes(tmp_path / "in")
        one = ModelNet40().import_from(tmp_path / "in", quiet)
        monkeypatch.setattr(importing, "_WORTH_PROCESSES", 1)
        monkeypatch.setattr(reading, "MESH_POINTS", 10_000)
        told = []
        many = ModelNet40().import_from(tmp_path / "in", lambda *progress: told.append(progress))
        monkeypatch.setattr(importing, "_WORTH_PROCESSES", math.inf)
        assert many.content_hash == ModelNet40().import_from(tmp_path / "in", quiet).content_hash
        assert many.content_hash != one.content_hash
        assert told[0] == (0, 80)
        assert told[-1] == (80, 80)

    @pytest.mark.slow
    def test_tell_of_a_bad_file(self, tmp_path, monkeypatch):
        monkeypatch.setattr(importing, "_WORTH_PROCESSES", 1)
        layouts.meshes(tmp_path / "in")
        (tmp_path / "in" / "bed" / "test" / "bed_0002.off").write_text("OFF\n1 2\n")
        refused(ModelNet40(), tmp_path / "in", "bed_0002.off:2:")
