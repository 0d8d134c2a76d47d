"""Distribution matching by the mean embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

from pcbench.api import Backbone, param

from ._matching import Matching, MatchingParams


class DM(Matching["DM.Params"]):
    """Distribution matching: mean embeddings of real and synthetic clouds (Zhao, Bilen 2023)."""

    name = "dm"

    class Params(MatchingParams):
        layer: Literal["embedding", "global"] = param(
            "embedding",
            "the feature that is matched: the input of the last linear layer, or the pooled feature",
            source="paper, 'the layer before the classifier'",
        )

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        return network.embed if self.params.layer == "embedding" else network.global_feature
