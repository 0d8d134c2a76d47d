"""PointMLP against its equations in plain float64, and the contract that students rely on."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from built_in import CATALOGUE
from levelled import NetworkOfLevels, clouds, generator, levels_of, neighbourhoods, unit
from torch import Tensor

PointMLP = CATALOGUE.backbones.load("pointmlp")
CENTRES = (20, 12, 6, 4)


class Light(PointMLP):
    presets: ClassVar = {"light": {"widths": (8, 16, 32, 32, 32), "units": (1, 1, 1, 1), "expansion": 0.5}}


def residual(x: Tensor, layer, relu: bool = True) -> Tensor:
    y = x + unit(unit(x, layer.inner).relu(), layer.outer)
    return y.relu() if relu else y


def plainly(network: PointMLP, xyz: Tensor) -> Tensor:
    x = unit(xyz, network.embedding).relu()
    geometry = [levels_of(cloud, CENTRES) for cloud in xyz.detach()]
    for number, stage in enumerate(network.stages):
        relative, centres = neighbourhoods(x, geometry, number)
        # one deviation a cloud, over all its centres, neighbours and channels
        deviations = [cloud.std() if cloud.any() else torch.zeros(()).to(cloud) for cloud in relative]
        deviation = torch.stack(deviations).view(-1, 1, 1, 1)
        grouped = stage.group.alpha * relative / (deviation + 1e-5) + stage.group.beta
        y = unit(torch.cat([grouped, centres], -1), stage.enter).relu()
        for layer in stage.local:
            y = residual(y, layer)
        x = y.max(2)[0]
        for layer in stage.central:
            x = residual(x, layer)
    x = x.max(1)[0]
    first, _, second, _ = network.head
    x = unit(unit(x, first).relu(), second).relu()
    return x @ network.classifier.weight.T + network.classifier.bias


class TestPointMLP(NetworkOfLevels):
    network = PointMLP
    preset = "elite"
    centres = CENTRES
    sizes: ClassVar = {"widths": (4, 6, 8, 8, 8), "units": (1, 1, 2, 1), "expansion": 0.5}
    plainly = staticmethod(plainly)

    @staticmethod
    def pooled(points: Tensor) -> Tensor:
        return points.amax(-2).relu()

    def learner(self, source: torch.Generator) -> PointMLP:
        return Light.build(5, "light", source)

    @pytest.mark.parametrize("expansion", [0.5, 1.0])
    @pytest.mark.usefixtures("_small")
    def test_residual_units_of_any_expansion_agree_with_the_equations(self, expansion):
        """Those that do not widen take the norm of the values themselves."""
        network = self.drawn(expansion=expansion).train()
        xyz = clouds(2, 40)
        torch.testing.assert_close(network(xyz), self.plainly(network, xyz), rtol=1e-8, atol=1e-8)


COUNTS = {
    ("elite", 10): 708_522,
    ("elite", 15): 709_807,
    ("elite", 40): 716_232,
    ("elite", 55): 720_087,
    ("canonical", 10): 13_230_794,
    ("canonical", 15): 13_232_079,
    ("canonical", 40): 13_238_504,
    ("canonical", 55): 13_242_359,
}


@pytest.mark.parametrize(("preset", "classes"), COUNTS)
def test_has_as_many_parameters_as_published(preset, classes):
    network = PointMLP.build(classes, preset, generator())
    assert sum(p.numel() for p in network.parameters()) == COUNTS[preset, classes]
    constant = {"elite": 705_952, "canonical": 13_228_224}[preset]
    assert COUNTS[preset, classes] == constant + 257 * classes


def test_elite_is_the_default():
    assert next(iter(PointMLP.presets)) == "elite"
