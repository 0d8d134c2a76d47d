"""Gradient matching against a small plain network in float64, class by class, layer by layer, row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pcbench.ops import gradients
from pcbench.ops.gradients import (
    class_gradients,
    differentiable_copies,
    gradient_distance,
    match_gradients,
)
from pcbench.ops.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Linear,
    LinearNorm,
    adapt_batch_norm,
    initialise,
    max_over_points,
)

CLASSES = 5
METRICS = ["ours", "mse", "cos"]


class Small(nn.Module):
    """A shared layer over points, a maximum, and a head with every kind of layer that backbones have."""

    def __init__(self) -> None:
        super().__init__()
        self.points = nn.Sequential(Dense(3, 8), LinearNorm(8, 12))
        self.hidden, self.dropout, self.norm = Linear(12, 7), Dropout(0.5), BatchNorm(7)
        self.classifier = Linear(7, CLASSES)

    def forward(self, xyz: Tensor) -> Tensor:
        x = max_over_points(self.points(xyz))
        return self.classifier(torch.relu(self.norm(self.dropout(self.hidden(x)))))


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def small(seed: int = 0) -> Small:
    """In float64, with weights of order one, so that gradients are far above the metric's 1e-6."""
    network = Small()
    initialise(network, torch.Generator().manual_seed(seed))
    network.double()
    adapt_batch_norm(network, draw(20, 6, 3, seed=7), momentum=0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2)
    return network


def clouds_of(n: int, seed: int) -> Tensor:
    """Clouds (K, n, 6, 3), those of class c stretched by c."""
    return draw(CLASSES, n, 6, 3, seed=seed) * torch.arange(1.0, CLASSES + 1).view(-1, 1, 1, 1)


def plain_norm(values: dict[str, Tensor], name: str, y: Tensor) -> Tensor:
    y = (y - values[f"{name}.running_mean"]) / (values[f"{name}.running_var"] + 1e-5).sqrt()
    return y * values[f"{name}.weight"] + values[f"{name}.bias"]


