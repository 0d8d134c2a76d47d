"""DGCNN (Wang et al. 2019): edge convolutions over neighbours sought anew in every layer's features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from pcbench.api import Backbone
from pcbench.ops.layers import Dropout, Linear
from pcbench.ops.neighbours import nearest

from ._edges import EdgeDense, LeakyDense


class DGCNN(Backbone):
    """DGCNN: four edge convolutions over 20 dynamic neighbours, max and mean pooling (Wang et al. 2019)."""

    name = "dgcnn"
    presets: ClassVar = {
        "paper": {"neighbours": 20, "dropout": 0.5},
        "canonical": {"neighbours": 20, "dropout": 0.5},
    }

    def __init__(self, classes: int, neighbours: int = 20, dropout: float = 0.5) -> None:
        super().__init__(classes)
        self.neighbours = neighbours
        self.edges = nn.ModuleList(
            [EdgeDense(3, 64), EdgeDense(64, 64), EdgeDense(64, 128), EdgeDense(128, 256)]
        )
        self.joint = LeakyDense(512, 1024, bias=False)
        self.head = nn.Sequential(
            LeakyDense(2048, 512, bias=False), Dropout(dropout), LeakyDense(512, 256), Dropout(dropout)
        )
        self.classifier = Linear(256, classes)

    def graph(self, x: Tensor) -> Tensor:
        """The nearest points of every point, itself first, by features (..., N, C): (..., N, k) int64."""
        x = x.detach()
        return nearest(x, x, min(self.neighbours, x.shape[-2]))

    def geometry(self, xyz: Tensor) -> tuple[Tensor, ...]:
        return (self.graph(xyz),)

    def levels(self, xyz: Tensor, *geometry: Tensor) -> list[Tensor]:
        """What every edge convolution gives, (B, N, C) each."""
        x, levels = xyz, []
        for edge in self.edges:
            index = geometry[0] if geometry and x is xyz else self.graph(x)
            x = edge.of_neighbours(x, index)  # type: ignore[operator]
            levels.append(x)
        return levels

    def layer_features(self, xyz: Tensor) -> tuple[Tensor, ...]:
        levels = self.levels(xyz)
        return *levels, self.joint(torch.cat(levels, -1))

    def point_features(self, xyz: Tensor) -> Tensor:
        return self.layer_features(xyz)[-1]

    def global_feature(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        """The largest values of the points' features, then their means, (B, 2048)."""
        return self.joint.max_and_mean(torch.cat(self.levels(xyz, *geometry), -1))

    def embed(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.head(self.global_feature(xyz, *geometry))  # type: ignore[no-any-return]

    def forward(self, xyz: Tensor, *geometry: Tensor) -> Tensor:
        return self.classifier(self.embed(xyz, *geometry))  # type: ignore[no-any-return]
