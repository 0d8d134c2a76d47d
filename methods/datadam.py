"""Distribution matching by where each layer of a network looks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from pcbench.api import Backbone, Setting, param
from pcbench.ops.matching import attention_maps

from ._matching import Matching, MatchingParams


class DataDAM(Matching["DataDAM.Params"]):
    """Attention maps of every layer and mean embeddings (Sajedi et al. 2023).

    Σ_l ‖mean z_l(T) - mean z_l(S)‖² + λ ‖mean φ(T) - mean φ(S)‖², with z_l the attention map of the points
    after layer l and φ the embedding. That is the distance of the means of one vector a cloud, [z_1, …, z_L,
    √λ φ]. A pixel has a place, a point has none: the i-th points of two clouds have nothing in common, so a
    map is sorted over the points before it is averaged. Maps and embedding take a pass each.
    """

    name = "datadam"

    class Params(MatchingParams):
        power: int = param(
            4, "exponent p of |f|^p, summed over the channels", source="DataDAM's paper; its code has 1", ge=1
        )
        sort: bool = param(
            True,
            "sort every map; if not, it is in the points' order",
            source="proposed, since points have no order",
        )
        lambda_output: float = param(
            0.01, "weight of the embedding's distance", source="DataDAM's paper", ge=0
        )
        lr: float = param(
            1.0,
            "learning rate of the points",
            source="proposed; candidates 0.1, 1, 10 (DataDAM's code for images: 1, on 100 times the loss)",
            gt=0,
        )

    settings: ClassVar[dict[str, Setting]] = {
        "tuned": Setting("candidates 0.1, 1, 10 on a validation part of ModelNet10"),
        "paper": Setting("SADM's paper, version 3: a rate at which nothing diverges", {"lr": 1e-4}),
    }

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        p = self.params

        def maps_and_embedding(clouds: Tensor) -> Tensor:
            maps = [attention_maps(layer, p.power, p.sort) for layer in network.layer_features(clouds)]
            return torch.cat([*maps, math.sqrt(p.lambda_output) * network.embed(clouds)], 1)

        return maps_and_embedding
