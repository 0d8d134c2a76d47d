"""First steps of a method: it begins its work as in a run, and is stopped when some steps were seen.

Nothing is asked of a plugin. What precedes the first step is timed in full, or with fewer training clouds
where it is long.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from pcbench.api import Backbone, PointClouds, Snapshot
from pcbench.engine import apart, distil, machine
from pcbench.engine.apart import MethodFailed
from pcbench.engine.cell import Cell
from pcbench.engine.estimates.steps import CAREFUL, DistilTrial, Pace, undisturbed
from pcbench.engine.estimates.training import of_shape, trained
from pcbench.engine.optimisers import State
from pcbench.errors import PcbenchError
from pcbench.ops.batches import ClassIndex
from pcbench.records.circumstances import Clock

LONGEST = 60.0
"""Wall seconds after which a trial is stopped, with whatever is known by then."""
WORTH = 20.0
"""Seconds of work before the first step, with fewer training clouds, that are waited for."""
FEW = 512
"""Training clouds, or some more, that stand for all where what precedes the first step is long."""

Networks: TypeAlias = dict[str, tuple[dict[str, Tensor], float]]
"""Networks that were trained for some steps, by what they depend on: their weights, the seconds of a step."""


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
    pace: Pace = CAREFUL
    """For how long it looks."""
    networks: Networks = field(default_factory=dict)
    """Those that other methods had trained."""
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
    asked: float = 0.0
    """Seconds for what it asked for, a trained network or tensors that are kept; spared ones too."""
    preparing_now: bool = False
    """Whether it makes tensors that are kept."""
    served: float = 0.0
    """When it was given the last of that."""
    stopped: Clock | None = None
    """When it was killed, for it took too long."""
    start: float | None = None
    """Seconds until it was imported, and began."""
    peak: int | None = None
    """The peak memory of its process, as far as it came."""

    def trial(self, ended: Clock) -> DistilTrial:
        """What follows from all this. ended: when it was stopped, or had ended."""
        if self.last is None:
            raise _TooLong(f"{self.cell.inputs.method}: gave nothing")
        if not self.steps:
            before = self._undisturbed(ended) + self.spared
            prepared = before - (self.start or 0.0) if self.asked else 0.0
            return self._trial(before=before, prepared=prepared)
        before, step = self.steps[0][1], 0.0
        if len(self.steps) > 1:
            (first, begun), (done, when) = self._window()
            step = (when - begun) / (done - first)
            before -= step * (self.steps[0][0] - 1)
        elif self.cell.inputs.iterations > 1:
            step = before - self._begun()
        return self._trial(before=before + self.spared, step=step, prepared=self.asked, iterates=True)

    def within(self) -> DistilTrial | None:
        """A method that was stopped before its first update was done; None where nothing came of it."""
        if self.last is None or self.stopped is None:
            return None
        ended = self._undisturbed(self.stopped)
        before = ended + self.spared
        if self.preparing_now:
            return self._trial(before, prepared=before - (self.start or 0.0), iterates=True, updates=False)
        step = ended - self._begun()
        return self._trial(before, step, prepared=self.asked, iterates=True, at_least=True)

    def _begun(self) -> float:
        """When the first update began: after the first snapshot, and what was asked for."""
        done, when = self.updates[0]
        return max(self.served, self.start or 0.0, 0.0 if done else self._undisturbed(when))

    def _trial(
        self,
        before: float,
        step: float = 0.0,
        prepared: float = 0.0,
        iterates: bool = False,
        updates: bool = True,
        at_least: bool = False,
    ) -> DistilTrial:
        """A trial of these times; what its set is like is told by the last snapshot, or is as usual."""
        inputs, last = self.cell.inputs, self.last
        clouds, points = inputs.ppc * len(inputs.data.class_names), inputs.data.points
        set_bytes = inputs.plain_bytes
        if last is not None:
            stored = last.stored.arrays.values() if last.stored else (last.clouds.points, last.clouds.labels)
            clouds, points = len(last.clouds), last.clouds.points_per_cloud
            set_bytes = sum(tensor.nbytes for tensor in stored)
        return DistilTrial(
            before=before,
            step=step,
            host_bytes=self.peak,
            set_bytes=0 if self.cell.method.whole else set_bytes,
            clouds=clouds,
            points=points,
            iterates=iterates,
            updates=updates,
            at_least=at_least,
            start=self.start or 0.0,
            prepared=prepared,
            classes=self.train.classes,
            train=len(self.cell.evaluation.splits.train),
        )

    def _undisturbed(self, clock: Clock) -> float:
        return undisturbed(clock, machine.hardware(self.device))

    def report(self, phase: str, done: int, total: int) -> None:
        """See `assignment.Runner`, as for all below."""
        if self.start is None:
            self.start = self._undisturbed(self.watch.read())
        if phase != "prepare" or done >= total:
            return
        now, self.peak = self.watch.read(), machine.process_bytes("VmHWM", self.pid)
        self.prepared.append((done, now))
        self.parts = total
        if self._undisturbed(now) > (self.pace.patience if self.part == 1.0 else WORTH):
            raise _TooLong(f"{self.cell.inputs.method}: prepares for long", self.preparing())

    def preparing(self) -> DistilTrial | None:
        """A method that prepares for long, by what it has done of that; None where that is too little.

        Of what comes afterwards nothing is known: whether it iterates is told by a snapshot that came before.
        """
        marks = [(done, self._undisturbed(when)) for done, when in self.prepared]
        if len(marks) == 1:
            marks = [(0, self.start or 0.0), *marks]
        if len(marks) < 2 or marks[-1][0] == marks[0][0] or marks[-1][1] - marks[0][1] < self.pace.enough:
            return None
        (first, begun), (done, when) = marks[0], marks[-1]
        prepared = (when - begun) / (done - first) * self.parts / self.part
        return self._trial(
            before=(self.start or 0.0) + prepared,
            prepared=prepared,
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
        if when - begun >= self.pace.enough or when > self.pace.patience:
            raise _Enough

    @property
    def steps(self) -> list[tuple[int, float]]:
        """The updates at which it gave a snapshot, and after how many seconds."""
        return [(done, self._undisturbed(when)) for done, when in self.updates if done]

    def _window(self) -> tuple[tuple[int, float], tuple[int, float]]:
        """Between which two of them a step is timed: the last ones, far enough apart."""
        *earlier, last = self.steps
        far = (each for each in reversed(earlier) if last[1] - each[1] >= self.pace.enough)
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
        about = repr((inputs.network, inputs.data.name, tuple(batch.points.shape), batch.classes, recipe))
        if about not in self.networks:
            streams = [self.cell.trained_network_streams()]
            network, step = trained(self._build, batch, recipe, streams, self.device, self.pace)
            self.networks[about] = {name: values[0] for name, values in network.state_dict().items()}, step
        weights, step = self.networks[about]
        whole = len(self.cell.evaluation.splits.train)
        needed = step * recipe.epochs * whole / len(batch)
        self.asked += needed
        self.served = self._undisturbed(self.watch.read())
        self.spared += needed - (self.served - began)
        return weights

    def _build(self, generator: torch.Generator) -> Backbone:
        return self.cell.backbone.build(self.train.classes, self.cell.inputs.network.preset, generator)

    def cached(
        self,
        inputs: Mapping[str, Any],  # noqa: ARG002 - a trial takes nothing from a cache
        make: Callable[[], Mapping[str, Tensor]],
    ) -> dict[str, Tensor]:
        began, spared, asked = self._undisturbed(self.watch.read()), self.spared, self.asked
        self.preparing_now = True
        tensors = make()
        self.preparing_now = False
        self.served = self._undisturbed(self.watch.read())
        took = self.served - began + self.spared - spared
        self.spared += took * (1 / self.part - 1)
        self.asked = asked + took / self.part
        return dict(tensors)


def try_distillation(
    cell: Cell,
    device: torch.device,
    longest: float = LONGEST,
    pace: Pace = CAREFUL,
    networks: Networks | None = None,
) -> DistilTrial:
    """Time the first steps of a cell's method. PcbenchError where it fails, or is too slow to tell.

    longest: seconds after which it is given up; once more where fewer training clouds help. networks: those
    that other methods had trained, to which that of this one is added.
    """
    machine.warm_up(device)
    networks = {} if networks is None else networks
    train = cell.evaluation.splits.train
    few = max(cell.inputs.ppc, -(-FEW // train.classes))
    part = train.select(torch.cat([row[row >= 0][:few] for row in ClassIndex(train).table()]).sort().values)
    try:
        return _observed(cell, train, device, longest, pace, networks)
    except _TooLong as error:
        known, fewer = error.trial, len(part) < len(train)
        waiting = known.before * len(part) / len(train) if known else 0.0
        if known and (not fewer or waiting > min(WORTH, longest)):
            return known
        if not fewer:
            raise
    try:
        return _observed(cell, part, device, longest, pace, networks)
    except _TooLong as error:
        if error.trial is None:
            raise
        return error.trial


def _observed(
    cell: Cell,
    train: PointClouds,
    device: torch.device,
    longest: float,
    pace: Pace,
    networks: Networks,
) -> DistilTrial:
    """The first steps of a method on some training clouds."""
    whole = cell.evaluation.splits.train
    part = len(train) / len(whole)
    observer = _Observer(cell, train, device, part, machine.Stopwatch(device), pace, networks)
    drawn = None if cell.method.whole or train is not whole else cell.selected(whole)
    iterations = cell.inputs.iterations
    noted = [0, *(1 << n for n in range(iterations.bit_length()) if 1 << n < iterations), iterations]
    given = replace(
        distil.assignment(cell, train, drawn() if drawn else None, device),
        snapshots=tuple(noted),
        keep_every=10 * LONGEST,
    )
    with apart.worker() as process, _killed_after(longest, process.pid, observer) as killed:

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
            if not observer.steps:
                reason = f"{cell.inputs.method}: no step came within {longest:.0f} s"
                raise _TooLong(reason, observer.preparing() or observer.within()) from error
        return observer.trial(observer.watch.read())


@contextmanager
def _killed_after(seconds: float, pid: int, observer: _Observer) -> Iterator[threading.Event]:
    """A process is killed that works longer than that; the event, and the observer, say that it was."""
    killed = threading.Event()

    def kill() -> None:
        observer.stopped = observer.watch.read()
        killed.set()
        os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    try:
        yield killed
    finally:
        timer.cancel()
