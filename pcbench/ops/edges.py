"""Edge convolutions over the neighbours of points, computed at the points and never at the edges."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.ops.layers import LinearNorm, per_channel

GATHERED_BYTES = 1 << 20
"""What is gathered at a time on the CPU to seek a maximum: 1 MiB, which stays in a core's cache."""

SLOPE = 0.2


class EdgeDense(LinearNorm):
    """EdgeConv: linear without bias, batch norm, LeakyReLU 0.2 on edges, then the largest over neighbours.

    An edge from centre i to neighbour j is (x_j - x_i, x_i). With W = (U, V), its product is U x_j + (V - U)
    x_i: two products at the points instead of one at k times as many edges. What follows is monotonic in
    every channel, so the largest of U x_j (the smallest where the norm's weight is negative) decides, and
    the batch statistics over all edges follow from sums over points.

    Source: DGCNN (Wang, Sun, Liu, Sarma, Bronstein, Solomon 2019, eq. 7 and Sec. 4.1).
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(2 * inputs, outputs, bias=False)

    def of_neighbours(self, x: Tensor, index: Tensor) -> Tensor:
        """(..., N, C) and the neighbours of every point, index (..., N, k) -> (..., N, D).

        Leading axes of the index equal those of x or are 1. Channels come last in the result's memory. In
        training mode a batch with one edge is normalised by the running statistics, as in `BatchNorm`.
        """
        linear, norm = self._parts()
        channels, points = x.shape[-1], x.shape[-2]
        rows = x.reshape(len(x) if linear.stacked else 1, -1, channels)
        index = index.expand(*x.shape[:-1], -1)
        count = rows.shape[1] * index.shape[-1]
        training = norm.training and count > 1
        weight, bias = (linear.weight, None) if training else self._folded()
        weight = weight if linear.stacked else weight.unsqueeze(0)
        of_neighbour = weight[..., :channels]
        a = torch.bmm(rows, of_neighbour.mT)
        c = torch.bmm(rows, (weight[..., channels:] - of_neighbour).mT)
        first = torch.arange(0, a.shape[:2].numel(), points, device=x.device)
        neighbours = (index.reshape(len(first), -1) + first.unsqueeze(1)).view(-1, index.shape[-1])
        sign = norm.weight.detach().sign().view(len(a), 1, -1) if training else None
        largest = _Largest.apply(a, sign, neighbours) + c  # type: ignore[no-untyped-call]
        largest = largest.view(*x.shape[:-1], linear.outputs)
        if training:
            mean, variance = _Moments.apply(a, c, neighbours)  # type: ignore[no-untyped-call]
            moments = mean.view_as(norm.weight), variance.view_as(norm.weight)
            largest = norm.from_moments(largest, *moments, count)
        elif bias is not None:
            largest = largest + per_channel(bias, largest, linear.stacked)
        return F.leaky_relu(largest, SLOPE)


class _Largest(torch.autograd.Function):
    """The largest a over the neighbours of every point, (S, M, D) -> (S, M, D), smallest where sign is -1.

    neighbours: (S·M, k), rows of all students. Equal values: the gradient goes to one of them.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, sign: Tensor | None, neighbours: Tensor) -> Tensor:
        channels = a.shape[2]
        if not ctx.needs_input_grad[0]:
            signed = a if sign is None else a * sign
            largest = _largest_rows(signed.view(-1, channels), neighbours).view_as(a)
            return largest if sign is None else largest * sign
        keys = a.double() if sign is None else a * sign.double()
        bits = keys.view(-1, channels).view(torch.int64)
        mask = (1 << (len(bits) - 1).bit_length()) - 1
        bits.bitwise_and_(~mask).bitwise_or_(torch.arange(len(bits), device=a.device).unsqueeze(1))
        winners = _largest_rows(keys.view(-1, channels), neighbours).view(torch.int64)
        winners.bitwise_and_(mask).mul_(channels).add_(torch.arange(channels, device=a.device))
        ctx.save_for_backward(winners)
        return a.take(winners).view_as(a)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (winners,) = ctx.saved_tensors
        flat = gradient.new_zeros(gradient.numel()).scatter_add(0, winners.view(-1), gradient.reshape(-1))
        return flat.view_as(gradient), None, None


def _largest_rows(rows: Tensor, neighbours: Tensor) -> Tensor:
    """(R, D), (R, k) -> (R, D), in parts that stay in cache."""
    k, channels = neighbours.shape[1], rows.shape[1]
    on_cpu = rows.device.type == "cpu"
    size = max(1, GATHERED_BYTES // (k * channels * rows.element_size())) if on_cpu else len(neighbours)
    gathered = rows.new_empty(min(size, len(neighbours)) * k, channels)
    largest = torch.empty_like(rows)
    for some, place in zip(largest.split(size), neighbours.split(size), strict=True):
        part = gathered[: place.numel()]
        torch.index_select(rows, 0, place.view(-1), out=part)
        torch.amax(part.view(-1, k, channels), 1, out=some)
    return largest


class _Moments(torch.autograd.Function):
    """Mean and biased variance of a_j + c_i over all edges, (S, M, D) twice -> (S, D) twice."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, c: Tensor, neighbours: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(a, c, neighbours)
        k = neighbours.shape[1]
        times = _times(a, neighbours)
        of_a, of_c = _means(a, c, times, k)
        a, c = a - of_a, c - of_c
        sums = _sums(a, neighbours)
        total = (times * a * a).sum(1) + (c * (2 * sums + k * c)).sum(1)
        return (of_a + of_c).squeeze(1), total.div_(k * a.shape[1]).clamp_min_(0)

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor, Tensor, None]:
        a, c, neighbours = ctx.saved_tensors
        k = neighbours.shape[1]
        edges = k * a.shape[1]
        times = _times(a, neighbours)
        of_a, of_c = _means(a, c, times, k)
        slope = (2 / edges) * by_variance.unsqueeze(1)
        constant = by_mean.unsqueeze(1) / edges - slope * (of_a + of_c)
        by_a = torch.addcmul(times * constant, _sums_back(c, neighbours) + times * a, slope)
        by_c = torch.addcmul(k * constant, _sums(a, neighbours) + k * c, slope)
        return by_a, by_c, None


def _times(a: Tensor, neighbours: Tensor) -> Tensor:
    """How often each point is a neighbour: (S, M, 1)."""
    return torch.bincount(neighbours.view(-1), minlength=len(neighbours)).view(len(a), -1, 1).to(a.dtype)


def _means(a: Tensor, c: Tensor, times: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Of both terms over all edges, (S, 1, D) each."""
    return torch.bmm(times.mT, a) / (k * a.shape[1]), c.mean(1, keepdim=True)


def _sums(a: Tensor, neighbours: Tensor) -> Tensor:
    """Over the neighbours of every point: (S, M, D)."""
    return F.embedding_bag(neighbours, a.reshape(-1, a.shape[2]), mode="sum").view_as(a)


def _sums_back(c: Tensor, neighbours: Tensor) -> Tensor:
    """Over the points that have a point as a neighbour: (S, M, D)."""
    found = neighbours.view(-1)
    centres = found.argsort(stable=True) // neighbours.shape[1]
    ends = torch.bincount(found, minlength=len(neighbours)).cumsum(0)
    starts = F.pad(ends[:-1], (1, 0))
    return F.embedding_bag(centres, c.reshape(-1, c.shape[2]), starts, mode="sum").view_as(c)
