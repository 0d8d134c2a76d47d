"""Distribution matching by the mean embedding."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor

from pcbench.api import Backbone, Setting, param

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

    settings: ClassVar[dict[str, Setting]] = {
        "tuned": Setting("candidates 0.1, 1, 10, 100 on a validation part of ModelNet10"),
        "paper": Setting("SADM's paper, version 3, appendix", {"lr": 1.0}),
    }

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        return network.embed if self.params.layer == "embedding" else network.global_feature
