"""What pcbench says to Slurm and hears of it: arrays of tasks, which of them wait or run, how they ended."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import Field, field_validator

from pcbench.common.schema import Model
from pcbench.common.text import one_line
from pcbench.common.toml import read_toml
from pcbench.errors import PcbenchError, UsageError

if TYPE_CHECKING:
    from pcbench.engine.checkup import Finding

ANSWER = 120.0
"""Seconds that a command of Slurm may take; a busy controller lets one wait."""

Task: TypeAlias = tuple[int, int]
"""A task: the number of its array's job, and its own within the array."""


class SlurmError(PcbenchError):
    """A command of Slurm failed, or did not answer."""


class Profile(Model):
    """What each task asks the cluster for, and how it is submitted; empty is the cluster's default."""

    partition: str = ""
    """The partition."""
    account: str = ""
    """The account that pays."""
    time: str = ""
    """The longest wall time, as Slurm writes it: `90` minutes, `2:00:00`, `1-12`."""
    gpus: int = Field(0, ge=0, le=1000)
    """GPUs."""
    cpus: int = Field(0, ge=0, le=100_000)
    """Processor cores, and threads of torch."""
    memory: str = ""
    """Memory of the node, as `16G`."""
    tasks: int = Field(1000, ge=1, le=100_000)
    """So many tasks at most, a distillation each where that is enough; few clusters take more than 1000."""
    at_once: int = Field(0, ge=0, le=100_000)
    """So many of them run at the same time at most."""
    retries: int = Field(5, ge=0, le=1000)
    """So often a task is submitted again that was ended from outside, by its time limit or a dying node."""
    options: list[str] = Field([], max_length=100)
    """More options of `sbatch`, a word each."""
    setup: list[str] = Field([], max_length=100)
    """Lines of shell that a task begins with, as `module load cuda`."""

    @field_validator("partition", "account", "time", "memory")
    @classmethod
    def _a_word(cls, value: str) -> str:
        if re.search(r"[^\w.,:@+-]", value):
            raise ValueError(f"{one_line(value, 40)!r} is no word")
        return value

    def words(self) -> list[str]:
        """The same as options of `sbatch`."""
        asked = {
            "partition": self.partition,
            "account": self.account,
            "time": self.time,
            "gres": f"gpu:{self.gpus}" if self.gpus else "",
            "cpus-per-task": self.cpus,
            "mem": self.memory,
        }
        return [f"--{name}={value}" for name, value in asked.items() if value] + self.options


def read_profile(path: Path) -> Profile:
    """The profile in a file; UsageError for what is none."""
    return read_toml(path, Profile, "profile")


def submit(name: str, script: str, tasks: Sequence[int], log: Path, profile: Profile) -> int:
    """Submit an array of tasks by these numbers, ascending; the number of its job.

    Slurm is not to start a task again by itself: it would do so for ever, and where pcbench has given up.
    name: what the job is called. log: the file that tasks print to; their numbers stand for `%A` and `%a`.
    """
    at_once = f"%{profile.at_once}" if profile.at_once else ""
    words = [
        *("sbatch", "--parsable", "--no-requeue", "--open-mode=append", f"--job-name={name}"),
        *(f"--array={_ranges(tasks)}{at_once}", f"--output={log}", *profile.words()),
    ]
    return int(_said(words, script).partition(";")[0])


def queued() -> dict[Task, str]:
    """The tasks of this user that wait, run or are being put back into the queue, each with Slurm's word."""
    said = _said(["squeue", "--me", "--array", "--noheader", "--format=%F|%K|%T"])
    rows = [line.strip().split("|") for line in said.splitlines()]
    return {(int(job), int(task)): word for job, task, word in rows if task.isdecimal()}


