"""ScanObjectNN: every variant from its own files, under its own name; another one is refused by name."""

from __future__ import annotations

import h5py
import layouts
import pytest
from built_in import CATALOGUE
from imported import load, refused, same

from pcbench.datasets import scanobjectnn, store
from pcbench.engine import plan
from pcbench.errors import DataError
from pcbench.ops import draws

NAMES = tuple(layouts.SCANS)
HARDEST, SAMPLED = "scanobjectnn:pb_t50_rs", "scanobjectnn:sampled"
KINDS = {name: CATALOGUE.datasets.load(name) for name in NAMES}
KNOWN = [name for name, kind in KINDS.items() if kind.releases]


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    """One cloud a class and split is complete where numbers are known."""
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    for name in KNOWN:
        monkeypatch.setattr(KINDS[name], "releases", ((15, 15),))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "in" / "h5_files"


def of(name):
    """The data set of a name, as the catalogue has it."""
    return CATALOGUE.datasets.load(name)()


def test_the_catalogue_has_every_variant_and_the_papers_by_the_bare_name():
    listed = [name for name in CATALOGUE.datasets.names() if name.startswith("scanobjectnn")]
    assert listed == sorted(["scanobjectnn", *NAMES])
    assert {kind.name for kind in scanobjectnn.VARIANTS} == set(NAMES)
    assert len({kind.variant for kind in KINDS.values()}) == len(NAMES)
    assert all(of(name).classes == 15 for name in listed)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", ["..", ".", "folder"])
def test_each_variant_from_its_own_files(folder, name, where):
    written = layouts.scans(folder)
    dataset = of(name)
    train, test, manifest = load(
        dataset, folder / (dataset.folder if where == "folder" else where), sampling="first"
    )
    assert same(train, written[name]["train"][:, :1024])
    assert same(test, written[name]["test"][:, :1024])
    assert (manifest.name, manifest.variant) == (name, dataset.variant)
    assert [source.name for source in manifest.sources] == [
        file.partition("/")[2] for file in layouts.scan_files(name).values()
    ]
    assert store.stored_names() == [name]


def test_a_folder_that_one_stands_in(folder, monkeypatch):
    layouts.scans(folder, HARDEST)
    monkeypatch.chdir(folder / "main_split")
    assert load(of(HARDEST), folder.__class__("."))[2].name == HARDEST


@pytest.mark.parametrize("file", ["augmentedrot", "augmented50rot"])
def test_both_names_of_the_files_of_pb_t50_r(folder, file):
    layouts.scans(folder, "scanobjectnn:pb_t50_r")
    for path in folder.glob("*/*.h5"):
        path.rename(path.with_name(path.name.replace("augmentedrot", file)))
    assert load(of("scanobjectnn:pb_t50_r"), folder)[2].variant == "PB_T50_R"


@pytest.mark.parametrize("name", NAMES)
def test_another_variant_is_refused_by_name(folder, name):
    """With any other variant alone in the folder, and with all others."""
    others = [other for other in NAMES if other != name]
    wanted = layouts.scan_files(name)["train"].replace("augmented50rot", "augmentedrot")
    layouts.scans(folder, others[0])
    refused(of(name), folder, f"holds {others[0]} and no {name}, {wanted}", "give the folder h5_files")
    layouts.scans(folder, *others)
    refused(of(name), folder, *others, f"and no {name}", allow_incomplete=True)


def test_files_that_carry_the_names_of_another_variant(folder, monkeypatch):
    """By their counts: three clouds a class make one variant, one cloud the other."""
    monkeypatch.setattr(KINDS[HARDEST], "releases", ((45, 15),))
    layouts.scans(folder, "scanobjectnn:obj_bg")
    for path in folder.glob("*/*.h5"):
        path.rename(path.with_name(path.name.replace(".h5", "_augmentedrot_scale75.h5")))
    words = (f"15/15 training/test clouds under the file names of {HARDEST}", "scanobjectnn:obj_bg")
    refused(of(HARDEST), folder, *words)
    refused(of(HARDEST), folder, *words, allow_incomplete=True)


