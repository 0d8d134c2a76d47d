"""Trains and tests S networks of one backbone together, as one stacked network with one set of products.

Each student has its own weights, order of clouds and dropout, drawn from its own random streams, so that its
scores are those it would have had alone, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone
from pcbench.clouds import PointClouds
from pcbench.ops.layers import set_dropout, stack
from pcbench.protocol import Recipe
from pcbench.seeds import Streams

TEST_POINTS = 1 << 14  # points of one test chunk, all students together


def train(
    build: Callable[[torch.Generator], Backbone],
    clouds: PointClouds,
    recipe: Recipe,
    streams: Sequence[Streams],
    report: Callable[[int, int], None] | None = None,
) -> Backbone:
    """Train one student per entry of `streams` on all clouds (B, N, 3); the result is stacked.

    Streams used: `weights`, `order`, `dropout`. `report` gets the epochs done and in all.
    """
    device = clouds.points.device
    network = stack([build(stream.stream("weights")) for stream in streams]).to(device).train()
    set_dropout(network, [stream.stream("dropout") for stream in streams])
    orders = [stream.stream("order") for stream in streams]
    optimiser = _sgd(network, recipe, recipe.lr)
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(len(clouds), generator=g) for g in orders]).to(device)
        for batch in order.split(recipe.batch, dim=1):
            optimiser.zero_grad(set_to_none=True)
            logits = network(clouds.points[batch])
            student_losses(logits, clouds.labels[batch]).sum().backward()
            optimiser.step()
        if epoch == recipe.drop_after:
            optimiser = _sgd(network, recipe, recipe.lr * recipe.drop_factor)
        if report is not None:
            report(epoch + 1, recipe.epochs)
    return network


def student_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of each student: logits (S, B, K), labels (S, B) -> (S,)."""
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view_as(labels).mean(1)


def _sgd(network: Backbone, recipe: Recipe, lr: float) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        network.parameters(), lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=True
    )


@torch.inference_mode()
def count_correct(network: Backbone, clouds: PointClouds, students: int) -> Tensor:
    """Test clouds that each of S stacked students classifies rightly, per class: (S, K) int64, exact."""
    network.eval()
    correct = torch.zeros(students, clouds.classes, dtype=torch.int64)
    size = max(1, TEST_POINTS // (students * clouds.points_per_cloud))
    for points, labels in zip(clouds.points.split(size), clouds.labels.split(size), strict=True):
        right = network(points.expand(students, *points.shape)).argmax(-1) == labels
        correct.index_add_(1, labels.cpu(), right.to("cpu", torch.int64))
    return correct
