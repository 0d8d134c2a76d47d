"""Choosing training clouds: uniformly, or greedily by their features, for all classes at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from pcbench.clouds import PointClouds
from pcbench.ops import batches
from pcbench.ops.batches import ClassIndex, groups_at_once, in_chunks
from pcbench.seeds import Streams

Initialisation = Literal["random", "noise", "herding", "kcenter"]


class FeatureNetwork(Protocol):
    """What a greedy choice needs of a backbone."""

    def eval(self) -> object: ...

    def global_feature(self, xyz: Tensor) -> Tensor: ...


def initial_clouds(
    how: Initialisation,
    clouds: PointClouds,
    ppc: int,
    streams: Streams,
    network: Callable[[], FeatureNetwork],
    selected: Callable[[], Tensor] | None = None,
) -> PointClouds:
    """The clouds that a synthetic set starts from, `ppc` per class, ordered by class: (K · ppc, N, 3).

    `random`: training clouds, uniform per class without replacement. `noise`: tanh of a standard normal.
    `herding`, `kcenter`: the coreset of that name by the global features of `network`. What is random comes
    from the stream "init", so that all methods start alike; `selected`, where it is given, gives the indices
    (K · ppc,) of the random clouds instead. Raises UsageError for a class with fewer clouds.
    """
    index = ClassIndex(clouds)
    index.require(ppc, "ppc")
    if how == "noise":
        shape = (clouds.classes * ppc, clouds.points_per_cloud, 3)
        points = torch.randn(shape, generator=streams.stream("init")).tanh().to(clouds.points.device)
        labels = torch.arange(clouds.classes, device=clouds.labels.device).repeat_interleave(ppc)
        return PointClouds(points, labels, clouds.class_names)
    if how == "random":
        chosen = selected() if selected else index.draw(ppc, streams.stream("init"), "ppc")
    else:
        greedy = {"herding": herding, "kcenter": kcenter}[how]
        chosen = greedy(global_features(network(), clouds.points), clouds.labels, index.table(), ppc)
    return clouds.select(chosen.flatten().to(clouds.labels.device))


def global_features(network: FeatureNetwork, points: Tensor) -> Tensor:
    """The pooled features of clouds (B, N, 3) -> (B, F): evaluation mode, no gradient, a chunk at a time."""
    network.eval()
    with torch.no_grad():
        size = groups_at_once(
            points.device, batches.CHUNK_POINTS // points.shape[1], batches.POINT_BYTES * points.shape[1]
        )
        return torch.cat(in_chunks(lambda part: network.global_feature(points[part]), len(points), size))


def herding(features: Tensor, labels: Tensor, table: Tensor, per_class: int) -> Tensor:
    """Herding (Welling 2009) within every class -> indices (K, per_class) int64 in the order of choice.

    features: (B, F). labels: (B,). table: as of `ClassIndex.table`. Choice i = 0, 1, … is the cloud x not yet
    chosen that minimises ‖(i + 1) μ - Σ chosen - x‖, in float64; of equal ones, the first.
    """
    mean = class_means(features, labels, len(table))
    greedy = _Greedy(table, features.device)
    target = mean.clone()
    for _ in range(per_class):
        chosen = greedy.choose(distances_to(features, labels, target))
        target += mean - features[chosen].double()
    return greedy.result()


def kcenter(features: Tensor, labels: Tensor, table: Tensor, per_class: int) -> Tensor:
    """k-center, farthest first (Sener, Savarese 2018) within every class -> indices (K, per_class) int64.

    The first is the cloud nearest to the class mean; each further one is the cloud farthest from its nearest
    chosen one, in float64; of equal ones, the first. Arguments as for `herding`.
    """
    greedy = _Greedy(table, features.device)
    chosen = greedy.choose(distances_to(features, labels, class_means(features, labels, len(table))))
    nearest = torch.full((len(features),), torch.inf, dtype=torch.float64, device=features.device)
    for _ in range(per_class - 1):
        nearest = torch.minimum(nearest, distances_to(features, labels, features[chosen].double()))
        chosen = greedy.choose(-nearest)
    return greedy.result()


class _Greedy:
    """Picks the cloud of the least score in every class, never one twice."""

    def __init__(self, table: Tensor, device: torch.device) -> None:
        self._table = table.to(device)
        self._closed = self._table < 0
        self._chosen: list[Tensor] = []

    def choose(self, scores: Tensor) -> Tensor:
        """The indices (K,) of the least of scores (B,) in every class."""
        column = scores[self._table].masked_fill(self._closed, torch.inf).argmin(1, keepdim=True)
        self._closed.scatter_(1, column, True)
        self._chosen.append(self._table.gather(1, column).squeeze(1))
        return self._chosen[-1]

    def result(self) -> Tensor:
        return torch.stack(self._chosen, 1)


def class_means(features: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Mean feature of every class in float64: (B, F), (B,) -> (K, F)."""
    total = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    for rows in _rows(features):
        total.index_add_(0, labels[rows], features[rows].double())
    return total / torch.bincount(labels, minlength=classes).unsqueeze(1)


def distances_to(features: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Squared distance of every cloud to the target of its class, in float64: target (K, F) -> (B,)."""
    parts = [(features[rows] - target[labels[rows]]).square().sum(1) for rows in _rows(features)]
    return torch.cat(parts)


def _rows(features: Tensor) -> list[slice]:
    """Shares of the rows that are small enough to be copied in float64."""
    return [slice(start, start + 4096) for start in range(0, len(features), 4096)]
