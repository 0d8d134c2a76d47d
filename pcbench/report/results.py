"""Records to results: what tables need of every evaluation of a run, worked out once."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from pcbench.catalogue.held_out import whole_of
from pcbench.common.files import digest
from pcbench.protocols.protocol import PROTOCOLS
from pcbench.protocols.variants import PLAIN
from pcbench.records import layout
from pcbench.records.division import division
from pcbench.records.identity import hashed, same_work
from pcbench.records.inputs import DataInputs
from pcbench.records.layout import short
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run
from pcbench.report.cells import Entry, MeasuredCell, Place, Result, Setting, Unfinished
from pcbench.report.current import Current
from pcbench.report.status import status_of
from pcbench.report.text import plain, shown

NOTHING_KNOWN = Current()
"""Of no code it is known what it is today: only the engine makes a result stale."""


@dataclass(frozen=True, eq=False)
class MeasuredRun:
    """A run with what pages and tables need of its evaluations, worked out once."""

    run: Run
    """The run."""
    current: Current = NOTHING_KNOWN
    """What makes it stale."""

    @functools.cached_property
    def cells(self) -> Mapping[str, MeasuredCell]:
        """Every evaluation as a cell of its own, by its key."""
        return {e.key: MeasuredCell((result_of(self.run, e, self.current),)) for e in self.run.evaluations}

    @functools.cached_property
    def stale(self) -> tuple[str, ...]:
        """Why today's code would not distil it so; empty where it would, as far as is known."""
        return self.current.distillation(self.run.distillation.inputs)

    @property
    def results(self) -> list[Result]:
        """What tables show of it, one an evaluation that has a headline; none of a run without a score."""
        return [self.cells[each.key].results[0] for each in self.run.evaluations if self.run.reports(each)]


def results(run: Run, current: Current = NOTHING_KNOWN) -> list[Result]:
    """What tables show of a run."""
    return MeasuredRun(run, current).results


def unfinished(run: Run, current: Current = NOTHING_KNOWN) -> Unfinished | None:
    """Why a run has no score, None where it has one."""
    distillation = run.distillation
    if any(run.reports(evaluation) for evaluation in run.evaluations):
        return None
    not_yet = "its last snapshot is not evaluated" if run.evaluations else "distilled, not evaluated"
    reason = plain(distillation.reason) or not_yet
    inputs = distillation.inputs
    return Unfinished(
        page=page_name(distillation.key),
        entry=_entry(distillation, current),
        data=plain(inputs.data.name),
        ppc=inputs.ppc,
        repetition=inputs.repetition,
        status=distillation.status,
        reason=reason,
    )


def page_name(key: str) -> str:
    """The name of a run's page."""
    return short(key)


def _entry(distillation: DistillationRecord, current: Current) -> Entry:
    inputs = distillation.inputs
    of_row = {key: value for key, value in hashed(inputs).items() if key not in ("data", "ppc", "repetition")}
    return Entry(
        digest=digest(of_row),
        rest=digest({key: of_row[key] for key in of_row.keys() - {"params", "variation"}}),
        method=plain(inputs.method),
        variation=tuple((plain(key), shown(inputs.variation[key])) for key in sorted(inputs.variation)),
        network=plain(inputs.network.label),
        setting=plain(inputs.setting),
        draw=plain(inputs.draw),
        params=inputs.params,
        genuine=current.genuine(inputs),
        trial=whole_of(inputs.data.name) is not None,
    )


