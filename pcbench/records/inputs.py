"""The inputs of a distillation and of an evaluation: all that their keys are hashes of."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from pcbench.common.schema import LABEL, Model, Sha256
from pcbench.protocols.protocol import Protocol, Recipe
from pcbench.protocols.variants import PLAIN, Variant
from pcbench.records import identity
from pcbench.records.labels import is_whole
from pcbench.records.values import LARGEST, Count, Name, Values


class Network(Model):
    """A backbone in one preset."""

    name: Name
    """The backbone's name."""
    preset: Name
    """The preset's name."""
    source: Sha256
    """Hash of the backbone's code with its private halves, as `pcbench.catalogue` computes it."""
    one_by_one: Annotated[bool, LABEL] = False
    """Whether it is a plain torch module, whose students are trained one after another."""

    @property
    def label(self) -> str:
        """`pointnet:paper`."""
        return f"{self.name}:{self.preset}"


class DataInputs(Model):
    """The data set as it was loaded."""

    name: Name
    """The data set's name, as `modelnet10`."""
    variant: Annotated[Name, LABEL]
    """Which of its public forms it is, for people."""
    hash: Sha256
    """Content hash of both splits as loaded."""
    points: int = Field(ge=1, le=LARGEST)
    """N, points of a cloud."""
    sampling: Name
    """How N points were taken from each stored cloud."""
    standard: Annotated[bool, LABEL]
    """Whether counts and classes are those of the data set's card."""
    class_names: list[Name] = Field(max_length=10_000)
    """The K classes, in label order."""


class DistillationInputs(Model):
    """All that a distillation's result depends on; its key is the hash of this."""

    method: Name
    """The method's name."""
    params: Values
    """All parameters in effect."""
    variation: Values
    """Those of them that differ from the method's defaults."""
    setting: Annotated[Name, LABEL] = ""
    """What the method calls these parameters, as `paper`; empty where it has no name for them."""
    source: Sha256
    """Hash of the method's code, as `pcbench.catalogue` computes it."""
    data: DataInputs
    """What was distilled."""
    ppc: Count
    """Clouds per class; 0 stands for the whole training split."""
    iterations: int = Field(ge=1, le=LARGEST)
    """Updates of the synthetic set."""
    snapshots: list[Count]
    """The iterations at which the synthetic set was asked for, ascending."""
    network: Network
    """The network that was distilled with."""
    whole: Recipe
    """How that network is trained on the whole training split, where a method asks for that."""
    repetition: Count
    """Which of the repeated distillations: an axis of the seeds."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic, `pcbench.records.identity.ENGINE` when it ran."""
    draw: Name = "per-ppc"
    """How training clouds to start from were chosen, by the names in `pcbench.ops.draws`."""
    files: list[Name] = Field([], max_length=1000)
    """Data files that the method reads beside the training clouds; `source` covers what is in them."""
    curve: Annotated[list[Count], LABEL] = Field([], max_length=1000)
    """More iterations, ascending, at which the synthetic set was kept, for a finer learning curve of the same
    work."""

    @model_validator(mode="after")
    def _curve_within(self) -> Self:
        if self.curve != sorted({*self.curve} - {*self.snapshots}) or self.curve[-1:] > [self.iterations]:
            raise ValueError("the curve has ascending iterations beside the snapshots, none after the last")
        return self

    @property
    def taken(self) -> list[int]:
        """All iterations at which the synthetic set is kept, ascending."""
        return sorted({*self.snapshots, *self.curve})

    @property
    def key(self) -> str:
        """The SHA-256 that names the work."""
        return identity.key(self)

    @property
    def is_whole(self) -> bool:
        """Whether it gives the whole training split."""
        return is_whole(self.ppc)

    @property
    def plain_bytes(self) -> int:
        """What PPC plain clouds of every class take, 12 bytes a point: the budget of the closed division."""
        return 12 * len(self.data.class_names) * self.ppc * self.data.points


class EvaluationInputs(Model):
    """All that scores depend on: a distillation, its students, their protocol and seeds, and their test.

    Which of the distillation's snapshots were evaluated is not among it.
    """

    distillation: Sha256
    """Key of the distillation."""
    data: DataInputs
    """What the students are tested on."""
    network: Network
    """The students' network."""
    protocol: Protocol
    """How they are trained."""
    repetitions: list[Count]
    """The students' axes of the seeds, (S,)."""
    variant: Variant = PLAIN
    """What is done to the test clouds."""
    engine: int = Field(1, ge=1, le=LARGEST)
    """The number of pcbench's arithmetic, `pcbench.records.identity.ENGINE` when they were trained."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.variant.points not in (None, self.data.points):
            raise ValueError(f"the test {self.variant.label} is on data of {self.data.points} points")
        if self.variant.on not in (None, self.data.name):
            raise ValueError(f"the test {self.variant.label} is on {self.data.name}")
        return self

    @property
    def key(self) -> str:
        """The SHA-256 that names the work."""
        return identity.key(self)