@dataclass(frozen=True)
class End:
    """What Slurm's accounts say of how a task ended."""

    word: str
    """`COMPLETED`, `FAILED`, `TIMEOUT`, `NODE_FAIL` …"""
    exit_code: int
    """What its process ended with; 0 where a signal ended it."""
    signal: int
    """The signal that ended it, or 0."""

    @property
    def final(self) -> bool:
        """Whether it has ended at all: the accounts may lag behind the queue."""
        return self.word not in ("PENDING", "RUNNING", "REQUEUED", "RESIZING", "SUSPENDED", "COMPLETING")

    @property
    def by_itself(self) -> bool:
        """Whether pcbench had its say, also where cells failed, or code or data were not as planned."""
        return self.word == "COMPLETED" or (
            self.word == "FAILED" and not self.signal and self.exit_code < 128
        )

    @property
    def again(self) -> bool:
        """Whether it was ended from outside, by nobody's wish, and may end otherwise another time."""
        return not self.by_itself and self.word not in ("CANCELLED", "OUT_OF_MEMORY", "DEADLINE")

    def __str__(self) -> str:
        """`NODE_FAIL`, `FAILED, exit code 3`."""
        how = f", signal {self.signal}" if self.signal else ""
        return f"{self.word}{f', exit code {self.exit_code}' if self.exit_code else how}"


def ends(jobs: Iterable[int]) -> dict[Task, End] | None:
    """How the tasks of some jobs ended; None where the cluster keeps no accounts.

    A task that was put back into the queue stands there once for each time it ran, and under the state of its
    first end unless all of them are asked for: the last one counts.
    """
    words = [
        *("sacct", "--duplicates", "--allocations", "--noheader", "--parsable2"),
        *("--format=JobID,State,ExitCode,End", f"--jobs={','.join(map(str, jobs))}"),
    ]
    try:
        said = _said(words)
    except SlurmError:
        return None
    last: dict[Task, tuple[str, End]] = {}
    for line in said.splitlines():
        row = re.fullmatch(r"(\d+)_(\d+)\|(\w+)[^|]*\|(\d+):(\d+)\|(\S+)", line.strip())
        if row is None:
            continue  # tasks that wait stand in one line, as 12_[4-8]
        task, ended = (int(row[1]), int(row[2])), row[6]  # a time, or Unknown, which sorts after all times
        if task not in last or ended >= last[task][0]:
            last[task] = ended, End(row[3], int(row[4]), int(row[5]))
    return {task: end for task, (_, end) in last.items()}


def reachable() -> Iterator[Finding]:
    """What `pcbench doctor` says of Slurm; nothing on a machine without its commands."""
    from pcbench.engine.checkup import Finding

    if shutil.which("sbatch") is None:
        return
    result: Literal["ok", "warning", "problem"] = "ok"
    remedy = ""
    try:
        what = f"{_said(['sbatch', '--version']).strip()}, {len(queued())} of your tasks in the queue"
        if ends([1]) is None:
            result, what = "warning", f"{what}; it keeps no accounts"
            remedy = "nobody will know why a task was ended from outside; ask for slurmdbd"
    except PcbenchError as error:
        result, what = "warning", str(error)
        remedy = "look at 'scontrol ping'; for other ways to use several machines, 'pcbench docs cluster'"
    yield Finding("Slurm", result, what, remedy)


def _ranges(numbers: Sequence[int]) -> str:
    """Ascending numbers as Slurm writes them: `1-3,7`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if first < last else str(first) for first, last in runs)


def _said(words: Sequence[str], script: str | None = None) -> str:
    """What a command of Slurm prints, given a script on its standard input."""
    try:
        done = subprocess.run(
            words, input=script, capture_output=True, text=True, timeout=ANSWER, check=False
        )
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no {words[0]} on this machine: submit where Slurm's commands are, as on a login node",
            "slurm",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise SlurmError(
            f"{words[0]} has not answered for {ANSWER:.0f} s: look at 'scontrol ping'"
        ) from error
    if done.returncode:
        raise SlurmError(f"{words[0]}: {one_line(done.stderr.strip()) or f'exit code {done.returncode}'}")
    return done.stdout
