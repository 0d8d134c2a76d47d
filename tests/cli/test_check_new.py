"""`pcbench check` and `pcbench new`: what is written passes, what is broken exits with 1."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pcbench.records.store import read_runs

TINY = (
    "--set",
    "points=16",
    "--set",
    "iterations=2",
    "--set",
    "recipe.epochs=1",
    "--seeds",
    "1",
    "--ppc",
    "1",
)

NOT_FINITE = '''
from dataclasses import replace

from pcbench.api import Method, Snapshot
from pcbench.ops.coreset import initial_clouds


class Faulty(Method):
    """Gives a coordinate that is not a number."""

    name = "faulty"

    def distill(self, task):
        clouds = initial_clouds("random", task.train, task.ppc, task.streams, task.trained_network)
        yield Snapshot(0, replace(clouds, points=clouds.points * float("nan")))
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "use"),
    [
        (("method",), ("--method", "my_own_1")),
        (("backbone",), ("--method", "random", "--backbone", "my_own_1")),
        (("backbone", "--plain"), ("--method", "dm", "--backbone", "my_own_1")),
        (("method", "--parameterised"), ("--method", "my_own_1")),
        (("dataset",), ("--method", "random", "--dataset", "my_own_1")),
    ],
)
def test_what_new_writes_passes_its_check_its_test_and_a_run(pcbench, tmp_path, kind, use):
    made = pcbench("new", *kind, "my_own_1", "--folder", "mine/deep")
    assert made.code == 0, made.err
    words = {
        "method": "--method my_own_1,random",
        "backbone": "--method random --backbone my_own_1",
        "dataset": "--method random --dataset my_own_1 --protocol quick",
    }[kind[0]]
    assert made.out.splitlines() == [
        "wrote mine/deep/test_my_own_1.py",
        "wrote mine/deep/my_own_1.py",
        "Next:",
        "  pcbench check mine/deep/my_own_1.py",
        f"  pcbench run --plugins mine/deep {words}",
    ]
    source = (tmp_path / "mine/deep/my_own_1.py").read_text(encoding="utf-8")
    assert "class MyOwn1(" in source
    assert "$" not in source
    assert len(source.splitlines()) < 50
    assert all(len(line) <= 110 for line in source.splitlines())

    checked = pcbench("check", "mine/deep/my_own_1.py")
    assert checked.code == 0, checked.out
    label = "data set" if kind[0] == "dataset" else kind[0]
    assert f"{label} my_own_1 keeps its contract" in checked.out
    assert "failed" not in checked.out

    env = os.environ | {"OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "mine"]
    tested = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "1 passed" in tested.stdout

    done = pcbench("run", "--plugins", "mine/deep", *use, *TINY)
    assert done.code == 0, done.err
    (run,), problems = read_runs(tmp_path / "results")
    assert problems == []
    assert len(run.evaluations) == 1
    if kind[0] == "method":
        assert [entry.iteration for entry in run.distillation.snapshots] == [0, 2]


def test_the_method_that_new_writes_shows_a_parameter_and_iterates(pcbench, tmp_path):
    pcbench("new", "method", "mine")
    assert "yield from task.learn(update, optimiser, " in (tmp_path / "mine.py").read_text(encoding="utf-8")
    (entry,) = json.loads(pcbench("info", "mine", "--plugins", tmp_path, "--json").out)["method"][
        "parameters"
    ]
    assert entry["description"]
    assert entry["source"]


@pytest.mark.parametrize("taken", ["mine.py", "test_mine.py"])
def test_no_file_is_overwritten(pcbench, tmp_path, taken):
    (tmp_path / taken).write_text("precious = 1\n")
    done = pcbench("new", "method", "mine")
    assert done.code == 2
    assert f"{taken} is there already" in done.err
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "precious = 1\n"


@pytest.mark.parametrize(
    ("kind", "name", "words"),
    [
        ("method", "my-own", "try my_own"),
        ("method", "3d", "no name of a Python module"),
        ("method", "class", "no name of a Python module"),
        ("method", "../escape", "no name of a Python module"),
        ("method", "_private", "try private"),
        ("method", "sadm", "methods/sadm.py"),
        ("backbone", "pointnet", "backbones/pointnet.py"),
        ("dataset", "shapes10", "datasets/shapes.py"),
        ("dataset", "my-own", "try my_own"),
        ("method", "torch", "installed Python module"),
        ("method", "statistics", "installed Python module"),
        ("method", "test_it", "try method_test_it"),
    ],
)
def test_a_name_that_does_not_fit_is_a_usage_error(pcbench, tmp_path, kind, name, words):
    done = pcbench("new", kind, name)
    assert done.code == 2
    assert words in done.err
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_a_plugin_folder_holds_is_taken(pcbench):
    pcbench("new", "method", "mine", "--folder", "one")
    done = pcbench("new", "method", "mine", "--folder", "two", "--plugins", "one")
    assert done.code == 2
    assert "one/mine.py" in done.err


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "plugins" / "faulty.py"
    path.parent.mkdir()
    path.write_text(NOT_FINITE)
    return path


def test_a_broken_method_is_refused_by_check_and_by_run(pcbench, faulty):
    checked = pcbench("check", faulty)
    assert checked.code == 1
    assert f"method faulty breaks its contract ({faulty}:8)" in checked.out
    (line,) = [line for line in checked.out.splitlines() if "snapshots at PPC 1" in line]
    assert "failed" in line
    assert "cloud 0 holds a coordinate that is not finite" in line
    assert f"{faulty}:15" in line
    run = pcbench("run", "--method", "faulty", "--plugins", faulty.parent, *TINY)
    assert run.code == 1
    assert "cloud 0 holds a coordinate that is not finite" in run.err


def test_a_method_that_reaches_for_data_is_refused_by_check_and_by_run(pcbench, faulty):
    reach = "        open_catalogue().datasets.load('shapes10')().load(16)\n        clouds ="
    text = NOT_FINITE.replace("        clouds =", reach, 1)
    faulty.write_text("from pcbench.catalogue import open_catalogue\n" + text)
    told = f"{faulty}:1 imports pcbench.catalogue"
    assert told in pcbench("check", "faulty", "--plugins", faulty.parent).out
    run = pcbench("run", "--method", "faulty", "--plugins", faulty.parent, *TINY)
    assert (run.code, told in run.err) == (2, True)

    hidden = "__import__('importlib').import_module('pcbench.' + 'catalogue').open_catalogue"
    faulty.write_text(f"open_catalogue = {hidden}\n{text}")
    refused = "method 'faulty' loaded data set 'shapes10': a method sees the training clouds alone"
    checked = pcbench("check", "faulty", "--plugins", faulty.parent)
    assert checked.code == 1
    assert refused in checked.out
    run = pcbench("run", "--method", "faulty", "--plugins", faulty.parent, *TINY)
    assert run.code == 1
    assert refused in run.err


def test_check_json_is_one_document(pcbench, faulty):
    done = pcbench("check", faulty, "--json")
    assert done.code == 1
    (report,) = json.loads(done.out)
    assert (report["kind"], report["name"], report["passed"]) == ("method", "faulty", False)
    assert report["origin"] == f"{faulty}:8"
    results = {item["clause"]: item["result"] for item in report["items"]}
    assert results["docstring"] == "ok"
    assert results["snapshots at PPC 1"] == "failed"
    assert results["cancellation"] == "not applicable"


def test_an_unknown_target_is_a_usage_error(pcbench):
    done = pcbench("check", "sadn")
    assert done.code == 2
    assert "Did you mean sadm" in done.err


BREAKS_LATER = '''
from dataclasses import replace

from pcbench.api import Method, Snapshot


class Later(Method):
    """Fails in its seventh iteration."""

    name = "later"

    def distill(self, task):
        clouds = task.initial_clouds()
        yield Snapshot(0, clouds)
        for iteration in task.steps():
            if iteration == 7:
                raise ValueError("the seventh")
            if iteration in task.snapshots:
                yield Snapshot(iteration, clouds)
'''


def test_more_iterations_find_later_faults_and_one_cause_has_one_line(pcbench, tmp_path):
    (tmp_path / "later.py").write_text(BREAKS_LATER)
    assert pcbench("check", "later.py").code == 0
    done = pcbench("check", "later.py", "--iterations", "8")
    assert done.code == 1
    (line,) = [line for line in done.out.splitlines() if "the seventh" in line]
    assert line.startswith("snapshots at PPC 1")
    (line,) = [line for line in done.out.splitlines() if "it does not run" in line and "see" not in line]
    assert "(also: other repetition, other clouds, global state" in line
    assert pcbench("check", "later.py", "--iterations", "2").code == 2


UNBUILT = '''
from pcbench.api import Backbone


class Unbuilt(Backbone):
    """Cannot be built."""

    name = "unbuilt"

    def __init__(self, classes):
        raise ValueError("no network today")

    def forward(self, xyz, *geometry):
        return xyz

    embed = global_feature = point_features = forward
'''


def test_a_network_that_cannot_be_built_is_one_line_and_every_clause_for_programs(pcbench, tmp_path):
    (tmp_path / "unbuilt.py").write_text(UNBUILT)
    done = pcbench("check", "unbuilt.py")
    assert (done.code, done.out.count("no network today")) == (1, 1)
    (report,) = json.loads(pcbench("check", "unbuilt.py", "--json").out)
    assert sum("no network today" in item["detail"] for item in report["items"]) > 3
