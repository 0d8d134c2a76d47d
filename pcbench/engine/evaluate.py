"""Evaluations from clouds to records: train students on snapshots, test them, keep their scores."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from pcbench.api import Backbone, PointClouds, Snapshot, Splits
from pcbench.catalogue.loading import one_line_reason
from pcbench.clouds import concatenate
from pcbench.common.files import write_text
from pcbench.engine import machine, students
from pcbench.engine.artifacts import load_snapshots
from pcbench.engine.cell import Evaluation
from pcbench.engine.independence import check_students
from pcbench.engine.scores import Scored, ScoreStore
from pcbench.engine.shares import shares
from pcbench.engine.unfinished import Keeper, Unfinished
from pcbench.errors import DataError
from pcbench.ops.batches import POINT_BYTES, groups_at_once, in_chunks
from pcbench.protocols.protocol import Recipe
from pcbench.protocols.variants import Variant
from pcbench.records import layout, predictions
from pcbench.records.attempts import Ending
from pcbench.records.circumstances import NOTHING, Clock, Provenance
from pcbench.records.inputs import EvaluationInputs
from pcbench.records.models import (
    DistillationRecord,
    EvaluationRecord,
    Run,
    SnapshotEntry,
    SnapshotScores,
    Work,
)
from pcbench.records.predictions import Predictions
from pcbench.records.state import Snapshots, has_scores, not_kept, state_of_evaluations, wanted
from pcbench.records.store import checked_run, write_evaluation
from pcbench.records.values import accuracies

Report = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


@dataclass(frozen=True)
class Outcome:
    """What became of a distillation and its evaluation."""

    run: Run
    """The distillation, with the evaluations that were asked for."""
    network: str
    """The students' network."""
    reused: bool = False
    """Whether the finished records were there already and nothing was computed."""
    problem: str = ""
    """Why there are no scores; empty where there are."""
    status: Ending = "ok"
    """The same in a word."""


def evaluate(
    evaluation: Evaluation,
    run: Run,
    device: torch.device,
    report: Report,
    snapshots: Snapshots = "all",
    again: bool = False,
) -> Outcome:
    """The scores of a finished distillation's snapshots: those in its folder, or those of new students.

    One record a test, in their order; students are trained once for all tests that lack a score, on the last
    snapshot first. What is new is written as soon as it is known, so that an interruption loses only the
    students in training. A failure becomes the outcome's problem, its traceback a file beside the records.
    snapshots: those that are asked for. again: where the folder has stale scores, new ones are made beside
    them; else the reason is the outcome's problem.
    """
    there, records = _looked_up(evaluation, run, snapshots, again)
    if there is not None:
        return there
    folder, distillation, label = run.folder, run.distillation, evaluation.network.label
    entries = wanted(distillation.snapshots, snapshots)
    asked = evaluation.asked(distillation.key)
    for inputs in asked:
        layout.traceback(folder, inputs.key).unlink(missing_ok=True)
    tests = [_Test(inputs, folder, distillation, records.get(inputs.key)) for inputs in asked]
    try:
        _complete(evaluation, tests, entries, run, device, report)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's backbone may raise anything
        trace = layout.traceback(folder, asked[0].key)
        problem = f"evaluation failed: {explained(error, trace, evaluation.backbone)}"
        status: Ending = "oom" if machine.out_of_memory(error) else "failed"
        return Outcome(Run(folder, distillation, ()), label, problem=problem, status=status)
    made = tuple(test.record for test in tests if test.record is not None)
    return Outcome(Run(folder, distillation, made), label)


def known(
    evaluation: Evaluation, run: Run, snapshots: Snapshots = "all", again: bool = False
) -> Outcome | None:
    """The outcome of an evaluation for which no students are to be trained.

    It is done, or stale and to stay so, or on snapshots that the distillation did not keep.
    """
    return _looked_up(evaluation, run, snapshots, again)[0]


