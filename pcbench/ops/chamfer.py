"""The Chamfer distance between clouds."""

from __future__ import annotations

import torch
from torch import Tensor

from pcbench.errors import DataError

BLOCK_BYTES = 1 << 20
"""Squared distances that are worked out together: 1 MiB, so that two such blocks fit into a core's cache."""


@torch.no_grad()
def chamfer(cloud: Tensor, others: Tensor) -> Tensor:
    """Chamfer distances from one cloud to many, (N, 3), (B, M, 3) -> (B,), without gradient.

    The mean squared distance from a cloud's points to the nearest point of the other cloud, summed over both
    directions (Fan, Su, Guibas 2017, with means in place of sums, so that numbers of points do not matter).
    Coordinates are subtracted before they are squared: a cloud is at distance 0 from itself, exactly. Sums
    are float64, so that a distance does not depend on what else is in the batch.

    Raises DataError for a cloud without points, and for coordinates that are not finite or whose squares are
    not.
    """
    number, theirs = len(cloud), others.shape[1]
    if min(number, theirs) < 1:
        raise DataError("a Chamfer distance needs at least one point in each cloud")
    distances = cloud.new_empty(len(others))
    columns = max(1, BLOCK_BYTES // cloud.element_size() // theirs)
    rows, step = min(columns, number), max(1, columns // number)
    ours = cloud.T.unsqueeze(-1).contiguous()
    for first in range(0, len(others), step):
        part = others[first : first + step]
        axes = part.flatten(0, 1).T.unsqueeze(1).contiguous()
        to_ours = cloud.new_full((axes.shape[-1],), torch.inf)
        to_theirs = cloud.new_zeros(len(part), dtype=torch.float64)
        for row in range(0, number, rows):
            squared = _squared(ours[:, row : row + rows], axes)
            torch.minimum(to_ours, squared.amin(0), out=to_ours)
            to_theirs += squared.view(-1, len(part), theirs).amin(-1).sum(0, dtype=torch.float64)
        back = to_ours.view(len(part), theirs).mean(-1, dtype=torch.float64)
        distances[first : first + step] = to_theirs / number + back
    if not torch.isfinite(distances).all():
        raise DataError("a Chamfer distance needs finite coordinates, and finite squares of them")
    return distances


def _squared(ours: Tensor, theirs: Tensor) -> Tensor:
    """Squared distances of all pairs: (3, n, 1), (3, 1, m) -> (n, m)."""
    squared = (ours[0] - theirs[0]).square_()
    difference = torch.empty_like(squared)
    for a, b in zip(ours[1:], theirs[1:], strict=True):
        torch.sub(a, b, out=difference)
        squared.addcmul_(difference, difference)
    return squared
