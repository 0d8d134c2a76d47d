"""One evaluation from clouds to record: train students on every snapshot, test them, keep their scores."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from pcbench import machine, students
from pcbench.api import Snapshot, Splits
from pcbench.artifacts import FILE, load_snapshots
from pcbench.cache import source_hash
from pcbench.errors import DataError, PcbenchError
from pcbench.files import write_text
from pcbench.plan import Evaluation
from pcbench.records import (
    DistillationRecord,
    EvaluationInputs,
    EvaluationRecord,
    Provenance,
    Run,
    SnapshotScores,
    accuracies,
    evaluation_path,
    read_evaluation,
    read_runs,
    write_record,
)

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

    A failure becomes the outcome's problem, its traceback a file beside the records.
    """
    folder, distillation = run.folder, run.distillation
    path = evaluation_path(folder, evaluation.inputs(distillation.snapshots))
    trace = path.with_suffix(".traceback.txt")
    trace.unlink(missing_ok=True)
    record = _finished(evaluation, path, distillation)
    reused = record is not None
    if record is None:
        try:
            record = _evaluate(evaluation, folder, distillation, device, report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's backbone may raise anything
            problem = f"evaluation failed: {explained(error, trace)}"
            return Outcome(Run(folder, distillation, ()), evaluation.network.label, problem=problem)
        write_record(path, record)
    return Outcome(Run(folder, distillation, (record,)), evaluation.network.label, reused)


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


def _finished(
    evaluation: Evaluation, path: Path, distillation: DistillationRecord
) -> EvaluationRecord | None:
    if not path.is_file():
        return None
    try:
        record = read_evaluation(path)
    except DataError:
        return None
    return record if record.key == evaluation.inputs(distillation.snapshots).key else None


def _known_scores(out: Path, inputs: EvaluationInputs, provenance: Provenance) -> dict[str, SnapshotScores]:
    """The scores that clouds have got before, by their hash: same test data, students, code and machine.

    All methods start from the same clouds, which are therefore scored once.
    """
    known: dict[str, SnapshotScores] = {}
    for run in read_runs(out)[0]:
        for record in run.evaluations:
            same_work = record.inputs.model_copy(update={"clouds": inputs.clouds}) == inputs
            same_code = (record.code, record.provenance.packages) == (source_hash(), provenance.packages)
            same_machine = record.provenance.hardware == provenance.hardware
            if same_work and same_code and same_machine and run.distillation.inputs.ppc:
                known.update(zip(record.inputs.clouds, record.snapshots, strict=True))
    return known


def _report_epochs(report: Report, before: int, total: int, epoch: int, _: int) -> None:
    report("train students", before + epoch, total)


def _evaluate(
    evaluation: Evaluation,
    folder: Path,
    distillation: DistillationRecord,
    device: torch.device,
    report: Report,
) -> EvaluationRecord:
    """Train and test the protocol's students on every snapshot whose clouds no record has scored yet."""
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    inputs = evaluation.inputs(distillation.snapshots)
    protocol, whole = evaluation.protocol, distillation.inputs.ppc == 0
    test = evaluation.splits.test.to(device)
    totals = test.counts().tolist()
    scores, train_seconds, test_seconds = [], 0.0, 0.0
    snapshots = stored_snapshots(evaluation.splits, folder, distillation)
    recipe = protocol.whole if whole else protocol.recipe
    provenance = machine.provenance(device)
    known = {} if whole else _known_scores(folder.parent, inputs, provenance)
    trained: list[int] = []
    for done, (snapshot, clouds) in enumerate(zip(snapshots, inputs.clouds, strict=True)):
        if clouds in known:
            scores.append(known[clouds].model_copy(update={"iteration": snapshot.iteration}))
            continue
        trained.append(snapshot.iteration)
        start = machine.now(device)
        network = students.train(
            evaluation.build,
            snapshot.clouds.normalised().to(device),
            recipe,
            evaluation.streams(),
            partial(_report_epochs, report, done * recipe.epochs, len(snapshots) * recipe.epochs),
        )
        ready = machine.now(device)
        correct = students.count_correct(network, test, protocol.students).tolist()
        test_seconds += machine.now(device) - ready
        train_seconds += ready - start
        pairs = [accuracies(counts, totals) for counts in correct]
        scores.append(
            SnapshotScores(
                iteration=snapshot.iteration,
                oa=[oa for oa, _ in pairs],
                macc=[macc for _, macc in pairs],
                correct=correct,
            )
        )
    return EvaluationRecord(
        key=inputs.key,
        distillation=distillation.key,
        inputs=inputs,
        totals=totals,
        snapshots=scores,
        trained=trained,
        code=source_hash(),
        train_seconds=train_seconds,
        test_seconds=test_seconds,
        memory=memory.read(),
        provenance=provenance,
    )
