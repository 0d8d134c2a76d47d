"""Kills sweeps at random moments and runs them again: does every cell end once, as if nothing had happened?

    python -m benchmarks.kills --count 200
    python -m benchmarks.kills --count 30 --slurm    # as root, see benchmarks/slurm.py

Each trial is `pcbench run --jobs 2` of a few small cells in a fresh folder. SIGKILL takes the command, the
process of a cell, that of a method, or the command with all of them, at a moment drawn between the start and
the time that an undisturbed sweep takes. Then the same command runs again. What is compared are all records
and clouds, but for times, memory and provenance. With --slurm the cells are those of tasks on a Slurm that is
started for this, and what is killed is the command, a task, both, or a node with all that works on it.

The commands are forked from this process, which has imported pcbench: that saves the seconds of its imports,
in which there is nothing to be lost.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, Literal

from benchmarks import slurm as cluster
from pcbench.cli.main import main as pcbench
from pcbench.engine import server
from pcbench.engine.artifacts import load_snapshots
from pcbench.executors import queued, slurm
from pcbench.executors.worker import PATIENCE
from pcbench.records import layout
from pcbench.records.store import read_runs

WORDS = (
    *("run", "--method", "random,sadm,dm", "--ppc", "1", "--seeds", "2"),
    *("--set", "points=16", "--set", "iterations=8", "--set", "snapshot_every=4", "--set", "recipe.epochs=3"),
    *("--set", "whole.epochs=1"),
)
"""The sweep: three cells on the embedded data set."""
NOT_COMPARED = frozenset({"seconds", "clock", "memory", "provenance", "work"})
"""Fields of records that say how long something took, and where."""

Victim = Literal["command", "cell", "method", "all", "node"]


class Here:
    """Cells in processes of this machine."""

    words: tuple[str, ...] = ("--jobs", "2")
    """What makes the command work so."""
    kinds: tuple[Victim, ...] = ("command", "cell", "method", "all")
    """What can be killed."""

    def victims(self, command: int, victim: Victim) -> list[int]:
        """The processes to kill."""
        cells = children(forkserver._forkserver._forkserver_pid or 0)  # type: ignore[attr-defined]
        methods = [child for cell in cells for child in children(cell)]
        match victim:
            case "command":
                return [command]
            case "cell":
                return random.sample(cells, min(1, len(cells)))
            case "method":
                return random.sample(methods, min(1, len(methods)))
            case _:
                return [command, *cells, *methods]

    def revive(self) -> None:
        """Start again what is no process of pcbench."""

    def busy(self) -> bool:
        """Whether something is still at work."""
        return bool(children(forkserver._forkserver._forkserver_pid or 0))  # type: ignore[attr-defined]


class Cluster(Here):
    """Cells in tasks of a Slurm on this machine."""

    kinds = ("command", "cell", "all", "node")

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "slurm"
        profile = folder / "cluster.toml"
        profile.write_text("cpus = 1\n")
        self.words = ("--slurm", str(profile))
        queued.POLL = 0.5

    def victims(self, command: int, victim: Victim) -> list[int]:
        tasks = cluster.tasks()
        match victim:
            case "command":
                return [command]
            case "cell":
                return random.sample(tasks, min(1, len(tasks)))
            case "all":
                return [command, *tasks]
            case _:
                return cluster.of_node(self.folder, random.choice(cluster.NODES))

    def revive(self) -> None:
        cluster.revive(self.folder)

    def busy(self) -> bool:
        return bool(slurm.queued())


@dataclass
class Trial:
    """One kill and what became of it."""

    victim: Victim
    """What was killed."""
    after: float
    """Seconds after the start of the command."""
    killed: int = 0
    """Processes that were there to be killed."""
    problems: list[str] = field(default_factory=list)
    """What was not as it should be; none where all is well."""


@contextlib.contextmanager
def ready(scratch: Path, on_slurm: bool) -> Iterator[Here]:
    """What works at cells, as long as the block lasts."""
    if not on_slurm:
        yield Here()
        return
    way = Cluster(scratch)
    with cluster.running(way.folder) as environment:
        os.environ.update(environment)
        yield way


def begin(folder: Path, way: Here) -> int:
    """Start the sweep in a folder; the process of the command."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    os.chdir(folder)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    _share_server()
    sys.argv = ["pcbench", *WORDS, *way.words]
    code = 1
    try:
        pcbench()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    finally:
        sys.stdout.flush()
        os._exit(code)


