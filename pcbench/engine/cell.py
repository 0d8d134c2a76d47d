"""A cell: one method on one data set at one PPC with its students, and the inputs of its keys."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pcbench.api import Backbone, Dataset, PointClouds, Splits
from pcbench.catalogue import Catalogue
from pcbench.engine.methods import ChosenMethod
from pcbench.engine.testing import changed
from pcbench.errors import UsageError
from pcbench.ops import draws
from pcbench.ops.draws import Draw
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.protocols.variants import PLAIN, Variant
from pcbench.records import identity
from pcbench.records.inputs import DataInputs, DistillationInputs, EvaluationInputs, Network
from pcbench.seeds import Streams


@dataclass(frozen=True)
class Absent:
    """A cell that cannot be run here, by name."""

    method: str
    """The method."""
    settings: Mapping[str, Any]
    """What departs from its defaults."""
    dataset: str
    """The data set."""
    ppc: int
    """Clouds per class; 0 stands for the whole training split."""
    network: str
    """The students' network."""
    protocol: str
    """The protocol."""
    reason: str
    """Why it cannot be run, and what to do next."""


@dataclass(frozen=True)
class Evaluation:
    """Students of one network, how they are trained, and the data that they are tested on.

    splits, data: the data set that the clouds were distilled from. variants: the tests. others: what some of
    them are on instead, by `Variant.on` and `Variant.points`: another data set, another number of points.
    """

    splits: Splits
    data: DataInputs
    backbone: type[Backbone]
    network: Network
    protocol: Protocol
    variants: tuple[Variant, ...] = (PLAIN,)
    others: Mapping[tuple[str | None, int | None], tuple[Splits, DataInputs]] = field(default_factory=dict)
    _inputs: dict[Variant, EvaluationInputs] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def build(self, generator: torch.Generator) -> Backbone:
        """One student, drawn from `generator`."""
        return self.backbone.build(len(self.data.class_names), self.network.preset, generator)

    def streams(self) -> list[Streams]:
        """Random streams of each student; neither method nor PPC is an axis, so that scores are paired."""
        students = _streams(self.data, "evaluation", backbone=self.network.label)
        return [students.within(repetition=repetition) for repetition in range(self.protocol.students)]

    def asked(self, distillation: str) -> list[EvaluationInputs]:
        """The inputs of the evaluations of a distillation, given by its key, by all tests."""
        return [self.inputs(distillation, variant) for variant in self.variants]

    def test(self, variant: Variant) -> PointClouds:
        """The test clouds of a variant, (B, N, 3)."""
        splits, data = self._source(variant)
        return changed(variant, splits.test, data.name)

    def totals(self, variant: Variant) -> list[int]:
        """Test clouds per class, which no variant changes."""
        totals: list[int] = self._source(variant)[0].test.counts().tolist()
        return totals

    def answers(self, variant: Variant) -> list[int] | None:
        """The students' class for each class of the test; None where these are the same."""
        if variant.on is None:
            return None
        return [self.data.class_names.index(name) for name in self._source(variant)[1].class_names]

    def _source(self, variant: Variant) -> tuple[Splits, DataInputs]:
        return self.others.get((variant.on, variant.points), (self.splits, self.data))

    def inputs(self, distillation: str, variant: Variant = PLAIN) -> EvaluationInputs:
        """The inputs of the evaluation of a distillation, given by its key, by one test.

        What all distillations have in common is checked once.
        """
        if variant not in self._inputs:
            self._inputs[variant] = EvaluationInputs(
                distillation=distillation,
                data=self._source(variant)[1],
                network=self.network,
                protocol=self.protocol,
                repetitions=list(range(self.protocol.students)),
                variant=variant,
                engine=identity.ENGINE,
            )
        return self._inputs[variant].model_copy(update={"distillation": distillation})


