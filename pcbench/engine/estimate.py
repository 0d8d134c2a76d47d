"""What a cell still needs: seconds, memory and disk, by the records of earlier runs or by its first steps.

The best of what is known counts: a run of the same work on this hardware; then the first steps of the cell
itself (`engine.trials`), corrected by what runs of the method took against their own first steps; then a run,
or first steps, of something like it.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pcbench.engine.plan import Cell
from pcbench.engine.trials import DistilTrial, StudentTrial, Trials
from pcbench.records.models import (
    DistillationInputs,
    DistillationRecord,
    EvaluationRecord,
    Hardware,
    Memory,
    Run,
    Work,
)
from pcbench.records.state import Finished, Snapshots, State, state, wanted

FIRST_STEPS = "its first steps"
"""What an estimate is based on where no run is."""
NO_UPDATES = ", which tell nothing of its updates"
"""What is added where a method prepares for so long that these were not reached."""
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


@dataclass(frozen=True)
class Cost:
    """What a distillation takes, or students of one snapshot."""

    seconds: float
    """Wall seconds."""
    memory: int | None
    """Peak bytes."""
    based_on: str
    """A run's folder, or whose first steps were timed."""
    own: bool
    """Whether it is by the work itself."""


@dataclass(frozen=True)
class Known:
    """What costs are estimated from, all on one kind of hardware."""

    runs: Sequence[Run]
    """All runs that there are."""
    hardware: Hardware
    """What the cells would be computed on."""
    trials: Trials | None = None
    """First steps that were timed; None where only records count."""
    cells: Sequence[Cell] = ()
    """The cells that are planned, whose first steps may tell of one another."""
    _tried: dict[int, DistilTrial | None] = field(default_factory=dict)
    _corrections: dict[tuple[str, str, int], float] = field(default_factory=dict)

    def distillations(self) -> list[Run]:
        """The finished runs whose distillation did not have to wait for others."""
        return [run for run in self.runs if self._of_use(run)]

    def _of_use(self, run: Run) -> bool:
        record = run.distillation
        there = record.provenance.hardware
        return record.status == "ok" and there.label == self.hardware.label and not record.clock.busy(there)

    def shares(self, record: EvaluationRecord) -> list[Work]:
        """The parts of an evaluation that trained students, undisturbed."""
        return [
            share
            for share in record.work
            if share.iterations
            and share.provenance.hardware.label == self.hardware.label
            and not share.train.busy(share.provenance.hardware)
        ]

    def tried(self, inputs: DistillationInputs) -> DistilTrial | None:
        """The first steps of a distillation."""
        if self.trials is None:
            return None
        this = id(inputs)  # of a cell or a run that is known here: a key of ten thousand takes seconds
        if this not in self._tried:
            self._tried[this] = self.trials.of_distillation(inputs)
        return self._tried[this]

    @functools.cached_property
    def tried_cells(self) -> list[Cell]:
        """The planned cells whose first steps were timed, of equal ones the first."""
        first: dict[Hashable, Cell] = {}
        for cell in self.cells if self.trials else ():
            asked = cell.inputs
            work = asked.method, repr(asked.params), asked.data.hash, asked.ppc, asked.data.points, cell.label
            first.setdefault((*work, cell.evaluation.protocol.label), cell)
        return [cell for cell in first.values() if self.tried(cell.inputs) is not None]

    def correction(self, inputs: DistillationInputs) -> float:
        """What runs of a method took, over what their own first steps said: the median, 1 without any."""
        work = inputs.method, inputs.network.label, inputs.data.points
        if work not in self._corrections:
            ratios = []
            for run in self.distillations():
                like = run.distillation
                trial = self.tried(like.inputs) if _alike(inputs, like.inputs) else None
                if trial is not None:
                    ratios.append(like.clock.seconds / max(trial.seconds(like.inputs.iterations), 1e-3))
            self._corrections[work] = statistics.median(ratios) if ratios else 1.0
        return self._corrections[work]

    def tried_students(self, cell: Cell, clouds: int, points: int) -> StudentTrial | None:
        """The first steps of a cell's students on so many clouds."""
        return self.trials.of_students(cell.evaluation, clouds, points) if self.trials else None


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
        students = _students(cell, known, there.run.distillation.step_factor)
        return _summed(there, cell, [students], len(missing or entries), 0)
    made = _distillation(cell, known)
    if made is None:
        return Estimate(there, None, own=False)
    students = _students(cell, known, made.step_factor)
    parts = [students] if distilled else [students, made.cost]
    disk = 0 if distilled else made.kept * made.set_bytes
    return _summed(there, cell, parts, _wanted(cell, made.kept, snapshots), disk)


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


