"""Students of one data set tested on another: the classes that both have, and records that say so."""

import json
import shutil
from pathlib import Path

import layouts
import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import Splits
from pcbench.catalogue import open_catalogue
from pcbench.clouds import PointClouds, concatenate
from pcbench.datasets import importing, modelnet, shapenet
from pcbench.datasets.modelnet import ModelNet40
from pcbench.datasets.shapenet import ShapeNet55
from pcbench.engine import crossing, students
from pcbench.errors import DataError, UsageError
from pcbench.protocols.protocol import Recipe
from pcbench.protocols.variants import named, split
from pcbench.records import layout
from pcbench.records.store import read_run, read_runs, write_record
from pcbench.report.board import board as board_of
from pcbench.report.results import results
from pcbench.seeds import Streams

CLASSES = crossing.shared(CATALOGUE.datasets, "modelnet40", "shapenet55")
TINY = (
    "--ppc",
    "1",
    "--set",
    "points=16",
    "--set",
    "iterations=2",
    "--set",
    "recipe.epochs=1",
    "--seeds",
    "2",
)
RUN = ("run", "--method", "random", *TINY, "--dataset")


MINE = '''"""Mine."""

from pcbench.api import Archive, Dataset


class Mine(Dataset):
    """Two classes of my own."""

    name = "mine"
    variant = "drawn"
    up_axis = "y"
    classes = 2
    train_size = test_size = 4
    archive = Archive("mine.zip", ("https://example.org/mine.zip",), None)
    shares = {"shapes10": ("chair", "table")}

    def present(self):
        return False

    def how_to_get(self):
        return "run 'pcbench data fetch mine'"

    def load(self, points):
        raise NotImplementedError
'''


def quiet(done, total):
    pass


class TestClasses:
    def test_both_data_sets_have_the_sixteen(self):
        assert len(set(CLASSES)) == 16
        assert set(CLASSES) <= set(modelnet.CLASSES) & set(shapenet.SYNSETS.values())
        assert crossing.shared(CATALOGUE.datasets, "shapenet55", "modelnet40") == CLASSES

    @pytest.mark.parametrize("other", ["modelnet40", "scanobjectnn", "shapes10"])
    def test_of_other_pairs_are_not_known(self, other):
        with pytest.raises(UsageError, match="modelnet40 and shapenet55"):
            crossing.shared(CATALOGUE.datasets, "modelnet40", other)

    def test_a_data_set_of_ones_own_says_what_it_shares(self, tmp_path):
        (tmp_path / "mine.py").write_text(MINE)
        datasets = open_catalogue([tmp_path]).datasets
        assert crossing.shared(datasets, "mine", "shapes10") == ("chair", "table")
        assert crossing.shared(datasets, "shapes10", "mine") == ("chair", "table")

    def test_clouds_are_labelled_anew(self, few_clouds):
        part = crossing.narrowed(_splits(few_clouds), "few", ("round", "long"))
        assert part.test.class_names == ("round", "long")
        assert part.test.labels.tolist() == [1, 0] * 3
        kept = [
            cloud for cloud, label in zip(few_clouds.points, few_clouds.labels, strict=True) if label != 1
        ]
        assert torch.equal(part.test.points, torch.stack(kept))
        swapped = crossing.narrowed(_splits(few_clouds), "few", ("long", "round"))
        assert len({part.content_hash, swapped.content_hash, "0" * 64}) == 3

    def test_a_class_that_is_missing(self, few_clouds):
        with pytest.raises(DataError, match="few has no class 'flat'"):
            crossing.narrowed(_splits(few_clouds), "few", ("long", "flat"))


def _splits(clouds):
    return Splits(clouds, clouds, "0" * 64, "first")


def test_labels_name_the_data_set_and_what_else_is_changed():
    assert split("on=shapenet55+so3") == ("shapenet55", "so3")
    assert split("on=scanobjectnn:obj_bg") == ("scanobjectnn:obj_bg", "plain")
    assert split("points=512") == (None, "points=512")
    for label in ("on=shapenet55", "on=shapenet55+jitter:3", "on=shapenet55+points=512"):
        variant = named(label, "shapenet55", "y")
        assert (variant.label, variant.on) == (label, "shapenet55")
    with pytest.raises(UsageError, match="no such test"):
        named("on=shapenet55+on=modelnet40", "shapenet55", "y")


