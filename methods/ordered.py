"""SADM's loss with the points in an order of their own in place of sorted features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from pcbench.api import Backbone, param
from pcbench.ops.matching import match_classes, mean_distance, mmd

from .sadm import PAPER, SADM

BITS = 10
"""Of every coordinate in a Z-order: 1024 steps along the longest side of a cloud."""


class Ordered(SADM):
    """SADM with points ordered by where they are (Yim, Kim, Sim 2025, version 3, Table 9).

    SADM asks which point of one cloud answers to which of another, and sorts every channel for itself (Eq.
    5-6). Here every channel has one order, that of the points along an axis or along a Z-order curve (Morton
    1966), and L_alpha compares the features that stand at the same place in it (Eq. 7-8). L_beta, on the
    largest features (Eq. 9), is as it was, which the paper does not say; `lambda_beta=0` leaves it out. Of
    networks whose features are of fewer points than the cloud has, the order of the features is their own.
    """

    name = "ordered"

    class Params(SADM.Params):
        order: Literal["axis", "morton", "feature"] = param(
            "morton",
            "order of the points: along an axis, along a Z-order curve, or SADM's, by each feature",
            source=PAPER + ", version 3, Table 9",
        )
        axis: Literal["x", "y", "z"] = param(
            "z", "the axis (order=axis)", source=PAPER + ", version 3, Table 9"
        )
        align: Literal[True] = param(True, "always; unsorted features are sadm's", source="proposed")
        rotate: bool = param(False, "learn three angles per synthetic cloud", source=PAPER + ", Table 9")

    params: Ordered.Params

    def match(self, network: Backbone, real: Tensor, clouds: Tensor) -> tuple[Tensor, Tensor]:
        def feature(xyz: Tensor) -> Tensor:
            return network.point_features(self.in_order(xyz))

        synthetic = clouds.unflatten(0, (len(real), -1))
        losses, gradient = match_classes(feature, self.losses, real, synthetic)
        return losses, gradient.flatten(0, 1)

    def in_order(self, xyz: Tensor) -> Tensor:
        """The points of clouds (B, N, 3) in the order asked for, of equal ones the first first."""
        p = self.params
        if p.order == "feature":
            return xyz
        keys = z_order(xyz) if p.order == "morton" else xyz[..., "xyz".index(p.axis)].detach()
        return xyz.gather(1, keys.argsort(dim=1, stable=True).unsqueeze(-1).expand_as(xyz))

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss of every class from features in order, (K, n, N, D) and (K, m, N, D) -> (K,)."""
        p = self.params
        if p.order == "feature":
            return super().losses(real, synthetic)
        clouds, points = synthetic.shape[1:3]
        if p.loss == "mmd":
            alpha, beta = p.lambda_alpha * clouds, p.lambda_beta * clouds
            value = alpha * mmd(real.flatten(2), synthetic.flatten(2), p.kernel, p.bandwidth)
        else:
            alpha, beta = p.lambda_mean / points, p.lambda_beta
            value = alpha * mean_distance(real.flatten(2), synthetic.flatten(2))
        real_top, synthetic_top = (x.topk(p.topk, 2).values.flatten(2) for x in (real, synthetic))
        return value + beta * mmd(real_top, synthetic_top, p.kernel, p.bandwidth)


def z_order(xyz: Tensor) -> Tensor:
    """Where the points of clouds (B, N, 3) stand on a Z-order curve: (B, N) int64.

    Each coordinate is counted in BITS bits, from the cloud's least one, along the cloud's longest side; the
    place is their bits in turn, from the highest down, x before y before z.
    """
    least = xyz.detach().amin(1, keepdim=True)
    offset = xyz.detach() - least
    longest = offset.amax((1, 2), keepdim=True).clamp_min(torch.finfo(xyz.dtype).tiny)
    steps = (offset / longest * (1 << BITS)).long().clamp_max((1 << BITS) - 1)
    place = torch.zeros_like(steps[..., 0])
    for bit in reversed(range(BITS)):
        for axis in range(3):
            place = place * 2 + (steps[..., axis] >> bit & 1)
    return place
