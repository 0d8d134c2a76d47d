"""`pcbench evaluate` from the words of a user to records beside those of the run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from report_records import a_run

from pcbench.engine import parts, students
from pcbench.ops.sampling import resample
from pcbench.records.models import Run
from pcbench.records.store import read_run, read_runs

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
OTHER = "pointnet:canonical"


@pytest.fixture
def run(pcbench) -> Run:
    """A finished run of random selection, by a custom protocol."""
    assert pcbench("run", "--method", "random", *TINY).code == 0
    ((done,), _) = read_runs(Path("results"))
    return done


def test_students_of_another_network_stand_beside_the_first(pcbench, run):
    before = (run.folder / "distillation.json").read_bytes()
    done = pcbench("evaluate", run.folder, "--backbone", OTHER)
    assert done.code == 0, done.err
    assert f"random on shapes10, PPC 1 → {OTHER}" in done.err
    assert OTHER in done.out
    after, problems = read_run(run.folder)
    assert problems == []
    assert {e.inputs.network.label for e in after.evaluations} == {"pointnet:paper", OTHER}
    first, second = (e.inputs for e in after.evaluations)
    assert (first.protocol, first.distillation, first.data) == (
        second.protocol,
        second.distillation,
        second.data,
    )
    assert (run.folder / "distillation.json").read_bytes() == before
    assert "done already" in pcbench("evaluate", run.folder, "--backbone", OTHER).err


def test_what_is_there_is_not_trained_again(pcbench, run):
    pcbench("evaluate", run.folder, "--backbone", OTHER)
    again = json.loads(pcbench("evaluate", run.folder, "--backbone", f"pointnet,{OTHER}", "--json").out)[
        "runs"
    ]
    assert [entry["reused"] for entry in again] == [True, True]
    assert [entry["student"] for entry in again] == ["pointnet:paper", OTHER]


def test_students_are_trained_once_for_all_tests_that_are_missing(pcbench, run, monkeypatch):
    trainings = []
    train = students.train

    def counted(*words, **named):
        trainings.append(words)
        return train(*words, **named)

    monkeypatch.setattr(students, "train", counted)
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    asked = ("--test", "up", "--test", "so3,jitter:1,points=32")
    done = pcbench("evaluate", run.folder, *asked)
    assert done.code == 0, done.err
    assert len(trainings) == 1
    assert "test up, so3, jitter:1, points=32" in done.err
    assert " points=32 " in done.out
    after, problems = read_run(run.folder)
    assert problems == []
    by_test = {e.inputs.variant.label: e for e in after.evaluations}
    assert set(by_test) == {"plain", "up", "so3", "jitter:1", "points=32"}
    assert by_test["points=32"].inputs.data.points == 32
    assert by_test["so3"].inputs.data == by_test["plain"].inputs.data
    assert by_test["up"].inputs.variant.axis == "y"
    assert all(e.trained == [0] for e in after.evaluations)
    assert {path: path.read_bytes() for path in before} == before
    again = pcbench("evaluate", run.folder, *asked, "--test", "plain", "--json")
    (entry,) = json.loads(again.out)["runs"]
    labels = [e["inputs"].get("variant", {"kind": "plain"})["kind"] for e in entry["evaluations"]]
    assert (entry["reused"], labels) == (True, ["up", "so3", "jitter", "points", "plain"])
    assert len(trainings) == 1
    pcbench("evaluate", run.folder, "--test", "so3,scale:5")
    assert len(trainings) == 2
    assert len(read_run(run.folder)[0].evaluations) == 6


def test_scores_of_one_test_are_not_those_of_another(pcbench, run):
    pcbench("evaluate", run.folder, "--test", "so3,points=16")
    by_test = {e.inputs.variant.label: e.snapshots for e in read_run(run.folder)[0].evaluations}
    assert by_test["points=16"] == by_test["plain"]
    assert by_test["so3"] != by_test["plain"]
    shutil.copytree(run.folder, "results/copy")
    for path in Path("results/copy").glob("evaluation-*.json"):
        if '"kind": "points"' not in path.read_text():
            path.unlink()
    pcbench("evaluate", "results/copy", "--test", "plain,so3")
    copies = read_run(Path("results/copy"))[0].evaluations
    assert {e.inputs.variant.label: e.snapshots for e in copies} == by_test
    assert [e.inputs.variant.label for e in copies if e.trained] == ["points=16"]


def test_more_points_than_a_data_set_has_are_refused(pcbench, run, monkeypatch):
    load = parts.Parts.data

    def limited(found, name, points, sampling=None):
        splits, data = load(found, name, min(points, 16), sampling)
        resample(splits.test, points, "first")
        return splits, data

    monkeypatch.setattr(parts.Parts, "data", limited)
    done = pcbench("evaluate", run.folder, "--test", "points=512")
    assert done.code == 3
    assert "test points=512: shapes10: cannot take 512 of the 16 points" in done.err
    assert len(done.err.splitlines()) == 1


def test_a_folder_of_runs_is_all_of_them_and_the_default_is_their_own_network(pcbench, run):
    pcbench("run", "--method", "herding", *TINY)
    done = pcbench("evaluate", "results", "--set", "recipe.lr=0.02")
    assert done.code == 0, done.err
    runs, problems = read_runs(Path("results"))
    assert problems == []
    assert [len(each.evaluations) for each in runs] == [2, 2]
    changes = [e.inputs.protocol.changes.get("recipe.lr") for each in runs for e in each.evaluations]
    assert sorted(changes, key=str) == [0.02, 0.02, None, None]
    assert {e.inputs.network.label for each in runs for e in each.evaluations} == {"pointnet:paper"}
    assert run.folder in {each.folder for each in runs}


def test_neither_the_method_nor_its_plugin_is_needed(pcbench, tmp_path):
    pcbench("new", "method", "mine", "--folder", "plugins")
    made = pcbench("run", "--method", "mine", "--plugins", "plugins", *TINY)
    assert made.code == 0, made.err
    shutil.rmtree("plugins")
    shutil.move("results", "theirs")
    done = pcbench("evaluate", "theirs", "--backbone", OTHER)
    assert done.code == 0, done.err
    ((theirs,), _) = read_runs(tmp_path / "theirs")
    assert len(theirs.evaluations) == 2


def test_a_run_without_scores_follows_the_standard_protocol_that_fits(pcbench, run):
    for path in run.folder.glob("evaluation-*.json"):
        path.unlink()
    refused = pcbench("evaluate", run.folder)
    assert refused.code == 2
    assert "follows no standard protocol" in refused.err
    settings = [word for each in ("points=16", "iterations=2") for word in ("--set", each)]
    done = pcbench("evaluate", run.folder, "--protocol", "quick", "--seeds", "1", *settings)
    assert done.code == 0, done.err
    (evaluation,) = read_run(run.folder)[0].evaluations
    assert evaluation.inputs.protocol.changes == {"points": 16, "iterations": 2, "students": 1}


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (("--backbone", "pointnext"), 2, "pointnext"),
        (("--protocol", "lite"), 2, "does not follow protocol lite"),
        (("--set", "recipe.epoch=3"), 2, "Did you mean recipe.epochs"),
        (("--set", "points=32"), 2, "does not follow protocol custom"),
        (("--seeds", "0"), 2, "students"),
        (("--test", "jiter:3"), 2, "Did you mean jitter"),
        (("--test", "so3,jitter"), 2, "jitter:1 to jitter:5"),
    ],
)
def test_a_mistake_gets_a_short_error_and_its_code(pcbench, run, words, code, cause):
    done = pcbench("evaluate", run.folder, *words)
    assert done.code == code
    assert cause in done.err
    assert len(done.err.splitlines()) == 1


def test_clouds_that_are_not_the_records_fail_with_the_reason(pcbench, run):
    clouds = run.folder / "clouds.h5"
    clouds.write_bytes(clouds.read_bytes()[:1000])
    done = pcbench("evaluate", run.folder, "--backbone", OTHER)
    assert done.code == 1
    assert "evaluation failed" in done.err
    assert len(list(run.folder.glob("*.traceback.txt"))) == 1


def test_another_data_set_of_that_name_is_refused(pcbench, run):
    path = run.folder / "distillation.json"
    text = path.read_text()
    record = json.loads(text)
    record["inputs"]["data"]["hash"] = "0" * 64
    path.write_text(json.dumps(record))
    refused = pcbench("evaluate", run.folder)
    assert refused.code == 3
    assert "key" in refused.err
    path.unlink()
    nothing = pcbench("evaluate", run.folder)
    assert nothing.code == 3
    assert "no run's folder" in nothing.err


def test_a_failed_distillation_is_refused_with_its_reason(pcbench, run):
    path = run.folder / "distillation.json"
    record = json.loads(path.read_text()) | {"status": "oom", "reason": "no memory left", "snapshots": []}
    path.write_text(json.dumps(record))
    done = pcbench("evaluate", run.folder)
    assert done.code == 3
    assert "oom: no memory left" in done.err


def test_runs_of_a_data_set_that_is_not_here_are_absent_and_the_others_go_on(pcbench, run):
    away = a_run(Path("results"), data={"name": "modelnet10"})
    done = pcbench("evaluate", "results", "--backbone", OTHER, "--plugins", ".", "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert [entry["folder"] for entry in found["runs"]] == [str(run.folder)]
    ((absent,),) = (found["absent"],)
    assert (absent["method"], absent["dataset"]) == ("sadm", "modelnet10")
    assert "modelnet10 is not on this machine: run 'pcbench data fetch modelnet40'" in absent["reason"]
    text = pcbench("evaluate", "results", "--backbone", OTHER, "--plugins", ".").out
    assert "Next: pcbench leaderboard build --results results --plugins ." in text
    assert "Absent, 1 cell: modelnet10 is not on this machine" in text
    alone = pcbench("evaluate", away)
    assert (alone.code, "modelnet10 is not on this machine" in alone.err) == (3, True)
