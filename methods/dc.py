"""Gradient matching: the network learns alike from real and from synthetic clouds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone, Iteration, Method, MethodParams, PointClouds, Setting, Snapshot, Task, param
from pcbench.ops.batches import RealBatches
from pcbench.ops.coreset import Initialisation
from pcbench.ops.gradients import Metric, match_gradients
from pcbench.ops.layers import adapt_batch_norm, set_dropout

LOOPS = {
    "paper": {1: (1, 1), 3: (5, 1), 10: (3, 10)},
    "code": {1: (1, 1), 3: (5, 1), 5: (5, 1), 10: (5, 1), 20: (20, 25), 50: (50, 10)},
}
"""Outer and inner loops by PPC: of SADM's paper, version 3, and of its authors' later code.

A PPC in between has those of the next smaller one.
"""


class DC(Method["DC.Params"]):
    """Dataset condensation: matching weight gradients class by class (Zhao, Mopuri, Bilen 2021).

    With the default bn_momentum features are hardly normalised, and the gradients of most rows of PointNet's
    input transform are so small that epsilon outweighs them: what is matched is mainly the later layers.
    bn_momentum=1 changes that.
    """

    name = "dc"

    class Params(MethodParams):
        metric: Metric = param(
            "ours",
            "distance of gradients: cosine by output row, mse, or one cosine",
            source="DC's public code",
        )
        epsilon: float = param(
            1e-6, "what is added to the product of two rows' norms", source="DC's public code", gt=0
        )
        init: Initialisation = param("random", "what the synthetic clouds start from", source="paper")
        lr: float = param(
            1e-4,
            "learning rate of the points",
            source="proposed: best of 1e-4, 1e-3, 0.01 on a validation part of ModelNet10, 40 iterations",
            gt=0,
        )
        momentum: float = param(0.5, "momentum of the points", source="authors' code", ge=0, lt=1)
        real_batch: int = param(
            8, "real clouds per class and outer step", unit="clouds", source="paper", ge=1
        )
        bn_batch: int = param(
            8, "real clouds per class that set the batch norm", unit="clouds", source="authors' code", ge=1
        )
        bn_momentum: float = param(
            0.1, "share of the batch in the running statistics", source="authors' code", gt=0, le=1
        )
        loops: Literal["paper", "code"] = param(
            "paper", "whose outer and inner loops by PPC", source="SADM's paper, version 3, appendix"
        )
        outer: int | None = param(
            None,
            "steps of the points per iteration; none: by PPC",
            unit="steps",
            source="SADM's paper, version 3",
            ge=1,
        )
        inner: int | None = param(
            None,
            "epochs of the network between two steps; none: by PPC",
            unit="epochs",
            source="SADM's paper, version 3",
            ge=1,
        )
        inner_lr: float = param(
            0.01, "learning rate of the network between steps", source="DC's public code", gt=0
        )
        inner_batch: int = param(
            8, "synthetic clouds per update of the network", unit="clouds", source="authors' later code", ge=1
        )

    settings: ClassVar[dict[str, Setting]] = {
        "paper": Setting("SADM's paper, version 3, appendix"),
        "code": Setting("SADM's authors' later code", {"loops": "code"}),
    }

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        outer, inner = self.loops(task.ppc)
        start = task.initial_clouds(p.init)
        points = start.points.clone().requires_grad_()
        optimiser = torch.optim.SGD([points], p.lr, p.momentum)
        batches = RealBatches(task.train, task.streams)

        def update(iteration: Iteration) -> None:
            network, gradients = iteration.network, partial(iteration.recorded, self.gradients)
            set_dropout(network, [task.streams.stream("dropout", iteration=iteration.number)])
            order = task.streams.stream("order", iteration=iteration.number)
            for number in range(1, outer + 1):
                draw = (iteration.number - 1) * outer + number
                bn_real = batches.draw("bn_batch", draw, p.bn_batch).flatten(0, 1)
                real = batches.draw("real_batch", draw, p.real_batch)
                _, points.grad = iteration.recorded(self.step, network, bn_real, real, points.detach())
                optimiser.step()
                if number < outer:
                    self.train(network, replace(start, points=points.detach()), inner, order, gradients)

        yield from task.learn(update, optimiser, lambda: replace(start, points=points))

    def step(self, network: Backbone, bn_real: Tensor, real: Tensor, clouds: Tensor) -> tuple[Tensor, Tensor]:
        """The classes' distances, (K,), and the gradient of their sum by synthetic clouds (K · m, N, 3).

        bn_real: real clouds (B, N, 3) that set the network's batch norm. real: (K, n, N, 3).
        """
        self.adapt(network, bn_real)
        synthetic = clouds.unflatten(0, (len(real), -1))
        losses, gradient = match_gradients(network, real, synthetic, self.params.metric, self.params.epsilon)
        return losses, gradient.flatten(0, 1)

    def adapt(self, network: Backbone, real: Tensor) -> None:
        """Let real clouds (B, N, 3) set the network's batch norm, which is frozen afterwards."""
        adapt_batch_norm(network, real, self.params.bn_momentum)

    def loops(self, ppc: int) -> tuple[int, int]:
        """Outer and inner loops: as asked for, else those of LOOPS."""
        table = LOOPS[self.params.loops]
        outer, inner = table[max(known for known in table if known <= ppc)]
        return self.params.outer or outer, self.params.inner or inner

    def train(
        self,
        network: Backbone,
        clouds: PointClouds,
        epochs: int,
        order: torch.Generator,
        gradients: Callable[..., Sequence[Tensor]],
    ) -> None:
        """Train the network on all clouds by plain SGD, shuffled in each epoch by `order`.

        gradients: the method `gradients`, recorded or not.
        """
        network.train()
        parameters = list(network.parameters())
        optimiser = torch.optim.SGD(parameters, self.params.inner_lr)
        for _ in range(epochs):
            shuffled = torch.randperm(len(clouds), generator=order).to(clouds.points.device)
            for batch in shuffled.split(self.params.inner_batch):
                by_parameter = gradients(network, clouds.points[batch], clouds.labels[batch])
                for parameter, gradient in zip(parameters, by_parameter, strict=True):
                    parameter.grad = gradient
                optimiser.step()

    def gradients(self, network: Backbone, clouds: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        """Of the mean cross-entropy of clouds (B, N, 3) by the network's parameters."""
        return torch.autograd.grad(F.cross_entropy(network(clouds), labels), list(network.parameters()))
