"""`pcbench run` from the words of a user to records, tables and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pcbench.engine import distil as run
from pcbench.engine.artifacts import load_snapshots
from pcbench.records.circumstances import Clock
from pcbench.records.store import read_runs

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

FAULTY = '''
from collections.abc import Iterator
from dataclasses import replace

import torch

from pcbench.api import Backbone, Method, Snapshot, Task
from pcbench.ops.layers import Linear


class Raises(Method):
    """Raises half-way."""

    name = "raises"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, first(task))
        raise RuntimeError("the optimiser diverged")


class Quits(Method):
    """Leaves the process, as if all were well."""

    name = "quits"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, first(task))
        raise SystemExit(0)


class Talks(Method):
    """Prints while it works."""

    name = "talks"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        print("hello from the method")
        yield Snapshot(0, first(task))


class NotFinite(Method):
    """Gives a coordinate that is not a number."""

    name = "nan"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        clouds = first(task)
        yield Snapshot(0, replace(clouds, points=clouds.points * float("nan")))


class Unbalanced(Method):
    """Forgets a class."""

    name = "unbalanced"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, first(task).select(torch.arange(5)))


class Hasty(Method):
    """Stops before the last snapshot."""

    name = "hasty"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        for iteration in task.snapshots[:-1] or (0,):
            yield Snapshot(iteration, first(task))
        yield Snapshot(1, first(task))


class Interrupted(Method):
    """Is stopped by the user."""

    name = "interrupted"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        yield Snapshot(0, first(task))
        raise KeyboardInterrupt


class Attentive(Backbone):
    """Cannot be trained."""

    name = "attentive"

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.linear = Linear(3, classes)

    def forward(self, xyz):
        raise ValueError("no such head")

    embed = global_feature = point_features = forward


def first(task: Task):
    where = [int((task.train.labels == label).nonzero()[0]) for label in range(task.train.classes)]
    return task.train.select(torch.tensor(where))
'''


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    folder = tmp_path / "plugins"
    folder.mkdir()
    (folder / "faulty.py").write_text(FAULTY)
    return folder


def test_run_writes_a_record_and_prints_accuracies(pcbench):
    done = pcbench("run", "--method", "sadm", *TINY)
    assert done.code == 0, done.err
    assert "sadm" in done.out
    assert "±" in done.out
    runs, problems = read_runs(Path("results"))
    assert problems == []
    (run,) = runs
    record, (evaluation,) = run.distillation, run.evaluations
    assert record.status == "ok"
    assert [entry.iteration for entry in record.snapshots] == [0, 2]
    assert 0 < record.snapshots[0].seconds <= record.snapshots[1].seconds <= record.seconds
    assert record.memory.host_bytes > 1 << 20
    assert record.provenance.command[:2] == ["pcbench", "run"]
    assert evaluation.inputs.protocol.name == "custom"
    assert evaluation.inputs.protocol.base == "quick"
    expected = {"points": 16, "iterations": 2, "recipe.epochs": 1, "students": 2}
    assert evaluation.inputs.protocol.changes == expected
    assert len(evaluation.headline.oa) == 2
    assert sum(evaluation.totals) == 500


def test_run_again_finds_the_finished_cell(pcbench):
    first = pcbench("run", "--method", "random", *TINY)
    (run,), _ = read_runs(Path("results"))
    before = {path: path.read_bytes() for path in run.folder.iterdir()}
    again = pcbench("run", "--method", "random", *TINY)
    assert first.code == again.code == 0
    assert "done already" not in first.err
    assert "done already" in again.err
    assert {path: path.read_bytes() for path in run.folder.iterdir()} == before


def test_new_training_settings_reuse_the_distillation(pcbench):
    pcbench("run", "--method", "random", *TINY)
    (run,), _ = read_runs(Path("results"))
    stamp = (run.folder / "distillation.json").stat().st_mtime_ns
    assert pcbench("run", "--method", "random", *TINY, "--set", "recipe.lr=0.02").code == 0
    (run,), _ = read_runs(Path("results"))
    assert len(run.evaluations) == 2
    assert (run.folder / "distillation.json").stat().st_mtime_ns == stamp


def test_damaged_clouds_are_distilled_again(pcbench):
    pcbench("run", "--method", "random", *TINY)
    (run,), _ = read_runs(Path("results"))
    clouds = run.folder / "clouds.h5"
    clouds.write_bytes(clouds.read_bytes()[:1000])
    again = pcbench("run", "--method", "random", *TINY)
    assert again.code == 0
    assert "done already" not in again.err
    (repaired,), problems = read_runs(Path("results"))
    assert problems == []
    assert [e.clouds for e in repaired.distillation.snapshots] == [
        e.clouds for e in run.distillation.snapshots
    ]


def test_json_is_the_records(pcbench):
    done = pcbench("run", "--method", "random", *TINY, "--json")
    (printed,) = json.loads(done.out)["runs"]
    stored = json.loads((Path(printed["folder"]) / "distillation.json").read_text())
    assert printed["distillation"] == stored
    assert printed["reused"] is False


def test_two_methods_start_from_the_same_clouds(pcbench):
    assert pcbench("run", "--method", "random,dm", *TINY).code == 0
    runs, _ = read_runs(Path("results"))
    first = {run.distillation.inputs.method: run.distillation.snapshots[0].clouds for run in runs}
    assert first["random"] == first["dm"]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("raises", "RuntimeError: the optimiser diverged"),
        ("quits", "SystemExit: 0"),
        ("nan", "not finite"),
        ("unbalanced", "instead of 1 of each"),
        ("hasty", "snapshot"),
    ],
)
def test_a_faulty_method_fails_its_cell_and_no_other(pcbench, faulty, method, reason):
    done = pcbench("run", "--method", f"{method},random", "--plugins", faulty, *TINY)
    assert done.code == 1
    assert reason in done.err
    runs, problems = read_runs(Path("results"))
    assert problems == []
    status = {run.distillation.inputs.method: run.distillation.status for run in runs}
    assert status == {method: "failed", "random": "ok"}
    (failed,) = [run for run in runs if run.distillation.status == "failed"]
    assert failed.evaluations == ()
    assert "Traceback" in (failed.folder / "traceback.txt").read_text()


def test_what_a_method_prints_stays_out_of_the_json(pcbench, faulty):
    done = pcbench("run", "--method", "talks", "--plugins", faulty, *TINY, "--json")
    assert json.loads(done.out)["runs"][0]["problem"] == ""
    assert "hello from the method" in done.err


def test_a_failed_evaluation_keeps_the_distillation_and_goes_on(pcbench, faulty):
    words = ("--method", "random", "--plugins", faulty, "--backbone", "attentive", *TINY, "--ppc", "2")
    done = pcbench("run", *words)
    assert done.code == 1
    assert done.err.count("evaluation failed: ValueError: no such head") == 2
    runs, problems = read_runs(Path("results"))
    assert problems == []
    assert [(run.distillation.status, run.evaluations) for run in runs] == [("ok", ())] * 2


def test_a_method_that_interrupts_itself_has_failed_like_any_other(pcbench, faulty):
    done = pcbench("run", "--method", "interrupted,random", "--plugins", faulty, *TINY)
    assert done.code == 1
    runs, _ = read_runs(Path("results"))
    status = {run.distillation.inputs.method: run.distillation.status for run in runs}
    assert status == {"interrupted": "failed", "random": "ok"}


@pytest.mark.parametrize(
    ("words", "code", "cause"),
    [
        (("--method", "sdam"), 2, "unknown method 'sdam'. Did you mean sadm"),
        (("--method", "sadm", "--set", "lamda_alpha=1"), 2, "lambda_alpha"),
        (("--method", "sadm", "--set", "lr=fast"), 2, "lr='fast'"),
        (("--method", "sadm", "--set", "lr"), 2, "KEY=VALUE"),
        (("--set", "iterations=0"), 2, "iterations"),
        (("--dataset", "shapes11"), 2, "Did you mean shapes10"),
        (("--backbone", "pointnets"), 2, "Did you mean pointnet or"),
        (("--backbone", "pointnet:papers"), 2, "Did you mean paper?"),
        (("--protocol", "litte"), 2, "Did you mean lite?"),
        (("--dataset", "modelnet10"), 3, "pcbench data import modelnet40 PATH"),
        (("--ppc", "101"), 2, "100 training clouds"),
        (("--ppc", "one"), 2, "whole numbers"),
        (("--ppc", "0"), 2, "at least one cloud"),
        (("--seeds", "0"), 2, "0 students: at least one is needed (--seeds)"),
        (("--device", "tpu"), 2, "auto, cpu, cuda"),
        (("--plugins", "nowhere"), 2, "nowhere"),
    ],
)
def test_a_mistake_gets_a_short_error_and_its_code(pcbench, words, code, cause):
    done = pcbench("run", "--set", "points=16", *words)
    assert done.code == code
    assert cause in done.err
    lines = done.err.strip().splitlines()
    assert len(lines) <= 2
    assert lines[0].startswith("error: ")
    assert "Traceback" not in done.err
    assert not Path("results").exists()


def test_a_corrupt_data_set_is_named_with_the_remedy(pcbench, monkeypatch, tmp_path):
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    folder = tmp_path / "data" / "modelnet40"
    folder.mkdir(parents=True)
    (folder / "clouds.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"x" * 100)
    (folder / "manifest.json").write_text("{}")
    done = pcbench("run", "--method", "random", "--dataset", "modelnet40", *TINY)
    assert done.code == 3
    assert "pcbench data import modelnet40" in done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_debug_shows_the_traceback(pcbench):
    done = pcbench("--debug", "run", "--method", "sdam")
    assert done.code == 2
    assert "Traceback" in done.err


def test_distilled_clouds_stand_in_the_unit_of_the_data(pcbench):
    pcbench("run", "--method", "random", *TINY)
    (run,), _ = read_runs(Path("results"))
    (snapshot,) = load_snapshots(run.folder / "clouds.h5", run.distillation.snapshots)
    assert snapshot.clouds.points.shape == (10, 16, 3)
    assert float(snapshot.clouds.points.norm(dim=-1).max()) == pytest.approx(1, abs=1e-5)


# Suites and plans

MINE = """
name = "mine"
summary = "two methods and what is not here"
protocol = "quick"
datasets = ["shapes10", "modelnet10"]
ppc = [1, 2]

