"""What a cell takes on this machine, from its first steps: timed once, kept in the cache for all who ask.

Nothing is asked of a plugin. The method of a cell begins its work in a process of its own, as in a run, and
is stopped after some steps; what comes before them is timed in full, or with fewer training clouds where it
is long. Students of the cell's shape are trained for some steps on training clouds, which stand in for what
is distilled. Both are extrapolated: what a step takes depends on shapes, and not on what the numbers are.
Where the machine has other work, a CPU's processor seconds tell what would have been taken without it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from pcbench.api import Backbone, PointClouds, Snapshot
from pcbench.common.files import digest, write_json
from pcbench.common.schema import Model
from pcbench.datasets.store import cache_root
from pcbench.engine import apart, distil, machine, students
from pcbench.engine.apart import MethodFailed
from pcbench.engine.optimisers import State
from pcbench.engine.plan import Cell, Evaluation
from pcbench.errors import PcbenchError
from pcbench.ops.batches import ClassIndex
from pcbench.protocols.protocol import Recipe
from pcbench.records.models import BUSY, Clock, Count, DistillationInputs, Hardware, Seconds
from pcbench.seeds import Streams

PATIENCE = 3.0
"""Seconds after which a trial is content with two steps, and looks no longer at what precedes them."""
ENOUGH = 0.5
"""Seconds of steps that tell what a step takes; as all others but the next, those of an idle machine."""
LONGEST = 60.0
"""Wall seconds after which a trial is stopped, with whatever is known by then."""
WORTH = 20.0
"""Seconds of work before the first step, with fewer training clouds, that are waited for."""
FEW = 512
"""Training clouds, or some more, that stand for all where what precedes the first step is long."""
FOLDER = "trials"
"""Where trials are kept, in the cache folder."""
TESTED = 64
"""Test clouds that students are tried on."""


class DistilTrial(Model):
    """What a distillation takes."""

    before: Seconds
    """Seconds until the first update is done; of a method without iterations, until the end."""
    step: Seconds
    """Seconds of a further update; 0 without iterations."""
    host_bytes: Count | None
    """Peak resident memory of the method's process; None where the system does not tell."""
    set_bytes: Count
    """Bytes of a synthetic set as it is kept."""
    clouds: Count
    """Synthetic clouds that students train on."""
    points: Count
    """Points of each."""
    iterates: bool
    """Whether it has more snapshots than one."""
    updates: bool = True
    """Whether its updates were timed; if not, what precedes them took too long to be waited for."""

    def seconds(self, iterations: int) -> float:
        """Wall seconds of so many updates."""
        return self.before + self.step * max(0, iterations - 1)


class StudentTrial(Model):
    """What S students take together."""

    step: Seconds
    """Seconds of a step on one full batch."""
    batch: Count
    """Clouds of that batch."""
    tested: Seconds
    """Seconds of the test on one test cloud."""
    host_bytes: Count
    """Peak resident memory of the process that trained them."""
    device_bytes: Count | None
    """Peak memory on the GPU; None without one."""

    def seconds(self, clouds: int, epochs: int, tests: int) -> float:
        """Wall seconds of training on so many clouds and of so many test clouds."""
        return self.step * clouds / self.batch * epochs + self.tested * tests


def undisturbed(clock: Clock, hardware: Hardware) -> float:
    """The seconds that a phase would have taken on a machine without other work; of a GPU its wall time.

    One thread that waits for nobody works all the time; several work for BUSY of it at least.
    """
    if clock.processor_seconds is None or hardware.device != "cpu":
        return clock.seconds
    threads = min(hardware.threads, hardware.cpu_cores)
    return min(clock.seconds, clock.processor_seconds / (threads * BUSY if threads > 1 else 1))


T = TypeVar("T", bound=Model)


