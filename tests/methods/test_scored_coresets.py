"""The coresets `el2n`, `forgetting` and `facility` against plain loops."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
import torch
from built_in import CATALOGUE

from pcbench.api import Backbone, Streams
from pcbench.errors import UsageError
from pcbench.ops.batches import ClassIndex
from pcbench.ops.layers import Linear

SMALL = {"networks": 2, "epochs": 2, "batch": 7}


def method(name, **params):
    cls = CATALOGUE.methods.load(name)
    return cls(cls.Params(**params))


def part(name, function):
    """A function of a method's module or of what that imports."""
    return CATALOGUE.methods.load(name).distill.__globals__[function]


class OneLayer(Backbone):
    """The mean point through one linear layer: its training can be written down."""

    name = "one_layer"

    def __init__(self, classes):
        super().__init__(classes)
        self.classifier = Linear(3, classes)

    def point_features(self, xyz):
        return xyz

    def global_feature(self, xyz):
        return xyz.mean(-2)

    embed = global_feature

    def forward(self, xyz, *_):
        return self.classifier(self.global_feature(xyz))


@pytest.fixture
def one_layer_task(make_task):
    task = make_task(ppc=2)
    return replace(task, network=lambda generator: OneLayer.build(3, "canonical", generator))


def plain_training(task, streams, epochs, lr, batch):
    """The same training by hand: what every batch's clouds were taken for, and logits at the end."""
    network = task.network(streams.stream("network"))
    weight, bias = (value.detach().double() for value in network.parameters())
    order = streams.stream("order")
    means, labels = task.train.points.double().mean(1), task.train.labels
    moved = [torch.zeros_like(weight), torch.zeros_like(bias)]
    taken = {i: [] for i in range(len(labels))}
    for _ in range(epochs):
        for index in torch.randperm(len(labels), generator=order).split(batch):
            slopes = [0.0005 * weight, 0.0005 * bias]
            for i in index.tolist():
                logits = weight @ means[i] + bias
                taken[i].append(int(logits.argmax()))
                error = logits.exp() / logits.exp().sum()
                error[labels[i]] -= 1
                slopes[0] = slopes[0] + torch.outer(error, means[i]) / len(index)
                slopes[1] = slopes[1] + error / len(index)
            moved = [0.9 * m + s for m, s in zip(moved, slopes, strict=True)]
            weight, bias = weight - lr * moved[0], bias - lr * moved[1]
    return taken, means @ weight.T + bias


def plain_scores(name, task, p):
    total = [0.0] * len(task.train)
    for number in range(p.networks):
        streams = task.streams.within(level="cached").within(network=number)
        taken, logits = plain_training(task, streams, p.epochs, p.lr, p.batch)
        for i, label in enumerate(task.train.labels.tolist()):
            if name == "el2n":
                gap = logits[i].softmax(0)
                gap[label] -= 1
                total[i] += float(gap.norm()) / p.networks
            else:
                right = [guess == label for guess in taken[i]]
                events = sum(a and not b for a, b in itertools.pairwise(right))
                total[i] += (events if any(right) else p.epochs) / p.networks
    return total


@pytest.mark.parametrize("name", ["el2n", "forgetting"])
def test_scores_match_a_training_by_hand(name, one_layer_task):
    m = method(name, networks=2, epochs=6, batch=7, lr=2.0)
    expected = plain_scores(name, one_layer_task, m.params)
    assert len({round(score, 6) for score in expected}) > 2
    assert m.scores(one_layer_task).tolist() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("keep", ["hard", "easy"])
@pytest.mark.parametrize("name", ["el2n", "forgetting"])
def test_the_clouds_of_a_class_are_chosen_by_score_and_equal_ones_by_a_draw(name, keep, make_task):
    task = make_task(ppc=3)
    scores = torch.tensor([0.0, 1, 2, 2, 1, 5, 2, 2, 2, 4, 4, 4]).repeat(2)
    task = replace(task, cached=lambda inputs, make: {"scores": scores})
    (snapshot,) = method(name, keep=keep).distill(task)
    place = torch.randperm(24, generator=task.streams.stream("ties")).argsort().tolist()
    sign = -1 if keep == "hard" else 1
    expected = []
    for c in range(3):
        members = [i for i, label in enumerate(task.train.labels.tolist()) if label == c]
        expected += sorted(members, key=lambda i: (sign * float(scores[i]), place[i]))[:3]
    assert torch.equal(snapshot.clouds.points, task.train.points[expected])
    assert snapshot.clouds.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("name", ["el2n", "forgetting"])
