"""Records as one flat list: a row a student and snapshot, and one for a run that has no score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pcbench.protocols.variants import PLAIN
from pcbench.records.division import division
from pcbench.records.models import EvaluationRecord, Run
from pcbench.report.current import Current
from pcbench.report.listing import FINISHED, NOT_EVALUATED, STALE, STATES
from pcbench.report.results import unfinished


@dataclass(frozen=True)
class StudentScore:
    """What one student scored that was trained on one snapshot; or why there is no score."""

    method: str
    """The method's name."""
    setting: str
    """What the method calls its parameters, as `paper`; empty where it has no name for them."""
    dataset: str
    """The data set that was distilled."""
    ppc: int
    """Clouds per class; 0 for the whole training split."""
    draw: str
    """Which training clouds the distillation started from."""
    repetition: int
    """Which of the repeated distillations."""
    backbone: str
    """The network that was distilled with, `NAME:PRESET`."""
    protocol: str
    """The students' protocol with its changes, as tables name it; empty where nothing was evaluated."""
    division: str
    """`closed` or `open`; empty where nothing was evaluated."""
    student_backbone: str
    """The student's network, `NAME:PRESET`; empty where nothing was evaluated."""
    test: str
    """What was done to the test clouds, as `plain`."""
    student: int | None
    """Which of the students: an axis of the seeds. None where nothing was evaluated."""
    iteration: int | None
    """The snapshot's iteration. None where nothing was evaluated."""
    reported: bool
    """Whether it is the snapshot that tables show: the last one."""
    oa: float | None
    """Overall accuracy in percent."""
    macc: float | None
    """Mean class accuracy in percent."""
    seconds: float
    """The distillation's clock, in wall seconds, evaluation excluded."""
    snapshot_seconds: float | None
    """The same until the snapshot."""
    set_bytes: int | None
    """What the synthetic set takes, in bytes; None of the whole split."""
    step_factor: float
    """How many times as many clouds students train on as PPC of every class: steps of an epoch."""
    marks: str
    """What students learn beside clouds and classes: `soft labels, weights of clouds`; empty for most."""
    busy: bool
    """Whether the machine was busy meanwhile, so that the clock says nothing of what the method costs."""
    hardware: str
    """What the distillation ran on."""
    status: str
    """`finished`, `stale`, `not evaluated`, `failed`, `out of memory` or `interrupted`."""
    stale: bool
    """Whether today's code would make it otherwise."""
    reason: str
    """Why it is in that status; empty where it is finished."""
    folder: Path
    """The run's folder."""
    params: Mapping[str, Any]
    """All parameters of the method in effect."""


def rows(run: Run, current: Current) -> Iterator[StudentScore]:
    """The rows of a run, as `pcbench results table` counts them. current: what makes results stale."""
    without = unfinished(run, current)
    if without is not None and not run.evaluations:
        yield failed(run, current, without.reason)
    for evaluation in run.evaluations:
        yield from _scored(run, evaluation, current)


def _scored(run: Run, evaluation: EvaluationRecord, current: Current) -> Iterator[StudentScore]:
    made, inputs = run.distillation, evaluation.inputs
    stale = list(dict.fromkeys([*current.distillation(made.inputs), *current.evaluation(inputs)]))
    if made.status != "ok":
        status, reason = STATES[made.status], made.reason
    elif not run.complete(evaluation):
        status, reason = NOT_EVALUATED, "its last snapshot is not evaluated"
    else:
        status, reason = (STALE, "; ".join(stale)) if stale else (FINISHED, "")
    common = _common(run) | {
        "protocol": inputs.protocol.label,
        "division": division(run, evaluation),
        "student_backbone": inputs.network.label,
        "test": inputs.variant.label,
        "status": status,
        "stale": bool(stale),
        "reason": reason,
    }
    clocks = {entry.iteration: entry.seconds for entry in made.snapshots}
    for scores in evaluation.snapshots:
        for student, oa, macc in zip(inputs.repetitions, scores.oa, scores.macc, strict=True):
            yield StudentScore(
                student=student,
                iteration=scores.iteration,
                reported=scores.iteration == run.last,
                oa=100 * oa,
                macc=100 * macc,
                snapshot_seconds=clocks[scores.iteration],
                **common,
            )


def failed(run: Run, current: Current, problem: str) -> StudentScore:
    """The row of a run that has not the scores that were asked for. problem: why."""
    stale = bool(current.distillation(run.distillation.inputs)) or problem.startswith(STALE)
    return StudentScore(
        protocol="",
        division="",
        student_backbone="",
        test=PLAIN.label,
        student=None,
        iteration=None,
        reported=False,
        oa=None,
        macc=None,
        snapshot_seconds=None,
        status=STALE if problem.startswith(STALE) else STATES[run.distillation.status],
        stale=stale,
        reason=problem,
        **_common(run),
    )


def _common(run: Run) -> dict[str, Any]:
    """What all rows of a run have in common."""
    made = run.distillation
    inputs, hardware = made.inputs, made.provenance.hardware
    return {
        "method": inputs.method,
        "setting": inputs.setting,
        "dataset": inputs.data.name,
        "ppc": inputs.ppc,
        "draw": inputs.draw,
        "repetition": inputs.repetition,
        "backbone": inputs.network.label,
        "seconds": made.seconds,
        "set_bytes": made.set_bytes,
        "step_factor": made.step_factor,
        "marks": ", ".join(made.marks),
        "busy": not made.timed,
        "hardware": hardware.label,
        "folder": run.folder,
        "params": inputs.params,
    }
