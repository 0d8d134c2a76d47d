"""Distribution matching with trained networks: what NCFM and DANCE have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pcbench.api import Backbone, Iteration, Setting, Snapshot, Streams, Task, param
from pcbench.ops.batches import RealBatches

from ._matching import Matching, MatchingParams
from ._training import put_row, row_of, train

OF_POOL = ("pool", "pool_epochs", "pool_lr", "pool_batch")
WHOLE = "as the protocols train on the whole split"


class CalibratedParams(MatchingParams):
    """The parameters of both."""

    calibration: float = param(
        1.0, "weight of the trained network's cross-entropy", source="public code", ge=0
    )
    pool: int = param(
        5,
        "networks trained on the training split",
        unit="networks",
        source="proposed; 20 in public code",
        ge=1,
    )
    pool_epochs: int = param(20, "epochs of each", unit="epochs", source="proposed; 60 in public code", ge=1)
    pool_lr: float = param(0.01, "learning rate of these networks", source=WHOLE, gt=0)
    pool_batch: int = param(32, "clouds per step of theirs", unit="clouds", source=WHOLE, ge=1)
    bn_momentum: float = param(
        1.0,
        "share of the batch in the running statistics",
        source="proposed: between two networks' weights, the statistics of neither hold",
        gt=0,
        le=1,
    )


P = TypeVar("P", bound=CalibratedParams)


class Calibrated(Matching[P]):
    """Moves synthetic clouds by what half-trained networks see, and by what trained ones take them for.

    An iteration takes two steps: of the matching loss by a network θ = l θ_0 + (1 - l) θ_T, with θ_0 and θ_T
    the start and the end of one of the pool's networks and l uniform in [0, 1]; then of the cross-entropy of
    θ_T on the synthetic clouds, the mean over the clouds of a class, summed over the classes. Both are
    frozen, as one cloud of a class is no batch for a norm: the statistics of θ are set by real clouds, those
    of θ_T are its own.
    """

    settings: ClassVar[dict[str, Setting]] = {
        "code": Setting("public code: its pool of networks", {"pool": 20, "pool_epochs": 60})
    }

    def distill(self, task: Task) -> Iterator[Snapshot]:
        p = self.params
        start = task.initial_clouds(p.init)
        points = start.points.clone().requires_grad_()
        optimiser = torch.optim.SGD([points], p.lr, p.momentum)
        batches = RealBatches(task.train, task.streams)
        batches.index.require(p.bn_batch, "bn_batch")
        batches.index.require(p.real_batch, "real_batch")

        def update(iteration: Iteration) -> None:
            number = iteration.number
            stream = task.streams.stream("mixture", iteration=number)
            which = int(torch.randint(p.pool, (), generator=stream))
            share = float(torch.rand((), generator=stream, dtype=torch.float64))
            begun, trained = pool["begun"][which], pool["trained"][which]
            put_row(torch.lerp(trained, begun, share), between)
            put_row(trained, judge)
            bn_real = batches.draw("bn_batch", number, p.bn_batch).flatten(0, 1)
            real = batches.draw("real_batch", number, p.real_batch)
            inputs = (between, bn_real, real, points.detach())
            points.grad = self.matched(iteration, task.streams, *inputs)
            optimiser.step()
            if p.calibration:
                seen = (judge, points.detach(), start.labels, task.ppc)
                points.grad = iteration.recorded(self.calibrate, *seen)[1]
                optimiser.step()

        learning = task.learn(update, optimiser, lambda: replace(start, points=points))
        if 0 in task.snapshots:
            yield next(learning)  # the pool is trained after it: its time is not the initialisation's
        pool = self.pool(task)
        between, judge = (
            task.network(task.streams.stream(name)).eval().requires_grad_(False)
            for name in ("between", "judge")
        )
        yield from learning

    def matched(self, iteration: Iteration, streams: Streams, *inputs: Any) -> Tensor:  # noqa: ARG002
        """The gradient of the matching loss by the clouds; inputs: those of `step`."""
        return iteration.recorded(self.step, *inputs)[1]

    def calibrate(self, network: Backbone, clouds: Tensor, labels: Tensor, ppc: int) -> tuple[Tensor, Tensor]:
        """The weighted cross-entropy of clouds (K · ppc, N, 3) by a frozen network, (), and its gradient."""
        clouds = clouds.detach().requires_grad_()
        loss = F.cross_entropy(network(clouds), labels, reduction="sum") * (self.params.calibration / ppc)
        return loss.detach(), torch.autograd.grad(loss, clouds)[0]

    def pool(self, task: Task) -> dict[str, Tensor]:
        """Networks, `begun` and `trained`, (E, P) each, a row as of `row_of`; made or from the cache."""
        p = self.params

        def make(streams: Streams, report: Callable[[int, int], None]) -> dict[str, Tensor]:
            begun, trained = [], []
            for number in range(p.pool):
                own = streams.within(network=number)
                network = task.network(own.stream("network"))
                begun.append(row_of(network))
                for epoch in train(network, task.train, p.pool_epochs, p.pool_lr, p.pool_batch, own):
                    report(number * p.pool_epochs + epoch, p.pool * p.pool_epochs)
                trained.append(row_of(network))
            return {"begun": torch.stack(begun), "trained": torch.stack(trained)}

        return task.cached({name: getattr(p, name) for name in OF_POOL}, make)
