"""Trajectories against plain float64 loops: one network at a time, and an unroll kept whole by autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pcbench.clouds import PointClouds
from pcbench.errors import UsageError
from pcbench.ops.layers import BatchNorm, Dropout, Linear, LinearNorm, adapt_batch_norm, initialise, mlp
from pcbench.ops.trajectories import FlatNetwork, flatten, match_trajectory, shuffled_batches, train_experts

POINTS = torch.randn(9, 6, 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
LABELS = torch.arange(3).repeat(3)
NAMES = ("a", "b", "c")


class Small(nn.Module):
    """A shared layer, the maximum over points, a lone norm, dropout, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.local = mlp(3, 5)
        self.last = LinearNorm(5, 7)
        self.middle = nn.Sequential(Linear(7, 6), Dropout(0.5), BatchNorm(6), nn.ReLU())
        self.classifier = Linear(6, 3)

    def forward(self, xyz: Tensor) -> Tensor:
        return self.classifier(self.middle(self.last.max_over_points(self.local(xyz))))


def small(seed: int) -> Small:
    """A float64 network whose norms are those of all clouds, and are not at their initial weight and bias."""
    network = Small()
    generator = torch.Generator().manual_seed(seed)
    initialise(network, generator)
    network.double()
    for layer in network.modules():
        if isinstance(layer, BatchNorm):
            noise = torch.rand(2, len(layer.weight), generator=generator, dtype=torch.float64)
            layer.weight.data, layer.bias.data = noise[0] + 0.5, noise[1] - 0.5
    adapt_batch_norm(network, POINTS, momentum=1.0)
    return network


