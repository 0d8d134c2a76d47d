"""One cell from plan to record: distil under the clock, keep the clouds, have students trained on them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcbench.api import Backbone, MakeTensors, PointClouds, Task
from pcbench.engine import checkpoint, guard, machine, students
from pcbench.engine.artifacts import FILE, save_snapshots
from pcbench.engine.cache import TensorCache, source_hash
from pcbench.engine.checkpoint import Checkpoint, Reached
from pcbench.engine.evaluate import Outcome, Report, evaluate, explained, stored_snapshots
from pcbench.engine.plan import Cell
from pcbench.errors import DataError
from pcbench.records.layout import run_folder
from pcbench.records.models import DistillationRecord, Run, Status
from pcbench.records.store import read_distillation, read_evaluation, write_record

TRACEBACK = "traceback.txt"


def execute(cell: Cell, out: Path, device: torch.device, report: Report) -> Outcome:
    """Bring one cell to its records below `out`, doing only what is not there yet.

    A method that fails leaves a record with its reason and no evaluation. An interruption is recorded
    and raised.
    """
    folder = run_folder(out, cell.inputs)
    (folder / TRACEBACK).unlink(missing_ok=True)
    finished = _finished_distillation(folder, cell)
    run = Run(folder, finished or distil(cell, folder, device, report), ())
    status, reason = run.distillation.status, run.distillation.reason
    if status != "ok":
        return Outcome(run, cell.evaluation.network.label, problem=f"{status}: {reason}")
    outcome = evaluate(cell.evaluation, run, device, report)
    return replace(outcome, reused=outcome.reused and finished is not None)


def _finished_distillation(folder: Path, cell: Cell) -> DistillationRecord | None:
    """The record of a finished distillation whose clouds are there and unchanged, if there is one."""
    path = folder / "distillation.json"
    if not path.is_file():
        return None
    try:
        record = read_distillation(path)
        if record.status != "ok" or record.key != cell.inputs.key:
            return None
        stored_snapshots(cell.evaluation.splits, folder, record)
    except DataError:
        return None
    return record


def distil(cell: Cell, folder: Path, device: torch.device, report: Report) -> DistillationRecord:
    """Run the method of a cell; its record and clouds, however it ends, stand in `folder` then."""
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    reached = Reached(device)
    status: Status = "ok"
    reason = ""
    interruption: KeyboardInterrupt | None = None
    try:
        _follow(cell, folder, device, report, reached)
    except KeyboardInterrupt as error:
        interruption, status, reason = error, "interrupted", "interrupted by the user"
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; its record says what
        out_of_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
        status, reason = "oom" if out_of_memory else "failed", explained(error, folder / TRACEBACK)
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
    if status == "ok":
        (folder / checkpoint.FILE).unlink(missing_ok=True)
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
    for path in folder.glob("part-*.json"):
        path.unlink()


def _follow(cell: Cell, folder: Path, device: torch.device, report: Report, reached: Reached) -> None:
    """Run the method and keep its checked snapshots; it goes on from a checkpoint in `folder`."""
    iterations = cell.inputs.iterations
    split = cell.evaluation.splits.train
    train = _own_copy(split, device)
    trained = _Trained(cell, _own_copy(split, device), device, report)
    reached.owed = trained.cache.owed
    kept = Checkpoint(folder / checkpoint.FILE, _about(cell, device), reached)
    backbone, preset = cell.backbone, cell.inputs.network.preset

    def network(generator: torch.Generator) -> Backbone:
        return backbone.build(train.classes, preset, generator).to(device)

    task = Task(
        train=train,
        ppc=cell.inputs.ppc,
        iterations=iterations,
        snapshots=tuple(cell.inputs.snapshots),
        device=device,
        streams=cell.distillation_streams(),
        network=network,
        trained_network=trained.network,
        cached=trained.tensors,
        report=lambda done: report("distil", done, iterations),
        restore=kept.restore,
        keep=kept.keep,
    )
    report("distil", 0, iterations)
    source = guard.watched(cell.method, task)
    while True:
        reached.start()
        snapshot = next(source, None)
        reached.read()
        if snapshot is None:
            break
        reached.add(guard.checked(cell.method, snapshot, task, reached.snapshots))
    guard.check_complete(cell.method, reached.snapshots, task)
    report("distil", iterations, iterations)


def _about(cell: Cell, device: torch.device) -> dict[str, str]:
    """What a checkpoint of a cell belongs to: other code or another machine begins again."""
    return {
        "key": cell.inputs.key,
        "code": source_hash(),
        "torch": torch.__version__,
        "hardware": machine.hardware(device).label,
    }


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
