"""What a continuous convolution over points is made of: their density, and weighted sums over neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcbench.ops.layers import Dense, Linear, LinearNorm, columns, from_columns

KERNEL_VALUES = 1 << 20
"""Pairs of points whose kernel is worked on at a time, but at least those of one cloud: 4 MiB of float32."""
GROUP_VALUES = 1 << 18
"""Features of neighbours that are worked on at a time on the CPU: 1 MiB of float32."""


def gaussian_density(xyz: Tensor, bandwidth: float) -> Tensor:
    """The density at every point of clouds, by all points of its cloud: (..., N, 3) -> (..., N).

    Mean over the points of exp(-d² / 2h²) / 2.5h, where d is the distance and h the bandwidth, in units of
    the coordinates. Twice differentiable; the N² kernel values are kept by no graph.

    Source: PointConv's public code; Wu, Qi, Fuxin 2019 (Sec. 3.2) name kernel density estimation.
    """
    clouds = xyz.reshape(xyz.shape[:-2].numel(), *xyz.shape[-2:])
    density: Tensor = _Density.apply(clouds, bandwidth)  # type: ignore[no-untyped-call]
    return density.view(xyz.shape[:-1])


class _Density(torch.autograd.Function):
    """`gaussian_density` of (B, N, 3), whose gradient works out the kernel again."""

    @staticmethod
    def forward(ctx: Any, clouds: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(clouds)
        ctx.bandwidth = bandwidth
        means = [_kernel(part, bandwidth).mean(-1) for part in _portions(clouds)]
        return torch.cat(means) / (2.5 * bandwidth)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (clouds,) = ctx.saved_tensors
        found = []
        for part, g in zip(_portions(clouds), gradient.split(len(_portions(clouds)[0])), strict=True):
            pull = _kernel(part, ctx.bandwidth) * (g.unsqueeze(-1) + g.unsqueeze(-2))
            found.append(torch.bmm(pull, part) - pull.sum(-1, keepdim=True) * part)
        return torch.cat(found) / (2.5 * ctx.bandwidth**3 * clouds.shape[1]), None


def _portions(clouds: Tensor) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = clouds.split(max(1, KERNEL_VALUES // clouds.shape[1] ** 2))
    return parts


def _kernel(clouds: Tensor, bandwidth: float) -> Tensor:
    """exp(-d² / 2h²) of all pairs, (B, N, N), where d is a sum of squared differences."""
    axes = [clouds[..., axis] / bandwidth for axis in range(3)]
    x, y, z = (axis.unsqueeze(-1) - axis.unsqueeze(-2) for axis in axes)
    return torch.exp((x * x + y * y + z * z) * -0.5)


def dense_by_moments(unit: Dense, x: Tensor) -> Tensor:
    """The same as `unit(x)` up to rounding, for far fewer inputs than outputs: (..., C) -> (..., D)."""
    stacked = unit.parts()[0].stacked
    xs = columns(x, stacked)
    weight, bias = unit.folded_for(xs)
    return from_columns(torch.baddbmm(bias.unsqueeze(2), weight, xs).relu_(), x, stacked)


def weighted_sums(unit: LinearNorm, x: Tensor, weights: Tensor) -> Tensor:
    """Σ over the k neighbours of ReLU(unit(x)) times each of V weights, for every channel of the unit.

    x: (..., M, k, C). weights: (..., M, k, V). Result: (..., M, D · V), the channels slowest, row by row
    in memory. The features (..., M, k, D) are never formed as a whole: the batch's statistics are taken from
    the moments of x, so that the CPU can go through groups in parts that stay in cache, and
    the gradient works the features out again. Equal to the plain way up to rounding; twice differentiable.
    """
    stacked = unit.parts()[0].stacked
    xs, vs = columns(x, stacked), columns(weights, stacked)
    weight, bias = unit.folded_for(xs)
    sums: Tensor = _WeightedSums.apply(xs, weight, bias, vs, x.shape[-2])  # type: ignore[no-untyped-call]
    return sums.view(*x.shape[:-2], -1)


def linear_of_rows(linear: Linear, x: Tensor) -> Tensor:
    """The same as `linear(x)` for (..., F) that stand row by row in memory, as those of `weighted_sums` do.

    So does their gradient. With 16384 inputs and few rows it costs an eighth of what the product with rows in
    columns does.
    """
    rows = x.flatten(1, -2) if linear.stacked else x.flatten(0, -2).unsqueeze(0)
    weight = linear.weight.view(len(rows), linear.outputs, linear.inputs)
    y: Tensor = _Rows.apply(rows, weight)  # type: ignore[no-untyped-call]
    if linear.bias is not None:
        y = y + linear.bias.view(len(rows), 1, -1)
    return y.view(*x.shape[:-1], -1)


class _Rows(torch.autograd.Function):
    """Rows (S, G, F) times weight (S, D, F): (S, G, D)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return torch.bmm(rows, weight.mT)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        by_rows = torch.bmm(gradient, weight) if ctx.needs_input_grad[0] else None
        return by_rows, torch.bmm(gradient.mT, rows) if ctx.needs_input_grad[1] else None


