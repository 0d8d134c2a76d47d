"""PCT against its equations in plain float64, and the contract that students rely on."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from built_in import CATALOGUE
from levelled import NetworkOfLevels, generator, levels_of, neighbourhoods, unit
from torch import Tensor

PCT = CATALOGUE.backbones.load("pct")
CENTRES = (20, 12)


def grouped(x: Tensor, geometry, number: int, layer) -> Tensor:
    relative, centres = neighbourhoods(x, geometry, number)
    pairs = torch.cat([relative, centres], -1)
    return unit(unit(pairs, layer.first).relu(), layer.second).relu().max(2)[0]


def attended(x: Tensor, layer) -> Tensor:
    """Softmax over the second index of the energies, then shares of the sums over the first."""
    query = x @ layer.query.weight.T
    value = x @ layer.value.weight.T + layer.value.bias
    sums = []
    for q, v in zip(query, value, strict=True):
        attention = (q @ q.T).softmax(1)
        attention = attention / attention.sum(0, keepdim=True)
        sums.append(attention.T @ v)
    return x + unit(x - torch.stack(sums), layer.offset).relu()


def plainly(network: PCT, xyz: Tensor) -> Tensor:
    x = xyz
    geometry = [levels_of(cloud, CENTRES) for cloud in xyz.detach()]
    for layer in network.embedding:
        x = unit(x, layer).relu()
    for number, layer in enumerate(network.groups):
        x = group = grouped(x, geometry, number, layer)
    for layer in network.enter:
        x = unit(x, layer).relu()
    outputs = []
    for layer in network.attention:
        x = attended(x, layer)
        outputs.append(x)
    x = F.leaky_relu(unit(torch.cat([*outputs, group], -1), network.fuse), 0.2).max(1)[0]
    first, _, _, second, _, _ = network.head
    x = F.leaky_relu(unit(F.leaky_relu(unit(x, first), 0.2), second), 0.2)
    return x @ network.classifier.weight.T + network.classifier.bias


class TestPct(NetworkOfLevels):
    network = PCT
    preset = "canonical"
    centres = CENTRES
    plainly = staticmethod(plainly)


@pytest.mark.parametrize(
    ("classes", "count"), [(10, 2_868_426), (15, 2_869_711), (40, 2_876_136), (55, 2_879_991)]
)
def test_has_as_many_parameters_as_published(classes, count):
    network = PCT.build(classes, "canonical", generator())
    assert sum(p.numel() for p in network.parameters()) == count == 2_865_856 + 257 * classes
