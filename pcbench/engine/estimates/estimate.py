"""What a cell still needs: seconds, memory and disk, by the records of earlier runs or by its first steps.

The best of what is known counts: a run of the same work on this hardware; then the first steps of the cell
itself, or of its stand-in (`estimates.trials`), corrected by what runs of the method took against their own
first steps; then a run, or first steps, of something like it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pcbench.engine import machine
from pcbench.engine.cell import Cell
from pcbench.engine.estimates.distillations import distillation
from pcbench.engine.estimates.known import Cost, Known
from pcbench.engine.estimates.students import students_of
from pcbench.engine.estimates.trials import Trials, on
from pcbench.records.circumstances import Hardware
from pcbench.records.models import Run
from pcbench.records.state import Finished, Snapshots, State, state, wanted

RECORDS_BYTES = 32 << 10
"""What the files of a run take beside clouds and predictions, roughly."""


@dataclass(frozen=True)
class Estimate:
    """What a cell needs."""

    state: State
    """What there is of it."""
    seconds: float | None
    """What the rest may take; None where nothing like it is recorded or was tried."""
    based_on: tuple[str, ...] = ()
    """The folders of the runs that this was estimated from, and whose first steps were timed."""
    memory: int | None = None
    """Peak bytes, of the GPU where there is one; None where that is not known."""
    disk: int | None = None
    """Bytes that its files will take; None where that is not known."""
    own: bool = True
    """Whether it is by the work itself: runs of it, or its own first steps, and not by something like it."""
    unknown: str = ""
    """Why `seconds` is None, where whoever asked for first steps knows."""


def estimates(
    cells: Sequence[Cell],
    runs: Sequence[Run],
    hardware: Hardware,
    snapshots: Snapshots = "all",
    again: bool = False,
    trials: Trials | None = None,
) -> list[Estimate]:
    """The state of every cell by its records alone, and its cost, see `_estimate`.

    A distillation that several cells evaluate costs once. trials: the first steps that were timed.
    """
    known = Known(runs, hardware, trials if trials is not None and trials.any else None, cells)
    finished = Finished(runs)
    before: set[str] = set()
    costs = []
    for cell in cells:
        there = state(cell.inputs, cell.key, cell.evaluation.asked(cell.key), snapshots, finished)
        costs.append(_estimate(cell, there, known, snapshots, again, cell.key in before))
        before.add(cell.key)
    return costs


def largest(costs: Sequence[Estimate]) -> int | None:
    """The peak bytes of the cell that needs most; None where nothing is known of any."""
    return max((cost.memory for cost in costs if cost.memory), default=None)


def _estimate(
    cell: Cell, there: State, known: Known, snapshots: Snapshots, again: bool, distilled: bool
) -> Estimate:
    """The cost of a cell, whose state by its records is `there`.

    again: a stale cell is computed again; else it costs nothing, for it stays as it is. distilled: a cell
    before this one makes the clouds, so that only its students cost time.
    """
    if there.word == "done" or (there.word == "stale" and not again):
        return Estimate(there, 0.0, memory=0, disk=0)
    if there.word == "to evaluate" and there.run is not None:
        entries = wanted(there.run.distillation.snapshots, snapshots)
        scored = _scored(there.run, cell.evaluation_key)
        missing = [entry for entry in entries if entry.iteration not in scored]
        students = students_of(cell, known, there.run.distillation.step_factor)
        return _summed(there, cell, [students], len(missing or entries), 0)
    made = distillation(cell, known)
    if made is None:
        return Estimate(there, None, own=False)
    students = students_of(cell, known, made.step_factor)
    parts = [students] if distilled else [students, made.cost]
    disk = 0 if distilled else made.kept * made.set_bytes
    return _summed(there, cell, parts, _wanted(cell, made.kept, snapshots), disk)


def expected(
    cells: Sequence[Cell], device: torch.device, runs: Sequence[Run], snapshots: Snapshots, again: bool
) -> list[Estimate]:
    """What every cell needs on a device, by what is known of it already: nothing is timed."""
    return estimates(cells, runs, machine.hardware(device), snapshots, again, on(device))


def _summed(there: State, cell: Cell, parts: Sequence[Cost | None], sets: int, disk: int) -> Estimate:
    """The estimate of a cell from what students of one snapshot, and then its distillation, take."""
    costs = [part for part in parts if part is not None]
    if len(costs) < len(parts):
        return Estimate(there, None, own=False)
    students, *distillation = costs
    test = len(cell.evaluation.splits.test) * cell.evaluation.protocol.students
    memory = [cost.memory for cost in costs if cost.memory is not None]
    return Estimate(
        there,
        students.seconds * sets + sum(cost.seconds for cost in distillation),
        tuple(dict.fromkeys(cost.based_on for cost in (*distillation, students))),
        max(memory) if len(memory) == len(costs) else None,
        disk + test + RECORDS_BYTES,
        all(cost.own for cost in costs),
    )


def _scored(run: Run, key: str) -> set[int]:
    """The iterations of a run that the evaluation of that key has scores of."""
    return {s.iteration for record in run.evaluations if record.key == key for s in record.snapshots}


def _wanted(cell: Cell, kept: int, snapshots: Snapshots) -> int:
    """How many of the snapshots that are kept students are trained on."""
    if snapshots == "all" or kept == 1:
        return kept
    earlier = () if snapshots == "last" else snapshots
    return len({*earlier} & {*cell.inputs.taken} | {cell.inputs.taken[-1]})
