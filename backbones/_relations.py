"""Sums of a value of a neighbour and a value of its centre: normalised, and the largest product among them.

Values of neighbours are (..., k, M, D) here, neighbours before centres, so that sums and maxima over
neighbours run along contiguous memory.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.ops.layers import BatchNorm, Dense, LinearNorm, columns, from_columns, per_channel
from pcbench.ops.neighbours import gather_points


def neighbour_sums(x: Tensor, index: Tensor) -> Tensor:
    """The sum of the neighbours' values: (..., N, D), index (..., M, k) -> (..., M, D).

    Leading axes of the index equal those of x or are 1. Differentiable, any number of times.
    """
    clouds, points = x.shape[:-2].numel(), x.shape[-2]
    index = index.expand(*x.shape[:-2], -1, -1)
    first = torch.arange(0, clouds * points, points, device=x.device).view(-1, 1, 1)
    rows = (index.reshape(clouds, *index.shape[-2:]) + first).flatten(0, 1)
    sums: Tensor = _Sums.apply(x.reshape(clouds * points, -1).contiguous(), rows)  # type: ignore[no-untyped-call]
    return sums.view(*index.shape[:-1], -1)


class _Sums(torch.autograd.Function):
    """Rows (R, D) summed over an index (Q, k): (Q, D)."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(rows)
        return F.embedding_bag(index, rows, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        return _Spread.apply(gradient, index, ctx.rows), None  # type: ignore[no-untyped-call]


class _Spread(torch.autograd.Function):
    """The transpose of `_Sums`: (Q, D) -> (R, D)."""

    @staticmethod
    def forward(ctx: Any, sums: Tensor, index: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(index)
        found = index.flatten()
        origin = found.argsort() // index.shape[1]
        ones = found.new_ones(()).expand_as(found)  # torch.bincount would wait for a GPU
        ends = found.new_zeros(rows).scatter_add_(0, found, ones).cumsum(0)
        starts = F.pad(ends[:-1], (1, 0))
        return F.embedding_bag(origin, sums.contiguous(), starts, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (index,) = ctx.saved_tensors
        return _Sums.apply(gradient.contiguous(), index), None, None  # type: ignore[no-untyped-call]


def neighbour_counts(x: Tensor, index: Tensor) -> Tensor:
    """How often each point is a neighbour: like x (..., N, D), index (..., M, k) -> (..., N, 1).

    Leading axes are those of the index.
    """
    found = index.flatten(-2)
    zeros = x.new_zeros(*found.shape[:-1], x.shape[-2])
    return zeros.scatter_add_(-1, found, x.new_ones(()).expand(found.shape)).unsqueeze(-1)


def moments_of_sums(a: Tensor, c: Tensor, index: Tensor, stacked: bool) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel of a_j + c_i, all neighbours j of all centres i: (D,) or (S, D).

    a: (..., N, D). c: (..., M, D). index: (..., M, k), its leading axes those of a and c or 1. From sums at
    the points, about the means, so that float32 keeps the spread of values far from 0. Differentiable twice.
    """
    students, channels = len(a) if stacked else 1, a.shape[-1]
    times = neighbour_counts(a, index).expand(*a.shape[:-1], 1).reshape(students, -1, 1)
    rows, centres = (x.reshape(students, -1, channels) for x in (a, c))
    with torch.no_grad():
        origin, other = _mean_row(rows, times), centres.mean(1, keepdim=True)
    rows, centres = rows - origin, centres - other
    sums = neighbour_sums(rows.view(a.shape), index).view(centres.shape)
    mean, variance = _Moments.apply(rows, centres, sums, times, index.shape[-1])  # type: ignore[no-untyped-call]
    shape = (students, channels) if stacked else (channels,)
    return (origin + other + mean).view(shape), variance.view(shape)


class _Moments(torch.autograd.Function):
    """`moments_of_sums` of a (S, R, D) and c (S, Q, D): (S, 1, D) each, given the sums over neighbours.

    sums: of a over the k neighbours of each centre, (S, Q, D). times: how often each a is one, (S, R, 1).
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, c: Tensor, sums: Tensor, times: Tensor, k: int) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(a, c, sums, times)
        ctx.k = k
        mean = _mean_row(a, times) + c.mean(1, keepdim=True)
        total = (times * a * a).sum(1, keepdim=True) + (c * (2 * sums + k * c)).sum(1, keepdim=True)
        return mean, (total / (k * c.shape[1]) - mean * mean).clamp_min_(0)

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_variance: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        a, c, sums, times = ctx.saved_tensors
        pairs = ctx.k * c.shape[1]
        slope = by_variance * (2 / pairs)
        constant = by_mean / pairs - slope * (_mean_row(a, times) + c.mean(1, keepdim=True))
        by_a = torch.addcmul(constant, a, slope) * times
        by_c = torch.addcmul(ctx.k * constant, torch.add(sums, c, alpha=ctx.k), slope)
        return by_a, by_c, c * slope, None, None


def _mean_row(rows: Tensor, times: Tensor) -> Tensor:
    """Of rows (S, R, D), each of which counts several times, (S, R, 1): (S, 1, D)."""
    return torch.bmm(times.mT, rows) / times.sum(1, keepdim=True)


def dense_of_sums(norm: BatchNorm, a: Tensor, c: Tensor, index: Tensor) -> Tensor:
    """ReLU of the batch norm of a_j + c_i over all neighbours j of all centres i: (..., k, M, D).

    a: (..., N, D). c: (..., M, D). index: (..., M, k), its leading axes those of a and c or 1.
    """
    return _ReluOfSums.apply(*normalised(norm, a, c, index), index.mT)  # type: ignore[no-any-return, no-untyped-call]


def largest_of_sums(norm: BatchNorm, last: Dense, a: Tensor, c: Tensor, index: Tensor) -> Tensor:
    """The largest of `last(dense_of_sums(...))` over the neighbours, (..., M, E), without keeping its input.

    Batch norm and ReLU are monotonic, so the neighbour wins that wins on the linear map (or loses, where the
    norm's weight is negative).
    """
    a, c = normalised(norm, a, c, index)
    linear, norm = last.parts()
    count = c.shape[:-1].numel() * index.shape[-1] // (len(c) if linear.stacked else 1)
    training = norm.training and count > 1
    weight, bias = (linear.weight, linear.bias) if training else last.folded()
    sign = torch.ones_like(norm.weight)
    if training:
        sign[norm.weight < 0] = -1
    signed = weight * sign.unsqueeze(-1)
    if linear.stacked:
        largest, mean, variance = _largest(a, c, index, signed)
    else:
        largest, mean, variance = _largest(*(x.unsqueeze(0) for x in (a, c, index, signed)))
    largest = largest.view(*c.shape[:-1], -1) * per_channel(sign, c, linear.stacked)
    if bias is not None:
        largest = largest + per_channel(bias, largest, linear.stacked)
    if training:
        mean = mean.view_as(sign) * sign if bias is None else mean.view_as(sign) * sign + bias
        largest = norm.from_moments(largest, mean, variance.view_as(sign), count)
    return torch.relu(largest)


def normalised(norm: BatchNorm, a: Tensor, c: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """a and c such that a_j + c_i is normalised: the statistics follow from sums at the points."""
    count = c.shape[:-1].numel() * index.shape[-1] // (len(c) if norm.stacked else 1)
    if norm.training and count > 1:
        mean, variance = moments_of_sums(a, c, index, norm.stacked)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shifted = norm.from_moments(c, mean, variance, count)
    else:
        scale, shift = norm.scale_and_shift()
        shifted = torch.addcmul(per_channel(shift, c, norm.stacked), c, per_channel(scale, c, norm.stacked))
    return a * per_channel(scale, a, norm.stacked), shifted


class _ReluOfSums(torch.autograd.Function):
    """ReLU(a_j + c_i), (..., N, D), (..., M, D), index (..., k, M) -> (..., k, M, D)."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, c: Tensor, index: Tensor) -> Tensor:
        y = gather_points(a, index).add_(c.unsqueeze(-3)).relu_()
        ctx.save_for_backward(y, index)
        ctx.points = a.shape[-2]
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        y, index = ctx.saved_tensors
        axis = -4 if y.dim() > 3 else -3
        by_channel = _passed(gradient, y).movedim(-1, axis)
        by_c = by_channel.sum(-2).movedim(axis + 1, -1)
        by_channel = by_channel.flatten(-2)
        places = index.flatten(-2).unsqueeze(axis + 1).expand(by_channel.shape)
        zeros = gradient.new_zeros(*by_channel.shape[:-1], ctx.points)
        return zeros.scatter_add(-1, places, by_channel).movedim(axis + 1, -1), by_c, None


def _passed(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient before a ReLU whose result is y, in one pass."""
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, y.detach(), 0)
    return passed


def _largest(a: Tensor, c: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """With x = ReLU(a_j + c_i): the largest W x over neighbours, (S, B, M, E), mean and variance, (S, E).

    a: (S, B, N, D). c: (S, B, M, D). index: (S or 1, B, M, k). weight: (S, E, D).
    """
    if a.device.type == "cpu":
        return _Largest.apply(a, c, index, weight)  # type: ignore[no-any-return, no-untyped-call]
    return _largest_plainly(a, c, index, weight)


def _largest_plainly(a: Tensor, c: Tensor, index: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x: Tensor = _ReluOfSums.apply(a, c, index.mT)  # type: ignore[no-untyped-call]
    z = torch.bmm(weight, columns(x, True))
    variance, mean = torch.var_mean(z, 2, correction=0)
    return z.unflatten(2, x.shape[1:-1]).amax(-2).movedim(1, -1), mean, variance


class _Largest(torch.autograd.Function):
    """`_largest` on the CPU, one cloud at a time, which stays in cache; equal ones share the gradient."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, c: Tensor, index: Tensor, weight: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        (students, clouds, centres, k), outputs = (*c.shape[:3], index.shape[-1]), weight.shape[1]
        kept = students, clouds if any(ctx.needs_input_grad) else 1
        z = a.new_empty(*kept, outputs, k * centres)
        largest = a.new_empty(students, clouds, outputs, centres)
        moments = a.new_zeros(2, students, outputs, dtype=torch.float64)
        for s, b in itertools.product(range(students), range(clouds)):
            values = z[s, b % z.shape[1]]
            torch.mm(weight[s], _relu_of_sums(a[s, b], c[s, b], index[s % len(index), b]), out=values)
            torch.amax(values.view(outputs, k, centres), 1, out=largest[s, b])
            moments[0, s] += values.sum(1)
            moments[1, s] += torch.linalg.vecdot(values, values)
        mean, square = moments / (clouds * k * centres)
        ctx.save_for_backward(a, c, index, weight, z, largest, mean)
        variance = (square - mean * mean).clamp_min_(0)
        return largest.mT, mean.to(a.dtype), variance.to(a.dtype)

    @staticmethod
    def backward(
        ctx: Any, by_largest: Tensor, by_mean: Tensor, by_variance: Tensor
    ) -> tuple[Tensor | None, ...]:
        a, c, index, weight, z, largest, mean = ctx.saved_tensors
        given = (by_largest, by_mean, by_variance)
        if torch.is_grad_enabled():
            inputs = a, c, index, weight
            wanted = [x for x, needed in zip(inputs, ctx.needs_input_grad, strict=True) if needed]
            found = torch.autograd.grad(_largest_plainly(*inputs), wanted, given, create_graph=True)
            by = iter(found)
            return tuple(next(by) if needed else None for needed in ctx.needs_input_grad)
        (students, clouds, outputs, _), (centres, k) = z.shape, index.shape[-2:]
        slope = by_variance * (2 / (clouds * k * centres))
        constant = by_mean / (clouds * k * centres) - slope * mean.to(a.dtype)
        by_a, by_c = a.new_zeros(a.mT.shape), a.new_empty(c.mT.shape)
        by_weight = torch.zeros_like(weight)
        by_z, by_x = torch.empty_like(z[0, 0]), a.new_empty(a.shape[-1], k * centres)
        shape = outputs, k, centres
        won = z.new_empty(shape)
        for s, b in itertools.product(range(students), range(clouds)):
            places = index[s % len(index), b]
            x = _relu_of_sums(a[s, b], c[s, b], places)
            torch.eq(z[s, b].view(shape), largest[s, b].unsqueeze(1), out=won)
            share = by_largest[s, b].T / won.sum(1)
            torch.addcmul(constant[s].unsqueeze(1), z[s, b], slope[s].unsqueeze(1), out=by_z)
            by_z.view(shape).addcmul_(won, share.unsqueeze(1))
            if ctx.needs_input_grad[3]:
                by_weight[s].addmm_(by_z, x.T)
            torch.mm(weight[s].T, by_z, out=by_x)
            by_x.mul_(x.sign_())
            torch.sum(by_x.view(-1, k, centres), 1, out=by_c[s, b])
            by_a[s, b].scatter_add_(1, places.T.flatten().expand(by_x.shape), by_x)
        return by_a.mT, by_c.mT, None, by_weight


def _relu_of_sums(a: Tensor, c: Tensor, index: Tensor) -> Tensor:
    """One cloud's ReLU(a_j + c_i), (N, D), (M, D), (M, k) -> (D, k · M)."""
    places = index.T.flatten().expand(a.shape[1], -1)
    x = a.T.contiguous().gather(1, places).view(a.shape[1], *index.T.shape)
    return x.add_(c.T.unsqueeze(1)).relu_().flatten(1)


def difference_deviation(x: Tensor, centres: Tensor, index: Tensor) -> Tensor:
    """Standard deviation of all x_j - c_i of each cloud, over centres, neighbours and channels: (..., 1, 1).

    x: (..., N, C). centres: (..., M, C). index: (..., M, k). Unbiased; exact to rounding where x has mean 0.
    """
    k = index.shape[-1]
    values = k * centres.shape[-2:].numel()
    times, over = neighbour_counts(x, index), (-2, -1)
    total = (times * x).sum(over) - k * centres.sum(over)
    squares = (times * x * x).sum(over)
    squares = squares + (centres * (k * centres - 2 * neighbour_sums(x, index))).sum(over)
    variance = (squares - total * total / values) / (values - 1)
    return variance.clamp_min(torch.finfo(x.dtype).tiny).sqrt()[..., None, None]


def plus_linear_norm(x: Tensor, layer: LinearNorm, hidden: Tensor, relu: bool) -> Tensor:
    """x + layer(hidden), (..., D) and (..., C) -> (..., D), or its ReLU; written once where the layer widens.

    The batch statistics then follow from the moments of `hidden`.
    """
    linear, norm = layer.parts()
    if norm.training and linear.inputs >= linear.outputs:
        y: Tensor = x + layer(hidden)
        return torch.relu(y) if relu else y
    hs, xs = columns(hidden, linear.stacked), columns(x, linear.stacked)
    weight, bias = layer.folded_for(hs)
    y = torch.baddbmm(bias.unsqueeze(2), weight, hs).add_(xs)
    return from_columns(y.relu_() if relu else y, x, linear.stacked)


def max_over_neighbours(x: Tensor) -> Tensor:
    """The largest value per channel, (..., k, M, D) -> (..., M, D); equal values share its gradient."""
    largest: Tensor = _MaxOverRows.apply(x.movedim(-1, 0))  # type: ignore[no-untyped-call]
    return largest.movedim(0, -1)


class _MaxOverRows(torch.autograd.Function):
    """The largest over the last axis but one, (..., k, M) -> (..., M)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        largest = x.amax(-2, keepdim=True)
        ctx.save_for_backward(x, largest)
        return largest.squeeze(-2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        x, largest = (saved.detach() for saved in ctx.saved_tensors)
        won = torch.eq(x, largest, out=torch.empty_like(x))
        share = gradient.unsqueeze(-2) / won.sum(-2, keepdim=True)
        return won * share if torch.is_grad_enabled() else won.mul_(share)
