"""What a cluster was given of a plan: submitted by one command, and looked after by that or any other."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from pcbench.common.files import write_json
from pcbench.common.schema import Model, Sha256
from pcbench.records import layout
from pcbench.records.store import read_record
from pcbench.records.values import LARGEST, Count


class Array(Model):
    """Tasks that were submitted at once."""

    job: int = Field(ge=1, le=LARGEST)
    """The scheduler's number of them."""
    tasks: list[Count] = Field(max_length=100_000)
    """Their own numbers, from 1."""


class Jobs(Model):
    """What was submitted of a plan."""

    schema_version: Literal[1] = 1
    kind: Literal["jobs"] = "jobs"
    plan: Sha256
    """The plan's hash."""
    parts: int = Field(ge=1, le=100_000)
    """So many parts the plan has; the task of a number does the part of that number."""
    arrays: list[Array] = Field([], max_length=10_000)
    """The arrays in their order; a task in several of them was submitted again."""

    def times(self, task: int) -> int:
        """How often a task was submitted."""
        return sum(task in array.tasks for array in self.arrays)

    def job(self, task: int) -> int:
        """The number under which a task was submitted last."""
        return next(array.job for array in reversed(self.arrays) if task in array.tasks)

    def with_array(self, job: int, tasks: list[int]) -> Jobs:
        """The same, and one more array."""
        return self.model_copy(update={"arrays": [*self.arrays, Array(job=job, tasks=tasks)]})


def read(out: Path, plan_hash: str) -> Jobs | None:
    """What was submitted of a plan in a folder of runs; None where nothing was."""
    path = layout.jobs(out, plan_hash)
    return read_record(path, Jobs) if path.exists() else None


def write(out: Path, jobs: Jobs) -> None:
    """Leave word of what was submitted, for whoever looks after it."""
    write_json(layout.jobs(out, jobs.plan), jobs.model_dump(mode="json"))
