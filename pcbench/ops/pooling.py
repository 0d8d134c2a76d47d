"""The largest of a linear map over the points of a cloud, without keeping the map's values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MAX_VALUES = 1 << 20
"""Values of a layer among which a maximum is sought at a time on the CPU: 4 MiB of float32."""

GRADIENT_VALUES = 1 << 18
"""Values of a layer whose gradient is formed at a time on the CPU: 1 MiB of float32."""

FEW_PRODUCTS = 1 << 20
"""Multiplications of a cloud up to which forming the whole gradient is quicker than gathering winners."""


def max_of_products(xs: Tensor, weight: Tensor, points: int) -> Tensor:
    """The largest of W x over the N points of every cloud: (S, B, D).

    xs: (S, C, B · N). weight: (S, D, C). points: N. The CPU goes through students and clouds in parts that
    stay in cache, and leaves the search to numpy, whose vector instructions torch's lacks. Twice
    differentiable; the gradient goes to one of equal points.
    """
    return _MaxOfProducts.apply(xs, weight, points)  # type: ignore[no-any-return, no-untyped-call]


class _MaxOfProducts(torch.autograd.Function):
    """`max_of_products`, whose gradient is computed from the winners alone."""

    @staticmethod
    def forward(ctx: Any, xs: Tensor, weight: Tensor, points: int) -> Tensor:
        students, outputs, _ = weight.shape
        clouds = xs.shape[2] // points
        kept = any(ctx.needs_input_grad)
        if xs.device.type != "cpu":
            values = torch.bmm(weight, xs).view(students, outputs, clouds, points)
            if not kept:
                return values.amax(3).mT
            largest, winners = (extreme.mT.contiguous() for extreme in values.max(3))
        elif not kept:
            return _largest_in_parts(xs, weight, points)
        else:
            largest, winners = _winners_in_parts(xs, weight, points)
        winners += torch.arange(clouds, device=xs.device).unsqueeze(1) * points
        ctx.save_for_backward(xs, weight, winners)
        ctx.points = points
        return largest

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        xs, weight, winners = ctx.saved_tensors
        once = xs.device.type == "cpu" and not torch.is_grad_enabled()
        if once and ctx.points * weight[0].numel() <= FEW_PRODUCTS:
            return *_gradients_of_groups(xs, weight, winners, gradient), None
        both = _winners_gradients if once else _winners_gradients_twice
        return *both(xs, weight, winners, gradient), None


def _largest_in_parts(xs: Tensor, weight: Tensor, points: int) -> Tensor:
    """The largest products, (S, B, D): some clouds at a time, or some channels of one."""
    students, outputs, _ = weight.shape
    clouds = xs.shape[2] // points
    largest = xs.new_empty(students, clouds, outputs)
    size, width = max(1, MAX_VALUES // (outputs * points)), max(1, MAX_VALUES // points)
    for s in range(students):
        for columns, maxima in zip(xs[s].split(size * points, 1), largest[s].split(size), strict=True):
            for rows, best in zip(weight[s].split(width), maxima.split(width, 1), strict=True):
                values = torch.mm(rows, columns).view(len(rows), -1, points)
                torch.amax(values.transpose(0, 1), 2, out=best)
    return largest


def _winners_in_parts(xs: Tensor, weight: Tensor, points: int) -> tuple[Tensor, Tensor]:
    """The largest products and their places, (S, B, D), some clouds at a time."""
    students, outputs, _ = weight.shape
    clouds = xs.shape[2] // points
    largest = xs.new_empty(students, clouds, outputs)
    winners = torch.empty(students, clouds, outputs, dtype=torch.int64)
    size = max(1, MAX_VALUES // (outputs * points))
    for s in range(students):
        for start in range(0, clouds, size):
            part = slice(start, min(start + size, clouds))
            values = torch.mm(weight[s], xs[s, :, part.start * points : part.stop * points])
            values = values.view(outputs, -1, points)
            place = torch.from_numpy(values.numpy().argmax(-1))
            largest[s, part] = values.gather(2, place.unsqueeze(2)).squeeze(2).T
            winners[s, part] = place.T
    return largest, winners


def _winners_gradients(
    xs: Tensor, weight: Tensor, winners: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients by xs and weight of winning products whose gradient is given, a cloud at a time."""
    by_xs, by_weight = torch.empty_like(xs), torch.zeros_like(weight)
    for s in range(len(xs)):
        points = xs[s].T.contiguous()
        by_points = torch.zeros_like(points)
        for place, g in zip(winners[s], gradient[s].unsqueeze(2), strict=True):
            by_weight[s].addcmul_(points.index_select(0, place), g)
            by_points.index_add_(0, place, weight[s] * g)
        by_xs[s] = by_points.T
    return by_xs, by_weight


