"""Evaluations from clouds to records: train students on every snapshot, test them, keep their scores."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from pcbench.api import Snapshot, Splits
from pcbench.clouds import concatenate
from pcbench.common.files import write_text
from pcbench.engine import machine, students
from pcbench.engine.artifacts import FILE, load_snapshots
from pcbench.engine.cache import source_hash
from pcbench.engine.plan import Evaluation
from pcbench.errors import DataError, PcbenchError
from pcbench.ops.batches import POINT_BYTES, groups_at_once, in_chunks
from pcbench.records.layout import evaluation_path, part_path, part_paths
from pcbench.records.models import (
    DistillationRecord,
    EvaluationInputs,
    EvaluationRecord,
    Memory,
    Provenance,
    Run,
    SnapshotScores,
    accuracies,
)
from pcbench.records.store import read_evaluation, read_runs, write_record

Report = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


@dataclass(frozen=True)
class Outcome:
    """What became of a distillation and its evaluation.

    reused: the finished records were there already and nothing was computed. problem: why there are no
    scores, empty where there are. network: the students'.
    """

    run: Run
    network: str
    reused: bool = False
    problem: str = ""


def evaluate(evaluation: Evaluation, run: Run, device: torch.device, report: Report) -> Outcome:
    """The scores of a finished distillation's snapshots: those in its folder, or those of new students.

    One record a variant of the test, in their order; students are trained once for all that are missing. A
    failure becomes the outcome's problem, its traceback a file beside the records.
    """
    folder, distillation, label = run.folder, run.distillation, evaluation.network.label
    records: dict[str, EvaluationRecord] = {}
    missing: list[EvaluationInputs] = []
    asked = [evaluation.inputs(distillation.snapshots, variant) for variant in evaluation.variants]
    for inputs in asked:
        _trace(folder, inputs).unlink(missing_ok=True)
        record = _readable(evaluation_path(folder, inputs))
        if record is None or record.key != inputs.key:
            missing.append(inputs)
        else:
            records[inputs.key] = record
    if missing:
        try:
            made = _evaluate(evaluation, missing, folder, distillation, device, report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's backbone may raise anything
            problem = f"evaluation failed: {explained(error, _trace(folder, missing[0]))}"
            return Outcome(Run(folder, distillation, ()), label, problem=problem)
        for record in made:
            write_record(evaluation_path(folder, record.inputs), record)
            for path in part_paths(folder, record.inputs):
                path.unlink()
            records[record.key] = record
    scored = tuple(records[inputs.key] for inputs in asked)
    return Outcome(Run(folder, distillation, scored), label, reused=not missing)


def _trace(folder: Path, inputs: EvaluationInputs) -> Path:
    return evaluation_path(folder, inputs).with_suffix(".traceback.txt")


def explained(error: BaseException, trace: Path) -> str:
    """The reason in one line; the traceback goes into a file."""
    write_text(trace, traceback.format_exc())
    text = str(error).partition("\n")[0]
    return text if isinstance(error, PcbenchError) else f"{type(error).__name__}: {text}"


def stored_snapshots(splits: Splits, folder: Path, record: DistillationRecord) -> list[Snapshot]:
    """The clouds that a record names, from its folder; the training split itself is not kept a second time.

    DataError where they are missing or others.
    """
    if record.inputs.ppc:
        return load_snapshots(folder / FILE, record.snapshots)
    if [entry.clouds for entry in record.snapshots] != [splits.train.content_hash()]:
        raise DataError(f"{folder}: the training split is not that of the record")
    return [Snapshot(0, splits.train)]


def _readable(path: Path) -> EvaluationRecord | None:
    try:
        return read_evaluation(path)
    except DataError:
        return None


Scored: TypeAlias = tuple[SnapshotScores, list[list[int]] | None]
"""The scores of a snapshot's students, with their summed confusion where it is known."""


def _scores_in(
    records: Iterable[EvaluationRecord], inputs: EvaluationInputs, provenance: Provenance
) -> dict[str, Scored]:
    """The scores that clouds have got in records, by their hash: same test, students, code and machine.

    All methods start from the same clouds, which are therefore scored once.
    """
    known: dict[str, Scored] = {}
    for record in records:
        same_work = record.inputs.model_copy(update={"clouds": inputs.clouds}) == inputs
        same_code = (record.code, record.provenance.packages) == (source_hash(), provenance.packages)
        same_machine = record.provenance.hardware == provenance.hardware
        if same_work and same_code and same_machine:
            last = len(record.snapshots) - 1
            for place, clouds in enumerate(record.inputs.clouds):
                scored = record.snapshots[place], record.confusion if place == last else None
                if clouds not in known or scored[1] is not None:
                    known[clouds] = scored
    return known


def _report_epochs(report: Report, before: int, sets: int, total: int, epoch: int, _: int) -> None:
    report("train students", before + sets * epoch, total)


