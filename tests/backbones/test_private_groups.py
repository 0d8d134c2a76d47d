"""Linear layers taken to the points before gathering equal the same layers on the gathered neighbours."""

from __future__ import annotations

import pytest
import torch
from private import private

from pcbench.ops.layers import BatchNorm, initialise, stack
from pcbench.ops.neighbours import gather_points, nearest

NeighbourDense = private("groups").NeighbourDense

FEATURES, WIDTH, NEIGHBOURS = 5, 7, 6


def draw(seed: int, features: int = FEATURES) -> NeighbourDense:
    """In float64, with a norm that is not the identity."""
    generator = torch.Generator().manual_seed(seed)
    layer = NeighbourDense(features, WIDTH)
    initialise(layer, generator)
    for norm in (module for module in layer if isinstance(module, BatchNorm)):
        for values in (norm.weight.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 2, generator=generator)
    return layer.double()


def clouds(*leading: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(9)
    xyz = torch.randn(*leading, 20, 3, generator=generator, dtype=torch.float64)
    return xyz, torch.randn(*leading, 20, FEATURES, generator=generator, dtype=torch.float64)


def plainly(layer, xyz, features, centres, index):
    """The layer on the gathered neighbours themselves."""
    seen = gather_points(xyz, index) - centres.unsqueeze(-2)
    if features is not None:
        seen = torch.cat([seen, gather_points(features, index)], -1)
    return layer(seen)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("with_features", [True, False])
def test_equals_the_layer_on_gathered_neighbours(training, with_features):
    xyz, features = clouds(2)
    features = features if with_features else None
    centres = xyz[:, :4]
    index = nearest(centres, xyz, NEIGHBOURS)
    ours, theirs = (draw(0, FEATURES if with_features else 0).train(training) for _ in range(2))
    xyz.requires_grad_()
    found = ours.of_neighbours(xyz, features, xyz[:, :4], index)
    expected = plainly(theirs, xyz, features, xyz[:, :4], index)
    torch.testing.assert_close(found, expected)
    weights = torch.rand(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    gradients = [
        torch.autograd.grad((values * weights).sum(), [xyz, *layer.parameters()])
        for values, layer in ((found, ours), (expected, theirs))
    ]
    for mine, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, plain)
    for mine, plain in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("training", [True, False])
def test_stacked_layers_share_one_index(training):
    xyz, features = clouds(3, 2)
    xyz = xyz[:1].expand(3, -1, -1, -1)
    index = nearest(xyz[0, :, :4], xyz[0], NEIGHBOURS)
    layers = [draw(seed).train(training) for seed in range(3)]
    together = stack(layers).train(training).of_neighbours(xyz, features, xyz[..., :4, :], index.unsqueeze(0))
    assert together.shape == (3, 2, 4, NEIGHBOURS, WIDTH)
    for number, layer in enumerate(layers):
        alone = plainly(layer, xyz[number], features[number], xyz[number, :, :4], index)
        torch.testing.assert_close(together[number], alone)
