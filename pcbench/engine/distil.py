"""One cell from plan to record: distil under the clock, keep the clouds, have students trained on them."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import filelock
import torch
from torch import Tensor

from pcbench.api import Backbone, PointClouds, Snapshot
from pcbench.common.files import digest, write_text
from pcbench.datasets.store import cache_root
from pcbench.engine import apart, checkpoint, guard, machine, methods, students
from pcbench.engine.apart import MethodFailed
from pcbench.engine.artifacts import save_snapshots
from pcbench.engine.assignment import Assignment, follow
from pcbench.engine.cache import TensorCache
from pcbench.engine.cell import Cell
from pcbench.engine.checkpoint import Checkpoint, Reached
from pcbench.engine.evaluate import Outcome, Report, evaluate, explained, stored_snapshots
from pcbench.engine.evaluate import known as known_scores
from pcbench.engine.likeness import points_of_test
from pcbench.engine.optimisers import State
from pcbench.engine.unfinished import Unfinished
from pcbench.errors import DataError, Stopped
from pcbench.records import layout
from pcbench.records.circumstances import Memory
from pcbench.records.log import Log
from pcbench.records.models import DistillationRecord, Isolation, Run, Status
from pcbench.records.state import NONE_FINISHED, Finished, Snapshots, not_kept, state
from pcbench.records.store import read_distillation, read_evaluation, write_distillation


def execute(
    cell: Cell,
    out: Path,
    device: torch.device,
    report: Report,
    finished: Finished = NONE_FINISHED,
    snapshots: Snapshots = "all",
    again: bool = False,
    in_process: bool = False,
) -> Outcome:
    """Bring one cell to its records below `out`, doing only what is not there yet.

    finished: the runs that stand there. snapshots: those that students are trained on. again: a stale cell is
    computed anew, beside what there is; else its reason is the outcome's problem. in_process: see `distil`. A
    method that fails leaves a record with its reason and no evaluation. An interruption is recorded, and
    raised.
    """
    cell, folder, outcome = place(cell, out, finished, snapshots, again)
    if outcome is not None:
        return outcome
    layout.traceback(folder).unlink(missing_ok=True)
    there = _finished_distillation(folder, cell)
    run = Run(folder, there or distil(cell, folder, device, report, in_process), ())
    status, reason = run.distillation.status, run.distillation.reason
    if status != "ok":
        return Outcome(run, cell.evaluation.network.label, problem=f"{status}: {reason}", status=status)
    outcome = evaluate(cell.evaluation, run, device, report, snapshots, again)
    return replace(outcome, reused=outcome.reused and there is not None)


def known(
    cell: Cell,
    out: Path,
    finished: Finished = NONE_FINISHED,
    snapshots: Snapshots = "all",
    again: bool = False,
) -> Outcome | None:
    """What `execute` would give without computing anything: done, or stale and to stay so; else None."""
    cell, folder, outcome = place(cell, out, finished, snapshots, again)
    if outcome is not None:
        return outcome
    record = _finished_distillation(folder, cell)
    if record is None:
        return None
    return known_scores(cell.evaluation, Run(folder, record, ()), snapshots, again)


def place(
    cell: Cell, out: Path, finished: Finished, snapshots: Snapshots, again: bool
) -> tuple[Cell, Path, Outcome | None]:
    """A cell as it is to be done, its folder and, where it is stale and to stay so, what it gives."""
    there = state(cell.inputs, cell.key, cell.evaluation.asked(cell.key), snapshots, finished)
    if there.run is not None and there.run.distillation.key == cell.inputs.key:
        if there.word == "to do":  # its curve is to be finer, and keeps what it has
            cell = cell.with_curve(there.run.distillation.inputs.curve)
        return cell, there.run.folder, None
    if there.run is not None and not again:
        kept = Run(there.run.folder, there.run.distillation, ())
        outcome = Outcome(kept, cell.evaluation.network.label, problem=there.label, status="stale")
        return cell, there.run.folder, outcome
    return cell, layout.run_folder(out, cell.inputs), None


def _finished_distillation(
    folder: Path, cell: Cell, curve: Sequence[int] | None = None
) -> DistillationRecord | None:
    """The record of a finished distillation whose clouds are there and unchanged, if there is one.

    curve: iterations beside the protocol's at which it must have snapshots; none said: those of the cell.
    """
    if not layout.is_run_folder(folder):
        return None
    needed = cell.inputs.curve if curve is None else curve
    try:
        record = read_distillation(layout.distillation(folder))
        if record.status != "ok" or record.key != cell.inputs.key or not_kept(record, needed):
            return None
        stored_snapshots(cell.evaluation.splits, folder, record)
    except DataError:
        return None
    return record


def distil(
    cell: Cell, folder: Path, device: torch.device, report: Report, in_process: bool = False
) -> DistillationRecord:
    """Run the method of a cell; its record and clouds, however it ends, stand in `folder` then.

    The method works in a process of its own. in_process: it works in this one, for debuggers, and the record
    says so.
    """
    machine.warm_up(device)
    runner = _Runner(cell, folder, device, report)
    status: Status = "ok"
    reason = ""
    interruption: KeyboardInterrupt | None = None
    try:
        runner.work_here() if in_process else runner.work_apart()
    except Stopped as error:
        interruption, status, reason = error, error.status, error.reason
    except KeyboardInterrupt as error:
        interruption, status, reason = error, "interrupted", "interrupted by the user"
    except MethodFailed as error:
        status, reason = "oom" if error.out_of_memory else "failed", str(error)
        write_text(layout.traceback(folder), error.trace or traceback.format_exc())
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a plugin may raise anything; its record says what
        status, reason = (
            "oom" if machine.out_of_memory(error) else "failed",
            explained(error, layout.traceback(folder), cell.backbone),
        )
    if status == "ok":
        runner.journal.end()
    record = _written(cell, folder, runner, status, reason)
    if interruption is not None:
        raise interruption
    return record


def _written(cell: Cell, folder: Path, runner: _Runner, status: Status, reason: str) -> DistillationRecord:
    """The record of what a runner has reached, in its folder with the clouds.

    Where another command has finished the same distillation there meanwhile, its record stands, and is given.
    """
    reached = runner.reached
    record = DistillationRecord(
        key=cell.inputs.key,
        status=status,
        reason=reason,
        inputs=cell.inputs,
        snapshots=reached.entries,
        clock=reached.clock,
        memory=runner.memory,
        isolation=runner.isolation,
        copies=copies_of_test(cell, reached.snapshots[-1]) if status == "ok" else [],
        provenance=machine.provenance(runner.device, reached.clock.seconds),
    )
    with _only_one(folder):
        finished = _finished_distillation(folder, cell)
        if finished is not None:
            return finished
        if status != "ok" and _finished_distillation(folder, cell, curve=()) is not None:
            return record  # a finer curve was not reached: what is finished stays as it is
        if not cell.method.whole:
            save_snapshots(layout.clouds(folder), reached.snapshots)
        write_distillation(folder, record)
        if status == "ok":
            _drop_replaced(folder, record)
            layout.checkpoint(folder).unlink(missing_ok=True)
    return record


def ended_from_outside(
    cell: Cell, folder: Path, device: torch.device, status: Status, reason: str
) -> Outcome:
    """What becomes of a cell whose process was ended before it could say anything.

    A distillation that was not finished gets a record that says why.
    """
    label = cell.evaluation.network.label
    record = _finished_distillation(folder, cell)
    if record is None:
        runner = _Runner(cell, folder, device, lambda *_: None)
        record = _written(cell, folder, runner, status, reason)
    return Outcome(Run(folder, record, ()), label, problem=f"{status}: {reason}", status=status)


def copies_of_test(cell: Cell, last: Snapshot) -> list[str]:
    """The clouds of the last snapshot that are made of points of test clouds, in words."""
    if cell.method.whole:
        return []
    up_axis = cell.catalogue.datasets.load(cell.inputs.data.name).up_axis
    copies = points_of_test(last.clouds, cell.evaluation.splits, up_axis)
    return [str(copy) for copy in copies]


def _only_one(folder: Path) -> filelock.BaseFileLock:
    """Held by the one command of this machine that writes the distillation of a folder."""
    locks = cache_root() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(locks / f"{digest(str(folder.resolve()))}.lock")


def _drop_replaced(folder: Path, record: DistillationRecord) -> None:
    """Remove the evaluations of clouds that a finished distillation has replaced by others.

    What cannot be read may be another version's, and stays.
    """
    clouds = {(entry.iteration, entry.clouds) for entry in record.snapshots}
    for path in layout.evaluations(folder):
        with contextlib.suppress(DataError):
            scored = read_evaluation(path)
            if not {(scores.iteration, scores.clouds) for scores in scored.snapshots} <= clouds:
                path.unlink()
                layout.predictions(folder, scored.key).unlink(missing_ok=True)


class _Runner:
    """What the process of the run does for a method, as an `assignment.Runner`."""

    def __init__(self, cell: Cell, folder: Path, device: torch.device, report: Report) -> None:
        self.cell, self.folder, self.device, self.show = cell, folder, device, report
        self.train = cell.evaluation.splits.train
        self.reached = Reached(device)
        """The snapshots so far, and the clock."""
        self.kept = Checkpoint(layout.checkpoint(folder), _about(cell, device), self.reached)
        self.journal = Log(layout.log(folder))
        """What the method says of its work."""
        self.memory = Memory(host_bytes=0, device_bytes=None)
        """The peak of the method's process, once it has ended well."""
        self.isolation: Isolation = "in-process"
        """How far the method is kept apart from the run."""
        inputs = cell.inputs
        self.expected = guard.Expected(cell.method.whole, self.train, inputs.ppc, tuple(inputs.taken))
        self.streams = cell.trained_network_streams()
        self.common = {
            "data": inputs.data.hash,
            "network": inputs.network.model_dump(mode="json"),
            "streams": dict(self.streams.axes),
        }
        self.cache: TensorCache
        """What is kept of dear tensors; from the moment that the method begins."""

    def work_here(self) -> None:
        """Run the method in this process."""
        memory = machine.PeakMemory(self.device)
        self._begin(None)
        method = methods.instance(self.cell.catalogue, self.cell.method)
        follow(method, self.cell.backbone, self._assignment(_own_copy(self.train, self.device)), self)
        self._end()
        self.memory = memory.read()

    def work_apart(self) -> None:
        """Run the method in a process of its own; all of that process's life after its start is timed."""
        cell = self.cell
        with apart.worker() as process:

            def begin(walled: bool) -> None:
                self.isolation = "walled" if walled else "process"
                self._begin(process.pid)

            network, assignment = cell.inputs.network, self._assignment(self.train)
            self.memory = apart.distil(
                cell.catalogue, cell.method, network, assignment, [self.folder.parent], process, begin, self
            )
            self._end()

    def _begin(self, pid: int | None) -> None:
        self.cache = TensorCache(self.common, self.device, pid)
        self.reached.cache_debt = self.cache.debt
        self.reached.start(pid)

    def _end(self) -> None:
        self.reached.read()
        guard.check_complete(self.expected, [entry.iteration for entry in self.reached.entries])
        self.show("distil", self.cell.inputs.iterations, self.cell.inputs.iterations)

    def _assignment(self, train: PointClouds) -> Assignment:
        selected = self.cell.selected(self.train)
        picked = selected() if selected and not self.cell.method.whole else None
        return replace(assignment(self.cell, train, picked, self.device), earlier=self.kept.earlier)

    def report(self, phase: str, done: int, total: int) -> None:
        """See `assignment.Runner`, as for all below."""
        self.show(phase, done, total)

    def snapshot(self, snapshot: Snapshot) -> None:
        self.reached.read()
        earlier = [entry.iteration for entry in self.reached.entries]
        self.reached.add(guard.checked(self.expected, snapshot, earlier))

    def went_on(self) -> None:
        self.kept.went_on()
        done = self.kept.earlier.iteration if self.kept.earlier else 0
        self.journal.went_on(done)
        self.show("distil", done, self.cell.inputs.iterations)

    def keep(self, iteration: int, state: State) -> None:
        self.kept.keep(iteration, state)

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        try:
            self.journal.add(iteration, values)
        except ValueError as error:
            raise guard.MethodFault(f"task.log: {error}") from error

    def trained_network(self) -> dict[str, Tensor]:
        recipe = self.cell.inputs.whole
        return self.cache.get({"recipe": recipe.model_dump(mode="json")}, self._trained)

    def cached(
        self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        own = {
            "method": self.cell.inputs.method,
            "source": self.cell.inputs.source,
            "inputs": dict(inputs),
        }
        return self.cache.get(own, make)

    def _trained(self) -> dict[str, Tensor]:
        recipe, preset = self.cell.inputs.whole, self.cell.inputs.network.preset

        def build(generator: torch.Generator) -> Backbone:
            return self.cell.backbone.build(self.train.classes, preset, generator)

        about = {**self.common, "recipe": recipe.model_dump(mode="json")}
        reached = Unfinished(cache_root() / "training" / layout.short(digest(about)), about, self.device)
        stacked = students.train(
            build,
            self.train.to(self.device),
            recipe,
            [self.streams],
            partial(self.show, "train feature network"),
            keeper=reached,
        )
        self.cache.charge(reached.earlier)
        reached.end()
        return {name: values[0] for name, values in stacked.state_dict().items()}


def assignment(cell: Cell, train: PointClouds, selected: Tensor | None, device: torch.device) -> Assignment:
    """What the method of a cell is given. selected: the training clouds that the run's draw picks."""
    inputs = cell.inputs
    return Assignment(
        train=train,
        device=device,
        ppc=inputs.ppc,
        iterations=inputs.iterations,
        snapshots=tuple(inputs.taken),
        preset=inputs.network.preset,
        axes=cell.distillation_streams().axes,
        trained_axes=cell.trained_network_streams().axes,
        selected=selected,
        earlier=None,
        keep_every=checkpoint.EVERY,
    )


def _about(cell: Cell, device: torch.device) -> dict[str, str]:
    """What a checkpoint of a cell belongs to: other code, machine or snapshots begin again."""
    curve = cell.inputs.curve
    return {
        **({"curve": ",".join(map(str, curve))} if curve else {}),
        "key": cell.inputs.key,
        **{name: str(value) for name, value in machine.rounding(device).items()},
    }


def _own_copy(clouds: PointClouds, device: torch.device) -> PointClouds:
    """The clouds in memory of their own: no view of another split, and no other's to change."""
    points, labels = (tensor.detach().to(device, copy=True) for tensor in (clouds.points, clouds.labels))
    return PointClouds(points, labels, clouds.class_names)
