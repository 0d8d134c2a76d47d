"""A user's own data: every way that people lay them out, what is left of them, and names of their own."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import h5py
import layouts
import numpy as np
import pytest
from imported import load, quiet, refused
from typer.testing import CliRunner

from pcbench.catalogue import open_catalogue
from pcbench.cli.data import app
from pcbench.datasets import store
from pcbench.datasets.folder import Folder
from pcbench.datasets.store import ImportOptions, Own, TreeOptions
from pcbench.errors import DataError, UsageError

CLASSES = ("gear", "bearing")


@pytest.fixture(autouse=True)
def root(monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def save(path, seed, points=1024):
    path.parent.mkdir(parents=True, exist_ok=True)
    cloud = layouts.points(1, seed, points)[0]
    np.save(path, cloud)
    return cloud


def tree(folder, pattern, splits=("train", "test"), each=2):
    """Clouds of two classes at places such as "{split}/{name}/{i}.npy"; what was written, by its place."""
    written = {}
    places = [(name, split, i) for name in CLASSES for split in splits for i in range(each)]
    for seed, (name, split, i) in enumerate(places):
        place = pattern.format(name=name, split=split, i=i if "{split}" in pattern else seed)
        written[place] = save(folder / place, seed)
    return written


def own(**how):
    return {"tree": TreeOptions(**how)}


def holds(manifest, *words):
    assert len(manifest.notes) == len(words)
    for note, word in zip(manifest.notes, words, strict=True):
        assert word in note


class TestTrees:
    @pytest.mark.parametrize(
        "pattern",
        [
            "{name}/{split}/{i}.npy",
            "{split}/{name}/{i}.npy",
            "archive/v2/{name}/{split}/{i}.npy",
            "v1/{split}/{name}/{i}.npy",
        ],
    )
    @pytest.mark.parametrize("splits", [("train", "test"), ("Train", "Test"), ("training", "TESTING")])
    def test_splits_stand_inside_or_outside_of_classes_in_any_case(self, tmp_path, pattern, splits):
        written = tree(tmp_path / "in", pattern, splits)
        train, test, manifest = load(Folder(), tmp_path / "in")
        assert train.class_names == ("bearing", "gear")
        for clouds, split in ((train, splits[0]), (test, splits[1])):
            assert clouds.labels.tolist() == [0, 0, 1, 1]
            places = [
                pattern.format(name=name, split=split, i=i) for name in ("bearing", "gear") for i in (0, 1)
            ]
            assert np.array_equal(clouds.points.numpy(), [written[place] for place in places])
        holds(manifest)

    def test_classes_may_be_called_as_splits_are(self, tmp_path):
        for name in ("train", "bus"):
            for split in ("train", "test"):
                save(tmp_path / "in" / name / split / "a.npy", len(name + split))
        assert load(Folder(), tmp_path / "in")[0].class_names == ("bus", "train")

    def test_classes_alone_need_a_share_which_is_drawn_of_each(self, tmp_path):
        tree(tmp_path / "in", "{name}/{i}.npy", each=5)
        refused(
            Folder(),
            tmp_path / "in",
            "20 clouds of 2 classes (bearing, gear)",
            "share of every class",
        )
        train, test, manifest = load(Folder(), tmp_path / "in", **own(test_share=0.2))
        assert (train.labels.tolist(), test.labels.tolist()) == ([0] * 8 + [1] * 8, [0, 0, 1, 1])
        holds(manifest, "a share of 0.2 of every class, drawn with seed 0")
        again, other = (
            Folder().import_from(
                tmp_path / "in",
                quiet,
                ImportOptions(seed=seed, replace=True, tree=TreeOptions(test_share=0.2)),
            )
            for seed in (0, 1)
        )
        assert again.content_hash == manifest.content_hash != other.content_hash

    def test_a_share_is_refused_where_there_are_splits(self, tmp_path):
        tree(tmp_path / "in", "{name}/{split}/{i}.npy")
        refused(Folder(), tmp_path / "in", "has splits of its own", **own(test_share=0.2))

    @pytest.mark.parametrize(("goes", "sizes"), [("train", (8, 4)), ("test", (4, 8)), ("apart", (4, 4))])
    def test_clouds_for_validation_go_where_they_are_told_to(self, tmp_path, goes, sizes):
        tree(tmp_path / "in", "{name}/{split}/{i}.npy", ("train", "val", "test"))
        refused(Folder(), tmp_path / "in", "4 clouds for validation", "say whether they go")
        train, test, manifest = load(Folder(), tmp_path / "in", **own(validation=goes))
        assert (len(train), len(test)) == sizes
        holds(manifest, "4 clouds for validation")


class TestWhatIsNotTaken:
    @pytest.fixture
    def folder(self, tmp_path):
        tree(tmp_path / "in", "{name}/{split}/{i}.npy")
        return tmp_path / "in"

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("gear/train/9.las", "1 .las (gear/train/9.las)"),
            ("pump/train/9.las", "1 .las (pump/train/9.las)"),
            ("gear/train/9.h5.gz", "1 .h5.gz (gear/train/9.h5.gz)"),
            ("gear/dev/9.npy", "1 .npy (gear/dev/9.npy)"),
            ("gear/9.npy", "1 .npy (gear/9.npy)"),
            ("gear/train/deeper/9.npy", "1 .npy (gear/train/deeper/9.npy)"),
            ("pump/", "1 empty folder (pump)"),
        ],
    )
    def test_is_named_and_refused_unless_it_is_allowed(self, folder, place, words):
        path = folder / place
        path.mkdir() if place.endswith("/") else save(path, 9)
        if path.with_name(f"{path.name}.npy").exists():
            path.with_name(f"{path.name}.npy").rename(path)
        refused(Folder(), folder, "not taken", words)
        manifest = load(Folder(), folder, allow_incomplete=True)[2]
        holds(manifest, words)
        ignored = store.ImportOptions(replace=True, **own(ignore=(f"*{path.name}", "deeper", "pump/")))
        manifest = Folder().import_from(folder, quiet, ignored)
        assert (manifest.train, manifest.test) == (4, 4)

    def test_papers_and_pictures_are_left_out_and_counted(self, folder):
        for name in (
            "README.txt",
            "gear/LICENSE",
            "gear/train/0.mtl",
            "gear/train/skin.PNG",
            ".DS_Store",
            "notes.md",
        ):
            (folder / name).write_text("not a cloud")
        (folder / "__MACOSX" / "gear" / "train").mkdir(parents=True)
        (folder / "__MACOSX" / "gear" / "train" / "._0.npy").write_bytes(b"\x00")
        train, _, manifest = load(Folder(), folder)
        assert len(train) == 4
        holds(manifest, "left out as no clouds: 1 .txt (README.txt), 1 without suffix (gear/LICENSE), 1 .mtl")

    def test_a_text_that_is_no_cloud_is_named_with_what_to_do(self, folder):
        (folder / "gear" / "train" / "61_labels.txt").write_text("leg\nseat\n")
        refused(Folder(), folder, "61_labels.txt:2: 'seat' is no number", "leave it out")
        assert load(Folder(), folder, **own(ignore=("*_labels.txt",)))[2].notes

    def test_what_was_seen_is_told_where_nothing_fits(self, tmp_path):
        for i in range(3):
            save(tmp_path / "in" / "oak" / f"{i}", i)
            (tmp_path / "in" / "oak" / f"{i}.npy").rename(tmp_path / "in" / "oak" / f"{i}.las")
        refused(
            Folder(), tmp_path / "in", "no clouds that pcbench knows", "3 .las (first: oak/0.las)", ".pcd"
        )

    def test_all_classes_that_lack_a_split_are_named_before_anything_is_read(self, folder):
        for place in ("pump/train/a.npy", "valve/train/a.npy"):
            save(folder / place, 3)
        (folder / "gear" / "train" / "0.npy").write_bytes(b"broken")
        refused(Folder(), folder, "no test cloud of pump, valve", "allow it to be incomplete")

    @pytest.mark.parametrize("name", ["a.zip", "a.tar.gz", "b.7z"])
    def test_an_archive_is_to_be_unpacked(self, tmp_path, name):
        (tmp_path / name).write_bytes(b"PK")
        refused(Folder(), tmp_path / name, "is an archive: unpack it")


class TestLists:
    def test_of_modelnet_s_kind_with_own_classes(self, tmp_path):
        folder = tmp_path / "in"
        cloud = layouts.points(1, 0)[0]
        for name, number in (("oak", 1), ("oak", 2), ("sea_pine", 1), ("sea_pine", 2)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            np.savetxt(folder / name / f"{name}_{number:04}.txt", cloud * number, "%.9g", delimiter=",")
        (folder / "trees_train.txt").write_text("oak_0001\nsea_pine_0001\n")
        (folder / "trees_test.txt").write_text("oak_0002\nsea_pine/sea_pine_0002.txt\n")
        (folder / "trees_shape_names.txt").write_text("oak\nsea_pine\n")
        train, test, manifest = load(Folder(), folder)
        assert train.class_names == ("oak", "sea_pine")
        assert np.array_equal(train.points[1].numpy(), cloud)
        assert np.array_equal(test.points[0].numpy(), cloud * 2)
        holds(manifest)
        (folder / "trees_train.txt").write_text("oak_0001\n")
        with pytest.raises(DataError, match=r"not taken: 1 \.txt \(sea_pine/sea_pine_0001\.txt\)"):
            Folder().import_from(folder, quiet, ImportOptions(replace=True))

    @pytest.mark.parametrize("entry", ["/etc/passwd", "../a/b", "a\\b"])
    def test_never_lead_out_of_the_folder(self, tmp_path, entry):
        save(tmp_path / "in" / "oak" / "oak_1.npy", 0)
        for split in ("train", "test"):
            (tmp_path / "in" / f"{split}.txt").write_text(entry)
        refused(Folder(), tmp_path / "in", "train.txt:1:", "leaves the folder")
        table = tmp_path / "in" / "list.json"
        table.write_text(json.dumps([{"file": f"/{entry}", "class": "a"}]))
        refused(Folder(), table, "entry 1", "leaves the folder")

    @pytest.mark.parametrize("kind", ["csv", "semicolons", "json"])
    def test_tables_of_file_class_and_split(self, tmp_path, kind):
        rows = []
        for i, split in enumerate(("train", "test", "train", "test")):
            save(tmp_path / "scans" / f"{i}.npy", i)
            rows.append({"path": f"scans/{i}.npy", "label": f"{i // 2 + 9}", "split": split})
        path = tmp_path / ("list.json" if kind == "json" else "list.csv")
        lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
        text = "\n".join(lines) if kind == "semicolons" else "\n".join(lines).replace(";", ",")
        path.write_text(json.dumps(rows) if kind == "json" else f"\ufeff{text}\n", encoding="utf-8")
        train, test, _ = load(Folder(), path)
        assert train.class_names == ("10", "9")
        assert np.array_equal(train.points[1].numpy(), layouts.points(1, 0)[0])
        assert test.labels.tolist() == [0, 1]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("file,klass\na.npy,x\n", ("entry 1 has no class", "file, klass")),
            ("file,class,split\na.npy,x,dev\n", ("entry 1", "'dev'")),
            ("file,class,split\na.npy,x,train\nb.npy,y,\n", ("1 of 2 entries have no split",)),
            ("file,class,split\na.npy,x,train\nb.npy,x,test\n", ("b.npy", "not there")),
            ("file,class,split\na.npy,x,train\na.npy,x,test\n", ("1 files twice",)),
            ("", ("lists no clouds",)),
        ],
    )
    def test_faults_of_a_table(self, tmp_path, text, words):
        save(tmp_path / "a.npy", 0)
        (tmp_path / "list.csv").write_text(text)
        refused(Folder(), tmp_path / "list.csv", "list.csv", *words)


class TestHdf5:
    @pytest.fixture
    def file(self, tmp_path):
        path = tmp_path / "all.h5"
        with h5py.File(path, "w") as file:
            file["points"] = np.tile(layouts.points(8, 0), (1, 1, 2))
            file["label"] = (np.arange(8) % 2).astype(np.float64)
            file["split"] = np.array([b"train"] * 4 + [b"Test"] * 4)
            file["class_names"] = ["gear", "bearing"]
        return path

    def test_columns_beyond_three_and_whole_floats_as_labels(self, file):
        train, test, _ = load(Folder(), file)
        assert np.array_equal(train.points.numpy(), layouts.points(8, 0)[:4])
        assert test.labels.tolist() == [0, 1, 0, 1]

    @pytest.mark.parametrize(
        ("key", "shape", "kind"),
        [
            ("class_names", (2,), "S1000000000"),
            ("class_names", (9999,), "S1000000"),
            ("split", (8,), "S1000000000"),
            ("split", (1_000_000_000,), h5py.string_dtype()),
            ("points", (8, 4_000_000, 4_000_000), "<f4"),
            ("points", (2_000_000_000, 1024, 3), "<f4"),
        ],
    )
    def test_a_short_file_that_claims_to_hold_much_is_refused(self, file, key, shape, kind):
        with h5py.File(file, "r+") as content:
            del content[key]
            content.create_dataset(key, shape, kind, chunks=tuple(min(n, 3) for n in shape))
        assert file.stat().st_size < 1 << 20
        tracemalloc.start()
        try:
            refused(Folder(), file, key, "mend")
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()

    def test_a_share_stands_in_for_the_splits(self, file):
        with h5py.File(file, "r+") as content:
            del content["split"]
        refused(Folder(), file, "lacks split", "there are class_names, label, points")
        train, test, _ = load(Folder(), file, **own(test_share=0.25))
        assert (sorted(train.labels.tolist()), sorted(test.labels.tolist())) == ([0] * 3 + [1] * 3, [0, 1])

    @pytest.mark.parametrize("kind", ["lists", "id2name"])
    def test_pointnet_s_layouts_with_own_classes(self, tmp_path, kind):
        folder = tmp_path / "in"
        labels = np.array([[0], [1], [1], [0]], np.uint8)
        for seed, split in enumerate(("train", "test")):
            stem = f"ply_data_{split}0" if kind == "lists" else f"{split}0"
            layouts.write_h5(folder / f"{stem}.h5", layouts.points(4, seed), labels)
            (folder / f"{split}_files.txt").write_text(f"data/x/{stem}.h5\n")
            if kind == "id2name":
                (folder / f"{split}_files.txt").unlink()
                (folder / f"{stem}_id2name.json").write_text(json.dumps([CLASSES[i] for i in labels[:, 0]]))
        if kind == "lists":
            (folder / "shape_names.txt").write_text("gear\nbearing\n")
        train, test, _ = load(Folder(), folder)
        assert train.class_names == CLASSES
        assert np.array_equal(test.points.numpy(), layouts.points(4, 1))
        assert train.labels.tolist() == [0, 1, 1, 0]


class TestPoints:
    @pytest.fixture
    def folder(self, tmp_path):
        """Clouds of 100 to 400 points."""
        for i, split in enumerate(("train", "train", "test", "test")):
            save(tmp_path / "in" / "gear" / split / f"{i}.npy", i, 100 * (i + 1))
        return tmp_path / "in"

    @pytest.mark.parametrize("sampling", ["first", "random", "farthest"])
    def test_fewer_than_1024_are_stored_as_the_smallest_cloud_has_them(self, folder, sampling):
        train, test, manifest = load(Folder(), folder, sampling=sampling)
        assert manifest.points == train.points_per_cloud == test.points_per_cloud == 100
        holds(manifest, "100 points a cloud are stored instead of 1024: gear/train/0.npy has no more")
        for clouds, seeds in ((train, (0, 1)), (test, (2, 3))):
            for cloud, seed in zip(clouds.points.numpy(), seeds, strict=True):
                whole = layouts.points(1, seed, 100 * (seed + 1))[0]
                assert {*map(tuple, cloud.tolist())} <= {*map(tuple, whole.tolist())}
                assert len(np.unique(cloud, axis=0)) == 100
                assert sampling != "first" or np.array_equal(cloud, whole[:100])
        assert Folder().load(64).train.points_per_cloud == 64
        with pytest.raises(DataError, match="folder holds 100 points a cloud, and 256 are asked for"):
            Folder().load(256)

    def test_or_are_repeated_where_that_is_asked_for(self, folder):
        train, _, manifest = load(Folder(), folder, repeat=True, sampling="first")
        assert (manifest.points, manifest.repeated) == (1024, 4)
        whole = layouts.points(1, 0, 100)[0]
        assert np.array_equal(train.points[0].numpy(), np.tile(whole, (11, 1))[:1024])
        holds(manifest, "4 clouds have fewer than 1024 points, and repeat them")
        assert Folder().load(512).sampling == "first+repeated"

    def test_a_number_that_is_asked_for_holds_for_all(self, folder):
        refused(
            Folder(), folder, "gear/train/0.npy has 100 points", "store fewer points, or repeat", points=150
        )
        assert load(Folder(), folder, points=80)[2].points == 80

    def test_of_hardly_any_points_is_no_cloud(self, folder):
        save(folder / "gear" / "train" / "9.npy", 9, 40)
        refused(Folder(), folder, "gear/train/9.npy has 40 points, and a cloud 64 or more")

    def test_dense_clouds_are_kept_and_their_beginning_is_as_ever(self, tmp_path):
        tree(tmp_path / "in", "{name}/{split}/{i}.npy")
        for seed, path in enumerate(sorted((tmp_path / "in").rglob("*.npy"))):
            save(path, seed, 3000)
        dense, _, manifest = load(Folder(), tmp_path / "in", points=2048)
        assert (manifest.points, manifest.sampling) == (2048, "farthest")
        few, _, _ = load(Folder(), tmp_path / "in", replace=True)
        assert np.array_equal(dense.points[:, :1024].numpy(), few.points.numpy())


class TestNames:
    @pytest.fixture
    def folders(self, tmp_path):
        for number in (1, 2):
            tree(tmp_path / f"in{number}", "{name}/{split}/{i}.npy")
            save(tmp_path / f"in{number}" / "gear" / "train" / "0.npy", 50 + number)
        return tmp_path / "in1", tmp_path / "in2"

    def test_two_sets_stand_side_by_side_as_plugins_do(self, folders, root):
        for folder, name in zip(folders, ("trees", "machines"), strict=True):
            options = ImportOptions(own=Own(up_axis="z", licence="CC-BY-4.0"), tree=TreeOptions(name=name))
            Folder().import_from(folder, quiet, options)
        datasets = open_catalogue().datasets
        assert {"trees", "machines", "folder"} <= {*datasets.names()}
        assert datasets.own() == ["machines", "trees"]
        trees = datasets.load("trees")
        assert (trees.name, trees.up_axis, trees.classes, trees.train_size) == ("trees", "z", 2, 4)
        assert not trees.redistributable
        assert not trees().load(64).standard
        assert datasets.get("trees").literal("up_axis") == "z"
        assert datasets.get("trees").literal("redistributable") is False
        assert not datasets.get("trees").built_in
        assert trees().load(64).content_hash != datasets.load("machines")().load(64).content_hash
        assert store.read_manifest("trees").own.licence == "CC-BY-4.0"
        store.remove("trees")
        assert open_catalogue().datasets.own() == ["machines"]
        assert [path.name for path in root.glob("*/manifest.json")] == ["manifest.json"]

    def test_a_name_is_replaced_only_by_wish(self, folders):
        first = Folder().import_from(folders[0], quiet)
        with pytest.raises(DataError, match="folder is in the store already") as caught:
            Folder().import_from(folders[1], quiet)
        assert caught.value.things == ("own name", "replaced data")
        assert store.verify("folder") == first
        assert (
            Folder().import_from(folders[1], quiet, ImportOptions(replace=True)).content_hash
            != first.content_hash
        )

    @pytest.mark.parametrize("name", ["", "../x", "a b", "a:b", ".hidden", "a" * 101])
    def test_odd_names_are_refused(self, folders, name):
        with pytest.raises(UsageError, match="is no name of a data set"):
            Folder().import_from(folders[0], quiet, ImportOptions(tree=TreeOptions(name=name)))

    def test_a_damaged_manifest_hides_no_other_data_set(self, root):
        (root / "trees").mkdir(parents=True)
        for content in (b"", b"[]", b'{"own": 3}', b"\xff", b'{"own": {"up_axis": "z"}}'):
            (root / "trees" / "manifest.json").write_bytes(content)
            datasets = open_catalogue().datasets
            assert "shapes10" in datasets.names()
        assert datasets.own() == ["trees"]
        assert "not a readable manifest" in next(p.error for p in datasets.plugins() if p.name == "trees")

    def test_a_plugin_of_the_same_name_is_told(self, folders, tmp_path):
        Folder().import_from(folders[0], quiet, ImportOptions(own=Own(), tree=TreeOptions(name="trees")))
        plugins = tmp_path / "plugins"
        plugins.mkdir()
        (plugins / "trees.py").write_text(
            'from pcbench.api import Dataset\n\n\nclass Trees(Dataset):\n    name = "trees"\n'
        )
        with pytest.raises(UsageError, match="two data sets are called 'trees'"):
            open_catalogue([plugins]).datasets.names()


class TestCommands:
    def call(self, *words):
        return CliRunner().invoke(app, [str(word) for word in words])

    def test_from_import_to_removal(self, tmp_path, root):
        tree(tmp_path / "in", "{name}/{i}.npy", each=3)
        words = ("import", "folder", tmp_path / "in", "--name", "trees")
        done = self.call(*words, "--up", "z", "--licence", "CC0", "--test-share", "0.3", "--points", 512)
        assert done.exit_code == 0, done.output
        assert f"imported trees: 8 training and 4 test clouds of 512 points, in {root}" in done.stdout
        assert "licence CC0" in done.stdout
        rows = {row["name"]: row for row in json.loads(self.call("list", "--json").stdout)}
        assert rows["trees"]["up_axis"] == "z"
        assert rows["trees"]["state"] == "present"
        assert (rows["trees"]["train"], rows["trees"]["test"]) == (8, 4)
        assert self.call("verify", "trees").exit_code == 0
        assert "removed trees" in self.call("remove", "trees").stdout
        assert not store.stored_names()

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("folder", "--name", "ModelNet40"), "--name ModelNet40: modelnet40 is another data set"),
            (("folder", "--name", "shapes10"), "shapes10 is another data set"),
            (("folder", "--up", "z"), "--up and --licence go with --name"),
            (("modelnet40", "--name", "x"), "--name is for data of your own"),
            (("modelnet40", "--test-share", "0.2"), "--test-share is for data of your own"),
            (("modelnet40", "--ignore", "*.md"), "--ignore is for data of your own"),
        ],
    )
    def test_options_that_do_not_go_together(self, tmp_path, words, said):
        done = self.call("import", words[0], tmp_path, *words[1:])
        assert isinstance(done.exception, UsageError)
        assert said in str(done.exception)


def test_gzip_of_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pcbench.datasets.formats.MAX_BYTES", 1000)
    for split in ("train", "test"):
        path = Path(tmp_path / "in" / "a" / split / "a.txt.gz")
        path.parent.mkdir(parents=True)
        path.write_bytes(gzip.compress(b"0" * 100_000))
    refused(Folder(), tmp_path / "in", "a.txt.gz unpacks to more than 1000 bytes")
