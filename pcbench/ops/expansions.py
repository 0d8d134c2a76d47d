"""What makes clouds of a parameterised set's tensors: pure functions by name, which everybody has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from pcbench.errors import DataError
from pcbench.ops.neighbours import gather_points, nearest

MOST_VALUES = 1 << 28
"""Coordinates that an expansion may make."""


def plain(tensors: Mapping[str, Tensor]) -> Tensor:
    """Clouds as they are, points (S, C, n, 3), float32, float16, or int8 and int16 as shares of the largest.

    Half the bytes of a coordinate leave room for twice the clouds.
    """
    (points,) = _shaped(tensors, {"points": 4})
    return _clouds(points)


def upsample(tensors: Mapping[str, Tensor]) -> Tensor:
    """Clouds with midpoints: points (S, C, n, 3), neighbours, k as an integer (), 1 <= k < n.

    Gives (S, C, n (1 + k), 3): the points, then of each the midpoints to its k nearest others.
    """
    points, neighbours = _shaped(tensors, {"points": 4, "neighbours": 0})
    few = _clouds(points)
    slots, count, size = few.shape[:3]
    k = 0 if neighbours.is_floating_point() else int(neighbours)
    if not 1 <= k < size:
        raise DataError(f"'neighbours' is {neighbours.item()}, not a whole number from 1 to {size - 1}")
    _check_size(few.numel() * (1 + k))
    clouds = few.flatten(0, 1)
    others = gather_points(clouds, nearest(clouds, clouds, k + 1)[..., 1:])  # (S C, n, k, 3)
    midpoints = (clouds.unsqueeze(2) + others) / 2
    finer: Tensor = torch.cat([clouds, midpoints.flatten(1, 2)], 1).unflatten(0, (slots, count))
    return finer


def morph(tensors: Mapping[str, Tensor]) -> Tensor:
    """Anchors and their mixtures (3DDP, ICLR 2026): anchors (S, M, n, 3), weights (S, L, M − 1).

    Gives (S, M + L, n, 3), of every slot the M anchors first. Mixture l is Σ_j softmax(w_l, 0)_j · anchor_j,
    point by point: the last weight of the softmax is 0, so that M − 1 numbers are all that a mixture takes.
    """
    anchors, weights = _shaped(tensors, {"anchors": 4, "weights": 3})
    anchors, weights = _numbers("anchors", anchors), _numbers("weights", weights)
    slots, count, points = anchors.shape[:3]
    wanted = (slots, count, points, 3), (slots, weights.shape[1], count - 1)
    if (anchors.shape, weights.shape) != wanted or not count or not points:
        shapes = f"anchors {tuple(anchors.shape)} and weights {tuple(weights.shape)}"
        raise DataError(f"{shapes} are not (S, M, n, 3) and (S, L, M - 1)")
    _check_size(slots * (count + weights.shape[1]) * points * 3)
    shares = torch.cat([weights, weights.new_zeros(*weights.shape[:2], 1)], 2).softmax(2)  # (S, L, M)
    mixtures = torch.bmm(shares, anchors.flatten(2)).unflatten(2, (points, 3))
    return torch.cat([anchors, mixtures], 1)


def mixtures(tensors: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
    """Anchors and mixtures of them that are drawn: anchors (S, M, n, 3), count, L as an integer ().

    Gives (S, M + L, n, 3), of every slot the M anchors first. Mixture l is Σ_j e_j / (Σ_i e_i) · anchor_j,
    point by point, e_j = −ln u_j, u_j uniform: its shares are uniform on the simplex. A student draws them
    anew in every epoch.
    """
    anchors, count = _shaped(tensors, {"anchors": 4, "count": 0})
    points = _clouds(anchors)
    more = 0 if count.is_floating_point() else int(count)
    if more < 1:
        raise DataError(f"'count' is {count.item()}, not a whole number of 1 or more")
    slots, kept, size = points.shape[:3]
    _check_size(slots * (kept + more) * size * 3)
    uniform = torch.rand(slots, more, kept, generator=generator, dtype=torch.float64)
    drawn = -torch.log1p(-uniform)  # of 1 − u, which is never 0
    shares = (drawn / drawn.sum(2, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)).to(points)
    mixed = torch.bmm(shares, points.flatten(2)).unflatten(2, (size, 3))
    return torch.cat([points, mixed], 1)


def _shaped(tensors: Mapping[str, Tensor], dimensions: Mapping[str, int]) -> list[Tensor]:
    """The tensors of these names; DataError for others, or for another number of axes."""
    if tensors.keys() != dimensions.keys():
        raise DataError(f"the stored tensors are {sorted(tensors)} instead of {sorted(dimensions)}")
    for name, axes in dimensions.items():
        tensor = tensors[name]
        if tensor.dim() != axes:
            raise DataError(f"{name!r} is {tuple(tensor.shape)} instead of having {axes} axes")
    return [tensors[name] for name in dimensions]


def _clouds(points: Tensor) -> Tensor:
    """Stored clouds as float32 (S, C, n, 3); DataError for other shapes."""
    if points.shape[3] != 3 or not points.shape[1] or not points.shape[2]:
        raise DataError(f"points {tuple(points.shape)} are not (S, C, n, 3)")
    _check_size(points.numel())
    return _numbers("points", points)


def _numbers(name: str, tensor: Tensor) -> Tensor:
    """Floats of what is stored: half precision as float32, int8 and int16 as shares of their largest."""
    if tensor.dtype in (torch.int8, torch.int16):
        return tensor.float() / float(torch.iinfo(tensor.dtype).max)
    if not tensor.is_floating_point():
        raise DataError(f"{name!r} is {tensor.dtype}, not float32, float16, int16 or int8")
    return tensor.float() if tensor.dtype == torch.float16 else tensor


def _check_size(values: int) -> None:
    if values > MOST_VALUES:
        raise DataError(f"an expansion makes more than {MOST_VALUES} coordinates")


DRAWN: Mapping[str, Callable[[Mapping[str, Tensor], torch.Generator], Tensor]] = {"mixtures": mixtures}
"""By the name of an expansion that draws: tensors and a stream -> points, always of the same shape."""


def _one_drawing(name: str) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """The drawing that stands for all of them where clouds are counted, compared and shown."""
    return lambda tensors: DRAWN[name](tensors, torch.Generator().manual_seed(0))


EXPANSIONS: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]] = {
    "plain": plain,
    "upsample": upsample,
    "morph": morph,
    **{name: _one_drawing(name) for name in DRAWN},
}
"""By the name of an expansion: tensors -> points of the clouds of every slot, (S, C, n, 3), S = K · PPC."""
