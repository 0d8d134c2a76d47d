"""Which points of a cloud are near to or far from which others, and the features of the points found.

Clouds have any leading axes: (B, N, 3), or (S, B, N, 3) for S students. The searches carry no gradient and
refuse what is not finite; no result depends on what else is in the batch. They go through chunks whose
temporary tensors stay below `SEARCH_BYTES`, but for what one query and three float64 copies of one cloud need
where that is more; leading axes that cannot be merged in place cost a copy of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from pcbench.errors import DataError
from pcbench.ops.replay import recording

SEARCH_BYTES = 1 << 24
"""Temporary memory of a search, in bytes: 16 MiB, which fits into a processor's cache."""

CACHE_BYTES = 1 << 21
"""Temporary memory of the queries sought together on a CPU: 2 MiB, which fits into a core's own cache."""

Distances: TypeAlias = Callable[[slice], Tensor]
"""Squared distances from a slice of the queries to all points of their clouds: (b, m, N)."""


@torch.no_grad()
def farthest_point_sample(xyz: Tensor, count: int, start: int | None = None) -> Tensor:
    """Indices of points of clouds (..., N, 3), each the farthest from those before: (..., count) int64.

    The first is point `start` of every cloud, by default the point farthest from the cloud's centroid, so
    that the chosen points do not depend on the order of the points (but for ties, which go to the lowest
    index). No index comes twice, even among duplicate points. Raises DataError for a coordinate that is not
    finite or a count outside 1..N, and IndexError for a start outside the cloud.

    Source: Eldar, Lindenbaum, Porat, Zeevi 1997; PointNet++ (Qi, Yi, Su, Guibas 2017, Sec. 3.2).
    """
    points = xyz.shape[-2]
    if not 1 <= count <= points:
        raise DataError(f"cannot take {count} of {points} points: ask for 1 to {points}")
    if start is not None and not 0 <= start < points:
        raise IndexError(f"start {start} is outside a cloud of {points} points")
    _require_finite("farthest point sampling", xyz)
    clouds = _merged(xyz)
    chosen = torch.empty(len(clouds), count, dtype=torch.int64, device=xyz.device)
    step = max(1, SEARCH_BYTES // (12 * xyz.element_size() * points))
    for first in range(0, len(clouds), step):
        chosen[first : first + step] = _sample_chunk(clouds[first : first + step], count, start)
    return chosen.view(*xyz.shape[:-2], count)


@torch.no_grad()
def nearest(queries: Tensor, points: Tensor, k: int) -> Tensor:
    """The k nearest points of every query: (..., M, C), (..., N, C) -> (..., M, k) int64, nearest first.

    A query that is one of the points finds itself, or its duplicate of lower index. Equal distances go to the
    lowest index: the index stands in the low bits of the number that is compared. Float32 distances lose
    nothing by that, float64 ones keep 52 − ⌈log₂ N⌉ bits.

    Up to three channels, distances are sums of squared differences: they are exact to rounding at any scale
    and place, and duplicates are at distance 0. In more channels they come from one product, |a|² + |b|² -
    2ab, which cancels where points are close together and far from the origin. Every cloud is therefore
    centred and rounded to whole multiples of about 2⁻²¹ of its half extent (2⁻²² for 64 channels), so few
    bits that the float64 product is exact: duplicates tie (as do points nearer than that), and no order of
    summation, chunk or TF32 setting changes a result.

    Raises DataError for fewer than k points or a value that is not finite, ValueError for unequal axes.
    """
    available = points.shape[-2]
    if not 1 <= k <= available:
        raise DataError(f"cannot take the {k} nearest of {available} points: ask for 1 to {available}")
    distances = _by_differences if points.shape[-1] <= 3 else _by_product
    return _search(queries, points, k, distances, lambda squared: _smallest(squared, k))


@torch.no_grad()
def ball_query(centres: Tensor, points: Tensor, radius: float, k: int) -> Tensor:
    """Points within a radius of every centre: (..., M, 3), (..., N, 3) -> (..., M, k) int64.

    They are the first k points, in order of index, at d² ≤ r², where d² and r² are taken in the precision of
    the points. Where there are fewer than k, the first is repeated. A centre without a point in its ball has
    its nearest point k times (of equal ones the lowest index).

    Raises DataError for a cloud without points, k below 1 or a coordinate that is not finite, ValueError for
    a negative radius or unequal axes.

    Source: PointNet++ (Qi, Yi, Su, Guibas 2017, Sec. 3.2).
    """
    available = points.shape[-2]
    if min(available, k) < 1:
        raise DataError(f"cannot take {k} of {available} points: a ball query needs at least one of both")
    if not radius >= 0:
        raise ValueError(f"radius {radius} is not a length")
    limit = points.new_tensor(radius).square()
    ranks = torch.arange(1, k + 1, dtype=torch.int32, device=points.device)
    return _search(centres, points, k, _by_differences, lambda squared: _first_within(squared, limit, ranks))


def gather_points(features: Tensor, index: Tensor) -> Tensor:
    """Features (..., N, C) of the points of an index (..., M) or (..., M, k): (..., M, C) or (..., M, k, C).

    Leading axes of the index equal those of the features or are 1: an index (1, B, M, k) serves all students
    of features (S, B, N, C). Differentiable, any number of times. The result has the memory order of
    `pcbench.ops.layers`, (S, C, B, M, k), whatever that of the features. Raises ValueError for other axes.
    """
    leading = features.shape[:-2]
    chosen = index.shape[len(leading) :]
    if len(chosen) not in (1, 2) or any(n not in (1, m) for n, m in zip(index.shape, leading, strict=False)):
        raise ValueError(
            f"an index {tuple(index.shape)} does not fit features {tuple(features.shape)}: "
            "it needs their leading axes, of their lengths or 1, then one or two of its own"
        )
    axis = -3 if leading else -2
    channels = features.movedim(-1, axis)
    rows = index.flatten(len(leading)).unsqueeze(axis).expand(*channels.shape[:-1], -1)
    gathered: Tensor = channels.gather(-1, rows).movedim(axis, -1).unflatten(-2, chosen)
    return gathered


def index_of_rows(index: Tensor, stacked: bool, points: int) -> Tensor:
    """An index (..., M, k) within clouds of N points as one of the rows of all clouds, (S or 1, B · M, k)."""
    if not stacked:
        index = index.unsqueeze(0)
    clouds = index.flatten(1, -3)
    first = torch.arange(clouds.shape[1], device=index.device) * points
    return (clouds + first.view(-1, 1, 1)).flatten(1, 2)


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


def _search(
    queries: Tensor,
    points: Tensor,
    k: int,
    distances: Callable[[Tensor, Tensor], Distances],
    choose: Callable[[Tensor], Tensor],
) -> Tensor:
    """choose: (b, m, N) -> (b, m, k), the indices for squared distances; it is called once a chunk."""
    if queries.shape[:-2] != points.shape[:-2] or queries.shape[-1] != points.shape[-1]:
        raise ValueError(
            f"queries {tuple(queries.shape)} do not fit points {tuple(points.shape)}: "
            "only their numbers, the last axis but one, may differ"
        )
    _require_finite("a search for neighbours", queries, points)
    many, number, channels = queries.shape[-2], points.shape[-2], points.shape[-1]
    from_all, to_all = _merged(queries), _merged(points)
    nearest = torch.empty(len(to_all), many, k, dtype=torch.int64, device=points.device)
    query_bytes = 16 * number + 32 * k
    cloud_bytes = many * query_bytes + 24 * (channels + 2) * (many + number)
    most = min(SEARCH_BYTES, CACHE_BYTES) if points.device.type == "cpu" else SEARCH_BYTES
    clouds, rows = max(1, most // cloud_bytes), max(1, most // query_bytes)
    for first in range(0, len(to_all), clouds):
        part = slice(first, first + clouds)
        squared = distances(from_all[part], to_all[part])
        for row in range(0, many, rows):
            some = slice(row, row + rows)
            nearest[part, some] = choose(squared(some))
    return nearest.view(*queries.shape[:-1], k)


def _by_differences(queries: Tensor, points: Tensor) -> Distances:
    """Sums of squared differences, channel by channel: (b, M, C), (b, N, C).

    Multiplication and addition stay apart: fused in some elements only, as a compiler may do at the ends of
    rows, they could give two distances for duplicate points.
    """
    ours, theirs = queries.movedim(-1, 0).contiguous(), points.movedim(-1, 0).contiguous()

    def squared(rows: slice) -> Tensor:
        axes = zip(ours[:, :, rows].unsqueeze(-1), theirs.unsqueeze(-2), strict=True)
        squares = ((a - b).square_() for a, b in axes)
        total: Tensor = next(squares)
        for square in squares:
            total.add_(square)
        return total

    return squared


def _by_product(queries: Tensor, points: Tensor) -> Distances:
    """One exact product of whole numbers: (b, M, C), (b, N, C); every cloud has its own unit of length.

    After centring no number exceeds 2^bits + 1, so that no sum reaches 2⁵³, whatever its order. The unit is a
    power of two: points on a grid stay on one, and ties remain ties.
    """
    both = torch.cat([queries, points], 1).double()
    highest, lowest = both.amax(1, keepdim=True), both.amin(1, keepdim=True)
    half = ((highest - lowest) / 2).amax(-1, keepdim=True)
    bits = (50 - (both.shape[-1] - 1).bit_length()) // 2
    per_length = torch.exp2((bits - torch.frexp(half).exponent).double())
    both.mul_(per_length).round_().sub_(((highest + lowest) / 2 * per_length).round_())
    norms = both.square().sum(-1, keepdim=True)
    ones = torch.ones_like(norms)
    m = queries.shape[1]
    left = torch.cat([both[:, :m], norms[:, :m], ones[:, :m]], -1)
    right = torch.cat([-2 * both[:, m:], ones[:, m:], norms[:, m:]], -1).mT
    return lambda rows: torch.bmm(left[:, rows], right)


def _smallest(squared: Tensor, k: int) -> Tensor:
    """Indices of the k smallest of each row (b, m, N), which is 0 or more, ascending, ties by index.

    The bits of a float that is not negative, read as an integer, keep its order.
    """
    number = squared.shape[-1]
    mask = (1 << (number - 1).bit_length()) - 1
    keys = squared.double().view(torch.int64)
    keys.bitwise_and_(~mask).bitwise_or_(torch.arange(number, device=keys.device))
    if keys.device.type == "cpu":  # numpy selects with vector instructions; topk takes three times as long
        values = keys.numpy()
        if k < number:
            values.partition(k - 1)
        return keys[..., :k].sort(-1).values.bitwise_and_(mask)
    return keys.topk(k, largest=False).values.bitwise_and_(mask)


def _first_within(squared: Tensor, limit: Tensor, ranks: Tensor) -> Tensor:
    """Indices of the first points of each row (b, m, N) at most `limit` away; ranks: 1, 2, …, k."""
    closest = squared.amin(-1, keepdim=True)
    count = (squared <= closest.clamp(min=limit)).cumsum(-1, dtype=torch.int32)
    index = torch.searchsorted(count, ranks.expand(*count.shape[:-1], -1).contiguous())
    repeated = (index == squared.shape[-1]) | (closest > limit)
    return torch.where(repeated, index[..., :1], index)


def _merged(x: Tensor) -> Tensor:
    """(..., N, C) -> (B, N, C)."""
    return x.reshape(x.shape[:-2].numel(), *x.shape[-2:])


def _require_finite(who: str, *tensors: Tensor) -> None:
    """By the extremes, which NaN passes on: a mask would take as much memory as the input.

    What is recorded has been checked when it was done before.
    """
    if recording():
        return
    extremes = [torch.stack(torch.aminmax(x)) for x in tensors if x.numel() > 0]
    if extremes and not torch.isfinite(torch.cat(extremes)).all():
        raise DataError(f"{who} needs finite coordinates")
