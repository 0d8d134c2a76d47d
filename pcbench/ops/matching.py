"""Distances between the features of real and synthetic clouds, for all classes of a chunk at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from pcbench.ops import batches
from pcbench.ops.batches import groups_at_once, in_chunks
from pcbench.ops.sorting import ascending

Kernel = Literal["gaussian", "linear"]
BANDWIDTH_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)

GRAM_VALUES, GRAM_ROW = 1 << 18, 1 << 12
"""Values that are centred and multiplied at a time on the CPU, 1 MiB in float32, and those of one product."""


def sorted_features(features: Tensor, descending: bool = True) -> Tensor:
    """Every channel sorted over the points (Yim, Kim, Sim 2025, Eq. 5-6): (..., N, D) -> (..., D, N).

    The squared distance between two clouds' sorted channels is N times the squared 1-d Wasserstein-2 distance
    between their values: sorting is the optimal matching of points, so no correspondence has to be known. The
    distance is the same for either order; ascending spares a pass over memory.
    """
    values = ascending(features.transpose(-1, -2))
    return values.flip(-1) if descending else values


def squared_distances(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distances within the union of two sets: (K, n, F), (K, m, F) -> (K, n + m, n + m), real first.

    |a|² + |b|² - 2ab cancels where clouds are close together and far from the origin; distances do not change
    under a translation, so the mean of the real features is taken off first. The products need full float32:
    torch's default, which nothing here lowers to TF32. Once differentiable.
    """
    return _SquaredDistances.apply(real, synthetic)  # type: ignore[no-any-return, no-untyped-call]