# Distillation


@dataclass(frozen=True)
class _Distillation:
    """What a distillation takes and gives."""

    cost: Cost
    """What it takes."""
    kept: int
    """How many snapshots it keeps."""
    set_bytes: int
    """What each takes on the disk."""
    step_factor: float
    """How many times as many clouds students train on as PPC of every class."""


def _distillation(cell: Cell, known: Known) -> _Distillation | None:
    """What the best of what is known says of a distillation.

    A run counts that has the same points, iterations and network, and of several the nearest (data set,
    parameters, PPC), times the ratio of classes; likewise first steps.
    """
    inputs = cell.inputs
    alike = [run for run in known.distillations() if _comparable(cell, run.distillation)]
    nearest = min(alike, key=lambda run: _distance(inputs, run.distillation.inputs), default=None)
    if nearest is not None and _same_shape(inputs, nearest.distillation.inputs):
        return _by_record(inputs, nearest)
    trial = known.tried(inputs)
    if trial is not None:
        return _by_trial(inputs, inputs, trial, known)
    if nearest is not None:
        return _by_record(inputs, nearest)
    others = [other.inputs for other in known.tried_cells if _alike(inputs, other.inputs)]
    near = min(others, key=partial(_distance, inputs), default=None)
    trial = known.tried(near) if near else None
    return None if near is None or trial is None else _by_trial(inputs, near, trial, known)


def _by_record(inputs: DistillationInputs, run: Run) -> _Distillation:
    like = run.distillation
    seconds = like.clock.seconds * _classes(inputs, like.inputs)
    own = _same_shape(inputs, like.inputs)
    return _Distillation(
        Cost(seconds, _peak(like.memory), run.folder.name, own),
        len(like.snapshots),
        0 if inputs.is_whole else (like.snapshots[-1].bytes or inputs.plain_bytes),
        like.step_factor,
    )


def _by_trial(
    inputs: DistillationInputs, tried: DistillationInputs, trial: DistilTrial, known: Known
) -> _Distillation:
    own = tried is inputs
    seconds = trial.seconds(inputs.iterations) * _classes(inputs, tried) * known.correction(tried)
    words = FIRST_STEPS if own else f"first steps at PPC {tried.ppc} on {tried.data.name}"
    words += "" if trial.updates else NO_UPDATES
    per_cloud = trial.set_bytes / max(1, tried.ppc * len(tried.data.class_names))
    plain = inputs.ppc * len(inputs.data.class_names)
    return _Distillation(
        Cost(seconds, None if known.hardware.device == "cuda" else trial.host_bytes, words, own),
        len(inputs.taken) if trial.iterates else 1,
        trial.set_bytes if own else round(per_cloud * plain),
        1.0 if inputs.is_whole else trial.clouds / (tried.ppc * len(tried.data.class_names)),
    )