def plain_logits(values: dict[str, Tensor], xyz: Tensor) -> Tensor:
    """`Small` in textbook formulas; `values` has parameters and statistics by name."""

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ values[f"{name}.weight"].T + values[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        spread = (values[f"{name}.running_var"] + 1e-5).sqrt()
        centred = (x - values[f"{name}.running_mean"]) / spread
        return centred * values[f"{name}.weight"] + values[f"{name}.bias"]

    x = norm("local.0.1", linear("local.0.0", xyz)).clamp_min(0)
    x = norm("last.1", linear("last.0", x)).amax(1)
    x = norm("middle.2", linear("middle.0", x)).clamp_min(0)
    return linear("classifier", x)


def plain_loss(values: dict[str, Tensor], xyz: Tensor, labels: Tensor) -> Tensor:
    logits = plain_logits(values, xyz)
    rows = [row.logsumexp(0) - row[label] for row, label in zip(logits, labels.tolist(), strict=True)]
    return torch.stack(rows).mean()


def values_of(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    parameters = {name: value.detach().clone() for name, value in network.named_parameters()}
    return parameters, {name: value.clone() for name, value in network.named_buffers()}


def plain_match(
    network: nn.Module, target: dict[str, Tensor], xyz: Tensor, lr: Tensor, batches: list[Tensor]
) -> Tensor:
    """The loss as one graph over all steps, differentiable by xyz and lr."""
    start, statistics = values_of(network)
    weights = {name: value.requires_grad_() for name, value in start.items()}
    for batch in batches:
        loss = plain_loss(weights | statistics, xyz[batch], LABELS[batch])
        gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
        weights = {name: w - lr * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
    far = sum(((weights[name] - target[name]) ** 2).sum() for name in target)
    whole = sum(((start[name] - target[name]) ** 2).sum() for name in target)
    return far / whole


def near(network: Small) -> Small:
    """The same network a little way off."""
    moved = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(99)
    for value in moved.parameters():
        value.data += 0.05 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
    return moved


BATCHES = [torch.tensor([0, 4, 5]), torch.tensor([8, 1, 2, 3]), torch.tensor([5, 0, 7])]


@pytest.mark.parametrize("batches", [BATCHES, [torch.arange(9)]], ids=["batches", "all at once"])
def test_loss_and_gradients_are_those_of_the_whole_unroll(batches):
    network, lr = small(1), torch.tensor(0.2, dtype=torch.float64)
    target = near(network)
    x, rate = POINTS.clone().requires_grad_(), lr.clone().requires_grad_()
    expected = plain_match(network, dict(target.named_parameters()), x, rate, batches)
    by_points, by_rate = torch.autograd.grad(expected, (x, rate))

    flat = FlatNetwork(network, flatten(network.buffers()))
    start, end = flatten(network.parameters()), flatten(target.parameters())
    loss, gradient, by_lr = match_trajectory(flat, start, end, POINTS, LABELS, lr, batches)
    assert float(by_points.norm()) > 1e-3
    assert float(loss) == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(gradient, by_points, rtol=1e-8, atol=1e-12)
    assert float(by_lr) == pytest.approx(float(by_rate), rel=1e-8)


def test_gradients_are_the_slopes_of_the_loss():
    network, lr = small(2), torch.tensor(0.1, dtype=torch.float64)
    flat = FlatNetwork(network, flatten(network.buffers()))
    start, end = flatten(network.parameters()), flatten(near(network).parameters())

    def match(points: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return match_trajectory(flat, start, end, points, LABELS, rate, BATCHES)

    _, by_points, by_lr = match(POINTS, lr)
    h = 1e-6
    for place in by_points.abs().flatten().topk(3).indices.tolist():
        step = torch.zeros(POINTS.numel(), dtype=torch.float64)
        step[place] = h
        step = step.view_as(POINTS)
        slope = (match(POINTS + step, lr)[0] - match(POINTS - step, lr)[0]) / (2 * h)
        assert float(by_points.flatten()[place]) == pytest.approx(float(slope), rel=1e-5)
    slope = (match(POINTS, lr + h)[0] - match(POINTS, lr - h)[0]) / (2 * h)
    assert float(by_lr) == pytest.approx(float(slope), rel=1e-5)


def test_the_loss_is_one_for_a_student_that_stays_and_zero_for_one_that_arrives():
    network, lr = small(3), torch.tensor(0.1, dtype=torch.float64)
    flat = FlatNetwork(network, flatten(network.buffers()))
    start = flatten(network.parameters())
    target = start + 0.1
    stays, by_points, _ = match_trajectory(flat, start, target, POINTS, LABELS, lr * 0, BATCHES)
    assert float(stays) == 1
    assert not by_points.any()
    assert float(match_trajectory(flat, start, target, POINTS, LABELS, lr, [])[0]) == 1

    parameters, statistics = values_of(network)
    for batch in BATCHES:
        leaves = {name: value.requires_grad_() for name, value in parameters.items()}
        loss = plain_loss(leaves | statistics, POINTS[batch], LABELS[batch])
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        steps = zip(leaves.items(), gradients, strict=True)
        parameters = {name: (w - lr * g).detach() for (name, w), g in steps}
    arrived = flatten(parameters.values())
    assert float(match_trajectory(flat, start, arrived, POINTS, LABELS, lr, BATCHES)[0]) < 1e-20


def test_experts_are_those_trained_one_at_a_time():
    """Dropout never acts, norms keep their statistics, and a short last batch counts as it should."""
    clouds = PointClouds(POINTS.float(), LABELS, NAMES)
    networks = [small(seed).float() for seed in (1, 2)]
    orders = [torch.Generator().manual_seed(seed) for seed in (10, 20)]
    reported: list[tuple[int, int]] = []
    parameters, buffers = train_experts(
        networks, clouds, orders, 3, 0.1, 4, lambda *done: reported.append(done)
    )
    assert reported == [(1, 3), (2, 3), (3, 3)]
    assert parameters.shape == (2, 4, sum(value.numel() for value in networks[0].parameters()))
    for expert, seed in enumerate((10, 20)):
        order = torch.Generator().manual_seed(seed)
        weights, statistics = values_of(networks[expert].double())
        torch.testing.assert_close(buffers[expert].double(), flatten(statistics.values()))
        torch.testing.assert_close(parameters[expert, 0].double(), flatten(weights.values()))
        for epoch in range(1, 4):
            shuffled = torch.randperm(9, generator=order)
            for batch in (shuffled[:4], shuffled[4:8], shuffled[8:]):
                leaves = {name: value.requires_grad_() for name, value in weights.items()}
                loss = plain_loss(leaves | statistics, POINTS.float().double()[batch], LABELS[batch])
                gradients = torch.autograd.grad(loss, list(leaves.values()))
                pairs = zip(leaves.items(), gradients, strict=True)
                weights = {name: (w - 0.1 * g).detach() for (name, w), g in pairs}
            found = parameters[expert, epoch].double()
            assert float((found - parameters[expert, epoch - 1]).norm()) > 1e-3
            torch.testing.assert_close(found, flatten(weights.values()), rtol=1e-4, atol=1e-5)


def test_training_experts_leaves_the_networks_as_they_are():
    networks = [small(1).float()]
    before = flatten(networks[0].parameters())
    clouds = PointClouds(POINTS.float(), LABELS, NAMES)
    train_experts(networks, clouds, [torch.Generator()], 1, 0.1, 4, lambda done, total: None)
    assert torch.equal(flatten(networks[0].parameters()), before)


def test_batches_take_every_cloud_once_a_round():
    batches = shuffled_batches(7, 3, 7, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == [3, 3, 1, 3, 3, 1, 3]
    rounds = [torch.cat(batches[:3]), torch.cat(batches[3:6])]
    assert [sorted(part.tolist()) for part in rounds] == [list(range(7))] * 2
    assert rounds[0].tolist() != rounds[1].tolist()
    assert [len(batch) for batch in shuffled_batches(7, 100, 2, torch.Generator())] == [7, 7]


def test_what_diverges_is_refused():
    clouds = PointClouds(POINTS.float(), LABELS, NAMES)
    with pytest.raises(UsageError, match=r"epoch 1: choose a rate lower than 1e\+20"):
        train_experts([small(1).float()], clouds, [torch.Generator()], 2, 1e20, 4, lambda done, total: None)
    network = small(1)
    flat = FlatNetwork(network, flatten(network.buffers()))
    start = flatten(network.parameters())
    lr = torch.tensor(1e200, dtype=torch.float64)
    with pytest.raises(UsageError, match="student diverged"):
        match_trajectory(flat, start, start + 1, POINTS, LABELS, lr, BATCHES)


class WithoutNorms(nn.Module):
    """No batch norm, and a buffer that belongs to no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = Linear(3, 3)
        self.register_buffer("unit", torch.ones(1))

    def forward(self, xyz: Tensor) -> Tensor:
        return self.linear(xyz).amax(-2) * self.unit


def test_networks_without_norms_are_trained_and_matched():
    network = WithoutNorms()
    initialise(network, torch.Generator().manual_seed(1))
    clouds = PointClouds(POINTS.float(), LABELS, NAMES)
    orders = [torch.Generator().manual_seed(2)]
    parameters, buffers = train_experts([network], clouds, orders, 2, 0.1, 4, lambda *_: None)
    assert parameters.shape == (1, 3, 12)
    assert buffers.shape == (1, 0)
    batches = [torch.arange(9)]
    loss, by_clouds, _ = match_trajectory(
        FlatNetwork(network, buffers[0]),
        parameters[0, 0],
        parameters[0, 2],
        clouds.points,
        LABELS,
        torch.tensor(0.1),
        batches,
    )
    assert 0 < float(loss) < 1
    assert bool(by_clouds.any())


def test_an_expert_that_stays_where_it_was_is_refused():
    clouds = PointClouds(POINTS.float(), LABELS, NAMES)
    orders = [torch.Generator().manual_seed(2)]
    with pytest.raises(UsageError, match="moved an expert nowhere: choose a rate above 1e-30"):
        train_experts([small(0).float()], clouds, orders, 1, 1e-30, 4, lambda *_: None)
