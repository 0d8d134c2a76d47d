"""Plain torch modules as backbones: the same scores as with our layers, and no trace in global generators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import (
    Backbone,
    MissingFeature,
    ModuleBackbone,
    PointClouds,
    Streams,
    backbone_of,
)
from pcbench.catalogue import open_catalogue
from pcbench.engine import students
from pcbench.ops.layers import initialise, set_dropout, stack
from pcbench.ops.redraw import FreshNetworks
from pcbench.ops.trajectories import FlatNetwork, train_experts
from pcbench.protocols.protocol import Recipe

RECIPE = Recipe(epochs=3, batch=4, optimiser="sgd", lr=0.002, momentum=0.0, weight_decay=1e-4, drop_after=100)


@pytest.fixture(scope="module")
def plain() -> dict[str, type[ModuleBackbone]]:
    """The plain networks beside the tests of backbones, as a catalogue finds them in a user's folder."""
    folder = Path(__file__).parents[1] / "backbones"
    registry = open_catalogue([folder]).backbones
    names = [name for name in registry.names() if name.startswith("plain_")]
    return {name: registry.load(name) for name in names}  # type: ignore[misc]


def clouds(count: int, points: int = 32, classes: int = 3) -> PointClouds:
    generator = torch.Generator().manual_seed(count)
    names = tuple("abcdef"[:classes])
    return PointClouds(
        torch.randn(count, points, 3, generator=generator), torch.arange(count) % classes, names
    )


def streams(count: int) -> list[Streams]:
    return [Streams({"student": number}) for number in range(count)]


def global_states() -> list[bytes]:
    return [torch.get_rng_state().numpy().tobytes(), np.asarray(np.random.get_state()[1]).tobytes()]  # noqa: NPY002


def with_values_of(ours: Backbone, plain: type[ModuleBackbone], **preset: Any) -> ModuleBackbone:
    """A plain network with the weights and statistics of one made of our layers, in the order of both."""
    network = plain(3, **preset)
    with torch.no_grad():
        for own, given in zip(network.parameters(), ours.parameters(), strict=True):
            own.copy_(given.view_as(own))
    return network


def test_a_pointnet_of_plain_layers_has_the_scores_of_ours_from_the_same_weights(plain, pointnet) -> None:
    """A step with four clouds, and one with a single cloud. More steps amplify rounding: winners change."""

    def ours(generator: torch.Generator) -> Backbone:
        network = pointnet(3, dropout=0.0)
        initialise(network, generator)
        return network

    def theirs(generator: torch.Generator) -> Backbone:
        return with_values_of(ours(generator), plain["plain_pointnet"], dropout=0.0)

    training, test, once = clouds(5), clouds(60), RECIPE.model_copy(update={"epochs": 1})
    trained = [students.train(build, training, once, streams(2)) for build in (ours, theirs)]
    with torch.inference_mode():
        one, other = (network.eval()(test.points.expand(2, -1, -1, -1)) for network in trained)
    assert torch.allclose(F.log_softmax(one, -1), other, atol=1e-5)
    scores = [students.count_correct(network, test, 2) for network in trained]
    assert torch.equal(*scores)
    statistics = [
        [b for n, b in network.named_buffers() if n.endswith(("running_mean", "running_var"))]
        for network in trained
    ]
    for mine, its in zip(*statistics, strict=True):
        assert torch.allclose(mine, its, atol=1e-5)


@pytest.mark.parametrize("name", ["plain_pointnet", "plain_dgcnn", "plain_pointnet2", "plain_transformer"])
def test_a_student_is_trained_as_it_were_alone_whatever_global_generators_hold(plain, name: str) -> None:
    def build(generator: torch.Generator) -> Backbone:
        return plain[name].build(3, "canonical", generator)

    training, test = clouds(6), clouds(12)
    torch.manual_seed(1)
    before = global_states()
    together = students.train(build, training, RECIPE, streams(2))
    counts = students.count_correct(together, test, 2)
    assert global_states() == before
    torch.manual_seed(2)
    alone = students.train(build, training, RECIPE, streams(2)[1:])
    for both, one in zip(together.parameters(), alone.parameters(), strict=True):
        assert not torch.equal(both[0], both[1]) or not both[0].any()
        assert torch.equal(both[1], one[0])
    assert torch.equal(students.count_correct(alone, test, 1)[0], counts[1])


def test_training_lowers_the_loss(plain) -> None:
    def build(generator: torch.Generator) -> Backbone:
        return plain["plain_dgcnn"].build(3, "canonical", generator)

    training = clouds(6)
    longer = RECIPE.model_copy(update={"epochs": 80, "lr": 0.01})  # small steps: rounding decides nothing
    correct = students.count_correct(students.train(build, training, longer, streams(2)), training, 2)
    assert correct.sum(1).tolist() == [6, 6]


