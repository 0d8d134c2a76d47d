"""PointConv against its equations in plain float64, and the contract that students rely on."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from built_in import CATALOGUE
from stacks import assert_each_is_as_alone
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.engine import students
from pcbench.ops.layers import BatchNorm, adapt_batch_norm, set_dropout, stack
from pcbench.protocols.protocol import Recipe
from pcbench.seeds import Streams

PointConv = CATALOGUE.backbones.load("pointconv")


class Small(PointConv):
    """Levels that 24 points fill, without dropout."""

    presets: ClassVar = {"paper": {"density": "relu"}, "canonical": {"density": "sigmoid"}}
    levels: ClassVar = ((10, 6), (5, 4))
    bandwidths: ClassVar = (0.3, 0.5, 0.8)
    widths: ClassVar = ((4, 5, 6), (6, 7, 8), (8, 10, 12))
    dropout: ClassVar = 0.0


class Medium(Small):
    """Wide enough to learn."""

    widths: ClassVar = ((16, 16, 32), (32, 32, 64), (64, 64, 128))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(seed: int = 0, preset: str = "canonical"):
    """In float64, its norms neither the identity nor all rising."""
    network = Small.build(5, preset, generator(seed))
    for number, norm in enumerate(m for m in network.modules() if isinstance(m, BatchNorm)):
        source = generator(100 * seed + number)
        norm.running_mean.uniform_(-0.5, 0.5, generator=source)
        norm.running_var.uniform_(0.5, 2, generator=source)
        norm.weight.data.uniform_(0.5, 1.5, generator=source)
        norm.weight.data[1::3] *= -1
        norm.bias.data.uniform_(-0.5, 0.5, generator=source)
    return network.double()


def clouds(*shape: int, seed: int = 9) -> Tensor:
    return torch.randn(*shape, 3, generator=generator(seed), dtype=torch.float64)


class Oracle:
    """The network from its equations, a cloud, a centre and a neighbour at a time where coordinates count."""

    def __init__(self, network) -> None:
        self.network = network

    def norm(self, y: Tensor, layer) -> Tensor:
        flat = y.reshape(-1, y.shape[-1])
        mean, variance = layer.running_mean, layer.running_var
        if layer.training:
            mean, variance = flat.mean(0), flat.var(0, correction=0)
        return (y - mean) / (variance + 1e-5).sqrt() * layer.weight + layer.bias

    def unit(self, y: Tensor, layer) -> Tensor:
        return self.norm(y @ layer[0].weight.T + layer[0].bias, layer[1])

    def dense(self, y: Tensor, layers) -> Tensor:
        for layer in layers:
            y = self.unit(y, layer).clamp_min(0)
        return y

    def sampled(self, cloud: Tensor, count: int) -> list[int]:
        chosen = [int((cloud - cloud.mean(0)).square().sum(1).argmax())]
        while len(chosen) < min(count, len(cloud)):
            gaps = torch.stack([(cloud - cloud[i]).square().sum(1) for i in chosen]).amin(0)
            chosen.append(int(gaps.argmax()))
        return chosen

    def inverse_densities(self, cloud: Tensor, bandwidth: float) -> Tensor:
        found = []
        for centre in cloud.tolist():
            kernel = [math.exp(-(math.dist(centre, p) ** 2) / (2 * bandwidth**2)) for p in cloud.tolist()]
            found.append(1 / (sum(kernel) / len(kernel) / (2.5 * bandwidth)))
        return torch.tensor(found, dtype=torch.float64)

    def convolve(self, part, seen: Tensor, relative: Tensor, inverse: Tensor) -> Tensor:
        """Neighbours' inputs (B, M, k, 3 + C), coordinates (B, M, k, 3), inverse densities (B, M, k)."""
        features = self.dense(seen, [part.first, part.middle, part.last])
        ratio = inverse / inverse.amax(-1, keepdim=True)
        scale = self.unit(
            self.dense(ratio.unsqueeze(-1), [part.density[0], part.density[1]]), part.density[2]
        )
        scale = scale.clamp_min(0) if self.network.ends == "relu" else torch.sigmoid(scale)
        weights = self.dense(relative, part.weights)
        sums = torch.zeros(*seen.shape[:2], features.shape[-1], 16, dtype=torch.float64)
        for j in range(seen.shape[2]):
            scaled = features[:, :, j] * scale[:, :, j]
            sums = sums + scaled.unsqueeze(-1) * weights[:, :, j].unsqueeze(-2)
        mixed = sums.flatten(2) @ part.mix.weight.T + part.mix.bias
        return self.norm(mixed, part.norm).clamp_min(0)

    def logits(self, xyz: Tensor) -> Tensor:
        net = self.network
        features = torch.zeros(*xyz.shape[:2], 0, dtype=torch.float64)
        for part, (count, k), bandwidth in zip((net.low, net.high), net.levels, net.bandwidths, strict=False):
            rows = []
            for cloud, own in zip(xyz, features, strict=True):
                chosen = self.sampled(cloud, count)
                near = [(cloud - cloud[i]).square().sum(1).argsort(stable=True)[:k] for i in chosen]
                relative = torch.stack([cloud[j] - cloud[i] for i, j in zip(chosen, near, strict=True)])
                inverse = self.inverse_densities(cloud, bandwidth)
                rows.append(
                    (
                        cloud[chosen],
                        torch.cat([relative, torch.stack([own[j] for j in near])], -1),
                        relative,
                        torch.stack([inverse[j] for j in near]),
                    )
                )
            xyz, *inputs = (torch.stack(parts) for parts in zip(*rows, strict=True))
            features = self.convolve(part, *inputs)
        relative = (xyz - xyz.mean(1, keepdim=True)).unsqueeze(1)
        inverse = torch.stack([self.inverse_densities(cloud, net.bandwidths[-1]) for cloud in xyz])
        seen = torch.cat([relative, features.unsqueeze(1)], -1)
        pooled = self.convolve(net.top, seen, relative, inverse.unsqueeze(1)).squeeze(1)
        hidden = self.dense(pooled, [net.head[0], net.head[2]])
        return hidden @ net.classifier.weight.T + net.classifier.bias


