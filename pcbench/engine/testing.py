"""What is done to the test clouds before students see them, by `pcbench.protocols.variants`."""

from __future__ import annotations

from dataclasses import replace

import torch

from pcbench.clouds import PointClouds
from pcbench.ops import corruptions
from pcbench.ops.corruptions import Draws
from pcbench.protocols.variants import Variant
from pcbench.seeds import seed_of

CLOUDS_AT_ONCE = 256

CORRUPTIONS = {
    "jitter": corruptions.jitter,
    "dropout": corruptions.dropout,
    "occlusion": corruptions.occlusion,
    "scale": corruptions.scale,
    "outliers": corruptions.outliers,
}


def changed(variant: Variant, clouds: PointClouds, dataset: str) -> PointClouds:
    """The test clouds (B, N, 3) of a data set in a variant; those of `points` have their number already.

    What a cloud is drawn depends on itself, on the data set's name and on the kind: all students of all
    methods are tested on the same clouds, and the severities of a corruption share their draws.
    """
    if variant.kind in ("plain", "points"):
        return clouds
    seed = seed_of({"level": "test variant", "dataset": dataset, "kind": variant.kind})
    parts = [_applied(variant, part, Draws(part, seed)) for part in clouds.points.split(CLOUDS_AT_ONCE)]
    return replace(clouds, points=torch.cat(parts))


def _applied(variant: Variant, xyz: torch.Tensor, draws: Draws) -> torch.Tensor:
    if variant.axis is not None:
        return corruptions.turn(xyz, variant.axis, draws)
    if variant.amount is None:
        return corruptions.rotate_any(xyz, draws)
    return CORRUPTIONS[variant.kind](xyz, variant.amount, draws)
