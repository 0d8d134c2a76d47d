"""PointNet++ against a slow float64 copy of its paper, ball by ball, and what its users rely on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from built_in import CATALOGUE
from stacks import assert_each_is_as_alone, close, generator, loss
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops.layers import BatchNorm, initialise, set_dropout
from pcbench.ops.neighbours import gather_points
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

LEVELS = (
    (12, ((0.4, 3, (6, 5, 9)), (0.9, 6, (7, 8, 10)))),
    (5, ((0.9, 4, (8, 6, 11)),)),
)
"""Two scales, then one; some balls hold fewer neighbours than they keep, some more."""

ROOMY = ((12, ((0.4, 24, (6, 5, 9)), (0.9, 24, (7, 8, 10)))), (5, ((0.9, 24, (8, 6, 11)),)))
"""The same with room for every point of a cloud of 24."""

TOTALS = {"paper": (438_208, 129), "canonical": (1_465_408, 257), "msg": (1_737_088, 257)}


@pytest.fixture(scope="module")
def pointnet2() -> type[Backbone]:
    return CATALOGUE.backbones.load("pointnet2")


def clouds(*shape: int, seed: int = 0) -> Tensor:
    """Points on the unit sphere in float64, (..., N, 3)."""
    return F.normalize(torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64), dim=-1)


def draw(
    pointnet2: type[Backbone], seed: int = 0, dropout: tuple[float, float] = (0.0, 0.0), levels=LEVELS
) -> Backbone:
    """A small one in float64; some of its norms turn the sign."""
    network = pointnet2(4, levels=levels, widths=(12, 13, 17, 10, 8), dropout=dropout)
    initialise(network, generator(seed))
    network.double()
    source = generator(100 + seed)
    with torch.no_grad():
        for norm in (module for module in network.modules() if isinstance(module, BatchNorm)):
            norm.weight.uniform_(0.5, 1.5, generator=source)
            norm.weight[::4] *= -1
            for values, low in ((norm.bias, -0.5), (norm.running_mean, -0.5), (norm.running_var, 0.5)):
                values.uniform_(low, low + 1, generator=source)
    return network


class Plain:
    """The network as the paper tells it, from another's parameters: every ball is searched and formed."""

    def __init__(
        self, network: nn.Module, training: bool, masks: tuple[Tensor, Tensor] | None = None
    ) -> None:
        self.training, self.masks = training, masks
        self.values: Iterator[Tensor] = iter(list(network.parameters()))
        norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
        self.running = iter([(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms])
        self.moved: list[tuple[Tensor, Tensor]] = []
        self.levels = network.levels

    def affine(self, x: Tensor) -> Tensor:
        weight, bias = next(self.values), next(self.values)
        return x @ weight.T + bias

    def unit(self, x: Tensor) -> Tensor:
        """Linear, norm over all axes but the channels, ReLU."""
        y = self.affine(x)
        scale, shift = next(self.values), next(self.values)
        mean, var = next(self.running)
        if self.training:
            rows = y.flatten(0, -2)
            batch = rows.mean(0), rows.var(0, correction=0)
            unbiased = batch[1] * len(rows) / (len(rows) - 1)
            self.moved.append((0.9 * mean + 0.1 * batch[0].detach(), 0.9 * var + 0.1 * unbiased.detach()))
            mean, var = batch
        else:
            self.moved.append((mean, var))
        return ((y - mean) / (var + 1e-5).sqrt() * scale + shift).clamp_min(0)

    def farthest(self, cloud: Tensor, number: int) -> list[int]:
        """One after another the point farthest from all before, first the one farthest from the mean."""
        chosen = [int((cloud - cloud.mean(0)).norm(dim=1).argmax())]
        while len(chosen) < min(number, len(cloud)):
            gaps = [min(float((p - cloud[c]).norm()) for c in chosen) for p in cloud]
            chosen.append(max(range(len(cloud)), key=gaps.__getitem__))
        return chosen

    def ball(self, cloud: Tensor, centre: Tensor, radius: float, k: int) -> list[int]:
        """The first points within the radius, the first of them again where there are too few."""
        inside = [j for j, p in enumerate(cloud) if float((p - centre).square().sum()) <= radius**2]
        k = min(k, len(cloud))
        return (inside + inside[:1] * k)[:k]

    def lower(self, xyz: Tensor) -> Tensor:
        features = None
        for number, scales in self.levels:
            centres = torch.stack([cloud[self.farthest(cloud.detach(), number)] for cloud in xyz])
            found = []
            for radius, k, widths in scales:
                groups = []
                for b, cloud in enumerate(xyz):
                    for centre in centres[b]:
                        index = self.ball(cloud.detach(), centre.detach(), radius, k)
                        seen = cloud[index] - centre
                        seen = seen if features is None else torch.cat([seen, features[b, index]], -1)
                        groups.append(seen)
                x = torch.stack(groups).unflatten(0, centres.shape[:2])
                for _ in widths:
                    x = self.unit(x)
                found.append(x.amax(2))
            xyz, features = centres, torch.cat(found, -1)
        x = torch.cat([xyz, features], -1)
        for _ in range(3):
            x = self.unit(x)
        return x.amax(1)

    def logits(self, xyz: Tensor) -> Tensor:
        x = self.lower(xyz)
        for number in range(2):
            x = self.unit(x)
            x = x if self.masks is None else x * self.masks[number]
        x = self.affine(x)
        assert next(self.values, None) is None
        return x


@pytest.mark.parametrize("classes", [10, 15, 40, 55])
@pytest.mark.parametrize("preset", TOTALS)
def test_parameters_as_on_its_card(pointnet2, preset, classes):
    fixed, per_class = TOTALS[preset]
    with torch.device("meta"):
        network = pointnet2(classes, **pointnet2.presets[preset])
    assert sum(parameter.numel() for parameter in network.parameters()) == fixed + per_class * classes


def test_presets_are_the_papers_first_and_have_the_cards_totals_for_forty_classes(pointnet2):
    assert list(pointnet2.presets) == list(TOTALS)
    assert [a + 40 * b for a, b in TOTALS.values()] == [443_368, 1_475_688, 1_747_368]


def test_half_width_means_half_of_every_width_centre_and_head(pointnet2):
    half, full = pointnet2.presets["paper"], pointnet2.presets["msg"]
    assert half["dropout"] == full["dropout"] == (0.4, 0.5)
    assert [2 * width for width in half["widths"]] == list(full["widths"])
    for (few, ours), (many, theirs) in zip(half["levels"], full["levels"], strict=True):
        assert 2 * few == many
        assert [k for _, k, _ in ours] == [8, 16, 32]
        assert [radius for radius, _, _ in ours] == [radius for radius, _, _ in theirs]
        for (_, _, narrow), (_, _, wide) in zip(ours, theirs, strict=True):
            assert [2 * width for width in narrow] == list(wide)


@pytest.mark.parametrize("training", [True, False])
def test_agrees_with_the_paper_ball_by_ball(pointnet2, training):
    network = draw(pointnet2).train(training)
    plain = Plain(network, training)
    ours, theirs = (clouds(3, 24).requires_grad_() for _ in range(2))
    expected = plain.logits(theirs)
    found = network(ours)
    close(found, expected)
    for norm, (mean, var) in zip(
        (module for module in network.modules() if isinstance(module, BatchNorm)), plain.moved, strict=True
    ):
        close(norm.running_mean, mean)
        close(norm.running_var, var)
    by_ours = torch.autograd.grad(loss(found), [ours, *network.parameters()])
    by_theirs = torch.autograd.grad(loss(expected), [theirs, *network.parameters()])
    for mine, plainly in zip(by_ours, by_theirs, strict=True):
        close(mine, plainly)


@pytest.mark.parametrize("training", [True, False])
def test_the_gradient_of_gradients_agrees_too(pointnet2, training):
    """As gradient matching takes it: a loss on the gradient of every weight, by the points."""
    network = draw(pointnet2).train(training)
    ours, theirs = (clouds(2, 14).requires_grad_() for _ in range(2))
    second = []
    for xyz, logits in ((theirs, Plain(network, training).logits(theirs)), (ours, network(ours))):
        first = torch.autograd.grad(loss(logits), list(network.parameters()), create_graph=True)
        second.append(torch.autograd.grad(sum(g.square().sum() for g in first), xyz)[0])
    assert float(second[0].abs().max()) > 1e-6
    torch.testing.assert_close(second[1], second[0], rtol=1e-6, atol=1e-8)


def test_dropout_follows_the_relu_of_each_layer_of_the_head(pointnet2):
    rates = (0.4, 0.5)
    network, xyz, source = draw(pointnet2, dropout=rates).train(), clouds(3, 24), generator(5)
    set_dropout(network, [source])
    drawn = generator(5)
    masks = tuple(
        (torch.rand(3, width, generator=drawn) >= p).double() / (1 - p)
        for width, p in zip((10, 8), rates, strict=True)
    )
    expected = Plain(network, True, masks).logits(xyz)
    close(network(xyz), expected)


def test_the_centres_do_not_depend_on_the_order_of_the_points(pointnet2):
    network, xyz = draw(pointnet2), clouds(4, 24)
    order = torch.randperm(24, generator=generator(1))
    moved = xyz[:, order]
    for cloud, shuffled in ((xyz, moved), (xyz.flip(0), moved.flip(0))):
        for level in (0, 3):
            first, second = network.geometry(cloud)[level], network.geometry(shuffled)[level]
            if level == 0:
                cloud, shuffled = gather_points(cloud, first), gather_points(shuffled, second)
                assert torch.equal(cloud, shuffled)
            else:
                assert torch.equal(first, second)


def test_the_order_of_the_points_does_not_matter_where_every_ball_keeps_all_it_holds(pointnet2):
    xyz = clouds(6, 24)
    order = torch.randperm(24, generator=generator(1))
    roomy, tight = (draw(pointnet2, levels=levels).eval() for levels in (ROOMY, LEVELS))
    with torch.inference_mode():
        spread = float(roomy(xyz).std(0).mean())
        assert float((roomy(xyz[:, order]) - roomy(xyz)).abs().max()) < 1e-4 * spread
        assert float((tight(xyz[:, order]) - tight(xyz)).abs().max()) > 1e-4 * spread


def test_an_embedding_and_its_pooled_feature_follow_from_the_points(pointnet2):
    network, xyz = draw(pointnet2).eval(), clouds(2, 24)
    with torch.inference_mode():
        *levels, last = network.layer_features(xyz)
        assert [level.shape for level in levels] == [(2, 12, 19), (2, 5, 11)]
        assert last.shape == (2, 5, 17)
        assert bool((last < 0).any())
        assert torch.equal(network.point_features(xyz), last)
        pooled = network.global_feature(xyz)
        close(pooled, last.amax(1).clamp_min(0))
        close(network.embed(xyz), network.head(pooled))
        close(network(xyz), network.classifier(network.embed(xyz)))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shared", [True, False])
def test_stacked_networks_are_each_network_alone(pointnet2, training, shared):
    networks = [draw(pointnet2, seed, dropout=(0.4, 0.5)).train(training) for seed in range(2)]
    assert_each_is_as_alone(networks, clouds(2, 3, 24), 4, shared)


def test_the_geometry_is_centres_and_balls_of_every_level_and_is_used(pointnet2):
    network, xyz = draw(pointnet2).eval(), clouds(3, 24)
    geometry = network.geometry(xyz)
    shapes = [(3, 12), (3, 12, 3), (3, 12, 6), (3, 5), (3, 5, 4)]
    assert [tuple(index.shape) for index in geometry] == shapes
    assert not any(index.requires_grad for index in network.geometry(xyz.clone().requires_grad_()))
    with torch.inference_mode():
        assert torch.equal(network(xyz, *geometry), network(xyz))
        for number in range(len(geometry)):
            others = [index.flip(0) if i == number else index for i, index in enumerate(geometry)]
            assert not torch.allclose(network(xyz, *others), network(xyz))


@pytest.mark.parametrize("points", [1, 2, 5, 13])
def test_fewer_points_than_centres_or_neighbours_are_all_taken(pointnet2, points):
    network, xyz = draw(pointnet2), clouds(3, points)
    assert [index.shape[1] for index in network.geometry(xyz)] == [
        *[min(12, points)] * 3,
        *[min(5, points)] * 2,
    ]
    close(network.eval()(xyz), Plain(network, False).logits(xyz))
    loss(network.train()(xyz)).backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in network.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_points_get_the_gradient_of_finite_differences(pointnet2, training):
    network, xyz = draw(pointnet2).train(training), clouds(3, 24).requires_grad_()
    geometry = network.geometry(xyz)
    (by_xyz,) = torch.autograd.grad(loss(network(xyz, *geometry)), xyz)
    centre = int(geometry[0][1, 0])
    for place in ((0, 0, 0), (1, centre, 2), (2, 23, 1)):
        step = torch.zeros_like(xyz)
        step[place] = 1e-6
        with torch.no_grad():
            rise = loss(network(xyz + step, *geometry)) - loss(network(xyz - step, *geometry))
        assert float(rise) / 2e-6 == pytest.approx(float(by_xyz[place]), rel=1e-4, abs=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["canonical", "msg"])
def test_clouds_of_1024_points_give_every_parameter_a_finite_gradient(pointnet2, preset):
    network = pointnet2.build(40, preset, generator())
    set_dropout(network, [generator(1)])
    logits = network(clouds(2, 1024).float())
    assert logits.shape == (2, 40)
    loss(logits).backward()
    for name, parameter in network.named_parameters():
        assert bool(parameter.grad.isfinite().all()), name


def test_two_students_learn_ten_clouds_by_heart(pointnet2):
    levels = ((12, ((0.4, 4, (16, 16, 32)), (0.8, 8, (16, 16, 32)))), (6, ((0.8, 6, (32, 32, 64)),)))

    def build(source: torch.Generator) -> Backbone:
        network = pointnet2(5, levels=levels, widths=(64, 128, 256, 64, 32), dropout=(0.0, 0.0))
        initialise(network, source)
        return network

    points = torch.randn(10, 24, 3, generator=generator(3))
    ten = PointClouds(points, torch.arange(5).repeat(2), tuple("abcde")).normalised()
    streams = [Streams({"test": "pointnet2", "repetition": number}) for number in range(2)]
    network = students.train(build, ten, Recipe(epochs=80, drop_after=60, batch=10), streams)
    assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]
