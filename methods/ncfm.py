"""Distribution matching by characteristic functions, which hold all of a distribution."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone, Iteration, Streams, param
from pcbench.ops.matching import match_classes

from ._calibrated import Calibrated, CalibratedParams

SMALLEST = 1e-12
"""What the phases' part is raised to, where rounding leaves less: the root's slope is finite there."""


class NCFM(Calibrated["NCFM.Params"]):
    """Characteristic functions of features, by amplitude and phase (Wang et al. 2025).

    Φ(t) = mean exp(i t·f) over a class's features f of length 1, at frequencies t ~ N(0, 1) drawn in every
    iteration; with T the real and S the synthetic clouds the loss of a class is

        scale · mean_t √(α (|Φ_T| - |Φ_S|)² + (1 - α) · 2 (|Φ_T||Φ_S| - Re Φ_T Φ_S*)).

    At α = ½ the root is of ½ |Φ_T - Φ_S|². The public code's frequencies are these; the network of the paper
    that learns them is left out. f is the embedding, which does not depend on the order of points: nothing
    else had to change.
    """

    name = "ncfm"

    class Params(CalibratedParams):
        frequencies: int = param(
            4096, "frequencies per iteration", unit="frequencies", source="public code", ge=1
        )
        amplitude: float = param(
            0.5, "α, the share of the amplitudes; the rest is the phases'", source="public code", ge=0, le=1
        )
        scale: float = param(300.0, "weight of the discrepancy", source="public code", gt=0)
        lr: float = param(
            1e-4,
            "learning rate of the points",
            source="proposed: points then move as far as dm's in the first iterations on ModelNet10",
            gt=0,
        )

    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        return lambda clouds: F.normalize(network.embed(clouds), dim=-1)

    def matched(self, iteration: Iteration, streams: Streams, *inputs: Any) -> Tensor:
        network, _, real, _ = inputs
        with torch.no_grad():
            size = network.embed(real[0, :1]).shape[1]
        generator = streams.stream("frequencies", iteration=iteration.number)
        frequencies = torch.randn(self.params.frequencies, size, generator=generator).to(real)
        return iteration.recorded(self.step_at, *inputs, frequencies)[1]

    def step_at(
        self, network: Backbone, bn_real: Tensor, real: Tensor, clouds: Tensor, frequencies: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`step` with features at frequencies (T, F); `step` itself is that at the unit vectors."""
        self.adapt(network, bn_real)
        feature, synthetic = self.feature(network), clouds.unflatten(0, (len(real), -1))
        losses, gradient = match_classes(
            lambda xyz: feature(xyz) @ frequencies.T, self.losses, real, synthetic
        )
        return losses, gradient.flatten(0, 1)

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """Of every class from t·f of its clouds: (K, n, T) and (K, m, T) -> (K,)."""
        p = self.params
        (real_c, real_s, real_a), (own_c, own_s, own_a) = (
            characteristic(angles) for angles in (real, synthetic)
        )
        phases = (2 * (real_a * own_a - real_c * own_c - real_s * own_s)).clamp_min(SMALLEST)
        squared = p.amplitude * (real_a - own_a).square() + (1 - p.amplitude) * phases
        return p.scale * squared.sqrt().mean(1)


def characteristic(angles: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Real part, imaginary part and length of the mean of exp(i angle): (K, n, T) -> (K, T) each."""
    real, imaginary = angles.cos().mean(1), angles.sin().mean(1)
    return real, imaginary, torch.hypot(real, imaginary)
