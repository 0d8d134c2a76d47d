"""DGCNN against a plain float64 oracle that forms every edge, and what its users rely on."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE
from stacks import assert_each_is_as_alone, close, generator, loss
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops.layers import BatchNorm, initialise, set_dropout
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

NEIGHBOURS = 6


@pytest.fixture(scope="module")
def dgcnn() -> type[Backbone]:
    return CATALOGUE.backbones.load("dgcnn")


def clouds(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64)


def draw(dgcnn: type[Backbone], seed: int = 0, classes: int = 4, **preset) -> Backbone:
    """In float64, with few neighbours and without dropout; its norms are not the identity."""
    network = dgcnn(classes, **{"neighbours": NEIGHBOURS, "dropout": 0.0, **preset})
    initialise(network, generator(seed))
    network.double()
    source = generator(100 + seed)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, BatchNorm)):
            norm.weight.uniform_(0.5, 1.5, generator=source)
            norm.weight[::5] *= -1
            for values, low in ((norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
                values.uniform_(low, low + 1, generator=source)
    return network


class Plain:
    """The network of the paper from the parameters of a network: all edges, all features, formed."""

    def __init__(self, network: nn.Module, training: bool, neighbours: int = NEIGHBOURS) -> None:
        self.values = dict(network.state_dict(keep_vars=True))
        self.training, self.neighbours = training, neighbours
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def unit(self, name: str, x: Tensor) -> Tensor:
        """Linear, batch norm over all values but the channels, LeakyReLU."""
        y = x @ self.values[f"{name}.0.weight"].T
        if f"{name}.0.bias" in self.values:
            y = y + self.values[f"{name}.0.bias"]
        mean, var = self.values[f"{name}.1.running_mean"], self.values[f"{name}.1.running_var"]
        if self.training:
            rows = y.reshape(-1, y.shape[-1])
            mean = rows.sum(0) / len(rows)
            squares = ((rows - mean) ** 2).sum(0)
            var = squares / len(rows)
            self.statistics[f"{name}.1"] = mean, squares / (len(rows) - 1)
        z = (y - mean) / (var + 1e-5).sqrt()
        z = z * self.values[f"{name}.1.weight"] + self.values[f"{name}.1.bias"]
        return torch.where(z > 0, z, 0.2 * z)

    def edge(self, number: int, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, D), the nearest found among all pairs of features."""
        distances = (x.unsqueeze(1) - x.unsqueeze(2)).square().sum(-1)
        index = distances.sort(dim=-1, stable=True).indices[..., : self.neighbours]
        neighbours = torch.stack([one[chosen] for one, chosen in zip(x, index, strict=True)])
        centres = x.unsqueeze(2).expand_as(neighbours)
        return self.unit(f"edges.{number}", torch.cat([neighbours - centres, centres], -1)).amax(2)

    def embed(self, xyz: Tensor) -> Tensor:
        x, levels = xyz, []
        for number in range(4):
            x = self.edge(number, x)
            levels.append(x)
        x = self.unit("joint", torch.cat(levels, -1))
        x = torch.cat([x.amax(1), x.sum(1) / x.shape[1]], -1)
        return self.unit("head.2", self.unit("head.0", x))

    def logits(self, xyz: Tensor) -> Tensor:
        return self.embed(xyz) @ self.values["classifier.weight"].T + self.values["classifier.bias"]


@pytest.mark.parametrize("classes", [10, 15, 40, 55])
@pytest.mark.parametrize("preset", ["paper", "canonical"])
def test_parameters_as_on_its_card(dgcnn, preset, classes):
    assert list(dgcnn.presets) == ["paper", "canonical"]
    with torch.device("meta"):
        network = dgcnn(classes, **dgcnn.presets[preset])
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_799_296 + 257 * classes
    assert 1_799_296 + 257 * 40 == 1_809_576


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_the_network_that_forms_every_edge(dgcnn, training):
    network = draw(dgcnn).train(training)
    before = {name: value.clone() for name, value in network.named_buffers()}
    plain = Plain(network, training)
    ours, theirs = clouds(4, 24).requires_grad_(), clouds(4, 24).requires_grad_()
    expected = plain.logits(theirs)
    found = network(ours)
    close(found, expected)
    sources = list(network.parameters())
    by_ours = torch.autograd.grad(loss(found), [ours, *sources])
    by_theirs = torch.autograd.grad(loss(expected), [theirs, *sources])
    for mine, plainly in zip(by_ours, by_theirs, strict=True):
        close(mine, plainly)
    for name, value in network.named_buffers():
        layer, _, which = name.rpartition(".")
        if training:
            used = plain.statistics[layer][which == "running_var"]
            close(value, 0.9 * before[name] + 0.1 * used.detach())
        else:
            assert torch.equal(value, before[name])


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_of_gradients_agrees_too(dgcnn, training):
    network = draw(dgcnn).train(training)
    ours, theirs = clouds(2, 12).requires_grad_(), clouds(2, 12).requires_grad_()
    second = []
    for xyz, logits in ((ours, network(ours)), (theirs, Plain(network, training).logits(theirs))):
        first = torch.autograd.grad(loss(logits), list(network.parameters()), create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), xyz)[0])
    assert float(second[1].abs().max()) > 1e-6
    torch.testing.assert_close(second[0], second[1], rtol=1e-6, atol=1e-8)