def _gradients_of_groups(
    xs: Tensor, weight: Tensor, winners: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """The same for clouds as small as a group of neighbours, by two products.

    The gradient of the products, zero but for the winners, is formed in parts that stay in cache.
    """
    by_xs, by_weight = torch.empty_like(xs), torch.zeros_like(weight)
    clouds, outputs = winners.shape[1:]
    points = xs.shape[2] // clouds
    place = (winners - torch.arange(clouds).unsqueeze(1) * points).mT.unsqueeze(3)
    values = gradient.mT.unsqueeze(3)
    size = max(1, GRADIENT_VALUES // (outputs * points))
    for s in range(len(xs)):
        for start in range(0, clouds, size):
            part = slice(start, min(start + size, clouds))
            columns = slice(part.start * points, part.stop * points)
            dense = xs.new_zeros(outputs, part.stop - part.start, points)
            dense.scatter_(2, place[s, :, part], values[s, :, part])
            torch.mm(weight[s].T, dense.flatten(1), out=by_xs[s, :, columns])
            by_weight[s].addmm_(dense.flatten(1), xs[s, :, columns].T)
    return by_xs, by_weight


def moments(xs: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (S, C, 1) and biased covariance (S, C, C) of the columns of (S, C, P); twice differentiable.

    No centred copy of xs is formed, and its gradient is one product.
    """
    return _Moments.apply(xs)  # type: ignore[no-any-return, no-untyped-call]


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, xs: Tensor) -> tuple[Tensor, Tensor]:
        mean = xs.mean(2, keepdim=True)
        covariance = xs.new_zeros(*xs.shape[:2], xs.shape[1])
        size = max(1, GRADIENT_VALUES // xs.shape[1]) if xs.device.type == "cpu" else xs.shape[2]
        for part in xs.split(size, 2):
            centred = part - mean
            covariance.baddbmm_(centred, centred.mT)
        covariance /= xs.shape[2]
        ctx.save_for_backward(xs, mean)
        return mean, covariance

    @staticmethod
    def backward(ctx: Any, by_mean: Tensor, by_covariance: Tensor) -> Tensor:
        xs, mean = ctx.saved_tensors
        both = (by_covariance + by_covariance.mT) / xs.shape[2]
        return torch.baddbmm(by_mean / xs.shape[2] - torch.bmm(both, mean), both, xs)


def _winners_gradients_twice(
    xs: Tensor, weight: Tensor, winners: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in operations that are differentiable themselves, for all clouds at once."""
    students, channels, count = xs.shape
    first = torch.arange(students, device=xs.device).view(-1, 1, 1) * count
    place = (winners + first).flatten()
    rows = F.embedding(place, xs.mT.reshape(-1, channels)).view(*winners.shape, channels)
    by_weight = (gradient.unsqueeze(3) * rows).sum(1)
    by_rows = (gradient.unsqueeze(3) * weight.unsqueeze(1)).flatten(0, 2)
    by_points = by_rows.new_zeros(students * count, channels).index_add(0, place, by_rows)
    return by_points.view(students, count, channels).mT, by_weight