def _looked_up(
    evaluation: Evaluation, run: Run, snapshots: Snapshots, again: bool
) -> tuple[Outcome | None, dict[str, EvaluationRecord]]:
    """As `known`, and the evaluations in the run's folder by their keys."""
    label, kept = evaluation.network.label, Run(run.folder, run.distillation, ())
    if isinstance(snapshots, tuple) and (missing := not_kept(run.distillation, snapshots)):
        listed = ",".join(map(str, missing))
        problem = f"{run.folder} kept no snapshot at {listed}: 'pcbench run --snapshots {listed}' makes it"
        return Outcome(kept, label, problem=problem, status="failed"), {}
    asked = evaluation.asked(run.distillation.key)
    there = checked_run(run.folder).run
    records = {record.key: record for record in there.evaluations}
    state = state_of_evaluations(there, asked, snapshots)
    if state.word == "stale" and not again:
        return Outcome(kept, label, problem=state.label, status="stale"), records
    if state.word != "done":
        return None, records
    done = Run(run.folder, run.distillation, tuple(records[inputs.key] for inputs in asked))
    return Outcome(done, label, reused=True), records


debugger: ContextVar[Callable[[BaseException], None] | None] = ContextVar("debugger", default=None)
"""Takes every error of a plugin in this process where it is caught; none unless a user asks for it."""


def explained(error: BaseException, trace: Path, plugin: type[Backbone] | None = None) -> str:
    """The reason in one line, with its place where it is in a plugin's folder; a file gets the traceback."""
    if (look := debugger.get()) is not None:
        look(error)
    write_text(trace, traceback.format_exc())
    return one_line_reason(error, [Path(inspect.getfile(plugin)).parent] if plugin else [])


def stored_snapshots(splits: Splits, folder: Path, record: DistillationRecord) -> list[Snapshot]:
    """The clouds that a record names, from its folder; the training split itself is not kept a second time.

    DataError where they are missing or others.
    """
    if not record.inputs.is_whole:
        return load_snapshots(layout.clouds(folder), record.snapshots)
    if [entry.clouds for entry in record.snapshots] != [splits.train.content_hash()]:
        raise DataError(f"{folder}: the training split is not that of the record")
    return [Snapshot(0, splits.train)]


# Students: the one training and the one test, for evaluations and for verifications


def recipe_for(evaluation: Evaluation, distillation: DistillationRecord, iteration: int) -> Recipe:
    """How students are trained on the snapshot of an iteration."""
    if distillation.inputs.is_whole:
        return evaluation.protocol.whole
    recipe = evaluation.protocol.recipe
    (rate,) = [entry.student_lr for entry in distillation.snapshots if entry.iteration == iteration]
    if rate is not None:
        recipe = recipe.model_copy(update={"lr": rate})
    return recipe.for_set(distillation.step_factor)


def check_independent(evaluation: Evaluation, clouds: PointClouds, device: torch.device) -> None:
    """Try two students on two of the clouds, once before any are trained.

    Raises NotIndependent where the students would be fewer than they seem.
    """
    points = clouds.select(torch.arange(len(clouds))[:2]).normalised().points.to(device)
    check_students(evaluation.build, points, evaluation.streams())


def train_students(
    evaluation: Evaluation,
    sets: Sequence[Snapshot],
    recipe: Recipe,
    repetitions: Sequence[int],
    device: torch.device,
    report: Callable[[int, int], None],
    stacks: int | None = None,
    keeper: Keeper | None = None,
) -> Backbone:
    """S students trained on each of several synthetic sets, their clouds normalised: a stacked network.

    A set that is drawn anew in every epoch is trained on alone.

    repetitions: the students' axes of the seeds, (S,); those of the first set stand first in the stack.
    stacks: how many shares the students are divided into, by default one a thread. keeper: keeps what they
    have reached.
    """
    streams = evaluation.streams()
    redraw, *_ = map(_redraw, sets)
    return students.train(
        evaluation.build,
        concatenate([each.clouds.normalised() for each in sets]).to(device),
        recipe,
        [streams[repetition] for repetition in repetitions],
        report,
        sets=len(sets),
        stacks=stacks,
        redraw=redraw,
        keeper=keeper,
    )


def _redraw(snapshot: Snapshot) -> students.Redraw | None:
    """What draws a set anew in every epoch; None where its clouds are always the same."""
    return None if snapshot.stored is None else snapshot.stored.redraw()


@dataclass(frozen=True)
class Answers:
    """What stacked students answered to a test."""

    predictions: Predictions
    """The class that each student took each test cloud for."""
    clock: Clock
    """The time of answering; loading and changing the test clouds is not counted."""


def answers_of(
    evaluation: Evaluation, network: Backbone, count: int, variant: Variant, device: torch.device
) -> Answers:
    """What `count` stacked students answer to a test."""
    clouds = evaluation.test(variant).to(device)
    watch = machine.Stopwatch(device)
    predicted = students.predictions(network, clouds, count, evaluation.answers(variant))
    clock = watch.read()
    return Answers(Predictions.of(predicted, clouds.labels.cpu(), clouds.classes), clock)


