"""PointNet: what its users rely on; its layers and sizes are tested with `pcbench.ops.layers`."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams


@pytest.fixture(scope="module")
def pointnet() -> type[Backbone]:
    return CATALOGUE.backbones.load("pointnet")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["paper", "canonical"])
def test_two_students_learn_ten_clouds_by_heart(pointnet, preset):
    points = torch.randn(10, 24, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(5).repeat(2)
    ten = PointClouds(points, labels, tuple("abcde")).normalised()
    streams = [Streams({"test": "pointnet", "repetition": number}) for number in range(2)]
    recipe = Recipe(epochs=120, drop_after=90, batch=10, optimiser="adam", lr=0.001)
    network = students.train(lambda g: pointnet.build(5, preset, g), ten, recipe, streams)
    assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]
