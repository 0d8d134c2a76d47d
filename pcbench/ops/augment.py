"""Random changes to clouds in training: turn, scale, shift, jitter, fewer points; for S students at once.

Every function takes clouds (S, B, N, 3) and one generator a student, and gives new clouds. What a student
draws depends on its own generator and on B and N alone, so that it is what it would draw alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from pcbench.ops.rotation import rotate

Generators = Sequence[torch.Generator]
AXES = ("x", "y", "z")


def turn(xyz: Tensor, axis: Literal["x", "y", "z"], generators: Generators) -> Tensor:
    """Each cloud turned about a coordinate axis by its own angle, uniform over the circle."""
    angles = xyz.new_zeros(*xyz.shape[:2], 3)
    angles[..., AXES.index(axis)] = _uniform(xyz, (), generators) * (2 * math.pi)
    return rotate(xyz.flatten(0, 1), angles.flatten(0, 1)).view_as(xyz)


def scale(xyz: Tensor, low: float, high: float, generators: Generators, axes: bool = False) -> Tensor:
    """Each cloud times a factor, uniform in [low, high]; axes: a factor for each coordinate."""
    factor = _uniform(xyz, (1, 3 if axes else 1), generators)
    return xyz * (low + (high - low) * factor)


def shift(xyz: Tensor, largest: float, generators: Generators) -> Tensor:
    """Each cloud moved along each axis by its own distance, uniform in [−largest, largest]."""
    return xyz + largest * (2 * _uniform(xyz, (1, 3), generators) - 1)


def jitter(xyz: Tensor, deviation: float, clip: float, generators: Generators) -> Tensor:
    """Normal noise of that standard deviation on every coordinate, at most `clip` in size."""
    noise = torch.stack([torch.randn(xyz.shape[1:], generator=g) for g in generators])
    return xyz + noise.mul_(deviation).clamp_(-clip, clip).to(xyz.device, xyz.dtype)


def drop(xyz: Tensor, largest: float, generators: Generators) -> Tensor:
    """Each cloud with a share of its points, uniform in [0, largest], put where its first point is.

    Each point is dropped independently with that probability (Qi et al. 2017, PointNet++, Sec. 3.3, where the
    share is up to 0.95); the number of points stays N.
    """
    share = _uniform(xyz, (1,), generators) * largest
    dropped = _uniform(xyz, (xyz.shape[2],), generators) < share
    return torch.where(dropped.unsqueeze(-1), xyz[..., :1, :], xyz)


def _uniform(xyz: Tensor, shape: Sequence[int], generators: Generators) -> Tensor:
    """Numbers uniform in [0, 1) for each cloud, (S, B, *shape)."""
    drawn = torch.stack([torch.rand(xyz.shape[1], *shape, generator=g) for g in generators])
    return drawn.to(xyz.device, xyz.dtype)
