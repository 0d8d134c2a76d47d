"""Distribution matching by the maximum mean discrepancy of one feature vector a cloud."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

from pydantic import model_validator
from torch import Tensor

from pcbench.api import Backbone, param
from pcbench.ops.matching import Kernel, mmd

from ._matching import Matching, MatchingParams


class M3D(Matching["M3D.Params"]):
    """Maximum mean discrepancy of global features (Zhang, Li, Wang, Zeng, Ge 2024).

    Where DM matches the means, a Gaussian kernel compares all moments. What the paper adds for images
    (factors and upsampling, several steps on one network) is left out.
    """

    name = "m3d"

    class Params(MatchingParams):
        kernel: Kernel = param("gaussian", "kernel of the discrepancy", source="M3D's paper")
        bandwidth: float | None = param(
            None,
            "one fixed sigma of exp(-d² / 2 sigma); none: five, from the batch",
            unit="squared feature",
            source="proposed, as for sadm",
            gt=0,
        )
        lr: float = param(
            0.01,
            "learning rate of the points",
            source="proposed: better than 0.1 on a validation part of ModelNet10",
            gt=0,
        )

        @model_validator(mode="after")
        def _bandwidth_has_a_kernel(self) -> Self:
            if self.kernel == "linear" and self.bandwidth is not None:
                raise ValueError("the linear kernel has no bandwidth")
            return self

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        return network.global_feature

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        return mmd(real, synthetic, self.params.kernel, self.params.bandwidth)
