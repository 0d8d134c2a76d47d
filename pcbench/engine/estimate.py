"""What a cell still needs and how long that may take, by the records of earlier runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pcbench.engine.plan import Cell
from pcbench.records.models import DistillationRecord, EvaluationRecord, Hardware, Run

State = Literal["finished", "to evaluate", "to do"]


@dataclass(frozen=True)
class Estimate:
    """seconds: None where no comparable run is recorded. based_on: the folders of the runs it is from."""

    state: State
    seconds: float | None
    based_on: tuple[str, ...] = ()


def estimates(cells: Sequence[Cell], runs: Sequence[Run], hardware: Hardware) -> list[Estimate]:
    """One estimate a cell; a distillation that several cells evaluate costs once."""
    keys = [cell.inputs.key for cell in cells]
    return [
        estimate(cell, runs, hardware, key in keys[:place])
        for place, (cell, key) in enumerate(zip(cells, keys, strict=True))
    ]


def estimate(cell: Cell, runs: Sequence[Run], hardware: Hardware, distilled: bool = False) -> Estimate:
    """The state of a cell by its records alone, and its cost by those of runs like it.

    distilled: a cell before this one makes the clouds, so that only its students cost time.

    A distillation is taken from the nearest run of the method (data set, parameters, PPC) with the same
    points, iterations, network and hardware, times the ratio of classes. Students are taken from the nearest
    evaluation by the same protocol, of this method if there is one, times the ratios of their gradient steps
    and of test clouds.
    """
    own = next((run for run in runs if run.distillation.key == cell.inputs.key), None)
    made = own.distillation if own and own.distillation.status == "ok" else None
    if own and made:
        key = cell.evaluation.inputs(made.snapshots).key
        if any(record.key == key for record in own.evaluations):
            return Estimate("finished", 0.0)
        scored = _students(cell, made, runs, hardware)
        return scored if scored else Estimate("to evaluate", None)
    alike = [run for run in runs if _comparable(cell, run.distillation, hardware)]
    if not alike:
        return Estimate("to do", None)
    nearest = min(alike, key=lambda run: _distance(cell, run.distillation))
    like = nearest.distillation
    scored = _students(cell, like, runs, hardware)
    if scored is None or scored.seconds is None:
        return Estimate("to do", None)
    if distilled:
        return Estimate("to do", scored.seconds, scored.based_on)
    seconds = like.seconds * _classes(cell.inputs.data.class_names, like) + scored.seconds
    return Estimate("to do", seconds, tuple(dict.fromkeys([nearest.folder.name, *scored.based_on])))


def _comparable(cell: Cell, record: DistillationRecord, hardware: Hardware) -> bool:
    mine, other = cell.inputs, record.inputs
    return (
        record.status == "ok"
        and record.provenance.hardware.label == hardware.label
        and (mine.method, mine.network.label, mine.iterations, mine.data.points)
        == (other.method, other.network.label, other.iterations, other.data.points)
        and _same_amount(cell, record)
    )


def _same_amount(cell: Cell, record: DistillationRecord) -> bool:
    """Whether both are small sets, or both the whole of the same training split: its size is not recorded."""
    mine, other = cell.inputs, record.inputs
    if mine.ppc and other.ppc:
        return True
    return mine.ppc == other.ppc and mine.data == other.data


def _distance(cell: Cell, record: DistillationRecord) -> tuple[bool, bool, bool, float, str]:
    """Smaller is nearer: method, data set, parameters, PPC as a ratio; the key settles what is equal."""
    mine, other = cell.inputs, record.inputs
    ratio = abs(math.log(mine.ppc / other.ppc)) if mine.ppc and other.ppc else 0.0
    return (
        mine.method != other.method,
        mine.data != other.data,
        mine.params != other.params,
        ratio,
        record.key,
    )


def _classes(class_names: Sequence[str], record: DistillationRecord) -> float:
    return len(class_names) / len(record.inputs.data.class_names)


def _students(
    cell: Cell, made: DistillationRecord, runs: Sequence[Run], hardware: Hardware
) -> Estimate | None:
    """The students of as many snapshots as `made` has, from the nearest evaluation in `runs`."""
    wanted = cell.evaluation.inputs([])
    alike: list[tuple[Run, EvaluationRecord]] = [
        (run, record)
        for run in runs
        for record in run.evaluations
        if record.inputs.protocol == wanted.protocol
        and record.inputs.variant == wanted.variant
        and record.inputs.network.label == wanted.network.label
        and record.provenance.hardware.label == hardware.label
        and record.trained
        and _same_amount(cell, run.distillation)
    ]
    if not alike:
        return None
    run, record = min(alike, key=lambda pair: (_distance(cell, pair[0].distillation), pair[1].key))
    snapshots = len(made.snapshots) / len(record.trained)
    train = record.train_seconds * snapshots
    if cell.inputs.ppc:
        train *= _steps(cell, cell.inputs.ppc, len(cell.inputs.data.class_names)) / _steps(
            cell, run.distillation.inputs.ppc, len(record.inputs.data.class_names)
        )
    test = record.test_seconds * snapshots * len(cell.evaluation.splits.test) / sum(record.totals)
    return Estimate("to evaluate", train + test, (run.folder.name,))


def _steps(cell: Cell, ppc: int, classes: int) -> int:
    """Gradient steps of an epoch."""
    return math.ceil(ppc * classes / cell.evaluation.protocol.recipe.batch)
