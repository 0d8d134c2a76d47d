"""What networks whose points thin out level by level share in their tests: PCT and PointMLP.

A test module sets the equations of its network beside `NetworkOfLevels`, whose tests hold for each of them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from stacks import assert_each_is_as_alone, generator
from torch import Tensor

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops.layers import BatchNorm, Dropout, initialise, set_dropout, stack
from pcbench.ops.neighbours import farthest_point_sample
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

NEIGHBOURS = 5
"""Neighbours of a centre in these tests."""


def clouds(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64)


def with_drawn_norms(network: Backbone, seed: int) -> Backbone:
    """Drawn in float64, without dropout, its norms neither the identity nor all rising."""
    initialise(network, generator(seed))
    for number, norm in enumerate(m for m in network.modules() if isinstance(m, BatchNorm)):
        source = generator(100 * seed + number)
        norm.running_mean.uniform_(-0.5, 0.5, generator=source)
        norm.running_var.uniform_(0.5, 2, generator=source)
        norm.weight.data.uniform_(0.5, 1.5, generator=source)
        norm.weight.data[::3] *= -1
        norm.bias.data.uniform_(-0.5, 0.5, generator=source)
    for module in network.modules():
        if isinstance(module, Dropout):
            module.p = 0
    return network.double()


def norm(x: Tensor, layer: BatchNorm) -> Tensor:
    """Batch norm of (..., C) by its formula."""
    flat = x.reshape(-1, x.shape[-1])
    mean, variance = layer.running_mean, layer.running_var
    if layer.training:
        mean, variance = flat.mean(0), flat.var(0, correction=0)
    return (x - mean) / (variance + 1e-5).sqrt() * layer.weight + layer.bias


def unit(x: Tensor, layer) -> Tensor:
    """Linear and batch norm, without an activation."""
    linear, batch_norm = layer
    y = x @ linear.weight.T
    return norm(y if linear.bias is None else y + linear.bias, batch_norm)


def sampled(xyz: Tensor, count: int, first: int) -> list[int]:
    chosen = [first]
    while len(chosen) < count:
        nearest = torch.stack([(xyz - xyz[i]).square().sum(1) for i in chosen]).amin(0)
        chosen.append(int(nearest.argmax()))
    return chosen


def levels_of(xyz: Tensor, centres: tuple[int, ...]) -> list[tuple[list[int], Tensor]]:
    """Of one cloud: at every level which points are the centres, and their nearest points."""
    levels = []
    first = int((xyz - xyz.mean(0)).square().sum(1).argmax())
    for count in centres:
        chosen = sampled(xyz, min(count, len(xyz)), first)
        distance = torch.cdist(xyz[chosen], xyz, compute_mode="donot_use_mm_for_euclid_dist")
        levels.append((chosen, distance.argsort(dim=1, stable=True)[:, :NEIGHBOURS]))
        xyz, first = xyz[chosen], 0
    return levels


def neighbourhoods(x: Tensor, levels: list[list[tuple[list[int], Tensor]]], number: int) -> Tensor:
    """Of every cloud: the features of each centre's neighbours less its own, and those, (B, M, k, C) each."""
    differences, own = [], []
    for cloud, features in zip(levels, x, strict=True):
        chosen, neighbours = cloud[number]
        centres = features[chosen].unsqueeze(1)
        differences.append(features[neighbours] - centres)
        own.append(centres.expand_as(differences[-1]))
    return torch.stack(differences), torch.stack(own)


