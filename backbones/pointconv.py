"""PointConv (Wu, Qi, Fuxin 2019): convolutions whose weights follow from place, evened out by density."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import BatchNorm, Dense, Dropout, Linear, LinearNorm, mlp
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

from ._convolution import dense_by_moments, gaussian_density, linear_of_rows, weighted_sums
from ._groups import NeighbourDense

End: TypeAlias = Literal["relu", "sigmoid"]
"""What the density network ends in."""

WEIGHTS = 16
"""What a convolution weighs every neighbour by, before it mixes the sums."""


class Convolution(nn.Module):
    """Features of neighbours times density scale times weights, summed and mixed (Wu et al. 2019, Sec. 3)."""

    def __init__(self, features: int, widths: tuple[int, int, int], end: End) -> None:
        super().__init__()
        a, b, c = widths
        self.first, self.middle, self.last = NeighbourDense(features, a), Dense(a, b), LinearNorm(b, c)
        self.weights = mlp(3, 8, 8, WEIGHTS)
        self.density = nn.Sequential(
            *mlp(1, 16, 8), LinearNorm(8, 1), nn.ReLU() if end == "relu" else nn.Sigmoid()
        )
        self.mix, self.norm = Linear(WEIGHTS * c, c), BatchNorm(c)

    def forward(self, seen: Tensor, relative: Tensor, density: Tensor) -> Tensor:
        """Features (B, M, k, b), relative coordinates (B, M, k, 3), densities (B, M, k) -> (B, M, c).

        The features are those before `last`, to whose outputs the scale belongs; the weights, of which there
        are fewer, take it.
        """
        inverse = density.amin(-1, keepdim=True) / density
        scale = self.density(inverse.expand(relative.shape[:-1]).unsqueeze(-1))
        sums = weighted_sums(self.last, seen, self.weights(relative) * scale)
        return torch.relu(self.norm(linear_of_rows(self.mix, sums)))


class PointConv(Backbone):
    """PointConv: density-weighted continuous convolutions over nearest neighbours (Wu, Qi, Fuxin 2019).

    density: what the density network ends in. "relu" is a defect of the public code: nearly half of all
    untrained networks (47 % of 1000), outside training mode, scale every feature of the last level by 0 and
    give all clouds the same logits. "sigmoid" is what was meant.
    """

    name = "pointconv"
    presets: ClassVar = {"paper": {"density": "relu"}, "canonical": {"density": "sigmoid"}}
    levels: ClassVar = ((512, 32), (128, 64))  # centres, neighbours of each
    bandwidths: ClassVar = (0.1, 0.2, 0.4)
    widths: ClassVar = ((64, 64, 128), (128, 128, 256), (256, 512, 1024))
    dropout: ClassVar = 0.7

    def __init__(self, classes: int, density: End = "relu") -> None:
        super().__init__(classes)
        low, high, top = self.widths
        self.low, self.high = Convolution(0, low, density), Convolution(low[-1], high, density)
        self.top = Convolution(high[-1], top, density)
        a, b, c = top[-1], top[-1] // 2, top[-1] // 4
        self.head = nn.Sequential(Dense(a, b), Dropout(self.dropout), Dense(b, c), Dropout(self.dropout))
        self.classifier = Linear(c, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Twice: centres (B, M), their neighbours (B, M, k), density of all points (B, N); the last density.

        Densities are differentiable.
        """
        found = []
        for (number, k), bandwidth in zip(self.levels, self.bandwidths, strict=False):
            points = xyz.shape[-2]
            chosen = farthest_point_sample(xyz, min(number, points))
            centres = gather_points(xyz, chosen)
            found += [chosen, nearest(centres, xyz, min(k, points)), gaussian_density(xyz, bandwidth)]
            xyz = centres
        return *found, gaussian_density(xyz, self.bandwidths[-1])

    def lower(self, xyz: Tensor, *geometry: Tensor) -> tuple[list[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """The features of the centres of both levels, and what the last convolution takes.

        The first layer of all has three inputs, the last level no centre: both take what they see as it is.
        """
        *levels, last = geometry or self.geometry(xyz)
        features: list[Tensor] = []
        for i, level in enumerate((self.low, self.high)):
            chosen, index, density = levels[3 * i : 3 * i + 3]
            centres = gather_points(xyz, chosen)
            relative = gather_points(xyz, index) - centres.unsqueeze(-2)
            if features:
                seen = level.first.of_neighbours(xyz, features[-1], centres, index)
            else:
                seen = dense_by_moments(level.first, relative)
            grouped = gather_points(density.unsqueeze(-1), index).squeeze(-1)
            features.append(level(level.middle(seen), relative, grouped))
            xyz = centres
        relative = xyz - xyz.mean(-2, keepdim=True)
        seen = self.top.middle(self.top.first(torch.cat([relative, features[-1]], -1)))
        return features, (seen.unsqueeze(-3), relative.unsqueeze(-3), last.unsqueeze(-2))

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        features, (seen, _, _) = self.lower(xyz)
        return *features, self.top.last(seen.squeeze(-3))

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.top(*self.lower(xyz, *geometry)[1]).squeeze(-2)  # type: ignore[no-any-return]

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))  # type: ignore[no-any-return]