class _WeightedSums(torch.autograd.Function):
    """Σ_k ReLU(W x + b) v: xs (S, C, G · k), W (S, D, C), b (S, D), vs (S, V, G · k) -> (S, G, D, V)."""

    @staticmethod
    def forward(ctx: Any, xs: Tensor, weight: Tensor, bias: Tensor, vs: Tensor, k: int) -> Tensor:
        ctx.save_for_backward(xs, weight, bias, vs)
        ctx.k = k
        groups = xs.shape[2] // k
        sums = xs.new_empty(len(xs), groups, weight.shape[1], vs.shape[1])
        for s, part, own in _chunks(xs, weight, k):
            features = _features(xs[s, :, part], weight[s], bias[s])
            torch.bmm(_groups(features, k), _groups(vs[s, :, part], k).mT, out=sums[s, own])
        return sums

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        if torch.is_grad_enabled():
            fresh = [x.view_as(x) for x in inputs]  # none of these derives from another, as W may from x
            wanted = [x for x in fresh if x.requires_grad]
            sums = _plainly(fresh[0], fresh[1], fresh[2], fresh[3], ctx.k)
            found = iter(torch.autograd.grad(sums, wanted, gradient, create_graph=True))
            return *(next(found) if x.requires_grad else None for x in inputs), None
        xs, weight, bias, vs = inputs
        by_xs, by_vs = torch.empty_like(xs), torch.empty_like(vs)
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for s, part, own in _chunks(xs, weight, ctx.k):
            features = _features(xs[s, :, part], weight[s], bias[s])
            by_sums = gradient[s, own]
            _groups(by_vs[s, :, part], ctx.k).copy_(torch.bmm(by_sums.mT, _groups(features, ctx.k)))
            by_features = torch.bmm(by_sums, _groups(vs[s, :, part], ctx.k))
            _groups(features.sign_(), ctx.k).mul_(by_features)
            if ctx.needs_input_grad[1]:
                by_weight[s].addmm_(features, xs[s, :, part].T)
                by_bias[s] += features.sum(1)
            torch.mm(weight[s].T, features, out=by_xs[s, :, part])
        return by_xs, by_weight, by_bias, by_vs, None


def _chunks(xs: Tensor, weight: Tensor, k: int) -> list[tuple[int, slice, slice]]:
    """Student, columns and groups of every part."""
    groups = xs.shape[2] // k
    size = max(1, GROUP_VALUES // (weight.shape[1] * k)) if xs.device.type == "cpu" else groups
    starts = range(0, groups, size)
    ends = [min(start + size, groups) for start in starts]
    return [
        (s, slice(start * k, end * k), slice(start, end))
        for s in range(len(xs))
        for start, end in zip(starts, ends, strict=True)
    ]


def _features(xs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU(W x + b): (C, P) -> (D, P)."""
    return torch.addmm(bias.unsqueeze(1), weight, xs).relu_()


def _groups(values: Tensor, k: int) -> Tensor:
    """(D, G · k) as (G, D, k), a view."""
    return values.view(len(values), -1, k).transpose(0, 1)


def _plainly(xs: Tensor, weight: Tensor, bias: Tensor, vs: Tensor, k: int) -> Tensor:
    """The same in operations that are differentiable any number of times."""
    features = torch.relu(torch.baddbmm(bias.unsqueeze(2), weight, xs))
    grouped, weights = (x.unflatten(2, (-1, k)).transpose(1, 2) for x in (features, vs))
    sums: Tensor = grouped @ weights.mT
    return sums
