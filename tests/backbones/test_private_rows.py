"""Units on neighbours, in parts: the same as forming all pairs, and as the backbones' way with gradients."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE
from private import private

from pcbench.ops.layers import BatchNorm, Dense, LinearNorm, initialise, stack
from pcbench.ops.neighbours import gather_points, nearest

rows = private("rows")
Affine = rows.Affine
AffineResidual = rows.AffineResidual
largest_in_parts = rows.largest_in_parts


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(layer, seed: int):
    """In float64, with norms that are not the identity."""
    initialise(layer, generator(seed))
    for norm in (module for module in layer.modules() if isinstance(module, BatchNorm)):
        for values in (norm.weight.data, norm.running_mean, norm.running_var):
            values.uniform_(0.5, 2, generator=generator(seed + 9))
    return layer.double().eval()


@pytest.mark.parametrize("part_bytes", [1, 3000, 1 << 20])
def test_the_largest_in_parts_is_the_largest_of_all_pairs(monkeypatch, part_bytes):
    monkeypatch.setattr(rows, "PART_BYTES", part_bytes)
    layers = [torch.nn.ModuleList([Dense(4, 6), LinearNorm(6, 3), LinearNorm(3, 6)]) for _ in range(2)]
    alone = [drawn(unit, seed) for seed, unit in enumerate(layers)]
    together = stack(alone)
    points, xyz = (torch.randn(2, 3, 12, n, generator=generator(n), dtype=torch.float64) for n in (4, 3))
    centres = torch.randn(2, 3, 5, 4, generator=generator(1), dtype=torch.float64)
    index = nearest(xyz[0, :, :5], xyz[0], 4)

    def units(of) -> list:
        return [Affine.of(of[0]), AffineResidual(Affine.of(of[1]), Affine.of(of[2]))]

    found = largest_in_parts(points, centres, index.unsqueeze(0), units(together), True)
    for s, (dense, inner, outer) in enumerate(alone):
        x = dense(torch.relu(gather_points(points[s], index) + centres[s].unsqueeze(-2)))
        expected = torch.relu(x + outer(torch.relu(inner(x)))).amax(-2)
        torch.testing.assert_close(found[s], expected)
        own = largest_in_parts(points[s], centres[s], index, units(alone[s]), False)
        torch.testing.assert_close(own, expected)


@pytest.mark.parametrize("spec", ["pointnet2:paper", "pointmlp:elite"])
def test_a_backbone_gives_the_same_logits_with_and_without_gradients(spec):
    cls, preset = CATALOGUE.backbone(spec)
    network = drawn(stack([cls.build(5, preset, generator(seed)) for seed in range(2)]), 3)
    xyz = torch.randn(2, 2, 70, 3, generator=generator(4), dtype=torch.float64)
    with torch.no_grad():
        found = network(xyz)
    torch.testing.assert_close(found, network(xyz).detach())
