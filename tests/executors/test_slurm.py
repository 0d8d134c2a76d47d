"""A plan on a real Slurm, started on this machine: the same results, whatever is killed meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import kills
from benchmarks import slurm as cluster
from pcbench.executors import slurm
from pcbench.records import jobs, layout, plans

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
TINY = (
    *("run", "--method", "random,herding", "--ppc", "1", "--seeds", "2", "--set", "points=16"),
    *("--set", "iterations=2", "--set", "recipe.epochs=1", "--set", "whole.epochs=1"),
)
METHOD = '''
import time
from collections.abc import Iterator
from pathlib import Path

from pcbench.api import Method, Snapshot, Task


class Slow(Method):
    """Takes its time."""

    name = "slow"

    def distill(self, task: Task) -> Iterator[Snapshot]:
        time.sleep(%s)
        yield Snapshot(0, task.initial_clouds())
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Slurm, whose files are in this folder, and whose commands everybody finds."""
    folder = tmp_path_factory.mktemp("cluster") / "slurm"
    with cluster.running(folder) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(ROOT))
        yield folder


@pytest.fixture
def workplace(folder: Path, tmp_path: Path) -> Path:
    """Where commands are given, with a profile."""
    assert folder.is_dir()
    (tmp_path / "cluster.toml").write_text('partition = "all"\ncpus = 1\ntime = "10"\n')
    return tmp_path


def pcbench(where: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of its own, as from another shell."""
    command = [sys.executable, "-m", "pcbench", *words]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=300, check=False)


def test_a_cluster_gives_what_one_process_gives(workplace: Path) -> None:
    assert pcbench(workplace, *TINY, "--out", "alone").returncode == 0
    done = pcbench(workplace, *TINY, "--slurm", "cluster.toml")
    assert done.returncode == 0, done.stderr
    assert "submitted, 2 tasks" in done.stderr
    assert kills.results(workplace / "results") == kills.results(workplace / "alone")
    (plan,) = plans.kept(workplace / "results")
    ends = slurm.ends(array.job for array in jobs.read(workplace / "results", plan.hash).arrays)
    assert [end.word for end in ends.values()] == ["COMPLETED"] * 2
    gone = pcbench(workplace, "results", "gc")
    assert not layout.jobs(workplace / "results", plan.hash).exists(), gone.stdout
    assert layout.job_logs(workplace / "results", plan.hash) == []


def test_a_task_whose_process_is_killed_is_submitted_again(workplace: Path) -> None:
    (workplace / "mine").mkdir()
    (workplace / "mine" / "slow.py").write_text(METHOD % 5)
    words = (*TINY[:1], "--method", "slow", *TINY[3:], "--plugins", "mine", "--slurm", "cluster.toml")
    detached = pcbench(workplace, *words, "--detach")
    assert detached.returncode == 0, detached.stderr
    (job, number) = next(iter(slurm.queued()))
    until = time.monotonic() + 60
    while state(workplace) != "running":
        assert time.monotonic() < until
        time.sleep(0.2)
    who = json.loads(next(layout.attempts(workplace / "results").glob("*.json")).read_text())
    os.kill(who["pid"], 9)
    done = pcbench(workplace, *words)
    assert done.returncode == 0, done.stderr
    assert "submitted, 1 task;" in done.stderr
    ends = slurm.ends([job])
    assert ends is not None
    assert (ends[job, number].signal, ends[job, number].again) == (9, True)
    assert state(workplace) == "done"


def state(workplace: Path) -> str:
    """The word of the only cell."""
    (cell,) = json.loads(pcbench(workplace, "status", "--json").stdout)["cells"]
    word: str = cell["state"]
    return word
