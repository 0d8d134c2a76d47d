"""One cell from plan to record: distil under the clock, keep the clouds, have students trained on them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcbench.api import Backbone, MakeTensors, PointClouds, Task
from pcbench.engine import guard, machine, students
from pcbench.engine.artifacts import save_snapshots
from pcbench.engine.cache import TensorCache
from pcbench.engine.checkpoint import Checkpoint, Reached
from pcbench.engine.evaluate import Outcome, Report, evaluate, explained, stored_snapshots
from pcbench.engine.plan import Cell
from pcbench.errors import DataError
from pcbench.records import layout
from pcbench.records.models import DistillationRecord, Run, Status
from pcbench.records.state import Snapshots, state
from pcbench.records.store import read_distillation, read_evaluation, write_distillation


def execute(
    cell: Cell,
    out: Path,
    device: torch.device,
    report: Report,
    runs: Sequence[Run] = (),
    snapshots: Snapshots = "all",
    again: bool = False,
) -> Outcome:
    """Bring one cell to its records below `out`, doing only what is not there yet.

    runs: those that stand there. snapshots: those that students are trained on. again: a stale cell is
    computed anew, beside what there is; else its reason is the outcome's problem. A method that fails leaves
    a record with its reason and no evaluation. An interruption is recorded and raised.
    """
    there = state(cell.inputs, cell.evaluation.asked(cell.inputs.key), snapshots, runs)
    folder = layout.run_folder(out, cell.inputs)
    if there.run is not None and there.run.distillation.key == cell.inputs.key:
        folder = there.run.folder
    elif there.run is not None and not again:
        kept = Run(there.run.folder, there.run.distillation, ())
        return Outcome(kept, cell.evaluation.network.label, problem=there.label)
    layout.traceback(folder).unlink(missing_ok=True)
    finished = _finished_distillation(folder, cell)
    run = Run(folder, finished or distil(cell, folder, device, report), ())
    status, reason = run.distillation.status, run.distillation.reason
    if status != "ok":
        return Outcome(run, cell.evaluation.network.label, problem=f"{status}: {reason}")
    outcome = evaluate(cell.evaluation, run, device, report, snapshots, again)
    return replace(outcome, reused=outcome.reused and finished is not None)


def _finished_distillation(folder: Path, cell: Cell) -> DistillationRecord | None:
    """The record of a finished distillation whose clouds are there and unchanged, if there is one."""
    if not layout.is_run_folder(folder):
        return None
    try:
        record = read_distillation(layout.distillation(folder))
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
        status, reason = "oom" if out_of_memory else "failed", explained(error, layout.traceback(folder))
    record = DistillationRecord(
        key=cell.inputs.key,
        status=status,
        reason=reason,
        inputs=cell.inputs,
        snapshots=reached.entries,
        clock=reached.clock,
        memory=memory.read(),
        provenance=machine.provenance(device, reached.clock.seconds),
    )
    if not cell.method.whole:
        save_snapshots(layout.clouds(folder), reached.snapshots)
    write_distillation(folder, record)
    if status == "ok":
        _drop_replaced(folder, record)
        layout.checkpoint(folder).unlink(missing_ok=True)
    if interruption is not None:
        raise interruption
    return record


def _drop_replaced(folder: Path, record: DistillationRecord) -> None:
    """Remove the evaluations of clouds that a finished distillation has replaced by others.

    What cannot be read may be another version's, and stays.
    """
    clouds = {(entry.iteration, entry.clouds) for entry in record.snapshots}
    for path in layout.evaluations(folder):
        with contextlib.suppress(DataError):
            scored = read_evaluation(path).snapshots
            if not {(scores.iteration, scores.clouds) for scores in scored} <= clouds:
                path.unlink()


def _follow(cell: Cell, folder: Path, device: torch.device, report: Report, reached: Reached) -> None:
    """Run the method and keep its checked snapshots; it goes on from a checkpoint in `folder`."""
    iterations = cell.inputs.iterations
    split = cell.evaluation.splits.train
    train = _own_copy(split, device)
    trained = _Trained(cell, _own_copy(split, device), device, report)
    reached.cache_debt = trained.cache.debt
    kept = Checkpoint(layout.checkpoint(folder), _about(cell, device), reached)
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
        selected=cell.selected(train),
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
        "engine": str(cell.inputs.engine),
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