class _SquaredDistances(torch.autograd.Function):
    """`squared_distances`, a block of features at a time, so that no centred copy of them reaches memory."""

    @staticmethod
    def forward(ctx: Any, real: Tensor, synthetic: Tensor) -> Tensor:
        (classes, n, size), m = real.shape, synthetic.shape[1]
        on_cpu = real.device.type == "cpu"
        block = max(GRAM_ROW, GRAM_VALUES // (classes * (n + m)) // GRAM_ROW * GRAM_ROW) if on_cpu else size
        gram = real.new_zeros(classes, n + m, n + m)
        for start in range(0, size, block):
            ours, theirs = synthetic[..., start : start + block], real[..., start : start + block]
            row = GRAM_ROW if ours.shape[2] % GRAM_ROW == 0 else ours.shape[2]
            ours, theirs = (x.unflatten(2, (-1, row)).transpose(1, 2) for x in (ours, theirs))
            centre = theirs.mean(2, keepdim=True)
            rows = real.new_empty(*ours.shape[:2], n + m, row)  # many short products beat one of long rows
            torch.sub(theirs, centre, out=rows[:, :, :n])
            torch.sub(ours, centre, out=rows[:, :, n:])
            gram += torch.matmul(rows, rows.mT).sum(1)
        norms = gram.diagonal(dim1=1, dim2=2)
        distances = (norms.unsqueeze(1) + norms.unsqueeze(2) - 2 * gram).clamp_min(0)
        ctx.save_for_backward(real, synthetic, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Of d²_ij by x_j: 2 (x_j - x_i), exactly 0 for equal ones, whatever the kernel's slope is there.

        The coefficients of a row sum to 0: no centre has to be taken off.
        """
        real, synthetic, distances = ctx.saved_tensors
        n = real.shape[1]
        pairs = (-2 * (gradient + gradient.mT)).masked_fill_(distances == 0, 0)
        pairs.diagonal(dim1=1, dim2=2).zero_()
        pairs.diagonal(dim1=1, dim2=2).sub_(pairs.sum(2))
        by_real, by_synthetic = (
            torch.baddbmm(torch.bmm(rows[..., :n], real), rows[..., n:], synthetic) if needed else None
            for rows, needed in zip((pairs[:, :n], pairs[:, n:]), ctx.needs_input_grad, strict=True)
        )
        return by_real, by_synthetic


def kernel_values(distances: Tensor, kernel: Kernel, bandwidth: float | None) -> Tensor:
    """The kernel of every pair from squared distances (K, u, u) within a union of u clouds.

    `gaussian` without bandwidth: Σ exp(-d² / (b f)) over f in BANDWIDTH_FACTORS, where b is the mean squared
    distance of two different clouds of the union and has no gradient (in Eq. 4's notation σ is b f / 2).
    `gaussian` with bandwidth σ: exp(-d² / 2σ), Eq. 4 as it is printed. `linear`: the inner product, up to
    terms that cancel in the discrepancy.
    """
    if kernel == "linear":
        return -0.5 * distances
    if bandwidth is not None:
        return torch.exp(distances / (-2 * bandwidth))
    union = distances.shape[-1]
    width = distances.detach().sum((1, 2), keepdim=True) / (union * union - union)
    width = width.clamp_min(torch.finfo(distances.dtype).tiny ** 0.5)
    return torch.stack([torch.exp(distances / (-factor * width)) for factor in BANDWIDTH_FACTORS]).sum(0)


def mmd(
    real: Tensor, synthetic: Tensor, kernel: Kernel = "gaussian", bandwidth: float | None = None
) -> Tensor:
    """Maximum mean discrepancy of every class: (K, n, F), (K, m, F) -> (K,).

    The biased V-statistic mean K(T, T) + mean K(S, S) - 2 mean K(T, S), diagonal included; the kernels are
    those of `kernel_values` (Gretton et al. 2012; Yim, Kim, Sim 2025, Eq. 3-4).
    """
    n = real.shape[1]
    values = kernel_values(squared_distances(real, synthetic), kernel, bandwidth)
    within = values[:, :n, :n].mean((1, 2)) + values[:, n:, n:].mean((1, 2))
    return within - 2 * values[:, :n, n:].mean((1, 2))


def mean_distance(real: Tensor, synthetic: Tensor) -> Tensor:
    """Squared distance of every class's mean features (Zhao, Bilen 2023): (K, n, F), (K, m, F) -> (K,)."""
    return (real.mean(1) - synthetic.mean(1)).square().sum(1)


def attention_maps(features: Tensor, power: int, ordered: bool) -> Tensor:
    """How much a layer makes of every point: Σ_c |f_c|^power, at length 1 per cloud: (..., N, C) -> (..., N).

    ordered: sort each map over its points, so that it does not depend on their order. A map of zeros stays
    one, with gradient 0 (Zagoruyko, Komodakis 2017; Sajedi et al. 2023, Sec. 3.2).
    """
    largest = features.detach().abs().amax((-2, -1), keepdim=True)  # so that no power over- or underflows
    scale = largest.clamp_min(torch.finfo(features.dtype).tiny)
    maps = (features / scale).abs().pow(power).sum(-1)
    if ordered:
        maps = maps.sort(-1, descending=True).values
    return F.normalize(maps, dim=-1)


def match_classes(
    feature: Callable[[Tensor], Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    real: Tensor,
    synthetic: Tensor,
) -> tuple[Tensor, Tensor]:
    """The loss of every class, (K,), and the gradient of their sum by the synthetic clouds, (K, m, N, 3).

    real: (K, n, N, 3), seen without gradient. feature: clouds (B, N, 3) -> (B, ...) by a frozen network.
    loss: features (k, n, ...) and (k, m, ...) -> (k,). As the network is frozen, classes do not depend on one
    another, and a chunk of them is worked on at a time (`pcbench.ops.batches`).
    """

    def work(part: slice) -> tuple[Tensor, Tensor]:
        clouds = synthetic[part].detach().requires_grad_()
        with torch.no_grad():
            target = by_class(feature, real[part])
        value = loss(target, by_class(feature, clouds))
        return value.detach(), torch.autograd.grad(value.sum(), clouds)[0]

    points = (real.shape[1] + synthetic.shape[1]) * real.shape[2]
    size = groups_at_once(real.device, batches.CHUNK_POINTS // points, batches.POINT_BYTES * points)
    losses, gradients = zip(*in_chunks(work, len(real), size), strict=True)
    return torch.cat(losses), torch.cat(gradients)


def by_class(feature: Callable[[Tensor], Tensor], clouds: Tensor) -> Tensor:
    """Apply a function of clouds (B, N, 3) -> (B, ...) to clouds (K, n, N, 3) -> (K, n, ...)."""
    values = feature(clouds.flatten(0, 1))
    return values.view(*clouds.shape[:2], *values.shape[1:])