[[rows]]
methods = ["random", "no-such-method"]

[[rows]]
methods = ["random", "raises"]
"""


BROKEN = """
import a_package_that_is_not_here
from pcbench.api import Method


class Broken(Method):
    name = "no-such-method"
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The words that run a suite of its own with one student, on a machine without ModelNet."""
    monkeypatch.setenv("PCBENCH_DATA", str(tmp_path / "data"))
    (tmp_path / "mine.toml").write_text(MINE)
    return ("run", "--suite", "mine.toml", "--seeds", "1")


def test_a_suite_runs_what_is_here_once_and_reports_the_rest(pcbench, mine):
    done = pcbench(*mine, "--method", "random,no-such-method")
    assert done.code == 0, done.err
    runs, problems = read_runs(Path("results"))
    assert problems == []
    assert sorted((run.distillation.inputs.method, run.distillation.inputs.ppc) for run in runs) == [
        ("random", 1),
        ("random", 2),
    ]
    assert [len(run.evaluations) for run in runs] == [1, 1]
    assert "[2/2]" in done.err
    assert "Absent, 4 cells: there is no method 'no-such-method'" in done.out
    assert "pcbench data import modelnet40 PATH" in done.out

    again = pcbench(*mine, "--method", "random", "--ppc", "2", "--dataset", "shapes10", "--json")
    (entry,) = json.loads(again.out)["runs"]
    assert entry["reused"] is True
    assert entry["distillation"]["inputs"]["ppc"] == 2


def test_a_broken_plugin_makes_its_cells_absent(pcbench, mine, tmp_path):
    (tmp_path / "no-such-method.py").write_text(BROKEN)
    done = pcbench(*mine, "--plugins", tmp_path, "--method", "no-such-method", "--dataset", "shapes10")
    assert done.code == 0
    assert "method 'no-such-method' cannot be used: ModuleNotFoundError" in done.out


def test_a_ppc_that_a_data_set_cannot_give_names_the_suite(pcbench, mine):
    path = Path("mine.toml")
    path.write_text(path.read_text().replace("ppc = [1, 2]", "ppc = [1, 500]"))
    done = pcbench(*mine, "--method", "random", "--dataset", "shapes10")
    assert done.code == 2
    assert "mine.toml: row 1: PPC 500 is larger than the smallest class of shapes10" in done.err


def test_json_of_a_suite_lists_what_is_absent(pcbench, mine):
    done = pcbench(*mine, "--method", "random", "--dataset", "modelnet10", "--json")
    assert done.code == 0
    entries = json.loads(done.out)["absent"]
    assert {(each["method"], each["dataset"], each["ppc"]) for each in entries} == {
        ("random", "modelnet10", 1),
        ("random", "modelnet10", 2),
    }
    assert not Path("results").exists()


def test_a_failed_cell_of_a_suite_leaves_1(pcbench, mine, faulty):
    done = pcbench(*mine, "--plugins", faulty, "--method", "raises", "--dataset", "shapes10", "--ppc", "1")
    assert done.code == 1
    assert "the optimiser diverged" in done.err


def test_a_suite_distils_once_for_all_its_students(pcbench, mine, faulty):
    networks = 'evaluate = ["pointnet", "pointnet:canonical", "dgcnn9"]\n'
    Path("mine.toml").write_text(MINE.replace("ppc = [1, 2]\n", "ppc = [1]\n" + networks))
    done = pcbench(*mine, "--dataset", "shapes10", "--plugins", faulty)
    assert done.code == 1
    assert done.err.count("RuntimeError: the optimiser diverged") == 2
    runs, problems = read_runs(Path("results"))
    assert problems == []
    (ok,) = [run for run in runs if run.distillation.status == "ok"]
    labels = {e.inputs.network.label for e in ok.evaluations}
    assert labels == {"pointnet:paper", "pointnet:canonical"}
    assert "there is no backbone 'dgcnn9'" in done.out


def test_a_failed_distillation_is_not_tried_for_its_other_students(pcbench, mine, faulty, monkeypatch):
    tried = []
    execute = run.execute
    monkeypatch.setattr(run, "execute", lambda *given: (tried.append(given[0].label), execute(*given))[1])
    networks = 'evaluate = ["pointnet", "pointnet:canonical"]\n'
    Path("mine.toml").write_text(MINE.replace("ppc = [1, 2]\n", "ppc = [1]\n" + networks))
    done = pcbench(*mine, "--method", "raises", "--plugins", faulty, "--json")
    assert done.code == 1
    assert tried == ["pointnet:paper"]
    assert [each["student"] for each in json.loads(done.out)["runs"]] == [
        "pointnet:paper",
        "pointnet:canonical",
    ]


def test_the_protocol_of_a_suite_can_be_another(pcbench, mine):
    done = pcbench(*mine, "--protocol", "lite", "--dry-run", "--json")
    cells = json.loads(done.out)["cells"]
    assert {cell["protocol"] for cell in cells if cell["state"] != "absent"} == {
        "custom (lite with students=1)"
    }


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--suite", "table9"), "unknown suite 'table9'"),
        (("--suite", "absent.toml"), "absent.toml cannot be read"),
        (
            ("--suite", "mine.toml", "--set", "lr=1"),
            "setting lr: a suite fixes its parameters; copy its file",
        ),
        (
            ("--suite", "mine.toml", "--backbone", "pointnet"),
            "backbone pointnet: a suite fixes its networks",
        ),
        (("--suite", "mine.toml", "--method", "dm"), "suite mine has random, no-such-method, raises"),
        (("--suite", "mine.toml", "--dataset", "shapes11"), "suite mine has shapes10, modelnet10"),
        (("--suite", "mine.toml", "--ppc", "3"), "suite mine has 1, 2"),
        (("--suite", "mine.toml", "--protocol", "litte"), "Did you mean lite?"),
        (("--suite", "wrong.toml"), "wrong.toml: row 2: lamda_alpha: neither method 'sadm'"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_a_mistake_about_a_suite_gets_a_short_error(pcbench, words, cause):
    wrong = '[[rows]]\nmethods = ["sadm"]\nparams = { lamda_alpha = 1 }\n'
    Path("wrong.toml").write_text(MINE.partition('[[rows]]\nmethods = ["random", "raises"]')[0] + wrong)
    done = pcbench("run", *words)
    assert done.code == 2
    assert cause in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not Path("results").exists()


def test_a_dry_run_does_nothing_and_estimates_from_records(pcbench, mine, monkeypatch):
    monkeypatch.setattr(Clock, "busy", lambda *_: False)  # whatever else this machine does now
    words = ("run", "--method", "random", "--ppc", "1,10", "--protocol", "quick", "--seeds", "1")
    before = json.loads(pcbench(*words, "--dry-run", "--json").out)
    assert [(cell["state"], cell["seconds"]) for cell in before["cells"]] == [("to do", None)] * 2
    assert (before["seconds"], before["unknown"]) == (0, 2)
    assert not Path("results").exists()

    assert pcbench(*mine, "--method", "random", "--ppc", "1").code == 0
    (run,), _ = read_runs(Path("results"))
    files = {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()}
    after = json.loads(pcbench(*words, "--dry-run", "--json").out)
    assert {path: path.read_bytes() for path in Path("results").rglob("*") if path.is_file()} == files
    finished, to_do = after["cells"]
    assert (finished["state"], to_do["state"]) == ("done", "to do")
    (scored,) = run.evaluations
    expected = run.distillation.seconds + scored.train.seconds * 13 / 2 + scored.test.seconds
    assert to_do["seconds"] == pytest.approx(expected)
    assert after["seconds"] == pytest.approx(expected)
    assert to_do["based_on"] == [run.folder.name]


def test_a_dry_run_prints_every_cell_with_its_state(pcbench, mine):
    done = pcbench(*mine, "--method", "random,no-such-method", "--dry-run")
    assert done.code == 0
    assert done.err == ""
    lines = [line.split() for line in done.out.splitlines()]
    assert sum(line[:2] == ["random", "shapes10"] for line in lines) == 2
    assert sum(line[:2] == ["no-such-method", "shapes10"] for line in lines) == 2
    assert "Estimated time: unknown for 2 cells." in done.out
    assert not Path("results").exists()
