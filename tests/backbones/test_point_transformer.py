"""Point Transformer against a plain float64 oracle that forms every pair, and what its users rely on."""

from __future__ import annotations

import pytest
import torch
from built_in import CATALOGUE
from stacks import assert_each_is_as_alone, close, generator, loss
from torch import Tensor

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops.layers import BatchNorm, Dropout, initialise, set_dropout
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

PRESETS = ["paper", "canonical"]
LEVELS = (256, 64, 16, 4)


@pytest.fixture(scope="module")
def point_transformer() -> type[Backbone]:
    return CATALOGUE.backbones.load("point_transformer")


def clouds(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64)


def draw(
    point_transformer: type[Backbone], preset: str, seed: int = 0, classes: int = 4, dropout: float = 0.0
) -> Backbone:
    """In float64, attention in 12 channels; its norms are not the identity."""
    network = point_transformer(classes, **point_transformer.presets[preset], hidden=12)
    initialise(network, generator(seed))
    network.double()
    source = generator(100 + seed)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, Dropout):
                module.p = dropout
            if isinstance(module, BatchNorm):
                module.weight.uniform_(0.5, 1.5, generator=source)
                module.weight[::5] *= -1
                for values, low in (
                    (module.bias, -0.5),
                    (module.running_mean, -0.5),
                    (module.running_var, 0.5),
                ):
                    values.uniform_(low, low + 1, generator=source)
    return network


def nearest(centres: Tensor, xyz: Tensor) -> Tensor:
    """The 16 nearest of one cloud, among all distances: (M, 3), (N, 3) -> (M, k)."""
    distances = (centres.unsqueeze(1) - xyz.unsqueeze(0)).square().sum(-1)
    return distances.sort(dim=-1, stable=True).indices[:, :16]


def farthest(xyz: Tensor, count: int, start: int) -> list[int]:
    """Farthest point sampling of one cloud (N, 3) from a start."""
    chosen = [start]
    while len(chosen) < min(count, len(xyz)):
        gaps = torch.stack([(xyz - xyz[i]).square().sum(-1) for i in chosen]).amin(0)
        gaps[chosen] = -1
        chosen.append(int(gaps.argmax()))
    return chosen


class Plain:
    """The network of the paper from a network's parameters: every pair, every copy, every product formed."""

    def __init__(self, network: Backbone, preset: str, training: bool) -> None:
        self.values = dict(network.state_dict(keep_vars=True))
        self.preset, self.training = preset, training
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def linear(self, name: str, x: Tensor) -> Tensor:
        y = x @ self.values[f"{name}.weight"].T
        return y + self.values[f"{name}.bias"] if f"{name}.bias" in self.values else y

    def norm(self, name: str, y: Tensor) -> Tensor:
        mean, var = self.values[f"{name}.running_mean"], self.values[f"{name}.running_var"]
        rows = y.reshape(-1, y.shape[-1])
        if self.training and len(rows) > 1:
            mean = rows.sum(0) / len(rows)
            squares = ((rows - mean) ** 2).sum(0)
            var = squares / len(rows)
            self.statistics[name] = mean, squares / (len(rows) - 1)
        z = (y - mean) / (var + 1e-5).sqrt()
        return z * self.values[f"{name}.weight"] + self.values[f"{name}.bias"]

    def unit(self, name: str, x: Tensor) -> Tensor:
        return self.norm(f"{name}.1", self.linear(f"{name}.0", x)).relu()

    def attention(self, name: str, xyz: Tensor, f: Tensor) -> Tensor:
        """Zhao et al. 2021, Eqs. 2 to 4."""
        index = [nearest(cloud, cloud) for cloud in xyz]
        offsets = torch.stack([c.unsqueeze(1) - c[i] for c, i in zip(xyz, index, strict=True)])

        def near(x: Tensor) -> Tensor:
            return torch.stack([one[i] for one, i in zip(x, index, strict=True)])

        x = self.linear(f"{name}.into", f)
        query, key, value = (self.linear(f"{name}.{part}", x) for part in ("query", "key", "value"))
        delta = self.linear(f"{name}.far", self.linear(f"{name}.near", offsets).relu())
        met = self.linear(f"{name}.first", query.unsqueeze(2) - near(key) + delta).relu()
        weights = (self.linear(f"{name}.last", met) / met.shape[-1] ** 0.5).softmax(2)
        return (weights * (near(value) + delta)).sum(2)

    def block(self, name: str, xyz: Tensor, f: Tensor) -> Tensor:
        return f + self.linear(f"{name}.out", self.attention(f"{name}.attention", xyz, f))

    def transition(self, name: str, xyz: Tensor, f: Tensor, chosen: list[list[int]]) -> Tensor:
        seen = []
        for cloud, own, centres in zip(xyz, f, chosen, strict=True):
            at = cloud[centres]
            index = (
                nearest(at, cloud)
                if self.preset != "paper"
                else torch.tensor(centres)[:, None].expand(-1, 16)
            )
            seen.append(torch.cat([cloud[index] - at.unsqueeze(1), own[index]], -1))
        units = {"paper": ("units.0", "units.1"), "canonical": ("first", "second")}
        x = torch.stack(seen)
        for unit in units[self.preset]:
            x = self.unit(f"{name}.{unit}", x)
        return x.amax(2)

    def logits(self, xyz: Tensor) -> Tensor:
        f = self.block("blocks.0", xyz, self.linear("enter.2", self.linear("enter.0", xyz).relu()))
        away = (xyz - xyz.mean(1, keepdim=True)).square().sum(-1)
        starts = away.argmax(1).tolist()
        for level, count in enumerate(LEVELS):
            chosen = [farthest(cloud.detach(), count, s) for cloud, s in zip(xyz, starts, strict=True)]
            f = self.transition(f"transitions.{level}", xyz, f, chosen)
            xyz = torch.stack([cloud[some] for cloud, some in zip(xyz, chosen, strict=True)])
            f = self.block(f"blocks.{level + 1}", xyz, f)
            starts = [0] * len(xyz)
        x = f.sum(1) / f.shape[1]
        for layer in (0, 2):
            x = self.linear(f"head.{layer}", x).relu()
        return self.linear("classifier", x)