@dataclass(frozen=True)
class Cell:
    """One method on one data set at one PPC, with one network of students."""

    catalogue: Catalogue = field(repr=False)
    """Where its method comes from."""
    method: ChosenMethod
    """The method with its parameters."""
    backbone: type[Backbone]
    """The network that is distilled with."""
    inputs: DistillationInputs
    """All that the distillation depends on."""
    evaluation: Evaluation
    """Its students."""

    @functools.cached_property
    def key(self) -> str:
        """The key of the distillation."""
        return self.inputs.key

    @functools.cached_property
    def evaluation_key(self) -> str:
        """The key of its evaluation by the plain test."""
        return self.evaluation.inputs(self.key).key

    @property
    def label(self) -> str:
        """The networks: `pointnet:paper`, or `pointnet:paper → dgcnn:paper` where students are others."""
        distilled, student = self.inputs.network.label, self.evaluation.network.label
        return distilled if distilled == student else f"{distilled} → {student}"

    def with_curve(self, iterations: Iterable[int]) -> Cell:
        """The same work, its synthetic set kept at more iterations; UsageError for one beyond the last."""
        inputs = self.inputs
        curve = sorted({*inputs.curve, *iterations} - {*inputs.snapshots})
        if curve and curve[-1] > inputs.iterations:
            raise UsageError(
                f"snapshot {curve[-1]}: distillation ends at iteration {inputs.iterations}", "snapshots"
            )
        return replace(self, inputs=inputs.model_copy(update={"curve": curve}))

    def distillation_streams(self) -> Streams:
        """Random streams of the distillation; the method is no axis, so that methods are paired."""
        ppc, repetition = self.inputs.ppc, self.inputs.repetition
        return _streams(self.inputs.data, "distillation", ppc=ppc, repetition=repetition)

    def selected(self, clouds: PointClouds) -> Callable[[], Tensor] | None:
        """What picks the training clouds to start from, by index (K · PPC,); None: `distillation_streams`."""
        ppc, repetition = self.inputs.ppc, self.inputs.repetition
        match self.inputs.draw:
            case "nested":
                streams = _streams(self.inputs.data, "initial clouds", repetition=repetition)
                return partial(draws.nested, clouds, ppc, streams)
            case "authors":
                order = self.evaluation.splits.official_order
                return partial(draws.authors, clouds, ppc, order)
            case _:
                return None

    def trained_network_streams(self) -> Streams:
        """Random streams of the network that is trained on the whole training split."""
        network, repetition = self.inputs.network.label, self.inputs.repetition
        return _streams(self.inputs.data, "trained network", backbone=network, repetition=repetition)


def _streams(data: DataInputs, level: str, **axes: str | int) -> Streams:
    return Streams({"level": level, "dataset": data.name, **axes})


def inputs_of(
    method: ChosenMethod,
    data: DataInputs,
    ppc: int,
    rules: Protocol,
    network: Network,
    whole: Recipe,
    repetition: int,
    draw: Draw,
) -> DistillationInputs:
    """All that a distillation by today's code depends on.

    rules: the protocol, whose iterations and snapshots it has. network, whole: the network that is distilled
    with, and how it is trained on the whole split.
    """
    return DistillationInputs(
        method=method.name,
        params=dict(method.params),
        variation=dict(method.variation),
        setting=method.setting,
        source=method.source,
        data=data,
        ppc=ppc,
        iterations=rules.iterations,
        snapshots=list(rules.snapshots),
        network=network,
        whole=whole,
        repetition=repetition,
        engine=identity.ENGINE,
        draw=draw,
        files=method.files,
    )


def data_inputs(dataset: Dataset, splits: Splits) -> DataInputs:
    """What a record says of a data set that was loaded."""
    return DataInputs(
        name=dataset.name,
        variant=dataset.variant,
        hash=splits.content_hash,
        points=splits.train.points_per_cloud,
        sampling=splits.sampling,
        standard=splits.standard,
        class_names=list(splits.train.class_names),
    )
