"""ModelNet: import of a small copy in the public layout, what is refused, and what is loaded."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from pcbench.clouds import PointClouds, unit_sphere
from pcbench.datasets import copies, store
from pcbench.datasets.modelnet import CLASSES, TEN_CLASSES, ModelNet10, ModelNet40
from pcbench.errors import DataError
from pcbench.ops.sampling import resample

POINTS = 1024
TRAIN, TEST = 80, 40


def quiet(done, total):
    pass


def clouds(count, seed, points=POINTS):
    rng = np.random.default_rng(seed)
    return np.round(rng.uniform(-1, 1, (count, points, 3)) * 2**13).astype(np.float32) / 2**13


def write_file(path, count, seed, points=POINTS):
    """Clouds of the forty classes in turn, beginning with the last."""
    labels = (39 - np.arange(count) % 40).astype(np.uint8)[:, None]
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=clouds(count, seed, points), chunks=(8, points, 3), compression=1)
        file["label"] = labels
        file["object_id"] = np.array([b"something"] * count)


def write_lists(folder):
    (folder / "shape_names.txt").write_text("\n".join(CLASSES) + "\n")
    prefix = "data/modelnet40_ply_hdf5_2048"
    train = f"{prefix}/ply_data_train0.h5\n{prefix}/ply_data_train1.h5\n"
    (folder / "train_files.txt").write_text(train)
    (folder / "test_files.txt").write_text(f"{prefix}/ply_data_test0.h5\n")


@pytest.fixture(scope="session")
def good_copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    write_file(folder / "ply_data_train0.h5", 50, seed=0)
    write_file(folder / "ply_data_train1.h5", TRAIN - 50, seed=1)
    with h5py.File(folder / "ply_data_train1.h5", "r+") as file:
        file["label"][:] = (39 - np.arange(50, TRAIN) % 40)[:, None]
    write_file(folder / "ply_data_test0.h5", TEST, seed=2)
    write_lists(folder)
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(ModelNet40, "releases", ((TRAIN, TEST), (TRAIN - 1, TEST)))
    monkeypatch.setattr(ModelNet10, "releases", ((20, 10),))
    monkeypatch.setattr(copies, "_ROWS_AT_ONCE", 16)


@pytest.fixture
def copy(good_copy, tmp_path):
    return Path(shutil.copytree(good_copy, tmp_path / "copy"))


@pytest.fixture
def train0(copy):
    return copy / "ply_data_train0.h5"


def refused(copy, *words):
    with pytest.raises(DataError) as caught:
        ModelNet40().import_from(copy, quiet)
    message = str(caught.value)
    for word in words:
        assert word in message
    assert len(message.splitlines()) <= 2
    assert not store.stored("modelnet40")
    assert not [path for path in store.data_root().glob("**/*") if path.suffix != ".lock"]


def change(path, key, values):
    with h5py.File(path, "r+") as file:
        if key in file:
            del file[key]
        if values is not None:
            file[key] = values


class TestImport:
    def test_keeps_every_cloud_as_it_stands(self, good_copy):
        told = []
        manifest = ModelNet40().import_from(good_copy, lambda *progress: told.append(progress))
        train, test, read = store.load_stored("modelnet40")
        assert read == manifest
        expected = np.concatenate([clouds(50, 0), clouds(TRAIN - 50, 1)])
        assert np.array_equal(train.points.numpy(), expected)
        assert np.array_equal(test.points.numpy(), clouds(TEST, 2))
        assert train.labels.tolist() == [39 - i % 40 for i in range(TRAIN)]
        assert test.labels.tolist() == [39 - i % 40 for i in range(TEST)]
        assert train.class_names == CLASSES
        assert told[-1] == (TRAIN + TEST, TRAIN + TEST)
        assert [done for done, _ in told] == sorted(done for done, _ in told)

    def test_writes_a_manifest(self, good_copy):
        manifest = ModelNet40().import_from(good_copy, quiet)
        written = json.loads((store.data_root() / "modelnet40" / "manifest.json").read_text())
        assert written["schema_version"] == 3
        assert written["class_names"] == list(CLASSES)
        assert (written["train"], written["test"], written["points"]) == (TRAIN, TEST, POINTS)
        names = ["ply_data_train0.h5", "ply_data_train1.h5", "ply_data_test0.h5"]
        assert [source["name"] for source in written["sources"]] == names
        assert len({source.sha256 for source in manifest.sources}) == 3

    def test_again_gives_the_same(self, good_copy):
        first = ModelNet40().import_from(good_copy, quiet)
        again = ModelNet40().import_from(good_copy, quiet)
        assert again.model_copy(update={"file": first.file}) == first

    def test_reads_flat_labels_and_doubles(self, copy, train0):
        with h5py.File(train0) as file:
            data, label = file["data"][()], file["label"][()]
        before = ModelNet40().import_from(copy, quiet)
        change(train0, "data", data.astype(">f8"))
        change(train0, "label", label[:, 0].astype(np.int64))
        assert ModelNet40().import_from(copy, quiet).content_hash == before.content_hash

    @pytest.mark.parametrize("sampling", ["farthest", "first", "random"])
    def test_chooses_1024_points_where_there_are_more(self, tmp_path, sampling):
        folder = tmp_path / "big"
        folder.mkdir()
        for name, count in (("train0", 40), ("train1", 40), ("test0", 40)):
            write_file(folder / f"ply_data_{name}.h5", count, seed=3, points=1100)
        write_lists(folder)
        options = store.ImportOptions(sampling=sampling)
        manifest = ModelNet40().import_from(folder, quiet, options)
        assert (manifest.points, manifest.sampling) == (1024, sampling)
        train, test, _ = store.load_stored("modelnet40")
        stand = torch.from_numpy(clouds(40, 3, 1100))
        if sampling == "random":
            assert all(
                set(map(tuple, b.tolist())) <= set(map(tuple, a.tolist()))
                for a, b in zip(stand[:2], train.points[:2], strict=True)
            )
            assert not torch.equal(train.points[:40], test.points)
            other = store.ImportOptions(sampling=sampling, seed=1)
            assert ModelNet40().import_from(folder, quiet, other).content_hash != manifest.content_hash
        else:
            whole = PointClouds(stand, torch.zeros(40, dtype=torch.int64), ("a",))
            assert torch.equal(train.points[:40], resample(whole, 1024, sampling).points)
        assert ModelNet40().import_from(folder, quiet, options).content_hash == manifest.content_hash
        assert ModelNet40().load(32).sampling == sampling

    def test_reports_clouds_that_stand_twice(self, copy, train0):
        data = clouds(50, 0)
        data[7], data[9] = data[3], clouds(TEST, 2)[5]
        change(train0, "data", data)
        manifest = ModelNet40().import_from(copy, quiet)
        assert manifest.duplicates == (("train 3", "train 7"), ("train 9", "test 5"))
        assert manifest.duplicated() == (1, 0, 1)

    def test_accepts_the_release_that_lacks_some(self, copy):
        path = copy / "ply_data_train1.h5"
        with h5py.File(path) as file:
            data, label = file["data"][:-1], file["label"][:-1]
        change(path, "data", data)
        change(path, "label", label)
        assert ModelNet40().import_from(copy, quiet).train == TRAIN - 1
        assert ModelNet40().load(16).standard

    def test_another_number_in_the_ten_classes_is_not_standard(self, good_copy, monkeypatch):
        ModelNet40().import_from(good_copy, quiet)
        assert ModelNet10().load(16).standard
        monkeypatch.setattr(ModelNet10, "releases", ((21, 10),))
        assert not ModelNet10().load(16).standard

    def test_of_the_ten_classes_imports_the_forty(self, good_copy):
        assert ModelNet10().import_from(good_copy, quiet).name == "modelnet40"
        assert ModelNet10().present()


class TestRefusal:
    def test_no_folder(self, tmp_path):
        refused(tmp_path / "nowhere", "nowhere", "no folder", "ply_data_train*.h5")

    @pytest.mark.parametrize(
        "name", ["shape_names.txt", "train_files.txt", "test_files.txt", "ply_data_train1.h5"]
    )
    def test_a_missing_file(self, copy, name):
        (copy / name).unlink()
        refused(copy, name, "missing", "fetch it again")

    @pytest.mark.parametrize("key", ["data", "label"])
    def test_a_missing_key(self, copy, train0, key):
        change(train0, key, None)
        refused(copy, "ply_data_train0.h5", repr(key), "fetch")

    @pytest.mark.parametrize(
        ("key", "values"),
        [
            ("data", np.zeros((50, POINTS, 2), np.float32)),
            ("data", np.zeros((50, POINTS * 3), np.float32)),
            ("data", np.zeros((50, POINTS, 3), bool)),
            ("data", np.zeros((50, POINTS, 3), "S4")),
            ("label", np.zeros((49, 1), np.uint8)),
            ("label", np.zeros((50, 2), np.uint8)),
            ("label", np.zeros((50, 1), bool)),
            ("label", np.zeros((), np.uint8)),
        ],
    )
    def test_a_wrong_shape_or_type(self, copy, train0, key, values):
        change(train0, key, values)
        refused(copy, "ply_data_train0.h5", repr(key), str(values.shape), "fetch")

    def test_too_few_points(self, copy, train0):
        change(train0, "data", np.zeros((50, 1023, 3), np.float32))
        refused(copy, "mixes clouds of 1023 and 1024 points")
        for name in ("train1", "test0"):
            change(copy / f"ply_data_{name}.h5", "data", clouds(30 if name == "train1" else 40, 0, 1023))
        change(train0, "data", clouds(50, 0, 1023))
        refused(copy, "ply_data_train0.h5", "'data' has 1023 points", "1024 or more")

    @pytest.mark.parametrize("label", [-1, 40, 2**40, 1.5, np.nan])
    def test_a_label_that_is_none(self, copy, train0, label):
        labels = np.zeros((50, 1), type(label))
        labels[33] = label
        change(train0, "label", labels)
        refused(copy, "ply_data_train0.h5", "cloud 33", "label outside 0 to 39")

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_coordinate_that_is_not_finite(self, copy, train0, value):
        data = clouds(50, 0).astype(np.float64)
        data[21, 5, 1] = value
        change(train0, "data", data)
        refused(copy, "ply_data_train0.h5", "cloud 21", "not finite")

    def test_a_cloud_that_was_never_written(self, copy, train0):
        data = clouds(50, 0)
        data[40] = 0
        change(train0, "data", data)
        refused(copy, "ply_data_train0.h5", "cloud 40", "all its points coincide")

    @pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.95])
    def test_a_truncated_file(self, copy, train0, share):
        content = train0.read_bytes()
        train0.write_bytes(content[: int(share * len(content))])
        refused(copy, "ply_data_train0.h5", "fetch it again")

    def test_a_damaged_chunk(self, copy, train0):
        content = bytearray(train0.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 4096] = bytes(4096)
        train0.write_bytes(content)
        refused(copy, "ply_data_train0.h5", "corrupt", "fetch it again")

    def test_wrong_counts(self, copy):
        (copy / "train_files.txt").write_text("data/x/ply_data_train0.h5\n")
        refused(copy, f"50/{TEST}", f"{TRAIN}/{TEST}", "incomplete or modified")

    def test_a_class_without_clouds(self, copy):
        with h5py.File(copy / "ply_data_test0.h5", "r+") as file:
            file["label"][0] = 0
        refused(copy, "no test cloud of xbox", "allow it to be incomplete")

    def test_other_classes(self, copy):
        names = list(CLASSES)
        names[3] = "throne"
        (copy / "shape_names.txt").write_text("\n".join(names))
        refused(copy, "shape_names.txt", "class 4", "'throne'", "'bench'")

    def test_too_few_classes(self, copy):
        (copy / "shape_names.txt").write_text("\n".join(CLASSES[:39]))
        refused(copy, "shape_names.txt", "class 40", "'xbox'")

    @pytest.mark.parametrize(
        "entry",
        ["../ply_data_train0.h5", "data/../../x.h5", "/etc/x.h5", "..\\x.h5", "shape_names.txt", ".."],
    )
    def test_a_list_that_leaves_the_folder(self, copy, entry):
        (copy / "train_files.txt").write_text(f"{entry}\n")
        refused(copy, "train_files.txt", repr(entry))

    def test_an_empty_list(self, copy):
        (copy / "test_files.txt").write_text("\n\n")
        refused(copy, "test_files.txt", "names no file")

    def test_a_file_named_twice(self, copy):
        (copy / "train_files.txt").write_text("a/ply_data_train0.h5\nb/ply_data_train0.h5\n")
        refused(copy, "train_files.txt", "twice")

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"a" * (1 << 17)])
    def test_a_list_that_is_no_list(self, copy, content):
        (copy / "train_files.txt").write_bytes(content)
        refused(copy, "train_files.txt", "fetch ")

    def test_files_of_different_numbers_of_points(self, copy):
        write_file(copy / "ply_data_test0.h5", TEST, seed=2, points=POINTS + 1)
        refused(copy, "1024 and 1025")

    def test_arrays_of_another_file(self, copy, train0, tmp_path):
        shutil.move(train0, tmp_path / "elsewhere.h5")
        with h5py.File(train0, "w") as file:
            for key in ("data", "label"):
                file[key] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), key)
        refused(copy, "ply_data_train0.h5", "lacks the array 'data'")

    def test_bytes_of_another_file(self, copy, train0, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(bytes(50 * POINTS * 12))
        with h5py.File(train0, "r+") as file:
            del file["data"]
            file.create_dataset("data", (50, POINTS, 3), "f4", external=[(str(secret), 0, 50 * POINTS * 12)])
        refused(copy, "ply_data_train0.h5", "lacks the array 'data'")

    def test_leaves_what_was_imported_before(self, copy, train0):
        before = ModelNet40().import_from(copy, quiet)
        change(train0, "label", None)
        with pytest.raises(DataError):
            ModelNet40().import_from(copy, quiet)
        assert store.load_stored("modelnet40")[2] == before


class TestLoad:
    @pytest.mark.parametrize("dataset", [ModelNet40, ModelNet10])
    def test_absent_says_how_to_get_it(self, dataset):
        assert not dataset().present()
        with pytest.raises(DataError) as caught:
            dataset().load(16)
        assert caught.value.exit_code == 3
        assert str(caught.value) == (
            f"{dataset.name} is not on this machine: run 'pcbench data fetch modelnet40' or, where you "
            "have a copy, 'pcbench data import modelnet40 PATH' with PATH "
            "a folder of its HDF5 files (ply_data_train*.h5, or train*.h5 with *_id2name.json), of resampled "
            "texts (modelnet40_normal_resampled) or of OFF meshes (<class>/train/*.off) ('pcbench docs data')"
        )

    def test_takes_the_first_points_and_normalises(self, good_copy):
        ModelNet40().import_from(good_copy, quiet)
        splits = ModelNet40().load(32)
        assert torch.equal(splits.test.points, unit_sphere(torch.from_numpy(clouds(TEST, 2)[:, :32])))
        assert splits.sampling == "first"
        assert splits.standard
        assert splits.train.class_names == CLASSES

    def test_ten_classes_in_the_order_of_the_card(self, good_copy):
        ModelNet40().import_from(good_copy, quiet)
        whole, part = ModelNet40().load(32), ModelNet10().load(32)
        names = [
            "bathtub",
            "bed",
            "chair",
            "desk",
            "dresser",
            "monitor",
            "night_stand",
            "sofa",
            "table",
            "toilet",
        ]
        assert part.train.class_names == TEN_CLASSES == tuple(names)
        for split, both in ((part.train, whole.train), (part.test, whole.test)):
            kept = [i for i, label in enumerate(both.labels.tolist()) if CLASSES[label] in names]
            assert torch.equal(split.points, both.points[kept])
            assert split.labels.tolist() == [names.index(CLASSES[both.labels[i]]) for i in kept]
        assert part.standard

    def test_hash_tells_data_sets_numbers_and_contents_apart(self, copy, train0):
        ModelNet40().import_from(copy, quiet)
        hashes = [d().load(n).content_hash for d in (ModelNet40, ModelNet10) for n in (16, 32)]
        assert ModelNet40().load(16).content_hash == hashes[0]
        data = clouds(50, 0)
        data[0, 0, 0] += 2**-13
        change(train0, "data", data)
        ModelNet40().import_from(copy, quiet)
        assert len({*hashes, ModelNet40().load(16).content_hash}) == 5

    def test_refuses_more_points_than_are_stored(self, good_copy):
        ModelNet40().import_from(good_copy, quiet)
        with pytest.raises(DataError, match="modelnet40 holds 1024 points a cloud, and 1025 are asked for"):
            ModelNet40().load(POINTS + 1)


class TestStore:
    """What stands in the store may have been damaged since."""

    @pytest.fixture
    def folder(self, good_copy):
        ModelNet40().import_from(good_copy, quiet)
        return store.data_root() / "modelnet40"

    @pytest.fixture
    def stored(self, folder):
        (path,) = folder.glob("clouds-*.h5")
        return path

    def refused(self, *words):
        with pytest.raises(DataError) as caught:
            ModelNet40().load(16)
        for word in (*words, "pcbench data import modelnet40 PATH"):
            assert word in str(caught.value)

    def test_changed_clouds(self, stored):
        with h5py.File(stored, "r+") as file:
            file["train/points"][0, 0, 0] = 0.5
        self.refused(stored.name, "content hash")

    def test_truncated_clouds(self, stored):
        content = stored.read_bytes()
        stored.write_bytes(content[:-1000])
        self.refused(stored.name)

    def test_no_group(self, stored):
        with h5py.File(stored, "r+") as file:
            del file["test"]
        self.refused(stored.name, "'test'")

    def test_clouds_of_another_import(self, stored, folder, copy, train0):
        before = stored.read_bytes()
        change(train0, "data", clouds(50, 7))
        ModelNet40().import_from(copy, quiet)
        assert not stored.exists()
        (stored,) = folder.glob("clouds-*.h5")
        stored.write_bytes(before)
        self.refused(stored.name, "manifest.json")

    def test_of_the_first_version_is_read_as_before(self, stored, folder):
        """Runs recorded with it keep their keys: the hash, the sampling and the variant stay."""
        now = ModelNet40().load(16)
        manifest = json.loads((folder / "manifest.json").read_text())
        for key in ("file", "sampling", "seed", "complete", "duplicates"):
            del manifest[key]
        (folder / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 1}))
        stored.rename(folder / "clouds.h5")
        before = ModelNet40().load(16)
        assert (before.content_hash, before.sampling) == (now.content_hash, "first")
        assert before.standard
        assert store.verify("modelnet40").content_hash == manifest["content_hash"]

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 2}', "\x00"])
    def test_a_damaged_manifest(self, folder, text):
        (folder / "manifest.json").write_text(text)
        self.refused("manifest.json")

    def test_claims_of_too_much_memory(self, stored):
        with h5py.File(stored, "r+") as file:
            for key in ("points", "labels"):
                del file["train"][key]
            file["train"].create_dataset("points", (10**9, 1024, 3), "<f4", chunks=(1, 1024, 3))
            file["train"].create_dataset("labels", (10**9,), "<i8", chunks=(1024,))
        self.refused("bytes")

    def test_an_absent_half_is_absent(self, stored):
        stored.unlink()
        assert not ModelNet40().present()

    def test_default_place_is_in_the_cache(self, monkeypatch, own_cache):
        monkeypatch.delenv("PCBENCH_DATA")
        assert store.data_root() == own_cache / "pcbench" / "data"
