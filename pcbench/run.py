"""One cell from plan to record: distil under the clock, keep the clouds, train students, keep the scores."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcbench import guard, machine, students
from pcbench.api import Backbone, MakeTensors, PointClouds, Snapshot, Task
from pcbench.artifacts import FILE, load_snapshots, save_snapshots
from pcbench.cache import TensorCache, source_hash
from pcbench.errors import DataError, PcbenchError
from pcbench.files import write_text
from pcbench.plan import Cell
from pcbench.records import (
    DistillationRecord,
    EvaluationInputs,
    EvaluationRecord,
    Provenance,
    Run,
    SnapshotEntry,
    SnapshotScores,
    Status,
    accuracies,
    evaluation_path,
    read_distillation,
    read_evaluation,
    read_runs,
    run_folder,
    write_record,
)

TRACEBACK = "traceback.txt"

Report = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


@dataclass(frozen=True)
class Outcome:
    """What became of a cell.

    reused: the finished records were there already and nothing was computed. problem: why there are no
    scores, empty where there are.
    """

    run: Run
    reused: bool = False
    problem: str = ""


def execute(cell: Cell, out: Path, device: torch.device, report: Report) -> Outcome:
    """Bring one cell to its records below `out`, doing only what is not there yet.

    A method that fails leaves a record with its reason and no evaluation. An interruption is recorded
    and raised.
    """
    folder = run_folder(out, cell.inputs)
    (folder / TRACEBACK).unlink(missing_ok=True)
    distillation = _finished_distillation(folder, cell)
    reused = distillation is not None
    if distillation is None:
        distillation = _distil(cell, folder, device, report)
    unscored = Run(folder, distillation, ())
    if distillation.status != "ok":
        return Outcome(unscored, problem=f"{distillation.status}: {distillation.reason}")
    evaluation = _finished_evaluation(folder, cell, distillation)
    if evaluation is None:
        reused = False
        try:
            evaluation = _evaluate(cell, folder, distillation, device, report)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin's backbone may raise anything
            return Outcome(unscored, problem=f"evaluation failed: {_explained(error, folder)}")
    return Outcome(Run(folder, distillation, (evaluation,)), reused)


def _explained(error: BaseException, folder: Path) -> str:
    """The reason in one line; the traceback goes into the run's folder."""
    write_text(folder / TRACEBACK, traceback.format_exc())
    text = str(error).partition("\n")[0]
    return text if isinstance(error, PcbenchError) else f"{type(error).__name__}: {text}"


def _finished_distillation(folder: Path, cell: Cell) -> DistillationRecord | None:
    """The record of a finished distillation whose clouds are there and unchanged, if there is one."""
    path = folder / "distillation.json"
    if not path.is_file():
        return None
    try:
        record = read_distillation(path)
        if record.status != "ok" or record.key != cell.inputs.key:
            return None
        _snapshots(cell, folder, record)
    except DataError:
        return None
    return record


def _snapshots(cell: Cell, folder: Path, record: DistillationRecord) -> list[Snapshot]:
    """The clouds that a record names, from its folder; the training split itself is not kept a second time.

    DataError where they are missing or others.
    """
    if not cell.method.whole:
        return load_snapshots(folder / FILE, record.snapshots)
    if [entry.clouds for entry in record.snapshots] != [cell.splits.train.content_hash()]:
        raise DataError(f"{folder}: the training split is not that of the record")
    return [Snapshot(0, cell.splits.train)]


def _finished_evaluation(
    folder: Path, cell: Cell, distillation: DistillationRecord
) -> EvaluationRecord | None:
    inputs = cell.evaluation_inputs(distillation.snapshots)
    path = evaluation_path(folder, inputs)
    if not path.is_file():
        return None
    try:
        record = read_evaluation(path)
    except DataError:
        return None
    return record if record.key == inputs.key else None


@dataclass
class _Reached:
    """What a distillation has reached so far, kept for its record however it ends."""

    snapshots: list[Snapshot] = field(default_factory=list)
    entries: list[SnapshotEntry] = field(default_factory=list)
    seconds: float = 0.0


def _distil(cell: Cell, folder: Path, device: torch.device, report: Report) -> DistillationRecord:
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    reached = _Reached()
    status: Status = "ok"
    reason = ""
    interruption: KeyboardInterrupt | None = None
    try:
        _follow(cell, device, report, reached)
    except KeyboardInterrupt as error:
        interruption, status, reason = error, "interrupted", "interrupted by the user"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; its record says what
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        status, reason = "oom" if out_of_memory else "failed", _explained(error, folder)
    record = DistillationRecord(
        key=cell.inputs.key,
        status=status,
        reason=reason,
        inputs=cell.inputs,
        snapshots=reached.entries,
        seconds=reached.seconds,
        memory=memory.read(),
        provenance=machine.provenance(device),
    )
    if not cell.method.whole:
        save_snapshots(folder / FILE, reached.snapshots)
    write_record(folder / "distillation.json", record)
    _drop_stale(folder, record)
    if interruption is not None:
        raise interruption
    return record


def _drop_stale(folder: Path, record: DistillationRecord) -> None:
    """Remove the evaluations of clouds that a finished distillation has replaced by others.

    One that did not finish replaces nothing, and what cannot be read may be another version's: both stay.
    """
    if record.status != "ok":
        return
    clouds = [entry.clouds for entry in record.snapshots]
    for path in folder.glob("evaluation-*.json"):
        with contextlib.suppress(DataError):
            if read_evaluation(path).inputs.clouds != clouds:
                path.unlink()


