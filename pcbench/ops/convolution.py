"""What a continuous convolution over points is made of: their density, and weighted sums over neighbours."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pcbench.ops.layers import LinearNorm, columns

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
    return _Density.apply(clouds, bandwidth).view(xyz.shape[:-1])  # type: ignore[no-any-return, no-untyped-call]


class _Density(torch.autograd.Function):
    """`gaussian_density` of (B, N, 3), whose gradient works out the kernel again."""

    @staticmethod
    def forward(ctx: Any, clouds: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(clouds)
        ctx.bandwidth = bandwidth
        return torch.cat([_kernel(part, bandwidth).mean(-1) for part in _parts(clouds)]) / (2.5 * bandwidth)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (clouds,) = ctx.saved_tensors
        found = []
        for part, g in zip(_parts(clouds), gradient.split(len(_parts(clouds)[0])), strict=True):
            pull = _kernel(part, ctx.bandwidth) * (g.unsqueeze(-1) + g.unsqueeze(-2))
            found.append(torch.bmm(pull, part) - pull.sum(-1, keepdim=True) * part)
        return torch.cat(found) / (2.5 * ctx.bandwidth**3 * clouds.shape[1]), None


def _parts(clouds: Tensor) -> tuple[Tensor, ...]:
    return clouds.split(max(1, KERNEL_VALUES // clouds.shape[1] ** 2))


def _kernel(clouds: Tensor, bandwidth: float) -> Tensor:
    """exp(-d² / 2h²) of all pairs, (B, N, N), where d is a sum of squared differences."""
    axes = [clouds[..., axis] / bandwidth for axis in range(3)]
    x, y, z = (axis.unsqueeze(-1) - axis.unsqueeze(-2) for axis in axes)
    return torch.exp((x * x + y * y + z * z) * -0.5)


def weighted_sums(unit: LinearNorm, x: Tensor, weights: Tensor) -> Tensor:
    """Σ over the k neighbours of ReLU(unit(x)) times each of V weights, for every channel of the unit.

    x: (..., M, k, C). weights: (..., M, k, V). Result: (..., M, D · V), channels slowest, in the memory order
    of rows. Equal to the plain way up to rounding, without its (..., M, k, D) features: the batch's mean
    and variance of W x + b follow from the moments of x, W μ + b and diag(W Σ Wᵀ), so that the CPU can go
    through groups in parts that stay in cache; the gradient works the features out again. Twice
    differentiable.
    """
    linear, _ = unit._parts()
    xs, vs = columns(x, linear.stacked), columns(weights, linear.stacked)
    scale, shift = folded_by_moments(unit, xs)
    sums = _WeightedSums.apply(xs, scale, shift, vs, x.shape[-2])  # type: ignore[no-untyped-call]
    return sums.view(*x.shape[:-2], -1)  # type: ignore[no-any-return]


def folded_by_moments(unit: LinearNorm, xs: Tensor) -> tuple[Tensor, Tensor]:
    """Weight (S, D, C) and bias (S, D) of linear map and norm as one, for inputs xs (S, C, P).

    In training mode by the statistics of this batch, which move the running ones.
    """
    linear, norm = unit._parts()
    count = xs.shape[2]
    if not (norm.training and count > 1):
        weight, bias = unit._folded()
        return weight.view(len(xs), *weight.shape[-2:]), bias.view(len(xs), -1)
    weight = linear.weight.view(len(xs), linear.outputs, linear.inputs)
    gamma, beta = (values.view(len(xs), -1) for values in (norm.weight, norm.bias))
    centre = xs.mean(2, keepdim=True)
    centred = xs - centre
    covariance = torch.bmm(centred, centred.mT) / count
    variance = torch.linalg.vecdot(torch.bmm(weight, covariance), weight).clamp_min(0)
    mean = torch.bmm(weight, centre).squeeze(2)
    offset = 0 * mean if linear.bias is None else linear.bias.view_as(mean)
    mean = mean + offset
    with torch.no_grad():
        norm.running_mean.lerp_(mean.view_as(norm.running_mean), norm.momentum)
        unbiased = variance.view_as(norm.running_var) * (count / (count - 1))
        norm.running_var.lerp_(unbiased, norm.momentum)
    scale = gamma * torch.rsqrt(variance + norm.eps)
    return weight * scale.unsqueeze(2), torch.addcmul(beta, offset - mean, scale)


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
            wanted = [x for x in inputs if x.requires_grad]
            found = iter(torch.autograd.grad(_plainly(*inputs, ctx.k), wanted, gradient, create_graph=True))
            return *(next(found) if x.requires_grad else None for x in inputs), None
        xs, weight, bias, vs = inputs
        by_xs, by_vs = torch.empty_like(xs), torch.empty_like(vs)
        by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        for s, part, own in _chunks(xs, weight, ctx.k):
            features = _features(xs[s, :, part], weight[s], bias[s])
            above = gradient[s, own].contiguous()
            _groups(by_vs[s, :, part], ctx.k).copy_(torch.bmm(above.mT, _groups(features, ctx.k)))
            by_features = torch.bmm(above, _groups(vs[s, :, part], ctx.k))
            _groups(features.sign_(), ctx.k).mul_(by_features)
            by_weight[s].addmm_(features, xs[s, :, part].T)
            by_bias[s] += features.sum(1)
            by_xs[s, :, part] = torch.mm(weight[s].T, features)
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
    return values.unflatten(1, (-1, k)).transpose(0, 1)


def _plainly(xs: Tensor, weight: Tensor, bias: Tensor, vs: Tensor, k: int) -> Tensor:
    """The same in operations that are differentiable any number of times."""
    features = torch.relu(torch.baddbmm(bias.unsqueeze(2), weight, xs))
    grouped, weights = (x.unflatten(2, (-1, k)).transpose(1, 2) for x in (features, vs))
    return torch.matmul(grouped, weights.mT)
