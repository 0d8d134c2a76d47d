"""Resampling of clouds: what each way keeps, and what it refuses."""

import pytest
import torch

from pcbench.clouds import PointClouds
from pcbench.errors import DataError
from pcbench.ops.neighbours import farthest_point_sample
from pcbench.ops.sampling import resample


@pytest.fixture
def clouds():
    points = torch.randn(6, 20, 3, generator=torch.Generator().manual_seed(0))
    return PointClouds(points, torch.tensor([0, 1, 0, 1, 0, 1]), ("a", "b"))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_first_keeps_the_stored_order(clouds):
    taken = resample(clouds, 7, "first")
    assert torch.equal(taken.points, clouds.points[:, :7])
    assert torch.equal(taken.labels, clouds.labels)
    assert taken.class_names == clouds.class_names


def test_farthest_is_farthest_point_sampling(clouds):
    taken = resample(clouds, 7, "farthest")
    index = farthest_point_sample(clouds.points, 7)
    assert torch.equal(taken.points, torch.stack([c[i] for c, i in zip(clouds.points, index, strict=True)]))


def test_random_draws_without_replacement_from_its_own_cloud(clouds):
    taken = resample(clouds, 20, "random", generator())
    assert not torch.equal(taken.points, clouds.points)
    for ours, theirs in zip(taken.points, clouds.points, strict=True):
        assert sorted(ours.tolist()) == sorted(theirs.tolist())


def test_random_depends_on_its_generator_alone(clouds):
    first, again, other = (resample(clouds, 5, "random", generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)


def test_random_draws_each_cloud_for_itself(clouds):
    same = PointClouds(clouds.points[:1].expand(6, -1, -1), clouds.labels, clouds.class_names)
    taken = resample(same, 5, "random", generator())
    assert not torch.equal(taken.points[0], taken.points[1])


def test_random_takes_every_point_equally_often():
    points = torch.arange(4.0).view(1, 4, 1).expand(8000, 4, 3)
    taken = resample(
        PointClouds(points, torch.zeros(8000, dtype=torch.int64), ("a",)), 2, "random", generator()
    )
    share = torch.bincount(taken.points[..., 0].flatten().long(), minlength=4) / 8000
    assert torch.allclose(share, torch.full((4,), 0.5), atol=0.03)


def test_random_without_a_generator_is_an_error(clouds):
    with pytest.raises(ValueError, match="generator"):
        resample(clouds, 5, "random")


@pytest.mark.parametrize("how", ["first", "random", "farthest"])
@pytest.mark.parametrize("points", [0, 21])
def test_refuses_more_points_than_there_are(clouds, how, points):
    with pytest.raises(DataError, match="ask for 1 to 20"):
        resample(clouds, points, how, generator())