def test_fresh_networks_are_those_of_their_generators(plain) -> None:
    def generator(iteration: int) -> torch.Generator:
        return Streams({"level": "fresh"}).stream("network", iteration=iteration)

    def build(drawn_from: torch.Generator) -> Backbone:
        return plain["plain_transformer"].build(3, "canonical", drawn_from)

    with FreshNetworks(build, generator, 5) as networks:
        for iteration in (1, 2, 4):
            drawn = networks.of(iteration).state_dict()
            again = build(generator(iteration)).state_dict()
            assert all(torch.equal(drawn[name], value) for name, value in again.items())
            assert networks.of(iteration).training


def test_features_are_those_of_the_places_that_are_named(plain) -> None:
    network = plain["plain_pointnet"].build(3, "canonical", torch.Generator().manual_seed(0)).eval()
    xyz = clouds(4).points
    each, pooled, embedding = (
        feature(xyz) for feature in (network.point_features, network.global_feature, network.embed)
    )
    assert (each.shape, pooled.shape, embedding.shape) == ((4, 32, 1024), (4, 1024), (4, 256))
    assert torch.equal(each.amax(1), pooled)
    both = stack([network, network])
    assert torch.equal(both.point_features(xyz.expand(2, *xyz.shape))[1], each)


def test_the_embedding_is_the_input_of_the_last_linear_layer_where_no_place_is_named(plain) -> None:
    network = plain["plain_dgcnn"].build(3, "canonical", torch.Generator().manual_seed(0)).eval()
    xyz = clouds(4).points
    module = network.net.module
    weights = {name: network.net._value(name) for name in ("linear2.weight", "linear2.bias")}
    logits = F.linear(network.embed(xyz), weights["linear2.weight"], weights["linear2.bias"])
    assert isinstance(module.linear2, nn.Linear)
    assert torch.allclose(logits, network(xyz), atol=1e-6)


def test_gradients_reach_the_points_and_second_ones_too(plain) -> None:
    network = plain["plain_pointnet"].build(3, "canonical", torch.Generator().manual_seed(0)).eval()
    xyz = clouds(4).points.requires_grad_()
    loss = network.embed(xyz).square().mean()
    (first,) = torch.autograd.grad(loss, xyz, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), xyz)
    assert first.abs().sum() > 0
    assert second.isfinite().all()


def test_experts_and_their_students_are_functions_of_one_row_of_parameters(plain) -> None:
    training = clouds(6)
    networks = [plain["plain_dgcnn"].build(3, "canonical", torch.Generator().manual_seed(n)) for n in (0, 1)]
    orders = [torch.Generator().manual_seed(n) for n in (0, 1)]
    weights, statistics = train_experts(networks, training, orders, 2, 0.1, 3, lambda *_: None)
    size = sum(parameter.numel() for parameter in networks[0].parameters())
    assert weights.shape == (2, 3, size)
    student = FlatNetwork(networks[0], statistics[1])
    row = weights[1, 2].clone().requires_grad_()
    loss = student.loss(row, training.points, training.labels)
    (slope,) = torch.autograd.grad(loss, row)
    assert slope.shape == (size,)
    assert slope.abs().sum() > 0


def test_what_is_not_named_is_an_error_that_says_how(plain) -> None:
    network = plain["plain_pointnet2"].build(3, "canonical", torch.Generator())
    with pytest.raises(MissingFeature, match=r'point_features.*features = \{"point_features": "input fc3"\}'):
        network.point_features(clouds(2).points)


class Odd(nn.Module):
    """Gives what it is told to."""

    name = "odd"
    gives: Any = None

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Any:
        return type(self).gives(self.linear(x.mean(1)))


@pytest.mark.parametrize(
    ("gives", "message"),
    [
        (lambda logits: {"logits": logits}, "a forward gives dict: a tensor"),
        (lambda logits: logits.T, r"odd: forward gives \[3, 2\] where logits \[2, 3\] are needed"),
    ],
)
def test_a_forward_without_logits_is_an_error(monkeypatch: pytest.MonkeyPatch, gives, message: str) -> None:
    monkeypatch.setattr(Odd, "gives", staticmethod(gives))
    network = backbone_of(Odd).build(3, "canonical", torch.Generator()).eval()
    with pytest.raises(TypeError, match=message):
        network(clouds(2).points)


def test_dropout_without_streams_is_an_error(plain) -> None:
    network = plain["plain_pointnet"].build(3, "canonical", torch.Generator())
    with pytest.raises(RuntimeError, match="set_dropout"):
        network(clouds(4).points)
    set_dropout(network, [torch.Generator()])
    assert network(clouds(4).points).shape == (4, 3)


def test_an_unknown_layout_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Odd, "layout", "NB3", raising=False)
    with pytest.raises(TypeError, match="layout is 'NB3', not 'BN3' or 'B3N'"):
        backbone_of(Odd)
