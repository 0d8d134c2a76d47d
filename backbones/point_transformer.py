"""Point Transformer (Zhao, Jiang, Jia, Torr, Koltun 2021): vector attention among ever fewer points."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.attention import GroupedVectorAttention, LargestDense, VectorAttention
from pcbench.ops.groups import NeighbourDense
from pcbench.ops.layers import (
    BatchNorm,
    Dense,
    Dropout,
    Linear,
    LinearNorm,
    columns,
    max_over_points,
    mlp,
)
from pcbench.ops.neighbours import farthest_point_sample, gather_points, nearest

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


class LightBlock(nn.Module):
    """f + F(f); F: Dense, grouped vector attention, norm and ReLU, linear with norm. A ReLU follows."""

    def __init__(self, width: int, shares: int) -> None:
        super().__init__()
        self.enter = Dense(width, width, bias=False)
        self.attention = GroupedVectorAttention(width, shares)
        self.norm = BatchNorm(width)
        self.out = LinearNorm(width, width, bias=False)

    def forward(self, xyz: Tensor, features: Tensor, index: Tensor) -> Tensor:
        """(..., N, 3), (..., N, C), neighbours (..., N, k) -> (..., N, C), signed."""
        seen = self.attention(xyz, self.enter(features), index)
        return features + self.out(torch.relu(self.norm(seen)))  # type: ignore[no-any-return]


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
        linear, norm = self._parts()
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

    light: the classifier of the method's authors' code family, with batch norms everywhere and weights shared
    by 8 channels (`GroupedVectorAttention`); linear layers have biases in attention and head alone. Of the
    [1, 2, 2, 2, 2] blocks of the levels the first is the transition, one layer and a maximum; the first level
    thus has a layer 3-32 and no attention. This follows from the number of parameters, 2,148,744 + 129 K.

    The centres of a level are the first of the level before in the order of farthest point sampling, which is
    farthest point sampling of that level, too.
    """

    name = "point_transformer"
    presets: ClassVar = {
        "paper": {"transition": "self"},
        "canonical": {"transition": "knn"},
        "light": {"light": True},
    }

    def __init__(
        self,
        classes: int,
        transition: Literal["self", "knn"] = "knn",
        hidden: int = 512,
        light: bool = False,
    ) -> None:
        """hidden: channels of attention; the light network has those of the level."""
        super().__init__(classes)
        self.light = light
        self.alone = transition == "self"
        self.activation = nn.ReLU() if light else nn.Identity()
        steps = list(pairwise(WIDTHS))
        if light:
            self.enter = mlp(3, WIDTHS[0], bias=False)
            self.transitions = nn.ModuleList(LargestDense(*step) for step in steps)
            self.blocks = nn.ModuleList(LightBlock(width, 8) for width in WIDTHS[1:])
            self.head = nn.Sequential(Dense(WIDTHS[-1], 256), Dropout(0.5), Dense(256, 128), Dropout(0.5))
            self.classifier = Linear(128, classes)
        else:
            self.enter = nn.Sequential(Linear(3, WIDTHS[0]), nn.ReLU(), Linear(WIDTHS[0], WIDTHS[0]))
            self.transitions = nn.ModuleList(
                SelfTransition(*step) if self.alone else Transition(*step) for step in steps
            )
            self.blocks = nn.ModuleList(Block(width, hidden) for width in WIDTHS)
            self.head = nn.Sequential(Linear(WIDTHS[-1], 256), nn.ReLU(), Linear(256, 64), nn.ReLU())
            self.classifier = Linear(64, classes)

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        """Indices of the second level's centres, (B, M); then of neighbours, (B, M, k), in order of use.

        These are, but in the light network, those of all points; then, for every further level, those of its
        points in the level before (transition) and in their own (attention).
        """
        xyz = xyz.detach()
        chosen = farthest_point_sample(xyz, min(CENTRES[0], xyz.shape[-2]))
        found = [chosen] if self.light else [chosen, self.neighbours(xyz, xyz)]
        centres = gather_points(xyz, chosen)
        own = chosen.unsqueeze(-1)
        for count in CENTRES:
            centres, own = centres[..., :count, :], own[..., :count, :]
            found += [own if self.alone else self.neighbours(centres, xyz), self.neighbours(centres, centres)]
            xyz = centres
            own = torch.arange(own.shape[-2], device=xyz.device).unsqueeze(-1).expand(own.shape)
        return tuple(found)

    def neighbours(self, centres: Tensor, xyz: Tensor) -> Tensor:
        return nearest(centres, xyz, min(NEIGHBOURS, xyz.shape[-2]))

    def lower(self, xyz: Tensor, *geometry: Tensor) -> tuple[Tensor, ...]:
        """The features of every level's points, signed but for the light network's first."""
        chosen, *rest = geometry or self.geometry(xyz)
        indices, blocks = iter(rest), iter(self.blocks)
        features = self.enter(xyz)
        if not self.light:
            features = next(blocks)(xyz, features, next(indices))
        levels = [features]
        centres = gather_points(xyz, chosen)
        for count, transition, block in zip(CENTRES, self.transitions, blocks, strict=True):
            centres = centres[..., :count, :]
            features = transition(xyz, self.activation(features), centres, next(indices))
            features = block(centres, features, next(indices))
            levels.append(features)
            xyz = centres
        return tuple(levels)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        return self.lower(xyz)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.lower(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.activation(self.lower(xyz, *geometry)[-1]).mean(-2)  # type: ignore[no-any-return]

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))  # type: ignore[no-any-return]