@dataclass(frozen=True)
class Trials:
    """The trials that were made on one device of this machine, kept in the cache folder."""

    device: torch.device
    """What the cells are computed on."""
    hardware: Hardware
    """What that is: of other hardware, or other threads, nothing is known."""

    @property
    def any(self) -> bool:
        """Whether anything was ever tried."""
        return (cache_root() / FOLDER).is_dir()

    def of_distillation(self, inputs: DistillationInputs) -> DistilTrial | None:
        """What a distillation takes, for however many iterations; None where it was not tried."""
        return self._read(self._distillation(inputs), DistilTrial)

    def of_students(self, evaluation: Evaluation, clouds: int, points: int) -> StudentTrial | None:
        """What the students take that train on so many clouds; None where they were not tried."""
        recipe = recipe_of(evaluation, clouds)
        return self._read(self._students(evaluation, recipe, clouds, points), StudentTrial)

    def measure(self, cell: Cell, longest: float = LONGEST) -> None:
        """Try whatever of a cell was not tried yet. PcbenchError where it cannot be, which is not kept."""
        trial = self.of_distillation(cell.inputs)
        if trial is None:
            trial = try_distillation(cell, self.device, longest)
            self._write(self._distillation(cell.inputs), trial)
        clouds, points = trial.clouds, trial.points
        if self.of_students(cell.evaluation, clouds, points) is None:
            recipe = recipe_of(cell.evaluation, clouds)
            stand_in = of_shape(cell.evaluation.splits.train, min(clouds, recipe.batch), points)
            made = try_students(cell.evaluation, stand_in, recipe, self.device)
            self._write(self._students(cell.evaluation, recipe, clouds, points), made)

    def _distillation(self, inputs: DistillationInputs) -> Path:
        """Where the trial of a distillation stands; which repetition it is, and how long, is all the same."""
        like = {"repetition": 0, "iterations": 1, "snapshots": [0], "curve": []}
        return self._path({"distillation": inputs.model_copy(update=like).key})

    def _students(self, evaluation: Evaluation, recipe: Recipe, clouds: int, points: int) -> Path:
        """Where the trial of students stands; what they learn from is all the same but for its shape."""
        like = recipe.model_copy(update={"epochs": 1, "drop_after": 0})
        return self._path(
            {
                "network": evaluation.network.model_dump(mode="json"),
                "recipe": like.model_dump(mode="json"),
                "students": evaluation.protocol.students,
                "classes": len(evaluation.data.class_names),
                "tested points": evaluation.data.points,
                "points": points,
                "batch": min(clouds, recipe.batch),
            }
        )

    def _path(self, about: Mapping[str, Any]) -> Path:
        key = digest({"hardware": self.hardware.label, "torch": torch.__version__, **about})
        return cache_root() / FOLDER / f"{key}.json"

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return kind.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):  # not there, or of another version: it is tried again
            return None

    def _write(self, path: Path, trial: Model) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, trial.model_dump(mode="json"))


def on(device: torch.device) -> Trials:
    """The trials on a device, with as many threads as there are now."""
    return Trials(device, machine.hardware(device))


def recipe_of(evaluation: Evaluation, clouds: int) -> Recipe:
    """The recipe by which students train on so many clouds: that of the whole split for all of it."""
    protocol, train = evaluation.protocol, evaluation.splits.train
    return protocol.whole if clouds == len(train) else protocol.recipe


