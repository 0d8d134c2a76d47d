"""Distribution matching by networks from all stages of training."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from pcbench.api import Backbone, param

from ._calibrated import Calibrated, CalibratedParams


class DANCE(Calibrated["DANCE.Params"]):
    """Mean embeddings by networks between untrained and trained ones (Zhang et al. 2024, DANCE).

    The paper's two parts are a pseudo long-term view, which is the mixture of a network's start and end, and
    the calibration by an expert, which is its end's cross-entropy. What it adds for images (factors and
    upsampling, augmentation) is left out; batch norm is set by real clouds, as for `dm`.
    """

    name = "dance"

    class Params(CalibratedParams):
        lr: float = param(
            1e-4,
            "learning rate of the points",
            source="proposed: points then move as far as dm's in the first iterations on ModelNet10",
            gt=0,
        )

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        return network.embed