def _setting(evaluation: EvaluationRecord, where: str) -> Setting:
    """The axis that a test turns about is the data set's, and no part of the setting."""
    protocol, student, variant = (
        evaluation.inputs.protocol,
        evaluation.inputs.network,
        evaluation.inputs.variant,
    )
    settings = hashed(protocol)
    whole = settings.pop("whole")
    validation = whole_of(evaluation.inputs.data.name) is not None
    family = digest([settings, where, evaluation.inputs.engine, *(["validation"] if validation else [])])
    test = {key: value for key, value in hashed(variant).items() if key != "axis"}
    known = [*PROTOCOLS, "custom"]
    return Setting(
        digest=digest([family, whole, hashed(student), test]),
        family=family,
        protocol=plain(protocol.label),
        base=protocol.base,
        summary=plain(protocol.summary),
        student=plain(student.label),
        student_source=student.source,
        validation=validation,
        test="" if variant == PLAIN else variant.label,
        division=where,
        order=(validation, where == "open", known.index(protocol.name), *variant.order),
    )


def _place(distillation: DistillationRecord, evaluation: EvaluationRecord, standard: bool) -> Place:
    train, test, variant = distillation.inputs.data, evaluation.inputs.data, evaluation.inputs.variant
    same = same_work(train, test) or (variant.points is not None and train.name == test.name)
    training = digest(hashed(train))
    axis = [variant.axis] if variant.axis else []
    return Place(
        name=plain(train.name if same else f"{train.name} → {test.name}"),
        data=digest([training, hashed(test), standard, *axis]),
        training=training,
        ppc=distillation.inputs.ppc,
        standard=standard,
        sampling=plain(train.sampling),
        about=(
            *_about(train),
            *(() if same else _about(test, "test ")),
            *(("up axis", each) for each in axis),
        ),
    )


def _about(data: DataInputs, which: str = "") -> tuple[tuple[str, str], ...]:
    """What tells two copies of a data set apart, in words."""
    return (
        (f"{which}variant", plain(data.variant)),
        (f"{which}sampling", plain(data.sampling)),
        (f"{which}hash", short(data.hash)),
    )


def peak_memory(distillation: DistillationRecord) -> int | None:
    """Bytes that a distillation needed at most: of a GPU or, without one, of the method's own process.

    None where the method worked in a process that did other work before, whose peak says nothing of it.
    """
    if distillation.memory.device_bytes is not None:
        return distillation.memory.device_bytes
    return distillation.memory.host_bytes if distillation.isolation in ("process", "walled") else None


def result_of(run: Run, evaluation: EvaluationRecord, current: Current = NOTHING_KNOWN) -> Result:
    """What tables need of one evaluation of a run."""
    distillation = run.distillation
    standard = distillation.inputs.data.standard and evaluation.inputs.data.standard
    last = evaluation.headline
    return Result(
        page=page_name(distillation.key),
        key=evaluation.key,
        setting=_setting(evaluation, division(run, evaluation)),
        entry=_entry(distillation, current),
        place=_place(distillation, evaluation, standard),
        repetition=distillation.inputs.repetition,
        students=tuple(evaluation.inputs.repetitions),
        iterations=tuple(scores.iteration for scores in evaluation.snapshots),
        curve=tuple(tuple(100 * oa for oa in scores.oa) for scores in evaluation.snapshots),
        macc=tuple(100 * macc for macc in last.macc),
        class_names=tuple(plain(name) for name in evaluation.inputs.data.class_names),
        correct=tuple(map(sum, zip(*last.correct, strict=True))),
        totals=tuple(evaluation.totals),
        confusion=tuple(map(tuple, evaluation.confusion)) if evaluation.confusion else None,
        answered=evaluation.predictions is not None
        and layout.predictions(run.folder, evaluation.key).is_file(),
        seconds=distillation.seconds,
        busy=not distillation.timed,
        beginning=distillation.snapshots[0].seconds,
        peak_bytes=peak_memory(distillation),
        set_bytes=distillation.set_bytes,
        step_factor=distillation.step_factor,
        marks=tuple(distillation.marks),
        hardware=plain(distillation.provenance.hardware.label),
        stale=tuple(
            dict.fromkeys(
                [*current.distillation(distillation.inputs), *current.evaluation(evaluation.inputs)]
            )
        ),
        status=status_of(run, evaluation),
    )
