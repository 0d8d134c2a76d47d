"""Distribution matching that keeps a class together and its features related as they are."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pcbench.api import Backbone, param
from pcbench.ops.matching import mean_distance

from ._matching import Matching, MatchingParams


class IID(Matching["IID.Params"]):
    """DM with relations between samples and between features (Deng et al. 2024, IID).

    With f the pooled feature of a cloud and g the features of its points, the loss of a class is

        ‖mean f(T) - mean f(S)‖² + λ_s Σ_s ‖f(s) - mean f(S)‖² + λ_c ‖Cov g(T) - Cov g(S)‖²,

    DM, the paper's class centralisation and its covariance matching. The covariance of local features is over
    all points of a class: a pixel has a place, at which the paper takes the mean off; a point has none, so
    the mean of all is. It is divided by the number of points, so that λ_c does not hang on it. The public
    code centralises what a trained network of another kind sees; here one network serves all terms. Pooled
    and local features take a pass each, and a covariance of D features as long as a layer of D times D.
    """

    name = "iid"

    class Params(MatchingParams):
        lr: float = param(
            0.1,
            "learning rate of the points",
            source="proposed: points then move as far as dm's in the first iterations on ModelNet10",
            gt=0,
        )
        lambda_sample: float = param(
            0.05, "weight of the distances to the class's mean", source="public code", ge=0
        )
        lambda_feature: float = param(0.01, "weight of the covariances' distance", source="public code", ge=0)

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        """The pooled feature as a first row above those of the points: (B, N, 3) -> (B, 1 + N, D)."""

        def pooled_and_points(clouds: Tensor) -> Tensor:
            return torch.cat([network.global_feature(clouds).unsqueeze(1), network.point_features(clouds)], 1)

        return pooled_and_points

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Of every class from (K, n, 1 + N, D) and (K, m, 1 + N, D) -> (K,)."""
        p = self.params
        pooled = synthetic[:, :, 0]
        value = mean_distance(real[:, :, 0], pooled)
        value = value + p.lambda_sample * (pooled - pooled.mean(1, keepdim=True)).square().sum((1, 2))
        gap = covariance(real[:, :, 1:].flatten(1, 2)) - covariance(synthetic[:, :, 1:].flatten(1, 2))
        return value + p.lambda_feature * gap.square().sum((1, 2))


def covariance(rows: Tensor) -> Tensor:
    """Of the columns of (K, n, D), divided by n -> (K, D, D)."""
    rows = rows - rows.mean(1, keepdim=True)
    return rows.mT @ rows / rows.shape[1]
