"""Fewer points per cloud: the first, a random choice, or farthest point sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias, assert_never

import torch

from pcbench.clouds import PointClouds
from pcbench.errors import DataError
from pcbench.ops.neighbours import farthest_point_sample

Sampling: TypeAlias = Literal["first", "random", "farthest"]


def resample(
    clouds: PointClouds, points: int, how: Sampling, generator: torch.Generator | None = None
) -> PointClouds:
    """Clouds of `points` of their own points, (B, N, 3) -> (B, points, 3); not normalised anew.

    how: "first" keeps the stored order; "random" draws without replacement, each cloud for itself, from
    `generator` (on the CPU; without one it raises ValueError); "farthest" is farthest point sampling from the
    point farthest from the centroid. Raises DataError for more points than there are.
    """
    if not 1 <= points <= clouds.points_per_cloud:
        raise DataError(
            f"cannot take {points} of the {clouds.points_per_cloud} points of a cloud: "
            f"ask for 1 to {clouds.points_per_cloud}"
        )
    if how == "first":
        return replace(clouds, points=clouds.points[:, :points].contiguous())
    if how == "random":
        if generator is None:
            raise ValueError("random sampling needs a generator")
        index = torch.rand(clouds.points.shape[:2], generator=generator).argsort(1)[:, :points]
    elif how == "farthest":
        index = farthest_point_sample(clouds.points, points)
    else:
        assert_never(how)
    index = index.to(clouds.points.device).unsqueeze(-1).expand(-1, -1, 3)
    return replace(clouds, points=clouds.points.gather(1, index))
