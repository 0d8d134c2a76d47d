"""First steps of students, and of the network that a method has trained: what one batch and one test take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from pcbench.api import Backbone, PointClouds
from pcbench.engine import machine, students
from pcbench.engine.cell import Cell, Evaluation
from pcbench.engine.estimates.steps import Pace, StudentTrial, undisturbed
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

TESTED = 64
"""Test clouds that students are tried on."""


def recipe_of(cell: Cell) -> Recipe:
    """The recipe by which the students of a cell train: that of the whole split for all of it."""
    protocol = cell.evaluation.protocol
    return protocol.whole if cell.inputs.is_whole else protocol.recipe


def of_shape(train: PointClouds, count: int, points: int) -> PointClouds:
    """Training clouds that stand in for so many others of so many points."""
    clouds = train.select(torch.arange(count) * len(train) // count)
    places = torch.arange(points) % train.points_per_cloud
    return replace(clouds, points=clouds.points[:, places])


def try_students(
    evaluation: Evaluation, batch: PointClouds, recipe: Recipe, device: torch.device, pace: Pace
) -> StudentTrial:
    """Time some steps of all students on one batch of clouds, and their test."""
    machine.keep_pages()
    machine.warm_up(device)
    idle = machine.process_bytes("VmRSS") or 0
    memory = machine.PeakMemory(device)
    streams = evaluation.streams()
    network, step = trained(evaluation.build, batch, recipe, streams, device, pace)
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
        idle_bytes=min(idle, peak.host_bytes),
        students=len(streams),
    )


def trained(
    build: Callable[[torch.Generator], Backbone],
    batch: PointClouds,
    recipe: Recipe,
    streams: list[Streams],
    device: torch.device,
    pace: Pace,
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
    return (network, step) if step >= pace.enough else timed(2 + int(pace.enough / max(step, 1e-4)))