def test_nothing_of_it(folder):
    folder.mkdir(parents=True)
    refused(of("scanobjectnn:obj_only"), folder, "main_split_nobg/training_objectdataset.h5", "does not hold")
    refused(of("scanobjectnn:obj_only"), folder / "no", "no folder", "main_split_nobg")


def test_the_bare_name_is_the_papers_variant_which_stores_and_records_name_in_full(folder):
    written = layouts.scans(folder)
    bare = of("scanobjectnn")
    assert not bare.present()
    with pytest.raises(
        DataError, match=r"scanobjectnn is not on this machine: .*data import scanobjectnn PATH"
    ):
        bare.load(16)
    train, _, manifest = load(bare, folder, sampling="first")
    assert same(train, written[HARDEST]["train"][:, :1024])
    assert (manifest.name, store.stored_names()) == (HARDEST, [HARDEST])
    assert "PB_T50_RS" in bare.variant
    assert HARDEST in bare.variant
    by_name = [
        plan.cells(CATALOGUE, plan.Request(("random",), (name,), (1,), protocol="quick"))[0].inputs
        for name in ("scanobjectnn", HARDEST)
    ]
    assert [inputs.data.name for inputs in by_name] == [HARDEST, HARDEST]
    assert by_name[0].data.variant == "PB_T50_RS"
    assert by_name[0].key == by_name[1].key


def test_a_copy_that_was_stored_when_the_bare_name_meant_another_variant_is_not_taken_for_it(folder):
    layouts.scans(folder, "scanobjectnn:obj_only")
    load(of("scanobjectnn:obj_only"), folder)
    root = store.data_root()
    (root / "scanobjectnn@obj_only").rename(root / "scanobjectnn")
    assert not of("scanobjectnn").present()
    assert of("scanobjectnn").manifest() is None


def test_the_authors_own_files_are_marked_as_unofficial(folder):
    layouts.scans(folder, SAMPLED)
    _, _, manifest = load(of(SAMPLED), folder)
    assert "unofficial" in manifest.variant
    assert manifest.complete
    splits = of(SAMPLED).load(16)
    assert not splits.standard
    assert len(draws.authors(splits.train, 1, splits.official_order)) == 15


def test_the_authors_own_files_are_known_by_their_counts(folder, monkeypatch):
    monkeypatch.setattr(KINDS[SAMPLED], "releases", ((11416, 2882),))
    layouts.scans(folder, SAMPLED)
    refused(of(SAMPLED), folder, "15/15 training/test clouds", "sampled")


@pytest.mark.parametrize("name", NAMES)
def test_which_variants_are_standard(folder, name):
    """The official ones whose numbers of clouds are known, in the official order."""
    layouts.scans(folder, name)
    load(of(name), folder)
    splits = of(name).load(16)
    assert splits.standard == (name in KNOWN and name != SAMPLED)
    assert splits.official_order == (name in KNOWN)


def test_class_order_is_that_of_the_card(folder):
    layouts.scans(folder, "scanobjectnn:obj_only")
    train, _, _ = load(of("scanobjectnn:obj_only"), folder)
    card = "bag bin box cabinet chair desk display door shelf table bed pillow sink sofa toilet"
    assert " ".join(train.class_names) == card
    assert scanobjectnn.CLASSES == train.class_names != tuple(sorted(train.class_names))


def test_faults_in_the_files(folder):
    layouts.scans(folder, "scanobjectnn:obj_only")
    path = folder / "main_split_nobg" / "test_objectdataset.h5"
    only = of("scanobjectnn:obj_only")
    with h5py.File(path, "r+") as file:
        file["label"][3] = 15
    refused(only, folder, "test_objectdataset.h5", "cloud 3", "outside 0 to 14")
    with h5py.File(path, "r+") as file:
        del file["label"]
    refused(only, folder, "test_objectdataset.h5", "'label'")
    path.unlink()
    refused(only, folder, "test_objectdataset.h5", "missing")


def test_says_where_its_terms_are():
    for name in ("scanobjectnn", *NAMES):
        assert "hkust-vgd.github.io/scanobjectnn" in of(name).how_to_get()
        assert f"pcbench data import {name} PATH" in of(name).how_to_get()
