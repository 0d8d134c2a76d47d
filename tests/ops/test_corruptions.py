"""Rotations keep shapes, corruptions do what they say and no more, and each cloud's draws are its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pcbench.ops import corruptions
from pcbench.ops.corruptions import CLIP, Draws, lost, rotated

FUNCTIONS: dict[str, Callable[[Tensor, Draws], Tensor]] = {
    "turn": lambda xyz, draws: corruptions.turn(xyz, "z", draws),
    "rotate_any": corruptions.rotate_any,
    "jitter": lambda xyz, draws: corruptions.jitter(xyz, 0.03, draws),
    "scale": lambda xyz, draws: corruptions.scale(xyz, 1.5, draws),
    "dropout": lambda xyz, draws: corruptions.dropout(xyz, 0.4, draws),
    "occlusion": lambda xyz, draws: corruptions.occlusion(xyz, 0.3, draws),
    "outliers": lambda xyz, draws: corruptions.outliers(xyz, 0.1, draws),
}


@pytest.fixture(scope="module")
def xyz() -> Tensor:
    return torch.randn(9, 203, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture(params=FUNCTIONS)
def change(request) -> Callable[[Tensor], Tensor]:
    return lambda clouds, seed=5: FUNCTIONS[request.param](clouds, Draws(clouds, seed))


def stayed(before: Tensor, after: Tensor) -> Tensor:
    """Which points are where they were, (B, N)."""
    return (before == after).all(-1)


def test_the_same_seed_gives_the_same_clouds_and_another_one_others(xyz, change):
    before = xyz.clone()
    assert torch.equal(change(xyz), change(xyz))
    assert not torch.equal(change(xyz), change(xyz, 6))
    assert torch.equal(xyz, before)
    assert change(xyz).dtype == torch.float32
    assert change(xyz).shape == xyz.shape


def test_a_cloud_comes_out_the_same_in_whatever_batch_and_place(xyz, change):
    whole = change(xyz)
    for size in (1, 2, 5):
        assert torch.equal(torch.cat([change(part) for part in xyz.split(size)]), whole)
    order = torch.randperm(len(xyz), generator=torch.Generator().manual_seed(0))
    assert torch.equal(change(xyz[order]), whole[order])


def test_one_point_is_enough(change):
    assert torch.isfinite(change(torch.ones(4, 1, 3))).all()


def test_no_angle_changes_no_bit(xyz):
    assert torch.equal(rotated(xyz, torch.zeros(9, 3, dtype=torch.float64)), xyz)


@pytest.mark.parametrize("name", ["turn", "rotate_any"])
def test_rotations_keep_distances_and_hands(xyz, name):
    after = FUNCTIONS[name](xyz, Draws(xyz, 1))
    exact = xyz.double(), after.double()
    before, now = (torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") for x in exact)
    assert torch.allclose(before, now, atol=1e-5)
    assert torch.allclose(*(torch.linalg.det(x[:, :3]) for x in exact), atol=1e-4)
    assert not stayed(xyz, after).any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turn_keeps_its_axis_and_goes_round(axis):
    clouds = torch.eye(3).expand(4000, 3, 3) + 1e-3 * torch.arange(4000).view(-1, 1, 1)
    after = corruptions.turn(clouds, "xyz"[axis], Draws(clouds, 1))
    assert torch.equal(after[..., axis], clouds[..., axis])
    others = [i for i in range(3) if i != axis]
    was, now = (torch.atan2(x[:, 0, others[1]] + 0, x[:, 0, others[0]]) for x in (clouds.double(), after))
    assert torch.isfinite(was).all()
    assert now.sin().mean().abs() < 0.08
    assert now.cos().mean().abs() < 0.08


def test_rotations_of_any_kind_are_uniform():
    seeds = torch.zeros(20000, 2, 3)
    seeds[:, 0] = torch.tensor([0.0, 0.0, 1.0])
    seeds[:, 1, 0] = torch.arange(20000)
    angles_of = FUNCTIONS["rotate_any"](seeds, Draws(seeds, 2))[:, 0]
    # Archimedes: every coordinate of a uniform direction is uniform in [-1, 1]
    for coordinate in angles_of.unbind(-1):
        even = torch.linspace(-1, 1, len(coordinate))
        assert (coordinate.sort().values - even).abs().max() < 0.03
    square = torch.einsum("bi,bj->ij", angles_of, angles_of) / len(angles_of)
    assert torch.allclose(square, torch.eye(3) / 3, atol=0.01)


def test_uniform_and_normal_numbers_have_their_moments(xyz):
    draws = Draws(xyz, 1)
    uniform, normal = draws.uniform(5000), draws.normal(5000)
    assert 0 < uniform.min() < 1e-3
    assert 1 - 1e-3 < uniform.max() < 1
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert uniform.var() == pytest.approx(1 / 12, abs=0.003)
    assert torch.corrcoef(uniform).fill_diagonal_(0).abs().max() < 0.07
    assert normal.mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)


def test_jitter_is_cut(xyz):
    many = xyz.repeat(1, 20, 1)
    moved = (corruptions.jitter(many, 0.03, Draws(many, 1)).double() - many).abs()
    assert moved.max() <= CLIP * 0.03 + 1e-6
    assert moved.max() > 0.9 * CLIP * 0.03
    assert moved.square().mean().sqrt() == pytest.approx(0.03, rel=0.03)


def test_scale_is_a_factor_for_each_axis_of_each_cloud(xyz):
    factors = FUNCTIONS["scale"](xyz, Draws(xyz, 1)) / xyz
    assert torch.allclose(factors, factors[:, :1].expand_as(factors), rtol=1e-5)
    assert 1 / 1.5 - 1e-5 <= factors.min() < 0.8
    assert 1.2 < factors.max() <= 1.5 + 1e-5
    assert len(factors[:, 0].unique()) == 27


def test_dropout_loses_its_share_and_repeats_others(xyz):
    after = FUNCTIONS["dropout"](xyz, Draws(xyz, 1))
    gone = lost(203, 0.4)
    assert stayed(xyz, after).sum(1).tolist() == [203 - gone] * 9
    for old, new in zip(xyz, after, strict=True):
        kept = old[stayed(old, new)]
        assert (new.unsqueeze(1) == kept).all(-1).any(1).all()


def test_occlusion_takes_one_side_of_a_plane(xyz):
    after = FUNCTIONS["occlusion"](xyz, Draws(xyz, 1))
    across = Draws(xyz, 1).directions(1)[:, 0]
    assert torch.linalg.vector_norm(across, dim=-1).allclose(torch.ones(9, dtype=torch.float64))
    for old, new, direction in zip(xyz, after, across, strict=True):
        kept = stayed(old, new)
        height = old.double() @ direction
        assert int((~kept).sum()) == lost(203, 0.3)
        assert height[kept].max() < height[~kept].min()
        assert (new.double() @ direction).max() <= height[kept].max()


def test_outliers_are_counted_and_fill_the_ball(xyz):
    after = FUNCTIONS["outliers"](xyz, Draws(xyz, 1))
    moved = ~stayed(xyz, after)
    assert moved.sum(1).tolist() == [lost(203, 0.1)] * 9
    many = torch.zeros(3, 4000, 3) + torch.arange(3).view(-1, 1, 1)
    places = corruptions.outliers(many, 0.5, Draws(many, 1))
    radius = places[~stayed(many, places)].norm(dim=-1)
    assert radius.max() <= 1 + 1e-6
    assert radius.pow(3).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("points", "share", "count"), [(10, 0.25, 3), (10, 0.24, 2), (10, 1.0, 9), (1, 0.9, 0)]
)
def test_a_share_is_a_number_of_points(points, share, count):
    assert lost(points, share) == count
    assert math.isclose(lost(1024, 0.5), 512)