def _follow(cell: Cell, device: torch.device, report: Report, reached: _Reached) -> None:
    """Run the method and keep its checked snapshots; the clock runs only while the method does."""
    iterations = cell.inputs.iterations
    train = _own_copy(cell.splits.train, device)
    trained = _Trained(cell, _own_copy(cell.splits.train, device), device, report)
    backbone, preset = cell.backbone, cell.inputs.network.preset

    def network(generator: torch.Generator) -> Backbone:
        return backbone.build(train.classes, preset, generator).to(device)

    task = Task(
        train=train,
        ppc=cell.inputs.ppc,
        iterations=iterations,
        snapshots=cell.protocol.snapshots,
        device=device,
        streams=cell.distillation_streams(),
        network=network,
        trained_network=trained.network,
        cached=trained.tensors,
        report=lambda done: report("distil", done, iterations),
    )
    report("distil", 0, iterations)
    source = guard.watched(cell.method, task)
    while True:
        start = machine.now(device)
        snapshot = next(source, None)
        reached.seconds += machine.now(device) - start + trained.cache.owed()
        if snapshot is None:
            break
        snapshot = guard.checked(cell.method, snapshot, task, reached.snapshots)
        reached.snapshots.append(snapshot)
        reached.entries.append(
            SnapshotEntry(
                iteration=snapshot.iteration,
                seconds=reached.seconds,
                clouds=snapshot.clouds.content_hash(),
            )
        )
    guard.check_complete(cell.method, reached.snapshots, task)
    report("distil", iterations, iterations)


def _own_copy(clouds: PointClouds, device: torch.device) -> PointClouds:
    """The clouds in memory of their own: no view of another split, and no other's to change."""
    points, labels = (tensor.detach().to(device, copy=True) for tensor in (clouds.points, clouds.labels))
    return PointClouds(points, labels, clouds.class_names)


class _Trained:
    """What a method may ask for that is trained once per data set and seed and kept in the cache."""

    def __init__(self, cell: Cell, train: PointClouds, device: torch.device, report: Report) -> None:
        self.train, self.device, self.report = train, device, report
        self.backbone, self.inputs = cell.backbone, cell.inputs
        self.streams = cell.trained_network_streams()
        common = {
            "data": self.inputs.data.hash,
            "network": self.inputs.network.model_dump(mode="json"),
            "streams": dict(self.streams.axes),
        }
        self.cache = TensorCache(common, device)

    @guard.suspended()
    def network(self) -> Backbone:
        """The backbone trained on the whole training split by the protocol's recipe, frozen."""
        recipe = self.inputs.whole
        state = self.cache.get({"recipe": recipe.model_dump(mode="json")}, self._state)
        network = self._build(self.streams.stream("weights"))
        network.load_state_dict(state)
        return network.to(self.device).eval().requires_grad_(False)

    @guard.suspended()
    def tensors(self, inputs: Mapping[str, Any], make: MakeTensors) -> dict[str, Tensor]:
        """Tensors that the method makes itself, kept under its source and these inputs."""
        own = {"method": self.inputs.method, "source": self.inputs.source, "inputs": dict(inputs)}
        return self.cache.get(own, partial(self._made, make))

    @guard.resumed()
    def _made(self, make: MakeTensors) -> Mapping[str, Tensor]:
        return make(self.streams, partial(self.report, "prepare"))

    def _build(self, generator: torch.Generator) -> Backbone:
        return self.backbone.build(self.train.classes, self.inputs.network.preset, generator)

    def _state(self) -> dict[str, Tensor]:
        report = partial(self.report, "train feature network")
        stacked = students.train(self._build, self.train, self.inputs.whole, [self.streams], report)
        return {name: values[0] for name, values in stacked.state_dict().items()}


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
    cell: Cell, folder: Path, distillation: DistillationRecord, device: torch.device, report: Report
) -> EvaluationRecord:
    """Train and test the protocol's students on every snapshot whose clouds no record has scored yet."""
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    inputs = cell.evaluation_inputs(distillation.snapshots)
    test = cell.splits.test.to(device)
    totals = test.counts().tolist()
    scores, train_seconds, test_seconds = [], 0.0, 0.0
    snapshots = _snapshots(cell, folder, distillation)
    recipe = cell.protocol.whole if cell.method.whole else cell.protocol.recipe
    provenance = machine.provenance(device)
    known = {} if cell.method.whole else _known_scores(folder.parent, inputs, provenance)
    trained: list[int] = []

    def build(generator: torch.Generator) -> Backbone:
        return cell.backbone.build(test.classes, cell.inputs.network.preset, generator)

    for done, (snapshot, clouds) in enumerate(zip(snapshots, inputs.clouds, strict=True)):
        if clouds in known:
            scores.append(known[clouds].model_copy(update={"iteration": snapshot.iteration}))
            continue
        trained.append(snapshot.iteration)
        start = machine.now(device)
        network = students.train(
            build,
            snapshot.clouds.normalised().to(device),
            recipe,
            cell.student_streams(),
            partial(_report_epochs, report, done * recipe.epochs, len(snapshots) * recipe.epochs),
        )
        ready = machine.now(device)
        correct = students.count_correct(network, test, cell.protocol.students).tolist()
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
    record = EvaluationRecord(
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
    write_record(evaluation_path(folder, inputs), record)
    return record
