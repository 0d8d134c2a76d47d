"""PointNet in float64 from textbook formulas: an oracle that shares no code with the layers under test."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PlainPointNet:
    """The parameters of a PointNet (preset `paper`) and, once adapted, its running statistics.

    `momentum` is that of the batch norm's adaptation: 0.1 keeps 0.9 of the initial mean 0 and variance 1.
    """

    def __init__(self, network: nn.Module, momentum: float = 0.1) -> None:
        self.values = {name: value.detach().double() for name, value in network.named_parameters()}
        self.momentum = momentum
        self.statistics: dict[str, tuple[Tensor, Tensor]] = {}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.values[f"{name}.weight"].T + self.values[f"{name}.bias"]

    def norm(self, name: str, y: Tensor, adapt: bool) -> Tensor:
        if adapt:
            rows = y.reshape(-1, y.shape[-1])
            mean = rows.sum(0) / len(rows)
            squares = ((rows - mean) ** 2).sum(0)
            kept = 1 - self.momentum
            self.statistics[name] = (
                self.momentum * mean,
                kept + self.momentum * squares / (len(rows) - 1),
            )
            variance = squares / len(rows)
        else:
            mean, variance = self.statistics[name]
        weight, bias = self.values[f"{name}.weight"], self.values[f"{name}.bias"]
        return (y - mean) / (variance + 1e-5).sqrt() * weight + bias

    def unit(self, name: str, x: Tensor, adapt: bool, relu: bool = True) -> Tensor:
        y = self.norm(f"{name}.1", self.linear(f"{name}.0", x), adapt)
        return y * (y > 0) if relu else y

    def point_features(self, xyz: Tensor, adapt: bool = False) -> Tensor:
        """(B, N, 3) -> (B, N, 1024), signed."""
        x = xyz
        for i in range(3):
            x = self.unit(f"input_transform.local.{i}", x, adapt)
        x = x.amax(1)
        for i in range(2):
            x = self.unit(f"input_transform.head.{i}", x, adapt)
        matrix = self.linear("input_transform.head.2", x).view(-1, 3, 3) + torch.eye(3).double()
        x = torch.einsum("bni,bij->bnj", xyz, matrix)
        x = self.unit("low.0", x, adapt)
        x = self.unit("high.0", x, adapt)
        return self.unit("high.1", x, adapt, relu=False)

    def embed(self, xyz: Tensor, adapt: bool = False) -> Tensor:
        """(B, N, 3) -> (B, 256), without dropout."""
        x = self.unit("head.0", self.point_features(xyz, adapt).amax(1), adapt)
        x = self.norm("head.3", self.linear("head.1", x), adapt)
        return x * (x > 0)