def test_the_order_of_the_points_does_not_matter(dgcnn):
    network = dgcnn.build(4, "paper", generator()).double().eval()
    xyz = clouds(6, 40)
    order = torch.randperm(40, generator=generator(1))
    with torch.inference_mode():
        logits = network(xyz)
        moved = (network(xyz[:, order]) - logits).abs().max()
    assert float(moved) < 1e-4 * float(logits.std(0).mean())


def test_an_embedding_and_its_pooled_feature_follow_from_the_points(dgcnn):
    network, xyz = draw(dgcnn).eval(), clouds(2, 16)
    with torch.inference_mode():
        *levels, last = network.layer_features(xyz)
        assert [level.shape[-1] for level in levels] == [64, 64, 128, 256]
        assert last.shape == (2, 16, 1024)
        assert bool((last < 0).any())
        assert torch.equal(network.point_features(xyz), last)
        pooled = network.global_feature(xyz)
        close(pooled, torch.cat([last.amax(1), last.mean(1)], -1))
        close(network.embed(xyz), network.head(pooled))
        close(network(xyz), network.classifier(network.embed(xyz)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_stacked_networks_are_each_network_alone(dgcnn, training, shared):
    networks = [draw(dgcnn, seed, dropout=0.5).train(training) for seed in range(2)]
    assert_each_is_as_alone(networks, clouds(2, 3, 16), 4, shared)


def test_the_geometry_is_the_first_graph_and_is_used(dgcnn):
    network, xyz = draw(dgcnn).eval(), clouds(3, 16)
    (index,) = network.geometry(xyz)
    assert index.shape == (3, 16, NEIGHBOURS)
    assert torch.equal(index[..., 0], torch.arange(16).expand(3, 16))
    with torch.inference_mode():
        assert torch.equal(network(xyz, index), network(xyz))
        assert not torch.allclose(network(xyz, index.flip(1)), network(xyz))


@pytest.mark.parametrize("points", [1, 2, NEIGHBOURS, NEIGHBOURS + 1])
def test_fewer_points_than_neighbours_are_all_neighbours(dgcnn, points):
    network = draw(dgcnn).train()
    xyz = clouds(3, points)
    close(network.eval()(xyz), Plain(network, False).logits(xyz))
    loss(network.train()(xyz)).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_points_get_the_gradient_of_finite_differences(dgcnn, training):
    network = draw(dgcnn).train(training)
    xyz = clouds(3, 16).requires_grad_()
    geometry = network.geometry(xyz)
    (by_xyz,) = torch.autograd.grad(loss(network(xyz, *geometry)), xyz)
    for place in ((0, 0, 0), (1, 7, 2), (2, 15, 1)):
        step = torch.zeros_like(xyz)
        step[place] = 1e-6
        with torch.no_grad():
            rise = loss(network(xyz + step, *geometry)) - loss(network(xyz - step, *geometry))
        assert float(rise) / 2e-6 == pytest.approx(float(by_xyz[place]), rel=1e-4, abs=1e-8)


@pytest.mark.slow
def test_clouds_of_1024_points_give_every_parameter_a_finite_gradient(dgcnn):
    network = dgcnn.build(40, "canonical", generator())
    set_dropout(network, [generator(1)])
    loss(network(clouds(2, 1024).float())).backward()
    for name, parameter in network.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.slow
def test_two_students_learn_ten_clouds_by_heart(dgcnn):
    labels = torch.arange(5).repeat(2)
    ten = PointClouds(clouds(10, 24).float(), labels, tuple("abcde")).normalised()
    streams = [Streams({"test": "dgcnn", "repetition": number}) for number in range(2)]
    recipe = Recipe(epochs=40, drop_after=30, batch=10)
    network = students.train(lambda g: dgcnn.build(5, "paper", g), ten, recipe, streams)
    assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]