def test_only_what_changes_training_is_among_the_inputs_of_the_cache(name, make_task):
    asked = []

    def cached(inputs, _):
        asked.append(inputs)
        return {"scores": torch.zeros(24)}

    for params in (SMALL, SMALL | {"keep": "easy"}, SMALL | {"epochs": 3}):
        method(name, **params).scores(replace(make_task(ppc=2), cached=cached))
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.parametrize("name", ["el2n", "forgetting"])
def test_a_pointnet_trains_repeats_and_leaves_the_global_generator_alone(name, make_task):
    before = torch.get_rng_state()
    first, again = (next(method(name, **SMALL).distill(make_task(ppc=2))) for _ in range(2))
    assert torch.equal(first.clouds.points, again.clouds.points)
    assert first.clouds.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(torch.get_rng_state(), before)


def test_training_that_diverges_says_so(one_layer_task):
    with pytest.raises(ValueError, match=r"diverged in epoch 2: choose a rate lower than 1e\+38"):
        method("el2n", lr=1e38).scores(one_layer_task)


def plain_facility(features, members, count, sigma):
    """Greedy, each gain from the definition."""
    unit = {i: [x / math.sqrt(sum(y * y for y in features[i])) for x in features[i]] for i in members}

    def near(i, j):
        gap = sum((a - b) ** 2 for a, b in zip(unit[i], unit[j], strict=True))
        return math.exp(-gap / (2 * sigma**2))

    def value(chosen):
        return sum(max(near(i, j) for j in chosen) for i in members)

    chosen = []
    for _ in range(count):
        left = [j for j in members if j not in chosen]
        chosen.append(max(left, key=lambda j: value([*chosen, j])))
    best = max(value(others) for others in itertools.combinations(members, count))
    assert value(chosen) >= (1 - 1 / math.e) * best
    return chosen


@pytest.fixture
def features():
    """Of 20 clouds in three classes of different sizes, with the table of their classes."""
    labels = torch.tensor([0] * 9 + [1] * 4 + [2] * 7)[
        torch.randperm(20, generator=torch.Generator().manual_seed(2))
    ]
    values = torch.randn(20, 5, generator=torch.Generator().manual_seed(3))
    index = [[i for i, label in enumerate(labels.tolist()) if label == c] for c in range(3)]
    return values, index, torch.tensor([row + [-1] * (9 - len(row)) for row in index])


@pytest.mark.parametrize("sigma", [0.2, 0.5, 3.0])
@pytest.mark.parametrize("count", [1, 3])
def test_facility_location_matches_plain_loops(sigma, count, features, monkeypatch):
    values, index, table = features
    expected = [plain_facility(values.tolist(), row, count, sigma) for row in index]
    for pairs in (1, 1 << 22):
        locate = part("facility", "facility_location")
        monkeypatch.setitem(locate.__globals__, "CHUNK_PAIRS", pairs)
        assert locate(values, table, count, sigma).tolist() == expected


def test_facility_location_sees_angles_between_features_alone(features):
    values, _, table = features
    locate = part("facility", "facility_location")
    turn, _ = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(5)))
    lengths = torch.rand(20, 1, generator=torch.Generator().manual_seed(6)) + 0.1
    assert torch.equal(locate(values @ turn * lengths, table, 3, 0.5), locate(values, table, 3, 0.5))


def test_every_cloud_of_a_class_may_be_asked_for_and_comes_once(features):
    values, index, table = features
    chosen = part("facility", "facility_location")(torch.ones_like(values), table, 4, 0.5)
    assert [len(set(row)) for row in chosen.tolist()] == [4, 4, 4]
    assert all(set(row) <= set(members) for row, members in zip(chosen.tolist(), index, strict=True))


@pytest.mark.parametrize("which", ["trained", "random"])
def test_facility_uses_the_network_it_names(which, make_task):
    task = make_task(ppc=2)
    network = task.trained_network() if which == "trained" else task.network(task.streams.stream("features"))
    with torch.no_grad():
        values = network.eval().global_feature(task.train.points)
    table = ClassIndex(task.train).table()
    expected = part("facility", "facility_location")(values, table, 2, 0.5)
    (snapshot,) = method("facility", features=which).distill(task)
    assert torch.equal(snapshot.clouds.points, task.train.points[expected.flatten()])
    with pytest.raises(UsageError, match="fewer than ppc = 9"):
        next(method("facility").distill(make_task(ppc=9)))


def test_a_row_holds_all_of_a_network(make_task):
    task = make_task()
    streams = Streams({"test": "rows"})
    one, other = (task.network(streams.stream(name)) for name in ("one", "other"))
    row_of, put_row = (part("el2n", "train").__globals__[name] for name in ("row_of", "put_row"))
    part("el2n", "train").__globals__["set_dropout"](one, [streams.stream("dropout")])
    one(task.train.points)
    put_row(row_of(one), other)
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    )