@pytest.mark.parametrize("classes", [10, 15, 40, 55])
@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_as_on_its_card(point_transformer, preset, classes):
    assert list(point_transformer.presets) == PRESETS
    with torch.device("meta"):
        network = point_transformer(classes, **point_transformer.presets[preset])
    expected = 9_581_440 + 65 * classes
    assert sum(parameter.numel() for parameter in network.parameters()) == expected
    if classes == 40:
        assert expected == 9_584_040


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_agrees_with_the_network_that_forms_every_pair(point_transformer, preset, training):
    network = draw(point_transformer, preset).train(training)
    before = {name: value.clone() for name, value in network.named_buffers()}
    plain = Plain(network, preset, training)
    ours, theirs = clouds(4, 24).requires_grad_(), clouds(4, 24).requires_grad_()
    found, expected = network(ours), plain.logits(theirs)
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
@pytest.mark.parametrize("preset", PRESETS)
def test_the_gradient_of_gradients_agrees_too(point_transformer, preset, training):
    network = draw(point_transformer, preset).train(training)
    ours, theirs = clouds(2, 12).requires_grad_(), clouds(2, 12).requires_grad_()
    second = []
    for xyz, logits in ((ours, network(ours)), (theirs, Plain(network, preset, training).logits(theirs))):
        first = torch.autograd.grad(loss(logits), list(network.parameters()), create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), xyz)[0])
    assert float(second[1].abs().max()) > 1e-8
    torch.testing.assert_close(second[0], second[1], rtol=1e-6, atol=1e-9)


def test_the_papers_transition_sees_no_coordinates(point_transformer):
    network = draw(point_transformer, "paper").train()
    loss(network(clouds(2, 12))).backward()
    for transition in network.transitions:
        gradient = transition.units[0][0].weight.grad
        assert not gradient[:, :3].any()
        assert bool(gradient[:, 3:].any())


@pytest.mark.parametrize("preset", PRESETS)
def test_the_order_of_the_points_does_not_matter(point_transformer, preset):
    network = point_transformer.build(4, preset, generator()).eval()
    xyz = clouds(6, 40).float()
    order = torch.randperm(40, generator=generator(1))
    with torch.inference_mode():
        logits = network(xyz)
        moved = (network(xyz[:, order]) - logits).abs().max()
    assert float(moved) < 1e-4 * float(logits.std(0).mean())