class _Test:
    """One test of the students of every snapshot: its record's inputs, and the scores known so far.

    Scores that are new become a record of their snapshots at once, a part of the one to come, in a file
    beside it: an interruption loses only the students that are being trained.
    """

    def __init__(
        self, inputs: EvaluationInputs, folder: Path, runs: Sequence[Run], provenance: Provenance
    ) -> None:
        self.inputs, self.folder = inputs, folder
        kept = [part for path in part_paths(folder, inputs) if (part := _readable(path)) is not None]
        self.parts = [part for part in kept if _scores_in([part], inputs, provenance)]
        others = [record for run in runs if run.distillation.inputs.ppc for record in run.evaluations]
        self.scored = _scores_in([*others, *self.parts], inputs, provenance)

    def add(self, part: EvaluationRecord) -> None:
        """Keep the record of some of the snapshots."""
        write_record(part_path(self.folder, self.inputs, len(self.parts)), part)
        self.parts.append(part)
        self.scored |= _scores_in([part], self.inputs, part.provenance)


def _evaluate(
    evaluation: Evaluation,
    asked: Sequence[EvaluationInputs],
    folder: Path,
    distillation: DistillationRecord,
    device: torch.device,
    report: Report,
) -> list[EvaluationRecord]:
    """Train the protocol's students on every snapshot whose clouds lack a score, and test them for it.

    On a GPU as many snapshots at once as its memory takes: one set of ten students leaves most of it idle.
    """
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    protocol, whole = evaluation.protocol, distillation.inputs.ppc == 0
    snapshots = stored_snapshots(evaluation.splits, folder, distillation)
    clouds = [entry.clouds for entry in distillation.snapshots]
    recipe = protocol.whole if whole else protocol.recipe
    provenance = machine.provenance(device)
    runs = [] if whole else read_runs(folder.parent)[0]
    tests = [_Test(inputs, folder, runs, provenance) for inputs in asked]
    first = [place for place, name in enumerate(clouds) if name not in clouds[:place]]
    missing = [place for place in first if any(clouds[place] not in test.scored for test in tests)]
    total = len(missing) * recipe.epochs

    def train_and_test(part: slice) -> None:
        places, start = missing[part], machine.now(device)
        network = students.train(
            evaluation.build,
            concatenate([snapshots[place].clouds.normalised() for place in places]).to(device),
            recipe,
            evaluation.streams(),
            partial(_report_epochs, report, part.start * recipe.epochs, len(places), total),
            sets=len(places),
        )
        seconds = machine.now(device) - start
        for test in tests:
            new = [place for place in places if clouds[place] not in test.scored]
            if not new:
                continue
            tested = evaluation.test(test.inputs.variant).to(device)
            answers, totals = evaluation.answers(test.inputs.variant), evaluation.totals(test.inputs.variant)
            ready = machine.now(device)
            found = students.confusions(network, tested, len(places) * protocol.students, answers)
            test_seconds = machine.now(device) - ready
            confusions = dict(zip(places, found.split(protocol.students), strict=True))
            inputs = test.inputs.model_copy(update={"clouds": [clouds[place] for place in new]})
            test.add(
                EvaluationRecord(
                    key=inputs.key,
                    distillation=distillation.key,
                    inputs=inputs,
                    totals=totals,
                    snapshots=[
                        _scores(snapshots[place].iteration, confusions[place], totals) for place in new
                    ],
                    confusion=confusions[new[-1]].sum(0).tolist(),
                    trained=[snapshots[place].iteration for place in new],
                    code=source_hash(),
                    train_seconds=seconds,
                    test_seconds=test_seconds,
                    memory=memory.read(),
                    provenance=provenance,
                )
            )

    points = protocol.students * recipe.batch * protocol.points
    in_chunks(train_and_test, len(missing), groups_at_once(device, 1, POINT_BYTES * points))
    return [
        EvaluationRecord(
            key=test.inputs.key,
            distillation=distillation.key,
            inputs=test.inputs,
            totals=evaluation.totals(test.inputs.variant),
            snapshots=[
                test.scored[name][0].model_copy(update={"iteration": snapshot.iteration})
                for name, snapshot in zip(clouds, snapshots, strict=True)
            ],
            confusion=test.scored[clouds[-1]][1],
            trained=[iteration for part in test.parts for iteration in part.trained],
            code=source_hash(),
            train_seconds=sum(part.train_seconds for part in test.parts),
            test_seconds=sum(part.test_seconds for part in test.parts),
            memory=_largest([memory.read(), *(part.memory for part in test.parts)]),
            provenance=provenance,
        )
        for test in tests
    ]


def _largest(peaks: Sequence[Memory]) -> Memory:
    on_device = [peak.device_bytes for peak in peaks if peak.device_bytes is not None]
    return Memory(
        host_bytes=max(peak.host_bytes for peak in peaks), device_bytes=max(on_device, default=None)
    )


def _scores(iteration: int, confusions: Tensor, totals: list[int]) -> SnapshotScores:
    correct: list[list[int]] = confusions.diagonal(dim1=1, dim2=2).tolist()
    pairs = [accuracies(counts, totals) for counts in correct]
    return SnapshotScores(
        iteration=iteration,
        oa=[oa for oa, _ in pairs],
        macc=[macc for _, macc in pairs],
        correct=correct,
    )
