"""Edge convolutions computed at the points, never at the edges, and the pooling that follows them in DGCNN.

The custom gradients here are computed in parts that stay in cache. Where gradients are to be differentiated
themselves, the same quantities are composed of operations that autograd knows.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.ops.layers import LinearNorm, columns, per_channel

from ._relations import moments_of_sums

GATHERED_BYTES = 1 << 20
"""What is gathered at a time on the CPU to seek a maximum: 1 MiB, which stays in a core's cache; a GPU takes
256 times as much."""

SLOPE = 0.2
"""Of LeakyReLU below 0."""


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
        linear, norm = self.parts()
        channels, points = x.shape[-1], x.shape[-2]
        rows = x.reshape(len(x) if linear.stacked else 1, -1, channels)
        index = index.expand(*x.shape[:-1], -1)
        count = rows.shape[1] * index.shape[-1]
        training = norm.training and count > 1
        weight, bias = (linear.weight, None) if training else self.folded()
        weight = weight if linear.stacked else weight.unsqueeze(0)
        of_neighbour = weight[..., :channels]
        a = torch.bmm(rows, of_neighbour.mT)
        c = torch.bmm(rows, (weight[..., channels:] - of_neighbour).mT)
        first = torch.arange(0, a.shape[:2].numel(), points, device=x.device)
        neighbours = (index.reshape(len(first), -1) + first.unsqueeze(1)).view(-1, index.shape[-1])
        sign = norm.weight.detach().sign().view(len(a), 1, -1) if training else None
        largest = _Largest.apply(a, sign, neighbours, points) + c  # type: ignore[no-untyped-call]
        largest = largest.view(*x.shape[:-1], linear.outputs)
        if training:
            a, c = a.view_as(largest), c.view_as(largest)
            moments = moments_of_sums(a, c, index, linear.stacked)
            largest = norm.from_moments(largest, *moments, count)
        elif bias is not None:
            largest = largest + per_channel(bias, largest, linear.stacked)
        return F.leaky_relu(largest, SLOPE)


class LeakyDense(LinearNorm):
    """Linear, batch norm, LeakyReLU 0.2."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), SLOPE)

    def max_and_mean(self, x: Tensor) -> Tensor:
        """The largest values of `forward(x)` over points, then their means: (..., N, C) -> (..., 2 D).

        Equal to the plain way up to rounding. Only the linear map is formed as a whole; norm, LeakyReLU, both
        poolings and their gradients go through it a cloud at a time, in cache.
        """
        linear, norm = self.parts()
        xs = columns(x, linear.stacked)
        training = norm.training and xs.shape[2] > 1
        weight, bias = (linear.weight, norm.bias) if training else self.folded()
        if training and linear.bias is not None:
            bias = bias + (linear.bias - linear.bias)  # the norm takes it out: its gradient is 0, not missing
        bias = bias.view(len(xs), -1)
        weight = weight.view(*bias.shape, -1)
        scale = norm.weight.view_as(bias) if training else None
        given = xs, weight, scale, bias, x.shape[-2], norm.eps
        pooled, mean, variance = _MaxAndMean.apply(*given)  # type: ignore[no-untyped-call]
        if training:
            mean = mean.view_as(norm.weight)
            mean = mean if linear.bias is None else mean + linear.bias.detach()
            norm.track(mean, variance.view_as(norm.weight), xs.shape[2])
        return pooled.view(*x.shape[:-2], -1)  # type: ignore[no-any-return]


