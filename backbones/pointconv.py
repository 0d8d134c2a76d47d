"""PointConv (Wu, Qi, Fuxin 2019): convolutions whose weights are a function of place, evened out by density."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.convolution import gaussian_density, weighted_sums
from pcbench.ops.groups import NeighbourDense
from pcbench.ops.layers import BatchNorm, Dense, Dropout, Linear, LinearNorm, mlp
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

Level: TypeAlias = tuple[int, int, float]
"""Number of centres, neighbours of each, and the bandwidth of the density of the points it groups."""

LEVELS: tuple[Level, ...] = ((512, 32, 0.1), (128, 64, 0.2))
LAST_BANDWIDTH = 0.4
WIDTHS = ((64, 64, 128), (128, 128, 256), (256, 512, 1024))
WEIGHTS = 16


class Convolution(nn.Module):
    """Features of neighbours, times density scale and weights, summed, and mixed (Wu et al. 2019, Sec. 3)."""

    def __init__(
        self, features: int, widths: tuple[int, int, int], density: Literal["relu", "sigmoid"]
    ) -> None:
        super().__init__()
        a, b, c = widths
        self.first, self.middle, self.last = NeighbourDense(features, a), Dense(a, b), LinearNorm(b, c)
        self.weights = mlp(3, 8, 8, WEIGHTS)
        end = nn.ReLU() if density == "relu" else nn.Sigmoid()
        self.density = nn.Sequential(*mlp(1, 16, 8), LinearNorm(8, 1), end)
        self.out = nn.Sequential(Linear(WEIGHTS * c, c), BatchNorm(c), nn.ReLU())

    def forward(self, seen: Tensor, relative: Tensor, density: Tensor) -> Tensor:
        """What `first` gives (B, M, k, a), relative coordinates (B, M, k, 3), densities (B, M, k) -> (B, M, c).

        The scale that a group's densities give belongs to its features; taken by the weights it costs less.
        """
        inverse = density.amin(-1, keepdim=True) / density
        scale = self.density(inverse.expand(relative.shape[:-1]).unsqueeze(-1))
        return self.out(weighted_sums(self.last, self.middle(seen), self.weights(relative) * scale))


class PointConv(Backbone):
    """PointConv: density-weighted continuous convolutions over nearest neighbours (Wu, Qi, Fuxin 2019).

    density: what its density network ends in. With "relu", as in the public code, an untrained network that
    is not in training mode gives every cloud the same logits in about three of ten draws: it scales all
    features by 0. "sigmoid" is what was meant.
    """

    name = "pointconv"
    presets: ClassVar = {"paper": {"density": "relu"}, "canonical": {"density": "sigmoid"}}
    widths = WIDTHS
    dropout = 0.7

    def __init__(self, classes: int, density: Literal["relu", "sigmoid"]) -> None:
        super().__init__(classes)
        inputs = (0, *(widths[-1] for widths in self.widths[:-1]))
        self.convolutions = nn.ModuleList(
            Convolution(features, widths, density)
            for features, widths in zip(inputs, self.widths, strict=True)
        )
        pooled = self.widths[-1][-1]
        self.head = nn.Sequential(
            Dense(pooled, pooled // 2),
            Dropout(self.dropout),
            Dense(pooled // 2, pooled // 4),
            Dropout(self.dropout),
        )
        self.classifier = Linear(pooled // 4, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Of every level its M centres (B, M), their neighbours (B, M, k) and the density of its points (B, N).

        Then the density of the points of the last level, which is one group.
        """
        found = []
        for number, k, bandwidth in LEVELS:
            points = xyz.shape[-2]
            chosen = farthest_point_sample(xyz, min(number, points))
            centres = gather_points(xyz, chosen)
            found += [chosen, nearest(centres, xyz, min(k, points)), gaussian_density(xyz, bandwidth)]
            xyz = centres
        return *found, gaussian_density(xyz, LAST_BANDWIDTH)

    def lower(self, xyz: Tensor, *geometry: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """The features of the centres of every level, and what the last convolution takes."""
        *levels, last = geometry or self.geometry(xyz)
        features, layers = None, []
        *convolutions, top = self.convolutions
        for i, convolution in enumerate(convolutions):
            chosen, index, density = levels[3 * i : 3 * i + 3]
            centres = gather_points(xyz, chosen)
            relative = gather_points(xyz, index) - centres.unsqueeze(-2)
            seen = convolution.first.of_neighbours(xyz, features, centres, index)
            grouped = gather_points(density.unsqueeze(-1), index).squeeze(-1)
            xyz, features = centres, convolution(seen, relative, grouped)
            layers.append(features)
        relative = (xyz - xyz.mean(-2, keepdim=True)).unsqueeze(-3)
        seen = top.first(torch.cat([relative, layers[-1].unsqueeze(-3)], -1))
        return layers, (seen, relative, last.unsqueeze(-2))

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        layers, (seen, _, _) = self.lower(xyz)
        top = self.convolutions[-1]
        return *layers, top.last(top.middle(seen)).squeeze(-3)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.convolutions[-1](*self.lower(xyz, *geometry)[1]).squeeze(-2)

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))
