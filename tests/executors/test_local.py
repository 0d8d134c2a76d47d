"""A process a cell: the same results, several at once, and an end for those that find none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pcbench.engine import machine
from pcbench.errors import UsageError
from pcbench.executors import local
from pcbench.records import layout
from pcbench.records.store import read_runs

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
TINY = (
    *("--ppc", "1", "--seeds", "2", "--set", "points=16", "--set", "iterations=2"),
    *("--set", "recipe.epochs=1", "--set", "whole.epochs=1"),
)
METHODS = '''
import os
import signal
import time
from collections.abc import Iterator

import torch

from pcbench.api import Method, Snapshot, Task


class Sleeps(Method):
    """Never gets anywhere."""

    name = "sleeps"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        time.sleep(600)
        yield Snapshot(0, task.initial_clouds())


class Swells(Method):
    """Takes more memory than there is."""

    name = "swells"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        torch.ones(1 << 30, dtype=torch.float64)
        yield Snapshot(0, task.initial_clouds())


class Dies(Method):
    """Is ended by the system."""

    name = "dies"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        print("farewell")
        os.kill(os.getpid(), signal.SIGKILL)
        yield Snapshot(0, task.initial_clouds())
'''


def scores(out: Path) -> dict[str, Any]:
    """What students of each run scored, and the hashes of its clouds."""
    runs, problems = read_runs(out)
    assert problems == []
    return {
        run.folder.name: (
            [entry.clouds for entry in run.distillation.snapshots],
            [each.correct for record in run.evaluations for each in record.snapshots],
        )
        for run in runs
    }


def test_cells_in_processes_of_their_own_give_what_one_process_gives(pcbench):
    words = ("run", "--method", "random,sadm", *TINY)
    assert pcbench(*words, "--out", "one").code == 0
    done = pcbench(*words, "--out", "several", "--jobs", "2")
    assert done.code == 0, done.err
    assert scores(Path("several")) == scores(Path("one"))
    assert len(scores(Path("one"))) == 2
    again = pcbench(*words, "--out", "several", "--jobs", "auto")
    assert again.err.count("done already") == 2
    (isolation,) = {run.distillation.isolation for run in read_runs(Path("several"))[0]}
    assert isolation == read_runs(Path("one"))[0][0].distillation.isolation
    assert "2 cells: 2 done" in pcbench("status", "several").out


def test_what_dies_or_takes_too_long_is_told_and_can_be_tried_again(pcbench, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "two.py").write_text(METHODS)
    done = pcbench("run", "--method", "dies,random", *TINY, "--plugins", "mine", "--jobs", "2")
    assert done.code == 1
    assert "oom: the method's process was ended by SIGKILL" in done.err
    slow = pcbench("run", "--method", "sleeps", *TINY, "--plugins", "mine", "--timeout", "1")
    assert slow.code == 1
    assert "timeout: took longer than it may: 1 s" in slow.err
    status = {cell["title"]: cell for cell in json.loads(pcbench("status", "--json").out)["cells"]}
    states = {title.partition(" ")[0]: cell["state"] for title, cell in status.items()}
    assert states == {"sleeps": "timeout", "dies": "oom", "random": "done"}
    assert status["dies on shapes10, PPC 1"]["log"] == ["farewell"]
    told = pcbench("status", "--why").out
    assert "timeout: sleeps on shapes10, PPC 1: timeout: took longer than it may" in told
    assert "    farewell" in told
    retried = pcbench("retry", "--failed", "--device", "cpu", "--plugins", "mine", "--timeout", "1")
    assert retried.code == 1
    assert retried.err.count("1 cell to do") == 2  # of each plan
    assert list(layout.claims(Path("results")).iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the memory of one process")
def test_a_process_that_takes_more_memory_than_it_may_ends_alone(pcbench, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "three.py").write_text(METHODS)
    words = ("run", "--method", "swells,random", *TINY, "--plugins", "mine", "--memory", "4G")
    done = pcbench(*words)
    assert done.code == 1
    assert "swells on shapes10, PPC 1: oom: " in done.err
    assert "2 cells: 1 done, 1 oom" in pcbench("status").out


def test_places_divide_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [place.threads for place in local.places("auto", CPU, 100)] == [1] * 8
    assert [place.threads for place in local.places("auto", CPU, 2)] == [4, 4]
    assert [place.threads for place in local.places("3", CPU, 100)] == [2] * 3
    assert [place.threads for place in local.places("100", CPU, 100)] == [1] * 100
    assert len(local.places("auto", CPU, 0)) == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert [place.threads for place in local.places("2", CPU, 2)] == [1, 1]


def test_auto_begins_no_more_cells_than_memory_holds(monkeypatch):
    """Eight cores and 4 GiB: three cells of 1 GiB and of what they take beside; a number is a wish."""
    monkeypatch.setattr(local.machine, "cores", lambda: 8)
    monkeypatch.setattr(local.machine, "free_memory", lambda: (4 << 30, 8 << 30))
    assert len(local.places("auto", CPU, 100, 1 << 30)) == 3
    assert len(local.places("auto", CPU, 100, 1 << 40)) == 1
    assert len(local.places("auto", CPU, 100, None)) == 8
    assert len(local.places("8", CPU, 100, 1 << 30)) == 8
    monkeypatch.setattr(local.machine, "free_memory", lambda: (None, 8 << 30))
    assert len(local.places("auto", CPU, 100, 1 << 30)) == 8


def test_places_are_one_a_gpu(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    devices = [str(place.device) for place in local.places("auto", torch.device("cuda"), 100)]
    assert devices == ["cuda:0", "cuda:1", "cuda:2", "cuda:3"]
    assert len(local.places("8", torch.device("cuda"), 100)) == 8
    assert [str(place.device) for place in local.places("2", torch.device("cuda:1"), 9)] == ["cuda:1"] * 2


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5", ""])
def test_what_is_no_number_of_cells_is_refused(jobs):
    with pytest.raises(UsageError, match="no number of cells at once"):
        local.places(jobs, CPU, 1)


def test_a_sweep_that_was_killed_ends_as_if_nothing_had_happened():
    words = [sys.executable, "-m", "benchmarks.kills", "--count", "1", "--seed", "3"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 trials, 0 of them wrong" in done.stdout
