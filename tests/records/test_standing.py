"""How far plans are, what can be merged, and what nobody needs any more."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from built_in import CATALOGUE
from report_records import a_run

from pcbench.engine import frozen, plan
from pcbench.engine.plan import Request
from pcbench.records import attempts, layout, plans, upkeep
from pcbench.records.claims import LOST, Claims
from pcbench.records.plans import Plan, PlannedCell
from pcbench.records.standing import seconds_left, standings
from pcbench.records.store import read_run, read_runs

METHODS = ("random", "herding", "kcenter", "sadm", "dm", "dc")


@pytest.fixture(scope="module")
def a_plan() -> Plan:
    request = Request(METHODS, ("shapes10",), (1,), protocol="quick", settings={"points": "16"})
    return frozen.freeze(plan.cells(CATALOGUE, request), "all")


@pytest.fixture
def planned(a_plan: Plan, tmp_path: Path) -> list[PlannedCell]:
    """The cells of a plan that was begun in a folder, where nothing of it is done."""
    plans.keep(tmp_path, a_plan)
    return a_plan.cells


def words(out: Path) -> list[str]:
    return [each.word for each in standings(out)]


def finished(out: Path, cell: PlannedCell) -> Path:
    """The files by which a cell is known to be done."""
    folder = out / f"a-run-{layout.short(cell.key)}"
    folder.mkdir()
    layout.distillation(folder).write_text("{}")
    layout.evaluation(folder, cell.evaluation).write_text("{}")
    return folder


@pytest.mark.usefixtures("planned")
def test_nothing_is_done_of_a_plan_that_was_just_kept(tmp_path):
    assert words(tmp_path) == ["to do"] * len(METHODS)


def test_each_cell_has_a_word_and_a_reason(planned, tmp_path):
    first, second, third, fourth, fifth, _ = planned
    finished(tmp_path, first)
    attempt = attempts.begin(tmp_path, second.key, second.evaluation, second.title)
    attempts.end(tmp_path, second.key, second.evaluation, attempt, "oom", "no memory", ["last", "words"])
    with Claims() as claims:
        claims.take(tmp_path, third.key)
        attempts.begin(tmp_path, third.key, third.evaluation, third.title)
        attempts.begin(tmp_path, fourth.key, fourth.evaluation, fourth.title)  # and its claim is gone
        cells = standings(tmp_path)
    assert [each.word for each in cells] == ["done", "oom", "running", "lost", "to do", "to do"]
    assert (cells[1].why, cells[1].log) == ("no memory", ("last", "words"))
    assert f"process {os.getpid()} on " in cells[2].why
    assert "the next 'pcbench run' or 'retry' takes it over" in cells[3].why
    assert cells[4].cell == fifth


def test_the_pace_of_what_was_done_last_tells_how_long_the_rest_takes(planned, tmp_path):
    for place, at in enumerate((1000.0, 1010.0, 1020.0, 99_000.0)):  # a night between the last two
        cell = planned[place]
        os.utime(layout.evaluation(finished(tmp_path, cell), cell.evaluation), (at, at))
    assert seconds_left(standings(tmp_path)) is None  # nobody is at work
    with Claims() as claims:
        claims.take(tmp_path, planned[4].key)
        attempts.begin(tmp_path, planned[4].key, planned[4].evaluation, planned[4].title)
        assert seconds_left(standings(tmp_path)) == 20.0  # of two cells
        layout.evaluation(finished(tmp_path, planned[5]), planned[5].evaluation).unlink()
        assert seconds_left(standings(tmp_path)[2:]) is None  # of too few is known


def test_an_attempt_that_ended_well_leaves_nothing(planned, tmp_path):
    cell = planned[0]
    attempt = attempts.begin(tmp_path, cell.key, cell.evaluation, cell.title)
    attempts.end(tmp_path, cell.key, cell.evaluation, attempt, "ok", "", [])
    assert list(layout.attempts(tmp_path).iterdir()) == []


def test_an_attempt_of_another_machine_lives_as_long_as_its_heart_beats(planned, tmp_path):
    cell = planned[0]
    attempt = attempts.begin(tmp_path, cell.key, cell.evaluation, cell.title)
    path = layout.attempt(tmp_path, cell.key, cell.evaluation)
    path.write_text(json.dumps(attempt.model_dump(mode="json") | {"host": "elsewhere"}))
    lock = layout.claim(tmp_path, cell.key)
    lock.parent.mkdir()
    lock.touch()
    assert words(tmp_path)[0] == "running"
    os.utime(lock, (0, time.time() - 2 * LOST))
    assert words(tmp_path)[0] == "lost"


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_clock_that_jumps_shows_nobody_as_alive_for_ever(planned, tmp_path, monkeypatch, jump):
    """A heartbeat of this process an hour ahead, or behind: until the next one, in seconds, it seems lost."""
    cell = planned[0]
    with Claims() as claims:
        claims.take(tmp_path, cell.key)
        attempts.begin(tmp_path, cell.key, cell.evaluation, cell.title)
        assert words(tmp_path)[0] == "running"
        now = time.time() + jump
        monkeypatch.setattr(attempts.time, "time", lambda: now)
        assert words(tmp_path)[0] == "lost"
        os.utime(layout.claim(tmp_path, cell.key), (now, now))  # the next heartbeat, by the same clock
        assert words(tmp_path)[0] == "running"


def test_a_process_number_that_another_process_has_now_is_nobody_at_work(planned, tmp_path):
    """The process of this test was never given the claim that stopped two minutes ago."""
    cell = planned[0]
    attempts.begin(tmp_path, cell.key, cell.evaluation, cell.title)
    lock = layout.claim(tmp_path, cell.key)
    lock.parent.mkdir()
    lock.touch()
    os.utime(lock, (0, time.time() - 2 * LOST))
    assert words(tmp_path)[0] == "lost"


def test_a_damaged_attempt_counts_as_none(planned, tmp_path):
    path = layout.attempt(tmp_path, planned[0].key, planned[0].evaluation)
    path.parent.mkdir()
    path.write_text("{")
    assert words(tmp_path)[0] == "to do"


def test_what_is_over_can_go_and_nothing_else(planned, tmp_path):
    assert upkeep.not_needed(tmp_path) == []
    for cell in planned:
        folder = finished(tmp_path, cell)
    layout.checkpoint(folder).touch()
    training = layout.share_of(layout.training(folder, planned[-1].evaluation), 0)
    training.touch()
    others = layout.share_of(layout.training(folder, "another evaluation"), 0)
    others.touch()
    lock = layout.claim(tmp_path, planned[0].key)
    lock.parent.mkdir()
    lock.touch()
    assert [each.path for each in upkeep.not_needed(tmp_path)] == [
        *layout.plans(tmp_path),
        layout.checkpoint(folder),
        training,
    ]
    assert layout.shares(layout.training(folder, planned[-1].evaluation)) == [training]
    os.utime(lock, (0, 0))
    assert lock in [each.path for each in upkeep.not_needed(tmp_path)]


def merged(*sources: Path, out: Path) -> list[str]:
    return [each.word for each in upkeep.merge(sources, out)]


def test_runs_of_two_folders_come_together_once(tmp_path):
    one, two, out = tmp_path / "one", tmp_path / "two", tmp_path / "out"
    for source, ppc in ((one, 1), (two, 3)):
        layout.clouds(a_run(source, ppc=ppc)).write_bytes(b"clouds")
    a_run(two, ppc=1)
    assert merged(one, two, out=out) == ["copied"] * 2 + ["there already"] + ["copied"] * 2
    runs, problems = read_runs(out)
    assert (sorted(run.distillation.inputs.ppc for run in runs), problems) == ([1, 3], [])
    assert all(layout.clouds(run.folder).read_bytes() == b"clouds" for run in runs)
    assert merged(one, two, out=out) == ["there already"] * 3


def test_other_scores_and_other_clouds_are_conflicts_and_stay_out(tmp_path):
    ours = a_run(tmp_path / "out")
    before = {path: path.read_bytes() for path in ours.iterdir()}
    a_run(tmp_path / "scores", right=[(1, 0)] * 10)
    a_run(tmp_path / "clouds", clouds=["5" * 64] * len(read_run(ours)[0].distillation.snapshots))
    assert merged(tmp_path / "scores", tmp_path / "clouds", out=tmp_path / "out") == ["conflict"] * 2
    assert {path: path.read_bytes() for path in ours.iterdir()} == before


def test_failed_and_unreadable_runs_are_left_out(tmp_path):
    a_run(tmp_path / "one", status="failed", reason="it diverged")
    layout.distillation(a_run(tmp_path / "one", ppc=3)).write_text("{")
    assert merged(tmp_path / "one", out=tmp_path / "out") == ["left out"] * 2
    assert not (tmp_path / "out").exists()


def test_links_are_not_followed(tmp_path):
    (tmp_path / "secret").write_text("secret")
    layout.clouds(a_run(tmp_path / "one")).symlink_to(tmp_path / "secret")
    assert "copied" in merged(tmp_path / "one", out=tmp_path / "out")
    (run,), _ = read_runs(tmp_path / "out")
    assert not layout.clouds(run.folder).exists()
