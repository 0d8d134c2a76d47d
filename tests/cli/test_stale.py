"""Results of older code or other defaults are never shown as finished, never mixed in, never thrown away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcbench.engine.apart import MethodFailed
from pcbench.records import identity
from pcbench.records.store import read_runs

TINY = (
    "--dataset", "shapes10", "--protocol", "quick", "--ppc", "1", "--seeds", "2", "--set", "points=16",
    "--set", "iterations=2", "--set", "snapshot_every=1", "--set", "recipe.epochs=1",
)  # fmt: skip

METHOD = '''"""Clouds that are moved."""

from dataclasses import replace

from pcbench.api import Method, MethodParams, Snapshot, param
from pcbench.ops.coreset import initial_clouds


class Moved(Method):
    """Random clouds, made larger."""

    name = "moved"

    class Params(MethodParams):
        factor: float = param(1.5, "how much larger", source="a guess", gt=0)

    def distill(self, task):
        start = initial_clouds("random", task.train, task.ppc, task.streams, task.trained_network)
        yield Snapshot(0, replace(start, points=start.points * self.params.factor))
'''


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    path = tmp_path / "mine" / "moved.py"
    path.parent.mkdir()
    path.write_text(METHOD)
    return path


def state_of(pcbench, *words: str | Path) -> tuple[str, str]:
    (cell,) = json.loads(pcbench("run", *words, *TINY, "--dry-run", "--json").out)["cells"]
    return cell["state"], cell["reason"]


def test_a_changed_engine_makes_results_stale_and_keeps_them(pcbench, monkeypatch):
    words = ("--method", "random")
    assert pcbench("run", *words, *TINY).code == 0
    ((old,), _) = read_runs(Path("results"))
    before = {path: path.read_bytes() for path in old.folder.iterdir()}
    monkeypatch.setattr(identity, "ENGINE", 2)
    assert state_of(pcbench, *words) == ("stale", "ENGINE 1, now 2")
    done = pcbench("run", *words, *TINY)
    assert done.code == 1
    assert "stale: ENGINE 1, now 2" in done.err
    assert "done already" not in done.err
    assert "±" not in done.out
    assert {path: path.read_bytes() for path in old.folder.iterdir()} == before
    again = pcbench("run", *words, *TINY, "--again", "stale")
    assert again.code == 0, again.err
    runs, problems = read_runs(Path("results"))
    assert problems == []
    assert sorted(run.distillation.inputs.engine for run in runs) == [1, 2]
    assert {path: path.read_bytes() for path in old.folder.iterdir()} == before
    assert state_of(pcbench, *words) == ("done", "")


def test_stale_scores_of_a_run_are_named_by_evaluate(pcbench, monkeypatch):
    assert pcbench("run", "--method", "random", *TINY).code == 0
    ((run,), _) = read_runs(Path("results"))
    monkeypatch.setattr(identity, "ENGINE", 2)
    done = pcbench("evaluate", run.folder)
    assert done.code == 1
    assert "stale: ENGINE 1, now 2" in done.err
    again = pcbench("evaluate", run.folder, "--again", "stale")
    assert again.code == 0, again.err
    ((run,), problems) = read_runs(Path("results"))
    assert problems == []
    assert sorted(record.inputs.engine for record in run.evaluations) == [1, 2]


def test_a_changed_default_is_stale_with_both_values(pcbench, plugin, tmp_path):
    assert pcbench("run", "--plugins", plugin.parent, "--method", "moved", *TINY).code == 0
    later = tmp_path / "later" / "moved.py"  # in a folder of its own, for this process knows the first one
    later.parent.mkdir()
    later.write_text(METHOD.replace("param(1.5", "param(1.25"))
    words = ("--plugins", later.parent, "--method", "moved")
    state, reason = state_of(pcbench, *words)
    assert state == "stale"
    assert "factor 1.5, asked 1.25" in reason
    assert state_of(pcbench, *words, "--set", "factor=1.5")[0] == "to do"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("made larger.", "made larger, and nothing else."),
        ('"""Clouds that are moved."""', '"""Clouds, moved."""\n# A comment.'),
        ("        yield Snapshot(0, ", "        yield Snapshot(\n            0, "),
        ('name = "moved"', "name = 'moved'"),
    ],
)
def test_words_and_layout_of_a_method_change_nothing(pcbench, plugin, old, new):
    words = ("--plugins", plugin.parent, "--method", "moved")
    assert pcbench("run", *words, *TINY).code == 0
    assert old in METHOD
    plugin.write_text(METHOD.replace(old, new))
    assert state_of(pcbench, *words) == ("done", "")
    assert "done already" in pcbench("run", *words, *TINY).err


def test_a_moved_plugin_changes_nothing(pcbench, plugin, tmp_path):
    assert pcbench("run", "--plugins", plugin.parent, "--method", "moved", *TINY).code == 0
    other = tmp_path / "elsewhere" / "another_name.py"
    other.parent.mkdir()
    plugin.rename(other)
    assert state_of(pcbench, "--plugins", other.parent, "--method", "moved") == ("done", "")


def test_a_changed_constant_of_a_method_is_stale(pcbench, plugin):
    words = ("--plugins", plugin.parent, "--method", "moved")
    assert pcbench("run", *words, *TINY).code == 0
    plugin.write_text(METHOD.replace("start.points * self", "start.points * 1.01 * self"))
    assert state_of(pcbench, *words) == ("stale", "the method's code has changed")


def test_the_last_snapshot_and_then_the_others(pcbench):
    words = ("--method", "dm", "--snapshots")
    last = pcbench("run", *words, "last", *TINY)
    assert last.code == 0, last.err
    ((run,), _) = read_runs(Path("results"))
    assert [scores.iteration for scores in run.evaluations[0].snapshots] == [2]
    assert "done already" in pcbench("run", *words, "last", *TINY).err
    everything = pcbench("run", *words, "all", *TINY)
    assert everything.code == 0, everything.err
    ((run,), problems) = read_runs(Path("results"))
    assert problems == []
    (record,) = run.evaluations
    assert [scores.iteration for scores in record.snapshots] == [0, 1, 2]
    assert [share.iterations for share in record.work] == [[2], [0, 1]]


def test_a_finer_curve_is_the_same_work(pcbench):
    longer = {"iterations=2": "iterations=6", "snapshot_every=1": "snapshot_every=3"}
    words = ("--method", "dm", *(longer.get(word, word) for word in TINY))
    assert pcbench("run", *words).code == 0
    ((coarse,), _) = read_runs(Path("results"))
    planned = json.loads(pcbench("run", *words, "--snapshots", "0,2,5", "--dry-run", "--json").out)
    (cell,) = planned["cells"]
    assert (cell["state"], cell["reason"]) == ("to do", "no snapshot at 2, 5 was kept")
    shown = pcbench("run", *words, "--snapshots", "0,2,5", "--dry-run").out
    assert "Once more, 1 cell: no snapshot at 2, 5 was kept." in shown
    finer = pcbench("run", *words, "--snapshots", "0,2,5")
    assert finer.code == 0, finer.err
    ((run,), problems) = read_runs(Path("results"))
    assert (problems, run.folder, run.distillation.key) == ([], coarse.folder, coarse.distillation.key)
    entries = {entry.iteration: entry.clouds for entry in run.distillation.snapshots}
    assert list(entries) == [0, 2, 3, 5, 6]
    assert {each.iteration: each.clouds for each in coarse.distillation.snapshots}.items() <= entries.items()
    (before,), (record,) = coarse.evaluations, run.evaluations
    assert [scores.iteration for scores in record.snapshots] == [0, 2, 3, 5, 6]
    assert [share.iterations for share in record.work] == [[0, 3, 6], [2, 5]]
    assert [s for s in record.snapshots if s.iteration in (0, 3, 6)] == before.snapshots
    for asked in ("all", "0,2", "last"):
        assert "done already" in pcbench("run", *words, "--snapshots", asked).err
    assert pcbench("run", *words, "--snapshots", "4").code == 0
    ((run,), _) = read_runs(Path("results"))
    assert run.distillation.inputs.curve == [2, 4, 5]


def test_a_finer_curve_that_fails_leaves_what_is_finished(pcbench, monkeypatch):
    words = ("--method", "dm", *(word.replace("every=1", "every=2") for word in TINY))
    assert pcbench("run", *words).code == 0
    ((finished,), _) = read_runs(Path("results"))

    def failing(*args: object) -> None:
        assert args
        raise MethodFailed("no memory left", "", out_of_memory=True)

    monkeypatch.setattr("pcbench.engine.apart.distil", failing)
    failed = pcbench("run", *words, "--snapshots", "1")
    assert failed.code == 1
    assert "oom: no memory left" in failed.err
    assert read_runs(Path("results"))[0] == [finished]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("7", "snapshot 7: distillation ends at iteration 2 (--snapshots)"),
        ("first", "--snapshots first: last, all, or iterations as in 0,20,40 are needed"),
        ("-1", "--snapshots -1: last, all, or iterations as in 0,20,40 are needed"),
    ],
)
def test_snapshots_that_cannot_be(pcbench, asked, told):
    refused = pcbench("run", "--method", "dm", *TINY, "--snapshots", asked)
    assert refused.code == 2
    assert told in refused.err


def test_students_of_a_snapshot_that_was_not_kept(pcbench):
    assert pcbench("run", "--method", "dm", *TINY).code == 0
    ((run,), _) = read_runs(Path("results"))
    assert pcbench("evaluate", run.folder, "--snapshots", "1").code == 0
    refused = pcbench("evaluate", run.folder, "--snapshots", "1,7")
    assert refused.code == 1
    assert "kept no snapshot at 7: 'pcbench run --snapshots 7' makes it" in " ".join(refused.err.split())


HALF = '''"""The private half of a network."""

import torch


def pooled(features):
    """The largest of every channel."""
    return torch.amax(features, -2) * 1.0
'''

NETWORK = '''"""A small network."""

from pcbench.api import Backbone
from pcbench.ops.layers import Linear, mlp

from ._half import pooled


class Halved(Backbone):
    """A shared layer, a maximum from a private neighbour, a classifier."""

    name = "halved"

    def __init__(self, classes):
        super().__init__(classes)
        self.shared = mlp(3, 8)
        self.classifier = Linear(8, classes)

    def point_features(self, xyz):
        return self.shared(xyz)

    def global_feature(self, xyz):
        return pooled(self.point_features(xyz))

    def embed(self, xyz):
        return self.global_feature(xyz)

    def forward(self, xyz, *geometry):
        return self.classifier(self.embed(xyz))
'''


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("* 1.0", "* 1.5", ("stale", "the network's code has changed")),
        ("The largest of every channel.", "The maximum of every channel, over the points.", ("done", "")),
    ],
)
def test_the_private_half_of_a_network_is_part_of_it(pcbench, tmp_path, old, new, expected):
    folder = tmp_path / "nets"
    folder.mkdir()
    (folder / "halved.py").write_text(NETWORK)
    (folder / "_half.py").write_text(HALF)
    words = ("--plugins", folder, "--method", "random", "--backbone", "halved")
    assert pcbench("run", *words, *TINY).code == 0
    assert old in HALF
    (folder / "_half.py").write_text(HALF.replace(old, new))
    assert state_of(pcbench, *words) == expected


def test_a_stale_cell_is_named_beside_its_estimate(pcbench, monkeypatch):
    assert pcbench("run", "--method", "random", *TINY).code == 0
    monkeypatch.setattr(identity, "ENGINE", 2)
    done = pcbench("run", "--method", "random,dm", *TINY, "--dry-run")
    assert done.code == 0
    assert "Stale, 1 cell: ENGINE 1, now 2. '--again stale' computes anew" in done.out
    assert "2 cells: 1 stale, 1 to do." in done.out
