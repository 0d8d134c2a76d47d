"""`pcbench.run` and `pcbench.evaluate` do what the commands do, and raise or tell what is wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pcbench
from pcbench import Outcomes, PcbenchError, Progress, UsageError
from pcbench.records import layout, plans
from pcbench.records.store import read_run

TINY = {"points": 16, "iterations": 2, "recipe.epochs": 1}
SCRIPT = """
import json

import pcbench

done = pcbench.run("sadm", ppc=1, settings={"points": 16, "iterations": 1, "recipe.epochs": 1}, seeds=1)
record = done[0].run.distillation
print(json.dumps([done.ok, record.status, record.isolation, record.provenance.command]))
"""


def test_failures_are_told_and_the_other_cells_are_done(ran: Outcomes) -> None:
    assert [outcome.run.distillation.inputs.method for outcome in ran] == ["random", "sadm", "gives_up"]
    assert [outcome.problem for outcome in ran][:2] == ["", ""]
    (failure,) = ran.failed
    assert failure.problem.startswith("failed: RuntimeError: the optimiser diverged (")
    assert not ran.ok
    assert repr(ran).splitlines()[0] == "3 cells, 1 without a score"
    assert repr(ran).splitlines()[3] == f"gives_up on shapes10, PPC 1: {failure.problem}"
    with pytest.raises(PcbenchError, match=r"1 of 3 cells have no score: .*the optimiser diverged"):
        ran.checked()


def test_a_callback_is_told_of_every_cell(ran: Outcomes, heard: list[Progress]) -> None:
    assert [each.outcome for each in heard if each.phase == "ended"] == list(ran)
    assert str(heard[0]) == "[1/3] random on shapes10, PPC 1: begins"
    lines = [str(each) for each in heard if each.number == 2]
    assert "[2/3] sadm on shapes10, PPC 1: distil 2 of 2" in lines
    assert lines[-1] == "[2/3] sadm on shapes10, PPC 1: done"


def test_it_is_the_run_of_the_command(
    pcbench: Callable[..., Any], tmp_path: Path, results_folder: Path
) -> None:
    settings = ("--set", "points=16", "--set", "iterations=2", "--set", "recipe.epochs=1", "--seeds", "2")
    assert pcbench("run", "--method", "sadm", "--ppc", "1", *settings, "--json").code == 0
    (folder,) = (tmp_path / "results").glob("sadm-*")
    by_command, by_python = read_run(folder)[0], read_run(results_folder / folder.name)[0]
    assert by_command.distillation.key == by_python.distillation.key
    assert by_command.distillation.snapshots[-1].clouds == by_python.distillation.snapshots[-1].clouds
    assert by_command.evaluations[0].snapshots == by_python.evaluations[0].snapshots
    command = by_python.distillation.provenance.command
    assert command[:2] == ["python", "-c"]
    assert command[2].startswith("import pcbench; pcbench.run(method=['random', 'sadm', 'gives_up'], ppc=1, ")


def test_what_a_callback_raises_is_not_the_fault_of_a_method(tmp_path: Path) -> None:
    def broken(progress: Progress) -> None:
        if progress.phase == "distil":
            raise ZeroDivisionError("of the callback")

    asked = {"ppc": 1, "settings": TINY, "seeds": 1, "out": tmp_path}
    with pytest.raises(ZeroDivisionError, match="of the callback"):
        pcbench.run("random", **asked, on_progress=broken)
    assert [outcome.reused for outcome in pcbench.run("random", **asked).checked()] == [True]


def test_cells_are_worked_at_at_once_and_their_records_name_the_attempts(tmp_path: Path) -> None:
    asked = {"ppc": 1, "settings": TINY, "seeds": 1, "out": tmp_path}
    done = pcbench.run(["random", "herding"], **asked, jobs=2).checked()
    made = [outcome.run for outcome in done]
    ids = [run.distillation.provenance.attempt for run in made]
    assert [re.fullmatch(r"[0-9a-f]{16}", each) is not None for each in ids] == [True, True]
    assert len(set(ids)) == 2
    assert [run.evaluations[0].provenance.attempt for run in made] == ids
    layout.plan(tmp_path, plans.kept(tmp_path)[0].hash).unlink()
    again = pcbench.run(["random", "herding"], **asked, jobs="auto")
    assert [outcome.reused for outcome in again] == [True, True]
    assert layout.plans(tmp_path) == []  # nothing was to do, so that nothing is written
    with pytest.raises(UsageError, match="no number of cells at once"):
        pcbench.run("random", **asked, jobs=0)


def test_what_is_done_is_not_computed_again(ran: Outcomes, results_folder: Path) -> None:
    numbers = {"points": np.int64(16), "iterations": 2, "recipe.epochs": np.float64(1)}
    again = pcbench.run("random", ppc=np.int64(1), settings=numbers, seeds=2, out=str(results_folder))
    assert [(outcome.reused, outcome.run.folder) for outcome in again] == [(True, ran[0].run.folder)]


def test_several_settings_are_a_cell_each(results_folder: Path) -> None:
    from pcbench.python import running

    asked = [{"lr": 1.0}, {"lr": 5.0}]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running.working, "work_through", lambda *_, **__: [])
        patch.setattr(running.working, "of_cells", lambda cells, *rest: planned.extend(cells))
        planned: list = []
        pcbench.run("sadm", settings=asked, repetition=range(2), out=results_folder)
    assert [(cell.inputs.params["lr"], cell.inputs.repetition) for cell in planned] == [
        (1.0, 0), (5.0, 0), (1.0, 1), (5.0, 1)
    ]  # fmt: skip


def test_other_students_of_what_was_run(ran: Outcomes) -> None:
    done = pcbench.evaluate(ran, backbone="pointnet:canonical", test=["plain", "so3"], snapshots="last")
    assert done.ok
    assert [outcome.run.folder for outcome in done] == [outcome.run.folder for outcome in ran.cells[:2]]
    assert [e.inputs.variant.label for e in done[0].run.evaluations] == ["plain", "so3"]
    frame = done.frame()
    assert len(frame) == 2 * 2 * 2
    assert set(frame["student_backbone"]) == {"pointnet:canonical"}
    same = pcbench.evaluate(ran[1], backbone="pointnet:canonical", snapshots="last")
    assert [outcome.reused for outcome in same] == [True]
    with pytest.raises(pcbench.DataError, match="failed: RuntimeError"):
        pcbench.evaluate(ran[2])
    with pytest.raises(pcbench.DataError, match="there is no nowhere"):
        pcbench.evaluate("nowhere")


@pytest.mark.parametrize(
    ("asked", "cause"),
    [
        ({"method": "sadmm"}, "unknown method 'sadmm'. Did you mean sadm"),
        ({"method": 3}, "method: 3 is no name"),
        ({"dataset": "shapes11"}, "unknown data set 'shapes11'"),
        ({"ppc": "3"}, "ppc '3': a whole number is needed"),
        ({"ppc": 0}, "PPC 0: at least one cloud"),
        ({"repetition": -1}, "repetition -1: a whole number"),
        ({"settings": {"lrr": 1}}, "setting lrr: neither method"),
        ({"settings": {"lr": object()}}, "setting lr: object is no number"),
        ({"settings": []}, "settings: an empty list asks for no cell"),
        ({"settings": ["lr=5"]}, "settings: a mapping from names to values is needed"),
        ({"protocol": "litt"}, "Did you mean lite"),
        ({"draw": "any"}, "there is no draw='any'"),
        ({"split": "val"}, "there is no split='val'"),
        ({"again": "all"}, "there is no again='all'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"plugins": "nowhere"}, "nowhere is no folder"),
        ({"suite": "table1", "settings": {"lr": 1}}, "setting lr: a suite fixes its parameters"),
    ],
)
def test_a_wrong_request_is_refused_before_any_work(asked: dict, cause: str, tmp_path: Path) -> None:
    with pytest.raises(pcbench.UsageError, match=cause) as caught:
        pcbench.run(**asked, out=tmp_path / "results")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Its methods work in a process of their own, which does not run the script a second time."""
    (tmp_path / "script.py").write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": str(Path(pcbench.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    ok, status, isolation, command = json.loads(line)
    assert (ok, status) == (True, "ok")
    assert isolation in ("process", "walled")
    assert command[2].startswith("import pcbench; pcbench.run(method='sadm', ppc=1, settings={'points': 16, ")
