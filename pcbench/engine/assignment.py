"""What the process of a method is given, and what it asks of the process of the run.

A method may work in a process of its own or, for debuggers, in that of the run: `follow` is the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.optim import Optimizer

from pcbench.api import Backbone, MakeTensors, Method, PointClouds, Snapshot, Task
from pcbench.engine import guard
from pcbench.engine.optimisers import State, put_back, state_of
from pcbench.errors import DataError
from pcbench.seeds import Axis, Streams


@dataclass(frozen=True)
class Earlier:
    """Where an interrupted distillation stood."""

    iteration: int
    """Iterations done."""
    state: State
    """The optimiser after them."""


@dataclass(frozen=True)
class Assignment:
    """All that the process of a method is given; nothing in it leads to the test split."""

    train: PointClouds
    """The training clouds, (B, N, 3); where the method works, on the device and in memory of their own."""
    device: torch.device
    """Where to compute."""
    ppc: int
    """Clouds per class to make; 0 stands for the whole training split."""
    iterations: int
    """Updates to do."""
    snapshots: tuple[int, ...]
    """The iterations at which a snapshot is asked for, ascending."""
    preset: str
    """The preset of the network that is distilled with."""
    axes: Mapping[str, Axis]
    """Axes of the distillation's random streams."""
    trained_axes: Mapping[str, Axis]
    """Axes of the random streams of what is trained once: the trained network, cached tensors."""
    selected: Tensor | None
    """Indices (K · PPC,) of the training clouds that the run's draw picks; None: drawn from the streams."""
    earlier: Earlier | None
    """What an interrupted run left."""
    keep_every: float
    """Seconds from one checkpoint to the next."""


class Runner(Protocol):
    """What the process of the run does for the one of the method."""

    def report(self, phase: str, done: int, total: int) -> None:
        """Show how far a phase is."""

    def snapshot(self, snapshot: Snapshot) -> None:
        """Take the synthetic set of an iteration; raises MethodFault where it breaks the contract."""

    def went_on(self) -> None:
        """The method goes on from what was left: its snapshots and its clock count."""

    def keep(self, iteration: int, state: State) -> None:
        """Leave the iteration done and the optimiser's state for a next run."""

    def log(self, iteration: int, values: Mapping[str, float]) -> None:
        """Keep what the method says of an iteration; raises MethodFault for what is not to be kept."""

    def trained_network(self) -> dict[str, Tensor]:
        """Weights of the network trained on the whole training split by the protocol's recipe."""

    def cached(
        self, inputs: Mapping[str, Any], make: Callable[[], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """Tensors kept under `inputs`, made where there are none."""


def follow(method: Method, backbone: type[Backbone], assignment: Assignment, runner: Runner) -> None:
    """Run a method under the guard and hand over its snapshots, which the runner checks.

    Raises what the method raises, and MethodFault where it reaches for more than it is given.
    """
    train, device, iterations = assignment.train, assignment.device, assignment.iterations
    trained = Streams(assignment.trained_axes)
    due = time.monotonic() + assignment.keep_every
    done = 0

    def build(generator: torch.Generator) -> Backbone:
        return backbone.build(train.classes, assignment.preset, generator)

    def network(generator: torch.Generator) -> Backbone:
        return build(generator).to(device)

    def trained_network() -> Backbone:
        with guard.suspended():
            weights = runner.trained_network()
        built = build(trained.stream("weights"))
        built.load_state_dict(weights)
        return built.to(device).eval().requires_grad_(False)

    def cached(inputs: Mapping[str, Any], make: MakeTensors) -> dict[str, Tensor]:
        def resumed() -> Mapping[str, Tensor]:
            with guard.resumed():
                return make(trained, partial(runner.report, "prepare"))

        with guard.suspended():
            return {name: tensor.to(device) for name, tensor in runner.cached(inputs, resumed).items()}

    def restore(optimiser: Optimizer) -> int:
        nonlocal done
        if assignment.earlier is None:
            return 0
        try:
            put_back(optimiser, assignment.earlier.state)
        except ValueError as error:
            raise DataError(f"the checkpoint: {error}: delete it to begin again") from error
        runner.went_on()
        done = assignment.earlier.iteration
        return done

    def report(iteration: int) -> None:
        nonlocal done
        done = iteration
        runner.report("distil", done, iterations)

    def log(**values: float | Tensor) -> None:
        with guard.suspended():
            runner.log(min(done + 1, iterations), {name: float(value) for name, value in values.items()})

    def keep(iteration: int, optimiser: Optimizer) -> None:
        nonlocal due
        if time.monotonic() >= due:
            with guard.suspended():
                runner.keep(iteration, state_of(optimiser))
            due = time.monotonic() + assignment.keep_every

    task = Task(
        train=train,
        ppc=assignment.ppc,
        iterations=iterations,
        snapshots=assignment.snapshots,
        device=device,
        streams=Streams(assignment.axes),
        network=network,
        trained_network=trained_network,
        cached=cached,
        report=report,
        selected=None if assignment.selected is None else assignment.selected.clone,
        restore=restore,
        keep=keep,
        log=log,
    )
    runner.report("distil", 0, iterations)
    for snapshot in guard.watched(method, task):
        runner.snapshot(snapshot)