def test_students_choose_among_the_shared_classes_alone(pointnet, few_clouds):
    """A slow oracle: the logits of one cloud and one student at a time, of the shared classes."""
    streams = [Streams({"test": "crossing"}).within(repetition=r) for r in range(2)]
    recipe = Recipe(epochs=1, drop_after=1, batch=5)

    def build(generator):
        return pointnet.build(3, "paper", generator)

    network = students.train(build, few_clouds, recipe, streams).eval()
    answers = [2, 0]
    few = few_clouds.select(few_clouds.labels != 1)
    tested = PointClouds(few.points, (few.labels == 0).long(), ("round", "long"))
    many = concatenate([tested, tested])
    expected = torch.zeros(2, len(many), dtype=torch.int64)
    with torch.no_grad():
        for place, cloud in enumerate(many.points):
            logits = network(cloud.expand(2, 1, *cloud.shape))[:, 0]
            for student in range(2):
                best = max(range(2), key=lambda k: float(logits[student, answers[k]]))
                expected[student, place] = best
    assert torch.equal(students.predictions(network, many, 2, answers), expected)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store with one cloud a class and split of both data sets, in their owners' layouts."""
    folder = tmp_path_factory.mktemp("crossing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PCBENCH_DATA", str(folder / "data"))
        patch.setattr(importing, "_WORTH_PROCESSES", 10**6)
        patch.setattr(ModelNet40, "releases", ((40, 40),))
        patch.setattr(ShapeNet55, "releases", ((55, 55),))
        layouts.normal_resampled(folder / "modelnet")
        layouts.shapenet_hdf5(folder / "shapenet")
        ModelNet40().import_from(folder / "modelnet", quiet)
        ShapeNet55().import_from(folder / "shapenet", quiet)
        yield folder / "data"


class TestEvaluate:
    @pytest.fixture(autouse=True)
    def stored(self, data, monkeypatch):
        monkeypatch.setenv("PCBENCH_DATA", str(data))

    @pytest.mark.parametrize(
        ("trained", "tested"), [("modelnet40", "shapenet55"), ("shapenet55", "modelnet40")]
    )
    def test_both_ways(self, pcbench, trained, tested):
        assert pcbench(*RUN, trained).code == 0
        ((run,), _) = read_runs(Path("results"))
        asked = f"on={tested},on={tested}+so3,on={tested}+points=32"
        done = pcbench("evaluate", run.folder, "--test", asked, "--json")
        assert done.code == 0, done.err
        after, problems = read_run(run.folder)
        assert problems == []
        by_test = {record.inputs.variant.label: record for record in after.evaluations}
        assert set(by_test) == {"plain", *asked.split(",")}
        for label, record in by_test.items():
            if label == "plain":
                continue
            data = record.inputs.data
            assert (data.name, data.class_names) == (tested, list(CLASSES))
            assert data.variant.endswith(f"; 16 classes shared with {trained}")
            assert record.totals == [1] * 16
            assert record.inputs.variant.on == tested
            assert [sum(row) for row in record.confusion] == [2] * 16
        own = run.distillation.inputs.data
        assert by_test["plain"].inputs.data == own
        assert len({record.inputs.data.hash for record in after.evaluations}) == 3
        again = json.loads(pcbench("evaluate", run.folder, "--test", asked, "--json").out)["runs"]
        assert [each["reused"] for each in again] == [True]

    def test_tables_keep_it_apart(self, pcbench):
        pcbench(*RUN, "modelnet40")
        ((run,), _) = read_runs(Path("results"))
        pcbench("evaluate", run.folder, "--test", "on=shapenet55")
        runs, _ = read_runs(Path("results"))
        board = board_of(result for run in runs for result in results(run))
        found = [(each.setting.test, [place.name for place in each.places]) for each in board.sections]
        assert found == [("", ["modelnet40"]), ("on=shapenet55", ["modelnet40 → shapenet55"])]

    def test_a_record_that_hides_it_is_refused(self, pcbench):
        pcbench(*RUN, "modelnet40")
        ((run,), _) = read_runs(Path("results"))
        pcbench("evaluate", run.folder, "--test", "on=shapenet55")
        crossed = next(e for e in read_run(run.folder)[0].evaluations if e.inputs.variant.on)
        inputs = crossed.inputs.model_copy(update={"variant": named("plain", "modelnet40", "y")})
        write_record(
            layout.evaluation(run.folder, inputs.key),
            crossed.model_copy(update={"inputs": inputs, "key": inputs.key}),
        )
        after, problems = read_run(run.folder)
        assert len(after.evaluations) == 2
        assert "another data set" in problems[0]

    def test_data_that_does_not_go_together_is_refused(self, pcbench):
        assert pcbench("run", "--method", "random", *TINY).code == 0
        ((run,), _) = read_runs(Path("results"))
        done = pcbench("evaluate", run.folder, "--test", "on=shapenet55")
        assert done.code == 2
        assert "which classes it shares with shapes10 is not known" in done.err
        assert pcbench("evaluate", run.folder, "--test", "on=shapenet").code == 2

    def test_a_data_set_that_is_absent(self, pcbench, monkeypatch, data, tmp_path):
        pcbench(*RUN, "modelnet40")
        ((run,), _) = read_runs(Path("results"))
        shutil.copytree(data / "modelnet40", tmp_path / "store" / "modelnet40")
        monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "store"))
        done = pcbench("evaluate", run.folder, "--test", "on=shapenet55")
        assert done.code == 3
        assert "data import shapenet55 PATH" in done.err
