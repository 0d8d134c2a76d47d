"""A plan that a cluster works through, with a stand-in for Slurm: what is submitted, when, and when again."""

from __future__ import annotations

import functools
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from built_in import CATALOGUE
from report_records import a_run

from pcbench.engine import distil, frozen, plan, working
from pcbench.engine.cell import Cell
from pcbench.engine.evaluate import Outcome
from pcbench.engine.plan import Request
from pcbench.engine.working import Piece
from pcbench.errors import UsageError
from pcbench.executors import queued, slurm, waiting
from pcbench.executors.queued import Order
from pcbench.executors.slurm import Profile, SlurmError
from pcbench.records import attempts, jobs, layout, plans
from pcbench.records.claims import Claims
from pcbench.records.plans import Plan
from pcbench.records.standing import standings
from pcbench.records.store import read_run, read_runs

METHODS = ("random", "herding", "kcenter")


@functools.cache
def cells() -> list[Cell]:
    """Three cells, a distillation each."""
    request = Request(METHODS, ("shapes10",), (1,), protocol="quick", settings={"points": "16"})
    return plan.cells(CATALOGUE, request)


@functools.cache
def a_plan() -> Plan:
    """The plan of these cells."""
    return frozen.freeze(cells(), "all")


class Cluster:
    """Slurm as its commands show it: `then` says what happens between two looks at the queue."""

    def __init__(self, *then: Callable[[], None]) -> None:
        self.queue: dict[tuple[int, int], str] = {}
        self.accounts: list[str] = []
        self.submitted: list[tuple[list[str], str]] = []
        self.then = list(then)
        self.down = False

    def __call__(self, words: Sequence[str], script: str | None = None) -> str:
        if self.down:
            raise SlurmError(f"{words[0]}: Unable to contact slurm controller")
        match words[0]:
            case "sbatch":
                self.submitted.append((list(words), script or ""))
                job = len(self.submitted)
                for task in self.numbers(-1):
                    self.queue[job, task] = "PENDING"
                return f"{job};loopback\n"
            case "squeue":
                if self.submitted and self.then:
                    self.then.pop(0)()
                lines = [f"{job}|{task}|{word}\n" for (job, task), word in self.queue.items()]
                return "".join(lines) + "99|N/A|RUNNING\n"  # somebody's job that is no array
            case _:
                return "".join(self.accounts)

    def numbers(self, which: int) -> list[int]:
        """The tasks of an array that was submitted."""
        (array,) = [word for word in self.submitted[which][0] if word.startswith("--array=")]
        ranges = [part.split("-") for part in array.removeprefix("--array=").partition("%")[0].split(",")]
        return [number for each in ranges for number in range(int(each[0]), int(each[-1]) + 1)]

    def end(self, job: int, task: int, word: str, code: str = "0:0") -> None:
        """A task leaves the queue."""
        del self.queue[job, task]
        self.accounts.append(f"{job}_{task}|{word}|{code}|2026-01-01T00:0{len(self.accounts)}:00\n")


class Watched:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begins(self, *told: Any) -> Callable[..., None]:
        self.lines.append(f"{told[-1].partition(' ')[0]} begins")
        return lambda *_: None

    def ended(self, *told: Any) -> None:
        title, outcome = told[-2:]
        word = "reused" if outcome.reused else outcome.status
        self.lines.append(f"{title.partition(' ')[0]} {word}")

    def waits(self, titles: Sequence[str]) -> None:
        raise AssertionError(f"a cluster works at {titles}, no other process")