# Scores that are known, and those that are not


@dataclass
class _Test:
    """One test of a distillation's students: its record so far, and the scores that it can take over."""

    inputs: EvaluationInputs
    """What the record's scores depend on."""
    folder: Path
    """The run's folder."""
    distillation: DistillationRecord
    """The run's distillation."""
    record: EvaluationRecord | None
    """The record as it stands in the folder; None where there is none."""
    known: dict[str, Scored] = field(default_factory=dict)
    """Scores by the hash of the clouds, those of the record and of equal clouds elsewhere."""

    def __post_init__(self) -> None:
        if self.record is not None:
            self.known |= _scores_in(self.folder, self.record)

    def has(self, entries: Iterable[SnapshotEntry]) -> bool:
        """Whether its record has the scores of these snapshots."""
        return self.record is not None and has_scores(self.record, entries)

    def take_over(self, store: ScoreStore, entries: Iterable[SnapshotEntry]) -> None:
        """Know what equal clouds scored in other runs by the same test; no score of the record changes."""
        for clouds, scored in store.get(self.inputs, {entry.clouds for entry in entries}).items():
            there = self.known.get(clouds)
            more = there is None or there.predictions is None
            if more and (there is None or there.scores.correct == scored.scores.correct):
                self.known[clouds] = scored

    def lacks(self, clouds: str) -> bool:
        """Whether students have to be trained on these clouds for this test."""
        return clouds not in self.known

    def write(self, entries: Sequence[SnapshotEntry], totals: list[int], share: Work) -> None:
        """Write the record of the snapshots that are known, of those asked for and those it had before.

        share: what this command has done for it so far, in the place of what it had done before.
        """
        before = {scores.iteration for scores in self.record.snapshots} if self.record else set()
        asked = before | {entry.iteration for entry in entries}
        snapshots = [
            self.known[entry.clouds].scores.model_copy(update={"iteration": entry.iteration})
            for entry in self.distillation.snapshots
            if entry.iteration in asked and entry.clouds in self.known
        ]
        earlier = [each for each in self.record.work if not _same_command(each, share)] if self.record else []
        work = [*earlier, share] if share.iterations or not earlier else earlier
        last = self.known[snapshots[-1].clouds]
        self.record = EvaluationRecord(
            key=self.inputs.key,
            inputs=self.inputs,
            totals=totals,
            snapshots=snapshots,
            confusion=last.confusion,
            predictions=self._answered(last),
            work=work,
        )
        if last.predictions is not None:  # before the record, which names them
            predictions.save(layout.predictions(self.folder, self.inputs.key), last.predictions)
        write_evaluation(self.folder, self.record)

    def _answered(self, last: Scored) -> str | None:
        """The hash of the answers to the last snapshot; as it stands in the record where the file is gone."""
        if last.predictions is not None:
            return last.predictions.content_hash()
        same = self.record is not None and self.record.headline.clouds == last.scores.clouds
        return self.record.predictions if self.record is not None and same else None


def _same_command(one: Work, other: Work) -> bool:
    """Whether two shares are of one call of `evaluate`, the second being more of the first."""
    return one.provenance.created == other.provenance.created and set(one.iterations) <= set(other.iterations)


def _scores_in(folder: Path, record: EvaluationRecord) -> dict[str, Scored]:
    """The scores of a record by the hash of the clouds; the last snapshot's with what students answered."""
    answered = None
    with contextlib.suppress(DataError):  # files that are damaged or gone: the scores hold without them
        answered = predictions.read(folder, record)
    known = {scores.clouds: Scored(scores, None, None) for scores in record.snapshots}
    return known | {record.headline.clouds: Scored(record.headline, record.confusion, answered)}


