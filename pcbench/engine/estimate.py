"""What a cell still needs and how long that may take, by the records of earlier runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pcbench.engine.plan import Cell
from pcbench.records.models import (
    DistillationRecord,
    EvaluationRecord,
    Hardware,
    Run,
    Work,
)
from pcbench.records.state import Finished, Snapshots, State, state, wanted


@dataclass(frozen=True)
class Estimate:
    """What a cell needs."""

    state: State
    """What there is of it."""
    seconds: float | None
    """What the rest may take; None where no comparable run is recorded."""
    based_on: tuple[str, ...] = ()
    """The folders of the runs that this was estimated from."""


@dataclass(frozen=True)
class Records:
    """What costs are estimated from: runs on one kind of hardware that did not have to wait for others."""

    runs: Sequence[Run]
    """All runs that there are."""
    hardware: Hardware
    """What the cells would be computed on."""

    def distillations(self) -> list[Run]:
        """The finished runs whose distillation ran on this hardware, undisturbed."""
        return [run for run in self.runs if self._of_use(run)]

    def _of_use(self, run: Run) -> bool:
        record = run.distillation
        there = record.provenance.hardware
        return record.status == "ok" and there.label == self.hardware.label and not record.clock.busy(there)

    def shares(self, record: EvaluationRecord) -> list[Work]:
        """The parts of an evaluation that trained students on this hardware, undisturbed."""
        return [
            share
            for share in record.work
            if share.iterations
            and share.provenance.hardware.label == self.hardware.label
            and not share.train.busy(share.provenance.hardware)
        ]


def estimates(
    cells: Sequence[Cell],
    runs: Sequence[Run],
    hardware: Hardware,
    snapshots: Snapshots = "all",
    again: bool = False,
) -> list[Estimate]:
    """The state of every cell by its records alone, and its cost, see `_estimate`.

    A distillation that several cells evaluate costs once.
    """
    finished, records = Finished(runs), Records(runs, hardware)
    before: set[str] = set()
    costs = []
    for cell in cells:
        there = state(cell.inputs, cell.key, cell.evaluation.asked(cell.key), snapshots, finished)
        costs.append(_estimate(cell, there, records, snapshots, again, cell.key in before))
        before.add(cell.key)
    return costs


def _estimate(
    cell: Cell, there: State, records: Records, snapshots: Snapshots, again: bool, distilled: bool
) -> Estimate:
    """The cost of a cell, whose state by its records is `there`, by the records of runs like it.

    again: a stale cell is computed again; else it costs nothing, for it stays as it is. distilled: a cell
    before this one makes the clouds, so that only its students cost time.

    A distillation is taken from the nearest run of the method (data set, parameters, PPC) with the same
    points, iterations, network and hardware, times the ratio of classes. Students are taken from the nearest
    evaluation by the same protocol, of this method if there is one, times the ratios of their gradient steps
    and of test clouds. Times of a busy machine are left out.
    """
    if there.word == "done" or (there.word == "stale" and not again):
        return Estimate(there, 0.0)
    if there.word == "to evaluate" and there.run is not None:
        entries = wanted(there.run.distillation.snapshots, snapshots)
        scored = _scored(there.run, cell.evaluation_key)
        missing = [entry for entry in entries if entry.iteration not in scored]
        cost = _students(cell, len(missing or entries), records)
        return Estimate(there, *cost) if cost else Estimate(there, None)
    alike = [run for run in records.distillations() if _comparable(cell, run.distillation)]
    if not alike:
        return Estimate(there, None)
    nearest = min(alike, key=lambda run: _distance(cell, run.distillation))
    like = nearest.distillation
    cost = _students(cell, len(wanted(like.snapshots, snapshots)), records)
    if cost is None:
        return Estimate(there, None)
    seconds, based_on = cost
    if distilled:
        return Estimate(there, seconds, based_on)
    seconds += like.clock.seconds * _classes(cell.inputs.data.class_names, like)
    return Estimate(there, seconds, tuple(dict.fromkeys([nearest.folder.name, *based_on])))


def _scored(run: Run, key: str) -> set[int]:
    """The iterations of a run that the evaluation of that key has scores of."""
    return {s.iteration for record in run.evaluations if record.key == key for s in record.snapshots}


def _comparable(cell: Cell, record: DistillationRecord) -> bool:
    asked, other = cell.inputs, record.inputs
    return (asked.method, asked.network.label, asked.iterations, asked.data.points) == (
        other.method,
        other.network.label,
        other.iterations,
        other.data.points,
    ) and _same_amount(cell, record)


def _same_amount(cell: Cell, record: DistillationRecord) -> bool:
    """Whether both are small sets, or both the whole of the same training split: its size is not recorded."""
    asked, other = cell.inputs, record.inputs
    if not asked.is_whole and not other.is_whole:
        return True
    return asked.ppc == other.ppc and asked.data == other.data


def _distance(cell: Cell, record: DistillationRecord) -> tuple[bool, bool, bool, float, str]:
    """Smaller is nearer: method, data set, parameters, PPC as a ratio; the key settles what is equal."""
    asked, other = cell.inputs, record.inputs
    small = not asked.is_whole and not other.is_whole
    return (
        asked.method != other.method,
        asked.data != other.data,
        asked.params != other.params,
        abs(math.log(asked.ppc / other.ppc)) if small else 0.0,
        record.key,
    )


def _classes(class_names: Sequence[str], record: DistillationRecord) -> float:
    return len(class_names) / len(record.inputs.data.class_names)


def _students(cell: Cell, snapshots: int, records: Records) -> tuple[float, tuple[str, ...]] | None:
    """Seconds for the students of so many snapshots, from the nearest evaluation, and where that stands."""
    asked = cell.evaluation.inputs(cell.inputs.key)
    alike: list[tuple[Run, EvaluationRecord]] = [
        (run, record)
        for run in records.runs
        for record in run.evaluations
        if record.inputs.protocol == asked.protocol
        and record.inputs.variant == asked.variant
        and record.inputs.network.label == asked.network.label
        and records.shares(record)
        and _same_amount(cell, run.distillation)
    ]
    if not alike:
        return None
    run, record = min(alike, key=lambda pair: (_distance(cell, pair[0].distillation), pair[1].key))
    shares = records.shares(record)
    share_of_one = snapshots / sum(len(share.iterations) for share in shares)
    train = sum(share.train.seconds for share in shares) * share_of_one
    if not cell.inputs.is_whole:
        train *= _steps(cell, cell.inputs.ppc, len(cell.inputs.data.class_names)) / _steps(
            cell, run.distillation.inputs.ppc, len(record.inputs.data.class_names)
        )
    test = sum(share.test.seconds for share in shares) * share_of_one
    test *= len(cell.evaluation.splits.test) / sum(record.totals)
    return train + test, (run.folder.name,)


def _steps(cell: Cell, ppc: int, classes: int) -> int:
    """Gradient steps of an epoch."""
    return math.ceil(ppc * classes / cell.evaluation.protocol.recipe.batch)
