"""Stand-ins: cells like those that are planned, of two classes, few clouds and few students.

The first steps of a cell of forty classes may take minutes. Those of its stand-in take a second, and tell of
all cells of the same method, network, points and PPC, whatever the data set, draw and repetition: a method's
step goes with the number of classes, what it prepares with that of training clouds, and students with theirs.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import torch

from pcbench.api import PointClouds, Splits
from pcbench.engine.cell import Cell
from pcbench.engine.estimates.training import of_shape
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.records.inputs import DataInputs, DistillationInputs

NAME = "stand-in"
"""What their data set is called."""
CLASSES = ("one", "two")
"""What the classes of a stand-in are called."""
TRAIN = 16
"""Training clouds of each class, or as many as PPC."""
MORE = 256
"""As many where a method refuses so few, as one does that draws larger batches."""
POINTS = 1 << 13
"""Points of a batch, of all its networks, where a recipe has more: as many as make what comes once small."""
STUDENTS = 2
"""Students, or as many as threads."""
TEST = 4
"""Test clouds."""


def family(inputs: DistillationInputs) -> Hashable:
    """What distillations have in common that differ in data set, PPC, draw, repetition and length alone."""
    network = inputs.network.label, inputs.network.source
    return (inputs.method, inputs.source, repr(inputs.params), *network, inputs.data.points, inputs.is_whole)


def work(inputs: DistillationInputs) -> Hashable:
    """What the first steps of a stand-in depend on: equal for all cells that it serves."""
    return family(inputs), inputs.ppc, inputs.whole, inputs.engine


def inputs_of(inputs: DistillationInputs) -> DistillationInputs:
    """The inputs of the stand-in of a distillation, which name no data set."""
    data = DataInputs(
        name=NAME,
        variant="",
        hash="0" * 64,
        points=inputs.data.points,
        sampling="any",
        standard=False,
        class_names=[*CLASSES],
    )
    whole = _smaller(inputs.whole, inputs.data.points, 1)
    return inputs.model_copy(update={"data": data, "draw": "nested", "repetition": 0, "whole": whole})


def rules_of(protocol: Protocol, threads: int) -> Protocol:
    """The protocol of a stand-in's students: two of them, or one for every thread."""
    students = min(protocol.students, max(STUDENTS, threads))
    parts = {"recipe": protocol.recipe, "whole": protocol.whole}
    smaller = {name: _smaller(recipe, protocol.points, STUDENTS) for name, recipe in parts.items()}
    return protocol.model_copy(update={"students": students, **smaller})


def _smaller(recipe: Recipe, points: int, networks: int) -> Recipe:
    """A recipe with smaller batches where they are of more points."""
    return recipe.model_copy(update={"batch": min(recipe.batch, max(1, POINTS // points // networks))})


def shape_of(cell: Cell, threads: int) -> Cell:
    """The stand-in of a cell, but for its clouds: what tells where its trials are kept."""
    rules = rules_of(cell.evaluation.protocol, threads)
    inputs = inputs_of(cell.inputs)
    return replace(cell, inputs=inputs, evaluation=replace(cell.evaluation, data=inputs.data, protocol=rules))


def of_cell(cell: Cell, threads: int, train: int = TRAIN) -> Cell:
    """The stand-in of a cell, with so many training clouds of each class or as many as PPC."""
    shape, splits = shape_of(cell, threads), cell.evaluation.splits
    few = Splits(
        _two_classes(splits.train, max(train, cell.inputs.ppc)),
        _two_classes(splits.test, TEST // len(CLASSES)),
        shape.inputs.data.hash,
        shape.inputs.data.sampling,
    )
    return replace(shape, evaluation=replace(shape.evaluation, splits=few))


def _two_classes(clouds: PointClouds, each: int) -> PointClouds:
    """So many clouds for each class of a stand-in, whatever they show."""
    labels = torch.arange(len(CLASSES)).repeat_interleave(each)
    points = of_shape(clouds, len(labels), clouds.points_per_cloud).points
    return PointClouds(points.contiguous(), labels, CLASSES)
