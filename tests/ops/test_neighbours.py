"""The searches for near and far points against plain float64 loops."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pcbench.errors import DataError
from pcbench.ops import neighbours
from pcbench.ops.layers import columns
from pcbench.ops.neighbours import ball_query, farthest_point_sample, gather_points, nearest


def distance(p, q):
    """Squared, of two points as lists."""
    return math.fsum((a - b) ** 2 for a, b in zip(p, q, strict=True))


def slow_sample(cloud, count, start=None):
    """One cloud as a list of triples; the definition, written out."""
    if start is None:
        centroid = [math.fsum(axis) / len(cloud) for axis in zip(*cloud, strict=True)]
        start = max(range(len(cloud)), key=lambda i: distance(cloud[i], centroid))
    chosen = [start]
    while len(chosen) < count:
        rest = [i for i in range(len(cloud)) if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(distance(cloud[i], cloud[j]) for j in chosen)))
    return chosen


def slow_nearest(queries, points, k):
    """Of one cloud; `sorted` is stable, so that ties go to the lowest index."""
    return [sorted(range(len(points)), key=lambda i: distance(q, points[i]))[:k] for q in queries]


def slow_ball(centres, points, radius, k):
    """Of one cloud."""
    found = []
    for centre in centres:
        inside = [i for i, p in enumerate(points) if distance(centre, p) <= radius**2]
        if not inside:
            inside = slow_nearest([centre], points, 1)[0]
        found.append((inside + [inside[0]] * k)[:k])
    return found


def random_clouds(clouds, points, seed=0, channels=3):
    return torch.randn(clouds, points, channels, generator=torch.Generator().manual_seed(seed))


def random_index(*shape, below, seed=0):
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def clouds_on_a_grid(channels):
    return st.lists(st.tuples(*[st.integers(-2, 2)] * channels), min_size=1, max_size=9)


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
    monkeypatch.setattr(neighbours, "SEARCH_BYTES", 2 * 10 * 12 * 4)
    assert torch.equal(farthest_point_sample(xyz, 6), whole)


def test_leading_axes_are_a_loop():
    xyz = random_clouds(6, 12).view(2, 3, 12, 3)
    chosen = farthest_point_sample(xyz, 5)
    assert chosen.shape == (2, 3, 5)
    for s, b in itertools.product(range(2), range(3)):
        assert torch.equal(chosen[s, b], farthest_point_sample(xyz[s, b], 5))


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


class TestNearest:
    @pytest.mark.parametrize("channels", [1, 3, 4, 64])
    def test_agrees_with_the_definition(self, channels):
        queries, points = random_clouds(2, 9, 1, channels), random_clouds(2, 30, 2, channels)
        found = nearest(queries, points, 7)
        assert found.shape == (2, 9, 7)
        assert found.dtype == torch.int64
        pairs = zip(queries.double().tolist(), points.double().tolist(), strict=True)
        assert found.tolist() == [slow_nearest(q, p, 7) for q, p in pairs]

    @pytest.mark.parametrize("channels", [2, 5])
    @given(data=st.data())
    def test_ties_go_to_the_lowest_index(self, channels, data):
        queries, points = data.draw(clouds_on_a_grid(channels)), data.draw(clouds_on_a_grid(channels))
        k = data.draw(st.integers(1, len(points)))
        dtype = data.draw(st.sampled_from([torch.float32, torch.float64]))
        found = nearest(torch.tensor(queries, dtype=dtype), torch.tensor(points, dtype=dtype), k)
        assert found.tolist() == slow_nearest(queries, points, k)

    @pytest.mark.parametrize("channels", [3, 64])
    def test_duplicates_come_in_order(self, channels):
        points = random_clouds(2, 21, 0, channels).repeat(1, 3, 1)
        found = nearest(points, points, 3)
        first = torch.arange(63) % 21
        assert torch.equal(found, torch.stack([first, first + 21, first + 42], -1).expand(2, -1, -1))

    @pytest.mark.parametrize("channels", [3, 64])
    @pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
    def test_a_collapsed_cloud_gives_the_first_points(self, channels, value):
        points = torch.full((2, 19, channels), value)
        assert torch.equal(nearest(points, points, 4), torch.arange(4).expand(2, 19, 4))

    @pytest.mark.parametrize("channels", [3, 16])
    def test_every_point_finds_itself_first(self, channels):
        points = random_clouds(3, 50, 0, channels)
        assert torch.equal(nearest(points, points, 1)[..., 0], torch.arange(50).expand(3, -1))

    @pytest.mark.parametrize("channels", [3, 16])
    def test_keeps_its_accuracy_far_from_the_origin(self, channels):
        points = (random_clouds(1, 40, 0, channels) * 64).round() / 64
        assert torch.equal(nearest(points + 1000, points + 1000, 9), nearest(points, points, 9))

    @pytest.mark.parametrize("channels", [3, 16])
    def test_a_large_constant_channel_changes_nothing(self, channels):
        points = random_clouds(1, 20, 0, channels).repeat(1, 2, 1)
        points[..., 0] = 0
        shifted = points.clone()
        shifted[..., 0] = 2.0**20
        assert torch.equal(nearest(shifted, shifted, 40), nearest(points, points, 40))

    def test_few_channels_keep_their_accuracy_beside_an_outlier(self):
        points = random_clouds(1, 20)
        outlier = torch.tensor([[[1e9, 0.0, 0.0]]])
        found = nearest(points * 1e-3, torch.cat([points * 1e-3, outlier], 1), 20)
        assert torch.equal(found, nearest(points * 1e-3, points * 1e-3, 20))

    def test_very_large_features_are_in_order(self):
        points = random_clouds(1, 30, 0, 8)
        assert torch.equal(nearest(points * 2.0**100, points * 2.0**100, 5), nearest(points, points, 5))

    @pytest.mark.parametrize("channels", [3, 16])
    def test_follows_the_order_of_queries_and_points(self, channels):
        queries, points = random_clouds(2, 11, 1, channels), random_clouds(2, 30, 2, channels)
        rows = torch.randperm(11, generator=torch.Generator().manual_seed(3))
        order = torch.randperm(30, generator=torch.Generator().manual_seed(4))
        shuffled = nearest(queries[:, rows], points[:, order], 6)
        assert torch.equal(order[shuffled], nearest(queries, points, 6)[:, rows])

    def test_no_order_of_summation_changes_a_search_in_many_channels(self):
        points = random_clouds(2, 64, 0, 48)
        points[:, 32:] = points[:, :32]
        order = torch.randperm(48, generator=torch.Generator().manual_seed(1))
        assert torch.equal(nearest(points[..., order], points[..., order], 64), nearest(points, points, 64))

    @pytest.mark.parametrize("channels", [3, 16])
    @pytest.mark.parametrize("size", [1, 5_000, 30_000])
    def test_chunks_change_nothing(self, channels, size, monkeypatch):
        points = random_clouds(5, 23, 0, channels).repeat(1, 2, 1)
        whole = nearest(points, points, 11)
        tables = []
        smallest = neighbours._smallest
        monkeypatch.setattr(neighbours, "_smallest", lambda x, k: tables.append(x.shape) or smallest(x, k))
        monkeypatch.setattr(neighbours, "SEARCH_BYTES", size)
        assert torch.equal(nearest(points, points, 11), whole)
        assert len(tables) > 1
        assert all(16 * table.numel() <= size or table[:2] == (1, 1) for table in tables)

    @pytest.mark.parametrize("channels", [3, 16])
    def test_leading_axes_are_a_loop(self, channels):
        queries = random_clouds(6, 8, 1, channels).view(2, 3, 8, channels)
        points = random_clouds(6, 14, 2, channels).view(3, 2, 14, channels).transpose(0, 1)
        found = nearest(queries, points, 5)
        assert found.shape == (2, 3, 8, 5)
        for s, b in itertools.product(range(2), range(3)):
            assert torch.equal(found[s, b], nearest(queries[s, b], points[s, b], 5))

    @pytest.mark.parametrize("channels", [3, 16])
    def test_no_clouds_and_no_queries(self, channels):
        assert nearest(torch.empty(0, 4, channels), torch.empty(0, 6, channels), 2).shape == (0, 4, 2)
        assert nearest(torch.empty(2, 0, channels), torch.ones(2, 6, channels), 2).shape == (2, 0, 2)

    @pytest.mark.parametrize("channels", [3, 16])
    def test_carries_no_gradient_and_leaves_its_input(self, channels):
        points = random_clouds(2, 10, 0, channels).requires_grad_()
        before = points.detach().clone()
        assert not nearest(points, points, 4).requires_grad
        assert torch.equal(points, before)

    @pytest.mark.parametrize("k", [0, -1, 6])
    def test_refuses_more_points_than_there_are(self, k):
        with pytest.raises(DataError, match=f"cannot take the {k} nearest of 5 points"):
            nearest(random_clouds(1, 8), random_clouds(1, 5), k)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("channels", [3, 16])
    def test_refuses_what_is_not_finite(self, channels, bad):
        points = random_clouds(2, 5, 0, channels)
        spoilt = points.clone()
        spoilt[1, 3, 2] = bad
        for queries, cloud in ((points, spoilt), (spoilt, points)):
            with pytest.raises(DataError, match="finite"):
                nearest(queries, cloud, 2)

    @pytest.mark.parametrize("shape", [(3, 5, 3), (5, 3), (2, 5, 4)])
    def test_refuses_axes_that_differ(self, shape):
        with pytest.raises(ValueError, match="do not fit"):
            nearest(random_clouds(2, 5), torch.zeros(shape), 2)


class TestBallQuery:
    @pytest.mark.parametrize("radius", [0.05, 0.5, 1.0, 10.0])
    def test_agrees_with_the_definition(self, radius):
        points = random_clouds(3, 40)
        centres = torch.cat([points[:, ::5], random_clouds(3, 6, seed=1)], 1)
        found = ball_query(centres, points, radius, 8)
        assert found.shape == (3, 14, 8)
        assert found.dtype == torch.int64
        pairs = zip(centres.double().tolist(), points.double().tolist(), strict=True)
        assert found.tolist() == [slow_ball(c, p, radius, 8) for c, p in pairs]

    @given(clouds_on_a_grid(3), clouds_on_a_grid(3), st.integers(0, 3), st.integers(1, 12))
    def test_agrees_on_grids_with_points_on_the_sphere(self, centres, points, radius, k):
        found = ball_query(torch.tensor(centres).float(), torch.tensor(points).float(), radius, k)
        assert found.tolist() == slow_ball(centres, points, radius, k)

    @pytest.mark.parametrize("radius", [0.1, 0.2, 0.3, 0.4, 0.7])
    def test_a_point_at_the_radius_is_inside(self, radius):
        points = torch.tensor([[9.0, 9.0, 9.0], [radius, 0.0, 0.0], [0.0, 0.0, -radius]])
        assert ball_query(torch.zeros(1, 3), points, radius, 2).tolist() == [[1, 2]]

    def test_an_empty_ball_has_the_nearest_point(self):
        points = torch.tensor([[5.0, 0, 0], [0, 3, 0], [3, 0, 0], [0, 3, 0]])
        assert ball_query(torch.zeros(1, 3), points, 1.0, 3).tolist() == [[1, 1, 1]]

    def test_fewer_points_than_asked_for_are_padded_with_the_first(self):
        points = torch.tensor([[9.0, 0, 0], [1, 0, 0], [0, 1, 0]])
        assert ball_query(torch.zeros(1, 3), points, 2.0, 5).tolist() == [[1, 2, 1, 1, 1]]

    @pytest.mark.parametrize("radius", [0.0, 0.2])
    def test_a_collapsed_cloud_gives_the_first_points(self, radius):
        points = torch.full((2, 7, 3), 0.1)
        assert torch.equal(ball_query(points, points, radius, 4), torch.arange(4).expand(2, 7, 4))

    def test_does_not_depend_on_the_order_of_the_centres(self):
        points = random_clouds(2, 30)
        order = torch.randperm(30, generator=torch.Generator().manual_seed(1))
        found = ball_query(points, points, 0.7, 6)
        assert torch.equal(ball_query(points[:, order], points, 0.7, 6), found[:, order])

    @pytest.mark.parametrize("size", [1, 5_000, 30_000])
    def test_chunks_change_nothing(self, size, monkeypatch):
        points = random_clouds(5, 47)
        whole = ball_query(points, points, 0.6, 9)
        monkeypatch.setattr(neighbours, "SEARCH_BYTES", size)
        assert torch.equal(ball_query(points, points, 0.6, 9), whole)

    def test_leading_axes_are_a_loop(self):
        points = random_clouds(6, 15).view(2, 3, 15, 3)
        found = ball_query(points[..., :4, :], points, 0.8, 5)
        assert found.shape == (2, 3, 4, 5)
        for s, b in itertools.product(range(2), range(3)):
            assert torch.equal(found[s, b], ball_query(points[s, b, :4], points[s, b], 0.8, 5))

    def test_carries_no_gradient_and_leaves_its_input(self):
        points = random_clouds(2, 10).requires_grad_()
        before = points.detach().clone()
        assert not ball_query(points, points, 0.5, 4).requires_grad
        assert torch.equal(points, before)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_refuses_what_is_not_finite(self, bad):
        points = random_clouds(2, 5)
        spoilt = points.clone()
        spoilt[1, 3, 2] = bad
        for centres, cloud in ((points, spoilt), (spoilt, points)):
            with pytest.raises(DataError, match="finite"):
                ball_query(centres, cloud, 0.5, 2)

    def test_refuses_nothing_to_take(self):
        with pytest.raises(DataError, match="cannot take 2 of 0 points"):
            ball_query(torch.zeros(1, 3), torch.zeros(0, 3), 0.5, 2)
        with pytest.raises(DataError, match="cannot take 0 of 4 points"):
            ball_query(torch.zeros(1, 3), torch.zeros(4, 3), 0.5, 0)

    @pytest.mark.parametrize("radius", [-0.1, math.nan])
    def test_refuses_a_radius_that_is_no_length(self, radius):
        with pytest.raises(ValueError, match="radius"):
            ball_query(torch.zeros(1, 3), torch.zeros(4, 3), radius, 2)


class TestGatherPoints:
    @pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 1, 3)])
    @pytest.mark.parametrize("chosen", [(4,), (4, 5)])
    def test_agrees_with_the_definition(self, leading, chosen):
        features = torch.randn(*leading, 7, 6, generator=torch.Generator().manual_seed(0))
        index = random_index(*leading, *chosen, below=7)
        found = gather_points(features, index)
        assert found.shape == (*leading, *chosen, 6)
        for place in itertools.product(*map(range, (*leading, *chosen))):
            row = features[place[: len(leading)]][int(index[place])]
            assert torch.equal(found[place], row)

    @pytest.mark.parametrize("chosen", [(4,), (4, 5)])
    def test_an_index_of_length_one_serves_all_students(self, chosen):
        features = random_clouds(6, 9).view(2, 3, 9, 3)
        index = random_index(1, 3, *chosen, below=9)
        assert torch.equal(
            gather_points(features, index), gather_points(features, index.expand(2, 3, *chosen))
        )

    @pytest.mark.parametrize("stacked", [False, True])
    def test_layers_read_the_result_without_a_copy(self, stacked):
        leading = (2, 3) if stacked else (3,)
        features = torch.randn(*leading, 9, 4)
        found = gather_points(features, random_index(*leading, 5, 6, below=9))
        matrix = columns(found, stacked)
        assert matrix.data_ptr() == found.data_ptr()
        assert matrix.is_contiguous()

    @pytest.mark.parametrize(
        ("shape", "index"), [((6, 2), (4,)), ((3, 6, 2), (3, 4, 5)), ((2, 3, 6, 2), (1, 3, 4))]
    )
    def test_differentiable_twice(self, shape, index):
        features = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        features.requires_grad_()
        chosen = random_index(*index, below=6)
        assert torch.autograd.gradcheck(lambda x: gather_points(x, chosen), features)
        assert torch.autograd.gradgradcheck(lambda x: gather_points(x, chosen).square(), features)

    def test_the_gradient_adds_up_over_repeated_points(self):
        features = torch.randn(2, 5, 3).requires_grad_()
        index = torch.tensor([[0, 0, 4], [1, 1, 1]])
        gather_points(features, index).sum().backward()
        counts = torch.tensor([[2.0, 0, 0, 0, 1], [0, 3, 0, 0, 0]])
        assert torch.equal(features.grad, counts.unsqueeze(-1).expand(-1, -1, 3))

    @pytest.mark.parametrize("index", [(), (3,), (2, 4), (3, 4, 5, 6)])
    def test_refuses_an_index_that_does_not_fit(self, index):
        with pytest.raises(ValueError, match="does not fit"):
            gather_points(torch.zeros(3, 5, 2), torch.zeros(index, dtype=torch.int64))

    @pytest.mark.parametrize("bad", [-1, 5])
    def test_refuses_a_point_that_is_not_there(self, bad):
        with pytest.raises(RuntimeError, match="out of bounds"):
            gather_points(torch.zeros(3, 5, 2), torch.full((3, 1), bad))

    def test_takes_what_the_searches_find(self):
        xyz = random_clouds(6, 20).view(2, 3, 20, 3)
        centres = gather_points(xyz, farthest_point_sample(xyz, 5))
        grouped = gather_points(xyz, nearest(centres, xyz, 4))
        assert grouped.shape == (2, 3, 5, 4, 3)
        assert torch.equal(grouped[..., 0, :], centres)
