"""Augmentation: each change does what it says, to every cloud by itself, and a student draws as if alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcbench.ops import augment

Change = Callable[[Tensor, list[torch.Generator]], Tensor]

CHANGES: dict[str, Change] = {
    "turn": lambda xyz, g: augment.turn(xyz, "y", g),
    "scale": lambda xyz, g: augment.scale(xyz, 0.5, 2.0, g),
    "scale axes": lambda xyz, g: augment.scale(xyz, 0.5, 2.0, g, axes=True),
    "shift": lambda xyz, g: augment.shift(xyz, 0.2, g),
    "jitter": lambda xyz, g: augment.jitter(xyz, 0.01, 0.05, g),
    "drop": lambda xyz, g: augment.drop(xyz, 0.875, g),
}


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@pytest.fixture
def xyz() -> Tensor:
    """Three students' batches of four clouds of fifty points, float64."""
    return torch.randn(3, 4, 50, 3, generator=generators(9)[0], dtype=torch.float64)


@pytest.fixture
def many() -> Tensor:
    """Two students' batches of 2000 clouds of three points, all alike."""
    corners = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 0.5, 2.0], [0.0, -2.0, 1.0]], dtype=torch.float64)
    return corners.expand(2, 2000, 3, 3)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_student_draws_as_if_alone_and_leaves_what_it_is_given(xyz, change):
    before = xyz.clone()
    together = change(xyz, generators(0, 1, 2))
    assert (together.shape, together.dtype) == (xyz.shape, xyz.dtype)
    for student in range(3):
        alone = change(xyz[student : student + 1], generators(student))
        assert torch.equal(together[student], alone[0])
    assert torch.equal(xyz, before)
    same = change(xyz[:1].expand(2, -1, -1, -1), generators(0, 1))
    assert not torch.equal(same[0], same[1])


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_clouds_differ_and_the_global_generator_is_not_used(many, change):
    state = torch.get_rng_state()
    changed = change(many, generators(0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(changed[0].flatten(1).unique(dim=0)) > (2 if change is CHANGES["drop"] else 1000)


@pytest.mark.parametrize(("axis", "kept"), [("x", 0), ("y", 1), ("z", 2)])
def test_a_turn_keeps_its_axis_and_all_distances_and_reaches_every_angle(many, axis, kept):
    turned = augment.turn(many, axis, generators(0, 1))
    torch.testing.assert_close(turned[..., kept], many[..., kept])
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(many, many))
    others = [index for index in range(3) if index != kept]
    angles = torch.atan2(turned[:, :, 0, others[1]], turned[:, :, 0, others[0]])
    quarters = ((angles + math.pi) / (math.pi / 2)).long().clamp(0, 3).flatten()
    assert bool((torch.bincount(quarters, minlength=4) > 900).all())


@pytest.mark.parametrize(("axes", "factors"), [(False, 1), (True, 3)])
def test_a_scale_is_uniform_in_its_range_and_one_a_cloud_or_one_an_axis(many, axes, factors):
    scaled = augment.scale(many, 0.5, 2.0, generators(0, 1), axes=axes)
    ratio = scaled[:, :, 0] / many[:, :, 0]
    torch.testing.assert_close(scaled, many * ratio.unsqueeze(2))
    assert 0.5 <= float(ratio.min()) < 0.51
    assert 1.99 < float(ratio.max()) <= 2.0
    assert float(ratio.mean()) == pytest.approx(1.25, abs=0.03)
    distinct = [len(row.unique()) for row in (ratio[0] * 1e9).round()[:100]]
    assert max(distinct) == factors


def test_a_shift_moves_a_whole_cloud_within_its_range(many):
    moved = augment.shift(many, 0.2, generators(0, 1)) - many
    torch.testing.assert_close(moved, moved[:, :, :1].expand_as(moved))
    assert 0.19 < float(moved.max()) <= 0.2
    assert -0.2 <= float(moved.min()) < -0.19
    assert float(moved.mean()) == pytest.approx(0, abs=0.01)


def test_jitter_has_its_deviation_and_is_clipped(many):
    noise = augment.jitter(many, 0.01, 0.05, generators(0, 1)) - many
    assert float(noise.std()) == pytest.approx(0.01, rel=0.03)
    clipped = augment.jitter(many, 0.01, 0.005, generators(0, 1)) - many
    assert float(clipped.abs().max()) == pytest.approx(0.005, rel=1e-6)
    assert float((clipped.abs() > 0.00499).double().mean()) == pytest.approx(0.617, abs=0.03)


def test_dropped_points_stand_where_the_first_does(xyz):
    cloud = xyz[:1, :1].expand(1, 400, -1, -1)
    left = augment.drop(cloud, 0.8, generators(0))
    first, same = (left == cloud[:, :, :1]).all(-1), (left == cloud).all(-1)
    assert bool((first | same).all())
    shares = first[..., 1:].double().mean(-1)
    assert float(shares.mean()) == pytest.approx(0.4, abs=0.04)
    assert float(shares.min()) < 0.05
    assert float(shares.max()) > 0.75
    assert torch.equal(augment.drop(cloud, 0.0, generators(0)), cloud)
