"""What the students of one snapshot take, by the best of what is known of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from pcbench.engine.cell import Cell
from pcbench.engine.estimates.distillations import FIRST_STEPS
from pcbench.engine.estimates.known import Cost, Known, peak
from pcbench.engine.estimates.nearness import distance, same_amount
from pcbench.engine.estimates.steps import StudentTrial
from pcbench.engine.estimates.training import recipe_of
from pcbench.records.models import EvaluationRecord, Run

FEWER = "first steps of fewer students"
"""What an estimate is based on where the students of a stand-in were tried."""


def students_of(cell: Cell, known: Known, step_factor: float) -> Cost | None:
    """What the students of one snapshot take.

    A record counts that is by the same protocol and network, and of several the nearest, of this method if
    there is one, times the ratios of gradient steps and of test clouds; likewise first steps.
    """
    nearest = _nearest_evaluation(cell, known)
    if nearest is not None:
        inputs = nearest[0].distillation.inputs
        if (inputs.data, inputs.ppc) == (cell.inputs.data, cell.inputs.ppc):
            return _by_record(cell, known, *nearest)
    tried = _by_own_steps(cell, known, step_factor)
    if tried is not None:
        return tried
    return _by_record(cell, known, *nearest) if nearest else _by_steps_alike(cell, known, step_factor)


def _nearest_evaluation(cell: Cell, known: Known) -> tuple[Run, EvaluationRecord] | None:
    asked = cell.evaluation.inputs(cell.inputs.key)
    alike: Iterable[tuple[Run, EvaluationRecord]] = (
        (run, record)
        for run in known.runs
        for record in run.evaluations
        if record.inputs.protocol == asked.protocol
        and record.inputs.variant == asked.variant
        and record.inputs.network.label == asked.network.label
        and known.shares(record)
        and same_amount(cell.inputs, run.distillation.inputs)
    )

    def place(pair: tuple[Run, EvaluationRecord]) -> tuple[Any, str]:
        return distance(cell.inputs, pair[0].distillation.inputs), pair[1].key

    return min(alike, key=place, default=None)


def _by_record(cell: Cell, known: Known, run: Run, record: EvaluationRecord) -> Cost:
    shares, other = known.shares(record), run.distillation.inputs
    trained = sum(len(share.iterations) for share in shares)
    train = sum(share.train.seconds for share in shares) / trained
    if not cell.inputs.is_whole:
        train *= _steps(cell, cell.inputs.ppc, len(cell.inputs.data.class_names)) / _steps(
            cell, other.ppc, len(record.inputs.data.class_names)
        )
    test = sum(share.test.seconds for share in shares) / trained
    test *= len(cell.evaluation.splits.test) / sum(record.totals)
    own = (other.data, other.ppc) == (cell.inputs.data, cell.inputs.ppc)
    return Cost(train + test, max(peak(share.memory) for share in shares), run.folder.name, own)


def _by_own_steps(cell: Cell, known: Known, step_factor: float) -> Cost | None:
    """By the first steps of the cell's own students, or of fewer."""
    clouds, points = _clouds(cell, step_factor), _points(cell, known)
    trial = known.tried_students(cell, clouds, points)
    if trial is not None:
        return _by_steps(cell, trial, clouds, known, FIRST_STEPS, own=True)
    trial = known.tried_fewer_students(cell, clouds, points)
    return None if trial is None else _by_steps(cell, trial, clouds, known, FEWER, own=False)


def _by_steps_alike(cell: Cell, known: Known, step_factor: float) -> Cost | None:
    """By the first steps of the students of another cell: the nearest."""
    others = [other for other in known.cells_with_students if _same_students(cell, other)]
    for near in sorted(others, key=lambda other: distance(cell.inputs, other.inputs)):
        trial = known.tried_students(near, _clouds(near, step_factor), _points(near, known))
        if trial is not None:
            words = f"students' first steps at PPC {near.inputs.ppc}"
            return _by_steps(cell, trial, _clouds(cell, step_factor), known, words, own=False)
    return None


def _same_students(cell: Cell, other: Cell) -> bool:
    one, two = cell.evaluation, other.evaluation
    return (one.protocol, one.network) == (two.protocol, two.network) and same_amount(
        cell.inputs, other.inputs
    )


def _by_steps(cell: Cell, trial: StudentTrial, clouds: int, known: Known, words: str, *, own: bool) -> Cost:
    evaluation, recipe = cell.evaluation, recipe_of(cell)
    epochs = recipe.epochs if cell.inputs.is_whole else recipe.for_set(clouds / _plain(cell)).epochs
    seconds = trial.seconds(clouds, epochs, len(evaluation.splits.test) * len(evaluation.variants))
    memory = trial.device_bytes if known.hardware.device == "cuda" else trial.host_bytes
    return Cost(seconds, memory, words, own)


def _plain(cell: Cell) -> int:
    """PPC clouds of every class."""
    return cell.inputs.ppc * len(cell.inputs.data.class_names)


def _clouds(cell: Cell, step_factor: float) -> int:
    """The clouds that the students of a cell train on."""
    if cell.inputs.is_whole:
        return len(cell.evaluation.splits.train)
    return round(_plain(cell) * step_factor)


def _points(cell: Cell, known: Known) -> int:
    """The points of each of them."""
    trial = known.tried(cell.inputs) or known.tried_stand_in(cell.inputs)
    return trial.points if trial else cell.inputs.data.points


def _steps(cell: Cell, ppc: int, classes: int) -> int:
    """Gradient steps of an epoch."""
    return math.ceil(ppc * classes / cell.evaluation.protocol.recipe.batch)