class NetworkOfLevels:
    """The tests that hold for every such network; a class of a test module names what is its own."""

    network: ClassVar[type[Backbone]]
    """The backbone."""
    preset: ClassVar[str]
    """The preset of the tests at full size."""
    centres: ClassVar[tuple[int, ...]]
    """Centres of every level, few enough for 40 points."""
    sizes: ClassVar[dict[str, Any]] = {}
    """Arguments of a small network."""

    @staticmethod
    def plainly(network: Backbone, xyz: Tensor) -> Tensor:
        """The logits, (B, K), by the equations."""
        raise NotImplementedError

    @staticmethod
    def pooled(points: Tensor) -> Tensor:
        """The global feature of point features."""
        return points.amax(-2)

    def learner(self, source: torch.Generator) -> Backbone:
        """A network of five classes that learns in a moment."""
        return self.network.build(5, self.preset, source)

    def drawn(self, seed: int = 0, **sizes: Any) -> Backbone:
        """A small network, see `with_drawn_norms`."""
        return with_drawn_norms(self.network(5, **(self.sizes | sizes)), seed)

    @pytest.fixture
    def _small(self, monkeypatch):
        """Levels that 40 points fill."""
        monkeypatch.setitem(self.network.geometry.__globals__, "CENTRES", self.centres)
        monkeypatch.setitem(self.network.geometry.__globals__, "NEIGHBOURS", NEIGHBOURS)
        monkeypatch.setitem(self.network.levels.__globals__, "CENTRES", self.centres)

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.usefixtures("_small")
    def test_agrees_with_the_equations(self, training):
        network = self.drawn().train(training)
        xyz = clouds(3, 40).requires_grad_()
        with torch.no_grad():
            norms = [m for m in network.modules() if isinstance(m, BatchNorm)]
            before = [m.running_var.clone() for m in norms]
        found, expected = network(xyz), self.plainly(network, xyz)
        torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)
        moved = any(not torch.equal(m.running_var, old) for m, old in zip(norms, before, strict=True))
        assert moved == training
        weights = torch.randn(found.shape, generator=generator(3), dtype=torch.float64)
        inputs = [xyz, *network.parameters()]
        ours, theirs = (
            torch.autograd.grad((values * weights).sum(), inputs, materialize_grads=True)
            for values in (found, expected)
        )
        for mine, plain in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, plain, rtol=1e-6, atol=1e-8)

    @pytest.mark.usefixtures("_small")
    def test_first_points_of_a_level_are_its_farthest_point_sample(self):
        xyz = clouds(2, 40)
        level = xyz.gather(1, farthest_point_sample(xyz, self.centres[0]).unsqueeze(-1).expand(-1, -1, 3))
        again = farthest_point_sample(level, self.centres[1], start=0)
        assert torch.equal(again, torch.arange(self.centres[1]).expand(2, -1))

    @pytest.mark.usefixtures("_small")
    def test_running_statistics_are_those_of_the_batch(self):
        """Moments that are not taken from the values themselves move the running statistics as those do."""
        network, xyz = self.drawn().train(), clouds(3, 40)
        norms = [m for m in network.modules() if isinstance(m, BatchNorm)]
        for module in norms:
            module.momentum = 1.0
        seen = []
        globals_of_norm = norm.__globals__
        plain_norm = globals_of_norm["norm"]

        def watched(x: Tensor, layer: BatchNorm) -> Tensor:
            flat = x.reshape(-1, x.shape[-1])
            seen.append((layer, flat.mean(0), flat.var(0)))
            return plain_norm(x, layer)

        with pytest.MonkeyPatch.context() as patch, torch.no_grad():
            patch.setitem(globals_of_norm, "norm", watched)
            self.plainly(network, xyz)
            network(xyz)
        assert {id(layer) for layer, _, _ in seen} == {id(layer) for layer in norms}
        for layer, mean, variance in seen:
            torch.testing.assert_close(layer.running_mean, mean, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(layer.running_var, variance, rtol=1e-8, atol=1e-8)

    def test_order_of_the_points_does_not_matter(self):
        network = self.network.build(40, self.preset, generator()).eval()
        xyz = F.normalize(clouds(6, 256).float(), dim=-1) * torch.rand(6, 1, 3, generator=generator(1)).add(
            0.2
        )
        with torch.no_grad():
            logits = network(xyz)
            shuffled = network(xyz[:, torch.randperm(256, generator=generator(2))])
        assert (shuffled - logits).abs().max() < 1e-4 * logits.std(0).mean()

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.usefixtures("_small")
    def test_stacked_networks_are_each_network_alone(self, training):
        assert_each_is_as_alone([self.drawn(seed).train(training) for seed in range(2)], clouds(2, 3, 40), 5)

    @pytest.mark.parametrize("training", [False, True])
    @pytest.mark.usefixtures("_small")
    def test_geometry_of_all_students_at_once(self, training):
        network, xyz = stack([self.drawn(seed) for seed in range(2)]).train(training), clouds(3, 40)
        both = xyz.expand(2, -1, -1, -1)
        given = network(both, *(values.unsqueeze(0) for values in network.geometry(xyz)))
        torch.testing.assert_close(given, network(both, *network.geometry(both)))
        torch.testing.assert_close(given, network(both))

    @pytest.mark.usefixtures("_small")
    def test_features_lead_to_the_logits(self):
        network, xyz = self.drawn().eval(), clouds(3, 40)
        points, pooled = network.point_features(xyz), network.global_feature(xyz)
        assert points.shape[-2] == self.centres[-1]
        assert (points < 0).any()
        torch.testing.assert_close(pooled, self.pooled(points))
        torch.testing.assert_close(network.embed(xyz), network.head(pooled))
        torch.testing.assert_close(network(xyz), network.classifier(network.embed(xyz)))
        assert torch.equal(network.layer_features(xyz)[-1], points)

    @pytest.mark.parametrize("points", [1, 2, 4])
    @pytest.mark.usefixtures("_small")
    def test_fewer_points_than_neighbours(self, points):
        network, xyz = self.drawn().train(), clouds(3, points).requires_grad_()
        logits = network(xyz)
        expected = self.plainly(network, xyz)
        torch.testing.assert_close(logits, expected, rtol=1e-6, atol=1e-6)
        for gradient in torch.autograd.grad(logits.square().sum(), [xyz, *network.parameters()]):
            assert gradient.isfinite().all()

    @pytest.mark.usefixtures("_small")
    def test_gradient_by_the_points_is_the_slope(self):
        network, xyz = self.drawn().train(), clouds(3, 40)
        geometry = network.geometry(xyz)
        weights = torch.randn(3, 5, generator=generator(5), dtype=torch.float64)

        def value(points: Tensor) -> Tensor:
            return (network(points, *geometry) * weights).sum()

        (gradient,) = torch.autograd.grad(value(xyz.requires_grad_()), xyz)
        assert gradient.abs().max() > 1e-3
        step = 1e-7
        for place in [(0, 0, 0), (1, 17, 1), (2, 39, 2)]:
            offset = torch.zeros_like(xyz)
            offset[place] = step
            with torch.no_grad():
                slope = (value(xyz + offset) - value(xyz - offset)) / (2 * step)
            torch.testing.assert_close(gradient[place], slope, rtol=1e-4, atol=1e-5)

    @pytest.mark.usefixtures("_small")
    def test_gradients_of_gradients(self):
        """As gradient matching takes them, by points and parameters, against finite differences."""
        network, xyz = self.drawn().train(), clouds(2, 40)
        geometry = network.geometry(xyz)
        parameters = [*network.parameters()]

        def distance(points: Tensor) -> Tensor:
            loss = F.cross_entropy(network(points, *geometry), torch.tensor([1, 3]))
            found = torch.autograd.grad(loss, parameters, create_graph=True)
            return sum((values.square().sum() for values in found), torch.zeros((), dtype=torch.float64))

        (gradient,) = torch.autograd.grad(distance(xyz.requires_grad_()), xyz)
        direction = torch.randn(xyz.shape, generator=generator(6), dtype=torch.float64)
        step = 1e-7
        ahead, behind = (distance(xyz.detach() + side * step * direction).detach() for side in (1, -1))
        torch.testing.assert_close(
            (gradient * direction).sum(), (ahead - behind) / (2 * step), rtol=1e-3, atol=1e-4
        )

    @pytest.mark.slow
    def test_full_size_has_finite_gradients(self):
        for preset in self.network.presets:
            network = self.network.build(40, preset, generator())
            set_dropout(network, [generator(1)])
            xyz = F.normalize(clouds(2, 1024).float(), dim=-1)
            F.cross_entropy(network(xyz), torch.tensor([3, 7])).backward()
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None, (preset, name)
                assert parameter.grad.isfinite().all(), (preset, name)

    @pytest.mark.usefixtures("_small")
    def test_learns_ten_clouds_by_heart(self):
        points = clouds(10, 24).float() * torch.rand(10, 1, 3, generator=generator(1))
        ten = PointClouds(points, torch.arange(5).repeat_interleave(2), tuple("abcde")).normalised()
        recipe = Recipe(epochs=60, drop_after=45, batch=10)
        streams = [Streams({"test": "by heart", "repetition": number}) for number in range(2)]
        network = students.train(self.learner, ten, recipe, streams)
        assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]
