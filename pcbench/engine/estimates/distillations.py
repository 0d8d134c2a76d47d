"""What a distillation takes and gives, by the best of what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

from pcbench.engine.cell import Cell
from pcbench.engine.estimates import stand_ins
from pcbench.engine.estimates.known import Cost, Known, peak
from pcbench.engine.estimates.nearness import alike, comparable, distance, same_amount, same_shape
from pcbench.engine.estimates.steps import DistilTrial
from pcbench.records.inputs import DistillationInputs
from pcbench.records.models import Run

FIRST_STEPS = "its first steps"
"""What an estimate is based on where no run is."""
STAND_IN = "two classes"
"""What a stand-in is called among data sets."""
NO_UPDATES = ", which tell nothing of its updates"
"""What is added where a method prepares for so long that these were not reached."""
AT_LEAST = ", stopped within an update: at least"
"""What is added where an update takes so long that none was done."""


@dataclass(frozen=True)
class Distillation:
    """What a distillation takes and gives."""

    cost: Cost
    """What it takes."""
    kept: int
    """How many snapshots it keeps."""
    set_bytes: int
    """What each takes on the disk."""
    step_factor: float
    """How many times as many clouds students train on as PPC of every class."""


@dataclass(frozen=True)
class _Steps:
    """First steps that tell of a cell."""

    trial: DistilTrial
    """What they say, with the cell's classes and training clouds."""
    words: str
    """Whose they are."""
    own: bool
    """Whether they are the cell's own."""
    ppc: int
    """The PPC that they were timed at."""


def distillation(cell: Cell, known: Known) -> Distillation | None:
    """What the best of what is known says of a distillation.

    A run of the same shape; its own first steps, or its stand-in's; a run that has the same points,
    iterations and network, and of several the nearest (data set, parameters, PPC), times the ratio of
    classes; likewise first steps.
    """
    inputs = cell.inputs
    runs = [
        run
        for run in known.distillations()
        if comparable(inputs, run.distillation.inputs) and same_amount(inputs, run.distillation.inputs)
    ]
    nearest = min(runs, key=lambda run: distance(inputs, run.distillation.inputs), default=None)
    if nearest is not None and same_shape(inputs, nearest.distillation.inputs):
        return _by_record(inputs, nearest)
    steps = _own_steps(cell, known)
    if steps is None and nearest is not None:
        return _by_record(inputs, nearest)
    steps = steps or _steps_alike(cell, known)
    return None if steps is None else _by_steps(cell, steps, known)


def _by_record(inputs: DistillationInputs, run: Run) -> Distillation:
    like = run.distillation
    classes = len(inputs.data.class_names) / len(like.inputs.data.class_names)
    return Distillation(
        Cost(
            like.clock.seconds * classes, peak(like.memory), run.folder.name, same_shape(inputs, like.inputs)
        ),
        len(like.snapshots),
        0 if inputs.is_whole else (like.snapshots[-1].bytes or inputs.plain_bytes),
        like.step_factor,
    )


def _own_steps(cell: Cell, known: Known) -> _Steps | None:
    """The first steps of a cell, or of its stand-in."""
    trial = known.tried(cell.inputs)
    if trial is not None:
        return _Steps(trial, FIRST_STEPS, True, cell.inputs.ppc)
    trial = known.tried_stand_in(cell.inputs)
    if trial is None:
        return None
    return _Steps(_grown(trial, cell), f"first steps on {STAND_IN}", False, cell.inputs.ppc)


def _steps_alike(cell: Cell, known: Known) -> _Steps | None:
    """First steps of what is nearest to a cell, or what lies between those at a lower and a higher PPC."""
    inputs = cell.inputs
    others = [(other, trial) for other, trial in known.tried_inputs if alike(inputs, other)]
    if not others:
        return None
    near, trial = min(others, key=lambda pair: distance(inputs, pair[0]))
    on = f"on {STAND_IN if near.data.name == stand_ins.NAME else near.data.name}"
    across = [
        (other, its)
        for other, its in others
        if near.ppc != inputs.ppc
        and (other.data, other.params) == (near.data, near.params)
        and (other.ppc < inputs.ppc) != (near.ppc < inputs.ppc)
    ]
    first = _grown(trial, cell)
    if not across:
        return _Steps(first, f"first steps at PPC {near.ppc} {on}", False, near.ppc)
    far, its = min(across, key=lambda pair: abs(pair[0].ppc - inputs.ppc))
    share = (inputs.ppc - near.ppc) / (far.ppc - near.ppc)
    ends = " and ".join(map(str, sorted((near.ppc, far.ppc))))
    between = first.towards(_grown(its, cell), share)
    return _Steps(between, f"first steps at PPC {ends} {on}", False, inputs.ppc)


def _grown(trial: DistilTrial, cell: Cell) -> DistilTrial:
    train = cell.evaluation.splits.train
    return trial.grown(train.classes, len(train))


def _by_steps(cell: Cell, steps: _Steps, known: Known) -> Distillation:
    inputs, trial = cell.inputs, steps.trial
    words = steps.words + ("" if trial.updates else NO_UPDATES) + (AT_LEAST if trial.at_least else "")
    tried, asked = steps.ppc * trial.classes, inputs.ppc * trial.classes
    memory = None if known.hardware.device == "cuda" else trial.host_bytes
    return Distillation(
        Cost(trial.seconds(inputs.iterations) * known.correction(inputs), memory, words, steps.own),
        len(inputs.taken) if trial.iterates else 1,
        round(trial.set_bytes * asked / max(1, tried)) if not inputs.is_whole else 0,
        1.0 if inputs.is_whole else trial.clouds / tried,
    )
