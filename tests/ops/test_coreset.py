"""Coresets against brute force, and the owner of all initialisations."""

import pytest
import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.errors import UsageError
from pcbench.ops.batches import ClassIndex
from pcbench.ops.coreset import global_features, herding, initial_clouds, kcenter
from pcbench.seeds import Streams

LABELS = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2, 1, 0, 2])


class Moments:
    """A stand-in for a network: mean and extent of each cloud."""

    def eval(self) -> None: ...

    def global_feature(self, xyz: Tensor) -> Tensor:
        return torch.cat([xyz.mean(1), xyz.amax(1)], 1)


@pytest.fixture
def clouds() -> PointClouds:
    points = torch.randn(len(LABELS), 4, 3, generator=torch.Generator().manual_seed(8))
    return PointClouds(points, LABELS, ("bed", "chair", "sofa"))


def dist2(a: list[float], b: list[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def plain_herding(features: list[list[float]], members: list[int], count: int) -> list[int]:
    mean = [sum(features[j][k] for j in members) / len(members) for k in range(len(features[0]))]
    chosen: list[int] = []
    for i in range(count):
        target = [(i + 1) * mean[k] - sum(features[j][k] for j in chosen) for k in range(len(mean))]
        chosen.append(min((j for j in members if j not in chosen), key=lambda j: dist2(target, features[j])))
    return chosen


def plain_kcenter(features: list[list[float]], members: list[int], count: int) -> list[int]:
    mean = [sum(features[j][k] for j in members) / len(members) for k in range(len(features[0]))]
    chosen = [min(members, key=lambda j: dist2(mean, features[j]))]
    while len(chosen) < count:
        rest = [j for j in members if j not in chosen]
        chosen.append(max(rest, key=lambda j: min(dist2(features[j], features[c]) for c in chosen)))
    return chosen


@pytest.mark.parametrize(("greedy", "plain"), [(herding, plain_herding), (kcenter, plain_kcenter)])
@pytest.mark.parametrize("seed", range(5))
def test_greedy_choices_match_brute_force(greedy, plain, seed, clouds):
    features = torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(seed))
    chosen = greedy(features, LABELS, ClassIndex(clouds).table(), 3)
    rows = features.double().tolist()
    for label in range(3):
        members = [i for i, other in enumerate(LABELS.tolist()) if other == label]
        assert chosen[label].tolist() == plain(rows, members, 3)


def test_one_per_class_is_the_same_for_both(clouds):
    features = torch.randn(len(LABELS), 5, generator=torch.Generator().manual_seed(9))
    table = ClassIndex(clouds).table()
    assert torch.equal(herding(features, LABELS, table, 1), kcenter(features, LABELS, table, 1))


@pytest.mark.parametrize("greedy", [herding, kcenter])
def test_ties_go_to_the_first_and_nothing_comes_twice(greedy, clouds):
    chosen = greedy(torch.ones(len(LABELS), 3), LABELS, ClassIndex(clouds).table(), 4)
    assert chosen.tolist() == [[1, 4, 8, 11], [2, 3, 7, 10], [0, 5, 6, 9]]


def never() -> Moments:
    raise AssertionError("no network is needed")


def test_random_start_is_ordered_by_class_and_drawn_from_its_class(clouds):
    start = initial_clouds("random", clouds, 3, Streams({}), never)
    assert start.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    for point, label in zip(start.points, start.labels, strict=True):
        match = (clouds.points == point).flatten(1).all(1)
        assert clouds.labels[match].tolist() == [int(label)]
    assert len(start.points.flatten(1).unique(dim=0)) == 9
    assert torch.equal(start.points, initial_clouds("random", clouds, 3, Streams({}), never).points)
    assert not torch.equal(start.points, initial_clouds("random", clouds, 3, Streams({"r": 1}), never).points)


def test_noise_start(clouds):
    start = initial_clouds("noise", clouds, 2, Streams({}), never)
    expected = torch.randn(6, 4, 3, generator=Streams({}).stream("init")).tanh()
    assert torch.equal(start.points, expected)
    assert start.labels.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("how", ["herding", "kcenter"])
def test_greedy_starts_use_the_network(how, clouds):
    start = initial_clouds(how, clouds, 2, Streams({}), Moments)
    features = Moments().global_feature(clouds.points)
    index = {"herding": herding, "kcenter": kcenter}[how](features, LABELS, ClassIndex(clouds).table(), 2)
    assert torch.equal(start.points, clouds.points[index.flatten()])


@pytest.mark.parametrize("how", ["random", "noise", "herding", "kcenter"])
def test_more_than_a_class_has_is_refused(how, clouds):
    with pytest.raises(UsageError, match="class 'bed' has 4 training clouds, fewer than ppc = 5"):
        initial_clouds(how, clouds, 5, Streams({}), Moments)


def test_features_come_in_chunks_and_in_order(clouds, monkeypatch):
    whole = Moments().global_feature(clouds.points)
    monkeypatch.setattr("pcbench.ops.batches.CHUNK_POINTS", 20)
    assert torch.equal(global_features(Moments(), clouds.points), whole)
