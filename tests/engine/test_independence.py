"""Students that are fewer than they seem are refused before they are trained."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from built_in import CATALOGUE
from torch import nn

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.conformance.methods import SmallNet
from pcbench.engine import students
from pcbench.engine.independence import NotIndependent, check_students
from pcbench.ops.layers import initialise, stack
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

STREAMS = [Streams({"level": "independence", "student": number}) for number in range(3)]
POINTS = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(5))


def build(kind: type[Backbone]) -> Callable[[torch.Generator], Backbone]:
    return lambda generator: kind.build(4, "canonical", generator)


class Plain(SmallNet):
    """Flattens its leading axes and hands them to ordinary layers, which know nothing of students."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.plain = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, classes))

    def forward(self, xyz, *_):
        flat = self.plain(xyz.flatten(0, -3)).amax(1)
        return flat.view(*xyz.shape[:-2], -1)


class PlainNorm(SmallNet):
    """Has one ordinary batch norm."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.norm = nn.BatchNorm1d(3, affine=False)


class PlainDropout(SmallNet):
    """Has an ordinary dropout, which draws from the global generator."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.drop = nn.Dropout(0.5)


class Loose(SmallNet):
    """Holds a parameter outside any layer."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.scale = nn.Parameter(torch.ones(1))


def foreign(kind: type[Backbone]) -> Callable[[torch.Generator], Backbone]:
    """Builds it without `initialise`, which refuses it too."""
    return lambda _: kind(4)


@pytest.mark.parametrize(
    ("kind", "part"),
    [
        (Plain, "'plain.0' is a Linear"),
        (PlainNorm, "'norm' is a BatchNorm1d"),
        (PlainDropout, "'drop' is a Dropout"),
        (Loose, "'network' is a Loose"),
    ],
)
def test_what_cannot_be_stacked_is_refused_by_name(kind: type[Backbone], part: str) -> None:
    with pytest.raises(TypeError, match=part):
        stack([kind(4), kind(4)])
    with pytest.raises(TypeError, match=part):
        check_students(foreign(kind), POINTS, STREAMS)


class Mixing(SmallNet):
    """Lets the first student's logits be everybody's."""

    def forward(self, xyz, *_):
        logits = super().forward(xyz)
        return logits[:1].expand_as(logits) if xyz.ndim == 4 else logits


class Noisy(SmallNet):
    """Adds noise from the global generator."""

    def forward(self, xyz, *_):
        return super().forward(xyz) + torch.randn(())


class Restoring(SmallNet):
    """As `Noisy`, and puts the generator back."""

    def forward(self, xyz, *_):
        before = torch.get_rng_state()
        logits = super().forward(xyz) + torch.randn(())
        torch.set_rng_state(before)
        return logits


class Constant(SmallNet):
    """Draws its weights from a seed of its own."""

    @classmethod
    def build(cls, classes, preset, generator):  # noqa: ARG003
        network = cls(classes)
        initialise(network, torch.Generator().manual_seed(1))
        return network


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Mixing, "mixes its leading axes"),
        (Noisy, "moves torch's global generator"),
        (Restoring, "draws from a global generator"),
        (Constant, "networks of different seeds are equal"),
    ],
)
def test_students_that_depend_on_more_than_their_seed_are_refused(kind: type[Backbone], why: str) -> None:
    with pytest.raises(NotIndependent, match=why):
        check_students(build(kind), POINTS, STREAMS)


class Counting(SmallNet):
    """Counts its batches in a buffer of its own."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.register_buffer("unit", torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, xyz, *_):
        if self.training:
            self.seen += 1
        return super().forward(xyz) * self.unit


def test_a_buffer_that_all_students_share_and_training_moves_is_refused() -> None:
    clouds = PointClouds(POINTS, torch.tensor([0, 1]), ("a", "b", "c", "d"))
    recipe = Recipe(epochs=1, drop_after=1, batch=2)
    with pytest.raises(TypeError, match="moved the buffer 'seen', which all students share"):
        students.train(build(Counting), clouds, recipe, STREAMS)


@pytest.mark.parametrize("name", [plugin.name for plugin in CATALOGUE.backbones.built_in()])
def test_the_students_of_every_built_in_backbone_are_independent(name: str) -> None:
    backbone, preset = CATALOGUE.backbone(name)
    points = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(6))
    check_students(lambda generator: backbone.build(5, preset, generator), points, STREAMS)
    check_students(lambda generator: backbone.build(5, preset, generator), points, STREAMS[:1])
