"""The coreset that is, to every cloud of the class, near in some member."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone, Method, Snapshot, Task, param
from pcbench.ops.batches import ClassIndex, groups_at_once, in_chunks
from pcbench.ops.coreset import global_features

from ._greedy import GreedyParams

CHUNK_PAIRS = 1 << 22
"""Pairs of clouds whose similarity is held at once on a CPU: 32 MiB in float64; one class at least."""


class Facility(Method["Facility.Params"]):
    """Training clouds by greedy facility location over a kernel (Mirzasoleiman, Bilmes, Leskovec 2020).

    Within every class the set S that maximises Σ_i max_{j in S} k(i, j), cloud by cloud, each the one of the
    largest gain, with k(i, j) = exp(-‖f_i - f_j‖² / 2σ²). The paper compares bounds on gradients; here f is
    the global feature of a network, of length 1, so that one σ serves all networks. The paper's weights of
    the chosen clouds are left out: students give all clouds the same.
    """

    name = "facility"

    class Params(GreedyParams):
        sigma: float = param(
            0.5,
            "width of the kernel",
            unit="length of a feature",
            source="public code of 3D-Dataset-Pruning",
            gt=0,
        )

    def distill(self, task: Task) -> Iterator[Snapshot]:
        index = ClassIndex(task.train)
        index.require(task.ppc, "ppc")
        trained = self.params.features == "trained"
        network: Backbone = (
            task.trained_network() if trained else task.network(task.streams.stream("features"))
        )
        features = global_features(network, task.train.points)
        chosen = facility_location(features, index.table().to(task.device), task.ppc, self.params.sigma)
        yield Snapshot(0, task.train.select(chosen.flatten()))


def facility_location(features: Tensor, table: Tensor, per_class: int, sigma: float) -> Tensor:
    """Greedy facility location within every class -> indices (K, per_class) int64 in the order of choice.

    features: (B, F), of any length. table: as of `ClassIndex.table`. In float64; of equal gains, the first.
    """
    pairs = table.shape[1] ** 2

    def work(part: slice) -> Tensor:
        rows = table[part]
        absent = rows < 0
        unit = F.normalize(features[rows.clamp_min(0)].double(), dim=-1)
        near = torch.exp((unit @ unit.mT - 1) / sigma**2)  # (k, L, L); ‖a - b‖² = 2 - 2 a·b
        near.diagonal(dim1=1, dim2=2).fill_(1)
        near.masked_fill_(absent.unsqueeze(2), 0)
        reached, closed, chosen = near.new_zeros(rows.shape), absent.clone(), []
        for _ in range(per_class):
            gains = (near - reached.unsqueeze(2)).clamp_min(0).sum(1)
            column = gains.masked_fill(closed, -1).argmax(1, keepdim=True)
            closed.scatter_(1, column, True)
            new = near.gather(2, column.unsqueeze(1).expand(-1, near.shape[1], -1)).squeeze(2)
            reached = torch.maximum(reached, new)
            chosen.append(rows.gather(1, column))
        return torch.cat(chosen, 1)

    size = groups_at_once(features.device, CHUNK_PAIRS // pairs, 24 * pairs)
    return torch.cat(in_chunks(work, len(table), size))
