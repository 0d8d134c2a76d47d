"""What there is of a cell that is asked for: done, to evaluate, to do, or stale with the reasons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pcbench.common.files import canonical_json
from pcbench.records import identity
from pcbench.records.identity import differences
from pcbench.records.inputs import DistillationInputs, EvaluationInputs
from pcbench.records.models import DistillationRecord, EvaluationRecord, Run, SnapshotEntry

Snapshots = Literal["last", "all"] | tuple[int, ...]
"""Which of a distillation's snapshots are asked for: the one that is reported alone, all of them, or those at
some iterations beside the one that is reported."""


@dataclass(frozen=True)
class State:
    """What there is of a cell."""

    word: Literal["done", "to evaluate", "to do", "stale"]
    """`to evaluate`: its clouds are there, or some of its scores."""
    reasons: tuple[str, ...] = ()
    """Why what is there is not what is asked for, where it is stale or lacks snapshots."""
    run: Run | None = None
    """The run of the cell, as far as it goes, or where it is stale the one that stands in its place."""

    @property
    def label(self) -> str:
        """`done`, `to do`, `stale: ENGINE 1, now 2; lr 10, asked 1`."""
        return f"{self.word}: {'; '.join(self.reasons)}" if self.reasons else self.word


class Finished:
    """The runs of a folder whose distillation is finished, to be looked up for many cells."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.by_key: dict[str, Run] = {}
        """By the key of their distillation; the first one, where several have it."""
        self.by_request: dict[str, list[Run]] = {}
        """By what they were asked for, as `same_request` has it."""
        for run in runs:
            if run.distillation.status == "ok":
                self.by_key.setdefault(run.distillation.key, run)
                self.by_request.setdefault(_request(run.distillation.inputs), []).append(run)


NONE_FINISHED = Finished(())
"""The runs of a folder that holds none."""


def wanted(entries: Sequence[SnapshotEntry], snapshots: Snapshots) -> list[SnapshotEntry]:
    """The snapshots of a distillation that are asked for."""
    if snapshots == "all":
        return list(entries)
    earlier = () if snapshots == "last" else snapshots
    return [entry for entry in entries if entry is entries[-1] or entry.iteration in earlier]


def not_kept(record: DistillationRecord, curve: Iterable[int]) -> list[int]:
    """The iterations of a finer curve at which a finished distillation did not keep its synthetic set.

    A method without iterations keeps one at 0, and lacks nothing.
    """
    kept = [entry.iteration for entry in record.snapshots]
    return [] if kept == [0] else sorted(set(curve) - set(kept))


def has_scores(record: EvaluationRecord, entries: Iterable[SnapshotEntry]) -> bool:
    """Whether an evaluation has the scores of some snapshots, by their iteration and clouds."""
    scored = {(scores.iteration, scores.clouds) for scores in record.snapshots}
    return all((entry.iteration, entry.clouds) in scored for entry in entries)


def state(
    asked: DistillationInputs,
    key: str,
    evaluations: Sequence[EvaluationInputs],
    snapshots: Snapshots,
    finished: Finished,
) -> State:
    """The state of a cell by the records of finished runs alone; clouds and times are not looked at.

    A run of the same work counts. Where there is none, one that was asked for in the same words (see
    `same_request`) and is not the same work is stale; of several the nearest, by the number of reasons. A run
    that did not keep its synthetic set at the iterations of the curve that is asked for is to do once more.

    key: that of `asked`, which its cell has computed already.
    """
    run = finished.by_key.get(key)
    if run is not None:
        if missing := not_kept(run.distillation, asked.curve):
            return State("to do", (f"no snapshot at {', '.join(map(str, missing))} was kept",), run)
        return state_of_evaluations(run, evaluations, snapshots)
    alike = finished.by_request.get(_request(asked), ()) if finished.by_request else ()
    stale = [(differences(run.distillation.inputs, asked), run) for run in alike]
    if not stale:
        return State("to do")
    reasons, run = min(stale, key=lambda each: (len(each[0]), each[1].distillation.key))
    return State("stale", tuple(reasons), run)


def state_of_evaluations(run: Run, evaluations: Sequence[EvaluationInputs], snapshots: Snapshots) -> State:
    """The state of the evaluations of a finished distillation."""
    entries = wanted(run.distillation.snapshots, snapshots)
    there = {record.key: record for record in run.evaluations}
    for asked in evaluations:
        record = there.get(asked.key)
        if record is not None and has_scores(record, entries):
            continue
        reasons = [] if record is not None else _stale_evaluation(run, asked)
        return State("stale", tuple(reasons), run) if reasons else State("to evaluate", (), run)
    return State("done", (), run)


def _stale_evaluation(run: Run, asked: EvaluationInputs) -> list[str]:
    alike = [record.inputs for record in run.evaluations if same_test(record.inputs, asked)]
    return min((differences(inputs, asked) for inputs in alike), key=len, default=[])


def same_request(one: DistillationInputs, other: DistillationInputs) -> bool:
    """Whether two distillations are of the same place on a board, so that one can only replace the other.

    They are asked for in the same words: another parameter, PPC, draw, sampling or repetition is another
    cell, a default that has changed since is not.
    """
    return _request(one) == _request(other)


def _request(inputs: DistillationInputs) -> str:
    return canonical_json(
        [
            inputs.method,
            inputs.variation,
            inputs.data.name,
            inputs.data.points,
            inputs.data.sampling,
            inputs.ppc,
            inputs.draw,
            inputs.repetition,
            inputs.network.label,
            inputs.iterations,
            inputs.snapshots,
        ]
    )


def same_test(one: EvaluationInputs, other: EvaluationInputs) -> bool:
    """The same for two evaluations of one distillation: protocol by name, students and test."""
    return _test(one) == _test(other)


def _test(inputs: EvaluationInputs) -> tuple[Any, ...]:
    return inputs.network.label, inputs.protocol.label, inputs.variant.label, inputs.repetitions


def outdated(inputs: DistillationInputs | EvaluationInputs) -> str:
    """Why a record is stale whatever is asked for: `ENGINE 1, now 2`; empty where it is not."""
    now = identity.ENGINE
    return "" if inputs.engine == now else f"ENGINE {inputs.engine}, now {now}"