class Folder:
    """A folder of runs in which a cell is done as soon as `finish` says so."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.done: dict[str, Outcome] = {}
        run = read_run(a_run(out / "elsewhere"))[0]
        pieces = working.of_cells(cells(), out, torch.device("cpu"), ())
        self.pieces = [replace(piece, known=lambda key=piece.key: self.done.get(key)) for piece in pieces]
        self.outcome = Outcome(run, "pointnet:paper", reused=True)

    def finish(self, place: int) -> None:
        """A task has finished a cell, and left its files."""
        piece = self.pieces[place]
        folder = self.out / f"a-run-{layout.short(piece.key)}"
        folder.mkdir()
        layout.distillation(folder).write_text("{}")
        layout.evaluation(folder, piece.evaluation).write_text("{}")
        self.done[piece.key] = self.outcome

    def words(self) -> list[str]:
        """What `pcbench status` would say."""
        return [each.word for each in standings(self.out)]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queued, "POLL", 0.0)
    monkeypatch.setattr(queued, "EVERY", 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "results")


def followed(
    folder: Folder,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    detach: bool = False,
    pieces: Sequence[Piece] | None = None,
    **profile: Any,
) -> tuple[list[Outcome], list[str], list[str]]:
    """What a command gives that follows the plan, what its watcher heard, and the lines for the user."""
    monkeypatch.setattr(slurm, "_said", cluster)
    watcher, lines = Watched(), list[str]()
    order = Order(Profile(**profile), ["python", "-m", "pcbench", "run", "--out", "a b", "--share"])
    chosen = folder.pieces if pieces is None else pieces
    outcomes = queued.work_through(chosen, watcher, a_plan(), order, lines.append, detach)
    return outcomes, watcher.lines, lines


def test_an_array_has_a_task_for_each_distillation_and_what_the_profile_asks_for(folder, monkeypatch):
    cluster = Cluster()

    def ends() -> None:
        for place in range(3):
            folder.finish(place)
            cluster.end(1, place + 1, "COMPLETED")

    cluster.then.append(ends)
    asked = {"partition": "gpu", "time": "1:00:00", "gpus": 1, "cpus": 4, "memory": "16G", "at_once": 2}
    outcomes, heard, lines = followed(
        folder, cluster, monkeypatch, **asked, options=["--qos=long"], setup=["module load cuda"]
    )
    assert [outcome.reused for outcome in outcomes] == [False] * 3
    assert heard == [f"{name} {word}" for name in METHODS for word in ("begins", "ok")]
    assert "Slurm: job 1 submitted, 3 tasks; 'scancel 1' ends it" in lines
    ((words, script),) = cluster.submitted
    assert cluster.numbers(0) == [1, 2, 3]
    assert "--array=1-3%2" in words
    assert "--no-requeue" in words
    log = layout.job_log(folder.out, a_plan().hash, "%A", "%a")
    assert f"--output={log}" in words
    assert [word.lstrip("-") for word in words[-6:]] == [
        "partition=gpu", "time=1:00:00", "gres=gpu:1", "cpus-per-task=4", "mem=16G", "qos=long"
    ]  # fmt: skip
    assert script.splitlines() == [
        "#!/bin/sh",
        "module load cuda",
        "export OMP_NUM_THREADS=4",
        "exec python -m pcbench run --out 'a b' --share \"$SLURM_ARRAY_TASK_ID/3\"",
    ]
    assert folder.words() == ["done"] * 3


def test_what_is_done_is_in_no_task_and_nothing_is_submitted_where_all_is(folder, monkeypatch):
    folder.finish(1)
    cluster = Cluster()

    def ends() -> None:
        for place in (0, 2):
            folder.finish(place)
            cluster.end(1, place + 1, "COMPLETED")

    cluster.then.append(ends)
    outcomes, _, _ = followed(folder, cluster, monkeypatch)
    assert [outcome.reused for outcome in outcomes] == [False, True, False]
    assert cluster.numbers(0) == [1, 3]
    outcomes, heard, lines = followed(folder, cluster, monkeypatch)
    assert [outcome.reused for outcome in outcomes] == [True] * 3
    assert (len(cluster.submitted), lines, heard[1::2]) == (1, [], [f"{name} reused" for name in METHODS])


def test_what_killed_processes_left_when_all_was_done_goes(folder, monkeypatch):
    """A command that looked after the tasks, and a task; not a claim that a living process holds."""
    for place in range(3):
        folder.finish(place)
    first, second, _ = folder.pieces
    killed = os.fork()
    if not killed:
        kept = Claims()
        os._exit(0 if all(kept.take(folder.out, key) for key in (a_plan().hash, first.key)) else 1)
    assert os.waitpid(killed, 0)[1] == 0
    with Claims() as theirs:
        theirs.take(folder.out, second.key)
        followed(folder, Cluster(), monkeypatch)
        assert list(layout.claims(folder.out).iterdir()) == [layout.claim(folder.out, second.key)]


def test_few_tasks_share_many_distillations(folder, monkeypatch):
    cluster = Cluster()
    outcomes, _, _ = followed(folder, cluster, monkeypatch, detach=True, tasks=2)
    assert outcomes == []
    assert cluster.numbers(0) == [1, 2]
    assert "$SLURM_ARRAY_TASK_ID/2" in cluster.submitted[0][1]


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("NODE_FAIL", "0:0"),
        ("TIMEOUT", "0:15"),
        ("PREEMPTED", "0:15"),
        ("FAILED", "130:0"),
        ("FAILED", "0:9"),
    ],
)
def test_a_task_that_was_ended_from_outside_is_submitted_again_alone(word, code, folder, monkeypatch):
    cluster = Cluster()

    def dies() -> None:
        folder.finish(0)
        cluster.end(1, 1, "COMPLETED")
        cluster.end(1, 2, word, code)

    def ends() -> None:
        folder.finish(1)
        cluster.end(2, 2, "COMPLETED")
        folder.finish(2)
        cluster.end(1, 3, "COMPLETED")

    cluster.then += [dies, ends]
    outcomes, _, _ = followed(folder, cluster, monkeypatch)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3
    assert [cluster.numbers(0), cluster.numbers(1)] == [[1, 2, 3], [2]]
    assert jobs.read(folder.out, a_plan().hash).times(2) == 2


def test_a_task_that_never_ends_well_is_given_up_and_the_cell_says_why(folder, monkeypatch):
    folder.finish(0)
    folder.finish(2)
    cluster = Cluster()
    cluster.then += [lambda job=job: cluster.end(job, 2, "NODE_FAIL") for job in (1, 2, 3)]
    with Claims() as theirs:  # the last attempt is not known to be dead yet
        piece = folder.pieces[1]
        theirs.take(folder.out, piece.key)
        cluster.then += [lambda: None, lambda: theirs.release(folder.out, piece.key)]
        outcomes, _, _ = followed(folder, cluster, monkeypatch, retries=2)
    assert len(cluster.submitted) == 3
    assert [outcome.status for outcome in outcomes] == ["ok", "interrupted", "ok"]
    assert "task 3_2 of Slurm has ended: NODE_FAIL" in outcomes[1].problem
    assert folder.words() == ["done", "interrupted", "done"]
    assert list(layout.claims(folder.out).iterdir()) == []
    cluster.then += [lambda: None, lambda: cluster.end(4, 2, "CANCELLED")]
    followed(folder, cluster, monkeypatch)  # the same command again begins to count anew
    assert len(cluster.submitted) == 4


@pytest.mark.parametrize(
    ("word", "code", "status", "why"),
    [
        ("CANCELLED", "0:0", "interrupted", "CANCELLED"),
        ("OUT_OF_MEMORY", "0:125", "oom", "OUT_OF_MEMORY, signal 125"),
        ("FAILED", "3:0", "failed", "FAILED, exit code 3; it last said: error: there is no modelnet10"),
    ],
)
def test_what_would_end_the_same_way_is_not_tried_again(word, code, status, why, folder, monkeypatch):
    folder.finish(1)
    folder.finish(2)
    cluster = Cluster()

    def ends() -> None:
        log = layout.job_log(folder.out, a_plan().hash, 1, 1)
        log.write_text("more\nerror: there is no modelnet10\n" if word == "FAILED" else "")
        cluster.end(1, 1, word, code)

    cluster.then.append(ends)
    outcomes, _, _ = followed(folder, cluster, monkeypatch)
    assert len(cluster.submitted) == 1
    assert outcomes[0].status == status
    assert f"task 1_1 of Slurm has ended: {why}" in outcomes[0].problem
    (run,) = [each for each in read_runs(folder.out)[0] if each.distillation.inputs.method == "random"]
    assert run.distillation.status == status


def test_a_cell_that_failed_by_itself_keeps_its_own_reason(folder, monkeypatch):
    folder.finish(1)
    folder.finish(2)
    piece = folder.pieces[0]
    cluster = Cluster()

    def fails() -> None:
        attempt = attempts.begin(folder.out, piece.key, piece.evaluation, piece.title)
        attempts.end(folder.out, piece.key, piece.evaluation, attempt, "failed", "it diverged", [])
        there = layout.run_folder(folder.out, cells()[0].inputs)
        distil.ended_from_outside(cells()[0], there, torch.device("cpu"), "failed", "it diverged")
        cluster.end(1, 1, "FAILED", "1:0")

    cluster.then.append(fails)
    outcomes, _, _ = followed(folder, cluster, monkeypatch)
    assert (outcomes[0].status, outcomes[0].problem) == ("failed", "it diverged")
    assert len(cluster.submitted) == 1


def test_status_says_which_cells_are_queued_and_by_which_task(folder, monkeypatch):
    cluster = Cluster()
    assert waiting.queued(folder.out, []) == []
    followed(folder, cluster, monkeypatch, detach=True)
    assert folder.words() == ["to do"] * 3  # what the files say
    folder.finish(0)
    cluster.queue[1, 2] = "RUNNING"  # and has not come to its cell
    del cluster.queue[1, 3]
    there = waiting.queued(folder.out, standings(folder.out))
    assert [each.word for each in there] == ["done", "queued", "to do"]
    assert there[1].why == "task 1_2 of Slurm, running"
    piece = folder.pieces[1]
    with Claims() as claims:
        claims.take(folder.out, piece.key)
        attempts.begin(folder.out, piece.key, piece.evaluation, piece.title)
        assert waiting.queued(folder.out, standings(folder.out))[1].word == "running"
    layout.attempt(folder.out, piece.key, piece.evaluation).unlink()
    cluster.down = True
    assert [each.word for each in waiting.queued(folder.out, standings(folder.out))][1] == "to do"


def test_status_of_a_folder_from_which_nothing_was_submitted_asks_no_cluster(folder, monkeypatch):
    def asked(*_: object) -> str:
        raise AssertionError("Slurm was asked")

    monkeypatch.setattr(slurm, "_said", asked)
    plans.keep(folder.out, a_plan())
    assert waiting.queued(folder.out, standings(folder.out)) == standings(folder.out)


def test_the_command_status_watches_what_is_queued_and_retry_leaves_it(pcbench, folder, monkeypatch):
    cluster = Cluster()
    followed(folder, cluster, monkeypatch, detach=True)
    done = pcbench("status", str(folder.out))
    assert done.out.splitlines() == ["3 cells: 3 queued"]
    assert "queued: random on shapes10, PPC 1: task 1_1 of Slurm, pending" in pcbench(
        "status", str(folder.out), "--why"
    ).out.replace("\n", " ")
    assert pcbench("retry", str(folder.out)).out == "There is nothing to retry.\n"
    monkeypatch.setattr("pcbench.cli.status.time.sleep", lambda _: cluster.queue.clear())
    watched = pcbench("status", str(folder.out), "--watch").out.splitlines()
    assert watched == ["3 cells: 3 queued", "3 cells: 3 to do"]


def test_another_shell_waits_for_tasks_that_are_in_the_queue(folder, monkeypatch):
    cluster = Cluster()
    outcomes, _, lines = followed(folder, cluster, monkeypatch, detach=True)
    assert (outcomes, len(cluster.submitted)) == ([], 1)

    def ends() -> None:
        for place in range(3):
            folder.finish(place)
            cluster.end(1, place + 1, "COMPLETED")

    cluster.then += [lambda: None, ends]
    outcomes, _, lines = followed(folder, cluster, monkeypatch)
    assert "Slurm: tasks of this plan are in the queue already, and are waited for" in lines
    assert len(cluster.submitted) == 1
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3


def test_of_two_commands_that_look_after_a_plan_one_submits(folder, monkeypatch):
    cluster = Cluster()
    with Claims() as theirs:
        theirs.take(folder.out, a_plan().hash)
        outcomes, _, lines = followed(folder, cluster, monkeypatch, detach=True)
        assert (outcomes, cluster.submitted) == ([], [])
        assert lines == ["another command is about to submit the tasks"]
    followed(folder, cluster, monkeypatch, detach=True)
    assert len(cluster.submitted) == 1


def test_a_controller_that_is_down_costs_nothing_once_tasks_are_submitted(folder, monkeypatch):
    cluster = Cluster()
    cluster.down = True
    with pytest.raises(SlurmError, match="Unable to contact"):
        followed(folder, cluster, monkeypatch)
    cluster.down = False
    seen = []

    def goes_down() -> None:
        cluster.down = True
        monkeypatch.setattr(queued.time, "sleep", comes_back)

    def comes_back(_: float) -> None:
        seen.append(cluster.down)
        if len(seen) == 3:
            cluster.down = False
            for place in range(3):
                folder.finish(place)
                cluster.end(1, place + 1, "COMPLETED")

    cluster.then.append(goes_down)
    outcomes, _, lines = followed(folder, cluster, monkeypatch)
    assert [outcome.status for outcome in outcomes] == ["ok"] * 3
    assert len(cluster.submitted) == 1
    assert any("Unable to contact" in line for line in lines)


def test_the_last_end_of_a_task_that_was_put_back_counts(monkeypatch):
    rows = [
        "7_1|NODE_FAIL|0:0|2026-01-01T00:10:00",
        "7_1|COMPLETED|0:0|2026-01-01T00:20:00",
        "7_2|REQUEUED|0:0|2026-01-01T00:10:00",
        "7_2|RUNNING|0:0|Unknown",
        "7_3|CANCELLED by 0|0:15|2026-01-01T00:10:00",
        "7_[4-8]|PENDING|0:0|Unknown",
    ]
    monkeypatch.setattr(slurm, "_said", lambda words: "\n".join(rows))
    ends = slurm.ends([7])
    assert {task: end.word for task, end in ends.items()} == {
        (7, 1): "COMPLETED", (7, 2): "RUNNING", (7, 3): "CANCELLED"
    }  # fmt: skip
    assert [(end.final, end.by_itself, end.again) for end in ends.values()] == [
        (True, True, False), (False, False, True), (True, False, False)
    ]  # fmt: skip


def test_without_accounts_a_task_is_done_when_its_cells_have_a_word(folder, monkeypatch):
    cluster = Cluster()

    def refused(words: Sequence[str], script: str | None = None) -> str:
        if words[0] == "sacct":
            raise SlurmError("sacct: Slurm accounting storage is disabled")
        return cluster(words, script)

    def dies() -> None:
        for place in (0, 2):
            folder.finish(place)
        for task in (1, 2, 3):
            cluster.end(1, task, "")

    def fails() -> None:
        piece = folder.pieces[1]
        attempt = attempts.begin(folder.out, piece.key, piece.evaluation, piece.title)
        attempts.end(folder.out, piece.key, piece.evaluation, attempt, "oom", "no memory", [])
        cluster.end(2, 2, "")

    cluster.then += [dies, fails]
    outcomes, _, _ = followed(folder, refused, monkeypatch)
    assert [outcome.status for outcome in outcomes][::2] == ["ok", "ok"]
    assert (outcomes[1].status, outcomes[1].problem) == ("oom", "oom: no memory")
    assert len(cluster.submitted) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("partitions = 'gpu'", "partitions: Extra inputs are not permitted"),
        ("partition = 'gpu --wrap=x'", "partition: 'gpu --wrap=x' is no word"),
        ("gpus = -1", "gpus: Input should be greater than or equal to 0"),
        ("gpus =", "is not TOML"),
    ],
)
def test_a_profile_that_is_none_is_refused_with_its_place(text, problem, tmp_path):
    (tmp_path / "cluster.toml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(problem)):
        slurm.read_profile(tmp_path / "cluster.toml")


def test_a_machine_without_slurm_says_where_to_submit(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="there is no squeue on this machine"):
        slurm.queued()
    assert list(slurm.reachable()) == []


def test_doctor_says_whether_slurm_answers(monkeypatch, tmp_path):
    for name, line in (("sbatch", "echo slurm 22"), ("squeue", "echo '1|2|RUNNING'"), ("sacct", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (finding,) = slurm.reachable()
    assert (finding.topic, finding.result) == ("Slurm", "warning")
    assert finding.what == "slurm 22, 1 of your tasks in the queue; it keeps no accounts"
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (finding,) = slurm.reachable()
    assert "squeue: Unable to contact slurm controller" in finding.what
    assert shlex.split("scontrol ping")[0] in finding.remedy