@pytest.mark.parametrize("preset", PRESETS)
def test_an_embedding_and_its_pooled_feature_follow_from_the_points(point_transformer, preset):
    network, xyz = draw(point_transformer, preset).eval(), clouds(2, 20)
    with torch.inference_mode():
        *levels, last = network.layer_features(xyz)
        assert [level.shape[1:] for level in levels] == [(20, 32), (20, 64), (20, 128), (16, 256)]
        assert last.shape == (2, 4, 512)
        assert bool((last < 0).any())
        assert torch.equal(network.point_features(xyz), last)
        pooled = network.global_feature(xyz)
        close(pooled, last.mean(1))
        close(network.embed(xyz), network.head(pooled))
        close(network(xyz), network.classifier(network.embed(xyz)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_stacked_networks_are_each_network_alone(point_transformer, preset, shared, training):
    networks = [draw(point_transformer, preset, seed, dropout=0.5).train(training) for seed in range(2)]
    assert_each_is_as_alone(networks, clouds(2, 3, 16), 4, shared)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_geometry_is_centres_and_neighbours_and_is_used(point_transformer, preset):
    network, xyz = draw(point_transformer, preset).eval(), clouds(3, 300)
    geometry = network.geometry(xyz)
    counts = [index.shape[1:] for index in geometry]
    pairs = [(count, k) for count in LEVELS for k in (1 if preset == "paper" else 16, min(16, count))]
    assert counts == [(256,), (300, 16), *pairs]
    with torch.inference_mode():
        logits = network(xyz)
        assert torch.equal(network(xyz, *geometry), logits)
        for place in range(len(geometry)):
            other = [index.flip(0) if number == place else index for number, index in enumerate(geometry)]
            sets = [indices[place].sort(-1).values for indices in (other, geometry)]
            same = place > 0 and torch.equal(*sets)
            assert torch.allclose(network(xyz, *other), logits) == same


@pytest.mark.parametrize("points", [1, 2, 5, 17])
@pytest.mark.parametrize("preset", PRESETS)
def test_few_points_are_all_centres_and_all_neighbours(point_transformer, preset, points):
    network = draw(point_transformer, preset)
    xyz = clouds(3, points)
    close(network.eval()(xyz), Plain(network, preset, False).logits(xyz))
    loss(network.train()(xyz)).backward()
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", PRESETS)
def test_points_get_the_gradient_of_finite_differences(point_transformer, preset, training):
    network = draw(point_transformer, preset).train(training)
    xyz = clouds(3, 20).requires_grad_()
    geometry = network.geometry(xyz)
    (by_xyz,) = torch.autograd.grad(loss(network(xyz, *geometry)), xyz)
    for place in ((0, 0, 0), (1, 7, 2), (2, 19, 1)):
        step = torch.zeros_like(xyz)
        step[place] = 1e-8
        with torch.no_grad():
            rise = loss(network(xyz + step, *geometry)) - loss(network(xyz - step, *geometry))
        assert float(rise) / 2e-8 == pytest.approx(float(by_xyz[place]), rel=1e-4, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_clouds_of_1024_points_give_every_parameter_a_finite_gradient(point_transformer, preset):
    network = point_transformer.build(40, preset, generator())
    set_dropout(network, [generator(1)])
    loss(network(clouds(2, 1024).float())).backward()
    for name, parameter in network.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_two_students_learn_ten_clouds_by_heart(point_transformer, preset, monkeypatch):
    """Narrow networks: levels of 8 to 32 channels, attention in 16."""
    monkeypatch.setitem(point_transformer.__init__.__globals__, "WIDTHS", (8, 16, 16, 32, 32))

    def build(source: torch.Generator) -> Backbone:
        network = point_transformer(5, **point_transformer.presets[preset], hidden=16)
        initialise(network, source)
        return network

    points = clouds(10, 16).float() * torch.rand(10, 1, 3, generator=generator(2))
    ten = PointClouds(points, torch.arange(5).repeat(2), tuple("abcde")).normalised()
    streams = [Streams({"test": "point transformer", "repetition": number}) for number in range(2)]
    recipe = Recipe(epochs=100, batch=10, optimiser="adam", lr=0.003, weight_decay=0, drop_after=75)
    network = students.train(build, ten, recipe, streams)
    assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]
