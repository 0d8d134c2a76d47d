"""PointNet (Qi, Su, Mo, Guibas 2017): a shared MLP over points, a maximum, and a classifier."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import BatchNorm, Dense, Dropout, Linear, LinearNorm, mlp


class Transform(nn.Module):
    """A learned matrix per cloud, the identity plus what the network adds (Qi et al. 2017, Sec. 4.2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.local = mlp(width, 64, 128, 1024)
        self.head = nn.Sequential(*mlp(1024, 512, 256), Linear(256, width * width))

    def matrix(self, x: Tensor) -> Tensor:
        """x (B, N, width) -> (B, width, width)."""
        *units, last = self.local
        for unit in units:
            x = unit(x)
        assert isinstance(last, Dense)
        entries = self.head(last.max_over_points(x))
        added: Tensor = entries.unflatten(-1, (self.width, self.width))
        return added + torch.eye(self.width, device=x.device, dtype=x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.matrix(x)


class PointNet(Backbone):
    """PointNet: a shared MLP over the points, max pooling, and a three-layer classifier (Qi et al. 2017)."""

    name = "pointnet"
    presets: ClassVar = {
        "paper": {"feature_transform": False, "dropout": 0.3},
        "canonical": {"feature_transform": True, "dropout": 0.4},
    }

    def __init__(self, classes: int, feature_transform: bool = False, dropout: float = 0.3) -> None:
        super().__init__(classes)
        self.input_transform = Transform(3)
        self.low = mlp(3, 64)
        self.feature_transform = Transform(64) if feature_transform else nn.Identity()
        self.high = nn.Sequential(Dense(64, 128), LinearNorm(128, 1024))
        self.head = nn.Sequential(
            Dense(1024, 512), Linear(512, 256), Dropout(dropout), BatchNorm(256), nn.ReLU()
        )
        self.classifier = Linear(256, classes)

    @property
    def last(self) -> LinearNorm:
        """The layer before the maximum."""
        layer = self.high[1]
        assert isinstance(layer, LinearNorm)
        return layer

    def lower(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """The features after the first and the second layer, (B, N, 64) and (B, N, 128)."""
        low = self.feature_transform(self.low(self.input_transform(xyz)))
        return low, self.high[0](low)

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        low, middle = self.lower(xyz)
        return low, middle, self.last(middle)

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def observe(self, xyz: Tensor) -> None:
        self.last.observe(self.lower(xyz)[1])

    def global_feature(self, xyz: Tensor) -> Tensor:
        return self.last.max_over_points(self.lower(xyz)[1])

    def embed(self, xyz: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:  # noqa: ARG002
        return self.classifier(self.embed(xyz))  # type: ignore[no-any-return]
