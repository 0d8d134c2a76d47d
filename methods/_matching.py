"""Distribution matching by one feature vector a cloud: what DM, M3D and DataDAM have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from pcbench.api import Backbone, Iteration, Method, MethodParams, Snapshot, Task, param
from pcbench.ops.batches import RealBatches
from pcbench.ops.coreset import Initialisation
from pcbench.ops.layers import adapt_batch_norm
from pcbench.ops.matching import match_classes, mean_distance


class MatchingParams(MethodParams):
    """The parameters of them all."""

    init: Initialisation = param("random", "what the synthetic clouds start from", source="paper")
    lr: float = param(
        10.0,
        "learning rate of the points",
        source="proposed: 0.1, 1, 10, 100 tried on a validation part of ModelNet10; DM's code for images: 1",
        gt=0,
    )
    momentum: float = param(0.5, "momentum of the points", source="authors' code", ge=0, lt=1)
    real_batch: int = param(8, "real clouds per class and iteration", unit="clouds", source="paper", ge=1)
    bn_batch: int = param(
        8, "real clouds per class that set the batch norm", unit="clouds", source="authors' code", ge=1
    )
    bn_momentum: float = param(
        0.1, "share of the batch in the running statistics", source="authors' code", gt=0, le=1
    )


P = TypeVar("P", bound=MatchingParams)


class Matching(Method[P]):
    """Moves synthetic clouds until fresh networks see in them what they see in real clouds."""

    @abstractmethod
    def feature(self, network: Backbone) -> Callable[[Tensor], Tensor]:
        """What is matched, by a frozen network: clouds (B, N, 3) -> (B, F)."""

    def losses(self, real: Tensor, synthetic: Tensor) -> Tensor:
        """The loss of every class from features (K, n, F) and (K, m, F) -> (K,)."""
        return mean_distance(real, synthetic)

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        start = task.initial_clouds(p.init)
        points = start.points.clone().requires_grad_()
        optimiser = torch.optim.SGD([points], p.lr, p.momentum)
        batches = RealBatches(task.train, task.streams)

        def update(iteration: Iteration) -> None:
            network = iteration.network.requires_grad_(False)
            bn_real = batches.draw("bn_batch", iteration.number, p.bn_batch).flatten(0, 1)
            real = batches.draw("real_batch", iteration.number, p.real_batch)
            _, points.grad = iteration.recorded(self.step, network, bn_real, real, points.detach())
            optimiser.step()

        yield from task.learn(update, optimiser, lambda: replace(start, points=points))

    def step(self, network: Backbone, bn_real: Tensor, real: Tensor, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """The classes' losses, (K,), and the gradient of their sum by synthetic clouds (K · m, N, 3).

        bn_real: real clouds (B, N, 3) that set the network's batch norm. real: (K, n, N, 3).
        """
        self.adapt(network, bn_real)
        synthetic = clouds.unflatten(0, (len(real), -1))
        losses, gradient = match_classes(self.feature(network), self.losses, real, synthetic)
        return losses, gradient.flatten(0, 1)

    def adapt(self, network: Backbone, real: Tensor) -> None:
        """Let real clouds (B, N, 3) set the network's batch norm, which is frozen afterwards."""
        adapt_batch_norm(network, real, self.params.bn_momentum)
