"""The loop from pieces to outcomes, with stand-ins for the work: what several drivers do on one folder."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from built_in import CATALOGUE
from report_records import a_run

from pcbench.engine import frozen, plan, working
from pcbench.engine.evaluate import Outcome
from pcbench.engine.working import Piece, work_through
from pcbench.records import layout
from pcbench.records.claims import Claims
from pcbench.records.models import Run
from pcbench.records.plans import Plan
from pcbench.records.store import read_run


class Silent:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begins(self, *told: Any) -> Callable[..., None]:
        self.lines.append(f"{told[-1]} begins")
        return lambda *_: None

    def ended(self, *told: Any) -> None:
        title, outcome = told[-2:]
        self.lines.append(f"{title} {'reused' if outcome.reused else outcome.problem or 'done'}")

    def waits(self, titles: Any) -> None:
        self.lines.append(f"waits for {', '.join(titles)}")


class Folder:
    """A folder of runs, and pieces of work that note in it who did them."""

    def __init__(self, out: Path, seconds: float = 0.0) -> None:
        self.out, self.seconds = out, seconds
        self.run: Run = read_run(a_run(out / "kept"))[0]
        self.done: list[str] = []
        self.looks: list[str] = []

    def piece(self, name: str, key: str | None = None, fails: bool = False) -> Piece:
        def known() -> Outcome | None:
            self.looks.append(name)
            return Outcome(self.run, "pointnet:paper", reused=True) if name in self.done else None

        def work(_: Any) -> Outcome:
            time.sleep(self.seconds)
            if fails:
                raise KeyboardInterrupt
            self.done.append(name)
            return Outcome(self.run, "pointnet:paper")

        return Piece(name, self.out, (key or name).ljust(64, "0"), known, work)


@pytest.fixture(scope="module")
def a_plan() -> Plan:
    request = plan.Request(("random",), ("shapes10",), (1,), protocol="quick", settings={"points": "16"})
    return frozen.freeze(plan.cells(CATALOGUE, request), "all")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "POLL", 0.02)


def test_what_is_there_is_not_done_again_and_claims_nothing(tmp_path):
    folder, watcher = Folder(tmp_path), Silent()
    folder.done.append("b")
    outcomes = work_through([folder.piece("a"), folder.piece("b")], watcher)
    assert [outcome.reused for outcome in outcomes] == [False, True]
    assert watcher.lines == ["a begins", "a done", "b begins", "b reused"]
    assert list(layout.claims(tmp_path).iterdir()) == []


def test_two_drivers_on_one_folder_do_every_piece_once_and_have_every_outcome(tmp_path):
    folder = Folder(tmp_path, seconds=0.03)
    names = [f"{number:02d}" for number in range(12)]
    outcomes: list[list[Outcome]] = []

    def drive() -> None:
        outcomes.append(work_through([folder.piece(name) for name in names], Silent()))

    drivers = [threading.Thread(target=drive) for _ in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    assert sorted(folder.done) == names
    assert [len(each) for each in outcomes] == [12, 12]
    reused = [sum(outcome.reused for outcome in each) for each in outcomes]
    assert sum(reused) == 12
    assert 12 not in reused  # both had their share
    assert list(layout.claims(tmp_path).iterdir()) == []


def test_pieces_of_one_distillation_are_never_at_work_at_once(tmp_path):
    folder, others = Folder(tmp_path, seconds=0.05), Silent()
    first = threading.Thread(target=work_through, args=([folder.piece("a", "same")], Silent()))
    first.start()
    while not list(layout.claims(tmp_path).glob("*.lock")):
        time.sleep(0.005)
    work_through([folder.piece("b", "same")], others)
    first.join()
    assert folder.done == ["a", "b"]
    assert others.lines == ["waits for b", "b begins", "b done"]


def test_clouds_are_read_once_however_long_another_process_is_at_work(tmp_path):
    theirs, ours = Folder(tmp_path, seconds=0.5), Folder(tmp_path)
    ours.done = theirs.done
    other = threading.Thread(target=work_through, args=([theirs.piece("a")], Silent()))
    other.start()
    while not list(layout.claims(tmp_path).glob("*.lock")):
        time.sleep(0.005)
    outcomes = work_through([ours.piece("a"), ours.piece("b")], Silent())
    other.join()
    assert [outcome.reused for outcome in outcomes] == [True, False]
    assert ours.looks == ["a", "b", "a"]  # again when the other process had given it back
    assert theirs.looks == ["a"]


@pytest.mark.parametrize("there", [True, False])
def test_a_plan_is_left_where_there_is_anything_to_do_and_nothing_is_written_else(a_plan, there, tmp_path):
    folder = Folder(tmp_path)
    folder.done += ["a"] * there
    work_through([folder.piece("a")], Silent(), plan=a_plan)
    assert layout.plan(tmp_path, a_plan.hash).exists() != there
    assert (tmp_path / layout.WORK).exists() != there


def test_an_interruption_leaves_no_claim(tmp_path):
    folder = Folder(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        work_through([folder.piece("a"), folder.piece("b", fails=True)], Silent())
    assert folder.done == ["a"]
    assert list(layout.claims(tmp_path).iterdir()) == []


def test_what_a_killed_process_left_of_a_finished_piece_goes(tmp_path):
    folder = Folder(tmp_path)
    piece = folder.piece("a")
    killed = os.fork()
    if not killed:
        kept = Claims()
        os._exit(0 if kept.take(piece.out, piece.key) else 1)
    assert os.waitpid(killed, 0)[1] == 0
    assert len(list(layout.claims(tmp_path).iterdir())) == 1
    folder.done.append("a")
    (outcome,) = work_through([piece], Silent())
    assert outcome.reused
    assert list(layout.claims(tmp_path).iterdir()) == []
