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
GEOMETRY_BYTES = 1 << 30  # what is kept of all clouds' geometry; above that it is worked out for every batch
GEOMETRY_CLOUDS = 64  # clouds whose geometry is worked out together


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
    geometry = _Geometry(network, clouds.points)
    optimiser = _sgd(network, recipe, recipe.lr)
    for epoch in range(recipe.epochs):
        order = torch.stack([torch.randperm(len(clouds), generator=g) for g in orders]).to(device)
        for batch in order.split(recipe.batch, dim=1):
            optimiser.zero_grad(set_to_none=True)
            logits = network(clouds.points[batch], *geometry.of(batch))
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
    geometry = _Geometry(network, clouds.points)
    for first in range(0, len(clouds), size):
        part = slice(first, first + size)
        points, labels = clouds.points[part], clouds.labels[part]
        shared = [values.unsqueeze(0) for values in geometry.of(part)]
        right = network(points.expand(students, *points.shape), *shared).argmax(-1) == labels
        correct.index_add_(1, labels.cpu(), right.to("cpu", torch.int64))
    return correct


class _Geometry:
    """What a network derives from the coordinates of clouds (B, N, 3), once a cloud where memory allows."""

    def __init__(self, network: Backbone, points: Tensor) -> None:
        self.network, self.points = network, points
        one = sum(values.nbytes for values in self._work_out(points[:1]))
        self.kept: list[Tensor] | None = None
        if one * len(points) <= GEOMETRY_BYTES:
            parts = [self._work_out(part) for part in points.split(GEOMETRY_CLOUDS)]
            self.kept = [torch.cat(values) for values in zip(*parts, strict=True)]

    @torch.no_grad()
    def _work_out(self, points: Tensor) -> tuple[Tensor, ...]:
        return self.network.geometry(points)

    def of(self, index: Tensor | slice) -> Sequence[Tensor]:
        """That of some clouds, with the axes of the index first."""
        if self.kept is None:
            return self._work_out(self.points[index])
        return [values[index] for values in self.kept]