def _share_server() -> None:
    """Let a forked command use the server of this process, which is not its child."""
    forkserver._forkserver.ensure_running = forkserver.ensure_running = lambda: None  # type: ignore


def children(pid: int) -> list[int]:
    """The processes that a process has started and that are there."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if int(parent) == pid and state != "Z":
                found.append(int(entry.name))
    return found


def results(folder: Path) -> dict[str, Any]:
    """What is compared of a folder of runs: records without times, and the hashes of what the files hold."""
    runs, problems = read_runs(folder)
    values: dict[str, Any] = {"problems": problems}
    for run in runs:
        clouds = load_snapshots(layout.clouds(run.folder), run.distillation.snapshots)
        records = [run.distillation, *run.evaluations]
        values[run.folder.name] = {
            "clouds": [snapshot.identity for snapshot in clouds],
            "records": [_without_times(record.model_dump(mode="json")) for record in records],
        }
    return values


def left_behind(folder: Path, *kept: str) -> list[str]:
    """The files that say who works at what, where nobody does any more; but for those in folders `kept`."""
    files = [path for path in (folder / layout.WORK).rglob("*") if path.is_file()]
    return [path.name for path in files if path.parent.name not in kept]


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_times(item) for name, item in value.items() if name not in NOT_COMPARED}
    return [_without_times(item) for item in value] if isinstance(value, list) else value


def ended(command: int, within: float) -> int | None:
    """The exit code of a command, negative for a signal; None where it has not ended in so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        pid, status = os.waitpid(command, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(command, signal.SIGKILL)
    os.waitpid(command, 0)
    return None


def tried(folder: Path, trial: Trial, expected: dict[str, Any], patience: float, way: Here) -> None:
    """Do one trial in an empty folder."""
    command = begin(folder, way)
    time.sleep(trial.after)
    for pid in way.victims(command, trial.victim):
        try:
            os.kill(pid, signal.SIGKILL)
            trial.killed += 1
        except ProcessLookupError:
            continue
    way.revive()
    if ended(command, patience) is None:
        trial.problems.append("the command did not end after the kill")
    code = ended(begin(folder, way), patience)
    if code != 0:
        trial.problems.append(f"the second command ended with {code}")
    if results(folder / "results") != expected:
        trial.problems.append("the results are not those of an undisturbed sweep")
    left = left_behind(folder / "results", "plans", "jobs")
    if left:
        trial.problems.append(f"left behind: {', '.join(left)}")
    until = time.monotonic() + 2 * PATIENCE
    while way.busy():
        if time.monotonic() > until:
            trial.problems.append("processes are still there")
            break
        time.sleep(0.05)


def main() -> None:
    """Do the trials and say how many went well; exit code 1 where one did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="trials")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--slurm", action="store_true", help="over a Slurm on this machine")
    chosen = parser.parse_args()
    random.seed(chosen.seed)
    server.start()
    with (
        tempfile.TemporaryDirectory(prefix="pcbench-kills-") as scratch,
        ready(Path(scratch), chosen.slurm) as way,
    ):
        os.environ["XDG_CACHE_HOME"] = scratch
        times = []
        for name in ("first", "undisturbed"):  # the first one fills the cache
            (Path(scratch) / name).mkdir()
            begun = time.monotonic()
            code = ended(begin(Path(scratch) / name, way), 600)
            times.append(time.monotonic() - begun)
            if code != 0:
                log = (Path(scratch) / name / "log.txt").read_text()
                sys.exit(f"the undisturbed sweep ended with {code}:\n{log}")
        expected = results(Path(scratch) / "undisturbed" / "results")
        if results(Path(scratch) / "first" / "results") != expected:
            sys.exit("two undisturbed sweeps differ")
        killed: Counter[str] = Counter()
        wrong = 0
        for number in range(chosen.count):
            trial = Trial(random.choice(way.kinds), random.uniform(0, times[-1]))
            folder = Path(scratch) / str(number)
            folder.mkdir()
            tried(folder, trial, expected, 60 + 20 * times[-1], way)
            killed[f"{trial.victim}{'' if trial.killed else ', not there'}"] += 1
            wrong += bool(trial.problems)
            print(json.dumps(vars(trial)), flush=True)
            if trial.problems:
                print((folder / "log.txt").read_text(), flush=True)
            shutil.rmtree(folder)
    print(f"{chosen.count} trials, {wrong} of them wrong; killed: {dict(sorted(killed.items()))}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
