"""Evaluations from clouds to records: train students on every snapshot, test them, keep their scores."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

import torch

from pcbench import machine, students
from pcbench.api import Snapshot, Splits
from pcbench.artifacts import FILE, load_snapshots
from pcbench.cache import source_hash
from pcbench.clouds import concatenate
from pcbench.errors import DataError, PcbenchError
from pcbench.files import write_text
from pcbench.ops.batches import POINT_BYTES, groups_at_once, in_chunks
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

    One record a variant of the test, in their order; students are trained once for all that are missing. A
    failure becomes the outcome's problem, its traceback a file beside the records.
    """
    folder, distillation, label = run.folder, run.distillation, evaluation.network.label
    records: dict[str, EvaluationRecord] = {}
    missing: list[EvaluationInputs] = []
    asked = [evaluation.inputs(distillation.snapshots, variant) for variant in evaluation.variants]
    for inputs in asked:
        _trace(folder, inputs).unlink(missing_ok=True)
        record = _finished(evaluation_path(folder, inputs), inputs)
        if record is None:
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


def _finished(path: Path, inputs: EvaluationInputs) -> EvaluationRecord | None:
    if not path.is_file():
        return None
    try:
        record = read_evaluation(path)
    except DataError:
        return None
    return record if record.key == inputs.key else None


def _known_scores(runs: Sequence[Run], inputs: EvaluationInputs, provenance: Provenance) -> dict[str, Scored]:
    """The scores that clouds have got before, by their hash: same test, students, code and machine.

    All methods start from the same clouds, which are therefore scored once.
    """
    known: dict[str, Scored] = {}
    for run in runs:
        for record in run.evaluations:
            same_work = record.inputs.model_copy(update={"clouds": inputs.clouds}) == inputs
            same_code = (record.code, record.provenance.packages) == (source_hash(), provenance.packages)
            same_machine = record.provenance.hardware == provenance.hardware
            if same_work and same_code and same_machine and run.distillation.inputs.ppc:
                last = len(record.snapshots) - 1
                for place, clouds in enumerate(record.inputs.clouds):
                    scored = record.snapshots[place], record.confusion if place == last else None
                    if clouds not in known or scored[1] is not None:
                        known[clouds] = scored
    return known


Scored: TypeAlias = tuple[SnapshotScores, list[list[int]] | None]
"""The scores of a snapshot's students, with their summed confusion where it is known."""


def _report_epochs(report: Report, before: int, sets: int, total: int, epoch: int, _: int) -> None:
    report("train students", before + sets * epoch, total)


@dataclass
class _Test:
    """One test of the students of every snapshot, and what it has given so far.

    known: the scores that clouds have got in other records, by their hash. scored: by the snapshot's place.
    """

    inputs: EvaluationInputs
    known: dict[str, Scored]
    scored: dict[int, Scored] = field(default_factory=dict)
    trained: list[int] = field(default_factory=list)
    train_seconds: float = 0.0
    test_seconds: float = 0.0

    def reuse(self, snapshots: Sequence[Snapshot]) -> None:
        """Take over what is known of some snapshots' clouds."""
        for place, snapshot in enumerate(snapshots):
            if self.inputs.clouds[place] in self.known:
                scores, confusion = self.known[self.inputs.clouds[place]]
                self.scored[place] = scores.model_copy(update={"iteration": snapshot.iteration}), confusion


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
    recipe = protocol.whole if whole else protocol.recipe
    provenance = machine.provenance(device)
    runs = [] if whole else read_runs(folder.parent)[0]
    tests = [_Test(inputs, _known_scores(runs, inputs, provenance)) for inputs in asked]
    for test in tests:
        test.reuse(snapshots)
    missing = [place for place in range(len(snapshots)) if any(place not in test.scored for test in tests)]
    total = len(missing) * recipe.epochs

    def train_and_test(part: slice) -> None:
        places, start = missing[part], machine.now(device)
        clouds = [snapshots[place].clouds.normalised() for place in places]
        network = students.train(
            evaluation.build,
            concatenate(clouds).to(device),
            recipe,
            evaluation.streams(),
            partial(_report_epochs, report, part.start * recipe.epochs, len(places), total),
            sets=len(places),
        )
        seconds = machine.now(device) - start
        for test in tests:
            new = [place for place in places if place not in test.scored]
            if not new:
                continue
            tested = evaluation.test(test.inputs.variant).to(device)
            answers = evaluation.answers(test.inputs.variant)
            ready = machine.now(device)
            found = students.confusions(network, tested, len(places) * protocol.students, answers)
            test.test_seconds += machine.now(device) - ready
            test.train_seconds += seconds
            test.trained += [snapshots[place].iteration for place in new]
            for place, confusions in zip(places, found.split(protocol.students), strict=True):
                if place in new:
                    correct = confusions.diagonal(dim1=1, dim2=2).tolist()
                    scores = _scores(
                        snapshots[place].iteration, correct, evaluation.totals(test.inputs.variant)
                    )
                    test.scored[place] = scores, confusions.sum(0).tolist()

    points = protocol.students * recipe.batch * protocol.points
    in_chunks(train_and_test, len(missing), groups_at_once(device, 1, POINT_BYTES * points))
    return [
        EvaluationRecord(
            key=test.inputs.key,
            distillation=distillation.key,
            inputs=test.inputs,
            totals=evaluation.totals(test.inputs.variant),
            snapshots=[test.scored[place][0] for place in range(len(snapshots))],
            confusion=test.scored[len(snapshots) - 1][1],
            trained=test.trained,
            code=source_hash(),
            train_seconds=test.train_seconds,
            test_seconds=test.test_seconds,
            memory=memory.read(),
            provenance=provenance,
        )
        for test in tests
    ]


def _scores(iteration: int, correct: list[list[int]], totals: list[int]) -> SnapshotScores:
    pairs = [accuracies(counts, totals) for counts in correct]
    return SnapshotScores(
        iteration=iteration,
        oa=[oa for oa, _ in pairs],
        macc=[macc for _, macc in pairs],
        correct=correct,
    )