def _complete(
    evaluation: Evaluation,
    tests: Sequence[_Test],
    entries: Sequence[SnapshotEntry],
    run: Run,
    device: torch.device,
    report: Report,
) -> None:
    """Train the protocol's students on every snapshot whose clouds lack a score, test them, write records.

    On a GPU as many snapshots at once as its memory takes: one set of ten students leaves most of it idle.
    """
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    provenance = machine.provenance(device)
    distillation, protocol = run.distillation, evaluation.protocol
    stored = stored_snapshots(evaluation.splits, run.folder, distillation)
    kept = {entry.clouds: snapshot for entry, snapshot in zip(distillation.snapshots, stored, strict=True)}
    store = None if distillation.inputs.is_whole else ScoreStore(run.folder.parent, provenance)
    if store:
        for test in tests:
            test.take_over(store, entries)
    first: dict[str, SnapshotEntry] = {}
    for entry in (entries[-1], *entries[:-1]):  # the last snapshot is the one that is reported
        first.setdefault(entry.clouds, entry)
    missing = [entry for entry in first.values() if any(test.lacks(entry.clouds) for test in tests)]
    recipes = [recipe_for(evaluation, distillation, entry.iteration) for entry in missing]
    total = sum(recipe.epochs for recipe in recipes)
    if missing:
        check_independent(evaluation, kept[missing[0].clouds].clouds, device)
    done = [_Share() for _ in tests]

    def train_and_test(part: slice) -> None:
        group, recipe = missing[part], recipes[part.start]
        reached = Unfinished(
            layout.training(run.folder, tests[0].inputs.key),
            {
                "evaluation": tests[0].inputs.key,
                "clouds": [entry.clouds for entry in group],
                "recipe": recipe.model_dump(mode="json"),
            },
            device,
        )
        network = train_students(
            evaluation,
            [kept[entry.clouds] for entry in group],
            recipe,
            range(protocol.students),
            device,
            partial(_report_epochs, report, part.start * recipe.epochs, len(group), total),
            keeper=reached,
        )
        trained = reached.clock
        stacks = len(shares(network, len(group) * protocol.students, device))
        for test, share in zip(tests, done, strict=True):
            lacking = [place for place, entry in enumerate(group) if test.lacks(entry.clouds)]
            if not lacking:
                continue
            variant = test.inputs.variant
            answers = answers_of(evaluation, network, len(group) * protocol.students, variant, device)
            per_set = answers.predictions.split(protocol.students)
            totals = evaluation.totals(variant)
            for place in lacking:
                scored = _scored(group[place], per_set[place], totals)
                test.known[group[place].clouds] = scored
                if store:
                    store.put(test.inputs, scored)
            share.add([group[place].iteration for place in lacking], trained, answers.clock)
            share.stacks = stacks
            test.write(entries, totals, share.work(memory, provenance))
        reached.end()

    points = protocol.students * protocol.recipe.batch * protocol.points
    drawn = any(_redraw(kept[entry.clouds]) for entry in missing)
    alike = len({recipe.lr for recipe in recipes}) <= 1 and not drawn
    at_once = groups_at_once(device, 1, POINT_BYTES * points) if alike else 1
    in_chunks(train_and_test, len(missing), at_once)
    for test, share in zip(tests, done, strict=True):
        if not test.has(entries):  # all that was missing was taken over
            test.write(entries, evaluation.totals(test.inputs.variant), share.work(memory, provenance))


def _report_epochs(report: Report, before: int, sets: int, total: int, epoch: int, _: int) -> None:
    report("train students", before + sets * epoch, total)


@dataclass
class _Share:
    """What one command has done for one test so far."""

    iterations: list[int] = field(default_factory=list)
    """The snapshots that it trained students on."""
    train: Clock = NOTHING
    """The training of their students."""
    test: Clock = NOTHING
    """Their test."""
    stacks: int = 1
    """Stacks that they were divided into."""

    def add(self, iterations: Sequence[int], train: Clock, test: Clock) -> None:
        """Count what was done for further snapshots."""
        self.iterations += iterations
        self.train += train
        self.test += test

    def work(self, memory: machine.PeakMemory, provenance: Provenance) -> Work:
        """The same as it stands in a record."""
        load = machine.load(self.train.seconds + self.test.seconds)
        return Work(
            iterations=sorted(self.iterations),
            train=self.train,
            test=self.test,
            memory=memory.read(),
            provenance=provenance.model_copy(update={"load": load}),
            stacks=self.stacks,
        )


def _scored(entry: SnapshotEntry, answered: Predictions, totals: list[int]) -> Scored:
    """The scores of S students from what they took the test clouds for."""
    correct = answered.correct
    pairs = [accuracies(counts, totals) for counts in correct]
    scores = SnapshotScores(
        iteration=entry.iteration,
        clouds=entry.clouds,
        oa=[oa for oa, _ in pairs],
        macc=[macc for _, macc in pairs],
        correct=correct,
    )
    return Scored(scores, answered.confusion, answered)
