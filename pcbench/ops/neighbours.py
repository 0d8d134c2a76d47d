"""Which points of a cloud are near to or far from which others: farthest point sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from pcbench.errors import DataError

_POINTS_AT_ONCE = 1 << 17


@torch.no_grad()
def farthest_point_sample(xyz: Tensor, count: int, start: int | None = None) -> Tensor:
    """Indices of points of clouds (B, N, 3), each the farthest from those before it: (B, count) int64.

    The first is point `start` of every cloud, by default the point farthest from the cloud's centroid, so
    that the chosen points do not depend on the order of the points (but for ties, which go to the lowest
    index). No index comes twice, even among duplicate points. Clouds go through in chunks, so that the memory
    beyond the input does not grow with B. Carries no gradient. Raises DataError for a coordinate that is not
    finite or a count outside 1..N, and IndexError for a start outside the cloud.

    Source: Eldar, Lindenbaum, Porat, Zeevi 1997; PointNet++ (Qi, Yi, Su, Guibas 2017, Sec. 3.2).
    """
    clouds, points = xyz.shape[:2]
    if not 1 <= count <= points:
        raise DataError(f"cannot take {count} of {points} points: ask for 1 to {points}")
    if start is not None and not 0 <= start < points:
        raise IndexError(f"start {start} is outside a cloud of {points} points")
    if not torch.isfinite(xyz).all():
        raise DataError("farthest point sampling needs finite coordinates")
    chosen = torch.empty(clouds, count, dtype=torch.int64, device=xyz.device)
    step = max(1, _POINTS_AT_ONCE // points)
    for first in range(0, clouds, step):
        chosen[first : first + step] = _sample_chunk(xyz[first : first + step], count, start)
    return chosen


def _sample_chunk(xyz: Tensor, count: int, start: int | None) -> Tensor:
    axes = xyz.movedim(-1, 0).contiguous()
    clouds = axes.shape[1]
    chosen = torch.empty(count, clouds, 1, dtype=torch.int64, device=xyz.device)
    if start is None:
        centroid = axes.double().mean(-1, keepdim=True).to(axes.dtype)
        chosen[0] = _squared_distance(axes, centroid).argmax(-1, keepdim=True)
    else:
        chosen[0] = start
    nearest = torch.full(axes.shape[1:], torch.inf, dtype=axes.dtype, device=axes.device)
    for i in range(1, count):
        last = chosen[i - 1]
        centre = axes.gather(-1, last.expand(3, -1, -1))
        torch.minimum(nearest, _squared_distance(axes, centre), out=nearest)
        nearest.scatter_(-1, last, -1)
        chosen[i] = nearest.argmax(-1, keepdim=True)
    return chosen.squeeze(-1).T


def _squared_distance(axes: Tensor, centre: Tensor) -> Tensor:
    """(3, B, N) and (3, B, 1) -> (B, N)."""
    x, y, z = (axes - centre).unbind()
    return x.square_().addcmul_(y, y).addcmul_(z, z)