def of_shape(train: PointClouds, count: int, points: int) -> PointClouds:
    """Training clouds that stand in for so many synthetic ones of so many points."""
    clouds = train.select(torch.arange(count) * len(train) // count)
    places = torch.arange(points) % train.points_per_cloud
    return replace(clouds, points=clouds.points[:, places])


# Distillation


class _Enough(Exception):
    """All that is to be known is known."""


class _TooLong(PcbenchError):
    """What precedes the first step takes too long to be waited for."""

    def __init__(self, reason: str, trial: DistilTrial | None = None) -> None:
        super().__init__(reason)
        self.trial = trial
        """What is known all the same: how long it takes, without the updates after it."""


@dataclass
class _Observer:
    """Serves the first steps of a method, as an `assignment.Runner`, and notes when it is how far."""

    cell: Cell
    """The cell."""
    train: PointClouds
    """The training clouds that the method has."""
    device: torch.device
    """What it computes on."""
    part: float
    """Which share of all training clouds these are."""
    watch: machine.Stopwatch
    """Runs from when its process begins to work."""
    pid: int = 0
    """That process."""
    updates: list[tuple[int, Clock]] = field(default_factory=list)
    """Iterations at which it gave a snapshot, which ends all that was queued on a GPU, and when."""
    prepared: list[tuple[int, Clock]] = field(default_factory=list)
    """What it had done by then of what it prepares."""
    parts: int = 0
    """Of so many."""
    last: Snapshot | None = None
    """The last of these snapshots."""
    spared: float = 0.0
    """Seconds that would have been needed besides, until the first update."""
    peak: int | None = None
    """The peak memory of its process, as far as it came."""

    def trial(self, ended: Clock) -> DistilTrial:
        """What follows from all this. ended: when it was stopped, or had ended."""
        if self.last is None:
            raise _TooLong(f"{self.cell.inputs.method}: gave nothing")
        before, step = self._undisturbed(ended), 0.0
        if len(self.steps) > 1:
            (first, begun), (done, when) = self._window()
            step = (when - begun) / (done - first)
            before = self.steps[0][1] - step * (self.steps[0][0] - 1)
        elif self.steps and self.cell.inputs.iterations > 1:
            raise _TooLong(f"{self.cell.inputs.method}: gave no second step")
        clouds, stored = self.last.clouds, self.last.stored
        kept = stored.arrays.values() if stored is not None else (clouds.points, clouds.labels)
        return DistilTrial(
            before=before + self.spared,
            step=step,
            host_bytes=self.peak,
            set_bytes=0 if self.cell.method.whole else sum(tensor.nbytes for tensor in kept),
            clouds=len(clouds),
            points=clouds.points_per_cloud,
            iterates=bool(self.steps),
        )

    def _undisturbed(self, clock: Clock) -> float:
        return undisturbed(clock, machine.hardware(self.device))

    def report(self, phase: str, done: int, total: int) -> None:
        """See `assignment.Runner`, as for all below."""
        if phase != "prepare" or done >= total:
            return
        now, self.peak = self.watch.read(), machine.process_bytes("VmHWM", self.pid)
        self.prepared.append((done, now))
        self.parts = total
        if self._undisturbed(now) > (PATIENCE if self.part == 1.0 else WORTH):
            raise _TooLong(f"{self.cell.inputs.method}: prepares for long", self.preparing())

    def preparing(self) -> DistilTrial | None:
        """A method that prepares for long, by what it has done of that; None where that is too little.

        Of what comes afterwards nothing is known: whether it iterates is told by a snapshot that came before.
        """
        marks = [(done, self._undisturbed(when)) for done, when in self.prepared]
        if len(marks) < 2 or marks[-1][1] - marks[0][1] < ENOUGH:
            return None
        (first, begun), (done, when) = marks[0], marks[-1]
        part = (when - begun) / (done - first)
        inputs = self.cell.inputs
        return DistilTrial(
            before=part * self.parts / self.part,
            step=0.0,
            host_bytes=self.peak,
            set_bytes=inputs.plain_bytes,
            clouds=inputs.ppc * len(inputs.data.class_names),
            points=inputs.data.points,
            iterates=self.last is not None,
            updates=False,
        )

    def snapshot(self, snapshot: Snapshot) -> None:
        now, self.peak = self.watch.read(), machine.process_bytes("VmHWM", self.pid)
        self.last = snapshot
        self.updates.append((snapshot.iteration, now))
        if len(self.steps) < 2 or snapshot.iteration == self.cell.inputs.iterations:
            return
        (_, begun), (_, when) = self._window()
        if when - begun >= ENOUGH or when > PATIENCE:
            raise _Enough

    @property
    def steps(self) -> list[tuple[int, float]]:
        """The updates at which it gave a snapshot, and after how many seconds."""
        return [(done, self._undisturbed(when)) for done, when in self.updates if done]

    def _window(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Between which two of them a step is timed: the last ones, far enough apart."""
        *earlier, last = self.steps
        far = (each for each in reversed(earlier) if last[1] - each[1] >= ENOUGH)
        return next(far, earlier[0]), last

    def went_on(self) -> None:
        """There is nothing to go on from."""

    def keep(self, iteration: int, state: State) -> None:
        """A trial leaves no checkpoint."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Nor a log."""

    def trained_network(self) -> dict[str, Tensor]:
        """One that was trained for some steps; what the others would take is counted."""
        began = self._undisturbed(self.watch.read())
        inputs, recipe = self.cell.inputs, self.cell.inputs.whole
        batch = of_shape(self.train, min(len(self.train), recipe.batch), self.train.points_per_cloud)
        streams = [self.cell.trained_network_streams()]

        def build(generator: torch.Generator) -> Backbone:
            return self.cell.backbone.build(self.train.classes, inputs.network.preset, generator)

        network, step = _trained(build, batch, recipe, streams, self.device)
        whole = len(self.cell.evaluation.splits.train)
        took = self._undisturbed(self.watch.read()) - began
        self.spared += step * recipe.epochs * whole / len(batch) - took
        return {name: values[0] for name, values in network.state_dict().items()}

    def cached(
        self,
        inputs: Mapping[str, Any],  # noqa: ARG002 - a trial takes nothing from a cache
        make: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        began, spared = self._undisturbed(self.watch.read()), self.spared
        tensors = make()
        took = self._undisturbed(self.watch.read()) - began + self.spared - spared
        self.spared += took * (1 / self.part - 1)
        return dict(tensors)


def try_distillation(cell: Cell, device: torch.device, longest: float = LONGEST) -> DistilTrial:
    """Time the first steps of a cell's method. PcbenchError where it fails, or is too slow to tell.

    longest: seconds after which it is given up; once more where fewer training clouds help.
    """
    machine.warm_up(device)
    train = cell.evaluation.splits.train
    few = max(cell.inputs.ppc, -(-FEW // train.classes))
    part = train.select(torch.cat([row[row >= 0][:few] for row in ClassIndex(train).table()]).sort().values)
    try:
        return _observed(cell, train, device, longest)
    except _TooLong as error:
        known = error.trial
        waiting = known.before * len(part) / len(train) if known else 0.0
        if known and waiting > min(WORTH, longest):
            return known
        if len(part) == len(train):
            raise
    try:
        return _observed(cell, part, device, longest)
    except _TooLong as error:
        if error.trial is None:
            raise
        return error.trial


def _observed(cell: Cell, train: PointClouds, device: torch.device, longest: float) -> DistilTrial:
    """The first steps of a method on some training clouds."""
    whole = cell.evaluation.splits.train
    observer = _Observer(cell, train, device, len(train) / len(whole), machine.Stopwatch(device))
    drawn = None if cell.method.whole or train is not whole else cell.selected(whole)
    iterations = cell.inputs.iterations
    noted = [0, *(1 << n for n in range(iterations.bit_length()) if 1 << n < iterations), iterations]
    given = replace(
        distil.assignment(cell, train, drawn() if drawn else None, device),
        snapshots=tuple(noted),
        keep_every=10 * LONGEST,
    )
    with apart.worker() as process, _killed_after(longest, process.pid) as killed:

        def begin(_: bool) -> None:
            observer.pid, observer.watch = process.pid, machine.Stopwatch(device, process.pid)

        try:
            observer.peak = apart.distil(
                cell.catalogue, cell.method, cell.inputs.network, given, [], process, begin, observer
            ).host_bytes
        except _Enough:
            process.process.kill()  # a step may take longer than its process is waited for
        except MethodFailed as error:
            if not killed.is_set():
                raise
            if len(observer.steps) < 2:
                reason = f"{cell.inputs.method}: no two steps came within {longest:.0f} s"
                raise _TooLong(reason, observer.preparing()) from error
        return observer.trial(observer.watch.read())


@contextmanager
def _killed_after(seconds: float, pid: int) -> Iterator[threading.Event]:
    """A process is killed that works longer than that; the event says that it was."""
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield killed
    finally:
        timer.cancel()


# Students


def try_students(
    evaluation: Evaluation, batch: PointClouds, recipe: Recipe, device: torch.device
) -> StudentTrial:
    """Time some steps of all students on one batch of clouds, and their test."""
    machine.keep_pages()
    machine.warm_up(device)
    memory = machine.PeakMemory(device)
    streams = evaluation.streams()
    network, step = _trained(evaluation.build, batch, recipe, streams, device)
    test = evaluation.splits.test
    tested = test.select(torch.arange(min(len(test), TESTED))).to(device)
    answer = partial(students.predictions, network, tested, len(streams))
    answer()
    watch = machine.Stopwatch(device)
    answer()
    took = undisturbed(watch.read(), machine.hardware(device))
    peak = memory.read()
    return StudentTrial(
        step=step,
        batch=len(batch),
        tested=took / len(tested),
        host_bytes=peak.host_bytes,
        device_bytes=peak.device_bytes,
    )


def _trained(
    build: Callable[[torch.Generator], Backbone],
    batch: PointClouds,
    recipe: Recipe,
    streams: list[Streams],
    device: torch.device,
) -> tuple[Backbone, float]:
    """Students trained for some steps on one batch, and the seconds of a step."""
    clouds = batch.normalised().to(device)

    def timed(steps: int) -> tuple[Backbone, float]:
        watch = machine.Stopwatch(device)

        def note(done: int, _: int) -> None:
            if done == 1:
                watch.restart()  # what comes once is in the first step

        network = students.train(build, clouds, recipe.model_copy(update={"epochs": steps}), streams, note)
        return network, undisturbed(watch.read(), machine.hardware(device)) / (steps - 1)

    network, step = timed(2)
    return (network, step) if step >= ENOUGH else timed(2 + int(ENOUGH / max(step, 1e-4)))
