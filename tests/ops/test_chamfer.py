"""The Chamfer distance against its definition, whatever the blocks it is worked out in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pcbench.errors import DataError
from pcbench.ops import chamfer as module
from pcbench.ops.chamfer import chamfer


def by_definition(a: Tensor, b: Tensor) -> float:
    """In float64, point by point."""
    there = [min(float((p - q).square().sum()) for q in b) for p in a.double()]
    back = [min(float((p - q).square().sum()) for p in a) for q in b.double()]
    return sum(there) / len(there) + sum(back) / len(back)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


@pytest.mark.parametrize("block_bytes", [4, 400, 4096, 1 << 20])
@pytest.mark.parametrize(("points", "others"), [(1, 1), (7, 20), (20, 7)])
def test_it_is_its_definition_in_blocks_of_any_size(monkeypatch, generator, block_bytes, points, others):
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    cloud = torch.randn(points, 3, generator=generator)
    many = torch.randn(5, others, 3, generator=generator)
    expected = torch.tensor([by_definition(cloud.double(), other.double()) for other in many])
    torch.testing.assert_close(chamfer(cloud, many), expected, rtol=1e-5, atol=0)


def test_it_is_zero_for_the_same_points_in_another_order_far_from_the_origin(generator):
    cloud = 1000 + torch.randn(50, 3, generator=generator)
    assert chamfer(cloud, cloud[torch.randperm(50, generator=generator)].unsqueeze(0)).tolist() == [0.0]


def test_both_directions_count():
    pair, point = torch.tensor([[0.0, 0, 0], [2, 0, 0]]), torch.tensor([[0.0, 0, 0]])
    assert chamfer(pair, point.unsqueeze(0)).tolist() == [2.0]
    assert chamfer(point, pair.unsqueeze(0)).tolist() == [2.0]


def test_no_other_cloud_is_no_distance():
    assert chamfer(torch.zeros(4, 3), torch.zeros(0, 4, 3)).shape == (0,)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_what_has_no_finite_distance_is_refused(bad):
    cloud, broken = torch.zeros(4, 3), torch.zeros(2, 4, 3)
    broken[1, 2, 0] = bad
    with pytest.raises(DataError, match="finite"):
        chamfer(cloud, broken)
    with pytest.raises(DataError, match="finite"):
        chamfer(broken[1], cloud.unsqueeze(0))


def test_a_cloud_without_points_is_refused():
    with pytest.raises(DataError, match="at least one point"):
        chamfer(torch.zeros(0, 3), torch.zeros(1, 4, 3))
    with pytest.raises(DataError, match="at least one point"):
        chamfer(torch.zeros(4, 3), torch.zeros(1, 0, 3))
