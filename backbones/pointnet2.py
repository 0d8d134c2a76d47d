"""PointNet++ (Qi, Yi, Su, Guibas 2017): PointNets on the balls around fewer and fewer points, then on all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import Dense, Dropout, Linear, LinearNorm, mlp
from pcbench.ops.neighbours import ball_query, farthest_point_sample, gather_points

from ._convolution import dense_by_moments
from ._groups import NeighbourDense
from ._rows import Affine, in_evaluation, largest_in_parts

Scale: TypeAlias = tuple[float, int, tuple[int, ...]]
"""Radius of the balls (the cloud's is 1), the most neighbours in one, widths of the shared MLP."""

Level: TypeAlias = tuple[int, tuple[Scale, ...]]
"""Number of centres, and the scales at which each is seen."""


class BallNet(nn.Module):
    """A shared MLP on the neighbours of every centre and their maximum: one scale of a set abstraction."""

    def __init__(self, features: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.first = NeighbourDense(features, widths[0])
        self.middle = mlp(*widths[:-1])
        self.last = Dense(widths[-2], widths[-1])

    def forward(self, xyz: Tensor, features: Tensor | None, centres: Tensor, index: Tensor) -> Tensor:
        """(B, N, 3), (B, N, C) or none, (B, M, 3), indices of neighbours (B, M, k) -> (B, M, D)."""
        if in_evaluation(self):
            units = [Affine.of(unit) for unit in (*self.middle, self.last)]
            terms = self.first.terms(xyz, features, centres)
            return largest_in_parts(*terms, index, units, self.first.parts()[0].stacked)
        if features is None:  # three numbers a neighbour are cheaper to gather than a layer's width
            seen = dense_by_moments(self.first, gather_points(xyz, index) - centres.unsqueeze(-2))
        else:
            seen = self.first.of_neighbours(xyz, features, centres, index)
        return self.last.max_over_points(self.middle(seen))


class SetAbstraction(nn.ModuleList):
    """Ball nets of one or several scales on the same centres, their features joined (Qi et al. 2017, 3.3)."""

    def forward(
        self, xyz: Tensor, features: Tensor | None, indices: Iterator[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """The centres (B, M, 3) and their features; indices: of the centres, then of neighbours a scale."""
        centres = gather_points(xyz, next(indices))
        seen = [ball(xyz, features, centres, next(indices)) for ball in self]
        return centres, torch.cat(seen, -1)


class PointNet2(Backbone):
    """PointNet++: set abstraction over balls of one or several radii, then a PointNet (Qi et al. 2017).

    `canonical` is its paper's SSG (one radius a level), `msg` its MSG (three), `paper` about half of MSG.
    A ball keeps its first neighbours in order of index, so that logits depend on the order of the points
    where a ball holds more of them than it keeps; the centres do not.
    """

    name = "pointnet2"
    presets: ClassVar = {
        "paper": {
            "levels": (
                (256, ((0.1, 8, (16, 16, 32)), (0.2, 16, (32, 32, 64)), (0.4, 32, (32, 48, 64)))),
                (64, ((0.2, 8, (32, 32, 64)), (0.4, 16, (64, 64, 128)), (0.8, 32, (64, 64, 128)))),
            ),
            "widths": (128, 256, 512, 256, 128),
            "dropout": (0.4, 0.5),
        },
        "canonical": {
            "levels": ((512, ((0.2, 32, (64, 64, 128)),)), (128, ((0.4, 64, (128, 128, 256)),))),
            "widths": (256, 512, 1024, 512, 256),
            "dropout": (0.4, 0.4),
        },
        "msg": {
            "levels": (
                (512, ((0.1, 16, (32, 32, 64)), (0.2, 32, (64, 64, 128)), (0.4, 128, (64, 96, 128)))),
                (128, ((0.2, 32, (64, 64, 128)), (0.4, 64, (128, 128, 256)), (0.8, 128, (128, 128, 256)))),
            ),
            "widths": (256, 512, 1024, 512, 256),
            "dropout": (0.4, 0.5),
        },
    }

    def __init__(
        self,
        classes: int,
        levels: tuple[Level, ...],
        widths: tuple[int, int, int, int, int],
        dropout: tuple[float, float],
    ) -> None:
        """widths: of the three layers of the last PointNet and of the two of the head."""
        super().__init__(classes)
        self.levels = levels
        self.abstractions = nn.ModuleList()
        features = 0
        for _, scales in levels:
            self.abstractions.append(SetAbstraction(BallNet(features, units) for _, _, units in scales))
            features = sum(units[-1] for _, _, units in scales)
        a, b, pooled, c, d = widths
        self.high = mlp(3 + features, a, b)
        self.last = LinearNorm(b, pooled)
        self.head = nn.Sequential(Dense(pooled, c), Dropout(dropout[0]), Dense(c, d), Dropout(dropout[1]))
        self.classifier = Linear(d, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Indices of every level: its M centres, (B, M), and for each scale their neighbours, (B, M, k)."""
        xyz, found = xyz.detach(), []
        for number, scales in self.levels:
            points = xyz.shape[-2]
            found.append(farthest_point_sample(xyz, min(number, points)))
            centres = gather_points(xyz, found[-1])
            found += [ball_query(centres, xyz, radius, min(k, points)) for radius, k, _ in scales]
            xyz = centres
        return tuple(found)

    def lower(self, xyz: Tensor, *geometry: Tensor) -> tuple[Tensor, ...]:
        """The features of the centres of every level, then the input of the last pooled layer."""
        indices = iter(geometry or self.geometry(xyz))
        features: Tensor | None = None
        layers: list[Tensor] = []
        for level in self.abstractions:
            xyz, features = level(xyz, features, indices)
            layers.append(features)
        return *layers, self.high(torch.cat([xyz, layers[-1]], -1))

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        *layers, high = self.lower(xyz)
        return *layers, self.last(high)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return torch.relu(self.last.max_over_points(self.lower(xyz, *geometry)[-1]))

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))  # type: ignore[no-any-return]