def _alike(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether two distillations are of one method by one network, with as many points."""
    return (asked.method, asked.network.label, asked.data.points, asked.is_whole) == (
        other.method,
        other.network.label,
        other.data.points,
        other.is_whole,
    )


def _comparable(cell: Cell, record: DistillationRecord) -> bool:
    asked, other = cell.inputs, record.inputs
    return (asked.method, asked.network.label, asked.iterations, asked.data.points) == (
        other.method,
        other.network.label,
        other.iterations,
        other.data.points,
    ) and _same_amount(asked, other)


def _same_amount(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether both are small sets, or both the whole of the same training split: its size is not recorded."""
    if not asked.is_whole and not other.is_whole:
        return True
    return asked.ppc == other.ppc and asked.data == other.data


def _same_shape(asked: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether both are of one data set, with the same parameters and PPC."""
    return (asked.data, asked.params, asked.ppc) == (other.data, other.params, other.ppc)


def _distance(asked: DistillationInputs, other: DistillationInputs) -> tuple[bool, bool, bool, float, str]:
    """Smaller is nearer: method, data set, parameters, PPC as a ratio; the key settles what is equal."""
    small = not asked.is_whole and not other.is_whole
    return (
        asked.method != other.method,
        asked.data != other.data,
        asked.params != other.params,
        abs(math.log(asked.ppc / other.ppc)) if small else 0.0,
        other.key,
    )


def _classes(asked: DistillationInputs, other: DistillationInputs) -> float:
    return len(asked.data.class_names) / len(other.data.class_names)


def _peak(memory: Memory) -> int:
    """The bytes that are scarce: those of a GPU where there is one."""
    return memory.host_bytes if memory.device_bytes is None else memory.device_bytes


# Students


def _students(cell: Cell, known: Known, step_factor: float) -> Cost | None:
    """What the students of one snapshot take.

    A record counts that is by the same protocol and network, and of several the nearest, of this method if
    there is one, times the ratios of gradient steps and of test clouds; likewise first steps.
    """
    nearest = _nearest_evaluation(cell, known)
    if nearest is not None:
        inputs = nearest[0].distillation.inputs
        if (inputs.data, inputs.ppc) == (cell.inputs.data, cell.inputs.ppc):
            return _students_by_record(cell, known, *nearest)
    tried = _students_by_trial(cell, cell, known, step_factor)
    if tried is not None:
        return tried
    if nearest is not None:
        return _students_by_record(cell, known, *nearest)
    others = [each for each in known.tried_cells if _same_students(cell, each)]
    near = min(others, key=lambda each: _distance(cell.inputs, each.inputs), default=None)
    return None if near is None else _students_by_trial(cell, near, known, step_factor)


def _same_students(cell: Cell, other: Cell) -> bool:
    one, two = cell.evaluation, other.evaluation
    return (one.protocol, one.network) == (two.protocol, two.network) and _same_amount(
        cell.inputs, other.inputs
    )


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
        and _same_amount(cell.inputs, run.distillation.inputs)
    )

    def place(pair: tuple[Run, EvaluationRecord]) -> tuple[Any, str]:
        return _distance(cell.inputs, pair[0].distillation.inputs), pair[1].key

    return min(alike, key=place, default=None)


def _students_by_record(cell: Cell, known: Known, run: Run, record: EvaluationRecord) -> Cost:
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
    return Cost(train + test, max(_peak(share.memory) for share in shares), run.folder.name, own)


def _students_by_trial(cell: Cell, tried: Cell, known: Known, step_factor: float) -> Cost | None:
    """By the first steps of the cell's own students, or of another cell's."""
    trial = known.tried_students(tried, _clouds(tried, step_factor), _points(tried, known))
    if trial is None:
        return None
    evaluation, clouds = cell.evaluation, _clouds(cell, step_factor)
    recipe = evaluation.protocol.whole if cell.inputs.is_whole else evaluation.protocol.recipe
    recipe = recipe.for_set(step_factor)
    seconds = trial.seconds(clouds, recipe.epochs, len(evaluation.splits.test) * len(evaluation.variants))
    memory = trial.device_bytes if known.hardware.device == "cuda" else trial.host_bytes
    own = tried is cell
    words = FIRST_STEPS if own else f"students' first steps at PPC {tried.inputs.ppc}"
    return Cost(seconds, memory, words, own)


def _clouds(cell: Cell, step_factor: float) -> int:
    """The clouds that the students of a cell train on."""
    if cell.inputs.is_whole:
        return len(cell.evaluation.splits.train)
    return round(cell.inputs.ppc * len(cell.inputs.data.class_names) * step_factor)


def _points(cell: Cell, known: Known) -> int:
    """The points of each of them."""
    trial = known.tried(cell.inputs)
    return cell.inputs.data.points if trial is None else trial.points


def _steps(cell: Cell, ppc: int, classes: int) -> int:
    """Gradient steps of an epoch."""
    return math.ceil(ppc * classes / cell.evaluation.protocol.recipe.batch)