class _MaxAndMean(torch.autograd.Function):
    """Largest and mean, over the points of every cloud, of LeakyReLU of a linear map: (S, B, 2 D).

    xs: (S, C, B · N). weight: (S, D, C). scale, bias: (S, D). points: N. The map is W x + bias; where scale
    is given, W x is normalised over all B · N values first and multiplied by it. Mean and biased variance of
    W x, (S, D), come second and third, without gradient; they are None without scale.
    """

    @staticmethod
    def forward(
        ctx: Any, xs: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor, points: int, eps: float
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        students, outputs, _ = weight.shape
        clouds = xs.shape[2] // points
        on_cpu = xs.device.type == "cpu"
        kept = any(ctx.needs_input_grad)
        size = 1 if on_cpu else clouds
        pooled = xs.new_empty(students, clouds, 2 * outputs)
        winners = torch.empty(students, outputs, clouds, dtype=torch.int64, device=xs.device)
        positive = winners.new_empty(students, outputs, clouds, points if kept else 0, dtype=torch.uint8)
        passed = xs.new_empty(students, outputs, clouds, 1)
        mean = variance = inverse = whole = None
        if scale is not None:
            mean = torch.bmm(weight, xs.mean(2, keepdim=True))
            whole = torch.baddbmm(mean, weight, xs, beta=-1)
            variance = torch.linalg.vector_norm(whole, dim=2).square_().div_(xs.shape[2])
            inverse = torch.rsqrt(variance + eps)
            factor = (scale * inverse).unsqueeze(2)
        z = xs.new_empty(outputs, size * points)
        above = torch.empty_like(z)
        for s in range(students):
            for start in range(0, clouds, size):
                part, some = slice(start, start + size), slice(start * points, (start + size) * points)
                shift = bias[s].unsqueeze(1)
                if whole is None:
                    torch.addmm(shift, weight[s], xs[s, :, some], out=z)
                else:
                    torch.mul(whole[s, :, some], factor[s], out=z).add_(shift)
                each = z.view(outputs, -1, points)
                if kept:
                    ones = torch.sign(z, out=above).clamp_min_(0).view_as(each)
                    positive[s, :, part] = ones
                    passed[s, :, part] = ones.sum(2, keepdim=True)
                F.leaky_relu_(each, SLOPE)
                place = torch.from_numpy(each.numpy().argmax(-1)) if on_cpu else each.argmax(-1)
                winners[s, :, part] = place
                largest = each.gather(2, place.unsqueeze(2)).squeeze(2)
                pooled[s, part] = torch.cat([largest, each.mean(2)]).T
        ctx.points, ctx.eps = points, eps
        if kept:
            ctx.save_for_backward(xs, weight, scale, bias, whole, inverse, positive, passed, winners)
        if mean is None or variance is None:
            return pooled, None, None
        mean = mean.squeeze(2)
        ctx.mark_non_differentiable(mean, variance)
        return pooled, mean, variance

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        xs, weight, scale, bias, *found = ctx.saved_tensors
        if not torch.is_grad_enabled():
            once = _pooled_gradients(ctx.needs_input_grad, ctx.points, gradient, xs, weight, scale, *found)
            return *once, None, None
        given = xs, weight, scale, bias
        value = _pooled_plainly(*given, ctx.points, ctx.eps)
        wanted = [x for x, needed in zip(given, ctx.needs_input_grad, strict=False) if needed]
        twice = iter(torch.autograd.grad(value, wanted, gradient, create_graph=True))
        return *(next(twice) if needed else None for needed in ctx.needs_input_grad[:4]), None, None


def _pooled_plainly(
    xs: Tensor, weight: Tensor, scale: Tensor | None, bias: Tensor, points: int, eps: float
) -> Tensor:
    """What `_MaxAndMean` gives, by operations that autograd knows."""
    z = torch.bmm(weight, xs)
    if scale is not None:
        variance, mean = torch.var_mean(z, 2, correction=0, keepdim=True)
        z = (z - mean) * (scale.unsqueeze(2) * torch.rsqrt(variance + eps))
    z = F.leaky_relu(z + bias.unsqueeze(2), SLOPE).unflatten(2, (-1, points))
    return torch.cat([z.max(3)[0], z.mean(3)], 1).mT


def _pooled_gradients(
    needed: tuple[bool, ...],
    points: int,
    gradient: Tensor,
    xs: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    whole: Tensor | None,
    inverse: Tensor | None,
    positive: Tensor,
    passed: Tensor,
    winners: Tensor,
) -> tuple[Tensor | None, ...]:
    """The gradients of `_MaxAndMean` by xs, weight, scale and bias, computed in parts."""
    _, outputs, clouds = winners.shape
    size = 1 if xs.device.type == "cpu" else clouds
    winners = winners.unsqueeze(3)
    of_largest, of_mean = gradient.mT.unsqueeze(3).split(outputs, 1)
    of_largest = of_largest * (SLOPE + (1 - SLOPE) * positive.gather(3, winners).to(xs.dtype))
    low = (SLOPE / points) * of_mean
    lift = (1 - SLOPE) / points * of_mean
    by_xs = torch.empty_like(xs) if needed[0] else None
    by_weight = torch.zeros_like(weight) if needed[1] else None
    sums = torch.zeros_like(passed[:, :, 0, 0])
    by_bias = (of_largest + lift * passed + low * points).sum((2, 3))
    g = xs.new_empty(outputs, size, points)
    product = torch.empty_like(g)
    parts = [slice(start, start + size) for start in range(0, clouds, size)]
    for s in range(len(xs)):
        x = xs[s].unflatten(1, (clouds, points))
        if scale is not None and whole is not None and inverse is not None:
            y = whole[s].unflatten(1, (clouds, points))
            for part in parts:
                g.copy_(positive[s, :, part]).mul_(lift[s, :, part]).add_(low[s, :, part])
                g.scatter_add_(2, winners[s, :, part], of_largest[s, :, part])
                sums[s] += torch.mul(g, y[:, part], out=product).sum((1, 2))
            sums[s] *= inverse[s]
            count = xs.shape[2]
            factor = (scale[s] * inverse[s]).view(-1, 1, 1)
            constant = (by_bias[s] / count).view(-1, 1, 1)
            slope = -factor * (inverse[s] * sums[s] / count).view(-1, 1, 1)
            lift[s] *= factor
            low[s] = (low[s] - constant) * factor
            of_largest[s] *= factor
        for part in parts:
            g.copy_(positive[s, :, part]).mul_(lift[s, :, part]).add_(low[s, :, part])
            g.scatter_add_(2, winners[s, :, part], of_largest[s, :, part])
            if scale is not None:
                g.add_(torch.mul(y[:, part], slope, out=product))
            flat = g.view(outputs, -1)
            if by_weight is not None:
                by_weight[s].addmm_(flat, x[:, part].flatten(1).T)
            if by_xs is not None:
                some = slice(part.start * points, part.stop * points)
                torch.mm(weight[s].T, flat, out=by_xs[s, :, some])
    return by_xs, by_weight, None if scale is None else sums, by_bias


class _Largest(torch.autograd.Function):
    """The largest a over the neighbours of every point, (S, M, D) -> (S, M, D), smallest where sign is -1.

    sign: (S, 1, D), or None where it is 1 throughout. neighbours: (S·M, k), rows of all students. points:
    rows of a cloud. Values are compared as float64 with their row in the low bits, so that the largest also
    says whose it is: float32 values lose nothing by that, float64 ones keep 52 - ⌈log₂ N⌉ bits. The gradient
    goes to one of equal neighbours.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, sign: Tensor | None, neighbours: Tensor, points: int) -> Tensor:
        students, rows, channels = a.shape
        if not ctx.needs_input_grad[0]:
            signed = a if sign is None else a * sign
            largest = torch.empty_like(a)
            _largest_rows(signed.view(-1, channels), neighbours, largest.view(-1, channels))
            return largest if sign is None else largest.mul_(sign)
        winners = torch.empty(a.shape, dtype=torch.int64, device=a.device)
        size = points if a.device.type == "cpu" else rows
        mask = (1 << (size - 1).bit_length()) - 1
        keys = torch.empty(size, channels, dtype=torch.float64, device=a.device)
        bits = keys.view(torch.int64)
        places = torch.arange(size, device=a.device).unsqueeze(1)
        for s in range(students):
            for start in range(0, rows, size):
                first = s * rows + start
                keys.copy_(a[s, start : start + size])
                if sign is not None:
                    keys.mul_(sign[s])
                bits.bitwise_and_(~mask).bitwise_or_(places)
                found = winners[s, start : start + size]
                _largest_rows(keys, neighbours[first : first + size] - first, found.view(torch.float64))
                found.bitwise_and_(mask).add_(first)
        winners.mul_(channels).add_(torch.arange(channels, device=a.device))
        ctx.save_for_backward(winners)
        return a.reshape(-1).index_select(0, winners.view(-1)).view_as(a)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (winners,) = ctx.saved_tensors
        flat = gradient.new_zeros(gradient.numel()).scatter_add(0, winners.view(-1), gradient.reshape(-1))
        return flat.view_as(gradient), None, None, None


def _largest_rows(rows: Tensor, neighbours: Tensor, largest: Tensor) -> None:
    """Into `largest` (M, D): that of rows (R, D) over neighbours (M, k), in parts that stay in cache."""
    k, channels = neighbours.shape[1], rows.shape[1]
    most = GATHERED_BYTES if rows.device.type == "cpu" else 256 * GATHERED_BYTES
    size = max(1, most // (k * channels * rows.element_size()))
    gathered = rows.new_empty(min(size, len(neighbours)) * k, channels)
    for some, place in zip(largest.split(size), neighbours.split(size), strict=True):
        part = gathered[: place.numel()]
        torch.index_select(rows, 0, place.reshape(-1), out=part)
        torch.amax(part.view(-1, k, channels), 1, out=some)
