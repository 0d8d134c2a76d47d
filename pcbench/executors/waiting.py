"""Which cells wait in the queue of a cluster, for whoever looks at how far a folder of runs is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pcbench.errors import PcbenchError
from pcbench.executors import slurm
from pcbench.records import jobs
from pcbench.records.standing import WAITING, Standing


def queued(out: Path, cells: Sequence[Standing]) -> list[Standing]:
    """The same cells, `queued` where nobody works at them yet and their task is in Slurm's queue.

    Slurm is asked where tasks of a plan were submitted from this folder, and only about those of this user.
    On a machine without its commands, or where it does not answer, cells are as their files say.
    """
    plans = {each.plan.hash: each.plan for each in cells if each.word in WAITING}
    known = {name: jobs.read(out, name) for name in plans}
    submitted = {name: each for name, each in known.items() if each is not None}
    if not submitted:
        return list(cells)
    try:
        queue = slurm.queued()
    except PcbenchError:
        return list(cells)
    parts = {name: plans[name].parts(each.parts) for name, each in submitted.items()}

    def seen(each: Standing) -> Standing:
        of_plan = submitted.get(each.plan.hash)
        if of_plan is None or each.word not in WAITING:
            return each
        number = parts[each.plan.hash][each.cell.key]
        task = (of_plan.job(number), number) if of_plan.times(number) else None
        if task is None or task not in queue:
            return each
        return replace(each, word="queued", why=f"task {task[0]}_{task[1]} of Slurm, {queue[task].lower()}")

    return [seen(each) for each in cells]