@pytest.mark.parametrize("classes", [10, 15, 40, 55])
@pytest.mark.parametrize("preset", PointConv.presets)
def test_parameter_counts_are_those_of_the_card(preset, classes):
    with torch.device("meta"):
        network = PointConv(classes, **PointConv.presets[preset])
    assert sum(p.numel() for p in network.parameters()) == 19_559_185 + 257 * classes


@pytest.mark.parametrize("points", [24, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("preset", PointConv.presets)
def test_logits_follow_from_the_equations(preset, training, points):
    network, oracle = (drawn(0, preset).train(training) for _ in range(2))
    oracle.ends = PointConv.presets[preset]["density"]
    xyz = clouds(3, points)
    torch.testing.assert_close(network(xyz), Oracle(oracle).logits(xyz), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("preset", PointConv.presets)
def test_gradients_follow_from_the_equations(preset):
    ours, theirs = (drawn(1, preset).train() for _ in range(2))
    theirs.ends = PointConv.presets[preset]["density"]
    xyz, labels = clouds(3, 24), torch.tensor([0, 1, 2])
    for logits in (ours(xyz), Oracle(theirs).logits(xyz)):
        F.cross_entropy(logits, labels).backward()
    for (name, mine), plain in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, plain.grad, rtol=1e-6, atol=1e-9, msg=name)


def test_the_order_of_the_points_does_not_matter():
    network = PointConv.build(40, "canonical", generator())
    xyz = clouds(4, 256).float() * 0.3
    adapt_batch_norm(network, xyz, momentum=1.0)
    shuffled = xyz[:, torch.randperm(256, generator=generator(1))]
    with torch.no_grad():
        logits, again = network(xyz), network(shuffled)
    spread = logits.std(0).mean()
    assert spread > 0
    assert (again - logits).abs().max() < 1e-4 * spread


def test_two_students_overfit_ten_clouds():
    points = clouds(10, 24).float()
    ten = PointClouds(points, torch.arange(10), tuple(map(str, range(10)))).normalised()
    recipe = Recipe(epochs=80, drop_after=60, batch=10, lr=0.05)
    streams = [Streams({"test": "overfit", "student": number}) for number in range(2)]
    network = students.train(lambda source: Medium.build(10, "canonical", source), ten, recipe, streams)
    assert students.count_correct(network, ten, 2).sum(1).tolist() == [10, 10]


@pytest.mark.parametrize("training", [True, False])
def test_stacked_networks_give_what_each_gives_alone(training):
    xyz = torch.stack([clouds(3, 24, seed=seed) for seed in range(2)])
    assert_each_is_as_alone([drawn(seed).train(training) for seed in range(2)], xyz, 5)


def test_geometry_given_is_the_geometry_worked_out_and_serves_all_students():
    alone = [drawn(seed).eval() for seed in range(2)]
    xyz = clouds(3, 24)
    known = alone[0].geometry(xyz)
    torch.testing.assert_close(alone[0](xyz, *known), alone[0](xyz))
    logits = stack(alone)(xyz.expand(2, -1, -1, -1), *(values.unsqueeze(0) for values in known))
    torch.testing.assert_close(logits, torch.stack([network(xyz) for network in alone]))


def test_geometry_is_searched_without_gradient_and_its_densities_carry_one():
    known = Small(5).geometry(clouds(2, 24).requires_grad_())
    assert [values.requires_grad for values in known] == [False, False, True] * 2 + [True]
    assert [tuple(values.shape) for values in known] == [
        *((2, 10), (2, 10, 6), (2, 24)),
        *((2, 5), (2, 5, 4), (2, 10)),
        (2, 5),
    ]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
def test_the_gradient_reaches_the_points(training, fixed):
    network = drawn(2).train(training)
    xyz, labels = clouds(3, 24), torch.tensor([0, 1, 2])
    known = network.geometry(xyz) if fixed else ()

    def loss(points: Tensor) -> Tensor:
        return F.cross_entropy(network(points, *known), labels)

    points = xyz.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(points), points)
    for cloud, point, axis in ((0, 3, 0), (1, 7, 1), (2, 20, 2)):
        step = torch.zeros_like(xyz)
        step[cloud, point, axis] = 1e-6
        with torch.no_grad():
            slope = (loss(xyz + step) - loss(xyz - step)) / 2e-6
        torch.testing.assert_close(gradient[cloud, point, axis], slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_a_gradient_of_weight_gradients_reaches_the_points(training):
    network = drawn(3).train(training)
    xyz, labels = clouds(2, 12), torch.tensor([0, 1])

    def norm_of_gradients(points: Tensor) -> Tensor:
        loss = F.cross_entropy(network(points), labels)
        gradients = torch.autograd.grad(loss, list(network.parameters()), create_graph=True)
        return sum(g.square().sum() for g in gradients)

    points = xyz.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(norm_of_gradients(points), points)
    for cloud, point, axis in ((0, 3, 0), (1, 7, 1)):
        step = torch.zeros_like(xyz)
        step[cloud, point, axis] = 1e-6
        slope = (norm_of_gradients(xyz + step) - norm_of_gradients(xyz - step)).detach() / 2e-6
        torch.testing.assert_close(gradient[cloud, point, axis], slope, rtol=1e-4, atol=1e-7)


def test_point_features_are_signed_and_lie_behind_the_global_feature():
    network, xyz = drawn().eval(), clouds(2, 24)
    low, high, top = network.layer_features(xyz)
    assert (low.shape, high.shape, top.shape) == ((2, 10, 6), (2, 5, 8), (2, 5, 12))
    assert (top < 0).any()
    assert torch.equal(network.point_features(xyz), top)
    assert network.global_feature(xyz).shape == (2, 12)
    logits = network.classifier(network.head(network.global_feature(xyz)))
    torch.testing.assert_close(network(xyz), logits)


@pytest.mark.slow
def test_the_canonical_network_has_finite_gradients_at_1024_points():
    network = PointConv.build(40, "canonical", generator())
    set_dropout(network, [generator(1)])
    F.cross_entropy(network(clouds(2, 1024).float() * 0.3), torch.tensor([0, 1])).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def constant(preset: str, networks: int) -> int:
    """Of freshly drawn, untrained networks, how many give all clouds the same logits."""
    xyz = clouds(4, 24).float()
    count = 0
    for seed in range(networks):
        network = Medium.build(5, preset, generator(seed)).eval()
        with torch.no_grad():
            logits = network(xyz)
        count += bool((logits == logits[:1]).all())
    return count


def test_a_density_network_that_ends_in_relu_silences_many_untrained_networks():
    """The known defect of the public code, kept for parity."""
    assert constant("paper", 40) > 4


def test_a_density_network_that_ends_in_a_sigmoid_silences_none():
    assert constant("canonical", 40) == 0
