"""Farthest point sampling against plain float64 loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcbench.errors import DataError
from pcbench.ops import neighbours
from pcbench.ops.neighbours import farthest_point_sample


def slow_sample(cloud, count, start=None):
    """One cloud as a list of triples; the definition, written out."""

    def distance(p, q):
        return sum((a - b) ** 2 for a, b in zip(p, q, strict=True))

    if start is None:
        centroid = [math.fsum(axis) / len(cloud) for axis in zip(*cloud, strict=True)]
        start = max(range(len(cloud)), key=lambda i: distance(cloud[i], centroid))
    chosen = [start]
    while len(chosen) < count:
        rest = [i for i in range(len(cloud)) if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(distance(cloud[i], cloud[j]) for j in chosen)))
    return chosen


def random_clouds(clouds, points, seed=0):
    return torch.randn(clouds, points, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("start", [None, 0, 13])
def test_agrees_with_the_definition(start):
    xyz = random_clouds(4, 24)
    chosen = farthest_point_sample(xyz, 17, start)
    assert chosen.shape == (4, 17)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == [slow_sample(cloud, 17, start) for cloud in xyz.double().tolist()]


def test_duplicate_points_are_taken_last_and_once():
    xyz = random_clouds(3, 8).repeat(1, 2, 1)
    chosen = farthest_point_sample(xyz, 16)
    assert chosen.tolist() == [slow_sample(cloud, 16) for cloud in xyz.double().tolist()]
    assert (chosen[:, :8] < 8).all()
    assert chosen.sort(1)[0].tolist() == [list(range(16))] * 3


def test_a_collapsed_cloud_gives_every_index_once():
    assert farthest_point_sample(torch.full((1, 5, 3), 0.1), 5).tolist() == [[0, 1, 2, 3, 4]]


@given(
    st.lists(st.tuples(*[st.integers(-3, 3)] * 3), min_size=1, max_size=9),
    st.data(),
)
def test_agrees_on_grids_where_points_coincide_and_tie(cloud, data):
    count = data.draw(st.integers(1, len(cloud)))
    start = data.draw(st.integers(0, len(cloud) - 1))
    chosen = farthest_point_sample(torch.tensor([cloud], dtype=torch.float32), count, start)
    assert chosen.tolist() == [slow_sample(cloud, count, start)]


def test_does_not_depend_on_the_order_of_the_points():
    xyz = random_clouds(3, 40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    once = xyz.gather(1, farthest_point_sample(xyz, 12)[..., None].expand(-1, -1, 3))
    shuffled = xyz[:, order]
    again = shuffled.gather(1, farthest_point_sample(shuffled, 12)[..., None].expand(-1, -1, 3))
    assert torch.equal(once, again)


def test_keeps_its_accuracy_far_from_the_origin():
    xyz = torch.tensor([[[1000.0, 0, 0], [1000.25, 0, 0], [1000.5, 0, 0], [1002.0, 0, 0]]])
    assert farthest_point_sample(xyz, 4).tolist() == [[3, 0, 2, 1]]


def test_chunks_change_nothing(monkeypatch):
    xyz = random_clouds(7, 10)
    whole = farthest_point_sample(xyz, 6)
    monkeypatch.setattr(neighbours, "_POINTS_AT_ONCE", 20)
    assert torch.equal(farthest_point_sample(xyz, 6), whole)


def test_no_clouds():
    assert farthest_point_sample(torch.empty(0, 4, 3), 2).shape == (0, 2)


def test_carries_no_gradient_and_leaves_its_input():
    xyz = random_clouds(2, 10).requires_grad_()
    before = xyz.detach().clone()
    assert not farthest_point_sample(xyz, 4).requires_grad
    assert torch.equal(xyz, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite(bad):
    xyz = random_clouds(2, 5)
    xyz[1, 3, 2] = bad
    with pytest.raises(DataError, match="finite"):
        farthest_point_sample(xyz, 2)


@pytest.mark.parametrize("count", [0, -1, 6])
def test_refuses_a_count_outside_the_cloud(count):
    with pytest.raises(DataError, match=f"cannot take {count} of 5 points"):
        farthest_point_sample(random_clouds(1, 5), count)


@pytest.mark.parametrize("start", [-1, 5])
def test_refuses_a_start_outside_the_cloud(start):
    with pytest.raises(IndexError, match=f"start {start}"):
        farthest_point_sample(random_clouds(1, 5), 2, start)


def test_spreads_better_than_the_first_points():
    xyz = random_clouds(1, 200)
    chosen = xyz[0, farthest_point_sample(xyz, 10)[0]]
    closest = min(float((p - q).norm()) for p, q in itertools.combinations(chosen, 2))
    assert closest > min(float((p - q).norm()) for p, q in itertools.combinations(xyz[0, :10], 2))