def plain_linear(values: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return x @ values[f"{name}.weight"].T + values[f"{name}.bias"]


def plain_loss(values: dict[str, Tensor], clouds: Tensor, label: int) -> Tensor:
    """The mean of -log of the right class's share, cloud by cloud, with statistics frozen and no dropout."""
    total = torch.zeros(()).double()
    for cloud in clouds:
        x = plain_norm(values, "points.0.1", plain_linear(values, "points.0.0", cloud))
        x = x * (x > 0)
        x = plain_norm(values, "points.1.1", plain_linear(values, "points.1.0", x)).amax(0)
        x = plain_norm(values, "norm", plain_linear(values, "hidden", x))
        x = x * (x > 0)
        logits = plain_linear(values, "classifier", x)
        total = total - logits[label] + logits.exp().sum().log()
    return total / len(clouds)


def plain_gradients(network: nn.Module, clouds: Tensor, label: int) -> list[Tensor]:
    values = {name: value.detach().clone() for name, value in network.state_dict().items()}
    names = [name for name, _ in network.named_parameters()]
    for name in names:
        values[name].requires_grad_()
    loss = plain_loss(values, clouds, label)
    return list(torch.autograd.grad(loss, [values[name] for name in names], create_graph=True))


def plain_cosine(a: Tensor, b: Tensor) -> Tensor:
    if not a.any() or not b.any():
        return torch.zeros(()).double()
    return (a * b).sum() / ((a * a).sum().sqrt() * (b * b).sum().sqrt() + 1e-6)


def plain_distance(real: list[Tensor], synthetic: list[Tensor], metric: str) -> Tensor:
    """The card's distance of one class's gradients."""
    total = torch.zeros(()).double()
    if metric == "cos":
        return 1 - plain_cosine(
            torch.cat([g.flatten() for g in real]), torch.cat([g.flatten() for g in synthetic])
        )
    for r, s in zip(real, synthetic, strict=True):
        if metric == "mse":
            total = total + ((r - s) ** 2).sum()
        elif r.dim() == 2:
            for row_r, row_s in zip(r, s, strict=True):
                total = total + 1 - plain_cosine(row_r, row_s)
    return total


def plain_match(network: nn.Module, real: Tensor, synthetic: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    leaf = synthetic.clone().requires_grad_()
    distances = []
    for c in range(CLASSES):
        target = [gradient.detach() for gradient in plain_gradients(network, real[c], c)]
        distances.append(plain_distance(target, plain_gradients(network, leaf[c], c), metric))
    losses = torch.stack(distances)
    return losses.detach(), torch.autograd.grad(losses.sum(), leaf)[0]


@pytest.mark.parametrize("n", [1, 4])
def test_a_stacked_copy_has_the_gradients_of_its_class_alone(n):
    network, clouds = small(), clouds_of(n, seed=1)
    copies = differentiable_copies(network, CLASSES, "mse")
    found = class_gradients(copies, clouds, torch.arange(CLASSES))
    assert len(found) == len(list(network.parameters()))
    for c in range(CLASSES):
        for ours, theirs in zip(found, plain_gradients(network, clouds[c], c), strict=True):
            torch.testing.assert_close(ours[c], theirs.detach(), rtol=1e-9, atol=1e-13)


def test_gradients_follow_the_labels_not_the_places():
    network, clouds = small(), clouds_of(3, seed=1)
    copies = differentiable_copies(network, 2, "mse")
    found = class_gradients(copies, clouds[[3, 1]], torch.tensor([3, 1]))
    for place, c in enumerate((3, 1)):
        for ours, theirs in zip(found, plain_gradients(network, clouds[c], c), strict=True):
            torch.testing.assert_close(ours[place], theirs.detach(), rtol=1e-9, atol=1e-13)


def test_only_what_the_metric_compares_is_differentiated():
    network = small()
    clouds, labels = clouds_of(2, seed=1), torch.arange(CLASSES)
    matrices = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
    for metric, shapes in (("ours", matrices), ("cos", [tuple(p.shape) for p in network.parameters()])):
        found = class_gradients(differentiable_copies(network, CLASSES, metric), clouds, labels)
        assert [tuple(gradient.shape[1:]) for gradient in found] == shapes


@pytest.mark.parametrize("metric", METRICS)
def test_the_distance_of_drawn_gradients_is_that_of_the_card(metric):
    shapes = [(4, 3), (4,), (2, 4, 1), (2,)]
    real = [draw(CLASSES, *shape, seed=i) for i, shape in enumerate(shapes)]
    synthetic = [draw(CLASSES, *shape, seed=9 + i) for i, shape in enumerate(shapes)]
    real[0][1, 2] = 0
    found = gradient_distance(real, synthetic, metric)
    for c in range(CLASSES):
        rows = [[g[c].flatten(1) if g[c].dim() > 1 else g[c] for g in side] for side in (real, synthetic)]
        assert float(found[c]) == pytest.approx(float(plain_distance(*rows, metric)), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("m", [1, 3])
def test_losses_and_gradients_match_the_oracle(metric, m):
    network, real, synthetic = small(), clouds_of(4, seed=1), clouds_of(m, seed=2)
    losses, gradient = match_gradients(network, real, synthetic, metric)
    expected, expected_gradient = plain_match(network, real, synthetic, metric)
    torch.testing.assert_close(losses, expected, rtol=1e-9, atol=1e-13)
    assert not losses.requires_grad
    assert float((gradient - expected_gradient).norm() / expected_gradient.norm()) < 1e-9


@pytest.mark.parametrize("metric", METRICS)
def test_float32_is_near_the_oracle(metric):
    """Where a class is nearly certain, its rows are small and their direction loses digits."""
    network, real, synthetic = small(), clouds_of(4, seed=1), clouds_of(2, seed=2)
    expected, expected_gradient = plain_match(network, real, synthetic, metric)
    losses, gradient = match_gradients(network.float(), real.float(), synthetic.float(), metric)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-4, atol=1e-5)
    assert float((gradient.double() - expected_gradient).norm() / expected_gradient.norm()) < 1e-3


@pytest.mark.parametrize("metric", METRICS)
def test_the_gradient_by_finite_differences(metric):
    """Of the distance of every class, at every coordinate of its clouds."""
    network, real, synthetic = small(), clouds_of(3, seed=1), clouds_of(2, seed=2)
    _, gradient = match_gradients(network, real, synthetic, metric)
    step = 1e-6
    found = torch.zeros(CLASSES, 2 * 6 * 3).double()
    for i in range(found.shape[1]):
        shift = torch.zeros_like(synthetic).flatten(1)
        shift[:, i] = step
        shift = shift.view_as(synthetic)
        up, down = (match_gradients(network, real, synthetic + s * shift, metric)[0] for s in (1, -1))
        found[:, i] = (up - down) / (2 * step)
    assert float((gradient.flatten(1) - found).norm() / found.norm()) < 1e-6


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("bound", "value", "calls"),
    [("CHUNK_POINTS", 1, 5), ("CHUNK_POINTS", 72, 3), ("CHUNK_WEIGHTS", 1, 5), ("CHUNK_WEIGHTS", 1000, 2)],
)
def test_any_chunk_of_classes_gives_the_same(metric, bound, value, calls, monkeypatch):
    network, real, synthetic = small(), clouds_of(4, seed=1), clouds_of(2, seed=2)
    whole = match_gradients(network, real, synthetic, metric)
    weights = sum(p.numel() for p in network.parameters())
    assert 250 < weights < 1000 / 3
    sizes = []

    def counted(copies: nn.Module, clouds: Tensor, *rest, **options):
        sizes.append(len(clouds))
        return class_gradients(copies, clouds, *rest, **options)

    monkeypatch.setattr(gradients, "class_gradients", counted)
    monkeypatch.setattr(gradients, "FEWEST_POINTS", 1)
    monkeypatch.setattr(gradients, bound, value)
    for ours, theirs in zip(match_gradients(network, real, synthetic, metric), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)
    assert len(sizes) == 2 * calls
    assert sum(sizes) == 2 * CLASSES


def test_real_clouds_are_at_no_distance_from_themselves():
    """`ours` counts a row of zeros, of a unit that is never active, as 1; the 1e-6 costs little elsewhere."""
    network, real = small(), clouds_of(3, seed=1)
    losses, gradient = match_gradients(network, real, real, "mse")
    assert losses.tolist() == [0] * CLASSES
    assert not gradient.any()
    torch.testing.assert_close(
        match_gradients(network, real, real, "cos")[0], torch.zeros(CLASSES).double(), atol=1e-5, rtol=0
    )
    for c, loss in enumerate(match_gradients(network, real, real, "ours")[0].tolist()):
        matrices = [gradient for gradient in plain_gradients(network, real[c], c) if gradient.dim() == 2]
        rest = sum(
            1e-6 / (float(row.detach().square().sum()) + 1e-6) for matrix in matrices for row in matrix
        )
        assert loss == pytest.approx(rest, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
def test_moving_points_about_in_a_cloud_moves_the_gradient_alike(metric):
    network, real, synthetic = small(), clouds_of(3, seed=1), clouds_of(2, seed=2)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(4))
    losses, gradient = match_gradients(network, real, synthetic, metric)
    moved_losses, moved = match_gradients(network, real[:, [2, 0, 1]], synthetic[:, :, order], metric)
    torch.testing.assert_close(moved_losses, losses, rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(moved, gradient[:, :, order], rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_network_without_a_gradient_gives_a_finite_one(metric):
    """Points that activate no unit: all norms are zero, where a square root has no slope."""
    network, real = small(), clouds_of(2, seed=1)
    with torch.no_grad():
        network.norm.bias.fill_(-1e3)
    losses, gradient = match_gradients(network, real, real + 0.1, metric)
    assert all(map(math.isfinite, losses.tolist()))
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_the_network_is_left_as_it_is():
    network = small().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    match_gradients(network, clouds_of(2, seed=1), clouds_of(1, seed=2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(module.training for module in network.modules())
