"""Point Transformer (Zhao, Jiang, Jia, Torr, Koltun 2021): vector attention among ever fewer points."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import (
    Dense,
    Linear,
    columns,
    max_over_points,
)
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

from ._attention import VectorAttention
from ._groups import NeighbourDense

WIDTHS = (32, 64, 128, 256, 512)
CENTRES = (256, 64, 16, 4)
"""Points of the second to the fifth level, for clouds of 1024: a quarter each time."""
NEIGHBOURS = 16


class Block(nn.Module):
    """f + W y + b, where y is the vector attention of f in `hidden` channels; no norm (Sec. 3.3)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.attention = VectorAttention(width, hidden)
        self.out = Linear(hidden, width)

    def forward(self, xyz: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """(..., N, 3), (..., N, C), neighbours (..., N, k) -> (..., N, C), signed."""
        return features + self.out(self.attention(xyz, features, index))  # type: ignore[no-any-return]


class Transition(nn.Module):
    """From points to fewer: two Dense units on a centre's neighbours, and their largest values (Sec. 3.4)."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.first, self.second = NeighbourDense(features, width), Dense(width, width)

    def forward(self, xyz: Tensor, features: Tensor, centres: Tensor, index: Tensor) -> Tensor:
        """(..., N, 3), (..., N, C), (..., M, 3), neighbours (..., M, k) -> (..., M, D)."""
        return max_over_points(self.second(self.first.of_neighbours(xyz, features, centres, index)))


class CopyDense(Dense):
    """A Dense unit for NEIGHBOURS copies of every value: one is computed, all count in the statistics."""

    def forward(self, x: Tensor) -> Tensor:
        linear, norm = self.parts()
        count = columns(x, linear.stacked).shape[2]
        if not norm.training or count == 1:
            return super().forward(x)
        y = linear(x)
        variance, mean = torch.var_mean(columns(y, linear.stacked), 2, correction=0)
        mean, variance = mean.view_as(norm.weight), variance.view_as(norm.weight)
        return torch.relu(norm.from_moments(y, mean, variance, NEIGHBOURS * count))


class SelfTransition(nn.Module):
    """A transition whose neighbours are the centre itself: relative coordinates are 0, all values equal."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.units = nn.Sequential(CopyDense(3 + features, width), CopyDense(width, width))

    def forward(self, xyz: Tensor, features: Tensor, centres: Tensor, index: Tensor) -> Tensor:  # noqa: ARG002
        """index: the centres themselves, (..., M, 1)."""
        return self.units(F.pad(gather_points(features, index.squeeze(-1)), (3, 0)))  # type: ignore[no-any-return]


class PointTransformer(Backbone):
    """Point Transformer: vector attention over neighbours at five levels, then a mean (Zhao et al. 2021).

    transition="self", in the preset `paper`, is how the network runs in the code of the SADM paper's authors:
    the search for neighbours is off in the transitions, where the number of points falls, so that the 16
    "neighbours" of a centre are 16 times the centre itself. With "knn" they are its nearest 16. Attention is
    among the nearest 16 in both.

    The centres of a level are the first of the level before in the order of farthest point sampling, which is
    farthest point sampling of that level, too.
    """

    name = "point_transformer"
    presets: ClassVar = {
        "paper": {"transition": "self"},
        "canonical": {"transition": "knn"},
    }

    def __init__(self, classes: int, transition: Literal["self", "knn"] = "knn", hidden: int = 512) -> None:
        """hidden: channels of attention."""
        super().__init__(classes)
        self.alone = transition == "self"
        self.enter = nn.Sequential(Linear(3, WIDTHS[0]), nn.ReLU(), Linear(WIDTHS[0], WIDTHS[0]))
        self.transitions = nn.ModuleList(
            SelfTransition(*step) if self.alone else Transition(*step) for step in pairwise(WIDTHS)
        )
        self.blocks = nn.ModuleList(Block(width, hidden) for width in WIDTHS)
        self.head = nn.Sequential(Linear(WIDTHS[-1], 256), nn.ReLU(), Linear(256, 64), nn.ReLU())
        self.classifier = Linear(64, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Indices of the second level's centres, (B, M); then of neighbours, (B, M, k), in order of use.

        These are those of all points; then, for every further level, those of its points in the level before
        (transition) and in their own (attention).
        """
        xyz = xyz.detach()
        chosen = farthest_point_sample(xyz, min(CENTRES[0], xyz.shape[-2]))
        indices = [chosen, self.neighbours(xyz, xyz)]
        centres = gather_points(xyz, chosen)
        own = chosen.unsqueeze(-1)
        for count in CENTRES:
            centres, own = centres[..., :count, :], own[..., :count, :]
            indices += [
                own if self.alone else self.neighbours(centres, xyz),
                self.neighbours(centres, centres),
            ]
            xyz = centres
            own = torch.arange(own.shape[-2], device=xyz.device).unsqueeze(-1).expand(own.shape)
        return tuple(indices)

    def neighbours(self, centres: Tensor, xyz: Tensor) -> Tensor:
        return nearest(centres, xyz, min(NEIGHBOURS, xyz.shape[-2]))

    def lower(self, xyz: Tensor, *geometry: Tensor) -> tuple[Tensor, ...]:
        """The features of every level's points, signed."""
        chosen, *rest = geometry or self.geometry(xyz)
        indices, blocks = iter(rest), iter(self.blocks)
        features = next(blocks)(xyz, self.enter(xyz), next(indices))
        levels = [features]
        centres = gather_points(xyz, chosen)
        for count, transition, block in zip(CENTRES, self.transitions, blocks, strict=True):
            centres = centres[..., :count, :]
            features = transition(xyz, features, centres, next(indices))
            features = block(centres, features, next(indices))
            levels.append(features)
            xyz = centres
        return tuple(levels)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        return self.lower(xyz)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.lower(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.lower(xyz, *geometry)[-1].mean(-2)

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))  # type: ignore[no-any-return]
